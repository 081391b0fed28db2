"""First weights in which copying from the context, and finding a place in it, have a start.

Two circuits are set by hand. *Induction*: a head that looks one token back, and a later head that looks for the
current token among those it left behind, together continue whatever stood in the context before (Elhage et al. 2021,
Olsson et al. 2022). *Looking up*: a head that gathers the last tokens, and a later head that compares what was gathered
here with what had been gathered before each colon, find the name behind the description that a question is about. Small
models find such pairs of heads late, if at all; given as a first guess, they work at once, and every weight is trained
on like any other. No text is involved: the weights are random projections, and one token is told to be a colon.
"""

from __future__ import annotations

import math

import torch
from transformers import LlamaForCausalLM

from flanlib.records import FlanError


@torch.no_grad()
def begin_circuits(model: LlamaForCausalLM, *, colon: int, seed: int) -> LlamaForCausalLM:
    """Set three heads of layer 0 to look one and two tokens back and to gather, and three of layers 1 and 2 to use it.

    Position lives in the fast rotary angles and content in the slow ones, so that the two kinds of heads use different
    dimensions. ``colon`` is the id of the token that stands between a description and its name. Returns the model.
    Raises FlanError for a model without attention biases (a query that does not depend on the token needs one) or with
    fewer than three layers or heads.
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
    middle = [i for i in range(half) if 0.04 < angle[i] < 0.2]
    slow = [i + part for part in (0, half) for i in range(half) if angle[i] < 0.01]

    # At first all else is silent, and embeddings are as large as what heads leave: else it drowns what they say.
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    model.model.embed_tokens.weight *= 10
    model.model.norm.weight *= 0.2  # the embeddings are the output weights too

    # What is read and what the heads of layer 0 leave lie in subspaces of their own.
    reads, *left, gathered = _rows(4 * size, width, random).split(size)
    first = model.model.layers[0].self_attn
    for head in (0, 1, 2):
        at, back = slice(head * size, (head + 1) * size), head + 1
        first.q_proj.weight[at] *= 0.1
        first.k_proj.weight[at] *= 0.1
        if head == 2:  # the sum of some cosines falls from here to a dozen tokens back
            for i in middle:
                first.q_proj.bias[at.start + i] = first.k_proj.bias[at.start + i] = math.sqrt(12)
        for i in fast if head < 2 else ():
            first.k_proj.bias[at.start + i] = 6.0
            first.q_proj.bias[at.start + i] = 6.0 * math.cos(back * angle[i])
            first.q_proj.bias[at.start + half + i] = -6.0 * math.sin(back * angle[i])
        leaves = 0.36 * left[head].T if head < 2 else 2.0 * gathered.T
        first.v_proj.weight[at], first.o_proj.weight[:, at] = reads, leaves

    n, part = len(slow), len(slow) // 2
    mark = model.model.embed_tokens.weight[colon]
    behind = left[0].T @ (reads @ mark)  # what the look back leaves behind a colon
    behind /= behind.norm()
    for layer in (model.model.layers[1].self_attn, model.model.layers[2].self_attn):
        for head in (0, 1, 2):
            at, query, key = slice(head * size, (head + 1) * size), torch.zeros(size, width), torch.zeros(size, width)
            if head == 0:  # a token that stood before
                query[slow], key[slow] = 1.7 * reads[:n], 1.7 * left[0][:n]
            elif head == 1:  # it and the one before it, with half the dimensions each
                query[slow[:part]], key[slow[:part]] = 1.7 * reads[:part], 1.7 * left[0][:part]
                query[slow[part : 2 * part]] = 1.4 * left[0][:part]
                key[slow[part : 2 * part]] = 1.4 * left[1][:part]
            else:  # a place behind a colon, by the tokens before it
                query[slow[:-1]] = key[slow[:-1]] = 2.0 * gathered[: n - 1]
                key[slow[-1]], layer.q_proj.bias[at.start + slow[-1]] = math.sqrt(60) / 6 * behind, 8 * math.sqrt(60)
            copies = reads if head == 2 else _rows(size, width, random)
            layer.q_proj.weight[at], layer.k_proj.weight[at] = query, key
            layer.v_proj.weight[at], layer.o_proj.weight[:, at] = copies, (1.0 if head == 2 else 0.21) * copies.T
    return model


def _rows(n: int, width: int, random: torch.Generator) -> torch.Tensor:
    """Draw n orthonormal rows."""
    return torch.linalg.qr(torch.randn(width, n, generator=random)).Q.T.contiguous()
