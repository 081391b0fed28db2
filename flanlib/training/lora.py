"""LoRA over a frozen layer as one operation, in one precision, with no copies in between.

Only peft's forward pass is replaced: configuration, weights and saving stay peft's. The frozen weight is dense or NF4.
An NF4 weight is dequantised in the forward pass and again in the backward pass.
"""

from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from peft.tuners.lora.bnb import Linear4bit
from peft.tuners.lora.layer import Linear


class _Fusable:
    """Forward pass of a LoRA layer: fused for one plain adapter (no dropout, DoRA or bias), else peft's."""

    def forward(self, x: torch.Tensor, *args: Any, small_first: bool | None = None, **kwargs: Any) -> torch.Tensor:
        """Return x W' + scale (x A') B' + bias, rounded once, in the precision of autocast or else of x.

        With ``small_first``, the default on a GPU, the gradient of x is rounded once too: in bfloat16 a LoRA part of a
        thousandth then reaches x whole, else by half. A CPU keeps the other order, in which results have shipped.
        """
        adapter = self.active_adapters[0] if len(self.active_adapters) == 1 else None
        plain = (adapter in self.lora_A and not args and not kwargs
                 and not self.disable_adapters and not self.merged and not self.lora_variant
                 and not self.lora_bias[adapter] and isinstance(self.lora_dropout[adapter], torch.nn.Identity)
                 and type(self.base_layer).__name__ in ("Linear", "Linear4bit"))  # fmt: skip
        if not plain:
            return super().forward(x, *args, **kwargs)
        mixed, base = torch.is_autocast_enabled(x.device.type), self.base_layer
        small_first = x.is_cuda if small_first is None else small_first
        dtype = torch.get_autocast_dtype(x.device.type) if mixed else x.dtype
        with torch.autocast(x.device.type, enabled=False):
            return _Fused.apply(x, base.weight, base.bias, self.lora_A[adapter].weight, self.lora_B[adapter].weight,
                                self.scaling[adapter], dtype, small_first)  # fmt: skip


FUSED = {layer: type(f"Fused{layer.__name__}", (_Fusable, layer), {}) for layer in (Linear4bit, Linear)}
"""For each of peft's classes the one that replaces it: with the fused forward pass, the same weights and names."""


def _dense(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    state = getattr(weight, "quant_state", None)
    return (weight if state is None else dequantize_4bit(weight, state)).to(dtype)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, a, b, scale, dtype, small_first):
        # LoRA's product is small: added to the rounded large one it would be lost. So the large one is added to it.
        a, b = a.to(dtype), (b * scale).to(dtype)
        flat = x.reshape(-1, x.shape[-1]).to(dtype)
        inner = flat @ a.T
        out = inner @ b.T if bias is None else torch.addmm(bias.to(dtype), inner, b.T)
        out.addmm_(flat, _dense(weight, dtype).T)
        ctx.save_for_backward(x, inner, a, b)
        ctx.weight, ctx.scale, ctx.small_first = weight, scale, small_first
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx, grad):
        x, inner, a, b = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])
        weight = _dense(ctx.weight, grad.dtype)
        lower = grad @ b
        dx = None
        if ctx.needs_input_grad[0]:
            products = [(grad, weight), (lower, a)]
            first, last = reversed(products) if ctx.small_first else products
            dx = torch.mm(*first).addmm_(*last).view(x.shape)
        da = lower.T @ x.reshape(-1, x.shape[-1]).to(grad.dtype)
        return dx, None, None, da.float(), (grad.T @ inner).float() * ctx.scale, None, None, None
