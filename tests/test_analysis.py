"""Learning curves and speeds, on losses whose course is known by hand."""

import numpy as np
import pandas as pd
import pytest

from flanlib.report import analysis


def losses(curves, *, tokens=None, split="train"):
    """Make logged losses from {(form, seed, kind): [nats per token at each log]}, ten tokens each."""
    rows = []
    for (form, seed, kind), values in curves.items():
        for step, value in enumerate(values):
            at = (tokens or [100 * (i + 1) for i in range(len(values))])[step]
            rows.append((step, at, split, kind, 10 * value, 10, 30, form, seed))
    columns = ["step", "trained_tokens", "split", "kind", "nats", "tokens", "bytes", "form", "seed"]
    return pd.DataFrame(rows, columns=columns)


STRAIGHT = {("react", 0, "reasoning"): [4.0, 3.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]}


def test_tokens_to_a_share_of_the_fall_lie_between_the_logged_points():
    """From 4 at 100 tokens straight to 0 at 500: nine tenths of the fall, 0.4, is reached at 460."""
    assert analysis.tokens_to_drop(losses(STRAIGHT), "react", ["reasoning"]) == [pytest.approx(460)]


def test_a_loss_that_never_fell_has_no_speed():
    rising = losses({("react", 0, "reasoning"): [1.0, 2.0, 3.0, 3.0, 3.0]})
    assert np.isnan(analysis.tokens_to_drop(rising, "react", ["reasoning"])).all()
    result = analysis.speeds(rising, ["react"])
    assert np.isnan(result["tokens"]).all()


def test_shares_run_from_one_to_nothing_whatever_the_loss():
    result = analysis.learning(losses(STRAIGHT | {("react", 0, "retrieval"): [40.0, 20.0, *[10.0] * 8]}), ["react"])
    by = result.set_index(["kind", "trained_tokens"])["share"]
    assert by["reasoning"].tolist()[:5] == [1, 0.75, 0.5, 0.25, 0]
    assert by["retrieval"].tolist()[:3] == pytest.approx([1, 1 / 3, 0])


@pytest.mark.parametrize("curve", [[1.0, 1.2, *[0.9] * 8], [1.0, *[1.1] * 9]], ids=["rose further", "never fell"])
def test_a_kind_that_rose_further_than_it_fell_has_no_shares(curve):
    result = analysis.learning(losses({("react", 0, "understanding"): curve, **STRAIGHT}), ["react"])
    result = result.set_index("kind")
    assert result["share"]["understanding"].isna().all()
    assert result["nats_per_token"]["understanding"].notna().all()
    assert result["share"]["reasoning"].notna().all()


def test_a_run_that_hardly_fell_does_not_drown_the_others():
    """Shares are of the mean fall: with one run falling by 4 and one by 0, 2 is the whole."""
    two = losses({("react", 0, "reasoning"): [4.0, 1.0, *[0.0] * 8], ("react", 1, "reasoning"): [1.0] * 10})
    result = analysis.learning(two, ["react"])
    assert result["share"].tolist()[:3] == [1.0, 0.25, 0.0]
    assert result["share_high"].tolist()[:3] == [2.0, 0.5, 0.0]


def test_bands_reach_over_the_seeds():
    two = losses({("react", seed, "reasoning"): [4.0 + seed, 2.0 + seed, 1.0, 1.0, 1.0] for seed in (0, 1)})
    first = analysis.learning(two, ["react"]).iloc[0]
    assert (first["low"], first["nats_per_token"], first["high"], first["n"]) == (4.0, 4.5, 5.0, 2)


def test_splits_with_points_of_their_own_are_told_apart():
    both = pd.concat([losses(STRAIGHT), losses({("react", 0, "reasoning"): [5.0, 1.0, 1.0]}, tokens=[0, 500, 1000],
                                               split="heldout")])  # fmt: skip
    result = analysis.learning(both, ["react"])
    assert result.groupby("split").size().to_dict() == {"heldout": 3, "train": 10}
    assert analysis.tokens_to_drop(both, "react", ["reasoning"], split="heldout") == [pytest.approx(450)]


def test_how_many_times_slower_is_asked_seed_by_seed():
    curves = {}
    for seed in (0, 1, 2):
        curves["react", seed, "instruction"] = [1.0] + [0.0] * 19
        curves["react", seed, "reasoning"] = [1.0 - i / 10 for i in range(10)] + [0.0] * 10
    result = analysis.slower(losses(curves), "react", ["reasoning"], ["instruction"])
    assert result.mean == pytest.approx(1000 / 190)
    assert result.n == 3


def test_a_ratio_over_seeds_and_its_interval_are_above_zero():
    curves = {}
    for seed, slow in enumerate((2, 6, 18)):  # in steps of a hundred tokens, against one
        curves["react", seed, "instruction"] = [1.0, 0.0] + [0.0] * 18
        curves["react", seed, "reasoning"] = [max(0.0, 1.0 - i / slow) for i in range(20)]
    result = analysis.slower(losses(curves), "react", ["reasoning"], ["instruction"])
    assert 0 < result.low < result.mean < result.high


def test_training_losses_are_summed_over_parts_of_a_run_and_nothing_is_lost():
    columns = ["form", "seed", "step", "trained_tokens", "split", "kind", "nats", "tokens", "bytes"]
    rows = pd.DataFrame([("chat", 0, step, 10 * step, split, "reasoning", float(step), 10, 30)
                         for step in range(1, 25) for split in ("train", "heldout")], columns=columns)  # fmt: skip
    result = analysis.evened(rows)
    train = result[result.split == "train"]
    assert len(train) == 12
    assert train[["nats", "tokens", "bytes"]].sum().tolist() == [300, 240, 720]
    assert train.sort_values("step")[["trained_tokens", "nats"]].iloc[[0, -1]].values.tolist() == [[20, 3], [240, 47]]
    assert result[result.split == "heldout"].reset_index(drop=True).equals(
        rows[rows.split == "heldout"].reset_index(drop=True)[result.columns])  # fmt: skip


def test_parts_that_double_end_with_the_fifth_that_final_losses_cover():
    """Of forty logs, parts end at 1, 2, 4, 8, 16, 32 and 40, and the last part's mean is the final loss."""
    rows = losses({("react", 0, "reasoning"): [4 / step for step in range(1, 41)]})
    parts = analysis.evened(rows, ends=analysis.DOUBLING).set_index("step")
    assert parts["tokens"].tolist() == [10, 10, 20, 40, 80, 160, 80]
    assert parts["trained_tokens"].tolist() == [100, 200, 400, 800, 1600, 3200, 4000]
    last = parts.loc[7]
    assert last["nats"] / last["tokens"] == pytest.approx(analysis.final(rows, "react", ["reasoning"]).mean)


def test_tokens_have_no_negative_bounds():
    curves = {("react", seed, "reasoning"): [1.0, *[0.9] * (18 * seed), *[0.0] * (38 - 18 * seed)] for seed in (0, 1)}
    result = analysis.speeds(losses(curves), ["react"]).set_index(["split", "kind"]).loc["train", "reasoning"]
    assert result["low"] == 0 < result["tokens"] < result["high"]
