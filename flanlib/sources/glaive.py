r"""Glaive function calling (glaiveai/glaive-function-calling, v1 and v2): whole conversations as marked text.

v2 rows are ``{system, chat}``; v1 rows hold both in ``{sample}``. The system text offers functions as JSON objects,
one after the other. A turn starts at a mark (``USER:``, ``ASSISTANT:``, ``FUNCTION RESPONSE:``) after an empty line,
in v1 after any line. A call follows ``<functioncall>``; it looks like JSON, but its arguments mostly stand between
apostrophes that escape nothing inside. Once marks and calls are read, a row goes the way of
:mod:`flanlib.sources.chat`: the first request that needed a call becomes a Trajectory, a row without calls a
Conversation. What can't be read is dropped, never guessed.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any, NamedTuple

from flanlib.records import Conversation, Trajectory
from flanlib.sources import chat
from flanlib.sources.common import Drop, Note, arguments, row_id

END = "<|endoftext|>"
_MARK = r"(USER|ASSISTANT|FUNCTION RESPONSE):(?!\S)"
_V1, _V2 = re.compile(r"(?:\A|(?<=\n))" + _MARK), re.compile(r"(?:\A|(?<=\n\n))" + _MARK)
_ROLES = {"USER": "user", "ASSISTANT": "assistant", "FUNCTION RESPONSE": "tool"}
_LEAD = re.compile(r".*\baccess to the following functions\b[^{\n]*")
_CALL = re.compile(r"<functioncall>|^(?=AI to= *[^\s:]+ *: *\{)", re.M)
_AI_TO = re.compile(r"\s*AI to= *([^\s:]+) *: *(\{.*)", re.S)
_HEAD = r"""\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(arguments|parameters)"\s*:\s*'"""
_CUT = re.compile(_HEAD, re.S)
# Greedy: only the last apostrophe can be the closing one, others belong to the text of the arguments.
_QUOTED = re.compile(_HEAD + r"(.*)'\s*\}([\s}]*)", re.S)
_SPACE = re.compile(r"\s*")


class _Said(NamedTuple):
    role: str
    text: str

    @property
    def calls(self) -> bool:
        return self.role == "assistant" and bool(_CALL.search(self.text))


def matches(row: Any) -> bool:
    """Tell whether a row is Glaive's: a system text and a chat text (v2), or both in one sample (v1)."""
    sample = row.get("sample") if isinstance(row, dict) else None
    return _is_v2(row) or (isinstance(sample, str) and sample.lstrip().startswith("SYSTEM:"))


def convert(row: dict[str, Any], where: str, note: Note) -> Conversation | Trajectory:
    """Read one row. Raises Drop, with the reason, for rows that cannot be used."""
    system, said = _split(row, note)
    told, offered = _system(system)
    first = next((i for i, turn in enumerate(said) if turn.calls), len(said))
    end = next((i for i in range(first, len(said)) if said[i].role == "user"), len(said))
    if end < len(said):  # before any of their calls is read: a broken one there spoils nothing here
        note("later requests left out")
    turns = [{"role": "system", "content": told}] * bool(told) + [_message(turn, note) for turn in said[:end]]
    return replace(chat.convert({"messages": turns, "tools": offered}, where, note), id=row_id(row, where),
                   source="glaive")


def read_call(text: str, note: Note) -> tuple[str, dict[str, Any]]:
    r"""Read the text of a call, what stands between ``<functioncall>`` and the turn's end: its name and arguments.

    Arguments are an object, or its JSON between apostrophes. Also read, and noted: ``\'`` inside them, braces too
    many after them, null, the key ``parameters``, and the form ``AI to= name: {...}``. Raises Drop for calls that
    break off and for arguments that are not a JSON object.

    >>> read_call(' {"name": "say", "arguments": \'{"text": "let\'s go"}\'} ', print)
    ('say', {'text': "let's go"})
    """
    aside, quoted = _AI_TO.fullmatch(text), _QUOTED.fullmatch(text)
    if aside:
        note("a call written as AI to=")
        return aside[1], arguments(_given(aside[2], note), note)
    if quoted:
        if quoted[4].strip():
            note("a brace too many")
        call = {"name": _json(quoted[1], note, "a call that is not JSON"), quoted[2]: _given(quoted[3], note)}
    elif _CUT.match(text):
        raise Drop("a call that breaks off")
    else:
        call = _json(text, note, "a call that is not JSON")
    if not isinstance(call, dict):
        raise Drop("a call that is not an object")
    if "arguments" not in call and "parameters" in call:
        note("parameters read as arguments")
    name, given = call.get("name"), call.get("arguments", call.get("parameters"))
    if not isinstance(name, str) or not name.strip():
        raise Drop("a call without a name")
    return name.strip(), arguments(given, note)


def _given(text: str, note: Note) -> Any:
    """Parse what stands between the apostrophes, where ``\\'`` can only mean an apostrophe: JSON has no such escape."""
    if not text.strip():
        return None
    bare = re.sub(r"\\(.)", lambda escape: "'" if escape[1] == "'" else escape[0], text, flags=re.S)
    if bare != text:
        note("escaped apostrophes in arguments")
    return _json(bare, note, "arguments are not JSON")


def _json(text: str, note: Note, otherwise: str) -> Any:
    """Parse one JSON value with nothing after it but braces. Raises Drop, with the reason given, for anything else."""
    try:
        value, end = _decode(text, 0)
    except ValueError:
        raise Drop(otherwise) from None
    rest = "".join(text[end:].split())
    if rest.strip("}"):
        raise Drop(otherwise)
    if rest:
        note("a brace too many")
    return value


def _refuse(name: str) -> Any:
    raise Drop("values that JSON cannot carry")  # NaN, Infinity


_JSON = json.JSONDecoder(strict=False, parse_constant=_refuse)


def _decode(text: str, start: int) -> tuple[Any, int]:
    try:
        return _JSON.raw_decode(text, _SPACE.match(text, start).end())
    except RecursionError:
        raise Drop("nested too deeply") from None


def _is_v2(row: Any) -> bool:
    return isinstance(row, dict) and all(isinstance(row.get(key), str) for key in ("system", "chat"))


def _split(row: dict[str, Any], note: Note) -> tuple[str, list[_Said]]:
    """Cut a row at its marks: the system text, and the turns without their end marks."""
    v2 = _is_v2(row)
    before, *pieces = _V2.split(row["chat"].strip()) if v2 else _V1.split(row["sample"].strip())
    if v2 and before:
        raise Drop("text before the first turn")
    said: list[_Said] = []
    for who, text in zip(pieces[::2], pieces[1::2], strict=True):
        role, text = _ROLES[who], text.strip()
        if role == "assistant":
            if v2 and not text.endswith(END):
                note("an assistant turn without its end mark")
            text = text.removesuffix(END).rstrip()
        if END in text:  # the data set wrote "AI:" as an end mark and ASSISTANT:, in any turn that held it
            raise Drop("an end mark inside a turn")
        if said and role == said[-1].role == "assistant" and not said[-1].calls:
            note("two assistant turns in a row joined")
            text = f"{said.pop().text}\n\n{text}".strip()
        said.append(_Said(role, text))
    if not said:
        raise Drop("no turns")
    return row["system"] if v2 else before, said


def _system(text: str) -> tuple[str, list[Any]]:
    """Return a system text's own words and the functions it offers; the sentence that leads to them is left out."""
    text = text.strip().removeprefix("SYSTEM:").strip()
    lead = _LEAD.match(text)
    if not lead:
        return text, []
    end, found = lead.end(), []
    while text[end:].strip():
        try:
            value, end = _decode(text, end)
        except ValueError:
            raise Drop("tool list is not JSON") from None
        found.append(value)
    return "", found


def _message(turn: _Said, note: Note) -> dict[str, Any]:
    """Write a turn as a message: what an assistant says before a call is its thought."""
    if not turn.calls:
        return {"role": turn.role, "content": turn.text}
    thought, *written = _CALL.split(turn.text)
    read = (read_call(text, note) for text in written)
    return {"role": turn.role, "content": thought.strip(),
            "tool_calls": [{"name": name, "arguments": given} for name, given in read]}
