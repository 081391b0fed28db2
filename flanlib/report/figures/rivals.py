"""Pictures of rival ways of tuning: beside the paper's (its Figure 1), and against data and model size (7 and 8)."""

import pandas as pd
from matplotlib.figure import Figure

from flanlib.benchmarks.scores import in_points
from flanlib.report.figures import parts
from flanlib.report.figures.style import INK, PAD, Picture, draws, looks_of


@draws("model", "column", "value", "low", "high", "n")
def rivals(frame: pd.DataFrame, paper: pd.DataFrame, *, of: str = "tasks") -> Figure:
    """Draw what models reach on several benchmarks, ours on the left and the paper's on the right.

    ``paper`` has model, column and value, a share of GPT-4's score as in the paper's Figure 1, without intervals.
    """
    looks = looks_of(frame["model"])
    shares = in_points(paper.assign(low=float("nan"), high=float("nan")))
    sides = {"here": (in_points(frame), "score (points of 100)"), "the paper": (shares, "% of GPT-4's score")}
    rows = max(frame["column"].nunique(), paper["column"].nunique())
    figure = Picture(figsize=(9, 1.3 + rows * (0.14 + 0.17 * len(looks))))
    for axes, (title, (points, unit)) in zip(figure.subplots(1, 2), sides.items(), strict=True):
        names = list(dict.fromkeys(points["column"]))
        parts.dots(axes, points, rows=("column", names), series=("model", looks))
        parts.points_axis(axes)
        axes.set(title=title, xlabel=unit)
    parts.legend(figure, looks, parts.counts(frame["n"], of))
    return figure


@draws("place", "series", "score", "value", "low", "high", "n")
def growth(frame: pd.DataFrame, *, along: str, of: str = "tasks") -> Figure:
    """Draw scores against an amount: a panel per score, a line per series, ``place`` at equal distances on the x axis.

    ``along`` says what the places are.
    """
    names, places = list(dict.fromkeys(frame["score"])), list(dict.fromkeys(frame["place"]))
    looks, points = looks_of(frame["series"]), in_points(frame)
    figure, [panels] = parts.curve_panels(len(names))
    for axes, name in zip(panels, names, strict=True):
        for i, (series, look) in enumerate(looks.items()):
            rows = points[(points["score"] == name) & (points["series"] == series)]
            x = [places.index(place) + 0.09 * (i - (len(looks) - 1) / 2) for place in rows["place"]]
            axes.errorbar(x, rows["value"], yerr=parts.errors(rows, "value"), color=look.colour, linestyle=look.dash,
                          marker=look.marker, markersize=6.5, capsize=3, linewidth=1.4, label=series)  # fmt: skip
            side = -1 if i < (len(looks) - 1) / 2 else 1
            for at, value in zip(x, rows["value"], strict=True):
                axes.annotate(f"{value:.0f}", (at, value), (8 * side, 0), textcoords="offset points", color=INK,
                              ha="left" if side > 0 else "right", va="center", fontsize="small", bbox=PAD)
        axes.set(title=name, xlabel=along, xticks=range(len(places)), xlim=(-0.5, len(places) - 0.5), ylim=(-4, 104))
        axes.set_xticklabels(places)
        axes.grid(axis="x", visible=False)
    panels[0].set_ylabel("score (points of 100)")
    parts.legend(figure, looks, parts.counts(frame["n"], of))
    return figure
