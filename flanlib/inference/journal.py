"""What a model has answered so far, in a file: an interrupted trial finds it again, and goes on from there."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flanlib import store


class Call(dict[int, Any]):
    """The results of one call by the number of its input, as JSON values, those of an earlier process included."""

    def __init__(self, path: Path | None, key: str, found: Mapping[int, Any]) -> None:
        super().__init__(found)
        self.path, self.key = path, key

    def add(self, results: Mapping[int, Any]) -> None:
        """Add results, as one line of the file, which is on the disk afterwards."""
        self.update(results)
        if self.path:
            with self.path.open("ab") as file:
                file.write(json.dumps([self.key, results]).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())


class Journal:
    """The results of a model's calls in a file, or without a path in no file, so that nothing is found again.

    A call is known by its inputs. Everything else that its results depend on must be the same for the whole file. A
    line that an interruption cut off is removed.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path, self.found = path, {}
        if path and path.is_file():
            *lines, _ = path.read_bytes().split(b"\n")
            size = 0
            for line in lines:
                try:
                    key, results = json.loads(line)
                except ValueError:
                    break
                self.found.setdefault(key, {}).update({int(number): result for number, result in results.items()})
                size += len(line) + 1
            os.truncate(path, size)

    def call(self, *inputs: Any) -> Call:
        """Return the results of a call with these inputs that are in the file already."""
        key = store.digest(*map(repr, inputs)) if self.path else ""
        return Call(self.path, key, self.found.get(key, {}))

    def close(self) -> None:
        """Remove the file: the trial is done."""
        if self.path:
            self.path.unlink(missing_ok=True)
