"""What is left of general ability: short questions of our own with one answer that can be checked.

Of the answers that a question's family knows, accepted or not, the first that a reply names counts: a reply that lists
everything it can think of, or tells the question again, is judged by what it says first. Which families are asked was
decided by what the untuned default model does with them (``data/lab/README.md``), so that there is something to lose.
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
"""Words of a reply that are read: beyond, it is no answer in a word or a sentence."""
_DENIALS = {"not", "neither", "nor", "t"}  # "isn't" is read as two words


@dataclass(frozen=True)
class Question:
    """A prompt of one family, the answers that are right, and others that may be named in their place."""

    family: str
    prompt: Prompt
    answers: tuple[str, ...]
    others: tuple[str, ...] = ()


def questions(n: int, *, rng: np.random.Generator) -> list[Question]:
    """Draw n questions without putting one back, or all there are.

    The wrong answers of each are those that it names itself, and those to the other questions of its family.
    """
    made, known = ordinary.questions(), defaultdict(set)
    for one in made:
        known[one.family].update(one.answers)
    return [Question(one.family, Prompt(one.id, (say("user", one.text),)), one.answers,
                     tuple(sorted({*one.others, *known[one.family]} - {*one.answers})))
            for one in (made[i] for i in rng.permutation(len(made))[:n])]  # fmt: skip


def measure(asked: Sequence[Question], generate: Generate) -> pd.DataFrame:
    """Ask questions and judge the replies.

    Returns a row each: id, family, value (1 if right), reference (the first accepted answer), reply.
    """
    replies = ask(generate, [question.prompt for question in asked])
    return pd.DataFrame([(q.prompt.id, q.family, int(right(reply, q.answers, q.others)), q.answers[0], reply)
                         for q, reply in zip(asked, replies, strict=True)],
                        columns=["id", "family", "value", "reference", "reply"])  # fmt: skip


def right(reply: str, answers: Sequence[str], others: Sequence[str] = ()) -> bool:
    """Tell whether the first answer that a reply names, as whole words and case aside, is an accepted one.

    Only its first READ words are read, and one that denies ("It is not Lisa.") is wrong.

    >>> right("It is Paris.", ["Paris"]), right("Parisian", ["Paris"]), right("Rome or Paris", ["Paris"], ["Rome"])
    (True, False, False)
    """
    said = _words(reply)[:READ]

    def place(answer: str) -> int:
        """Return where an answer stands first; READ if nowhere."""
        told = _words(answer)
        return next((i for i in range(len(said)) if said[i : i + len(told)] == told), READ)

    at, wrong = min(((place(answer), answer not in answers) for answer in (*answers, *others)), default=(READ, True))
    return at < READ and not wrong and _DENIALS.isdisjoint(said)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
