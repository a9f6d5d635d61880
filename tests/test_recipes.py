"""Recipes: the numbers are the papers', ablations differ by what they say, odd ones are refused."""

import itertools
from dataclasses import replace

import pytest
from models import tiny_base, tiny_concept

from adb_core.personalization import personalize
from adb_core.recipes import PRESETS, RECIPES, Recipe, Stage, recipe, recipe_table, scaled


@pytest.mark.parametrize("name, preset", list(itertools.product(RECIPES, PRESETS)))
def test_every_recipe_exists_in_both_presets(name, preset):
    plan = recipe(name, preset)
    assert plan.name == name and all(isinstance(s, Stage) for s in plan.stages)


def test_paper_numbers_are_the_papers():
    one, two, three = recipe("attndreambooth", "paper").stages
    assert (one.steps, one.lr, one.batch_size, one.lambda_mu, one.lambda_sigma, one.train) == (
        60,
        1e-3,
        8,
        0.1,
        0.0,
        ("embedding",),
    )
    assert (two.steps, two.lr, two.batch_size, two.lambda_mu, two.lambda_sigma, two.train) == (
        100,
        2e-5,
        8,
        2.0,
        5.0,
        ("cross_attention",),
    )
    assert (
        three.steps,
        three.lr,
        three.batch_size,
        three.lambda_mu,
        three.lambda_sigma,
        three.train,
    ) == (500, 2e-6, 8, 2.0, 5.0, ("unet",))
    fast = recipe("attndreambooth_fast", "paper").stages[2]
    assert (fast.steps, fast.lr, fast.batch_size) == (200, 1e-5, 4)
    assert all(
        s.reduction == "sum" and s.max_grad_norm == 1.0 and s.weight_decay == 1e-2
        for s in (one, two, three)
    )


def test_ablations_differ_by_what_they_say():
    full = recipe("attndreambooth")
    assert [s.name for s in recipe("without_stage_2").stages] == ["alignment", "identity"]
    assert recipe("without_regularizer").stages == tuple(
        replace(s, lambda_mu=0, lambda_sigma=0) for s in full.stages
    )
    assert recipe("dreambooth").init == "sks" and recipe("textual_inversion").subject == "{v}"


@pytest.mark.parametrize(
    "change, says",
    [
        (dict(steps=-1), "steps and batch_size"),
        (dict(lr=-1.0), "lr must be positive"),
        (dict(lr=float("nan")), "lr must be positive"),
        (dict(lambda_mu=-0.1), "lambda_mu must not be negative"),
        (dict(prior_weight=float("nan")), "must not be negative"),
        (dict(train=()), "train must name"),
        (dict(train=("vae",)), "train must name"),
        (dict(prompts=("a cat",)), "exactly one {}"),
        (dict(reduction="max"), "unknown reduction"),
    ],
)
def test_odd_stages_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        replace(recipe("attndreambooth").stages[0], **change)


def test_unknown_names_list_the_known():
    with pytest.raises(ValueError, match="unknown recipe 'lora': choose one of attndreambooth"):
        recipe("lora")
    with pytest.raises(ValueError, match="unknown preset"):
        recipe("attndreambooth", "huge")


def test_both_presets_have_the_same_rows():
    """Laid side by side they differ in numbers alone: steps, learning rates, batch sizes."""
    same = {"steps": 1, "lr": 1.0, "batch_size": 1, "embedding_lr": None}
    for name in RECIPES:
        tiny, paper = (recipe(name, preset) for preset in PRESETS)
        rows = [
            replace(plan, stages=tuple(replace(s, **same) for s in plan.stages))
            for plan in (tiny, paper)
        ]
        assert rows[0] == rows[1], name


def test_the_table_shows_preset_beside_preset():
    lines = recipe_table(("attndreambooth", "textual_inversion")).splitlines()
    assert len(lines) == 2 + 3 + 1 and lines[0].split() == ["paper"] * 5 + ["tiny"] * 5
    row = lines[2].split()
    assert row == ["attndreambooth", "alignment", "60", "0.001", "8", "0.1", "0"] + [
        "40", "0.005", "4", "0.1", "0",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="unknown recipe"):
        recipe_table(("lora",))


def test_scaling_multiplies_and_keeps_a_step():
    plan = recipe("attndreambooth")
    half = scaled(plan, steps=0.5, lr=2.0, weight=0.0)
    assert [s.steps for s in half.stages] == [s.steps // 2 for s in plan.stages]
    assert [s.lr for s in half.stages] == [2 * s.lr for s in plan.stages]
    assert not any(s.regularized for s in half.stages) and half.name == plan.name
    assert {s.steps for s in scaled(plan, steps=1e-6).stages} == {1}
    assert scaled(recipe("ti_dreambooth"), lr=2.0).stages[0].embedding_lr == 1e-2
    assert scaled(plan) == plan
    for steps in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="steps must be multiplied by a positive number"):
            scaled(plan, steps=steps)


def test_a_recipe_of_ones_own_runs_like_a_named_one():
    mine = Recipe("mine", (Stage("both", ("embedding", "cross_attention"), 1, 1e-3, 2),))
    result = personalize(tiny_base(), tiny_concept(), mine, view_count=1)
    assert [r.stage for r in result.history] == ["both"] and result.recipe_name == "mine"
