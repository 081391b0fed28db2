"""Put Agent-H to a model: each sample in the protocol that the model was tuned on, each reply read by its structure.

Where tools are offered, the system turn is the one that the protocol's training texts have; where none are, there is
none of it, only what the sample itself says. A reply in words may still be the plan of a call (see
:class:`flanlib.benchmarks.plans.Plans`). In chat form a call is made in two exchanges, so a plan is followed up as
its user would, by asking for the tool ("None of them" takes the plan back, a loop makes it degenerate); in the other
protocols a plan without a call counts as announced.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from flanlib.benchmarks import Generate, Prompt, ask
from flanlib.benchmarks.agent_h.formats import fits
from flanlib.benchmarks.agent_h.replies import ANNOUNCED, DEGENERATE, OFFERED, PLAIN, Reading, read, read_name
from flanlib.benchmarks.agent_h.samples import CALL, FORMAT, REACT, Sample
from flanlib.benchmarks.agent_h.samples import PLAIN as IN_WORDS
from flanlib.dialects import DIALECTS
from flanlib.dialects.common import offer
from flanlib.dialects.elicit import ACTION
from flanlib.records import Turn, say

COLUMNS = ("id", "level", "cell", "variety", "truth", "kind", "tool", "form", "value", "reply", "followed")


def measure(samples: Sequence[Sample], protocol: str, generate: Generate, *,
            plans: Callable[[str], bool] | None = None) -> pd.DataFrame:  # fmt: skip
    """Ask every sample and read the replies: a row each, with COLUMNS.

    ``kind``, ``tool`` and ``form`` are a :class:`Reading`; ``value`` is 1 where the kind of answer is the right one;
    ``followed`` is what the model said when a plan was followed up. ``plans`` tells plans of a call in words; without
    it none is looked for.
    """
    turns = [prompt(sample, protocol) for sample in samples]
    replies = ask(generate, [Prompt(f"{s.id}/{protocol}", t) for s, t in zip(samples, turns, strict=True)])
    read_ = [read(reply, s.tools, s.query) for s, reply in zip(samples, replies, strict=True)]
    planned = [i for i, told in enumerate(read_) if told.kind == PLAIN and plans and plans(replies[i])]
    followed = [""] * len(samples)
    if protocol == "chat":
        named = ask(generate, [_follow(samples[i], turns[i], replies[i]) for i in planned])
        for i, name in zip(planned, named, strict=True):
            followed[i], read_[i] = name, read_name(name, samples[i].tools)
    else:
        for i in planned:
            read_[i] = Reading(ANNOUNCED, form="words")
    return rows(zip(samples, read_, replies, followed, strict=True))


def rows(read_: Iterable[tuple]) -> pd.DataFrame:
    """Tabulate (sample, reading, reply), with what was said in a follow-up if there was one."""
    return pd.DataFrame([(s.id, s.level, s.cell, s.variety, s.truth, told.kind, told.tool, told.form,
                          int(right(s, told, reply)), reply, *(more or [""]))
                         for s, told, reply, *more in read_], columns=list(COLUMNS))  # fmt: skip


def prompt(sample: Sample, protocol: str) -> tuple[Turn, ...]:
    """Write a sample as the turns that a model tuned on a protocol is given."""
    user = say("user", sample.query)
    if sample.tools:
        return offer(sample.tools, DIALECTS[protocol].HOW, sample.instructions), user
    return (say("system", sample.instructions), user) if sample.instructions else (user,)


def right(sample: Sample, told: Reading, reply: str) -> bool:
    """Tell whether an answer is of the right kind: a call, plain words, or the format that was asked for."""
    if told.kind == DEGENERATE:
        return False
    if sample.truth == CALL:
        return told.kind == OFFERED
    if sample.level == FORMAT:
        return fits(reply, sample.truth) and (sample.truth == REACT or not told.agent)
    return told.kind == PLAIN and sample.truth == IN_WORDS


def _follow(sample: Sample, turns: Sequence[Turn], reply: str) -> Prompt:
    which = np.random.default_rng([0, *sample.id.encode()]).integers(len(ACTION))
    return Prompt(f"{sample.id}/chat/tool", (*turns, say("assistant", reply), say("user", ACTION[which])))
