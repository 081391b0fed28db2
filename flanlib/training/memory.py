"""What a training run will take: memory by part, told before it starts.

The parts are those of QLoRA (2305.14314): weights that stay, in four bits or not, LoRA weights with their gradients and
moments, and what the backward pass needs. They are counted from the model's configuration, without loading a weight.
"""

from dataclasses import replace

import pandas as pd
import torch

from flanlib.presets import RANDOM, Preset
from flanlib.records import FlanError
from flanlib.training.loss import SLICE
from flanlib.training.model import compute_dtype, linear_layers, outline, weight_bytes

WORKSPACE = 600_000_000
"""Bytes of a CUDA context with its libraries' workspaces."""
MOMENTS = {"adamw_8bit": 2.04, "paged_adamw_8bit": 2.04}
"""Bytes of an optimizer's state for each trained weight; AdamW in fp32 has 8."""
HEADROOM = 0.95
"""Share of the free memory that a plan may take: an allocator loses some to its blocks."""


def plan(preset: Preset, *, cuda: bool = True) -> pd.Series:
    """Return the bytes that tuning a preset's model takes at the busiest moment of a step, by part.

    Of a decoder like Llama's. With ``cuda`` plain weights are bfloat16 and so is the arithmetic; on a CPU weights are
    fp32, and the arithmetic is what this machine computes in. Raises FlanError where there is no model of that name.
    """
    model = outline(preset.model)
    text, linear = model.config.get_text_config(), linear_layers(model)
    wide = 2 if cuda else 4  # bytes of a plain weight, and of what runs from layer to layer
    work = 2 if cuda or compute_dtype() is torch.bfloat16 else 4  # bytes of what is computed
    largest, inner = max(m.weight.numel() for m in linear), max(max(m.in_features, m.out_features) for m in linear)
    lora = sum(preset.lora_rank * (m.in_features + m.out_features) for m in linear)
    linear_bytes, other_bytes = weight_bytes(model, bits=preset.bits, wide=wide)
    tokens, layers = preset.rows_per_pass * preset.row_tokens, text.num_hidden_layers
    stream = tokens * text.hidden_size * wide
    # Counted by hooks on what a layer saves (see training.lora and training.attention); a test counts again. Two norms:
    # input in fp32 and output; attention: queries, keys, values, output; four of the inner width; LoRA's inner
    # products.
    layer = tokens * (2 * (4 + wide) * text.hidden_size + work * (
        4 * text.hidden_size + 4 * inner + preset.lora_rank * len(linear) // layers))  # fmt: skip
    kept = stream * layers + layer if preset.checkpointing else layer * layers
    dense = largest * (wide * (preset.bits == 4) + work * (work != wide))  # a weight dequantised, and cast
    parts = {
        "linear weights": linear_bytes,
        "other weights": other_bytes,
        "LoRA weights": lora * 4,
        "LoRA gradients": lora * 4,
        "optimizer": lora * MOMENTS.get(preset.optimizer, 8),
        "activations": kept,
        "one layer's work": 2 * dense + 3 * work * tokens * inner,  # of two layers at a time; gradients
        "logits": (10 if work == 2 else 12) * min(SLICE, tokens) * text.vocab_size + 2 * stream,
        "context and workspaces": WORKSPACE if cuda else 0,
    }
    return pd.Series({part: round(size) for part, size in parts.items()}, name="bytes")


def longest(preset: Preset, room: float) -> int:
    """Return the longest row, in tokens, that fits into ``room`` bytes, one row a pass; 0 if not even a token does."""
    one, two = (plan(replace(preset, rows_per_pass=1, row_tokens=SLICE * n)).sum() for n in (1, 2))
    per_token = (two - one) / SLICE  # from a slice on, a plan grows in proportion
    return max(0, int(SLICE + (room - one) / per_token)) if room >= one else 0


def tell(preset: Preset) -> None:
    """Print what tuning a preset's model will take of this machine's GPU, part by part; nothing without a GPU.

    Raises FlanError if it will not fit, with what would help, before anything is loaded. A pass of several rows is
    counted as one row, since :func:`flanlib.training.train.fit` makes passes smaller by itself.
    """
    if not torch.cuda.is_available() or preset.model == RANDOM:
        return
    parts, room = plan(replace(preset, rows_per_pass=1)), torch.cuda.mem_get_info()[0]
    if parts.sum() <= HEADROOM * room:
        print(f"{preset.model} takes about {parts.sum() / 1e9:.1f} GB: "
              + ", ".join(f"{part} {size / 1e9:.1f}" for part, size in parts.items() if size > 5e7))  # fmt: skip
        return
    knobs = [knob for knob, idle in [("4 bits", preset.bits != 4), ("checkpointing", not preset.checkpointing),
                                     ("paged_adamw_8bit", preset.optimizer not in MOMENTS)] if idle]  # fmt: skip
    most = longest(preset, HEADROOM * room)
    advice = f"row_tokens of at most {most:,}" if most else "a smaller model, or several GPUs"
    raise FlanError(f"memory for {preset.model}", found=f"{room / 1e9:.1f} GB free",
                    expected=f"{parts.sum() / 1e9:.1f} GB, most of it {parts.idxmax()} ({parts.max() / 1e9:.1f} GB)",
                    remedy=f"Try {', '.join([*knobs, advice, f'a lora_rank below {preset.lora_rank}'])}.")  # fmt: skip
