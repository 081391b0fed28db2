"""What one can ask for, in the words of who offers it and in the different words of who needs it.

``[a|b]`` is one of several wordings, ``{town}`` a slot, " / " divides whole sentences. What is done is
written in the base form ("look up ..."); :func:`third` makes "looks up ..." of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from flanlib.lab.words import DAYS, MONTHS, Draw, an, plural, reserve

# Slot of a request: how to draw it, how to ask for it, and other labels under which it may be asked for.
SLOTS: dict[str, tuple[Callable[[Draw], Any], str, str]] = {
    "town": (Draw.town, "Which town / Which town is meant / What town is it about / Name the town",
             "city location where"),
    "from": (Draw.town, "Where does it start / From which town / From where", "origin start departure_town"),
    "to": (Draw.town, "Where to / What is the destination / To which town", "destination goal arrival_town"),
    "day": (lambda d: d.one(DAYS), "Which day / On what day / Which day of the week", "weekday when on_day"),
    "date": (Draw.date, "Which date / What date / On which date", "on_date when date_given"),
    "time": (Draw.time, "What time / At what time / Which time is given", "hour at_time clock_time"),
    "month": (lambda d: d.one(MONTHS), "Which month / In what month", "in_month when"),
    "people": (lambda d: d.number(2, 40), "How many people / For how many people", "guests party_size persons"),
    "count": (lambda d: d.number(2, 99), "How many / What number / How many are wanted", "quantity how_many number"),
    "person": (Draw.person, "Who / Which person / What is the person called", "customer contact who"),
    "amount": (Draw.price, "How much money / What amount / Which amount", "sum price value"),
    "currency": (lambda d: d.one(("euros", "dollars", "pounds", "francs", "crowns", "yen", "rupees", "pesos")),
                 "Which currency / In what currency", "money unit kind_of_money"),
    "item": (Draw.noun, "Which item / What thing / What is the item", "product article object"),
    "food": (lambda d: d.word("food"), "Which food / What food / What kind of food", "dish meal"),
    "colour": (lambda d: d.word("colour"), "Which colour / What colour", "paint shade"),
    "language": (lambda d: d.word("language"), "Which language / What language", "tongue target_language"),
    "country": (lambda d: d.word("country"), "Which country / What country", "land nation"),
    "animal": (lambda d: d.word("animal"), "Which animal / What animal", "creature pet"),
    "plant": (lambda d: d.word("plant"), "Which plant / What plant", "flower green"),
    "title": (lambda d: f'"{d.name()} {d.word("place")}"' if d.chance(0.5) else
              f'"The {d.word("adjective")} {d.word("animal")}"',
              "Which title / What is the title / What is it called", "called work heading"),
    "message": (lambda d: f'"{d.quote()}"', "What is the message / Which words are quoted / What should it say",
                "text words quoted"),
    "code": (Draw.code, "Which code / What code is given / What reference is given", "reference ref code_given"),
    "id": (Draw.identifier, "Which identifier / What is the identifier", "identifier key record"),
    "street": (lambda d: f"{d.number(1, 190)} {d.name()} {d.one(('Street', 'Road', 'Lane'))}",
               "Which street / What is the street and number", "address street_address"),
    "email": (lambda d: f"{d.made_up()}.{d.made_up()}@{d.word('stem')}.{d.one(('org', 'com', 'net', 'eu'))}",
              "Which email address / What is the address to write to", "mail_address contact_email"),
    "phone": (lambda d: f"{d.number(20, 99)}-{d.number(100, 999)}-{d.number(100, 999)}",
              "Which phone number / What number should be called", "phone_number telephone"),
    "kilos": (lambda d: d.number(1, 95), "How many kilos / What weight", "weight weight_kg"),
    "hours": (lambda d: d.number(2, 24), "How many hours / For how long", "duration length_of_time"),
    "job": (lambda d: d.word("job"), "Which job / What kind of worker", "worker trade"),
    "word": (Draw.made_up, "Which word / What word", "term entry"),
    "place": (lambda d: d.word("place"), "Which place / What place", "spot area"),
}

TOPICS = (
    ("weather forecast", "[tell you|give|look up] the weather in a town on a given day",
     "Will it rain in {town} on {day}? / Do I need an umbrella in {town} on {day}? / "
     "Is {day} going to be sunny in {town}?"),
    ("temperature degrees", "[report|measure] how warm it is in a town",
     "Is it cold in {town} now? / How many degrees is it in {town}?"),
    ("train timetable", "[look up|list|find] trains between two towns",
     "When can I travel by rail from {from} to {to}? / I want to get from {from} to {to} without a car. / "
     "How do I reach {to} from {from} by rail?"),
    ("ticket booking", "[book|order|reserve] seats on a train",
     "I want a seat from {from} to {to} on {date}. / Get me on board from {from} to {to}, {date}."),
    ("table restaurant", "[reserve|book] a table at a restaurant",
     "We are {people} people and want to have dinner in {town} at {time}. / "
     "Dinner for {people} in {town} at {time}, please."),
    ("currency exchange", "[convert|change] money from one currency to another",
     "How much are {amount} {currency} worth at home? / I have {amount} {currency} left and want my own money back."),
    ("translation words", "translate [words|a text] into another language",
     "What is '{word}' in {language}? / How do you say '{word}' in {language}?"),
    ("recipe cooking", "[give|find] recipes for a [dish|food]",
     "How do I cook {food}? / I would like to make something with {food} tonight."),
    ("calendar event", "[add|put] an event [to|into] the calendar",
     "Do not let me forget {title} on {date} at {time}. / Write down {title}: {date}, {time}."),
    ("reminder alarm", "[set|make] an alarm for a certain time",
     "Wake me at {time}. / I have to get up at {time}. / Make a noise at {time}."),
    ("letter message", "send a message to [someone|a person]",
     "Let {person} know: {message}. / Tell {person} {message}. / Write {message} to {person}."),
    ("phone numbers", "look up the phone number of a person", "How can I call {person}? / I want to ring {person}."),
    ("music songs", "play [a song|music] by its title", "I want to hear {title}. / Put on {title}, please."),
    ("parcel tracking", "[follow|track|find] a parcel by its code",
     "Where is my package {code}? / {code} has not arrived yet. / When will {code} be delivered?"),
    ("stock warehouse", "[count|say] how many of an item are in stock",
     "Do you still have any {item} left? / Has the last {item} been sold?"),
    ("price shop", "tell you [the price of|what you pay for] an item",
     "How much is {a_item}? / Is {a_item} expensive?"),
    ("doctor appointment", "make an appointment with a doctor",
     "{person} is ill and should be seen on {day}. / {person} has a fever; can someone have a look on {day}?"),
    ("route map", "show the way to an address", "How do I get to {street}? / I am lost and want to reach {street}."),
    ("distance kilometres", "[give|work out|measure] the distance between two towns",
     "How far is it from {from} to {to}? / How many kilometres lie between {from} and {to}?"),
    ("taxi ride", "order a taxi [to an address|for you]",
     "Pick me up at {street} at {time}. / I want to be driven home from {street} at {time}."),
    ("animal facts", "tell you what an animal eats",
     "What should I feed my {animal}? / My {animal} is hungry. What can I give it?"),
    ("bill payment", "pay a bill", "Please settle {code}: {amount} euros. / I owe {amount} euros for {code}."),
    ("account money", "show how much money is in an account",
     "How rich am I? The account is {code}. / Can I still spend something from {code}?"),
    ("language lesson", "find a teacher for a language",
     "I want to learn {language} in {town}. / Who gives {language} lessons in {town}?"),
    ("job vacancy", "list open jobs in a town",
     "Does anyone in {town} need {a_job}? / I am {a_job} looking for work in {town}."),
    ("bus stop", "find the nearest bus stop",
     "Where does the bus stop near {street}? / I live at {street} and do not want to walk."),
    ("flower delivery", "deliver flowers to an address",
     "Send {a_plant} to {street}. / My aunt at {street} would love {a_plant}."),
    ("birthday dates", "remember birthdays", "When was {person} born? / On which day does {person} turn a year older?"),
    ("lost property", "keep things that were lost",
     "I left my {colour} {item} behind. / Has anyone handed in the {colour} {item}?"),
    ("colour paint", "mix paint of a colour",
     "I need {kilos} kilos of {colour} for the wall. / The door must be {colour}; {kilos} kilos will do."),
    ("meeting rooms", "reserve a room for a meeting",
     "The {people} of us have to sit together at {time}. / We want to talk with {people} people at {time}."),
    ("notes notebook", "keep short notes", "Write this down: {message}. / I must not forget the words {message}."),
    ("file archive", "open a file by its identifier", "Let me see {id}. / I want to read {id} again."),
    ("door lock", "open doors that are locked",
     "I cannot get into the {place}. / Make sure nobody enters the {place}."),
    ("light lamp", "switch the lights on and off",
     "It is too dark in the {place}. / I cannot see a thing in the {place}."),
    ("heating warmth", "set the heating", "I am freezing in the {place}. / The {place} is far too cold."),
    ("rent cars", "rent out cars",
     "I would like to drive around {town} for {hours} hours. / I need four wheels in {town} for {hours} hours."),
    ("email post", "write to an email address", "Send {message} to {email}. / {email} should read this: {message}."),
    ("call line", "call a phone number", "Get me {phone} on the line. / I want to talk to whoever has {phone}."),
)

# Done to things: any of them meets any thing {t}; {p} is its plural.
SERVICES = (
    ("repair workshop", "[mend|repair|fix] {p}",
     "My {t} is broken. / My {t} no longer works. / Someone dropped my {t} and now it is damaged."),
    ("rental hire", "[rent out|lend] {p}", "I need {a} for a single day only. / Could I borrow {a} until tomorrow?"),
    ("shop store", "sell [new |]{p}", "I would like to buy {a}. / Where do I get {a} of my own? / I want to own {a}."),
    ("cleaner wash", "[clean|wash] {p}",
     "My {t} is full of mud. / There is dirt all over my {t}. / The {t} has stains."),
    ("painter brush", "paint {p} in [any|every] colour",
     "My {t} should be {c} instead. / I am tired of the colour of my {t}. / Make my {t} {c}."),
    ("transport van", "[carry|deliver|move] {p} to another town",
     "My {t} has to be in {town} next week. / How do I get {a} to {town}?"),
    ("storage cellar", "store {p} over the winter",
     "I have no room for my {t} until spring. / Where can I leave my {t} for the cold months?"),
    ("buyer secondhand", "buy old {p}",
     "I no longer want my {t} and could do with the money. / Who would pay for my used {t}?"),
    ("valuer estimate", "[estimate|tell you] what {p} are worth",
     "How much might my {t} bring? / I wonder about the value of my {t}."),
    ("teacher lesson", "teach people to make {p}",
     "I want to learn how to build {a} myself. / Could somebody show me how {a} is made?"),
    ("collector museum", "show [old|rare] {p}",
     "I would love to look at {p} from long ago. / Where can I admire {p} of the past?"),
    ("insurance cover", "insure {p}[ against theft|]",
     "What if my {t} gets stolen? / I am afraid that thieves will take my {t}."),
    ("recycling waste", "take away broken {p}", "My {t} is beyond repair and must go. / I want to throw my {t} out."),
    ("designer drawing", "[design|draw] {p}",
     "I need a plan for {a} that nobody has seen before. / Sketch me {a}, please."),
    ("census register", "count all {p} in a town",
     "How many {p} are there in {town}? / I need the number of {p} in {town}."),
)

# Operations on records: any property {k} of any kind of thing {n}; {x} and {y} are two of them by name.
OPERATIONS = (
    ("get {k}", "[get|look up|give|show|return|tell you] the {k} of {an}",
     "What is the {k} of [the {n} |]{x}? / I would like to know the {k} of [the {n} |]{x}. / "
     "The {k} of {x}, please. / [Please tell|Tell] me the {k} of the {n} {x}. / Do you know the {k} of {x}?"),
    ("change {k}", "[change|set|correct] the {k} of {an}",
     "The {k} of {x} is wrong: it should be {q}. / From now on {x} has {q} as its {k}. / Make the {k} of {x} {q}."),
    ("total {k}", "[add up|total|sum up] the {k} of several {ns}",
     "What is the {k} of {x} and {y} together? / How much {k} do {x} and {y} have in total?"),
    ("compare {k}", "compare the {k} of two {ns}",
     "Which has more {k}, {x} or {y}? / Is the {k} of {x} higher than that of {y}?"),
    ("best {k}", "[find|name|get] the {n} with the highest {k} in a town",
     "Which {n} in {town} has the highest {k}? / Which {n} in {town} beats all others in {k}?"),
    ("above {k}", "[list|show|find] {ns} with {k} above a limit",
     "Which {ns} have a {k} over {q}? / Show me {ns} whose {k} is more than {q}."),
    ("count {n}", "[count|tell you the number of] {ns} in a town",
     "How many {ns} are there in {town}? / I need to know how many {ns} {town} has."),
    ("list {n}", "[list|show|name] all {ns} in a town", "Which {ns} are there in {town}? / Name every {n} in {town}."),
    ("owner {n}", "[find|look up] the {n} of an owner",
     "Which {n} belongs to {person}? / {person} owns {an}. Which one is it?"),
    ("whose {n}", "[find|tell you|look up] the owner of {an}", "To whom does the {n} {x} belong? / Whose {n} is {x}?"),
    ("check {n}", "[check|say] whether {an} is {adj}",
     "Is the {n} {x} {adj}? / Someone said the {n} {x} is {adj}. Is it?"),
    ("order {n}", "[order|reserve|book] {an} for a day", "Keep the {n} {x} for me on {day}. / I want {an} on {day}."),
    ("remove {n}", "[remove|delete|strike] {an} from the list",
     "The {n} {x} should no longer be listed. / Forget about {x}."),
    ("new {n}", "[add a new {n} to|put a new {n} on] the list",
     "There is {an} called {x} that we do not have yet. / Include the {n} {x} from now on."),
    ("rename {n}", "[rename|give another name to] {an}",
     "The {n} {x} should be called {y}. / Call {x} {y} from now on."),
    ("convert {u}", "[convert|change|turn] {u} into {v}",
     "How many {v} are {q} {u}? / What are {q} {u} in {v}? / I have {q} {u} but need {v}."),
)
PROPERTIES = tuple("""width, depth, rent, rating, owner count, score, salary, thickness, speed limit, insurance value,
    serial number, waiting time, brightness, heat, hardness, entry fee, storage cost, battery charge, loudness,
    sweetness, water level, damage, demand, order number, profit, tax, visitor number, strength, safety
    grade, floor area, reach, smell, error rate, quality, stock, turnover, energy use, reserve price, age
    limit, popularity""".replace("\n   ", "").split(", "))
UNITS = tuple(tuple(row.split()) for row in (
    "inches feet furlongs fathoms leagues cubits", "pints barrels quarts bushels pecks bowls",
    "stones drams grains pounds sacks",
    "weeks seconds decades nights quarters", "acres fields plots squares yards"))

FRAMES = (
    "[Please book|Book|Reserve] a table for {people} in {town} at {time}.",
    "[Send|Post|Mail] {message} to {person}.", "Order {count} {things} in {colour} [for|on behalf of] {person}.",
    "Remind {person} on {date} at {time} about {title}.",
    "I [sold|bought] my {colour} {item} for {amount} {currency} in {town}.",
    "{person} [moves|is moving] from {from} to {to} on {date}.",
    "[Change|Convert] {amount} {currency}, please; I leave for {country} on {day}.",
    "[Call|Ring] {person} at {phone} before {time}.",
    "The meeting {title} starts at {time} on {day} in the {place}.", "Please translate {message} into {language}.",
    "{person} ({email}) asked for {count} {things}.", "The package {code} was left at {street} on {date}.",
    "Rename {id} to {word} before {time}.", "Set {id} to {count}[, please|].",
    "We need {kilos} kilos of {food} by {day}.", "{person} is {a_job} from {town} who speaks {language}.",
    "Hire {a_job} in {town} for {hours} hours on {day}.", "Mark {title} as read and move it to {id}.",
    "Find {food} for {people} people under {amount} {currency}.",
    "Flight {code} from {from} to {to} leaves at {time}.", "Write {word} on the {colour} {item}.",
    "My {animal} ate the {plant} in the {place}.", "In {month} {person} teaches {language} to {people} people.",
    "Look up {person} in {country}, born on {date}.", "Transfer {amount} {currency} from {id} to {person}.",
    "Put {title} on shelf {code} in the {place}.",
    "[Tell|Let] {person} [know |]that {title} is on {date} in {town}.",
    "{count} {things} go to {street}, {town}, by {day}.",
    "The {colour} {item} of {person} was seen in {town} at {time}.",
    "Save {message} under {id} with the code {code}.",
)


class Offer(NamedTuple):
    """Something on offer: identifier, what it does (base form), and a need it serves with the values in it."""

    name: str
    does: str
    need: str
    details: dict[str, Any]


def third(does: str) -> str:
    """Put what is done into the third person.

    >>> third("carry lamps"), third("fix clocks"), third("look up a word")
    ('carries lamps', 'fixes clocks', 'looks up a word')
    """
    verb, _, rest = does.partition(" ")
    if verb.endswith(("s", "x", "sh", "ch")):
        verb += "es"
    else:
        verb = verb[:-1] + "ies" if verb[-1] == "y" and verb[-2] not in "aeiou" else verb + "s"
    return f"{verb} {rest}"


@cache
def _table(name: str, split: str) -> tuple[tuple[tuple[str, ...], str, tuple[str, ...]], ...]:
    rows = {"topics": TOPICS, "services": SERVICES, "operations": OPERATIONS}[name]
    return reserve([(tuple(words.split()), does, tuple(needs.split(" / "))) for words, does, needs in rows], split)


@cache
def _frames(split: str) -> tuple[str, ...]:
    return reserve(FRAMES, split)


@cache
def _slots(template: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(re.findall(r"\{(\w+)\}", template)))


def request(d: Draw, template: str) -> tuple[str, dict[str, Any]]:
    """Write a request of topics or frames: the sentence, and the values of the slots that occur in it."""
    slots = [slot.removeprefix("a_") for slot in _slots(template)]
    values = {slot: SLOTS[slot][0](d) for slot in slots if slot in SLOTS}
    while values.get("to", "") == values.get("from"):
        values["to"] = d.town()
    articles = {f"a_{slot}": an(str(value)) for slot, value in values.items()}
    return d.fill(template, **values, **articles, things=plural(d.word("thing"))), values


def some_request(d: Draw) -> tuple[str, dict[str, Any]]:
    """Draw a request with at least one value in it."""
    if d.chance(0.6):
        return request(d, d.one(_frames(d.split)))
    while True:
        text, values = request(d, d.one(d.one(_table("topics", d.split))[2]))
        if values:
            return text, values


def offers(d: Draw, n: int) -> list[Offer]:
    """Draw n different offers of one sort; near neighbours share the deed or the thing, so both must be read."""
    at, rows = d.random(), []
    if at < 0.25:
        for words, does, needs in d.some(_table("topics", d.split), n):
            need, details = request(d, d.one(needs))
            rows.append((words, d.fill(does), need, details))
    elif at < 0.45:
        table = _table("services", d.split)
        many = n <= len(table) and d.chance(0.7)
        kinds = d.some(table, n) if many else [d.one(table)] * n
        things = d.several(d.noun, n) if not many or d.chance(0.5) else [d.noun()] * n
        for (words, does, needs), thing in zip(kinds, things, strict=True):
            slots = {"t": thing, "p": plural(thing), "a": an(thing), "c": d.word("colour"), "town": d.town()}
            need = d.one(needs)
            details = {"item": thing} | {label: slots[s] for s, label in (("town", "town"), ("c", "colour"))
                                         if s in _slots(need)}
            rows.append(((*words, thing), d.fill(does, **slots), d.fill(need, **slots), details))
    else:
        rows = _operations(d, n)
    out: dict[str, Offer] = {}
    for words, does, need, details in rows:
        at = d.random()
        name = "_".join(words[:3]) if at < 0.3 else d.identifier(d.one(words))
        while (name := name.replace(" ", "_")) in out:
            name = d.identifier(d.one(words))
        out[name] = Offer(name, does, need, details)
    return d.shuffled(out.values())


def some_property(d: Draw) -> str:
    """Draw what a thing may have: a listed property or a made-up one."""
    return d.one(reserve(PROPERTIES, d.split)) if d.chance(0.6) else d.made_up()


def _operations(d: Draw, n: int) -> list[tuple[Any, ...]]:
    table, nouns = _table("operations", d.split), ("thing", "thing", "animal", "plant")
    noun, k, fixed = d.noun(d.one(nouns)), some_property(d), d.one(table) if d.chance(0.4) else None
    rows: dict[str, tuple[Any, ...]] = {}
    while len(rows) < n:
        words, does, needs = fixed or d.one(table)
        if fixed or len(rows) > 3 or d.chance(0.1):  # a small table soon has nothing new to say about one noun
            k = some_property(d)
            noun = d.noun(d.one(nouns)) if d.chance(0.6) else noun
        (x, y), (u, v) = d.several(d.name, 2), d.some(d.one(reserve(UNITS, d.split)), 2)
        slots = {"k": k, "n": noun, "an": an(noun), "ns": plural(noun), "x": x, "y": y, "q": d.number(2, 900), "u": u,
                 "v": v,
                 "town": d.town(), "person": d.person(), "day": d.one(DAYS), "adj": d.word("adjective")}
        need = d.one(needs)
        labels = {"x": noun, "y": f"other {noun}", "town": "town", "person": "owner", "day": "day", "q": "number"}
        details = {labels[s].replace(" ", "_"): slots[s] for s in _slots(need) if s in labels}
        stems = tuple(w.format(**slots) for w in words)
        stems = (stems[0], noun, *stems[1:]) if words[1] == "{k}" else stems
        rows.setdefault(does.format(**slots), (stems, d.fill(does, **slots), d.fill(need, **slots), details))
    return list(rows.values())
