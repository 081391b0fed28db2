"""Cached runs: tune a model on conversations, and measure the loss of models on texts; both are cached by content.

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
from flanlib.text.tokens import CONTEXT, Example, check_lost, encode_all, load_tokenizer
from flanlib.training import memory, sharing
from flanlib.training.loss import measure
from flanlib.training.model import add_lora, check_ids, compute_dtype, halved, load, load_adapter, weight_count
from flanlib.training.train import Schedule, draw, fit

# Raise it when training or measuring gives other results. It is part of every cache key.
VERSION = 3
# A process takes seconds to start: runs with fewer trained tokens run in this one.
LONG = 2_000
WEIGHTS = "adapter_model.safetensors"
TOKENS_PER_PASS = 16_384
"""Tokens that are measured at once, if they fit into memory."""
MANY = 5_000
"""More conversations than this are worth the start of worker processes."""


def reader(preset: Preset) -> tuple[Any, Any]:
    """Return the preset's tokenizer and chat template. ``auto`` is the model's own template, if it has one."""
    return _reader(pretrained.folder(preset.model), preset.template)


@lru_cache(maxsize=4)
def _reader(name: str, template: str) -> tuple[Any, Any]:
    tokenizer = load_tokenizer(name)
    return tokenizer, get_template(template, tokenizer)


def examples(conversations: Sequence[Conversation], preset: Preset, tally: Tally) -> Sequence[Example]:
    """Tokenise conversations for the preset's model. The tally counts those that are too long.

    More than MANY are tokenised by worker processes, into a file that is mapped into memory.
    """
    tokenizer, template = reader(preset)
    encode = encode_stored if len(conversations) > MANY else encode_all
    return encode(conversations, tokenizer, template, max_tokens=preset.row_tokens, tally=tally)


def fitted(preset: Preset, *corpora: Sequence[Conversation]) -> Preset:
    """Fit a preset to its texts: packed rows hold 19 of 20 conversations, and training makes at most three passes.

    Row length doubles until it suffices, up to 4,096 tokens, and each doubling halves the rows of a step. The passes
    are counted on the corpus with the fewest trained tokens, so that all corpora get the same budget.
    """
    longest = max(4096, preset.row_tokens)
    encoded = [examples(rows, replace(preset, row_tokens=longest), Tally("fitting")) for rows in corpora]
    needed = max((np.percentile([len(row) for row in rows], 95) for rows in encoded if rows), default=0)
    row_tokens, rows_per_step = preset.row_tokens, preset.rows_per_step
    while row_tokens < min(needed, longest):
        row_tokens, rows_per_step = 2 * row_tokens, max(1, rows_per_step // 2)
    fewest = min(sum(row.trained for row in rows) for rows in encoded)
    return replace(preset, row_tokens=row_tokens, rows_per_step=rows_per_step,
                   rows_per_pass=min(rows_per_step, preset.rows_per_pass),
                   trained_tokens=min(preset.trained_tokens, 3 * fewest))  # fmt: skip


def measured(texts: Mapping[str, Sequence[Conversation]], models: Mapping[str, Sequence[Path | None]], preset: Preset,
             tally: Tally) -> pd.DataFrame:  # fmt: skip
    """Measure the loss of models on texts: a row per text, model, seed, conversation and kind.

    ``models`` gives each model's run folders, one per seed; None is the untuned model. Columns: text, model, seed, id,
    kind, nats, tokens, bytes (sums over the conversation's trained tokens of that kind).
    """
    rows = {text: examples(conversations, preset, tally) for text, conversations in texts.items()}
    jobs = [
        (text, model, seed, _Measure(text, rows[text], folder, preset))
        for text in texts
        for model, folders in models.items()
        for seed, folder in enumerate(folders)
    ]
    with_weights([job.tuned for *_, job in jobs if job.tuned and not job.done])
    workers.side_by_side([job for *_, job in jobs], what="measurements")
    return pd.concat([store.read_table(job.folder / "rows.csv").assign(text=text, model=model, seed=seed)
                      for text, model, seed, job in jobs], ignore_index=True)  # fmt: skip


class _Measure(workers.Job):
    def __init__(self, label: str, rows: Sequence[Example], tuned: Path | None, preset: Preset) -> None:
        self.rows, self.tuned = rows, tuned
        config = {"version": VERSION, "data": _digest(rows), **model_key(preset), "tuned": tuned and tuned.name}
        model = tuned.name.removeprefix(f"{preset.name}-") if tuned else "base"
        super().__init__(f"{preset.name}-nats-{label.replace(' ', '-')}-{model}", config,
                         long=sum(map(len, rows)) > LONG, preset=preset)  # fmt: skip

    def facts(self) -> dict[str, int]:
        return {"examples": len(self.rows)}

    def takes(self) -> float:
        return sharing.training(replace(self.preset, checkpointing=True), TOKENS_PER_PASS)  # from above: no gradients

    def build(self, tell: workers.Tell | None, folder: Path) -> dict:
        preset = self.preset
        base = {"name": preset.model, "bits": preset.bits}
        model = load_adapter(**base, folder=weights(self.tuned)) if self.tuned else load(**base)
        tokens = TOKENS_PER_PASS
        while True:
            with memory.until_exhausted():
                frame = measure(model, self.rows, tokens_per_pass=tokens, label=None if tell else self.name)
                break
            tokens = halved(tokens, max(map(len, self.rows)))
        store.write_table(folder / "rows.csv", frame, digits=7)
        return {"examples": len(self.rows), "device": str(model.device),
                "computed_in": str(compute_dtype()).removeprefix("torch.")}  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """A corpus to tune on, and the held-out texts that are measured while a model trains."""

    train: Sequence[Conversation]
    heldout: Sequence[Conversation] = ()
    """Measured several times per run: losses, and which tokens are the model's first choice."""


def tuned(arms: Mapping[str, Arm], preset: Preset, tally: Tally, *,
          watch: Callable[[pd.DataFrame], None] | None = None,
          shipped: bool = True) -> dict[str, list[Path]]:  # fmt: skip
    """Tune the preset's model on every arm, once per seed, and return the run folders of each.

    A run draws examples in shuffled passes up to its budget and trains on each draw once. A folder holds
    ``losses.csv`` (by step, split and kind), ``firsts.csv`` (which held-out tokens are the model's first choice) and,
    unless it shipped, the adapter. ``watch`` is given the losses so far during every run
    (:func:`flanlib.training.train.fit`). Without ``shipped``, results that ship are ignored and the runs made here. On
    a GPU the memory that a run needs is printed before one starts; raises FlanError if that is more than there is, if
    tokenising loses most of an arm's conversations, or if the tokenizer has ids for which the model has no embedding.
    """
    jobs = {}
    for label, arm in arms.items():
        before, heldout = tally.dropped.copy(), Tally("held out")
        rows, held = examples(arm.train, preset, tally), examples(arm.heldout, preset, heldout)
        check_lost(label, tally.dropped - before, len(arm.train))
        check_lost(f"{label}, held out", heldout.dropped, heldout.seen)
        jobs[label] = [_Job(label, rows, held, preset, seed, shipped=shipped, watch=watch) for seed in preset.seeds]
    every = [job for each in jobs.values() for job in each]
    if not all(job.done for job in every):
        check_ids(preset.model, reader(preset)[0])
        memory.check(preset)
    for batch in [[job] for job in every] if watch else [every]:  # a single job stays in this process, with watch()
        workers.side_by_side(batch, what="tuning runs")
    _JOBS.update({job.label: job for job in every})
    return {label: [job.folder for job in each] for label, each in jobs.items()}


class _Job(workers.Job):
    """One tuning run. Its config holds everything the result depends on."""

    together = True

    def __init__(self, label: str, rows: Sequence[Example], held: Sequence[Example], preset: Preset,
                 seed: int, *, shipped: bool, watch: Callable[[pd.DataFrame], None] | None = None) -> None:  # fmt: skip
        self.seed, self.rows, self.held, self.watch = seed, rows, held, watch
        self.schedule = Schedule(rows_per_step=preset.rows_per_step, rows_per_pass=preset.rows_per_pass,
                                 rate=preset.learning_rate, seed=seed, measure_at=preset.measure_at if held else (),
                                 optimizer=preset.optimizer, checkpointing=preset.checkpointing)  # fmt: skip
        config = {"version": VERSION, "data": _digest(rows), "heldout": _digest(held), **model_key(preset),
                  "schedule": asdict(self.schedule), "trained_tokens": preset.trained_tokens,
                  "row_tokens": preset.row_tokens, "lora_rank": preset.lora_rank}  # fmt: skip
        super().__init__(f"{preset.name}-{label.replace(' ', '-')}-{seed}", config, shipped=shipped,
                         long=preset.trained_tokens >= LONG, preset=preset)  # fmt: skip

    def facts(self) -> dict[str, int]:
        drawn, size = draw(self.rows, self.preset.trained_tokens, seed=self.seed), self.preset
        tokens = sum(map(len, drawn))
        return {"rows": len(drawn), "tokens": tokens, "trained_tokens": sum(row.trained for row in drawn),
                "steps": math.ceil(tokens / size.row_tokens / size.rows_per_step)}  # fmt: skip

    def takes(self) -> float:
        return sharing.training(self.preset, self.preset.rows_per_pass * self.preset.row_tokens)

    def build(self, tell: workers.Tell | None, folder: Path) -> dict:
        preset, pad = self.preset, reader(self.preset)[0].pad_token_id
        drawn = draw(self.rows, preset.trained_tokens, seed=self.seed)
        packed = pack(drawn, row_tokens=preset.row_tokens, pad_id=pad)
        held = [pack([row], row_tokens=len(row), pad_id=pad)[0] for row in self.held]
        way = memory.chosen(preset)  # before the model takes its memory
        model = add_lora(load(preset.model, bits=preset.bits), rank=preset.lora_rank, seed=self.seed)
        logs = fit(model, packed, self.schedule, folder, way=way, label=self.name, heldout=held, tell=tell,
                   watch=self.watch)  # fmt: skip
        store.write_table(folder / "losses.csv", logs.losses, digits=7)
        store.write_table(folder / "firsts.csv", logs.firsts)
        apart = {"passes": "one per document"} if logs.way.apart else {}
        return {"steps": math.ceil(len(packed) / self.schedule.rows_per_step), "fill": round(fill(packed), 4),
                "rows": len(drawn), "tokens": sum(map(len, drawn)),
                "trained_tokens": sum(row.trained for row in drawn), "device": str(model.device),
                "computed_in": str(compute_dtype()).removeprefix("torch."), **apart}  # fmt: skip


_JOBS: dict[str, _Job] = {}
"""Tuning runs of this process by the name of their folder, so that :func:`with_weights` can repeat them."""


def passages(trajectories: Sequence[Trajectory], form: str, preset: Preset) -> list[Passage]:
    """List the tool names and argument values that runs in one form measured on held-out trajectories.

    Passages index the trained tokens of ``firsts.csv``; conversations too long for the run are left out. A value that
    the model would split into other tokens counts as wrong. The token after a value in JSON does not count.
    """
    tokenizer, template = reader(preset)
    texts = [render(trajectory, form) for trajectory in trajectories]
    rows = {row.id: row for row in examples(texts, preset, Tally("held out"))}
    selected, before = [], 0  # before: trained tokens of the earlier rows
    for trajectory, text in zip(trajectories, texts, strict=True):
        if (row := rows.get(text.id)) is None:
            continue
        wanted = [one for one in reading.passages(trajectory, text, form) if one.score in skill.READ]
        [placed] = place([template.layout(text.turns, text.id)[0]], tokenizer)
        positions = np.cumsum(row.kinds != CONTEXT) - 1 + before
        for one, (start, end) in zip(wanted, reading.ranges(text, wanted, template), strict=True):
            covered = reading.tokens(placed, start, end)
            if form != "chat" and one.score == reading.UNDERSTANDING and placed.starts[covered[-1]] >= end:
                covered = covered[:-1]
            trained = [i for i in covered if i < len(row) and row.kinds[i] != CONTEXT]
            if trained and covered[-1] < len(row):
                selected.append(Passage(trajectory.id, one.score, tuple(int(positions[i]) for i in trained)))
        before += row.trained
    return selected


def with_weights(folders: Iterable[Path]) -> None:
    """Repeat those runs, of the ones :func:`tuned` returned in this process, whose results shipped without weights."""
    jobs = [copy(_JOBS[folder.name]) for folder in dict.fromkeys(folders)
            if not (weights(folder) / WEIGHTS).is_file()]  # fmt: skip
    for job in jobs:
        job.shipped = False
    workers.side_by_side(jobs, what="tuning runs")


def weights(folder: Path) -> Path:
    """Return the folder that holds a run's adapter: the run's own, or for a shipped run the one repeated here."""
    return folder if (folder / WEIGHTS).is_file() else store.RUNS / folder.name


def table(folders: Mapping[str, Sequence[Path]], name: str) -> pd.DataFrame:
    """Read one CSV of many runs into one frame, with the columns ``form`` (the key) and ``seed`` (the position)."""
    return pd.concat([store.read_table(path / f"{name}.csv").assign(form=form, seed=seed)
                      for form, paths in folders.items() for seed, path in enumerate(paths)],
                     ignore_index=True)  # fmt: skip


def parameters(preset: Preset) -> int:
    """Return how many weights the preset's model has, from its configuration."""
    return weight_count(preset.model)


def model_key(preset: Preset) -> dict[str, Any]:
    """Return the cache key of a preset's model: its weights, their bits, and the chat template."""
    return {"model": pretrained.identity(preset.model), "bits": preset.bits, "template": reader(preset)[1].digest}


def _digest(rows: Sequence[Example]) -> str:
    return store.digest(*(np.concatenate([row.ids, row.kinds]).tobytes() for row in rows))
