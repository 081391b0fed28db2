"""Attention by documents computes what PyTorch's attention under a dense mask computes."""

from inspect import signature
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM
from transformers.masking_utils import (
    create_bidirectional_sliding_window_mask,
    create_causal_mask,
    create_chunked_causal_mask,
    create_sliding_window_causal_mask,
)

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


def gradients(model, ids, positions, **more):
    model.zero_grad()
    logits = model(input_ids=ids, position_ids=positions, use_cache=False, **more).logits
    loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), ids.flatten())
    loss.backward()
    return float(loss.detach()), torch.cat([p.grad.flatten() for p in model.parameters()])


def dense(documents, rows):
    """What tokens of the same document, at most so many before, see of each other: (rows, 1, tokens, tokens)."""
    owner = torch.repeat_interleave(torch.arange(len(documents)), torch.tensor(documents)).view(rows, -1)
    back = torch.arange(owner.shape[1])[:, None] - torch.arange(owner.shape[1])
    near = (back >= 0) & (back < (documents.window or len(back)))
    return ((owner[:, :, None] == owner[:, None]) & near)[:, None]


@pytest.mark.parametrize(("make", "size"), [(create_causal_mask, None), (create_sliding_window_causal_mask, 3),
                                            (create_chunked_causal_mask, 4)])  # fmt: skip
@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), rows=st.integers(1, 3))
def test_documents_and_windows_are_those_of_transformers_own_mask(make, size, lengths, rows):
    config = LlamaConfig(**SHAPE, sliding_window=size, attention_chunk_size=size)
    _, positions = packed(*[lengths] * rows)
    masks = []
    for config._attn_implementation in ("sdpa", attention.NAME):
        masks.append(make(config, torch.zeros(*positions.shape, 64), None, None, positions))
    assert isinstance(masks[1], Documents)
    every = torch.ones(positions.shape[1], positions.shape[1], dtype=torch.bool).tril()  # it gives none if all is seen
    assert torch.equal(dense(masks[1], rows), every.expand(rows, 1, -1, -1) if masks[0] is None else masks[0])


def test_a_window_in_both_directions_keeps_transformers_mask():
    config = LlamaConfig(**SHAPE, sliding_window=3)
    config._attn_implementation = attention.NAME
    mask = create_bidirectional_sliding_window_mask(config, torch.zeros(1, 9, 64), None)
    assert not isinstance(mask, Documents)
    assert bool(mask[0, 0, 4, 6])


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
       st.sampled_from([(4, 4), (4, 2), (3, 1)]), st.sampled_from([None, 0.3]),
       st.sampled_from([None, 1, 5, BLOCK, BLOCK + 30]))  # fmt: skip
def test_blocks_are_pytorchs_attention_document_by_document_in_float32(lengths, heads, scaling, window):
    random, tokens = torch.Generator().manual_seed(0), sum(lengths)
    parts = [torch.randn(1, n, tokens, 16, generator=random, requires_grad=True) for n in (*heads, heads[1])]
    weights = torch.randn(1, tokens, heads[0], 16, generator=random)
    shared = [x if n == heads[0] else x.repeat_interleave(heads[0] // n, 1)
              for x, n in zip(parts, (*heads, heads[1]), strict=True)]  # fmt: skip
    documents = Documents(lengths)
    documents.window = window
    exact = scaled_dot_product_attention(*shared, attn_mask=dense(documents, 1), scale=scaling).transpose(1, 2)
    told, _ = attention.documents_attention(SimpleNamespace(is_causal=True), *parts, documents, scaling=scaling)
    assert torch.allclose(told, exact, atol=1e-5)
    for mine, theirs in zip(*(torch.autograd.grad((x * weights).sum(), parts) for x in (told, exact)), strict=True):
        assert mine.dtype == torch.float32
        assert torch.allclose(mine, theirs, atol=1e-5 * max(1, float(theirs.abs().max())))


def together(*arguments, **named):
    """What varlen_attn computes, as its documentation says, from dense attention: CPUs have no kernel for it."""
    told = signature(varlen_attn).bind(*arguments, **named).arguments
    begins, tokens = told["cu_seq_q"], told["query"].shape[0]
    assert begins is told["cu_seq_k"]
    assert begins.dtype == torch.int32
    assert (int(begins[0]), int(begins[-1])) == (0, tokens)
    assert told["max_q"] == told["max_k"] == int(begins.diff().max())
    assert told["query"].shape == told["key"].shape == told["value"].shape
    owner, token = torch.searchsorted(begins, torch.arange(tokens), right=True), torch.arange(tokens)
    behind, ahead = (tokens if n < 0 else n for n in told["window_size"])
    seen = token[:, None] - token[None]
    mask = (owner[:, None] == owner[None]) & (seen <= behind) & (-seen <= ahead)
    heads_first = [told[name].transpose(0, 1) for name in ("query", "key", "value")]
    return scaled_dot_product_attention(*heads_first, attn_mask=mask, scale=told["scale"]).transpose(0, 1)


@pytest.mark.parametrize("rows", [[[7, 1, 12, 4], [20, 4]], [[30]]])
def test_a_kernel_for_all_documents_at_once_is_given_what_it_needs(models, rows):
    ids, positions = packed(*rows)
    calls = []

    def kernel(*arguments, **named):
        calls.append(arguments[3])
        return together(*arguments, **named)

    found = [gradients(models[0], ids, positions), gradients(models[1], ids, positions, varlen=kernel)]
    (loss, grad), (other, others) = found
    assert len(calls) == 2  # a call per layer, whatever the documents
    assert calls[0] is calls[1]  # and their bounds are made once
    assert other == pytest.approx(loss, rel=1e-6)
    assert torch.allclose(others, grad, atol=1e-6 + 1e-5 * float(grad.abs().max()))


def test_under_autocast_the_kernel_reads_its_precision_and_its_scale(models):
    parts = [torch.randn(1, n, 9, 16, generator=torch.Generator().manual_seed(0)) for n in (4, 2, 2)]
    told = []

    def kernel(*arguments, **named):
        told.extend(x.dtype for x in arguments[:3])
        return together(*arguments, **named)

    for scaling in (None, 0.3):
        exact, _ = attention.documents_attention(None, *parts, Documents((4, 5)), scaling=scaling)
        with torch.autocast("cpu", torch.bfloat16):
            found, _ = attention.documents_attention(None, *parts, Documents((4, 5)), scaling=scaling, varlen=kernel)
        assert torch.allclose(found.float(), exact, atol=0.03)
    assert told == [torch.bfloat16] * 6


@pytest.mark.parametrize(("fits", "dropout", "expected"), [
    (True, 0.0, ["varlen_attn"]), (False, 0.1, ["scaled_dot_product_attention"] * 3)])  # fmt: skip
def test_pytorchs_kernel_takes_what_it_is_given_and_else_documents_are_read_one_by_one(fits, dropout, expected,
                                                                                       monkeypatch):  # fmt: skip
    """On tensors without data, which need no kernel: the checks are PyTorch's, and so are the shapes that come back."""
    calls = []
    for name in ("varlen_attn", "scaled_dot_product_attention"):
        real = getattr(attention, name)
        monkeypatch.setattr(attention, name, lambda *args, name=name, real=real, **named:
                            calls.append(name) or real(*args, **named))  # fmt: skip
    monkeypatch.setattr(attention, "flash", lambda query, key, value, dropout: fits)
    with FakeTensorMode():
        parts = [torch.empty(2, n, 9, 16, dtype=torch.bfloat16, requires_grad=True) for n in (4, 2, 2)]
        out, _ = attention.documents_attention(None, *parts, Documents((4, 5, 9)), dropout=dropout)
        out.sum().backward()
    assert (out.shape, out.dtype) == ((2, 9, 4, 16), torch.bfloat16)
    assert [x.grad.shape for x in parts] == [x.shape for x in parts]
    assert calls == expected


def test_pytorchs_kernel_is_taken_only_where_pytorch_says_that_it_runs(monkeypatch):
    half = torch.empty(1, 4, 9, 16, dtype=torch.bfloat16)
    assert not attention.flash(half, half, half)  # a CPU
    asked = []
    monkeypatch.setattr(attention, "can_use_flash_attention", lambda of: asked.append(of) or True)
    assert not attention.flash(half, half, half)
    with FakeTensorMode():
        half, odd = (torch.empty(1, 4, 9, width, dtype=torch.bfloat16, device="cuda") for width in (16, 20))
    for cuda in (None, "13.0"):  # None is PyTorch's for AMD's GPUs
        monkeypatch.setattr(torch.version, "cuda", cuda)
        assert attention.flash(half, half, half) == bool(cuda)
    assert not attention.flash(half, half, half, dropout=0.1)
    assert not attention.flash(odd, odd, odd)
    [of] = asked
    assert (of.query.shape, of.is_causal, of.dropout, of.attn_mask) == (half.shape, True, 0, None)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("window", [None, 5])
def test_on_a_gpu_pytorchs_kernel_computes_what_blocks_do_on_a_cpu(window):
    documents, random = Documents((7, 1, 40)), torch.Generator().manual_seed(0)
    documents.window = window
    parts = [torch.randn(1, n, 48, 64, generator=random).bfloat16() for n in (4, 2, 2)]
    weights, found = torch.randn(1, 48, 4, 64, generator=random), []
    for device, dtype in (("cpu", torch.float32), ("cuda", torch.bfloat16)):
        moved = [x.to(device, dtype).requires_grad_() for x in parts]
        shared = [moved[0], *(x.repeat_interleave(2, 1) for x in moved[1:])]
        assert attention.flash(*shared) == (device == "cuda")
        out, _ = attention.documents_attention(None, *moved, documents)
        found.append([x.detach().float().cpu() for x in
                      (out, *torch.autograd.grad((out.float() * weights.to(device)).sum(), moved))])  # fmt: skip
    for exact, told in zip(*found, strict=True):
        assert float((told - exact).norm() / exact.norm()) < 0.02


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


@pytest.mark.parametrize("way", [{}, {"varlen": together}, {"attention_dropout": 1e-12}],
                         ids=["blocks", "at once", "one by one"])  # fmt: skip
def test_a_sliding_window_sees_as_far_as_under_the_dense_mask(way):
    """Within documents that are longer than it; dropout, here of nothing, leaves all to PyTorch's attention."""
    ids, positions = packed([17, 3, 10])
    more = {"attention_dropout": way["attention_dropout"]} if "attention_dropout" in way else {}
    kernel = {name: value for name, value in way.items() if name == "varlen"}
    plain, other = pair(MistralForCausalLM, MistralConfig, sliding_window=5, **more)
    wide, _ = pair(MistralForCausalLM, MistralConfig, sliding_window=None)
    (near, grad), (same, others), (far, _) = (gradients(plain, ids, positions),
                                              gradients(other, ids, positions, **kernel),
                                              gradients(wide, ids, positions))  # fmt: skip
    assert same == pytest.approx(near, rel=1e-6)
    assert torch.allclose(others, grad, atol=1e-6 + 1e-5 * float(grad.abs().max()))
    assert abs(far - near) > 1e-3


def test_another_attention_stays_as_it_is():
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, attn_implementation="eager"))
    assert by_document(model).config._attn_implementation == "eager"
