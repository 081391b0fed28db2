"""A call written in each syntax is found again, with the same arguments, whether its tool is offered or not."""

import json

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from marks import deepseek, space

from flanlib.dialects import literals
from flanlib.dialects.written import Written, WrittenCall, find

words = st.text("abcdefghij_", min_size=1, max_size=8).filter(lambda text: text.strip("_"))
names = st.from_regex(r"\A[a-z][a-z0-9]{0,6}_[a-z0-9]{1,6}\Z")
said = st.text(st.characters(codec="utf-8", exclude_characters="<>|`"), max_size=12)
values = st.recursive(st.none() | st.booleans() | st.integers(-9**9, 9**9) | st.floats(allow_nan=False,
    allow_infinity=False) | said,
                      lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
                      max_leaves=5)  # fmt: skip
arguments = st.dictionaries(words, values, max_size=3)


def gemma(value):
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{gemma(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{','.join(map(gemma, value))}]"
    return f'<|"|>{value}<|"|>' if isinstance(value, str) else json.dumps(value)


def dumped(value):
    return json.dumps(value, ensure_ascii=False)


def code(name, inputs):
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in inputs.items())})"


def call(name, inputs, names="name", inputs_="arguments"):
    return dumped({names: name, inputs_: inputs})


WRITERS = {
    "Hermes": lambda name, inputs: f"<tool_call>\n{call(name, inputs)}\n</tool_call>",
    "Mistral": lambda name, inputs: f"[TOOL_CALLS]{name}[ARGS]{dumped(inputs)}",
    "Mistral v3": lambda name, inputs: f"[TOOL_CALLS] [{call(name, inputs)}]",
    "Kimi": lambda name, inputs: "<|tool_calls_section_begin|><|tool_call_begin|>"
    f"functions.{name}:2<|tool_call_argument_begin|>"
    f"{dumped(inputs)}<|tool_call_end|><|tool_calls_section_end|>",
    "gpt-oss": lambda name,
    inputs: f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{dumped(inputs)}<|call|>",
    "DeepSeek": lambda name,
    inputs: deepseek(f"<tool calls begin><tool call begin>{name}<tool sep>{dumped(inputs)}<tool call end>"
                                              "<tool calls end>"),
    "Gemma": lambda name, inputs: f"<|tool_call>call:{name}{gemma(inputs)}<tool_call|>",
    "Cohere": lambda name, inputs: f"<|START_ACTION|>[{call(name, inputs, 'tool_name', 'parameters')}]<|END_ACTION|>",
    "Llama 3": lambda name, inputs: f"<|python_tag|>{call(name, inputs, inputs_='parameters')}",
    "bare JSON": lambda name, inputs: call(name, inputs, inputs_="parameters"),
    "xLAM": lambda name, inputs: f"[{call(name, inputs)}]",
    "LFM2": lambda name, inputs: f"<|tool_call_start|>[{code(name, inputs)}]<|tool_call_end|>",
    "Llama 4": lambda name, inputs: f"[{code(name, inputs)}]",
    "OLMo": lambda name, inputs: f"<function_calls>\n{code(name, inputs)}\n</function_calls>",
    "Functionary": lambda name, inputs: f"<function={name}>{dumped(inputs)}</function>",
}  # fmt: skip


@pytest.mark.parametrize("writer", WRITERS)
@given(name=names, inputs=arguments, offered=st.booleans())
@example(name="tide_height", inputs={"pier": 'A "b"\n\\ c', "n": [1, {"in": None}]}, offered=False)
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_found_offered_or_not(writer, name, inputs, offered):
    found = find(WRITERS[writer](name, inputs), [name] if offered else [])
    assert found == Written("", (WrittenCall(name, inputs),), "", "")


def untyped(value):
    """True for a value that XML keeps: text that reads as nothing else, or no text at all."""
    if not isinstance(value, str):
        return True
    try:
        return isinstance(literals.value(value), str) and value[:1] not in "'\""
    except ValueError:
        return value == value.strip()


def shown(value):
    return value if isinstance(value, str) else dumped(value)


XML_WRITERS = {
    "Qwen3-Coder": lambda name, inputs: f"<tool_call>\n<function={name}>\n" + "".join(
        f"<parameter={key}>\n{shown(value)}\n</parameter>\n" for key,
        value in inputs.items()) + "</function>\n</tool_call>",
    "Anthropic": lambda name, inputs: space("", name, {key: shown(value) for key, value in inputs.items()}),
    "GLM": lambda name, inputs: f"<tool_call>{name}\n" + "".join(
        f"<arg_key>{key}</arg_key>\n<arg_value>{shown(value)}</arg_value>\n" for key,
        value in inputs.items()) + "</tool_call>",
}  # fmt: skip


@pytest.mark.parametrize("writer", XML_WRITERS)
@given(name=names, inputs=st.dictionaries(words, values.filter(untyped), max_size=3))
@settings(max_examples=40, deadline=None)
def test_what_is_written_in_xml_is_found(writer, name, inputs):
    assert find(XML_WRITERS[writer](name, inputs)) == Written("", (WrittenCall(name, inputs),), "", "")


@given(st.lists(st.from_regex(r"\A[A-Za-z][\w/.-]{0,6}\Z"), min_size=1, max_size=4).map(" ".join), arguments)
@settings(max_examples=60, deadline=None)
def test_names_of_several_words_are_read_in_lists(name, inputs):
    assume(inputs or "_" in name)
    name = name.removesuffix(".call")
    assume(name != "print")
    assert find(f"[{code(name, inputs)}]").calls == (WrittenCall(name, inputs),)


def test_arguments_may_have_the_names_of_pythons_own_words():
    assert literals.calls("[f_g(from=1, class='x', user-id=true)]")[0][0].arguments == {
        "from": 1, "class": "x", "user-id": True}  # fmt: skip
    assert find("[f_g(a=1, a=2)]").calls == (WrittenCall("f_g", None),)


def test_values_in_xml_may_hold_tags_of_their_own():
    text = ("<function=edit_file>\n<parameter=code>\n<a></parameter></a>\n\n</parameter>\n<parameter=n>3</parameter>"
            "</function>")  # fmt: skip
    assert find(text).calls == (WrittenCall("edit_file", {"code": "<a></parameter></a>\n", "n": 3}),)
