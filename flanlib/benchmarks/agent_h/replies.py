"""Classify a reply by its structure: plain text, a call of an offered or an invented tool, a broken call, or no reply.

Every way to write a call is tried on every reply, whatever the model was tuned on: ReAct's labels, JSON, tags around
JSON, a function call in code, and a sentence that says which tool will be used. A reply that loops or is empty is
neither an answer nor a call (:func:`degenerate`). No text is executed, and texts are cut to LONGEST characters first.
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
"""In this order: plain text; a call that can be parsed, of an offered tool or of another; a call that cannot be parsed;
a call announced in plain text, without a name; an agent's format without a call; and a text without content (a loop,
one letter repeated, an empty reply) that has no call that can be parsed."""
CALLS = (OFFERED, INVENTED, MALFORMED, ANNOUNCED)
LONGEST = 4000
RUN, REPEATED = 4, 0.4
"""For :func:`degenerate`: the length of a run in words, and the share of repeated runs above which a text is a loop."""
ENDS = {"finish", "final answer", "none", "no action", "n/a"}
"""Names, in lower case, that agents call in order to call no tool."""

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
# A name like a tool's, in snake or camel case. Only one way to match any text, so no exponential backtracking.
_SNAKE = re.compile(r"[A-Za-z][^\W_]*_\w+|[a-z]{2,}(?:[A-Z][a-z0-9]+)+")
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
    """One of KINDS, the tool's name (or empty), and the form: react, json, tag, code, words, chat, or empty."""

    kind: str
    tool: str = ""
    form: str = ""

    @property
    def agent(self) -> bool:
        """True for a call of any kind, and for an agent's format without a call."""
        return self.kind in CALLS or (self.kind == FORMAT and bool(self.form))


def read(reply: str, tools: Sequence[Tool] = (), query: str = "") -> Reading:
    """Classify a reply, given the tools that were offered. A name from the query is not an invented tool.

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
        if (call := find(text, offered)) is not None:
            name, complete = call[0].strip().strip("`'\"*").strip(), call[1]
            if name.lower() in ENDS:
                return Reading(FORMAT, form=form)
            if complete and name:
                return Reading(OFFERED if name in offered else INVENTED, name, form)
            return Reading(DEGENERATE) if degenerate(text) else Reading(MALFORMED, name, form)
    if degenerate(text):
        return Reading(DEGENERATE)
    if _LABELS.search(text):
        return Reading(FORMAT, form="react")
    value = _first(text)
    own_json = isinstance(value, dict) and ("thought" in value or {"name", "arguments"} <= value.keys())
    if own_json or re.match(r'\s*\{\s*"thought"\s*:', text):  # the kit's JSON form, whole or cut short
        return Reading(FORMAT, form="json")
    if (name := _in_words(text, offered, query)) is None:
        return Reading(PLAIN)
    return Reading(OFFERED if name in offered else INVENTED if name else ANNOUNCED, name, "words")


def read_name(reply: str, tools: Sequence[Tool]) -> Reading:
    """Classify the reply to a follow-up in chat form, which asks for the tool's name.

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
    """Tell whether a text has no content: no letter or digit, one letter repeated, or a loop.

    A text loops if it ends with repetitions of one piece, over 16 characters or more (60 without a letter). It takes
    three repetitions that fill a third of the text, or eight. A text of 20 words or more also loops if more than
    REPEATED of its runs of RUN words occurred before (without the numbers of list items). Lists, tables, poems with a
    refrain and code repeat less.

    >>> degenerate("ZZZZ"), degenerate("- - -"), degenerate("red, blue, " * 9), degenerate("No, no, no! It is 1111.")
    (True, True, True, False)
    """
    text = text[:LONGEST].strip()
    letters = {char for char in text if char.isalnum() or (category(char) == "So" and char != "\ufffd")}
    if not letters or (len(text) >= 4 and text.isalpha() and len(letters) == 1):
        return True
    back = np.array([ord(char) for char in reversed(text)])
    for period in range(1, len(back) // 3 + 1):
        # Characters at the end of the text that repeat with this period.
        length = period + int(np.append(back[period:] != back[:-period], True).argmax())
        times, piece = length // period, text[-period:]
        if (times >= 3 and length >= (16 if any(map(str.isalpha, piece)) else 60)
                and (3 * length >= len(text) or (times >= 8 and re.search(r"\w", piece)))):
            return True
    words = re.findall(r"\w+", re.sub(r"^\s*\d+[.)]", "", text.lower(), flags=re.M))
    runs = [tuple(words[i : i + RUN]) for i in range(len(words) - RUN + 1)]
    return len(words) >= 20 and 1 - len(set(runs)) / len(runs) > REPEATED


# What the reader of a form returns: the tool's name and whether the call is complete, or None without a call.
_Found = tuple[str, bool] | None


def _react(text: str, offered: Sequence[str]) -> _Found:
    label = _ACTION.search(text)
    if label is None:
        return None
    name, input_ = label["name"].strip().strip("*`").strip(), _INPUT.search(text, label.end())
    if input_ is None and label["label"].islower():
        return None  # "action:" may be a key of YAML
    if bracket := _BRACKET.match(name):
        return bracket["name"], name.endswith("]")
    return name, input_ is not None and isinstance(_first(text[input_.end() :]), dict)


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
    """Find function calls in code, alone or in a list.

    A call of a tool that is not offered only counts if it is unlikely to be an answer: no builtin of Python, no program
    of several lines, and with an underscore in its name or a named or quoted argument, unlike sin(x).
    """
    code = re.sub(r"^```\w*\n?|\n?```$", "", text).strip()
    begun = _CODE.match(code)
    if begun is None:
        return None
    name, known = begun["name"], begun["name"] in offered
    if not known and (hasattr(builtins, name) or not ("_" in name or begun["argument"])):
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # Python warns of invalid escapes
            nodes = [getattr(line, "value", line) for line in ast.parse(code).body]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        cut_short = begun["argument"] and not code.endswith((".", "!", "?"))
        return (name, False) if known or cut_short else None
    if len(nodes) > 1 and not known:
        return None
    if isinstance(nodes[0], (ast.List, ast.Tuple)):
        nodes = nodes[0].elts
    return (name, True) if all(isinstance(node, ast.Call) for node in nodes) else None


def _in_words(text: str, offered: Sequence[str], query: str) -> str | None:
    """Return the tool that a sentence announces: an offered one, or a name like a tool's.

    A sentence that denies the use, or leaves it to the user, does not count. Empty for an announcement without a name,
    None for no call.
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
    """Yield the (name, complete) calls in a JSON value: OpenAI's, a plain one, or several in a list or tool_calls."""
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
        arguments = _first(inputs[0]) if isinstance(inputs[0], str) else inputs[0]
        yield names[0], isinstance(arguments, dict)


def _named(value: Mapping[str, Any]) -> list[str]:
    return [value[key] for key in _NAMES if isinstance(value.get(key), str)]


def _values(text: str) -> Iterator[Any]:
    """Yield the outermost JSON objects and lists in a text."""
    at = 0
    for _ in range(40):  # a text of brackets alone would take too long
        begin = re.compile(r"[\[{]").search(text, at)
        if begin is None:
            return
        try:
            value, at = json.JSONDecoder(strict=False).raw_decode(text, begin.start())
            yield value
        except (ValueError, RecursionError):
            at = begin.end()


def _first(text: str) -> Any:
    """Parse the JSON value at the start of a text, after spaces and a code fence; None if there is none."""
    try:
        return json.JSONDecoder(strict=False).raw_decode(re.sub(r"^\s*(?:```\w*)?\s*", "", text))[0]
    except (ValueError, RecursionError):
        return None
