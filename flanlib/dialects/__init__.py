"""The text formats (dialects): each writes a trajectory as a conversation and reads it back exactly.

``parse(render(t)) == t`` for every trajectory that a dialect can express. No other package knows a format. Read
``common`` first (the spans that all dialects write), then ``react``.
"""

from collections.abc import Iterable

import numpy as np

from flanlib.dialects import chat, json, react
from flanlib.records import Conversation, FlanError, Trajectory

DIALECTS = {"react": react, "json": json, "chat": chat}


def render(trajectory: Trajectory, dialect: str, *, seed: int = 0) -> Conversation:
    """Write a trajectory as a conversation of labelled spans.

    ``seed`` and the trajectory's id choose the elicit statements, so a row has the same text in every corpus.
    Raises FlanError for an unknown dialect.
    """
    return _module(dialect).render(trajectory, rng=np.random.default_rng([seed, *trajectory.id.encode()]))


def render_all(trajectories: Iterable[Trajectory], dialect: str, *, seed: int = 0) -> list[Conversation]:
    """Write many trajectories in one dialect."""
    return [render(trajectory, dialect, seed=seed) for trajectory in trajectories]


def parse(conversation: Conversation, dialect: str) -> Trajectory:
    """Read a conversation back into a trajectory. Raises FlanError if a turn is not in the dialect."""
    return _module(dialect).parse(conversation)


def _module(dialect: str):
    if dialect not in DIALECTS:
        raise FlanError("dialect", found=dialect, expected=", ".join(DIALECTS), remedy="Name one of them.")
    return DIALECTS[dialect]
