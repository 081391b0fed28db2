"""Packed documents have the losses that they have alone, in every architecture."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM

from flanlib import store
from flanlib.dialects import render_all
from flanlib.experiments import tuning
from flanlib.lab import tasks
from flanlib.presets import PRESETS
from flanlib.records import FlanError
from flanlib.tally import Tally
from flanlib.text.packing import pack
from flanlib.text.tokens import CONTEXT, Example
from flanlib.training import leaks, model
from flanlib.training.attention import by_document
from flanlib.training.leaks import foreseen, isolates
from flanlib.training.loss import collate, measure, token_judgements, token_losses
from flanlib.training.model import add_lora
from flanlib.training.train import Schedule, fit

VOCAB = 96
SHAPE = {"vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
         "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0,
         "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
HEAD = {"head_dim": 16}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
WINDOW = {"num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4}
DELTA = {"num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2,
         "linear_num_value_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16}  # fmt: skip
KEEP_APART = {
    "llama": HEAD,
    "qwen2": {},
    "qwen3": HEAD,
    "qwen3_moe": HEAD | EXPERTS,
    "gemma3_text": HEAD | WINDOW,
    "gemma4_text": HEAD | WINDOW | {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCAB,
                                    "global_head_dim": 16},
    "phi3": {},
    "olmo2": {},
    "falcon": {},
    "granite": {},
}  # fmt: skip
LEAK = {
    "lfm2": {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"]},
    "gpt_oss": HEAD | WINDOW | {"num_local_experts": 4},
    "bloom": {},
    "mpt": {"max_seq_len": 64},
    "qwen3_next": HEAD | EXPERTS | DELTA | {"shared_expert_intermediate_size": 16},
    "qwen3_5_text": HEAD | DELTA,
    "granitemoehybrid": {"num_hidden_layers": 2, "layer_types": ["mamba", "attention"], "mamba_n_heads": 4,
                         "mamba_d_head": 16, "mamba_d_state": 8, "num_local_experts": 0,
                         "shared_intermediate_size": 32, "position_embedding_type": "rope"},
}  # fmt: skip
SIZES = (9, 4, 12, 7, 3, 10)
SCHEDULE = Schedule(rows_per_step=2, rows_per_pass=2, rate=1e-2, seed=3, logs=100)


def made(kind, spread=0.2):
    """An untrained model, the same one every time; weights as wide as ``spread`` make a leak visible."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, **SHAPE | (KEEP_APART | LEAK)[kind] | {"initializer_range": spread})
        return by_document(AutoModelForCausalLM.from_config(config)).eval()


def examples(sizes=SIZES):
    rng = np.random.default_rng(0)
    return [Example(f"e{i}", rng.integers(3, VOCAB, size), np.where(np.arange(size) < 1 + i % 2, CONTEXT, i % 4),
                    np.full(size, 3)) for i, size in enumerate(sizes)]  # fmt: skip


def alone(lm, example):
    """The nats of an example's trained tokens, from transformers alone: no row, no positions."""
    ids = torch.from_numpy(example.ids).long()
    nats = cross_entropy(lm(input_ids=ids[None], use_cache=False).logits[0, :-1].float(), ids[1:], reduction="none")
    return nats[torch.from_numpy(example.kinds[1:] != CONTEXT)]


def in_order(rows):
    """The examples in the order in which rows hold them."""
    by_ids = {tuple(example.ids): example for example in examples()}
    for row in rows:
        for ids in np.split(row.ids[: sum(row.lengths)], np.cumsum(row.lengths)[:-1]):
            yield by_ids[tuple(ids)]


@pytest.mark.parametrize("kind", KEEP_APART | LEAK)
def test_packed_losses_and_gradients_are_those_of_each_document_alone(kind):
    lm, rows = made(kind), pack(examples(), row_tokens=24, pad_id=0)
    assert len(rows) == 2 < len(SIZES)
    batch = collate(rows)
    found = []
    for nats in (token_losses(lm, batch), torch.cat([alone(lm, example) for example in in_order(rows)])):
        lm.zero_grad()
        nats.sum().backward()
        grad = torch.cat([p.grad.flatten() for p in lm.parameters() if p.grad is not None])
        found.append((nats.detach(), grad / grad.abs().max()))
    for packed, single in zip(*found, strict=True):
        assert torch.allclose(packed, single, atol=2e-5)
    with torch.no_grad():
        assert torch.allclose(token_judgements(lm, batch)[0], found[1][0], atol=2e-5)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KEEP_APART | LEAK)
def test_a_leak_is_found_in_every_precision_however_small(kind, precision, monkeypatch):
    for module in (model, leaks):
        monkeypatch.setattr(module, "compute_dtype", lambda: precision)
    for spread in (0.02, 0.2):
        assert isolates(made(kind, spread)) == (kind in KEEP_APART)
        assert isolates(made(kind, spread).to(precision)) == (kind in KEEP_APART)


@pytest.mark.parametrize("kind", KEEP_APART | LEAK)
def test_a_leak_is_foreseen_from_the_configuration_of_a_deep_model(kind, tmp_path, monkeypatch):
    deep = (KEEP_APART | LEAK)[kind] | {"num_hidden_layers": 8}
    if "layer_types" in deep:
        deep["layer_types"] = deep["layer_types"] * 4
    AutoConfig.for_model(kind, **SHAPE | deep).save_pretrained(tmp_path)
    built, real = [], leaks._unmoved
    monkeypatch.setattr(leaks, "_unmoved", lambda lm: built.append(lm.config.num_hidden_layers) or real(lm))
    state = torch.random.get_rng_state()
    assert foreseen(str(tmp_path)) == (kind in KEEP_APART)
    assert built == [2 if "layer_types" in deep else 1]
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_cannot_be_foreseen_is_taken_to_keep_documents_apart_until_the_model_is_there(tmp_path, monkeypatch):
    assert foreseen(str(tmp_path / "nowhere"))
    AutoConfig.for_model("lfm2", **SHAPE | LEAK["lfm2"]).save_pretrained(tmp_path)
    monkeypatch.setattr(leaks, "device", lambda: torch.device("cuda", 99))  # where nothing can be made
    assert foreseen(str(tmp_path))


def test_positions_that_run_on_through_a_row_are_a_leak_too():
    lm = made("llama")  # it attends within documents
    rotation = lm.model.rotary_emb.forward
    # Squares, since rotations by positions themselves depend on distances only.
    lm.model.rotary_emb.forward = lambda x, position_ids: rotation(x, torch.arange(x.shape[1])[None] ** 2)
    assert not isolates(lm)


def test_the_check_leaves_no_trace_and_runs_once(monkeypatch):
    lm, calls = add_lora(made("qwen3_moe"), rank=2, seed=0), []
    before, real = torch.random.get_rng_state(), leaks._unmoved
    monkeypatch.setattr(leaks, "_unmoved", lambda causal: calls.append(causal) or real(causal))
    with torch.inference_mode():  # as in a reader
        assert isolates(lm)
    assert isolates(lm)
    assert len(calls) == 1
    assert lm.training
    assert all(p.grad is None for p in lm.parameters())
    assert not lm.get_input_embeddings()._forward_hooks
    assert torch.equal(torch.random.get_rng_state(), before)


def test_measured_losses_of_a_model_that_leaks_are_those_of_single_examples():
    lm = made("lfm2")
    frame = measure(lm, examples(), label=None)
    with torch.no_grad():
        expected = [float(alone(lm, example).sum()) for example in examples()]
    assert frame["nats"].to_numpy() == pytest.approx(expected, abs=1e-4)


def test_the_logits_of_documents_read_one_by_one_do_not_add_up():
    lm, batch, shapes = made("gpt_oss"), collate(pack(examples(), row_tokens=24, pad_id=0)), []
    token_losses(lm, batch)  # the probes
    with torch.autograd.graph.saved_tensors_hooks(lambda x: shapes.append(x.shape) or x, lambda x: x):
        token_losses(lm, batch)
    assert shapes
    assert not [shape for shape in shapes if shape[-1:] == (VOCAB,)]


def trained(folder, kind, schedule=SCHEDULE):
    rows = pack(examples(SIZES * 4), row_tokens=24, pad_id=0)
    held = [pack([row], row_tokens=len(row), pad_id=0)[0] for row in examples()]
    return fit(add_lora(made(kind), rank=2, seed=0), rows, schedule, folder, heldout=held)


def test_a_run_of_a_model_that_leaks_says_so_once_and_keeps_its_rows_and_steps(tmp_path, capfd):
    with pytest.warns(UserWarning, match="Packed documents would leak into each other in a lfm2 model") as told:
        leaking = trained(tmp_path / "lfm2", "lfm2").losses
    assert sum("leak" in str(one.message) for one in told) == 1
    assert "\n" not in str(told[0].message)
    assert "a pass per document" in capfd.readouterr().err
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        apart = trained(tmp_path / "llama", "llama").losses
    assert "a pass per document" not in capfd.readouterr().err
    same = ["step", "trained_tokens", "split", "kind", "tokens", "bytes"]
    assert leaking[same].equals(apart[same])
    checked = trained(tmp_path / "again", "lfm2", replace(SCHEDULE, checkpointing=True)).losses
    assert checked["nats"].to_numpy() == pytest.approx(leaking["nats"].to_numpy(), rel=1e-4)


def test_a_model_that_leaks_does_not_train_on_several_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(FlanError, match="bloom model, which mixes packed documents, on several processes"):
        trained(tmp_path, "bloom")


def test_read_apart_or_packed_a_run_gives_one_result_and_its_manifest_says_how(tmp_path, monkeypatch):
    texts = render_all(tasks.trajectories(3, rng=np.random.default_rng(1)), "react")
    size = replace(PRESETS["smoke"], trained_tokens=300, row_tokens=2048, rows_per_step=1, rows_per_pass=1, seeds=(0,))
    found = []
    for apart in (False, True):
        monkeypatch.setattr(store, "RUNS", tmp_path / str(apart))
        if apart:
            monkeypatch.setattr(leaks, "_unmoved", lambda lm: False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (folder,) = tuning.tuned({"react": tuning.Arm(texts)}, size, Tally("t"), shipped=False)["react"]
        found.append(tuning.table({"react": [folder]}, "losses"))
        assert store.manifest(folder).get("passes") == ("one per document" if apart else None)
    assert found[1].drop(columns="nats").equals(found[0].drop(columns="nats"))
    assert found[1]["nats"].to_numpy() == pytest.approx(found[0]["nats"].to_numpy(), rel=2e-2)
