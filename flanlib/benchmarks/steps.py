"""Single steps: each capability by itself, with the rest of the step given (section 4.2, as T-Eval does).

=============  ======================================  ==================================================
score          the model is given                      right (1) if
=============  ======================================  ==================================================
instruction    the history; it writes the next turn    the turn can be read as a call or an answer
retrieval      the thought; the tool's name            it is exactly the right name
naming         name; the parameters' names             each is right (not in chat form: the user says it)
understanding  its parameter's name; a value           the argument has the right value and JSON type
reasoning      the history; it writes the thought      it states the next move, see :mod:`.intention`
=============  ======================================  ==================================================

Names and values are judged by reading the reference (:mod:`.reading`), at a twentieth of the cost of generating them;
where reading leaves it open, that one is generated. What a model has to write freely is generated too, if wanted on
fewer tasks.

In chat form nothing is parsed but short replies, so ``instruction`` asks those for their form: to "which tool?" one
offered name, or one word that could be a name, and nothing else; to "which value?" one line that reads as a value of
the parameter's type.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from flanlib.benchmarks import Generate, Prompt, ask, first_value
from flanlib.benchmarks.intention import Intention, lab_intention
from flanlib.benchmarks.reading import RETRIEVAL, RIGHT, UNDECIDED, UNDERSTANDING, Passage, Read, passages
from flanlib.dialects import DIALECTS, render
from flanlib.dialects.chat import parse_value
from flanlib.dialects.common import Answer
from flanlib.lab.tasks import Task
from flanlib.records import FlanError, Step, Tool, Trajectory, Turn

COLUMNS = ("id", "step", "protocol", "score", "type", "value", "note", "reply")
_TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict,
          "null": type(None)}  # fmt: skip


@dataclass(frozen=True)
class Form:
    """Where the thought of a turn begins, where generation of it may stop, and how it is read (ValueError: not)."""

    thought: str
    after_thought: tuple[str, ...]
    read: Callable[[str], Any]


FORMS = {"react": Form("Thought:", ("\nAction", "\nFinal Answer"), str.strip),
         "json": Form('{"thought":', (', "name"', ', "answer"'), first_value)}  # fmt: skip


@dataclass(frozen=True)
class Probe:
    """One thing to judge in a reply: ``judge`` gives right or wrong and a note. Probes may share a prompt."""

    id: str
    step: int
    score: str
    type: str
    prompt: Prompt
    judge: Callable[[str], tuple[bool, str]]


def measure(items: Sequence[Task | Trajectory], protocol: str, generate: Generate, read: Read, *,
            intention: Intention | None = None, free: int | None = None) -> pd.DataFrame:  # fmt: skip
    """Score every step of some tasks in one protocol (``react``, ``json`` or ``chat``); nothing is averaged.

    ``instruction`` and ``reasoning`` are written on the first ``free`` tasks (by default all), the other scores read on
    all. Returns a row per judgement: id, step, protocol, score, type (what was asked for: ``call`` or ``answer`` for a
    turn or thought, ``name``, or an argument's JSON type), value (0 or 1), note (``read``, or ``generated`` where
    reading left it open; of turns what was found), reply. ``intention`` is by default the lab's: learn one from your
    own training trajectories for other data. Raises FlanError for two tasks of one id.
    """
    intention, items = intention or lab_intention(), list(items)
    told = [item.trajectory if isinstance(item, Task) else item for item in items]
    if clash := next((id for id, n in Counter(one.id for one in told).items() if n > 1), None):
        raise FlanError(f"task {clash}", found="two tasks of that id", expected="every id once",
                        remedy="Draw all tasks in one call.")  # fmt: skip
    asked = [*_by_reading(told, protocol, read),
             *(probe for item in items[:free] for probe in probes(item, protocol, intention))]  # fmt: skip
    prompts = {probe.prompt.id: probe.prompt for probe in asked if isinstance(probe, Probe)}
    replies = dict(zip(prompts, ask(generate, list(prompts.values())), strict=True))
    rows = []
    for probe in asked:
        if isinstance(probe, Probe):
            reply = replies[probe.prompt.id]
            right, note = probe.judge(reply)
            rows.append((probe.id, probe.step, protocol, probe.score, probe.type, int(right), note, reply))
        else:
            rows.append(probe)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _by_reading(told: Sequence[Trajectory], protocol: str, read: Read) -> Iterator[Any]:
    """Judge names and values by reading: rows where that decides, probes where it does not."""
    texts = [render(one, protocol) for one in told]
    found = [list(passages(one, text, protocol)) for one, text in zip(told, texts, strict=True)]
    for trajectory, text, listed, choices in zip(told, texts, found, read(texts, found), strict=True):
        for passage, verdict in zip(listed, choices, strict=True):
            kind = _type(trajectory, passage)
            if verdict == UNDECIDED:
                prompt = Prompt(f"{trajectory.id}/{passage.step}/{passage.score}/{passage.name}",
                                text.turns[: passage.turn], text.turns[passage.turn].text[: passage.start].rstrip(" "),
                                ("\n",) if protocol == "react" else ())  # fmt: skip
                yield Probe(trajectory.id, passage.step, passage.score, kind, prompt,
                            lambda reply, p=passage: (_written(protocol, p, reply), "generated"))  # fmt: skip
            else:
                yield (trajectory.id, passage.step, protocol, passage.score, kind, int(verdict == RIGHT), "read",
                       passage.wanted if verdict == RIGHT and isinstance(passage.wanted, str) else "")  # fmt: skip


def _written(protocol: str, passage: Passage, reply: str) -> bool:
    """Tell whether a generated name or value begins with the right one, and ends there."""
    if protocol != "json" and passage.score == RETRIEVAL:
        return reply.strip() == passage.wanted
    if protocol == "chat":
        return any(same(parse_value(text), passage.wanted) for text in (reply, reply.strip()))
    quoted = isinstance(passage.wanted, str)
    try:
        return same(first_value('"' + reply if quoted else reply), passage.wanted)
    except ValueError:
        return False


def _type(trajectory: Trajectory, passage: Passage) -> str:
    if passage.score != UNDERSTANDING:
        return "name"
    called = trajectory.steps[passage.step].tool
    return parameter_type(next((tool for tool in trajectory.tools if tool.name == called), None), passage.name)


def probes(item: Task | Trajectory, protocol: str, intention: Intention) -> Iterator[Probe]:
    """List what is judged by what a model writes in one task. Raises FlanError for an unknown protocol."""
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

    def chat(self, protocol: str, asked: Iterator[tuple[Sequence[Turn], str]], move: Step | None,
             thought: str) -> Iterator[Probe]:  # fmt: skip
        """Chat: thought, name and every argument are replies of their own."""
        if thought:
            yield self._probe("reasoning", self.move, self._prompt("thought", next(asked)[0]),
                              lambda r: (self.reasoned(r), ""))  # fmt: skip
        prompt = self._prompt("name" if move else "answer", next(asked)[0])
        if move is None:
            return
        yield self._probe("instruction", "name", prompt, lambda r: (self._is_name(r.strip()), ""))
        for name in move.arguments:
            before, said = next(asked)
            prompt, kind = self._prompt(f"argument {name}", before), self._type(move, name)
            yield self._probe("instruction", kind, prompt, lambda r, k=kind, s=said: (is_value(r, k, like=s), ""))

    def _probe(self, score: str, type: str, prompt: Prompt, judge: Callable[[str], tuple[bool, str]]) -> Probe:
        return Probe(self.trajectory.id, self.step, score, type, prompt, judge)

    def _prompt(self, part: str, before: Sequence[Turn], begun: str = "", stop: tuple[str, ...] = ()) -> Prompt:
        return Prompt(f"{self.trajectory.id}/{self.step}/{part}", tuple(before), begun, stop)

    def _is_name(self, text: str) -> bool:
        return text in {tool.name for tool in self.trajectory.tools} or is_name(text)

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
