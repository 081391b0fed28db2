"""Evaluate a model on Agent-H: prompts in the protocol that it was tuned on, replies classified by their structure.

A sample with tools gets the system turn of the protocol's training texts. A sample without tools gets only its own
instructions, if it has any. A plain-text reply may still plan a call (:class:`flanlib.benchmarks.plans.Plans`). In chat
form a call takes two exchanges, so a plan is followed up as its user would do, by asking for the tool's name. "None of
them" takes the plan back, and a loop is degenerate. In the other protocols a plan counts as an announced call.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from flanlib.benchmarks import Generate, Prompt, ask
from flanlib.benchmarks.agent_h.formats import fits
from flanlib.benchmarks.agent_h.replies import ANNOUNCED, DEGENERATE, OFFERED, PLAIN, Reading, read, read_name
from flanlib.benchmarks.agent_h.samples import CALL, FORMAT, REACT, Sample
from flanlib.benchmarks.agent_h.samples import PLAIN as PLAIN_TRUTH
from flanlib.corpus.negatives import opening
from flanlib.dialects import DIALECTS
from flanlib.dialects.elicit import ACTION
from flanlib.dialects.written import thinking
from flanlib.records import Turn, say

COLUMNS = ("id", "level", "cell", "variety", "truth", "kind", "tool", "form", "value", "reply", "followed")


def measure(samples: Sequence[Sample], protocol: str, generate: Generate, *,
            plans: Callable[[str], bool] | None = None) -> pd.DataFrame:  # fmt: skip
    """Generate a reply to every sample and classify it: a row each, with COLUMNS.

    ``kind``, ``tool`` and ``form`` are a :class:`Reading`. ``value`` is 1 if the reply is of the right kind.
    ``followed`` is the model's reply to a follow-up. ``plans`` tells whether a plain-text reply plans a call; without
    it nothing is followed up.
    """
    turns = [opening(s.query, s.instructions, s.tools, DIALECTS[protocol].HOW) for s in samples]
    replies = ask(generate, [Prompt(f"{s.id}/{protocol}", t) for s, t in zip(samples, turns, strict=True)])
    readings = [read(reply, s.tools, s.query) for s, reply in zip(samples, replies, strict=True)]
    planned = follow_ups(samples, turns, replies, plans) if plans else {}
    followed = [""] * len(samples)
    if protocol == "chat":
        for i, name in zip(planned, ask(generate, list(planned.values())), strict=True):
            followed[i], readings[i] = name, read_name(name, samples[i].tools)
    else:
        for i in planned:
            readings[i] = Reading(ANNOUNCED, form="words")
    return rows(zip(samples, readings, replies, followed, strict=True))


def follow_ups(samples: Sequence[Sample], turns: Sequence[tuple[Turn, ...]], replies: Sequence[str],
               plans: Callable[[str], bool]) -> dict[int, Prompt]:  # fmt: skip
    """Return the prompts that ask for the tool of a planned call, by the positions of the samples that need one."""
    spoken = [thinking(reply)[1] for reply in replies]
    return {i: _follow_up(one, turns[i], spoken[i]) for i, one in enumerate(samples)
            if read(replies[i], one.tools, one.query).kind == PLAIN and plans(spoken[i])}  # fmt: skip


def rows(judged: Iterable[tuple[Sample, Reading, str, str]]) -> pd.DataFrame:
    """Tabulate samples, each with its reading, its reply, and the reply to a follow-up (empty without one)."""
    return pd.DataFrame([(s.id, s.level, s.cell, s.variety, s.truth, reading.kind, reading.tool, reading.form,
                          int(right(s, reading, reply)), reply, followed)
                         for s, reading, reply, followed in judged], columns=list(COLUMNS))  # fmt: skip


def right(sample: Sample, reading: Reading, reply: str) -> bool:
    """Tell whether a reply is of the right kind: a call, plain text, or the format that was asked for."""
    if reading.kind == DEGENERATE:
        return False
    if sample.truth == CALL:
        return reading.kind == OFFERED
    if sample.level == FORMAT:
        return fits(reply, sample.truth) and (sample.truth == REACT or not reading.agent)
    return reading.kind == PLAIN and sample.truth == PLAIN_TRUTH


def _follow_up(sample: Sample, turns: Sequence[Turn], reply: str) -> Prompt:
    """Ask for the tool's name, in a wording that depends on the sample only."""
    which = np.random.default_rng([0, *sample.id.encode()]).integers(len(ACTION))
    return Prompt(f"{sample.id}/chat/tool", (*turns, say("assistant", reply), say("user", ACTION[which])))
