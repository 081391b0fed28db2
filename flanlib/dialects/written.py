"""Tool calls in the text of today's models: :func:`find` reads them in any syntax, :func:`thinking` takes thoughts off.

A call counts if it is *marked* (tags, special tokens, a channel: :mod:`.marks`), or if the whole text is one or more
calls: JSON objects, or a list of JSON's or Python's. Less certain syntaxes count for offered tools only. Text is
parsed, never run, and searched up to LONGEST characters. What stands inside marks is read by :mod:`.bodies`.
"""

import re
from collections.abc import Collection, Iterator
from itertools import chain
from typing import Any, NamedTuple

from flanlib.dialects import literals
from flanlib.dialects.bodies import WrittenCall, arguments, json_calls, json_run, listed, python_calls
from flanlib.dialects.marks import ALONE, HINTS, MARKS, SERVICE, THOUGHTS

LONGEST = 200_000
MOST = 40
"""Places in a text where JSON or a list is looked for: a text of brackets alone would take too long."""

_BEGINS = [(re.compile(mark.begin, re.M | re.I), re.compile(mark.end, re.I)) for mark in MARKS]
_ANY = re.compile("(?=[<[`>actf])(?:" + "|".join(mark.begin.replace("(?P<name>", "(?:") for mark in MARKS) + ")",
                  re.M | re.I)  # fmt: skip
_END = re.compile("|".join(dict.fromkeys(mark.end for mark in MARKS if mark.end != "```")), re.I)
_THOUGHT = re.compile("|".join(map(re.escape, THOUGHTS)), re.I)
# gpt-oss without its special tokens
_CHANNELS = re.compile(r"\Aanalysis(?P<thought>.*?)assistant(?:final|(?=commentary))(?P<rest>.*)", re.S)
_FENCED = re.compile(r"\A```\w*\n(?P<inside>.*?)\n?```\Z", re.S)
_NAME_LINE = re.compile(r"(?P<name>[\w.-]+)\n(?=\s*\{)")
_LIST = re.compile(r"^[^\S\n]*(?=\[)", re.M)


class Written(NamedTuple):
    """The calls of a text, what stands before and after them (without marks), and the thinking."""

    before: str
    calls: tuple[WrittenCall, ...]
    after: str
    thought: str


def find(text: str, names: Collection[str] = ()) -> Written | None:
    """Return the calls in a text, or None if it has none. ``names`` are the offered tools.

    Arguments in XML have no types: what reads as a number, true, false, null, a list or an object is one.

    >>> find('Well. <tool_call>{"name": "fly", "arguments": {"to": "Ulm"}}</tool_call>')
    Written(before='Well.', calls=(WrittenCall(name='fly', arguments={'to': 'Ulm'}),), after='', thought='')
    >>> find("<think>Hm.</think>[Tide Table(harbour='Cork')]").calls
    (WrittenCall(name='Tide Table', arguments={'harbour': 'Cork'}),)
    >>> find("wait(hours=2)"), find("wait(hours=2)", ["wait"]).calls
    (None, (WrittenCall(name='wait', arguments={'hours': 2}),))
    """
    thought, rest = thinking(text)
    found = marked(rest) or whole(rest, names) or offered(rest, names)
    return found and found._replace(thought=thought)


def thinking(text: str) -> tuple[str, str]:
    """Part a text into what was thought and the rest, both without marks. Thinking may lack its first or last mark.

    Thinking without an end has to begin the text, and lasts until a call begins.

    >>> thinking("<think>Two and two.</think>Four.")
    ('Two and two.', 'Four.')
    >>> thinking("Two and two.</think>Four."), thinking("Four.")
    (('Two and two.', 'Four.'), ('', 'Four.'))
    """
    if not ("<" in text or "[" in text or ">>>all" in text or text.startswith("analysis")):
        return "", text
    thoughts, said, at = [], [], 0
    if channels := _CHANNELS.match(text):
        return channels["thought"].strip(), channels["rest"].strip()
    for end in THOUGHTS.values():
        head, mark, tail = text.partition(end)
        if mark and end in ALONE and not _THOUGHT.search(head):
            thoughts, text = [head], tail
            break
    while begun := _THOUGHT.search(text, at):
        end = next(end for begin, end in THOUGHTS.items() if begin.lower() == begun[0].lower())
        stop = text.find(end, begun.end())
        said.append(text[at : begun.start()])
        if stop < 0 and SERVICE.sub("", "".join(said)).strip():
            at = begun.start()  # a mark in a sentence, about thinking
            break
        at = stop + len(end)
        if stop < 0:
            call = _ANY.search(text, begun.end(), LONGEST)
            stop = at = call.start() if call else len(text)
        thoughts.append(text[begun.end() : stop])
    rest = "".join([*said, text[at:]])
    spoken = SERVICE.sub("", rest)
    thought = "\n".join(part.strip() for part in thoughts if part.strip())
    return thought, spoken.strip() if thoughts or spoken != rest else text


def marked(text: str) -> Written | None:
    """Return the calls between marks in a text without thinking, or None if it has no mark of a call.

    >>> marked("[TOOL_CALLS]fly[ARGS]{}").calls, marked("<tool_call>Hm.").calls
    ((WrittenCall(name='fly', arguments={}),), (WrittenCall(name='', arguments=None),))
    """
    lower = text.lower()
    if not any(hint in lower for hint in HINTS):
        return None
    calls, around, at = [], [], 0
    while begun := _ANY.search(text, at, LONGEST):
        around.append(text[at : begun.start()])
        mark, end = next((found, end) for begin, end in _BEGINS if (found := begin.match(text, begun.start(), LONGEST)))
        if "name" in mark.groupdict():
            value, at = arguments(text, mark, end)
            calls.append(WrittenCall(mark["name"].strip(), value))
            continue
        at = re.compile(r"\s*").match(text, mark.end()).end()
        if not _ANY.match(text, at, LONGEST):  # a mark around others has no calls of its own
            found, at = listed(text, mark.end(), end)
            calls += found
    return _written([*around, text[at:]], calls) if calls else None


def whole(text: str, names: Collection[str] = ()) -> Written | None:
    """Return the calls of a text that is nothing else: JSON objects, or a list of JSON's or Python's calls.

    Of a tool that is not in ``names``, an object counts if it has no keys that a call lacks, and a list of Python's if
    it looks like no arithmetic or Markdown.
    """
    fenced = _FENCED.match(text.strip())
    body = fenced["inside"].strip() if fenced else text.strip()
    if body.startswith(("{", "[")):
        values, end = json_run(body)
        found = [list(json_calls(value, names)) for value in values]
        if found and all(found) and end == len(body):
            return _written(["", ""], list(chain(*found)))
    if body.startswith("["):
        calls, end = literals.calls(body)
        if calls and end == len(body) and all(call.name in names or sure(call) for call in calls):
            return _written(["", ""], python_calls(calls))
    return None


def sure(call: literals.PythonCall) -> bool:
    """Tell whether Python's syntax alone makes a call of a tool: named arguments, or a name like a tool's."""
    return not call.positional and (bool(call.arguments) or call.arguments is None or "_" in call.name)


def json_values(text: str) -> Iterator[tuple[Any, int, int]]:
    """Yield the outermost JSON objects and lists in a text, with where they begin and end."""
    at = 0
    for _ in range(MOST):
        begin = re.compile(r"[\[{]").search(text, at)
        if begin is None:
            return
        try:
            value, at = literals.first_json(text, begin.start())
            yield value, begin.start(), at
        except ValueError:
            at = begin.end()


def offered(text: str, names: Collection[str]) -> Written | None:
    """Return what is a call only because its tool is offered: a name and JSON, bare code, or JSON or a list in a text.

    >>> offered('I look: {"name": "fly", "arguments": {}}', ["fly"]).before
    'I look:'
    """
    if not names:
        return None
    if found := named(text, names):
        return found
    body = text.strip()
    fenced = _FENCED.match(body)
    code = fenced["inside"].strip() if fenced else body
    calls, end = literals.calls(code)
    if calls and end == len(code) and all(call.name in names for call in calls):
        return _written(["", ""], python_calls(calls))
    for value, begin, end in json_values(text):
        found = [call for call in json_calls(value, names) if call.name in names]
        if found:
            return _written([_unfenced(text[:begin], at_end=True), _unfenced(text[end:])], found)
    for line, _ in zip(_LIST.finditer(text), range(MOST), strict=False):
        calls, end = literals.calls(text, line.end())
        if calls and text[end : end + 1] in ("", "\n") and all(call.name in names for call in calls):
            return _written([text[: line.end()], text[end:]], python_calls(calls))
    return None


def named(text: str, names: Collection[str]) -> Written | None:
    """Return the call of a text that begins with a tool's name on a line, and JSON below, as Functionary's do.

    >>> named('fly\\n{"to": "Ulm"}', ["fly"]).calls
    (WrittenCall(name='fly', arguments={'to': 'Ulm'}),)
    """
    line = _NAME_LINE.match(text.strip())
    if not line or line["name"] not in names:
        return None
    try:
        value, end = literals.first_json(line.string, line.end())
    except ValueError:
        value, end = None, len(line.string)
    return _written(["", line.string[end:]], [WrittenCall(line["name"], value)])


def _unfenced(text: str, at_end: bool = False) -> str:
    """Remove the half of a code fence that is left beside a call."""
    return re.sub(r"```\w*\s*\Z" if at_end else r"\A\s*```", "", text)


def _written(around: list[str], calls: list[WrittenCall]) -> Written:
    before, *after = [SERVICE.sub("", _END.sub("", part)).strip() for part in around]
    return Written(before, tuple(calls), "\n".join(filter(None, after)), "")
