"""The picture of the benchmark: how many times as fast as each peer the kit is."""

import pandas as pd
from matplotlib.figure import Figure

from flanlib.report.figures.style import INK, OTHER, Picture, draws


@draws("name", "device", "unit", "ours", "peer", "peer_name", "ratio", "low", "high", "n")
def peers(frame: pd.DataFrame) -> Figure:
    """Draw how many times as fast as its peers the kit is: a panel per contest, a line per peer.

    A mark is the median ratio of a table from :func:`flanlib.bench.timing.hold`, and its line spans all rounds.
    """
    sizes = frame.groupby("name", sort=False).size()
    figure = Picture(figsize=(8.4, 0.34 * sizes.sum() + 0.75 * len(sizes) + 0.7))
    figure.subplots(len(sizes), 1, sharex=True, height_ratios=sizes + 0.8)
    most = 1.9 * frame["high"].max()
    ticks = [tick for tick in (1, 2, 3, 5, 10, 20, 50) if tick < most]
    for axes, name in zip(figure.axes, sizes.index, strict=True):
        rows = frame[frame["name"] == name].reset_index(drop=True)
        axes.hlines(rows.index, rows["low"], rows["high"], color=OTHER.colour, linewidth=2)
        axes.plot(rows["ratio"], rows.index, OTHER.marker, color=OTHER.colour, markersize=6)
        for i, row in rows.iterrows():
            label = f"  {row['ratio']:.1f} x  ({_speed(row['peer'])})"
            axes.text(1.03 * row["high"], i, label, va="center", color=INK, fontsize=9)
        axes.axvline(1, color=INK, linewidth=1)
        axes.set(xscale="log", xlim=(0.8, most), ylim=(len(rows) - 0.4, -0.6), yticks=range(len(rows)),
                 yticklabels=rows["peer_name"])  # fmt: skip
        axes.set_title(f"{name}: ours {_speed(rows['ours'][0])} {rows['unit'][0]}", fontsize=10)
        axes.set_xticks(ticks, [f"{tick} x" for tick in ticks])
        axes.minorticks_off()
    figure.supxlabel(f"times as fast as the peer (line: all {int(frame['n'].min())} rounds; in brackets the peer's "
                     f"speed; seconds are CPU seconds, {frame['device'][0]})", fontsize=9)  # fmt: skip
    return figure


def _speed(value: float) -> str:
    """Write a number with three significant digits and without an exponent.

    >>> _speed(1738.6), _speed(14.4028)
    ('1,740', '14.4')
    """
    return f"{float(f'{value:.3g}'):,.{0 if value >= 100 else 1}f}"
