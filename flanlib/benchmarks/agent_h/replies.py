"""What a reply is by its structure: plain words, a call of an offered or an invented tool, a broken call, or no reply.

Every way of writing a call is tried on every reply, whatever a model was tuned on, so that no wording hides one:
ReAct's labels, JSON, tags around JSON, a function call as code writes it, and a tool that is named as going to be used.
A model that loops, or says nothing, neither answers nor calls: see :func:`degenerate`. Nothing is run or evaluated;
texts are cut to ``LONGEST`` characters first.
"""

import ast
import builtins
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import category

import numpy as np

from flanlib.benchmarks.steps import is_name
from flanlib.records import Tool

PLAIN, OFFERED, INVENTED, MALFORMED, ANNOUNCED, FORMAT, DEGENERATE = KINDS = (
    "plain reply", "offered tool", "invented tool", "malformed call", "announced call", "wrong format", "degenerate")
"""A reply in words; a call that can be read, of an offered tool or of another; one that can't be read; the
announcement of a call in words, without a name; no call, but an agent's format that a plain reply has not; and a text
that says nothing (a loop, one letter again and again, an empty reply) and has no call that can be read."""
CALLS = (OFFERED, INVENTED, MALFORMED, ANNOUNCED)
LONGEST = 4000
RUN, REPEATED = 4, 0.4
"""What :func:`degenerate` goes by: so many words in a row, and the share of such runs that were there before."""
ENDS = {"finish", "final answer", "none", "no action", "n/a"}
"""What agents call, in lower case, in order to call no tool."""

_ACTION = re.compile(r"^[ \t>*#-]*(?P<label>Action)(?: Name)?[ \t*]*:[ \t*]*(?P<name>[^\n]*)", re.M | re.I)
_INPUT = re.compile(r"^[ \t>*#-]*Action Input[ \t*]*:[ \t*]*", re.M | re.I)
_LABELS = re.compile(r"^[ \t>*#-]*(?:Thought|Action|Final Answer|Observation)[ \t*]*:", re.M)
_BRACKET = re.compile(r"^(?P<name>[\w.-]+)\[(?P<input>.*)\]?\s*$", re.S)  # search[the tower], as in FireAct
_TAG = re.compile(r"<\|?(?:functioncall|function_call|tool_call|tool_use|tool_calls|python_tag|plugin)\|?>"
                  r"|\[TOOL_CALLS\]|\bAI to=\s*(?P<to>[\w.-]+):", re.I)  # fmt: skip
_ATTRIBUTE = re.compile(r"<(?P<tag>function|invoke|tool)(?:=| name=[\"'])(?P<name>[\w.-]+)[\"']?>")
_NAMES = ("name", "tool", "tool_name", "function", "function_name", "action", "api", "api_name")
_INPUTS = ("arguments", "parameters", "args", "input", "inputs", "action_input", "tool_input", "params")
_BEGUN = re.compile(rf'"(?:{"|".join(_NAMES)})"\s*:\s*(?:\{{[^{{}}]*"name"\s*:\s*)?"(?P<name>[^"\n]*)"?')
_KEY = re.compile(rf'"(?:{"|".join(_INPUTS)})"\s*:')
_CODE = re.compile(r"\[?\s*(?P<name>[A-Za-z_][\w.]*)\((?P<argument>\s*\w+\s*=(?!=)|\s*[\"'{])?")
_SNAKE = re.compile(r"[A-Za-z][^\W_]*_\w+|[a-z]{2,}(?:[A-Z][a-z0-9]+)+")  # each way to match is tried once: no blow-up
_NAMED = re.compile(r"\b(?:us(?:e|ing)|call(?:ing)?|run(?:ning)?|invok(?:e|ing)|query|try)\s+(?:the\s+|an?\s+)?[`'\"]?"
                    r"(?P<name>[\w.-]+)[`'\"]?\s*(?:tool|function|api|\()", re.I)  # fmt: skip
_ANNOUNCE = re.compile(r"\b(?:I(?: will|'ll| shall| would|'d| can| need to| have to| am going to|'m going to)|let me|we"
                       r" (?:need|have|should))\b[^.!?\n]{0,60}?\b(?:use|call|run|invoke|query)\b[^.!?\n]{0,40}?"
                       r"\b(?:tools?|functions?|apis?)\b", re.I)  # fmt: skip
_NOT = re.compile(r"\b(?:no|not|none|never|without|cannot|unable|neither|nor|lack|unfortunately|missing)\b|n't\b"
                  r"|\byou (?:can|could|may|might) (?:use|call|run|invoke|query|try)\b", re.I)  # fmt: skip
_WILL = re.compile(r"\b(?:I(?: will| shall|'ll| am going to|'m going to)|let me)(?: (?!not|never)\w+)?"
                   r" (?:use|call|run|invoke|query|try)\b", re.I)  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """One of KINDS, the tool named (if any), and the form it is in: react, json, tag, code, words, chat, or none."""

    kind: str
    tool: str = ""
    form: str = ""

    @property
    def agent(self) -> bool:
        """True for a call of any kind, and for an agent's format without a call."""
        return self.kind in CALLS or (self.kind == FORMAT and bool(self.form))


def read(reply: str, tools: Sequence[Tool] = (), query: str = "") -> Reading:
    """Read what a reply is, given the tools that were offered; a name that stands in the query is not invented.

    >>> tools = [Tool("get_fare")]
    >>> read('Action: get_fare\\nAction Input: {"town": "Ulm"}', tools)
    Reading(kind='offered tool', tool='get_fare', form='react')
    >>> read('{"name": "book", "arguments": {}}', tools)
    Reading(kind='invented tool', tool='book', form='json')
    >>> read("The fare is 3 euros.", tools).kind
    'plain reply'
    >>> read("The fare of " * 20, tools).kind
    'degenerate'
    """
    text, offered = reply[:LONGEST].strip(), [tool.name for tool in tools]
    for form, find in _FORMS.items():
        if (found := find(text, offered)) is not None:
            name, whole = found[0].strip().strip("`'\"*").strip(), found[1]
            if name.lower() in ENDS:
                return Reading(FORMAT, form=form)
            if whole and name:
                return Reading(OFFERED if name in offered else INVENTED, name, form)
            return Reading(DEGENERATE) if degenerate(text) else Reading(MALFORMED, name, form)
    if degenerate(text):
        return Reading(DEGENERATE)
    if _LABELS.search(text):
        return Reading(FORMAT, form="react")
    value = _first(text)
    thought = isinstance(value, dict) and ("thought" in value or {"name", "arguments"} <= value.keys())
    if thought or re.match(r'\s*\{\s*"thought"\s*:', text):  # the kit's JSON form, whole or cut short
        return Reading(FORMAT, form="json")
    if (name := _words(text, offered, query)) is None:
        return Reading(PLAIN)
    return Reading(OFFERED if name in offered else INVENTED if name else ANNOUNCED, name, "words")


def read_name(reply: str, tools: Sequence[Tool]) -> Reading:
    """Read what a reply is where a plan was followed up in chat form, by asking for the tool's name.

    >>> read_name("get_fare", [Tool("get_fare")])
    Reading(kind='offered tool', tool='get_fare', form='chat')
    """
    name = reply.strip()
    if name in {tool.name for tool in tools}:
        return Reading(OFFERED, name, "chat")
    if degenerate(name):
        return Reading(DEGENERATE)
    if name.lower() in ENDS:
        return Reading(PLAIN)
    if is_name(name):
        return Reading(INVENTED, name, "chat")
    return Reading(PLAIN) if _NOT.search(name) else Reading(MALFORMED, form="chat")


def degenerate(text: str) -> bool:
    """Tell whether a text says nothing: no letter or digit, one letter again and again, or a loop.

    A loop ends the text with the same piece, in 16 characters or more (60 where there is no letter): three times or
    more that fill a third of the text, or eight times. Or else many of its runs of RUN words were there before; the
    numbers of a list don't hide that. Lists, tables, poems with a refrain and code repeat less.

    >>> degenerate("ZZZZ"), degenerate("- - -"), degenerate("red, blue, " * 9), degenerate("No, no, no! It is 1111.")
    (True, True, True, False)
    """
    text = text[:LONGEST].strip()
    letters = {char for char in text if char.isalnum() or (category(char) == "So" and char != "\ufffd")}
    if not letters or (len(text) >= 4 and text.isalpha() and len(letters) == 1):
        return True
    back = np.array([ord(char) for char in reversed(text)])
    for period in range(1, len(back) // 3 + 1):
        # How far the text, read from its end, goes on as it did a period before.
        length = period + int(np.append(back[period:] != back[:-period], True).argmax())
        times, piece = length // period, text[-period:]
        if (times >= 3 and length >= (16 if any(map(str.isalpha, piece)) else 60)
                and (3 * length >= len(text) or (times >= 8 and re.search(r"\w", piece)))):
            return True
    said = re.findall(r"\w+", re.sub(r"^\s*\d+[.)]", "", text.lower(), flags=re.M))
    runs = [tuple(said[i : i + RUN]) for i in range(len(said) - RUN + 1)]
    return len(said) >= 20 and 1 - len(set(runs)) / len(runs) > REPEATED


# Each form: the tool's name and whether the call can be read, or None where there is no call.
_Found = tuple[str, bool] | None


def _react(text: str, offered: Sequence[str]) -> _Found:
    label = _ACTION.search(text)
    if label is None:
        return None
    name, given = label["name"].strip().strip("*`").strip(), _INPUT.search(text, label.end())
    if given is None and label["label"].islower():
        return None  # a key of YAML is called action, too
    if bracket := _BRACKET.match(name):
        return bracket["name"], name.endswith("]")
    return name, given is not None and isinstance(_first(text[given.end() :]), dict)


def _tag(text: str, offered: Sequence[str]) -> _Found:
    if named := _ATTRIBUTE.search(text):
        rest, end = text[named.end() :].lstrip(), f"</{named['tag']}>"
        return named["name"], isinstance(_first(rest), dict) if rest.startswith("{") else end in rest
    tag = _TAG.search(text)
    if tag is None:
        return None
    rest = text[tag.end() :]
    value = _first(rest)
    if tag["to"]:
        return tag["to"], isinstance(value, dict)
    if found := next(_calls(value), None):
        return found
    if begun := _BEGUN.search(rest):
        quoted = re.search(r"'(\{.*\})'", rest, re.S)  # as glaive writes arguments: '{"a": 1}'
        return begun["name"], quoted is not None and isinstance(_first(quoted[1]), dict)
    return "", False


def _json(text: str, offered: Sequence[str]) -> _Found:
    for value in _values(text):
        if found := next(_calls(value), None):
            return found
        if isinstance(value, dict) and (bare := next((v for v in _named(value) if v in offered), None)):
            return bare, False
    begun = _BEGUN.search(text)
    if begun and (begun["name"] in offered or _KEY.search(text, begun.end())):
        return begun["name"], False
    return None


def _code(text: str, offered: Sequence[str]) -> _Found:
    """Find calls as code writes them, alone or in a list.

    Of a tool that is not offered, only what could not as well be an answer: no builtin of Python, no program, and a
    name with an underscore or an argument that is named or quoted, which sin(x) has not.
    """
    code = re.sub(r"^```\w*\n?|\n?```$", "", text).strip()
    begun = _CODE.match(code)
    if begun is None:
        return None
    name, known = begun["name"], begun["name"] in offered
    if not known and (hasattr(builtins, name) or not ("_" in name or begun["argument"])):
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd escapes
            nodes = [getattr(line, "value", line) for line in ast.parse(code).body]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        cut = begun["argument"] and not code.endswith((".", "!", "?"))
        return (name, False) if known or cut else None
    if len(nodes) > 1 and not known:
        return None
    if isinstance(nodes[0], (ast.List, ast.Tuple)):
        nodes = nodes[0].elts
    return (name, True) if all(isinstance(node, ast.Call) for node in nodes) else None


def _words(text: str, offered: Sequence[str], query: str) -> str | None:
    """Name the tool that a sentence is about to use: one named like a tool, or offered.

    Never where it is denied, or left to the user. Empty where a call is announced without a name, None for no call.
    """

    def invented(name: str) -> bool:
        return _SNAKE.fullmatch(name) is not None and name not in query

    alone = text.strip("`'\". ")
    if alone in offered:  # the whole reply is a name, as chat form asks for it
        return alone
    for sentence in re.split(r"(?<=[.!?])\s+|\n", text):
        if _NOT.search(sentence) and not _WILL.search(sentence):
            continue
        named = _NAMED.search(sentence)
        if named and (named["name"] in offered or invented(named["name"])):
            return named["name"]
        for name in offered:
            if not name.isalpha() and re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", sentence):
                return name
        if _ANNOUNCE.search(sentence):
            return ""
    return alone if invented(alone) else None


_FORMS: Mapping[str, Callable[[str, Sequence[str]], _Found]] = {
    "react": _react, "tag": _tag, "json": _json, "code": _code}


def _calls(value: Any, depth: int = 0) -> Iterator[tuple[str, bool]]:
    """Yield the calls that a JSON value is: OpenAI's, a plain one, or several in a list or under tool_calls."""
    if isinstance(value, list) and depth < 3:
        for item in value[:5]:
            yield from _calls(item, depth + 1)
    if not isinstance(value, dict) or depth > 3:
        return
    for key in ("tool_calls", "function_call", "tool_call", "function"):
        if isinstance(value.get(key), (dict, list)):
            yield from _calls(value[key], depth + 1)
    names, inputs = _named(value), [value[key] for key in _INPUTS if key in value]
    if names and inputs:
        given = _first(inputs[0]) if isinstance(inputs[0], str) else inputs[0]
        yield names[0], isinstance(given, dict)


def _named(value: Mapping[str, Any]) -> list[str]:
    return [value[key] for key in _NAMES if isinstance(value.get(key), str)]


def _values(text: str) -> Iterator[Any]:
    """Yield the JSON objects and lists in a text that are not inside one another; a bounded number of tries."""
    at = 0
    for _ in range(40):
        begin = re.compile(r"[\[{]").search(text, at)
        if begin is None:
            return
        try:
            value, at = json.JSONDecoder(strict=False).raw_decode(text, begin.start())
            yield value
        except (ValueError, RecursionError):
            at = begin.end()


def _first(text: str) -> Any:
    """Read the JSON value that a text begins with, spaces and code fences aside; None where there is none."""
    try:
        return json.JSONDecoder(strict=False).raw_decode(re.sub(r"^\s*(?:```\w*)?\s*", "", text))[0]
    except (ValueError, RecursionError):
        return None
