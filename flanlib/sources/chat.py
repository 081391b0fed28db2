"""Chat rows of every layout, with calls or without: the reader for all that no other reader knows.

:mod:`flanlib.sources.columns` finds the turns in a row, :mod:`flanlib.sources.messages` reads them into one form,
:mod:`flanlib.sources.agent_text` finds calls that stand in texts, and :mod:`flanlib.sources.episodes` makes records.
"""

from typing import Any

from flanlib.records import Conversation, Trajectory
from flanlib.sources import agent_text, columns
from flanlib.sources.common import Note, row_id
from flanlib.sources.episodes import records
from flanlib.sources.messages import Message, parsed, without_thinking
from flanlib.sources.tools import listed, tools_of


def matches(row: Any) -> bool:
    """Tell whether a row holds turns, or a request and its reply, under any of the usual names."""
    if isinstance(row, dict) and (row.get("messages") or row.get("conversations")
                                  or (row.get("instruction") and row.get("output"))):  # fmt: skip
        return True  # at once, because most rows are such
    return columns.turns_of(row, lambda text: None) is not None


def convert(row: Any, where: str, note: Note) -> list[Conversation | Trajectory]:
    """Read one row into its records. Raises Drop, with the reason, for rows that cannot be used."""
    turns = columns.turns_of(row, note)
    columns.refuse_media(row)
    offered = columns.tools(row)
    messages, tools = parsed(turns, note), tools_of(offered, note) if offered else ()
    if not tools:
        tools, messages = _listed(messages, note)
    structured = agent_text.structured(messages, note, tools)
    messages = list(map(without_thinking, messages)) if structured is None else structured
    columns.refuse_failures(row, agent=any(message.calls for message in messages), note=note)
    return records(row_id(row, where), "chat", messages, tools, note)


def _listed(messages: list[Message], note: Note) -> tuple[tuple, list[Message]]:
    """Take the tool list out of the system text, if it holds one."""
    for i, message in enumerate(messages):
        if message.role == "system" and "{" in message.text:
            tools, rest = listed(message.text, note)
            if tools:
                return tools, [*messages[:i], message._replace(text=rest), *messages[i + 1:]]
    return (), messages
