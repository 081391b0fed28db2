"""Claims and their verdicts: an interval against a bound, computed and never typed.

``figures/claims.csv`` gathers the claims of all notebooks, one row each.
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
    """One claim checked: what the paper says, what we measured, and whether that bears it out.

    ``material`` is what it was measured on: ``lab``, or the name of some data.
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
    verdict: Literal["holds", "differs", "unclear"]


COLUMNS = tuple(Claim.__dataclass_fields__)


def check(notebook: str, claim: str, *, material: str, paper: str | float, ours: Interval, seeds: int,
          above: float | None = None, below: float | None = None) -> Claim:  # fmt: skip
    """Hold a measured interval against a claim: strictly above a bound, strictly below one, or between two.

    ``holds`` if the whole interval satisfies it, ``differs`` if all of it fails, else ``unclear``;
    ``unclear`` too where there is no interval. ``paper`` is what the paper says, in its own words or number.

    >>> check("01", "gap", material="lab", paper="0.5", ours=Interval(0.4, 0.3, 0.5, 90), seeds=3, above=0).verdict
    'holds'
    """
    if above is None and below is None:
        raise FlanError(f"claim {claim!r}", found="no bound", expected="above=, below= or both",
                        remedy="Say what the claim means in numbers.")  # fmt: skip
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
    said = paper if isinstance(paper, str) else f"{paper:g}"
    return Claim(notebook, material, claim, said, *astuple(ours), seeds, verdict)


def save(rows: Iterable[Claim], notebook: str) -> Path:
    """Put a notebook's claims into ``claims.csv`` of the output folder, in place of its earlier ones on that material.

    Other notebooks' rows stay as they are; rows are sorted by notebook. Returns the file's path.
    """
    rows, path = list(rows), output() / "claims.csv"
    if strangers := {row.notebook for row in rows} - {notebook}:
        raise FlanError(path.name, found=f"claims of {', '.join(sorted(strangers))}",
                        expected=f"claims of {notebook}", remedy="Save each notebook's claims by itself.")  # fmt: skip
    replaced = {(row.notebook, row.material) for row in rows}
    lines = [line for line in _read(path) if (line[0], line[1]) not in replaced]
    lines += [[*map(_cell, astuple(row))] for row in rows]
    write_table(path, pd.DataFrame(sorted(lines, key=lambda line: line[:2]), columns=COLUMNS))
    return path


def beside(shipped: Path, made: Path, notebooks: Iterable[str]) -> str:
    """Write the claims of some notebooks as they ship beside the same made anew; for a terminal.

    Tells whether their intervals overlap, which verdicts changed, and what only one of the two tables has.
    """
    ran = tuple(notebooks)
    old, new = ({tuple(line[:3]): dict(zip(COLUMNS, line, strict=True)) for line in _read(path)
                 if any(name.startswith(line[0]) for name in ran)} for path in (shipped, made))  # fmt: skip
    lines, apart, changed = [], 0, 0
    for key in {**new, **old}:
        was, now, name = old.get(key), new.get(key), "  {} {}, {}".format(*key)
        if was is None or now is None:
            lines.append(f"{name}: {_told(was or now)}, " + ("not made anew" if was else "not among the shipped"))
            continue
        bounds = [[float(one[end] or "nan") for end in ("low", "high")] for one in (was, now)]
        meet = not (bounds[0][1] < bounds[1][0] or bounds[1][1] < bounds[0][0])
        apart += not meet
        changed += was["verdict"] != now["verdict"]
        lines.append(f"{name}: shipped {_told(was)}, fresh {_told(now)}" + ("" if meet else "  <- intervals apart"))
    return "\n".join([f"{len(lines)} claims, shipped beside fresh: intervals of {apart} lie apart, verdicts of "
                      f"{changed} changed", *lines])  # fmt: skip


def _told(row: dict[str, str]) -> str:
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
