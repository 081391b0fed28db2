"""The shipped results are small, complete, and exactly those that the notebooks read."""

import pytest

from flanlib import ship, store
from flanlib.presets import ROOT
from flanlib.records import FlanError

SHIPPED = sorted(store.RESULTS.glob("*/"))
MOST_BYTES = 400_000


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Empty folders for runs and for shipped results."""
    runs, results = tmp_path / "runs", tmp_path / "results"
    runs.mkdir()
    monkeypatch.setattr(store, "RUNS", runs)
    monkeypatch.setattr(store, "RESULTS", results)
    return runs, results


def finished(folder, name):
    """Write a finished run with files that ship and files that do not."""
    for file in ("manifest.json", "losses.csv", "adapter.safetensors", "part/rows.csv"):
        store.write(folder / name / file, f"{name} {file}")


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_small_files_of_results_that_were_read_ship_and_other_results_are_removed(places):
    runs, results = places
    for name in ("a-1", "b-2", "yours-3", "unread-4"):
        finished(runs, name)
    finished(results, "old-5")
    ship.note({"00_data": [], "01_format": ["a-1", "b-2"], "02_speeds": ["a-1"], "05_yours": ["yours-3", "b-2"]})
    assert ship.orphans() == ["old-5"]
    assert ship.ship() == [results / "a-1", results / "b-2"]
    assert files(results) == ["a-1/losses.csv", "a-1/manifest.json", "b-2/losses.csv", "b-2/manifest.json", "read.csv"]
    assert (results / "a-1/losses.csv").read_bytes() == (runs / "a-1/losses.csv").read_bytes()
    assert (results / "read.csv").read_text() == "notebook,result\n01_format,a-1\n01_format,b-2\n02_speeds,a-1\n"
    assert ship.orphans() == []
    before = (results / "read.csv").read_bytes()
    ship.note({"05_yours": ["b-2"]})
    assert (results / "read.csv").read_bytes() == before
    assert ship.ship() == [results / "a-1", results / "b-2"]
    assert (results / "read.csv").read_bytes() == before


def test_a_notebook_is_awaited_until_a_result_that_only_it_reads_is_there(places):
    runs, results = places
    assert not ship.awaited("04_rivals"), "nothing ships: whoever works on the kit runs them all"
    for name in ("a-1", "b-2"):
        finished(results, name)
    store.write(results / "read.csv", "notebook,result\n01_format,a-1\n01_format,b-2\n04_rivals,a-1\n")
    assert [name for name in ("01_format", "04_rivals", "05_yours") if ship.awaited(name)] == ["04_rivals"]
    store.write(runs / "read.csv", "notebook,result\n04_rivals,a-1\n04_rivals,c-3\n")
    assert ship.awaited("04_rivals"), "its run is gone"
    finished(runs, "c-3")
    assert not ship.awaited("04_rivals")


def test_a_shipped_result_stays_unchanged_even_if_its_run_is_gone(places):
    _, results = places
    store.write(results / "a-1/manifest.json", "as shipped")
    ship.note({"01_format": ["a-1"]})
    assert ship.ship() == [results / "a-1"]
    assert (results / "a-1/manifest.json").read_text() == "as shipped"


def test_a_run_that_is_missing_or_unfinished_is_refused_by_name(places):
    runs, results = places
    store.write(runs / "a-1/losses.csv", "unfinished")
    ship.note({"01_format": ["a-1"]})
    with pytest.raises(FlanError, match="shipping a-1: found no such finished run, though 01_format read it"):
        ship.ship()
    assert files(results) == []


def test_results_of_a_notebook_that_was_not_run_here_still_ship(places):
    runs, results = places
    finished(runs, "a-1")
    store.write(results / "b-2/manifest.json", "as shipped")
    store.write(results / "read.csv", "notebook,result\n01_format,old-1\n02_speeds,b-2\n")
    ship.note({"01_format": ["a-1"]})
    assert (results / "read.csv").read_text() == "notebook,result\n02_speeds,b-2\n", "a-1 does not ship yet"
    assert ship.ship() == [results / "a-1", results / "b-2"]
    assert (results / "read.csv").read_text() == "notebook,result\n01_format,a-1\n02_speeds,b-2\n"


@pytest.mark.parametrize("read", [{}, {"05_yours": ["yours-3"]}])
def test_if_nothing_was_read_nothing_is_removed(places, read):
    _, results = places
    finished(results, "a-1")
    ship.note(read)
    with pytest.raises(FlanError, match="no result that a notebook read"):
        ship.ship()
    assert (results / "a-1/manifest.json").exists()


def test_new_records_replace_those_of_the_same_notebook_only(places):
    runs, _ = places
    ship.note({"01_a": ["x", "y"], "02_b": ["x"]})
    ship.note({"01_a": ["z"]})
    assert (runs / "read.csv").read_text() == "notebook,result\n01_a,z\n02_b,x\n"


def test_the_command_line_prints_the_size_of_the_shipped_results_or_the_error(places, capsys):
    runs, _ = places
    assert ship.main() == 1
    assert "make figures" in capsys.readouterr().err
    finished(runs, "a-1")
    ship.note({"01_format": ["a-1"]})
    assert ship.main() == 0
    assert "1 results ship in data/results, 0.0 MB; the largest is a-1, 0 KB" in capsys.readouterr().out


def test_the_kit_ships_exactly_the_results_that_its_notebooks_read():
    folder = ROOT / "data" / "results"
    if not SHIPPED:
        pytest.skip("no results ship yet")
    rows = store.read_table(folder / ship.READ)
    assert sorted(set(rows["result"])) == [path.name for path in SHIPPED]
    assert set(rows["notebook"]) <= {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: path.name)
def test_each_result_that_ships_is_small_and_says_where_it_was_made(folder):
    manifest = store.manifest(folder)
    assert f"{manifest['name']}-{store.digest(manifest['config'])}" == folder.name
    assert manifest["date"]
    assert manifest["machine"]
    assert set(manifest["versions"]) == set(store.LIBRARIES)
    assert sum(path.stat().st_size for path in folder.rglob("*")) < MOST_BYTES
    assert all(any(path.match(pattern) for pattern in store.SMALL) for path in folder.rglob("*"))
