"""How many processes share a GPU. A small model leaves it idle most of the time: starting a kernel takes longer.

Each process needs its own context, weights and activations, and a core that starts its kernels.
"""

import gc
from dataclasses import replace
from functools import lru_cache

import torch

from flanlib.presets import Preset
from flanlib.training.memory import HEADROOM, WORKSPACE, plan, room
from flanlib.training.model import device, weight_count

SMALL = 1_000_000_000
"""Weights of a model from which on it keeps a GPU busy by itself, at thousands of tokens a pass."""
CORES = 2
"""CPU cores that a process keeps busy: the backward pass has a thread of its own."""
MOST = 8
"""Processes at most. They take turns on a GPU, and each holds some GB of the machine's memory."""


def processes(jobs: int, cores: int, free: float, each: float) -> int:
    """Return how many processes do ``jobs`` on a GPU with ``free`` bytes, of which each process takes ``each``.

    >>> processes(20, cores=16, free=24e9, each=2e9), processes(20, 16, 24e9, 10e9), processes(20, 16, 24e9, 40e9)
    (8, 2, 1)
    """
    return max(1, int(min(jobs, cores // CORES, HEADROOM * free / each, MOST)))


@lru_cache(maxsize=8)
def small(name: str) -> bool:
    """Tell whether a model leaves a GPU idle most of the time."""
    return weight_count(name) < SMALL


def training(preset: Preset, tokens: int) -> float:
    """Return the bytes that a process takes to train on ``tokens`` a pass."""
    return _planned(replace(preset, rows_per_pass=1, row_tokens=tokens, seeds=()), device().type == "cuda")


@lru_cache(maxsize=64)
def _planned(preset: Preset, cuda: bool) -> float:
    return float(plan(preset, cuda=cuda).sum())


def free_for_others() -> float:
    """Return the bytes of this process's GPU that other processes can take, after giving back what is unused."""
    gc.collect()
    torch.cuda.empty_cache()
    return room()


def limit(free: float, processes: int) -> float:
    """Return the share of a GPU's memory that torch may allocate in each of some processes that share ``free``."""
    return max(0.0, free / processes - WORKSPACE) / torch.cuda.mem_get_info(device())[1]
