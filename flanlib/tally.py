"""Count the rows that every processing step keeps and drops, so that no row is lost silently."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

MOST_NAMED = 3  # broken files in a line of text


class Tally:
    """Counts of rows: seen, kept, and dropped by reason. Repairs are counted separately, as notes.

    ``seen`` is computed as ``kept + dropped``, so every row is either kept or dropped. Rows behind the error in a
    broken file can't be seen; ``broken`` names such files, each with its error.

    >>> tally = Tally("sample.jsonl")
    >>> tally.keep(); tally.drop("no turns", "sample.jsonl:2"); tally.note("thought missing")
    >>> print(tally)
    sample.jsonl: 2 seen, 1 kept, 1 dropped (no turns 1, first sample.jsonl:2); noted: thought missing 1
    >>> tally = Tally("folder"); tally.keep(); tally.broke("b.json", "truncated")
    >>> print(tally)
    folder: 1 seen, 1 kept, 0 dropped; not read to the end: b.json (truncated)
    """

    def __init__(self, name: str, *, kept: int = 0, dropped: Mapping[str, int] | None = None,
                 noted: Mapping[str, int] | None = None, first: Mapping[str, str] | None = None,
                 broken: Mapping[str, str] | None = None) -> None:  # fmt: skip
        self.name, self.kept, self.broken = name, kept, dict(broken or {})
        self.dropped, self.noted, self.first = Counter(dropped), Counter(noted), dict(first or {})

    def keep(self, n: int = 1) -> None:
        """Count rows that are kept."""
        self.kept += n

    def drop(self, reason: str, where: str) -> None:
        """Count a dropped row under a short reason. ``where`` says which row it was."""
        self.dropped[reason] += 1
        self.first.setdefault(reason, where)

    def note(self, what: str, n: int = 1) -> None:
        """Count a repair or oddity. The row itself is counted by :meth:`keep` or :meth:`drop`."""
        self.noted[what] += n

    def broke(self, file: str, error: str) -> None:
        """Tell a file that could not be read to its end. The rows before the error are counted as usual."""
        self.broken[file] = error

    @property
    def seen(self) -> int:
        """Number of rows that were kept or dropped."""
        return self.kept + self.dropped.total()

    def frame(self) -> pd.DataFrame:
        """Return the counts as a table: what, rows, and first (the first row dropped for that reason, or the file)."""
        rows = [("seen", self.seen, ""), ("kept", self.kept, "")]
        rows += [(f"dropped: {reason}", n, self.first[reason]) for reason, n in self.dropped.most_common()]
        rows += [(f"noted: {what}", n, "") for what, n in self.noted.most_common()]
        rows += [(f"not read to the end: {error}", 1, file) for file, error in self.broken.items()]
        return pd.DataFrame(rows, columns=["what", "rows", "first"])

    def counts(self) -> dict[str, Any]:
        """Return all counts as JSON values. ``Tally(name, **counts)`` restores them."""
        return {what: count for what, count in vars(self).items() if what != "name"}

    def __str__(self) -> str:
        reasons = ", ".join(f"{r} {n}, first {self.first[r]}" for r, n in self.dropped.most_common())
        noted = ", ".join(f"{what} {n}" for what, n in self.noted.most_common())
        broken = [f"{file} ({error})" for file, error in list(self.broken.items())[:MOST_NAMED]]
        broken += [f"{len(self.broken) - MOST_NAMED} more files"] * (len(self.broken) > MOST_NAMED)
        return (f"{self.name}: {self.seen} seen, {self.kept} kept, {self.dropped.total()} dropped"
                + (f" ({reasons})" if reasons else "") + (f"; noted: {noted}" if noted else "")
                + (f"; not read to the end: {', '.join(broken)}" if broken else ""))
