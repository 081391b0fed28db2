"""FireAct (anchen1011/FireAct): ReAct episodes with one tool, as chat messages or as one text.

``gpt_format`` rows are ``{messages: [...]}`` with results in user turns; ``alpaca_format`` rows hold the whole
episode in ``output``. Both become the same records. The grade that ends every episode is read and cut: failed
episodes are dropped.
"""

import re
from typing import Any

from flanlib.records import Trajectory
from flanlib.sources.common import Drop, Note, Steps, messages, row_id, tool

TOOLS = (tool("search", "Search the web and see a short result.", query="What to look for"),)
INSTRUCTIONS = "You answer a question, looking up what you need."
_ACT = re.compile(r"^[^\S\n]*Action:[^\S\n]*(\w+)\[", re.M)


def matches(row: Any) -> bool:
    """Tell whether a row is a FireAct episode, in either format."""
    if not isinstance(row, dict):
        return False
    texts, turns = [row.get("output")], row.get("messages")
    if not (isinstance(row.get("instruction"), str) and isinstance(texts[0], str)):
        texts = [t.get("content") if isinstance(t, dict) and t.get("role") in ("user", "assistant") else None
                 for t in (turns if isinstance(turns, list) else ())]
    if not all(isinstance(text, str) for text in texts):
        return False
    whole = "\n".join(texts)
    return bool(re.search(r"^Observation:", whole, re.M)) and any(
        m[1] in ("search", "finish") for m in _ACT.finditer(whole))


def convert(row: dict[str, Any], where: str, note: Note) -> Trajectory:
    """Read one row. Raises Drop for failed episodes and for turns that hold no action."""
    query, turns = _gpt(row) if "messages" in row else _alpaca(row)
    steps, grade = Steps(note), None
    query = re.sub(r"\A\s*Question:\s*", "", query).strip()
    for i, (role, text) in enumerate(turns):
        result = re.match(r"\s*Observation:[^\S\n]?", text)
        if result:
            if role != "user":
                note("result in an assistant turn")
            seen = text[result.end():]
            found = re.match(r"Episode finished, reward = (\w+)", seen)
            if found:  # the last one is the environment's, an earlier one was made up by the agent
                grade = found[1]
            elif steps.answer is None:
                steps.observe(seen)
            continue
        if role == "user":
            raise Drop("a user turn that is no result")
        if steps.answer is not None:
            raise Drop("turns after the answer")
        preface, told, name, argument = _turn(text, first=i == 0, note=note)
        if preface and preface not in query:
            note("start of the episode moved to the query")
            query = preface if query in preface else f"{query}\n{preface}"
        steps.think(told)
        if name == "finish":
            steps.finish(argument)
        elif name == "search":
            steps.call(name, {"query": argument})
        else:
            raise Drop("an unknown action")
    note("no grade" if grade is None else "grade cut")
    if grade in ("False", "0"):
        raise Drop("failed episode")
    return steps.trajectory(row_id(row, where), "fireact", query, TOOLS, INSTRUCTIONS)


def _gpt(row: dict[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    turns = [(m.role, m.text) for m in messages(row["messages"], ("user", "assistant"))]
    return (turns[0][1], turns[1:]) if turns[0][0] == "user" else ("", turns)


def _alpaca(row: dict[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    given, turns = row.get("input") or "", []
    if not isinstance(given, str):
        raise Drop("content is not text")
    for piece in re.split(r"\n(?=Observation:)", row["output"].rstrip("\n")):
        # What follows a result is the agent's again.
        result, *said = (re.split(r"\n(?=Thought:|Action:)", piece, maxsplit=1) if piece.startswith("Observation:")
                         else ("", piece))
        turns += [("user", result)] * bool(result) + [("assistant", text) for text in said]
    return f"{row['instruction']}\n{given}".strip(), turns


def _turn(text: str, *, first: bool, note: Note) -> tuple[str, str, str, str]:
    """Split an agent turn into what precedes its labels, the thought, the action's name and its argument."""
    acts = list(_ACT.finditer(text))
    if not acts:
        raise Drop("a turn without an action")
    if len(acts) > 1:
        note("two actions in a turn, the first kept")
    act, end = acts[0], acts[1].start() if len(acts) > 1 else len(text)
    argument = text[act.end():end].rstrip()
    if not argument.endswith("]"):
        note("an action without its closing bracket")
    argument = argument.removesuffix("]").strip()
    before = text[:act.start()].strip()
    label = re.search(r"^\s*Thought:", before, re.M)
    preface = before[:label.start()] if label else before if first else ""
    told = before[label.end():] if label else "" if first else before
    if re.search(r"\bAction: *\w+\[", told):
        note("action repeated in the thought, cut there")
        told = re.split(r"\s*\bAction: *\w+\[", told)[0]
    inside = re.fullmatch(r"Thought:\s*(.*?)\s*Answer:\s*(.*)", argument, re.S)
    if act[1] == "finish" and inside:
        note("thought inside the answer moved out")
        told, argument = f"{told}\n{inside[1]}", inside[2]
    bare = re.sub(r"\bThought:\s*", "", told)
    if bare != told:
        note("label inside a thought removed")
    return preface.strip(), bare.strip(), act[1], argument
