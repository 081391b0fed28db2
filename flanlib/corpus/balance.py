"""Balance agent data by capability (section 4.2) with loss flags on turns, as in the published rows.

In chat form each assistant turn is one capability. A weight keeps that share of the capability's turns trained; the
others stay in the text as context. The text that a model reads never changes, only its loss mask.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from numbers import Real

from flanlib.paper import number
from flanlib.records import CAPABILITIES, CONTENT, Conversation, FlanError, Kind, Turn
from flanlib.tally import Tally

# From the text of Appendix A; the name of the published file has 1, 0.5 and 0.7 instead.
APPENDIX: dict[Kind, float] = {kind: number("recipe", setting=f"weight of {kind}") for kind in CONTENT}


def capability(turn: Turn) -> Kind:
    """Return the capability of an assistant turn, ``general`` for ordinary chat, or ``context`` for other roles.

    A turn with format labels or with several capabilities is ``instruction``. One flag cannot separate the pieces of
    a ReAct or JSON turn, and format is what such a turn adds to chat form. Quotes around a value are not a label.

    >>> from flanlib.records import Span, say
    >>> capability(say("assistant", "find_town", "retrieval"))
    'retrieval'
    >>> capability(Turn("assistant", (Span("Thought: ", "instruction"), Span("Look it up.", "reasoning"))))
    'instruction'
    """
    kinds = {span.kind for span in turn.spans} - {"context"}
    if turn.role != "assistant" or not kinds:
        return "context"
    if "instruction" in kinds:
        if any(span.text.strip('"') for span in turn.spans if span.kind == "instruction"):
            return "instruction"
        kinds = (kinds - {"instruction"}) | {"understanding"}  # an empty value has only its quotes
    return kinds.pop() if len(kinds) == 1 else "instruction"


def balance(conversations: Iterable[Conversation], weights: Mapping[Kind, float], *, seed: int,
            tally: Tally) -> list[Conversation]:  # fmt: skip
    """Keep ``round(weight * n)`` of the n trained turns of each capability trained; the others become context.

    A capability without a weight keeps all its turns. The halved rows of Table 2 are ``{"reasoning": 0.5}`` and so on.
    ``instruction`` means turns in ReAct or JSON form, which no other weight touches. A turn's place in the draw
    depends only on the seed, its conversation's source and id, and its position, not on other conversations or their
    order. The turns kept at 0.25 are among those kept at 0.5. Conversations left without a trained turn are dropped
    and counted; turns left untrained are noted. Raises FlanError for an unknown capability or a weight outside 0 to 1.
    """
    for kind, weight in weights.items():
        if kind not in CAPABILITIES:
            raise FlanError("weights", found=f"{kind!r}", expected=f"one of {', '.join(CAPABILITIES)}",
                            remedy="Weight capabilities; general_ratio of the mix sets general chat.")  # fmt: skip
        if not isinstance(weight, Real) or not 0 <= weight <= 1:
            raise FlanError("weights", found=f"{kind} {weight!r}", expected="a share of turns between 0 and 1",
                            remedy="No turn is trained twice: divide all weights by the largest.")  # fmt: skip
    conversations = list(conversations)
    trained: dict[Kind, list[tuple[bytes, int, int]]] = {kind: [] for kind in CAPABILITIES if kind in weights}
    for i, conversation in enumerate(conversations):
        for j, turn in enumerate(conversation.turns):
            if turn.trained and (kind := capability(turn)) in trained:
                trained[kind].append((rank(seed, "balance", conversation.source, conversation.id, j), i, j))
    untrained: set[tuple[int, int]] = set()
    for kind, ranked in trained.items():
        if rest := sorted(ranked)[round(weights[kind] * len(ranked)) :]:
            tally.note(f"{kind} turns left untrained", len(rest))
            untrained.update((i, j) for _, i, j in rest)
    kept = []
    for i, conversation in enumerate(conversations):
        turns = tuple(replace(t, trained=False) if (i, j) in untrained else t for j, t in enumerate(conversation.turns))
        if any(turn.trained for turn in turns):
            kept.append(replace(conversation, turns=turns))
        else:
            tally.drop("no trained turn left", f"{conversation.source} {conversation.id}")
    tally.keep(len(kept))
    return kept


def rank(seed: int, *names: str | int) -> bytes:
    """Return a sort key for a random order in which an item's place depends only on the seed and its names."""
    return hashlib.sha256(json.dumps([int(seed), *names]).encode()).digest()
