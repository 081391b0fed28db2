"""From single judgements to scores with intervals: rates, their mean over skills, and differences between models.

Judgements come as tidy rows: ``id`` (the task), ``score`` (what was judged), ``value`` (0 or 1), ``seed`` (the run),
and columns that tell the models apart. Tasks and seeds are both samples, so a bootstrap draws both; models that were
given the same tasks are drawn together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from flanlib.intervals import Interval, rate
from flanlib.records import CAPABILITIES, FlanError

SEED = 0  # of the bootstrap: an interval is part of a result, so it must come out the same again
OVERALL = "overall"
_RESAMPLES = 2000


def table(rows: pd.DataFrame, by: Sequence[str], *, overall: Sequence[str] = CAPABILITIES) -> pd.DataFrame:
    """Tabulate every score of every model: the columns ``by``, score, value, low, high, n (tasks), seeds.

    Where all scores of ``overall`` were judged, their plain mean is a score too, as in T-Eval.
    """
    found = []
    for key, part in rows.groupby(list(by), sort=False):
        for score, judged in part.groupby("score", sort=False):
            told = rate(judged["value"], clusters=list(judged["id"]), seeds=list(judged["seed"]),
                        rng=np.random.default_rng(SEED))  # fmt: skip
            found.append((*key, score, told.mean, told.low, told.high, told.n, judged["seed"].nunique()))
        if set(overall) <= set(part["score"]):
            told = mean(part, overall)
            found.append((*key, OVERALL, told.mean, told.low, told.high, told.n, part["seed"].nunique()))
    return pd.DataFrame(found, columns=[*by, "score", "value", "low", "high", "n", "seeds"])


def mean(rows: pd.DataFrame, scores: Sequence[str] = CAPABILITIES) -> Interval:
    """Return the plain mean of several scores, with its interval; ``n`` counts tasks."""
    return _interval(rows, None, scores)


def gap(rows: pd.DataFrame, less: pd.DataFrame, scores: Sequence[str] = CAPABILITIES) -> Interval:
    """Return how much higher the mean of some scores is in one set of judgements than in another.

    Only tasks that both hold count. Where neither set varies at all, so that a bootstrap would have no width, the
    interval is Newcombe's (1998) for a difference of two rates. Raises FlanError if they share no task.
    """
    return _interval(rows, less, scores)


def interval(row: pd.Series) -> Interval:
    """Take one row of a table of scores as an interval."""
    return Interval(row["value"], row["low"], row["high"], int(row["n"]))


def points(told: Interval) -> Interval:
    """Turn rates into points of 100, the paper's unit."""
    return Interval(100 * told.mean, 100 * told.low, 100 * told.high, told.n)


def _interval(rows: pd.DataFrame, less: pd.DataFrame | None, scores: Sequence[str]) -> Interval:
    sides = [frame[frame["score"].isin(list(scores))] for frame in (rows, less) if frame is not None]
    tasks = sorted(set.intersection(*(set(side["id"]) for side in sides)))
    if not tasks:
        raise FlanError("scores", found="no task in common", expected="judgements of the same tasks",
                        remedy="Score both models on one draw of tasks.")  # fmt: skip
    rng, cells = np.random.default_rng(SEED), [_cells(side, scores, tasks) for side in sides]
    drawn = rng.multinomial(len(tasks), np.full(len(tasks), 1 / len(tasks)), size=_RESAMPLES)
    value, many = 0.0, np.zeros(_RESAMPLES)
    for sign, side in zip((1, -1), cells, strict=False):
        runs = side.shape[2]
        by_run = rng.multinomial(runs, np.full(runs, 1 / runs), size=_RESAMPLES)
        value += sign * _mean(side.sum((2, 3))[..., None])[0]
        many += sign * _mean(np.einsum("vsrt,br,bt->vsb", side, by_run, drawn))
    if many.std() > 1e-12:
        low, high = np.quantile(many, [0.025, 0.975])
    else:
        low, high = _newcombe(cells)
    return Interval(float(value), float(low), float(high), len(tasks))


def _cells(rows: pd.DataFrame, scores: Sequence[str], tasks: Sequence[str]) -> np.ndarray:
    """Sum and count judgements: an array (2, scores, seeds, tasks)."""
    runs = sorted(rows["seed"].unique())
    places = [{x: i for i, x in enumerate(xs)} for xs in (list(scores), runs, tasks)]
    rows = rows[rows["id"].isin(tasks)]
    at = tuple(rows[column].map(place).to_numpy()
               for column, place in zip(("score", "seed", "id"), places, strict=True))  # fmt: skip
    cells = np.zeros((2, len(scores), len(runs), len(tasks)))
    np.add.at(cells[0], at, rows["value"].to_numpy(float))
    np.add.at(cells[1], at, 1.0)
    return cells


def _mean(sums: np.ndarray) -> np.ndarray:
    """Average the rates of all scores: (2, scores, resamples) to (resamples,)."""
    ones, all_ = sums
    return np.divide(ones, all_, out=np.zeros_like(ones), where=all_ > 0).mean(0)


def _newcombe(sides: Sequence[np.ndarray]) -> tuple[float, float]:
    """Bound a mean of rates, or the difference of two, where nothing varies: Wilson's bounds, by tasks."""
    bounds = []
    for ones, all_ in sides:  # (scores, seeds, tasks)
        each = [rate([round(one.sum() / n.sum())] * int(n.any(0).sum()), rng=np.random.default_rng(SEED))
                for one, n in zip(ones, all_, strict=True)]  # fmt: skip
        bounds.append([float(np.mean([getattr(told, name) for told in each])) for name in ("mean", "low", "high")])
    if len(bounds) == 1:
        return bounds[0][1], bounds[0][2]
    (a, a_low, a_high), (b, b_low, b_high) = bounds
    return a - b - math.hypot(a - a_low, b_high - b), a - b + math.hypot(a_high - a, b - b_low)
