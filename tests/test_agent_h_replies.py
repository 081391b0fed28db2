"""Replies classified by structure: known answers for every kind in every form, and no text that breaks the reader."""

import re
import time
from itertools import chain

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from strategies import arguments, text

from flanlib.benchmarks.agent_h.replies import (
    ANNOUNCED,
    CALLS,
    DEGENERATE,
    ENDS,
    FORMAT,
    INVENTED,
    KINDS,
    LONGEST,
    MALFORMED,
    OFFERED,
    PLAIN,
    Reading,
    calls,
    degenerate,
    read,
    read_name,
)
from flanlib.dialects import json as json_form
from flanlib.dialects import react as react_form
from flanlib.records import Step, Tool, Trajectory

TOOLS = [Tool("get_fare", "The fare of a town."), Tool("weather"), Tool("find.town")]
KNOWN = {
    (OFFERED, "get_fare", "react"): [
        'Thought: x\nAction: get_fare\nAction Input: {"town": "Ulm"}',
        '**Thought:** x\n**Action:** get_fare\n**Action Input:** {"town": "Ulm"}',
        '**Thought**: x\n**Action**: `get_fare`\n**Action Input**: {"town": "Ulm"}',
        "Thought: x\nAction: get_fare[Ulm [old town]]",
        'Thought: x\nAction: get_fare\nAction Input: ```json\n{"town": "Ulm"}\n```',
        'Thought: \nAction: get_fare\nAction Input: {\n  "town": "Ulm"\n}',
        "action: get_fare\naction input: {}",
        "Sure!\n> Action: get_fare\n> Action Input: {}\nObservation: 3\nFinal Answer: 3",
    ],
    (INVENTED, "search", "react"): ["Thought: x\nAction: search[the tower]", "Action: search\nAction Input: {}"],
    (INVENTED, "fare_for_town", "react"): ["\nThought: \nAction: fare_for_town\nAction Input: {}"],
    (MALFORMED, "get_fare", "react"): [
        "Thought: x\nAction: get_fare",
        "Thought: x\nAction: get_fare\nAction Input:",
        "Thought: x\nAction: get_fare\nAction Input: Ulm",
        'Thought: x\nAction: get_fare\nAction Input: ["Ulm"]',
        'Thought: x\nAction: get_fare\nAction Input: {"town": "Ul',
        "Thought: x\nAction: get_fare[Ulm",
    ],
    (MALFORMED, "", "react"): ["Thought: x\nAction:", "Action:\nAction Input: {}"],
    (FORMAT, "", "react"): [
        "Thought: I know it.\nFinal Answer: 3",
        "Thought: I will use get_fare.",
        "Thought: get_fare told me.\nAction: finish[3 euros]",
        "Thought: x\nAction: Finish",
        "Action: None",
        'Action: Finish\nAction Input: {"return_type": "give_answer", "final_answer": "3"}',
        "**Thought:** hm",
        "Observation: 3",
    ],
    (OFFERED, "get_fare", "json"): [
        '{"thought": "x", "name": "get_fare", "arguments": {"town": "Ulm"}}',
        '{"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function": '
        '{"name": "get_fare", "arguments": "{\\"town\\": \\"Ulm\\"}"}}]}',
        '{"function_call": {"name": "get_fare", "arguments": "{\\"town\\": \\"Ulm\\"}"}}',
        '{"name": "get_fare", "arguments": "{}"}',
        '[{"name": "get_fare", "arguments": {}}, {"name": "fly", "arguments": {}}]',
        '{"type": "function", "function": {"name": "get_fare", "parameters": {}}}',
        '{"type": "function", "function": "get_fare", "parameters": {}}',
        '{"action": "get_fare", "action_input": {"town": "Ulm"}}',
        'Of course:\n```json\n{"tool": "get_fare", "args": {"town": "Ulm"}}\n```\nIs that all?',
    ],
    (INVENTED, "fly", "json"): [
        '{"thought": "x", "name": "fly", "arguments": {}}',
        '[{"name": "fly", "arguments": {}}, {"name": "get_fare", "arguments": {}}]',
    ],
    (MALFORMED, "get_fare", "json"): [
        '{"thought": "x", "name": "get_fare"',
        '{"thought": "x", "name": "get_fare", "arguments": {"town": "Ul',
        '{"thought": "x", "name": "get_fare", "arguments": {"town": "Ulm"}',
        '{"tool_calls": [{"function": {"name": "get_fare", "arguments": "{\\"to',
        '{"name": "get_fare", "arguments": "Ulm"}',
        '{"name": "get_fare", "arguments": "{\\"town\\": "}',
        '{"name": "get_fare", "arguments": ["Ulm"]}',
        '{"name": "get_fare"}',
    ],
    (MALFORMED, "fly", "json"): ['{"name": "fly", "arguments": {"town": "Ulm"'],
    (MALFORMED, "", "json"): ['{"name": "", "arguments": {}}'],
    (FORMAT, "", "json"): [
        '{"thought": "get_fare told me", "answer": "3"}',
        '{"thought": "I will use get_fa',
        '{"name": null, "arguments": {}}',
        '{"action": "Final Answer", "action_input": "3"}',
    ],
    (OFFERED, "weather", "code"): ['weather\n{"town": "Ulm"}'],
    (OFFERED, "get_fare", "tag"): [
        '<functioncall> {"name": "get_fare", "arguments": \'{"town": "Ulm"}\'} <|endoftext|>',
        'One moment. <functioncall> {"name": "get_fare", "arguments": {"town": "Ulm"}}',
        '<tool_call>\n{"name": "get_fare", "arguments": {"town": "Ulm"}}\n</tool_call>',
        '[TOOL_CALLS] [{"name": "get_fare", "arguments": {"town": "Ulm"}}]',
        '<|python_tag|>{"name": "get_fare", "parameters": {"town": "Ulm"}}',
        '<function=get_fare>{"town": "Ulm"}</function>',
        '<invoke name="get_fare"><parameter name="town">Ulm</parameter></invoke>',
        'AI to=get_fare: {"town": "Ulm"}',
        '<think>\nI may use fly(to="Ulm").\n</think>\n\n<tool_call>\n{"name": "get_fare", "arguments": {}}'
        "\n</tool_call>",
        'Action: ```json\n[{"tool_name": "get_fare", "parameters": {"town": "Ulm"}}]\n```',
        "```tool_code\nprint(get_fare(town='Ulm'))\n```",
        '<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.get_fare '
        '<|constrain|>json<|message|>{"town": "Ulm"}<|call|>',
    ],
    (INVENTED, "fly", "tag"): [
        "[TOOL_CALLS]fly[ARGS]{}", "<tool_call>fly\n<arg_key>to</arg_key>\n<arg_value>Ulm</arg_value>\n</tool_call>",
        '<tool_call>\n{"name": "fly", "arguments": {}}\n</tool_call>',
        '<functioncall> {"name": "fly", "arguments": \'{"to": "Ulm"}\'}',
        '<function=fly>{"to": "Ulm"}</function>',
        "AI to=fly: {}",
    ],
    (MALFORMED, "get_fare", "tag"): [
        '<functioncall> {"name": "get_fare", "arguments": \'{"town": "Ul',
        '<tool_call>\n{"name": "get_fare"',
        '<function=get_fare>{"town": "Ul',
        '<invoke name="get_fare"><parameter name="town">Ulm</parameter>',
        'AI to=get_fare: {"town": "Ul',
    ],
    (MALFORMED, "", "tag"): ["<tool_call>", "<tool_call>\nUlm\n</tool_call>", "[TOOL_CALLS] ["],
    (OFFERED, "get_fare", "code"): [
        'get_fare(town="Ulm")',
        '[get_fare(town="Ulm")]',
        '[get_fare(town="Ulm"), fly(to="Bonn")]',
        'get_fare(town="Ulm")\nget_fare(town="Bonn")',
        '```python\nget_fare("Ulm")\n```',
        "get_fare()",
    ],
    (OFFERED, "find.town", "code"): ['find.town(name="Ulm")'],
    (INVENTED, "Fly Home", "code"): ['[Fly Home(to="Ulm")]'],
    (INVENTED, "fly", "code"): ['fly(to="Ulm")', '[fly(to="Ulm", at=3)]'],
    (INVENTED, "book_flight", "code"): ["book_flight(Ulm, 3)"],
    (MALFORMED, "get_fare", "code"): ['get_fare(town="Ul', "get_fare(", '[get_fare(town="Ulm"'],
    (MALFORMED, "fly", "code"): ['fly(to="Ul', '[fly(to="Ulm")'],
    (FORMAT, "", "code"): ['finish(answer="3")'],
    (FORMAT, "", "tag"): [
        'Action: ```json\n[{"tool_name": "directly_answer", "parameters": {}}]\n```',
        '<tool_call>{"name": "finish", "arguments": {"answer": "3"}}</tool_call>'],
    (OFFERED, "get_fare", "words"): [
        "get_fare", "`get_fare`", '"get_fare".',  # a lone name, as in chat form
        "I would look that up with get_fare.",
        "I cannot fly. I will use the get_fare tool.",
        "I do not know the fare, so I will use get_fare.",
        "Let me call get_fare because I cannot tell.",
        "Next comes\nget_fare, then find.town",
    ],
    (OFFERED, "weather", "words"): ["weather", "I will use the weather tool.", 'Let me call weather("Ulm").'],
    (OFFERED, "find.town", "words"): ["I shall employ find.town."],
    (INVENTED, "book_flight", "words"): [
        "book_flight", "I will use the book_flight tool.", "Let me call `book_flight` function.",
        "I need to call book_flight() first.",
    ],
    (INVENTED, "bookFlight", "words"): ["bookFlight"],
    (ANNOUNCED, "", "words"): [
        "I need to call a tool.", "I'll use a function to find it.", "Let me use one of my tools.",
        "I will use the hammer tool.", "I don't know that, so let me query an API.",
    ],
}  # fmt: skip
WORDS = [
    "It can be done so:\n```python\ndef get_fare(town):\n    return 3\n```",
    "The fare is 3 euros.", '{"name": "Bob", "age": 3}', '{"people": [{"name": "Bob", "age": 3}]}',
    '{"answer": "the name is Bob"}', '[1, 2, {"a": 3}]', '{"tool_calls": []}', "- one\n- two",
    "answer: 3\naction: wait",
    "Action: pour the milk", "Step 1\nAction: stir.\nStep 2\nAction: serve.", "Action: Wait",
    '{"name": "harbour-app", "version": "1.0.0", "args": {"port": 80}, "scripts": {"start": "node tide.js"}}',
    '```json\n{\n  "name": "harbour-app",\n  "input": "tide.js",\n  // no more\n  "params": []\n}\n```',
    '{"type": "function", "function": {"name": "sail", "description": "Sail.", "parameters": {"type": "object", '
    '"properties": {}}}}', "<think>I will use get_fare.</think>The fare is 3 euros.",
    "<|channel|>analysis<|message|>Let me call get_fare.<|end|><|start|>assistant<|channel|>final<|message|>It is 3.",
    "snake_case is a naming style.", "The weather is fine, and so is the search.", "Use the sorted function of Python.",
    "You can use the read_csv function for that.", "Call the plumber, or run for help.", "A plan of action: wait.",
    'print("hello")', '```python\nprint("hello")\n```', "len(x)", "def f(x):\n    return x",
    '```python\nplot(x="a")\nshow()\n```', "import os\nos.listdir()", "x = f(3)", "Use str.join(parts) for it.",
    "sin(x)", "sqrt(2), about 1.414", "f(x) = x, so it holds.", "Paris(France), the capital", "Paris (France)",
    "Yes (I think so).", "(a) one, (b) two", "weather (in Ulm) is fine", "iPhone", "JavaScript",
    "bob_smith@mail.org", "Write to bob_smith@mail.org, or see http://a.org/get_it/find_all.",
    "http://a.org/get_it", "<answer><action>wait</action></answer>", "<answer>3</answer>",
    "I have no tool for that.", "I don't have a tool that can book flights.", "There is no tool such as get_fare here.",
    "I cannot use get_fare for that.", "Unfortunately none of my tools can do this.", "I will not use get_fare.",
    "I will never call the book_flight tool.", "You could call get_fare yourself.",
]  # fmt: skip
LOOPS = [
    "", "  \n", "...", "- - - -", "{" * 300, "\ufffd" * 9, "ZZZZ", "zzzzzzzzzzzzzzzzzz", "The fare, " * 9,
    "up up up up up up up up up up", "So it is " + "the lake of " * 20, "The total is 1" + "0" * 90, "x" * 9000,
    "Thought: The record, " + "and I must find the record, " * 8, "To begin, I look at the list of all the fares." * 5,
    "Thought: So.\nAction: get_sk" + "k" * 30, "Action: find" + "_lake" * 12, '{"name": "get_fare", "arguments": {"a": '
    + '"Ulm, ' * 20, "<tool_call>" * 40, "- red\n" * 12, "湖と川、" * 20, "ха-ха " * 20,
    "\n".join(f"{i}. Look at the sea and the sun." for i in range(1, 9)),
    "The sea is deep and the sea is blue. The sea is deep and the sun is blue. The sea is deep and the sea is blue. "
    "The sun is deep and the sea is blue. The sea is deep and the sea is blue. The sea is deep and the sun is deep.",
]  # fmt: skip
NO_LOOPS = [
    "No.", "42", "0.3333333333", "1" + "0" * 24, "Zzz", "Ha ha ha!", "No, no, no, no!", "www", "1111", "\U0001f44d",
    "Hmmmmmm", "Yes, yes. Aaaaaaaaaaaah!", "東京です。", "Да, да.", "-----\nSo it is.\n-----",
    "Wait for it ............",
    "- red\n- green\n- blue\n- dark red\n- dark green\n- dark blue",
    "1. Peel the apples.\n2. Cut the apples.\n3. Boil the apples.\n4. Mash the apples.\n5. Eat the apples.",
    "| town | lift | pool | sauna |\n| --- | --- | --- | --- |\n| Ulm | yes | no | yes |\n| Bonn | yes | no | yes |\n"
    "| Kiel | no | no | yes |\n| Trier | yes | yes | yes |\n| Jena | no | no | no |",
    "\n".join(f"{i} x 7 = {7 * i}" for i in range(1, 11)), "\n".join(f"{i} times 7 is {7 * i}." for i in range(1, 11)),
    "1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1", "town,fare,zone\nUlm,3,A\nBonn,3,A\nKiel,3,A\nTrier,3,A\nJena,3,A",
    '[{"name": "Ulm", "type": "town", "fare": 3}, {"name": "Bonn", "type": "town", "fare": 4}, {"name": "Kiel", '
    '"type": "town", "fare": 3}, {"name": "Rhine", "type": "river", "fare": 0}]',
    "def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    return a - b\n\n\ndef mul(a, b):\n    return a * b\n\n\n"
    "def div(a, b):\n    return a / b\n",
    "<ul>\n<li>red</li>\n<li>green</li>\n<li>blue</li>\n<li>black</li>\n</ul>",
    "Row, row, row your boat,\nGently down the stream.\nMerrily, merrily, merrily, merrily,\nLife is but a dream.",
    "The sea is wide, the night is long,\nthe keeper hums his evening song.\nO turn, my light, O turn for me,\n"
    "and bring them safely from the sea.\n\nThe wind is up, the rain is cold,\nthe lamp is burning as of old.\n"
    "O turn, my light, O turn for me,\nand bring them safely from the sea.",
]  # fmt: skip
TEXTS = [*LOOPS, *NO_LOOPS, *chain(*KNOWN.values()), *WORDS]


@pytest.mark.parametrize(("kind", "tool", "form"), KNOWN, ids=" ".join)
def test_known_replies_are_classified_as_a_person_would(kind, tool, form):
    for reply in KNOWN[kind, tool, form]:
        reading = read(reply, TOOLS)
        assert reading == Reading(kind, tool, form), reply
        assert reading.agent, reply


@pytest.mark.parametrize("reply", WORDS)
def test_ordinary_answers_are_plain_even_with_tools_offered(reply):
    assert read(reply, TOOLS) == read(reply) == Reading(PLAIN)
    assert not read(reply).agent


@pytest.mark.parametrize("reply", LOOPS, ids=lambda reply: reply[:12].encode("ascii", "replace").decode())
def test_loops_and_empty_replies_are_degenerate_however_they_begin(reply):
    assert degenerate(reply)
    assert read(reply, TOOLS) == read(reply) == Reading(DEGENERATE)
    assert not read(reply).agent


@pytest.mark.parametrize("reply", NO_LOOPS, ids=lambda reply: reply[:12].encode("ascii", "replace").decode())
def test_lists_poems_tables_and_code_are_not_degenerate(reply):
    assert not degenerate(reply)
    assert read(reply, TOOLS) == Reading(PLAIN)


def test_no_known_reply_is_degenerate():
    assert [reply for reply in [*chain(*KNOWN.values()), *WORDS] if degenerate(reply)] == []


def test_a_complete_call_counts_even_if_a_loop_follows():
    call = 'Action: get_fare\nAction Input: {"town": "Ulm"}'
    assert read(call + "\nThe fare is" * 30, TOOLS).kind == OFFERED
    assert read("So be it.\n" * 30 + call, TOOLS).kind == OFFERED


def test_there_are_known_replies_of_every_kind_in_every_form():
    found, written = {(kind, form) for kind, _, form in KNOWN}, ("react", "json", "tag", "code")
    assert found >= {(kind, form) for kind in (OFFERED, INVENTED, MALFORMED, FORMAT) for form in written}
    assert found >= {(kind, "words") for kind in (OFFERED, INVENTED, ANNOUNCED)}
    assert {kind for kind, _ in found} == {*CALLS, FORMAT} == {*KINDS} - {PLAIN, DEGENERATE}


@pytest.mark.parametrize("end", sorted(ENDS))
def test_to_finish_is_no_call_in_any_form(end):
    for reply in (f"Thought: x\nAction: {end}", f'{{"name": "{end}", "arguments": {{}}}}'):
        assert read(reply, TOOLS).kind == FORMAT


def test_without_tools_every_call_is_invented():
    for (kind, tool, form), replies in KNOWN.items():
        if kind == OFFERED and form != "words":
            assert {read(r).kind for r in replies if tool == "get_fare"} <= {INVENTED, PLAIN}, replies
    assert read('{"name": "get_fare", "arguments": {}}') == Reading(INVENTED, "get_fare", "json")


def test_in_words_a_name_from_the_query_is_not_invented():
    for reply in ("hello_world", "That is how to call the hello_world function."):
        assert read(reply, TOOLS).kind == INVENTED
        assert read(reply, TOOLS, "Write hello_world backwards.").kind == PLAIN
    assert read("I will use the hello_world tool.", TOOLS, "Run hello_world.").kind == ANNOUNCED
    assert read("Use the hello_world tool? I will use get_fare.", TOOLS, "Run hello_world.").tool == "get_fare"
    assert read("get_fare", TOOLS, "What does get_fare do?").kind == OFFERED
    assert read('{"name": "hello_world", "arguments": {}}', TOOLS, "Call hello_world.").kind == INVENTED


def test_only_the_beginning_of_a_long_reply_is_read():
    call = "\nAction: get_fare\nAction Input: {}"
    numbers = " ".join(str(n) for n in range(LONGEST))
    assert read(numbers[: LONGEST - len(call)] + call, TOOLS).kind == OFFERED
    assert read(numbers[:LONGEST] + call, TOOLS).kind == PLAIN


def test_thinking_does_not_count_and_however_long_a_call_after_it_does():
    thought = f"<think>{'Shall I take the ferry of noon? ' * LONGEST}</think>"
    assert read(thought + "So it is.", TOOLS) == Reading(PLAIN)
    assert read(thought + "Action: get_fare\nAction Input: {}", TOOLS) == Reading(OFFERED, "get_fare", "react")
    assert read_name("<think>Which?</think>\nget_fare", TOOLS) == Reading(OFFERED, "get_fare", "chat")


@pytest.mark.parametrize("reply", ["<think>I should look", "<think>It is 3.</think>\n", "[THINK]"])
def test_thinking_without_a_reply_is_no_answer(reply):
    assert read(reply, TOOLS) == Reading(DEGENERATE)


def test_a_call_with_a_long_text_is_read_whole():
    letter = " ".join(map(str, range(LONGEST)))
    for call in (f'{{"name": "weather", "arguments": {{"a": "{letter}"}}}}',
    f"[TOOL_CALLS]weather[ARGS]{{\"a\": \"{letter}\"}}"):
        assert read(call, TOOLS).kind == OFFERED


def test_calls_have_their_arguments_in_every_form():
    for reply in ('Action: get_fare\nAction Input: {"town": "Ulm"}',
    '{"name": "get_fare", "arguments": {"town": "Ulm"}}',
                 'get_fare(town="Ulm")', '<function=get_fare>{"town": "Ulm"}</function>'):
        assert [tuple(call) for call in calls(reply, TOOLS)] == [("get_fare", {"town": "Ulm"})]
    assert calls("Action: get_fare\nAction Input: Ulm", TOOLS)[0].arguments is None
    assert calls("I will use get_fare.", TOOLS) == ()


HOSTILE = [
    "[" * 100_000, "{" * 100_000, '{"a":' * 20_000, "[" * 1900 + "]" * 1900, '{"tool_calls":[' * 300, "(" * 4000,
    "\0" * 4000, "f(\0)", "f(x='\ud800')", "\ud800", "f(" * 2000, "a_b(" + "-" * 3900 + "1)", "a_b" + "()" * 1900,
    "a" + ".b" * 1900 + '(c="d")', "f(x=" + "lambda:" * 500 + "1)", "a" + "_a" * 1990 + "!", "a" + "_" * 3990 + "@",
    "'{" * 2000, "<tool_call>" + "'{" * 1990, '"name":{' * 500, '{"name":"' * 500, '{"name": "a", "input": "' * 200,
    "use " * 1000, "use " + "a." * 1990, "I will " * 600, "use" + " " * 3990, "\n" * 4000, ". " * 2000, "`" * 4000,
    "<function=" * 400, "<tool_call>" * 400, "Action:" * 600, "Action:\n" * 500, "Action: a[" + "]" * 3990, "\\" * 4000,
    "Action: " + "[" * 3990, " " * 100_000, '{"name": "f", "arguments": ' + "9" * 3900 + "}",
]  # fmt: skip


@pytest.mark.parametrize("reply", HOSTILE, ids=lambda reply: f"{reply[:9].encode('ascii', 'replace')}")
def test_hostile_replies_are_read_quickly(reply):
    begun = time.process_time()
    assert read(reply, TOOLS).kind in KINDS
    assert time.process_time() - begun < 0.5


PIECES = [*(piece for reply in TEXTS for piece in reply.split(" ")), *"\n\t\0[]{}()<>'\"`:,.=_*\\", "\\u0000", "'''",
          "f(x=", "I will use ", "get_fare", "not ", "```"]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=12).map("".join), st.booleans())
@settings(max_examples=100, deadline=None)
def test_every_reply_is_of_one_of_the_kinds(reply, beside):
    tools = TOOLS if beside else []
    reading, names = read(reply, tools), {tool.name for tool in tools}
    assert reading.kind in KINDS
    assert (reading.kind == OFFERED) == (reading.tool in names and reading.kind != MALFORMED)
    assert reading.tool or reading.kind != INVENTED
    assert (reading.form == "") == (reading.kind in (PLAIN, DEGENERATE)) == (not reading.agent)
    if reading.kind in (PLAIN, ANNOUNCED, FORMAT, DEGENERATE):
        assert reading.tool == ""


names = st.from_regex(r"\A[a-z_][A-Za-z0-9_.-]{0,11}\Z").filter(lambda name: name not in ENDS)
thoughts = st.one_of(text, st.sampled_from(["I will use the {} tool.", "{}", "so {}(x=1)?"]))
WRITERS = {"react": react_form.write_call, "json": json_form.write_call}


@pytest.mark.parametrize("dialect", WRITERS)
@given(name=names, thought=thoughts, arguments_=arguments, offered=st.booleans())
@settings(max_examples=80, deadline=None)
def test_what_the_kit_writes_as_a_call_is_read_as_one(dialect, name, thought, arguments_, offered):
    call = WRITERS[dialect](Step(thought.replace("{}", name), name, arguments_, None)).text
    assume(len(call) <= LONGEST and not re.search("think|THINK|reasoning>", call))  # marks of thinking are read as such
    tools = [*TOOLS, *([Tool(name)] if offered else [])]
    known = name in {tool.name for tool in tools}
    assert read(call, tools) == Reading(OFFERED if known else INVENTED, name, dialect)


@pytest.mark.parametrize("dialect", WRITERS)
@given(name=names, thought=thoughts, arguments_=arguments, part=st.floats(0, 1, exclude_max=True))
@example(name="get_fare", thought="I will use the {} tool.", arguments_={"town": "Ulm", "n": {"a": [1]}}, part=0.99)
@settings(max_examples=100, deadline=None)
def test_a_call_cut_short_is_neither_a_call_nor_a_plain_reply(dialect, name, thought, arguments_, part):
    call = WRITERS[dialect](Step(thought.replace("{}", name), name, arguments_, None)).text
    assume(len(call) <= LONGEST)
    cut = call[: int(part * len(call))]
    reading = read(cut, [Tool(name)])
    assert reading.kind not in (OFFERED, INVENTED)
    if len(cut) >= len("Thought:" if dialect == "react" else '{"thought":'):
        assert reading.kind in (MALFORMED, FORMAT, DEGENERATE)
    if len(cut) > call.rindex("Action Input:" if dialect == "react" else '", "arguments": ') + 16 and not arguments_:
        assert reading == (Reading(DEGENERATE) if degenerate(cut) else Reading(MALFORMED, name, dialect))


@pytest.mark.parametrize("dialect", WRITERS)
def test_no_prefix_of_a_call_is_a_call(dialect):
    thought, arguments_ = "I will use the get_fare tool, or get_fare(town='x').", {"town": "Ulm", "n": [{"a": 1}]}
    call = WRITERS[dialect](Step(thought, "get_fare", arguments_, None)).text
    kinds = [read(call[:end], TOOLS).kind for end in range(len(call))]
    key = call.index("Action Input:" if dialect == "react" else '"arguments":')
    assert OFFERED not in kinds
    assert set(kinds[key + 13 :]) == {MALFORMED}
    assert read(call, TOOLS).kind == OFFERED


def test_the_kits_own_answers_are_a_format_and_no_call():
    trajectory = Trajectory("t", "test", "Q", tuple(TOOLS), answer="get_fare says 3.", answer_thought="Use get_fare.")
    for form in (react_form, json_form):
        assert read(form.render(trajectory, rng=None).turns[-1].text, TOOLS).kind == FORMAT
