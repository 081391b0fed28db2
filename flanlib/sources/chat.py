"""Plain chat and tool-calling messages: ShareGPT, OpenAI, Agent-FLAN's published rows, Alpaca, OASST text.

A row without calls becomes a Conversation, cleaned in the order of FastChat. A row with calls becomes the Trajectory of
the first request that needs a call. Earlier turns go to ``instructions``, later requests are dropped, both noted.
"""

import re
from itertools import groupby, takewhile, zip_longest
from typing import Any

from flanlib.records import Conversation, Tool, Trajectory, Turn, from_json, spans, to_json
from flanlib.sources.common import Drop, Message, Note, Steps, drop_if, messages, parts_of, row_id, turns_of
from flanlib.sources.tools import tools_of

ROLES = (dict.fromkeys(("human", "user"), "user") | {"system": "system"}
         | dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "assistant", "agent", "function_call"), "assistant")
         | dict.fromkeys(("tool", "function", "observation"), "tool"))
_HTML = re.compile(r"</?(?:div|span|p|br|pre|code|ul|li|table)(?:\s[^<>]*)?/?>|\bCopy code\b", re.I)
_OASST = re.compile(r"(?:\A|\s)### (Human|Assistant):")


def matches(row: Any) -> bool:
    """Tell whether a row holds turns, an instruction with its output, or OASST text."""
    if turns_of(row) is not None:
        return True
    if not isinstance(row, dict):
        return False
    instruction, inputs, output = (row.get(key) for key in ("instruction", "input", "output"))
    has_request = isinstance(instruction, str) or (isinstance(inputs, str) and bool(_OASST.search(inputs)))
    return isinstance(row.get("chosen"), list) or (isinstance(output, str) and has_request)


def convert(row: Any, where: str, note: Note) -> Conversation | Trajectory:
    """Read one row. Raises Drop, with the reason, for rows that cannot be used."""
    fields = row if isinstance(row, dict) else {}
    drop_if(fields.get("label") is False, "a rejected answer (label false)")
    drop_if("traj" in fields and not fields.get("reward", True), "failed episode")
    parsed = _messages(row, fields, note)
    tools = tools_of(fields.get("tools") or fields.get("functions"), note)
    if any(_HTML.search(m.text) for m in parsed):
        note("HTML in the text")
    if isinstance(fields.get("system"), str) and fields["system"].strip():
        parsed.insert(0, Message("system", fields["system"], {}))
    if any(_has_calls(m) for m in parsed):
        return _trajectory(row_id(row, where), parsed, tools, note)
    drop_if(any(ROLES[m.role] == "tool" for m in parsed), "a result without a call")
    return Conversation(row_id(row, where), "chat", _clean(parsed, note), tools)


def _messages(row: Any, fields: dict[str, Any], note: Note) -> list[Message]:
    turns, chosen = turns_of(row), fields.get("chosen")
    if turns is None and not isinstance(chosen, list):
        return _text_rows(fields)
    if chosen is not None:
        note("the chosen answer kept, the rejected left out")
        if isinstance(chosen, list) and len(chosen) > 1:  # the whole conversation, not only its last turn
            turns = chosen
        else:
            answer = {"role": "assistant", "content": chosen} if isinstance(chosen, str) else chosen
            turns = [*(turns or ()), *(answer if isinstance(answer, list) else [answer])]
    return messages(turns, ROLES)


def _text_rows(fields: dict[str, Any]) -> list[Message]:
    """Read rows that hold their turns as text: Alpaca's instruction and input, or OASST's ``### Human:`` text."""
    instruction, inputs, output = (fields.get(key) for key in ("instruction", "input", "output"))
    if isinstance(instruction, str):
        request = f"{instruction}\n\n{inputs}" if isinstance(inputs, str) and inputs.strip() else instruction
        return [Message("user", request, {}), Message("assistant", output, {})]
    before, *pieces = _OASST.split(inputs)
    parsed = [Message("user" if speaker == "Human" else "assistant", text.strip(), {})
              for speaker, text in zip(pieces[::2], pieces[1::2], strict=True)]
    drop_if(parsed[-1].role != "assistant" or parsed[-1].text, "no turns")
    system = [Message("system", before.strip(), {})] if before.strip() else []
    return [*system, *parsed[:-1], Message("assistant", output, {})]


def _clean(parsed: list[Message], note: Note) -> tuple[Turn, ...]:
    """Start at the first user turn, merge neighbours of one role, cut at an empty turn, and end with the assistant."""
    head = parsed[:1] if parsed[0].role == "system" else []
    body = parsed[len(head):]
    drop_if(any(m.role == "system" for m in body), "a system turn after the start")
    for message in parsed:
        for _ in parts_of(message.raw.get("content"), "reasoning"):
            note("reasoning part left out")
    start = next((i for i, m in enumerate(body) if ROLES[m.role] == "user"), len(body))
    if start:
        note("leading assistant turn left out")
    groups = [list(group) for _, group in groupby(body[start:], key=lambda m: ROLES[m.role])]
    for _ in range(len(body) - start - len(groups)):
        note("neighbours of one role merged")
    nonempty = list(takewhile(lambda group: any(m.text.strip() for m in group), groups))
    if len(nonempty) < len(groups):
        note("cut at an empty turn")
    elif len(nonempty) % 2:
        note("trailing user turn left out")
    turns = [_turn(group) for group in nonempty[:len(nonempty) // 2 * 2]]
    drop_if(not any(turn.trained for turn in turns), "nothing to train")
    return tuple(([_turn(head)] if head and head[0].text.strip() else []) + turns)


def _turn(group: list[Message]) -> Turn:
    """Merge messages of one role into a turn. If some of them are trained, those without loss become context.

    A missing or null loss flag means trained, according to the author of Agent-FLAN (issue 4 of its repository).
    """
    role = ROLES[group[0].role]
    group = [m for m in group if m.text.strip()]
    trained = [role == "assistant" and all(m.raw.get(key) is None or bool(m.raw[key])
                                           for key in ("loss", "loss_weight")) for m in group]
    kinds = ["context" if role != "assistant" or (any(trained) and not one) else "general" for one in trained]
    parts = [("\n\n" * bool(i) + m.text, kind) for i, (m, kind) in enumerate(zip(group, kinds, strict=True))]
    return Turn(role, spans(*parts), any(trained))


def _has_calls(message: Message) -> bool:
    raw = message.raw
    return ROLES[message.role] == "assistant" and bool(
        message.role == "function_call" or raw.get("tool_calls") or raw.get("function_call")
        or parts_of(raw.get("content"), "tool_call"))


def _trajectory(name: str, parsed: list[Message], tools: tuple[Tool, ...], note: Note) -> Trajectory:
    instructions = [m.text.strip() for m in parsed if m.role == "system"]
    dialogue = [m for m in parsed if m.role != "system"]
    first_call = next(i for i, m in enumerate(dialogue) if _has_calls(m))
    start = next((i for i in range(first_call, -1, -1) if ROLES[dialogue[i].role] == "user"), None)
    drop_if(start is None, "a call without a request")
    while start and ROLES[dialogue[start - 1].role] == "user":
        note("neighbours of one role merged")
        start -= 1
    before, rest = dialogue[:start], dialogue[start:]
    drop_if(any(ROLES[m.role] == "tool" for m in before), "a result without a call")
    if before:
        note("earlier turns moved to the instructions")
        lines = (f"{'User' if ROLES[m.role] == 'user' else 'Assistant'}: {m.text.strip()}" for m in before)
        instructions.append("Earlier in this conversation:\n" + "\n".join(lines))
    request = list(takewhile(lambda m: ROLES[m.role] == "user", rest))
    episode = rest[len(request):]
    steps = _read_steps(episode, note)
    if any(ROLES[m.role] == "user" for m in episode):
        note("later requests left out")
    query = "\n\n".join(m.text.strip() for m in request)
    return steps.trajectory(name, "chat", query, tools, "\n\n".join(text for text in instructions if text))


def _read_steps(episode: list[Message], note: Note) -> Steps:
    """Collect calls, results and the answer, up to the next request."""
    steps = Steps(note)
    for message, following in zip_longest(episode, episode[1:]):
        role, next_role = ROLES[message.role], ROLES[following.role] if following else None
        if role == "user":
            break
        if role == "tool":
            waiting = sum(call["result"] is None for call in steps.calls)
            for text in _results(message.text, 1 if next_role == "tool" else waiting, note):
                steps.observe(text, message.raw.get("tool_call_id"))
            continue
        if message.raw.get("loss") is False:
            note("loss flag of a trajectory's turn ignored")
        for reasoning in parts_of(message.raw.get("content"), "reasoning"):
            steps.think(reasoning)
        if not _has_calls(message) and next_role != "assistant":
            if not message.text.isspace():
                steps.finish(message.text or None)  # Trajectory refuses a thought without an answer
            break
        if message.role != "function_call":
            steps.think(message.text)
        for call in _calls(message):
            steps.call(**call)
    return steps


def _results(text: str, waiting: int, note: Note) -> list[str]:
    """Return the results in a message: one for each waiting call if it is a JSON list of that length, else its text."""
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
    """Return a message's calls as keyword arguments of :meth:`Steps.call`, for all four ways to write them."""
    raw = message.raw
    written: list[Any] = []
    for text in parts_of(raw.get("content"), "tool_call") + [message.text] * (message.role == "function_call"):
        try:
            value = from_json(text, strict=False)
        except ValueError:
            raise Drop("a call that is not JSON") from None
        written += value if isinstance(value, list) else [value]
    written += raw["tool_calls"] if isinstance(raw.get("tool_calls"), list) else []
    written += [raw["function_call"]] if raw.get("function_call") else []
    calls = []
    for call in written:
        function = call.get("function", call) if isinstance(call, dict) else None
        drop_if(not isinstance(function, dict), "a call that is not an object")
        calls.append({"name": function.get("name"), "raw_arguments": function.get("arguments"), "id": call.get("id")})
    return calls
