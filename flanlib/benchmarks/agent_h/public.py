"""Public sets of negatives, read as samples: a number from outside to set beside Agent-H's, for real models.

BFCL (ShishirPatil/gorilla, ``bfcl_eval/data``): the right reply to irrelevance rows is no call, to all others a call.
The single-turn categories and what each expects follow the leaderboard. Live rows are read like the others. The names
to call come from the file of the same name in ``possible_answer/``, if there is one.

RelyToolBench (X-LANCE/ToolHallucination, ``solvable_queries``; arXiv 2412.04141) changes the solvable queries of
THUNLP-MT/StableToolBench (also read here) in two ways. *Unmatched*: the tools were exchanged for others. The file name
says so, and the row must confirm it: none of its ``relevant APIs`` is offered. *Missing arguments*: what the calls need
was removed from the query, so the right reply asks for it. Such a row has an ``orig_query``, or else the file name says
so. A third of those (33 of 102 of G1) also want an API that needs no argument, so that a call would be no mistake: they
are dropped. Function names are built as in upstream's ``rapidapi_multithread.py``.
"""

import os
import re
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from flanlib.benchmarks.agent_h.samples import ACTION, CALL, CELLS, PLAIN, Sample
from flanlib.records import FlanError, freeze
from flanlib.sources.common import Drop, Note, counted, row_id
from flanlib.sources.files import files, rows
from flanlib.sources.messages import complete
from flanlib.sources.tools import tools_of
from flanlib.tally import Tally

ANSWERS = "possible_answer"
API_TYPES = {"NUMBER": "number", "BOOLEAN": "boolean", "ARRAY": "array", "OBJECT": "object"}
"""Types of RapidAPI parameters; dates, enumerations and the rest are strings, as upstream has them."""
RESERVED = ("from", "class", "return", "false", "true", "id", "and")
LONGEST_NAME, LONGEST_TEXT = 64, 256  # characters of a function name (its end is kept) and of a description (its start)
_CATEGORY = re.compile(
    r"(?:live_)?(irrelevance|relevance|simple|parallel_multiple|parallel|multiple)(?:_(?:python|java|javascript))?")


def read(data: str | os.PathLike, *, tally: Tally) -> list[Sample]:
    """Read samples from a file, folder or glob of BFCL v4, RelyToolBench or StableToolBench query files.

    Every row is counted once in the tally, except the possible answers to files that are read. Ids are
    ``<file name>/<the row's own>``; of a repeated id the first row is kept.

    Raises FlanError for files that are missing or cannot be read, never for a row.
    """
    by_id: dict[str, Sample] = {}
    listed = [path for path, _ in files(data)]
    if not listed:
        raise FlanError(str(data), found="no such file or folder", expected="query files of BFCL or RelyToolBench",
                        remedy="Download them and give the path.")  # fmt: skip
    for path in listed:
        if path.parent.name == ANSWERS and path.parent.parent / path.name in listed:
            continue
        answers = _answers(path, tally)
        for where, row in rows(path, tally=tally):
            one = counted(partial(_sample, row, path, where, answers, by_id), where, tally)
            if one is not None:
                by_id[one.id] = one
    return list(by_id.values())


def api_name(tool: str, api: str) -> str:
    """Return the name that ToolBench gives a RapidAPI function.

    >>> api_name("Kettle & Co.", "Water/Heat"), api_name("Kettle & Co.", "id")
    ('water_heat_for_kettle_co', 'is_id_for_kettle_co')
    """
    return f"{_word(api)}_for_{_snake(tool)}"[-LONGEST_NAME:]


def _sample(row: Any, path: Path, where: str, answers: Mapping[str, tuple[str, ...]], known_ids: Collection[str],
            note: Note) -> Sample:  # fmt: skip
    _require(isinstance(row, dict), "not an object")
    stem = path.name.split(".")[0]
    if "question" in row and "function" in row:
        own_id = row_id(row, where)
        fields = _bfcl(row, _kind(own_id, stem), answers.get(own_id, ()), note)
    elif "api_list" in row and "query" in row:
        own_id = row_id({"id": row.get("query_id")}, where)
        fields = _relytoolbench(row, stem, note)
    else:
        raise Drop("no known format")
    one = Sample(id=f"{stem}/{own_id}", level=ACTION, cell=CELLS[3 if fields["truth"] == CALL else 2],
                 origin=f"{where} ({own_id})", **fields)  # fmt: skip
    freeze((one.id, one.query, one.instructions, one.wanted))  # raises for broken Unicode; tools were checked before
    _require(one.id not in known_ids, "an id that repeats")
    return one


def _bfcl(row: Mapping[str, Any], kind: str, wanted: tuple[str, ...], note: Note) -> dict[str, Any]:
    turns = row["question"] if isinstance(row["question"], list) else []
    _require(len(turns) <= 1, "several turns")
    first_turn = complete(turns[0] if turns else None, note)
    _require({message.role for message in first_turn} <= {"system", "user"}, "a conversation before the request")
    system, user = ([message.text for message in first_turn if message.role == role] for role in ("system", "user"))
    if len(user) > 1:
        note("user messages joined")  # with no reply between them, they are one request
    tools = tools_of(row["function"], note)
    _require(tools, "no tool is offered")
    fields = {"source": "bfcl", "variety": f"bfcl {kind}", "truth": PLAIN, "query": "\n\n".join(user),
              "instructions": "\n\n".join(system), "tools": tools}  # fmt: skip
    if kind == "irrelevance":
        return fields
    _require(wanted or kind == "relevance" or len(tools) == 1, "no possible answer tells which tool is wanted")
    offered = tuple(tool.name for tool in tools)
    _require(not wanted or set(wanted).intersection(offered), "no wanted tool is offered")
    return fields | {"truth": CALL, "wanted": wanted or offered}


def _relytoolbench(row: Mapping[str, Any], stem: str, note: Note) -> dict[str, Any]:
    listed, relevant, query = row["api_list"], row.get("relevant APIs"), row["query"]
    _require(isinstance(query, str), "the query is not text")
    _require(isinstance(listed, list) and listed, "no tool is offered")
    _require(isinstance(relevant, list) and relevant and all(
        isinstance(pair, list) and [type(name) for name in pair] == [str, str] for pair in relevant),
        "relevant APIs are not pairs of names")  # fmt: skip
    tools = tools_of([_function(api, note) for api in listed], note)
    wanted = tuple(dict.fromkeys(api_name(*pair) for pair in relevant))
    offered = {name: tool for name in wanted for tool in tools if tool.name == name}
    fields = {"source": "relytoolbench", "query": query, "tools": tools, "wanted": wanted, "truth": PLAIN}
    if "unmatched" in stem:
        _require(not offered, "a wanted tool is offered")
        return fields | {"variety": "relytoolbench unmatched"}
    _require(offered, "no wanted tool is offered")
    if "orig_query" in row or "missing" in stem:
        _require(row.get("orig_query") != query, "nothing is missing from the query")
        _require(all(tool.required for tool in offered.values()), "a wanted tool needs no argument")
        return fields | {"variety": "relytoolbench missing arguments"}
    return fields | {"variety": "relytoolbench solvable", "truth": CALL, "wanted": tuple(offered)}


def _function(api: Any, note: Note) -> dict[str, Any]:
    """Write an entry of an ``api_list`` as a function. Its defaults become ``example_value``, as upstream has them."""
    names = (api.get("tool_name"), api.get("api_name")) if isinstance(api, dict) else ()
    _require([type(name) for name in names] == [str, str], "an API without a name")
    properties, required = {}, []
    for key in ("required_parameters", "optional_parameters"):
        listed = api.get(key) or []
        _require(isinstance(listed, list), "parameters that are not a list")
        for entry in listed:
            _require(isinstance(entry, dict) and isinstance(entry.get("name"), str), "a parameter without a name")
            name = _word(entry["name"]) or entry["name"]
            if name in properties:
                note("a parameter listed twice, the first kept")
                continue
            properties[name] = {"type": API_TYPES.get(str(entry.get("type")).upper(), "string"),
                                "description": _text(entry.get("description"))}  # fmt: skip
            if entry.get("default") not in (None, ""):
                properties[name]["example_value"] = entry["default"]
            if key == "required_parameters":
                required.append(name)
    return {"name": api_name(*names), "description": _text(api.get("api_description")),
            "parameters": {"type": "object", "properties": properties, "required": required}}  # fmt: skip


def _kind(own_id: str, stem: str) -> str:
    """Return a BFCL row's category, by its id or else its file's name. Raises Drop for a category that is not read."""
    names = (re.sub(r"_\d[\d-]*\Z", "", own_id), re.sub(r"\ABFCL_v\d+_", "", stem))
    found = next(filter(None, map(_CATEGORY.fullmatch, names)), None)
    _require(found, "a category that is not read")
    return found.group(1)


def _answers(path: Path, tally: Tally) -> dict[str, tuple[str, ...]]:
    """Read the names to call, by row id, from a file's possible answers; empty if it has none."""
    answers, unread = path.parent / ANSWERS / path.name, Tally(ANSWERS)
    names: dict[str, tuple[str, ...]] = {}
    for where, row in rows(answers, tally=unread) if answers.is_file() else ():
        calls = row.get("ground_truth") if isinstance(row, dict) else None
        if isinstance(calls, list) and all(isinstance(call, dict) for call in calls):
            names[row_id(row, where)] = tuple(dict.fromkeys(name for call in calls for name in call))
        else:
            unread.drop("no calls", where)
    if unread.seen:
        tally.note("a possible answer that cannot be read", unread.seen)
    for label, error in unread.broken.items():
        tally.broke(f"{ANSWERS}/{label}", error)
    return names



def _snake(text: str) -> str:
    """Write a name in snake case; one that would begin with a digit gets ``get_`` before it."""
    name = re.sub("[^a-zA-Z0-9\u4e00-\u9fa5]+", "_", text).strip("_").lower()
    return f"get_{name}" if name[:1].isdigit() else name


def _word(text: str) -> str:
    """Write a name in snake case, and a reserved word with ``is_`` before it."""
    name = _snake(text)
    return f"is_{name}" if name in RESERVED else name


def _require(holds: Any, reason: str) -> None:
    if not holds:
        raise Drop(reason)


def _text(value: Any) -> str:
    return value.strip()[:LONGEST_TEXT] if isinstance(value, str) else ""
