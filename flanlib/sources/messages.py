"""The normal form of a message, and how the turns of chat rows are read into it.

Known are ShareGPT's ``{from, value}``, OpenAI's ``{role, content}`` with ``tool_calls`` or ``function_call``, the items
of its Responses API, Anthropic's content blocks, Gemini's ``parts``, the roles of LLaMA-Factory and ms-swift, and
thinking in a field of its own, in a content part, or between ``<think>`` marks.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from flanlib.dialects import literals, written
from flanlib.records import from_json
from flanlib.sources.common import Drop, Note, drop_if, json_text

ROLES = (dict.fromkeys(("human", "user", "prompter"), "user") | dict.fromkeys(("system", "developer"), "system")
         | dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "assistant", "agent", "model", "bot", "ai",
                          "function_call", "function_calls", "tool_call", "tool_calls"), "assistant")
         | dict.fromkeys(("tool", "function", "observation", "tool_response", "tool_result", "function_response",
                          "environment", "ipython"), "tool"))  # fmt: skip
# Items of the Responses API have a type in place of a role.
TYPES = {"function_call": "function_call", "custom_tool_call": "function_call", "function_call_output": "tool",
         "custom_tool_call_output": "tool", "reasoning": "assistant"}
BROKEN = "broken"
"""The role of a message that stands for the first turn that cannot be read; its text is the reason."""

_CALL_ROLES = ("function_call", "function_calls", "tool_call", "tool_calls")
_THINKING = ("reasoning_content", "reasoning", "thinking", "thought")
_FLAGS = {"loss", "loss_weight", "weight", "train", "training", "loss_mask", "trainable", "loss_scale"}
_CONTENT = ("value", "content", "parts", "text", "output", "summary")
_IDS = ("tool_call_id", "tool_use_id", "call_id")
_CALLS = ("tool_calls", "function_call", "function_calls")
_RICH = {*_THINKING, *_CALLS, "type"}  # an assistant's turn without any of these is only its text
_GEMINI_CALL, _GEMINI_RESULT = ("functionCall", "function_call"), ("functionResponse", "function_response")
_TEXT = ("text", "input_text", "output_text", "summary_text", "refusal")
_ARGUMENTS = ("arguments", "args", "parameters", "input", "params")
_MEDIA = ("image", "image_url", "input_image", "audio", "input_audio", "video", "video_url", "file", "input_file",
          "document", "inlineData", "inline_data", "fileData", "file_data")  # fmt: skip


class Call(NamedTuple):
    """A tool call as a row has it: its arguments are an object, JSON text, or None. ``id`` links its result."""

    name: Any
    arguments: Any
    id: Any = None


class Message(NamedTuple):
    """One message in normal form.

    ``role`` is system, user, assistant or tool. ``thought`` and ``calls`` are an assistant's. ``id`` is the id of the
    call that a tool's message answers. ``loss`` is the row's own loss flag: True, False, or None without one.
    """

    role: str
    text: str
    thought: str = ""
    calls: tuple[Call, ...] = ()
    id: Any = None
    loss: bool | None = None


class Part(NamedTuple):
    """A piece of a message: its kind is text, thought, call or result."""

    kind: str
    value: Any


def parsed(turns: Any, note: Note) -> list[Message]:
    """Read the turns of a row. The list ends at the first turn that cannot be read, with a message of the role BROKEN.

    Turns with images or sounds cannot be read: what is left of them is another text. Raises Drop without turns.

    >>> parsed([{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes?", "loss": 0}], print)[1][:2]
    ('assistant', 'Yes?')
    """
    drop_if(not isinstance(turns, list) or not turns, "no turns")
    read: list[Message] = []
    for turn in turns:
        try:
            read += _messages(turn, note)
        except Drop as error:
            read.append(Message(BROKEN, str(error)))
            break
    return read


def complete(turns: Any, note: Note) -> list[Message]:
    """Read turns as :func:`parsed` does, but raise Drop if one of them cannot be read."""
    read = parsed(turns, note)
    drop_if(read[-1].role == BROKEN, read[-1].text)
    return read


def role_of(turn: Mapping[str, Any]) -> str:
    """Return the name of a turn's role, in lower case, or raise Drop. Items without a role are told by their type."""
    said = turn.get("from")
    if not isinstance(said, str):
        said = turn.get("role")
        if not isinstance(said, str) and isinstance(turn.get("type"), str):
            said = TYPES.get(turn["type"])
    if isinstance(said, str) and said in ROLES:
        return said
    drop_if(not isinstance(said, str) or not said.strip(), "a turn without a role")
    name = said.strip().lower()
    if name not in ROLES:
        shown = " ".join(name[:20].encode(errors="replace").decode().split())
        raise Drop(f"unknown role {shown}")
    return name


def parts(content: Any, note: Note, *, data: bool = False) -> Iterator[Part]:
    """Yield the parts of a message's content. With ``data``, what is not text is written as JSON (a tool's result).

    Raises Drop for content that is not text, and for images, sounds and files.
    """
    if isinstance(content, str):
        yield Part("text", content)
    elif isinstance(content, dict) and isinstance(content.get("parts"), list):
        yield from parts(content["parts"], note, data=data)
    elif isinstance(content, list) and not (data and any(isinstance(p, str) or _kind(p) is None for p in content)):
        for part in content:
            yield from _part(part, note)
    elif isinstance(content, dict) and (_kind(content) or not data):
        yield from _part(content, note)
    elif content is not None:
        drop_if(not data, "content is not text")
        yield Part("text", json_text(content))


def calls_of(value: Any) -> list[Call]:
    """Return the calls in a value: one object or a list of them, plain or in OpenAI's wrapper, or their JSON text.

    >>> calls_of('{"name": "clock", "arguments": {"city": "Ulm"}}')
    [Call(name='clock', arguments={'city': 'Ulm'}, id=None)]
    """
    if isinstance(value, str):
        value = _calls_in_text(value)
    calls = []
    for call in value if isinstance(value, list) else [value]:
        if isinstance(call, Call):
            calls.append(call)
            continue
        function = call.get("function", call) if isinstance(call, dict) else call
        if isinstance(function, str) and isinstance(call, dict):  # {"function": name, "arguments": ...}
            function = call | {"name": function}
        drop_if(not isinstance(function, dict), "a call that is not an object")
        name = next((function[key] for key in ("name", "tool_name", "tool") if function.get(key)), None)
        given = next((function[key] for key in _ARGUMENTS if function.get(key) is not None), None)
        calls.append(Call(name, given, call.get("id") or call.get("call_id")))
    return calls


def without_thinking(message: Message) -> Message:
    """Take the thoughts out of an assistant's text that has several."""
    if message.role != "assistant" or message.text.count("</think>") < 2:
        return message
    inner, text = written.thinking(message.text)
    return message._replace(text=text, thought=f"{message.thought}\n{inner}".strip())


def _messages(turn: Any, note: Note) -> list[Message]:
    """Read one turn, which can hold several messages: Anthropic and Gemini put results into the user's turn."""
    drop_if(not isinstance(turn, dict), "a turn is not an object")
    name = role_of(turn)
    role, loss = ROLES[name], _loss(turn)
    content = next((turn[key] for key in _CONTENT if turn.get(key) is not None), None)
    if role == "tool":
        return _tool(turn, content, note)
    if name in _CALL_ROLES:
        called = turn if str(turn.get("type")) in TYPES else content
        return [Message(role, "", _thought(turn), tuple(calls_of(called)), None, loss)]
    if role == "assistant":
        return _assistant(turn, content, loss, note)
    pieces = [Part("text", content)] if isinstance(content, str) else list(parts(content, note))
    results = [Message("tool", _result(part, note), id=part.value["id"]) for part in pieces if part.kind == "result"]
    text = "\n".join(part.value for part in pieces if part.kind == "text")
    text = _with_tools(text, turn) if role == "system" else text
    return [*results, Message(role, text, loss=loss)] if text or not results else results


def _tool(turn: Mapping[str, Any], content: Any, note: Note) -> list[Message]:
    """Read a tool's turn: one result, or several content parts with an id each."""
    ids = turn.get("tool_call_ids")
    id = next((turn[key] for key in _IDS if turn.get(key) is not None),
              ids[0] if isinstance(ids, list) and len(ids) == 1 else None)  # fmt: skip
    if isinstance(content, str):
        return [Message("tool", content, id=id)]
    results = [Message("tool", _result(part, note), id=part.value["id"] if part.kind == "result" else id)
               for part in parts(content, note, data=True)]  # fmt: skip
    if any(result.id != id for result in results):
        return results
    return [Message("tool", "\n".join(result.text for result in results), id=id)]


def _assistant(turn: Mapping[str, Any], content: Any, loss: bool | None, note: Note) -> list[Message]:
    if isinstance(content, str) and "hink" not in content and "HINK" not in content and _RICH.isdisjoint(turn):
        return [Message("assistant", content, loss=loss)]  # most turns
    pieces = list(parts(content, note))
    if turn.get("type") == "reasoning":
        pieces = [Part("thought", part.value) for part in pieces]
    text = "\n".join(part.value for part in pieces if part.kind == "text")
    thoughts = [_thought(turn), *(part.value for part in pieces if part.kind == "thought")]
    if "think" in text.lower() and text.count("</think>") < 2:  # several thoughts may belong to several calls
        inner, text = written.thinking(text)
        thoughts.append(inner)
    calls = [call for part in pieces if part.kind == "call" for call in calls_of(part.value)]
    calls += [call for key in _CALLS if turn.get(key) for call in calls_of(turn[key])]
    thought = "\n".join(thought.strip() for thought in thoughts if thought.strip())
    results = [Message("tool", _result(part, note), id=part.value["id"]) for part in pieces if part.kind == "result"]
    return [Message("assistant", text, thought, tuple(calls), None, loss), *results]


def _kind(part: Any) -> str | None:
    """Return the kind of a content part: text, thought, call, result, media, or None for anything else."""
    if isinstance(part, str):
        return "text"
    if not isinstance(part, dict):
        return None
    type = part.get("type")
    if type in _MEDIA or (type is None and any(part.get(key) for key in _MEDIA)):
        return "media"
    if type in ("reasoning", "thinking", "thought") or (part.get("thought") is True and "text" in part):
        return "thought"
    if type in ("tool_use", "tool_call", "server_tool_use", "function_call") or _gemini(part, _GEMINI_CALL):
        return "call"
    if type in ("tool_result", "function_response") or _gemini(part, _GEMINI_RESULT):
        return "result"
    if type in _TEXT or (type is None and isinstance(part.get("text"), str)):
        return "text"
    return "unseen" if type == "redacted_thinking" else None


def _part(part: Any, note: Note) -> Iterator[Part]:
    kind = _kind(part)
    drop_if(kind == "media", "an image, sound or file in a turn")
    if kind in ("text", "thought"):
        keys = ("text", "value", "content", "refusal", "thinking", "reasoning", "summary", "thought")
        value = part if isinstance(part, str) else next((part[key] for key in keys if part.get(key) is not None), "")
        yield Part(kind, value if isinstance(value, str) else _joined(value, note))
    elif kind == "call":
        inner = _gemini(part, _GEMINI_CALL) or part
        inside = inner.get("value", inner.get("content", inner)) if part.get("type") == "tool_call" else inner
        yield Part("call", inside)
    elif kind == "result":
        inner = _gemini(part, _GEMINI_RESULT)
        id = part.get("tool_use_id", part.get("tool_call_id")) if inner is None else inner.get("id")
        yield Part("result", {"id": id, "value": inner.get("response") if inner else part.get("content")})
    elif isinstance(part, dict) and isinstance(part.get("type"), str):
        note("a content part without text left out")
    else:
        raise Drop("content is not text")


def _gemini(part: Mapping[str, Any], keys: tuple[str, str]) -> Mapping[str, Any] | None:
    """Return Gemini's part under a key in camel case or in snake case."""
    return next((part[key] for key in keys if isinstance(part.get(key), dict)), None)


def _result(part: Part, note: Note) -> str:
    return _joined(part.value["value"], note) if part.kind == "result" else part.value


def _joined(content: Any, note: Note) -> str:
    return "\n".join(p.value for p in parts(content, note, data=True) if isinstance(p.value, str))


def _thought(turn: Mapping[str, Any]) -> str:
    return next((turn[key].strip() for key in _THINKING if isinstance(turn.get(key), str) and turn[key].strip()), "")


def _with_tools(text: str, turn: Mapping[str, Any]) -> str:
    """Add the tool list that OLMo's system turns hold in a field of their own."""
    listed = next((turn[key] for key in ("functions", "tools") if turn.get(key)), None)
    return text if listed is None else f"{text}\n{json_text(listed)}".strip()


def _loss(turn: Mapping[str, Any]) -> bool | None:
    """Return the loss flag of a turn under any of its usual names. False where one of them says so."""
    if _FLAGS.isdisjoint(turn):
        return None
    given = [turn[key] for key in _FLAGS & turn.keys() if isinstance(turn[key], (bool, int, float))]
    return all(map(bool, given)) if given else None


def _calls_in_text(text: str) -> Any:
    try:
        return from_json(text, strict=False)
    except ValueError:
        pass
    if found := written.find(text):
        calls = [call for call in found.calls if call.arguments is not None]
        drop_if(len(calls) < len(found.calls), "a call that is not JSON")
    else:  # Python's, as in OLMo's data
        calls, end = literals.calls(text.strip())
        drop_if(not calls or end < len(text.strip()) or any(c.positional or c.arguments is None for c in calls),
                "a call that is not JSON")  # fmt: skip
    return [Call(call.name, call.arguments) for call in calls]
