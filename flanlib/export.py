"""Write a corpus for other trainers: as Agent-FLAN's published rows, or as OpenAI-style messages; and trajectories.

Both mark every assistant message with ``loss``: the published rows do, XTuner and ms-swift read it in messages,
and Axolotl does with ``message_field_training: loss``. :mod:`flanlib.sources.chat` reads both back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from flanlib import store
from flanlib.records import Conversation, FlanError, Trajectory, Turn, thaw, to_json

# The key that holds the turns.
SHAPES = {"agent_flan": "conversation", "messages": "messages"}
_JOIN = "\n\n"


def export(conversations: Iterable[Conversation], path: Path, shape: Literal["agent_flan", "messages"]) -> int:
    """Write conversations as JSON Lines and return how many. Raises FlanError for an unknown shape."""
    lines = [json.dumps(row(conversation, shape)) + "\n" for conversation in conversations]
    store.write(Path(path), "".join(lines))
    return len(lines)


def row(conversation: Conversation, shape: Literal["agent_flan", "messages"]) -> dict[str, Any]:
    """Return a conversation as one row. Tools are not listed apart: the system turn's text already tells them.

    >>> from flanlib.records import say
    >>> chat = Conversation("1", "doc", (say("user", "Hi"), say("assistant", "Yes?", "general", trained=True)))
    >>> row(chat, "messages")
    {'id': '1', 'messages': [{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Yes?', 'loss': True}]}
    """
    if shape not in SHAPES:
        raise FlanError("export", found=f"shape {shape!r}", expected=f"one of {', '.join(SHAPES)}",
                        remedy="Name one of them.")  # fmt: skip
    return {"id": conversation.id, SHAPES[shape]: [m for turn in conversation.turns for m in _messages(turn)]}


def _messages(turn: Turn) -> Iterable[dict[str, Any]]:
    """Write a turn as one message, or as neighbours of one role where part of a trained turn is context."""
    if turn.role != "assistant":
        yield {"role": turn.role, "content": turn.text}
        return
    for i, (loss, spans) in enumerate(groupby(turn.spans, lambda span: turn.trained and span.kind != "context")):
        text = "".join(span.text for span in spans)
        # The chat reader joins neighbours by an empty line.
        yield {"role": turn.role, "content": text.removeprefix(_JOIN) if i else text, "loss": loss}


def export_trajectories(trajectories: Iterable[Trajectory], path: Path) -> int:
    """Write trajectories as JSON Lines of OpenAI's tool-calling messages and return how many."""
    lines = [json.dumps(calls(trajectory), ensure_ascii=False) + "\n" for trajectory in trajectories]
    store.write(Path(path), "".join(lines))
    return len(lines)


def calls(trajectory: Trajectory) -> dict[str, Any]:
    """Return a trajectory as messages: a thought beside each call, the result behind it, the answer at the end.

    >>> from flanlib.records import Step
    >>> row = calls(Trajectory("1", "doc", "Where?", (), (Step("Look.", "find", {"n": 1}, "Here."),), "Here."))
    >>> [message["role"] for message in row["messages"]]
    ['user', 'assistant', 'tool', 'assistant']
    >>> row["messages"][1]["tool_calls"][0]["function"]
    {'name': 'find', 'arguments': '{"n": 1}'}
    """
    said: list[dict[str, Any]] = []
    if trajectory.instructions:
        said.append({"role": "system", "content": trajectory.instructions})
    said.append({"role": "user", "content": trajectory.query})
    for i, step in enumerate(trajectory.steps, 1):
        function = {"name": step.tool, "arguments": to_json(step.arguments)}
        call = {"id": f"call_{i}", "type": "function", "function": function}
        said.append({"role": "assistant", "content": step.thought, "tool_calls": [call]})
        if step.observation is not None:
            said.append({"role": "tool", "tool_call_id": call["id"], "content": step.observation})
    for text in (trajectory.answer_thought, trajectory.answer):
        if text:
            said.append({"role": "assistant", "content": text})
    tools = [{"type": "function",
              "function": {"name": tool.name, "description": tool.description,
                           "parameters": {"type": "object"} | thaw(tool.parameters)}}
             for tool in trajectory.tools]  # fmt: skip
    return {"id": trajectory.id, "tools": tools, "messages": said}
