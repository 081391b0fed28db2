import json
from dataclasses import replace

import pytest

from flanlib.corpus.material import material
from flanlib.presets import PRESETS
from flanlib.records import FlanError

SMOKE = replace(PRESETS["smoke"], heldout=6)


def fireact(questions):
    return "".join(json.dumps({"messages": [
        {"role": "user", "content": question},
        {"role": "assistant", "content": f"Thought: look\nAction: search[{question}]"},
        {"role": "user", "content": "Observation: found"},
        {"role": "assistant", "content": "Thought: done\nAction: finish[yes]"},
    ]}) + "\n" for question in questions)  # fmt: skip


def test_the_labs_material_is_the_same_every_time_and_apart_from_its_heldout_part():
    first, again = material(SMOKE), material(SMOKE)
    assert first.train == again.train
    assert first.natural == again.natural
    assert (len(first.train), len(first.heldout)) == (12, 6)
    assert first.chats
    assert not {c.turns[0].text for c in first.chats} & {c.turns[0].text for c in first.natural}
    names = [{tool.name for t in part for tool in t.tools} for part in (first.train, first.heldout)]
    assert not names[0] & names[1]


def test_real_rows_of_one_request_are_on_one_side_only(tmp_path, monkeypatch):
    path = tmp_path / "mine.jsonl"
    path.write_text(fireact([f"What is item {i % 20}?" for i in range(60)]))
    monkeypatch.setenv("FLAN_DATA", str(path))
    result = material(SMOKE)
    assert result.name == "mine"
    assert result.tally.kept == 60
    assert result.tally.noted == {"no grade": 60, "trajectories to train on": 12, "trajectories held out": 6,
                                  "trajectories not used, beyond the preset's sizes": 42}  # fmt: skip
    assert len(result.heldout) == 6
    assert len(result.train) == 12
    assert not {t.query for t in result.train} & {t.query for t in result.heldout}


def test_data_without_enough_trajectories_is_refused_with_its_tally(tmp_path, monkeypatch):
    path = tmp_path / "mine.jsonl"
    path.write_text(fireact(["What is it?"] * 3))
    monkeypatch.setenv("FLAN_DATA", str(path))
    with pytest.raises(FlanError, match=r"3 trajectories of 1 requests.*mine: 3 seen, 3 kept"):
        material(SMOKE)


def test_plain_chat_of_real_rows_comes_first_and_some_of_it_is_only_measured(tmp_path, monkeypatch):
    path = tmp_path / "mine.jsonl"
    chats = "".join(json.dumps({"messages": [{"role": "user", "content": f"Good day, number {i}?"},
                                             {"role": "assistant", "content": "Good day to you."}]}) + "\n"
                    for i in range(40))  # fmt: skip
    path.write_text(fireact([f"What is item {i}?" for i in range(20)]) + chats)
    monkeypatch.setenv("FLAN_DATA", str(path))
    result = material(SMOKE)
    assert len(result.natural) == 5, "an eighth"
    assert [c.source == "ordinary" for c in result.chats] == [False] * 35 + [True] * (len(result.chats) - 35)
    assert not {c.turns[0].text for c in result.chats} & {c.turns[0].text for c in result.natural}
