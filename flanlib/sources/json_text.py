"""Turns of an agent that are one JSON object each: a thought with a call, or with the answer.

Function-calling data is often written so; Agent-FLAN's templates vary the names of the keys (section 4.1 of the paper).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from flanlib.dialects.bodies import INPUTS, NAMES
from flanlib.records import Tool, from_json
from flanlib.sources.pieces import Piece, called

_THOUGHTS = ("thought", "thoughts", "reasoning", "reason", "rationale", "think", "plan", "idea", "why", "goal")
_TOOLS = (*NAMES, "command", "call", "use")
_GIVEN = (*INPUTS, "with", "values", "data")
_ANSWERS = ("answer", "final_answer", "final answer", "response")
_FENCE = re.compile(r"\A```\w*\n(.*?)\n?```\Z", re.S)


def read(text: str, tools: Sequence[Tool] = ()) -> list[Piece]:
    """Read a turn that is one JSON object with a thought. No pieces for any other text.

    >>> read('{"thought": "Look.", "Tool": "tide", "Args": {"day": 3}}')[0].call
    Call(name='tide', arguments={'day': 3}, id=None)
    >>> read('{"thought": "Known.", "answer": "At noon."}'), read('{"name": "left-pad", "version": "1.0"}')
    ([Piece(kind='answer', text='At noon.', thought='Known.', call=None)], [])
    """
    fields = {key.lower(): value for key, value in _object(text.strip()).items()}
    thought = _first(fields, _THOUGHTS, str)
    if thought is None:
        return []
    name, given = _first(fields, _TOOLS, str), _first(fields, _GIVEN, dict)
    if name and name.strip() and given is not None:
        return [called(thought, name.strip(), given, tools)]
    answer = _first(fields, _ANSWERS, str)
    return [Piece("answer", answer, thought)] if answer and len(fields) == 2 else []


def result(text: str) -> str | None:
    """Return the result in a turn that is ``{"observation": ...}``, as the kit's JSON form writes it, or None.

    >>> result('{"observation": "At noon."}')
    'At noon.'
    """
    fields = _object(text) if '"observation"' in text[:40] else {}
    return _first(fields, ("observation",), str) if len(fields) == 1 else None


def _object(text: str) -> Mapping[str, Any]:
    fenced = _FENCE.match(text)
    text = fenced[1].strip() if fenced else text
    if text[:1] != "{" or text[-1:] != "}":
        return {}
    try:
        value = from_json(text, strict=False)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _first(fields: Mapping[str, Any], keys: Sequence[str], kind: type) -> Any:
    return next((fields[key] for key in keys if isinstance(fields.get(key), kind)), None)
