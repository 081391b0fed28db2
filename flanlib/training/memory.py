"""Estimate the memory of a training run, part by part, before it starts.

The parts are those of QLoRA (2305.14314): frozen weights, in four bits or not, LoRA weights with their gradients and
optimizer state, and activations. All follow from the model's configuration: no weights are loaded.
"""

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd
import torch
from transformers import PreTrainedConfig

from flanlib.presets import RANDOM, Preset
from flanlib.records import FlanError
from flanlib.training.leaks import foreseen
from flanlib.training.loss import SLICE, tokens_at_once
from flanlib.training.model import compute_dtype, device, linear_layers, outline, weight_bytes
from flanlib.training.passes import Pass, asked, divisors, processes, smaller

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
TOLERANCE = 0.1
"""Share by which activations may exceed their plan; a test holds a model's to it."""
STARTS = 4.5e10
"""Tokens of a pass times weights of a layer at which starting a layer's kernels takes as long as their arithmetic.
Worked out, not measured: 60 kernels of 5 microseconds, 2 operations per weight and token, 3e14 of them a second."""
UNPACKED = 300
"""Tokens of a pass whose arithmetic takes as long as dequantising NF4. Worked out: 230 on a 4090, 340 on an H100."""


class _Decoder(NamedTuple):
    """What a plan needs to know of a model on a device; memory in bytes."""

    cuda: bool
    layers: int
    hidden: int
    vocabulary: int
    sides: list[tuple[int, int]]  # inputs and outputs of each linear layer
    weights: tuple[float, float]  # of linear layers, and of everything else
    weight_size: int  # of a weight that is not in four bits, and of a value passed from layer to layer
    value_size: int  # of a value within a layer


def _decoder(preset: Preset, *, cuda: bool = True) -> _Decoder:
    model, weight_size = outline(preset.model), 2 if cuda else 4
    config, value_size = model.config.get_text_config(), 2 if cuda or compute_dtype() is torch.bfloat16 else 4
    return _Decoder(cuda, config.num_hidden_layers, config.hidden_size, config.vocab_size,
                    [(layer.in_features, layer.out_features) for layer in linear_layers(model)],
                    weight_bytes(model, bits=preset.bits, bytes_per_weight=weight_size),
                    weight_size, value_size)  # fmt: skip


def plan(preset: Preset, way: Pass | None = None, *, cuda: bool = True) -> pd.Series:
    """Return the peak memory of tuning a preset's model, in bytes by part, for a decoder like Llama's.

    ``way`` is how a step is cut into passes, by default as the preset asks. With ``cuda`` weights that are not in four
    bits are bfloat16, and so is the arithmetic. On a CPU they are fp32, and the arithmetic has this machine's
    :func:`compute_dtype`. Raises FlanError if there is no model of that name.
    """
    parts = _parts(_decoder(preset, cuda=cuda), preset, way or asked(preset))
    return pd.Series({part: round(size) for part, size in parts.items()}, name="bytes")


def _parts(model: _Decoder, preset: Preset, way: Pass) -> dict[str, float]:
    weight_size, value_size, rank = model.weight_size, model.value_size, preset.lora_rank
    tokens, widest = way.rows * preset.row_tokens, max(map(max, model.sides))
    lora = rank * sum(map(sum, model.sides))
    projected = min(tokens_at_once(model.vocabulary), tokens)
    hidden = tokens * model.hidden * weight_size
    # What a layer saves for the backward pass (a test counts it with hooks): input (fp32) and output of two norms,
    # attention's queries, keys, values and output, four tensors of the MLP's width, and LoRA's inner products.
    saved = tokens * (2 * (4 + weight_size) * model.hidden + value_size * (
        4 * model.hidden + 4 * widest + rank * len(model.sides) // model.layers))  # fmt: skip
    # Layers that compute again keep their inputs. They do so one at a time, after those that keep all are done.
    kept = model.layers if way.kept is None else way.kept
    inputs = min(2, model.layers) if way.offload else model.layers - kept
    # The largest weight: dequantised, and cast to the precision within a layer.
    largest = max(a * b for a, b in model.sides)
    dense = largest * (weight_size * (preset.bits == 4) + value_size * (value_size != weight_size))
    return {
        "linear weights": model.weights[0],
        "other weights": model.weights[1],
        "LoRA weights": lora * 4,
        "LoRA gradients": lora * 4,
        "optimizer": lora * MOMENTS.get(preset.optimizer, 8),
        "activations": hidden * inputs + saved * max(1, kept),
        "one layer's work": 2 * dense + 3 * value_size * tokens * widest,  # two layers' weights; gradients
        "logits": (10 if value_size == 2 else 12) * projected * model.vocabulary + 2 * hidden,
        "context and workspaces": WORKSPACE if model.cuda else 0,
    }


def chosen(preset: Preset, free: float | None = None) -> Pass:
    """Return the pass that trains fastest in ``free`` bytes of a GPU, by default its :func:`room`.

    It can have any number of rows that makes up a step, but one if documents are read one by one anyway. With
    checkpointing as many layers keep their activations as fit. Several processes have to agree without a word: they
    take the rows that the preset asks for, and on each card all layers compute again. If that does not fit, passes are
    smaller, and the last resort is that layers' inputs wait in the CPU's memory; even that may be too large. On a CPU
    nothing is chosen: it is what the preset asks for.
    """
    way = asked(preset)
    if device().type == "cpu" or preset.model == RANDOM:
        return way
    model, budget = _decoder(preset), HEADROOM * (room() if free is None else free)
    kept = [*range(model.layers), None] if preset.checkpointing else [None]
    if apart := not foreseen(preset.model):
        way = way._replace(rows=1, apart=True)
    rows = [1] if apart else divisors(preset.rows_per_step, preset.rows_per_step)
    ways = [Pass(several, n, apart=apart) for several in rows for n in kept]
    fitting = [one for one in ways if _fits(_parts(model, preset, one), budget, TOLERANCE)]
    if fitting and processes() == 1:
        return min(fitting, key=lambda one: _time(model, preset, one))
    while not _fits(_parts(model, preset, way), budget) and (less := smaller(way, preset, offload=True)):
        way = less
    return way


def _fits(parts: Mapping[str, float], budget: float, tolerance: float = 0) -> bool:
    return sum(parts.values()) + tolerance * parts["activations"] <= budget


def _time(model: _Decoder, preset: Preset, way: Pass) -> float:
    """Return the time that training takes on a GPU per token, relative to a forward pass of long rows.

    Frozen weights have no gradients, so forward, backward and computing again take about the same. Every pass starts
    its kernels, and dequantises the weights, as often as one of a single token.
    """
    again = 0 if way.kept is None else 1 - way.kept / model.layers
    in_a_layer = sum(a * b for a, b in model.sides) / model.layers
    ahead = STARTS / in_a_layer + UNPACKED * (preset.bits == 4)
    return (2 + again) * (1 + ahead / (way.rows * preset.row_tokens))


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


def longest(preset: Preset, free: float) -> int:
    """Return the longest row, in tokens, that trains in ``free`` bytes, one row a pass; 0 if SLICE tokens do not.

    With checkpointing all layers compute again, and their inputs wait in the CPU's memory.
    """
    way = Pass(1, 0, offload=True) if preset.checkpointing else Pass(1)
    one, two = (plan(replace(preset, row_tokens=SLICE * n), way).sum() for n in (1, 2))
    per_token = (two - one) / SLICE  # beyond the first slice memory grows linearly
    return max(0, int(SLICE + (free - one) / per_token)) if free >= one else 0


def tell_scoring(planned: Scoring) -> None:
    """Print what scoring will take after training."""
    form = "in bfloat16" if planned.bits == 16 else "in four bits, since dense ones leave no room for replies"
    print(f"Scoring it takes {planned.weights / 1e9:.1f} GB of weights {form}, and at least "
          f"{planned.batches / 1e9:.1f} GB for replies.")  # fmt: skip


def room(where: torch.device | None = None) -> float:
    """Return the bytes that a device, by default this process's, has for new tensors: infinity for a CPU.

    For a GPU those are free ones, as far as this process may take them (torch.cuda.set_per_process_memory_fraction, set
    where processes share the GPU), and those that torch holds unused: it keeps the memory of tensors that are gone for
    the next ones. An earlier run is often a cycle of references (a Trainer is), so garbage is collected first.
    """
    where = where or device()
    if where.type == "cpu":
        return float("inf")
    gc.collect()
    free, total = torch.cuda.mem_get_info(where)
    reserved = torch.cuda.memory_reserved(where)
    allowed = torch.cuda.get_per_process_memory_fraction(where) * total - reserved
    return max(0, min(free, allowed)) + reserved - torch.cuda.memory_allocated(where)


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
    Says how many rows a pass has, and which layers compute their activations again (:func:`chosen`). Says so if packed
    documents have to be read one by one, and if there are several GPUs and one is used.
    """
    if not torch.cuda.is_available() or preset.model == RANDOM:
        return
    free = room()
    way = chosen(preset, free)
    parts = plan(preset, way)
    if parts.sum() <= HEADROOM * free:
        print(f"{preset.model} takes about {parts.sum() / 1e9:.1f} GB at {way.rows} x {preset.row_tokens:,} tokens a "
              f"pass{way.note}: " + ", ".join(f"{part} {size / 1e9:.1f}" for part, size in parts.items() if size > 5e7))
        if way.offload:
            moved = plan(preset, way._replace(offload=False)).sum() - parts.sum()
            print(f"{moved / 1e9:.1f} GB of a pass wait in the CPU's memory, which takes longer: "
                  "not even one row would fit otherwise.")  # fmt: skip
        if way.apart:
            print(f"{preset.model} would mix packed documents: each gets a pass of its own, which takes longer.")
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
