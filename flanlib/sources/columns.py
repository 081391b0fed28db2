"""Where a row holds its turns, its tools and its flags: the columns of chat, preference and instruction data.

A column can hold JSON text in place of a list. Text with the marks of a chat template is split by
:mod:`flanlib.sources.marked`.
"""

import re
from collections.abc import Mapping
from typing import Any

from flanlib.records import from_json
from flanlib.sources import marked
from flanlib.sources.common import Note, drop_if
from flanlib.sources.messages import ROLES, TYPES

Turns = list[Any]
_TURNS = ("conversations", "conversation", "messages", "traj", "trajectory", "dialogue", "dialog", "contents", "chat",
          "input", "items")  # fmt: skip
# A request and its reply, as two columns of text or of turns. The first pair that a row has is read.
_PAIRS = (("instruction", "output"), ("instruction", "response"), ("prompt", "completion"), ("prompt", "response"),
          ("prompt", "output"), ("prompt", "generation"), ("question", "response"), ("query", "response"),
          ("question", "answer"), ("query", "answer"), ("input", "output"), ("inputs", "targets"))  # fmt: skip
_REPLIES = ("completion", "response", "generation", "output", "answer")
_MORE = ("input", "context")
_BESIDE_ANSWER = {"answer", "id", "uuid", "source", "system", "system_prompt", "history", "language", "category"}
_SYSTEMS = ("system", "system_prompt", "system_instruction", "systemInstruction", "developer")
_MEDIA = {"images", "image", "videos", "audios"}
_FAILED = {"resolved", "success", "passed"}


def turns_of(row: Any, note: Note) -> Turns | None:
    """Return the turns of a row as a list of raw turns, with its system text first, or None for no known layout."""
    fields = row if isinstance(row, dict) else {}
    turns = row if isinstance(row, list) else _listed(fields)
    turns = _preferred(turns, fields, note) if "chosen" in fields else _replied(turns, fields, note)
    if turns is None:
        turns = _called(fields) or _paired(fields, note)
    if turns is None and isinstance(fields.get("text"), str):
        turns = marked.turns(fields["text"])
    if not turns:
        return turns
    systems = [fields[key] for key in _SYSTEMS if fields.get(key)]
    return [{"role": "system", "content": text} for text in systems if isinstance(text, (str, dict))] + turns


def tools(row: Any) -> Any:
    """Return a row's tool list as it stands there, or None."""
    fields = row if isinstance(row, dict) else {}
    if found := next((fields[key] for key in ("tools", "functions", "available_tools") if fields.get(key)), None):
        return found
    for key in ("metadata", "extra_info", "extra"):
        inner = _decoded(fields.get(key))
        if isinstance(inner, dict) and inner.get("tools"):
            return inner["tools"]
    return None


def refuse_failures(row: Any, *, agent: bool, note: Note) -> None:
    """Raise Drop for a row whose flags say that its episode failed or its answer was rejected.

    A reward of plain chat can be any score, so that only its sign is noted.
    """
    fields = row if isinstance(row, dict) else {}
    drop_if(fields.get("label") is False, "a rejected answer (label false)")
    drop_if(any(_is_no(fields[key]) for key in _FAILED & fields.keys()), "failed episode")
    reward = fields.get("reward")
    if isinstance(reward, (bool, int, float)) and not reward > 0:
        drop_if(agent or "traj" in fields, "failed episode")
        note("a reward of 0 or less")


def refuse_media(row: Any) -> None:
    """Raise Drop for a row with images or sounds beside its text."""
    fields = row if isinstance(row, dict) else {}
    drop_if(not _MEDIA.isdisjoint(fields) and any(map(fields.get, _MEDIA)), "images or sounds beside the text")


def _is_no(value: Any) -> bool:
    return value is False or (isinstance(value, (int, float)) and value == 0) or (
        isinstance(value, str) and value.strip().lower() in ("false", "no", "0", "failed"))


def decoded(row: Any) -> Any:
    """Return a row without null columns, and with turns as a list where they were JSON text, for every reader.

    >>> decoded({"messages": '[{"role": "user", "content": "Hi"}]', "traj": None})
    {'messages': [{'role': 'user', 'content': 'Hi'}]}
    """
    if not isinstance(row, dict):
        return row
    if None in row.values():  # Arrow gives all rows of a file the same columns
        row = {key: value for key, value in row.items() if value is not None}
    texts = [key for key in _TURNS[:4] if isinstance(row.get(key), str)]
    return row | {key: _decoded(row[key]) for key in texts} if texts else row


def _decoded(value: Any) -> Any:
    """Return the value of JSON text that holds a list or an object, and anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            found = from_json(value, strict=False)
        except ValueError:
            return value
        return found if isinstance(found, (list, dict)) else value
    return value


def _listed(fields: Mapping[str, Any]) -> Turns | None:
    """Return the first column that holds turns, or an empty one if no column is filled."""
    empty = None
    for key in _TURNS:
        if key not in fields:
            continue
        value = _decoded(fields[key])
        if isinstance(value, dict):  # one message, or an object around the list
            value = next((value[inner] for inner in _TURNS if isinstance(value.get(inner), list)), None)
        if isinstance(value, list) and value and (key not in ("input", "items", "chat") or _are_turns(value)):
            return value
        empty = [] if value == [] else empty
    return empty


def _are_turns(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(t, dict) and ({"role", "from", "type"} & t.keys())
                                           for t in value)  # fmt: skip


def _preferred(turns: Turns | None, fields: Mapping[str, Any], note: Note) -> Turns | None:
    """Return the turns with the chosen answer at their end. ``chosen`` can be the whole conversation."""
    chosen = _decoded(fields["chosen"])
    if isinstance(chosen, str):
        chosen = marked.turns(chosen) or [{"role": "assistant", "content": chosen}]
    chosen = [chosen] if isinstance(chosen, dict) else chosen
    if not isinstance(chosen, list):
        return turns
    if turns is None or not _are_turns(turns):
        turns = _side(fields, ("prompt", "question", "instruction", "query", "input"), "user")
    note("the chosen answer kept, the rejected left out")
    whole = len(chosen) > 1 or (turns and chosen and turns[0] == chosen[0])
    return chosen if whole or turns is None else turns + chosen


def _replied(turns: Turns | None, fields: Mapping[str, Any], note: Note) -> Turns | None:
    """Add the reply that stands in a column beside turns that end with the user's. Another reply is noted."""
    if not turns or not _are_turns(turns[-1:]):
        return turns
    last = turns[-1].get("from") or turns[-1].get("role") or TYPES.get(str(turns[-1].get("type")))
    needs_reply = ROLES.get(str(last).strip().lower()) != "assistant"
    reply = next((fields[key] for key in _REPLIES if isinstance(fields.get(key), (str, list)) and fields[key]), None)
    if reply is None:
        return turns
    reply = _decoded(reply)
    if needs_reply and (isinstance(reply, str) or _are_turns(reply)):
        return turns + ([{"role": "assistant", "content": reply}] if isinstance(reply, str) else reply)
    note("a reply in a further column left out")
    return turns


def _called(fields: Mapping[str, Any]) -> Turns | None:
    """Return a request with the calls that answer it, as xLAM's rows have them in ``query`` and ``answers``."""
    request = next((fields[key] for key in ("query", "question") if isinstance(fields.get(key), str)), None)
    calls = _decoded(fields.get("answers"))
    if request is None or not tools(fields) or not isinstance(calls, list) or not calls:
        return None
    return [{"role": "user", "content": request}, {"role": "assistant", "content": "", "tool_calls": calls}]


def _paired(fields: Mapping[str, Any], note: Note) -> Turns | None:
    """Return the turns of a request column and a reply column. A dialogue in ``input`` goes before a ``prompt``."""
    dialogue = isinstance(fields.get("input"), str) and marked.turns(fields["input"], open_end=True)
    for ask, reply in [("input", "output"), *_PAIRS] if dialogue else _PAIRS:
        if reply == "answer" and (not _is_sentence(fields.get(reply)) or fields.keys() - _BESIDE_ANSWER - {ask}):
            continue  # the label of a benchmark, which has more columns
        before, after = _side(fields, (ask,), "user"), _side(fields, (reply,), "assistant")
        if before is None or after is None:
            continue
        more = next((fields[key] for key in _MORE if isinstance(fields.get(key), str) and fields[key].strip()), None)
        if more and ask == "instruction" and isinstance(before[0].get("content"), str):
            before = [{"role": "user", "content": f"{before[0]['content']}\n\n{more}"}, *before[1:]]
        if any(fields.get(key) and key != reply and key != ask for key in _REPLIES):
            note("a reply in a further column left out")
        return _history(fields) + before + after
    return None


def _side(fields: Mapping[str, Any], keys: tuple[str, ...], role: str) -> Turns | None:
    """Return one column as turns: a list of turns, a text with marks, or a text that is one turn."""
    value = next((fields[key] for key in keys if fields.get(key)), None)
    if isinstance(value, str) and _are_turns(turns := _decoded(value)):
        return turns or None
    if isinstance(value, str):
        return (marked.turns(value, open_end=True) if role == "user" else None) or [{"role": role, "content": value}]
    value = [value] if isinstance(value, dict) else value
    return value if _are_turns(value) and value else None


def _history(fields: Mapping[str, Any]) -> Turns:
    """Return the earlier rounds of an Alpaca row: pairs of a request and its reply."""
    history = _decoded(fields.get("history"))
    history = history if isinstance(history, list) else []
    rounds = [pair for pair in history if isinstance(pair, list) and len(pair) == 2]
    return [{"role": role, "content": text} for pair in rounds
            for role, text in zip(("user", "assistant"), pair, strict=True)]  # fmt: skip


def _is_sentence(answer: Any) -> bool:
    """Tell whether an answer column holds a reply and not only the label that a reply is compared with."""
    text = answer.strip() if isinstance(answer, str) else ""
    return not isinstance(answer, str) or bool(re.search(r"[.!?…。！？]\Z|\n", text)) or len(text.split()) > 12
