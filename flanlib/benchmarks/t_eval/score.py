"""Average the scores of single replies over a part, and the parts to T-Eval's six abilities and their mean."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from flanlib.benchmarks.t_eval import plans, single
from flanlib.benchmarks.t_eval.embedding import Embed
from flanlib.benchmarks.t_eval.reading import (
    CALL_JSON,
    INSTRUCT,
    PLAN_JSON,
    PLAN_STR,
    REASON,
    RETRIEVE,
    REVIEW,
    UNDERSTAND,
    Part,
    form,
    meta,
)
from flanlib.intervals import bootstrap
from flanlib.records import FlanError

NEEDS_VECTORS = (PLAN_JSON, PLAN_STR, CALL_JSON, REASON)
ABILITIES = {
    "instruct": ((INSTRUCT, "json format"), (INSTRUCT, "json args"), (INSTRUCT, "string format"),
                 (INSTRUCT, "string args")),
    "plan": ((PLAN_STR, "f1"), (PLAN_JSON, "f1")),
    "reason": ((REASON, "thought"), (CALL_JSON, "thought")),
    "retrieve": ((RETRIEVE, "name"), (CALL_JSON, "name")),
    "understand": ((UNDERSTAND, "args"), (CALL_JSON, "args")),
    "review": ((REVIEW, "review"),),
}  # fmt: skip
"""The scores whose plain mean an ability is."""


def judge(part: Part, replies: Mapping[str, str], embed: Embed | None = None, *,
          threshold: float = plans.THRESHOLD) -> pd.DataFrame:  # fmt: skip
    """Score the replies to a part: rows of part, id, score, value. Rows without a reply are left out.

    ``embed`` is needed for the parts in NEEDS_VECTORS. Raises FlanError for a reply to an unknown row.
    """
    unknown = sorted(set(replies) - set(part.rows))
    if unknown:
        raise FlanError("replies", found=f"{len(unknown)} ids that no row has, such as {unknown[:3]}",
                        expected=f"ids of {part.name}", remedy="Score replies with the file that they answer.")
    lines = [(part.name, id, score, number) for id, row in part.rows.items() if id in replies
             for score, number in one(part.name, row, replies[id], embed, threshold).items()]  # fmt: skip
    return pd.DataFrame(lines, columns=["part", "id", "score", "value"])


def one(part: str, row: Mapping[str, Any], reply: str, embed: Embed | None,
        threshold: float = plans.THRESHOLD) -> dict[str, float]:  # fmt: skip
    """Score one reply to a row of a part, by the names of its scores."""
    gold = row["ground_truth"]
    if part == INSTRUCT:
        return single.instruct(reply, gold, row["template"], json=form(part, row) == "json")
    if part in (PLAN_JSON, PLAN_STR):
        plan = plans.steps(reply) if part == PLAN_JSON else plans.told(reply, meta(row)["API_list"])
        return plans.score(plan, plans.steps(gold), embed, threshold=threshold)
    if part == CALL_JSON:
        return single.call(reply, gold, embed)
    if part == REVIEW:
        return single.review(reply, gold)
    right = single.fields(gold, told=True)
    if part == REASON:
        return single.reason(reply, right, embed)
    return (single.retrieve if part == RETRIEVE else single.understand)(reply, right)


def table(judged: pd.DataFrame) -> pd.DataFrame:
    """Average every score of every part, with its bootstrap interval: part, score, value, low, high, n."""
    lines = []
    for (part, score), rows in judged.groupby(["part", "score"], sort=False):
        mean = bootstrap(rows["value"], weights=np.ones(len(rows)), rng=np.random.default_rng(0))
        lines.append((part, score, mean.mean, mean.low, mean.high, mean.n))
    return pd.DataFrame(lines, columns=["part", "score", "value", "low", "high", "n"])


def abilities(table: pd.DataFrame) -> dict[str, float]:
    """Average scores to abilities, in points of 100, and all six to the overall score. What lacks a part is left out.

    >>> abilities(pd.DataFrame({"part": [REVIEW], "score": ["review"], "value": [0.5]}))
    {'review': 50.0}
    """
    values = table.set_index(["part", "score"])["value"].to_dict()
    points = {ability: 100 * float(np.mean([values[key] for key in averaged]))
              for ability, averaged in ABILITIES.items() if set(averaged) <= values.keys()}  # fmt: skip
    return points | ({"overall": float(np.mean(list(points.values())))} if len(points) == len(ABILITIES) else {})
