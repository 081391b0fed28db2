"""How fast a model trains on this machine, measured before its runs: one row, forward and backward, twice."""

import time
from functools import lru_cache

import numpy as np
import torch

from flanlib.presets import Preset
from flanlib.records import KINDS
from flanlib.text.packing import Row
from flanlib.text.tokens import CONTEXT
from flanlib.training.loss import collate, token_losses
from flanlib.training.memory import chosen, until_exhausted
from flanlib.training.model import add_lora, autocast, load
from flanlib.training.passes import arrange

DOCUMENT = 256
"""Tokens of a conversation in the row. Every second token is trained."""


@lru_cache(maxsize=8)
def seconds_per_token(preset: Preset) -> float | None:
    """Return the seconds in which a preset's model trains on a token of a packed row; None if a row does not fit.

    The first pass is not timed: it fills caches and chooses kernels. It is measured once in a process.
    """
    way = chosen(preset)  # before the model takes its memory
    model, taken = add_lora(load(preset.model, bits=preset.bits), rank=preset.lora_rank, seed=0), None
    arrange(model, way)
    batch = {name: part.to(model.device) for name, part in collate([_row(preset.row_tokens)]).items()}
    with until_exhausted():
        for _ in range(2):
            start = time.perf_counter()
            with autocast(model.device):
                nats = token_losses(model, batch).sum()
            nats.backward()
            if model.device.type == "cuda":
                torch.cuda.synchronize(model.device)
            taken = (time.perf_counter() - start) / preset.row_tokens
    return taken


def _row(tokens: int) -> Row:
    """Make a row of conversations; what its tokens say does not matter."""
    places = np.arange(tokens)
    lengths = tuple(min(DOCUMENT, tokens - start) for start in range(0, tokens, DOCUMENT))
    kinds = np.where(places % 2, len(KINDS) - 1, CONTEXT)
    return Row(places % 97, places % DOCUMENT, kinds, np.ones(tokens, dtype=int), lengths)
