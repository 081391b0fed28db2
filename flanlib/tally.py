"""Count what every step keeps and loses, so that no row vanishes silently."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd


class Tally:
    """Rows seen, kept and dropped by reason; repairs are noted beside them.

    ``kept + dropped == seen`` holds by construction: a row is seen when its fate is told.

    >>> tally = Tally("sample.jsonl")
    >>> tally.keep(); tally.drop("no turns", "sample.jsonl:2"); tally.note("thought missing")
    >>> print(tally)
    sample.jsonl: 2 seen, 1 kept, 1 dropped (no turns 1, first sample.jsonl:2); noted: thought missing 1
    """

    def __init__(self, name: str, *, kept: int = 0, dropped: Mapping[str, int] | None = None,
                 noted: Mapping[str, int] | None = None, first: Mapping[str, str] | None = None) -> None:  # fmt: skip
        self.name, self.kept = name, kept
        self.dropped, self.noted, self.first = Counter(dropped), Counter(noted), dict(first or {})

    def keep(self, n: int = 1) -> None:
        """Count rows that go on."""
        self.kept += n

    def drop(self, reason: str, where: str, n: int = 1) -> None:
        """Count rows that end here, under a short reason; ``where`` names the record."""
        self.dropped[reason] += n
        self.first.setdefault(reason, where)

    def note(self, what: str, n: int = 1) -> None:
        """Count repairs and oddities of rows whose fate is told elsewhere."""
        self.noted[what] += n

    @property
    def seen(self) -> int:
        """Rows whose fate was told."""
        return self.kept + self.dropped.total()

    def frame(self) -> pd.DataFrame:
        """Return the counts as a table: what, rows, first (the first record of that fate)."""
        rows = [("seen", self.seen, ""), ("kept", self.kept, "")]
        rows += [(f"dropped: {reason}", n, self.first[reason]) for reason, n in self.dropped.most_common()]
        rows += [(f"noted: {what}", n, "") for what, n in self.noted.most_common()]
        return pd.DataFrame(rows, columns=["what", "rows", "first"])

    def counts(self) -> dict[str, Any]:
        """Return all counts as JSON can write them; ``Tally(name, **counts)`` goes on from there."""
        return {what: count for what, count in vars(self).items() if what != "name"}

    def __str__(self) -> str:
        told = ", ".join(f"{r} {n}, first {self.first[r]}" for r, n in self.dropped.most_common())
        noted = ", ".join(f"{what} {n}" for what, n in self.noted.most_common())
        return (f"{self.name}: {self.seen} seen, {self.kept} kept, {self.dropped.total()} dropped"
                + (f" ({told})" if told else "") + (f"; noted: {noted}" if noted else ""))
