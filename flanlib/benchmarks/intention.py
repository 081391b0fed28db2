"""The next move that a thought announces, read from its words: call one of the offered tools, or answer.

This measures wording, not meaning. A classifier learns from training thoughts how an answer is announced. A call is
taken to mean the tool whose name and description share most words with the thought. ``tests/test_benchmarks_steps.py``
measures how often reference thoughts are accepted, and how often thoughts of other steps and tasks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import expit

from flanlib import store
from flanlib.lab import tasks
from flanlib.lab.tasks import Task
from flanlib.records import Step, Tool, Trajectory
from flanlib.text.wording import shared, words

LEAST = 5
"""A cue must occur in this many texts to get a weight."""
PENALTY = 0.1
"""L2 penalty on the weights."""


@dataclass(frozen=True)
class Intention:
    """Reads intentions from words: ``weights`` are log odds of an answer, by word and by pair of words.

    ``learnt`` is a digest of the training texts. It stands for the weights in cache keys, since the last digits of
    learnt weights depend on how a machine multiplies matrices.
    """

    weights: Mapping[str, float]
    learnt: str

    @classmethod
    def of(cls, trajectories: Iterable[Trajectory]) -> Intention:
        """Learn how answers are announced from the thoughts of training trajectories."""
        examples = []
        for one in trajectories:
            examples += [(step.thought, 0.0) for step in one.steps if step.thought]
            if one.answer_thought:
                examples.append((one.answer_thought, 1.0))
        weights = learn([(_cues(thought), is_answer) for thought, is_answer in examples])
        return cls(weights, store.digest(sorted(examples), [LEAST, PENALTY]) if weights else store.digest({}))

    def answers(self, thought: str) -> bool:
        """Tell whether a thought announces the answer rather than another call."""
        return odds(_cues(thought), self.weights) > 0

    def right(self, thought: str, item: Task | Trajectory, step: int) -> bool:
        """Tell whether a thought fits a step of a task; the step after the last one is the answer.

        It must announce the right move. It must name every value (of the call's arguments, or of the expected answer)
        that the reference thought names. For a call, no offered tool may be nearer to it than the right one.
        """
        trajectory, expected = (item.trajectory, item.expected) if isinstance(item, Task) else (item, ())
        call = trajectory.steps[step] if step < len(trajectory.steps) else None
        values, reference = (_values(call), call.thought) if call else (expected, trajectory.answer_thought)
        if not all(mentions(thought, value) for value in values if mentions(reference, value)):
            return False
        if call is None:
            return self.answers(thought)
        return not self.answers(thought) and call.tool in nearest(thought, trajectory.tools)


def nearest(thought: str, tools: Sequence[Tool]) -> set[str]:
    """Name the tools whose name and description share most words with a thought: all on a tie, none without a word.

    >>> nearest("I need the fares of Ulm.", [Tool("get_fare", "The fare of a town."), Tool("find_mayor")])
    {'get_fare'}
    """
    counts = shared(thought, tools)
    return {tool.name for tool, count in zip(tools, counts, strict=True) if count == max(counts) > 0}


def mentions(text: str, value: str) -> int:
    """Count how often a text holds a value as whole words or as a whole number, ignoring case.

    >>> mentions("The fare is 12.50 in all.", "12.5"), mentions("ULM? In Ulm!", "Ulm"), mentions("It is 12.", "12")
    (0, 2, 1)
    """
    whole = rf"(?<![\w-])(?<!\d[.,]){re.escape(value)}(?![\w-]|[.,]\d)"
    return len(re.findall(whole, text, re.IGNORECASE))


@cache
def lab_intention() -> Intention:
    """Learn the intentions of the lab's thoughts from a thousand training tasks, a fifth of them unserved."""
    shapes = (*tasks.SHAPES, *(tasks.UNSERVED,) * (len(tasks.SHAPES) // 4))
    return Intention.of(tasks.trajectories(1000, rng=np.random.default_rng(0), shapes=shapes))


def _values(call: Step) -> list[str]:
    """List a call's texts and numbers, those in lists too."""
    values = [v for value in call.arguments.values() for v in (value if isinstance(value, tuple) else (value,))]
    return [str(value) for value in values if isinstance(value, (str, int, float)) and not isinstance(value, bool)]


def learn(examples: Sequence[tuple[Collection[str], float]], *, penalty: float = PENALTY) -> dict[str, float]:
    """Fit a logistic regression without intercept: the log odds that each cue adds for label 1.

    An example is a text's cues and its label, 0 or 1. Cues of fewer than LEAST texts are left out. Weights are rounded,
    so that they are the same in every run.
    """
    counts = Counter(cue for cues, _ in examples for cue in cues)
    column = {cue: i for i, cue in enumerate(sorted(cue for cue, n in counts.items() if n >= LEAST))}
    if not column:
        return {}
    rows = [[column[cue] for cue in sorted(cues) if cue in column] for cues, _ in examples]
    starts = np.cumsum([0, *map(len, rows)])
    x = csr_matrix((np.ones(starts[-1]), np.concatenate(rows).astype(int), starts), (len(rows), len(column)))
    y = np.array([label for _, label in examples])

    def loss_and_gradient(w: np.ndarray) -> tuple[float, np.ndarray]:
        logits = x @ w
        loss = np.logaddexp(0, logits).sum() - y @ logits + penalty / 2 * (w @ w)
        return loss, x.T @ (expit(logits) - y) + penalty * w

    def hessian_product(w: np.ndarray, vector: np.ndarray) -> np.ndarray:
        logits = x @ w
        return x.T @ (expit(logits) * expit(-logits) * (x @ vector)) + penalty * vector

    # The last digits of sums differ between runs. Newton's method comes so close to the minimum, which is unique, that
    # the rounded weights do not.
    fit = minimize(loss_and_gradient, np.zeros(len(column)), jac=True, hessp=hessian_product, method="trust-ncg",
                   options={"gtol": 1e-9})  # fmt: skip
    return dict(zip(column, (fit.x.round(5) + 0.0).tolist(), strict=True))


def odds(cues: Collection[str], weights: Mapping[str, float]) -> float:
    """Return the log odds of some cues, summed in a fixed order."""
    return sum(weights.get(cue, 0.0) for cue in sorted(cues))


def _cues(text: str) -> set[str]:
    listed = words(text)
    return {*listed, *(f"{a} {b}" for a, b in pairwise(listed))}
