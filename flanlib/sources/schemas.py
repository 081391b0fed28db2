"""Schemas of a tool's parameters: every way in which data sets write them, as one JSON schema of type object.

Read besides JSON schema itself (https://json-schema.org): types in the words of Python (``List[str]``, ``int,
optional``: xLAM) and Gemini (``STRING``), ``required: true`` inside a property (draft 3), and flat maps from a name to
a schema or to the words for a type.
"""

import ast
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

TYPES = (dict.fromkeys(("str", "string"), "string") | dict.fromkeys(("int", "integer"), "integer")
         | dict.fromkeys(("float", "number"), "number") | dict.fromkeys(("bool", "boolean"), "boolean")
         | dict.fromkeys(("list", "List", "tuple", "Tuple", "set", "Set", "array"), "array")
         | dict.fromkeys(("dict", "Dict", "object"), "object") | {"NoneType": "null", "null": "null"})  # fmt: skip
"""JSON schema's types by their names in Python and JSON schema. Names of other languages stay as they are."""
UNIONS = ("anyOf", "oneOf", "allOf")
_MAPS = ("properties", "$defs", "definitions", "patternProperties")  # members that are maps from a name to a schema
# Members of an object's schema, and so no names of parameters where these stand beside them.
_KEYWORDS = {*_MAPS, *UNIONS, "type", "title", "description", "required", "optional", "additionalProperties", "default",
             "examples", "nullable", "$ref", "$schema", "$id", "not", "if", "then", "else", "items"}  # fmt: skip
_ONE_SCHEMA = ("items", "additionalProperties", "not", "contains")
_INNER = {*_MAPS, *UNIONS, *_ONE_SCHEMA, "prefixItems"}
_NAMES = ("string", "integer", "number", "boolean", "array", "object")
_TYPE_TEXT = re.compile(r"[A-Za-z_][A-Za-z_ .,|\[\]]{0,200}")  # no digits and quotes: then Python parses no constants
_MARKED = re.compile(r" ?,? ?\(?(optional|required)\)?", re.I)


def parameters_of(value: Any) -> dict[str, Any]:
    """Return a tool's parameters as a JSON schema of type object, with ``properties`` and ``required``.

    In a flat map, parameters are required unless they are called optional or have a default, or some of them say
    ``required``: then it is those.

    >>> parameters_of({"limit": {"type": "int, optional"}, "tags": "List[str]"})["properties"]
    {'limit': {'type': 'integer'}, 'tags': {'type': 'array', 'items': {'type': 'string'}}}
    >>> parameters_of({"limit": {"type": "int, optional"}, "tags": "List[str]"})["required"]
    ['tags']
    """
    if isinstance(value, list):  # of schemas that hold their own names
        value = {part["name"]: {key: member for key, member in part.items() if key != "name"} for part in value
                 if isinstance(part, dict) and isinstance(part.get("name"), str)}  # fmt: skip
    value = value if isinstance(value, dict) else {}
    if flat := _flat(value):
        required = {} if isinstance(value.get("required"), list) else {"required": _required(flat)}
        rest = {key: part for key, part in value.items() if key not in flat}
        value = {"type": "object"} | rest | {"properties": flat} | required
    schema = schema_of(value)
    properties = schema["properties"] if isinstance(schema.get("properties"), dict) else {}
    required = schema["required"] if isinstance(schema.get("required"), list) else []
    return {"type": "object"} | schema | {"properties": properties,
                                          "required": [name for name in required if isinstance(name, str)]}


def schema_of(value: Any) -> dict[str, Any]:
    """Return a schema with JSON's names of types, at every depth. A text is the words for a type, or a description.

    >>> schema_of({"type": "OBJECT", "properties": {"day": {"type": "str", "required": True}}})
    {'type': 'object', 'properties': {'day': {'type': 'string'}}, 'required': ['day']}
    """
    if isinstance(value, str):
        named, _ = type_of(value)
        return named or ({"description": value} if value.strip() else {})
    if isinstance(value, dict) and _INNER.isdisjoint(value) and value.get("type") in _NAMES:
        return value  # as most parameters are
    schema: dict[str, Any] = {}
    for key, part in (value if isinstance(value, dict) else {}).items():
        if key in _MAPS and isinstance(part, dict):
            schema[key] = {name: schema_of(inner) for name, inner in part.items()}
        elif key in _ONE_SCHEMA and isinstance(part, (dict, str)):
            schema[key] = schema_of(part)
        elif key in (*UNIONS, "prefixItems", "items") and isinstance(part, list):
            schema[key] = [schema_of(inner) for inner in part]
        elif key == "type":
            schema |= {name: inner for name, inner in _typed(part).items() if name == "type" or name not in value}
        else:
            schema[key] = part
    return _required_moved(schema)


@lru_cache(maxsize=1024)
def type_of(text: str) -> tuple[dict[str, Any], bool]:
    """Return the schema of the words for a type, empty for words that are none, and whether they say optional.

    >>> type_of("Dict[str, int]"), type_of("str or None"), type_of("the town's name")
    (({'type': 'object'}, False), ({'type': ['string', 'null']}, False), ({}, False))
    """
    mark = _MARKED.search(text.strip()[-12:])
    bare = text.strip().removesuffix(mark[0]) if mark else text.strip()
    optional = bool(mark and mark[1].lower() == "optional") or bare.startswith("Optional[")
    try:
        node = ast.parse(bare, mode="eval").body if _TYPE_TEXT.fullmatch(bare) else None
        return _read(node), optional
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}, optional


def _read(node: ast.expr | None) -> dict[str, Any]:
    """Read the syntax tree of a type. Raises ValueError for what is none; Any is the empty schema."""
    match node:
        case ast.Constant(value=None):
            return {"type": "null"}
        case ast.Name(id=name) | ast.Attribute(attr=name):
            named = TYPES.get(name.lower() if name.isupper() else name)
            if not named and name not in ("Any", "any"):
                raise ValueError(name)
            return {"type": named} if named else {}
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _union([left, right])
        case ast.BoolOp(op=ast.Or(), values=members):
            return _union(members)
        case ast.Subscript(value=outer, slice=inner):
            members = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            name = getattr(outer, "id", getattr(outer, "attr", ""))
            if name in ("Optional", "Union"):  # Optional[X] is read as X that need not be given
                return _union(members)
            schema = _read(outer)
            if schema.get("type") == "array" and len(members) == 1:
                return schema | {"items": _read(members[0])}
            return schema
    raise ValueError("not a type")


def _union(nodes: list[ast.expr]) -> dict[str, Any]:
    members = [_read(node) for node in nodes]
    if len(members) == 1:
        return members[0]
    if all(set(member) == {"type"} for member in members):
        flat = [name for one in members for name in (one["type"] if isinstance(one["type"], list) else [one["type"]])]
        return {"type": list(dict.fromkeys(flat))}
    return {"anyOf": members}


def _typed(part: Any) -> dict[str, Any]:
    """Return the member ``type`` of a schema in JSON's names, with what else its words say."""
    if isinstance(part, list):
        names = [one for name in part if isinstance(name, str)
                 for one in [type_of(name)[0].get("type", name)] if isinstance(one, str)]  # fmt: skip
        return {"type": names} if names else {}
    if isinstance(part, str):
        return type_of(part)[0] or {"type": part}
    return {}


def _flat(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that stand in the place of a schema, by name, or nothing if it is a schema."""
    kind, properties = value.get("type"), value.get("properties")
    is_object = isinstance(kind, str) and type_of(kind)[0].get("type") == "object"
    # A parameter can be called properties: then the words for its type stand where a schema would.
    holds_schemas = isinstance(properties, dict) and (is_object or not isinstance(properties.get("type"), str))
    if holds_schemas or any(key in value for key in (*UNIONS, "$ref")):
        return {}
    named = {key: part for key, part in value.items() if isinstance(part, (dict, str))}
    if is_object:
        return {key: part for key, part in named.items() if key not in _KEYWORDS and isinstance(part, dict)}
    return {key: part for key, part in named.items() if isinstance(part, dict) or key not in _KEYWORDS
            or type_of(part)[0]}  # fmt: skip


def _required(flat: Mapping[str, Any]) -> list[str]:
    """Return the names of a flat map's required parameters."""
    parts = {name: part if isinstance(part, dict) else {"type": part} for name, part in flat.items()}
    if any(part.get("required") is True for part in parts.values()):
        return [name for name, part in parts.items() if part.get("required") is True]
    return [name for name, part in parts.items()
            if part.get("required") is not False and part.get("optional") is not True and "default" not in part
            and not (isinstance(part.get("type"), str) and type_of(part["type"])[1])]  # fmt: skip


def _required_moved(schema: dict[str, Any]) -> dict[str, Any]:
    """Move ``required: true`` from the properties of an object to the object."""
    properties = schema.get("properties")
    marked = {name: part["required"] for name, part in properties.items() if isinstance(part.get("required"), bool)
              } if isinstance(properties, dict) else {}  # fmt: skip
    if not marked:
        return schema
    listed = schema["required"] if isinstance(schema.get("required"), list) else []
    bare = {name: {key: part for key, part in part.items() if key != "required" or name not in marked}
            for name, part in properties.items()}  # fmt: skip
    return schema | {"properties": bare, "required": [*listed, *(name for name, needed in marked.items()
                                                                 if needed and name not in listed)]}
