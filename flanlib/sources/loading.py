"""Read rows of any known format. The shape of a row decides which reader converts it."""

import os
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Any

from tqdm.auto import tqdm

from flanlib.presets import source_name
from flanlib.records import Conversation, FlanError, Trajectory
from flanlib.sources import agentinstruct, chat, fireact, glaive, toolbench
from flanlib.sources.common import Note, counted, drop_if
from flanlib.sources.files import rows
from flanlib.tally import Tally

# Readers in the order in which they are tried: the most specific formats first. Each has ``matches`` and ``convert``.
FORMATS = {"agentinstruct": agentinstruct, "toolbench": toolbench, "fireact": fireact, "glaive": glaive, "chat": chat}


def read(data: str | os.PathLike, *, tally: Tally, format: str | None = None) -> Iterator[Trajectory | Conversation]:
    """Yield the records of a file, glob, folder or hub name, and count each row once in the tally.

    ``format`` is a name in FORMATS. By default the shape of each row decides. ToolBench training rows come last, after
    all rows have been read, because only the longest row of a trajectory is kept. Notes are counted for kept rows only.
    Raises FlanError for an unknown format and as :func:`flanlib.sources.files.rows`, but never for a single row.
    """
    if format is not None and format not in FORMATS:
        raise FlanError(str(data), found=f"format {format!r}", expected="one of " + ", ".join(FORMATS),
                        remedy="Leave the format out to detect it from each row.")
    return (r for record in _read(data, tally, format) if record is not None for r in (record if isinstance(record, list) else [record]))


def load(data: str | os.PathLike, format: str | None = None) -> tuple[list[Trajectory], list[Conversation], Tally]:
    """Read everything with a progress bar. Return the trajectories, the conversations, and the tally."""
    tally = Tally(source_name(str(data)))
    records = list(tqdm(read(data, tally=tally, format=format), desc=tally.name, unit=" rows", leave=False))
    return ([record for record in records if isinstance(record, Trajectory)],
            [record for record in records if isinstance(record, Conversation)], tally)


def _read(data: str | os.PathLike, tally: Tally, format: str | None) -> Iterator[Trajectory | Conversation | None]:
    held: dict[tuple, list] = {}
    for where, row in rows(data, tally=tally):
        if format in (None, "toolbench") and toolbench.is_training(row):
            toolbench.hold(held, where, row, tally)
        else:
            yield counted(partial(_convert, where, row, format), where, tally)
    for where, row, _ in chain.from_iterable(held.values()):
        yield counted(partial(_convert, where, row, "toolbench"), where, tally)


def _convert(where: str, row: Any, format: str | None, note: Note) -> Trajectory | Conversation:
    drop_if(not isinstance(row, (dict, list)), "not an object")
    candidates = FORMATS.values() if format is None else [FORMATS[format]]
    module = next((module for module in candidates if module.matches(row)), None)
    drop_if(module is None, "no known format" if format is None else f"not in format {format}")
    return module.convert(row, where, note)
