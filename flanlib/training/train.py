"""Train on labelled tokens, with the loss told apart by kind in every logged step.

transformers' Trainer drives (checkpoints, resume, mixed precision, devices); what is ours is the loss:
trained tokens only, summed by kind, over documents side by side without an attention mask.
"""

import json
import math
import os
import shutil
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from flanlib.records import KINDS, FlanError
from flanlib.text.packing import Row
from flanlib.text.tokens import CONTEXT, Example
from flanlib.training.attention import by_document
from flanlib.training.loss import by_kind, collate, token_judgements, token_losses
from flanlib.training.model import compute_dtype, device


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
    rng, drawn = np.random.default_rng(seed), []
    order = (i for _ in count() for i in rng.permutation(len(examples)))
    while trained_tokens > 0:
        drawn.append(examples[next(order)])
        trained_tokens -= drawn[-1].trained
    return drawn


class KindTrainer(Trainer):
    """A Trainer that sums nats, tokens and bytes of the trained tokens by kind."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(data_collator=collate, **kwargs)
        self.model_accepts_loss_kwargs = True  # count the trained tokens of the whole step, not of one pass
        self._sums = torch.zeros(len(KINDS), 3, dtype=torch.float64)

    def compute_loss(self, model, inputs, num_items_in_batch, **kwargs):
        """Return the mean nats per trained token of the whole step (every pass adds its share)."""
        with self.accelerator.autocast():
            nats = token_losses(model, inputs)
        self._sums = self._sums.to(nats.device) + by_kind(nats.detach(), inputs)
        # Gradients are averaged over processes, and the count is already over all of them.
        return nats.sum() / num_items_in_batch * self.accelerator.num_processes

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the sums by kind since the last log."""
        if "loss" in logs:
            sums = self.accelerator.reduce(self._sums.to(self.args.device, torch.float32), "sum").double().cpu()
            logs["train"] = sums.tolist()
            self._sums.zero_()
        super().log(logs, start_time)

    @torch.no_grad()
    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """Read the held-out texts and log their losses by kind, and which tokens are first choices; once a step."""
        measured = [entry["step"] for entry in self.state.log_history if "heldout" in entry]
        if not self.eval_dataset or self.state.global_step in measured:
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
    """Stop to measure, and to save, at some steps."""

    def __init__(self, steps: Collection[int]) -> None:
        self.steps = frozenset(steps)

    def on_step_end(self, args, state, control, **kwargs):
        """Ask for both where it is time."""
        if state.global_step in self.steps:
            control.should_log = control.should_evaluate = control.should_save = True
        return control


class Progress(TrainerCallback):
    """Show how far a run is: on one quiet bar with the loss beside it, or to callers (see :func:`fit`)."""

    def __init__(self, label: str, tell: Callable[[float], None] | None = None,
                 watch: Callable[[pd.DataFrame], None] | None = None) -> None:  # fmt: skip
        self.label, self.tell, self.watch = label, tell, watch

    def on_train_begin(self, args, state, control, **kwargs):
        """Begin at the step that a resumed run goes on from."""
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc=self.label, unit="step", leave=False,
                        disable=bool(self.tell) or not state.is_world_process_zero)  # fmt: skip
        if self.tell:
            self.tell(state.global_step / state.max_steps)

    def on_step_end(self, args, state, control, **kwargs):
        """Go on by a step."""
        self.bar.update(state.global_step - self.bar.n)
        if self.tell:
            self.tell(1 / state.max_steps)

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Show the loss, and the losses by kind so far once a step was trained."""
        if "loss" in (logs or {}):
            self.bar.set_postfix(loss=f"{logs['loss']:.3f}")
            if self.watch and state.is_world_process_zero:
                self.watch(_fitted(state.log_history).losses)

    def on_train_end(self, args, state, control, **kwargs):
        """Close the bar."""
        self.bar.close()


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
                              eval_dataset=list(heldout),
                              callbacks=[Progress(label, tell, watch), MeasureAt(_steps(schedule, rows))])  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        try:
            trainer.train(resume_from_checkpoint=already)
            break
        except torch.OutOfMemoryError as error:
            half = schedule.rows_per_pass // 2
            if not half:
                raise FlanError("training", found=f"one row of {len(rows[0].ids)} tokens does not fit into memory",
                                expected="memory for a row",
                                remedy="Lower row_tokens or lora_rank, switch checkpointing on, "
                                "take an 8-bit optimizer, or name a smaller model.") from error  # fmt: skip
            warnings.warn(f"Out of memory with {schedule.rows_per_pass} rows a pass: going on with {half}, "
                          f"and as many rows in a step.", stacklevel=2)  # fmt: skip
        schedule = replace(schedule, rows_per_pass=half)
        del trainer  # what the failed pass held goes with it, now that the error is over
        model.zero_grad()
        model.load_state_dict(fresh, strict=False)
        torch.cuda.empty_cache()
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # wherever their parts are
    if trainer.is_world_process_zero():
        model.save_pretrained(folder, state_dict=weights)
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    trainer.accelerator.wait_for_everyone()
    return _fitted(trainer.state.log_history)


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
        per_device_eval_batch_size=schedule.rows_per_pass, gradient_accumulation_steps=max(1, share // per_pass),
        learning_rate=schedule.rate, lr_scheduler_type="cosine", warmup_steps=schedule.warmup,
        optim=schedule.optimizer, activation_checkpointing=schedule.checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if schedule.checkpointing else None,
        max_grad_norm=1.0, bf16=compute_dtype() is torch.bfloat16, use_cpu=device().type == "cpu",
        logging_steps=per_log, save_steps=per_save, save_total_limit=2,
        seed=schedule.seed, eval_strategy="no", eval_on_start=not already, remove_unused_columns=False,
        disable_tqdm=True, report_to="none", dataloader_pin_memory=device().type == "cuda", log_level="error",
    )  # fmt: skip


def _fitted(history: Sequence[Mapping[str, Any]]) -> Fitted:
    """Turn a Trainer's log into tidy frames (see :func:`fit`)."""
    losses, firsts, trained = [], [], 0
    for entry in history:
        trained += int(sum(n for _, n, _ in entry.get("train", [])))
        at = entry["step"], trained
        losses += [(*at, split, kind, nats, int(tokens), int(size)) for split in ("train", "heldout") if split in entry
                   for kind, (nats, tokens, size) in zip(KINDS, entry[split], strict=True) if tokens]  # fmt: skip
        firsts += [(*at, entry["firsts"])] if "firsts" in entry else []
    at = ["step", "trained_tokens"]
    return Fitted(pd.DataFrame(losses, columns=[*at, "split", "kind", "nats", "tokens", "bytes"]),
                  pd.DataFrame(firsts, columns=[*at, "firsts"]))  # fmt: skip


def _last_whole(folder: Path) -> str | None:
    """Return the newest checkpoint that was written to its end (the Trainer writes its state last)."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda p: -int(p.name.split("-")[1])):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())
            return str(checkpoint)
        except (OSError, ValueError):
            shutil.rmtree(checkpoint)
    return None
