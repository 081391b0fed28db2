"""Causal attention inside every document of a packed row, without a mask over the row.

transformers tells packed documents apart by a dense (rows, 1, tokens, tokens) mask. Here the "mask" of a forward pass
is the list of document lengths, found once per pass, and attention visits documents one after another. Everything
else (a padded batch with its attention mask, generation with a cache, sliding windows) takes transformers' own path.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "documents"
# Queries of a document that meet its keys at once: half of what lies beyond the diagonal is never computed.
BLOCK = 128


class Documents(tuple):
    """Lengths in tokens of the documents in a batch, row after row."""


def by_document(model: Any) -> Any:
    """Let a model's attention stay inside documents and return it; one that does not use PyTorch's own stays as is."""
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)
    return model


def documents_mask(batch_size: int, q_length: int, kv_length: int, **how: Any) -> Documents | torch.Tensor | None:
    """Return the documents of a batch that has neither cache nor padding, else PyTorch's usual mask.

    A document begins where a token may not look at the one before it.
    """
    usual = how.get("attention_mask") is not None or how.get("local_size") is not None or how.get("use_vmap")
    if usual or q_length != kv_length:
        return sdpa_mask(batch_size, q_length, kv_length, **how)
    device = how["device"]
    rows, tokens = torch.arange(batch_size, device=device)[:, None], torch.arange(1, q_length, device=device)[None]
    first = torch.ones(batch_size, q_length, dtype=torch.bool, device=device)
    first[:, 1:] = ~how["mask_function"](rows, 0, tokens, tokens - 1)
    starts = [*first.flatten().nonzero().squeeze(1).tolist(), first.numel()]
    return Documents(stop - start for start, stop in pairwise(starts))


def documents_attention(module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
                        attention_mask: Documents | torch.Tensor | None, dropout: float = 0.0,
                        scaling: float | None = None, **kwargs: Any) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Attend within documents: (rows, heads, tokens, width) to (rows, tokens, heads, width).

    On a CPU the work is done in blocks: PyTorch's kernel is built for long rows.
    """
    if not isinstance(attention_mask, Documents):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling,
                                      **kwargs)  # fmt: skip
    rows, heads, tokens, width = query.shape
    scaling = width**-0.5 if scaling is None else scaling
    shared = heads // key.shape[1]
    one = [x.transpose(0, 1).reshape(1, heads, rows * tokens, -1)
           for x in (query, repeat_kv(key, shared), repeat_kv(value, shared))]  # fmt: skip
    if query.device.type == "cpu" and not dropout:
        out = _Blocks.apply(*(x[0] for x in one), attention_mask, scaling)
    else:
        parts = zip(*(x.split(attention_mask, 2) for x in one), strict=True)
        out = torch.cat([scaled_dot_product_attention(*part, dropout_p=dropout, is_causal=True, scale=scaling)
                         for part in parts], 2)  # fmt: skip
    return out.view(heads, rows, tokens, -1).permute(1, 2, 0, 3), None


class _Blocks(torch.autograd.Function):
    """Attention of (heads, tokens, width), in autocast's precision if there is one; backward computes it again."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)
    def forward(ctx, query, key, value, documents, scaling):
        query, key, value = (query * scaling).contiguous(), key.contiguous(), value.contiguous()
        out = torch.empty_like(value)
        for block, seen, p in _probabilities(query, key, documents):
            out[:, block] = p @ value[:, seen]
        ctx.save_for_backward(query, key, value)
        ctx.documents, ctx.scaling = documents, scaling
        return out

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx, grad):
        query, key, value = ctx.saved_tensors
        grad = grad.contiguous()
        # A key is seen by many blocks: sums over them are kept in float32.
        dq, dk, dv = torch.empty_like(query), torch.zeros(key.shape), torch.zeros(value.shape)
        for block, seen, p in _probabilities(query, key, ctx.documents):
            dv[:, seen] += p.transpose(1, 2) @ grad[:, block]
            dp = grad[:, block] @ value[:, seen].transpose(1, 2)
            ds = torch._softmax_backward_data(dp, p, -1, p.dtype)
            dq[:, block] = ds @ key[:, seen]
            dk[:, seen] += ds.transpose(1, 2) @ query[:, block]
        return dq * ctx.scaling, dk, dv, None, None


def _probabilities(query: torch.Tensor, key: torch.Tensor, documents: Documents) -> Iterator:
    """Yield (queries, the keys that they see, their probabilities) block by block, as slices of the batch."""
    future = torch.full((BLOCK, BLOCK), -torch.inf, dtype=query.dtype).triu(1)
    start = 0
    for length in documents:
        stop = start + length
        for i in range(start, stop, BLOCK):
            j = min(i + BLOCK, stop)
            scores = query[:, i:j] @ key[:, start:j].transpose(1, 2)
            scores[:, :, i - start :] += future[: j - i, : j - i]
            yield slice(i, j), slice(start, j), torch.softmax(scores, -1)
        start = stop


AttentionMaskInterface.register(NAME, documents_mask)
AttentionInterface.register(NAME, documents_attention)
