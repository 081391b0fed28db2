"""Compose Agent-H (section 4.3): 1,845 samples from the lab's world or from glaive-function-calling-v2.

The paper says that its 1,845 samples come from glaive and have two levels; it does not print how many belong to which.
Ours: a third asks for a format, in eight formats; the others fill the four cells of tools offered x tool needed in
equal parts. The cell with tools but without a need has two varieties in equal parts: ordinary questions beside the
tools whose words come nearest, and requests for a tool that is not among those offered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from flanlib.benchmarks.agent_h.formats import FORMATS
from flanlib.benchmarks.agent_h.samples import ACTION, CALL, CELLS, FORMAT, PLAIN, Sample
from flanlib.lab import ordinary, tasks
from flanlib.negatives import OFFERED
from flanlib.records import Conversation, FlanError, Tool, Trajectory
from flanlib.tally import Tally
from flanlib.wording import near

SIZE, LEAST = 1845, 12
IRRELEVANT, MISSING = "near misses beside an ordinary question", "the right tool is missing"
_SHARES = {"format": 1 / 3, **dict.fromkeys(CELLS, 1 / 6)}


class Request(NamedTuple):
    """Something a user says, the record it comes from, and what could serve it."""

    query: str
    origin: str
    instructions: str = ""
    tools: tuple[Tool, ...] = ()
    wanted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pool:
    """What samples are made of: each request is used once.

    ``plain`` need no tool; ``served`` need one that is offered; ``unserved`` need one that is not offered.
    """

    source: str
    plain: Sequence[Request]
    served: Sequence[Request]
    unserved: Sequence[Request]


def lab_pool(n: int, *, seed: int) -> Pool:
    """Draw requests from the lab for n samples: held-out tools, names and ordinary requests only, no query twice.

    Its held-out ordinary requests are enough for 267 samples.
    """
    rng = np.random.default_rng([seed, *b"agent_h"])
    plain = (Request(one.text, one.id) for one in ordinary.requests("heldout"))
    return Pool("lab", _distinct(plain, n), _distinct(_tasks(rng, tasks.SHAPES), n),
                _distinct(_tasks(rng, (tasks.UNSERVED,)), n))  # fmt: skip


def pool(source: str, records: Iterable[Trajectory | Conversation], *, tally: Tally) -> Pool:
    """Sort records into requests: calls of an offered tool, tools without a call, and plain chat.

    A record with tools that are offered and not called counts as a request for a missing tool. Dropped and counted:
    empty queries, queries that were met before, and calls of tools that are not offered.
    """
    plain, served, unserved, seen = [], [], [], set()
    for record in records:
        asked = _asked(record) if isinstance(record, Trajectory) else _said(record)
        if not asked.query.strip() or asked.query in seen:
            tally.drop("a query met before" if asked.query.strip() else "an empty query", asked.origin)
            continue
        seen.add(asked.query)
        if isinstance(record, Trajectory) and record.steps:
            if not {t.name for t in asked.tools}.intersection(asked.wanted):
                tally.drop("a call of a tool that is not offered", asked.origin)
                continue
            served.append(asked)
        else:
            (unserved if asked.tools else plain).append(asked)
        tally.keep()
    return Pool(source, plain, served, unserved)


def build(of: Pool, n: int = SIZE, *, seed: int, tally: Tally) -> list[Sample]:
    """Compose n samples, or as many as the pool allows; the same seed gives the same samples.

    Where a pool is too small, all parts shrink alike, and the tally notes it, as it notes requests that are left over.
    Ids tell size and seed, and count on: ``agent-h-lab-240-0-0000`` is the first of 240 of seed 0.
    Raises FlanError for fewer than LEAST samples, asked for or allowed by the pool.
    """
    if n < LEAST:
        raise FlanError(f"Agent-H from {of.source}", found=f"{n} samples asked for", expected=f"{LEAST} or more",
                        remedy="Ask for more samples.")  # fmt: skip
    rng = np.random.default_rng([seed, *of.source.encode()])
    plain, served, unserved = (_shuffled(rows, rng) for rows in (of.plain, of.served, of.unserved))
    pooled = len(plain) + len(served) + len(unserved)
    fits = next((k for k in range(min(n, pooled), LEAST - 1, -1) if _enough(_sizes(k), of)), 0)
    if not fits:
        raise FlanError(f"Agent-H from {of.source}", found=f"{len(plain)} plain and {len(served)} served requests",
                        expected="at least 8 and 4", remedy="Give more rows.")  # fmt: skip
    if fits < n:
        tally.note(f"samples left out for want of requests, of {n}", n - fits)
    sizes = _sizes(fits)
    missing = min(len(unserved), sizes[CELLS[2]] // 2)
    if short := sizes[CELLS[2]] // 2 - missing:
        tally.note("requests for a missing tool replaced by ordinary questions", short)
    bank = list({tool.name: tool for one in (*of.served, *of.unserved) for tool in one.tools}.values())
    take = iter(plain)
    asked = list(FORMATS) * (sizes["format"] // len(FORMATS) + 1)
    made = [_format(next(take), name, rng) for name in asked[: sizes["format"]]]
    made += [_action(next(take), CELLS[0], PLAIN) for _ in range(sizes[CELLS[0]])]
    made += [_action(one._replace(tools=()), CELLS[1], PLAIN) for one in served[: sizes[CELLS[1]]]]
    made += [_action(_beside(next(take), bank, rng), CELLS[2], PLAIN, IRRELEVANT)
             for _ in range(sizes[CELLS[2]] - missing)]  # fmt: skip
    made += [_action(one, CELLS[2], PLAIN, MISSING) for one in unserved[:missing]]
    made += [_action(one, CELLS[3], CALL) for one in served[sizes[CELLS[1]] : sizes[CELLS[1]] + sizes[CELLS[3]]]]
    tally.keep(len(made))
    if pooled > fits:
        tally.note("requests left over", pooled - fits)
    return [Sample(f"agent-h-{of.source}-{len(made)}-{seed}-{i:04d}", of.source, **told) for i, told in enumerate(made)]


def _sizes(n: int) -> dict[str, int]:
    """Divide n among the format level and the cells, by largest remainders.

    >>> list(_sizes(1845).values())
    [615, 308, 308, 307, 307]
    """
    exact = {part: share * n for part, share in _SHARES.items()}
    sizes = {part: int(size + 1e-9) for part, size in exact.items()}
    for part in sorted(exact, key=lambda part: sizes[part] - exact[part])[: n - sum(sizes.values())]:
        sizes[part] += 1
    return sizes


def _enough(sizes: dict[str, int], of: Pool) -> bool:
    missing = min(len(of.unserved), sizes[CELLS[2]] // 2)
    return (sizes["format"] + sizes[CELLS[0]] + sizes[CELLS[2]] - missing <= len(of.plain)
            and sizes[CELLS[1]] + sizes[CELLS[3]] <= len(of.served))  # fmt: skip


def _format(one: Request, name: str, rng: np.random.Generator) -> dict:
    asks = FORMATS[name].asks
    query = f"{one.query}\n{asks[rng.integers(len(asks))]}"
    return {"level": FORMAT, "cell": name, "truth": name, "query": query, "instructions": one.instructions,
            "origin": one.origin}  # fmt: skip


def _action(one: Request, cell: str, truth: str, variety: str = "") -> dict:
    return {"level": ACTION, "cell": cell, "truth": truth, "variety": variety, **one._asdict()}


def _beside(one: Request, bank: Sequence[Tool], rng: np.random.Generator) -> Request:
    """Offer the tools whose words come nearest to an ordinary question."""
    n = int(rng.integers(OFFERED[0], OFFERED[1] + 1))
    return one._replace(tools=tuple(near(f"{one.instructions} {one.query}", bank, n, rng=rng)))


def _said(conversation: Conversation) -> Request:
    """Take the first thing a user says."""
    first, *rest = conversation.turns
    system = first.text if first.role == "system" else ""
    return Request((rest[0] if system else first).text, conversation.id, system, conversation.tools)


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


def _shuffled(requests: Sequence[Request], rng: np.random.Generator) -> list[Request]:
    return [requests[i] for i in rng.permutation(len(requests))]
