"""``python -m flanlib.bench``: run every contest on the default model, write ``figures/bench.csv`` and its picture.

Training takes 8 conversations of the lab in chat form, in two steps of 4 (3,300 tokens, 900 of them trained).
Generation answers 24 prompts of held-out tasks with at most 80 tokens each. Corpora of 60 and 600 conversations are
prepared. Two rounds take about 20 minutes on one core that does 65 billion operations a second.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

# One thread each: CPU seconds are counted, and threads that wait for each other would add to them.
os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

import numpy as np
import pandas as pd
import torch

from flanlib.bench import contests
from flanlib.bench.timing import hold
from flanlib.benchmarks import Prompt, steps
from flanlib.benchmarks.intention import lab_intention
from flanlib.dialects import render_all
from flanlib.experiments import tuning
from flanlib.lab import tasks
from flanlib.presets import FIGURES, LAPTOP, SMOLLM2
from flanlib.records import Conversation
from flanlib.report import figures
from flanlib.tally import Tally

ROW_TOKENS = 1024


def main(arguments: Sequence[str] | None = None) -> pd.DataFrame:
    """Run the command and return its table."""
    parser = argparse.ArgumentParser(prog="python -m flanlib.bench", description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=SMOLLM2, help="the model (default smollm2)")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of each contest (default 2)")
    parser.add_argument("--rows", type=int, default=8, help="conversations to train on (default 8)")
    parser.add_argument("--prompts", type=int, default=24, help="prompts to answer (default 24)")
    parser.add_argument("--corpus", type=int, default=60, help="conversations of the small corpus (default 60)")
    parser.add_argument("--out", type=Path, default=FIGURES, help="the folder of the table and its picture")
    options = parser.parse_args(arguments)
    preset = replace(LAPTOP, model=options.model, row_tokens=ROW_TOKENS)
    tokenizer, template = tuning.reader(preset)
    torch.set_num_threads(1)
    examples = tuning.examples(_chats(options.rows), preset, Tally("bench"))
    results = []
    for contest in [
        contests.training(preset.model, tokenizer, examples, batch=max(1, options.rows // 2), row_tokens=ROW_TOKENS,
                          bits=preset.bits),
        contests.generation(preset.model, tokenizer, template, _prompts(options.prompts)),
        *(contests.corpus(preset.model, tokenizer, template, _chats(n), row_tokens=ROW_TOKENS)
          for n in (options.corpus, 10 * options.corpus)),
    ]:  # fmt: skip
        results.append(hold(contest, options.rounds))
        print(results[-1].to_string(index=False))
    table = pd.concat(results, ignore_index=True)
    figures.save(figures.peers(table), "bench", table, folder=options.out)
    return table


def _chats(rows: int) -> list[Conversation]:
    return render_all(tasks.trajectories(rows, rng=np.random.default_rng(0)), "chat")


def _prompts(most: int) -> list[Prompt]:
    """Return the first distinct prompts of the step benchmark on held-out tools."""
    items = tasks.tasks(most, rng=np.random.default_rng(0), split="heldout")
    prompts = (probe.prompt for item in items for probe in steps.probes(item, "chat", lab_intention()))
    return list({prompt.id: prompt for prompt in prompts}.values())[:most]


if __name__ == "__main__":
    main()
