from dataclasses import replace

import pytest

from flanlib import store
from flanlib.benchmarks import scores
from flanlib.corpus.material import material
from flanlib.experiments import arms, judging
from flanlib.inference.generate import Decoding
from flanlib.presets import PRESETS
from flanlib.records import CAPABILITIES, FlanError

SMOKE = replace(PRESETS["smoke"], trained_tokens=600, trajectories=8, heldout=3, free=2, watched=1, seeds=(0,))


@pytest.fixture(scope="module")
def data():
    return material(SMOKE)


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "RUNS", tmp_path)


def short(found):
    return [replace(trial, decoding=Decoding(max_new_tokens=4)) for trial in found]


def test_every_reply_is_judged_in_a_row_of_its_own_and_found_again(data, monkeypatch):
    trials = {"base": short(arms.trials(data, SMOKE, "chat", benchmarks=("steps", "episodes", "general")))}
    judged = judging.judge(trials, {"base": [None]}, SMOKE)
    assert set(judged["score"]) == {*CAPABILITIES, "episodes", "general"}
    assert set(judged["split"]) == {"seen tools", "held-out tools", "general"}
    assert judged["value"].isin((0, 1)).all()
    for split, tasks in data.tasks.items():
        ids = [task.trajectory.id for task in tasks]
        for score, on in (("retrieval", ids), ("reasoning", ids[:2]), ("episodes", ids[:2])):
            assert set(judged[(judged.split == split) & (judged.score == score)]["id"]) == set(on)
    monkeypatch.setattr(judging, "scoring_model", lambda *a, **k: pytest.fail("judged again"))
    assert judging.judge(trials, {"base": [None]}, SMOKE).equals(judged)
    table = scores.table(judged, ["model", "split", "protocol"])
    assert table[table.score == "overall"]["n"].tolist() == [3, 3]


def test_whatever_changes_a_trial_changes_its_folder(data):
    (trial,) = arms.trials(data, SMOKE, "chat", splits=["seen tools"])
    other = arms.trials(data, SMOKE, "json", splits=["seen tools"])[0]
    changed = [replace(trial, items=trial.items[:1]), other, replace(trial, decoding=Decoding(seed=1)),
               replace(trial, intention=None)]  # fmt: skip
    folders = {judging._Job(one, adapter, SMOKE).folder for one in (trial, *changed)
               for adapter in (None, store.RUNS / "smoke-x-0-abc")}  # fmt: skip
    assert len(folders) == 10


def test_an_unknown_benchmark_is_an_error(data):
    (trial,) = arms.trials(data, SMOKE, "chat", splits=["seen tools"])
    with pytest.raises(FlanError, match="steps, episodes, general"):
        judging.judge({"base": [replace(trial, benchmark="chess")]}, {"base": [None]}, SMOKE)


def test_arms_of_table_2_differ_in_what_is_trained(data):
    found = arms.capabilities(data)
    trained = {label: sum(turn.trained for c in arm.train for turn in c.turns) for label, arm in found.items()}
    assert trained[arms.WEIGHTED] < trained[arms.ALIGNED]
    texts = {label: {c.id: [turn.text for turn in c.turns] for c in arm.train} for label, arm in found.items()}
    assert texts[arms.WEIGHTED].items() <= texts[arms.ALIGNED].items()


def test_negatives_are_answered_by_the_untuned_model_and_the_control_has_as_many_rows(data, monkeypatch):
    answers = {}

    def replies(requests, preset):
        answers.update({one.id: f"I can't tell, {one.id}." for one in requests})
        return answers

    monkeypatch.setattr(judging, "replies", replies)
    found = arms.with_negatives(data, SMOKE)
    plain, mended, control = (found[name].train for name in ("chat", arms.NEGATIVES, arms.CONTROL))
    assert len(mended) == len(control) > len(plain)
    more = mended[len(plain) :]
    assert {c.id.rsplit(" (", 1)[1] for c in more} == {"no tools)", "irrelevant)", "missing)"}
    answered = [c for c in more if "irrelevant" not in c.id]
    assert {c.turns[-1].text for c in answered} <= set(answers.values())
    assert all(not c.tools for c in control[len(plain) :])
    assert not {c.id for c in control[len(plain) :]} - {c.id for c in data.chats}


def test_replies_go_by_id_and_are_found_again(data, monkeypatch):
    first = judging.replies(data.train[:3], SMOKE)
    assert set(first) <= {one.id for one in data.train[:3]}
    monkeypatch.setattr(judging, "scoring_model", lambda *a, **k: pytest.fail("asked again"))
    assert judging.replies(data.train[:3], SMOKE) == first


@pytest.mark.parametrize(("text", "whole"), [
    ("It is far. You could take a", "It is far."), ("Do this:\n1. Walk.\n2. ", "Do this:\n1. Walk."),
    ("no end at all", "no end at all"), ('He said "no." And', 'He said "no."'), ("It costs 2.5", "It costs 2.5"),
])  # fmt: skip
def test_a_reply_that_ran_out_of_room_ends_with_a_sentence(text, whole):
    assert judging.whole_sentences(text) == whole


def test_the_recipe_uses_the_data_s_own_chat_first(data, monkeypatch):
    monkeypatch.setattr(judging, "replies", lambda requests, preset: {one.id: "I can't tell." for one in requests})
    own = [replace(c, source="mine") for c in data.chats[:3]]
    mixed = arms.recipe(replace(data, chats=[*data.chats[3:], *own]), SMOKE)
    drawn = mixed.draws[mixed.draws["form"] == "general"].set_index("source")["drawn"]
    assert drawn["mine"] == 3
