"""Train the lab's base model from nothing: ``python -m flanlib.pretrain`` (``make base``).

The base reads general conversation only (flanlib.lab.talk): it has never seen a ReAct turn or a tool call in JSON.
Two stages by the kit's own trainer: drills; then conversations in long rows, beside more drills.
Interrupted, it goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from flanlib import store
from flanlib.circuit import begin_circuits
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
SPACE = "\u0120"  # as byte-level BPE writes it
MARKS = ("\n", ":", "?", ".")  # of the lists and questions in drills


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


@dataclass(frozen=True)
class Recipe:
    """What the base is made of. Changing any field trains another model."""

    version: int = 4
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
    stages: tuple[Stage, ...] = (Stage(0, 1_600, 256, 1.0, 0.0, 0.01),
                                 Stage(200_000, 4_500, 1024, 0.4, 0.5, 0.01))  # fmt: skip
    tokens_per_step: int = 4096
    share: float = 0.15


def train_tokenizer(recipe: Recipe, conversations) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on rendered general conversation; digits stay single, no character is unknown.

    A word is cut the same way wherever it stands: pieces are learnt without the spaces before them, and the commonest
    first pieces get a second token that holds the space. (Usual BPE cuts `` find_town`` and ``find_town`` apart, and
    a small model that is to copy one as the other has to learn that for every word.)
    """
    # The template's marks stay apart, or a merge would reach from a mark into a reply that begins with a brace.
    marks = Regex("|".join(re.escape(mark) for mark in (*TEMPLATE.marks, TEMPLATE.end)))
    texts = [render(c, TEMPLATE).text for c in conversations]
    apart = [pre_tokenizers.Split(marks, "isolated"), pre_tokenizers.Digits(individual_digits=True)]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([*apart, pre_tokenizers.Split(" ", "isolated"),
                                                 pre_tokenizers.ByteLevel(add_prefix_space=False)])  # fmt: skip
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=round(recipe.pieces * recipe.vocabulary), initial_alphabet=alphabet,
                                  special_tokens=["<|pad|>", "<|end|>"], show_progress=False)  # fmt: skip
    bpe.train_from_iterator(texts, trainer)
    told = json.loads(bpe.to_str())["model"]
    vocabulary, merges = told["vocab"], [tuple(merge) for merge in told["merges"]]
    after = Counter(b for e in bpe.encode_batch(texts) for a, b in pairwise(e.tokens) if a == SPACE and b != SPACE)
    for piece, _ in sorted(after.items(), key=lambda item: (-item[1], item[0])):
        if len(vocabulary) == recipe.vocabulary:
            break
        vocabulary[SPACE + piece] = len(vocabulary)
        merges.append((SPACE, piece))
    whole = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    whole.pre_tokenizer = pre_tokenizers.Sequence([*apart, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    whole.decoder = decoders.ByteLevel()
    whole.add_special_tokens(["<|pad|>", "<|end|>"])
    return PreTrainedTokenizerFast(tokenizer_object=whole, pad_token="<|pad|>", eos_token="<|end|>",
                                   model_max_length=4096)  # fmt: skip


@torch.no_grad()
def begin_spaces(model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast) -> None:
    """Let a token with a space begin near the same one without."""
    weight, vocabulary = model.get_input_embeddings().weight, tokenizer.get_vocab()
    for piece, i in sorted(vocabulary.items()):
        if piece.startswith(SPACE) and (same := vocabulary.get(piece[1:])) is not None:
            weight[i] = 0.9 * weight[same] + 0.44 * weight[i]


def draw(recipe: Recipe, n: int, purpose: int, split: str = "train") -> list[Conversation]:
    """Draw conversations for a purpose: the number of a stage, or one of the named ones."""
    return talk.conversations(n, rng=np.random.default_rng([recipe.seed, purpose]), split=split)


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


def drills(n: int, length: int, vocabulary: int, *, marks: Sequence[int], rng: np.random.Generator) -> list[Example]:
    """Draw drills of random tokens, copying and looking up in turn; what can be known is a target.

    ``marks`` are the tokens that lists and questions are written with: of MARKS.

    A small model learns late to copy from its context and to find a place in it by what stands there, and choosing or
    filling an unseen tool is both.
    """
    made = []
    for i in range(n):
        ids, known = _looking_up(length, vocabulary, marks, rng) if i % 2 else _copying(length, vocabulary, rng)
        kinds = np.where(known[:length], GENERAL, CONTEXT)
        made.append(Example(f"drill-{i:06d}", np.array(ids[:length]), kinds, np.zeros(length, int)))
    return made


def _copying(length: int, vocabulary: int, rng: np.random.Generator) -> tuple[list[int], list[bool]]:
    """Let earlier strings come back.

    They return at any distance, so only their content tells how they go on; all tokens are copied equally often. The
    first token of a returning string can't be known.
    """
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
    return ids, again


def _looking_up(length: int, vocabulary: int, marks: Sequence[int],
                rng: np.random.Generator) -> tuple[list[int], list[bool]]:  # fmt: skip
    """List names behind descriptions, then ask for names by parts of a description that only one of them has."""
    line, colon, ask, stop = marks
    ids: list[int] = []
    known: list[bool] = []

    def put(tokens, target: bool = False) -> None:
        ids.extend(int(token) for token in tokens)
        known.extend([target] * len(tokens))

    while len(ids) < length:
        words = 2 + rng.permutation(vocabulary - 2)[: rng.choice((8, 20, 60))]
        size, many = int(rng.integers(2, 6)), int(rng.integers(3, 8))
        names = [2 + rng.integers(vocabulary - 2, size=rng.integers(1, 5)) for _ in range(many)]
        told = [rng.choice(words, size, replace=False) for _ in range(many)]
        for name, does in zip(names, told, strict=True):
            put([line, *does, colon, *name])
        for i in rng.integers(many, size=rng.integers(3, 9)):
            asked, others = rng.permutation(told[i]), [set(t) for j, t in enumerate(told) if j != i]
            enough = next((k for k in range(1, size + 1) if not any(set(asked[:k]) <= o for o in others)), None)
            if enough is None:
                continue
            question = [*asked[: rng.integers(enough, size + 1)],
                        *(2 + rng.integers(vocabulary - 2, size=rng.integers(0, 4)))]  # fmt: skip
            put([line, *rng.permutation(question), ask])
            put([*names[i], stop], target=True)
        put([line, line])
    return ids, known


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
    begin_spaces(model, tokenizer)
    begin_circuits(model, colon=_marks(tokenizer)[1], seed=recipe.seed)
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


def _marks(tokenizer) -> list[int]:
    """Return the ids of MARKS."""
    return [tokenizer.encode(mark)[0] for mark in MARKS]


def _stage(recipe: Recipe, number: int, model, tokenizer, unseen: list[Conversation], tally: Tally, folder: Path):
    """Train one stage, or load it where an earlier call finished it; return the model and its losses."""
    done, stage = folder / "losses.csv", recipe.stages[number]
    if done.is_file():
        return AutoModelForCausalLM.from_pretrained(folder), pd.read_csv(done)
    folder.mkdir(exist_ok=True)
    length = stage.row_tokens
    packed = rows(draw(recipe, stage.conversations, number), tokenizer, row_tokens=length, every=stage.every,
                  joined=stage.joined, seed=recipe.seed, tally=tally)  # fmt: skip
    rng = np.random.default_rng([recipe.seed, DRILLS, number])
    made = drills(stage.drills, length, len(tokenizer), marks=_marks(tokenizer), rng=rng)
    packed += pack(made, row_tokens=length, pad_id=tokenizer.pad_token_id)
    heldout = rows(unseen, tokenizer, row_tokens=length, tally=Tally("held out"))
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
