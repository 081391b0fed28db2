"""Put one call of a tool into words: what it wants, with which arguments, and what came out."""

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
        """Make the step of this call."""
        return Step(thought, self.tool.name, self.arguments, self.observation)


def quantity(value: Any, unit: str) -> str:
    """Say a value with its unit, in the singular where it is one.

    >>> quantity(1, "crowns"), quantity(1830, "")
    ('1 crown', '1830')
    """
    if value == 1 and not unit.startswith(("thousand", "million")):
        unit = {"feet": "foot", "inches": "inch"}.get(unit, unit.removesuffix("s"))
    return f"{value} {unit}".strip()


class Asker:
    """Draws and words calls of one split in one world."""

    def __init__(self, world: World, split: str, draw: Draw) -> None:
        self.world, self.split, self.draw = world, split, draw

    def ask(self, tool: LabTool, given: Any = None, *, described: str = "", like: Ask | None = None) -> Ask:
        """Draw arguments (all but ``given``) and run the tool; or tell ``like`` again with its entity described."""
        domain = tool.domain
        asked = ({role: like.arguments[key] for role, key in tool.slots.items() if key in like.arguments} if like
                 else self._arguments(tool, given))
        arguments = {tool.slots[role]: value for role, value in asked.items()}
        value, observation = self.world.run(tool.name, arguments)
        mood, wording = phrases.WANT[tool.verb]
        if (tool.verb, tool.attribute) == ("lookup", domain.person):
            mood = "who"
        slots = self._slots(tool, asked)
        if described:  # "of the town the warmest town" would say it twice
            slots |= {"entity": described, "the_noun": "", "amount": described}
            if tool.verb == "convert":
                wording = phrases.CONVERTED
        want = " ".join(self.draw.fill(wording, **slots).split())
        if tool.verb in {"convert", "lookup", "total", "count"}:
            unit = {"convert": slots["other"], "count": domain.plural}.get(tool.verb, slots["measured"])
            said = quantity(value, unit)
        else:
            said = ("no", "yes")[value] if tool.verb == "check" else join(value) if isinstance(value, list) else value
        brief = f"{slots['do']} {slots['a_thing']} {slots['at']} {slots['entity']}" if mood == "do" else want
        return Ask(tool, arguments, want, brief, mood, slots, value, observation, said)

    def _slots(self, tool: LabTool, asked: Mapping[str, Any]) -> dict[str, str]:
        """Return the words that phrases about a call may use."""
        domain, words = tool.domain, tool.words
        do, _, at, _, extra = domain.reserve
        measured = next((n.unit for n in domain.numbers if n.key == tool.attribute), "")
        named = domain.noun in asked.get("entity", "").casefold().split()  # "the lake Lake Toton" would say it twice
        return {k: str(v) for k, v in asked.items()} | words | {
            "a_words": words["a_key"], "the_noun": "" if named else f"the {domain.noun}", "unit": words["unit_words"],
            "other": words["other_words"], "measured": measured, "doing": f"{do.removesuffix('e')}ing", "at": at,
            "entities": join(asked.get("entities", ["x"])),
            "where": self.draw.fill("{within} [{group}|{group}|the {kind} {group}]", group=asked.get("group", ""),
                                    kind=domain.group, within=domain.within),
            "extra": extra.format(asked["extra"]) if "extra" in asked else "",
            "limit": quantity(asked.get("limit", ""), measured)}

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
