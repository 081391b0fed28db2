"""A synthetic world of several hundred small tools that run on tables made from a seed.

Each domain of :mod:`flanlib.lab.domains` becomes one table and eighteen tools. Held out are the tools of some whole
domains, a sixth of the tools of every other domain, and a quarter of the groups of every table with their entities.
"""

import math
from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

from flanlib.lab.domains import DOMAINS, Domain
from flanlib.lab.names import Names
from flanlib.lab.tools import LabTool, build
from flanlib.lab.words import MONTHS, Draw, Split
from flanlib.records import FlanError, clip, to_json

SPLITS: tuple[Split, ...] = get_args(Split)
GROUPS = {"train": 12, "heldout": 4}  # per table, of 3 to 5 entities each
POOLED = {"person": {"train": 160, "heldout": 48}, "date": {"train": 120, "heldout": 40}}
HELD_OUT_DOMAINS = ("trains", "hotels", "beekeeping", "lighthouses")
HELD_OUT_TOOLS = 3  # of the eighteen tools of every other domain

_LONGEST, _MOST, _LARGEST = 60, 6, 1_000_000  # characters of a text, entries of a list, size of a number
_DATES = frozenset(f"{month} {day}" for month in MONTHS for day in range(1, 32))


class _Refused(Exception):  # noqa: N818 (a normal result of a tool call, not an error of the kit)
    """A call with bad arguments. Its observation is the error text."""


def _refuse_if(condition: bool, error: str) -> None:
    if condition:
        raise _Refused(error)


class World:
    """Tables, tools and their split. Get one from :func:`world`.

    ``rows[domain][name]`` maps attributes to values (``group`` included), ``members[domain][group]`` lists the names of
    a group. ``groups[domain, split]``, ``entities[domain, split]`` and ``pooled["person" or "date", split]`` list the
    values that tasks of one split can use.
    """

    def __init__(self, seed: int) -> None:
        draw, names = Draw(seed, "train"), Names(seed)
        self.pooled = {(kind, split): tuple(names.make(kind, split) for _ in range(sizes[split]))
                       for kind, sizes in POOLED.items() for split in SPLITS}
        self.rows: dict[str, dict[str, dict[str, Any]]] = {}
        self.members: dict[str, dict[str, tuple[str, ...]]] = {}
        self.groups: dict[tuple[str, str], tuple[str, ...]] = {}
        self.entities: dict[tuple[str, str], tuple[str, ...]] = {}
        self._known: dict[tuple[str, str], dict[str, str]] = {}
        self.tools: dict[str, LabTool] = {}
        self._heldout: set[str] = set()
        for domain in DOMAINS:
            self._fill(domain, draw, names)
            tools = build(domain, self.rows[domain.name], self.members[domain.name], draw, self.tools)
            self.tools |= {tool.name: tool for tool in tools}
            heldout = tools if domain.name in HELD_OUT_DOMAINS else draw.some(tools, HELD_OUT_TOOLS)
            self._heldout |= {tool.name for tool in heldout}

    def split(self, name: str) -> str:
        """Return ``train`` or ``heldout`` for a tool's name. Raises FlanError for a name not in the world."""
        if name not in self.tools:
            raise FlanError("lab world", found=f"the tool {clip(name)}", expected="a tool of the world",
                            remedy="Use a name of world().tools.")
        return "heldout" if name in self._heldout else "train"

    def run(self, name: str, arguments: Mapping[str, Any]) -> tuple[Any, str]:
        """Run a tool and return its result (None on error) and its observation, one line of JSON under 120 characters.

        It accepts whatever a model writes. An unknown tool and an unknown, missing, wrong or oversized argument give an
        object with the key ``error``. Nothing raises or changes state, and no error repeats the caller's text.

        >>> world().run("no_such_tool", {})
        (None, '{"error": "no such tool"}')
        """
        if not isinstance(name, str) or name not in self.tools:
            return None, to_json({"error": "no such tool"})
        tool = self.tools[name]
        try:
            by_role = self._checked(tool, arguments)
        except _Refused as refused:
            return None, to_json({"error": str(refused)})
        value = tool.run(**by_role)
        return value, tool.show(value, by_role)

    def _checked(self, tool: LabTool, arguments: Any) -> dict[str, Any]:
        """Return the arguments by role, each of the right type, in bounds and known to the tables."""
        properties = tool.tool.properties
        _refuse_if(not isinstance(arguments, Mapping), "the arguments must have names")
        _refuse_if(not set(arguments) <= set(properties), f"unknown argument, expected {', '.join(properties)}")
        for key in tool.tool.required:
            _refuse_if(key not in arguments, f"{key} is missing")
        return {role: self._value(tool, role, key, properties[key]["type"], arguments[key])
                for role, key in tool.slots.items() if key in arguments}

    def _value(self, tool: LabTool, role: str, key: str, kind: str, value: Any) -> Any:
        # No error repeats the value, which can be huge, deeply nested or not printable.
        if kind == "boolean":
            _refuse_if(not isinstance(value, bool), f"{key} must be true or false")
            return value
        if kind in {"integer", "number"}:
            whole = kind == "integer"
            _refuse_if(isinstance(value, bool) or not isinstance(value, int if whole else (int, float)),
                       f"{key} must be a {'whole ' if whole else ''}number")  # fmt: skip
            least, most = (1, 99) if role == "extra" else (-_LARGEST, _LARGEST)
            _refuse_if(not least <= value <= most or not math.isfinite(value), f"{key} must be from {least} to {most}")
            return value
        if kind == "array":
            _refuse_if(not isinstance(value, (list, tuple)) or not 1 <= len(value) <= _MOST,
                       f"{key} must be a list of 1 to {_MOST} names")  # fmt: skip
            return [self._text(tool, "entity", key, item) for item in value]
        return self._text(tool, role, key, value)

    def _text(self, tool: LabTool, role: str, key: str, value: Any) -> str:
        _refuse_if(not isinstance(value, str), f"{key} must be text")
        value = value.strip() if len(value) <= _LONGEST else ""
        _refuse_if(not value.isprintable() or not value, f"{key} must be 1 to {_LONGEST} plain characters")
        if choices := tool.choices.get(key):
            _refuse_if(value not in choices, f"{key} must be one of {', '.join(choices)}")
        _refuse_if(role == "date" and value not in _DATES, f"{key} must be a date such as May 12")
        if role in {"entity", "group", "person"}:
            known = self._known[tool.domain.name, role]
            _refuse_if(value.casefold() not in known, f"{key} is not known")
            return known[value.casefold()]
        return value

    def _fill(self, domain: Domain, draw: Draw, names: Names) -> None:
        """Make one domain's table: groups of entities with attributes. No two of a group share a number."""
        rows, members = self.rows.setdefault(domain.name, {}), self.members.setdefault(domain.name, {})
        text_key, options = domain.text
        for split in SPLITS:
            people = iter(draw.shuffled(self.pooled["person", split]))
            groups = self.groups[domain.name, split] = tuple(names.make("place", split) for _ in range(GROUPS[split]))
            for group in groups:
                members[group] = tuple(names.make(domain.names, split) for _ in range(draw.number(3, 5)))
                columns = {n.key: draw.some(range(n.low, n.high + 1), len(members[group])) for n in domain.numbers}
                for i, name in enumerate(members[group]):
                    numbers = {key: column[i] for key, column in columns.items()}
                    rows[name] = {"group": group, **numbers, text_key: draw.one(options),
                                  domain.flag[0]: draw.chance(0.5), domain.person: next(people)}
            entities = self.entities[domain.name, split] = tuple(name for group in groups for name in members[group])
            for i, (name, other) in enumerate(zip(entities, draw.shuffled(entities), strict=True)):
                rows[name][domain.link] = other if other != name else entities[i - 1]  # never a link to itself
        tables = {"entity": rows, "group": members, "person": [row[domain.person] for row in rows.values()]}
        for role, names_of_role in tables.items():
            self._known[domain.name, role] = {name.casefold(): name for name in names_of_role}


@cache
def world(seed: int = 0) -> World:
    """Return the world of a seed. It is made once, since it never changes."""
    return World(seed)
