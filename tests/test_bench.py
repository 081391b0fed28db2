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


def test_the_contests_run_on_a_toy_corpus(tmp_path):
    pytest.importorskip("trl", reason="the benchmark's peer is not installed: pip install -e '.[bench]'")
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
