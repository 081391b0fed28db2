"""Make the lab's tools: eighteen per domain, each with a name, a description, typed parameters and code that runs."""

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flanlib.lab.domains import Domain, Number
from flanlib.lab.words import Draw, an
from flanlib.records import Tool, to_json

# By verb: wordings of the name and of the description, parameter roles, forms of the observation. In a form, "=" is the
# result and "@" the first argument.
VERBS: dict[str, tuple[str, str, str, str]] = {
    "lookup": ("get_{noun}_{key} lookup_{noun}_{key} {noun}_{key} {key}_of_{noun} find_{key}_of_{noun} "
               "check_{noun}_{key}",
               "[Get|Look up|Return|Show] the {words} of {a_noun}. / The {words} of one {noun}.", "entity",
               "{key}:= result:= {noun}:@,{key}:= value:="),
    "check": ("check_{noun}_{key} {noun}_{key}_check is_{key}_known ask_{noun}_{key}",
              "[Tell|Check] whether {a_noun} {yes}. / True if the {noun} {yes}.", "entity", "{key}:= answer:= ="),
    "list": ("list_{plural}_by_{group} find_{plural}_by_{group} {group}_{plural} get_{plural}_of_{group}",
             "[List|Find|Show|Get] all {plural} {within} one {group}.", "group", "= {plural}:= ="),
    "count": ("count_{plural} number_of_{plural} how_many_{plural} {noun}_count",
              "[Count the|Number of] {plural} {within} {a_group}. / Return how many {plural} there are {within} "
              "{a_group}.", "group", "count:= {plural}:= {group}:@,count:="),
    "extreme": ("find_{best}_{noun} get_{best}_{noun} {best}_{noun} lookup_{best}_{noun}",
                "[Find|Get|Name] the {best} {noun} {within} {a_group}.", "group",
                "{noun}:= result:= {group}:@,{noun}:="),
    "rank": ("rank_{plural}_by_{key} top_{noun}_by_{key} {key}_ranking",
             "[Find|Get] the {noun} of highest or lowest {words} {within} {a_group}.", "group order",
             "{noun}:= name:="),
    "above": ("filter_{plural}_by_{key} {plural}_with_more_{key} search_{plural}_above_{key}",
              "[List|Find] {plural} {within} {a_group} with {words} above a limit.", "group limit", "= {plural}:="),
    "match": ("search_{plural}_by_{key} {plural}_with_{key} pick_{plural}_by_{key}",
              "[List|Find|Get] {plural} {within} {a_group} by their {words}.", "group choice", "= {plural}:="),
    "find": ("find_{noun}_by_{key} {noun}_from_{key} lookup_{noun}_by_{key} {noun}_of_{key}",
             "[Find|Look up|Get] the {noun} of {a_key}.", "person", "{noun}:= name:= {key}:@,{noun}:="),
    "link": ("get_{key} find_{key} {key}_of_{noun} lookup_{key}", "[Find|Get|Show] the {words} of {a_noun}.",
             "entity", "{key}:= {noun}:= result:="),
    "total": ("sum_{noun}_{key} total_{key} add_{plural}_{key} {key}_sum",
              "[Add up|Sum|Total] the {words} of several {plural}.", "entities", "total:= sum:= {key}:="),
    "convert": ("convert_{unit}_to_{other} {unit}_to_{other} {unit}_in_{other} change_{unit}_to_{other}",
                "[Convert|Change] {unit_words} to {other_words}. / Turn {unit_words} into {other_words}.",
                "amount", "{other}:= result:= ="),
    "reserve": ("{do}_{thing} make_{thing}_order {thing}_request new_{thing}_order",
                "{Do} {a_thing}; returns a code. / {Do} {a_thing} and get a reference.",
                "entity guest date extra", "code:= reference:= status:ok,code:="),
}

# By role: wordings of the parameter name. A name that another role of the tool already has is skipped.
_SLOTS = {"entity": "{noun} {noun} {noun}_name name", "group": "{group} {group} {group}_name", "order": "order",
          "limit": "limit minimum", "choice": "{key}", "person": "{key} {key}_name", "entities": "{plural}",
          "amount": "amount value {unit}", "guest": "guest customer", "date": "date day", "extra": "{extra}"}
ORDER = ("highest", "lowest")


@dataclass(frozen=True, eq=False)  # compared and hashed by identity
class LabTool:
    """A tool and its implementation.

    ``verb`` is the operation, ``attribute`` what it works on, ``slots`` the parameter names by role (entity, group,
    person, ...), ``choices`` the values to choose from, by parameter name, ``words`` the words for phrases about it.
    ``run`` takes checked arguments by role and returns a JSON value. ``form`` is the layout of the observation.
    """

    tool: Tool
    domain: Domain
    verb: str
    attribute: str
    slots: Mapping[str, str]
    choices: Mapping[str, tuple[str, ...]]
    words: Mapping[str, str]
    run: Callable[..., Any]
    form: str

    @property
    def name(self) -> str:
        """The tool's name."""
        return self.tool.name

    def show(self, value: Any, arguments: Mapping[str, Any]) -> str:
        """Write a result as the tool's observation: one line of JSON."""
        if self.form == "=":
            return to_json(value)
        symbols = {"=": value, "@": next(iter(arguments.values()))}
        parts = (part.split(":") for part in self.form.split(","))
        return to_json({key: symbols.get(text, text) for key, text in parts})


def build(domain: Domain, rows: Mapping[str, Any], members: Mapping[str, Any], draw: Draw,
          taken: Iterable[str]) -> list[LabTool]:
    """Make the tools of one domain over its tables: ``rows`` of attributes by entity, ``members`` by group.

    No tool name is part of another one, ``taken`` names included, so a text search finds exactly the name meant.
    """
    names, tools = list(taken), []
    for verb, key, best in _operations(domain):
        name_wordings, descriptions, roles, forms = VERBS[verb]
        words = _words(domain, key, best)
        options = [option.format(**words) for option in draw.shuffled(name_wordings.split())]
        name = next(n for n in options if not any(n in other or other in n for other in names))
        slots: dict[str, str] = {}
        for role in roles.split():
            options = [option.format(**words) for option in draw.shuffled(_SLOTS[role].split())]
            slots[role] = next(option for option in options if option not in slots.values())
        properties = {slots[role]: _schema(role, domain) for role in slots}
        required = [slots[role] for role in slots if role != "extra" or domain.counts_extra]
        parameters = {"properties": properties, "required": required}
        tool = Tool(name, draw.fill(descriptions.split(" / "), **words), parameters)
        names.append(name)
        code = _code(domain, verb, key, best, rows, members, name)
        form = draw.one(forms.split()).format(**words)
        tools.append(LabTool(tool, domain, verb, key, slots, _choices(slots, domain), words, code, form))
    return tools


def _operations(domain: Domain) -> list[tuple[str, str, str]]:
    """List verb, attribute and superlative of each tool of a domain."""
    first, second, third = domain.numbers
    text, total = domain.text[0], next(n.key for n in domain.numbers if n.additive)
    return [*(("lookup", key, "") for key in (first.key, second.key, third.key, text, domain.person)),
            ("check", domain.flag[0], ""), ("list", "", ""), ("count", "", ""), ("extreme", first.key, first.most),
            ("extreme", second.key, second.least), ("rank", third.key, ""), ("above", second.key, ""),
            ("match", text, ""), ("find", domain.person, ""), ("link", domain.link, ""), ("total", total, ""),
            ("convert", first.key, ""), ("reserve", domain.reserve[1], "")]


def _words(domain: Domain, key: str, best: str) -> dict[str, str]:
    def spaced(name: str) -> str:
        return name.replace("_", " ")

    unit, other, _, _ = domain.convert
    do, thing, _, extra, _ = domain.reserve
    return {"noun": domain.noun, "plural": domain.plural, "group": domain.group, "within": domain.within, "key": key,
            "words": spaced(key), "a_noun": an(domain.noun), "a_group": an(domain.group),
            "a_key": an(spaced(key) or "x"), "best": best, "yes": domain.flag[1], "unit": unit, "other": other,
            "unit_words": spaced(unit), "other_words": spaced(other), "do": do, "Do": do.capitalize(), "thing": thing,
            "a_thing": an(spaced(thing)), "extra": extra}


def _schema(role: str, domain: Domain) -> dict[str, Any]:
    """Return a parameter's schema: its type alone. A request names every value that its calls need."""
    types = {"limit": "integer", "amount": "number", "extra": "integer" if domain.counts_extra else "boolean",
             "entities": "array"}  # fmt: skip
    return {"type": types.get(role, "string")}


def _choices(slots: Mapping[str, str], domain: Domain) -> dict[str, tuple[str, ...]]:
    return {slots[role]: tuple(values) for role, values in (("order", ORDER), ("choice", domain.text[1]))
            if role in slots}  # fmt: skip


def _code(domain: Domain, verb: str, key: str, best: str, rows: Mapping[str, Any], members: Mapping[str, Any],
          name: str) -> Callable[..., Any]:
    """Return the implementation, which takes checked arguments by role and returns a JSON value."""
    def pick(group: str, most: bool) -> str:
        return (max if most else min)(members[group], key=lambda n: rows[n][key])

    def reserve(**arguments: Any) -> str:
        checksum = zlib.crc32(to_json([name, arguments]).encode())  # no state: equal bookings get equal codes
        return f"{chr(65 + checksum % 26)}{chr(65 + checksum // 26 % 26)}-{checksum // 676 % 9000 + 1000}"

    def convert(amount: float) -> float:
        result = round(amount * factor + offset, 2)
        return int(result) if result == int(result) else result

    owner = {row[domain.person]: n for n, row in rows.items()}
    _, _, factor, offset = domain.convert
    return {
        **dict.fromkeys(("lookup", "check", "link"), lambda entity: rows[entity][key]),
        "list": lambda group: list(members[group]),
        "count": lambda group: len(members[group]),
        "extreme": lambda group: pick(group, best == number(domain, key).most),
        "rank": lambda group, order: pick(group, order == "highest"),
        "above": lambda group, limit: [n for n in members[group] if rows[n][key] > limit],
        "match": lambda group, choice: [n for n in members[group] if rows[n][key] == choice],
        "find": lambda person: owner[person],
        "total": lambda entities: sum(rows[n][key] for n in entities),
        "convert": convert,
        "reserve": reserve,
    }[verb]


def number(domain: Domain, key: str) -> Number:
    """Return the number of a domain with a given key. Raises StopIteration if there is none."""
    return next(n for n in domain.numbers if n.key == key)
