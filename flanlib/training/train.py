"""Train on labelled tokens, and log the loss of every kind of token by itself.

transformers' Trainer handles checkpoints, resuming, mixed precision and devices. Only the loss is our own: it covers
trained tokens only, is summed by kind, and reads packed rows without an attention mask.
"""

import json
import math
import shutil
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from flanlib.progress import Bar
from flanlib.records import KINDS, FlanError
from flanlib.text.packing import Row
from flanlib.text.tokens import CONTEXT, Example
from flanlib.training.attention import by_document
from flanlib.training.leaks import isolates
from flanlib.training.loss import by_kind, collate, token_judgements, token_losses
from flanlib.training.memory import exhausted
from flanlib.training.model import compute_dtype, device
from flanlib.training.passes import Pass, arrange, asked, processes, rows_each, smaller


class Fitted(NamedTuple):
    """What a training run logged: losses by kind, which held-out tokens were first choices, and how (:func:`fit`)."""

    losses: pd.DataFrame
    firsts: pd.DataFrame
    way: Pass
    """The passes of its last steps."""


SAVES = 4
"""Checkpoints of a run to resume from, besides those at evaluations."""


@dataclass(frozen=True)
class Schedule:
    """How a model is trained. ``rate`` is the peak learning rate, after a linear warm-up and before a cosine decay."""

    rows_per_step: int
    rows_per_pass: int
    rate: float
    seed: int
    measure_at: tuple[int, ...] = ()
    """Trained tokens after which held-out texts are evaluated, besides the start and the end of the run."""
    logs: int = 40
    """How often the run logs."""
    warmup: float = 0.05
    """Share of the steps."""
    optimizer: str = "adamw_torch_fused"
    """Its name in transformers, for example ``paged_adamw_8bit``."""
    checkpointing: bool = False
    """Whether layers compute their activations again in the backward pass: with LoRA half as much work again, and far
    less memory. On a GPU only as many do as memory demands (:func:`flanlib.training.memory.chosen`)."""


def draw(examples: Sequence[Example], trained_tokens: int, *, seed: int) -> list[Example]:
    """Draw examples in shuffled passes until they have ``trained_tokens``, exceeded by less than one example.

    Raises FlanError if there is no trained token at all.
    """
    if not any(example.trained for example in examples):
        raise FlanError("training examples", found=f"no trained token in {len(examples)} examples",
                        expected="at least one", remedy="See the tally: perhaps all rows were rejected.")  # fmt: skip
    rng, drawn = np.random.default_rng(seed), []
    order = (i for _ in count() for i in rng.permutation(len(examples)))
    while trained_tokens > 0:
        drawn.append(examples[next(order)])
        trained_tokens -= drawn[-1].trained
    return drawn


class OneDevice(TrainingArguments):
    """Settings of a process that trains on one device.

    With several visible GPUs and no launcher the Trainer would multiply the rows of a pass by them, and give each GPU
    a copy of the model (DataParallel), which has neither our packed rows nor their loss. ``accelerate launch`` gives
    every GPU a process of its own.
    """

    @property
    def n_gpu(self) -> int:
        """The number of GPUs that this process uses: one, or none."""
        return min(1, super().n_gpu)


class KindTrainer(Trainer):
    """A Trainer that logs nats, tokens and bytes of the trained tokens, summed by kind."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(data_collator=collate, **kwargs)
        self.model_accepts_loss_kwargs = True  # num_items_in_batch then counts a whole step, not one pass
        self._sums = torch.zeros(len(KINDS), 3, dtype=torch.float64)

    def compute_loss(self, model, inputs, num_items_in_batch, **kwargs):
        """Return this pass's share of the mean nats per trained token of the whole step."""
        with self.accelerator.autocast():
            nats = token_losses(model, inputs)
        self._sums = self._sums.to(nats.device) + by_kind(nats.detach(), inputs)
        # The count covers all processes, and their gradients are averaged: the factor undoes that average.
        return nats.sum() / num_items_in_batch * self.accelerator.num_processes

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the sums by kind since the last training log, over all processes."""
        if "loss" in logs:
            sums = self.accelerator.reduce(self._sums.to(self.args.device, torch.float32), "sum").double().cpu()
            logs["train"] = sums.tolist()
            self._sums.zero_()
        super().log(logs, start_time)

    @torch.no_grad()
    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """Log the losses of held-out texts by kind, and which tokens are first choices; at most once per step."""
        evaluated = [entry["step"] for entry in self.state.log_history if "heldout" in entry]
        if not self.eval_dataset or self.state.global_step in evaluated:
            return {}
        self.model.eval()
        sums, firsts = torch.zeros(len(KINDS), 3, dtype=torch.float64), []
        for i in range(0, len(self.eval_dataset), rows := self.args.per_device_eval_batch_size):
            batch = self._prepare_inputs(collate(self.eval_dataset[i : i + rows]))
            with self.accelerator.autocast():
                nats, first = token_judgements(self.model, batch)
            sums += by_kind(nats, batch).cpu()
            firsts.append(first.cpu().numpy())
        self.model.train()
        self.log({"heldout": sums.tolist(), "firsts": "".join(map(str, np.concatenate(firsts).astype(int)))})
        return {}


class MeasureAt(TrainerCallback):
    """Log, evaluate and save after some steps."""

    def __init__(self, steps: Collection[int]) -> None:
        self.steps = frozenset(steps)

    def on_step_end(self, args, state, control, **kwargs):
        """Request them after one of these steps."""
        if state.global_step in self.steps:
            control.should_log = control.should_evaluate = control.should_save = True
        return control


class Progress(TrainerCallback):
    """Show the progress of a run on a bar with the loss, or pass it to callbacks (:func:`fit`)."""

    def __init__(self, label: str, tell: Callable[[float], None] | None = None,
                 watch: Callable[[pd.DataFrame], None] | None = None) -> None:  # fmt: skip
        self.label, self.tell, self.watch = label, tell, watch

    def on_train_begin(self, args, state, control, **kwargs):
        """Start at the step where a resumed run continues."""
        self.bar = Bar(total=state.max_steps, initial=state.global_step, desc=self.label, unit="step", leave=False,
                        disable=bool(self.tell) or not state.is_world_process_zero)  # fmt: skip
        if self.tell:
            self.tell(state.global_step / state.max_steps)

    def on_step_end(self, args, state, control, **kwargs):
        """Advance by a step."""
        self.bar.update(state.global_step - self.bar.n)
        if self.tell:
            self.tell(1 / state.max_steps)

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Show the loss, and pass on the losses by kind so far."""
        if "loss" in (logs or {}):
            self.bar.set_postfix(loss=f"{logs['loss']:.3f}")
            if self.watch and state.is_world_process_zero:
                self.watch(_frames(state.log_history)[0])

    def on_train_end(self, args, state, control, **kwargs):
        """Close the bar."""
        self.bar.close()


def fit(model: torch.nn.Module, rows: Sequence[Row], schedule: Schedule, folder: Path, *, label: str = "train",
        heldout: Sequence[Row] = (), way: Pass | None = None, tell: Callable[[float], None] | None = None,
        watch: Callable[[pd.DataFrame], None] | None = None) -> Fitted:  # fmt: skip
    """Train for one pass over packed rows; return losses by kind, and the first choices in held-out rows.

    The trained weights (only the adapter's, if the model has one) go into ``folder``. ``way`` cuts a step into passes;
    by default it is what the schedule asks for. ``tell`` gets the share of the run that each step adds, and replaces
    the progress bar. ``watch`` gets the losses so far after every log. After an interruption the next call with the
    same arguments, or another ``way``, resumes from the last complete checkpoint in ``folder``: on a CPU and the same
    way to the same bytes, else to the same losses up to rounding. If a pass runs out of memory, a warning says so and
    training goes on with smaller ones (:func:`flanlib.training.passes.smaller`) and as many rows per step. A model
    that does not keep packed documents apart gets a pass for each document: a warning says so, and rows and steps stay
    the same. Raises FlanError if one row does not fit, or if such a model is to train on several processes.

    Losses are a tidy frame: step, trained_tokens (so far), split (``train`` or ``heldout``), kind, nats, tokens, bytes
    (sums since the last log, or over the held-out rows). Firsts: step, trained_tokens, firsts (a digit for each trained
    token of the held-out rows, in order: 1 if it is the model's first choice given the text before it, else 0).
    """
    way = way or asked(schedule)
    if not isolates(by_document(model)):
        _warn_of_leak(model)
        way, label = way._replace(rows=1, apart=True), f"{label}, a pass per document"
    initial = {name: p.detach().cpu().clone() for name, p in model.named_parameters() if p.requires_grad}
    while True:
        resume = _last_complete(folder)
        arrange(model, way)
        trainer = KindTrainer(model=model, args=_arguments(schedule, way, rows, folder, resume),
                              train_dataset=list(rows), eval_dataset=list(heldout),
                              callbacks=[Progress(label, tell, watch), MeasureAt(_steps(schedule, rows))])  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        try:
            trainer.train(resume_from_checkpoint=resume)
            break
        except RuntimeError as error:
            if not exhausted(error):
                raise
            less = smaller(way, schedule, offload=device().type == "cuda")
            if not less:
                raise FlanError("training", found=f"one row of {len(rows[0].ids)} tokens does not fit into memory",
                                expected="memory for a row",
                                remedy="Lower row_tokens or lora_rank, switch checkpointing on, "
                                "take an 8-bit optimizer, or name a smaller model.") from error  # fmt: skip
            warnings.warn(f"Out of memory with {way.rows} rows a pass{way.note}: going on with {less.rows}{less.note}, "
                          "and as many rows in a step.", stacklevel=2)  # fmt: skip
        way = less
        del trainer  # outside the except block: until there the error keeps the failed pass's tensors alive
        model.zero_grad()
        model.load_state_dict(initial, strict=False)
        torch.cuda.empty_cache()
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # gathered, if they are sharded
    if trainer.is_world_process_zero():
        model.save_pretrained(folder, state_dict=weights)
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    trainer.accelerator.wait_for_everyone()
    return Fitted(*_frames(trainer.state.log_history), way)


def _warn_of_leak(model: torch.nn.Module) -> None:
    kind = model.config.model_type
    if processes() > 1:
        raise FlanError("training", found=f"a {kind} model, which mixes packed documents, on several processes",
                        expected="one process", remedy="Start it without a launcher.")  # fmt: skip
    warnings.warn(f"Packed documents would leak into each other in a {kind} model: "
                  "each gets a pass of its own, in the same rows and steps.", stacklevel=3)  # fmt: skip


def _steps(schedule: Schedule, rows: Sequence[Row]) -> set[int]:
    """Return the steps after which to evaluate: where about ``measure_at`` tokens are trained, and the last."""
    steps = math.ceil(len(rows) / schedule.rows_per_step)
    per_step = sum(int((row.kinds != CONTEXT).sum()) for row in rows) / steps
    before_last = [tokens for tokens in schedule.measure_at if tokens < per_step * (steps - 0.5)]
    return {max(1, round(tokens / per_step)) for tokens in before_last} | {steps}


def _arguments(schedule: Schedule, way: Pass, rows: Sequence[Row], folder: Path, resume: str | None) -> OneDevice:
    steps = math.ceil(len(rows) / schedule.rows_per_step)
    per_log = max(1, round(steps / schedule.logs))
    # Checkpoints come right after a log: sums by kind that are not logged yet would be lost on resuming.
    per_save = per_log * max(1, round(steps / SAVES / per_log))
    return OneDevice(
        output_dir=str(folder), num_train_epochs=1, per_device_train_batch_size=way.rows,
        per_device_eval_batch_size=way.rows,
        gradient_accumulation_steps=rows_each(schedule.rows_per_step) // way.rows,
        learning_rate=schedule.rate, lr_scheduler_type="cosine", warmup_steps=schedule.warmup,
        optim=schedule.optimizer, max_grad_norm=1.0,
        bf16=compute_dtype() is torch.bfloat16, use_cpu=device().type == "cpu",
        logging_steps=per_log, save_steps=per_save, save_total_limit=2,
        seed=schedule.seed, eval_strategy="no", eval_on_start=not resume, remove_unused_columns=False,
        disable_tqdm=True, report_to="none", dataloader_pin_memory=device().type == "cuda", log_level="error",
    )  # fmt: skip


def _frames(history: Sequence[Mapping[str, Any]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Turn a Trainer's log into tidy frames (:func:`fit`)."""
    losses, firsts, trained = [], [], 0
    for entry in history:
        trained += int(sum(tokens for _, tokens, _ in entry.get("train", [])))
        for split in [name for name in ("train", "heldout") if name in entry]:
            losses += [(entry["step"], trained, split, kind, nats, int(tokens), int(size))
                       for kind, (nats, tokens, size) in zip(KINDS, entry[split], strict=True) if tokens]  # fmt: skip
        if "firsts" in entry:
            firsts.append((entry["step"], trained, entry["firsts"]))
    columns = ["step", "trained_tokens"]
    return (pd.DataFrame(losses, columns=[*columns, "split", "kind", "nats", "tokens", "bytes"]),
            pd.DataFrame(firsts, columns=[*columns, "firsts"]))  # fmt: skip


def _last_complete(folder: Path) -> str | None:
    """Return the newest complete checkpoint and delete incomplete ones (the Trainer writes its state last)."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda p: -int(p.name.split("-")[1])):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())
            return str(checkpoint)
        except (OSError, ValueError):
            shutil.rmtree(checkpoint)
    return None
