"""Two sides do the same work in turns, and what is counted is CPU seconds of one thread."""

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
# Makes everything ready, given a scratch folder, and returns the work that is timed.
Runner: TypeAlias = Callable[[Path], Callable[[], object]]


@dataclass(frozen=True)
class Contest:
    """One piece of work, the same for us and for our peers, and how many units of it there are."""

    name: str
    unit: str
    units: float
    ours: Runner
    peers: Mapping[str, Runner]
    operations: float = math.nan  # additions and multiplications of matrices in the whole work, where they are counted
    dtype: torch.dtype = torch.float32  # the precision of these matrices
    short: bool = False  # whether each side does the work once before it is timed


def hold(contest: Contest, rounds: int) -> pd.DataFrame:
    """Do the work of a contest in interleaved rounds and return a row per peer.

    ``ours`` and ``peer`` are medians in units per CPU second; ``ratio`` is the median of the rounds' ratios, ``low``
    and ``high`` the least and the greatest of them, ``n`` the rounds. ``share``: of what this machine does with large
    matrices, measured in every round, our side does so much (0 to 1; NaN where operations are not counted). Divided by
    the ratio it is the peer's share: all are credited with what the work needs, whatever they compute.
    """
    runners = {"ours": contest.ours, **contest.peers}
    speeds, rates = {name: [] for name in runners}, []
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
    """Measure how many operations a second a device does on large square matrices; on a CPU, a CPU second."""
    one = torch.randn(size, size, dtype=dtype, device=where)
    settle: Callable[[], object] = torch.cuda.synchronize if where == "cuda" else lambda: None
    clock = time.perf_counter if where == "cuda" else time.process_time
    for repeat in (2, times):  # the first ones warm up
        settle()
        start = clock()
        for _ in range(repeat):
            one @ one
        settle()
    return 2 * size**3 * times / (clock() - start)
