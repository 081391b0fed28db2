"""Skill while a model learns: which names and values of held-out tasks are right, measurement by measurement.

A run keeps, for every measurement, which held-out tokens were the model's first choice (``firsts.csv``). A passage,
such as a tool's name, is right where all of its tokens are. No torch here.
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
"""What is judged while a model trains, the same task in every form."""
RISE = 0.9


class Passage(NamedTuple):
    """Something in held-out texts that is right or wrong: whose it is, which score, and its tokens.

    ``tokens`` count over the trained tokens of all these texts, in their order.
    """

    id: str
    score: str
    tokens: tuple[int, ...]


def judgements(firsts: pd.DataFrame, passages: Mapping[str, Sequence[Passage]]) -> pd.DataFrame:
    """Judge every passage at every measurement: form, seed, measured (0, 1, ..), trained_tokens, id, score, value.

    ``firsts`` has the columns form, seed, trained_tokens and firsts (a text of 0 and 1); ``passages`` are by form.
    Raises FlanError for texts that are shorter than the passages say.
    """
    found = []
    for (form, seed), run in firsts.groupby(["form", "seed"], sort=False):
        for measured, row in enumerate(run.sort_values("trained_tokens").to_dict("records")):
            right = np.frombuffer(str(row["firsts"]).encode(), np.uint8) == ord("1")
            beyond = [one.tokens[-1] for one in passages[form] if one.tokens[-1] >= len(right)]
            if beyond:
                raise FlanError(f"run of {form}, seed {seed}", found=f"{len(right)} held-out tokens measured",
                                expected=f"more than {beyond[0]}", remedy="Measure the same texts.")
            at = (form, seed, measured, row["trained_tokens"])
            found += [(*at, one.id, one.score, int(right[list(one.tokens)].all())) for one in passages[form]]
    return pd.DataFrame(found, columns=["form", "seed", "measured", "trained_tokens", "id", "score", "value"])


def curves(judged: pd.DataFrame) -> pd.DataFrame:
    """Tabulate skill by trained tokens: form, score, trained_tokens (mean over seeds), value, low, high, n (tasks)."""
    at = ["form", "measured"]
    told = scores.table(judged, at).merge(judged.groupby(at)["trained_tokens"].mean().reset_index(), on=at)
    return told[["form", "score", "trained_tokens", "value", "low", "high", "n"]]


def ahead(judged: pd.DataFrame, form: str, other: str) -> pd.DataFrame:
    """Tabulate by how many points of 100 one form is ahead of another, measurement by measurement, task by task.

    Columns: trained_tokens, score, ahead, low, high, n (tasks).
    """
    found = []
    for (score, _), part in judged.groupby(["score", "measured"]):
        sides = [part[part["form"] == name] for name in (form, other)]
        if all(map(len, sides)):
            told = scores.points(scores.gap(*sides, scores=(score,)))
            found.append((part["trained_tokens"].mean(), score, *astuple(told)))
    return pd.DataFrame(found, columns=["trained_tokens", "score", "ahead", "low", "high", "n"])


def rises(judged: pd.DataFrame) -> pd.DataFrame:
    """Tabulate after how many trained tokens a score has made nine tenths of its own rise, seed by seed.

    The rise is from the first measurement to the last; between measurements the curve is straight. NaN for a score that
    never rose. Columns: form, score, tokens, low, high, n (seeds), from, to (accuracy, means over seeds).
    """
    found = []
    for (form, score), part in judged.groupby(["form", "score"], sort=False):
        tokens, ends = [], []
        for _, run in part.groupby("seed"):
            line = run.groupby("measured").agg(x=("trained_tokens", "first"), y=("value", "mean"))
            x, y = line["x"].to_numpy(float), line["y"].to_numpy()
            bound = y[0] + RISE * (y[-1] - y[0])
            at = int(np.argmax(y >= bound - 1e-12))
            rose = y[-1] > y[0] and at
            tokens.append(float(np.interp(bound, y[at - 1 : at + 1], x[at - 1 : at + 1])) if rose else float("nan"))
            ends.append((y[0], y[-1]))
        found.append((form, score, *astuple(seeds(tokens)), *np.mean(ends, 0)))
    return pd.DataFrame(found, columns=["form", "score", "tokens", "low", "high", "n", "from", "to"])
