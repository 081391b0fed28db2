"""The list of tools in a system turn: whole schemas in words, plain parameters as they always were, never an error."""


import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import text

from flanlib.dialects.listing import tool_list
from flanlib.records import Tool


def lines(parameters, description=""):
    """The lines below the one of the tool."""
    return tool_list([Tool("t", description, parameters)]).split("\n")[1:]


def line(schema, *, required=True, **rest):
    (only,) = lines({"properties": {"x": schema}, "required": ["x"] * required, **rest})
    return only.removeprefix("  x ")


PLAIN = st.dictionaries(text, st.fixed_dictionaries({}, optional={"type": text, "description": text}), max_size=4)


@given(PLAIN, st.lists(text, max_size=3), text)
def test_plain_parameters_are_listed_as_before(properties, required, description):
    expected = []
    for name, schema in properties.items():
        kind = schema.get("type", "any") + ("" if name in required else ", optional")
        words = schema.get("description", "").strip()
        expected.append(f"  {name} ({kind})" + (f": {words}" if words else ""))
    summary = description.strip().removesuffix(".")
    head = f"- {summary}: t" if summary else "- t"
    tool = Tool("t", description, {"properties": properties, "required": required})
    assert tool_list([tool]) == "\n".join([head, *expected])


@pytest.mark.parametrize(("schema", "expected"), [
    ({"type": "string", "enum": ["deck", "lounge"], "description": "Where"}, "(string: deck or lounge): Where"),
    ({"enum": ["deck"]}, "(string: deck)"),
    ({"type": "integer", "enum": [1, 2, 3]}, "(integer: 1, 2 or 3)"),
    ({"const": "a"}, "(string: a)"),
    ({"type": "string", "enum": ["", "a, b", "c or d", "e f"]}, '(string: "", "a, b", "c or d" or e f)'),
    ({"type": "integer", "enum": list(range(33))}, f"(integer: {', '.join(map(str, range(30)))} or 3 more)"),
    ({"type": ["integer", "null"], "default": 1}, "(integer or null, default 1)"),
    ({"type": "string", "nullable": True, "default": ""}, '(string or null, default "")'),
    ({"type": "array"}, "(array)"), ({"type": "array", "items": {}}, "(array)"),
    ({"type": "array", "items": {"type": "string"}}, "(list of strings)"),
    ({"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}, "(list of strings: a or b)"),
    ({"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}, "(list of lists of integers)"),
    ({"type": "array", "items": {"type": ["string", "number"]}}, "(list of strings or numbers)"),
    ({"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]}, "(string or null, format date)"),
    ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, "(string or integer)"),
    ({"anyOf": [{"const": "a"}, {"enum": ["b", "c"]}]}, "(string: a, b or c)"),
    ({"allOf": [{"type": "string"}, {"maxLength": 3, "default": "a"}]}, "(string, default a)"),
    ({"$ref": "#/$defs/town", "default": "Ulm"}, "(string, default Ulm: Ulm or Bonn)"),
    ({"$ref": "#/$defs/none"}, "(any)"), ({"$ref": "elsewhere.json"}, "(any)"),
    ({"type": "number", "minimum": 0, "exclusiveMaximum": 1.5}, "(number, at least 0, less than 1.5)"),
    ({"type": "string", "pattern": "^a+$"}, "(string, pattern ^a+$)"),
    ({"type": "string", "default": "a" * 100}, f"(string, default {'a' * 60}...)"),
    (True, "(any)"), ("string", "(any)"), ({"type": {"a": 1}}, "(any)"),
])  # fmt: skip
def test_a_schema_is_said_in_words(schema, expected):
    assert line(schema, **{"$defs": {"town": {"enum": ["Ulm", "Bonn"]}}}) == expected


def test_what_is_said_of_a_parameter_follows_its_need():
    assert line({"type": "string", "enum": ["a", "b"], "default": "a"}, required=False) == (
        "(string, optional, default a: a or b)")


PERSON = {"type": "object", "required": ["name"], "properties": {
    "name": {"type": "string"}, "born": {"type": "string", "description": "A year"}}}  # fmt: skip
BELOW = ["    name (string)", "    born (string, optional): A year"]


@pytest.mark.parametrize(("schema", "first"), [
    (PERSON, "object"), ({"type": "array", "items": PERSON}, "list of objects"),
    ({"anyOf": [PERSON, {"type": "null"}]}, "object or null"), ({"$ref": "#/$defs/person"}, "object"),
    ({"allOf": [{"$ref": "#/$defs/person"}]}, "object"),
    ({"allOf": [{"properties": {"name": {"type": "string"}}, "required": ["name"]},
                {"properties": {"born": PERSON["properties"]["born"]}, "required": []}]}, "object"),
    ({"type": "array", "items": {"oneOf": [PERSON, PERSON]}}, "list of objects")])  # fmt: skip
def test_parameters_of_an_object_are_listed_below_it(schema, first):
    assert lines({"properties": {"who": schema}, "required": ["who"], "$defs": {"person": PERSON}}) == [
        f"  who ({first})", *BELOW]


def test_parameters_can_stand_in_another_schema():
    for whole in ({"allOf": [PERSON]}, {"$ref": "#/$defs/person", "$defs": {"person": PERSON}}, {"anyOf": [PERSON]}):
        assert lines(whole) == [one[2:] for one in BELOW]


def test_a_schema_that_holds_itself_ends():
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}
    listed = lines({"properties": {"first": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}})
    assert listed == [f"{'  ' * depth}{'next' if depth > 1 else 'first'} (object, optional)" for depth in range(1, 5)]


def test_many_parameters_below_one_are_cut_and_that_is_said():
    wide = {"properties": {f"p{i}": {"type": "string"} for i in range(60)}}
    listed = lines({"properties": {"a": wide, "b": {"type": "string"}}})
    assert listed[:2] == ["  a (object, optional)", "    p0 (string, optional)"]
    assert listed[-2:] == ["    ...", "  b (string, optional)"]
    assert len(lines(wide)) == 60


KEYS = ["type", "properties", "items", "anyOf", "oneOf", "allOf", "$ref", "$defs", "required", "enum", "const",
        "default", "description", "minimum", "exclusiveMaximum", "format", "pattern", "nullable", "a"]  # fmt: skip
WORDS = ["object", "array", "string", "null", "#", "#/$defs/a", "#/properties/a", "a"]
SCHEMAS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
    | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12)  # fmt: skip


@given(st.dictionaries(st.sampled_from(KEYS), SCHEMAS, max_size=4))
def test_no_schema_raises_and_every_parameter_has_its_line(parameters):
    listed = tool_list([Tool("t", "", parameters)]).split("\n")
    assert listed[0] == "- t"
    properties = parameters.get("properties")
    for name in properties if isinstance(properties, dict) and "$ref" not in parameters else ():
        assert sum(one.startswith(f"  {name} (") for one in listed) == 1


@pytest.mark.parametrize("schema", [
    {"allOf": [{"$ref": "#"}] * 50}, {"anyOf": [{"$ref": "#"}] * 50}, {"type": "array", "items": {"$ref": "#"}},
    {"properties": {f"p{i}": {"$ref": "#"} for i in range(60)}},
    {"anyOf": [{"properties": {f"p{i}": {"$ref": "#"} for i in range(15)}}, {"items": {"$ref": "#"}}] * 9},
])  # fmt: skip
def test_schemas_that_grow_without_bounds_end_in_a_bounded_list(schema):
    assert len(lines(schema)) < 5000
