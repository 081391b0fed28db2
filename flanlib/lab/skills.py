"""The families of the general conversation in which everything asked for stands in the text itself.

A family takes a :class:`~flanlib.lab.words.Draw` and returns a system text (or "") and pairs of what the
user says and what the assistant answers. Nothing here knows of agents, calls or their formats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flanlib.lab.families import entities, question_on, state, story
from flanlib.lab.offers import SLOTS, Offer, offers, some_request, third
from flanlib.lab.words import Draw, an, join, plural, upper_first
from flanlib.records import to_json

Talk = tuple[str, list[tuple[str, str]]]
# Exchanges a conversation has at most. Many about one text: what is asked of a text is worth more than the text.
MOST = 8
NTH = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")


def reading(d: Draw) -> Talk:
    """Answer questions about a short text."""
    n = d.number(1, 4)
    told = entities(d, n, d.number(2, 4 if n < 3 else 2))
    text, brief = story(d, *told), d.chance(0.5)
    pairs = list(dict(question_on(d, *told, brief) for _ in range(d.one((1, 2, 3, 4, 5, 6)))).items())
    hint = d.fill("[Answer briefly.|Just the answer, please.|Keep the answers short.|Short answers only.]" if brief else
                  "[|||Answer in a sentence.|Please answer in full sentences.]")
    if d.chance(0.25):
        lead = "[Use this text to answer.|You know the following.|Text:|What you know:]"
        return d.fill(lead + " {t} {h}", t=text, h=hint).strip(), pairs
    lead = d.fill("[Read this.|Here is a text.|Please read this text.||Text:|I have a question.|A note:]")
    first = d.fill(("{lead} {t}\n\n{q} {h}", "{lead} {t} {h} {q}", "{q} {h}\n\n{t}", "{lead}\n{t}\n{q} {h}"), lead=lead,
                   t=text, q=pairs[0][0], h=hint)
    first = first.replace("  ", " ").replace(" \n", "\n").strip()
    return "", [(first, pairs[0][1]), *pairs[1:]]


# How the user asks for a choice, and how the assistant then answers: name only, need first, or name first.
_ASK = ("[Which one would you use? Just the name.|Name the right {w}.|Give only the name.|Which {w}? Name only.]",
        "[What is to be done, and which {w} can do it?|Say what is needed, then which {w}.|Need first, then the {w}.]",
        "[Which {w} fits, and why?|Which one, and why?|Which {w} should I ask? Say why.]")
_TELL = ("{name}", "The task is to {does}. {name} can do that.", "{name}, because it can {does}.")
_TELL_THIRD = ("{name}", "You need {w} that {does}. That is {name}.", "{name}, because it {does}.")
_LITERAL = "[I want to|I have to|We need to|My task is to|Somebody should|I need someone to|It is time to] {does}."
_STEP = "[What kind of {w} is needed here?|What do I need?|What would help here?|What should be done?|How do I start?]"
_WHICH = "[Then which one|So which one|And which is that|Its name|Which {w} does that|And its name|Which is it]?"
_EACH = ("[And the|What is the|Which] {k}?", "[And|So] what do I [say for|put under|write for] {k}?",
         "[{K}|`{k}`]?", "What about [the |]{k}?")
_NONE = ("None of them.", "None of them can do that.", "None of them fits.")


def choosing(d: Draw) -> Talk:
    """Choose from an offered list of described things, in plain words or by name, and say what it needs."""
    made, what = offers(d, d.number(3, 7)), d.one(("helper", "desk", "drawer", "machine", "service", "tool", "clerk",
                                                   "counter",
                                                  "office", "assistant", "robot"))
    base, with_details = d.chance(0.5), d.chance(0.35)
    # Mostly what it does comes before what it is called, as in a list of tools.
    form = d.one(("- {D}: {n}", "- {D}: {n}", "* {D}: {n}", "{D}: {n}", "{D} - {n}", "{i}. {D}: {n}", "- {D} ({n})",
                  "- {n}: {D}." if base else "- {n} {d}."))
    tails = (" Needs: {}.", " It needs: {}.", " (needs: {})", " [{}]", "\n  needs {}", "\n  {}", "\n  {}")
    tail = d.one(tails) if with_details else ""
    if tail.startswith((" N", " I")) and form[-1] not in ".)":
        form += "."
    told = {o.name: o.does if base else third(o.does) for o in made}
    lines = [form.format(n=o.name, d=told[o.name], D=upper_first(told[o.name]), i=i) + _needs(o, tail)
             for i, o in enumerate(made, 1)]
    head = d.fill("[These are the|Here are the|You may ask these|There are {n}|The available|We have {n}] {p}:",
                  p=plural(what), n=len(made))
    listing, style, pairs = head + "\n" + "\n".join(lines), d.number(0, 2), []
    for _ in range(d.one((2, 3, 4, 5, 6))):
        exchange = _choice(d, made, told, what, base, style, with_details)
        pairs += exchange if exchange[0] not in pairs else []
    if d.chance(0.4):
        return listing, pairs
    first = f"{listing}\n\n{pairs[0][0]}" if d.chance(0.7) else f"{pairs[0][0]}\n\n{listing}"
    return "", [(first, pairs[0][1]), *pairs[1:]]


def _needs(offer: Offer, tail: str) -> str:
    """Write what an offer needs to know: in a row, or a line each with the sort of value."""
    if tail == "\n  {}":
        return "".join(tail.format(f"{k} ({'text' if isinstance(v, str) else 'number'})")
                       for k, v in offer.details.items())
    return tail.format(", ".join(offer.details))


def _choice(d: Draw, made: list[Offer], told: dict[str, str], what: str, base: bool, style: int,
            with_details: bool) -> list[tuple[str, str]]:
    """Draw an exchange, or two that belong together, about a list of offers."""
    one, at = d.one(made), d.random()
    does, ask = told[one.name], d.fill(_ASK[style], w=what)
    # Half of the needs say what is to be done in the words of the list: matching words comes before meaning.
    need = d.fill(one.need if d.chance(0.5) else _LITERAL, does=one.does)
    answer = d.fill((_TELL if base else _TELL_THIRD)[style], name=one.name, does=does, w=an(what))
    absent = d.one(offers(d, 3)) if at < 0.16 else one
    if at < 0.16 and not any(_alike(absent.does, o.does) for o in made):
        return [(f"{absent.need} {ask}", _NONE[style])]
    if at < 0.2:
        return [(d.fill("[What does {n} do?|What is {n} for?|Tell me about {n}.]", n=one.name),
                 f"It {third(one.does)}." if not base
                 else f"It can {does}.")]
    if at < 0.26:
        return [(d.fill("[Which|What] {w} can {does}?", w=what, does=one.does), one.name)]
    if at < 0.29:
        i = d.number(1, len(made))
        return [(d.fill("[Which one is {nth}?|Give the name of the {nth} one.]", nth=NTH[i - 1]), made[i - 1].name)]
    if at < 0.31:
        return [(d.fill("[Just list the names.|All the names, please.]"), ", ".join(o.name for o in made))]
    if at < 0.36 and with_details and one.details:
        return [(d.fill("What does {n} need[ to know|]?", n=one.name),
                 f"It needs {join(f'the {x}' for x in one.details)}.")]
    if at < 0.56:  # first what is needed, in the words of the list; then which one, and with what
        about = "[{a} that can {d}.|First I would {d}.|The next step is to {d}.|Somebody has to {d}.|To answer, I {d}.]"
        details = d.shuffled(one.details.items())[: d.number(0, 3)] if need == one.need else []
        return [(f"{need} {d.fill(_STEP, w=what)}", d.fill(about, a=upper_first(an(what)), d=one.does)),
                (d.fill(_WHICH, w=what), one.name), *((d.fill(d.one(_EACH), k=k, K=upper_first(k)), str(v))
                                                      for k, v in details)]
    if at < 0.60 and len(made) > 1:
        other = d.one([o for o in made if o is not one])
        return [(d.fill("{a} [After that:|Then:|Next:] {b} [Which two?|Name the two {p} in order.]", a=need,
                        b=other.need, p=plural(what)), f"{one.name}, then {other.name}")]
    if at < 0.72 and one.details:
        if d.chance(0.4):
            ask = d.fill("[Which one, and with what|Whom do I ask, and what do I give]?")
            return [(f"{one.need} {ask}", f"{one.name}, with {join(f'{k} {v}' for k, v in one.details.items())}.")]
        if d.chance(0.6):
            each = d.one(_EACH)
            return [(f"{one.need} {ask}", answer),
                    *((d.fill(each, k=k, K=upper_first(k)), str(v)) for k, v in d.shuffled(one.details.items()))]
        ask_details = d.fill("[What do I tell it?|And what does it need from me?|Which details do I give?]")
        return [(f"{one.need} {ask}", answer), (ask_details, "\n".join(f"{k}: {v}" for k, v in one.details.items()))]
    return [(f"{need} {ask}", answer)]


def _alike(a: str, b: str) -> bool:
    """Return True if two deeds might serve one need: the same thing, or mostly the same words."""
    one, two = a.split(), b.split()
    return one[-1] == two[-1] or one[0] == two[0] or len(set(one) & set(two)) > 3


def extracting(d: Draw) -> Talk:
    """Take values out of a request, one after the other, or write them down under labels."""
    text, values = some_request(d)
    values = {slot: v[1:-1] if isinstance(v, str) and v[0] == '"' else v for slot, v in values.items()}
    given = d.shuffled(values)[:d.number(2, 5)]
    lead = d.fill("[||Request: |Someone writes: |Take this request: |A customer says: |I got this: ]") + text
    if len(given) > 1 and d.chance(0.35):
        labels = {s: d.one(SLOTS[s][2].split()) if d.chance(0.5) else s for s in given}
        keys = ", ".join(labels.values()) if len(set(labels.values())) == len(labels) else ", ".join(given)
        data = dict(zip(keys.split(", "), (values[s] for s in given), strict=True))
        if d.chance(0.45):
            return "", [(d.fill("{t}\n[Fill in|Write out|Give] [one per line|with labels|these lines]: {k}", t=lead,
                                k=keys),
                         "\n".join(f"{k}: {v}" for k, v in data.items()))]
        return "", [(d.fill("{t}\n[Put this into JSON with|Write JSON with|As a JSON object with] the keys {k}.",
                            t=lead, k=keys),
                     to_json({k: numeric(v) for k, v in data.items()}))]
    pairs = [(d.one(SLOTS[s][1].split(" / ")) + "?", str(values[s])) for s in given]
    if d.chance(0.12):
        absent = d.one([s for s in ("colour", "language", "animal", "month", "currency", "phone",
                                    "email") if s not in values])
        pairs = [*pairs[:3], (d.one(SLOTS[absent][1].split(" / ")) + "?", "It does not say.")]
    return "", [(f"{lead}\n{pairs[0][0]}", pairs[0][1]), *pairs[1:]]


def numeric(value: Any) -> Any:
    """Return a written number as a number where JSON writes it the same way.

    >>> numeric("4.25"), numeric("007"), numeric("Lyon")
    (4.25, '007', 'Lyon')
    """
    try:
        number = float(value) if "." in str(value) else int(value)
    except ValueError:
        return value
    return number if str(number) == str(value) else value


def copying(d: Draw) -> Talk:
    """Repeat, pick, spell and count strings that nobody has seen."""
    return "", [_copy(d) for _ in range(d.one((1, 2, 3, 4, 5)))]


def _copy(d: Draw) -> tuple[str, str]:
    sorts: tuple[Callable[[], str], ...] = (
        d.noise, d.noise, d.identifier, d.code, d.name, d.quote, d.sentence, d.made_up, d.town, d.date,
        lambda: str(d.number(10, 99999)), lambda: d.word("thing"))
    at = d.random()
    if at < 0.3:
        text = d.one(sorts)() if d.chance(0.7) else " ".join(d.one(sorts)() for _ in range(d.number(2, 4)))
        return d.fill(("[Repeat|Copy|Write|Say] [this|the following][ exactly| without any change|]: {t}",
                       "[Repeat|Copy] after me: {t}", "{t}\n[Repeat that.|Copy the line above.|Say it again.]",
                       "[Give|Send] this back to me:\n{t}"), t=text), text
    if at < 0.42:
        text = d.one(sorts)().replace('"', "'")
        said = d.fill("[{n} said|On the door it says|The note reads]", n=d.name()) + f' "{text}". {d.sentence()}'
        return said + d.fill(" [What is in quotes?|Which words are quoted?|Copy the quoted part.]"), text
    if at < 0.5:
        word = d.one((d.made_up, lambda: d.word("animal"), lambda: d.word("stem"), d.code))()
        sign, how = d.one((("-", "hyphens"), (" ", "spaces"), (", ", "commas")))
        return d.fill("[Spell|Spell out] {w} with {how}.", w=word, how=how), sign.join(word)
    sort, n = d.one(sorts), d.number(3, 6)
    items = d.several(sort, n) if d.chance(0.6) else d.several(lambda: d.one(sorts)(), n)
    i, mark = d.number(0, n - 1), d.one(("{}. {}", "- {1}", "{1}", "* {1}"))
    listing = "\n".join(mark.format(k, x) for k, x in enumerate(items, 1)) if d.chance(0.8) else " ; ".join(items)
    ask, answer = d.one((
        ("[Repeat the {nth} item.|Give me the {nth} one.|What is the {nth} entry?]", items[i]),
        ("[Repeat the {nth} item.|Give me the {nth} one.|What is the {nth} entry?]", items[i]),
        ("[Which is the last one?|Repeat the last item.]", items[-1]),
        ("What comes [right |]after {x}?", items[(i + 1) % n]) if i + 1 < n else ("What is first?", items[0]),
        ("[How many items are there?|Count them.]", str(n)),
        ("[Give them in reverse order.|Turn the order around.]", "\n".join(reversed(items))),
        ("[Leave out the {nth} one.|All but the {nth} one, please.]", "\n".join(items[:i] + items[i + 1:]))))
    return f"{listing}\n{d.fill(ask, nth=NTH[i], x=items[i])}", answer


def labelling(d: Draw) -> Talk:
    """Turn facts into JSON, labels or bullets, read values out of them, and put short results into words."""
    return d.one((_record, _record, _record, _result, _result, _object, _list))(d)


def _record(d: Draw) -> Talk:
    """Write a text as JSON or labelled lines, or read values out of such a record."""
    n = d.one((1, 1, 2))
    told = kind, names, attributes, values = entities(d, n, d.number(2, 4 if n == 1 else 2))
    rows = [{a.label.replace(" ", "_"): numeric(v) for a, v in zip(attributes, row, strict=True)} for row in values]
    keys = list(rows[0])
    if n == 2 or d.chance(0.5):
        rows = [{kind: name.strip('"').removeprefix("the ")} | row for name, row in zip(names, rows, strict=True)]
    shown, at = ", ".join(rows[0]), d.random()
    written = to_json(rows[0] if n == 1 else rows)
    labels = "\n\n".join("\n".join(f"{upper_first(k.replace('_', ' '))}: {v}" for k, v in row.items()) for row in rows)
    if at < 0.4:
        form = "[as|in the form of] " + ("[JSON|a JSON object]" if n == 1 else "a JSON list")
        return "", [(d.fill("{t}\n\n[Write|Give me|I need] this " + form + " with the keys {k}.", t=story(d, *told,
                                                                                                          mixed=False),
                            k=shown), written)]
    if at < 0.6:
        return "", [(d.fill("{t}\n\n[Give|Write] {k} as lines with labels.", t=story(d, *told, mixed=False),
                            k=shown.replace("_", " ")), labels)]
    i, pairs = d.number(0, n - 1), []
    for key in d.some(keys, d.number(1, 2)):
        of = f" for {rows[i][kind]}" if n == 2 else ""
        pairs.append((d.fill(("[What does it say|Which value stands] under '{k}'{of}?",
                              "[Give|Read out] the value of {k}{of}.",
                              "Read '{k}'{of}."), k=key.replace("_", " "), of=of), str(rows[i][key])))
    return "", [(f"{d.one((written, labels))}\n{pairs[0][0]}", pairs[0][1]), *pairs[1:]]


def _result(d: Draw) -> Talk:
    """Put a short result, or two of them, into words."""
    _, names, attributes, values = entities(d, 2, d.number(1, 3))
    results = [to_json({a.label.replace(" ", "_"): numeric(v) for a, v in zip(attributes, row, strict=True)})
               for row in values]
    first = attributes[0]
    if first.more and d.chance(0.5):
        best = int(values[1][0] > values[0][0])
        ask = d.fill("[Here is|I found out about|I know of] {a}: {x}\n[And|Also] {b}: {y}\nWhich [one |]is {more}?",
                     a=names[0], b=names[1], x=results[0], y=results[1], more=first.more)
        answer = f"{names[best]} is {first.more}: {values[best][0]} against {values[1 - best][0]}."
        return "", [(ask, upper_first(answer))]
    question = d.fill(first.questions, n=names[0]) + "?"
    fact = upper_first(state(d, first, names[0], values[0][0])) + "."
    if d.chance(0.5):
        ask = d.fill("[The answer that came|The result|What I got] is {r} [Say it in a sentence.|Put it in words.]",
                     r=results[0])
        return "", [(f"{question}\n{ask}", fact)]
    ask = d.fill("[I looked up|Here is what I have on] {n}: {r}", n=names[0], r=results[0])
    return "", [(ask, d.fill("[Good.|I see.|Noted.] What would you like to know?")), (question, fact)]


def _object(d: Draw) -> Talk:
    """Read a value out of a JSON object, sometimes one level down."""
    keys = d.some(("town", "colour", "food", "animal", "job", "country", "language", "plant", "hobby", "material"),
                  d.number(2, 4))
    data = {k: d.word(k) for k in keys}
    more = {d.identifier(): d.number(1, 999) for _ in range(d.number(1, 2))} | {d.made_up(): d.one((True, False, None))}
    key = d.one([*keys, *more])
    value = (data | more)[key]
    return "", [(d.fill("{j}\n[What is the value of {k}?|Give me the value of {k}.|Read out {k}.]", k=key,
                        j=to_json({d.identifier(): data, **more} if d.chance(0.5) else {**data, **more})),
                 value if isinstance(value, str) else to_json(value))]


def _list(d: Draw) -> Talk:
    """Write a few words in another form."""
    sort = d.one(("food", "thing", "animal"))
    items = [x if sort == "food" else plural(x) for x in d.words(sort, d.number(2, 5))]
    form, answer = d.one((
        ("a JSON list", to_json(items)), ("bullets", "\n".join(f"- {x}" for x in items)),
        ("a numbered list", "\n".join(f"{i}. {x}" for i, x in enumerate(items, 1))),
        ("one line with commas", ", ".join(items)), ("words in square brackets", " ".join(f"[{x}]" for x in items)),
        ("words in braces", " ".join(f"{{{x}}}" for x in items))))
    ask = "[We saw|There are|She likes|I asked for] {x}. [Write that as|Give me that as|Show that as] {f}."
    return "", [(d.fill(ask, x=join(items), f=form), answer)]
