"""Names and values judged by teacher forcing: one forward pass over a task's reference instead of many replies.

A passage (a tool's name, a parameter's name, or the value after it) is right if each of its tokens, and the token after
it that ends it, is the model's first choice given the reference before it. Greedy generation would write the same, with
two exceptions. The text may be closed in another way: ``",`` for ``"}`` is also right. And the text may be cut into
other tokens. If the first choice that differs begins the rest of the passage, or begins with it, the verdict is
UNDECIDED, and the passage has to be generated. In a check on 676 names and values of SmolLM2 (tuned in ReAct and in
chat form, on held-out tools) this agreed with generation every time; 29 of them had to be generated.

A token that crosses a border of a passage counts as part of it. If one that crosses the start (``"(``) differs, the
verdict is UNDECIDED too, since a prompt cut there would hold part of that token. A leading space is no such case.
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
"""How bytes of an incomplete character are decoded."""
CLOSING = {'"': '"', ",": ",}", "}": ",}"}
"""By the character that follows a passage in its reference: all characters that end it in JSON just as well."""


class Passage(NamedTuple):
    """A name or value to judge: characters ``start`` to ``stop`` of turn number ``turn``.

    ``step`` counts the trajectory's steps, ``name`` is the parameter's (empty for a tool's name), and ``wanted`` the
    right name or value.
    """

    score: str
    step: int
    turn: int
    start: int
    stop: int
    name: str
    wanted: Any


class Choices(NamedTuple):
    """A model's first choices over a conversation: its text, its tokens with their places, and a choice per token.

    ``firsts`` holds the top token's id at each place, given the reference before it; -1 where it was not computed.
    ``spell`` decodes a token id.
    """

    text: str
    placed: Placed
    firsts: np.ndarray
    spell: Callable[[int], str]


Read: TypeAlias = Callable[[Sequence[Conversation], Sequence[Sequence[Passage]]], list[list[str]]]
"""From conversations and the passages of each to verdicts: RIGHT, WRONG or UNDECIDED.

A passage is wrong where the conversation is too long for the model or does not fit its chat template.
"""


def passages(trajectory: Trajectory, conversation: Conversation, protocol: str) -> Iterator[Passage]:
    """List the names and values in a rendered trajectory, in order, but no empty texts: they hold nothing to judge."""
    turns = (i for i, turn in enumerate(conversation.turns) if turn.role == "assistant")
    for k, step in enumerate(trajectory.steps):
        if protocol != "chat":
            turn = next(turns)
            yield from _in_call(k, step, turn, conversation.turns[turn].spans)
            continue
        if step.thought:  # a turn of its own
            next(turns)
        replies = [(RETRIEVAL, "", step.tool), *((UNDERSTANDING, *argument) for argument in step.arguments.items())]
        for score, name, wanted in replies:
            turn = next(turns)
            yield Passage(score, k, turn, 0, len(conversation.turns[turn].text), name, wanted)


def _in_call(k: int, step: Step, turn: int, spans: Sequence[Span]) -> Iterator[Passage]:
    """ReAct and JSON: a call's content spans are the tool's name, then each parameter's name and its value."""
    stops = accumulate(len(span.text) for span in spans)
    places = iter([(stop - len(span.text), stop) for span, stop in zip(spans, stops, strict=True)
                   if span.kind in (RETRIEVAL, UNDERSTANDING)])  # fmt: skip
    yield Passage(RETRIEVAL, k, turn, *next(places), "", step.tool)
    texts = iter([text for text, kind in argument_parts(step.arguments) if kind == UNDERSTANDING])
    for name, value in step.arguments.items():
        for score, wanted in ((NAMING, name), (UNDERSTANDING, value)):
            if next(texts):  # an empty text has no span
                yield Passage(score, k, turn, *next(places), name, wanted)


def ranges(conversation: Conversation, passages: Iterable[Passage], template: AnyTemplate) -> list[tuple[int, int]]:
    """Return where passages start and end in a chat template's text. Raises FlanError if it cannot hold the turns."""
    _, places = template.layout(conversation.turns, f"conversation {conversation.id}")
    found = []
    for one in passages:
        place = places[one.turn]
        offset = place.content - place.skipped  # white space that the template strips is not in its text
        found.append((max(offset + one.start, place.content), min(offset + one.stop, place.end)))
    return found


def tokens(placed: Placed, start: int, stop: int) -> range:
    """Return the indices of the tokens that hold characters ``start`` to ``stop``, and of the token that ends them."""
    first = int(np.searchsorted(placed.stops, start, side="right"))
    end = int(np.searchsorted(placed.starts, stop, side="left"))  # the first token that begins at the end or later
    crosses_end = end > first and placed.stops[end - 1] > stop
    return range(first, min(end + (not crosses_end), len(placed.ids)))


def verdict(choices: Choices, start: int, stop: int) -> str:
    """Judge characters ``start`` to ``stop``: RIGHT, WRONG or UNDECIDED."""
    text, placed, firsts, spell = choices
    differs = next((i for i in tokens(placed, start, stop) if firsts[i] != placed.ids[i]), None)
    if differs is None:
        return RIGHT
    if firsts[differs] < 0:
        return WRONG
    begins = placed.starts[differs]
    if text[begins:start].strip(" "):
        return UNDECIDED
    chosen = spell(int(firsts[differs])).rstrip(PART)  # part of a character may still become the right one
    rest = text[begins:stop]
    if chosen.startswith(rest) and chosen[len(rest) : len(rest) + 1] in {*CLOSING.get(text[stop : stop + 1], "")}:
        return RIGHT
    return UNDECIDED if rest.startswith(chosen) or chosen.startswith(rest) else WRONG
