"""What a run cannot work with is told before it starts, in one line."""

import json
import shutil

import pytest

from flanlib import checks, pretrained
from flanlib.presets import RANDOM, choose
from flanlib.records import FlanError
from flanlib.sources import FORMATS

CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}
UNKNOWN = {"question": "How old is it?", "reply": "80 years"}
# A template of few turns: tasks of the lab have more in chat form.
SHORT = "{% if messages | length > 5 %}{{ raise_exception('too many turns') }}{% endif %}" + pretrained.CHATML


def refused(**settings):
    with pytest.raises(FlanError) as error:
        checks.check(choose(settings))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def model(tmp_path):
    """A function that copies the tiny model into a folder, without some files, and with another chat template."""

    def copied(*missing, template=None):
        folder = tmp_path / "model"
        shutil.copytree(pretrained.folder(RANDOM), folder, ignore=shutil.ignore_patterns(*missing))
        if template:
            (folder / "chat_template.jinja").write_text(template)
        return str(folder)

    return copied


def test_the_lab_and_a_model_of_ones_own_pass(model):
    for settings in ({}, {"TEMPLATE": "own"}, {"MODEL": model()}):
        checks.check(choose({"PRESET": "smoke", **settings}))


@pytest.mark.parametrize(("rows", "told"), [
    ([UNKNOWN], r"0 trajectories of 0 requests (data: 1 seen, 0 kept, 1 dropped (no known format 1, first data.jsonl:1 "
                "with the keys question, reply)); expected two requests or more"),
    ([CHAT], "0 trajectories of 0 requests (data: 1 seen, 1 kept, 0 dropped)"), ([], "an empty file")])  # fmt: skip
def test_data_without_agent_rows_is_refused_with_its_keys_and_the_known_formats(tmp_path, rows, told):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    message = refused(PRESET="smoke", DATA=str(path))
    assert f"found {told}" in message
    assert not rows or f"Known are {', '.join(FORMATS)}: see" in message


def test_data_and_models_that_are_nowhere_are_refused():
    assert refused(PRESET="smoke", DATA="nowhere.jsonl").startswith("nowhere.jsonl: found no such file or folder")
    assert refused(PRESET="smoke", MODEL="no/where").startswith("tokenizer no/where: found no such folder, and from")


def test_a_model_without_a_configuration_is_refused(model):
    assert "expected a causal LM" in refused(PRESET="smoke", MODEL=model("config.json"))


def test_a_template_that_refuses_every_row_is_refused_and_one_that_is_another_fits(model):
    folder = model(template=SHORT)
    assert refused(PRESET="smoke", MODEL=folder).startswith(
        "form chat: found 20 of 20 conversations lost in tokenising, most often for a refusal by the chat template: "
        "too many turns (20)")  # fmt: skip
    checks.check(choose({"PRESET": "smoke", "MODEL": folder, "TEMPLATE": "agent_flan"}))
