"""Table 1 with this kit's columns: judgements of all benchmarks side by side, and their mean over what is held out.

A column is the plain mean of one or more scores, and the overall score the plain mean of the held-out columns, as the
paper's is. All intervals come from one bootstrap over tasks and seeds (:mod:`flanlib.benchmarks.scores`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple

import pandas as pd

from flanlib import paper
from flanlib.benchmarks import bfcl, scores, when2call
from flanlib.benchmarks.agent_h import score
from flanlib.intervals import Interval
from flanlib.records import CAPABILITIES, FlanError
from flanlib.report.show import number

HELD_IN, SKILL, EPISODES, AGENT_H = "held-in skill", "held-out skill", "held-out episodes", "Agent-H balanced"
CALLS, ABSTAINS, BFCL = "BFCL call", "BFCL abstain", "BFCL"
ACCURACY, F1 = "When2Call accuracy", "When2Call F1"
GENERAL, OVERALL, DRIFT = "general", "overall", "drift"
SCORES: Mapping[str, tuple[str, ...]] = {
    HELD_IN: tuple(f"held-in {name}" for name in CAPABILITIES), SKILL: CAPABILITIES, EPISODES: ("episodes",),
    AGENT_H: score.BY_STRUCTURE, BFCL: (CALLS, ABSTAINS), score.HSCORE: score.BY_KEYWORDS,
}  # fmt: skip
"""The scores that a column averages. Any other column is the score of that name."""
AVERAGED = (SKILL, EPISODES, AGENT_H, BFCL)
"""What the overall score averages: a benchmark each, all of them held out. When2Call is not among them: its rule
compares sums of log-probabilities, and a call in chat form is a name alone, so it favours calls in that form."""
SHOWN = (HELD_IN, SKILL, EPISODES, AGENT_H, CALLS, ABSTAINS, F1, GENERAL, OVERALL)


def single(judged: pd.DataFrame, splits: Sequence[str]) -> pd.DataFrame:
    """Spread the rows of :func:`flanlib.experiments.judging.judge` into judgements of 0 and 1 with the names of SCORES.

    ``splits`` are those of the tasks, the held-out one last. Episodes count there only. When2Call's choices stay in
    ``right`` and ``chosen``.
    """
    parts, held_out = [], judged[judged["split"] == splits[-1]]
    if len(splits) > 1:
        held_in = judged[(judged["split"] == splits[0]) & judged["score"].isin(CAPABILITIES)]
        parts.append(held_in.assign(score="held-in " + held_in["score"]))
    parts += [held_out, judged[judged["score"] == "general"]]
    by_benchmark = {name: judged[judged["score"] == name] for name in ("agent_h", "bfcl", "when2call")}
    if len(rows := by_benchmark["agent_h"]):
        parts.append(score.judgements(rows))
    if len(rows := by_benchmark["bfcl"]):
        of_bfcl = bfcl.judgements(rows)
        for name, kind, truth in ((CALLS, bfcl.CALL, "call"), (ABSTAINS, bfcl.ABSTAIN, "plain")):
            counts = (of_bfcl["score"] == kind) & (of_bfcl["truth"] == truth)
            parts.append(of_bfcl[counts].assign(score=name))
    if len(rows := by_benchmark["when2call"]):
        parts.append(rows.assign(score=ACCURACY))
    columns = ["model", "seed", "id", "score", "value", "right", "chosen"]
    return pd.concat([part.reindex(columns=columns) for part in parts], ignore_index=True)


def measured(rows: pd.DataFrame, columns: Iterable[str] = AVERAGED) -> list[str]:
    """List the columns of which a score is there."""
    return [column for column in columns if _there(rows, column)]


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Tabulate what is measured of SHOWN: model, column, value (0 to 1), low, high, n (tasks), seeds."""
    lines = []
    for model, part in rows.groupby("model", sort=False):
        choices = part[part["score"] == ACCURACY]
        for column in SHOWN:
            if column == F1 and len(choices):
                value = when2call.macro_f1(choices)
            elif column == OVERALL or (column != F1 and measured(rows, [column])):
                value = scores.mean(part, _scores(rows, column))
            else:
                continue
            lines.append((model, column, *astuple(value), part["seed"].nunique()))
    return pd.DataFrame(lines, columns=["model", "column", "value", "low", "high", "n", "seeds"])


def gain(rows: pd.DataFrame, model: str, other: str, column: str = OVERALL) -> Interval:
    """Return by how many points of 100 one model is ahead of another in a column. Only tasks of both count."""
    names = (other, model) if column == score.HSCORE else (model, other)  # fewer keywords give a higher HScore
    return scores.points(scores.gap(*(rows[rows["model"] == name] for name in names), _scores(rows, column)))


def above_line(rows: pd.DataFrame, start: str, middle: str, end: str, *, share: float, column: str) -> Interval:
    """Return by how many points a model lies above the straight line between two others, at a share of the way.

    Above 0, the first part of the way gains more than its share. ``share`` is one of 1/2, 1/3, 1/4 and so on.
    """
    of, parts = {name: rows[rows["model"] == name] for name in (start, middle, end)}, round(1 / share)
    seeds = of[middle]["seed"].unique()
    of = {name: pd.concat([part.assign(seed=seed) for seed in seeds]) if part["seed"].nunique() == 1 else part
          for name, part in of.items()}  # fmt: skip

    def copies(names: Sequence[str]) -> pd.DataFrame:
        return pd.concat([of[name].assign(score=f"{i} " + of[name]["score"]) for i, name in enumerate(names)])

    line = copies([end] + [start] * (parts - 1))  # its mean is the point on the line
    names = [f"{i} {name}" for i in range(parts) for name in _scores(rows, column)]
    return scores.points(scores.gap(copies([middle] * parts), line, names))


def published(models: Mapping[str, str], columns: Mapping[str, str]) -> pd.DataFrame:
    """Return the paper's Table 1 as shares of GPT-4's scores, as in its Figure 1: model, column, value.

    Both arguments map names of ours to those of ``data/paper/table1.csv``. What the paper does not report is left out.
    """
    printed = paper.table("table1").pivot(index="model", columns="score", values="value")
    lines = [(model, column, printed.loc[theirs, key] / printed.loc["GPT-4", key])
             for column, key in columns.items() for model, theirs in models.items()]  # fmt: skip
    return pd.DataFrame(lines, columns=["model", "column", "value"]).dropna()


def wide(frame: pd.DataFrame) -> pd.DataFrame:
    """Write :func:`table`, in points of 100, as one line per model with a text for each column."""
    texts = [f"{row.value:.1f} [{row.low:.1f}, {row.high:.1f}]" for row in scores.in_points(frame).itertuples()]
    order = list(dict.fromkeys(frame["column"]))
    lines = frame.assign(text=texts).pivot(index="model", columns="column", values="text")
    return lines.reindex(index=dict.fromkeys(frame["model"]), columns=order).fillna(number(None)).reset_index()


def _scores(rows: pd.DataFrame, column: str) -> list[str]:
    """List the scores of a column, for the overall one as often as it takes for every benchmark to weigh the same."""
    columns = measured(rows) if column == OVERALL else [column]
    if not columns:
        raise FlanError("overall score", found="no benchmark that is held out",
                        expected=f"one of {', '.join(AVERAGED)}", remedy="Judge the models on one.")  # fmt: skip
    averaged = [_there(rows, column) for column in columns]
    times = math.lcm(*map(len, averaged))
    return [name for names in averaged for name in names * (times // len(names))]


def _there(rows: pd.DataFrame, column: str) -> list[str]:
    """List the scores of a column that were judged: data without thoughts has no reasoning."""
    return [name for name in SCORES.get(column, (column,)) if (rows["score"] == name).any()]
