"""Does a reply in words announce the call of a tool? A reader for any model's replies, learnt from labelled texts.

Plans to learn from are the thoughts of training tasks, and sentences of our own (:data:`FRAMES`) in which a first
person is about to look something up. What is no plan: answers of those tasks, thoughts that end one, other sentences of
ours (:data:`OTHERS`: refusals, advice, offers, reports), and what a real chat model replies to ordinary requests.

Only a text's beginning is read: a plan says at once what it is about to do, and an answer that goes on for long may say
"you need to check" somewhere. A request told again in a thought's words ("The user asks for the fare of Ulm.") counts
as a plan: it answers nothing, and a call could follow.

How far to trust it is measured on ``data/lab/plans.jsonl``: 276 greedy replies of SmolLM2 to samples of Agent-H,
untuned and after 2,000 to 8,000 trained tokens in chat form, labelled one by one before the reader saw any. Its
sentences were made up with other replies in view, to requests and tools of training.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from flanlib import store
from flanlib.benchmarks.intention import LEAST, learn, odds
from flanlib.lab import tasks
from flanlib.lab.words import Draw, upper_first
from flanlib.records import Trajectory
from flanlib.wording import words

READ = 30
"""Words of a text that are read; thoughts of the lab have at most 25."""
LONG = (30, 60)
"""Words at which the length of a text is a cue of its own."""
PENALTY = 1.0
"""On squared weights."""
TIMES = 150
"""How often each sentence of ours is drawn, in other wordings each time."""

PARTS = {
    "will": """I'll|I will|let me|I am going to|I'm going to|I shall|I should|I must|I have to|I need to|I want to|
        I can|I'd like to|I would|we should|we need to|we have to|we can|we will|let's|let us|I plan to|I ought to""",
    "seek": """look up|check|search for|find|find out|get|look for|ask for|retrieve|fetch|see|look into|request|compare|
        count|work out|verify|query|book|order|reserve""",
    "seeking": """looking up|checking|searching for|finding|looking for|getting|retrieving|fetching|looking into|
        verifying|booking""",
    "do": """look it up|check|check it|search for it|find out|find it|ask for it|look that up|check the records|
        ask first|begin with that|see what it says|get it|run a search|do a search|make a request|do it|book it""",
}
"""What stands in the slots of the same names, in the wording of :meth:`flanlib.lab.words.Draw.fill`."""
FRAMES = """
    {will} [first |now |also |quickly |then ||||]{seek} {w}[.|.|.|:| first.| for you.| now.| and then answer.|, please
    wait.| to answer that.| before I reply.] / [First|To begin with|To start|For this|To answer this|To answer that|To
    answer your question|To help with this|To do that|Before I can answer|In order to answer|To find out|Next|Now|
    Then|After that|Also][, |, | ][I|we] [need|need to know|have to know|must find|want|should get|require|will need|
    look up|check|ask for|look for] {w}. / To [get|find|find out|answer|tell|know|determine|work out] {w}, {will}
    {seek} [it|that|the records|the data|the list|the information|the details|the values] [first|||now]. / [Sure|Of
    course|Certainly|Happy to help|Okay|Alright|Good question|Gladly|Yes][!|.|,] {will} {seek} {w}[| for you][.|!] /
    [One moment|Just a moment|Give me a moment|Hold on|Please wait|One second][.|, please.|,|!|:] [I am|I'm] {seeking}
    {w}. / [I am|I'm] [now |currently |||]{seeking} {w}[.|...| now.| for you.] / [The next step|The first step|The
    next thing|My next step|My plan|The plan|My first step|What comes next|What I do next|All I need to do] is to
    {seek} {w}. / [I don't know|I do not know|I don't have|I am missing|I'm not sure about|I cannot guess|I can't
    know] {w}[| yet], [so|but] {will} {do}. / [The user|The person|This person|The customer|Somebody|They|You] [wants|
    needs|asks for|is asking for|would like|want to know|asks me about|is looking for] {w}[, so|. So|, and|.] {will}
    {do}. / [The user|This person|Somebody] [wants|asks|needs] me to {seek} {w}[.|, and {will} {do}.|. Nothing is
    missing.|, and the details are given.] / [The question|The request|The task|This|It|The point|The matter] is
    [about|for|asking for|to find] {w}[, so|. So|, and|.] {will} {do}. / {w} [has to be|must be|needs to be|is to be|
    should be|will be] [looked up|checked|found|searched for|retrieved|booked] [first|next|now|]. / [What I need|What
    is missing|What is wanted|The thing to find|What we need|All I need|What I want] [is|here is|now is|next is]
    {w}[.|, so I look it up.|, and one look-up gives it.|. Let me check.] / Now that [I have|we have|I know] {v},
    {will} {seek} {w}. / [So it is|I have|We have|It says|The result is|I found|I got] {v}[, and now|. Next,|. Now|,
    so next] [I|we] [need|look up|check|ask for|want|need to find|have to get] {w}. / [The user|This person|Somebody|The
    customer|A friend] [asks for|wants|wants to know|is looking for|needs|asks about] [{w}|{w}|the answer|the details].
    / [The question|The request|The task|The matter] is [about {w}|to find {w}|{w}]. / [I|We] [ask for|look up|need|
    check|look for|turn to|request|begin with|start with] {w}[.|.| first.| now.] / [One of the tools|A tool|The right
    tool|One of them] [can|will|should] [find|give|tell|get] {w}[.|, so {will} {do}.|, and {will} {do}.] / {will} use
    [one of the tools|a tool|the tools] to {seek} {w}."""
"""Plans of a call, parted by slashes; ``w`` is what is wanted, ``v`` what is known already."""
OTHERS = """
    [I'm sorry|I am sorry|Sorry|Unfortunately|I apologize|I'm afraid][, but|,] I [can't|cannot|am unable to|am not
    able to|don't have a way to|could not|will not be able to] {seek} {w}[.| for you.| at the moment.| without more
    details.] / [I don't|I do not|I can't] [have|have access to|know|have any information about|have information on]
    {w}[.|, sorry.|. Is there anything else?|. I can't help with that.] / [As an AI|As a language model|As an AI
    assistant|As a chatbot], I [don't have|cannot give you|am not able to tell you|can't check|have no access to] {w}.
    / [None of the tools|No tool|Nothing in the list|None of my tools|No function] [can|could|is able to] [give|tell|
    find|look up] {w}[.|, so I can't help.|, so I cannot tell you.|, and I must not guess.] / [Could you|Can you|Would
    you|Please] [tell me|give me|clarify|provide|specify] [more about|the details of|which|what you mean by|more
    information about] {w}[?|.] / [You can|You could|You should|You may want to|You need to|You'll need to|You will
    have to|Try to|Please] {seek} {w} [online|on the website|in a library|by asking a friend|in a book|yourself|first|
    ]. / To [find|get|look up|check|work out|know] {w}, [you can|you need to|you should|start by|begin by|first]
    {seeking} [the website|the list|a map|a book|the records]. / To [find|get|work out|know] {w}, we [need to|can|have
    to|must] [add|multiply|divide|subtract|use the formula|count|compare the two]: {v}. / [Sure|Of course|Certainly|
    I'd be happy to help|I can help with that|Absolutely|Gladly|Happy to help][!|.|,] [Here is|Here are|This is|
    Here's] {w}: {v}. / [Hello|Hi|Good day][!|,|.] [I'm|I am] [doing well|fine|here to help|happy to help|glad to hear
    from you|an assistant][.|, thank you.|. How can I help you today?|. What can I do for you?] / [I|We] [looked up|
    checked|found|searched for|have found|compared|retrieved|asked for] {w}[: it is|. It is|, and it is|, which is]
    {v}. / [I|We] [think|believe|hope|would say|guess|know|remember|like|love|am sure] [that |]{w} is {v}. / {w} [is|
    was|would be|has been|comes to] {v}[.|, I think.|. I hope this helps.|. Let me know if you need more.|. Feel free
    to ask.] / {v}[.|, that is {w}.|. That is all I have to say.| is the answer, so I can reply.|, and I tell the user
    so.] / [I will|I'll|I can|Let me|I'd like to] [help you|assist you|explain|give you an example|tell you a story|
    write that for you|summarise it|answer in a sentence|be happy to help|say it in other words|be there|do my
    best][.|!|: {v}.|.] / [I am writing to|I would like to|I want to|I wish to] [thank you for|invite you to|apologise
    for|express my thanks for|tell you about|let you know about] {w}. / [I|We] [have to|must|need to|should|can|will]
    [answer|reply|answer the question|tell them|answer that|say it|stop here|be kind][.| now.| that it is {v}.]
    / {w}[.|]"""
"""What is no plan of a call, though it may be told in the same words."""


@dataclass(frozen=True)
class Plans:
    """Tells plans of a call: ``weights`` are log odds by cue, see :func:`cues`; ``learnt`` names what they come from.

    Results are kept under ``learnt``, as with :class:`flanlib.benchmarks.intention.Intention`.
    """

    weights: Mapping[str, float]
    learnt: str

    @classmethod
    def of(cls, trajectories: Sequence[Trajectory], plain: Iterable[str], *, seed: int) -> Plans:
        """Learn from the thoughts and answers of training trajectories, sentences of ours, and ``plain`` replies."""
        told: list[tuple[str, float]] = [(text, 0.0) for text in plain]
        for trajectory in trajectories:
            told += [(step.thought, 1.0) for step in trajectory.steps]
            told += [(trajectory.answer_thought, 0.0), (trajectory.answer or "", 0.0)]
        told += [(text, 1.0) for text in written(FRAMES, trajectories, seed)]
        told += [(text, 0.0) for text in written(OTHERS, trajectories, seed)]
        told = [(text, is_plan) for text, is_plan in told if text]
        weights = learn([(cues(text), is_plan) for text, is_plan in told], penalty=PENALTY)
        return cls(weights, store.digest(sorted(told), [LEAST, PENALTY, READ, *LONG]))

    def plans(self, text: str) -> bool:
        """Tell whether a text announces a call; one without any known word announces nothing."""
        return odds(cues(text), self.weights) > 0


def cues(text: str) -> set[str]:
    """Return what a text is read by: words and pairs of words at its beginning, and whether it is long.

    >>> sorted(cues("I check it."))
    ['', '^ i', 'check', 'check it', 'i', 'i check', 'it']
    """
    said = words(text)
    found = said[:READ]
    long = {f"{n} words" for n in LONG if len(said) > n}
    return {"", *found, *(f"{a} {b}" for a, b in pairwise(["^", *found])), *long}


def written(frames: str, trajectories: Sequence[Trajectory], seed: int) -> Iterator[str]:
    """Fill sentences of ours with what training tasks ask for, and what they find."""
    d, steps = Draw(seed, "train"), [step for trajectory in trajectories for step in trajectory.steps]
    for frame in _evened(frames).split(" / ") if steps else ():
        for _ in range(TIMES):
            step = d.one(steps)
            about = " ".join(step.tool.split("_")[1:]) or step.tool
            given = next((str(value) for value in step.arguments.values()), "it")
            wanted = d.one((f"the {about} of {given}", f"the {about}", about, given, "that", "this"))
            parts = {name: d.fill(f"[{_evened(part)}]") for name, part in PARTS.items()}
            text = d.fill(frame, w=wanted, v=d.one((given, "it", str(d.number(1, 999)))), **parts)
            yield upper_first(text)


def _evened(text: str) -> str:
    """Put a text of several lines into one; a line may end between two alternatives."""
    return re.sub(r"\s*\n\s*", " ", re.sub(r"\|\n\s*", "|", text.strip()))


@cache
def lab_plans() -> Plans:
    """Return the reader of plans: learnt from a thousand training tasks, a third of them unserved, and plain chat."""
    from flanlib.lab import ordinary

    shapes = (*tasks.SHAPES, *(tasks.UNSERVED, tasks.BARE) * (len(tasks.SHAPES) // 4))
    said = [turn.text for chat in ordinary.conversations("train") for turn in chat.turns if turn.role == "assistant"]
    return Plans.of(tasks.trajectories(1000, rng=np.random.default_rng(0), shapes=shapes), said, seed=0)
