"""Names and values judged by reading: one forward pass over a task's reference instead of many replies.

A passage (a tool's name, a value after its parameter's name, a parameter's name) is right if every token of it, and the
one after it that ends it, is the model's first choice given the reference before it. That is what greedy generation
would do, with two exceptions. The same text may be closed in another way: ``",`` for ``"}`` is as right. And it may be
cut into other tokens: where the first choice that departs begins what is left of the passage's text, or is begun by it,
nothing is decided, and the passage is to be generated. So judged, 676 names and values of SmolLM2 (tuned in ReAct and
in chat form, on held-out tools) all came out as when each was generated; for 29 of them that was needed.

A token that reaches over the border of a passage counts as part of it. Where one that reaches over its beginning
(``"(``) departs, nothing is decided either: a prompt cut there holds part of it, unless that part is a space.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from flanlib.dialects.common import argument_parts
from flanlib.records import Conversation, Span, Step, Trajectory
from flanlib.text.offsets import Placed
from flanlib.text.templates import AnyTemplate

RETRIEVAL, UNDERSTANDING, NAMING = "retrieval", "understanding", "naming"
RIGHT, WRONG, UNDECIDED = "right", "wrong", "undecided"
PART = "\ufffd"
"""How a token is spelled that holds only some bytes of a character."""
CLOSING = {'"': '"', ",": ",}", "}": ",}"}
"""By the character that follows a passage in its reference: those that end it in JSON just as well."""


class Passage(NamedTuple):
    """What is judged: characters ``start`` to ``stop`` of a conversation's turn.

    ``step`` is the trajectory's, ``name`` the parameter's (empty for a tool's name), ``wanted`` the name or value.
    """

    score: str
    step: int
    turn: int
    start: int
    stop: int
    name: str
    wanted: Any


class Choices(NamedTuple):
    """What a model made of a conversation: its text, where tokens stand, and the first choice in place of each.

    ``firsts`` are ids, each given the tokens before it; -1 where it was not looked at. ``spell`` writes a token.
    """

    text: str
    placed: Placed
    firsts: np.ndarray
    spell: Callable[[int], str]


Read: TypeAlias = Callable[[Sequence[Conversation], Sequence[Sequence[Passage]]], list[list[str]]]
"""Reads conversations and judges passages of them: RIGHT, WRONG or UNDECIDED each.

Passages that the model cannot be given, for want of positions or by its template, are wrong.
"""


def passages(trajectory: Trajectory, conversation: Conversation, protocol: str) -> Iterator[Passage]:
    """List what can be read in a trajectory that was rendered in a protocol, in order.

    Values that leave no character of their own (an empty text between quotes) are left out: there is nothing to read.
    """
    turns = (i for i, turn in enumerate(conversation.turns) if turn.role == "assistant")
    for k, step in enumerate(trajectory.steps):
        if protocol != "chat":
            turn = next(turns)
            yield from _lined(k, step, turn, conversation.turns[turn].spans)
            continue
        if step.thought:  # a turn of its own
            next(turns)
        asked = [(RETRIEVAL, "", step.tool), *((UNDERSTANDING, *argument) for argument in step.arguments.items())]
        for score, name, wanted in asked:
            turn = next(turns)
            yield Passage(score, k, turn, 0, len(conversation.turns[turn].text), name, wanted)


def _lined(k: int, step: Step, turn: int, spans: Sequence[Span]) -> Iterator[Passage]:
    """React and JSON: a call's spans of content are its name, then names and values in turns."""
    stops = accumulate(len(span.text) for span in spans)
    places = iter([(stop - len(span.text), stop) for span, stop in zip(spans, stops, strict=True)
                   if span.kind in (RETRIEVAL, UNDERSTANDING)])  # fmt: skip
    yield Passage(RETRIEVAL, k, turn, *next(places), "", step.tool)
    texts = iter([text for text, kind in argument_parts(step.arguments) if kind == UNDERSTANDING])
    for name, value in step.arguments.items():
        for score, wanted in ((NAMING, name), (UNDERSTANDING, value)):
            if next(texts):  # an empty one has no span
                yield Passage(score, k, turn, *next(places), name, wanted)


def ranges(conversation: Conversation, found: Iterable[Passage], template: AnyTemplate) -> list[tuple[int, int]]:
    """Return where passages stand in the conversation's text, as a template writes it. Raises FlanError as it does."""
    _, places = template.layout(conversation.turns, f"conversation {conversation.id}")
    told = []
    for one in found:
        place = places[one.turn]
        at = place.content - place.skipped  # white space that the template leaves out is not there to be read
        told.append((max(at + one.start, place.content), min(at + one.stop, place.end)))
    return told


def tokens(placed: Placed, start: int, stop: int) -> range:
    """Return the tokens that characters ``start`` to ``stop`` stand in, and the one that ends them."""
    first = int(np.searchsorted(placed.stops, start, side="right"))
    last = int(np.searchsorted(placed.starts, stop, side="left"))  # the first token that begins at the end or later
    reaches_over = last > first and placed.stops[last - 1] > stop
    return range(first, min(last + (not reaches_over), len(placed.ids)))


def verdict(choices: Choices, start: int, stop: int) -> str:
    """Judge characters ``start`` to ``stop``: RIGHT, WRONG or UNDECIDED."""
    ids, starts = choices.placed.ids, choices.placed.starts
    at = next((i for i in tokens(choices.placed, start, stop) if choices.firsts[i] != ids[i]), None)
    if at is None:
        return RIGHT
    if choices.firsts[at] < 0:
        return WRONG
    told = choices.spell(int(choices.firsts[at])).rstrip(PART)  # part of a character may still become the right one
    left = choices.text[starts[at] : stop]
    if choices.text[starts[at] : start].strip(" "):
        return UNDECIDED
    if told.startswith(left) and told[len(left) : len(left) + 1] in {*CLOSING.get(choices.text[stop : stop + 1], "")}:
        return RIGHT
    return UNDECIDED if left.startswith(told) or told.startswith(left) else WRONG
