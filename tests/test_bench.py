"""The benchmark's arithmetic, and its contests on a toy corpus, so that they still run."""

import time

import pytest
import torch

from flanlib.bench.timing import COLUMNS, Contest, hold, matrix_rate
from flanlib.pretrained import folder
from flanlib.records import Conversation, FlanError, say
from flanlib.report import figures
from flanlib.text.templates import get_template
from flanlib.text.tokens import load_tokenizer


def busy(seconds, order, name):
    def prepare(folder):
        assert folder.is_dir()
        order.append(name)

        def work():
            end = time.process_time() + seconds
            while time.process_time() < end:
                pass

        return work

    return prepare


def test_every_round_runs_all_sides_in_turning_order_and_ratios_are_of_cpu_seconds():
    order = []
    contest = Contest("waiting", "turns / s", 6, busy(0.02, order, "ours"),
                      {"slow": busy(0.08, order, "slow"), "same": busy(0.02, order, "same")})  # fmt: skip
    table = hold(contest, 3)
    assert order == ["ours", "slow", "same", "same", "slow", "ours", "ours", "slow", "same"]
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


def test_the_share_is_of_what_the_machine_does_with_matrices():
    one = torch.randn(512, 512)
    work = Contest("products", "products / s", 40, lambda folder: lambda: [one @ one for _ in range(40)],
                   {"itself": lambda folder: lambda: [one @ one for _ in range(40)]},
                   operations=40 * 2 * 512**3)  # fmt: skip
    assert 0.3 < hold(work, 2)["share"][0] < 1.5
    assert matrix_rate(torch.float32, size=256) > 1e8
    waits = Contest("waiting", "turns / s", 1, busy(0.01, [], "a"), {"b": busy(0.01, [], "b")})
    assert hold(waits, 1)["share"].isna().all()


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
    from flanlib.text.packing import fill, pack

    rows = pack(gpu.made_up(5, 512), row_tokens=512, pad_id=0)
    assert (len(rows), fill(rows)) == (5, 1)


def test_the_whole_benchmark_runs_at_toy_size(tmp_path):
    pytest.importorskip("trl", reason=NO_TRL)
    from flanlib.bench import __main__ as bench
    from flanlib.bench import contests

    sizes = ["--rows=4", "--prompts=3", "--corpus=3", "--rounds=1"]
    table = bench.main(["--model=random", *sizes, f"--out={tmp_path}"])
    assert (table["ratio"] > 0).all()
    assert list(table) == COLUMNS
    trained = table["name"].str.startswith("training")
    assert trained.sum() == len(contests.TRL) + 1
    assert table["name"].nunique() == 4
    assert (table["share"].notna() == trained).all()
    assert table["share"].dropna().between(0, 1, inclusive="neither").all()
    assert {path.name for path in tmp_path.iterdir()} == {"bench.csv", "bench.png", "bench.svg"}


def test_peers_compute_in_our_precision_and_train_the_same_weights(tmp_path, monkeypatch):
    pytest.importorskip("trl", reason=NO_TRL)
    from peft.tuners.lora.bnb import Linear4bit
    from peft.tuners.lora.layer import Linear

    from flanlib.bench import contests

    for precision in (torch.bfloat16, torch.float32):
        monkeypatch.setattr(contests, "compute_dtype", lambda precision=precision: precision)
        assert contests._common(tmp_path)["bf16"] == (precision is torch.bfloat16)
    for bits, kind in ((4, Linear4bit), (16, Linear)):
        layers = [m for m in contests.peer_model("random", bits=bits).modules() if isinstance(m, (Linear, Linear4bit))]
        assert {type(layer) for layer in layers} == {kind}  # and peft's own: nothing of ours is in them


def test_what_training_needs_is_counted_by_hand():
    pytest.importorskip("trl", reason=NO_TRL)
    from flanlib.bench.contests import operations

    # Two layers: queries and output 64 x 64, keys and values 64 x 32, three of 64 x 192; a head of 64 x the vocabulary.
    layers, head = 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 192), 64 * len(load_tokenizer(folder("random")))
    assert operations("random", 10, 3) == 4 * (10 * layers + 3 * head)


def test_trl_is_told_a_template_of_the_same_texts_or_the_benchmark_says_no():
    pytest.importorskip("trl", reason=NO_TRL)
    from flanlib.bench.contests import CHATML, _marked

    chat = [Conversation("c", "made", (say("user", "Hi"), say("assistant", "Yes?", "general", trained=True)))]
    tokenizer = load_tokenizer(folder("random"))
    own = get_template("own", tokenizer)
    assert _marked(own, chat) is CHATML
    assert _marked(CHATML, chat) is CHATML
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_end|>\n", "<|im_end|>")
    with pytest.raises(FlanError, match="not ChatML"):
        _marked(get_template("own", tokenizer), chat)
