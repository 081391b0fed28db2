"""The loss of a model on packed conversations: nats per trained token, summed by kind."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
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
from flanlib.training.leaks import isolates
from flanlib.training.model import autocast, evaluating, sharded

SLICE = 1024
"""Most tokens that are projected to the vocabulary at once, if the model allows it (:func:`body_and_head`)."""
LOGITS = SLICE * 49_152
"""Most logits that are computed at once: those of SLICE tokens of the default model. Larger vocabularies get fewer."""
_PLAIN: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()
"""By model, whether its logits are head(body) and nothing more."""


def collate(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """Join packed rows into one row without padding.

    There is no attention mask on purpose: even an all-ones mask would join neighbouring conversations.
    Returns input_ids, position_ids, labels (-100 where untrained), kinds and bytes, each (1, tokens), and
    ``trained``, (1, trained tokens): the positions whose next token is trained.
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


def tokens_at_once(vocabulary: int) -> int:
    """Return how many tokens are projected to a vocabulary at once: at most SLICE, and at most LOGITS logits.

    >>> tokens_at_once(32_000), tokens_at_once(151_936)
    (1024, 331)
    """
    return max(1, min(SLICE, LOGITS // vocabulary))


def map_logits(model: torch.nn.Module, batch: Mapping[str, torch.Tensor], function: Callable, positions: torch.Tensor,
               *targets: torch.Tensor) -> torch.Tensor:  # fmt: skip
    """Run a forward pass over one row and return ``function(logits, *targets)``, with logits at ``positions`` only.

    ``positions`` ascend, and ``function`` gives a result for each. A model that does not keep documents apart
    (:func:`flanlib.training.leaks.isolates`) gets a pass for every document that has any of them.

    Many positions are projected to the vocabulary in slices if the model allows it (:func:`body_and_head`). A backward
    pass then computes the logits of each slice again instead of keeping them.
    """
    inputs = {"input_ids": batch["input_ids"], "position_ids": batch["position_ids"], "use_cache": False}
    if isolates(model) or not len(positions):
        return _map_logits(model, inputs, function, positions, *targets)
    starts = (batch["position_ids"][0] == 0).nonzero().squeeze(1)
    cuts = torch.searchsorted(positions, starts[1:]).tolist()
    documents = zip(pairwise([*starts.tolist(), batch["input_ids"].shape[1]]),
                    *(tensor.tensor_split(cuts) for tensor in (positions, *targets)), strict=True)  # fmt: skip
    parts = []
    for (start, stop), inside, *those in documents:
        if len(inside):
            document = {**inputs, **{name: inputs[name][:, start:stop] for name in ("input_ids", "position_ids")}}
            parts.append(_map_logits(model, document, function, inside - start, *those, keep=False))
    return torch.cat(parts)


def _map_logits(model: torch.nn.Module, inputs: Mapping[str, Any], function: Callable, positions: torch.Tensor,
                *targets: torch.Tensor, keep: bool = True) -> torch.Tensor:  # fmt: skip
    # With ``keep`` the logits of few positions wait for the backward pass. Those of many documents would add up.
    config = getattr(model, "config", None)  # a model wrapped for several processes has none, and is not sliced
    most = tokens_at_once(config.get_text_config().vocab_size) if config else SLICE
    parts = body_and_head(model) if len(positions) > most or not keep else None
    if parts is None:
        return function(model(**inputs, logits_to_keep=positions[None]).logits[0], *targets)
    body, head = parts
    hidden = body(**inputs).last_hidden_state[0][positions]
    slices = zip(*(tensor.split(most) for tensor in (hidden, *targets)), strict=True)
    return torch.cat([checkpoint(lambda hidden, *targets: function(head(hidden), *targets), *one, use_reentrant=False)
                      for one in slices])  # fmt: skip


def token_losses(model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Run a forward pass and return the nats of every trained token, in the order of ``batch["trained"]``."""
    return map_logits(model, batch, _nats, *_trained(batch))


def token_judgements(model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the nats of :func:`token_losses`, and whether each of these tokens is the model's first choice."""
    nats, right = map_logits(model, batch, _nats_and_right, *_trained(batch)).unbind(-1)
    return nats, right.bool()


def _trained(batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    positions = batch["trained"][0]
    return positions, batch["labels"][0, 1:][positions]


def _nats(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits.float(), target, reduction="none")


def _nats_and_right(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return torch.stack([_nats(logits, target), (logits.argmax(-1) == target).float()], -1)


def body_and_head(model: torch.nn.Module) -> tuple[torch.nn.Module, torch.nn.Module] | None:
    """Return a model's body and head if its logits are head(body), without a cap or a scale, else None.

    The check runs once per model. None too for a model that is sharded or wrapped for several processes.
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


def by_kind(nats: torch.Tensor, batch: Mapping[str, torch.Tensor], subset: Any = slice(None)) -> torch.Tensor:
    """Sum nats, tokens and bytes of the trained tokens by kind: (kinds, 3) in float64, on the device of the nats.

    Only the trained tokens of ``subset``, a boolean mask over them, are counted.
    """
    kinds, size = (batch[name][0, 1:][batch["trained"][0]] for name in ("kinds", "bytes"))
    values = torch.stack([nats, torch.ones_like(nats), size], 1).double()
    return values.new_zeros(len(KINDS), 3).index_add_(0, kinds[subset], values[subset])


@torch.no_grad()
def measure(model: torch.nn.Module, examples: Sequence[Example], *, tokens_per_pass: int = 16_384,
            label: str | None = "measure") -> pd.DataFrame:  # fmt: skip
    """Measure the loss of every example by itself, without training. A label of None hides the progress bar.

    Returns a tidy frame, a row per example and kind: id, kind, nats, tokens, bytes (sums over the example).
    """
    device, sums = next(model.parameters()).device, {}
    order = sorted(range(len(examples)), key=lambda i: (len(examples[i]), i))
    with evaluating(model, len(order), label, "row") as bar:
        while order:
            fitting = max(1, tokens_per_pass // len(examples[order[-1]]))
            chosen = [order.pop() for _ in range(min(len(order), fitting))]
            rows = [pack([examples[i]], row_tokens=len(examples[i]), pad_id=0)[0] for i in chosen]
            batch = {name: tensor.to(device) for name, tensor in collate(rows).items()}
            with autocast(device):
                nats = token_losses(model, batch)
            ends = torch.tensor([len(examples[i]) for i in chosen], device=device).cumsum(0)
            owners = torch.searchsorted(ends, batch["trained"][0] + 1, right=True)
            for j, i in enumerate(chosen):
                sums[i] = by_kind(nats, batch, owners == j).cpu()
            bar.update(len(chosen))
    return pd.DataFrame(
        [(example.id, kind, *sums[i][k].tolist())
         for i, example in enumerate(examples) for k, kind in enumerate(KINDS) if sums[i][k, 1]],
        columns=["id", "kind", "nats", "tokens", "bytes"],
    ).astype({"tokens": int, "bytes": int})  # fmt: skip
