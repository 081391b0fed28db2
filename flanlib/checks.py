"""Check the settings before the first notebook starts: the data, the model, and whether its template labels the data.

No weights are loaded. What only a run can tell, such as the memory of a GPU, its notebook still checks itself.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from flanlib import pretrained, sources
from flanlib.corpus.material import too_few
from flanlib.dialects import render_all
from flanlib.lab import tasks
from flanlib.presets import RANDOM, SMOLLM2, Preset, by_model, setting, source_name
from flanlib.records import Trajectory
from flanlib.tally import Tally
from flanlib.text.templates import AnyTemplate, get_template
from flanlib.text.tokens import check_lost, encode_all, load_tokenizer

SAMPLE = 20
"""Trajectories that are read and tokenised to see whether the rest can be."""
UNLIMITED = 1 << 20  # tokens: how long rows may be is decided later


def check(size: Preset) -> None:
    """Check the settings of a run, and fetch the default model if it is used.

    Raises FlanError for a path without data, for data without agent rows (it tells the keys that were found), for a
    model that is not there, is no causal LM or is too large for a machine without a GPU, and for a template that fits
    the model not at all, or none of the first rows.
    """
    data = setting("DATA")
    rows = _first(data) if data else tasks.trajectories(SAMPLE, rng=np.random.default_rng(0))
    for one in by_model(size) if setting("MODEL") else [size]:
        built_in, folder = one.model in (SMOLLM2, RANDOM), pretrained.folder(one.model)
        if not built_in or data or setting("TEMPLATE"):
            tokenizer = load_tokenizer(folder)
            _labels(rows, tokenizer, get_template(one.template, tokenizer))
        if not built_in:
            _loads(one, tokenizer)


def _labels(rows: Sequence[Trajectory], tokenizer: Any, template: AnyTemplate) -> None:
    for form in ("react", "chat"):
        tally = Tally(form)
        if not encode_all(render_all(rows, form), tokenizer, template, max_tokens=UNLIMITED, tally=tally):
            check_lost(form, tally.dropped, len(rows))


def _loads(size: Preset, tokenizer: Any) -> None:
    from flanlib.training import model

    model.check_ids(size.model, tokenizer)
    if model.device() == model.CPU:
        model.check_room(size.model, size.bits)


def _first(data: str) -> list[Trajectory]:
    """Read the first trajectories. Raises FlanError if the data has not two requests."""
    tally = Tally(source_name(data))
    rows = list(islice((row for row in sources.read(data, tally=tally) if isinstance(row, Trajectory)), SAMPLE))
    if len(rows) < SAMPLE and (error := too_few(data, rows, tally)):
        raise error
    return rows
