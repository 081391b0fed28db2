"""Invent the proper names of the lab's world: none exists, and no invented word is part of another."""

from collections.abc import Callable

from flanlib.lab.words import ADJECTIVES, FIRST, MONTHS, Draw, reserve, upper_first

# By family: how an invented word becomes a name. One of several forms is drawn each time.
FORMS: dict[str, str] = {
    "place": "{word}", "person": "{first} {word}", "title": "The {adjective} {word}", "app": "{word}[pad|bit|sync|ify]",
    "station": "{word} [Halt|Central|Cross|Gate|Road]", "dish": "{word} [soup|stew|pie|salad|cake]",
    "mountain": "[Mount {word}|{word} Peak|{word} Horn]", "medicine": "{word}[nol|mide|xin|fen]",
    "museum": "{word} [Museum|Gallery|House]", "team": "{word} [Rovers|United|Lions|Stars|Town]",
    "plant": "{word} [fern|lily|thistle|ivy|rose]", "star": "{word} [Prime|Minor|A|B]",
    "fish": "{word} [eel|trout|crab|ray]", "song": "{word} [Waltz|Blues|Lullaby|March]",
    "ship": "[Queen|Star of|Lady] {word}", "hotel": "[Hotel {word}|{word} Inn|{word} Lodge]",
    "farm": "{word} [Farm|Meadow|Mill]", "lake": "[Lake {word}|{word} Water|{word} Pond]",
    "gem": "{word} [ruby|opal|topaz|pearl|garnet]", "hive": "{word} [hive|skep|comb]",
    "lighthouse": "{word} [Beacon|Light|Rock]",
}


class Names:
    """Draws new names, so different that a text search finds exactly the name meant."""

    def __init__(self, seed: int) -> None:
        self._draws = {"train": Draw(seed, "train"), "heldout": Draw(seed + 1, "heldout")}
        self._words: set[str] = set()
        self._parts: set[str] = set()

    def make(self, family: str, split: str) -> str:
        """Return a new name: a key of FORMS, ``code`` (VK2817) or ``date`` (May 12)."""
        draw = self._draws[split]
        if family == "code":
            letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
            return self._fresh(lambda: f"{draw.one(letters)}{draw.one(letters)}{draw.number(1000, 9999)}")
        if family == "date":  # always two digits: May 1 would be part of May 12
            return self._fresh(lambda: f"{draw.one(MONTHS)} {draw.number(10, 28)}")
        word = self._fresh(draw.made_up)
        return draw.fill(FORMS[family], word=upper_first(word), first=draw.one(reserve(FIRST, split)),
                         adjective=upper_first(draw.one(reserve(ADJECTIVES, split))))

    def _fresh(self, draw: Callable[[], str]) -> str:
        """Draw until a word of five characters or more neither contains an earlier one nor lies within one."""
        while True:
            word = draw()
            key = word.casefold()
            parts = {key[i:j] for i in range(len(key)) for j in range(i + 5, len(key) + 1)}
            if parts and key not in self._parts and not parts & self._words:
                self._words.add(key)
                self._parts |= parts
                return word
