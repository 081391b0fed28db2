"""Calls in the syntaxes of today's models: examples per family, and texts that only look like calls."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import deepseek, space

from flanlib.dialects import written
from flanlib.dialects.written import Written, WrittenCall, find, thinking

HEIGHT = WrittenCall("tide_height", {"pier": "Cork", "hour": 3})
NOW = WrittenCall("moon_phase", {})
ARGUMENTS = '{"pier": "Cork", "hour": 3}'
CALL = f'{{"name": "tide_height", "arguments": {ARGUMENTS}}}'
PYTHON = 'tide_height(pier="Cork", hour=3)'


XML = space("", "tide_height", HEIGHT.arguments)
FAMILIES = {  # each makes the call HEIGHT, and no other
    "Kimi K2": "<|tool_calls_section_begin|><|tool_call_begin|>functions.tide_height:0<|tool_call_argument_begin|>"
    f"{ARGUMENTS}<|tool_call_end|><|tool_calls_section_end|><|im_end|>",
    "gpt-oss": "<|channel|>analysis<|message|>I look it up.<|end|><|start|>assistant<|channel|>commentary "
    f"to=functions.tide_height <|constrain|>json<|message|>{ARGUMENTS}<|call|>",
    "gpt-oss, recipient first": "<|start|>assistant to=functions.tide_height<|channel|>commentary json<|message|>"
    f"{ARGUMENTS}<|call|>",
    "gpt-oss without special tokens": f"analysisI look.assistantcommentary to=functions.tide_height json{ARGUMENTS}",
    "GLM-4.5": "<think>So.</think>\n<tool_call>tide_height\n<arg_key>pier</arg_key>\n<arg_value>Cork</arg_value>\n"
    "<arg_key>hour</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
    "GLM-4.7": "</think><tool_call>tide_height<arg_key>pier</arg_key><arg_value>Cork</arg_value>"
    "<arg_key>hour</arg_key><arg_value>3</arg_value></tool_call>",
    "Hunyuan": "<tool_calls>\n<tool_call>tide_height<tool_sep>\n<arg_key>pier</arg_key>\n<arg_value>Cork</arg_value>"
    "\n<arg_key>hour</arg_key>\n<arg_value>3</arg_value>\n</tool_call>\n</tool_calls>",
    "Mistral v11": f"[TOOL_CALLS]tide_height[ARGS]{ARGUMENTS}</s>",
    "Mistral with an id": f"[TOOL_CALLS]tide_height[CALL_ID]a1b2c3d4e[ARGS]{ARGUMENTS}",
    "Mistral v3": f"[TOOL_CALLS] [{CALL[:-1]}, \"id\": \"a1b2c3d4e\"}}]</s>",
    "Magistral": f"[THINK]Hm.[/THINK][TOOL_CALLS]tide_height{ARGUMENTS}",
    "Gemma 3": f"```tool_code\n{PYTHON}\n```",
    "Gemma 3, printed": f"```tool_code\nprint({PYTHON})\n```",
    "Gemma 3, assigned": f"```tool_code\nheight = {PYTHON}\nprint(height)\n```",
    "Gemma 4": '<|channel>thought\nHm.<channel|><|tool_call>call:tide_height{hour:3,pier:<|"|>Cork<|"|>}<tool_call|>',
    "FunctionGemma": "<start_function_call>call:tide_height{pier:<escape>Cork<escape>,hour:3}<end_function_call>",
    "Command R": 'Action: ```json\n[\n    {\n        "tool_name": "tide_height",\n        "parameters": '
    f"{ARGUMENTS}\n    }}\n]\n```",
    "Command R7B": '<|START_THINKING|>I look.<|END_THINKING|><|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": '
    f'"tide_height", "parameters": {ARGUMENTS}}}\n]<|END_ACTION|><|END_OF_TURN_TOKEN|>',
    "Llama 3": f'<|python_tag|>{{"type": "function", "name": "tide_height", "parameters": {ARGUMENTS}}}<|eom_id|>',
    "Llama 3, builtin": '<|python_tag|>tide_height.call(pier="Cork", hour=3)<|eom_id|>',
    "Llama 3, bare": f'{{"name": "tide_height", "parameters": {ARGUMENTS}}}<|eot_id|>',
    "Llama 4": f"[{PYTHON}]<|eot|>",
    "Llama 4 with marks": f"<|python_start|>[{PYTHON}]<|python_end|><|eom|>",
    "DeepSeek V3": f"<tool calls begin><tool call begin>function<tool sep>tide_height\n```json\n{ARGUMENTS}\n```"
    "<tool call end><tool calls end><eos>",
    "DeepSeek V3.1": f"</think><tool calls begin><tool call begin>tide_height<tool sep>{ARGUMENTS}<tool call end>"
    "<tool calls end><eos>",
    "DeepSeek V3.2": '<｜DSML｜function_calls>\n<｜DSML｜invoke name="tide_height">\n<｜DSML｜parameter name="pier" '
    'string="true">Cork</｜DSML｜parameter>\n<｜DSML｜parameter name="hour" string="false">3</｜DSML｜parameter>\n'
    "</｜DSML｜invoke>\n</｜DSML｜function_calls>",
    "LFM2": f"<|tool_call_start|>[{PYTHON}]<|tool_call_end|><|im_end|>",
    "OLMo 3": f"<function_calls>\n{PYTHON}\n</function_calls>",
    "Functionary 3.2": f">>>all\n>>>tide_height\n{ARGUMENTS}",
    "Functionary 3.1": f"<function=tide_height>{ARGUMENTS}</function>",
    "Functionary 2": f"<|recipient|>tide_height\n<|content|>{ARGUMENTS}",
    "Hermes, Qwen": f"<tool_call>\n{CALL}\n</tool_call>",
    "Hermes, a Python dict": f"<tool_call>\n{CALL.replace(chr(34), chr(39))}\n</tool_call>",
    "Qwen3-Coder": "<tool_call>\n<function=tide_height>\n<parameter=pier>\nCork\n</parameter>\n<parameter=hour>\n3\n"
    "</parameter>\n</function>\n</tool_call>",
    "SWE agents": "<function=tide_height>\n<parameter=pier>Cork</parameter>\n<parameter=hour>3</parameter>\n"
    "</function>",
    "Seed-OSS": "<seed:think>Hm.</seed:think><seed:tool_call>\n<function=tide_height>\n<parameter=pier>Cork"
    "</parameter>\n<parameter=hour>3</parameter>\n</function>\n</seed:tool_call>",
    "Anthropic": f"<function_calls>\n{XML}\n</function_calls>",
    "Anthropic, a namespace": f"<own:function_calls>\n{space('own:', *HEIGHT)}\n</own:function_calls>",
    "Anthropic, early": "<function_calls>\n<invoke>\n<tool_name>tide_height</tool_name>\n<parameters>\n<pier>Cork"
    "</pier>\n<hour>3</hour>\n</parameters>\n</invoke>\n</function_calls>",
    "Step 3": f"<tool calls begin><tool call begin>function<tool sep>{space('steptml:', *HEIGHT)}<tool call end>"
    "<tool calls end>",
    "MiniMax M1": f"<tool_calls>\n{CALL}\n</tool_calls>",
    "MiniMax M2": f"<minimax:tool_call>\n{XML}\n</minimax:tool_call>",
    "Nemotron": f"<TOOLCALL>[{CALL}]</TOOLCALL>",
    "Granite, Phi-4": f"<|tool_call|>[{CALL}]<|/tool_call|>",
    "Phi-4, Firefunction": f"functools[{CALL}]",
    "glaive": f"<functioncall> {{\"name\": \"tide_height\", \"arguments\": '{ARGUMENTS}'}} <|endoftext|>",
    "xLAM": f"[{CALL}]",
    "xLAM 1": f'{{"thought": "", "tool_calls": [{CALL}]}}',
    "ToolACE": f"[{PYTHON}]",
    "InternLM 2": f"<|action_start|><|plugin|>\n{CALL}<|action_end|>",
    "LongCat": f"<longcat_tool_call>{CALL}</longcat_tool_call>",
    "in a code fence": f"```json\n{CALL}\n```",
}  # fmt: skip
MARKED = {name: text for name, text in FAMILIES.items() if written.marked(thinking(deepseek(text))[1])}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_familys_call_is_read_offered_or_not(family):
    for names in ((), ["tide_height"], ["moon_phase"]):
        found = find(deepseek(FAMILIES[family]), names)
        assert found is not None
        assert (found.before, found.calls, found.after) == ("", (HEIGHT,), "")
        assert found.thought in ("", "Hm.", "So.", "I look.", "I look it up.")
        assert bool(found.thought) == any(word in FAMILIES[family] for word in ("Hm.", "So.", "I look"))


def test_only_whole_texts_are_unmarked_calls():
    assert FAMILIES.keys() - MARKED.keys() == {
        "Llama 3, bare", "Llama 4", "xLAM", "xLAM 1", "ToolACE", "in a code fence"}  # fmt: skip


@pytest.mark.parametrize("family", MARKED)
@given(before=st.text("ab .,\n", max_size=9), after=st.text("ab .,\n", max_size=9))
@settings(max_examples=10, deadline=None)
def test_text_around_marked_calls_is_kept(family, before, after):
    call = deepseek(FAMILIES[family]).removesuffix("</s>")
    before = "" if call.startswith(("</think>", "analysis")) else before + "\n"  # thinking begins the text
    after = "" if family == "glaive" else after  # nothing marks the end of its call
    found = find(before + call + "\n" + after)
    assert (found.before, found.calls, found.after) == (before.strip(), (HEIGHT,), after.strip())


@pytest.mark.parametrize("text", [
    f"<tool_call>{CALL}</tool_call>\n<tool_call>{{\"name\": \"moon_phase\", \"arguments\": {{}}}}</tool_call>",
    f"[TOOL_CALLS]tide_height[ARGS]{ARGUMENTS}[TOOL_CALLS]moon_phase[ARGS]{{}}",
    f"[{PYTHON}, moon_phase()]", f"<function_calls>\n{PYTHON}\nmoon_phase()\n</function_calls>",
    f'{CALL}; {{"name": "moon_phase", "parameters": {{}}}}', f'[{CALL}, {{"name": "moon_phase", "arguments": "{{}}"}}]',
    f"<function_calls>{XML}{space('', *NOW)}</function_calls>", f"<function=tide_height>{ARGUMENTS}</function>"
    "<function=moon_phase></function>",
    f"<tool calls begin><tool call begin>tide_height<tool sep>{ARGUMENTS}<tool call end><tool call begin>moon_phase"
    "<tool sep>{}<tool call end><tool calls end>",
    f"<tool_call>\n{CALL}\n</tool_call><tool_call>moon_phase\n</tool_call>",
    f">>>tide_height\n{ARGUMENTS}\n>>>moon_phase\n{{}}",
    f"<|tool_call_start|>[{PYTHON}, moon_phase()]<|tool_call_end|>",
])  # fmt: skip
def test_several_calls_are_read_in_order(text):
    assert find(deepseek(text)) == Written("", (HEIGHT, NOW), "", "")


@pytest.mark.parametrize(("text", "name"), [
    ("<tool_call>", ""), ("<tool_call>\nHm.\n</tool_call>", ""), ('<tool_call>\n{"name": "tide_height"', "tide_height"),
    ('<tool_call>{"name": "tide_height", "arguments": {"pier": "Bre', "tide_height"), ("[TOOL_CALLS] [", ""),
    ('[TOOL_CALLS]tide_height[ARGS]{"pier"', "tide_height"), ("<function=tide_height>\n<parameter=pier>Cork",
    "tide_height"),
    ("<function=tide_height>\n<parameter=pier>Cork</parameter>", "tide_height"),
    ('<|tool_call>call:tide_height{pier:<|"|>Cork', "tide_height"),
    ("<tool_call>tide_height\n<arg_key>pier</arg_key>\n<arg_value>Br",
    "tide_height"), ('<invoke name="tide_height">Cork</invoke>', "tide_height"), ("<|tool_calls_section_begin|>", ""),
    ("```tool_code\ntide_height(pier=here)\n```", "tide_height"), ("<|tool_call_start|>[tide_height('Cork')]",
    "tide_height"),
])  # fmt: skip
def test_a_marked_call_that_cannot_be_read_is_malformed(text, name):
    for names in ((), ["tide_height"]):
        assert find(text, names).calls == (WrittenCall(name, None),)


NO_CALLS = [
    "", "The tide is high.", "Action: pour the milk", "Action: pour the milk.\nStir it.\nAction: serve.",
    '{"name": "harbour-app", "version": "1.0.0", "scripts": {"start": "node tide.js"}, "dependencies": {}}',
    '```json\n{"name": "harbour-app", "version": "1.0.0", "args": ["--port"], "parameters": {}}\n```',
    '{"type": "function", "function": {"name": "tide_height", "description": "Height.", "parameters": {"type": '
    '"object", "properties": {"pier": {"type": "string"}}}}}',
    '{"name": "tide_height", "parameters": {"type": "object", "properties": {}}}',
    '{"name": "Jo", "age": 3}', '[{"name": "Jo"}, {"name": "Al"}]', '{"action": "add", "input": "salt"}', "[1, 2]",
    '{"function": "f(x) = x", "parameters": {"x": 1}}', "[]", "{}", '[{"tide": 3}]',
    "tide(pier=3)", "print('x')", "[see the map](http://tide.org/map_it)", "[x]", "[sin(x), cos(x)]", "f(x) = [x]",
    "```python\ndef tide(pier=3):\n    return pier\n```", ">>> tide(pier=3)\n5", ">>>tide\n5", "- [ ] buy_milk()",
    "x = [tide(hour=h) for h in hours]", "[Cork (old town)]", "We sail to=morrow.", "The commentary to=day",
    "<b>tide</b>", "<answer>tide_height</answer>", "Use the `tide_height` function.", "a < b > c",
    "<think>tide()</think>So.",
    "<tool>a hammer</tool>", "<parameter=x>", "1. Tide\n2. Moon", "| tool_call | 3 |",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_CALLS)
def test_answers_data_and_code_are_no_calls(text):
    assert find(text) is None
    assert find(text, ["moon_phase"]) is None


@pytest.mark.parametrize(("text", "before", "after"), [
    (PYTHON, "", ""), (f"```python\n{PYTHON}\n```", "", ""), (f"tide_height\n{ARGUMENTS}", "", ""),
    (f"I look.\n```json\n{CALL}\n```\nWait.", "I look.", "Wait."), (f"I look: {CALL}", "I look:", ""),
    (f"I look.\n[{PYTHON}]\nWait.", "I look.", "Wait."),
])  # fmt: skip
def test_less_certain_syntaxes_count_for_offered_tools(text, before, after):
    assert find(text, ["tide_height"]) == Written(before, (HEIGHT,), after, "")
    assert find(text, ["moon_phase"]) is None


@pytest.mark.parametrize(("text", "parts"), [
    ("So.", ("", "So.")), (" So.\n", ("", " So.\n")), ("<think>\n\n</think>\n\nSo.", ("", "So.")),
    ("<think>Hm.</think>So.", ("Hm.", "So.")), ("Hm.\n</think>\n\nSo.", ("Hm.", "So.")), ("[THINK]Hm.[/THINK]So.",
    ("Hm.", "So.")),
    ("<thinking>Hm.</thinking>\nSo.", ("Hm.", "So.")), ("<think>Hm.", ("Hm.", "")), ("Well. <think>Hm.</think>So.",
    ("Hm.", "Well. So.")),
    ("<think>Hm.</think><think>Ah.</think>So.", ("Hm.\nAh.", "So.")), ("<seed:think>Hm.</seed:think>So.", ("Hm.",
    "So.")),
    ("<|START_THINKING|>Hm.<|END_THINKING|><|START_RESPONSE|>So.<|END_RESPONSE|>", ("Hm.", "So.")),
    ("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>So.<|return|>", ("Hm.",
    "So.")),
    ("analysisHm.assistantfinalSo.", ("Hm.", "So.")), ("analysis of tides", ("", "analysis of tides")),
    ("<|channel>thought\nHm.<channel|>So.", ("Hm.", "So.")), ("So.<|im_end|>", ("", "So.")),
])  # fmt: skip
def test_thinking_is_taken_off(text, parts):
    assert thinking(text) == parts


def test_a_call_in_thoughts_is_no_call_but_ends_thinking_that_has_no_end():
    assert find(f"<think>Shall I <tool_call>{CALL}</tool_call>?</think>No.") is None
    assert find(f"<think>Hm. <tool_call>{CALL}</tool_call>") == Written("", (HEIGHT,), "", "Hm.")


PIECES = [*(piece for text in FAMILIES.values() for piece in deepseek(text).replace(">", ">\0").replace("<",
    "\0<").split("\0")),
          *"[](){}<>|'\"`:,=\n\\", "'''", "f(x=", "NaN", "1e999", "\ud800", "```", "</think>"]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=12).map("".join), st.booleans())
@settings(max_examples=300, deadline=None)
def test_no_text_breaks_the_reader(text, offered):
    found = find(text, ["tide_height"] if offered else [])
    assert isinstance(thinking(text)[1], str)
    if found:
        assert found.calls
        assert all(isinstance(one.name, str) and isinstance(one.arguments, dict | None) for one in found.calls)


@pytest.mark.parametrize("text", [
    "[" * 200_000, "{" * 200_000, " " * 200_000, "<" * 200_000, "a" * 200_000, "<tool_call>" * 20_000,
    "<function=f>" * 20_000,
    "<parameter=a>" * 20_000, "<function=f>" + "<parameter=a>1</parameter>" * 9000, "<think>" * 30_000,
    "</think>" * 30_000,
    "[f_g(" + "(" * 200_000, "[f_g(x=" + "-" * 200_000 + "1)]", "[f_g(x='" + "\\'" * 100_000, "[" + "a b " * 50_000,
    "to=f " * 50_000, "to=f" + " " * 200_000, "<tool_call>a" + " " * 200_000, "[TOOL_CALLS]a" + "\n" * 200_000,
    "<function=f>" + "</parameter>" * 20_000, '{"name":"' * 20_000, "<tool_call>" + '"name":{' * 20_000,
    "\n[" * 100_000,
    "<function=f><parameters>" + "<a>" * 60_000, "<tool_call>'{" * 20_000, "analysis" * 25_000,
    "```tool_code\n" * 15_000,
    "<|tool_call>call:f{" + "a" * 100_000, "<|tool_call>call:f{" + "{a" * 50_000, "'" * 200_000,
    "[f_g(" + "a='" * 50_000,
], ids=lambda text: text[:16])  # fmt: skip
def test_hostile_texts_are_read_quickly(text):
    begun = time.process_time()
    find(text, ["tide_height"])
    assert time.process_time() - begun < 2
