import json as stdlib_json
from itertools import permutations

import pytest
from hypothesis import example, given, settings
from strategies import trajectories

from flanlib.dialects import DIALECTS, elicit, parse, render
from flanlib.dialects.following import pairs
from flanlib.records import CAPABILITIES, Conversation, FlanError, Step, Tool, Trajectory, say, thaw

TOOL = Tool("find_town", "Find a town.", {"properties": {"name": {"type": "string"}}, "required": ["name"]})
LOOKUP = Trajectory("t1", "test", "How big is Ulm?", (TOOL,),
                    (Step("Look it up.", "find_town", {"name": "Ulm"}, '{"people": 126000}'),),
                    "126,000 people.", "I know it now.")  # fmt: skip
TRICKY = Trajectory("t2", "test", "Go\n\nWhich tool would you call?", (),
                    (Step("", "a", {}, "\n\nSo what is the answer?"),
                     Step("Result: ", "b", {"": '"3"', "x": 3}, "And what about `a`?")),
                    "Thought: no\nAction: x\n\\Final Answer: y", "", "Be kind.\n\n")  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
@given(trajectory=trajectories())
@example(trajectory=LOOKUP)
@example(trajectory=TRICKY)
@settings(max_examples=120, deadline=None)
def test_every_trajectory_reads_back_exactly(dialect, trajectory):
    back = parse(render(trajectory, dialect), dialect)
    assert back == trajectory
    # == treats 1, True and 1.0 as equal, JSON text does not
    assert [stdlib_json.dumps(thaw(s.arguments)) for s in back.steps] == [
        stdlib_json.dumps(thaw(s.arguments)) for s in trajectory.steps
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
@given(trajectory=trajectories())
@settings(max_examples=40, deadline=None)
def test_only_assistant_turns_are_trained_and_labelled(dialect, trajectory):
    for turn in render(trajectory, dialect).turns:
        assert turn.trained == (turn.role == "assistant")
        assert all((span.kind in CAPABILITIES) == turn.trained for span in turn.spans)


def test_react_text_is_what_a_reader_of_the_paper_expects():
    turn = render(LOOKUP, "react").turns[2]
    assert turn.text == 'Thought: Look it up.\nAction: find_town\nAction Input: {"name": "Ulm"}'
    assert [(s.text, s.kind) for s in turn.spans if s.kind != "instruction"] == [
        ("Look it up.", "reasoning"), ("find_town", "retrieval"), ("name", "understanding"), ("Ulm", "understanding"),
    ]  # fmt: skip


def test_chat_form_asks_for_one_piece_at_a_time():
    replies = [turn.text for turn in render(LOOKUP, "chat").turns if turn.role == "assistant"]
    assert replies == ["Look it up.", "find_town", "Ulm", "I know it now.", "126,000 people."]


def test_chat_form_has_no_label_or_brace_of_the_other_forms():
    text = " ".join(turn.text for turn in render(LOOKUP, "chat").turns)
    assert not any(mark in text for mark in ("Thought:", "Action", "Final Answer", '"arguments"'))


def test_elicit_statements_vary_by_row_but_not_by_run():
    rows = [render(Trajectory(f"t{i}", "test", "Q", (TOOL,), LOOKUP.steps, "A"), "chat") for i in range(200)]
    again = [render(Trajectory(f"t{i}", "test", "Q", (TOOL,), LOOKUP.steps, "A"), "chat") for i in range(200)]
    assert rows == again
    assert len({row.turns[3].text for row in rows}) == len(elicit.ACTION) >= 12
    assert render(LOOKUP, "chat", seed=1) != render(LOOKUP, "chat", seed=2)


def test_no_elicit_statement_can_be_taken_for_another():
    starts = [before for before, _ in elicit.ARGUMENT] + list(elicit.RESULT)
    assert min(len(elicit.ACTION), len(elicit.ARGUMENT), len(elicit.RESULT), len(elicit.ANSWER)) >= 12
    for a, b in permutations(starts, 2):
        assert not b.startswith(a), (a, b)
    for whole in elicit.ACTION + elicit.ANSWER:
        assert not any(whole.startswith(start) for start in starts), whole
    assert not set(elicit.ACTION) & set(elicit.ANSWER)


@pytest.mark.parametrize(
    ("dialect", "reply"),
    [
        ("react", "I would look it up."),
        ("react", "Thought: x\nAction: y"),
        ("react", "Thought: x\nAction: y\nAction Input: [1]"),
        ("react", "Action: y\nAction Input: {}"),
        ("json", "find_town"),
        ("json", '{"thought": "x", "name": "y"}'),
        ("json", '{"thought": "x", "name": "y", "arguments": {"a": NaN}}'),
    ],
)
def test_a_turn_in_no_dialect_is_named(dialect, reply):
    row = Conversation("row 7", "test", (say("user", "Q"), say("assistant", reply, "general", trained=True)))
    with pytest.raises(FlanError, match=r"row 7, turn 2: found .* expected"):
        parse(row, dialect)


def test_a_chat_row_without_elicit_statements_is_named():
    row = Conversation("row 8", "test", (say("user", "Q"), say("assistant", "A", "general"), say("user", "B"),
                                         say("assistant", "C", "general")))  # fmt: skip
    with pytest.raises(FlanError, match="row 8, turn 1"):
        parse(row, "chat")


def test_an_unknown_dialect_lists_the_known_ones():
    with pytest.raises(FlanError, match=", ".join(DIALECTS)):
        render(LOOKUP, "morse")


def test_following_pairs_vary_their_keys_and_answer_in_the_asked_form():
    rows = pairs([LOOKUP, TRICKY], 200, seed=0)
    assert rows == pairs([LOOKUP, TRICKY], 200, seed=0)
    assert rows != pairs([LOOKUP, TRICKY], 200, seed=1)
    objects, lines, keys = 0, 0, set()
    for row in rows:
        reply = row.turns[-1].text
        if reply.startswith("{"):
            fields = stdlib_json.loads(reply)
            objects += 1
            assert {"Ulm"} <= set(fields[list(fields)[2]].values()) or fields[list(fields)[1]] in ("a", "b")
            keys.add(tuple(fields))
            assert all(f'"{key}"' in row.turns[0].text for key in fields)
        else:
            lines += 1
            keys.add(tuple(line.split(":")[0] for line in row.turns[0].text.splitlines() if ": the " in line))
        assert row.turns[-1].trained
    assert 60 < objects < 140
    assert 60 < lines < 140
    assert len(keys) > 40
