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

Names and values are judged by reading the reference (:mod:`.reading`). In chat form nothing is parsed but short
replies, so ``instruction`` asks those for their form: to "which tool?" one offered name, or one word that could be a
name, and nothing else; to "which value?" one line that reads as a value of the parameter's type.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from flanlib.benchmarks import Generate, Prompt, ask
from flanlib.benchmarks.intention import Intention, lab_intention
from flanlib.benchmarks.reading import RETRIEVAL, RIGHT, UNDECIDED, UNDERSTANDING, Passage, Read, passages
from flanlib.dialects import DIALECTS, render
from flanlib.dialects.chat import parse_value
from flanlib.dialects.common import Answer
from flanlib.lab.tasks import Task
from flanlib.records import FlanError, Trajectory, first_json

COLUMNS = ("id", "step", "protocol", "score", "type", "value", "note", "reply")
_TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict,
          "null": type(None)}  # fmt: skip
FORMS: dict[str, tuple[str, tuple[str, ...], Callable[[str], Any]]] = {
    "react": ("Thought:", ("\nAction", "\nFinal Answer"), str.strip),
    "json": ('{"thought":', (', "name"', ', "answer"'), lambda reply: first_json(reply)[0]),
    "chat": ("", (), str),
}
"""What a turn with a thought begins with, where writing it may stop, and how it is read (ValueError: not)."""


class Probe(NamedTuple):
    """One thing to judge in a reply: ``judge`` gives right or wrong and a note. Probes may share a prompt."""

    id: str
    step: int
    protocol: str
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
    for row in asked:
        if isinstance(row, Probe):
            *of, prompt, judge = row
            right, note = judge(replies[prompt.id])
            row = (*of, int(right), note, replies[prompt.id])
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _by_reading(told: Sequence[Trajectory], protocol: str, read: Read) -> Iterator[tuple]:
    """Judge names and values by reading: rows where that decides, probes where it does not."""
    texts = [render(one, protocol) for one in told]
    found = [list(passages(one, text, protocol)) for one, text in zip(told, texts, strict=True)]
    for trajectory, text, listed, verdicts in zip(told, texts, found, read(texts, found), strict=True):
        for one, verdict in zip(listed, verdicts, strict=True):
            type = _type(trajectory, one.step, one.name) if one.score == UNDERSTANDING else "name"
            of = (trajectory.id, one.step, protocol, one.score, type)
            if verdict == UNDECIDED:
                prompt = Prompt(f"{trajectory.id}/{one.step}/{one.score}/{one.name}", text.turns[: one.turn],
                                text.turns[one.turn].text[: one.start].rstrip(" "),
                                ("\n",) if protocol == "react" else ())  # fmt: skip
                yield Probe(*of, prompt, lambda reply, one=one: (_written(protocol, one, reply), "generated"))
            else:
                right = verdict == RIGHT
                yield *of, int(right), "read", one.wanted if right and isinstance(one.wanted, str) else ""


def _written(protocol: str, passage: Passage, reply: str) -> bool:
    """Tell whether a generated name or value begins with the right one, and ends there."""
    if protocol != "json" and passage.score == RETRIEVAL:
        return reply.strip() == passage.wanted
    if protocol == "chat":
        return any(same(parse_value(text), passage.wanted) for text in (reply, reply.strip()))
    try:
        return same(first_json('"' + reply if isinstance(passage.wanted, str) else reply)[0], passage.wanted)
    except ValueError:
        return False


def _type(trajectory: Trajectory, step: int, name: str) -> str:
    """Return the JSON type of a parameter of the tool that a step calls, ``any`` where none is given."""
    called = trajectory.steps[step].tool
    schema = next((tool.properties.get(name) for tool in trajectory.tools if tool.name == called), None)
    type = schema.get("type") if isinstance(schema, Mapping) else None
    return type if isinstance(type, str) else "any"


def probes(item: Task | Trajectory, protocol: str, intention: Intention) -> Iterator[Probe]:
    """List what is judged by what a model writes in one task. Raises FlanError for an unknown protocol."""
    trajectory = item.trajectory if isinstance(item, Task) else item
    turns = render(trajectory, protocol).turns  # the reference, cut before each of the assistant's turns
    asked = iter([(turns[:i], turn.text) for i, turn in enumerate(turns) if turn.role == "assistant"])
    names = {tool.name for tool in trajectory.tools}
    begun, stop, read = FORMS[protocol]
    for k, call in enumerate([*trajectory.steps, None]):
        if call is None and trajectory.answer is None:
            return
        move, thought = ("call", call.thought) if call else ("answer", trajectory.answer_thought)
        of, at = (trajectory.id, k, protocol), f"{trajectory.id}/{k}"
        before, _ = next(asked)
        if protocol != "chat":  # one turn holds the whole step
            yield Probe(*of, "instruction", move, Prompt(f"{at}/turn", before), lambda reply: _turn(protocol, reply))
        if thought:
            yield Probe(*of, "reasoning", move, Prompt(f"{at}/thought", before, begun, stop),
                        lambda reply, k=k: (intention.right(_thought(read, reply), item, k), ""))  # fmt: skip
        if protocol != "chat" or call is None:
            continue
        if thought:  # was a reply of its own, as the name is, and every argument
            before, _ = next(asked)
        yield Probe(*of, "instruction", "name", Prompt(f"{at}/name", before),
                    lambda reply: (reply.strip() in names or is_name(reply.strip()), ""))  # fmt: skip
        for name in call.arguments:
            (before, said), type = next(asked), _type(trajectory, k, name)
            yield Probe(*of, "instruction", type, Prompt(f"{at}/argument {name}", before),
                        lambda reply, type=type, said=said: (is_value(reply, type, like=said), ""))  # fmt: skip


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
    if not text or len(text.splitlines()) > max(1, len(like.splitlines())):
        return False
    value = parse_value(text)
    if isinstance(value, bool):  # a whole number to Python
        return type == "boolean" or type not in _TYPES
    return isinstance(value, _TYPES.get(type, object))


def same(told: Any, wanted: Any) -> bool:
    """Tell whether two JSON values are equal: ``"3"`` is not 3, and true is not 1.

    >>> same([1, "a"], (1, "a")), same("3", 3), same(True, 1), same(3.0, 3)
    (True, False, False, True)
    """
    if isinstance(told, (tuple, list)) and isinstance(wanted, (tuple, list)):
        told, wanted = (dict(enumerate(value)) for value in (told, wanted))
    if isinstance(told, Mapping) and isinstance(wanted, Mapping):
        return told.keys() == wanted.keys() and all(same(told[key], wanted[key]) for key in wanted)
    return isinstance(told, bool) == isinstance(wanted, bool) and told == wanted


def _thought(read: Callable[[str], Any], reply: str) -> str:
    """Read a thought; empty where there is none."""
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
