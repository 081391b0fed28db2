r"""Glaive function calling (glaiveai/glaive-function-calling, v1 and v2): whole conversations as marked text.

v2 rows are ``{system, chat}``. v1 rows hold both in ``{sample}``. The system text lists functions as JSON objects, one
after the other. A turn starts at a mark (``USER:``, ``ASSISTANT:``, ``FUNCTION RESPONSE:``) after an empty line, in v1
after any line. A call follows ``<functioncall>``. It looks like JSON, but its arguments are mostly quoted by
apostrophes, with none of those inside escaped.
"""

import re
from typing import Any

from flanlib.records import Conversation, Trajectory, first_json
from flanlib.sources.common import Drop, Note, arguments, drop_if, json_text, row_id
from flanlib.sources.episodes import records
from flanlib.sources.messages import BROKEN, Call, Message
from flanlib.sources.tools import tools_of

END = "<|endoftext|>"
_MARK = r"(USER|ASSISTANT|FUNCTION RESPONSE):(?!\S)"
_V1, _V2 = re.compile(r"(?:\A|(?<=\n))" + _MARK), re.compile(r"(?:\A|(?<=\n\n))" + _MARK)
_ROLES = {"USER": "user", "ASSISTANT": "assistant", "FUNCTION RESPONSE": "tool"}
_CALL = re.compile(r"<functioncall>|^(?=AI to= *[^\s:]+ *: *\{)", re.M)
_HEAD = r"""\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(arguments|parameters)"\s*:\s*'"""
# Greedy, because only the last apostrophe closes the arguments. The others belong to their text.
_QUOTED = re.compile(_HEAD + r"(.*)'\s*\}([\s}]*)", re.S)


def matches(row: Any) -> bool:
    """Tell whether a row has the format of Glaive: system and chat texts (v2), or both in one sample (v1)."""
    sample = row.get("sample") if isinstance(row, dict) else None
    return _is_v2(row) or (isinstance(sample, str) and sample.lstrip().startswith("SYSTEM:"))


def convert(row: dict[str, Any], where: str, note: Note) -> list[Conversation | Trajectory]:
    """Read one row into its records. Raises Drop, with the reason, for rows that cannot be used."""
    system, turns = _split(row, note)
    text, functions = _system(system)
    messages = [Message("system", text)] if text else []
    for turn in turns:
        try:
            messages.append(_message(turn, note))
        except Drop as error:  # the requests before it can still be kept
            messages.append(Message(BROKEN, str(error)))
            break
    return records(row_id(row, where), "glaive", messages, tools_of(functions, note), note)


def read_call(text: str, note: Note) -> tuple[str, dict[str, Any]]:
    r"""Parse the text after ``<functioncall>``, up to the end of the turn. Return the call's name and arguments.

    Arguments are a JSON object, quoted by apostrophes or not. Five deviations are accepted and noted: ``\'`` inside the
    arguments, extra braces after them, null, the key ``parameters``, and the form ``AI to= name: {...}``. Raises Drop
    for truncated calls and for arguments that are not a JSON object.

    >>> read_call(' {"name": "say", "arguments": \'{"text": "let\'s go"}\'} ', print)
    ('say', {'text': "let's go"})
    """
    ai_to, quoted = re.fullmatch(r"\s*AI to= *([^\s:]+) *: *(\{.*)", text, re.S), _QUOTED.fullmatch(text)
    if ai_to:
        note("a call written as AI to=")
        return ai_to[1], arguments(_unquoted(ai_to[2], note), note)
    if quoted:
        if quoted[4].strip():
            note("a brace too many")
        call = {"name": _json(quoted[1], note, "a call that is not JSON"), quoted[2]: _unquoted(quoted[3], note)}
    elif re.match(_HEAD, text, re.S):
        raise Drop("a call that breaks off")
    else:
        call = _json(text, note, "a call that is not JSON")
    drop_if(not isinstance(call, dict), "a call that is not an object")
    if "arguments" not in call and "parameters" in call:
        note("parameters read as arguments")
    name, raw_arguments = call.get("name"), call.get("arguments", call.get("parameters"))
    drop_if(not isinstance(name, str) or not name.strip(), "a call without a name")
    return name.strip(), arguments(raw_arguments, note)


def _unquoted(text: str, note: Note) -> Any:
    """Parse the JSON between the apostrophes. ``\\'`` is not valid JSON, so it is read as an apostrophe."""
    if not text.strip():
        return None
    unescaped = re.sub(r"\\(.)", lambda escape: "'" if escape[1] == "'" else escape[0], text, flags=re.S)
    if unescaped != text:
        note("escaped apostrophes in arguments")
    return _json(unescaped, note, "arguments are not JSON")


def _json(text: str, note: Note, reason: str) -> Any:
    """Parse one JSON value, with only braces after it. Raises Drop with ``reason`` for anything else."""
    value, rest = _first(text, reason)
    if rest.replace("}", "").strip():
        raise Drop(reason)
    if rest.strip():
        note("a brace too many")
    return value


def _first(text: str, reason: str) -> tuple[Any, str]:
    """Parse the JSON value at the start of a text. Return it and the rest. Raises Drop with ``reason`` without one."""
    try:
        return first_json(text.lstrip(), strict=False)
    except ValueError as error:
        reasons = {"nested": "nested too deeply", "is not JSON": "values that JSON cannot carry"}
        raise Drop(next((reasons[part] for part in reasons if part in str(error)), reason)) from None


def _is_v2(row: Any) -> bool:
    return isinstance(row, dict) and all(isinstance(row.get(key), str) for key in ("system", "chat"))


def _has_call(turn: dict[str, str]) -> bool:
    return turn["role"] == "assistant" and bool(_CALL.search(turn["content"]))


def _split(row: dict[str, Any], note: Note) -> tuple[str, list[dict[str, str]]]:
    """Split a row at its marks. Return the system text, and the turns without their end marks."""
    v2 = _is_v2(row)
    before, *pieces = _V2.split(row["chat"].strip()) if v2 else _V1.split(row["sample"].strip())
    drop_if(v2 and before, "text before the first turn")
    turns: list[dict[str, str]] = []
    for mark, text in zip(pieces[::2], pieces[1::2], strict=True):
        role, text = _ROLES[mark], text.strip()
        if role == "assistant":
            if v2 and not text.endswith(END):
                note("an assistant turn without its end mark")
            text = text.removesuffix(END).rstrip()
        if END in text:  # the data set replaced "AI:" by an end mark and ASSISTANT: everywhere, even in texts
            raise Drop("an end mark inside a turn")
        if turns and role == turns[-1]["role"] == "assistant" and not _has_call(turns[-1]):
            note("two assistant turns in a row joined")
            text = f"{turns.pop()['content']}\n\n{text}".strip()
        turns.append({"role": role, "content": text})
    drop_if(not turns, "no turns")
    return row["system"] if v2 else before, turns


def _system(text: str) -> tuple[str, list[Any]]:
    """Return a system text and no functions or, if it lists functions, an empty text and the functions."""
    text = text.strip().removeprefix("SYSTEM:").strip()
    lead = re.match(r".*\baccess to the following functions\b[^{\n]*", text)
    if not lead:
        return text, []
    rest, functions = text[lead.end():], []
    while rest.strip():
        value, rest = _first(rest, "tool list is not JSON")
        functions.append(value)
    return "", functions


def _message(turn: dict[str, str], note: Note) -> Message:
    """Return a turn in normal form, with its calls parsed. The text before a call is its thought."""
    if not _has_call(turn):
        return Message(turn["role"], turn["content"])
    thought, *written = _CALL.split(turn["content"])
    # As text, because a null that stands in text is meant.
    calls = [Call(name, json_text(given)) for name, given in (read_call(text, note) for text in written)]
    return Message("assistant", "", thought.strip(), tuple(calls))
