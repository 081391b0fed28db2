"""ToolBench (OpenBMB/ToolBench, THUNLP-MT/StableToolBench): training rows and answer files of real web APIs.

A training row (``toolllama_*.json``) writes each turn as Thought / Action / Action Input text; one trajectory
was cut into a row for every prefix, of which :class:`Longest` keeps the longest. An answer file holds one
DFS tree or CoT chain and, under ``answer_generation``, the messages that lead to the answer.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from flanlib.records import Tool, Trajectory, to_json
from flanlib.sources.common import (
    Drop,
    Message,
    Note,
    Steps,
    arguments,
    messages,
    note_unknown_tools,
    row_id,
    tools_of,
    turns_of,
)
from flanlib.tally import Tally

INSTRUCTIONS = "You help with a request by calling web APIs, then answer with what they returned."
LONGEST_LIST = 400_000  # characters of a tool list that is parsed as Python
_ACT = re.compile(r"^[^\S\n]*Action:(.*)\n\s*Action Input:", re.M)


def matches(row: Any) -> bool:
    """Tell whether a row is a ToolBench answer file or training row."""
    if not isinstance(row, dict):
        return False
    return isinstance(row.get("answer_generation"), dict) or _is_training(row)


def convert(row: dict[str, Any], where: str, note: Note) -> Trajectory:
    """Read one answer file or (longest) training row.

    Raises Drop for runs that gave up or never answered, as the paper's appendix A leaves them out.
    """
    answer_file = row.get("answer_generation")
    if isinstance(answer_file, dict):
        said, tools = _answer_file(answer_file, note)
        name = row_id(row, where)
    else:
        said = messages(turns_of(row))
        tools = _listed_tools("".join(m.text for m in said if m.role == "system"), note)
        name = re.sub(r"\AStep \d+: *", "", row_id(row, where))
    asked, steps, finish = "", Steps(), None
    for message in said:
        if message.role in ("user", "human"):
            if message.raw.get("valid") is False:
                note("search prompt left out")  # DFS asks for a different action, telling the failed ones
            elif asked:
                raise Drop("several requests")
            else:
                asked = re.sub(r"\s*Begin!\s*\Z", "", message.text).strip()
        elif message.role in ("function", "tool"):
            steps.observe(message.text)
        elif message.role in ("assistant", "gpt"):
            finish = _agent_turn(message, steps, note) or finish
            if finish:
                break
        elif message.role != "system":
            raise Drop(f"unknown role {message.role[:20]}")
    answer = _answer(finish)
    thought = steps.thought()
    done = steps.done(answered=True)
    for _ in (step for step in done if not step.thought):
        note("step without a thought")
    note_unknown_tools(tools, done, note)
    return Trajectory(name, "toolbench", asked, tools, done, answer, thought, INSTRUCTIONS)


class Longest:
    """Hold training rows back until the longest of each trajectory is known.

    >>> tally = Tally("rows")
    >>> longest = Longest(tally)
    >>> short = {"conversations": [{"from": "user", "value": "a"}]}
    >>> for i, extra in enumerate(([], [{"from": "assistant", "value": "b"}])):
    ...     longest.hold(f"rows:{i}", {"conversations": short["conversations"] + extra})
    >>> [where for where, _ in longest.rest()], tally.dropped.total()
    (['rows:1'], 1)
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._held: dict[tuple, list[tuple[str, Any, list[tuple]]]] = {}

    @staticmethod
    def wants(row: Any) -> bool:
        """Tell whether a row may be a prefix of another."""
        return isinstance(row, dict) and not isinstance(row.get("answer_generation"), dict) and _is_training(row)

    def hold(self, where: str, row: Any) -> None:
        """Take a row in; count the one that is a prefix of the other (or equal to it)."""
        turns = [tuple(v if isinstance(v, str) else None for v in (t.get("from"), t.get("value")))
                 for t in turns_of(row) or () if isinstance(t, dict) and t.get("valid") is not False]
        asked = [value for role, value in turns if role == "user"][:1]
        group = self._held.setdefault(tuple(asked), [])
        for i, (other, _, longer) in enumerate(group):
            if longer[:len(turns)] == turns:
                self._tally.drop("a prefix of another row", where)
                return
            if turns[:len(longer)] == longer:
                self._tally.drop("a prefix of another row", other)
                group[i] = (where, row, turns)
                return
        group.append((where, row, turns))

    def rest(self) -> Iterator[tuple[str, Any]]:
        """Yield the rows that no other row continues, in order of their first prefix."""
        for group in self._held.values():
            yield from ((where, row) for where, row, _ in group)


def _is_training(row: dict[str, Any]) -> bool:
    turns = row.get("conversations")
    said = [(t.get("from"), t["value"]) for t in (turns if isinstance(turns, list) else ())
            if isinstance(t, dict) and isinstance(t.get("value"), str)]
    return (any(role == "system" and text.lstrip().startswith("You are AutoGPT") for role, text in said)
            or (any(role == "function" for role, _ in said)
                and any(role == "assistant" and "\nAction Input:" in text for role, text in said)))


def _answer_file(made: dict[str, Any], note: Note) -> tuple[list[Message], tuple[Tool, ...]]:
    if made.get("finish_type") == "give_up":
        raise Drop("gave up")
    if not made.get("valid_data"):
        raise Drop("no final answer (valid_data is false)")
    lists = made.get("train_messages")
    if not isinstance(lists, list) or not lists:
        raise Drop("no turns")
    # Each list trains one branch of the search; the last is the one that ends in the answer.
    said = messages(lists[-1])
    return said, tools_of(made.get("function"), note, leave_out=("Finish",))


def _agent_turn(message: Message, steps: Steps, note: Note) -> dict[str, Any] | None:
    """Add a turn to the steps; return the arguments of Finish if it is one."""
    call = message.raw.get("function_call")
    if isinstance(call, dict):
        if message.text.strip():
            note("thought kept beside its call")  # upstream's own preparation loses it
        steps.think(message.text)
        name, given = call.get("name"), call.get("arguments")
    elif "Action:" in message.text:
        found = _ACT.search(message.text)
        if not found:
            raise Drop("a turn without Thought, Action and Action Input")
        steps.think(re.sub(r"\A\s*Thought:", "", message.text[:found.start()]))
        name, given = found[1].strip(), message.text[found.end():]
    else:
        if message.text.strip():
            note("thought in a turn of its own")
        steps.think(re.sub(r"\A\s*Thought:", "", message.text))
        return None
    given = arguments(given, note)
    if name == "Finish":
        return given
    steps.call(name, given)
    return None


def _answer(finish: dict[str, Any] | None) -> str:
    if finish is None:
        raise Drop("no final answer")
    if finish.get("return_type") == "give_up_and_restart":
        raise Drop("gave up")
    answer = finish.get("final_answer")
    text = answer if isinstance(answer, str) else "" if answer is None else to_json(answer)
    if not text.strip():
        raise Drop("no final answer")
    return text


def _listed_tools(system: str, note: Note) -> tuple[Tool, ...]:
    """Read the API list of a system text, the Python literal that upstream wrote with ``str()``."""
    found = re.search(r"access to the following APIs:\s*(\[.*\])", system, re.S)
    if not found:
        return ()
    if len(found[1]) > LONGEST_LIST:
        raise Drop("the tool list is too long")
    try:
        listed = ast.literal_eval(found[1])
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        raise Drop("the tool list does not parse") from None
    return tools_of(listed, note, leave_out=("Finish",))
