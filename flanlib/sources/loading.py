"""Read rows of any known format. The shape of a row decides which reader converts it."""

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

from flanlib.presets import source_name
from flanlib.progress import Bar
from flanlib.records import Conversation, FlanError, Trajectory
from flanlib.sources import agentinstruct, chat, columns, fireact, glaive, toolbench
from flanlib.sources.common import Drop, Note, counted, drop_if
from flanlib.sources.files import rows
from flanlib.tally import Tally

# Readers in the order in which they are tried: the most specific formats first. Each has ``matches`` and ``convert``.
FORMATS = {"agentinstruct": agentinstruct, "toolbench": toolbench, "fireact": fireact, "glaive": glaive, "chat": chat}
MOST_KEYS, MOST_CHARACTERS = 6, 30  # of a row that no reader knows
Record = Trajectory | Conversation


def read(data: str | os.PathLike, *, tally: Tally, format: str | None = None) -> Iterator[Record]:
    """Yield the records of a file, glob, folder or hub name, and count each row once in the tally.

    ``format`` is a name in FORMATS. By default the shape of each row decides. ToolBench training rows come last, after
    all rows have been read, because only the longest row of a trajectory is kept. Notes are counted for kept rows only.
    A row of several requests gives a record for each. An id that is in use gets a number: of three rows ``same``, the
    ids are ``same``, ``same-2`` and ``same-3``.

    Raises FlanError for an unknown format and as :func:`flanlib.sources.files.rows`, but never for a single row, and
    not for a broken file beside rows: print the tally, which names it.
    """
    if format is not None and format not in FORMATS:
        raise FlanError(str(data), found=f"format {format!r}", expected="one of " + ", ".join(FORMATS),
                        remedy="Leave the format out to detect it from each row.")
    return _read(data, tally, format)


def load(data: str | os.PathLike, format: str | None = None) -> tuple[list[Trajectory], list[Conversation], Tally]:
    """Read everything with a progress bar. Return the trajectories, the conversations, and the tally."""
    tally = Tally(source_name(str(data)))
    records = list(Bar(read(data, tally=tally, format=format), desc=tally.name, unit=" rows", leave=False))
    return ([record for record in records if isinstance(record, Trajectory)],
            [record for record in records if isinstance(record, Conversation)], tally)


def _read(data: str | os.PathLike, tally: Tally, format: str | None) -> Iterator[Record]:
    held: dict[tuple, list] = {}
    ids = _Ids(tally)
    for where, row in rows(data, tally=tally):
        row = columns.decoded(row)
        if format in (None, "toolbench") and toolbench.is_training(row):
            toolbench.hold(held, where, row, tally)
        else:
            yield from ids.unique(counted(partial(_convert, where, row, format), where, tally))
    for where, row, _ in chain.from_iterable(held.values()):
        yield from ids.unique(counted(partial(_convert, where, row, "toolbench"), where, tally))


def _convert(where: str, row: Any, format: str | None, note: Note) -> Record | list[Record]:
    drop_if(not isinstance(row, (dict, list)), "not an object")
    candidates = FORMATS.values() if format is None else [FORMATS[format]]
    module = next((module for module in candidates if module.matches(row)), None)
    if module is None:
        raise Drop("no known format" if format is None else f"not in format {format}", _keys(row))
    return module.convert(row, where, note)


def _keys(row: dict[str, Any] | list[Any]) -> str:
    """Tell some keys of a row that no reader knows.

    >>> _keys({"question": "How old is it?", "answer": "80 years"})
    'with the keys answer, question'
    """
    if isinstance(row, list):
        return "with a list that is no turns"
    # A key may hold line breaks and broken Unicode, which the one line of an error must not.
    names = sorted(" ".join(key.encode(errors="replace").decode().split()) for key in row if row[key] is not None)
    names = [name if len(name) <= MOST_CHARACTERS else f"{name[:MOST_CHARACTERS]}..." for name in names]
    more = f" and {len(names) - MOST_KEYS} more" if len(names) > MOST_KEYS else ""
    return f"with the keys {', '.join(names[:MOST_KEYS])}{more}" if names else "without a key"


class _Ids:
    """Makes ids unique: several files may each number their rows from 0. Remembers every id."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.last: dict[str, int] = {}  # by id, the last number that was appended to it

    def unique(self, found: Record | list[Record] | None) -> Iterator[Record]:
        """Yield the records of a row, with a number after an id that is in use, which is noted."""
        for record in found if isinstance(found, list) else [found] * (found is not None):
            id, number = record.id, self.last.get(record.id, 0) + 1
            if number > 1:
                self.tally.note("ids made unique")
                while f"{id}-{number}" in self.last:
                    number += 1
                record = replace(record, id=f"{id}-{number}")
                self.last[record.id] = 1
            self.last[id] = number
            yield record
