"""Reading counts every row once, gives every record an id of its own, and tells why a row was not read."""

import json
from collections import Counter
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from flanlib.records import Conversation, say
from flanlib.sources import loading, read
from flanlib.sources.common import Drop, counted
from flanlib.tally import Tally

TURNS = [{"role": "user", "content": "Which tea is green?"}, {"role": "assistant", "content": "Sencha."}]


def chat(id):
    return Conversation(id, "test", (say("user", "Hi"), say("assistant", "Hello", "general", trained=True)))


def written(folder, *rows):
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return folder / "rows.jsonl"


def test_the_rows_of_one_id_get_numbers_which_are_noted(tmp_path):
    ids = ["same", "same", "same-2", "other", "same", 7, "7", None]
    tally = Tally("t")
    records = list(read(written(tmp_path, *({"id": id, "messages": TURNS} for id in ids)), tally=tally))
    assert [one.id for one in records] == ["same", "same-2", "same-2-2", "other", "same-3", "7", "7-2", "rows.jsonl:8"]
    assert tally.noted == {"ids made unique": 4}


@given(rows=st.lists(st.lists(st.sampled_from(["a", "a-2", "a-2-2", "b", "a-3"]), min_size=1, max_size=3), max_size=8))
def test_ids_are_unique_and_the_first_of_an_id_keeps_it(rows):
    def unique():
        tally = Tally("t")
        ids = loading._Ids(tally)
        found = [list(ids.unique([chat(id) for id in row] if len(row) > 1 else chat(row[0]))) for row in rows]
        return [[one.id for one in row] for row in found], tally

    found, tally = unique()
    assert found == unique()[0]
    assert max(Counter(id for row in found for id in row).values(), default=1) == 1
    assert [len(row) for row in found] == [len(row) for row in rows]
    pairs = [pair for row, new in zip(rows, found, strict=True) for pair in zip(row, new, strict=True)]
    assert all(new.startswith(id) for id, new in pairs)
    if not tally.noted:
        assert all(row[0] == news[0] for row, news in zip(rows, found, strict=True))


def test_a_row_of_several_records_counts_once_and_numbers_those_of_one_id(tmp_path, monkeypatch):
    several = SimpleNamespace(matches=lambda row: "n" in row,
                              convert=lambda row, where, note: [chat("one")] * row["n"])  # fmt: skip
    monkeypatch.setitem(loading.FORMATS, "several", several)
    tally = Tally("t")
    records = list(read(written(tmp_path, {"n": 3}, {"n": 0}, {"id": "x", "messages": TURNS}, {"n": 1}), tally=tally))
    assert [one.id for one in records] == ["one", "one-2", "one-3", "x", "one-4"]
    assert (tally.kept, tally.dropped) == (3, {"nothing in the row": 1})
    assert tally.noted == {"ids made unique": 3}


def test_an_unknown_format_tells_some_keys_on_one_line(tmp_path):
    rows = [{"question": "?", "b\nc": 1, "\ud800": 2, "gone": None, "k" * 99: 3}, [1], {},
            dict.fromkeys("zyxwvutsr", 1)]  # fmt: skip
    for row, says in zip(rows, ["with the keys ?, b c, kkkkkkkkkkkkkkkkkkkkkkkkkkkkkk..., question",
                                "with a list that is no turns", "without a key",
                                "with the keys r, s, t, u, v, w and 3 more"], strict=True):  # fmt: skip
        for format, reason in ((None, "no known format"), ("glaive", "not in format glaive")):
            tally = Tally("t")
            assert not list(read(written(tmp_path, row), tally=tally, format=format))
            if isinstance(row, dict) or format:
                assert tally.first == {reason: f"rows.jsonl:1 {says}"}


@given(outcomes=st.lists(st.sampled_from(["keep", "drop", "note", "broken", "empty", "several"])))
def test_kept_and_dropped_are_what_was_seen_and_counts_restore_a_tally(outcomes):
    tally = Tally("t")

    def row(outcome, note):
        if outcome == "drop":
            raise Drop("no turns", "in the row")
        if outcome == "note":
            note("a repair")
        return {"empty": [], "several": [1, 2]}.get(outcome, 1)

    for i, outcome in enumerate(outcomes):
        if outcome == "broken":
            tally.broke(f"{i}.json", "truncated")
        else:
            counted(lambda note, outcome=outcome: row(outcome, note), f"t:{i}", tally)
    n = Counter(outcomes)
    assert tally.seen == tally.kept + tally.dropped.total() == len(outcomes) - n["broken"]
    assert tally.dropped.total() == n["drop"] + n["empty"]
    assert tally.noted["a repair"] == n["note"]
    assert len(tally.broken) == n["broken"]
    assert ("not read to the end" in str(tally)) == bool(n["broken"])
    assert "\n" not in str(tally)
    again = Tally("t", **json.loads(json.dumps(tally.counts())))
    assert str(again) == str(tally)
    assert again.frame().equals(tally.frame())
