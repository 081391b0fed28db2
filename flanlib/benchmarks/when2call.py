"""When2Call (NVIDIA, arXiv 2504.18851): which of four answers to a request does a model find likeliest?

The four answer directly, call a tool, ask for what is missing, or say that no tool can do it; answering directly is
never right. Rows are lines of ``when2call_test_mcq.jsonl`` or of its part ``when2call_test_llm_judge.jsonl`` (300
rows), which stand in ``data/test`` of the git repository NVIDIA/When2Call. The latter is what the notebooks ask, where
somebody has cloned that repository into ``data/downloads``.

The rule is that of upstream's task for lm-evaluation-harness (commit ecc8d42): the answer with the highest sum of
log-probabilities is the model's choice, for accuracy, macro F1 and tool hallucination. The normalised accuracy divides
the sums by the answers' lengths in characters, not in tokens. The harness as released has no macro F1 (issue 6 of
NVIDIA/When2Call), so scikit-learn's is taken: its mean is over the classes that are right or chosen at least once, so
``direct`` is one of them as soon as it is chosen. Upstream writes prompts for each family of models; here they are in
the protocol that a model was tuned on.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import pandas as pd

from flanlib.benchmarks import Prompt
from flanlib.benchmarks.agent_h.samples import lines
from flanlib.corpus.negatives import opening
from flanlib.dialects import DIALECTS
from flanlib.intervals import BOUNDS, RESAMPLES, Interval
from flanlib.presets import DATA, shown
from flanlib.records import FlanError, Step, Tool, clip
from flanlib.sources.schemas import schema_of

CHOICES = DIRECT, TOOL_CALL, REQUEST, CANNOT = ("direct", "tool_call", "request_for_info", "cannot_answer")
ACCURACY, NORMALISED, HALLUCINATION = SCORES = ("accuracy", "normalised accuracy", "tool hallucination")
COLUMNS = ("id", "right", "chosen", "normalised", "offered")
FILE = DATA / "downloads" / "When2Call" / "data" / "test" / "when2call_test_llm_judge.jsonl"
FETCH = f"git clone https://github.com/NVIDIA/When2Call {shown(FILE.parents[2])}"
SHA256 = "0b710578e3b02479e5acf5688140ec5edf71383fa5c093481c7536b57fd13b25"
"""Of that file, unchanged since commit 5ada7c9 of NVIDIA/When2Call."""
SEED = 0  # of the bootstrap: an interval is part of a result, so it must be reproducible

LogProbabilities: TypeAlias = Callable[[Sequence[Prompt], Sequence[Sequence[str]]], list[list[float]]]
"""From prompts, and several continuations of each, to the log-probability of each continuation after its prompt."""


@dataclass(frozen=True)
class Question:
    """A request with the offered tools, an answer for each of CHOICES, and the choice that is right."""

    id: str
    query: str
    tools: tuple[Tool, ...]
    answers: Mapping[str, str]
    right: str


@dataclass(frozen=True)
class Draw:
    """The first ``n`` questions of each right answer in FILE. Its repr names them where the file is not there."""

    FETCH: ClassVar[str] = FETCH

    n: int
    data: str = SHA256

    @property
    def size(self) -> int:
        """How many questions are drawn, if there are as many."""
        return (len(CHOICES) - 1) * self.n

    def read(self) -> list[Question]:
        """Return the questions. Raises FlanError if the file is not there, or is another."""
        questions = read(FILE)
        if hashlib.sha256(FILE.read_bytes()).hexdigest() != self.data:
            raise FlanError(FILE.name, found="other rows", expected=f"a file with the digest {self.data}",
                            remedy="Clone the repository again.")  # fmt: skip
        return [one for right in CHOICES for one in [q for q in questions if q.right == right][: self.n]]


def read(path: Path) -> list[Question]:
    """Read a file of When2Call's test rows. Raises FlanError, naming the line, for a row that is none of them."""
    path = Path(path)
    if not path.is_file():
        raise FlanError("When2Call", found=f"no file {path.name}", expected="test rows of When2Call",
                        remedy=f"Run {FETCH}, or name a file of its data/test.")  # fmt: skip
    return [_question(row, where) for where, row in lines(path)]


def measure(questions: Sequence[Question], protocol: str, score: LogProbabilities) -> pd.DataFrame:
    """Score the four answers to every question and return :func:`judge`'s rows.

    The call is written in the protocol's form, as upstream writes it in each family's. In chat form it is the name of
    the tool alone. Raises FlanError for an unknown protocol.
    """
    if protocol not in DIALECTS:
        raise FlanError("protocol", found=protocol, expected=", ".join(DIALECTS), remedy="Name one of them.")
    prompts = [Prompt(f"when2call/{one.id}", opening(one.query, "", one.tools, DIALECTS[protocol].HOW))
               for one in questions]  # fmt: skip
    texts = [[_call(one.answers[name], protocol) if name == TOOL_CALL else one.answers[name] for name in CHOICES]
             for one in questions]  # fmt: skip
    return judge(questions, score(prompts, texts), texts)


def judge(questions: Sequence[Question], sums: Sequence[Sequence[float]],
          texts: Sequence[Sequence[str]] | None = None) -> pd.DataFrame:  # fmt: skip
    """Judge log-probabilities of the answers, (questions, 4) in the order of CHOICES.

    ``texts`` are the answers as they were scored, if not as in the row. The first of equals is chosen.
    Returns a row per question: id, right, chosen, normalised (the choice by length), offered (number of tools).
    """
    texts = texts or [[one.answers[name] for name in CHOICES] for one in questions]
    rows = []
    for one, values, written in zip(questions, sums, texts, strict=True):
        by_length = np.asarray(values, float) / [len(text) for text in written]
        rows.append((one.id, one.right, CHOICES[int(np.argmax(values))], CHOICES[int(np.argmax(by_length))],
                     len(one.tools)))  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def judgements(judged: pd.DataFrame) -> pd.DataFrame:
    """Spread :func:`judge`'s rows into judgements of 0 and 1 for :func:`flanlib.benchmarks.scores.table`.

    SCORES: whether the choice is right, by sum and by length; and whether it is a tool call, among the questions that
    no tool can answer because none is offered. ``seed`` is 0 if there is no such column.
    """
    judged = judged if "seed" in judged else judged.assign(seed=0)
    toolless = (judged["right"] == CANNOT) & (judged["offered"] == 0)
    parts = {ACCURACY: (judged["right"] != "", judged["chosen"] == judged["right"]),
             NORMALISED: (judged["right"] != "", judged["normalised"] == judged["right"]),
             HALLUCINATION: (toolless, judged["chosen"] == TOOL_CALL)}  # fmt: skip
    return pd.concat([judged[counts].assign(score=name, value=is_one[counts].astype(int))
                      for name, (counts, is_one) in parts.items()], ignore_index=True)  # fmt: skip


def macro_f1(judged: pd.DataFrame) -> Interval:
    """Return the macro F1 of the choices by sum, with a percentile bootstrap interval over questions."""
    right, chosen = (judged[name].map(CHOICES.index).to_numpy() for name in ("right", "chosen"))
    ids = pd.factorize(judged["id"])[0]
    n = int(ids.max()) + 1 if len(ids) else 0
    if not n:
        raise FlanError("When2Call", found="no question", expected="judged questions", remedy="Judge some first.")
    rng = np.random.default_rng(SEED)
    draws = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    resampled = [_macro_f1(right, chosen, draw[ids]) for draw in draws]
    low, high = np.quantile(resampled, BOUNDS) if n > 1 else (np.nan, np.nan)
    return Interval(_macro_f1(right, chosen, np.ones(len(ids), int)), float(low), float(high), n)


def _macro_f1(right: np.ndarray, chosen: np.ndarray, weights: np.ndarray) -> float:
    """Average F1 over the classes that are right or chosen somewhere."""
    counted, predicted = (np.bincount(one, weights, len(CHOICES)) for one in (right, chosen))
    hits = np.bincount(right[right == chosen], weights[right == chosen], len(CHOICES))
    there = counted + predicted > 0
    return float((2 * hits[there] / (counted + predicted)[there]).mean())


def _call(answer: str, protocol: str) -> str:
    """Write a tool call, given as JSON, in a protocol's form without a thought."""
    call = json.loads(answer)
    if protocol == "chat":
        return call["name"]
    text = DIALECTS[protocol].write_call(Step("", call["name"], call["arguments"], None)).text
    return text.removeprefix("Thought: \n")


def _tool(function: Mapping[str, Any]) -> Tool:
    given = function["parameters"]  # Tool refuses what is no object
    return Tool(function["name"], function["description"], schema_of(given) if isinstance(given, dict) else given)


def _question(row: Mapping[str, Any], where: str) -> Question:
    try:
        tools = tuple(_tool(json.loads(text)) for text in row["tools"])
        answers = {name: row["answers"][name] for name in CHOICES}
        call = json.loads(answers[TOOL_CALL])
        one = Question(row["uuid"], row["question"], tools, answers, row["correct_answer"])
        texts = (one.id, one.query, *answers.values())
        if not all(isinstance(text, str) and text.strip() for text in texts) or one.right not in CHOICES[1:]:
            raise ValueError("a part that is empty or unknown")
        if not isinstance(call["name"], str) or not isinstance(call["arguments"], dict):
            raise ValueError("a call without name and arguments")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise FlanError(where, found=f"{clip(dict(row), 100)} ({error!r})"[:300],
                        expected="a row with uuid, question, tools, answers and correct_answer",
                        remedy="Fetch the file again.") from None  # fmt: skip
    return one
