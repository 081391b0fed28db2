"""The run cache: one folder per cached training or measurement, found again by its content.

``data/runs/<name>-<digest>/`` holds what a build wrote, and a ``manifest.json`` that is written last:
a folder without one is unfinished, and its build goes on from what is there. ``data/results/`` holds the small part of
finished runs as it ships with the kit; it is looked at second, and not at all where ``FRESH`` is set.
"""

import datetime
import hashlib
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from flanlib.presets import DATA, fresh
from flanlib.records import FlanError

RUNS = DATA / "runs"
RESULTS = DATA / "results"
SMALL = ("manifest.json", "*.csv")  # what ships of a finished run: what it was, and what it measured; no weights
MANIFEST = "manifest.json"
LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "tokenizers", "numpy")


def digest(*parts: bytes | str | Mapping | Iterable) -> str:
    """Return 12 hexadecimal digits that name some content: bytes, text or anything JSON can write.

    >>> digest({"a": 1}) == digest({"a": 1}), digest({"a": 1}) == digest({"a": 2})
    (True, False)
    """
    whole = hashlib.sha256()
    for part in parts:
        if not isinstance(part, (bytes, str)):
            part = json.dumps(part, sort_keys=True, allow_nan=False)
        whole.update(part if isinstance(part, bytes) else part.encode())
        whole.update(b"\0")
    return whole.hexdigest()[:12]


def folder_digest(folder: Path) -> str:
    """Name the content of a model folder by the bytes of its files."""
    files = sorted(file for kind in ("safetensors", "json", "model", "txt") for file in Path(folder).glob(f"*.{kind}"))
    return digest(*(part for file in files for part in (file.name, file.read_bytes())))


def rank() -> int:
    """Return this process's place among those that ``accelerate launch`` started together; 0 if it is alone."""
    return int(os.environ.get("RANK", 0))


def wait_for(path: Path) -> Path:
    """Return a file or folder that the first of several processes writes, once it is there."""
    while not path.exists():
        time.sleep(0.1)
    return path


def label(name: str, config: Mapping[str, Any]) -> str:
    """Name the folder of a run."""
    return f"{name}-{digest(dict(config))}"


def found(name: str, config: Mapping[str, Any], *, runs: Path | None = None, shipped: bool = True) -> Path | None:
    """Return the folder of a finished run, made here or shipped; None if there is none.

    What is found, and may ship, is noted in the file that ``FLAN_READ_LOG`` names, so that a batch run can tell which
    notebook read which result.
    """
    folder = label(name, config)
    for place in [runs or RUNS, *([RESULTS] if shipped and not fresh() else [])]:
        if (place / folder / MANIFEST).is_file():
            if shipped and (log := os.environ.get("FLAN_READ_LOG")):
                with open(log, "a") as file:
                    file.write(f"{folder}\n")
            return place / folder
    return None


def cached(name: str, config: Mapping[str, Any], build: Callable[[Path], Mapping[str, Any] | None],
           *, runs: Path | None = None, together: bool = False, shipped: bool = True) -> Path:  # fmt: skip
    """Return the folder of a run, building it if its manifest is not there yet.

    ``config`` must hold everything the result depends on. ``build(folder)`` writes into the folder, may find
    there what an interrupted build left, and returns extra facts for the manifest. Where several processes want the
    same folder, one builds it and the others wait, unless they were launched to build it ``together``. Where the whole
    of it is needed, and not only what ships, say that it may not be a ``shipped`` one.
    """
    if there := found(name, config, runs=runs, shipped=shipped):
        return there
    folder = (runs or RUNS) / label(name, config)
    finished = folder / MANIFEST
    folder.mkdir(parents=True, exist_ok=True)
    # Not in the folder, which may be copied; a process that is killed lets go of it.
    lock = FileLock(Path(tempfile.gettempdir()) / f"flanlib-{digest(str(folder.absolute()))}.lock")
    with nullcontext() if together else lock:
        if finished.is_file():
            return folder
        began = time.monotonic()
        facts = dict(build(folder) or {})
        if together and rank():
            return wait_for(finished).parent
        manifest = {"name": name, "config": dict(config), **facts, "wall_seconds": round(time.monotonic() - began, 1),
                    "date": datetime.date.today().isoformat(), "python": platform.python_version(),
                    "machine": machine(), "versions": {library: version(library) for library in LIBRARIES}}  # fmt: skip
        write(finished, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    return folder


def machine() -> str:
    """Name what this process computes on: the GPU where PyTorch sees one, else the processor as the system calls it."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpu = Path("/proc/cpuinfo")
    told = re.search(r"^model name\s*:\s*(.+?)\s*$", cpu.read_text(), re.MULTILINE) if cpu.is_file() else None
    return told[1] if told else platform.processor() or platform.machine()


def manifest(folder: Path) -> dict[str, Any]:
    """Read a run's manifest. Raises FlanError for a run that never finished."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise FlanError(str(folder), found="no manifest.json", expected="a finished run",
                        remedy="Run its notebook again: it goes on where it stopped.")
    return json.loads(path.read_text())


def write(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all, making its folder if needed; text as UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_table(path: Path, frame: pd.DataFrame, *, digits: int = 6) -> None:
    """Write a table as CSV, numbers to so many significant digits: the same table gives the same bytes."""
    write(path, frame.to_csv(index=False, lineterminator="\n", float_format=f"%.{digits}g"))


def read_table(path: Path) -> pd.DataFrame:
    """Read a table that :func:`write_table` wrote, its texts whole: a reply may even hold a carriage return."""
    return pd.read_csv(path, keep_default_na=False, lineterminator="\n")
