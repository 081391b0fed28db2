"""What the notebooks compare: the corpora of an experiment, how much of each is trained on, and how it is scored.

All arms of a comparison get equal trained tokens. (The paper does not say how its rows of Table 2 are matched.)
"""

from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd

from flanlib import store
from flanlib.benchmarks import general
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

SEED = 2403  # of the corpora: the presets' seeds vary the training, never the data
ALIGNED, WEIGHTED = "aligned", "weighted"
NEGATIVES, CONTROL = "chat + negatives", "chat + plain chat"
LONGEST = {"react": 120, "json": 120, "chat": 80}
"""Tokens of a reply in the lab, where the longest right ones have 91, 93 and 61: beyond, a model runs away."""
FOLLOWING = 0.1
"""Instruction-following pairs for each trajectory: the paper's 2,000 beside 24,703 rows, rounded up."""
SHARES = {NO_TOOLS: 0.1, IRRELEVANT: 0.1, MISSING: 0.1}
"""Negative samples of each type for each trajectory."""


def fitted(data: Material, preset: Preset) -> Preset:
    """Fit a preset to the material in all forms at once (:func:`flanlib.experiments.tuning.fitted`)."""
    return tuning.fitted(preset, *(render_all(data.train, form) for form in DIALECTS))


def forms(data: Material, preset: Preset) -> dict[str, Arm]:
    """Return the arms of observation 1: the same trajectories as ReAct and as chat."""
    return {form: watched(data, preset, render_all(data.train, form), form) for form in ("react", "chat")}


def watched(data: Material, preset: Preset, train: Sequence[Conversation], form: str = "chat") -> Arm:
    """Make an arm of a corpus that is measured on held-out trajectories, in one form, while it trains."""
    return Arm(train, render_all(data.heldout[: preset.watched], form))


def corpus(data: Material, *, weights: Mapping[str, float]) -> Corpus:
    """Mix the aligned corpus: nine tenths chat form, one tenth ReAct form, and pairs that teach formats."""
    return mix(data.train, following=round(FOLLOWING * len(data.train)), weights=weights, general_ratio=0.0, seed=SEED)


def recipe(data: Material, preset: Preset) -> Corpus:
    """Mix the whole recipe of Agent-FLAN (Appendix A) from some trajectories.

    Nine tenths chat form and one tenth ReAct form, weighted by capability, instruction-following pairs, negatives of
    all types, and as much plain chat as agent data, as far as there is some: the data's own first.
    """
    most = len(data.train)
    chats = sorted(data.chats, key=lambda chat: chat.source == "ordinary")[:most]
    return mix(data.train, general=chats, negatives=tempering(data, preset), following=round(FOLLOWING * most),
               seed=SEED)  # fmt: skip


def capabilities(data: Material) -> dict[str, Arm]:
    """Return the arms of Table 2 that are made of the aligned corpus: whole, and weighted by capability."""
    return {name: Arm(corpus(data, weights=weights).conversations)
            for name, weights in ((ALIGNED, {}), (WEIGHTED, APPENDIX))}  # fmt: skip


def tempered(data: Material, preset: Preset) -> dict[str, Arm]:
    """Return the arms of observation 3: both forms alone, and chat form with negatives, or with plain chat instead.

    The control has as many rows of plain chat, without any tool, as the other has negatives: where there are fewer
    chats, they come several times.
    """
    plain, rest = forms(data, preset), tempering(data, preset)
    train, chats = plain["chat"].train, cycle(_some(data.chats, len(rest)))
    return plain | {NEGATIVES: Arm([*train, *rest]), CONTROL: Arm([*train, *islice(chats, len(rest))])}


def tempering(data: Material, preset: Preset, *, tally: Tally | None = None) -> list[Conversation]:
    """Make negatives for chat form, so many of each type for each trajectory.

    As in the paper (Appendix C), a plain reply is what the model itself says before any tuning, without tools. In the
    lab the requests are fresh ones for tools of training; of other data they are the data's own.
    """
    counts = {kind: round(share * len(data.train)) for kind, share in SHARES.items()}
    needed = counts[NO_TOOLS] + counts[MISSING]
    if data.name == LAB:
        asked = [task.trajectory for task in tasks.tasks(needed, rng=np.random.default_rng([SEED, 2]))]
        tools = [tool.tool for name, tool in world().tools.items() if world().split(name) == "train"]
    else:
        asked = _some(data.train, needed)
        tools = list({tool.name: tool for trajectory in data.train for tool in trajectory.tools}.values())
    replies = judging.replies(asked, preset) if needed else {}
    return negatives(counts, requests=asked, replies=replies, chats=_some(data.chats, counts[IRRELEVANT]),
                     tools=tools, dialect="chat", seed=SEED, tally=tally or Tally("negatives"))  # fmt: skip


def agent_h(data: Material, preset: Preset, protocol: str) -> list[Trial]:
    """Return Agent-H as a trial for models of one protocol: five samples for each task written freely, from the lab."""
    n = 5 * preset.free
    made = build.build(build.lab_pool(n, seed=SEED), n, seed=SEED, tally=Tally("Agent-H"))
    return [Trial("agent_h", protocol, "Agent-H", tuple(made), lab_plans(), _decoding(preset, protocol))]


def asked(data: Material, preset: Preset, protocol: str, *, splits: Sequence[str] | None = None,
          benchmarks: Sequence[str] = ("steps",)) -> list[Trial]:  # fmt: skip
    """List what a model that writes in one protocol is put to, on the tasks of some splits (by default all).

    Steps are read on all tasks and written on the first ones; episodes are only written, and left out where tools can't
    be run: outside the lab.
    """
    lab = data.name == LAB
    intention = lab_intention() if lab else Intention.of(data.train)
    found = []
    for split in splits or data.tasks:
        items = {"steps": data.tasks[split], "episodes": data.tasks[split][: preset.free] if lab else ()}
        found += [Trial(benchmark, protocol, split, items[benchmark], intention, _decoding(preset, protocol),
                        free=preset.free) for benchmark in benchmarks if items.get(benchmark)]  # fmt: skip
    if "general" in benchmarks:
        asked = general.questions(2 * preset.free, rng=np.random.default_rng([SEED, 1]))
        found.append(Trial("general", protocol, "general", tuple(asked), decoding=_decoding(preset, "chat")))
    return found


def spent(tuned: Mapping[str, Sequence[Path]]) -> pd.DataFrame:
    """Tabulate what runs were trained on, as means over seeds: model, rows, tokens, trained_tokens."""
    told = [{**store.manifest(folder), "model": label} for label, folders in tuned.items() for folder in folders]
    return pd.DataFrame(told, columns=["model", "rows", "tokens", "trained_tokens"]).groupby(
        "model", sort=False, as_index=False).mean()  # fmt: skip


def _decoding(preset: Preset, protocol: str) -> Decoding:
    return Decoding(preset.reply_tokens or LONGEST[protocol])


def _some(rows: Sequence[Conversation | Trajectory], n: int) -> list:
    """Draw rows in a random order that depends on nothing else: more of them begin with the fewer."""
    order = np.random.default_rng([SEED, 3]).permutation(len(rows))[:n]
    return [rows[i] for i in order]
