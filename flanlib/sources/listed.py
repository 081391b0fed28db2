"""JSON lists of any size, one value after another: some public sets are a single list of gigabytes."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

CHUNK = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*")


def values(read: Callable[[int], bytes], begun: bytes = b"", *, chunk: int = CHUNK) -> Iterator[Any]:
    """Yield the values of the JSON list that ``begun`` and what ``read(n)`` returns make together.

    No more is held than ``chunk`` bytes or a few times the largest value. Raises ValueError, after the values before
    it, for whatever ``json.loads`` would refuse: a list that breaks off, text behind it, bytes that are not UTF-8.

    >>> import io
    >>> list(values(io.BytesIO(b'[1, "two", [3]]').read, chunk=4))
    [1, 'two', [3]]
    """
    text = _Text(read, begun, chunk)
    if text.next() != "[":
        raise ValueError("no list")
    text.at += 1
    if text.next() == "]":
        text.at += 1
    else:
        while True:
            yield text.value()
            mark = text.next()
            if mark not in ("]", ","):
                raise ValueError("the list does not end" if not mark else f"{mark!r} behind a value")
            text.at += 1
            if mark == "]":
                break
    if text.next():
        raise ValueError("more text behind the list")


class _Text:
    """Text that is read as it is needed; ``at`` is the place up to which it has been used."""

    def __init__(self, read: Callable[[int], bytes], begun: bytes, chunk: int) -> None:
        self.read, self.chunk, self.at = read, chunk, 0
        self.decode, self.decoder = codecs.getincrementaldecoder("utf-8")().decode, json.JSONDecoder()
        self.held, self.ended = self.decode(begun), False

    def more(self) -> bool:
        """Read on, at least as much as is held: a large value is not tried again too often. False at the end."""
        if self.ended:
            return False
        data = self.read(max(self.chunk, len(self.held) - self.at))
        self.ended = not data
        self.held, self.at = self.held[self.at :] + self.decode(data, final=self.ended), 0
        return True

    def next(self) -> str:
        """Return the next character that is not space, without using it; nothing at the end."""
        while True:
            self.at = _SPACE.match(self.held, self.at).end()
            if self.at < len(self.held):
                return self.held[self.at]
            if not self.more():
                return ""

    def value(self) -> Any:
        """Use the next value and return it."""
        while True:
            self.next()
            try:
                value, end = self.decoder.raw_decode(self.held, self.at)
            except RecursionError as error:
                raise ValueError("nested too deeply") from error
            except ValueError:
                if not self.more():
                    raise
                continue
            # The number 12 may go on at the end of what is held: 123, or 12.5 after the point.
            if end < len(self.held) and (self.held[end] not in ".eE" or type(value) not in (int, float)):
                self.at = end
                return value
            if not self.more():
                raise ValueError("the list does not end")
