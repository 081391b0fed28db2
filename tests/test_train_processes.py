"""Two processes train as one does: the same rows in every step, the same losses, and a killed run goes on."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

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


def run(folder: Path, processes: int, dies: int = 0) -> int:
    folder.mkdir(exist_ok=True)
    script = folder / "script.py"
    script.write_text(SCRIPT)
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    env = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    told = subprocess.run([sys.executable, *launch, str(script), str(folder), str(dies)], capture_output=True,
                          text=True, timeout=300, env=env)  # fmt: skip
    assert told.returncode == 0 or dies, told.stderr[-3000:]
    return told.returncode


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    run(folder, 1)
    return pd.read_csv(folder / "losses.csv")


def agree(folder: Path, alone: pd.DataFrame) -> None:
    told = pd.read_csv(folder / "losses.csv")
    assert told.drop(columns="nats").equals(alone.drop(columns="nats"))
    assert np.allclose(told["nats"], alone["nats"], rtol=5e-3)


def test_two_processes_train_as_one(tmp_path, alone):
    run(tmp_path, 2)
    agree(tmp_path, alone)


def test_two_processes_that_were_killed_go_on_as_one_that_was_not(tmp_path, alone):
    assert alone["step"].max() > 5
    assert run(tmp_path, 2, dies=5)
    assert list((tmp_path / "run").glob("checkpoint-*"))
    run(tmp_path, 2)
    agree(tmp_path, alone)
