"""Work in steps with a list of offers: all that is answered can be read, and nothing of the agent tuning is in it."""

import re

import numpy as np
import pytest

from flanlib.dialects import elicit
from flanlib.lab.talk import FAMILIES, conversations
from flanlib.lab.world import world

SPLITS = ("train", "heldout")


@pytest.fixture(scope="module", params=SPLITS)
def drawn(request):
    return conversations(600, rng=np.random.default_rng(5), split=request.param, families=["delegating"])


def test_it_is_drawn_only_where_it_is_named():
    assert "delegating" not in FAMILIES


def test_every_name_that_is_answered_stands_once_in_the_list(drawn):
    for conversation in drawn:
        given = "\n".join(turn.text for turn in conversation.turns if turn.role != "assistant")
        named = [turn.text for turn in conversation.turns if turn.role == "assistant" and "_" in turn.text]
        assert named, conversation
        for name in named:
            assert len(re.findall(rf"(?<![\w_]){re.escape(name)}(?![\w_])", given)) == 1, (name, given)


def test_every_value_that_is_answered_has_been_said(drawn):
    for conversation in drawn:
        said = ""
        for turn in conversation.turns:
            if turn.role == "assistant" and " " not in turn.text:
                assert turn.text.rstrip(".") in said, (turn.text, said)
            said += turn.text + "\n"


def test_nothing_is_left_to_fill_in_and_nothing_looks_like_a_call(drawn):
    for turn in (turn for conversation in drawn for turn in conversation.turns):
        assert not re.search(r"\{\w*\}|\[\w*\|", turn.text), turn.text
        if turn.role == "assistant":
            assert not re.search(r"[{}\[\]\"]", turn.text), turn.text


def test_the_statements_that_chat_form_uses_are_not_among_its_questions(drawn):
    own = {*elicit.ACTION, *elicit.ANSWER}
    asked = [turn.text for conversation in drawn for turn in conversation.turns if turn.role == "user"]
    assert not own & set(asked)
    assert not [text for text in asked if text.startswith(elicit.RESULT)]
    assert not [text for text in asked for before, after in elicit.ARGUMENT
                if text.startswith(before) and text.endswith(after)]  # fmt: skip


def test_no_tool_of_the_world_is_on_offer(drawn):
    tools = world().tools
    text = "\n".join(turn.text for conversation in drawn for turn in conversation.turns)
    told = set(re.findall(r"[^\s:()]+_[^\s:()]+", text))
    assert not told & set(tools)
    assert not [tool.tool.description for tool in tools.values() if f"{tool.tool.description}:" in text]
