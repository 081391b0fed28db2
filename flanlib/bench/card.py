"""What :mod:`flanlib.bench.pieces` measures with: a model of random weights, the two trainers, a clock, and memory."""

import gc
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias
from unittest import mock

import datasets
import numpy as np
import torch
from peft import get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback
from transformers.models.llama import modeling_llama
from transformers.trainer_callback import PrinterCallback

from flanlib import pretrained
from flanlib.bench import contests
from flanlib.presets import RANDOM, Preset
from flanlib.records import KINDS
from flanlib.text.packing import pack
from flanlib.text.tokens import CONTEXT, Example, load_tokenizer
from flanlib.training import memory, train
from flanlib.training.attention import by_document
from flanlib.training.model import add_lora, device, keep_layout, lora_config, nf4
from flanlib.training.passes import Pass, arrange, asked

SHAPES: dict[str, dict[str, int]] = {
    "Llama-2-7B": {},  # the configuration's defaults
    "Llama-2-13B": {"hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40,
                    "num_attention_heads": 40, "num_key_value_heads": 40},
    "toy": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 2, "vocab_size": 4096},
}  # fmt: skip
STEPS, PER_STEP = 4, 4  # optimizer steps of a run, the first of which warms up, and rows in a step
START = 20  # seconds allowed for a model and everything else before the first step
PESSIMISM = 0.1  # share of the matrix rate at which work is expected to run, when asking whether it ends in time
Row: TypeAlias = dict[str, Any]
PARTS = {"addmm": "_Fused", "varlen": "torch_attn::_varlen_attn", "Liger": "LigerRMSNormFunction"}
"""What makes the kit's training fast on a card, and an operation in a profile that tells that it ran."""


@dataclass(frozen=True)
class Bench:
    """What all pieces share: the model's shape, the settings of training, the card's rate, and the end of the time."""

    shape: str
    preset: Preset  # its model is a folder with the configuration of the shape, and no weights
    room: float  # bytes of memory that may be taken
    rate: float  # operations per second on large matrices
    deadline: float  # of time.monotonic()

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.deadline - time.monotonic()

    @cached_property
    def per_token(self) -> float:
        """Operations that training needs per token, of which a third are trained (:func:`made_up`)."""
        return contests.operations(self.preset.model, 3, 1) / 3

    def seconds(self, tokens: float) -> float:
        """Return in how many seconds some training surely ends: checkpointing adds a half to its operations."""
        return 1.5 * tokens * self.per_token / (PESSIMISM * self.rate)

    def examples(self, rows: int, row_tokens: int | None = None) -> list[Example]:
        """Make up conversations that fill some packed rows."""
        return made_up(rows, row_tokens or self.preset.row_tokens)

    def tuned(self) -> Any:
        """Make the model with the kit's LoRA."""
        return add_lora(random_model(self.shape), rank=self.preset.lora_rank, seed=0)

    def way(self, rows_per_step: int, row_tokens: int | None = None) -> Pass:
        """Choose passes as a run would (:func:`flanlib.training.memory.chosen`), for the memory that may be taken."""
        size = replace(self.preset, rows_per_step=rows_per_step, row_tokens=row_tokens or self.preset.row_tokens)
        return memory.chosen(size, self.room)

    def plain(self) -> Any:
        """Make the model with peft's LoRA and transformers' attention: nothing of the kit's is in it."""
        model = random_model(self.shape)
        model.set_attn_implementation("sdpa")
        return get_peft_model(model, lora_config(self.preset.lora_rank)).train()


def unchanged() -> AbstractContextManager:
    """Give back, at the end of a block, what Liger replaces for good in transformers' module of the model."""
    return mock.patch.dict(vars(modeling_llama))


def parts(work: Callable[[], Any]) -> str:
    """Do some training, and tell which of PARTS ran in it."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        work()
    seen = {event.key for event in profiler.key_averages()}
    ran = [name for name, operation in PARTS.items() if operation in seen]
    rest = [name for name in PARTS if name not in ran]
    return "; ".join(f"{word} {', '.join(names)}" for word, names in (("with", ran), ("without", rest)) if names)


def random_model(shape: str) -> Any:
    """Make a model with a shape of SHAPES and random weights, in NF4 (:func:`flanlib.training.model.nf4`).

    Weights are drawn and quantised on the device. Those of linear layers are parts of one pool, each from a place of
    its own, so that no more than the largest layer is ever there in full precision.
    """
    where, config = device(), LlamaConfig(**SHAPES[shape])
    with torch.device("meta"):
        shapes = {name: weight.shape for name, weight in LlamaForCausalLM(config).named_parameters()}
    dtype = torch.bfloat16 if where.type == "cuda" else torch.float32
    rng, spare = torch.Generator(where).manual_seed(0), 2**16
    most = max(shape.numel() for name, shape in shapes.items() if ".layers." in name)
    pool = torch.empty(most + spare, dtype=dtype, device=where).normal_(0, 0.02, generator=rng)
    weights = {}
    for i, (name, size) in enumerate(shapes.items()):
        start = 4099 * i % spare
        if len(size) == 1:
            weights[name] = torch.ones(size, dtype=dtype, device=where)
        elif ".layers." in name:
            weights[name] = pool[start : start + size.numel()].view(size)
        else:  # embedding and head are kept as they are
            weights[name] = torch.empty(size, dtype=dtype, device=where).normal_(0, 0.02, generator=rng)
    model = LlamaForCausalLM.from_pretrained(None, config=config, state_dict=weights, quantization_config=nf4(),
                                             device_map={"": where}, dtype=dtype)  # fmt: skip
    return by_document(keep_layout(model))


def made_up(rows: int, row_tokens: int, *, seed: int = 0) -> list[Example]:
    """Make conversations of random tokens, a third of them trained, that fill some packed rows: two to eight each."""
    rng, examples = np.random.default_rng(seed), []
    for row in range(rows):
        cuts = np.sort(rng.choice(np.arange(1, 16), rng.integers(1, 8), replace=False)) * row_tokens // 16
        for size in np.diff([0, *cuts, row_tokens]):
            kinds = np.where(rng.random(size) < 1 / 3, KINDS.index("reasoning"), CONTEXT)
            kinds[0] = CONTEXT
            examples.append(Example(f"{row}-{len(examples)}", rng.integers(10, 2000, size), kinds,
                                    (kinds != CONTEXT) * 3))  # fmt: skip
    return examples


def settle() -> None:
    """Wait until the device has done all its work."""
    if device().type == "cuda":
        torch.cuda.synchronize()


def clear() -> None:
    """Free what nothing refers to any more, and begin to measure the peak of memory."""
    gc.collect()
    if device().type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def taken() -> Row:
    """Return the peaks that torch allocated and reserved, and what the whole card lacks now, in GB; none on a CPU."""
    if device().type != "cuda":
        return {}
    free, total = torch.cuda.mem_get_info()
    return {"allocated_gb": torch.cuda.max_memory_allocated() / 1e9,
            "reserved_gb": torch.cuda.max_memory_reserved() / 1e9, "used_gb": (total - free) / 1e9}  # fmt: skip


class Clock(TrainerCallback):
    """Times every optimizer step of a Trainer, from one rest of the device to the next, and stops it at a deadline.

    Logs and checkpoints come after the end of a step: they are not in its time.
    """

    def __init__(self, deadline: float = math.inf) -> None:
        self.seconds: list[float] = []
        self.deadline = deadline

    def on_step_begin(self, args, state, control, **kwargs):
        """Start."""
        settle()
        self.start = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        """Stop, and end the run if another step would pass the deadline."""
        settle()
        self.seconds.append(time.perf_counter() - self.start)
        if time.monotonic() + self.seconds[-1] > self.deadline:
            control.should_training_stop = True
        return control


def ours(preset: Preset, examples: Sequence[Example], per_step: int, model: Any, folder: Path, *,
         way: Pass | None = None) -> Trainer:  # fmt: skip
    """Set up the kit's training of a model with its LoRA, in passes as the preset asks or in given ones."""
    rows = pack(examples, row_tokens=preset.row_tokens, pad_id=0)
    schedule = train.Schedule(rows_per_step=per_step, rows_per_pass=preset.rows_per_pass, rate=preset.learning_rate,
                              seed=0, optimizer=preset.optimizer, checkpointing=preset.checkpointing)  # fmt: skip
    # What fit() sets, less its checkpoints: whatever it comes to set is measured too.
    way = way or asked(schedule)
    arguments = train._arguments(schedule, way, rows, folder, None).set_save("no")
    arrange(model, way)
    trainer = train.KindTrainer(model=model, args=arguments, train_dataset=rows, eval_dataset=[])
    trainer.remove_callback(PrinterCallback)
    return trainer


def trl(preset: Preset, examples: Sequence[Example], per_step: int, model: Any, folder: Path, *,
        liger: bool = False) -> Trainer:  # fmt: skip
    """Set up TRL's training of a model with peft's LoRA, on the same tokens and with the same settings."""
    from trl import SFTConfig, SFTTrainer  # installed with the bench extra only

    data = datasets.Dataset.from_list(
        [{"input_ids": one.ids.tolist(), "labels": contests._labels(one)} for one in examples])
    settings = {"packing": True, "max_length": preset.row_tokens, "per_device_train_batch_size": 1,
                "gradient_accumulation_steps": per_step, "gradient_checkpointing": preset.checkpointing,
                "optim": preset.optimizer, "shuffle_dataset": False}  # fmt: skip
    if liger:
        # With Liger's own fused head TRL would refuse: it has one itself.
        settings |= {"use_liger_kernel": True, "liger_kernel_config": {"fused_linear_cross_entropy": False}}
    tokenizer = load_tokenizer(pretrained.folder(RANDOM))  # TRL wants one, though the rows hold token ids
    tuned = get_peft_model(model, lora_config(preset.lora_rank)).train()
    return contests._quiet(SFTTrainer(tuned, args=SFTConfig(**contests._common(folder), **settings),
                                      train_dataset=data, processing_class=tokenizer))  # fmt: skip


def run(make: Callable[[Path], Trainer], tokens: int, deadline: float) -> Row:
    """Train, and return tokens per second, by the median of all steps but the first, with the memory taken.

    ``tokens`` are those of a step. Raises torch.OutOfMemoryError if a pass does not fit.
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer, clock = make(Path(folder)), Clock(deadline)
        trainer.add_callback(clock)
        trainer.train()
    used = taken()
    if not (steps := clock.seconds[1:] or clock.seconds):
        return used | {"note": "no step was made"}
    row = {"value": tokens / float(np.median(steps)), "unit": "tokens / s"} | used
    return row if len(clock.seconds) > 1 else row | {"note": "one step only, not warmed up"}


def attempt(work: Callable[[], Row]) -> Row:
    """Do some work and return its row, or one that says that it did not fit into memory."""
    clear()
    try:
        return work()
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "ALLOC_FAILED" not in str(error):  # cuBLAS says the latter
            raise
        row = {"note": f"did not fit: {error}"}
    clear()  # outside the except block: until there the error keeps the failed pass's tensors alive
    return row
