"""What an experiment works on: the lab's trajectories, or the real ones that ``FLAN_DATA`` names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from flanlib import sources
from flanlib.lab import talk, tasks
from flanlib.lab.tasks import Task
from flanlib.presets import Preset, data_source, source_name
from flanlib.records import Conversation, FlanError, Trajectory
from flanlib.tally import Tally

# One draw for all runs: the presets' seeds vary the training, never the material.
_SEED = 2403


@dataclass(frozen=True)
class Material:
    """Trajectories to train on, others that are only measured, and plain chat to compare with."""

    name: str
    train: list[Trajectory]
    heldout: list[Trajectory]
    natural: list[Conversation]
    tally: Tally
    tasks: dict[str, tuple[Task | Trajectory, ...]]
    """What models are scored on, by split. In the lab: ``seen tools`` (new requests for the tools of training) and
    ``held-out tools`` (the held-out trajectories, with what their answers must hold); else ``held-out requests``."""


def material(preset: Preset, data: str | None = None) -> Material:
    """Return the lab's material, or that of real data: what ``data`` names, by default ``FLAN_DATA``.

    In the lab, the held-out trajectories use tools and values that no training text has. In real data they
    are other requests, an eighth of them: a request's rows are on one side only, by a hash of its text.
    Real data brings its own plain chat where it has some; else the lab's is used.
    Raises FlanError if the real data holds no trajectory to train on or none to hold out.
    """
    natural = talk.conversations(preset.heldout, rng=_rng("natural"), split="heldout")
    data = data or data_source()
    if data is None:
        train = tasks.trajectories(preset.trajectories, rng=_rng("train"))
        asked = {"seen tools": tasks.tasks(preset.heldout, rng=_rng("seen")),
                 "held-out tools": tasks.tasks(preset.heldout, rng=_rng("heldout"), split="heldout")}
        heldout = [task.trajectory for task in asked["held-out tools"]]
        tally = Tally("lab")
        tally.keep(len(train) + len(heldout) + len(natural))
        return Material("lab", train, heldout, natural, tally, {name: tuple(made) for name, made in asked.items()})
    trajectories, conversations, tally = sources.load(data)
    requests = sorted({_hash(t.query) for t in trajectories})
    apart = set(requests[: min(preset.heldout, max(1, len(requests) // 8))])
    held = [t for t in trajectories if _hash(t.query) in apart][: preset.heldout]
    train = [t for t in trajectories if _hash(t.query) not in apart]
    if not train or not held:
        raise FlanError(data, found=f"{len(trajectories)} trajectories of {len(requests)} requests",
                        expected="two requests or more, to train on and to hold out",
                        remedy=f"Name data with more trajectories. {tally}")  # fmt: skip
    order = _rng("real").permutation(len(train))[: preset.trajectories]
    return Material(source_name(data), [train[i] for i in sorted(order)], held,
                    conversations[: preset.heldout] or natural, tally,
                    {"held-out requests": tuple(held)})  # fmt: skip


def _hash(request: str) -> str:
    return hashlib.sha256(request.strip().lower().encode()).hexdigest()


def _rng(purpose: str) -> np.random.Generator:
    return np.random.default_rng([_SEED, *purpose.encode()])
