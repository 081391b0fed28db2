"""Whole episodes: the model's own calls run in the lab's world, and its final answer is compared with the right one.

The model gets no help. A reply that is not in the protocol ends the episode. A call that cannot be run gets an error as
its observation. Only offered tools are run, with arguments that the world has checked. Replies, calls and the
conversation have limits, so a model may write what it likes.

In chat form the harness plays the user. It has to react to plain text without knowing the solution. After a thought it
asks for the tool, or for the answer if the thought's wording announces one (:meth:`Intention.answers`, learnt from
training thoughts). It then asks for the tool's required parameters in their order, and for an optional one if the
request shares a word with its name, since a user who mentions it would ask for it.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from flanlib.records import Conversation, FlanError, Step, Tool, say

MOST_CALLS = 6
LONGEST_REPLY = 800  # characters of a reply that are read and kept
LONGEST_TALK = 12_000  # characters at which a conversation is cut off


@dataclass(frozen=True)
class Episode:
    """The result of one task. ``calls`` counts all tool calls, ``valid_calls`` those that returned a result.

    ``solved``: it ended with an answer that holds what is expected (:func:`solves`). A request that no offered tool
    serves is solved by any answer without a call. ``invented`` counts calls of tools that are not offered. ``ended``:
    ``answered``, ``malformed`` (a reply that is empty or not in the protocol), ``too many calls`` or ``too long``.
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
    """Let a model do tasks in one protocol (``react``, ``json`` or ``chat``).

    All episodes advance together: each round calls ``generate`` once, with the next prompt of every unfinished episode.
    Raises FlanError for an unknown protocol.
    """
    players = [_Player(task, protocol, intention or lab_intention()) for task in tasks]
    episodes: dict[_Player, Episode] = {}
    replies = dict.fromkeys(players)  # None starts a player's generator
    while replies:
        prompts = {}
        for player, reply in replies.items():
            try:
                prompts[player] = player.prompts.send(reply)
            except _Ended as end:
                episodes[player] = player.episode(end)
        texts = ask(generate, list(prompts.values())) if prompts else []
        replies = dict(zip(prompts, texts, strict=True))
    return [episodes[player] for player in players]


def table(episodes: Sequence[Episode]) -> pd.DataFrame:
    """Tabulate episodes, one row each: all fields of :class:`Episode` but the conversation, ``solved`` as 0 or 1."""
    columns = [name for name in Episode.__dataclass_fields__ if name != "conversation"]
    return pd.DataFrame([vars(one) for one in episodes], columns=columns).astype({"solved": int})


def solves(answer: str, task: Task) -> bool:
    """Tell whether an answer holds every expected text, as whole words or numbers. Further text does not matter.

    The answer to a comparison may name everything that was compared. The right one must then be named most often, or
    first among those named equally often.
    """
    if not all(mentions(answer, text) for text in task.expected):
        return False
    if task.shape != "compare":
        return True
    compared = [str(value) for step in task.trajectory.steps for value in step.arguments.values()]
    folded = answer.casefold()
    return max(compared, key=lambda text: (mentions(answer, text), -folded.find(text.casefold()))) in task.expected


class _Player:
    """Runs one episode. ``prompts`` is a generator: it yields the next prompt and takes the reply."""

    def __init__(self, task: Task, protocol: str, intention: Intention) -> None:
        self.task, self.protocol, self.intention = task, protocol, intention
        self.tools = {tool.name: tool for tool in task.trajectory.tools}
        self.rng = np.random.default_rng([0, *task.trajectory.id.encode()])  # chooses the user's wordings
        self.turns = list(self._render("").turns[:2])
        self.calls = self.valid = self.invented = 0
        self.prompts = self._chat() if protocol == "chat" else self._rounds()

    def episode(self, end: _Ended) -> Episode:
        trajectory = self.task.trajectory
        needless = not trajectory.steps and self.calls  # called a tool though no tool serves the request
        solved = end.how == "answered" and not needless and solves(end.answer, self.task)
        conversation = Conversation(trajectory.id, "episode", tuple(self.turns), trajectory.tools)
        return Episode(trajectory.id, self.task.shape, self.protocol, solved, self.calls, self.valid, self.invented,
                       end.how, end.answer, conversation)  # fmt: skip

    def _rounds(self) -> Generator[Prompt, str, None]:
        """ReAct and JSON: every assistant turn is a call or the answer."""
        parse = dialects.DIALECTS[self.protocol].parse_turn
        while True:
            reply = yield from self._ask()
            try:
                move = parse(reply)
            except FlanError:
                raise _Ended("malformed") from None
            if isinstance(move, Answer):
                raise _Ended("answered", move.text)
            self.turns.append(self._render(self._run(move.tool, move.arguments)).turns[-1])

    def _chat(self) -> Generator[Prompt, str, None]:
        """Chat: the user asks for thought, tool and arguments one by one."""
        while True:
            thought = yield from self._ask()
            if self.intention.answers(thought):
                raise _Ended("answered", (yield from self._ask(self._pick(ANSWER))))
            name = (yield from self._ask(self._pick(ACTION))).strip()
            if name not in self.tools and not is_name(name):
                raise _Ended("malformed")
            arguments = {}
            for parameter in _parameters_to_ask_for(self.tools.get(name), self.task.trajectory.query):
                before, after = self._pick(ARGUMENT)
                arguments[parameter] = parse_value((yield from self._ask(before + parameter + after)).strip())
            self.turns.append(say("user", self._pick(RESULT) + self._run(name, arguments)))

    def _ask(self, user: str = "") -> Generator[Prompt, str, str]:
        """Add the user's message, if there is one, and return the reply, cut to LONGEST_REPLY characters."""
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
        if self.calls == MOST_CALLS:
            raise _Ended("too many calls")
        self.calls += 1
        self.invented += name not in self.tools
        value, observation = world().run(name if name in self.tools else "", arguments)
        self.valid += value is not None
        return observation

    def _render(self, observation: str) -> Conversation:
        """Write the request and an observation in the protocol, with a placeholder call between them."""
        steps = (Step("-", "tool", {}, observation),)
        trajectory = replace(self.task.trajectory, steps=steps, answer=None, answer_thought="")
        return dialects.render(trajectory, self.protocol)

    def _pick(self, statements: Sequence[Any]) -> Any:
        return statements[self.rng.integers(len(statements))]


class _Ended(Exception):  # noqa: N818 (how an episode ends, not a failure of the kit)
    def __init__(self, how: str, answer: str = "") -> None:
        self.how, self.answer = how, answer


def _parameters_to_ask_for(tool: Tool | None, query: str) -> list[str]:
    """List the required parameters, and the optional ones that the request has a word of (cool: cooled)."""
    if tool is None:
        return []
    query_words = _long_words(query)
    return [name for name in tool.properties if name in tool.required
            or any(a.startswith(b) or b.startswith(a) for a in _long_words(name) for b in query_words)]  # fmt: skip


def _long_words(text: str) -> list[str]:
    return [word for word in re.findall(r"[^\W\d_]+", text.lower()) if len(word) > 3]
