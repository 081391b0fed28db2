"""Agents' turns in other formats than ReAct's: searches in tags, one shell command in a block, calls in marks."""

import re
from collections.abc import Iterator, Sequence

from flanlib.dialects import written
from flanlib.records import Tool
from flanlib.sources.messages import Call
from flanlib.sources.pieces import Piece, called, unreadable

# Search-R1, ReSearch, ZeroSearch, R1-Searcher and Search-o1: what each pair of tags holds.
_TAGS = {"<search>": ("</search>", "call"), "<|begin_of_query|>": ("<|end_of_query|>", "call"),
         "<|begin_search_query|>": ("<|end_search_query|>", "call"), "<answer>": ("</answer>", "answer"),
         "<|begin_of_documents|>": ("<|end_of_documents|>", "result"),
         "<|begin_search_result|>": ("<|end_search_result|>", "result"),
         "<tool_response>": ("</tool_response>", "result")}  # fmt: skip
_RESULTS = ("information", "result", "results", "observation", "search_result", "search_results", "documents")
_TAGS |= {f"<{name}>": (f"</{name}>", "result") for name in _RESULTS}
_OPEN = re.compile("|".join(map(re.escape, _TAGS)))
_BLOCK = re.compile(r"```(?:bash|sh|shell|mswea_bash_command)?[^\S\n]*\n(?P<code>.*?)\n?```", re.S)
_THOUGHT = re.compile(r"\A\s*(?:\*\*)?(?:THOUGHT|Thought|DISCUSSION)(?:\*\*)?:?\s*")
_MARKED = re.compile(r"[<\[{`]")


def search(text: str, tools: Sequence[Tool] = ()) -> list[Piece]:
    """Read searches in tags, their results and the answer. No pieces for a text that has no search or answer of these.

    >>> [(p.kind, p.text) for p in search("<search>tea</search><result>Many.</result><answer>Sencha</answer>")]
    [('call', ''), ('result', 'Many.'), ('answer', 'Sencha')]
    """
    pieces, thought, at = [], "", 0
    for kind, inside, start, end in between(text):
        thought = f"{thought}\n{_plain(text[at:start])}".strip()
        at = end
        if kind == "call":
            if "\n" in inside.strip() or "<" in inside:
                return []  # HTML has an element of this name
            pieces.append(Piece("call", "", thought, Call("search", {"query": inside.strip()})))
        elif kind == "result":
            pieces.append(Piece("result", inside.strip()))
            continue
        else:
            pieces.append(Piece("answer", inside.strip(), thought))
        thought = ""
    rest = _plain(text[at:]) if pieces else ""
    if rest and pieces[-1].kind == "result":
        pieces.append(Piece("text", f"{thought}\n{rest}".strip()))
    elif rest:  # after a call or an answer, to which it belongs
        last = pieces[-1]
        key = "text" if last.kind == "answer" else "thought"
        pieces[-1] = last._replace(**{key: f"{getattr(last, key)}\n{rest}".strip()})
    return pieces


def between(text: str) -> Iterator[tuple[str, str, int, int]]:
    """Yield what stands between known tags: its kind (call, result or answer), the text, and its bounds with the tags.

    >>> list(between("So <search>tea</search>"))
    [('call', 'tea', 3, 23)]
    """
    at, absent = 0, set()
    while opened := _OPEN.search(text, at):
        close, kind = _TAGS[opened[0]]
        end = -1 if close in absent else text.find(close, opened.end())
        at = opened.end() if end < 0 else end + len(close)
        if end < 0:
            absent.add(close)  # so that each mark is looked for to the end once
        else:
            yield kind, text[opened.end() : end], opened.start(), at


def shell(text: str, tools: Sequence[Tool] = ()) -> list[Piece]:
    """Read a turn that thinks and gives one block of shell code. No pieces for text with no block or several.

    >>> shell("THOUGHT: Look.\\n```bash\\nls\\n```")[0].call.arguments
    {'command': 'ls'}
    """
    blocks = list(_BLOCK.finditer(text)) if "```" in text else []
    if len(blocks) != 1:
        return []
    thought = f"{_THOUGHT.sub('', text[: blocks[0].start()])}\n{text[blocks[0].end() :].strip()}".strip()
    return [Piece("call", "", thought, Call("bash", {"command": blocks[0]["code"].strip()}))]


def marked(text: str, tools: Sequence[Tool] = ()) -> list[Piece]:
    """Read calls in the marks of any model, with results between them. No pieces for a text without calls.

    Raises Drop for a call whose arguments cannot be read.
    """
    names = [tool.name for tool in tools]
    if not _MARKED.search(text) and not any(name in text for name in names):
        return []
    pieces, at = [], 0
    for kind, inside, start, end in between(text):
        if kind == "result":
            pieces += [*_calls(text[at:start], names, tools), Piece("result", inside.strip())]
            at = end
    pieces += _calls(text[at:], names, tools)
    return pieces if any(piece.kind in ("call", "answer") for piece in pieces) else []


def _calls(text: str, names: list[str], tools: Sequence[Tool]) -> Iterator[Piece]:
    """Yield the calls in a text without results, or the text."""
    found = written.find(text, names)
    if found is None:
        yield from [Piece("text", text.strip())] * bool(text.strip())
        return
    thought = "\n".join(filter(None, (found.thought, found.before, found.after)))
    for call in found.calls:
        if call.arguments is None or not call.name:
            raise unreadable()
        yield called(thought, call.name, call.arguments, tools)
        thought = ""


def _plain(text: str) -> str:
    """Return what was thought between tags, without the marks of thinking."""
    thought, rest = written.thinking(text)
    return "\n".join(filter(None, (thought.strip(), rest.strip())))
