"""The losses of one step: what each is, what their sum is, and how another one is added."""

from dataclasses import dataclass, replace

import pytest
import torch
from models import make_learner, short, tiny_base, tiny_concept

from adb_core import losses as module
from adb_core.attention import capture_attention
from adb_core.engine import TrainingError
from adb_core.learner import Learner
from adb_core.losses import Batch, diffusion_target, draw_batch, forward, losses, step_rng
from adb_core.personalization import personalize
from adb_core.recipes import Recipe, Stage, recipe
from adb_core.regularizer import mean_statistics, regularizer, stack_statistics
from adb_core.training import StagePrompts, train_stage

WEIGHED = Stage("s", ("unet",), 1, 1e-3, 4, lambda_mu=2.0, lambda_sigma=5.0)


def passed(learner, batch: Batch, capture=None):
    ids = learner.token.tokenize([learner.prompt("a photo of a {}")])
    states = learner.token.states(ids).repeat(len(batch.rows))
    return forward(learner, batch, states, capture)


def test_parts_of_a_batch_are_the_batch():
    learner = make_learner(Recipe("r", (WEIGHED,)))
    whole = draw_batch(learner.latents, 1, 6, 1000, step_rng(0, 0, 0))
    pieces = [whole.part(3, number) for number in range(3)]
    assert all(len(piece.rows) == 2 for piece in pieces)
    for name in ("latents", "noise", "timesteps"):
        joined = torch.cat([getattr(piece, name) for piece in pieces])
        assert torch.equal(joined, getattr(whole, name))


def test_the_total_is_the_sum_of_its_weighted_parts():
    learner = make_learner(Recipe("r", (WEIGHED,)))
    batch = draw_batch(learner.latents, 1, 4, 1000, step_rng(0, 0, 0))
    (v,), (category,) = learner.token.positions(learner.token.tokenize([learner.prompt("a {}")])[0])
    with torch.no_grad(), capture_attention(learner.unet, [v, category]) as capture:
        once = losses(WEIGHED, passed(learner, batch, capture))
        three = losses(WEIGHED, passed(learner, batch, capture), parts=3)
        mean = replace(WEIGHED, reduction="mean")
        averaged = losses(mean, passed(learner, batch, capture), parts=3)
    torch.testing.assert_close(once.total, once.diffusion + once.regularizer.total)
    torch.testing.assert_close(three.regularizer.total, 3 * once.regularizer.total)
    torch.testing.assert_close(averaged.regularizer.total, once.regularizer.total / 4)
    free = losses(replace(WEIGHED, lambda_mu=0, lambda_sigma=0), passed(learner, batch))
    assert free.total is free.diffusion and float(free.regularizer.total) == 0


def test_vectors_and_pieces_are_read_one_by_one():
    """Two vectors and a category of several pieces: statistics of each token's own map."""
    plan = Recipe("r", (WEIGHED,), vectors=2)
    learner = Learner(tiny_base(), tiny_concept("red cat"), plan, view_count=2)
    ids = learner.token.tokenize([learner.prompt("a photo of a {}")])
    v, pieces = learner.token.positions(ids[0])
    assert len(v) == 2 and len(pieces) > 1
    columns = StagePrompts(learner, WEIGHED).columns  # (1, k, n)
    assert torch.equal(columns[0].nonzero()[:, 0].sort().values, torch.tensor([*v, *pieces]))
    batch = draw_batch(learner.latents, 1, 4, 1000, step_rng(0, 0, 0))
    with torch.no_grad(), capture_attention(learner.unet, columns) as capture:
        found = passed(learner, batch, capture)
        total = losses(WEIGHED, found).regularizer.total
        each = [stack_statistics(capture.maps(k)) for k in range(len(v) + len(pieces))]
    category = mean_statistics(each[2:])
    torch.testing.assert_close(tuple(found.category), tuple(category))
    expected = [regularizer(of_one, category, 2.0, 5.0).total for of_one in each[:2]]
    torch.testing.assert_close(total, sum(expected) / 2)


def test_an_unknown_prediction_type_is_refused():
    base = tiny_base()
    base.scheduler.register_to_config(prediction_type="sample")
    one = torch.zeros(1, 4, 2, 2)
    with pytest.raises(TrainingError, match="prediction type 'sample' is not supported"):
        diffusion_target(base.scheduler, one, one, torch.tensor([1]))


# ---------------------------------------------------------------- another loss


@dataclass(frozen=True)
class Smooth(Stage):
    """A stage with one more loss: its weight is one more field."""

    smooth_weight: float = 0.0


def smoothness(found) -> torch.Tensor:
    return found.predicted.diff(dim=-1).square().mean()


def test_a_further_loss_is_one_function_and_one_field(monkeypatch):
    monkeypatch.setitem(module.TERMS, "smooth_weight", smoothness)
    plain = Smooth("s", ("unet",), 2, 1e-3, 2)
    runs = {}
    for weight in (0.0, 3.0):
        plan = Recipe("r", (replace(plain, smooth_weight=weight),))
        runs[weight] = personalize(tiny_base(), tiny_concept(), plan, view_count=2)
    without, weighed = (run.history[0] for run in runs.values())
    assert without.further == {} and set(weighed.further) == {"smooth_weight"}
    assert weighed.loss == pytest.approx(
        without.loss + 3.0 * weighed.further["smooth_weight"], rel=1e-5
    )
    a, b = (run.learner.unet.conv_in.weight for run in runs.values())
    assert not torch.equal(a, b)  # it is trained, too


def test_a_stage_of_another_recipe_is_one_line():
    learner = make_learner(short(recipe("attndreambooth")))
    stranger = replace(learner.recipe.stages[0], name="tuning")
    with pytest.raises(TrainingError, match="has no stage 'tuning': train one of alignment, atten"):
        next(train_stage(learner, stranger))
