"""Who cannot see a bar reads the log."""

import re

import pytest

from flanlib import progress, store
from flanlib.progress import Bar


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "RUNS", tmp_path / "runs")


def lines():
    return [line.split(" ", 1)[1] for line in progress.log().read_text().splitlines()]


def test_a_bar_notes_how_far_it_is_once_in_a_while(monkeypatch):
    now = iter([0.0, 10.0, progress.EVERY + 1, progress.EVERY + 1, progress.EVERY + 2])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    with Bar(total=8, desc="trials", unit="task", leave=False) as bar:
        for _ in range(3):
            bar.update(2)
    [line] = lines()
    assert re.fullmatch(r"trials: 50 %, [\d:]+ so far, [\d:?]+ to go", line)


def test_a_bar_that_is_hidden_and_a_process_that_is_not_the_first_note_nothing(monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with Bar(total=2, disable=True) as bar:
        bar.update()
    monkeypatch.setenv("RANK", "1")
    progress.note("from the second process")
    assert not progress.log().exists()


def test_lines_are_passed_on_when_they_are_whole_and_none_from_before():
    told = []
    progress.note("before")
    with progress.followed(told.append, every=0.01):
        progress.note("half")
        with progress.log().open("a") as file:
            file.write("a line")
            file.flush()
            file.write(" whole\nnever ends")
    assert told[0].endswith(" half")
    assert told[1:] == ["a line whole"]
