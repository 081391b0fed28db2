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

from flanlib import models
from flanlib.bench import Contest
from flanlib.model import add_lora, compute_dtype, keep_layout, linear_layers, load, lora_config, nf4, outline
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


def contest(model: str, tokenizer: Any, examples: Sequence[Example], *, batch: int, row_tokens: int,
            bits: int = 16) -> Contest:  # fmt: skip
    """Set up one epoch over examples, ``batch`` conversations a step, or packed rows of as many tokens.

    No side computes activations twice. Each trains the same model, whose weights have so many ``bits``, with LoRA of
    one rank, and all compute in the precision that this machine is fastest in.
    """
    tokens = sum(map(len, examples)) / len(examples)
    rows = pack(examples, row_tokens=row_tokens, pad_id=tokenizer.pad_token_id)
    per_step = max(1, round(batch * tokens / row_tokens))
    peers = {name: partial(trl, model, tokenizer, examples, changes, batch, per_step, row_tokens, bits=bits)
             for name, changes in TRL.items()}  # fmt: skip
    peers["transformers Trainer, packed"] = partial(packed, model, rows, per_step, bits=bits)
    trained = sum(example.trained for example in examples)
    return Contest(f"training, {batch} conversations a step", "trained tokens / s", trained,
                   partial(ours, model, rows, per_step, bits=bits), peers,
                   operations=operations(model, sum(map(len, examples)), trained), dtype=compute_dtype())  # fmt: skip


def operations(model: str, tokens: int, trained: int) -> float:
    """Count what training needs of products with weights: forward, and back to what a layer reads.

    Every token meets the linear layers, a trained one the head too; LoRA's own products and attention are left out.
    """
    shapes = outline(model)
    layers, head = (sum(m.weight.numel() for m in found)
                    for found in (linear_layers(shapes), [shapes.get_output_embeddings()]))  # fmt: skip
    return 4.0 * (layers * tokens + head * trained)


def ours(model: str, rows: Sequence[Row], per_step: int, folder: Path, *, rank: int = RANK, bits: int = 4,
         **settings: Any) -> Callable:  # fmt: skip
    """Train as the notebooks do; ``settings`` change the :class:`flanlib.train.Schedule`."""
    schedule = Schedule(**{"rows_per_step": per_step, "rows_per_pass": per_step, "rate": RATE, "seed": 0} | settings)
    tuned = add_lora(load(model, bits=bits), rank=rank, seed=0)
    return partial(fit, tuned, rows, schedule, folder, tell=lambda share: None)


def trl(model: str, tokenizer: Any, examples: Sequence[Example], changes: dict[str, Any], batch: int, per_step: int,
        row_tokens: int, folder: Path, *, rank: int = RANK, bits: int = 4) -> Callable:  # fmt: skip
    """Train with TRL's SFTTrainer on the same token ids and labels."""
    from trl import SFTConfig, SFTTrainer  # of the bench extra only

    data = Dataset.from_list([{"input_ids": example.ids.tolist(), "labels": _labels(example)} for example in examples])
    size = per_step if changes.get("packing") else batch
    settings = {"per_device_train_batch_size": size, "max_length": row_tokens, "gradient_checkpointing": False}
    settings |= changes  # TRL checkpoints by default: slower where memory is no question
    settings["gradient_accumulation_steps"] = size // settings["per_device_train_batch_size"]
    arguments = SFTConfig(**_common(folder), **settings, shuffle_dataset=False)
    trainer = SFTTrainer(peer_model(model, rank, bits=bits), args=arguments, train_dataset=data,
                         processing_class=tokenizer)  # fmt: skip
    return _quiet(trainer).train


def packed(model: str, rows: Sequence[Row], per_step: int, folder: Path, *, bits: int = 4) -> Callable:
    """Train with transformers' Trainer on the same rows: documents told apart by their positions."""
    arguments = TrainingArguments(**_common(folder), per_device_train_batch_size=per_step)
    return _quiet(Trainer(peer_model(model, bits=bits), arguments, train_dataset=list(rows),
                          data_collator=_stacked)).train  # fmt: skip


def _common(folder: Path) -> dict[str, Any]:
    return {"output_dir": str(folder), "num_train_epochs": 1, "learning_rate": RATE,
            "bf16": compute_dtype() is torch.bfloat16, "save_strategy": "no", "use_cpu": not torch.cuda.is_available(),
            "report_to": "none", "disable_tqdm": True, "log_level": "error", "remove_unused_columns": False, "seed": 0,
            "dataloader_pin_memory": torch.cuda.is_available()}  # fmt: skip


def peer_model(model: str, rank: int = RANK, *, bits: int = 4) -> Any:
    """Load the model with nothing of ours in it, but for the guard without which its gradients would be wrong."""
    where, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    loaded = AutoModelForCausalLM.from_pretrained(
        models.folder(model), quantization_config=nf4() if bits == 4 else None, device_map={"": where},
        dtype=dtype)  # fmt: skip
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
