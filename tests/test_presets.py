"""Settings mean the same wherever they are set, bad values give a one-line error, and output folders are distinct."""

import os
import shlex
import shutil
import subprocess
from itertools import combinations

import pytest

from flanlib import presets
from flanlib.presets import FIGURES, LAPTOP, PRESETS, ROOT, SETTINGS, choose, output, preset, source_name
from flanlib.records import FlanError
from flanlib.text.templates import TEMPLATES

EMPTY = dict.fromkeys(SETTINGS, "")


@pytest.fixture
def put(monkeypatch):
    """Set settings in the environment."""
    return lambda **settings: [monkeypatch.setenv(f"FLAN_{name}", text) for name, text in settings.items()]


def test_without_settings_the_preset_is_laptop_and_the_output_is_figures():
    assert preset() == choose({}) == choose(EMPTY) == LAPTOP
    assert output() == output("03") == FIGURES
    assert not presets.setting("DATA")
    assert not presets.fresh()


def test_what_your_own_model_makes_is_yours_and_not_among_the_kits_figures(put):
    assert output("05") == output("05_your_own_model") == FIGURES / "own"
    put(PRESET="smoke")
    assert output("05") == output() == FIGURES / "smoke"


def test_every_preset_has_its_name_and_consistent_sizes():
    for name, one in PRESETS.items():
        assert one.name == name
        assert one.watched <= one.heldout >= one.free
        assert list(one.measure_at) == sorted(one.measure_at)
        assert max(one.measure_at) < one.trained_tokens


def test_an_unknown_name_in_the_environment_is_refused_naming_the_known(put):
    put(SEED="0")
    with pytest.raises(FlanError, match=r"found FLAN_SEED in the environment; expected FLAN_PRESET, .*FLAN_SEEDS"):
        preset()


def test_names_that_are_no_settings_of_an_experiment_are_left_alone(put):
    put(ONLY="01", READ_LOG="x", REAL_DATA="y")
    assert preset() == LAPTOP


@pytest.mark.parametrize(("name", "text"), [
    ("TOKENS", "abc"), ("TOKENS", "0"), ("TOKENS", "1.5"), ("SEEDS", "1,x"), ("SEEDS", "-1"), ("SEEDS", "0,"),
    ("HELDOUT", "0"), ("PUBLIC", "all"), ("RATE", "-1"), ("RATE", "0"), ("RATE", "nan"), ("RATE", "inf"),
    ("FRESH", "maybe"), ("PRESET", "lab"), ("TEMPLATE", "chatml"), ("SEEDS", ",")])  # fmt: skip
def test_a_bad_value_is_refused_in_one_line(put, name, text):
    put(**{name: text})
    with pytest.raises(FlanError) as error:
        preset()
    message = str(error.value)
    assert message.startswith(f"setting {name}")
    assert SETTINGS[name] in message
    assert f"FLAN_{name}" in message
    assert "\n" not in message


def test_settings_change_the_preset(put):
    put(SEEDS=" 3, 1,3", TOKENS="6_000", RATE="1e-3", HELDOUT="20", TEMPLATE="agent_flan")
    size = preset()
    assert size.seeds == (3, 1), "repeated seeds count once"
    assert (size.trained_tokens, size.learning_rate, size.template) == (6000, 1e-3, "agent_flan")
    assert (size.heldout, size.free, size.watched) == (20, 20, 16)


def test_another_model_takes_its_own_template_and_rate_unless_they_are_set(put):
    put(MODEL="some/model")
    size = preset()
    assert (size.model, size.template, size.learning_rate) == ("some/model", "auto", 2e-4)
    put(TEMPLATE="own", RATE="1e-5")
    assert (preset().template, preset().learning_rate) == ("own", 1e-5)
    put(MODEL="smollm2", TEMPLATE="", RATE="")
    assert preset() == LAPTOP


def test_of_several_models_the_first_is_the_presets_and_notebook_04_takes_all(put):
    assert [one.model for one in presets.by_model(preset())] == ["smollm2", "random"]
    put(MODEL="some/model, smollm2,some/model", RATE="1e-5")
    assert preset().model == "some/model"
    found = presets.by_model(preset())
    assert [(one.model, one.template, one.learning_rate) for one in found] == [
        ("some/model", "auto", 1e-5), ("smollm2", "auto", 1e-5)]  # fmt: skip
    assert output().name == "model+smollm2+model-rate-1e-5"
    put(MODEL="smollm2", RATE="")
    assert presets.by_model(preset()) == [LAPTOP]
    put(PRESET="smoke", MODEL="")
    assert presets.by_model(preset()) == [PRESETS["smoke"]]


def test_a_notebooks_first_cell_sets_settings_in_any_type():
    size = choose({**EMPTY, "PRESET": "smoke", "SEEDS": (0, 1, 2), "TOKENS": 500, "RATE": 3e-4, "FRESH": True,
                   "DATA": None, "size": 3, "_": "x", "In": ["y"]})  # fmt: skip
    assert size.name == "smoke"
    assert (size.seeds, size.trained_tokens, size.learning_rate) == ((0, 1, 2), 500, 3e-4)
    assert presets.fresh()
    assert not presets.setting("DATA")
    assert (os.environ["FLAN_SEEDS"], os.environ["FLAN_TOKENS"]) == ("0,1,2", "500"), "child processes see them"
    assert choose({"SEEDS": 0}).seeds == (0,)


@pytest.mark.parametrize("name", ["SEED", "HELD_OUT", "LEARNING_RATE"])
def test_an_unknown_name_in_the_first_cell_is_refused_naming_the_known(name):
    with pytest.raises(FlanError, match=f"found {name} = 5; expected settings: PRESET, MODEL"):
        choose({**EMPTY, name: 5})


def test_an_empty_setting_in_a_notebook_keeps_the_environments_value(put):
    put(SEEDS="4,5", TOKENS="900")
    assert (choose(EMPTY).seeds, choose(EMPTY).trained_tokens) == ((4, 5), 900)
    size = choose({**EMPTY, "SEEDS": "6"})
    assert (size.seeds, size.trained_tokens) == ((6,), 900)


def test_a_first_cell_that_is_run_again_undoes_what_it_set_before(put):
    put(SEEDS="4,5")
    assert choose({**EMPTY, "SEEDS": "6", "TOKENS": 900}).trained_tokens == 900
    again = choose(EMPTY)
    assert (again.seeds, again.trained_tokens) == ((4, 5), LAPTOP.trained_tokens)
    choose({**EMPTY, "SEEDS": "6"})
    put(SEEDS="7")
    assert choose(EMPTY).seeds == (7,), "a value that was set elsewhere since then stays"


def test_the_names_of_templates_match_the_templates():
    assert set(presets.TEMPLATE_NAMES) == {"own", presets.AUTO, *TEMPLATES}


def test_a_run_on_your_own_data_has_its_own_budget_and_one_seed_unless_set(put):
    put(PRESET="smoke", SEEDS="7,8")
    assert presets.own(preset()).seeds == (7, 8)
    put(SEEDS="", TOKENS="99")
    assert (presets.own(preset()).seeds, presets.own(preset()).trained_tokens) == ((0,), 99)
    put(TOKENS="")
    assert presets.own(preset()).trained_tokens == PRESETS["smoke"].own_tokens


def test_your_own_data_is_the_example_unless_set(put):
    assert os.path.isfile(presets.example())
    put(DATA="mine.jsonl")
    assert presets.example() == "mine.jsonl"


@pytest.mark.parametrize("defaults", [{"PRESET": "laptop"}, {"MODEL": "smollm2"}, {"FRESH": "0"}, {"SEEDS": " "},
                                      {"PUBLIC": "240"}])  # fmt: skip
def test_setting_a_default_value_keeps_the_figures_folder(put, defaults):
    put(**defaults)
    assert output() == FIGURES


def test_other_settings_each_have_their_own_folder_within_figures(monkeypatch):
    choices = [{"SEEDS": "0"}, {"SEEDS": "0,1"}, {"TOKENS": "0"}, {"TOKENS": "01"}, {"MODEL": "a/tiny"}, {"FRESH": "1"},
               {"MODEL": ".."}, {"DATA": "rows.jsonl"}, {"PRESET": "smoke"}, {"RATE": "1e-3"}, {"HELDOUT": "5"},
               {"TEMPLATE": "auto"}, {"PUBLIC": "40"}, {"PRESET": "smoke", "SEEDS": "0"},
               {"FRESH": "1", "SEEDS": "0"}]  # fmt: skip
    folders = []
    for choice in choices:
        with monkeypatch.context() as within:
            for name, text in choice.items():
                within.setenv(f"FLAN_{name}", text)
            folders.append(output())
    for folder in folders:
        assert folder.parent == FIGURES
        assert set(folder.name) & set("/ ,") == set()
    assert all(one != other for one, other in combinations(folders, 2))


@pytest.mark.parametrize(("data", "name"), [
    ("fireact/gpt_format/multitask.jsonl", "multitask"), ("toolbench/answer/*/*.json", "answer"),
    ("zai-org/AgentInstruct", "AgentInstruct"), ("/data/rows/", "rows"), ("a.jsonl.gz", "a"),
    ("part-0.parquet", "part-0"), ("../..", "data"), ("/", "data"), ("*", "data"), ("", "data")])  # fmt: skip
def test_a_source_is_named_by_the_last_part_of_its_path(data, name):
    assert source_name(data) == name


def make(*words, goal="figures", **environment):
    """What ``make`` would do, without the settings of the make that may have started these tests."""
    if not shutil.which("make"):
        pytest.skip("no make here")
    alone = {name: text for name, text in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", "-n", goal, *words], cwd=ROOT, env=alone | environment, capture_output=True,
                          text=True, check=False)  # fmt: skip


def passed_on(done):
    """The settings before the last command, as a shell reads them."""
    assert done.returncode == 0, done.stderr
    last = "\n".join(done.stdout.splitlines()[-2:]).replace("\\\n", " ")
    return [word for word in shlex.split(last) if word.startswith("FLAN_")]


def test_make_passes_on_the_settings_of_its_command_line_and_nothing_else():
    assert passed_on(make()) == passed_on(make("SEEDS=", TOKENS="5", DATA="theirs")) == []
    assert passed_on(make("SEEDS=0,1", "ONLY:=01", "PYTHON=python3")) == ["FLAN_ONLY=01", "FLAN_SEEDS=0,1"]
    assert passed_on(make("DATA=my rows/a=b's \"$x\"/*.json")) == ["FLAN_DATA=my rows/a=b's \"$x\"/*.json"]


@pytest.mark.parametrize(("goal", "word", "known"), [
    ("figures", "SEED=0", f"ONLY {' '.join(SETTINGS)} PYTHON"), ("test", "SEEDS=0", "PYTHON")])  # fmt: skip
def test_make_refuses_names_that_it_would_ignore(goal, word, known):
    wrong = make(word, goal=goal)
    assert wrong.returncode != 0
    assert f"{word.split('=')[0]} is no setting of make {goal}; known: {known}." in wrong.stderr
    assert "python" not in wrong.stdout
