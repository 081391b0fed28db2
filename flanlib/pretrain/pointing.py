"""Tell heads where to look while the base is trained: at what a reply is about to copy.

Choosing a tool and filling an argument both begin with finding a place in the context; what follows is copying. A small
model finds out late which place was meant, since one token in ten depends on it. But text says it: where a reply goes
on with words that stand exactly once in what was given, there the answer comes from. Some heads are trained to attend
to that place (supervised attention: Liu et al. 2016, Mi et al. 2016), beside the usual loss. No label is needed but the
text itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from transformers import LlamaForCausalLM

# So many equal tokens make a copied span.
SPAN = 3


def sources(ids: Sequence[int], trained: Sequence[bool], starts: Sequence[int]) -> list[tuple[int, int]]:
    """Return (where a copied span is about to begin, where it stands in the context), for documents side by side.

    A span is SPAN tokens of a reply that stand exactly once in what the document gave before it; ``starts`` are the
    places where documents begin. A span that only goes on with a copied one is none of its own.

    >>> sources([5, 6, 7, 8, 9, 6, 7, 8], [False] * 5 + [True] * 3, [0])
    [(4, 1)]
    """
    found = []
    for start, stop in zip(starts, [*starts[1:], len(ids)], strict=True):
        given: dict[tuple[int, ...], int | None] = {}
        for i in range(start, stop - SPAN + 1):
            span = tuple(ids[i : i + SPAN])
            if not trained[i]:
                if not any(trained[i : i + SPAN]):
                    given[span] = None if span in given else i
            elif (at := given.get(span)) is not None and i > start:
                goes_on = trained[i - 1] and at > start and ids[at - 1] == ids[i - 1]
                if not goes_on:
                    found.append((i - 1, at))
    return found


class Pointing:
    """The loss of heads that should look at the source of what is copied next.

    ``heads`` are (layer, head). Called with a batch after the model's forward pass, returns nats per copied span, a
    mean over the heads; zero for a batch without any.
    """

    def __init__(self, model: LlamaForCausalLM, heads: Sequence[tuple[int, int]], same: np.ndarray) -> None:
        self.model, self.heads, self.same, self.seen = model, tuple(heads), same, {}
        for layer in {layer for layer, _ in heads}:
            attention = model.model.layers[layer].self_attn
            for part in ("q_proj", "k_proj"):
                getattr(attention, part).register_forward_hook(self._see(layer, part))

    def _see(self, layer: int, part: str):
        def hook(module, inputs, output):
            self.seen[layer, part] = output

        return hook

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the loss; see the class."""
        positions = batch["position_ids"]
        starts = torch.nonzero(positions[0] == 0).flatten()
        pairs = sources(self.same[batch["input_ids"][0].cpu().numpy()].tolist(), (batch["labels"][0] != -100).tolist(),
                        starts.tolist())  # fmt: skip
        if not pairs:
            return torch.zeros((), device=positions.device)
        here, there = torch.tensor(pairs, device=positions.device).T
        document = (positions[0] == 0).cumsum(0)
        may = (document[here][:, None] == document) & (torch.arange(len(document), device=here.device) <= here[:, None])
        cos, sin = (x[0].float() for x in self.model.model.rotary_emb(batch["input_ids"][..., None].float(), positions))
        losses = []
        for layer, head in self.heads:
            size = self.model.model.layers[layer].self_attn.head_dim
            query, key = (_turned(self.seen[layer, part][0, :, head * size : (head + 1) * size].float(), cos, sin)
                          for part in ("q_proj", "k_proj"))  # fmt: skip
            scores = (query[here] @ key.T / size**0.5).masked_fill(~may, float("-inf"))
            losses.append(torch.nn.functional.cross_entropy(scores, there))
        return torch.stack(losses).mean()


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn queries or keys (tokens, width) by their rotary angles."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin
