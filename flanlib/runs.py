"""Cached runs: how far texts lie from a model, and a model tuned on conversations, found again by content.

Runs go side by side where that is faster (:mod:`flanlib.jobs`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flanlib import jobs, memory, store
from flanlib.loss import measure
from flanlib.model import RANDOM, add_lora, load, load_adapter, sharded
from flanlib.packing import fill, pack
from flanlib.presets import LAB_BASE, Preset
from flanlib.records import Conversation
from flanlib.stream import encode_stored
from flanlib.tally import Tally
from flanlib.templates import get_template
from flanlib.tokens import CONTEXT, Example, encode_all, load_tokenizer
from flanlib.train import Schedule, draw, fit

# Raise it when training or measuring changes what comes out; a reworded comment costs nobody a rerun.
VERSION = 2
# A process takes seconds to start: runs with fewer trained tokens stay in this one.
LONG = 20_000
MANY = 5_000
"""Conversations that are worth the seconds until worker processes have begun."""


def reader(preset: Preset) -> tuple[Any, Any]:
    """Return the preset's tokenizer and template. The random model borrows the lab's tokenizer."""
    return _reader(str(LAB_BASE) if preset.model == RANDOM else preset.model, preset.template)


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


def fitted(preset: Preset, *corpora: Sequence[Conversation], longest: int = 4096, passes: int = 3) -> Preset:
    """Fit a preset to its texts: rows that hold 19 of 20 conversations, and no more than a few passes over them.

    Rows are lengthened by doubling, up to ``longest`` tokens, with fewer of them in a step; the budget of trained
    tokens is cut to ``passes`` passes over the corpus that has the fewest, so that forms stay at equal budgets.
    """
    reach = max(longest, preset.row_tokens)
    encoded = [examples(rows, replace(preset, row_tokens=reach), Tally("fitting")) for rows in corpora]
    wanted = max((np.percentile([len(row) for row in rows], 95) for rows in encoded if rows), default=0)
    rows, step = preset.row_tokens, preset.rows_per_step
    while rows < min(wanted, reach):
        rows, step = 2 * rows, max(1, step // 2)
    least = min(sum(row.trained for row in corpus) for corpus in encoded)
    return replace(preset, row_tokens=rows, rows_per_step=step, rows_per_pass=min(step, preset.rows_per_pass),
                   trained_tokens=min(preset.trained_tokens, passes * least))  # fmt: skip


def untuned(label: str, conversations: Sequence[Conversation], preset: Preset, tally: Tally) -> Path:
    """Measure conversations under the preset's model before any tuning; ``rows.csv`` has a row per id and kind."""
    rows = examples(conversations, preset, tally)
    config = {"version": VERSION, "data": _digest(rows), **reads(preset)}

    def build(folder: Path) -> dict:
        with jobs.one_thread():
            frame = measure(load(preset.model, vocab=_vocab(preset)), rows, label=label)
        store.write_table(folder / "rows.csv", frame, digits=7)
        return {"examples": len(rows)}

    return store.cached(f"{preset.name}-untuned-{label}", config, build)


@dataclass(frozen=True)
class Arm:
    """A corpus to tune on, and how much of it: a budget of trained tokens, or a number of rows (conversations)."""

    train: Sequence[Conversation]
    heldout: Sequence[Conversation] = ()
    """Measured during the run and, row by row, at its end."""
    tokens: int | None = None
    """Trained tokens; by default the preset's budget."""
    rows: int | None = None
    """Rows instead of tokens: then arms with fewer trained tokens in a row get fewer."""


def tuned(arms: Mapping[str, Arm], preset: Preset, tally: Tally, *,
          watch: Callable[[pd.DataFrame], None] | None = None) -> dict[str, list[Path]]:  # fmt: skip
    """Tune the preset's model on every arm, once per seed, and return the run folders of each.

    A run draws examples in shuffled passes up to its budget and goes over them once. A folder holds the adapter,
    ``losses.csv`` (by step, split and kind) and, of held-out texts, ``rows.csv`` (by id and kind, at the end).
    ``watch`` is shown the losses of every run while it goes on (:func:`flanlib.train.fit`).
    On a GPU it first prints what memory a run will take; raises FlanError if that is more than there is.
    """
    found: dict[str, list[_Job]] = {}
    memory.tell(preset)
    for label, arm in arms.items():
        rows, held = examples(arm.train, preset, tally), examples(arm.heldout, preset, Tally("held out"))
        if arm.rows:  # a conversation with nothing trained counts as a row all the same
            encoded = {row.id: row for row in rows}
            rows = [encoded.get(conversation.id) or _nothing(conversation.id) for conversation in arm.train]
        found[label] = [_Job(label, arm, rows, held, preset, seed) for seed in preset.seeds]
    if watch:  # one run after another, in this process
        for job in (job for made in found.values() for job in made if not job.done):
            job.watch = watch
            jobs.side_by_side([job], what="tuning runs")
    jobs.side_by_side([job for made in found.values() for job in made], what="tuning runs")
    return {label: [job.folder for job in made] for label, made in found.items()}


class _Job(jobs.Job):
    """One tuning run: everything its result depends on, and the folder that follows from it."""

    together = True

    def __init__(self, label: str, arm: Arm, rows: Sequence[Example], held: Sequence[Example], preset: Preset,
                 seed: int) -> None:  # fmt: skip
        self.label, self.preset, self.seed = label, preset, seed
        self.rows, self.held = rows, held
        self.watch: Callable[[pd.DataFrame], None] | None = None
        self.budget = {"rows": arm.rows} if arm.rows else {"trained_tokens": arm.tokens or preset.trained_tokens}
        self.schedule = Schedule(rows_per_step=preset.rows_per_step, rows_per_pass=preset.rows_per_pass,
                                 rate=preset.learning_rate, seed=seed,
                                 measures=preset.measures if held else 0,
                                 optimizer=preset.optimizer, checkpointing=preset.checkpointing)  # fmt: skip
        config = {"version": VERSION, "data": _digest(rows), "heldout": _digest(held), **reads(preset),
                  "schedule": asdict(self.schedule), **self.budget,
                  "row_tokens": preset.row_tokens, "lora_rank": preset.lora_rank}  # fmt: skip
        super().__init__(f"{preset.name}-{label.replace(' ', '-')}-{seed}", config,
                         long=preset.trained_tokens >= LONG)  # fmt: skip

    def build(self, tell: jobs.Tell | None, folder: Path) -> dict:
        preset, bar = self.preset, f"{self.label}, seed {self.seed}"
        pad = reader(preset)[0].pad_token_id
        drawn = draw(self.rows, seed=self.seed, **self.budget)
        full = [row for row in drawn if row.trained]
        packed, held = (pack(rows, row_tokens=preset.row_tokens, pad_id=pad) for rows in (full, self.held))
        model = add_lora(load(preset.model, vocab=_vocab(preset)), rank=preset.lora_rank, seed=self.seed)
        losses = fit(model, packed, self.schedule, folder, label=bar, heldout={"heldout": held}, tell=tell,
                     watch=self.watch)  # fmt: skip
        store.write_table(folder / "losses.csv", losses, digits=7)
        if sharded():  # no process has the whole of it: from here on each reads what was written
            model = adapter(folder, preset)
        if self.held:
            frame = measure(model, self.held, label=None if tell else f"{bar}: held out")
            store.write_table(folder / "rows.csv", frame, digits=7)
        return {"steps": math.ceil(len(packed) / self.schedule.rows_per_step), "fill": round(fill(packed), 4),
                "rows": len(drawn), "tokens": sum(map(len, full)),
                "trained_tokens": sum(row.trained for row in drawn), "device": str(model.device)}  # fmt: skip


def _nothing(id: str) -> Example:
    """Stand in for a conversation of which nothing is trained: it is drawn, and then left out."""
    return Example(id, np.zeros(1), np.full(1, CONTEXT), np.zeros(1))


def adapter(folder: Path, preset: Preset) -> Any:
    """Load a tuned model from its run folder."""
    return load_adapter(preset.model, folder, vocab=_vocab(preset))


def table(folders: Mapping[str, Path | Sequence[Path]], name: str) -> pd.DataFrame:
    """Read one CSV of many runs into one frame, with the columns ``form`` (the key) and ``seed`` (its place)."""
    frames = []
    for form, paths in folders.items():
        for seed, path in enumerate([paths] if isinstance(paths, Path) else paths):
            frames.append(pd.read_csv(Path(path) / f"{name}.csv").assign(form=form, seed=seed))
    return pd.concat(frames, ignore_index=True)


def reads(preset: Preset) -> dict[str, str]:
    """Name what a model reads: the weights (by bytes, for a folder) and the template."""
    return {"model": _weights(preset.model), "template": reader(preset)[1].digest}


@lru_cache(maxsize=4)
def _weights(model: str) -> str:
    """Name a model; the bytes of a large folder are read once a process, not once a run."""
    return store.folder_digest(Path(model)) if Path(model).is_dir() else model


def _vocab(preset: Preset) -> int:
    return len(reader(preset)[0])


def _digest(rows: Sequence[Example]) -> str:
    return store.digest(*(np.concatenate([row.ids, row.kinds]).tobytes() for row in rows))
