"""Tables: what was written comes back row by row, whatever wrote it."""

import csv
import gzip
import io
from contextlib import suppress

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flanlib.records import FlanError
from flanlib.sources import load, tables
from flanlib.sources.files import files, rows
from flanlib.tally import Tally

CHAT = {"conversations": [{"from": "human", "value": "Which tea is green?"}, {"from": "gpt", "value": "Sencha."}]}
MIXED = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [{"text": "Hello"}, 3]}]},
         {"messages": None}]  # fmt: skip


def got(data, tally=None):
    return list(rows(data, tally=tally or Tally("t")))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["parquet", "arrow stream", "arrow file"])
def test_rows_of_a_table_equal_the_rows_written(tmp_path, kind, compressed):
    table, path = pyarrow.Table.from_pylist([CHAT] * 3), tmp_path / f"db.{kind.split()[0]}"
    if kind == "parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        new = pyarrow.ipc.new_stream if kind == "arrow stream" else pyarrow.ipc.new_file
        with new(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    if compressed:
        path.with_suffix(path.suffix + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path = path.with_suffix(path.suffix + ".gz")
    assert got(path) == [(f"{path.name}[{i}]", CHAT) for i in range(3)]


def test_folders_that_datasets_saved_are_read_without_its_descriptions_and_caches(tmp_path):
    table = datasets.Dataset.from_list([CHAT] * 3)
    table.save_to_disk(tmp_path / "one", num_shards=2)
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(tmp_path / "splits")
    datasets.load_from_disk(tmp_path / "one").map(lambda row: row | {"new": 1})
    assert list((tmp_path / "one").glob("cache-*.arrow"))
    shards = [f"data-0000{i}-of-00002.arrow" for i in range(2)]
    for data in (tmp_path / "one", str(tmp_path / "one/*"), str(tmp_path / "one/*.arrow")):
        assert [label for _, label in files(data)] == shards
    assert got(tmp_path / "one") == [(f"{shards[0]}[0]", CHAT), (f"{shards[0]}[1]", CHAT), (f"{shards[1]}[0]", CHAT)]
    assert [where for where, _ in got(tmp_path / "splits")] == [
        f"{split}/data-00000-of-00001.arrow[{i}]" for split in ("test", "train") for i in range(3)]  # fmt: skip


def test_a_shard_that_is_missing_or_cut_is_told(tmp_path):
    datasets.Dataset.from_list([CHAT] * 3000).save_to_disk(tmp_path, num_shards=3)
    first, second, third = sorted(tmp_path.glob("*.arrow"))
    first.unlink()
    with pyarrow.ipc.new_stream(second, pyarrow.ipc.open_stream(third).schema) as writer:
        for batch in pyarrow.Table.from_pylist([CHAT] * 6).to_batches(2):
            writer.write_batch(batch)
    second.write_bytes(second.read_bytes()[:-200])
    *_, tally = load(tmp_path)
    assert list(tally.broken) == [first.name, second.name]
    assert 1000 < tally.kept < 1006
    assert "the last row read is" in tally.broken[second.name]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_values_of_mixed_types_that_datasets_writes_as_json_are_parsed(tmp_path, kind):
    table = datasets.Dataset.from_list(MIXED, on_mixed_types="use_json")
    if kind == "parquet":
        table.to_parquet(tmp_path / "a.parquet")
    else:
        table.save_to_disk(tmp_path)
    assert [row for _, row in got(tmp_path)] == MIXED


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
NAMES = st.lists(CELL, min_size=1, max_size=4, unique=True).filter(lambda names: any(names))


@given(names=NAMES, data=st.data(), delimiter=st.sampled_from(",\t"))
def test_cells_stay_the_text_that_was_written_and_empty_ones_are_none(names, data, delimiter):
    table = data.draw(st.lists(st.lists(CELL, min_size=len(names), max_size=len(names)), max_size=4))
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([names, *table])
    tally = Tally("t")
    found = list(tables.delimited(io.BytesIO(text.getvalue().encode()), "a", tally, delimiter=delimiter))
    assert [row for _, row in found] == [{k: v or None for k, v in zip(names, cells, strict=True)} for cells in table]
    assert not tally.seen


@given(data=st.binary(max_size=60))
def test_any_bytes_give_rows_or_an_error(data):
    tally, found = Tally("t"), []
    with suppress(FlanError):
        found += tables.delimited(io.BytesIO(data), "a.csv", tally)
    assert all(row for _, row in found)
    assert len(found) + tally.seen <= data.count(b"\n") + data.count(b"\r")


def test_rows_of_csv_name_their_first_line_and_ragged_ones_are_counted(tmp_path):
    cell = b"long " * 100_000
    lines = b"\xef\xbb\xbfinstruction,output", b'"Say\nit","[1, ""a""]"', b"", b"alone", b"1,2,3", b"Go," + cell
    (tmp_path / "a.csv").write_bytes(b"\r\n".join(lines))
    (tmp_path / "b.tsv").write_text("instruction\toutput\nGo, now\tGone\n")
    tally = Tally("t")
    assert got(tmp_path, tally) == [("a.csv:2", {"instruction": "Say\nit", "output": '[1, "a"]'}),
                                    ("a.csv:7", {"instruction": "Go", "output": cell.decode()}),
                                    ("b.tsv:2", {"instruction": "Go, now", "output": "Gone"})]  # fmt: skip
    assert tally.dropped == {"not as many cells as the header has": 2}
    assert tally.first["not as many cells as the header has"] == "a.csv:5"
    assert len(load(tmp_path)[1]) == 3


def saved(kind):
    sink, table = io.BytesIO(), pyarrow.Table.from_pylist([CHAT] * 4)
    if kind == "parquet":
        pyarrow.parquet.write_table(table, sink)
    else:
        with (pyarrow.ipc.new_stream if kind == "stream" else pyarrow.ipc.new_file)(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    return sink.getvalue()


SAVED = {kind: saved(kind) for kind in ("parquet", "stream", "file")}


@given(kind=st.sampled_from(sorted(SAVED)), places=st.lists(st.integers(0, 10**6), max_size=3),
       byte=st.integers(0, 255), cut=st.integers(0, 10**6) | st.none())  # fmt: skip
def test_a_damaged_table_gives_rows_or_an_error_and_never_more(kind, places, byte, cut):
    data = bytearray(SAVED[kind])
    for place in places:
        data[place % len(data)] = byte
    file = io.BytesIO(data if cut is None else data[: cut % len(data)])
    with suppress(FlanError):
        found = list((tables.parquet if kind == "parquet" else tables.arrow)(file, "a"))
        assert all(isinstance(row, dict) for _, row in found)
