"""Does a plain-text reply announce a tool call? A classifier for any model's replies, learnt from labelled texts.

Positive examples (plans) are the thoughts of training tasks, and sentences of our own. Negative examples are the
answers of those tasks, thoughts before an answer, other sentences of ours (refusals, advice, offers, reports), and a
real chat model's replies to ordinary requests. A restated request ("The user asks for the fare of Ulm.") counts as a
plan: it answers nothing, and a call could follow.

``tests/test_plans.py`` measures its accuracy on ``data/lab/plans.jsonl``: 276 replies of the default model to Agent-H,
untuned and tuned, which were labelled by hand before the classifier read any.
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
from flanlib.presets import BROUGHT
from flanlib.records import Trajectory
from flanlib.text.wording import words

READ = 30
"""Words of a text that are read: a plan announces a call at once, a long answer may do so anywhere."""
LONG = (30, 60)
"""A text of more words than this has its length as a cue."""
PENALTY = 1.0
"""L2 penalty on the weights."""
TIMES = 150
"""How often each sentence of ours is drawn, in a random wording each time."""

SENTENCES: dict[str, Any] = json.loads((BROUGHT / "lab" / "sentences.json").read_text(encoding="utf-8"))
"""Templates for :meth:`flanlib.lab.words.Draw.fill`: ``plans`` of a call, ``others`` that are no plans though they may
use the same words, and the wordings of their ``slots``. ``w`` is what is wanted, ``v`` what is known already."""


@dataclass(frozen=True)
class Plans:
    """Recognises plans of a call. ``weights`` are log odds of a plan, by cue (:func:`cues`).

    ``learnt`` is a digest of the training texts, for cache keys, as in :class:`flanlib.benchmarks.intention.Intention`.
    """

    weights: Mapping[str, float]
    learnt: str

    @classmethod
    def of(cls, trajectories: Sequence[Trajectory], plain: Iterable[str], *, seed: int) -> Plans:
        """Learn from the thoughts and answers of training trajectories, sentences of ours, and ``plain`` replies."""
        calls = [step.thought for one in trajectories for step in one.steps]
        answers = [text for one in trajectories for text in (one.answer_thought, one.answer)]
        positive = (*calls, *written(SENTENCES["plans"], trajectories, seed))
        negative = (*plain, *answers, *written(SENTENCES["others"], trajectories, seed))
        examples = [(text, label) for texts, label in ((positive, 1.0), (negative, 0.0)) for text in texts if text]
        weights = learn([(cues(text), label) for text, label in examples], penalty=PENALTY)
        return cls(weights, store.digest(sorted(examples), [LEAST, PENALTY, READ, *LONG]))

    def plans(self, text: str) -> bool:
        """Tell whether a text announces a call. A text without any known word does not."""
        return odds(cues(text), self.weights) > 0


def cues(text: str) -> set[str]:
    """Return the features of a text: a bias (""), its first words and pairs of words, and whether it is long.

    >>> sorted(cues("I check it."))
    ['', '^ i', 'check', 'check it', 'i', 'i check', 'it']
    """
    listed = words(text)
    first = listed[:READ]
    long = {f"{n} words" for n in LONG if len(listed) > n}
    return {"", *first, *(f"{a} {b}" for a, b in pairwise(["^", *first])), *long}


def written(sentences: Sequence[str], trajectories: Sequence[Trajectory], seed: int) -> Iterator[str]:
    """Fill templates with the tools and arguments of training tasks, TIMES times each."""
    d, steps = Draw(seed, "train"), [step for trajectory in trajectories for step in trajectory.steps]
    for sentence in sentences if steps else ():
        for _ in range(TIMES):
            step = d.one(steps)
            about = " ".join(step.tool.split("_")[1:]) or step.tool
            argument = next((str(value) for value in step.arguments.values()), "it")
            wanted = d.one((f"the {about} of {argument}", f"the {about}", about, argument, "that", "this"))
            slots = {name: d.fill(f"[{wordings}]") for name, wordings in SENTENCES["slots"].items()}
            yield upper_first(d.fill(sentence, w=wanted, v=d.one((argument, "it", str(d.number(1, 999)))), **slots))


@cache
def lab_plans() -> Plans:
    """Learn the classifier from a thousand training tasks, a third of them without the right tool, and plain chat."""
    shapes = (*tasks.SHAPES, *(tasks.UNSERVED, tasks.BARE) * (len(tasks.SHAPES) // 4))
    plain = [turn.text for chat in ordinary.conversations("train") for turn in chat.turns if turn.role == "assistant"]
    return Plans.of(tasks.trajectories(1000, rng=np.random.default_rng(0), shapes=shapes), plain, seed=0)
