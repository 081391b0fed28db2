"""The base's tokenizer: a word is one string of pieces, with a space before it or not.

Usual BPE cuts `` find_town`` and ``find_town`` apart, and a small model that is to copy one as the other has to learn
that for every word.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from flanlib.templates import TEMPLATES

TEMPLATE = TEMPLATES["agent_flan"]
SPACE = "\u0120"  # as byte-level BPE writes it


def train_tokenizer(texts: Iterable[str], *, size: int, pieces: float) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of ``size`` tokens on rendered texts; digits stay single, no character is unknown.

    The share ``pieces`` of the tokens is learnt without the spaces before words; the commonest first pieces of words
    get a second token that holds the space.
    """
    # The template's marks stay apart, or a merge would reach from a mark into a reply that begins with a brace.
    marks = Regex("|".join(re.escape(mark) for mark in (*TEMPLATE.marks, TEMPLATE.end)))
    texts = list(texts)
    apart = [pre_tokenizers.Split(marks, "isolated"), pre_tokenizers.Digits(individual_digits=True)]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([*apart, pre_tokenizers.Split(" ", "isolated"),
                                                 pre_tokenizers.ByteLevel(add_prefix_space=False)])  # fmt: skip
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=round(pieces * size), initial_alphabet=alphabet,
                                  special_tokens=["<|pad|>", "<|end|>"], show_progress=False)  # fmt: skip
    bpe.train_from_iterator(texts, trainer)
    told = json.loads(bpe.to_str())["model"]
    vocabulary, merges = told["vocab"], [tuple(merge) for merge in told["merges"]]
    after = Counter(b for e in bpe.encode_batch(texts) for a, b in pairwise(e.tokens) if a == SPACE and b != SPACE)
    for piece, _ in sorted(after.items(), key=lambda item: (-item[1], item[0])):
        if len(vocabulary) == size:
            break
        vocabulary[SPACE + piece] = len(vocabulary)
        merges.append((SPACE, piece))
    whole = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    whole.pre_tokenizer = pre_tokenizers.Sequence([*apart, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    whole.decoder = decoders.ByteLevel()
    whole.add_special_tokens(["<|pad|>", "<|end|>"])
    return PreTrainedTokenizerFast(tokenizer_object=whole, pad_token="<|pad|>", eos_token="<|end|>",
                                   model_max_length=4096)  # fmt: skip


def without_spaces(tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """Return for every token the id of the same one without the space before it (its own where there is none)."""
    vocabulary = tokenizer.get_vocab()
    same = np.arange(len(tokenizer))
    for piece, i in vocabulary.items():
        if piece.startswith(SPACE) and piece[1:] in vocabulary:
            same[i] = vocabulary[piece[1:]]
    return same


def rarity(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> torch.Tensor:
    """Return the information of every token in nats, by how often it stands in texts, (vocabulary,)."""
    often = np.bincount(np.concatenate(tokenizer(list(texts))["input_ids"]), minlength=len(tokenizer)) + 1
    return torch.from_numpy(-np.log(often / often.sum())).float()
