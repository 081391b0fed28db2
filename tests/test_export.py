import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flanlib import sources
from flanlib.corpus.balance import APPENDIX, balance
from flanlib.corpus.export import export, row
from flanlib.dialects import render_all
from flanlib.lab import tasks
from flanlib.presets import DATA
from flanlib.records import Conversation, Step, Trajectory, Turn, say, spans, to_json
from flanlib.tally import Tally

TASK = Trajectory("t", "test", "Was ist größer,\u2028Ulm oder\tBonn?", (),
                  (Step("Look.", "find_town", {"name": "Ulm", "n": 3}, "126000"),), "Bonn.", "I know.")  # fmt: skip
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)
exchanges = st.lists(st.tuples(words, words, st.booleans()), min_size=1, max_size=4)


def messages(conversation):
    return [(turn.role, turn.text, turn.trained) for turn in conversation.turns]


def read(path, **options):
    tally = Tally("test")
    rows = list(sources.read(path, tally=tally, **options))
    assert not tally.dropped
    assert set(tally.noted) <= {"ids made unique"}  # of a record that was written twice
    return rows


@given(system=st.none() | words, exchanges=exchanges)
@settings(max_examples=40, deadline=None)
def test_turns_and_flags_survive(tmp_path_factory, system, exchanges):
    turns = [say("system", system)] if system else []
    for user, reply, flag in [*exchanges, ("Bye", "Bye", True)]:
        turns += [say("user", user), say("assistant", reply.lstrip(), "general", trained=flag)]
    before = Conversation("a", "test", tuple(turns))
    path = tmp_path_factory.mktemp("export") / "rows.jsonl"
    export([before, before], path)
    assert [messages(after) for after in read(path, format="chat")] == [messages(before)] * 2


def test_balanced_rows_read_back_as_they_are_trained(tmp_path):
    rows = [Trajectory(f"t{i}", "test", TASK.query, (), TASK.steps, TASK.answer, "I know.") for i in range(8)]
    before = balance(render_all(rows, "chat"), APPENDIX, seed=0, tally=Tally("test"))
    export(before, tmp_path / "rows.jsonl")
    after = read(tmp_path / "rows.jsonl", format="chat")
    assert [messages(a) for a in after] == [messages(b) for b in before]
    assert [a.id for a in after] == [b.id for b in before]
    assert after == [Conversation(a.id, "chat", a.turns) for a in after]


@pytest.mark.parametrize("key", ["messages", "conversation"])
def test_the_rows_are_recognised_by_themselves(tmp_path, key):
    rows = render_all([TASK], "chat")
    export(rows, tmp_path / "rows.jsonl", key=key)
    assert [messages(a) for a in read(tmp_path / "rows.jsonl")] == [messages(b) for b in rows]


@pytest.mark.parametrize("dialect", ["react", "json"])
def test_rows_in_an_agent_s_format_read_back_as_the_trajectories_that_they_were(tmp_path, dialect):
    before = replace(TASK, instructions="Be kind.")
    export(render_all([before], dialect), tmp_path / "rows.jsonl")
    (after,) = sources.read(tmp_path / "rows.jsonl", tally=Tally("test"))
    assert replace(after, source="test") == before


def test_a_row_by_hand():
    turns = (say("system", "Be kind."), say("user", "Ulm?"), say("assistant", "find_town", "retrieval"),
             say("user", "And?"), say("assistant", "Big.", "reasoning", trained=True))  # fmt: skip
    assert row(Conversation("t_3", "test", turns)) == {
        "id": "t_3",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Ulm?"},
            {"role": "assistant", "content": "find_town", "loss": False},
            {"role": "user", "content": "And?"},
            {"role": "assistant", "content": "Big.", "loss": True},
        ],
    }


def test_untrained_parts_of_a_turn_become_messages_of_their_own(tmp_path):
    parts = (("An example.", "context"), ("\n\nNow I know.", "general"), ("\n\nDone.", "context"))
    before = Conversation("a", "test", (say("user", "Hi"), Turn("assistant", spans(*parts), trained=True)))
    assert [m.get("loss") for m in row(before)["messages"]] == [None, False, True, False]
    export([before], tmp_path / "rows.jsonl")
    (after,) = sources.read(tmp_path / "rows.jsonl", tally=Tally("test"))
    assert after.turns == before.turns


def test_a_line_is_a_row_whatever_it_holds(tmp_path):
    export(render_all([TASK] * 3, "react"), tmp_path / "rows.jsonl")
    lines = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["t"] * 3


def test_real_conversations_survive(real_data, tmp_path):
    for name in ("natural", "glaive"):
        before = [c for c in sources.read(real_data / name, tally=Tally("real"), format="chat")
                  if isinstance(c, Conversation)]  # fmt: skip
        export(before, tmp_path / f"{name}.jsonl")
        after = list(sources.read(tmp_path / f"{name}.jsonl", tally=Tally("again"), format="chat"))
        assert before
        assert [a.turns for a in after] == [b.turns for b in before]


def test_the_example_that_ships_holds_the_lab_s_training_tasks():
    def content(one):
        steps = [(step.tool, to_json(step.arguments), step.observation) for step in one.steps]
        return one.query, [tool.name for tool in one.tools], steps, one.answer

    expected = tasks.trajectories(160, rng=np.random.default_rng(5))
    assert [content(one) for one in read(DATA / "example" / "trajectories.jsonl")] == [content(one) for one in expected]
