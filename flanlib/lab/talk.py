"""General conversation for the lab's base model: plain chat in which reading and copying pay.

Everything is drawn fresh, so nothing is worth memorising but the language itself. Not one text shows
an agent at work: no ReAct label, no tool call in JSON. That is what the lab's tuning has to add.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice

import numpy as np

from flanlib.lab.delegating import delegating
from flanlib.lab.families import entities, state
from flanlib.lab.skills import MOST, Talk, choosing, copying, extracting, labelling, reading
from flanlib.lab.words import DAYS, Draw, Split, an, plural, reserve, upper_first
from flanlib.records import Conversation, FlanError, clip, say

DEFINITIONS = tuple(tuple(line.split(": ")) for line in """
lantern: a lamp with a case that protects its flame
harbour: a place where ships lie safe from the sea
orchard: a piece of land with fruit trees
ladder: two long bars joined by steps for climbing
kettle: a pot with a lid for boiling water
umbrella: a folding cover that keeps off the rain
bakery: a shop where bread is made and sold
compass: an instrument whose needle points north
island: land with water all round it
calendar: a table of the days and months of a year
glacier: a slow river of ice
telescope: a tube with lenses for looking at distant things
library: a house from which books can be borrowed
bridge: a road built over a river or a valley
anchor: a heavy hook that keeps a ship in its place
village: a group of houses smaller than a town
dictionary: a book that explains words
currency: the kind of money that a country uses
timetable: a list of the times when trains or buses leave
forecast: a statement of what the weather will be like
mirror: a glass in which you can see yourself
passport: a small book that lets you enter other countries
volcano: a mountain that throws out fire and ashes
thermometer: an instrument that measures how warm it is
recipe: a text that tells you how to cook a dish
desert: dry land where almost nothing grows
receipt: a paper which shows that you have paid
canal: a river made by people
museum: a house where old or rare things are shown
choir: a group of people who sing together
invoice: a letter that asks for payment
orphan: a child whose parents are dead
shepherd: a person who looks after sheep
carpenter: a person who makes things of wood
pharmacy: a shop that sells medicine
lighthouse: a tower whose light guides ships
ferry: a boat that takes people across the water
parcel: a thing wrapped in paper and sent by post
alphabet: all the letters of a language in their order
average: the total divided by how many numbers there are
triangle: a shape with three sides
decade: a period of ten years
century: a period of a hundred years
dozen: a set of twelve
neighbour: a person who lives next door
tailor: a person who makes clothes
winter: the coldest season of the year
dawn: the time when the sun comes up
thief: a person who takes what belongs to others
guest: a person who visits someone
""".strip().split("\n"))

FORMAL = tuple(tuple(line.split(" | ")) for line in """
hey, what's up? | Good day. How are you?
gimme the {t} | Could you please give me the {t}?
can't come on {day}, sorry | I regret that I cannot come on {day}.
thanks a lot for the {t}! | Thank you very much for the {t}.
where's my {t}? | Could you please tell me where my {t} is?
the {t} is rubbish | Unfortunately the {t} does not meet my expectations.
wait a sec | Please wait a moment.
tell {n} I'm late | Please let {n} know that I will be late.
no way I pay {p} for that | I am not willing to pay {p} for that.
see you {day}! | I look forward to meeting you on {day}.
got any {t}s left? | Do you still have any {t}s in stock?
call me back, {n} | {n}, would you please call me back?
""".strip().split("\n"))

CHAT = tuple(tuple(line.split(" | ")) for line in """
[Hello|Hi|Hey][!| there!|, how are you?] | [Hello!|Hi!] [How can I help you?|What can I do for you?]
[Good morning|Good evening][!|.] | [Good day!|Welcome!] [What can I do for you?|How can I help?]
[Thanks|Thank you|Many thanks][!|, that helps.| for that.] | [You are welcome!|Gladly.|It was a pleasure.]
[Who are you?|What are you?] | I am an assistant [that answers questions in plain words|who reads and counts for you].
[What can you do?|How can you help me?] | I can [read a text and answer questions|copy words|add numbers] for you.
My name is {n}. | [Nice to meet you|Hello|Welcome], {n}!
[I am|We are] from {t}. | {t}! [What is it like there?|I hope you like it there.]
I am {f} today. | [Why are you|What makes you] {f} today?
I like {h}. | [What do you like about|How long have you liked] {h}?
[Bye|Goodbye|See you]! | [Goodbye!|See you soon!|Take care!]
[Do you like|What do you think of] {h}? | I cannot try {h} myself, but many people enjoy it.
[Say hello to|Greet] {n} for me. | [Hello|Greetings], {n}!
[Tell me something new.|Tell me a story.] | Once [a|the] {a} {m} found some {o} and was happy.
I have {a2} {m}. | [What is|May I ask] the name of your {m}?
""".strip().split("\n"))


def counting(d: Draw) -> Talk:
    """Add, subtract and compare small numbers."""
    return "", [_sum(d) for _ in range(d.one((1, 2, 3, 4)))]


def _sum(d: Draw) -> tuple[str, str]:
    at, high = d.random(), d.one((99, 99, 999, 9999))
    a, b = d.several(lambda: d.number(2, high), 2)
    thing, (x, y) = plural(d.word("thing")), d.several(d.name, 2)
    if at < 0.25:
        question = d.fill("[What is {a} + {b}?|How much is {a} + {b}?|Work out {a} + {b}.|Add {b} to {a}.]", a=a, b=b)
        return question, f"{a} + {b} = {a + b}"
    if at < 0.4:
        a, b = max(a, b), min(a, b)
        question = d.fill("[What is {a} - {b}?|How much is {a} - {b}?|Take {b} from {a}.]", a=a, b=b)
        return question, f"{a} - {b} = {a - b}"
    if at < 0.6:
        question = d.fill("{x} has {a} {t} and {y} has {b}. Who has [more|more of them]?", x=x, y=y, a=a, b=b, t=thing)
        return question, f"{x if a > b else y} has more: {max(a, b)} against {min(a, b)}."
    if at < 0.75:
        question = d.fill("{x} has {a} {t} and [gets {b} more|finds another {b}]. How many are there now?",
                          x=x, a=a, b=b, t=thing)
        return question, f"{a} + {b} = {a + b}, so {x} has {a + b} {thing}."
    names = d.several(d.name, d.number(3, 4))
    values = d.several(lambda: d.number(1, high), len(names))
    listing = ", ".join(f"{n}: {v}" for n, v in zip(names, values, strict=True))
    if at < 0.88:
        word, pick = d.one((("largest", max(values)), ("smallest", min(values))))
        question = d.fill("{l}. [Who has|Which is] the {w} [number|value]?", l=listing, w=word)
        return question, f"{names[values.index(pick)]}, with {pick}."
    return f"{listing}. What is the total?", f"{' + '.join(map(str, values))} = {sum(values)}"


def rewriting(d: Draw) -> Talk:
    """Rewrite a sentence: case, another word, order, tone."""
    return "", [_rewrite(d)]


def _rewrite(d: Draw) -> tuple[str, str]:
    text, at = d.sentence(), d.random()
    words = text.rstrip(".").split()
    word = d.one([w for w in words[1:] if len(w) > 3] or words)
    if at < 0.16:
        return d.fill("[Write this in capitals|In upper case, please|Make it all capitals]: {t}", t=text), text.upper()
    if at < 0.24:
        return d.fill("[Write this in small letters|All in lower case, please]: {t}", t=text.upper()), text.lower()
    if at < 0.5:
        new = d.one((d.made_up, d.name, lambda: d.word("thing"), lambda: d.word("adjective")))()
        question = d.fill("{t} [Replace {w} by {n}.|Write {n} for {w}.|Change {w} to {n}.]", t=text, w=word, n=new)
        return question, " ".join(new if w == word else w for w in words) + "."
    if at < 0.6:
        question = d.fill("{t} [Leave out|Drop|Remove] the word {w}.", t=text, w=words[1])
        return question, " ".join(words[:1] + words[2:]) + "."
    if at < 0.7:
        return d.fill("{t} [How many words are there?|Count the words.]", t=text), f"{len(words)} words"
    if at < 0.78:
        return d.fill("{t} [What is the last word?|Which word comes last?]", t=text), words[-1]
    if at < 0.84:
        chosen = d.words(d.one(("animal", "food", "stem")), d.number(3, 5))
        question = d.fill("[Put these words in alphabetical order|Sort from A to Z]: {w}", w=", ".join(chosen))
        return question, ", ".join(sorted(chosen))
    rough, polite = d.one(reserve(FORMAL, d.split))
    slots = {"t": d.word("thing"), "day": d.one(DAYS), "n": d.person(), "p": f"{d.price()} euros"}
    question = "[Make this polite|Say this politely|Write this more formally]: "
    return d.fill(question) + d.fill(rough, **slots), d.fill(polite, **slots)


def defining(d: Draw) -> Talk:
    """Say what a word means, find the word for a meaning, or learn words explained on the spot."""
    pairs = []
    if d.chance(0.45):
        for word, meaning in d.some(reserve(DEFINITIONS, d.split), d.number(1, 2)):
            noun = word if word in {"dawn", "winter"} else an(word)
            if d.chance(0.6):
                question = d.fill("[What is {w}?|Can you explain what {w} is?|Tell me what {w} is.]", w=noun)
                pairs.append((question, f"{upper_first(noun)} is {meaning}."))
            else:
                pairs.append((d.fill("[Which word means|What is the word for] '{m}'?", m=meaning), word))
        return "", pairs
    new = d.several(d.made_up, 3)
    meanings = [an(f"{d.word('adjective')} {d.word(s)}") for s in ("thing", "animal", "plant")]
    text = " ".join(d.fill("[In our village|In my family|At the harbour|To a sailor] {w} is {m}.", w=an(w), m=m)
                    for w, m in zip(new, meanings, strict=True))
    i, bought = d.number(0, 2), f"{an(d.word('colour'))} {new[0]}"
    pairs = d.some((
        (f"What is {an(new[i])}?", f"{upper_first(an(new[i]))} is {meanings[i]}."),
        (d.fill("[What do we call|What is the word for] {m}?", m=meanings[i]), new[i]),
        (f"I bought {bought}. What did I buy?", f"You bought {bought}: {meanings[0]}.")), d.number(1, 2))
    return "", [(f"{text} {pairs[0][0]}", pairs[0][1]), *pairs[1:]]


def chatting(d: Draw) -> Talk:
    """Exchange a few friendly words."""
    pairs = []
    for user, reply in d.some(reserve(CHAT, d.split), d.one((1, 2, 2))):
        slots = {"n": d.person(), "t": d.town(), "f": d.one(("tired", "happy", "sad", "busy", "worried", "glad")),
                 "h": d.word("hobby"), "a": d.word("adjective"), "m": d.word("animal"), "o": d.word("food")}
        slots["a2"] = an(slots["a"])
        pairs.append((d.fill(user, **slots), d.fill(reply, **slots)))
    return "", pairs


def styling(d: Draw) -> Talk:
    """Answer in the style the system turn, or the user, asks for."""
    _, (name,), attributes, (values,) = entities(d, 1, 2)
    facts = [upper_first(state(d, a, name, v)) for a, v in zip(attributes, values, strict=True)]
    plain, value, label = f"{facts[0]}.", values[0], attributes[0].label
    greeting, signed = d.one(("Hello!", "Good day!", "Dear friend,", "Greetings!", "Hi there!")), d.name()
    style, answer = d.one((
        (f"Start every answer with '{greeting}'", f"{greeting} {plain}"),
        (f"Sign every answer with {signed}.", f"{plain}\n{signed}"), ("Write everything in capitals.", plain.upper()),
        ("Answer with the value only.", str(value)), ("Put every answer in quotes.", f'"{plain}"'),
        ("End every answer with an exclamation mark.", f"{facts[0]}!"), ("Answer as a bullet.", f"- {plain}"),
        ("Give the value in square brackets.", f"[{value}]"), ("Put stars around the value.", f"**{value}**"),
        (f"Write '{label}', a colon and the value.", f"{label}: {value}"),
        ("Begin with 'Answer' and a dash, then the value.", f"Answer - {value}")))
    asked = f"{facts[0]}. {facts[1]}. {d.fill(attributes[0].questions, n=name)}?"
    return (style, [(asked, answer)]) if d.chance(0.6) else ("", [(f"{asked} {style}", answer)])


def planning(d: Draw) -> Talk:
    """Say in plain words how one would go about something."""
    (x, y), thing, town = d.several(d.town, 2), d.word("thing"), d.town()
    goal, first, then, last = d.one((
        (f"find out whether it is warmer in {x} or {y}", f"look up the temperature in {x}",
         f"look up the temperature in {y}", "compare the two"),
        (f"buy the cheaper {thing}, in {x} or in {y}", f"ask for the price of {an(thing)} in {x}",
         f"ask for the price in {y}", "take the lower one"),
        (f"travel from {x} to {y}", f"find a train that goes from {x} to {y}", "note when it leaves", "book a seat"),
        (f"send {an(thing)} to {x}", f"weigh the {thing}", "work out the postage", "take it to the post office"),
        (f"know what three {plural(thing)} cost", f"look up the price of one {thing}", "multiply it by three",
         "give the total"),
        (f"meet {d.person()} in {x}", "find a free day", f"look for a quiet place in {x}", "send an invitation"),
        (f"sell {an(thing)}", f"find out what {an(thing)} is worth", f"take a picture of the {thing}",
         f"offer it to people in {x}"),
        (f"cook {d.word('food')} for {d.number(2, 9)} people", "look for a recipe", "work out how much is needed",
         "buy what is missing"),
        (f"learn {d.word('language')}", f"find a teacher in {x}", "agree on a day", "practise every evening"),
        (f"know how far it is from {x} to {y} by way of {town}", f"find the distance from {x} to {town}",
         f"find the distance from {town} to {y}", "add the two")))
    ask = d.fill("[I want to|I would like to|My friend wants to] {g}. ", g=goal)
    if d.chance(0.35):
        return "", [(ask + d.fill("[What would you do first?|How do I start?]"), f"First I would {first}."),
                    (d.fill("[And then?|What comes next?|After that?]"), f"Then I would {then}, and then {last}.")]
    answer = d.fill(("First I would {f}, then {t}, and [finally|at the end|last of all] {l}.", "1. {F}\n2. {T}\n3. {L}",
                     "I would {f}. [Next|Then] I would {t}. [Finally|At the end] I would {l}."), f=first, t=then,
                    l=last, F=upper_first(first), T=upper_first(then), L=upper_first(last))
    return "", [(ask + d.fill("[How would you go about it?|What are the steps?|Make a plan.]"), answer)]


MAKERS: dict[str, Callable[[Draw], Talk]] = {
    "reading": reading, "choosing": choosing, "extracting": extracting, "copying": copying, "labelling": labelling,
    "counting": counting,
    "rewriting": rewriting, "defining": defining, "chatting": chatting, "styling": styling, "planning": planning,
    "delegating": delegating, "delegating plainly": partial(delegating, words="plain"),
    "delegating widely": partial(delegating, words="many"),
    "delegating in full": partial(delegating, words="every")}
FAMILIES: dict[str, float] = {
    "reading": 0.14, "choosing": 0.36, "extracting": 0.16, "copying": 0.05, "labelling": 0.08, "counting": 0.08,
    "rewriting": 0.03, "defining": 0.03, "chatting": 0.02, "styling": 0.03, "planning": 0.02}
"""Families of the mix and their shares of the conversations."""
APART = ("delegating", "delegating plainly", "delegating widely", "delegating in full")
"""Families that are drawn only where they are named."""

_PERSONAS = ("You are a [helpful|careful|friendly|polite|patient] assistant.",
             "You are {n}, [an assistant|a clerk|a helper] in {t}.",
             "You are {n}. You [answer questions|help visitors|help the people of {t}].",
             "[Be helpful.|Be polite.|Help the user.]",
             "You are [a chat assistant|an assistant] and [answer in plain words|read carefully].",
             "A chat between {n} and an assistant.")


def stream(*, rng: np.random.Generator, split: Split = "train",
           families: Iterable[str] | None = None) -> Iterator[Conversation]:
    """Draw conversations without end; ids count from ``talk-train-000001``.

    ``families`` restricts the mix to some of ``FAMILIES``, whose shares are then scaled up, or names one of ``APART``.
    Raises FlanError for a family or split that does not exist.
    """
    names = list(FAMILIES if families is None else families)
    apart = len(names) == 1 and names[0] in APART
    unknown = [] if apart else [name for name in names if name not in FAMILIES]
    if unknown or not names or split not in ("train", "heldout"):
        raise FlanError("lab conversations", found=f"families {clip(names)}, split {clip(split)}",
                        expected=f"families of {', '.join(FAMILIES)}; split train or heldout",
                        remedy="Correct the name.")
    d = Draw(int(rng.integers(2**63)), split)
    edges = np.cumsum([FAMILIES.get(name, 1.0) for name in names]).tolist()
    count = 0
    while True:
        count += 1
        system, pairs = _draw(d, names, edges)
        if len(pairs) < 3 and d.chance(0.3):
            more_system, more = _draw(d, names, edges)
            if not more_system:
                pairs = pairs + more
        if d.chance(0.25):
            persona = d.fill(_PERSONAS, n=d.name(), t=d.town())
            system = f"{persona}\n{system}" if system else persona
        turns = [say("system", system)] if system else []
        for user, reply in pairs[: None if apart else MOST]:
            turns += say("user", user), say("assistant", reply, "general", trained=True)
        yield Conversation(f"talk-{split}-{count:06d}", "talk", tuple(turns))


def conversations(n: int, *, rng: np.random.Generator, split: Split = "train",
                  families: Iterable[str] | None = None) -> list[Conversation]:
    """Draw n conversations of plain chat whose assistant turns are trained as ``general``."""
    return list(islice(stream(rng=rng, split=split, families=families), n))


def _draw(d: Draw, names: list[str], edges: list[float]) -> Talk:
    at = d.random() * edges[-1]
    return MAKERS[next(name for name, edge in zip(names, edges, strict=True) if at < edge)](d)
