"""ToolBench (OpenBMB/ToolBench, THUNLP-MT/StableToolBench): training rows and answer files of real web APIs.

A training row (``toolllama_*.json``) writes each turn as Thought / Action / Action Input text. Upstream made a row of
every prefix of a trajectory, and :func:`hold` keeps the longest. An answer file holds one DFS tree or CoT chain and,
under ``answer_generation``, the messages on the path to the answer.
"""

import ast
import re
from typing import Any

from flanlib.records import Tool, Trajectory
from flanlib.sources.common import Drop, Note, Steps, arguments, drop_if, json_text, row_id, turns_of
from flanlib.sources.messages import Message, complete
from flanlib.sources.tools import tools_of
from flanlib.tally import Tally

INSTRUCTIONS = "You help with a request by calling web APIs, then answer with what they returned."
LONGEST_LIST = 400_000  # most characters of a tool list that is parsed
_SEARCH_PROMPT = "This is not the first time you try this task"
_ACT = re.compile(r"^[^\S\n]*Action:(.*)\n\s*Action Input:", re.M)


def matches(row: Any) -> bool:
    """Tell whether a row is a ToolBench answer file or training row."""
    return is_training(row) or (isinstance(row, dict) and isinstance(row.get("answer_generation"), dict))


def is_training(row: Any) -> bool:
    """Tell whether a row is a training row, which can be a prefix of another row."""
    if not isinstance(row, dict) or isinstance(row.get("answer_generation"), dict):
        return False
    turns = row.get("conversations")
    turns = [turn for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    if not any(turn.get("from") in ("system", "function") for turn in turns):
        return False
    texts = [(turn.get("from"), turn["value"]) for turn in turns if isinstance(turn.get("value"), str)]
    return (any(role == "system" and text.lstrip().startswith("You are AutoGPT") for role, text in texts)
            or (any(role == "function" for role, _ in texts)
                and any(role == "assistant" and "\nAction Input:" in text for role, text in texts)))


def convert(row: dict[str, Any], where: str, note: Note) -> Trajectory:
    """Read one answer file or one training row, the longest of its trajectory.

    Raises Drop for runs that gave up or have no answer, which appendix A of the paper leaves out too.
    """
    name, answer_file = row_id(row, where), row.get("answer_generation")
    if isinstance(answer_file, dict):
        parsed, tools = _answer_file(answer_file, note)
    else:
        parsed = _without_search(turns_of(row), note)
        tools = _listed_tools("".join(m.text for m in parsed if m.role == "system"), note)
        name = re.sub(r"\AStep \d+: *", "", name)
    query, steps = "", Steps(note)
    for message in parsed:
        if message.role == "user":
            drop_if(query, "several requests")
            query = re.sub(r"\s*Begin!\s*\Z", "", message.text).strip()
        elif message.role == "tool":
            steps.observe(message.text)
        elif message.role == "assistant":
            _agent_turn(message, steps)
            if steps.answer is not None:
                break
    drop_if(steps.answer is None, "no final answer")
    for call in steps.calls:
        if not call["thought"]:
            note("step without a thought")
    return steps.trajectory(name, "toolbench", query, tools, INSTRUCTIONS)


def hold(held: dict[tuple, list[tuple[str, Any, list]]], where: str, row: Any, tally: Tally) -> None:
    """Add a training row to ``held`` (rows by request: where, row, turns), and drop each that is a prefix of another.

    >>> held, turns = {}, [{"from": "user", "value": "a"}, {"from": "assistant", "value": "b"}]
    >>> for n in (1, 2):
    ...     hold(held, f"rows:{n}", {"conversations": turns[:n]}, Tally("rows"))
    >>> [where for group in held.values() for where, *_ in group]
    ['rows:2']
    """
    turns = [tuple(v if isinstance(v, str) else None for v in (t.get("from"), t.get("value")))
             for t in turns_of(row) or () if isinstance(t, dict) and t.get("valid") is not False
             and not str(t.get("value")).lstrip().startswith(_SEARCH_PROMPT)]
    group = held.setdefault(tuple(value for role, value in turns if role == "user")[:1], [])
    for i, (other_where, _, other_turns) in enumerate(group):
        if other_turns[:len(turns)] == turns:
            tally.drop("a prefix of another row", where)
            return
        if turns[:len(other_turns)] == other_turns:
            tally.drop("a prefix of another row", other_where)
            group[i] = (where, row, turns)
            return
    group.append((where, row, turns))


def _answer_file(generation: dict[str, Any], note: Note) -> tuple[list[Message], tuple[Tool, ...]]:
    drop_if(generation.get("finish_type") == "give_up", "gave up")
    drop_if(not generation.get("valid_data"), "no final answer (valid_data is false)")
    branches = generation.get("train_messages")
    drop_if(not isinstance(branches, list) or not branches, "no turns")
    # The last branch of the search is the one that ends in the answer.
    return _without_search(branches[-1], note), tools_of(generation.get("function"), note, leave_out=("Finish",))


def _without_search(turns: Any, note: Note) -> list[Message]:
    """Read turns without the prompts of the search, which list failed actions and ask for another one.

    Answer files flag them as not valid. Training rows have lost the flag, so there they are told by their text.
    """
    kept = [turn for turn in turns if not (isinstance(turn, dict) and turn.get("valid") is False)
            ] if isinstance(turns, list) else turns  # fmt: skip
    read, asked = [], False
    for message in complete(kept, note):
        if asked and message.role == "user" and message.text.lstrip().startswith(_SEARCH_PROMPT):
            note("search prompt left out")
            continue
        asked = asked or message.role == "user"
        read.append(message)
    for _ in range(len(turns) - len(kept)):
        note("search prompt left out")
    return read


def _agent_turn(message: Message, steps: Steps) -> None:
    """Add a turn to the steps: its thought, and its call or answer. An answer is a call of Finish."""
    action = _ACT.search(message.text)
    if message.calls:
        if message.text.strip():
            steps.note("thought kept beside its call")  # upstream's preprocessing loses it
        steps.think(message.text)
        name, raw_arguments, _ = message.calls[0]
    elif action:
        steps.think(re.sub(r"\A\s*Thought:", "", message.text[:action.start()]))
        name, raw_arguments = action[1].strip(), message.text[action.end():]
    elif "Action:" in message.text:
        raise Drop("a turn without Thought, Action and Action Input")
    else:
        if message.text.strip():
            steps.note("thought in a turn of its own")
        steps.think(re.sub(r"\A\s*Thought:", "", message.text))
        return
    if name != "Finish":
        steps.call(name, raw_arguments)
    elif finish := arguments(raw_arguments, steps.note):
        drop_if(finish.get("return_type") == "give_up_and_restart", "gave up")
        answer = finish.get("final_answer")
        text = "" if answer is None else json_text(answer)
        drop_if(not text.strip(), "no final answer")
        steps.finish(text)


def _listed_tools(system: str, note: Note) -> tuple[Tool, ...]:
    """Parse the API list in a system text, a Python literal that upstream wrote with ``str()``."""
    match = re.search(r"access to the following APIs:\s*(\[.*\])", system, re.S)
    if not match:
        return ()
    drop_if(len(match[1]) > LONGEST_LIST, "the tool list is too long")
    try:
        listed = ast.literal_eval(match[1])
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        raise Drop("the tool list does not parse") from None
    return tools_of(listed, note, leave_out=("Finish",))
