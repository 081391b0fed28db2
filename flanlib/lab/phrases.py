"""The wordings of the lab's tasks: many small alternatives per part, so that texts do not share one template.

Every request contains a phrase of one *mood*: ``noun`` (the fare of X), ``who`` (the chef of X), ``nouns`` (the towns
in X), ``whether`` (X has a lift), ``which`` (which of X and Y is taller), ``do`` (book a seat). ``[a|b]`` is one of
several wordings and ``{name}`` a slot (:class:`flanlib.lab.words.Draw`). "/" separates alternatives.
"""


def _parts(text: str) -> tuple[str, ...]:
    """Split a block of alternatives at "/"."""
    return tuple(" ".join(part.split()) for part in text.split("/"))


def _by_mood(**blocks: str) -> dict[str, tuple[str, ...]]:
    """Split a block for each mood. The one for ``noun`` also serves ``who``, unless that has its own."""
    if "noun" in blocks:
        blocks = {"who": blocks["noun"], **blocks}
    return {mood: _parts(text) for mood, text in blocks.items()}


# The phrase {want} for what a call asks for, by the tool's verb: mood and wordings.
WANT: dict[str, tuple[str, str]] = {
    "lookup": ("noun", "the {words} of [{entity}|{entity}|{the_noun} {entity}]"),
    "check": ("whether", "{entity} {yes}"),
    "list": ("nouns", "[all|the|all the|the names of the|every one of the|the full list of] {plural} {where}"),
    "count": ("noun", "the [number|count|exact number|total number] of {plural} {where}"),
    "extreme": ("noun", "the [{best} {noun}|{best} {noun}|{best} of the {plural}] {where}"),
    "rank": ("noun", "the {noun} {where} [with|that has] the {order} {words}"),
    "above": ("nouns", "[the|all|all the] {plural} {where} with {a_words} [above|over|of more than|higher than] "
              "{limit}"),
    "match": ("nouns", "[the|all|all the] {plural} {where} [whose {words} is {choice}|that have {choice} as "
              "{words}|with {choice} as their {words}]"),
    "find": ("noun", "the {noun} [whose {words} is|that has the {words}|of the {words}] {person}"),
    "link": ("noun", "the {words} of [{entity}|{entity}|{the_noun} {entity}]"),
    "total": ("noun", "the [total|combined|summed] {words} of {entities}"),
    "convert": ("noun", "[the value of |]{amount} {unit} in {other}"),
    "reserve": ("do", "{do} {a_thing} {at} {entity} [for {guest} on {date}|on {date} for {guest}|in the name of "
                "{guest} on {date}|on {date} under the name {guest}] {extra}"),
}
CONVERTED = "{amount} [in|given in|converted to|told in] {other}"

# Sentences that request {want}, by mood.
REQUEST = _by_mood(
    noun="""[What is|What would be|What exactly is] {want}? / [Please|Kindly] [tell me|look up|find|check] {want}. /
        [Can|Could|Would|Will] you [please |][look up|find|find out|check] {want} [for me|for us]? / I [need|am
        after|want|was asked for] {want}. / [Can|Could|Would] you [please |]{ask} {want}? / I [would like|want|have] to
        [know|find] {want}. / [Do you know|Can you say|Any idea] what {want} is? / {Ask} {want}[, please|]. / [My
        question is about|I ask for|It is about|What I am after is] {want}. / I [cannot find|could not find|have
        forgotten|lost my note of] {want}. / [If you can|If possible|When you can], {ask} {want}.""",
    who="""Who [is|might be] {want}? / [Please|Kindly] [tell me|look up|find|check] who {want} is. /
        [Can|Could|Would|Will] you [please |][look up|find out|check] who {want} is? / I [need|am after|want] the name
        of {want}. / [Can|Could|Would] you [please |][tell me|give me|get me] the name of {want}? / I [would
        like|want|have] to know who {want} is. / [Do you know|Can you say|Any idea] who {want} is? / [Find|Look up|Name]
        {want}[, please|]. / [My question is|The question is|I wonder] who {want} is. / I [cannot find|could not
        find|have forgotten|never knew] who {want} is.""",
    nouns="""[What are|Which are] {want}? / [Please|Kindly] [list|name|give me|show me] {want}. / I [need|want|was asked
        for] {want}. / [Can|Could|Would|Will] you [please |][list|name|show me|give me|find] {want}? / [List|Name|Show
        me|Find] {want}[, please|]. / I [would like|want|have] to [see|find] {want}. / I am [looking for|trying to
        find|collecting] {want}. / [My question is about|It is about|What I am after is] {want}. / [If you can|If
        possible|When you can], [list|name|show me|find] {want}.""",
    whether="""[Is it true that|Can you say if|Do you know whether|Is it right that] {want}? / [Please|] [tell
        me|check|find out] [if|whether] {want}. / I [would like|need|want|have] to know [if|whether] {want}. /
        [Can|Could|Would] you [please |][check|find out|tell me] [if|whether] {want}? / I [wonder|am not sure|cannot
        remember] [if|whether] {want}. / [Somebody|A friend|My sister|A letter] says {want}. Is that [right|so|true]? /
        [The question is|My question is|It is not clear to me] whether {want}.""",
    which="""[Tell me|Find out|Please say|Work out|Check] {want}. / [Can|Could|Would] you [please |][tell me|say|find
        out|work out] {want}? / I [would like|need|want|have] to know {want}. / [Do you know|Can you see|Can you say]
        {want}? / I [wonder|am not sure|cannot decide|cannot tell] {want}. / [My question is|The question is|We argue
        about|What I ask is] {want}. / [If you can|If possible|When you can], [tell me|find out|work out] {want}.""",
    do="""[Please|Kindly] {want}. / [Can|Could|Would|Will] you [please |]{want}? / I [want|need|would like] you to
        {want}. / {Want}[, please|, if you can|]. / [Help me to|My plan is to|I have to|I was told to] {want}. / I
        [would like|want|wish|hope] to {want}. / [If you can|If possible|When you can], {want}.""")
ASK = _parts("""tell me / find / look up / check / get me / give me / find out""")

# Sentences around a request. An empty alternative adds no sentence.
OPENERS = _parts("""/ / / Hello. / Hi there. / Good morning. / Good evening. / Excuse me. / One question. / A quick one.
    / Dear assistant! / Hey! / Hello again. / [Sorry|Pardon me], one more thing.""")
REASONS = _parts("""/ / / [I am|We are] [writing|finishing|checking] a [report|list|letter|poster]. / My
    [brother|aunt|boss|teacher] asked [me|us] about it. / It is for [a quiz|a class|my diary|the newsletter|a small
    talk]. / [I am|We are] planning [a trip|next week|the weekend|a visit]. / [I have|We have] a [bet|meeting|deadline]
    [today|tonight|tomorrow]. / [I|We] must [decide|know|answer] [soon|today|by noon]. / [A friend|My neighbour|Someone
    at work] wants to know. / My [notes|papers|old records] are [lost|wrong|out of date]. / [I am|We are] [curious|not
    sure|a bit lost]. / [I am|We are] in [a bit of a|no great|some] hurry.""")
CLOSERS = _parts("""/ / / / [Thanks|Thank you][!|.| very much.| in advance.] / [A short|A plain|One] [reply|answer] is
    [enough|fine]. / [A few words will do|Just tell me when you have it|No long story, please]. / That is all [I
    need|for now]. / [I will wait|I am waiting]. / It would help [me|us] [a lot|very much].""")

# What the user wants, inside a thought, by mood.
_WISHES = """[The user|This person] [wants|asks for|needs|is looking for|would like] {want} / [The question|The request]
    is about {want} / [I am asked|They ask me|Somebody asks] [for|about] {want} / """
WISH = _by_mood(
    noun=_WISHES + "[What is missing|What I need here|The thing to find] is {want}",
    nouns=_WISHES + "[I have|My task is] to [find|list|name] {want}",
    whether="""[The user|This person] [wants to know|asks|is not sure|would like to hear] whether {want} / [I am
        asked|They ask me|Somebody asks] [if|whether] {want} / The [question|doubt|point|request] is whether {want} /
        [What must be checked|The thing to check] is whether {want}""",
    do="""[The user|This person] [wants|asks|needs|would like] me to {want} / [I am asked|They ask me|The request is|The
        task is] to {want}""")

# How a thought goes on where one call is enough, by mood.
PLAN = _by_mood(
    noun=""", so I [should|must|have to|will] look it up / , and [one look-up|a single request|one check] [gives|will
        give] [that|it] / , which I [do not know|cannot guess], so I [ask|check] first / , so [the next step|my next
        move] is to find it / . I [should|must] not guess, [the records know|it is on record]""",
    nouns=""", so I [should|must|have to|will] look them up / , and [one look-up|a single request|one check] [gives|will
        give] [the list|them all] / , which I [do not know|cannot guess], so I [ask|check] first / , so [the next
        step|my next move] is to get the list / . I [should|must] not guess, [the records know|they are on record]""",
    whether=""", so I [should|must|have to|will] check it / , and [one check|a single request] will tell / . I
        [must|should] not guess that / , so [the next step|my next move] is to look at the record / , which I [do not
        know|cannot tell] without a [check|look]""",
    do=""", so I [should|must|have to|will] make it / , and all the details [for it are|are] given / . Nothing is
        missing, so [it can be made|I go ahead] / , so [the next step|my next move] is to do it""")

# Thoughts of a chain, NEXT by mood: {goal} is the final result, {want} this call's, {fact} the previous call's.
FIRST = _parts("""To [get to|find|reach|work out] {goal} I first [need|have to know|must find] {want}. / [First|To
    begin|As a first step] I need {want}, since {goal} [depends|rests] on it. / I cannot [get|find|work out] {goal}
    [before|until] I [know|have] {want}. / [The user|This person] wants {goal}, [but|and] that [needs|calls for|asks
    for] {want} first. / There is a step [before|ahead of] {goal}: I [must|have to|should] find {want}. / [Before|Ahead
    of] {goal} [comes|there is] {want}, so I [find|look up|ask for] that first.""")
NEXT = _by_mood(
    noun="""[The first answer|What I found|The result|What came back] is {fact}, so [now|next] I [need|want|look for|ask
        for] {want}. / It is {fact}. [Now|Next] [the user needs|I look for|I have to find|I need] {want}. /
        [Since|Because|As] it is {fact}, the next thing to [find|know|look up] is {want}. / [Now that I have|Knowing]
        {fact}, I can [look for|ask for|get|find] {want}. / {want_up} [comes|is] next, [because|since] the [last|first]
        step gave {fact}. / [With {fact} in hand|With {fact} known|Given {fact}], [what is left|the open part|what I
        still need] is {want}. / [The last call|The look-up|My first step] [gave|found|returned] {fact}; [now|next]
        [comes|I turn to] {want}. / [So it is|That means] {fact}, and [what follows|the next step|what comes now] is
        {want}.""",
    do="""[The first answer|What I found|The result|What came back] is {fact}, so [now|next] I can {want}. / It is
        {fact}. [Now|Next] [the user wants me to|I have to|I should] {want}. / [Since|Because|As] it is {fact}, the next
        thing to do is to {want}. / [With {fact} in hand|With {fact} known|Given {fact}], [what is left|the open part]
        is to {want}. / [The last call|The look-up|My first step] [gave|found] {fact}, so I [go on to|can now]
        {want}.""",
    whether="""[The first answer|What I found|The result|What came back] is {fact}, so [now|next] I check whether
        {want}. / It is {fact}. [Now|Next] [the user needs|I have|I want] to know whether {want}. / [Since|Because|As]
        it is {fact}, what is left to [find|check] is whether {want}. / [With {fact} in hand|With {fact} known|Given
        {fact}], [what is left|the open part] is whether {want}. / [The last call|The look-up|My first step]
        [gave|found] {fact}; [now|next] I [check|must see] whether {want}.""")

# Thoughts of several calls of one tool: a comparison, a difference or a total.
START = _parts("""To {aim} I need the {words} of [each {noun}|every {noun}|all of them], [starting with|and I begin
    with|first of] {entity}. / [The user|This person] wants me to {aim}, so I [begin|start] with the {words} of
    {entity}. / I have to {aim}; [first|to begin] I [need|look up|check] the {words} of {entity}. / [The {words} of
    {entity}|What {entity} has as its {words}] comes first, [because|since] I must {aim}. / [Before I can|In order to]
    {aim}, I [look up|need|ask for] the {words} of {entity} [first|to begin with].""")
GO_ON = _parts("""{last} has {value}; [now|next] I [need|look up|want|check|ask for] the {words} of {entity}[ to {aim}|,
    to {aim}| as well|]. / [That is|I have|I noted|I keep] {value} for {last}, [so|and] [now|next] [comes|I want|I need]
    the {words} of {entity}[, to {aim}|]. / With {value} for {last} [known|noted|in hand|on my list], I [still
    need|still want|still lack|turn to|go on to] the {words} of {entity}[| to {aim}]. / To {aim} I [also|still]
    [need|want] the {words} of {entity}, [after|beside|next to] {value} for {last}. / [The next one is|Next in line
    is|What follows is] {entity}: its {words} [is missing|is still open|is not known yet], [while|and] {last} has
    {value}. / {entity} [comes|is] next: its {words} [goes|belongs|stands] [beside|next to] {value} for {last}. /
    {value_up} [is what {last} has|is the value of {last}|is noted for {last}]; the {words} of {entity} [is next|comes
    next|is still missing]. / [Since I have|Now that I know|Having noted] {value} for {last}, I [need|look up|ask
    for|check] the {words} of {entity} [too|as well|next]. / [Beside|Next to|After] {last} with {value} [there is|comes]
    {entity}, [whose {words} I need|and I ask for its {words}|so I look up its {words}].""")
PURPOSE = _by_mood(
    compare="""compare them / see which one it is / decide between them / rank them""",
    difference="""find the difference / see how far apart they are / compare them / find the gap""",
    total="""add them up / find the sum / get the total / sum them""")

# The thought before the answer: what is known, by mood, then why the user can be answered.
KNOWN = _by_mood(
    noun="""[Now I have|I now know|I have found|That gives me|The result shows|The tool says|The record gives|The reply
        holds] {said} / {said_up} is [what was asked for|what I needed|the missing piece|the answer I looked for|what
        came back|on record] / [What came back|The result|The outcome|What I found] is {said} / [By the record|According
        to the tool|As far as the record goes], it is {said} / [The look-up|The last call|My request]
        [gave|returned|ended with|led to] {said} / [The search|The work|My task] [is over|is done|has ended] with
        {said}""",
    nouns="""[Now I have|I now know|I have found|That gives me|The result shows|The tool says|The record gives|The reply
        holds] {said} / [The list|What came back|The result|The reply] [holds|names|has|shows] {said} / [By the
        record|According to the tool|As far as the record goes], the list has {said} / [The look-up|The last call|My
        request] [gave|returned|found] {said}""",
    whether="""[I now know|I have found|The result shows|The tool says|The record says|The reply says] that {said} / [By
        the record|According to the tool|As far as the record goes], {said} / [It turns out|It is on record|The check
        tells me|What I learned is] that {said}""",
    several="""[That makes|That gives me|The values lead to|What follows is|It comes to|The outcome is|So it is] {said}
        / {said_up} is [what was asked for|what I needed|what follows|the outcome|what the values say] / [From these
        values|Put together|Side by side], [I get|it is] {said} / [All values are known|Every value is there|The values
        are complete], and [the outcome|the answer|the result] is {said}""")
KNOWN["do"] = KNOWN["noun"]
CLOSING = _parts(""", [so|and|and now] [I can|it is time to|I should|all I have to do is] [answer|reply to|tell|write
    to] the user. / , [so|and] [no other|no further|not one more] [step|call|look-up] is [needed|left|called for]. / ,
    [which|and that] is [enough for|all I need for|what belongs in|the heart of] [the|my] [answer|reply]. / ;
    [that|this] [will do|will serve|is enough] as [the answer|the reply|my answer|my reply|an answer|a reply]. / .
    [Nothing more|Nothing else] is [needed|left to do|open], so I [answer|reply|close]. / . [Now|Next|What remains is
    that] I [pass it on|report it|tell them|write it down for them]. / . [The user|This person] [wanted|asked for] [just
    this|exactly this|this]. / , so [my|the] [answer|reply] [can be short|can be plain|can be given now|is short|is
    plain|is ready]. / , and [the question|the request] [is settled|is done|has its answer]. / . [That settles|This
    answers|That closes] the [question|request|matter], so I [answer|reply|stop here].""")

# The answer, by mood or task shape. COURTESY comes before it.
ANSWER = _by_mood(
    noun="""{want_up} is {said}. / [It is|The answer is|That is|That would be|What I found is] {said}. / {said_up}:
        [that is|this is] {want}. / [I found|I looked it up, and I have|The record gives|The tool gives] {said} [for|as]
        {want}. / {said_up} is {want}. / [By the record|According to the record|As far as I can see], {want} is {said}.
        / [I looked it up|I checked|I asked for it]: [it is|the answer is|that is|the record says] {said}. / [The answer
        to your question|What you want to know|What you asked for] is {said}. / [The record|The tool|The table]
        [says|reads|gives|shows] {said}[.|, so that is your answer.| for {want}.] / You asked [for|about] {want}: [it
        is|that is|the answer is] {said}. / For {want}[,|:] [I found|I have|the record has|the answer is] {said}.""",
    nouns="""{want_up}: {said}. / [I found|The list has|The record names|The list holds] {said}. / [Here you are|As
        asked|Here is the list]: {said}. / [You asked for|This is what I found for|The record has this for] {want}:
        {said}. / For {want}[,|:] [I found|the record has|the list has] {said}. / [By the record|As far as I can see],
        [the list is|the answer is|that is] {said}. / [I looked it up|I checked|I asked for it]: {said}.""",
    whether="""{yes_no}, {fact}. / {yes_no}: [I checked, and|the record says that|as far as the record goes,] {fact}. /
        [I checked|I looked|I looked it up]: {yes_no_low}, {fact}. / [It turns out that|The record says that|I found
        that] {fact}, so the answer is {yes_no_low}. / The answer is {yes_no_low}[:|, since|, because] {fact}. /
        {yes_no}. [By the record,|According to the record,|I checked it:] {fact}.""",
    do="""[Done|All set|It is done]: [the|your] [code|reference] is {said}. / I [made|placed] [it|the order]; [the|your]
        [code|reference] is {said}. / [Your|The] [code|reference] [is|for {guest} is|for {date} is] {said}. / [Please
        keep|Note down|Use] [the|this] [code|reference]: {said}. / [It is|That is] [booked|arranged|settled], with the
        [code|reference] {said}. / {said_up} is [your|the] [code|reference][| for {guest}| for {date}].""",
    which="""{winner} [has|shows] the {more} {words}: {values}. / [It is|The answer is|That is] {winner}: {values}. /
        {winner} [is ahead|wins|is the one]: {values}. / [With|At] {best} [against|and not] {rest}, {winner} has the
        {more} {words}. / {values_up}, so [it is|the answer is|that makes it] {winner}.""",
    difference="""The difference is {said}: {values}. / {values_up}, so [the difference is|they differ by|the gap is]
        {said}. / They [differ by|lie apart by] {said}: {values}. / There is a [gap|difference] of {said} between them:
        {values}.""",
    total="""The total is {said}: {values}. / {values_up}, [which makes|so together that is|and that adds up to] {said}.
        / [Together that is|It adds up to|In all that is] {said}: {values}. / [The sum is|All in all it is] {said},
        [since|for] {values}.""")
COURTESY = _parts("""/ / / / [Sure|Of course|Gladly|Certainly]. / [Good|Thanks for the|A fair] question. / [I had a
    look|I checked that for you|I looked into it]. / Here [you go|you are|it is]. / [No problem|With pleasure|Happy to
    help].""")

# The phrase {want} for a comparison, a difference and a total: mood and wordings.
SEVERAL = {
    "compare": ("which", _parts("""which {noun} [has|shows] the {more} {words}, {listed} / which of {together}
        [has|shows] the {more} {words} / which one has the {more} {words}, {listed} / which of the {size} {plural}
        [has|shows] the {more} {words}, {listed} / which {noun} is the {best} by {words}, {listed} / which one of
        {together} is the {best} by {words}""")),
    "difference": ("noun", _parts("""the [difference|gap] in {words} between {together} / the [difference|gap] between
        the {words} of {one} and that of {two} / the [difference|gap] between {one} and {two} in {words}""")),
    "total": ("noun", _parts("""the {words} of {together} [together|in total|added up|combined] / the [total|sum] of the
        {words} of {together} / the [total|combined|summed] {words} that {together} have""")),
}

# A request that no offered tool serves: {missing} by the tool's verb; then parts of the thought and the answer.
MISSING: dict[str, str] = {
    "lookup": "[finding|looking up|telling] the {words} of {a_noun}",
    "check": "[checking|telling|finding out] whether {a_noun} {yes}",
    "list": "[listing|naming|finding] the {plural} {within} {a_group}",
    "count": "counting [|the ]{plural}[| {within} {a_group}]",
    "extreme": "[finding|naming] the {best} {noun}[| {within} {a_group}]",
    "rank": "[ranking|comparing|ordering] {plural} by {words}",
    "above": "[filtering|searching|picking] {plural} by {words}",
    "match": "[filtering|searching|picking] {plural} by {words}",
    "find": "[finding|looking up] {a_noun} by its {words}",
    "link": "[finding|looking up|telling] the {words} of {a_noun}",
    "total": "[adding up|summing] the {words} of {plural}",
    "convert": "[turning|changing] {unit} into {other}",
    "reserve": "[{doing} {a_thing}|{doing} {a_thing} {at} {a_noun}]",
}
# {want} by verb, for thoughts that would be too long with the whole phrase. LACK follows it in the thought.
SHORT: dict[str, str] = {"above": "certain {plural} {where}", "total": "the {words} of several {plural}"}
LACK = _parts(""", but [none of the tools|no tool on the list|no tool I was given|not one tool here] [can do that|does
    that|serves for it|is made for it] / , [but|and yet] the tools [here|on offer|on the list] are [all |]for other
    things / . A tool for {missing} is [not offered|missing|not on the list|what I lack] / , but [there is
    nothing|nothing is offered|the list has nothing] for {missing} / . [The list has|I see|I find|There is] no tool for
    {missing} / , [but|and] no [offered|listed|given] tool [can do that|covers it|is of use] / , [but|and] a tool for
    {missing} is [not among them|not there|missing]""")
# How that thought ends.
STOP = _parts(""". / , so I [say so|must say so|tell them that|decline]. / . I [will|should|must] not [guess|make it
    up|invent anything]. / , and [a guess|guessing] [is|would be] [wrong|no help]. / . [Calling|Trying] another
    [one|tool] would be [wrong|no use].""")
CANNOT: dict[str, str] = {
    "noun": "[find|look up|give you] {want}", "nouns": "[find|list|give you] {want}",
    "who": "[find out|look up|tell you] who {want} is", "whether": "[check|say|tell you|find out] whether {want}",
    "do": "{want}"}
REFUSAL = _parts("""I [cannot|am not able to|have no way to] {cannot}[: |, since |, because ][none of the tools|no tool]
    [on offer|I was given|I have] [does that|serves for that|is made for it]. / [None of the tools|No tool|Not one of
    the tools] [offered|on offer|I can use|on the list] can {cannot}. / [There is|I have|I see|The list has] no tool for
    {missing}, so I cannot [answer|help|do that|help with it]. / To {cannot}, I would need a tool for {missing},
    [and|but] [there is none|none is offered|it is not on the list]. / The tools [on offer|I have|I was given] cannot
    {cannot}. / [This|That] is [beyond|outside] [the tools on offer|what these tools can do]: [none|not one] is for
    {missing}. / I cannot {cannot} with [these|the offered] tools[.|; one for {missing} is missing.]""")
# The answer to a request without any tools.
ALONE = _parts("""I [cannot|am not able to|have no way to] {cannot} [from here|on my own|by myself]. / I [do not
    know|have no record]: to {cannot}, I would have to look it up, [and|but] I have nothing to look it up in. / I [know
    of|have] no way to {cannot} from here. / I can only talk here, so I [cannot|am not able to] {cannot}. / Nobody [gave
    me|has given me] what it takes to {cannot}. / For {missing} I have [nothing|no list|no book] at hand, so I cannot
    {cannot}. / To {cannot} [is beyond me|is more than I can do] in a plain talk. / [Here|In this chat|As things are] I
    cannot {cannot}. / {missing} takes more than [talk|words], [and that is|which is] all I have here.""")
SORRY = _parts("""/ / Sorry. / I am sorry. / Unfortunately not. / I [looked|went] through the [tools|list]. /
    [Thanks|Thank you] for asking. / That is not possible here.""")
REST = _parts("""/ / / I [will|would rather] not [guess|make anything up|invent an answer]. / [Another|A different] tool
    would be needed. / With the right tool I could [do it|help].""")
