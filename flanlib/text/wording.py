"""Compare texts by their words, with case and plural endings removed."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from flanlib.records import Tool

STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
    a an and as at be by for from i in is it its of on one or so that the this to what which with""",
    )
)


def words(text: str) -> list[str]:
    """List the words of a text or of a name, in lower case and in the singular.

    >>> words("find_towns: Find the cities!")
    ['find', 'town', 'find', 'the', 'city']
    """
    return [_stem(word) for word in re.findall(r"[^\W\d_]+", text.lower())]


def shared(text: str, tools: Iterable[Tool]) -> list[int]:
    """Count for each tool the distinct words that its name and description share with a text, without stop words."""
    text_words = frozenset(words(text)) - STOP_WORDS
    return [len(text_words & _tool_words(tool.name, tool.description)) for tool in tools]


def near(text: str, tools: Sequence[Tool], n: int, *, rng: np.random.Generator) -> list[Tool]:
    """Choose the n tools that share most words with a text, ties broken at random, in random order.

    >>> tools = [Tool("get_fare", "The fare of a town."), Tool("add"), Tool("find_mayor", "The mayor of a town.")]
    >>> [tool.name for tool in near("Which town is it?", tools, 2, rng=np.random.default_rng(0))]
    ['get_fare', 'find_mayor']
    """
    scores = np.array(shared(text, tools)) + rng.random(len(tools))
    return [tools[i] for i in rng.permutation(np.argsort(-scores)[:n])]


@lru_cache(maxsize=8192)
def _tool_words(name: str, description: str) -> frozenset[str]:
    return frozenset(words(f"{name} {description}"))


def _stem(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word
