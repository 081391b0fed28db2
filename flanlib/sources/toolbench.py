"""ToolBench (OpenBMB/ToolBench, THUNLP-MT/StableToolBench): training rows and answer files of real web APIs.

A training row (``toolllama_*.json``) writes each turn as Thought / Action / Action Input text. Upstream made a row of
every prefix of a trajectory, and :func:`hold` keeps the longest. An answer file holds one DFS tree or CoT chain and,
under ``answer_generation``, the messages on the path to the answer.
"""

import ast
import re
from typing import Any

from flanlib.records import Tool, Trajectory, to_json
from flanlib.sources.common import Drop, Message, Note, Steps, arguments, drop_if, messages, row_id, turns_of
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
        parsed = messages(turns_of(row))
        tools = _listed_tools("".join(m.text for m in parsed if m.role == "system"), note)
        name = re.sub(r"\AStep \d+: *", "", name)
    query, steps = "", Steps(note)
    for message in parsed:
        if message.role in ("user", "human"):
            # The search lists failed actions and asks for another one. Training rows have lost the flag that says so.
            if message.raw.get("valid") is False or (query and message.text.lstrip().startswith(_SEARCH_PROMPT)):
                note("search prompt left out")
            elif query:
                raise Drop("several requests")
            else:
                query = re.sub(r"\s*Begin!\s*\Z", "", message.text).strip()
        elif message.role in ("function", "tool"):
            steps.observe(message.text)
        elif message.role in ("assistant", "gpt"):
            _agent_turn(message, steps)
            if steps.answer is not None:
                break
        elif message.role != "system":
            raise Drop(f"unknown role {message.role[:20]}")
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
    return messages(branches[-1]), tools_of(generation.get("function"), note, leave_out=("Finish",))


def _agent_turn(message: Message, steps: Steps) -> None:
    """Add a turn to the steps: its thought, and its call or answer. An answer is a call of Finish."""
    call, action = message.raw.get("function_call"), _ACT.search(message.text)
    if isinstance(call, dict):
        if message.text.strip():
            steps.note("thought kept beside its call")  # upstream's preprocessing loses it
        steps.think(message.text)
        name, raw_arguments = call.get("name"), call.get("arguments")
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
        text = answer if isinstance(answer, str) else "" if answer is None else to_json(answer)
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
