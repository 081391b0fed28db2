"""What ships is what this code makes: the first steps of a shipped run are trained again."""

import pandas as pd
import pytest

from flanlib import presets, pretrained, store
from flanlib.corpus.material import material
from flanlib.experiments import arms, judging, tuning
from flanlib.tally import Tally
from flanlib.training.train import Progress

TOLERANCE = 0.05
"""Relative, on the loss of the first steps: one machine computes in bfloat16, another in float32."""


@pytest.fixture
def default(monkeypatch):
    """The untouched default, whatever the environment says."""
    for name in presets.SETTINGS:
        monkeypatch.delenv(f"FLAN_{name}", raising=False)
    if not pretrained.FOLDER.exists():
        pytest.skip("the default model is not here: python -m flanlib.pretrained fetches it")
    return presets.preset()


def test_shipped_judgements_of_the_untuned_model_are_found(default):
    if not store.RESULTS.is_dir():
        pytest.skip("no results ship yet")
    listed = arms.table1_trials(material(default), default, "chat")
    assert [f"{one.benchmark}, {one.split}" for one in listed if not judging._Job(one, None, default).done] == []


def test_a_shipped_run_begins_as_it_did(default, tmp_path, monkeypatch):
    data = material(default)
    size = arms.fitted(data, default)
    arm = arms.forms(data, size)["chat"]
    rows, held = (tuning.examples(texts, size, Tally("t")) for texts in (arm.train, arm.heldout))
    job = tuning._Job("chat", rows, held, size, size.seeds[0], shipped=True)
    shipped = store.RESULTS / job.label
    if not shipped.is_dir():
        pytest.skip("no shipped run of this commit's inputs")
    before = pd.read_csv(shipped / "losses.csv").query("split == 'train'")
    before = before[before["step"] == before["step"].min()]  # what was logged first: one step or a few

    def stop(self, args, state, control, **kwargs):
        control.should_training_stop = bool(state.global_step >= before["step"].min())

    monkeypatch.setattr(Progress, "on_step_end", stop)
    job.held = ()
    job.build(None, tmp_path)
    again = pd.read_csv(tmp_path / "losses.csv").query("split == 'train'")
    told = again.merge(before, on=["step", "kind"], how="left", suffixes=("", "_shipped"))
    assert len(told) > 1
    assert (told["tokens"] == told["tokens_shipped"]).all()
    assert told["nats"].sum() == pytest.approx(told["nats_shipped"].sum(), rel=TOLERANCE)
