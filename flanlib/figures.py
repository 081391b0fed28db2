"""Pictures: each is a function from a tidy DataFrame to a Figure, and ``save`` writes it with its numbers.

Every kind has one look everywhere: colour, dash, marker, hatch and underline, so that nothing hangs on colour alone.
``low`` and ``high`` are the bounds of 95 % intervals, or the range over seeds in curves; NaN draws none.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from flanlib.presets import output, preset
from flanlib.records import KINDS, FlanError
from flanlib.store import write, write_table

BANNER = "smoke: numbers mean nothing"
INK = "#333333"
PAD = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.9}


@dataclass(frozen=True)
class Look:
    """How one kind or form is drawn; ``underline`` is the CSS line that marks its text."""

    colour: str
    dash: str | tuple[float, tuple[float, ...]]
    marker: str
    hatch: str
    underline: str


# Seaborn's colour-blind palette; the greys of context and the dark of general differ in lightness too.
STYLE: dict[str, Look] = {
    "reasoning": Look("#0173b2", "-", "o", "", "solid"),
    "retrieval": Look("#de8f05", "--", "s", "//", "double"),
    "understanding": Look("#029e73", "-.", "^", "..", "dotted"),
    "instruction": Look("#d55e00", ":", "D", "xx", "wavy"),
    "general": Look("#56407a", (0, (5, 1, 1, 1, 1, 1)), "v", "\\\\", "dashed"),
    "context": Look("#949494", (0, (1, 3)), "x", "", "none"),
}
FORMS: dict[str, Look] = {
    "react": Look("#333333", "-", "o", "", "solid"),
    "chat": Look("#cc78bc", "--", "D", "", "dashed"),
    "json": Look("#029e73", ":", "s", "", "dotted"),
}
FORM_NAMES = {"react": "ReAct form", "json": "JSON form", "chat": "chat form"}
OTHER = Look("#0173b2", "-", "^", "", "solid")  # texts of no form: ordinary talk


def form_name(form: str) -> str:
    """Name a form for a reader.

    >>> form_name("react")
    'ReAct form'
    """
    return FORM_NAMES.get(form, f"{form} form")


class Picture(Figure):
    """A matplotlib figure outside pyplot: a notebook shows it as a cell's last value, and nothing stays open."""

    def _repr_png_(self) -> bytes:
        return _render(self, "png", dpi=90)


def _styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Run a drawing function inside the one style of the kit, without touching matplotlib's global settings."""

    @wraps(draw)
    def styled(*args, **kwargs) -> Figure:
        with mpl.rc_context(sns.axes_style("whitegrid") | sns.plotting_context("notebook", font_scale=0.85)), \
             mpl.rc_context({"font.family": "DejaVu Sans", "axes.titleweight": "bold", "axes.titlelocation": "left",
                             "axes.edgecolor": "#999999", "grid.color": "#e6e6e6", "hatch.linewidth": 0.5,
                             "axes.spines.top": False, "axes.spines.right": False}):  # fmt: skip
            figure = draw(*args, **kwargs)
            if preset().name == "smoke":
                figure.suptitle(BANNER, color="#b00020", fontsize=12, fontweight="bold")
            return figure

    return styled


def _need(frame: pd.DataFrame, picture: str, *columns: str) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing or frame.empty:
        raise FlanError(f"figure {picture}",
                        found=f"no column {', '.join(missing)}" if missing else "no rows",
                        expected=f"a tidy table with {', '.join(columns)}",
                        remedy="Every estimate comes with its interval and n.")  # fmt: skip


def _measure(frame: pd.DataFrame, picture: str) -> tuple[str, str]:
    """Find the loss column and its axis label."""
    for column in ("nats_per_byte", "nats_per_token"):
        if column in frame.columns:
            return column, f"loss (nats per {column.rsplit('_', 1)[1]})"
    raise FlanError(f"figure {picture}", found="no loss column", expected="nats_per_byte or nats_per_token",
                    remedy="Name the unit in the column.")  # fmt: skip


def _kinds(frame: pd.DataFrame, picture: str) -> list[str]:
    if strangers := sorted(set(frame["kind"]) - set(KINDS)):
        raise FlanError(f"figure {picture}", found=f"kind {', '.join(strangers)}",
                        expected=f"kinds among {', '.join(KINDS)}", remedy="Correct the column kind.")  # fmt: skip
    return _in_order(frame["kind"], KINDS)


def _in_order(values: pd.Series, order: tuple[str, ...] | dict) -> list[str]:
    """Distinct values in the order given, others after them as they come."""
    present = list(dict.fromkeys(values))
    return [v for v in order if v in present] + [v for v in present if v not in order]


def _errors(rows: pd.DataFrame, column: str) -> list[pd.Series]:
    """Distances from the value to its bounds; missing bounds draw no line."""
    return [(rows[column] - rows["low"]).fillna(0), (rows["high"] - rows[column]).fillna(0)]


def _counts(n: pd.Series, unit: str) -> str:
    low, high = int(n.min()), int(n.max())
    return f"n = {low:,} {unit}" if low == high else f"n = {low:,} to {high:,} {unit}"


@_styled
def kind_shares(frame: pd.DataFrame) -> Figure:
    """Draw how a corpus' trained tokens split into kinds: one bar per source and dialect.

    Columns: source, dialect, kind, tokens, share (0 to 1), n (conversations).
    """
    _need(frame, "kind_shares", "source", "dialect", "kind", "tokens", "share", "n")
    bars = list(dict.fromkeys(zip(frame["source"], frame["dialect"], strict=True)))
    figure = Picture(figsize=(9, 1.5 + 0.46 * len(bars)), layout="constrained")
    axes = figure.subplots()
    kinds = _kinds(frame, "kind_shares")
    for y, (source, dialect) in enumerate(bars):
        rows = frame[(frame["source"] == source) & (frame["dialect"] == dialect)].set_index("kind")
        left = 0.0
        for kind in (kind for kind in kinds if kind in rows.index):
            share, look = 100 * rows.loc[kind, "share"], STYLE[kind]
            axes.barh(y, share, 0.72, left, color=look.colour, hatch=look.hatch, edgecolor="white", linewidth=0.8)
            if share >= 4:
                axes.text(left + share / 2, y, f"{share:.0f}", ha="center", va="center", color=INK, bbox=PAD)
            left += share
        size = f"{rows['tokens'].sum():,.0f} tokens of {rows['n'].max():,.0f} conversations"
        axes.text(101, y, size, va="center", color=INK, fontsize="small")
    axes.set(xlim=(0, 100), xlabel="share of trained tokens (%)", yticks=range(len(bars)),
             yticklabels=[f"{source}, {dialect}" for source, dialect in bars])  # fmt: skip
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    handles = [Patch(facecolor=STYLE[k].colour, hatch=STYLE[k].hatch, edgecolor="white", label=k) for k in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(kinds), frameon=False, handlelength=2.4)
    return figure


@_styled
def distance(frame: pd.DataFrame) -> Figure:
    """Draw how far each text lies from the base model before any tuning: its loss, sorted, with intervals.

    Columns: text (label), nats_per_byte, low, high, n (conversations). A ``form`` column, if any, sets the marker.
    """
    _need(frame, "distance", "text", "nats_per_byte", "low", "high", "n")
    rows = frame.sort_values("nats_per_byte", kind="stable").reset_index(drop=True)
    figure = Picture(figsize=(7.6, 1.2 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    end = rows[["nats_per_byte", "high"]].max().max()
    for y, row in rows.iterrows():
        look = FORMS.get(row.get("form"), OTHER)
        axes.errorbar(row["nats_per_byte"], y, xerr=[[e.iloc[0]] for e in _errors(rows.loc[[y]], "nats_per_byte")],
                      fmt=look.marker, color=look.colour, markersize=7, capsize=3)  # fmt: skip
        axes.text(end * 1.04, y, f"{row['nats_per_byte']:.2f}   n = {row['n']:,.0f}", va="center", color=INK)
    axes.set(xlim=(0, end * 1.02), ylim=(len(rows) - 0.4, -0.6), yticks=range(len(rows)), yticklabels=rows["text"],
             xlabel="loss of the untuned base model (nats per byte), 95 % interval over n conversations")  # fmt: skip
    axes.grid(axis="y", visible=False)
    return figure


@_styled
def loss_by_kind(frame: pd.DataFrame, paper: Mapping[str, float] | None = None) -> Figure:
    """Draw loss by kind while a model is tuned: a panel per form, a line per kind, a band for the range over seeds.

    Columns: form, kind, trained_tokens, nats_per_byte or nats_per_token, low, high, n (seeds). ``paper`` gives
    reference lines by label, drawn in the react panel: the paper's final losses.
    """
    _need(frame, "loss_by_kind", "form", "kind", "trained_tokens", "low", "high", "n")
    column, label = _measure(frame, "loss_by_kind")
    forms, kinds = _in_order(frame["form"], FORMS), _kinds(frame, "loss_by_kind")
    drawn = [*frame[column], *(paper or {}).values()]
    least = min(v for v in drawn if v > 0)
    floor, ceiling = max(min(v for v in (*drawn, *frame["low"]) if v > 0), least / 4) * 0.7, max(drawn) * 2
    figure = Picture(figsize=(1.2 + 4.3 * len(forms), 4.2), layout="constrained")
    panels = figure.subplots(1, len(forms), sharey=True, squeeze=False)[0]
    for axes, form in zip(panels, forms, strict=True):
        lines = frame[frame["form"] == form].sort_values("trained_tokens")
        for kind in (k for k in kinds if (lines["kind"] == k).any()):
            rows, look = lines[lines["kind"] == kind], STYLE[kind]
            axes.plot(rows["trained_tokens"], rows[column], color=look.colour, linestyle=look.dash, marker=look.marker,
                      markersize=5, markevery=max(1, len(rows) // 8), linewidth=1.8, label=kind)  # fmt: skip
            axes.fill_between(rows["trained_tokens"], rows["low"], rows["high"], color=look.colour, alpha=0.18, lw=0)
        end = lines["trained_tokens"].max()
        axes.set(title=form_name(form), xlabel="trained tokens", yscale="log", xlim=(-0.02 * end, 1.12 * end),
                 ylim=(floor, ceiling))  # fmt: skip
        axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
        last = sorted(lines.groupby("kind")[column].last())
        for value, y in zip(last, _apart(last, (ceiling / floor) ** 0.05), strict=True):
            axes.annotate(f"{value:.2g}", (end, y), (7, 0), textcoords="offset points", va="center", fontsize="small",
                          bbox=PAD)  # fmt: skip
    panel = panels[forms.index("react")] if "react" in forms else panels[0]
    for (name, value), dash in zip((paper or {}).items(), ((0, (9, 3)), (0, (9, 3, 1, 3)), (0, (1, 2))), strict=False):
        panel.axhline(value, color=INK, linewidth=1, linestyle=dash, zorder=1, label=f"paper, {name}: {value:g}")
    panels[0].set_ylabel(f"{label}, log scale")
    _plain_log_ticks(panels[0])
    labelled = {line.get_label(): line for axes in panels for line in axes.get_lines()}
    handles = [labelled[k] for k in kinds] + [line for name, line in labelled.items() if name not in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, handlelength=4,
                  title=f"band: range over {_counts(frame['n'], 'seeds')}")  # fmt: skip
    return figure


@_styled
def content_by_form(frame: pd.DataFrame) -> Figure:
    """Draw the held-out loss of each content kind after equal trained tokens, the forms side by side.

    Columns: form, kind, nats_per_byte (or nats_per_token), low, high, n (conversations). Rows whose form is a paired
    difference, written ``react - chat``, are printed under their kind.
    """
    _need(frame, "content_by_form", "form", "kind", "low", "high", "n")
    column, label = _measure(frame, "content_by_form")
    paired = frame["form"].str.contains(" - ", regex=False)
    frame, differences = frame[~paired], frame[paired]
    forms, kinds = _in_order(frame["form"], FORMS), _kinds(frame, "content_by_form")
    figure = Picture(figsize=(2.2 + 1.9 * len(kinds), 4.2), layout="constrained")
    axes = figure.subplots()
    for i, form in enumerate(forms):
        rows, look = frame[frame["form"] == form], FORMS.get(form, OTHER)
        x = [kinds.index(kind) + 0.22 * (i - (len(forms) - 1) / 2) for kind in rows["kind"]]
        axes.errorbar(x, rows[column], yerr=_errors(rows, column), fmt=look.marker, color=look.colour, markersize=6,
                      capsize=4, linewidth=1.6, label=form_name(form))  # fmt: skip
        for at, value in zip(x, rows[column], strict=True):
            side = -1 if i < len(forms) / 2 else 1
            axes.annotate(f"{value:.3g}", (at, value), (9 * side, 0), textcoords="offset points", color=INK,
                          ha="right" if side < 0 else "left", va="center", fontsize="small")  # fmt: skip
    labels = {kind: kind for kind in kinds}
    for row in differences.to_dict("records"):
        labels[row["kind"]] += f"\n{row['form']}: {row[column]:+.3f}\n[{row['low']:+.3f}, {row['high']:+.3f}]"
    axes.set(xlim=(-0.6, len(kinds) - 0.4), xticks=range(len(kinds)), xticklabels=list(labels.values()),
             ylabel=f"held-out {label}")  # fmt: skip
    top = frame[[column, "high"]].max().max() * 1.12
    axes.set_ylim(-0.03 * top, top)  # a point at zero stays whole
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside lower center", ncols=len(forms), frameon=False,
                  title=f"line: 95 % interval, {_counts(frame['n'], 'conversations')}")  # fmt: skip
    return figure


def save(figure: Figure, name: str, data: pd.DataFrame, *, folder: Path | None = None) -> Path:
    """Write ``<name>.svg``, ``.png`` (150 dpi) and ``.csv``: the picture and exactly the numbers in it.

    They go to the output folder of the preset unless ``folder`` is given. The same figure gives the same bytes.
    Returns the path of the SVG.
    """
    if not name or not name.replace("_", "").isalnum():
        raise FlanError(f"figure {name!r}", found="a name that is no plain file name",
                        expected="letters, digits and underscores", remedy="Rename it.")  # fmt: skip
    folder = output() if folder is None else Path(folder)
    write_table(folder / f"{name}.csv", data)
    write(folder / f"{name}.png", _render(figure, "png", dpi=150))
    write(folder / f"{name}.svg", _render(figure, "svg", title=name))
    return folder / f"{name}.svg"


def _render(figure: Figure, kind: str, dpi: float = 100, title: str | None = None) -> bytes:
    """Draw to bytes that depend on nothing but the figure: no date, and a fixed salt for the ids inside."""
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None, "Title": title}
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "flanlib", "svg.fonttype": "path", "font.family": "DejaVu Sans"}):
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata, facecolor="white")
    return buffer.getvalue()


def _plain_log_ticks(axes: Axes) -> None:
    """Label a log axis with plain numbers at 1, 2 and 5 of each decade."""
    axes.yaxis.set_major_locator(FixedLocator([m * 10.0**e for e in range(-6, 4) for m in (1, 2, 5)]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _apart(values: list[float], ratio: float) -> list[float]:
    """Move rising values up where needed, so that each is at least ``ratio`` times the one before.

    >>> _apart([1.0, 1.1, 4.0], 2.0)
    [1.0, 2.0, 4.0]
    """
    places: list[float] = []
    for value in values:
        places.append(max(value, places[-1] * ratio) if places else value)
    return places


def _thousands(value: float, _: object) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
