"""Plain chat and tool-calling messages: ShareGPT, OpenAI, Agent-FLAN's published rows, Alpaca, OASST text.

A row without calls becomes a Conversation, cleaned in FastChat's order. A row with calls becomes a Trajectory of
its first request that needed one: what was said before goes to ``instructions``, later requests are left out,
and both are noted.
"""

import re
from itertools import groupby, takewhile
from typing import Any

from flanlib.records import Conversation, Tool, Trajectory, Turn, from_json, spans, to_json
from flanlib.sources.common import Drop, Message, Note, Steps, messages, parts_of, row_id, tools_of, turns_of

ROLES = (dict.fromkeys(("human", "user"), "user") | {"system": "system"}
         | dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "assistant", "agent", "function_call"), "assistant")
         | dict.fromkeys(("tool", "function", "observation"), "tool"))
_HTML = re.compile(r"</?(?:div|span|p|br|pre|code|ul|li|table)(?:\s[^<>]*)?/?>|\bCopy code\b", re.I)
_OASST = re.compile(r"(?:\A|\s)### (Human|Assistant):")


def matches(row: Any) -> bool:
    """Tell whether a row holds turns, an instruction with its output, or OASST text."""
    if turns_of(row) is not None:
        return True
    asked, given, output, chosen = (row.get(key) if isinstance(row, dict) else None
                                    for key in ("instruction", "input", "output", "chosen"))
    return isinstance(chosen, list) or (isinstance(output, str) and (
        isinstance(asked, str) or (isinstance(given, str) and bool(_OASST.search(given)))))


def convert(row: Any, where: str, note: Note) -> Conversation | Trajectory:
    """Read one row. Raises Drop, with the reason, for rows that cannot be used."""
    about = row if isinstance(row, dict) else {}
    if about.get("label") is False:
        raise Drop("a rejected answer (label false)")
    if "traj" in about and not about.get("reward", True):
        raise Drop("failed episode")
    said = _messages(row, about, note)
    listed = tools_of(about.get("tools") or about.get("functions"), note)
    if any(_HTML.search(m.text) for m in said):
        note("HTML in the text")
    if isinstance(about.get("system"), str) and about["system"].strip():
        said.insert(0, Message("system", about["system"], {}))
    if any(_has_calls(m) for m in said):
        return _trajectory(row_id(row, where), said, listed, note)
    if any(ROLES[m.role] == "tool" for m in said):
        raise Drop("a result without a call")
    return Conversation(row_id(row, where), "chat", _clean(said, note), listed)


def _messages(row: Any, about: dict[str, Any], note: Note) -> list[Message]:
    turns, chosen = turns_of(row), about.get("chosen")
    if turns is None and not isinstance(chosen, list):
        return _text_rows(about)
    if chosen is not None:
        note("the chosen answer kept, the rejected left out")
        whole = isinstance(chosen, list) and len(chosen) > 1
        one = {"role": "assistant", "content": chosen} if isinstance(chosen, str) else chosen
        turns = chosen if whole else [*(turns or ()), *(one if isinstance(one, list) else [one])]
    return messages(turns, ROLES)


def _text_rows(about: dict[str, Any]) -> list[Message]:
    """Read rows that hold their turns as text: Alpaca's instruction and input, or OASST's marked lines."""
    asked, given, output = (about.get(key) for key in ("instruction", "input", "output"))
    if not isinstance(output, str) or not (isinstance(asked, str) or isinstance(given, str)):
        raise Drop("no turns")
    if isinstance(asked, str):
        request = f"{asked}\n\n{given}" if isinstance(given, str) and given.strip() else asked
        return [Message("user", request, {}), Message("assistant", output, {})]
    # Headings of Markdown start with ### too: only the two speaker marks count.
    before, *pieces = _OASST.split(given)
    said = [Message("user" if who == "Human" else "assistant", text.strip(), {})
            for who, text in zip(pieces[::2], pieces[1::2], strict=True)]
    if not said or said[-1].role != "assistant" or said[-1].text:
        raise Drop("no turns")
    lead = [Message("system", before.strip(), {})] if before.strip() else []
    return [*lead, *said[:-1], Message("assistant", output, {})]


def _clean(said: list[Message], note: Note) -> tuple[Turn, ...]:
    """Drop what leads and trails, merge neighbours of one role, cut at the first empty turn."""
    head = said[:1] if said[0].role == "system" else []
    body = said[len(head):]
    if any(m.role == "system" for m in body):
        raise Drop("a system turn after the start")
    for message in said:
        for _ in parts_of(message.raw.get("content"), "reasoning"):
            note("reasoning part left out")
    start = next((i for i, m in enumerate(body) if ROLES[m.role] == "user"), len(body))
    if start:
        note("leading assistant turn left out")
    groups = [list(group) for _, group in groupby(body[start:], key=lambda m: ROLES[m.role])]
    for _ in range(len(body) - start - len(groups)):
        note("neighbours of one role merged")
    full = list(takewhile(lambda group: any(m.text.strip() for m in group), groups))
    if len(full) < len(groups):
        note("cut at an empty turn")
    elif len(full) % 2:
        note("trailing user turn left out")
    turns = [_turn(group) for group in full[:len(full) // 2 * 2]]
    if not any(turn.trained for turn in turns):
        raise Drop("nothing to train")
    return tuple(([_turn(head)] if head and head[0].text.strip() else []) + turns)


def _turn(group: list[Message]) -> Turn:
    """Make one turn of neighbours; a merged part whose loss flag is false stays context.

    A missing or null loss flag means trained, as the author of Agent-FLAN told (issue 4).
    """
    role = ROLES[group[0].role]
    group = [m for m in group if m.text.strip()]
    flags = [role == "assistant" and all(m.raw.get(key) is None or bool(m.raw[key]) for key in ("loss", "loss_weight"))
             for m in group]
    kinds = ["context" if role != "assistant" or (any(flags) and not flag) else "general" for flag in flags]
    parts = [("\n\n" * bool(i) + m.text, kind) for i, (m, kind) in enumerate(zip(group, kinds, strict=True))]
    return Turn(role, spans(*parts), any(flags))


def _has_calls(message: Message) -> bool:
    raw = message.raw
    return ROLES[message.role] == "assistant" and bool(
        message.role == "function_call" or raw.get("tool_calls") or raw.get("function_call")
        or parts_of(raw.get("content"), "tool_call"))


def _trajectory(name: str, said: list[Message], listed: tuple[Tool, ...], note: Note) -> Trajectory:
    system = [m.text.strip() for m in said if m.role == "system"]
    said = [m for m in said if m.role != "system"]
    first = next(i for i, m in enumerate(said) if _has_calls(m))
    asked = next((i for i in range(first, -1, -1) if ROLES[said[i].role] == "user"), None)
    if asked is None:
        raise Drop("a call without a request")
    while asked and ROLES[said[asked - 1].role] == "user":
        note("neighbours of one role merged")
        asked -= 1
    before, rest = said[:asked], said[asked:]
    if any(ROLES[m.role] == "tool" for m in before):
        raise Drop("a result without a call")
    if before:
        note("earlier turns moved to the instructions")
        told = (f"{'User' if ROLES[m.role] == 'user' else 'Assistant'}: {m.text.strip()}" for m in before)
        system.append("Earlier in this conversation:\n" + "\n".join(told))
    after = next(i for i, m in enumerate(rest) if ROLES[m.role] != "user")
    query = "\n\n".join(m.text.strip() for m in rest[:after])
    steps, end = Steps(note), after
    for end, message in enumerate(rest[after:], after):
        role, later = ROLES[message.role], ROLES[rest[end + 1].role] if end + 1 < len(rest) else None
        if role == "user":
            break
        if role == "tool":
            waiting = sum(call["seen"] is None for call in steps.calls)
            for text in _results(message.text, 1 if later == "tool" else waiting, note):
                steps.observe(text, message.raw.get("tool_call_id"))
            continue
        if message.raw.get("loss") is False:
            note("loss flag of a trajectory's turn ignored")
        for reason in parts_of(message.raw.get("content"), "reasoning"):
            steps.think(reason)
        if not _has_calls(message) and later != "assistant":
            if not message.text.isspace():
                steps.finish(message.text or None)  # no text at all after a thought: the record refuses it
            break
        if message.role != "function_call":
            steps.think(message.text)
        for call in _calls(message):
            steps.call(**call)
    if any(ROLES[m.role] == "user" for m in rest[end:]):
        note("later requests left out")
    return steps.trajectory(name, "chat", query, listed, "\n\n".join(t for t in system if t))


def _results(text: str, waiting: int, note: Note) -> list[str]:
    """Split a message that holds the results of all waiting calls as one JSON list; else it is one result."""
    try:
        value = from_json(text, strict=False) if waiting > 1 else None
    except ValueError:
        value = None
    if not isinstance(value, list) or len(value) != waiting:
        return [text]
    note("one message of several results split")
    parts = [part.get("content", part) if isinstance(part, dict) else part for part in value]
    return [part if isinstance(part, str) else to_json(part) for part in parts]


def _calls(message: Message) -> list[dict[str, Any]]:
    """Return a message's calls as ``{name, given, id}``, in whichever of the four ways they are written."""
    raw = message.raw
    found: list[Any] = []
    for text in parts_of(raw.get("content"), "tool_call") + [message.text] * (message.role == "function_call"):
        try:
            value = from_json(text, strict=False)
        except ValueError:
            raise Drop("a call that is not JSON") from None
        found += value if isinstance(value, list) else [value]
    found += raw["tool_calls"] if isinstance(raw.get("tool_calls"), list) else []
    found += [raw["function_call"]] if raw.get("function_call") else []
    calls = []
    for call in found:
        inner = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(inner, dict):
            raise Drop("a call that is not an object")
        calls.append({"name": inner.get("name"), "given": inner.get("arguments"), "id": call.get("id")})
    return calls
