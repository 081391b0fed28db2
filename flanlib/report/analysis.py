"""Turn the logged losses of cached runs into the tidy tables that figures draw and claims are checked on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from itertools import product

import numpy as np
import pandas as pd

from flanlib.intervals import BOUNDS, RESAMPLES, Interval, bootstrap, ratios, seeds
from flanlib.records import CAPABILITIES, CONTENT, KINDS
from flanlib.text.tokens import Example

SEED = 0  # of the bootstrap, so that an interval is reproducible
SPLITS = ("train", "heldout")
GROUPS: dict[str, tuple[str, ...]] = {"format": ("instruction",), "content": CONTENT}
TWELFTHS = tuple(part / 12 for part in range(1, 13))
DOUBLING = (1 / 40, 1 / 20, 1 / 10, 1 / 5, 2 / 5, 4 / 5, 1.0)
"""Ends of parts of a run that double in length, for a log scale. The last is the fifth that :func:`final` covers."""


def shares(examples: Mapping[tuple[str, str], Sequence[Example]]) -> pd.DataFrame:
    """Count the trained tokens of each kind, by (source, dialect): source, dialect, kind, tokens, share, n."""
    table = []
    for (source, dialect), rows in examples.items():
        counts = np.sum([np.bincount(row.kinds, minlength=len(KINDS)) for row in rows], axis=0)
        trained = {kind: int(n) for kind, n in zip(KINDS, counts, strict=True) if kind != "context" and n}
        total = sum(trained.values())
        table += [(source, dialect, kind, n, n / total, len(rows)) for kind, n in trained.items()]
    return pd.DataFrame(table, columns=["source", "dialect", "kind", "tokens", "share", "n"])


def per_byte(rows: pd.DataFrame, kinds: Iterable[str] = KINDS) -> Interval:
    """Return nats per byte over rows of (id, kind, nats, bytes, and seed if there are several runs).

    The interval is a bootstrap over conversations, and over seeds if there is a seed column.
    """
    return _ratio(_matrix(rows, kinds))


def gap_per_byte(a: pd.DataFrame, b: pd.DataFrame, kinds: Iterable[str] = KINDS, *, paired: bool = True) -> Interval:
    """Return the difference a - b in nats per byte, with the bootstrap of :func:`per_byte`.

    With ``paired`` both hold the same conversations, in two forms for example: only ids in both count, and they are
    resampled together. If b has one seed only, as an untuned model has, it is compared with every seed of a.
    """
    if paired:
        both = set(a["id"]) & set(b["id"])
        a, b = (frame[frame["id"].isin(both)] for frame in (a, b))
    first, second = _matrix(a, kinds), _matrix(b, kinds)
    if second.shape[1] == 1:
        second = np.repeat(second, first.shape[1], 1)
    return _ratio(first, second, paired=paired)


def _matrix(rows: pd.DataFrame, kinds: Iterable[str]) -> np.ndarray:
    """Sum nats and bytes over the kinds into an array (2, seeds, conversations), with conversations sorted by id."""
    rows = rows[rows["kind"].isin(list(kinds))]
    if "seed" not in rows:
        rows = rows.assign(seed=0)
    sums = rows.groupby(["seed", "id"], sort=True)[["nats", "bytes"]].sum()
    return np.stack([sums[column].unstack("id").fillna(0).to_numpy() for column in ("nats", "bytes")])


def _ratio(*sides: np.ndarray, paired: bool = True) -> Interval:
    """Bootstrap the nats per byte of one side, or the difference of two; ``n`` is that of the first side."""
    rng, (_, _, n) = np.random.default_rng(SEED), sides[0].shape

    def resample(side: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(rng.integers(size, size=size) for size in side.shape[1:])

    def estimate(indices: Iterable[tuple]) -> float:
        sums = [side[:, seeds][:, :, ids].sum((1, 2)) for side, (seeds, ids) in zip(sides, indices, strict=True)]
        first, *rest = (nats / size for nats, size in sums)
        return float(first - sum(rest))

    estimates = []
    for _ in range(RESAMPLES if n > 1 else 0):
        first = resample(sides[0])
        estimates.append(estimate([first, *(first if paired else resample(side) for side in sides[1:])]))
    low, high = np.quantile(estimates, BOUNDS) if estimates else (np.nan, np.nan)
    return Interval(estimate([(slice(None), slice(None))] * len(sides)), float(low), float(high), n)


def distances(measured: Mapping[str, pd.DataFrame], forms: Mapping[str, str]) -> pd.DataFrame:
    """Tabulate the loss of a model on texts: text, form, nats_per_byte, low, high, n (conversations)."""
    table = [(text, forms.get(text, text), *astuple(per_byte(rows))) for text, rows in measured.items()]
    return pd.DataFrame(table, columns=["text", "form", "nats_per_byte", "low", "high", "n"])


def evened(losses: pd.DataFrame, *, ends: Sequence[float] = TWELFTHS) -> pd.DataFrame:
    """Sum the training losses over parts of each run, since single steps hold few conversations.

    Takes and returns form, seed, step (on return the part), trained_tokens, split, kind, nats, tokens, bytes. A part
    ends at a share of the run's trained tokens. Held-out losses stay as they are.
    """
    train, rest = losses[losses["split"] == "train"], losses[losses["split"] != "train"]
    end = train.groupby(["form", "seed"])["trained_tokens"].transform("max")
    train = train.assign(step=1 + np.searchsorted(ends, train["trained_tokens"] / end - 1e-9))
    reached = train.groupby(["form", "seed", "step"])["trained_tokens"].transform("max")
    by = ["form", "seed", "split", "kind", "step", "trained_tokens"]
    sums = train.assign(trained_tokens=reached).groupby(by, sort=True)[["nats", "tokens", "bytes"]].sum()
    return pd.concat([sums.reset_index(), rest], ignore_index=True)


def curves(losses: pd.DataFrame, *, split: str = "train", kinds: Sequence[str] = CAPABILITIES) -> pd.DataFrame:
    """Tabulate loss by kind against trained tokens; ``low`` and ``high`` are the range over seeds.

    Returns form, kind, trained_tokens (mean over seeds), nats_per_token, low, high, n (seeds).
    """
    rows = losses[(losses["split"] == split) & losses["kind"].isin(list(kinds))]
    grouped = rows.assign(loss=rows["nats"] / rows["tokens"]).groupby(["form", "kind", "step"], sort=True)
    frame = grouped.agg(trained_tokens=("trained_tokens", "mean"), nats_per_token=("loss", "mean"),
                        low=("loss", "min"), high=("loss", "max"), n=("seed", "nunique"))  # fmt: skip
    frame = frame[frame["n"] == frame["n"].groupby(["form", "kind"]).transform("max")]
    return frame.reset_index().drop(columns="step")


def final(losses: pd.DataFrame, form: str, kinds: Iterable[str]) -> Interval:
    """Return the training loss in nats per token over the last fifth of a run's tokens, with its seed interval."""
    return seeds(_final_by_seed(losses, form, kinds, "train"))


def final_gap(losses: pd.DataFrame, form: str, kinds: Iterable[str], less: Iterable[str]) -> Interval:
    """Return the difference of two :func:`final` losses, ``kinds`` minus ``less``, seed by seed."""
    a, b = (_final_by_seed(losses, form, group, "train") for group in (kinds, less))
    return seeds([x - y for x, y in zip(a, b, strict=True)])


def _by_seed(losses: pd.DataFrame, form: str, kinds: Iterable[str], split: str) -> list[pd.DataFrame]:
    rows = losses[(losses["form"] == form) & (losses["split"] == split) & losses["kind"].isin(list(kinds))]
    return [run for _, run in rows.groupby("seed", sort=True)]


def _final_by_seed(losses: pd.DataFrame, form: str, kinds: Iterable[str], split: str) -> list[float]:
    finals = []
    for run in _by_seed(losses, form, kinds, split):
        last = run[run["trained_tokens"] > 0.8 * run["trained_tokens"].max()]
        finals.append(last["nats"].sum() / last["tokens"].sum())
    return finals


def tokens_to_drop(losses: pd.DataFrame, form: str, kinds: Iterable[str], *, split: str = "train") -> list[float]:
    """Return, seed by seed, the trained tokens after which a loss has made nine tenths of its own total fall.

    The total fall goes from the first logged loss to the mean of the last fifth. Losses between logged points are
    interpolated linearly, and the first crossing counts. The value is NaN if the loss never fell.
    """
    ends, tokens = _final_by_seed(losses, form, kinds, split), []
    for end, run in zip(ends, _by_seed(losses, form, kinds, split), strict=True):
        curve = _by_tokens(run)
        x, y = curve.index.to_numpy(float), curve.to_numpy()
        bound = y[0] - 0.9 * (y[0] - end)
        below = np.flatnonzero(y <= bound)
        if y[0] <= end or not len(below):
            tokens.append(float("nan"))
            continue
        at = below[0]
        # np.interp() wants ascending values, and the loss falls: hence the minus signs.
        tokens.append(float(np.interp(-bound, -y[at - 1 : at + 1], x[at - 1 : at + 1]) if at else x[0]))
    return tokens


def learning(losses: pd.DataFrame, forms: Sequence[str]) -> pd.DataFrame:
    """Tabulate how each kind is learned: its loss, and the share of its own total fall still to come.

    Values are means over seeds, bounds the range over seeds. Returns form, split, kind, trained_tokens, nats_per_token,
    low, high, share (1 at the start, about 0 at the end), share_low, share_high, n (seeds). Shares refer to the mean
    fall of all runs. They are NaN for a kind whose loss rose further above its start than it ended below it.
    """
    table = []
    for form, split, kind in product(forms, SPLITS, CAPABILITIES):
        ends = _final_by_seed(losses, form, [kind], split)
        curves = [_by_tokens(run) for run in _by_seed(losses, form, [kind], split)]
        points = min(map(len, curves), default=0)
        if not points:
            continue
        loss = np.array([curve.to_numpy()[:points] for curve in curves])  # (seeds, points)
        start = loss[:, 0].mean()
        fall, rise = start - np.mean(ends), loss.mean(0).max() - start
        share = (loss - np.array(ends)[:, None]) / (fall if fall > rise else np.nan)
        tokens = np.mean([curve.index[:points] for curve in curves], 0)
        table += [(form, split, kind, tokens[i], loss[:, i].mean(), loss[:, i].min(), loss[:, i].max(),
                   share[:, i].mean(), share[:, i].min(), share[:, i].max(), len(curves)) for i in range(points)]
    return pd.DataFrame(table, columns=["form", "split", "kind", "trained_tokens", "nats_per_token", "low", "high",
                                        "share", "share_low", "share_high", "n"])  # fmt: skip


def speeds(losses: pd.DataFrame, forms: Sequence[str]) -> pd.DataFrame:
    """Tabulate how fast each kind is learned: form, split, kind, tokens (:func:`tokens_to_drop`), low, high, n."""
    table = [(form, split, kind, *astuple(seeds(tokens_to_drop(losses, form, [kind], split=split), least=0)))
             for form, split, kind in product(forms, SPLITS, CAPABILITIES)]  # fmt: skip
    return pd.DataFrame(table, columns=["form", "split", "kind", "tokens", "low", "high", "n"])


def slower(losses: pd.DataFrame, form: str, kinds: Iterable[str], than: Iterable[str]) -> Interval:
    """Return the ratio of :func:`tokens_to_drop` between two groups of kinds, as a geometric mean over seeds."""
    a, b = (tokens_to_drop(losses, form, group) for group in (kinds, than))
    return ratios([x / y for x, y in zip(a, b, strict=True)])


def _by_tokens(run: pd.DataFrame) -> pd.Series:
    """Return a run's loss in nats per token, summed over its kinds and indexed by trained tokens."""
    sums = run.groupby("trained_tokens", sort=True)[["nats", "tokens"]].sum()
    return sums["nats"] / sums["tokens"]


def contents(rows: pd.DataFrame, forms: Sequence[str]) -> pd.DataFrame:
    """Tabulate held-out loss by form and kind, and the paired difference of the first two forms.

    Returns form, kind, nats_per_byte, low, high, n (conversations).
    """
    by_form, table = {form: rows[rows["form"] == form] for form in forms}, []
    for kind in CONTENT:
        table += [(form, kind, *astuple(per_byte(of_form, [kind]))) for form, of_form in by_form.items()]
        gap = gap_per_byte(by_form[forms[0]], by_form[forms[1]], [kind])
        table.append((f"{forms[0]} - {forms[1]}", kind, *astuple(gap)))
    return pd.DataFrame(table, columns=["form", "kind", "nats_per_byte", "low", "high", "n"])


def by_kind(measured: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Tabulate nats per byte of each kind in each text: text, kind, nats_per_byte, low, high, n, bytes."""
    table = [(text, kind, *astuple(per_byte(rows, [kind])), int(rows[rows["kind"] == kind]["bytes"].sum()))
             for text, rows in measured.items() for kind in KINDS if (rows["kind"] == kind).any()]  # fmt: skip
    return pd.DataFrame(table, columns=["text", "kind", "nats_per_byte", "low", "high", "n", "bytes"])


def length_ratio(a: Sequence[Example], b: Sequence[Example]) -> Interval:
    """Return the tokens of a over the tokens of b, bootstrapped over the conversations that both hold."""
    sizes = [{row.id: len(row) for row in rows} for rows in (a, b)]
    both = sorted(set(sizes[0]) & set(sizes[1]))
    pairs = np.array([[size[id] for id in both] for size in sizes], dtype=float)
    # A ratio of sums is the mean of the ratios, weighted by their denominators.
    return bootstrap(pairs[0] / pairs[1], weights=pairs[1], rng=np.random.default_rng(SEED))
