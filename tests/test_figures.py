"""Pictures show the numbers of their table, come with intervals, and are the same bytes every time."""

import io
import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from flanlib import figures
from flanlib.figures import STYLE
from flanlib.records import CAPABILITIES, CONTENT, FlanError


def shares():
    parts = {"react": (0.4, 0.1, 0.2, 0.3), "chat": (0.5, 0.15, 0.32, 0.03)}
    rows = [("lab", dialect, kind, 1000 * share, share, 120) for dialect, split in parts.items()
            for kind, share in zip(CAPABILITIES, split, strict=True)]  # fmt: skip
    return pd.DataFrame(rows, columns=["source", "dialect", "kind", "tokens", "share", "n"])


def distances():
    rows = [("lab, ReAct", 0.93, 0.9, 0.97, 96), ("talk", 0.42, 0.4, 0.44, 96), ("one", 0.6, np.nan, np.nan, 1)]
    return pd.DataFrame(rows, columns=["text", "nats_per_byte", "low", "high", "n"])


def losses(column="nats_per_byte"):
    rows = [(form, kind, tokens, 2 * 0.5**i * 0.7**k, 2 * 0.5**i * 0.7**k * 0.9, 2 * 0.5**i * 0.7**k * 1.1, 3)
            for form, (k, kind), (i, tokens) in itertools.product(
                ("react", "chat"), enumerate(CAPABILITIES), enumerate((0, 500, 1000)))]  # fmt: skip
    return pd.DataFrame(rows, columns=["form", "kind", "trained_tokens", column, "low", "high", "n"])


def contents():
    rows = [(form, kind, value, value * 0.9, value * 1.1, 3) for form, values in
            {"react": (0.31, 0.22, 0.12), "chat": (0.29, 0.23, 0.08), "react - chat": (0.02, -0.01, 0.04)}.items()
            for kind, value in zip(CONTENT, values, strict=True)]  # fmt: skip
    return pd.DataFrame(rows, columns=["form", "kind", "nats_per_byte", "low", "high", "n"])


PICTURES = {
    "kind_shares": (figures.kind_shares, shares),
    "distance": (figures.distance, distances),
    "loss_by_kind": (figures.loss_by_kind, losses),
    "content_by_form": (figures.content_by_form, contents),
}
every_picture = pytest.mark.parametrize(("draw", "data"), PICTURES.values(), ids=PICTURES)


@pytest.fixture(autouse=True)
def lab_preset(monkeypatch):
    monkeypatch.delenv("FLAN_PRESET", raising=False)
    monkeypatch.delenv("FLAN_DATA", raising=False)


def words(figure):
    """All text of a figure, as one string."""
    found = [text.get_text() for text in figure.findobj(mpl.text.Text)]
    return "\n".join(text for text in found if text)


@every_picture
def test_the_same_table_gives_the_same_bytes(tmp_path, draw, data):
    before = data()
    for folder in ("a", "b"):
        figures.save(draw(before), "picture", before, folder=tmp_path / folder)
    pd.testing.assert_frame_equal(before, data())
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["picture.csv", "picture.png", "picture.svg"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    svg = (tmp_path / "a" / "picture.svg").read_text()
    assert "<dc:date>" not in svg
    assert "<dc:title>picture</dc:title>" in svg


@every_picture
def test_a_picture_without_its_counts_or_rows_is_refused(draw, data):
    with pytest.raises(FlanError, match="no column n"):
        draw(data().drop(columns="n"))
    with pytest.raises(FlanError, match="no rows"):
        draw(data().head(0))


@pytest.mark.parametrize("bound", ["low", "high"])
@pytest.mark.parametrize("name", ["distance", "loss_by_kind", "content_by_form"])
def test_an_estimate_without_its_interval_is_refused(name, bound):
    draw, data = PICTURES[name]
    with pytest.raises(FlanError, match=f"no column {bound}"):
        draw(data().drop(columns=bound))


@every_picture
def test_drawing_leaves_the_global_style_alone(draw, data):
    before = dict(mpl.rcParams)
    draw(data())
    assert dict(mpl.rcParams) == before


@every_picture
def test_smoke_pictures_carry_a_banner_and_go_to_a_scratch_folder(draw, data, monkeypatch, tmp_path):
    assert figures.BANNER not in words(draw(data()))
    monkeypatch.setenv("FLAN_PRESET", "smoke")
    assert figures.BANNER in words(draw(data()))
    assert figures.output().name == "smoke"


def test_saved_numbers_are_those_of_the_table(tmp_path):
    frame = contents()
    path = figures.save(figures.content_by_form(frame), "x", frame, folder=tmp_path)
    assert path == tmp_path / "x.svg"
    assert b"\r" not in path.with_suffix(".csv").read_bytes()
    back = pd.read_csv(path.with_suffix(".csv"))
    pd.testing.assert_frame_equal(back, frame, rtol=1e-5)


def test_bars_are_as_long_as_their_shares():
    axes = figures.kind_shares(shares()).axes[0]
    lengths = [bar.get_width() for bar in axes.patches]
    assert lengths == pytest.approx([40, 10, 20, 30, 50, 15, 32, 3])
    assert [bar.get_hatch() for bar in axes.patches[:4]] == [STYLE[kind].hatch for kind in CAPABILITIES]
    told = words(axes.figure)
    assert "1,000 tokens of 120 conversations" in told
    assert "\n3\n" not in told, "a number that does not fit its segment is left out"


def test_distances_are_sorted_and_labelled_with_n():
    axes = figures.distance(distances()).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["talk", "one", "lab, ReAct"]
    assert axes.yaxis_inverted()
    assert "0.42   n = 96" in words(axes.figure)


@pytest.mark.parametrize("column", ["nats_per_byte", "nats_per_token"])
def test_loss_axes_name_their_unit_and_lines_their_kind(column):
    frame = losses(column)
    figure = figures.loss_by_kind(frame, {"format": 0.04, "content": 0.54})
    told = words(figure)
    assert f"loss (nats per {column[9:]}), log scale" in told
    assert "n = 3 seeds" in told
    assert "paper, content: 0.54" in told
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["ReAct form", "chat form"]
    for axes in figure.axes:
        lines = {line.get_label(): line for line in axes.get_lines()}
        for kind in CAPABILITIES:
            rows = frame[(frame["form"] == axes.get_title(loc="left").split()[0].lower()) & (frame["kind"] == kind)]
            np.testing.assert_allclose(lines[kind].get_ydata(), rows[column])
            assert lines[kind].get_marker() == STYLE[kind].marker
    low, high = figure.axes[0].get_ylim()
    assert 0 < low < 0.04 < frame[column].max() < high


def test_a_loss_without_a_unit_is_refused():
    with pytest.raises(FlanError, match="expected nats_per_byte or nats_per_token"):
        figures.loss_by_kind(losses("loss"))


def test_differences_of_forms_are_printed_and_not_drawn():
    figure = figures.content_by_form(contents())
    assert "reasoning\nreact - chat: +0.020\n[+0.018, +0.022]" in words(figure)
    drawn = sorted(line.get_ydata()[0] for line in figure.axes[0].get_lines() if line.get_marker() in {"o", "D"})
    assert drawn == pytest.approx([0.29, 0.31])


def test_an_unknown_kind_is_refused():
    with pytest.raises(FlanError, match="kind format"):
        figures.kind_shares(shares().replace({"kind": {"instruction": "format"}}))


@pytest.mark.parametrize("name", ["", "../x", "a b", "a.svg"])
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(FlanError, match="plain file name"):
        figures.save(figures.distance(distances()), name, distances(), folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_figure_shows_itself_as_png():
    png = figures.distance(distances())._repr_png_()
    assert mpl.image.imread(io.BytesIO(png), format="png").shape[1] == pytest.approx(7.6 * 90, abs=1)
