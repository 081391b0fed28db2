"""Liger's kernels (2410.10989) in a model on a GPU: norms, rotary embeddings and gated products in one kernel each.

They are optional: ``pip install -e ".[liger]"``, on Linux with CUDA. Liger's fused head stays off, since our loss reads
trained tokens only (:mod:`flanlib.training.loss`).
"""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import Any

import torch

from flanlib import store
from flanlib.records import FlanError

KERNELS = ("rope", "rms_norm", "swiglu", "geglu")
"""Those that are on, by Liger's names, where Liger has them on by itself for an architecture; all others are off."""
TOLERANCE = 0.1
"""By how much a token's logits may change, as a share. Bfloat16 moves those of the default model by a hundredth."""


def use(model: Any, where: torch.device | None = None) -> bool:
    """Put Liger's kernels into a causal LM, and return whether that was possible; ``where`` is by default its device.

    Nothing happens on a CPU. Without Liger, or for an architecture that it does not know, nothing happens either, and
    one line says so. Raises FlanError if logits change by more than TOLERANCE: Liger replaces code of transformers, and
    a new version of one may not fit the other.
    """
    if (where or model.device).type != "cuda":
        return False
    logging.getLogger("liger_kernel").setLevel(logging.ERROR)  # it warns of each of its back ends that is not installed
    try:
        from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN as KNOWN
    except ImportError as error:
        _say(f"Training goes without Liger's kernels ({error}): pip install -e '.[liger]' brings them.")
        return False
    kind = model.config.model_type
    switches = signature(KNOWN[kind]).parameters if kind in KNOWN else {}
    asked = {name: name in KERNELS and one.default is True for name, one in switches.items() if name != "model"}
    if not any(asked.values()):
        _say(f"Training goes without Liger's kernels: it has none for a {kind} model.")
        return False
    before = _logits(model)
    names = vars(sys.modules[type(model).__module__])
    theirs = dict(names)
    KNOWN[kind](model=model, **asked)
    _keep_to_gpus(names, theirs)
    moved = float(((_logits(model) - before).norm(dim=-1) / before.norm(dim=-1)).median())
    if not moved <= TOLERANCE:
        raise FlanError("Liger's kernels", found=f"logits of a {kind} model that differ by {moved:.0%}",
                        expected=f"at most {TOLERANCE:.0%}, from rounding",
                        remedy="Install a liger-kernel that fits transformers, or uninstall it.")  # fmt: skip
    return True


@cache
def _say(line: str) -> None:
    """Print a line once, and from the first of several processes only."""
    if not store.rank():
        print(line)


@torch.no_grad()
def _logits(model: Any) -> torch.Tensor:
    """Return the logits, (tokens, vocabulary), of some tokens from the middle of the vocabulary, where words are."""
    was_training, size = model.training, model.get_input_embeddings().num_embeddings
    ids = torch.linspace(size // 4, size * 3 // 4, 32, device=model.device).long()
    logits = model.eval()(input_ids=ids[None], use_cache=False).logits[0].float()
    model.train(was_training)
    return logits


@dataclass(frozen=True)
class _OnGPU:
    """A function of Liger's in place of one of transformers', for tensors on a GPU: the others have no such kernel."""

    fast: Callable
    plain: Callable

    def __call__(self, first: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return (self.fast if first.is_cuda else self.plain)(first, *args, **kwargs)


def _keep_to_gpus(names: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Undo what Liger changed in transformers' module of a model, as far as the patched model does not need it.

    Its layers have their kernels. Other models get transformers' own classes again, and functions by device.
    """
    for name, old in theirs.items():
        if names[name] is not old:
            names[name] = old if isinstance(old, type | _OnGPU) else _OnGPU(names[name], old)
