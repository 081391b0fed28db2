from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flanlib import paper, sources
from flanlib.corpus.balance import APPENDIX
from flanlib.corpus.mix import apportion, mix
from flanlib.dialects import parse
from flanlib.experiments import tuning
from flanlib.presets import PRESETS
from flanlib.records import KINDS, Conversation, FlanError, Step, Tool, Trajectory, say
from flanlib.tally import Tally

TOOL = Tool("find_town", "Find a town.", {"properties": {"name": {"type": "string"}}, "required": ["name"]})
STEPS = (Step("Look it up.", "find_town", {"name": "Ulm"}, "126000"), Step("", "find_town", {"name": "Bonn"}, "330000"))


def agents(n, source="a"):
    return [Trajectory(f"{source}{i}", source, "How big?", (TOOL,), STEPS, "Big.", "Done.") for i in range(n)]


def chats(n, source="talk", name="c"):
    return [Conversation(f"{name}{i}", source, (say("user", "Hi"), say("assistant", "Ho", "general", trained=True)))
            for i in range(n)]  # fmt: skip


def drawn(corpus):
    return {(row.form, row.source): (row.asked, row.available, row.drawn) for row in corpus.draws.itertuples()}


def of_form(corpus, form):
    return {row.id: row for row in corpus.conversations if corpus.places[row.id][0] == form}


def test_a_hand_worked_corpus():
    corpus = mix(agents(40), following=8, general=chats(50), negatives=chats(5, "toolbench", "n"), seed=0)
    assert drawn(corpus) == {
        ("chat", "a"): (36, 40, 36), ("react", "a"): (4, 40, 4), ("following", "a"): (8, 80, 8),
        ("general", "talk"): (40, 50, 40), ("negative", "toolbench"): (5, 5, 5),
    }  # fmt: skip
    assert corpus.tally.dropped == {"general chat beyond the ratio": 10}
    # 36 in chat form with 2 calls each: of 72 names a quarter stay, of 72 arguments three quarters
    assert corpus.tally.noted == {"retrieval turns left untrained": 54, "understanding turns left untrained": 18}
    assert corpus.tally.kept == len(corpus.conversations) == 40 + 8 + 40 + 5
    assert len(of_form(corpus, "following")) == 8


def test_the_defaults_are_the_papers():
    defaults = mix.__kwdefaults__
    assert defaults["react_share"] == paper.number("recipe", setting="react share")
    assert defaults["general_ratio"] == paper.number("recipe", setting="general per agent row")
    assert defaults["weights"] is APPENDIX


@given(n=st.integers(1, 30), share=st.floats(0, 1), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_every_trajectory_comes_once_in_one_of_two_forms(n, share, seed):
    rows = agents(n) + agents(n // 2, "b")
    corpus = mix(rows, following=0, weights={}, react_share=share, general_ratio=0, seed=seed)
    react, chat = of_form(corpus, "react"), of_form(corpus, "chat")
    assert len(react) == round(share * len(rows))
    back = {id: parse(row, form) for form, part in (("react", react), ("chat", chat)) for id, row in part.items()}
    assert back == {row.id: row for row in rows}


def test_too_few_rows_are_never_repeated():
    corpus = mix(agents(10), following=100, general=chats(4), seed=0)
    assert drawn(corpus)["following", "a"] == (100, 20, 20)
    assert drawn(corpus)["general", "talk"] == (10, 4, 4)
    assert len({row.id for row in corpus.conversations}) == len(corpus.conversations)
    noted = {what: n for what, n in corpus.tally.noted.items() if "asked" in what}
    assert noted == {"following rows asked for but not there, a": 80, "general rows asked for but not there, talk": 6}


def test_nothing_to_draw_from_shows_as_asked():
    silent = [Trajectory("q", "a", "Hello?", (), (), "Hello.")]
    assert drawn(mix(silent, following=3, seed=0)) == {
        ("chat", "a"): (1, 1, 1), ("react", "a"): (0, 1, 0),
        ("following", "a"): (3, 0, 0), ("general", "none"): (1, 0, 0),
    }  # fmt: skip


def test_what_one_argument_adds_leaves_the_rest_as_it_was():
    rows, talk, extra = agents(30), chats(60), chats(7, "toolbench", "n")
    whole = mix(rows, following=10, general=talk, negatives=extra, seed=3)
    for part, changed in {
        "negative": mix(rows, following=10, general=talk, seed=3),
        "general": mix(rows, following=10, negatives=extra, general_ratio=0, seed=3),
        "following": mix(rows, following=0, general=talk, negatives=extra, seed=3),
    }.items():
        assert changed.conversations == [row for row in whole.conversations if whole.places[row.id][0] != part]
    fewer = mix(rows, following=4, general=talk, general_ratio=0.5, seed=3)
    assert {row.id for row in fewer.conversations} < {row.id for row in whole.conversations}


def test_the_order_of_the_rows_does_not_matter_and_the_seed_does():
    rows, talk = agents(30) + agents(9, "b"), chats(60)
    one = mix(rows, following=10, general=talk, seed=0)
    same = mix(rows[::-1], following=10, general=iter(talk[::-1]), seed=0)
    other = mix(rows, following=10, general=talk, seed=1)
    assert one.conversations == same.conversations
    assert [row.id for row in one.conversations] != [row.id for row in other.conversations]
    assert of_form(one, "react").keys() != of_form(other, "react").keys()


def test_the_forms_are_shuffled_into_each_other():
    corpus = mix(agents(100), following=0, general=chats(100), seed=0)
    first = Counter(corpus.places[row.id][0] for row in corpus.conversations[:100])
    assert 35 < first["general"] < 65


def test_equal_ids_get_numbers():
    corpus = mix(agents(3), following=0, general=chats(3, name="a"), negatives=chats(3, name="a"), seed=0)
    assert sorted(row.id for row in corpus.conversations) == ["a0", "a0 #2", "a0 #3", "a1", "a1 #2", "a1 #3",
                                                              "a2", "a2 #2", "a2 #3"]  # fmt: skip
    assert Counter(form for form, _ in corpus.places.values()) == Counter(chat=3, general=3, negative=3)
    assert corpus.tally.noted["ids made unique"] == 6


@given(total=st.integers(0, 200), sizes=st.lists(st.integers(0, 50), min_size=1, max_size=6))
@settings(max_examples=100)
def testapportioning_is_exact_and_fair(total, sizes):
    parts = apportion(total, {f"s{i}": size for i, size in enumerate(sizes)})
    assert sum(parts.values()) == total
    if whole := sum(sizes):
        assert all(abs(part - total * size / whole) < 1 for part, size in zip(parts.values(), sizes, strict=True))
        assert total > whole or all(part <= size for part, size in zip(parts.values(), sizes, strict=True))


def test_the_table_counts_every_token_of_the_examples_once():
    corpus = mix(agents(20) + agents(10, "b"), following=6, general=chats(40), negatives=chats(3, "c", "n"), seed=0)
    examples = tuning.examples(corpus.conversations, PRESETS["smoke"], Tally("test"))
    table = corpus.table(examples[1:])
    assert table["rows"].sum() == len(examples) - 1
    assert table["drawn"].sum() == len(examples)
    assert table["tokens"].sum() == sum(len(example) for example in examples[1:])
    assert table["trained_tokens"].sum() == sum(example.trained for example in examples[1:])
    kinds = [kind for kind in KINDS if kind != "context"]
    assert (table[kinds].sum(axis=1) == table["trained_tokens"]).all()
    by_form = table.groupby("form")[kinds].sum()
    assert by_form.loc["react", "retrieval"] > 0
    assert by_form.loc["general", kinds[:-1]].sum() == 0 < by_form.loc["general", "general"]
    assert by_form.loc["chat", "instruction"] < by_form.loc["chat", "reasoning"]
    with pytest.raises(FlanError, match="an id that the corpus does not have"):
        corpus.table([replace(examples[0], id="elsewhere")])


def test_the_table_is_of_integers_and_has_a_row_per_draw():
    table = mix(agents(2), following=0, seed=0).table([])
    assert list(table.columns[:8]) == ["form", "source", "asked", "available", "drawn", "rows", "tokens",
                                       "trained_tokens"]  # fmt: skip
    assert all(np.issubdtype(kind, np.integer) for kind in table.dtypes[2:])
    assert table["tokens"].sum() == 0 < len(table)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"trajectories": []}, "no trajectory"),
        ({"react_share": 10}, "react_share 10; expected a share"),
        ({"general_ratio": -1}, "general_ratio -1"),
        ({"general_ratio": float("nan")}, "general_ratio nan"),
        ({"following": -1}, "following -1"),
        ({"weights": {"reasoning": 2}}, "divide all weights"),
    ],
)
def test_impossible_arguments_are_refused(changed, message):
    arguments = {"trajectories": agents(1), "following": 0, "seed": 0} | changed
    with pytest.raises(FlanError, match=message):
        mix(arguments.pop("trajectories"), **arguments)


def test_real_sources_mix(real_data):
    glaive, plain, _ = sources.load(real_data / "glaive" / "glaive_toolcall_*.json")
    fire, _, _ = sources.load(real_data / "fireact" / "gpt_format" / "hotpotqa.jsonl")
    corpus = mix(fire[:300] + glaive, following=40, general=plain, seed=0)
    table = corpus.draws.set_index(["form", "source"])
    n = len(fire[:300]) + len(glaive)
    assert table.loc["react", "drawn"].sum() == round(0.1 * n)
    assert abs(table.loc[("react", "chat"), "drawn"] - 0.1 * len(glaive)) < 1
    assert table.loc[("general", "chat")].to_list() == [n, len(plain), len(plain)]
    assert corpus.tally.kept == len(corpus.places) == n + 40 + len(plain)
