"""Train on labelled tokens, with the loss told apart by kind in every logged step.

transformers' Trainer drives (checkpoints, resume, mixed precision, devices); what is ours is the loss:
trained tokens only, summed by kind, over documents side by side without an attention mask.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from flanlib.attention import by_document
from flanlib.loss import by_kind, collate, token_judgements, token_losses
from flanlib.model import compute_dtype, device
from flanlib.packing import Row
from flanlib.records import KINDS, FlanError
from flanlib.tokens import CONTEXT, Example


class Fitted(NamedTuple):
    """What a training run logged: losses by kind, and which held-out tokens were first choices (see :func:`fit`)."""

    losses: pd.DataFrame
    firsts: pd.DataFrame


SAVES = 4
"""Checkpoints of a run, beside those where it measures: what an interrupted one goes on from."""


@dataclass(frozen=True)
class Schedule:
    """How a model is trained. Lengths are tokens; ``rate`` is the peak of a cosine after a short warm-up."""

    rows_per_step: int
    rows_per_pass: int
    rate: float
    seed: int
    measure_at: tuple[int, ...] = ()
    """Trained tokens after which the held-out texts are measured, beside the start and the end of the run."""
    logs: int = 40
    """Logged points over the run."""
    warmup: float = 0.05
    """Share of the steps that warm up."""
    optimizer: str = "adamw_torch_fused"
    """What transformers calls it, for example ``paged_adamw_8bit``."""
    checkpointing: bool = False
    """Whether activations are computed again in the backward pass: a third more work, far less memory."""


def draw(examples: Sequence[Example], trained_tokens: int, *, seed: int) -> list[Example]:
    """Take examples in shuffled passes until there are so many trained tokens (within one example).

    Raises FlanError if there is nothing to train on.
    """
    if not any(example.trained for example in examples):
        raise FlanError("training examples", found=f"no trained token in {len(examples)} examples",
                        expected="at least one", remedy="Look at the tally: the rows may all have been rejected.")
    rng, drawn, left = np.random.default_rng(seed), [], trained_tokens
    while left > 0:
        for i in rng.permutation(len(examples)):
            drawn.append(examples[i])
            left -= examples[i].trained
            if left <= 0:
                break
    return drawn


class KindTrainer(Trainer):
    """A Trainer that sums nats, tokens and bytes of the trained tokens by kind."""

    def __init__(self, *args: Any, heldout: Sequence[Row], **kwargs: Any) -> None:
        super().__init__(*args, data_collator=collate, **kwargs)
        self.heldout = heldout
        self.model_accepts_loss_kwargs = True  # count the trained tokens of the whole step, not of one pass
        self._sums = torch.zeros(len(KINDS), 3, dtype=torch.float64)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return the mean nats per trained token of the whole step (every pass adds its share)."""
        with self.accelerator.autocast():
            nats = token_losses(model, inputs)
        self._sums = self._sums.to(nats.device) + by_kind(nats.detach(), inputs)
        loss = nats.sum() / (num_items_in_batch if num_items_in_batch is not None else max(len(nats), 1))
        # Gradients are averaged over processes, and the count is already over all of them.
        loss = loss * self.accelerator.num_processes
        return (loss, {}) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the sums by kind since the last log."""
        if "loss" in logs:
            sums = self.accelerator.reduce(self._sums.to(self.args.device, torch.float32), "sum").double().cpu()
            logs["train"] = _listed(sums)
            self._sums.zero_()
        super().log(logs, start_time)

    @torch.no_grad()
    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """Read the held-out texts and log their losses by kind, and which tokens are first choices; once a step."""
        if not self.heldout or _last_measured(self.state.log_history) == self.state.global_step:
            return {}
        self.model.eval()
        sums, firsts = torch.zeros(len(KINDS), 3, dtype=torch.float64), []
        for i in range(0, len(self.heldout), rows := self.args.per_device_eval_batch_size):
            batch = self._prepare_inputs(collate(self.heldout[i : i + rows]))
            with self.accelerator.autocast():
                nats, first = token_judgements(self.model, batch)
            sums += by_kind(nats, batch).cpu()
            firsts.append(first.cpu().numpy())
        self.model.train()
        self.log({"heldout": _listed(sums), "firsts": "".join("01"[bit] for bit in np.concatenate(firsts).astype(int))})
        return {}


class MeasureAt(TrainerCallback):
    """Stop to measure, and to save, at some steps."""

    def __init__(self, steps: Collection[int]) -> None:
        self.steps = frozenset(steps)

    def on_step_end(self, args, state, control, **kwargs):
        """Ask for both where it is time."""
        if state.global_step in self.steps:
            control.should_log = control.should_evaluate = control.should_save = True
        return control


class Progress(TrainerCallback):
    """One quiet progress bar, with the loss beside it."""

    def __init__(self, label: str) -> None:
        self.label = label

    def on_train_begin(self, args, state, control, **kwargs):
        """Open the bar, at the step that a resumed run goes on from."""
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc=self.label, unit="step", leave=False,
                        disable=not state.is_world_process_zero)  # fmt: skip

    def on_step_end(self, args, state, control, **kwargs):
        """Move the bar."""
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Show the loss."""
        if "loss" in (logs or {}):
            self.bar.set_postfix(loss=f"{logs['loss']:.3f}")

    def on_train_end(self, args, state, control, **kwargs):
        """Close the bar."""
        self.bar.close()


class Share(TrainerCallback):
    """Tell a caller which share of the run every step was, 0 to 1 over the run."""

    def __init__(self, tell: Callable[[float], None]) -> None:
        self.tell = tell

    def on_train_begin(self, args, state, control, **kwargs):
        """Tell what an interrupted run had done."""
        self.tell(state.global_step / state.max_steps)

    def on_step_end(self, args, state, control, **kwargs):
        """Tell a step."""
        self.tell(1 / state.max_steps)


class Watch(TrainerCallback):
    """Show a caller the losses by kind as they are logged."""

    def __init__(self, watch: Callable[[pd.DataFrame], None]) -> None:
        self.watch = watch

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Show what there is so far, once a step was trained."""
        if "train" in (logs or {}) and state.is_world_process_zero:
            self.watch(losses(state.log_history))


def fit(model: torch.nn.Module, rows: Sequence[Row], schedule: Schedule, folder: Path, *, label: str = "train",
        heldout: Sequence[Row] = (), tell: Callable[[float], None] | None = None,
        watch: Callable[[pd.DataFrame], None] | None = None) -> Fitted:  # fmt: skip
    """Train for one pass over packed rows and return the losses by kind, and what is right of held-out texts.

    ``tell`` replaces the progress bar; ``watch`` is given the losses so far whenever some are logged.
    Interrupted at any point, the next call with the same arguments goes on from the last whole checkpoint
    in ``folder`` to the same losses. Where the device's memory is too small for the rows of a pass, a pass gets half
    of them, with as many rows in a step, and a warning says so. Raises FlanError if one row does not fit.
    The trained weights go into ``folder`` (those of the adapter, where there is one).

    Losses are a tidy frame: step, trained_tokens (so far), split (``train`` or ``heldout``), kind, nats, tokens, bytes
    (sums over what the row covers). Firsts: step, trained_tokens, firsts: for each trained token of the held-out rows,
    in their order, 1 where it is the model's first choice given the text before it, else 0.
    """
    by_document(model)
    fresh = {name: p.detach().cpu().clone() for name, p in model.named_parameters() if p.requires_grad}
    while True:
        already = _last_whole(folder)
        trainer = KindTrainer(model=model, args=_arguments(schedule, rows, folder, already), train_dataset=list(rows),
                              heldout=heldout, eval_dataset=[],
                              callbacks=[Share(tell) if tell else Progress(label),
                                         MeasureAt(_steps(schedule, rows))])  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        if watch:
            trainer.add_callback(Watch(watch))
        try:
            trainer.train(resume_from_checkpoint=already)
            break
        except torch.OutOfMemoryError as error:
            schedule = _smaller(schedule, len(rows[0].ids), error)
        del trainer  # what the failed pass held goes with it, now that the error is over
        _wind_back(model, fresh)
    _save(trainer, model, folder)
    history = trainer.state.log_history
    return Fitted(losses(history), firsts(history))


def _steps(schedule: Schedule, rows: Sequence[Row]) -> set[int]:
    """Return the steps after which a run measures: where about so many tokens are trained, rows being drawn evenly.

    The last step is among them: what it trained is logged too.
    """
    steps = math.ceil(len(rows) / schedule.rows_per_step)
    per_step = sum(int((row.kinds != CONTEXT).sum()) for row in rows) / steps
    asked = {max(1, round(tokens / per_step)) for tokens in schedule.measure_at if tokens < per_step * (steps - 0.5)}
    return asked | {steps}


def _arguments(schedule: Schedule, rows: Sequence[Row], folder: Path, already: str | None) -> TrainingArguments:
    processes = int(os.environ.get("WORLD_SIZE", 1))  # set by accelerate launch and torchrun
    share, rest = divmod(schedule.rows_per_step, processes)
    if rest:
        raise FlanError("training", found=f"{schedule.rows_per_step} rows in a step for {processes} processes",
                        expected="as many for each", remedy="Make rows_per_step a multiple, or start fewer processes.")
    per_pass = min(schedule.rows_per_pass, share)
    steps = math.ceil(len(rows) / schedule.rows_per_step)
    per_log = max(1, round(steps / schedule.logs))
    # Saved where it has just been logged, so that nothing summed by kind is lost; measured at the start of a run only,
    # not where an interrupted one goes on.
    per_save = per_log * max(1, round(steps / SAVES / per_log))
    return TrainingArguments(
        output_dir=str(folder), num_train_epochs=1, per_device_train_batch_size=per_pass,
        per_device_eval_batch_size=schedule.rows_per_pass,
        gradient_accumulation_steps=max(1, share // per_pass),
        learning_rate=schedule.rate, lr_scheduler_type="cosine", warmup_steps=schedule.warmup,
        optim=schedule.optimizer, activation_checkpointing=schedule.checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if schedule.checkpointing else None,
        max_grad_norm=1.0, bf16=compute_dtype() is torch.bfloat16, use_cpu=device().type == "cpu",
        logging_steps=per_log, save_steps=per_save, save_total_limit=2,
        seed=schedule.seed, eval_strategy="no", eval_on_start=not already, remove_unused_columns=False,
        disable_tqdm=True, report_to="none", dataloader_pin_memory=device().type == "cuda", log_level="error",
    )  # fmt: skip


def _save(trainer: Trainer, model: torch.nn.Module, folder: Path) -> None:
    """Write the trained weights from one process, wherever their parts are, and remove the checkpoints."""
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if trainer.is_world_process_zero():
        model.save_pretrained(folder, state_dict=weights)
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    trainer.accelerator.wait_for_everyone()


@torch.no_grad()
def _wind_back(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    for name, p in model.named_parameters():
        p.grad = None
        if name in weights:
            p.copy_(weights[name])
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _smaller(schedule: Schedule, row_tokens: int, error: Exception) -> Schedule:
    """Halve the rows of a pass, or say what else would help."""
    if schedule.rows_per_pass == 1:
        raise FlanError("training", found=f"one row of {row_tokens} tokens does not fit into memory",
                        expected="memory for a row", remedy="Lower row_tokens or lora_rank, switch checkpointing on, "
                        "take an 8-bit optimizer, or name a smaller model.") from error  # fmt: skip
    half = replace(schedule, rows_per_pass=schedule.rows_per_pass // 2)
    warnings.warn(f"Out of memory with {schedule.rows_per_pass} rows a pass: going on with {half.rows_per_pass}, "
                  f"and as many rows in a step.", stacklevel=3)  # fmt: skip
    return half


def firsts(history: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Turn a Trainer's log into a frame of first choices (see :func:`fit`)."""
    found, trained = [], 0
    for entry in history:
        trained += int(sum(n for _, n, _ in entry.get("train", [])))
        if "firsts" in entry:
            found.append((entry["step"], trained, entry["firsts"]))
    return pd.DataFrame(found, columns=["step", "trained_tokens", "firsts"])


def losses(history: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Turn a Trainer's log into a tidy frame (see :func:`fit`)."""
    found, trained = [], 0
    for entry in history:
        splits = {k: v for k, v in entry.items() if isinstance(v, list)}
        trained += int(sum(n for _, n, _ in splits.get("train", [])))
        found += [(entry["step"], trained, split, kind, nats, int(tokens), int(size))
                  for split, sums in splits.items()
                  for kind, (nats, tokens, size) in zip(KINDS, sums, strict=True) if tokens]  # fmt: skip
    return pd.DataFrame(found, columns=["step", "trained_tokens", "split", "kind", "nats", "tokens", "bytes"])


def _listed(sums: torch.Tensor) -> list[list[float]]:
    return [[float(x) for x in row] for row in sums]


def _last_measured(history: Sequence[Mapping[str, Any]]) -> int:
    """Return the step of the last held-out measurement, -1 for none."""
    return max((entry["step"] for entry in history if "heldout" in entry), default=-1)


def _last_whole(folder: Path) -> str | None:
    """Return the newest checkpoint that was written to its end (the Trainer writes its state last)."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda p: -int(p.name.split("-")[1])):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())
        except (OSError, ValueError):
            shutil.rmtree(checkpoint)
        else:
            return str(checkpoint)
    return None
