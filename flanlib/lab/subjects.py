"""Made-up subjects: kinds of things, what can be known about them or done with them, and offers to do so.

For :mod:`flanlib.lab.delegating`. A subject is drawn anew for every conversation, down to the words for its properties,
so that which offer is meant can only be read from the list.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

from flanlib.lab.offers import UNITS, some_property
from flanlib.lab.words import DAYS, MONTHS, Draw, an, plural, pool, reserve, upper_first

# Which words a subject is told in: half of them made up; ordinary ones in new combinations; many ordinary ones, of
# which two subjects may share some; even more of them, and all that is thought and told in more wordings.
Words = Literal["made up", "plain", "many", "every"]
WIDE = ("many", "every")


class Deed(NamedTuple):
    """Something that can be done: how a list tells it, how somebody wants it, what it takes, and what comes back.

    ``words`` go into its name. ``takes`` is ``label=slot`` by semicolons, ``?`` before a slot that may be empty.
    """

    words: str
    does: str
    want: str
    takes: str
    gives: str = "quantity"


# {n} a kind of thing, {x} one of them by name, {a} a property, {g} what such things belong to and {group} one of these.
_GET = "[get|look up|find|give|show|tell you|report|fetch|return|read out|see|learn] the"
_A = "[a|one|any|a given|some] {n}"
_X = "[{x}|{x}|the {n} {x}]"
_PLACE = "{within} {a_g}"
_THERE = "{within} [{group}|{group}|the {g} {group}]"
_E = "{e}=x"
_G = "{l}=group"
VALUES = (
    Deed("{n} {k}", f"{_GET} {{k}} of {_A}", f"the {{k}} of {_X}", _E),
    Deed("{n} {role}", f"{_GET} {{role}} of {_A}", f"the {{role}} of {_X}", _E, "person"),
    Deed("{n} {flag}", f"[check|say|find out|tell you|see] [whether|if] {_A} {{flagged}}", f"whether {_X} {{flagged}}",
         _E, "truth"),
    Deed("{link} {n}", f"{_GET} {{link}} {{n}} of {_A}", f"the {{link}} {{n}} of {_X}", _E, "thing"),
    Deed("{n} {text}", f"{_GET} {{text}} of {_A}", f"the {{text}} of {_X}", _E, "choice"),
)  # fmt: skip
FINDS = (
    Deed("{n} {role}", f"{_GET} {{n}} of [a|one|the given] {{role}}",
         "the {n} [of|that belongs to|with] [{person}|the {role} {person}]", "{role}=person", "thing"),
    Deed("{n} {role}", f"{_GET} {{n}} [whose {{role}} is|that has as {{role}}] [a person|somebody]",
         "the {n} [whose {role} is|that has as {role}] {person}", "[{role}|person|who|{role}_name]=person", "thing"),
    Deed("{most} {n}", f"{_GET} {{most}} {{n}} {_PLACE}", f"the {{most}} {{n}} {_THERE}", _G, "thing"),
    Deed("{least} {n}", f"{_GET} {{least}} {{n}} {_PLACE}", f"the {{least}} {{n}} {_THERE}", _G, "thing"),
    Deed("best {n} {k}", f"{_GET} {{n}} [with|that has] the highest {{k}} {_PLACE}",
         f"the {{n}} {_THERE} [with|that has] the highest {{k}}", _G, "thing"),
    Deed("{n} {k} order", f"{_GET} {{n}} {_PLACE} [at one end by|by highest or lowest|by most or least] {{k}}",
         f"the {{n}} {_THERE} [with|that has] the {{end}} {{k}}", _G + ";[order|end|which_end|by]=end", "thing"),
)  # fmt: skip
_SHOW = "[list|show|name|find|collect|give]"
LISTS = (
    Deed("count {ns}", f"[count the {{ns}}|tell you the number of {{ns}}|say how many {{ns}} there are|the number of "
         f"{{ns}}|how many {{ns}} are] {_PLACE}", f"the [number|count] of {{ns}} {_THERE}", _G),
    Deed("list {ns}", f"{_SHOW} [all|the|every one of the] {{ns}} {_PLACE}", f"[all|the|all the] {{ns}} {_THERE}", _G,
         "things"),
    Deed("{ns} above {k}", f"{_SHOW} {{ns}} {_PLACE} with {{a_k}} [above|over] a limit",
         f"[all|the] {{ns}} {_THERE} with {{a_k}} [above|over|of more than] {{q}}",
         _G + ";[limit|least|above|{k}]=q", "things"),
    Deed("{ns} {text}", f"{_SHOW} {{ns}} {_PLACE} [with|of|by] a given {{text}}",
         f"[all|the] {{ns}} {_THERE} [whose {{text}} is|with the {{text}}|that have as {{text}}] {{choice}}",
         _G + ";{text}=choice", "things"),
    Deed("total {k}", "[add up|total|sum|sum up|put together] the {k} of several {ns}",
         "the [total|whole|summed|joint] {k} of {xs}", "[{ns}|names|{ns}|which]=several"),
    Deed("{u} {v}", "[convert|change|turn|translate|express] {u} [into|to|as] {v}",
         "[{q} {u} in {v}|the value of {q} {u} in {v}|{q} {u} as {v}]", "[{u}|amount|value|how_many]=q"),
)  # fmt: skip
_DATED = ";[day|date|when|on]=day"
ACTS = (
    Deed("{do} {item}", "[{do} {an_item}|{do} {an_item} for somebody|{do} {an_item} on a day|{do} {an_item}; gives "
         "a code|arrange {an_item} and give the code]", "{do} {an_item} [at|with|for] {x} for {person} on {day}{extra}",
         "{e}=x;[guest|person|customer|for_whom|visitor|who]=person" + _DATED + ";{unit}=?many", "code"),
    Deed("{do} {n}", "[{do} {an} for a person|{do} {an} on a day; gives a code]",
         "{do} {x} [for {person} on {day}|on {day} for {person}|on {day} in the name of {person}]",
         "{e}=x;[guest|person|customer|holder|buyer|member]=person" + _DATED, "code"),
    Deed("set {k}", "[change|set|correct|put right] the {k} of {an}", f"[change|set] the {{k}} of {_X} to {{q}}",
         "{e}=x;[value|{k}|to|number]=q", "code"),
    Deed("send {n}", "[send|carry|deliver|bring] {an} to [{a_g}|another {g}]", "[send|deliver|bring] {x} to {group}",
         "{e}=x;[{g}|to|where]=group", "code"),
    Deed("new {n}", "[add|enter|record] a new {n}", "[add|enter] {x} with {q} as its {k}", "{e}=x;{k}=q", "code"),
)  # fmt: skip
DEEDS = (*VALUES, *FINDS, *LISTS, *ACTS)

_SUPERLATIVES, _GROUPS, _LINKS, _HAS, _DO, _MEASURES = (tuple(text.replace("\n", " ").split(", ")) for text in (
    """newest, oldest, latest, first, last, smallest, biggest, brightest, darkest, nearest, hardest, softest, rarest,
finest, strongest, weakest, smoothest, roughest, sharpest, bluntest, neatest""",
    "town, village, street, district, shop, county, club, island, guild, series, quarter, family, house, square",
    "next, previous, twin, second, spare, nearest, linked, opposite, matching, following, partner, old",
    "a lamp, a handle, a lid, a bell, two wings, a roof, a mark, a label, no lock, a number, a pocket, a window",
    "book, reserve, order, hire, buy, request, ask for, prepare, plan",
    """count, time, speed, length, size, mass, age, cost, rate, share, weight, level, limit, score, price, number, path,
range, volume, pressure, value, delay, order, power, capacity"""))
_WITHIN = ("in", "in", "on", "of", "at", "from", "near", "under")
_NAMED = ("{w}",) * 5 + ("{w} {s}", "{w} {s}", "{w} {s}", "{w} {S}", "{w} {S}", "{S} {w}", "{S} {w}", "The {A} {w}",
                         "{w} the {A}", "{S} of {w}", "{c}", "{c}")  # fmt: skip


def subject(d: Draw, words: Words = "made up") -> dict[str, Any]:
    """Draw a subject: the slots that are the same for all deeds about it."""
    noun, mixed = {"made up": d.noun, "plain": d.word}.get(words, partial(_many, d)), words == "made up"
    n = noun(d.one(("thing", "thing", "animal", "plant", "place", "job")))
    g = d.one(_GROUPS) if d.chance(0.4) else noun("shop" if d.chance(0.5) else "place")
    item, unit = (noun("thing" if d.chance(0.6) else "food") for _ in range(2))
    if d.chance(0.3):
        item = f"{n} {item}"
    has = d.one(reserve(_HAS, d.split)) if not mixed or d.chance(0.5) else an(d.made_up())
    if words in WIDE and d.chance(0.6):
        has = d.fill("[a|no] {x}", x=_many(d)) if d.chance(0.8) else f"{d.number(2, 9)} {plural(_many(d))}"
    flag, flagged = (has.split()[-1], f"has {has}") if d.chance(0.5) else (adj := d.word("adjective"), f"is {adj}")
    shape = d.one(_NAMED)
    s = d.made_up() if d.chance(0.5) else d.word(d.one(("thing", "plant", "animal", "place", "stem", "food")))
    return properties(d, words) | {
        "n": n, "ns": plural(n), "an": an(n), "a_n": an(n), "g": g, "a_g": d.one(("a", "a", "one", "a given")) + f" {g}"
        if d.chance(0.6) else an(g), "within": d.one(_WITHIN), "role": d.word("job") if not mixed or d.chance(0.5) else
        d.one(("owner", d.made_up())), "link": d.one(reserve(_LINKS, d.split)), "flag": flag, "flagged": flagged,
        "item": item, "an_item": an(item), "unit": plural(unit), "do": d.one(reserve(_DO, d.split)),
        "e": d.one((n, n, n, "name", f"{n}_name", f"which_{n}")), "l": d.one((g, g, g, f"{g}_name", "where")),
        "named": shape.replace("{s}", s).replace("{S}", upper_first(s))}  # fmt: skip


def properties(d: Draw, words: Words = "made up") -> dict[str, Any]:
    """Draw what the things of a subject have: two subjects may differ in nothing else."""
    mixed = words == "made up"
    k, (u, v) = some_property(d) if mixed else _ordinary(d, words), d.some(d.one(reserve(UNITS, d.split)), 2)
    if mixed and d.chance(0.5):
        u = d.made_up() + "s"
    most, least = d.several(lambda: _superlative(d, words), 2)
    texts = (d.made_up(), d.made_up()) if mixed else (d.word("stem"), d.word("thing"))
    return {"k": k, "a_k": an(k), "text": d.one(("colour", "kind", "mood", "class", *texts)),
            "most": most, "least": least, "u": u, "v": v}  # fmt: skip


def akin(d: Draw, about: dict[str, Any]) -> dict[str, Any]:
    """Draw a property that shares a word with a subject's: lists often hold such near misses."""
    first, *_, last = about["k"].split() * 2
    k = f"{_many(d)} {last}" if d.chance(0.6) else f"{first} {d.one(reserve(_MEASURES, d.split))}"
    return {"k": k, "a_k": an(k)}


def _many(d: Draw, name: str = "thing") -> str:
    at = d.random()
    if at < 0.1:
        return f"{d.word('noun')} {d.word(name)}"
    return d.word("noun") if at < 0.6 else d.word(name) if at < 0.8 else d.made_up()


def _ordinary(d: Draw, words: Words) -> str:
    """Put a property together from ordinary words: "lamp speed", "time limit"."""
    measures = reserve(_MEASURES, d.split) if words != "every" or d.chance(0.2) else pool("measure", d.split)
    if d.chance(0.25):
        return " ".join(d.some(measures, d.number(1, 2))).replace("-", " ")
    kind = d.one(("stem", "thing", "plant", "food", "animal", "place"))
    if words == "plain":
        return f"{d.word(kind)} {d.one(measures)}"
    return f"{_many(d, kind)} {d.one(measures)}".replace("-", " ") if d.chance(0.7) else _many(d, kind)


def _superlative(d: Draw, words: Words) -> str:
    at = d.random()
    if at < {"made up": 0.4, "plain": 0, "many": 0.2, "every": 0.15}[words]:
        return d.made_up().rstrip("aeiou") + "est"
    if words == "every" and at < 0.7:
        return d.word("superlative")
    return d.one(_SUPERLATIVES) if at < 0.8 else f"{d.one(('most', 'least'))} {d.word('adjective')}"


def thing(d: Draw, about: dict[str, Any]) -> str:
    """Draw the name of a thing of a subject."""
    return about["named"].format(w=d.name(), A=upper_first(d.word("adjective")), c=d.code())


def values(d: Draw, about: dict[str, Any], gives: str) -> dict[str, Any]:
    """Draw the values of one step about a subject, and what comes back from it."""
    several = d.several(lambda: thing(d, about), d.number(2, 3))
    results = {"quantity": lambda: d.number(2, 9000), "person": d.person, "truth": lambda: d.one(("yes", "no")),
               "thing": lambda: thing(d, about), "code": d.code, "choice": lambda: d.word("colour"),
               "things": lambda: d.several(lambda: thing(d, about), d.number(1, 4))}  # fmt: skip
    date = f"{d.one(MONTHS)} {d.number(1, 28)}"
    many = d.number(2, 30) if d.chance(0.6) else None
    return {**about, "x": several[0], "several": several, "xs": ", ".join(several[:-1]) + f" and {several[-1]}",
            "person": d.person(), "group": d.town() if d.chance(0.7) else f"{d.name()} {upper_first(d.word('place'))}",
            "day": d.one((date, date, d.one(DAYS), d.date())), "q": d.number(2, 900), "choice": d.word("colour"),
            "end": d.one(("highest", "lowest")), "many": many,
            "extra": f" [for|with] {many} {about['unit']}" if many else "", "gives": results[gives]()}  # fmt: skip


def more(d: Draw, about: dict[str, Any], gives: str) -> dict[str, Any]:
    """Draw another result where results differ much: numbers of any size, round or with decimals; longer lists."""
    if gives == "things":
        return {"gives": d.several(lambda: thing(d, about), d.number(1, 6))}
    if gives != "quantity" or d.chance(0.3):
        return {}
    whole = d.number(0, 10 ** d.number(1, 6))
    return {"gives": d.one((whole, d.number(1, 999) * 10 ** d.number(1, 4), whole + d.number(1, 99) / 100,
                            d.number(1, 300) + d.number(1, 9) / 10))}  # fmt: skip


def wanted(d: Draw, deed: Deed, here: dict[str, Any], of: str = "") -> str:
    """Say what is wanted from a deed; ``of`` describes the thing instead of naming it."""
    extra = d.fill(here["extra"])
    text = d.fill(deed.want, **here | {"extra": extra} | ({"x": of} if of else {}))
    return text.replace(f"the {here['n']} the ", "the ")  # "of the boat the newest boat" would say it twice


class Offered(NamedTuple):
    """An offer of a list: its name, what it does, and for the label of all that it takes the slot with the value."""

    name: str
    does: str
    takes: dict[str, str]


def offer(d: Draw, deed: Deed, about: dict[str, Any]) -> Offered:
    """Word an offer to do a deed about a subject."""
    parts = [part.split("=") for part in deed.takes.split(";")]
    takes: dict[str, str] = {}
    while len(takes) < len(parts):  # drawn again where two labels are the same
        takes = {d.fill(label, **about).replace(" ", "_"): slot for label, slot in parts}
    return Offered(_name(d, deed, about), d.fill(deed.does, **about), takes)


def _name(d: Draw, deed: Deed, about: dict[str, Any]) -> str:
    words = deed.words.format(**about).replace("-", " ").split()
    at = d.random()
    if at < 0.15:
        name = d.identifier(d.one(words))
    elif at < 0.35:
        name = "_".join(d.shuffled(words))
    elif at < 0.75:
        name = "_".join((d.one(("get", "find", "show", "look_up", "ask", "tell", "my", "new", "list", "check", "the")),
                         *(words if d.chance(0.6) else d.shuffled(words))))  # fmt: skip
    elif at < 0.9:
        name = "_".join((*reversed(words[1:]), d.one(("of", "for", "in", "by", "with")), words[0]))
    else:
        name = "_".join((*words, d.word("suffix")))
    return name if "_" in name else f"{name}_{d.word('stem')}"
