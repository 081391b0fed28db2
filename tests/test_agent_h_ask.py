"""Agent-H run on a model: prompts match the training texts, plans are followed up, replies are judged by their kind."""

import pytest

from flanlib.benchmarks.agent_h.ask import COLUMNS, measure
from flanlib.benchmarks.agent_h.replies import ANNOUNCED, DEGENERATE, INVENTED, MALFORMED, OFFERED, PLAIN
from flanlib.benchmarks.agent_h.samples import ACTION, CALL, CELLS, FORMAT, REACT, Sample
from flanlib.benchmarks.agent_h.samples import PLAIN as PLAIN_TRUTH
from flanlib.dialects import DIALECTS, elicit, render
from flanlib.records import Step, Tool, Trajectory

FARE = Tool("get_fare", "The fare of a town.", {"properties": {"town": {"type": "string"}}, "required": ["town"]})
NEEDED = Sample("s1", "own", ACTION, CELLS[3], CALL, "What is the fare to Ulm?", [FARE], "Be kind.", "", ["get_fare"])
OTHER = Sample("s2", "own", ACTION, CELLS[2], PLAIN_TRUTH, "How are you?", [FARE])
BARE = Sample("s3", "own", ACTION, CELLS[1], PLAIN_TRUTH, "What is the fare to Ulm?", instructions="Be kind.")
ALONE = Sample("s4", "own", ACTION, CELLS[0], PLAIN_TRUTH, "How are you?")
SAMPLES = [NEEDED, OTHER, BARE, ALONE]
JSON = Sample("f1", "own", FORMAT, "json", "json", "Which is red? Answer in JSON.")
IN_REACT = Sample("f2", "own", FORMAT, REACT, REACT, "Which is red? Answer in ReAct style.")


class Model:
    """Replies with one text, or with a name if asked for a tool, and records its prompts."""

    def __init__(self, reply, name=""):
        self.reply, self.name, self.prompts = reply, name, []

    def __call__(self, prompts):
        self.prompts += prompts
        return [self.name if one.turns[-1].text in elicit.ACTION else self.reply for one in prompts]


def plans(text):
    return "look" in text


def prompt(sample, protocol):
    model = Model("Fine.")
    measure([sample], protocol, model)
    return model.prompts[0].turns


@pytest.mark.parametrize("protocol", DIALECTS)
def test_prompts_with_tools_begin_as_the_training_texts_do(protocol):
    step = Step("Look.", "get_fare", {"town": "Ulm"}, "3")
    for sample in (NEEDED, OTHER):
        done = Trajectory("t", "test", sample.query, sample.tools, (step,), "3", instructions=sample.instructions)
        assert prompt(sample, protocol) == render(done, protocol).turns[:2]
        assert prompt(sample, protocol)[0].text.endswith(DIALECTS[protocol].HOW)


@pytest.mark.parametrize("protocol", DIALECTS)
def test_prompts_without_tools_hold_only_what_the_sample_says(protocol):
    assert [(turn.role, turn.text) for turn in prompt(BARE, protocol)] == [
        ("system", "Be kind."), ("user", "What is the fare to Ulm?")]  # fmt: skip
    assert [(turn.role, turn.text) for turn in prompt(ALONE, protocol)] == [("user", "How are you?")]
    assert not any(DIALECTS[protocol].HOW in turn.text for turn in prompt(JSON, protocol))


@pytest.mark.parametrize("protocol", DIALECTS)
def test_every_sample_is_prompted_once_and_gets_a_row(protocol):
    model = Model("I am well.")
    frame = measure(SAMPLES, protocol, model, plans=plans)
    assert tuple(frame.columns) == COLUMNS
    assert [one.id for one in model.prompts] == [f"{sample.id}/{protocol}" for sample in SAMPLES]
    assert list(frame["id"]) == [sample.id for sample in SAMPLES]
    assert list(frame["kind"]) == [PLAIN] * 4
    assert list(frame["value"]) == [0, 1, 1, 1]
    assert set(frame["followed"]) == {""}


@pytest.mark.parametrize(
    ("name", "kind", "tool", "value"),
    [("get_fare", OFFERED, "get_fare", 1), (" get_fare\n", OFFERED, "get_fare", 1),
     ("find_fare", INVENTED, "find_fare", 0), ("", DEGENERATE, "", 0), ("get_fa_fa_fa_fa_fa_fa_fa", DEGENERATE, "", 0),
     ("The second one.", MALFORMED, "", 0),
     ("None", PLAIN, "", 0), ("None of them can do that.", PLAIN, "", 0)],
)  # fmt: skip
def test_in_chat_form_a_plan_is_followed_up(name, kind, tool, value):
    model = Model("I should look up the fare.", name)
    row = measure([NEEDED], "chat", model, plans=plans).iloc[0]
    form = "" if kind in (PLAIN, DEGENERATE) else "chat"
    assert (row["kind"], row["tool"], row["form"], row["value"]) == (kind, tool, form, value)
    assert (row["reply"], row["followed"]) == ("I should look up the fare.", name)
    first, second = model.prompts
    assert second.turns[:-2] == first.turns
    assert [turn.role for turn in second.turns[-2:]] == ["assistant", "user"]
    assert second.turns[-2].text == "I should look up the fare."


def test_a_plan_is_wrong_where_no_call_is_needed():
    frame = measure([OTHER, BARE, ALONE], "chat", Model("I look it up.", "get_fare"), plans=plans)
    assert list(frame["kind"]) == [OFFERED, INVENTED, INVENTED]
    assert frame["value"].eq(0).all()


def test_the_same_sample_is_followed_up_in_the_same_words():
    wordings = []
    for samples in (SAMPLES, SAMPLES[::-1]):
        model = Model("I look it up.", "get_fare")
        measure(samples, "chat", model, plans=plans)
        wordings.append({one.id: one.turns[-1].text for one in model.prompts[4:]})
    assert wordings[0] == wordings[1]
    assert len(wordings[0]) == 4


def test_only_plans_are_followed_up():
    model = Model("Fine, thank you.", "get_fare")
    assert measure(SAMPLES, "chat", model, plans=plans)["kind"].eq(PLAIN).all()
    call = Model('I look: {"name": "get_fare", "arguments": {}}', "find_fare")
    assert measure([NEEDED], "chat", call, plans=plans)["tool"].tolist() == ["get_fare"]
    unread = Model("I look it up.", "get_fare")
    assert measure(SAMPLES, "chat", unread)["kind"].eq(PLAIN).all()
    assert [len(one.prompts) for one in (model, call, unread)] == [4, 1, 4]


@pytest.mark.parametrize("protocol", ["react", "json"])
def test_in_other_protocols_a_plan_is_an_announced_call(protocol):
    model = Model("I look it up.", "get_fare")
    frame = measure(SAMPLES, protocol, model, plans=plans)
    assert set(zip(frame["kind"], frame["tool"], frame["form"], frame["value"], strict=True)) == {
        (ANNOUNCED, "", "words", 0)}  # fmt: skip
    assert len(model.prompts) == len(SAMPLES)


@pytest.mark.parametrize("protocol", ["react", "json"])
def test_a_call_in_the_protocol_is_right_only_where_it_is_needed(protocol):
    done = Trajectory("t", "test", "Q", (FARE,), (Step("Look.", "get_fare", {"town": "Ulm"}, None),))
    frame = measure(SAMPLES, protocol, Model(render(done, protocol).turns[-1].text), plans=plans)
    assert list(frame["kind"]) == [OFFERED, OFFERED, INVENTED, INVENTED]
    assert list(frame["value"]) == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("reply", "values"),
    [('{"answer": "blood"}', [1, 0]), ("Thought: It is blood.\nFinal Answer: Blood.", [0, 1]), ("Blood.", [0, 0]),
     ('{"name": "find_red", "arguments": {}}', [0, 0]), ('{"thought": "x", "answer": "y"}', [0, 0]),
     ("Thought: x\nAction: find_red\nAction Input: {}", [0, 0])],
)  # fmt: skip
def test_a_format_is_right_if_it_was_asked_for_and_is_no_agents_turn(reply, values):
    assert list(measure([JSON, IN_REACT], "react", Model(reply))["value"]) == values


def test_a_reply_with_a_lone_surrogate_still_gets_a_row():
    frame = measure(SAMPLES, "chat", Model("I look \ud800 up.", "So \ud800"), plans=plans)
    assert set(frame["reply"]) == {"I look ? up."}
    assert set(frame["kind"]) == {MALFORMED}


def test_a_loop_is_always_wrong_and_not_followed_up():
    model = Model("- I look up the fare.\n" * 9, "get_fare")
    bullets = Sample("f3", "own", FORMAT, "bullets", "bullets", "Which is red? Answer as a bullet list.")
    frame = measure([*SAMPLES, bullets], "chat", model, plans=plans)
    assert set(zip(frame["kind"], frame["form"], frame["value"], strict=True)) == {(DEGENERATE, "", 0)}
    assert len(model.prompts) == 5
