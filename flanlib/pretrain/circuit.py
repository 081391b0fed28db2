"""First weights in which copying from the context, and finding a place in it, have a start.

Two circuits are set by hand. *Induction*: a head that looks one token back, and a later head that looks for the
current token among those it left behind, together continue whatever stood in the context before (Elhage et al. 2021,
Olsson et al. 2022). *Looking up*: two heads gather the last tokens, near ones more than far ones and rare ones more
than common ones; a later head compares what one has gathered here with what the other had gathered behind every colon,
and so finds the name behind the description that a question is about. Small models find such pairs of heads late, if
at all; given as a first guess, they work at once, and every weight is trained on like any other. Nothing of what texts
say is involved: the weights are random projections, and told are only which token is a colon and how common each is.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from transformers import LlamaForCausalLM

from flanlib.records import FlanError

# Heads (layer, head) that look things up.
LOOKS_UP = ((1, 2), (2, 2))
# Of the residual stream's dimensions: what is read of a token, what is left of it one and two places on, what is
# gathered closely and widely, and how rare a token is.
SHARES = (0.25, 0.17, 0.09, 0.18, 0.18)


@torch.no_grad()
def begin_circuits(model: LlamaForCausalLM, *, colon: int, rare: torch.Tensor, seed: int) -> LlamaForCausalLM:
    """Set the four heads of layer 0 to look one and two tokens back and to gather, three of layers 1 and 2 to use it.

    Position lives in the fast rotary angles and content in the slow ones, so that the two kinds of heads use different
    dimensions. ``colon`` is the id of the token that stands between a description and its name; ``rare`` holds the
    information of every token in nats, (vocabulary,). Returns the model.
    Raises FlanError for a model without attention biases (a query that does not depend on the token needs one) or with
    fewer than three layers or four heads.
    """
    config = model.config
    width, heads, layers = config.hidden_size, config.num_attention_heads, config.num_hidden_layers
    if not config.attention_bias or layers < 3 or heads < 4:
        raise FlanError("first weights", found=f"{layers} layers, {heads} heads, bias {config.attention_bias}",
                        expected="three layers, four heads and attention biases", remedy="Make a larger llama.")
    size, random = width // heads, torch.Generator().manual_seed(seed)
    half, theta = size // 2, config.rope_parameters["rope_theta"]
    angle = [theta ** (-2 * i / size) for i in range(half)]
    fast = [i for i in range(half) if angle[i] > 0.15][:6]
    # The sum of the cosines of such angles falls from here to one or two dozen tokens back, or to some fifty.
    closely = [i for i in range(half) if 0.04 < angle[i] < 0.2]
    widely = [i for i in range(half) if 0.015 < angle[i] < 0.055]
    slow = [i + part for part in (0, half) for i in range(half) if angle[i] < 0.01]

    # At first all else is silent, and embeddings are as large as what heads leave: else it drowns what they say.
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    embeddings = model.model.embed_tokens.weight
    embeddings *= 10
    model.model.norm.weight *= 0.2  # the embeddings are the output weights too

    sizes = [min(size, round(share * width)) for share in SHARES]
    reads, back, back_two, close, wide, (rarity,) = _rows(sum(sizes) + 1, width, random).split([*sizes, 1])
    deviation = rare.std()
    scale = 3.0 * embeddings.std()
    embeddings += (scale * ((rare - rare.mean()) / deviation).clamp(-3, 3) - embeddings @ rarity)[:, None] * rarity
    first = model.model.layers[0].self_attn
    for head, (leaves, loud) in enumerate(((back, 0.36), (back_two, 0.36), (close, 2.0), (wide, 2.0))):
        at = head * size
        rows = slice(at, at + size)
        first.q_proj.weight[rows] *= 0.1
        first.k_proj.weight[rows] *= 0.1
        for i in fast if head < 2 else ():
            first.k_proj.bias[at + i] = 6.0
            first.q_proj.bias[at + i] = 6.0 * math.cos((head + 1) * angle[i])
            first.q_proj.bias[at + half + i] = -6.0 * math.sin((head + 1) * angle[i])
        if head > 1:
            for i in closely if head == 2 else widely:
                first.q_proj.bias[at + i] = first.k_proj.bias[at + i] = math.sqrt(6 if head == 2 else 12)
            # A token weighs as the inverse of how common it is, to the power of 0.7.
            first.k_proj.weight[at + slow[-1]], first.q_proj.weight[at + slow[-1]] = rarity, 0
            first.q_proj.bias[at + slow[-1]] = 0.7 * deviation / 3.0 * math.sqrt(size)
        first.v_proj.weight[at : at + len(reads)] = reads
        first.o_proj.weight[:, at : at + len(leaves)] = loud * leaves.T

    n, part = min(len(slow), len(back)), min(len(slow) // 2, len(back_two))
    behind = back.T @ (reads[: len(back)] @ embeddings[colon])  # what the look back leaves behind a colon
    behind /= behind.norm()
    for layer in (model.model.layers[1].self_attn, model.model.layers[2].self_attn):
        for head in (0, 1, 2):
            at, query, key = slice(head * size, (head + 1) * size), torch.zeros(size, width), torch.zeros(size, width)
            if head == 0:  # a token that stood before
                query[slow[:n]], key[slow[:n]] = 1.7 * reads[:n], 1.7 * back[:n]
            elif head == 1:  # it and the one before it, with half the dimensions each
                query[slow[:part]], key[slow[:part]] = 1.7 * reads[:part], 1.7 * back[:part]
                query[slow[part : 2 * part]], key[slow[part : 2 * part]] = 1.4 * back[:part], 1.4 * back_two[:part]
            else:  # a place behind a colon, by the tokens before it
                m = min(len(slow) - 1, len(wide))
                query[slow[:m]], key[slow[:m]] = 2.0 * wide[:m], 2.0 * close[:m]
                key[slow[-1]], layer.q_proj.bias[at.start + slow[-1]] = math.sqrt(60) / 6 * behind, 8 * math.sqrt(60)
            copies = reads if head == 2 else _rows(len(reads), width, random)
            layer.q_proj.weight[at], layer.k_proj.weight[at] = query, key
            layer.v_proj.weight[at.start : at.start + len(reads)] = copies
            layer.o_proj.weight[:, at] = 0
            layer.o_proj.weight[:, at.start : at.start + len(reads)] = (1.0 if head == 2 else 0.21) * copies.T
    return model


@torch.no_grad()
def begin_spaces(model: LlamaForCausalLM, same: np.ndarray) -> None:
    """Let a token with a space begin near the ``same`` one without (:func:`.tokenizer.without_spaces`)."""
    weight, same = model.get_input_embeddings().weight, torch.from_numpy(same)
    spaced = torch.nonzero(same != torch.arange(len(same))).flatten()
    weight[spaced] = 0.9 * weight[same[spaced]] + 0.44 * weight[spaced]


def _rows(n: int, width: int, random: torch.Generator) -> torch.Tensor:
    """Draw n orthonormal rows."""
    return torch.linalg.qr(torch.randn(width, n, generator=random)).Q.T.contiguous()
