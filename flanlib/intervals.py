"""Intervals (95 %) around what was measured: bootstrap over samples, Student's t over seeds, rates of yes and no."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from flanlib.records import FlanError

BOUNDS = (0.025, 0.975)
RESAMPLES = 2000
NAN = float("nan")


@dataclass(frozen=True)
class Interval:
    """A mean, the interval around it, and how many values it comes from. NaN where it cannot be known."""

    mean: float
    low: float
    high: float
    n: int


def bootstrap(values: Sequence[float], *, weights: Sequence[float], rng: np.random.Generator) -> Interval:
    """Estimate a weighted mean over samples with its percentile bootstrap interval.

    Values in nats per byte weighted by bytes give all nats over all bytes. Fewer than two values give NaN bounds.
    """
    x, w = np.asarray(values, dtype=float), np.asarray(weights, dtype=float)
    if x.shape != w.shape or x.ndim != 1:
        raise FlanError("bootstrap", found=f"values of shape {x.shape} and weights of shape {w.shape}",
                        expected="two lists of one length", remedy="Pass one weight per value.")  # fmt: skip
    mean = float((x * w).sum() / w.sum()) if len(x) else NAN
    if len(x) < 2:
        return Interval(mean, NAN, NAN, len(x))
    draws = (rng.integers(len(x), size=len(x)) for _ in range(RESAMPLES))
    low, high = np.quantile([(x[i] * w[i]).sum() / w[i].sum() for i in draws], BOUNDS)
    return Interval(mean, float(low), float(high), len(x))


def seeds(values: Sequence[float]) -> Interval:
    """Estimate the mean over seeds with its Student-t interval, one value per seed. One seed gives NaN bounds.

    >>> seeds([1.0, 2.0, 3.0])  # 2 +- 4.303 * 1 / sqrt(3)
    Interval(mean=2.0, low=-0.484..., high=4.484..., n=3)
    """
    mean = float(np.mean(values)) if len(values) else NAN
    if len(values) < 2:
        return Interval(mean, NAN, NAN, len(values))
    half = float(stats.t.ppf(BOUNDS[1], len(values) - 1) * stats.sem(values))
    return Interval(mean, mean - half, mean + half, len(values))


def ratios(values: Sequence[float]) -> Interval:
    """Estimate the geometric mean of ratios over seeds, with :func:`seeds` on their logarithms: never below 0.

    >>> ratios([1.0, 2.0, 4.0])
    Interval(mean=2.0, low=0.357..., high=11.18..., n=3)
    """
    told = seeds(np.log(values))
    return Interval(*(float(x) for x in np.exp([told.mean, told.low, told.high])), told.n)


def rate(values: Sequence[float], *, clusters: Sequence[str], seeds: Sequence[int],
         rng: np.random.Generator) -> Interval:  # fmt: skip
    """Estimate the rate of rows that are 1 among rows of 0 and 1, with its percentile bootstrap interval.

    ``clusters`` names what each row belongs to, such as its task: rows of one task are not independent, so tasks are
    drawn, not rows. ``seeds`` names the run that a row comes from: runs are drawn too, each with all its rows.
    Where all rows agree a bootstrap has no width, and one cluster has nothing to draw from: there it is Wilson's
    interval, with every cluster counted once. ``n`` counts clusters. Raises FlanError for other values than 0 and 1,
    and for lists of different lengths.
    """
    x = np.asarray(values, dtype=float)
    if not np.isin(x, (0, 1)).all() or not len(x) == len(clusters) == len(seeds):
        raise FlanError("rate", found=f"{len(x)} values such as {x[:3]}, {len(clusters)} clusters, {len(seeds)} seeds",
                        expected="lists of one length, of values 0 and 1",
                        remedy="Pass judgements, not means.")  # fmt: skip
    if not len(x):
        return Interval(NAN, NAN, NAN, 0)
    (run, run_of), (cluster, cluster_of) = (np.unique(of, return_inverse=True) for of in (seeds, clusters))
    n, mean = len(cluster), float(x.mean())
    if mean in (0, 1) or n == 1:
        return wilson(mean, n)
    cells = np.zeros((2, len(run), n))  # how many rows of a run and a cluster are 1, and how many there are
    np.add.at(cells, (0, run_of, cluster_of), x)
    np.add.at(cells, (1, run_of, cluster_of), 1)
    drawn = (rng.multinomial(size, np.full(size, 1 / size), size=RESAMPLES) for size in (len(run), n))
    ones, rows = np.einsum("krc,br,bc->kb", cells, *drawn)
    low, high = np.nanquantile(ones / np.where(rows, rows, NAN), BOUNDS)
    return Interval(mean, float(low), float(high), n)


def wilson(mean: float, n: int) -> Interval:
    """Return Wilson's interval (1927) around a rate of n values.

    >>> wilson(1.0, 4)  # from 4 / (4 + 1.96 ** 2)
    Interval(mean=1.0, low=0.5101..., high=1.0, n=4)
    """
    z2 = float(stats.norm.ppf(BOUNDS[1])) ** 2 / n
    middle, half = (mean + z2 / 2) / (1 + z2), math.sqrt(mean * (1 - mean) * z2 + z2 * z2 / 4) / (1 + z2)
    return Interval(mean, max(0.0, middle - half), min(1.0, middle + half), n)
