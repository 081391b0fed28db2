"""The normal form of a message, into which the many shapes of chat rows are read."""

from typing import Any, NamedTuple


class Call(NamedTuple):
    """A tool call as a row has it: its arguments are an object, JSON text, or None. ``id`` links its result."""

    name: Any
    arguments: Any
    id: Any = None


class Message(NamedTuple):
    """One message in normal form.

    ``role`` is system, user, assistant or tool. ``thought`` and ``calls`` are an assistant's. ``id`` is the id of the
    call that a tool's message answers. ``loss`` is the row's own loss flag: True, False, or None without one.
    """

    role: str
    text: str
    thought: str = ""
    calls: tuple[Call, ...] = ()
    id: Any = None
    loss: bool | None = None
