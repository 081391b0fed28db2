"""Chat: the paper's alignment (section 4.1). Thought, tool name and every argument get an exchange of their own.

The assistant replies to a question or a tool result with its thought. Elicit statements then ask for the tool name, for
the arguments one at a time, and for the answer. If a thought is empty, the statement follows the question or result in
the same user turn. The parser goes by position, so no content can be mistaken for a statement.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from flanlib.dialects.common import Answer, Opening, misfit, offer, rebuild, reply, value_parts
from flanlib.dialects.elicit import ACTION, ANSWER, ARGUMENT, NEXT, RESULT
from flanlib.records import Conversation, FlanError, Kind, Step, Trajectory, Turn, clip, from_json, say

HOW = "Talk with the user. Say what you think should be done next; the user asks for the details and runs the tools."
OPENING = Opening()
_BREAK = "\n\n"


def render(trajectory: Trajectory, *, rng: np.random.Generator) -> Conversation:
    """Write a trajectory in chat form; ``rng`` chooses the elicit statements."""

    def pick(statements: tuple) -> Any:
        return statements[rng.integers(len(statements))]

    def think(pending: str, thought: str, statement: str) -> str:
        """Reply to the pending user text with the thought, and return the next user text."""
        if not thought:
            return pending + _BREAK + statement
        exchange(pending, (thought, "reasoning"))
        return statement

    def exchange(user: str, *parts: tuple[str, Kind]) -> None:
        turns.extend((say("user", user), reply(*parts)))

    turns: list[Turn] = [offer(trajectory.tools, HOW, trajectory.instructions)]
    pending: str | None = trajectory.query
    for step in trajectory.steps:
        pending = think(pending, step.thought, pick(ACTION))
        exchange(pending, (step.tool, "retrieval"))
        for name, value in step.arguments.items():
            before, after = pick(ARGUMENT)
            unquoted = isinstance(value, str) and value != "" and parse_value(value) == value
            exchange(before + name + after, *([(value, "understanding")] if unquoted else value_parts(value)))
        pending = NEXT if step.observation is None else pick(RESULT) + step.observation
    if trajectory.answer is not None:
        exchange(think(pending, trajectory.answer_thought, pick(ANSWER)), (trajectory.answer, "reasoning"))
    elif pending != NEXT:
        turns.append(say("user", pending))
    return Conversation(trajectory.id, trajectory.source, tuple(turns), trajectory.tools)


def parse(conversation: Conversation) -> Trajectory:
    """Read a chat-form conversation back. Raises FlanError if a user turn fits no elicit statement."""
    texts = [turn.text for turn in conversation.turns if turn.role != "system"]
    steps: list[Step] = []
    answer: Answer | None = None
    query, at = None, 0  # ``at`` is always the index of a user turn

    while at < len(texts):
        user, thought, statement = texts[at], "", None
        if at + 2 < len(texts) and texts[at + 2] in ACTION + ANSWER:  # the reply in between is a thought
            thought, statement, at = texts[at + 1], texts[at + 2], at + 2
        where = f"conversation {conversation.id}, turn {at + 1}"
        if statement is None and at + 1 < len(texts):  # no thought: the statement ends this user turn
            user, separator, statement = texts[at].rpartition(_BREAK)
            if not separator or statement not in ACTION + ANSWER:
                raise misfit(where, clip(texts[at]), "a user turn that asks for a tool or an answer", "chat form")
        if query is None:
            query = user
        else:
            frame = next((frame for frame in RESULT if user.startswith(frame)), None)
            if frame is None and user != NEXT:
                raise misfit(where, clip(user), "a user turn that gives a result", "chat form")
            if frame is not None:
                steps[-1] = replace(steps[-1], observation=user.removeprefix(frame))
        if statement is None:
            break
        reply_text, at = texts[at + 1], at + 2
        if statement in ANSWER:
            answer = Answer(thought, reply_text)
            break
        arguments: dict[str, Any] = {}
        while at + 1 < len(texts) and (name := _argument_name(texts[at])) is not None:
            arguments[name], at = parse_value(texts[at + 1]), at + 2
        steps.append(Step(thought, reply_text, arguments, None))

    if answer and at < len(texts):
        raise FlanError(f"conversation {conversation.id}", found=f"{clip(texts[at])} after the answer",
                        expected="the end", remedy="One trajectory holds one request: split the row in the reader.")
    return rebuild(conversation, HOW, query, steps, answer)


def parse_value(text: str) -> Any:
    """Read an argument value in chat form: JSON if the text is valid JSON, else the text itself.

    >>> parse_value("Ulm"), parse_value("3"), parse_value('"3"')
    ('Ulm', 3, '3')
    """
    try:
        return from_json(text)
    except ValueError:
        return text


def _argument_name(user: str) -> str | None:
    for before, after in ARGUMENT:
        if user.startswith(before) and user.endswith(after) and len(user) >= len(before) + len(after):
            return user[len(before) : -len(after)]
    return None
