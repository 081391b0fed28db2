"""An interrupted trial goes on where it stopped, and ends with the bytes of one that was not interrupted."""

from contextlib import suppress
from dataclasses import replace

import pytest

from flanlib import pretrained, store
from flanlib.benchmarks import Prompt
from flanlib.corpus.material import material
from flanlib.experiments import arms, judging
from flanlib.inference import generate
from flanlib.inference.batches import Batch
from flanlib.inference.journal import Journal
from flanlib.inference.reader import Reader
from flanlib.presets import PRESETS
from flanlib.records import say
from flanlib.text.templates import get_template
from flanlib.text.tokens import load_tokenizer

SMOKE = replace(PRESETS["smoke"], trained_tokens=600, trajectories=8, heldout=4, free=4, watched=1, seeds=(0,))


def test_whole_lines_are_found_again_wherever_the_file_is_cut_off(tmp_path):
    path, results = tmp_path / "journal.jsonl", [{0: ["a\n\ud800", "end"]}, {2: ["", "stop"], 1: ["é", "length"]}]
    call = Journal(path).call("replies", "x")
    ends = [call.add(each) or path.stat().st_size for each in results]
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        found = Journal(path).call("replies", "x")
        assert found == {i: value for end, each in zip(ends, results, strict=True) if end <= size
                         for i, value in each.items()}  # fmt: skip
        assert path.read_bytes() == whole[: max([0, *(end for end in ends if end <= size)])]
    found.add({7: 1})
    again = Journal(path)
    assert again.call("replies", "x") == results[0] | results[1] | {7: 1}
    assert again.call("replies", "y") == {}
    again.close()
    assert not path.exists()
    assert Journal().call("replies", "x") == {}


class Stop(Exception):
    """An interruption."""


def counted(patch, owner, name, most):
    """Count calls of a method, and interrupt at the one after ``most``."""
    calls, real = [], getattr(owner, name)

    def call(self, *args):
        if len(calls) == most:
            raise Stop
        calls.append(name)
        return real(self, *args)

    patch.setattr(owner, name, call)
    return calls


def run(job, monkeypatch, *, passes=10**6, steps=10**6):
    """Run a job up to some passes of the reader or steps of the writer, and return how many there were of each."""
    with monkeypatch.context() as patch:
        read, written = counted(patch, Reader, "_pass", passes), counted(patch, Batch, "logits", steps)
        with suppress(Stop):
            job.run()
    return len(read), len(written)


def test_an_interrupted_trial_goes_on_and_ends_with_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "batch_sizes", lambda *_: (2500, 2**30))
    monkeypatch.setattr(Reader.__init__, "__kwdefaults__", {"tokens_per_pass": 700, "journal": None, "label": None})
    [trial] = arms.trials(material(SMOKE), SMOKE, "chat", splits=["held-out tools"])
    trial, told, work = replace(trial, decoding=generate.Decoding(max_new_tokens=6)), {}, {}
    for name, limits in {"whole": {}, "late": {"steps": 10}, "early": {"passes": 2}}.items():
        monkeypatch.setattr(store, "RUNS", tmp_path / name)
        job = judging._Job(trial, None, SMOKE)
        if limits:
            run(job, monkeypatch, **limits)
            assert [path.name for path in job.folder.iterdir()] == ["journal.jsonl"]
        work[name] = run(job, monkeypatch)
        assert sorted(path.name for path in job.folder.iterdir()) == ["manifest.json", "rows.csv"]
        told[name] = [store.manifest(job.folder)[fact] for fact in ("ended", "replies")]
        told[name].append((job.folder / "rows.csv").read_bytes())
    assert told["whole"] == told["late"] == told["early"]
    passes, steps = work["whole"]
    assert work["early"] == (passes - 2, steps)
    assert work["late"][0] == 0 < work["late"][1] < steps


@pytest.mark.parametrize(("temperature", "refill"), [(0.0, 0), (0.0, 0.1), (1.0, 0)])
def test_replies_of_several_rounds_are_the_same_after_an_interruption(tmp_path, monkeypatch, temperature, refill):
    model, tokenizer = generate.dense("random"), load_tokenizer(pretrained.folder("random"))
    template, decoding = get_template("own", tokenizer), generate.Decoding(5, temperature)
    first = [Prompt(str(i), (say("user", f"go {i}"),)) for i in range(6)]
    later = [replace(prompt, turns=(*prompt.turns, say("assistant", "x"), say("user", "on"))) for prompt in first]

    def write(path, steps=10**6):
        with monkeypatch.context() as patch:
            calls = counted(patch, Batch, "logits", steps)
            writer = generate.Writer(model, tokenizer, template, decoding, tokens_per_batch=70, refill=refill,
                                     journal=Journal(path))  # fmt: skip
            return [writer.replies(prompts) for prompts in (first, later)], len(calls)

    whole, steps = write(None)
    for stop in (steps // 3, steps - 3):
        path = tmp_path / str(stop)
        with pytest.raises(Stop):
            write(path, stop)
        again, more = write(path)
        assert again == whole
        assert temperature or more < steps
        assert write(path) == (whole, 0)
