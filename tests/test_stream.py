"""Streaming through Arrow gives the examples and counts of tokenising in memory."""

import gc
import json
import weakref
from dataclasses import replace

import numpy as np
import pytest

from flanlib import pretrained, sources, store
from flanlib.corpus import stream
from flanlib.dialects import render_all
from flanlib.lab import ordinary, tasks
from flanlib.presets import DATA
from flanlib.records import Conversation, FlanError, say
from flanlib.tally import Tally
from flanlib.text.templates import get_template
from flanlib.text.tokens import CHUNK, encode_all, load_tokenizer

EXAMPLE = DATA / "example" / "trajectories.jsonl"


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(pretrained.folder("random"))


@pytest.fixture(scope="module")
def template(tokenizer):
    return get_template("own", tokenizer)


@pytest.fixture(scope="module")
def conversations():
    """More than a chunk; one is too long, one has nothing to train."""
    long = Conversation("long", "test", (say("user", "word " * 400), say("assistant", "Yes.", "general", trained=True)))
    bare = Conversation("bare", "test", (say("user", "Hello"), say("assistant", "Yes.", "general")))
    chats = [replace(one, id=f"{i} {one.id}") for i in range(20) for one in ordinary.conversations("train")][:CHUNK]
    return [*chats, long, bare, *render_all(tasks.trajectories(20, rng=np.random.default_rng(1)), "chat")]


def same(one, other):
    return (one.id == other.id and np.array_equal(one.ids, other.ids) and np.array_equal(one.kinds, other.kinds)
            and np.array_equal(one.bytes, other.bytes))  # fmt: skip


@pytest.mark.parametrize("processes", [1, 2])
def test_examples_and_counts_are_those_of_tokenising_in_memory(tmp_path, tokenizer, template, conversations, processes,
                                                               monkeypatch):  # fmt: skip
    monkeypatch.setattr(stream.os, "cpu_count", lambda: processes)
    tally, expected = Tally("t"), Tally("t")
    in_memory = encode_all(conversations, tokenizer, template, max_tokens=300, tally=expected)
    stream.write(conversations, tokenizer, template, max_tokens=300, folder=tmp_path)
    stored = stream.opened(tmp_path, tally)
    assert str(tally) == str(expected)
    assert set(expected.dropped) == {"a context too long for one turn", "nothing to train"}
    assert expected.noted == {stream.CUT: expected.noted[stream.CUT]}
    assert len(stored) == len(in_memory) == sum(1 for _ in stored)
    assert all(map(same, stored, in_memory))
    assert same(stored[-1], in_memory[-1])
    assert [p.name for p in tmp_path.iterdir()] == ["examples"]


def test_only_a_few_conversations_are_in_memory_while_they_stream(tmp_path, tokenizer, template):
    alive, most = weakref.WeakSet(), []

    def streaming():
        for i in range(4 * CHUNK):
            one = Conversation(f"c{i}", "test", (say("user", f"Say {i}"), say("assistant", str(i), "general",
                                                                             trained=True)))  # fmt: skip
            alive.add(one)
            most.append(len(alive))
            yield one

    stream.write(streaming(), tokenizer, template, max_tokens=64, folder=tmp_path)
    gc.collect()
    assert len(most) == 4 * CHUNK
    assert max(most) <= 3


def test_a_data_set_is_read_once(tmp_path, tokenizer, template, monkeypatch):
    monkeypatch.setattr(store, "RUNS", tmp_path)
    first, read, labelled = stream.prepare(EXAMPLE, tokenizer, template, dialect="chat", max_tokens=1024)
    trajectories, _, tally = sources.load(EXAMPLE)
    assert len(first) == len(trajectories) == labelled.kept
    assert str(read).split(":")[1:] == str(tally).split(":")[1:]
    monkeypatch.setattr(sources, "read", lambda *_, **__: pytest.fail("read again"))
    again, *tallies = stream.prepare(EXAMPLE, tokenizer, template, dialect="chat", max_tokens=1024)
    assert all(map(same, first, again))
    assert [str(one) for one in tallies] == [str(read), str(labelled)]


def test_stored_examples_are_cached_by_their_texts(tmp_path, tokenizer, template, conversations, monkeypatch):
    monkeypatch.setattr(store, "RUNS", tmp_path)
    some, tallies = conversations[:40], [Tally("t"), Tally("t"), Tally("t")]
    one, same_texts, other = (
        stream.encode_stored(rows, tokenizer, template, max_tokens=300, tally=tally)
        for rows, tally in zip((some, list(some), some[1:]), tallies, strict=True))  # fmt: skip
    assert all(map(same, one, same_texts))
    assert len(other) == len(one) - 1
    assert len(list(tmp_path.iterdir())) == 2


def test_no_stored_corpus_ships(tmp_path, tokenizer, template, conversations, monkeypatch):
    monkeypatch.setattr(store, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(store, "RESULTS", tmp_path / "runs" / "elsewhere")
    monkeypatch.setenv("FLAN_READ_LOG", str(tmp_path / "log"))
    for _ in range(2):
        stream.encode_stored(conversations[:9], tokenizer, template, max_tokens=300, tally=Tally("t"))
    assert not (tmp_path / "log").exists()


def test_real_rows_stream_without_a_silent_loss(real_data, tmp_path, tokenizer, template, monkeypatch):
    monkeypatch.setattr(store, "RUNS", tmp_path)
    data = real_data / "fireact" / "trajs"
    rows, read, labelled = stream.prepare(data, tokenizer, template, dialect="react", max_tokens=2048)
    trajectories, conversations, tally = sources.load(data)
    assert (read.kept, read.dropped) == (tally.kept, tally.dropped)
    assert labelled.seen == len(trajectories) + len(conversations) == read.kept
    assert len(rows) == labelled.kept > 0


def test_the_command_prints_the_counts(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(store, "RUNS", tmp_path)
    stream.main([str(EXAMPLE), "--dialect=json", "--model=random"])
    output = capsys.readouterr().out
    assert "trajectories, read: " in output
    assert "0 dropped" in output
    assert "understanding" in output
    monkeypatch.setenv("FLAN_MODEL", "random")  # which brings a template of its own
    stream.main([str(EXAMPLE), "--max-tokens=1024"])
    assert "understanding" in capsys.readouterr().out
    monkeypatch.setenv("FLAN_TOKENS", "many")
    with pytest.raises(SystemExit, match="setting TOKENS"):
        stream.main([str(EXAMPLE)])
    monkeypatch.delenv("FLAN_TOKENS")
    with pytest.raises(SystemExit, match="no such file"):
        stream.main([str(tmp_path / "missing.jsonl"), "--model=random"])


@pytest.mark.parametrize(("text", "says"), [
    ('{"question": "How old?", "answer": "80 years"}', r"found no row to keep; .*1 seen, 0 kept, 1 dropped \(no known "
                                                       r"format 1, first a.json with the keys answer, question\)"),
    ('[{"messages": [{"role": "us', r"found truncated or invalid JSON, unterminated string starting at: line 1 column"),
    ("", "found an empty file"),
])
def test_the_command_tells_in_one_line_why_nothing_was_kept(tmp_path, monkeypatch, text, says):
    monkeypatch.setattr(store, "RUNS", tmp_path / "runs")
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(SystemExit, match=says) as error:
        stream.main([str(tmp_path / "a.json"), "--model=random"])
    assert "\n" not in str(error.value)
    assert error.value.__cause__ is None


def test_the_command_tells_a_cut_file_and_so_does_the_cache(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(store, "RUNS", tmp_path / "runs")
    row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}
    (tmp_path / "a.json").write_text(json.dumps([row, row])[:-9])
    for _ in range(2):
        stream.main([str(tmp_path / "a.json"), "--model=random"])
        assert "1 kept, 0 dropped; not read to the end: a.json (truncated or invalid JSON" in capsys.readouterr().out


def test_an_error_while_rows_stream_stays_one_line(tmp_path, tokenizer, template):
    def rows():
        yield Conversation("a", "test", (say("user", "Hi"), say("assistant", "Yes.", "general", trained=True)))
        raise FlanError("row 2", found="nothing", expected="a row", remedy="Look.")

    with pytest.raises(FlanError, match="row 2: found nothing"):
        stream.write(rows(), tokenizer, template, max_tokens=99, folder=tmp_path)
