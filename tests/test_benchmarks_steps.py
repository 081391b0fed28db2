"""Judging steps: an oracle that repeats the reference is right, and other replies are wrong."""

import functools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flanlib.benchmarks import Prompt, steps
from flanlib.benchmarks.intention import Intention, lab_intention, nearest
from flanlib.benchmarks.reading import RIGHT, UNDECIDED, WRONG
from flanlib.dialects import DIALECTS, render
from flanlib.inference.generate import prompt_text
from flanlib.lab import tasks
from flanlib.pretrained import folder
from flanlib.records import FlanError, Step, Tool, Trajectory, first_json
from flanlib.tally import Tally
from flanlib.text.templates import get_template
from flanlib.text.tokens import encode_all, load_tokenizer

ODD = Trajectory(
    "odd", "hand", "Do it.",
    (Tool("a.b-c", 'Says "hi".', {"properties": {
        "s": {"type": "string"}, "n": {"type": "integer"}, "x": {"type": "number"}, "b": {"type": "boolean"},
        "l": {"type": "array"}, "o": {"type": "object"}, "name": {"type": "string"}, "z": {}}}), Tool("d")),
    (Step('Say "so", "name": x\nAction: y\\', "a.b-c",
          {"s": "3", "n": -2, "x": 2.5, "b": False, "l": ["a", [1]], "o": {"k": None}, "name": " é\n🙂", "z": None},
          "ok"),
     Step("", "d", {}, "done")),
    "All \n good.", "Now I can answer the user.",
)  # fmt: skip


@functools.cache
def held_out():
    return tasks.tasks(60, rng=np.random.default_rng(7), split="heldout", shapes=(*tasks.SHAPES, tasks.UNSERVED))


def oracle(items, protocol):
    """Return a generate callable that continues the reference from each prompt's end, up to a stop text."""
    references = {}
    for item in items:
        turns = render(getattr(item, "trajectory", item), protocol).turns
        references |= {turns[:i]: turn.text for i, turn in enumerate(turns) if turn.role == "assistant"}

    def generate(prompts):
        replies = []
        for one in prompts:
            assert references[one.turns].startswith(one.begun)
            rest = references[one.turns].removeprefix(one.begun)
            replies.append(rest[: min([rest.index(stop) for stop in one.stop if stop in rest], default=None)])
        return replies

    return generate


def verdicts(one):
    """Return a read callable that gives every passage the same verdict."""
    return lambda texts, passages: [[one] * len(listed) for listed in passages]


@pytest.mark.parametrize("protocol", DIALECTS)
@pytest.mark.parametrize("read", [RIGHT, UNDECIDED])
def test_the_reference_is_right_whether_read_or_generated(protocol, read):
    frame = steps.measure(held_out(), protocol, oracle(held_out(), protocol), verdicts(read))
    assert tuple(frame.columns) == steps.COLUMNS
    means = frame.groupby("score")["value"].mean()
    assert set(means.index) - {"naming"} == {"instruction", "retrieval", "understanding", "reasoning"}
    assert ("naming" in means.index) == (protocol != "chat")
    assert means.drop("reasoning").eq(1).all()
    assert means["reasoning"] >= 0.95
    assert set(frame["id"]) == {task.trajectory.id for task in held_out()}
    calls = sum(len(task.trajectory.steps) for task in held_out())
    assert (frame["score"] == "retrieval").sum() == calls
    assert (frame["score"] == "reasoning").sum() == calls + len(held_out())
    assert set(frame[frame["score"] == "retrieval"]["note"]) == {"read" if read == RIGHT else "generated"}


@pytest.mark.parametrize("protocol", DIALECTS)
def test_odd_names_thoughts_and_values_are_right_too(protocol):
    for read in (RIGHT, UNDECIDED):
        frame = steps.measure([ODD], protocol, oracle([ODD], protocol), verdicts(read))
        assert frame[frame["score"] == "understanding"]["type"].tolist() == [
            "string", "integer", "number", "boolean", "array", "object", "string", "any"]  # fmt: skip
        assert frame[~frame["score"].isin(["reasoning"])]["value"].eq(1).all()


@pytest.mark.parametrize("protocol", DIALECTS)
def test_only_the_first_tasks_are_generated_and_all_are_read(protocol):
    frame = steps.measure(held_out(), protocol, oracle(held_out(), protocol), verdicts(RIGHT), free=3)
    counts = frame.groupby("score")["id"].nunique()
    assert counts["instruction"] == counts["reasoning"] == 3
    assert counts["retrieval"] == sum(bool(task.trajectory.steps) for task in held_out())


@pytest.mark.parametrize("protocol", DIALECTS)
@pytest.mark.parametrize(
    "reply", ["", "I would say so.", "{", '{"' * 5000, "[" * 100_000, "9" * 5000, "\ud800", "null"]
)
def test_every_reply_is_judged(protocol, reply):
    for read in (WRONG, UNDECIDED):
        frame = steps.measure(held_out()[:6], protocol, lambda prompts: [reply] * len(prompts), verdicts(read))
        judged = frame[~frame["score"].isin(["instruction", "reasoning"])]
        assert judged["value"].eq(0).all()
        if protocol != "chat":
            assert frame["value"].eq(0).all()


@pytest.mark.parametrize(("protocol", "reply"), [("react", '"3"}'), ("json", '"3"}}'), ("chat", '"3"')])
def test_an_argument_of_another_type_is_wrong(protocol, reply):
    frame = steps.measure([ODD], protocol, lambda prompts: [reply] * len(prompts), verdicts(UNDECIDED))
    integers = frame[(frame["score"] == "understanding") & (frame["type"] == "integer")]
    assert integers["value"].tolist() == [0]


@pytest.mark.parametrize(
    ("text", "type", "fits"),
    [("3", "integer", True), ("3.0", "integer", False), ("3", "number", True), ("3", "string", False),
     ('"3"', "string", True), ("true", "boolean", True), ("true", "integer", False), ("1", "boolean", False),
     ('["a"]', "array", True), ("a, b", "array", False), ("Ulm\nor Bonn", "string", False), (" Ulm ", "string", True),
     ("anything", "any", True), ("x", "a type nobody knows", True), ("null", "null", True)],
)  # fmt: skip
def test_the_form_of_a_value_follows_its_type(text, type, fits):
    assert steps.is_value(text, type) == fits


@settings(max_examples=60)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "1", "a"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    )
)
def test_a_value_equals_itself_and_not_its_text(value):
    assert steps.same(value, value)
    assert not steps.same(str(value) + "!", value)


def test_two_tasks_of_one_id_are_refused():
    other = tasks.tasks(1, rng=np.random.default_rng(8), split="heldout")
    with pytest.raises(FlanError, match="two tasks of that id"):
        steps.measure([held_out()[0], *other], "react", lambda prompts: [""] * len(prompts), verdicts(WRONG))


def test_the_measure_of_reasoning_accepts_references_and_little_else():
    train = tasks.tasks(300, rng=np.random.default_rng(2))
    thoughts = [[*(step.thought for step in one.trajectory.steps), one.trajectory.answer_thought] for one in train]
    own, same_task, other_task, right = [], [], [], lab_intention().right
    for item, mine, others in zip(train, thoughts, [thoughts[-1], *thoughts], strict=False):
        for step, thought in enumerate(mine):
            own.append(right(thought, item, step))
            same_task += [right(other, item, step) for other in mine if other != thought]
            other_task += [right(other, item, step) for other in others]
    assert np.mean(own) >= 0.95
    assert np.mean(same_task) <= 0.15
    assert np.mean(other_task) <= 0.03


def test_a_thought_must_name_its_values_and_the_right_move():
    call = held_out()[next(i for i, t in enumerate(held_out()) if t.shape == "difference")]
    step = call.trajectory.steps[1]
    right = lab_intention().right
    assert right(step.thought, call, 1)
    (value,) = step.arguments.values()
    assert not right(step.thought.replace(value, "Nowhere"), call, 1)
    assert not right(call.trajectory.answer_thought, call, 1)
    assert not right("", call, 1)
    assert right(call.trajectory.answer_thought, call, 2)
    assert not right(call.trajectory.answer_thought.replace(call.expected[0], "7777"), call, 2)


def test_a_thought_that_fits_no_tool_is_near_none():
    tools = [Tool("get_fare", "The fare of a town."), Tool("count_ships")]
    assert nearest("hm", tools) == nearest("", tools) == nearest("fare", []) == set()
    assert nearest("the ships of a town", tools) == {"get_fare", "count_ships"}


def test_intentions_are_learnt_from_the_trajectories_at_hand():
    mine = [replace(ODD, id=str(i), steps=(replace(ODD.steps[0], thought="Zug um Zug"), ODD.steps[1]),
                    answer_thought="Fertig") for i in range(9)]  # fmt: skip
    intention = Intention.of(mine)
    assert intention.answers("fertig")
    assert not intention.answers("noch ein Zug")
    assert not intention.answers("")


@pytest.mark.parametrize("name", ["agent_flan", "own"])
@pytest.mark.parametrize("protocol", DIALECTS)
def test_prompts_have_the_same_first_tokens_as_training_rows(protocol, name):
    tokenizer = load_tokenizer(folder("random"))
    template = get_template(name, tokenizer)
    for item in (*held_out()[:12], ODD):
        trajectory, seen = getattr(item, "trajectory", item), []
        steps.measure([item], protocol, lambda prompts, seen=seen: [seen.append(one) or "" for one in prompts],
                      verdicts(UNDECIDED))
        [row] = encode_all([render(trajectory, protocol)], tokenizer, template, max_tokens=10_000, tally=Tally("t"))
        trained = row.ids.tolist()
        for prompt in seen:
            ids = tokenizer(prompt_text(prompt, template), add_special_tokens=False).input_ids
            assert ids == trained[: len(ids)], prompt.id
            assert len(ids) < len(trained)


def test_the_first_json_value_of_a_text_is_read_with_what_follows():
    assert first_json(' "a\\"b", "name": 3}') == ('a"b', ', "name": 3}')
    with pytest.raises(ValueError, match="nested"):
        first_json("[" * 100_000)
    assert Prompt("1", ()).stop == ()


def test_the_order_of_training_thoughts_changes_neither_weights_nor_digest():
    """Sums in another order have other last digits."""
    training = tasks.trajectories(300, rng=np.random.default_rng(3))
    one, other = Intention.of(training), Intention.of(training[::-1])
    assert one == other
    assert Intention.of(training[1:]).learnt != one.learnt


def test_replies_stand_beside_the_reference_in_its_order():
    """An oracle's replies are the reference's, but for the answer, which nobody is asked for."""
    trip = Trajectory("t", "hand", "Do it.", ODD.tools, ODD.steps, "All good.", "Now I can answer.")
    for one in (trip, ODD):
        frame = steps.measure([one, held_out()[0]], "chat", oracle([one, held_out()[0]], "chat"), verdicts(UNDECIDED),
                              intention=Intention.of([one]))  # fmt: skip
        mute = frame.assign(reply="", model="mute")
        table = steps.beside(pd.concat([mute, frame.assign(model="oracle")]), one)
        assert list(table.columns) == ["asked", "reference", "mute", "oracle"]
        assert table["oracle"].to_list() == table["reference"].to_list()
        assert table["mute"].eq("").all()
        turns = render(one, "chat").turns
        assert len(table) == sum(turn.role == "assistant" for turn in turns) - 1
        assert table["asked"].to_list() == [turn.text for turn in turns if turn.role == "user"][: len(table)]
    assert steps.beside(mute[mute["score"] == "retrieval"], ODD).empty
