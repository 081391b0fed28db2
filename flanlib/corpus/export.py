"""Write a corpus for other trainers, as OpenAI-style messages or as Agent-FLAN's published rows.

Every assistant message has a field ``loss``, as in Agent-FLAN's published rows. XTuner and ms-swift read this field,
and so does Axolotl with ``message_field_training: loss``. :mod:`flanlib.sources.chat` reads the rows back.
"""

import json
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from flanlib import store
from flanlib.records import Conversation, Turn


def export(conversations: Iterable[Conversation], path: Path, *, key: str = "messages") -> None:
    """Write conversations as JSON Lines; ``key`` as in :func:`row`."""
    store.write(Path(path), "".join(json.dumps(row(conversation, key=key)) + "\n" for conversation in conversations))


def row(conversation: Conversation, *, key: str = "messages") -> dict[str, Any]:
    """Return a conversation as one row, its turns under ``key``: ``conversation`` is what Agent-FLAN's rows call it.

    Tools have no key of their own: the system turn's text lists them.

    >>> from flanlib.records import say
    >>> chat = Conversation("1", "doc", (say("user", "Hi"), say("assistant", "Yes?", "general", trained=True)))
    >>> row(chat)
    {'id': '1', 'messages': [{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Yes?', 'loss': True}]}
    """
    return {"id": conversation.id, key: [m for turn in conversation.turns for m in _messages(turn)]}


def _messages(turn: Turn) -> Iterable[dict[str, Any]]:
    """Write a turn as one message, or as several of the same role if part of a trained turn is context."""
    if turn.role != "assistant":
        yield {"role": turn.role, "content": turn.text}
        return
    for i, (loss, spans) in enumerate(groupby(turn.spans, lambda span: turn.trained and span.kind != "context")):
        text = "".join(span.text for span in spans)
        # The chat reader joins neighbouring messages of one role with an empty line.
        yield {"role": turn.role, "content": text.removeprefix("\n\n") if i else text, "loss": loss}
