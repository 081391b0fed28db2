import numpy as np
import pytest
import torch

from flanlib.model import llama
from flanlib.pretrain.circuit import LOOKS_UP, begin_circuits
from flanlib.records import FlanError

COLON = 3


def begun(seed=0):
    """Return a model with the circuits, in which every token is as rare as any other but for the first hundred."""
    rare = torch.full((2048,), 7.0)
    rare[:100] = 2.0
    return begin_circuits(llama(2048, theta=1e6, bias=True), colon=COLON, rare=rare, seed=seed)


@torch.no_grad()
def attention(model, ids):
    """Return the attention of every layer, (layers, heads, tokens, tokens)."""
    model.set_attn_implementation("eager")
    return torch.stack([layer[0] for layer in model(ids, output_attentions=True).attentions])


def test_the_first_heads_look_one_and_two_tokens_back_whatever_the_tokens_are():
    ids = torch.from_numpy(np.random.default_rng(0).integers(2, 2048, (1, 64)))
    first = attention(begun(), ids)[0]
    for head, back in ((0, 1), (1, 2)):
        assert first[head].diagonal(-back)[4:].min() > 0.5


def test_a_later_head_looks_at_what_followed_the_same_token_before():
    once = np.random.default_rng(0).permutation(np.arange(2, 2048))[:40]
    looks = attention(begun(), torch.from_numpy(np.tile(once, 2))[None])[1, 0]
    assert (looks[40:].argmax(1) == torch.arange(1, 41)).float().mean() > 0.8


def test_heads_that_gather_weigh_near_tokens_more_than_far_ones_and_rare_ones_more_than_common_ones():
    ids = torch.from_numpy(np.random.default_rng(0).permutation(np.arange(100, 2048))[:120])[None]
    ids[0, [100, 110]] = torch.tensor([50, 60])
    for head in attention(begun(), ids)[0, 2:, -1]:
        assert head[100] < 0.3 * head[[99, 101]].min()
        assert head[110] < 0.3 * head[[109, 111]].min()
        assert head[-12:].sum() > 0.4
        assert head[-12:].mean() > 3 * head[:-24].mean()


def test_heads_that_look_up_find_the_name_behind_the_description_a_question_is_about():
    """As in text, common words stand between the rare ones."""
    model, rng, found = begun(), np.random.default_rng(0), []
    for _ in range(20):
        told = rng.permutation(np.arange(100, 2048))[:30].reshape(5, 6)  # four of a description, two of a name
        ids, places = [], []
        for row in told:
            ids += [*rng.integers(20, 100, 8), *row[:4], COLON, *row[4:]]
            places.append(len(ids) - 2)
        asked = rng.integers(5)
        ids += [*rng.integers(20, 100, 8), *rng.permutation(told[asked, :4])[:3], *rng.integers(20, 100, 8)]
        looks = attention(model, torch.tensor(ids)[None])
        found.append([int(looks[layer, head, -1, places].argmax()) == asked for layer, head in LOOKS_UP])
    assert np.mean(found) > 0.7, "chance is 0.2"


def test_a_model_without_room_for_the_heads_is_refused():
    with pytest.raises(FlanError, match="three layers"):
        begin_circuits(llama(64, width=64, layers=2, head=16, bias=True), colon=3, rare=torch.rand(64), seed=0)
