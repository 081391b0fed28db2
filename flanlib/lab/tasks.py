"""Tasks in the lab's world, solved: trajectories of one to three calls whose observations really happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from flanlib.lab import phrases
from flanlib.lab.domains import DOMAINS
from flanlib.lab.tools import ORDER, LabTool, number
from flanlib.lab.words import Draw, an, join, upper_first
from flanlib.lab.world import SPLITS, World
from flanlib.lab.world import world as make_world
from flanlib.records import FlanError, Step, Trajectory

SHAPES = (*["single"] * 9, *["chain"] * 6, *["compare"] * 2, "difference", *["total"] * 2)  # drawn evenly
OFFERED = (3, 6)  # tools in a task, fewest and most
WORDS = (8, 25)  # of a thought, fewest and most


@dataclass(frozen=True)
class Task:
    """A solved task: its ``shape``, its trajectory, and ``expected``, what a right answer holds, case aside."""

    shape: str
    trajectory: Trajectory
    expected: tuple[str, ...]


@dataclass(frozen=True)
class _Ask:
    """One call and its words: what it wants (shorter in ``brief``), in which mood, and what came out."""

    tool: LabTool
    arguments: Mapping[str, Any]
    want: str
    brief: str
    mood: str
    slots: Mapping[str, str]
    value: Any
    observation: str
    said: str

    def step(self, thought: str) -> Step:
        return Step(thought, self.tool.name, self.arguments, self.observation)


def trajectories(n: int, *, rng: np.random.Generator, split: str = "train",
                 world: World | None = None) -> list[Trajectory]:
    """Make n solved tasks of one split: tools, arguments and names of that split only.

    Ids count within the call: ``lab-train-000000`` is the first. Raises FlanError for an unknown split.
    """
    return [task.trajectory for task in tasks(n, rng=rng, split=split, world=world)]


def tasks(n: int, *, rng: np.random.Generator, split: str = "train", world: World | None = None) -> list[Task]:
    """Make n tasks as :func:`trajectories` does, with their shapes and what right answers hold."""
    if split not in SPLITS:
        raise FlanError("lab tasks", found=f"the split {split!r}", expected=" or ".join(SPLITS),
                        remedy="Pass one of them as split.")
    maker = _Maker(world or make_world(), split, Draw(int(rng.integers(2**63)), split))
    return [maker.task(f"lab-{split}-{i:06d}") for i in range(n)]


def statistics(world: World | None = None) -> pd.DataFrame:
    """Return what the world holds, a row per domain: counts of tools, entities and groups, and of those held out."""
    of = world or make_world()
    rows = []
    for domain in DOMAINS:
        names = [name for name, tool in of.tools.items() if tool.domain is domain]
        rows.append({"domain": domain.name, "noun": domain.noun, "tools": len(names),
                     "heldout_tools": sum(of.split(name) == "heldout" for name in names),
                     "entities": len(of.rows[domain.name]),
                     "heldout_entities": len(of.entities[domain.name, "heldout"]),
                     "groups": len(of.members[domain.name]),
                     "heldout_groups": len(of.groups[domain.name, "heldout"])})
    return pd.DataFrame(rows)


@cache
def _plans(world: World, split: str) -> dict[str, list[tuple[LabTool, ...]]]:
    """List the tools that each shape of task can be made of, all of one split."""
    tools = [tool for name, tool in world.tools.items() if world.split(name) == split]
    lookups = [t for t in tools if t.verb == "lookup" and t.attribute in {n.key for n in t.domain.numbers}]
    sources = [t for t in tools if t.verb in {"extreme", "rank", "find", "link"}]
    uses = [t for t in tools if t.verb in {"lookup", "check", "link", "reserve"}]
    converts = [(a, b) for a in lookups for b in tools
                if b.verb == "convert" and (a.domain, a.attribute) == (b.domain, b.attribute)]
    pairs = [(a, b) for a in sources for b in uses if a.domain is b.domain and a.attribute != b.attribute]
    hops = [(a, b) for a, b in pairs if b.verb == "link" and a.verb != "link"]
    return {"single": [(t,) for t in tools], "pair": pairs, "convert": converts,
            "triple": [(a, b, c) for a, b in pairs for x, c in converts if b is x]
            + [(a, b, d) for a, b in hops for c, d in pairs if b is c and d.attribute != a.attribute],
            "compare": [(t,) for t in lookups], "difference": [(t,) for t in lookups],
            "total": [(t,) for t in lookups if number(t.domain, t.attribute).additive]}


# In what a tool that is not needed comes near one that is: things, operation or parameters; drawn evenly.
_NEAR: tuple[Callable[[LabTool, LabTool], bool], ...] = (
    *[lambda a, b: a.domain is b.domain] * 4, *[lambda a, b: a.verb == b.verb] * 4,
    lambda a, b: not set(a.slots.values()).isdisjoint(b.slots.values()), lambda a, b: True)


def _quantity(value: Any, unit: str) -> str:
    """Say a value with its unit, in the singular where it is one."""
    return f"{value} {unit[:-1] if value == 1 and unit.endswith('s') else unit}".strip()


class _Maker:
    """Makes tasks of one split in one world."""

    def __init__(self, world: World, split: str, draw: Draw) -> None:
        self.world, self.split, self.draw, self.plans = world, split, draw, _plans(world, split)
        self.tools = [tool for name, tool in world.tools.items() if world.split(name) == split]

    def task(self, id: str) -> Task:
        """Make one task: draw a shape, run its calls, put it into words, add tools that are not needed."""
        shape = self.draw.one(SHAPES)
        make: Callable[[str], tuple] = {"single": self._single, "chain": self._chain}.get(shape, self._several)
        query, steps, closing, answer, expected = make(shape)
        right = list(dict.fromkeys(self.world.tools[step.tool] for step in steps))
        tools = tuple(tool.tool for tool in self._offer(right, len(steps)))
        return Task(shape, Trajectory(id, "lab", query, tools, tuple(steps), answer, closing), expected)

    # one call

    def _single(self, shape: str) -> tuple:
        (tool,) = self.draw.one(self.plans["single"])
        ask = self._ask(tool)
        thought = self._thought(lambda: self._fill(phrases.AIM[ask.mood], want=ask.brief)
                                + self._fill(phrases.PLAN[ask.mood]) + ".")
        return self._query(ask.mood, ask.want), [ask.step(thought)], *self._reply(ask, ask)

    # calls that each need the one before

    def _chain(self, shape: str) -> tuple:
        kind = self.draw.one(("pair", "pair", "convert", "triple"))
        tools = self.draw.one(self.plans[kind])
        asks: list[_Ask] = []
        for tool in tools:
            asks.append(self._ask(tool, asks[-1].value if asks else None))
        whole = asks[0]
        for ask in asks[1:]:  # the same words with the thing described instead of named
            whole = self._ask(ask.tool, described=whole.want, like=ask)
        goal = {"whether": f"the answer about the {whole.slots['words']}", "do": "the booking"}.get(
            whole.mood, f"the value in {whole.slots['other']}" if whole.tool.verb == "convert"
            else f"the {whole.slots['words']}")
        steps = [asks[0].step(self._thought(lambda: self._fill(phrases.FIRST, goal=goal, want=asks[0].want)))]
        for last, ask in pairwise(asks):
            slots = {"fact": last.said, "want": ask.brief, "want_up": upper_first(ask.brief)}
            steps.append(ask.step(self._thought(lambda a=ask, s=slots: self._fill(phrases.NEXT[a.mood], **s))))
        return self._query(whole.mood, whole.want), steps, *self._reply(asks[-1], whole)

    # several calls of one tool

    def _several(self, shape: str) -> tuple:
        (tool,) = self.draw.one(self.plans[shape])
        measure, rows = number(tool.domain, tool.attribute), self.world.rows[tool.domain.name]
        key, words = measure.key, measure.key.replace("_", " ")
        size = 2 if shape == "difference" or self.draw.chance(0.5) else 3
        names: list[str] = []
        for name in self.draw.shuffled(self.world.entities[tool.domain.name, self.split]):
            if all(rows[name][key] != rows[other][key] for other in names):
                names.append(name)
            if len(names) == size:
                break
        asks = [self._ask(tool, name) for name in names]
        values = {name: rows[name][key] for name in names}
        high = self.draw.chance(0.5)
        order = sorted(names, key=values.__getitem__, reverse=high)
        more = ("highest" if high else "lowest") if size == 3 else ("higher" if high else "lower")
        result = {"difference": abs(values[names[0]] - values[names[1]]), "total": sum(values.values()),
                  "compare": order[0]}[shape]
        mood, wordings = phrases.SEVERAL[shape]
        slots = {"noun": tool.domain.noun, "more": more, "words": words, "listed": join(names, "or"),
                 "best": measure.most if high else measure.least, "together": join(names),
                 "one": names[0], "two": names[1]}
        query = self._query(mood, self._fill(wordings, **slots))
        aim = self.draw.one(phrases.AIMS[shape])
        steps = [asks[0].step(self._thought(lambda: self._fill(phrases.START, aim=aim, entity=names[0], **slots)))]
        for last, ask in pairwise(asks):
            seen = {"last": last.slots["entity"], "value": last.said, "entity": ask.slots["entity"]}
            steps.append(ask.step(self._thought(lambda s=seen: self._fill(phrases.GO_ON, aim=aim, **s, **slots))))
        said = result if shape == "compare" else _quantity(result, measure.unit)
        told = join(f"{ask.slots['entity']} has {ask.said}" for ask in asks)
        closing = self._closing(said)
        slots |= {"winner": order[0], "said": said, "values": told, "values_up": told, "best": str(values[order[0]]),
                  "rest": join(str(values[name]) for name in order[1:])}
        answer = self._answer("which" if shape == "compare" else shape, slots)
        return query, steps, closing, answer, (str(result),)

    # words

    def _ask(self, tool: LabTool, given: Any = None, *, described: str = "", like: _Ask | None = None) -> _Ask:
        """Draw arguments (all but ``given``) and run the tool; or tell ``like`` again with its entity described."""
        domain = tool.domain
        asked = ({role: like.arguments[key] for role, key in tool.slots.items() if key in like.arguments} if like
                 else self._arguments(tool, given))
        arguments = {tool.slots[role]: value for role, value in asked.items()}
        value, observation = self.world.run(tool.name, arguments)
        mood, wording = phrases.WANT[tool.verb]
        unit, other, _, _ = domain.convert
        do, thing, at, _, extra = domain.reserve
        measure = next((n for n in domain.numbers if n.key == tool.attribute), None)
        words = tool.attribute.replace("_", " ")
        slots = {k: str(v) for k, v in asked.items()} | {
            "words": words, "noun": domain.noun, "plural": domain.plural, "best": tool.best,
            "the_noun": f"the {domain.noun}", "yes": domain.flag[1], "unit": unit.replace("_", " "), "do": do,
            "other": other.replace("_", " "), "a_thing": an(thing.replace("_", " ")), "at": at,
            "a_words": an(words or "x"), "entities": join(asked.get("entities", ["x"])),
            "where": self._fill("{within} [{group}|{group}|the {kind} {group}]", group=asked.get("group", ""),
                                kind=domain.group, within=domain.within),
            "extra": extra.format(asked["extra"]) if "extra" in asked else ""}
        slots["limit"] = _quantity(asked.get("limit", ""), measure.unit if measure else "")
        if described:  # "of the town the warmest town" would say it twice
            slots |= {"entity": described, "the_noun": "", "amount": described}
            wording = wording.replace("|of {the_noun}]", "]")
            if tool.verb == "convert":
                wording = "{amount} [in {other}|told in {other}|turned into {other}]"
        want = " ".join(self._fill(wording, **slots).split())
        if tool.verb in {"convert", "lookup", "total", "count"}:
            unit = {"convert": slots["other"], "count": domain.plural}.get(tool.verb, measure.unit if measure else "")
            said = _quantity(value, unit)
        else:
            said = ("no", "yes")[value] if tool.verb == "check" else join(value) if isinstance(value, list) else value
        brief = f"{do} {slots['a_thing']} {at} {slots['entity']}" if tool.verb == "reserve" else want
        return _Ask(tool, arguments, want, brief, mood, slots, value, observation, said)

    def _arguments(self, tool: LabTool, given: Any) -> dict[str, Any]:
        """Draw arguments by role, so that the tool finds something."""
        draw, domain, world, split = self.draw, tool.domain, self.world, self.split
        entities, rows = world.entities[domain.name, split], world.rows[domain.name]
        entity = given if given in rows else draw.one(entities)
        group = draw.one(world.groups[domain.name, split])
        members = world.members[domain.name][group]
        low, high = domain.numbers[0].low, domain.numbers[0].high
        drawn: dict[str, Callable[[], Any]] = {
            "entity": lambda: entity, "group": lambda: group, "person": lambda: rows[entity][domain.person],
            "guest": lambda: draw.one(world.pooled["person", split]),
            "date": lambda: draw.one(world.pooled["date", split]),
            "order": lambda: draw.one(ORDER), "choice": lambda: rows[draw.one(members)][tool.attribute],
            "limit": lambda: sorted(rows[m][tool.attribute] for m in members)[-2] - draw.number(1, 2),
            "entities": lambda: draw.some(entities, draw.number(2, 3)),
            "amount": lambda: given if given is not None else draw.number(low, high) + draw.one((0, 0, 0, 0.5)),
            "extra": lambda: draw.number(2, 12) if "{" in domain.reserve[4] else True}
        optional = tool.verb == "reserve" and "{" not in domain.reserve[4] and draw.chance(0.5)
        return {role: drawn[role]() for role in tool.slots if not (role == "extra" and optional)}

    def _query(self, mood: str, want: str) -> str:
        """Put a request between a greeting, a reason and a closing line, in one of several orders."""
        ask = self.draw.one(phrases.ASK)
        request = self._fill(phrases.REQUEST[mood], want=want, Want=upper_first(want), ask=ask, Ask=upper_first(ask))
        opener, reason, closer = (self._fill(part) for part in (phrases.OPENERS, phrases.REASONS, phrases.CLOSERS))
        parts = [opener, reason, request, closer] if self.draw.chance(0.55) else [opener, request, reason, closer]
        return " ".join(upper_first(part.strip()) for part in parts if part)

    def _thought(self, write: Callable[[], str]) -> str:
        """Write a thought, again while it is too short or too long."""
        for _ in range(60):
            text = upper_first(write())
            if WORDS[0] <= len(text.split()) <= WORDS[1]:
                break
        return text

    def _closing(self, said: str) -> str:
        return self._thought(lambda: self._fill(phrases.CLOSING, said=said, said_up=upper_first(said)))

    def _reply(self, last: _Ask, whole: _Ask) -> tuple[str, str, tuple[str, ...]]:
        """Return closing thought, answer and expected texts for what the last call gave."""
        said, slots = last.said, dict(last.slots)
        if last.mood == "whether":
            yes, no = last.tool.domain.flag[1:]
            fact = f"{last.slots['entity']} {yes if last.value else no}"
            slots |= {"yes_no": upper_first(said), "yes_no_low": said, "fact": fact}
            closing, expected = self._closing(f"that {fact}"), (fact,)
        else:
            closing = self._closing(said)
            expected = tuple(last.value) if isinstance(last.value, list) else (str(last.value),)
        want = last.want if self.draw.chance(0.7) else whole.want
        slots |= {"want": want, "want_up": upper_first(want), "said": said, "said_up": upper_first(said)}
        return closing, self._answer(last.mood, slots), expected

    def _answer(self, mood: str, slots: Mapping[str, Any]) -> str:
        return f"{self._fill(phrases.COURTESY)} {upper_first(self._fill(phrases.ANSWER[mood], **slots))}".strip()

    def _fill(self, wordings: str | Sequence[str], **slots: Any) -> str:
        return self.draw.fill(wordings, **slots)

    # tools that are offered and not needed

    def _offer(self, right: list[LabTool], steps: int) -> list[LabTool]:
        """Add near misses to the right tools: same things, same operation or same parameters; shuffled."""
        draw, offered = self.draw, list(right)
        least = max(OFFERED[0], len(right) + 1)
        size = draw.number(least, max(least, OFFERED[1] + 1 - steps))  # fewer beside a long story, to keep texts short
        while len(offered) < size:
            near, one = draw.one(_NEAR), draw.one(right)
            others = [tool for tool in self.tools if near(tool, one) and tool not in offered
                      and not any(_serves(tool, other) for other in right)]
            offered += [draw.one(others)] if others else []
        return draw.shuffled(offered)


def _serves(other: LabTool, tool: LabTool) -> bool:
    """Tell whether another tool could do the work of one that is right, in a longer or shorter way."""
    pair = {other.verb, tool.verb}
    sums = pair == {"lookup", "total"} and other.attribute == tool.attribute
    return other.domain is tool.domain and (sums or pair == {"list", "count"})
