"""Files of replies to Agent-H's samples, as programs write them: rows with an id, and a text or a chat message."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flanlib.benchmarks.agent_h.samples import Sample, digest, lines
from flanlib.records import FlanError, clip
from flanlib.sources.common import Drop, drop_if
from flanlib.sources.messages import TYPES, complete
from flanlib.tally import Tally

SEVERAL = ("choices", "candidates")
"""Lists of replies, of which the first one counts."""
AROUND = ("reply", "response", "body", "message", *SEVERAL)
INSIDE = ("content", "output", "text")
"""Where a row or a response holds its reply; the first one that it has counts."""
MESSAGE = frozenset(("role", "parts", "tool_calls", "function_call"))
"""Keys of which a message has one."""
DEEPEST = 6
IDS = ("custom_id", "id")
"""Where a row holds the id of its sample; the first one that it has counts. Batches of OpenAI give rows both."""


def rows(path: Path, samples: Sequence[Sample] | None = None) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield place, sample id and row for each line of a file of replies.

    Raises FlanError, naming the line, for a row without an id, for a second reply to a sample and, given the
    ``samples``, for an id that none of them has and for a row whose ``digest`` is that of another sample.
    """
    seen, known = set(), samples and {one.id: one for one in samples}
    for where, row in lines(path):
        name = next((row[key] for key in IDS if key in row), None)
        if not isinstance(name, str) or name in seen:
            raise FlanError(where, found=clip(row), expected="{id, reply}, each id once", remedy="Correct it.")
        if known is not None and (name not in known or row.get("digest", digest(known[name])) != digest(known[name])):
            raise FlanError(where, expected="replies to these samples", remedy="Name the samples that they answer.",
                            found=f"the id {clip(name)}, " + ("which no sample has" if name not in known
                                                              else "of a sample with another text"))  # fmt: skip
        seen.add(name)
        yield where, name, row


def read(path: Path, samples: Sequence[Sample] | None = None, *, tally: Tally) -> dict[str, str]:
    """Read replies by sample id from JSON lines: ``{"id", "reply"}``.

    The reply is a text, a message of OpenAI's, Anthropic's or Gemini's, or a whole response of one of them. The calls
    of a message become JSON below its text; what is thought is left out. A lone surrogate becomes a question mark,
    which is noted. Raises FlanError, naming the line, as :func:`rows` does and for a row without a reply.
    """
    replies: dict[str, str] = {}
    for where, name, row in rows(path, samples):
        try:
            text = _text(row, tally)
        except Drop as error:
            raise FlanError(where, found=f"{clip(row)} ({error})", remedy='Correct it; an empty reply is "".',
                            expected="{id, reply}: a text or a chat message") from None  # fmt: skip
        valid = text.encode("utf-8", "replace").decode()
        if valid != text:
            tally.note("replies with half a character, read as a question mark", 1)
        tally.keep()
        replies[name] = valid
    return replies


def followed(path: Path) -> dict[str, str]:
    """Return what models said when they were asked for the tool of a planned call, by sample id (key ``followed``)."""
    return {name: row["followed"] for _, name, row in rows(path) if isinstance(row.get("followed"), str)}


def _text(row: Mapping[str, Any], tally: Tally) -> str:
    """Return a row's reply as text, or raise Drop."""
    found = turns(row)
    if isinstance(found, str):
        return found  # as the model wrote it
    said = [one for one in complete(found, tally.note) if one.role == "assistant"]
    drop_if(not said, "no message of an assistant")
    calls = [call for one in said for call in one.calls]
    drop_if(not all(isinstance(call.name, str) for call in calls), "a call without a name")
    empty = not any(one.text or one.thought or one.calls for one in said)
    drop_if(empty and all(turn.get("content") is None for turn in found), "no reply")
    parts = [one.text for one in said if one.text]
    if calls:
        written = [{"name": call.name, "arguments": call.arguments or {}} for call in calls]
        parts.append(json.dumps({"tool_calls": written}, ensure_ascii=False))
    return "\n".join(parts)


def turns(value: Any, depth: int = 0) -> str | list[Mapping[str, Any]]:
    """Find the reply in a row, a whole response, or a message: a text, or turns as they were sent. Else raise Drop.

    >>> turns({"id": "a", "response": {"body": {"choices": [{"message": {"role": "assistant", "content": "So."}}]}}})
    [{'role': 'assistant', 'content': 'So.'}]
    >>> turns({"id": "a", "reply": "So."})
    'So.'
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list):  # items of OpenAI's Responses, or the parts of one message
        items = all(isinstance(item, dict) and ("role" in item or item.get("type") in TYPES) for item in value)
        return value if items and value else [{"role": "assistant", "content": value}]
    drop_if(not isinstance(value, dict) or depth > DEEPEST, "no reply")
    key = next((key for key in AROUND if key in value), None)
    if key is None and not MESSAGE.isdisjoint(value):
        content = value.get("content")
        return [{"role": "assistant", **value, "content": value.get("refusal") if content is None else content}]
    key = key or next((key for key in INSIDE if key in value), None)
    inner = value.get(key)
    if key in SEVERAL:
        inner = inner[0] if isinstance(inner, list) and inner else None
    return turns(inner, depth + 1)
