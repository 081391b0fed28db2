"""Pieces every reader uses: messages, arguments, tool lists, and steps put together in order.

A reader raises :class:`Drop` for a row it cannot use and calls ``note`` for what it repaired.
"""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, TypeVar

from flanlib.records import FlanError, Step, Tool, Trajectory, from_json
from flanlib.tally import Tally

Note = Callable[[str], None]
Record = TypeVar("Record")


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
    keys = ("conversations", "conversation", "messages", "traj") if isinstance(row, dict) else ()
    return next((row[key] for key in keys if isinstance(row.get(key), list)), None)


def messages(turns: Any, roles: Collection[str] = ()) -> list[Message]:
    """Read turns of ``{from, value}`` or ``{role, content}``.

    Raises Drop for anything else, and for a role that is none of ``roles``, where any are given.

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
        content = turn.get("content") if turn.get("value") is None else turn["value"]
        read.append(Message(role.strip().lower(), text_of(content), turn))
    unknown = [message.role for message in read if roles and message.role not in roles]
    if unknown:
        raise Drop(f"unknown role {unknown[0][:20]}")
    return read


def parts_of(content: Any, kind: str) -> list[str]:
    """Return the texts of one kind of part (text, reasoning, tool_call) in a list of content parts."""
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    texts = [part.get("text", part.get("value", part.get("content"))) for part in parts if part.get("type") == kind]
    return [text if isinstance(text, str) else "" if text is None else json.dumps(text) for text in texts]


def text_of(content: Any) -> str:
    """Return the text of a message: a string, nothing, or a list of parts whose texts are joined."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list):
        return "\n".join(text for part in content
                         for text in ([part] if isinstance(part, str) else parts_of([part], "text")))
    raise Drop("content is not text")


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
            value = from_json(value, strict=False)
        except ValueError:
            try:
                value = from_json(value[value.find("{"):value.rfind("}") + 1], strict=False)
            except ValueError:
                raise Drop("arguments are not JSON") from None
            note("arguments cut out of other text")
    if isinstance(value, str):
        note("arguments were JSON inside JSON")
        return arguments(value, note)
    if not isinstance(value, dict):
        raise Drop("arguments are not an object")
    return value


def tools_of(value: Any, note: Note, *, leave_out: Collection[str] = ()) -> tuple[Tool, ...]:
    """Read a tool list: OpenAI wrappers or plain functions, as objects or as a JSON string; names once each."""
    if isinstance(value, str):
        try:
            value = from_json(value, strict=False) if value.strip() else []
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
        name, about = name.strip(), spec.get("description")
        if name in found:
            note("a tool listed twice, the first kept")
        elif name not in leave_out:
            found[name] = Tool(name, about if isinstance(about, str) else "", _schema(spec.get("parameters")))
    return tuple(found.values())


def tool(name: str, description: str, **parameters: str) -> Tool:
    """Declare a tool whose parameters are all text and all required.

    >>> tool("search", "Search the web.", query="What to look for").required
    ('query',)
    """
    properties = {key: {"type": "string", "description": told} for key, told in parameters.items()}
    return Tool(name, description, {"type": "object", "properties": properties, "required": list(parameters)})


class Steps:
    """Put calls, their results and the answer together, in order; results name their call where ids are distinct."""

    def __init__(self, note: Note) -> None:
        self.note = note
        self.calls: list[dict[str, Any]] = []  # each with its name, given (the arguments), id, thought, and seen
        self.answer: str | None = None
        self._thought, self._why = "", ""

    def think(self, text: str) -> None:
        """Remember a thought for the next call or the answer."""
        self._thought = f"{self._thought}\n{text.strip()}".strip()

    def call(self, name: Any, given: Any, id: Any = None) -> None:
        """Add a call. Raises Drop for arguments that cannot be read, and without a name."""
        given = arguments(given, self.note)
        if not isinstance(name, str) or not name.strip():
            raise Drop("a call without a name")
        self.calls.append({"name": name.strip(), "given": given, "id": id, "thought": self._thought, "seen": None})
        self._thought = ""

    def observe(self, text: str, id: Any = None) -> None:
        """Add a result: to the one waiting call of that id, else to the first call that waits."""
        waiting = [call for call in self.calls if call["seen"] is None]
        if not waiting:
            raise Drop("a result without a call")
        same = [call for call in waiting if id is not None and call["id"] == id]
        (same if len(same) == 1 else waiting)[0]["seen"] = text

    def finish(self, answer: str | None) -> None:
        """Take the answer, and the thoughts since the last call with it."""
        self.answer, self._why = answer, self._thought

    def trajectory(self, name: str, source: str, query: str, tools: tuple[Tool, ...], instructions: str) -> Trajectory:
        """Make the record; calls of tools that were not offered are noted, and so is a row that lists none at all.

        Raises Drop for an empty answer, and if a call other than the row's very end has no result.
        """
        if self.answer is None:
            self.note("no answer")
        elif not self.answer.strip():
            raise Drop("an empty answer")
        if any(call["seen"] is None for call in (self.calls[:-1] if self.answer is None else self.calls)):
            raise Drop("a call without a result")
        if self.calls and not tools:
            self.note("no tool list")
        known = {tool.name for tool in tools}
        for _ in (call for call in self.calls if tools and call["name"] not in known):
            self.note("call of a tool not offered")
        steps = tuple(Step(c["thought"], c["name"], c["given"], c["seen"]) for c in self.calls)
        return Trajectory(name, source, query, tools, steps, self.answer, self._why, instructions)


def row_id(row: Any, where: str) -> str:
    """Return a row's own id, or where it was read."""
    own = row.get("id") if isinstance(row, dict) else None
    return str(own) if isinstance(own, (str, int)) and not isinstance(own, bool) and str(own).strip() else where


def counted(read: Callable[[Note], Record], where: str, tally: Tally) -> Record | None:
    """Read one row and count it: a dropped one by its reason, a kept one with its notes. Returns None if dropped."""
    told: list[str] = []
    try:
        record = read(told.append)
    except (Drop, FlanError, RecursionError) as error:
        tally.drop(_reason(error), where)
        return None
    tally.keep()
    for what in told:
        tally.note(what)
    return record


def _reason(error: Drop | FlanError | RecursionError) -> str:
    """Shorten what a record refused to a reason that is the same for every row."""
    if not isinstance(error, FlanError):
        return str(error) if isinstance(error, Drop) else "nested too deeply"
    reasons = {"surrogate": "broken Unicode", "empty query": "empty query", "no step": "no step",
               "roles": "roles do not alternate", "tool name": "a broken tool name", "key": "keys that are not text"}
    return next((reasons[word] for word in reasons if word in error.found), "values that JSON cannot carry")


def _schema(value: Any) -> Mapping[str, Any]:
    """Keep a parameter schema, made safe to look into: properties an object, required a list of names."""
    schema = {"type": "object"} | (value if isinstance(value, dict) else {})
    listed = schema["properties"] if isinstance(schema.get("properties"), dict) else {}
    required = schema["required"] if isinstance(schema.get("required"), list) else []
    return schema | {"properties": {key: told if isinstance(told, dict) else {} for key, told in listed.items()},
                     "required": [key for key in required if isinstance(key, str)]}
