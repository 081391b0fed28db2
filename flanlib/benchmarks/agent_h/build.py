"""Compose Agent-H (section 4.3): 1,845 samples from the lab's world or from glaive-function-calling-v2.

A third of the samples ask for one of eight formats. The others fill four cells, tools offered or not and tool needed or
not, in equal parts. The cell with tools offered but none needed has two varieties in equal parts (IRRELEVANT, MISSING).
The paper gives only the total: all these shares are ours (``data/agent_h.md``).
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice
from typing import NamedTuple

import numpy as np

from flanlib.benchmarks.agent_h.formats import FORMATS
from flanlib.benchmarks.agent_h.samples import ACTION, CALL, CELLS, FORMAT, PLAIN, Sample
from flanlib.corpus.mix import apportion
from flanlib.corpus.negatives import OFFERED
from flanlib.lab import ordinary, tasks
from flanlib.records import Conversation, FlanError, Tool, Trajectory
from flanlib.tally import Tally
from flanlib.text.wording import near

SIZE, LEAST = 1845, 12
IRRELEVANT, MISSING = "near misses beside an ordinary question", "the right tool is missing"


class Request(NamedTuple):
    """A user's request, the record it comes from, the tools offered, and the tools ``wanted`` to do it."""

    query: str
    origin: str
    instructions: str = ""
    tools: tuple[Tool, ...] = ()
    wanted: tuple[str, ...] = ()


class Pool(NamedTuple):
    """Requests, each used once: ``plain`` need no tool, ``served`` an offered one, ``unserved`` one not offered."""

    source: str
    plain: Sequence[Request]
    served: Sequence[Request]
    unserved: Sequence[Request]


def lab_pool(n: int, *, seed: int) -> Pool:
    """Draw distinct requests from the lab for n samples: held-out tools, names and ordinary requests only."""
    rng = np.random.default_rng([seed, *b"agent_h"])
    plain = (Request(one.text, one.id) for one in ordinary.requests("heldout"))
    return Pool("lab", _distinct(plain, n), _distinct(_tasks(rng, tasks.SHAPES), n),
                _distinct(_tasks(rng, (tasks.UNSERVED,)), n))  # fmt: skip


def pool(source: str, records: Iterable[Trajectory | Conversation], *, tally: Tally) -> Pool:
    """Sort records into requests by the tools they offer and call.

    A record that calls an offered tool is served, one that offers tools and calls none is unserved, and one without
    tools is plain. Empty queries, repeated queries, and calls of tools that are not offered are dropped and counted.
    """
    plain, served, unserved, seen = [], [], [], {""}
    for record in records:
        called = isinstance(record, Trajectory) and bool(record.steps)
        request = _of_trajectory(record) if isinstance(record, Trajectory) else _of_chat(record)
        query = request.query if request.query.strip() else ""
        if query in seen:
            tally.drop("a query met before" if query else "an empty query", request.origin)
        elif called and not {tool.name for tool in request.tools}.intersection(request.wanted):
            tally.drop("a call of a tool that is not offered", request.origin)
        else:
            tally.keep()
            (served if called else unserved if request.tools else plain).append(request)
        seen.add(query)
    return Pool(source, plain, served, unserved)


def build(requests: Pool, n: int = SIZE, *, seed: int, tally: Tally) -> list[Sample]:
    """Compose n samples, or as many as the pool allows. The same seed gives the same samples.

    If the pool is too small, all parts shrink alike. The tally notes samples that are left out, and requests that are
    left over. Raises FlanError if fewer than LEAST samples are asked for or possible.
    """
    where = f"Agent-H from {requests.source}"
    if n < LEAST:
        raise FlanError(where, found=f"{n} samples asked for", expected=f"{LEAST} or more",
                        remedy="Ask for more samples.")  # fmt: skip
    rng = np.random.default_rng([seed, *requests.source.encode()])
    plain, served, unserved = ([kind[i] for i in rng.permutation(len(kind))]
                               for kind in (requests.plain, requests.served, requests.unserved))  # fmt: skip
    pooled = len(plain) + len(served) + len(unserved)
    for size in range(min(n, pooled), LEAST - 1, -1):
        formats, chat, no_tools, irrelevant, missing, calls = _sizes(size, len(unserved))
        if formats + chat + irrelevant <= len(plain) and no_tools + calls <= len(served):
            break
    else:
        raise FlanError(where, found=f"{len(plain)} plain and {len(served)} served requests",
                        expected="at least 8 and 4", remedy="Give more rows.")  # fmt: skip
    tally.keep(size)
    for what, count in ((f"samples left out for want of requests, of {n}", n - size),
                        ("requests for a missing tool replaced by ordinary questions", (irrelevant - missing) // 2),
                        ("requests left over", pooled - size)):  # fmt: skip
        if count:
            tally.note(what, count)
    bank = list({tool.name: tool for one in (*requests.served, *requests.unserved) for tool in one.tools}.values())
    unused = iter(plain)
    fields = [_format(one, name, rng) for one, name in zip(islice(unused, formats), cycle(FORMATS), strict=False)]
    fields += [_action(one, CELLS[0]) for one in islice(unused, chat)]
    fields += [_action(one._replace(tools=()), CELLS[1]) for one in served[:no_tools]]
    fields += [_action(_with_near_misses(one, bank, rng), CELLS[2], IRRELEVANT) for one in islice(unused, irrelevant)]
    fields += [_action(one, CELLS[2], MISSING) for one in unserved[:missing]]
    fields += [_action(one, CELLS[3]) for one in served[no_tools : no_tools + calls]]
    return [Sample(f"agent-h-{requests.source}-{size}-{seed}-{i:04d}", requests.source, **of_sample)
            for i, of_sample in enumerate(fields)]  # fmt: skip


def _sizes(n: int, unserved: int) -> tuple[int, ...]:
    """Divide n among the format level and the four cells, as in a corpus; the third cell gives two numbers.

    >>> _sizes(1845, 200)
    (615, 308, 308, 154, 153, 307)
    """
    formats, chat, no_tools, none_needed, calls = apportion(n, {FORMAT: 2, **dict.fromkeys(CELLS, 1)}).values()
    missing = min(unserved, none_needed // 2)
    return formats, chat, no_tools, none_needed - missing, missing, calls


def _format(one: Request, name: str, rng: np.random.Generator) -> dict:
    asks = FORMATS[name].asks
    request = one._replace(query=f"{one.query}\n{asks[rng.integers(len(asks))]}")
    return {"level": FORMAT, "cell": name, "truth": name, **request._asdict()}


def _action(one: Request, cell: str, variety: str = "") -> dict:
    truth = CALL if cell == CELLS[3] else PLAIN
    return {"level": ACTION, "cell": cell, "truth": truth, "variety": variety, **one._asdict()}


def _with_near_misses(one: Request, bank: Sequence[Tool], rng: np.random.Generator) -> Request:
    """Offer the tools whose words are nearest to those of an ordinary question."""
    n = int(rng.integers(*OFFERED, endpoint=True))
    return one._replace(tools=tuple(near(f"{one.instructions} {one.query}", bank, n, rng=rng)))


def _of_chat(conversation: Conversation) -> Request:
    """Take a conversation's system turn, if it has one, and its first user turn."""
    *system, query = [turn.text for turn in conversation.turns[: 1 + (conversation.turns[0].role == "system")]]
    return Request(query, conversation.id, "".join(system), conversation.tools)


def _of_trajectory(trajectory: Trajectory) -> Request:
    wanted = tuple(dict.fromkeys(step.tool for step in trajectory.steps))
    return Request(trajectory.query, trajectory.id, trajectory.instructions, trajectory.tools, wanted)


def _tasks(rng: np.random.Generator, shapes: Sequence[str]) -> Iterator[Request]:
    """Yield requests of held-out tasks without end."""
    while True:
        for task in tasks.tasks(200, rng=rng, split="heldout", shapes=shapes):
            request = _of_trajectory(task.trajectory)
            yield request._replace(origin=f"{request.origin} ({task.shape})", wanted=request.wanted or (task.missing,))


def _distinct(requests: Iterable[Request], n: int) -> list[Request]:
    """Take the first n requests with distinct queries. A number after each origin keeps origins distinct too."""
    by_query: dict[str, Request] = {}
    for one in requests:
        if len(by_query) >= n:
            break
        by_query.setdefault(one.query, one._replace(origin=f"{one.origin}/{len(by_query)}"))
    return list(by_query.values())
