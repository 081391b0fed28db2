"""Intervals around what was measured: bootstrap over samples, Student's t over seeds, and rates of yes and no."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from flanlib.records import FlanError

NAN = float("nan")


@dataclass(frozen=True)
class Interval:
    """A mean, the interval around it, and how many values it comes from. NaN where it cannot be known."""

    mean: float
    low: float
    high: float
    n: int


def bootstrap(
    values: Sequence[float],
    *,
    rng: np.random.Generator,
    weights: Sequence[float] | None = None,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Estimate a mean over samples with its percentile bootstrap interval.

    With ``weights`` the mean is weighted: values in nats per byte weighted by bytes give all nats over all bytes.
    For a paired comparison pass the differences. Fewer than two values give NaN bounds.
    """
    x = np.asarray(values, dtype=float)
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=float)
    if x.shape != w.shape or x.ndim != 1:
        raise FlanError("bootstrap", found=f"values of shape {x.shape} and weights of shape {w.shape}",
                        expected="two lists of one length", remedy="Pass one weight per value.")  # fmt: skip
    mean = float((x * w).sum() / w.sum()) if len(x) else NAN
    if len(x) < 2:
        return Interval(mean, NAN, NAN, len(x))
    draws = (rng.integers(len(x), size=len(x)) for _ in range(resamples))
    means = [(x[i] * w[i]).sum() / w[i].sum() for i in draws]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), len(x))


def seeds(values: Sequence[float], *, level: float = 0.95) -> Interval:
    """Estimate the mean over seeds with its Student-t interval, one value per seed. One seed gives NaN bounds.

    >>> seeds([1.0, 2.0, 3.0])  # 2 +- 4.303 * 1 / sqrt(3)
    Interval(mean=2.0, low=-0.484..., high=4.484..., n=3)
    """
    x = np.asarray(values, dtype=float)
    mean = float(x.mean()) if len(x) else NAN
    if len(x) < 2:
        return Interval(mean, NAN, NAN, len(x))
    half = float(stats.t.ppf((1 + level) / 2, len(x) - 1)) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return Interval(mean, mean - half, mean + half, len(x))


def rate(
    values: Sequence[float],
    *,
    rng: np.random.Generator,
    clusters: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Estimate the rate of rows that are 1 among rows of 0 and 1, with its percentile bootstrap interval.

    ``clusters`` names what each row belongs to, such as its task: rows of one task are not independent, so tasks are
    drawn, not rows. ``seeds`` names the run that a row comes from: runs are drawn too, each with all its rows.
    Where all rows agree a bootstrap has no width, and one cluster has nothing to draw from: there it is Wilson's
    interval (1927), with every cluster counted once. ``n`` counts clusters (rows without them). Raises FlanError for
    other values than 0 and 1, and for lists of different lengths.

    >>> rate([1, 1, 1, 1], rng=np.random.default_rng(0))  # 4 of 4: from 4 / (4 + 1.96 ** 2)
    Interval(mean=1.0, low=0.5101..., high=1.0, n=4)
    """
    x = np.asarray(values, dtype=float)
    of, by = (np.arange(len(x)) if clusters is None else clusters), (np.zeros(len(x)) if seeds is None else seeds)
    if not np.isin(x, (0, 1)).all() or not len(x) == len(of) == len(by):
        raise FlanError("rate", found=f"{len(x)} values such as {x[:3]}, {len(of)} clusters, {len(by)} seeds",
                        expected="lists of one length, of values 0 and 1",
                        remedy="Pass judgements, not means.")  # fmt: skip
    if not len(x):
        return Interval(NAN, NAN, NAN, 0)
    (run, run_of), (cluster, cluster_of) = (np.unique(np.asarray(a), return_inverse=True) for a in (by, of))
    n, mean = len(cluster), float(x.mean())
    if mean in (0, 1) or n == 1:
        z2 = float(stats.norm.ppf((1 + level) / 2)) ** 2 / n
        middle, half = (mean + z2 / 2) / (1 + z2), math.sqrt(mean * (1 - mean) * z2 + z2 * z2 / 4) / (1 + z2)
        return Interval(mean, max(0.0, middle - half), min(1.0, middle + half), n)
    cells = np.zeros((2, len(run), n))  # how many rows of a run and a cluster are 1, and how many there are
    np.add.at(cells, (0, run_of, cluster_of), x)
    np.add.at(cells, (1, run_of, cluster_of), 1)
    drawn = (rng.multinomial(size, np.full(size, 1 / size), size=resamples) for size in (len(run), n))
    ones, rows = np.einsum("krc,br,bc->kb", cells, *drawn)
    low, high = np.nanquantile(ones / np.where(rows, rows, NAN), [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), n)
