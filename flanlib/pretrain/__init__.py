"""Train the lab's base model from nothing: ``python -m flanlib.pretrain`` (``make base``).

The base reads general conversation only (flanlib.lab.talk): it has never seen a ReAct turn or a tool call in JSON.
Six stages by the kit's own trainer: first it only learns where to look (:mod:`.pointing`), then to speak as well,
then to work in steps (:mod:`flanlib.lab.delegating`): on lists of ever more ordinary words, in ever more wordings.
Interrupted, it goes on from its last checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForCausalLM

from flanlib import store
from flanlib.lab import talk
from flanlib.model import llama
from flanlib.packing import Row, pack
from flanlib.pretrain.circuit import LOOKS_UP, begin_circuits, begin_spaces
from flanlib.pretrain.drills import GENERAL, drills, marks
from flanlib.pretrain.muon import Muon
from flanlib.pretrain.pointing import Pointing
from flanlib.pretrain.tokenizer import TEMPLATE, rarity, train_tokenizer, without_spaces
from flanlib.records import Conversation
from flanlib.tally import Tally
from flanlib.templates import render
from flanlib.tokens import encode_all, load_tokenizer
from flanlib.train import Schedule, fit

# What texts are drawn for, besides the stages: each draw has its own seed.
VOCABULARY, UNSEEN, DRILLS = 100, 101, 102


@dataclass(frozen=True)
class Stage:
    """One pass over fresh texts."""

    conversations: int
    drills: int
    """Drills of copying and looking up, each as long as a row."""
    row_tokens: int
    """Length of a packed row: short rows are faster, long ones teach long distances."""
    every: float
    """Share of the rows in which every token is a target; in the others it is the assistant's only."""
    joined: float
    """Share of the rows whose conversations are read as one long text; in the others each is read by itself. An
    agent's trajectory is longer than most conversations: only joined do the later positions ever occur."""
    rate: float
    """Peak learning rate of the weight matrices (Muon); embeddings and norms take ``Recipe.share`` of it (AdamW)."""
    speak: float = 1.0
    """Weight of the usual loss beside that of pointing: 0 where the model only learns where to look."""
    apart: tuple[float, ...] = ()
    """Shares of the conversations in which something is done step by step (:mod:`flanlib.lab.delegating`): half in
    made-up words, in ordinary ones, in many ordinary ones, in full. In the order of ``talk.APART``; the others are the
    mix."""


@dataclass(frozen=True)
class Recipe:
    """What the base is made of. Changing any field trains another model."""

    version: int = 9
    seed: int = 20240318
    """Draws the texts and the first weights; the presets' seeds are others."""
    vocabulary: int = 2048
    """Tokens of the byte-level BPE."""
    pieces: float = 0.65
    """Share of them that are pieces of words; the others are pieces with a space before them."""
    width: int = 256
    layers: int = 4
    head: int = 64
    """Width of an attention head."""
    theta: float = 1e6
    """Base of the rotary angles: most of them turn slowly, so that content can be matched at a distance."""
    stages: tuple[Stage, ...] = (Stage(16_000, 400, 1024, 0.0, 0.0, 0.007, speak=0.0),
                                 Stage(80_000, 1_600, 1024, 0.2, 0.4, 0.0055),
                                 Stage(40_000, 800, 1024, 0.1, 0.5, 0.004, apart=(0.65,)),
                                 Stage(16_000, 300, 1024, 0.1, 0.5, 0.003, apart=(0.25, 0.45)),
                                 Stage(30_000, 300, 1024, 0.1, 0.5, 0.0035, apart=(0.05, 0.05, 0.65)),
                                 Stage(24_000, 300, 1024, 0.1, 0.5, 0.0035, apart=(0.03, 0.03, 0.14, 0.6)))  # fmt: skip
    tokens_per_step: int = 4096
    share: float = 0.08


def draw(recipe: Recipe, n: int, purpose: int, split: str = "train", *,
         apart: Sequence[float] = ()) -> list[Conversation]:  # fmt: skip
    """Draw conversations for a purpose: the number of a stage, or one of the named ones. ``apart`` as in a stage."""
    rng, counts = np.random.default_rng([recipe.seed, purpose]), [round(share * n) for share in apart]
    drawn = talk.conversations(n - sum(counts), rng=rng, split=split)
    for family, many in zip(talk.APART[: len(counts)], counts, strict=True):
        drawn += talk.conversations(many, rng=rng, split=split, families=[family])
    return drawn


def rows(conversations: list[Conversation], tokenizer, *, row_tokens: int, tally: Tally, every: float = 0.0,
         joined: float = 0.0, seed: int = 0) -> list[Row]:  # fmt: skip
    """Tokenise and pack conversations; see :class:`Stage` for the shares, which ``seed`` draws."""
    examples = encode_all(conversations, tokenizer, TEMPLATE, max_tokens=row_tokens, tally=tally)
    made, rng = [], np.random.default_rng(seed)
    for row in pack(examples, row_tokens=row_tokens, pad_id=tokenizer.pad_token_id):
        if rng.random() < every:
            # What a conversation begins with can't be known.
            known = (row.positions > 0) & (row.ids != tokenizer.pad_token_id)
            row = replace(row, kinds=np.where(known, GENERAL, row.kinds).astype(row.kinds.dtype))
        if rng.random() < joined:
            row = replace(row, positions=np.arange(row_tokens, dtype=row.positions.dtype), lengths=(sum(row.lengths),))
        made.append(row)
    return made


def configuration(recipe: Recipe) -> dict:
    """Return all that a base depends on: its recipe, the template, and a digest of some of the texts."""
    sample = [turn.text for c in draw(recipe, 600, VOCABULARY, apart=[1 / 6] * len(talk.APART)) for turn in c.turns]
    return {**asdict(recipe), "template": TEMPLATE.digest, "talk": store.digest(*sample)}


def train_base(recipe: Recipe, folder: Path) -> Path:
    """Train the base into ``folder``: weights (bfloat16), tokenizer, losses.csv, and the manifest last."""
    run = store.cached("base", configuration(recipe), partial(_build, recipe))
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
        made = train_tokenizer(_texts(recipe, 20_000), size=recipe.vocabulary, pieces=recipe.pieces)
        made.save_pretrained(run / "tokenizer")
    tokenizer = load_tokenizer(run / "tokenizer")
    model = llama(len(tokenizer), width=recipe.width, layers=recipe.layers, head=recipe.head, theta=recipe.theta,
                  bias=True, eos=tokenizer.eos_token_id, pad=tokenizer.pad_token_id, seed=recipe.seed)  # fmt: skip
    begin_spaces(model, without_spaces(tokenizer))
    begin_circuits(model, colon=marks(tokenizer).colon[-1], rare=rarity(tokenizer, _texts(recipe, 2_000)),
                   seed=recipe.seed)  # fmt: skip
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


def _texts(recipe: Recipe, n: int) -> list[str]:
    return [render(conversation, TEMPLATE).text for conversation in draw(recipe, n, VOCABULARY)]


def _stage(recipe: Recipe, number: int, model, tokenizer, unseen: list[Conversation], tally: Tally, folder: Path):
    """Train one stage, or load it where an earlier call finished it; return the model and its losses."""
    done, stage = folder / "losses.csv", recipe.stages[number]
    if done.is_file():
        return AutoModelForCausalLM.from_pretrained(folder), pd.read_csv(done)
    folder.mkdir(exist_ok=True)
    length = stage.row_tokens
    texts = draw(recipe, stage.conversations, number, apart=stage.apart)
    packed = rows(texts, tokenizer, row_tokens=length, every=stage.every, joined=stage.joined, seed=recipe.seed,
                  tally=tally)  # fmt: skip
    rng = np.random.default_rng([recipe.seed, DRILLS, number])
    made = drills(stage.drills, length, len(tokenizer), marks=marks(tokenizer), rng=rng)
    packed += pack(made, row_tokens=length, pad_id=tokenizer.pad_token_id)
    heldout = rows(unseen, tokenizer, row_tokens=length, tally=Tally("held out"))
    per_step = recipe.tokens_per_step // length
    schedule = Schedule(rows_per_step=per_step, rows_per_pass=per_step, rate=stage.rate, seed=recipe.seed,
                        logs=100, measures=12)  # fmt: skip
    losses = fit(model, packed, schedule, folder, label=f"base, stage {number + 1} of {len(recipe.stages)}",
                 heldout={"heldout": heldout},
                 optimizer=Muon(model, stage.rate, share=recipe.share), speak=stage.speak,
                 beside=Pointing(model, LOOKS_UP, without_spaces(tokenizer)))  # fmt: skip
    store.write_table(done, losses)
    return model, losses
