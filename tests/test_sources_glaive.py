"""Glaive's marked text: what is written is read back, and every known defect is repaired, noted or dropped."""

import json
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import arguments, name, values
from strategies import text as any_text
from test_sources_agent import calls, dropped, kept
from test_sources_chat import broken

from flanlib.records import Conversation, Step, Tool, Trajectory, to_json
from flanlib.sources import FORMATS, glaive, load, read
from flanlib.sources.common import Drop
from flanlib.tally import Tally

END = "<|endoftext|>"
LEAD = "SYSTEM: You serve a harbour with access to the following functions. They may help -\n"
LEAD_V1 = "SYSTEM: You serve a harbour and have access to the following functions for its guests, if they help-\n"
PLAIN = "SYSTEM: You serve a harbour without access to any functions.\n\n"
TIDE = {"name": "get_tide", "description": "Look up the tide.", "parameters": {
    "type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]}}
OTHER = {"name": "ring_bell", "description": "Ring a bell.", "parameters": {}}
CALL = """<functioncall> {"name": "get_tide", "arguments": '{"port": "Cork"}'}"""
RESULT = '{"height": 2.5}'


def offer(*tools, lead=LEAD):
    return lead + "".join(json.dumps(tool, indent=4) + "\n\n" for tool in tools)


def v2(*messages, system=None, gap="\n\n\n"):
    """A v2 row from texts of the user (odd), the assistant (even), or (mark, text)."""
    turns = [t if isinstance(t, tuple) else (("USER", "ASSISTANT")[i % 2], t) for i, t in enumerate(messages)]
    texts = (f"{who}: {text}" + f" {END}" * (who == "ASSISTANT") for who, text in turns)
    return {"system": offer(TIDE) if system is None else system, "chat": "".join(text + gap for text in texts)}


def episode(call, *more):
    return v2("When is the tide?", call, ("FUNCTION RESPONSE", RESULT), ("ASSISTANT", "2.5 m."), *more)


def test_a_row_with_a_call_becomes_a_trajectory(tmp_path):
    found, noted = kept(tmp_path, episode(CALL) | {"row": 7})
    tide = Tool("get_tide", "Look up the tide.", TIDE["parameters"])
    assert found == Trajectory("rows.jsonl:1", "glaive", "When is the tide?", (tide,),
                               (Step("", "get_tide", {"port": "Cork"}, RESULT),), "2.5 m.")
    assert not noted


def test_a_row_without_calls_becomes_chat_that_knows_its_tools(tmp_path):
    found, noted = kept(tmp_path, v2("Book a flight.", "I can't.", system=offer(TIDE, OTHER)))
    assert [(t.role, t.trained, [s.kind for s in t.spans]) for t in found.turns] == [
        ("system", False, ["context"]), ("user", False, ["context"]), ("assistant", True, ["general"])]
    assert [t.name for t in found.tools] == ["get_tide", "ring_bell"]
    assert all(tool.name in found.turns[0].text for tool in found.tools)
    assert found.source == "glaive"
    assert not noted


@pytest.mark.parametrize("gap", ["\n\n", "\n\n\n"])
def test_plain_rows_keep_their_system_text_and_every_turn(tmp_path, gap):
    found, noted = kept(tmp_path, v2("Hi", "Hello.\n\nHow are you?\nASSISTANT: no mark", "Fine", "Good.",
                                     system=PLAIN, gap=gap))
    assert [t.text for t in found.turns] == [
        "You serve a harbour without access to any functions.", "Hi",
        "Hello.\n\nHow are you?\nASSISTANT: no mark", "Fine", "Good."]
    assert (found.tools, found.trained) == ((), True)
    assert not noted


@pytest.mark.parametrize("end", ["", f" {END}"])
def test_v1_rows_hold_everything_in_one_sample(tmp_path, end):
    sample = (f"{offer(TIDE, lead=LEAD_V1).strip()}\nUSER: When is\nthe tide?\nASSISTANT: {CALL}{end}\n"
              f"FUNCTION RESPONSE: {RESULT}\nASSISTANT: 2.5 m.{end}\n")
    found, noted = kept(tmp_path, {"sample": sample})
    assert (found.query, found.answer, [t.name for t in found.tools]) == ("When is\nthe tide?", "2.5 m.", ["get_tide"])
    assert calls(found) == [("", "get_tide", {"port": "Cork"}, RESULT)]
    assert not noted


def test_one_request_with_a_call_is_kept_with_what_was_said_before(tmp_path):
    row = v2("Hi", "Which port?", "Cork", CALL, ("FUNCTION RESPONSE", RESULT), ("ASSISTANT", "2.5 m."),
             ("USER", "And Bantry?"), ("ASSISTANT", "<functioncall> {broken"), ("FUNCTION RESPONSE", "?"))
    found, noted = kept(tmp_path, row)
    assert (found.query, found.answer) == ("Cork", "2.5 m.")
    assert found.instructions == "Earlier in this conversation:\nUser: Hi\nAssistant: Which port?"
    assert noted == {"earlier turns moved to the instructions": 1, "a reply without a call kept as context only": 1,
                     "cut at a turn that cannot be read (a call that is not JSON)": 1}


@pytest.mark.parametrize(("call", "given", "note"), [
    ("'{\"text\": \"let's go, it's o'clock\"}'", {"text": "let's go, it's o'clock"}, None),
    ("'{\"text\": \"'}\"}'", {"text": "'}"}, None),
    ("'{\n  \"text\": \"a\",\n  \"n\": [1,\n 2]\n}'", {"text": "a", "n": [1, 2]}, None),
    ("'{\"text\": \"a\nb\"}'", {"text": "a\nb"}, None),
    ('{"text": "it\'s", "more": {"a": null}}', {"text": "it's", "more": {"a": None}}, None),
    ('"{\\"text\\": \\"a\\"}"', {"text": "a"}, None),
    ("'{}'", {}, None),
    ("{}", {}, None),
    (r"""'{"text": "it\'s \\'quoted\\'"}'""", {"text": r"it's \'quoted\'"}, "escaped apostrophes in arguments"),
    ("null", {}, "empty arguments read as none"),
    ("''", {}, "empty arguments read as none"),
    ("'null'", {}, "empty arguments read as none"),
    ("'{\"text\": \"a\"}'}", {"text": "a"}, "a brace too many"),
    ("'{\"text\": \"a\"}}'", {"text": "a"}, "a brace too many"),
    ('{"text": "a"}\n} }', {"text": "a"}, "a brace too many"),
])
def test_arguments_are_read_in_every_way_they_are_written(call, given, note):
    noted = []
    assert glaive.read_call(f' {{"name": "say", "arguments": {call}}} ', noted.append) == ("say", given)
    assert noted == [note] * (note is not None)
    assert glaive.read_call(f'{{"name":"say","parameters":{call}}}', noted.append) == ("say", given)
    assert "parameters read as arguments" in noted


@pytest.mark.parametrize(("call", "reason"), [
    ("""{"name": "f", "arguments": '{"a": [1, Infinity]}'}""", "values that JSON cannot carry"),
    ("""{"name": "f", "arguments": {"a": -Infinity}}""", "values that JSON cannot carry"),
    ("""{"name": "f", "arguments": '{"a": NaN}'}""", "values that JSON cannot carry"),
    ("""{"name": "f", "arguments": '{"a": [the given list]}'}""", "arguments are not JSON"),
    ("""{"name": "f", "arguments": 'whatever fits'}""", "arguments are not JSON"),
    ("""{"name": "f", "arguments": '{'a': 'b'}'}""", "arguments are not JSON"),
    ("""{"name": "f", "arguments": '{"a": 1} {"b": 2}'}""", "arguments are not JSON"),
    ("""{"name": "f", "arguments": '[1, 2]'}""", "arguments are not an object"),
    ("""{"name": "f", "arguments": [1, 2]}""", "arguments are not an object"),
    ("""{"name": "f", "arguments": 5}""", "arguments are not an object"),
    ("""{"name": "f", "arguments": '{"a": "b", "c": " """, "a call that breaks off"),
    ("""{"name": "f", "arguments": '{"a": "b"}'""", "a call that breaks off"),
    ("""{"name": "f", "arguments": {"a": "b" """, "a call that is not JSON"),
    ("""{"name": "f", "arguments": {"a": "b"}} and more""", "a call that is not JSON"),
    ("""get_tide(port="Cork")""", "a call that is not JSON"),
    ("", "a call that is not JSON"),
    ("[1]", "a call that is not an object"),
    ("""{"name": " ", "arguments": {}}""", "a call without a name"),
    ("""{"name": "", "arguments": '{}'}""", "a call without a name"),
    ("""{"arguments": {}}""", "a call without a name"),
    ("""{"name": "\\x", "arguments": '{}'}""", "a call that is not JSON"),
    ("""AI to= f: {"a": }""", "arguments are not JSON"),
    ("""{"name": "f", "arguments": '{"a": """ + "[" * 3000, "a call that breaks off"),
    ("""{"name": "f", "arguments": '{"a": """ + "[" * 100_000 + "'}", "nested too deeply"),
    ("""{"name": "f", "arguments": {"a": """ + "[" * 100_000 + "}", "nested too deeply"),
])
def test_calls_that_cannot_be_read_are_dropped_by_reason(tmp_path, call, reason):
    with pytest.raises(Drop) as drop:
        glaive.read_call(call, str)
    assert str(drop.value) == reason
    if not call.startswith("AI"):
        assert dropped(tmp_path, episode("<functioncall>" + call)) == reason


@pytest.mark.parametrize("between", [" ", "\n", "\n\n"])
def test_text_before_a_call_is_its_thought(tmp_path, between):
    found, noted = kept(tmp_path, episode("Let me look.\nThat's easy." + between + CALL))
    assert calls(found) == [("Let me look.\nThat's easy.", "get_tide", {"port": "Cork"}, RESULT)]
    assert not noted


@pytest.mark.parametrize("lead", ["", "Let me look.\n"])
def test_the_other_call_syntax_is_read_and_noted(tmp_path, lead):
    found, noted = kept(tmp_path, episode(lead + 'AI to= get_tide: {"port": "Cork\'s"}'))
    assert calls(found) == [(lead.strip(), "get_tide", {"port": "Cork's"}, RESULT)]
    assert noted == {"a call written as AI to=": 1}


def test_an_answer_cut_in_two_by_a_spliced_mark_is_joined(tmp_path):
    spliced = f"Here is news on {END}\n\n\nASSISTANT:\n1. Robots"
    found, noted = kept(tmp_path, v2("News?", CALL, ("FUNCTION RESPONSE", "r"), ("ASSISTANT", spliced)))
    assert (found.answer, found.answer_thought) == ("Here is news on\n\n1. Robots", "")
    assert noted == {"two assistant turns in a row joined": 1}
    found, noted = kept(tmp_path, v2("News?", spliced))
    assert found.turns[-1].text == "Here is news on\n\n1. Robots"
    assert noted == {"two assistant turns in a row joined": 1}


def test_a_thought_in_a_turn_of_its_own_joins_its_call(tmp_path):
    found, noted = kept(tmp_path, v2("Tide?", "Let me look.", ("ASSISTANT", CALL), ("FUNCTION RESPONSE", RESULT)))
    assert calls(found) == [("Let me look.", "get_tide", {"port": "Cork"}, RESULT)]
    assert noted == {"two assistant turns in a row joined": 1, "no answer": 1}


def test_several_calls_of_a_request_keep_their_results(tmp_path):
    bell = '<functioncall> {"name": "ring_bell", "arguments": {}}'
    twice = v2("Tide, then ring.", CALL, ("FUNCTION RESPONSE", "1"), ("ASSISTANT", "Now ring.\n" + bell),
               ("FUNCTION RESPONSE", "2"), ("ASSISTANT", "Done."), system=offer(TIDE, OTHER))
    once = v2("Tide, then ring.", f"{CALL} {bell}", ("FUNCTION RESPONSE", "1"), ("FUNCTION RESPONSE", "2"),
              ("ASSISTANT", "Done."), system=offer(TIDE, OTHER))
    for row, thought in ((twice, "Now ring."), (once, "")):
        found, noted = kept(tmp_path, row)
        assert calls(found) == [("", "get_tide", {"port": "Cork"}, "1"), (thought, "ring_bell", {}, "2")]
        assert not noted


@pytest.mark.parametrize(("row", "note"), [
    (episode(CALL.replace("get_tide", "get-tide")), "call of a tool not offered"),
    (episode(CALL) | {"system": PLAIN}, "no tool list"),
    (episode(CALL) | {"system": offer(TIDE, TIDE | {"description": "Again."})}, "a tool listed twice, the first kept"),
    (v2("Hi", "Hello", "Bye"), "trailing user turn left out"),
    (episode(CALL, ("USER", "Thanks")), "trailing user turn left out"),
    (v2("When is the tide?", CALL), "no answer"),
    (v2(("USER", "a"), ("USER", "b"), ("ASSISTANT", "c")), "neighbours of one role merged"),
    (v2("Hi", "") | {"chat": "USER: Hi\n\n\nASSISTANT: Hello"}, "an assistant turn without its end mark"),
])
def test_oddities_are_kept_and_noted(tmp_path, row, note):
    found, noted = kept(tmp_path, row)
    assert noted == {note: 1}
    assert [t.description for t in found.tools] in ([], [TIDE["description"]])


@pytest.mark.parametrize(("row", "reason"), [
    (v2(), "no turns"),
    ({"sample": LEAD_V1}, "no turns"),
    (v2("Hi", "Hello") | {"chat": "Hello.\n\nUSER: Hi"}, "text before the first turn"),
    (v2("Hi", "Hello", system=LEAD + "get_tide(port)"), "tool list is not JSON"),
    (v2("Hi", "Hello", system=offer(TIDE) + "{'name': 'x'}"), "tool list is not JSON"),
    (v2("Hi", "Hello", system=offer(TIDE)[:-9]), "tool list is not JSON"),
    (v2("Hi", "Hello", system=offer({"description": "?"})), "a tool without a name"),
    (v2("Hi", "Hello", system=LEAD + '{"a": Infinity}'), "values that JSON cannot carry"),
    (v2("Hi", "Hello", system=LEAD + '{"a":' * 100_000), "nested too deeply"),
    (v2(f"I like {END}", "Which?"), "an end mark inside a turn"),
    (v2("Hi", CALL, ("FUNCTION RESPONSE", f'{{"book": "My \nASSISTANT: a diary"}} {END}'), ("ASSISTANT", "a")),
     "an end mark inside a turn"),
    (v2("Hi", f"a {END} b"), "an end mark inside a turn"),
    (v2("Hi", "Looking.", ("FUNCTION RESPONSE", RESULT), ("ASSISTANT", "a")), "a result without a call"),
    (v2("Hi", CALL, ("ASSISTANT", "a")), "a call without a result"),
    (v2("Hi", f'<functioncall> {{"name": "f", "arguments": \'{{"on": "{END}\n\n\nASSISTANT: x"}}\'}}'),
     "a call that breaks off"),
    (v2("Hi", ""), "nothing to train"),
    (v2(" ", CALL, ("FUNCTION RESPONSE", RESULT)), "empty query"),
    ({"system": None, "chat": "USER: Hi"}, "no known format"),
    ({"sample": "USER: Hi"}, "no known format"),
])
def test_rows_are_dropped_by_reason(tmp_path, row, reason):
    assert dropped(tmp_path, row) == reason


def test_only_glaive_rows_are_taken():
    rows = [v2("Hi", "Hello"), {"sample": LEAD_V1 + "\nUSER: Hi"}, {"messages": [{"role": "user", "content": "Hi"}]},
            {"system": "s", "conversations": []}, {"sample": 3}, {"chat": "USER: Hi", "sample": PLAIN}, [], "USER: Hi"]
    assert [glaive.matches(row) for row in rows] == [True, True, False, False, False, True, False, False]
    assert list(FORMATS)[-2:] == ["glaive", "chat"]


MARKS = ["USER: ", "\nASSISTANT: ", "FUNCTION RESPONSE: ", "SYSTEM: ", "\n\nUSER", "'", "'}", "\\'", '"', "\\", "}}",
         "AI to=", '{"name": "f", "arguments": \'{"a": 1}\'}', "let's", "\n\n\n", "[1, Infinity]"]
TEXT = st.lists(any_text | st.sampled_from(MARKS), max_size=4).map("".join)
# Text that would be read as a mark or a call.
OURS = re.compile(r"\n\n(USER|ASSISTANT|FUNCTION RESPONSE):|^AI to= *[^\s:]+ *: *\{", re.M)
SAID = TEXT.map(str.strip).filter(lambda text: not OURS.search(text))
GIVEN = arguments | st.dictionaries(TEXT, values | TEXT, max_size=3)


def write(trajectory, how):
    """A v2 row of a trajectory; ``how`` tells for each call how its arguments are written."""
    turns = [f"USER: {trajectory.query}"]
    for step, (ways, indent, ascii_only, key) in zip(trajectory.steps, how, strict=True):
        given = json.dumps(json.loads(to_json(step.arguments)), indent=indent, ensure_ascii=ascii_only)
        given = {"object": given, "quoted": f"'{given}'",
                 "escaped": "'" + re.sub(r"\\.|'", lambda m: "\\'" if m[0] == "'" else m[0], given) + "'"}[ways]
        call = f'<functioncall> {{"name": {json.dumps(step.tool)}, "{key}": {given}}}'
        turns.append(f"ASSISTANT: {step.thought}\n{call} {END}")
        if step.observation is not None:
            turns.append(f"FUNCTION RESPONSE: {step.observation}")
    if trajectory.answer is not None:
        turns.append(f"ASSISTANT: {trajectory.answer} {END}")
    listed = [{"name": t.name, "description": t.description, "parameters": json.loads(to_json(t.parameters))}
              for t in trajectory.tools]
    return {"id": trajectory.id, "system": offer(*listed) if listed else PLAIN, "chat": "\n\n\n".join(turns)}


@st.composite
def episodes(draw):
    steps = draw(st.lists(st.builds(Step, SAID, name, GIVEN, SAID), min_size=1, max_size=3))
    answer = draw(st.none() | SAID.filter(bool))
    if answer is None and draw(st.booleans()):
        steps[-1] = replace(steps[-1], observation=None)
    tools = draw(st.lists(st.builds(Tool, name, any_text, st.just(TIDE["parameters"])), max_size=2,
                          unique_by=lambda t: t.name))
    system = () if tools else (PLAIN.strip().removeprefix("SYSTEM: "),)
    return Trajectory("t", "glaive", draw(SAID.filter(bool)), tuple(tools), tuple(steps), answer, "", "".join(system))


HOW = st.tuples(st.sampled_from(["object", "quoted", "escaped"]), st.sampled_from([None, 2, 4]), st.booleans(),
                st.sampled_from(["arguments", "parameters"]))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(episode=episodes(), data=st.data())
def test_any_trajectory_written_as_glaive_text_is_read_back(episode, data):
    row = write(episode, data.draw(st.tuples(*[HOW] * len(episode.steps))))
    noted = Counter()
    found = glaive.convert(row, "here", lambda what: noted.update([what]))
    assert found == [episode]
    assert set(noted) <= {"escaped apostrophes in arguments", "parameters read as arguments", "no answer",
                          "no tool list", "call of a tool not offered", "HTML in the text"}


CUTS = st.sampled_from([*MARKS, END, "<functioncall>", "\n\n\nASSISTANT:", "\n\nFUNCTION RESPONSE: ", "AI to= f: {",
                        ""])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), base=st.sampled_from([episode(CALL), {"sample": PLAIN + "\nUSER: Hi\nASSISTANT: Hello"}]))
def test_a_row_broken_anywhere_is_counted_once(tmp_path, data, base):
    key = data.draw(st.sampled_from(list(base)))
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(base[key]))] * 2)))
    cut = base | {key: base[key][:start] + data.draw(CUTS) + base[key][data.draw(st.sampled_from([start, end])):]}
    path = tmp_path / "broken.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in (base, cut, broken(base, data.draw))))
    tally = Tally("broken")
    records = list(read(path, tally=tally))
    assert tally.seen == 3
    assert 1 <= tally.kept <= len(records)


def real(folder, name):
    if not (folder / "glaive" / name).exists():
        pytest.skip(f"{name} is not among the real rows")
    return folder / "glaive" / name


def test_real_rows_become_a_trajectory_and_a_conversation(real_data):
    trajectories, conversations, tally = load(real(real_data, "glaive_v2_raw_rows.jsonl"))
    assert (tally.seen, tally.kept) == (2, 2)
    assert tally.noted == {"earlier turns moved to the instructions": 1,
                           "a reply without a call kept as context only": 1}
    assert [r.source for r in (*trajectories, *conversations)] == ["glaive"] * 2
    (called,), (plain,) = trajectories, conversations
    row = json.loads(real(real_data, "glaive_v2_raw_rows.jsonl").read_text().splitlines()[0])
    (step,), (offered,) = called.steps, called.tools
    assert step.tool == offered.name
    call = f"""<functioncall> {{"name": "{step.tool}", "arguments": '{to_json(step.arguments)}'}} {END}"""
    assert call in row["chat"]
    assert row["chat"].endswith(f"FUNCTION RESPONSE: {step.observation}\n\n\nASSISTANT: {called.answer} {END}\n\n\n")
    assert json.loads(row["system"].split(" -\n")[1]) == json.loads(to_json(
        {"name": offered.name, "description": offered.description, "parameters": offered.parameters}))
    assert [t.trained for t in plain.turns if t.role != "system"] == [False, True, False, True]
    assert not any(mark in repr(r) for r in (called, plain) for mark in (END, "<functioncall>", "ASSISTANT:"))


def test_real_calls_are_read_by_kind(real_data):
    outcomes = {}
    for line in real(real_data, "glaive_v2_calls.jsonl").read_text().splitlines():
        call, noted = json.loads(line), []
        try:
            name, given = glaive.read_call(call["text"], noted.append)
        except Drop as drop:
            outcomes[call["row"]] = (call["kind"], str(drop))
            continue
        assert f'"{name}"' in call["text"]
        assert all(isinstance(v, (int, float)) or v in call["text"].replace("\\", "") for v in given.values())
        outcomes[call["row"]] = (call["kind"].split(" ")[0], noted)
    fine = [kind for kind, noted in outcomes.values() if kind.startswith("ok")]
    assert len(fine) == 5
    assert all(noted == [] for kind, noted in outcomes.values() if kind in fine)
    assert outcomes[71039] == ("arguments_not_json", ["escaped apostrophes in arguments"])
    assert outcomes[26684][1] == "values that JSON cannot carry"


def test_the_cleaned_demo_rows_stay_with_the_chat_reader(real_data):
    trajectories, conversations, tally = load(real(real_data, "glaive_toolcall_en_demo.json"))
    assert tally.kept + tally.dropped.total() == tally.seen == 180
    assert {r.source for r in (*trajectories, *conversations)} == {"chat"}


def test_real_conversations_written_as_glaive_text_give_what_the_chat_reader_gives(real_data):
    path = real(real_data, "glaive_toolcall_en_demo.json")
    ours = {r.id: r for found in load(path)[:2] for r in found}
    checked = Counter()
    who = {"human": "USER", "gpt": "ASSISTANT", "function_call": "ASSISTANT", "observation": "FUNCTION RESPONSE"}
    for i, row in enumerate(json.loads(path.read_text())):
        turns = []
        for turn in row["conversations"]:
            text = turn["value"]
            if turn["from"] == "function_call":
                call = json.loads(text)
                text = (f'<functioncall> {{"name": "{call["name"]}", "arguments": '
                        f"'{json.dumps(call['arguments'], ensure_ascii=False)}'}}")
            turns.append(f"{who[turn['from']]}: {text}" + f" {END}" * (turn["from"] in ("gpt", "function_call")))
        tools = json.loads(row["tools"]) if row["tools"] else []
        chat = {"system": offer(*tools) if tools else "SYSTEM: ", "chat": "\n\n\n".join(turns) + "\n\n\n"}
        name = f"glaive_toolcall_en_demo.json[{i}]"
        for record in glaive.convert(chat, name, lambda what: None):
            other = ours.pop(record.id)
            if isinstance(other, Conversation):  # the texts of glaive's turns have no outer spaces
                assert [t.text for t in record.turns] == [t.text.strip() for t in other.turns]
                record = replace(record, turns=other.turns)
            assert record == replace(other, source="glaive")
            checked[type(record)] += 1
    assert not ours
    assert checked[Trajectory] > 50
    assert checked[Conversation] > 50
