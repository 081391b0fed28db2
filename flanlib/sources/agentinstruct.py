"""AgentInstruct (THUDM/AgentInstruct): six environments, each with its own way to write thought and action.

Rows are ``{id, conversations: [{from, loss, value}]}`` without a system role: the first human turn explains the
format, gpt turns with ``loss`` false acknowledge it and play an example. Both are left out, as in the paper's
appendix A; what stays is the request, the steps and the answer.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from flanlib.records import Tool, Trajectory
from flanlib.sources.common import Drop, Message, Note, Steps, messages, row_id, tool


class Task(NamedTuple):
    """One environment: what it is, its tools, and text that the harness put before a request or a result."""

    instructions: str
    tools: tuple[Tool, ...]
    lead: str


_VARIABLE = "A variable such as #0, or the name of an entity"
TASKS = {
    "os": Task("You work in the shell of an Ubuntu system, as root.", (
        tool("bash", "Run shell code and see what it prints.", code="The code to run"),
        tool("finish", "Say that the task is done, when it asks for no answer.")),
        r"Now, I will start a new problem in a new OS\. My problem is:\s*|The output of the OS:[^\S\n]*\n*"),
    "db": Task("You work with a MySQL database. An answer is the list of the values asked for.", (
        tool("execute_sql", "Run one SQL statement and see the rows it returns.", query="The statement"),), ""),
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
        r"A new question:\s*|Observation:\s*"),
    "alfworld": Task("You act in a household that is described in text, one command at a time.", (
        tool("act", "Do one thing in the room and see what happens.",
             command="A command such as 'go to shelf 1' or 'take mug 1 from desk 2'"),), r"Observation:\s*"),
    "webshop": Task("You shop in a web store: find the product that fits the request, choose its options, buy it.", (
        tool("search", "Search the store from a page with a search bar.", query="Key words"),
        tool("click", "Click one of the page's clickable items.", item="The item's text")), r"Observation:\s*"),
    "mind2web": Task("You carry out a task on a web page, one element at a time. The page and some of its elements, "
                     "lettered, are given; the first letter stands for none of them.", (
        tool("click", "Click an element.", choice="The element's letter"),
        tool("select", "Choose an option of an element.", choice="The element's letter", value="The option"),
        tool("type", "Type into an element.", choice="The element's letter", value="The text")), ""),
}
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
# The harness's own patterns, tightened to whole lines: what each environment accepts as an action.
_SIGNS = (("os", r"^Act:\s*(?:bash|finish|answer)"), ("db", r"^Action: (?:Operation|Answer)\s*$"),
          ("kg", r"^Action:? *(?:get_|intersection|argm|count)|^Final Answer: *#\d"), ("alfworld", r"^ ?ACTION:"),
          ("webshop", r"^Action: *\n *(?:search|click)\["), ("mind2web", r"^Answer: [A-F]\."))


def matches(row: Any) -> bool:
    """Tell whether a row has AgentInstruct's shape: from/value turns with loss flags, in a known syntax."""
    turns = row.get("conversations") if isinstance(row, dict) else None
    return (isinstance(turns, list) and any(isinstance(t, dict) and "from" in t and "loss" in t for t in turns)
            and task_of(row) is not None)


def task_of(row: dict[str, Any]) -> str | None:
    """Name a row's environment by its id (``os_0``), else by how its agent writes; None if neither tells."""
    named = re.match(r"(\w+?)_\d+$", str(row.get("id", "")))
    if named and named[1] in TASKS:
        return named[1]
    turns = [t for t in row["conversations"] if isinstance(t, dict) and t.get("from") in ("gpt", "assistant")]
    said = "\n".join(t["value"] for t in turns if isinstance(t.get("value"), str))
    return next((task for task, sign in _SIGNS if re.search(sign, said, re.M)), None)


def convert(row: dict[str, Any], where: str, note: Note) -> Trajectory:
    """Read one row. Raises Drop, with the reason, for rows that cannot be used."""
    said = messages(row.get("conversations"))
    name = task_of(row)
    if name is None:
        raise Drop("an unknown environment")
    if not any("loss" in m.raw for m in said):
        raise Drop("no loss flags: example and task cannot be told apart")
    for message in said:
        if message.role not in ("human", "user", "gpt", "assistant"):
            raise Drop(f"unknown role {message.role[:20]}")
    task, real = TASKS[name], _real(said, note)
    steps, answer, thought = Steps(), None, ""
    for i, message in enumerate(real[1:]):
        agent = message.role in ("gpt", "assistant")
        if agent != (i % 2 == 0):
            raise Drop("turns do not alternate")
        if answer is not None:
            note("turns after the answer left out")
            break
        if not agent:
            steps.observe(_clean(message.text, task, note))
            continue
        if not message.text.strip():
            raise Drop("an empty agent turn")
        if message.raw.get("loss") is False:
            note("untrained turn inside the task")
        kind, told, given = _PARSERS[name](message.text, real[0].text, note)
        steps.think(told)
        if kind == "answer":
            answer, thought = given, steps.thought()
        else:
            steps.call(kind, given)
    if answer is not None and not answer.strip():
        raise Drop("an empty answer")
    if answer is None:
        note("no answer")
    return Trajectory(row_id(row, where), f"agentinstruct/{name}", _clean(real[0].text, task, note).strip(),
                      task.tools, steps.done(answered=answer is not None), answer, thought, task.instructions)


def _real(said: list[Message], note: Note) -> list[Message]:
    """Cut the instructions, acknowledgement and example: the task starts before the first trained turn."""
    first = next((i for i, m in enumerate(said) if m.role in ("gpt", "assistant") and m.raw.get("loss") is not False),
                 None)
    if first is None:
        raise Drop("nothing to train")
    if first == 0:
        raise Drop("no request before the first turn")
    if first > 1:
        note("scripted turns left out")
    return said[first - 1:]


def _clean(text: str, task: Task, note: Note) -> str:
    bare = _ANSI.sub("", text)
    if bare != text:
        note("terminal colour codes removed")
    return re.sub(rf"\A\s*(?:{task.lead})", "", bare) if task.lead else bare


_Parsed = tuple[str, str, Any]  # a tool's name or "answer", the thought, the arguments or the answer


def _os(text: str, page: str, note: Note) -> _Parsed:
    acts = [m for m in re.finditer(r"Act:\s*(.+)", text) if re.match(r"bash|finish|answer\(", m[1])]
    if not acts:
        raise Drop("a turn without an action")
    act, thought = acts[-1], re.search(r"Think:\s*(.*?)\s*(?=\n\s*Act:|\Z)", text, re.S)
    told = thought[1] if thought else text[:acts[0].start()].strip()
    if act[1].startswith("answer("):
        body = text[act.start(1) + len("answer("):].rstrip()
        return "answer", told, body.removesuffix(")").strip()
    if act[1].startswith("finish"):
        return "finish", told, {}
    blocks = re.findall(r"```bash\n?(.*?)\n?```", text, re.S)
    if not blocks:
        raise Drop("a turn without an action")
    return "bash", told, {"code": "\n".join(blocks)}


def _db(text: str, page: str, note: Note) -> _Parsed:
    act = re.search(r"^Action: *(Operation|Answer)[^\S\n]*(?:\n|\Z)", text, re.M)
    told = text[:act.start()].strip() if act else ""
    answer = re.search(r"^Final Answer:(.*)", text, re.M | re.S)
    if act and act[1] == "Answer" and answer:
        return "answer", told, answer[1].strip()
    sql = re.search(r"```(?:sql)?\n?(.*?)\n?```", text[act.end():], re.S) if act else None
    if not sql or act[1] != "Operation":
        raise Drop("a turn without an action")
    return "execute_sql", told, {"query": sql[1].strip()}


def _kg(text: str, page: str, note: Note) -> _Parsed:
    text = re.split(r"^\s*Observation:", text, maxsplit=1, flags=re.M)[0].replace("\\_", "_")
    call = re.search(r"^\s*Action:? *([a-z_]+)\((.*)\)[^\n]*$", text, re.M)
    answer = re.search(r"(?:Find|Final) Answer: *(#\d+)", text)
    found = min((m for m in (call, answer) if m), key=lambda m: m.start(), default=None)
    if not found:
        raise Drop("a turn without an action")
    told = re.sub(r"\A\s*Thought:\s*", "", text[:found.start()]).strip()
    if found is answer:
        return "answer", re.sub(r"\n?\s*Action:?\Z", "", told), answer[1]
    declared = next((t for t in TASKS["kg"].tools if t.name == call[1]), None)
    names = declared.required if declared else ()
    # Names of entities may hold commas, relations and variables never do: cut at the last one.
    values = [v.strip() for v in (call[2].rsplit(",", 1) if len(names) == 2 else [call[2]])]
    if len(values) != len(names) or not all(values):
        raise Drop("a call of no known function")
    return call[1], told, dict(zip(names, values, strict=True))


def _alfworld(text: str, page: str, note: Note) -> _Parsed:
    act = re.search(r"ACTION:\s*(.+)", text)
    if not act or not act[1].strip():
        raise Drop("a turn without an action")
    return "act", re.sub(r"\A\s*THOUGHT:\s*", "", text[:act.start()]).strip(), {"command": act[1].strip()}


def _webshop(text: str, page: str, note: Note) -> _Parsed:
    act = (re.search(r"[Aa]ction: *\n* *(search|click)\[(.*)\]\s*\Z", text)
           or re.search(r"[Aa]ction: *\n* *(search|click)\[(.+?)\]", text))
    if not act or not act[2].strip():
        raise Drop("a turn without an action")
    told = re.sub(r"\A\s*Thought:\s*", "", text[:act.start()]).strip()
    return act[1], told, {"query" if act[1] == "search" else "item": act[2].strip()}


def _mind2web(text: str, page: str, note: Note) -> _Parsed:
    letter = re.search(r"^Answer: *([A-Z])\b", text, re.M)
    if not letter:
        raise Drop("a turn without an action")
    told = re.sub(r"\A\s*Thought:\s*", "", text[:letter.start()]).strip()
    offered = dict(re.findall(r"^([A-Z])\. +(.*)", page, re.M))
    if not offered:
        note("no lettered choices on the page")
    elif letter[1] not in offered:
        raise Drop("the chosen letter is not on the page")
    act = re.search(r"^Action: *(CLICK|SELECT|TYPE)\b", text, re.M)
    if letter[1] == "A" and not act:
        return "answer", told, offered.get("A", "").strip() or "None of the above"
    if not act:
        raise Drop("a turn without an action")
    value = re.search(r"^Value: *(.*)", text[act.end():], re.M)
    if act[1] == "CLICK":
        return "click", told, {"choice": letter[1]}
    if not value:
        raise Drop("a choice without its value")
    return act[1].lower(), told, {"choice": letter[1], "value": value[1].strip()}


_PARSERS = {"os": _os, "db": _db, "kg": _kg, "alfworld": _alfworld, "webshop": _webshop, "mind2web": _mind2web}
