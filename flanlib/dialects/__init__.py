"""The only place where text formats live: a trajectory written as text, and read back exactly.

``parse(render(t)) == t`` for every trajectory that a dialect can express. Read
``common`` first (the spans that all dialects write), then ``react``.
"""

from collections.abc import Iterable

import numpy as np

from flanlib.dialects import chat, json, react
from flanlib.records import Conversation, FlanError, Trajectory

DIALECTS = {"react": react, "json": json, "chat": chat}


def render(trajectory: Trajectory, dialect: str, *, seed: int = 0) -> Conversation:
    """Write a trajectory as a conversation of labelled spans.

    ``seed`` and the trajectory's id choose among elicit statements, so one row reads the same in any corpus.
    Raises FlanError for an unknown dialect.
    """
    return _module(dialect).render(trajectory, rng=np.random.default_rng([seed, *trajectory.id.encode()]))


def render_all(trajectories: Iterable[Trajectory], dialect: str, *, seed: int = 0) -> list[Conversation]:
    """Write many trajectories in one dialect."""
    return [render(trajectory, dialect, seed=seed) for trajectory in trajectories]


def parse(conversation: Conversation, dialect: str) -> Trajectory:
    """Read a conversation back into a trajectory. Raises FlanError where a turn is not in the dialect."""
    return _module(dialect).parse(conversation)


def _module(dialect: str):
    if dialect not in DIALECTS:
        raise FlanError("dialect", found=dialect, expected=", ".join(DIALECTS), remedy="Name one of them.")
    return DIALECTS[dialect]
