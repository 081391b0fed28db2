"""Small models share a GPU, as many as fit; a large one has it for itself."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig

from flanlib.experiments import judging, tuning, workers
from flanlib.inference import generate
from flanlib.presets import PRESETS
from flanlib.training import memory, rate, sharing
from flanlib.training.model import outline

SMALL = replace(PRESETS["smoke"], trained_tokens=5000)


@given(st.integers(1, 40), st.integers(1, 128), st.floats(0, 200e9), st.floats(1e8, 100e9))
def test_processes_fit_together_and_each_has_cores(jobs, cores, free, each):
    count = sharing.processes(jobs, cores, free, each)
    assert 1 <= count <= jobs
    assert count == 1 or (count * each <= memory.HEADROOM * free and sharing.CORES * count <= cores)
    assert sharing.processes(jobs, cores, free, math.inf) == 1


@pytest.fixture
def card(monkeypatch):
    """Make believe that there is a GPU of 24 GB, and that the machine has 16 cores."""
    for part in (workers, sharing, generate):
        monkeypatch.setattr(part, "device", lambda: torch.device("cuda", 0))
    monkeypatch.setattr(sharing, "free_for_others", lambda: 20e9)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (20e9, 24e9))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)


def runs(preset, n):
    return [tuning._Job("chat", [], [], preset, seed, shipped=False) for seed in range(n)]


@pytest.mark.usefixtures("card")
def test_runs_of_a_small_model_share_a_gpu_and_those_of_a_large_one_do_not(tmp_path, monkeypatch):
    assert workers._processes(runs(SMALL, 5)) == (5, pytest.approx((4e9 - memory.WORKSPACE) / 24e9))
    assert workers._processes(runs(SMALL, 20))[0] == sharing.MOST
    assert workers._processes(runs(replace(SMALL, trained_tokens=500), 5))[0] == 1  # not worth a process
    LlamaConfig().save_pretrained(tmp_path)  # the shape of Llama-2-7B
    monkeypatch.setattr(tuning, "model_key", lambda preset: {})
    assert workers._processes(runs(replace(SMALL, model=str(tmp_path)), 5))[0] == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert workers._processes(runs(SMALL, 5)) == (1, None)


@pytest.mark.usefixtures("card")
def test_as_many_run_at_once_as_their_plans_allow():
    wide = replace(SMALL, row_tokens=120_000, rows_per_pass=2)
    planned = memory.plan(wide).sum()
    assert runs(wide, 1)[0].takes() == pytest.approx(planned)
    assert workers._processes(runs(wide, 20))[0] == int(0.95 * 20e9 // planned) > 1
    model = outline(SMALL.model)
    trial = judging._Job(judging.Trial("general", "chat", "x", (), decoding=generate.Decoding(80)), None, SMALL)
    batch = generate.ENOUGH * memory.scoring_bytes(model, 80)
    assert trial.takes() == 2 * sum(weight.numel() for weight in model.parameters()) + batch + memory.WORKSPACE


def test_how_fast_a_model_trains_is_measured_once(monkeypatch):
    loads, real = [], rate.load
    monkeypatch.setattr(rate, "load", lambda *args, **kwargs: loads.append(args) or real(*args, **kwargs))
    preset = replace(SMALL, row_tokens=700, checkpointing=True)
    assert 0 < rate.seconds_per_token(preset) < 1
    assert rate.seconds_per_token(preset) == rate.seconds_per_token(preset)
    assert len(loads) == 1
    row = rate._row(700)
    assert (sum(row.lengths), row.positions.max()) == (700, rate.DOCUMENT - 1)
