"""ReAct's labelled lines as people write them: any tool names, numbered or bold labels, results inside the turn.

``Thought:``, ``Action:`` with ``name[query]``, ``name(x=1)``, a JSON object, or a name and an ``Action Input:``, then
``Observation:`` and ``Final Answer:`` (Yao et al., 2210.03629, and the prompts of LangChain and AgentBench after it).
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from flanlib.dialects import literals
from flanlib.records import Tool
from flanlib.sources.pieces import Piece, argument_name, arguments_of, called, unreadable

LABEL = re.compile(r"^[^\S\n]*(?:[*_]{1,2}|#{1,4} )?(?P<label>thoughts?|think|action[ _]input|action|act"
                   r"|observation|final[ _]answer)(?: ?\d{1,3})?(?:[*_]{1,2})?[^\S\n]?:(?:[*_]{1,2}(?!\w))?",
                   re.I | re.M)  # fmt: skip
_FENCED = re.compile(r"(?P<name>[\w.-]*)\s*```(?P<language>\w*)\n(?P<code>.*?)\n?```\s*\Z", re.S)
_BRACKET = re.compile(r"(?P<name>[A-Za-z_][\w.-]*)\[(?P<inside>.*)\]\.?\Z", re.S)
_PAREN = re.compile(r"(?P<name>[A-Za-z_](?:[\w.-]|\\_)*)\((?P<inside>.*)\)[.;]?\Z", re.S)
_NAME = re.compile(r"[A-Za-z_](?:[\w./:-]|\\_)*(?: [\w./:-]+){0,5}\Z")
_WITH_INPUT = re.compile(r"\s+with\s+Action Input:|[,;]?[^\S\n]+Action Input:", re.I)
_KEYS = (("action", "tool", "tool_name", "name", "function"),
         ("action_input", "arguments", "args", "parameters", "input", "tool_input"))


def begins(text: str) -> bool:
    """Tell whether a text begins with a label."""
    return _kind(LABEL.match(text.lstrip())) in ("thought", "action")


def acts(text: str) -> bool:
    """Tell whether a text has an action's label."""
    return any(_kind(label) == "action" for label in LABEL.finditer(text))


def read(text: str, tools: Sequence[Tool] = ()) -> list[Piece]:
    """Read a turn into its pieces: calls with their thoughts, results, the answer. No pieces for text without labels.

    Raises Drop for an action that is no call.

    >>> [(p.kind, p.thought, p.call) for p in read("Thought 1: Look.\\nAction 1: search[tea]")]
    [('call', 'Look.', Call(name='search', arguments={'input': 'tea'}, id=None))]
    """
    sections = list(_sections(text))
    if len(sections) == 1:
        return []
    pieces, thought = [], ""
    for i, (kind, content) in enumerate(sections):
        if kind in ("", "thought"):
            thought = f"{thought}\n{content}".strip()
        elif kind == "observation":
            pieces.append(Piece("result", content))
        elif kind == "answer":
            pieces.append(Piece("answer", content, thought))
            thought = ""
        elif kind == "action" and not _is_none(content, sections[i + 1 :]):
            given = sections[i + 1][1] if sections[i + 1 : i + 2] and sections[i + 1][0] == "input" else None
            pieces += _action(content, given, thought, tools)
            thought = ""
    if thought and not pieces:
        raise unreadable()  # a thought that leads to nothing
    return pieces


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Yield what each label names with the text after it; first "" with the text before all labels."""
    labels = list(LABEL.finditer(text))
    bounds = [*((label.start(), label.end()) for label in labels), (len(text), len(text))]
    yield "", text[: bounds[0][0]].strip()
    for label, ((_, start), (end, _)) in zip(labels, pairwise(bounds), strict=True):
        yield _kind(label), text[start:end].strip()


def _kind(label: re.Match[str] | None) -> str:
    name = re.sub(r"[ _]", "", label["label"].lower()) if label else ""
    return {"thoughts": "thought", "think": "thought", "act": "action", "actioninput": "input",
            "finalanswer": "answer"}.get(name, name)  # fmt: skip


def _is_none(content: str, later: list[tuple[str, str]]) -> bool:
    """Tell whether an action says that there is none, or only that the answer follows."""
    answered = any(kind == "answer" for kind, _ in later)
    word = content.strip("`* .").lower()
    return (word in ("none", "n/a", "no action needed", "") and answered) or (word in ("answer", "finish") and answered)


def _action(content: str, given: str | None, thought: str, tools: Sequence[Tool]) -> list[Piece]:
    """Read the text of an action, with the text of its input if there is one. Only a list has several calls."""
    if given is None and len(parts := _WITH_INPUT.split(content, maxsplit=1)) == 2:
        content, given = parts
    if given is not None:
        name = content.strip().strip("`*").strip().replace("\\_", "_")
        if not _NAME.match(name) and not any(tool.name == name for tool in tools):
            raise unreadable()
        fenced = _FENCED.match(given)
        inside = fenced["code"] if fenced and not fenced["name"] else given
        return [called(thought, name, arguments_of(inside, name, tools), tools)]
    fenced = _FENCED.match(content)
    if fenced and (name := fenced["name"] or fenced["language"]) and name.lower() != "json":
        return [called(thought, name, {argument_name(name, tools): fenced["code"]}, tools)]
    content = (fenced["code"] if fenced else content).strip().strip("`").strip()
    if found := _objects(content, thought, tools) or _written(content, thought, tools):
        return found
    if any(tool.name == content for tool in tools) or re.fullmatch(r"[a-z]\w*_\w*|finish|submit", content, re.I):
        return [called(thought, content, {}, tools)]
    raise unreadable()


def _objects(text: str, thought: str, tools: Sequence[Tool]) -> list[Piece]:
    """Read an action that is a JSON object, as LangChain's structured chat has it, or a list of them, as Cohere's."""
    try:
        value = literals.value(text) if text.startswith(("{", "[")) else None
    except ValueError:
        return []
    pieces: list[Piece] = []
    for call in value if isinstance(value, list) else [value]:
        if not isinstance(call, dict):
            return []
        name, given = (next((call[key] for key in keys if call.get(key) is not None), None) for keys in _KEYS)
        if not isinstance(name, str) or not name.strip():
            return []
        given = given if isinstance(given, dict) else {} if given is None else {argument_name(name, tools): given}
        pieces.append(called("" if pieces else thought, name.strip(), given, tools))
    return pieces


def _written(text: str, thought: str, tools: Sequence[Tool]) -> list[Piece]:
    """Read ``name[query]`` or ``name(x=1)``; an argument without a name is the tool's first."""
    found = _BRACKET.match(text) or _PAREN.match(text)
    if not found:
        return []
    name, inside = found["name"].replace("\\_", "_"), found["inside"].strip()
    if found.re is _BRACKET:
        return [called(thought, name, {argument_name(name, tools): inside}, tools)]
    calls, _ = literals.calls(f"{name}({inside})") if inside else ([], 0)
    if len(calls) == 1 and calls[0].arguments and not calls[0].positional:
        return [called(thought, name, calls[0].arguments, tools)]
    return [called(thought, name, arguments_of(inside, name, tools), tools)]
