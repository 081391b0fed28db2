"""Classify a reply by its structure: plain text, a call of an offered or an invented tool, a broken call, or no reply.

Every way to write a call is tried on every reply, whatever the model was tuned on: ReAct's labels, the marks of today's
models (:mod:`flanlib.dialects.written`), JSON, a function call in code, and a sentence that says which tool will be
used. Thinking is taken off first. A reply that loops or is empty is neither an answer nor a call (:func:`degenerate`).
No text is executed; all but marks and JSON is read in the first LONGEST characters only.
"""

import ast
import builtins
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import category

import numpy as np

from flanlib.benchmarks.steps import is_name
from flanlib.dialects import bodies, literals, written
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
ENDS = {"finish", "final answer", "none", "no action", "n/a", "directly_answer", "directly-answer"}
"""Names, in lower case, that agents call in order to call no tool."""

_ACTION = re.compile(r"^[ \t>*#-]*(?P<label>Action)(?: Name)?[ \t*]*:[ \t*]*(?P<name>[^\n]*)", re.M | re.I)
_INPUT = re.compile(r"^[ \t>*#-]*Action Input[ \t*]*:[ \t*]*", re.M | re.I)
_LABELS = re.compile(r"^[ \t>*#-]*(?:Thought|Final Answer|Observation)[ \t*]*:", re.M)
_BRACKET = re.compile(r"^(?P<name>[\w.-]+)\[(?P<input>.*)\]?\s*$", re.S)  # search[the tower], as in FireAct
_KEY = re.compile(rf'"(?:{"|".join(bodies.SURE_INPUTS)})"\s*:|"(?:{"|".join(bodies.INPUTS)})"\s*:\s*\{{')
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
_DEFINES = re.compile(r"\s*(?:async )?(?:def|class) \w")
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
    spoken, offered = written.thinking(reply)[1].strip(), [tool.name for tool in tools]
    text = spoken[:LONGEST].strip()
    for form, find in _FORMS.items():
        if (call := find(spoken if form in ("tag", "json") else text, offered)) is not None:
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
    keys = value.keys() if isinstance(value, dict) else set()
    own_json = "thought" in keys or {"name", "arguments"} <= keys <= bodies.BESIDE
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
    name = written.thinking(reply)[1].strip()
    if name in {tool.name for tool in tools}:
        return Reading(OFFERED, name, "chat")
    if degenerate(name):
        return Reading(DEGENERATE)
    if name.lower() in ENDS:
        return Reading(PLAIN)
    if is_name(name):
        return Reading(INVENTED, name, "chat")
    return Reading(PLAIN) if _NOT.search(name) else Reading(MALFORMED, form="chat")


def calls(reply: str, tools: Sequence[Tool]) -> tuple[bodies.WrittenCall, ...]:
    """Return the calls of a reply with their arguments (None if they cannot be read). A call in words has none.

    >>> calls('Action: get_fare\\nAction Input: {"town": "Ulm"}', [Tool("get_fare")])
    (WrittenCall(name='get_fare', arguments={'town': 'Ulm'}),)
    """
    spoken = written.thinking(reply)[1]
    text = spoken[:LONGEST]
    if (label := _ACTION.search(text)) and (input_ := _INPUT.search(text, label.end())):
        value = _first(text[input_.end() :])
        return (bodies.WrittenCall(label["name"].strip(" \t*`"), value if isinstance(value, dict) else None),)
    found = written.find(spoken, [tool.name for tool in tools])
    return found.calls if found else ()


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
    if input_ is None and (label["label"].islower() or name.startswith("```")):
        return None  # "action:" may be a key of YAML; JSON in a fence is Cohere's
    if bracket := _BRACKET.match(name):
        return bracket["name"], name.endswith("]")
    like_tool = name in offered or name.lower() in ENDS or _SNAKE.fullmatch(name)
    if input_ is None and not (like_tool or _LABELS.search(text)):
        return None  # "Action: pour the milk" is a step of a recipe
    return name, input_ is not None and isinstance(_first(text[input_.end() :]), dict)


def _tag(text: str, offered: Sequence[str]) -> _Found:
    found = written.marked(text)
    return _first_of(found.calls) if found else None


def _json(text: str, offered: Sequence[str]) -> _Found:
    unread, at = "", 0
    for value, begin, end in written.json_values(text):
        if found := list(bodies.json_calls(value, offered)):
            return _first_of(found)
        if isinstance(value, dict) and (bare := next((v for v in map(value.get, bodies.NAMES) if v in offered), None)):
            return bare, False
        unread, at = unread + text[at:begin] + ("{}" if isinstance(value, dict) else "[]"), end
    begun, invented = bodies.BEGUN.search(text), bodies.BEGUN.search(unread + text[at:])
    if begun and begun["name"] in offered:
        return begun["name"], False
    return (invented["name"], False) if invented and _KEY.search(invented.string, invented.end()) else None


def _code(text: str, offered: Sequence[str]) -> _Found:
    """Find function calls in code, alone or in a list.

    A call of a tool that is not offered only counts if it is unlikely to be an answer: no builtin of Python, no program
    of several lines, and with an underscore in its name or a named or quoted argument, unlike sin(x).
    """
    code = re.sub(r"^```\w*\n?|\n?```$", "", text).strip()
    listed, end = literals.calls(code) if code.startswith("[") else ([], 0)
    if listed and end == len(code) and (listed[0].name in offered or written.sure(listed[0])):
        return listed[0].name, listed[0].arguments is not None
    if found := written.named(code, offered):
        return _first_of(found.calls)
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

    A sentence that denies the use, or leaves it to the user, does not count, nor does code that defines a function of
    that name. Empty for an announcement without a name,
    None for no call.
    """

    def invented(name: str) -> bool:
        return _SNAKE.fullmatch(name) is not None and name not in query

    alone = text.strip("`'\". ")
    if alone in offered:  # the whole reply is a name, as chat form asks for it
        return alone
    for sentence in re.split(r"(?<=[.!?])\s+|\n", text):
        if _DEFINES.match(sentence) or (_NOT.search(sentence) and not _WILL.search(sentence)):
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


def _first_of(calls: Sequence[bodies.WrittenCall]) -> _Found:
    return calls[0].name, calls[0].arguments is not None


def _first(text: str) -> Any:
    """Parse the JSON value at the start of a text, after spaces and a code fence; None if there is none."""
    try:
        return literals.first_json(re.sub(r"^\s*(?:```\w*)?\s*", "", text))[0]
    except ValueError:
        return None
