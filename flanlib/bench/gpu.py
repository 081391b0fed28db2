"""Measure the memory and speed of tuning on a GPU: ``python -m flanlib.bench.gpu`` writes ``figures/bench_gpu.csv``.

The model has the shape of a published one and random weights: memory and speed do not depend on weights. It is tuned on
packed rows with the ``consumer`` preset, in the memory of a consumer GPU, beside TRL's packing with the same optimizer.
TRL computes the activations of all layers again, the kit those of as many as memory demands. Every row of the table is
printed and written as soon as it is known, and nothing is started that cannot end in the given time, so that a run that
is cut off leaves what it has measured.
"""

import argparse
import datetime
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from transformers import LlamaConfig
from transformers.utils.logging import disable_progress_bar

from flanlib.bench import card, pieces
from flanlib.bench.card import PER_STEP, SHAPES, STEPS, Bench
from flanlib.bench.timing import matrix_rate
from flanlib.presets import FIGURES, PRESETS
from flanlib.report import figures
from flanlib.report.figures.bench import measured
from flanlib.training.memory import WORKSPACE

NAME = "bench_gpu"
COLUMNS = ["name", "value", "unit", "trained_per_s", "of_matrix_rate", "row_tokens", "allocated_gb", "reserved_gb",
           "used_gb", "planned_gb", "room_gb", "note", "model", "card", "versions", "date"]  # fmt: skip
LIBRARIES = {"torch": "torch", "transformers": "transformers", "peft": "peft", "bitsandbytes": "bitsandbytes",
             "trl": "trl", "liger_kernel": "liger-kernel", "flash_attn": "flash-attn"}  # fmt: skip
"""Libraries whose versions are written, if they are installed, by the name that is imported."""


class Piece(NamedTuple):
    """A part of the table: what it is called if it yields nothing, its rows, and about how many of them it trains."""

    name: str
    rows: Callable[[Bench], Iterator[dict[str, Any]]]
    trains: float


# What matters most comes first. The matrix rate stands before all: it tells whether the others end in time.
PIECES = (
    Piece("correctness", pieces.correctness, 1),
    Piece("ours", pieces.kit, STEPS * PER_STEP),
    Piece("TRL, packing", pieces.packing, STEPS * PER_STEP),
    Piece("TRL, packing, Liger and flash-attention", pieces.faster_packing, STEPS * PER_STEP),
    Piece("longest row", pieces.longest, 8),  # of the first it tries; it looks at the time before every other
    Piece("generation", pieces.generation, 1),
    Piece("profile", pieces.profile, 1),
)


def main(arguments: Sequence[str] | None = None) -> pd.DataFrame:
    """Run the command and return its table."""
    parser = argparse.ArgumentParser(prog="python -m flanlib.bench.gpu", description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="Llama-2-7B", choices=SHAPES, help="the shape (default Llama-2-7B)")
    parser.add_argument("--row-tokens", type=int, default=4096, help="tokens per row (default 4096)")
    parser.add_argument("--room", type=float, default=24, help="GB of memory that may be taken (default 24)")
    parser.add_argument("--seconds", type=float, default=420, help="start nothing that would not end in this time")
    parser.add_argument("--out", type=Path, default=FIGURES, help=f"the folder of {NAME}.csv, or another CSV file")
    parser.add_argument("--draw", action="store_true", help="measure nothing, draw what a run that was cut off left")
    options = parser.parse_args(arguments)
    path = options.out if options.out.suffix == ".csv" else options.out / f"{NAME}.csv"
    if options.row_tokens < 64 or options.room <= 1:
        parser.error("--row-tokens must be 64 or more, and --room more than 1")
    if not options.draw:
        measure(path, options.model, options.row_tokens, options.room * 1e9, time.monotonic() + options.seconds)
    elif not path.is_file():
        parser.error(f"nothing to draw: there is no {path}")
    table = pd.read_csv(path)
    figures.save(measured(path), path.stem, table, folder=path.parent)
    return table


def measure(path: Path, shape: str, row_tokens: int, room: float, deadline: float) -> None:
    """Write the table: rows of ``row_tokens``, in at most ``room`` bytes, until a ``deadline`` of time.monotonic()."""
    disable_progress_bar()
    cuda = torch.cuda.is_available()
    if cuda:
        # A context and its workspaces are no memory of torch's allocator, but they are the card's.
        torch.cuda.set_per_process_memory_fraction(min(1.0, (room - WORKSPACE) / torch.cuda.mem_get_info()[1]))
    table = Table(path, {"model": shape, "row_tokens": row_tokens, "room_gb": room / 1e9, "versions": versions(),
                         "card": torch.cuda.get_device_name() if cuda else "CPU",
                         "date": datetime.date.today().isoformat()})  # fmt: skip
    large = {"size": 8192, "times": 20, "where": "cuda"} if cuda else {"size": 512, "times": 4}
    rate = matrix_rate(torch.bfloat16 if cuda else torch.float32, **large)
    table.add({"name": "matrix rate", "value": rate / 1e12, "unit": "TFLOP / s"})
    with tempfile.TemporaryDirectory() as folder:
        LlamaConfig(**SHAPES[shape]).save_pretrained(folder)
        preset = replace(PRESETS["consumer"], model=folder, row_tokens=row_tokens, rows_per_pass=1)
        if not cuda:
            preset = replace(preset, optimizer="adamw_torch", lora_rank=4)  # a CPU has no paged optimizer
        fill(table, Bench(shape, preset, room, rate, deadline))


def fill(table: "Table", bench: Bench) -> None:
    """Add the rows of all pieces. One that fails or does not end in time leaves a row that says so."""
    for piece in PIECES:
        needed = card.START + bench.seconds(piece.trains * bench.preset.row_tokens)
        if needed > bench.left:
            table.add({"name": piece.name, "note": f"not started: {max(0, bench.left):.0f} s left, it may take "
                                                   f"{needed:.0f}"})  # fmt: skip
            continue
        try:
            with card.unchanged():
                for row in piece.rows(bench):
                    table.add(row)
        except Exception as error:  # whatever it is, the other pieces are worth their time on a card
            table.add({"name": piece.name, "note": f"failed: {type(error).__name__}: {error}"})
        card.clear()


class Table:
    """A table in a file that grows row by row. The first row replaces what an earlier run has left there."""

    def __init__(self, path: Path, common: dict[str, Any]) -> None:
        self.path, self.common, self.empty = path, common, True

    def add(self, row: dict[str, Any]) -> None:
        """Print a row, and see it onto the disk."""
        row = self.common | row | {"note": " ".join(str(row.get("note", "")).split())[:200]}
        value = f"{row['value']:.4g} {row['unit']}" if "value" in row else ""
        memory = ", ".join(f"{key[:-3]} {row[key]:.2f} GB" for key in COLUMNS[6:10] if key in row)
        print(" | ".join(filter(None, [row["name"], value, memory, row["note"]])), flush=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("w" if self.empty else "a", encoding="utf-8", newline="") as file:
            pd.DataFrame([row]).reindex(columns=COLUMNS).to_csv(file, header=self.empty, index=False,
                                                                lineterminator="\n", float_format="%.6g")  # fmt: skip
            file.flush()
            os.fsync(file.fileno())
        self.empty = False


def versions() -> str:
    """Return the installed libraries with their versions."""
    return ", ".join(f"{package} {version(package)}" for name, package in LIBRARIES.items()
                     if importlib.util.find_spec(name))  # fmt: skip


if __name__ == "__main__":
    main()
