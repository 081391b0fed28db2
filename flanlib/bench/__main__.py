"""``python -m flanlib.bench``: hold every contest on the lab's model, write ``figures/bench.csv`` and its picture."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace

# One thread each: what is counted is CPU seconds, and threads that wait for each other would count too.
os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

import pandas as pd
import torch

from flanlib import arms, figures, runs
from flanlib.bench import corpus, generation, hold, training
from flanlib.benchmarks import Prompt, steps
from flanlib.benchmarks.intention import lab_intention
from flanlib.dialects import render_all
from flanlib.material import Material, material
from flanlib.presets import LAB
from flanlib.records import Conversation
from flanlib.tally import Tally

ROW_TOKENS = 1024


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m flanlib.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each contest (default 5)")
    parser.add_argument("--rows", type=int, default=60, help="conversations of the epoch (default 60)")
    asked = parser.parse_args()
    tuned = runs.tuned({"chat": arms.forms(material(LAB), LAB)["chat"]}, replace(LAB, seeds=(0,)), Tally("bench"))
    torch.set_num_threads(1)
    model, (tokenizer, template) = LAB.model, runs.reader(LAB)
    data = _material(asked.rows)
    corpora = [_chats(one) for one in (data, _material(10 * asked.rows))]
    examples = runs.examples(corpora[0], replace(LAB, row_tokens=ROW_TOKENS), Tally("bench"))
    contests = [
        *(training.contest(model, tokenizer, examples, batch=batch, row_tokens=ROW_TOKENS) for batch in (20, 8)),
        generation.contest(model, tuned["chat"][0], tokenizer, template, _prompts(data)[: asked.rows]),
        *(corpus.contest(model, tokenizer, template, chats, row_tokens=ROW_TOKENS) for chats in corpora),
    ]
    found = []
    for contest in contests:
        found.append(hold(contest, asked.rounds))
        print(found[-1].to_string(index=False))
    table = pd.concat(found, ignore_index=True)
    figures.save(figures.peers(table), "bench", table)


def _material(rows: int) -> Material:
    return material(replace(LAB, trajectories=rows // 2, heldout=rows // 2))


def _chats(data: Material) -> list[Conversation]:
    """Half of them trajectories in chat form, half plain chat."""
    return [*render_all(data.train, "chat"), *data.natural]


def _prompts(data: Material) -> list[Prompt]:
    """Collect what the notebooks ask on held-out tools, one step at a time."""
    asked: list[Prompt] = []

    def write(prompts: Sequence[Prompt]) -> list[str]:
        asked.extend(prompts)
        return [""] * len(prompts)

    steps.measure(data.tasks["held-out tools"], "chat", write, intention=lab_intention())
    return asked


if __name__ == "__main__":
    main()
