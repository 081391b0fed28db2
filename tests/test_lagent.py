"""Lagent, the paper's agent framework, drives a model whose replies are given: the loop and the adapter are real."""

import sys

import numpy as np
import pytest

from flanlib import dialects
from flanlib.benchmarks import lagent as adapter
from flanlib.benchmarks.agent_h import replies
from flanlib.benchmarks.episodes import solves
from flanlib.lab.tasks import tasks
from flanlib.lab.world import world
from flanlib.records import FlanError, Tool
from flanlib.text import templates
from flanlib.text.templates import AGENT_FLAN, LLAMA2_CHAT

FARE = Tool("get_fare", "Get a fare.", {"properties": {"town": {"type": "string"}}, "required": ["town"]})


@pytest.fixture
def lagent():
    return pytest.importorskip("lagent", reason='lagent is not installed (pip install "flanlib[lagent]")')


class Scripted:
    """A model that replies with given texts, and keeps the prompts."""

    def __init__(self, *texts):
        self.texts, self.prompts = list(texts), []

    def __call__(self, prompts):
        self.prompts += prompts
        return [self.texts.pop(0) for _ in prompts]


def observe(name, arguments):
    return world().run(name, arguments)[1]


def some_tasks(n=12):
    return [task for task in tasks(n, rng=np.random.default_rng(0)) if task.trajectory.steps]


def test_the_loop_ends_with_the_right_answer_and_shows_the_model_what_it_was_trained_on(lagent):
    for task in some_tasks():
        conversation = dialects.render(task.trajectory, "react")
        model = Scripted(*(turn.text for turn in conversation.turns if turn.role == "assistant"))
        agent = adapter.agent(model, task.trajectory.tools, observe, template=AGENT_FLAN)
        done = agent.chat(task.trajectory.query)
        assert solves(done.response, task)
        kinds = [adapter.kind(action) for action in done.actions]
        assert kinds == [replies.OFFERED] * len(task.trajectory.steps) + [replies.FORMAT]
        assert not model.texts, "every reply was asked for"
        seen, trained = model.prompts[-1].turns, conversation.turns[:-1]
        assert [(turn.role, turn.text) for turn in seen] == [(turn.role, turn.text) for turn in trained]


def test_the_template_as_lagents_meta_template_gives_the_same_text(lagent):
    conversation = dialects.render(some_tasks()[0].trajectory, "react")
    messages = [{"role": turn.role, "content": turn.text} for turn in conversation.turns[:-1]]
    parse = adapter.llm(Scripted(), AGENT_FLAN).template_parser
    assert parse(messages) == templates.prompt(conversation.turns[:-1], AGENT_FLAN)


@pytest.mark.parametrize(("reply", "type", "kind"), [
    ('Thought: go\nAction: get_fare\nAction Input: {"town": "Ulm"}', "get_fare", replies.OFFERED),
    ('Thought: go\nAction: get_fare\nAction Input: {"town": "Ulm"', "get_fare", replies.MALFORMED),
    ('Thought: go\nAction: book\nAction Input: {"town": "Ulm"}', "InvalidAction", replies.INVENTED),
    ("A fare is what you pay for a ride.", "NoAction", replies.PLAIN),
    ("Thought: done\nFinal Answer: 3 euros", "FinishAction", replies.FORMAT)])  # fmt: skip
def test_lagents_actions_have_the_kinds_that_agent_h_reads_in_the_reply(lagent, reply, type, kind):
    model = Scripted(reply, "Thought: done\nFinal Answer: 3 euros")
    done = adapter.agent(model, [FARE], lambda name, arguments: "3").chat("What is the fare?")
    assert (done.actions[0].type, adapter.kind(done.actions[0])) == (type, kind)
    assert replies.read(reply, [FARE]).kind == kind
    assert done.response.strip() == "3 euros"


def test_lagent_sees_no_call_where_agent_h_does(lagent):
    reply = '{"name": "book", "arguments": {}}'
    done = adapter.agent(Scripted(reply), [FARE], observe, most_turns=1).chat("Book it.")
    assert adapter.kind(done.actions[0]) == replies.PLAIN
    assert replies.read(reply, [FARE]).kind == replies.INVENTED


def test_an_observation_is_passed_on_whole(lagent):
    model = Scripted('Thought: go\nAction: get_fare\nAction Input: {"town": "Köln"}', "Thought: a\nFinal Answer: b")
    adapter.agent(model, [FARE], lambda name, arguments: f"{name} {arguments['town']} ½ \U0001f600").chat("Go.")
    assert model.prompts[-1].turns[-1].text == "Observation: get_fare Köln ½ \U0001f600"


def test_an_agent_without_an_answer_stops_at_the_last_turn(lagent):
    model = Scripted(*["Hm."] * 3)
    done = adapter.agent(model, [FARE], observe, template=AGENT_FLAN, most_turns=3).chat("Go.")
    assert [action.type for action in done.actions] == ["NoAction"] * 3
    assert model.prompts[-1].turns[-1].text == "Give the final answer now."


def test_a_model_that_the_kit_loads_plugs_in(lagent):
    """The tiny random model says nothing of sense, so the loop ends without an answer."""
    from flanlib import pretrained
    from flanlib.inference.generate import Decoding, Writer, dense
    from flanlib.text.tokens import load_tokenizer

    tokenizer = load_tokenizer(pretrained.folder("random"))
    template = templates.get_template("agent_flan", tokenizer)
    writer = Writer(dense("random"), tokenizer, template, Decoding(8))
    done = adapter.agent(writer, [FARE], observe, template=template, most_turns=2).chat("What is the fare?")
    assert {adapter.kind(action) for action in done.actions} <= set(replies.KINDS)
    assert writer.ended.total() == len(done.actions)


def test_braces_in_a_tools_description_stay(lagent):
    tool = Tool("fill", "Fill in {name}.")
    model = Scripted("Thought: a\nFinal Answer: b")
    adapter.agent(model, [tool], observe).chat("Go.")
    assert "Fill in {name}" in model.prompts[0].turns[0].text


def test_a_tool_name_with_a_dot_is_refused(lagent):
    with pytest.raises(FlanError, match="without a dot"):
        adapter.action(Tool("town.find"), observe)


def test_templates_that_lagent_cannot_express_are_refused():
    with pytest.raises(FlanError, match="llama2_chat"):
        adapter.meta_template(LLAMA2_CHAT)


def test_without_lagent_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "lagent", None)
    with pytest.raises(FlanError, match=r"pip install .*flanlib\[lagent\]"):
        adapter.agent(Scripted(), [FARE], observe)
