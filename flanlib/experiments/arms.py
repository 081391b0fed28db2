"""What the notebooks compare: the corpora that models are tuned on, and the benchmarks that score them.

All arms of a comparison get equal trained tokens. (The paper does not say how the rows of its Table 2 are matched.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd

from flanlib import store
from flanlib.benchmarks import bfcl, general, when2call
from flanlib.benchmarks.agent_h import build
from flanlib.benchmarks.intention import Intention, lab_intention
from flanlib.benchmarks.plans import lab_plans
from flanlib.corpus.balance import APPENDIX
from flanlib.corpus.material import LAB, Material
from flanlib.corpus.mix import Corpus, mix
from flanlib.corpus.negatives import IRRELEVANT, MISSING, NO_TOOLS, negatives
from flanlib.dialects import DIALECTS, render_all
from flanlib.experiments import judging, tuning
from flanlib.experiments.judging import Trial
from flanlib.experiments.tuning import Arm
from flanlib.inference.generate import Decoding
from flanlib.lab import tasks
from flanlib.lab.world import world
from flanlib.presets import Preset
from flanlib.records import Conversation, Trajectory
from flanlib.tally import Tally

SEED = 2403  # draws the corpora; the seeds of a preset vary the training only
ALIGNED, WEIGHTED = "aligned", "weighted"
NEGATIVES, CONTROL = "chat + negatives", "chat + plain chat"
FIREACT, AGENT_TUNING, WITHOUT, FLAN = "react", "AgentTuning-style", "Agent-FLAN, no negatives", "Agent-FLAN"
"""The tuned arms of Table 1. FireAct's is the ReAct arm of observation 1, and so its runs are found by that name."""
LONGEST, LONGEST_IN_CHAT = 120, 80
"""Most tokens of a reply in the lab. The longest references have 91, 93 and 61: a longer reply is a runaway."""
LONGEST_CALL = 200
"""The same in BFCL, whose calls are longer, for the forms that write a call in one reply."""
FOLLOWING = 0.1
"""Instruction-following pairs per trajectory: the paper's 2,000 beside 24,703 rows, rounded up."""
SHARES = {NO_TOOLS: 0.1, IRRELEVANT: 0.1, MISSING: 0.1}
"""Negative samples of each type per trajectory."""


def fitted(data: Material, preset: Preset) -> Preset:
    """Fit one preset to the material in all forms (:func:`flanlib.experiments.tuning.fitted`)."""
    return tuning.fitted(preset, *(render_all(data.train, form) for form in DIALECTS))


def forms(data: Material, preset: Preset) -> dict[str, Arm]:
    """Return the arms of observation 1: the same trajectories as ReAct and as chat."""
    return {form: watched(data, preset, render_all(data.train, form), form) for form in ("react", "chat")}


def watched(data: Material, preset: Preset, train: Sequence[Conversation], form: str = "chat") -> Arm:
    """Make an arm whose runs are measured, while they train, on held-out trajectories in one form."""
    return Arm(train, render_all(data.heldout[: preset.watched], form))


def corpus(data: Material, *, weights: Mapping[str, float]) -> Corpus:
    """Mix the aligned corpus: nine tenths chat form, one tenth ReAct form, and instruction-following pairs."""
    return mix(data.train, following=round(FOLLOWING * len(data.train)), weights=weights, general_ratio=0.0, seed=SEED)


def recipe(data: Material, preset: Preset, *, repeat: bool = False) -> Corpus:
    """Mix the whole recipe of Agent-FLAN (Appendix A).

    Nine tenths of the trajectories take chat form and one tenth ReAct form, weighted by capability. Added are
    instruction-following pairs, negatives of all types, and as many plain chats as trajectories, or all there are:
    with ``repeat`` they repeat until they are as many. Chats from the data itself come first.
    """
    return _recipe(data, negative_samples(data, preset), repeat=repeat)


def _recipe(data: Material, added: Sequence[Conversation], *, repeat: bool) -> Corpus:
    return mix(data.train, general=_chats(data, repeat=repeat), negatives=added,
               following=round(FOLLOWING * len(data.train)), seed=SEED)  # fmt: skip


def _chats(data: Material, *, repeat: bool) -> list[Conversation]:
    """List as many plain chats as trajectories, the data's own first; if there are fewer, all, or in repetition."""
    chats = sorted(data.chats, key=lambda chat: chat.source == "ordinary")
    return list(islice(cycle(chats) if repeat else chats, len(data.train)))


def table1(data: Material, preset: Preset) -> dict[str, Arm]:
    """Return the tuned arms of Table 1, of one set of trajectories.

    FireAct's style is ReAct form alone. AgentTuning's adds as many general chats. Agent-FLAN is the whole recipe with
    as many general chats, with negatives and without. Where there are fewer chats than trajectories they repeat: each
    arm then draws agent data and chat in the paper's proportion.
    """
    agent_tuning = mix(data.train, general=_chats(data, repeat=True), react_share=1.0, following=0, weights={},
                       seed=SEED)  # fmt: skip
    without, whole = _recipe(data, (), repeat=True), recipe(data, preset, repeat=True)
    return {FIREACT: forms(data, preset)["react"], AGENT_TUNING: Arm(agent_tuning.conversations),
            WITHOUT: Arm(without.conversations), FLAN: Arm(whole.conversations)}  # fmt: skip


def portion(arm: Arm, size: Preset, share: float) -> tuple[Arm, Preset]:
    """Take the first part of an arm's corpus, which stands in random order, and that part of the trained tokens."""
    return (Arm(arm.train[: round(share * len(arm.train))], arm.heldout),
            replace(size, trained_tokens=round(share * size.trained_tokens)))  # fmt: skip


def capabilities(data: Material) -> dict[str, Arm]:
    """Return the two arms of Table 2 on the aligned corpus: unweighted, and weighted by capability."""
    return {name: Arm(corpus(data, weights=weights).conversations)
            for name, weights in ((ALIGNED, {}), (WEIGHTED, APPENDIX))}  # fmt: skip


def with_negatives(data: Material, preset: Preset) -> dict[str, Arm]:
    """Return the arms of observation 3: both forms alone, chat form with negatives, and chat form with plain chat.

    The last is the control: in place of each negative it has a plain chat without tools. Chats repeat where there are
    fewer of them than negatives.
    """
    arms, added = forms(data, preset), negative_samples(data, preset)
    train, chats = arms["chat"].train, cycle(_sample(data.chats, len(added)))
    return arms | {NEGATIVES: Arm([*train, *added]), CONTROL: Arm([*train, *islice(chats, len(added))])}


def negative_samples(data: Material, preset: Preset, *, tally: Tally | None = None) -> list[Conversation]:
    """Make negatives in chat form, as many of each type as SHARES says.

    As in the paper (Appendix C), the untuned model writes the plain replies itself, without tools. The lab draws new
    requests for its training tools. Other data brings its own requests.
    """
    counts = {kind: round(share * len(data.train)) for kind, share in SHARES.items()}
    needed = counts[NO_TOOLS] + counts[MISSING]
    if data.name == LAB:
        requests = [task.trajectory for task in tasks.tasks(needed, rng=np.random.default_rng([SEED, 2]))]
        tools = [tool.tool for name, tool in world().tools.items() if world().split(name) == "train"]
    else:
        requests = _sample(data.train, needed)
        tools = list({tool.name: tool for trajectory in data.train for tool in trajectory.tools}.values())
    replies = judging.replies(requests, preset) if needed else {}
    return negatives(counts, requests=requests, replies=replies, chats=_sample(data.chats, counts[IRRELEVANT]),
                     tools=tools, dialect="chat", seed=SEED, tally=tally or Tally("negatives"))  # fmt: skip


def agent_h(data: Material, preset: Preset, protocol: str) -> list[Trial]:
    """Return the lab's Agent-H as a trial in one protocol, with five samples per task that is written freely."""
    n = 5 * preset.free
    samples = build.build(build.lab_pool(n, seed=SEED), n, seed=SEED, tally=Tally("Agent-H"))
    return [Trial("agent_h", protocol, "Agent-H", tuple(samples), lab_plans(), _decoding(preset, protocol))]


def public(preset: Preset, protocol: str) -> list[Trial]:
    """Return BFCL and When2Call as trials in one protocol; their rows are read only where a result is missing."""
    longest = None if protocol == "chat" else LONGEST_CALL
    return [Trial("bfcl", protocol, "BFCL", (bfcl.Draw(preset.public, SEED),), lab_plans(),
                  _decoding(preset, protocol, longest)),
            Trial("when2call", protocol, "When2Call", (when2call.Draw(preset.public),))]  # fmt: skip


def trials(data: Material, preset: Preset, protocol: str, *, splits: Sequence[str] | None = None,
           benchmarks: Sequence[str] = ("steps",)) -> list[Trial]:  # fmt: skip
    """List the trials of a model that writes in one protocol, on the tasks of some splits (by default all).

    Steps are read on all tasks, and written freely on the first ``preset.free``. Episodes run on those only, and only
    in the lab: elsewhere tools can't be executed.
    """
    lab = data.name == LAB
    intention = lab_intention() if lab else Intention.of(data.train)
    listed = []
    for split in splits or data.tasks:
        items = {"steps": data.tasks[split], "episodes": data.tasks[split][: preset.free] if lab else ()}
        listed += [Trial(benchmark, protocol, split, items[benchmark], intention, _decoding(preset, protocol),
                         free=preset.free) for benchmark in benchmarks if items.get(benchmark)]  # fmt: skip
    if "general" in benchmarks:
        questions = general.questions(2 * preset.free, rng=np.random.default_rng([SEED, 1]))
        listed.append(Trial("general", protocol, "general", tuple(questions), decoding=_decoding(preset, "chat")))
    return listed


def table1_trials(data: Material, preset: Preset, protocol: str) -> list[Trial]:
    """List the trials of Table 1 with items of the kit: steps, held-out episodes, general questions, Agent-H."""
    *held_in, held_out = data.tasks
    seen = trials(data, preset, protocol, splits=held_in) if held_in else []
    unseen = trials(data, preset, protocol, splits=[held_out], benchmarks=("steps", "episodes", "general"))
    return [*seen, *unseen, *agent_h(data, preset, protocol)]


def spent(tuned: Mapping[str, Sequence[Path]]) -> pd.DataFrame:
    """Tabulate what runs were trained on, as means over seeds: model, rows, tokens, trained_tokens."""
    runs = [{**store.manifest(folder), "model": label} for label, folders in tuned.items() for folder in folders]
    return pd.DataFrame(runs, columns=["model", "rows", "tokens", "trained_tokens"]).groupby(
        "model", sort=False, as_index=False).mean()  # fmt: skip


def _decoding(preset: Preset, protocol: str, longest: int | None = None) -> Decoding:
    return Decoding(preset.reply_tokens or longest or (LONGEST_IN_CHAT if protocol == "chat" else LONGEST))


def _sample(rows: Sequence[Conversation | Trajectory], n: int) -> list:
    """Draw ``n`` rows in a fixed random order, so that a larger draw begins with a smaller one."""
    order = np.random.default_rng([SEED, 3]).permutation(len(rows))[:n]
    return [rows[i] for i in order]
