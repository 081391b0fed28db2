"""Mix the training corpus of Appendix A: agent data in two forms, format pairs, negatives and general chat.

Nothing is repeated to fill a share: where fewer rows are there than asked for, the table of the corpus shows it.
"""

from collections import namedtuple
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count, groupby
from typing import Any

import numpy as np
import pandas as pd

from flanlib.corpus.balance import APPENDIX, balance, rank
from flanlib.dialects import render_all
from flanlib.dialects.following import pairs
from flanlib.records import KINDS, Conversation, FlanError, Kind, Trajectory
from flanlib.tally import Tally


@dataclass(frozen=True)
class Corpus:
    """Conversations in training order, ids unique, and where they come from.

    ``places`` gives the (form, source) of an id; ``draws`` has a row per form and source: asked, available, drawn.
    """

    conversations: list[Conversation]
    places: Mapping[str, tuple[str, str]]
    draws: pd.DataFrame
    tally: Tally

    def table(self, examples: Iterable[Any]) -> pd.DataFrame:
        """Count what is trained on, by form and source: the draws, then rows, tokens, trained tokens, and by kind.

        ``examples`` are the conversations as :class:`flanlib.text.tokens.Example`. ``rows`` may be fewer than
        ``drawn``: balancing or tokenising dropped the rest, and their tallies say why.
        Raises FlanError for an example that is not of this corpus.
        """
        places = zip(self.draws["form"], self.draws["source"], strict=True)
        found = {place: np.zeros(1 + len(KINDS), int) for place in places}
        for example in examples:
            if example.id not in self.places:
                raise FlanError(f"example {example.id}", found="an id that the corpus does not have",
                                expected="examples of its conversations", remedy="Tokenise corpus.conversations.")
            found[self.places[example.id]] += [1, *np.bincount(example.kinds, minlength=len(KINDS))]
        counted = pd.DataFrame(list(found.values()), columns=["rows", *KINDS])
        tokens = counted[list(KINDS)].sum(axis=1)
        counted.insert(1, "tokens", tokens)
        counted.insert(2, "trained_tokens", tokens - counted.pop("context"))
        return pd.concat([self.draws, counted], axis=1)


def mix(trajectories: Iterable[Trajectory], *, seed: int, following: int, general: Iterable[Conversation] = (),
        negatives: Iterable[Conversation] = (), weights: Mapping[Kind, float] = APPENDIX, react_share: float = 0.1,
        general_ratio: float = 1.0) -> Corpus:  # fmt: skip
    """Mix a corpus; the defaults are the paper's (Appendix A), which has ``following=2000`` beside 24,703 rows.

    Every trajectory is used once: ``react_share`` of them in ReAct form (the published toolbench_react_10p has
    2,288 rows, a tenth of Table 6's), the others in chat form. ``following`` is a number of instruction-following
    pairs, at most one for each step that the trajectories have. ``general_ratio`` is conversations of ``general``
    for each trajectory: the paper's 1 : 1 is about rows, and loose (its authors mixed ShareGPT in whole, Agent-FLAN
    issue 4). All ``negatives`` are taken. The whole is balanced by ``weights``, see
    :func:`flanlib.corpus.balance.balance`, and shuffled.

    Shares are drawn from the sources in proportion to their size. What one argument draws does not depend on the
    others, so corpora that differ in one of them differ in that part only.
    Raises FlanError without a trajectory and for counts and shares that cannot be.
    """
    trajectories = list(trajectories)
    for fine, found, expected in (
        (trajectories, "no trajectory", "one or more"),
        (0 <= react_share <= 1, f"react_share {react_share}", "a share between 0 and 1"),
        (0 <= general_ratio < float("inf"), f"general_ratio {general_ratio}", "a count of 0 or more per trajectory"),
        (following >= 0, f"following {following}", "a count of 0 or more"),
    ):
        if not fine:
            raise FlanError("mix", found=found, expected=expected, remedy="Change the argument.")
    agent, chats = _by_source(trajectories, seed, "agent"), _by_source(general, seed, "general") or {"none": []}
    steps = {source: sum(len(row.steps) for row in rows) for source, rows in agent.items()}
    react, ratio = (_apportion(round(share * len(trajectories)), {source: len(rows) for source, rows in groups.items()})
                    for share, groups in ((react_share, agent), (general_ratio, chats)))  # fmt: skip

    parts = [_Part("chat", source, len(rows) - react[source], len(rows),
                   render_all(rows[react[source] :], "chat", seed=seed)) for source, rows in agent.items()]
    parts += [_Part("react", source, react[source], len(rows),
                    render_all(rows[: react[source]], "react", seed=seed)) for source, rows in agent.items()]
    for source, n in _apportion(following, steps).items():
        made = pairs(agent[source], min(n, steps[source]), seed=seed)
        named = [replace(pair, id=f"{source}-{pair.id}") for pair in made]
        parts.append(_Part("following", source, n, steps[source], named))
    parts += [_Part("general", source, ratio[source], len(rows), rows[: ratio[source]])
              for source, rows in chats.items()]
    parts += [_Part("negative", source, len(rows), len(rows), rows)
              for source, rows in _by_source(negatives, seed, "negatives").items()]
    parts = [part for part in parts if part.asked or part.available]

    tally = Tally("mix")
    for source, rows in chats.items():
        for row in rows[ratio[source] :]:
            tally.drop("general chat beyond the ratio", f"{source} {row.id}")
    for part in parts:
        if short := part.asked - len(part.rows):
            tally.note(f"{part.form} rows asked for but not there, {part.source}", short)
    draws = pd.DataFrame([(*part[:4], len(part.rows)) for part in parts],
                         columns=["form", "source", "asked", "available", "drawn"])  # fmt: skip
    places, conversations = _named(parts, tally)
    kept = balance(conversations, weights, seed=seed, tally=tally)
    return Corpus(sorted(kept, key=lambda row: rank(seed, "order", row.id)), places, draws, tally)


# What was drawn of one source in one form.
_Part = namedtuple("_Part", ("form", "source", "asked", "available", "rows"))


def _named(parts: Iterable[_Part], tally: Tally) -> tuple[dict[str, tuple[str, str]], list[Conversation]]:
    """Return the place of every id, and the conversations; an id that is taken gets a number, and is noted."""
    places: dict[str, tuple[str, str]] = {}
    found: list[Conversation] = []
    for part in parts:
        for row in part.rows:
            if row.id in places:
                tally.note("ids made unique")
                numbered = (f"{row.id} #{n}" for n in count(2))
                row = replace(row, id=next(name for name in numbered if name not in places))
            places[row.id] = part.form, part.source
            found.append(row)
    return places, found


def _by_source(rows: Iterable, seed: int, purpose: str) -> dict[str, list]:
    """Group rows by source, each group in a random order that depends on the seed and the ids only."""
    ordered = sorted(rows, key=lambda row: (row.source, rank(seed, purpose, row.id)))
    return {source: list(group) for source, group in groupby(ordered, lambda row: row.source)}


def _apportion(total: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """Divide a whole number in proportion to sizes, by largest remainders; it all goes to the first if all are 0.

    >>> _apportion(10, {"a": 60, "b": 25, "c": 15})
    {'a': 6, 'b': 3, 'c': 1}
    """
    whole = sum(sizes.values())
    if not whole:
        return {source: total * (i == 0) for i, source in enumerate(sizes)}
    parts = {source: total * size // whole for source, size in sizes.items()}
    rest = sorted(sizes, key=lambda source: total * sizes[source] % whole, reverse=True)
    for source in rest[: total - sum(parts.values())]:
        parts[source] += 1
    return parts
