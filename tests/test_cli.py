"""The command line's good paths write what they promise, also after an interruption."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import PICO, run
from models import tiny_base, tiny_concept
from PIL import Image

import adb_core.base
from adb_core import engine, generation, learner, training
from adb_core.app import arguments
from adb_core.app.commands import training as training_command
from adb_core.checkpoint import read_header
from adb_core.personalization import personalize
from adb_core.recipes import recipe
from adb_core.result import SavedResult, load_result
from adb_core.system.devices import tf32

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.usefixtures("random_base")


def test_train_generate_attention(tmp_path):
    done = run(*PICO)
    assert done.exit_code == 0, done.output
    assert "stage 3 of 3, identity" in done.stdout and "result/model" in done.stdout
    info = json.loads(Path("result/model/adb.json").read_text())
    assert (
        info["subject"] == "<pico> cat"
        and info["recipe"] == "attndreambooth"
        and info["words"] == ["<pico>"]
    )
    done = run(
        "generate",
        "a photo of a {}",
        "a sketch of a {}",
        "--model",
        "result",
        "--seed",
        1,
        "--seed",
        2,
        "--seed",
        3,
        "--steps",
        2,
        "--quiet",
        "--device",
        "cpu",
        "--out",
        "sheet.png",
    )
    assert done.exit_code == 0 and "6 pictures of 32 x 32" in done.stdout
    assert Image.open("sheet.png").size == (96, 64)
    done = run(
        "attention",
        "a photo of a {} on the beach",
        "--model",
        "result/model",
        "--word",
        "<pico>",
        "--word",
        "beach",
        "--steps",
        2,
        "--quiet",
        "--device",
        "cpu",
        "--out",
        "maps.png",
    )
    assert (
        done.exit_code == 0
        and "<pico> most at the" in done.stdout
        and Path("maps.png").stat().st_size > 1000
    )


def test_a_finished_run_starts_nothing_again(monkeypatch):
    assert run(*PICO).exit_code == 0
    weights = Path("result/checkpoint.safetensors").read_bytes()
    again = run(*PICO)
    assert (
        again.exit_code == 0
        and "stage 1" not in again.stdout
        and Path("result/checkpoint.safetensors").read_bytes() == weights
    )
    assert run(*PICO, "--seed", 1).exit_code == 2
    afresh = run(*PICO, "--seed", 1, "--no-resume")
    assert (
        afresh.exit_code == 0
        and "stage 1" in afresh.stdout
        and Path("result/checkpoint.safetensors").read_bytes() != weights
    )


def test_ctrl_c_saves_and_says_how_to_go_on(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["adb", *PICO, "--no-resume"])
    with monkeypatch.context() as patch:

        def interrupt(*_):
            raise KeyboardInterrupt

        patch.setattr(training_command, "stage_line", interrupt)
        done = run(*PICO, "--no-resume")
    assert done.exit_code == 130 and "--no-resume" not in done.stderr
    command = re.search(r"to go on: adb (.*)", done.stderr).group(1).split()
    assert command == PICO and not Path("result/model").exists()
    done = run("generate", "{}", "--model", "result")
    assert done.exit_code == 2 and "not finished" in done.stderr
    done = run(*command)
    assert done.exit_code == 0 and "stage 1" not in done.stdout and "stage 2" in done.stdout


def test_ctrl_c_before_the_first_step_says_that_nothing_was_saved(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["adb", *PICO])

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(learner, "encode_views", interrupt)
    done = run(*PICO)
    assert (
        done.exit_code == 130
        and "before anything was saved" in done.stderr
        and not Path("result").exists()
    )


def test_nan_on_the_way_keeps_the_last_good_checkpoint(monkeypatch):
    """Also through the command line: one line, no model, and what was saved before stays."""
    real, seen = training.losses, []

    def losses(*args, **kwargs):
        found = real(*args, **kwargs)
        seen.append(found)
        return replace(found, total=found.total * float("nan")) if len(seen) == 3 else found

    monkeypatch.setattr(training, "losses", losses)
    done = run(*PICO)
    lines = done.stderr.strip().splitlines()
    assert (
        done.exit_code == 2
        and len(lines) == 1
        and "not a number at step 1: train anew with a lower learning rate" in lines[0]
    )
    assert (
        read_header("result/checkpoint.safetensors")["progress"] == {"stage": 2, "step": 0}
        and not Path("result/model").exists()
    )


def test_a_model_of_ours_may_be_replaced():
    assert run(*PICO).exit_code == 0
    Path("result/checkpoint.safetensors").unlink()
    done = run(*PICO, "--no-resume")
    assert done.exit_code == 0 and Path("result/model/adb.json").is_file()


def test_what_a_killed_run_left_is_swept_and_nothing_else():
    Path("result").mkdir()
    left, mine = Path("result/.checkpoint.safetensors.4242.tmp"), Path("result/.notes.tmp")
    left.write_bytes(b"half"), mine.write_text("mine")
    assert run(*PICO).exit_code == 0
    assert mine.exists() and not left.exists() and not list(Path("result").glob(".model*"))


def test_quiet_is_quiet(capfd):
    assert run(*PICO).exit_code == 0
    assert "shards" not in capfd.readouterr().err


def test_a_saved_result_draws_what_the_result_drew(tmp_path):
    from adb_core.generation import generate

    plan = replace(
        recipe("attndreambooth"),
        vectors=2,
        stages=(replace(recipe("attndreambooth").stages[0], steps=2),),
    )
    result = personalize(tiny_base(), tiny_concept(), plan, view_count=2)
    saved = load_result(result.save_pretrained(tmp_path / "model"), device="cpu")
    assert isinstance(saved, SavedResult) and saved.words == ("<pico>", "<pico>_1")
    ours, theirs = (
        generate(m, "a photo of a {}", seeds=[5], steps=3, maps=True) for m in (result, saved)
    )
    np.testing.assert_array_equal(ours.images, theirs.images)
    assert ours.words == theirs.words
    with pytest.raises(adb_core.base.BaseModelError, match="has no adb.json"):
        load_result(tmp_path)


def test_mixed_precision_reaches_training(monkeypatch):
    seen, real = [], engine.make_accelerator
    monkeypatch.setattr(
        engine,
        "make_accelerator",
        lambda device, name=None, **more: (
            seen.append((device.type, name)) or real(device, name, **more)
        ),
    )
    assert run(*PICO, "--mixed-precision", "bf16").exit_code == 0 and ("cpu", "bf16") in seen


def test_the_preset_follows_the_base():
    assert arguments.find_recipe("dreambooth", "paper").stages[0].lr == 5e-6
    scaled = arguments.find_recipe("attndreambooth", "tiny", 0.5, 2.0, 0.0)
    assert [s.steps for s in scaled.stages] == [
        s.steps // 2 for s in recipe("attndreambooth").stages
    ]
    assert not any(s.regularized for s in scaled.stages)


def test_options_of_training_reach_the_run(tmp_path):
    """Previews are drawn without changing what is trained; the model is saved as was asked."""
    quick = ["--recipe", "dreambooth", "--views", "2", "--batch", "2"]
    Path("set.txt").write_text("a photo of a {}\na sketch of a {}\n")
    more = ["--prompt-set", "set.txt", "--steps", "2", "--save-dtype", "bfloat16"]
    plain, shown = run(*PICO, *quick), run(*PICO, *quick, *more, "--out", "other")
    assert plain.exit_code == shown.exit_code == 0, shown.output
    assert "tier cpu (" in shown.stdout and "by estimate" in shown.stdout
    assert "preview: other/previews/dreambooth-finetune-00001.png" in shown.stdout
    assert Image.open("other/previews/dreambooth-finetune-00001.png").size == (64, 32)
    ends = [Path(folder, "checkpoint.safetensors").read_bytes() for folder in ("result", "other")]
    assert ends[0] == ends[1]
    sizes = [
        Path(folder, "model/unet/diffusion_pytorch_model.safetensors").stat().st_size
        for folder in ("result", "other")
    ]
    assert sizes[1] < 0.7 * sizes[0]
    saved = load_result("other", device="cpu") if Path("other/adb.json").exists() else None
    saved = saved or load_result("other/model", device="cpu")
    assert saved.unet.dtype.is_floating_point and saved.unet.dtype.itemsize == 4


def test_resolution_crop_and_flip_reach_the_views(monkeypatch):
    seen, real = [], learner.encode_views

    def encode(*arguments, **more):
        found = real(*arguments, **more)
        seen.append((arguments[4], found.mean.shape))
        return found

    monkeypatch.setattr(learner, "encode_views", encode)
    quick = ["--recipe", "textual_inversion", "--views", "2"]
    done = run(*PICO, *quick, "--resolution", "16", "--crop", "center", "--flip")
    assert done.exit_code == 0, done.output
    ((augmentation, shape),) = seen
    assert (augmentation.crop, augmentation.flip) == (1.0, True) and shape[2:] == (8, 8)
    assert json.loads(Path("result/model/unet/config.json").read_text())["sample_size"] == 8
    done = run(*PICO, *quick)
    assert done.exit_code == 2 and "belongs to another recipe" in done.stderr


@pytest.mark.parametrize("option, wanted", [("--tf32", True), ("--no-tf32", False)])
def test_tf32_is_what_was_asked_for(monkeypatch, option, wanted):
    seen = []

    def spied(real):
        def call(*arguments, **more):
            seen.append(torch.backends.cuda.matmul.allow_tf32)
            return real(*arguments, **more)

        return call

    monkeypatch.setattr(generation, "generate", spied(generation.generate))
    monkeypatch.setattr(learner, "encode_views", spied(learner.encode_views))
    quick = ["--recipe", "textual_inversion", "--views", "1", option]
    with tf32(not wanted):
        assert run(*PICO, *quick).exit_code == 0
        done = run("generate", "a cat", "--steps", "1", "--quiet", "--device", "cpu", option)
    assert done.exit_code == 0 and seen == [wanted, wanted], done.output


def test_concepts_are_listed():
    done = run("concepts")
    assert done.exit_code == 0 and "pico" in done.stdout and "held-out:" in done.stdout


def test_doctor_says_what_is_missing_and_what_fits(monkeypatch, tmp_path):
    from adb_core.app import doctor

    done = run("doctor")
    whole = (adb_core.data_dir() / "tiny-sd").exists()
    assert done.exit_code == (0 if whole else 2)
    assert (
        "usable cores" in done.stdout
        and "all readable" in done.stdout
        and "tiny fits" in done.stdout
    )
    monkeypatch.setattr(doctor, "_free_memory", lambda: 0.3)
    assert "only 0.3 GiB of memory free" in run("doctor").stderr
    assert "paper wants" not in doctor.advise(141) and "sd21" in doctor.advise(141)
    assert "16 GiB" in doctor.advise(16) and "no CUDA" in doctor.advise(None)


@pytest.mark.parametrize(
    "command", ["", "demo", "train", "generate", "attention", "evaluate", "concepts", "doctor"]
)
def test_help_reads_like_documentation(command):
    done = run(*command.split(), "--help")
    assert done.exit_code == 0 and len(done.stdout) > 150 and "[V]" not in done.stdout


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from adb_core.app.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit:\n"
        "    heavy = {'torch', 'numpy', 'diffusers', 'matplotlib'}\n"
        "    print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_package_runs_as_the_command_line():
    command = [sys.executable, "-m", "adb_core", "concepts"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == run("concepts").stdout
