"""The trainer: packing changes nothing, interruption changes nothing, evaluation changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made import llama
from transformers import Gemma2Config, Gemma2ForCausalLM

from flanlib.records import KINDS, FlanError
from flanlib.text.packing import pack
from flanlib.text.tokens import CONTEXT, Example
from flanlib.training import loss, train
from flanlib.training.loss import collate, measure, token_judgements, token_losses
from flanlib.training.model import add_lora, autocast, keep_layout, load
from flanlib.training.passes import Pass, asked
from flanlib.training.train import Schedule, draw, fit

VOCAB = 96
SCHEDULE = Schedule(rows_per_step=2, rows_per_pass=2, rate=1e-2, seed=3, logs=100, measure_at=(60, 400))


def examples(n, seed=0, longest=30):
    """Ragged made-up conversations: some context, then trained tokens of several kinds."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        size = int(rng.integers(4, longest))
        kinds = np.full(size, CONTEXT)
        first = int(rng.integers(1, size - 1))
        kinds[first:] = rng.integers(0, 4, size - first)
        made.append(Example(f"e{i}", rng.integers(2, VOCAB, size), kinds, np.where(kinds == CONTEXT, 0, 3)))
    return made


@pytest.fixture
def dense():
    """A tiny model in plain float32, for exact comparisons."""
    return llama(VOCAB).train()


def quantised(seed=0):
    return add_lora(load("random"), rank=4, seed=seed)


def gradients(model):
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def backward(model, rows):
    model.zero_grad()
    with autocast():
        nats = token_losses(model, collate(rows))
    nats.sum().backward()
    return float(nats.detach().sum()), gradients(model)


def test_packed_and_unpacked_losses_and_gradients_agree(dense):
    rows = examples(12)
    packed = pack(rows, row_tokens=64, pad_id=0)
    assert len(packed) < len(rows)
    together = token_losses(dense, collate(packed)).sum()
    together.backward()
    grads = gradients(dense)
    dense.zero_grad()
    alone = sum(token_losses(dense, collate(pack([row], row_tokens=len(row), pad_id=0))).sum() for row in rows)
    alone.backward()
    assert float(together.detach()) == pytest.approx(float(alone.detach()), rel=1e-6)
    for name, grad in gradients(dense).items():
        assert torch.allclose(grad, grads[name], atol=2e-5 * float(grad.abs().max()) + 1e-6), name


def test_an_all_ones_mask_would_join_the_neighbours_so_none_is_passed(dense):
    batch = collate(pack(examples(12), row_tokens=64, pad_id=0))
    assert "attention_mask" not in batch
    with torch.no_grad():
        read = {"input_ids": batch["input_ids"], "position_ids": batch["position_ids"], "use_cache": False}
        apart = dense(**read).logits
        joined = dense(**read, attention_mask=torch.ones_like(batch["input_ids"])).logits
    assert not torch.allclose(apart, joined, atol=1e-3)


def test_only_trained_tokens_are_in_the_loss_each_under_its_kind(dense):
    rows = examples(9, seed=1)
    told = measure(dense, rows)
    for row in rows:
        mine = told[told["id"] == row.id].set_index("kind")
        counts = np.bincount(row.kinds, minlength=len(KINDS))
        assert {k: n for k, n in zip(KINDS, counts, strict=True) if n and k != "context"} == mine["tokens"].to_dict()
        assert mine["bytes"].sum() == row.bytes.sum()


def test_measuring_one_by_one_or_together_is_the_same(dense):
    rows = examples(9, seed=2)
    together, alone = measure(dense, rows), [measure(dense, [row], tokens_per_pass=1) for row in rows]
    for row, one in zip(rows, alone, strict=True):
        mine = together[together["id"] == row.id]["nats"].to_numpy()
        assert mine == pytest.approx(one["nats"].to_numpy(), rel=0.02)  # bfloat16 under padding


def test_evaluating_in_the_middle_leaves_the_gradients_unchanged():
    model = quantised()
    rows = pack(examples(8), row_tokens=64, pad_id=0)
    before = backward(model, rows)
    measure(model, examples(4, seed=5))
    assert model.training
    after = backward(model, rows)
    assert after[0] == before[0]
    assert all(torch.equal(after[1][name], grad) for name, grad in before[1].items())


def test_every_four_bit_layer_is_kept_from_being_repacked():
    model = load("random")
    layers = [m for m in model.modules() if type(m).__name__ == "Linear4bit"]
    assert len(layers) == 14
    assert all(m.weight.quant_type == "nf4" and m.weight.quant_state.nested for m in layers)
    assert all(not getattr(m, "support_avx512bf16_for_cpu", False) for m in layers)
    layers[0].support_avx512bf16_for_cpu = True
    keep_layout(model)
    assert not layers[0].support_avx512bf16_for_cpu


def test_lora_learns_on_every_linear_layer_and_nothing_else_does():
    model = quantised()
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name for name in learning)
    assert len(learning) == 2 * 14
    assert model.training
    same, other = quantised(), quantised(seed=1)
    weights = [{n: p for n, p in m.named_parameters() if "lora_A" in n} for m in (model, same, other)]
    assert all(torch.equal(p, weights[1][n]) for n, p in weights[0].items())
    assert not any(torch.equal(p, weights[2][n]) for n, p in weights[0].items())


HELD = [pack([row], row_tokens=len(row), pad_id=0)[0] for row in examples(6, seed=9)]


def run(folder, schedule=SCHEDULE, *, held=HELD, n=90, **kwargs):
    rows = pack(examples(n), row_tokens=64, pad_id=0)
    return fit(quantised(), rows, schedule, folder, heldout=held, **kwargs)


def equal(one, other):
    return one.losses.equals(other.losses) and one.firsts.equals(other.firsts) and one.way == other.way


def test_every_logged_step_has_nats_tokens_and_bytes_by_kind(tmp_path):
    told = run(tmp_path).losses
    trained = told[told["split"] == "train"]
    assert trained["tokens"].sum() == sum(int((row.kinds != CONTEXT).sum()) for row in examples(90))
    assert trained["bytes"].sum() == sum(int(row.bytes.sum()) for row in examples(90))
    assert trained["trained_tokens"].max() == trained["tokens"].sum()
    assert set(trained["kind"]) == set(KINDS[:4])
    held = told[told["split"] == "heldout"]
    assert set(held["step"]) >= {0, told["step"].max()}
    assert not held.duplicated(["step", "kind"]).any()
    first, last = (held[held["step"] == s].nats.sum() for s in (0, told["step"].max()))
    assert last < first
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "adapter_config.json",
                                                          "adapter_model.safetensors"}  # fmt: skip


def test_held_out_texts_are_measured_at_the_start_where_asked_and_at_the_end(tmp_path):
    told, firsts, _ = run(tmp_path)
    held = told[told["split"] == "heldout"]
    assert held["step"].unique().tolist() == firsts["step"].tolist()
    assert firsts["step"].iloc[[0, -1]].tolist() == [0, told["step"].max()]
    a_step = told["trained_tokens"].max() / told["step"].max()
    assert firsts["trained_tokens"].tolist()[1:-1] == pytest.approx(SCHEDULE.measure_at, abs=2 * a_step)
    assert firsts["trained_tokens"].tolist()[-1] == sum(row.trained for row in examples(90))
    _, firsts, _ = run(tmp_path / "short", replace(SCHEDULE, measure_at=(10**6,)), n=10)
    assert firsts["step"].tolist() == [0, firsts["step"].max()]


def test_first_choices_are_told_token_by_token_in_the_order_of_the_rows(tmp_path):
    said = Example("said", np.random.default_rng(0).integers(2, VOCAB, 20), [CONTEXT] + [0] * 19, [0] + [3] * 19)
    held = [HELD[0], pack([said], row_tokens=20, pad_id=0)[0], HELD[1]]
    model = quantised()
    text = pack([said] * 240, row_tokens=60, pad_id=0)  # until it knows these 19 tokens by heart
    _, firsts, _ = fit(model, text, SCHEDULE, tmp_path / "learnt", heldout=held)
    sizes = [int((row.kinds != CONTEXT).sum()) for row in held]
    assert {len(one) for one in firsts["firsts"]} == {sum(sizes)}
    assert set("".join(firsts["firsts"])) == {"0", "1"}
    first, last = (np.array(list(one), int)[sizes[0] : sizes[0] + 19] for one in firsts["firsts"].iloc[[0, -1]])
    assert first.sum() < 5
    assert last.tolist() == [1] * 19
    # as a look at the logits of each row by itself tells
    model.eval()
    with torch.no_grad():
        for row, told in zip(held, np.split(np.array(list(firsts["firsts"].iloc[-1]), int), np.cumsum(sizes)[:-1]),
                             strict=True):  # fmt: skip
            ids = torch.from_numpy(row.ids)[None].long()
            best = model(input_ids=ids, use_cache=False).logits[0, :-1].argmax(-1)
            trained = torch.from_numpy(row.kinds != CONTEXT)[1:]
            assert (best == ids[0, 1:])[trained].int().tolist() == told.tolist()

def test_judging_gives_the_losses_too_and_slices_as_they_do(dense, monkeypatch):
    batch = collate(pack(examples(12), row_tokens=64, pad_id=0))
    with torch.no_grad():
        nats = token_losses(dense, batch)
        for size in (10_000, 7):
            monkeypatch.setattr(loss, "SLICE", size)
            told, first = token_judgements(dense, batch)
            assert torch.allclose(told, nats, atol=1e-5)
            logits = dense(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits[0]
            where = batch["trained"][0]
            assert torch.equal(first, logits[where].argmax(-1) == batch["input_ids"][0, 1:][where])


def test_without_held_out_rows_a_run_trains_the_same_and_measures_nothing(tmp_path):
    with_them, (losses, firsts, _) = run(tmp_path / "a"), run(tmp_path / "b", held=())
    assert not len(firsts)
    assert list(firsts) == list(with_them.firsts)
    trained = with_them.losses[with_them.losses["split"] == "train"].reset_index(drop=True)
    assert losses.equals(trained)
    weights = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("logs", [1, 3, 7])
def test_whatever_is_logged_together_nothing_that_was_trained_is_left_out(tmp_path, logs):
    told = run(tmp_path, replace(SCHEDULE, logs=logs), n=55).losses
    assert told[told["split"] == "train"]["tokens"].sum() == sum(row.trained for row in examples(55))


def test_a_step_that_cannot_be_shared_among_the_processes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(FlanError, match="2 rows in a step for 3 processes"):
        run(tmp_path)


def test_accumulating_passes_gives_the_losses_of_one_pass(tmp_path):
    whole = run(tmp_path / "a").losses
    passes = run(tmp_path / "b", replace(SCHEDULE, rows_per_pass=1)).losses
    assert passes["nats"].to_numpy() == pytest.approx(whole["nats"].to_numpy(), rel=0.02)
    assert passes["tokens"].tolist() == whole["tokens"].tolist()


def test_many_trained_tokens_are_projected_in_slices_to_the_same_losses_and_gradients(dense, monkeypatch):
    batch = collate(pack(examples(12), row_tokens=64, pad_id=0))
    found = []
    for size in (10_000, 7):
        monkeypatch.setattr(loss, "SLICE", size)
        dense.zero_grad()
        nats = token_losses(dense, batch)
        nats.sum().backward()
        found.append((nats.detach(), gradients(dense)))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-5)
    for name, grad in found[0][1].items():
        assert torch.allclose(grad, found[1][1][name], atol=1e-5 * float(grad.abs().max()) + 1e-7), name


def test_slices_hold_as_many_logits_whatever_the_vocabulary_and_the_default_models_stay_as_they_were():
    assert loss.tokens_at_once(49_152) == loss.SLICE == 1024  # a change would change shipped results' last bits
    assert all(loss.tokens_at_once(size) * size <= loss.LOGITS for size in (60_000, 151_936, 262_208))
    assert loss.tokens_at_once(10**9) == 1


def test_a_large_vocabulary_is_sliced_to_the_same_losses(dense, monkeypatch):
    batch, slices, head = collate(pack(examples(12), row_tokens=64, pad_id=0)), [], dense.lm_head.forward
    with torch.no_grad():
        whole = token_losses(dense, batch)
        monkeypatch.setattr(dense.lm_head, "forward", lambda x: (slices.append(x.shape[-2]), head(x))[1])
        monkeypatch.setattr(loss, "LOGITS", 7 * VOCAB)  # as if 7 tokens' logits were as many as memory holds
        sliced = token_losses(add_lora(dense, rank=2, seed=0), batch)
    assert max(slices[-3:]) == 7
    assert torch.allclose(sliced, whole, atol=1e-5)


def test_a_model_that_caps_its_logits_is_not_sliced(monkeypatch):
    shape = {"vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}  # fmt: skip
    config = Gemma2Config(**shape, final_logit_softcapping=0.01, attn_implementation="eager")
    capped, batch = Gemma2ForCausalLM(config).eval(), collate(pack(examples(3), row_tokens=64, pad_id=0))
    with torch.no_grad():
        whole = token_losses(capped, batch)
        monkeypatch.setattr(loss, "SLICE", 7)
        assert torch.equal(token_losses(capped, batch), whole)


CUBLAS = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


@pytest.mark.parametrize(("step", "error"), [(0, torch.OutOfMemoryError("too many tokens")), (8, CUBLAS)])
def test_out_of_memory_all_layers_compute_again_then_a_pass_gets_half_the_rows(tmp_path, monkeypatch, step, error):
    whole, real, passes = run(tmp_path / "whole").losses, loss.token_losses, []

    def small(model, batch):
        passes.extend([batch["input_ids"].shape[1]] * model.training)
        if model.training and len(passes) > step and passes[-1] > 64:
            raise error
        return real(model, batch)

    monkeypatch.setattr(train, "token_losses", small)
    with pytest.warns(UserWarning, match="Out of memory") as warned:
        told = run(tmp_path / "small", replace(SCHEDULE, checkpointing=True), way=Pass(2, 1))
    assert [str(one.message).split(" with ", 1)[1] for one in warned if "Out of" in str(one.message)] == [
        "2 rows a pass, all layers but the last 1 computing activations again: going on with 2, "
        "all layers computing activations again, and as many rows in a step.",
        "2 rows a pass, all layers computing activations again: going on with 1, "
        "all layers computing activations again, and as many rows in a step."]  # fmt: skip
    assert told.way == Pass(1, 0)
    assert told.losses["tokens"].tolist() == whole["tokens"].tolist()
    assert told.losses["nats"].to_numpy() == pytest.approx(whole["nats"].to_numpy(), rel=0.02)
    monkeypatch.setattr(train, "token_losses", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("too many")))
    with pytest.raises(FlanError, match="row_tokens"):
        run(tmp_path / "none", replace(SCHEDULE, rows_per_pass=1), held=())


def test_other_errors_are_not_taken_for_a_lack_of_memory(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(train, "token_losses", broken)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        run(tmp_path, held=())


def test_of_several_visible_cards_one_is_used_and_rows_are_not_multiplied(tmp_path, monkeypatch):
    """Cards are made believe: without a launcher the Trainer would split a pass over both, with twice the rows."""
    for name, told in {"is_available": True, "device_count": 2, "set_device": None, "is_bf16_supported": True}.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, told=told, **__: told)
    rows = pack(examples(20), row_tokens=64, pad_id=0)
    arguments = train._arguments(SCHEDULE, asked(SCHEDULE), rows, tmp_path, None)
    assert arguments.device == torch.device("cuda:0")
    assert arguments.n_gpu == 1
    assert arguments.train_batch_size == arguments.per_device_train_batch_size == SCHEDULE.rows_per_pass
    assert arguments.parallel_mode.value == "not_parallel"


class Killed(Exception):
    pass


def kill_at(step):
    class Kill(train.Progress):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == step:
                raise Killed

    return Kill


@pytest.mark.parametrize(("step", "logs"), [(1, 100), (5, 100), (9, 100), (7, 5), (11, 5)])
def test_a_killed_run_goes_on_to_the_same_losses_and_first_choices(tmp_path, monkeypatch, step, logs):
    """Killed at a measurement or between two, and where checkpoints and logged steps are far apart."""
    schedule = replace(SCHEDULE, logs=logs)
    whole = run(tmp_path / "whole", schedule)
    assert whole.losses["step"].max() > step
    with monkeypatch.context() as patch:
        patch.setattr(train, "Progress", kill_at(step))
        with pytest.raises(Killed):
            run(tmp_path / "killed", schedule)
    resumed = run(tmp_path / "killed", schedule)
    assert equal(resumed, whole)
    weights = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]


def test_a_killed_run_goes_on_in_other_passes_to_the_losses_of_one_that_computes_nothing_again(tmp_path, monkeypatch):
    whole = run(tmp_path / "whole", n=50)
    again = replace(SCHEDULE, checkpointing=True)
    with monkeypatch.context() as patch:
        patch.setattr(train, "Progress", kill_at(5))
        with pytest.raises(Killed):
            run(tmp_path / "killed", again, n=50, way=Pass(2, 0))
    resumed = run(tmp_path / "killed", again, n=50, way=Pass(1, 1))
    assert (whole.way, resumed.way) == (Pass(2), Pass(1, 1))
    same = ["step", "split", "kind", "tokens"]
    assert resumed.losses[same].equals(whole.losses[same])
    assert resumed.losses["nats"].to_numpy() == pytest.approx(whole.losses["nats"].to_numpy(), rel=0.02)


def test_a_half_written_checkpoint_is_passed_over(tmp_path, monkeypatch):
    whole = run(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(train, "Progress", kill_at(11))
        with pytest.raises(Killed):
            run(tmp_path / "killed")
    newest = max((tmp_path / "killed").glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    (newest / "trainer_state.json").write_text('{"step": ')
    assert equal(run(tmp_path / "killed"), whole)


def test_drawing_stops_within_one_example_of_the_budget_and_repeats_evenly():
    rows = examples(10)
    trained = [int((row.kinds != CONTEXT).sum()) for row in rows]
    drawn = draw(rows, 3 * sum(trained) // 2, seed=0)
    total = sum(int((row.kinds != CONTEXT).sum()) for row in drawn)
    assert 0 <= total - 3 * sum(trained) // 2 < max(trained)
    counts = [sum(row is one for one in drawn) for row in rows]
    assert set(counts) <= {1, 2}
    assert [row.id for row in drawn] == [row.id for row in draw(rows, 3 * sum(trained) // 2, seed=0)]
    assert [row.id for row in drawn] != [row.id for row in draw(rows, 3 * sum(trained) // 2, seed=1)]


def test_nothing_to_train_on_is_said():
    context = Example("e", [2, 3], [CONTEXT] * 2, [0, 0])
    with pytest.raises(FlanError, match="no trained token in 1 examples"):
        draw([context], 10, seed=0)


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FlanError, match=r"model .*nowhere.*expected a causal LM"):
        load(str(tmp_path / "nowhere"))
