"""What is thought and told in work of several steps, in full: plans, what came back, endings, answers.

For the last family of :mod:`flanlib.lab.delegating`. Half of the plans leave open whether they are the whole way or its
first step, so that a reader has to compare what was asked with what has come. Every sentence is put together from
parts, of which none is meant for one request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from flanlib.lab.words import Draw, join, upper_first
from flanlib.records import to_json

Mood = Literal["noun", "doubt", "order"]

_I = ("[I need|I want|I have to know|I must have|I should get|I shall ask for|I go for|I look for|let me find|"
      "let me get|we want|we should have|we have to get|it takes|one needs|what I need is|what I want is|what helps is|"
      "my step is to find|the thing to find is|the thing to know is|the list may give me|somebody can tell me|next to "
      "nothing can be said without|it is about|this is about|the point is|the matter is|asked for is|wanted is|the "
      "user asks for|the user wants|the user is after|the user hopes for|somebody asks me for|they want|they ask for|"
      "a look at the list may bring]")
_I_DO = ("[I have to|I should|I am to|I shall|I can|I will|let me|let us|we have to|we should|my part is to|what I do "
         "is|what helps is to|the step is to|the thing to do is to|the user asks me to|the user wants me to|the user "
         "needs me to|somebody asks me to|they want me to|asked of me is to|wanted is to|it is my turn to]")
_I_ASK = ("[I ask|I check|I find out|I have to ask|I must find out|I should check|let me see|let me ask|"
          "let us find out|we want to know|we have to see|what is asked is|what is open is|what counts is|the doubt is|"
          "the matter is|the user asks|the user wants to know|the user is in doubt|somebody asks me|they ask|it is "
          "about]")
_HOW = ("[||||||, and one of the list can help|, which I cannot know by heart|. The list has something for it|, and I "
        "will not make it up|. Somebody will know|, so I turn to the list|, so one of them is asked|. That can be done|"
        ", and I take it from there|, and it is not hard|. One of these is right for it|, so off I go|, as far as I "
        "understand|, if I read it right|, and that can be had|, please]")
_FIRST = "[first|at first|first of all|to begin with|before all else|for a start|before that|as a beginning]"
_SEEK: dict[Mood, str] = {"noun": _I + " {w}", "doubt": _I_ASK + " {w}", "order": _I_DO + " {w}"}
_OPEN = {
    "noun": (_I + " {w}" + _HOW + ".",
             "{W} [is what I need|is wanted|is to be found|is asked for|has to be looked up|is what I go for|is not "
             "known to me|is missing|is what it is about]" + _HOW + "."),
    "doubt": (_I_ASK + " {w}" + _HOW + ".", "[Whether it is so|Yes or no]: " + _I_ASK + " {w}" + _HOW + "."),
    "order": (_I_DO + " {w}" + _HOW + ".", "[It is clear|All is said|Nothing is open|I have it all]: " + _I_DO
              + " {w}" + _HOW + "."),
}  # fmt: skip
_TOWARDS = (
    "[|In order |So as ]{aim}, " + _I + " {w} " + _FIRST + "[|||, and then we see|, and then the rest].",
    _I + " {w} " + _FIRST + ", [|in order |so as ]{aim}.",
    "{W} [comes first|is the first step|is where I begin|must be had first|has to be known before the rest|opens the "
    "way|is one half of it][|, since I am {aim}|, and it takes that {aim}|, for we are {aim}|, and more after it].",
    "[There is something|One thing is|A step lies] [before it|in front of it|between]: " + _I + " {w}[||, {aim}].",
    "[Nobody can say it|That cannot be had|It cannot be done|We get nowhere] [without|before I have|until I have] {w}"
    "[, so that is first|, so I ask for it|, which I look up| at hand].",
    "{AIM} [it takes two things|takes more than one step|there are steps to go], and [the first|one|what comes first] "
    "is {w}.",
)
_HAVE = ("[I have|we have|I got|we got|I know|I noted|there is|here is|it says|they say|they told me|they gave|the "
         "list gave|I heard|I read|what I got is|what came is|what they gave is|so it is|it is|I was told|back came]")
_NOW = "[now|next|then|after that|from here|in turn|at once]"
_ON: dict[Mood, tuple[str, ...]] = {mood: (
    _HAVE + " {v}[, and |; |. |, so ]" + _NOW + " " + seek + _HOW + ".",
    "[With|Given|Having|From|Out of|Thanks to] {v}, " + seek + "[|||, as was asked|, and then I am "
    "through|, which is the last of it].",
    "{V} [was the first part|was the first of it|is settled|is known now|is what came|is where we are]. " + _NOW + " "
    + seek + ".",
    "[As|Since|Because] " + _HAVE + " {v}, " + seek + "[||| now| next| after that].",
) for mood, seek in _SEEK.items()}  # fmt: skip
_ON["noun"] += ("{W} [is next|comes next|is left|is still open|is the other half|can be asked for now], [as|since|for|"
                "because] " + _HAVE + " {v}.",)
_AND = (
    "[{x} has|{x} comes with|{x} stands at|for {x} I have|for {x} we noted|for {x} they say|of {x} I know|"
    "with {x} it is] {v}[, and |; |. |, so ]" + _NOW + " " + _SEEK["noun"] + "[|||, {aim}| too| as well].",
    "{V} [for|with|in the line of|on the side of|stands for|belongs to] {x}[, and |; |. ]" + _NOW + " " + _SEEK["noun"]
    + "[||, {aim}].",
    "{W} [is next|comes next|is left|is missing yet|goes beside it|is to follow], [as|since|for|while] {x} has {v}.",
    "[{AIM}|In order {aim}], {w} [is missing|is still needed|must be known too|has to come], [beside|next to|along "
    "with|after] {v} for {x}.",
    "[Beside|Along with|After|Next to] {x}, [which has|where it is|which stands at|that comes to] {v}, " + _SEEK["noun"]
    + ".",
)
_IS = (_HAVE + " {v}", "{V} [it is|is it|was the answer|is what they gave|is what came|is what we have now|is what we "
       "wanted|came back|is the outcome|was to be found|stands there]", "[the answer|the outcome|the end of it|what "
       "came back|what was wanted|what we know now] is {v}")
_FACT = ("[it says|they say|I heard|I was told|it is known|the answer was|I read|it turned out|they wrote|so it is|it "
         "came out|we know now|it is certain][| that] {v}", "{V}[, they say|, it says|, I am told|, as I "
         "read|, no doubt]", "[the answer|the outcome|what came back] is that {v}")
_SO = ("it [comes to|makes|ends with|leads to] {v}", "[all in all|taken together|side by side|at last|all told|in the "
       "end], it is {v}", "{V} [is what comes of it|follows|it is, then|is how it ends]", "that [makes|gives|leads to] "
       "{v}")
_CLOSE = ("[, and this is all|, which is all that was wanted|. With this I can stop|, and the work is done|. No more "
          "steps|; nothing is left|. Now it can be told|, which ends it|, so it is finished|. I have what they wanted|"
          ", and that closes it|. I can say it now|. That was the whole of it|, so there is no more to ask|. All of it "
          "is known|, so nobody has to be asked any more|. This is what was meant|. I may tell them|, so I say so|. We "
          "are through|, which will please them|. It only has to be told|; there I stop|, and I let them know|. Here "
          "the way ends|, and I have nothing else to find|. The list is done with|, just as they wanted|, which I hand "
          "on|, so I come to the end].")
_YES = ("[yes|yes, it is so|they say yes|that is right|so it is]", "[no|no, it is not so|they say no|that is "
        "wrong|not so]")
_KINDLY = "[||||Of course. |Here you are. |With pleasure. |I asked. |Good question. |It took a moment. |Good news. ]"
_SAY: dict[Mood, tuple[str, ...]] = {
    "noun": ("{V}.", "[It is|That is|The answer is|What you get is|They say it is|I was told it is|You wanted it: it "
             "is] {v}.", "{W} is {v}.", "{V} [is|would be] {w}.", "You [asked for|wanted|were after] {w}[, and |: ][it "
             "is|that is|they gave] {v}.", "[About|As to] {w}[, |: ]{v}[| it is| is what I found]."),
    "doubt": ("{YES}: {v}.", "{YES}, {v}.", "{V}, so [the answer is|I say|it is] {yes}."),
    "order": ("[Done|All done|That is arranged|It is arranged|That went well]: [your|the] [code|number] is {v}.",
              "[It went through|It worked|They took it], [with|and gave] [the code|the number|] {v}.",
              "{V} [is your number|is the code for it|is what they gave me].", "[Keep|Write down|Remember] {v}[|, the "
              "code|, your number]."),
}  # fmt: skip
_WAYS: dict[str, tuple[str, ...]] = {
    "most": ("compare them", "see who is ahead", "put them in order", "hold them side by side"),
    "sum": ("put them together", "add the two up", "reckon it up", "come to the whole"),
    "gap": ("see what lies between", "tell how much they differ", "take one from the other")}
_BACK = ("[It says|They say|I heard|The answer came|Back came|I have it|Look|Well|I asked, and here it is|They told me|"
         "What they say|From them|I did it. I see|They wrote|In the answer I read][:| this:] {v}",
         "[This came|Read this|That is what I have|One moment. Now|As you said. I see|Done, and then|Yes, here]: {v}")


def mood(whole: str, act: bool) -> Mood:
    """Tell how something is wanted: as a thing, as a question, as something to do."""
    return "order" if act else "doubt" if whole.startswith("wh") else "noun"


def aim(d: Draw, whole: str, act: bool, ask: str) -> str:
    """Say what steps lead to, beginning with "to"; ``ask`` is what is asked about several things."""
    if ask and d.chance(0.7):
        return "to " + d.one(_WAYS[ask])
    if d.chance(0.3):
        return d.one(("to get there", "to answer that", "to do that", "to go on", "to help here"))
    verb = d.one(("get", "find", "tell"))
    return {"order": f"to {whole}", "doubt": f"to say {whole}", "noun": f"to {verb} {whole}"}[mood(whole, act)]


def plan(d: Draw, want: str, act: bool, *, aim: str = "", known: str = "", of: str = "") -> str:
    """Say what comes next: at first, with an ``aim`` if more will follow; else after what is ``known``.

    ``of`` is the thing that it is known of, where the same is asked of several.
    """
    how, slots = mood(want, act), _slots(w=want, v=known, aim=aim)
    if known:
        return _sentence(d, _AND if of else _ON[how], x=of, **slots)
    return _sentence(d, _TOWARDS if aim and how == "noun" and d.chance(0.5) else _OPEN[how], **slots)


def spoken(gives: Any) -> str:
    """Say a result in words: several as a sentence lists them."""
    return join(gives) if isinstance(gives, list) else str(gives)


def back(d: Draw, label: str, gives: Any, given: Mapping[str, Any], act: bool) -> str:
    """Tell what came back: in words, or as data, which may repeat what was ``given``."""
    if d.chance(0.25):
        return d.fill(_BACK, v=spoken(gives))
    if isinstance(gives, list) or d.chance(0.2):
        return d.fill(_BACK, v=to_json(gives if d.chance(0.5) else {label: gives}))
    beside = given if d.chance(0.3) else {"status": d.one(("ok", "done", "fine"))} if act and d.chance(0.6) else {}
    return d.fill(_BACK, v=to_json({**beside, label: gives}))


def ending(d: Draw, known: str, outcome: str = "", said: str = "", *, fact: bool = False) -> str:
    """Say that all is known: a ``fact`` is a sentence; of several things, ``said`` is what follows."""
    if outcome and d.chance(0.3):
        return upper_first(outcome)
    wordings = d.one((_SO, _IS)) if outcome else _FACT if fact else _IS
    return _sentence(d, wordings, end=_CLOSE, **_slots(v=said or known))


def answer(d: Draw, whole: str, act: bool, known: str, outcome: str = "", said: str = "", *,
           true: bool | None = None) -> str:  # fmt: skip
    """Tell somebody who asked for the ``whole`` what came of it: of a doubt, whether it is ``true``."""
    if outcome and d.chance(0.6):
        return upper_first(outcome)
    how = mood(whole, act) if true is not None else "order" if act else "noun"
    wordings = _SAY[how][1:] if outcome else _SAY[how]
    yes = d.fill(_YES[0 if true else 1])
    whole = "the answer" if how == "noun" and whole.startswith("wh") else whole
    return d.fill(_KINDLY) + _sentence(d, wordings, **_slots(w=whole, v=said or known, yes=yes))


def _slots(**slots: str) -> dict[str, str]:
    """Give every slot in capitals too, for where a sentence begins with it."""
    return slots | {name.upper(): upper_first(text) for name, text in slots.items()}


def _sentence(d: Draw, wordings: tuple[str, ...], *, end: str = "", **slots: str) -> str:
    text = d.fill(d.one(wordings) + end, **slots)
    # A sentence inside begins with a capital too.
    head, *rest = text.split(". ")
    return ". ".join([upper_first(head), *map(upper_first, rest)])
