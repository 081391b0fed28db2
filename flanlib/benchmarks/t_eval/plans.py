"""The plan part: the steps of a whole plan, matched to the right ones by their likeness, in the right order."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from flanlib.benchmarks.t_eval.embedding import Embed, cosines
from flanlib.benchmarks.t_eval.literals import value

FINISH = "FinishAction"
THRESHOLD, OLD_THRESHOLD = 0.8, 0.7
"""Likeness above which two steps can match: since February 2024 (version 2 of the data), and before."""
NAME_WEIGHT, ARGS_WEIGHT = 0.75, 0.25


class Step(NamedTuple):
    """One step of a plan: its place in the order, the tool's name, and its arguments as text."""

    id: int
    name: str
    args: str


def steps(plan: Any) -> list[Step]:
    """Read a plan, a list of {id, name, args} or a text with one. A plan with any other entry is no plan: [].

    >>> steps("My plan: [{'id': 0, 'name': 'Map.find', 'args': {'place': 'Ulm'}}]")
    [Step(id=0, name='Map.find', args="{'place': 'Ulm'}")]
    """
    try:
        listed = value(plan, "[", "]")
        return [Step(int(s["id"]), str(s["name"]), str(s["args"])) for s in listed] if type(listed) is list else []
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return []


def told(text: str, tools: Sequence[str]) -> list[Step]:
    """Read a plan told in sentences: in each, the tool named first is called, and the sentence is its arguments.

    >>> told("First use Map.find on Ulm. Then rest.\\nMap.route it.", ["Map.route", "Map.find"])
    [Step(id=0, name='Map.find', args='First use Map.find on Ulm'), Step(id=1, name='Map.route', args='Map.route it.')]
    """
    found: list[Step] = []
    for sentence in text.replace(". ", "\n").split("\n"):
        named = [tool for tool in tools if tool in sentence]
        if named:
            found.append(Step(len(found), min(named, key=sentence.find), sentence))
    return found


def score(predicted: Sequence[Step], gold: Sequence[Step], embed: Embed, *,
          threshold: float = THRESHOLD) -> dict[str, float]:  # fmt: skip
    """Score a plan against the right one, both as :func:`steps` or :func:`told` read them.

    The likeness of two steps is 0.75 times the cosine of their names plus 0.25 times that of their arguments. Of the
    pairs above the threshold, those of the greatest total weight match, each step at most once. Matches count that lie
    on one increasing sequence: n, and as T-Eval has it, at least 1. Precision is n / predicted steps, recall
    n / right ones, without a FinishAction at the end.

    Where several matchings have the same weight, rounding decides which is taken, and it can cross: of 150 published
    plans, 6 score below 1 against themselves (likeness by letters). For the same reason 1 in 500 altered plans scores
    otherwise than by T-Eval's own code if the two round vectors differently; if not, all agree.
    """
    scores = dict.fromkeys(("precision", "recall", "f1", "f1 of matches"), 0.0)
    scores["parsed"] = float(bool(predicted and gold))
    predicted, gold = _steps_done(predicted), _steps_done(gold)
    if not predicted or not gold:
        return scores
    matched = _longest_increasing(_matches(predicted, gold, embed, threshold))
    counted = max(1, matched)
    scores["precision"], scores["recall"] = counted / len(predicted), counted / len(gold)
    scores["f1"] = 2 * counted / (len(predicted) + len(gold))
    scores["f1 of matches"] = 2 * matched / (len(predicted) + len(gold))
    return scores


def _steps_done(plan: Sequence[Step]) -> list[Step]:
    """Sort the steps of a plan, without a FinishAction at its end."""
    ordered = sorted(plan, key=lambda step: step.id)
    return ordered[:-1] if ordered and ordered[-1].name == FINISH else ordered


def _matches(predicted: Sequence[Step], gold: Sequence[Step], embed: Embed, threshold: float) -> list[int]:
    """Return the places of the right steps that match the predicted ones, in the predicted order."""
    import networkx  # comes with torch

    n, both = len(predicted), [*predicted, *gold]
    names, args = np.split(embed([step.name for step in both] + [step.args for step in both]), 2)
    alike = NAME_WEIGHT * cosines(names[:n], names[n:]) + ARGS_WEIGHT * cosines(args[:n], args[n:])
    alike = alike.astype(float)  # the threshold is not to be rounded to the vectors' precision
    graph = networkx.Graph()  # edges in the order of T-Eval's own, on which the choice among equals depends
    graph.add_edges_from((("predicted", int(i)), ("gold", int(j)), {"weight": float(alike[i, j])})
                         for i, j in np.argwhere(alike > threshold))  # fmt: skip
    pairs = (dict(pair) for pair in networkx.max_weight_matching(graph))
    return [pair["gold"] for pair in sorted(pairs, key=lambda pair: pair["predicted"])]


def _longest_increasing(places: Sequence[int]) -> int:
    """Return the length of the longest increasing subsequence of numbers that differ.

    >>> _longest_increasing([2, 0, 3, 1, 4])
    3
    """
    ends: list[int] = []  # ends[k]: the smallest last number of an increasing subsequence of k + 1 numbers
    for place in places:
        at = bisect_left(ends, place)
        ends[at : at + 1] = [place]
    return len(ends)
