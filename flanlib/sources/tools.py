"""Tool lists as data sets write them: in a field of their own, or inside a system text.

Read are the definitions of OpenAI (chat, Responses), Anthropic, MCP, Gemini and T-Eval, plain functions, and maps from
names to any of them. Members that are null say nothing: Arrow, which gives all objects of a column the same members,
adds them.
"""

import ast
import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from flanlib.records import Tool, first_json, from_json
from flanlib.sources.common import Drop, Note, drop_if, has_nulls, without_nulls
from flanlib.sources.schemas import parameters_of, type_of

_WRAPPERS = ("function", "custom")
_GROUPS = ("functionDeclarations", "function_declarations", "tools", "functions")
_PARAMETERS = ("parameters", "input_schema", "inputSchema", "parametersJsonSchema", "parameters_json_schema",
               "arguments", "args")  # fmt: skip
LONGEST_LITERAL = 400_000  # characters of a list that is written as Python
_MOST_TRIES, _DEEPEST = 200, 50  # places of a text at which no value starts after all; brackets inside each other
_JSON = json.JSONDecoder(strict=False, parse_constant=int)  # int refuses NaN and Infinity
_START = re.compile(r"\[\s*[\[{]|\{\s*[\"']")
_PYTHON = re.compile(r"[\[{\s]+'")
_TOKEN = re.compile(r"'(?:[^'\\]|\\.)*+(?:'|\Z)|\"(?:[^\"\\]|\\.)*+(?:\"|\Z)|[\[\](){}]", re.S)
_OPEN = re.compile(r"(?:<\|im_system\|>tool_declare<\|im_middle\|>|<(?:tools?|functions?|apis?)>|\[AVAILABLE_TOOLS\]|"
                   r"```(?:json|python)?)\s*\Z", re.I)  # fmt: skip
_CLOSE = re.compile(r"\s*(?:<\|im_end\|>|</(?:tools?|functions?|apis?)>|\[/AVAILABLE_TOOLS\]|```)", re.I)
_TOOLS = re.compile(r"\b(?:functions?|tools?|apis?|signatures?)\b", re.I)
_EXAMPLE = re.compile(r"<tool_call>\s*\{[^{}]{0,200}\}\s*</tool_call>")
# Sentences that introduce a list or prescribe the form of a call: ToolACE, BFCL, Hermes, Qwen, Llama 3, Glaive.
_ABOUT = re.compile(r"access to the following (?:functions?|tools?|apis?)|signatures within <tools>"
                    r"|use them if required|call one or more functions|pydantic model json schema"
                    r"|return a json object with|decide to (?:return|invoke)\b.{0,80}\bfunction|\[func\w*\("
                    r"|no other text must|not include any other text|call in tools call sections"
                    r"|respond in the format \{|^#+ *(?:available )?(?:tools|functions) *$", re.I)  # fmt: skip


def tools_of(value: Any, note: Note, *, leave_out: Collection[str] = ()) -> tuple[Tool, ...]:
    """Read a tool list: a list, its JSON text, a list of JSON texts, one tool, or a map from names to tools.

    Keeps the first tool of each name. Raises Drop for a list that cannot be read.

    >>> (one,) = tools_of('[{"name": "tide", "input_schema": {"properties": {"day": {"type": "string"}}}}]', print)
    >>> one.name, one.properties["day"]["type"]
    ('tide', 'string')
    """
    bare = parsed = _parsed(value, note)
    if has_nulls(parsed):
        note("null members of a tool list left out")
        bare = without_nulls(parsed)
    tools: dict[str, Tool] = {}
    for item in _flat(bare, note):
        spec = _unwrapped(item)
        name = spec.get("name")
        drop_if(not isinstance(name, str) or not name.strip(), "a tool without a name")
        name, description = name.strip(), spec.get("description")
        if name in tools:
            note("a tool listed twice, the first kept")
        elif name not in leave_out:
            description = description if isinstance(description, str) else ""
            tools[name] = Tool(name, description, parameters_of(_json_parameters(spec)))
    return tuple(tools.values())


def tool(name: str, description: str, **parameters: str) -> Tool:
    """Declare a tool whose parameters are all strings and all required.

    >>> tool("search", "Search the web.", query="What to look for").required
    ('query',)
    """
    properties = {key: {"type": "string", "description": text} for key, text in parameters.items()}
    return Tool(name, description, {"type": "object", "properties": properties, "required": list(parameters)})


def listed(text: str, note: Note) -> tuple[tuple[Tool, ...], str]:
    """Read the tool lists inside a system text. Returns the tools, and the text without the lists.

    A list is one or more JSON values (or Python literals) in which every tool has a name and a schema of parameters; a
    description is enough beside such a tool, and after words or a tag that announce a list. Sentences that introduce
    the list or prescribe the form of a call are left out too. A text without a list comes back unchanged.

    >>> text = 'Be brief. Your tools:\\n[{"name": "tide", "parameters": {"properties": {"day": {"type": "string"}}}}]'
    >>> tools, rest = listed(text, print)
    tool list read from the system text
    >>> [one.name for one in tools], rest
    (['tide'], 'Be brief.')
    """
    found: list[dict[str, Any]] = []
    kept, end = [], 0
    for start, stop, value in _values(text):
        tag = _OPEN.search(text, max(end, start - 60), start)
        before = text[end:tag.start() if tag else start]
        follows = bool(found) and not before.strip(" \t\r\n,")
        last = next((sentence for sentence, _ in reversed(_sentences(before)) if sentence.strip()), "")
        introduced = last.rstrip().endswith((":", "-")) and bool(_TOOLS.search(last))
        items = _tools_in(value, offered=bool(tag or follows or introduced or _ABOUT.search(last)))
        if items:
            found += items
            kept.append("" if follows else before.rstrip().removesuffix(last) if introduced else before)
            closing = _CLOSE.match(text, stop)
            end = closing.end() if closing else stop
    if not found:
        return (), text
    note("tool list read from the system text")
    rest = "\n".join([*kept, text[end:]]).strip()
    cut = _tidy(_without_instructions(rest))
    if cut != _tidy(rest):
        note("sentences on how to call left out of the system text")
    return tools_of(found, note), cut


def _parsed(value: Any, note: Note) -> Any:
    """Parse a tool list that is text: one JSON value or several, or a Python literal."""
    if not isinstance(value, str):
        return value
    values, rest = [], value.strip()
    try:
        while rest:
            one, rest = first_json(rest, strict=False)
            values, rest = [*values, one], rest.lstrip(" \t\r\n,")
    except ValueError:
        if values or (literal := _literal(value.strip())) is None:
            raise Drop("tool list is not JSON") from None
        note("tool list written as Python")
        return literal
    return values[0] if len(values) == 1 else values


def _flat(value: Any, note: Note) -> Iterator[Any]:
    """Yield the definitions in a parsed list, in groups, or in a map from names, without their groups and names."""
    if value is None:
        return
    if isinstance(value, dict) and not isinstance(_unwrapped(value).get("name"), str):
        groups = [value[key] for key in _GROUPS if isinstance(value.get(key), list)]
        named = all(isinstance(part, dict) for part in value.values()) and "parameters" not in value
        drop_if(not groups and not named, "tool list is not a list")
        value = ([one for group in groups for one in group] if groups
                 else [{"name": name} | _unwrapped(part) for name, part in value.items()])  # fmt: skip
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, list) and [type(part) for part in item] == [str, dict]:  # T-Eval: a name and its definition
            item = item[1]
        item = _parsed(item, note)
        if isinstance(item, list) or _is_group(item):
            yield from _flat(item, note)
        else:
            drop_if(not isinstance(item, dict) and item is value, "tool list is not a list")
            yield item


def _is_group(item: Any) -> bool:
    """Tell whether an object only holds tools. One with a name is a tool, whatever else it has."""
    return isinstance(item, dict) and not isinstance(_unwrapped(item).get("name"), str) and any(
        isinstance(item.get(key), list) for key in _GROUPS)  # fmt: skip


def _unwrapped(item: Any) -> dict[str, Any]:
    """Return a definition without its wrapper, or an empty one for what is none."""
    item = item if isinstance(item, dict) else {}
    return next((item[key] for key in _WRAPPERS if isinstance(item.get(key), dict)), item)


def _json_parameters(spec: Mapping[str, Any]) -> Any:
    """Return a definition's parameters. Raises Drop if they are text that is not JSON."""
    value = next((spec[key] for key in _PARAMETERS if spec.get(key) is not None), _teval_parameters(spec))
    if not isinstance(value, str) or not value.strip():
        return value
    try:
        return without_nulls(from_json(value, strict=False))
    except ValueError:
        raise Drop("a tool's parameters are not JSON") from None


def _teval_parameters(spec: Mapping[str, Any]) -> list[Any]:
    """Return the parameters of T-Eval and RapidAPI, which stand in a list of required ones and one of the others."""
    listed = [(spec.get(f"{need}_parameters"), need == "required") for need in ("required", "optional")]
    return [part | {"required": needed} for parts, needed in listed if isinstance(parts, list)
            for part in parts if isinstance(part, dict)]  # fmt: skip


def _values(text: str) -> Iterator[tuple[int, int, Any]]:
    """Yield the JSON objects, lists of objects and such Python literals of a text, with their start and end."""
    position, tries = 0, 0
    while tries < _MOST_TRIES and (match := _START.search(text, position)):
        start = match.start()
        try:
            value, position = _JSON.raw_decode(text, start)
        except (ValueError, RecursionError):
            value, position = None, _closing(text, start) if _PYTHON.match(text, start) else start
            value = _literal(text[start:position])
        if value is None:
            position, tries = start + 1, tries + 1
        else:
            yield start, position, value


def _closing(text: str, start: int) -> int:
    """Return the end of a bracketed Python literal, or ``start`` if its brackets or quotes do not close."""
    depth = 0
    for token in _TOKEN.finditer(text, start, start + LONGEST_LITERAL):
        if token[0] in "[({":
            depth += 1
            if depth > _DEEPEST:
                break
        elif token[0] in "])}":
            depth -= 1
            if not depth:
                return token.end()
    return start


def _literal(text: str) -> Any:
    """Read a Python literal as a JSON value, or return None for anything else."""
    if not text.startswith(("[", "{")) or len(text) > LONGEST_LITERAL:
        return None
    try:
        return json.loads(json.dumps(ast.literal_eval(text), allow_nan=False))
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def _tools_in(value: Any, *, offered: bool) -> list[dict[str, Any]]:
    """Return the definitions of a value of a text if it is a list of tools and nothing else."""
    if isinstance(value, dict) and set(_GROUPS) & set(value) and not set(_GROUPS) >= set(value):
        return []  # a configuration that has tools among other things
    try:
        specs = [_unwrapped(item) for item in _flat(value, lambda _: None)]
    except Drop:
        return []
    named = all(isinstance(spec.get("name"), str) and spec["name"].strip() for spec in specs)
    with_schema = [spec for spec in specs if _has_schema(spec)]
    described = all(isinstance(spec.get("description"), str) or spec in with_schema for spec in specs)
    return specs if named and described and (offered or with_schema) else []


def _has_schema(spec: Mapping[str, Any]) -> bool:
    """Tell whether a definition has parameters with schemas, and not the values of a call or a configuration."""
    key = next((key for key in _PARAMETERS if isinstance(spec.get(key), dict)), "")
    if not key and isinstance(spec.get("required_parameters"), list):
        return True
    parameters = spec.get(key) or {}
    if key in ("arguments", "args") and not isinstance(spec.get("description"), str):
        return False
    if isinstance(parameters.get("properties"), dict) or parameters.get("type") in ("object", "dict"):
        return True
    return bool(parameters) and all(
        {"type", "description"} & part.keys() if isinstance(part, dict) else isinstance(part, str) and type_of(part)[0]
        for part in parameters.values())  # fmt: skip


def _sentences(text: str) -> list[tuple[str, str]]:
    """Split a text into sentences, each with the space after it."""
    pieces = re.split(r"((?<=[.!?:])[ \t]+|\n)", text)
    return list(zip(pieces[::2], [*pieces[1::2], ""], strict=True))


def _without_instructions(text: str) -> str:
    """Leave out the sentences that are about the list or the form of a call, with their examples."""
    for start, stop, value in reversed(list(_values(text))):
        if isinstance(value, dict) and value.get("title") == "FunctionCall":  # Hermes' schema of a call
            text = text[:start] + text[stop:]
    kept = (sentence + space for sentence, space in _sentences(_EXAMPLE.sub("", text)) if not _ABOUT.search(sentence))
    return "".join(kept)


def _tidy(text: str) -> str:
    lines = "\n".join(line.rstrip() for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", lines).strip()
