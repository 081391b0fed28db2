"""What stands inside the marks of a tool call: arguments alone, or whole calls, as JSON, XML, Python's or Gemma's."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from flanlib.dialects import literals

NAMES = ("name", "tool", "tool_name", "function", "function_name", "action", "api", "api_name")
INPUTS = ("arguments", "parameters", "action_input", "tool_input", "args", "input", "inputs", "params")
SURE_INPUTS = INPUTS[:4]
"""Keys of a tool's name and of its arguments in JSON; the first four are hardly ever keys of anything else."""
BESIDE = frozenset((*NAMES, *INPUTS, "id", "type", "index", "role", "content", "thought", "thoughts", "reasoning",
                    "tool_calls", "tool_call", "tool_call_id", "call_id", "function_call", "refusal"))  # fmt: skip
"""All keys of a call of a tool that is not offered: with any other, an object is data, such as a package.json."""

_LIKE_NAME = re.compile(r"(?:[\w/][\w./:-]*(?: [\w./:-]+){0,7})?")
BEGUN = re.compile(rf'"(?:{"|".join(NAMES)})"\s*:\s*(?:\{{[^{{}}]*"name"\s*:\s*)?"(?P<name>[^"\n]*)"?')
_QUOTED = re.compile(r"'(\{.*\})'", re.S)  # as glaive writes arguments: '{"a": 1}'
_FENCE = re.compile(r"\s*(?:```\w*\s*)?")
_SPACE = re.compile(r"\s*")
_RESIDUE = re.compile(r"(?P<brackets>[\s}\]]*)(?:```\s*)?")
_BETWEEN = re.compile(r"[\s;,]*")
_PARAMETER = re.compile(r"\s*<(?P<tag>(?:[\w-]+:|[｜|]DSML[｜|])?param(?:eter)?)"
                        r"(?:=(?P<key>[^<>\n]+)"
                        r"|\s+name=[\"'](?P<named>[^\"'<>\n]+)[\"'](?P<more>[^<>\n]*))>")  # fmt: skip
_PAIR = re.compile(r"\s*<arg_key>(?P<key>[^<]*)</arg_key>\s*<arg_value>")
_PARAMETERS = re.compile(r"\s*<parameters>(?P<all>.*?)</parameters>", re.S)
_ELEMENT = re.compile(r"\s*<(?P<key>[\w.-]+)>(?P<value>.*?)</(?P=key)>", re.S)
_GEMMA_QUOTE = re.compile(r'<\|"\|>|<escape>')
_BARE_KEY = re.compile(r"([{,]\s*)([\w.-]+)\s*:")


class WrittenCall(NamedTuple):
    """A call as it was written; ``arguments`` is None if they cannot be read."""

    name: str
    arguments: dict[str, Any] | None


def arguments(text: str, mark: re.Match, end: re.Pattern) -> tuple[dict[str, Any] | None, int]:
    """Read the arguments after a mark that names the tool; return them (None: unreadable) and where the call ends.

    JSON ends with its bracket; XML has to be closed by the end mark.
    """
    begin = _FENCE.match(text, mark.end()).end()
    if text.startswith("{", begin):
        try:
            value, stop = literals.first_json(text, begin)
            return value, _closed(text, stop, end)
        except ValueError:
            stop, after = _stop(text, begin, end)
            return _gemma(text[begin:stop]) if "call:" in mark[0] else None, after
    values, at = _xml(text, mark.end(), end)
    if closed := end.match(text, _SPACE.match(text, at).end()):
        return values, closed.end()
    return None, _stop(text, mark.end(), end)[1]


def listed(text: str, at: int, end: re.Pattern) -> tuple[list[WrittenCall], int]:
    """Read the calls after a mark; return them and where they end. Unreadable ones are one call without arguments."""
    values, stop = json_run(text, _FENCE.match(text, at).end())
    calls = [call for value in values for call in json_calls(value)]
    if calls:
        return calls, _closed(text, stop, end)
    stop, after = _stop(text, at, end)
    found, stopped = literals.calls(text, at)
    if found and (stop == len(text) or not text[stopped:stop].strip()):
        return python_calls(found), stopped if stop == len(text) else after
    body = text[at:stop].strip()
    try:
        calls = list(json_calls(literals.value(body)))  # as Python writes a dict
    except ValueError:
        calls = []
    return calls or [_begun(body)], after


def json_calls(value: Any, names: Collection[str] | None = None, depth: int = 0) -> Iterator[WrittenCall]:
    """Yield the calls in a JSON value: OpenAI's, a plain one, or several in a list or in ``tool_calls``.

    Without ``names``, each object with a name and arguments is a call. Of a tool that is not in ``names``, only if it
    has no keys that a call lacks, and its arguments are no JSON schema.

    >>> list(json_calls({"name": "my-app", "version": "1.0.0", "args": {}}, names=[]))
    []
    """
    if isinstance(value, list) and depth < 3:
        for item in value:
            yield from json_calls(item, names, depth + 1)
    if not isinstance(value, dict) or depth > 3:
        return
    for key in ("tool_calls", "function_call", "tool_call", "function"):
        if isinstance(value.get(key), (dict, list)):
            yield from json_calls(value[key], names, depth + 1)
    name = next((value[key] for key in NAMES if isinstance(value.get(key), str)), None)
    key = next((key for key in INPUTS if key in value), None)
    if name is None or key is None:
        return
    inputs = value[key]
    if isinstance(inputs, str):
        try:
            inputs = literals.first_json(inputs, _FENCE.match(inputs).end())[0]
        except ValueError:
            inputs = None
    inputs = inputs if isinstance(inputs, dict) else None
    if names is not None and inputs and inputs.get("type") == "object" and isinstance(inputs.get("properties"), dict):
        inputs, key = None, ""  # the definition of a tool
    data = value.keys() - BESIDE or not _LIKE_NAME.fullmatch(name) or (inputs is None and key not in SURE_INPUTS)
    if names is None or name in names or not data:
        yield WrittenCall(name, inputs)


def json_run(text: str, at: int = 0) -> tuple[list[Any], int]:
    """Read the JSON objects and lists that follow each other from a place; return them and where they end."""
    values = []
    while text.startswith(("{", "["), begin := _BETWEEN.match(text, at).end()):
        try:
            value, at = literals.first_json(text, begin)
        except ValueError:
            break
        values.append(value)
    return values, at


def python_calls(found: list[literals.PythonCall]) -> list[WrittenCall]:
    """Take calls written like Python's as tool calls; what is printed counts, and print itself does not.

    Arguments without a name are unreadable: nothing says which they are.
    """
    calls = []
    for call in found:
        if call.name == "print":
            calls += python_calls([one for text in call.positional for one in literals.calls(text)[0]])
        else:
            name = call.name.removesuffix(".call")  # as Llama 3 calls its builtin tools
            calls.append(WrittenCall(name, None if call.positional else call.arguments))
    return calls


def _begun(body: str) -> WrittenCall:
    begun = BEGUN.search(body)
    quoted = begun and _QUOTED.search(body)
    try:
        value = literals.value(quoted[1]) if quoted else None
    except ValueError:
        value = None
    return WrittenCall(begun["name"] if begun else "", value if isinstance(value, dict) else None)


def _closed(text: str, at: int, end: re.Pattern) -> int:
    """Return the place after a code fence, brackets too many, and the end mark, where there are any."""
    after = _RESIDUE.match(text, at)
    closed = end.match(text, after.end()) or end.match(text, after.end("brackets"))
    return closed.end() if closed else at


def _stop(text: str, at: int, end: re.Pattern) -> tuple[int, int]:
    """Return where the next end mark begins and ends: at the end of the text if there is none."""
    found = end.search(text, at)
    return found.span() if found else (len(text), len(text))


def _xml(text: str, at: int, end: re.Pattern) -> tuple[dict[str, Any], int]:
    """Read ``<parameter=k>v</parameter>``, ``<parameter name="k">``, ``<arg_key>`` pairs, or ``<parameters>``."""
    values: dict[str, Any] = {}
    while True:
        if one := _PARAMETER.match(text, at):
            key, closing = one["key"] or one["named"], f"</{one['tag']}>"
            as_text = 'string="true"' in (one["more"] or "")
        elif one := _PAIR.match(text, at):
            key, closing, as_text = one["key"].strip(), "</arg_value>", False
        elif one := _PARAMETERS.match(text, at):
            return values | _inside(one["all"]), one.end()
        else:
            return values, at
        stop = _value_end(text, one.end(), closing, end)
        if stop < 0:
            return values, at
        values[key] = _typed(text[one.end() : stop], as_text)
        at = stop + len(closing)


def _value_end(text: str, at: int, closing: str, end: re.Pattern) -> int:
    """Return where a value, maybe of XML, ends: at a closing tag before another value or the end mark; -1 without."""
    stop = text.find(closing, at)
    while stop >= 0:
        after = _SPACE.match(text, stop + len(closing)).end()
        if any(one.match(text, after) for one in (_PARAMETER, _PAIR, end)):
            break
        stop = text.find(closing, after)
    return stop


def _inside(text: str) -> dict[str, Any]:
    try:
        value = literals.value(text)
        return value if isinstance(value, dict) else {}
    except ValueError:
        return {one["key"]: _typed(one["value"]) for one in _ELEMENT.finditer(text)}


def _typed(text: str, as_text: bool = False) -> Any:
    """Read a value without quotes: as JSON if it is a number, a list or such, otherwise as text."""
    if text.startswith("\n") and text.endswith("\n") and len(text) > 1:  # Qwen3-Coder puts values on own lines
        text = text[1:-1]
    if as_text or text.lstrip()[:1] in ("", '"', "'"):
        return text
    try:
        value = literals.first_json(text.strip())
        return text if text.strip()[value[1] :] else value[0]
    except ValueError:
        return {"True": True, "False": False}.get(text, text)


def _gemma(text: str) -> dict[str, Any] | None:
    """Read Gemma's arguments, whose keys have no quotes and whose texts have a quote of their own."""
    parts = _GEMMA_QUOTE.split(text)
    written = (json.dumps(part) if i % 2 else _BARE_KEY.sub(r'\1"\2":', part) for i, part in enumerate(parts))
    try:
        value, _ = literals.first_json("".join(written))
        return value if isinstance(value, Mapping) else None
    except ValueError:
        return None
