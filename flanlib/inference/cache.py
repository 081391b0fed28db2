"""What a model has read: token ids with their keys and values, cut and joined so that nothing is read twice."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

States: TypeAlias = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of some tokens, layer by layer, each (heads, tokens, width)."""


@dataclass(eq=False)
class Line:
    """Tokens that stand one after another, with their states from ``start`` on; the parent has those before it.

    Lines of one conversation make a tree: a parent may go on in other ways after ``start``. A line whose own tokens
    have not been read yet has no states.
    """

    ids: list[int]
    parent: Line | None = None
    start: int = 0
    states: States = field(default_factory=list)

    @property
    def own(self) -> list[int]:
        """The tokens that the line adds to its parent."""
        return self.ids[self.start :]

    @property
    def bytes(self) -> int:
        """Memory of its own states."""
        return sum(keys.nbytes + values.nbytes for keys, values in self.states)

    def chain(self) -> Iterator[Line]:
        """Yield the line, its parent and so on."""
        line: Line | None = self
        while line:
            yield line
            line = line.parent

    def pieces(self, stop: int) -> Iterator[tuple[Line, int, int]]:
        """Yield which lines hold the states of the first ``stop`` tokens: (line, from, to), the last tokens first."""
        for line in self.chain():
            if line.start < stop:
                yield line, line.start, stop
                stop = line.start


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Count the tokens that two rows begin with alike.

    >>> common([1, 2, 3], [1, 2]), common([1, 2, 3], [1, 2, 4, 5]), common([], [1])
    (2, 2, 0)
    """
    differ = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differ, min(len(one), len(other)))


def plan(rows: Sequence[list[int]], known: Iterable[Line] = ()) -> list[Line]:
    """Return a line for every row, which begins with it, made so that nothing that is known or shared is read again.

    New lines are without states. Rows that others begin with get the line of one of those.

    >>> a, b, c, d = plan([[1, 2, 3], [1, 2], [5], [1, 2, 4, 4]])
    >>> a is b, (a.own, c.own, d.own), d.parent is a
    (True, ([1, 2, 3], [5], [4, 4]), True)
    """
    lines, told = list(known), {}
    order, waiting = sorted(range(len(rows)), key=rows.__getitem__), []
    for i, after in zip(order, [*order[1:], None], strict=True):
        waiting.append(i)
        if after is None or rows[after][: len(rows[i])] != rows[i]:
            told.update(dict.fromkeys(waiting, _grown(lines, rows[i])))
            waiting = []
    return [told[i] for i in range(len(rows))]


def _grown(lines: list[Line], ids: list[int]) -> Line:
    """Find the line that begins with some ids, or add one to those that share most with it."""
    shared = [common(line.ids, ids) for line in lines]
    start = max(shared, default=0)
    parent = lines[shared.index(start)] if start else None
    if parent and start == len(ids):
        return parent
    parent = next((line for line in parent.chain() if line.start < start), None) if parent else None
    lines.append(Line(ids, parent, start))
    return lines[-1]


def groups(rows: Sequence[list[int]], most: int) -> list[list[int]]:
    """Split rows, named by their places, into groups of about ``most`` different tokens or fewer, or of one row.

    Rows that share half of their tokens or more stand together, and the longest first.

    >>> groups([[1, 2], [7, 8, 9], [1, 2, 3], [5]], most=4)
    [[0, 2], [1, 3]]
    """
    trees: list[list[int]] = []
    sizes: list[int] = []
    before: list[int] = []
    for i in sorted(range(len(rows)), key=rows.__getitem__):
        size, shared = len(rows[i]), common(before, rows[i])
        if trees and shared >= size / 2 and sizes[-1] + size - shared <= most:
            trees[-1].append(i)
            sizes[-1] += size - shared
        else:
            trees.append([i])
            sizes.append(size)
        before = rows[i]
    told: list[list[int]] = []
    filled = most
    for tree, size in sorted(zip(trees, sizes, strict=True), key=lambda one: -max(len(rows[i]) for i in one[0])):
        if not told or filled + size > most:
            told.append([])
            filled = 0
        told[-1] += tree
        filled += size
    return told


def kept(lines: Mapping[int, Line | None], most: int) -> dict[int, Line]:
    """Return the first lines, by their numbers, that together take at most ``most`` bytes, parents included."""
    seen: set[Line] = set()
    told = {}
    for i, line in sorted((i, line) for i, line in lines.items() if line):
        more = [one for one in line.chain() if one not in seen]
        if (most := most - sum(one.bytes for one in more)) < 0:
            break
        seen.update(more)
        told[i] = line
    return told


def bytes_per_token(model: Any) -> int:
    """Estimate the memory of a token's keys and values from the configuration of a model."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * width * next(model.parameters()).element_size()


class Roomy(DynamicLayer):
    """A layer of the cache with room for so many tokens: the usual one copies its whole past for every new token."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any,
               **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """Add the new states in place and return all, (rows, heads, tokens, width) each."""
        had = self.get_seq_length()
        stop, added = had + key_states.shape[-2], (key_states, value_states)
        if not self.is_initialized:
            self.lazy_initialization(*added)
            self.rooms = [new.new_empty(*new.shape[:2], self.size, new.shape[-1]) for new in added]
        for room, new in zip(self.rooms, added, strict=True):
            room[:, :, had:stop] = new
        self.keys, self.values = (room[:, :, :stop] for room in self.rooms)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows."""
        had, self.rooms = self.get_seq_length(), [room[indices] for room in self.rooms]
        self.keys, self.values = (room[:, :, :had] for room in self.rooms)


# So few tokens take no longer than fewer would, since fetching the weights decides: on a GPU, and on a CPU.
_FEW = (1024, 64)


class Feeder:
    """Feeds a model with lines or batches."""

    def __init__(self, model: Any) -> None:
        self.model, self.where = model, next(model.parameters()).device
        # What transformers calls a cache changed its name within the versions that this runs with.
        self.cache = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
        # A layer with a window or a running state can't be cut back to fewer tokens: then every prompt is read whole.
        self.cuts = all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)

    def feed(self, ids: torch.Tensor, mask: torch.Tensor, past: DynamicCache) -> torch.Tensor:
        """Return the logits after the last column, (rows, tokens).

        ``mask``, (rows, past and new columns), has 0 for padding. It may stand anywhere: places count what is not.
        """
        places = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        return self.model(input_ids=ids, attention_mask=mask, position_ids=places, use_cache=True,
                          logits_to_keep=1, **{self.cache: past}).logits[:, -1].float()  # fmt: skip

    @torch.inference_mode()
    def read(self, lines: Iterable[Line], most: int) -> int:
        """Read the lines that have not been read yet, parents first, about ``most`` tokens at a time; count these."""
        todo = list(dict.fromkeys(line for line in lines if line.own and not line.states))
        tokens = sum(len(line.own) for line in todo)
        while todo:
            unread = set(todo)
            ready = sorted((line for line in todo if line.parent not in unread), key=lambda line: -len(line.own))
            todo = [line for line in todo if line.parent in unread]
            while ready:
                batch = _batch(ready, most, _FEW[self.where.type == "cpu"])
                ready = ready[len(batch) :]
                self._read(batch)
        return tokens

    def _read(self, lines: list[Line]) -> None:
        # Padding after a line's own tokens is seen by none of them, and leaves them next to those before.
        ids, own = padded([line.own for line in lines], self.where, "right")
        past, mask = self.gathered([(line.parent, line.start) for line in lines], ids.shape[1])
        had = mask.shape[1]
        self.feed(ids, torch.cat([mask, own], 1), past)
        for row, line in enumerate(lines):
            line.states = taken(past, row, had, had + len(line.own))

    def gathered(self, rows: Sequence[tuple[Line | None, int]], room: int) -> tuple[DynamicCache, torch.Tensor]:
        """Put the first tokens of lines side by side: a cache, padded on the left, and its mask.

        ``room`` is for how many more tokens there is to be room.
        """
        past = DynamicCache(config=self.model.config)
        stops = torch.tensor([stop for _, stop in rows], device=self.where)
        width = int(stops.max())
        mask = (torch.arange(width, 0, -1, device=self.where) <= stops[:, None]).long()
        for at, layer in enumerate(past.layers):
            if type(layer) is DynamicLayer:
                past.layers[at] = Roomy(width + room)
                if width:
                    past.layers[at].update(*(_joined(rows, at, which, width) for which in (0, 1)))
        return past, mask


def taken(past: DynamicCache, row: int, start: int, stop: int) -> States:
    """Copy some columns of a row out of a cache."""
    return [(layer.keys[row, :, start:stop].clone(), layer.values[row, :, start:stop].clone())
            for layer in past.layers]  # fmt: skip


def padded(rows: Sequence[list[int]], where: torch.device, side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of ids, padded to one width on a side (``left`` or ``right``), and their mask."""
    ids = [torch.tensor(row, dtype=torch.long, device=where) for row in rows]
    return (pad_sequence(ids, batch_first=True, padding_side=side),
            pad_sequence([torch.ones_like(row) for row in ids], batch_first=True, padding_side=side))  # fmt: skip


def _batch(lines: Sequence[Line], most: int, few: int) -> list[Line]:
    """Take the first of some lines that are worth reading together: of like length, or few tokens altogether."""
    longest, past = len(lines[0].own), 0
    for rows, line in enumerate(lines, 1):
        past = max(past, line.start)
        like = len(line.own) >= 0.8 * longest or longest * rows <= few
        if rows > 1 and (not like or (longest + past) * rows > most):
            return lines[: rows - 1]
    return lines


def _joined(rows: Sequence[tuple[Line | None, int]], layer: int, which: int, width: int) -> torch.Tensor:
    """Return keys (0) or values (1) of the first tokens of lines, at the right of ``width`` columns."""
    heads, _, size = (like := next(line.states[layer][which] for line, stop in rows if stop)).shape
    # Whatever stands in padding is multiplied by 0: it must be a number.
    out = like.new_zeros(len(rows), heads, width, size)
    for row, (line, stop) in enumerate(rows):
        for one, a, b in line.pieces(stop) if line else ():
            own = one.states[layer][which][:, a - one.start : b - one.start]
            out[row, :, width - stop + a : width - stop + b] = own
    return out
