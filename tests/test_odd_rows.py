"""Data of unusual kinds: what the notebooks need of it works, at the level of the functions that once failed."""

from dataclasses import replace

import odd_rows
import pytest

from flanlib.corpus.material import material
from flanlib.dialects import parse, render
from flanlib.presets import PRESETS
from flanlib.sources import load

SMOKE = PRESETS["smoke"]


@pytest.mark.parametrize("kind", odd_rows.KINDS)
def test_every_row_is_read_as_it_was_made_and_goes_through_every_form(kind, tmp_path):
    read, _, tally = load(str(odd_rows.write(tmp_path, kind)))
    made = odd_rows.made(kind)
    assert (tally.kept, tally.dropped.total()) == (len(made), 0)
    for one, wanted in zip(read, made, strict=True):
        assert (one.query, one.answer, [vars(step) for step in one.steps]) == (
            wanted.query, wanted.answer, [vars(step) for step in wanted.steps])  # fmt: skip
        for form in ("react", "json", "chat"):
            assert parse(render(one, form), form) == one
    data = material(replace(SMOKE, trajectories=100, heldout=10), str(tmp_path / f"{kind}.jsonl"))
    assert len(data.train) + len(data.heldout) == len(made)
