"""Balance agent data by capability (section 4.2), by flags as the published rows do.

In chat form an assistant turn is one capability. A weight keeps that share of its turns trained; the others stay
in the text, as context. So the words a model reads never change, only which of them it is trained to say.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from numbers import Real

from flanlib.paper import number
from flanlib.records import CAPABILITIES, CONTENT, Conversation, FlanError, Kind, Turn
from flanlib.tally import Tally

# As the text of Appendix A has them; the name of the published file says 1, 0.5 and 0.7.
APPENDIX: dict[Kind, float] = {kind: number("recipe", setting=f"weight of {kind}") for kind in CONTENT}


def capability(turn: Turn) -> Kind:
    """Name the capability that a turn is there for; ``general`` for ordinary chat, ``context`` for other roles.

    A turn of labels, or of several pieces, is ``instruction``: in ReAct or JSON form a flag can't take the
    pieces apart, and the format is what such a turn adds to chat form. Quotes round a value are no label.

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
        kinds = (kinds - {"instruction"}) | {"understanding"}  # an empty text is nothing but its quotes
    return kinds.pop() if len(kinds) == 1 else "instruction"


def balance(conversations: Iterable[Conversation], weights: Mapping[Kind, float], *, seed: int,
            tally: Tally) -> list[Conversation]:  # fmt: skip
    """Keep ``round(weight * n)`` of the n trained turns of each capability trained; the others become context.

    A capability without a weight keeps all its turns. Table 2's halved rows are ``{"reasoning": 0.5}`` and so on;
    ``instruction`` means turns in ReAct or JSON form, which no other weight touches. A turn's place in the draw
    depends on the seed, its conversation's source and id, and its own position: neither order nor company of the
    conversations changes it, and the turns kept at 0.25 are among those kept at 0.5. Conversations left without a
    trained turn are dropped and counted, turns switched off are noted. Raises FlanError for a weight that no flag
    can express.
    """
    for kind, weight in weights.items():
        if kind not in CAPABILITIES:
            raise FlanError("weights", found=f"{kind!r}", expected=f"among {', '.join(CAPABILITIES)}",
                            remedy="Weigh capabilities; general chat is set by its ratio in the mix.")  # fmt: skip
        if not isinstance(weight, Real) or not 0 <= weight <= 1:
            raise FlanError("weights", found=f"{kind} {weight!r}", expected="a share of turns between 0 and 1",
                            remedy="No turn is trained twice: divide all weights by the largest.")  # fmt: skip
    conversations = list(conversations)
    found: dict[Kind, list[tuple[bytes, int, int]]] = {kind: [] for kind in CAPABILITIES if kind in weights}
    for i, conversation in enumerate(conversations):
        for j, turn in enumerate(conversation.turns):
            if turn.trained and (kind := capability(turn)) in found:
                found[kind].append((rank(seed, "balance", conversation.source, conversation.id, j), i, j))
    off: set[tuple[int, int]] = set()
    for kind, places in found.items():
        if switched := sorted(places)[round(weights[kind] * len(places)) :]:
            tally.note(f"{kind} turns left untrained", len(switched))
            off.update((i, j) for _, i, j in switched)
    kept = []
    for i, conversation in enumerate(conversations):
        turns = tuple(replace(t, trained=False) if (i, j) in off else t for j, t in enumerate(conversation.turns))
        if any(turn.trained for turn in turns):
            kept.append(replace(conversation, turns=turns))
        else:
            tally.drop("no trained turn left", f"{conversation.source} {conversation.id}")
    tally.keep(len(kept))
    return kept


def rank(seed: int, *names: str | int) -> bytes:
    """Return a sorting key for a random order in which a thing's place depends on the seed and its names only."""
    return hashlib.sha256(json.dumps([int(seed), *names]).encode()).digest()
