"""Two processes train as one does: the same rows in every step, the same losses, though killed on the way."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

SCRIPT = """
import os, sys
from pathlib import Path
import numpy as np
from flanlib import train
from flanlib.model import add_lora, load
from flanlib.packing import pack
from flanlib.tokens import CONTEXT, Example

def examples(n, seed):
    rng = np.random.default_rng(seed)
    for i in range(n):
        size = int(rng.integers(4, 40))
        kinds = np.where(np.arange(size) < rng.integers(1, size - 1), CONTEXT, rng.integers(0, 4, size))
        yield Example(f"e{i}", rng.integers(2, 96, size), kinds, np.where(kinds == CONTEXT, 0, 3))

folder, dies = Path(sys.argv[1]), int(sys.argv[2])
rows, held = (pack(list(examples(n, seed)), row_tokens=64, pad_id=0) for n, seed in ((110, 0), (6, 1)))
rows = rows[: len(rows) // 4 * 4]

class Dies(train.Progress):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == dies:
            os._exit(7)

if dies:
    train.Progress = Dies
schedule = train.Schedule(rows_per_step=4, rows_per_pass=1, rate=1e-2, seed=3, logs=100, measures=4)
model = add_lora(load("random", vocab=96), rank=4, seed=0)
told = train.fit(model, rows, schedule, folder / "run", heldout={"held": held})
if os.environ.get("RANK", "0") == "0":
    told.to_csv(folder / "losses.csv", index=False)
"""


def start(folder: Path, dies: int = 0) -> int:
    """Run the script in two processes; the return code."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    told = subprocess.run([*launch, str(script), str(folder), str(dies)], capture_output=True, text=True, timeout=300,
                          env=env)  # fmt: skip
    assert told.returncode == 0 or dies, told.stderr[-3000:]
    return told.returncode


def test_two_processes_that_were_killed_go_on_to_the_losses_of_one_that_was_not(tmp_path, monkeypatch):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    assert start(two, dies=5)
    assert list((two / "run").glob("checkpoint-*"))
    assert not (two / "losses.csv").exists()
    start(two)
    monkeypatch.setattr(sys, "argv", ["script", str(one), "0"])
    runpy.run_path(str(two / "script.py"))
    told, alone = (pd.read_csv(folder / "losses.csv") for folder in (two, one))
    assert alone["step"].max() > 5
    assert told.drop(columns="nats").equals(alone.drop(columns="nats"))
    assert np.allclose(told["nats"], alone["nats"], rtol=5e-3)
