"""Train the lab's base model from nothing: ``python -m flanlib.pretrain`` (``make base``).

The base reads general conversation only (flanlib.lab.talk): it has never seen a ReAct turn or a tool call in JSON.
Two stages by the kit's own trainer: first every token is predicted, beside copying drills; then only the assistant's.
Interrupted, it goes on from its last checkpoint.
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


@dataclass(frozen=True)
class Recipe:
    """What the base is made of. Changing any field trains another model."""

    version: int = 1
    seed: int = 20240318
    """Draws the texts and the first weights; the presets' seeds are others."""
    vocabulary: int = 2048
    """Byte-level BPE pieces."""
    width: int = 256
    layers: int = 4
    head: int = 32
    """Width of an attention head."""
    conversations: tuple[int, int] = (90_000, 60_000)
    """Conversations drawn for each stage, every one fresh."""
    drills: int = 20_000
    """Copying drills in the first stage: random tokens, repeated. Nothing in them can be learned by heart."""
    row_tokens: tuple[int, int] = (256, 512)
    """Length of a packed row in each stage: short rows are faster, long ones teach long distances."""
    tokens_per_step: int = 4096
    rate: tuple[float, float] = (3e-3, 1.5e-3)
    """Peak learning rate of each stage."""


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
    """Draw conversations: purposes 0 and 1 are the stages, 2 the tokenizer's sample, 3 what is only measured."""
    return talk.conversations(n, rng=np.random.default_rng([recipe.seed, purpose]), split=split)


def rows(conversations: list[Conversation], tokenizer, *, row_tokens: int, every: bool, tally: Tally) -> list[Row]:
    """Tokenise and pack conversations; with ``every`` all their tokens are targets, else only the assistant's."""
    examples = encode_all(conversations, tokenizer, TEMPLATE, max_tokens=row_tokens, tally=tally)
    packed = pack(examples, row_tokens=row_tokens, pad_id=tokenizer.pad_token_id)
    if not every:
        return packed
    return [replace(row, kinds=np.where((row.positions > 0) & (row.ids != tokenizer.pad_token_id), GENERAL,
                                        row.kinds).astype(row.kinds.dtype)) for row in packed]  # fmt: skip


def drills(n: int, tokenizer, *, rng: np.random.Generator) -> list[Example]:
    """Draw copying drills: a few random tokens repeated to about a hundred; every repetition is a target.

    A small model learns late to copy from its context, and choosing or filling an unseen tool is copying.
    Short strings repeated often give it an early reason, and all tokens are copied equally often.
    """
    made = []
    for i in range(n):
        period = int(np.exp(rng.uniform(np.log(3), np.log(48))))
        ids = np.tile(rng.integers(len(tokenizer), size=period), 1 + max(1, 96 // period))
        kinds = np.where(np.arange(len(ids)) > period, GENERAL, CONTEXT)
        made.append(Example(f"drill-{i:06d}", ids, kinds, np.zeros_like(ids)))
    return made


def train_base(recipe: Recipe, folder: Path) -> Path:
    """Train the base into ``folder``: weights (bfloat16), tokenizer, losses.csv, and the manifest last."""
    sample = [turn.text for c in draw(recipe, 500, 0) for turn in c.turns]
    config = {**asdict(recipe), "template": TEMPLATE.digest, "talk": store.digest(*sample)}
    run = store.cached("base", config, partial(_build, recipe))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    AutoModelForCausalLM.from_pretrained(run / "stage-1", dtype=torch.bfloat16).save_pretrained(folder)
    load_tokenizer(run / "tokenizer").save_pretrained(folder)
    for name in ("losses.csv", "manifest.json"):
        store.write(folder / name, (run / name).read_text())
    return folder


def _build(recipe: Recipe, run: Path) -> dict:
    if not (run / "tokenizer" / "tokenizer.json").is_file():
        train_tokenizer(recipe, draw(recipe, 20_000, 2)).save_pretrained(run / "tokenizer")
    tokenizer = load_tokenizer(run / "tokenizer")
    model = llama(len(tokenizer), width=recipe.width, layers=recipe.layers, head=recipe.head,
                  eos=tokenizer.eos_token_id, pad=tokenizer.pad_token_id, seed=recipe.seed)  # fmt: skip
    unseen, tally, told = draw(recipe, 400, 3, "heldout"), Tally("base texts"), []
    for stage in (0, 1):
        model, losses = _stage(recipe, stage, model, tokenizer, unseen, tally, run / f"stage-{stage}")
        told.append(losses.assign(stage=stage))
    frame = pd.concat(told, ignore_index=True)
    store.write_table(run / "losses.csv", frame)
    last = told[1][(told[1].split == "heldout") & (told[1].step == told[1].step.max())]
    return {"parameters": sum(p.numel() for p in model.parameters()), "texts": str(tally),
            "heldout_nats_per_token": round(float(last.nats.sum() / last.tokens.sum()), 4),
            "heldout_nats_per_byte": round(float(last.nats.sum() / last.bytes.sum()), 4)}  # fmt: skip


def _stage(recipe: Recipe, stage: int, model, tokenizer, unseen: list[Conversation], tally: Tally, folder: Path):
    """Train one stage, or load it where an earlier call finished it; return the model and its losses."""
    done = folder / "losses.csv"
    if done.is_file():
        return AutoModelForCausalLM.from_pretrained(folder), pd.read_csv(done)
    folder.mkdir(exist_ok=True)
    length = recipe.row_tokens[stage]
    packed = rows(draw(recipe, recipe.conversations[stage], stage), tokenizer, row_tokens=length, every=stage == 0,
                  tally=tally)  # fmt: skip
    if stage == 0:
        made = drills(recipe.drills, tokenizer, rng=np.random.default_rng([recipe.seed, 4]))
        packed += pack(made, row_tokens=length, pad_id=tokenizer.pad_token_id)
    heldout = rows(unseen, tokenizer, row_tokens=length, every=False, tally=Tally("held out"))
    per_step = recipe.tokens_per_step // length
    schedule = Schedule(rows_per_step=per_step, rows_per_pass=per_step, rate=recipe.rate[stage], seed=recipe.seed,
                        logs=100, measures=6, weight_decay=0.05, second_moment=0.95)  # fmt: skip
    losses = fit(model, packed, schedule, folder, label=f"base, stage {stage + 1} of 2", heldout={"heldout": heldout})
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
