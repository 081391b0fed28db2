"""Batches of replies that are being written: rows leave when they have ended, and others can take their places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from flanlib.inference.cache import Branch, Runner, copy_states, pad


@dataclass(eq=False)
class Row:
    """A prompt on its way to a reply: its tokens, and the texts that end it."""

    number: int
    ids: list[int]
    marks: Mapping[str, str]
    prefix: Branch | None = None
    """All tokens but the last, unless the model has to read the prompt whole."""
    new: list[int] = field(default_factory=list)
    ended: bool = False
    start: int = 0
    """Column of the batch with the first token that was fed there."""
    branch: Branch | None = None
    """All tokens that were fed, if they are to be kept."""

    def __post_init__(self) -> None:
        # A token is a byte or more, so this many last tokens hold any mark that has just been completed.
        self.reach = max(len(mark.encode()) for mark in self.marks)

    @property
    def cached(self) -> int:
        """The number of tokens that have been read before the row enters a batch."""
        return len(self.ids) - 1 if self.prefix else 0


class Queue:
    """Rows that wait for a place in a batch of about ``tokens``, with up to ``most`` new ones for each row.

    They come in groups. A batch takes rows of one group, or ``across`` groups, which are asked for when the one before
    is used up.
    """

    def __init__(self, groups: Iterator[list[Row]], *, tokens: int, most: int, across: bool) -> None:
        self.groups, self.tokens, self.most, self.across = groups, tokens, most, across
        self.waiting: list[Row] = []

    def __bool__(self) -> bool:
        self.waiting = self.waiting or next(self.groups, [])
        return bool(self.waiting)

    def take(self, beside: Sequence[Row] = ()) -> list[Row]:
        """Return the last rows that wait, as many as fit beside those that stay in a batch; into an empty one, one."""
        taken: list[Row] = []
        longest = max((len(row.ids) + len(row.new) for row in beside), default=0)
        while self.waiting or (self.across and self):
            longest, count = max(longest, len(self.waiting[-1].ids)), len(beside) + len(taken)
            if count and (longest + self.most) * (count + 1) > self.tokens:
                break
            taken.append(self.waiting.pop())
        return taken


class Batch:
    """Rows that a model continues side by side, by up to ``most`` tokens each."""

    def __init__(self, runner: Runner, rows: list[Row], most: int) -> None:
        self.runner, self.rows, self.most = runner, rows, most
        self.fed, own = pad([row.ids[row.cached :] for row in rows], runner.device, "left")
        self.past, mask = runner.join([(row.prefix, row.cached) for row in rows], own.shape[1] + most)
        self.mask = torch.cat([mask, own], 1)
        for row in rows:
            row.start = mask.shape[1]

    def logits(self) -> torch.Tensor:
        """Return the logits of every row's next token, (rows, vocabulary)."""
        return self.runner.logits(self.fed, self.mask, self.past)

    def feed(self, chosen: torch.Tensor) -> None:
        """Take the chosen tokens, (rows,), as those to be fed next. Rows that have ended go on unseen."""
        self.fed = chosen[:, None]
        for row, token in zip(self.rows, chosen.tolist(), strict=True):
            if not row.ended:
                row.new.append(token)

    def store(self) -> None:
        """Copy the states of the rows that have ended."""
        for i, row in enumerate(self.rows):
            if row.ended:
                states = copy_states(self.past, i, row.start, row.start + len(row.new))
                row.branch = Branch(row.ids + row.new[:-1], row.prefix, row.cached, states)

    def exchange(self, entering: Sequence[Row] = ()) -> None:
        """Let the rows that have ended go, and others take their places. Those need a prefix each."""
        staying = [i for i, row in enumerate(self.rows) if not row.ended]
        stay = torch.tensor(staying, dtype=torch.long, device=self.runner.device)
        self.rows, self.fed = [self.rows[i] for i in staying], self.fed[stay]
        if not entering:
            self.past.batch_select_indices(stay)
            self.mask = self.mask[stay]
            return
        longest, before = max((row.cached + len(row.new) for row in self.rows), default=0), self.mask.shape[1]
        self.mask = self.runner.refill(self.past, self.mask, stay, longest,
                                       [(row.prefix, row.cached) for row in entering], self.most)  # fmt: skip
        width = self.mask.shape[1]
        for row in self.rows:
            row.start -= before - width
        for row in entering:
            row.start = width
        self.rows += entering
        self.fed = torch.cat([self.fed, self.fed.new_tensor([row.ids[-1:] for row in entering])])

    def widen(self) -> None:
        """Add the column of the tokens to be fed."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.rows), 1)], 1)
