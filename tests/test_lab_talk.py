import json
import re
import string
from collections import Counter
from itertools import product

import numpy as np
import pytest

from flanlib.lab import families, offers, skills, talk, words
from flanlib.lab.talk import FAMILIES, MAKERS, conversations
from flanlib.lab.words import ACCENTED, Draw, plural
from flanlib.records import FlanError

SPLITS = ("train", "heldout")
LABELS = re.compile(r"\b(thought|action|action input|observation|final answer|function)\s*:|^\W*tool\s*:", re.I | re.M)
CALL_KEYS = {"name", "arguments", "args", "tool", "tool_name", "function", "parameters", "thought", "action"}


@pytest.fixture(scope="module")
def drawn():
    return {split: conversations(3000, rng=np.random.default_rng(7), split=split) for split in SPLITS}


def exchanges(family, split, n=400, seed=3):
    """Pairs of everything said so far (system, user and assistant turns, then the question) and the answer."""
    for conversation in conversations(n, rng=np.random.default_rng(seed), split=split, families=[family]):
        said = ""
        for turn in conversation.turns:
            if turn.role == "assistant":
                yield said, turn.text
            said += turn.text + "\n"


def objects(text):
    """Every JSON object that starts somewhere in a text."""
    decoder = json.JSONDecoder()
    for match in re.finditer(r"\{", text):
        try:
            yield decoder.raw_decode(text, match.start())[0]
        except ValueError:
            continue


def keys(value):
    if isinstance(value, dict):
        yield from value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from keys(inner)


@pytest.mark.parametrize("split", SPLITS)
def test_no_text_shows_an_agent_format(drawn, split):
    for conversation in drawn[split]:
        text = "\n".join(turn.text for turn in conversation.turns)
        assert not LABELS.search(text), text
        assert not CALL_KEYS & {key for found in objects(text) for key in keys(found)}, text


def test_every_character_the_tuning_will_need_occurs_often(drawn):
    counts = Counter("".join(turn.text for c in drawn["train"] for turn in c.turns))
    wanted = string.digits + string.ascii_letters + string.punctuation + " \n" + ACCENTED
    assert {character: counts[character] for character in wanted if counts[character] < 10} == {}


def test_only_assistant_turns_are_trained_and_all_of_them_as_general(drawn):
    for conversation in drawn["train"] + drawn["heldout"]:
        spoken = [turn for turn in conversation.turns if turn.role != "system"]
        assert 2 <= len(spoken) <= 2 * skills.MOST
        for turn in conversation.turns:
            assert turn.trained == (turn.role == "assistant")
            assert {span.kind for span in turn.spans} == {"general" if turn.trained else "context"}
            assert turn.text == turn.text.strip() or turn.role != "assistant"
    assert [c.id for c in drawn["train"][:2]] == ["talk-train-000001", "talk-train-000002"]
    assert drawn["heldout"][0].id == "talk-heldout-000001"


def test_no_slot_or_wording_mark_is_left_in_a_text(drawn):
    for conversation in drawn["train"]:
        for turn in conversation.turns:
            assert not re.search(r"\{(n|v|a|x|y|k|t|town|from|to|does|w)\}|None\b(?! of )", turn.text), turn.text


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_seed_draws_the_same_conversations(split):
    first, second, other = (conversations(60, rng=np.random.default_rng(s), split=split) for s in (1, 1, 2))
    assert first == second != other


def test_families_are_drawn_in_their_declared_shares(monkeypatch):
    counts = Counter()
    for name, maker in MAKERS.items():
        def counted(d, name=name, maker=maker):
            counts[name] += 1
            return maker(d)
        monkeypatch.setitem(MAKERS, name, counted)
    conversations(4000, rng=np.random.default_rng(5))
    assert sum(FAMILIES.values()) == pytest.approx(1)
    for name, share in FAMILIES.items():
        assert counts[name] / counts.total() == pytest.approx(share, abs=0.02)


def test_texts_are_as_long_as_they_should_be_and_hardly_ever_the_same(drawn):
    texts = ["".join(turn.text for turn in c.turns) for c in drawn["train"]]
    assert 180 < np.mean([len(text) for text in texts]) < 520
    assert max(map(len, texts)) < 2600
    assert len(set(texts)) > 0.98 * len(texts)


@pytest.mark.parametrize(("family", "split"), list(product(("reading", "extracting"), SPLITS)))
def test_short_answers_stand_in_the_text(family, split):
    checked = 0
    for said, answer in exchanges(family, split):
        if answer.endswith(".") or answer == "not given" or ": " in answer or "ow much" in said:
            continue
        value = re.sub(r"(?<=\d) [a-z]+$", "", answer)
        assert value.casefold() in said.casefold(), (said, answer)
        checked += 1
    assert checked > 200


def test_lookups_and_yes_or_no_agree_with_the_facts():
    d = Draw(11, "train")
    seen = Counter()
    for _ in range(3000):
        _, names, attributes, values = told = families.entities(d, 3, 2)
        question, answer = families.question_on(d, *told, brief=True)
        cells = {(name, a.label): (a, v) for name, row in zip(names, values, strict=True)
                 for a, v in zip(attributes, row, strict=True)}
        for (name, _), (a, v) in cells.items():
            if question[:-1] in {q.format(n=name) for q in a.questions}:
                assert answer == f"{v}{a.unit}"
                seen["lookup"] += 1
            if question.startswith(("Is it ", "Would you")) and name in question and str(v) in answer:
                pytest.fail("a brief yes or no carries a value")
            stated = {s.format(n=name, v=v, a=words.an(str(v))) for s in a.statements}
            claim = re.sub("^(Is it true that|Is it right that|Would you say that) ", "", question[:-1])
            if claim != question[:-1] and claim in stated:
                assert answer == "Yes."
                seen["yes"] += 1
        if answer == "No.":
            seen["no"] += 1
            assert not any(claim == s.format(n=n, v=v, a=words.an(str(v)))
                           for (n, _), (a, v) in cells.items() for s in a.statements)
        for a in attributes:
            if a.most and f"is the {a.most}" in question:
                assert answer == max(names, key=lambda n, a=a: cells[n, a.label][1])
                seen["most"] += 1
            if a.more and re.search(rf"is {a.more}, ", question):
                pair = [n for n in names if n in question]
                assert answer == max(pair, key=lambda n, a=a: cells[n, a.label][1])
                seen["more"] += 1
            if a.more and question.startswith(("How much " + a.more, "By how much")) and f" {a.more} " in question:
                one, two = sorted(cells[n, a.label][1] for n in names if re.search(rf"{re.escape(n)}[ ?]", question))
                assert answer == f"{two - one}{a.unit}"
                seen["difference"] += 1
    assert min(seen[s] for s in ("lookup", "yes", "no", "most", "more", "difference")) > 20, seen


@pytest.mark.parametrize("split", SPLITS)
def test_the_chosen_offer_is_one_that_was_offered(split):
    declined = named = 0
    for said, answer in exchanges("choosing", split):
        if answer.startswith("None of them"):
            declined += 1
        elif re.fullmatch(r"[^\s:.,]+_[^\s:.,]+", answer):
            assert re.search(rf"(^|[\s`(]){re.escape(answer)}($|[\s`:.,?!)])", said), (said, answer)
            named += 1
    assert named > 100
    assert declined > 10


def test_an_offer_is_chosen_by_what_it_does():
    d, chosen = Draw(4, "train"), 0
    for _ in range(300):
        made = offers.offers(d, 4)
        assert len({o.name for o in made}) == 4
        assert len({o.need for o in made}) == 4
        for o in made:
            for value in o.details.values():
                assert any(x in o.need or x in o.does for x in (str(value), plural(str(value)))), o
                chosen += 1
    assert chosen > 600


@pytest.mark.parametrize("split", SPLITS)
def test_sums_and_comparisons_are_right(split):
    checked = 0
    for said, answer in exchanges("counting", split):
        asked = said.strip().rsplit("\n", 1)[-1]
        numbers = [int(x) for x in re.findall(r"\b\d+\b", asked)]
        if "=" in answer:
            left, _, right = answer.partition(" = ")
            terms = [int(x) for x in left.replace(" - ", " + -").split(" + ")]
            assert sum(terms) == int(re.match(r"\d+", right)[0])
            assert sorted(map(abs, terms)) == sorted(numbers)
        else:
            said_number = int(re.search(r"\d+", answer)[0])
            assert said_number == (min(numbers) if "smallest" in asked else max(numbers))
            assert re.search(rf"{answer.split(',')[0].split(' has')[0]}(:| has) ?{said_number}\b", asked)
        checked += 1
    assert checked > 300


def test_copies_are_exact():
    checked = 0
    for said, answer in exchanges("copying", "train", 1500):
        asked = said.rstrip("\n")
        if re.search(r"(Count them.|are there\?|reverse order.|order around.|(Leave out|All but) the .*)$", asked):
            continue
        if match := re.search(r"Spell (?:out )?(\S+) with (hyphens|spaces|commas)\.$", asked):
            sign = {"hyphens": "-", "spaces": " ", "commas": ", "}[match[2]]
            assert answer == sign.join(match[1])
        else:
            assert answer in asked
        checked += 1
    assert checked > 1000


def test_json_that_is_asked_for_has_the_keys_and_the_values_of_the_text():
    checked = 0
    for family in ("labelling", "extracting"):
        for said, answer in exchanges(family, "train", 1200):
            match = re.search(r"with the keys ([\w, ]+)\.$", said.rstrip("\n"))
            if not match:
                continue
            data = json.loads(answer)
            for row in data if isinstance(data, list) else [data]:
                assert ", ".join(row) == match[1]
                assert all(str(value).casefold() in said.casefold() for value in row.values()), (said, answer)
            checked += 1
    assert checked > 200


def test_values_read_out_of_json_are_the_ones_in_it():
    checked = 0
    for said, answer in exchanges("labelling", "train", 1200):
        match = re.search(r"(\{.*\})\n(?:What is the value of|Give me the value of|Read out) (\S+?)[?.]$", said.strip())
        if match:
            data = json.loads(match[1])
            flat = data | {k: v for inner in data.values() if isinstance(inner, dict) for k, v in inner.items()}
            value = flat[match[2]]
            assert answer == (value if isinstance(value, str) else json.dumps(value))
            checked += 1
    assert checked > 50


def test_no_word_of_one_split_is_drawn_in_the_other():
    for name in words.POOLS:
        assert not set(words.pool(name, "train")) & set(words.pool(name, "heldout")), name
    tables = (offers.TOPICS, offers.SERVICES, offers.OPERATIONS, offers.FRAMES, offers.PROPERTIES, talk.DEFINITIONS,
              talk.FORMAL, talk.CHAT)
    for table in tables:
        train, heldout = (set(words.reserve(table, split)) for split in SPLITS)
        assert heldout
        assert not train & heldout
        assert len(train | heldout) == len(table)
    made = [set(Draw(5, split).several(Draw(6, split).made_up, 2000)) for split in SPLITS]
    assert not made[0] & made[1]
    identifiers = [{d.identifier() for _ in range(2000)} for d in (Draw(5, split) for split in SPLITS)]
    assert not identifiers[0] & identifiers[1]


def test_definitions_of_one_split_never_occur_in_the_other(drawn):
    text = {split: "\n".join(turn.text for c in drawn[split] for turn in c.turns) for split in SPLITS}
    for split, other in (SPLITS, SPLITS[::-1]):
        meanings = [meaning for _, meaning in words.reserve(talk.DEFINITIONS, split)]
        assert any(meaning in text[split] for meaning in meanings)
        assert not [meaning for meaning in meanings if meaning in text[other]]


def test_families_can_be_restricted_and_must_exist():
    (one,) = conversations(1, rng=np.random.default_rng(0), families=["counting"])
    assert re.search(r"\d", one.turns[-1].text)
    with pytest.raises(FlanError, match="families"):
        conversations(1, rng=np.random.default_rng(0), families=["poetry"])
    with pytest.raises(FlanError, match="split"):
        conversations(1, rng=np.random.default_rng(0), split="test")


@pytest.mark.parametrize(("value", "written"), [("4.5", 4.5), ("4.50", "4.50"), ("12", 12), ("0012", "0012"), (7, 7),
                                                ("nan", "nan"), ("1e3", "1e3"), ("19:30", "19:30")])
def test_written_numbers_become_numbers_only_where_nothing_is_lost(value, written):
    assert skills.numeric(value) == written
