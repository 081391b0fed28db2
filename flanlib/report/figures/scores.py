"""Pictures of scores by model, form, arm and cell of Agent-H, and of the shares of kinds in texts and replies."""

import math
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from flanlib.benchmarks import bfcl
from flanlib.benchmarks.agent_h.replies import DEGENERATE, KINDS, MALFORMED, OFFERED, PLAIN
from flanlib.report.figures import parts
from flanlib.report.figures.style import (
    INK,
    OTHER,
    PAD,
    STYLE,
    Look,
    Picture,
    draws,
    form_name,
    in_order,
    kinds_of,
    looks_of,
)

SCORES = ("overall", "instruction", "retrieval", "naming", "understanding", "reasoning", "episodes", "general")
PRINTED = replace(OTHER, marker="P")  # numbers that the paper prints
# Kinds of reply: plain text is light and degenerate replies are grey, the others have colours.
_COLOURS = "#e3e3e3", "#0173b2", "#d55e00", "#de8f05", "#029e73", "#56407a", "#7f7f7f"
_HATCHES = "", "//", "xx", "..", "\\\\", "||", "--"
LOOKS = {kind: replace(OTHER, colour=colour, hatch=hatch)
         for kind, colour, hatch in zip(KINDS, _COLOURS, _HATCHES, strict=True)}  # fmt: skip
CALLS_OR_NOT = dict(zip(bfcl.KINDS, (LOOKS[kind] for kind in (OFFERED, MALFORMED, PLAIN, DEGENERATE)), strict=True))
"""The looks of BFCL's kinds of reply."""


@draws("model", "split", "protocol", "score", "value", "low", "high", "n")
def report_card(frame: pd.DataFrame, targets: Mapping[str, float] | None = None, *, of: str = "tasks") -> Figure:
    """Draw what models can do: a panel per split, a line per score, a mark per model.

    ``protocol`` is the form of the prompts, one per model. ``targets`` gives a value (0 to 1) to aim at, by score, each
    drawn as a thin vertical line.
    """
    scores, looks = in_order(frame["score"], SCORES), looks_of(frame["model"])
    figure, panels = parts.dot_panels(parts.in_points(frame), panels=("split", {}), rows=("score", scores),
                                      series=("model", looks))  # fmt: skip
    tick = {"color": INK, "linewidth": 1.2, "linestyle": (0, (2, 1))}
    for split, axes in panels.items():
        measured = set(frame[frame["split"] == split]["score"])
        for score, target in (targets or {}).items():
            if score in measured:
                axes.plot([100 * target] * 2, [scores.index(score) + end for end in (-0.42, 0.42)], zorder=1, **tick)
        parts.points_axis(axes, 122)
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
    least, most = frame.loc[frame["trained_tokens"] > 0, "trained_tokens"].min(), frame["trained_tokens"].max()
    zero = least / 2  # a log scale has no 0
    ticks = [tick for tick in (500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000) if least <= tick <= most]
    points = parts.in_points(frame).assign(trained_tokens=frame["trained_tokens"].clip(lower=zero))
    points = points.sort_values("trained_tokens")
    for axes, score in zip(panels, names, strict=True):
        parts.curves(axes, points[points["score"] == score], "value", by="form", looks=looks, label=form_name)
        axes.set(title=score, xlabel="trained tokens, log scale", xscale="log", ylim=(-3, 103))
        axes.set_xticks([zero, *ticks], ["0", *map(parts.thousands, ticks)])
        axes.minorticks_off()
    panels[0].set_ylabel("right on held-out tasks (points of 100)")
    parts.below(figure, list(parts.by_label(panels).values()),
                f"band: 95 % interval, {parts.counts(frame['n'], 'tasks')}", length=4)  # fmt: skip
    return figure


@draws("score", "form", "value", "low", "high", "n")
def scores_by_form(frame: pd.DataFrame, *, of: str = "seeds") -> Figure:
    """Draw whether a form raises scores: a line per score, a mark per form."""
    names, looks = in_order(frame["score"], SCORES), looks_of(frame["form"])
    figure = Picture(figsize=(7.6, 1.5 + len(names) * (0.2 + 0.21 * len(looks))))
    axes = figure.subplots()
    parts.dots(axes, parts.in_points(frame), rows=("score", names), series=("form", looks))
    parts.points_axis(axes, 112)
    parts.legend(figure, {form_name(form): look for form, look in looks.items()}, parts.counts(frame["n"], of))
    return figure


@draws("arm", "score", "value", "low", "high", "n", "trained_tokens")
def table2(frame: pd.DataFrame, paper: pd.DataFrame | None = None, *, of: str = "seeds") -> Figure:
    """Draw our Table 2: a panel per score, the overall one first, and a last panel with the paper's T-Eval.

    ``paper`` has arm and value, the paper's T-Eval in points. Arms without one are marked as not reported.
    """
    points, arms = parts.in_points(frame), list(dict.fromkeys(frame["arm"]))
    names = [*in_order(frame["score"], SCORES), *(["paper"] if paper is not None else [])]
    columns = min(4, len(names))
    lines = math.ceil(len(names) / columns)
    figure = Picture(figsize=(10, 0.6 + lines * (0.8 + 0.38 * len(arms))))
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).flat
    for axes, name in zip(panels, names, strict=False):
        rows, look, missing, title, unit = points[points["score"] == name], OTHER, "no value", name, "points of 100"
        if name == "paper":
            rows = pd.DataFrame({"arm": arms}).merge(paper[["arm", "value"]], how="left")
            rows = rows.assign(score=name, low=math.nan, high=math.nan)
            look, missing, title, unit = PRINTED, "not reported", "the paper", "T-Eval (points)"
        parts.dots(axes, rows, rows=("arm", arms), series=("score", {name: look}), missing=missing)
        axes.set(title=title, xlabel=unit, xlim=_span(rows))
    for axes in list(figure.axes)[len(names) :]:
        axes.set_axis_off()
    parts.legend(figure, {}, parts.counts(frame["n"], of))
    return figure


@draws("model", "cell", "value", "low", "high", "n")
def cells(frame: pd.DataFrame) -> Figure:
    """Draw how often each model did the right kind of thing, as a heat map: a line per model, a column per cell."""
    models, names = list(dict.fromkeys(frame["model"])), list(dict.fromkeys(frame["cell"]))
    figure = Picture(figsize=(2.6 + 1.45 * len(names), max(4, 1.6 + 0.52 * len(models))))
    axes = figure.subplots()
    values = frame.pivot(index="model", columns="cell", values="value").reindex(models)[names]
    image = axes.imshow(100 * values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for point in frame.to_dict("records"):
        at = names.index(point["cell"]), models.index(point["model"])
        label = f"{100 * point['value']:.0f}\n[{100 * point['low']:.0f}, {100 * point['high']:.0f}]"
        axes.annotate(label, at, ha="center", va="center", fontsize="small",
                      color="white" if point["value"] < 0.5 else "black")  # fmt: skip
    axes.set_xticks(range(len(names)), map(_wrapped, names))
    axes.set_yticks(range(len(models)), models)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02)
    bar.set_label(f"right kind of answer (%), [95 % interval]\n{parts.counts(frame['n'], 'samples')}")
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
             yticklabels=[", ".join(name) for name, _ in bars])  # fmt: skip
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    parts.bar_legend(figure, {kind: STYLE[kind] for kind in kinds}, ncols=len(kinds), handlelength=2.4)
    return figure


@draws("model", "cell", "kind", "share", "n")
def reply_kinds(frame: pd.DataFrame, looks: Mapping[str, Look] = LOOKS) -> Figure:
    """Draw the shares of the kinds of replies as stacked bars: a panel per cell, a bar per model, kinds as in looks."""
    models, names = list(dict.fromkeys(frame["model"])), list(dict.fromkeys(frame["cell"]))
    figure = Picture(figsize=(1.8 + 2.1 * len(names), 1.5 + 0.34 * len(models)))
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, cell in zip(panels, names, strict=True):
        shares = frame[frame["cell"] == cell].pivot(index="model", columns="kind", values="share")
        shares = 100 * shares.reindex(index=models, columns=list(looks)).fillna(0.0)
        parts.stacked_bars(axes, models, shares, looks, edge=0.6)
        axes.set(xlim=(0, 100), xticks=(0, 50, 100), xlabel="replies (%)")
        axes.set_title(_wrapped(cell), fontsize="medium")
        axes.grid(axis="y", visible=False)
    panels[0].invert_yaxis()
    parts.bar_legend(figure, looks, handlelength=2, ncols=min(len(looks), 2 + len(names)),
                     title=parts.counts(frame["n"], "replies"))  # fmt: skip
    return figure


@draws("measure", "model", "value", "low", "high", "n")
def two_measures(frame: pd.DataFrame) -> Figure:
    """Draw the paper's keyword score beside the structural score: a panel per measure, a line per model."""
    models = list(dict.fromkeys(frame["model"]))
    figure, panels = parts.dot_panels(parts.in_points(frame).assign(series="score"), panels=("measure", {}),
                                      rows=("model", models), series=("series", {"score": OTHER}))  # fmt: skip
    for axes in panels.values():
        parts.points_axis(axes, 118)
    parts.legend(figure, {}, parts.counts(frame["n"], "samples"))
    return figure


def _span(rows: pd.DataFrame) -> tuple[float, float]:
    """Return x limits around values and intervals, with room on the right for numbers."""
    values = rows[["value", "low", "high"]].stack().dropna()
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    width = (high - low) or abs(high) or 1.0
    return low - 0.06 * width, high + 0.45 * width


def _wrapped(name: str) -> str:
    """Break a name at its comma, or near its middle.

    >>> _wrapped("no tools, one needed")
    'no tools,\\none needed'
    """
    if ", " in name:
        return name.replace(", ", ",\n", 1)
    words = name.split()
    half = (len(words) + 1) // 2
    return f"{' '.join(words[:half])}\n{' '.join(words[half:])}".rstrip()
