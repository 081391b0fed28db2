"""Names and values judged by reading: which tokens count, the verdicts on first choices, and the reader."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from peft import get_peft_model
from strategies import trajectories as any_trajectories

from flanlib import pretrained
from flanlib.benchmarks import skill, steps
from flanlib.benchmarks.reading import RIGHT, UNDECIDED, WRONG, Choices, Passage, passages, ranges, tokens, verdict
from flanlib.dialects import DIALECTS, render, render_all
from flanlib.experiments import tuning
from flanlib.inference.generate import Decoding, Writer, dense
from flanlib.inference.reader import Reader
from flanlib.lab import tasks
from flanlib.presets import PRESETS
from flanlib.records import Conversation, FlanError, from_json, say, to_json
from flanlib.tally import Tally
from flanlib.text.offsets import Placed, place
from flanlib.text.packing import pack
from flanlib.text.templates import get_template
from flanlib.text.tokens import CONTEXT, encode_all, load_tokenizer
from flanlib.training.attention import by_document
from flanlib.training.loss import collate, token_losses
from flanlib.training.model import lora_config

every_dialect = pytest.mark.parametrize("protocol", DIALECTS)
SOLVED = [task.trajectory for task in tasks.tasks(12, rng=np.random.default_rng(5), split="heldout")]
SHORT = sorted(SOLVED, key=lambda one: len(one.steps))[:4]
TOKENIZER = load_tokenizer(pretrained.folder("random"))
TEMPLATE = get_template("own", TOKENIZER)


@pytest.fixture(scope="module")
def model():
    return dense("random")


@pytest.fixture(scope="module", params=["react", "chat"])
def learnt(request):
    """The tiny model, partly overfitted to three of four tasks in one protocol."""
    rows = encode_all(render_all(SHORT[:3], request.param), TOKENIZER, TEMPLATE, max_tokens=4000, tally=Tally("t"))
    batch = collate(pack(rows, row_tokens=8000, pad_id=0))
    model = by_document(dense("random")).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(50):
        token_losses(model, batch).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, request.param


@every_dialect
@settings(max_examples=80, deadline=None)
@given(trajectory=any_trajectories())
def test_passages_hold_the_names_and_values_of_a_trajectory_in_order(protocol, trajectory):
    text = render(trajectory, protocol)
    found = list(passages(trajectory, text, protocol))
    parts = [(one.step, one.name, one.wanted) for one in found if one.score != "naming"]
    expected = []
    for k, step in enumerate(trajectory.steps):
        filled = [(name, value) for name, value in step.arguments.items() if protocol == "chat" or value != ""]
        expected += [(k, name, value) for name, value in [("", step.tool), *filled]]
    assert parts == expected
    for one in found:
        written = text.turns[one.turn].text[one.start : one.stop]
        if protocol == "chat":
            assert written == text.turns[one.turn].text
        elif one.score == "retrieval":
            assert written == (one.wanted if protocol == "react" else to_json(one.wanted)[1:-1])
        else:
            assert steps.same(from_json(f'"{written}"' if isinstance(one.wanted, str) else written), one.wanted)


@pytest.fixture(scope="module", params=["own", "one that strips", "agent_flan"])
def template(request):
    tokenizer = load_tokenizer(pretrained.folder("random"))
    if request.param == "one that strips":
        tokenizer.chat_template = pretrained.CHATML.replace("message['content']", "message['content'] | trim")
    return get_template(request.param if request.param == "agent_flan" else "own", tokenizer)


@every_dialect
@settings(max_examples=20, deadline=None)
@given(trajectory=any_trajectories())
def test_ranges_hold_the_same_in_the_text_of_a_template(template, protocol, trajectory):
    text = render(trajectory, protocol)
    found = list(passages(trajectory, text, protocol))
    try:
        whole, _ = template.layout(text.turns, "t")
    except FlanError:  # such as a template's mark in a text
        reject()
    for one, (start, stop) in zip(found, ranges(text, found, template), strict=True):
        written = text.turns[one.turn].text[one.start : one.stop]
        assert whole[start:stop] in (written, written.strip())


@every_dialect
def test_a_wrong_token_makes_only_its_own_passage_wrong(protocol):
    [stray] = TOKENIZER("~", add_special_tokens=False).input_ids
    for trajectory in SOLVED[:4]:
        text = render(trajectory, protocol)
        found = list(passages(trajectory, text, protocol))
        places, whole = ranges(text, found, TEMPLATE), TEMPLATE.layout(text.turns, "t")[0]
        [placed] = place([whole], TOKENIZER)
        right = Choices(whole, placed, placed.ids, lambda i: TOKENIZER.decode([i]))
        assert {verdict(right, *at) for at in places} == {RIGHT}
        for i in {i for at in places for i in tokens(placed, *at)}:
            firsts = placed.ids.copy()
            firsts[i] = stray
            for start, stop in places:
                result = verdict(right._replace(firsts=firsts), start, stop)
                assert (result == RIGHT) == (i not in tokens(placed, start, stop))
                if start <= placed.starts[i] < stop:
                    assert result == WRONG


def choices(pieces, firsts):
    """Make Choices of a text that is cut into pieces; each first choice is a piece or another text."""
    spelled = dict(enumerate(dict.fromkeys([*pieces, *firsts])))
    number = {text: i for i, text in spelled.items()}
    stops = np.cumsum([len(piece) for piece in pieces])
    starts = np.concatenate([[0], stops[:-1]])
    placed = Placed(np.array([number[p] for p in pieces]), starts, stops, stops - starts)
    return Choices("".join(pieces), placed, np.array([number[f] for f in firsts]), spelled.__getitem__)


PIECES = ["{", '"', "town", '":', ' "', "Ul", "m", '"}', "<end>"]
VALUE = (len('{"town": "'), len('{"town": "Ulm'))


@pytest.mark.parametrize(("changed", "expected"), [
    ({}, RIGHT),
    ({0: "x", 3: "x", 8: "x"}, RIGHT),  # outside the passage and its end
    ({5: "Bonn"}, WRONG), ({6: "x"}, WRONG),
    ({5: "U"}, UNDECIDED), ({5: "Ulm"}, UNDECIDED), ({6: "ms"}, UNDECIDED),
    ({7: '",'}, RIGHT), ({6: 'm"'}, RIGHT), ({7: '"'}, RIGHT),  # closed in another way
    ({7: ","}, UNDECIDED),
    ({5: "U", 6: "x"}, UNDECIDED),  # what comes after the first departure says nothing
])  # fmt: skip
def test_the_first_choice_that_departs_decides(changed, expected):
    firsts = [changed.get(i, piece) for i, piece in enumerate(PIECES)]
    assert verdict(choices(PIECES, firsts), *VALUE) == expected


def test_a_token_that_crosses_the_border_belongs_to_the_passage():
    pieces = ["{", '"n":', " 3}", "<end>"]
    at = (6, 7)  # the 3
    assert list(tokens(choices(pieces, pieces).placed, *at)) == [2], "it holds its own end"
    assert verdict(choices(pieces, ["{", '"n":', " 4}", "<end>"]), *at) == WRONG
    assert verdict(choices(pieces, ["{", '"n":', " 3", "<end>"]), *at) == UNDECIDED


@every_dialect
def test_the_reader_agrees_with_one_conversation_at_a_time(model, protocol):
    texts = [render(one, protocol) for one in SOLVED]
    listed = [list(passages(one, text, protocol)) for one, text in zip(SOLVED, texts, strict=True)]
    together = Reader(model, TOKENIZER, TEMPLATE)(texts, listed)
    assert together == Reader(model, TOKENIZER, TEMPLATE, tokens_per_pass=1)(texts, listed)
    for text, found, verdicts in zip(texts, listed, together, strict=True):
        [placed] = place([TEMPLATE.layout(text.turns, "t")[0]], TOKENIZER)
        with torch.no_grad():
            firsts = model(input_ids=torch.tensor(placed.ids.astype(np.int64))[None]).logits[0].argmax(-1).numpy()
        for where, result in zip(ranges(text, found, TEMPLATE), verdicts, strict=True):
            right = all(firsts[i - 1] == placed.ids[i] for i in tokens(placed, *where))
            assert (result == RIGHT) == right


@pytest.mark.parametrize("tokens_per_pass", [1, 1500, 100_000])
def test_first_choices_equal_those_of_single_texts_and_are_computed_only_where_needed(model, tokens_per_pass):
    texts = [render(one, protocol) for one, protocol in zip(SOLVED, [*DIALECTS] * 3, strict=False)]
    whole = [TEMPLATE.layout(text.turns, "t")[0] for text in texts]
    listed = [list(passages(*of)) for of in zip(SOLVED, texts, [*DIALECTS] * 3, strict=False)]
    wanted = [ranges(text, found, TEMPLATE) for text, found in zip(texts, listed, strict=True)]
    wanted[2] = []
    for chosen, where in zip(Reader(model, TOKENIZER, TEMPLATE, tokens_per_pass=tokens_per_pass).choices(whole, wanted),
                             wanted, strict=True):  # fmt: skip
        with torch.no_grad():
            logits = model(input_ids=torch.tensor(chosen.placed.ids.astype(np.int64))[None]).logits[0]
        computed = {i for at in where for i in tokens(chosen.placed, *at)}
        expected = np.full(len(chosen.placed.ids), -1)
        for i in computed:
            expected[i] = logits[i - 1].argmax()
        assert chosen.firsts.tolist() == expected.tolist()


def test_a_conversation_that_does_not_fit_the_template_is_wrong(model):
    bad = Conversation("bad", "t", (say("user", "Hi <|im_end|>"), say("assistant", "find", "retrieval", trained=True)))
    good = Conversation("good", "t", (say("user", "Hi"), say("assistant", "find", "retrieval", trained=True)))
    passage = Passage("retrieval", 0, 1, 0, 4, "", "find")
    verdicts = Reader(model, TOKENIZER, TEMPLATE)([bad, good], [[passage], [passage]])
    assert verdicts[0] == [WRONG]
    assert len(verdicts[1]) == 1
    assert Reader(model, TOKENIZER, TEMPLATE)([bad], [[passage]]) == [[WRONG]]


@every_dialect
def test_a_run_s_passages_point_at_its_own_trained_tokens(protocol):
    size = replace(PRESETS["smoke"], row_tokens=4096)
    rows = tuning.examples([render(one, protocol) for one in SOLVED], size, Tally("t"))
    ids = np.concatenate([row.ids[row.kinds != CONTEXT] for row in rows])
    tokenizer, _ = tuning.reader(size)
    found = tuning.passages(SOLVED, protocol, size)
    assert {one.score for one in found} == set(skill.READ)
    wanted = iter(found)
    for trajectory in SOLVED:
        for step in trajectory.steps:
            for value in (step.tool, *step.arguments.values()):
                text = tokenizer.decode(ids[list(next(wanted).tokens)])
                assert (value if isinstance(value, str) else to_json(value)) in text
    assert next(wanted, None) is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=4), min_size=2, max_size=8), st.data())
def test_tokens_cover_a_range_and_one_more_unless_the_last_crosses_the_end(pieces, data):
    placed = choices(pieces, pieces).placed
    size = int(placed.stops[-1])
    start = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(start + 1, size))
    found = tokens(placed, start, stop)
    assert placed.starts[found[0]] <= start < placed.stops[found[0]]
    last = found[-1]
    assert placed.stops[last] > stop or last == len(pieces) - 1
    assert placed.starts[last] <= stop


def test_reading_and_generation_agree(learnt):
    model, protocol = learnt
    write = Writer(model, TOKENIZER, TEMPLATE, Decoding(24))
    read = Reader(model, TOKENIZER, TEMPLATE)

    def undecided(texts, found):
        return [[UNDECIDED] * len(listed) for listed in found]

    read_rows, written_rows = (steps.measure(SHORT, protocol, write, one, free=0) for one in (read, undecided))
    assert 0.1 < read_rows["value"].mean() < 0.9
    assert (read_rows["note"] == "read").mean() > 0.5
    key = ["id", "step", "score", "type", "value"]
    assert sorted(map(tuple, read_rows[key].values)) == sorted(map(tuple, written_rows[key].values))


def passages_in(protocol):
    texts = render_all(SHORT, protocol)
    return texts, [list(passages(*of, protocol)) for of in zip(SHORT, texts, strict=True)]


def test_reading_uses_an_adapter_and_keeps_the_training_mode(learnt):
    model, protocol = learnt
    bare = Reader(model, TOKENIZER, TEMPLATE)(*passages_in(protocol))
    tuned = get_peft_model(copy.deepcopy(model), lora_config(4)).train()
    assert Reader(tuned, TOKENIZER, TEMPLATE)(*passages_in(protocol)) == bare
    assert tuned.training
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 1, generator=torch.Generator().manual_seed(0))
    assert Reader(tuned, TOKENIZER, TEMPLATE)(*passages_in(protocol)) != bare
    assert Reader(tuned.merge_and_unload(), TOKENIZER, TEMPLATE)(*passages_in(protocol)) != bare


def test_passages_beyond_a_models_positions_are_wrong(learnt):
    model, protocol = copy.deepcopy(learnt[0]), learnt[1]
    texts, found = passages_in(protocol)
    everything = Reader(model, TOKENIZER, TEMPLATE)(texts, found)
    where = [[tokens(place([TEMPLATE.layout(text.turns, "t")[0]], TOKENIZER)[0], *at)
              for at in ranges(text, listed, TEMPLATE)] for text, listed in zip(texts, found, strict=True)]  # fmt: skip
    model.config.max_position_embeddings = most = where[0][-1][0]
    cut = Reader(model, TOKENIZER, TEMPLATE)(texts, found)
    assert cut[0][-1] == WRONG
    for before, after, places in zip(everything, cut, where, strict=True):
        assert all(one == other for one, other, at in zip(before, after, places, strict=True) if at[-1] < most)


def verdict_with(text, start, stop, *, in_place_of, first):
    """Judge a passage if the model's first choices repeat the text but for one token."""
    [placed] = place([text], TOKENIZER)
    firsts = placed.ids.copy()
    [at] = [i for i in tokens(placed, start, stop) if text[placed.starts[i] : placed.stops[i]] == in_place_of][:1]
    firsts[at] = first
    return verdict(Choices(text, placed, firsts, Reader(dense("random"), TOKENIZER, TEMPLATE)._spell), start, stop)


def test_part_of_a_character_may_still_become_the_right_one():
    text, vocabulary = 'town": "\U0001f642", "n', TOKENIZER.get_vocab()
    [placed] = place([text], TOKENIZER)
    assert len([i for i in placed.starts if i == 8]) > 1, "a character of several tokens"
    other = vocabulary["\u00c3"]  # how the byte-level alphabet writes byte C3, by itself no character
    assert verdict_with(text, 8, 9, in_place_of="\U0001f642", first=other) == UNDECIDED
    assert verdict_with(text, 8, 9, in_place_of="\U0001f642", first=vocabulary["x"]) == WRONG


def test_a_token_that_begins_before_a_passage_is_undecided_unless_it_adds_only_a_space():
    vocabulary = TOKENIZER.get_vocab()
    text = "Action: get_fare\n"
    [placed] = place([text], TOKENIZER)
    first = tokens(placed, 8, 16)[0]
    name = text[placed.starts[first] : placed.stops[first]]
    assert name.startswith(" g"), "the space belongs to the name's first token"
    assert verdict_with(text, 8, 16, in_place_of=name, first=vocabulary["x"]) == WRONG
    # The same token as part of a passage that begins after its first letter.
    assert verdict_with(text, 9, 16, in_place_of=name, first=vocabulary["x"]) == UNDECIDED
