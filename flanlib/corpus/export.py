"""Write a corpus for other trainers: as Agent-FLAN's published rows, as OpenAI-style messages, and as TRL reads it.

In the first two, every assistant message has a field ``loss``, as in Agent-FLAN's published rows. XTuner and ms-swift
read this field, and so does Axolotl with ``message_field_training: loss``. :mod:`flanlib.sources.chat` reads all rows
back.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from flanlib import store
from flanlib.records import Conversation, Turn


def export(conversations: Iterable[Conversation], path: Path, *, key: str = "messages") -> None:
    """Write conversations as JSON Lines; ``key`` as in :func:`row`."""
    store.write(Path(path), "".join(_line(row(conversation, key=key)) for conversation in conversations))


def export_all(conversations: Sequence[Conversation], folder: Path) -> dict[str, int]:
    """Write conversations in each of SHAPES, a file for each, row by row. Return the number of rows by shape.

    The folder must exist. Equal conversations give equal bytes.
    """
    counts = dict.fromkeys(SHAPES, 0)
    with ExitStack() as stack:
        files = {shape: stack.enter_context(open(Path(folder) / f"{shape}.jsonl", "w", encoding="utf-8", newline="\n"))
                 for shape in SHAPES}  # fmt: skip
        for conversation in tqdm(conversations, desc="write", unit=" rows", leave=False):
            for shape, rows_of in SHAPES.items():
                rows = rows_of(conversation)
                files[shape].writelines(map(_line, rows))
                counts[shape] += len(rows)
    return counts


def row(conversation: Conversation, *, key: str = "messages") -> dict[str, Any]:
    """Return a conversation as one row, its turns under ``key``: ``conversation`` is what Agent-FLAN's rows call it.

    Tools have no key of their own: the system turn's text lists them.

    >>> from flanlib.records import say
    >>> chat = Conversation("1", "doc", (say("user", "Hi"), say("assistant", "Yes?", "general", trained=True)))
    >>> row(chat)
    {'id': '1', 'messages': [{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Yes?', 'loss': True}]}
    """
    return {"id": conversation.id, key: [m for turn in conversation.turns for m in _messages(turn)]}


def trl_rows(conversation: Conversation) -> list[dict[str, Any]]:
    """Return a conversation as TRL's prompt-completion rows: one row for each trained message, with all before it.

    TRL's SFTTrainer has no flag for single messages: by default its loss covers the whole completion. So each row has
    one message there, and each trained message is the completion of one row. Turns after the last trained one are in
    no row. TRL ignores the field ``loss``; it is there so that our own reader trains on no message of a prompt.

    >>> from flanlib.records import say
    >>> turns = say("user", "Hi"), say("assistant", "Yes?", "general", trained=True)
    >>> trl_rows(Conversation("1", "doc", turns))[0]["completion"]
    [{'role': 'assistant', 'content': 'Yes?', 'loss': True}]
    >>> [one["id"] for one in trl_rows(Conversation("1", "doc", turns * 2))]
    ['1 turn 2', '1 turn 4']
    """
    messages = row(conversation)["messages"]
    context = [message | {"loss": False} if "loss" in message else message for message in messages]
    return [{"id": f"{conversation.id} turn {i + 1}", "prompt": context[:i], "completion": [message]}
            for i, message in enumerate(messages) if message.get("loss")]  # fmt: skip


SHAPES: Mapping[str, Callable[[Conversation], list[dict[str, Any]]]] = {
    "agent_flan": lambda conversation: [row(conversation, key="conversation")],
    "messages": lambda conversation: [row(conversation)],
    "trl": trl_rows,
}
"""The row shapes, each with the function that writes a conversation as rows of it."""


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row) + "\n"


def _messages(turn: Turn) -> Iterable[dict[str, Any]]:
    """Write a turn as one message, or as several of the same role if part of a trained turn is context."""
    if turn.role != "assistant":
        yield {"role": turn.role, "content": turn.text}
        return
    for i, (loss, spans) in enumerate(groupby(turn.spans, lambda span: turn.trained and span.kind != "context")):
        text = "".join(span.text for span in spans)
        # The chat reader joins neighbouring messages of one role with an empty line.
        yield {"role": turn.role, "content": text.removeprefix("\n\n") if i else text, "loss": loss}
