"""Ordinary requests that no tool is needed for, with what the default model replies to them, and short questions.

All three are files in ``data/lab/``. The replies are the untuned model's own, greedy and without tools (section 4.3 of
the paper takes its plain replies from a chat model in the same way). They ship because greedy replies differ in places
between machines, and a reply that is trained on would make every later result another.
"""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from flanlib.lab.world import SPLITS
from flanlib.presets import DATA
from flanlib.records import Conversation, FlanError, clip, say

FOLDER = DATA / "lab"


class Request(NamedTuple):
    """Something that anybody may ask a chat model; ``split`` is train or heldout, and topics are on one side only."""

    id: str
    split: str
    family: str
    text: str


class Question(NamedTuple):
    """A question with one short answer, in any of the wordings of ``answers``; ``others`` are wrong ones it names."""

    id: str
    family: str
    text: str
    answers: tuple[str, ...]
    others: tuple[str, ...]


@cache
def requests(split: str) -> tuple[Request, ...]:
    """Return the requests of a split, ``train`` or ``heldout``. Raises FlanError for another one."""
    if split not in SPLITS:
        raise FlanError("ordinary requests", found=f"the split {split!r}", expected=" or ".join(SPLITS),
                        remedy="Pass one of them.")  # fmt: skip
    rows = (Request(*row) for row in _rows("requests.jsonl", *Request._fields))
    return tuple(row for row in rows if row.split == split)


@cache
def replies() -> Mapping[str, str]:
    """Return the default model's replies to all requests, by id."""
    return dict(_rows("replies.jsonl", "id", "reply"))


@cache
def questions() -> tuple[Question, ...]:
    """Return the general questions."""
    return tuple(Question(*row[:3], *map(tuple, row[3:])) for row in _rows("questions.jsonl", *Question._fields))


def conversations(split: str) -> list[Conversation]:
    """Return the requests of a split with their replies, trained, as plain chat without a system turn.

    Requests without a usable reply (the model went round in a loop) have none in the file, and are left out.
    """
    told = replies()
    return [Conversation(row.id, "ordinary", (say("user", row.text),
                                              say("assistant", told[row.id], "general", trained=True)))
            for row in requests(split) if row.id in told]  # fmt: skip


def _rows(name: str, *fields: str) -> list[list[Any]]:
    """Read some fields of every line of a file. Raises FlanError that names the line which lacks one."""
    found = []
    for number, line in enumerate((FOLDER / name).read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            found.append([row[field] for field in fields])
            if not all(_fits(field, row[field]) for field in fields):
                raise TypeError("a value of another type")
        except (ValueError, KeyError, TypeError) as error:
            raise FlanError(f"data/lab/{name}, line {number}", found=f"{clip(line)} ({error!r})",
                            expected=f"an object with {', '.join(fields)}", remedy="Restore the file.") from None
    return found


def _fits(field: str, value: Any) -> bool:
    if field in ("answers", "others"):
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    return value in SPLITS if field == "split" else isinstance(value, str)
