"""Read rows of local files and hub data sets, each with its location.

JSON lists are parsed incrementally, because some public data sets are a single list of gigabytes.
"""

import codecs
import glob
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from flanlib.records import FlanError, clip
from flanlib.tally import Tally

SUFFIXES = (".json", ".jsonl", ".parquet")
# Keys of a row. A JSON object without any of them, whose values are all objects or lists, maps ids to rows.
ROW_KEYS = {"conversations", "conversation", "messages", "traj", "instruction", "answer_generation", "chosen", "turns"}
CHUNK = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*")
HUB = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?::(?P<config>[\w.-]+)(?:/(?P<split>[\w.-]+))?)?")


def rows(data: str | os.PathLike, *, tally: Tally) -> Iterator[tuple[str, Any]]:
    """Yield (where, row) from a file, glob, folder, or hub name ``owner/name[:config/split]``.

    Reads .json (a list, an object of id -> row, one row, or JSON Lines), .jsonl and .parquet, each also as .gz.
    A bad line of JSON Lines is counted in the tally as dropped. Folders are read recursively, in sorted order. Lists
    and lines are read row by row, so that memory does not grow with the file. An object of rows is loaded whole.
    Raises FlanError for a file that is missing, empty, truncated, not UTF-8, or of an unknown type.
    """
    labelled = files(data)
    for path, label in labelled:
        yield from _read(path, label, tally)
    if not labelled:
        yield from _hub(os.fspath(data))


def files(data: str | os.PathLike) -> list[tuple[Path, str]]:
    """List the data files of a path, folder or glob as (path, label). The list is empty for a hub name."""
    path, text = Path(data), os.fspath(data)
    if path.is_file():
        if not _suffix(path):
            raise FlanError(text, found=f"the file type {clip(path.suffix)}", remedy="Convert the file to JSON Lines.",
                            expected="one of " + ", ".join(SUFFIXES) + ", each also .gz")
        return [(path, path.name)]
    if path.is_dir():
        found = [(p, p.relative_to(path).as_posix()) for p in sorted(path.rglob("*")) if p.is_file() and _suffix(p)]
    elif glob.has_magic(text):
        matched = [Path(p) for p in sorted(glob.glob(text, recursive=True))]
        found = [(p, p.name) for p in matched if p.is_file() and _suffix(p)]
    elif isinstance(data, str) and HUB.fullmatch(text) and not _suffix(path) and not path.exists():
        return []
    else:
        raise FlanError(text, found="no such file or folder", expected="a local path, a glob or owner/name",
                        remedy="Check the path; relative paths start at the working directory.")
    if not found:
        raise FlanError(text, found="no data file", expected="files ending in " + ", ".join(SUFFIXES) + " or .gz",
                        remedy="Check the folder or pattern.")
    return found


def values(read: Callable[[int], bytes], begun: bytes = b"", *, chunk: int = CHUNK) -> Iterator[Any]:
    """Yield the values of a JSON list one by one. Its text is ``begun`` followed by the bytes that ``read(n)`` returns.

    Memory is bounded by ``chunk`` bytes or a few times the largest value. Raises ValueError for whatever ``json.loads``
    refuses (a truncated list, text after it, bytes that are not UTF-8), after the values before the error.

    >>> import io
    >>> list(values(io.BytesIO(b'[1, "two", [3]]').read, chunk=4))
    [1, 'two', [3]]
    """
    decode, decoder = codecs.getincrementaldecoder("utf-8")().decode, json.JSONDecoder()
    text, at, ended = decode(begun), 0, False  # what is before the position ``at`` has been used

    def more() -> bool:
        """Read as much text as is left or more, so that a large value is tried again rarely. False at the end."""
        nonlocal text, at, ended
        if ended:
            return False
        data = read(max(chunk, len(text) - at))
        text, at, ended = text[at:] + decode(data, final=not data), 0, not data
        return True

    def mark() -> str:
        """Go to the next character that is not whitespace, and return it, or "" at the end."""
        nonlocal at
        while (at := _SPACE.match(text, at).end()) == len(text) and more():
            pass
        return text[at : at + 1]

    def value() -> Any:
        """Return the next JSON value, and go to its end."""
        nonlocal at
        while True:
            mark()
            try:
                found, end = decoder.raw_decode(text, at)
            except RecursionError as error:
                raise ValueError("nested too deeply") from error
            except ValueError:
                if not more():
                    raise
                continue
            # A number at the end of the text can go on in the next chunk: 12 can be 123, or 12.5 after the point.
            if end < len(text) and (text[end] not in ".eE" or type(found) not in (int, float)):
                at = end
                return found
            if not more():
                raise ValueError("the list does not end")

    if mark() != "[":
        raise ValueError("not a list")
    at += 1
    if mark() != "]":
        yield value()
        while mark() == ",":
            at += 1
            yield value()
    if (last := mark()) != "]":
        raise ValueError(f"{last!r} after a value" if last else "the list does not end")
    at += 1
    if mark():
        raise ValueError("more text after the list")


def _suffix(path: Path) -> str | None:
    suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix
    return suffix if suffix in SUFFIXES else None


def _read(path: Path, label: str, tally: Tally) -> Iterator[tuple[str, Any]]:
    parse = {".jsonl": _lines, ".json": _json, ".parquet": _parquet}[_suffix(path)]
    seen_before, empty = tally.seen, True
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for row in parse(file, label, tally):
                empty = False
                yield row
    except (OSError, EOFError, zlib.error) as error:
        raise FlanError(label, found=f"an unreadable file ({error})", expected="a complete, readable file",
                        remedy="Fetch or compress it again.") from error
    if empty and tally.seen == seen_before:  # lines that are not JSON are rows too
        raise FlanError(label, found="an empty file", expected="at least one row", remedy="Fetch it again.")


def _lines(lines: Any, label: str, tally: Tally) -> Iterator[tuple[str, Any]]:
    """Yield the rows of JSON Lines. Lines end at \\n only, because JSON strings can hold other line separators."""
    for number, line in enumerate(lines, 1):
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if not line.strip():
            continue
        try:
            row = _parse(line)
        except ValueError:
            tally.drop("line is not JSON", f"{label}:{number}")
        else:
            yield f"{label}:{number}", row


def _json(file: Any, label: str, tally: Tally) -> Iterator[tuple[str, Any]]:
    head = file.read(CHUNK).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head.startswith(b"[") and b"\n" not in head:
        head += file.readline()
    # JSON Lines in spite of the suffix: the first line alone is a JSON value, and more lines follow.
    first_line, _, rest = head.partition(b"\n")
    if rest.strip() and _is_container(first_line):
        *lines, last = head.split(b"\n")
        yield from _lines(chain(lines, [last + file.readline()], file), label, tally)
        return
    try:
        if head.startswith(b"["):
            yield from ((f"{label}[{i}]", row) for i, row in enumerate(values(file.read, head)))
            return
        value = _parse(data) if (data := (head + file.read()).strip()) else {}
    except ValueError as error:
        raise FlanError(label, found=f"truncated or invalid JSON ({error})",
                        expected="one JSON list or object, or JSON Lines",
                        remedy="Fetch the file again, in case its end is missing.") from error
    if not isinstance(value, dict):
        raise FlanError(label, found=clip(value), expected="a JSON list or object", remedy="Give rows, not one value.")
    if value and not ROW_KEYS & value.keys() and all(isinstance(v, (dict, list)) for v in value.values()):
        yield from ((f"{label}[{key}]", row) for key, row in value.items())
    elif value:
        yield label, value


def _parquet(file: Any, label: str, tally: Tally) -> Iterator[tuple[str, Any]]:
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(io.BytesIO(file.read()) if isinstance(file, gzip.GzipFile) else file)
        numbered = enumerate(row for batch in table.iter_batches(1024) for row in batch.to_pylist())
        yield from ((f"{label}[{i}]", row) for i, row in numbered)
    except pyarrow.ArrowException as error:
        raise FlanError(label, found=f"an invalid parquet file ({error})", expected="parquet",
                        remedy="Fetch the file again.") from error


def _hub(text: str) -> Iterator[tuple[str, Any]]:
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


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _is_container(line: bytes) -> bool:
    try:
        return isinstance(_parse(line), (dict, list))
    except ValueError:
        return False
