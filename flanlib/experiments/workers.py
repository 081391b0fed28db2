"""Long jobs side by side: on a CPU each in a process of its own with one thread, with the same bytes as one by one.

How a sum is split over threads shows in its last bits, so a job has one thread, whatever the machine.
"""

import copyreg
import gc
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from tqdm.auto import tqdm
from transformers.utils.logging import disable_progress_bar

from flanlib import store
from flanlib.records import FlanError
from flanlib.training.model import device

# Each process holds a model and the activations of a step.
MOST_PROCESSES = 4
BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"

Tell: TypeAlias = Callable[[float], None]
"""Is told which share of a job was done since it was last called; all shares of a job add up to 1."""


class Job:
    """Work that fills a run folder of its own. It can be sent to another process, and be done again without harm.

    ``config`` holds everything its result depends on; ``long`` tells whether it is worth the seconds that a process
    takes to start; a job that may not be ``shipped`` is done here even where its measurements came with the kit. The
    run cache is the one of the process that makes the job. Of several processes that were launched together all take
    part if it is a job for them ``together``, else one.
    """

    together = False

    def __init__(self, name: str, config: Mapping[str, Any], *, long: bool, shipped: bool = True) -> None:
        self.name, self.config, self.long, self.runs, self.shipped = name, config, long, store.RUNS, shipped

    @property
    def label(self) -> str:
        """The name of its folder."""
        return store.label(self.name, self.config)

    @property
    def folder(self) -> Path:
        """The folder of its result: made here, or shipped; where it will be, if it is in neither place."""
        there = store.found(self.name, self.config, runs=self.runs, shipped=self.shipped)
        return there or self.runs / self.label

    @property
    def done(self) -> bool:
        """Whether its result is there already."""
        return (self.folder / store.MANIFEST).is_file()

    def run(self, tell: Tell | None = None) -> None:
        """Do it, or go on from what is in the folder; ``tell`` replaces its own progress bars."""
        store.cached(self.name, self.config, partial(self.build, tell), runs=self.runs,
                     together=self.together, shipped=self.shipped)  # fmt: skip

    def build(self, tell: Tell | None, folder: Path) -> Mapping[str, Any]:
        """Write the result into the folder and return facts for its manifest."""
        raise TypeError(f"{type(self).__name__} says nothing of what it builds")


def side_by_side(jobs: Sequence[Job], *, what: str) -> None:
    """Do all jobs that are not done: one per core if they are long, else one after another in this process."""
    jobs = [job for job in jobs if not job.done]
    if not jobs:
        return
    processes = min(len(jobs), torch.get_num_threads(), MOST_PROCESSES)
    launched = "WORLD_SIZE" in os.environ  # this process is one of several already
    if processes < 2 or launched or device().type != "cpu" or not any(job.long for job in jobs):
        with _settled():
            for job in jobs:
                job.run()
        return
    context = multiprocessing.get_context("spawn")
    done = context.Value("d")
    with ProcessPoolExecutor(processes, context, _begin, (done,)) as pool, tqdm(
        total=len(jobs), desc=f"{len(jobs)} {what}", unit="job", leave=False, bar_format=BAR) as bar:  # fmt: skip
        left = [pool.submit(_work, job) for job in jobs]
        try:
            while left:
                finished, left = wait(left, timeout=1, return_when=FIRST_EXCEPTION)
                bar.update(done.value - bar.n)
                for future in finished:
                    future.result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _settled() -> Iterator[None]:
    """Give PyTorch one thread while on a CPU, and leave what there is now out of garbage collections.

    accelerate makes one before every training, which takes a third of a second with all that was imported.
    """
    threads, frozen = torch.get_num_threads(), gc.get_freeze_count()
    torch.set_num_threads(1 if device().type == "cpu" else threads)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if not frozen:  # else it was somebody else's choice, which stays
            gc.unfreeze()


def _begin(done: Any) -> None:
    """Begin a process that works for another one, and end with it."""
    global _done
    _done = done
    disable_progress_bar()
    threading.Thread(target=lambda: (multiprocessing.parent_process().join(), os._exit(1)), daemon=True).start()


def _work(job: Job) -> None:
    def tell(share: float) -> None:
        with _done.get_lock():
            _done.value += share

    with _settled():
        job.run(tell)


def _frozen(values: dict) -> MappingProxyType:
    return MappingProxyType(values)


# Errors and the frozen mappings of records cross from one process to another by the arguments that make them again.
copyreg.pickle(MappingProxyType, lambda mapping: (_frozen, (dict(mapping),)))
copyreg.pickle(FlanError, lambda error: (partial(FlanError, error.where, found=error.found, expected=error.expected,
                                                 remedy=error.remedy), ()))  # fmt: skip
