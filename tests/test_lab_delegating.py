"""Work in steps with a list of offers: all that is answered can be read, and nothing of the agent tuning is in it."""

import json
import re
from itertools import product

import numpy as np
import pytest

from flanlib.dialects import elicit
from flanlib.lab.talk import APART, FAMILIES, conversations
from flanlib.lab.words import Draw
from flanlib.lab.world import world

SPLITS = ("train", "heldout")


@pytest.fixture(scope="module", params=product(SPLITS, APART), ids=" ".join)
def drawn(request):
    split, family = request.param
    return conversations(600, rng=np.random.default_rng(5), split=split, families=[family])


def test_it_is_drawn_only_where_it_is_named():
    assert not set(APART) & set(FAMILIES)


def test_what_is_told_plainly_lists_ordinary_words_only(monkeypatch):
    monkeypatch.setattr(Draw, "made_up", lambda d: f"zzz{int(d.random() * 1e6)}")
    made_up = {}
    for family in APART:
        texts = [turn.text for c in conversations(200, rng=np.random.default_rng(5), families=[family])
                 for turn in c.turns]  # fmt: skip
        listed = [line for text in texts for line in text.split("\n") if "_" in line and " " in line]
        assert len(listed) > 600
        made_up[family] = sum("zzz" in re.sub(r"[^\s()]+_[^\s()]+", "", line) for line in listed) / len(listed)
    assert made_up["delegating plainly"] == 0 < 0.4 < made_up["delegating"]
    assert 0 < made_up["delegating widely"] < 0.6 * made_up["delegating"]


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
                assert turn.text.rstrip(".").casefold() in said.casefold(), (turn.text, said)
            said += turn.text + "\n"


def test_nothing_is_left_to_fill_in_and_nothing_looks_like_a_call(drawn):
    for turn in (turn for conversation in drawn for turn in conversation.turns):
        assert not re.search(r"\{\w*\}|\[\w*\|", turn.text), turn.text
        if turn.role == "assistant" and turn.text.startswith("["):  # several names, the one thing that JSON is for here
            assert all(isinstance(name, str) for name in json.loads(turn.text))
        elif turn.role == "assistant":
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


@pytest.mark.parametrize(("split", "family"), list(product(SPLITS, APART[:2])))
def test_a_comparison_names_the_thing_that_has_more_or_less(split, family):
    checked = 0
    for conversation in conversations(600, rng=np.random.default_rng(5), split=split, families=[family]):
        told = "\n".join(turn.text for turn in conversation.turns)
        asked = re.search(r"which of (.+) and (.+) has the (higher|greater|larger|lower|smaller|lesser) ", told)
        if asked is None:
            continue
        outcome = re.search(r"(\d+) is (more than|higher than|above|less than|lower than|below) (\d+)", told)
        left, right = int(outcome[1]), int(outcome[3])
        assert (left > right) == (outcome[2] in {"more than", "higher than", "above"}) or left == right, told
        first_is_left = told.index(outcome[1]) < told.index(outcome[3])  # found in the order in which they were asked
        first, second = (left, right) if first_is_left else (right, left)
        best = asked[1] if (first > second) == (asked[3] in {"higher", "greater", "larger"}) else asked[2]
        sentence = next(line for line in told.split("\n") if outcome[0] in line)
        assert best in sentence or left == right, told
        checked += 1
    assert checked > 30


@pytest.mark.parametrize(("split", "family"), list(product(SPLITS, APART[2:])))
def test_what_is_told_of_several_things_follows_from_what_came(split, family):
    """Of two or three things: which has most or least, what they make together, how far apart they are."""
    checked = {"most": 0, "sum": 0, "gap": 0}
    forms = {"sum": r"(?:which makes|in all it is|together) (\d+)\.|^(\d+) in all", "gap":
             r"difference is (\d+)\.|^(\d+) apart", "most": r"so it is (.+)\.|(?:It is|say|makes it) (.+), since"}
    for conversation in conversations(600, rng=np.random.default_rng(5), split=split, families=[family]):
        told = [turn.text for turn in conversation.turns]
        for text in told:
            facts = re.findall(r"(\S[^,]*?) has (\d+)(?= and |, |\.)", re.sub(r"^.*(?:since|because) ", "", text))
            values = [int(value) for _, value in facts]
            if len(values) < 2:
                continue
            form, found = next((form, found) for form, pattern in forms.items() if (found := re.search(pattern, text)))
            said = found[1] or found[2]
            if form == "most":
                *_, end = re.findall(r"which(?: one| of .*)? has the (\w+)", "\n".join(told[: told.index(text)]))
                more = end in {"highest", "greatest", "largest"}
                best = (max if more else min)(facts, key=lambda fact: int(fact[1]))[0]
                assert best.removeprefix("and ").endswith(said), (end, text)
            else:
                assert int(said) == (sum(values) if form == "sum" else max(values) - min(values)), text
            checked[form] += 1
    assert min(checked.values()) > 20


def worked(rng_seed, n):
    """Yield (user's request, first plan, how many offers were used) for requests that were told in full."""
    for conversation in conversations(n, rng=np.random.default_rng(rng_seed), families=["delegating in full"]):
        turns = [turn for turn in conversation.turns if turn.role != "system"]
        plan = next(i for i, turn in enumerate(turns) if turn.role == "assistant")
        names = [turn.text for turn in turns if turn.role == "assistant" and re.fullmatch(r"[^\W\d]\w*_\w+", turn.text)]
        yield turns[plan - 1].text, turns[plan].text, len(names)


def test_how_many_steps_follow_can_often_not_be_told_from_the_plan():
    """Half of the plans would fit a single step and a first one: the request has to be read."""
    opening = {True: [], False: []}
    for asked, plan, steps in worked(7, 1500):
        if "\n- " not in asked:
            opening[steps > 1].append(" ".join(plan.split()[:2]))
    single = set(opening[False])
    alike = sum(words in single for words in opening[True]) / len(opening[True])
    assert min(map(len, opening.values())) > 100
    assert 0.3 < alike < 0.9
    assert len(set(opening[True]) | single) > 150  # no two words are the mark of a plan


def test_what_is_denied_is_what_came_back_as_false():
    checked = {True: 0, False: 0}
    for conversation in conversations(1500, rng=np.random.default_rng(5), families=["delegating in full"]):
        for before, after in zip(conversation.turns, conversation.turns[1:], strict=False):
            came = re.search(r"(?::|this) (?:\{.*: )?(true|false)\}?$", before.text)
            if came and before.role == "user":
                denied = re.search(r"\b(is not|does not have)\b", after.text) is not None
                assert denied == (came[1] == "false"), (before.text, after.text)
                checked[denied] += 1
    assert min(checked.values()) > 10


def test_no_sentence_of_a_plan_begins_small(drawn):
    for turn in (turn for conversation in drawn for turn in conversation.turns if turn.role == "assistant"):
        if " " in turn.text and not turn.text.startswith("["):
            assert not turn.text[0].islower(), turn.text
