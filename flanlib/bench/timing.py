"""Time the kit and its peers on the same work, in turns and in CPU seconds of one thread."""

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

COLUMNS = ["name", "device", "unit", "ours", "peer", "peer_name", "ratio", "low", "high", "n", "share"]
# Takes a scratch folder, sets everything up, and returns the work to be timed.
Runner: TypeAlias = Callable[[Path], Callable[[], object]]


@dataclass(frozen=True)
class Contest:
    """One piece of work, the same for the kit and its peers, with its size in units."""

    name: str
    unit: str
    units: float
    ours: Runner
    peers: Mapping[str, Runner]
    operations: float = math.nan  # additions and multiplications of matrix products in the work, if they are counted
    dtype: torch.dtype = torch.float32  # the precision of these matrices
    short: bool = False  # whether each side does the work once untimed, to warm up


def hold(contest: Contest, rounds: int) -> pd.DataFrame:
    """Do the work of a contest in interleaved rounds and return a row per peer.

    ``ours`` and ``peer`` are medians in units per CPU second. ``ratio`` is the median of the rounds' ratios, ``low``
    and ``high`` are their extremes, ``n`` counts the rounds. ``share`` is our side's rate of operations over the rate
    that this machine reaches on large matrices (0 to 1; NaN if operations are not counted). All sides are credited
    with the operations that the work needs, so ``share`` over ``ratio`` is the peer's share.
    """
    runners = {"ours": contest.ours, **contest.peers}
    speeds, rates = {name: [] for name in runners}, []
    # Every other round goes backwards, so that no side always runs first.
    turns = [name for turn in range(rounds) for name in (runners if turn % 2 == 0 else reversed(runners))]
    for name in tqdm(turns, desc=contest.name, unit="run", leave=False):
        with tempfile.TemporaryDirectory() as folder:
            work = runners[name](Path(folder))
            if contest.short:
                work()
            start = time.process_time()
            work()
            speeds[name].append(contest.units / (time.process_time() - start))
        if name == "ours" and not math.isnan(contest.operations):
            rates.append(matrix_rate(contest.dtype))
    ours, rows = np.array(speeds["ours"]), []
    share = contest.operations * np.median(ours) / contest.units / np.median(rates) if rates else math.nan
    for peer in contest.peers:
        ratios = ours / np.array(speeds[peer])
        rows.append((contest.name, "cpu, 1 thread", contest.unit, np.median(ours), np.median(speeds[peer]), peer,
                     np.median(ratios), ratios.min(), ratios.max(), rounds, share))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def matrix_rate(dtype: torch.dtype, *, size: int = 1024, times: int = 8, where: str = "cpu") -> float:
    """Measure a device's rate on large square matrices: operations per second, or on a CPU per CPU second."""
    matrix = torch.randn(size, size, dtype=dtype, device=where)
    settle: Callable[[], object] = torch.cuda.synchronize if where == "cuda" else lambda: None
    clock = time.perf_counter if where == "cuda" else time.process_time
    for repeat in (2, times):  # the first two warm up
        settle()
        start = clock()
        for _ in range(repeat):
            matrix @ matrix
        settle()
    return 2 * size**3 * times / (clock() - start)
