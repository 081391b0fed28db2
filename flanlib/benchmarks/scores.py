"""From single judgements to scores with confidence intervals: rates, their mean, and differences between models.

Judgements are tidy rows: ``id`` (the task), ``score`` (what was judged), ``value`` (0 or 1), ``seed`` (the run), and
columns that identify the model. The bootstrap resamples both tasks and seeds. Models evaluated on the same tasks are
resampled together (a paired bootstrap).
"""

import math
from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
import pandas as pd

from flanlib.intervals import BOUNDS, RESAMPLES, Interval, rate, wilson
from flanlib.records import CAPABILITIES, FlanError

SEED = 0  # of the bootstrap: an interval is part of a result, so it must be reproducible


def table(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Tabulate every score of every model: the columns ``by``, score, value, low, high, n (tasks), seeds.

    Where all four capabilities were judged, their plain mean is a score too, ``overall``, as in T-Eval.
    """
    lines = []
    for key, part in rows.groupby(list(by), sort=False):
        for score, judged in part.groupby("score", sort=False):
            value = rate(judged["value"], clusters=judged["id"], seeds=judged["seed"], rng=np.random.default_rng(SEED))
            lines.append((*key, score, *astuple(value), judged["seed"].nunique()))
        if set(CAPABILITIES) <= set(part["score"]):
            lines.append((*key, "overall", *astuple(mean(part)), part["seed"].nunique()))
    return pd.DataFrame(lines, columns=[*by, "score", "value", "low", "high", "n", "seeds"])


def mean(rows: pd.DataFrame, scores: Sequence[str] = CAPABILITIES) -> Interval:
    """Return the plain mean of several scores, with its interval; ``n`` counts tasks.

    Scores that were not judged are left out: data without thoughts has no reasoning.
    """
    return _interval([rows], scores)


def gap(rows: pd.DataFrame, baseline: pd.DataFrame, scores: Sequence[str] = CAPABILITIES) -> Interval:
    """Return how much higher the mean of some scores is in ``rows`` than in ``baseline``.

    Only tasks in both count, and scores that were judged in both. If neither set varies at all, the bootstrap interval
    would have no width, and Newcombe's interval (1998) for a difference of two rates is taken. Raises FlanError if no
    task was judged by the same score in both.
    """
    return _interval([rows, baseline], scores)


def interval(row: pd.Series) -> Interval:
    """Read one row of a table of scores as an interval."""
    return Interval(row["value"], row["low"], row["high"], int(row["n"]))


def points(rates: Interval) -> Interval:
    """Turn rates into points of 100, the paper's unit."""
    return Interval(100 * rates.mean, 100 * rates.low, 100 * rates.high, rates.n)


def in_points(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn the rates of a table and their bounds into points of 100."""
    return frame.assign(**{column: 100 * frame[column] for column in ("value", "low", "high")})


def _interval(sides: Sequence[pd.DataFrame], scores: Sequence[str]) -> Interval:
    """Estimate the mean of scores on one side, or the first side's less the second's."""
    sides = [side[side["score"].isin(list(scores))] for side in sides]
    tasks = sorted(set.intersection(*(set(side["id"]) for side in sides)))
    sides = [side[side["id"].isin(tasks)] for side in sides]
    scores = [name for name in scores if all((side["score"] == name).any() for side in sides)]
    if not scores:
        raise FlanError("scores", found="no task in common", expected="judgements of the same tasks",
                        remedy="Score both models on one draw of tasks.")  # fmt: skip
    rng, cells = np.random.default_rng(SEED), [_cells(side, scores, tasks) for side in sides]
    task_draws = rng.multinomial(len(tasks), np.full(len(tasks), 1 / len(tasks)), size=RESAMPLES)
    value, resampled = 0.0, np.zeros(RESAMPLES)
    for sign, side in zip((1, -1), cells, strict=False):
        seeds = side.shape[2]
        seed_draws = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES)
        value += sign * _mean(side.sum((2, 3)))
        resampled += sign * _mean(np.einsum("vsrt,br,bt->vsb", side, seed_draws, task_draws))
    low, high = np.quantile(resampled, BOUNDS) if resampled.std() > 1e-12 else _newcombe(cells)
    return Interval(float(value), float(low), float(high), len(tasks))


def _cells(rows: pd.DataFrame, scores: Sequence[str], tasks: Sequence[str]) -> np.ndarray:
    """Return the sums and counts of judgements, of shape (2, scores, seeds, tasks)."""
    axes = [list(scores), sorted(rows["seed"].unique()), tasks]
    cells = rows.groupby(["score", "seed", "id"])["value"].agg(["sum", "count"])
    cells = cells.reindex(pd.MultiIndex.from_product(axes), fill_value=0)
    return cells.to_numpy(float).T.reshape(2, *map(len, axes))


def _mean(sums: np.ndarray) -> np.ndarray:
    """Average the rates of all scores: (2, scores) to a number, (2, scores, resamples) to (resamples,)."""
    ones, counts = sums
    return np.divide(ones, counts, out=np.zeros_like(ones), where=counts > 0).mean(0)


def _newcombe(sides: Sequence[np.ndarray]) -> tuple[float, float]:
    """Bound a mean of rates that do not vary, or the difference of two such means, by Wilson's bounds over tasks."""
    bounds = []
    for ones, counts in sides:  # (scores, seeds, tasks)
        each = [wilson(round(one.sum() / n.sum()), int(n.any(0).sum())) for one, n in zip(ones, counts, strict=True)]
        bounds.append(np.mean([(w.mean, w.low, w.high) for w in each], 0))
    if len(bounds) == 1:
        return bounds[0][1], bounds[0][2]
    (a, a_low, a_high), (b, b_low, b_high) = bounds
    return a - b - math.hypot(a - a_low, b_high - b), a - b + math.hypot(a_high - a, b - b_low)
