"""What an experiment works on: the lab's trajectories, or the real ones that the setting ``DATA`` names."""

import hashlib
from dataclasses import dataclass

import numpy as np

from flanlib import sources
from flanlib.lab import ordinary, tasks
from flanlib.lab.tasks import Task
from flanlib.presets import Preset, setting, source_name
from flanlib.records import Conversation, FlanError, Trajectory
from flanlib.tally import Tally

LAB = "lab"
# One draw for all runs: the presets' seeds vary the training, never the material.
_SEED = 2403


@dataclass(frozen=True)
class Material:
    """Trajectories to train on, others that are only measured, and plain chat of both sorts."""

    name: str
    train: list[Trajectory]
    heldout: list[Trajectory]
    chats: list[Conversation]
    """Plain chat to train on: what the data brings comes first, then the default model's replies to our requests."""
    natural: list[Conversation]
    """Plain chat that is only measured: the data's own where it has some."""
    tally: Tally
    tasks: dict[str, tuple[Task | Trajectory, ...]]
    """What models are scored on, by split. In the lab: ``seen tools`` (new requests for the tools of training) and
    ``held-out tools`` (the held-out trajectories, with what their answers must hold); else ``held-out requests``."""


def material(preset: Preset, data: str | None = None) -> Material:
    """Return the lab's material, or that of real data: what ``data`` names, by default the setting ``DATA``.

    In the lab, the held-out trajectories use tools and values that no training text has. In real data they
    are other requests, an eighth of them: a request's rows are on one side only, by a hash of its text. So is an eighth
    of its plain chat.
    Raises FlanError if the real data holds no trajectory to train on or none to hold out.
    """
    ours = {split: ordinary.conversations(split) for split in ("train", "heldout")}
    data = data or setting("DATA")
    if not data:
        train = tasks.trajectories(preset.trajectories, rng=_rng("train"))
        asked = {"seen tools": tasks.tasks(preset.heldout, rng=_rng("seen")),
                 "held-out tools": tasks.tasks(preset.heldout, rng=_rng("heldout"), split="heldout")}
        heldout = [task.trajectory for task in asked["held-out tools"]]
        tally = Tally(LAB, kept=len(train) + len(heldout) + sum(map(len, ours.values())))
        return Material(LAB, train, heldout, ours["train"], ours["heldout"], tally,
                        {name: tuple(made) for name, made in asked.items()})  # fmt: skip
    trajectories, conversations, tally = sources.load(data)
    held, train = _apart(trajectories, [t.query for t in trajectories], preset.heldout)
    if not train or not held:
        requests = {t.query.strip().lower() for t in trajectories}
        raise FlanError(data, found=f"{len(trajectories)} trajectories of {len(requests)} requests",
                        expected="two requests or more, to train on and to hold out",
                        remedy=f"Name data with more trajectories. {tally}")  # fmt: skip
    held, order = held[: preset.heldout], _rng("real").permutation(len(train))[: preset.trajectories]
    natural, chats = _apart(conversations, [c.turns[0].text for c in conversations],
                            preset.heldout if len(conversations) > 1 else 0)  # fmt: skip
    return Material(source_name(data), [train[i] for i in sorted(order)], held, [*chats, *ours["train"]],
                    natural or ours["heldout"], tally, {"held-out requests": tuple(held)})  # fmt: skip


def _apart(rows: list, texts: list[str], most: int) -> tuple[list, list]:
    """Split rows into an eighth of their texts, by a hash and no more than asked for, and the rest."""
    hashes = [hashlib.sha256(text.strip().lower().encode()).hexdigest() for text in texts]
    unique = sorted(set(hashes))
    chosen = set(unique[: min(most, max(1, len(unique) // 8))])
    marked = list(zip(rows, hashes, strict=True))
    return [row for row, mark in marked if mark in chosen], [row for row, mark in marked if mark not in chosen]


def _rng(purpose: str) -> np.random.Generator:
    return np.random.default_rng([_SEED, *purpose.encode()])
