"""Estimate the memory of a training run, part by part, before it starts.

The parts are those of QLoRA (2305.14314): frozen weights, in four bits or not, LoRA weights with their gradients and
optimizer state, and activations. All follow from the model's configuration: no weights are loaded.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd
import torch
from transformers import PreTrainedConfig

from flanlib.presets import RANDOM, Preset
from flanlib.records import FlanError
from flanlib.training.loss import SLICE, tokens_at_once
from flanlib.training.model import compute_dtype, device, linear_layers, outline, weight_bytes

WORKSPACE = 600_000_000
"""Bytes of a CUDA context with its libraries' workspaces."""
MOMENTS = {"adamw_8bit": 2.04, "paged_adamw_8bit": 2.04}
"""Bytes of optimizer state per trained weight. Optimizers not listed are AdamW in fp32, with 8."""
LEAST = 2048
"""Tokens in a batch of replies below which dense weights are not worth their memory."""
OUT_OF_MEMORY = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory", "DefaultCPUAllocator: can't allocate")
"""Parts of messages that mean the same as torch.OutOfMemoryError: from cuBLAS, from CUDA itself, from a CPU."""
HEADROOM = 0.95
"""Share of the free memory that a plan can take. The allocator loses the rest to fragmentation."""


def plan(preset: Preset, *, cuda: bool = True) -> pd.Series:
    """Return the peak memory of tuning a preset's model, in bytes by part, for a decoder like Llama's.

    With ``cuda`` weights that are not in four bits are bfloat16, and so is the arithmetic. On a CPU they are fp32, and
    the arithmetic has this machine's :func:`compute_dtype`. Raises FlanError if there is no model of that name.
    """
    model = outline(preset.model)
    config, linear = model.config.get_text_config(), linear_layers(model)
    weight_size = 2 if cuda else 4  # bytes of a weight, and of a value passed from layer to layer
    value_size = 2 if cuda or compute_dtype() is torch.bfloat16 else 4  # bytes of a value within a layer
    largest = max(layer.weight.numel() for layer in linear)
    widest = max(max(layer.in_features, layer.out_features) for layer in linear)
    lora = sum(preset.lora_rank * (layer.in_features + layer.out_features) for layer in linear)
    linear_bytes, other_bytes = weight_bytes(model, bits=preset.bits, bytes_per_weight=weight_size)
    projected = min(tokens_at_once(config.vocab_size), preset.rows_per_pass * preset.row_tokens)
    tokens, layers = preset.rows_per_pass * preset.row_tokens, config.num_hidden_layers
    hidden = tokens * config.hidden_size * weight_size
    # What a layer saves for the backward pass (a test counts it with hooks): input (fp32) and output of two norms,
    # attention's queries, keys, values and output, four tensors of the MLP's width, and LoRA's inner products.
    saved = tokens * (2 * (4 + weight_size) * config.hidden_size + value_size * (
        4 * config.hidden_size + 4 * widest + preset.lora_rank * len(linear) // layers))  # fmt: skip
    activations = hidden * layers + saved if preset.checkpointing else saved * layers
    # The largest weight: dequantised, and cast to the precision within a layer.
    dense = largest * (weight_size * (preset.bits == 4) + value_size * (value_size != weight_size))
    parts = {
        "linear weights": linear_bytes,
        "other weights": other_bytes,
        "LoRA weights": lora * 4,
        "LoRA gradients": lora * 4,
        "optimizer": lora * MOMENTS.get(preset.optimizer, 8),
        "activations": activations,
        "one layer's work": 2 * dense + 3 * value_size * tokens * widest,  # two layers' weights; gradients
        "logits": (10 if value_size == 2 else 12) * projected * config.vocab_size + 2 * hidden,
        "context and workspaces": WORKSPACE if cuda else 0,
    }
    return pd.Series({part: round(size) for part, size in parts.items()}, name="bytes")


def cache_bytes(config: PreTrainedConfig, value_size: int) -> int:
    """Return the bytes of a token's keys and values in all layers of a text model, from above.

    Every layer is counted as if it kept every token: sliding windows and recurrent layers keep less of a long text.
    """
    # Layers can differ in heads (Gemma 4), and then the whole configuration refuses to tell theirs.
    layers = getattr(config, "per_layer_config", None) or [config] * config.num_hidden_layers
    return 2 * value_size * sum(_heads(layer) * _head_width(layer) for layer in layers)


def _heads(layer: PreTrainedConfig) -> int:
    return getattr(layer, "num_key_value_heads", None) or layer.num_attention_heads


def _head_width(layer: PreTrainedConfig) -> int:
    # Latent attention (DeepSeek) has wider keys than values, and a head_dim of neither.
    widths = [getattr(layer, name, None) for name in ("head_dim", "qk_head_dim", "v_head_dim")]
    return max([width for width in widths if width] or [layer.hidden_size // layer.num_attention_heads])


def scoring_bytes(model: Any, new_tokens: int, value_size: int = 2) -> int:
    """Return the bytes that generating replies takes for each token of a batch (:class:`flanlib.inference.Writer`).

    Keys and values are there four times: in the batch, read before it, of the rows that leave it, and kept for the
    next one. Beside them stand one layer's work, as in training but without gradients, and the logits of a row in
    three precisions, for a token of every ``new_tokens`` or more.
    """
    config = model.config.get_text_config()
    widest = max((max(one.in_features, one.out_features) for one in linear_layers(model)), default=config.hidden_size)
    work = value_size * (8 * config.hidden_size + 4 * widest)
    return 4 * cache_bytes(config, value_size) + work + 12 * config.vocab_size // (1 + new_tokens)


class Scoring(NamedTuple):
    """Memory that scoring a tuned model takes: bytes of its weights, in so many bits, and the least for batches."""

    bits: int
    weights: float
    batches: float


def scoring(name: str, bits: int, room: float) -> Scoring:
    """Return what scoring a model that trained in ``bits`` will take on a GPU with ``room`` free bytes.

    Weights are dense, two bytes each, since that is fastest. If those leave no room for a batch of LEAST tokens, they
    stay in four bits as in training, and the adapter beside them. Raises FlanError if there is no model of that name.
    """
    model = outline(name)
    batches = LEAST * scoring_bytes(model, new_tokens=LEAST)
    dense, packed = (sum(weight_bytes(model, bits=n, bytes_per_weight=2)) for n in (16, 4))
    if bits == 16 or dense + batches <= HEADROOM * room:
        return Scoring(16, dense, batches)
    return Scoring(4, packed, min(batches, max(0, HEADROOM * room - packed)))


def longest(preset: Preset, room: float) -> int:
    """Return the longest row, in tokens, that fits into ``room`` bytes, one row per pass; 0 if SLICE tokens do not."""
    one, two = (plan(replace(preset, rows_per_pass=1, row_tokens=SLICE * n)).sum() for n in (1, 2))
    per_token = (two - one) / SLICE  # beyond the first slice memory grows linearly
    return max(0, int(SLICE + (room - one) / per_token)) if room >= one else 0


def tell_scoring(planned: Scoring) -> None:
    """Print what scoring will take after training."""
    form = "in bfloat16" if planned.bits == 16 else "in four bits, since dense ones leave no room for replies"
    print(f"Scoring it takes {planned.weights / 1e9:.1f} GB of weights {form}, and at least "
          f"{planned.batches / 1e9:.1f} GB for replies.")  # fmt: skip


def room(where: torch.device | None = None) -> float:
    """Return the bytes that a device, by default this process's, has for new tensors: infinity for a CPU.

    For a GPU those are free ones, and those that torch holds unused: it keeps the memory of tensors that are gone for
    the next ones. If processes share the GPU, no more than is left of this one's share. An earlier run is often a cycle
    of references (a Trainer is), so garbage is collected first.
    """
    where = where or device()
    if where.type == "cpu":
        return float("inf")
    gc.collect()
    free, total = torch.cuda.mem_get_info(where)
    allocated = torch.cuda.memory_allocated(where)
    share = torch.cuda.get_per_process_memory_fraction(where) * total
    return min(free + torch.cuda.memory_reserved(where), share) - allocated


def exhausted(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out, in torch or in a library that allocates memory by itself.

    >>> exhausted(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    True
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY)


@contextmanager
def until_exhausted() -> Iterator[None]:
    """Leave the block, and raise nothing, when memory runs out (:func:`exhausted`)."""
    try:
        yield
    except RuntimeError as error:
        if not exhausted(error):
            raise


def check(preset: Preset) -> None:
    """Print the GPU memory that tuning a preset's model will take, part by part; nothing without a GPU.

    Raises FlanError if not even one row per pass fits, naming settings that would help, before any weight is loaded.
    If the preset's rows per pass do not fit, the plan is told for as many as :func:`flanlib.training.train.fit` will
    come down to by halving them. Says so if there are several GPUs and one is used.
    """
    if not torch.cuda.is_available() or preset.model == RANDOM:
        return
    free, rows = room(), preset.rows_per_pass
    while (parts := plan(replace(preset, rows_per_pass=rows))).sum() > HEADROOM * free and rows > 1:
        rows //= 2
    if parts.sum() <= HEADROOM * free:
        fewer = f" ({preset.rows_per_pass} do not fit)" if rows < preset.rows_per_pass else ""
        print(f"{preset.model} takes about {parts.sum() / 1e9:.1f} GB at {rows} x {preset.row_tokens:,} tokens a pass"
              f"{fewer}: " + ", ".join(f"{part} {size / 1e9:.1f}" for part, size in parts.items() if size > 5e7))
        tell_scoring(scoring(preset.model, preset.bits, free))
        if (cards := torch.cuda.device_count()) > 1 and "WORLD_SIZE" not in os.environ:
            print(f"{cards} GPUs are visible and one is used: accelerate launch uses all of them.")
        return
    unused = [name for name, off in [("4 bits", preset.bits != 4), ("checkpointing", not preset.checkpointing),
                                     ("paged_adamw_8bit", preset.optimizer not in MOMENTS)] if off]  # fmt: skip
    most = longest(preset, HEADROOM * free)
    advice = f"row_tokens of at most {most:,}" if most else "a smaller model, or several GPUs"
    raise FlanError(f"memory for {preset.model}", found=f"{free / 1e9:.1f} GB free",
                    expected=f"{parts.sum() / 1e9:.1f} GB, most of it {parts.idxmax()} ({parts.max() / 1e9:.1f} GB)",
                    remedy=f"Try {', '.join([*unused, advice, f'a lora_rank below {preset.lora_rank}'])}.")  # fmt: skip
