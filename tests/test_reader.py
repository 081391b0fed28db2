"""The reader, held against generation with a model that has learnt some of the answers."""

import copy

import numpy as np
import pytest
import torch
from peft import get_peft_model

from flanlib import models
from flanlib.attention import by_document
from flanlib.benchmarks import steps
from flanlib.benchmarks.reading import UNDECIDED, WRONG, Choices, passages, ranges, tokens, verdict
from flanlib.dialects import render_all
from flanlib.generate import Decoding, Writer, dense
from flanlib.lab import tasks
from flanlib.loss import collate, token_losses
from flanlib.model import lora_config
from flanlib.offsets import place
from flanlib.packing import pack
from flanlib.reader import Reader
from flanlib.tally import Tally
from flanlib.templates import get_template
from flanlib.tokens import encode_all, load_tokenizer

TASKS = sorted((task.trajectory for task in tasks.tasks(12, rng=np.random.default_rng(5), split="heldout")),
               key=lambda one: len(one.steps))[:4]  # fmt: skip
TOKENIZER = load_tokenizer(models.folder("random"))
TEMPLATE = get_template("own", TOKENIZER)


@pytest.fixture(scope="module", params=["react", "chat"])
def learnt(request):
    """The tiny model, halfway through learning three of four tasks by heart in one protocol."""
    rows = encode_all(render_all(TASKS[:3], request.param), TOKENIZER, TEMPLATE, max_tokens=4000, tally=Tally("t"))
    batch = collate(pack(rows, row_tokens=8000, pad_id=0))
    model = by_document(dense("random")).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(50):
        token_losses(model, batch).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, request.param


def test_reading_and_generation_find_the_same(learnt):
    model, protocol = learnt
    write = Writer(model, TOKENIZER, TEMPLATE, Decoding(24))
    read = Reader(model, TOKENIZER, TEMPLATE)

    def undecided(texts, found):
        return [[UNDECIDED] * len(listed) for listed in found]

    told, written = (steps.measure(TASKS, protocol, write, one, free=0) for one in (read, undecided))
    assert 0.1 < told["value"].mean() < 0.9
    assert (told["note"] == "read").mean() > 0.5
    key = ["id", "step", "score", "type", "value"]
    assert sorted(map(tuple, told[key].values)) == sorted(map(tuple, written[key].values))


def asked(protocol):
    texts = render_all(TASKS, protocol)
    return texts, [list(passages(*of, protocol)) for of in zip(TASKS, texts, strict=True)]


def test_an_adapter_is_read_with_and_the_mode_of_the_model_stays(learnt):
    model, protocol = learnt
    bare = Reader(model, TOKENIZER, TEMPLATE)(*asked(protocol))
    tuned = get_peft_model(copy.deepcopy(model), lora_config(4)).train()
    assert Reader(tuned, TOKENIZER, TEMPLATE)(*asked(protocol)) == bare
    assert tuned.training
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 1, generator=torch.Generator().manual_seed(0))
    assert Reader(tuned, TOKENIZER, TEMPLATE)(*asked(protocol)) != bare
    assert Reader(tuned.merge_and_unload(), TOKENIZER, TEMPLATE)(*asked(protocol)) != bare


def test_what_lies_beyond_the_positions_of_a_model_is_wrong(learnt):
    model, protocol = copy.deepcopy(learnt[0]), learnt[1]
    texts, found = asked(protocol)
    everything = Reader(model, TOKENIZER, TEMPLATE)(texts, found)
    where = [[tokens(place([TEMPLATE.layout(text.turns, "t")[0]], TOKENIZER)[0], *at)
              for at in ranges(text, listed, TEMPLATE)] for text, listed in zip(texts, found, strict=True)]  # fmt: skip
    model.config.max_position_embeddings = most = where[0][-1][0]
    cut = Reader(model, TOKENIZER, TEMPLATE)(texts, found)
    assert cut[0][-1] == WRONG
    for before, after, places in zip(everything, cut, where, strict=True):
        assert all(one == other for one, other, at in zip(before, after, places, strict=True) if at[-1] < most)


def chosen(text, start, stop, *, in_place_of, first):
    """Judge a passage where one token is not the first choice of a model that else repeats the text."""
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
    assert chosen(text, 8, 9, in_place_of="\U0001f642", first=other) == UNDECIDED
    assert chosen(text, 8, 9, in_place_of="\U0001f642", first=vocabulary["x"]) == WRONG


def test_a_token_that_begins_before_a_passage_leaves_it_open_unless_a_space_is_all_it_adds():
    vocabulary = TOKENIZER.get_vocab()
    text = "Action: get_fare\n"
    [placed] = place([text], TOKENIZER)
    first = tokens(placed, 8, 16)[0]
    name = text[placed.starts[first] : placed.stops[first]]
    assert name.startswith(" g"), "the space belongs to the name's first token"
    assert chosen(text, 8, 16, in_place_of=name, first=vocabulary["x"]) == WRONG
    # The same token as part of a passage that begins after its first letter.
    assert chosen(text, 9, 16, in_place_of=name, first=vocabulary["x"]) == UNDECIDED
