import gzip
import io
import json
import re
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
from flanlib.sources.files import rows
from flanlib.sources.parsing import values
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
    ("a.ndjson", json.dumps(CHAT), ["a.ndjson:1"]),
    ("a.json", "\n" + json.dumps(CHAT) + "\n" + json.dumps(CHAT), ["a.json:2", "a.json:3"]),
    ("a.json", json.dumps({"version": "1.0", "data": [CHAT, CHAT]}), ["a.json[data][0]", "a.json[data][1]"]),
    ("a.json", json.dumps({"type": "text", "instances": [CHAT]}), ["a.json[instances][0]"]),
    ("a.json", json.dumps({"train": [CHAT], "test_sft": [CHAT], "dev": []}),
     ["a.json[train][0]", "a.json[test_sft][0]"]),
    ("a.json", json.dumps({"rows": [{"row_idx": 0, "row": CHAT, "truncated_cells": []}], "num_rows_total": 1}),
     ["a.json[rows][0]"]),
    ("a.jsonl", json.dumps({"row": CHAT}), ["a.jsonl:1"]),
])
def test_every_layout_gives_rows_that_name_their_place(tmp_path, name, text, wheres):
    assert got(write(tmp_path / name, text)) == [(where, CHAT) for where in wheres]


def test_line_separators_inside_strings_do_not_end_a_row(tmp_path):
    row = {"messages": [{"role": "user", "content": "a\u2028b\x85c"}]}
    assert got(write(tmp_path / "a.jsonl", json.dumps(row, ensure_ascii=False))) == [("a.jsonl:1", row)]


def test_folders_are_read_recursively_in_order_and_globs_select(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("z.jsonl", "b/a.jsonl", "readme.md"):
        write(tmp_path / name, json.dumps(CHAT))
    assert [where for where, _ in got(tmp_path)] == ["b/a.jsonl:1", "z.jsonl:1"]
    assert [where for where, _ in got(str(tmp_path / "*"))] == ["z.jsonl:1"]


def test_a_glob_over_folders_tells_files_of_one_name_apart(tmp_path):
    for name in ("b/a.jsonl", "c/a.jsonl"):
        (tmp_path / name).parent.mkdir()
        write(tmp_path / name, json.dumps(CHAT))
    assert [where for where, _ in got(str(tmp_path / "*/*.jsonl"))] == ["b/a.jsonl:1", "c/a.jsonl:1"]


def test_an_object_of_turns_or_with_the_keys_of_a_row_is_no_wrapper(tmp_path):
    turns = CHAT["conversations"]
    assert got(write(tmp_path / "a.json", json.dumps({"data": turns}))) == [("a.json[data]", turns)]
    row = {"prompt": turns[:1], "completion": turns[1:], "data": [{}]}
    assert got(write(tmp_path / "a.json", json.dumps(row))) == [("a.json", row)]


def test_what_lies_beside_wrapped_rows_is_noted_and_cut_cells_are_dropped(tmp_path):
    tally = Tally("t")
    page = {"features": [{"name": "x"}], "rows": [{"row": CHAT, "truncated_cells": ["conversations"]}], "partial": True}
    assert list(rows(write(tmp_path / "a.json", json.dumps(page)), tally=tally)) == []
    assert tally.dropped == {"cells cut by the hub's viewer": 1}
    assert tally.noted == {"other keys beside the rows of a file left out": 1}


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


@given(value=st.lists(JSON, max_size=4), chunk=st.integers(1, 40), at=st.integers(0, 10**6),
       indent=st.sampled_from([None, 1]))  # fmt: skip
def test_a_list_that_is_cut_gives_the_values_before_and_then_the_position_in_the_file(value, chunk, at, indent):
    data = json.dumps(value, indent=indent).encode()
    cut, found = data[: at % len(data)], []
    with pytest.raises(ValueError, match=r".+") as error:
        found.extend(values(io.BytesIO(cut).read, chunk=chunk))
    with pytest.raises(ValueError, match="after the list"):
        list(values(io.BytesIO(data + b"]").read, chunk=chunk))
    assert found == value[: len(found)]
    if cut:
        assert str(error.value).split(": ")[1] == position(cut)
    without_end = values(io.BytesIO(data[:-1]).read, chunk=chunk)
    assert [next(without_end) for _ in value[:-1]] == value[:-1]


def position(data):
    with pytest.raises(json.JSONDecodeError) as error:
        json.loads(data)
    return str(error.value).split(": ")[1]


@given(wrong=st.sampled_from(["{,}", "tru", "1 2", '"a\nb"', '{"a" 1}', "]", '"\\x"', "'a'"]), before=st.integers(0, 3),
       after=st.integers(0, 40), chunk=st.integers(1, 40))  # fmt: skip
def test_an_error_in_a_list_comes_after_the_values_before_it_with_its_position(wrong, before, after, chunk):
    data = ("[" + '{"a": "\u00e9"},\n ' * before + wrong + ", 3" * after + "]").encode()
    found = []
    with pytest.raises(ValueError, match=r".+") as error:
        found.extend(values(io.BytesIO(data).read, chunk=chunk))
    assert found[:before] == [{"a": "\u00e9"}] * before
    assert len(found) <= before + 1
    if wrong != "]" or before:  # where Python versions and we agree
        assert str(error.value).split(": ")[1] == position(data)


def test_an_error_early_in_a_long_list_is_told_without_reading_it_all():
    rest = [b'[{"a": 1}, {"a": nul}, ']
    with pytest.raises(ValueError, match=r"expecting value: line 1 column 18 \(char 17\)"):
        list(values(lambda n: rest.pop() if rest else b'{"a": 1}, ' * (n // 10 + 1), chunk=64))


def test_reading_a_long_list_holds_little_of_it():
    row = json.dumps(CHAT).encode()
    endless = chain([b"["], repeat(row + b", "))
    tracemalloc.start()
    parsed = values(lambda n: b"".join(islice(endless, n // len(row) + 1)), chunk=4096)
    assert sum(len(one["conversations"]) for one in islice(parsed, 20_000)) == 40_000
    assert tracemalloc.get_traced_memory()[1] < 1_000_000  # of two million bytes that went by
    tracemalloc.stop()


WHOLE, LIST = json.dumps(CHAT), json.dumps([CHAT, CHAT])


@pytest.mark.parametrize(("name", "content", "says"), [
    ("a.json", LIST[:100], r"truncated or invalid JSON, unterminated string starting at: line 1 column 97 "),
    ("a.json", "[" * 100_000, "nested too deeply"),
    ("a.json", json.dumps({"data": [CHAT]})[:-9], r"truncated or invalid JSON, .*line 1 column \d+ \(char 1\d\d\)"),
    ("a.json", b"\xff\xfe[\0]\0", "found UTF-16 text; expected UTF-8. Convert it: iconv -f UTF-16 -t UTF-8"),
    ("a.csv", "a,b".encode("utf-16-le"), "found UTF-16 text"),
    ("a.json", b"[\xe9]", r"bytes that are not UTF-8: line 1 column 2 \(char 1\)"),
    ("a.json", "", "an empty file"),
    ("a.json", "[]", "an empty file"),
    ("a.json", "{}", "an empty file"),
    ("a.json", '{"data": []}', "an empty file"),
    ("a.json", "3", "expected a JSON list or object"),
    ("a.jsonl", "\n \n", "an empty file"),
    ("a.txt", "a,b", r"the file type '.txt'.*Convert"),
    ("a.csv", "a,b\n", "an empty file"),
    ("a.csv", "a,a\n1,2", "the column 'a' twice"),
    ("a.parquet", "PAR1 no", "an invalid parquet file"),
    ("a.arrow", "no", "an invalid Arrow file"),
    ("a.arrow", "ARROW1 no", "an invalid Arrow file"),
    ("a.jsonl.gz", b"not gzip", "unreadable"),
    ("a.json.gz", gzip.compress(b"{" + b" " * 999, mtime=0)[:-9], "unreadable"),
])
def test_a_file_without_any_row_gives_a_one_line_error(tmp_path, name, content, says):
    with pytest.raises(FlanError, match=says) as error:
        got(write(tmp_path / name, content))
    assert str(error.value).startswith((name, str(tmp_path)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "content", "kept", "says"), [
    ("a.json", LIST[:-30], 1, r"expecting value: line 1 column \d+ .*, the last row read is a.json\[0\]"),
    ("a.json", json.dumps([CHAT, CHAT], indent=1)[:-30], 1, r"starting at: line 22 column 5 \(char 272\), the last"),
    ("a.json", LIST[:-1], 2, r"expecting ',' delimiter: .*a.json\[1\]"),
    ("a.json", LIST[:-1] + ",]", 2, r"expecting value: line 1"),
    ("a.json", LIST + "}", 2, r"more text after the list: line 1 column \d+"),
    ("a.json", LIST[:-1].encode() + b', "\xe9"]', 2, "bytes that are not UTF-8: line 1"),
    ("a.json.gz", gzip.compress(LIST.encode(), mtime=0)[:-8], 2, "an unreadable file .*end-of-stream"),
    ("a.json.gz", gzip.compress(f"{WHOLE}\n{WHOLE}\n".encode(), mtime=0)[:-8], 2, "an unreadable file .*end-of-stream"),
    ("a.jsonl.gz", gzip.compress(f"{WHOLE}\n{WHOLE}\n".encode(), mtime=0)[:-8] + bytes(8), 2,
     "an unreadable file .*CRC"),
    ("a.csv", "a,b\n1,2\n\"3,4", 1, "an invalid table .after line 3: unexpected end of data"),
    ("a.csv", b"a,b\n1,2\n\xe9,4", 1, "after line 2: bytes that are not UTF-8"),
])
def test_a_broken_file_costs_the_rows_from_its_error_on(tmp_path, name, content, kept, says):
    tally = Tally("t")
    assert len(list(rows(write(tmp_path / name, content), tally=tally))) == kept
    (error,) = tally.broken.values()
    assert re.search(says, error)
    assert f"; not read to the end: {name} ({error})" in str(tally)
    assert tally.frame().iloc[-1].tolist() == [f"not read to the end: {error}", 1, name]


def test_one_broken_file_in_a_folder_costs_that_file_only(tmp_path):
    for name, text in {"a.json": LIST[:100], "b.json": LIST[:-9], "c.jsonl": WHOLE, "d.csv": "", "f.json": "3"}.items():
        write(tmp_path / name, text)
    (tmp_path / "e.json").symlink_to(tmp_path / "gone.json")
    *_, tally = load(tmp_path)
    assert (tally.kept, tally.seen) == (2, 2)
    assert set(tally.broken) == {"a.json", "b.json", "d.csv", "e.json", "f.json"}
    assert str(tally).endswith("), 2 more files")
    for name in ("b.json", "c.jsonl"):
        (tmp_path / name).unlink()
    with pytest.raises(FlanError, match=r"a\.json: found truncated .*and 3 other broken files; expected"):
        load(tmp_path)


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
