"""Drills of random tokens: copying, and looking up a name by its description.

A small model learns late to copy from its context and to find a place in it by what stands there, and choosing or
filling an unseen tool is both.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from flanlib.pretrain.tokenizer import TEMPLATE
from flanlib.records import KINDS
from flanlib.tokens import CONTEXT, Example

GENERAL = KINDS.index("general")


class Marks(NamedTuple):
    """Tokens around the parts of a drill: as in a conversation about a list."""

    line: list[int]
    colon: list[int]
    user: list[int]
    reply: list[int]
    end: list[int]
    close: list[int]


def marks(tokenizer: PreTrainedTokenizerBase) -> Marks:
    """Return the tokens that TEMPLATE, and a list with a description and a name in every line, are written with."""
    before, after = TEMPLATE.user
    texts = ("\n- ", ":", before, after + TEMPLATE.open + TEMPLATE.lead, TEMPLATE.end, TEMPLATE.close)
    return Marks(*(tokenizer.encode(text, add_special_tokens=False) for text in texts))


def drills(n: int, length: int, vocabulary: int, *, marks: Marks, rng: np.random.Generator) -> list[Example]:
    """Draw drills, copying and looking up in turn; what can be known is a target."""
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


def _looking_up(length: int, vocabulary: int, marks: Marks,
                rng: np.random.Generator) -> tuple[list[int], list[bool]]:  # fmt: skip
    """List names behind descriptions, then ask for names by parts of a description that only one of them has."""
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
        put(marks.user)
        for name, does in zip(names, told, strict=True):
            put([*marks.line, *does, *marks.colon, *name])
        for i in rng.integers(many, size=rng.integers(3, 9)):
            asked, others = rng.permutation(told[i]), [set(t) for j, t in enumerate(told) if j != i]
            enough = next((k for k in range(1, size + 1) if not any(set(asked[:k]) <= o for o in others)), None)
            if enough is None:
                continue
            question = [*asked[: rng.integers(enough, size + 1)],
                        *(2 + rng.integers(vocabulary - 2, size=rng.integers(0, 4)))]  # fmt: skip
            put([*marks.user, *rng.permutation(question), *marks.reply])
            put([*names[i], *marks.end], target=True)
            put(marks.close)
    return ids, known
