"""From the rows of cached runs to the tidy tables that figures draw and claims are checked on. No torch here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from itertools import product

import numpy as np
import pandas as pd

from flanlib.intervals import BOUNDS, RESAMPLES, Interval, bootstrap, ratios, seeds
from flanlib.records import CAPABILITIES, CONTENT, KINDS
from flanlib.text.tokens import Example

SEED = 0  # of the bootstrap: an interval is part of a result, so it must come out the same again
GROUPS: dict[str, tuple[str, ...]] = {"format": ("instruction",), "content": CONTENT}


def shares(examples: Mapping[tuple[str, str], Sequence[Example]]) -> pd.DataFrame:
    """Count the trained tokens of each kind, by (source, dialect): source, dialect, kind, tokens, share, n."""
    found = []
    for (source, dialect), rows in examples.items():
        counts = np.sum([np.bincount(row.kinds, minlength=len(KINDS)) for row in rows], axis=0)
        trained = {kind: int(n) for kind, n in zip(KINDS, counts, strict=True) if kind != "context" and n}
        total = sum(trained.values())
        found += [(source, dialect, kind, n, n / total, len(rows)) for kind, n in trained.items()]
    return pd.DataFrame(found, columns=["source", "dialect", "kind", "tokens", "share", "n"])


def per_byte(rows: pd.DataFrame, kinds: Iterable[str] = KINDS) -> Interval:
    """Return nats per byte over rows of (id, kind, nats, bytes, and a seed if there are several).

    The interval is a bootstrap over conversations, and over seeds too where a column tells them apart.
    """
    return _ratio(_matrix(rows, kinds))


def gap_per_byte(a: pd.DataFrame, b: pd.DataFrame, kinds: Iterable[str] = KINDS, *, paired: bool = True) -> Interval:
    """Return the difference a - b in nats per byte, as :func:`per_byte`.

    With ``paired`` the two hold the same conversations (in two forms, say): only ids in both count, and they are
    resampled together. A model without seeds, such as one before tuning, is held against every seed of the other.
    """
    if paired:
        both = set(a["id"]) & set(b["id"])
        a, b = (frame[frame["id"].isin(both)] for frame in (a, b))
    one, two = _matrix(a, kinds), _matrix(b, kinds)
    if two.shape[1] == 1:
        two = np.repeat(two, one.shape[1], 1)
    return _ratio(one, two, paired=paired)


def _matrix(rows: pd.DataFrame, kinds: Iterable[str]) -> np.ndarray:
    """Sum nats and bytes over the kinds: an array (2, seeds, conversations), conversations sorted by id."""
    rows = rows[rows["kind"].isin(list(kinds))]
    if "seed" not in rows:
        rows = rows.assign(seed=0)
    sums = rows.groupby(["seed", "id"], sort=True)[["nats", "bytes"]].sum()
    return np.stack([sums[column].unstack("id").fillna(0).to_numpy() for column in ("nats", "bytes")])


def _ratio(*sides: np.ndarray, paired: bool = True) -> Interval:
    """Bootstrap nats over bytes of one side, or what the first has more than the second; ``n`` is the first's."""
    rng, (_, _, n) = np.random.default_rng(SEED), sides[0].shape

    def drawn(side: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(rng.integers(size, size=size) for size in side.shape[1:])

    def told(picked: Iterable[tuple]) -> float:
        sums = [side[:, seed][:, :, row].sum((1, 2)) for side, (seed, row) in zip(sides, picked, strict=True)]
        first, *less = (nats / size for nats, size in sums)
        return float(first - sum(less))

    means = []
    for _ in range(RESAMPLES if n > 1 else 0):
        first = drawn(sides[0])
        means.append(told([first, *(first if paired else drawn(side) for side in sides[1:])]))
    low, high = np.quantile(means, BOUNDS) if means else (np.nan, np.nan)
    return Interval(told([(slice(None), slice(None))] * len(sides)), float(low), float(high), n)


def distances(measured: Mapping[str, pd.DataFrame], forms: Mapping[str, str]) -> pd.DataFrame:
    """Tabulate the distance of texts from a model: text, form, nats_per_byte, low, high, n (conversations)."""
    found = [(text, forms.get(text, text), *astuple(per_byte(rows))) for text, rows in measured.items()]
    return pd.DataFrame(found, columns=["text", "form", "nats_per_byte", "low", "high", "n"])


def evened(losses: pd.DataFrame, *, parts: int = 12) -> pd.DataFrame:
    """Sum training losses over equal parts of each run, by trained tokens: single steps hold single conversations.

    Takes and returns form, seed, step (then the part), trained_tokens, split, kind, nats, tokens, bytes; what is
    measured on held-out texts stays as it is.
    """
    train, rest = losses[losses["split"] == "train"], losses[losses["split"] != "train"]
    end = train.groupby(["form", "seed"])["trained_tokens"].transform("max")
    train = train.assign(step=np.ceil(parts * train["trained_tokens"] / end).astype(int))
    reached = train.groupby(["form", "seed", "step"])["trained_tokens"].transform("max")
    by = ["form", "seed", "split", "kind", "step", "trained_tokens"]
    sums = train.assign(trained_tokens=reached).groupby(by, sort=True)[["nats", "tokens", "bytes"]].sum()
    return pd.concat([sums.reset_index(), rest], ignore_index=True)


def curves(losses: pd.DataFrame, *, split: str = "train", kinds: Sequence[str] = CAPABILITIES) -> pd.DataFrame:
    """Tabulate loss by kind against trained tokens, the band being the range over seeds.

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
    return seeds(_final_by_seed(losses, form, kinds, "train", 0.2))


def final_gap(losses: pd.DataFrame, form: str, kinds: Iterable[str], less: Iterable[str], *, split: str = "train",
              share: float = 0.2) -> Interval:  # fmt: skip
    """Return the difference of two groups of kinds in :func:`final`, seed by seed."""
    a, b = (_final_by_seed(losses, form, group, split, share) for group in (kinds, less))
    return seeds([x - y for x, y in zip(a, b, strict=True)])


def _by_seed(losses: pd.DataFrame, form: str, kinds: Iterable[str], split: str) -> list[pd.DataFrame]:
    rows = losses[(losses["form"] == form) & (losses["split"] == split) & losses["kind"].isin(list(kinds))]
    return [run for _, run in rows.groupby("seed", sort=True)]


def _final_by_seed(losses: pd.DataFrame, form: str, kinds: Iterable[str], split: str, share: float) -> list[float]:
    found = []
    for run in _by_seed(losses, form, kinds, split):
        last = run[run["trained_tokens"] > (1 - share) * run["trained_tokens"].max()]
        found.append(last["nats"].sum() / last["tokens"].sum())
    return found


def tokens_to_drop(losses: pd.DataFrame, form: str, kinds: Iterable[str], *, split: str = "train",
                   drop: float = 0.9) -> list[float]:  # fmt: skip
    """Return, seed by seed, the trained tokens after which a loss has made ``drop`` of its own whole fall.

    The fall is from the first logged loss to the mean of the last fifth. The place is where the curve, straight
    between logged points, first comes so low (the value is NaN if the loss never fell).
    """
    ends, found = _final_by_seed(losses, form, kinds, split, 0.2), []
    for end, run in zip(ends, _by_seed(losses, form, kinds, split), strict=True):
        loss = _by_tokens(run)
        start = loss.iloc[0]
        bound = start - drop * (start - end)
        low = np.flatnonzero(loss.to_numpy() <= bound)
        if start <= end or not len(low):
            found.append(float("nan"))
            continue
        at, (x, y) = low[0], (loss.index.to_numpy(float), loss.to_numpy())
        found.append(float(np.interp(-bound, -y[at - 1 : at + 1], x[at - 1 : at + 1]) if at else x[0]))
    return found


def learning(losses: pd.DataFrame, forms: Sequence[str], splits: Sequence[str] = ("train", "heldout")) -> pd.DataFrame:
    """Tabulate how each kind is learned: its loss, and the share of its own whole fall still to come.

    Means over seeds, with the range over seeds as band. Returns form, split, kind, trained_tokens, nats_per_token,
    low, high, share (1 at the start, about 0 at the end), share_low, share_high, n (seeds). Shares are of the mean fall
    of all runs, and NaN for a kind whose loss rose further above its start than it ended below: nothing to share out.
    """
    found = []
    for form, split, kind in product(forms, splits, CAPABILITIES):
        ends = _final_by_seed(losses, form, [kind], split, 0.2)
        curves = [_by_tokens(run) for run in _by_seed(losses, form, [kind], split)]
        points = min(map(len, curves), default=0)
        if not points:
            continue
        raw = np.array([curve.to_numpy()[:points] for curve in curves])
        fall, rise = raw[:, 0].mean() - np.mean(ends), raw.mean(0).max() - raw[:, 0].mean()
        share = (raw - np.array(ends)[:, None]) / (fall if fall > rise else np.nan)
        tokens = np.mean([curve.index[:points] for curve in curves], 0)
        found += [(form, split, kind, tokens[i], raw[:, i].mean(), raw[:, i].min(), raw[:, i].max(),
                   share[:, i].mean(), share[:, i].min(), share[:, i].max(), len(curves)) for i in range(points)]
    return pd.DataFrame(found, columns=["form", "split", "kind", "trained_tokens", "nats_per_token", "low", "high",
                                        "share", "share_low", "share_high", "n"])  # fmt: skip


def speeds(losses: pd.DataFrame, forms: Sequence[str], *, splits: Sequence[str] = ("train", "heldout"),
           kinds: Sequence[str] = CAPABILITIES) -> pd.DataFrame:  # fmt: skip
    """Tabulate how fast each kind is learned: form, split, kind, tokens (:func:`tokens_to_drop`), low, high, n."""
    found = []
    for form, split, kind in product(forms, splits, kinds):
        told = seeds(tokens_to_drop(losses, form, [kind], split=split))
        found.append((form, split, kind, told.mean, told.low, told.high, told.n))
    return pd.DataFrame(found, columns=["form", "split", "kind", "tokens", "low", "high", "n"])


def slower(losses: pd.DataFrame, form: str, kinds: Iterable[str], than: Iterable[str], *,
           split: str = "train") -> Interval:  # fmt: skip
    """Return how many times the trained tokens one group of kinds takes for nine tenths of its fall, seed by seed."""
    a, b = (tokens_to_drop(losses, form, group, split=split) for group in (kinds, than))
    return ratios([x / y for x, y in zip(a, b, strict=True)])


def _by_tokens(run: pd.DataFrame) -> pd.Series:
    """Return a run's loss in nats per token over its kinds, by trained tokens."""
    sums = run.groupby("trained_tokens", sort=True)[["nats", "tokens"]].sum()
    return sums["nats"] / sums["tokens"]


def contents(rows: pd.DataFrame, forms: Sequence[str]) -> pd.DataFrame:
    """Tabulate held-out loss by form and kind, and the paired difference of the first two forms.

    Returns form, kind, nats_per_byte, low, high, n (conversations).
    """
    sides, found = {form: rows[rows["form"] == form] for form in forms}, []
    for kind in CONTENT:
        found += [(form, kind, *astuple(per_byte(side, [kind]))) for form, side in sides.items()]
        gap = gap_per_byte(sides[forms[0]], sides[forms[1]], [kind])
        found.append((f"{forms[0]} - {forms[1]}", kind, *astuple(gap)))
    return pd.DataFrame(found, columns=["form", "kind", "nats_per_byte", "low", "high", "n"])


def by_kind(measured: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Tabulate nats per byte of each kind in each text: text, kind, nats_per_byte, low, high, n, bytes."""
    found = [(text, kind, *astuple(per_byte(rows, [kind])), int(rows[rows["kind"] == kind]["bytes"].sum()))
             for text, rows in measured.items() for kind in KINDS if (rows["kind"] == kind).any()]  # fmt: skip
    return pd.DataFrame(found, columns=["text", "kind", "nats_per_byte", "low", "high", "n", "bytes"])


def length_ratio(a: Sequence[Example], b: Sequence[Example]) -> Interval:
    """Return all tokens of a over all tokens of b, on the conversations that both hold, bootstrapped over them."""
    sizes = [{row.id: len(row) for row in rows} for rows in (a, b)]
    both = sorted(set(sizes[0]) & set(sizes[1]))
    pairs = np.array([[size[id] for id in both] for size in sizes], dtype=float)
    # A ratio of sums is the mean of the ratios, weighted by what they are divided by.
    return bootstrap(pairs[0] / pairs[1], weights=pairs[1], rng=np.random.default_rng(SEED))
