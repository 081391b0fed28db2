"""Ship results: copy the small files of the runs that the notebooks read from ``data/runs`` to ``data/results``.

Run ``python -m flanlib.ship`` after a batch run with default settings. Notebook 05 always trains: nothing of it ships.
"""

import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from flanlib import store
from flanlib.presets import OWN
from flanlib.records import FlanError

READ, COLUMNS = "read.csv", ["notebook", "result"]


def note(read: Mapping[str, Sequence[str]]) -> None:
    """Record which results each notebook read, replacing earlier records of the same notebooks.

    All of them go to ``data/runs/read.csv``, and those that ship to ``data/results/read.csv`` too.
    """
    for folder in filter(Path.is_dir, (store.RUNS, store.RESULTS)):
        rows = {(notebook, result) for notebook, result in _rows(folder) if notebook not in read}
        rows |= {(notebook, result) for notebook, results in read.items() for result in results
                 if folder == store.RUNS or ((folder / result).is_dir() and not notebook.startswith(OWN))}
        store.write_table(folder / READ, pd.DataFrame(sorted(rows), columns=COLUMNS))


def needed(notebook: str) -> list[Path]:
    """List the shipped results that a notebook reads and that have not been made here."""
    return [store.RESULTS / result for name, result in _rows(store.RESULTS)
            if name == notebook and not (store.RUNS / result / store.MANIFEST).is_file()]  # fmt: skip


def orphans() -> list[str]:
    """List shipped results that no notebook read."""
    used = {result for _, result in _rows(store.RESULTS)}
    return sorted(path.name for path in store.RESULTS.glob("*/") if path.name not in used)


def awaited(notebook: str) -> bool:
    """Tell whether a notebook would compute all of its own results, while those of others ship.

    Its own are what no other notebook reads. They may have been computed here before. Notebook 05 always trains.
    """
    readers: dict[str, set[str]] = {}
    for folder in (store.RUNS, store.RESULTS):
        for reader, result in _rows(folder):
            if (folder / result).is_dir():
                readers.setdefault(result, set()).add(reader)
    return bool(_rows(store.RESULTS)) and not notebook.startswith(OWN) and {notebook} not in readers.values()


def ship() -> list[Path]:
    """Copy the results that the notebooks read, remove the other shipped results, and return the folders that ship.

    Results of a notebook that was not run here still ship. Raises FlanError if no notebook read a result, and for a
    result whose run is missing or unfinished.
    """
    rows = _rows(store.RUNS)
    run_here = {notebook for notebook, _ in rows}
    rows += [(notebook, result) for notebook, result in _rows(store.RESULTS) if notebook not in run_here]
    rows = sorted((notebook, result) for notebook, result in rows if not notebook.startswith(OWN))
    wanted = {result: notebook for notebook, result in rows}
    if not wanted:
        raise FlanError("shipping", found="no result that a notebook read", expected="a run of the notebooks",
                        remedy="Run make figures, then make ship.")  # fmt: skip
    store.RESULTS.mkdir(parents=True, exist_ok=True)
    for result, notebook in wanted.items():
        if (store.RESULTS / result).is_dir():
            continue
        source = store.RUNS / result
        if not (source / store.MANIFEST).is_file():
            raise FlanError(f"shipping {result}", found=f"no such finished run, though {notebook} read it",
                            expected="its folder in data/runs", remedy="Run the notebooks again.")  # fmt: skip
        with tempfile.TemporaryDirectory(dir=store.RESULTS, prefix=".new-") as scratch:
            copied = Path(scratch) / result
            copied.mkdir()
            for path in (path for pattern in store.SMALL for path in source.glob(pattern)):
                shutil.copy(path, copied)
            copied.rename(store.RESULTS / result)  # complete or not there at all
    for path in store.RESULTS.glob("*/"):
        if path.name not in wanted:
            shutil.rmtree(path)
    store.write_table(store.RESULTS / READ, pd.DataFrame(rows, columns=COLUMNS))
    return sorted(store.RESULTS / result for result in wanted)


def _rows(folder: Path) -> list[tuple[str, str]]:
    path = folder / READ
    return list(store.read_table(path).itertuples(index=False, name=None)) if path.is_file() else []


def main() -> int:
    """Ship the results and print their number and size."""
    try:
        folders = ship()
    except FlanError as error:
        print(error, file=sys.stderr)
        return 1
    sizes = {folder.name: sum(path.stat().st_size for path in folder.iterdir()) for folder in folders}
    largest = max(sizes, key=sizes.get)
    print(f"{len(folders)} results ship in data/results, {sum(sizes.values()) / 1e6:.1f} MB; "
          f"the largest is {largest}, {sizes[largest] / 1e3:.0f} KB")  # fmt: skip
    print("Run make figures again, so that the notebooks are written from the shipped results.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
