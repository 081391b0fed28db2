"""Files of replies to Agent-H's samples, as programs write them: rows with an id, and a text or a chat message."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flanlib.benchmarks.agent_h.samples import lines
from flanlib.records import FlanError, clip
from flanlib.tally import Tally

KEYS = ("reply", "response", "content", "output", "message")
"""Where a row holds its reply; the first one that it has counts."""
THOUGHTS = ("thinking", "redacted_thinking", "reasoning")
"""Types of parts that are no part of what is said."""


def read(path: Path, *, tally: Tally) -> dict[str, str]:
    """Read replies by sample id from JSON lines: ``{"id", "reply"}``, the reply a text or a message of OpenAI's.

    The calls of a message become JSON below its text. A lone surrogate becomes a question mark, which is noted.
    Raises FlanError, naming the line, for a row without an id or a reply, and for a second reply to a sample.
    """
    replies: dict[str, str] = {}
    for where, row in lines(path):
        name, text = row.get("id"), _text(row)
        if not isinstance(name, str) or text is None or name in replies:
            raise FlanError(where, found=clip(row), expected="{id, reply}: a text or a chat message, each id once",
                            remedy='Correct it; an empty reply is "".')  # fmt: skip
        valid = text.encode("utf-8", "replace").decode()
        if valid != text:
            tally.note("replies with half a character, read as a question mark", 1)
        tally.keep()
        replies[name] = valid
    return replies


def _text(row: Mapping[str, Any]) -> str | None:
    """Return a row's reply as text; None if it has none."""
    value = next((row[key] for key in KEYS if key in row), None)
    message = value if isinstance(value, dict) else {**row, "content": value}
    content, called = message.get("content"), message.get("tool_calls") or message.get("function_call") or []
    blocks = content if isinstance(content, list) else [] if content is None else [{"text": content}]
    parts, calls = [], called if isinstance(called, list) else [called]
    for block in blocks:  # parts of the content, as OpenAI and Anthropic write them
        if not isinstance(block, dict):
            return None
        if block.get("type") == "tool_use":
            calls = [*calls, {"name": block.get("name"), "arguments": block.get("input")}]
        elif block.get("type") not in THOUGHTS:
            parts.append(block.get("text"))
    if not all(isinstance(part, str) for part in parts) or not (parts or calls):
        return None
    if calls:
        parts = [*filter(None, parts), json.dumps({"tool_calls": calls}, ensure_ascii=False)]
    return "\n".join(parts)
