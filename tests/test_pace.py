"""What runs will take is told by those that are finished: here, or elsewhere relative to training."""

import json

import pytest

from flanlib import pace, store
from flanlib.pace import Work


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(store, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(store, "machine", lambda: "here")


def finish(folder, name, machine, model, seconds, **facts):
    """Write the manifest of a finished run; one that was trained has a schedule."""
    config = {"model": model, "protocol": "chat"} | ({"schedule": {}} if "tokens" in facts else {})
    manifest = {"name": name, "config": config, "machine": machine, "wall_seconds": seconds, **facts}
    store.write(folder / f"{name}-{machine}" / store.MANIFEST, json.dumps(manifest))
    return folder / f"{name}-{machine}"


def elsewhere():
    """There training takes a second for each token, and a task's steps take thirty."""
    return [finish(store.RESULTS, "laptop-chat-0", "there", "small", 100, tokens=100),
            finish(store.RESULTS, "laptop-steps-chat-base", "there", "small", 60, items=2)]  # fmt: skip


def test_the_same_work_takes_as_long_as_it_did_here():
    for seed, seconds in enumerate((10, 20, 90)):
        finish(store.RUNS, f"laptop-chat-{seed}", "here", "small", seconds, tokens=100)
    elsewhere()
    assert pace.seconds([Work(pace.TUNING, "small", 50), Work(pace.TUNING, "small", 1000)]) == 0.2 * 1050


def test_other_work_takes_as_long_relative_to_training_as_elsewhere():
    elsewhere()
    finish(store.RUNS, "laptop-chat-0", "here", "small", 10, tokens=100)
    works, asked = [Work("steps chat", "small", 4), Work("steps chat", "large", 2), Work("steps chat", "large", 2)], []
    assert pace.seconds(works[:1]) == pytest.approx(4 * 30 * 0.1)
    assert pace.seconds(works[1:]) is None
    assert pace.seconds(works, lambda: asked.append(1) or 0.5) == pytest.approx(4 * 30 * 0.1 + 4 * 30 * 0.5)
    assert asked == [1]
    finish(store.RUNS, "laptop-steps-chat-base", "here", "small", 20, items=10)
    assert pace.seconds(works[:1]) == 4 * 2


def test_what_nobody_has_done_yet_cannot_be_told():
    assert pace.seconds([Work("steps chat", "small", 4)], lambda: 1.0) is None
    assert pace.seconds([Work(pace.TUNING, "small", 4)]) is None
    assert pace.seconds([Work(pace.TUNING, "small", 4)], lambda: 0.25) == 1.0
    assert pace.seconds([]) == 0


def test_training_and_the_rest_are_summed_apart():
    assert pace.took(elsewhere()) == (100, 60)
