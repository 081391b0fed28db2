"""From single judgements to scores with intervals: rates, their mean over skills, and differences between models.

Judgements come as tidy rows: ``id`` (the task), ``score`` (what was judged), ``value`` (0 or 1), ``seed`` (the run),
and columns that tell the models apart. Tasks and seeds are both samples, so a bootstrap draws both; models that were
given the same tasks are drawn together.
"""

import math
from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
import pandas as pd

from flanlib.intervals import BOUNDS, RESAMPLES, Interval, rate, wilson
from flanlib.records import CAPABILITIES, FlanError

SEED = 0  # of the bootstrap: an interval is part of a result, so it must come out the same again


def table(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Tabulate every score of every model: the columns ``by``, score, value, low, high, n (tasks), seeds.

    Where all four capabilities were judged, their plain mean is a score too, ``overall``, as in T-Eval.
    """
    found = []
    for key, part in rows.groupby(list(by), sort=False):
        told = [(score, judged, rate(judged["value"], clusters=judged["id"], seeds=judged["seed"],
                                     rng=np.random.default_rng(SEED)))
                for score, judged in part.groupby("score", sort=False)]  # fmt: skip
        if set(CAPABILITIES) <= set(part["score"]):
            told.append(("overall", part, mean(part)))
        found += [(*key, score, *astuple(of), judged["seed"].nunique()) for score, judged, of in told]
    return pd.DataFrame(found, columns=[*by, "score", "value", "low", "high", "n", "seeds"])


def mean(rows: pd.DataFrame, scores: Sequence[str] = CAPABILITIES) -> Interval:
    """Return the plain mean of several scores, with its interval; ``n`` counts tasks."""
    return _interval([rows], scores)


def gap(rows: pd.DataFrame, less: pd.DataFrame, scores: Sequence[str] = CAPABILITIES) -> Interval:
    """Return how much higher the mean of some scores is in one set of judgements than in another.

    Only tasks that both hold count. Where neither set varies at all, so that a bootstrap would have no width, the
    interval is Newcombe's (1998) for a difference of two rates. Raises FlanError if they share no task.
    """
    return _interval([rows, less], scores)


def interval(row: pd.Series) -> Interval:
    """Take one row of a table of scores as an interval."""
    return Interval(row["value"], row["low"], row["high"], int(row["n"]))


def points(told: Interval) -> Interval:
    """Turn rates into points of 100, the paper's unit."""
    return Interval(100 * told.mean, 100 * told.low, 100 * told.high, told.n)


def _interval(sides: Sequence[pd.DataFrame], scores: Sequence[str]) -> Interval:
    sides = [side[side["score"].isin(list(scores))] for side in sides]
    tasks = sorted(set.intersection(*(set(side["id"]) for side in sides)))
    if not tasks:
        raise FlanError("scores", found="no task in common", expected="judgements of the same tasks",
                        remedy="Score both models on one draw of tasks.")  # fmt: skip
    rng, cells = np.random.default_rng(SEED), [_cells(side, scores, tasks) for side in sides]
    drawn = rng.multinomial(len(tasks), np.full(len(tasks), 1 / len(tasks)), size=RESAMPLES)
    value, many = 0.0, np.zeros(RESAMPLES)
    for sign, side in zip((1, -1), cells, strict=False):
        runs = side.shape[2]
        by_run = rng.multinomial(runs, np.full(runs, 1 / runs), size=RESAMPLES)
        value += sign * _mean(side.sum((2, 3)))
        many += sign * _mean(np.einsum("vsrt,br,bt->vsb", side, by_run, drawn))
    low, high = np.quantile(many, BOUNDS) if many.std() > 1e-12 else _newcombe(cells)
    return Interval(float(value), float(low), float(high), len(tasks))


def _cells(rows: pd.DataFrame, scores: Sequence[str], tasks: Sequence[str]) -> np.ndarray:
    """Sum and count judgements: an array (2, scores, seeds, tasks)."""
    axes = [list(scores), sorted(rows["seed"].unique()), tasks]
    told = rows.groupby(["score", "seed", "id"])["value"].agg(["sum", "count"])
    told = told.reindex(pd.MultiIndex.from_product(axes), fill_value=0)
    return told.to_numpy(float).T.reshape(2, *map(len, axes))


def _mean(sums: np.ndarray) -> np.ndarray:
    """Average the rates of all scores: (2, scores) or (2, scores, resamples) to a number or (resamples,)."""
    ones, all_ = sums
    return np.divide(ones, all_, out=np.zeros_like(ones), where=all_ > 0).mean(0)


def _newcombe(sides: Sequence[np.ndarray]) -> tuple[float, float]:
    """Bound a mean of rates, or the difference of two, where nothing varies: Wilson's bounds, by tasks."""
    bounds = []
    for ones, all_ in sides:  # (scores, seeds, tasks)
        each = [wilson(round(one.sum() / n.sum()), int(n.any(0).sum())) for one, n in zip(ones, all_, strict=True)]
        bounds.append(np.mean([(told.mean, told.low, told.high) for told in each], 0))
    if len(bounds) == 1:
        return bounds[0][1], bounds[0][2]
    (a, a_low, a_high), (b, b_low, b_high) = bounds
    return a - b - math.hypot(a - a_low, b_high - b), a - b + math.hypot(a_high - a, b - b_low)
