"""What a study writes: one tidy table, a summary, figures; on cells made up by hand."""

import csv
import json
from dataclasses import replace

import pytest
from small_study import small_plan

from adb_core import plots
from adb_core.metrics import Interval, Moment
from adb_core.study.curves import TEXT_MARGIN, curves, frontiers
from adb_core.study.plan import BASE, METHOD, edition
from adb_core.study.report import figures, lines, span, write_report
from adb_core.study.summary import DAMAGE, LONG_SERIES, PRIMARY, comparisons, families, summarize
from adb_core.study.table import ALL, mean, rows
from adb_core.study.tuning import effort, objective, unequal

CONCEPTS = tuple(f"c{k}" for k in range(6))
PLAN = small_plan(recipes=("textual_inversion", METHOD), concepts=CONCEPTS, seeds=(0, 1))
STEPS = PLAN.marks(METHOD)  # of which the second is where the preset ends


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
    about = {"recipe": recipe, "concept": concept, "half": "tuning", "seed": seed, "rate": 1.0}
    return {**about, "preset": preset, "moments": moments, "final": final}


def made() -> list[dict]:
    """Six concepts of unequal difficulty; the method is 0.2 better at the same text."""
    found = []
    for k, concept in enumerate(CONCEPTS):
        hard = 0.02 * k
        found.append(cell(BASE, concept, 0, 0, [moment(0, 0.9, 0.1 + hard, 0.0)]))
        for seed in (0, 1):
            for recipe, lift in (("textual_inversion", 0.0), (METHOD, 0.2)):
                at = zip(PLAN.marks(recipe), (0.88, 0.8, 0.6), (0.4, 0.5, 0.6), strict=True)
                found.append(
                    cell(recipe, concept, seed, PLAN.marks(recipe)[1], [
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
        == (METHOD, "c1", 1, STEPS[1], ALL)
    ]  # fmt: skip
    assert row["at_preset"] == 1 and row["pictures"] == 4 and row["text"] == 0.8
    assert row["identity_share"] == pytest.approx(0.72) and row["word_dependence"] == 0.4
    assert row["leakage"] == 0.5 and row["iou"] is None
    part = [r for r in table if r["complexity"] == 1]
    assert all("leakage" not in r and r["pictures"] == 2 for r in part)
    assert mean([None, 1.0, 2.0]) == 1.5 and mean([]) is None


def test_the_method_is_better_by_what_was_made_up(table):
    found = comparisons(table, PLAN.recipes)["textual_inversion"]
    joint, text = found["joint"], found["text"]
    assert joint.interval.mean == pytest.approx(0.2) and joint.interval.count == 6
    assert joint.p == 2 / 2**6 and joint.interval.low > 0.15
    assert text.interval.mean == 0.0 and text.p_holm == 1.0
    assert comparisons(table, ("textual_inversion",)) == {}


def test_a_summary_has_four_families_and_each_is_corrected_as_a_whole(table):
    tests = families(table, PLAN.recipes)
    primary = tests["all prompts"]["textual_inversion"]
    assert set(primary) == set(PRIMARY) and not set(PRIMARY) & set(DAMAGE)
    # joint and identity differ in every concept, text and word_dependence in none
    assert {n: c.p_holm for n, c in primary.items()} == {
        "joint": 4 / 32, "identity_share": 4 / 32, "text": 1.0, "word_dependence": 1.0,
    }  # fmt: skip
    assert set(tests["damage"]["textual_inversion"]) == {"leakage"}  # what these cells have of it
    assert tests["hard prompts"] == {}
    harder = [{**r, "complexity": 3} if r["complexity"] == 1 else r for r in table]
    assert set(families(harder, PLAN.recipes)["hard prompts"]["textual_inversion"]) == set(
        LONG_SERIES
    )
    summary = summarize(harder, PLAN, {})
    assert {n: f["tests"] for n, f in summary["families"].items()} == {
        "all prompts": 4, "damage": 1, "hard prompts": 3, "frontiers": 2,
    }  # fmt: skip
    assert summary["families"]["all prompts"]["least_p_holm"] == 4 / 32


def test_every_contrast_states_its_difference_interval_and_both_p(table):
    summary = summarize(table, PLAN, {})
    stated = [
        contrast
        for part in ("method_minus", "method_minus_damage", "method_minus_hard")
        for row in summary[part].values()
        for contrast in row.values()
    ] + [c for row in summary["frontiers"]["method_minus"].values() for c in row.values()]
    assert len(stated) == 4 + 1 + 2
    keys = {"mean", "low", "high", "count", "p", "p_holm", "corrected"}
    assert all(set(c) == keys and c["p"] <= c["p_holm"] for c in stated)
    # six concepts cannot carry four tests at 5 %: such an interval has no ends, in valid JSON
    assert summary["method_minus"]["textual_inversion"]["joint"]["corrected"] == [None, None]
    json.dumps(summary, allow_nan=False)


def test_frontiers_begin_at_the_base_model(table):
    curve = curves(table, METHOD, PLAN.positions(METHOD))["c2"]
    assert list(curve) == [0, *STEPS] and curve[0] == pytest.approx((0.9, 0.14))
    found, tests = frontiers(table, PLAN, PLAN.recipes)
    assert found["matched_text"] == pytest.approx(0.9 - TEXT_MARGIN)
    above = found["method_minus"]["textual_inversion"]
    assert above["area"]["mean"] == pytest.approx(0.2, abs=1e-3) and above["area"]["low"] > 0.15
    assert above["matched"]["mean"] == pytest.approx(0.2, abs=1e-3)
    assert tests["textual_inversion"]["area"].p_holm == 2 * 2 / 2**6  # two measures, one family
    assert [m["step"] for m in found["recipes"][METHOD]] == [0, *STEPS]
    assert found["concepts"][METHOD] == list(CONCEPTS)


@pytest.mark.parametrize("moments", [2, 3, 5, 8])
def test_every_curve_of_a_plan_has_as_many_moments(moments):
    """Also where a preset ends on an even share, and a recipe is measured once less."""
    asked = {"recipes": (), "concepts": (), "seeds": (), "rates": ()}
    plan = edition(True, "tuning", (), 1, moments, {**asked, "recipes": ("textual_inversion",)})
    for name in (*plan.recipes, METHOD, "without_stage_3"):
        positions = plan.positions(name)
        assert len(positions) == moments + 2 and positions[0] == 0
        assert set(plan.marks(name)) == set(positions) - {0}


def test_a_cell_that_is_missing_is_no_error(table):
    fewer = [row for row in table if (row["recipe"], row["concept"]) != (METHOD, "c0")]
    summary = summarize(fewer, PLAN, {})
    assert summary["method_minus"]["textual_inversion"]["joint"]["count"] == 5
    assert set(curves(fewer, METHOD, PLAN.positions(METHOD))) == set(CONCEPTS[1:])
    assert summary["frontiers"]["concepts"][METHOD] == list(CONCEPTS[1:])
    assert summary["frontiers"]["method_minus"]["textual_inversion"]["area"]["count"] == 5
    alone = summarize([row for row in table if row["recipe"] == BASE], PLAN, {})
    assert alone["frontiers"] == {} and alone["method_minus"] == {} and alone["families"] == {}
    theirs = summarize([row for row in table if row["recipe"] != METHOD], PLAN, {})
    assert theirs["frontiers"]["method_minus"] == {} and theirs["families"] == {}


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
    names = ("frontier", "joint_by_complexity", "identity_share_by_complexity")
    assert drawn == {f"{name}_methods" for name in names}
    printed = "\n".join(lines(summary))
    assert "less textual_inversion: joint +0.200, Holm-corrected [..., ...], p 0.125" in printed
    assert "all prompts: 4 tests over 6 concepts cannot reach p 0.05" in printed
    text = (tmp_path / "table.md").read_text()
    assert "| recipe | identity | identity_share | joint | leakage | text | word_dep" in text
    assert "| 0.700 [0.700, 0.700] | 0.500 [0.500, 0.500] | 0.800 [" in text
    assert "less another, all prompts: mean [interval corrected by Holm over 4 tests]" in text
    assert "+0.200 [..., ...], p 0.125" in text and "less another, frontiers" in text


def test_ends_that_nobody_knows_are_dots():
    assert span((None, 0.25)) == "[..., 0.250]" and span((-1.0, 2.0), "+") == "[-1.000, +2.000]"


def test_identity_at_matched_text_is_stated_for_each(table):
    found = frontiers(table, PLAN, PLAN.recipes)[0]["identity_at_matched_text"]
    apart = found[METHOD]["mean"] - found["textual_inversion"]["mean"]
    assert apart == pytest.approx(0.2, abs=1e-4) and found[METHOD]["count"] == 6
    assert found[METHOD]["low"] < found[METHOD]["mean"] < found[METHOD]["high"]


def test_tuning_ranks_settings_by_the_joint_score(tmp_path):
    plan = replace(PLAN, recipes=("textual_inversion",), rates=(1.0, 2.0))
    first, second, last = plan.marks("textual_inversion")
    cells = [c for c in made() if c["recipe"] == "textual_inversion"]
    cells += [
        {**c, "rate": 2.0, "moments": [moment(first, 0.9, 0.5, 0.7), moment(second, 0.9, 0.6, 0.7)]}
        for c in cells
    ]
    summary = write_report(cells, plan, {}, tmp_path)
    found = summary["tuning"]["textual_inversion"]
    assert [(s["rate"], s["step"]) for s in found] == [
        (2, second), (2, first), (1, last), (1, second), (1, first),
    ]  # fmt: skip
    assert {s["runs"] for s in found} == {12}  # the same effort for every setting
    assert found[0]["lr"] == 1e-2 and found[0]["last_stage_steps"] == second
    assert found[0]["intervals"]["joint"]["count"] == 6
    assert summary["rows"]["textual_inversion"]["scores"]["joint"]["mean"] == 0.5  # of rate 1
    text = (tmp_path / "tuning.md").read_text()
    scores = "0.700 | 0.735 | 0.900 | 0.600 | 0.500"
    assert f"| textual_inversion | 0.01 (x 2) | {second} | {second} | {scores} | 12 |" in text
    assert "The effort was the same for every recipe." in text
    assert objective(0.9, -0.1) == 0.0 and objective(0.25, 1.0) == 0.5


def test_every_recipe_is_tuned_with_the_same_effort():
    """Steps, trainings, settings and pictures; what differs is said."""
    asked = {"recipes": (), "concepts": (), "seeds": (0,), "rates": (0.5, 1.0, 2.0)}
    plan = edition(False, "tuning", (), 1, 8, asked)
    assert {plan.long(name).steps for name in plan.recipes} == {270}
    assert {len(plan.positions(name)) for name in plan.recipes} == {10}
    assert edition(False, "tuning", (), 1, 8, {**asked, "rates": ()}).total is None
    plan = replace(plan, concepts=("c0",), recipes=("textual_inversion", "attndreambooth"))
    cells = [
        {
            **cell(name, "c0", 0, 1, [moment(s, 1, 1, 1) for s in plan.marks(name)]),
            "rate": rate,
            "training_seconds": 2.0,
        }
        for name in plan.recipes
        for rate in plan.rates
    ]
    found = effort([cell(BASE, "c0", 0, 0, []), *cells], plan)
    assert found["attndreambooth"] == {
        "settings": 27, "trainings": 3, "steps": 810, "samples": 3240, "pictures": 108,
        "training_seconds": 6.0,
    }  # fmt: skip
    assert found["textual_inversion"] == found["attndreambooth"] and unequal(found) == []
    found = effort(cells[:-1], plan)
    assert "unequal effort, steps: attndreambooth had 540, textual_inversion 810" in unequal(found)
    assert effort(cells, replace(plan, rates=(1.0,))) == {}


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
    nothing = {"by_complexity": {"joint": {}, "identity_share": {}}}
    assert figures({"frontiers": {}, "rows": {BASE: nothing}}) == {}
    interval = {"mean": 0.5, "low": 0.4, "high": 0.6, "count": 2, "concepts": {"a": 0.4, "b": 0.6}}
    row = {"by_complexity": {"joint": {"0": interval}, "identity_share": {}}}
    rows = {BASE: row, "dreambooth": row, METHOD: row, "without_stage_2": row, "masked_map": row}
    drawn = figures({"frontiers": {}, "rows": rows})
    texts = {name: plots.alt_text(figure) for name, figure in drawn.items()}
    assert set(texts) == {"joint_by_complexity_methods", "joint_by_complexity_variants"}
    methods, variants = texts.values()
    assert "dreambooth:" in methods and "without_stage_2" not in methods
    assert all(name in variants for name in (METHOD, "without_stage_2", "masked_map", BASE))
    assert " dreambooth:" not in variants.replace(METHOD, "")
