"""The file of Agent-H's samples: any text survives the round trip, and errors name the broken line."""

import json
import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import tools, written

from flanlib import store
from flanlib.benchmarks.agent_h.formats import FORMATS
from flanlib.benchmarks.agent_h.samples import ACTION, CALL, CELLS, FORMAT, PLAIN, Sample, read, row, sample, write
from flanlib.records import FlanError, Tool

NASTY = ["\u2028", "\u2029", "\x85", "\r", "\r\n", "\n\n", '"', '\\"', "\\u2028", "'", "{", "\x00", "\ufeff", "\x1c",
         "e\u0301", "\U0001f600"]  # fmt: skip
text = st.lists(st.one_of(st.text(max_size=8), st.sampled_from(NASTY), written), max_size=4).map("".join)


@st.composite
def drawn(draw) -> Sample:
    """Any valid sample."""
    offered = draw(st.lists(tools, max_size=3, unique_by=lambda tool: tool.name))
    wanted = draw(st.lists(text, max_size=2))
    cell, truth = draw(st.sampled_from([*((cell, PLAIN) for cell in CELLS), *((name, name) for name in FORMATS)]))
    if offered and draw(st.booleans()):
        cell, truth, wanted = CELLS[3], CALL, [*wanted, draw(st.sampled_from(offered)).name]
    query = draw(text.filter(str.strip))
    return Sample(draw(text), draw(text), ACTION if cell in CELLS else FORMAT, cell, truth, query, offered, draw(text),
                  draw(text), wanted, draw(text))  # fmt: skip


TOOL = Tool("find_town", "Find a town.", {"properties": {"name": {"type": "string"}}, "required": ["name"]})
ONE = Sample("a-0", "own", ACTION, CELLS[3], CALL, "Find Ulm.", (TOOL,), "Be kind.", "", ("find_town",), "x[0]")
TWO = replace(ONE, id="a-1", truth=PLAIN, cell=CELLS[2], query="Hello,\u2028you\x85\n\"there\"", variety="v", wanted=())


@given(drawn())
@settings(max_examples=100, deadline=None)
def test_a_sample_survives_the_round_trip_through_its_row(one):
    data = json.loads(json.dumps(row(one)))
    assert sample(data) == one
    assert sample({**data, "score": 1}) == one


@given(st.lists(drawn(), max_size=5, unique_by=lambda one: one.id))
@settings(max_examples=30, deadline=None)
def test_samples_survive_the_round_trip_through_a_file(tmp_path_factory, listed):
    path = tmp_path_factory.mktemp("samples") / "made.jsonl"
    write(path, listed)
    assert read(path) == listed
    assert path.read_bytes().count(b"\n") == len(listed)


def test_a_row_by_hand():
    assert row(ONE) == {
        "id": "a-0", "source": "own", "level": "action", "cell": "tools, one needed", "variety": "", "truth": "call",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Find Ulm."}],
        "tools": [{"type": "function", "function": {
            "name": "find_town", "description": "Find a town.",
            "parameters": {"properties": {"name": {"type": "string"}}, "required": ["name"]}}}],
        "wanted": ["find_town"], "origin": "x[0]",
    }  # fmt: skip
    assert row(replace(ONE, instructions=""))["messages"] == [{"role": "user", "content": "Find Ulm."}]


@pytest.mark.parametrize(("changed", "message"), [
    ({"query": " \n"}, "an empty query"), ({"level": "actoin"}, "level 'actoin'"),
    ({"wanted": ("find_river",)}, "a call expected of a tool that is not offered"), ({"wanted": ()}, "not offered"),
    ({"tools": ()}, "not offered"), ({"query": "a\ud800"}, "lone surrogate"), ({"instructions": "\udfff"}, "surrogate"),
])  # fmt: skip
def test_an_invalid_sample_is_refused(changed, message):
    with pytest.raises(FlanError, match=rf"sample a-0: found .*{message}"):
        replace(ONE, **changed)


def lacking(key):
    return json.dumps({k: v for k, v in row(ONE).items() if k != key})


def changed(**parts):
    return json.dumps(row(ONE) | parts)


def message(content, role="user"):
    return {"role": role, "content": content}


def offer(**parts):
    return [{"type": "function", "function": {"name": "find_town", "description": "", "parameters": {}} | parts}]


def deep(levels):
    return '{"a":' * levels + "0" + "}" * levels


@pytest.mark.parametrize("line", [
    "{", "nonsense", '{"id": "a-0"', "\ufeff{}", "[]", '"text"', "null", "3", "{}", "[" * 5000, deep(800), deep(1500),
    *map(lacking, row(ONE)), changed(id=3), changed(id=None), changed(truth=None), changed(cell=["a"]),
    changed(level="other"), changed(wanted="find_town"), changed(wanted=[]), changed(wanted=3), changed(wanted=[3]),
    changed(source=["a"]), changed(origin={}), changed(origin="\ud800"), changed(variety=None),
    changed(messages=[]), changed(messages="find"), changed(messages=[*row(ONE)["messages"], message("?")]),
    changed(messages=[message("Hi", "assistant")]), changed(messages=[{"role": "user"}]),
    *(changed(messages=[message(content)]) for content in (" ", 3, None, "\ud800", [{"type": "text", "text": "Hi"}])),
    changed(tools={}), changed(tools=None), changed(tools=3), changed(tools=[{"name": "find_town"}]),
    changed(tools=[{"function": {"name": "find_town"}}]), changed(tools=offer(name="")), changed(tools=offer(name=3)),
    changed(tools=offer(description=3)), changed(tools=offer(parameters=[])),
    changed(tools=offer(parameters={"n": float("nan")})), changed(tools=offer(parameters=json.loads(deep(600)))),
])  # fmt: skip
def test_a_broken_line_is_named(tmp_path, line):
    path = tmp_path / "made.jsonl"
    path.write_text(f"{json.dumps(row(TWO))}\n\n{line}\n", encoding="utf-8")
    with pytest.raises(FlanError, match=r"line 3: found .*; expected") as error:
        read(path)
    assert "made.jsonl" in str(error.value)
    assert len(str(error.value)) < 1000
    assert len(str(error.value).splitlines()) == 1


def test_repeated_ids_and_unreadable_files_are_refused(tmp_path):
    path = tmp_path / "made.jsonl"
    path.write_text("".join(json.dumps(row(one)) + "\n" for one in (ONE, TWO, ONE)), encoding="utf-8")
    with pytest.raises(FlanError, match="line 3: found the id 'a-0' again"):
        read(path)
    path.write_bytes(json.dumps(row(ONE)).encode() + b"\n\xff\n")
    with pytest.raises(FlanError, match="not UTF-8"):
        read(path)
    for none in (tmp_path, tmp_path / "other.jsonl"):
        with pytest.raises(FlanError, match="no such file"):
            read(none)
    path.write_text("\n \n", encoding="utf-8")
    assert read(path) == []


def test_the_manifest_has_the_counts_and_the_digest(tmp_path):
    path = tmp_path / "deeper" / "made.jsonl"
    listed = [ONE, TWO, *(replace(TWO, id=f"b-{i}", level=FORMAT, cell="json", truth="json") for i in range(3))]
    write(path, listed, seed=7, source="own")
    manifest = json.loads((tmp_path / "deeper" / "made.manifest.json").read_text(encoding="utf-8"))
    assert manifest["digest"] == store.digest(path.read_bytes())
    assert sum(manifest["counts"].values()) == manifest["samples"] == 5
    assert manifest["counts"] == {"action / tools, none needed / v": 1, "action / tools, one needed": 1,
                              "format / json / v": 3}  # fmt: skip
    assert (manifest["seed"], manifest["source"]) == (7, "own")
    write(path, listed[:1])
    again = json.loads((tmp_path / "deeper" / "made.manifest.json").read_text(encoding="utf-8"))
    assert (again["samples"], again["digest"]) == (1, store.digest(path.read_bytes())) != (5, manifest["digest"])


def test_a_failed_write_leaves_the_old_files(tmp_path, monkeypatch):
    path = tmp_path / "made.jsonl"
    write(path, [ONE])
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(*paths):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write(path, [ONE, TWO])
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    monkeypatch.undo()
    with pytest.raises(TypeError):
        write(path, [ONE, TWO], facts=object())
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
