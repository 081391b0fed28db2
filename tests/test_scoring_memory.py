"""Scoring after training fits into what a GPU has free: weights, batches, and halves of a batch that did not fit."""

import gc
import weakref
from dataclasses import replace
from functools import lru_cache
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from made import llama
from transformers import AutoModelForCausalLM, LlamaConfig

from flanlib import pretrained, store
from flanlib.benchmarks import Prompt
from flanlib.dialects import render_all
from flanlib.experiments import publish, tuning
from flanlib.inference import cache
from flanlib.inference import generate as g
from flanlib.inference.continuations import Scorer
from flanlib.inference.reader import Reader
from flanlib.lab import tasks
from flanlib.presets import PRESETS
from flanlib.records import FlanError, say
from flanlib.tally import Tally
from flanlib.text.templates import get_template
from flanlib.text.tokens import load_tokenizer
from flanlib.training import loss, memory
from flanlib.training import model as m

NAME, GB = "random", 1e9
TOKENIZER = load_tokenizer(pretrained.folder(NAME))
OWN = get_template("own", TOKENIZER)
PROMPTS = [Prompt(str(i), (say("user", "Is it far? " + "word " * (3 * i)),)) for i in range(8)]
TEXTS = ["one two three " * (i + 1) for i in range(6)]
SHORT = g.Decoding(max_new_tokens=6)
CONFIG = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 3,
          "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256}  # fmt: skip
ARCHITECTURES = {
    "Llama": {}, "Qwen3": {"head_dim": 32}, "Gemma3Text": {"head_dim": 32, "sliding_window": 8},
    "Phi3": {"pad_token_id": 0},
    "Gemma4Text": {"head_dim": 16, "global_head_dim": 32, "num_global_key_value_heads": 1, "sliding_window": 8,
                   "vocab_size_per_layer_input": 64, "hidden_size_per_layer_input": 8},
    "DeepseekV3": {"num_key_value_heads": 4, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 16,
                   "kv_lora_rank": 16, "q_lora_rank": 16, "n_routed_experts": 4, "n_group": 1, "topk_group": 1,
                   "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    "Falcon": {"multi_query": True},
}  # fmt: skip


@pytest.fixture
def llama_2(tmp_path):
    LlamaConfig().save_pretrained(tmp_path)  # its defaults are those of Llama-2-7B
    return str(tmp_path)


@lru_cache
def tiny():
    return llama(len(TOKENIZER)).eval()


def weights_of(model):
    return [weakref.ref(weight) for weight in model.parameters() if hasattr(weight, "quant_state")]


def test_four_bit_weights_are_gone_as_soon_as_they_are_dequantised(monkeypatch):
    real, seen = g.load, []

    def load(*args, **kwargs):
        model = real(*args, **kwargs)
        seen.extend(weights_of(model))
        return model

    monkeypatch.setattr(g, "load", load)
    gc.collect()
    gc.disable()
    try:
        dense = g.dense(NAME, bits=4)
        assert len(seen) == 14
        assert [weight for weight in seen if weight() is not None] == []
    finally:
        gc.enable()
    assert all(weight.is_floating_point() for weight in dense.parameters())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_cache_takes_more_than_was_counted_for_a_token(name):
    config = getattr(transformers, f"{name}Config")(**CONFIG | ARCHITECTURES[name])
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        layers = model(input_ids=torch.arange(40)[None], use_cache=True).past_key_values.layers
    taken = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers) / 40
    counted = cache.bytes_per_token(model)
    assert taken <= counted
    if name in ("Llama", "Qwen3", "Phi3"):
        assert taken == counted


@given(st.floats(0, 200 * GB), st.integers(1, 2048))
def test_a_batch_on_a_gpu_fits_into_its_free_memory(free, new_tokens):
    tokens, keep = g.batch_sizes(tiny(), free, new_tokens)
    assert 1 <= tokens <= 131_072
    assert tokens == 1 or tokens * memory.scoring_bytes(tiny(), new_tokens) <= 0.8 * free
    assert keep == tokens * cache.bytes_per_token(tiny())


def test_a_batch_on_a_cpu_has_its_old_size_and_on_a_gpu_many_times_that(llama_2):
    assert g.batch_sizes(tiny(), float("inf"), 160) == (32_768, 2**31)
    model = m.outline(llama_2).to(torch.bfloat16)
    assert g.batch_sizes(model, float("inf"), 160) == (2048, 2**31)
    large, small = (g.batch_sizes(model, free, 160)[0] for free in (66 * GB, 2 * GB))
    assert large > 10 * 2048
    assert 500 < small < 1000
    writer = g.Writer(tiny(), TOKENIZER, OWN)
    assert (writer.tokens_per_batch, writer.keep) == (32_768, 2**31)


def test_a_writer_on_a_gpu_asks_what_is_free(monkeypatch):
    monkeypatch.setattr(g, "room", lambda where: 10_000_000)
    writer = g.Writer(tiny(), TOKENIZER, OWN, SHORT)
    assert writer.tokens_per_batch * memory.scoring_bytes(tiny(), 6) <= 8_000_000
    assert (g.Writer(tiny(), TOKENIZER, OWN, keep=0).keep, writer.keep > 0) == (0, True)


@pytest.mark.parametrize(("room", "bits", "taken"), [(24, 4, 16), (16, 4, 4), (8, 4, 4), (15, 16, 16)])
def test_dense_weights_are_scored_with_where_they_leave_room_for_replies(llama_2, room, bits, taken):
    planned = memory.scoring(llama_2, bits, room * GB)
    assert planned.bits == taken
    assert planned.weights == pytest.approx({16: 13.48 * GB, 4: 3.87 * GB}[taken], rel=0.01)


def test_the_plan_tells_what_scoring_needs_before_training(llama_2, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    preset = replace(PRESETS["consumer"], model=llama_2, rows_per_pass=1)
    for room, told in [(24, "Scoring it takes 13.5 GB of weights in bfloat16"), (16, "3.9 GB of weights in four bits")]:
        monkeypatch.setattr(memory, "room", lambda room=room: room * GB)
        memory.check(preset)
        assert told in capsys.readouterr().out


def test_without_room_for_dense_weights_the_four_bit_model_replies_with_its_adapter(tmp_path, monkeypatch):
    tuned = m.add_lora(m.load(NAME), rank=4, seed=0)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(len(name)))
    tuned.save_pretrained(tmp_path)
    told = {}
    for room in (float("inf"), 24 * GB, 1e6):
        monkeypatch.setattr(g, "room", lambda where=None, room=room: room)
        model = g.scoring_model(NAME, tmp_path, bits=4)
        assert len(weights_of(model)) == (14 if room == 1e6 else 0)
        monkeypatch.setattr(g, "room", lambda where=None: float("inf"))
        told[room] = g.Writer(model, TOKENIZER, OWN, SHORT)(PROMPTS)
    assert len({tuple(texts) for texts in told.values()}) == 1
    monkeypatch.setattr(g, "room", lambda where=None: 1e6)
    assert len(weights_of(g.scoring_model(NAME, bits=4))) == 14


def test_a_tuned_model_is_merged_on_the_cpu_in_the_precision_of_the_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(m, "device", lambda: torch.device("cuda", 0))
    model = g.dense(NAME, bits=4, where=m.CPU)
    assert {(weight.device, weight.dtype) for weight in model.parameters()} == {(m.CPU, torch.bfloat16)}
    monkeypatch.setattr(publish, "dense", dense := Mock(side_effect=KeyError))
    with pytest.raises(KeyError):
        publish.publish(tmp_path / "new", base=NAME, adapter=tmp_path, tokenizer=TOKENIZER, template=OWN, corpus=[],
                        scores=None)  # fmt: skip
    assert dense.call_args.kwargs["where"] == m.CPU


def failing(real, size, most):
    """Make believe that a call runs out of memory if ``size`` of its arguments is more than ``most``."""

    def call(self, *args, **kwargs):
        if size(*args) > most:
            raise torch.OutOfMemoryError("too many tokens")
        return real(self, *args, **kwargs)

    return call


def test_replies_are_the_same_where_batches_do_not_fit_and_are_halved(monkeypatch):
    whole = g.Writer(tiny(), TOKENIZER, OWN, SHORT)(PROMPTS)
    for name, size, most, refill in [("_write", len, 2, 0), ("prefill", len, 3, 0), ("prefill", len, 3, 0.1)]:
        with monkeypatch.context() as patch:
            owner = g.Writer if name == "_write" else cache.Runner
            # A row alone always fits: its branches are read one by one.
            patch.setattr(owner, name, failing(getattr(owner, name), lambda rows, *_, size=size: size(rows), most))
            writer = g.Writer(tiny(), TOKENIZER, OWN, SHORT, tokens_per_batch=400, refill=refill)
            with pytest.warns(UserWarning, match="400 tokens in a batch: going on with 200"):
                assert writer(PROMPTS) == whole
            assert writer.tokens_per_batch <= 200
            assert writer.ended.total() == len(PROMPTS)
            assert writer(PROMPTS) == whole  # with what the first call kept


def test_verdicts_and_log_probabilities_are_the_same_in_halves(monkeypatch):
    places = [[(4, len(text))] for text in TEXTS]
    reader, scorer = Reader(tiny(), TOKENIZER, OWN), Scorer(tiny(), TOKENIZER, OWN)
    choices, sums = reader.choices(TEXTS, places), scorer(PROMPTS, [["yes", "no"]] * len(PROMPTS))
    for owner in (Reader, Scorer):
        monkeypatch.setattr(owner, "_pass", failing(owner._pass, lambda rows, *_: len(rows), 1))
    with pytest.warns(UserWarning, match="Out of memory"):
        again = reader.choices(TEXTS, places)
    assert [one.firsts.tolist() for one in again] == [one.firsts.tolist() for one in choices]
    with pytest.warns(UserWarning, match="Out of memory"):
        told = scorer(PROMPTS, [["yes", "no"]] * len(PROMPTS))
    assert torch.tensor(told).flatten().tolist() == pytest.approx(torch.tensor(sums).flatten().tolist(), rel=1e-4)


def test_losses_are_measured_in_halves_where_a_pass_does_not_fit(tmp_path, monkeypatch):
    chats = render_all(tasks.trajectories(4, rng=np.random.default_rng(1)), "chat")
    preset, real = replace(PRESETS["smoke"], row_tokens=2048), loss.token_losses

    def told(runs):
        monkeypatch.setattr(store, "RUNS", tmp_path / runs)
        return tuning.measured({"held out": chats}, {"base": [None]}, preset, Tally("t"))["nats"].to_numpy()

    whole = told("whole")
    longest = max(map(len, tuning.examples(chats, preset, Tally("t"))))
    small = failing(lambda model, batch: real(model, batch), lambda batch: batch["input_ids"].shape[1], longest)
    monkeypatch.setattr(loss, "token_losses", small)
    with pytest.warns(UserWarning, match="16,384 tokens in a batch: going on with 8,192"):
        assert told("halves") == pytest.approx(whole, rel=1e-2)


@pytest.mark.filterwarnings("ignore:Out of memory")
def test_a_row_that_does_not_fit_alone_is_one_clear_error(monkeypatch):
    for owner, name in [(g.Writer, "_write"), (Reader, "_pass"), (Scorer, "_pass")]:
        monkeypatch.setattr(owner, name, failing(getattr(owner, name), lambda rows, *_: len(rows), 0))
    for call in (lambda: g.Writer(tiny(), TOKENIZER, OWN, SHORT)(PROMPTS),
                 lambda: Reader(tiny(), TOKENIZER, OWN).choices(TEXTS, [[(4, 9)]] * len(TEXTS)),
                 lambda: Scorer(tiny(), TOKENIZER, OWN)(PROMPTS, [["yes"]] * len(PROMPTS))):  # fmt: skip
        with pytest.raises(FlanError, match=r"one row of \d+ tokens does not fit into memory"):
            call()
    assert g.Writer(tiny(), TOKENIZER, OWN, SHORT)([]) == []


def test_what_an_earlier_run_left_on_the_gpu_is_collected_before_the_next_model_loads(monkeypatch):
    class Run:
        pass

    run = Run()
    run.itself, left, seen = run, weakref.ref(run), []
    monkeypatch.setattr(m, "device", lambda: torch.device("cuda", 0))
    monkeypatch.setattr(m, "_from_pretrained", lambda *_: seen.append(left()) or tiny())
    gc.disable()
    try:
        del run
        m.load(NAME)
        assert seen == [None]
    finally:
        gc.enable()
