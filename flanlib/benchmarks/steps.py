"""Single steps: each capability by itself, with the rest of the step given (section 4.2, as T-Eval does).

=============  ====================  =====================  ======================================================
score          the prompt ends with  the model writes       right (1) if
=============  ====================  =====================  ======================================================
instruction    the history           the next turn          it can be parsed as a call or an answer
retrieval      the thought           the tool's name        it is exactly the right name
naming         the tool's name       the parameters' names  each is right (not in chat form: the user names them)
understanding  a parameter's name    its value              the value and its JSON type are right
reasoning      the history           the thought            it states the next move, see :mod:`.intention`
=============  ====================  =====================  ======================================================

Names and values are judged by one forward pass over the reference (:mod:`.reading`). In chat form only short replies
are parsed, so ``instruction`` judges their form. The reply to "which tool?" must be one offered name, or one word that
could be a name, and nothing else. The reply to "which value?" must be one line with a value of the parameter's type.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
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


class Probe(NamedTuple):
    """One thing to judge in a reply. ``judge`` returns whether it is right, and a note. Probes may share a prompt."""

    id: str
    step: int
    protocol: str
    score: str
    type: str
    prompt: Prompt
    judge: Callable[[str], tuple[bool, str]]


def measure(items: Sequence[Task | Trajectory], protocol: str, generate: Generate, read: Read, *,
            intention: Intention | None = None, free: int | None = None) -> pd.DataFrame:  # fmt: skip
    """Score every step of some tasks in one protocol (``react``, ``json`` or ``chat``).

    ``instruction`` and ``reasoning`` are generated for the first ``free`` tasks (by default all); the other scores are
    read for all. Returns a row per judgement, with COLUMNS. ``type`` is ``call`` or ``answer`` for a turn or thought,
    ``name``, or an argument's JSON type. ``value`` is 0 or 1. ``note`` is ``read``, or ``generated`` if reading was
    undecided; for whole turns it is what was parsed. ``intention`` is by default the lab's: for other data, learn one
    from your own training trajectories. Raises FlanError for two tasks of one id.
    """
    intention, items = intention or lab_intention(), list(items)
    trajectories = [item.trajectory if isinstance(item, Task) else item for item in items]
    if clash := next((id for id, n in Counter(one.id for one in trajectories).items() if n > 1), None):
        raise FlanError(f"task {clash}", found="two tasks of that id", expected="every id once",
                        remedy="Draw all tasks in one call.")  # fmt: skip
    results = list(_by_reading(trajectories, protocol, read))
    for item in items[:free]:
        results += probes(item, protocol, intention)
    prompts = {probe.prompt.id: probe.prompt for probe in results if isinstance(probe, Probe)}
    replies = dict(zip(prompts, ask(generate, list(prompts.values())), strict=True))
    rows = []
    for row in results:
        if isinstance(row, Probe):
            *key, prompt, judge = row
            right, note = judge(replies[prompt.id])
            row = (*key, int(right), note, replies[prompt.id])
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _by_reading(trajectories: Sequence[Trajectory], protocol: str, read: Read) -> Iterator[tuple]:
    """Judge names and values by reading. Yield a row for each that is decided, and a probe for each that is not."""
    texts = [render(one, protocol) for one in trajectories]
    found = [list(passages(one, text, protocol)) for one, text in zip(trajectories, texts, strict=True)]
    for trajectory, text, listed, verdicts in zip(trajectories, texts, found, read(texts, found), strict=True):
        for one, verdict in zip(listed, verdicts, strict=True):
            type = _type(trajectory, one.step, one.name) if one.score == UNDERSTANDING else "name"
            key = (trajectory.id, one.step, protocol, one.score, type)
            if verdict == UNDECIDED:
                prompt = Prompt(f"{trajectory.id}/{one.step}/{one.score}/{one.name}", text.turns[: one.turn],
                                text.turns[one.turn].text[: one.start].rstrip(" "),
                                ("\n",) if protocol == "react" else ())  # fmt: skip
                yield Probe(*key, prompt, lambda reply, one=one: (_begins_right(protocol, one, reply), "generated"))
            else:
                right = verdict == RIGHT
                yield *key, int(right), "read", one.wanted if right and isinstance(one.wanted, str) else ""


def _begins_right(protocol: str, passage: Passage, reply: str) -> bool:
    """Tell whether a generated text begins with the right name or value, and that ends where it should."""
    if passage.score == RETRIEVAL and not DIALECTS[protocol].OPENING.quoted:
        return reply.strip() == passage.wanted
    if protocol == "chat":
        return any(same(parse_value(text), passage.wanted) for text in (reply, reply.strip()))
    try:
        return same(first_json('"' + reply if isinstance(passage.wanted, str) else reply)[0], passage.wanted)
    except ValueError:
        return False


def _type(trajectory: Trajectory, step: int, name: str) -> str:
    """Return the JSON type of a parameter of the tool that a step calls; ``any`` if its schema has none."""
    called = trajectory.steps[step].tool
    schema = next((tool.properties.get(name) for tool in trajectory.tools if tool.name == called), None)
    type = schema.get("type") if isinstance(schema, Mapping) else None
    return type if isinstance(type, str) else "any"


def probes(item: Task | Trajectory, protocol: str, intention: Intention) -> Iterator[Probe]:
    """Yield the probes of one task that need a generated reply. Raises FlanError for an unknown protocol."""
    trajectory = item.trajectory if isinstance(item, Task) else item
    turns = render(trajectory, protocol).turns
    # Every reply of the reference, with the turns before it.
    references = iter([(turns[:i], turn.text) for i, turn in enumerate(turns) if turn.role == "assistant"])
    names = {tool.name for tool in trajectory.tools}
    begun, stop, parse, _ = DIALECTS[protocol].OPENING
    for k, call in enumerate([*trajectory.steps, None]):
        if call is None and trajectory.answer is None:
            return
        move, thought = ("call", call.thought) if call else ("answer", trajectory.answer_thought)
        key, at = (trajectory.id, k, protocol), f"{trajectory.id}/{k}"
        before, _ = next(references)
        if protocol != "chat":  # one turn holds the whole step
            yield Probe(*key, "instruction", move, Prompt(f"{at}/turn", before), lambda reply: _turn(protocol, reply))
        if thought:
            yield Probe(*key, "reasoning", move, Prompt(f"{at}/thought", before, begun, stop),
                        lambda reply, k=k: (intention.right(_thought(parse, reply), item, k), ""))  # fmt: skip
        if protocol != "chat" or call is None:
            continue
        if thought:  # in chat form a thought, a name and every argument are replies of their own
            before, _ = next(references)
        yield Probe(*key, "instruction", "name", Prompt(f"{at}/name", before),
                    lambda reply: (reply.strip() in names or is_name(reply.strip()), ""))  # fmt: skip
        for name in call.arguments:
            (before, reference), type = next(references), _type(trajectory, k, name)
            yield Probe(*key, "instruction", type, Prompt(f"{at}/argument {name}", before),
                        lambda reply, type=type, like=reference: (is_value(reply, type, like=like), ""))  # fmt: skip


def beside(judged: pd.DataFrame, trajectory: Trajectory) -> pd.DataFrame:
    """Tabulate what models wrote to one task in chat form, reply by reply: the columns asked, reference, one a model.

    ``judged`` has the rows of :func:`measure` with a column ``model``, of one run of each. A model was given the
    reference's turns before each reply. The final answer is not asked for. Empty if the task was only read.
    """
    turns = render(trajectory, "chat").turns
    pairs = [(before.text, turn.text) for before, turn in pairwise(turns) if turn.role == "assistant"]
    written = judged[(judged["id"] == trajectory.id) & (judged["protocol"] == "chat")
                     & judged["score"].isin(["reasoning", "instruction"])]  # fmt: skip
    replies = {model: rows["reply"].to_list() for model, rows in written.groupby("model", sort=False)}
    n = min(map(len, replies.values()), default=0)
    table = {"asked": [asked for asked, _ in pairs[:n]], "reference": [own for _, own in pairs[:n]]}
    return pd.DataFrame(table | {model: texts[:n] for model, texts in replies.items()})


def is_name(text: str) -> bool:
    """Tell whether a text could be a tool's name: one word of letters, digits, and inner ``_ . / : -``.

    >>> is_name("get_fare"), is_name("I would use get_fare."), is_name("")
    (True, False, False)
    """
    return re.fullmatch(r"[^\W\d][\w./:-]*\w|\w", text) is not None


def is_value(text: str, type: str, *, like: str = "") -> bool:
    """Tell whether a chat reply is a value of a JSON type (``any`` takes all types), on one line.

    If the reference text ``like`` has more lines, the reply may have as many.

    >>> is_value("3", "integer"), is_value("three", "integer"), is_value("Ulm", "string"), is_value("", "string")
    (True, False, True, False)
    """
    text = text.strip()
    if not text or len(text.splitlines()) > max(1, len(like.splitlines())):
        return False
    value = parse_value(text)
    if isinstance(value, bool):  # bool is a subclass of int
        return type == "boolean" or type not in _TYPES
    return isinstance(value, _TYPES.get(type, object))


def same(value: Any, wanted: Any) -> bool:
    """Tell whether two JSON values are equal: ``"3"`` is not 3, and true is not 1.

    >>> same([1, "a"], (1, "a")), same("3", 3), same(True, 1), same(3.0, 3)
    (True, False, False, True)
    """
    if isinstance(value, (tuple, list)) and isinstance(wanted, (tuple, list)):
        value, wanted = dict(enumerate(value)), dict(enumerate(wanted))
    if isinstance(value, Mapping) and isinstance(wanted, Mapping):
        return value.keys() == wanted.keys() and all(same(value[key], wanted[key]) for key in wanted)
    return isinstance(value, bool) == isinstance(wanted, bool) and value == wanted


def _thought(parse: Callable[[str], Any], reply: str) -> str:
    """Parse the thought of a reply; empty if there is none."""
    try:
        text = parse(reply)
    except ValueError:
        return ""
    return text if isinstance(text, str) else ""


def _turn(protocol: str, reply: str) -> tuple[bool, str]:
    """Tell whether a reply is a turn of the protocol, and which kind."""
    try:
        turn = DIALECTS[protocol].parse_turn(reply)
    except FlanError:
        return False, "neither"
    return True, "answer" if isinstance(turn, Answer) else "call"
