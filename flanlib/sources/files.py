"""Read rows of local files and hub data sets, each with its location."""

import glob
import gzip
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from flanlib.records import FlanError, clip
from flanlib.sources import tables
from flanlib.sources.parsing import CHUNK, UNREADABLE, Bytes, parse, values
from flanlib.tally import Tally

# Keys of a row. A JSON object without any of them, whose values are all objects or lists, maps ids to rows.
ROW_KEYS = {"conversations", "conversation", "messages", "traj", "trajectory", "instruction", "answer_generation",
            "chosen", "turns", "prompt", "completion"}  # fmt: skip
# Keys under which a file holds its rows: a list of them, or of several splits.
_WRAPPER = re.compile(r"data|rows|instances|(?:train|test|valid|validation|val|dev|eval)(?:_\w{1,20})?")
# What the hub's viewer adds to a row.
_VIEWER = {"row", "row_idx", "truncated_cells"}
# Files of ``datasets`` and of hub folders that describe the tables beside them.
_STATE, _DESCRIPTIONS = "state.json", {"dataset_info.json", "dataset_infos.json", "dataset_dict.json"}
HUB = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?::(?P<config>[\w.-]+)(?:/(?P<split>[\w.-]+))?)?")

Rows = Iterator[tuple[str, Any]]


def rows(data: str | os.PathLike, *, tally: Tally) -> Rows:
    """Yield (where, row) from a file, glob, folder, or hub name ``owner/name[:config/split]``.

    Reads .json (a list, an object of id -> row, lists under ``data``, ``rows`` or the names of splits, one row, or JSON
    Lines), .jsonl, .ndjson, .csv and .tsv with a header, .parquet and .arrow, each also as .gz, and folders that
    ``datasets`` saved. Folders are read recursively, in sorted order. Lists, lines and tables are read row by row, so
    that memory does not grow with the file. An object of rows is loaded whole.

    A bad line of JSON Lines is counted in the tally as dropped. A file that is empty, truncated, not UTF-8 or otherwise
    invalid costs the rows from the error on: those before it are read, the other files too, and the tally tells the
    file and the position. Raises FlanError for no such file, for an unknown type, and if no file gives any row.
    """
    labelled, errors = files(data), []
    seen_before, found_any = tally.seen, False
    for path, label in labelled:
        last = ""
        try:
            for last, row in _read(path, label, tally):
                found_any = True
                yield from _unwrapped(last, row, tally)
        except FlanError as error:
            tally.broke(label, error.found + (f", the last row read is {last}" if last else ""))
            errors.append(error)
    if errors and not found_any and tally.seen == seen_before:  # lines that are not JSON are rows too
        first, others = errors[0], f", and {len(errors) - 1} other broken files" if len(errors) > 1 else ""
        raise FlanError(first.where, found=first.found + others, expected=first.expected, remedy=first.remedy)
    if not labelled:
        yield from _hub(os.fspath(data))


def files(data: str | os.PathLike) -> list[tuple[Path, str]]:
    """List the data files of a path, folder or glob as (path, label). The list is empty for a hub name.

    In a folder that ``datasets`` saved, these are the tables that its ``state.json`` lists, not its descriptions and
    caches.
    """
    path, text = Path(data), os.fspath(data)
    if path.is_file():
        if not _suffix(path):
            raise FlanError(text, found=f"the file type {clip(path.suffix)}", remedy="Convert the file to JSON Lines.",
                            expected="one of " + ", ".join(_READERS) + ", each also .gz")
        return [(path, path.name)]
    if path.is_dir():
        found = [(p, p.relative_to(path).as_posix()) for p in _data_files(path.rglob("*"))]
    elif glob.has_magic(text):
        matched = _data_files(map(Path, glob.glob(text, recursive=True)))
        are_same = len({p.name for p in matched}) < len(matched)
        common = os.path.commonpath([p.parent for p in matched]) if are_same else ""
        found = [(p, p.relative_to(common).as_posix() if are_same else p.name) for p in matched]
    elif isinstance(data, str) and HUB.fullmatch(text) and not _suffix(path) and not path.exists():
        return []
    else:
        raise FlanError(text, found="no such file or folder", expected="a local path, a glob or owner/name",
                        remedy="Check the path; relative paths start at the working directory.")
    if not found:
        raise FlanError(text, found="no data file", expected="files ending in " + ", ".join(_READERS) + " or .gz",
                        remedy="Check the folder or pattern.")
    return found


def _suffix(path: Path) -> str | None:
    suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix
    return suffix if suffix in _READERS else None


def _data_files(paths: Iterable[Path]) -> list[Path]:
    """Sort out the data files. A broken link is one too, so that it is told."""
    found: set[Path] = set()
    for path in paths:
        if path.is_dir() or path.name in _DESCRIPTIONS or not _suffix(path):
            continue
        listed = _saved_tables(path) if path.name == _STATE else None
        is_saved = path.suffix == ".arrow" and any((path.parent / name).exists() for name in (_STATE, *_DESCRIPTIONS))
        if listed is not None:
            found.update(listed)
        elif not (is_saved and path.name.startswith("cache-")):  # results of ``map``
            found.add(path)
    return sorted(found)


def _saved_tables(state: Path) -> list[Path] | None:
    """Return the tables of a folder that ``datasets`` saved, missing ones too, or None if it is no such folder."""
    try:
        return [state.parent / Path(file["filename"]).name for file in parse(state.read_bytes())["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read(path: Path, label: str, tally: Tally) -> Rows:
    seen_before, empty = tally.seen, True
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for row in _READERS[_suffix(path)](file, label, tally):
                empty = False
                yield row
    except UNREADABLE as error:
        raise FlanError(label, found=f"an unreadable file ({error})", expected="a complete, readable file",
                        remedy="Fetch or compress it again.") from error
    if empty and tally.seen == seen_before:
        raise FlanError(label, found="an empty file", expected="at least one row", remedy="Fetch it again.")


def _text(read: Callable[[Bytes, str, Tally], Rows], file: BinaryIO, label: str, tally: Tally) -> Rows:
    """Read a file of UTF-8 text, with or without a byte order mark."""
    text = Bytes(file)
    start = text.peek(4)
    encoding = json.detect_encoding(start[:4])
    if not encoding.startswith("utf-8"):
        raise FlanError(label, found=f"{encoding[:6].upper()} text", expected="UTF-8",
                        remedy=f"Convert it: iconv -f {encoding[:6].upper()} -t UTF-8.")
    text.ahead = start.removeprefix(b"\xef\xbb\xbf")
    return read(text, label, tally)


def _lines(lines: Iterable[bytes], label: str, tally: Tally) -> Rows:
    """Yield the rows of JSON Lines."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = parse(line)
        except ValueError:
            tally.drop("line is not JSON", f"{label}:{number}")
        else:
            yield f"{label}:{number}", row


def _json(file: Bytes, label: str, tally: Tally) -> Rows:
    head, longer = b"", file.peek(CHUNK)
    while len(longer) > len(head) and b"\n" not in longer.lstrip() and not longer.lstrip().startswith(b"["):
        head, longer = longer, file.peek(2 * len(longer))
    # JSON Lines in spite of the suffix: the first line alone is a JSON value, and more lines follow.
    first_line, _, rest = longer.lstrip().partition(b"\n")
    if rest.strip() and _is_container(first_line):
        yield from _lines(file, label, tally)
        return
    try:
        if longer.lstrip().startswith(b"["):
            yield from ((f"{label}[{i}]", row) for i, row in enumerate(values(file.read)))
            return
        data = file.read(sys.maxsize)
        if file.error is not None:
            raise file.error
        value = parse(data) if data.strip() else {}
    except ValueError as error:
        raise FlanError(label, found=f"truncated or invalid JSON, {error}",
                        expected="one JSON list or object, or JSON Lines",
                        remedy="Fetch the file again, in case its end is missing.") from error
    if not isinstance(value, dict):
        raise FlanError(label, found=clip(value), expected="a JSON list or object", remedy="Give rows, not one value.")
    yield from _object(value, label, tally)


def _object(value: dict[str, Any], label: str, tally: Tally) -> Rows:
    """Yield the rows of an object: under the keys of a wrapper, one under each id, or the object itself."""
    nested = {} if ROW_KEYS & value.keys() else {k: v for k, v in value.items() if isinstance(v, (dict, list))}
    wrapped = {key: v for key, v in nested.items() if _WRAPPER.fullmatch(key) and _holds_rows(v)}
    if wrapped:
        yield from ((f"{label}[{key}][{i}]", row) for key, listed in wrapped.items() for i, row in enumerate(listed))
        if others := len(nested) - len(wrapped):
            tally.note("other keys beside the rows of a file left out", others)
    elif len(nested) == len(value):
        yield from ((f"{label}[{key}]", row) for key, row in value.items())
    else:
        yield label, value


def _holds_rows(value: Any) -> bool:
    """Tell whether a value is a list of rows. The turns of one row have a role each."""
    return isinstance(value, list) and all(
        isinstance(row, list) or (isinstance(row, dict) and not {"from", "role"} & row.keys()) for row in value)


def _unwrapped(where: str, row: Any, tally: Tally) -> Rows:
    """Yield a row, or the row inside what the hub's viewer gives. Its viewer cuts long cells and says so."""
    if isinstance(row, dict) and isinstance(row.get("row"), dict) and row.keys() <= _VIEWER:
        if row.get("truncated_cells"):
            tally.drop("cells cut by the hub's viewer", where)
            return
        row = row["row"]
    yield where, row


def _hub(text: str) -> Rows:
    import datasets

    name, config, split = HUB.fullmatch(text).group("name", "config", "split")
    try:
        loaded = datasets.load_dataset(name, config, split=split)
    except Exception as error:  # the library raises whatever its back ends raise
        raise FlanError(text, found=f"no such local path, and no data set from the hub ({type(error).__name__}: "
                        f"{clip(str(error), 120)})", expected="a local path, or a hub name and a network connection",
                        remedy="Offline, give the local path of the data files. For a schema error, download the "
                               "files and give their folder.") from error
    for part, table in ({split: loaded} if split else loaded).items():
        yield from ((f"{name}:{part}[{i}]", row) for i, row in enumerate(table))


def _is_container(line: bytes) -> bool:
    try:
        return isinstance(parse(line), (dict, list))
    except ValueError:
        return False


_READERS: dict[str, Callable[[BinaryIO, str, Tally], Rows]] = {
    ".json": partial(_text, _json),
    ".jsonl": partial(_text, _lines),
    ".ndjson": partial(_text, _lines),
    ".csv": partial(_text, tables.delimited),
    ".tsv": partial(_text, partial(tables.delimited, delimiter="\t")),
    ".parquet": lambda file, label, _: tables.parquet(file, label),
    ".arrow": lambda file, label, _: tables.arrow(file, label),
}
