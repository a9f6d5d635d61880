"""Figures are legible, say what they show, and refuse to be empty."""

from itertools import combinations

import numpy as np
import pytest
import torch

from adb_core import plots
from adb_core.drift import Drift
from adb_core.plots import curves
from adb_core.plots.diagram import BOXES, TRAINED
from adb_core.recipes import recipe
from adb_core.records import StepRecord


def record(stage: str, step: int, captured: bool = True) -> StepRecord:
    series = [(0.1 * step, 0.2), (0.01, 0.02), (0.3, 0.3), (0.03, 0.03)] if captured else [()] * 4
    return StepRecord(
        stage,
        step,
        3,
        1.0 / step,
        0.9 / step,
        0.1,
        0.0,
        0.0,
        1.0,
        1e-3,
        0.01,
        ("a", "b") if captured else (),
        *series,
    )


def point(step: int, stage: str) -> plots.DriftPoint:
    return plots.DriftPoint(
        step,
        stage,
        Drift(0.1 * step, 1.0, 0.9, 1.0, 1.1, (("cat", 0.9), ("dog", 0.5))),
        (0.1 * step, 0.0),
    )


def snapshot(step: int) -> plots.Snapshot:
    image = np.full((8, 8, 3), 9 * step, np.uint8)
    shares = {"start": 0.6, "a": 0.1, "[v]": 0.1 + 0.1 * step, "end": 0.2 - 0.1 * step}
    return plots.Snapshot(step, "inversion", image, np.eye(4), shares, (0.1 * step, 0.0))


def film_figures(steps=(0, 1)):
    vocabulary = np.random.default_rng(0).normal(size=(9, 2))
    return plots.snapshot_figures(list(map(snapshot, steps)), vocabulary, {"cat": (0, 0.1)}, "[v]")


def figures():
    image, heat = np.zeros((8, 8, 3), np.uint8), np.eye(4)
    return {
        "grid": plots.image_grid(
            [[image, None], [image]], row_labels=["a", "b"], column_labels=["c"]
        ),
        "attention": plots.attention_grid(
            [[image, image], [image]],
            [[heat, heat], [heat]],
            row_labels=["a"],
            column_labels=["c", "d"],
        ),
        "words": plots.word_maps(image, {f"word{k}": heat for k in range(7)}, "a prompt"),
        "curves": plots.training_curves(
            [record("one", k) for k in (1, 2, 3)] + [record("two", 1, captured=False)]
        ),
        "drift": plots.embedding_drift(
            [point(0, ""), point(1, "one"), point(2, "two")],
            np.random.default_rng(0).normal(size=(9, 2)),
            {"cat": (0.0, 0.1)},
            "cat",
        ),
        "film": film_figures()[1],
        "controls": plots.beside_controls(
            {"base model": {"text": 0.9}}, {"base model": {"text": 0.1}}, {"text": 0.97}
        ),
        "rows": plots.image_rows({"a": [image, image], "b": [image]}, ["c", "d"], "Pictures."),
        "bars": plots.bar_panels({"cosine": {"one": -0.5, "two": 0.9}}),
        "dots": plots.dot_panels({"identity": {"one": [0.1, 0.3], "two": [0.5, 0.7]}}),
        "ratios": plots.ratio_curves({"with": [record("one", k) for k in (1, 2, 3)]}),
    }


@pytest.mark.parametrize("dark", [False, True])
def test_figures_are_legible_whatever_the_readers_style(dark, tmp_path):
    import matplotlib.style

    with matplotlib.style.context("dark_background" if dark else "default"):
        for name, figure in figures().items():
            assert plots.alt_text(figure), name
            png = plots.to_png(figure, tmp_path / "figure.png")
            assert (tmp_path / "figure.png").read_bytes() == png and plots.alt_text(figure).encode(
                "latin-1"
            ) in png
            for ax in figure.axes:
                assert matplotlib.colors.same_color(ax.get_facecolor(), plots.PAPER)
                texts = [
                    ax.title,
                    ax.xaxis.label,
                    ax.yaxis.label,
                    *ax.get_xticklabels(),
                    *ax.get_yticklabels(),
                    *ax.texts,
                ]
                assert all(
                    matplotlib.colors.same_color(t.get_color(), plots.INK)
                    for t in texts
                    if t.get_text()
                )


def test_figures_say_what_they_show():
    made = figures()
    assert "2 steps" in plots.alt_text(made["drift"]) and "cat (0.90)" in plots.alt_text(
        made["drift"]
    )
    assert "one: 3 steps, loss from 1.000 to 0.333" in plots.alt_text(made["curves"])
    assert "word0 most at the top left" in plots.alt_text(made["words"])
    assert "base model: text 0.90, control 0.10" in plots.alt_text(made["controls"])
    assert "inversion, step 1" in plots.alt_text(made["film"])
    assert "[v] 20 %" in plots.alt_text(made["film"])
    assert plots.alt_text(made["rows"]) == "Pictures."
    assert "cosine: one -0.50, two 0.90" in plots.alt_text(made["bars"])
    assert "identity: one 0.20, two 0.60" in plots.alt_text(made["dots"])
    assert "with: " in plots.alt_text(made["ratios"])
    assert plots.alt_text(plots.set_alt_text(made["grid"], "other")) == "other"


def test_figures_refuse_nothing_to_draw():
    image = np.zeros((8, 8, 3), np.uint8)
    for call in (
        lambda: plots.image_grid([]),
        lambda: plots.image_grid([[image]], column_labels=["a", "b"]),
        lambda: plots.training_curves([]),
        lambda: plots.attention_grid([[image]], [[]]),
        lambda: plots.embedding_drift([], np.zeros((1, 2)), {}, "cat"),
        lambda: film_figures(()),
        lambda: plots.beside_controls({}, {}),
        lambda: plots.beside_controls({"a": {"text": 1.0}}, {"a": {"identity": 0.0}}),
        lambda: plots.bar_panels({}),
        lambda: plots.bar_panels({"a": {"one": 1}, "b": {"two": 1}}),
        lambda: plots.dot_panels({"a": {}}),
        lambda: plots.dot_panels({str(k): {"one": [1]} for k in range(5)}),
        lambda: plots.ratio_curves({}),
        lambda: plots.ratio_curves({"a": [record("one", 1, captured=False)]}),
        lambda: plots.ratio_curves({name: [record("one", 1)] for name in "abc"}),
    ):
        with pytest.raises(ValueError):
            call()


def test_all_figures_of_a_film_have_one_scale():
    first, last = film_figures()
    for a, b in zip(first.axes, last.axes, strict=True):
        assert a.get_xlim() == b.get_xlim() and a.get_ylim() == b.get_ylim()


def test_running_mean_by_hand():
    torch.testing.assert_close(
        curves._smooth([1.0, 3.0, 5.0, 9.0], 2), np.array([1.0, 2.0, 4.0, 7.0])
    )


# ---------------------------------------------------------------- the diagram


def boxes_of(figure) -> dict[str, tuple]:
    """text of a box -> (face color, width of its frame)"""
    from matplotlib.colors import to_hex
    from matplotlib.patches import FancyBboxPatch

    patches = [p for p in figure.axes[0].patches if isinstance(p, FancyBboxPatch)]
    assert len(patches) == len(BOXES)
    return {
        name: (to_hex(patch.get_facecolor()).upper(), patch.get_linewidth())
        for name, patch in zip(BOXES, patches, strict=True)
    }


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_diagram_colors_what_a_stage_trains(number):
    stage = recipe("attndreambooth").stages[number]
    boxes = boxes_of(plots.diagram("maps", stage))
    trained = {name for name, (color, _) in boxes.items() if color == TRAINED}
    expected = [
        {"row"},
        {"cross-attention"},
        {"unet", "self-attention", "cross-attention"},
    ][number]
    assert trained == expected
    assert [name for name, (_, width) in boxes.items() if width > 2] == ["maps"]


def test_the_diagram_says_in_words_what_it_shows():
    stage = recipe("attndreambooth").stages[1]
    alt = plots.alt_text(plots.diagram(["row", "maps"], stage))
    assert "Trained in attention: cross-attention." in alt and "about: row, maps" in alt
    assert "Trained" not in plots.alt_text(plots.diagram())


def test_the_diagram_has_no_other_boxes():
    with pytest.raises(ValueError, match="no box 'decoder ring': choose from prompt, tokens"):
        plots.diagram("decoder ring")


def test_no_two_boxes_of_the_diagram_overlap_but_the_unets_own():
    for (a, first), (b, second) in combinations(BOXES.items(), 2):
        apart = any(
            first[i] + first[i + 2] <= second[i] or second[i] + second[i + 2] <= first[i]
            for i in (0, 1)
        )
        inside = {a, b} - {"unet"} <= {"self-attention", "cross-attention"}
        assert apart or inside, (a, b)


def test_people_are_asked_only_where_the_page_is_about_them():
    assert "about: people" in plots.alt_text(plots.diagram("people"))
    styles = {}
    for lit in ("people", "picture"):
        arrows = [p for p in plots.diagram(lit).axes[0].patches if hasattr(p, "get_arrowstyle")]
        styles[lit] = [arrow.get_linestyle() for arrow in arrows]
    changed = [a for a, b in zip(styles["people"], styles["picture"], strict=True) if a != b]
    assert len(changed) == 2  # from the picture and from the photos: dotted where nobody is asked


# ---------------------------------------------------------------- votes


def test_a_forest_draws_what_is_known_and_says_it_in_words():
    rows = {"known": (65.0, 41.0, 85.0), "unknown": (68.0, float("nan"), float("nan"))}
    figure = plots.forest(rows, "Shares", "% of votes", reference=50, truth={"known": 60})
    ax = figure.axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["known", "unknown"]
    dots = {float(line.get_xdata()[0]): line for line in ax.lines if line.get_marker() == "o"}
    assert dots[68.0].get_markerfacecolor() == plots.PAPER != dots[65.0].get_markerfacecolor()
    crosses = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "x"]
    assert crosses == [60]
    alt = plots.alt_text(figure)
    assert "known: 65, interval 41 to 85, truth 60" in alt and "unknown: 68, no interval" in alt


def test_a_forest_refuses_what_it_cannot_draw():
    with pytest.raises(ValueError, match="no estimates to draw"):
        plots.forest({}, "", "")
    with pytest.raises(ValueError, match="names 'b', which is no row: a"):
        plots.forest({"a": (1, 0, 2)}, "", "", truth={"b": 1})


@pytest.mark.parametrize(("share", "needed"), [(0.6, 199), (0.8, 20), (0.3, 49)])
def test_a_power_curve_marks_the_votes_that_are_needed(share, needed):
    figure = plots.power_curve(share)
    (dot,) = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert dot.get_xdata()[0] == needed and dot.get_ydata()[0] >= 0.8
    assert f"need {needed} decided votes" in plots.alt_text(figure)
    assert figure.axes[0].get_xlim()[1] > needed
