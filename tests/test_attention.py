"""Attention by documents computes what PyTorch's attention under a dense mask computes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM
from transformers.masking_utils import create_causal_mask

from flanlib.training import attention
from flanlib.training.attention import BLOCK, Documents, by_document

SHAPE = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "pad_token_id": 0,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
         "initializer_range": 0.2}  # fmt: skip


def pair(kind=LlamaForCausalLM, config=LlamaConfig, **more):
    """The same model twice: with PyTorch's own attention, and by documents."""
    torch.manual_seed(0)
    plain = kind(config(**SHAPE, **more))
    other = kind(config(**SHAPE, **more))
    other.load_state_dict(plain.state_dict())
    assert plain.config._attn_implementation == "sdpa"
    assert by_document(other) is other
    assert other.config._attn_implementation == attention.NAME
    return plain, other


@pytest.fixture(scope="module")
def models():
    return pair()


def packed(*rows):
    """Random ids and the positions of documents of given lengths, (rows, tokens)."""
    positions = torch.tensor([[i for n in row for i in range(n)] for row in rows])
    return torch.randint(1, 64, positions.shape, generator=torch.Generator().manual_seed(1)), positions


def gradients(model, ids, positions):
    model.zero_grad()
    logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), ids.flatten())
    loss.backward()
    return float(loss.detach()), torch.cat([p.grad.flatten() for p in model.parameters()])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 3))
def test_the_documents_of_a_batch_are_found_where_positions_restart(lengths, rows):
    config = LlamaConfig(**SHAPE)
    config._attn_implementation = attention.NAME
    _, positions = packed(*[lengths] * rows)
    found = create_causal_mask(config, torch.zeros(*positions.shape, 64), None, None, positions)
    assert isinstance(found, Documents)
    assert found == tuple(lengths * rows)


def test_logits_and_gradients_are_those_under_a_dense_mask(models):
    for rows in ([[7, 1, 12, 4], [20, 4]], [[30]], [[2] * 10]):
        (loss, grad), (other, others) = (gradients(model, *packed(*rows)) for model in models)
        assert other == pytest.approx(loss, rel=1e-6)
        assert torch.allclose(others, grad, atol=1e-6 + 1e-5 * float(grad.abs().max()))


@pytest.mark.parametrize("rows", [[[7, 1, 12, 4], [20, 4]], [[BLOCK, BLOCK + 1, 2 * BLOCK + 50]]])
def test_in_mixed_precision_it_is_as_exact_as_the_dense_mask(models, rows):
    exact, exactly = gradients(models[0], *packed(*rows))
    errors = []
    for model in models:
        with torch.autocast("cpu", torch.bfloat16):
            loss, grad = gradients(model, *packed(*rows))
        errors.append((abs(loss - exact), float((grad - exactly).norm() / exactly.norm())))
    assert errors[1][0] < errors[0][0] + 5e-3
    assert errors[1][1] < 1.5 * errors[0][1] < 0.1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([1, 2, 31, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 7]), min_size=1, max_size=4),
       st.sampled_from([(4, 4), (4, 2), (3, 1)]), st.sampled_from([None, 0.3]))  # fmt: skip
def test_blocks_are_pytorchs_attention_document_by_document_in_float32(lengths, heads, scaling):
    random, tokens = torch.Generator().manual_seed(0), sum(lengths)
    parts = [torch.randn(1, n, tokens, 16, generator=random, requires_grad=True) for n in (*heads, heads[1])]
    weights = torch.randn(1, tokens, heads[0], 16, generator=random)
    shared = [x if n == heads[0] else x.repeat_interleave(heads[0] // n, 1)
              for x, n in zip(parts, (*heads, heads[1]), strict=True)]  # fmt: skip
    alone = [torch.nn.functional.scaled_dot_product_attention(*one, is_causal=True, scale=scaling)
             for one in zip(*(x.split(lengths, 2) for x in shared), strict=True)]  # fmt: skip
    exact = torch.cat(alone, 2).transpose(1, 2)
    module = SimpleNamespace(is_causal=True)
    told, _ = attention.documents_attention(module, *parts, Documents(lengths), scaling=scaling)
    assert torch.allclose(told, exact, atol=1e-5)
    for mine, theirs in zip(*(torch.autograd.grad((x * weights).sum(), parts) for x in (told, exact)), strict=True):
        assert mine.dtype == torch.float32
        assert torch.allclose(mine, theirs, atol=1e-5 * max(1, float(theirs.abs().max())))


def test_no_mask_over_the_rows_is_made(models, monkeypatch):
    ids, positions = packed([7, 1, 12, 4])
    for name in ("sdpa_mask", "sdpa_attention_forward"):
        monkeypatch.setattr(attention, name, lambda *_, **__: pytest.fail("a dense mask"))
    models[1](input_ids=ids, position_ids=positions, use_cache=False)


def test_padded_batches_and_generation_are_untouched(models):
    ids, _ = packed([12], [12])
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    with torch.no_grad():
        logits = [model(input_ids=ids, attention_mask=mask).logits[mask.bool()] for model in models]
        assert torch.equal(*logits)
        for read in ({"attention_mask": mask}, {"attention_mask": torch.ones_like(ids)}):
            told = [model.generate(ids, **read, max_new_tokens=8, do_sample=False) for model in models]
            assert torch.equal(*told)


def test_a_sliding_window_keeps_its_mask():
    ids, positions = packed([30])
    plain, other = pair(MistralForCausalLM, MistralConfig, sliding_window=5)
    wide, _ = pair(MistralForCausalLM, MistralConfig, sliding_window=None)
    with torch.no_grad():
        near, same, far = (m(input_ids=ids, position_ids=positions, use_cache=False).logits
                           for m in (plain, other, wide))  # fmt: skip
    assert torch.equal(same, near)
    assert not np.allclose(far, near, atol=1e-2)


def test_another_attention_stays_as_it_is():
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, attn_implementation="eager"))
    assert by_document(model).config._attn_implementation == "eager"
