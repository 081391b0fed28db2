"""What a thought says is to be done next, read from its words: call one of the offered tools, or answer.

A measure of wording, not of meaning: it knows how training thoughts announce an answer, and it takes a call to be
meant for the tool whose name and description share most words with the thought. A test says how far to trust it: how
often it accepts reference thoughts, and how often thoughts that belong elsewhere.
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
"""Texts that a cue must occur in to be told apart by."""
PENALTY = 0.1
"""On squared weights."""


@dataclass(frozen=True)
class Intention:
    """Reads intentions from words: ``weights`` are log odds of an answer, by word and by pair of words.

    ``learnt`` names what it was learnt from; by default, the weights. Results are kept under it, and not under weights
    that were learnt: these end in other digits where matrices are multiplied in another way.
    """

    weights: Mapping[str, float]
    learnt: str = ""

    def __post_init__(self) -> None:
        if not self.learnt:
            object.__setattr__(self, "learnt", store.digest(dict(self.weights)))

    @classmethod
    def of(cls, trajectories: Iterable[Trajectory]) -> Intention:
        """Learn how answers are announced from the thoughts of training trajectories."""
        told = [(thought, answer) for one in trajectories
                for thought, answer in (*((step.thought, 0.0) for step in one.steps), (one.answer_thought, 1.0))
                if thought]  # fmt: skip
        weights = learn([(_cues(thought), answer) for thought, answer in told])
        return cls(weights, store.digest(sorted(told), [LEAST, PENALTY])) if weights else cls({})

    def answers(self, thought: str) -> bool:
        """Tell whether a thought announces the answer rather than another call."""
        return odds(_cues(thought), self.weights) > 0

    def right(self, thought: str, item: Task | Trajectory, step: int) -> bool:
        """Tell whether a thought fits a step of a task (the one after the last is the answer).

        It must announce the right move, name every value that the reference thought names (of the call's
        arguments, or of what the answer holds), and no offered tool may be nearer to it than the right one.
        """
        trajectory, expected = (item.trajectory, item.expected) if isinstance(item, Task) else (item, ())
        call = trajectory.steps[step] if step < len(trajectory.steps) else None
        wanted, reference = (_values(call), call.thought) if call else (expected, trajectory.answer_thought)
        if not all(mentions(thought, value) for value in wanted if mentions(reference, value)):
            return False
        if call is None:
            return self.answers(thought)
        return not self.answers(thought) and call.tool in nearest(thought, trajectory.tools)


def nearest(thought: str, tools: Sequence[Tool]) -> set[str]:
    """Name the tools whose name and description share most words with a thought: several, or none where none does.

    >>> nearest("I need the fares of Ulm.", [Tool("get_fare", "The fare of a town."), Tool("find_mayor")])
    {'get_fare'}
    """
    counts = shared(thought, tools)
    return {tool.name for tool, count in zip(tools, counts, strict=True) if count == max(counts) > 0}


def mentions(text: str, value: str) -> int:
    """Count how often a text holds a value as whole words or as a whole number, case aside.

    >>> mentions("The fare is 12.50 in all.", "12.5"), mentions("ULM? In Ulm!", "Ulm"), mentions("It is 12.", "12")
    (0, 2, 1)
    """
    whole = rf"(?<![\w-])(?<!\d[.,]){re.escape(value)}(?![\w-]|[.,]\d)"
    return len(re.findall(whole, text, re.IGNORECASE))


@cache
def lab_intention() -> Intention:
    """Return the intentions of the lab's thoughts, learnt from a thousand training tasks, a fifth of them unserved."""
    shapes = (*tasks.SHAPES, *(tasks.UNSERVED,) * (len(tasks.SHAPES) // 4))
    return Intention.of(tasks.trajectories(1000, rng=np.random.default_rng(0), shapes=shapes))


def _values(call: Step) -> list[str]:
    listed = [v for value in call.arguments.values() for v in (value if isinstance(value, tuple) else (value,))]
    return [str(value) for value in listed if isinstance(value, (str, int, float)) and not isinstance(value, bool)]


def learn(told: Sequence[tuple[Collection[str], float]], *, penalty: float = PENALTY) -> dict[str, float]:
    """Learn from texts, given as their cues and 0 or 1, the log odds that each cue adds for 1 (logistic regression).

    Cues of fewer than LEAST texts are left out. Weights are rounded, and the same every time.
    """
    counts = Counter(cue for found, _ in told for cue in found)
    place = {cue: i for i, cue in enumerate(sorted(cue for cue, n in counts.items() if n >= LEAST))}
    if not place:
        return {}
    rows = [[place[cue] for cue in sorted(found) if cue in place] for found, _ in told]
    starts = np.cumsum([0, *map(len, rows)])
    held = csr_matrix((np.ones(starts[-1]), np.concatenate(rows).astype(int), starts), (len(rows), len(place)))
    is_one = np.array([one for _, one in told])

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        sums = held @ w
        value = np.logaddexp(0, sums).sum() - is_one @ sums + penalty / 2 * (w @ w)
        return value, held.T @ (expit(sums) - is_one) + penalty * w

    def curved(w: np.ndarray, along: np.ndarray) -> np.ndarray:
        sums = held @ w
        return held.T @ (expit(sums) * expit(-sums) * (held @ along)) + penalty * along

    # Sums end in other last digits from run to run. Newton's method goes on to the one minimum, so that rounded weights
    # are the same every time.
    found = minimize(loss, np.zeros(len(place)), jac=True, hessp=curved, method="trust-ncg", options={"gtol": 1e-9}).x
    return dict(zip(place, (found.round(5) + 0.0).tolist(), strict=True))


def odds(cues: Collection[str], weights: Mapping[str, float]) -> float:
    """Add up the weights of some cues, always in the same order."""
    return sum(weights.get(cue, 0.0) for cue in sorted(cues))


def _cues(text: str) -> set[str]:
    found = words(text)
    return {*found, *(f"{a} {b}" for a, b in pairwise(found))}
