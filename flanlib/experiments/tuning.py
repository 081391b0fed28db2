"""Cached runs: how far texts lie from a model, and a model tuned on conversations, found again by content.

Runs go side by side where that is faster (:mod:`flanlib.experiments.workers`).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flanlib import pretrained, store
from flanlib.benchmarks import reading, skill
from flanlib.benchmarks.skill import Passage
from flanlib.corpus.stream import encode_stored
from flanlib.dialects import render
from flanlib.experiments import workers
from flanlib.presets import Preset
from flanlib.records import Conversation, Trajectory
from flanlib.tally import Tally
from flanlib.text.offsets import place
from flanlib.text.packing import fill, pack
from flanlib.text.templates import get_template
from flanlib.text.tokens import CONTEXT, Example, encode_all, load_tokenizer
from flanlib.training import memory
from flanlib.training.loss import measure
from flanlib.training.model import add_lora, compute_dtype, load, load_adapter
from flanlib.training.train import Schedule, draw, fit

# Raise it when training or measuring changes what comes out; a reworded comment costs nobody a rerun.
VERSION = 3
# A process takes seconds to start: runs with fewer trained tokens stay in this one.
LONG = 2_000
WEIGHTS = "adapter_model.safetensors"
MANY = 5_000
"""Conversations that are worth the seconds until worker processes have begun."""


def reader(preset: Preset) -> tuple[Any, Any]:
    """Return the preset's tokenizer and template; ``auto`` is the model's own where it brings one."""
    return _reader(pretrained.folder(preset.model), preset.template)


@lru_cache(maxsize=4)
def _reader(name: str, template: str) -> tuple[Any, Any]:
    tokenizer = load_tokenizer(name)
    return tokenizer, get_template(template, tokenizer)


def examples(conversations: Sequence[Conversation], preset: Preset, tally: Tally) -> Sequence[Example]:
    """Tokenise conversations as the preset's model reads them; what does not fit is counted.

    Many of them are tokenised side by side, into a file that is mapped into memory.
    """
    tokenizer, template = reader(preset)
    encode = encode_stored if len(conversations) > MANY else encode_all
    return encode(conversations, tokenizer, template, max_tokens=preset.row_tokens, tally=tally)


def fitted(preset: Preset, *corpora: Sequence[Conversation]) -> Preset:
    """Fit a preset to its texts: rows that hold 19 of 20 conversations, and no more than three passes over them.

    Rows are lengthened by doubling, up to 4,096 tokens, with fewer of them in a step; the passes that the budget of
    trained tokens is cut to are those over the corpus that has the fewest, so that forms stay at equal budgets.
    """
    reach = max(4096, preset.row_tokens)
    encoded = [examples(rows, replace(preset, row_tokens=reach), Tally("fitting")) for rows in corpora]
    wanted = max((np.percentile([len(row) for row in rows], 95) for rows in encoded if rows), default=0)
    rows, step = preset.row_tokens, preset.rows_per_step
    while rows < min(wanted, reach):
        rows, step = 2 * rows, max(1, step // 2)
    least = min(sum(row.trained for row in corpus) for corpus in encoded)
    return replace(preset, row_tokens=rows, rows_per_step=step, rows_per_pass=min(step, preset.rows_per_pass),
                   trained_tokens=min(preset.trained_tokens, 3 * least))  # fmt: skip


def measured(texts: Mapping[str, Sequence[Conversation]], models: Mapping[str, Sequence[Path | None]], preset: Preset,
             tally: Tally) -> pd.DataFrame:  # fmt: skip
    """Measure how surprised models are by some texts: a row per text, model, seed, conversation and kind.

    ``models`` gives each model's run folders, one per seed; None is the model before any tuning. Columns: text, model,
    seed, id, kind, nats, tokens, bytes (sums over the conversation's trained tokens of that kind).
    """
    rows = {text: examples(conversations, preset, tally) for text, conversations in texts.items()}
    made = [(text, model, seed, _Measure(text, rows[text], folder, preset))
            for text in texts for model, folders in models.items() for seed, folder in enumerate(folders)]
    with_weights([job.tuned for *_, job in made if job.tuned and not job.done])
    workers.side_by_side([job for *_, job in made], what="measurements")
    return pd.concat([pd.read_csv(job.folder / "rows.csv").assign(text=text, model=model, seed=seed)
                      for text, model, seed, job in made], ignore_index=True)  # fmt: skip


class _Measure(workers.Job):
    """The loss of one model on some texts."""

    def __init__(self, label: str, rows: Sequence[Example], tuned: Path | None, preset: Preset) -> None:
        self.rows, self.tuned, self.preset = rows, tuned, preset
        config = {"version": VERSION, "data": _digest(rows), **reads(preset), "tuned": tuned and tuned.name}
        of = tuned.name.removeprefix(f"{preset.name}-") if tuned else "base"
        super().__init__(f"{preset.name}-nats-{label.replace(' ', '-')}-{of}", config,
                         long=sum(map(len, rows)) > LONG)  # fmt: skip

    def build(self, tell: workers.Tell | None, folder: Path) -> dict:
        preset = self.preset
        base = {"name": preset.model, "bits": preset.bits}
        model = load_adapter(**base, folder=weights(self.tuned)) if self.tuned else load(**base)
        frame = measure(model, self.rows, label=None if tell else self.name)
        store.write_table(folder / "rows.csv", frame, digits=7)
        return {"examples": len(self.rows), "device": str(model.device),
                "computed_in": str(compute_dtype()).removeprefix("torch.")}  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """A corpus to tune on, and what is watched meanwhile."""

    train: Sequence[Conversation]
    heldout: Sequence[Conversation] = ()
    """Read again and again while a run goes on: their losses, and the names and values in them."""


def tuned(arms: Mapping[str, Arm], preset: Preset, tally: Tally, *,
          watch: Callable[[pd.DataFrame], None] | None = None,
          shipped: bool = True) -> dict[str, list[Path]]:  # fmt: skip
    """Tune the preset's model on every arm, once per seed, and return the run folders of each.

    A run draws examples in shuffled passes up to its budget and goes over them once. A folder holds the adapter (where
    it did not ship), ``losses.csv`` (by step, split and kind) and ``firsts.csv`` (right tokens of held-out texts).
    ``watch`` is shown the losses of every run while it goes on (:func:`flanlib.training.train.fit`); runs that may not
    be ``shipped`` are made here. On a GPU it first prints what memory a run will take; raises FlanError if that is more
    than there is.
    """
    found = {}
    memory.tell(preset)
    for label, arm in arms.items():
        rows, held = examples(arm.train, preset, tally), examples(arm.heldout, preset, Tally("held out"))
        found[label] = [_Job(label, rows, held, preset, seed, shipped=shipped, watch=watch) for seed in preset.seeds]
    made = [job for each in found.values() for job in each]
    for together in [[job] for job in made] if watch else [made]:  # runs that are watched go in this process
        workers.side_by_side(together, what="tuning runs")
    _MADE.update({job.label: job for job in made})
    return {label: [job.folder for job in each] for label, each in found.items()}


class _Job(workers.Job):
    """One tuning run: everything its result depends on, and the folder that follows from it."""

    together = True

    def __init__(self, label: str, rows: Sequence[Example], held: Sequence[Example], preset: Preset,
                 seed: int, *, shipped: bool, watch: Callable[[pd.DataFrame], None] | None = None) -> None:  # fmt: skip
        self.preset, self.seed, self.rows, self.held, self.watch = preset, seed, rows, held, watch
        self.schedule = Schedule(rows_per_step=preset.rows_per_step, rows_per_pass=preset.rows_per_pass,
                                 rate=preset.learning_rate, seed=seed, measure_at=preset.measure_at if held else (),
                                 optimizer=preset.optimizer, checkpointing=preset.checkpointing)  # fmt: skip
        config = {"version": VERSION, "data": _digest(rows), "heldout": _digest(held), **reads(preset),
                  "schedule": asdict(self.schedule), "trained_tokens": preset.trained_tokens,
                  "row_tokens": preset.row_tokens, "lora_rank": preset.lora_rank}  # fmt: skip
        super().__init__(f"{preset.name}-{label.replace(' ', '-')}-{seed}", config, shipped=shipped,
                         long=preset.trained_tokens >= LONG)  # fmt: skip

    def build(self, tell: workers.Tell | None, folder: Path) -> dict:
        preset, pad = self.preset, reader(self.preset)[0].pad_token_id
        drawn = draw(self.rows, preset.trained_tokens, seed=self.seed)
        packed = pack(drawn, row_tokens=preset.row_tokens, pad_id=pad)
        held = [pack([row], row_tokens=len(row), pad_id=pad)[0] for row in self.held]
        model = add_lora(load(preset.model, bits=preset.bits), rank=preset.lora_rank, seed=self.seed)
        told = fit(model, packed, self.schedule, folder, label=self.name, heldout=held, tell=tell, watch=self.watch)
        store.write_table(folder / "losses.csv", told.losses, digits=7)
        store.write_table(folder / "firsts.csv", told.firsts)
        return {"steps": math.ceil(len(packed) / self.schedule.rows_per_step), "fill": round(fill(packed), 4),
                "rows": len(drawn), "tokens": sum(map(len, drawn)),
                "trained_tokens": sum(row.trained for row in drawn), "device": str(model.device),
                "computed_in": str(compute_dtype()).removeprefix("torch.")}  # fmt: skip


_MADE: dict[str, _Job] = {}
"""Runs that this process has asked for, by the names of their folders."""


def passages(trajectories: Sequence[Trajectory], form: str, preset: Preset) -> list[Passage]:
    """List the names and values of held-out trajectories that a run in one form has measured (``firsts.csv``).

    What was left out of the run's texts, for want of room say, is left out here. Nothing is generated here, so a
    value that the model would cut into other tokens counts as wrong; how JSON goes on after one is left out.
    """
    tokenizer, template = reader(preset)
    texts = [render(one, form) for one in trajectories]
    kept, found, before = {row.id: row for row in examples(texts, preset, Tally("held out"))}, [], 0
    for trajectory, text in zip(trajectories, texts, strict=True):
        if (row := kept.get(text.id)) is None:
            continue
        listed = [one for one in reading.passages(trajectory, text, form) if one.score in skill.READ]
        [placed] = place([template.layout(text.turns, text.id)[0]], tokenizer)
        counted = np.cumsum(row.kinds != CONTEXT) - 1 + before
        for one, where in zip(listed, reading.ranges(text, listed, template), strict=True):
            looked = reading.tokens(placed, *where)
            if form != "chat" and one.score == reading.UNDERSTANDING and placed.starts[looked[-1]] >= where[1]:
                looked = looked[:-1]
            tokens = [i for i in looked if i < len(row) and row.kinds[i] != CONTEXT]
            if tokens and looked[-1] < len(row):
                found.append(Passage(trajectory.id, one.score, tuple(int(counted[i]) for i in tokens)))
        before += row.trained
    return found


def with_weights(folders: Iterable[Path]) -> None:
    """Tune again where only the results of a run are here: of what :func:`tuned` returned in this process."""
    lacking = [copy(_MADE[folder.name]) for folder in dict.fromkeys(folders)
               if not (weights(folder) / WEIGHTS).is_file()]  # fmt: skip
    for job in lacking:
        job.shipped = False
    workers.side_by_side(lacking, what="tuning runs")


def weights(folder: Path) -> Path:
    """Return the folder that holds a run's adapter: itself, or the one that was made here in place of a shipped one."""
    return folder if (folder / WEIGHTS).is_file() else store.RUNS / folder.name


def table(folders: Mapping[str, Sequence[Path]], name: str) -> pd.DataFrame:
    """Read one CSV of many runs into one frame, with the columns ``form`` (the key) and ``seed`` (its place)."""
    return pd.concat([pd.read_csv(path / f"{name}.csv", dtype={"firsts": str}).assign(form=form, seed=seed)
                      for form, paths in folders.items() for seed, path in enumerate(paths)],
                     ignore_index=True)  # fmt: skip


def reads(preset: Preset) -> dict[str, Any]:
    """Name what a model reads: its weights, in how many bits, and the template."""
    return {"model": pretrained.identity(preset.model), "bits": preset.bits, "template": reader(preset)[1].digest}


def _digest(rows: Sequence[Example]) -> str:
    return store.digest(*(np.concatenate([row.ids, row.kinds]).tobytes() for row in rows))
