"""The structural reading against replies that small, weak models wrote and a person labelled, one class for each.

The 78 replies were drawn evenly over the classes that an earlier reader had given, so rare ones are there; labels were
given from the text alone, loops last, when they became a class. The one disagreement is known: an "Action Input" whose
"Action" label is missing. What real models reply is in test_plans.py.
"""

import json
from collections import Counter
from pathlib import Path

from flanlib.benchmarks.agent_h.replies import KINDS, read
from flanlib.records import Tool

ROWS = [json.loads(line) for line in (Path(__file__).parent / "agent_h_labelled.jsonl").read_text().splitlines()]


def test_the_reader_agrees_with_a_person():
    told = [read(row["reply"], [Tool(name) for name in row["tools"]], row["query"]).kind for row in ROWS]
    apart = [(row["label"], kind) for row, kind in zip(ROWS, told, strict=True) if row["label"] != kind]
    assert len(ROWS) == 78
    assert apart == [("malformed call", "wrong format")]


def test_every_class_that_a_single_reply_can_be_is_among_them():
    counts = Counter(row["label"] for row in ROWS)
    assert set(counts) == set(KINDS) - {"announced call"}  # which takes a tool's user, or the kit's own plans, to tell
    assert min(counts.values()) >= 4
