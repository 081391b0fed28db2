"""AgentInstruct (THUDM/AgentInstruct): six environments, each with its own syntax for thoughts and actions.

Rows are ``{id, conversations: [{from, loss, value}]}`` without a system role. The first human turn explains the format,
and gpt turns with ``loss`` false acknowledge it and play an example. These turns are left out, as in appendix A of the
paper. The request, the steps and the answer stay. Copies as ``messages`` have lost the flags: there the text tells
where the script ends. AgentGym's rows of the same environments, with an ``item_id``, are read too.
"""

import re
from typing import Any, NamedTuple

from flanlib.records import Tool, Trajectory
from flanlib.sources.common import Drop, Note, Steps, drop_if, row_id, turns_of
from flanlib.sources.messages import Message, complete
from flanlib.sources.tools import tool


class Task(NamedTuple):
    """One environment. Patterns: of an action, of text before a request or result, and of the first turn's start."""

    instructions: str
    tools: tuple[Tool, ...]
    action: str  # the pattern of the AgentInstruct harness, tightened to whole lines
    prefix: str
    opening: str


_AGENT = ("gpt", "assistant")
# The turn that starts the row's own problem, after the scripted example.
_FRESH_OS, _FRESH_KG = r"Now, I will start a new problem in a new OS\. My problem is:", r"A new question:"
_FRESH = re.compile(rf"\s*(?:{_FRESH_OS}|{_FRESH_KG})")
_ACKNOWLEDGED = re.compile(r"\s*(?:ok\b.{0,80}|I've understood your instruction.{0,40})\Z", re.I)
_VARIABLE = "A variable such as #0, or the name of an entity"
TASKS = {
    "os": Task("You work in the shell of an Ubuntu system, as root.", (
        tool("bash", "Run shell code and see what it prints.", code="The code to run"),
        tool("finish", "Say that the task is done, when it asks for no answer.")),
        r"^Act:\s*(?:bash|finish|answer)",
        rf"{_FRESH_OS}\s*|The output of the OS:[^\S\n]*\n*", r"You are an assistant that will act like a person"),
    "db": Task("You work with a MySQL database. An answer is the list of the values asked for.", (
        tool("execute_sql", "Run one SQL statement and see the rows it returns.", query="The statement"),),
        r"^Action: (?:Operation|Answer)\s*$", "", r"I will ask you a question, then you should help me operate a "),
    "kg": Task("You work with a knowledge graph too large to see whole. Calls return variables, numbered from #0, "
               "that stand for sets of entities; an answer is one variable.", (
        tool("get_relations", "List the relations of an entity or variable.", variable=_VARIABLE),
        tool("get_neighbors", "Follow a relation; returns a new variable.", variable=_VARIABLE,
             relation="A relation that get_relations listed"),
        tool("intersection", "Keep the entities of two variables of one type that both hold.",
             variable1="A variable", variable2="Another variable"),
        tool("get_attributes", "List the numeric attributes of a variable.", variable="A variable"),
        tool("argmax", "Keep the entities with the largest value of an attribute.", variable="A variable",
             attribute="An attribute that get_attributes listed"),
        tool("argmin", "Keep the entities with the smallest value of an attribute.", variable="A variable",
             attribute="An attribute that get_attributes listed"),
        tool("count", "Count the entities of a variable.", variable="A variable")),
        r"^Action:? *(?:get\\?_(?:relations|neighbors|attributes)|intersection|arg(?:max|min)|count)\("
        r"|^Final Answer: *#\d",
        rf"{_FRESH_KG}\s*|Observation:\s*",
        r"You are an agent that answers questions based on the knowledge"),
    "alfworld": Task("You act in a household that is described in text, one command at a time.", (
        tool("act", "Do one thing in the room and see what happens.",
             command="A command such as 'go to shelf 1' or 'take mug 1 from desk 2'"),),
        r"^ ?ACTION:|^Action: *\n *(?:go to|look|inventory|open|close|take|put|use|clean|heat|cool|examine|toggle)\b",
        r"Observation:\s*", r"Interact with a household to solve a task"),
    "webshop": Task("You shop in a web store: find the product that fits the request, choose its options, buy it.", (
        tool("search", "Search the store from a page with a search bar.", query="Key words"),
        tool("click", "Click one of the page's clickable items.", item="The item's text")),
        r"^Action: *\n *(?:search|click)\[", r"Observation:\s*", r"You are web shopping"),
    "mind2web": Task("You carry out a task on a web page, one element at a time. The page and some of its elements, "
                     "lettered, are given; the first letter stands for none of them.", (
        tool("click", "Click an element.", choice="The element's letter"),
        tool("select", "Choose an option of an element.", choice="The element's letter", value="The option"),
        tool("type", "Type into an element.", choice="The element's letter", value="The text")),
        r"^Answer: [A-F]\.", "", r"'{3}\s*<html>"),
}
_OPENING = re.compile("|".join(f"(?P<{name}>{task.opening})" for name, task in TASKS.items()))
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


def matches(row: Any) -> bool:
    """Tell whether a row is AgentInstruct's: a known action syntax, and loss flags or a known environment."""
    turns = turns_of(row) if isinstance(row, dict) else None
    if not turns or not isinstance(turns[0], dict) or not all(isinstance(turn, dict) for turn in turns):
        return False
    flagged = "conversations" in row and any("from" in turn and turn.get("loss") is not None for turn in turns)
    return (flagged or _named(row) is not None or _opened(turns) is not None) and task_of(row) is not None


def task_of(row: dict[str, Any]) -> str | None:
    """Return the name of a row's environment, or None: by its id (``os_0``), its first turn, or its actions.

    Without loss flags in ShareGPT's turns an id is not enough: rows of any kind can have it.
    """
    turns = turns_of(row) or []
    known = _named(row) or _opened(turns)
    if known and any(_flag(turn) is not None and "from" in turn for turn in turns):
        return known
    text = "\n".join(said for turn in turns if (said := _said(turn, _AGENT)))
    return next((name for name, task in TASKS.items() if known in (None, name) and re.search(task.action, text, re.M)),
                None)


def convert(row: dict[str, Any], where: str, note: Note) -> Trajectory:
    """Read one row. Raises Drop, with the reason, for rows that cannot be used."""
    parsed = complete(turns_of(row), note)
    while parsed and parsed[0].role == "system":
        note("system text left out")  # a copy's own: the environment is described in the first turn
        parsed.pop(0)
    # The request is the turn before the first trained one. All before it is scripted: instructions and an example.
    first = _first_trained(parsed, note)
    drop_if(not first, "nothing to train" if first is None else "no request before the first turn")
    if first > 1:
        note("scripted turns left out")
    name, request, steps = task_of(row), parsed[first - 1].text, Steps(note)
    task = TASKS[name]
    for i, message in enumerate(parsed[first:]):
        agent = message.role == "assistant"
        drop_if(agent != (i % 2 == 0), "turns do not alternate")
        if steps.answer is not None:
            note("turns after the answer left out")
            break
        if not agent:
            steps.observe(_clean(message.text, task, note))
            continue
        drop_if(not message.text.strip(), "an empty agent turn")
        if message.loss is False:
            note("untrained turn inside the task")
        action = _PARSERS[name](message.text, request, note)
        drop_if(action is None, "a turn without an action")
        tool_name, thought, content = action
        steps.think(thought)
        if tool_name == "answer":
            steps.finish(content)
        else:
            steps.call(tool_name, content)
    return steps.trajectory(row_id(row, where), f"agentinstruct/{name}", _clean(request, task, note).strip(),
                            task.tools, task.instructions)


def _named(row: dict[str, Any]) -> str | None:
    """Return the environment that a row's id names."""
    named = re.match(r"(\w+?)_\d+\Z", str(row.get("id", row.get("item_id", ""))))
    return named[1] if named and named[1] in TASKS else None


def _opened(turns: list[Any]) -> str | None:
    """Return the environment that the first turn describes."""
    first = next((said for turn in turns[:2] if (said := _said(turn, ("human", "user")))), "").lstrip()
    opened = _OPENING.match(first)
    return next(name for name, text in opened.groupdict().items() if text is not None) if opened else None


def _said(turn: Any, roles: tuple[str, ...]) -> str | None:
    """Return the text of a turn of one of the roles, else None."""
    if not isinstance(turn, dict) or turn.get("from", turn.get("role")) not in roles:
        return None
    text = turn.get("value", turn.get("content"))
    return text if isinstance(text, str) else None


def _flag(turn: Any) -> bool | None:
    """Return the loss flag of an agent's turn, or None without one."""
    agent = isinstance(turn, dict) and turn.get("from", turn.get("role")) in _AGENT
    return None if not agent or turn.get("loss") is None else bool(turn["loss"])


def _first_trained(parsed: list[Message], note: Note) -> int | None:
    """Return the place of the first turn to train, by the loss flags, or by the text if no flag says false."""
    agent = [i for i, message in enumerate(parsed) if message.role == "assistant"]
    flags = {parsed[i].loss for i in agent}
    if False in flags:
        return next((i for i in agent if parsed[i].loss is not False), None)
    if True not in flags:
        note("no loss flags, the scripted opening told by its text")
    fresh = max((i for i, m in enumerate(parsed) if m.role != "assistant" and _FRESH.match(m.text)), default=-1)
    return next((i for i in agent if i > fresh and not _ACKNOWLEDGED.match(parsed[i].text)), None)


def _clean(text: str, task: Task, note: Note) -> str:
    plain = _ANSI.sub("", text)
    if plain != text:
        note("terminal colour codes removed")
    return re.sub(rf"\A\s*(?:{task.prefix})", "", plain) if task.prefix else plain


# A tool's name with the thought and the arguments, or "answer" with the thought and the answer. None without an action.
_Action = tuple[str, str, Any] | None


def _os(text: str, page: str, note: Note) -> _Action:
    acts = [m for m in re.finditer(r"Act:\s*(.+)", text) if re.match(r"bash|finish|answer\(", m[1])]
    if not acts:
        return None
    act, think = acts[-1], re.search(r"Think:\s*(.*?)\s*(?=\n\s*Act:|\Z)", text, re.S)
    thought = think[1] if think else text[:acts[0].start()]
    if act[1].startswith("answer("):
        return "answer", thought, text[act.start(1) + len("answer("):].rstrip().removesuffix(")").strip()
    if act[1].startswith("finish"):
        return "finish", thought, {}
    blocks = re.findall(r"```bash\n?(.*?)\n?```", text, re.S)
    return ("bash", thought, {"code": "\n".join(blocks)}) if blocks else None


def _db(text: str, page: str, note: Note) -> _Action:
    act = re.search(r"^Action: *(Operation|Answer)[^\S\n]*(?:\n|\Z)", text, re.M)
    if not act:
        return None
    thought, answer = text[:act.start()], re.search(r"^Final Answer:(.*)", text, re.M | re.S)
    if act[1] == "Answer":
        return ("answer", thought, answer[1].strip()) if answer else None
    sql = re.search(r"```(?:sql)?\n?(.*?)\n?```", text[act.end():], re.S)
    return ("execute_sql", thought, {"query": sql[1].strip()}) if sql else None


def _kg(text: str, page: str, note: Note) -> _Action:
    text = re.split(r"^\s*Observation:", text, maxsplit=1, flags=re.M)[0].replace("\\_", "_")
    call = re.search(r"^\s*Action:? *([a-z_]+)\((.*)\)[^\n]*$", text, re.M)
    answer = re.search(r"(?:Find|Final) Answer: *(#\d+)", text)
    first = min((m for m in (call, answer) if m), key=lambda m: m.start(), default=None)
    if not first:
        return None
    thought = re.sub(r"\A\s*Thought:\s*", "", text[:first.start()]).strip()
    if first is answer:
        return "answer", re.sub(r"\n?\s*Action:?\Z", "", thought), answer[1]
    names = next((t.required for t in TASKS["kg"].tools if t.name == call[1]), ())
    # Split at the last comma: names of entities can hold commas, relations and variables cannot.
    values = [v.strip() for v in (call[2].rsplit(",", 1) if len(names) == 2 else [call[2]])]
    drop_if(len(values) != len(names) or not all(values), "a call of no known function")
    return call[1], thought, dict(zip(names, values, strict=True))


def _alfworld(text: str, page: str, note: Note) -> _Action:
    act = re.search(r"(?:ACTION|Action):\s*(\S.*)", text)
    return act and ("act", re.sub(r"\A\s*(?:THOUGHT|Thought):\s*", "", text[:act.start()]), {"command": act[1].strip()})


def _webshop(text: str, page: str, note: Note) -> _Action:
    act = (re.search(r"[Aa]ction: *\n* *(search|click)\[(.*)\]\s*\Z", text)
           or re.search(r"[Aa]ction: *\n* *(search|click)\[(.+?)\]", text))
    if not act or not act[2].strip():
        return None
    thought = re.sub(r"\A\s*Thought:\s*", "", text[:act.start()])
    return act[1], thought, {"query" if act[1] == "search" else "item": act[2].strip()}


def _mind2web(text: str, page: str, note: Note) -> _Action:
    letter = re.search(r"^Answer: *([A-Z])\b", text, re.M)
    if not letter:
        return None
    thought = re.sub(r"\A\s*Thought:\s*", "", text[:letter.start()])
    choices = dict(re.findall(r"^([A-Z])\. +(.*)", page, re.M))
    if not choices:
        note("no lettered choices on the page")
    elif letter[1] not in choices:
        raise Drop("the chosen letter is not on the page")
    act = re.search(r"^Action: *(CLICK|SELECT|TYPE)\b", text, re.M)
    if not act:
        none = choices.get("A", "").strip() or "None of the above"
        return ("answer", thought, none) if letter[1] == "A" else None
    value = re.search(r"^Value: *(.*)", text[act.end():], re.M)
    if act[1] == "CLICK":
        return "click", thought, {"choice": letter[1]}
    drop_if(not value, "a choice without its value")
    return act[1].lower(), thought, {"choice": letter[1], "value": value[1].strip()}


_PARSERS = {"os": _os, "db": _db, "kg": _kg, "alfworld": _alfworld, "webshop": _webshop, "mind2web": _mind2web}
