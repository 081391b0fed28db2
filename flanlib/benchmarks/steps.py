"""Single steps by generation: each capability by itself, with the rest of the step given (section 4.2, as T-Eval does).

=============  =====================================  ==================================================
score          the model is given, and writes         right (1) if
=============  =====================================  ==================================================
instruction    the history; the whole next turn       the turn can be read as a call or an answer
retrieval      the thought; the tool's name           it is exactly the right name
understanding  thought and name; the arguments        the argument has the right value and JSON type
reasoning      the history; the thought               it states the next move, see :mod:`.intention`
=============  =====================================  ==================================================

In chat form nothing is parsed but short replies, so ``instruction`` asks those for their form: to "which tool?" one
offered name, or one word that could be a name, and nothing else; to "which value?" one line that reads as a value of
the parameter's type. They are the replies that retrieval and understanding are judged by, generated once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from flanlib.benchmarks import Generate, Prompt, ask, first_value
from flanlib.benchmarks.intention import Intention, lab_intention
from flanlib.dialects import DIALECTS, render
from flanlib.dialects.chat import parse_value
from flanlib.dialects.common import Answer
from flanlib.lab.tasks import Task
from flanlib.records import FlanError, Step, Tool, Trajectory, Turn

SCORES = ("instruction", "retrieval", "understanding", "reasoning")
COLUMNS = ("id", "step", "protocol", "score", "type", "value", "note", "reply")
_TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict,
          "null": type(None)}  # fmt: skip


@dataclass(frozen=True)
class Form:
    """Where the parts of a turn begin, and where generation of a part may stop."""

    thought: str
    name: str
    arguments: str
    after_thought: tuple[str, ...]
    after_name: tuple[str, ...]
    after_arguments: tuple[str, ...]
    read: Callable[[str], Any]
    """Reads a thought or a name from what the model wrote; ValueError if there is none."""


FORMS = {
    "react": Form("Thought:", "\nAction:", "\nAction Input:", ("\nAction", "\nFinal Answer"), ("\n",), ("\n",),
                  str.strip),
    "json": Form('{"thought":', '", "name":', '", "arguments":', (', "name"', ', "answer"'), (', "arguments"',), (),
                 first_value),
}  # fmt: skip


@dataclass(frozen=True)
class Probe:
    """One thing to judge in a reply: ``judge`` gives right or wrong and a note. Probes may share a prompt."""

    id: str
    step: int
    score: str
    type: str
    prompt: Prompt
    judge: Callable[[str], tuple[bool, str]]


def measure(items: Iterable[Task | Trajectory], protocol: str, generate: Generate, *,
            intention: Intention | None = None, scores: Sequence[str] = SCORES) -> pd.DataFrame:  # fmt: skip
    """Score every step of some tasks in one protocol (``react``, ``json`` or ``chat``); nothing is averaged.

    Returns a row per judgement: id, step, protocol, score, type (what was asked for: ``call`` or ``answer`` for a
    turn or thought, ``name``, or an argument's JSON type), value (0 or 1), note, reply. ``intention`` is by default
    the lab's: learn one from your own training trajectories for other data. Raises FlanError for two tasks of one id.
    """
    intention = intention or lab_intention()
    asked = [probe for item in items for probe in probes(item, protocol, intention) if probe.score in scores]
    prompts = {probe.prompt.id: probe.prompt for probe in asked}
    if clash := next((p.prompt.id for p in asked if p.prompt != prompts[p.prompt.id]), None):
        raise FlanError(f"task {clash.split('/')[0]}", found="two tasks of that id", expected="every id once",
                        remedy="Draw all tasks in one call.")  # fmt: skip
    replies = dict(zip(prompts, ask(generate, list(prompts.values())), strict=True))
    rows = []
    for probe in asked:
        reply = replies[probe.prompt.id]
        right, note = probe.judge(reply)
        rows.append((probe.id, probe.step, protocol, probe.score, probe.type, int(right), note, reply))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def probes(item: Task | Trajectory, protocol: str, intention: Intention) -> Iterator[Probe]:
    """List what is judged in one task. Raises FlanError for an unknown protocol."""
    trajectory = item.trajectory if isinstance(item, Task) else item
    conversation = render(trajectory, protocol)  # the reference, cut before each of the assistant's turns
    turns = conversation.turns
    asked = iter([(turns[:i], turn.text) for i, turn in enumerate(turns) if turn.role == "assistant"])
    for step, move in enumerate([*trajectory.steps, None]):
        if move is None and trajectory.answer is None:
            return
        thought = move.thought if move else trajectory.answer_thought
        maker = _Prober(trajectory, step, "call" if move else "answer", lambda r, k=step: intention.right(r, item, k))
        yield from (maker.chat if protocol == "chat" else maker.lined)(protocol, asked, move, thought)


@dataclass(frozen=True)
class _Prober:
    """Makes the probes of one step."""

    trajectory: Trajectory
    step: int
    move: str
    reasoned: Callable[[str], bool]

    def lined(self, protocol: str, asked: Iterator[tuple[Sequence[Turn], str]], move: Step | None,
              thought: str) -> Iterator[Probe]:  # fmt: skip
        """React and JSON: one turn holds the whole step, so its beginning is given up to the part in question."""
        form, (before, text) = FORMS[protocol], next(asked)

        def upto(label: str) -> str:
            return text[: text.index(label) + len(label)]

        yield self._probe("instruction", self.move, self._prompt("turn", before), lambda r: _turn(protocol, r))
        if thought:
            yield self._probe("reasoning", self.move,
                              self._prompt("thought", before, upto(form.thought), form.after_thought),
                              lambda r: (self.reasoned(_read(form.read, r)), ""))  # fmt: skip
        if move is None:
            return
        yield self._probe("retrieval", "name", self._prompt("name", before, upto(form.name), form.after_name),
                          lambda r: self._named(_read(form.read, r), move))  # fmt: skip
        filled = self._prompt("arguments", before, upto(form.arguments), form.after_arguments)
        for name, value in move.arguments.items():
            yield self._probe("understanding", self._type(move, name), filled,
                              lambda r, n=name, v=value: _argument(r, n, v, move.arguments))  # fmt: skip

    def chat(self, protocol: str, asked: Iterator[tuple[Sequence[Turn], str]], move: Step | None,
             thought: str) -> Iterator[Probe]:  # fmt: skip
        """Chat: thought, name and every argument are replies of their own."""
        if thought:
            yield self._probe("reasoning", self.move, self._prompt("thought", next(asked)[0]),
                              lambda r: (self.reasoned(r), ""))  # fmt: skip
        prompt = self._prompt("name" if move else "answer", next(asked)[0])
        if move is None:
            return
        yield self._probe("instruction", "name", prompt, lambda r: (self._named(r.strip(), move)[1] != "no name", ""))
        yield self._probe("retrieval", "name", prompt, lambda r: self._named(r.strip(), move))
        for name, value in move.arguments.items():
            before, said = next(asked)
            prompt, kind = self._prompt(f"argument {name}", before), self._type(move, name)
            yield self._probe("instruction", kind, prompt, lambda r, k=kind, s=said: (is_value(r, k, like=s), ""))
            yield self._probe("understanding", kind, prompt, lambda r, v=value: (
                any(same(parse_value(text), v) for text in (r, r.strip())), ""))  # fmt: skip

    def _probe(self, score: str, type: str, prompt: Prompt, judge: Callable[[str], tuple[bool, str]]) -> Probe:
        return Probe(self.trajectory.id, self.step, score, type, prompt, judge)

    def _prompt(self, part: str, before: Sequence[Turn], begun: str = "", stop: tuple[str, ...] = ()) -> Prompt:
        return Prompt(f"{self.trajectory.id}/{self.step}/{part}", tuple(before), begun, stop)

    def _named(self, name: str, move: Step) -> tuple[bool, str]:
        offered = name in {tool.name for tool in self.trajectory.tools}
        return name == move.tool, "offered" if offered else "not offered" if is_name(name) else "no name"

    def _type(self, move: Step, name: str) -> str:
        return parameter_type(next((tool for tool in self.trajectory.tools if tool.name == move.tool), None), name)


def is_name(text: str) -> bool:
    """Tell whether a text could be a tool's name: one word, with no more than dots, dashes and slashes in it.

    >>> is_name("get_fare"), is_name("I would use get_fare."), is_name("")
    (True, False, False)
    """
    return re.fullmatch(r"[^\W\d][\w./:-]*\w|\w", text) is not None


def is_value(text: str, type: str, *, like: str = "") -> bool:
    """Tell whether a chat reply reads as a value of a JSON type (``any``: of whichever), on one line.

    It may have as many lines as the text that it should be ``like``.

    >>> is_value("3", "integer"), is_value("three", "integer"), is_value("Ulm", "string"), is_value("", "string")
    (True, False, True, False)
    """
    text = text.strip()
    lines = max(1, len(like.splitlines()))
    return bool(text) and len(text.splitlines()) <= lines and _is(parse_value(text), type)


def same(told: Any, wanted: Any) -> bool:
    """Tell whether two JSON values are equal: ``"3"`` is not 3, and true is not 1.

    >>> same([1, "a"], (1, "a")), same("3", 3), same(True, 1), same(3.0, 3)
    (True, False, False, True)
    """
    if isinstance(wanted, Mapping):
        return (isinstance(told, Mapping) and told.keys() == wanted.keys()
                and all(same(told[k], wanted[k]) for k in wanted))  # fmt: skip
    if isinstance(wanted, (tuple, list)):
        return (isinstance(told, (tuple, list)) and len(told) == len(wanted)
                and all(same(a, b) for a, b in zip(told, wanted, strict=True)))  # fmt: skip
    return isinstance(told, bool) == isinstance(wanted, bool) and told == wanted


def parameter_type(tool: Tool | None, name: str) -> str:
    """Return the JSON type of a tool's parameter, ``any`` where it gives none."""
    schema = tool.properties.get(name) if tool else None
    type = schema.get("type") if isinstance(schema, Mapping) else None
    return type if isinstance(type, str) else "any"


def _is(value: Any, type: str) -> bool:
    if isinstance(value, bool) or type not in _TYPES:
        return type not in _TYPES or type == "boolean"
    return isinstance(value, _TYPES[type])


def _read(read: Callable[[str], Any], reply: str) -> str:
    try:
        text = read(reply)
    except ValueError:
        return ""
    return text if isinstance(text, str) else ""


def _turn(protocol: str, reply: str) -> tuple[bool, str]:
    try:
        told = DIALECTS[protocol].parse_turn(reply)
    except FlanError:
        return False, "neither"
    return True, "answer" if isinstance(told, Answer) else "call"


def _argument(reply: str, name: str, value: Any, wanted: Mapping[str, Any]) -> tuple[bool, str]:
    try:
        told = first_value(reply)
    except ValueError:
        return False, "no JSON"
    if not isinstance(told, dict):
        return False, "no object"
    if name not in told:
        return False, "missing"
    return same(told[name], value), f"{len(told.keys() - wanted.keys())} more" if told.keys() - wanted.keys() else ""
