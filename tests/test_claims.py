"""Intervals have known answers, verdicts follow from them, and the claims file keeps every notebook's rows."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flanlib import intervals
from flanlib.intervals import Interval
from flanlib.records import FlanError
from flanlib.report import claims
from flanlib.report.claims import check

NUMBERS = st.floats(-1e6, 1e6)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "output", lambda _: tmp_path / "figures")
    return tmp_path / "figures"


def claim(notebook="01", text="a gap", low=0.1, high=0.3, material="lab", **bounds):
    ours = Interval((low + high) / 2, low, high, 40)
    return check(notebook, text, material=material, paper=0.5, ours=ours, seeds=3, **(bounds or {"above": 0.0}))


def bootstrap(values, seed):
    return intervals.bootstrap(values, weights=np.ones(len(values)), rng=np.random.default_rng(seed))


def test_interval_over_seeds_has_its_textbook_value():
    interval = intervals.seeds([0.70, 0.74, 0.81])
    half = 4.302653 * np.std([0.70, 0.74, 0.81], ddof=1) / math.sqrt(3)
    assert interval.mean == pytest.approx(0.75)
    assert (interval.low, interval.high) == pytest.approx((0.75 - half, 0.75 + half), abs=1e-6)


@pytest.mark.parametrize("values", [[], [0.4]])
def test_too_few_values_have_no_interval(values):
    for interval in (intervals.seeds(values), bootstrap(values, 0)):
        assert interval.n == len(values)
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)
        assert math.isnan(interval.mean) == (not values)


def test_bootstrap_of_many_normal_values_is_close_to_the_formula():
    values = np.random.default_rng(1).normal(3.0, 2.0, size=400)
    interval = bootstrap(values, 2)
    half = 1.96 * values.std(ddof=1) / 20
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)
    assert interval == bootstrap(values, 2) != bootstrap(values, 3)


def test_bootstrap_with_bytes_as_weights_is_all_nats_over_all_bytes():
    nats, sizes = np.array([10.0, 5.0, 60.0]), np.array([10, 50, 20])
    interval = intervals.bootstrap(nats / sizes, weights=sizes, rng=np.random.default_rng(0))
    assert interval.mean == pytest.approx(75 / 80)
    assert 0.1 <= interval.low <= interval.mean <= interval.high <= 3.0


def test_weights_of_another_length_are_refused():
    with pytest.raises(FlanError, match="one weight per value"):
        intervals.bootstrap([1.0, 2.0], weights=[1.0], rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("low", "high", "bounds", "verdict"),
    [
        (0.1, 0.3, {"above": 0.0}, "holds"),
        (-0.1, 0.3, {"above": 0.0}, "unclear"),
        (0.0, 0.3, {"above": 0.0}, "unclear"),
        (-0.3, 0.0, {"above": 0.0}, "differs"),
        (0.1, 0.3, {"below": 1.0}, "holds"),
        (1.0, 1.3, {"below": 1.0}, "differs"),
        (0.4, 0.6, {"above": 0.3, "below": 0.7}, "holds"),
        (0.2, 0.6, {"above": 0.3, "below": 0.7}, "unclear"),
        (0.7, 0.9, {"above": 0.3, "below": 0.7}, "differs"),
        (math.nan, math.nan, {"above": 0.0}, "unclear"),
        (-math.inf, math.inf, {"above": 0.0}, "unclear"),
    ],
)
def test_verdict_follows_from_the_whole_interval(low, high, bounds, verdict):
    assert claim(low=low, high=high, **bounds).verdict == verdict


@pytest.mark.parametrize(("n", "seeds", "verdict"), [
    (19, 3, "too few"), (20, 3, "holds"), (19, 1, "too few"), (2, 2, "too few"), (3, 3, "holds"), (1, 0, "too few"),
])  # fmt: skip
def test_no_verdict_is_drawn_from_too_few_tasks_or_seeds(n, seeds, verdict):
    ours = intervals.Interval(0.2, 0.1, 0.3, n)
    assert claims.check("01", "gap", material="lab", paper="0.5", ours=ours, seeds=seeds, above=0).verdict == verdict


@settings(max_examples=100, deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS)
def test_a_claim_and_its_opposite_never_both_hold(a, b, bound):
    low, high = sorted((a, b))
    up, down = claim(low=low, high=high, above=bound).verdict, claim(low=low, high=high, below=bound).verdict
    assert (up, down) in {("holds", "differs"), ("differs", "holds"), ("unclear", "unclear"),
                          ("unclear", "differs"), ("differs", "unclear"), ("differs", "differs")}  # fmt: skip
    assert ((up, down) == ("differs", "differs")) == (low == high == bound)


@pytest.mark.parametrize(
    ("low", "high", "bounds"),
    [(0.1, 0.3, {"above": None}), (0.3, 0.1, {"above": 0.0}), (0.1, 0.3, {"above": 1.0, "below": 0.0})],
)
def test_contradictory_bounds_are_refused(low, high, bounds):
    with pytest.raises(FlanError, match="claim 'a gap'"):
        claim(low=low, high=high, **bounds)


def test_saving_replaces_only_the_rows_of_the_same_notebook_and_material(folder):
    claims.save([claim("02", "later")], "02")
    claims.save([claim("01", "old"), claim("01", "gone"), claim("01", "elsewhere", material="toolbench")], "01")
    path = claims.save([claim("01", "new")], "01")
    assert path.read_text() == (
        "notebook,material,claim,paper,ours,low,high,n,seeds,verdict\n"
        "01,lab,new,0.5,0.2,0.1,0.3,40,3,holds\n"
        "01,toolbench,elsewhere,0.5,0.2,0.1,0.3,40,3,holds\n"
        "02,lab,later,0.5,0.2,0.1,0.3,40,3,holds\n"
    )


def test_saving_twice_gives_the_same_bytes_and_leaves_no_scratch_file(folder):
    rows = [claim("01", 'the "format", mostly\nlearned'), claim("01", "b", low=math.nan, high=math.nan)]
    first = claims.save(rows, "01").read_bytes()
    claims.save([], "00")
    assert claims.save(rows, "01").read_bytes() == first
    assert [path.name for path in folder.iterdir()] == ["claims.csv"]


def test_a_claim_of_another_notebook_is_refused(folder):
    with pytest.raises(FlanError, match="claims of 02"):
        claims.save([claim("02")], "01")
    assert not folder.exists()


def test_a_foreign_claims_file_is_refused_and_kept(folder):
    folder.mkdir()
    (folder / "claims.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FlanError, match="columns a, b"):
        claims.save([claim()], "01")
    assert (folder / "claims.csv").read_text() == "a,b\n1,2\n"


def test_claims_made_anew_stand_beside_the_shipped_and_intervals_apart_are_counted(tmp_path, monkeypatch):
    def saved(name, rows):
        monkeypatch.setattr(claims, "output", lambda _: tmp_path / name)
        return claims.save(rows, "01")

    shipped = saved("shipped", [claim(text="meets"), claim(text="above"), claim(text="below"), claim(text="untold"),
                                claim(text="other", material="toolbench"), claim(text="not run")])  # fmt: skip
    made = saved("made", [claim(text="meets", low=0.3, high=0.5), claim(text="above", low=0.31, high=0.4),
                          claim(text="below", low=-0.2, high=0.05), claim(text="untold", low=math.nan, high=math.nan),
                          claim(text="other")])  # fmt: skip
    head, *lines = claims.beside(shipped, made, ["01_format"]).splitlines()
    assert head == "7 claims, shipped beside fresh: intervals of 2 lie apart, verdicts of 2 changed"
    assert lines == [
        "  01 lab, meets: shipped 0.2 [0.1, 0.3] holds, fresh 0.4 [0.3, 0.5] holds",
        "  01 lab, above: shipped 0.2 [0.1, 0.3] holds, fresh 0.355 [0.31, 0.4] holds  <- intervals apart",
        "  01 lab, below: shipped 0.2 [0.1, 0.3] holds, fresh -0.075 [-0.2, 0.05] unclear  <- intervals apart",
        "  01 lab, untold: shipped 0.2 [0.1, 0.3] holds, fresh – [–, –] unclear",
        "  01 lab, other: 0.2 [0.1, 0.3] holds, not among the shipped",
        "  01 lab, not run: 0.2 [0.1, 0.3] holds, not made anew",
        "  01 toolbench, other: 0.2 [0.1, 0.3] holds, not made anew",
    ]
    same = claims.beside(shipped, shipped, ["00_a", "01_b"])
    assert same.startswith("6 claims, shipped beside fresh: intervals of 0 lie apart, verdicts of 0 changed")
    assert claims.beside(shipped, made, ["00_a"]).startswith("0 claims"), "only notebooks that ran are compared"


def test_where_there_is_no_table_there_is_nothing_to_compare(tmp_path):
    assert claims.beside(tmp_path / "a.csv", tmp_path / "b.csv", ["01"]).startswith("0 claims")


def rate(values, *, clusters=None, seeds=None):
    """By default every row is a cluster of its own, of one run."""
    clusters = range(len(values)) if clusters is None else clusters
    seeds = [0] * len(values) if seeds is None else seeds
    return intervals.rate(values, clusters=clusters, seeds=seeds, rng=np.random.default_rng(0))


def test_a_rate_where_all_agree_has_wilsons_interval_over_clusters():
    # k = n: from n / (n + z2) up to 1; k = 0: from 0 to z2 / (n + z2), z = 1.959964.
    z2 = 1.959964**2
    assert rate([1] * 20).low == pytest.approx(20 / (20 + z2), abs=1e-6)
    assert rate([0] * 20).high == pytest.approx(z2 / (20 + z2), abs=1e-6)
    assert (rate([1] * 20).high, rate([0] * 20).low) == (1.0, 0.0)
    many = rate([1] * 20, clusters=[i // 4 for i in range(20)], seeds=[i % 2 for i in range(20)])
    assert many == rate([1] * 5)
    assert many.n == 5


def test_a_single_cluster_has_wilsons_interval_and_nothing_has_none():
    one = rate([1, 0], clusters=["a", "a"])
    half = 1.959964 * math.sqrt(0.25 + 1.959964**2 / 4) / (1 + 1.959964**2)
    assert (one.low, one.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
    assert math.isnan(rate([]).mean)
    assert rate([]).n == 0


def test_a_rate_of_many_rows_is_close_to_the_formula():
    values = np.random.default_rng(1).random(600) < 0.3
    half = 1.96 * math.sqrt(values.mean() * (1 - values.mean()) / 600)
    interval = rate(values)
    assert interval.mean == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)
    assert interval == rate(values)


def test_rows_of_one_task_count_as_one():
    values = np.random.default_rng(1).random(100) < 0.5
    alone, repeated = rate(values), rate(np.repeat(values, 9), clusters=np.repeat(np.arange(100), 9))
    assert (repeated.low, repeated.high, repeated.n) == (alone.low, alone.high, 100)
    blind = rate(np.repeat(values, 9))
    assert blind.high - blind.low < 0.5 * (alone.high - alone.low)


def test_seeds_that_differ_widen_a_rate():
    # Two runs, all right and all wrong: drawn with replacement, a quarter of the draws hold only the one or the other.
    clusters, runs = [*range(50), *range(50)], [0] * 50 + [1] * 50
    values = [0] * 50 + [1] * 50
    assert rate(values, clusters=clusters) == Interval(0.5, 0.5, 0.5, 50)
    assert rate(values, clusters=clusters, seeds=runs) == Interval(0.5, 0.0, 1.0, 50)


def test_the_same_rows_in_another_order_give_the_same_rate():
    rng = np.random.default_rng(4)
    rows = [(int(v), f"t{c}", s) for v, c, s in zip(rng.random(90) < 0.4, rng.integers(12, size=90), [0, 1, 2] * 30,
                                                    strict=True)]  # fmt: skip
    shuffled = [rows[i] for i in rng.permutation(90)]
    first, second = (rate([v for v, _, _ in x], clusters=[c for _, c, _ in x], seeds=[s for _, _, s in x])
                     for x in (rows, shuffled))  # fmt: skip
    assert (first.low, first.high) == pytest.approx((second.low, second.high))


@pytest.mark.parametrize(("values", "more"), [([0.5], {}), ([1, 2], {}), ([1, 0], {"clusters": ["a"]}),
                                              ([1], {"seeds": [0, 1]}), ([math.nan], {})])  # fmt: skip
def test_what_is_no_list_of_judgements_is_refused(values, more):
    with pytest.raises(FlanError, match="Pass judgements"):
        rate(values, **more)
