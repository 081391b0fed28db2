"""The structural classifier against 78 replies of small, weak models, each labelled with one class by a person.

The replies were drawn evenly over the classes of an earlier classifier, so that rare classes are included. Labels were
given from the text alone; loops were labelled last, when they became a class. The one known disagreement is an "Action
Input" whose "Action" label is missing. Replies of real models are in test_plans.py.
"""

import json
from collections import Counter
from pathlib import Path

from flanlib.benchmarks.agent_h.replies import KINDS, read
from flanlib.records import Tool

ROWS = [json.loads(line) for line in (Path(__file__).parent / "agent_h_labelled.jsonl").read_text().splitlines()]


def test_the_classifier_agrees_with_a_person():
    kinds = [read(row["reply"], [Tool(name) for name in row["tools"]], row["query"]).kind for row in ROWS]
    disagreements = [(row["label"], kind) for row, kind in zip(ROWS, kinds, strict=True) if row["label"] != kind]
    assert len(ROWS) == 78
    assert disagreements == [("malformed call", "wrong format")]


def test_every_class_of_a_single_reply_is_included():
    counts = Counter(row["label"] for row in ROWS)
    assert set(counts) == set(KINDS) - {"announced call"}  # only follow-ups and the plan classifier find it
    assert min(counts.values()) >= 4
