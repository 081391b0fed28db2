"""ACEBench's special data (arXiv 2501.12851): does a model say why it cannot call a tool?

Three files of requests that no right call exists for: ``irrelevant`` (no tool does it), ``incomplete`` (parameters are
missing) and ``error_param`` (a value is wrong). They stand in ``data_all/data_en`` of the git repository
ACEBench/ACEBench. Upstream's system prompt dictates the sentences that :func:`right` looks for; the model has to be
shown these sentences, or it scores nothing.

The rule is upstream's ``special_eval`` (commit e6db74b) to the letter, and it is a weak one. It looks for substrings,
upper and lower case apart: a reply may say anything besides, call a tool too, or list every parameter there is.
A short value such as ``8`` is found inside other numbers. The answer to ``special_incomplete_0`` lists its parameters
with the spaces of a comma-separated line, so that a reply which names them in another way is wrong. So scores of models
that were not tuned on the sentences tell how well they copy them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from flanlib.benchmarks.agent_h.samples import lines
from flanlib.records import FlanError, Tool, clip

CATEGORIES = IRRELEVANT, INCOMPLETE, ERROR = ("irrelevant", "incomplete", "error_param")
SENTENCES = {IRRELEVANT: "the limitations of the function", INCOMPLETE: "Missing necessary parameters",
             ERROR: "There is incorrect value"}  # fmt: skip
"""What a reply has to hold, by category."""
RIGHT = "right"
_FILE = "data_special_{}.json"


@dataclass(frozen=True)
class Case:
    """A request with the offered tools, and what is wrong with it: texts that the reply has to name, by their owner.

    The owner is a tool in ``incomplete`` and a parameter in ``error_param``.
    """

    id: str
    category: str
    query: str
    tools: tuple[Tool, ...]
    wrong: Mapping[str, tuple[str, ...]]
    now: str = ""


def read(folder: Path) -> list[Case]:
    """Read the three files of a folder, with the answers in its ``possible_answer``.

    Raises FlanError if a file is missing, and for a row, named by its line, that is none of the data's.
    """
    folder, cases = Path(folder), []
    for category in CATEGORIES:
        path = folder / _FILE.format(category)
        answers = folder / "possible_answer" / path.name
        for file in (path, answers):
            if not file.is_file():
                raise FlanError("ACEBench", found=f"no file {file.name} in {file.parent.name}/",
                                expected="the special data and its possible answers",
                                remedy="Run git clone https://github.com/ACEBench/ACEBench and give its "
                                       "folder data_all/data_en.")  # fmt: skip
        by_id = {row.get("id"): row.get("ground_truth") for _, row in lines(answers)}
        cases += [_case(row, category, by_id, where) for where, row in lines(path)]
    return cases


def right(case: Case, reply: str) -> bool:
    """Tell whether a reply is right by upstream's rule.

    In ``incomplete`` it has to hold the sentence, the tool's name and every missing parameter. In ``error_param`` it
    has to hold the sentence and every wrong value, but no parameter.

    >>> case = Case("0", "incomplete", "A ticket, please.", (), {"get_fare": ("town",)})
    >>> right(case, "Missing necessary parameters (town) for get_fare."), right(case, "Which town?")
    (True, False)
    """
    named = case.wrong if case.category == INCOMPLETE else ()
    texts = (text for listed in case.wrong.values() for text in listed)
    return all(text in reply for text in (SENTENCES[case.category], *named, *texts))


def judge(cases: Sequence[Case], replies: Mapping[str, str]) -> pd.DataFrame:
    """Judge replies by case id: a row each with id, category, score, value (0 or 1) and seed, for ``scores.table``.

    Cases without a reply are left out. Raises FlanError for a reply to an unknown case.
    """
    unknown = sorted(set(replies) - {case.id for case in cases})
    if unknown or not replies:
        raise FlanError("replies", found=f"{len(unknown)} ids that no case has, such as {unknown[:3]}" if unknown
                        else "no reply", expected="replies by the ids of the cases",
                        remedy="Judge replies with the cases that they answer.")  # fmt: skip
    return pd.DataFrame([(case.id, case.category, RIGHT, int(right(case, replies[case.id])), 0)
                         for case in cases if case.id in replies],
                        columns=["id", "category", "score", "value", "seed"])  # fmt: skip


def _case(row: Mapping[str, Any], category: str, answers: Mapping[Any, Any], where: str) -> Case:
    try:
        truth = answers[row["id"]]
        tools = tuple(Tool(one["name"], one["description"], one["parameters"]) for one in row["function"])
        query = row["question"].removeprefix("user: ").strip()
        wrong = {} if category == IRRELEVANT else {name: _texts(texts) for name, texts in truth.items()}
        one = Case(row["id"], category, query, tools, wrong, row["time"])
        if not wrong and category != IRRELEVANT:
            raise ValueError("nothing is wrong")
        "".join((one.id, one.query, one.now, *(text for texts in wrong.values() for text in texts))).encode()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FlanError(where, found=f"{clip(dict(row), 100)} ({error!r})"[:300],
                        expected="a row with id, question, function, time, and an answer of the same id",
                        remedy="Fetch the file again.") from None  # fmt: skip
    return one


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("texts that are no list")
    return tuple(value)
