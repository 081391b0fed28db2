"""How many processes share a GPU. A small model leaves it idle most of the time: starting a kernel takes longer.

Each process needs its own context, weights and activations, and a core that starts its kernels.
"""

import gc
import math
from dataclasses import replace
from functools import lru_cache

import torch

from flanlib.presets import Preset
from flanlib.training.memory import HEADROOM, WORKSPACE, plan, room, scoring_bytes
from flanlib.training.model import device, outline, weight_bytes

SMALL = 1_000_000_000
"""Weights of a model from which on it keeps a GPU busy by itself, at thousands of tokens a pass."""
ENOUGH = 16_384
"""Tokens of a batch of replies from which on more rows gain less than another process."""
CORES = 2
"""CPU cores that a process keeps busy: the backward pass has a thread of its own."""
MOST = 8
"""Processes at most. They take turns on a GPU, and each holds some GB of the machine's memory."""


def processes(jobs: int, cores: int, free: float, each: float) -> int:
    """Return how many processes do ``jobs`` on a GPU with ``free`` bytes, of which each process takes ``each``.

    >>> processes(20, cores=16, free=24e9, each=2e9), processes(20, 16, 24e9, 10e9), processes(20, 16, 24e9, math.inf)
    (8, 2, 1)
    """
    return max(1, int(min(jobs, cores // CORES, HEADROOM * free / each, MOST)))


def training(preset: Preset, tokens: int) -> float:
    """Return the bytes of a GPU that a process takes to train on ``tokens`` a pass: infinity for a large model."""
    return _planned(replace(preset, rows_per_pass=1, row_tokens=tokens, seeds=()))


@lru_cache(maxsize=64)
def _planned(preset: Preset) -> float:
    return float(plan(preset).sum()) if _small(preset.model) else math.inf


@lru_cache(maxsize=64)
def replying(name: str, new_tokens: int) -> float:
    """Return the bytes of a GPU that a process takes to write replies of a model: infinity for a large one."""
    if not _small(name):
        return math.inf
    model = outline(name)
    weights = sum(weight_bytes(model, bits=16, bytes_per_weight=2))
    return weights + WORKSPACE + ENOUGH * scoring_bytes(model, new_tokens)


@lru_cache(maxsize=8)
def _small(name: str) -> bool:
    return sum(weight.numel() for weight in outline(name).parameters()) < SMALL


def free_for_others() -> float:
    """Return the bytes of this process's GPU that other processes can take, after giving back what is unused."""
    gc.collect()
    torch.cuda.empty_cache()
    return room()


def limit(free: float, processes: int) -> float:
    """Return the share of a GPU's memory that torch may allocate in each of some processes that share ``free``."""
    return max(0.0, free / processes - WORKSPACE) / torch.cuda.mem_get_info(device())[1]
