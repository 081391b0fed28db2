"""Negative samples (section 4.3): plain replies where an agent is tempted to call a tool.

Three types. ``no tools``: the user asks for what a tool would do, and none is offered (the paper's first).
``irrelevant``: tools are offered, and the user wants an ordinary conversation (its second; in Appendix C the tools
are added to half of the first type's queries). ``missing``, which is ours: similar tools are offered, and the one
that the request needs is not among them. The loss is the ordinary one, on a plain reply; it is of kind ``general``.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from flanlib.corpus.balance import rank
from flanlib.dialects import DIALECTS
from flanlib.dialects.common import offer
from flanlib.records import Conversation, FlanError, Tool, Trajectory, say
from flanlib.tally import Tally
from flanlib.text.wording import near

TYPES = NO_TOOLS, IRRELEVANT, MISSING = ("no tools", "irrelevant", "missing")
OFFERED = (3, 6)  # irrelevant tools in a system turn, fewest and most


def negatives(counts: Mapping[str, int], *, requests: Iterable[Trajectory] = (), chats: Iterable[Conversation] = (),
              replies: Mapping[str, str] | None = None, tools: Sequence[Tool] = (), dialect: str, seed: int,
              tally: Tally) -> list[Conversation]:  # fmt: skip
    """Make negatives: ``counts`` says how many of each of TYPES.

    ``no tools`` and ``missing`` are made of ``requests`` and of plain replies to them. ``replies`` gives those by id
    (of a chat model that had no tools, as in Appendix C); a request without a reply there is used only if it holds
    no call but an answer, which then is the reply. Beside a ``missing`` one stand the tools of ``tools`` that are
    nearest in words and that the trajectory never calls, or the trajectory's own where it has no call. One without a
    call that offers no tool is kept for ``no tools``. ``irrelevant`` ones are made of ``chats``, beside the nearest of
    ``tools``. ``dialect`` gives the system turn that tools stand in.

    The same seed gives the same rows, and more of a type begin with the fewer. What cannot be used, and what is asked
    for and not there, is counted. Raises FlanError for an unknown type and for negative counts.
    """
    if set(counts) - set(TYPES) or min(counts.values(), default=0) < 0:
        raise FlanError("negatives", found=f"counts {dict(counts)}", expected=f"0 or more of {', '.join(TYPES)}",
                        remedy="Correct the counts.")  # fmt: skip
    how, bank, replies = DIALECTS[dialect].HOW, list({tool.name: tool for tool in tools}.values()), replies or {}
    left: dict[str, Trajectory] = {}
    for one in sorted(requests, key=lambda t: rank(seed, "negatives", t.id)):
        if one.id in left:
            tally.drop("a request whose id was met before", one.id)
        else:
            left[one.id] = one
    made: dict[str, list[Conversation]] = {kind: [] for kind in TYPES}
    for kind in (MISSING, NO_TOOLS):
        for one in list(left.values()):
            if len(made[kind]) == counts.get(kind, 0):
                break
            own = not one.steps and one.id not in replies
            reply = one.answer or "" if own else replies.get(one.id, "")
            bare = not one.steps and not one.tools
            # An answer in place of a call speaks of the tools that were offered.
            if bare if kind == MISSING else own and not bare:
                continue
            del left[one.id]
            offered = () if kind == NO_TOOLS else _lacking(one, bank, seed) if one.steps else one.tools
            if not reply.strip():
                tally.drop("a request without a plain reply", one.id)
            elif kind == MISSING and not offered:
                tally.drop("no other tool to offer", one.id)
            else:
                made[kind].append(_negative(one, kind, offered, how, reply))
    for chat in sorted(chats, key=lambda c: rank(seed, "negatives", c.id)):
        if len(made[IRRELEVANT]) == counts.get(IRRELEVANT, 0):
            break
        if not chat.trained or not bank:
            tally.drop("nothing trained in a chat" if bank else "no tool to offer", chat.id)
            continue
        made[IRRELEVANT].append(_beside(chat, bank, how, seed))
    for kind, n in counts.items():
        if short := n - len(made[kind]):
            tally.note(f"{kind} negatives asked for but not there", short)
    tally.keep(sum(map(len, made.values())))
    return [row for kind in TYPES for row in made[kind]]


def _negative(one: Trajectory, kind: str, offered: Sequence[Tool], how: str, reply: str) -> Conversation:
    own = one.instructions
    first = [offer(offered, how, own)] if offered else [say("system", own)] if own else []
    turns = (*first, say("user", one.query), say("assistant", reply, "general", trained=True))
    return Conversation(f"{one.id} ({kind})", one.source, turns, tuple(offered))


def _beside(chat: Conversation, bank: Sequence[Tool], how: str, seed: int) -> Conversation:
    """Offer tools in an ordinary conversation; its own system text comes first."""
    own, spoken = (chat.turns[0].text, chat.turns[1:]) if chat.turns[0].role == "system" else ("", chat.turns)
    offered = _near(f"{own} {spoken[0].text}", bank, seed, chat.id)
    return Conversation(f"{chat.id} ({IRRELEVANT})", chat.source, (offer(offered, how, own), *spoken), tuple(offered))


def _lacking(one: Trajectory, bank: Sequence[Tool], seed: int) -> list[Tool]:
    """Choose tools near a request that it does not call."""
    called = {step.tool for step in one.steps}
    others = [tool for tool in ({t.name: t for t in (*bank, *one.tools)}).values() if tool.name not in called]
    text = " ".join([one.query, *(f"{t.name} {t.description}" for t in one.tools if t.name in called)])
    return _near(text, others, seed, one.id)


def _near(text: str, tools: Sequence[Tool], seed: int, id: str) -> list[Tool]:
    rng = np.random.default_rng([seed, *id.encode()])
    return near(text, tools, int(rng.integers(OFFERED[0], OFFERED[1] + 1)), rng=rng)
