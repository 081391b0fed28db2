"""The benchmark's arithmetic, and its contests on a toy corpus, so that they still run."""

import time
import weakref
from dataclasses import replace
from functools import partial

import pandas as pd
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention.varlen import varlen_attn

from flanlib.bench import card, gpu, pieces
from flanlib.bench.timing import COLUMNS, Contest, hold, matrix_rate
from flanlib.presets import PRESETS
from flanlib.pretrained import folder
from flanlib.records import Conversation, FlanError, say
from flanlib.report import figures
from flanlib.report.figures.bench import measured, tuning
from flanlib.text.packing import fill, pack
from flanlib.text.templates import get_template
from flanlib.text.tokens import load_tokenizer
from flanlib.training.model import add_lora


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


TOY = ["--model=toy", "--row-tokens=128"]


def test_the_benchmark_for_cards_runs_on_a_cpu_at_toy_size(tmp_path, monkeypatch):
    made, make = [], card.random_model

    def watched(shape):
        model = make(shape)
        made.append(weakref.ref(model))
        return model

    for module in (card, pieces):
        monkeypatch.setattr(module, "random_model", watched)
    table = gpu.main([*TOY, f"--out={tmp_path}"])
    assert len(made) >= 4
    assert not [model for model in made if model() is not None]  # each piece has the memory to itself
    known = table.set_index("name")
    assert list(table) == gpu.COLUMNS
    assert list(known.index[:4]) == ["matrix rate", "packed against single", "fused against peft", "ours"]
    assert known["value"][["matrix rate", "ours", "generation"]].gt(0).all()
    assert known["trained_per_s"]["ours"] == pytest.approx(known["value"]["ours"] / 3, rel=0.1)
    assert known["value"]["packed against single"] < 1e-5
    assert float(known["note"]["packed against single"].split()[-1]) > 1e-3  # it would have been seen
    assert 0 < known["value"]["fused against peft"] < 1e-4
    assert known["note"]["ours"] == ("rows a pass: 1, all layers computing activations again; "
                                     "with addmm; without varlen, Liger")  # a CPU has neither
    assert table.loc[table["name"].str.startswith("profile"), "value"].sum() == pytest.approx(100, rel=1e-3)
    assert not table["note"].str.contains("failed|not started", na=False).any(), table["note"]
    unmeasured = known[known["value"].isna()]
    assert unmeasured["note"].str.startswith("not measured").all()
    assert {"longest row"} <= set(unmeasured.index)
    assert {path.name for path in tmp_path.iterdir()} == {"bench_gpu.csv", "bench_gpu.png", "bench_gpu.svg"}


def test_trl_is_timed_by_the_same_clock_on_the_same_tokens(tmp_path):
    pytest.importorskip("trl", reason=NO_TRL)
    preset = replace(PRESETS["consumer"], row_tokens=128, optimizer="adamw_torch", lora_rank=4)
    for make, model in ((card.trl, card.random_model("toy")),
                        (card.ours, add_lora(card.random_model("toy"), rank=4, seed=0))):  # fmt: skip
        trainer, clock = make(preset, card.made_up(16, 128), 4, model, tmp_path), card.Clock()
        trainer.add_callback(clock)
        trainer.train()
        assert len(clock.seconds) == 4
        assert sum(len(row["input_ids"]) if isinstance(row, dict) else len(row.ids)
                   for row in trainer.train_dataset) == 16 * 128  # fmt: skip


def test_rows_are_on_the_disk_before_the_next_piece_so_that_a_kill_leaves_them(tmp_path, monkeypatch, capsys):
    seen = []

    def killed(bench):
        yield {"name": "the first half", "value": 1.0, "unit": "tokens / s"}
        seen.append(pd.read_csv(tmp_path / "bench_gpu.csv"))
        raise KeyboardInterrupt

    (tmp_path / "bench_gpu.csv").write_text("name,value\nof an earlier run,1\n")
    pieces = {piece.name: piece for piece in gpu.PIECES}
    monkeypatch.setattr(gpu, "PIECES", (pieces["ours"], gpu.Piece("half", killed, 1), pieces["generation"]))
    with pytest.raises(KeyboardInterrupt):
        gpu.main([*TOY, f"--out={tmp_path}"])
    assert list(seen[0]["name"]) == ["matrix rate", "ours", "the first half"]
    assert "the first half | 1 tokens / s" in capsys.readouterr().out
    assert not (tmp_path / "bench_gpu.svg").exists()
    assert len(gpu.main(["--draw", f"--out={tmp_path}"])) == 3  # what is known can be drawn
    assert (tmp_path / "bench_gpu.svg").exists()


def test_nothing_starts_that_cannot_end_in_time_and_each_piece_says_so(tmp_path):
    table = gpu.main([*TOY, "--seconds=5", f"--out={tmp_path}"])
    assert list(table["name"]) == ["matrix rate", *(piece.name for piece in gpu.PIECES)]
    assert table["note"][1:].str.startswith("not started").all()


def test_a_clock_stops_a_run_that_would_pass_the_deadline(tmp_path):
    preset = replace(PRESETS["consumer"], row_tokens=128, optimizer="adamw_torch", lora_rank=4)
    model = add_lora(card.random_model("toy"), rank=4, seed=0)
    row = card.run(partial(card.ours, preset, card.made_up(4, 128), 1, model), 128, deadline=time.monotonic())
    assert row["note"] == "one step only, not warmed up"


def test_a_piece_that_fails_leaves_a_row_and_the_next_one_runs(tmp_path, monkeypatch):
    def fails(bench):
        raise RuntimeError("no kernel\nfor this card")
        yield

    def works(bench):
        yield {"name": "works", "value": 2.0, "unit": "tokens"}

    monkeypatch.setattr(gpu, "PIECES", (gpu.Piece("fails", fails, 0), gpu.Piece("works", works, 0)))
    table = gpu.main([*TOY, f"--out={tmp_path / 'other.csv'}"])
    assert list(table["note"].fillna("")) == ["", "failed: RuntimeError: no kernel for this card", ""]
    assert (tmp_path / "other.svg").exists()


def test_what_liger_replaces_in_a_piece_is_back_in_the_next(tmp_path, monkeypatch):
    module, found = card.modeling_llama, []

    def replaces(bench):
        module.apply_rotary_pos_emb = None
        yield {"name": "replaces"}

    def looks(bench):
        found.append(module.apply_rotary_pos_emb)
        yield {"name": "looks"}

    monkeypatch.setattr(gpu, "PIECES", (gpu.Piece("replaces", replaces, 0), gpu.Piece("looks", looks, 0)))
    before, preset = module.apply_rotary_pos_emb, replace(PRESETS["consumer"], model=folder("random"))
    gpu.fill(gpu.Table(tmp_path / "table.csv", {}), card.Bench("toy", preset, 1e9, 1e12, time.monotonic() + 1e6))
    assert found == [before]


def test_the_parts_of_training_that_ran_are_told_by_their_operations():
    def attend():
        with FakeTensorMode():  # without data, since a CPU has no kernel for it
            x, bounds = torch.empty(9, 2, 16), torch.empty(3, dtype=torch.int32)
            varlen_attn(x, x, x, bounds, bounds, 5, 5)

    norm = type("LigerRMSNormFunction", (torch.autograd.Function,), {"forward": staticmethod(lambda ctx, x: x * 2)})
    assert card.parts(attend) == "with varlen; without addmm, Liger"
    assert card.parts(lambda: norm.apply(torch.ones(2))) == "with Liger; without addmm, varlen"


def test_options_out_of_range_and_a_missing_table_are_refused_in_a_line(tmp_path, capsys):
    for options, message in ((["--row-tokens=1"], "64 or more"), (["--draw", f"--out={tmp_path}"], "nothing to draw")):
        with pytest.raises(SystemExit):
            gpu.main(options)
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(("left", "value", "note"), [(1e9, 5, "planned 16,384"), (-1, 0, "search ended")])
def test_the_longest_row_is_the_last_that_fits(left, value, note, monkeypatch):
    def run(make, tokens, deadline):
        if tokens > 5 * 2048:
            raise torch.OutOfMemoryError if tokens > 6 * 2048 else RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")
        return {"value": 1.0, "unit": "tokens / s"}

    preset = replace(PRESETS["consumer"], model=folder("random"))
    bench = card.Bench("toy", preset, 24e9, 1e12, time.monotonic() + left)
    monkeypatch.setattr(pieces, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(pieces, "run", run)
    monkeypatch.setattr(pieces.memory, "longest", lambda preset, room: 8 * 2048)
    *tries, last = pieces.longest(bench)
    assert (last["name"], last["value"]) == ("longest row", value * 2048)
    assert note in last["note"]
    assert [row["row_tokens"] // 2048 for row in tries] == ([8, 4, 6, 5] if value else [])
    assert all(("value" in row) == (row["row_tokens"] <= 5 * 2048) for row in tries)


def test_the_picture_of_a_card_is_drawn_only_from_a_table_and_names_card_versions_and_date(tmp_path):
    assert measured(tmp_path / "bench_gpu.csv") is None
    common = {"room_gb": 24, "model": "Llama-2-7B", "card": "a card", "versions": "torch 9", "date": "2026-01-31"}
    rows = [{"name": "matrix rate", "value": 700, "unit": "TFLOP / s"},
            {"name": "ours", "value": 9000, "unit": "tokens / s", "used_gb": 8.9, "planned_gb": 8.7},
            {"name": "TRL, packing", "value": 6000, "unit": "tokens / s", "used_gb": 11},
            {"name": "TRL, packing, Liger", "note": "not started: 3 s left"},
            {"name": "longest row", "value": 34816, "unit": "tokens"}]  # fmt: skip
    pd.DataFrame([common | row for row in rows]).to_csv(tmp_path / "bench_gpu.csv", index=False)
    figure = measured(tmp_path / "bench_gpu.csv")
    assert figure.get_suptitle() == "Llama-2-7B in NF4 on a card, 2026-01-31\ntorch 9"
    texts = [text.get_text().strip() for text in figure.axes[0].texts]
    assert texts == ["9,000", "6,000  (ours 1.50 x)", "not started"]
    assert "longest row: 34,816 tokens" in figure.get_supxlabel()
    only = pd.DataFrame([common | rows[0] | {"used_gb": None, "planned_gb": None, "note": None}])
    assert tuning(only)  # a run that was cut off early


def test_random_models_are_the_same_every_time_and_no_two_layers_are():
    one, two = (dict(card.random_model("toy").named_parameters()) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    heads = [weight for name, weight in one.items() if "q_proj" in name]
    assert heads[0].dtype == torch.uint8  # in four bits
    assert not torch.equal(*heads)


def test_made_up_conversations_fill_their_rows():
    rows = pack(card.made_up(5, 512), row_tokens=512, pad_id=0)
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
