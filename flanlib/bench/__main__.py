"""``python -m flanlib.bench``: hold every contest on the default model, write ``figures/bench.csv`` and its picture.

Trained are 8 conversations of the lab in chat form, two steps of 4 (3,300 tokens, 900 of them trained); 24 prompts of
held-out tasks are answered, with at most 80 tokens each; corpora of 60 and of 600 conversations are prepared. Two
rounds of it take about 20 minutes of one core that does 65 billion operations a second.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

# One thread each: what is counted is CPU seconds, and threads that wait for each other would count too.
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
    parser.add_argument("--model", default=SMOLLM2, help="whose speed is measured (default smollm2)")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of each contest (default 2)")
    parser.add_argument("--rows", type=int, default=8, help="conversations of the epoch (default 8)")
    parser.add_argument("--prompts", type=int, default=24, help="prompts that are answered (default 24)")
    parser.add_argument("--corpus", type=int, default=60, help="conversations of the small corpus (default 60)")
    parser.add_argument("--out", type=Path, default=FIGURES, help="the folder of the table and its picture")
    asked = parser.parse_args(arguments)
    size = replace(LAPTOP, model=asked.model, row_tokens=ROW_TOKENS)
    tokenizer, template = tuning.reader(size)
    torch.set_num_threads(1)
    examples = tuning.examples(_chats(asked.rows), size, Tally("bench"))
    found = []
    for contest in [
        contests.training(size.model, tokenizer, examples, batch=max(1, asked.rows // 2), row_tokens=ROW_TOKENS,
                          bits=size.bits),
        contests.generation(size.model, tokenizer, template, _prompts(asked.prompts)),
        *(contests.corpus(size.model, tokenizer, template, _chats(n), row_tokens=ROW_TOKENS)
          for n in (asked.corpus, 10 * asked.corpus)),
    ]:  # fmt: skip
        found.append(hold(contest, asked.rounds))
        print(found[-1].to_string(index=False))
    table = pd.concat(found, ignore_index=True)
    figures.save(figures.peers(table), "bench", table, folder=asked.out)
    return table


def _chats(rows: int) -> list[Conversation]:
    """Draw trajectories of the lab in chat form."""
    return render_all(tasks.trajectories(rows, rng=np.random.default_rng(0)), "chat")


def _prompts(most: int) -> list[Prompt]:
    """Take what models are asked on held-out tools, one step at a time, as far as the first tasks go."""
    items = tasks.tasks(most, rng=np.random.default_rng(0), split="heldout")
    asked = (probe.prompt for item in items for probe in steps.probes(item, "chat", lab_intention()))
    return list({prompt.id: prompt for prompt in asked}.values())[:most]


if __name__ == "__main__":
    main()
