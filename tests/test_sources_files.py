import gzip
import io
import json
import tracemalloc
from itertools import chain, islice, repeat

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flanlib.records import FlanError
from flanlib.sources import load, read
from flanlib.sources.files import rows, values
from flanlib.tally import Tally

CHAT = {"conversations": [{"from": "human", "value": "Which tea is green?"}, {"from": "gpt", "value": "Sencha."}]}


def got(data):
    return list(rows(data, tally=Tally("t")))


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(("name", "text", "wheres"), [
    ("a.json", json.dumps([CHAT, CHAT]), ["a.json[0]", "a.json[1]"]),
    ("a.json", json.dumps({"x": CHAT, "y": CHAT}), ["a.json[x]", "a.json[y]"]),
    ("a.json", json.dumps(CHAT, indent=2), ["a.json"]),
    ("a.json", "\n".join([json.dumps(CHAT)] * 3), ["a.json:1", "a.json:2", "a.json:3"]),  # no final newline
    ("a.jsonl", json.dumps(CHAT) + "\r\n\r\n" + json.dumps(CHAT), ["a.jsonl:1", "a.jsonl:3"]),
    ("a.jsonl", b"\xef\xbb\xbf" + json.dumps(CHAT).encode(), ["a.jsonl:1"]),
    ("a.json", b"\xef\xbb\xbf" + json.dumps([CHAT]).encode(), ["a.json[0]"]),
    ("a.jsonl.gz", gzip.compress(json.dumps(CHAT).encode()), ["a.jsonl.gz:1"]),
    ("a.json.gz", gzip.compress(json.dumps([CHAT]).encode()), ["a.json.gz[0]"]),
])
def test_every_layout_gives_rows_that_name_their_place(tmp_path, name, text, wheres):
    assert got(write(tmp_path / name, text)) == [(where, CHAT) for where in wheres]


def test_line_separators_inside_strings_do_not_end_a_row(tmp_path):
    row = {"messages": [{"role": "user", "content": "a\u2028b\x85c"}]}
    assert got(write(tmp_path / "a.jsonl", json.dumps(row, ensure_ascii=False))) == [("a.jsonl:1", row)]


@pytest.mark.parametrize("compressed", [False, True])
def test_parquet_rows_equal_the_rows_written(tmp_path, compressed):
    path = tmp_path / "db.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([CHAT] * 3), path)
    if compressed:
        path = write(tmp_path / "db.parquet.gz", gzip.compress(path.read_bytes()))
    assert got(path) == [(f"{path.name}[{i}]", CHAT) for i in range(3)]


def test_folders_are_read_recursively_in_order_and_globs_select(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("z.jsonl", "b/a.jsonl", "readme.md"):
        write(tmp_path / name, json.dumps(CHAT))
    assert [where for where, _ in got(tmp_path)] == ["b/a.jsonl:1", "z.jsonl:1"]
    assert [where for where, _ in got(str(tmp_path / "*"))] == ["z.jsonl:1"]


def test_bad_lines_are_counted_with_their_place_and_reading_goes_on(tmp_path):
    lines = [json.dumps(CHAT).encode(), b'{"cut": ', b"\xff\xfe", b"[" * 100_000, b"null", json.dumps(CHAT).encode()]
    tally = Tally("t")
    kept = list(read(write(tmp_path / "a.jsonl", b"\n".join(lines)), tally=tally))
    assert (len(kept), tally.seen) == (2, 6)
    assert tally.dropped == {"line is not JSON": 3, "not an object": 1}
    assert tally.first["line is not JSON"] == "a.jsonl:2"


def test_json_lines_cut_in_the_last_line_keep_the_others(tmp_path):
    tally = Tally("t")
    assert len(list(rows(write(tmp_path / "a.json", json.dumps(CHAT) + "\n" + '{"id": "a'), tally=tally))) == 1
    assert tally.dropped.total() == 1


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner), max_leaves=9)


@given(value=st.lists(JSON, max_size=6), chunk=st.integers(1, 40), indent=st.sampled_from([None, 1]))
def test_a_list_comes_value_by_value_as_json_reads_it_whole(value, chunk, indent):
    data = json.dumps(value, indent=indent, ensure_ascii=chunk % 2 == 0).encode()
    assert list(values(io.BytesIO(data + b" \n").read, chunk=chunk)) == value


@given(value=st.lists(JSON, max_size=4), chunk=st.integers(1, 40), at=st.integers(0, 10**6))
def test_a_list_that_is_cut_gives_the_values_before_and_then_an_error(value, chunk, at):
    data = json.dumps(value).encode()
    found = []
    with pytest.raises(ValueError, match=r".+"):
        found.extend(values(io.BytesIO(data[: at % len(data)]).read, chunk=chunk))
    with pytest.raises(ValueError, match="after the list"):
        list(values(io.BytesIO(data + b"]").read, chunk=chunk))
    assert found == value[: len(found)]
    without_end = values(io.BytesIO(data[:-1]).read, chunk=chunk)
    assert [next(without_end) for _ in value[:-1]] == value[:-1]


def test_reading_a_long_list_holds_little_of_it():
    row = json.dumps(CHAT).encode()
    endless = chain([b"["], repeat(row + b", "))
    tracemalloc.start()
    parsed = values(lambda n: b"".join(islice(endless, n // len(row) + 1)), chunk=4096)
    assert sum(len(one["conversations"]) for one in islice(parsed, 20_000)) == 40_000
    assert tracemalloc.get_traced_memory()[1] < 1_000_000  # of two million bytes that went by
    tracemalloc.stop()


@pytest.mark.parametrize(("name", "content", "says"), [
    ("a.json", json.dumps([CHAT, CHAT], indent=1)[:-30], "truncated or invalid"),
    ("a.json", json.dumps([CHAT]) + "}", "more text after the list"),
    ("a.json", "[" * 100_000, "nested too deeply"),
    ("a.json", json.dumps([CHAT, CHAT])[:-30], "truncated or invalid"),
    ("a.json", b"\xff\xfe[]", "truncated or invalid"),
    ("a.json", "", "an empty file"),
    ("a.json", "[]", "an empty file"),
    ("a.json", "3", "expected a JSON list or object"),
    ("a.jsonl", "\n \n", "an empty file"),
    ("a.csv", "a,b", r"the file type '.csv'.*Convert"),
    ("a.parquet", "PAR1 no", "an invalid parquet file"),
    ("a.jsonl.gz", b"not gzip", "unreadable"),
    ("a.jsonl.gz", gzip.compress(json.dumps([CHAT] * 99).encode())[:-20], "unreadable"),
])
def test_a_file_that_cannot_be_read_gives_a_one_line_error(tmp_path, name, content, says):
    with pytest.raises(FlanError, match=says) as error:
        got(write(tmp_path / name, content))
    assert str(error.value).startswith((name, str(tmp_path)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("data", "says"), [
    ("missing.jsonl", "no such file or folder"), ("data/missing.jsonl", "no such file"),
    ("a/b/c", "no such file"), ("none*.jsonl", "no data file"), (".", "no data file"),
])
def test_a_missing_file_is_an_error(tmp_path, monkeypatch, data, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FlanError, match=says):
        got(data)


def test_a_hub_name_reads_its_splits_and_says_what_to_do_offline(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    table = datasets.Dataset.from_list([CHAT])
    asked = []

    def load_dataset(name, config, split):
        asked.append((name, config, split))
        return table if split else datasets.DatasetDict({"os": table, "db": table})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert [where for where, _ in got("owner/name")] == ["owner/name:os[0]", "owner/name:db[0]"]
    assert got("owner/name:default/os") == [("owner/name:os[0]", CHAT)]
    assert asked == [("owner/name", None, None), ("owner/name", "default", "os")]

    def offline(name, config, split):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(FlanError, match=r"owner/name: .*no route.*Offline, give the local path"):
        got("owner/name")


def test_a_local_folder_wins_over_a_hub_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner/name").mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([CHAT]), tmp_path / "owner/name/os.parquet")
    assert got("owner/name") == [("os.parquet[0]", CHAT)]


def test_an_unknown_format_is_refused_before_reading():
    with pytest.raises(FlanError, match="expected one of agentinstruct, toolbench, fireact, glaive, chat"):
        read("missing.jsonl", tally=Tally("t"), format="alpaca")


def test_load_separates_trajectories_from_conversations(tmp_path):
    call = {"messages": [
        {"role": "user", "content": "Time in Oslo?"},
        {"role": "assistant", "content": None, "function_call": {"name": "clock", "arguments": '{"city": "Oslo"}'}},
        {"role": "function", "name": "clock", "content": "12:00"},
        {"role": "assistant", "content": "Noon."}]}
    trajectories, conversations, tally = load(write(tmp_path / "a.json", json.dumps([CHAT, call])))
    assert [t.answer for t in trajectories] == ["Noon."]
    assert [c.turns[1].text for c in conversations] == ["Sencha."]
    assert tally.kept == 2
