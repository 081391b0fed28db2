"""The ordinary requests, the default model's replies to them, and the general questions, as they ship."""

import re
from collections import Counter
from itertools import product

import pytest

from flanlib.lab import ordinary
from flanlib.lab.world import SPLITS, world
from flanlib.records import FlanError

SMALL = set(re.findall(r"\w+", "a an the of and or in on for to is are was what why how do does me my i you it with"))


def words(text):
    return re.findall(r"\w+", text.casefold())


def test_requests_and_questions_are_all_different_and_named():
    rows = [*ordinary.requests("train"), *ordinary.requests("heldout")]
    assert min(len(ordinary.requests(split)) for split in SPLITS) >= 150
    for key in ("id", "text"):
        assert len({getattr(row, key) for row in rows}) == len(rows)
    assert all(row.id.startswith(f"ordinary-{row.split}-") and row.text == row.text.strip() for row in rows)
    families = Counter((row.split, row.family) for row in rows)
    assert len({family for _, family in families}) * 2 == len(families)
    assert min(families.values()) >= 10
    questions = ordinary.questions()
    assert len({one.text for one in questions}) == len(questions) >= 100
    assert all(one.answers for one in questions)
    assert all(name in one.text for one in questions for name in one.others)


def test_no_request_is_nearly_one_of_the_other_split():
    """A topic is in one split only. A way of asking can be in both."""
    common = Counter(word for split in SPLITS for row in ordinary.requests(split) for word in {*words(row.text)})
    word_sets = {split: [({*words(row.text)} - SMALL, row) for row in ordinary.requests(split)] for split in SPLITS}
    for (a, one), (b, other) in product(*word_sets.values()):
        if one.family == other.family and len(a ^ b) <= 2:
            differ = a ^ b
            assert any(common[word] <= 6 for word in differ), (one.text, other.text)


def test_no_request_and_no_reply_knows_the_world():
    texts = [turn.text for split in SPLITS for one in ordinary.conversations(split) for turn in one.turns]
    texts += [one.text for one in ordinary.questions()]
    used = {word for text in texts for word in re.findall(r"\w+", text)}
    assert not used & {*world().tools}
    descriptions = [tool.tool.description for tool in world().tools.values()]
    lab = world()
    values = [name for table in (lab.groups, lab.entities, lab.pooled) for names in table.values() for name in names]
    everything = "\n".join(texts)
    assert not [description for description in descriptions if description in everything]
    assert not [name for name in values if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", everything)]


@pytest.mark.parametrize("split", SPLITS)
def test_conversations_are_requests_with_their_replies(split):
    prompts = {row.id: row.text for row in ordinary.requests(split)}
    conversations = ordinary.conversations(split)
    assert len(prompts) >= len(conversations) >= 140
    for conversation in conversations:
        question, reply = conversation.turns
        assert conversation.source == "ordinary"
        assert (question.role, question.trained, question.text) == ("user", False, prompts[conversation.id])
        assert (reply.role, reply.trained, reply.text) == ("assistant", True, ordinary.replies()[conversation.id])
        assert [span.kind for span in reply.spans] == ["general"]
        assert reply.text.strip()
    assert not {*ordinary.replies()} - {row.id for each in SPLITS for row in ordinary.requests(each)}


def test_another_split_is_refused():
    with pytest.raises(FlanError, match="the split 'test'"):
        ordinary.requests("test")


@pytest.mark.parametrize("line", ["{", '{"id": "a"}', "[]", '{"id": "a", "reply": 3, "split": "train"}', "3"])
@pytest.mark.parametrize("read", [ordinary.replies, ordinary.questions, lambda: ordinary.requests("train")])
def test_a_bad_line_is_named(tmp_path, monkeypatch, line, read):
    for name in ("replies", "questions", "requests"):
        (tmp_path / f"{name}.jsonl").write_text(f"{line}\n", encoding="utf-8")
    monkeypatch.setattr(ordinary, "FOLDER", tmp_path)
    for cached in (ordinary.replies, ordinary.questions, ordinary.requests):
        cached.cache_clear()
    try:
        with pytest.raises(FlanError, match=r"jsonl, line 1: .*Restore the file"):
            read()
    finally:
        for cached in (ordinary.replies, ordinary.questions, ordinary.requests):
            cached.cache_clear()
