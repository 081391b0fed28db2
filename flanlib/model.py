"""Load a causal language model as QLoRA wants it: NF4 weights that stay, LoRA weights that learn."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

# One spin too many and two threads on a busy machine are slower than one; must be set before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

# bitsandbytes warns that a gemm for repacked layers is missing; layers are never repacked here (keep_layout).
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
# peft asks transformers for an attribute that has been renamed: nothing that a reader of a notebook could act on.
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
)

from flanlib import lora, store
from flanlib.attention import by_document
from flanlib.records import FlanError

RANDOM = "random"
CPU = torch.device("cpu")
OPEN = "Qwen/Qwen3-8B"
"""A model that anybody may load, for those who have no access to the default."""


def device() -> torch.device:
    """Return the device that training runs on: CUDA where there is one, this process's own where there are several."""
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if torch.cuda.is_available() else CPU


def sharded() -> bool:
    """Tell whether several processes share the weights of a model (FSDP), as ``accelerate launch`` was asked to."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def llama(vocab: int, *, width: int = 256, layers: int = 4, head: int = 64, positions: int = 4096, theta: float = 1e4,
          bias: bool = False, eos: int | None = None, pad: int | None = None,
          seed: int = 0) -> LlamaForCausalLM:  # fmt: skip
    """Make an untrained Llama of the lab's shape; ``width`` is a multiple of ``head``, tied embeddings, fp32.

    ``theta`` is the base of the rotary angles; ``bias`` gives attention projections one.
    """
    config = LlamaConfig(vocab_size=vocab, hidden_size=width, intermediate_size=width * 8 // 3 // 64 * 64,
                         num_hidden_layers=layers, num_attention_heads=width // head,
                         max_position_embeddings=positions, tie_word_embeddings=True,
                         attention_bias=bias, rope_parameters={"rope_type": "default", "rope_theta": theta},
                         eos_token_id=eos, pad_token_id=pad)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return by_document(LlamaForCausalLM(config))


def nf4() -> BitsAndBytesConfig:
    """Return how weights are kept: NF4 with double quantisation, computing in bfloat16 (QLoRA, 2305.14314).

    FSDP shards floating-point numbers only, so there the four-bit codes are stored as if they were some.
    """
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                              bnb_4bit_compute_dtype=torch.bfloat16,
                              bnb_4bit_quant_storage=torch.bfloat16 if sharded() else torch.uint8)  # fmt: skip


def lora_config(rank: int) -> LoraConfig:
    """Return what is trained: LoRA on all linear layers, alpha = 2 rank, no dropout."""
    return LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear",
                      task_type="CAUSAL_LM")  # fmt: skip


def load(name: str, *, vocab: int | None = None) -> Any:
    """Load a causal LM in NF4 with double quantisation (QLoRA, 2305.14314), computing in bfloat16.

    ``name`` is a folder, a hub name, or ``random``: a tiny untrained Llama over ``vocab`` tokens.
    Raises FlanError where nothing can be loaded under that name.
    """
    if name == RANDOM:
        made = store.cached("random", {"vocab": vocab}, lambda folder: _tiny(vocab or 512).save_pretrained(folder))
        return load(str(made))
    where = device()
    model = _found(name, partial(
        AutoModelForCausalLM.from_pretrained, quantization_config=nf4(), device_map={"": where},
        dtype=torch.float32 if where == CPU else torch.bfloat16))  # fmt: skip
    return by_document(keep_layout(model))


def _tiny(vocab: int) -> LlamaForCausalLM:
    return llama(vocab, width=64, layers=2, head=32)


def configuration(name: str) -> PreTrainedConfig:
    """Return the configuration of a model. Raises FlanError as :func:`load` does."""
    if name == RANDOM:
        return _tiny(512).config
    return _found(name, AutoConfig.from_pretrained)


def _found(name: str, get: Callable[[str], Any]) -> Any:
    try:
        return get(name)
    except (OSError, ValueError) as error:
        gated = "gated" in str(error) or "401" in str(error) or "403" in str(error)
        remedy = "Give a local folder, or the hub name of a model you have access to."
        if gated:
            remedy = (f"Accept its licence at https://huggingface.co/{name} and log in (hf auth login), or name an "
                      f"open model, such as {OPEN}, with the template own.")  # fmt: skip
        raise FlanError(f"model {name}", found=str(error).split("\n")[0][:200], expected="a causal LM",
                        remedy=remedy) from error  # fmt: skip


def keep_layout(model: torch.nn.Module) -> torch.nn.Module:
    """Stop bitsandbytes from repacking 4-bit layers in place at the first evaluation forward.

    On CPUs with AVX512-BF16 the repacked layers have no backward: after one ``model.eval()`` forward the
    gradients of LoRA would be silently wrong.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def add_lora(model: torch.nn.Module, *, rank: int, seed: int) -> PeftModel:
    """Add LoRA to all linear layers (alpha = 2 rank, no dropout); the seed draws its first weights.

    A freshly wrapped model starts in eval mode; this one is in train mode.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _fused(get_peft_model(model, lora_config(rank))).train()


def load_adapter(name: str, folder: Path, *, vocab: int | None = None) -> PeftModel:
    """Load a base model with a trained adapter on it, for measuring."""
    return _fused(keep_layout(PeftModel.from_pretrained(load(name, vocab=vocab), folder))).eval()


def _fused(model: PeftModel) -> PeftModel:
    """Fuse LoRA layers, but where FSDP gathers every part of a layer by itself."""
    return model if sharded() else lora.fuse(model)
