"""What the notebooks compare: the corpora of an experiment, how much of each is trained on, and how it is scored.

Two corpora can be matched in two ways, and the paper does not say which it used: by rows (the same conversations once
over, whatever is trained of them) or by trained tokens. Every comparison here is made both ways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from flanlib.balance import APPENDIX, balance
from flanlib.benchmarks import general
from flanlib.benchmarks.intention import Intention, lab_intention
from flanlib.dialects import render_all
from flanlib.material import Material
from flanlib.mix import Corpus, mix
from flanlib.presets import Preset
from flanlib.records import CAPABILITIES, Conversation
from flanlib.runs import Arm, examples
from flanlib.tally import Tally
from flanlib.train import draw
from flanlib.trials import Trial

SEED = 2403  # of the corpora: the presets' seeds vary the training, never the data
TOKENS, ROWS = "equal trained tokens", "equal rows"
ALIGNED, WEIGHTED = "aligned", "weighted"
FOLLOWING = 0.1
"""Instruction-following pairs for each trajectory: the paper's 2,000 beside 24,703 rows, rounded up."""


def forms(data: Material, preset: Preset) -> dict[str, Arm]:
    """Return the arms of observation 1: the same trajectories as ReAct and as chat.

    ``react`` and ``chat`` have the preset's budget of trained tokens; ``react, equal rows`` has as many rows as
    the chat arm draws.
    """
    train = {form: render_all(data.train, form) for form in ("react", "chat")}
    held = {form: render_all(data.heldout, form) for form in train}
    return {"react": Arm(train["react"], held["react"]), "chat": Arm(train["chat"], held["chat"]),
            f"react, {ROWS}": Arm(train["react"], rows=rows_of(train["chat"], preset))}  # fmt: skip


def corpus(data: Material, *, weights: Mapping[str, float], general_ratio: float = 0.0) -> Corpus:
    """Mix the aligned corpus: nine tenths chat form, one tenth ReAct form, and pairs that teach formats."""
    return mix(data.train, general=data.natural, following=round(FOLLOWING * len(data.train)), weights=weights,
               general_ratio=general_ratio, seed=SEED)  # fmt: skip


def capabilities(data: Material, preset: Preset) -> dict[tuple[str, str], Arm]:
    """Return the arms of Table 2, by (arm, matching): ReAct, aligned, each capability halved, and weighted.

    The aligned corpus is the yardstick: it has the preset's budget of trained tokens, and the others have as many
    tokens, or as many rows. All but ReAct hold the same conversations and differ only in what is trained of them.
    """
    whole = corpus(data, weights={}).conversations
    texts = {"ReAct": render_all(data.train, "react"), ALIGNED: whole}
    texts |= {f"{kind} halved": _balanced(whole, {kind: 0.5}) for kind in CAPABILITIES}
    texts[WEIGHTED] = _balanced(whole, APPENDIX)
    rows = rows_of(whole, preset)
    found = {(name, TOKENS): Arm(text) for name, text in texts.items()}
    return found | {(name, ROWS): Arm(text, rows=rows) for name, text in texts.items() if name != ALIGNED}


def rows_of(train: Sequence[Conversation], preset: Preset) -> int:
    """Count the rows that the preset's budget of trained tokens draws from a corpus (with the first seed)."""
    rows = examples(train, preset, Tally("budget"))
    return len(draw(rows, preset.trained_tokens, seed=preset.seeds[0]))


def labels(arms: Mapping[tuple[str, str], Arm]) -> dict[str, Arm]:
    """Name arms for their runs."""
    return {f"{name}, {match}": arm for (name, match), arm in arms.items()}


def trials(data: Material, preset: Preset, protocol: str, *, splits: Sequence[str] | None = None,
           benchmarks: Sequence[str] = ("steps",), n: int | None = None) -> list[Trial]:  # fmt: skip
    """List what a model that writes in one protocol is put to, on ``n`` tasks of each split (by default all).

    Episodes are left out where tools can't be run: outside the lab.
    """
    lab = data.name == "lab"
    intention = lab_intention() if lab else Intention.of(data.train)
    found = [Trial(benchmark, protocol, split, data.tasks[split][:n], intention)
             for split in splits or data.tasks for benchmark in benchmarks
             if benchmark == "steps" or (benchmark == "episodes" and lab)]  # fmt: skip
    if "general" in benchmarks:
        asked = general.questions(preset.heldout, rng=np.random.default_rng([SEED, 1]))
        found.append(Trial("general", protocol, "held-out talk", tuple(asked)))
    return found


def matched(rows: pd.DataFrame) -> pd.DataFrame:
    """Tell the arms of :func:`capabilities` apart in judgements of labelled runs: adds the columns arm and match."""
    arm, match = zip(*(name.rsplit(", ", 1) for name in rows["model"]), strict=True)
    return rows.assign(arm=list(arm), match=list(match))


def _balanced(conversations: Sequence[Conversation], weights: Mapping[str, float]) -> list[Conversation]:
    """Balance, and keep a conversation that has nothing trained left: equal rows are the same conversations."""
    kept = {c.id: c for c in balance(conversations, weights, seed=SEED, tally=Tally("balance"))}
    untrained = (replace(c, turns=tuple(replace(turn, trained=False) for turn in c.turns)) for c in conversations)
    return [kept.get(c.id, bare) for c, bare in zip(conversations, untrained, strict=True)]
