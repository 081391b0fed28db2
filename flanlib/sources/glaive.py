r"""Glaive function calling (glaiveai/glaive-function-calling, v1 and v2): whole conversations as marked text.

v2 rows are ``{system, chat}``; v1 rows hold both in ``{sample}``. The system text offers functions as JSON objects,
one after the other. A turn starts at a mark (``USER:``, ``ASSISTANT:``, ``FUNCTION RESPONSE:``) after an empty line,
in v1 after any line. A call follows ``<functioncall>``; it looks like JSON, but its arguments mostly stand between
apostrophes that escape nothing inside. Once marks and calls are read, :mod:`flanlib.sources.chat` does the rest.
What can't be read is dropped, never guessed.
"""

import json
import re
from dataclasses import replace
from typing import Any

from flanlib.records import Conversation, Trajectory
from flanlib.sources import chat
from flanlib.sources.common import Drop, Note, arguments

END = "<|endoftext|>"
_MARK = r"(USER|ASSISTANT|FUNCTION RESPONSE):(?!\S)"
_V1, _V2 = re.compile(r"(?:\A|(?<=\n))" + _MARK), re.compile(r"(?:\A|(?<=\n\n))" + _MARK)
_ROLES = {"USER": "user", "ASSISTANT": "assistant", "FUNCTION RESPONSE": "tool"}
_CALL = re.compile(r"<functioncall>|^(?=AI to= *[^\s:]+ *: *\{)", re.M)
_HEAD = r"""\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(arguments|parameters)"\s*:\s*'"""
# Greedy: only the last apostrophe can be the closing one, others belong to the text of the arguments.
_QUOTED = re.compile(_HEAD + r"(.*)'\s*\}([\s}]*)", re.S)


def matches(row: Any) -> bool:
    """Tell whether a row is Glaive's: a system text and a chat text (v2), or both in one sample (v1)."""
    sample = row.get("sample") if isinstance(row, dict) else None
    return _is_v2(row) or (isinstance(sample, str) and sample.lstrip().startswith("SYSTEM:"))


def convert(row: dict[str, Any], where: str, note: Note) -> Conversation | Trajectory:
    """Read one row. Raises Drop, with the reason, for rows that cannot be used."""
    system, said = _split(row, note)
    told, offered = _system(system)
    first = next((i for i, turn in enumerate(said) if _calls(turn)), len(said))
    end = next((i for i in range(first, len(said)) if said[i]["role"] == "user"), len(said))
    if end < len(said):  # before any of their calls is read: a broken one there spoils nothing here
        note("later requests left out")
    turns = [{"role": "system", "content": told}] * bool(told) + [_message(turn, note) for turn in said[:end]]
    read = chat.convert({"id": row.get("id"), "messages": turns, "tools": offered}, where, note)
    return replace(read, source="glaive")


def read_call(text: str, note: Note) -> tuple[str, dict[str, Any]]:
    r"""Read the text of a call, what stands between ``<functioncall>`` and the turn's end: its name and arguments.

    Arguments are an object, or its JSON between apostrophes. Also read, and noted: ``\'`` inside them, braces too
    many after them, null, the key ``parameters``, and the form ``AI to= name: {...}``. Raises Drop for calls that
    break off and for arguments that are not a JSON object.

    >>> read_call(' {"name": "say", "arguments": \'{"text": "let\'s go"}\'} ', print)
    ('say', {'text': "let's go"})
    """
    aside, quoted = re.fullmatch(r"\s*AI to= *([^\s:]+) *: *(\{.*)", text, re.S), _QUOTED.fullmatch(text)
    if aside:
        note("a call written as AI to=")
        return aside[1], arguments(_given(aside[2], note), note)
    if quoted:
        if quoted[4].strip():
            note("a brace too many")
        call = {"name": _json(quoted[1], note, "a call that is not JSON"), quoted[2]: _given(quoted[3], note)}
    elif re.match(_HEAD, text, re.S):
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
    value, rest = _first(text, otherwise)
    if rest.replace("}", "").strip():
        raise Drop(otherwise)
    if rest.strip():
        note("a brace too many")
    return value


def _first(text: str, otherwise: str) -> tuple[Any, str]:
    """Parse the JSON value that a text begins with; return it and what follows it."""

    def refuse(name: str) -> Any:  # NaN, Infinity
        raise Drop("values that JSON cannot carry")

    text = text.lstrip()
    try:
        value, end = json.JSONDecoder(strict=False, parse_constant=refuse).raw_decode(text)
    except ValueError:
        raise Drop(otherwise) from None
    except RecursionError:
        raise Drop("nested too deeply") from None
    return value, text[end:]


def _is_v2(row: Any) -> bool:
    return isinstance(row, dict) and all(isinstance(row.get(key), str) for key in ("system", "chat"))


def _calls(turn: dict[str, str]) -> bool:
    return turn["role"] == "assistant" and bool(_CALL.search(turn["content"]))


def _split(row: dict[str, Any], note: Note) -> tuple[str, list[dict[str, str]]]:
    """Cut a row at its marks: the system text, and the turns without their end marks."""
    v2 = _is_v2(row)
    before, *pieces = _V2.split(row["chat"].strip()) if v2 else _V1.split(row["sample"].strip())
    if v2 and before:
        raise Drop("text before the first turn")
    said: list[dict[str, str]] = []
    for who, text in zip(pieces[::2], pieces[1::2], strict=True):
        role, text = _ROLES[who], text.strip()
        if role == "assistant":
            if v2 and not text.endswith(END):
                note("an assistant turn without its end mark")
            text = text.removesuffix(END).rstrip()
        if END in text:  # the data set wrote "AI:" as an end mark and ASSISTANT:, in any turn that held it
            raise Drop("an end mark inside a turn")
        if said and role == said[-1]["role"] == "assistant" and not _calls(said[-1]):
            note("two assistant turns in a row joined")
            text = f"{said.pop()['content']}\n\n{text}".strip()
        said.append({"role": role, "content": text})
    if not said:
        raise Drop("no turns")
    return row["system"] if v2 else before, said


def _system(text: str) -> tuple[str, list[Any]]:
    """Return a system text's own words and the functions it offers; the sentence that leads to them is left out."""
    text = text.strip().removeprefix("SYSTEM:").strip()
    lead = re.match(r".*\baccess to the following functions\b[^{\n]*", text)
    if not lead:
        return text, []
    rest, found = text[lead.end():], []
    while rest.strip():
        value, rest = _first(rest, "tool list is not JSON")
        found.append(value)
    return "", found


def _message(turn: dict[str, str], note: Note) -> dict[str, Any]:
    """Read the calls of a turn that has some: what an assistant says before a call is its thought."""
    if not _calls(turn):
        return turn
    thought, *written = _CALL.split(turn["content"])
    calls = [dict(zip(("name", "arguments"), read_call(text, note), strict=True)) for text in written]
    return turn | {"content": thought.strip(), "tool_calls": calls}
