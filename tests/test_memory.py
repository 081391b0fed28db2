"""The memory plan: its parts against what a model really keeps, and a refusal before anything is loaded."""

import os
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made import llama
from transformers import LlamaConfig, Qwen3Config

from flanlib.presets import PRESETS
from flanlib.records import FlanError
from flanlib.training import memory, model
from flanlib.training.memory import HEADROOM, check, chosen, longest, plan
from flanlib.training.model import add_lora, autocast, load
from flanlib.training.passes import Pass, arrange

CONSUMER = PRESETS["consumer"]
SMALL = replace(CONSUMER, lora_rank=8, rows_per_pass=1, row_tokens=320, optimizer="adamw_torch_fused")


@pytest.fixture
def llama_2(tmp_path):
    """The configuration of Llama-2-7B; the preset that trains it as the memory notes of QLoRA count it."""
    LlamaConfig().save_pretrained(tmp_path)  # its defaults are those of Llama-2-7B
    return replace(CONSUMER, model=str(tmp_path), rows_per_pass=1)


@pytest.fixture
def card(monkeypatch):
    """Make believe that there are GPUs with so many bytes free, and so many that torch holds, some of them unused.

    A process may take a ``share`` of their 80 GB.
    """

    def free(room, *, reserved=0, allocated=0, cards=1, share=1.0):
        for name, told in {"is_available": True, "device_count": cards}.items():
            monkeypatch.setattr(torch.cuda, name, lambda told=told: told)
        for name, told in {"mem_get_info": (room, 80e9), "memory_reserved": reserved,
                           "memory_allocated": allocated, "get_per_process_memory_fraction": share}.items():
            monkeypatch.setattr(torch.cuda, name, lambda device=None, told=told: told)

    return free


def test_llama_2_7b_has_the_parts_that_were_worked_out_by_hand(llama_2):
    parts = plan(llama_2) / 1e9
    # 6.476e9 weights in linear layers at 4.127 bits; 159.9e6 LoRA weights; 262.4e6 others, in bfloat16.
    assert parts["linear weights"] == pytest.approx(3.341, abs=0.002)
    assert parts["LoRA weights"] == pytest.approx(0.640, abs=0.001)
    assert parts["optimizer"] == pytest.approx(0.326, abs=0.001)
    assert parts["other weights"] == pytest.approx(0.525, abs=0.001)
    # 32 layers' inputs of 4,096 tokens x 4,096 x 2 bytes are 1.074 GB; one live layer is 0.7 GB.
    assert parts["activations"] == pytest.approx(1.774, abs=0.01)
    assert 8 < parts.sum() < 9.5


def test_sixteen_bits_are_two_bytes_on_a_card_and_four_on_a_cpu(llama_2, monkeypatch, card):
    plain = replace(llama_2, bits=16, checkpointing=False)
    assert plan(plain)["linear weights"] == pytest.approx(12.952e9, rel=1e-3)
    assert plan(plain, cuda=False)["linear weights"] == pytest.approx(25.904e9, rel=1e-3)
    assert plan(llama_2, cuda=False)["linear weights"] == plan(llama_2)["linear weights"]
    card(16e9)
    with pytest.raises(FlanError, match="Try 4 bits, "):
        check(plain)
    sizes = []
    for precision in (torch.bfloat16, torch.float32):
        monkeypatch.setattr(memory, "compute_dtype", lambda precision=precision: precision)
        sizes.append(plan(plain, cuda=False)["activations"])
        assert plan(plain)["activations"] == pytest.approx(22.398e9, rel=1e-3)  # a card has bfloat16
    assert sizes[1] > 1.5 * sizes[0]


@pytest.mark.parametrize(("bits", "most"), [(4, 10e9), (16, 28e9)])
def test_a_model_that_is_larger_than_memory_is_refused_before_it_is_loaded(llama_2, monkeypatch, bits, most):
    monkeypatch.setattr(model.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(model.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: None)
    monkeypatch.setattr(model, "_memory", lambda: 4e9)
    with pytest.raises(FlanError, match=r"GB of weights; expected at most 4\.0 GB, this machine's memory") as error:
        load(llama_2.model, bits=bits)
    assert "smaller model" in error.value.remedy
    monkeypatch.setattr(model, "_memory", lambda: most)
    with pytest.raises(AttributeError):  # on to the weights, of which there are none
        load(llama_2.model, bits=bits)
    monkeypatch.undo()
    assert model._memory() > 1e8


def test_a_run_that_does_not_fit_is_refused_with_the_knobs_to_turn(llama_2, card):
    card(24e9)
    with pytest.raises(FlanError, match=r"checkpointing, paged_adamw_8bit, row_tokens of at most [\d,]+") as error:
        check(replace(llama_2, checkpointing=False, optimizer="adamw_torch_fused"))
    assert "activations" in str(error.value)
    card(4e9)
    with pytest.raises(FlanError, match="smaller model"):
        check(llama_2)


def test_the_longest_row_is_the_longest_that_fits(llama_2):
    most = longest(llama_2, 24e9)
    way = Pass(1, 0, offload=True)
    assert plan(replace(llama_2, row_tokens=most), way).sum() <= 24e9
    assert plan(replace(llama_2, row_tokens=most + 64), way).sum() > 24e9
    assert plan(replace(llama_2, row_tokens=most * 3 // 5), Pass(1, 0)).sum() > 24e9  # without the CPU's memory
    plain = replace(llama_2, checkpointing=False)
    assert plan(replace(plain, row_tokens=longest(plain, 24e9))).sum() <= 24e9
    assert longest(llama_2, 1e9) == 0


def test_a_gpu_is_told_what_a_run_takes_and_refuses_one_too_large(llama_2, monkeypatch, capsys, card):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check(llama_2)
    assert capsys.readouterr().out == ""
    card(24e9)
    check(llama_2)
    told = capsys.readouterr().out
    assert ("GB at 1 x 4,096 tokens a pass, all layers but the last 20 computing activations again: "
            "linear weights 3.3, other weights 0.5, ") in told  # fmt: skip
    assert "visible" not in told
    card(4e9)
    with pytest.raises(FlanError, match=r"4\.0 GB free"):
        check(llama_2)


def test_memory_that_torch_keeps_for_new_tensors_is_not_taken(llama_2, capsys, card):
    card(4e9, reserved=19e9, allocated=0)  # after a first run in the same kernel, whose model is gone
    check(llama_2)
    assert "takes about" in capsys.readouterr().out
    card(4e9, reserved=19e9, allocated=18e9)  # the model is still there
    with pytest.raises(FlanError, match=r"5\.0 GB free"):
        check(llama_2)


@pytest.mark.parametrize(("free", "share", "expected"), [(70, 1.0, 71), (70, 0.5, 36), (10, 0.5, 11), (70, 0.05, 1)])
def test_no_more_is_there_than_a_process_may_take(card, free, share, expected):
    # Of a share of 80 GB 5 are reserved. The rest is there if it is free, and so is what is reserved and unused.
    card(free * 1e9, reserved=5e9, allocated=4e9, share=share)
    assert memory.room() == pytest.approx(expected * 1e9)


def test_a_model_that_only_a_cycle_of_references_keeps_is_collected_before_memory_is_read(card, monkeypatch):
    class Cycle:
        def __init__(self):
            self.itself = self

    gone = weakref.ref(Cycle())
    card(4e9)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4e9 + 9e9 * (gone() is None), 80e9))
    assert memory.room() == 13e9


def test_the_more_memory_is_free_the_more_layers_keep_their_activations_and_the_less_time_it_takes(llama_2, card):
    card(0)
    model, one = memory._decoder(llama_2), replace(llama_2, rows_per_step=1)
    alone = {room: chosen(one, room * 1e9) for room in range(9, 37, 3)}
    assert alone[9].offload
    assert alone[36] == Pass(1)
    kept = [32 if way.kept is None else way.kept for way in alone.values()]
    assert kept == sorted(kept)
    assert len(set(kept)) == len(kept)
    many = {room: chosen(llama_2, room * 1e9) for room in (10, 20, 40, 80, 140)}
    times = [memory._time(model, llama_2, way) for way in many.values()]
    assert times == sorted(times, reverse=True)
    assert all(32 % way.rows == 0 for way in many.values())
    for room, way in [*alone.items(), *many.items()]:
        assert plan(llama_2, way).sum() <= HEADROOM * room * 1e9


def test_a_small_model_reads_many_rows_together_where_they_fit_and_a_step_is_not_exceeded(tmp_path, card):
    card(0)
    shape = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9}
    LlamaConfig(vocab_size=49_152, num_key_value_heads=3, **shape).save_pretrained(tmp_path)  # SmolLM2-135M's shape
    small = replace(CONSUMER, model=str(tmp_path))
    assert chosen(small, 139e9) == Pass(32)
    assert chosen(replace(small, rows_per_step=6), 139e9) == Pass(6)
    assert chosen(small, 24e9).rows > 2
    assert chosen(replace(small, checkpointing=False), 24e9).kept is None


def test_on_a_cpu_and_on_several_processes_passes_are_those_that_were_asked_for(llama_2, monkeypatch, card):
    two = replace(llama_2, rows_per_pass=2)
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        assert chosen(two, 1e9) == Pass(2, 0)
        assert chosen(replace(two, checkpointing=False)) == Pass(2)
    card(80e9)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert chosen(two) == Pass(2, 0)
    assert chosen(two, plan(two, Pass(1, 0)).sum() / HEADROOM + 1e6) == Pass(1, 0)


def test_inputs_of_layers_wait_in_the_cpus_memory_only_where_a_row_would_not_fit_otherwise(llama_2, card, capsys):
    least = plan(llama_2, Pass(1, 0)).sum() / HEADROOM
    card(least + 1e6)
    check(llama_2)
    assert "CPU" not in capsys.readouterr().out
    card(least - 1e6)
    check(llama_2)
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert "all layers computing activations again, their inputs in the CPU's memory: linear weights" in first
    assert second.startswith("1.0 GB of a pass wait in the CPU's memory, which takes longer: not even one row")
    with pytest.raises(FlanError, match="activations"):
        check(replace(llama_2, checkpointing=False))
    # 32 inputs of 4,096 tokens x 4,096 x 2 bytes, of which two are on the card at a time
    assert plan(llama_2, Pass(1, 0)).sum() - plan(llama_2, Pass(1, 0, True)).sum() == 30 * 4096 * 4096 * 2


def test_a_leak_is_told_before_anything_is_loaded_and_a_pass_has_one_row(llama_2, card, capsys, monkeypatch):
    card(139e9)
    assert chosen(llama_2).rows > 1
    check(llama_2)
    assert "mix" not in capsys.readouterr().out
    monkeypatch.setattr(memory, "foreseen", lambda name: name != llama_2.model)
    assert chosen(llama_2) == Pass(1, apart=True)
    check(llama_2)
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert "at 1 x 4,096 tokens a pass: " in first
    assert "would mix packed documents: each gets a pass of its own" in second


def test_several_cards_of_which_one_is_used_are_told(llama_2, monkeypatch, capsys, card):
    card(40e9, cards=2)
    check(llama_2)
    assert "2 GPUs are visible and one is used: accelerate launch" in capsys.readouterr().out
    monkeypatch.setenv("WORLD_SIZE", "2")
    check(llama_2)
    assert "visible" not in capsys.readouterr().out


def test_a_large_vocabulary_is_planned_in_smaller_slices(tmp_path):
    Qwen3Config(vocab_size=151_936).save_pretrained(tmp_path)
    planned = plan(replace(CONSUMER, model=str(tmp_path)))["logits"]
    assert planned == pytest.approx(10 * 331 * 151_936 + 2 * 2 * 8192 * 4096, rel=1e-6)


FRESH = "import os, flanlib.training; print(os.environ.get('PYTORCH_ALLOC_CONF'), 'torch' in __import__('sys').modules)"


@pytest.mark.parametrize(("name", "value", "expected"), [
    ("OTHER", "x", "expandable_segments:True"), ("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:64", "None"),
    ("PYTORCH_ALLOC_CONF", "backend:cudaMallocAsync", "backend:cudaMallocAsync"),
    ("PYTORCH_ALLOC_CONF", "", "")])  # fmt: skip
def test_segments_grow_unless_the_user_has_set_the_allocator(name, value, expected):
    alone = {key: text for key, text in os.environ.items() if not key.endswith("ALLOC_CONF")}
    told = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, env={**alone, name: value})
    assert told.stdout == f"{expected} False\n", "it is set before torch is imported"


def test_a_gated_model_is_refused_with_the_way_in(monkeypatch):
    def gated(name):
        raise OSError(f"You are trying to access a gated repo: {name}")

    monkeypatch.setattr(model.AutoConfig, "from_pretrained", gated)
    llama_2 = replace(CONSUMER, model="meta-llama/Llama-2-7b-chat-hf")
    with pytest.raises(FlanError, match=r"accept its licence at https://huggingface.co/meta-llama.*open model") as told:
        plan(llama_2)
    assert f"MODEL={CONSUMER.model}" in told.value.remedy


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32], ids=["mixed", "float32"])
@pytest.mark.parametrize(("width", "layers", "rank", "bits", "kept"), [
    (64, 2, 4, 4, None), (128, 3, 16, 16, None), (128, 4, 4, 4, 2)])  # fmt: skip
def test_the_planned_activations_are_the_bytes_that_a_model_saves(tmp_path, monkeypatch, width, layers, rank, bits,
                                                                  kept, precision):  # fmt: skip
    for module in (memory, model):
        monkeypatch.setattr(module, "compute_dtype", lambda: precision)
    llama(96, width=width, layers=layers, head=32).save_pretrained(tmp_path)
    preset = replace(SMALL, model=str(tmp_path), lora_rank=rank, bits=bits)
    tuned = add_lora(load(preset.model, bits=bits), rank=rank, seed=0)
    arrange(tuned, Pass(1, kept))

    def saved(tokens):
        own, found = {p.untyped_storage().data_ptr() for p in tuned.parameters()}, {}

        def keep(x):
            found[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes(), x
            return x

        ids = torch.randint(0, 96, (1, tokens))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x), autocast(torch.device("cpu")):
            read = {"position_ids": torch.arange(tokens)[None], "use_cache": False}
            tuned(input_ids=ids, logits_to_keep=1, **read)
        return sum(size for at, (size, _) in found.items() if at not in own)

    planned = (plan(replace(preset, row_tokens=t), Pass(1, kept), cuda=False)["activations"] for t in (320, 64))
    more = next(planned) - next(planned)
    assert saved(320) - saved(64) == pytest.approx(more, rel=memory.TOLERANCE)


MEASURE = """
import sys, torch
from pathlib import Path
from flanlib.training import model as loading
from flanlib.training.loss import token_losses
from flanlib.training.model import add_lora, autocast, load
torch.set_num_threads(1)
loading.compute_dtype = lambda: torch.float32
tokens = int(sys.argv[2])
model = add_lora(load(sys.argv[1]), rank=8, seed=0)
ids = torch.randint(0, 512, (1, tokens))
batch = {"input_ids": ids, "position_ids": torch.arange(tokens)[None], "labels": ids,
         "trained": torch.arange(tokens - 1)[None]}
def step(n):
    cut = {"input_ids": ids[:, :n], "position_ids": batch["position_ids"][:, :n], "labels": ids[:, :n],
           "trained": batch["trained"][:, : n - 1]}
    with autocast():
        token_losses(model, cut).sum().backward()
def peak():  # of this process alone: getrusage counts what its parent had at the fork
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
step(64)
before = peak()
step(tokens)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="peak memory is read from Linux's /proc")
def test_a_step_takes_the_memory_that_was_planned_within_a_tenth(tmp_path, monkeypatch):
    # In float32 on every machine: bfloat16's matrix products take scratch memory of their own, by the kind of CPU.
    monkeypatch.setattr("flanlib.training.memory.compute_dtype", lambda: torch.float32)
    llama(512, width=512, layers=3, head=64).save_pretrained(tmp_path)
    tokens = 1536
    told = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path), str(tokens)], capture_output=True, text=True,
                          env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"})  # fmt: skip
    assert told.returncode == 0, told.stderr[-2000:]
    preset = replace(SMALL, model=str(tmp_path), checkpointing=False, row_tokens=tokens)
    parts = plan(preset, cuda=False) - plan(replace(preset, row_tokens=64), cuda=False)
    assert int(told.stdout) * 1024 == pytest.approx(parts.sum(), rel=0.1)
