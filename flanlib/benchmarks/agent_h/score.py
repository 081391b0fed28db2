"""Scores of Agent-H: the paper's, by keywords, and a structural one that no wording can please.

**Keywords** (section 4.3). ``H_ReAct`` is the share of replies with "Thought:" or "Action:", ``H_General`` of those
with "I will use" or "I need to call", among the samples whose true answer is neither a call nor in ReAct form. The
paper prints HScore = 0.5 * ((1 - H_ReAct) + (1 - H_ReAct)), which leaves H_General out; its authors confirmed that
the second term is (1 - H_General). :func:`hscore` is that; :func:`as_printed` is there to compare.

**Structure** (:mod:`flanlib.benchmarks.agent_h.replies`). ``kept to words``: of the same samples, the share answered
without a call of any sort and without an agent's format. ``made the call``: of those that need one, the share that
calls an offered tool, so that a model which never calls does not win. ``balanced`` is the plain mean of the two: a
model that always calls and one that never does both get 50 %. A degenerate reply (empty, or a loop) is neither: it is
no call, and it keeps to no words either, so a model that says nothing gets 0 %, where keywords find it perfect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from flanlib import scores
from flanlib.benchmarks.agent_h.ask import rows
from flanlib.benchmarks.agent_h.replies import CALLS, DEGENERATE, FORMAT, MALFORMED, OFFERED, read
from flanlib.benchmarks.agent_h.samples import CALL, REACT, Sample
from flanlib.benchmarks.agent_h.samples import FORMAT as FORMAT_LEVEL
from flanlib.intervals import Interval
from flanlib.records import FlanError

REACT_WORDS, GENERAL_WORDS = ("Thought:", "Action:"), ("I will use", "I need to call")
WORDS, MADE = "kept to words", "made the call"
IN_FORMAT = "in the format asked for"
BY_STRUCTURE = (WORDS, MADE)
BY_KEYWORDS = H_REACT, H_GENERAL = ("H_ReAct", "H_General")
BALANCED, HSCORE = "balanced", "HScore"


def hscore(h_react: float, h_general: float) -> float:
    """Return HScore of two rates, as its authors corrected it.

    >>> round(hscore(0.099, 0.119), 3)
    0.891
    """
    return 0.5 * ((1 - h_react) + (1 - h_general))


def as_printed(h_react: float) -> float:
    """Return HScore as the equation is printed, with H_ReAct twice.

    >>> round(as_printed(0.099), 3)
    0.901
    """
    return 0.5 * ((1 - h_react) + (1 - h_react))


def judge(samples: Sequence[Sample], replies: Mapping[str, str]) -> pd.DataFrame:
    """Read one reply per sample, of any model: the rows of :func:`flanlib.benchmarks.agent_h.ask.measure`.

    Samples without a reply are left out. Raises FlanError for a reply to an unknown sample, and without any reply.
    """
    strangers = sorted(set(replies) - {s.id for s in samples})
    if strangers or not replies:
        raise FlanError("replies", found=f"{len(strangers)} ids that no sample has, such as {strangers[:3]}"
                        if strangers else "no reply", expected="rows {id, reply} with ids of the samples",
                        remedy="Score the replies with the samples that were asked.")  # fmt: skip
    told = [(s, read(replies[s.id], s.tools, s.query), replies[s.id]) for s in samples if s.id in replies]
    return rows(told)


def judgements(judged: pd.DataFrame) -> pd.DataFrame:
    """Spread judged replies into single judgements of 0 and 1: a row per sample and score, other columns kept.

    Scores: WORDS, H_ReAct and H_General where the true answer is neither a call nor ReAct; MADE where it is a call;
    IN_FORMAT at the format level. ``seed`` is 0 where there is none.
    """
    judged = judged if "seed" in judged else judged.assign(seed=0)
    unasked, needed = ~judged["truth"].isin([CALL, REACT]), judged["truth"] == CALL
    agent = judged["kind"].isin(CALLS) | ((judged["kind"] == FORMAT) & (judged["form"] != ""))

    def has(words: Sequence[str]) -> pd.Series:
        return judged["reply"].map(lambda reply: any(word in reply for word in words)).astype(bool)

    parts = {WORDS: (unasked, ~agent & (judged["kind"] != DEGENERATE)), MADE: (needed, judged["kind"] == OFFERED),
             IN_FORMAT: (judged["level"] == FORMAT_LEVEL, judged["value"] == 1),
             H_REACT: (unasked, has(REACT_WORDS)), H_GENERAL: (unasked, has(GENERAL_WORDS))}  # fmt: skip
    return pd.concat([judged[where].assign(score=name, value=yes[where].astype(int))
                      for name, (where, yes) in parts.items()], ignore_index=True)  # fmt: skip


def table(judged: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Tabulate all scores, overall and by cell: the columns ``by``, cell, score, value, low, high, n, seeds.

    HScore and the balanced number stand in the rows of cell ``all``.
    """
    rows = judgements(judged)
    by = list(by)
    keyed = rows if by else rows.assign(model="")
    groups = by or ["model"]
    cells = scores.table(keyed, [*groups, "cell"], overall=(BALANCED,))
    whole = scores.table(keyed.assign(cell="all"), [*groups, "cell"], overall=(BALANCED,))
    means = []
    for key, part in keyed.groupby(groups, sort=False):
        for name, of, sign in ((BALANCED, BY_STRUCTURE, 1), (HSCORE, BY_KEYWORDS, -1)):
            if set(of) <= set(part["score"]):
                told = scores.mean(part, of)
                low, high = (told.low, told.high) if sign > 0 else (1 - told.high, 1 - told.low)
                means.append((*key, "all", name, told.mean if sign > 0 else 1 - told.mean, low, high, told.n,
                              part["seed"].nunique()))  # fmt: skip
    found = pd.concat([whole, pd.DataFrame(means, columns=whole.columns), cells], ignore_index=True)
    return found if by else found.drop(columns="model")


def outcomes(judged: pd.DataFrame) -> pd.DataFrame:
    """Tabulate apart what became of it: variety (or cell), truth, call, malformed, degenerate, abstain, n.

    BFCL counts a malformed call as abstaining, so that a model which fails to write its calls passes for a careful one
    (gorilla issue 1362).
    """
    told = judged.assign(variety=judged["variety"].where(judged["variety"] != "", judged["cell"]),
                         malformed=judged["kind"] == MALFORMED, degenerate=judged["kind"] == DEGENERATE,
                         call=judged["kind"].isin(set(CALLS) - {MALFORMED}))  # fmt: skip
    told["abstain"] = ~told["malformed"] & ~told["degenerate"] & ~told["call"]
    by = told.groupby(["variety", "truth"], sort=False)
    return by[["call", "malformed", "degenerate", "abstain"]].mean().assign(n=by.size()).reset_index()


def gain(single: pd.DataFrame, model: str, other: str, of: str) -> Interval:
    """Return how many points of 100 more one model has than another, given :func:`judgements` with a column model.

    ``of`` is one of the scores, BALANCED or HSCORE. Only samples that both answered count.
    """
    parts = {BALANCED: BY_STRUCTURE, HSCORE: BY_KEYWORDS}.get(of, (of,))
    pair = [single[single["model"] == name] for name in (model, other)]
    told = scores.gap(*(reversed(pair) if of == HSCORE else pair), parts)  # fewer keywords are more points
    return scores.points(told)
