"""Rows of local files and hub data sets, each with the place it came from."""

from __future__ import annotations

import glob
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from flanlib.records import FlanError, clip
from flanlib.sources import listed
from flanlib.tally import Tally

SUFFIXES = (".json", ".jsonl", ".parquet")
# Keys of a single row; an object without them whose values are all containers maps ids to rows.
ROW_KEYS = {"conversations", "conversation", "messages", "traj", "instruction", "answer_generation", "chosen", "turns"}
HUB = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?::(?P<config>[\w.-]+)(?:/(?P<split>[\w.-]+))?)?")


def rows(data: str | os.PathLike, *, tally: Tally) -> Iterator[tuple[str, Any]]:
    """Yield (where, row) from a file, glob, folder, or hub name ``owner/name[:config/split]``.

    Reads .json (a list, an object of id -> row, one row, or JSON Lines), .jsonl and .parquet, each also .gz.
    A bad line of JSON Lines is counted in the tally and reading goes on. Folders are read recursively, in order. Lists
    and lines are read row by row, so that memory does not grow with the file; an object of rows is held whole.

    Raises FlanError for a file that is missing, empty, cut, not UTF-8, or of an unknown type.
    """
    for path, label in files(data):
        yield from _read(path, label, tally)
    if not _is_local(data):
        yield from _hub(os.fspath(data))


def files(data: str | os.PathLike) -> list[tuple[Path, str]]:
    """List the data files of a path, folder or glob with their labels; none for a hub name."""
    path = Path(data)
    if path.is_file():
        if not _suffix(path):
            raise FlanError(str(data), found=f"the file type {clip(path.suffix)}",
                            expected="one of " + ", ".join(SUFFIXES) + ", each also .gz",
                            remedy="Convert the file to JSON Lines.")
        return [(path, path.name)]
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.is_file() and _suffix(p))
        listed = [(p, p.relative_to(path).as_posix()) for p in found]
    elif glob.has_magic(os.fspath(data)):
        matched = sorted(glob.glob(os.fspath(data), recursive=True))
        listed = [(Path(p), Path(p).name) for p in matched if Path(p).is_file() and _suffix(Path(p))]
    elif _is_local(data):
        raise FlanError(str(data), found="no such file or folder", expected="a local path, a glob or owner/name",
                        remedy="Check the path; relative paths start at the working directory.")
    else:
        return []
    if not listed:
        raise FlanError(str(data), found="no data file", expected="files ending in " + ", ".join(SUFFIXES) + " or .gz",
                        remedy="Check the folder or pattern.")
    return listed


def _is_local(data: str | os.PathLike) -> bool:
    text = os.fspath(data)
    return bool(not isinstance(data, str) or Path(text).exists() or glob.has_magic(text) or _suffix(Path(text))
                or not HUB.fullmatch(text))


def _suffix(path: Path) -> str | None:
    suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix
    return suffix if suffix in SUFFIXES else None


def _read(path: Path, label: str, tally: Tally) -> Iterator[tuple[str, Any]]:
    read = {".jsonl": _lines, ".json": _json, ".parquet": _parquet}[_suffix(path)]
    seen, empty = tally.seen, True
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for found in read(file, label, tally):
                empty = False
                yield found
    except (OSError, EOFError, zlib.error) as error:
        raise FlanError(label, found=f"an unreadable file ({error})", expected="a whole, readable file",
                        remedy="Fetch or compress it again.") from error
    if empty and tally.seen == seen:  # lines that are not JSON are rows too
        raise FlanError(label, found="an empty file", expected="at least one row", remedy="Fetch it again.")


def _lines(lines: Any, label: str, tally: Tally) -> Iterator[tuple[str, Any]]:
    """Yield the rows of JSON Lines. Lines end at \\n only: other line ends are legal inside JSON strings."""
    for number, line in enumerate(lines, 1):
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if not line.strip():
            continue
        where = f"{label}:{number}"
        try:
            row = _parse(line)
        except ValueError:
            tally.drop("line is not JSON", where)
            continue
        yield where, row


def _json(file: Any, label: str, tally: Tally) -> Iterator[tuple[str, Any]]:
    head = file.read(listed.CHUNK).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head.startswith(b"[") and b"\n" not in head:
        head += file.readline()
    first, _, more = head.partition(b"\n")
    if more.strip() and _whole(first):
        *lines, cut = head.split(b"\n")
        yield from _lines(chain(lines, [cut + file.readline()], file), label, tally)
        return
    try:
        if head.startswith(b"["):  # gigabytes, it may be
            yield from ((f"{label}[{i}]", row) for i, row in enumerate(listed.values(file.read, head)))
            return
        value = _parse(data) if (data := (head + file.read()).strip()) else {}
    except ValueError as error:
        raise FlanError(label, found=f"JSON that breaks off or is wrong ({error})",
                        expected="one JSON list or object, or JSON Lines",
                        remedy="Fetch the file again; its end may be missing.") from error
    if not isinstance(value, dict):
        raise FlanError(label, found=clip(value), expected="a JSON list or object", remedy="Give rows, not one value.")
    if value and not ROW_KEYS & value.keys() and all(isinstance(v, (dict, list)) for v in value.values()):
        yield from ((f"{label}[{key}]", row) for key, row in value.items())
    elif value:
        yield label, value


def _parquet(file: Any, label: str, tally: Tally) -> Iterator[tuple[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(io.BytesIO(file.read()) if isinstance(file, gzip.GzipFile) else file)
        numbered = enumerate(row for batch in table.iter_batches(1024) for row in batch.to_pylist())
        yield from ((f"{label}[{i}]", row) for i, row in numbered)
    except pyarrow.ArrowException as error:
        raise FlanError(label, found=f"no whole parquet file ({error})", expected="parquet",
                        remedy="Fetch the file again.") from error


def _hub(text: str) -> Iterator[tuple[str, Any]]:
    import datasets

    name, config, split = HUB.fullmatch(text).group("name", "config", "split")
    try:
        loaded = datasets.load_dataset(name, config, split=split)
    except Exception as error:  # the library raises whatever its back ends raise
        raise FlanError(text, found=f"no such local path, and no data set from the hub ({type(error).__name__}: "
                        f"{clip(str(error), 120)})", expected="a local path, or a hub name with the network at hand",
                        remedy="Offline, give the local path of the data files; for a schema error, download the "
                               "files and give their folder.") from error
    for part, table in ({split: loaded} if split else loaded).items():
        yield from ((f"{name}:{part}[{i}]", row) for i, row in enumerate(table))


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _whole(line: bytes) -> bool:
    try:
        return isinstance(_parse(line), (dict, list))
    except ValueError:
        return False
