"""Things with attributes: what can be told about people, towns, ships ..., told as a story, and asked about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from flanlib.lab.words import DAYS, POOLS, Draw, an, plural, upper_first


class Attribute(NamedTuple):
    """One thing that can be said of an entity: {n} is its name, {v} the value, {a} the value with a/an."""

    label: str
    draw: Callable[[Draw], Any]
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    unit: str = ""
    more: str = ""
    most: str = ""


def _a(label: str, draw: Any, statements: str, questions: str, unit: str = "", compare: str = "") -> Attribute:
    """Write an attribute: wordings are divided by " / "; a word list, a pair of bounds or a function draws it."""
    if isinstance(draw, str):
        drawn = (lambda pool: lambda d: d.word(pool))(draw)
    elif isinstance(draw, tuple):
        drawn = (lambda low, high: lambda d: d.number(low, high))(*draw)
    else:
        drawn = draw
    more, _, most = compare.partition(" ")
    return Attribute(label, drawn, tuple(statements.split(" / ")), tuple(questions.split(" / ")), unit, more, most)


def _foods(d: Draw) -> str:
    return d.word("food")


# Kind: how one is called, its plural, the pronoun, who or which asks for it, and what is known of it.
KINDS: dict[str, tuple[str, str, str, str, tuple[Attribute, ...]]] = {
    "person": ("{x}", "people", "", "Who", (
        _a("job", "job", "{n} works as {a} / {n} is {a} / {n} has a job as {a}",
           "What does {n} do for a living / What is the job of {n} / Which job does {n} have"),
        _a("town", Draw.town, "{n} lives in {v} / {n} has a house in {v} / {n} is at home in {v}",
           "Where does {n} live / Which town does {n} live in / In which town does {n} live"),
        _a("age", (6, 92), "{n} is {v} years old / {n} has just turned {v}", "How old is {n} / What age is {n}",
           " years",
           "older oldest"),
        _a("pet", "animal", "{n} owns {a} / {n} keeps {a} / {n} has {a} as a pet",
           "Which animal does {n} own / What pet does {n} have / What kind of pet does {n} keep"),
        _a("hobby", "hobby", "{n} enjoys {v} / {n} loves {v} / {n} spends the weekends on {v}",
           "What does {n} enjoy / What is the hobby of {n} / Which hobby does {n} have"),
        _a("favourite food", _foods, "{n} likes {v} best / {n} likes to eat {v}",
           "What does {n} like to eat / Which food does {n} like best"),
        _a("height", (130, 205), "{n} is {v} centimetres tall / {n} measures {v} centimetres",
           "How tall is {n} / What height is {n}",
           " centimetres", "taller tallest"),
        _a("language", "language", "{n} speaks {v} / {n} can speak {v} / {n} knows {v}",
           "Which language does {n} speak / What language does {n} know"))),
    "town": ("{x}", "towns", "It", "Which town", (
        _a("population", (300, 98000), "{n} has {v} inhabitants / {n} is home to {v} people",
           "How many people live in {n} / How many inhabitants does {n} have", " people", "larger largest"),
        _a("river", Draw.name, "{n} lies on the river {v} / {n} was built beside the {v} river",
           "Which river flows past {n} / On which river does {n} lie"),
        _a("mayor", Draw.person, "{n} is run by {v} / {n} has a mayor called {v}",
           "Who is the mayor of {n} / Who runs {n}"),
        _a("founded", (1020, 1990), "{n} was founded in {v} / {n} dates from {v}",
           "When was {n} founded / In which year was {n} founded"),
        _a("known for", lambda d: plural(d.word("thing")), "{n} is known for its {v} / {n} is famous for its {v}",
           "What is {n} known for / What is {n} famous for"),
        _a("temperature", (-9, 38), "{n} has {v} degrees today / {n} reports {v} degrees today",
           "How warm is it in {n} / What is the temperature in {n}", " degrees", "warmer warmest"),
        _a("weather", lambda d: d.one(("rain", "snow", "fog", "sunshine", "wind", "clouds", "hail", "storms")),
           "{n} expects {v} tomorrow / {n} will have {v} tomorrow",
           "What weather is expected in {n} / What will the weather be in {n}"))),
    "ship": ("the {x}", "ships", "It", "Which ship", (
        _a("captain", Draw.person, "{n} is commanded by {v} / {n} has {v} as its captain",
           "Who is the captain of {n} / Who commands {n}"),
        _a("cargo", _foods, "{n} carries {v} / {n} is loaded with {v}",
           "What does {n} carry / What is the cargo of {n}"),
        _a("length", (12, 340), "{n} is {v} metres long / {n} measures {v} metres",
           "How long is {n} / What length is {n}",
           " metres", "longer longest"),
        _a("harbour", Draw.town, "{n} sails from {v} / {n} is moored in {v}",
           "Which harbour does {n} use / What is the harbour of {n}"),
        _a("built", (1880, 2024), "{n} was built in {v} / {n} first sailed in {v}",
           "When was {n} built / In what year was {n} built"),
        _a("colour", "colour", "{n} is painted {v} / {n} has been painted {v}",
           "What colour is {n} / What is the colour of {n}"))),
    "shop": ("{x}'s", "shops", "It", "Which shop", (
        _a("sells", lambda d: plural(d.word("thing")), "{n} sells {v} / {n} is the place to buy {v}",
           "What does {n} sell / What can you buy at {n}"),
        _a("opens at", Draw.time, "{n} opens at {v} / {n} opens its doors at {v}",
           "When does {n} open / At what time does {n} open"),
        _a("street", lambda d: f"{d.name()} {d.one(('Street', 'Road', 'Lane', 'Square', 'Avenue'))}",
           "{n} is in {v} / {n} can be found in {v}", "Where is {n} / In which street is {n}"),
        _a("closed on", lambda d: d.one(DAYS), "{n} is closed on {v} / {n} does not open on {v}",
           "On which day is {n} closed / When is {n} closed"),
        _a("phone", lambda d: f"{d.number(100, 999)}-{d.number(1000, 9999)}",
           "{n} has the phone number {v} / {n} can be called on {v}",
           "What is the phone number of {n} / How can I call {n}"),
        _a("staff", (2, 60), "{n} employs {v} people / {n} has a staff of {v}",
           "How many people work at {n} / How big is the staff of {n}",
           " people", "bigger biggest"))),
    "animal": ("{x}", "animals", "It", "Which animal", (
        _a("species", "animal", "{n} is {a} / {n} was born {a}", "What kind of animal is {n} / What is {n}"),
        _a("weight", (2, 900), "{n} weighs {v} kilos / {n} now weighs {v} kilos",
           "How much does {n} weigh / What weight is {n}",
           " kilos", "heavier heaviest"),
        _a("food", _foods, "{n} eats {v} / {n} is fed on {v}", "What does {n} eat / What is {n} fed on"),
        _a("keeper", Draw.person, "{n} is looked after by {v} / {n} belongs to {v}",
           "Who looks after {n} / Who takes care of {n}"),
        _a("place", "place", "{n} sleeps in the {v} / {n} spends the night in the {v}",
           "Where does {n} sleep / Where does {n} spend the night"),
        _a("collar", "colour", "{n} wears {a} collar / {n} has {a} collar",
           "What colour is the collar of {n} / Which colour of collar does {n} have"))),
    "book": ('"{x}"', "books", "It", "Which book", (
        _a("author", Draw.person, "{n} was written by {v} / {n} is by {v}", "Who wrote {n} / Who is the author of {n}"),
        _a("pages", (40, 990), "{n} has {v} pages / {n} runs to {v} pages",
           "How many pages does {n} have / How long is {n}",
           " pages", "longer longest"),
        _a("subject", "hobby", "{n} is about {v} / {n} deals with {v}",
           "What is {n} about / What is the subject of {n}"),
        _a("shelf", Draw.code, "{n} stands on shelf {v} / {n} is kept on shelf {v}",
           "On which shelf is {n} / Where is {n} kept"),
        _a("price", Draw.price, "{n} costs {v} euros / {n} is sold for {v} euros",
           "How much is {n} / What does {n} cost", " euros"),
        _a("language", "language", "{n} is written in {v} / {n} appeared in {v}",
           "In which language is {n} / What is the language of {n}"))),
    "train": ("train {x}", "trains", "It", "Which train", (
        _a("destination", Draw.town, "{n} goes to {v} / {n} runs to {v}",
           "Where does {n} go / What is the destination of {n}"),
        _a("leaves at", Draw.time, "{n} leaves at {v} / {n} departs at {v}",
           "When does {n} leave / At what time does {n} depart"),
        _a("platform", (1, 24), "{n} leaves from platform {v} / {n} stops at platform {v}",
           "Which platform does {n} use / What is the platform of {n}"),
        _a("price", (4, 190), "{n} costs {v} euros / {n} is priced at {v} euros",
           "How much is a ticket for {n} / What does {n} cost",
           " euros", "dearer dearest"),
        _a("carriages", (2, 18), "{n} has {v} carriages / {n} pulls {v} carriages",
           "How many carriages does {n} have / How long is {n}",
           " carriages", "longer longest"))),
    "hotel": ("Hotel {x}", "hotels", "It", "Which hotel", (
        _a("rooms", (8, 420), "{n} has {v} rooms / {n} offers {v} rooms",
           "How many rooms does {n} have / How big is {n}", " rooms",
           "bigger biggest"),
        _a("town", Draw.town, "{n} is in {v} / {n} can be found in {v}", "Where is {n} / In which town is {n}"),
        _a("price", (30, 390), "{n} charges {v} euros a night / {n} asks {v} euros for a night",
           "What does a night at {n} cost / How much is a night at {n}", " euros", "dearer dearest"),
        _a("stars", (2, 6), "{n} has {v} stars / {n} was given {v} stars",
           "How many stars does {n} have / What rating does {n} have", " stars"),
        _a("breakfast", _foods, "{n} serves {v} for breakfast / {n} offers {v} in the morning",
           "What is for breakfast at {n} / What does {n} serve in the morning"))),
    "parcel": ("parcel {x}", "parcels", "It", "Which parcel", (
        _a("contents", lambda d: an(d.word("thing")), "{n} contains {v} / {n} holds {v}",
           "What is in {n} / What does {n} contain"),
        _a("sender", Draw.person, "{n} was sent by {v} / {n} comes from {v}",
           "Who sent {n} / Who is the sender of {n}"),
        _a("weight", (1, 60), "{n} weighs {v} kilos / {n} has a weight of {v} kilos",
           "How heavy is {n} / How much does {n} weigh",
           " kilos", "heavier heaviest"),
        _a("arrives on", lambda d: d.one(DAYS), "{n} arrives on {v} / {n} will be here on {v}",
           "When does {n} arrive / On which day does {n} come"),
        _a("address", lambda d: f"{d.number(1, 180)} {d.name()} Street", "{n} goes to {v} / {n} is addressed to {v}",
           "Where does {n} go / What is the address on {n}"))),
    "room": ("the {x} room", "rooms", "It", "Which room", (
        _a("seats", (4, 260), "{n} has {v} seats / {n} seats {v} people",
           "How many seats does {n} have / How many people fit in {n}",
           " seats", "bigger biggest"),
        _a("floor", (1, 19), "{n} is on floor {v} / {n} can be found on floor {v}",
           "On which floor is {n} / What floor is {n} on"),
        _a("booked by", Draw.person, "{n} is booked by {v} / {n} is reserved for {v}",
           "Who booked {n} / For whom is {n} reserved"),
        _a("walls", "colour", "{n} has {v} walls / {n} has walls painted {v}",
           "What colour are the walls of {n} / Which colour do the walls of {n} have"),
        _a("free at", Draw.time, "{n} is free at {v} / {n} becomes free at {v}",
           "When is {n} free / At what time is {n} free"))),
}


def entities(d: Draw, n: int, k: int) -> tuple[str, list[str], list[Attribute], list[list[Any]]]:
    """Draw n entities of a kind with k attributes: kind, names, attributes, values[entity][attribute]."""
    kind = d.one(tuple(KINDS))
    title, attributes = KINDS[kind][0], KINDS[kind][4]
    call = Draw.person if kind == "person" else Draw.code if kind in {"train", "parcel"} else Draw.name
    names = [title.format(x=x) for x in d.several(lambda: call(d), n)]
    chosen = d.some(attributes, k)
    columns = [d.several(lambda a=a: a.draw(d), n) for a in chosen]
    return kind, names, chosen, [list(row) for row in zip(*columns, strict=True)]


def state(d: Draw, attribute: Attribute, name: str, value: Any) -> str:
    """Say one attribute of one entity, without a full stop."""
    return d.fill(attribute.statements, n=name, v=value, a=an(str(value)))


def story(d: Draw, kind: str, names: list[str], attributes: list[Attribute], values: list[list[Any]], *,
          mixed: bool = True) -> str:
    """Tell all attributes of all entities: entity by entity with pronouns, or (``mixed``) sometimes shuffled."""
    cells = [(i, j) for i in range(len(names)) for j in d.shuffled(range(len(attributes)))]
    mixed = mixed and len(names) > 1 and d.chance(0.3)
    if mixed:
        cells = d.shuffled(cells)
    sentences, before, pronoun = [], -1, ""
    for i, j in cells:
        if i != before:
            known = kind == "person" and names[i].split()[0] in POOLS["first"]  # do not guess whether she or he
            pronoun = names[i] if known else KINDS[kind][2] or d.one(("She", "He"))
        name = pronoun if i == before and not mixed and d.chance(0.85) else names[i]
        sentences.append(upper_first(state(d, attributes[j], name, values[i][j])) + ".")
        before = i
    if d.chance(0.15):
        sentences.insert(0, d.sentence())
    if d.chance(0.3):
        sentences.insert(0, d.fill(("Here is what we know about [some|a few] {kind}.",
                                    "[These|The following] notes are about {kind}.",
                                    "There are {n} {kind}."), kind=KINDS[kind][1], n=len(names))
                         if len(names) > 1 else d.fill("[A short note.|Some facts.|A few words about {name}.]",
                                                       name=names[0]))
    return " ".join(sentences)


def question_on(d: Draw, kind: str, names: list[str], attributes: list[Attribute], values: list[list[Any]],
              brief: bool) -> tuple[str, str]:
    """Draw a question on the entities, with its answer."""
    i, j, at = d.number(0, len(names) - 1), d.number(0, len(attributes) - 1), d.random()
    name, attribute, value = names[i], attributes[j], values[i][j]
    fact = upper_first(state(d, attribute, name, value)) + "."
    who = KINDS[kind][3]
    if len(names) > 1 and attribute.more and at < 0.3:
        other = d.one([x for x in range(len(names)) if x != i])
        if at < 0.12:
            best = max((i, other), key=lambda x: values[x][j])
            low = values[i][j] + values[other][j] - values[best][j]
            question = d.fill("{who} is {more}, {a} or {b}?", who=who, more=attribute.more, a=name, b=names[other])
            full = upper_first(f"{names[best]} is {attribute.more}: {values[best][j]} against {low}.")
            return question, names[best] if brief else full
        if at < 0.2:
            best = max(range(len(names)), key=lambda x: values[x][j])
            question = d.fill("{who} is the {most}[| of all| of them]?", who=who, most=attribute.most)
            full = upper_first(f"{names[best]} is the {attribute.most}, with {values[best][j]}{attribute.unit}.")
            return question, names[best] if brief else full
        high, low = sorted((i, other), key=lambda x: -values[x][j])
        gap = values[high][j] - values[low][j]
        question = d.fill(("How much {more} is {a} than {b}?", "By how much is {a} {more} than {b}?"), a=names[high],
                          b=names[low], more=attribute.more)
        return question, (f"{gap}{attribute.unit}" if brief else
                          f"{values[high][j]} - {values[low][j]} = {gap}, so it is {gap}{attribute.unit}.")
    if at < 0.42 and len(names) > 1:
        other = d.one([x for x in range(len(names)) if x != i])
        claim = value if d.chance(0.5) else values[other][j]
        question = d.fill("[Is it true that|Is it right that|Would you say that] {fact}?", fact=state(d, attribute,
                                                                                                      name, claim))
        right = "Yes" if claim == value else "No"
        return question, f"{right}." if brief else f"{right}, {name[0]}{fact[1:]}"
    if at < 0.58:
        return state(d, attribute, who, value) + "?", name if brief else fact
    if at < 0.68 and len(attributes) > 1:
        other = d.one([x for x in range(len(attributes)) if x != j])
        hint = state(d, attributes[other], f"one {kind}" if kind != "animal" else "one of the animals",
                     values[i][other])
        question = f"{upper_first(hint)}. {d.fill(attribute.questions, n='that ' + kind)}?"
        return question, f"{value}{attribute.unit}" if brief else fact
    if at < 0.73:
        absent = d.name()
        return d.fill(attribute.questions, n=KINDS[kind][0].format(x=absent)) + "?", (
            "not given" if brief else d.fill("[The text does not say.|That is not in the text.]"))
    return d.fill(attribute.questions, n=name) + "?", f"{value}{attribute.unit}" if brief else fact
