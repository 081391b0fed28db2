"""Scores of Agent-H: the paper's, by keywords, and a structural one that no wording can please (``data/agent_h.md``).

**Keywords** (section 4.3). ``H_ReAct`` and ``H_General`` are shares of the samples whose true answer is neither a call
nor in ReAct form. The paper prints an HScore with H_ReAct twice; :func:`hscore` is what its authors meant.

**Structure** (:mod:`flanlib.benchmarks.agent_h.replies`). ``kept to words`` is the share of the same samples answered
without a call of any sort and without an agent's format; ``made the call`` the share, of those that need one, that
calls an offered tool. A degenerate reply (empty, or a loop) is neither: a model that says nothing gets 0 %, where
keywords find it perfect.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from flanlib.benchmarks import scores
from flanlib.benchmarks.agent_h.ask import rows
from flanlib.benchmarks.agent_h.replies import CALLS, DEGENERATE, FORMAT, OFFERED, read
from flanlib.benchmarks.agent_h.samples import CALL, REACT, Sample
from flanlib.benchmarks.agent_h.samples import FORMAT as FORMAT_LEVEL
from flanlib.intervals import Interval
from flanlib.records import FlanError

REACT_WORDS, GENERAL_WORDS = "Thought:|Action:", "I will use|I need to call"
WORDS, MADE, IN_FORMAT = "kept to words", "made the call", "in the format asked for"
BY_STRUCTURE = (WORDS, MADE)
BY_KEYWORDS = H_REACT, H_GENERAL = ("H_ReAct", "H_General")
BALANCED, HSCORE = "balanced", "HScore"


def hscore(h_react: float, h_general: float) -> float:
    """Return HScore of two rates, as its authors corrected it.

    >>> round(hscore(0.099, 0.119), 3)
    0.891
    """
    return 0.5 * ((1 - h_react) + (1 - h_general))


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
    react, general = (judged["reply"].str.contains(words) for words in (REACT_WORDS, GENERAL_WORDS))
    parts = {WORDS: (unasked, ~agent & (judged["kind"] != DEGENERATE)), MADE: (needed, judged["kind"] == OFFERED),
             IN_FORMAT: (judged["level"] == FORMAT_LEVEL, judged["value"] == 1),
             H_REACT: (unasked, react), H_GENERAL: (unasked, general)}  # fmt: skip
    return pd.concat([judged[where].assign(score=name, value=yes[where].astype(int))
                      for name, (where, yes) in parts.items()], ignore_index=True)  # fmt: skip


def table(judged: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Tabulate all scores, overall and by cell: the columns ``by``, cell, score, value, low, high, n, seeds.

    HScore and the balanced number stand in the rows of cell ``all``.
    """
    rows, keys = judgements(judged), [*by, "cell"]
    whole, means = rows.assign(cell="all"), []
    for key, part in whole.groupby(keys, sort=False):
        for name, of in ((BALANCED, BY_STRUCTURE), (HSCORE, BY_KEYWORDS)):
            if set(of) <= set(part["score"]):
                told = scores.mean(part, of)
                bounds = told.mean, told.low, told.high
                if name == HSCORE:  # fewer keywords are more points
                    bounds = 1 - told.mean, 1 - told.high, 1 - told.low
                means.append((*key, name, *bounds, told.n, part["seed"].nunique()))
    overall, cells = scores.table(whole, keys), scores.table(rows, keys)
    return pd.concat([overall, pd.DataFrame(means, columns=overall.columns), cells], ignore_index=True)


def gain(single: pd.DataFrame, model: str, other: str, of: str) -> Interval:
    """Return how many points of 100 more one model has than another, given :func:`judgements` with a column model.

    ``of`` is one of the scores, BALANCED or HSCORE. Only samples that both answered count.
    """
    parts = {BALANCED: BY_STRUCTURE, HSCORE: BY_KEYWORDS}.get(of, (of,))
    names = (other, model) if of == HSCORE else (model, other)  # fewer keywords are more points
    return scores.points(scores.gap(*(single[single["model"] == name] for name in names), parts))
