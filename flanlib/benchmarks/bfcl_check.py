"""Check a call against BFCL's possible answers by its syntax tree, as the leaderboard does, for Python functions.

The rules, and their quirks, are those of ``bfcl_eval.eval_checker.ast_eval`` (ShishirPatil/gorilla, version 2026.3.23);
``tests/test_bfcl_check.py`` compares both wherever that package is installed. A possible answer names one function and
lists, for each parameter, the values that count (candidates). The empty string among them lets the parameter be left
out.

No text is executed: a reply is parsed to a syntax tree, and only literals are read from it.
"""

import ast
import operator
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Call: TypeAlias = tuple[str, Mapping[str, Any]]
"""A function's name and its arguments by name."""

LONGEST = 20_000
"""A longer reply, in characters, is read as no call."""
TYPES = {"string": str, "integer": int, "float": float, "boolean": bool, "array": list, "tuple": list, "dict": dict,
         "any": str}  # fmt: skip
"""Python's type for each of BFCL's."""
_ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
               ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow}  # fmt: skip
_IGNORED = str.maketrans("'", '"', " ,./-_*^")


def decode(reply: str) -> list[Call]:
    """Read a reply in the leaderboard's form, ``[function(name=value), ...]``, with or without brackets and fence.

    Arguments without a name are dropped, as upstream does. Raises ValueError for any other text.

    >>> decode("[fares.find(town='Ulm', days=[1, -2])]")
    [('fares.find', {'town': 'Ulm', 'days': [1, -2]})]
    >>> decode("The fare is 3 euros.")
    Traceback (most recent call last):
    ValueError: not a list of calls
    """
    text = reply.strip("`\n ") if len(reply) <= LONGEST else "?"
    text = ("" if text.startswith("[") else "[") + text + ("" if text.endswith("]") else "]")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns about odd code, such as a call of a number
            body = ast.parse(text, mode="eval").body
        if isinstance(body, ast.List) and all(isinstance(item, ast.Call) for item in body.elts):
            return [_call(item) for item in body.elts]
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError):
        pass
    raise ValueError("not a list of calls")


def matches(calls: Sequence[Call], functions: Sequence[Mapping[str, Any]],
            answers: Sequence[Mapping[str, Any]]) -> bool:  # fmt: skip
    """Tell whether calls are one call, and that is one of the possible answers (categories simple and multiple).

    ``functions`` are the descriptions of a BFCL row and ``answers`` its ``ground_truth``, with one function.
    """
    if len(calls) != 1 or len(answers) != 1:
        return False
    (gold, candidates), (name, arguments) = *answers[0].items(), calls[0]
    described = next((one for one in functions if one["name"] == gold), None)
    if described is None or name != gold:
        return False
    properties = described["parameters"]["properties"]
    try:
        return (all(name in arguments for name in described["parameters"]["required"])
                and all(name in properties and name in candidates and _fits(value, properties[name], candidates[name])
                        for name, value in arguments.items())
                and all(name in arguments or "" in values for name, values in candidates.items()))  # fmt: skip
    except (KeyError, TypeError, AttributeError, RecursionError):
        return False  # where upstream's checker breaks off: a type of a value that no candidate has


def _fits(value: Any, schema: Mapping[str, Any], candidates: Sequence[Any]) -> bool:
    """Tell whether a value is of the declared type, or of the candidates', and equals one of the candidates."""
    declared, inner = TYPES[schema["type"]], None
    if schema["type"] in ("array", "tuple"):
        inner = TYPES[schema["items"]["type"]]
    if schema["type"] == "tuple" and type(value) is tuple:
        value = list(value)
    if schema["type"] == "float" and type(value) is int:
        value = float(value)
    gold = _type_of(candidates)
    if type(value) is not declared:  # the candidates may be names of variables where no text is declared
        return type(value) is gold and value in candidates
    if inner is not None and not any(_items_fit(value, inner, one) for one in candidates):
        return False
    if gold not in (None, declared):
        return value in candidates
    if declared is dict:
        return _dict_fits(value, candidates)
    if declared is list and inner is dict:
        return any(len(value) == len(one) and all(_dict_fits(*pair) for pair in zip(value, [[o] for o in one],
                                                                                    strict=True))
                   for one in candidates)  # fmt: skip
    if declared is str:
        return _plain(value) in [_plain(one) for one in candidates if type(one) is str]
    if declared is list:
        return [_plain(item) for item in value] in [[_plain(item) for item in one] for one in candidates]
    return value in candidates


def _items_fit(value: list, inner: type, candidate: Any) -> bool:
    """Tell whether the items of a list are of a type, or of the candidate's first item. A gap "" fits any list."""
    return type(candidate) is not list or all(type(item) in (inner, _type_of(candidate)) for item in value)


def _dict_fits(value: Mapping[str, Any], candidates: Sequence[Any]) -> bool:
    """Tell whether a dict has only the keys of one candidate, a value from the list of each, and no gap but for ""."""
    return any(
        all(key in one and _plain(part) in [_plain(option) for option in one[key]] for key, part in value.items())
        and all(key in value or "" in options for key, options in one.items())
        for one in candidates if one != "")  # fmt: skip


def _type_of(candidates: Sequence[Any]) -> type | None:
    """Return the type of the first candidate that is not a gap; None if there is none."""
    return next((type(one) for one in candidates if one != ""), None)


def _plain(value: Any) -> Any:
    """Return a text in lower case without spaces and some marks, anything else unchanged.

    >>> _plain("April 1, 2024"), _plain("it's"), _plain(["A b"])
    ('april12024', 'it"s', ['A b'])
    """
    return value.translate(_IGNORED).lower() if isinstance(value, str) else value


def _call(node: ast.Call) -> Call:
    parts, function = [], node.func
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    if isinstance(function, ast.Name):
        parts.append(function.id)
    return ".".join(reversed(parts)), {one.arg or "**": _value(one.value) for one in node.keywords}


def _value(node: ast.expr | None) -> Any:
    """Read a literal. A name becomes its text, and so does a nested call without named arguments."""
    match node:
        case ast.Constant(value=value):
            return "..." if value is ... else value
        case ast.List(elts=items):
            return [_value(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item) for item in items)
        case ast.Dict(keys=keys, values=values):
            return {_value(key): _value(value) for key, value in zip(keys, values, strict=True)}
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=number)):
            return -number
        case ast.BinOp():
            return _number(node)
        case ast.Name(id=name):
            return name
        case ast.Call(keywords=[]) | ast.Subscript():
            return ast.unparse(node)
        case ast.Call():
            return dict([_call(node)])
    raise ValueError(f"{type(node).__name__} is no value")


def _number(node: ast.expr) -> Any:
    """Compute the arithmetic of numbers. Raises ValueError for anything else, and for large powers."""
    match node:
        case ast.Constant(value=int() | float() | complex() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            a, b = _number(left), _number(right)
            if not isinstance(op, ast.Pow) or (abs(a) <= 1e6 and abs(b) <= 64):
                return _ARITHMETIC[type(op)](a, b)
    raise ValueError("no number")
