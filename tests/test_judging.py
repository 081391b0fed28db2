import hashlib
import json
from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest

from flanlib import progress, store
from flanlib.benchmarks import bfcl, scores, when2call
from flanlib.corpus.material import material
from flanlib.experiments import arms, judging, tuning
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


def test_before_tuning_the_log_says_how_long_judging_will_take(data, monkeypatch):
    trials = arms.trials(data, SMOKE, "chat")
    judging.ahead(trials, SMOKE, models=2)
    assert not progress.log().exists()  # a few tasks only
    monkeypatch.setattr(judging, "LONG", 1)
    model = judging.tuning.model_key(SMOKE)["model"]
    monkeypatch.setattr(judging.pace, "paces", lambda: {(store.machine(), model): {"steps chat": 10.0}})
    judging.ahead(trials, SMOKE, models=2)
    # 3 tasks of seen tools and 3 of held-out ones, 10 seconds each.
    assert progress.log().read_text().endswith("2 models are judged on 2 trials each: about 2 min, one by one\n")


def test_whatever_changes_a_trial_changes_its_folder(data):
    (trial,) = arms.trials(data, SMOKE, "chat", splits=["seen tools"])
    other = arms.trials(data, SMOKE, "json", splits=["seen tools"])[0]
    changed = [replace(trial, items=trial.items[:1]), other, replace(trial, decoding=Decoding(seed=1)),
               replace(trial, intention=None)]  # fmt: skip
    folders = {judging._Job(one, adapter, SMOKE).folder for one in (trial, *changed)
               for adapter in (None, store.RUNS / "smoke-x-0-abc")}  # fmt: skip
    assert len(folders) == 10


def test_public_rows_are_asked_for_by_a_setting_and_their_results_found_without_them(tmp_path, monkeypatch):
    fare = {"name": "fare", "description": "", "parameters": {"type": "dict", "properties": {}, "required": []}}
    row = {"id": "irrelevance_0", "question": [[{"role": "user", "content": "Sing!"}]], "function": [fare]}
    answers = dict.fromkeys(when2call.CHOICES, "No.") | {when2call.TOOL_CALL: '{"name": "fare", "arguments": {}}'}
    choice = {"uuid": "q", "question": "A fare?", "tools": [], "answers": answers, "correct_answer": when2call.CANNOT}
    monkeypatch.setattr(bfcl, "FOLDER", tmp_path / "bfcl")
    monkeypatch.setattr(when2call, "FILE", tmp_path / "choices.jsonl")
    asked, chosen = arms.public(SMOKE, "chat")
    chosen = replace(chosen, items=(when2call.Draw(1, hashlib.sha256(json.dumps(choice).encode()).hexdigest()),))
    trials, models = {"base": [asked, chosen]}, {"base": [None]}
    kept, why = judging.at_hand(trials, models, SMOKE)
    assert kept == {"base": []}
    assert "python -m flanlib.benchmarks.bfcl" in why[0]
    assert "git clone" in why[1]
    assert "PUBLIC=4" in why[0], "nobody asked"
    monkeypatch.setenv("FLAN_PUBLIC", "4")
    kept, lines = judging.at_hand(trials, models, SMOKE)
    assert kept == {"base": []}
    assert "Its rows are not here: BFCL: found no data" in lines[0]
    store.write(tmp_path / "bfcl" / "data" / "BFCL_v4_irrelevance.json", json.dumps(row))
    store.write(tmp_path / "choices.jsonl", json.dumps(choice))
    assert judging.at_hand(trials, models, SMOKE) == (trials, [])
    judged = judging.judge(trials, models, SMOKE)
    assert list(zip(judged["score"], judged["id"], strict=True)) == [
        ("bfcl", "BFCL_v4_irrelevance/irrelevance_0"), ("when2call", "q")]  # fmt: skip
    assert {"kind", "verdict", "right", "chosen", "offered"} <= {*judged}
    texts = "".join(path.read_text() for path in tmp_path.glob("smoke-*/*"))
    assert "Sing!" not in texts
    assert "A fare?" not in texts, "none of their text is in what would ship"
    (tmp_path / "bfcl" / "data" / "BFCL_v4_irrelevance.json").unlink()
    monkeypatch.setenv("FLAN_PUBLIC", "")
    assert judging.at_hand(trials, models, SMOKE) == (trials, [])
    pd.testing.assert_frame_equal(judging.judge(trials, models, SMOKE), judged)


def test_the_arms_of_table_1_share_trajectories_and_the_paper_s_proportion_of_chat(data, monkeypatch):
    monkeypatch.setattr(judging, "replies", lambda requests, preset: {one.id: "I can't tell." for one in requests})
    few = replace(data, chats=data.chats[:3])
    found = {name: arm.train for name, arm in arms.table1(few, SMOKE).items()}
    n = len(data.train)
    by_form = {name: Counter((c.source, bool(c.tools)) for c in train) for name, train in found.items()}
    assert by_form[arms.FIREACT] == {("lab", True): n}
    assert by_form[arms.AGENT_TUNING] == {("lab", True): n, ("ordinary", False): n}
    assert len({turn.text for c in found[arms.AGENT_TUNING] if not c.tools for turn in c.turns}) == 6, "three chats"
    assert by_form[arms.WITHOUT] == {("lab", True): n + 1, ("ordinary", False): n}, "one pair that teaches a format"
    added = [c for c in found[arms.FLAN] if c.id not in {c.id for c in found[arms.WITHOUT]}]
    assert {c.id.rsplit(" (", 1)[1] for c in added} == {"no tools)", "irrelevant)", "missing)"}
    half, part = arms.portion(tuning.Arm(found[arms.FLAN]), SMOKE, 0.5)
    assert half.train == found[arms.FLAN][: round(len(found[arms.FLAN]) / 2)]
    assert part.trained_tokens == 300


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
