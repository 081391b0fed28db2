"""BFCL, the Berkeley Function-Calling Leaderboard (v4): calls where a tool fits, none where no tool does.

Read are the categories of one request with Python functions: irrelevance and relevance, simple and multiple, live or
not. Their data comes from the package index and is fetched by ``python -m flanlib.benchmarks.bfcl``. Rows are read by
:mod:`flanlib.benchmarks.agent_h.public`, so a case is a sample of Agent-H with its possible answers. Rows without tools
and those with a conversation before the request are dropped and counted there (12 of the 884 rows of live_irrelevance).

Upstream counts a reply as abstaining if no call can be decoded from it, so a model whose calls are broken looks careful
(issue 1362 of ShishirPatil/gorilla). Here call, malformed call and abstaining are told apart.
"""

import re
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from flanlib import wheels
from flanlib.benchmarks.agent_h import public, replies, samples, score
from flanlib.benchmarks.agent_h.samples import Sample
from flanlib.benchmarks.bfcl_check import Call, decode, matches
from flanlib.presets import DATA, shown
from flanlib.records import FlanError, first_json
from flanlib.tally import Tally
from flanlib.wheels import Wheel

WHEEL = Wheel("BFCL's data", "bfcl-eval==2026.3.23", "bfcl_eval-2026.3.23-py3-none-any.whl",
              "3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a", size=1_925_664)  # fmt: skip
FOLDER = DATA / "downloads" / "bfcl"
FETCH = "python -m flanlib.benchmarks.bfcl"
IRRELEVANCE = ("irrelevance", "live_irrelevance")
MATCHED = ("simple_python", "multiple", "live_simple", "live_multiple")  # these have possible answers
CATEGORIES = (*IRRELEVANCE, *MATCHED, "live_relevance")

KINDS = CALL, MALFORMED, ABSTAIN, DEGENERATE = ("call", "malformed", "abstain", "degenerate")
"""A call with a name that can be carried out; one that cannot (broken, or only announced); none; and no content."""
RIGHT, WRONG = "right", "wrong"
COLUMNS = ("id", "category", "truth", "kind", "verdict", "tool", "form", "reply", "followed")
_FILE = "BFCL_v4_{}.json"
_ACTION = re.compile(r"^Action:[ \t]*(?P<name>\S[^\n]*)\nAction Input:", re.M)
_MOST_VALUES = 20


@dataclass(frozen=True)
class Case:
    """A row of BFCL as a sample, with its function descriptions and possible answers (none in (ir)relevance)."""

    sample: Sample
    category: str
    functions: tuple[Mapping[str, Any], ...]
    answers: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Draw:
    """A draw of :func:`draw` from the fetched data. Its repr names the draw where the data is not there."""

    FETCH: ClassVar[str] = FETCH

    n: int
    seed: int
    categories: tuple[str, ...] = CATEGORIES
    data: str = WHEEL.sha256

    @property
    def size(self) -> int:
        """How many cases are drawn, if there are as many."""
        return 2 * self.n

    def read(self) -> list[Case]:
        """Return the cases. Raises FlanError, in a line that says how to fetch the data, if it is not there."""
        return draw(read(tally=Tally("BFCL")), self.n, seed=self.seed)


def fetch() -> Path:
    """Return the folder of BFCL's data, fetched the first time. Raises FlanError as :func:`flanlib.wheels.built`."""
    return wheels.built(WHEEL, FOLDER, _build) / "data"


def read(folder: Path | None = None, *, tally: Tally) -> list[Case]:
    """Read all cases in a folder of BFCL's data, by default the one that :func:`fetch` fills; rows are counted.

    Raises FlanError if there is no data, and for a file that cannot be read.
    """
    folder = Path(folder or FOLDER / "data")
    found = [name for name in CATEGORIES if (folder / _FILE.format(name)).is_file()]
    if not found:
        raise FlanError("BFCL", found=f"no data in {folder.name}/", expected=f"{_FILE.format(CATEGORIES[0])} or others",
                        remedy=f"Run {FETCH}, which fetches them.")  # fmt: skip
    cases = []
    for name in found:
        path = folder / _FILE.format(name)
        functions = _by_id(path, "function")
        answers = _by_id(folder / public.ANSWERS / path.name, "ground_truth") if name in MATCHED else {}
        for sample in public.read(path, tally=tally):
            own = sample.id.partition("/")[2]
            cases.append(Case(sample, name, functions[own], answers.get(own, ())))
    return cases


def draw(cases: Iterable[Case], n: int | None = 240, *, seed: int = 0) -> list[Case]:
    """Draw n cases where no tool fits and n where one does, spread evenly over their categories; None takes all.

    A category with fewer cases gives all it has, and the others make up for it.
    """
    rng, drawn = np.random.default_rng(seed), []
    by_category: dict[str, list[Case]] = {name: [] for name in CATEGORIES}
    for case in cases:
        by_category[case.category].append(case)
    for irrelevance in (True, False):
        shuffled = [[group[i] for i in rng.permutation(len(group))] for name, group in by_category.items()
                    if (name in IRRELEVANCE) == irrelevance]  # fmt: skip
        drawn += [case for tier in zip_longest(*shuffled) for case in tier if case][:n]
    return drawn


def judge(cases: Sequence[Case], by_id: Mapping[str, str]) -> pd.DataFrame:
    """Judge replies by sample id: see :func:`judgements`. Raises FlanError for a reply to an unknown sample."""
    return judgements(rated(cases, score.judge([case.sample for case in cases], by_id)))


def rated(cases: Sequence[Case], measured: pd.DataFrame) -> pd.DataFrame:
    """Rate measured replies (:func:`flanlib.benchmarks.agent_h.ask.measure`): a row each, with COLUMNS.

    ``truth`` is plain or call, ``kind`` one of KINDS. ``verdict`` is RIGHT or WRONG by upstream's rule: no call in
    irrelevance, a call in relevance, one of the possible answers in simple and multiple. A call in chat form names no
    arguments, so there the verdict is empty.
    """
    by_id, lines = {case.sample.id: case for case in cases}, []
    for row in measured.to_dict("records"):
        case, kind, verdict = by_id[row["id"]], kind_of(row["kind"], row["form"]), ""
        if case.category not in MATCHED:
            verdict = RIGHT if (kind == CALL) == (case.category not in IRRELEVANCE) else WRONG
        elif row["form"] != "chat":
            verdict = RIGHT if matches(stated(row["reply"]), case.functions, case.answers) else WRONG
        lines.append((row["id"], case.category, case.sample.truth, kind, verdict, row["tool"], row["form"],
                      row["reply"], row["followed"]))  # fmt: skip
    return pd.DataFrame(lines, columns=list(COLUMNS))


def judgements(rows: pd.DataFrame) -> pd.DataFrame:
    """Spread rated replies into single judgements of 0 and 1, for :func:`flanlib.benchmarks.scores.table`.

    Scores are the KINDS, and RIGHT where there is a verdict. Other columns are kept; ``seed`` is 0 without one.
    """
    rows = rows if "seed" in rows else rows.assign(seed=0)
    parts = [rows.assign(score=name, value=(rows["kind"] == name).astype(int)) for name in KINDS]
    known = rows[rows["verdict"] != ""]
    return pd.concat([*parts, known.assign(score=RIGHT, value=(known["verdict"] == RIGHT).astype(int))],
                     ignore_index=True)  # fmt: skip


def answers(rows: pd.DataFrame) -> pd.DataFrame:
    """Tabulate rated replies of several models as Agent-H's (:func:`flanlib.benchmarks.agent_h.score.answers`).

    The cells are ``no tool fits``, where abstaining is right, and ``a tool fits``, where any call is.
    """
    rows = rows if "seed" in rows else rows.assign(seed=0)
    fits = rows["truth"] == samples.CALL
    right = rows["kind"] == np.where(fits, CALL, ABSTAIN)
    wrong = rows["kind"].map({CALL: score.CALLED, ABSTAIN: score.NO_CALL, MALFORMED: score.OTHERWISE,
                              DEGENERATE: score.LOOP})  # fmt: skip
    return score.shares(rows.assign(cell=np.where(fits, "a tool fits", "no tool fits"), score=RIGHT,
                                    value=right.astype(int), answer=wrong.where(~right, score.RIGHT)))  # fmt: skip


def kind_of(kind: str, form: str) -> str:
    """Return the one of KINDS for a reading (:class:`flanlib.benchmarks.agent_h.replies.Reading`).

    A call in words cannot be carried out. An agent's format without a call (``Final Answer:``) abstains.

    >>> kind_of("offered tool", "json"), kind_of("offered tool", "words"), kind_of("wrong format", "react")
    ('call', 'malformed', 'abstain')
    """
    if kind == replies.DEGENERATE:
        return DEGENERATE
    if kind not in replies.CALLS:
        return ABSTAIN
    return CALL if kind in (replies.OFFERED, replies.INVENTED) and form != "words" else MALFORMED


def stated(reply: str) -> list[Call]:
    """Return the calls in a reply with their arguments: upstream's form, ReAct, or JSON with a name and arguments.

    >>> stated('Action: get_fare\\nAction Input: {"town": "Ulm"}')
    [('get_fare', {'town': 'Ulm'})]
    >>> stated('<tool_call>{"name": "get_fare", "arguments": {}}</tool_call>'), stated("It is 3 euros.")
    ([('get_fare', {})], [])
    """
    with suppress(ValueError):
        return decode(reply)
    if label := _ACTION.search(reply):
        value = next(_objects(reply[label.end() :]), None)
        return [] if value is None else [(label["name"].strip(), value)]
    calls = []
    for value in _objects(reply):
        arguments = value.get("arguments", value.get("parameters"))
        if isinstance(arguments, str):  # as OpenAI writes them
            arguments = next(_objects(arguments), None)
        if isinstance(value.get("name"), str) and isinstance(arguments, dict):
            calls.append((value["name"], arguments))
    return calls


def _objects(text: str) -> Iterable[dict[str, Any]]:
    """Yield the outermost JSON objects in a text, the first few."""
    for _ in range(_MOST_VALUES):
        _, brace, rest = text.partition("{")
        if not brace:
            return
        text = rest
        with suppress(ValueError):
            value, text = first_json(brace + rest, strict=False)
            yield value


def _by_id(path: Path, key: str) -> dict[str, tuple[Mapping[str, Any], ...]]:
    """Return a list of every row of a file, by the row's id. Raises FlanError for a row without them."""
    found = {}
    for where, row in samples.lines(path):
        if not isinstance(row.get("id"), str) or not isinstance(row.get(key), list):
            raise FlanError(where, found=f"the keys {', '.join(row)}", expected=f"an id and a list {key}",
                            remedy="Fetch the data again.")  # fmt: skip
        found[row["id"]] = tuple(row[key])
    return found


def _build(wheel: zipfile.ZipFile, folder: Path) -> None:
    answers = [f"{public.ANSWERS}/{_FILE.format(name)}" for name in MATCHED]
    for name in (*map(_FILE.format, CATEGORIES), *answers):
        target = folder / "data" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(wheel.read(f"bfcl_eval/data/{name}"))


def main() -> int:
    """Fetch the data, and print where it is and what of it is read."""
    tally = Tally("BFCL")
    try:
        read(fetch(), tally=tally)
    except FlanError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{shown(FOLDER)}\n{tally}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
