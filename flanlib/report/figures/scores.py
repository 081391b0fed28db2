"""Pictures of scores by model, form, arm and cell of Agent-H, and of the shares of kinds in texts and replies."""

import math
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import cycle

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from flanlib.benchmarks.agent_h.score import CALLED, INVENTED, LOOP, NO_CALL, OTHERWISE, RIGHT
from flanlib.benchmarks.scores import in_points
from flanlib.report.figures import parts
from flanlib.report.figures.style import (
    FORM_NAMES,
    FORMS,
    INK,
    OTHER,
    PAD,
    STYLE,
    Picture,
    draws,
    form_name,
    in_order,
    kinds_of,
    looks_of,
)

T_EVAL = "T-Eval, in the paper"
SCORES = ("overall", "instruction", "retrieval", "naming", "understanding", "reasoning", "episodes", "general", T_EVAL)
ARMS = FORMS["react"], FORMS["chat"], OTHER, STYLE["understanding"], STYLE["instruction"], STYLE["general"]
# Right answers have one strong colour; wrong ones differ from it, and from each other, in lightness too.
ANSWERS = {answer: replace(OTHER, colour=colour, hatch=hatch) for answer, colour, hatch in (
    (RIGHT, "#0173b2", ""), (NO_CALL, "#e3e3e3", ""), (CALLED, "#d55e00", "//"), (INVENTED, "#8f2d0c", "xx"),
    (OTHERWISE, "#ecb36b", ".."), (LOOP, "#7f7f7f", "--"))}  # fmt: skip


@draws("model", "split", "protocol", "score", "value", "low", "high", "n")
def report_card(frame: pd.DataFrame, targets: Mapping[str, float] | None = None, *, of: str = "tasks") -> Figure:
    """Draw what models can do: a panel per split, a line per score, a mark per model.

    ``protocol`` is the form of the prompts, one per model. ``targets`` gives a value (0 to 1) to aim at, by score, each
    drawn as a thin vertical line.
    """
    scores, looks = in_order(frame["score"], SCORES), looks_of(frame["model"])
    figure, panels = parts.dot_panels(in_points(frame), panels=("split", {}), rows=("score", scores),
                                      series=("model", looks))  # fmt: skip
    tick = {"color": INK, "linewidth": 1.2, "linestyle": (0, (2, 1))}
    for split, axes in panels.items():
        measured = set(frame[frame["split"] == split]["score"])
        for score, target in (targets or {}).items():
            if score in measured:
                axes.plot([100 * target] * 2, [scores.index(score) + end for end in (-0.42, 0.42)], zorder=1, **tick)
        parts.points_axis(axes)
    protocols = dict(zip(frame["model"], frame["protocol"], strict=True))
    marks = [Line2D([], [], label="target", **tick)] if targets else []
    parts.legend(figure, {f"{model}, asked in {form_name(protocols[model])}": look for model, look in looks.items()},
                 parts.counts(frame["n"], of), *marks)  # fmt: skip
    return figure


@draws("form", "score", "trained_tokens", "value", "low", "high", "n")
def skill_by_tokens(frame: pd.DataFrame) -> Figure:
    """Draw skill on held-out tasks against trained tokens: a panel per score, a line per form.

    Tokens are on a log scale. The measurement before training, at 0 tokens, is drawn at the left edge.
    """
    names, looks = in_order(frame["score"], SCORES), looks_of(frame["form"])
    figure, [panels] = parts.curve_panels(len(names))
    points = in_points(frame)
    for axes, score in zip(panels, names, strict=True):
        lines = parts.tokens_axis(axes, points, points["score"] == score)
        parts.curves(axes, lines, "value", by="form", looks=looks, label=form_name)
        axes.set(title=score, ylim=(-3, 103))
    panels[0].set_ylabel("right on held-out tasks (points of 100)")
    parts.below(figure, list(parts.by_label(panels).values()),
                f"band: 95 % interval, {parts.counts(frame['n'], 'tasks')}", length=4)  # fmt: skip
    return figure


@draws("score", "value", "low", "high", "n")
def gains(frame: pd.DataFrame, names: tuple[str, str], *, of: str = "tasks") -> Figure:
    """Draw by how many points of 100 one model is ahead of another, score by score. ``names`` are theirs."""
    ahead, behind = names
    scores = in_order(frame["score"], SCORES)
    figure = Picture(figsize=(7.6, 1.5 + 0.42 * len(scores)))
    axes = figure.subplots()
    parts.dots(axes, in_points(frame).assign(series=""), rows=("score", scores), series=("series", {"": OTHER}),
               write="{:+.1f}".format)  # fmt: skip
    ends = 100 * frame[["value", "low", "high"]].stack()
    axes.axvline(0, color=INK, linewidth=1, zorder=1)
    parts.room_for_numbers(axes, min(ends.min(), -5), max(ends.max(), 5))
    axes.set_xlabel(f"{ahead} - {behind} (points of 100)")
    axes.text(0, -0.62, f"{behind} ahead  ", ha="right", color=INK, fontsize="small")
    axes.text(0, -0.62, f"  {ahead} ahead", ha="left", color=INK, fontsize="small")
    parts.legend(figure, {}, parts.counts(frame["n"], of))
    return figure


@draws("arm", "score", "value", "low", "high", "n")
def table2(frame: pd.DataFrame, paper: pd.DataFrame | None = None, *, of: str = "seeds") -> Figure:
    """Draw our Table 2: a line per score, a mark per arm, and in a last line the paper's T-Eval.

    ``paper`` has arm and value, the paper's T-Eval in points. Arms without one have no mark there.
    """
    points, arms = in_points(frame), list(dict.fromkeys(frame["arm"]))
    looks = dict(zip(arms, cycle(ARMS), strict=False))
    if paper is not None:
        printed = paper[paper["arm"].isin(arms) & paper["value"].notna()][["arm", "value"]]
        points = pd.concat([points, printed.assign(score=T_EVAL, low=math.nan, high=math.nan)], ignore_index=True)
    names = in_order(points["score"], SCORES)
    figure = Picture(figsize=(7.6, 1.3 + len(names) * (0.14 + 0.17 * len(arms))))
    axes = figure.subplots()
    parts.dots(axes, points, rows=("score", names), series=("arm", looks))
    parts.points_axis(axes)
    parts.legend(figure, looks, parts.counts(frame["n"], of))
    return figure


@draws("source", "dialect", "kind", "tokens", "share", "n")
def kind_shares(frame: pd.DataFrame) -> Figure:
    """Draw which share of a corpus' trained tokens each kind has: one bar per source and dialect."""
    bars = frame.groupby(["source", "dialect"], sort=False)
    figure = Picture(figsize=(9, 1.5 + 0.46 * len(bars)))
    axes = figure.subplots()
    kinds = kinds_of(frame, "kind_shares")
    for y, (_, rows) in enumerate(bars):
        shares = 100 * rows.set_index("kind")["share"]
        looks = {kind: STYLE[kind] for kind in kinds if kind in shares}
        for kind, start in parts.stacked_bars(axes, y, shares, looks, edge=0.8).items():
            if (share := shares[kind]) >= 4:  # a number needs room
                axes.text(start + share / 2, y, f"{share:.0f}", ha="center", va="center", color=INK, bbox=PAD)
        size = f"{rows['tokens'].sum():,.0f} tokens of {rows['n'].max():,.0f} conversations"
        axes.text(101, y, size, va="center", color=INK, fontsize="small")
    axes.set(xlim=(0, 100), xlabel="share of trained tokens (%)", yticks=range(len(bars)),
             yticklabels=[_text_name(*name, rows["kind"]) for name, rows in bars])  # fmt: skip
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    parts.bar_legend(figure, {kind: STYLE[kind] for kind in kinds}, ncols=len(kinds), handlelength=2.4)
    return figure


@draws("model", "cell", "answer", "share", "low", "high", "n")
def answers(frame: pd.DataFrame) -> Figure:
    """Draw how models answer, as stacked bars: a panel per cell, a bar per model, the right kind of answer in front.

    ``answer`` is one of ANSWERS. The share of right answers is written beside the bar, with its interval.
    """
    models, names = list(dict.fromkeys(frame["model"])), list(dict.fromkeys(frame["cell"]))
    columns = 2 if len(names) == 4 else min(3, len(names))
    lines = math.ceil(len(names) / columns)
    figure = Picture(figsize=(9, 1.0 + lines * (0.9 + 0.28 * len(models))))
    panels = list(figure.subplots(lines, columns, sharey=True, squeeze=False).flat)
    for axes, cell in zip(panels, names, strict=False):
        rows = frame[frame["cell"] == cell]
        shares = rows.pivot(index="model", columns="answer", values="share").reindex(index=models)
        parts.stacked_bars(axes, models, 100 * shares.reindex(columns=list(ANSWERS)).fillna(0), ANSWERS, edge=0.6)
        for row in rows[rows["answer"] == RIGHT].to_dict("records"):
            axes.text(103, models.index(row["model"]), f"{100 * row['share']:.0f} [{100 * row['low']:.0f}, "
                      f"{100 * row['high']:.0f}]", va="center", color=INK, fontsize="small")  # fmt: skip
        axes.set(xlim=(0, 100), xticks=(0, 50, 100))
        count = f"(n\u00a0=\u00a0{rows['n'].max():,.0f})"  # spaces at which no line is broken
        axes.set_title(textwrap.fill(f"{cell} {count}", 28), fontsize="medium")
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
    for axes in panels[len(names):]:
        axes.set_axis_off()
    panels[0].invert_yaxis()
    parts.bar_legend(figure, ANSWERS, handlelength=2, ncols=3,
                     title="replies (%); numbers: right ones, with their 95 % interval over n samples")  # fmt: skip
    return figure


def _text_name(source: str, dialect: str, kinds: Iterable[str]) -> str:
    """Name a corpus with its form, or plain chat, which has none.

    >>> _text_name("lab", "react", ["reasoning"]), _text_name("lab", "following", ["retrieval"])
    ('lab, ReAct form', 'lab, format pairs')
    >>> _text_name("plain chat", "chat", ["general"])
    'plain chat'
    """
    form = {"following": "format pairs", **FORM_NAMES}.get(dialect, dialect)
    return source if set(kinds) == {"general"} else f"{source}, {form}"
