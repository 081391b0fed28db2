"""Train on labelled tokens, with the loss told apart by kind in every logged step.

transformers' Trainer drives (checkpoints, resume, mixed precision, devices); what is ours is the loss:
trained tokens only, summed by kind, over documents side by side without an attention mask.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from flanlib.attention import by_document
from flanlib.model import device
from flanlib.packing import Row, pack
from flanlib.records import KINDS, FlanError
from flanlib.tokens import CONTEXT, Example

Beside: TypeAlias = Callable[[Mapping[str, torch.Tensor]], torch.Tensor]
"""One more loss, of a batch that the model has just read."""


@dataclass(frozen=True)
class Schedule:
    """How a model is trained. Lengths are tokens; ``rate`` is the peak of a cosine after a short warm-up."""

    rows_per_step: int
    rows_per_pass: int
    rate: float
    seed: int
    logs: int = 40
    """Logged points over the run."""
    measures: int = 2
    """Held-out measurements over the run, its start and end included; 0 for none."""
    warmup: float = 0.05
    """Share of the steps that warm up."""


def draw(examples: Sequence[Example], trained_tokens: int | None = None, *, rows: int | None = None,
         seed: int) -> list[Example]:  # fmt: skip
    """Take examples in shuffled passes until there are so many trained tokens (within one example), or rows.

    Raises FlanError if there is nothing to train on, or not one of the two budgets.
    """
    if (trained_tokens is None) == (rows is None):
        raise FlanError("training budget", found=f"{trained_tokens} trained tokens and {rows} rows",
                        expected="one of the two", remedy="Give trained tokens or rows.")  # fmt: skip
    if not any(example.trained for example in examples):
        raise FlanError("training examples", found=f"no trained token in {len(examples)} examples",
                        expected="at least one", remedy="Look at the tally: the rows may all have been rejected.")
    rng, drawn, left = np.random.default_rng(seed), [], rows or trained_tokens
    while left > 0:
        for i in rng.permutation(len(examples)):
            drawn.append(examples[i])
            left -= 1 if rows else examples[i].trained
            if left <= 0:
                break
    return drawn


def collate(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """Put the conversations of packed rows side by side, without the padding.

    There is no attention mask on purpose: an all-ones one would join the neighbours.
    Returns input_ids, position_ids, labels (-100 where untrained), kinds and bytes, each (1, tokens).
    """

    def joined(name: str) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([getattr(row, name)[: sum(row.lengths)] for row in rows]))[None]

    ids, kinds = joined("ids").long(), joined("kinds").long()
    return {
        "input_ids": ids,
        "position_ids": joined("positions").long(),
        "labels": torch.where(kinds == CONTEXT, -100, ids),
        "kinds": kinds,
        "bytes": joined("bytes").float(),
    }


def token_losses(model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Run a forward pass and return (nats of each trained token, its place among the next tokens).

    Only what comes before a trained token is projected to the vocabulary.
    """
    target = batch["labels"][0, 1:]
    where = torch.nonzero(target != -100).squeeze(1)
    logits = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False,
                   logits_to_keep=where[None]).logits[0].float()  # fmt: skip
    return torch.nn.functional.cross_entropy(logits, target[where], reduction="none"), where


class KindTrainer(Trainer):
    """A Trainer that sums nats, tokens and bytes of the trained tokens by kind."""

    def __init__(self, *args: Any, heldout: Mapping[str, Sequence[Row]], speak: float = 1.0,
                 beside: Beside | None = None, **kwargs: Any) -> None:  # fmt: skip
        super().__init__(*args, data_collator=collate, **kwargs)
        self.heldout, self.speak, self.beside = heldout, speak, beside
        self.model_accepts_loss_kwargs = True  # count the trained tokens of the whole step, not of one pass
        self._sums = torch.zeros(len(KINDS), 3, dtype=torch.float64)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return the mean nats per trained token of the whole step (every pass adds its share)."""
        nats, where = token_losses(model, inputs)
        self._sums += _by_kind(nats.detach(), where, inputs)
        loss = nats.sum() / (num_items_in_batch if num_items_in_batch is not None else max(len(nats), 1))
        # Gradients are averaged over processes, and the count is already over all of them.
        loss = loss * self.accelerator.num_processes
        if self.beside:
            loss = self.speak * loss + self.beside(inputs) / self.args.gradient_accumulation_steps
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
        """Sum the held-out losses by kind, and log them beside the training's, once a step."""
        if _last_measured(self.state.log_history) == self.state.global_step:
            return {}
        self.model.eval()
        logs = {}
        for name, rows in self.heldout.items():
            sums = torch.zeros(len(KINDS), 3, dtype=torch.float64)
            for i in range(0, len(rows), self.args.per_device_eval_batch_size):
                batch = self._prepare_inputs(collate(rows[i : i + self.args.per_device_eval_batch_size]))
                with self.accelerator.autocast():
                    nats, where = token_losses(self.model, batch)
                sums += _by_kind(nats, where, batch)
            logs[name] = _listed(sums)
        self.model.train()
        self.log(logs)
        return {}


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


def fit(model: torch.nn.Module, rows: Sequence[Row], schedule: Schedule, folder: Path, *, label: str = "train",
        heldout: Mapping[str, Sequence[Row]] | None = None, optimizer: torch.optim.Optimizer | None = None,
        tell: Callable[[float], None] | None = None, speak: float = 1.0,
        beside: Beside | None = None) -> pd.DataFrame:  # fmt: skip
    """Train for one pass over packed rows and return the losses by kind.

    ``optimizer`` replaces AdamW; the schedule then scales the rates of its groups. ``tell`` replaces the progress bar.
    Where there is one more loss ``beside`` the usual one, that one weighs ``speak``.

    Interrupted at any point, the next call with the same arguments goes on from the last whole checkpoint
    in ``folder`` to the same losses. Returns a tidy frame: step, trained_tokens (so far), split (``train`` or a
    name of ``heldout``), kind, nats, tokens, bytes (sums over what the row covers).
    """
    steps = math.ceil(len(rows) / schedule.rows_per_step)
    per_log = max(1, round(steps / schedule.logs))
    per_measure = per_log * max(1, round(steps / max(schedule.measures - 1, 1) / per_log))
    arguments = TrainingArguments(
        output_dir=str(folder), num_train_epochs=1, per_device_train_batch_size=schedule.rows_per_pass,
        per_device_eval_batch_size=schedule.rows_per_pass,
        gradient_accumulation_steps=max(1, schedule.rows_per_step // schedule.rows_per_pass),
        learning_rate=schedule.rate, lr_scheduler_type="cosine", warmup_steps=schedule.warmup,
        max_grad_norm=1.0, bf16=True,
        use_cpu=device().type == "cpu",
        logging_steps=per_log, save_steps=per_measure, save_total_limit=2, seed=schedule.seed,
        eval_strategy="steps" if schedule.measures else "no", eval_steps=per_measure,
        eval_on_start=schedule.measures > 0, remove_unused_columns=False, disable_tqdm=True, report_to="none",
        dataloader_pin_memory=device().type == "cuda", log_level="error",
    )  # fmt: skip
    by_document(model)
    trainer = KindTrainer(model=model, args=arguments, train_dataset=list(rows), heldout=heldout or {},
                          eval_dataset=[], callbacks=[Share(tell) if tell else Progress(label)],
                          optimizers=(optimizer, None), speak=speak, beside=beside)  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=_last_whole(folder))
    if schedule.measures:
        trainer.evaluate()
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    return losses(trainer.state.log_history)


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


@torch.no_grad()
def measure(model: torch.nn.Module, examples: Sequence[Example], *, tokens_per_pass: int = 16_384,
            label: str | None = "measure") -> pd.DataFrame:  # fmt: skip
    """Measure the loss of every example by itself, without training; a label of None draws no progress bar.

    Returns a tidy frame, a row per example and kind: id, kind, nats, tokens, bytes (sums over the example).
    """
    was_training = model.training
    model.eval()
    where, found = next(model.parameters()).device, {}
    order = sorted(range(len(examples)), key=lambda i: (len(examples[i]), i))
    with tqdm(total=len(order), desc=label, unit="row", leave=False, disable=label is None) as bar:
        while order:
            chosen = [order.pop() for _ in range(min(len(order), max(1, tokens_per_pass // len(examples[order[-1]]))))]
            rows = [pack([examples[i]], row_tokens=len(examples[i]), pad_id=0)[0] for i in chosen]
            batch = {k: v.to(where) for k, v in collate(rows).items()}
            with torch.autocast(where.type, torch.bfloat16):
                nats, places = token_losses(model, batch)
            ends = torch.tensor([len(examples[i]) for i in chosen], device=where).cumsum(0)
            whose = torch.searchsorted(ends, places + 1, right=True)
            for j, i in enumerate(chosen):
                found[i] = _by_kind(nats[whose == j], places[whose == j], batch)
            bar.update(len(chosen))
    model.train(was_training)
    return pd.DataFrame(
        [(examples[i].id, kind, *(float(x) for x in found[i][k]))
         for i in range(len(examples)) for k, kind in enumerate(KINDS) if found[i][k, 1]],
        columns=["id", "kind", "nats", "tokens", "bytes"],
    ).astype({"tokens": int, "bytes": int})  # fmt: skip


def _by_kind(nats: torch.Tensor, where: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Sum nats, tokens and bytes of trained tokens by kind, (kinds, 3), on the CPU in float64."""
    kinds, size = (batch[name][0, 1:][where] for name in ("kinds", "bytes"))
    each = torch.stack([nats, torch.ones_like(nats), size], 1).double().cpu()
    return torch.zeros(len(KINDS), 3, dtype=torch.float64).index_add_(0, kinds.cpu(), each)


def _listed(sums: torch.Tensor) -> list[list[float]]:
    return [[float(x) for x in row] for row in sums]


def _last_measured(history: Sequence[Mapping[str, Any]]) -> int:
    """Return the step of the last held-out measurement, -1 for none."""
    return max((entry["step"] for entry in history
                if "train" not in entry and any(isinstance(v, list) for v in entry.values())), default=-1)  # fmt: skip


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
