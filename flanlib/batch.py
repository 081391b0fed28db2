"""Run the notebooks in order, each in a fresh kernel: ``python -m flanlib.batch [--only 01,02] [--data PATH ...]``.

Every setting of :mod:`flanlib.presets` is an option too. With default settings, the notebooks are written in place,
normalised so that a rerun from the cache changes nothing. Otherwise, and for notebook 05, whose results are the user's,
they go to ``executed/`` in the output folder. What long runs within a cell will take, and how far they are, is printed
as it is written to ``data/runs/log.txt``.
"""

import argparse
import asyncio
import copy
import glob
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from tqdm import tqdm

from flanlib import checks, pace, progress, ship
from flanlib.presets import FIGURES, ROOT, SETTINGS, fresh, output, preset, setting, shown
from flanlib.records import FlanError
from flanlib.report import claims
from flanlib.store import rank, write

NOTEBOOKS = ROOT / "notebooks"
CONVERTED = ".nbconvert"  # ends the names of notebooks that nbconvert has executed
MOST_BYTES = 300_000
METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"}}  # fmt: skip
ANSI = re.compile(r"\x1b\[[0-9;]*m")
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
ONE_LINE = re.compile(r"(.*?): found (.*?); expected (.*?)\. (.*)")  # of a FlanError
# A progress bar: a carriage return, or tqdm's "12/40 [00:01<00:03" when there is no terminal.
PROGRESS = re.compile(r"\r|\d+(\.\d+)?\w*/(\d+(\.\d+)?\w*|\?) \[\d+:\d\d|\d+\w*it \[\d+:\d\d")


class ThisInterpreter(AsyncKernelManager):
    """Starts every kernel with the current Python interpreter, whatever kernels are registered or on PATH."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """The specification of the kernel, whatever its name."""
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


class Client(NotebookClient):
    """Runs a notebook until Ctrl-C, which :attr:`interrupted` tells. What nbclient does by itself ends in a traceback.

    Where the event loop takes no handlers (Windows), KeyboardInterrupt is raised anyway.
    """

    interrupted = False

    async def async_start_new_kernel(self, **options: Any) -> None:
        """Start the kernel. From now on Ctrl-C ends the run, and the kernel with its workers."""
        with suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._cancel, asyncio.current_task())
        await super().async_start_new_kernel(**options)

    def _cancel(self, task: asyncio.Task) -> None:
        self.interrupted = True
        self.shutdown_kernel = "immediate"  # asked to end, it would print what it thinks of that
        task.cancel()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0, or 1 at the first notebook that fails, without running the rest."""
    parser = argparse.ArgumentParser(prog="python -m flanlib.batch", description=__doc__.split(":", 1)[0] + ".")
    parser.add_argument("--only", help="numbers of notebooks, with commas: 01,02")
    for name, expected in SETTINGS.items():
        parser.add_argument(f"--{name.lower()}", help=expected)
    options = vars(parser.parse_args(arguments))
    only = options.pop("only") or os.environ.get("FLAN_ONLY")
    os.environ |= {f"FLAN_{name.upper()}": value for name, value in options.items() if value}
    began = None
    try:
        paths, size, folder = chosen(only), preset(), output()
        for name, values in (("DATA", [setting("DATA")]), ("MODEL", setting("MODEL").split(","))):
            here = [os.path.abspath(value) if value and (glob.has_magic(value) or os.path.exists(value)) else value
                    for value in map(str.strip, values)]  # fmt: skip
            os.environ[f"FLAN_{name}"] = ",".join(here)  # kernels start in another folder
        checks.check(size)
        if not only and folder == FIGURES:
            for path in filter(lambda path: ship.awaited(path.stem), list(paths)):
                paths.remove(path)
                _print(f"{path.name}: left out, since its results do not ship yet; "
                       f"make figures ONLY={path.name[:2]} computes them, in hours")  # fmt: skip
        began, read = time.time(), {}
        for path in paths:
            _print(f"{path.name}: started, {size.name} preset{_ahead(path)}")
            start = time.monotonic()
            with tempfile.TemporaryDirectory() as scratch:  # Windows would let nobody else write to an open file
                log = Path(scratch) / "read"
                log.touch()
                os.environ["FLAN_READ_LOG"] = str(log)
                try:
                    written_to = run(path)
                finally:
                    del os.environ["FLAN_READ_LOG"]
                if untouched(path):
                    read[path.stem] = sorted(set(log.read_text().split()))
            _print(f"{path.name}: {time.monotonic() - start:.0f} s, written to {shown(written_to)}")
        if folder == FIGURES and not rank():
            ship.note(read)
        compared = claims.beside(FIGURES / "claims.csv", folder / "claims.csv",
                                 [path.stem for path in paths]) if fresh() else ""  # fmt: skip
    except FlanError as error:
        if began or not rank():  # settings are the same in every process
            print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. Run it again, and it goes on.", file=sys.stderr)
        return 130
    _print(f"{len(paths)} notebooks run")
    for place in sorted({output(path.stem) for path in paths}):
        written = [p for p in sorted(place.glob("*.*")) if p.is_file() and p.stat().st_mtime >= began - 1]
        _print(f"{len(written)} files written to {shown(place)}:")
        _print("\n".join(f"  {p.name}" for p in written) or "  none")
    if folder == FIGURES and not only and (unused := ship.orphans()):
        _print(f"{len(unused)} shipped results were read by no notebook of this commit: {', '.join(unused[:3])}"
               + ", ..." * (len(unused) > 3))  # fmt: skip
    if compared:
        _print(compared)
    return 0


def chosen(only: str | None = None) -> list[Path]:
    """List the notebooks to run, in order: all, or those whose names start with one of the numbers in ``only``."""
    paths = sorted(path for path in NOTEBOOKS.glob("[0-9]*.ipynb") if not path.stem.endswith(CONVERTED))
    wanted = [number.strip().zfill(2) for number in (only or "").split(",") if number.strip()]  # 1 means 01
    for number in wanted or [""]:
        if not any(path.name.startswith(number) for path in paths):
            raise FlanError(shown(NOTEBOOKS), found=f"no notebook {number}".strip(),
                            expected=f"one of {', '.join(path.stem for path in paths) or 'none'}",
                            remedy="Give numbers as in --only 01,02." if paths else "Run in a checkout.")  # fmt: skip
    return [path for path in paths if not wanted or path.name.startswith(tuple(wanted))]


def untouched(path: Path) -> bool:
    """Tell whether a notebook's parameter cells set nothing. Only results that it reads then can ship."""
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells
             if {"parameters", "injected-parameters"} & set(cell.metadata.get("tags", []))]  # fmt: skip
    values = re.findall(r"(?m)^[A-Z]+ *= *(.*?) *(?:#.*)?$", "\n".join(cells))
    return not any(value.strip("'\"") for value in values)


def run(path: Path) -> Path:
    """Execute one notebook in a fresh kernel, write it normalised, and return the path of the written file.

    Raises FlanError if a cell fails (unless it raised one itself, the end of its traceback is printed first), and if
    what it wrote is over MOST_BYTES; KeyboardInterrupt at Ctrl-C.
    """
    book = nbformat.read(path, as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    with tqdm(total=len(code), desc=path.name, unit="cell", leave=False, disable=bool(rank()) or None) as bar, \
            progress.followed(_write_line):  # fmt: skip
        client = Client(book, kernel_name="python3", kernel_manager_class=ThisInterpreter, timeout=None,
                        record_timing=False, resources={"metadata": {"path": str(path.parent)}},
                        on_cell_executed=lambda **_: bar.update())  # fmt: skip
        try:
            client.execute()
        except (CellExecutionError, CellTimeoutError, DeadKernelError, asyncio.CancelledError) as error:
            raise KeyboardInterrupt if client.interrupted else _failure(path, book, error) from None
    text = nbformat.writes(normalise(book)) + "\n"
    folder = output(path.stem)
    target = path if folder == FIGURES else folder / "executed" / path.name
    if not rank():  # every process has run the notebook, but only one can write it
        write(target, text)
    if (size := len(text.encode())) > MOST_BYTES:
        raise FlanError(path.name, found=f"{size:,} bytes after running", expected=f"at most {MOST_BYTES:,}",
                        remedy=f"It is written to {shown(target)}. Show less in its cells.")  # fmt: skip
    return target


def normalise(book: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a copy without execution counts, timings, memory addresses and progress bars, which differ in every run.

    Cell ids and tags stay. Normalising a second time changes nothing.
    """
    book = copy.deepcopy(book)
    book.metadata = nbformat.from_dict(METADATA)
    book.nbformat, book.nbformat_minor = 4, 5
    for i, cell in enumerate(book.cells):
        cell.setdefault("id", f"cell-{i:02d}")
        cell.metadata = nbformat.from_dict({"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {})
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = _outputs(cell.outputs)
    return book


def _outputs(outputs: list) -> list:
    """Clean the outputs of a cell and join consecutive pieces of the same stream."""
    kept: list = []
    for out in outputs:
        if any("widget" in kind for kind in out.get("data", ())):
            continue
        if out.output_type == "stream":
            if kept and kept[-1].output_type == "stream" and kept[-1].name == out.name:
                out.text = kept.pop().text + out.text
            if out.name == "stderr":
                lines = re.split(r"(?<=\n)", out.text)
                out.text = "".join(line for line in lines if line.strip() and not PROGRESS.search(line))
            out.text = ADDRESS.sub("0x", out.text)
        if "data" in out:
            out.data |= {kind: ADDRESS.sub("0x", content) for kind, content in out.data.items()
                         if isinstance(content, str) and kind.startswith("text/")}
            out.metadata = nbformat.from_dict({})
        if "execution_count" in out:
            out.execution_count = None
        if out.get("text") != "":
            kept.append(out)
    return kept


def _failure(path: Path, book: nbformat.NotebookNode, error: Exception) -> FlanError:
    """Return the error that names the cell: its own line, or that of a FlanError in it.

    For any other error, the end of the traceback is printed first.
    """
    failed = [i for i, cell in enumerate(book.cells, 1)
              if any(out.output_type == "error" for out in cell.get("outputs", []))]  # fmt: skip
    where = f"{path.name}, cell {failed[0]}" if failed else path.name
    name = getattr(error, "ename", type(error).__name__)
    if name == FlanError.__name__ and (line := ONE_LINE.fullmatch(error.evalue)):
        return FlanError(f"{where}: {line[1]}", found=line[2], expected=line[3], remedy=line[4])
    print("\n".join(["", *ANSI.sub("", str(error)).rstrip().splitlines()[-25:], ""]), file=sys.stderr)
    return FlanError(where, found=name, expected="a cell that runs",
                     remedy="The traceback is above. The notebooks after this one were not run.")  # fmt: skip


def _print(text: str) -> None:
    """Print without buffering, and only in the first of several processes."""
    if not rank():
        print(text, flush=True)


def _write_line(text: str) -> None:
    """Print a line above the bar of cells."""
    if not rank():
        tqdm.write(text)
        sys.stdout.flush()


def _ahead(path: Path) -> str:
    """Say what a notebook's shipped results took, where they are computed anew and nothing else is set."""
    if output() != FIGURES / "fresh" or not (needed := ship.needed(path.stem)):
        return ""
    training, judging = map(pace.spoken, pace.took(needed))
    return (f"; {len(needed)} results to compute: one by one, where those that ship were made, training took "
            f"{training} and judging {judging}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
