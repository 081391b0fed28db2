"""What the text of an agent's turn consists of: calls, results and an answer, before they become messages."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flanlib.dialects import literals
from flanlib.records import Tool
from flanlib.sources.common import Drop, drop_if, json_text
from flanlib.sources.messages import Call

AGENT = "looks like an agent trace"
"""The reason for dropping rows that an agent wrote in a format that cannot be read."""

# Tools that only end an episode, in small letters without spaces or underscores.
_CLOSING = frozenset(("finish", "submit", "finalaction", "finishaction", "finalanswer", "finalresponse"))
_ANSWERS = ("final_answer", "answer", "final_response", "response", "result", "output", "text", "input")


class Piece(NamedTuple):
    """A part of an agent's turn: a call, a result, an answer, or plain text. ``text`` is the result's or answer's."""

    kind: str
    text: str = ""
    thought: str = ""
    call: Call | None = None


def called(thought: str, name: str, arguments: Any, tools: Sequence[Tool] = ()) -> Piece:
    """Return the piece of a call. A tool that is not offered and whose name says that all is done gives an answer.

    Raises Drop if the agent gave up.

    >>> called("So.", "finish", {"answer": "Ulm"})
    Piece(kind='answer', text='Ulm', thought='So.', call=None)
    """
    closing = name.lower().replace("_", "").replace(" ", "") in _CLOSING
    if not closing or any(tool.name == name for tool in tools):
        return Piece("call", "", thought.strip(), Call(name, arguments))
    given = arguments
    if isinstance(given, Mapping):
        drop_if(str(given.get("return_type")).startswith("give_up"), "gave up")
        values = [given[key] for key in _ANSWERS if given.get(key) is not None] or list(given.values())
        given = values[0] if values else ""
    return Piece("answer", json_text(given).strip(), thought.strip())


def argument_name(name: str, tools: Sequence[Tool]) -> str:
    """Return the name of an argument that is written without one: the tool's first required parameter, or first."""
    known = next((tool for tool in tools if tool.name == name), None)
    return next(iter((*known.required, *known.properties) if known else ()), "input")


def arguments_of(text: str, name: str, tools: Sequence[Tool]) -> Any:
    """Read the input of an action: an object, another value, or plain text, which becomes the tool's one argument.

    An object that cannot be read is returned as text.
    """
    text = text.strip()
    try:
        value = literals.value(text)
    except ValueError:
        value = text
        if text.startswith("{"):
            return text
    if value in ("", "None", None) and text in ("", "None", "null"):
        return {}
    return value if isinstance(value, dict) else {argument_name(name, tools): value}


def unreadable() -> Drop:
    """Return the exception for an agent's turn that cannot be read."""
    return Drop(AGENT)
