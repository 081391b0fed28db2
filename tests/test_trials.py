from dataclasses import replace

import pytest

from flanlib import arms, runs, scores, store, trials
from flanlib.generate import Decoding
from flanlib.material import material
from flanlib.presets import PRESETS
from flanlib.records import CAPABILITIES, FlanError
from flanlib.tally import Tally

SMOKE = replace(PRESETS["smoke"], trained_tokens=600, trajectories=8, heldout=2, seeds=(0,))


@pytest.fixture(scope="module")
def data():
    return material(SMOKE)


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "RUNS", tmp_path)


def short(found):
    return [replace(trial, decoding=Decoding(max_new_tokens=4)) for trial in found]


def test_every_reply_is_judged_in_a_row_of_its_own_and_found_again(data, monkeypatch):
    asked = {"base": short(arms.trials(data, SMOKE, "chat", benchmarks=("steps", "episodes", "general")))}
    judged = trials.judge(asked, {"base": [None]}, SMOKE)
    assert set(judged["score"]) == {*CAPABILITIES, "episodes", "general"}
    assert set(judged["split"]) == {"seen tools", "held-out tools", "held-out talk"}
    assert judged["value"].isin((0, 1)).all()
    for split, tasks in data.tasks.items():
        assert set(judged[(judged.split == split) & (judged.score == "episodes")]["id"]) == {
            task.trajectory.id for task in tasks
        }
    monkeypatch.setattr(trials, "dense", lambda *a, **k: pytest.fail("judged again"))
    assert trials.judge(asked, {"base": [None]}, SMOKE).equals(judged)
    told = scores.table(judged, ["model", "split", "protocol"])
    assert told[told.score == "overall"]["n"].tolist() == [2, 2]


def test_whatever_changes_a_trial_changes_its_folder(data):
    (trial,) = arms.trials(data, SMOKE, "chat", splits=["seen tools"])
    other = arms.trials(data, SMOKE, "json", splits=["seen tools"])[0]
    changed = [replace(trial, items=trial.items[:1]), other, replace(trial, decoding=Decoding(seed=1)),
               replace(trial, intention=None)]  # fmt: skip
    folders = {trials._Job(one, adapter, SMOKE).folder for one in (trial, *changed)
               for adapter in (None, store.RUNS / "smoke-x-0-abc")}  # fmt: skip
    assert len(folders) == 10


def test_an_unknown_benchmark_is_an_error(data):
    (trial,) = arms.trials(data, SMOKE, "chat", splits=["seen tools"])
    with pytest.raises(FlanError, match="steps, episodes, general"):
        trials.judge({"base": [replace(trial, benchmark="chess")]}, {"base": [None]}, SMOKE)


def test_arms_of_table_2_hold_the_same_texts_and_differ_in_what_is_trained(data):
    found = arms.capabilities(data, SMOKE)
    texts = {label: [(c.id, [turn.text for turn in c.turns]) for c in arm.train] for label, arm in found.items()}
    whole = f"{arms.ALIGNED}, {arms.TOKENS}"
    assert all(text == texts[whole] for text in texts.values())
    trained = {label: sum(turn.trained for c in arm.train for turn in c.turns) for label, arm in found.items()}
    assert all(n < trained[whole] for label, n in trained.items() if label != whole)
    assert {arm.rows for label, arm in found.items() if label.endswith(arms.ROWS)} == {
        arms.rows_of(found[whole].train, SMOKE)
    }


def test_runs_of_equal_rows_spend_less_and_are_listed_with_the_aligned_one(data):
    found = {k: v for k, v in arms.capabilities(data, SMOKE).items() if k.startswith(("aligned", "reasoning"))}
    spent = arms.matched(arms.spent(runs.tuned(found, SMOKE, Tally("t")))).set_index(["arm", "match"])
    tokens = spent["trained_tokens"]
    assert tokens["reasoning halved", arms.ROWS] < tokens["aligned", arms.ROWS] == tokens["aligned", arms.TOKENS]
    assert spent["rows"]["reasoning halved", arms.ROWS] == spent["rows"]["aligned", arms.ROWS]


def test_the_chat_arm_stands_in_both_matchings_of_the_forms(data):
    found = arms.forms(data, SMOKE)
    asked = {name: short(arms.trials(data, SMOKE, name.split(",")[0], splits=["seen tools"])) for name in found}
    judged = arms.by_form(trials.judge(asked, {name: [None] for name in found}, SMOKE))
    assert set(judged.groupby(["form", "match"]).groups) == {
        (form, match) for form in ("react", "chat") for match in (arms.TOKENS, arms.ROWS)
    }
