"""How fast the kit is beside the tools people would otherwise use, on the same work in the same run.

``make bench`` does the work of every row in turns, ours and each peer's once per round, and counts CPU seconds of one
thread: other programs on the machine then hardly matter.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

COLUMNS = ["name", "device", "unit", "ours", "peer", "peer_name", "ratio", "low", "high", "n"]


Runner: TypeAlias = Callable[[Path], Callable[[], object]]
"""Makes everything ready, given a scratch folder, and returns the work that is timed."""


@dataclass(frozen=True)
class Contest:
    """One piece of work, the same for us and for our peers, and how many units of it there are."""

    name: str
    unit: str
    units: float
    ours: Runner
    peers: Mapping[str, Runner]
    device: str = "cpu, 1 thread"


def hold(contest: Contest, rounds: int) -> pd.DataFrame:
    """Do the work of a contest in interleaved rounds and return a row per peer.

    ``ours`` and ``peer`` are medians in units per CPU second; ``ratio`` is the median of the rounds' ratios, ``low``
    and ``high`` the least and the greatest of them, ``n`` the rounds.
    """
    runners = {"ours": contest.ours, **contest.peers}
    speeds: dict[str, list[float]] = {name: [] for name in runners}
    turns = [name for turn in range(rounds) for name in (runners if turn % 2 == 0 else reversed(runners))]
    for name in tqdm(turns, desc=contest.name, unit="run", leave=False):
        with tempfile.TemporaryDirectory() as folder:
            work = runners[name](Path(folder))
            start = time.process_time()
            work()
            speeds[name].append(contest.units / (time.process_time() - start))
    ours, rows = np.array(speeds["ours"]), []
    for peer in contest.peers:
        ratios = ours / np.array(speeds[peer])
        rows.append((contest.name, contest.device, contest.unit, np.median(ours), np.median(speeds[peer]), peer,
                     np.median(ratios), ratios.min(), ratios.max(), rounds))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)
