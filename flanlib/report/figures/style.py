"""The look of kinds, forms and models, the checks on tables, and ``save``."""

import inspect
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from PIL import Image

from flanlib.presets import output, preset
from flanlib.records import KINDS, FlanError
from flanlib.store import write, write_table

BANNER = "smoke: numbers mean nothing"
INK = "#333333"
PAD = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.9}


@dataclass(frozen=True)
class Look:
    """How one kind, form or model is drawn. ``underline`` is the CSS line under its text in notebooks."""

    colour: str
    dash: str | tuple[float, tuple[float, ...]]
    marker: str
    hatch: str = ""
    underline: str = "solid"


# Seaborn's colour-blind palette. General and context differ from the others in lightness too.
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
OTHER = Look("#0173b2", "-", "^")  # for what is no form, such as ordinary chat
_BASE = Look("#949494", ":", "^")
MODELS = {"base": _BASE, "react-tuned": FORMS["react"], "chat-tuned": FORMS["chat"], "before": _BASE,
          "after": Look("#0173b2", "-", "D"), "FireAct-style": FORMS["react"],
          "AgentTuning-style": Look("#de8f05", "--", "s"), "Agent-FLAN, no negatives": Look("#029e73", "-.", "v"),
          "Agent-FLAN": Look("#0173b2", "-", "D")}  # fmt: skip
OWN = {"font.family": "DejaVu Sans", "axes.titleweight": "bold", "axes.titlelocation": "left",
       "axes.edgecolor": "#999999", "axes.spines.top": False, "axes.spines.right": False, "grid.color": "#e6e6e6",
       "hatch.linewidth": 0.5, "legend.frameon": False, "figure.constrained_layout.use": True}  # fmt: skip
"""Settings on top of seaborn's style."""


def form_name(form: str) -> str:
    """Name a form for a reader.

    >>> form_name("react")
    'ReAct form'
    """
    return FORM_NAMES.get(form, f"{form} form")


class Picture(Figure):
    """A matplotlib figure that a notebook shows as a cell's last value. Outside pyplot, none has to be closed."""

    def _repr_png_(self) -> bytes:
        # With 64 colours a picture takes a third of the bytes, which matters for notebooks in git.
        small = io.BytesIO()
        Image.open(io.BytesIO(_render(self, "png", dpi=90))).convert("RGB").quantize(64).save(small, "PNG")
        return small.getvalue()


def draws(*columns: str) -> Callable[[Callable[..., Figure]], Callable[..., Figure]]:
    """Return a decorator that makes a drawing function check its table and draw in the style of the kit.

    Its documentation then lists the columns. It raises FlanError if the table has no rows, or not all columns.
    Matplotlib's global settings do not change.
    """

    def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
        @wraps(draw)
        def inside(frame: pd.DataFrame, *args, **kwargs) -> Figure:
            missing = [column for column in columns if column not in frame.columns]
            if missing or frame.empty:
                raise FlanError(f"figure {draw.__name__}",
                                found=f"no column {', '.join(missing)}" if missing else "no rows",
                                expected=f"a tidy table with {', '.join(columns)}",
                                remedy="Every estimate comes with its interval and n.")  # fmt: skip
            with mpl.rc_context(sns.axes_style("whitegrid") | sns.plotting_context("notebook", font_scale=0.85) | OWN):
                figure = draw(frame, *args, **kwargs)
                if preset().name == "smoke":
                    figure.suptitle(BANNER, color="#b00020", fontsize=12, fontweight="bold")
                return figure

        inside.__doc__ = f"{inspect.getdoc(draw)}\n\nColumns: {', '.join(columns)}."
        return inside

    return styled


def looks_of(values: Iterable[str]) -> dict[str, Look]:
    """Map distinct forms or models to their looks, in the order of FORMS and MODELS. Unknown ones look like OTHER."""
    looks = FORMS | MODELS
    return {value: looks.get(value, OTHER) for value in in_order(values, looks)}


def kinds_of(frame: pd.DataFrame, picture: str) -> list[str]:
    """List the kinds of a table in the order of KINDS. Raises FlanError for an unknown kind."""
    if unknown := sorted(set(frame["kind"]) - set(KINDS)):
        raise FlanError(f"figure {picture}", found=f"kind {', '.join(unknown)}",
                        expected=f"kinds among {', '.join(KINDS)}", remedy="Correct the column kind.")  # fmt: skip
    return in_order(frame["kind"], KINDS)


def in_order(values: Iterable[str], order: Iterable[str]) -> list[str]:
    """List distinct values in a given order, and after them the others as they come.

    >>> in_order(["c", "b", "a", "c"], "ab")
    ['a', 'b', 'c']
    """
    present, order = list(dict.fromkeys(values)), list(order)
    return [v for v in order if v in present] + [v for v in present if v not in order]


def save(figure: Figure, name: str, data: pd.DataFrame, *, folder: Path | None = None) -> Path:
    """Write ``<name>.svg``, ``.png`` (150 dpi) and ``.csv``: the picture and the numbers in it.

    They go to the output folder of the preset unless ``folder`` is given. The same figure gives the same bytes.
    Returns the path of the SVG. Raises FlanError for a name that is no plain file name.
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
    """Render a figure to reproducible bytes: without a date, and with a fixed salt for the ids in an SVG."""
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None, "Title": title}
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "flanlib", "svg.fonttype": "path", "font.family": "DejaVu Sans"}):
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata, facecolor="white")
    return buffer.getvalue()
