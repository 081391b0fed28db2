"""What pictures are put together from: dots with intervals, curves with bands, their axes and their labels."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from flanlib.records import FlanError
from flanlib.report.figures.style import INK, PAD, Look, Picture, in_order


def dots(axes: Axes, frame: pd.DataFrame, *, rows: tuple[str, Sequence[str]], series: tuple[str, Mapping[str, Look]],
         write: Callable[[float], str] = "{:.1f}".format, missing: str = "no value") -> None:  # fmt: skip
    """Draw values with their intervals: a line of the panel per row, the series of a row one below the other.

    ``frame`` has the columns value, low and high. ``rows`` is the column that names them and their order from top to
    bottom, ``series`` a column and its looks. ``write`` words the number beside a point; ``missing`` stands where a
    value is NaN. Raises FlanError for two values in one place.
    """
    (by, names), (over, looks) = rows, series
    if frame.duplicated([by, over]).any():
        raise FlanError("figure", found=f"several values for one {by} and {over}", expected="one",
                        remedy="Select the rows before drawing them.")  # fmt: skip
    for i, (name, look) in enumerate(looks.items()):
        points = frame[frame[over] == name]
        y = [names.index(row) + 0.72 * (i + 0.5 - len(looks) / 2) / len(looks) for row in points[by]]
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
    """Make a figure of :func:`dots` panels side by side, one per value of a column (given with its titles).

    Returns the figure and its panels by value; their axes are shared.
    """
    over, titles = panels
    names = in_order(frame[over], titles)
    figure = Picture(figsize=(1.5 + 3.9 * len(names), 1.5 + len(rows[1]) * (0.2 + 0.21 * len(series[1]))))
    drawn = dict(zip(names, figure.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)[0], strict=True))
    for name, axes in drawn.items():
        dots(axes, frame[frame[over] == name], rows=rows, series=series, **how)
        axes.set_title(titles.get(name, name))
    return figure, drawn


def in_points(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn scores and their bounds from 0 to 1 into points of 100."""
    return frame.assign(**{column: 100 * frame[column] for column in ("value", "low", "high")})


def points_axis(axes: Axes, end: float) -> None:
    """Label an x axis of scores that has room for numbers up to ``end``."""
    axes.set(xlim=(-3, end), xticks=range(0, 101, 20), xlabel="score (points of 100)")


def errors(rows: pd.DataFrame, column: str) -> list[pd.Series]:
    """Return the distances from a value to its bounds; missing bounds draw no line."""
    # Rounding can leave a mean of equal values a last digit outside its own bounds.
    return [d.fillna(0).clip(lower=0) for d in (rows[column] - rows["low"], rows["high"] - rows[column])]


def legend(figure: Figure, looks: Mapping[str, Look], estimates: str, *more: Line2D) -> None:
    """Put marks and their names below a figure, and what its intervals are made of."""
    handles = [Line2D([], [], linestyle="none", marker=look.marker, color=look.colour, markersize=6.5,
                      markeredgewidth=1.4, label=name) for name, look in looks.items()]  # fmt: skip
    below(figure, [*handles, *more], f"line: 95 % interval, {estimates}")


def below(figure: Figure, handles: Sequence[Line2D], title: str, length: float = 2) -> None:
    """Put a legend below a figure, in as many columns as fit; ``length`` of its lines is in letters."""
    letters, room = [len(handle.get_label()) for handle in handles], figure.get_figwidth() - 0.2
    fitting = [n for n in range(1, len(handles) + 1)
               if sum(0.36 + 0.13 * length + 0.062 * max(part) for part in np.array_split(letters, n)) < room]
    figure.legend(handles=handles, loc="outside lower center", handlelength=length, title=title,
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
    axes.fill_between(rows["trained_tokens"], *(rows[bound] for bound in band), color=look.colour, alpha=0.18, lw=0)


def token_axis(axes: Axes) -> None:
    """Label the x axis with tokens in thousands or millions."""
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: thousands(value)))


def thousands(value: float, digits: int = 6) -> str:
    """Write a count of tokens short.

    >>> thousands(2500), thousands(118_432, 3)
    ('2.5k', '118k')
    """
    size, letter = (1e6, "M") if value >= 1e6 else (1e3, "k") if value >= 1e3 else (1, "")
    return f"{value / size:.{digits}g}{letter}"
