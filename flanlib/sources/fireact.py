"""FireAct (anchen1011/FireAct): ReAct episodes with one tool, as chat messages or as one text.

``gpt_format`` rows are ``{messages: [...]}`` with results in user turns; ``alpaca_format`` rows hold the whole
episode in ``output``. Both become the same records. The grade that ends every episode is read and cut: failed
episodes are dropped.
"""

from __future__ import annotations

import re
from typing import Any

from flanlib.records import Trajectory
from flanlib.sources.common import Drop, Note, Steps, messages, row_id, tool

TOOLS = (tool("search", "Search the web and see a short result.", query="What to look for"),)
INSTRUCTIONS = "You answer a question, looking up what you need."
_ACT = re.compile(r"^[^\S\n]*Action:[^\S\n]*(\w+)\[", re.M)
_NEXT = re.compile(r"\n(?=Thought:|Action:)")
_GRADE = re.compile(r"Episode finished, reward = (\w+)")


def matches(row: Any) -> bool:
    """Tell whether a row is a FireAct episode, in either format."""
    if not isinstance(row, dict):
        return False
    if isinstance(row.get("instruction"), str) and isinstance(row.get("output"), str):
        return _known(row["output"])
    turns = row.get("messages")
    texts = [t["content"] for t in (turns if isinstance(turns, list) else ())
             if isinstance(t, dict) and t.get("role") in ("user", "assistant") and isinstance(t.get("content"), str)]
    return len(texts) > 0 and len(texts) == len(turns) and _known("\n".join(texts))


def convert(row: dict[str, Any], where: str, note: Note) -> Trajectory:
    """Read one row. Raises Drop for failed episodes and for turns that hold no action."""
    query, turns = _alpaca(row) if "messages" not in row else _gpt(row)
    steps, answer, thought, grade = Steps(), None, "", None
    query = re.sub(r"\A\s*Question:\s*", "", query).strip()
    for i, (role, text) in enumerate(turns):
        if re.match(r"\s*Observation:", text):
            if role != "user":
                note("result in an assistant turn")
            seen = re.sub(r"\A\s*Observation:[^\S\n]?", "", text)
            found = _GRADE.match(seen)
            if found:  # the last one is the environment's, an earlier one was made up by the agent
                grade = found[1]
            elif answer is None:
                steps.observe(seen)
            continue
        if role == "user":
            raise Drop("a user turn that is no result")
        if answer is not None:
            raise Drop("turns after the answer")
        preface, told, name, argument = _turn(text, first=i == 0, note=note)
        if preface and preface not in query:
            note("start of the episode moved to the query")
            query = preface if query in preface else f"{query}\n{preface}"
        steps.think(told)
        if name == "finish":
            answer, thought = argument, steps.thought()
        elif name == "search":
            steps.call(name, {"query": argument})
        else:
            raise Drop("an unknown action")
    if grade is None:
        note("no grade")
    else:
        note("grade cut")
        if grade in ("False", "0"):
            raise Drop("failed episode")
    if answer is not None and not answer.strip():
        raise Drop("an empty answer")
    if answer is None:
        note("no answer")
    return Trajectory(row_id(row, where), "fireact", query, TOOLS, steps.done(answered=answer is not None), answer,
                      thought, INSTRUCTIONS)


def _gpt(row: dict[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    turns = [(m.role, m.text) for m in messages(row["messages"])]
    if any(role not in ("user", "assistant") for role, _ in turns):
        raise Drop(f"unknown role {next(r for r, _ in turns if r not in ('user', 'assistant'))[:20]}")
    return (turns[0][1], turns[1:]) if turns[0][0] == "user" else ("", turns)


def _alpaca(row: dict[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    asked, output = row.get("instruction"), row.get("output")
    given = row.get("input") or ""
    if not isinstance(asked, str) or not isinstance(output, str) or not isinstance(given, str):
        raise Drop("content is not text")
    turns: list[tuple[str, str]] = []
    for piece in re.split(r"\n(?=Observation:)", output.rstrip("\n")):
        # What follows a result is the agent's again.
        result, *said = _NEXT.split(piece, maxsplit=1) if piece.startswith("Observation:") else ("", piece)
        turns += [("user", result)] * bool(result) + [("assistant", text) for text in said]
    return f"{asked}\n{given}".strip(), turns


def _turn(text: str, *, first: bool, note: Note) -> tuple[str, str, str, str]:
    """Split an agent turn into what precedes its labels, the thought, the action's name and its argument."""
    acts = list(_ACT.finditer(text))
    if not acts:
        raise Drop("a turn without an action")
    if len(acts) > 1:
        note("two actions in a turn, the first kept")
    act = acts[0]
    argument = text[act.end():acts[1].start() if len(acts) > 1 else None].rstrip()
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


def _known(text: str) -> bool:
    return bool(re.search(r"^Observation:", text, re.M)) and any(
        m[1] in ("search", "finish") for m in _ACT.finditer(text))
