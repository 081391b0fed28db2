"""First weights in which copying from the context has a start: induction heads, set by hand.

A head that looks one token back, and a later head that looks for the current token among those it left behind,
together continue whatever stood in the context before (Elhage et al. 2021, Olsson et al. 2022). Small models find
that pair of heads late, if at all; given it as a first guess, they copy after some hundred steps, and every weight
of it is trained on like any other. No text is involved: the weights are random projections.
"""

from __future__ import annotations

import math

import torch
from transformers import LlamaForCausalLM

from flanlib.records import FlanError


@torch.no_grad()
def begin_induction(model: LlamaForCausalLM, *, seed: int) -> LlamaForCausalLM:
    """Set two heads of layer 0 to look one and two tokens back, and two of layers 1 and 2 to find what they left.

    Position lives in the fast rotary angles and content in the slow ones, so the two kinds of heads use
    different dimensions. Returns the model. Raises FlanError for a model without attention biases (a query
    that does not depend on the token needs one) or with fewer than three layers or heads.
    """
    config = model.config
    width, heads, layers = config.hidden_size, config.num_attention_heads, config.num_hidden_layers
    if not config.attention_bias or layers < 3 or heads < 3:
        raise FlanError("first weights", found=f"{layers} layers, {heads} heads, bias {config.attention_bias}",
                        expected="three layers, three heads and attention biases", remedy="Make a larger llama.")
    size, random = width // heads, torch.Generator().manual_seed(seed)
    half, theta = size // 2, config.rope_parameters["rope_theta"]
    angle = [theta ** (-2 * i / size) for i in range(half)]
    fast = [i for i in range(half) if angle[i] > 0.15][:6]
    slow = [i + part for part in (0, half) for i in range(half) if angle[i] < 0.01]

    # What is read and what the two heads leave lie in subspaces of their own.
    reads, *left = _rows(3 * size, width, random).split(size)
    layer = model.model.layers[0].self_attn
    for head in (0, 1):
        at, back = slice(head * size, (head + 1) * size), head + 1
        layer.q_proj.weight[at] *= 0.1
        layer.k_proj.weight[at] *= 0.1
        for i in fast:
            layer.k_proj.bias[at.start + i] = 6.0
            layer.q_proj.bias[at.start + i] = 6.0 * math.cos(back * angle[i])
            layer.q_proj.bias[at.start + half + i] = -6.0 * math.sin(back * angle[i])
        layer.v_proj.weight[at], layer.o_proj.weight[:, at] = reads, 0.12 * left[head].T

    # Head 0 asks for a token that stood before; head 1 for it and the one before it, with half the dimensions each.
    n, part = len(slow), len(slow) // 2
    for layer in (model.model.layers[1].self_attn, model.model.layers[2].self_attn):
        for head in (0, 1):
            at, query, key = slice(head * size, (head + 1) * size), torch.zeros(size, width), torch.zeros(size, width)
            if head == 0:
                query[slow], key[slow] = 1.7 * reads[:n], 1.7 * left[0][:n]
            else:
                query[slow[:part]], key[slow[:part]] = 1.7 * reads[:part], 1.7 * left[0][:part]
                query[slow[part : 2 * part]] = 1.4 * left[0][:part]
                key[slow[part : 2 * part]] = 1.4 * left[1][:part]
            copies = _rows(size, width, random)
            layer.q_proj.weight[at], layer.k_proj.weight[at] = query, key
            layer.v_proj.weight[at], layer.o_proj.weight[:, at] = copies, 0.07 * copies.T
    return model


def _rows(n: int, width: int, random: torch.Generator) -> torch.Tensor:
    """Draw n orthonormal rows."""
    return torch.linalg.qr(torch.randn(width, n, generator=random)).Q.T.contiguous()
