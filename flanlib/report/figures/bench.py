"""The pictures of the benchmarks: how many times as fast as each peer the kit is, and what tuning takes on a card."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from flanlib.report.figures.style import INK, OTHER, STYLE, Picture, draws


@draws("name", "device", "unit", "ours", "peer", "peer_name", "ratio", "low", "high", "n")
def peers(frame: pd.DataFrame) -> Figure:
    """Draw how many times as fast as its peers the kit is: a block per contest, a line per peer.

    A mark is the median ratio of a table from :func:`flanlib.bench.timing.hold`, and its line spans all rounds.
    """
    names = list(dict.fromkeys(frame["name"]))
    figure = Picture(figsize=(9, 0.9 + 0.25 * (len(frame) + len(names))))
    axes, y, most, peers_at = figure.subplots(), 0, frame["high"].max(), {}
    for name in names:
        rows = frame[frame["name"] == name]
        axes.text(1.02, y, f"{name}: ours {_speed(rows['ours'].iloc[0])} {rows['unit'].iloc[0]}", va="center",
                  fontsize=9, fontweight="bold", color=INK)  # fmt: skip
        for row in rows.to_dict("records"):
            y += 1
            peers_at[y] = row["peer_name"]
            axes.hlines(y, row["low"], row["high"], color=OTHER.colour, linewidth=2)
            axes.plot(row["ratio"], y, OTHER.marker, color=OTHER.colour, markersize=6)
            axes.text(1.03 * row["high"], y, f"{row['ratio']:.1f} x  ({_speed(row['peer'])})", va="center", color=INK,
                      fontsize=9)  # fmt: skip
        y += 1
    axes.axvline(1, color=INK, linewidth=1)
    axes.set(xlim=(min(0.95, 0.95 * frame["low"].min()), 1.25 * most), ylim=(y - 0.4, -0.7), xscale="log")
    axes.set_yticks(list(peers_at), list(peers_at.values()))
    marks = [mark for mark in (1, 1.5, 2, 3, 5, 10, 20, 50) if mark <= most]
    axes.set_xticks(marks, [f"{mark:g} x" for mark in marks])
    axes.minorticks_off()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"times as fast as the peer (line: all {int(frame['n'].min())} rounds; in brackets the peer's "
                    f"speed; CPU seconds, {frame['device'].iloc[0]})", fontsize=9)  # fmt: skip
    return figure


def measured(path: Path) -> Figure | None:
    """Draw the table that ``python -m flanlib.bench.gpu`` has written, with :func:`tuning`; None if there is none."""
    return tuning(pd.read_csv(path)) if path.is_file() else None


@draws("name", "value", "unit", "used_gb", "planned_gb", "room_gb", "note", "model", "card", "versions", "date")
def tuning(frame: pd.DataFrame) -> Figure:
    """Draw a card's benchmark: on the left the speed of every trainer, on the right the memory taken and planned.

    One that did not fit or was not started has its note in place of a bar. Below stand the longest row and what
    correctness was found; above, the model, the card, the versions and the date.
    """
    rows = frame[frame["name"].str.startswith(("ours", "TRL"))].reset_index(drop=True)
    known = frame.set_index("name")
    figure = Picture(figsize=(9.6, 0.5 * max(len(rows), 1) + 2.3))
    speed, memory = figure.subplots(1, 2, sharey=True)
    base = rows.loc[rows["name"] == "ours", "value"].max()
    speed.barh(rows.index, rows["value"].fillna(0), color=OTHER.colour, height=0.5)
    for i, row in rows.iterrows():
        if pd.isna(row["value"]):
            label = str(row["note"]).split(":")[0]
        else:
            times = "" if row["name"] == "ours" or pd.isna(base) else f"  (ours {base / row['value']:.2f} x)"
            label = f"{_speed(row['value'])}{times}"
        speed.text(rows["value"].max() * 0.02 if pd.isna(row["value"]) else row["value"], i, f" {label}", va="center",
                   color=INK, fontsize=9)  # fmt: skip
    speed.set(yticks=range(len(rows)), yticklabels=rows["name"], ylim=(len(rows) - 0.4, -0.6),
              xlabel="tokens per second, trained or not")  # fmt: skip
    speed.grid(visible=False)
    speed.set_xlim(0, 1.6 * (rows["value"].max() if rows["value"].notna().any() else 1))
    memory.plot(rows["used_gb"], rows.index, OTHER.marker, color=OTHER.colour, markersize=8, label="taken")
    memory.plot(rows["planned_gb"], rows.index, STYLE["context"].marker, color=INK, markersize=8, label="planned")
    memory.axvline(frame["room_gb"].max(), color=INK, linewidth=1, linestyle=":", label="allowed")
    memory.set(xlabel="GB of memory", xlim=(0, None))
    memory.legend(loc="upper center", bbox_to_anchor=(0.5, 1.25), ncols=3, fontsize=9)
    first = frame.iloc[0]
    figure.suptitle(f"{first['model']} in NF4 on {first['card']}, {first['date']}\n{first['versions']}", fontsize=9)
    facts = [f"{name}: {known['value'][name]:,.0f} {known['unit'][name]}" for name in ("longest row", "generation")
             if name in known.index and pd.notna(known["value"][name])]  # fmt: skip
    facts += [f"{name}: {known['value'][name]:.2g} {known['unit'][name]}" for name in
              ("packed against single", "fused against peft") if name in known.index]  # fmt: skip
    figure.supxlabel("; ".join(facts), fontsize=9)
    return figure


def _speed(value: float) -> str:
    """Write a number with three significant digits and without an exponent.

    >>> _speed(1738.6), _speed(14.4028)
    ('1,740', '14.4')
    """
    return f"{float(f'{value:.3g}'):,.{0 if value >= 100 else 1}f}"
