import numpy as np
import pandas as pd
import pytest

from flanlib.benchmarks import scores
from flanlib.records import CAPABILITIES, FlanError


def judged(values, *, arm="a", names=CAPABILITIES):
    """Make rows from values[score][seed][task]."""
    return pd.DataFrame([{"arm": arm, "score": name, "seed": s, "id": f"t{t}", "value": v}
                         for name, runs in zip(names, values, strict=False)
                         for s, run in enumerate(runs) for t, v in enumerate(run)])  # fmt: skip


def test_the_overall_score_is_the_plain_mean_of_the_four():
    rows = judged([[[1, 1, 1, 1]], [[1, 1, 0, 0]], [[1, 0, 0, 0]], [[1, 0, 1, 0]]])
    values = scores.table(rows, ["arm"]).set_index("score")["value"]
    assert values["overall"] == pytest.approx((1 + 0.5 + 0.25 + 0.5) / 4)


def test_a_score_that_was_not_judged_gives_no_overall():
    rows = judged([[[1, 0]], [[1, 1]]])
    assert "overall" not in set(scores.table(rows, ["arm"])["score"])


def test_a_score_that_no_task_has_does_not_pull_the_mean_down():
    """Data without thoughts has no reasoning to judge: three of four right in each of three scores is 0.75."""
    names = [name for name in CAPABILITIES if name != "reasoning"]
    some, none = judged([[[1, 1, 1, 0]]] * 3, names=names), judged([[[0] * 4]] * 3, names=names)
    assert scores.mean(some).mean == scores.gap(some, none).mean == 0.75
    assert scores.gap(judged([[[0] * 4]] * 3, names=names), none).mean == 0, "bounds from Newcombe"
    whole = judged([[[1, 1, 1, 0]]] * 4)
    assert scores.gap(whole, none).mean == 0.75, "on the scores that both have"
    with pytest.raises(FlanError, match="no task in common"):
        scores.gap(judged([[[1]]], names=["reasoning"]), none)


def test_a_paired_difference_has_a_narrower_interval_than_a_score():
    rng = np.random.default_rng(0)
    hard = rng.random((4, 1, 200)) < 0.5
    better = judged(np.where(rng.random(hard.shape) < 0.1, True, hard).astype(int))
    worse = judged(hard.astype(int))
    gap, single = scores.gap(better, worse), scores.mean(worse)
    assert gap.mean == pytest.approx(scores.mean(better).mean - single.mean)
    assert gap.high - gap.low < (single.high - single.low) / 2
    assert gap.low > 0


def test_a_bootstrap_without_width_falls_back_to_bounds_that_have_one():
    """10 of 10 against 10 of 10: Wilson's lower bound of 10 / 10 is 10 / (10 + 1.96^2) = 0.7225."""
    ones = judged([[[1] * 10]] * 4)
    difference = scores.gap(ones, ones)
    assert (difference.mean, difference.high) == (0, pytest.approx(1 - 0.7225, abs=1e-4))
    assert difference.low == -difference.high


def test_seeds_that_disagree_widen_the_interval():
    same = judged([[[1, 0] * 20] * 2] * 4)
    apart = judged([[[1] * 40, [0] * 40]] * 4)
    widths = [scores.mean(rows).high - scores.mean(rows).low for rows in (same, apart)]
    assert widths[1] > 2 * widths[0]


def test_only_common_tasks_are_compared_and_there_must_be_some():
    a, b = judged([[[1, 1, 0, 0]]] * 4), judged([[[1, 0, 0, 0, 1]]] * 4)
    assert scores.gap(a, b).n == 4
    with pytest.raises(FlanError, match="no task in common"):
        scores.gap(a, b.assign(id="other"))
