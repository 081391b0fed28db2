"""The runner executes notebooks in order with the current interpreter and writes them normalised."""

import os
import sys

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from flanlib import batch, checks, presets, ship, store
from flanlib.intervals import Interval
from flanlib.records import FlanError
from flanlib.report import claims


@pytest.fixture
def books(tmp_path, monkeypatch):
    """An empty notebooks folder, and folders for output, runs and results beside it."""
    folder, figures = tmp_path / "notebooks", tmp_path / "figures"
    folder.mkdir()
    monkeypatch.setattr(batch, "NOTEBOOKS", folder)
    for module in (batch, presets):
        monkeypatch.setattr(module, "FIGURES", figures)
    monkeypatch.setattr(store, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(store, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(checks, "check", lambda size: None)
    return folder


def write(folder, name, *sources):
    cells = [new_markdown_cell("# A title")] + [new_code_cell(source) for source in sources]
    nbformat.write(new_notebook(cells=cells), folder / name)
    return folder / name


def texts(path):
    outputs = [out for cell in nbformat.read(path, 4).cells for out in cell.get("outputs", [])]
    return "".join(out.get("text", "") or out.get("data", {}).get("text/plain", "") for out in outputs)


def test_notebooks_run_in_order_in_place_with_this_interpreter(books, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # as in a shell where the environment is not activated
    write(books, "01_second.ipynb", "open('order', 'a').write('b')")
    write(books, "00_first.ipynb", "import os, sys", "open('order', 'a').write('a')",
          "print(sys.executable == os.environ['EXPECTED'], os.getcwd() == os.environ['FOLDER'])")  # fmt: skip
    (books / "notes.ipynb").write_text("not a notebook")
    monkeypatch.setenv("EXPECTED", sys.executable)
    monkeypatch.setenv("FOLDER", os.path.realpath(books))
    assert batch.main([]) == 0
    assert (books / "order").read_text() == "ab"
    assert "True True" in texts(books / "00_first.ipynb")
    printed = capsys.readouterr().out
    assert printed.index("00_first.ipynb: started, laptop preset") < printed.index("01_second.ipynb: started")
    assert "2 notebooks run\n0 files written to" in printed
    once = (books / "00_first.ipynb").read_bytes()
    assert batch.main(["--only", "00"]) == 0
    assert (books / "00_first.ipynb").read_bytes() == once


def test_what_the_cells_note_is_printed_and_stays_out_of_the_notebook(books, capsys):
    store.write(books.parent / "runs/log.txt", "12:00:00 an earlier run\n")
    path = write(books, "00_a.ipynb", "open('../runs/log.txt', 'a').write('12:00:01 50 % of 8 trials\\n');")
    assert batch.main([]) == 0
    printed = capsys.readouterr().out
    assert "12:00:01 50 % of 8 trials\n" in printed
    assert "earlier" not in printed
    assert "trials" not in texts(path)


def test_a_failing_cell_stops_the_run_and_is_named(books, capsys):
    bad = write(books, "00_bad.ipynb", "1 + 1", "raise RuntimeError('the tools are gone')")
    write(books, "01_next.ipynb", "open('ran', 'w').write('')")
    before = bad.read_bytes()
    assert batch.main([]) == 1
    printed = capsys.readouterr().err
    assert "00_bad.ipynb, cell 3" in printed
    assert "RuntimeError: the tools are gone" in printed
    assert "\x1b" not in printed
    assert bad.read_bytes() == before
    assert not (books / "ran").exists()


def test_an_input_that_the_kit_cannot_work_with_is_one_line_in_the_notebook_and_in_the_terminal(books, capsys):
    write(books, "00_bad.ipynb", "from flanlib.presets import choose", "choose({'SEED': 0})")
    assert batch.main([]) == 1
    assert capsys.readouterr().err == (
        f"00_bad.ipynb, cell 3: first cell: found SEED = 0; expected settings: {', '.join(presets.SETTINGS)}. "
        "Correct the name.\n")  # fmt: skip


def test_settings_are_checked_before_anything_runs_and_every_error_is_told_once(books, capsys, monkeypatch):
    def refuse(size):
        raise FlanError("a model", found=f"{size.model}", expected="another", remedy="Take it.")

    monkeypatch.setattr(checks, "check", refuse)
    write(books, "00_a.ipynb", "open('ran', 'w').write('')")
    assert batch.main(["--model", "mine"]) == 1
    assert capsys.readouterr().err == "a model: found mine; expected another. Take it.\n"
    monkeypatch.setenv("RANK", "1")
    assert batch.main(["--model", "mine"]) == 1
    assert capsys.readouterr().err == ""
    assert not (books / "ran").exists()


def test_on_real_data_the_notebook_stays_and_the_executed_copy_goes_to_the_output(books, capsys):
    (books / "rows.jsonl").write_text("")
    path = write(books, "00_data.ipynb", "import os; from pathlib import Path; print(os.environ['FLAN_DATA'])",
                 "Path('../figures/rows').mkdir(parents=True)",
                 "Path('../figures/rows/x.svg').write_text('a')")  # fmt: skip
    before = path.read_bytes()
    assert batch.main(["--data", str(books / "rows.jsonl")]) == 0
    assert path.read_bytes() == before
    assert str(books / "rows.jsonl") in texts(books.parent / "figures/rows/executed/00_data.ipynb")
    printed = capsys.readouterr().out
    assert "1 files written" in printed
    assert "  x.svg" in printed


def test_the_notebook_for_your_own_data_stays_as_it_is_and_what_it_makes_is_yours(books, capsys):
    path = write(books, "05_own.ipynb", "from pathlib import Path; Path('../figures/own').mkdir(parents=True)",
                 "Path('../figures/own/x.svg').write_text('a')")  # fmt: skip
    before = path.read_bytes()
    assert batch.main([]) == 0
    assert path.read_bytes() == before
    assert (books.parent / "figures/own/executed/05_own.ipynb").exists()
    assert "1 notebooks run\n1 files written to" in capsys.readouterr().out


READS = "import os; open(os.environ['FLAN_READ_LOG'], 'a').write('b-2\\na-1\\nb-2\\n')"
PARAMETERS = "PRESET = ''\nMODEL = ''\nSEEDS = ''\nHELDOUT = ''"
CHOICE = "from flanlib.presets import choose\nsize = choose(globals())\nprint(size.name, size.seeds, size.heldout)"


def test_settings_reach_a_notebook_from_the_command_line_and_from_its_own_cell(books):
    path = write(books, "00_choice.ipynb", PARAMETERS, CHOICE)
    book = nbformat.read(path, 4)
    book.cells[1].metadata.tags = ["parameters"]
    # As papermill does: the injected parameters follow the cell with the tag.
    book.cells.insert(2, new_code_cell("PRESET = 'smoke'\nHELDOUT = 2", metadata={"tags": ["injected-parameters"]}))
    nbformat.write(book, books / "01_injected.ipynb")
    assert batch.main(["--seeds", "3,4", "--heldout", "7"]) == 0
    executed = books.parent / "figures/seeds-3-4-heldout-7/executed"
    assert "laptop (3, 4) 7" in texts(executed / "00_choice.ipynb")
    assert "smoke (3, 4) 2" in texts(executed / "01_injected.ipynb")
    assert nbformat.read(executed / "01_injected.ipynb", 4).cells[2].metadata.tags == ["injected-parameters"]


def test_results_of_a_notebook_whose_own_cell_sets_something_are_not_recorded(books):
    write(books, "00_plain.ipynb", PARAMETERS + "  # the preset's own", READS)
    write(books, "01_edited.ipynb", PARAMETERS.replace("SEEDS = ''", 'SEEDS = "3"'), READS)
    for path in books.glob("*.ipynb"):
        book = nbformat.read(path, 4)
        book.cells[1].metadata.tags = ["parameters"]
        nbformat.write(book, path)
    (books.parent / "runs").mkdir()
    store.write(books.parent / "runs" / ship.READ, "notebook,result\n01_edited,as-before\n")
    assert batch.main([]) == 0
    noted = (books.parent / "runs" / ship.READ).read_text()
    assert noted == "notebook,result\n00_plain,a-1\n00_plain,b-2\n01_edited,as-before\n"


def test_a_model_in_a_folder_is_found_from_the_notebooks(books, monkeypatch):
    monkeypatch.chdir(books.parent)
    (books.parent / "mine").mkdir()
    write(books, "00_model.ipynb", "import os; print(os.path.isdir(os.environ['FLAN_MODEL']))")
    assert batch.main(["--model", "mine"]) == 0
    assert "True" in texts(books.parent / "figures/mine/executed/00_model.ipynb")


def test_an_unknown_option_is_an_error(books, capsys):
    write(books, "00_a.ipynb", "open('ran', 'w').write('')")
    with pytest.raises(SystemExit) as stopped:
        batch.main(["--seed", "0", "--sample", "3"])
    assert stopped.value.code == 2
    assert "--sample" in capsys.readouterr().err
    assert not (books / "ran").exists()


@pytest.mark.parametrize(("option", "message"), [
    (["--tokens", "abc"], "setting TOKENS: found 'abc'"), (["--preset", "lab"], "setting PRESET: found 'lab'"),
    (["--template", "mine"], "setting TEMPLATE: found 'mine'"),
    (["--fresh", "maybe"], "setting FRESH: found 'maybe'")])  # fmt: skip
def test_a_setting_that_cannot_be_parsed_is_refused_before_anything_runs(books, capsys, option, message):
    write(books, "00_a.ipynb", "open('ran', 'w').write('')")
    assert batch.main(option) == 1
    assert message in capsys.readouterr().err
    assert not (books / "ran").exists()


def test_with_default_settings_the_results_that_each_notebook_read_are_recorded(books, capsys):
    write(books, "00_nothing.ipynb", "1 + 1")
    write(books, "01_reads.ipynb", READS)
    (books.parent / "runs").mkdir()
    for name in ("old-3", "old-4", "old-5", "old-6"):
        (books.parent / "results" / name).mkdir(parents=True)
    assert batch.main([]) == 0
    noted = books.parent / "runs" / ship.READ
    assert noted.read_text() == "notebook,result\n01_reads,a-1\n01_reads,b-2\n"
    printed = capsys.readouterr().out
    assert "4 shipped results were read by no notebook of this commit: old-3, old-4, old-5, ...\n" in printed
    noted.unlink()
    assert batch.main(["--tokens", "5", "--only", "01"]) == 0
    assert not noted.exists(), "other settings record nothing"
    assert "FLAN_READ_LOG" not in os.environ


def test_a_fresh_run_ends_with_its_claims_beside_the_shipped(books, capsys, monkeypatch):
    row = claims.check("01", "a gap", material="lab", paper="0.5", ours=Interval(0.2, 0.1, 0.3, 40), seeds=1, above=0)
    for folder in ("figures", "figures/fresh"):
        monkeypatch.setattr(claims, "output", lambda _, folder=folder: books.parent / folder)
        claims.save([row], "01")
    path = write(books, "01_a.ipynb", "1 + 1")
    before = path.read_bytes()
    assert batch.main(["--fresh", "1"]) == 0
    printed = capsys.readouterr().out
    assert "1 claims, shipped beside fresh: intervals of 0 lie apart, verdicts of 0 changed" in printed
    assert "01 lab, a gap: shipped 0.2 [0.1, 0.3] holds, fresh 0.2 [0.1, 0.3] holds" in printed
    assert path.read_bytes() == before


def test_a_fresh_run_says_what_the_shipped_results_took_unless_they_are_made_already(books, monkeypatch):
    results, runs = books.parent / "results", books.parent / "runs"
    store.write(results / ship.READ, "notebook,result\n00_a,run-1\n00_a,trial-2\n01_b,trial-3\n")
    for name, facts in {"run-1": '"tokens": 9', "trial-2": '"items": 9', "trial-3": '"items": 9'}.items():
        config = '{"schedule": {}}' if "tokens" in facts else "{}"
        store.write(results / name / store.MANIFEST, f'{{"name": "smoke-{name}", "config": {config}, {facts}, '
                    f'"machine": "there", "wall_seconds": {3000 if "tokens" in facts else 130}}}')  # fmt: skip
    assert batch._ahead(books / "00_a.ipynb") == ""
    monkeypatch.setenv("FLAN_FRESH", "1")
    told = batch._ahead(books / "00_a.ipynb")
    assert told.startswith("; 2 results to compute")
    assert told.endswith("training took about 50 min and judging about 2 min")
    store.write(runs / "run-1" / store.MANIFEST, "{}")
    assert batch._ahead(books / "00_a.ipynb").startswith("; 1 results to compute")
    monkeypatch.setenv("FLAN_TOKENS", "5")
    assert batch._ahead(books / "01_b.ipynb") == ""


def test_unknown_numbers_are_refused_before_anything_runs(books, capsys):
    write(books, "00_a.ipynb", "open('ran', 'w').write('')")
    assert batch.main(["--only", "00,07"]) == 1
    assert "found no notebook 07; expected one of 00_a" in capsys.readouterr().err
    assert not (books / "ran").exists()


def test_a_folder_without_notebooks_is_refused(books, capsys):
    assert batch.main([]) == 1
    assert "found no notebook; expected one of none. Run in a checkout." in capsys.readouterr().err


def test_only_keeps_the_order_of_the_folder(books):
    for name in ("00_a.ipynb", "01_b.ipynb", "02_c.ipynb", "02_c.nbconvert.ipynb", "draft.ipynb"):
        write(books, name)
    assert [path.stem for path in batch.chosen(" 02, 00")] == ["00_a", "02_c"]
    assert [path.stem for path in batch.chosen()] == ["00_a", "01_b", "02_c"]
    assert [path.stem for path in batch.chosen("1")] == ["01_b"]
    with pytest.raises(FlanError, match="no notebook 05"):
        batch.chosen("5")


def test_a_notebook_whose_results_do_not_ship_yet_runs_only_if_it_is_named(books, capsys, monkeypatch):
    ran = []
    monkeypatch.setattr(batch, "run", lambda path: ran.append(path.stem) or path)
    for name in ("01_a.ipynb", "04_b.ipynb"):
        write(books, name)
    store.write(books.parent / "results" / "a-1" / "manifest.json", "{}")
    store.write(books.parent / "results" / ship.READ, "notebook,result\n01_a,a-1\n")
    assert batch.main([]) == 0
    assert "04_b.ipynb: left out, since its results do not ship yet; make figures ONLY=04" in capsys.readouterr().out
    store.write(books.parent / "results" / ship.READ, "notebook,result\n01_a,a-1\n")  # as that run forgot it
    assert batch.main(["--only", "04"]) == 0
    assert batch.main(["--tokens", "9"]) == 0  # other settings use no shipped result anyway
    assert ran == ["01_a", "04_b", "01_a", "04_b"]


def test_every_folder_in_a_list_of_models_is_found_from_the_notebooks(books, monkeypatch):
    seen = []
    monkeypatch.setattr(batch, "run", lambda path: seen.append(os.environ["FLAN_MODEL"]) or path)
    monkeypatch.chdir(books.parent)
    (books.parent / "mine").mkdir()
    write(books, "00_model.ipynb")
    assert batch.main(["--model", "smollm2, mine"]) == 0
    assert seen == [f"smollm2,{books.parent / 'mine'}"]


def test_ctrl_c_in_a_cell_ends_the_run_with_one_line(books, capsys):
    write(books, "00_a.ipynb", "import os, signal, time\nos.kill(os.getppid(), signal.SIGINT)\ntime.sleep(600)")
    write(books, "01_b.ipynb", "open('ran', 'w').write('')")
    assert batch.main([]) == 130
    assert capsys.readouterr().err == "Interrupted. Run it again, and it goes on.\n"
    assert not (books / "ran").exists()


def test_a_notebook_that_is_too_large_is_told_and_written(books, capsys, monkeypatch):
    path = write(books, "00_a.ipynb", "print('x' * 999)")
    monkeypatch.setattr(batch, "MOST_BYTES", 500)
    assert batch.main([]) == 1
    assert "bytes after running; expected at most 500. It is written to" in capsys.readouterr().err
    assert "x" * 999 in path.read_text()


def messy():
    cell = new_code_cell("x", execution_count=7, metadata={"execution": {"iopub.status.busy": "12:03"}, "tags": ["t"]})
    cell.outputs = [
        new_output("stream", name="stdout", text="<Tokenizer at 0x7f3a2b1c9d10>\n"),
        new_output("stream", name="stdout", text="loss 0.04\n"),
        new_output("stream", name="stderr", text="\r 10%|#   | 4/40 [00:01<00:09, 3.9it/s]"),
        new_output("stream", name="stderr", text="\r100%|####| 40/40 [00:09<00:00]\nmind the gap\n"),
        new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {"model_id": "a"},
                                         "text/plain": "HBox()"}),
        new_output("execute_result", execution_count=7, metadata={"needs_background": "light"},
                   data={"text/plain": "<Thing at 0x55d0c8a1b2c3>", "image/png": "iVBOR0x7f3a2b1c9d10"}),
    ]  # fmt: skip
    book = new_notebook(cells=[new_markdown_cell("0x7f3a2b1c9d10 stays"), cell])
    book.metadata = nbformat.from_dict({"kernelspec": {"name": "mine"}, "widgets": {"state": {}}, "papermill": {}})
    return book


def test_normalising_drops_what_differs_between_equal_runs_and_nothing_else():
    book = messy()
    before = nbformat.writes(book)
    clean = batch.normalise(book)
    assert nbformat.writes(book) == before, "the input is not changed"
    nbformat.validate(clean)
    assert clean.metadata == batch.METADATA
    assert [cell.id for cell in clean.cells] == [cell.id for cell in book.cells]
    assert clean.cells[0].source == "0x7f3a2b1c9d10 stays"
    code = clean.cells[1]
    assert code.metadata == {"tags": ["t"]}
    assert code.execution_count is None
    assert [(out.output_type, out.get("name")) for out in code.outputs] == [
        ("stream", "stdout"), ("stream", "stderr"), ("execute_result", None)]  # fmt: skip
    assert code.outputs[0].text == "<Tokenizer at 0x>\nloss 0.04\n"
    assert code.outputs[1].text == "mind the gap\n"
    assert code.outputs[2].data == {"text/plain": "<Thing at 0x>", "image/png": "iVBOR0x7f3a2b1c9d10"}
    assert code.outputs[2].execution_count is None


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]),
                          st.text(alphabet="ab \n\r0x/[:<1]", min_size=1, max_size=24)), max_size=6))  # fmt: skip
def test_normalising_twice_changes_nothing_more(pieces):
    book = messy()
    book.cells[1].outputs += [new_output("stream", name=name, text=text) for name, text in pieces]
    once = batch.normalise(book)
    assert nbformat.writes(batch.normalise(once)) == nbformat.writes(once)
