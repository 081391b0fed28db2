"""Where things are, the sizes at which the kit runs, and the settings that change them from outside.

A setting has one name everywhere: ``make figures SEEDS=0``, ``FLAN_SEEDS=0`` in the environment, and ``SEEDS = "0"`` in
a notebook's first cell. The environment is read here and nowhere else.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flanlib.records import FlanError

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
FIGURES = ROOT / "figures"
SMOLLM2, RANDOM = "smollm2", "random"  # the default model, and a tiny untrained one; see flanlib.models
AUTO = "auto"  # the template that a model brings, or agent_flan where it brings none
TEMPLATE_NAMES = ("own", "agent_flan", "llama2_chat", AUTO)  # what TEMPLATE may say; flanlib.templates has them
# Peak learning rate for a model that no preset was tuned for: QLoRA's own for 7B (2305.14314, table 9).
RATE = 2e-4


@dataclass(frozen=True)
class Preset:
    """One size of every experiment. Token counts are tokens; lengths are per sequence."""

    name: str
    model: str  # what flanlib.models.folder knows: smollm2, random, a folder, or a name on the hub
    template: str  # a name in flanlib.templates.TEMPLATES, own for the model's chat template, or auto
    seeds: tuple[int, ...]  # a run each: LoRA initialisation and order of the rows; never used while tuning
    trajectories: int  # drawn for training (of real data: the most that are used)
    heldout: int  # tasks of each split to judge a model on, and held-out trajectories that are only measured
    free: int  # of these, the tasks on which a model also writes freely: ten times the cost of reading
    watched: int  # of these, the tasks that are measured again and again while a model trains
    trained_tokens: int  # budget of one tuning run; forms are compared at equal budgets
    measure_at: tuple[int, ...]  # trained tokens after which a run stops to measure, beside its start and its end
    row_tokens: int  # length of a packed row
    rows_per_step: int  # packed rows per optimiser step, over all devices
    rows_per_pass: int  # packed rows per forward pass on one device; the rest of a step is accumulated
    learning_rate: float  # peak of the cosine schedule
    lora_rank: int
    own_tokens: int  # budget of one run on data of one's own (notebook 05), in trained tokens
    bits: int = 4  # of a base weight while training: 4 is NF4 with double quantisation, 16 leaves weights as they come
    reply_tokens: int | None = None  # the most tokens of a reply, where it is not what the longest right one needs
    optimizer: str = "adamw_torch_fused"  # as transformers names it
    checkpointing: bool = False  # whether the backward pass computes activations again, for far less memory


LAPTOP = Preset(
    name="laptop", model=SMOLLM2, template="own", seeds=(0, 1, 2, 3, 4), trajectories=1200, heldout=200, free=32,
    watched=16, trained_tokens=20_000, measure_at=(500, 1000, 2000, 4000, 8000), row_tokens=704, rows_per_step=1,
    rows_per_pass=1, learning_rate=2e-3, lora_rank=32, own_tokens=4_000, bits=16,
)  # fmt: skip
SMOKE = replace(
    LAPTOP, name="smoke", model=RANDOM, seeds=(0, 1), trajectories=12, heldout=3, free=3, watched=2, trained_tokens=800,
    measure_at=(400,), rows_per_step=2, rows_per_pass=2, lora_rank=4, own_tokens=800, reply_tokens=16,
)  # fmt: skip
# Appendix A and B: 8,192 tokens, batches of 32, 2e-5.
PAPER = Preset(
    name="paper", model="meta-llama/Llama-2-7b-hf", template="agent_flan", seeds=(0,), trajectories=24_703, heldout=500,
    free=200, watched=100, trained_tokens=18_100_000, measure_at=(100_000, 1_000_000, 4_000_000), row_tokens=8192,
    rows_per_step=32, rows_per_pass=1, learning_rate=2e-5, lora_rank=64, own_tokens=18_100_000, checkpointing=True,
)  # fmt: skip
# 24 GB: NF4, LoRA on all linear layers, a paged 8-bit optimizer; the paper's peak rate is for full fine-tuning.
CONSUMER = replace(PAPER, name="consumer", model="meta-llama/Llama-2-7b-chat-hf", template="llama2_chat",
                   row_tokens=4096, rows_per_pass=2, learning_rate=RATE, optimizer="paged_adamw_8bit")  # fmt: skip
PRESETS = {size.name: size for size in (SMOKE, LAPTOP, CONSUMER, PAPER)}

# What may be set from outside, and what is expected of it. ONLY, which notebooks to run, belongs to the runner.
SETTINGS = {
    "PRESET": f"one of {', '.join(PRESETS)}",
    "MODEL": "smollm2, a folder, or a name on the hub",
    "TEMPLATE": f"one of {', '.join(TEMPLATE_NAMES)}",
    "DATA": "trajectories: a path, a glob, a folder or a name on the hub",
    "SEEDS": "whole numbers with commas, such as 0,1,2",
    "TOKENS": "trained tokens of a run, a whole number of 1 or more",
    "RATE": "the peak learning rate, such as 2e-4",
    "HELDOUT": "tasks to judge a model on, a whole number of 1 or more",
    "FRESH": "1 to look at no shipped result, 0 to use them",
}
# Names in the environment that begin alike and are no setting of an experiment.
ELSEWHERE = ("FLAN_REAL_DATA", "FLAN_ONLY", "FLAN_READ_LOG")
# What a first cell put into this process's environment, and what stood there before.
_CHOSEN: dict[str, tuple[str, str]] = {}


def setting(name: str) -> str:
    """Return what the environment says of a setting, empty for nothing. Raises FlanError where it says a strange name.

    >>> setting("TEMPLATE") in ("", "own", "auto", "agent_flan", "llama2_chat")
    True
    """
    known = {*ELSEWHERE, *(f"FLAN_{known}" for known in SETTINGS)}
    if strange := sorted(key for key in os.environ if key.startswith("FLAN_") and key not in known):
        raise FlanError("settings", found=f"{strange[0]} in the environment",
                        expected=", ".join(f"FLAN_{known}" for known in SETTINGS), remedy="Correct or unset it.")
    return os.environ.get(f"FLAN_{name}", "").strip()


def choose(given: Mapping[str, Any]) -> Preset:
    """Take the settings of a notebook's first cell and return the preset that follows from them.

    ``given`` are a notebook's variables; those in capitals are settings, and an empty one leaves what the environment
    says. From here on they stand there too, for processes that are started; run again, the cell takes back what it
    said. Raises FlanError for a name in capitals that is no setting, and as :func:`preset` does.
    """
    for name, (text, before) in _CHOSEN.items():
        if os.environ.get(name) == text:
            os.environ[name] = before
    _CHOSEN.clear()
    for name, value in given.items():
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
            continue
        if name not in SETTINGS:
            raise FlanError("first cell", found=f"{name} = {value!r}", expected=f"settings: {', '.join(SETTINGS)}",
                            remedy="Correct the name.")  # fmt: skip
        parts = value if isinstance(value, (tuple, list)) else [int(value) if isinstance(value, bool) else value]
        if text := ",".join(str(part) for part in parts if part is not None).strip():
            _CHOSEN[f"FLAN_{name}"] = text, os.environ.get(f"FLAN_{name}", "")
            os.environ[f"FLAN_{name}"] = text
    return preset()


def preset() -> Preset:
    """Return the preset that ``PRESET`` names (default ``laptop``), with what other settings change of it.

    A model that is not the preset's own takes its own template and the rate of QLoRA, unless they are set. Raises
    FlanError for a setting that is unknown or cannot be read.
    """
    name = setting("PRESET") or "laptop"
    if name not in PRESETS:
        raise _unreadable("PRESET", name)
    made = PRESETS[name]
    if (model := setting("MODEL")) and model != made.model:
        made = replace(made, model=model, template=AUTO, learning_rate=RATE)
    if template := setting("TEMPLATE"):
        if template not in TEMPLATE_NAMES:
            raise _unreadable("TEMPLATE", template)
        made = replace(made, template=template)
    if text := setting("SEEDS"):
        seeds = [_number("SEEDS", part, int, above=-1) for part in text.split(",")]
        made = replace(made, seeds=tuple(dict.fromkeys(seeds)))  # the same run twice is no second run
    if text := setting("TOKENS"):
        made = replace(made, trained_tokens=_number("TOKENS", text, int))
    if text := setting("RATE"):
        made = replace(made, learning_rate=_number("RATE", text, float))
    if text := setting("HELDOUT"):
        made = replace(made, heldout=(most := _number("HELDOUT", text, int)), free=min(made.free, most),
                       watched=min(made.watched, most))  # fmt: skip
    fresh()  # so that it too is refused before anything runs
    return made


def own(made: Preset) -> Preset:
    """Fit a preset to a single run on data of one's own: its budget, and one seed, unless these are set."""
    return replace(made, trained_tokens=made.trained_tokens if setting("TOKENS") else made.own_tokens,
                   seeds=made.seeds if setting("SEEDS") else made.seeds[:1])  # fmt: skip


def example() -> str:
    """Return what ``DATA`` names, or the example file that ships with the kit."""
    return setting("DATA") or str(DATA / "example" / "trajectories.jsonl")


def fresh() -> bool:
    """Tell whether shipped results are to be left alone. Raises FlanError for anything but 0 and 1."""
    text = setting("FRESH") or "0"
    if text not in ("0", "1"):
        raise _unreadable("FRESH", text)
    return text == "1"


def output() -> Path:
    """Return the folder for figures: ``figures/`` for the untouched default, else one beside it, named by what is set.

    So nothing but the default ever writes over what is committed.
    """
    said = {name: setting(name) for name in SETTINGS}
    named = {"FRESH": "fresh", "PRESET": said["PRESET"]} | {name: source_name(said[name]) for name in ("MODEL", "DATA")}
    idle = {"FRESH": "0", "PRESET": "laptop", "MODEL": PRESETS.get(said["PRESET"], LAPTOP).model}
    parts = [named.get(name, f"{name.lower()}-{re.sub('[^0-9A-Za-z.-]+', '-', text)}")
             for name, text in said.items() if text not in ("", idle.get(name))]  # fmt: skip
    return FIGURES / "-".join(parts)


def source_name(data: str) -> str:
    """Name a data source or a model for people: the last part of its path without suffixes or wildcards.

    >>> source_name("fireact/gpt_format/multitask.jsonl"), source_name("toolbench/answer/*/*.json")
    ('multitask', 'answer')
    """
    parts = [part for part in Path(data).parts if not set(part) & set("*?[") and part.strip("./")]
    return (parts[-1].split(".json")[0].split(".parquet")[0] if parts else "") or "data"


def _number(name: str, text: str, kind: type, *, above: int = 0) -> Any:
    try:
        value = kind(text.strip().replace("_", ""))
    except ValueError:
        raise _unreadable(name, text) from None
    if not above < value < math.inf:  # nor NaN
        raise _unreadable(name, text)
    return value


def _unreadable(name: str, text: str) -> FlanError:
    return FlanError(f"setting {name}", found=repr(text), expected=SETTINGS[name],
                     remedy=f"Correct it, or leave it out: make figures {name}=..., or FLAN_{name} in the environment.")
