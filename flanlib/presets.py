"""Folders of the kit, presets (the size of every experiment), and the settings that override a preset.

A setting has one name everywhere: ``make figures SEEDS=0``, ``FLAN_SEEDS=0`` in the environment, and ``SEEDS = "0"`` in
a notebook's first cell. Only this module reads settings from the environment.
"""

import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from flanlib.records import FlanError

_PACKAGE = Path(__file__).resolve().parent
INSTALLED = (_PACKAGE / "data").is_dir()  # from a wheel, which brings its data; a checkout has it beside the package
ROOT = user_data_path("flanlib", appauthor=False) if INSTALLED else _PACKAGE.parent
DATA = ROOT / "data"  # what is fetched and computed: models, runs, exports; and the shipped results of a checkout
BROUGHT = (_PACKAGE if INSTALLED else ROOT) / "data"  # paper, lab and example: only read
FIGURES = (Path.cwd() if INSTALLED else ROOT) / "figures"
OWN = "05"  # the notebook for your own data: it trains on every machine, so what it makes is yours, not the kit's
SMOLLM2, RANDOM = "smollm2", "random"  # the default model, and a tiny untrained one: see flanlib.pretrained
OPEN_7B = "Qwen/Qwen2.5-7B-Instruct"  # the hub gives it to anyone, and its chat template labels every reply
AUTO = "auto"  # the chat template that comes with the model, or agent_flan if none does
TEMPLATE_NAMES = ("own", "agent_flan", "llama2_chat", AUTO)  # values of TEMPLATE, defined in flanlib.text.templates
# Peak learning rate for a model that no preset was tuned for: that of QLoRA for 7B (arXiv 2305.14314, table 9).
RATE = 2e-4


@dataclass(frozen=True)
class Preset:
    """The settings of every experiment at one size. Lengths are in tokens."""

    name: str
    model: str  # a name that flanlib.pretrained.folder takes: smollm2, random, a folder, or a name on the hub
    template: str  # one of TEMPLATE_NAMES; own is the model's chat template
    seeds: tuple[int, ...]  # one run each: LoRA initialisation and row order; not those of hyperparameter tuning
    trajectories: int  # number of training trajectories (an upper limit for real data)
    heldout: int  # tasks per held-out split for scoring, and held-out trajectories for measuring the loss
    free: int  # of these, the tasks with free generation too, which costs ten times as much as teacher forcing
    watched: int  # of these, how many are measured repeatedly during training
    trained_tokens: int  # budget of one tuning run, the same for every dialect that is compared
    measure_at: tuple[int, ...]  # numbers of trained tokens after which a run is measured, besides its start and end
    row_tokens: int  # length of a packed row
    rows_per_step: int  # packed rows per optimiser step, over all devices
    rows_per_pass: int  # most packed rows per forward pass on one device; on one GPU flanlib.training.memory chooses
    learning_rate: float  # peak of the cosine schedule
    lora_rank: int
    own_tokens: int  # budget of one run on your own data (notebook 05), in trained tokens
    public: int  # BFCL: cases where no tool fits, and as many where one does; When2Call: questions of each right answer
    bits: int = 4  # bits per base weight during training: 4 is NF4 with double quantisation, 16 is not quantised
    reply_tokens: int | None = None  # most tokens of a reply; by default as many as the longest correct reply has
    optimizer: str = "adamw_torch_fused"  # a name of transformers
    checkpointing: bool = False  # whether layers may compute activations again; on one GPU only those that must do


LAPTOP = Preset(
    name="laptop", model=SMOLLM2, template="own", seeds=(0, 1, 2, 3, 4), trajectories=1200, heldout=200, free=32,
    watched=16, trained_tokens=20_000, measure_at=(500, 1000, 2000, 4000, 8000), row_tokens=704, rows_per_step=1,
    rows_per_pass=1, learning_rate=2e-3, lora_rank=32, own_tokens=4_000, public=240, bits=16,
)  # fmt: skip
SMOKE = replace(
    LAPTOP, name="smoke", model=RANDOM, seeds=(0, 1), trajectories=12, heldout=3, free=3, watched=2, trained_tokens=800,
    measure_at=(400,), rows_per_step=2, rows_per_pass=2, lora_rank=4, own_tokens=800, public=4,
    reply_tokens=16,
)  # fmt: skip
# Appendix A and B of the paper: 8,192 tokens, batches of 32, learning rate 2e-5.
PAPER = Preset(
    name="paper", model="meta-llama/Llama-2-7b-hf", template="agent_flan", seeds=(0,), trajectories=24_703, heldout=500,
    free=200, watched=100, trained_tokens=18_100_000, measure_at=(100_000, 1_000_000, 4_000_000), row_tokens=8192,
    rows_per_step=32, rows_per_pass=1, learning_rate=2e-5, lora_rank=64, own_tokens=18_100_000, public=240,
    checkpointing=True,
)  # fmt: skip
# For a GPU of 24 GB. The paper's learning rate is for full fine-tuning, so QLoRA's replaces it. The paper's chat model
# needs an accepted licence, so an open one replaces it: MODEL=meta-llama/Llama-2-7b-chat-hf brings it back.
CONSUMER = replace(PAPER, name="consumer", model=OPEN_7B, template="own",
                   row_tokens=4096, rows_per_pass=2, learning_rate=RATE, optimizer="paged_adamw_8bit")  # fmt: skip
PRESETS = {size.name: size for size in (SMOKE, LAPTOP, CONSUMER, PAPER)}

# All settings with their expected values. ONLY (which notebooks to run) is an option of flanlib.batch instead.
SETTINGS = {
    "PRESET": f"one of {', '.join(PRESETS)}",
    "MODEL": "smollm2, a folder, or a name on the hub; after commas, more of them for notebook 04's Figure 8",
    "TEMPLATE": f"one of {', '.join(TEMPLATE_NAMES)}",
    "DATA": "trajectories: a path, a glob, a folder or a name on the hub",
    "SEEDS": "whole numbers with commas, such as 0,1,2",
    "TOKENS": "trained tokens of a run, a whole number of 1 or more",
    "RATE": "the peak learning rate, such as 2e-4",
    "HELDOUT": "tasks to judge a model on, a whole number of 1 or more",
    "PUBLIC": "rows of each kind of BFCL and When2Call, such as 240, which asks for these benchmarks",
    "FRESH": "1 to ignore shipped results, 0 to use them",
}
# Other environment variables with the prefix FLAN_, which are not settings of an experiment.
ELSEWHERE = ("FLAN_REAL_DATA", "FLAN_ONLY", "FLAN_READ_LOG")
# Environment variables that choose() has set: their value, and the value before.
_CHOSEN: dict[str, tuple[str, str]] = {}


def setting(name: str) -> str:
    """Return a setting from the environment, "" if unset. Raises FlanError if an unknown FLAN_ variable is set.

    >>> setting("TEMPLATE") in ("", "own", "auto", "agent_flan", "llama2_chat")
    True
    """
    settings = [f"FLAN_{key}" for key in SETTINGS]
    if unknown := sorted(key for key in os.environ if key.startswith("FLAN_") and key not in (*settings, *ELSEWHERE)):
        raise FlanError("settings", found=f"{unknown[0]} in the environment",
                        expected=", ".join(settings), remedy="Correct or unset it.")
    return os.environ.get(f"FLAN_{name}", "").strip()


def choose(variables: Mapping[str, Any]) -> Preset:
    """Apply the settings of a notebook's first cell and return the resulting preset.

    ``variables`` are the notebook's globals. Those in capitals are settings. Empty ones keep the environment's value.
    They are written to the environment, so that child processes see them. Running the cell again first undoes what it
    set before. Raises FlanError for a name in capitals that is no setting, and as :func:`preset` does.
    """
    for name, (text, before) in _CHOSEN.items():
        if os.environ.get(name) == text:
            os.environ[name] = before
    _CHOSEN.clear()
    for name, value in variables.items():
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
    """Return the preset that ``PRESET`` names (default ``laptop``), with the other settings applied to it.

    A model other than the preset's gets its own chat template and the learning rate of QLoRA, unless these are set.
    Raises FlanError for a setting that is unknown or cannot be parsed.
    """
    name = setting("PRESET") or "laptop"
    if name not in PRESETS:
        raise _bad_setting("PRESET", name)
    result = PRESETS[name]
    if (model := setting("MODEL").split(",")[0].strip()) and model != result.model:
        result = replace(result, model=model, template=AUTO, learning_rate=RATE)
    if template := setting("TEMPLATE"):
        if template not in TEMPLATE_NAMES:
            raise _bad_setting("TEMPLATE", template)
        result = replace(result, template=template)
    if text := setting("SEEDS"):
        seeds = [_number("SEEDS", part, int, above=-1) for part in text.split(",")]
        result = replace(result, seeds=tuple(dict.fromkeys(seeds)))  # without repeats
    fields = {"TOKENS": ("trained_tokens", int), "RATE": ("learning_rate", float), "HELDOUT": ("heldout", int),
              "PUBLIC": ("public", int)}  # fmt: skip
    for name, (field, kind) in fields.items():
        if text := setting(name):
            result = replace(result, **{field: _number(name, text, kind)})
    result = replace(result, **{part: min(getattr(result, part), result.heldout) for part in ("free", "watched")})
    fresh()  # raises now, before anything runs, if FRESH cannot be parsed
    return result


def own(size: Preset) -> Preset:
    """Adapt a preset to one run on your own data: the budget ``own_tokens`` and one seed, unless these are set."""
    return replace(size, trained_tokens=size.trained_tokens if setting("TOKENS") else size.own_tokens,
                   seeds=size.seeds if setting("SEEDS") else size.seeds[:1])  # fmt: skip


def by_model(size: Preset) -> list[Preset]:
    """Return a preset for each model of ``MODEL=a,b,c``. By default: the preset's model, and the tiny untrained one."""
    names = [name for part in setting("MODEL").split(",") if (name := part.strip())]
    if not names:
        return [size] if size.model == RANDOM else [size, replace(size, model=RANDOM)]
    others = {"template": setting("TEMPLATE") or AUTO, "learning_rate": size.learning_rate if setting("RATE") else RATE}
    return [size if name == size.model else replace(size, model=name, **others) for name in dict.fromkeys(names)]


def example() -> str:
    """Return the setting ``DATA``, or the path of the example file that ships with the kit."""
    return setting("DATA") or str(BROUGHT / "example" / "trajectories.jsonl")


def fresh() -> bool:
    """Tell whether ``FRESH`` says to ignore shipped results. Raises FlanError for anything but 0 and 1."""
    if (text := setting("FRESH")) not in ("", "0", "1"):
        raise _bad_setting("FRESH", text)
    return text == "1"


def output(notebook: str = "") -> Path:
    """Return the folder for figures: ``figures/`` for default settings, else a subfolder named after what differs.

    With default settings, what notebook 05 makes goes to ``figures/own/``: it differs between machines.
    """
    values = {name: setting(name) for name in SETTINGS}
    base = PRESETS.get(values["PRESET"], LAPTOP)
    defaults = {"FRESH": "0", "PRESET": "laptop", "MODEL": base.model, "PUBLIC": str(base.public)}
    short = {"FRESH": "fresh", "PRESET": values["PRESET"], "DATA": source_name(values["DATA"]),
             "MODEL": "+".join(source_name(name.strip()) for name in values["MODEL"].split(","))}  # fmt: skip
    changed = {name: text for name, text in values.items() if text not in ("", defaults.get(name))}
    name = "-".join(short.get(name, f"{name.lower()}-{re.sub('[^0-9A-Za-z.-]+', '-', text)}")
                    for name, text in changed.items())  # fmt: skip
    return FIGURES / (name or ("own" if notebook.startswith(OWN) else ""))


def shown(path: Path) -> str:
    """Write a path as seen from the checkout, or whole if it lies elsewhere.

    >>> shown(DATA / "runs")
    'data/runs'
    """
    return path.relative_to(ROOT).as_posix() if not INSTALLED and path.is_relative_to(ROOT) else str(path)


def source_name(data: str) -> str:
    """Return a short name of a data source or model: the last part of its path, without suffixes or wildcards.

    >>> source_name("fireact/gpt_format/multitask.jsonl"), source_name("toolbench/answer/*/*.json")
    ('multitask', 'answer')
    """
    parts = [part for part in Path(data).parts if not set(part) & set("*?[") and part.strip("./")]
    return (parts[-1].split(".json")[0].split(".parquet")[0] if parts else "") or "data"


def _number(name: str, text: str, kind: type, *, above: int = 0) -> Any:
    with suppress(ValueError):
        value = kind(text.strip().replace("_", ""))
        if above < value < math.inf:  # refuses NaN too
            return value
    raise _bad_setting(name, text)


def _bad_setting(name: str, text: str) -> FlanError:
    return FlanError(f"setting {name}", found=repr(text), expected=SETTINGS[name],
                     remedy=f"Correct it, or leave it out: make figures {name}=..., or FLAN_{name} in the environment.")
