"""How tasks of the lab are worded: many small alternatives per part, so that no text follows one template.

Everything asked for is first told as a phrase of one *mood*: ``noun`` (the fare of X), ``nouns`` (the
towns in X), ``whether`` (X has a lift), ``which`` (which of X and Y is taller), ``do`` (book a seat).
``[a|b]`` is one of several wordings and ``{name}`` a slot, see
:class:`flanlib.lab.words.Draw`; " / " parts alternatives.
"""

from __future__ import annotations


def _parts(text: str) -> tuple[str, ...]:
    """Split a block of alternatives."""
    return tuple(" ".join(part.split()) for part in text.split("/"))


def _by_mood(**blocks: str) -> dict[str, tuple[str, ...]]:
    return {mood: _parts(text) for mood, text in blocks.items()}


# What a call asks for, by the tool's verb: mood and words.
WANT: dict[str, tuple[str, str]] = {
    "lookup": ("noun", "the {words} [of|for|of|of {the_noun}] {entity}"),
    "check": ("whether", "{entity} {yes}"),
    "list": ("nouns", "[all|the|all the|the names of the|every one of the] {plural} {where}"),
    "count": ("noun", "the [number|count|exact number|total number] of {plural} {where}"),
    "extreme": ("noun", "the [{best} {noun}|{best} {noun}|{best} of the {plural}] {where}"),
    "rank": ("noun", "the {noun} [with|that has] the {order} {words} {where}"),
    "above": ("nouns", "[the|all|all the] {plural} {where} with {a_words} [above|over|of more than|higher than] "
              "{limit}"),
    "match": ("nouns", "[the|all|all the] {plural} {where} [whose {words} is {choice}|that have {choice} as "
              "{words}|with {choice} as their {words}]"),
    "find": ("noun", "the {noun} [whose {words} is|that has the {words}|of the {words}] {person}"),
    "link": ("noun", "the {words} [of|for|of {the_noun}] {entity}"),
    "total": ("noun", "the [total|combined|summed] {words} of {entities}"),
    "convert": ("noun", "[the value of |the size of |]{amount} {unit} in {other}"),
    "reserve": ("do", "{do} {a_thing} {at} {entity} [for {guest} on {date}|on {date} for {guest}|in the name of "
                "{guest} on {date}|on {date} under the name {guest}] {extra}"),
}

# Sentences that ask for it, by mood.
REQUEST = _by_mood(
    noun="""
        [What is|What would be|What exactly is] {want}? / [Please|Kindly|Now] [tell me|look up|find|check] {want}. /
        [Can|Could|Would|Will] you [please |]{ask} {want} [for me|quickly]? / I [need|am after|want] {want}. /
        [Can|Could|Would] you [please |]{ask} {want}? / I [would like|want|have] to know {want}. / [Do you know|Can
        you say|Any idea] what {want} is? / {Ask} {want}[, please|]. / [My question is about|I ask for] {want}. / I
        [cannot find|could not find|have forgotten|lost my note of] {want}.""",
    nouns="""
        [What are|Which are] {want}? / [Please|Kindly] [list|name|give me|show me] {want}. / I [need|want] {want}. /
        [Can|Could|Would] you [please |][list|name|show me|give me] {want}? / [List|Name|Show me] {want}[, please|].
        / I [would like|want|have] to see {want}. / I am [looking for|trying to find|collecting] {want}.""",
    whether="""
        [Is it true that|Can you say if|Do you know whether] {want}? / [Please|] [tell me|check|find out]
        [if|whether] {want}. / I [would like|need|want|have] to know [if|whether] {want}. / [Can|Could|Would] you
        [check|find out] [if|whether] {want}? / I [wonder|am not sure|cannot remember] [if|whether] {want}. /
        [Somebody|A friend|My sister] says {want}. Is that [right|so|true]?""",
    which="""
        [Tell me|Find out|Please say|Work out|Check] {want}. / [Can|Could|Would] you [tell me|say|find out|work out]
        {want}? / I [would like|need|want|have] to know {want}. / [Do you know|Can you see] {want}? / I [wonder|am
        not sure|cannot decide] {want}. / [My question is|The question is|We argue about] {want}.""",
    do="""
        [Please|Kindly] {want}. / [Can|Could|Would|Will] you [please |]{want}? / I [want|need|would like] you to
        {want}. / {Want}[, please|, if you can|]. / [It is time to|Help me to|My plan is to|I have to] {want}. / I
        [would like|want|wish] to {want}.""",
)
ASK = _parts("""tell me / find / look up / check / get me / give me / find out""")

# Around a request; an empty one is no sentence.
OPENERS = _parts("""
    / / / Hello. / Hi there. / Good morning. / Good evening. / Excuse me. / One question. / A quick one. / Dear
    assistant! / Hey! / Hello again. / [Sorry|Pardon me], one more thing.""")
REASONS = _parts("""
    / / / [I am|We are] [writing|finishing|checking] a [report|list|letter|poster]. / My [brother|aunt|boss|teacher]
    asked [me|us] about it. / It is for [a quiz|a class|my diary|the newsletter|a small talk]. / [I am|We are]
    planning [a trip|next week|the weekend|a visit]. / [I have|We have] a [bet|meeting|deadline]
    [today|tonight|tomorrow]. / [I|We] must [decide|know|answer] [soon|today|by noon]. / [A friend|My
    neighbour|Someone at work] wants to know. / My [notes|papers|old records] are [lost|wrong|out of date]. / [I
    am|We are] [curious|not sure|a bit lost]. / There is [some|a little|no] hurry.""")
CLOSERS = _parts("""
    / / / / [Thanks|Thank you][!|.| a lot.| in advance.] / [A short|A plain|One] [reply|answer] is [enough|fine]. /
    [Take your time|No need to hurry]. / That is all [I need|for now]. / [I will wait|I am waiting]. / It would
    help [me|us] [a lot|very much].""")

# What the user wants, inside a thought, by mood.
AIM = _by_mood(
    noun="""
        [The user|This person] [wants|asks for|needs|is looking for|would like] {want} / [The question|The request]
        is [about|for] {want} / [I am asked|They ask me|Somebody asks] [for|about] {want} / [What is missing|What I
        need here|The thing to find] is {want}""",
    whether="""
        [The user|This person] [wants to know|asks|is not sure] whether {want} / [I am asked|They ask me]
        [if|whether] {want} / The [question|doubt|point] is whether {want}""",
    do="""
        [The user|This person] [wants|asks|needs|would like] me to {want} / [I am asked|They ask me|The request
        is|The task is] to {want}""",
)
AIM["nouns"] = AIM["noun"]

# How one call will do, by mood.
PLAN = _by_mood(
    noun="""
        , so I [should|must|have to|will] look it up / , and [one look-up|a single request|one check] [gives|will
        give] [that|it] / , which I [do not know|cannot guess], so I [ask|check] first / , so [the next step|my next
        move] is to find it / . I [should|must] not guess, [the records know|it is on record]""",
    whether="""
        , so I [should|must|have to|will] check it / , and [one check|a single request] will tell / . I [must|should]
        not guess that / , so [the next step|my next move] is to look at the record""",
    do="""
        , so I [should|must|have to|will] make it / , and all the details [for it are|are] given / . Nothing is missing,
        so [it can be made|I go ahead] / , so [the next step|my next move] is to do it""",
)
PLAN["nouns"] = PLAN["noun"]

# Thoughts of a chain: {goal} is where it leads, {want} what comes now, {fact} what the last call gave; NEXT by mood.
FIRST = _parts("""
    To [get to|find|reach|work out] {goal} I first [need|have to know|must find] {want}. / [First|To begin|As a first
    step] I need {want}, since {goal} [depends|rests] on it. / I [cannot|can not] get {goal} [before|until] I know
    {want}. / [The user|This person] wants {goal}, [but|and] that [needs|calls for|asks for] {want} first. / There is
    a step [before|ahead of] {goal}: I [must|have to|should] find {want}.""")
NEXT = _by_mood(
    noun="""
        [The first answer|What I found|The result] is {fact}, so [now|next] I [need|want|look for] {want}. / It is
        {fact}. [Now|Next] [the user needs|I look for|I have to find|I need] {want}. / [Since|Because|As] it is
        {fact}, the next thing to [find|know|look up] is {want}. / [Now that I have|Knowing] {fact}, I can [look
        for|ask for|get|find] {want}. / {want_up} [comes|is] next, [because|since] the [last|first] step gave
        {fact}.""",
    do="""
        [The first answer|What I found|The result] is {fact}, so [now|next] I can {want}. / It is {fact}. [Now|Next]
        [the user wants me to|I have to|I should] {want}. / [Since|Because|As] it is {fact}, the next thing to do is
        to {want}.""",
    whether="""
        [The first answer|What I found|The result] is {fact}, so [now|next] I check whether {want}. / It is {fact}.
        [Now|Next] [the user needs|I have] to know whether {want}. / [Since|Because|As] it is {fact}, what is left to
        [find|check] is whether {want}.""",
)
NEXT["nouns"] = NEXT["noun"]

# Thoughts of several calls of one tool: a comparison, a difference or a total.
START = _parts("""
    To {aim} I need the {words} of [each {noun}|every {noun}|all of them], [starting with|and I begin with|first of]
    {entity}. / [The user|This person] wants me to {aim}, so I [begin|start] with the {words} of {entity}. / I have
    to {aim}; [first|to begin] I [need|look up|check] the {words} of {entity}. / [The {words} of {entity}|What
    {entity} has as its {words}] comes first, [because|since] I must {aim}.""")
GO_ON = _parts("""
    {last} has {value}; [now|next] I [need|look up|want] the {words} of {entity} to {aim}. / [That is|I have] {value}
    for {last}, so [now|next] comes the {words} of {entity}, to {aim}. / With {value} for {last} [known|noted], I
    still [need|want|lack] the {words} of {entity}. / To {aim} I [also|still] need the {words} of {entity},
    [after|beside] {value} for {last}.""")
AIMS = _by_mood(
    compare="""compare them / see which one it is / decide between them / rank them""",
    difference="""find the difference / see how far apart they are / compare them""",
    total="""add them up / find the sum / get the total / sum them""",
)

# The thought before the answer, and the answer, by mood or shape.
CLOSING = _parts("""
    [Now I have|I now know|That gives me|The result shows] {said}, [so|and] [I can|it is time to] [answer|reply to]
    the user. / {said_up} is [what was asked for|what the user wanted|the missing piece], [so|and] I can
    [answer|reply|tell them] now. / [Nothing more|No other step] is needed: {said} will [do|serve] as the
    [answer|reply] to the [question|request]. / [The result|The record] [says|gives|reads] {said}, [which|and that]
    is [enough for|all I need for] the answer.""")
ANSWER = _by_mood(
    noun="""
        {want_up} is {said}. / [It is|The answer is|That is|That would be] {said}. / {said_up}: that is {want}. / [I
        found|I looked it up, and I have|The record gives] {said} [for|as] {want}. / {said_up} is {want}.""",
    nouns="""
        {want_up}: {said}. / [I found|There is|The list has|The record names] {said}. / [Here you are|As asked]:
        {said}. / [You asked for|These are the results for] {want}: {said}.""",
    whether="""
        {yes_no}, {fact}. / {yes_no}: [I checked, and|the record says that|as far as the record goes] {fact}. / [I
        checked|I looked]: {yes_no_low}, {fact}. / [It turns out that|The record says that] {fact}, so the answer is
        {yes_no_low}.""",
    do="""
        [Done|All set|It is done]: [the|your] [code|reference] is {said}. / I [made|placed] [it|the order];
        [the|your] [code|reference] is {said}. / [Your|The] [code|reference] [is|for {guest} is|for {date} is] {said}. /
        [Please keep|Note down|Use] [the|this] [code|reference]: {said}.""",
    which="""
        {winner} [has|shows] the {more} {words}: {values}. / [It is|The answer is|That is] {winner}: {values}. /
        {winner} [is ahead|wins|is the one]: {values}. / [With|At] {best} [against|and not] {rest}, {winner} has the
        {more} {words}.""",
    difference="""
        The difference is {said}: {values}. / {values_up}, so [the difference is|they differ by|the gap is] {said}. /
        [They differ by|There are] {said}[ between them|]: {values}.""",
    total="""
        The total is {said}: {values}. / {values_up}, [which makes|so together that is|and that adds up to] {said}. /
        [Together they have|It adds up to|In all that is] {said}: {values}.""",
)
COURTESY = _parts("""
    / / / / / [Sure|Of course|Gladly]. / [Good|Thanks for the] question. / [I had a look|I checked that for you]. /
    Here you go.""")

# What a comparison, a difference and a total ask for: mood and words.
SEVERAL = {
    "compare": ("which", _parts("""
        which {noun} [has|shows] the {more} {words}, {listed} / which of {together} [has|shows] the {more} {words} /
        which {noun} is the {best} by {words}, {listed} / which one of {together} is the {best} in {words}""")),
    "difference": ("noun", _parts("""
        the [difference|gap] in {words} between {together} / the [difference|gap] between the {words} of {one} and
        that of {two}""")),
    "total": ("noun", _parts("""
        the {words} of {together} [together|in total|added up|combined] / the [total|sum] of the {words} of
        {together}""")),
}
