from dataclasses import replace

import numpy as np
import pytest

from flanlib import runs, store, train
from flanlib.dialects import render_all
from flanlib.material import material
from flanlib.presets import PRESETS
from flanlib.tally import Tally

SMOKE = replace(PRESETS["smoke"], trained_tokens=600, trajectories=6, heldout=3, seeds=(0,))


@pytest.fixture(scope="module")
def texts():
    found = material(SMOKE)
    return {form: (render_all(found.train, form), render_all(found.heldout, form)) for form in ("react", "chat")}


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "RUNS", tmp_path)


def test_a_tuned_run_leaves_its_adapter_losses_rows_and_manifest(texts):
    (folder,) = runs.tuned("react", *texts["react"], SMOKE, Tally("t"))
    assert {"manifest.json", "losses.csv", "rows.csv", "adapter_config.json", "adapter_model.safetensors"} <= {
        p.name for p in folder.iterdir()
    }
    before = (folder / "losses.csv").read_bytes()
    assert runs.tuned("react", *texts["react"], SMOKE, Tally("t")) == [folder]
    assert (folder / "losses.csv").read_bytes() == before
    told = store.manifest(folder)
    assert told["config"]["schedule"]["seed"] == 0
    assert told["fill"] > 0.5
    losses, rows = (runs.table({"react": [folder]}, name) for name in ("losses", "rows"))
    assert 600 <= losses["trained_tokens"].max() < 1000
    assert set(rows["id"]) == {row.id for row in texts["react"][1]}


def test_the_same_run_in_another_folder_gives_the_same_bytes(texts, tmp_path, monkeypatch):
    found = []
    for name in ("a", "b"):
        monkeypatch.setattr(store, "RUNS", tmp_path / name)
        (folder,) = runs.tuned("chat", *texts["chat"], SMOKE, Tally("t"))
        found.append([(folder / f).read_bytes() for f in ("losses.csv", "rows.csv", "adapter_model.safetensors")])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "change", [{"lora_rank": 8}, {"learning_rate": 1e-3}, {"trained_tokens": 700}, {"seeds": (1,)}]
)
def test_whatever_changes_the_result_changes_the_folder(texts, change, monkeypatch):
    monkeypatch.setattr(store, "cached", lambda name, config, build: f"{name}-{store.digest(config)}")
    a, b = (runs.tuned("react", *texts["react"], size, Tally("t")) for size in (SMOKE, replace(SMOKE, **change)))
    assert a != b


def test_a_saved_adapter_measures_as_it_did_when_it_was_trained(texts):
    (folder,) = runs.tuned("chat", *texts["chat"], SMOKE, Tally("t"))
    held = runs.examples(texts["chat"][1], SMOKE, Tally("t"))
    again = runs.measure(runs.adapter(folder, SMOKE), held)
    told = runs.table({"chat": folder}, "rows")
    assert again["nats"].to_numpy() == pytest.approx(told["nats"].to_numpy(), rel=1e-3)


def test_tuning_moves_the_model(texts):
    size = replace(SMOKE, trained_tokens=6000, learning_rate=1e-2)
    untuned = runs.table({"x": runs.untuned("react", texts["react"][1], size, Tally("t"))}, "rows")
    tuned = runs.table({"x": runs.tuned("react", *texts["react"], size, Tally("t"))}, "rows")
    assert untuned["id"].tolist() == tuned["id"].tolist()
    assert tuned["nats"].sum() < 0.99 * untuned["nats"].sum()


def test_a_preset_is_fitted_to_long_and_to_few_texts(texts):
    rows = texts["react"][0]
    tight = runs.fitted(replace(SMOKE, row_tokens=256, trained_tokens=10**9), rows)
    sizes = [len(row) for row in runs.examples(rows, SMOKE, Tally("t"))]
    assert tight.row_tokens == 256 * 2 ** int(np.ceil(np.log2(np.percentile(sizes, 95) / 256)))
    assert tight.rows_per_step == 1
    trained = sum(int((row.kinds != train.CONTEXT).sum()) for row in runs.examples(rows, SMOKE, Tally("t")))
    assert tight.trained_tokens == 3 * trained
    assert runs.fitted(SMOKE, rows) == SMOKE
