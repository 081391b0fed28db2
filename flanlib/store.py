"""The run cache: one folder per training run or measurement, addressed by a digest of its config.

``data/runs/<name>-<digest>/`` holds the files of a run and a ``manifest.json``, which is written last. A folder without
a manifest is unfinished, and its build resumes from the files in it. ``data/results/`` holds the small files of
finished runs that ship with the kit. It is searched after ``data/runs``, and not at all if ``FRESH`` is set.
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
SMALL = ("manifest.json", "*.csv")  # the files of a finished run that ship with the kit: no weights
MANIFEST = "manifest.json"
TEXTS = ("id", "reply", "answer", "firsts")  # columns that may look like numbers and are none
LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "tokenizers", "numpy")


def digest(*parts: bytes | str | Path | Mapping | Iterable) -> str:
    """Return a digest of 12 hexadecimal digits. Each part is bytes, text, a file (its bytes) or a JSON value.

    >>> digest({"a": 1}) == digest({"a": 1}), digest({"a": 1}) == digest({"a": 2})
    (True, False)
    """
    sha256 = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):  # piece by piece: weights are large
            with part.open("rb") as file:
                while piece := file.read(1 << 20):
                    sha256.update(piece)
            sha256.update(b"\0")
            continue
        text = part if isinstance(part, (bytes, str)) else json.dumps(part, sort_keys=True, allow_nan=False)
        sha256.update((text if isinstance(text, bytes) else text.encode()) + b"\0")
    return sha256.hexdigest()[:12]


def folder_digest(folder: Path) -> str:
    """Return a digest of the files in a model folder: names and bytes of weights, configuration and tokenizer."""
    files = sorted(file for end in ("safetensors", "json", "model", "txt") for file in Path(folder).glob(f"*.{end}"))
    return digest(*(part for file in files for part in (file.name, file)))


def rank() -> int:
    """Return this process's rank under ``accelerate launch``, or 0 for a single process."""
    return int(os.environ.get("RANK", 0))


def wait_for(path: Path) -> Path:
    """Block until a file or folder exists, which another process writes, and return its path."""
    while not path.exists():
        time.sleep(0.1)
    return path


def label(name: str, config: Mapping[str, Any]) -> str:
    """Return the name of a run's folder: its name and the digest of its config."""
    return f"{name}-{digest(dict(config))}"


def find(name: str, config: Mapping[str, Any], *, runs: Path | None = None, shipped: bool = True) -> Path | None:
    """Return the folder of a finished run, from ``runs`` or the shipped results, or None.

    ``shipped=False`` ignores the shipped results. Otherwise the folder's name is appended to the file that
    ``FLAN_READ_LOG`` names, so that a batch run knows which notebook read which result.
    """
    folder = label(name, config)
    for parent in [runs or RUNS] + ([RESULTS] if shipped and not fresh() else []):
        if (parent / folder / MANIFEST).is_file():
            if shipped and (log := os.environ.get("FLAN_READ_LOG")):
                with open(log, "a") as file:
                    file.write(f"{folder}\n")
            return parent / folder
    return None


def cached(name: str, config: Mapping[str, Any], build: Callable[[Path], Mapping[str, Any] | None],
           *, runs: Path | None = None, together: bool = False, shipped: bool = True) -> Path:  # fmt: skip
    """Return the folder of a run. Build it first unless a finished run is in the cache.

    ``config`` must hold everything the result depends on. ``build(folder)`` writes into the folder, where it can find
    files of an interrupted build, and returns extra entries for the manifest. If several processes ask for the same
    folder, one builds it and the others wait. With ``together``, all processes of ``accelerate launch`` call ``build``
    and rank 0 writes the manifest. Pass ``shipped=False`` to get files that do not ship.
    """
    if cached_folder := find(name, config, runs=runs, shipped=shipped):
        return cached_folder
    folder = (runs or RUNS) / label(name, config)
    finished = folder / MANIFEST
    folder.mkdir(parents=True, exist_ok=True)
    # The lock file is outside the folder, which is copied elsewhere. The system releases the lock of a killed process.
    lock = FileLock(Path(tempfile.gettempdir()) / f"flanlib-{digest(str(folder.absolute()))}.lock")
    with nullcontext() if together else lock:
        if finished.is_file():
            return folder
        start = time.monotonic()
        extra = dict(build(folder) or {})
        if together and rank():
            return wait_for(finished).parent
        manifest = {"name": name, "config": dict(config), **extra, "wall_seconds": round(time.monotonic() - start, 1),
                    "date": datetime.date.today().isoformat(), "python": platform.python_version(),
                    "machine": machine(), "versions": {library: version(library) for library in LIBRARIES}}  # fmt: skip
        write(finished, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    return folder


def machine() -> str:
    """Return the name of the GPU if PyTorch is imported and sees one, else that of the processor."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpu = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*:\s*(.+?)\s*$", cpu.read_text(), re.MULTILINE) if cpu.is_file() else None
    return model[1] if model else platform.processor() or platform.machine()


def manifest(folder: Path) -> dict[str, Any]:
    """Read a run's manifest. Raises FlanError for an unfinished run."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise FlanError(str(folder), found="no manifest.json", expected="a finished run",
                        remedy="Run its notebook again. It resumes where it stopped.")
    return json.loads(path.read_text(encoding="utf-8"))


def write(path: Path, content: str | bytes) -> None:
    """Write a file atomically, creating its folder if needed. Text is written as UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_table(path: Path, frame: pd.DataFrame, *, digits: int = 6) -> None:
    """Write a table as CSV, with floats rounded to ``digits`` significant digits. Equal tables give equal bytes."""
    write(path, frame.to_csv(index=False, lineterminator="\n", float_format=f"%.{digits}g"))


def read_table(path: Path) -> pd.DataFrame:
    """Read a table that :func:`write_table` wrote. Texts come back unchanged, even with carriage returns or as "NA"."""
    return pd.read_csv(path, keep_default_na=False, lineterminator="\n", dtype=dict.fromkeys(TEXTS, str))
