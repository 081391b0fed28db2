"""Measure the memory and speed of tuning on a GPU: ``python -m flanlib.bench.gpu`` writes ``figures/bench_gpu.csv``.

Models have the shapes of published ones, and random weights: memory and speed do not depend on weights. They are tuned
on packed rows with the ``consumer`` preset, beside TRL's packing with the same optimizer and checkpointing.
"""

import argparse
import datetime
import gc
import tempfile
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from flanlib import pretrained, store
from flanlib.bench import contests
from flanlib.bench.timing import Runner, matrix_rate
from flanlib.presets import FIGURES, PRESETS, RANDOM, Preset
from flanlib.records import KINDS, FlanError
from flanlib.text.packing import pack
from flanlib.text.tokens import CONTEXT, Example, load_tokenizer
from flanlib.training import memory

SHAPES: dict[str, dict[str, int]] = {
    "Llama-2-7B": {},  # the configuration's defaults
    "Llama-2-13B": {"hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40,
                    "num_attention_heads": 40, "num_key_value_heads": 40},
    "toy": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 2, "vocab_size": 4096},
}  # fmt: skip
CAP = 24e9  # memory of a consumer GPU in bytes, to which a larger one is limited
TOO_LARGE = (torch.OutOfMemoryError, FlanError)  # raised if a row does not fit, the second by training.train.fit
COLUMNS = ["model", "trainer", "room_gb", "row_tokens", "tokens_per_s", "trained_per_s", "peak_gb", "planned_gb",
           "of_matrix_rate", "note", "card", "versions", "date"]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> pd.DataFrame:
    """Run the command and return its table."""
    parser = argparse.ArgumentParser(prog="python -m flanlib.bench.gpu", description=__doc__.split("\n")[0])
    parser.add_argument("--models", default="Llama-2-7B,Llama-2-13B", help=f"of {', '.join(SHAPES)}, with commas")
    parser.add_argument("--rows", type=int, default=16, help="packed rows per measurement (default 16)")
    parser.add_argument("--row-tokens", type=int, default=4096, help="tokens per row (default 4096)")
    parser.add_argument("--scratch", type=Path, help="folder for the models: 14 GB for 7B, 26 for 13B")
    parser.add_argument("--out", type=Path, default=FIGURES / "bench_gpu.csv", help="the table")
    options = parser.parse_args(arguments)
    rows = []
    for name in options.models.split(","):
        with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
            rows += _measure(name, random_model(name, Path(folder) / name), options.rows, options.row_tokens)
    libraries = ("torch", "transformers", "peft", "bitsandbytes", "trl")
    table = pd.DataFrame(rows).reindex(columns=COLUMNS).assign(
        card=torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        versions=" ".join(f"{name} {version(name)}" for name in libraries), date=datetime.date.today().isoformat())
    store.write_table(options.out, table)
    print(table.drop(columns=["versions", "date"]).to_string(index=False))
    return table


def random_model(name: str, folder: Path) -> Path:
    """Write a model with a shape of SHAPES and random weights in bfloat16."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(LlamaConfig(**SHAPES[name]), dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def made_up(rows: int, row_tokens: int, *, seed: int = 0) -> list[Example]:
    """Make conversations of random tokens, a third of them trained, that fill some packed rows: two to eight each."""
    rng, examples = np.random.default_rng(seed), []
    for row in range(rows):
        cuts = np.sort(rng.choice(np.arange(1, 16), rng.integers(1, 8), replace=False)) * row_tokens // 16
        for size in np.diff([0, *cuts, row_tokens]):
            kinds = np.where(rng.random(size) < 1 / 3, KINDS.index("reasoning"), CONTEXT)
            kinds[0] = CONTEXT
            examples.append(Example(f"{row}-{len(examples)}", rng.integers(10, 2000, size), kinds,
                                    (kinds != CONTEXT) * 3))  # fmt: skip
    return examples


def _measure(name: str, folder: Path, rows: int, row_tokens: int) -> list[dict[str, Any]]:
    """Measure the kit and TRL on one model, with memory up to CAP and up to all of it, and find the longest row."""
    cuda = torch.cuda.is_available()
    preset = replace(PRESETS["consumer"], model=str(folder), row_tokens=row_tokens, rows_per_pass=1)
    preset = preset if cuda else replace(preset, optimizer="adamw_torch", lora_rank=4)
    rooms = [CAP, torch.cuda.mem_get_info()[1]] if cuda else [CAP]
    table = [{"model": name, "trainer": trainer, "room_gb": room / 1e9, "row_tokens": row_tokens,
              **_run(preset, trainer, made_up(rows, row_tokens), room)}
             for trainer, room in product(("ours", "TRL, packing"), rooms)]  # fmt: skip
    if cuda:
        longest = _longest(preset, CAP)
        table.append({"model": name, "trainer": "ours, longest row", "room_gb": CAP / 1e9, "row_tokens": longest,
                      "note": f"planned {memory.longest(preset, CAP):,}"})  # fmt: skip
    return table


def _runner(preset: Preset, trainer: str, examples: list[Example]) -> Runner:
    """Return a runner that trains on the examples, with four rows per optimizer step and one per pass."""
    if trainer == "ours":
        rows = pack(examples, row_tokens=preset.row_tokens, pad_id=0)
        return partial(contests.fit_ours, preset.model, rows, 4, rank=preset.lora_rank, rows_per_pass=1,
                       optimizer=preset.optimizer, checkpointing=True)  # fmt: skip
    changes = {"packing": True, "per_device_train_batch_size": 1, "gradient_checkpointing": True,
               "optim": preset.optimizer}  # fmt: skip
    tokenizer = load_tokenizer(pretrained.folder(RANDOM))  # TRL wants one, though the rows hold token ids
    return partial(contests.fit_trl, preset.model, tokenizer, examples, changes, 4, 4, preset.row_tokens,
                   rank=preset.lora_rank)  # fmt: skip


def _run(preset: Preset, trainer: str, examples: list[Example], room: float) -> dict[str, Any]:
    """Train once to warm up and once to measure."""
    tokens, trained = sum(map(len, examples)), sum(example.trained for example in examples)
    runner = _runner(preset, trainer, examples)
    row: dict[str, Any] = {"planned_gb": memory.plan(preset, cuda=torch.cuda.is_available()).sum() / 1e9}
    try:
        for _ in range(2):
            seconds, peak = _timed(runner, room)
    except TOO_LARGE as error:
        return row | {"note": f"did not fit: {error}"[:160]}
    rate = contests.operations(preset.model, tokens, trained) / seconds
    large = {"size": 8192, "times": 20, "where": "cuda"} if torch.cuda.is_available() else {"size": 512, "times": 4}
    return row | {"tokens_per_s": tokens / seconds, "trained_per_s": trained / seconds, "peak_gb": peak / 1e9,
                  "of_matrix_rate": rate / matrix_rate(torch.bfloat16, **large)}  # fmt: skip


def _timed(runner: Runner, room: float) -> tuple[float, float]:
    """Do the work once with ``room`` bytes of memory. Returns seconds and the peak in bytes (NaN on a CPU)."""
    cuda = torch.cuda.is_available()
    gc.collect()
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(min(1.0, room / torch.cuda.mem_get_info()[1]))
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        work = runner(Path(folder))
        start = time.perf_counter()
        work()
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start, torch.cuda.max_memory_reserved() if cuda else np.nan


def _longest(preset: Preset, room: float, *, step: int = 1024) -> int:
    """Find the longest row, in multiples of ``step`` tokens, that trains with ``room`` bytes of memory."""

    def too_long(row_tokens: int) -> bool:
        try:
            _timed(_runner(replace(preset, row_tokens=row_tokens), "ours", made_up(1, row_tokens)), room)
        except TOO_LARGE:
            return True
        return False

    lengths = range(step, (2 * memory.longest(preset, room) // step + 1) * step, step)
    return step * bisect_left(lengths, True, key=too_long)


if __name__ == "__main__":
    main()
