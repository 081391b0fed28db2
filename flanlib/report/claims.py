"""Claims of the paper and their verdicts, computed by comparing an interval with bounds.

``claims.csv`` in the output folder gathers the claims of all notebooks that write there, one row each.
"""

import csv
import math
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from flanlib.intervals import Interval
from flanlib.presets import output
from flanlib.records import FlanError
from flanlib.store import write_table


@dataclass(frozen=True)
class Claim:
    """One checked claim: what the paper says, what was measured, and the verdict.

    ``material`` names the data of the measurement: ``lab``, or the name of other data.
    """

    notebook: str
    material: str
    claim: str
    paper: str
    ours: float
    low: float
    high: float
    n: int
    seeds: int
    verdict: Literal["holds", "differs", "unclear", "too few"]


COLUMNS = tuple(Claim.__dataclass_fields__)
LEAST, LEAST_SEEDS = 20, 3
"""Fewest tasks or texts, and fewest seeds where each seed gives one value, from which a verdict is drawn."""


def check(notebook: str, claim: str, *, material: str, paper: str | float, ours: Interval, seeds: int,
          above: float | None = None, below: float | None = None) -> Claim:  # fmt: skip
    """Check a claim: its value lies strictly above a bound, strictly below one, or between two.

    The verdict is ``holds`` if the whole interval satisfies the claim, ``differs`` if no part does, ``unclear`` else or
    without an interval, and ``too few`` below LEAST tasks or LEAST_SEEDS seeds. Raises FlanError without a bound, and
    for bounds or an interval in descending order.

    >>> check("01", "gap", material="lab", paper="0.5", ours=Interval(0.4, 0.3, 0.5, 90), seeds=3, above=0).verdict
    'holds'
    """
    if above is None and below is None:
        raise FlanError(f"claim {claim!r}", found="no bound", expected="above=, below= or both",
                        remedy="Pass the bounds that the claim implies.")  # fmt: skip
    floor = -math.inf if above is None else above
    ceiling = math.inf if below is None else below
    if floor >= ceiling or ours.low > ours.high:
        raise FlanError(f"claim {claim!r}", found=f"bounds {floor} to {ceiling}, interval {ours.low} to {ours.high}",
                        expected="low ends below high ends", remedy="Swap them.")  # fmt: skip
    verdict = "unclear"
    if math.isfinite(ours.low) and math.isfinite(ours.high):
        if floor < ours.low and ours.high < ceiling:
            verdict = "holds"
        elif ours.high <= floor or ours.low >= ceiling:
            verdict = "differs"
    if ours.n < (LEAST_SEEDS if ours.n == seeds else LEAST):
        verdict = "too few"
    paper = paper if isinstance(paper, str) else f"{paper:g}"
    return Claim(notebook, material, claim, paper, *astuple(ours), seeds, verdict)


def save(rows: Iterable[Claim], notebook: str) -> Path:
    """Write a notebook's claims to ``claims.csv`` in the output folder, replacing its earlier ones on that material.

    The rows of other notebooks stay, and rows are sorted by notebook and material. Returns the file's path. Raises
    FlanError for claims of another notebook, and for a file with other columns.
    """
    rows, path = list(rows), output(notebook) / "claims.csv"
    if others := {row.notebook for row in rows} - {notebook}:
        raise FlanError(path.name, found=f"claims of {', '.join(sorted(others))}",
                        expected=f"claims of {notebook}", remedy="Save each notebook's claims by itself.")  # fmt: skip
    replaced = {(row.notebook, row.material) for row in rows}
    lines = [line for line in _read(path) if (line[0], line[1]) not in replaced]
    lines += [[*map(_cell, astuple(row))] for row in rows]
    write_table(path, pd.DataFrame(sorted(lines, key=lambda line: line[:2]), columns=COLUMNS))
    return path


def beside(shipped: Path, made: Path, notebooks: Iterable[str]) -> str:
    """Compare, as text for a terminal, the shipped claims of some notebooks with those computed again.

    The text tells whether the intervals overlap, how many verdicts changed, and which claims only one table has.
    """
    names = tuple(notebooks)
    old, new = ({tuple(line[:3]): dict(zip(COLUMNS, line, strict=True)) for line in _read(path)
                 if any(name.startswith(line[0]) for name in names)} for path in (shipped, made))  # fmt: skip
    lines, apart, changed = [], 0, 0
    for key in {**new, **old}:
        was, now, name = old.get(key), new.get(key), "  {} {}, {}".format(*key)
        if was is None or now is None:
            lines.append(f"{name}: {_line(was or now)}, " + ("not made anew" if was else "not among the shipped"))
            continue
        (was_low, was_high), (low, high) = ([float(row[end] or "nan") for end in ("low", "high")] for row in (was, now))
        overlap = not (was_high < low or high < was_low)  # NaN bounds count as overlapping
        apart += not overlap
        changed += was["verdict"] != now["verdict"]
        lines.append(f"{name}: shipped {_line(was)}, fresh {_line(now)}" + ("" if overlap else "  <- intervals apart"))
    return "\n".join([f"{len(lines)} claims, shipped beside fresh: intervals of {apart} lie apart, verdicts of "
                      f"{changed} changed", *lines])  # fmt: skip


def _line(row: dict[str, str]) -> str:
    numbers = [f"{float(row[name]):.3g}" if row[name] else "–" for name in ("ours", "low", "high")]
    return f"{numbers[0]} [{numbers[1]}, {numbers[2]}] {row['verdict']}"


def _read(path: Path) -> list[list[str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        header, *lines = list(csv.reader(file)) or [[]]
    if tuple(header) != COLUMNS or any(len(line) != len(COLUMNS) for line in lines):
        raise FlanError(path.name, found=f"columns {', '.join(header) or 'none'}, or a line of another length",
                        expected=", ".join(COLUMNS), remedy="Delete the file and run the notebooks.")  # fmt: skip
    return lines


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)
