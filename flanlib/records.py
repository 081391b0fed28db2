"""The kit's data records: frozen dataclasses that check their fields when they are created.

A :class:`Trajectory` holds what an agent did, independent of any text format. A :class:`Conversation`
holds what a model reads: turns of labelled spans. Dialects turn the first into the second.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

# The capabilities of section 3 of the paper, plus ordinary chat (general) and text without a loss (context).
Kind = Literal["reasoning", "retrieval", "understanding", "instruction", "general", "context"]
KINDS: tuple[Kind, ...] = get_args(Kind)
CONTENT: tuple[Kind, ...] = ("reasoning", "retrieval", "understanding")
CAPABILITIES: tuple[Kind, ...] = (*CONTENT, "instruction")

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = get_args(Role)


class FlanError(ValueError):
    """An input that the kit cannot work with. Its message is one line: where, found, expected, remedy."""

    def __init__(self, where: str, *, found: str, expected: str, remedy: str) -> None:
        self.where, self.found, self.expected, self.remedy = where, found, expected, remedy
        super().__init__(f"{where}: found {found}; expected {expected}. {remedy}".replace("\n", "\\n"))

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows of it: the line, without the source of the library around it."""
        return [f"FlanError: {self}"]


def clip(value: object, width: int = 60) -> str:
    """Shorten a value for an error message.

    >>> clip("abcdefgh", 4)
    "'abcd'... (8 characters)"
    """
    text = value if isinstance(value, str) else repr(value)
    return repr(text) if len(text) <= width else f"{text[:width]!r}... ({len(text)} characters)"


def freeze(value: Any, where: str = "value") -> Any:
    """Return an immutable copy of a JSON value: mappings become read-only, lists become tuples.

    Raises FlanError for what JSON cannot represent: NaN, infinities, lone surrogates, keys that are
    not text, objects of other types.

    >>> freeze({"a": [1, 2]})["a"]
    (1, 2)
    """
    if isinstance(value, str):
        return _check_text(value, where)
    if isinstance(value, (dict, Mapping)) and all(isinstance(key, str) for key in value):  # dict is told faster
        return MappingProxyType({_check_text(k, where): freeze(v, where) for k, v in value.items()})
    if isinstance(value, (list, tuple)):
        return tuple(freeze(v, where) for v in value)
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    bad_keys = [key for key in value if not isinstance(key, str)] if isinstance(value, Mapping) else []
    raise FlanError(where, found=f"the key {bad_keys[0]!r}" if bad_keys else repr(value),
                    expected="a JSON value (finite numbers, text keys)", remedy="Convert it in the reader.")


def thaw(value: Any) -> Any:
    """Undo :func:`freeze`: return plain dicts and lists, which ``json.dumps`` accepts."""
    if isinstance(value, Mapping):
        return {k: thaw(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return [thaw(v) for v in value]
    return value


def to_json(value: Any) -> str:
    """Write a JSON value on one line, without escaping non-ASCII characters.

    >>> to_json(freeze({"city": "Köln", "days": [1, 2]}))
    '{"city": "Köln", "days": [1, 2]}'
    """
    return json.dumps(thaw(value), ensure_ascii=False, allow_nan=False)


def from_json(text: str, *, strict: bool = True) -> Any:
    """Parse JSON text. Unless ``strict``, strings can hold raw line breaks. Raises ValueError as :func:`first_json`."""
    value, rest = first_json(text, strict=strict)
    if rest.strip(" \t\n\r"):
        raise ValueError("text after the value")
    return value


def first_json(text: str, *, strict: bool = True) -> tuple[Any, str]:
    """Parse the JSON value at the start of a text. Return the value and the rest of the text.

    Raises ValueError if the text starts with no JSON value, for NaN and Infinity, and for too deep nesting.

    >>> first_json(' {"n": 3}}')
    ({'n': 3}, '}')
    """
    text = text.lstrip(" \t\n\r")
    try:
        value, end = _DECODERS[strict].raw_decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value, text[end:]


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODERS = {strict: json.JSONDecoder(strict=strict, parse_constant=_refuse) for strict in (False, True)}


@dataclass(frozen=True)
class Tool:
    """A tool that a model can call.

    ``parameters`` is a JSON schema of type object: ``properties`` by name, and ``required``.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_tool_name(self.name, "tool")
        _check_text(self.description, f"tool {self.name}")
        if not isinstance(self.parameters, Mapping):
            raise FlanError(f"tool {self.name}", found=clip(self.parameters), expected="a JSON schema object",
                            remedy="Pass {'properties': {...}, 'required': [...]}.")
        object.__setattr__(self, "parameters", freeze(self.parameters, f"tool {self.name}"))

    @property
    def properties(self) -> Mapping[str, Any]:
        """Schema of each parameter, by its name."""
        return self.parameters.get("properties", MappingProxyType({}))

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the parameters that every call needs."""
        return tuple(self.parameters.get("required", ()))


def offered(tool: Tool) -> dict[str, Any]:
    """Write a tool as OpenAI's services and chat templates take it.

    >>> offered(Tool("clock"))
    {'type': 'function', 'function': {'name': 'clock', 'description': '', 'parameters': {}}}
    """
    return {"type": "function", "function": {"name": tool.name, "description": tool.description,
                                             "parameters": thaw(tool.parameters)}}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One think-act-observe round. ``observation`` is None only where the record ends with calls still running."""

    thought: str
    tool: str
    arguments: Mapping[str, Any]
    observation: str | None

    def __post_init__(self) -> None:
        _check_tool_name(self.tool, "step")
        _check_text(self.thought, f"step {self.tool}")
        if self.observation is not None:
            _check_text(self.observation, f"step {self.tool}")
        if not isinstance(self.arguments, Mapping):
            raise FlanError(f"step {self.tool}", found=f"arguments {clip(self.arguments)}", expected="a mapping",
                            remedy="Give every argument a name.")
        object.__setattr__(self, "arguments", freeze(self.arguments, f"step {self.tool}"))


@dataclass(frozen=True)
class Trajectory:
    """One episode of an agent: the user's request, the tools on offer, the steps and the final answer.

    ``instructions`` describes the task's environment, without any reply format. ``answer`` is None if the
    record stops without one. ``answer_thought`` is the thought before the answer.
    """

    id: str
    source: str
    query: str
    tools: tuple[Tool, ...] = ()
    steps: tuple[Step, ...] = ()
    answer: str | None = None
    answer_thought: str = ""
    instructions: str = ""

    def __post_init__(self) -> None:
        where = f"trajectory {self.id}"
        for text in (self.id, self.source, self.query, self.answer or "", self.answer_thought, self.instructions):
            _check_text(text, where)
        object.__setattr__(self, "tools", tuple(self.tools))
        object.__setattr__(self, "steps", tuple(self.steps))
        for wrong, found, expected, remedy in (
            (not self.query.strip(), "an empty query", "a request", "Drop the row."),
            (not self.steps and self.answer is None, "no step and no answer", "at least one of them", "Drop the row."),
            (self.answer is not None and not self.answer.strip(), "an empty answer",
             "text, or None if the record has no answer", "Pass answer=None."),
            (self.answer is None and self.answer_thought, "an answer_thought without an answer",
             "both or neither", "Pass the answer too."),
        ):  # fmt: skip
            if wrong:
                raise FlanError(where, found=found, expected=expected, remedy=remedy)
        running = [step.observation is None for step in self.steps]
        if any(running) and (self.answer is not None or running != sorted(running)):
            number = running.index(True) + 1
            raise FlanError(where, found=f"step {number} without an observation before the record's end",
                            expected="an observation after every call but the last ones",
                            remedy="Cut the record there, or pass an empty observation.")


@dataclass(frozen=True)
class Span:
    """A non-empty piece of text of one kind."""

    text: str
    kind: Kind

    def __post_init__(self) -> None:
        if not self.text:
            raise FlanError("span", found="empty text", expected="text", remedy="Leave the span out.")
        if self.kind not in KINDS:
            raise FlanError("span", found=f"kind {self.kind!r}", expected=f"one of {', '.join(KINDS)}",
                            remedy="Use a kind of flanlib.records.")
        _check_text(self.text, "span")


def spans(*parts: tuple[str, Kind]) -> tuple[Span, ...]:
    """Build spans from (text, kind) pairs, leaving out empty texts.

    >>> [s.text for s in spans(("Thought: ", "instruction"), ("", "reasoning"))]
    ['Thought: ']
    """
    return tuple(Span(text, kind) for text, kind in parts if text)


@dataclass(frozen=True)
class Turn:
    """One message: a role, its spans, and whether the loss covers the assistant's text in it."""

    role: Role
    spans: tuple[Span, ...]
    trained: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "spans", tuple(self.spans))
        if self.role not in ROLES:
            raise FlanError("turn", found=f"role {self.role!r}", expected=f"one of {', '.join(ROLES)}",
                            remedy="Map the role in the reader.")
        if not self.spans:
            raise FlanError("turn", found=f"an empty {self.role} turn", expected="text",
                            remedy="Leave the turn out, or count the row as dropped.")
        if self.trained and (self.role != "assistant" or all(s.kind == "context" for s in self.spans)):
            raise FlanError("turn", found=f"a trained {self.role} turn without any assistant text",
                            expected="an assistant turn with a span that is not context", remedy="Set trained=False.")

    @property
    def text(self) -> str:
        """The turn's full text."""
        return "".join(span.text for span in self.spans)


def say(role: Role, text: str, kind: Kind = "context", *, trained: bool = False) -> Turn:
    """Build a turn with a single span.

    >>> say("user", "Hello").text
    'Hello'
    """
    return Turn(role, spans((text, kind)), trained)


@dataclass(frozen=True)
class Conversation:
    """The turns that a model reads: an optional system turn, then user and assistant alternating."""

    id: str
    source: str
    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "turns", tuple(self.turns))
        object.__setattr__(self, "tools", tuple(self.tools))
        roles = [turn.role for turn in self.turns]
        dialogue = roles[1:] if roles[:1] == ["system"] else roles
        if not dialogue or any(role != ("user", "assistant")[i % 2] for i, role in enumerate(dialogue)):
            raise FlanError(f"conversation {self.id}", found=f"roles {', '.join(roles) or 'none'}",
                            expected="an optional system turn, then user and assistant alternating",
                            remedy="Merge or drop turns in the reader, and note it in the tally.")

    @property
    def trained(self) -> bool:
        """True if any turn is trained."""
        return any(turn.trained for turn in self.turns)


def _check_text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise FlanError(where, found=clip(value), expected="text", remedy="Convert it in the reader.")
    if value.isascii():  # known to Python without looking at the text
        return value
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise FlanError(where, found=f"a lone surrogate at character {error.start}", expected="valid Unicode",
                        remedy="Read the file as UTF-8, or drop the row.") from None
    return value


def _check_tool_name(name: Any, where: str) -> None:
    _check_text(name, where)
    if not name or name != name.strip() or len(name.splitlines()) != 1:
        raise FlanError(where, found=f"the tool name {clip(name)}", expected="one line without spaces around it",
                        remedy="Strip the name in the reader, or drop the row.")
