"""Parts of pictures: dots with intervals, curves with bands, stacked bars, their axes and their legends."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from flanlib.records import FlanError
from flanlib.report.figures.style import INK, PAD, Look, Picture, in_order


def dots(axes: Axes, frame: pd.DataFrame, *, rows: tuple[str, Sequence[str]], series: tuple[str, Mapping[str, Look]],
         write: Callable[[float], str] = "{:.1f}".format, missing: str = "no value") -> None:  # fmt: skip
    """Draw values with their intervals in rows, and within a row the series one below the other.

    ``frame`` has the columns value, low and high. ``rows`` gives the column that names the rows and their order from
    top to bottom, ``series`` the column that names the series and their looks. ``write`` formats the number beside a
    point, and ``missing`` is the text for NaN. Raises FlanError for two values of one row and series.
    """
    (row_column, names), (series_column, looks) = rows, series
    if frame.duplicated([row_column, series_column]).any():
        raise FlanError("figure", found=f"several values for one {row_column} and {series_column}", expected="one",
                        remedy="Select the rows before drawing them.")  # fmt: skip
    for i, (name, look) in enumerate(looks.items()):
        points = frame[frame[series_column] == name]
        offset = 0.72 * (i + 0.5 - len(looks) / 2) / len(looks)
        y = [names.index(row) + offset for row in points[row_column]]
        axes.errorbar(points["value"], y, xerr=errors(points, "value"), fmt=look.marker, color=look.colour, capsize=3,
                      markersize=6.5, linewidth=1.4, markeredgewidth=1.4)  # fmt: skip
        for at, value, high in zip(y, points["value"], points["high"], strict=True):
            known = not math.isnan(value)
            axes.annotate(write(value) if known else missing, (np.nanmax([value, high]) if known else 0.02, at), (6, 0),
                          textcoords="offset points", xycoords="data" if known else ("axes fraction", "data"), bbox=PAD,
                          color=INK, va="center", fontsize="small", fontstyle="normal" if known else "italic")
    axes.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)), yticklabels=names)
    axes.grid(axis="y", visible=False)
    if len(looks) > 1:
        axes.set_yticks([between + 0.5 for between in range(len(names) - 1)], minor=True)
        axes.grid(axis="y", which="minor", color="#cccccc", linewidth=0.7)


def dot_panels(frame: pd.DataFrame, *, panels: tuple[str, Mapping[str, str]], rows: tuple[str, Sequence[str]],
               series: tuple[str, Mapping[str, Look]], **how) -> tuple[Figure, dict[str, Axes]]:  # fmt: skip
    """Draw :func:`dots` in panels, one per value of a column; return the figure and the panels by value."""
    column, titles = panels
    names = in_order(frame[column], titles)
    figure = Picture(figsize=(1.5 + 3.9 * len(names), 1.5 + len(rows[1]) * (0.2 + 0.21 * len(series[1]))))
    drawn = dict(zip(names, figure.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)[0], strict=True))
    for name, axes in drawn.items():
        dots(axes, frame[frame[column] == name], rows=rows, series=series, **how)
        axes.set_title(titles.get(name, name))
    return figure, drawn


def points_axis(axes: Axes) -> None:
    """Set up an x axis of scores from 0 to 100."""
    axes.set(xticks=range(0, 101, 20), xlabel="score (points of 100)")
    room_for_numbers(axes, 0, 100)


def room_for_numbers(axes: Axes, low: float, high: float) -> None:
    """Let an x axis span its data only, and leave room for numbers on its right."""
    width = high - low
    axes.set_xlim(low - 0.03 * width, high + 0.2 * width)
    axes.set_xticks([tick for tick in axes.get_xticks() if low - 1e-9 * width <= tick <= high + 1e-9 * width])
    axes.spines["bottom"].set_bounds(low - 0.03 * width, high)


def errors(rows: pd.DataFrame, column: str) -> list[pd.Series]:
    """Return the distances from values to their bounds, as ``errorbar`` wants them; 0 for a missing bound."""
    # Rounding can put the mean of equal values just outside its own bounds.
    return [gaps.fillna(0).clip(lower=0) for gaps in (rows[column] - rows["low"], rows["high"] - rows[column])]


def legend(figure: Figure, looks: Mapping[str, Look], estimates: str, *more: Line2D) -> None:
    """Put a legend of marks below a figure. ``estimates`` says what the intervals are computed from."""
    handles = [Line2D([], [], linestyle="none", marker=look.marker, color=look.colour, markersize=6.5,
                      markeredgewidth=1.4, label=name) for name, look in looks.items()]  # fmt: skip
    below(figure, [*handles, *more], f"line: 95 % interval, {estimates}")


def below(figure: Figure, handles: Sequence[Line2D], title: str, length: float = 2) -> None:
    """Put a legend below a figure, in as many columns as fit. ``length`` is that of its lines, in letters."""
    letters, room = [len(handle.get_label()) for handle in handles], figure.get_figwidth() - 0.2  # room in inches
    fitting = [n for n in range(1, len(handles) + 1)
               if sum(0.36 + 0.13 * length + 0.062 * max(column) for column in np.array_split(letters, n)) < room]
    rows = max(1, math.ceil(len(handles) / max(fitting, default=1)))
    figure.legend(handles=handles, loc="outside lower center", handlelength=length, title=title,
                  ncols=max(1, math.ceil(len(handles) / rows)))  # fmt: skip


def counts(n: pd.Series, unit: str) -> str:
    """Write how many values the estimates are computed from.

    >>> counts(pd.Series([3, 1200]), "seeds")
    'n = 3 to 1,200 seeds'
    """
    low, high = int(n.min()), int(n.max())
    unit = unit.removesuffix("s") if high == 1 else unit
    return f"n = {low:,} {unit}" if low == high else f"n = {low:,} to {high:,} {unit}"


def curve_panels(columns: int, rows: int = 1) -> tuple[Figure, np.ndarray]:
    """Make a figure of panels for :func:`curves` and return it with the panels, an array (rows, columns)."""
    figure = Picture(figsize=(1.2 + 4.3 * columns, 1.2 + 3 * rows))
    return figure, figure.subplots(rows, columns, sharex=rows > 1, sharey="row", squeeze=False)


def curves(axes: Axes, frame: pd.DataFrame, column: str, *, by: str, looks: Mapping[str, Look],
           label: Callable = str, band: tuple[str, str] = ("low", "high"), width: float = 1.8) -> None:  # fmt: skip
    """Draw a column against trained tokens: a line with its band per value of ``by``, in the order of ``looks``."""
    for name in in_order(frame[by], looks):
        rows, look = frame[frame[by] == name], looks[name]
        axes.plot(rows["trained_tokens"], rows[column], color=look.colour, linestyle=look.dash, marker=look.marker,
                  markersize=5, markevery=max(1, len(rows) // 8), linewidth=width, label=label(name))  # fmt: skip
        low, high = (rows[bound] for bound in band)
        axes.fill_between(rows["trained_tokens"], low, high, color=look.colour, alpha=0.18, lw=0)


def tokens_axis(axes: Axes, frame: pd.DataFrame, chosen: pd.Series) -> pd.DataFrame:
    """Set up an x axis of trained tokens on a log scale for a whole table; return the chosen rows, sorted, to draw.

    A log scale has no 0: what was measured before training is drawn at the left edge, at half the first other point.
    """
    tokens = frame["trained_tokens"]
    least, most = tokens[tokens > 0].min(), tokens.max()
    zero, has_zero = least / 2, bool((tokens == 0).any())
    ticks = [250 * 2**i for i in range(20) if 0.9 * least <= 250 * 2**i <= most]
    ticks = ticks[:: 1 + len(ticks) // 9]
    axes.set(xscale="log", xlabel="trained tokens, log scale",
             xlim=(0.9 * (zero if has_zero else least), 1.3 * most))  # fmt: skip
    axes.set_xticks([zero] * has_zero + ticks, ["0"] * has_zero + [thousands(tick) for tick in ticks])
    axes.minorticks_off()
    return frame[chosen].assign(trained_tokens=tokens[chosen].clip(lower=zero)).sort_values(
        "trained_tokens", kind="stable")  # fmt: skip


def over_seeds(n: pd.Series) -> str:
    """Say what a band is.

    >>> over_seeds(pd.Series([3, 3])), over_seeds(pd.Series([1]))
    ('band: range over n = 3 seeds', 'one run')
    """
    return f"band: range over {counts(n, 'seeds')}" if n.max() > 1 else "one run"


def by_label(panels: Iterable[Axes]) -> dict[str, Line2D]:
    """Return one line per label from all panels, for a legend."""
    return {line.get_label(): line for axes in panels for line in axes.get_lines()}


def stacked_bars(axes: Axes, y: int | Sequence[str], shares: Mapping[str, float] | pd.DataFrame,
                 looks: Mapping[str, Look], edge: float) -> dict[str, float | pd.Series]:  # fmt: skip
    """Stack shares in one bar, or in several (a row each), in the order of ``looks``. Returns where each begins."""
    starts, end = {}, 0.0
    for name, look in looks.items():
        axes.barh(y, shares[name], 0.72, end, color=look.colour, hatch=look.hatch, edgecolor="white", linewidth=edge)
        starts[name] = end
        end = end + shares[name]
    return starts


def bar_legend(figure: Figure, looks: Mapping[str, Look], **how) -> None:
    """Put the legend of :func:`stacked_bars` below a figure."""
    handles = [Patch(facecolor=look.colour, hatch=look.hatch, edgecolor="white", label=name)
               for name, look in looks.items()]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", **how)


def thousands(value: float, digits: int = 6) -> str:
    """Write a count of tokens in thousands or millions.

    >>> thousands(2500), thousands(118_432, 3)
    ('2.5k', '118k')
    """
    size, letter = (1e6, "M") if value >= 1e6 else (1e3, "k") if value >= 1e3 else (1, "")
    return f"{value / size:.{digits}g}{letter}"
