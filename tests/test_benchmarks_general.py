import numpy as np
import pytest

from flanlib.benchmarks import general
from flanlib.records import FlanError


def asked(n=60, **more):
    return general.questions(n, rng=np.random.default_rng(3), **more)


def test_references_are_right_and_other_replies_are_not():
    questions = asked()
    right = {q.prompt.id: q.reference for q in questions}
    rows = general.measure(questions, lambda prompts: [f" {right[one.id].upper()}\n" for one in prompts])
    assert rows["value"].eq(1).all()
    assert rows.groupby("family").size().to_dict() == dict.fromkeys(general.FAMILIES, 10)
    for reply in ("", "I do not know.", "\ud800"):
        assert general.measure(questions, lambda prompts, r=reply: [r] * len(prompts))["value"].eq(0).all()


def test_questions_end_with_the_user_and_are_all_different():
    questions = asked()
    assert all(q.prompt.turns[-1].role == "user" for q in questions)
    assert len({q.prompt.id for q in questions}) == len(questions)
    assert questions == asked()
    assert len(asked(1, families=["copying", "counting"])) == 2


def test_an_unknown_family_is_refused():
    with pytest.raises(FlanError, match="families"):
        asked(families=["poetry"])
