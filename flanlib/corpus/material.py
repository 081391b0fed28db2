"""The data of an experiment: the lab's trajectories, or the real ones that the setting ``DATA`` names."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flanlib import sources
from flanlib.lab import ordinary, tasks
from flanlib.lab.tasks import Task
from flanlib.presets import Preset, setting, source_name
from flanlib.records import Conversation, FlanError, Trajectory
from flanlib.tally import Tally

LAB = "lab"
# All runs share one draw of the data: the presets' seeds vary only the training.
_SEED = 2403


@dataclass(frozen=True)
class Material:
    """Trajectories and plain chat, each in a part to train on and a part that is only evaluated on."""

    name: str
    train: list[Trajectory]
    heldout: list[Trajectory]
    chats: list[Conversation]
    """Plain chat to train on: first the data's own, then the default model's replies to our requests."""
    natural: list[Conversation]
    """Held-out plain chat: the data's own if it has any, else replies of the default model."""
    tally: Tally
    tasks: dict[str, tuple[Task | Trajectory, ...]]
    """What models are scored on, by split. In the lab: ``seen tools`` (new requests for the tools of training) and
    ``held-out tools`` (the held-out trajectories, with what their answers must hold); else ``held-out requests``."""


def material(preset: Preset, data: str | None = None) -> Material:
    """Return the lab's material, or that of the real data that ``data`` (default: the setting ``DATA``) names.

    In the lab, the held-out trajectories use tools and values that no training text has. In real data, an eighth of
    the requests is held out: a hash of a request's text puts all its rows on one side. Plain chat of real data is
    split in the same way. The tally notes how many rows of each kind are used, and not used. Raises FlanError if real
    data has no trajectory to train on or none to hold out.
    """
    ordinary_chats = {split: ordinary.conversations(split) for split in ("train", "heldout")}
    data = data or setting("DATA")
    if not data:
        train = tasks.trajectories(preset.trajectories, rng=_rng("train"))
        seen = tasks.tasks(preset.heldout, rng=_rng("seen"))
        unseen = tasks.tasks(preset.heldout, rng=_rng("heldout"), split="heldout")
        heldout = [task.trajectory for task in unseen]
        tally = Tally(LAB, kept=len(train) + len(heldout) + sum(map(len, ordinary_chats.values())))
        return Material(LAB, train, heldout, ordinary_chats["train"], ordinary_chats["heldout"], tally,
                        {"seen tools": tuple(seen), "held-out tools": tuple(unseen)})  # fmt: skip
    trajectories, conversations, tally = sources.load(data)
    if error := too_few(data, trajectories, tally):
        raise error
    heldout, train = _split(trajectories, [t.query for t in trajectories], preset.heldout)
    heldout = heldout[: preset.heldout]
    drawn = sorted(_rng("real").permutation(len(train))[: preset.trajectories])
    natural, chats = _split(conversations, [c.turns[0].text for c in conversations],
                            preset.heldout if len(conversations) > 1 else 0)  # fmt: skip
    for what, n in (("trajectories to train on", len(drawn)), ("trajectories held out", len(heldout)),
                    ("trajectories not used, beyond the preset's sizes", len(trajectories) - len(drawn) - len(heldout)),
                    ("plain chats to train on", len(chats)), ("plain chats held out", len(natural))):  # fmt: skip
        if n:
            tally.note(what, n)
    return Material(source_name(data), [train[i] for i in drawn], heldout, [*chats, *ordinary_chats["train"]],
                    natural or ordinary_chats["heldout"], tally, {"held-out requests": tuple(heldout)})  # fmt: skip


def too_few(data: str, trajectories: Sequence[Trajectory], tally: Tally) -> FlanError | None:
    """Return the error for data with fewer than two requests: one is held out, and the others are trained on."""
    requests = {trajectory.query.strip().lower() for trajectory in trajectories}
    if len(requests) > 1:
        return None
    return FlanError(data, found=f"{len(trajectories)} trajectories of {len(requests)} requests ({tally})",
                     expected="two requests or more, to train on and to hold out, in rows with calls of tools",
                     remedy=f"Known are {', '.join(sources.FORMATS)}: see data/formats.md.")  # fmt: skip


def _split(rows: list, texts: list[str], most: int) -> tuple[list, list]:
    """Split rows into held-out and other rows: an eighth of the distinct texts, at most ``most``, by their hashes."""
    hashes = [hashlib.sha256(text.strip().lower().encode()).hexdigest() for text in texts]
    unique = sorted(set(hashes))
    chosen = set(unique[: min(most, max(1, len(unique) // 8))])
    heldout = [row for row, digest in zip(rows, hashes, strict=True) if digest in chosen]
    others = [row for row, digest in zip(rows, hashes, strict=True) if digest not in chosen]
    return heldout, others


def _rng(purpose: str) -> np.random.Generator:
    return np.random.default_rng([_SEED, *purpose.encode()])
