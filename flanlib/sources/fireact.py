"""FireAct (anchen1011/FireAct): ReAct episodes with one tool, as chat messages or as one text.

``gpt_format`` rows are ``{messages: [...]}`` with results in user turns. ``alpaca_format`` rows hold the whole episode
in ``output``. Files of ``trajs`` hold either one under ``traj``, beside the ``reward``. All become the same records.
The grade at the end of an episode is cut, and failed episodes are dropped.
"""

import re
from typing import Any

from flanlib.records import Trajectory
from flanlib.sources.common import Drop, Note, Steps, drop_if, row_id, turns_of
from flanlib.sources.messages import complete
from flanlib.sources.tools import tool

TOOLS = (tool("search", "Search the web and see a short result.", query="What to look for"),)
INSTRUCTIONS = "You answer a question, looking up what you need."
_ROLES = ("system", "user", "assistant")
_ACT = re.compile(r"^[^\S\n]*Action:[^\S\n]*(\w+)\[", re.M)
_GRADE = "Episode finished, reward = "
# An episode as one text begins with a label or, as options that belong to the question, with a lettered line.
_BEGINS = re.compile(r"\s*(?:Thought:|Action:|[A-Z]\. )")
_ALPACA = re.compile(r"### Instruction:\n(?P<instruction>.*?)\n+### Response:\n?(?P<output>.*)\Z", re.S)


def matches(row: Any) -> bool:
    """Tell whether a row is a FireAct episode, in any of its layouts: it has no actions but its own two.

    Without a grade, labels have to stand where an episode has them: an explanation of the format is none.
    """
    if not isinstance(row, dict):
        return False
    whole = _whole(row)
    if whole is not None:
        episode, labelled = whole[1], bool(_BEGINS.match(whole[1]))
    else:
        turns = next((row[key] for key in ("messages", "traj") if isinstance(row.get(key), list)), [])
        texts = [turn.get("content") if isinstance(turn, dict) and turn.get("role") in _ROLES else None
                 for turn in turns]
        if not turns or not all(isinstance(text, str) for text in texts) or not any("Action:" in t for t in texts):
            return False
        said = [text for text, turn in zip(texts, turns, strict=True) if turn["role"] == "assistant"]
        results = any(text.lstrip().startswith("Observation:") for text in texts)
        labelled = results or bool(said and _BEGINS.match(said[0]) and said[-1].rstrip().endswith("]"))
        episode = "\n".join(said)
        if any(_GRADE in text for text in texts):
            episode += _GRADE
    names = {match[1] for match in _ACT.finditer(episode)} if "Action:" in episode else set()
    known = names & {"search", "finish"}
    return bool(known) and (labelled or _GRADE in episode) and (known == names or isinstance(row.get("traj"), str))


def convert(row: dict[str, Any], where: str, note: Note) -> Trajectory:
    """Read one row. Raises Drop for failed episodes and for turns without an action."""
    drop_if("traj" in row and not row.get("reward", True), "failed episode")
    whole, system = _whole(row), []
    if whole is not None:
        query, turns = whole[0], _alpaca(whole[1])
    else:
        parsed = complete(turns_of(row), note)
        system = [m.text for m in parsed if m.role == "system"]
        turns = [(m.role, m.text) for m in parsed if m.role != "system"]
        query = turns.pop(0)[1] if turns and turns[0][0] == "user" else ""
    if any(text.strip() for text in system):
        note("system text left out")
    steps, grade = Steps(note), None
    query = re.sub(r"\A\s*Question:\s*", "", query).strip()
    for i, (role, text) in enumerate(turns):
        label = re.match(r"\s*Observation:[^\S\n]?", text)
        if label:
            if role != "user":
                note("result in an assistant turn")
            result = text[label.end():]
            reward = re.match(rf"{_GRADE}(\w+)", result)
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


def _whole(row: dict[str, Any]) -> tuple[str, str] | None:
    """Return the question and the episode of a row that holds the episode as one text, or None."""
    instruction, output, traj = row.get("instruction"), row.get("output"), row.get("traj")
    if isinstance(traj, str):
        found = _ALPACA.search(traj)
        return (found["instruction"], found["output"]) if found else None
    if not isinstance(instruction, str) or not isinstance(output, str):
        return None
    inputs = row.get("input") or ""
    return (f"{instruction}\n{inputs}".strip(), output) if isinstance(inputs, str) else None


def _alpaca(episode: str) -> list[tuple[str, str]]:
    """Split an episode into turns of the agent and results, as turns of the user."""
    turns: list[tuple[str, str]] = []
    for piece in re.split(r"\n(?=Observation:)", episode.rstrip("\n")):
        if not piece.startswith("Observation:"):
            turns.append(("assistant", piece))
            continue
        result, *agent = re.split(r"\n(?=Thought:|Action:)", piece, maxsplit=1)
        turns += [("user", result)] + [("assistant", text) for text in agent]
    return turns


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
