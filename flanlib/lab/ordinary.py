"""Ordinary requests that need no tool, the default model's replies to them, and short general questions.

All three are files in ``data/lab/``. The replies come from the untuned model by greedy decoding without tools, as the
paper takes its plain replies from a chat model (section 4.3). They ship with the kit because greedy decoding differs
slightly between machines, and other replies to train on would change every later result.
"""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from flanlib.lab.world import SPLITS
from flanlib.presets import BROUGHT
from flanlib.records import Conversation, FlanError, clip, say

FOLDER = BROUGHT / "lab"


class Request(NamedTuple):
    """An everyday request to a chat model. ``split`` is train or heldout; every topic is in one split only."""

    id: str
    split: str
    family: str
    text: str


class Question(NamedTuple):
    """A question with a short answer: ``answers`` are its accepted wordings, ``others`` wrong ones in the question."""

    id: str
    family: str
    text: str
    answers: tuple[str, ...]
    others: tuple[str, ...]


@cache
def requests(split: str) -> tuple[Request, ...]:
    """Return the requests of a split, ``train`` or ``heldout``. Raises FlanError for another split."""
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
    """Return the requests of a split with their replies (trained turns), as plain chat without a system turn.

    Requests without a usable reply (the model repeated itself endlessly) are left out.
    """
    return [Conversation(row.id, "ordinary", (say("user", row.text),
                                              say("assistant", replies()[row.id], "general", trained=True)))
            for row in requests(split) if row.id in replies()]  # fmt: skip


def _rows(name: str, *fields: str) -> list[list[Any]]:
    """Read the given fields of every line of a file. Raises FlanError that names the first bad line."""
    rows = []
    for number, line in enumerate((FOLDER / name).read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            rows.append([row[field] for field in fields])
            if not all(_is_valid(field, row[field]) for field in fields):
                raise TypeError("a value of the wrong type")
        except (ValueError, KeyError, TypeError) as error:
            raise FlanError(f"data/lab/{name}, line {number}", found=f"{clip(line)} ({error!r})",
                            expected=f"an object with {', '.join(fields)}", remedy="Restore the file.") from None
    return rows


def _is_valid(field: str, value: Any) -> bool:
    if field in ("answers", "others"):
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return value in SPLITS if field == "split" else isinstance(value, str)
