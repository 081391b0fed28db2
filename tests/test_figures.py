"""Pictures show the numbers of their table, come with intervals, and are the same bytes every time."""

import io
import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from flanlib.presets import output
from flanlib.records import CAPABILITIES, CONTENT, FlanError
from flanlib.report import figures
from flanlib.report.figures import STYLE


def shares():
    parts = {"react": (0.4, 0.1, 0.2, 0.3), "chat": (0.5, 0.15, 0.32, 0.03)}
    rows = [("lab", dialect, kind, 1000 * share, share, 120) for dialect, split in parts.items()
            for kind, share in zip(CAPABILITIES, split, strict=True)]  # fmt: skip
    return pd.DataFrame(rows, columns=["source", "dialect", "kind", "tokens", "share", "n"])


def distances():
    rows = [("lab, ReAct", 0.93, 0.9, 0.97, 96), ("talk", 0.42, 0.4, 0.44, 96), ("one", 0.6, np.nan, np.nan, 1)]
    return pd.DataFrame(rows, columns=["text", "nats_per_byte", "low", "high", "n"])


def losses():
    rows = [(form, kind, tokens, 2 * 0.5**i * 0.7**k, 2 * 0.5**i * 0.7**k * 0.9, 2 * 0.5**i * 0.7**k * 1.1, 3)
            for form, (k, kind), (i, tokens) in itertools.product(
                ("react", "chat"), enumerate(CAPABILITIES), enumerate((0, 500, 1000)))]  # fmt: skip
    return pd.DataFrame(rows, columns=["form", "kind", "trained_tokens", "nats_per_token", "low", "high", "n"])


def contents():
    rows = [(form, kind, value, value * 0.9, value * 1.1, 3) for form, values in
            {"react": (0.31, 0.22, 0.12), "chat": (0.29, 0.23, 0.08), "react - chat": (0.02, -0.01, 0.04)}.items()
            for kind, value in zip(CONTENT, values, strict=True)]  # fmt: skip
    return pd.DataFrame(rows, columns=["form", "kind", "nats_per_byte", "low", "high", "n"])


def around(value, spread):
    return value, value - spread, value + spread


def learning(form="chat"):
    """Sixty noisy points of training, eight of held-out data; every kind at its own pace."""
    rng, rows = np.random.default_rng(7), []
    pace = dict(zip(CAPABILITIES, ((38, 1.8, 6.5), (24, 1.0, 3.6), (20, 0.9, 4.3), (11, 0.19, 1.6)), strict=True))
    for split, points, noise in (("train", 60, 0.05), ("heldout", 8, 0.01)):
        for tokens, (kind, (fast, last, first)) in itertools.product(np.linspace(0, 120, points), pace.items()):
            share = np.exp(-tokens / fast) + rng.normal(0, noise) * (tokens > 0)
            loss = max(last + (first - last) * share, 0.05)
            rows.append((form, split, kind, 1000 * tokens + 2000 * (split == "train"), loss, loss * (1 - 2 * noise),
                         loss * (1 + 2 * noise), *around(share, noise), 3))  # fmt: skip
    return pd.DataFrame(rows, columns=["form", "split", "kind", "trained_tokens", "nats_per_token", "low", "high",
                                       "share", "share_low", "share_high", "n"])  # fmt: skip


def pace():
    rows = [(form, split, kind, *around(tokens * factor, 0.1 * tokens), 3)
            for form, factor in (("react", 1.0), ("chat", 1.15)) for split in ("train", "heldout")
            for kind, tokens in zip(CAPABILITIES, (78_400, 61_000, 66_300, 31_200), strict=True)]  # fmt: skip
    return pd.DataFrame(rows, columns=["form", "split", "kind", "tokens", "low", "high", "n"])


ARMS = ("ReAct", "aligned", "reasoning halved", "retrieval halved", "understanding halved", "instruction halved",
        "weighted 1 : 0.25 : 0.75")  # fmt: skip
SCORES = ("overall", "instruction", "retrieval", "understanding", "reasoning")


def arms():
    rng = np.random.default_rng(3)
    rows = [(arm, score, *around(rng.uniform(0.55, 0.9), rng.uniform(0.01, 0.06)), 3, 60_000 + 15_500 * i)
            for (i, arm), score in itertools.product(enumerate(ARMS), SCORES)]  # fmt: skip
    return pd.DataFrame(rows, columns=["arm", "score", "value", "low", "high", "n", "trained_tokens"])


def printed():
    return pd.DataFrame({"arm": ARMS, "value": [61.8, 64.9, 63.8, np.nan, 64.6, 65.9, 66.3]})


def cards():
    rng = np.random.default_rng(5)
    rows = [(model, split, protocol, score, *np.clip(around(rng.normal(level, 0.08), 0.05), 0, 1), 120)
            for (model, protocol, level), split, score in itertools.product(
                (("base", "chat", 0.07), ("react-tuned", "react", 0.7), ("chat-tuned", "chat", 0.86)),
                ("seen tools", "held-out tools"), (*SCORES[1:], "episodes", "general"))]  # fmt: skip
    return pd.DataFrame(rows, columns=["model", "split", "protocol", "score", "value", "low", "high", "n"])


def gains():
    rows = [(score, *around(gain, 0.04), 60) for score, gain in zip(SCORES, (0.03, -0.12, 0.2, 0.0, 0.08), strict=True)]
    return pd.DataFrame(rows, columns=["score", "value", "low", "high", "n"])


def answers():
    shares = {("base", "none needed"): (0.8, 0, 0.1, 0.1), ("base", "one needed"): (0.1, 0.7, 0, 0.2),
              ("tuned", "none needed"): (0, 0, 1, 0), ("tuned", "one needed"): (0.9, 0, 0, 0.1)}  # fmt: skip
    rows = [(model, cell, answer, share, *((share - 0.05, share + 0.05) if answer == "right" else (np.nan, np.nan)), 25)
            for (model, cell), parts in shares.items()
            for answer, share in zip(("right", "no call where one is needed", "tool called, none needed",
                                      "loop or nothing"), parts, strict=True)]  # fmt: skip
    return pd.DataFrame(rows, columns=["model", "cell", "answer", "share", "low", "high", "n"])


def rising():
    rows = [(form, score, tokens, *np.clip(around(value, 0.05), 0, 1), 24)
            for form, late in (("react", 0.1), ("chat", 0.0)) for score in ("retrieval", "understanding")
            for tokens, value in ((0, 0.05), (510.5, 0.2 - late), (2011, 0.5 - late), (20_050, 0.9))]  # fmt: skip
    return pd.DataFrame(rows, columns=["form", "score", "trained_tokens", "value", "low", "high", "n"])


def ours():
    rng = np.random.default_rng(8)
    rows = [(model, column, *np.clip(around(rng.uniform(0.1, 0.9), 0.06), 0, 1), 200)
            for column in ("held-out skill", "BFCL call", "overall") for model in ("base", "Agent-FLAN")]
    return pd.DataFrame(rows, columns=["model", "column", "value", "low", "high", "n"])


def grown():
    rows = [(place, "Agent-FLAN", score, *around(0.2 + 0.2 * i, 0.05), 200)
            for score in ("held-out skill", "episodes") for i, place in enumerate(("0 %", "50 %", "100 %"))]
    return pd.DataFrame(rows, columns=["place", "series", "score", "value", "low", "high", "n"])


PICTURES = {
    "rivals": (lambda frame: figures.rivals(frame, ours()[["model", "column", "value"]]), ours),
    "growth": (lambda frame: figures.growth(frame, along="share of the data"), grown),
    "learning_speeds": (figures.learning_speeds, learning),
    "speeds": (figures.speeds, pace),
    "table2": (lambda frame: figures.table2(frame, printed()), lambda: arms().iloc[:30]),
    "skill_by_tokens": (figures.skill_by_tokens, rising),
    "report_card": (lambda frame: figures.report_card(frame, {"instruction": 0.9, "episodes": 0.5}), cards),
    "gains": (lambda frame: figures.gains(frame, ("chat form", "ReAct form")), gains),
    "answers": (figures.answers, answers),
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
        figure = draw(before)
        figures.save(figure, "picture", before, folder=tmp_path / folder)
    assert figures.BANNER not in words(figure)
    pd.testing.assert_frame_equal(before, data())
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "a" / "picture.csv"), before, rtol=1e-5, check_dtype=False)
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
@pytest.mark.parametrize("name", [name for name in PICTURES if name != "kind_shares"])
def test_an_estimate_without_its_interval_is_refused(name, bound):
    draw, data = PICTURES[name]
    bound = f"share_{bound}" if name == "learning_speeds" else bound
    with pytest.raises(FlanError, match=f"no column {bound}"):
        draw(data().drop(columns=bound))


@every_picture
def test_smoke_pictures_carry_a_banner_and_go_to_a_scratch_folder(draw, data, monkeypatch, tmp_path):
    before = dict(mpl.rcParams)
    monkeypatch.setenv("FLAN_PRESET", "smoke")
    assert figures.BANNER in words(draw(data()))
    assert dict(mpl.rcParams) == before, "drawing leaves the global style alone"
    assert output().name == "smoke"


def test_the_path_of_the_picture_is_returned(tmp_path):
    frame = contents()
    path = figures.save(figures.content_by_form(frame), "x", frame, folder=tmp_path)
    assert path == tmp_path / "x.svg"
    assert b"\r" not in path.with_suffix(".csv").read_bytes()


def test_bars_are_as_long_as_their_shares():
    axes = figures.kind_shares(shares()).axes[0]
    lengths = [bar.get_width() for bar in axes.patches]
    assert lengths == pytest.approx([40, 10, 20, 30, 50, 15, 32, 3])
    assert [bar.get_hatch() for bar in axes.patches[:4]] == [STYLE[kind].hatch for kind in CAPABILITIES]
    text = words(axes.figure)
    assert "1,000 tokens of 120 conversations" in text
    assert "\n3\n" not in text, "a number that does not fit its segment is left out"


def test_distances_are_sorted_and_labelled_with_n():
    axes = figures.distance(distances()).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["talk", "one", "lab, ReAct"]
    assert axes.yaxis_inverted()
    assert "0.42   n = 96" in words(axes.figure)


def test_loss_axes_name_their_unit_and_lines_their_kind():
    frame = losses()
    figure = figures.loss_by_kind(frame, {"format": 0.04, "content": 0.54})
    text = words(figure)
    assert "loss (nats per token), log scale" in text
    assert "n = 3 seeds" in text
    assert "paper, content: 0.54" in text
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["ReAct form", "chat form"]
    for axes in figure.axes:
        lines = {line.get_label(): line for line in axes.get_lines()}
        for kind in CAPABILITIES:
            rows = frame[(frame["form"] == axes.get_title(loc="left").split()[0].lower()) & (frame["kind"] == kind)]
            np.testing.assert_allclose(lines[kind].get_ydata(), rows["nats_per_token"])
            assert lines[kind].get_marker() == STYLE[kind].marker
    low, high = figure.axes[0].get_ylim()
    assert 0 < low < 0.04 < frame["nats_per_token"].max() < high


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


def drawn(figure):
    """Values of all dots of a figure, sorted."""
    return sorted(float(x) for axes in figure.axes for dots in axes.containers for x in dots.lines[0].get_xdata())


def labels(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


@pytest.mark.parametrize("name", ["learning_speeds", "speeds", "table2", "report_card", "gains"])
def test_poor_tables_are_drawn_too(name):
    draw, data = PICTURES[name]
    frame = data().assign(n=1)
    bounds = [column for column in frame if "low" in column or "high" in column]
    frame[bounds] = np.nan  # one seed has no interval
    for column in {"form", "split"} & set(frame):
        frame = frame[frame[column] == frame[column].iloc[-1]]
    frame = frame.iloc[1:].reset_index(drop=True)  # something is missing
    value = next(c for c in ("nats_per_token", "tokens", "value") if c in frame)
    frame.loc[0, value] = np.nan  # and something has no value
    figure = draw(frame)
    figure._repr_png_()
    assert ("one run" if name == "learning_speeds" else "n = 1 ") in words(figure)
    if name != "learning_speeds":
        assert ("did not fall" if name == "speeds" else "no value") in words(figure)


@pytest.mark.parametrize(("name", "column", "scale", "write"), [
    ("speeds", "tokens", 1, lambda x: f"{x / 1000:.3g}k"),
    ("report_card", "value", 100, "{:.1f}".format), ("gains", "value", 100, "{:+.1f}".format),
])  # fmt: skip
def test_dots_stand_at_their_values_with_the_numbers_beside_them(name, column, scale, write):
    draw, data = PICTURES[name]
    frame = data()
    figure = draw(frame)
    assert drawn(figure) == pytest.approx(sorted(scale * frame[column]))
    assert {write(scale * value) for value in frame[column]} <= set(words(figure).split("\n"))
    assert f"95 % interval, n = {frame['n'][0]}" in words(figure)


def test_learning_speeds_are_shares_of_the_held_out_fall_a_panel_for_each_form():
    frame = pd.concat([learning("react"), learning("chat")])
    figure = figures.learning_speeds(frame)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["ReAct form, held-out data",
                                                                    "chat form, held-out data"]  # fmt: skip
    for axes, form in zip(figure.axes, ("react", "chat"), strict=True):
        lines = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
        rows = frame[(frame["form"] == form) & (frame["split"] == "heldout")]
        for kind in CAPABILITIES:
            np.testing.assert_allclose(lines[kind], rows[rows["kind"] == kind]["share"])
        assert list(lines["nine tenths of its fall"]) == [0.1, 0.1]
    with pytest.raises(FlanError, match="no held-out loss"):
        figures.learning_speeds(frame[frame["split"] == "train"])


def test_a_kind_that_hardly_fell_is_named_where_its_share_would_be():
    frame = pd.concat([learning("react"), learning("chat")])
    rows = (frame["kind"] == "understanding") & (frame["form"] == "chat")
    frame.loc[rows, ["share", "share_low", "share_high"]] = np.nan
    left, right = figures.learning_speeds(frame).axes
    assert [text.get_text() for text in right.texts] == ["hardly fell: understanding"]
    assert not left.texts


def test_speeds_stand_in_the_order_of_the_paper():
    order = ["instruction", "retrieval", "understanding", "reasoning"]
    assert labels(figures.speeds(pace()).axes[0]) == order
    assert labels(figures.speeds(pace().iloc[::-1]).axes[0]) == order


def test_table2_puts_every_arm_on_one_scale_and_the_paper_below():
    frame = arms()
    figure = figures.table2(frame, printed())
    (axes,) = figure.axes
    assert labels(axes) == [*SCORES, "T-Eval, in the paper"]
    known = printed()["value"].dropna()
    assert drawn(figure) == pytest.approx(sorted([*(100 * frame["value"]), *known]))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(ARMS)


def test_numbers_have_room_beside_an_axis_that_ends_with_its_data():
    for axes in figures.report_card(cards()).axes:
        assert max(axes.get_xticks()) == 100 < axes.get_xlim()[1]
        assert axes.spines["bottom"].get_bounds()[1] == 100


def test_right_answers_come_first_with_their_interval_beside_them():
    figure = figures.answers(answers())
    titles = [axes.get_title(loc="left").replace("\u00a0", " ") for axes in figure.axes]
    assert titles == ["none needed (n = 25)", "one needed (n = 25)"]
    first, *_ = figure.axes[0].containers
    assert [bar.get_width() for bar in first] == pytest.approx([80, 0])
    assert {text.get_text() for text in figure.axes[1].texts} == {"10 [5, 15]", "90 [85, 95]"}


def test_skill_begins_at_the_left_edge_and_shares_its_scale():
    figure = figures.skill_by_tokens(rising())
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["retrieval", "understanding"]
    for axes in figure.axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "500", "1k", "2k", "4k", "8k", "16k"]
        for line in axes.get_lines():
            assert line.get_xdata()[0] == pytest.approx(510.5 / 2)
            assert line.get_ydata()[-1] == pytest.approx(90)


def test_a_report_card_marks_aims_and_asks_every_model_in_one_form():
    figure = figures.report_card(cards(), {"reasoning": 0.9, "unknown": 0.1})
    ticks = [line for axes in figure.axes for line in axes.get_lines() if list(line.get_xdata()) == [90, 90]]
    assert len(ticks) == 2, "one a panel"
    assert "react-tuned, asked in ReAct form" in words(figure)
    both = pd.concat([cards(), cards().assign(protocol="json")])
    with pytest.raises(FlanError, match="several values for one score and model"):
        figures.report_card(both)
