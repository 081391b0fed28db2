"""Negatives: plain replies with no tools, with irrelevant tools, and without the one tool that is needed."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import tools as any_tools
from strategies import trajectories as any_trajectories

from flanlib import sources
from flanlib.benchmarks.agent_h.replies import read
from flanlib.corpus.export import export
from flanlib.corpus.mix import mix
from flanlib.corpus.negatives import IRRELEVANT, MISSING, NO_TOOLS, OFFERED, TYPES, negatives
from flanlib.dialects import DIALECTS, render
from flanlib.lab import ordinary, tasks
from flanlib.lab.distractors import can_do
from flanlib.lab.world import world
from flanlib.records import Conversation, FlanError, Step, Tool, Trajectory, say
from flanlib.tally import Tally

WORLD = world()
LAB = tasks.tasks(400, rng=np.random.default_rng(4), shapes=("unserved", "bare", "single", "chain"))
SOLVED = [task.trajectory for task in LAB]
# Every fourth has a system turn, as some chats of other sources have.
CHATS = [replace(one, turns=(say("system", "Be brief."), *one.turns)) if i % 4 == 0 else one
         for i, one in enumerate(ordinary.conversations("train")[:80])]  # fmt: skip
BANK = [tool for one in SOLVED[:30] for tool in one.tools]
REPLIES = {one.id: f"I cannot look that up, number {i}." for i, one in enumerate(SOLVED) if i % 2}
EACH = dict.fromkeys(TYPES, 40)
TOOL, RIVER = Tool("find_town", "Find a town."), Tool("find_river", "Find a river.")


def make(counts=EACH, tally=None, **changed):
    arguments = {"requests": SOLVED, "chats": CHATS, "tools": BANK, "dialect": "chat", "seed": 0} | changed
    return negatives(counts, **arguments, tally=tally or Tally("t"))


def kind(row):
    return re.search(r" \(([a-z ]+)\)$", row.id)[1]


def of(rows, name):
    return {row.id.removesuffix(f" ({name})"): row for row in rows if kind(row) == name}


def system(row):
    return row.turns[0].text if row.turns[0].role == "system" else ""


MADE = {form: make(dialect=form, replies=REPLIES) for form in DIALECTS}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_type_is_made_as_often_as_asked_in_the_order_of_types(dialect):
    assert list(map(kind, MADE[dialect])) == [name for name in TYPES for _ in range(40)]
    assert len({row.id for row in MADE[dialect]}) == 120
    used = [id for name in (NO_TOOLS, MISSING) for id in of(MADE[dialect], name)]
    assert len(set(used)) == 80  # a request serves once


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_system_turn_is_the_one_that_the_dialect_renders(dialect):
    for row in MADE[dialect]:
        text = system(row)
        if kind(row) == NO_TOOLS:
            assert (text, row.tools) == ("", ())
            continue
        origin = {c.id: c for c in CHATS}.get(row.id.removesuffix(f" ({IRRELEVANT})"))
        own = system(origin) if origin else ""
        trajectory = Trajectory("t", "x", "?", row.tools, (), "-", "", own)
        assert text == render(trajectory, dialect).turns[0].text
        assert text.startswith(own)
        assert text.endswith(DIALECTS[dialect].HOW)
        assert all(f"- {tool.description.rstrip('.')}: {tool.name}\n" in text for tool in row.tools)


def test_only_the_reply_is_trained_and_as_general():
    for row in (row for rows in MADE.values() for row in rows):
        for turn in row.turns:
            assert turn.trained == (turn.role == "assistant")
            assert {span.kind for span in turn.spans} == {"general" if turn.trained else "context"}


def test_no_tools_negatives_have_the_given_reply_or_the_answer_of_a_bare_request():
    by_id, counts = {one.id: one for one in SOLVED}, Counter()
    for id, row in of(MADE["chat"], NO_TOOLS).items():
        one = by_id[id]
        replied = id in REPLIES
        assert replied or not (one.steps or one.tools)
        assert [turn.text for turn in row.turns] == [one.query, REPLIES[id] if replied else one.answer]
        assert row.source == one.source
        counts[replied] += 1
    assert min(counts[True], counts[False]) > 3  # both cases occur


def test_missing_negatives_never_offer_a_tool_that_the_request_needs():
    by_id, counts = {task.trajectory.id: task for task in LAB}, Counter()
    for id, row in of(MADE["chat"], MISSING).items():
        task = by_id[id]
        one, names = task.trajectory, [tool.name for tool in row.tools]
        assert len(set(names)) == len(names)
        assert OFFERED[0] <= len(names) <= OFFERED[1]
        assert not {step.tool for step in one.steps}.intersection(names)
        assert [turn.text for turn in row.turns[1:]] == [one.query, REPLIES.get(id, one.answer)]
        if not one.steps:
            assert row.tools == one.tools != ()
            assert not can_do([WORLD.tools[name] for name in names], WORLD.tools[task.missing])
        counts[bool(one.steps)] += 1
    assert min(counts[True], counts[False]) > 3  # both cases occur


def test_irrelevant_negatives_leave_the_chat_unchanged():
    by_id = {chat.id: chat for chat in CHATS}
    for id, row in of(MADE["chat"], IRRELEVANT).items():
        chat = by_id[id]
        spoken = chat.turns[1:] if system(chat) else chat.turns
        assert row.turns[1:] == spoken
        assert OFFERED[0] <= len(row.tools) <= OFFERED[1]
        assert {tool.name for tool in row.tools} <= {tool.name for tool in BANK}
        assert row.source == chat.source


def test_bare_answers_serve_only_no_tools_and_unserved_answers_only_missing():
    """An answer that speaks of tools on offer is wrong where there are none."""
    tally = Tally("t")
    made = make({NO_TOOLS: 400, MISSING: 400}, tally)
    by_id = {task.trajectory.id: task.shape for task in LAB}
    shapes = Counter((kind(row), by_id[row.id.split(" ")[0]]) for row in made)
    drawn = Counter(by_id.values())
    assert shapes == {(NO_TOOLS, "bare"): drawn["bare"], (MISSING, "unserved"): drawn["unserved"]}
    assert tally.dropped == {"a request without a plain reply": drawn["single"] + drawn["chain"]}
    assert tally.noted == {f"{NO_TOOLS} negatives asked for but not there": 400 - drawn["bare"],
                           f"{MISSING} negatives asked for but not there": 400 - drawn["unserved"]}  # fmt: skip
    assert tally.kept == len(made)


def test_a_given_reply_replaces_an_answer_and_a_blank_one_is_none():
    bare = Trajectory("b", "x", "Where?", (), (), "No tool.")
    unserved = replace(bare, id="u", tools=(TOOL,))
    for replies, counts, expected, dropped in (
        ({"b": "Who knows."}, {NO_TOOLS: 2, MISSING: 2}, {"b (no tools)": "Who knows.", "u (missing)": "No tool."}, 0),
        ({"u": "Who knows."}, {NO_TOOLS: 2}, {"b (no tools)": "No tool.", "u (no tools)": "Who knows."}, 0),
        ({"u": " \n", "b": ""}, {NO_TOOLS: 2}, {}, 2), ({"u": ""}, {MISSING: 1}, {}, 1),
        ({}, {NO_TOOLS: 2}, {"b (no tools)": "No tool."}, 0),
    ):  # fmt: skip
        tally = Tally("t")
        made = make(counts, tally, requests=[bare, unserved], replies=replies)
        assert {row.id: row.turns[-1].text for row in made} == expected
        assert tally.dropped.total() == dropped


def test_instructions_of_a_task_stay_with_it():
    steps = (Step("", "find_town", {}, "Ulm"),)
    one = Trajectory("a", "x", "Where?", (TOOL, RIVER), steps, "Ulm.", "", "You are in a boat.")
    (row,) = make({NO_TOOLS: 1}, requests=[one], replies={"a": "Who knows."})
    assert [turn.text for turn in row.turns] == ["You are in a boat.", "Where?", "Who knows."]
    (row,) = make({MISSING: 1}, requests=[one], replies={"a": "Who knows."}, tools=[TOOL])
    assert row.tools == (RIVER,)
    assert system(row) == render(replace(one, tools=(RIVER,)), "chat").turns[0].text
    spoken = say("user", " "), say("assistant", "Hm?", "general", trained=True)
    chat = Conversation("c", "x", (say("system", "Be kind."), *spoken))
    (row,) = make({IRRELEVANT: 1}, chats=[chat], tools=[RIVER, TOOL, RIVER])
    assert system(row).startswith("Be kind.\n\nYou can use these tools:\n- Find a ")
    assert {tool.name for tool in row.tools} == {"find_town", "find_river"}


def test_unusable_rows_and_shortfalls_are_counted():
    silent = Conversation("s", "x", (say("user", "Hi"), say("assistant", "Ho", "general")))
    done = Trajectory("a", "x", "Where?", (TOOL,), (Step("", "find_town", {}, "Ulm"),), "Ulm.")
    for changed, counts, dropped in (
        ({"chats": [silent, *CHATS[:2]]}, {IRRELEVANT: 3}, {"nothing trained in a chat": 1}),
        ({"tools": []}, {IRRELEVANT: 90}, {"no tool to offer": 80}),
        ({"requests": [done]}, {NO_TOOLS: 1}, {"a request without a plain reply": 1}),
        ({"requests": [done], "replies": {"a": "Hm."}, "tools": [TOOL]}, {MISSING: 1}, {"no other tool to offer": 1}),
        ({"requests": [done] * 3, "replies": {"a": "Hm."}}, {NO_TOOLS: 3}, {"a request whose id was met before": 2}),
        ({"requests": []}, {NO_TOOLS: 2, MISSING: 1}, {}),
    ):  # fmt: skip
        tally = Tally("t")
        made = make(counts, tally, **changed)
        assert tally.dropped == dropped
        short = {f"{name} negatives asked for but not there": n - len(of(made, name)) for name, n in counts.items()}
        assert tally.noted == short
        assert tally.kept == len(made)


def test_the_same_seed_gives_the_same_rows_in_whatever_order_they_come():
    assert make() == make() == make(requests=SOLVED[::-1], chats=iter(CHATS[::-1]))
    other = make(seed=1)
    assert [row.id for row in other] != [row.id for row in make()]
    assert make({}) == make(dict.fromkeys(TYPES, 0)) == []


def test_a_smaller_count_gives_the_first_rows_of_a_larger_one():
    more = make(replies=REPLIES)
    for name in TYPES:
        fewer = make({**EACH, name: 11}, replies=REPLIES)
        assert list(of(fewer, name).values()) == list(of(more, name).values())[:11]
        if name != NO_TOOLS:  # these use the requests that MISSING leaves
            assert list(of(more, name).values()) == make({name: 40}, replies=REPLIES)


@pytest.mark.parametrize("counts", [{"no tool": 1}, {NO_TOOLS: -1}, {NO_TOOLS: 1, "": 0}])
def test_unknown_types_and_negative_counts_are_refused(counts):
    with pytest.raises(FlanError, match="0 or more of no tools, irrelevant, missing"):
        make(counts)


def test_no_reply_of_a_lab_negative_is_a_call():
    made = [row for rows in MADE.values() for row in rows]
    made += make({NO_TOOLS: 90, MISSING: 90, IRRELEVANT: 80})
    read_ = [read(turn.text, row.tools, row.turns[i - 1].text).kind for row in made for i, turn in enumerate(row.turns)
             if turn.trained]  # fmt: skip
    assert len(read_) > 500
    assert Counter(read_)["plain reply"] >= 0.99 * len(read_)


pairs = st.tuples(any_trajectories(), st.none() | st.sampled_from(["No.", " "]))


@given(st.lists(pairs, max_size=3), st.lists(any_tools, max_size=3), st.sampled_from([*DIALECTS]))
@settings(max_examples=40, deadline=None)
def test_any_trajectory_makes_a_negative_or_is_counted(drawn, bank, dialect):
    by_id = {f"t{i}": replace(one, id=f"t{i}") for i, (one, _) in enumerate(drawn)}
    replies = {f"t{i}": reply for i, (_, reply) in enumerate(drawn) if reply is not None}
    tally = Tally("t")
    made = make({NO_TOOLS: 3, MISSING: 3}, tally, requests=by_id.values(), tools=bank, replies=replies, dialect=dialect)
    assert (tally.kept, tally.seen, sum(tally.noted.values())) == (len(made), len(drawn), 6 - len(made))
    for row in made:
        one = by_id[row.id.split(" ")[0]]
        assert row.turns[-2].text == one.query
        assert row.turns[-1].text == replies.get(one.id, one.answer)
        assert not {tool.name for tool in row.tools}.intersection(step.tool for step in one.steps)
        assert bool(row.tools) == (kind(row) == MISSING)
        if row.tools:
            assert row.turns[0] == render(replace(one, tools=row.tools), dialect).turns[0]


def test_negatives_flow_through_the_mix_as_they_are():
    agents = [one for one in SOLVED if one.steps][:30]
    corpus = mix(agents, following=5, general=CHATS[:9], negatives=MADE["chat"], seed=0)
    drawn = corpus.draws.set_index(["form", "source"])
    assert drawn.loc["negative"].drop(columns=["asked", "available"])["drawn"].to_dict() == {"lab": 80, "ordinary": 40}
    assert (drawn.loc["negative", "asked"] == drawn.loc["negative", "drawn"]).all()
    mixed = {row.id: row for row in corpus.conversations if corpus.places[row.id][0] == "negative"}
    assert mixed == {row.id: row for row in MADE["chat"]}
    assert corpus.tally.kept == len(corpus.conversations) == 30 + 5 + 9 + 120
    assert "ids made unique" not in corpus.tally.noted


def test_negatives_survive_export(tmp_path):
    rows = [row for made in MADE.values() for row in made]
    export(rows, tmp_path / "rows.jsonl")
    again = list(sources.read(tmp_path / "rows.jsonl", tally=Tally("t"), format="chat"))
    assert [row.turns for row in again] == [row.turns for row in rows]
