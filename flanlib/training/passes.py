"""Cut a training step into passes: how many rows are read together, and what is kept for the backward pass.

Gradients do not depend on it, but for rounding: neither do the cache keys of results. What fits into memory is chosen
by :func:`flanlib.training.memory.chosen`.
"""

import os
from typing import Any, NamedTuple, Protocol

from transformers.modeling_layers import GradientCheckpointingLayer

from flanlib.records import FlanError


class Pass(NamedTuple):
    """A forward and a backward pass of a training step."""

    rows: int
    """Packed rows that are read together."""
    kept: int | None = None
    """How many layers, the last ones, keep their activations; the others compute them again. None: all keep them."""
    offload: bool = False
    """Whether the inputs of layers that compute again wait in the CPU's memory."""
    apart: bool = False
    """Whether every document is read by itself, in a model that would mix them (:mod:`flanlib.training.leaks`)."""

    @property
    def note(self) -> str:
        """What the pass computes again and where it keeps the rest, to follow its rows in a sentence."""
        if self.kept is None:
            return ""
        which = f"all layers but the last {self.kept}" if self.kept else "all layers"
        return f", {which} computing activations again" + ", their inputs in the CPU's memory" * self.offload


class Asked(Protocol):
    """What a preset and a schedule say about passes."""

    rows_per_pass: int
    rows_per_step: int
    checkpointing: bool


def processes() -> int:
    """Return how many processes train together: what ``accelerate launch`` and torchrun set, or one."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rows_each(rows_per_step: int) -> int:
    """Return the rows of a step that each process reads. Raises FlanError if they cannot be shared evenly."""
    share, rest = divmod(rows_per_step, processes())
    if rest:
        raise FlanError("training", found=f"{rows_per_step} rows in a step for {processes()} processes",
                        expected="a multiple of the processes",
                        remedy="Change rows_per_step or the number of processes.")  # fmt: skip
    return share


def divisors(share: int, most: int) -> list[int]:
    """Return how many rows a pass can have, in ascending order: passes of equal size make up a step's ``share``.

    >>> divisors(12, 5)
    [1, 2, 3, 4]
    """
    return [rows for rows in range(1, min(share, most) + 1) if share % rows == 0]


def asked(size: Asked) -> Pass:
    """Return the pass of a preset or schedule, whatever memory there is: with checkpointing all layers compute again.

    A step consists of passes of the same size, with at most ``rows_per_pass``.
    """
    return Pass(divisors(rows_each(size.rows_per_step), size.rows_per_pass)[-1], 0 if size.checkpointing else None)


def smaller(way: Pass, size: Asked, *, offload: bool) -> Pass | None:
    """Return the pass to try after one that ran out of memory, or None if there is none.

    With checkpointing all layers compute again first. Then come fewer rows and, where ``offload`` is possible, the
    inputs of layers go to the CPU's memory.
    """
    if size.checkpointing and way.kept != 0:
        return way._replace(kept=0)
    if way.rows > 1:
        return way._replace(rows=divisors(rows_each(size.rows_per_step), way.rows - 1)[-1])
    return way._replace(offload=True) if size.checkpointing and offload and not way.offload else None


def arrange(model: Any, way: Pass) -> None:
    """Have a model's layers keep or compute again what a pass says.

    The last layers are those that keep: the backward pass has freed what they kept before it computes the first layer
    again, so the two are never in memory together. transformers' own ``every_n_layers`` would spread them.
    """
    if way.kept is None:
        if model.is_activation_checkpointing:
            model.activation_checkpointing_disable()
        return
    model.activation_checkpointing_enable({"use_reentrant": False}, offload=way.offload)
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    for layer in layers[len(layers) - way.kept :]:
        layer.gradient_checkpointing = False
