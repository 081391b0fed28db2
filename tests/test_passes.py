"""Passes: whatever is kept, computed again or put aside, gradients are the same, and a step has its rows."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from made import llama
from torch.autograd.graph import save_on_cpu
from transformers import modeling_utils

from flanlib.records import FlanError
from flanlib.training.model import add_lora
from flanlib.training.passes import Pass, arrange, asked, smaller
from flanlib.training.train import Schedule

SCHEDULE = Schedule(rows_per_step=12, rows_per_pass=8, rate=1e-3, seed=0, checkpointing=True)
LAYERS = 4


def step(model):
    """The gradients of a step, and how often each layer computed its attention again."""
    calls = []
    hooks = [layer.self_attn.register_forward_pre_hook(lambda module, _: calls.append(module.layer_idx))
             for layer in model.get_base_model().model.layers]  # fmt: skip
    ids = torch.arange(40)[None] * 7 % 96
    model.zero_grad()
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    for hook in hooks:
        hook.remove()
    gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
    return gradients, [calls.count(layer) - 1 for layer in range(LAYERS)]


def test_gradients_are_the_same_and_only_layers_that_are_not_kept_compute_again():
    model = add_lora(llama(96, layers=LAYERS), rank=4, seed=0)
    expected, again = step(model)
    assert again == [0, 0, 0, 0]
    for kept, layers in ((0, [1, 1, 1, 1]), (1, [1, 1, 1, 0]), (3, [1, 0, 0, 0]), (None, [0, 0, 0, 0])):
        arrange(model, Pass(1, kept))
        gradients, again = step(model)
        assert torch.equal(gradients, expected)
        assert again == layers


def test_inputs_that_wait_in_the_cpus_memory_come_back_as_they_were(monkeypatch):
    moved = []

    class Aside(save_on_cpu):
        def __init__(self, **_):
            super().__init__(pin_memory=False)  # without a card there is no pinned memory
            pack = self.pack_hook
            self.pack_hook = lambda tensor: (moved.append(tuple(tensor.shape)), pack(tensor))[1]

    monkeypatch.setattr(modeling_utils, "save_on_cpu", Aside)
    model = add_lora(llama(96, layers=LAYERS), rank=4, seed=0)
    expected, _ = step(model)
    arrange(model, Pass(1, 0, offload=True))
    gradients, again = step(model)
    assert torch.equal(gradients, expected)
    assert again == [1] * LAYERS
    assert [shape for shape in moved if 0 not in shape] == [(1, 40, 64)] * LAYERS


def test_passes_of_equal_size_make_up_a_step(monkeypatch):
    assert asked(SCHEDULE) == Pass(6, 0)
    assert asked(replace(SCHEDULE, rows_per_pass=99, checkpointing=False)) == Pass(12)
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert asked(SCHEDULE) == Pass(4, 0)
    monkeypatch.setenv("WORLD_SIZE", "5")
    with pytest.raises(FlanError, match="12 rows in a step for 5 processes"):
        asked(SCHEDULE)


@pytest.mark.parametrize(("start", "size", "offload", "then"), [
    (Pass(6), replace(SCHEDULE, checkpointing=False), True, [Pass(4), Pass(3), Pass(2), Pass(1)]),
    (Pass(4, 3), SCHEDULE, False, [Pass(4, 0), Pass(3, 0), Pass(2, 0), Pass(1, 0)]),
    (Pass(2), SCHEDULE, True, [Pass(2, 0), Pass(1, 0), Pass(1, 0, offload=True)])])  # fmt: skip
def test_out_of_memory_passes_get_smaller_step_by_step_until_nothing_is_left(start, size, offload, then):
    found, less = [], partial(smaller, size=size, offload=offload)
    way = less(start)
    while way:
        found.append(way)
        way = less(way)
    assert found == then
