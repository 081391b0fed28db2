"""LoRA over a 4-bit layer as one operation: bfloat16 goes in and out, nothing is copied in between.

peft keeps the configuration, the weights, and saving; only its forward pass in mixed precision is replaced.
"""

from __future__ import annotations

from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from peft.tuners.lora.bnb import Linear4bit


def fuse(model: Any) -> Any:
    """Replace the forward pass of every 4-bit LoRA layer of a model and return it; weights and their names stay."""
    for module in model.modules():
        if type(module) is Linear4bit:
            module.__class__ = FusedLinear4bit
    return model


class FusedLinear4bit(Linear4bit):
    """peft's 4-bit layer; in mixed precision with one plain adapter (no dropout, DoRA, bias) it is one operation."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return x W' + scale (x A') B' + bias, in autocast's precision, rounded once."""
        name = self.active_adapters[0] if len(self.active_adapters) == 1 else None
        plain = (torch.is_autocast_enabled(x.device.type) and name in self.lora_A and not args and not kwargs
                 and not self.disable_adapters and not self.merged and not self.lora_variant
                 and not self.lora_bias[name] and isinstance(self.lora_dropout[name], torch.nn.Identity))  # fmt: skip
        if not plain:
            return super().forward(x, *args, **kwargs)
        base, dtype = self.base_layer, torch.get_autocast_dtype(x.device.type)
        with torch.autocast(x.device.type, enabled=False):
            return _Fused.apply(x, base.weight, base.bias, self.lora_A[name].weight, self.lora_B[name].weight,
                                self.scaling[name], dtype)  # fmt: skip


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, a, b, scale, dtype):
        # One product over both inner dimensions: a small LoRA term added to a rounded sum would be rounded away.
        a, b = a.to(dtype), (b * scale).to(dtype)
        width = x.shape[-1]
        both = torch.empty(x.numel() // width, width + len(a), dtype=dtype, device=x.device)
        both[:, :width] = x.reshape(-1, width)
        inner = both[:, :width] @ a.T
        both[:, width:] = inner
        whole = torch.cat([dequantize_4bit(weight, weight.quant_state).to(dtype), b], 1)
        out = torch.nn.functional.linear(both, whole, None if bias is None else bias.to(dtype))
        ctx.save_for_backward(x, inner, a, b)
        ctx.weight, ctx.scale = weight, scale
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx, grad):
        x, inner, a, b = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])
        weight = dequantize_4bit(ctx.weight, ctx.weight.quant_state).to(grad.dtype)
        lower = grad @ b
        dx = (grad @ weight).addmm_(lower, a).view(x.shape) if ctx.needs_input_grad[0] else None
        da = lower.T @ x.reshape(-1, x.shape[-1]).to(grad.dtype)
        return dx, None, None, da.float(), (grad.T @ inner).float() * ctx.scale, None, None
