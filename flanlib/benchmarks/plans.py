"""Does a reply in words announce the call of a tool? A reader for any model's replies, learnt from labelled texts.

Plans to learn from are the thoughts of training tasks, and sentences of our own. What is no plan: answers of those
tasks, thoughts that end one, other sentences of ours (refusals, advice, offers, reports), and what a real chat model
replies to ordinary requests. A request told again in a thought's words ("The user asks for the fare of Ulm.") counts as
a plan: it answers nothing, and a call could follow.

How far to trust it is measured on ``data/lab/plans.jsonl``: 276 greedy replies of SmolLM2 to samples of Agent-H,
untuned and after 2,000 to 8,000 trained tokens in chat form, labelled one by one before the reader saw any.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from flanlib import store
from flanlib.benchmarks.intention import LEAST, learn, odds
from flanlib.lab import ordinary, tasks
from flanlib.lab.words import Draw, upper_first
from flanlib.presets import DATA
from flanlib.records import Trajectory
from flanlib.text.wording import words

READ = 30
"""Words of a text that are read: a plan says at once what it is about to do, a long answer may say so somewhere."""
LONG = (30, 60)
"""Words at which the length of a text is a cue of its own."""
PENALTY = 1.0
"""On squared weights."""
TIMES = 150
"""How often each sentence of ours is drawn, in other wordings each time."""

SENTENCES: dict[str, Any] = json.loads((DATA / "lab" / "sentences.json").read_text(encoding="utf-8"))
"""In the wording of :meth:`flanlib.lab.words.Draw.fill`: ``plans`` of a call; ``others``, no plans though they may be
told in the same words; and what stands in their ``slots``. ``w`` is what is wanted, ``v`` what is known already."""


@dataclass(frozen=True)
class Plans:
    """Tells plans of a call: ``weights`` are log odds by cue, see :func:`cues`; ``learnt`` names what they come from.

    Results are kept under ``learnt``, as with :class:`flanlib.benchmarks.intention.Intention`.
    """

    weights: Mapping[str, float]
    learnt: str

    @classmethod
    def of(cls, trajectories: Sequence[Trajectory], plain: Iterable[str], *, seed: int) -> Plans:
        """Learn from the thoughts and answers of training trajectories, sentences of ours, and ``plain`` replies."""
        calls = [step.thought for one in trajectories for step in one.steps]
        answers = [text for one in trajectories for text in (one.answer_thought, one.answer)]
        told = [(text, 1.0) for text in (*calls, *written(SENTENCES["plans"], trajectories, seed)) if text]
        told += [(text, 0.0) for text in (*plain, *answers, *written(SENTENCES["others"], trajectories, seed)) if text]
        weights = learn([(cues(text), is_plan) for text, is_plan in told], penalty=PENALTY)
        return cls(weights, store.digest(sorted(told), [LEAST, PENALTY, READ, *LONG]))

    def plans(self, text: str) -> bool:
        """Tell whether a text announces a call; one without any known word announces nothing."""
        return odds(cues(text), self.weights) > 0


def cues(text: str) -> set[str]:
    """Return what a text is read by: words and pairs of words at its beginning, and whether it is long.

    >>> sorted(cues("I check it."))
    ['', '^ i', 'check', 'check it', 'i', 'i check', 'it']
    """
    said = words(text)
    found = said[:READ]
    long = {f"{n} words" for n in LONG if len(said) > n}
    return {"", *found, *(f"{a} {b}" for a, b in pairwise(["^", *found])), *long}


def written(sentences: Sequence[str], trajectories: Sequence[Trajectory], seed: int) -> Iterator[str]:
    """Fill sentences of ours with what training tasks ask for, and what they find."""
    d, steps = Draw(seed, "train"), [step for trajectory in trajectories for step in trajectory.steps]
    for sentence in sentences if steps else ():
        for _ in range(TIMES):
            step = d.one(steps)
            about = " ".join(step.tool.split("_")[1:]) or step.tool
            given = next((str(value) for value in step.arguments.values()), "it")
            wanted = d.one((f"the {about} of {given}", f"the {about}", about, given, "that", "this"))
            slots = {name: d.fill(f"[{wordings}]") for name, wordings in SENTENCES["slots"].items()}
            yield upper_first(d.fill(sentence, w=wanted, v=d.one((given, "it", str(d.number(1, 999)))), **slots))


@cache
def lab_plans() -> Plans:
    """Return the reader of plans: learnt from a thousand training tasks, a third of them unserved, and plain chat."""
    shapes = (*tasks.SHAPES, *(tasks.UNSERVED, tasks.BARE) * (len(tasks.SHAPES) // 4))
    said = [turn.text for chat in ordinary.conversations("train") for turn in chat.turns if turn.role == "assistant"]
    return Plans.of(tasks.trajectories(1000, rng=np.random.default_rng(0), shapes=shapes), said, seed=0)
