from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import trajectories

from flanlib import paper, sources
from flanlib.corpus.balance import APPENDIX, balance, capability
from flanlib.dialects import render, render_all
from flanlib.dialects.following import pairs
from flanlib.records import CAPABILITIES, CONTENT, FlanError, Step, Trajectory, Turn, say, spans
from flanlib.tally import Tally

CALL = Step("Look it up.", "find_town", {"name": "Ulm", "note": ""}, "126000")
TOWN = Trajectory("t", "test", "How big is Ulm?", (), (CALL,), "126,000 people.")
calls = st.builds(Step, st.sampled_from(["", "Hm."]), st.sampled_from("abc"),
                  st.dictionaries(st.sampled_from("xyz"), st.sampled_from(["", "1", 2])), st.just("ok"))  # fmt: skip
tasks = st.lists(calls, max_size=4).map(lambda steps: replace(TOWN, steps=tuple(steps)))
corpora = st.lists(tasks, min_size=1, max_size=8).map(
    lambda rows: render_all([replace(row, id=f"t{i}") for i, row in enumerate(rows)], "chat")
)
weighings = st.dictionaries(st.sampled_from(CAPABILITIES), st.floats(0, 1))


def run(rows, weights, seed=0):
    return balance(rows, weights, seed=seed, tally=Tally("test"))


def trained(rows):
    """Where the trained turns are, with their capability."""
    return {(row.id, i): capability(t) for row in rows for i, t in enumerate(row.turns) if t.trained}


def many(n):
    return render_all([replace(TOWN, id=f"t{i}") for i in range(n)], "chat")


def test_every_chat_turn_is_one_capability():
    kinds = [capability(turn) for turn in render(TOWN, "chat").turns if turn.role == "assistant"]
    assert kinds == ["reasoning", "retrieval", "understanding", "understanding", "reasoning"]


@given(trajectory=trajectories())
@settings(max_examples=60, deadline=None)
def test_chat_form_decomposes_into_content_and_the_other_forms_do_not(trajectory):
    def capabilities(dialect):
        return {capability(turn) for turn in render(trajectory, dialect).turns if turn.role == "assistant"}

    assert capabilities("chat") <= set(CONTENT)
    assert capabilities("react") | capabilities("json") <= {"instruction"}


@pytest.mark.parametrize(
    ("turn", "kind"),
    [
        (say("user", "Hi"), "context"),
        (say("assistant", "OK, I will."), "context"),
        (say("assistant", "Hello!", "general", trained=True), "general"),
        (Turn("assistant", spans(("before ", "context"), ("find", "retrieval"))), "retrieval"),
        (Turn("assistant", spans(("I look. ", "reasoning"), ("find", "retrieval"))), "instruction"),
        (pairs([TOWN], 1, seed=0)[0].turns[-1], "instruction"),
    ],
)
def test_other_turns_have_their_names_too(turn, kind):
    assert capability(turn) == kind


def test_hand_worked_weights():
    tally = Tally("balance")
    rows = balance(many(20), APPENDIX, seed=0, tally=tally)  # each: 2 reasoning, 1 retrieval, 2 understanding
    assert Counter(trained(rows).values()) == {"reasoning": 40, "retrieval": 5, "understanding": 30}
    assert tally.noted == {"retrieval turns left untrained": 15, "understanding turns left untrained": 10}
    assert (tally.kept, tally.seen) == (20, 20)


def test_the_weights_are_those_of_the_appendix_and_the_published_file_has_others():
    assert APPENDIX == {"reasoning": 1, "retrieval": 0.25, "understanding": 0.75}
    published = [paper.number("recipe", setting=f"published weight of {kind}") for kind in APPENDIX]
    assert published == [1, 0.5, 0.7]


@given(rows=corpora, weights=weighings, seed=st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_counts_are_exact_and_words_never_change(rows, weights, seed):
    tally = Tally("test")
    done = balance(rows, weights, seed=seed, tally=tally)
    before, after = (Counter(trained(side).values()) for side in (rows, done))
    assert after == Counter({kind: round(weights.get(kind, 1) * n) for kind, n in before.items()})
    texts = {row.id: [(turn.role, turn.spans) for turn in row.turns] for row in rows}
    assert all([(turn.role, turn.spans) for turn in row.turns] == texts[row.id] for row in done)
    assert trained(done).keys() <= trained(rows).keys()
    assert tally.kept == len(done) == sum(row.trained for row in done)
    assert tally.seen == len(rows)


@given(rows=corpora, low=st.floats(0, 1), high=st.floats(0, 1), kind=st.sampled_from(CONTENT))
@settings(max_examples=60, deadline=None)
def test_what_a_small_weight_keeps_a_larger_one_keeps_too(rows, low, high, kind):
    low, high = sorted((low, high))
    assert trained(run(rows, {kind: low})).keys() <= trained(run(rows, {kind: high})).keys()


@given(rows=corpora, weights=weighings, data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_order_of_conversations_does_not_matter(rows, weights, data):
    shuffled = data.draw(st.permutations(rows))
    assert {row.id: row for row in run(shuffled, weights)} == {row.id: row for row in run(rows, weights)}


def test_one_weight_leaves_the_other_capabilities_and_forms_alone():
    rows = many(40) + render_all([replace(TOWN, id=f"r{i}") for i in range(10)], "react")
    for kind in CONTENT:
        before, after = trained(rows), trained(run(rows, {kind: 0.5}))
        assert {at: k for at, k in before.items() if k != kind} == {at: k for at, k in after.items() if k != kind}
        assert list(after.values()).count(kind) == list(before.values()).count(kind) / 2
    after = trained(run(rows, {"instruction": 0.5}))
    assert Counter(after.values()) - Counter(instruction=10) == Counter(reasoning=80, retrieval=40, understanding=80)


def test_seeds_draw_other_turns():
    draws = [frozenset(trained(run(many(40), {"retrieval": 0.5}, seed=seed))) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert 0.2 < len({at for at in draws[0] & draws[2] if at[1] == 4}) / 20 < 0.8


def test_turns_are_drawn_one_by_one_and_not_by_conversation():
    left = Counter(id for (id, _), kind in trained(run(many(40), {"understanding": 0.5})).items() if kind[0] == "u")
    assert {left[f"t{i}"] for i in range(40)} == {0, 1, 2}


def test_a_conversation_with_nothing_left_is_dropped_and_named():
    tally = Tally("test")
    rows = pairs([TOWN], 10, seed=0)
    assert len(balance(rows, {"instruction": 0.4}, seed=0, tally=tally)) == 4
    assert tally.dropped == {"no trained turn left": 6}
    assert tally.first["no trained turn left"].startswith("test following-0-")


def test_balancing_twice_multiplies_the_weights():
    twice = run(run(many(40), {"understanding": 0.5}), {"understanding": 0.5})
    assert trained(twice) == trained(run(many(40), {"understanding": 0.25}))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"reasoning": 4, "retrieval": 1}, "reasoning 4; .* divide all weights by the largest"),
        ({"retrieval": -0.1}, "retrieval -0.1"),
        ({"retrieval": float("nan")}, "retrieval nan"),
        ({"retrieval": "0.5"}, "retrieval '0.5'"),
        ({"general": 0.5}, "'general'; .* one of reasoning, retrieval"),
        ({"thought": 0.5}, "'thought'"),
    ],
)
def test_weights_that_no_flag_can_express_are_refused(weights, message):
    with pytest.raises(FlanError, match=message):
        run(many(1), weights)


def test_real_trajectories_balance_to_the_published_weights(real_data):
    loaded, _, _ = sources.load(real_data / "glaive" / "glaive_toolcall_*.json")
    rows = render_all(loaded, "chat")
    before, after = (Counter(trained(side).values()) for side in (rows, run(rows, APPENDIX)))
    assert after == {kind: round(APPENDIX[kind] * n) for kind, n in before.items()}
    assert set(before) == set(CONTENT)
    assert min(before.values()) > 50
