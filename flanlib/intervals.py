"""95 % confidence intervals: bootstrap over samples, Student's t over seeds, and intervals for rates."""

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
    """A mean, the bounds of its confidence interval, and the number n of values. NaN stands for unknown."""

    mean: float
    low: float
    high: float
    n: int


def bootstrap(values: Sequence[float], *, weights: Sequence[float], rng: np.random.Generator) -> Interval:
    """Estimate a weighted mean over samples with its percentile bootstrap interval.

    Nats per byte weighted by bytes give total nats over total bytes. Fewer than two values give NaN bounds.
    Raises FlanError unless both are lists of the same length.
    """
    x, w = np.asarray(values, dtype=float), np.asarray(weights, dtype=float)
    if x.shape != w.shape or x.ndim != 1:
        raise FlanError("bootstrap", found=f"values of shape {x.shape} and weights of shape {w.shape}",
                        expected="two lists of the same length", remedy="Pass one weight per value.")  # fmt: skip
    mean = float((x * w).sum() / w.sum()) if len(x) else NAN
    if len(x) < 2:
        return Interval(mean, NAN, NAN, len(x))
    resamples = (rng.integers(len(x), size=len(x)) for _ in range(RESAMPLES))
    low, high = np.quantile([(x[rows] * w[rows]).sum() / w[rows].sum() for rows in resamples], BOUNDS)
    return Interval(mean, float(low), float(high), len(x))


def seeds(values: Sequence[float], *, least: float = -math.inf) -> Interval:
    """Estimate the mean over seeds with its Student-t interval, one value per seed. One seed gives NaN bounds.

    ``least`` is the least value that is possible, below which the interval does not reach.

    >>> seeds([1.0, 2.0, 3.0])  # 2 +- 4.303 * 1 / sqrt(3)
    Interval(mean=2.0, low=-0.484..., high=4.484..., n=3)
    """
    n, mean = len(values), float(np.mean(values)) if len(values) else NAN
    half = float(stats.t.ppf(BOUNDS[1], n - 1) * stats.sem(values)) if n > 1 else NAN
    return Interval(mean, float(np.maximum(mean - half, least)), mean + half, n)  # NaN stays


def ratios(values: Sequence[float]) -> Interval:
    """Estimate the geometric mean of ratios over seeds. The interval is that of :func:`seeds` on the logarithms.

    >>> ratios([1.0, 2.0, 4.0])
    Interval(mean=2.0, low=0.357..., high=11.18..., n=3)
    """
    logs = seeds(np.log(values))
    return Interval(*(float(x) for x in np.exp([logs.mean, logs.low, logs.high])), logs.n)


def rate(values: Sequence[float], *, clusters: Sequence[str], seeds: Sequence[int],
         rng: np.random.Generator) -> Interval:  # fmt: skip
    """Estimate the rate of ones among values of 0 and 1, with the percentile interval of a cluster bootstrap.

    ``clusters`` names the cluster of each value, such as its task. Values of one task are not independent, so the
    bootstrap resamples tasks. ``seeds`` names the run of each value, and runs are resampled too. If all values are
    equal or there is only one cluster, the bootstrap has no width, and Wilson's interval is returned instead. ``n`` is
    the number of clusters. Raises FlanError for values other than 0 and 1, and for lists of different lengths.
    """
    x = np.asarray(values, dtype=float)
    if not np.isin(x, (0, 1)).all() or not len(x) == len(clusters) == len(seeds):
        raise FlanError("rate", found=f"{len(x)} values such as {x[:3]}, {len(clusters)} clusters, {len(seeds)} seeds",
                        expected="lists of the same length, of values 0 and 1", remedy="Pass judgements, not means.")
    if not len(x):
        return Interval(NAN, NAN, NAN, 0)
    runs, run_of = np.unique(seeds, return_inverse=True)
    tasks, task_of = np.unique(clusters, return_inverse=True)
    n, mean = len(tasks), float(x.mean())
    if mean in (0, 1) or n == 1:
        return wilson(mean, n)
    counts = np.zeros((2, len(runs), n))  # the ones, and all values, of every run and cluster
    np.add.at(counts, (0, run_of, task_of), x)
    np.add.at(counts, (1, run_of, task_of), 1)
    # How often each resample draws each run and each cluster: (RESAMPLES, runs) and (RESAMPLES, clusters).
    draws = (rng.multinomial(size, np.full(size, 1 / size), size=RESAMPLES) for size in (len(runs), n))
    ones, totals = np.einsum("krc,br,bc->kb", counts, *draws)
    low, high = np.nanquantile(ones / np.where(totals, totals, NAN), BOUNDS)
    return Interval(mean, float(low), float(high), n)


def wilson(mean: float, n: int) -> Interval:
    """Return Wilson's interval (1927) around a rate of n values.

    >>> wilson(1.0, 4)  # from 4 / (4 + 1.96 ** 2)
    Interval(mean=1.0, low=0.5101..., high=1.0, n=4)
    """
    z2 = float(stats.norm.ppf(BOUNDS[1])) ** 2 / n
    middle, half = (mean + z2 / 2) / (1 + z2), math.sqrt(mean * (1 - mean) * z2 + z2 * z2 / 4) / (1 + z2)
    return Interval(mean, max(0.0, middle - half), min(1.0, middle + half), n)
