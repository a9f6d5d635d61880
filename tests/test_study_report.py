"""What a study writes: one tidy table, a summary, figures; on cells made up by hand."""

import csv
import json

import pytest
from small_study import small_plan

from adb_core import plots
from adb_core.metrics import Interval, Moment
from adb_core.study.plan import BASE, METHOD
from adb_core.study.report import figures, lines, write_report
from adb_core.study.summary import TEXT_MARGIN, comparisons, curves, frontiers, summarize
from adb_core.study.table import ALL, mean, rows

CONCEPTS = tuple(f"c{k}" for k in range(6))
PLAN = small_plan(recipes=("textual_inversion", METHOD), concepts=CONCEPTS, seeds=(0, 1))


def moment(step: int, text: float, share: float, joint: float) -> dict:
    """Two pictures a prompt."""
    pictures = {"text": text, "identity_share": share, "joint": joint, "identity": share * 0.8}
    return {
        "step": step,
        "prompts": [0, 0, 1, 1],
        "pictures": {name: [value, value, value, None] for name, value in pictures.items()},
        "leakage": [0.0, 1.0],
    }


def cell(recipe: str, concept: str, seed: int, preset: int, moments: list[dict]) -> dict:
    final = {"values": {"word_dependence": [0.4, None], "iou": []}, "left_out": {}}
    about = {"recipe": recipe, "concept": concept, "half": "tuning", "seed": seed}
    return {**about, "preset": preset, "moments": moments, "final": final}


def made() -> list[dict]:
    """Six concepts of unequal difficulty; the method is 0.2 better at the same text."""
    found = []
    for k, concept in enumerate(CONCEPTS):
        hard = 0.02 * k
        found.append(cell(BASE, concept, 0, 0, [moment(0, 0.9, 0.1 + hard, 0.0)]))
        for seed in (0, 1):
            for recipe, lift in (("textual_inversion", 0.0), (METHOD, 0.2)):
                at = [(3, 0.88, 0.4), (6, 0.8, 0.5), (9, 0.6, 0.6)]
                found.append(
                    cell(recipe, concept, seed, 6, [
                        moment(step, text, share + hard + lift, share + lift)
                        for step, text, share in at
                    ])
                )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def table() -> list[dict]:
    return [row for each in made() for row in rows(each, PLAN)]


def test_a_row_is_one_observation(table):
    keys = [(r["recipe"], r["concept"], r["seed"], r["step"], r["complexity"]) for r in table]
    assert len(keys) == len(set(keys)) == 6 * (1 + 2 * 2 * 3) * 3
    (row,) = [
        r for r in table
        if (r["recipe"], r["concept"], r["seed"], r["step"], r["complexity"])
        == (METHOD, "c1", 1, 6, ALL)
    ]  # fmt: skip
    assert row["at_preset"] == 1 and row["pictures"] == 4 and row["text"] == 0.8
    assert row["identity_share"] == pytest.approx(0.72) and row["word_dependence"] == 0.4
    assert row["leakage"] == 0.5 and row["iou"] is None
    part = [r for r in table if r["complexity"] == 1]
    assert all("leakage" not in r and r["pictures"] == 2 for r in part)
    assert mean([None, 1.0, 2.0]) == 1.5 and mean([]) is None


def test_the_method_is_better_by_what_was_made_up(table):
    found = comparisons(table, PLAN.recipes)["textual_inversion"]
    assert found["joint"]["mean"] == pytest.approx(0.2) and found["joint"]["count"] == 6
    assert found["joint"]["p"] == 2 / 2**6 and found["joint"]["corrected"][0] > 0.15
    assert found["text"]["mean"] == 0.0 and found["text"]["p_holm"] == 1.0
    assert comparisons(table, ("textual_inversion",)) == {}


def test_frontiers_begin_at_the_base_model(table):
    curve = curves(table, METHOD)["c2"]
    assert list(curve) == [0, 3, 6, 9] and curve[0] == pytest.approx((0.9, 0.14))
    found = frontiers(table, PLAN.recipes)
    assert found["matched_text"] == pytest.approx(0.9 - TEXT_MARGIN)
    above = found["method_minus"]["textual_inversion"]
    assert above["area"]["mean"] == pytest.approx(0.2, abs=1e-3) and above["area"]["low"] > 0.15
    assert above["matched"]["mean"] == pytest.approx(0.2, abs=1e-3)
    assert [m["step"] for m in found["recipes"][METHOD]] == [0, 3, 6, 9]


def test_a_cell_that_is_missing_is_no_error(table):
    fewer = [row for row in table if (row["recipe"], row["concept"]) != (METHOD, "c0")]
    summary = summarize(fewer, PLAN, {})
    assert summary["method_minus"]["textual_inversion"]["joint"]["count"] == 5
    assert set(curves(fewer, METHOD)) == set(CONCEPTS[1:])  # what was not trained has no curve
    alone = summarize([row for row in table if row["recipe"] == BASE], PLAN, {})
    assert alone["frontiers"] == {} and alone["method_minus"] == {}


def test_the_report_is_written_and_can_be_read_again(tmp_path):
    summary = write_report(made(), PLAN, {"judge": "x"}, tmp_path)
    stored = json.loads((tmp_path / "summary.json").read_text())
    assert stored == json.loads(json.dumps(summary)) and stored["known"] == {"judge": "x"}
    assert stored["rows"][METHOD]["by_complexity"]["joint"]["1"]["count"] == 6
    assert len(stored["rows"][METHOD]["scores"]["joint"]["concepts"]) == 6
    with open(tmp_path / "table.csv", newline="") as file:
        read = list(csv.DictReader(file))
    assert len(read) == 6 * 13 * 3 and read[0]["recipe"] == BASE and read[0]["iou"] == ""
    drawn = {path.stem for path in tmp_path.glob("*.png")}
    assert drawn == {"frontier", "joint_by_complexity", "identity_share_by_complexity"}
    printed = "\n".join(lines(summary))
    assert "attndreambooth less textual_inversion: joint +0.200, Holm-corrected" in printed


# ---------------------------------------------------------------- the figures


def curve(lift: float) -> list[Moment]:
    def at(x: float) -> Interval:
        return Interval(x, x - 0.05, x + 0.05, 5)

    return [Moment(k * 10, at(0.9 - 0.1 * k), at(0.1 + 0.2 * k + lift)) for k in range(3)]


def test_the_frontier_says_what_it_shows():
    figure = plots.frontier({"ours": curve(0.1), "theirs": curve(0.0)}, matched_text=0.87)
    text = plots.alt_text(figure)
    assert "ours: text from 0.90 to 0.70 and identity from 0.20 to 0.60 after 20 steps" in text
    assert "0.87" in text
    (ax,) = figure.axes
    assert {t.get_text() for t in ax.get_legend().get_texts()} == {"ours", "theirs", "matched text"}
    assert plots.to_png(figure).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.frontier({})
    with pytest.raises(ValueError, match="'ours' has no moments"):
        plots.frontier({"ours": []})


def test_complexity_is_an_axis_and_every_concept_a_point():
    levels = {k: Interval(0.9 - 0.1 * k, 0.8 - 0.1 * k, 1 - 0.1 * k, 3) for k in range(6)}
    points = {"ours": {k: [0.8, 0.7, 0.6] for k in range(6)}}
    figure = plots.by_complexity({"ours": levels}, points=points)
    assert "ours: 0.90 at 0 and 0.40 at 5" in plots.alt_text(figure)
    (ax,) = figure.axes
    assert list(ax.get_xticks()) == list(range(6))
    assert sum(len(c.get_offsets()) for c in ax.collections if len(c.get_offsets()) == 3) == 18


def test_twenty_lines_are_told_apart_without_their_colors():
    from adb_core.plots.frontiers import looks

    found = [looks(k) for k in range(21)]
    assert len({(x["marker"], x["linestyle"]) for x in found}) == 21
    assert len({x["color"] for x in found[:7]}) == 7


def test_figures_are_drawn_of_what_there_is():
    assert figures({"frontiers": {}, "rows": {BASE: {"by_complexity": {}}}}) == {}
