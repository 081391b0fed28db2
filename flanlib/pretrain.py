"""Train the lab's base model from nothing: ``python -m flanlib.pretrain`` (``make base``).

The base reads general conversation only (flanlib.lab.talk): it has never seen a ReAct turn or a tool call in JSON.
Four stages by the kit's own trainer: copying drills; then every token of conversations is predicted, beside more
drills; then only the assistant's; then the same in long rows. Interrupted, it goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from flanlib import store
from flanlib.circuit import begin_induction
from flanlib.lab import talk
from flanlib.model import llama
from flanlib.packing import Row, pack
from flanlib.presets import LAB_BASE
from flanlib.records import KINDS, Conversation
from flanlib.tally import Tally
from flanlib.templates import TEMPLATES, render
from flanlib.tokens import CONTEXT, Example, encode_all, load_tokenizer
from flanlib.train import Schedule, fit

TEMPLATE = TEMPLATES["agent_flan"]
GENERAL = KINDS.index("general")
# What texts are drawn for, besides the stages: each draw has its own seed.
VOCABULARY, UNSEEN, DRILLS = 100, 101, 102


@dataclass(frozen=True)
class Stage:
    """One pass over fresh texts."""

    conversations: int
    drills: int
    """Copying drills, each as long as a row."""
    row_tokens: int
    """Length of a packed row: short rows are faster, long ones teach long distances."""
    every: bool
    """Whether every token of a conversation is a target, or the assistant's only."""
    joined: bool
    """Whether the conversations of a row are read as one long text, or each by itself. An agent's trajectory is
    longer than any of them: only joined do the later positions ever occur."""
    rate: float
    """Peak learning rate of the weight matrices (Muon); embeddings and norms take ``Recipe.share`` of it (AdamW)."""


@dataclass(frozen=True)
class Recipe:
    """What the base is made of. Changing any field trains another model."""

    version: int = 2
    seed: int = 20240318
    """Draws the texts and the first weights; the presets' seeds are others."""
    vocabulary: int = 2048
    """Byte-level BPE pieces."""
    width: int = 256
    layers: int = 4
    head: int = 64
    """Width of an attention head."""
    theta: float = 1e6
    """Base of the rotary angles: most of them turn slowly, so that content can be matched at a distance."""
    stages: tuple[Stage, ...] = (
        Stage(0, 1_280, 256, True, False, 0.02), Stage(110_000, 5_500, 256, True, False, 0.02),
        Stage(70_000, 800, 512, False, False, 0.012), Stage(17_000, 100, 1024, False, True, 0.01))  # fmt: skip
    tokens_per_step: int = 4096
    share: float = 0.15


def train_tokenizer(recipe: Recipe, conversations) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on rendered general conversation; digits stay single, no character is unknown."""
    bpe = Tokenizer(models.BPE())
    # The template's marks stay apart, or a merge would reach from a mark into a reply that begins with a brace.
    marks = Regex("|".join(re.escape(mark) for mark in (*TEMPLATE.marks, TEMPLATE.end)))
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(marks, "isolated"),
                                                 pre_tokenizers.Digits(individual_digits=True),
                                                 pre_tokenizers.ByteLevel(add_prefix_space=False)])  # fmt: skip
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=recipe.vocabulary, special_tokens=["<|pad|>", "<|end|>"],
                                  initial_alphabet=alphabet, show_progress=False)  # fmt: skip
    bpe.train_from_iterator((render(c, TEMPLATE).text for c in conversations), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>",
                                   model_max_length=4096)  # fmt: skip


def draw(recipe: Recipe, n: int, purpose: int, split: str = "train") -> list[Conversation]:
    """Draw conversations for a purpose: the number of a stage, or one of the named ones."""
    return talk.conversations(n, rng=np.random.default_rng([recipe.seed, purpose]), split=split)


def rows(conversations: list[Conversation], tokenizer, *, row_tokens: int, every: bool, joined: bool = False,
         tally: Tally) -> list[Row]:  # fmt: skip
    """Tokenise and pack conversations; with ``every`` all their tokens are targets, else only the assistant's.

    With ``joined`` a row is one document: each conversation sees those before it.
    """
    examples = encode_all(conversations, tokenizer, TEMPLATE, max_tokens=row_tokens, tally=tally)
    packed = pack(examples, row_tokens=row_tokens, pad_id=tokenizer.pad_token_id)
    if joined:
        packed = [replace(row, positions=np.arange(row_tokens, dtype=row.positions.dtype), lengths=(sum(row.lengths),))
                  for row in packed]  # fmt: skip
    if not every:
        return packed
    return [replace(row, kinds=np.where((row.positions > 0) & (row.ids != tokenizer.pad_token_id), GENERAL,
                                        row.kinds).astype(row.kinds.dtype)) for row in packed]  # fmt: skip


def drills(n: int, length: int, vocabulary: int, *, rng: np.random.Generator) -> list[Example]:
    """Draw copying drills: random tokens among which earlier strings come back; what came back is a target.

    A small model learns late to copy from its context, and choosing or filling an unseen tool is copying.
    The strings return at any distance, so only their content tells how they go on; all tokens are copied equally
    often. The first token of a returning string can't be known and is no target.
    """
    made = []
    for i in range(n):
        # With few different tokens in a row, one token is not enough to know where one is.
        alphabet = 2 + rng.permutation(vocabulary - 2)[: rng.choice((40, 200, 1500))]
        ids, again = list(rng.choice(alphabet, 8)), [False] * 8
        while len(ids) < length:
            if rng.random() < 0.5:
                size = int(rng.integers(3, 13))
                start = int(rng.integers(0, max(1, len(ids) - size)))
                string = ids[start : start + size]
                again += [False] + [True] * (len(string) - 1)
            else:
                string = list(rng.choice(alphabet, int(rng.integers(1, 5))))
                again += [False] * len(string)
            ids += string
        kinds = np.where(again[:length], GENERAL, CONTEXT)
        made.append(Example(f"drill-{i:06d}", np.array(ids[:length]), kinds, np.zeros(length, int)))
    return made


class Muon(torch.optim.Optimizer):
    """Muon for the weight matrices (Jordan et al. 2024; torch's own), AdamW for embeddings, norms and biases.

    One optimiser to the Trainer, which schedules the rates of all groups and saves both states.
    """

    def __init__(self, model: torch.nn.Module, rate: float, *, share: float) -> None:
        matrices = {name: p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name}
        others = [p for name, p in model.named_parameters() if name not in matrices]
        self.parts = (torch.optim.Muon(list(matrices.values()), lr=rate, weight_decay=0.05),
                      torch.optim.AdamW(others, lr=rate * share, betas=(0.9, 0.95), weight_decay=0.0))  # fmt: skip
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self._share_groups()

    def _share_groups(self) -> None:
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure=None):
        """Step both."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict:
        """Return the states of both."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict) -> None:
        """Load the states of both."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()


def train_base(recipe: Recipe, folder: Path) -> Path:
    """Train the base into ``folder``: weights (bfloat16), tokenizer, losses.csv, and the manifest last."""
    sample = [turn.text for c in draw(recipe, 500, VOCABULARY) for turn in c.turns]
    config = {**asdict(recipe), "template": TEMPLATE.digest, "talk": store.digest(*sample)}
    run = store.cached("base", config, partial(_build, recipe))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    last = run / f"stage-{len(recipe.stages) - 1}"
    AutoModelForCausalLM.from_pretrained(last, dtype=torch.bfloat16).save_pretrained(folder)
    load_tokenizer(run / "tokenizer").save_pretrained(folder)
    for name in ("losses.csv", "manifest.json"):
        store.write(folder / name, (run / name).read_text())
    return folder


def _build(recipe: Recipe, run: Path) -> dict:
    if not (run / "tokenizer" / "tokenizer.json").is_file():
        train_tokenizer(recipe, draw(recipe, 20_000, VOCABULARY)).save_pretrained(run / "tokenizer")
    tokenizer = load_tokenizer(run / "tokenizer")
    model = llama(len(tokenizer), width=recipe.width, layers=recipe.layers, head=recipe.head, theta=recipe.theta,
                  bias=True, eos=tokenizer.eos_token_id, pad=tokenizer.pad_token_id, seed=recipe.seed)  # fmt: skip
    begin_induction(model, seed=recipe.seed)
    unseen, tally, told = draw(recipe, 400, UNSEEN, "heldout"), Tally("base texts"), []
    for i in range(len(recipe.stages)):
        model, losses = _stage(recipe, i, model, tokenizer, unseen, tally, run / f"stage-{i}")
        told.append(losses.assign(stage=i))
    frame = pd.concat(told, ignore_index=True)
    store.write_table(run / "losses.csv", frame)
    last = told[-1][(told[-1].split == "heldout") & (told[-1].step == told[-1].step.max())]
    return {"parameters": sum(p.numel() for p in model.parameters()), "texts": str(tally),
            "heldout_nats_per_token": round(float(last.nats.sum() / last.tokens.sum()), 4),
            "heldout_nats_per_byte": round(float(last.nats.sum() / last.bytes.sum()), 4)}  # fmt: skip


def _stage(recipe: Recipe, number: int, model, tokenizer, unseen: list[Conversation], tally: Tally, folder: Path):
    """Train one stage, or load it where an earlier call finished it; return the model and its losses."""
    done, stage = folder / "losses.csv", recipe.stages[number]
    if done.is_file():
        return AutoModelForCausalLM.from_pretrained(folder), pd.read_csv(done)
    folder.mkdir(exist_ok=True)
    length = stage.row_tokens
    packed = rows(draw(recipe, stage.conversations, number), tokenizer, row_tokens=length, every=stage.every,
                  joined=stage.joined, tally=tally)  # fmt: skip
    made = drills(stage.drills, length, len(tokenizer), rng=np.random.default_rng([recipe.seed, DRILLS, number]))
    packed += pack(made, row_tokens=length, pad_id=tokenizer.pad_token_id)
    heldout = rows(unseen, tokenizer, row_tokens=length, every=False, tally=Tally("held out"))
    per_step = recipe.tokens_per_step // length
    schedule = Schedule(rows_per_step=per_step, rows_per_pass=per_step, rate=stage.rate, seed=recipe.seed,
                        logs=100, measures=12)  # fmt: skip
    losses = fit(model, packed, schedule, folder, label=f"base, stage {number + 1} of {len(recipe.stages)}",
                 heldout={"heldout": heldout},
                 optimizer=Muon(model, stage.rate, share=recipe.share))  # fmt: skip
    model.save_pretrained(folder)
    store.write_table(done, losses)
    return model, losses


def main() -> None:
    """Train the base model and print where it is and how well it does on unseen general conversation."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=LAB_BASE, help="folder for the model (default: the kit's own)")
    folder = train_base(Recipe(), parser.parse_args().out)
    told = json.loads((folder / "manifest.json").read_text())
    print(f"{folder}: {told['parameters']:,} parameters, {told['heldout_nats_per_byte']} nats per byte on unseen "
          f"general conversation, {told['wall_seconds']:.0f} s")  # fmt: skip


if __name__ == "__main__":
    main()
