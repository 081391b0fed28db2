"""Prefix cache: token ids with their keys and values, cut and joined so that a model reads no token twice."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from peft import PeftModel
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from flanlib.training.memory import cache_bytes

States: TypeAlias = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of some tokens, a pair for each layer, each (heads, tokens, width)."""


@dataclass(eq=False)
class Branch:
    """Token ids in a prefix tree, with their states from ``start`` on; the parent has the states before.

    Several branches can leave the same parent. A branch whose own tokens have not been read yet has no states.
    """

    ids: list[int]
    parent: Branch | None = None
    start: int = 0
    states: States = field(default_factory=list)

    @property
    def own(self) -> list[int]:
        """The tokens that the branch adds to its parent."""
        return self.ids[self.start :]

    def chain(self) -> Iterator[Branch]:
        """Yield the branch, its parent and so on."""
        branch: Branch | None = self
        while branch:
            yield branch
            branch = branch.parent


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Count the tokens that two sequences share at their beginning.

    >>> common_prefix([1, 2, 3], [1, 2]), common_prefix([1, 2, 3], [1, 2, 4, 5]), common_prefix([], [1])
    (2, 2, 0)
    """
    differ = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differ, min(len(one), len(other)))


def plan(rows: Sequence[list[int]], known: Iterable[Branch] = ()) -> list[Branch]:
    """Return for every row a branch that begins with it, such that no known or shared token is read again.

    New branches have no states yet. A row that is the beginning of others gets the branch of one of them.

    >>> a, b, c, d = plan([[1, 2, 3], [1, 2], [5], [1, 2, 4, 4]])
    >>> a is b, (a.own, c.own, d.own), d.parent is a
    (True, ([1, 2, 3], [5], [4, 4]), True)
    """
    branches, planned = list(known), {}
    order, prefixes = sorted(range(len(rows)), key=rows.__getitem__), []
    for i, following in zip(order, [*order[1:], None], strict=True):
        prefixes.append(i)
        if following is None or rows[following][: len(rows[i])] != rows[i]:
            planned.update(dict.fromkeys(prefixes, _find_or_add(branches, rows[i])))
            prefixes = []
    return [planned[i] for i in range(len(rows))]


def _find_or_add(branches: list[Branch], ids: list[int]) -> Branch:
    """Return a branch that begins with ``ids``; if there is none, add one that shares most with the others."""
    shared = [common_prefix(branch.ids, ids) for branch in branches]
    start = max(shared, default=0)
    parent = branches[shared.index(start)] if start else None
    if parent and start == len(ids):
        return parent
    if parent:
        parent = next((branch for branch in parent.chain() if branch.start < start), None)
    branches.append(Branch(ids, parent, start))
    return branches[-1]


def groups(rows: Sequence[list[int]], max_tokens: int) -> list[list[int]]:
    """Group rows, given by index, to about ``max_tokens`` different tokens at most; a longer row is a group by itself.

    Rows that share half of their tokens or more stay together. Groups with the longest rows come first.

    >>> groups([[1, 2], [7, 8, 9], [1, 2, 3], [5]], max_tokens=4)
    [[0, 2], [1, 3]]
    """
    trees, sizes, previous = [], [], []
    for i in sorted(range(len(rows)), key=rows.__getitem__):
        size, shared = len(rows[i]), common_prefix(previous, rows[i])
        if trees and shared >= size / 2 and sizes[-1] + size - shared <= max_tokens:
            trees[-1].append(i)
            sizes[-1] += size - shared
        else:
            trees.append([i])
            sizes.append(size)
        previous = rows[i]
    grouped, filled = [], 0
    for tree, size in sorted(zip(trees, sizes, strict=True), key=lambda pair: -max(len(rows[i]) for i in pair[0])):
        if not grouped or filled + size > max_tokens:
            grouped.append([])
            filled = 0
        grouped[-1] += tree
        filled += size
    return grouped


def first_fitting(branches: Mapping[int, Branch | None], max_bytes: int) -> dict[int, Branch]:
    """Return the first branches, by their numbers, that together take at most ``max_bytes``, parents included."""
    counted: set[Branch] = set()
    fitting = {}
    for i, branch in sorted((i, branch) for i, branch in branches.items() if branch):
        new = [one for one in branch.chain() if one not in counted]
        max_bytes -= sum(keys.nbytes + values.nbytes for one in new for keys, values in one.states)
        if max_bytes < 0:
            break
        counted.update(new)
        fitting[i] = branch
    return fitting


def bytes_per_token(model: Any) -> int:
    """Estimate the memory of a token's keys and values from the configuration of a model, from above."""
    plain = next(weight for weight in model.parameters() if weight.is_floating_point())  # others are in four bits
    return cache_bytes(model.config.get_text_config(), plain.element_size())


class PreallocatedLayer(DynamicLayer):
    """A cache layer with room for ``size`` tokens; transformers' own copies its whole past for every new token."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any,
               **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """Add the new states in place and return all, (rows, heads, tokens, width) each."""
        start = self.get_seq_length()
        stop, added = start + key_states.shape[-2], (key_states, value_states)
        if not self.is_initialized:
            self.lazy_initialization(*added)
            self.buffers = [new.new_empty(*new.shape[:2], self.size, new.shape[-1]) for new in added]
        for buffer, new in zip(self.buffers, added, strict=True):
            buffer[:, :, start:stop] = new
        self.keys, self.values = (buffer[:, :, :stop] for buffer in self.buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep only some rows."""
        stop, self.buffers = self.get_seq_length(), [buffer[indices] for buffer in self.buffers]
        self.keys, self.values = (buffer[:, :, :stop] for buffer in self.buffers)

    def refill(self, stay: torch.Tensor, entering: DynamicLayer, rows: int, width: int, size: int) -> None:
        """Keep some rows and add those of another layer after them: ``rows`` in all, which end at column ``width``."""
        self.size = size
        self.buffers = [_stacked((old[stay], new), rows, width, size)
                        for old, new in ((self.keys, entering.keys), (self.values, entering.values))]  # fmt: skip
        self.keys, self.values = (buffer[:, :, :width] for buffer in self.buffers)


# A pass over up to so many tokens takes as long as over one, since loading the weights takes most of the time.
_FEW_ON_GPU, _FEW_ON_CPU = 1024, 64


class Runner:
    """Runs a model on branches and on batches."""

    def __init__(self, model: Any) -> None:
        self.model, self.device = model, next(model.parameters()).device
        # Supported versions of transformers differ in the name of this argument.
        plain = model.get_base_model() if isinstance(model, PeftModel) else model
        self.cache_argument = "cache" if "cache" in inspect.signature(plain.forward).parameters else "past_key_values"
        # A sliding window or a recurrent state cannot be cropped to fewer tokens: then every prompt is read whole.
        self.can_crop = all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)

    def logits(self, ids: torch.Tensor, mask: torch.Tensor, past: DynamicCache) -> torch.Tensor:
        """Feed new columns of ids, and return the logits after the last one, (rows, vocabulary).

        ``mask``, (rows, past and new columns), is 0 for padding, wherever it stands: positions do not count it.
        """
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        return self.model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True,
                          logits_to_keep=1, **{self.cache_argument: past}).logits[:, -1].float()  # fmt: skip

    @torch.inference_mode()
    def prefill(self, branches: Iterable[Branch], max_tokens: int) -> int:
        """Read the branches without states, parents first, about ``max_tokens`` a pass, and count their own tokens."""
        todo = list(dict.fromkeys(branch for branch in branches if branch.own and not branch.states))
        tokens = sum(len(branch.own) for branch in todo)
        few = _FEW_ON_CPU if self.device.type == "cpu" else _FEW_ON_GPU
        while todo:
            unread = set(todo)
            ready = sorted((one for one in todo if one.parent not in unread), key=lambda one: -len(one.own))
            todo = [one for one in todo if one.parent in unread]
            while ready:
                batch = _batch(ready, max_tokens, few)
                ready = ready[len(batch) :]
                self._prefill(batch)
        return tokens

    def _prefill(self, branches: list[Branch]) -> None:
        # Padding on the right: own tokens do not attend to it, and their columns follow the prefix without a gap.
        ids, own = pad([branch.own for branch in branches], self.device, "right")
        past, mask = self.join([(branch.parent, branch.start) for branch in branches], ids.shape[1])
        start = mask.shape[1]
        self.logits(ids, torch.cat([mask, own], 1), past)
        for row, branch in enumerate(branches):
            branch.states = copy_states(past, row, start, start + len(branch.own))

    def join(self, prefixes: Sequence[tuple[Branch | None, int]], room: int) -> tuple[DynamicCache, torch.Tensor]:
        """Join prefixes, (branch, tokens) each, into a left-padded cache with ``room`` for more, and its mask."""
        past = DynamicCache(config=self.model.config)
        stops = torch.tensor([stop for _, stop in prefixes], device=self.device)
        width = int(stops.max())
        mask = (torch.arange(width, 0, -1, device=self.device) <= stops[:, None]).long()
        for i, layer in enumerate(past.layers):
            if type(layer) is DynamicLayer:
                past.layers[i] = PreallocatedLayer(width + room)
                if width:
                    past.layers[i].update(*(_joined(prefixes, i, which, width) for which in (0, 1)))
        return past, mask

    def refill(self, past: DynamicCache, mask: torch.Tensor, stay: torch.Tensor, longest: int,
               prefixes: Sequence[tuple[Branch | None, int]], room: int) -> torch.Tensor:  # fmt: skip
        """Keep some rows of a batch, of up to ``longest`` tokens, add prefixes after them, and return the new mask.

        Rows are left-padded to the longest of all, so that a batch whose long rows have ended becomes narrower.
        """
        added, own = self.join(prefixes, 0)
        rows, width = len(stay) + len(prefixes), max(longest, own.shape[1])
        for layer, entering in zip(past.layers, added.layers, strict=True):
            layer.refill(stay, entering, rows, width, width + room)
        return _stacked([one[:, None, :, None] for one in (mask[stay], own)], rows, width, width)[:, 0, :, 0]


def copy_states(past: DynamicCache, row: int, start: int, stop: int) -> States:
    """Copy some columns of a row out of a cache."""
    return [(layer.keys[row, :, start:stop].clone(), layer.values[row, :, start:stop].clone())
            for layer in past.layers]  # fmt: skip


def pad(rows: Sequence[list[int]], device: torch.device, side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of ids, padded to one width on a side (``left`` or ``right``), and their mask."""
    ids = [torch.tensor(row, dtype=torch.long, device=device) for row in rows]
    return (pad_sequence(ids, batch_first=True, padding_side=side),
            pad_sequence([torch.ones_like(row) for row in ids], batch_first=True, padding_side=side))  # fmt: skip


def _stacked(pieces: Iterable[torch.Tensor | None], rows: int, width: int, size: int) -> torch.Tensor:
    """Stack pieces, (rows, heads, columns, depth) each, all of which end at column ``width`` of ``size``, in zeros."""
    pieces = [piece for piece in pieces if piece is not None]
    _, heads, _, depth = pieces[0].shape
    stacked, row = pieces[0].new_zeros(rows, heads, size, depth), 0
    for piece in pieces:
        columns = min(width, piece.shape[2])
        stacked[row : row + len(piece), :, width - columns : width] = piece[:, :, piece.shape[2] - columns :]
        row += len(piece)
    return stacked


def _batch(branches: Sequence[Branch], max_tokens: int, few: int) -> list[Branch]:
    """Take the first branches that are worth reading together: of similar length, or few tokens altogether."""
    longest, past = len(branches[0].own), 0
    for rows, branch in enumerate(branches, 1):
        past = max(past, branch.start)
        similar = len(branch.own) >= 0.8 * longest or longest * rows <= few
        if rows > 1 and (not similar or (longest + past) * rows > max_tokens):
            return branches[: rows - 1]
    return branches


def _joined(prefixes: Sequence[tuple[Branch | None, int]], layer: int, which: int, width: int) -> torch.Tensor:
    """Return keys (0) or values (1) of prefixes, at the right of ``width`` columns."""
    example = next(branch.states[layer][which] for branch, stop in prefixes if stop)
    heads, _, size = example.shape
    # Not new_empty: attention multiplies padding by 0, which does not remove a NaN.
    joined = example.new_zeros(len(prefixes), heads, width, size)
    for row, (branch, stop) in enumerate(prefixes):
        left = width - stop
        for piece in branch.chain() if branch else ():  # the last tokens first
            if piece.start < stop:
                joined[row, :, left + piece.start : left + stop] = piece.states[layer][which][:, : stop - piece.start]
                stop = piece.start
    return joined
