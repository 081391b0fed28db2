"""Scores of Agent-H: the paper's by keywords, and ours by structure, which no wording can game (``data/agent_h.md``).

**Keywords** (section 4.3). ``H_ReAct`` and ``H_General`` are shares of the samples whose right answer is neither a call
nor in ReAct form. The paper prints HScore with H_ReAct twice; :func:`hscore` is what its authors meant.

**Structure** (:mod:`flanlib.benchmarks.agent_h.replies`). WORDS is the share of the same samples whose reply has no
call of any kind and no agent format. MADE is the share, among samples that need a call, of replies that call an offered
tool. A degenerate reply (empty, or a loop) counts for neither: a silent model gets 0 %, where keywords find it perfect.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pandas as pd

from flanlib.benchmarks import scores
from flanlib.benchmarks.agent_h.ask import rows
from flanlib.benchmarks.agent_h.replies import CALLS, DEGENERATE, FORMAT, OFFERED, PLAIN, read, read_name
from flanlib.benchmarks.agent_h.replies import INVENTED as INVENTED_TOOL
from flanlib.benchmarks.agent_h.samples import CALL, REACT, Sample
from flanlib.benchmarks.agent_h.samples import FORMAT as FORMAT_LEVEL
from flanlib.dialects.written import thinking
from flanlib.intervals import Interval
from flanlib.records import FlanError

REACT_WORDS, GENERAL_WORDS = "Thought:|Action:", "I will use|I need to call"
WORDS, MADE, IN_FORMAT = "plain reply", "tool called", "format followed"
BY_STRUCTURE = (WORDS, MADE)
BY_KEYWORDS = H_REACT, H_GENERAL = ("H_ReAct", "H_General")
BALANCED, HSCORE = "balanced", "HScore"
RIGHT, NO_CALL, CALLED, INVENTED, OTHERWISE, LOOP = (
    "right", "no call where one is needed", "tool called, none needed", "invented tool called",
    "broken or announced call", "loop or nothing")  # fmt: skip
_WRONG = {PLAIN: NO_CALL, OFFERED: CALLED, INVENTED_TOOL: INVENTED, DEGENERATE: LOOP}


def hscore(h_react: float, h_general: float) -> float:
    """Return HScore from two rates, as its authors corrected the formula.

    >>> round(hscore(0.099, 0.119), 3)
    0.891
    """
    return 0.5 * ((1 - h_react) + (1 - h_general))


def judge(samples: Sequence[Sample], replies: Mapping[str, str],
          followed: Mapping[str, str] = MappingProxyType({})) -> pd.DataFrame:  # fmt: skip
    """Classify any model's replies, by sample id, into the rows of :func:`flanlib.benchmarks.agent_h.ask.measure`.

    ``followed`` has the tools that models named in chat form after a plan, which then count. Samples without a reply
    are left out. Raises FlanError for a reply to an unknown sample, and without any reply.
    """
    unknown = sorted(set(replies) - {s.id for s in samples})
    if unknown or not replies:
        raise FlanError("replies", found=f"{len(unknown)} ids that no sample has, such as {unknown[:3]}"
                        if unknown else "no reply", expected="rows {id, reply} with ids of the samples",
                        remedy="Score the replies with the file of samples that they answer.")  # fmt: skip
    answered = [s for s in samples if s.id in replies]
    readings = [read_name(followed[s.id], s.tools) if s.id in followed else read(replies[s.id], s.tools, s.query)
                for s in answered]  # fmt: skip
    return rows((s, reading, replies[s.id], followed.get(s.id, ""))
                for s, reading in zip(answered, readings, strict=True))  # fmt: skip


def judgements(judged: pd.DataFrame) -> pd.DataFrame:
    """Spread judged replies into single judgements of 0 and 1: a row per sample and score, other columns kept.

    Scores: WORDS, H_ReAct and H_General where the right answer is neither a call nor ReAct; MADE where it is a call;
    IN_FORMAT at the format level. ``seed`` is 0 if ``judged`` has no such column.
    """
    judged = judged if "seed" in judged else judged.assign(seed=0)
    plain, needs_call = ~judged["truth"].isin([CALL, REACT]), judged["truth"] == CALL
    agent = judged["kind"].isin(CALLS) | ((judged["kind"] == FORMAT) & (judged["form"] != ""))
    spoken = judged["reply"].map(lambda reply: thinking(reply)[1])
    react, general = (spoken.str.contains(words) for words in (REACT_WORDS, GENERAL_WORDS))
    # By score: the rows that count, and which of them are 1.
    parts = {WORDS: (plain, ~agent & (judged["kind"] != DEGENERATE)), MADE: (needs_call, judged["kind"] == OFFERED),
             IN_FORMAT: (judged["level"] == FORMAT_LEVEL, judged["value"] == 1),
             H_REACT: (plain, react), H_GENERAL: (plain, general)}  # fmt: skip
    return pd.concat([judged[counts].assign(score=name, value=is_one[counts].astype(int))
                      for name, (counts, is_one) in parts.items()], ignore_index=True)  # fmt: skip


def answers(judged: pd.DataFrame) -> pd.DataFrame:
    """Tabulate how models answer in each cell: model, cell, answer, share, low, high, n (samples).

    Right is a plain reply where no call is asked for, and a call of an offered tool where one is needed. Its share
    comes with the interval of :func:`flanlib.benchmarks.scores.table`, the shares of wrong answers without.
    """
    single = judgements(judged)
    single = single[single["score"].isin(BY_STRUCTURE)]
    wrong = single["kind"].map(_WRONG).fillna(OTHERWISE)
    return shares(single.assign(answer=wrong.where(single["value"] == 0, RIGHT)))


def shares(single: pd.DataFrame) -> pd.DataFrame:
    """Tabulate judgements of 0 and 1 with columns model, cell and answer, RIGHT or a wrong one, as :func:`answers`.

    Models and cells keep their order.
    """
    of = single.groupby(["model", "cell"], sort=False)["answer"]
    table = of.value_counts(normalize=True).rename("share").reset_index()
    right = scores.table(single, ["model", "cell"])[["model", "cell", "low", "high", "n"]]
    none = right.assign(answer=RIGHT, share=0.0).merge(table[["model", "cell", "answer"]], how="left", indicator=True)
    table = pd.concat([table, none[none["_merge"] == "left_only"][list(table)]]).merge(right)
    table.loc[table["answer"] != RIGHT, ["low", "high"]] = float("nan")
    places = {name: place for place, name in enumerate([*single["model"].unique(), *single["cell"].unique()])}
    table = table.sort_values(["model", "cell"], key=lambda names: names.map(places), kind="stable", ignore_index=True)
    return table[["model", "cell", "answer", "share", "low", "high", "n"]]


def table(judged: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Tabulate all scores, overall and by cell: the columns ``by``, cell, score, value, low, high, n, seeds.

    HScore and the balanced score are in the rows of cell ``all`` only.
    """
    single, keys = judgements(judged), [*by, "cell"]
    whole, means = single.assign(cell="all"), []
    for key, part in whole.groupby(keys, sort=False):
        for name, averaged in ((BALANCED, BY_STRUCTURE), (HSCORE, BY_KEYWORDS)):
            if set(averaged) <= set(part["score"]):
                mean = scores.mean(part, averaged)
                bounds = mean.mean, mean.low, mean.high
                if name == HSCORE:  # fewer keywords give a higher HScore
                    bounds = 1 - mean.mean, 1 - mean.high, 1 - mean.low
                means.append((*key, name, *bounds, mean.n, part["seed"].nunique()))
    overall, cells = scores.table(whole, keys), scores.table(single, keys)
    return pd.concat([overall, pd.DataFrame(means, columns=overall.columns), cells], ignore_index=True)


def gain(single: pd.DataFrame, model: str, other: str, of: str) -> Interval:
    """Return by how many points of 100 one model is ahead of another, given :func:`judgements` with a column model.

    ``of`` is one of the scores, BALANCED or HSCORE. Only samples that both answered count.
    """
    averaged = {BALANCED: BY_STRUCTURE, HSCORE: BY_KEYWORDS}.get(of, (of,))
    names = (other, model) if of == HSCORE else (model, other)  # fewer keywords give a higher HScore
    return scores.points(scores.gap(*(single[single["model"] == name] for name in names), averaged))
