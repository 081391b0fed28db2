"""Where things are, and the four sizes at which the kit runs.

``FLAN_PRESET`` picks the size and ``FLAN_DATA`` points at real trajectories; both are read here and nowhere else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from flanlib.records import FlanError

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
FIGURES = ROOT / "figures"
LAB_BASE = DATA / "lab" / "base"


@dataclass(frozen=True)
class Preset:
    """One size of every experiment. Token counts are tokens; lengths are per sequence."""

    name: str
    model: str
    """Folder or hub name of the base model; ``random`` is a tiny untrained model."""
    template: str
    """Name in ``flanlib.templates.TEMPLATES``, or ``own`` for the model's chat template."""
    seeds: tuple[int, ...]
    """One run per seed: LoRA initialisation and order of the rows. Never used while tuning."""
    trajectories: int
    """Trajectories drawn for training (of real data: the most that are used)."""
    heldout: int
    """Trajectories, and plain conversations, that are only measured."""
    trained_tokens: int
    """Budget of one tuning run, in trained tokens; forms are compared at equal budgets."""
    row_tokens: int
    """Length of a packed row, in tokens."""
    rows_per_step: int
    """Packed rows per optimiser step, over all devices."""
    rows_per_pass: int
    """Packed rows per forward pass on one device; the rest of a step is accumulated."""
    learning_rate: float
    """Peak of the cosine schedule."""
    lora_rank: int
    measures: int
    """How often a run stops to measure held-out loss, its start and end included."""
    reply_tokens: int | None = None
    """The most tokens of a reply, where it is not what the longest right one needs."""
    optimizer: str = "adamw_torch_fused"
    """As transformers names it."""
    checkpointing: bool = False
    """Whether the backward pass computes activations again, for far less memory."""


LAB = Preset(
    name="lab", model=str(LAB_BASE), template="agent_flan", seeds=(0, 1, 2), trajectories=400, heldout=48,
    trained_tokens=30_000, row_tokens=1024, rows_per_step=1, rows_per_pass=1, learning_rate=3.5e-3, lora_rank=16,
    measures=8,
)  # fmt: skip
PRESETS = {
    "smoke": replace(LAB, name="smoke", model="random", seeds=(0, 1), trajectories=12, heldout=3, trained_tokens=800,
                     rows_per_step=2, rows_per_pass=2, lora_rank=4, measures=2, reply_tokens=16),
    "lab": LAB,
    # 24 GB: NF4, LoRA on all linear layers, a paged 8-bit optimizer; the paper's peak rate is for full fine-tuning.
    "consumer": Preset(name="consumer", model="meta-llama/Llama-2-7b-chat-hf", template="llama2_chat", seeds=(0,),
                       trajectories=24_703, heldout=500, trained_tokens=18_100_000, row_tokens=4096, rows_per_step=32,
                       rows_per_pass=2, learning_rate=2e-4, lora_rank=64, measures=10,
                       optimizer="paged_adamw_8bit", checkpointing=True),
    # Appendix A and B: 8,192 tokens, batches of 32, 2e-5.
    "paper": Preset(name="paper", model="meta-llama/Llama-2-7b-hf", template="agent_flan", seeds=(0,),
                    trajectories=24_703, heldout=500, trained_tokens=18_100_000, row_tokens=8192, rows_per_step=32,
                    rows_per_pass=1, learning_rate=2e-5, lora_rank=64, measures=10, checkpointing=True),
}  # fmt: skip


def preset() -> Preset:
    """Return the preset that ``FLAN_PRESET`` names (default ``lab``). Raises FlanError for any other name."""
    name = os.environ.get("FLAN_PRESET") or "lab"
    if name not in PRESETS:
        raise FlanError("FLAN_PRESET", found=repr(name), expected=f"one of {', '.join(PRESETS)}",
                        remedy="Set it to one of them, or unset it for lab.")
    return PRESETS[name]


def data_source() -> str | None:
    """Return the real trajectories that ``FLAN_DATA`` names (path, glob, folder, hub name), or None for the lab's."""
    return os.environ.get("FLAN_DATA") or None


def output() -> Path:
    """Return the folder for figures: ``figures/``, one beside it for real data, or a scratch folder under smoke."""
    folder = FIGURES / "smoke" if preset().name == "smoke" else FIGURES
    data = data_source()
    return folder / source_name(data) if data else folder


def source_name(data: str) -> str:
    """Name a data source for people: the last part of its path without suffixes or wildcards.

    >>> source_name("fireact/gpt_format/multitask.jsonl"), source_name("toolbench/answer/*/*.json")
    ('multitask', 'answer')
    """
    parts = [part for part in Path(data).parts if not set(part) & set("*?[")]
    return (parts[-1].split(".")[0] if parts else "") or "data"
