"""Cached judgements: models put to the benchmarks, each reply judged in a row of its own, found again by content.

A judgement that is missing needs the model's weights. They do not ship: where a tuning is known by its shipped results
only, it is done here first.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from flanlib import store
from flanlib.benchmarks import Generate, Prompt, ask, episodes, general, steps
from flanlib.benchmarks.agent_h import ask as agent_h
from flanlib.benchmarks.agent_h.replies import degenerate
from flanlib.benchmarks.agent_h.samples import Sample
from flanlib.benchmarks.general import Question
from flanlib.benchmarks.intention import Intention
from flanlib.benchmarks.plans import Plans
from flanlib.benchmarks.reading import Read
from flanlib.experiments import tuning, workers
from flanlib.inference.generate import GREEDY, Decoding, Writer, dense
from flanlib.inference.reader import Reader
from flanlib.lab.tasks import Task
from flanlib.presets import Preset
from flanlib.records import FlanError, Trajectory, say

# By benchmark; raise one when what it asks, or how it judges, changes.
VERSIONS = {"steps": 2, "episodes": 2, "general": 2, "agent_h": 3, "replies": 1}
# A process takes seconds to start: trials of fewer items stay in this one.
LONG = 16


@dataclass(frozen=True)
class Trial:
    """Something that a model is put to."""

    benchmark: str
    """One of VERSIONS; episodes need tasks of the lab, whose tools can be run."""
    protocol: str
    """The dialect that the model is to write in; of general questions, only a label."""
    split: str
    """What the items are to a reader, such as ``held-out tools``."""
    items: tuple[Task | Trajectory | Question | Sample, ...]
    intention: Intention | Plans | None = None
    """Reads intentions from thoughts, the lab's by default; of Agent-H, plans from replies, by default none."""
    decoding: Decoding = GREEDY
    free: int | None = None
    """Of steps: on how many tasks, from the first, a model also writes freely; None for all."""


def judge(trials: Mapping[str, Sequence[Trial]], models: Mapping[str, Sequence[Path | None]],
          preset: Preset) -> pd.DataFrame:  # fmt: skip
    """Put every model to its trials and return all judgements.

    ``models`` gives each model's run folders, one per seed; None is the model before any tuning. Returns a tidy
    frame: model, seed, split, protocol, score, id, type, value (0 or 1), and reply; of Agent-H the columns of
    :func:`flanlib.benchmarks.agent_h.ask.measure` too, with its cell as type. Trials that were made before are read
    from their folders; the others go side by side.
    """
    asked = [(name, seed, _Job(trial, folder, preset))
             for name, folders in models.items() for trial in trials[name] for seed, folder in enumerate(folders)]
    tuning.with_weights([job.adapter for _, _, job in asked if job.adapter and not job.done])
    workers.side_by_side([job for _, _, job in asked], what="trials")
    found = [_rows(job.folder).assign(model=name, seed=seed, split=job.trial.split, protocol=job.trial.protocol)
             for name, seed, job in asked]  # fmt: skip
    columns = ["model", "seed", "split", "protocol", "score", "id", "type", "value", "reply"]
    told = pd.concat(found, ignore_index=True)
    return told[columns + [c for c in agent_h.COLUMNS if c in told and c not in columns and "kind" in told]]


def replies(requests: Sequence[Trajectory], preset: Preset, *, longest: int = 64) -> dict[str, str]:
    """Return what the model says to some requests before any tuning and without tools, by id; greedy.

    A reply that ran to its ``longest`` (tokens) ends with its last whole sentence; requests on which the model went
    round in a loop have none.
    """
    trial = Trial("replies", "chat", "requests", tuple(requests), decoding=Decoding(preset.reply_tokens or longest))
    job = _Job(trial, None, preset)
    workers.side_by_side([job], what="trials")
    said = {row["id"]: whole_sentences(row["reply"]) for row in _rows(job.folder)[["id", "reply"]].to_dict("records")}
    return {id: text for id, text in said.items() if not degenerate(text)}


def whole_sentences(text: str) -> str:
    """Leave out what follows the last end of a sentence, if there is one.

    >>> whole_sentences("It is far. You could take a")
    'It is far.'
    """
    ends = [found.end() for found in re.finditer(r"(?m)(?<!^\d)[.!?][\"')\]]*(?=\s|$)", text)]  # "2." alone is none
    return text[: ends[-1]] if ends else text


class _Job(workers.Job):
    """One model's trial: everything its result depends on, and the folder that follows from it."""

    def __init__(self, trial: Trial, adapter: Path | None, preset: Preset) -> None:
        if trial.benchmark not in VERSIONS:
            raise FlanError("trial", found=repr(trial.benchmark), expected=f"one of {', '.join(VERSIONS)}",
                            remedy="Name one of them.")  # fmt: skip
        self.trial, self.adapter, self.preset = trial, adapter, preset
        of = adapter.name.removeprefix(f"{preset.name}-") if adapter else "base"
        config = {"version": VERSIONS[trial.benchmark], **tuning.reads(preset), "adapter": adapter and adapter.name,
                  "items": store.digest(*map(repr, trial.items)), "protocol": trial.protocol,
                  "intention": trial.intention and trial.intention.learnt, "free": trial.free,
                  "decoding": repr(trial.decoding)}  # fmt: skip
        super().__init__(f"{preset.name}-{trial.benchmark}-{trial.protocol}-{of}", config,
                         long=len(trial.items) >= LONG)  # fmt: skip

    def build(self, tell: workers.Tell | None, folder: Path) -> dict:
        tokenizer, template = tuning.reader(self.preset)
        model = dense(self.preset.model, self.adapter and tuning.weights(self.adapter), bits=self.preset.bits)
        label = None if tell else self.name
        write = Writer(model, tokenizer, template, self.trial.decoding, label=label)
        frame = self._judged(write, Reader(model, tokenizer, template, label=label))
        if tell:
            tell(1.0)
        store.write_table(folder / "rows.csv", frame)
        return {"items": len(self.trial.items), "replies": write.ended.total(),
                "ended": dict(sorted(write.ended.items())), "device": str(model.device),
                "computed_in": str(model.dtype).removeprefix("torch.")}  # fmt: skip

    def _judged(self, write: Generate, read: Read) -> pd.DataFrame:
        trial = self.trial
        if trial.benchmark == "steps":
            return steps.measure(trial.items, trial.protocol, write, read, intention=trial.intention, free=trial.free)
        if trial.benchmark == "episodes":
            played = episodes.table(episodes.play(trial.items, trial.protocol, write, intention=trial.intention))
            return played.assign(score="episodes", type=played["shape"], value=played["solved"],
                                 reply=played["answer"])  # fmt: skip
        if trial.benchmark == "agent_h":
            plans = trial.intention.plans if trial.intention else None
            asked = agent_h.measure(trial.items, trial.protocol, write, plans=plans)
            return asked.assign(score="agent_h", type=asked["cell"])
        if trial.benchmark == "replies":
            texts = ((one.id, ("system", one.instructions), ("user", one.query)) for one in trial.items)
            said = ask(write, [Prompt(id, tuple(say(*turn) for turn in turns if turn[1])) for id, *turns in texts])
            return pd.DataFrame({"id": [one.id for one in trial.items], "score": "replies", "type": "reply",
                                 "value": 1, "reply": said}).astype({"value": int})
        asked = general.measure(trial.items, write)
        return asked.assign(score="general", type=asked["family"])


@lru_cache(maxsize=512)
def _rows(folder: Path) -> pd.DataFrame:
    return store.read_table(folder / "rows.csv")
