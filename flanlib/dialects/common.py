"""Code that the dialects share: the system turn, arguments as spans, and turns read as steps and an answer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from flanlib.dialects.elicit import NEXT
from flanlib.dialects.listing import tool_list
from flanlib.records import Conversation, FlanError, Step, Tool, Trajectory, Turn, clip, from_json, say, spans, to_json


class Call(NamedTuple):
    """An assistant turn that calls a tool."""

    thought: str
    tool: str
    arguments: Mapping[str, Any]


class Answer(NamedTuple):
    """An assistant turn that ends the task."""

    thought: str
    text: str


class Opening(NamedTuple):
    """How a turn with a thought begins, the texts that end the thought, and how it is parsed (or ValueError).

    ``quoted`` tells whether the names of tools stand in quotes, as in JSON.
    """

    begun: str = ""
    stop: tuple[str, ...] = ()
    parse: Callable[[str], Any] = str
    quoted: bool = False


def offer(tools: Sequence[Tool], how: str, instructions: str = "") -> Turn:
    """Make a system turn: the task's own instructions, the offered tools, and how to reply."""
    tool_text = f"You can use these tools:\n{tool_list(tools)}" if tools else ""
    return say("system", "\n\n".join(part for part in (instructions, tool_text, how) if part))


def argument_parts(arguments: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Write arguments as one line of JSON in (text, kind) pairs. All but names and values is ``instruction``.

    >>> [(text, kind[:5]) for text, kind in argument_parts({"n": 3})]
    [('{', 'instr'), ('"', 'instr'), ('n', 'under'), ('": ', 'instr'), ('3', 'under'), ('}', 'instr')]
    """
    parts: list[tuple[str, Any]] = [("{", "instruction")]
    for i, (name, value) in enumerate(arguments.items()):
        parts += [(', "' if i else '"', "instruction"), (to_json(name)[1:-1], "understanding"), ('": ', "instruction"),
                  *value_parts(value)]
    return [*parts, ("}", "instruction")]


def value_parts(value: Any) -> list[tuple[str, Any]]:
    """Write a value as JSON. It is ``understanding``, except for the quotes around a string."""
    written = to_json(value)
    if not isinstance(value, str):
        return [(written, "understanding")]
    return [('"', "instruction"), (written[1:-1], "understanding"), ('"', "instruction")]


def reply(*parts: tuple[str, Any]) -> Turn:
    """Make a trained assistant turn from (text, kind) pairs. Neighbours of one kind become one span.

    >>> reply(("a", "reasoning"), ("b", "reasoning")).spans
    (Span(text='ab', kind='reasoning'),)
    """
    grouped = groupby((part for part in parts if part[0]), key=lambda part: part[1])
    return Turn("assistant", spans(*(("".join(text for text, _ in group), kind) for kind, group in grouped)), True)


def misfit(where: str, found: str, expected: str, form: str) -> FlanError:
    """Make the error for a turn that is not in a dialect; ``form`` says in which one."""
    return FlanError(where, found=found, expected=expected, remedy=f"Count the row as not in {form}.")


def read_object(text: str, where: str) -> Mapping[str, Any]:
    """Read one JSON object. Raises FlanError for anything else."""
    try:
        value, reason = from_json(text), ""
    except ValueError as error:
        value, reason = None, f" ({error})"
    if not isinstance(value, dict):
        raise misfit(where, clip(text) + reason, "one JSON object", "this dialect")
    return value


def write(trajectory: Trajectory, how: str, call: Callable[[Step], Turn], observe: Callable[[str], str],
                 answer: Callable[[str, str], Turn]) -> Conversation:  # fmt: skip
    """Write a trajectory with one assistant turn per step and the observation in the user turn after it."""
    turns = [offer(trajectory.tools, how, trajectory.instructions), say("user", trajectory.query)]
    for step in trajectory.steps:
        if turns[-1].role == "assistant":  # the call before runs at the same time, and its result is not known
            turns.append(say("user", NEXT))
        turns.append(call(step))
        if step.observation is not None:
            turns.append(say("user", observe(step.observation)))
    if trajectory.answer is not None:
        turns.append(answer(trajectory.answer_thought, trajectory.answer))
    return Conversation(trajectory.id, trajectory.source, tuple(turns), trajectory.tools)


def read(conversation: Conversation, how: str, turn: Callable[[str, str], Call | Answer],
                observation: Callable[[str, str], str]) -> Trajectory:  # fmt: skip
    """Undo :func:`write`. Raises FlanError if a turn is not in the dialect."""
    texts = [turn.text for turn in conversation.turns if turn.role != "system"]
    steps: list[Step] = []
    answer: Answer | None = None
    for i in range(1, len(texts), 2):
        here, after = (f"conversation {conversation.id}, turn {number}" for number in (i + 1, i + 2))
        if answer is not None:
            raise FlanError(here, found="a turn after the answer", expected="the end",
                            remedy="One trajectory holds one request: split the row in the reader.")
        action = turn(texts[i], here)
        if isinstance(action, Answer):
            answer = action
        else:
            seen = i + 1 < len(texts) and texts[i + 1] != NEXT
            steps.append(Step(*action, observation(texts[i + 1], after) if seen else None))
    return rebuild(conversation, how, texts[0], steps, answer)


def rebuild(conversation: Conversation, how: str, query: str, steps: Iterable[Step],
            answer: Answer | None) -> Trajectory:  # fmt: skip
    """Make the trajectory of a conversation. Its instructions are the part of the system turn before the tools."""
    first, fixed = conversation.turns[0], offer(conversation.tools, how).text
    instructions = first.text.removesuffix(fixed).removesuffix("\n\n") if first.role == "system" else ""
    thought, text = answer or ("", None)
    return Trajectory(conversation.id, conversation.source, query, conversation.tools, tuple(steps), text, thought,
                      instructions)
