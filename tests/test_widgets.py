"""The widgets, driven by code: what they show and say; errors and stops stay inside them."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

import adb_core as adb
from adb_core.generation import PromptError
from adb_core.metrics import where
from adb_core.pictures import opened
from adb_core.plots import DriftPoint, alt_text
from adb_core.recording import Recording
from adb_core.study.plan import Plan
from adb_core.teaching import make_grid, make_tracks
from adb_core.teaching.grid import MUS, SIGMAS, Grid, Point, lambdas, load_grid, variants
from adb_core.teaching.tracks import SCORES, Track, Tracks, View, cut, load_tracks, pasted
from adb_core.widgets import (
    AttentionExplorer,
    BeforeAfter,
    DriftExplorer,
    FormingMaps,
    FrontierExplorer,
    Panel,
    PromptBench,
    RegularizerPlayground,
    wide,
)
from adb_core.widgets.live import gallery, live_curve


@pytest.fixture
def recording():
    """Two words, three steps, two layers; the second word looks at the lower right corner."""
    rng = np.random.default_rng(0)
    layers = {}
    for name, side in (
        ("down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor", 4),
        ("mid_block.attentions.0.transformer_blocks.0.attn2.processor", 2),
    ):
        maps = rng.random((3, 2, side, side, 2)) * 0.1
        maps[..., -1, -1, 1] = 0.9
        layers[name] = maps.astype(np.float16)
    image = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    return Recording(image, "a cat", ("a", "cat"), layers)


def test_recording_picks_layer_step_and_head(recording):
    name = next(iter(recording.layers))
    one = recording.map("cat", layer=name, step=1, head=0)
    np.testing.assert_allclose(one, recording.layers[name][1, 0, ..., 1].astype(np.float32))
    assert recording.map("cat").shape == (4, 4) and where(recording.map("cat")) == "bottom right"
    mean = recording.map("cat", layer=name)
    np.testing.assert_allclose(
        mean, recording.layers[name].astype(np.float32)[..., 1].mean((0, 1)), rtol=1e-3
    )


@pytest.mark.parametrize("wrong", [{"word": "dog"}, {"layer": "no"}, {"step": 3}, {"head": 7}])
def test_recording_says_what_there_is(recording, wrong):
    with pytest.raises(PromptError, match="choose from"):
        recording.map(**{"word": "cat", **wrong})


def test_attention_explorer_shows_the_chosen_map(recording):
    explorer = AttentionExplorer(recording)
    explorer.word.value = "cat"
    assert "'cat'" in explorer.text and "bottom right" in explorer.text
    before = explorer.picture.value
    explorer.word.value = "a"
    assert explorer.picture.value != before and "'a'" in explorer.text
    explorer.step.value, explorer.head.value = 2, 1
    np.testing.assert_allclose(explorer.heat, recording.map("a", step=1, head=0))
    assert opened(explorer.picture.value).shape == (256, 256 + 8 + 256, 3)


def test_filmstrip_shows_what_the_slider_would_and_puts_it_back(recording):
    explorer = AttentionExplorer(recording)
    explorer.step.value = 2
    figure = explorer.filmstrip(explorer.step, [0, 1, 3])
    assert explorer.step.value == 2 and len(figure.axes) == 3
    titles = [axes.get_title() for axes in figure.axes]
    assert [title.split(": ")[1] for title in titles] == ["0", "1", "3"]
    assert alt_text(figure).count("largest probability") == 3


def drift(step):
    said = adb.Drift(
        distance=float(step),
        cosine_to_start=1.0,
        cosine_to_category=0.5,
        norm=1.0,
        vocabulary_norm=1.0,
        nearest=(("cat", 0.5), ("dog", 0.4)),
    )
    return DriftPoint(step, "alignment", said, (step / 10, 0.0))


def test_drift_explorer_follows_the_path():
    explorer = DriftExplorer(
        [drift(s) for s in (0, 5, 10)],
        np.random.default_rng(0).normal(size=(30, 2)),
        {"cat": (0.0, 1.0)},
    )
    assert explorer.text.startswith("step 10: 10.00")
    last = explorer.picture.value
    explorer.at.value = 0
    assert explorer.text.startswith("step 0: 0.00") and explorer.picture.value != last


def test_before_after_wipes():
    before, after = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 200, np.uint8)
    pair = BeforeAfter(before, after)
    pair.edge.value = 0
    assert opened(pair.picture.value).min() == 200
    pair.edge.value = 100
    assert opened(pair.picture.value).max() == 0
    pair.edge.value = 25
    assert (
        opened(pair.picture.value)[0, 10].max() == 0
        and opened(pair.picture.value)[0, -1].min() == 200
    )
    with pytest.raises(ValueError, match="one size"):
        BeforeAfter(before, after[:4])


def test_forming_maps_show_a_moment_and_say_its_numbers():
    photos = np.full((2, 8, 8, 3), 90, np.uint8)

    def maps(v):
        return {"v": np.full((2, 3, 4, 4), v), "category": np.full((2, 3, 4, 4), 0.2)}

    forming = FormingMaps([(0, maps(0.4)), (30, maps(0.1))], photos, "cat")
    assert forming.text == "photo 1 after 0 steps: largest attention of [V] 0.40, of cat 0.20"
    first = forming.picture.value
    forming.moment.value, forming.photo.value = 1, 2
    assert forming.text.startswith("photo 2 after 30 steps: largest attention of [V] 0.10")
    assert forming.picture.value != first
    with pytest.raises(ValueError, match="no moments"):
        FormingMaps([], photos, "cat")
    with pytest.raises(ValueError, match="after 0 steps there are maps of 2 photos, and 1 photos"):
        FormingMaps([(0, maps(0.4))], photos[:1], "cat")


def track(concept, recipe, slope):
    """Three moments of a training; ``slope`` is what each costs of the text."""
    views = [
        View(
            10 * k,
            "finetune" if k else "base model",
            {"text": 1 - slope * k, "identity": 0.2 + 0.2 * k, "joint": 0.1 * k},
            np.full((2, 16, 16, 3), 40 * k, np.uint8),
            np.full((2, 4, 4), 0.1 * k + slope, np.float32),
        )
        for k in range(3)
    ]
    return Track(concept, recipe, 20, tuple(views))


def stored(*recipes, concepts=("pico", "zorro")):
    every = [track(c, r, 0.1 * n) for c in concepts for n, r in enumerate(recipes)]
    prompts, by_name = ("a {}", "a {} on the beach"), {(t.concept, t.recipe): t for t in every}
    return Tracks((0.0, 0.5, 1.0), prompts, 12, by_name)


def test_frontier_explorer_moves_pictures_maps_and_scores_together():
    explorer = FrontierExplorer(stored("gentle", "rough"))
    assert explorer.text == (
        "gentle after 0 of 20 steps: text 1.00, identity 0.20, joint 0.00; "
        "rough after 0 of 20 steps: text 1.00, identity 0.20, joint 0.00"
    )
    first = opened(explorer.picture.value)
    explorer.at.value = 2
    assert explorer.text.endswith(
        "rough after 20 of 20 steps: text 0.80, identity 0.60, joint 0.20"
    )
    last = opened(explorer.picture.value)
    assert last.shape == first.shape and last.shape[1] == 2 * (2 * 128 + 6) + 24
    height = 22 + 6 + 128  # a line of text, and one row of pictures
    assert (last[28:height, :128] == 80).all() and (first[28:height, :128] == 0).all()
    for part in (slice(height + 6, height + 134), slice(height + 144, None)):
        assert (first[part] != last[part]).any()  # the maps; the plane and the bars


def test_frontier_explorer_compares_any_two_recipes_of_any_individual():
    explorer = FrontierExplorer(stored("gentle", "rough", "wild"), "gentle", "wild")
    explorer.at.value = 1
    assert "wild after 10 of 20 steps: text 0.80" in explorer.text
    before = explorer.picture.value
    explorer.second.value = "rough"
    assert "rough after 10 of 20 steps: text 0.90" in explorer.text
    assert explorer.picture.value != before
    explorer.second.value = "gentle"  # with itself: both are drawn, in their own colors
    assert explorer.text.count("gentle after 10") == 2
    explorer.concept.value = "zorro"
    assert [t.concept for t in explorer.shown] == ["zorro", "zorro"]
    assert len(explorer.filmstrip(explorer.at, [0, 1, 2]).axes) >= 3 and explorer.at.value == 1


@pytest.mark.parametrize(
    ("recipes", "chosen", "says"),
    [
        (("gentle",), (), "two recipes are compared, and stored are: gentle"),
        (
            ("gentle", "rough"),
            ("gentle", "other"),
            "no training of 'other' is stored: gentle, rough",
        ),
    ],
)
def test_frontier_explorer_says_what_is_missing(recipes, chosen, says):
    with pytest.raises(ValueError, match=says):
        FrontierExplorer(stored(*recipes), *chosen)


def test_sheets_are_cut_as_they_were_pasted():
    pictures = np.random.default_rng(0).integers(0, 255, (3, 2, 5, 7, 3), dtype=np.uint8)
    sheet = pasted(pictures)
    assert sheet.shape == (15, 14, 3)
    np.testing.assert_array_equal(sheet[5:10, 7:], pictures[1, 1])
    np.testing.assert_array_equal(cut(sheet, 3, 2), pictures)


def test_tracks_are_trained_and_a_stopped_run_goes_on(tiny_base, tmp_path, monkeypatch):
    looked = []

    class Making(make_tracks.Making):
        def look(self, model, step, stage):
            looked.append((self.recipe, step, stage))
            super().look(model, step, stage)

    plan = Plan(
        recipes=("dreambooth",), concepts=("pico",), seeds=(0,), steps=2, moments=2, truth=1,
        prompts=make_tracks.PLAN.prompts[:2], longer=2.0,
    )  # fmt: skip
    short = replace(adb.recipe("dreambooth"), stages=short_recipe(1).stages[:1])
    monkeypatch.setattr("adb_core.study.plan.recipe", lambda name: short)
    monkeypatch.setattr(make_tracks, "named", lambda name: short)
    monkeypatch.setattr(make_tracks, "Making", Making)
    monkeypatch.setattr(make_tracks, "SHOWN", (0, 1))
    tools = make_tracks.bench(tiny_base, plan)
    tracks = make_tracks.make_tracks(tmp_path, tools, progress=False)
    assert [step for _, step, _ in looked] == [0, 1, 2] and looked[0][2] == "base model"
    again = make_tracks.make_tracks(tmp_path, tools, progress=False)
    assert len(looked) == 3, "a finished training was made again"
    view = again.by_name["pico", "dreambooth"].views[2]
    assert view.images.shape == (2, 128, 128, 3) and view.maps.shape == (2, 16, 16)
    assert 0 < view.maps.max() <= 1 and set(view.scores) == set(SCORES)
    assert tracks.shares == (0.0, 1.0, 2.0) and tracks.prompts[0] == "a photo of a {}"
    with pytest.raises(FileNotFoundError, match="make_tracks"):
        load_tracks(tmp_path / "nowhere")


def test_bundled_tracks_can_be_compared_moment_by_moment():
    tracks = load_tracks()
    assert set(tracks.by_name) == {(c, r) for c in tracks.concepts for r in tracks.recipes}
    for each in tracks.by_name.values():
        shares = [view.step / each.preset for view in each.views]
        np.testing.assert_allclose(shares, tracks.shares, atol=0.01)
        assert each.preset == adb.recipe(each.recipe).steps, (
            "the recipe has changed: make them anew"
        )
        assert all(0 <= view.scores[score] <= 1.2 for view in each.views for score in SCORES)
    starts = {(t.concept, str(t.views[0].scores)) for t in tracks.by_name.values()}
    assert len(starts) == len(tracks.concepts), "every training begins at the base model"


def test_prompt_bench_draws_and_puts_errors_into_its_line(tiny_base):
    bench = PromptBench({"base": tiny_base}, prompt="a photo of a cat", steps=2)
    bench.work()
    assert "seed 0" in bench.text and opened(bench.picture.value).shape[0] == 256
    bench.prompt.value, bench.category = "a photo of a {}", "dog"
    bench.work()
    named = opened(bench.picture.value)
    bench.prompt.value = "a photo of a dog"
    bench.work()
    assert (
        opened(bench.picture.value) == named
    ).all()  # a base model reads the category in {}'s place
    bench.prompt.value = ""
    bench.models = {"broken": None}
    bench.worker.run(bench.work)
    bench.worker.wait(20)
    assert "Error" in bench.text and not bench.draw.disabled


def test_a_new_widget_is_one_class_over_the_panel():
    class Brightness(Panel):
        def __init__(self):
            self.level = wide("IntSlider", "level", min=0, max=255, value=40)
            super().__init__([self.level], "How bright?")
            self.watch(self._refresh, self.level)

        def _refresh(self):
            self.paint(np.full((4, 4, 3), self.level.value, np.uint8))
            self.say(f"level {255 // self.level.value}")

    widget = Brightness()
    widget.level.value = 85
    assert opened(widget.picture.value).max() == 85 and widget.text == "level 3"
    widget.level.value = 0
    assert widget.text.startswith("ZeroDivisionError")


# ---------------------------------------------------------------- the playground


@pytest.fixture
def tiny_base():
    return adb.load_base("tiny", device="cpu")


def short_recipe(steps=3):
    plan = adb.recipe("attndreambooth_fast")
    return replace(plan, stages=tuple(replace(s, steps=steps, batch_size=2) for s in plan.stages))


def test_playground_answers_from_the_grid_and_says_when_it_cannot(tiny_base):
    plan = short_recipe()
    points = tuple(
        Point(lambdas(v), f"picture {k}".encode(), f"identity {k}")
        for k, v in enumerate(variants(plan, (0.0, 2.0), (0.0, 5.0)))
    )
    playground = RegularizerPlayground(
        tiny_base, adb.Concept.bundled("pico"), plan, grid=Grid("pico", plan.name, points)
    )
    assert "identity 3" in playground.text and playground.picture.value == b"picture 3"
    for stage in ("attention", "identity"):
        playground.sliders[stage, "lambda_mu"].value = 0.0
    assert "identity 1" in playground.text
    playground.sliders["alignment", "lambda_mu"].value = 20.0
    assert "not precomputed" in playground.text and playground.picture.value == b""
    assert playground.chosen.stages[0].lambda_mu == 20.0
    assert "after it lambda_mu 0" in playground.text  # says where there is something to see


def test_later_stages_move_together_as_long_as_the_box_is_ticked(tiny_base):
    playground = RegularizerPlayground(tiny_base, adb.Concept.bundled("pico"), short_recipe())
    first, *later = (s.name for s in playground.recipe.stages)
    playground.sliders[later[0], "lambda_mu"].value = 20.0
    assert [s.lambda_mu for s in playground.chosen.stages[1:]] == [20.0, 20.0]
    playground.sliders[first, "lambda_sigma"].value = 5.0
    assert playground.chosen.stages[0].lambda_sigma == 5.0
    playground.together.value = False
    playground.sliders[later[1], "lambda_mu"].value = 0.5
    assert [s.lambda_mu for s in playground.chosen.stages[1:]] == [20.0, 0.5]


def test_playground_trains_what_the_sliders_say_and_keeps_a_gallery(tiny_base):
    playground = RegularizerPlayground(
        tiny_base, adb.Concept.bundled("pico"), short_recipe(), prompts=["a photo of a {}"], steps=2
    )
    before = [p.detach().clone() for p in tiny_base.unet.parameters()]
    for _ in range(2):
        playground.worker.run(playground.work)
        playground.worker.wait(120)
    assert "trained" in playground.status.value and len(playground.tried) == 2
    np.testing.assert_array_equal(
        playground.tried[0][1], playground.tried[1][1]
    )  # the same seed, the same picture
    assert playground.progress.value == playground.progress.max == 9
    assert opened(playground.curve.value).shape == (180, 640, 3)
    assert all((a == b).all() for a, b in zip(before, tiny_base.unet.parameters(), strict=True)), (
        "the base model has changed"
    )


def test_playground_can_be_stopped_and_started_again(tiny_base):
    playground = RegularizerPlayground(
        tiny_base, adb.Concept.bundled("pico"), short_recipe(200), steps=2
    )
    playground.train.click()
    end = time.monotonic() + 60
    while playground.progress.value < 2 and time.monotonic() < end:
        time.sleep(0.05)
    assert playground.train.disabled and not playground.stop.disabled
    playground.stop.click()
    playground.worker.wait(60)
    assert "stopped after" in playground.status.value and not playground.tried
    assert not playground.train.disabled


def test_playground_ignores_a_second_press_and_sliders_that_move_while_it_trains(tiny_base):
    playground = RegularizerPlayground(
        tiny_base, adb.Concept.bundled("pico"), short_recipe(), prompts=["a photo of a {}"], steps=2
    )
    before = playground.label
    playground.train.click()
    thread = playground.worker.thread
    playground.worker.run(playground.work)  # as if the click had been under way already
    end = time.monotonic() + 60
    while playground.progress.value < 1 and time.monotonic() < end:
        time.sleep(0.02)
    playground.sliders["identity", "lambda_mu"].value = 100.0
    playground.worker.wait(120)
    assert playground.worker.thread is thread
    assert [label for label, _ in playground.tried] == [before] != [playground.label]


def test_errors_of_training_appear_in_the_playground(tiny_base):
    playground = RegularizerPlayground(
        tiny_base, adb.Concept.bundled("pico"), short_recipe(), prompts=["no braces"], steps=2
    )
    playground.worker.run(playground.work)
    playground.worker.wait(120)
    assert "PromptError" in playground.status.value


def test_a_grid_is_trained_and_a_stopped_run_goes_on(tiny_base, tmp_path, monkeypatch):
    trained = []

    def point(base, concept, recipe, tools):
        trained.append(lambdas(recipe))
        return real(base, concept, recipe, tools)

    real = make_grid.make_point
    monkeypatch.setattr(make_grid, "make_point", point)
    monkeypatch.setattr(make_grid, "named", lambda name: short_recipe(1))
    monkeypatch.setattr(make_grid, "SAMPLING", {"steps": 2, "guidance": 3.0})
    monkeypatch.setattr(make_grid, "variants", lambda plan: variants(plan, (0.0, 2.0), (5.0,))[:1])
    folders = tmp_path / "grid", tmp_path / "work"
    make_grid.make_grid(*folders, tiny_base, progress=False)
    monkeypatch.setattr(make_grid, "variants", lambda plan: variants(plan, (0.0, 2.0), (5.0,)))
    grid = make_grid.make_grid(*folders, tiny_base, progress=False)
    assert trained == [p.lambdas for p in grid.points] and len(set(trained)) == 2
    assert opened(grid.points[0].png).shape == (408, 616, 3)
    assert grid.points[1].text.startswith("identity ") and grid.find(short_recipe(1))
    with pytest.raises(FileNotFoundError, match="make_grid"):
        load_grid(tmp_path)


def test_bundled_grid_has_the_recipes_own_point_and_says_what_was_measured():
    grid = load_grid()
    assert len(grid.points) == len(MUS) * len(SIGMAS) and grid.find(adb.recipe(grid.recipe))
    for point in grid.points:
        assert "identity" in point.text and "attention of [V] / category" in point.text
        assert opened(point.png).shape[0] > 300


def test_curve_and_gallery_take_what_there_is():
    assert live_curve([], 10).size == (640, 180)
    rows = [("one", np.zeros((20, 30, 3), np.uint8)), ("two", np.zeros((20, 60, 3), np.uint8))]
    assert gallery(rows).size == (520, 84)
