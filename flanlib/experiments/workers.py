"""Run long jobs side by side: on a CPU each gets a process with one thread, and the same bytes as one after another.

The split of a sum over threads shows in its last bits. A job therefore has one thread on every machine. A GPU is shared
by as many processes as its memory and the CPU's cores serve (:mod:`flanlib.training.sharing`).
"""

import copyreg
import gc
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from transformers.utils.logging import disable_progress_bar

from flanlib import pace, progress, store
from flanlib.presets import Preset
from flanlib.records import FlanError, freeze
from flanlib.training import sharing
from flanlib.training.model import device
from flanlib.training.rate import seconds_per_token

# Each process holds a model and the activations of a step.
MOST_PROCESSES = 4
LIBRARIES = 560_000_000
"""Bytes of a process that has only imported what it needs, as measured."""
BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"

Tell: TypeAlias = Callable[[float], None]
"""Takes the share of a job that was done since the last call. The shares of a job add up to 1."""


class Job:
    """Work that fills its own run folder. A job can be sent to another process, and repeating it does no harm.

    ``config`` holds everything the result depends on, and ``preset`` names its model. ``long`` says that the job is
    worth the start of a process. Without ``shipped``, the job is done here even if its results came with the kit. The
    run cache is that of the process that creates the job. If several processes were launched together, all of them do a
    job that is marked ``together``, and one does any other.
    """

    together = False

    def __init__(self, name: str, config: Mapping[str, Any], *, long: bool, preset: Preset,
                 shipped: bool = True) -> None:  # fmt: skip
        self.name, self.config, self.long, self.preset = name, config, long, preset
        self.runs, self.shipped = store.RUNS, shipped

    @property
    def label(self) -> str:
        """The name of the job's folder."""
        return store.label(self.name, self.config)

    @property
    def folder(self) -> Path:
        """The folder of the result, computed here or shipped; if there is none yet, where it will be."""
        cached = store.find(self.name, self.config, runs=self.runs, shipped=self.shipped)
        return cached or self.runs / self.label

    @property
    def done(self) -> bool:
        """Whether the result is in the cache."""
        return (self.folder / store.MANIFEST).is_file()

    def run(self, tell: Tell | None = None) -> None:
        """Do the job, or resume it from its folder. ``tell`` replaces the job's own progress bars."""
        store.cached(self.name, self.config, partial(self.build, tell), runs=self.runs,
                     together=self.together, shipped=self.shipped)  # fmt: skip

    def facts(self) -> Mapping[str, int]:
        """Return what is known of the job beforehand: entries of its manifest."""
        return {}

    def takes(self) -> float:
        """Return the bytes of memory that a process with this job takes, on a GPU if there is one."""
        raise TypeError(f"{type(self).__name__} does not define takes()")

    def build(self, tell: Tell | None, folder: Path) -> Mapping[str, Any]:
        """Write the result into the folder and return facts for its manifest."""
        raise TypeError(f"{type(self).__name__} does not define build()")


def side_by_side(jobs: Sequence[Job], *, what: str) -> None:
    """Do all unfinished jobs: in several processes if one of them is long, else one by one in this process.

    Before the first of them starts, the log (:mod:`flanlib.progress`) tells what long ones will take.
    """
    every, jobs = len(jobs), [job for job in jobs if not job.done]
    if not jobs:
        return
    long = any(job.long for job in jobs)
    seconds = estimated(jobs) if long else None
    processes, share = _processes(jobs)
    if long:
        progress.note(_plan(jobs, processes, seconds, f"{len(jobs)} of {every} {what} to do"))
    if processes == 1:
        with _one_thread():
            for i, job in enumerate(jobs, 1):
                if long:
                    progress.note(f"{job.name}: {i} of {len(jobs)} {what}")
                job.run()
        return
    context = multiprocessing.get_context("spawn")
    done = context.Value("d")
    with ProcessPoolExecutor(processes, context, _begin, (done, share)) as pool, progress.Bar(
        total=len(jobs), desc=f"{len(jobs)} {what}", unit="job", leave=False, bar_format=BAR) as bar:  # fmt: skip
        pending = [pool.submit(_work, job) for job in jobs]
        try:
            while pending:
                finished, pending = wait(pending, timeout=1, return_when=FIRST_EXCEPTION)
                bar.update(done.value - bar.n)
                for future in finished:
                    future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def estimated(jobs: Sequence[Job]) -> float | None:
    """Estimate how many seconds jobs take one by one; None if there is nothing to tell it by."""

    def measured() -> float | None:
        with _one_thread():
            return None if _launched() else seconds_per_token(jobs[0].preset)

    return pace.seconds([pace.work(job.name, job.config, job.facts()) for job in jobs], measured)


def _plan(jobs: Sequence[Job], processes: int, seconds: float | None, begin: str) -> str:
    """Tell what jobs will take: amounts, time and memory."""
    amounts = Counter()
    for job in jobs:
        amounts.update({name.replace("_", " "): n for name, n in job.facts().items()})
    parts = [f"{n:,} {name}" for name, n in amounts.items()]
    parts += [pace.spoken(seconds / processes)] if seconds else ["how long cannot be told yet"]
    cpu = device().type == "cpu"  # on a GPU passes and batches become as large as its memory allows
    most = (max(job.takes() for job in jobs) + (LIBRARIES if cpu else 0)) / 1e9
    parts += [f"{processes} at a time, each in {most:.1f} GB of memory"] if processes > 1 else []
    return f"{begin}: {', '.join(parts)}, {'' if cpu else 'at least '}{processes * most:.1f} GB of memory in all"


def _launched() -> bool:
    """Tell whether accelerate or torchrun launched this process, as one of several."""
    return "WORLD_SIZE" in os.environ


def _processes(jobs: Sequence[Job]) -> tuple[int, float | None]:
    """Return how many processes do some jobs, and the share that each gets of a GPU's memory."""
    if _launched() or len(jobs) < 2 or not any(job.long for job in jobs):
        return 1, None
    cores = torch.get_num_threads()
    if device().type == "cpu":
        return min(len(jobs), cores, MOST_PROCESSES), None
    if not all(sharing.small(name) for name in {job.preset.model for job in jobs}):
        return 1, None
    free = sharing.free_for_others()
    count = sharing.processes(len(jobs), cores, free, max(job.takes() for job in jobs))
    return count, sharing.limit(free, count)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Give PyTorch one thread on a CPU, and keep existing objects out of garbage collection.

    accelerate collects garbage before every training run. With all imported modules that takes a third of a second.
    """
    threads, frozen = torch.get_num_threads(), gc.get_freeze_count()
    if device().type == "cpu":
        torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if not frozen:  # else the caller had frozen objects, and they stay so
            gc.unfreeze()


def _begin(done: Any, share: float | None) -> None:
    """Set up a worker process, which ends when its parent ends. ``share`` is what it may take of a GPU's memory."""
    global _done
    _done = done
    torch.set_num_threads(1)
    if share is not None:
        torch.cuda.set_per_process_memory_fraction(share, device())
    disable_progress_bar()
    threading.Thread(target=lambda: (multiprocessing.parent_process().join(), os._exit(1)), daemon=True).start()


def _work(job: Job) -> None:
    def tell(share: float) -> None:
        with _done.get_lock():
            _done.value += share

    with _one_thread():
        job.run(tell)


# pickle cannot rebuild these two by itself, and jobs and their errors cross processes with them inside.
copyreg.pickle(MappingProxyType, lambda mapping: (freeze, (dict(mapping),)))
copyreg.pickle(FlanError, lambda error: (partial(FlanError, **vars(error)), ()))
