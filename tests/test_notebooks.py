"""Notebooks define nothing, say what they ask, end in their claims, and run from anywhere."""

import ast
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from flanlib import ship
from flanlib.batch import MOST_BYTES, normalise
from flanlib.presets import OWN

ROOT = Path(__file__).resolve().parents[1]
PATHS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
OPENING = ("Question", "What the paper found", "What you need", "Time")
ABSOLUTE = re.compile(r"(?<![\w.:/~-])(/(home|Users|root|tmp|work|opt|usr|var|mnt|content|private|data)/\w|[A-Z]:\\\w)")
STANDING = re.compile(r"os\.chdir|sys\.path|%cd\b|[\"']\.\./|Path\([\"']\.\.")
every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def cells(path, kind):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def lines(source):
    return [line for line in source.splitlines() if line.strip() and not line.strip().startswith("#")]


def plain(source):
    """Code without magics, so that it parses as Python."""
    return "\n".join("" if line.startswith(("%", "!")) else line for line in source.splitlines())


def words(path):
    """Words of prose a line of code, code fences and addresses left out."""
    prose = "\n".join(cell.source for cell in cells(path, "markdown"))
    prose = re.sub(r"```.*?```|https?://\S+", " ", prose, flags=re.DOTALL)
    return len(re.findall(r"\w[\w'-]*", prose)) / sum(len(lines(cell.source)) for cell in cells(path, "code"))


def texts(path):
    """Everything a reader can see as text: sources, and outputs but for pictures."""
    for cell in nbformat.read(path, as_version=4).cells:
        yield cell.source
        for out in cell.get("outputs", []):
            yield out.get("text", "")
            yield from (str(value) for kind, value in out.get("data", {}).items() if not kind.startswith("image/"))


@every_notebook
def test_a_notebook_defines_nothing(path):
    for cell in cells(path, "code"):
        for node in ast.walk(ast.parse(plain(cell.source))):
            assert not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)), cell.source


@every_notebook
def test_cells_are_short(path):
    sizes = [len(lines(cell.source)) for cell in cells(path, "code")]
    assert max(sizes) <= 15
    assert statistics.median(sizes) <= 6


@every_notebook
def test_a_notebook_opens_with_its_question_and_its_price(path):
    first = nbformat.read(path, as_version=4).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    for heading in OPENING:
        assert heading in first.source


@every_notebook
def test_a_notebook_ends_by_showing_its_claims(path):
    last = cells(path, "code")[-1]
    assert "show.claims(" in last.source


@every_notebook
def test_prose_and_code_keep_company(path):
    assert 3 <= words(path) <= 7


@every_notebook
def test_no_path_of_a_machine_is_in_a_notebook(path):
    for text in texts(path):
        assert not ABSOLUTE.search(text), ABSOLUTE.search(text)
    for cell in cells(path, "code"):
        assert not STANDING.search(cell.source), cell.source


@every_notebook
def test_a_notebook_is_executed_whole_and_without_errors_unless_its_results_cannot_ship(path):
    *_, last = outputs = [cell.outputs for cell in cells(path, "code")]
    if path.stem.startswith(OWN) or ship.awaited(path.stem):
        assert not any(outputs), "it differs between machines, or nothing of it ships yet"
    else:
        assert last
        assert all(out.output_type != "error" for of_cell in outputs for out in of_cell)


@every_notebook
def test_a_notebook_is_in_its_canonical_form_and_small(path):
    text = path.read_text(encoding="utf-8")
    assert text == nbformat.writes(normalise(nbformat.reads(text, as_version=4))) + "\n", "run it with make figures"
    assert len(text.encode()) <= MOST_BYTES


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("saved to /home/ada/figures/x.svg", True),
        ("PosixPath('/home/x')", True),
        ("C:\\Users\\ada", True),
        ("the figures/smoke folder, and/or data/paper", False),
        ("https://example.org/data/x", False),
        ("~/data/x", False),
    ],
)
def test_the_pattern_for_paths_finds_what_it_is_for(text, found):
    assert bool(ABSOLUTE.search(text)) == found


@pytest.fixture(scope="module")
def no_cached_smoke_runs():
    """Forget earlier smoke runs, so that notebooks really train here and find each other's runs only."""
    for folder in (ROOT / "data" / "runs").glob("smoke-*"):
        shutil.rmtree(folder)


# The one that make figures leaves out until its results ship; all others run there.
@pytest.mark.parametrize("path", [path for path in PATHS if path.stem.startswith("04")], ids=lambda path: path.stem)
@pytest.mark.usefixtures("no_cached_smoke_runs")
def test_a_notebook_runs_from_another_directory(path, tmp_path):
    before = path.read_bytes()
    settings = {name: value for name, value in os.environ.items() if name != "FLAN_DATA"} | {"FLAN_PRESET": "smoke"}
    command = [sys.executable, "-m", "flanlib.batch", "--only", path.stem]
    done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert path.read_bytes() == before, "smoke runs leave the notebooks alone"
    assert list(tmp_path.iterdir()) == []
    executed = cells(ROOT / "figures" / "smoke" / "executed" / path.name, "code")
    assert "numbers mean nothing" in str(executed[-1].outputs)
