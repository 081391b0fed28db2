"""Draw one tool call, run it, and word what it asks for and what it returned."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flanlib.lab import phrases
from flanlib.lab.tools import ORDER, LabTool
from flanlib.lab.words import Draw, join
from flanlib.lab.world import World
from flanlib.records import Step


@dataclass(frozen=True)
class Ask:
    """One call: what it asks for (``want``, shorter in ``brief``), its mood, and its result (``said`` in words)."""

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
        """Return this call as a step of a trajectory."""
        return Step(thought, self.tool.name, self.arguments, self.observation)


def quantity(value: Any, unit: str) -> str:
    """Write a value with its unit, which is singular if the value is 1.

    >>> quantity(1, "crowns"), quantity(1830, "")
    ('1 crown', '1830')
    """
    if value == 1 and not unit.startswith(("thousand", "million")):
        unit = {"feet": "foot", "inches": "inch"}.get(unit, unit.removesuffix("s"))
    return f"{value} {unit}".strip()


class Asker:
    """Draws, runs and words tool calls of one split in one world."""

    def __init__(self, world: World, split: str, draw: Draw) -> None:
        self.world, self.split, self.draw = world, split, draw

    def ask(self, tool: LabTool, subject: Any = None) -> Ask:
        """Draw arguments, run the tool and word the call. A ``subject`` is used as the entity or the amount."""
        return self._worded(tool, self._arguments(tool, subject))

    def described(self, call: Ask, description: str) -> Ask:
        """Word a call again, with a description in place of its entity or amount."""
        by_role = {role: call.arguments[key] for role, key in call.tool.slots.items() if key in call.arguments}
        return self._worded(call.tool, by_role, description)

    def _worded(self, tool: LabTool, by_role: Mapping[str, Any], description: str = "") -> Ask:
        domain = tool.domain
        arguments = {tool.slots[role]: value for role, value in by_role.items()}
        value, observation = self.world.run(tool.name, arguments)
        mood, wording = phrases.WANT[tool.verb]
        if (tool.verb, tool.attribute) == ("lookup", domain.person):
            mood = "who"
        slots = self._slots(tool, by_role)
        if description:  # without the noun: "the town the warmest town" repeats it
            slots |= {"entity": description, "the_noun": "", "amount": description}
            if tool.verb == "convert":
                wording = phrases.CONVERTED
        want = " ".join(self.draw.fill(wording, **slots).split())
        brief = f"{slots['do']} {slots['a_thing']} {slots['at']} {slots['entity']}" if mood == "do" else want
        if tool.verb in {"convert", "lookup", "total", "count"}:
            unit = {"convert": slots["other"], "count": domain.plural}.get(tool.verb, slots["measured"])
            said = quantity(value, unit)
        elif tool.verb == "check":
            said = "yes" if value else "no"
        else:
            said = join(value) if isinstance(value, list) else value
        return Ask(tool, arguments, want, brief, mood, slots, value, observation, said)

    def _slots(self, tool: LabTool, by_role: Mapping[str, Any]) -> dict[str, str]:
        """Return the words that phrases about a call may use."""
        domain, words = tool.domain, tool.words
        do, _, at, _, extra = domain.reserve
        measured = next((n.unit for n in domain.numbers if n.key == tool.attribute), "")
        has_noun = domain.noun in by_role.get("entity", "").casefold().split()  # "the lake Lake Toton" repeats it
        return {role: str(value) for role, value in by_role.items()} | words | {
            "a_words": words["a_key"], "the_noun": "" if has_noun else f"the {domain.noun}",
            "unit": words["unit_words"], "other": words["other_words"], "measured": measured,
            "doing": f"{do.removesuffix('e')}ing", "at": at, "entities": join(by_role.get("entities", ["x"])),
            "where": self.draw.fill("{within} [{group}|{group}|the {kind} {group}]", group=by_role.get("group", ""),
                                    kind=domain.group, within=domain.within),
            "extra": extra.format(by_role["extra"]) if "extra" in by_role else "",
            "limit": quantity(by_role.get("limit", ""), measured)}

    def _arguments(self, tool: LabTool, subject: Any) -> dict[str, Any]:
        """Draw arguments by role, chosen so that the tool has a result."""
        draw, domain, world, split = self.draw, tool.domain, self.world, self.split
        entities, rows = world.entities[domain.name, split], world.rows[domain.name]
        entity = subject if subject in rows else draw.one(entities)
        group = draw.one(world.groups[domain.name, split])
        members = world.members[domain.name][group]
        low, high = domain.numbers[0].low, domain.numbers[0].high
        draws: dict[str, Callable[[], Any]] = {  # called only for the tool's own roles
            "entity": lambda: entity, "group": lambda: group, "person": lambda: rows[entity][domain.person],
            "guest": lambda: draw.one(world.pooled["person", split]),
            "date": lambda: draw.one(world.pooled["date", split]),
            "order": lambda: draw.one(ORDER), "choice": lambda: rows[draw.one(members)][tool.attribute],
            "limit": lambda: sorted(rows[m][tool.attribute] for m in members)[-2] - draw.number(1, 2),
            "entities": lambda: draw.some(entities, draw.number(2, 3)),
            "amount": lambda: draw.number(low, high) + draw.one((0, 0, 0, 0.5)) if subject is None else subject,
            "extra": lambda: draw.number(2, 12) if domain.counts_extra else True}
        without_extra = tool.verb == "reserve" and not domain.counts_extra and draw.chance(0.5)
        return {role: draws[role]() for role in tool.slots if not (role == "extra" and without_extra)}
