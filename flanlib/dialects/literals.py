"""Values and calls written like Python's, read without running them: ``[Tide Table(harbour="Cork", days=3)]``.

``ast`` alone would refuse what models write: tool names with spaces, arguments named ``from`` or ``user-id``, and
JSON's ``true`` beside Python's ``True``. So a call is cut at its commas first, and ``ast`` reads single values.
"""

import ast
import json
import math
import re
import warnings
from typing import Any, NamedTuple

LONGEST = 20_000
"""Characters of a value that ``ast`` may parse, unless it is one quoted text."""

_NAME = re.compile(r"(?:\w+ ?= ?)?(?P<name>[^\W\d]\w*(?:\.\w+)*)\(")  # with the variable that gets the result
# A name of any words. Only one way to match any text, so no exponential backtracking.
_WORDS = re.compile(r"(?P<name>[\w/][\w./:&+#'-]*(?: [\w./:&+#'-]+)*)\(")
_SPACE = re.compile(r"\s*")
_BETWEEN = re.compile(r"(?:[\s,;]|#[^\n]*)*")
# A quoted text (one without an end takes the rest, so that no text is scanned twice), or a bracket, or a comma.
_TOKEN = re.compile(r"""\"{3}(?:[^"\\]|\\.|"(?!""))*(?:\"{3}|\Z)|'{3}(?:[^'\\]|\\.|'(?!''))*(?:'{3}|\Z)"""
                    r"""|"(?:[^"\\]|\\.)*(?:"|\Z)|'(?:[^'\\]|\\.)*(?:'|\Z)|[()\[\]{},]""", re.S)  # fmt: skip
_ARGUMENT = re.compile(r"\s*(?P<name>[^\W\d][\w.-]*)\s*=(?!=)")
_WORD_VALUES = {"true": True, "false": False, "null": None}


def _finite(text: str) -> float:
    return float(text) if math.isfinite(float(text)) else _refuse(text)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# Strings may hold raw line breaks, as models write them.
_JSON = json.JSONDecoder(strict=False, parse_constant=_refuse, parse_float=_finite)


class PythonCall(NamedTuple):
    """A call: its name, the texts of arguments without a name, and the others (None if a value is no literal)."""

    name: str
    positional: tuple[str, ...]
    arguments: dict[str, Any] | None


def first_json(text: str, at: int = 0) -> tuple[Any, int]:
    """Read the JSON value that begins at a place; return it and where it ends. Raises ValueError if there is none.

    >>> first_json('{"a": 1}}')
    ({'a': 1}, 8)
    """
    try:
        return _JSON.raw_decode(text, _SPACE.match(text, at).end())
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def value(text: str) -> Any:
    """Read a literal of JSON or Python as a JSON value; tuples and sets become lists.

    Raises ValueError for anything else, such as a variable, a call, or a number that JSON lacks.

    >>> value("{'open': True, 'days': (1, -2)}"), value("[true, null]")
    ({'open': True, 'days': [1, -2]}, [True, None])
    """
    try:
        found, end = first_json(text)
        if not text[end:].strip():
            return found
    except ValueError:
        pass
    if len(text) > LONGEST and text.strip()[:1] not in ("'", '"'):
        raise ValueError("too long a value")
    try:
        with warnings.catch_warnings(action="ignore"):  # Python warns of invalid escapes
            return _plain(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"no literal: {text[:40]!r}") from error


def calls(text: str, at: int = 0) -> tuple[list[PythonCall], int]:
    """Read the calls that begin at a place, alone, one after the other or in a list; return them and where they end.

    No call is found, and the place returned, where none begins, or where the list or a call is cut short. In a list
    names may be of several words.

    >>> calls("[Tide Table(harbour='Cork'), now()] I wait.")
    ([PythonCall(name='Tide Table', positional=(), arguments={'harbour': 'Cork'}),
      PythonCall(name='now', positional=(), arguments={})], 35)
    """
    place = _BETWEEN.match(text, at).end()
    listed = text.startswith("[", place)
    found: list[PythonCall] = []
    end, place = at, place + listed
    while begun := (_WORDS if listed else _NAME).match(text, _BETWEEN.match(text, place).end()):
        try:
            pieces, place = _pieces(text, begun.end())
        except ValueError:
            return [], at
        end = place
        found.append(_call(begun["name"], pieces))
    if listed:
        place = _BETWEEN.match(text, place).end()
        return (found, place + 1) if found and text.startswith("]", place) else ([], at)
    return found, end


def _call(name: str, pieces: list[str]) -> PythonCall:
    positional, arguments = [], {}
    for piece in pieces:
        named = _ARGUMENT.match(piece)
        if not named:
            positional.append(piece.strip())
            continue
        try:
            if arguments is not None and named["name"] not in arguments:
                arguments[named["name"]] = value(piece[named.end() :])
                continue
        except ValueError:
            pass
        arguments = None
    return PythonCall(name, tuple(positional), arguments)


def _pieces(text: str, at: int) -> tuple[list[str], int]:
    """Cut the inside of a bracket at its own commas; return the pieces and the place after the bracket."""
    pieces, depth, begin = [], 0, at
    for token in _TOKEN.finditer(text, at):
        mark = token[0]
        if mark in "([{":
            depth += 1
        elif mark == "," and depth == 0:
            pieces.append(text[begin : token.start()])
            begin = token.end()
        elif mark in ")]}":
            depth -= 1
            if depth < 0:
                pieces.append(text[begin : token.start()])
                return [piece for piece in pieces if piece.strip()], token.end()
    raise ValueError("a bracket that is not closed")


def _plain(node: ast.expr) -> Any:
    """Turn a literal's syntax tree into a JSON value. Raises ValueError for any other tree."""
    match node:
        case ast.Constant(value=str() | bool() | int() | None as constant):
            return constant
        case ast.Constant(value=float() as number) if math.isfinite(number):
            return number
        case ast.Name(id=name) if name in _WORD_VALUES:
            return _WORD_VALUES[name]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=ast.Constant(value=int() | float() as number)):
            return -number if isinstance(sign, ast.USub) else +number
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            return [_plain(item) for item in items]
        case ast.Dict(keys=keys, values=values) if all(
                isinstance(key, ast.Constant) and isinstance(key.value, str) for key in keys):  # fmt: skip
            return {key.value: _plain(item) for key, item in zip(keys, values, strict=True)}
    raise ValueError("no literal")
