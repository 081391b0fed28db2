"""FireAct (anchen1011/FireAct): ReAct episodes with one tool, as chat messages or as one text.

``gpt_format`` rows are ``{messages: [...]}`` with results in user turns. ``alpaca_format`` rows hold the whole episode
in ``output``. Both become the same records. The grade at the end of an episode is cut, and failed episodes are dropped.
"""

import re
from typing import Any

from flanlib.records import Trajectory
from flanlib.sources.common import Drop, Note, Steps, drop_if, messages, row_id
from flanlib.sources.tools import tool

TOOLS = (tool("search", "Search the web and see a short result.", query="What to look for"),)
INSTRUCTIONS = "You answer a question, looking up what you need."
_ACT = re.compile(r"^[^\S\n]*Action:[^\S\n]*(\w+)\[", re.M)


def matches(row: Any) -> bool:
    """Tell whether a row is a FireAct episode, in either format."""
    if not isinstance(row, dict):
        return False
    texts = [row.get("output")]
    if not all(isinstance(row.get(key), str) for key in ("instruction", "output")):
        turns = row["messages"] if isinstance(row.get("messages"), list) else []
        texts = [t.get("content") if isinstance(t, dict) and t.get("role") in ("user", "assistant") else None
                 for t in turns]
    if not all(isinstance(text, str) for text in texts):
        return False
    episode = "\n".join(texts)
    has_result = re.search(r"^Observation:", episode, re.M)
    return bool(has_result) and any(m[1] in ("search", "finish") for m in _ACT.finditer(episode))


def convert(row: dict[str, Any], where: str, note: Note) -> Trajectory:
    """Read one row. Raises Drop for failed episodes and for turns without an action."""
    if "messages" in row:
        turns = [(m.role, m.text) for m in messages(row["messages"], ("user", "assistant"))]
        query = turns.pop(0)[1] if turns[0][0] == "user" else ""
    else:
        query, turns = _alpaca(row)
    steps, grade = Steps(note), None
    query = re.sub(r"\A\s*Question:\s*", "", query).strip()
    for i, (role, text) in enumerate(turns):
        label = re.match(r"\s*Observation:[^\S\n]?", text)
        if label:
            if role != "user":
                note("result in an assistant turn")
            result = text[label.end():]
            reward = re.match(r"Episode finished, reward = (\w+)", result)
            if reward:  # the last one comes from the environment, earlier ones are made up by the agent
                grade = reward[1]
            elif steps.answer is None:
                steps.observe(result)
            continue
        drop_if(role == "user", "a user turn that is no result")
        drop_if(steps.answer is not None, "turns after the answer")
        preface, thought, name, argument = _turn(text, first=i == 0, note=note)
        if preface and preface not in query:
            note("start of the episode moved to the query")
            query = preface if query in preface else f"{query}\n{preface}"
        steps.think(thought)
        if name == "finish":
            steps.finish(argument)
        elif name == "search":
            steps.call(name, {"query": argument})
        else:
            raise Drop("an unknown action")
    note("no grade" if grade is None else "grade cut")
    drop_if(grade in ("False", "0"), "failed episode")
    return steps.trajectory(row_id(row, where), "fireact", query, TOOLS, INSTRUCTIONS)


def _alpaca(row: dict[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    input_text, turns = row.get("input") or "", []
    drop_if(not isinstance(input_text, str), "content is not text")
    for piece in re.split(r"\n(?=Observation:)", row["output"].rstrip("\n")):
        if not piece.startswith("Observation:"):
            turns.append(("assistant", piece))
            continue
        result, *agent = re.split(r"\n(?=Thought:|Action:)", piece, maxsplit=1)
        turns += [("user", result)] + [("assistant", text) for text in agent]
    return f"{row['instruction']}\n{input_text}".strip(), turns


def _turn(text: str, *, first: bool, note: Note) -> tuple[str, str, str, str]:
    """Split an agent turn into the text before its labels, the thought, the action's name and its argument."""
    actions = list(_ACT.finditer(text))
    drop_if(not actions, "a turn without an action")
    if len(actions) > 1:
        note("two actions in a turn, the first kept")
    action, end = actions[0], actions[1].start() if len(actions) > 1 else len(text)
    argument = text[action.end():end].rstrip()
    if not argument.endswith("]"):
        note("an action without its closing bracket")
    argument = argument.removesuffix("]").strip()
    before = text[:action.start()].strip()
    label = re.search(r"^\s*Thought:", before, re.M)
    if label:
        preface, thought = before[:label.start()], before[label.end():]
    else:  # a first turn without a label starts with the rest of the question
        preface, thought = (before, "") if first else ("", before)
    if re.search(r"\bAction: *\w+\[", thought):
        note("action repeated in the thought, cut there")
        thought = re.split(r"\s*\bAction: *\w+\[", thought)[0]
    inside = re.fullmatch(r"Thought:\s*(.*?)\s*Answer:\s*(.*)", argument, re.S)
    if action[1] == "finish" and inside:
        note("thought inside the answer moved out")
        thought, argument = f"{thought}\n{inside[1]}", inside[2]
    clean = re.sub(r"\bThought:\s*", "", thought)
    if clean != thought:
        note("label inside a thought removed")
    return preface.strip(), clean.strip(), action[1], argument
