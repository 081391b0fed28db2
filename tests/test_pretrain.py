import json
import shutil
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from flanlib import pretrain, store
from flanlib.dialects import render_all
from flanlib.lab import talk, tasks
from flanlib.packing import pack
from flanlib.presets import LAB_BASE
from flanlib.pretrain.drills import Marks
from flanlib.records import KINDS
from flanlib.tally import Tally
from flanlib.templates import render
from flanlib.tokens import encode_all, load_tokenizer

TINY = pretrain.Recipe(vocabulary=600, width=64, layers=3, head=16, tokens_per_step=1024,
                       stages=(pretrain.Stage(20, 12, 512, 0.0, 0.0, 0.02, speak=0.0),
                               pretrain.Stage(60, 4, 512, 1.0, 0.0, 0.02),
                               pretrain.Stage(40, 2, 512, 0.4, 0.5, 0.01, apart=(0.5,))))


MARKS = Marks([2], [3], [4], [5], [6], [7])


def draw_few(patch):
    """Draw a few texts where the recipe's fixed samples would take many."""
    whole = pretrain.draw
    patch.setattr(pretrain, "draw", lambda recipe, n, *rest, **more: whole(recipe, min(n, 12), *rest, **more))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A tiny base, trained without a break: the folder with ``base`` and its ``runs``."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        draw_few(patch)
        patch.setattr(store, "RUNS", folder / "runs")
        pretrain.train_base(TINY, folder / "base")
    return folder


def files(folder):
    """What a trained base is made of, but for the manifest, which tells the time."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "manifest.json"}


def test_a_base_is_weights_tokenizer_losses_and_a_manifest(whole):
    told = json.loads((whole / "base" / "manifest.json").read_text())
    assert [stage["conversations"] for stage in told["config"]["stages"]] == [20, 60, 40]
    assert told["heldout_nats_per_token"] < np.log(600)
    assert {"model.safetensors", "config.json", "tokenizer.json", "losses.csv"} <= set(files(whole / "base"))


def test_a_stage_that_is_done_is_not_trained_again(whole, tmp_path, monkeypatch):
    draw_few(monkeypatch)
    monkeypatch.setattr(store, "RUNS", shutil.copytree(whole / "runs", tmp_path / "runs"))
    (run,) = store.RUNS.iterdir()
    (run / "manifest.json").unlink()
    monkeypatch.setattr(pretrain, "fit", lambda *_, **__: pytest.fail("trained again"))
    assert files(pretrain.train_base(TINY, tmp_path / "base")) == files(whole / "base")


def test_in_the_first_stage_everything_but_first_tokens_and_padding_is_a_target():
    tokenizer = load_tokenizer(LAB_BASE)
    drawn = talk.conversations(30, rng=np.random.default_rng(0))
    for row in pretrain.rows(drawn, tokenizer, row_tokens=256, every=1.0, tally=Tally("t")):
        end = sum(row.lengths)
        assert np.all((row.kinds[:end] == pretrain.GENERAL) == (row.positions[:end] > 0))
        assert np.all(row.kinds[end:] == KINDS.index("context"))


def test_what_a_drill_of_copying_asks_for_has_stood_in_it_before_after_the_same_token():
    for drill in pretrain.drills(50, 256, 2048, marks=MARKS, rng=np.random.default_rng(0))[::2]:
        ids, targets = drill.ids.tolist(), np.flatnonzero(drill.kinds == pretrain.GENERAL)
        seen = set()
        for i, pair in enumerate(pairwise(ids), 1):
            assert i not in targets or pair in seen
            seen.add(pair)
        assert len(drill) == 256
        assert 0.2 < len(targets) / 256 < 0.8
        assert min(ids) >= 2, "padding and end are no tokens to copy"


def test_what_a_drill_of_looking_up_asks_for_stands_behind_a_colon():
    for drill in pretrain.drills(50, 512, 2048, marks=MARKS, rng=np.random.default_rng(0))[1::2]:
        ids, target = drill.ids.tolist(), (drill.kinds == pretrain.GENERAL).tolist()
        told = " ".join(map(str, ids))
        begins = [i for i in range(1, 512) if target[i] and not target[i - 1]]
        assert begins
        for i in begins:
            end = next(j for j in range(i, 513) if j == 512 or not target[j])
            if end < 512:  # the last one may be cut
                assert " 3 " + " ".join(map(str, ids[i : end - 1])) + " " in told


def test_a_base_trained_again_is_the_same_though_cut_off_with_both_optimisers(whole, tmp_path, monkeypatch):
    draw_few(monkeypatch)
    step, seen = pretrain.Muon.step, []

    def cut(self, closure=None):
        seen.append(1)
        if len(seen) == 9:
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(store, "RUNS", tmp_path / "again")
    monkeypatch.setattr(pretrain.Muon, "step", cut)
    with pytest.raises(KeyboardInterrupt):
        pretrain.train_base(TINY, tmp_path / "resumed")
    monkeypatch.setattr(pretrain.Muon, "step", step)
    assert files(pretrain.train_base(TINY, tmp_path / "resumed")) == files(whole / "base")


def test_the_shipped_base_is_the_one_that_this_code_trains():
    told = json.loads((LAB_BASE / "manifest.json").read_text())
    assert told["config"] == json.loads(json.dumps(pretrain.configuration(pretrain.Recipe())))
    assert (LAB_BASE / "model.safetensors").stat().st_size <= 16 * 2**20


def test_the_shipped_tokenizer_reads_every_form_without_a_loss():
    tokenizer, tally = load_tokenizer(LAB_BASE), Tally("forms")
    drawn = tasks.trajectories(60, rng=np.random.default_rng(0), split="heldout")
    for form in ("react", "json", "chat"):
        rows = encode_all(render_all(drawn, form), tokenizer, pretrain.TEMPLATE, max_tokens=1024, tally=tally)
        pack(rows, row_tokens=1024, pad_id=tokenizer.pad_token_id)
    assert (tally.kept, tally.dropped.total()) == (180, 0)


def test_every_character_of_agent_text_occurs_in_general_text_too():
    """LoRA freezes the embeddings: a character that the base never met could not be learned later."""
    general = talk.conversations(3000, rng=np.random.default_rng(5))
    met = Counter("".join(render(conversation, pretrain.TEMPLATE).text for conversation in general))
    for form in ("react", "json", "chat"):
        for row in render_all(tasks.trajectories(200, rng=np.random.default_rng(1)), form):
            assert min(met[character] for character in render(row, pretrain.TEMPLATE).text) >= 10
