"""The engine on small random models: what moves, what is reported, what it refuses."""

import accelerate
import numpy as np
import pytest
import torch
from models import make_learner, short, tiny_base, tiny_concept, weights

from adb_core import engine
from adb_core.engine import TrainingError, make_accelerator
from adb_core.learner import Learner, encode_views
from adb_core.losses import draw_batch, step_rng
from adb_core.optimizers import make_optimizer
from adb_core.recipes import Recipe, Stage, recipe
from adb_core.regularizer import regularizer, stack_statistics
from adb_core.training import train_stage


@pytest.mark.parametrize(
    "train", [("embedding",), ("cross_attention",), ("unet",), ("embedding", "unet")]
)
def test_only_the_stages_parameters_change(train):
    stage = Stage("s", train, steps=2, lr=1e-2, batch_size=2, lambda_mu=1.0, lambda_sigma=1.0)
    learner = make_learner(Recipe("r", (stage,)))
    before, table = (
        weights(learner),
        learner.token.text_encoder.get_input_embeddings().weight.clone(),
    )
    list(train_stage(learner, stage))
    after = weights(learner)
    moved = {n for n in before if not torch.equal(before[n], after[n])}
    allowed = set(learner.parameters(stage))
    assert moved <= allowed
    if "embedding" in train:
        assert "token.rows" in moved
    if "unet" in train:
        assert {n for n in allowed if n.startswith("unet.")} - moved == set()
    if "cross_attention" in train:
        assert moved == {n for n in before if ".attn2." in n}
    rows = (
        (table != learner.token.text_encoder.get_input_embeddings().weight)
        .any(1)
        .nonzero()
        .flatten()
        .tolist()
    )
    assert rows == (learner.token.ids if "embedding" in train else [])
    assert (
        not any(p.requires_grad for p in learner.unet.parameters())
        and not learner.token.rows.requires_grad
    )


def test_a_step_reports_what_an_independent_computation_finds():
    stage = Stage("s", ("unet",), steps=1, lr=1e-3, batch_size=3, lambda_mu=2.0, lambda_sigma=5.0)
    learner = make_learner(Recipe("r", (stage,)), "sd21")
    batch = draw_batch(learner.latents, 1, 3, 1000, step_rng(0, 0, 0))
    scheduler, unet = learner.base.scheduler, learner.unet
    ids = learner.token.tokenize([learner.prompt("a photo of a {}")])
    states = learner.token.encode(ids).expand(3, -1, -1)
    from adb_core.attention import capture_attention

    (v,), (category,) = learner.token.positions(ids[0])
    with torch.no_grad(), capture_attention(unet, [v, category], path="oracle") as capture:
        predicted = unet(
            scheduler.add_noise(batch.latents, batch.noise, batch.timesteps),
            batch.timesteps,
            encoder_hidden_states=states,
        ).sample
    diffusion = torch.nn.functional.mse_loss(
        predicted, scheduler.get_velocity(batch.latents, batch.noise, batch.timesteps)
    )
    sv, sc = stack_statistics(capture.maps(0)), stack_statistics(capture.maps(1))
    penalty = regularizer(sv, sc, 2.0, 5.0)
    (record,) = train_stage(learner, stage)
    assert record.loss == pytest.approx(float(diffusion + penalty.total), rel=1e-4)
    assert record.diffusion == pytest.approx(float(diffusion), rel=1e-4)
    assert record.mean_part == pytest.approx(float(penalty.mean_part), rel=1e-3, abs=1e-8)
    assert record.var_part == pytest.approx(float(penalty.var_part), rel=1e-3, abs=1e-8)
    assert record.v_mean == pytest.approx(sv.mean.mean(1).tolist(), rel=1e-3)
    assert record.category_var == pytest.approx(sc.var.mean(1).tolist(), rel=1e-2, abs=1e-7)
    assert len(record.layers) == 16 and record.seconds > 0 and record.grad_norm > 0


def test_accumulation_gives_the_same_step():
    stage = Stage("s", ("unet",), steps=1, lr=1e-3, batch_size=4, lambda_mu=2.0, lambda_sigma=5.0)
    runs = []
    for accumulation in (1, 2, 4):
        learner = make_learner(Recipe("r", (stage,)), accumulation=accumulation)
        (record,) = train_stage(learner, stage)
        runs.append((record, weights(learner)))
    for record, _ in runs[1:]:
        assert record.diffusion == pytest.approx(runs[0][0].diffusion, rel=1e-4)
        assert record.mean_part == pytest.approx(runs[0][0].mean_part, rel=1e-3, abs=1e-9)
        assert record.grad_norm == pytest.approx(runs[0][0].grad_norm, rel=1e-3)
    with pytest.raises(TrainingError, match="does not divide"):
        list(train_stage(make_learner(Recipe("r", (stage,)), accumulation=3), stage))


def test_half_precision_keeps_weights_and_statistics_in_float32():
    """bf16 has 8 bits of mantissa: losses agree to a percent or so; what is kept is float32."""
    plan = short(recipe("attndreambooth"), steps=1)
    found = {}
    for precision in ("no", "bf16"):
        learner = make_learner(plan, accelerator=make_accelerator(torch.device("cpu"), precision))
        found[precision] = [r for stage in plan.stages for r in train_stage(learner, stage)]
        assert (
            {p.dtype for p in learner.unet.parameters()}
            == {learner.token.rows.dtype}
            == {torch.float32}
        )
        accelerate.state.AcceleratorState._reset_state(True)
    for a, b in zip(found["no"], found["bf16"], strict=True):
        assert a.loss != b.loss and a.loss == pytest.approx(b.loss, rel=0.05)
        assert a.category_mean == pytest.approx(b.category_mean, rel=0.05)


def test_the_precision_is_the_hardwares_if_left_to_it(monkeypatch):
    cpu = torch.device("cpu")
    for there, name in ((True, "bf16"), (False, "no")):
        monkeypatch.setattr(engine, "has_bf16", lambda device, there=there: there)
        assert make_accelerator(cpu, "auto").mixed_precision == name
        accelerate.state.AcceleratorState._reset_state(True)
    assert make_accelerator(cpu).mixed_precision == "no"
    with pytest.raises(
        TrainingError, match="'bf16': AcceleratorState has already been initialized"
    ):
        make_accelerator(cpu, "bf16")
    with pytest.raises(TrainingError, match="'int3': choose one of auto, no, bf16, fp16"):
        make_accelerator(cpu, "int3")


def test_clipping_acts():
    stage = Stage("s", ("unet",), steps=1, lr=1e-3, batch_size=2, max_grad_norm=1e-6)
    learner = make_learner(Recipe("r", (stage,)))
    seen = {}
    optimizer = make_optimizer(learner, stage)
    optimizer.register_step_pre_hook(
        lambda o, *_: seen.update(
            norm=float(
                torch.cat([p.grad.flatten() for g in o.param_groups for p in g["params"]]).norm()
            )
        )
    )
    (record,) = train_stage(learner, stage, optimizer=optimizer)
    assert record.grad_norm > 1e-6 and seen["norm"] <= 1.01e-6


def test_nan_stops_before_the_weights_are_touched():
    stage = Stage("s", ("unet",), steps=3, lr=1e-3, batch_size=2)
    learner = make_learner(Recipe("r", (stage,)))
    learner.latents[0][:] = float("nan")
    before = weights(learner)
    with pytest.raises(
        TrainingError,
        match="not a number at step 1: train anew with a lower learning rate than 0.001",
    ):
        list(train_stage(learner, stage))
    assert all(torch.equal(before[n], p) for n, p in weights(learner).items())


def test_closing_the_generator_restores_everything():
    stage = Stage("s", ("embedding", "unet"), steps=5, lr=1e-3, batch_size=2, lambda_mu=1.0)
    learner = make_learner(Recipe("r", (stage,)))
    processors = dict(learner.unet.attn_processors)
    steps = train_stage(learner, stage)
    next(steps)
    steps.close()
    assert learner.unet.attn_processors == processors
    assert not learner.token.text_encoder.get_input_embeddings()._forward_hooks
    assert not any(p.requires_grad for p in learner.unet.parameters())


def test_a_fixed_row_encodes_each_prompt_once(monkeypatch):
    stage = Stage("s", ("unet",), steps=3, lr=1e-3, batch_size=2)
    learner = make_learner(Recipe("r", (stage,)))
    calls = []
    plain = learner.token.states
    monkeypatch.setattr(learner.token, "states", lambda ids: calls.append(1) or plain(ids))
    list(train_stage(learner, stage))
    assert len(calls) == 1


def test_latents_are_the_encoders_and_cached():
    base, concept = tiny_base(), tiny_concept()
    means, deviations = encode_views(
        base, concept, 3, 0, make_learner(recipe("dreambooth")).options.augmentation
    )
    assert means.shape == deviations.shape == (9, 4, 16, 16) and (deviations > 0).all()


def test_a_half_precision_base_is_refused_for_training():
    base = tiny_base()
    base.dtype = torch.float16
    with pytest.raises(TrainingError, match="in float16, too coarse"):
        Learner(base, tiny_concept(), recipe("dreambooth"))
    with pytest.raises(TrainingError, match="fp16' needs a GPU"):
        make_accelerator(torch.device("cpu"), "fp16")


# ---------------------------------------------------------------- gradient checkpointing


@pytest.mark.parametrize("name", ["attndreambooth", "dreambooth_prior", "ti_dreambooth"])
def test_gradient_checkpointing_gives_the_same_weights(name):
    """Layers run again in backward: the capture must still be there, or they save other tensors."""
    plan, learners, records = short(recipe(name)), [], []
    for checkpointing in (False, True):
        learner = make_learner(plan, gradient_checkpointing=checkpointing)
        records.append([r for stage in plan.stages for r in train_stage(learner, stage)])
        learners.append(weights(learner))
    for a, b in zip(*records, strict=True):
        assert b.loss == pytest.approx(a.loss, rel=1e-4) and b.layers == a.layers
        assert b.v_mean == pytest.approx(a.v_mean, rel=1e-4)
    for key, value in learners[0].items():
        torch.testing.assert_close(learners[1][key], value, rtol=1e-3, atol=1e-5)


def test_a_model_that_checkpoints_already_is_trained_as_well():
    plan = short(recipe("attndreambooth"))
    base = tiny_base()
    base.unet.train().enable_gradient_checkpointing()
    learner = Learner(base, tiny_concept(), plan, view_count=2)
    for stage in plan.stages:
        assert all(np.isfinite(r.loss) for r in train_stage(learner, stage))


def test_checkpointing_is_put_back():
    learner = make_learner(short(recipe("dreambooth")), gradient_checkpointing=True)
    steps = train_stage(learner, learner.recipe.stages[0])
    next(steps)
    assert learner.unet.is_gradient_checkpointing
    steps.close()
    assert not learner.unet.is_gradient_checkpointing and not learner.unet.training


def test_accelerates_own_variable_divides_nothing(monkeypatch):
    stage = Stage("s", ("unet",), steps=1, lr=1e-3, batch_size=4)
    norms = []
    for value in (None, "4"):
        if value:
            monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", value)
        (record,) = train_stage(make_learner(Recipe("r", (stage,))), stage)
        norms.append(record.grad_norm)
        accelerate.state.AcceleratorState._reset_state(True)
    assert norms[0] == norms[1]
