"""Compose Agent-H (section 4.3): 1,845 samples from the lab's world or from glaive-function-calling-v2.

A third asks for a format, in eight formats; the others fill the four cells of tools offered x tool needed in equal
parts. The cell with tools but without a need has two varieties in equal parts (IRRELEVANT, MISSING). All of this is
ours, as ``data/agent_h.md`` tells: the paper prints none of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice
from typing import NamedTuple

import numpy as np

from flanlib.benchmarks.agent_h.formats import FORMATS
from flanlib.benchmarks.agent_h.samples import ACTION, CALL, CELLS, FORMAT, PLAIN, Sample
from flanlib.corpus.negatives import OFFERED
from flanlib.lab import ordinary, tasks
from flanlib.records import Conversation, FlanError, Tool, Trajectory
from flanlib.tally import Tally
from flanlib.text.wording import near

SIZE, LEAST = 1845, 12
IRRELEVANT, MISSING = "near misses beside an ordinary question", "the right tool is missing"


class Request(NamedTuple):
    """Something a user says, the record it comes from, and what could serve it."""

    query: str
    origin: str
    instructions: str = ""
    tools: tuple[Tool, ...] = ()
    wanted: tuple[str, ...] = ()


class Pool(NamedTuple):
    """What samples are made of: each request is used once.

    ``plain`` need no tool; ``served`` need one that is offered; ``unserved`` need one that is not offered.
    """

    source: str
    plain: Sequence[Request]
    served: Sequence[Request]
    unserved: Sequence[Request]


def lab_pool(n: int, *, seed: int) -> Pool:
    """Draw requests from the lab for n samples: held-out tools, names and ordinary requests only, no query twice."""
    rng = np.random.default_rng([seed, *b"agent_h"])
    plain = (Request(one.text, one.id) for one in ordinary.requests("heldout"))
    return Pool("lab", _distinct(plain, n), _distinct(_tasks(rng, tasks.SHAPES), n),
                _distinct(_tasks(rng, (tasks.UNSERVED,)), n))  # fmt: skip


def pool(source: str, records: Iterable[Trajectory | Conversation], *, tally: Tally) -> Pool:
    """Sort records into requests: calls of an offered tool, tools without a call, and plain chat.

    A record with tools that are offered and not called counts as a request for a missing tool. Dropped and counted:
    empty queries, queries that were met before, and calls of tools that are not offered.
    """
    plain, served, unserved, seen = [], [], [], {""}
    for record in records:
        called = isinstance(record, Trajectory) and bool(record.steps)
        asked = _asked(record) if isinstance(record, Trajectory) else _said(record)
        query = asked.query if asked.query.strip() else ""
        if query in seen:
            tally.drop("a query met before" if query else "an empty query", asked.origin)
        elif called and not {tool.name for tool in asked.tools}.intersection(asked.wanted):
            tally.drop("a call of a tool that is not offered", asked.origin)
        else:
            tally.keep()
            (served if called else unserved if asked.tools else plain).append(asked)
        seen.add(query)
    return Pool(source, plain, served, unserved)


def build(of: Pool, n: int = SIZE, *, seed: int, tally: Tally) -> list[Sample]:
    """Compose n samples, or as many as the pool allows; the same seed gives the same samples.

    Where a pool is too small, all parts shrink alike, and the tally notes it, as it notes requests that are left over.
    Raises FlanError for fewer than LEAST samples, asked for or allowed by the pool.
    """
    where = f"Agent-H from {of.source}"
    if n < LEAST:
        raise FlanError(where, found=f"{n} samples asked for", expected=f"{LEAST} or more",
                        remedy="Ask for more samples.")  # fmt: skip
    rng = np.random.default_rng([seed, *of.source.encode()])
    plain, served, unserved = ([requests[i] for i in rng.permutation(len(requests))]
                               for requests in (of.plain, of.served, of.unserved))  # fmt: skip
    pooled = len(plain) + len(served) + len(unserved)
    for size in range(min(n, pooled), LEAST - 1, -1):
        formats, words, bare, irrelevant, missing, calls = _sizes(size, len(unserved))
        if formats + words + irrelevant <= len(plain) and bare + calls <= len(served):
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
    bank = list({tool.name: tool for one in (*of.served, *of.unserved) for tool in one.tools}.values())
    take = iter(plain)
    made = [_format(one, name, rng) for one, name in zip(islice(take, formats), cycle(FORMATS), strict=False)]
    made += [_action(one, CELLS[0]) for one in islice(take, words)]
    made += [_action(one._replace(tools=()), CELLS[1]) for one in served[:bare]]
    made += [_action(_beside(one, bank, rng), CELLS[2], IRRELEVANT) for one in islice(take, irrelevant)]
    made += [_action(one, CELLS[2], MISSING) for one in unserved[:missing]]
    made += [_action(one, CELLS[3]) for one in served[bare : bare + calls]]
    return [Sample(f"agent-h-{of.source}-{size}-{seed}-{i:04d}", of.source, **told) for i, told in enumerate(made)]


def _sizes(n: int, unserved: int) -> tuple[int, ...]:
    """Divide n among the format level and the cells, by largest remainders; the third cell's two varieties apart.

    >>> _sizes(1845, 200)
    (615, 308, 308, 154, 153, 307)
    """
    exact = [share * n for share in (1 / 3, *[1 / 6] * len(CELLS))]
    sizes = [int(size + 1e-9) for size in exact]
    for part in sorted(range(len(sizes)), key=lambda part: sizes[part] - exact[part])[: n - sum(sizes)]:
        sizes[part] += 1
    missing = min(unserved, sizes[3] // 2)
    return (*sizes[:3], sizes[3] - missing, missing, sizes[4])


def _format(one: Request, name: str, rng: np.random.Generator) -> dict:
    asks = FORMATS[name].asks
    asked = one._replace(query=f"{one.query}\n{asks[rng.integers(len(asks))]}")
    return {"level": FORMAT, "cell": name, "truth": name, **asked._asdict()}


def _action(one: Request, cell: str, variety: str = "") -> dict:
    truth = CALL if cell == CELLS[3] else PLAIN
    return {"level": ACTION, "cell": cell, "truth": truth, "variety": variety, **one._asdict()}


def _beside(one: Request, bank: Sequence[Tool], rng: np.random.Generator) -> Request:
    """Offer the tools whose words come nearest to an ordinary question."""
    n = int(rng.integers(*OFFERED, endpoint=True))
    return one._replace(tools=tuple(near(f"{one.instructions} {one.query}", bank, n, rng=rng)))


def _said(conversation: Conversation) -> Request:
    """Take the first thing a user says."""
    *system, asked = [turn.text for turn in conversation.turns[: 1 + (conversation.turns[0].role == "system")]]
    return Request(asked, conversation.id, "".join(system), conversation.tools)


def _asked(trajectory: Trajectory) -> Request:
    wanted = tuple(dict.fromkeys(step.tool for step in trajectory.steps))
    return Request(trajectory.query, trajectory.id, trajectory.instructions, trajectory.tools, wanted)


def _tasks(rng: np.random.Generator, shapes: Sequence[str]) -> Iterator[Request]:
    while True:
        for task in tasks.tasks(200, rng=rng, split="heldout", shapes=shapes):
            asked = _asked(task.trajectory)
            yield asked._replace(origin=f"{asked.origin} ({task.shape})", wanted=asked.wanted or (task.missing,))


def _distinct(requests: Iterable[Request], n: int) -> list[Request]:
    """Take n requests whose queries differ, and number those of one id."""
    found: dict[str, Request] = {}
    for one in requests:
        if len(found) >= n:
            break
        found.setdefault(one.query, one._replace(origin=f"{one.origin}/{len(found)}"))
    return list(found.values())
