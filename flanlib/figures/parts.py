"""What pictures are put together from: dots with intervals, curves with bands, their axes and their labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from flanlib.figures.style import INK, PAD, Look, Picture, in_order
from flanlib.records import FlanError


def dots(axes: Axes, frame: pd.DataFrame, column: str, *, rows: tuple[str, Sequence[str]],
         series: tuple[str, Mapping[str, Look]], write: Callable[[dict], str],
         missing: str = "no value") -> None:  # fmt: skip
    """Draw values with their intervals: a line of the panel per row, the series of a row one below the other.

    ``rows`` is the column that names them and their order from top to bottom, ``series`` a column and its looks.
    ``write`` words the number beside a point; ``missing`` stands where a value is NaN. Raises FlanError for two
    values in one place.
    """
    (by, names), (over, looks) = rows, series
    if frame.duplicated([by, over]).any():
        raise FlanError("figure", found=f"several values for one {by} and {over}", expected="one",
                        remedy="Select the rows before drawing them.")  # fmt: skip
    for i, (name, look) in enumerate(looks.items()):
        points = frame[frame[over] == name]
        y = [names.index(row) + 0.72 * (i + 0.5 - len(looks) / 2) / len(looks) for row in points[by]]
        axes.errorbar(points[column], y, xerr=errors(points, column), fmt=look.marker, color=look.colour, capsize=3,
                      markerfacecolor=look.colour if look.filled else "white", markersize=6.5, linewidth=1.4,
                      markeredgewidth=1.4)  # fmt: skip
        for at, point in zip(y, points.to_dict("records"), strict=True):
            known = not math.isnan(point[column])
            end = max(x for x in (point[column], point["high"]) if x == x) if known else 0.02
            axes.annotate(write(point) if known else missing, (end, at), (6, 0), textcoords="offset points",
                          xycoords="data" if known else ("axes fraction", "data"), color=INK, va="center",
                          fontsize="small", fontstyle="normal" if known else "italic", bbox=PAD)  # fmt: skip
    axes.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)), yticklabels=names)
    axes.grid(axis="y", visible=False)
    if len(looks) > 1:
        axes.set_yticks([between + 0.5 for between in range(len(names) - 1)], minor=True)
        axes.grid(axis="y", which="minor", color="#cccccc", linewidth=0.7)


def dot_panels(frame: pd.DataFrame, column: str, *, panels: tuple[str, Mapping[str, str]],
               rows: tuple[str, Sequence[str]], series: tuple[str, Mapping[str, Look]],
               write: Callable[[dict], str], missing: str = "no value") -> tuple[Figure, dict[str, Axes]]:  # fmt: skip
    """Make a figure of :func:`dots` panels side by side, one per value of a column (given with its titles).

    Returns the figure and its panels by value; their axes are shared.
    """
    over, titles = panels
    names = in_order(frame[over], titles)
    size = (1.5 + 3.9 * len(names), 1.5 + len(rows[1]) * (0.2 + 0.21 * len(series[1])))
    figure = Picture(figsize=size, layout="constrained")
    drawn = dict(zip(names, figure.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)[0], strict=True))
    for name, axes in drawn.items():
        dots(axes, frame[frame[over] == name], column, rows=rows, series=series, write=write, missing=missing)
        axes.set_title(titles.get(name, name))
    return figure, drawn


def errors(rows: pd.DataFrame, column: str) -> list[pd.Series]:
    """Return the distances from a value to its bounds; missing bounds draw no line."""
    # Rounding can leave a mean of equal values a last digit outside its own bounds.
    return [d.fillna(0).clip(lower=0) for d in (rows[column] - rows["low"], rows["high"] - rows[column])]


def span(frame: pd.DataFrame, column: str, room: float) -> tuple[float, float]:
    """Return x limits around values and intervals, with ``room`` (a share of their width) for numbers on the right.

    >>> span(pd.DataFrame({"v": [1.0, 3.0], "low": [0.0, float("nan")], "high": [2.0, 10.0]}), "v", 0.5)
    (-0.6, 15.0)
    """
    values = frame[[column, "low", "high"]].stack().dropna()
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    width = (high - low) or abs(high) or 1.0
    return float(low - 0.06 * width), float(high + room * width)


def legend(figure: Figure, looks: Mapping[str, Look], title: str, *more: Line2D) -> None:
    """Put marks and their names below a figure."""
    handles = [Line2D([], [], linestyle="none", marker=look.marker, color=look.colour, markersize=6.5, label=name,
                      markeredgewidth=1.4, markerfacecolor=look.colour if look.filled else "white")
               for name, look in looks.items()]  # fmt: skip
    below(figure, [*handles, *more], title)


def below(figure: Figure, handles: Sequence[Line2D], title: str, length: float = 2) -> None:
    """Put a legend below a figure, in as many columns as fit; ``length`` of its lines is in letters."""
    letters = [len(handle.get_label()) for handle in handles]

    def inches(columns: int) -> float:
        return sum(0.36 + 0.13 * length + 0.062 * max(part) for part in np.array_split(letters, columns))

    fitting = [n for n in range(1, len(handles) + 1) if inches(n) < figure.get_figwidth() - 0.2]
    figure.legend(handles=handles, loc="outside lower center", frameon=False, handlelength=length, title=title,
                  ncols=max(fitting, default=1))  # fmt: skip


def counts(n: pd.Series, unit: str) -> str:
    """Word how many values estimates come from.

    >>> counts(pd.Series([3, 1200]), "seeds")
    'n = 3 to 1,200 seeds'
    """
    low, high = int(n.min()), int(n.max())
    unit = unit.removesuffix("s") if high == 1 else unit
    return f"n = {low:,} {unit}" if low == high else f"n = {low:,} to {high:,} {unit}"


def curve(axes: Axes, rows: pd.DataFrame, column: str, look: Look, name: str,
          band: tuple[str, str] = ("low", "high"), width: float = 1.8) -> None:  # fmt: skip
    """Draw a column against trained tokens, with its band."""
    axes.plot(rows["trained_tokens"], rows[column], color=look.colour, linestyle=look.dash, marker=look.marker,
              markersize=5, markevery=max(1, len(rows) // 8), linewidth=width, label=name)  # fmt: skip
    low, high = band
    axes.fill_between(rows["trained_tokens"], rows[low], rows[high], color=look.colour, alpha=0.18, lw=0)


def end_values(axes: Axes, lines: pd.DataFrame, column: str, limits: tuple[float, float]) -> None:
    """Write the last value of every kind beside its end, on a log axis with these limits."""
    end, (floor, ceiling) = lines["trained_tokens"].max(), limits
    last = sorted(lines.groupby("kind")[column].last())
    for value, y in zip(last, apart(last, (ceiling / floor) ** 0.05), strict=True):
        axes.annotate(f"{value:.2g}", (end, y), (7, 0), textcoords="offset points", va="center", fontsize="small",
                      bbox=PAD)  # fmt: skip


def log_limits(values: Sequence[float], bounds: Sequence[float]) -> tuple[float, float]:
    """Return limits of a log axis around values and their lower bounds, which may reach no lower than a quarter."""
    values = [v for v in values if v > 0]  # neither NaN nor zero
    least = min(values)
    return max(min(v for v in (*values, *bounds) if v > 0), least / 4) * 0.7, max(values) * 2


def plain_log_ticks(axes: Axes) -> None:
    """Label a log axis with plain numbers at 1, 2 and 5 of each decade."""
    axes.yaxis.set_major_locator(FixedLocator([m * 10.0**e for e in range(-6, 4) for m in (1, 2, 5)]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def token_axis(axes: Axes) -> None:
    """Label the x axis with tokens in thousands or millions."""
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: thousands(value)))


def apart(values: list[float], ratio: float) -> list[float]:
    """Move rising values up where needed, so that each is at least ``ratio`` times the one before.

    >>> apart([1.0, 1.1, 4.0], 2.0)
    [1.0, 2.0, 4.0]
    """
    places: list[float] = []
    for value in values:
        places.append(max(value, places[-1] * ratio) if places else value)
    return places


def thousands(value: float, digits: int = 6) -> str:
    """Write a count of tokens short.

    >>> thousands(2500), thousands(118_432, 3)
    ('2.5k', '118k')
    """
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.{digits}g}{letter}"
    return f"{value:.{digits}g}"
