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
from flanlib.training.memory import check, longest, plan
from flanlib.training.model import add_lora, autocast, load

CONSUMER = PRESETS["consumer"]
SMALL = replace(CONSUMER, lora_rank=8, rows_per_pass=1, row_tokens=320, optimizer="adamw_torch_fused")


@pytest.fixture
def llama_2(tmp_path):
    """The configuration of Llama-2-7B; the preset that trains it as the memory notes of QLoRA count it."""
    LlamaConfig().save_pretrained(tmp_path)  # its defaults are those of Llama-2-7B
    return replace(CONSUMER, model=str(tmp_path), rows_per_pass=1)


@pytest.fixture
def card(monkeypatch):
    """Make believe that there are GPUs with so many bytes free, and so many that torch holds, some of them unused."""

    def free(room, *, reserved=0, allocated=0, cards=1, share=1.0):
        for name, told in {"is_available": True, "device_count": cards}.items():
            monkeypatch.setattr(torch.cuda, name, lambda told=told: told)
        for name, told in {"mem_get_info": (room, 80e9), "memory_reserved": reserved,
                           "memory_allocated": allocated,
                           "get_per_process_memory_fraction": share}.items():  # fmt: skip
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
    assert plan(replace(llama_2, row_tokens=most)).sum() <= 24e9 < plan(replace(llama_2, row_tokens=most + 64)).sum()
    assert longest(llama_2, 1e9) == 0


def test_a_gpu_is_told_what_a_run_takes_and_refuses_one_too_large(llama_2, monkeypatch, capsys, card):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check(llama_2)
    assert capsys.readouterr().out == ""
    card(24e9)
    check(llama_2)
    told = capsys.readouterr().out
    assert "GB at 1 x 4,096 tokens a pass: linear weights 3.3, other weights 0.5" in told
    assert "visible" not in told
    card(4e9)
    with pytest.raises(FlanError, match=r"4\.0 GB free"):
        check(llama_2)


def test_a_process_that_shares_a_gpu_has_what_is_left_of_its_share(card):
    cuda = torch.device("cuda", 0)
    for share, left in ((1.0, 21e9), (0.25, 17e9), (0.05, 1e9)):  # of 80 GB, of which 3 are in tensors
        card(20e9, reserved=4e9, allocated=3e9, share=share)
        assert memory.room(cuda) == left


def test_memory_that_torch_keeps_for_new_tensors_is_not_taken(llama_2, capsys, card):
    card(4e9, reserved=19e9, allocated=0)  # after a first run in the same kernel, whose model is gone
    check(llama_2)
    assert "takes about" in capsys.readouterr().out
    card(4e9, reserved=19e9, allocated=18e9)  # the model is still there
    with pytest.raises(FlanError, match=r"5\.0 GB free"):
        check(llama_2)


def test_a_model_that_only_a_cycle_of_references_keeps_is_collected_before_memory_is_read(card, monkeypatch):
    class Cycle:
        def __init__(self):
            self.itself = self

    gone = weakref.ref(Cycle())
    card(4e9)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4e9 + 9e9 * (gone() is None), 80e9))
    assert memory.room() == 13e9


def test_the_plan_is_for_the_rows_a_pass_of_the_preset_or_as_many_as_fit(llama_2, capsys, card):
    four = replace(llama_2, rows_per_pass=4)
    card(40e9)
    check(four)
    assert f"takes about {plan(four).sum() / 1e9:.1f} GB at 4 x 4,096 tokens a pass: " in capsys.readouterr().out
    card(plan(replace(four, rows_per_pass=3)).sum())
    check(four)
    two = plan(replace(four, rows_per_pass=2)).sum() / 1e9
    assert f"takes about {two:.1f} GB at 2 x 4,096 tokens a pass (4 do not fit): " in capsys.readouterr().out


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
@pytest.mark.parametrize(("width", "layers", "rank", "bits"), [(64, 2, 4, 4), (128, 3, 16, 16)])
def test_the_planned_activations_are_the_bytes_that_a_model_saves(tmp_path, monkeypatch, width, layers, rank, bits,
                                                                  precision):  # fmt: skip
    for module in (memory, model):
        monkeypatch.setattr(module, "compute_dtype", lambda: precision)
    llama(96, width=width, layers=layers, head=32).save_pretrained(tmp_path)
    preset = replace(SMALL, model=str(tmp_path), lora_rank=rank, checkpointing=False, bits=bits)
    tuned = add_lora(load(preset.model, bits=bits), rank=rank, seed=0)

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

    planned = (plan(replace(preset, row_tokens=t), cuda=False)["activations"] for t in (320, 64))
    more = next(planned) - next(planned)
    assert saved(320) - saved(64) == pytest.approx(more, rel=0.1)


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
