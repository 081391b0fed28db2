"""What the notebooks compare: the corpora of an experiment, how much of each is trained on, and how it is scored.

Two corpora can be matched in two ways, and the paper does not say which it used: by rows (the same conversations once
over, whatever is trained of them) or by trained tokens. Every comparison here is made both ways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from flanlib import runs, store
from flanlib.balance import APPENDIX, balance
from flanlib.benchmarks import general
from flanlib.benchmarks.agent_h import build
from flanlib.benchmarks.intention import Intention, lab_intention, lab_plans
from flanlib.dialects import DIALECTS, render_all
from flanlib.generate import GREEDY, Decoding
from flanlib.lab import talk, tasks
from flanlib.lab.world import world
from flanlib.material import Material
from flanlib.mix import Corpus, mix
from flanlib.negatives import IRRELEVANT, MISSING, NO_TOOLS, negatives
from flanlib.presets import Preset
from flanlib.records import CAPABILITIES, Conversation
from flanlib.runs import Arm, examples
from flanlib.tally import Tally
from flanlib.train import draw
from flanlib.trials import Trial

SEED = 2403  # of the corpora: the presets' seeds vary the training, never the data
TOKENS, ROWS = "equal trained tokens", "equal rows"
ALIGNED, WEIGHTED = "aligned", "weighted"
CHAT_AND = "chat + "
LONGEST = {"react": 120, "json": 120, "chat": 80}
"""Tokens of a reply in the lab, where the longest right ones have 111, 114 and 68: beyond, a model runs away."""
FOLLOWING = 0.1
"""Instruction-following pairs for each trajectory: the paper's 2,000 beside 24,703 rows, rounded up."""
NEGATIVES = {"no tools": {NO_TOOLS: 0.1}, "irrelevant tools": {IRRELEVANT: 0.1},
             "both types": {NO_TOOLS: 0.1, IRRELEVANT: 0.1},
             "all three": {NO_TOOLS: 0.1, IRRELEVANT: 0.1, MISSING: 0.1}}
"""Negative samples of each type for each trajectory, by arm."""
DOSES = (0.05, 0.1)
"""Negatives of either type for each trajectory, where the dose is varied; the last is an arm of NEGATIVES."""


def fitted(data: Material, preset: Preset) -> Preset:
    """Fit a preset to the material in every form (:func:`flanlib.runs.fitted`), the same in all notebooks."""
    return runs.fitted(preset, *(render_all(data.train, form) for form in DIALECTS))


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


def recipe(data: Material) -> Corpus:
    """Mix the whole recipe of Agent-FLAN (Appendix A) from some trajectories.

    Nine tenths chat form and one tenth ReAct form, weighted by capability, instruction-following pairs, negatives, and
    as much of the lab's plain chat as agent data (what chat the data brings is only measured).
    """
    most = len(data.train)
    shares = NEGATIVES["both types"] if data.name == "lab" else {IRRELEVANT: sum(NEGATIVES["both types"].values())}
    return mix(data.train, general=_chats(most), negatives=lab_negatives(data, shares),
               following=round(FOLLOWING * most), seed=SEED)  # fmt: skip


def by_form(judged: pd.DataFrame) -> pd.DataFrame:
    """Tell the arms of :func:`forms` apart in judgements: adds form and match; the chat arm belongs to both."""
    judged = judged.assign(form=judged["model"].str.split(",").str[0],
                           match=judged["model"].str.contains(ROWS).map({True: ROWS, False: TOKENS}))  # fmt: skip
    return pd.concat([judged, judged[judged["form"] == "chat"].assign(match=ROWS)], ignore_index=True)


def capabilities(data: Material, preset: Preset) -> dict[str, Arm]:
    """Return the arms of Table 2 that are made of the aligned corpus: whole, each capability halved, and weighted.

    All hold the same conversations and differ in what is trained of them. The whole one has the preset's budget of
    trained tokens; the others come twice, with as many tokens and with as many rows (see :func:`matched`).
    """
    whole = corpus(data, weights={}).conversations
    less = {f"{kind} halved": _balanced(whole, {kind: 0.5}) for kind in CAPABILITIES}
    less[WEIGHTED] = _balanced(whole, APPENDIX)
    rows = rows_of(whole, preset)
    found = {f"{ALIGNED}, {TOKENS}": Arm(whole)}
    for name, text in less.items():
        found |= {f"{name}, {TOKENS}": Arm(text), f"{name}, {ROWS}": Arm(text, rows=rows)}
    return found


def tempered(data: Material, preset: Preset) -> dict[str, Arm]:
    """Return the arms of observation 3: both forms alone, and chat form with negatives of each type and in each dose.

    Agent rows are seen as often in all of them: negatives come on top. A control has as many rows of plain chat,
    without any tool, as ``all three`` has negatives.
    """
    plain = forms(data, preset)
    train, found = plain["chat"].train, {form: plain[form] for form in ("react", "chat")}
    rows = rows_of(train, preset)
    more = {name: lab_negatives(data, shares) for name, shares in NEGATIVES.items()}
    more |= {f"both types, {dose:.0%}": lab_negatives(data, {NO_TOOLS: dose, IRRELEVANT: dose}) for dose in DOSES[:-1]}
    more["plain chat"] = _chats(len(more["all three"]))
    for name, rest in more.items():
        found[f"{CHAT_AND}{name}"] = Arm([*train, *rest], rows=round(rows * (len(train) + len(rest)) / len(train)))
    return found


def lab_negatives(data: Material, shares: Mapping[str, float], *, tally: Tally | None = None) -> list[Conversation]:
    """Make negatives for chat form, so many of each type for each trajectory.

    In the lab they are made of fresh requests, chat and tools of training. For other data only irrelevant tools can be
    put beside the lab's chat: plain replies to real requests take a chat model that has no tools.
    """
    counts = {kind: round(share * len(data.train)) for kind, share in shares.items()}
    most, lab, tally = len(data.train), data.name == "lab", tally or Tally("negatives")
    asked = tasks.trajectories(most, rng=np.random.default_rng([SEED, 2]), shapes=(tasks.BARE, tasks.UNSERVED))
    tools = {tool.name: tool for trajectory in data.train for tool in trajectory.tools}
    if lab:
        tools = {name: tool.tool for name, tool in world().tools.items() if world().split(name) == "train"}
    return negatives(counts, requests=asked if lab else data.train, chats=_chats(most),
                     tools=list(tools.values()), dialect="chat", seed=SEED, tally=tally)  # fmt: skip


def agent_h(data: Material, preset: Preset, protocol: str) -> list[Trial]:
    """Return Agent-H as a trial for models of one protocol: five samples for each held-out task, all from the lab."""
    of = build.lab_pool(5 * preset.heldout, seed=SEED)
    made = build.build(of, 5 * preset.heldout, seed=SEED, tally=Tally("Agent-H"))
    return [Trial("agent_h", protocol, "Agent-H", tuple(made), lab_plans(), _decoding(preset, LONGEST[protocol]))]


def rows_of(train: Sequence[Conversation], preset: Preset) -> int:
    """Count the rows that the preset's budget of trained tokens draws from a corpus (with the first seed)."""
    rows = examples(train, preset, Tally("budget"))
    return len(draw(rows, preset.trained_tokens, seed=preset.seeds[0]))


def trials(data: Material, preset: Preset, protocol: str, *, splits: Sequence[str] | None = None,
           benchmarks: Sequence[str] = ("steps",)) -> list[Trial]:  # fmt: skip
    """List what a model that writes in one protocol is put to, on the tasks of some splits (by default all).

    Episodes are left out where tools can't be run: outside the lab.
    """
    lab = data.name == "lab"
    intention = lab_intention() if lab else Intention.of(data.train)
    decoding = _decoding(preset, LONGEST[protocol] if lab else GREEDY.max_new_tokens)
    found = [Trial(benchmark, protocol, split, data.tasks[split], intention, decoding)
             for split in splits or data.tasks for benchmark in benchmarks
             if benchmark == "steps" or (benchmark == "episodes" and lab)]  # fmt: skip
    if "general" in benchmarks:
        asked = general.questions(2 * preset.heldout, rng=np.random.default_rng([SEED, 1]))
        decoding = _decoding(preset, LONGEST["chat"])
        found.append(Trial("general", protocol, "held-out talk", tuple(asked), decoding=decoding))
    return found


def matched(frame: pd.DataFrame) -> pd.DataFrame:
    """Tell the arms of :func:`capabilities` apart: the column ``model`` becomes ``arm`` and ``match``.

    The aligned arm is the yardstick of both matchings, so its rows are listed under both.
    """
    arm, match = zip(*(name.rsplit(", ", 1) for name in frame["model"]), strict=True)
    frame = frame.drop(columns="model").assign(arm=list(arm), match=list(match))
    return pd.concat([frame, frame[frame["arm"] == ALIGNED].assign(match=ROWS)], ignore_index=True)


def spent(tuned: Mapping[str, Sequence[Path]]) -> pd.DataFrame:
    """Tabulate what runs were trained on, as means over seeds: model, rows, tokens, trained_tokens."""
    counted = ("rows", "tokens", "trained_tokens")
    told = {label: [store.manifest(folder) for folder in folders] for label, folders in tuned.items()}
    return pd.DataFrame([(label, *(float(np.mean([one[name] for one in each])) for name in counted))
                         for label, each in told.items()], columns=["model", *counted])  # fmt: skip


def _decoding(preset: Preset, longest: int) -> Decoding:
    return Decoding(preset.reply_tokens or longest)


def _chats(n: int) -> list[Conversation]:
    """Draw plain chat of the lab to train on."""
    return talk.conversations(n, rng=np.random.default_rng([SEED, 3]), families=build.FAMILIES)


def _balanced(conversations: Sequence[Conversation], weights: Mapping[str, float]) -> list[Conversation]:
    """Balance, and keep a conversation that has nothing trained left: equal rows are the same conversations."""
    kept = {c.id: c for c in balance(conversations, weights, seed=SEED, tally=Tally("balance"))}
    untrained = (replace(c, turns=tuple(replace(turn, trained=False) for turn in c.turns)) for c in conversations)
    return [kept.get(c.id, bare) for c, bare in zip(conversations, untrained, strict=True)]
