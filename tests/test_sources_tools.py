"""Tool lists: every way to write one gives the same tools, and nothing else is taken for one."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flanlib.records import FlanError, Tool, thaw
from flanlib.sources.common import Drop
from flanlib.sources.schemas import parameters_of, schema_of, type_of
from flanlib.sources.tools import listed, tools_of

SCHEMA = {"type": "object", "properties": {"harbour": {"type": "string", "description": "A town"},
                                           "days": {"type": "integer"}}, "required": ["harbour"]}
SPEC = {"name": "tide", "description": "High tide.", "parameters": SCHEMA}
OTHER = {"name": "now", "description": "The time.", "parameters": {"type": "object", "properties": {}}}
FLAT = {"harbour": {"type": "str", "description": "A town"}, "days": {"type": "int, optional"}}


def renamed(key, value=SCHEMA):
    return {"name": "tide", "description": "High tide.", key: value}


def quiet(_):
    pass


def read(value, **options):
    notes = []
    return tools_of(value, notes.append, **options), notes


def upper(schema):
    """Types as Gemini writes them."""
    return json.loads(json.dumps(schema).replace('"string"', '"STRING"').replace('"integer"', '"INTEGER"'
                      ).replace('"object"', '"OBJECT"'))  # fmt: skip


WAYS = {
    "OpenAI": [{"type": "function", "function": SPEC}],
    "Responses": [{"type": "function", "strict": True, **SPEC}],
    "plain": [SPEC],
    "one object": SPEC,
    "JSON": json.dumps([SPEC]),
    "list of JSON": [json.dumps(SPEC)],
    "JSON Lines": json.dumps(SPEC) + "\n",
    "Anthropic": [renamed("input_schema")],
    "MCP": {"tools": [renamed("inputSchema")], "nextCursor": "3"},
    "arguments": [renamed("arguments")],
    "args": [renamed("args")],
    "parameters as text": [renamed("parameters", json.dumps(SCHEMA))],
    "Gemini": [{"functionDeclarations": [renamed("parameters", upper(SCHEMA))]}],
    "Gemini in Python": {"function_declarations": [renamed("parameters_json_schema", SCHEMA)]},
    "by name": {"tide": {"description": "High tide.", "parameters": SCHEMA}},
    "flat": [renamed("parameters", FLAT)],
    "list of parameters": [renamed("parameters", [{"name": key, **part} for key, part in FLAT.items()])],
    "ToolACE": [renamed("parameters", SCHEMA | {"type": "dict"})],
    "Python types": [renamed("parameters", {"type": "dict", "required": ["harbour"], "properties": FLAT})],
    "draft 3": [renamed("parameters", {"type": "object", "properties": {
        "harbour": SCHEMA["properties"]["harbour"] | {"required": True},
        "days": SCHEMA["properties"]["days"] | {"required": False}}})],
    "T-Eval": [["tide", {"name": "tide", "description": "High tide.",
                         "required_parameters": [{"name": "harbour", "type": "STRING", "description": "A town"}],
                         "optional_parameters": [{"name": "days", "type": "INTEGER"}]}]],
    "nulls": [renamed("parameters", SCHEMA | {"enum": None, "properties": SCHEMA["properties"] | {"line": None}})],
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_write_a_tool_gives_the_same_tool(way):
    (found,), notes = read(WAYS[way])
    assert thaw(found.parameters) == SCHEMA
    assert (found.name, found.description) == ("tide", "High tide.")
    assert notes == (["null members of a tool list left out"] if way == "nulls" else [])


def test_an_absent_or_empty_list_holds_no_tool():
    assert [read(value)[0] for value in (None, [], "", " ", "[]", {})] == [()] * 6


@pytest.mark.parametrize(("value", "reason"), [
    ('[{"name"', "tool list is not JSON"), ("[{'name': open}]", "tool list is not JSON"),
    ("none", "tool list is not JSON"), ('[{"name": "a"}] and more', "tool list is not JSON"),
    (3, "tool list is not a list"), ({"a": 1}, "tool list is not a list"), ([None], "a tool without a name"),
    ([{}], "a tool without a name"), ([{"name": " "}], "a tool without a name"), ([3], "a tool without a name"),
    ([{"name": 3}], "a tool without a name"), ([["a"]], "tool list is not JSON"),
    ([renamed("parameters", "harbour")], "a tool's parameters are not JSON")])  # fmt: skip
def test_a_list_that_cannot_be_read_drops_the_row_with_a_reason(value, reason):
    with pytest.raises(Drop, match=f"^{reason}$"):
        tools_of(value, quiet)


def test_the_first_tool_of_a_name_is_kept_and_some_are_left_out_on_request():
    tools, notes = read([SPEC, OTHER, SPEC | {"description": "Another."}], leave_out=("now",))
    assert [(one.name, one.description) for one in tools] == [("tide", "High tide.")]
    assert notes == ["a tool listed twice, the first kept"]


def test_a_list_written_as_python_is_read_and_noted():
    (found,), notes = read(str([SPEC]))
    assert thaw(found.parameters) == SCHEMA
    assert notes == ["tool list written as Python"]


@pytest.mark.parametrize(("words", "schema", "optional"), [
    ("str", {"type": "string"}, False), ("int, optional", {"type": "integer"}, True),
    ("float (optional)", {"type": "number"}, True), ("bool, required", {"type": "boolean"}, False),
    ("dict", {"type": "object"}, False), ("List", {"type": "array"}, False),
    ("List[str]", {"type": "array", "items": {"type": "string"}}, False),
    ("list[list[int]]", {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}, False),
    ("typing.List[Any]", {"type": "array", "items": {}}, False), ("Tuple[int, int]", {"type": "array"}, False),
    ("Dict[str, int]", {"type": "object"}, False), ("Optional[float]", {"type": "number"}, True),
    ("Union[int, str], optional", {"type": ["integer", "string"]}, True),
    ("str | None", {"type": ["string", "null"]}, False), ("int or str or int", {"type": ["integer", "string"]}, False),
    ("List[int] | str", {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "string"}]}, False),
    ("STRING", {"type": "string"}, False), ("HashMap", {}, False), ("Callable[[int], int]", {}, False),
    ("the town, if known", {}, False), ("", {}, False), ("List[" * 60, {}, False),
])  # fmt: skip
def test_the_words_for_a_type_are_read_as_its_schema(words, schema, optional):
    assert type_of(words) == (schema, optional)
    if words:
        assert schema_of({"type": words}) == (schema or {"type": words})


def test_flat_parameters_are_required_unless_they_say_otherwise():
    def required(**flat):
        return parameters_of(flat)["required"]

    assert required(a={"type": "str"}, b={"type": "str", "default": ""}, c="int, optional", d="str") == ["a", "d"]
    assert required(a={"type": "str", "required": True}, b={"type": "str"}) == ["a"]
    assert required(a={"type": "str", "required": False}, b={"type": "str"}, c={"optional": True}) == ["b"]
    assert required(type="object", town={"type": "string"}, required=["town"]) == ["town"]


@pytest.mark.parametrize("flat", [
    {"type": {"type": "str"}, "properties": {"type": "str"}, "required": {"type": "bool"}},
    {"type": "str", "description": "str"}, {"a": "the town"}])  # fmt: skip
def test_parameters_can_be_called_like_members_of_a_schema(flat):
    assert set(parameters_of(flat)["properties"]) == set(flat)


@pytest.mark.parametrize("schema", [
    {}, {"type": "object"}, {"type": "object", "description": "None.", "properties": {}}, {"description": "No input"},
    {"anyOf": [{"required": ["a"]}]}, "", None, 3, [], True])  # fmt: skip
def test_a_schema_without_properties_has_no_parameters(schema):
    assert parameters_of(schema)["properties"] == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.sampled_from(["object", "List[str]", "dict"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "properties", "items", "anyOf", "required", "enum", "$ref", "$defs", "a", "name",
                         "default", "description", "parameters", "function", "tools"]), inner, max_size=4),
    max_leaves=8)  # fmt: skip


@given(JSON)
def test_any_parameters_give_a_valid_tool_and_reading_them_again_changes_nothing(value):
    once = parameters_of(value)
    found = Tool("t", "", once)
    assert all(isinstance(part, dict) for part in once["properties"].values())
    assert all(isinstance(name, str) for name in found.required)
    assert parameters_of(once) == once


@given(JSON)
def test_any_value_is_read_as_tools_or_drops_the_row(value):
    for written in (value, json.dumps(value)):
        with contextlib.suppress(Drop, FlanError):  # FlanError: a name that no tool can have
            assert all(isinstance(one, Tool) for one in tools_of(written, quiet))


@given(JSON, st.text(max_size=20))
def test_a_text_without_a_list_comes_back_unchanged(value, words):
    text = f"{words} {json.dumps(value)}"
    tools, rest = listed(text, quiet)
    assert tools or rest == text


INTRODUCED = "You know harbours.\n\nYou can call these functions:\n"
TEXTS = {
    "list": INTRODUCED + json.dumps([SPEC, OTHER]) + "\n\nBe brief.",
    "indented": INTRODUCED + json.dumps([SPEC, OTHER], indent=4) + "\n\nBe brief.",
    "Python": f"You know harbours. You have access to the following API:\n{SPEC}\n{OTHER}\nBe brief.",
    "pairs": INTRODUCED + str([["tide", SPEC], ["now", OTHER]]) + "\n\nBe brief.",
    "objects": INTRODUCED + json.dumps(SPEC) + "\n\n" + json.dumps(OTHER, indent=1) + "\nBe brief.",
    "tags": f"You know harbours.\n<tools>\n{json.dumps({'type': 'function', 'function': SPEC})}\n"
            f"{json.dumps({'type': 'function', 'function': OTHER})}\n</tools>\nBe brief.",
    "fence": f"You know harbours.\n## Tools\n```json\n{json.dumps([SPEC, OTHER])}\n```\nBe brief.",
    "declared": f"You know harbours. <|im_system|>tool_declare<|im_middle|>{json.dumps([SPEC, OTHER])}<|im_end|>"
                "Be brief.",
    "two lists": f"You know harbours. One tool: {json.dumps(SPEC)}\nOne more tool: {json.dumps(OTHER)}\nBe brief.",
    "with a form": INTRODUCED + json.dumps([SPEC, OTHER]) + "\nBe brief. For each call, return a json object with the "
                   'name:\n<tool_call>\n{"name": <name>, "arguments": <args>}\n</tool_call>\n',
}  # fmt: skip


@pytest.mark.parametrize("way", TEXTS)
def test_a_list_in_a_system_text_is_read_and_cut_with_its_introduction(way):
    notes = []
    tools, rest = listed(TEXTS[way], notes.append)
    assert [(one.name, thaw(one.parameters)) for one in tools] == [
        ("tide", SCHEMA), ("now", {"type": "object", "properties": {}, "required": []})]
    assert rest.split() == ["You", "know", "harbours.", "Be", "brief."]
    assert notes[0] == "tool list read from the system text"


@pytest.mark.parametrize("text", [
    "", "Be brief.", "You have tools: none.", "[1] {a}", "{", "[{", '{"',
    'Settings: {"name": "boat", "description": "A boat", "parameters": {"speed": 0.1}}',
    'An order: [{"name": "tea", "description": "green", "quantity": 2}]',
    'Reply like this: {"name": "tide", "arguments": {"harbour": "string"}}',
    '{"role": "pilot", "tools": [' + json.dumps(SPEC) + "]}",
    "A table of tools: [{'item': 'rope', 'length': 3}]", json.dumps(SCHEMA), "You call tools: " + json.dumps([1, {}]),
])  # fmt: skip
def test_ordinary_json_is_no_tool_list(text):
    assert listed(text, quiet) == ((), text)


@pytest.mark.parametrize("text", [
    "[{" * 100_000, '{"a":' * 100_000, "[{'" * 100_000, "{'a': " * 50_000, " " * 300_000, "tool " * 60_000,
    json.dumps([SPEC]) + "tools: " * 40_000 + " " * 100_000, json.dumps([SPEC]) + "decide to return " * 10_000,
    json.dumps([SPEC]) + "<tool_call> {" * 20_000])  # fmt: skip
def test_long_strange_texts_end_and_never_grow(text):
    assert len(listed(text, quiet)[1]) <= len(text)
