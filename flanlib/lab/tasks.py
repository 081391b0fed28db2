"""Solved tasks in the lab's world: trajectories of one to three calls whose observations come from running the tools.

On demand there are also requests that no offered tool serves. They have no call, and an answer that says so.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from flanlib.lab import phrases
from flanlib.lab.asking import Ask, Asker, quantity
from flanlib.lab.distractors import offer, offer_without
from flanlib.lab.domains import DOMAINS
from flanlib.lab.tools import VERBS, LabTool, number
from flanlib.lab.words import Draw, join, upper_first
from flanlib.lab.world import SPLITS, world
from flanlib.records import FlanError, Step, Trajectory

SHAPES = (*["single"] * 9, *["chain"] * 6, *["compare"] * 2, "difference", *["total"] * 2)
# Made only on demand: a request that no offered tool serves, and one without any tool.
UNSERVED, BARE = "unserved", "bare"
OFFERED = (3, 6)  # least and most offered tools of a task
WORDS = (8, 25)  # least and most words of a thought
_Parts = tuple[str, list[Step], str, str, tuple[str, ...]]  # query, steps, closing thought, answer, expected texts


@dataclass(frozen=True)
class Task:
    """A solved task: its ``shape``, its trajectory, and ``expected``, the texts of a right answer, ignoring case.

    ``missing`` names the tool that an unserved or bare request would need; its ``expected`` is empty.
    """

    shape: str
    trajectory: Trajectory
    expected: tuple[str, ...]
    missing: str = ""


def trajectories(n: int, *, rng: np.random.Generator, split: str = "train",
                 shapes: Sequence[str] = SHAPES) -> list[Trajectory]:
    """Make n solved tasks, with tools, arguments and names of one split only.

    Each shape is drawn from ``shapes`` with equal odds, where repeats count. ``("unserved",)`` makes only requests that
    no offered tool serves, ``("bare",)`` only requests without any tool. Every call numbers its ids from
    ``lab-train-000000``. Raises FlanError for an unknown split or shape.
    """
    return [task.trajectory for task in tasks(n, rng=rng, split=split, shapes=shapes)]


def tasks(n: int, *, rng: np.random.Generator, split: str = "train", shapes: Sequence[str] = SHAPES) -> list[Task]:
    """Make n tasks as :func:`trajectories` does, with their shapes and the texts of right answers."""
    if split not in SPLITS:
        raise FlanError("lab tasks", found=f"the split {split!r}", expected=" or ".join(SPLITS),
                        remedy="Pass one of them as split.")
    known = (*dict.fromkeys(SHAPES), UNSERVED, BARE)
    if isinstance(shapes, str) or not shapes or not set(shapes) <= set(known):
        raise FlanError("lab tasks", found=f"the shapes {shapes!r}", expected=f"some of {', '.join(known)}",
                        remedy="Pass a tuple of them as shapes.")
    maker = _Maker(split, Draw(int(rng.integers(2**63)), split))
    return [maker.task(f"lab-{split}-{i:06d}", maker.draw.one(shapes)) for i in range(n)]


def statistics(by: str = "domain") -> pd.DataFrame:
    """Return counts of the world, one row per ``domain``, ``operation`` or ``shape`` of task.

    Domains: counts of tools, entities and groups, in all and held out. Operations: counts of tools, and the types of
    their parameters. Shapes: the calls of a task, its default share of twenty tasks, and the number of tool choices it
    is drawn from. Raises FlanError for another ``by``.
    """
    tables = {"domain": _by_domain, "operation": _by_operation, "shape": _by_shape}
    if by not in tables:
        raise FlanError("lab statistics", found=f"by {by!r}", expected=" or ".join(tables), remedy="Pass one of them.")
    return pd.DataFrame(list(tables[by]()))


def _by_domain() -> Iterator[dict[str, Any]]:
    lab = world()
    for domain in DOMAINS:
        yield {"domain": domain.name, "noun": domain.noun,
               **_tool_counts([tool for tool in lab.tools.values() if tool.domain is domain]),
               "entities": len(lab.rows[domain.name]), "heldout_entities": len(lab.entities[domain.name, "heldout"]),
               "groups": len(lab.members[domain.name]), "heldout_groups": len(lab.groups[domain.name, "heldout"])}


def _by_operation() -> Iterator[dict[str, Any]]:
    for verb in VERBS:
        tools = [tool for tool in world().tools.values() if tool.verb == verb]
        types = dict.fromkeys(schema["type"] for tool in tools for schema in tool.tool.properties.values())
        yield {"operation": verb, **_tool_counts(tools), "parameters": ", ".join(types)}


def _by_shape() -> Iterator[dict[str, Any]]:
    shapes = {"single": ("1", ["single"]), "chain": ("2 to 3", ["pair", "convert", "triple"]),
              "compare": ("2 to 3", ["compare"]), "difference": ("2", ["difference"]), "total": ("2 to 3", ["total"]),
              UNSERVED: ("0", ["single"]), BARE: ("0", ["single"])}  # fmt: skip
    for shape, (calls, plans) in shapes.items():
        train, heldout = (sum(len(_plans(split)[plan]) for plan in plans) for split in SPLITS)
        yield {"shape": shape, "calls": calls, "of_twenty": SHAPES.count(shape), "choices": train + heldout,
               "heldout_choices": heldout}


def _tool_counts(tools: Sequence[LabTool]) -> dict[str, int]:
    return {"tools": len(tools), "heldout_tools": sum(world().split(tool.name) == "heldout" for tool in tools)}


@cache
def _plans(split: str) -> dict[str, list[tuple[LabTool, ...]]]:
    """List the tools, or sequences of tools, that tasks of one split can call, by kind of plan."""
    tools = [tool for name, tool in world().tools.items() if world().split(name) == split]
    lookups = [t for t in tools if t.verb == "lookup" and t.attribute in {n.key for n in t.domain.numbers}]
    return_entity = [t for t in tools if t.verb in {"extreme", "rank", "find", "link"}]
    take_entity = [t for t in tools if t.verb in {"lookup", "check", "link", "reserve"}]
    converts = [(a, b) for a in lookups for b in tools
                if b.verb == "convert" and (a.domain, a.attribute) == (b.domain, b.attribute)]
    pairs = [(a, b) for a in return_entity for b in take_entity if a.domain is b.domain and a.attribute != b.attribute]
    to_link = [(a, b) for a, b in pairs if b.verb == "link" and a.verb != "link"]
    triples = [(a, b, d) for a, b in pairs for c, d in converts if b is c]
    triples += [(a, b, d) for a, b in to_link for c, d in pairs if b is c and d.attribute != a.attribute]
    return {"single": [(t,) for t in tools], "pair": pairs, "convert": converts, "triple": triples,
            "compare": [(t,) for t in lookups], "difference": [(t,) for t in lookups],
            "total": [(t,) for t in lookups if number(t.domain, t.attribute).additive]}


class _Maker:
    """Makes tasks of one split."""

    def __init__(self, split: str, draw: Draw) -> None:
        self.world, self.split, self.draw, self.fill, self.plans = world(), split, draw, draw.fill, _plans(split)
        self.tools = [tool for (tool,) in self.plans["single"]]
        self.asker = Asker(self.world, split, draw)

    def task(self, id: str, shape: str) -> Task:
        """Make one task: run its calls, word it, and add distractor tools."""
        if shape in (UNSERVED, BARE):
            return self._unserved(id, shape)
        make = {"single": self._single, "chain": self._chain}.get(shape, partial(self._several, shape))
        query, steps, closing, answer, expected = make()
        right = list(dict.fromkeys(self.world.tools[step.tool] for step in steps))
        least = max(OFFERED[0], len(right) + 1)
        most = OFFERED[1] + 1 - len(steps)  # fewer tools for longer trajectories, to keep texts short
        size = self.draw.number(least, max(least, most))
        tools = tuple(tool.tool for tool in offer(right, self.tools, size, self.draw))
        return Task(shape, Trajectory(id, "lab", query, tools, tuple(steps), answer, closing), expected)

    def _unserved(self, id: str, shape: str) -> Task:
        """Make a request for one call, offer only tools that cannot serve it (none if BARE), and decline."""
        bare, tool = shape == BARE, self.draw.one(self.tools)
        ask = self.asker.ask(tool)
        offered = [] if bare else offer_without(tool, self.tools, self.draw.number(*OFFERED), self.draw)
        slots = {**ask.slots, "want": ask.brief}  # nothing here holds the call's result
        long = len(ask.brief.split()) > WORDS[1] // 2
        want = self.fill(phrases.SHORT.get(tool.verb, "{want}") if long else "{want}", **slots)

        def write(*parts: Sequence[str]) -> list[str]:
            slots["missing"] = self.fill(phrases.MISSING[tool.verb], **slots)
            slots["cannot"] = self.fill(phrases.CANNOT[ask.mood], **slots)
            return [self.fill(part, **slots) for part in parts]

        thought = "" if bare else self._thought(lambda: self.fill(phrases.WISH[ask.mood], want=want)
                                                + "".join(write(phrases.LACK, phrases.STOP)))
        parts = (phrases.ALONE,) if bare else (phrases.SORRY, phrases.REFUSAL, phrases.REST)
        answer = " ".join(upper_first(sentence) for sentence in write(*parts) if sentence)
        query = self._query(ask.mood, ask.want)
        trajectory = Trajectory(id, "lab", query, tuple(other.tool for other in offered), (), answer, thought)
        return Task(shape, trajectory, (), tool.name)

    def _single(self) -> _Parts:
        ask = self.asker.ask(self.draw.one(self.tools))
        thought = self._thought(lambda: self.fill(phrases.WISH[ask.mood], want=ask.brief)
                                + self.fill(phrases.PLAN[ask.mood]) + ".")
        return self._query(ask.mood, ask.want), [ask.step(thought)], *self._reply(ask, ask)

    def _chain(self) -> _Parts:
        """Make calls that each use the result before."""
        tools = self.draw.one(self.plans[self.draw.one(("pair", "pair", "convert", "triple"))])
        asks: list[Ask] = []
        for tool in tools:
            asks.append(self.asker.ask(tool, asks[-1].value if asks else None))
        whole = asks[0]
        for ask in asks[1:]:  # the request describes each intermediate result, since only the calls reveal it
            whole = self.asker.described(ask, whole.want)
        words = whole.slots["words"]
        goal = {"whether": f"the answer about the {words}", "do": "the booking"}.get(whole.mood, f"the {words}")
        if whole.tool.verb == "convert":
            goal = f"the value in {whole.slots['other']}"
        steps = [asks[0].step(self._thought(lambda: self.fill(phrases.FIRST, goal=goal, want=asks[0].want)))]
        for last, ask in pairwise(asks):
            slots = {"fact": last.said, "want": ask.brief, "want_up": upper_first(ask.brief)}
            steps.append(ask.step(self._thought(lambda a=ask, s=slots: self.fill(phrases.NEXT[a.mood], **s))))
        return self._query(whole.mood, whole.want), steps, *self._reply(asks[-1], whole)

    def _several(self, shape: str) -> _Parts:
        """Make calls of one tool about two or three entities, and compare, subtract or add their values."""
        (tool,) = self.draw.one(self.plans[shape])
        measure, rows = number(tool.domain, tool.attribute), self.world.rows[tool.domain.name]
        size = 2 if shape == "difference" or self.draw.chance(0.5) else 3
        name_of: dict[int, str] = {}  # one entity per value, so that no two are equal
        for name in self.draw.shuffled(self.world.entities[tool.domain.name, self.split]):
            name_of.setdefault(rows[name][measure.key], name)
        values = {name: value for value, name in list(name_of.items())[:size]}
        names = list(values)
        asks = [self.asker.ask(tool, name) for name in names]
        high = self.draw.chance(0.5)
        order = sorted(names, key=values.__getitem__, reverse=high)
        more = ("highest" if high else "lowest") if size == 3 else ("higher" if high else "lower")
        result = {"difference": abs(values[names[0]] - values[names[1]]), "total": sum(values.values()),
                  "compare": order[0]}[shape]
        mood, wordings = phrases.SEVERAL[shape]
        wordings = [w for w in wordings if size == 3 or "{best}" not in w]  # a superlative needs three
        slots = {"noun": tool.domain.noun, "plural": tool.domain.plural, "size": ("two", "three")[size - 2],
                 "more": more, "words": tool.words["words"], "listed": join(names, "or"), "together": join(names),
                 "best": measure.most if high else measure.least, "one": names[0], "two": names[1]}
        query = self._query(mood, self.fill(wordings, **slots))
        purpose = self.draw.one(phrases.PURPOSE[shape])
        steps = [asks[0].step(self._thought(lambda: self.fill(phrases.START, aim=purpose, entity=names[0], **slots)))]
        for last, ask in pairwise(asks):
            step_slots = {**slots, "aim": purpose, "last": last.slots["entity"], "value": last.said,
                          "value_up": last.said, "entity": ask.slots["entity"]}
            steps.append(ask.step(self._thought(lambda s=step_slots: self.fill(phrases.GO_ON, **s))))
        said = result if shape == "compare" else quantity(result, measure.unit)
        all_values = join(f"{ask.slots['entity']} has {ask.said}" for ask in asks)
        closing = self._closing("several", said)
        slots |= {"winner": order[0], "said": said, "values": all_values, "values_up": all_values,
                  "best": str(values[order[0]]), "rest": join(str(values[name]) for name in order[1:])}
        return query, steps, closing, self._answer("which" if shape == "compare" else shape, slots), (str(result),)

    def _query(self, mood: str, want: str) -> str:
        """Write a query: greeting, reason, request and closing line, or the reason after the request."""
        ask = self.draw.one(phrases.ASK)
        request = self.fill(phrases.REQUEST[mood], want=want, Want=upper_first(want), ask=ask, Ask=upper_first(ask))
        opener, reason, closer = (self.fill(part) for part in (phrases.OPENERS, phrases.REASONS, phrases.CLOSERS))
        parts = [opener, reason, request, closer] if self.draw.chance(0.55) else [opener, request, reason, closer]
        return " ".join(upper_first(part.strip()) for part in parts if part)

    def _thought(self, write: Callable[[], str]) -> str:
        """Write a thought, and try again up to 60 times while it is too short or too long."""
        for _ in range(60):
            text = upper_first(write())
            if WORDS[0] <= len(text.split()) <= WORDS[1]:
                break
        return text

    def _closing(self, mood: str, said: str) -> str:
        slots = {"said": said, "said_up": upper_first(said)}
        return self._thought(lambda: self.fill(phrases.KNOWN[mood], **slots) + self.fill(phrases.CLOSING))

    def _reply(self, last: Ask, whole: Ask) -> tuple[str, str, tuple[str, ...]]:
        """Return closing thought, answer and expected texts from the last call's result."""
        said, slots = last.said, dict(last.slots)
        if last.mood == "whether":
            yes, no = last.tool.domain.flag[1:]
            fact = f"{last.slots['entity']} {yes if last.value else no}"
            slots |= {"yes_no": upper_first(said), "yes_no_low": said, "fact": fact}
            closing, expected = self._closing(last.mood, fact), (fact,)
        else:
            closing = self._closing(last.mood, said)
            expected = tuple(last.value) if isinstance(last.value, list) else (str(last.value),)
        want = last.want if self.draw.chance(0.7) else whole.want
        slots |= {"want": want, "want_up": upper_first(want), "said": said, "said_up": upper_first(said)}
        return closing, self._answer(last.mood, slots), expected

    def _answer(self, mood: str, slots: Mapping[str, Any]) -> str:
        return f"{self.fill(phrases.COURTESY)} {upper_first(self.fill(phrases.ANSWER[mood], **slots))}".strip()
