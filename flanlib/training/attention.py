"""Causal attention within each document of a packed row, without a mask over the whole row.

transformers separates packed documents by a dense (rows, 1, tokens, tokens) mask. Here a forward pass finds the
document lengths once and passes them on in place of that mask. A GPU then attends within all documents in one kernel,
PyTorch's ``varlen_attn``, where that can run; else attention runs over one document after another.
Padded batches and generation with a cache still take transformers' own path.
"""

from collections.abc import Callable, Iterator
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch.backends.cuda import SDPAParams, can_use_flash_attention
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "documents"
# Queries per block on a CPU. A block skips the keys after its last query: most masked products are never computed.
BLOCK = 128


class Documents(tuple):
    """Lengths in tokens of the documents in a batch, row after row; passed in place of an attention mask."""

    window: int | None = None
    """How many tokens a token sees, itself and those before it in its document; None for all of them."""

    def bounds(self, device: torch.device) -> torch.Tensor:
        """Return where each document begins and the last one ends: (documents + 1) int32, made once for all layers.

        >>> Documents((3, 1, 2)).bounds("cpu")
        tensor([0, 3, 4, 6], dtype=torch.int32)
        """
        if not hasattr(self, "_bounds"):
            self._bounds = torch.tensor([0, *accumulate(self)], dtype=torch.int32, device=device)
        return self._bounds.to(device)


def by_document(model: Any) -> Any:
    """Restrict a model's attention to documents and return the model; unchanged if it does not use PyTorch's SDPA."""
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)
    return model


def documents_mask(batch_size: int, q_length: int, kv_length: int, **kwargs: Any) -> Documents | torch.Tensor | None:
    """Return the documents of a batch that has neither cache nor padding, else transformers' mask for SDPA.

    A document begins at each token that cannot attend to the token before it. A sliding window goes with them.
    """
    if kwargs.get("attention_mask") is not None or kwargs.get("use_vmap") or q_length != kv_length:
        return sdpa_mask(batch_size, q_length, kv_length, **kwargs)
    device = kwargs["device"]
    rows, tokens = torch.arange(batch_size, device=device)[:, None], torch.arange(1, q_length, device=device)[None]
    begins = torch.ones(batch_size, q_length, dtype=torch.bool, device=device)
    sees = kwargs["mask_function"]
    begins[:, 1:] = ~sees(rows, 0, tokens, tokens - 1)
    window = kwargs.get("local_size")
    if window is not None and sees(rows, 0, tokens - 1, tokens).any():  # it slides in both directions
        return sdpa_mask(batch_size, q_length, kv_length, **kwargs)
    starts = begins.flatten().nonzero().squeeze(1).tolist()
    documents = Documents(stop - start for start, stop in pairwise([*starts, begins.numel()]))
    documents.window = window
    return documents


def documents_attention(module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
                        attention_mask: Documents | torch.Tensor | None, dropout: float = 0.0,
                        scaling: float | None = None, varlen: Callable | None = None,
                        **kwargs: Any) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Attend within documents: (rows, heads, tokens, width) to (rows, tokens, heads, width).

    On a CPU attention is computed in blocks, since PyTorch's kernel is built for long rows. ``varlen`` attends within
    all documents at once; it has the signature of ``varlen_attn``, which is taken where it can run (:func:`flash`).
    """
    if not isinstance(attention_mask, Documents):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling,
                                      **kwargs)  # fmt: skip
    rows, heads, tokens, width = query.shape
    scaling = width**-0.5 if scaling is None else scaling
    repeats = heads // key.shape[1]
    # No document crosses the end of its row, so the whole batch is treated as one long row.
    joined = [x.transpose(0, 1).reshape(1, heads, rows * tokens, -1)
              for x in (query, repeat_kv(key, repeats), repeat_kv(value, repeats))]  # fmt: skip
    if torch.is_autocast_enabled(query.device.type) and (varlen or query.is_cuda):  # autocast leaves varlen_attn out
        joined = [x.to(torch.get_autocast_dtype(query.device.type)) for x in joined]
    if varlen or flash(*joined, dropout):
        bounds, longest = attention_mask.bounds(query.device), max(attention_mask)
        window = attention_mask.window or 0  # the kernel takes a width of -1 for all
        out = (varlen or varlen_attn)(*(x[0].transpose(0, 1) for x in joined), bounds, bounds, longest, longest,
                                      scale=scaling, window_size=(window - 1, 0))  # fmt: skip  # none ahead is seen
        return out.view(rows, tokens, heads, -1), None
    if query.device.type == "cpu" and not dropout:
        out = _Blocks.apply(*(x[0] for x in joined), attention_mask, scaling)
    else:
        documents = zip(*(x.split(attention_mask, 2) for x in joined), strict=True)
        out = torch.cat([_alone(*document, attention_mask.window, dropout_p=dropout, scale=scaling)
                         for document in documents], 2)  # fmt: skip
    return out.view(heads, rows, tokens, -1).permute(1, 2, 0, 3), None


def flash(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float = 0.0) -> bool:
    """Tell whether ``varlen_attn`` can attend, forward and backward, over (rows, heads, tokens, width).

    It is PyTorch's flash attention, and PyTorch knows what that needs: an NVIDIA GPU from Ampere on, half precision,
    heads of up to 256 that are as wide in queries as in values, and on some GPUs less. Unlike
    ``scaled_dot_product_attention`` this entry to it neither pads heads to a multiple of 8 nor drops out.
    """
    fits = query.is_cuda and torch.version.cuda and not dropout and query.shape[-1] % 8 == 0
    return bool(fits) and can_use_flash_attention(SDPAParams(query, key, value, None, dropout, True, False))


def _alone(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None,
           **settings: Any) -> torch.Tensor:  # fmt: skip
    """Attend within one document by PyTorch's own attention, which needs a mask if the window does not cover it."""
    seen, tokens = None, query.shape[2]
    if window is not None and window < tokens:
        seen = torch.ones(tokens, tokens, dtype=torch.bool, device=query.device).tril().triu(1 - window)
    return scaled_dot_product_attention(query, key, value, attn_mask=seen, is_causal=seen is None, **settings)


class _Blocks(torch.autograd.Function):
    """Attention over (heads, tokens, width), in bfloat16 under autocast; the backward pass recomputes it."""

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
        # A key's gradient is a sum over many blocks, so it is accumulated in float32.
        dq, dk, dv = torch.empty_like(query), torch.zeros(key.shape), torch.zeros(value.shape)
        for block, seen, p in _probabilities(query, key, ctx.documents):
            dv[:, seen] += p.transpose(1, 2) @ grad[:, block]
            dp = grad[:, block] @ value[:, seen].transpose(1, 2)
            ds = torch._softmax_backward_data(dp, p, -1, p.dtype)
            dq[:, block] = ds @ key[:, seen]
            dk[:, seen] += ds.transpose(1, 2) @ query[:, block]
        return dq * ctx.scaling, dk, dv, None, None


def _probabilities(query: torch.Tensor, key: torch.Tensor, documents: Documents) -> Iterator:
    """Yield (slice of queries, slice of the keys that they see, attention probabilities) block by block."""
    causal = torch.full((BLOCK, BLOCK), -torch.inf, dtype=query.dtype).triu(1)
    start = 0
    for length in documents:
        stop = start + length
        window = documents.window or length
        for i in range(start, stop, BLOCK):
            j, first = min(i + BLOCK, stop), max(start, i + 1 - window)
            scores = query[:, i:j] @ key[:, first:j].transpose(1, 2)
            scores[:, :, i - first :] += causal[: j - i, : j - i]
            if j - first > window:  # the last queries of the block do not see the first keys
                scores.masked_fill_(torch.ones(scores.shape[1:], dtype=torch.bool).tril(i - first - window), -torch.inf)
            yield slice(i, j), slice(first, j), torch.softmax(scores, -1)
        start = stop


AttentionMaskInterface.register(NAME, documents_mask)
AttentionInterface.register(NAME, documents_attention)
