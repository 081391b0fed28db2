"""What packed conversations cost a model: nats for every trained token, summed by kind."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from flanlib.records import KINDS
from flanlib.text.packing import Row, pack
from flanlib.text.tokens import CONTEXT, Example
from flanlib.training.model import autocast, evaluating, sharded

SLICE = 1024
"""Trained tokens that are projected to the vocabulary at once, where the model allows it."""
_PLAIN: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


def collate(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """Put the conversations of packed rows side by side, without the padding.

    There is no attention mask on purpose: an all-ones one would join the neighbours.
    Returns input_ids, position_ids, labels (-100 where untrained), kinds and bytes, each (1, tokens), and ``trained``:
    (1, trained tokens), the place of each one among the next tokens.
    """

    def joined(name: str) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([getattr(row, name)[: sum(row.lengths)] for row in rows]))[None]

    ids, kinds = joined("ids").long(), joined("kinds").long()
    labels = torch.where(kinds == CONTEXT, -100, ids)
    return {
        "input_ids": ids,
        "position_ids": joined("positions").long(),
        "labels": labels,
        "trained": torch.nonzero(labels[0, 1:] != -100).T,
        "kinds": kinds,
        "bytes": joined("bytes").float(),
    }


def judged(model: torch.nn.Module, batch: Mapping[str, torch.Tensor], judge: Callable, where: torch.Tensor,
           *targets: torch.Tensor) -> torch.Tensor:  # fmt: skip
    """Run a forward pass over one row; return what ``judge`` makes of the logits, and any targets, at some tokens.

    Only these are projected to the vocabulary: many of them slice by slice, where the model's head is a matrix and
    nothing else. A backward pass then projects again instead of keeping the logits.
    """
    read = {"input_ids": batch["input_ids"], "position_ids": batch["position_ids"], "use_cache": False}
    parts = body_and_head(model) if len(where) > SLICE else None
    if parts is None:
        return judge(model(**read, logits_to_keep=where[None]).logits[0], *targets)
    body, head = parts
    slices = zip(*(of.split(SLICE) for of in (body(**read).last_hidden_state[0][where], *targets)), strict=True)
    return torch.cat([checkpoint(lambda hidden, *of: judge(head(hidden), *of), *one, use_reentrant=False)
                      for one in slices])  # fmt: skip


def token_losses(model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Run a forward pass and return the nats of every trained token, in the order of ``batch["trained"]``."""
    return judged(model, batch, _nats, *_trained(batch))


def token_judgements(model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what :func:`token_losses` does, and whether each of these tokens is the model's first choice."""
    nats, right = judged(model, batch, _nats_and_right, *_trained(batch)).unbind(-1)
    return nats, right.bool()


def _trained(batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    where = batch["trained"][0]
    return where, batch["labels"][0, 1:][where]


def _nats(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits.float(), target, reduction="none")


def _nats_and_right(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return torch.stack([_nats(logits, target), (logits.argmax(-1) == target).float()], -1)


def body_and_head(model: torch.nn.Module) -> tuple[torch.nn.Module, torch.nn.Module] | None:
    """Return a model's body and head if the logits are head(body), without a cap or a scale; looked at once a model.

    A model that something wraps (several processes) is left whole.
    """
    causal = model.get_base_model() if isinstance(model, PeftModel) else model
    if not isinstance(causal, PreTrainedModel) or sharded():
        return None
    body, head = causal.base_model, causal.get_output_embeddings()
    if causal not in _PLAIN:
        with torch.no_grad(), torch.autocast(causal.device.type, enabled=False):
            ids = torch.arange(4, device=causal.device)[None]
            hidden = body(input_ids=ids, use_cache=False).last_hidden_state
            _PLAIN[causal] = torch.allclose(head(hidden), causal(input_ids=ids, use_cache=False).logits, rtol=1e-3)
    return (body, head) if _PLAIN[causal] else None


def by_kind(nats: torch.Tensor, batch: Mapping[str, torch.Tensor], mine: Any = slice(None)) -> torch.Tensor:
    """Sum nats, tokens and bytes of the trained tokens by kind: (kinds, 3) in float64, on the device of the nats.

    ``mine`` leaves only some of them, (trained tokens,) of True and False.
    """
    kinds, size = (batch[name][0, 1:][batch["trained"][0]] for name in ("kinds", "bytes"))
    each = torch.stack([nats, torch.ones_like(nats), size], 1).double()
    return torch.zeros(len(KINDS), 3, dtype=torch.float64, device=nats.device).index_add_(0, kinds[mine], each[mine])


@torch.no_grad()
def measure(model: torch.nn.Module, examples: Sequence[Example], *, tokens_per_pass: int = 16_384,
            label: str | None = "measure") -> pd.DataFrame:  # fmt: skip
    """Measure the loss of every example by itself, without training; a label of None draws no progress bar.

    Returns a tidy frame, a row per example and kind: id, kind, nats, tokens, bytes (sums over the example).
    """
    where, found = next(model.parameters()).device, {}
    order = sorted(range(len(examples)), key=lambda i: (len(examples[i]), i))
    with evaluating(model, len(order), label, "row") as bar:
        while order:
            chosen = [order.pop() for _ in range(min(len(order), max(1, tokens_per_pass // len(examples[order[-1]]))))]
            rows = [pack([examples[i]], row_tokens=len(examples[i]), pad_id=0)[0] for i in chosen]
            batch = {k: v.to(where) for k, v in collate(rows).items()}
            with autocast(where):
                nats = token_losses(model, batch)
            ends = torch.tensor([len(examples[i]) for i in chosen], device=where).cumsum(0)
            whose = torch.searchsorted(ends, batch["trained"][0] + 1, right=True)
            for j, i in enumerate(chosen):
                found[i] = by_kind(nats, batch, whose == j).cpu()
            bar.update(len(chosen))
    return pd.DataFrame(
        [(example.id, kind, *found[i][k].tolist())
         for i, example in enumerate(examples) for k, kind in enumerate(KINDS) if found[i][k, 1]],
        columns=["id", "kind", "nats", "tokens", "bytes"],
    ).astype({"tokens": int, "bytes": int})  # fmt: skip
