"""Read bytes and parse JSON text piece by piece, because some public data sets are a single list of gigabytes."""

import codecs
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

CHUNK = 1 << 20
UNREADABLE = (OSError, EOFError, zlib.error)  # what reading a broken file raises, compressed or not
_SPACE = re.compile(r"[ \t\r\n]*")
# No literal, number's end or escape is longer: an error further than this before the end of the text is no cut.
_LONGEST_TOKEN = 12


class Bytes:
    """A file of bytes that gives what comes before an error, and raises the error at the next reading."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.ahead, self.error = file, b"", None

    def peek(self, n: int) -> bytes:
        """Return the next ``n`` bytes or more, and stay before them. Fewer only before the end or an error."""
        pieces, size = [self.ahead], len(self.ahead)
        while size < n and self.error is None:
            try:
                piece = self.file.read1(CHUNK)
            except UNREADABLE as error:
                self.error = error
                break
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
        self.ahead = b"".join(pieces)
        return self.ahead

    def read(self, n: int) -> bytes:
        """Return the next ``n`` bytes or more, and go behind them."""
        data, self.ahead = self.peek(n), b""
        if self.error is not None and not data:
            raise self.error
        return data

    def __iter__(self) -> Iterator[bytes]:
        """Yield lines, which end at \\n only, because JSON strings can hold other line separators."""
        rest = b""
        while data := self.read(max(CHUNK, len(rest))):
            lines = io.BytesIO(rest + data).readlines()
            rest = b"" if lines[-1].endswith(b"\n") else lines.pop()
            yield from lines
        if rest:
            yield rest


def parse(data: bytes) -> Any:
    """Parse one JSON value. Raises ValueError for what is not JSON or not UTF-8, and for too deep nesting.

    >>> parse(b'{"a": [1]}')
    {'a': [1]}
    """
    try:
        return json.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def values(read: Callable[[int], bytes], *, chunk: int = CHUNK) -> Iterator[Any]:
    """Yield the values of a JSON list one by one. Its text is the bytes that ``read(n)`` returns until they are empty.

    Memory is bounded by ``chunk`` bytes or a few times the largest value. Raises ValueError, after the values before
    the error, for whatever ``json.loads`` refuses: a truncated list, text after it, bytes that are not UTF-8. Its
    message ends with the position in the whole text.

    >>> import io
    >>> list(values(io.BytesIO(b'[1, "two", [3]]').read, chunk=4))
    [1, 'two', [3]]
    >>> list(values(io.BytesIO(b'[1, \\n{"two"]').read, chunk=4))
    Traceback (most recent call last):
    ValueError: expecting ':' delimiter: line 2 column 7 (char 11)
    """
    text = _Text(read, chunk)
    if text.mark() != "[":
        raise text.error("expecting a list")
    text.at += 1
    if text.mark() != "]":
        yield text.value()
        while text.mark() == ",":
            text.at += 1
            yield text.value()
    if text.mark() != "]":
        raise text.error("expecting ',' delimiter")
    text.at += 1
    if text.mark():
        raise text.error("more text after the list")


class _Text:
    """A text that is read as it is needed. What stands before the position ``at`` has been used."""

    def __init__(self, read: Callable[[int], bytes], chunk: int) -> None:
        self.read, self.chunk = read, chunk
        self.decode = codecs.getincrementaldecoder("utf-8")().decode
        self.raw_decode = json.JSONDecoder().raw_decode
        self.text, self.at, self.ended, self.fault = "", 0, False, ""
        self.lines, self.column, self.chars = 0, 0, 0  # where ``text`` begins, counted from 0

    def position(self, at: int) -> tuple[int, int, int]:
        """Return the line, column and character, counted from 0, of a position in ``text``."""
        newline = self.text.rfind("\n", 0, at)
        column = self.column + at if newline < 0 else at - newline - 1
        return self.lines + self.text.count("\n", 0, at), column, self.chars + at

    def error(self, what: str, at: int | None = None) -> ValueError:
        """Return an error that tells the position in the words of ``json.loads``."""
        line, column, char = self.position(self.at if at is None else at)
        return ValueError(f"{what}: line {line + 1} column {column + 1} (char {char})")

    def more(self) -> bool:
        """Read as much text as is left or more, so that a large value is tried again rarely. False at the end."""
        if self.fault:
            raise self.error(self.fault, len(self.text))
        if self.ended:
            return False
        data = self.read(max(self.chunk, len(self.text) - self.at))
        self.ended = not data
        try:
            following = self.decode(data, final=self.ended)
        except UnicodeDecodeError as error:  # told after the values before it
            following, self.fault = error.object[: error.start].decode(), "bytes that are not UTF-8"
        self.lines, self.column, self.chars = self.position(self.at)
        self.text, self.at = self.text[self.at :] + following, 0
        return True

    def mark(self) -> str:
        """Go to the next character that is not whitespace, and return it, or "" at the end."""
        while (at := _SPACE.match(self.text, self.at).end()) == len(self.text):
            self.at = at
            if not self.more():
                return ""
        self.at = at
        return self.text[at]

    def value(self) -> Any:
        """Return the next JSON value, and go to its end."""
        self.mark()
        while True:
            try:
                found, end = self.raw_decode(self.text, self.at)
            except RecursionError as error:
                raise self.error("nested too deeply") from error
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or len(self.text) - error.pos <= _LONGEST_TOKEN
                if cut and self.more():
                    continue
                raise self.error(error.msg[0].lower() + error.msg[1:], error.pos) from error
            # A number at the end of the text can go on in the next chunk: 12 can be 123, or 12.5 after the point.
            if type(found) in (int, float) and len(self.text) - end <= _LONGEST_TOKEN:
                if self.more():
                    continue
                if end == len(self.text) or self.text[end] in ".eE":  # cut within the number
                    raise self.error("expecting ',' delimiter", end)
            self.at = end
            return found
