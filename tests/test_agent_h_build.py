"""The composition of Agent-H: the documented shares, held-out requests only, and no row dropped uncounted."""

import functools
import re
from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flanlib import sources
from flanlib.benchmarks.agent_h import samples
from flanlib.benchmarks.agent_h.build import IRRELEVANT, LEAST, MISSING, SIZE, Pool, Request, build, lab_pool, pool
from flanlib.benchmarks.agent_h.formats import FORMATS
from flanlib.benchmarks.agent_h.samples import CALL, CELLS, FORMAT, PLAIN
from flanlib.corpus.negatives import negatives
from flanlib.dialects import DIALECTS, render
from flanlib.lab import ordinary, tasks
from flanlib.lab.distractors import can_do
from flanlib.lab.world import world
from flanlib.records import Conversation, FlanError, Step, Tool, Trajectory, say, to_json
from flanlib.tally import Tally
from flanlib.text.wording import shared

WORLD = world()
LAB = 240  # samples that the lab's held-out requests allow, and that the notebooks ask for
PARTS = (FORMAT, *CELLS)


class Whole(NamedTuple):
    pool: Pool
    samples: list[samples.Sample]
    tally: Tally


@functools.cache
def whole():
    """Return the lab's pool, its samples, and the tally."""
    requests, tally = lab_pool(LAB, seed=0), Tally("lab")
    return Whole(requests, build(requests, LAB, seed=0, tally=tally), tally)


def part(one):
    return FORMAT if one.level == FORMAT else one.cell


def written(made):
    return "\n".join(to_json(samples.row(one)) for one in made)


def of(variety):
    return [one for one in whole().samples if one.variety == variety]


def test_the_labs_samples_are_composed_as_documented():
    assert Counter(map(part, whole().samples)) == dict(zip(PARTS, (80, 40, 40, 40, 40), strict=True))
    formats = Counter(one.cell for one in whole().samples if one.level == FORMAT)
    assert formats == dict.fromkeys(FORMATS, 10)
    assert (len(of(IRRELEVANT)), len(of(MISSING))) == (20, 20)
    assert {one.cell for one in (*of(IRRELEVANT), *of(MISSING))} == {CELLS[2]}
    assert (whole().tally.kept, whole().tally.seen) == (LAB, LAB)
    assert whole().tally.noted == {"requests left over": len(ordinary.requests("heldout")) + LAB}


def test_the_papers_number_is_composed_as_documented():
    made = build(small(1100, 700, 200), seed=0, tally=Tally("own"))
    assert Counter(map(part, made)) == dict(zip(PARTS, (615, 308, 308, 307, 307), strict=True))
    assert sorted(Counter(one.cell for one in made if one.level == FORMAT).values()) == [76] + [77] * 7
    assert Counter(one.variety for one in made if one.cell == CELLS[2]) == {IRRELEVANT: 154, MISSING: 153}


def test_the_labs_ordinary_requests_limit_the_number_of_samples():
    tally = Tally("lab")
    made = build(lab_pool(400, seed=0), 400, seed=0, tally=tally)
    assert LAB < len(made) < 400
    assert tally.noted["samples left out for want of requests, of 400"] == 400 - len(made)
    assert made[0].id == f"agent-h-lab-{len(made)}-0-0000"


def test_each_cell_has_its_own_truth_and_tools_only_if_it_says_so():
    for one in whole().samples:
        assert one.truth == (one.cell if one.level == FORMAT else CALL if one.cell == CELLS[3] else PLAIN)
        assert bool(one.tools) == (one.cell in CELLS[2:])
        assert bool(one.wanted) == (one.cell in (CELLS[1], CELLS[3]) or one.variety == MISSING)
        assert len({tool.name for tool in one.tools}) == len(one.tools) <= 6
        assert len(one.tools) == 0 or len(one.tools) >= 3


def test_a_format_is_asked_for_in_one_of_its_wordings_after_the_request():
    plain_queries = {one.query for one in whole().pool.plain}
    seen = Counter()
    for one in whole().samples:
        if one.level == FORMAT:
            request, wording = one.query.rsplit("\n", 1)
            assert request in plain_queries
            assert wording in FORMATS[one.cell].asks
            seen[one.cell, wording] += 1
    assert len(seen) > len(FORMATS) * 2


def test_ids_queries_and_origins_are_unique():
    for key in ("id", "query", "origin"):
        assert len({getattr(one, key) for one in whole().samples}) == LAB
    assert whole().samples[1].id == "agent-h-lab-240-0-0001"


def test_every_call_sample_offers_what_it_wants():
    calls = [one for one in whole().samples if one.truth == CALL]
    assert len(calls) == 40
    assert all(set(one.wanted) <= {tool.name for tool in one.tools} for one in calls)


def test_no_tool_offered_in_place_of_the_missing_one_can_do_its_work():
    for one in of(MISSING):
        (missing,) = one.wanted
        assert not can_do([WORLD.tools[tool.name] for tool in one.tools], WORLD.tools[missing])


def test_an_ordinary_question_is_offered_the_tools_with_the_nearest_words():
    bank = {tool.name: tool for one in (*whole().pool.served, *whole().pool.unserved) for tool in one.tools}
    for one in of(IRRELEVANT)[:20]:
        words = f"{one.instructions} {one.query}"
        others = [tool for name, tool in bank.items() if name not in {tool.name for tool in one.tools}]
        assert min(shared(words, one.tools)) >= max(shared(words, others))
    near = [one for one in of(IRRELEVANT) if any(shared(f"{one.instructions} {one.query}", one.tools))]
    assert len(near) > 10  # of 20: some questions share no word with any tool


def test_tools_and_requests_are_of_the_held_out_split():
    names = {name for one in whole().samples for name in (*one.wanted, *(tool.name for tool in one.tools))}
    assert {WORLD.split(name) for name in names} == {"heldout"}
    assert all(re.match("(lab|ordinary)-heldout-", one.origin) for one in whole().samples)


@pytest.fixture(scope="module")
def trained():
    """All texts that the lab trains on: trajectories in three dialects, plain chat, negatives of both."""
    shapes = (*tasks.SHAPES, *["unserved", "bare"] * 5)
    solved = tasks.trajectories(600, rng=np.random.default_rng(0), shapes=shapes)
    chats = ordinary.conversations("train")
    made = negatives({"no tools": 50, "missing": 50, "irrelevant": 30}, requests=solved, chats=chats, dialect="chat",
                     tools=[tool for one in solved[:20] for tool in one.tools], seed=0, tally=Tally("t"))  # fmt: skip
    assert len(made) == 130
    rendered = [render(one, dialect) for one in solved for dialect in DIALECTS]
    return sorted({turn.text for one in (*rendered, *chats, *made) for turn in one.turns})


def ngrams(text, n=4):
    """Return the n-grams of a text's words."""
    words = text.split()
    return {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}


def test_no_held_out_request_occurs_in_a_training_text(trained):
    everything, known = "\n".join(trained), set().union(*map(ngrams, trained))

    def occurs(text):  # n-grams first: a search for every request would take seconds
        return ngrams(text) <= known and text in everything

    found = lab_pool(SIZE, seed=0)
    requests = [one for part in (found.plain, found.served, found.unserved) for one in part]
    assert len(requests) == 2 * SIZE + len(ordinary.requests("heldout"))
    assert not [one for one in requests if occurs(one.query)]
    again = tasks.trajectories(20, rng=np.random.default_rng(0), shapes=(*tasks.SHAPES, *["unserved", "bare"] * 5))
    assert all(occurs(one.query) for one in again)  # the check does find what occurs


def test_no_tool_of_the_samples_occurs_in_a_training_text(trained):
    offered = {tool.name: tool.description for one in whole().samples for tool in one.tools}
    assert len(offered) > 100
    assert not offered.keys() & {word for text in trained for word in re.findall(r"\w+", text)}
    lines = (line for text in trained for line in text.split("\n") if line.startswith("- ") and ": " in line)
    listed = {line.removeprefix("- ").rsplit(": ", 1)[0] + "." for line in lines}
    assert not {*offered.values()} & listed
    train = [t.tool.description for name, t in WORLD.tools.items() if WORLD.split(name) == "train"]
    assert len({*train} & listed) > 250  # the check does find tools of training


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    first, again, other = (build(lab_pool(60, seed=s), 60, seed=s, tally=Tally("t")) for s in (1, 1, 2))
    assert written(first) == written(again)
    # Another seed draws other tasks, but from the same list of ordinary requests.
    assert not {one.query for one in first if one.wanted} & {one.query for one in other if one.wanted}
    assert [one.query for one in first] != [one.query for one in other]
    same = written(build(lab_pool(60, seed=1), 60, seed=2, tally=Tally("t")))
    assert same.replace("lab-60-2-", "lab-60-1-") != written(first)  # the seed also chooses from one pool


def small(plain, served, unserved):
    tool = Tool("find_town", "Find a town.")
    return Pool("own", [Request(f"Tell me about {i}.", f"p{i}") for i in range(plain)],
                [Request(f"Find {i}.", f"s{i}", "", (tool,), ("find_town",)) for i in range(served)],
                [Request(f"Buy {i}.", f"u{i}", "", (tool,)) for i in range(unserved)])  # fmt: skip


@given(plain=st.integers(0, 60), served=st.integers(0, 40), unserved=st.integers(0, 12), n=st.integers(LEAST, 90))
@settings(max_examples=60, deadline=None)
def test_small_pools_shrink_all_parts_alike_and_say_so(plain, served, unserved, n):
    of, tally = small(plain, served, unserved), Tally("own")

    def fits(k):
        return plain >= 2 * k / 3 - min(unserved, k / 12) + 3 and served >= k / 3 + 2

    if served < 4 or plain < (8 if unserved == 0 else 7):
        with pytest.raises(FlanError, match=f"{plain} plain and {served} served"):
            build(of, n, seed=0, tally=tally)
        return
    made = build(of, n, seed=0, tally=tally)
    size = len(made)
    counts = Counter(map(part, made))
    shares = dict(zip(PARTS, (1 / 3, *[1 / 6] * 4), strict=True))
    assert all(abs(counts[name] - share * size) < 1 for name, share in shares.items())
    assert size == n or not fits(size + 1)
    half = counts[CELLS[2]] // 2
    missing = sum(one.variety == MISSING for one in made)
    assert missing == min(unserved, half)
    notes = {f"samples left out for want of requests, of {n}": n - size, "requests left over": plain + served + unserved
             - size, "requests for a missing tool replaced by ordinary questions": half - missing}  # fmt: skip
    assert tally.noted == {what: count for what, count in notes.items() if count}
    assert tally.kept == size == len({one.origin for one in made})


@pytest.mark.parametrize(("of", "n", "message"), [
    (small(0, 0, 0), 60, "0 plain and 0 served requests; expected at least 8 and 4"), (small(7, 4, 0), 12, "7 plain"),
    (small(60, 3, 9), 60, "3 served"), (small(60, 40, 9), 11, "11 samples asked for; expected 12 or more"),
    (small(60, 40, 9), -1, "-1 samples"),
])  # fmt: skip
def test_a_pool_that_is_too_small_is_refused(of, n, message):
    with pytest.raises(FlanError, match=re.escape(message)):
        build(of, n, seed=0, tally=Tally("t"))


def test_the_least_pools_allow_the_least_number():
    for of in (small(8, 4, 0), small(7, 4, 1)):
        assert len(build(of, LEAST, seed=0, tally=Tally("t"))) == LEAST


def test_records_are_sorted_by_the_tools_offered_and_called():
    tool, other = Tool("find_town"), Tool("find_river")
    done = (Step("", "find_town", {}, "Ulm"),)

    def chat(id, text, tools=(), system=()):
        return Conversation(id, "x", (*system, say("user", text), say("assistant", "Yes.", "general")), tools)

    tally = Tally("own")
    made = pool("own", [
        Trajectory("a", "x", "Find Ulm.", (tool, other), done, "There."),
        Trajectory("b", "x", "Find Bonn.", (other,), done),
        Trajectory("c", "x", "Find Rome.", (), done), Trajectory("d", "x", "Buy it.", (tool,), (), "No tool."),
        chat("e", "Hello", (), (say("system", "Be kind."),)), chat("f", "Book it.", (tool,)), chat("g", "Hello"),
        chat("h", " \n"), Trajectory("i", "x", "Find Ulm.", (tool,), done),
    ], tally=tally)  # fmt: skip
    assert made.plain == [Request("Hello", "e", "Be kind.")]
    assert made.served == [Request("Find Ulm.", "a", "", (tool, other), ("find_town",))]
    assert made.unserved == [Request("Buy it.", "d", "", (tool,)), Request("Book it.", "f", "", (tool,))]
    assert (tally.kept, tally.seen) == (4, 9)
    assert tally.dropped == {"a call of a tool that is not offered": 2, "a query met before": 2, "an empty query": 1}


def test_real_rows_make_as_many_samples_as_they_allow(real_data, tmp_path):
    records = []
    for name, form, rows in (("toolcall_en_demo.json", "chat", 180), ("v2_raw_rows.jsonl", None, 2)):
        solved, chats, tally = sources.load(real_data / "glaive" / f"glaive_{name}", form)
        assert tally.seen == rows == tally.dropped.total() + tally.kept
        assert tally.kept <= len(solved) + len(chats)  # a row with several requests gives a record for each
        records += [*solved, *chats]
    pooled, composed = Tally("pool"), Tally("build")
    of = pool("glaive", records, tally=pooled)
    parts = of.plain, of.served, of.unserved
    assert pooled.seen == len(records)
    assert pooled.kept == sum(map(len, parts))
    assert len({one.query for part in parts for one in part}) == pooled.kept  # dropped queries really repeat
    assert set(pooled.dropped) == {"a query met before"}
    made = build(of, seed=0, tally=composed)
    assert composed.kept == len(made) >= 84
    assert composed.noted[f"samples left out for want of requests, of {SIZE}"] == SIZE - len(made)
    assert composed.noted["requests left over"] == pooled.kept - len(made)
    assert all({tool.name for tool in one.tools} & {*one.wanted} for one in made if one.truth == CALL)
    samples.write(tmp_path / "a.jsonl", made)
    assert samples.read(tmp_path / "a.jsonl") == made
    samples.write(tmp_path / "b.jsonl", build(pool("glaive", records, tally=Tally("t")), seed=0, tally=Tally("t")))
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
