"""What ships of the results that the notebooks read: their small part, copied from ``data/runs`` to ``data/results``.

``python -m flanlib.ship`` does it after a run of the untouched default. Nothing of notebook 05 ships: it really trains.
"""

import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from flanlib import store
from flanlib.records import FlanError

READ, COLUMNS = "read.csv", ["notebook", "result"]
OWN = "05"


def note(read: Mapping[str, Sequence[str]]) -> None:
    """Note which notebook read which result, in place of what was noted of these notebooks before.

    All of it goes to ``data/runs/read.csv``; what ships of it stands in ``data/results/read.csv`` too.
    """
    for folder in filter(Path.is_dir, (store.RUNS, store.RESULTS)):
        rows = {(name, result) for name, result in _noted(folder) if name not in read}
        rows |= {(name, result) for name, results in read.items() for result in results
                 if folder == store.RUNS or ((folder / result).is_dir() and not name.startswith(OWN))}  # fmt: skip
        store.write_table(folder / READ, pd.DataFrame(sorted(rows), columns=COLUMNS))


def orphans() -> list[str]:
    """List shipped results that no notebook read."""
    used = {result for _, result in _noted(store.RESULTS)}
    return sorted(path.name for path in store.RESULTS.glob("*/") if path.name not in used)


def ship() -> list[Path]:
    """Copy what the notebooks but 05 read, remove what they did not, and return the folders that ship.

    A notebook that was not run here keeps what ships for it. Raises FlanError for a result that is nowhere to be found,
    and where no notebook read any.
    """
    here = _noted(store.RUNS)
    ran = {name for name, _ in here}
    rows = here + [(name, result) for name, result in _noted(store.RESULTS) if name not in ran]
    rows = sorted((name, result) for name, result in rows if not name.startswith(OWN))
    wanted = {result: name for name, result in rows}
    if not wanted:
        raise FlanError("shipping", found="no result that a notebook read", expected="a run of the notebooks",
                        remedy="make figures, then make ship.")  # fmt: skip
    store.RESULTS.mkdir(parents=True, exist_ok=True)
    for result, name in wanted.items():
        if (store.RESULTS / result).is_dir():
            continue
        source = store.RUNS / result
        if not (source / store.MANIFEST).is_file():
            raise FlanError(f"shipping {result}", found=f"no such finished run, though {name} read it",
                            expected="its folder in data/runs", remedy="Run the notebooks again.")  # fmt: skip
        with tempfile.TemporaryDirectory(dir=store.RESULTS, prefix=".new-") as scratch:
            made = Path(scratch) / result
            made.mkdir()
            for path in (path for pattern in store.SMALL for path in source.glob(pattern)):
                shutil.copy(path, made)
            made.rename(store.RESULTS / result)
    for path in store.RESULTS.glob("*/"):
        if path.name not in wanted:
            shutil.rmtree(path)
    store.write_table(store.RESULTS / READ, pd.DataFrame(rows, columns=COLUMNS))
    return sorted(store.RESULTS / result for result in wanted)


def _noted(folder: Path) -> list[tuple[str, str]]:
    path = folder / READ
    return list(store.read_table(path).itertuples(index=False, name=None)) if path.is_file() else []


def main() -> int:
    """Ship, and say how much it is."""
    try:
        made = ship()
    except FlanError as error:
        print(error, file=sys.stderr)
        return 1
    sizes = {folder.name: sum(path.stat().st_size for path in folder.iterdir()) for folder in made}
    largest = max(sizes, key=sizes.get)
    print(f"{len(made)} results ship in data/results, {sum(sizes.values()) / 1e6:.1f} MB; "
          f"the largest is {largest}, {sizes[largest] / 1e3:.0f} KB")  # fmt: skip
    print("make figures now, so that the notebooks tell of them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
