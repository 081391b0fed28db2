"""Load a causal language model as (Q)LoRA wants it: weights that stay, in four bits or as they come, and LoRA's own."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

# One spin too many and two threads on a busy machine are slower than one; must be set before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

# bitsandbytes warns that a gemm for repacked layers is missing; layers are never repacked here (keep_layout).
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
# transformers warns of the precision of dequantised weights, which is asked for.
logging.getLogger("transformers.integrations.bitsandbytes").setLevel(logging.ERROR)
# peft asks transformers for an attribute that has been renamed: nothing that a reader of a notebook could act on.
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

from flanlib import pretrained
from flanlib.records import FlanError
from flanlib.training import lora
from flanlib.training.attention import by_document

CPU = torch.device("cpu")
NF4 = 4 + 8 / 64 + 32 / (64 * 256)
"""Bits of a 4-bit weight: 4, a byte for each 64 of them, and four bytes for each 256 of those."""


def device() -> torch.device:
    """Return the device that training runs on: CUDA where there is one, this process's own where there are several."""
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if torch.cuda.is_available() else CPU


def sharded() -> bool:
    """Tell whether several processes share the weights of a model (FSDP), as ``accelerate launch`` was asked to."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def compute_dtype() -> torch.dtype:
    """Return the precision that this machine computes in: bfloat16 where its hardware has it, else float32.

    A CPU without it (no AVX512-BF16, no AMX) emulates it at a tenth of the speed of float32.
    """
    has = device().type == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if has else torch.float32


def autocast(where: torch.device | None = None) -> torch.autocast:
    """Return mixed precision where this machine has a faster one than float32, else a context that changes nothing."""
    kind = (where or device()).type
    return torch.autocast(kind, torch.bfloat16, enabled=compute_dtype() is torch.bfloat16)


@contextmanager
def evaluating(model: Any, total: int, label: str | None, unit: str) -> Iterator[tqdm]:
    """Have a model in evaluation mode for a while, and a progress bar beside it, hidden without a label."""
    was_training = model.training
    model.eval()
    try:
        with tqdm(total=total, desc=label, unit=unit, leave=False, disable=not label) as bar:
            yield bar
    finally:
        model.train(was_training)


def nf4() -> BitsAndBytesConfig:
    """Return how weights are kept: NF4 with double quantisation (QLoRA, 2305.14314).

    FSDP shards floating-point numbers only, so there the four-bit codes are stored as if they were some.
    """
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                              bnb_4bit_compute_dtype=compute_dtype(),
                              bnb_4bit_quant_storage=torch.bfloat16 if sharded() else torch.uint8)  # fmt: skip


def lora_config(rank: int) -> LoraConfig:
    """Return what is trained: LoRA on all linear layers, alpha = 2 rank, no dropout."""
    return LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear",
                      task_type="CAUSAL_LM")  # fmt: skip


def load(name: str, *, bits: int = 4) -> Any:
    """Load a causal LM whose weights stay: as :func:`nf4` keeps them, or with 16 ``bits``.

    ``name`` is what :func:`flanlib.pretrained.folder` knows. With 16 bits the weights are as precise as they come on a
    CPU, and bfloat16 on a GPU. Raises FlanError where nothing can be loaded under that name, for other bits, and on a
    CPU for a model that is larger than the machine's memory.
    """
    if bits not in (4, 16):
        raise FlanError(f"model {name}", found=f"{bits} bits", expected="4 or 16", remedy="Set bits in the preset.")
    where = device()
    if where == CPU and (size := sum(weight_bytes(outline(name), bits=bits, wide=4))) > (most := _memory()):
        raise FlanError(f"model {name}", found=f"{size / 1e9:.1f} GB of weights", expected=f"at most {most / 1e9:.1f} "
                        "GB, this machine's memory", remedy="Name a smaller model, or use a machine with a GPU.")
    model = _found(name, partial(
        AutoModelForCausalLM.from_pretrained, quantization_config=nf4() if bits == 4 else None,
        device_map={"": where}, dtype=torch.float32 if where == CPU else torch.bfloat16))  # fmt: skip
    return by_document(keep_layout(model))


def outline(name: str) -> Any:
    """Return a model as shapes without a weight, from its configuration. Raises FlanError as :func:`load` does."""
    config = _found(name, AutoConfig.from_pretrained)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def linear_layers(model: Any) -> list[torch.nn.Linear]:
    """Return the layers that four bits are for, and LoRA: all linear ones but the head."""
    head = model.get_output_embeddings()
    return [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]


def weight_bytes(model: Any, *, bits: int, wide: int) -> tuple[float, float]:
    """Return the bytes of a model's linear layers and of all its other weights, ``wide`` bytes for a plain one."""
    linear = sum(m.weight.numel() for m in linear_layers(model))
    other = sum(p.numel() for p in model.parameters()) - linear
    return linear * (NF4 / 8 if bits == 4 else wide), other * wide


def _memory() -> float:
    """Return the bytes of memory of this machine, infinity where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return float("inf")


def _found(name: str, get: Callable[[str], Any]) -> Any:
    try:
        return get(pretrained.folder(name))
    except (OSError, ValueError) as error:
        remedy = "Give a local folder, or the hub name of a model you have access to."
        if any(sign in str(error) for sign in ("gated", "401", "403")):
            remedy = (f"Accept its licence at https://huggingface.co/{name} and log in (hf auth login), or name an "
                      "open model, such as Qwen/Qwen3-8B, with the template own.")  # fmt: skip
        raise FlanError(f"model {name}", found=str(error).split("\n")[0][:200], expected="a causal LM",
                        remedy=remedy) from error  # fmt: skip


def keep_layout(model: torch.nn.Module) -> torch.nn.Module:
    """Stop bitsandbytes from repacking 4-bit layers in place at the first evaluation forward.

    On CPUs with AVX512-BF16 repacked layers have no backward: the gradients of LoRA would be silently wrong.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def add_lora(model: torch.nn.Module, *, rank: int, seed: int) -> PeftModel:
    """Add LoRA (see :func:`lora_config`), its first weights drawn by the seed, and put the model in train mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _fused(get_peft_model(model, lora_config(rank))).train()


def load_adapter(name: str, folder: Path, *, bits: int = 4) -> PeftModel:
    """Load a base model with a trained adapter on it, for measuring."""
    return _fused(keep_layout(PeftModel.from_pretrained(load(name, bits=bits), folder))).eval()


def _fused(model: PeftModel) -> PeftModel:
    """Fuse LoRA layers (:mod:`flanlib.training.lora`), but not where FSDP gathers every part of a layer by itself."""
    for module in () if sharded() else model.modules():
        module.__class__ = lora.FUSED.get(type(module), type(module))
    return model
