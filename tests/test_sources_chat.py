"""Plain chat and tool messages, and what holds for any row at all."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_sources_agent import CALL, GOOD, SEEN, calls, dropped, episode, instruct, kept, tool_llama

from flanlib.records import Conversation, Trajectory
from flanlib.sources import FORMATS, read
from flanlib.tally import Tally


def gpt(*turns):
    """ShareGPT turns from texts; (role, text) where the role is not the usual one."""
    pairs = [t if isinstance(t, tuple) else (("human", "gpt")[i % 2], t) for i, t in enumerate(turns)]
    return {"id": "x_0", "conversations": [{"from": role, "value": text} for role, text in pairs]}


def shown(conversation):
    return [(turn.role, turn.text, turn.trained) for turn in conversation.turns]


@pytest.mark.parametrize("who", ["gpt", "chatgpt", "bing", "bard", "assistant", "GPT"])
def test_every_name_of_the_assistant_is_trained(tmp_path, who):
    found, noted = kept(tmp_path, gpt(("system", "Be kind."), ("user", "Hi"), (who, "Hello")))
    assert shown(found) == [("system", "Be kind.", False), ("user", "Hi", False), ("assistant", "Hello", True)]
    assert found.turns[2].spans[0].kind == "general"
    assert not noted


@pytest.mark.parametrize(("row", "turns", "note"), [
    (gpt(("gpt", "Hi!"), ("human", "a"), ("gpt", "b")), ["a", "b"], "leading assistant turn left out"),
    (gpt("a", "b", "c"), ["a", "b"], "trailing user turn left out"),
    (gpt(("human", "a"), ("human", "b"), ("gpt", "c")), ["a\n\nb", "c"], "neighbours of one role merged"),
    (gpt("a", "b", "c", " ", "e", "f"), ["a", "b"], "cut at an empty turn"),
    (gpt("a", "<div>Copy code</div>"), ["a", "<div>Copy code</div>"], "HTML in the text"),
])
def test_chat_is_cleaned_and_the_cleaning_noted(tmp_path, row, turns, note):
    found, noted = kept(tmp_path, row)
    assert [turn.text for turn in found.turns] == turns
    assert noted == {note: 1}


def test_generic_signs_are_not_html(tmp_path):
    assert not kept(tmp_path, gpt("Is 1 < 2 and List<T> fine?", "Yes, x > y."))[1]


@pytest.mark.parametrize(("row", "reason"), [
    (gpt("a", ""), "nothing to train"),
    (gpt("a"), "nothing to train"),
    (gpt(), "no turns"),
    (gpt("a", ("robot", "b")), "unknown role robot"),
    ({"conversations": ["a", "b"]}, "a turn is not an object"),
    ({"conversations": [{"value": "a"}]}, "a turn without a role"),
    ({"messages": [{"role": "user", "content": {"a": 1}}]}, "content is not text"),
    (gpt("a", "b") | {"label": False}, "a rejected answer (label false)"),
    (gpt("\ud800", "b"), "broken Unicode"),
    ({"messages": [{"role": "user", "content": "q"}, {"role": "tool", "content": "r"}]}, "a result without a call"),
    (gpt("a", "b") | {"tools": "[{]"}, "tool list is not JSON"),
    ({"question_id": 1, "turns": ["a", "b"]}, "no known format"),
    ({}, "no known format"),
    ([], "no turns"),
])
def test_chat_rows_are_dropped_by_reason(tmp_path, row, reason):
    assert dropped(tmp_path, row) == reason


@pytest.mark.parametrize(("flag", "trained"), [({}, True), ({"loss": None}, True), ({"loss": True}, True),
                                               ({"loss": False}, False), ({"loss_weight": 0.0}, False)])
def test_agent_flan_rows_are_trained_unless_the_flag_is_false(tmp_path, flag, trained):
    row = {"id": "toolbench_tflan_3", "conversation": [
        {"role": "system", "content": "s"}, {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", **flag},
        {"role": "user", "content": "r"}, {"role": "assistant", "content": "b", "loss": True}]}
    found, _ = kept(tmp_path, row)
    assert isinstance(found, Conversation)
    assert found.id == "toolbench_tflan_3"
    assert [turn.trained for turn in found.turns] == [False, False, trained, False, True]


def test_a_row_whose_every_flag_is_false_is_dropped(tmp_path):
    row = {"conversation": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "loss": False}]}
    assert dropped(tmp_path, row) == "nothing to train"


def test_merged_turns_train_only_the_flagged_part(tmp_path):
    row = {"conversation": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "loss": False},
                            {"role": "assistant", "content": "b", "loss": True}]}
    turn = kept(tmp_path, row)[0].turns[1]
    assert [(s.text, s.kind) for s in turn.spans] == [("a", "context"), ("\n\nb", "general")]
    assert turn.trained


def test_preference_rows_keep_the_chosen_answer(tmp_path):
    answer = {"from": "gpt", "value": "good"}
    found, _ = kept(tmp_path, gpt("q") | {"chosen": answer, "rejected": {"from": "gpt", "value": "bad"}})
    assert [t.text for t in found.turns] == ["q", "good"]
    whole = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "good"}]
    assert [t.text for t in kept(tmp_path, {"prompt": "q", "chosen": whole, "rejected": []})[0].turns] == ["q", "good"]


def test_alpaca_and_oasst_text_become_turns(tmp_path):
    found, _ = kept(tmp_path, {"instruction": "Add.", "input": "1 and 2", "output": "3"})
    assert [t.text for t in found.turns] == ["Add.\n\n1 and 2", "3"]
    found, _ = kept(tmp_path, {"input": "### Human: a ### Heading ### Assistant: b ### Human: c ### Assistant:",
                               "output": "d"})
    assert [t.text for t in found.turns] == ["a ### Heading", "b", "c", "d"]


TOOLS = [{"type": "function", "function": {"name": "clock", "description": "Tell the time.", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]


def called(*names, **more):
    return {"role": "assistant", "tool_calls": [
        {"id": f"c{i}", "type": "function", "function": {"name": "clock", "arguments": json.dumps({"city": name})}}
        for i, name in enumerate(names)], **more}


def result(text, **more):
    return {"role": "tool", "content": text, **more}


ASK, DONE = {"role": "user", "content": "Time?"}, {"role": "assistant", "content": "Noon."}


@pytest.mark.parametrize("tools", [TOOLS, json.dumps(TOOLS), [TOOLS[0]["function"]]])
def test_tool_lists_of_every_layout_are_the_same(tmp_path, tools):
    system = {"role": "system", "content": "Be brief."}
    row = {"messages": [system, ASK, called("Oslo", content="Look."), result("12"), DONE], "tools": tools}
    found, noted = kept(tmp_path, row)
    assert calls(found) == [("Look.", "clock", {"city": "Oslo"}, "12")]
    assert (found.query, found.answer, found.instructions) == ("Time?", "Noon.", "Be brief.")
    assert found.tools[0].required == ("city",)
    assert not noted


@pytest.mark.parametrize("results", [
    [result("1", tool_call_id="c0"), result("2", tool_call_id="c1")],
    [result("2", tool_call_id="c1"), result("1", tool_call_id="c0")],
    [result("1"), result("2")],
    [result('[{"content": "1"}, {"content": "2"}]')],
])
def test_parallel_calls_become_steps_with_their_own_results(tmp_path, results):
    found, _ = kept(tmp_path, {"messages": [ASK, called("a", "b", content="Both."), *results, DONE]})
    assert calls(found) == [("Both.", "clock", {"city": "a"}, "1"), ("", "clock", {"city": "b"}, "2")]


def test_role_agent_and_a_repeated_call_id_are_read_in_order(tmp_path):
    turns = [ASK]
    for i in range(3):
        turns += [called("x") | {"role": "agent"}, result(str(i), tool_call_id="c0")]
    found, _ = kept(tmp_path, turns)
    assert [s.observation for s in found.steps] == ["0", "1", "2"]


@pytest.mark.parametrize("given", ['{"city": "Oslo"}', {"city": "Oslo"}, '"{\\"city\\": \\"Oslo\\"}"'])
def test_legacy_calls_with_arguments_as_text_or_object(tmp_path, given):
    call = {"name": "clock", "arguments": given}
    row = {"messages": [ASK, {"role": "assistant", "content": "", "function_call": call},
                        {"role": "function", "name": "clock", "content": "12"}, DONE]}
    assert calls(kept(tmp_path, row)[0]) == [("", "clock", {"city": "Oslo"}, "12")]


def test_sharegpt_function_calls_and_content_parts(tmp_path):
    call = {"name": "clock", "arguments": {"city": "Oslo"}}
    row = gpt("Time?", ("function_call", json.dumps(call)), ("observation", "12"), ("gpt", "Noon.")) | {"tools": "[]"}
    found, _ = kept(tmp_path, row)
    assert calls(found) == [("", "clock", {"city": "Oslo"}, "12")]
    assert found.answer == "Noon."
    parts = [{"type": "reasoning", "value": "Look."}, {"type": "tool_call", "value": json.dumps(call)}]
    row = {"messages": [ASK, {"role": "assistant", "content": parts}, result([{"type": "text", "text": "12"}]), DONE]}
    assert calls(kept(tmp_path, row)[0]) == [("Look.", "clock", {"city": "Oslo"}, "12")]


def test_one_request_with_a_call_is_kept_with_what_was_said_before(tmp_path):
    row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Where?"}, ASK,
                        called("Oslo"), result("12"), DONE, {"role": "user", "content": "Thanks"}, DONE]}
    found, noted = kept(tmp_path, row)
    assert found.query == "Time?"
    assert found.answer == "Noon."
    assert found.instructions == "Earlier in this conversation:\nUser: Hi\nAssistant: Where?"
    assert noted == {"earlier turns moved to the instructions": 1, "no tool list": 1,
                     "a reply without a call kept as context only": 2}


def test_tools_without_a_call_stay_a_conversation_with_tools(tmp_path):
    found, _ = kept(tmp_path, {"messages": [ASK, DONE], "tools": TOOLS})
    assert isinstance(found, Conversation)
    assert [t.name for t in found.tools] == ["clock"]


@pytest.mark.parametrize(("row", "reason"), [
    ({"messages": [ASK, called("a", "b"), result("1"), DONE]}, "a call without a result"),
    ({"messages": [called("a"), result("1"), DONE]}, "a call without a request"),
    ({"messages": [ASK, called("a"), result("1"), result("2"), DONE]}, "a result without a call"),
    ({"messages": [ASK, {"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}]},
     "a call without a name"),
    ({"messages": [ASK, {"role": "assistant", "function_call": {"name": "f", "arguments": "[1]"}}]},
     "arguments are not an object"),
    ({"messages": [ASK, {"role": "assistant", "function_call": {"name": "f", "arguments": "a: 1"}}]},
     "arguments are not JSON"),
    ({"messages": [ASK, {"role": "assistant", "function_call": {"name": "f", "arguments": '{"a": 1e999}'}}]},
     "values that JSON cannot carry"),
    ({"traj": [ASK, DONE], "reward": 0.0}, "failed episode"),
    ({"messages": [called("a") | {"role": "user", "content": "q"}]}, "nothing to train"),
])
def test_broken_tool_rows_are_dropped_by_reason(tmp_path, row, reason):
    assert dropped(tmp_path, row) == reason


WORDS = st.sampled_from(["", "a", "user", "human", "gpt", "assistant", "system", "tool", "function", "function_call",
                         "You are AutoGPT", "Observation: b\nAction: finish[a]", "os_1",
                         "Thought: a\nAction: b\nAction Input: {}", "Action: finish[a]", "{}",
                         "Action: Answer\nFinal Answer: [1]", "Observation: a", "\ud800", '[{"name": "f"}]'])
KEYS = st.sampled_from(["from", "value", "role", "content", "loss", "valid", "type", "function", "name", "arguments",
                        "id", "function_call", "tool_calls", "messages", "conversations", "tools", "instruction",
                        "input", "output", "answer_generation", "valid_data", "train_messages", "chosen", "traj",
                        "system"])
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=3),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12)
TURN = st.dictionaries(KEYS, JSON, max_size=3) | st.builds(
    lambda role, text, more: {**more, **dict(zip(("from", "value"), (role, text), strict=True))},
    WORDS, WORDS | JSON, st.dictionaries(KEYS, JSON, max_size=2)) | st.builds(
    lambda role, text, more: {**more, "role": role, "content": text},
    WORDS, WORDS | JSON, st.dictionaries(KEYS, JSON, max_size=2))
ROW = JSON | st.builds(lambda key, turns, more: {**more, key: turns},
                       st.sampled_from(["messages", "conversations", "conversation", "traj"]),
                       st.lists(TURN, max_size=6), st.dictionaries(KEYS, JSON, max_size=2))


@settings(max_examples=100, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rows=st.lists(ROW, min_size=1, max_size=6), format=st.sampled_from([None, *FORMATS]))
def test_any_rows_are_counted_once_and_never_raise(tmp_path, rows, format):
    path = tmp_path / "any.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    tally = Tally("any")
    records = list(read(path, tally=tally, format=format))
    assert tally.seen == len(rows)
    assert bool(tally.kept) <= tally.kept <= len(records)
    assert all(isinstance(record, (Trajectory, Conversation)) for record in records)


BASES = [
    tool_llama(CALL, SEEN, GOOD),
    *episode("Thought: a\nAction: finish[b]", "Observation: Episode finished, reward = 1"),
    *(instruct(f"{task}_1", "Q?\nA. none\nB. <a>", action, "seen", action) for task, action in (
        ("os", "Think: t\n\nAct: bash\n\n```bash\nls\n```"), ("db", "Action: Operation\n```sql\nS\n```"),
        ("kg", "Action: count(#0)"), ("alfworld", "ACTION: look"), ("webshop", "Action:\nsearch[a]"),
        ("mind2web", "Answer: B.\nAction: CLICK"))),
    {"messages": [ASK, called("a", "b"), result("1"), result("2"), DONE], "tools": TOOLS},
    {"answer_generation": {"valid_data": True, "function": [{"name": "f"}], "train_messages": [[ASK, {
        "role": "assistant", "content": "t",
        "function_call": {"name": "Finish", "arguments": '{"final_answer": "a"}'}}]]}},
]


def broken(value, draw):
    """Put something else at one place, anywhere in a value."""
    if not isinstance(value, (dict, list)) or not value or draw(st.integers(0, 4)) == 0:
        return draw(JSON)
    key = draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
    changed = value.copy()
    changed[key] = broken(value[key], draw)
    return changed


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), base=st.sampled_from(BASES))
def test_a_good_row_broken_anywhere_is_counted_once(tmp_path, data, base):
    path = tmp_path / "broken.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in (base, broken(base, data.draw))))
    tally = Tally("broken")
    records = list(read(path, tally=tally))
    assert tally.seen == 2
    assert 1 <= tally.kept <= len(records)


def test_rows_nested_beyond_the_recursion_limit_are_counted(tmp_path):
    deep = '{"a": ' + "[" * 3000 + "]" * 3000 + "}"
    call = '{"role": "assistant", "function_call": {"name": "f", "arguments": ' + deep + "}}"
    path = tmp_path / "deep.jsonl"
    path.write_text(f'{{"messages": [{json.dumps(ASK)}, {call}]}}\n' + json.dumps(gpt("a", "b")))
    tally = Tally("deep")
    assert len(list(read(path, tally=tally))) == 1
    assert tally.seen == 2
