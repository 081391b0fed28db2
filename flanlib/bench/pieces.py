"""What :mod:`flanlib.bench.gpu` measures, each piece a generator of rows, so that a row is known as early as can be.

Every piece makes its own model on the device, in seconds and with the same weights: TRL and Liger change a model in
place, and nothing is downloaded or read from a disk. A row is a dictionary with columns of the table.
"""

import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Trainer

from flanlib import pretrained
from flanlib.bench import card
from flanlib.bench.card import PER_STEP, STEPS, Bench, Row, attempt, clear, ours, random_model, run, settle, taken, trl
from flanlib.benchmarks import Prompt
from flanlib.inference.generate import Decoding, Writer
from flanlib.presets import RANDOM, Preset
from flanlib.records import say
from flanlib.text.packing import pack
from flanlib.text.templates import get_template
from flanlib.text.tokens import load_tokenizer
from flanlib.training import memory
from flanlib.training.loss import collate, token_losses
from flanlib.training.model import autocast, device
from flanlib.training.passes import Pass

PROMPTS, NEW = 32, 64  # prompts that are answered together, and tokens of a reply


def _training(bench: Bench, name: str, make: Callable[..., Trainer], model: Any) -> Iterator[Row]:
    """Measure a few steps of a trainer. ``make`` takes preset, examples, rows in a step, model and folder."""
    preset, examples = bench.preset, bench.examples(STEPS * PER_STEP)
    share = sum(example.trained for example in examples) / sum(map(len, examples))
    row = attempt(lambda: run(partial(make, preset, examples, PER_STEP, model), PER_STEP * preset.row_tokens,
                              bench.deadline))  # fmt: skip
    if "value" in row:
        row |= {"trained_per_s": share * row["value"], "of_matrix_rate": row["value"] * bench.per_token / bench.rate}
    yield {"name": name} | row


def _planned(preset: Preset, way: Pass) -> float:
    return memory.plan(preset, way, cuda=device().type == "cuda").sum() / 1e9


def kit(bench: Bench) -> Iterator[Row]:
    """Measure the kit's training, and name the parts that make it fast."""
    tuned = bench.tuned()
    [short] = pack(bench.examples(1, 64), row_tokens=64, pad_id=0)
    ran, way = card.parts(lambda: _gradient(tuned, short)), bench.way(PER_STEP)
    for row in _training(bench, "ours", partial(ours, way=way), tuned):
        notes = [row.get("note"), f"rows a pass: {way.rows}{way.note}", ran]
        yield {"planned_gb": _planned(bench.preset, way)} | row | {"note": "; ".join(filter(None, notes))}


def packing(bench: Bench) -> Iterator[Row]:
    """Measure TRL's training on packed rows."""
    yield from _peer(bench, "TRL, packing", liger=False, flash=False)


def faster_packing(bench: Bench) -> Iterator[Row]:
    """Measure TRL's training with what makes it faster, as far as that is installed: Liger and flash-attention."""
    liger, flash = (importlib.util.find_spec(name) is not None for name in ("liger_kernel", "flash_attn"))
    parts = [name for name, there in (("Liger", liger), ("flash-attention", flash)) if there]
    if parts:
        yield from _peer(bench, f"TRL, packing, {' and '.join(parts)}", liger=liger, flash=flash)
    else:
        yield {"name": "TRL, packing, Liger and flash-attention", "note": "not measured: neither is installed"}


def _peer(bench: Bench, name: str, *, liger: bool, flash: bool) -> Iterator[Row]:
    if importlib.util.find_spec("trl") is None:
        yield {"name": name, "note": "not measured: TRL is not installed (pip install -e '.[bench]')"}
        return
    model = random_model(bench.shape)
    model.set_attn_implementation("flash_attention_2" if flash else "sdpa")
    yield from _training(bench, name, partial(trl, liger=liger), model)


def correctness(bench: Bench) -> Iterator[Row]:
    """Compare the losses of packed conversations with single ones, and the gradient with that of peft's plain layers.

    A row without breaks between its conversations tells how far apart wrong losses would be, and the loss of LoRA
    weights that are not zero anymore lets all gradients count.
    """
    tokens = min(1024, bench.preset.row_tokens)
    examples = bench.examples(1, tokens)
    [row] = pack(examples, row_tokens=tokens, pad_id=0)
    joined = replace(row, positions=np.arange(tokens, dtype=row.positions.dtype), lengths=(tokens,))
    by_length = sorted(examples, key=len, reverse=True)  # the order within a packed row
    with card.unchanged():
        tuned = bench.tuned()
        rng = torch.Generator(device()).manual_seed(1)
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.data.normal_(0, 0.01, generator=rng)
        with torch.no_grad():
            packed, wrong = (_losses(tuned, one) for one in (row, joined))
            single = torch.cat([_losses(tuned, pack([one], row_tokens=len(one), pad_id=0)[0]) for one in by_length])
        yield {"name": "packed against single", "value": float((packed - single).abs().mean()),
               "unit": "nats per token", "note": f"as one conversation it would be {(wrong - single).abs().mean():.2g}"}
        clear()
        fused, weights = _gradient(tuned, row), {name: weight.data for name, weight in _trained(tuned)}
    del tuned, weight
    clear()
    plain = bench.plain()
    plain.load_state_dict(weights, strict=False)
    peft = _gradient(plain, row)
    yield {"name": "fused against peft", "value": float((fused - peft).norm() / peft.norm()),
           "unit": "of the gradient", "note": "bfloat16 alone makes about 0.01" if device().type == "cuda" else ""}


def _trained(model: Any) -> list[tuple[str, torch.Tensor]]:
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]


def _losses(model: Any, row: Any) -> torch.Tensor:
    batch = {name: tensor.to(device()) for name, tensor in collate([row]).items()}
    with autocast():
        return token_losses(model, batch).float()


def _gradient(model: Any, row: Any) -> torch.Tensor:
    model.zero_grad()
    _losses(model, row).mean().backward()
    gradient = torch.cat([weight.grad.flatten().float() for _, weight in _trained(model)])
    model.zero_grad()
    return gradient


def longest(bench: Bench, *, unit: int = 2048) -> Iterator[Row]:
    """Find the longest row that trains, in multiples of ``unit`` tokens; begin with the longest that was planned."""
    if device().type != "cuda":
        yield {"name": "longest row", "note": "not measured: a CPU has no such limit"}
        return
    planned, tuned = memory.longest(bench.preset, bench.room), bench.tuned()
    fits, fails, failed = 0, 2 * max(1, planned // unit), False
    while fails - fits > 1:
        middle = (fits + fails) // 2
        tokens = middle * unit
        if bench.seconds(tokens) > bench.left:
            break
        preset, way = replace(bench.preset, row_tokens=tokens), bench.way(1, tokens)
        row = attempt(lambda preset=preset, tokens=tokens, way=way: run(
            partial(ours, preset, bench.examples(1, tokens), 1, tuned, way=way), tokens, bench.deadline))  # fmt: skip
        tuned.zero_grad()
        yield {"name": f"row of {tokens} tokens", "row_tokens": tokens, "planned_gb": _planned(preset, way)} | row
        fits, fails = (middle, fails) if "value" in row else (fits, middle)
        failed = failed or "value" not in row
    more = "" if failed and fails - fits == 1 else "; a longer one may fit: the search ended before one did not"
    yield {"name": "longest row", "value": fits * unit, "unit": "tokens", "note": f"planned {planned:,}{more}"}


def generation(bench: Bench) -> Iterator[Row]:
    """Measure generation as in scoring: weights dequantised, replies of full length to short prompts together."""
    clear()
    model = random_model(bench.shape)
    model = model.dequantize(torch.bfloat16 if device().type == "cuda" else torch.float32).eval()
    tokenizer = load_tokenizer(pretrained.folder(RANDOM))
    with torch.no_grad():
        model.get_output_embeddings().weight[: len(tokenizer)] = 0  # no id of the tokenizer wins: no reply ends early
    writer = Writer(model, tokenizer, get_template("own", tokenizer), Decoding(NEW), keep=0)
    prompts = [Prompt(str(i), (say("user", f"What is {i} plus {i}?"),)) for i in range(PROMPTS)]
    writer.replies(prompts[:1])
    writer.ended.clear()
    settle()
    start = time.perf_counter()
    writer.replies(prompts)
    settle()
    speed = writer.ended["length"] * NEW / (time.perf_counter() - start)
    yield {"name": "generation", "value": speed, "unit": "tokens / s",
           "note": f"{PROMPTS} prompts together, {writer.ended['length']} replies of {NEW} tokens"} | taken()


def profile(bench: Bench, *, most: int = 8) -> Iterator[Row]:
    """List what takes the time of one step of one row: shares of the device's own time by operation."""
    clear()
    activities = [torch.profiler.ProfilerActivity.CPU]
    if cuda := device().type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with tempfile.TemporaryDirectory() as folder:
        trainer = ours(bench.preset, bench.examples(1), 1, bench.tuned(), Path(folder), way=bench.way(1))
        with torch.profiler.profile(activities=activities) as profiler:
            trainer.train()
            settle()
    own = "self_device_time_total" if cuda else "self_cpu_time_total"
    # Events of the device itself are its kernels, whose time the operations that started them have already.
    times = {event.key: getattr(event, own) for event in profiler.key_averages()
             if event.device_type == torch.autograd.DeviceType.CPU}  # fmt: skip
    total, first = sum(times.values()), sorted(times, key=times.__getitem__, reverse=True)[:most]
    for key in first:
        yield {"name": f"profile: {key[:60]}", "value": 100 * times[key] / total, "unit": "% of a step"}
    rest = 100 * (1 - sum(times[key] for key in first) / total)
    yield {"name": "profile: all others", "value": rest, "unit": "% of a step"}
