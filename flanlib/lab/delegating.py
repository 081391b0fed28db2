"""Work that the user and the assistant share: what is needed, which one can do it, with what, and what came of it.

The last family of the general conversation, for the end of the base's training. What is asked at every step comes in
thousands of wordings, so that a model learns to read the list for whatever it is asked, not for one question.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from flanlib.lab.offers import some_property
from flanlib.lab.words import DAYS, Draw, an, plural, upper_first
from flanlib.records import to_json

Pairs = list[tuple[str, str]]


class Deed(NamedTuple):
    """Something that can be done: how a list tells it, how somebody wants it, what it takes, and what comes back."""

    words: str
    does: str
    want: str
    takes: str
    gives: str = "quantity"


# {n} a kind of thing, {x} one of them by name; {k} a property; {age} and {near} stay the same in a conversation.
_GET = "[get|look up|find|give|show|tell you|report|fetch]"
VALUES = (
    Deed("{n} {k}", _GET + " the {k} of [a|one|any|a given] {n}", "the {k} of [{x}|{x}|the {n} {x}]", "{n}=x"),
    Deed("{n} owner", _GET + " the owner of [a|one|any] {n}", "the owner of [{x}|the {n} {x}]", "{n}=x", "person"),
    Deed("{n} check", "[check|say|find out] whether [a|one] {n} is {adj}", "whether [{x}|the {n} {x}] is {adj}",
         "{n}=x", "truth"),
    Deed("{n} pair", _GET + " the {n} {near} another", "the {n} {near} {x}", "{n}=x", "name"),
)
FINDS = (
    Deed("{n} owned", _GET + " the {n} of [an owner|a person]", "the {n} [of|that belongs to|owned by] {person}",
         "owner=person", "name"),
    Deed("best {n} {k}", _GET + " the {n} [with|that has] the highest {k} in a town",
         "the {n} [with|that has] the highest {k} in {town}", "town=town", "name"),
    Deed("last {n} {k}", _GET + " the {n} [with|that has] the lowest {k} [in|of] a town",
         "the {n} [with|that has] the lowest {k} [in|of] {town}", "town=town", "name"),
    Deed("{age} {n}", _GET + " the {age} {n} in a town", "the {age} {n} in {town}",
         "town=town", "name"),
)
LISTS = (
    Deed("count {n}", "[count|tell you the number of|say how many there are of] {ns} in a town",
         "the number of {ns} in {town}", "town=town"),
    Deed("list {n}", "[list|show|name] [all|the] {ns} in a town", "[all|the|all the] {ns} in {town}", "town=town",
         "name"),
    Deed("above {k}", "[list|show|find] {ns} with {a_k} above a limit", "[all|the] {ns} with {a_k} above {q}",
         "limit=q", "name"),
)
ACTS = (
    Deed("order {n}", "[order|reserve|book] {an} for a person", "[order|reserve|book] {x} for {person} on {day}",
         "{n}=x guest=person day=day", "code"),
    Deed("set {k}", "[change|set|correct] the {k} of {an}", "[change|set] the {k} of {x} to {q}", "{n}=x value=q",
         "code"),
    Deed("send {n}", "[send|carry|deliver] {an} to a town", "[send|deliver] {x} to {town}", "{n}=x town=town", "code"),
    Deed("new {n}", "[add|enter] a new {n}", "[add|enter] {x} with {q} as its {k}", "{n}=x value=q", "code"),
)

_WISH = ("[What is|I need|I want|Please find|Tell me|Can you find|I would like to know|Do you know|I am after|Look for|"
         "We were asked for|Somebody wants] {w}", "[Could|Can|Would] you [please |][tell me|find|get me] {w}")
_ORDER = ("[Please|Kindly|I want you to|I need to|We have to|Help me to|Could you please|My wish is to|Would you] {w}",)
_FIRST = ("[First I need|First of all, I need|I need|What is needed first is|I have to know|I begin with|"
          "To start with, I look for|I should look up|The first thing is|We want|The user asks for|It begins with] {w}"
          "[|, since the rest hangs on it|, then the rest|, because the rest depends on it|, and then we see].")
_ONLY = ("[I need|The question is about|What is wanted is|I have to know|The user wants|I should look up|This asks for|"
         "All I need is|We want to know|It is about|What counts is] {w}[|, and nothing else|, so one step will do].")
_NEXT = ("[It is {v}, so next I need|Because it is {v}, what comes next is|Good, {v}. Now I need|So {v}. I look for|"
         "{v} it is. Next is|As that is {v}, I now want|Since we have {v}, what is missing is|Now that I know {v}, I "
         "want] {w}[|, and then I am done|, as was asked].")
_ACT = ("[The user wants me to|I have to|What should be done is to|The thing to do is to|We should|I am asked to] {w}"
        "[|, and nothing is missing|, and all of it is given|, which one step can do].")
_END = ("[So it is|We have it:|The result is|What came is|It came to|The outcome is] {v}[|, and nothing more is needed|"
        ", so I am done|, and that was all].")
_TELL = ("It is {v}.", "The answer is {v}.", "{v}.", "That is {v}.", "I found {v}.", "Here it is: {v}.")

_OH = "[||||All right. |Good. |Fine. |I see. |Well. |Very well. |Yes. |Thanks. |One moment. |Understood. ]"
_WHICH = (
    _OH + "[Which|What|And which|So which|Then which|Now which] [{o}|one|{o} of yours|of the {p}] "
    "[is it|is that|would it be|is right|fits|helps|can do it|does that|should it be|would you take|do you want|"
    "is meant|must I ask|shall I use|is best for that|do we use|has to do it|comes first]?",
    _OH + "[Name|Say|Tell me|Give me|Choose|Write|I need|Please name|Please tell me|Now name|Just say] "
    "[the {o}|one of the {p}|the right {o}|the name of the {o}|the name|its name|your {o}|the one that fits|which {o}|"
    "which one it is|what the {o} is called][|, please| now| then| for it].",
    _OH + "[And|So|Next|For this|For that|Right]: [which|which one|which {o}|what {o}|the {o}|its name]?",
    "[I can|I will|Let me|We may] [ask|use|open|start|take] one [of them |]for you. [Which|Which one|Whose name|"
    "The name]?",
    "[What is|What was|How do you write|Where do I go:] [its name|the name of the {o}|the {o}|it called|"
    "that {o} called]?",
)
_EACH = (
    _OH + "[And|So|Now|Then|Next:|What about|How about|As for] [{b}|{b}|the {b}|{k}|the {k}]?",
    _OH + "[What|Which value|What value|And what] [goes|stands|belongs|comes|do I write|must I put|shall I say|"
    "do you give] [under|for|as|into|with|at|behind] [{b}|{b}|{k}|the {k}]?",
    _OH + "[Tell me|Give me|Write|Say|I still need|Fill in|They ask for|It wants|Missing is|Open is|Next comes|I see] "
    "[{b}|{b}|the {b}|{k}|the {k}][|, please| now| too].",
    "[There is|The form has|It shows|I see] [a line|a box|an entry|room] for [{b}|{k}]. [What do I write|"
    "What is it|And]?",
    "[How|With what] do [I|we|you] [fill|answer|complete] [{b}|{b}|{k}]?",
)
_CAME = ("[It says|They say|I heard|The answer came|Back came|I have it|Look|Well|I asked, and here it is|They told me|"
         "What they say|From them|I did it. I see][:| this:] {v}")
_ASKED = ("[So what do you tell me|What do I tell them|And now|What is it, in short|How does it end|What did we find|"
          "Your words for it|What shall I write down|What did I want to know|And so|Can you say it]?")
_ROLES = ("helper", "desk", "machine", "service", "tool", "clerk", "counter", "office", "assistant", "robot", "tool",
          "program", "tool", "button", "form", "command")


def delegating(d: Draw) -> tuple[str, Pairs]:
    """Get something done through a list of offers, one question after the other."""
    role, slots = d.one(_ROLES), _slots(d)
    steps = _steps(d, slots)
    used = [deed for deed, _, _ in steps]
    listing, names = _listing(d, role, used, slots)
    as_system = d.chance(0.75)
    pairs: Pairs = []
    whole = steps[-1][1]
    mood = _ORDER if used[0] in ACTS else _WISH
    user = d.fill("[|||Hello. |One question. |Please help. |It is for a friend. ]") + d.fill(mood, w=whole)
    user += d.one((".", "?", ", please.", "."))
    if not as_system:
        user = f"{listing}\n\n{user}" if d.chance(0.7) else f"{user}\n\n{listing}"
    known = ""
    for i, (deed, _, here) in enumerate(steps):
        want = d.fill(deed.want, **here)
        plan = _ACT if deed in ACTS else _NEXT if known else _FIRST if len(steps) > 1 else _ONLY
        pairs.append((user, upper_first(d.fill(plan, w=want, v=known))))
        pairs.append((upper_first(d.fill(d.one(_WHICH), o=role, p=plural(role))), names[i]))
        for label, value in d.shuffled(_takes(deed, here)):
            k = label.replace("_", " ")
            pairs.append((upper_first(d.fill(d.one(_EACH), b=f"`{label}`", k=k)), str(value)))
        known = str(here["gives"])
        shown = to_json({d.one(("result", "value", deed.gives, here["n"].replace(" ", "_"))): here["gives"]})
        user = d.fill(_CAME, v=shown if d.chance(0.5) else known)
    pairs.append((user, d.fill(_END, v=known)))
    if d.chance(0.5):
        pairs.append((d.fill(_ASKED), d.fill(d.one(_TELL), v=known)))
    return listing if as_system else "", pairs


def _slots(d: Draw) -> dict[str, Any]:
    """Draw what a conversation is about."""
    n = d.noun(d.one(("thing", "thing", "animal", "plant")))
    return {"n": n, "ns": plural(n), "an": an(n), "k": some_property(d), "age": d.one(("newest", "oldest", "latest")),
            "near": d.one(("next to", "that comes after", "before", "linked to"))}  # fmt: skip


def _values(d: Draw, slots: dict[str, Any], gives: str) -> dict[str, Any]:
    """Draw the values of one step, and what comes back from it."""
    results = {"quantity": lambda: d.number(2, 9000), "person": d.person, "truth": lambda: d.one(("yes", "no")),
               "name": d.name, "code": d.code}  # fmt: skip
    return {**slots, "a_k": an(slots["k"]), "x": d.name(), "person": d.person(), "town": d.town(), "day": d.one(DAYS),
            "q": d.number(2, 900), "adj": d.word("adjective"), "gives": results[gives]()}  # fmt: skip


def _steps(d: Draw, slots: dict[str, Any]) -> list[tuple[Deed, str, dict[str, Any]]]:
    """Draw one to three deeds, each but the first about what the one before it gives; with what is wanted in all."""
    at = d.random()
    if at < 0.2:
        chain = [d.one(ACTS)]
    elif at < 0.5:
        chain = [d.one((*VALUES, *FINDS, *LISTS))]
    else:
        chain = [d.one(FINDS), *([VALUES[3]] if d.chance(0.25) else []), d.one(VALUES[:3])]
    steps, said = [], ""
    for deed in chain:
        here = _values(d, slots, deed.gives)
        said = d.fill(deed.want, **here | ({"x": said} if said else {})).replace(f"the {here['n']} the ", "the ")
        if steps:
            here["x"] = steps[-1][2]["gives"]
        steps.append((deed, said, here))
    return steps


def _takes(deed: Deed, here: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return label and value of all that a deed needs to know."""
    pairs = (part.split("=") for part in deed.takes.split())
    return [(label.format(**here).replace(" ", "_"), here[slot]) for label, slot in pairs]


def _listing(d: Draw, role: str, used: list[Deed], slots: dict[str, Any]) -> tuple[str, list[str]]:
    """List the deeds that are used among others about the same things; returns it, and a name for each that is used."""
    others = [deed for deed in d.shuffled((*VALUES, *FINDS, *LISTS, *ACTS)) if deed not in used]
    near = [(deed, slots) for deed in others[: d.number(1, 3)]]
    if "{k}" in "".join(deed.does for deed in used):  # the same deed about another property
        kin = d.one([deed for deed in used if "{k}" in deed.does])
        near += [(kin, slots | {"k": d.made_up()}) for _ in range(d.number(0, 2))]
    n = d.noun()
    near += [(d.one(used), slots | {"n": n, "ns": plural(n), "an": an(n)})] * int(d.chance(0.4))
    offered: dict[str, tuple[str, str, str]] = {}
    for deed, about in [*((deed, slots) for deed in used), *near]:
        about = about | {"a_k": an(about["k"])}
        while (name := _name(d, deed, about)) in offered:
            pass
        offered[name] = (d.fill(deed.does, **about | {"adj": d.word("adjective")}), deed.takes, about["n"])
    form = d.one(("- {D}: {n}", "- {D}: {n}", "{D}: {n}", "* {D}: {n}", "{D} - {n}", "- {D} ({n})", "- {n}: {D}"))
    head = d.fill("[You may use|These are|Here are|You have|The list of|I can ask|We have] [these|the|some|all the] "
                  "{p}:", p=plural(role))  # fmt: skip
    bare, sort, lines = d.chance(0.4), d.one((" (text)", "", ": text", " (a word or a number)")), []
    for name in d.shuffled(offered):
        does, takes, n = offered[name]
        if bare and does.split()[1] == "the":
            does = does.split(" ", 1)[1]
        needs = [part.split("=")[0].format(n=n).replace(" ", "_") for part in takes.split()]
        lines.append(form.format(D=upper_first(does), n=name) + "".join(f"\n  {need}{sort}" for need in needs))
    text = head + "\n" + "\n".join(lines)
    if d.chance(0.5):
        text += d.fill("\n\n[One step at a time.|Say what you would do; I do it.|I do the work, you tell me what.|"
                       "We work together.|Answer in a few words.|Keep it short.|You plan and I act.]")
    return text, list(offered)[: len(used)]


def _name(d: Draw, deed: Deed, about: dict[str, Any]) -> str:
    words = deed.words.format(**about).split()
    at = d.random()
    if at < 0.25:
        name = d.identifier(d.one(words))
    elif at < 0.45:
        name = "_".join(d.shuffled(words))
    elif at < 0.75:
        name = "_".join((d.one(("get", "find", "show", "look_up", "ask", "tell", "my", "new", "list")), *words))
    else:
        name = "_".join((*reversed(words), d.one(("of", "for", "in", "by")), d.word("stem")))
    return name.replace(" ", "_")
