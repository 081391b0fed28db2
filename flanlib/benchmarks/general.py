"""General ability after tuning: short questions of our own, each with one answer that can be checked.

The first known answer that a reply names decides, whether it is a right or a wrong one. So a reply that lists all it
can think of, or repeats the question, is judged by what it says first. The question families were chosen by what the
untuned default model does with them (``data/lab/README.md``), so that there is something to lose.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from flanlib.benchmarks import Generate, Prompt, ask
from flanlib.lab import ordinary
from flanlib.records import say

READ = 16
"""Words of a reply that are read: whatever comes later is no short answer."""
_DENIALS = {"not", "neither", "nor", "t"}  # "isn't" is read as two words


@dataclass(frozen=True)
class Question:
    """A prompt of one question family, its accepted answers, and ``others``: known wrong answers."""

    family: str
    prompt: Prompt
    answers: tuple[str, ...]
    others: tuple[str, ...] = ()


def questions(n: int, *, rng: np.random.Generator) -> list[Question]:
    """Draw n questions without replacement, or all of them if there are fewer.

    The wrong answers of a question are those that it lists itself, and the answers to other questions of its family.
    """
    bank, family_answers = ordinary.questions(), defaultdict(set)
    for one in bank:
        family_answers[one.family].update(one.answers)
    drawn = [bank[i] for i in rng.permutation(len(bank))[:n]]
    return [Question(one.family, Prompt(one.id, (say("user", one.text),)), one.answers,
                     tuple(sorted({*one.others, *family_answers[one.family]} - {*one.answers})))
            for one in drawn]  # fmt: skip


def measure(items: Sequence[Question], generate: Generate) -> pd.DataFrame:
    """Judge a reply to every question: id, family, value (1 if right), reference (the first accepted answer), reply."""
    replies = ask(generate, [question.prompt for question in items])
    return pd.DataFrame([(q.prompt.id, q.family, int(right(reply, q.answers, q.others)), q.answers[0], reply)
                         for q, reply in zip(items, replies, strict=True)],
                        columns=["id", "family", "value", "reference", "reply"])  # fmt: skip


def right(reply: str, answers: Sequence[str], others: Sequence[str] = ()) -> bool:
    """Tell whether the first known answer in a reply is an accepted one, as whole words and ignoring case.

    Only the first READ words count, and a reply with a negation among them ("It is not Lisa.") is wrong.

    >>> right("It is Paris.", ["Paris"]), right("Parisian", ["Paris"]), right("Rome or Paris", ["Paris"], ["Rome"])
    (True, False, False)
    """
    reply_words = _words(reply)[:READ]

    def position(answer: str) -> int:
        """Return the index of an answer's first word in the reply; READ if it is not there."""
        words = _words(answer)
        return next((i for i in range(len(reply_words)) if reply_words[i : i + len(words)] == words), READ)

    places = [(position(answer), answer not in answers) for answer in (*answers, *others)]
    first, wrong = min(places, default=(READ, True))
    return first < READ and not wrong and _DENIALS.isdisjoint(reply_words)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
