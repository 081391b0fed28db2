"""Agent-H's replies in the taxonomy of Relign (arXiv 2412.04141; X-LANCE/ToolHallucination, ``rtl.py``).

Upstream gives each call the first class that fits. Two of its eight need a judge (is the tool relevant, is a value
true?) and are left out here: such calls are NONE. A call that was made before counts as a duplicate only within one
reply. A type that JSON schema lacks accepts any value, where upstream would call every value wrong.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from flanlib.benchmarks.agent_h.replies import INVENTED, MALFORMED, OFFERED, calls, read
from flanlib.dialects.bodies import WrittenCall
from flanlib.records import Tool

NAME, DUPLICATE, JSON, MISSING, PARAMETER, TYPE, NONE = CLASSES = (
    "tool_name_hallucination", "tool_duplicated_hallucination", "parameter_json_format_hallucination",
    "parameter_required_missing", "parameter_name_hallucination", "parameter_value_type_error", "no_hallucination")
"""Upstream's names, in its order."""
NO_CALL = "no call"
_TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict,
          "null": type(None)}  # fmt: skip


def classify(reply: str, tools: Sequence[Tool], query: str = "") -> str:
    """Return the class of a reply: of its first call that has one. NO_CALL for a reply whose call is not written out.

    >>> tool = Tool("get_fare", parameters={"properties": {"town": {"type": "string"}}, "required": ["town"]})
    >>> [classify(f'{{"name": "get_fare", "arguments": {given}}}', [tool]) for given in ('{}', '{"town": 3}')]
    ['parameter_required_missing', 'parameter_value_type_error']
    >>> classify('{"name": "fly", "arguments": {}}', [tool]), classify("Three euros.", [tool])
    ('tool_name_hallucination', 'no call')
    """
    reading, offered = read(reply, tools, query), {tool.name: tool for tool in tools}
    if reading.kind == INVENTED or (reading.kind == MALFORMED and reading.tool and reading.tool not in offered):
        return NAME
    if reading.kind == MALFORMED:
        return JSON
    written = calls(reply, tools)
    if reading.kind != OFFERED or not written:
        return NO_CALL
    classes = (_of(call, written[:i], offered) for i, call in enumerate(written))
    return next((found for found in classes if found != NONE), NONE)


def _of(call: WrittenCall, before: Sequence[WrittenCall], offered: Mapping[str, Tool]) -> str:
    if call.name not in offered:
        return NAME
    if call in before:
        return DUPLICATE
    if call.arguments is None:
        return JSON
    tool = offered[call.name]
    if any(name not in call.arguments for name in tool.required):
        return MISSING
    if any(name not in tool.properties for name in call.arguments):
        return PARAMETER
    if not all(_fits(value, tool.properties[name]) for name, value in call.arguments.items()):
        return TYPE
    return NONE


def _fits(value: Any, schema: Any) -> bool:
    """Tell whether a value has the type, or one of the types, that a parameter's schema names."""
    named = schema.get("type") if isinstance(schema, Mapping) else None
    types = [named] if isinstance(named, str) else named if isinstance(named, (list, tuple)) else []
    known = [_TYPES.get(name, object) for name in types if isinstance(name, str)]
    if isinstance(value, bool) and object not in known:
        return not known or bool in known
    return not known or any(isinstance(value, one) for one in known)
