"""The published numbers agree with themselves, except where a note says that they do not."""

import pytest

from flanlib import paper
from flanlib.presets import DATA
from flanlib.records import FlanError

NAMES = ["figure2", "recipe", "table1", "table2", "table3", "table4", "table6"]


def wide(name, index, columns="score"):
    return paper.table(name).pivot(index=index, columns=columns, values="value")


@pytest.mark.parametrize("name", NAMES)
def test_every_row_says_where_it_stands_and_is_unique(name):
    frame = paper.table(name)
    keys = [column for column in frame.columns if column not in paper.ABOUT]
    assert (frame["where"] != "").all()
    assert frame["basis"].isin(["printed", "notes", "derived"]).all()
    assert not frame.duplicated(keys).any()
    assert (frame["value"].notna() | (frame["note"] != "")).all(), "a missing value says why"


def test_the_tables_of_the_paper_are_all_there():
    assert sorted(path.stem for path in (DATA / "paper").glob("*.csv")) == NAMES
    assert [len(paper.table(name)) for name in NAMES] == [2, 23, 49, 21, 16, 18, 8]


def test_overall_is_the_mean_of_the_five_held_out_scores():
    scores = wide("table1", "model")
    held_out = scores[["hotpotqa", "sciworld", "webarena", "t_eval", "agent_h"]].mean(axis=1)
    gap = (held_out - scores["overall"]).abs()
    assert gap.drop("GPT-3.5").max() < 0.05
    assert gap["GPT-3.5"] == pytest.approx(0.052)  # rounding of the printed columns explains it; a note says so


def test_h_score_follows_its_formula_in_every_row_but_one():
    scores = wide("table3", "model")
    gap = (100 - 0.5 * (scores["h_react"] + scores["h_general"]) - scores["h_score"]).abs()
    assert list(gap.index[gap > 0.051]) == ["Agent-FLAN without negatives"]
    assert gap["Agent-FLAN without negatives"] == pytest.approx(0.95)


def test_gain_from_negatives_differs_as_printed_and_as_computed():
    scores = wide("table3", "model")
    without, full = scores.loc["Agent-FLAN without negatives"], scores.loc["Agent-FLAN"]
    assert full["h_score"] - without["h_score"] == pytest.approx(4.6)
    computed = 100 - 0.5 * (without["h_react"] + without["h_general"])
    assert full["h_score"] - computed == pytest.approx(3.65)


def test_the_two_tables_disagree_about_agent_tuning_and_say_so():
    one = paper.number("table1", model="AgentTuning", score="agent_h")
    three = paper.number("table3", model="AgentTuning", score="h_score")
    assert (one, three) == (84.5, 83.9)
    notes = [f.set_index(["model", "score"])["note"] for f in (paper.table("table1"), paper.table("table3"))]
    assert "83.9" in notes[0]["AgentTuning", "agent_h"]
    assert "84.5" in notes[1]["AgentTuning", "h_score"]


def test_source_rows_add_up_to_the_total():
    rows = paper.table("table6").set_index("source")["value"]
    assert rows.drop("total").sum() == rows["total"] == 24_703


def test_numbers_shared_by_tables_are_the_same():
    assert paper.number("table2", data="weighted", score="t_eval") == paper.number(
        "table3", model="Agent-FLAN without negatives", score="t_eval"
    )
    for data, model in (("react", "AgentTuning"), ("weighted", "Agent-FLAN")):
        assert paper.number("table2", data=data, score="hotpotqa") == paper.number(
            "table1", model=model, score="hotpotqa"
        )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": "table9"}, "one of figure2, recipe, table1"),
        ({"name": "table1", "model": "GPT-5"}, "one of GPT-3.5, GPT-4"),
        ({"name": "table1", "model": "GPT-4", "benchmark": "t_eval"}, "keys among model, score"),
        ({"name": "table1", "model": "GPT-4"}, "7 rows that match"),
        ({"name": "table1", "model": "FireAct-7B", "score": "held_in"}, "an empty value"),
        ({"name": "table1", "model": "GPT-4", "score": "held in"}, "no row with score='held in'"),
    ],
)
def test_a_failed_lookup_names_the_known_values(keys, message):
    with pytest.raises(FlanError, match=message):
        paper.number(**keys)
