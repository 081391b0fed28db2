"""Skill during training: which names and values of held-out tasks are right at each measurement.

At every measurement, a training run records which held-out tokens are the model's first choice (``firsts.csv``). A
passage, such as a tool's name, is right if all of its tokens are. No torch here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import NamedTuple

import numpy as np
import pandas as pd

from flanlib.benchmarks import scores
from flanlib.intervals import seeds
from flanlib.records import FlanError

READ = ("retrieval", "understanding")
"""Scores that are measured during training: every form has them."""
RISE = 0.9
"""Share of a score's own rise that :func:`rises` waits for."""


class Passage(NamedTuple):
    """A name or value in held-out texts: the task's ``id``, the score it counts for, and its tokens.

    ``tokens`` are indices into the trained tokens of all held-out texts, one text after another.
    """

    id: str
    score: str
    tokens: tuple[int, ...]


def judgements(firsts: pd.DataFrame, passages: Mapping[str, Sequence[Passage]]) -> pd.DataFrame:
    """Judge every passage at every measurement: form, seed, measured (0, 1, ..), trained_tokens, id, score, value.

    ``firsts`` has the columns form, seed, trained_tokens and firsts (a text of 0 and 1, one per held-out token).
    ``passages`` are by form. Raises FlanError for a passage beyond the measured tokens.
    """
    rows = []
    for (form, seed), run in firsts.groupby(["form", "seed"], sort=False):
        for measured, row in enumerate(run.sort_values("trained_tokens").to_dict("records")):
            right = np.frombuffer(str(row["firsts"]).encode(), np.uint8) == ord("1")
            beyond = [one.tokens[-1] for one in passages[form] if one.tokens[-1] >= len(right)]
            if beyond:
                raise FlanError(f"run of {form}, seed {seed}", found=f"{len(right)} held-out tokens measured",
                                expected=f"more than {beyond[0]}", remedy="Measure the same texts.")
            key = (form, seed, measured, row["trained_tokens"])
            rows += [(*key, one.id, one.score, int(right[list(one.tokens)].all())) for one in passages[form]]
    return pd.DataFrame(rows, columns=["form", "seed", "measured", "trained_tokens", "id", "score", "value"])


def curves(judged: pd.DataFrame) -> pd.DataFrame:
    """Tabulate skill by trained tokens: form, score, trained_tokens (mean over seeds), value, low, high, n (tasks)."""
    key = ["form", "measured"]
    tokens = judged.groupby(key)["trained_tokens"].mean().reset_index()
    table = scores.table(judged, key).merge(tokens, on=key)
    return table[["form", "score", "trained_tokens", "value", "low", "high", "n"]]


def ahead(judged: pd.DataFrame, form: str, other: str) -> pd.DataFrame:
    """Tabulate by how many points of 100 one form is ahead of another at each measurement, paired by task.

    Columns: trained_tokens, score, ahead, low, high, n (tasks).
    """
    rows = []
    for (score, _), part in judged.groupby(["score", "measured"]):
        sides = [part[part["form"] == name] for name in (form, other)]
        if all(map(len, sides)):
            lead = scores.points(scores.gap(*sides, scores=(score,)))
            rows.append((part["trained_tokens"].mean(), score, *astuple(lead)))
    return pd.DataFrame(rows, columns=["trained_tokens", "score", "ahead", "low", "high", "n"])


def rises(judged: pd.DataFrame) -> pd.DataFrame:
    """Tabulate after how many trained tokens a score has made nine tenths of its own rise, as a mean over seeds.

    The rise is from the first measurement to the last, interpolated linearly in between. NaN for a score that never
    rose. Columns: form, score, tokens, low, high, n (seeds), from, to (accuracy, means over seeds).
    """
    rows = []
    for (form, score), part in judged.groupby(["form", "score"], sort=False):
        tokens, ends = [], []
        for _, run in part.groupby("seed"):
            curve = run.groupby("measured").agg(x=("trained_tokens", "first"), y=("value", "mean"))
            x, y = curve["x"].to_numpy(float), curve["y"].to_numpy()
            target = y[0] + RISE * (y[-1] - y[0])
            at = int(np.argmax(y >= target - 1e-12))
            rose = y[-1] > y[0] and at
            tokens.append(float(np.interp(target, y[at - 1 : at + 1], x[at - 1 : at + 1])) if rose else float("nan"))
            ends.append((y[0], y[-1]))
        rows.append((form, score, *astuple(seeds(tokens, least=0)), *np.mean(ends, 0)))
    return pd.DataFrame(rows, columns=["form", "score", "tokens", "low", "high", "n", "from", "to"])
