"""Load a causal language model for (Q)LoRA: frozen weights, in four bits or not, and LoRA weights on top."""

import gc
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

# By default OpenMP's threads spin so long that two on a busy machine are slower than one. Set before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

# bitsandbytes warns that a gemm for repacked layers is missing, but keep_layout stops it from repacking.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
# transformers warns about the precision of dequantised weights, which is intended here.
logging.getLogger("transformers.integrations.bitsandbytes").setLevel(logging.ERROR)
# peft uses an attribute that transformers renamed: nobody who runs a notebook could act on that.
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedTokenizerBase

from flanlib import pretrained
from flanlib.progress import Bar
from flanlib.records import FlanError
from flanlib.training import liger, lora
from flanlib.training.attention import by_document

CPU = torch.device("cpu")
NF4 = 4 + 8 / 64 + 32 / (64 * 256)
"""Bits per NF4 weight: 4, a byte of scale per 64 weights, and four bytes per 256 scales (double quantisation)."""


def device() -> torch.device:
    """Return the device to train on: this process's own GPU, or the CPU if there is none."""
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if torch.cuda.is_available() else CPU


def halved(tokens: int, longest: int) -> int:
    """Return half the tokens of a batch that ran out of memory, with a warning, and free what the batch left.

    Call it outside the except block: until there the error keeps the batch's tensors alive. Raises FlanError if the
    batch had no more tokens than its ``longest`` row.
    """
    gc.collect()
    torch.cuda.empty_cache()
    if tokens <= longest:
        raise FlanError("scoring", found=f"one row of {longest:,} tokens does not fit into memory",
                        expected="memory for a row", remedy="Leave out the longest rows, shorten replies, "
                        "free the GPU, or name a smaller model.")  # fmt: skip
    warnings.warn(f"Out of memory with {tokens:,} tokens in a batch: going on with {tokens // 2:,}.", stacklevel=3)
    return tokens // 2


def sharded() -> bool:
    """Return whether ``accelerate launch`` shards the weights of a model over several processes (FSDP)."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def compute_dtype() -> torch.dtype:
    """Return the precision that this machine computes in: bfloat16 if its hardware has it, else float32.

    A CPU without it (no AVX512-BF16, no AMX) emulates it at a tenth of the speed of float32.
    """
    native = device().type == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def autocast(where: torch.device | None = None) -> torch.autocast:
    """Return a context of mixed precision if this machine computes in bfloat16, else one that changes nothing."""
    return torch.autocast((where or device()).type, torch.bfloat16, enabled=compute_dtype() is torch.bfloat16)


@contextmanager
def evaluating(model: Any, total: int, label: str | None, unit: str) -> Iterator[Bar]:
    """Keep a model in evaluation mode within the block, and yield a progress bar, hidden without a label."""
    was_training = model.training
    model.eval()
    try:
        with Bar(total=total, desc=label, unit=unit, leave=False, disable=not label) as bar:
            yield bar
    finally:
        model.train(was_training)


def nf4() -> BitsAndBytesConfig:
    """Return how frozen weights are stored: NF4 with double quantisation (QLoRA, 2305.14314).

    FSDP shards only floating-point tensors, so under it the four-bit codes are stored in bfloat16 tensors.
    """
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                              bnb_4bit_compute_dtype=compute_dtype(),
                              bnb_4bit_quant_storage=torch.bfloat16 if sharded() else torch.uint8)  # fmt: skip


def lora_config(rank: int) -> LoraConfig:
    """Return the configuration of LoRA: all linear layers, alpha = 2 rank, no dropout."""
    return LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear",
                      task_type="CAUSAL_LM")  # fmt: skip


def plain_dtype() -> torch.dtype:
    """Return the precision of weights that are not in four bits: float32 on a machine without a GPU, else bfloat16."""
    return torch.float32 if device() == CPU else torch.bfloat16


def load(name: str, *, bits: int = 4, where: torch.device | None = None) -> Any:
    """Load a causal LM, its linear layers in NF4 (:func:`nf4`) or, with 16 ``bits``, all in :func:`plain_dtype`.

    ``name`` is one that :func:`flanlib.pretrained.folder` accepts. ``where`` is by default :func:`device`. Raises
    FlanError for an unknown name, for other bits, and on a CPU for a model larger than the machine's memory.
    """
    if bits not in (4, 16):
        raise FlanError(f"model {name}", found=f"{bits} bits", expected="4 or 16", remedy="Set bits in the preset.")
    where, dtype = where or device(), plain_dtype()
    if where == CPU:
        check_room(name, bits)
    else:
        gc.collect()  # a Trainer that is done is a reference cycle, which holds its model on the GPU
    model = _from_pretrained(name, partial(
        AutoModelForCausalLM.from_pretrained, quantization_config=nf4() if bits == 4 else None,
        device_map={"": where}, dtype=dtype))  # fmt: skip
    return by_document(_without_cycles(keep_layout(model)))


def check_room(name: str, bits: int) -> None:
    """Raise FlanError if a model is larger than the memory of this machine, leaving its GPUs aside."""
    size, memory = sum(weight_bytes(outline(name), bits=bits, bytes_per_weight=plain_dtype().itemsize)), _memory()
    if size > memory:
        raise FlanError(f"model {name}", found=f"{size / 1e9:.1f} GB of weights",
                        expected=f"at most {memory / 1e9:.1f} GB, this machine's memory",
                        remedy="Name a smaller model, or use a machine with a GPU.")  # fmt: skip


def outline(name: str) -> Any:
    """Build a model on the meta device: shapes without weights. Raises FlanError if there is none of that name."""

    def build(folder: str) -> Any:
        config = AutoConfig.from_pretrained(folder)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)

    return _from_pretrained(name, build)


def check_ids(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise FlanError if text can become an id for which a model has no embedding; only its shapes are loaded.

    That is the id of a plain token, or of a special token that ends, begins or pads texts or stands in the chat
    template. Other special tokens may lie beyond the embedding, since no turn can contain them: Gemma 3's image token
    does in its models without vision.
    """
    rows = outline(name).get_input_embeddings().num_embeddings
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    written = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token}
    template = str(tokenizer.chat_template or "")
    beyond = {id: token for token, id in tokenizer.get_vocab().items()
              if id >= rows and (token not in special or token in written or token in template)}  # fmt: skip
    if beyond:
        first = min(beyond)
        pad = " (it pads)" if beyond[first] == tokenizer.pad_token else ""
        raise FlanError(f"tokenizer of {name}", expected=f"ids below {rows:,}, the rows of the model's embedding",
                        found=f"{len(beyond):,} beyond them, from {beyond[first]!r} = {first:,}{pad}",
                        remedy="Take its own tokenizer, or resize the embedding and save the model.")  # fmt: skip


def weight_count(name: str) -> int:
    """Return how many weights a model has, from its configuration. Raises FlanError as :func:`outline`."""
    return sum(weight.numel() for weight in outline(name).parameters())


def linear_layers(model: Any) -> list[torch.nn.Linear]:
    """Return the layers that are quantised and get LoRA: all linear ones but the head."""
    head = model.get_output_embeddings()
    return [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]


def weight_bytes(model: Any, *, bits: int, bytes_per_weight: int) -> tuple[float, float]:
    """Return the bytes of a model's linear layers and of its other weights; only linear layers can be in four bits."""
    linear = sum(m.weight.numel() for m in linear_layers(model))
    other = sum(p.numel() for p in model.parameters()) - linear
    return linear * (NF4 / 8 if bits == 4 else bytes_per_weight), other * bytes_per_weight


def _memory() -> float:
    """Return the memory of this machine in bytes, infinity if the system does not report it."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return float("inf")


def _from_pretrained(name: str, load_from: Callable[[str], Any]) -> Any:
    try:
        return load_from(pretrained.folder(name))
    except (OSError, ValueError, AssertionError) as error:
        remedy = pretrained.remedy(name, error)
        if "Padding_idx" in str(error):  # torch asserts it of an embedding
            remedy = "Set pad_token_id in its config.json to an id below vocab_size."
        raise FlanError(f"model {name}", found=str(error).split("\n")[0][:200], expected="a causal LM",
                        remedy=remedy) from error  # fmt: skip


def keep_layout(model: torch.nn.Module) -> torch.nn.Module:
    """Stop bitsandbytes from repacking 4-bit layers in place at the first evaluation forward.

    On CPUs with AVX512-BF16 repacked layers have no backward pass: LoRA's gradients would be silently wrong.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def _without_cycles(model: torch.nn.Module) -> torch.nn.Module:
    """Let 4-bit weights forget their layers, which they need only while they are quantised.

    Weight and layer would be a reference cycle: a layer that is replaced or a model that is dropped would stay in
    memory until Python happens to collect it.
    """
    for weight in model.parameters() if not sharded() else ():
        if getattr(weight, "module", None) is not None:
            weight.module = None
    return model


def add_lora(model: torch.nn.Module, *, rank: int, seed: int) -> PeftModel:
    """Add LoRA (:func:`lora_config`) with initial weights drawn by the seed, and put the model in train mode.

    On a GPU the model gets Liger's kernels, if they are installed (:mod:`flanlib.training.liger`).
    """
    if not sharded():  # FSDP may give the weights to the first process only
        liger.use(model)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _fused(get_peft_model(model, lora_config(rank))).train()


def load_adapter(name: str, folder: Path, *, bits: int = 4) -> PeftModel:
    """Load a base model with a trained adapter, in evaluation mode."""
    return _fused(keep_layout(PeftModel.from_pretrained(load(name, bits=bits), folder))).eval()


def _fused(model: PeftModel) -> PeftModel:
    """Fuse LoRA layers (:mod:`flanlib.training.lora`), but not under FSDP, which gathers a layer's parts separately."""
    if not sharded():
        for module in model.modules():
            module.__class__ = lora.FUSED.get(type(module), type(module))
    return model
