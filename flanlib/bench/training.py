"""Trained tokens per second over a whole epoch, beside TRL's trainer in every set-up and transformers' own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import get_peft_model
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from flanlib.bench import Contest
from flanlib.model import add_lora, keep_layout, load, lora_config, nf4
from flanlib.packing import Row, pack
from flanlib.tokens import CONTEXT, Example
from flanlib.train import Schedule, fit

RATE, RANK = 1e-3, 16
TRL = {
    "TRL, padded": {},
    "TRL, padded, by length": {"train_sampling_strategy": "group_by_length"},
    "TRL, padding-free": {"padding_free": True, "max_length": None},
    "TRL, packing": {"packing": True},
    "TRL, packing, one row a pass": {"packing": True, "per_device_train_batch_size": 1},
}
"""Set-ups of TRL; what a set-up leaves out is the same for all, see :func:`trl`."""


def contest(model: str, tokenizer: Any, examples: Sequence[Example], *, batch: int, row_tokens: int) -> Contest:
    """Set up one epoch over examples, ``batch`` conversations a step, or packed rows of as many tokens.

    No side computes activations twice, and each trains the same 4-bit model with LoRA of one rank in bfloat16.
    """
    tokens = sum(map(len, examples)) / len(examples)
    rows = pack(examples, row_tokens=row_tokens, pad_id=tokenizer.pad_token_id)
    per_step = max(1, round(batch * tokens / row_tokens))
    peers = {name: partial(trl, model, tokenizer, examples, changes, batch, per_step, row_tokens)
             for name, changes in TRL.items()}  # fmt: skip
    peers["transformers Trainer, packed"] = partial(packed, model, rows, per_step)
    trained = sum(example.trained for example in examples)
    return Contest(f"training, {batch} conversations a step", "trained tokens / s", trained,
                   partial(ours, model, rows, per_step), peers)  # fmt: skip


def ours(model: str, rows: Sequence[Row], per_step: int, folder: Path, *, rank: int = RANK,
         **settings: Any) -> Callable:  # fmt: skip
    """Train as the notebooks do; ``settings`` change the :class:`flanlib.train.Schedule`."""
    schedule = Schedule(**{"rows_per_step": per_step, "rows_per_pass": per_step, "rate": RATE, "seed": 0,
                           "measures": 0} | settings)  # fmt: skip
    return partial(fit, add_lora(load(model), rank=rank, seed=0), rows, schedule, folder, tell=lambda share: None)


def trl(model: str, tokenizer: Any, examples: Sequence[Example], changes: dict[str, Any], batch: int, per_step: int,
        row_tokens: int, folder: Path, *, rank: int = RANK) -> Callable:  # fmt: skip
    """Train with TRL's SFTTrainer on the same token ids and labels."""
    from trl import SFTConfig, SFTTrainer  # of the bench extra only

    data = Dataset.from_list([{"input_ids": example.ids.tolist(), "labels": _labels(example)} for example in examples])
    size = per_step if changes.get("packing") else batch
    settings = {"per_device_train_batch_size": size, "max_length": row_tokens, "gradient_checkpointing": False}
    settings |= changes  # TRL checkpoints by default: slower where memory is no question
    settings["gradient_accumulation_steps"] = size // settings["per_device_train_batch_size"]
    arguments = SFTConfig(**_common(folder), **settings, shuffle_dataset=False)
    trainer = SFTTrainer(peer_model(model, rank), args=arguments, train_dataset=data, processing_class=tokenizer)
    return _quiet(trainer).train


def packed(model: str, rows: Sequence[Row], per_step: int, folder: Path) -> Callable:
    """Train with transformers' Trainer on the same rows: documents told apart by their positions."""
    arguments = TrainingArguments(**_common(folder), per_device_train_batch_size=per_step)
    return _quiet(Trainer(peer_model(model), arguments, train_dataset=list(rows), data_collator=_stacked)).train


def _common(folder: Path) -> dict[str, Any]:
    return {"output_dir": str(folder), "num_train_epochs": 1, "learning_rate": RATE, "bf16": True,
            "save_strategy": "no", "use_cpu": not torch.cuda.is_available(), "report_to": "none", "disable_tqdm": True,
            "log_level": "error", "remove_unused_columns": False, "seed": 0,
            "dataloader_pin_memory": torch.cuda.is_available()}  # fmt: skip


def peer_model(model: str, rank: int = RANK) -> Any:
    """Load the model with nothing of ours in it, but for the guard without which its gradients would be wrong."""
    where, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    loaded = AutoModelForCausalLM.from_pretrained(model, quantization_config=nf4(), device_map={"": where}, dtype=dtype)
    return get_peft_model(keep_layout(loaded), lora_config(rank)).train()


def _labels(example: Example) -> list[int]:
    return [-100 if kind == CONTEXT else token for token, kind in zip(example.ids.tolist(), example.kinds, strict=True)]


def _stacked(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    ids, kinds, places = (torch.stack([torch.from_numpy(getattr(row, name)).long() for row in rows])
                          for name in ("ids", "kinds", "positions"))  # fmt: skip
    return {"input_ids": ids, "position_ids": places, "labels": torch.where(kinds == CONTEXT, -100, ids)}


def _quiet(trainer: Trainer) -> Trainer:
    trainer.remove_callback(PrinterCallback)
    logging.getLogger("trl").setLevel(logging.ERROR)
    return trainer
