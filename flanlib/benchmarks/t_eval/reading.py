"""Read T-Eval's files of rows, and the replies to them.

A file of rows is one JSON object, id -> row. Replies are JSON lines {id, reply}, as a model wrote them, or the file
that open-compass's ``test.py`` writes: the same object with a ``prediction`` in every row, which it has cut already.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flanlib.benchmarks.agent_h import samples
from flanlib.benchmarks.t_eval.literals import clean
from flanlib.benchmarks.t_eval.single import CHOICES, fields
from flanlib.records import FlanError, clip

INSTRUCT, PLAN_JSON, PLAN_STR, CALL_JSON = "instruct", "plan_json", "plan_str", "reason_retrieve_understand_json"
REASON, RETRIEVE, UNDERSTAND, REVIEW = "reason_str", "retrieve_str", "understand_str", "review_str"
PARTS = (INSTRUCT, PLAN_JSON, PLAN_STR, CALL_JSON, REASON, RETRIEVE, UNDERSTAND, REVIEW)
"""The files of T-Eval, by the beginnings of their names."""
_JSON_KEYS = ("thought", "action", "args")
_TEXT_KEYS = tuple(f"{part}_{side}" for part in _JSON_KEYS for side in ("start", "end"))


class Part(NamedTuple):
    """The rows of a part of T-Eval, by id."""

    name: str
    rows: Mapping[str, Mapping[str, Any]]


def part_of(path: Path) -> str:
    """Tell from a file's name which part of T-Eval it holds. Raises FlanError if it begins like none.

    >>> part_of(Path("review_str_v2_subset.json"))
    'review_str'
    """
    found = [name for name in PARTS if re.match(rf"{name}(?![a-z])", path.name)]
    if not found:
        raise FlanError(str(path), found="a file name of no part of T-Eval", expected=f"one that begins with "
                        f"{', '.join(PARTS)}", remedy="Pass --part, or give the file its published name.")  # fmt: skip
    return found[0]


def read(path: Path, part: str = "") -> Part:
    """Read a file of rows; ``part`` is told by the file's name if not given. Raises FlanError for a broken row."""
    listed = _object(path)
    part = part or part_of(path)
    for id, row in listed.items():
        where = f"{path}, row {clip(id)}"
        found, expected = _fault(part, row)
        if expected:
            raise FlanError(where, found=found, expected=expected, remedy=f"Check that this is a file of {part}.")
    return Part(part, listed)


def replies(path: Path) -> dict[str, str]:
    """Read replies by id, cut for scoring. Raises FlanError for a row without a reply, or an id twice."""
    if path.suffix == ".json":
        rows = [(f"{path}, row {clip(id)}", {"id": id, "reply": row.get("prediction")})
                for id, row in _object(path).items()]  # fmt: skip
        expected, finish = "a text as prediction", str
    else:
        rows, expected, finish = samples.lines(path), "{id, reply}, both text, each id once", clean
    found: dict[str, str] = {}
    for where, row in rows:
        if not isinstance(row.get("id"), str) or not isinstance(row.get("reply"), str) or row["id"] in found:
            raise FlanError(where, found=clip(row), expected=expected, remedy="Correct it.")
        found[row["id"]] = finish(row["reply"])
    if not found:
        raise FlanError(str(path), found="no reply", expected="a reply or more", remedy="Check the path.")
    return found


def meta(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a row says about itself: the form of the reply, and the tools of a plan."""
    found = row.get("meta", row.get("meta_data"))
    return found if isinstance(found, dict) else {}


def form(part: str, row: Mapping[str, Any]) -> Any:
    """Return the form that a row asks for: json, str, or in the part instruct string."""
    return meta(row).get("prompt_type" if part in (PLAN_JSON, PLAN_STR) else "response_format")


def _object(path: Path) -> Mapping[str, Mapping[str, Any]]:
    if not path.is_file():
        raise FlanError(str(path), found="no such file", expected="a JSON object of rows", remedy="Check the path.")
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        why = clip(found)
    except (ValueError, RecursionError) as error:
        found, why = None, f"invalid JSON ({clip(str(error))})"
    if not isinstance(found, dict) or not found or not all(isinstance(row, dict) for row in found.values()):
        raise FlanError(str(path), found=why, expected="a JSON object, id -> row",
                        remedy="Give the file as it was published, or name replies as JSON lines .jsonl.")  # fmt: skip
    return found


def _fault(part: str, row: Mapping[str, Any]) -> tuple[str, str]:
    """Return what is wrong with a row and what is expected, or two empty texts."""
    gold, template, asked = row.get("ground_truth"), row.get("template"), form(part, row)
    forms = ("json", "string") if part == INSTRUCT else (part.rpartition("_")[2],)
    keys = _JSON_KEYS if asked == "json" else _TEXT_KEYS
    for wrong, found, expected in (
        (asked not in forms, {"form": asked}, f"the form {' or '.join(forms)}"),
        (part == INSTRUCT and not (isinstance(gold, dict) and "action" in gold and isinstance(gold.get("args"), dict)),
         gold, "a ground_truth with action and args"),
        (part == INSTRUCT and not (isinstance(template, dict) and all(isinstance(template.get(k), str) for k in keys)),
         template, f"a template with the texts {', '.join(keys)}"),
        (part == REVIEW and not (isinstance(gold, dict) and gold.get("answer") in CHOICES), gold,
         "a ground_truth with an answer from A to E"),
        (part in (CALL_JSON, REASON, RETRIEVE, UNDERSTAND) and fields(gold) is None, gold,
         "a ground_truth with thought, name and args"),
        (part in (PLAN_JSON, PLAN_STR) and not isinstance(gold, (list, str)), gold, "a ground_truth with steps"),
        (part == PLAN_STR and not (isinstance(tools := meta(row).get("API_list"), list) and tools
                                   and all(isinstance(t, str) and t for t in tools)), meta(row), "tools in API_list"),
    ):  # fmt: skip
        if wrong:
            return clip(found), expected
    return "", ""
