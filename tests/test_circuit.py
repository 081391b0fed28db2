import numpy as np
import pytest
import torch

from flanlib.circuit import begin_induction
from flanlib.model import llama
from flanlib.records import FlanError


@torch.no_grad()
def attention(model, ids):
    """Return the attention of every layer, (layers, heads, tokens, tokens)."""
    model.set_attn_implementation("eager")
    return torch.stack([layer[0] for layer in model(ids, output_attentions=True).attentions])


@torch.no_grad()
def test_the_first_heads_look_one_and_two_tokens_back_whatever_the_tokens_are():
    model = begin_induction(llama(2048, theta=1e6, bias=True), seed=0)
    ids = torch.from_numpy(np.random.default_rng(0).integers(2, 2048, (1, 64)))
    first = attention(model, ids)[0]
    for head, back in ((0, 1), (1, 2)):
        assert first[head].diagonal(-back)[4:].min() > 0.5


@torch.no_grad()
def test_a_later_head_looks_at_what_followed_the_same_token_before():
    model = begin_induction(llama(2048, theta=1e6, bias=True), seed=0)
    once = np.random.default_rng(0).permutation(np.arange(2, 2048))[:40]
    looks = attention(model, torch.from_numpy(np.tile(once, 2))[None])[1, 0]
    assert (looks[40:].argmax(1) == torch.arange(1, 41)).float().mean() > 0.8


def test_a_model_without_room_for_the_heads_is_refused():
    with pytest.raises(FlanError, match="three layers"):
        begin_induction(llama(64, width=64, layers=2, head=32, bias=True), seed=0)
