"""What the dialects share: the system turn, arguments as spans, and turns read as steps and an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flanlib.records import (
    Conversation,
    FlanError,
    Span,
    Step,
    Tool,
    Trajectory,
    Turn,
    clip,
    from_json,
    say,
    spans,
    to_json,
)


@dataclass(frozen=True)
class Call:
    """An assistant turn that calls a tool."""

    thought: str
    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """An assistant turn that ends the task."""

    thought: str
    text: str


def tool_list(tools: Iterable[Tool]) -> str:
    """List tools in plain words, a line each and one more per parameter.

    What a tool does comes before what it is called: a reader from left to right, such as a small model, then meets the
    name knowing what it stands for.

    >>> print(tool_list([Tool("find_town", "Find a town.", {"properties": {"name": {"type": "string"}}})]))
    - Find a town: find_town
      name (string, optional)
    """
    lines = []
    for tool in tools:
        does = tool.description.strip().removesuffix(".")
        lines.append(f"- {does}: {tool.name}" if does else f"- {tool.name}")
        for name, schema in tool.properties.items():
            schema = schema if isinstance(schema, Mapping) else {}
            kind = str(schema.get("type", "any")) + ("" if name in tool.required else ", optional")
            about = str(schema.get("description", "")).strip()
            lines.append(f"  {name} ({kind})" + (f": {about}" if about else ""))
    return "\n".join(lines)


def offer(tools: Sequence[Tool], how: str, instructions: str = "") -> Turn:
    """Make a system turn: the task's own instructions, the tools on offer, and how to reply."""
    offered = f"You can use these tools:\n{tool_list(tools)}" if tools else ""
    return say("system", "\n\n".join(part for part in (instructions, offered, how) if part))


def system(trajectory: Trajectory, how: str) -> Turn:
    """Make a trajectory's system turn."""
    return offer(trajectory.tools, how, trajectory.instructions)


def argument_spans(arguments: Mapping[str, Any]) -> tuple[Span, ...]:
    """Write arguments as one line of JSON: names and values are understanding, punctuation is instruction.

    >>> [(s.text, s.kind[:5]) for s in argument_spans({"n": 3})]
    [('{"', 'instr'), ('n', 'under'), ('": ', 'instr'), ('3', 'under'), ('}', 'instr')]
    """
    parts: list = [("{", "instruction")]
    for i, (name, value) in enumerate(arguments.items()):
        parts += [(', "' if i else '"', "instruction"), (to_json(name)[1:-1], "understanding"), ('": ', "instruction")]
        if isinstance(value, str):
            parts += [('"', "instruction"), (to_json(value)[1:-1], "understanding"), ('"', "instruction")]
        else:
            parts += [(to_json(value), "understanding")]
    return merged(spans(*parts, ("}", "instruction")))


def merged(parts: Iterable[Span]) -> tuple[Span, ...]:
    """Join neighbouring spans of one kind.

    >>> merged(spans(("a", "reasoning"), ("b", "reasoning")))
    (Span(text='ab', kind='reasoning'),)
    """
    joined: list[Span] = []
    for span in parts:
        if joined and joined[-1].kind == span.kind:
            joined[-1] = Span(joined[-1].text + span.text, span.kind)
        else:
            joined.append(span)
    return tuple(joined)


def reply(*parts: tuple[str, Any] | Span) -> Turn:
    """Make a trained assistant turn from spans and (text, kind) pairs."""
    listed = [part if isinstance(part, Span) else Span(*part) for part in parts if isinstance(part, Span) or part[0]]
    return Turn("assistant", merged(listed), trained=True)


def read_object(text: str, where: str) -> Mapping[str, Any]:
    """Read one JSON object. Raises FlanError for anything else."""
    try:
        value = from_json(text)
    except ValueError as error:
        raise FlanError(where, found=f"{clip(text)} ({error})", expected="one JSON object",
                        remedy="Count the row as not in this dialect.") from None
    if not isinstance(value, dict):
        raise FlanError(where, found=clip(text), expected="one JSON object",
                        remedy="Count the row as not in this dialect.")
    return value


def write_rounds(trajectory: Trajectory, how: str, call: Callable[[Step], Turn], observe: Callable[[str], str],
                 answer: Callable[[str, str], Turn]) -> Conversation:  # fmt: skip
    """Write a trajectory in a dialect of one assistant turn per step, with the observation as the user's."""
    turns = [system(trajectory, how), say("user", trajectory.query)]
    for step in trajectory.steps:
        turns.append(call(step))
        if step.observation is not None:
            turns.append(say("user", observe(step.observation)))
    if trajectory.answer is not None:
        turns.append(answer(trajectory.answer_thought, trajectory.answer))
    return Conversation(trajectory.id, trajectory.source, tuple(turns), trajectory.tools)


def read_rounds(conversation: Conversation, how: str, turn: Callable[[str, str], Call | Answer],
                observation: Callable[[str, str], str]) -> Trajectory:  # fmt: skip
    """Undo :func:`write_rounds`. Raises FlanError where a turn is not in the dialect."""
    where = f"conversation {conversation.id}"
    query, *rest = spoken(conversation)
    steps: list[Step] = []
    answer: Answer | None = None
    for i in range(0, len(rest), 2):
        at = f"{where}, turn {i + 2}"
        if answer is not None:
            raise FlanError(at, found="a turn after the answer", expected="the end",
                            remedy="One trajectory holds one request: split the row in the reader.")
        told = turn(rest[i], at)
        if isinstance(told, Answer):
            answer = told
        else:
            seen = observation(rest[i + 1], f"{where}, turn {i + 3}") if i + 1 < len(rest) else None
            steps.append(Step(told.thought, told.tool, told.arguments, seen))
    return rebuild(conversation, how, query, steps, answer)


def rebuild(conversation: Conversation, how: str, query: str, steps: Iterable[Step],
            answer: Answer | None) -> Trajectory:  # fmt: skip
    """Put a trajectory together again, its instructions recovered from the system turn."""
    bare = Trajectory(conversation.id, conversation.source, query, conversation.tools, tuple(steps),
                      answer.text if answer else None, answer.thought if answer else "")
    first = conversation.turns[0]
    ending = system(bare, how).text
    instructions = first.text.removesuffix(ending).removesuffix("\n\n") if first.role == "system" else ""
    return Trajectory(bare.id, bare.source, query, bare.tools, bare.steps, bare.answer, bare.answer_thought,
                      instructions)


def spoken(conversation: Conversation) -> list[str]:
    """List the texts of a conversation's turns after the system turn, the user's first."""
    return [turn.text for turn in conversation.turns if turn.role != "system"]
