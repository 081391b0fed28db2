"""Liger's kernels are asked for on a GPU only, only those of the layers, and they leave other models alone."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from made import llama
from peft import PeftModel
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.models.llama import modeling_llama

from flanlib.records import FlanError
from flanlib.training import liger, model
from flanlib.training.liger import use

CUDA = torch.device("cuda")  # there need not be one: Liger is a stand-in here
PLAIN = dict(vars(modeling_llama))


@pytest.fixture
def asked(monkeypatch):
    """A stand-in for Liger with the switches that 0.8.5 has for Llama and for GLM-4; it lists what it is asked for."""
    found = []

    def to_llama(rope=True, cross_entropy=False, fused_linear_cross_entropy=True, rms_norm=True, swiglu=True,
                 model=None):  # fmt: skip
        found.append({name: value for name, value in locals().items() if name not in ("found", "model")})
        modeling_llama.apply_rotary_pos_emb = lambda *_: pytest.fail("a kernel for GPUs, on a CPU")
        modeling_llama.LlamaRMSNorm = type("LigerRMSNorm", (), {})
        old = model.model.norm.forward
        model.model.norm.forward = lambda x: old(x) * 1.001

    def to_glm4(rope=False, cross_entropy=False, fused_linear_cross_entropy=True, rms_norm=True, swiglu=True,
                model=None):  # fmt: skip
        found.append({name: value for name, value in locals().items() if name not in ("found", "model")})

    patch = ModuleType("liger_kernel.transformers.monkey_patch")
    patch.MODEL_TYPE_TO_APPLY_LIGER_FN = {"llama": to_llama, "glm4": to_glm4, "nemotron": lambda relu=True, model=0: 1}
    for name in ("liger_kernel", "liger_kernel.transformers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, patch.__name__, patch)
    liger._say.cache_clear()
    yield found
    vars(modeling_llama).update(PLAIN)


def test_it_is_asked_for_the_kernels_of_the_layers_and_for_no_loss(asked):
    assert use(llama(64), CUDA)
    layers = {"rope": True, "rms_norm": True, "swiglu": True}
    assert asked == [layers | {"cross_entropy": False, "fused_linear_cross_entropy": False}]


def test_a_kernel_that_it_has_off_for_an_architecture_stays_off(asked):
    glm = llama(64)
    glm.config.model_type = "glm4"
    assert use(glm, CUDA)
    assert [name for name, on in asked[0].items() if on] == ["rms_norm", "swiglu"]


def test_on_a_cpu_nothing_is_asked_or_said(asked, capsys):
    assert not use(llama(64))
    assert asked == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("case", ["not installed", "unknown", "none of these kernels"])
def test_where_it_is_missing_or_has_no_kernel_nothing_changes_and_a_line_says_so_once(asked, case, capsys, monkeypatch):
    if case == "not installed":
        monkeypatch.setitem(sys.modules, "liger_kernel", None)
        for name in ("liger_kernel.transformers", "liger_kernel.transformers.monkey_patch"):
            monkeypatch.delitem(sys.modules, name)
        lm = llama(64)
    else:
        lm = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2)).eval()
        lm.config.model_type = {"unknown": "gpt2"}.get(case, "nemotron")
    ids = torch.arange(9)[None]
    with torch.no_grad():
        before = lm(input_ids=ids).logits
        assert [use(lm, CUDA) for _ in range(3)] == [False] * 3
        assert torch.equal(lm(input_ids=ids).logits, before)
    assert asked == []
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("Training goes without Liger's kernels")
    assert "pip install -e '.[liger]'" in line or lm.config.model_type in line


def test_other_models_and_cpus_keep_what_is_transformers_own(asked):
    changed, ids = llama(64), torch.arange(9)[None]
    with torch.no_grad():
        before = llama(64)(input_ids=ids).logits
        for _ in range(2):
            assert use(changed, CUDA)
        assert not torch.equal(changed(input_ids=ids).logits, before)  # and its rotations ran, on a CPU
        assert torch.equal(llama(64)(input_ids=ids).logits, before)
    assert modeling_llama.LlamaRMSNorm is PLAIN["LlamaRMSNorm"]
    either = modeling_llama.apply_rotary_pos_emb
    assert either.plain is PLAIN["apply_rotary_pos_emb"]  # after two models too
    on_gpu = SimpleNamespace(is_cuda=True)
    with pytest.raises(pytest.fail.Exception, match="a kernel for GPUs"):
        either(on_gpu, on_gpu)


def test_kernels_that_do_not_fit_the_model_are_refused(asked, monkeypatch):
    known = sys.modules["liger_kernel.transformers.monkey_patch"].MODEL_TYPE_TO_APPLY_LIGER_FN

    def misfit(rms_norm=True, model=None):
        model.model.norm.forward = lambda x: x

    monkeypatch.setitem(known, "llama", misfit)
    lm = llama(64)
    lm.model.norm.weight.data.uniform_(0, 2)
    with pytest.raises(FlanError, match="logits of a llama model that differ by"):
        use(lm, CUDA)


def test_a_model_gets_them_before_lora_but_not_under_fsdp(monkeypatch):
    given = []
    monkeypatch.setattr(liger, "use", given.append)
    lm = llama(64)
    assert isinstance(model.add_lora(lm, rank=2, seed=0), PeftModel)
    assert given == [lm]
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    model.add_lora(llama(64), rank=2, seed=0)
    assert given == [lm]
