"""A wheel works without the checkout: it brings the data it reads, and writes to the user's folders."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from flanlib.benchmarks import plans
from flanlib.lab import ordinary, tasks
from flanlib.presets import ROOT

SOURCES = ("flanlib", "setup.py", "pyproject.toml", "README.md", "LICENSE")
BUILD = "from setuptools import build_meta; build_meta.build_wheel('.')"
USE = """
import json
import numpy as np
from flanlib import paper, presets, store
from flanlib.benchmarks import plans
from flanlib.corpus.__main__ import main
from flanlib.lab import ordinary, tasks
main([presets.example(), "--out", "corpus"])
print(json.dumps({"package": presets.__file__, "example": presets.example(), "figures": str(presets.FIGURES),
                  "runs": str(store.RUNS), "models": presets.shown(presets.DATA / "models"),
                  "number": paper.number("table1", model="Agent-FLAN", score="overall"),
                  "requests": len(ordinary.requests("train")), "sentences": sorted(plans.SENTENCES),
                  "query": tasks.trajectories(1, rng=np.random.default_rng(0))[0].query}))
"""


def python(code, folder, **environment):
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=os.environ | environment, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def unpacked(tmp_path):
    """A wheel of this checkout, unpacked as pip does. It is built in a copy, since setuptools leaves files behind."""
    copy, site = tmp_path / "copy", tmp_path / "site"
    for name in (*SOURCES, *(f"data/{folder}" for folder in ("paper", "lab", "example"))):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, copy / name)
    python(BUILD, copy)
    (wheel,) = copy.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def test_a_wheel_brings_its_data_and_writes_nothing_beside_itself(unpacked, tmp_path):
    elsewhere, home = tmp_path / "elsewhere", tmp_path / "home"
    elsewhere.mkdir()
    before = sorted(unpacked.rglob("*"))
    *_, line = python(USE, elsewhere, PYTHONPATH=str(unpacked), PYTHONDONTWRITEBYTECODE="1", HOME=str(home),
                      XDG_DATA_HOME=str(home / "share"), LOCALAPPDATA=str(home / "share"))  # fmt: skip
    told = json.loads(line)
    places = {"package": unpacked, "example": unpacked, "figures": elsewhere, "runs": home, "models": home}
    for key, place in places.items():
        assert Path(told[key]).is_relative_to(place), key
    assert told["number"] == 41.7
    assert told["requests"] == len(ordinary.requests("train"))
    assert told["sentences"] == sorted(plans.SENTENCES)
    assert told["query"] == tasks.trajectories(1, rng=np.random.default_rng(0))[0].query
    assert (elsewhere / "corpus" / "agent_flan.jsonl").stat().st_size > 10_000
    assert sorted(unpacked.rglob("*")) == before
