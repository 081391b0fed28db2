"""Pieces every reader uses: messages, arguments, tool lists, and steps put together in order.

A reader raises :class:`Drop` for a row it cannot use and calls ``note`` for what it repaired.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from flanlib.records import FlanError, Step, Tool
from flanlib.tally import Tally

Note = Callable[[str], None]
Record = TypeVar("Record")
MESSAGE_KEYS = ("conversations", "conversation", "messages", "traj")


class Drop(Exception):  # noqa: N818 - a row's fate, not an error of the program
    """A row that cannot be used; the text is a short reason to count it by."""


class Message(NamedTuple):
    """One message of a row: the role as written, its text, and the whole turn it came from."""

    role: str
    text: str
    raw: Mapping[str, Any]


def turns_of(row: Any) -> list[Any] | None:
    """Return a row's list of turns, whatever its key is called; None if it has none."""
    if isinstance(row, list):
        return row
    found = (row.get(key) for key in MESSAGE_KEYS) if isinstance(row, dict) else ()
    return next((turns for turns in found if isinstance(turns, list)), None)


def messages(turns: Any) -> list[Message]:
    """Read turns of ``{from, value}`` or ``{role, content}``. Raises Drop for anything else.

    >>> messages([{"from": "human", "value": "Hi"}])[0][:2]
    ('human', 'Hi')
    """
    if not isinstance(turns, list) or not turns:
        raise Drop("no turns")
    read = []
    for turn in turns:
        if not isinstance(turn, dict):
            raise Drop("a turn is not an object")
        role = turn.get("from") if isinstance(turn.get("from"), str) else turn.get("role")
        if not isinstance(role, str) or not role.strip():
            raise Drop("a turn without a role")
        content = turn["content"] if turn.get("value") is None and "content" in turn else turn.get("value")
        read.append(Message(role.strip().lower(), text_of(content), turn))
    return read


def parts_of(content: Any, kind: str) -> list[str]:
    """Return the texts of one kind of part (text, reasoning, tool_call) in a list of content parts."""
    found = []
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and part.get("type") == kind:
            text = part.get("text", part.get("value", part.get("content")))
            found.append(text if isinstance(text, str) else "" if text is None else json.dumps(text))
    return found


def text_of(content: Any) -> str:
    """Return the text of a message: a string, nothing, or a list of parts whose texts are joined."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list):
        return "\n".join(part if isinstance(part, str) else "".join(parts_of([part], "text"))
                         for part in content if isinstance(part, str) or parts_of([part], "text"))
    raise Drop("content is not text")


def lenient_json(text: str) -> Any:
    """Parse JSON that may hold raw line ends in strings. Raises ValueError, for endless nesting and NaN too."""

    def refuse(name: str) -> Any:
        raise ValueError(name)

    try:
        return json.loads(text, strict=False, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def arguments(value: Any, note: Note) -> dict[str, Any]:
    """Read the arguments of a call: an object, a JSON string of one, or one inside other text (noted).

    >>> arguments('```{"q": 1}```', print)
    arguments cut out of other text
    {'q': 1}
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        note("empty arguments read as none")
        return {}
    if isinstance(value, str):
        try:
            value = lenient_json(value)
        except ValueError:
            try:
                value = lenient_json(value[value.find("{"):value.rfind("}") + 1])
            except ValueError:
                raise Drop("arguments are not JSON") from None
            note("arguments cut out of other text")
    if isinstance(value, str):
        note("arguments were JSON inside JSON")
        return arguments(value, note)
    if not isinstance(value, dict):
        raise Drop("arguments are not an object")
    return value


def tools_of(value: Any, note: Note, *, leave_out: Sequence[str] = ()) -> tuple[Tool, ...]:
    """Read a tool list: OpenAI wrappers or plain functions, as objects or as a JSON string; names once each."""
    if isinstance(value, str):
        try:
            value = lenient_json(value) if value.strip() else []
        except ValueError:
            raise Drop("tool list is not JSON") from None
    if value is None:
        return ()
    if not isinstance(value, list):
        raise Drop("tool list is not a list")
    found: dict[str, Tool] = {}
    for item in value:
        spec = item.get("function", item) if isinstance(item, dict) else None
        name = spec.get("name") if isinstance(spec, dict) else None
        if not isinstance(name, str) or not name.strip():
            raise Drop("a tool without a name")
        name = name.strip()
        if name in leave_out:
            continue
        if name in found:
            note("a tool listed twice, the first kept")
            continue
        found[name] = Tool(name, spec.get("description") if isinstance(spec.get("description"), str) else "",
                           _schema(spec.get("parameters")))
    return tuple(found.values())


def tool(name: str, description: str, **parameters: str) -> Tool:
    """Declare a tool whose parameters are all text and all required.

    >>> tool("search", "Search the web.", query="What to look for").required
    ('query',)
    """
    properties = {key: {"type": "string", "description": told} for key, told in parameters.items()}
    return Tool(name, description, {"type": "object", "properties": properties, "required": list(parameters)})


def note_unknown_tools(tools: Sequence[Tool], steps: Sequence[Step], note: Note) -> None:
    """Note calls of tools that were not offered, or a row that lists no tools at all."""
    if steps and not tools:
        note("no tool list")
    known = {tool.name for tool in tools}
    for _ in (step for step in steps if tools and step.tool not in known):
        note("call of a tool not offered")


class Steps:
    """Put calls and their results together, in order; results name their call where ids are distinct."""

    def __init__(self) -> None:
        self._calls: list[dict[str, Any]] = []
        self._thoughts: list[str] = []

    def think(self, text: str) -> None:
        """Remember a thought for the next call or the answer."""
        if text.strip():
            self._thoughts.append(text.strip())

    @property
    def waiting(self) -> int:
        """Calls without a result so far."""
        return sum(call["seen"] is None for call in self._calls)

    def thought(self) -> str:
        """Hand over the thoughts since the last call."""
        told = "\n".join(self._thoughts)
        self._thoughts.clear()
        return told

    def call(self, name: Any, given: Mapping[str, Any], id: Any = None) -> None:
        """Add a call. Raises Drop without a name."""
        if not isinstance(name, str) or not name.strip():
            raise Drop("a call without a name")
        self._calls.append({"name": name.strip(), "given": given, "id": id, "thought": self.thought(), "seen": None})

    def observe(self, text: str, id: Any = None) -> None:
        """Add a result: to the one waiting call of that id, else to the first call that waits."""
        waiting = [call for call in self._calls if call["seen"] is None]
        if not waiting:
            raise Drop("a result without a call")
        same = [call for call in waiting if id is not None and call["id"] == id]
        (same if len(same) == 1 else waiting)[0]["seen"] = text

    def done(self, *, answered: bool = False) -> tuple[Step, ...]:
        """Return the steps. Raises Drop if a call other than the row's very end has no result."""
        held = self._calls if answered else self._calls[:-1]
        if any(call["seen"] is None for call in held):
            raise Drop("a call without a result")
        return tuple(Step(c["thought"], c["name"], c["given"], c["seen"]) for c in self._calls)


def row_id(row: Any, where: str) -> str:
    """Return a row's own id, or where it was read."""
    own = row.get("id") if isinstance(row, dict) else None
    return str(own) if isinstance(own, (str, int)) and not isinstance(own, bool) and str(own).strip() else where


def counted(read: Callable[[Note], Record], where: str, tally: Tally) -> Record | None:
    """Read one row and count it: a dropped one by its reason, a kept one with its notes. Returns None if dropped."""
    told: list[str] = []
    try:
        record = read(told.append)
    except Drop as drop:
        tally.drop(str(drop), where)
    except FlanError as error:
        tally.drop(_reason(error), where)
    except RecursionError:
        tally.drop("nested too deeply", where)
    else:
        tally.keep()
        for what in told:
            tally.note(what)
        return record
    return None


def _reason(error: FlanError) -> str:
    """Shorten what a record refused to a reason that is the same for every row."""
    for word, reason in (("surrogate", "broken Unicode"), ("empty query", "empty query"), ("no step", "no step"),
                         ("roles", "roles do not alternate"), ("tool name", "a broken tool name"),
                         ("key", "keys that are not text")):
        if word in error.found:
            return reason
    return "values that JSON cannot carry"


def _schema(value: Any) -> Mapping[str, Any]:
    """Keep a parameter schema, made safe to look into: properties an object, required a list of names."""
    schema = {"type": "object"} | (value if isinstance(value, dict) else {})
    listed, required = schema.get("properties"), schema.get("required")
    return schema | {
        "properties": {key: told if isinstance(told, dict) else {} for key, told in listed.items()}
        if isinstance(listed, dict) else {},
        "required": [key for key in required if isinstance(key, str)] if isinstance(required, list) else []}
