"""Two processes train as one does: the same rows in every step, the same losses, though killed on the way."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd

SCRIPT = """
import multiprocessing, os, socket, sys
from pathlib import Path
import numpy as np
from flanlib.training import train
from flanlib.training.model import add_lora, load
from flanlib.text.packing import pack
from flanlib.text.tokens import CONTEXT, Example

def examples(n, seed):
    rng = np.random.default_rng(seed)
    for i in range(n):
        size = int(rng.integers(4, 40))
        kinds = np.where(np.arange(size) < rng.integers(1, size - 1), CONTEXT, rng.integers(0, 4, size))
        yield Example(f"e{i}", rng.integers(2, 96, size), kinds, np.where(kinds == CONTEXT, 0, 3))

class Dies(train.Progress):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 5:
            os._exit(7)

def fit(folder, dies=False, **launched):
    os.environ |= launched
    train.Progress = Dies if dies else train.Progress
    rows, held = (pack(list(examples(n, seed)), row_tokens=64, pad_id=0) for n, seed in ((110, 0), (6, 1)))
    rows = rows[: len(rows) // 4 * 4]
    schedule = train.Schedule(rows_per_step=4, rows_per_pass=1, rate=1e-2, seed=3, logs=100, measure_at=(300, 1000))
    model = add_lora(load("random"), rank=4, seed=0)
    told = train.fit(model, rows, schedule, folder / "run", heldout=held)
    if os.environ.get("RANK", "0") == "0":
        told.firsts.to_csv(folder / "firsts.csv", index=False)
        told.losses.to_csv(folder / "losses.csv", index=False)

def start(folder, n, **how):
    # Forked after the imports, which take longer than all that follows; what a launcher sets is set here.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launched = [{"RANK": str(i), "LOCAL_RANK": str(i), "WORLD_SIZE": str(n), "LOCAL_WORLD_SIZE": str(n),
                 "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} if n > 1 else {} for i in range(n)]
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=fit, args=(folder,), kwargs=how | one) for one in launched]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(100)
        rank.kill()
    return [rank.exitcode for rank in ranks]

one, two = (Path(name) for name in sys.argv[1:])
print("killed", 7 in start(two, 2, dies=True), any((two / "run").glob("checkpoint-*")), (two / "losses.csv").exists())
print("resumed", start(two, 2))
print("alone", start(one, 1))
"""


def test_two_processes_that_were_killed_go_on_to_the_losses_of_one_that_was_not(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    env = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    told = subprocess.run([sys.executable, "-c", SCRIPT, *map(str, folders)], capture_output=True, text=True,
                          timeout=400, env=env)  # fmt: skip
    assert told.stdout.splitlines() == ["killed True True False", "resumed [0, 0]", "alone [0]"], told.stderr[-3000:]
    alone, two = (pd.read_csv(folder / "losses.csv") for folder in folders)
    assert alone["step"].max() > 5
    assert two.drop(columns="nats").equals(alone.drop(columns="nats"))
    assert np.allclose(two["nats"], alone["nats"], rtol=5e-3)
    one, other = (pd.read_csv(folder / "firsts.csv", dtype={"firsts": str}) for folder in folders)
    assert other.drop(columns="firsts").equals(one.drop(columns="firsts"))
    assert len(one) == 4
    differing = sum(a != b for a, b in zip("".join(one["firsts"]), "".join(other["firsts"]), strict=True))
    assert differing <= 0.05 * len("".join(one["firsts"]))  # a choice between equals falls either way
