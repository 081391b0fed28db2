"""Pictures of observation 3: what models answer where no call is asked for, by keywords and by structure."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from flanlib.benchmarks.agent_h.replies import ANNOUNCED, DEGENERATE, FORMAT, INVENTED, MALFORMED, OFFERED, PLAIN
from flanlib.figures.parts import counts, dot_panels, legend
from flanlib.figures.style import OTHER, Look, Picture, need, styled

KINDS: dict[str, Look] = {
    PLAIN: Look("#e3e3e3", "-", "o"),
    OFFERED: Look("#0173b2", "-", "s", "//"),
    INVENTED: Look("#d55e00", "-", "^", "xx"),
    MALFORMED: Look("#de8f05", "-", "D", ".."),
    ANNOUNCED: Look("#029e73", "-", "v", "\\\\"),
    FORMAT: Look("#56407a", "-", "P", "||"),
    DEGENERATE: Look("#7f7f7f", "-", "X", "--"),
}
@styled
def cells(frame: pd.DataFrame) -> Figure:
    """Draw how often each model did the right kind of thing, as a heat map: a line per model, a column per cell.

    Columns: model, cell (from left to right as they come), value (0 to 1), low, high, n (samples).
    """
    need(frame, "cells", "model", "cell", "value", "low", "high", "n")
    models, names = list(dict.fromkeys(frame["model"])), list(dict.fromkeys(frame["cell"]))
    figure = Picture(figsize=(2.6 + 1.45 * len(names), max(4, 1.6 + 0.52 * len(models))), layout="constrained")
    axes = figure.subplots()
    values = frame.pivot(index="model", columns="cell", values="value").reindex(models)[names]
    image = axes.imshow(100 * values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for point in frame.to_dict("records"):
        at = names.index(point["cell"]), models.index(point["model"])
        told = f"{100 * point['value']:.0f}\n[{100 * point['low']:.0f}, {100 * point['high']:.0f}]"
        axes.annotate(told, at, ha="center", va="center", fontsize="small",
                      color="white" if point["value"] < 0.5 else "black")  # fmt: skip
    axes.set(xticks=range(len(names)), yticks=range(len(models)), yticklabels=models)
    axes.set_xticklabels([_wrapped(name) for name in names])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02)
    bar.set_label(f"right kind of answer (%), [95 % interval]\n{counts(frame['n'], 'samples')}")
    return figure


@styled
def reply_kinds(frame: pd.DataFrame) -> Figure:
    """Draw what replies are, as stacked bars: a panel per cell, a bar per model.

    Columns: model, cell, kind (see :mod:`flanlib.benchmarks.agent_h.replies`), share (0 to 1), n (replies).
    """
    need(frame, "reply_kinds", "model", "cell", "kind", "share", "n")
    models, names = list(dict.fromkeys(frame["model"])), list(dict.fromkeys(frame["cell"]))
    figure = Picture(figsize=(1.8 + 2.1 * len(names), 1.5 + 0.34 * len(models)), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, cell in zip(panels, names, strict=True):
        shares = frame[frame["cell"] == cell].pivot(index="model", columns="kind", values="share")
        shares = shares.reindex(index=models, columns=list(KINDS)).fillna(0.0)
        left = pd.Series(0.0, index=models)
        for kind, look in KINDS.items():
            axes.barh(models, 100 * shares[kind], left=100 * left, color=look.colour, hatch=look.hatch,
                      edgecolor="white", linewidth=0.6, height=0.72)  # fmt: skip
            left += shares[kind]
        axes.set(xlim=(0, 100), xticks=(0, 50, 100), xlabel="replies (%)")
        axes.set_title(_wrapped(cell), fontsize="medium")
        axes.grid(axis="y", visible=False)
    panels[0].invert_yaxis()
    handles = [Patch(facecolor=look.colour, hatch=look.hatch, edgecolor="white", label=kind)
               for kind, look in KINDS.items()]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", frameon=False, handlelength=2,
                  ncols=min(len(handles), 2 + len(names)), title=counts(frame["n"], "replies"))  # fmt: skip
    return figure


@styled
def two_measures(frame: pd.DataFrame) -> Figure:
    """Draw the paper's score by keywords beside the structural one: a panel per measure, a line per model.

    Columns: measure, model, value (0 to 1), low, high, n (samples).
    """
    need(frame, "two_measures", "measure", "model", "value", "low", "high", "n")
    points = frame.assign(**{name: 100 * frame[name] for name in ("value", "low", "high")}, of="score")
    models = list(dict.fromkeys(frame["model"]))
    figure, panels = dot_panels(points, "value", panels=("measure", {}), rows=("model", models),
                                series=("of", {"score": OTHER}), write=lambda one: f"{one['value']:.1f}")  # fmt: skip
    for axes in panels.values():
        axes.set(xlim=(-3, 118), xticks=range(0, 101, 20), xlabel="score (points of 100)")
    legend(figure, {}, f"line: 95 % interval, {counts(frame['n'], 'samples')}")
    return figure


def _wrapped(name: str) -> str:
    """Break a name at its comma, or near its middle.

    >>> _wrapped("no tools, one needed")
    'no tools,\\none needed'
    """
    if ", " in name:
        return name.replace(", ", ",\n", 1)
    words = name.split()
    half = (len(words) + 1) // 2
    return " ".join(words[:half]) + ("\n" + " ".join(words[half:]) if words[half:] else "")
