"""What is left of general ability: held-out plain questions of the lab, answered in one reply.

Only families whose right reply follows from the question are asked. A few still have a second good wording, so a
score is to be compared between models, not read as the share of questions that one can answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from flanlib.benchmarks import Generate, Prompt, ask
from flanlib.lab import talk

FAMILIES = ("reading", "choosing", "extracting", "copying", "labelling", "counting")


@dataclass(frozen=True)
class Question:
    """A prompt of one family, and the reply that is right."""

    family: str
    prompt: Prompt
    reference: str


def questions(n: int, *, rng: np.random.Generator, families: Iterable[str] = FAMILIES) -> list[Question]:
    """Draw held-out questions, as nearly n of every family together as equal numbers of each allow, at least one.

    Raises FlanError for an unknown family.
    """
    families = list(families)
    drawn = []
    for family in families:
        each = talk.conversations(max(1, round(n / len(families))), rng=rng, split="heldout", families=[family])
        for conversation in each:
            first = next(i for i, turn in enumerate(conversation.turns) if turn.role == "assistant")
            prompt = Prompt(f"{family}/{conversation.id}", conversation.turns[:first])
            drawn.append(Question(family, prompt, conversation.turns[first].text))
    return drawn


def measure(asked: Sequence[Question], generate: Generate) -> pd.DataFrame:
    """Ask questions and judge the replies, spaces and case aside.

    Returns a row each: id, family, value (1 if right), reference, reply.
    """
    replies = ask(generate, [question.prompt for question in asked])
    return pd.DataFrame(
        [(q.prompt.id, q.family, int(plain(reply) == plain(q.reference)), q.reference, reply)
         for q, reply in zip(asked, replies, strict=True)],
        columns=["id", "family", "value", "reference", "reply"],
    )  # fmt: skip


def plain(text: str) -> str:
    """Even out spaces and case.

    >>> plain("  Ulm is\\nFAR. ")
    'ulm is far.'
    """
    return " ".join(text.split()).casefold()
