"""From the messages of a row to records: a trajectory for each request with calls, or else one plain conversation.

What was said before a request goes into its trajectory's instructions, so that no request lacks its context.
"""

import re
from itertools import groupby, takewhile, zip_longest

from flanlib.dialects.common import offer
from flanlib.records import Conversation, Span, Tool, Trajectory, Turn, from_json, spans
from flanlib.sources.common import Drop, Note, Steps, drop_if, json_text
from flanlib.sources.messages import BROKEN, Message

_HTML = re.compile(r"</?(?:div|span|p|br|pre|code|ul|li|table)(?:\s[^<>]*)?/?>|\bCopy code\b", re.I)
_EARLIER = "Earlier in this conversation:"


def records(name: str, source: str, messages: list[Message], tools: tuple[Tool, ...],
            note: Note) -> list[Trajectory | Conversation]:  # fmt: skip
    """Return the records of a row: trajectories if any message has a call, else one conversation.

    A row with several requests that need calls gives a trajectory for each, with ids ``name``, ``name/2`` and so on.
    Raises Drop if nothing can be kept. Messages that are left out are noted, one by one.
    """
    if any("<" in m.text or "opy code" in m.text for m in messages) and any(_HTML.search(m.text) for m in messages):
        note("HTML in the text")
    system, dialogue, broken = _opened(messages, note)
    if any(m.calls for m in dialogue):
        return _trajectories(name, source, system, dialogue, tools, broken, note)
    drop_if(any(m.role == "tool" for m in dialogue), "a result without a call")
    return [_conversation(name, source, system, dialogue, tools, broken, note)]


def _opened(messages: list[Message], note: Note) -> tuple[str, list[Message], str]:
    """Return the system text, the messages after it, and the reason why the row breaks off, or "".

    System turns at the start are joined. One further on opens the next turn that the model reads.
    """
    broken = messages[-1].text if messages and messages[-1].role == BROKEN else ""
    messages = messages[:-1] if broken else messages
    head = list(takewhile(lambda m: m.role == "system", messages))
    if len(head) > 1:
        note("system turns joined")
    rest, pending = [], ""
    for message in messages[len(head):]:
        if message.role == "system":
            pending = f"{pending}\n\n{message.text.strip()}".strip()
            continue
        if pending and message.role != "assistant":
            note("a system turn further on moved into the next turn")
            message, pending = message._replace(text=f"{pending}\n\n{message.text}".strip()), ""
        rest.append(message)
    if pending:
        note("a system turn at the end left out")
    return head[0].text if len(head) == 1 else "\n\n".join(filter(None, (m.text.strip() for m in head))), rest, broken


def _conversation(name: str, source: str, system: str, dialogue: list[Message], tools: tuple[Tool, ...], broken: str,
                  note: Note) -> Conversation:  # fmt: skip
    """Start at the first request, merge neighbours of one role, cut at an empty turn, and end with the assistant."""
    for _ in range(sum(bool(m.thought) for m in dialogue)):
        note("thinking before a plain reply left out")
    start = next((i for i, m in enumerate(dialogue) if m.role == "user" and m.text.strip()), len(dialogue))
    for message in dialogue[:start]:
        note("an empty first turn left out" if message.role == "user" else "leading assistant turn left out")
    groups = [list(group) for _, group in groupby(dialogue[start:], key=lambda m: m.role)]
    for _ in range(len(dialogue) - start - len(groups)):
        note("neighbours of one role merged")
    filled = list(takewhile(lambda group: any(m.text.strip() for m in group), groups))
    if broken:
        note(f"cut at a turn that cannot be read ({broken})")
    elif len(filled) < len(groups):
        note("cut at an empty turn")
    elif len(filled) % 2:
        note("trailing user turn left out")
    turns = [_turn(group, note) for group in filled[:len(filled) // 2 * 2]]
    drop_if(not any(turn.trained for turn in turns), broken or "nothing to train")
    head = [offer(tools, "", system)] if tools or system.strip() else []
    return Conversation(name, source, (*head, *turns), tools)


def _turn(group: list[Message], note: Note) -> Turn:
    """Merge messages of one role into a turn. If some of them are trained, those without loss become context.

    A missing or null loss flag means trained, according to the author of Agent-FLAN (issue 4 of its repository).
    """
    role, group = group[0].role, [m for m in group if m.text.strip()]
    texts = [m.text for m in group]
    if role == "assistant" and texts[0][0].isspace():
        note("white space before a reply left out")  # no template lets a reply begin with it
        texts[0] = texts[0].lstrip()
    if len(group) == 1:  # as most are
        kind = "general" if role == "assistant" else "context"
        return Turn(role, (Span(texts[0], kind),), role == "assistant" and group[0].loss is not False)
    trained = [role == "assistant" and m.loss is not False for m in group]
    kinds = ["context" if role != "assistant" or (any(trained) and not one) else "general" for one in trained]
    parts = [("\n\n" * bool(i) + text, kind) for i, (text, kind) in enumerate(zip(texts, kinds, strict=True))]
    return Turn(role, spans(*parts), any(trained))


def _trajectories(name: str, source: str, system: str, dialogue: list[Message], tools: tuple[Tool, ...], broken: str,
                  note: Note) -> list[Trajectory]:  # fmt: skip
    # A request begins with a turn of the user, but not one right after a result: the agent has not answered yet.
    starts = [i for i, m in enumerate(dialogue) if m.role == "user" and (not i or dialogue[i - 1].role == "assistant")]
    drop_if(any(m.calls for m in dialogue[:starts[0] if starts else None]), "a call without a request")
    drop_if(any(m.role == "tool" for m in dialogue[:starts[0]]), "a result without a call")
    found, plain = [], 0
    for start, end in zip_longest(starts, starts[1:]):
        exchange = dialogue[start:end]
        if not any(m.calls for m in exchange):
            plain += any(m.role == "assistant" for m in exchange)
            continue
        notes: list[str] = []
        try:
            found.append(_trajectory(name if not found else f"{name}/{len(found) + 1}", source, system,
                                     dialogue[:start], exchange, tools, notes.append))  # fmt: skip
        except Drop as error:
            if not found:
                raise
            end, broken = None, str(error)
            _left_out(dialogue[start:], note)
        else:
            for text in notes:
                note(text)
        if end is None:
            break
    drop_if(not found, broken)
    if broken:
        note(f"cut at a turn that cannot be read ({broken})")
    for _ in range(plain):
        note("a reply without a call kept as context only")
    if dialogue[-1].role == "user" and dialogue[-2].role == "assistant" and not broken:
        note("trailing user turn left out")
    return found


def _left_out(dialogue: list[Message], note: Note) -> None:
    for message in dialogue:
        for _ in message.calls:
            note("calls after a broken request left out")
        if message.role != "tool" and not message.calls:
            note("turns after a broken request left out")


def _trajectory(name: str, source: str, system: str, before: list[Message], exchange: list[Message],
                tools: tuple[Tool, ...], note: Note) -> Trajectory:  # fmt: skip
    request = list(takewhile(lambda m: m.role == "user", exchange))
    for _ in request[1:]:
        note("neighbours of one role merged")
    query = "\n\n".join(m.text.strip() for m in request)
    steps = _steps(exchange[len(request):], note)
    instructions = [system.strip()] if system.strip() else []
    if before:
        note("earlier turns moved to the instructions")
        instructions.append("\n".join([_EARLIER, *(line for m in before for line in _lines(m))]))
    return steps.trajectory(name, source, query, tools, "\n\n".join(instructions))


def _lines(message: Message) -> list[str]:
    """Write an earlier message as lines of context."""
    said = {"user": "User", "tool": "Result"}.get(message.role, "Assistant")
    lines = [f"{said}: {message.text.strip()}"] if message.text.strip() else []
    return lines + [f"Assistant called: {call.name} {json_text(call.arguments or {})}" for call in message.calls]


def _steps(exchange: list[Message], note: Note) -> Steps:
    """Collect the calls, results and the answer of one request."""
    steps = Steps(note)
    for message, following in zip_longest(exchange, exchange[1:]):
        next_role = following.role if following else None
        if message.role == "tool":
            waiting = sum(call["result"] is None for call in steps.calls)
            for text in _results(message.text, 1 if next_role == "tool" else waiting, note):
                steps.observe(text, message.id)
            continue
        if message.role == "user":  # what is said beside a result is read with it
            note("a user's turn after a result joined to it")
            last = [call for call in steps.calls if call["result"] is not None][-1]
            last["result"] = f"{last['result']}\n\n{message.text.strip()}"
            continue
        if message.loss is False:
            note("loss flag of a trajectory's turn ignored")
        steps.think(message.thought)
        if not message.calls and next_role != "assistant":
            drop_if(next_role == "tool", "a result without a call")
            if message.text.strip():
                steps.finish(message.text.lstrip())
            elif message.thought:
                note("thinking without an answer left out")
            continue
        steps.think(message.text)
        for call in message.calls:
            steps.call(*call)
    return steps


def _results(text: str, waiting: int, note: Note) -> list[str]:
    """Return the results in a message: one for each waiting call if it is a JSON list of that length, else its text.

    A list of one is a result of its own, unless its only item says whose result it is.
    """
    try:
        value = from_json(text, strict=False) if waiting and text.lstrip()[:1] == "[" else None
    except ValueError:
        value = None
    if not isinstance(value, list) or len(value) != waiting:
        return [text]
    named = all(isinstance(part, dict) and ({"tool_call_id", "name", "role"} & part.keys())
                and ({"content", "results"} & part.keys()) for part in value)  # fmt: skip
    if waiting == 1 and not named:
        return [text]
    note("one message of several results split" if waiting > 1 else "a result taken out of a list of one")
    inner = [part.get("content", part.get("results", part)) if isinstance(part, dict) else part for part in value]
    return [json_text(part) for part in inner]
