import json
import sys
import threading
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flanlib import store
from flanlib.records import FlanError


def build_counting(calls, fail_first=False):
    def build(folder):
        calls.append(sorted(p.name for p in folder.iterdir()))
        (folder / f"part-{len(calls)}").write_text("x")
        if fail_first and len(calls) == 1:
            raise KeyboardInterrupt
        return {"answer": 42}

    return build


def test_the_same_config_is_built_once(tmp_path):
    calls = []
    first = store.cached("demo", {"a": 1}, build_counting(calls), runs=tmp_path)
    assert store.cached("demo", {"a": 1}, build_counting(calls), runs=tmp_path) == first
    assert len(calls) == 1
    manifest = store.manifest(first)
    assert (manifest["config"], manifest["answer"]) == ({"a": 1}, 42)
    assert set(manifest) >= {"versions", "wall_seconds", "machine", "date"}
    assert store.machine() == manifest["machine"] != ""


@pytest.mark.parametrize("other", [{"a": 2}, {"a": 1, "b": 0}, {"a": "1"}])
def test_another_config_is_another_folder(tmp_path, other):
    calls = []
    folders = {store.cached("demo", config, build_counting(calls), runs=tmp_path) for config in ({"a": 1}, other)}
    assert len(folders) == len(calls) == 2


def test_an_interrupted_build_is_no_hit_and_goes_on_from_what_it_wrote(tmp_path):
    calls = []
    with pytest.raises(KeyboardInterrupt):
        store.cached("demo", {}, build_counting(calls, fail_first=True), runs=tmp_path)
    (unfinished,) = tmp_path.iterdir()
    with pytest.raises(FlanError, match=r"no manifest\.json.*Run its notebook again"):
        store.manifest(unfinished)
    folder = store.cached("demo", {}, build_counting(calls), runs=tmp_path)
    assert folder == unfinished
    assert calls == [[], ["part-1"]]
    assert json.loads((folder / "manifest.json").read_text())["name"] == "demo"


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Folders of runs and of shipped results, and the log of the results that were read."""
    runs, results, log = tmp_path / "runs", tmp_path / "results", tmp_path / "read"
    monkeypatch.setattr(store, "RUNS", runs)
    monkeypatch.setattr(store, "RESULTS", results)
    monkeypatch.setenv("FLAN_READ_LOG", str(log))
    return runs, results, log


def test_a_run_made_here_is_preferred_to_a_shipped_one(places):
    runs, results, log = places
    label = f"demo-{store.digest({'a': 1})}"
    assert store.find("demo", {"a": 1}) is None
    assert not log.exists(), "a missing run is not logged as read"
    store.write(results / label / "manifest.json", "{}")
    assert store.find("demo", {"a": 1}) == results / label
    (runs / label).mkdir(parents=True)
    assert store.find("demo", {"a": 1}) == results / label, "an unfinished run does not count"
    store.write(runs / label / "manifest.json", "{}")
    assert store.find("demo", {"a": 1}) == runs / label
    assert log.read_text() == f"{label}\n" * 3


@pytest.mark.parametrize("fresh", [True, False])
def test_shipped_results_are_ignored_with_fresh_or_shipped_false(places, monkeypatch, fresh):
    runs, results, _ = places
    label = f"demo-{store.digest({})}"
    store.write(results / label / "manifest.json", "{}")
    calls = []
    assert store.cached("demo", {}, build_counting(calls)) == results / label
    monkeypatch.setenv("FLAN_FRESH", str(int(fresh)))
    assert store.find("demo", {}, shipped=fresh) is None
    assert store.cached("demo", {}, build_counting(calls), shipped=fresh) == runs / label
    assert len(calls) == 1
    assert not (results / label / "part-1").exists()


def test_runs_that_do_not_ship_are_not_logged(places):
    _, _, log = places
    store.cached("demo", {}, build_counting([]))
    store.cached("demo", {}, build_counting([]), shipped=False)
    assert not log.exists()
    store.cached("demo", {}, build_counting([]))
    assert log.read_text() == f"demo-{store.digest({})}\n"


def test_a_gpu_is_named_where_pytorch_sees_one(monkeypatch):
    cuda = SimpleNamespace(is_available=lambda: True, get_device_name=lambda: "H100")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert store.machine() == "H100"
    monkeypatch.delitem(sys.modules, "torch")
    assert store.machine() not in ("", "H100")


def test_without_a_log_file_nothing_is_logged(places, monkeypatch):
    runs, _, log = places
    monkeypatch.delenv("FLAN_READ_LOG")
    store.cached("demo", {}, build_counting([]))
    assert store.find("demo", {}).parent == runs
    assert not log.exists()


def test_of_two_threads_that_ask_for_a_folder_one_builds_it_and_the_other_waits(tmp_path):
    calls, found, begun, go = [], [], threading.Event(), threading.Event()

    def slow(folder):
        begun.set()
        go.wait(10)
        return build_counting(calls)(folder)

    one, other = (threading.Thread(target=lambda: found.append(store.cached("demo", {}, slow, runs=tmp_path)))
                  for _ in range(2))  # fmt: skip
    one.start()
    begun.wait(10)
    other.start()
    other.join(0.3)
    assert other.is_alive()
    go.set()
    one.join(10)
    other.join(10)
    assert len(set(found)) == len(calls) == 1


def test_processes_that_build_together_all_build_and_only_the_first_writes_the_manifest(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(store, "wait_for", lambda path: path)
    folder = store.cached("demo", {}, build_counting(calls), runs=tmp_path, together=True)
    assert len(calls) == 1
    assert not (folder / "manifest.json").exists()


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    store.write(path, "old")
    monkeypatch.setattr(store.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        store.write(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_a_model_folder_is_named_by_its_bytes(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    before = store.folder_digest(tmp_path)
    assert store.folder_digest(tmp_path) == before
    (tmp_path / "config.json").write_text("{ }")
    assert store.folder_digest(tmp_path) != before


def test_a_file_has_the_digest_of_its_bytes(tmp_path):
    (tmp_path / "weights").write_bytes(bytes(range(256)) * 9000)
    assert store.digest(tmp_path / "weights", "more") == store.digest(bytes(range(256)) * 9000, "more")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(lambda t: t.replace("\0", "")),
                min_size=1, max_size=5))  # fmt: skip
@example(["pick_stations_\r_taste", 'a,"b"\n', "NA"])
@example(["007", "1e3"])
def test_a_table_of_any_texts_reads_back_as_it_was(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("table") / "rows.csv"
    store.write_table(path, pd.DataFrame({"reply": texts, "value": range(len(texts))}))
    read = store.read_table(path)
    assert list(read["reply"]) == texts
    assert list(read["value"]) == list(range(len(texts)))
