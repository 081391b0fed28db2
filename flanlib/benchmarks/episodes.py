"""Whole episodes: the model's own calls are run in the lab's world, and its answer is held against the right one.

Nobody helps a model that strays: a reply that is not in the protocol ends the episode, a call that cannot be run
is answered with an error, and only offered tools are run, with arguments that the world has checked. Replies,
calls and the conversation are bounded, so a model may write what it likes.

In chat form the user's side is played by the harness, which has to react to plain words without knowing the solution.
After a thought it asks for the tool, or for the answer where the thought's wording announces one
(:meth:`Intention.answers`, learnt from training thoughts). It then asks for the tool's required parameters in their
order, and for an optional one where the request has a word of its name, since that user has mentioned it.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from flanlib import dialects
from flanlib.benchmarks import Generate, Prompt, ask
from flanlib.benchmarks.intention import Intention, lab_intention, mentions
from flanlib.benchmarks.steps import is_name
from flanlib.dialects.chat import parse_value
from flanlib.dialects.common import Answer
from flanlib.dialects.elicit import ACTION, ANSWER, ARGUMENT, RESULT
from flanlib.lab.tasks import Task
from flanlib.lab.world import world
from flanlib.records import Conversation, FlanError, Step, Tool, Trajectory, say

MOST_CALLS = 6
LONGEST_REPLY = 800  # characters of a reply that are read and kept
LONGEST_TALK = 12_000  # characters of a conversation that is still gone on with


@dataclass(frozen=True)
class Episode:
    """What came of a task. ``calls`` are tool calls of every sort, ``valid_calls`` those that gave a result.

    ``solved``: it ended with an answer that holds what is expected (:func:`solves`); a request that no offered tool
    serves is solved by answering it without a call, whatever the answer says. ``invented`` calls name a tool that is
    not offered. ``ended``: ``answered``, ``malformed`` (a reply that is not in the protocol, or empty), ``too many
    calls`` or ``too long``.
    """

    id: str
    shape: str
    protocol: str
    solved: bool
    calls: int
    valid_calls: int
    invented: int
    ended: str
    answer: str
    conversation: Conversation


def play(tasks: Sequence[Task], protocol: str, generate: Generate, *,
         intention: Intention | None = None) -> list[Episode]:  # fmt: skip
    """Let a model do tasks in one protocol (``react``, ``json`` or ``chat``), all of them in step.

    Every round asks ``generate`` once, for the next reply of all episodes that go on. Raises FlanError for an
    unknown protocol.
    """
    players = [_Player(task, protocol, intention or lab_intention()) for task in tasks]
    ended, asked = {}, dict.fromkeys(players)
    replies = [None] * len(players)  # which begins a talk
    while asked:
        going = {}
        for player, reply in zip(asked, replies, strict=True):
            try:
                going[player] = player.talk.send(reply)
            except _Ended as end:
                ended[player] = player.episode(end)
        asked, replies = going, ask(generate, list(going.values())) if going else []
    return [ended[player] for player in players]


def table(episodes: Sequence[Episode]) -> pd.DataFrame:
    """List episodes, a row each: the fields of :class:`Episode` but the conversation, truth values as 0 and 1."""
    columns = [name for name in Episode.__dataclass_fields__ if name != "conversation"]
    return pd.DataFrame([vars(one) for one in episodes], columns=columns).astype({"solved": int})


def solves(answer: str, task: Task) -> bool:
    """Tell whether an answer holds every expected text, as whole words or numbers.

    Of things compared, all of which it may list, the right one must be named most often, or first of those that are.
    What an answer holds beside that is not looked at.
    """
    if not all(mentions(answer, text) for text in task.expected):
        return False
    if task.shape != "compare":
        return True
    compared = [str(value) for step in task.trajectory.steps for value in step.arguments.values()]
    folded = answer.casefold()
    return max(compared, key=lambda text: (mentions(answer, text), -folded.find(text.casefold()))) in task.expected


class _Player:
    """Leads one episode, and keeps count."""

    def __init__(self, task: Task, protocol: str, intention: Intention) -> None:
        self.task, self.protocol, self.intention = task, protocol, intention
        self.tools = {tool.name: tool for tool in task.trajectory.tools}
        self.rng = np.random.default_rng([0, *task.trajectory.id.encode()])  # chooses the user's wordings
        self.turns = list(self._reference("").turns[:2])
        self.calls = self.valid = self.invented = 0
        self.talk = self._chat() if protocol == "chat" else self._rounds()

    def episode(self, end: _Ended) -> Episode:
        """Sum up."""
        told = self.task.trajectory
        strayed = not told.steps and self.calls  # called a tool where none serves
        solved = end.how == "answered" and not strayed and solves(end.answer, self.task)
        return Episode(told.id, self.task.shape, self.protocol, solved, self.calls, self.valid, self.invented, end.how,
                       end.answer, Conversation(told.id, "episode", tuple(self.turns), told.tools))  # fmt: skip

    def _rounds(self) -> Generator[Prompt, str, None]:
        """React and JSON: a turn is a call or the answer."""
        read = dialects.DIALECTS[self.protocol].parse_turn
        while True:
            reply = yield from self._ask()
            try:
                told = read(reply)
            except FlanError:
                raise _Ended("malformed") from None
            if isinstance(told, Answer):
                raise _Ended("answered", told.text)
            self.turns.append(self._reference(self._run(told.tool, told.arguments)).turns[-1])

    def _chat(self) -> Generator[Prompt, str, None]:
        """Chat: thought, tool and arguments are asked for one by one."""
        while True:
            thought = yield from self._ask()
            if self.intention.answers(thought):
                raise _Ended("answered", (yield from self._ask(self._pick(ANSWER))))
            name = (yield from self._ask(self._pick(ACTION))).strip()
            if name not in self.tools and not is_name(name):
                raise _Ended("malformed")
            arguments = {}
            for parameter in _asked_for(self.tools.get(name), self.task.trajectory.query):
                before, after = self._pick(ARGUMENT)
                arguments[parameter] = parse_value((yield from self._ask(before + parameter + after)).strip())
            self.turns.append(say("user", self._pick(RESULT) + self._run(name, arguments)))

    def _ask(self, user: str = "") -> Generator[Prompt, str, str]:
        """Say something, if anything, and return the reply, cut to its longest."""
        if user:
            self.turns.append(say("user", user))
        if sum(len(turn.text) for turn in self.turns) > LONGEST_TALK:
            raise _Ended("too long")
        reply = yield Prompt(f"{self.task.trajectory.id}/{self.protocol}/{len(self.turns)}", tuple(self.turns))
        reply = reply[:LONGEST_REPLY]
        if not reply.strip():
            raise _Ended("malformed")
        self.turns.append(say("assistant", reply))
        return reply

    def _run(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Run a call and return what came back."""
        if self.calls == MOST_CALLS:
            raise _Ended("too many calls")
        self.calls += 1
        self.invented += name not in self.tools
        value, seen = world().run(name if name in self.tools else "", arguments)
        self.valid += value is not None
        return seen

    def _reference(self, observation: str) -> Conversation:
        """Write the request and an observation in the protocol, with a call between them that nobody reads."""
        told = self.task.trajectory
        steps = (Step("-", "tool", {}, observation),)
        return dialects.render(Trajectory(told.id, told.source, told.query, told.tools, steps,
                                          instructions=told.instructions), self.protocol)  # fmt: skip

    def _pick(self, statements: Sequence[Any]) -> Any:
        return statements[self.rng.integers(len(statements))]


class _Ended(Exception):  # noqa: N818 (how an episode ends, not a failure of the kit)
    def __init__(self, how: str, answer: str = "") -> None:
        self.how, self.answer = how, answer


def _asked_for(tool: Tool | None, query: str) -> list[str]:
    """List the parameters that a user asks for: required ones, and those the request has a word of (cool: cooled)."""
    if tool is None:
        return []
    said = _long_words(query)
    return [name for name in tool.properties if name in tool.required
            or any(a.startswith(b) or b.startswith(a) for a in _long_words(name) for b in said)]  # fmt: skip


def _long_words(text: str) -> list[str]:
    return [word for word in re.findall(r"[^\W\d_]+", text.lower()) if len(word) > 3]
