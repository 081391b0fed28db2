"""Scores of Agent-H: the paper's arithmetic, and scores counted by hand."""

import pandas as pd
import pytest

from flanlib import paper
from flanlib.benchmarks.agent_h import ask
from flanlib.benchmarks.agent_h.samples import ACTION, CALL, CELLS, FORMAT, PLAIN, REACT, Sample
from flanlib.benchmarks.agent_h.score import answers, hscore, judge, judgements, table
from flanlib.records import FlanError, Tool

FARE, FLY = Tool("get_fare"), Tool("book_flight")
SAMPLES = [
    Sample("a1", "own", ACTION, CELLS[0], PLAIN, "How are you?"),
    Sample("a2", "own", ACTION, CELLS[1], PLAIN, "What is the fare to Ulm?", wanted=["get_fare"]),
    Sample("a3", "own", ACTION, CELLS[2], PLAIN, "How are you?", [FARE, FLY]),
    Sample("a4", "own", ACTION, CELLS[2], PLAIN, "What is the fare to Ulm?", [FLY], wanted=["get_fare"]),
    Sample("a5", "own", ACTION, CELLS[3], CALL, "What is the fare to Ulm?", [FARE, FLY], wanted=["get_fare"]),
    Sample("a6", "own", ACTION, CELLS[3], CALL, "Fly me to Ulm.", [FARE, FLY], wanted=["book_flight"]),
    Sample("f1", "own", FORMAT, "json", "json", "Which is red? Answer in JSON."),
    Sample("f2", "own", FORMAT, REACT, REACT, "Which is red? Answer in ReAct style."),
]
REPLIES = {
    "a1": "Fine, thank you.",
    "a2": "Thought: I need the fare.\nAction: get_fare\nAction Input: {}",
    "a3": "I need to call get_fare.",
    "a4": "I will use plain words: about 3 euros.",
    "a5": '{"name": "get_fare", "arguments": {"town": "Ulm"}}',
    "a6": 'fly(to="Ulm")',
    "f1": '{"answer": "blood"}',
    "f2": "Thought: Blood is.\nFinal Answer: Blood.",
}
PERFECT = {**dict.fromkeys(("a1", "a2", "a3", "a4"), "It is about 3 euros."), "f1": '{"a": 1}', "f2": REPLIES["f2"],
           "a5": 'get_fare(town="Ulm")', "a6": "Action: book_flight\nAction Input: {}"}  # fmt: skip


def values(frame, **where):
    """Return the values of a table by score, in one cell (by default all) and for one model."""
    for column, value in {"cell": "all", **where}.items():
        frame = frame[frame[column] == value]
    return frame.set_index("score")["value"].to_dict()


def printed(model):
    react, general, whole = (paper.number("table3", model=model, score=s) for s in ("h_react", "h_general", "h_score"))
    return 100 * hscore(react / 100, general / 100), 100 - react, whole


@pytest.mark.parametrize("model", ["Llama2-7B", "AgentTuning", "Agent-FLAN"])
def test_the_formula_gives_what_the_paper_prints(model):
    ours, twice, whole = printed(model)
    assert ours == pytest.approx(whole, abs=0.051)
    assert abs(twice - whole) > 0.3, "the equation as printed does not"


def test_one_row_of_the_paper_contradicts_its_formula():
    ours, twice, whole = printed("Agent-FLAN without negatives")
    assert (ours, whole) == (pytest.approx(85.45), 84.5)
    assert twice == pytest.approx(84.4)


def test_the_gain_from_negatives_is_smaller_by_the_formula_than_as_printed():
    (_, _, full), (ours, _, without) = (printed(m) for m in ("Agent-FLAN", "Agent-FLAN without negatives"))
    assert full - without == pytest.approx(4.6)
    assert full - ours == pytest.approx(3.65)


def test_scores_are_those_counted_by_hand():
    rows = table(judge(SAMPLES, REPLIES))
    assert list(rows.columns) == ["cell", "score", "value", "low", "high", "n", "seeds"]
    assert values(rows) == pytest.approx({
        "plain reply": 3 / 5, "H_ReAct": 1 / 5, "H_General": 2 / 5, "HScore": 1 - 3 / 10,
        "tool called": 1 / 2, "balanced": 11 / 20, "format followed": 1.0,
    })  # fmt: skip
    assert values(rows, cell=CELLS[0]) == {"plain reply": 1, "H_ReAct": 0, "H_General": 0}
    assert values(rows, cell=CELLS[1]) == {"plain reply": 0, "H_ReAct": 1, "H_General": 0}
    assert values(rows, cell=CELLS[2]) == {"plain reply": 0.5, "H_ReAct": 0, "H_General": 1}
    assert values(rows, cell=CELLS[3]) == {"tool called": 0.5}
    assert values(rows, cell="json") == {"plain reply": 1, "H_ReAct": 0, "H_General": 0, "format followed": 1}
    assert values(rows, cell=REACT) == {"format followed": 1}
    assert rows["low"].le(rows["value"]).all()
    assert rows["high"].ge(rows["value"]).all()
    assert rows[rows["cell"] == "all"].set_index("score")["n"].to_dict() == {
        "plain reply": 5, "tool called": 2, "format followed": 2, "H_ReAct": 5, "H_General": 5,
        "balanced": 7, "HScore": 5,
    }  # fmt: skip


def test_neither_silence_nor_constant_calls_win():
    plain = values(table(judge(SAMPLES, {s.id: "I would rather not say." for s in SAMPLES})))
    assert (plain["plain reply"], plain["tool called"], plain["balanced"]) == (1, 0, 0.5)
    for nothing in ("", "The lake, " * 20):
        mute = values(table(judge(SAMPLES, {s.id: nothing for s in SAMPLES})))
        assert (mute["plain reply"], mute["tool called"], mute["balanced"]) == (0, 0, 0)
        assert mute["HScore"] == 1, "by keywords alone a mute model is perfect"
    calls = {s.id: f"Action: {(*s.wanted, 'get_fare')[0]}\nAction Input: {{}}" for s in SAMPLES}
    eager = values(table(judge(SAMPLES, calls)))
    assert (eager["plain reply"], eager["tool called"], eager["balanced"]) == (0, 1, 0.5)
    assert (eager["H_ReAct"], eager["HScore"]) == (1, 0.5)


def test_a_perfect_model_has_full_scores():
    scores = values(table(judge(SAMPLES, PERFECT)))
    assert {name: scores[name] for name in scores if not name.startswith("H_")} == dict.fromkeys(
        ("plain reply", "tool called", "format followed", "balanced", "HScore"), 1
    )


def test_keywords_and_structure_disagree_where_only_the_wording_differs():
    sample = SAMPLES[2:3]
    for reply, by_keywords, by_structure in [
        ("I shall employ get_fare to find out.", 1, 0),
        ('get_fare(town="Ulm")', 1, 0),
        ("I will use plain words. I am well.", 0.5, 1),
        ("I will not say 'Action: none'.", 0.5, 1),
        ("I need to call get_fare.", 0.5, 0),
        ("I am well.", 1, 1),
    ]:
        scores = values(table(judge(sample, {"a3": reply})))
        assert (scores["HScore"], scores["plain reply"]) == (by_keywords, by_structure), reply


def test_models_and_seeds_are_kept_apart():
    runs = [judge(SAMPLES, replies).assign(model=model, seed=seed)
            for model, seed, replies in [("A", 0, REPLIES), ("A", 1, PERFECT), ("B", 0, PERFECT)]]  # fmt: skip
    judged = pd.concat(runs, ignore_index=True)
    frame = table(judged, by=["model"])
    assert list(frame.columns) == ["model", "cell", "score", "value", "low", "high", "n", "seeds"]
    a, b = (values(frame, model=m) for m in "AB")
    assert a["plain reply"] == pytest.approx(8 / 10)
    assert (a["tool called"], a["balanced"], a["HScore"]) == pytest.approx((3 / 4, 31 / 40, 1 - 3 / 20))
    assert b["balanced"] == 1
    whole = frame[frame["cell"] == "all"].set_index(["model", "score"])
    assert whole.loc["A", "seeds"].eq(2).all()
    assert whole.loc["B", "seeds"].eq(1).all()
    assert whole.loc["A", "n"].equals(whole.loc["B", "n"]), "n counts samples, not runs"
    by_seed = table(judged, by=["model", "seed"])
    first = by_seed[(by_seed["model"] == "A") & (by_seed["seed"] == 0)]
    assert values(first) == values(table(runs[0]))


def test_every_judgement_is_a_row_and_other_columns_stay():
    judged = judge(SAMPLES, REPLIES).assign(model="A")
    rows = judgements(judged)
    assert rows["score"].value_counts().to_dict() == {
        "plain reply": 5, "H_ReAct": 5, "H_General": 5, "tool called": 2, "format followed": 2}  # fmt: skip
    assert set(judged.columns) < set(rows.columns)
    assert rows["seed"].eq(0).all()
    assert set(rows["value"]) == {0, 1}


def test_a_mean_of_scores_needs_all_of_them():
    assert "balanced" not in values(table(judge(SAMPLES[:4], {"a1": "Fine."})))
    assert set(values(table(judge(SAMPLES, {"a5": "Fine."})))) == {"tool called"}


def test_samples_without_a_reply_are_left_out():
    judged = judge(SAMPLES, {"a6": "get_fare()", "a1": "Fine."})
    assert list(judged["id"]) == ["a1", "a6"]
    assert tuple(judged.columns) == ask.COLUMNS
    assert values(table(judged))["tool called"] == 1


def test_replies_to_unknown_samples_are_refused():
    with pytest.raises(FlanError, match=r"replies: found 1 ids that no sample has, such as \['b1'\]; expected rows"):
        judge(SAMPLES, {"b1": "Fine.", "a1": "Fine."})
    with pytest.raises(FlanError, match="found no reply"):
        judge(SAMPLES, {})


def test_the_same_replies_give_the_same_intervals():
    assert table(judge(SAMPLES, REPLIES)).equals(table(judge(SAMPLES, dict(reversed(REPLIES.items())))))


def test_answers_add_up_and_the_right_one_has_the_interval():
    judged = pd.concat([judge(SAMPLES, replies).assign(model=name)
                        for name, replies in {"broken": REPLIES, "perfect": PERFECT}.items()])  # fmt: skip
    table = answers(judged.iloc[::-1])
    assert list(dict.fromkeys(table["model"])) == ["perfect", "broken"], "in the order in which they come"
    assert table.groupby(["model", "cell"])["share"].sum().tolist() == pytest.approx([1.0] * 10)
    found = table.set_index(["model", "cell", "answer"])["share"].to_dict()
    assert found["broken", CELLS[0], "right"] == 1.0
    assert found["broken", CELLS[1], "invented tool called"] == 1.0
    assert found["broken", CELLS[2], "right"] == 0.5
    assert found["broken", CELLS[3], "right"] == 0.5
    right = table[table["answer"] == "right"]
    assert len(right) == 10
    assert right["low"].notna().all()
    assert table[table["answer"] != "right"]["low"].isna().all()
    assert (right[right["model"] == "perfect"]["share"] == 1).all()
