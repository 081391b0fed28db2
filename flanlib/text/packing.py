"""Pack examples of different lengths into rows of one length, each example read as if it stood alone.

Positions restart at 0 with every conversation. Without an attention mask, transformers takes every restart in
``position_ids`` for a new document (``masking_utils.find_packed_sequence_indices``) and keeps documents apart, here
through flanlib.training.attention. Any 2-D attention mask, even one of ones, switches that off. Models with recurrent
layers, among others, mix documents all the same: flanlib.training.leaks finds them.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flanlib.records import FlanError
from flanlib.text.tokens import CONTEXT, Example


@dataclass(frozen=True, eq=False)
class Row:
    """A packed row: conversations side by side, then padding. Its arrays have one entry per token.

    ``lengths`` are the token counts of the conversations, in order. Padding is one more document, of kind context.
    The first token of a conversation is never a target, so its kind is context too.
    """

    ids: np.ndarray
    positions: np.ndarray
    kinds: np.ndarray
    bytes: np.ndarray
    lengths: tuple[int, ...]


def pack(examples: Sequence[Example], *, row_tokens: int, pad_id: int) -> list[Row]:
    """Pack examples into rows of ``row_tokens``, longest first, each where it leaves the least room (best fit).

    Every example is whole in exactly one row. Same examples, same rows. Raises FlanError for one longer than a row.
    """
    rows: list[list[Example]] = []
    room: list[tuple[int, int]] = []  # (free tokens, row), sorted
    for example in sorted(examples, key=len, reverse=True):
        size = len(example)
        if size > row_tokens:
            raise FlanError(
                f"example {example.id}",
                found=f"{size} tokens",
                expected=f"at most {row_tokens}",
                remedy="Encode with max_tokens of the row's length.",
            )
        at = bisect_left(room, (size, 0))
        if at == len(room):
            rows.append([])
            free, row = row_tokens, len(rows) - 1
        else:
            free, row = room.pop(at)
        rows[row].append(example)
        if free > size:
            insort(room, (free - size, row))
    return [_row(row, row_tokens, pad_id) for row in rows]


def fill(rows: Sequence[Row]) -> float:
    """Return the share of tokens that are not padding, 0 to 1 (nan without rows)."""
    total = sum(len(row.ids) for row in rows)
    return sum(sum(row.lengths) for row in rows) / total if total else float("nan")


def _row(examples: list[Example], row_tokens: int, pad_id: int) -> Row:
    lengths = tuple(map(len, examples))
    padding = row_tokens - sum(lengths)

    def joined(name: str, pad: int) -> np.ndarray:
        arrays = [getattr(example, name) for example in examples]
        return np.concatenate([*arrays, np.full(padding, pad, arrays[0].dtype)])

    positions = np.concatenate([np.arange(size, dtype=np.int32) for size in (*lengths, padding)])
    return Row(joined("ids", pad_id), positions, joined("kinds", CONTEXT), joined("bytes", 0), lengths)
