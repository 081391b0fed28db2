"""Write a corpus for other trainers: as Agent-FLAN's published rows, or as OpenAI-style messages.

Both mark every assistant message with ``loss``, as the published rows do. XTuner and ms-swift read this field in
messages, and so does Axolotl with ``message_field_training: loss``. :mod:`flanlib.sources.chat` reads both shapes back.
"""

import json
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from flanlib import store
from flanlib.records import Conversation, FlanError, Turn

SHAPES = {"agent_flan": "conversation", "messages": "messages"}  # the key of the turns in each shape


def export(conversations: Iterable[Conversation], path: Path, shape: Literal["agent_flan", "messages"]) -> int:
    """Write conversations as JSON Lines and return how many. Raises FlanError for an unknown shape."""
    lines = [json.dumps(row(conversation, shape)) + "\n" for conversation in conversations]
    store.write(Path(path), "".join(lines))
    return len(lines)


def row(conversation: Conversation, shape: Literal["agent_flan", "messages"]) -> dict[str, Any]:
    """Return a conversation as one row. Tools have no key of their own: the system turn's text lists them.

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
    """Write a turn as one message, or as several of the same role if part of a trained turn is context."""
    if turn.role != "assistant":
        yield {"role": turn.role, "content": turn.text}
        return
    for i, (loss, spans) in enumerate(groupby(turn.spans, lambda span: turn.trained and span.kind != "context")):
        text = "".join(span.text for span in spans)
        # The chat reader joins neighbouring messages of one role with an empty line.
        yield {"role": turn.role, "content": text.removeprefix("\n\n") if i else text, "loss": loss}
