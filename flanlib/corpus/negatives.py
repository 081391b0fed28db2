"""Negative samples (section 4.3): plain replies where an agent is tempted to call a tool.

There are three types. ``no tools``: the user asks for what a tool would do, and no tool is offered (the paper's first
type). ``irrelevant``: tools are offered, and the user wants an ordinary conversation (its second; in Appendix C the
tools are added to half of the first type's queries). ``missing``, our own: similar tools are offered, but not the one
that the request needs. The loss is the ordinary one, on a plain reply of kind ``general``.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from flanlib.corpus.balance import rank
from flanlib.dialects import DIALECTS
from flanlib.dialects.common import offer
from flanlib.records import Conversation, FlanError, Tool, Trajectory, Turn, say
from flanlib.tally import Tally
from flanlib.text.wording import near

TYPES = NO_TOOLS, IRRELEVANT, MISSING = ("no tools", "irrelevant", "missing")
OFFERED = (3, 6)  # fewest and most tools that are drawn for one system turn


def negatives(counts: Mapping[str, int], *, requests: Iterable[Trajectory] = (), chats: Iterable[Conversation] = (),
              replies: Mapping[str, str] | None = None, tools: Sequence[Tool] = (), dialect: str, seed: int,
              tally: Tally) -> list[Conversation]:  # fmt: skip
    """Make negatives: ``counts`` gives the number of each of TYPES.

    ``no tools`` and ``missing`` negatives are made of ``requests`` and plain replies to them. ``replies`` maps request
    ids to the replies of a chat model that had no tools, as in Appendix C. Without one, a request is used only if it
    has an answer and no call, and the answer is the reply. A ``missing`` negative offers the tools of ``tools`` that
    are nearest in words and that the trajectory never calls, or the trajectory's own if it has no call. Requests
    without calls and tools are kept for ``no tools``. ``irrelevant`` negatives are made of ``chats`` and the nearest of
    ``tools``. ``dialect`` determines the system turn that lists the tools.

    The same seed gives the same rows, and a smaller count gives the first rows of a larger one. Unusable rows are
    counted, and so are negatives asked for but not there. Raises FlanError for an unknown type or a negative count.
    """
    if set(counts) - set(TYPES) or min(counts.values(), default=0) < 0:
        raise FlanError("negatives", found=f"counts {dict(counts)}", expected=f"0 or more of {', '.join(TYPES)}",
                        remedy="Correct the counts.")  # fmt: skip
    how, replies = DIALECTS[dialect].HOW, replies or {}
    bank = list({tool.name: tool for tool in tools}.values())
    unused: dict[str, Trajectory] = {}
    for request in sorted(requests, key=lambda request: rank(seed, "negatives", request.id)):
        if request.id in unused:
            tally.drop("a request whose id was met before", request.id)
        else:
            unused[request.id] = request
    rows: dict[str, list[Conversation]] = {kind: [] for kind in TYPES}
    for kind in (MISSING, NO_TOOLS):
        for request in list(unused.values()):
            if len(rows[kind]) == counts.get(kind, 0):
                break
            answered = not request.steps and request.id not in replies  # its own answer is the reply
            reply = request.answer or "" if answered else replies.get(request.id, "")
            bare = not request.steps and not request.tools
            # MISSING needs tools to offer. In NO_TOOLS an own answer would speak of tools that are no longer offered.
            if (kind == MISSING and bare) or (kind == NO_TOOLS and answered and not bare):
                continue
            del unused[request.id]
            offered = ()
            if kind == MISSING:
                offered = _uncalled(request, bank, seed) if request.steps else request.tools
            if not reply.strip():
                tally.drop("a request without a plain reply", request.id)
            elif kind == MISSING and not offered:
                tally.drop("no other tool to offer", request.id)
            else:
                rows[kind].append(_negative(request, kind, offered, how, reply))
    for chat in sorted(chats, key=lambda chat: rank(seed, "negatives", chat.id)):
        if len(rows[IRRELEVANT]) == counts.get(IRRELEVANT, 0):
            break
        if not bank:
            tally.drop("no tool to offer", chat.id)
        elif not chat.trained:
            tally.drop("nothing trained in a chat", chat.id)
        else:
            rows[IRRELEVANT].append(_irrelevant(chat, bank, how, seed))
    for kind, n in counts.items():
        if short := n - len(rows[kind]):
            tally.note(f"{kind} negatives asked for but not there", short)
    tally.keep(sum(map(len, rows.values())))
    return [row for kind in TYPES for row in rows[kind]]


def opening(query: str, instructions: str, tools: Sequence[Tool] = (), how: str = "") -> tuple[Turn, ...]:
    """Write a request as turns; instructions and tools, with ``how`` to call them, make a system turn before it."""
    system = [offer(tools, how if tools else "", instructions)] if tools or instructions else []
    return (*system, say("user", query))


def _negative(request: Trajectory, kind: str, offered: Sequence[Tool], how: str, reply: str) -> Conversation:
    answer = say("assistant", reply, "general", trained=True)
    turns = (*opening(request.query, request.instructions, offered, how), answer)
    return Conversation(f"{request.id} ({kind})", request.source, turns, tuple(offered))


def _irrelevant(chat: Conversation, bank: Sequence[Tool], how: str, seed: int) -> Conversation:
    """Offer tools in an ordinary conversation, after its own system text."""
    own, turns = (chat.turns[0].text, chat.turns[1:]) if chat.turns[0].role == "system" else ("", chat.turns)
    offered = _nearest(f"{own} {turns[0].text}", bank, seed, chat.id)
    return Conversation(f"{chat.id} ({IRRELEVANT})", chat.source, (offer(offered, how, own), *turns), tuple(offered))


def _uncalled(request: Trajectory, bank: Sequence[Tool], seed: int) -> list[Tool]:
    """Choose tools near a request that its trajectory does not call."""
    called = {step.tool for step in request.steps}
    by_name = {tool.name: tool for tool in (*bank, *request.tools)}
    others = [tool for tool in by_name.values() if tool.name not in called]
    called_texts = (f"{tool.name} {tool.description}" for tool in request.tools if tool.name in called)
    return _nearest(" ".join([request.query, *called_texts]), others, seed, request.id)


def _nearest(text: str, tools: Sequence[Tool], seed: int, id: str) -> list[Tool]:
    rng = np.random.default_rng([seed, *id.encode()])
    return near(text, tools, int(rng.integers(*OFFERED, endpoint=True)), rng=rng)
