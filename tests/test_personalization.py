"""Runs from beginning to end: determinism, interruption and resume, trackers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from models import short, tiny_base, tiny_concept, weights

from adb_core import learner as learner_module, personalization
from adb_core.checkpoint import CHECKPOINT, CheckpointError, Progress, read_header
from adb_core.engine import make_accelerator
from adb_core.generation import generate
from adb_core.options import RunOptions
from adb_core.personalization import Run, personalize
from adb_core.recipes import RECIPES, Recipe, Stage, recipe


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
        tiny_base(kind), tiny_concept(masked=True), short(recipe(name), steps=1), view_count=2
    )
    assert all(np.isfinite(r.loss) for r in result.history) and len(result.history) == len(
        result.learner.recipe.stages
    )


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
from models import short, tiny_base, tiny_concept
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


# ---------------------------------------------------------------- whoever iterates


def start(plan=None, **options) -> Run:
    plan = plan or short(recipe("attndreambooth"))
    return Run(tiny_base(), tiny_concept(), plan, **{"view_count": 2, **options})


def equal(one: Run, other: Run) -> bool:
    a, b = weights(one.learner), weights(other.learner)
    return all(torch.equal(a[n], b[n]) for n in a)


def test_every_step_of_every_stage_comes_in_order_and_the_history_is_current():
    run = start()
    assert run.at == Progress(0, 0) and not run.finished and run.result.history == ()
    seen = []
    for record in run:
        seen.append(record)
        assert run.result.history == tuple(seen)
        if record.is_last:  # the stage is closed: nothing takes gradient, no hook is left
            assert not any(p.requires_grad for p in run.learner.unet.parameters())
            assert not run.learner.token.rows.requires_grad
            hooks = run.learner.token.text_encoder.get_input_embeddings()._forward_hooks
            assert not hooks and run.at.step == 0
    names = [(r.stage, r.step) for r in seen]
    stages = ("alignment", "attention", "identity")
    assert names == [(name, step) for name in stages for step in (1, 2)]
    assert run.finished and list(run) == [] and run.finish() is run.result


@pytest.mark.parametrize("stop", [1, 2, 5])
def test_a_loop_that_is_left_goes_on_where_it_was(stop):
    whole, parts = start(), start()
    whole.finish()
    for number, _ in enumerate(parts, 1):
        if number == stop:
            break
    assert len(parts.result.history) == stop and not parts.finished
    assert len(list(parts)) == 6 - stop
    assert equal(whole, parts)


def test_pictures_drawn_on_the_way_change_nothing():
    whole, watched = start(), start()
    whole.finish()
    for _ in watched:
        generate(watched.result, "a photo of a {}", steps=1)
    assert equal(whole, watched)


def test_a_loop_that_is_left_saves_itself(tmp_path):
    for record in start(out=tmp_path):
        if record.stage == "attention":
            break
    assert read_header(tmp_path / CHECKPOINT)["progress"] == {"stage": 1, "step": 1}
    with pytest.raises(ZeroDivisionError):
        for _ in start(out=tmp_path):
            1 / 0  # noqa: B018
    assert read_header(tmp_path / CHECKPOINT)["progress"] == {"stage": 2, "step": 0}
    resumed = start(out=tmp_path)
    assert len(resumed.result.history) == 4 and resumed.at == Progress(2, 0)


def test_ctrl_c_in_the_loops_body_saves_too(tmp_path):
    # a shell that starts the tests in the background has them ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        for record in start(out=tmp_path):
            if record.stage == "attention":
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(1)
    assert read_header(tmp_path / CHECKPOINT)["progress"] == {"stage": 1, "step": 1}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_loop_that_is_left_at_once_writes_nothing(tmp_path):
    steps = iter(start(out=tmp_path))
    steps.close()
    assert not any(tmp_path.iterdir())


def test_saves_come_as_often_as_asked_and_whenever_asked(tmp_path, monkeypatch):
    saves, real = [], personalization.save_checkpoint
    monkeypatch.setattr(
        personalization,
        "save_checkpoint",
        lambda path, learner, at, optimizer, scaler: (
            saves.append((at.stage, at.step, optimizer is not None))
            or real(path, learner, at, optimizer, scaler)
        ),
    )
    run = start(short(recipe("attndreambooth"), steps=5), out=tmp_path, save_every=2)
    run.finish()
    assert saves == [
        (0, 2, True), (0, 4, True), (1, 0, False),
        (1, 2, True), (1, 4, True), (2, 0, False),
        (2, 2, True), (2, 4, True), (3, 0, False),
    ]  # fmt: skip
    assert run.save() == tmp_path / CHECKPOINT and len(saves) == 10
    with pytest.raises(ValueError, match="no folder: give it one with out="):
        start().save()
    for name in ("save_every", "view_count", "accumulation"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1"):
            start(**{name: 0})


def test_the_short_form_and_options_say_the_same():
    options = RunOptions(seed=3, view_count=2)
    plan = short(recipe("dreambooth"))
    one = personalize(tiny_base(), tiny_concept(), plan, options)
    two = personalize(tiny_base(), tiny_concept(), plan, seed=3, view_count=2)
    a, b = weights(one.learner), weights(two.learner)
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert Run(tiny_base(), tiny_concept(), view_count=1, preset="paper").plan.steps == 660
    with pytest.raises(TypeError, match="sede"):
        personalize(tiny_base(), tiny_concept(), plan, sede=3)


# ---------------------------------------------------------------- another run's checkpoint


def test_a_foreign_checkpoint_is_refused_before_anything_is_encoded(tmp_path, monkeypatch):
    start(out=tmp_path).finish()

    def encode(*_):
        raise AssertionError("views were encoded")

    monkeypatch.setattr(learner_module, "encode_views", encode)
    with pytest.raises(CheckpointError, match="belongs to another recipe"):
        start(out=tmp_path, seed=5)
    with pytest.raises(CheckpointError, match="was trained with accumulation 1, this run has 2"):
        start(out=tmp_path, accumulation=2)
    AcceleratorState._reset_state(True)
    half = make_accelerator(torch.device("cpu"), "bf16")
    with pytest.raises(CheckpointError, match="was trained with precision no, this run has bf16"):
        start(out=tmp_path, accelerator=half)
    monkeypatch.undo()
    AcceleratorState._reset_state(True)
    assert start(out=tmp_path, seed=5, resume=False).at == Progress(0, 0)


# ---------------------------------------------------------------- in place, prior preservation


def test_the_prior_is_the_untouched_models_even_in_place_and_resumed(tmp_path):
    plan = short(recipe("dreambooth_prior"), steps=4)
    whole = start(plan, in_place=True)
    whole.finish()
    for record in start(plan, in_place=True, out=tmp_path):
        if record.step == 2:
            break
    again = start(plan, in_place=True, out=tmp_path)
    again.finish()
    assert torch.equal(whole.learner.prior_latents, again.learner.prior_latents)
    assert equal(whole, again)


def test_the_prior_is_sampled_before_an_earlier_stage_changes_the_model():
    stages = (
        Stage("first", ("unet",), 1, 1e-1, 2),
        Stage("second", ("unet",), 1, 1e-3, 2, prior_weight=1.0),
    )
    latents = []
    for in_place in (False, True):
        run = start(Recipe("r", stages), in_place=in_place)
        run.finish()
        latents.append(run.learner.prior_latents)
    assert torch.equal(*latents)


def test_a_recipe_without_a_prior_samples_none():
    run = start()
    run.finish()
    assert run.learner.prior_latents is None and not run.learner.wants_prior
