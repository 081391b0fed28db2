"""The parts about a single call: does the reply follow a form, think, name, fill in and judge as the right one does?

Scores are between 0 and 1, by name. ``parsed`` tells whether the reply could be read at all; if not, all others are 0.
"""

import re
from collections.abc import Mapping
from typing import Any

from flanlib.benchmarks.t_eval.embedding import Embed, cosines
from flanlib.benchmarks.t_eval.literals import literal, value
from flanlib.benchmarks.t_eval.plans import FINISH

CHOICES = tuple("ABCDE")
_TOOL = re.compile(r"\b\w+\.\w+")


def instruct(reply: str, gold: Mapping[str, Any], template: Mapping[str, str], *, json: bool) -> dict[str, float]:
    """Score whether a call is written in the form asked for, and is the right one.

    ``template`` names the keys of the JSON form, or the texts before and after each part of the other one. ``format``
    is 1 for a reply in the form. ``args`` is the share that is right of the tool's name and the right call's arguments.

    >>> keys = {"thought": "goal", "action": "name", "args": "args"}
    >>> gold = {"action": "Map.find", "args": {"place": "Ulm", "n": 1}}
    >>> instruct('{"goal": "", "name": "Map.find", "args": {"place": "Ulm", "n": "1"}}', gold, keys, json=True)
    {'json format': 1.0, 'json args': 0.666...}
    """
    call = _by_keys(reply, template) if json else _by_texts(reply, template)
    form = "json" if json else "string"
    if call is None:
        return {f"{form} format": 0.0, f"{form} args": 0.0}
    name, args = call
    right = (name == gold["action"]) + sum(args.get(key, "") == wanted for key, wanted in gold["args"].items())
    return {f"{form} format": 1.0, f"{form} args": right / (len(gold["args"]) + 1)}


def _by_keys(reply: str, template: Mapping[str, str]) -> tuple[Any, Mapping] | None:
    try:
        found = value(reply)
        _, name, args = (found[template[part]] for part in ("thought", "action", "args"))
    except (ValueError, TypeError, LookupError):
        return None
    return name, args if isinstance(args, dict) else {}


def _by_texts(reply: str, template: Mapping[str, str]) -> tuple[Any, Mapping] | None:
    """Find the template's texts in a reply. Each part is as long as it can be, so they are looked for from the end."""
    first, *between = (template["thought_start"], template["thought_end"] + template["action_start"],
                       template["action_end"] + template["args_start"], template["args_end"])  # fmt: skip
    parts, end = [], len(reply)
    for text in reversed(between):
        at = reply.rfind(text, 0, end)
        if at < 0:
            return None
        parts.append(reply[at + len(text) : end])
        end = at
    if first not in reply[:end]:
        return None
    _, args, name = parts
    try:
        read = literal(args.strip())
    except ValueError:
        read = {}
    return name.strip(), read if isinstance(read, dict) else {}


def fields(answer: Any, *, told: bool = False) -> dict[str, Any] | None:
    """Read {thought, name, args} from an object or a text with one. What is missing is empty; None if it is no object.

    ``args`` is a mapping, or text if ``told``, for the parts whose replies are plain text.

    >>> fields("{'name': 'Map.find', 'args': 'Ulm'}")
    {'thought': '', 'name': 'Map.find', 'args': {}}
    """
    try:
        found = value(answer, "{", "}")
    except ValueError:
        return None
    if type(found) is not dict:
        return None
    read = {key: _text(found.get(key, "")) for key in ("thought", "name", "args")}
    return read if told else read | {"args": args if isinstance(args := found.get("args"), dict) else {}}


def call(reply: str, gold: Mapping[str, Any], embed: Embed) -> dict[str, float]:
    """Score a JSON object of thought, name and args (reason, retrieve and understand in one).

    >>> from flanlib.benchmarks.t_eval.embedding import by_letters
    >>> gold = {"thought": "look", "name": "Map.find", "args": {"place": "Ulm", "n": 1}}
    >>> scores = call("{'thought': 'look', 'name': 'Map.seek', 'args': {'n': '1', 'k': 2}}", gold, by_letters)
    >>> {name: round(score, 3) for name, score in scores.items()}
    {'parsed': 1.0, 'thought': 1.0, 'name': 0.0, 'args': 0.5}
    """
    found, right = fields(reply), fields(gold)
    if found is None or right is None:
        return dict.fromkeys(("parsed", "thought", "name", "args"), 0.0)
    args, wanted = found["args"], right["args"]
    equal = sum(key in args and _text(args[key]) == _text(each) for key, each in wanted.items())
    return {"parsed": 1.0, "thought": _alike(found["thought"], right["thought"], embed),
            "name": float(found["name"] == right["name"]),
            "args": equal / (len(wanted) + 1e-5) if wanted else float(not args)}  # fmt: skip


def reason(reply: str, gold: Mapping[str, Any], embed: Embed) -> dict[str, float]:
    """Score a thought by its likeness to the right one."""
    return {"parsed": 1.0, "thought": _alike(reply, gold["thought"], embed)}


def retrieve(reply: str, gold: Mapping[str, Any]) -> dict[str, float]:
    """Score a tool's name: the right one must occur, and no other.

    >>> [retrieve(text, {"name": "Map.find"})["name"] for text in ("Map.find!", "Map.find, Map.seek", "find")]
    [1.0, 0.0, 0.0]
    """
    name = gold["name"]
    named = {*_TOOL.findall(reply), *([FINISH] if FINISH in reply else ())}
    return {"parsed": 1.0, "name": float(name in reply and named <= {name})}


def understand(reply: str, gold: Mapping[str, Any]) -> dict[str, float]:
    """Score arguments written as text: equal or not, but for quotes around them.

    >>> understand("'Ulm'", {"args": "Ulm"})["args"]
    1.0
    """
    return {"parsed": 1.0, "args": float(reply.strip("'").strip('"') == gold["args"])}


def review(reply: str, gold: Mapping[str, Any]) -> dict[str, float]:
    """Score a choice from A to E: the first character after the first colon, or of the reply if there is none.

    >>> review("Answer: B", {"answer": "B"}), review("I think B", {"answer": "B"})
    ({'parsed': 1.0, 'review': 1.0}, {'parsed': 0.0, 'review': 0.0})
    """
    choice = reply[reply.find(":") + 1 :].strip()[:1]
    return {"parsed": float(choice in CHOICES), "review": float(choice == gold["answer"])}


def _alike(left: str, right: str, embed: Embed) -> float:
    vectors = embed([left, right])
    return float(cosines(vectors[:1], vectors[1:])[0, 0])


def _text(found: Any) -> str:
    """Write a value as text; a number too long to be written is none."""
    try:
        return str(found)
    except (ValueError, RecursionError):
        return ""
