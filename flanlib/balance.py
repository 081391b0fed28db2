"""Decompose agent data by capability and balance it (section 4.2), by flags as the published rows do.

In chat form an assistant turn is one capability. A weight keeps that share of its turns trained; the others stay
in the text, as context. So the words a model reads never change, only which of them it is trained to say.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from numbers import Real

import pandas as pd

from flanlib.paper import number
from flanlib.records import CAPABILITIES, CONTENT, KINDS, Conversation, FlanError, Kind, Turn
from flanlib.tally import Tally

# The paper gives its weights twice, and they differ: the text of Appendix A, and the name of the published file.
APPENDIX: dict[Kind, float] = {kind: number("recipe", setting=f"weight of {kind}") for kind in CONTENT}
FILE_NAME: dict[Kind, float] = {kind: number("recipe", setting=f"published weight of {kind}") for kind in CONTENT}


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


def decompose(conversations: Iterable[Conversation]) -> pd.DataFrame:
    """Count assistant turns by source and capability: source, capability, turns, trained, share (trained of turns)."""
    turns, trained = Counter(), Counter()
    for conversation in conversations:
        for turn in conversation.turns:
            if turn.role == "assistant":
                key = conversation.source, KINDS.index(capability(turn))
                turns[key] += 1
                trained[key] += turn.trained
    rows = [(source, KINDS[kind], n, trained[source, kind], trained[source, kind] / n)
            for (source, kind), n in sorted(turns.items())]  # fmt: skip
    return pd.DataFrame(rows, columns=["source", "capability", "turns", "trained", "share"])


def balance(
    conversations: Iterable[Conversation], weights: Mapping[Kind, float], *, seed: int, tally: Tally
) -> list[Conversation]:
    """Keep ``round(weight * n)`` of the n trained turns of each capability trained; the others become context.

    A capability without a weight keeps all its turns. Table 2's halved rows are ``{"reasoning": 0.5}`` and so on;
    ``instruction`` means turns in ReAct or JSON form, which no other weight touches. A turn's place in the draw
    depends on the seed, its conversation's source and id, and its own position: neither order nor company of the
    conversations changes it, and the turns kept at 0.25 are among those kept at 0.5. Conversations left without a
    trained turn are dropped and counted, turns switched off are noted. Raises FlanError for a weight that no flag
    can express.
    """
    for kind, weight in weights.items():
        _check(kind, weight)
    conversations = list(conversations)
    found: dict[Kind, list[tuple[bytes, int, int]]] = {kind: [] for kind in CAPABILITIES if kind in weights}
    for i, conversation in enumerate(conversations):
        for j, turn in enumerate(conversation.turns):
            if turn.trained and (kind := capability(turn)) in found:
                found[kind].append((rank(seed, "balance", conversation.source, conversation.id, j), i, j))
    off: dict[int, set[int]] = {}
    for kind, places in found.items():
        switched = sorted(places)[round(weights[kind] * len(places)) :]
        if switched:
            tally.note(f"{kind} turns left untrained", len(switched))
        for _, i, j in switched:
            off.setdefault(i, set()).add(j)
    kept = []
    for i, conversation in enumerate(conversations):
        if i in off:
            turns = (replace(t, trained=False) if j in off[i] else t for j, t in enumerate(conversation.turns))
            conversation = replace(conversation, turns=tuple(turns))
        if not conversation.trained:
            tally.drop("no trained turn left", f"{conversation.source} {conversation.id}")
            continue
        tally.keep()
        kept.append(conversation)
    return kept


def rank(seed: int, *names: str | int) -> bytes:
    """Return a sorting key for a random order in which a thing's place depends on the seed and its names only."""
    return hashlib.sha256(json.dumps([int(seed), *names]).encode()).digest()


def _check(kind: Kind, weight: float) -> None:
    if kind not in CAPABILITIES:
        raise FlanError("weights", found=f"{kind!r}", expected=f"among {', '.join(CAPABILITIES)}",
                        remedy="Weigh capabilities; general chat is set by its ratio in the mix.")  # fmt: skip
    if not isinstance(weight, Real) or not 0 <= weight <= 1:
        raise FlanError("weights", found=f"{kind} {weight!r}", expected="a share of turns between 0 and 1",
                        remedy="No turn is trained twice: divide all weights by the largest.")  # fmt: skip
