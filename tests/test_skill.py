"""Skill during training, worked out by hand."""

import pandas as pd
import pytest

from flanlib.benchmarks import skill
from flanlib.benchmarks.skill import Passage
from flanlib.records import FlanError

READABLE = [Passage("a", "retrieval", (0, 1)), Passage("b", "retrieval", (3,)), Passage("a", "understanding", (2,))]
PASSAGES = {"chat": READABLE, "react": READABLE}


def firsts(**runs):
    """Tabulate runs, given as {form: [(seed, [(trained tokens, bits), ...])]}."""
    rows = [(form, seed, *point) for form, seeds in runs.items() for seed, points in seeds for point in points]
    return pd.DataFrame(rows, columns=["form", "seed", "trained_tokens", "firsts"])


def test_a_passage_is_right_where_all_of_its_tokens_are():
    judged = skill.judgements(firsts(chat=[(0, [(0, "1001"), (50, "1110")])]), PASSAGES)
    values = judged.set_index(["measured", "score", "id"])["value"]
    assert values[0].to_dict() == {("retrieval", "a"): 0, ("retrieval", "b"): 1, ("understanding", "a"): 0}
    assert values[1].to_dict() == {("retrieval", "a"): 1, ("retrieval", "b"): 0, ("understanding", "a"): 1}


def test_leading_zeros_of_a_table_read_back_are_not_lost(tmp_path):
    path = tmp_path / "firsts.csv"
    firsts(chat=[(0, [(0, "0011")])]).to_csv(path, index=False)
    read = pd.read_csv(path, dtype={"firsts": str})
    assert skill.judgements(read, PASSAGES)["value"].sum() == 2


def test_texts_shorter_than_the_passages_are_an_error():
    with pytest.raises(FlanError, match="2 held-out tokens measured"):
        skill.judgements(firsts(chat=[(0, [(0, "11")])]), PASSAGES)


def test_curves_are_means_over_seeds_and_tasks():
    runs = firsts(chat=[(0, [(0, "0000"), (40, "1100")]), (1, [(0, "0000"), (60, "1111")])])
    curve = skill.curves(skill.judgements(runs, PASSAGES)).set_index(["score", "trained_tokens"])["value"]
    assert curve["retrieval"].to_dict() == {0.0: 0.0, 50.0: 0.75}
    assert curve["understanding"].to_dict() == {0.0: 0.0, 50.0: 0.5}


def test_a_form_is_ahead_by_the_difference_on_the_same_tasks():
    runs = firsts(chat=[(0, [(0, "1111")])], react=[(0, [(0, "0011")])])
    ahead = skill.ahead(skill.judgements(runs, PASSAGES), "chat", "react").set_index("score")["ahead"]
    assert ahead.to_dict() == {"retrieval": 50.0, "understanding": 0.0}


def test_a_rise_is_timed_between_measurements():
    runs = firsts(chat=[(0, [(0, "0000"), (100, "1100"), (200, "1111"), (300, "1111")])])
    rises = skill.rises(skill.judgements(runs, PASSAGES)).set_index("score")
    # Retrieval goes 0, 1/2, 1: nine tenths of it lie four fifths of the way from 100 to 200.
    assert rises.loc["retrieval", "tokens"] == pytest.approx(180)
    assert rises.loc["understanding", "tokens"] == pytest.approx(190)
    assert rises.loc["retrieval", ["from", "to"]].tolist() == [0, 1]


def test_a_score_that_never_rose_has_no_time():
    runs = firsts(chat=[(0, [(0, "1111"), (100, "1111")])])
    assert skill.rises(skill.judgements(runs, PASSAGES))["tokens"].isna().all()
