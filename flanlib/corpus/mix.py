"""Mix the training corpus of Appendix A: agent data in two forms, format pairs, negatives and general chat.

No row is repeated to fill a share. If a source has fewer rows than asked for, the table of the corpus shows it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count, groupby
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from flanlib.corpus.balance import APPENDIX, balance, rank
from flanlib.dialects import render_all
from flanlib.dialects.following import pairs
from flanlib.records import KINDS, Conversation, FlanError, Kind, Trajectory
from flanlib.tally import Tally


@dataclass(frozen=True)
class Corpus:
    """Conversations in training order, with unique ids, and where they come from.

    ``places`` maps an id to its (form, source). ``draws`` has a row per form and source: asked, available, drawn.
    """

    conversations: list[Conversation]
    places: Mapping[str, tuple[str, str]]
    draws: pd.DataFrame
    tally: Tally

    def table(self, examples: Iterable[Any]) -> pd.DataFrame:
        """Count rows, tokens, trained tokens and tokens of each trained kind, by form and source beside the draws.

        ``examples`` are the conversations as :class:`flanlib.text.tokens.Example`. Balancing and tokenising can drop
        some of the ``drawn`` ones; their tallies say why. Raises FlanError for an example that is not in this corpus.
        """
        places = zip(self.draws["form"], self.draws["source"], strict=True)
        counts = {place: np.zeros(1 + len(KINDS), int) for place in places}
        for example in examples:
            if example.id not in self.places:
                raise FlanError(f"example {example.id}", found="an id that the corpus does not have",
                                expected="examples of its conversations", remedy="Tokenise corpus.conversations.")
            counts[self.places[example.id]] += [1, *np.bincount(example.kinds, minlength=len(KINDS))]
        table = pd.DataFrame(list(counts.values()), columns=["rows", *KINDS])
        tokens = table[list(KINDS)].sum(axis=1)
        table.insert(1, "tokens", tokens)
        table.insert(2, "trained_tokens", tokens - table.pop("context"))
        return pd.concat([self.draws, table], axis=1)


def mix(trajectories: Iterable[Trajectory], *, seed: int, following: int, general: Iterable[Conversation] = (),
        negatives: Iterable[Conversation] = (), weights: Mapping[Kind, float] = APPENDIX, react_share: float = 0.1,
        general_ratio: float = 1.0) -> Corpus:  # fmt: skip
    """Mix a corpus. The defaults are the paper's (Appendix A), which has ``following=2000`` beside 24,703 rows.

    Every trajectory is used once: a share ``react_share`` of them in ReAct form, the others in chat form (the published
    toolbench_react_10p has 2,288 rows, a tenth of Table 6's). ``following`` is the number of instruction-following
    pairs, at most one for each step of the trajectories. ``general_ratio`` is the number of ``general`` conversations
    per trajectory. The paper's 1 : 1 counts rows and is approximate: its authors mixed in all of ShareGPT (Agent-FLAN
    issue 4). All ``negatives`` are used. The corpus is balanced by ``weights`` (see ``balance``) and shuffled.

    Sources contribute in proportion to their sizes. What one argument draws does not depend on the others: corpora that
    differ in one argument differ only in that part. Raises FlanError without a trajectory and for values out of range.
    """
    trajectories = list(trajectories)
    for valid, found, expected in (
        (trajectories, "no trajectory", "one or more"),
        (0 <= react_share <= 1, f"react_share {react_share}", "a share between 0 and 1"),
        (0 <= general_ratio < float("inf"), f"general_ratio {general_ratio}", "a count of 0 or more per trajectory"),
        (following >= 0, f"following {following}", "a count of 0 or more"),
    ):
        if not valid:
            raise FlanError("mix", found=found, expected=expected, remedy="Change the argument.")
    agent = _by_source(trajectories, seed, "agent")
    chats = _by_source(general, seed, "general") or {"none": []}
    react_counts = apportion(round(react_share * len(trajectories)),
                              {source: len(rows) for source, rows in agent.items()})  # fmt: skip
    general_counts = apportion(round(general_ratio * len(trajectories)),
                                {source: len(rows) for source, rows in chats.items()})  # fmt: skip
    steps = {source: sum(len(row.steps) for row in rows) for source, rows in agent.items()}

    parts = []
    for form in ("chat", "react"):
        for source, rows in agent.items():
            n = react_counts[source]
            drawn = render_all(rows[:n] if form == "react" else rows[n:], form, seed=seed)
            parts.append(_Part(form, source, len(drawn), len(rows), drawn))
    for source, n in apportion(following, steps).items():
        drawn = pairs(agent[source], min(n, steps[source]), seed=seed)
        drawn = [replace(pair, id=f"{source}-{pair.id}") for pair in drawn]
        parts.append(_Part("following", source, n, steps[source], drawn))
    parts += [_Part("general", source, general_counts[source], len(rows), rows[: general_counts[source]])
              for source, rows in chats.items()]
    parts += [_Part("negative", source, len(rows), len(rows), rows)
              for source, rows in _by_source(negatives, seed, "negatives").items()]
    parts = [part for part in parts if part.asked or part.available]

    tally = Tally("mix")
    for source, rows in chats.items():
        for row in rows[general_counts[source] :]:
            tally.drop("general chat beyond the ratio", f"{source} {row.id}")
    for part in parts:
        if short := part.asked - len(part.rows):
            tally.note(f"{part.form} rows asked for but not there, {part.source}", short)
    draws = pd.DataFrame([(*part[:4], len(part.rows)) for part in parts],
                         columns=["form", "source", "asked", "available", "drawn"])  # fmt: skip
    places, conversations = _with_unique_ids(parts, tally)
    kept = balance(conversations, weights, seed=seed, tally=tally)
    return Corpus(sorted(kept, key=lambda row: rank(seed, "order", row.id)), places, draws, tally)


class _Part(NamedTuple):
    """The rows drawn from one source in one form."""

    form: str
    source: str
    asked: int
    available: int
    rows: list[Conversation]


def _with_unique_ids(parts: Iterable[_Part], tally: Tally) -> tuple[dict[str, tuple[str, str]], list[Conversation]]:
    """Return the (form, source) of every id, and the conversations. Ids already in use get a number and are noted."""
    places: dict[str, tuple[str, str]] = {}
    conversations: list[Conversation] = []
    for part in parts:
        for row in part.rows:
            if row.id in places:
                tally.note("ids made unique")
                numbered = (f"{row.id} #{n}" for n in count(2))
                row = replace(row, id=next(name for name in numbered if name not in places))
            places[row.id] = part.form, part.source
            conversations.append(row)
    return places, conversations


def _by_source(rows: Iterable, seed: int, purpose: str) -> dict[str, list]:
    """Group rows by source, each group in a random order that depends on the seed and the ids only."""
    ordered = sorted(rows, key=lambda row: (row.source, rank(seed, purpose, row.id)))
    return {source: list(group) for source, group in groupby(ordered, lambda row: row.source)}


def apportion(total: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """Divide a whole number in proportion to sizes, by largest remainders. If all are 0, the first gets everything.

    >>> apportion(10, {"a": 60, "b": 25, "c": 15})
    {'a': 6, 'b': 3, 'c': 1}
    """
    whole = sum(sizes.values())
    if not whole:
        return {source: total * (i == 0) for i, source in enumerate(sizes)}
    parts = {source: total * size // whole for source, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda source: total * sizes[source] % whole, reverse=True)
    for source in by_remainder[: total - sum(parts.values())]:
        parts[source] += 1
    return parts
