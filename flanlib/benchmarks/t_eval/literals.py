"""Read the values that models write: Python literals or JSON, in a code fence or not. Text is parsed, never run."""

import ast
import json
import warnings
from typing import Any

LONGEST = 100_000  # characters of a value that is parsed
_ENDS = ("<eoa>", "<TOKENS_UNUSED_1>", "<|im_end|>", "\nuser", "\nassistant", "\nUSER", "[INST]", "<|user|>")


def clean(reply: str) -> str:
    """Cut a raw reply where the next turn begins, and take off a code fence around it, as T-Eval does before scoring.

    >>> clean('```json\\n{"a": 1}\\n```<|im_end|>')
    '{"a": 1}'
    """
    for end in _ENDS:
        reply = reply.split(end)[0]
    return reply.strip().removeprefix("```json").strip("`").strip()


def value(text: Any, first: str = "", last: str = "") -> Any:
    """Parse a text from its first ``first`` to its last ``last``; what is not text is returned as it is.

    A Python literal is tried first, then JSON, then JSON with double quotes put for single ones. Raises ValueError.

    >>> value("So: [{'id': 0}].", "[", "]"), value('{"a": null}')
    ([{'id': 0}], {'a': None})
    """
    if not isinstance(text, str):
        return text
    if "```json" in text:
        text = text.partition("```json")[2].strip("`")
    if first:
        text = text[at:] if (at := text.find(first)) >= 0 else ""
    if last:
        text = text[: text.rfind(last) + len(last)] if last in text else ""
    if len(text) > LONGEST:
        raise ValueError("too long")
    for parse in (literal, json.loads, lambda quoted: json.loads(quoted.replace("'", '"'))):
        try:
            return parse(text)
        except (ValueError, RecursionError):
            continue
    raise ValueError("neither a Python literal nor JSON")


def literal(text: str) -> Any:
    """Parse a Python literal: numbers, texts, lists, mappings. Raises ValueError for everything else."""
    if len(text) > LONGEST:
        raise ValueError("too long")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd backslashes in a model's text
            return ast.literal_eval(text)
    except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError("not a literal") from error
