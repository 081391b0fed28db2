"""The words of the lab's general conversation, and the one object that draws them.

Closed lists of ordinary words, a syllable generator for names nobody has met, and a small phrase
language: ``[this|that]`` is one of several wordings, ``{name}`` is a slot. Every list and every
first syllable is divided once: a fifth is reserved for ``split="heldout"``.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence
from functools import cache
from random import Random
from typing import Any, Literal

from flanlib.lab.pools import POOLS

Split = Literal["train", "heldout"]

ACCENTED = "éèêëáàâäãåíìîïóòôöõúùûüñçßøæšž"
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December")

# A first syllable ends in its first vowel and every other syllable starts with a consonant, so a made-up
# word has exactly one first syllable: the division holds for whole words.
_ONSETS, MIDDLES, ENDS, ODD_ENDS = (tuple(line.split()) for line in (
    "b br c d dr f fl g gr h j k kl kr l m n p pl pr qu r s sh sk sl st t th tr v w y z zh",
    "ra li no ve ma do se ti lo ba ru den mil ka ster bo ni lan ver go zi pe fa",
    "ra lin dor vik na mont sel ton ka ris mer do lia nox ven bury ta len gard mi ros del na quin wick zan fi lo by "
    "sen dra tel nis mar vo ly",
    "lél rè mês lë tán dà vâr sä bãn nål mí lìs rîn nï dós lò vôn dö lõ rú mù sûl nün døl tæ léa reš želi liß ñe ña ça "
    "lço sße ša naž toñ mæl gøy"))
STARTS = tuple(onset + vowel for vowel in "aeiou" for onset in _ONSETS)

_SLOT = re.compile(r"\[([^\[\]]*)\]|\{(\w+)\}")
_SYMBOLS = string.punctuation + " "
_PRINTABLE = string.ascii_letters + string.digits + string.punctuation


@cache
def pool(name: str, split: Split) -> tuple[str, ...]:
    """Return the words of a list that one split may use; every fifth is reserved for ``heldout``."""
    return reserve(POOLS[name], split)


def reserve(items: Sequence[Any], split: Split) -> tuple[Any, ...]:
    """Return the entries of one split: every fifth for ``heldout``, the others for ``train``.

    >>> reserve("abcdefg", "heldout")
    ('e',)
    """
    return tuple(item for i, item in enumerate(items) if (i % 5 == 4) == (split == "heldout"))


@cache
def _parts(template: str) -> tuple[tuple[str, Any], ...]:
    """Compile a phrase: ("text", words), ("slot", name) or ("one", wordings)."""
    parts, at = [], 0
    for match in _SLOT.finditer(template):
        if match.start() > at:
            parts.append(("text", template[at:match.start()]))
        parts.append(("slot", match[2]) if match[2] else ("one", tuple(match[1].split("|"))))
        at = match.end()
    return (*parts, ("text", template[at:])) if at < len(template) else tuple(parts)


def an(noun: str) -> str:
    """Put the indefinite article before a word.

    >>> an("owl"), an("cat")
    ('an owl', 'a cat')
    """
    return ("an " if noun[0] in "aeiouAEIOUéèÉöå" else "a ") + noun


def plural(noun: str) -> str:
    """Form a regular plural.

    >>> plural("knife"), plural("watch"), plural("library")
    ('knives', 'watches', 'libraries')
    """
    if noun in {"fish", "sheep", "deer"}:
        return noun
    irregular = {"knife": "knives", "wolf": "wolves", "goose": "geese", "fisherman": "fishermen"}
    if noun in irregular:
        return irregular[noun]
    if noun.endswith(("s", "sh", "ch", "x", "z")):
        return noun + "es"
    return noun[:-1] + "ies" if noun.endswith("y") and noun[-2] not in "aeiou" else noun + "s"


def join(items: Iterable[str], last: str = "and") -> str:
    """Join words as English does.

    >>> join(["a", "b", "c"])
    'a, b and c'
    """
    items = list(items)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"


def upper_first(text: str) -> str:
    """Start a sentence with a capital letter.

    >>> upper_first("the end")
    'The end'
    """
    return text[:1].upper() + text[1:]


class Draw:
    """Draws words, names, values and wordings for one split from one seed."""

    def __init__(self, seed: int, split: Split) -> None:
        random = Random(seed)
        self.split = split
        self.random = random.random
        self.some = random.sample
        self._starts = reserve(STARTS, split)

    def one(self, items: Sequence[Any]) -> Any:
        """Draw one entry."""
        return items[int(self.random() * len(items))]

    def chance(self, p: float) -> bool:
        """Return True with probability p."""
        return self.random() < p

    def number(self, low: int, high: int) -> int:
        """Draw a whole number, both ends included."""
        return low + int(self.random() * (high - low + 1))

    def shuffled(self, items: Iterable[Any]) -> list[Any]:
        """Return the entries in a drawn order."""
        items = list(items)
        return self.some(items, len(items))

    def word(self, name: str) -> str:
        """Draw a word of a list."""
        return self.one(pool(name, self.split)).replace("-", " ")

    def words(self, name: str, n: int) -> list[str]:
        """Draw different words of a list."""
        return [word.replace("-", " ") for word in self.some(pool(name, self.split), n)]

    def fill(self, wordings: str | Sequence[str], /, **slots: Any) -> str:
        """Write a phrase: draw one of the wordings, then its alternatives, then put in the slots.

        >>> Draw(0, "train").fill("[Take|Take] {what}.", what="tea")
        'Take tea.'
        """
        template = wordings if isinstance(wordings, str) else self.one(wordings)
        text = []
        for sort, value in _parts(template):
            if sort == "text":
                text.append(value)
            elif sort == "slot":
                text.append(str(slots[value]))
            else:
                chosen = self.one(value)
                text.append(self.fill(chosen, **slots) if "{" in chosen else chosen)
        return "".join(text)

    def made_up(self) -> str:
        """Draw a lower-case word that nobody has met; one in six has an unusual letter."""
        middle = self.one(MIDDLES) if self.random() < 0.4 else ""
        return self.one(self._starts) + middle + self.one(ODD_ENDS if self.random() < 0.16 else ENDS)

    def noun(self, name: str = "thing") -> str:
        """Draw a word of a list or a made-up one: what a thing is called must be read, not known."""
        return self.word(name) if self.random() < 0.5 else self.made_up()

    def name(self) -> str:
        """Draw a made-up proper name."""
        return upper_first(self.made_up())

    def person(self) -> str:
        """Draw a person: a made-up name, a common first name, or first and last."""
        at = self.random()
        if at < 0.5:
            return self.name()
        return self.word("first") if at < 0.75 else f"{self.word('first')} {self.name()}"

    def town(self) -> str:
        """Draw a town, made up or real."""
        return self.name() if self.random() < 0.6 else self.word("town")

    def several(self, draw: Any, n: int) -> list[Any]:
        """Call a drawing function until it gave n different values."""
        seen: dict[Any, None] = {}
        while len(seen) < n:
            seen[draw()] = None
        return list(seen)

    def identifier(self, topic: str = "") -> str:
        """Draw a snake_case identifier, sometimes built on a topic word."""
        at = self.random()
        stem = topic if topic and at < 0.5 else self.word("stem") if at < 0.75 else self.made_up()
        shape = self.random()
        if shape < 0.6:
            return f"{stem}_{self.word('suffix')}"
        if shape < 0.75:
            return f"{self.one(('get', 'find', 'ask', 'show', 'check', 'my', 'the', 'list', 'look_up'))}_{stem}"
        if shape < 0.9:
            return f"{stem}_{self.word('stem')}"
        return f"{stem}_{self.made_up()}" if shape < 0.96 else f"{stem}_{self.number(2, 99)}"

    def time(self) -> str:
        """Draw a time of day."""
        return f"{self.number(0, 23):02d}:{self.number(0, 11) * 5:02d}"

    def date(self) -> str:
        """Draw a date in one of three spellings."""
        day, month, at = self.number(1, 28), self.number(1, 12), self.random()
        if at < 0.4:
            return f"{day} {MONTHS[month - 1]}"
        year = self.number(1998, 2035)
        return f"{year}-{month:02d}-{day:02d}" if at < 0.8 else f"{day} {MONTHS[month - 1]} {year}"

    def price(self) -> str:
        """Draw a price without its currency."""
        if self.random() < 0.5:
            return str(self.number(2, 900))
        return f"{self.number(1, 99)}.{self.one(('5', '25', '75', '95', '99', '2', '8', '45'))}"

    def code(self) -> str:
        """Draw a reference such as ``KX-482`` or ``7GQ2``."""
        at, letters = self.random(), string.ascii_uppercase
        if at < 0.5:
            return f"{self.one(letters)}{self.one(letters)}-{self.number(100, 9999)}"
        return "".join(self.one(letters + string.digits * 2) for _ in range(self.number(4, 7)))

    def sentence(self) -> str:
        """Write a small sentence of ordinary words."""
        who = f"The {self.word('adjective')} {self.word('animal' if self.chance(0.5) else 'job')}"
        return self.fill(("{who} {verb} [in|near|behind|beside] the {place}.",
                          "{who} {verb} [in|near] the {adj} {place}.",
                          "{who} [buys|finds|likes|carries|sells|draws] {thing}.",
                          "{who} {verb} [today|again|at night|alone]."),
                         who=who, verb=self.word("verb"), place=self.word("place"), adj=self.word("adjective"),
                         thing=an(f"{self.word('colour')} {self.word('thing')}"))

    def quote(self) -> str:
        """Draw a few words someone may have written."""
        return self.fill(("See you [at|in] the {place}", "Happy birthday, {name}!", "The {thing} is ready",
                          "I am late, sorry",
                          "{adj} {place} {number}", "Do not feed the {animal}", "{food} and {food2}",
                          "Meet {name} at {time}?",
                          "My {colour} {thing}", "{name} & {other}: {adj} days", "Bring {food} (and {number} chairs)"),
                         place=self.word("place"), name=self.person(), other=self.name(), thing=self.word("thing"),
                         adj=self.word("adjective"), number=self.number(2, 60), animal=self.word("animal"),
                         food=self.word("food"), food2=self.word("food"), time=self.time(), colour=self.word("colour"))

    def noise(self) -> str:
        """Draw a short string over all printable ASCII and the accented letters."""
        alphabet = self.one((_PRINTABLE, _PRINTABLE, _SYMBOLS.strip() + "0123", string.ascii_letters + ACCENTED,
                             string.digits, string.ascii_lowercase + "_", _SYMBOLS + ACCENTED))
        return "".join(self.one(alphabet) for _ in range(self.number(3, 12))).strip() or "#"
