"""Whole episodes: references solve them all, other calls solve none, and no reply breaks the harness."""

import json
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flanlib.benchmarks.episodes import LONGEST_REPLY, LONGEST_TALK, MOST_CALLS, play, solves, table
from flanlib.dialects import DIALECTS, render
from flanlib.dialects.elicit import ANSWER
from flanlib.lab import tasks
from flanlib.lab.world import world
from flanlib.records import FlanError

SHAPES = (*tasks.SHAPES, *[tasks.UNSERVED] * 4)
TASKS = {split: tasks.tasks(80, rng=np.random.default_rng(5), split=split, shapes=SHAPES)
         for split in ("train", "heldout")}  # fmt: skip
HELD = TASKS["heldout"]
SERVED = [task for task in HELD if task.shape != tasks.UNSERVED]
ENDS = {"answered", "malformed", "too many calls", "too long"}


def replies(items, protocol):
    """Return the assistant's turns of the reference conversations, by id."""
    return {item.trajectory.id: [turn.text for turn in render(item.trajectory, protocol).turns
                                 if turn.role == "assistant"] for item in items}  # fmt: skip


def oracle(items, protocol, change=lambda text, one: text):
    references = replies(items, protocol)

    def generate(prompts):
        return [change(references[one.id.split("/")[0]][sum(t.role == "assistant" for t in one.turns)], one)
                for one in prompts]  # fmt: skip

    return generate


@pytest.mark.parametrize("protocol", DIALECTS)
@pytest.mark.parametrize("split", TASKS)
def test_references_solve_every_task(split, protocol):
    rows = table(play(TASKS[split], protocol, oracle(TASKS[split], protocol)))
    assert rows["solved"].eq(1).all()
    assert rows["ended"].eq("answered").all()
    assert rows["calls"].tolist() == [len(task.trajectory.steps) for task in TASKS[split]]
    assert (rows["calls"] == rows["valid_calls"]).all()
    assert rows["invented"].eq(0).all()
    assert rows["shape"].tolist() == [task.shape for task in TASKS[split]]


@pytest.mark.parametrize("protocol", DIALECTS)
def test_a_round_is_one_generate_call_for_all_unfinished_episodes(protocol):
    sizes, repeat = [], oracle(HELD, protocol)

    def counted(prompts):
        sizes.append(len(prompts))
        assert len({one.id for one in prompts}) == len(prompts)
        return repeat(prompts)

    ended = play(HELD, protocol, counted)
    references = replies(HELD, protocol)
    lengths = [len(texts) for texts in references.values()]
    assert sizes == [sum(length > k for length in lengths) for k in range(max(lengths))]
    for episode in ended:
        assert [turn.text for turn in episode.conversation.turns if turn.role == "assistant"] == references[episode.id]


@pytest.mark.parametrize("protocol", DIALECTS)
def test_an_agent_that_calls_the_wrong_tool_and_answers_with_what_it_sees_solves_next_to_nothing(protocol):
    references = replies(SERVED, protocol)
    names = {task.trajectory.id: [tool.name for tool in task.trajectory.tools] for task in SERVED}

    def generate(prompts):
        out = []
        for one in prompts:
            id, k = one.id.split("/")[0], sum(turn.role == "assistant" for turn in one.turns)
            text, seen = references[id][min(k, len(references[id]) - 1)], one.turns[-1].text
            if one.turns[-1].text in ANSWER:  # in chat form the last thought is between the result and this question
                text = one.turns[-3].text
            elif "Final Answer: " in text:
                text = f"Thought: I see.\nFinal Answer: {seen}"
            elif '"answer": ' in text:
                text = json.dumps({"thought": "I see.", "answer": seen})
            else:
                named = next((i for i, name in enumerate(names[id]) if name in text), None)
                text = text if named is None else text.replace(names[id][named], names[id][named - 1])
            out.append(text)
        return out

    rows = table(play(SERVED, protocol, generate))
    assert protocol == "chat" or rows["invented"].eq(0).all()  # in chat, the other tool gets other arguments
    assert rows["solved"].mean() <= 0.05  # not 0: the brightest lighthouse of a coast can also be its lowest


@pytest.mark.parametrize(("protocol", "call"), [
    ("react", "Thought: x\nAction: zzz_zzz\nAction Input: {}"),
    ("json", '{"thought": "x", "name": "zzz_zzz", "arguments": {}}'),
    ("chat", "zzz_zzz"),
])  # fmt: skip
def test_calls_to_tools_not_offered_are_counted_answered_and_bounded(protocol, call):
    rows = table(ended := play(HELD[:8], protocol, lambda prompts: [call] * len(prompts)))
    assert rows["ended"].eq("too many calls").all()
    assert (rows["calls"] == MOST_CALLS).all()
    assert (rows["invented"] == MOST_CALLS).all()
    assert rows[["valid_calls", "solved"]].eq(0).all(axis=None)
    assert all("no such tool" in " ".join(turn.text for turn in episode.conversation.turns) for episode in ended)


def test_a_tool_of_the_world_that_is_not_offered_is_not_run():
    task = HELD[0]
    other = next(name for name in world().tools if name not in {t.name for t in task.trajectory.tools})
    reply = f'{{"thought": "x", "name": "{other}", "arguments": {{}}}}'
    (row,) = play([task], "json", lambda prompts: [reply] * len(prompts))
    assert (row.invented, row.valid_calls) == (MOST_CALLS, 0)


HOSTILE = {
    "nothing": "",
    "spaces": " \n ",
    "text": "I would rather not.",
    "long": "word " * 200_000,
    "label": "Thought: x\nAction: {tool}\nAction Input: " + "[" * 100_000,
    "nested": 'Thought: x\nAction: {tool}\nAction Input: {"a": ' + "[" * 300 + "]" * 300 + "}",
    "nested json": '{"thought": "x", "name": "{tool}", "arguments": {"a": ' + "[" * 300 + "]" * 300 + "}}",
    "huge": 'Thought: x\nAction: {tool}\nAction Input: {"n": ' + "9" * 600 + "}",
    "infinite": '{"thought": "x", "name": "{tool}", "arguments": {"n": 1e999}}',
    "nan": '{"thought": "x", "name": "{tool}", "arguments": {"n": NaN}}',
    "list": "[1, 2]",
    "types": '{"thought": "x", "name": ["{tool}"], "arguments": 3}',
    "surrogate": "\ud800",
    "escaped surrogate": '{"thought": "\\ud800", "name": "\\udfff", "arguments": {"\\ud800": "\\ud800"}}',
    "mark": "<|Human|>\u0d46 hello \u0d3f",
    "answer": "Thought: x\nFinal Answer: " + "y" * 5000,
    "name": "{tool}",
}


@pytest.mark.parametrize("protocol", DIALECTS)
@pytest.mark.parametrize("kind", HOSTILE)
def test_every_reply_ends_within_bounds(protocol, kind):
    names = {task.trajectory.id: task.trajectory.tools[0].name for task in HELD}
    rounds = []

    def generate(prompts):
        rounds.append(len(prompts))
        return [HOSTILE[kind].replace("{tool}", names[one.id.split("/")[0]]) for one in prompts]

    for episode in play(SERVED[:10], protocol, generate):
        assert not episode.solved
        assert episode.ended in ENDS
        assert episode.calls <= MOST_CALLS
        assert sum(len(turn.text) for turn in episode.conversation.turns) <= LONGEST_TALK + LONGEST_REPLY + 300
    assert len(rounds) <= (MOST_CALLS + 1) * 8


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(DIALECTS)), st.lists(st.text(max_size=40) | st.sampled_from(list(HOSTILE.values())),
                                                   min_size=1, max_size=8), st.integers(0, 79))  # fmt: skip
def test_any_sequence_of_replies_ends(protocol, texts, which):
    turn = defaultdict(int)

    def generate(prompts):
        turn["round"] += 1
        return [texts[turn["round"] % len(texts)] for _ in prompts]

    (episode,) = play([HELD[which]], protocol, generate)
    assert episode.ended in ENDS
    guessed = HELD[which] not in SERVED or solves(episode.answer, HELD[which])  # "3" happens to be some answers
    assert not episode.solved or (episode.ended == "answered" and guessed)


def test_a_call_with_wrong_arguments_gets_an_error_and_the_episode_goes_on():
    task = next(task for task in HELD if task.shape == "single")
    reference = replies([task], "json")[task.trajectory.id]
    bad = json.dumps({**json.loads(reference[0]), "arguments": {"nonsense": 1}})
    script = [bad, *reference]
    (episode,) = play([task], "json", lambda prompts: [script.pop(0)])
    assert (episode.solved, episode.calls, episode.valid_calls) == (True, 2, 1)
    assert "unknown argument" in episode.conversation.turns[3].text


@pytest.mark.parametrize(
    ("shape", "expected", "answer", "right"),
    [
        ("single", ("12",), "It is 12.", True),
        ("single", ("12",), "It is 112, or 12.5, or 3,12.", False),
        ("single", ("12.5",), "It costs 12.5 crowns.", True),
        ("single", ("12.5",), "It costs 12.55 crowns.", False),
        ("single", ("Ulm", "Bonn"), "bonn and ULM", True),
        ("single", ("Ulm", "Bonn"), "Ulm and Bonnet", False),
        ("single", ("Ulm has no frost",), "No: Ulm has no frost.", True),
        ("single", ("Ulm has no frost",), "Ulm has frost.", False),
    ],
)
def test_an_answer_holds_every_expected_text_as_whole_words(shape, expected, answer, right):
    assert solves(answer, tasks.Task(shape, HELD[0].trajectory, expected)) == right


def test_in_a_comparison_the_right_name_must_come_first():
    task = next(task for task in HELD if task.shape == "compare")
    (winner,) = task.expected
    loser = next(v for step in task.trajectory.steps for v in step.arguments.values() if v != winner)
    assert solves(f"{winner} has more: {loser} has 3.", task)
    assert not solves(f"{loser} has more: {winner} has 3.", task)


def test_a_request_that_no_tool_serves_is_solved_without_a_call():
    bare = next(task for task in HELD if task not in SERVED)
    answer = replies([bare], "json")[bare.trajectory.id]
    call = [f'{{"thought": "x", "name": "{bare.trajectory.tools[0].name}", "arguments": {{}}}}']
    for script, solved in ((answer, True), (call + answer, False)):
        (episode,) = play([bare], "json", lambda prompts, s=script: [s[len(prompts[0].turns) // 2 - 1]])
        assert (episode.solved, episode.ended) == (solved, "answered")


def test_an_unknown_protocol_is_refused():
    with pytest.raises(FlanError, match="dialect"):
        play(HELD[:1], "morse", lambda prompts: [""])


def test_the_same_replies_give_the_same_table():
    first, second = (table(play(HELD[:20], "chat", oracle(HELD, "chat"))) for _ in range(2))
    assert first.equals(second)
    assert play([], "chat", lambda prompts: []) == []
    assert list(table([]).columns) == list(first.columns)
