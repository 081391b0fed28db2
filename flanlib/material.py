"""What an experiment works on: the lab's trajectories, or the real ones that the setting ``DATA`` names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from flanlib import sources
from flanlib.lab import ordinary, tasks
from flanlib.lab.tasks import Task
from flanlib.presets import Preset, data_source, source_name
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
    data = data or data_source()
    if data is None:
        train = tasks.trajectories(preset.trajectories, rng=_rng("train"))
        asked = {"seen tools": tasks.tasks(preset.heldout, rng=_rng("seen")),
                 "held-out tools": tasks.tasks(preset.heldout, rng=_rng("heldout"), split="heldout")}
        heldout = [task.trajectory for task in asked["held-out tools"]]
        tally = Tally(LAB)
        tally.keep(len(train) + len(heldout) + sum(map(len, ours.values())))
        return Material(LAB, train, heldout, ours["train"], ours["heldout"], tally,
                        {name: tuple(made) for name, made in asked.items()})  # fmt: skip
    trajectories, conversations, tally = sources.load(data)
    requests = {_hash(t.query) for t in trajectories}
    apart = _apart(requests, preset.heldout)
    held = [t for t in trajectories if _hash(t.query) in apart][: preset.heldout]
    train = [t for t in trajectories if _hash(t.query) not in apart]
    if not train or not held:
        raise FlanError(data, found=f"{len(trajectories)} trajectories of {len(requests)} requests",
                        expected="two requests or more, to train on and to hold out",
                        remedy=f"Name data with more trajectories. {tally}")  # fmt: skip
    order = _rng("real").permutation(len(train))[: preset.trajectories]
    listened = _apart({_hash(c.turns[0].text) for c in conversations}, preset.heldout) if len(conversations) > 1 else ()
    natural = [c for c in conversations if _hash(c.turns[0].text) in listened]
    chats = [c for c in conversations if _hash(c.turns[0].text) not in listened]
    return Material(source_name(data), [train[i] for i in sorted(order)], held, [*chats, *ours["train"]],
                    natural or ours["heldout"], tally, {"held-out requests": tuple(held)})  # fmt: skip


def _apart(hashes: set[str], most: int) -> set[str]:
    """Choose what is held out: an eighth of some texts, and no more than asked for."""
    return set(sorted(hashes)[: min(most, max(1, len(hashes) // 8))])


def _hash(request: str) -> str:
    return hashlib.sha256(request.strip().lower().encode()).hexdigest()


def _rng(purpose: str) -> np.random.Generator:
    return np.random.default_rng([_SEED, *purpose.encode()])
