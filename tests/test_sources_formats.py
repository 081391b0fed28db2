"""Every layout of :mod:`formats` gives what the list says, however it is wrapped, and broken rows never raise."""

import json
from collections import Counter

import formats
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flanlib.sources import read
from flanlib.tally import Tally

ROWS = [(example.name, row) for example in formats.EXAMPLES for row in example.rows]
RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture,
                                                                          HealthCheck.too_slow])  # fmt: skip


@pytest.mark.parametrize("example", formats.EXAMPLES, ids=lambda example: example.name[:40])
def test_a_layout_gives_what_the_list_says(example):
    assert [text for row in example.rows for text in formats.becomes(row)] == list(example.becomes)


def test_the_page_of_formats_is_that_of_the_examples():
    assert formats.PAGE.read_text(encoding="utf-8") == formats.page(), "run: python tests/formats.py"


@RELAXED
@given(chosen=st.lists(st.sampled_from(range(len(ROWS))), min_size=1, max_size=8, unique=True))
def test_any_mixture_of_layouts_gives_the_records_of_each(chosen):
    rows = [ROWS[i][1] for i in chosen]  # each once, because ToolBench's repeated rows are dropped; its rows come last
    records, tally = formats.outcome(rows)
    alone = [text for row in rows for text in formats.becomes(row)]
    assert sorted(formats.shown(r) for r in records) == sorted(t for t in alone if not t.startswith("dropped"))
    assert tally.seen == len(chosen)
    assert len({record.id for record in records}) == len(records)


@RELAXED
@given(row=st.sampled_from([row for _, row in ROWS]), seed=st.randoms(use_true_random=False),
       wrapped=st.sampled_from(["data", "train", None]))
def test_column_order_json_text_and_wrapping_change_nothing(tmp_path, row, seed, wrapped):
    keys = list(row) if isinstance(row, dict) else []
    seed.shuffle(keys)
    texts = {"conversations", "messages", "tools", "chosen", "input", "contents", "functions"}
    as_text = {key for key in keys if key in texts and isinstance(row[key], list) and seed.random() < 0.5}
    other = {key: json.dumps(row[key]) if key in as_text else row[key] for key in keys} if keys else row
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({wrapped: [other]} if wrapped else [other]))
    records = list(read(path, tally=Tally("rows")))
    expected = [text for text in formats.becomes(row) if not text.startswith("dropped")]
    assert [formats.shown(record) for record in records] == expected


@RELAXED
@given(pair=st.lists(st.sampled_from([i for i, (_, row) in enumerate(ROWS) if isinstance(row, dict)]), min_size=2,
                     max_size=2, unique=True))
def test_the_nulls_that_arrow_adds_change_nothing(tmp_path, pair):
    row, other = (ROWS[i][1] for i in pair)
    try:  # rows of two layouts in one table: every struct gets the members of both
        table = pyarrow.Table.from_pylist([dict.fromkeys({**row, **other}) | one for one in (row, other)])
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
        return  # a column of two types is no table
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(table, path)
    tally = Tally("rows")
    records = [formats.shown(record) for record in read(path, tally=tally)]
    expected = formats.becomes(row) + formats.becomes(other)
    assert sorted(records) == sorted(text for text in expected if not text.startswith("dropped"))
    assert tally.seen == 2


JUNK = st.sampled_from([None, True, 0, -1.5, float("inf"), "", " ", "a", "{", "[1]", '{"name": "f"}', "\ud800", [], {},
                        [None], [[]], {"a": None}, "<think>", "Action: x", "<tool_call>", "```bash\nls\n```", "user"])


def mutated(value, draw, depth=0):
    """Change a value at one place: put junk there, leave it out, double it, or go further in."""
    if (depth and draw(st.integers(0, 3)) == 0) or not isinstance(value, (dict, list)) or not value:
        return draw(JUNK)
    key = draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
    changed = value.copy()
    act = draw(st.integers(0, 5))
    if act == 0:
        del changed[key]
    elif act == 1 and isinstance(changed, list):
        changed.insert(key, changed[key])
    elif act == 2 and isinstance(changed, dict):
        changed[draw(st.sampled_from(["role", "content", "tool_calls", "messages", "loss", "type"]))] = draw(JUNK)
    else:
        changed[key] = mutated(value[key], draw, depth + 1)
    return changed


@RELAXED
@given(data=st.data())
def test_mutated_rows_are_counted_once_and_raise_nothing(data):
    rows = [mutated(data.draw(st.sampled_from(ROWS))[1], data.draw) for _ in range(5)]
    records, tally = formats.outcome(rows)
    assert tally.seen == 5
    assert tally.kept <= len(records)
    assert not Counter(record.id for record in records) - Counter({record.id: 1 for record in records})
