"""Progress for whoever cannot see a notebook's bars: lines in ``data/runs/log.txt``, which a batch run prints too."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from flanlib import store

LOG = "log.txt"
EVERY = 30.0
"""Seconds between two lines of a bar. What ends earlier leaves none."""
_LINE = "{desc}: {percentage:.0f} %, {elapsed} so far, {remaining} to go{postfix}"


def log() -> Path:
    """Return the path of the log."""
    return store.RUNS / LOG


def note(text: str) -> None:
    """Append a line to the log, after the time. Of several processes that were launched together, the first does."""
    if not store.rank():
        log().parent.mkdir(parents=True, exist_ok=True)
        with log().open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%H:%M:%S')} {text}\n")


class Bar(tqdm):
    """A progress bar that notes how far it is every EVERY seconds, unless it is disabled."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.noted = time.monotonic()

    def update(self, n: float = 1) -> bool | None:
        """Advance by ``n``."""
        shown = super().update(n)
        if not self.disable and time.monotonic() - self.noted >= EVERY:
            self.noted = time.monotonic()
            note(self.format_meter(**self.format_dict | {"bar_format": _LINE, "ncols": None}))
        return shown


@contextmanager
def followed(tell: Callable[[str], None], *, every: float = 1.0) -> Iterator[None]:
    """Call ``tell`` with each line that any process adds to the log within the block."""
    start, over = log().stat().st_size if log().is_file() else 0, threading.Event()

    def follow() -> None:
        rest, position, last = b"", start, False
        while not last:
            last = over.wait(every)  # once more after the end, for the last lines
            if log().is_file():
                with log().open("rb") as file:
                    file.seek(position)
                    *lines, rest = (rest + (new := file.read())).split(b"\n")
                    position += len(new)
                for line in lines:
                    tell(line.decode(errors="replace"))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
