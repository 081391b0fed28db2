"""The list of tools that a system turn shows: one line per tool, one per parameter, in words.

Schemas are JSON schema (https://json-schema.org) as tools declare it: choices, defaults, bounds, lists, nested objects,
unions, and references within the tool's own schema. What stands deeper than four objects is left out.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any

from flanlib.records import Tool, to_json

_OBJECT = (dict, MappingProxyType)  # what frozen and unfrozen JSON objects are; told faster than Mapping
_DEEPEST = 4  # objects, lists or unions inside each other
_MOST_LINES = 40  # below a parameter
_MOST_OPTIONS, _MOST_CHOICES, _LONGEST = 8, 30, 60  # members of a union, values of an enum, letters of a value
_PLURALS = {"string": "strings", "integer": "integers", "number": "numbers", "boolean": "booleans", "object": "objects",
            "array": "lists", "any": "values"}  # fmt: skip
_BOUNDS = {"minimum": "at least", "exclusiveMinimum": "more than", "maximum": "at most",
           "exclusiveMaximum": "less than"}  # fmt: skip


def tool_list(tools: Iterable[Tool]) -> str:
    """List tools in plain text, one line per tool and one per parameter; those of nested objects are indented.

    The description comes before the name: a causal model reads from left to right, so it meets each name knowing what
    the tool does.

    >>> town = {"type": "object", "properties": {"name": {"type": "string", "enum": ["Ulm", "Bonn"]}}}
    >>> print(tool_list([Tool("find", "Find towns.", {"properties": {"towns": {"type": "array", "items": town}}})]))
    - Find towns: find
      towns (list of objects, optional)
        name (string, optional: Ulm or Bonn)
    """
    lines = []
    for tool in tools:
        summary = tool.description.strip().removesuffix(".")
        lines.append(f"- {summary}: {tool.name}" if summary else f"- {tool.name}")
        lines += _Schemas(tool.parameters).lines(tool.parameters)
    return "\n".join(lines)


class _Schemas:
    """The schemas of one tool; ``root`` is where their references point into."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self.known: dict[int, Mapping[str, Any]] = {}  # merged schemas, by the identity of theirs in the root

    def lines(self, schema: Any, depth: int = 1) -> Iterator[str]:
        """Yield a line for each parameter of an object, and the lines of its own parameters below it."""
        seen: set[str] = set()
        for name, part, required in self.parameters(schema):
            if name in seen:  # in another member of the same union
                continue
            seen.add(name)
            facts = ["" if required else "optional", *self.facts(part)]
            text = ", ".join((" or ".join(self.words(part)), *filter(None, facts)))
            choices = self.choices(part)
            described = self.merged(part).get("description")
            description = "" if described is None else str(described).strip()
            yield (f"{'  ' * depth}{name} ({text}{f': {choices}' if choices else ''})"
                   + (f": {description}" if description else ""))  # fmt: skip
            if depth < _DEEPEST:
                below = list(islice(self.lines(part, depth + 1), _MOST_LINES + 1))
                yield from below[:_MOST_LINES]
                if len(below) > _MOST_LINES and depth == 1:
                    yield f"{'  ' * (depth + 1)}..."

    def parameters(self, schema: Any) -> Iterator[tuple[str, Any, bool]]:
        """Yield name, schema and need of each parameter of an object, of the objects in a list or of a union."""
        waiting, known = [(schema, 1)], set()
        while waiting:
            schema, depth = self.merged(waiting[0][0]), waiting.pop(0)[1]
            if id(schema) in known:  # a union that holds itself
                continue
            known.add(id(schema))
            properties, required = schema.get("properties"), schema.get("required")
            if isinstance(properties, _OBJECT):
                names = required if isinstance(required, (tuple, list)) else ()
                yield from ((name, part, name in names) for name, part in properties.items())
            if depth < _DEEPEST:
                waiting += [(inner, depth + 1) for inner in (*self.options(schema), schema.get("items"))]

    def words(self, schema: Any, depth: int = 1) -> list[str]:
        """Return the types of a schema in words."""
        schema = self.merged(schema)
        kind, options = schema.get("type"), self.options(schema)
        if isinstance(kind, (tuple, list)):
            words = [word for one in kind for word in self.words({**schema, "type": str(one)}, depth)]
        elif options:
            words = [word for one in options for word in self.words(one, depth + 1)] if depth < _DEEPEST else ["any"]
        elif kind == "array" or (kind is None and "items" in schema):
            inner = self.words(schema.get("items"), depth + 1) if depth < _DEEPEST else ["any"]
            plurals = [_PLURALS.get(word, word.replace("list of ", "lists of ", 1)) for word in inner]
            words = ["array" if inner == ["any"] else f"list of {' or '.join(plurals)}"]
        elif kind is None:
            values = _values(schema)
            text = bool(values) and all(isinstance(value, str) for value in values)
            words = ["object" if "properties" in schema else "string" if text else "any"]
        else:
            words = [kind if isinstance(kind, str) else "any"]
        return list(dict.fromkeys([*words, *(["null"] if schema.get("nullable") is True else [])]))

    def facts(self, schema: Any) -> Iterator[str]:
        """Yield what else is said of a parameter: its default, its format, its bounds."""
        schema = self.single(schema)
        if "default" in schema:
            yield f"default {_short(schema['default'])}"
        yield from (f"{key} {_short(schema[key])}" for key in ("format", "pattern") if isinstance(schema.get(key), str))
        for key, word in _BOUNDS.items():
            if isinstance(schema.get(key), (int, float)) and not isinstance(schema[key], bool):
                yield f"{word} {_short(schema[key])}"

    def choices(self, schema: Any, depth: int = 1) -> str:
        """Return the values that a parameter, or each value of a list, is chosen from, or an empty text."""
        schema = self.single(schema)
        values = _values(schema) or [value for one in self.options(schema) for value in _values(self.merged(one))]
        if not values:
            return self.choices(schema["items"], depth + 1) if "items" in schema and depth < _DEEPEST else ""
        more = len(values) - _MOST_CHOICES
        texts = [_short(value) for value in values[:_MOST_CHOICES]] + ([f"{more} more"] if more > 0 else [])
        return " or ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))

    def single(self, schema: Any) -> Mapping[str, Any]:
        """Return a schema together with its only option beside null, if it is such a union."""
        schema = self.merged(schema)
        options = [one for one in map(self.merged, self.options(schema)) if one.get("type") != "null"]
        return {**options[0], **schema} if len(options) == 1 else schema

    def options(self, schema: Mapping[str, Any]) -> list[Any]:
        """Return the members of a union."""
        found = [schema[key] for key in ("anyOf", "oneOf") if isinstance(schema.get(key), (tuple, list))]
        return [one for members in found for one in members][:_MOST_OPTIONS]

    def merged(self, schema: Any) -> Mapping[str, Any]:
        """Return a schema with what it refers to and combines (allOf); an empty one for what is no schema."""
        if not isinstance(schema, _OBJECT):
            return {}
        if "$ref" not in schema and "allOf" not in schema:
            return schema
        if id(schema) not in self.known:
            self.known[id(schema)] = {}  # what a schema that holds itself adds to itself
            combined = schema.get("allOf")
            parts = [self.target(schema.get("$ref")), *(combined if isinstance(combined, tuple) else ())]
            own = {key: part for key, part in schema.items() if key not in ("$ref", "allOf")}
            self.known[id(schema)] = _combined([*map(self.merged, parts), own])
        return self.known[id(schema)]

    def target(self, reference: Any) -> Any:
        """Return what a reference such as ``#/$defs/town`` points to, or None."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        place: Any = self.root
        for key in filter(None, reference[1:].split("/")):
            place = place.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(place, _OBJECT) else None
        return place


def _combined(schemas: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Join schemas that all hold: their properties add up, of other members the last counts."""
    whole: dict[str, Any] = {}
    for schema in schemas:
        properties, required = ((whole.get(key), schema.get(key)) for key in ("properties", "required"))
        whole |= schema
        if all(isinstance(one, _OBJECT) for one in properties):
            whole["properties"] = {**properties[0], **properties[1]}
        if all(isinstance(one, tuple) for one in required):
            whole["required"] = required[0] + required[1]
    return whole


def _values(schema: Mapping[str, Any]) -> list[Any]:
    """Return the values of an enum or a constant."""
    if isinstance(schema.get("enum"), (tuple, list)):
        return list(schema["enum"])
    return [schema["const"]] if "const" in schema else []


def _short(value: Any) -> str:
    """Write a value in one short line; a text without quotes, unless it could be read as something else."""
    plain = isinstance(value, str) and value and value == " ".join(value.split())
    text = value if plain and not re.search(r"[,\"()]|\bor\b", value) else to_json(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
