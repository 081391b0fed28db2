import numpy as np
import pytest

from flanlib.benchmarks import general
from flanlib.lab import ordinary


def drawn(n=60):
    return general.questions(n, rng=np.random.default_rng(3))


def judge_all(questions, reply):
    return general.measure(questions, lambda prompts: [reply(one) for one in questions])


def test_accepted_answers_are_right_and_other_replies_are_not():
    questions = drawn()
    rows = judge_all(questions, lambda one: f" It is {one.answers[-1].upper()}.\n")
    assert rows["value"].eq(1).all()
    assert rows["reference"].tolist() == [one.answers[0] for one in questions]
    for reply in ("", "I do not know.", "\ud800"):
        assert judge_all(questions, lambda one, r=reply: r)["value"].eq(0).all()
    assert judge_all(questions, lambda one: f"It is not {one.answers[0]}.")["value"].eq(0).all()


def test_naming_every_answer_scores_no_better_than_guessing():
    questions = drawn(1000)
    listed = judge_all(questions, lambda one: " or ".join(sorted({*one.answers, *one.others})))
    assert listed["value"].mean() < 0.1
    assert judge_all(questions, lambda one: "So " * general.READ + one.answers[0])["value"].eq(0).all()


@pytest.mark.parametrize(("reply", "value"), [
    ("The horse.", 1), ("HORSES are", 0), ("A snail is faster than a horse.", 0), ("A horse, a snail is slow.", 1),
    ("It isn't a horse.", 0), ("", 0),
])  # fmt: skip
def test_the_first_answer_named_counts(reply, value):
    assert general.right(reply, ["horse", "stallion"], ["snail"]) == value


def test_questions_end_with_a_user_turn_and_are_distinct():
    questions = drawn()
    assert all(q.prompt.turns[-1].role == "user" for q in questions)
    assert len({q.prompt.id for q in questions}) == len(questions) == 60
    assert questions == drawn()
    everything = drawn(1000)
    assert len(everything) == len(ordinary.questions()) == len({q.prompt.turns[0].text for q in everything})
    assert {*everything} >= {*questions}
    assert not [q for q in everything if {*q.answers} & {*q.others}]
