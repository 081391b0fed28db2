"""The benchmark's arithmetic, and its contests on a toy corpus, so that they still run."""

import time

import numpy as np
import pytest

from flanlib import figures
from flanlib.bench import COLUMNS, Contest, hold


def busy(seconds, told, name):
    def prepare(folder):
        assert folder.is_dir()
        told.append(name)

        def work():
            end = time.process_time() + seconds
            while time.process_time() < end:
                pass

        return work

    return prepare


def test_every_round_runs_all_sides_in_turning_order_and_ratios_are_of_cpu_seconds():
    told = []
    contest = Contest("waiting", "turns / s", 6, busy(0.02, told, "ours"),
                      {"slow": busy(0.08, told, "slow"), "same": busy(0.02, told, "same")})  # fmt: skip
    table = hold(contest, 3)
    assert told == ["ours", "slow", "same", "same", "slow", "ours", "ours", "slow", "same"]
    assert list(table) == COLUMNS
    assert list(table["n"]) == [3, 3]
    slow, same = table["ratio"]
    assert slow == pytest.approx(4, rel=0.3)
    assert same == pytest.approx(1, rel=0.3)
    assert (table["low"] <= table["ratio"]).all()
    assert (table["ratio"] <= table["high"]).all()
    assert table["ours"][0] == pytest.approx(300, rel=0.3)
    drawn = figures.peers(table)
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == ["slow", "same"]


NO_TRL = "the benchmark's peer is not installed: pip install -e '.[bench]'"


def test_the_benchmark_for_cards_runs_on_a_cpu_at_toy_size(tmp_path):
    pytest.importorskip("trl", reason=NO_TRL)
    from flanlib.bench import gpu

    table = gpu.main(["--models=toy", "--rows=4", "--row-tokens=256", f"--out={tmp_path / 'table.csv'}"])
    assert list(table["trainer"]) == ["ours", "TRL, packing"]
    assert (table["tokens_per_s"] > 0).all()
    assert table["trained_per_s"].to_numpy() == pytest.approx(table["tokens_per_s"].to_numpy() / 3, rel=0.1)
    assert (tmp_path / "table.csv").read_text().startswith("model,trainer,room_gb")


def test_the_longest_row_is_the_last_that_fits_though_training_refuses_the_others(monkeypatch):
    pytest.importorskip("trl", reason=NO_TRL)
    from flanlib.bench import gpu
    from flanlib.presets import PRESETS
    from flanlib.records import FlanError

    def train(runner, room):
        rows = runner.args[1]
        if len(rows[0].ids) > 5 * 1024:
            raise FlanError("training", found="a row too long", expected="memory", remedy="Lower row_tokens.")

    monkeypatch.setattr(gpu, "_timed", train)
    monkeypatch.setattr(gpu.memory, "longest", lambda preset, room: 8 * 1024)
    assert gpu._longest(PRESETS["consumer"], 24e9) == 5 * 1024


def test_made_up_conversations_fill_their_rows():
    pytest.importorskip("trl", reason=NO_TRL)
    from flanlib.bench import gpu
    from flanlib.packing import fill, pack

    rows = pack(gpu.made_up(5, 512), row_tokens=512, pad_id=0)
    assert (len(rows), fill(rows)) == (5, 1)


def test_the_contests_run_on_a_toy_corpus(tmp_path):
    pytest.importorskip("trl", reason=NO_TRL)
    from flanlib.bench import corpus, training
    from flanlib.lab import talk
    from flanlib.presets import LAB_BASE
    from flanlib.pretrain import TEMPLATE
    from flanlib.tally import Tally
    from flanlib.tokens import encode_all, load_tokenizer

    tokenizer = load_tokenizer(LAB_BASE)
    chats = talk.conversations(6, rng=np.random.default_rng(1))
    examples = encode_all(chats, tokenizer, TEMPLATE, max_tokens=512, tally=Tally("toy"))
    held = [training.contest(str(LAB_BASE), tokenizer, examples, batch=2, row_tokens=512),
            corpus.contest(str(LAB_BASE), tokenizer, TEMPLATE, chats, row_tokens=512)]  # fmt: skip
    for contest in held:
        table = hold(contest, 1)
        assert (table["ratio"] > 0).all()
        assert len(table) == len(contest.peers)
