"""Any model is asked as its own chat template wants it, and no reply is lost or asked for twice."""

import copy
import json
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
from test_templates import CHATML, tiny_tokenizer

from flanlib.benchmarks import Prompt
from flanlib.benchmarks.agent_h import answers, build, samples
from flanlib.benchmarks.agent_h.ask import measure
from flanlib.benchmarks.agent_h.samples import CALL, CELLS, Sample
from flanlib.benchmarks.agent_h.score import judge
from flanlib.dialects import DIALECTS, elicit, render
from flanlib.inference import asking
from flanlib.inference.generate import Reply, prompt_text
from flanlib.records import FlanError, Step, Tool, Trajectory, offered, say
from flanlib.tally import Tally
from flanlib.text.native import NATIVE, native_template
from flanlib.text.templates import LLAMA2_CHAT, jinja

FARE = Tool("get_fare", "The fare of a town.", {"properties": {"town": {"type": "string"}}, "required": ["town"]})
NEEDED = Sample("s1", "own", "action", CELLS[3], CALL, "What is the fare?", [FARE], "Be kind.", "", ["get_fare"])
WITH_TOOLS = "{% if tools %}<s>{% for t in tools %}{{ t | tojson }}{% endfor %}{% endif %}" + CHATML


def with_template(source, **changes):
    made = copy.deepcopy(tiny_tokenizer())
    made.chat_template = source
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_a_template_that_leaves_tools_out_is_known_by_its_text():
    assert native_template(with_template(WITH_TOOLS)).shows_tools
    assert not native_template(with_template(CHATML)).shows_tools
    # It mentions tools, but shows them only in a turn that the model is never asked with.
    later = CHATML.replace("{{ m.content }}", "{{ m.content }}{% if m.role == 'tool' %}{{ tools }}{% endif %}")
    assert not native_template(with_template(later)).shows_tools


def test_a_prompt_is_what_transformers_writes_for_the_same_messages_and_tools():
    tokenizer = with_template(WITH_TOOLS)
    row = samples.prompt(NEEDED)
    wanted = tokenizer.apply_chat_template(row["messages"], tools=row["tools"], tokenize=False,
                                           add_generation_prompt=True)  # fmt: skip
    assert prompt_text(asking.prompt(NEEDED, NATIVE), native_template(tokenizer)) == wanted
    assert json.dumps(offered(FARE)) in wanted


@pytest.mark.parametrize("form", DIALECTS)
def test_tools_that_are_listed_stand_as_in_training(form):
    done = Trajectory("t", "own", NEEDED.query, NEEDED.tools, (Step("Look.", "get_fare", {"town": "Ulm"}, "3"),), "3",
                      instructions=NEEDED.instructions)  # fmt: skip
    assert asking.prompt(NEEDED, form) == Prompt("s1", render(done, form).turns[:2])


def test_a_system_text_goes_into_the_user_turn_where_the_template_refuses_or_drops_it():
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + CHATML
    drops = CHATML.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}")
    turns = (say("system", "Be kind."), say("user", "Hello"))
    for source in (refuses, drops):
        text = prompt_text(Prompt("p", turns), native_template(with_template(source)))
        assert text == "<|im_start|>user\nBe kind.\n\nHello<|im_end|>\n<|im_start|>assistant\n"


def test_a_reply_ends_with_any_end_token_and_with_what_the_template_writes_after_it():
    assert native_template(with_template(CHATML), ["</s>"]).marks == ("</s>", "<|im_end|>")
    # Of several tokens, none of them special
    assert native_template(with_template(jinja(LLAMA2_CHAT).replace("</s>", "END"))).marks == ("<|im_end|>", "END")
    # Other special tokens may begin a call
    assert "<s>" not in native_template(with_template(CHATML)).marks


def test_thinking_is_switched_off_where_that_is_possible():
    switch = CHATML.replace("assistant\n{% endif", "assistant\n{% if enable_thinking is not false %}<think>{% endif %}"
                                                   "{% endif")  # fmt: skip
    text = prompt_text(Prompt("p", (say("user", "Hi"),)), native_template(with_template(switch)))
    assert text.endswith("assistant\n")


@pytest.mark.parametrize("source", [None, "{% for m in messages %}{{ m.role }}{% endfor %}",
                                    "{{ raise_exception('never') }}"])  # fmt: skip
def test_a_template_that_cannot_ask_is_refused_in_one_line(source):
    with pytest.raises(FlanError, match="own chat template"):
        native_template(with_template(source))


@pytest.fixture(scope="module")
def composed():
    return build.build(build.lab_pool(40, seed=3), 40, seed=3, tally=Tally("t"))


def test_an_interrupted_run_goes_on_and_writes_what_a_whole_one_does(composed, tmp_path, monkeypatch):
    def ask(out, some, **settings):
        told = []
        ended = asking.ask(some, "random", out, longest=6, tell=told.append, **settings)
        return ended, told

    whole, broken = tmp_path / "whole.jsonl", tmp_path / "deep" / "broken.jsonl"
    ended, told = ask(whole, composed)
    assert ended.total() == 40
    assert len(told) == 1
    assert "leaves tools out. Tools are listed in the system turn, with how to reply in json form." in told[0]
    assert [json.loads(line)["id"] for line in whole.read_text().splitlines()] == [one.id for one in composed]

    class Interrupted(asking.Writer):
        def replies(self, prompts):
            if prompts[0].id != composed[0].id:
                raise KeyboardInterrupt
            return super().replies(prompts)

    with monkeypatch.context() as patched:
        patched.setattr(asking, "Writer", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            ask(broken, composed)
    written = broken.read_bytes()
    assert written.count(b"\n") == asking.CHUNK
    broken.write_bytes(written + b'{"id": "agent')
    ended, told = ask(broken, composed)
    assert ended.total() == 40 - asking.CHUNK
    assert told[1:] == [f"{broken}: a last line that was not written to its end is asked for again",
                        f"{broken}: goes on after {asking.CHUNK} replies"]  # fmt: skip
    assert broken.read_bytes().startswith(written)
    assert broken.read_bytes() == whole.read_bytes()
    assert ask(broken, composed)[0].total() == 0, "nothing is asked twice"

    for error, some, settings in (("line 1: found the id 'agent-h-lab-40-3-0000', which", composed[1:], {}),
                                  ("in another setup", composed, {"form": "react"})):  # fmt: skip
        with pytest.raises(FlanError, match=error):
            ask(broken, some, **settings)
    with pytest.raises(FlanError, match="a chat template that leaves tools out"):
        ask(tmp_path / "new.jsonl", composed, form=NATIVE)
    assert broken.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "new.jsonl").exists()


def test_samples_too_long_for_the_model_are_counted_and_get_no_row(composed, tmp_path):
    long = Sample("long", "own", "action", CELLS[0], "plain", "word " * 9000)
    ended = asking.ask([long, *composed[:1]], "random", tmp_path / "r.jsonl", longest=2, tell=str)
    assert ended["too long"] == 1
    assert [json.loads(line)["id"] for line in (tmp_path / "r.jsonl").read_text().splitlines()] == [composed[0].id]


def test_in_chat_form_a_plan_is_followed_up_and_the_tool_that_is_named_counts(tmp_path, monkeypatch):
    asked = []

    class Planner(asking.Writer):
        """Plans a call, and names a tool where it is asked for one; other samples get plain words."""

        def replies(self, prompts):
            asked.extend(prompts)
            said = {"s1": "I should look up the fare.", "s2": "I am well, thank you."}
            return [Reply(said.get(one.id, "get_fare"), "end") for one in prompts]

    def look(text):
        return "look" in text

    monkeypatch.setattr(asking, "Writer", Planner)
    monkeypatch.setattr(asking, "lab_plans", lambda: SimpleNamespace(plans=look))
    other = Sample("s2", "own", "action", CELLS[0], "plain", "How are you?")
    path = tmp_path / "r.jsonl"
    assert asking.ask([NEEDED, other], "random", path, form="chat", tell=str) == {"end": 2}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row.get("followed") for row in rows] == ["get_fare", None]
    assert [turn.role for turn in asked[2].turns] == ["system", "user", "assistant", "user"]
    assert asked[2].turns[-1].text in elicit.ACTION
    replies = answers.read(path, [NEEDED, other], tally=Tally("t"))
    measured = measure([NEEDED, other], "chat", lambda prompts: [r.text for r in Planner.replies(None, [
        replace(one, id=one.id.removesuffix("/chat")) for one in prompts])], plans=look)  # fmt: skip
    pd.testing.assert_frame_equal(judge([NEEDED, other], replies, answers.followed(path)), measured)
    assert measured["value"].to_list() == [1, 1]
