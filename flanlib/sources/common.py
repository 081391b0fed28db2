"""Helpers of all readers: parse arguments, assemble steps, and count rows.

A reader raises :class:`Drop` for a row that it cannot use and calls ``note`` with a short text for every repair.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from flanlib.records import FlanError, Step, Tool, Trajectory, from_json, to_json
from flanlib.tally import Tally

Note = Callable[[str], None]
Record = TypeVar("Record")


class Drop(Exception):  # noqa: N818 - an expected outcome for a row, not an error of the program
    """Raised for a row that cannot be used. The text is a short reason, under which the row is counted.

    ``found`` is told for the first row of that reason: what of this row does not belong in the reason.
    """

    def __init__(self, reason: str, found: str = "") -> None:
        super().__init__(reason)
        self.found = found


def drop_if(condition: object, reason: str) -> None:
    """Raise Drop with a reason if a condition holds."""
    if condition:
        raise Drop(reason)


def turns_of(row: Any) -> list[Any] | None:
    """Return a row's list of turns under any of the usual keys, or None."""
    if isinstance(row, list):
        return row
    keys = ("conversations", "conversation", "messages", "traj") if isinstance(row, dict) else ()
    return next((row[key] for key in keys if isinstance(row.get(key), list)), None)


def arguments(value: Any, note: Note) -> dict[str, Any]:
    """Parse the arguments of a call: an object, its JSON text, or JSON inside other text, which is noted.

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
    drop_if(not isinstance(value, dict), "arguments are not an object")
    return value


def json_text(value: Any) -> str:
    """Return a text as it is, and any other value as JSON. Raises Drop for what JSON cannot carry.

    >>> json_text("sun"), json_text({"sky": "sun"})
    ('sun', '{"sky": "sun"}')
    """
    try:
        return value if isinstance(value, str) else to_json(value)
    except (ValueError, TypeError):
        raise Drop("values that JSON cannot carry") from None


def has_nulls(value: Any) -> bool:
    """Tell whether an object in a JSON value has a member that is null.

    >>> has_nulls([{"a": [None, {"b": None}]}]), has_nulls([None])
    (True, False)
    """
    waiting = [value]
    while waiting:  # no recursion, since every tool list is looked through
        one = waiting.pop()
        if isinstance(one, dict):
            inner = one.values()
            if None in inner:
                return True
        else:
            inner = one if isinstance(one, list) else ()
        waiting += [part for part in inner if isinstance(part, (dict, list))]
    return False


def without_nulls(value: Any) -> Any:
    """Return a JSON value without the members that are null, at every depth. A null in a list stays.

    Arrow gives all objects of a column the same members, so that most of its nulls say nothing.

    >>> without_nulls({"a": None, "b": [None, {"c": None}]})
    {'b': [None, {}]}
    """
    if isinstance(value, dict):
        return {key: without_nulls(part) for key, part in value.items() if part is not None}
    return [without_nulls(part) for part in value] if isinstance(value, list) else value


class Steps:
    """Assemble a trajectory from thoughts, calls, results and the answer, which are added in the order of the row."""

    def __init__(self, note: Note) -> None:
        self.note = note
        self.calls: list[dict[str, Any]] = []  # with name, arguments, id, thought, and result (None while it waits)
        self.answer: str | None = None
        self._thought, self._answer_thought = "", ""

    def think(self, text: str) -> None:
        """Add to the thought of the next call or the answer."""
        self._thought = f"{self._thought}\n{text.strip()}".strip()

    def call(self, name: Any, raw_arguments: Any, id: Any = None) -> None:
        """Add a call. Raises Drop for arguments that cannot be parsed and for a missing name."""
        args = arguments(raw_arguments, self.note)
        if isinstance(raw_arguments, dict) and has_nulls(args):
            self.note("null arguments left out")  # those of JSON text stay: Arrow did not add them
            args = without_nulls(args)
        drop_if(not isinstance(name, str) or not name.strip(), "a call without a name")
        self.calls.append({"name": name.strip(), "arguments": args, "id": id, "thought": self._thought, "result": None})
        self._thought = ""

    def observe(self, text: str, id: Any = None) -> None:
        """Add a result to the waiting call with that id, or to the first waiting call if not exactly one has it."""
        waiting = [call for call in self.calls if call["result"] is None]
        drop_if(not waiting, "a result without a call")
        same_id = [call for call in waiting if id is not None and call["id"] == id]
        (same_id if len(same_id) == 1 else waiting)[0]["result"] = text

    def finish(self, answer: str | None) -> None:
        """Set the answer. The thoughts since the last call belong to it."""
        self.answer, self._answer_thought = answer, self._thought

    def trajectory(self, name: str, source: str, query: str, tools: tuple[Tool, ...], instructions: str) -> Trajectory:
        """Build the trajectory. Notes a missing answer or tool list, and calls of tools that are not in the list.

        Raises Drop for an empty answer, and for a call without a result unless the row ends there.
        """
        if self.answer is None:
            self.note("no answer")
        elif not self.answer.strip():
            raise Drop("an empty answer")
        running = [call["result"] is None for call in self.calls]
        drop_if(any(running) and (self.answer is not None or running != sorted(running)), "a call without a result")
        if self.calls and not tools:
            self.note("no tool list")
        known = {tool.name for tool in tools}
        for call in self.calls:
            if tools and call["name"] not in known:
                self.note("call of a tool not offered")
        steps = tuple(Step(c["thought"], c["name"], c["arguments"], c["result"]) for c in self.calls)
        return Trajectory(name, source, query, tools, steps, self.answer, self._answer_thought, instructions)


def row_id(row: Any, where: str) -> str:
    """Return a row's id, or ``where`` if it has none."""
    id = row.get("id") if isinstance(row, dict) else None
    return str(id) if isinstance(id, (str, int)) and not isinstance(id, bool) and str(id).strip() else where


def counted(read: Callable[[Note], Record], where: str, tally: Tally) -> Record | None:
    """Read one row and count it: as kept, with its notes, or as dropped, with the reason. Returns None if dropped.

    ``read`` may return a list, for a row that holds several records: it counts as one row.
    """
    notes: list[str] = []
    try:
        record = read(notes.append)
        drop_if(record == [], "nothing in the row")
    except (Drop, FlanError, RecursionError) as error:
        found = error.found if isinstance(error, Drop) else ""
        tally.drop(_reason(error), f"{where} {found}".strip())
        return None
    tally.keep()
    for text in notes:
        tally.note(text)
    return record


def _reason(error: Drop | FlanError | RecursionError) -> str:
    """Return a reason for the tally, with no details of the row in it."""
    if not isinstance(error, FlanError):
        return str(error) if isinstance(error, Drop) else "nested too deeply"
    reasons = {"surrogate": "broken Unicode", "empty query": "empty query", "no step": "no step",
               "roles": "roles do not alternate", "tool name": "a broken tool name", "key": "keys that are not text"}
    return next((reasons[word] for word in reasons if word in error.found), "values that JSON cannot carry")
