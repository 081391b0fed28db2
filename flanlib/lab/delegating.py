"""Work that the user and the assistant share: what is needed, which one can do it, with what, and what came of it.

The last family of the general conversation, for the end of the base's training. What is asked at every step comes in
thousands of wordings and things are made up for every conversation (:mod:`flanlib.lab.subjects`), so that a model
learns to read the list for whatever it is asked, not for one question.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from flanlib.lab import subjects, thinking
from flanlib.lab.subjects import ACTS, DEEDS, FINDS, LISTS, VALUES, WIDE, Deed, Offered, Words
from flanlib.lab.words import Draw, join, plural, upper_first
from flanlib.records import to_json

Pairs = list[tuple[str, str]]

_BEFORE = ("[||||Hello. |One question. |Please help. |It is for a friend. |Good day! |Dear {o}. |Me again. ]"
           "[||||We are building something. |My sister sent me. |It is for a game at home. |I have lost the paper. |"
           "Somebody at the door wants it. |There is little time. |I was told to come here. |Work goes on. ]")
_AFTER = "[||||| Thank you.| Thanks a lot!| It is not urgent.| Take your time.| A word is enough.| I am next door.]"
_WISH = ("[What is|I need|I want|Please find|Tell me|Can you find|I would like to know|Do you know|I am after|"
         "Look for|We were asked for|Somebody wants|It is about|Can we have|Let me know] {w}",
         "[Could|Can|Would] you [please |][tell me|find|get me] {w}")
_DOUBT = "[Tell me|Do you know|Can you say|I would like to know|Find out|We want to know|I wonder|Please say] {w}"
_ORDER = "[Please|Kindly|I want you to|I need to|We have to|Help me to|Could you please|My wish is to|Would you] {w}"
_FIRST = ("[First I need|First of all, I need|I need|What is needed first is|I have to know|I begin with|"
          "To start with, I look for|I should look up|The first thing is|We want|The user asks for|It begins with] {w}"
          "[|, since the rest hangs on it|, then the rest|, because the rest depends on it|, and then we see].")
_ONLY = ("[I need|The question is about|What is wanted is|I have to know|The user wants|I should look up|This asks for|"
         "All I need is|We want to know|It is about|What counts is] {w}[|, and nothing else|, so one step will do].")
_NEXT = ("[It is {v}, so next I need|Because it is {v}, what comes next is|Good, {v}. Now I need|So {v}. I look for|"
         "{v} it is. Next is|As that is {v}, I now want|Since we have {v}, what is missing is|Now that I know {v}, I "
         "want] {w}[|, and then I am done|, as was asked].")
_BESIDE = ("[{x} has {v}, so next I need|That is {v} for {x}, and what is missing is|{v} for {x} is known. Then comes|"
           "I have {v} for {x}. What I still want is|{x}: {v}. Next in turn is|One of them has {v}; left to find is|"
           "As {x} has {v}, I go on with|So much for {x} with {v}. Now I look for] {w}[|, as was asked].")
_THEN = ("[It is {v}, so next I have to|Because it is {v}, what comes next is to|Good, {v}. Now I can|So {v}. Then I "
         "should|{v} it is. Next is to|As that is {v}, I now|Now that I know {v}, the thing to do is to] {w}"
         "[|, as was asked].")
_ACT = ("[The user wants me to|I have to|What should be done is to|The thing to do is to|We should|I am asked to] {w}"
        "[|, and nothing is missing|, and all of it is given|, which one step can do].")
_END = ("[So it is|We have it:|The result is|What came is|It came to|The outcome is] {v}[|, and nothing more is needed|"
        ", so I am done|, and that was all].")
_TELL = ("[|||Of course. |Here you are. |With pleasure. |Done. ][It is|The answer is|That is|I found|Here it is:|"
         "It came to|You get] {v}.", "{v}.")
_SENTENCE = "[|||Of course. |I asked: |As they say, ]{w} is {v}."
_MORE = ("[|So |Well, ]{best}[ it is|]: {high} is [more|higher] than {low}.",
         "{best}, [since|because] {high} is [more|higher] than {low}.", "{high} is above {low}, so [it is |]{best}.")
_LESS = ("[|So |Well, ]{best}[ it is|]: {low} is [less|lower] than {high}.",
         "{best}, [since|because] {low} is [less|lower] than {high}.", "{low} is below {high}, so [it is |]{best}.")
_WHOLE = {"most": ("which of {xs} has the {end} {k}", "which one has the {end} {k}: {xs}"),
          "sum": ("the {k} of {xs} [together|taken together|added up|in all]", "the [sum|total] of the {k} {each}"),
          "gap": ("the [difference|gap] between the {k} {each}", "the difference in {k} between {xs}")}
_FACTS = {"most": ("{facts}, so it is {said}.", "[It is|I would say|That makes it] {said}, since {facts}."),
          "sum": ("{facts}, [which makes|so in all it is|together] {said}.", "{said} in all, because {facts}."),
          "gap": ("{facts}, so the difference is {said}.", "{said} apart, since {facts}.")}

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


# How a list tells the sort of what an offer takes, by slot.
_TEXT = {"": " (text)", "q": " (number)", "?many": " (number, if wanted)", "several": " (names)"}
_WORD = {"": ": a word", "q": ": how much", "?many": ": how many, or nothing", "several": ": all of them"}

# Verbs without which an offer says something else.
_TELLING = ("count", "change", "set", "correct")

# Deeds that could do one another's work, about the same subject.
_ALIKE = ({VALUES[0], LISTS[4]}, {FINDS[0], FINDS[1]}, {FINDS[4], FINDS[5]})


class Part(NamedTuple):
    """One step: a deed about a subject, its values, what is wanted of it, and how it is offered."""

    deed: Deed
    here: dict[str, Any]
    want: str
    offered: Offered


class Request(NamedTuple):
    """What somebody wants, and the steps that get it.

    Where more comes of them than the last result: how that is told, what is asked (a key of ``_WHOLE``) and the answer.
    """

    whole: str
    parts: list[Part]
    outcome: str = ""
    ask: str = ""
    said: str = ""


def delegating(d: Draw, words: Words = "made up") -> tuple[str, Pairs]:
    """Get something done through a list of offers, one question after the other.

    In ``many`` words and more, one list may serve several requests, and a request may be about two or three things.
    """
    role, about = d.one(_ROLES), subjects.subject(d, words)
    requests = [_request(d, about, words)]
    while words in WIDE and len(requests) < 3 and d.chance(0.35):
        more = _request(d, about, words, _parts(requests))
        if not _rivals(part.deed for part in _parts([*requests, more])):
            requests.append(more)
    listing = _listing(d, role, _parts(requests), about, words)
    as_system = d.chance(0.75)
    pairs: Pairs = []
    for request in requests:
        user = _asked(d, request, role)
        if not as_system and not pairs:
            user = f"{listing}\n\n{user}" if d.chance(0.7) else f"{user}\n\n{listing}"
        pairs += _thought(d, request, role, user) if words == "every" else _worked(d, request, role, user, words)
    return listing if as_system else "", pairs


def _parts(requests: Iterable[Request]) -> list[Part]:
    return [part for request in requests for part in request.parts]


def _rivals(deeds: Iterable[Deed]) -> bool:
    """Tell whether some deeds could do one another's work."""
    deeds = set(deeds)
    return any(alike <= deeds for alike in _ALIKE)


def _asked(d: Draw, request: Request, role: str) -> str:
    whole = request.whole
    mood = thinking.mood(whole, request.parts[-1].deed in ACTS)
    wordings = {"order": _ORDER, "doubt": _DOUBT, "noun": _WISH}[mood]
    return d.fill(_BEFORE, o=role) + d.fill(wordings, w=whole) + d.one((".", "?", ", please.", ".")) + d.fill(_AFTER)


def _worked(d: Draw, request: Request, role: str, user: str, words: Words) -> Pairs:
    """Write a request step by step: what is needed, which one, with what, and what came of it."""
    whole, parts, outcome, *_ = request
    known, last, pairs = "", "", []
    for part in parts:
        act = part.deed in ACTS
        if not known:
            plan = _FIRST if len(parts) > 1 else _ACT if act else _ONLY
        elif words != "many":
            plan = _NEXT
        else:
            plan = _BESIDE if outcome else _THEN if act else _NEXT
        pairs.append((user, upper_first(d.fill(plan, w=part.want, v=known, x=last))))
        pairs += _handed(d, part, role)
        gives, last = part.here["gives"], part.here["x"]
        known = thinking.spoken(gives)
        label = d.one(("result", "value", part.deed.gives, part.here["n"].replace(" ", "_")))
        user = d.fill(_CAME, v=to_json({label: gives}) if d.chance(0.5) else known)
    pairs.append((user, outcome or d.fill(_END, v=known)))
    if d.chance(0.5):
        told = outcome or d.fill(_SENTENCE if whole.startswith("the ") and d.chance(0.5) else d.one(_TELL), v=known,
                                 w=upper_first(whole))  # fmt: skip
        pairs.append((d.fill(_ASKED), upper_first(told)))
    return pairs


def _thought(d: Draw, request: Request, role: str, user: str) -> Pairs:
    """Write the same in more wordings (:mod:`flanlib.lab.thinking`), with data of more shapes for what came."""
    whole, parts, outcome, ask, said = request
    last = parts[-1].deed in ACTS
    aim = thinking.aim(d, whole, last, ask) if len(parts) > 1 else ""
    known, of, fact, pairs = "", "", None, []
    for part in parts:
        act, gives = part.deed in ACTS, part.here["gives"]
        pairs.append((user, thinking.plan(d, part.want, act, aim=aim, known=known, of=of if ask else "")))
        pairs += _handed(d, part, role)
        given = {label: part.here[slot] for label, slot in part.offered.takes.items() if slot in part.here}
        named = part.here["k"] if part.deed == VALUES[0] else part.deed.gives
        label = d.one(("result", "value", named, named, "answer", part.here["n"])).replace(" ", "_")
        of = part.here["x"]
        if part.deed == VALUES[2]:
            fact = gives == "yes"
            known = f"{of} {part.here['flagged'] if fact else _denied(part.here['flagged'])}"
            gives = fact if d.chance(0.7) else gives
        else:
            known = thinking.spoken(gives)
        user = thinking.back(d, label, gives, given, act)
    pairs.append((user, thinking.ending(d, known, outcome, said, fact=fact is not None)))
    if d.chance(0.7):
        told = thinking.answer(d, whole, last, known, outcome, said, true=fact)
        pairs.append((d.fill(_ASKED), told))
    return pairs


def _handed(d: Draw, part: Part, role: str) -> Pairs:
    """Ask which offer it is, and what it takes."""
    pairs = [(upper_first(d.fill(d.one(_WHICH), o=role, p=plural(role))), part.offered.name)]
    for label, slot in d.shuffled(part.offered.takes.items()):
        if (value := part.here[slot.removeprefix("?")]) is not None:
            asked = d.fill(d.one(_EACH), b=f"`{label}`", k=label.replace("_", " "))
            pairs.append((upper_first(asked), to_json(value) if isinstance(value, list) else str(value)))
    return pairs


def _denied(has: str) -> str:
    """Deny what a thing is or has.

    >>> _denied("is old"), _denied("has a lid")
    ('is not old', 'does not have a lid')
    """
    verb, rest = has.split(" ", 1)
    return f"is not {rest}" if verb == "is" else f"does not have {rest}"


def _request(d: Draw, about: dict[str, Any], words: Words, before: Sequence[Part] = ()) -> Request:
    several = d.chance(0.3 if words in WIDE else 0.15)
    if not several:
        return _steps(d, about, before, words)
    return _several(d, about, before) if words in WIDE else _compared(d, about)


def _steps(d: Draw, about: dict[str, Any], before: Sequence[Part], words: Words) -> Request:
    """Draw one to three deeds, each but the first about what the one before it gives."""
    at = d.random()
    if at < 0.2:
        chain = [d.one(ACTS)]
    elif at < 0.5:
        chain = [d.one((*VALUES, *FINDS, *LISTS))]
    else:
        chain = [d.one((*FINDS, VALUES[3])), *([VALUES[3]] if d.chance(0.25) else []), d.one((*VALUES, ACTS[0]))]
    parts: list[Part] = []
    whole = ""
    for deed in chain:
        here = subjects.values(d, about, deed.gives)
        if words == "every":
            here |= subjects.more(d, about, deed.gives)
        whole = subjects.wanted(d, deed, here, whole)
        if parts:
            here["x"] = parts[-1].here["gives"]
        offered = _offered(d, deed, about, [*before, *parts])
        parts.append(Part(deed, here, subjects.wanted(d, deed, here), offered))
    return Request(whole, parts)


def _offered(d: Draw, deed: Deed, about: dict[str, Any], before: Sequence[Part]) -> Offered:
    """Return the offer to do a deed: the same one every time."""
    same = [part.offered for part in before if part.deed == deed]
    return same[0] if same else subjects.offer(d, deed, about)


def _compared(d: Draw, about: dict[str, Any]) -> Request:
    """Draw two deeds that find out which of two things has more."""
    deed = VALUES[0]
    offered, more = subjects.offer(d, deed, about), d.chance(0.5)
    one, two = (subjects.values(d, about, deed.gives) for _ in range(2))
    parts = [Part(deed, here, subjects.wanted(d, deed, here), offered) for here in (one, two)]
    whole = d.fill("which of {x} and {y} has the {end} {k}", x=one["x"], y=two["x"], k=about["k"],
                   end=d.one(("higher", "greater", "larger") if more else ("lower", "smaller", "lesser")))  # fmt: skip
    low, high = sorted((one, two), key=lambda here: here["gives"])
    outcome = d.fill(_MORE if more else _LESS, best=(high if more else low)["x"], low=low["gives"], high=high["gives"])
    return Request(whole, parts, outcome)


def _several(d: Draw, about: dict[str, Any], before: Sequence[Part] = ()) -> Request:
    """Draw the same deed for two or three things: which has most or least, what they make together, how far apart."""
    deed, ask = VALUES[0], d.one(("most", "most", "sum", "gap"))
    heres = [subjects.values(d, about, deed.gives) for _ in range(d.number(2, 2 if ask == "gap" else 3))]
    offered = _offered(d, deed, about, before)
    parts = [Part(deed, here, subjects.wanted(d, deed, here), offered) for here in heres]
    names, values = [here["x"] for here in heres], [here["gives"] for here in heres]
    more = d.chance(0.5)
    best = (max if more else min)(range(len(heres)), key=values.__getitem__)
    said = {"most": names[best], "sum": sum(values), "gap": max(values) - min(values)}[ask]
    end = d.one(("highest", "greatest", "largest") if more else ("lowest", "smallest", "least"))
    whole = d.fill(_WHOLE[ask], xs=join(names), each=join(f"of {x}" for x in names), end=end, k=about["k"])
    facts = join(f"{x} has {value}" for x, value in zip(names, values, strict=True))
    return Request(whole, parts, d.fill(_FACTS[ask], facts=facts, said=said), ask, str(said))


def _listing(d: Draw, role: str, parts: list[Part], about: dict[str, Any], words: Words) -> str:
    """List the deeds that are used among near misses: the same deed about other things, other deeds about the same."""
    used = list(dict.fromkeys(part.deed for part in parts))
    others = [deed for deed in d.shuffled(DEEDS) if deed not in used]
    near = [(deed, about) for deed in others[: d.number(0, 3)]]
    near += [(d.one(used), subjects.subject(d, words)) for _ in range(d.number(0, 2))]
    near += [(d.one(others), subjects.subject(d, words)) for _ in range(d.number(0, 2))]
    if any("{k}" in deed.does or "{most}" in deed.does for deed in used):  # the same deed about another property
        kin = d.one([deed for deed in used if "{k}" in deed.does or "{most}" in deed.does])
        near += [(kin, about | subjects.properties(d, words)) for _ in range(d.number(0 if near else 1, 2))]
    if words in WIDE:
        near = [(deed, other) for deed, other in near if other is not about or not _rivals([deed, *used])]
        near = [(deed, other | subjects.akin(d, about) if other is not about and d.chance(0.5) else other)
                for deed, other in near]  # fmt: skip
        near = [(deed, other) for deed, other in near if other is about or other["k"] != about["k"]]
    offered = {part.offered.name: part.offered for part in parts}
    for deed, other in near:
        made = subjects.offer(d, deed, other)
        offered.setdefault(made.name, made)
    form = d.one(("- {D}: {n}", "- {D}: {n}", "{D}: {n}", "* {D}: {n}", "{D} - {n}", "- {D} ({n})", "- {n}: {D}"))
    head = d.fill("[You may use|These are|Here are|You have|The list of|I can ask|We have] [these|the|some|all the] "
                  "{p}:", p=plural(role))  # fmt: skip
    bare, sort, lines = d.chance(0.4), d.one((_TEXT, _TEXT, _WORD, {})), []
    for name in d.shuffled(offered):
        does, takes = offered[name].does, offered[name].takes
        # "Count the boats" would be "the boats" without its verb: that can't be told from a list of them.
        if bare and does.split()[1] == "the" and not (words == "every" and does.split()[0] in _TELLING):
            does = does.split(" ", 1)[1]
        lines.append(form.format(D=upper_first(does), n=name)
                     + "".join(f"\n  {label}{sort.get(slot, sort.get('', ''))}" for label, slot in takes.items()))
    text = head + "\n" + "\n".join(lines)
    if d.chance(0.5):
        text += d.fill("\n\n[One step at a time.|Say what you would do; I do it.|I do the work, you tell me what.|"
                       "We work together.|Answer in a few words.|Keep it short.|You plan and I act.]")
    return text
