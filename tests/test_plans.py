"""The classifier of plans: its decisions, that training is reproducible, and its accuracy on hand-labelled replies."""

import json
import re
from collections import Counter
from functools import cache

import numpy as np
import pytest

from flanlib.benchmarks import plans
from flanlib.benchmarks.agent_h.replies import ANNOUNCED, CALLS, DEGENERATE, read
from flanlib.benchmarks.plans import LONG, READ, SENTENCES, Plans, cues, lab_plans, written
from flanlib.lab import tasks
from flanlib.presets import DATA
from flanlib.records import Step, Tool, Trajectory

ROWS = [json.loads(line) for line in (DATA / "lab" / "plans.jsonl").read_text(encoding="utf-8").splitlines()]
PLAN, PLAIN, LOOP = LABELS = ("plan", "plain", "degenerate")
PLANS = [
    "I will check the lighthouses on the coast of Prolia first.", "Let me look that up for you.", "One moment, I am "
    "searching for flights to Ulm.", "First I need the fare of Ulm.", "We should find out when the museum opens.",
    "To answer that, I have to know the weather in Bonn.", "I don't know the mayor of Ulm, so I'll look it up.",
    "The user wants the fare of Ulm, so the next step is to look it up.", "The user asks for the mayor of Ulm.",
]  # fmt: skip
OTHER_TEXTS = [
    "The fare of Ulm is 12 euros.", "I'd be happy to help! Here are three ideas: read, swim, and sleep.", "Ulm", "42",
    "I'm sorry, but I cannot look up the weather.", "To get wax out of a cloth, you need to put it into the freezer.",
    "You can check the opening hours on the website of the museum.", "Which town do you mean?",
    "None of the tools can tell the fare, so I cannot say.", "I checked the fare for you: it is 12 euros.", "",
    "- red\n- green", "def add(a, b):\n    return a + b", "Hello! How can I help you today?", "Ich weiß es nicht.",
    "A lighthouse is a tower with a bright light at the top. " + "It warns ships of rocks, and its keeper lives in it. "
    * 3 + "Before you travel, I will check the opening hours, and I need to look them up.",
]  # fmt: skip


@cache
def classify(index):
    """Return the class of a labelled reply as Agent-H does: by its structure first, then by the plan classifier."""
    row = ROWS[index]
    kind = read(row["reply"], [Tool(name) for name in row["tools"]], row["query"]).kind
    if kind in CALLS:
        return PLAN if kind == ANNOUNCED else kind
    return LOOP if kind == DEGENERATE else PLAN if lab_plans().plans(row["reply"]) else PLAIN


def accuracy(rows):
    return float(np.mean([classify(i) == ROWS[i]["label"] for i in rows]))


def test_plans_are_told_from_other_texts():
    reader = lab_plans()
    assert [text for text in PLANS if not reader.plans(text)] == []
    assert [text for text in OTHER_TEXTS if reader.plans(text)] == []


def test_thoughts_and_answers_of_held_out_tasks_are_told_apart():
    held = tasks.trajectories(150, rng=np.random.default_rng(7), split="heldout",
                              shapes=(*tasks.SHAPES, *(tasks.UNSERVED, tasks.BARE) * 3))  # fmt: skip
    reader = lab_plans()
    thoughts = [step.thought for one in held for step in one.steps]
    answers = [text for one in held for text in (one.answer_thought, one.answer) if text]
    assert np.mean([reader.plans(text) for text in thoughts]) > 0.98
    assert np.mean([reader.plans(text) for text in answers]) < 0.02


def test_it_agrees_with_a_person_on_unseen_replies():
    assert len(ROWS) >= 200
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    assert {row["label"] for row in ROWS} <= set(LABELS)
    counts = Counter(row["label"] for row in ROWS)
    assert min(counts.values()) >= 15
    by_label = {label: [i for i, row in enumerate(ROWS) if row["label"] == label] for label in LABELS}
    # Measured: 0.953 of all 276; all 44 plans, 0.962 of 211 plain replies, 0.762 of 21 loops (not those that count up).
    assert accuracy(range(len(ROWS))) >= 0.93
    assert accuracy(by_label[PLAN]) >= 0.95
    assert accuracy(by_label[PLAIN]) >= 0.93
    assert accuracy(by_label[LOOP]) >= 0.7


def test_training_is_reproducible_and_its_digest_names_the_training_texts(monkeypatch):
    monkeypatch.setattr(plans, "TIMES", 9)
    some = tasks.trajectories(60, rng=np.random.default_rng(1))
    first, again = (Plans.of(some, ["It is red.", "Tea is warm."], seed=3) for _ in range(2))
    assert (first, first.learnt) == (again, again.learnt)
    assert all(round(weight, 5) == weight for weight in first.weights.values())
    for other in (Plans.of(some, ["It is red."], seed=3), Plans.of(some, ["It is red.", "Tea is warm."], seed=4)):
        assert other.learnt != first.learnt


@pytest.mark.parametrize("kind", ["plans", "others"])
def test_sentence_templates_are_filled_cleanly(kind):
    step = Step("x", "get_fare", {"town": "Ulm"}, "3")
    trajectory = Trajectory("t", "test", "Q", (Tool("get_fare"),), (step,), "3")
    texts = list(written(SENTENCES[kind], [trajectory], 0))
    assert len(set(texts)) > len(texts) / 2
    assert not [text for text in texts if re.search(r"[\[\]{}|\n/]|  ", text) or text != text.strip()]
    assert all(text[:1] == text[:1].upper() for text in texts)


def test_only_the_beginning_of_a_text_is_read():
    text = "red " * (READ + LONG[-1])
    assert cues(text) == cues(text + "I will look it up.")
    assert cues("red " * (LONG[0] + 1)) - cues("red " * LONG[0]) == {f"{LONG[0]} words"}
