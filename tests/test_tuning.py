import gc
import re
import shutil
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch

from flanlib import presets, progress, store
from flanlib.dialects import render_all
from flanlib.experiments import tuning, workers
from flanlib.lab import tasks
from flanlib.presets import PRESETS
from flanlib.records import FlanError
from flanlib.tally import Tally
from flanlib.text.tokens import CONTEXT

SMOKE = replace(PRESETS["smoke"], trained_tokens=1500, measure_at=(700,), row_tokens=2048, rows_per_step=1,
                rows_per_pass=1, seeds=(0,))  # fmt: skip
RESULTS = ("losses.csv", "firsts.csv", "adapter_model.safetensors")


@pytest.fixture(scope="module")
def texts():
    train = tasks.trajectories(6, rng=np.random.default_rng(1))
    held = tasks.trajectories(3, rng=np.random.default_rng(2), split="heldout")
    return {form: (render_all(train, form), render_all(held, form)) for form in ("react", "chat")}


def tune(texts, form, size=SMOKE, **kwargs):
    return tuning.tuned({form: tuning.Arm(*texts[form])}, size, Tally("t"), **kwargs)[form]


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(store, "RESULTS", tmp_path / "results")


def ship(folder):
    """Ship what a run measured, and forget the rest of it."""
    there = store.RESULTS / folder.name
    there.mkdir(parents=True)
    for pattern in store.SMALL:
        for path in folder.glob(pattern):
            shutil.copy(path, there)
    shutil.rmtree(folder)
    return there


def test_a_tuned_run_leaves_its_adapter_losses_first_choices_and_manifest(texts):
    (folder,) = tune(texts, "react")
    assert {"manifest.json", "losses.csv", "firsts.csv", "adapter_config.json", "adapter_model.safetensors"} <= {
        p.name for p in folder.iterdir()
    }
    before = (folder / "losses.csv").read_bytes()
    assert tune(texts, "react") == [folder]
    assert (folder / "losses.csv").read_bytes() == before
    manifest = store.manifest(folder)
    assert manifest["config"]["schedule"]["seed"] == 0
    assert manifest["fill"] > 0.3
    losses, firsts = (tuning.table({"react": [folder]}, name) for name in ("losses", "firsts"))
    assert 1500 <= losses["trained_tokens"].max() == manifest["trained_tokens"] < 2100
    held = sum(row.trained for row in tuning.examples(texts["react"][1], SMOKE, Tally("t")))
    assert firsts["firsts"].str.len().tolist() == [held] * len(firsts)
    assert firsts["trained_tokens"].iloc[[0, -1]].tolist() == [0, manifest["trained_tokens"]]


def test_the_same_run_in_another_folder_gives_the_same_bytes(texts, tmp_path, monkeypatch):
    found = []
    for name in ("a", "b"):
        monkeypatch.setattr(store, "RUNS", tmp_path / name)
        (folder,) = tune(texts, "chat")
        found.append([(folder / f).read_bytes() for f in RESULTS])
    assert found[0] == found[1]


def test_memory_is_told_before_a_run_and_not_when_every_run_is_there(texts, monkeypatch):
    told = []
    monkeypatch.setattr(tuning.memory, "check", told.append)
    tune(texts, "react")
    assert told == [SMOKE]
    tune(texts, "react")
    assert told == [SMOKE]


@pytest.fixture
def two_threads():
    """Have as many threads as two processes need, and no more than before in the tests that follow."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("two_threads")
def test_runs_side_by_side_give_the_bytes_of_runs_one_after_another(texts, tmp_path, monkeypatch):
    size = replace(SMOKE, seeds=(0, 1))
    monkeypatch.setattr(tuning, "LONG", 0)
    found = []
    for name, processes in (("a", 4), ("b", 1)):
        monkeypatch.setattr(store, "RUNS", tmp_path / name)
        monkeypatch.setattr(workers, "MOST_PROCESSES", processes)
        folders = tune(texts, "chat", size)
        assert [store.manifest(folder)["config"]["schedule"]["seed"] for folder in folders] == [0, 1]
        found.append([(folder / result).read_bytes() for folder in folders for result in RESULTS])
        told = progress.log().read_text().splitlines()[0]
        for fact in ("rows", "trained_tokens", "steps"):
            done = sum(store.manifest(folder)[fact] for folder in folders)
            assert f" {done:,} {fact.replace('_', ' ')}" in told
        assert "2 of 2 tuning runs to do" in told
        assert re.search(r"(about|less than) .*min.*, \d\.\d GB of memory in all", told)
    assert found[0] == found[1]


def test_finished_runs_are_found_before_any_process_starts(texts, monkeypatch):
    begun = []
    monkeypatch.setattr(workers, "side_by_side", lambda jobs, what: begun.append([j.seed for j in jobs if not j.done]))
    (folder,) = tune(texts, "chat")
    store.write(folder / "manifest.json", "{}")
    both = tune(texts, "chat", replace(SMOKE, seeds=(0, 1)))
    assert both[0] == folder
    assert begun == [[0], [1]]


def test_garbage_collections_leave_out_what_was_there_before_the_jobs():
    class Looks(workers.Job):
        def build(self, tell, folder):
            (folder / "frozen").write_text(str(gc.get_freeze_count()))
            return {}

    before = gc.get_freeze_count()
    for already in (False, True):
        (gc.freeze if already else gc.unfreeze)()
        job = Looks(f"looks-{already}", {}, long=False, preset=SMOKE)
        workers.side_by_side([job], what="looks")
        assert int((job.folder / "frozen").read_text()) > 10_000
        assert (gc.get_freeze_count() > 0) == already
    if not before:
        gc.unfreeze()


def test_an_error_crosses_from_one_process_to_another_whole():
    error = FlanError("here", found="one", expected="two", remedy="Do it.")
    again = ForkingPickler.loads(ForkingPickler.dumps(error))
    assert (type(again), str(again), again.remedy) == (FlanError, str(error), "Do it.")


def test_records_cross_from_one_process_to_another_whole():
    found = tasks.tasks(6, rng=np.random.default_rng(0))
    assert ForkingPickler.loads(ForkingPickler.dumps(found)) == found


@pytest.mark.parametrize("change", [
    {"lora_rank": 8}, {"learning_rate": 1e-3}, {"trained_tokens": 700}, {"seeds": (1,)}, {"bits": 4},
    {"measure_at": (200,)}, {"template": "agent_flan"},
])  # fmt: skip
def test_whatever_changes_the_result_changes_the_folder(texts, change, monkeypatch):
    monkeypatch.setattr(workers, "side_by_side", lambda made, what: None)
    a, b = (tune(texts, "react", size) for size in (SMOKE, replace(SMOKE, **change)))
    assert a != b


def test_an_arm_without_held_out_texts_measures_none(texts):
    (folder,) = tune({"chat": (texts["chat"][0],)}, "chat")
    assert set(tuning.table({"chat": [folder]}, "losses")["split"]) == {"train"}
    assert tuning.table({"chat": [folder]}, "firsts").empty


def measured(texts, models, size=SMOKE):
    return tuning.measured({"held out": texts["chat"][1]}, models, size, Tally("t"))


@pytest.mark.parametrize("bits", [4, 16])
def test_a_saved_adapter_measures_as_it_did_when_it_was_trained(texts, bits):
    size = replace(SMOKE, bits=bits)
    table = measured(texts, {"before": [None], "after": (folders := tune(texts, "chat", size))}, size)
    losses = tuning.table({"chat": folders}, "losses")
    while_training = losses[losses["split"] == "heldout"].groupby("step")["nats"].sum()
    alone = table.groupby("model")["nats"].sum()
    assert alone["before"] == pytest.approx(while_training.iloc[0], rel=1e-3)
    assert alone["after"] == pytest.approx(while_training.iloc[-1], rel=1e-3)
    assert set(table["id"]) == {row.id for row in texts["chat"][1]}


def test_tuning_moves_the_model(texts):
    size = replace(SMOKE, trained_tokens=6000, learning_rate=1e-2)
    models = {"before": [None], "after": tune(texts, "chat", size)}
    table = tuning.measured({"what it was tuned on": texts["chat"][0]}, models, size, Tally("t"))
    nats = table.groupby("model")["nats"].sum()
    assert nats["after"] < 0.99 * nats["before"]


def test_shipped_results_are_read_and_weights_are_made_when_they_are_needed(texts, monkeypatch):
    (made,) = tune(texts, "chat")
    adapter = (made / tuning.WEIGHTS).read_bytes()
    there = ship(made)
    (folder,) = tune(texts, "chat")
    assert folder == there
    assert not made.exists()
    table = measured(texts, {"tuned": [folder]})  # not measured before: that takes the adapter
    assert tuning.weights(folder) == made
    assert (made / tuning.WEIGHTS).read_bytes() == adapter
    assert table["nats"].sum() > 0
    assert tune(texts, "chat") == [made]  # what was made here is looked at first


def test_shipped_results_are_left_alone_where_all_is_to_be_fresh(texts, monkeypatch):
    (made,) = tune(texts, "chat")
    there = ship(made)
    monkeypatch.setattr(store, "fresh", lambda: True)
    assert tune(texts, "chat") == [made] != [there]
    monkeypatch.setattr(store, "fresh", presets.fresh)
    shutil.rmtree(made)
    assert tune(texts, "chat", shipped=False) == [made]


def test_a_preset_is_fitted_to_long_and_to_few_texts(texts):
    rows = texts["react"][0]
    tight = tuning.fitted(replace(SMOKE, row_tokens=256, trained_tokens=10**9), rows)
    sizes = [len(row) for row in tuning.examples(rows, SMOKE, Tally("t"))]
    assert tight.row_tokens == 256 * 2 ** int(np.ceil(np.log2(np.percentile(sizes, 95) / 256)))
    assert tight.rows_per_step == 1
    trained = sum(int((row.kinds != CONTEXT).sum()) for row in tuning.examples(rows, SMOKE, Tally("t")))
    assert tight.trained_tokens == 3 * trained
    assert tuning.fitted(SMOKE, rows) == SMOKE


def test_a_watcher_sees_the_losses_grow_and_changes_nothing(texts, tmp_path, monkeypatch):
    (alone,) = tune(texts, "chat")
    monkeypatch.setattr(store, "RUNS", tmp_path / "watched")
    seen = []
    (folder,) = tuning.tuned({"chat": tuning.Arm(*texts["chat"])}, SMOKE, Tally("t"), watch=seen.append)["chat"]
    assert [len(frame) for frame in seen] == sorted({len(frame) for frame in seen})
    assert all((frame["split"] == "train").any() for frame in seen)
    assert len(seen) > 1
    assert [(folder / f).read_bytes() for f in RESULTS] == [(alone / f).read_bytes() for f in RESULTS]
    tuning.tuned({"chat": tuning.Arm(*texts["chat"])}, SMOKE, Tally("t"), watch=lambda _: pytest.fail("from the cache"))
