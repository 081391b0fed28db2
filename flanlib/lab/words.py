"""The vocabulary of the lab, and the class that draws from it.

It has two fixed lists of ordinary words, a syllable generator for invented names, and a small phrase language:
``[this|that]`` is one of several wordings, ``{name}`` is a slot. A fifth of each list and of the first syllables is
reserved for ``split="heldout"``.
"""

import re
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any, Literal

Split = Literal["train", "heldout"]

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December")

FIRST, ADJECTIVES = (tuple(text.split()) for text in (
    """Anna Omar Lucía Jonas Mei Pedro Fatima Erik Zoë Ravi Clara Hugo Nora Tomás Ingrid Samuel Aisha Luca
        Hélène Marek Yuki Leo Björn Sara Dmitri Eva Noah Chloé Karim Greta Felix Amina Søren Rosa Ivan Maya Otto Inês
        André Lena Viktor Nina José Hana Oscar Elif Théo Ruth Paulo Jasmin Emil Vera Kwame Alma Émile Tara Henrik""",
    """small old quiet bright heavy tall young clever strange gentle brave tired wide cold shiny narrow
        round proud lazy soft quick dusty warm hungry famous plain lonely sharp cheerful sleepy curious wooden muddy
        silent friendly broken empty fresh golden tiny"""))

# A first syllable ends in its first vowel, and every other syllable starts with a consonant. So an invented word has
# exactly one first syllable, and words of the two splits differ.
_ONSETS, MIDDLES, ENDS, ODD_ENDS = (tuple(line.split()) for line in (
    "b br c d dr f fl g gr h j k kl kr l m n p pl pr qu r s sh sk sl st t th tr v w y z zh",
    "ra li no ve ma do se ti lo ba ru den mil ka ster bo ni lan ver go zi pe fa",
    "ra lin dor vik na mont sel ton ka ris mer do lia nox ven bury ta len gard mi ros del na quin wick zan fi lo by "
    "sen dra tel nis mar vo ly",
    "lél rè mês lë tán dà vâr sä bãn nål mí lìs rîn nï dós lò vôn dö lõ rú mù sûl nün døl tæ léa reš želi liß ñe ña ça "
    "lço sße ša naž toñ mæl gøy"))
STARTS = tuple(onset + vowel for vowel in "aeiou" for onset in _ONSETS)

_SLOT = re.compile(r"\[([^\[\]]*)\]|\{(\w+)\}")


def reserve(items: Sequence[Any], split: Split) -> tuple[Any, ...]:
    """Return the items of one split: every fifth for ``heldout``, the others for ``train``.

    >>> reserve("abcdefg", "heldout")
    ('e',)
    """
    return tuple(item for i, item in enumerate(items) if (i % 5 == 4) == (split == "heldout"))


def an(noun: str) -> str:
    """Put the indefinite article before a word.

    >>> an("owl"), an("cat")
    ('an owl', 'a cat')
    """
    return ("an " if noun[0] in "aeiouAEIOUéèÉöå" else "a ") + noun


def join(items: Iterable[str], last: str = "and") -> str:
    """Join words with commas, and with ``last`` before the last one.

    >>> join(["a", "b", "c"])
    'a, b and c'
    """
    items = list(items)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"


def upper_first(text: str) -> str:
    """Write the first letter as a capital.

    >>> upper_first("the end")
    'The end'
    """
    return text[:1].upper() + text[1:]


class Draw:
    """A seeded random source that draws words, names, values and wordings for one split."""

    def __init__(self, seed: int, split: Split) -> None:
        random = Random(seed)
        self.random = random.random
        self.some = random.sample
        self._starts = reserve(STARTS, split)

    def one(self, items: Sequence[Any]) -> Any:
        """Draw one item."""
        return items[int(self.random() * len(items))]

    def chance(self, p: float) -> bool:
        """Return True with probability p."""
        return self.random() < p

    def number(self, low: int, high: int) -> int:
        """Draw a whole number, both ends included."""
        return low + int(self.random() * (high - low + 1))

    def shuffled(self, items: Iterable[Any]) -> list[Any]:
        """Return the items in random order."""
        items = list(items)
        return self.some(items, len(items))

    def fill(self, wordings: str | Sequence[str], /, **slots: Any) -> str:
        """Write a phrase: draw one of the wordings, then its alternatives, and fill the slots.

        >>> Draw(0, "train").fill("[Take|Take] {what}.", what="tea")
        'Take tea.'
        """
        def put(slot: re.Match[str]) -> str:
            return str(slots[slot[2]]) if slot[2] else self.fill(self.one(slot[1].split("|")), **slots)

        return _SLOT.sub(put, wordings if isinstance(wordings, str) else self.one(wordings))

    def made_up(self) -> str:
        """Draw an invented lower-case word; about one in six has an accented or rare letter."""
        middle = self.one(MIDDLES) if self.random() < 0.4 else ""
        return self.one(self._starts) + middle + self.one(ODD_ENDS if self.random() < 0.16 else ENDS)
