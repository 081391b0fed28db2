"""Cached judgements: models evaluated on the benchmarks, one row per judged reply, cached by content.

A judgement that is not cached needs the model's weights, which do not ship. Where only the results of a tuning run
shipped, the run is repeated here first. A trial that was interrupted goes on from its last batch: on a CPU to the same
bytes, but for rounding in episodes that had begun.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from flanlib import pace, progress, store
from flanlib.benchmarks import Generate, Prompt, ask, bfcl, episodes, general, steps, when2call
from flanlib.benchmarks.agent_h import ask as agent_h
from flanlib.benchmarks.agent_h.replies import degenerate
from flanlib.benchmarks.agent_h.samples import CALL, PLAIN, Sample
from flanlib.benchmarks.general import Question
from flanlib.benchmarks.intention import Intention
from flanlib.benchmarks.plans import Plans
from flanlib.benchmarks.reading import Read
from flanlib.corpus.negatives import opening
from flanlib.experiments import tuning, workers
from flanlib.inference.continuations import Scorer
from flanlib.inference.generate import GREEDY, Decoding, Writer, replying, scoring_model
from flanlib.inference.journal import Journal
from flanlib.inference.reader import Reader
from flanlib.lab.tasks import Task
from flanlib.presets import Preset, fresh, setting
from flanlib.records import FlanError, Trajectory

# By benchmark. Raise a number when the prompts or the judging of that benchmark change.
VERSIONS = {"steps": 2, "episodes": 2, "general": 2, "agent_h": 3, "replies": 1, "bfcl": 1, "when2call": 1}
# By benchmark: what its rows tell beside the columns that all have.
MORE = {"agent_h": agent_h.COLUMNS, "bfcl": bfcl.COLUMNS, "when2call": when2call.COLUMNS}
Draw = bfcl.Draw | when2call.Draw
# A process takes seconds to start: trials with fewer items run in this one.
LONG = 16


@dataclass(frozen=True)
class Trial:
    """One evaluation of a model: a benchmark, its items, and how replies are decoded."""

    benchmark: str
    """One of VERSIONS. Episodes need tasks of the lab, whose tools can be executed."""
    protocol: str
    """The dialect in which the model writes. For general questions it is only a label."""
    split: str
    """The label of the items in tables and pictures, such as ``held-out tools``."""
    items: tuple[Task | Trajectory | Question | Sample | Draw, ...]
    intention: Intention | Plans | None = None
    """Reads the intended tool from thoughts, by default the lab's reader. For Agent-H: reads plans, by default none."""
    decoding: Decoding = GREEDY
    free: int | None = None
    """For steps: on how many of the first tasks the model also writes freely. None means all."""

    @property
    def size(self) -> int:
        """How many items the model is asked."""
        return sum(item.size if isinstance(item, Draw) else 1 for item in self.items)


def judge(trials: Mapping[str, Sequence[Trial]], models: Mapping[str, Sequence[Path | None]],
          preset: Preset) -> pd.DataFrame:  # fmt: skip
    """Evaluate every model on its trials and return all judgements.

    ``models`` gives each model's run folders, one per seed; None is the untuned model. Returns a tidy frame: model,
    seed, split, protocol, score, id, type, value (0 or 1), reply, and what MORE lists for the benchmarks. The type is
    the cell in Agent-H and the category in BFCL. Finished trials are read from the cache; the others run side by side.
    """
    jobs = [(name, seed, _Job(trial, folder, preset))
            for name, folders in models.items() for trial in trials[name] for seed, folder in enumerate(folders)]
    tuning.with_weights([job.adapter for _, _, job in jobs if job.adapter and not job.done])
    workers.side_by_side([job for _, _, job in jobs], what="trials")
    frames = [_rows(job.folder).assign(model=name, seed=seed, split=job.trial.split, protocol=job.trial.protocol)
              for name, seed, job in jobs]  # fmt: skip
    table = pd.concat(frames, ignore_index=True)
    columns = ["model", "seed", "split", "protocol", "score", "id", "type", "value", "reply"]
    for benchmark in dict.fromkeys(job.trial.benchmark for _, _, job in jobs):
        columns += [column for column in MORE.get(benchmark, ()) if column not in columns]
    return table[columns]


def at_hand(trials: Mapping[str, Sequence[Trial]], models: Mapping[str, Sequence[Path | None]],
            preset: Preset) -> tuple[dict[str, list[Trial]], list[str]]:  # fmt: skip
    """Leave out the benchmarks with fetched rows that cannot be judged here, or that nobody asked for.

    Such a benchmark stays if all its results are there. Else ``PUBLIC`` or ``FRESH`` must ask for it, since that takes
    hours, and its rows must be there. Returns the trials that stay, and a line for each benchmark that does not.
    """
    undone = {trial.split: trial.items for name, folders in models.items() for trial in trials[name]
              if not all(_Job(trial, folder, preset).done for folder in folders)}  # fmt: skip
    why: dict[str, str] = {}
    for split, items in undone.items():
        if not (setting("PUBLIC") or fresh()):
            why[split] = (f"With its rows here ({items[0].FETCH}), the setting PUBLIC={preset.public} makes them, in "
                          "hours on two cores.")  # fmt: skip
            continue
        try:
            for draw in items:
                draw.read()
        except FlanError as error:
            why[split] = f"Its rows are not here: {error}"
    kept = {name: [trial for trial in listed if trial.split not in why] for name, listed in trials.items()}
    return kept, [f"{split} is left out: its results for these models do not ship. {text}"
                  for split, text in why.items()]  # fmt: skip


def ahead(trials: Sequence[Trial], preset: Preset, *, models: int) -> None:
    """Note in the log about how long it will take to judge some models on trials each, before they are tuned.

    Nothing is noted if the untuned model's trials are all in the cache, or if they are short.
    """
    jobs = [job for trial in trials if not (job := _Job(trial, None, preset)).done]
    if any(job.long for job in jobs):
        seconds = workers.estimated(jobs)
        told = "how long cannot be told yet" if seconds is None else pace.spoken(models * seconds)
        progress.note(f"after tuning, {models} models are judged on {len(jobs)} trials each: {told}, one by one")


def replies(requests: Sequence[Trajectory], preset: Preset, *, longest: int = 64) -> dict[str, str]:
    """Return the untuned model's greedy replies to some requests, without tools, by request id.

    A reply is cut at ``longest`` tokens, and then at its last whole sentence. Requests that the model answered with a
    loop are left out.
    """
    trial = Trial("replies", "chat", "requests", tuple(requests), decoding=Decoding(preset.reply_tokens or longest))
    job = _Job(trial, None, preset)
    workers.side_by_side([job], what="trials")
    rows = _rows(job.folder)
    texts = {id: whole_sentences(reply) for id, reply in zip(rows["id"], rows["reply"], strict=True)}
    return {id: text for id, text in texts.items() if not degenerate(text)}


def whole_sentences(text: str) -> str:
    """Cut a text after its last whole sentence. A text without one stays as it is.

    >>> whole_sentences("It is far. You could take a")
    'It is far.'
    """
    # The "2." that begins a list item ends no sentence.
    ends = [match.end() for match in re.finditer(r"(?m)(?<!^\d)[.!?][\"')\]]*(?=\s|$)", text)]
    return text[: ends[-1]] if ends else text


class _Job(workers.Job):
    """One trial of one model. Its config holds everything the result depends on."""

    def __init__(self, trial: Trial, adapter: Path | None, preset: Preset) -> None:
        if trial.benchmark not in VERSIONS:
            raise FlanError("trial", found=repr(trial.benchmark), expected=f"one of {', '.join(VERSIONS)}",
                            remedy="Name one of them.")  # fmt: skip
        self.trial, self.adapter = trial, adapter
        model = adapter.name.removeprefix(f"{preset.name}-") if adapter else "base"
        config = {"version": VERSIONS[trial.benchmark], **tuning.model_key(preset), "adapter": adapter and adapter.name,
                  "items": store.digest(*map(repr, trial.items)), "protocol": trial.protocol,
                  "intention": trial.intention and trial.intention.learnt, "free": trial.free,
                  "decoding": repr(trial.decoding)}  # fmt: skip
        super().__init__(f"{preset.name}-{trial.benchmark}-{trial.protocol}-{model}", config,
                         long=trial.size >= LONG, preset=preset)  # fmt: skip

    def facts(self) -> dict[str, int]:
        return {"items": self.trial.size}

    def takes(self) -> float:
        return replying(self.preset.model, self.preset.bits, self.trial.decoding.max_new_tokens)

    def build(self, tell: workers.Tell | None, folder: Path) -> dict:
        tokenizer, template = tuning.reader(self.preset)
        adapter = self.adapter and tuning.weights(self.adapter)
        model = scoring_model(self.preset.model, adapter, bits=self.preset.bits)
        how = {"label": None if tell else self.name, "journal": Journal(folder / "journal.jsonl")}
        write = Writer(model, tokenizer, template, self.trial.decoding, **how)
        frame = self._judge(write, *(kind(model, tokenizer, template, **how) for kind in (Reader, Scorer)))
        if tell:
            tell(1.0)
        store.write_table(folder / "rows.csv", frame)
        how["journal"].close()
        dense = all(weight.is_floating_point() for weight in model.parameters())
        return {"items": self.trial.size, "replies": write.ended.total(),
                "ended": dict(sorted(write.ended.items())), "device": str(model.device),
                "computed_in": str(model.dtype).removeprefix("torch."),
                **({} if dense else {"weights": "4 bits"})}  # fmt: skip

    def _judge(self, write: Generate, read: Read, score: when2call.LogProbabilities) -> pd.DataFrame:
        trial = self.trial
        if trial.benchmark == "steps":
            return steps.measure(trial.items, trial.protocol, write, read, intention=trial.intention, free=trial.free)
        if trial.benchmark == "episodes":
            rows = episodes.table(episodes.play(trial.items, trial.protocol, write, intention=trial.intention))
            return rows.assign(score="episodes", type=rows["shape"], value=rows["solved"], reply=rows["answer"])
        if trial.benchmark == "agent_h":
            plans = trial.intention.plans if trial.intention else None
            rows = agent_h.measure(trial.items, trial.protocol, write, plans=plans)
            return rows.assign(score="agent_h", type=rows["cell"])
        if trial.benchmark == "replies":
            texts = ask(write, [Prompt(one.id, opening(one.query, one.instructions)) for one in trial.items])
            return pd.DataFrame({"id": [one.id for one in trial.items], "score": "replies", "type": "reply",
                                 "value": 1, "reply": texts}).astype({"value": int})
        if trial.benchmark == "bfcl":
            cases = [case for draw in trial.items for case in draw.read()]
            plans = trial.intention.plans if trial.intention else None
            samples = [case.sample for case in cases]
            rows = bfcl.rated(cases, agent_h.measure(samples, trial.protocol, write, plans=plans))
            right = rows["kind"] == rows["truth"].map({CALL: bfcl.CALL, PLAIN: bfcl.ABSTAIN})
            return rows.assign(score="bfcl", type=rows["category"], value=right.astype(int))
        if trial.benchmark == "when2call":
            questions = [one for draw in trial.items for one in draw.read()]
            rows = when2call.measure(questions, trial.protocol, score)
            right = (rows["chosen"] == rows["right"]).astype(int)
            return rows.assign(score="when2call", type=rows["right"], value=right, reply=rows["chosen"])
        rows = general.measure(trial.items, write)
        return rows.assign(score="general", type=rows["family"])


@lru_cache(maxsize=512)
def _rows(folder: Path) -> pd.DataFrame:
    return store.read_table(folder / "rows.csv")
