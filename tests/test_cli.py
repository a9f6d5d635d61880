"""The command line: every kind of bad input gives one line, and the good paths write what they promise."""

import json
import os
import re
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from models import tiny_base, tiny_concept
from PIL import Image
from typer.testing import CliRunner

import adb_core.base
from adb_core import engine, plots, training
from adb_core.app import cli, demo, report
from adb_core.app.cli import app
from adb_core.checkpoint import read_header
from adb_core.drift import Drift
from adb_core.personalization import personalize
from adb_core.recipes import recipe
from adb_core.records import StepRecord
from adb_core.result import SavedResult, load_result

ROOT = Path(__file__).resolve().parents[1]
QUICK = ["--steps-scale", "0.001", "--quiet", "--device", "cpu"]  # one step a stage


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(autouse=True)
def random_base(monkeypatch, tmp_path):
    """The bundled model is a random one here; other names load as always. Returns the loads' list."""
    loads, real = [], adb_core.base.load_base

    def load(name="tiny", **kwargs):
        loads.append(name)
        return tiny_base() if name == "tiny" else real(name, **kwargs)

    monkeypatch.setattr(adb_core.base, "load_base", load)
    monkeypatch.chdir(tmp_path)
    return loads


def pictures(folder: Path, count: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for image, k in zip(tiny_concept(count=count).images, range(count)):
        Image.fromarray(image).save(folder / f"{k}.png")
    return folder


# ---------------------------------------------------------------- bad input


def huge_png(path: Path, side: int = 10_000) -> None:
    """A valid PNG header of 100 megapixels on almost no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        )

    header = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def half_model(folder: Path) -> None:
    """A download that was cut: the index is there, the parts are not."""
    folder.mkdir()
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')


def other_run(folder: Path) -> None:
    assert run("train", "--concept", "luna", "--out", folder, *QUICK).exit_code == 0


def masks(folder: Path, size) -> None:
    """A concept.json that names one mask for all pictures, and the mask if it has a size."""
    said = {"photos": [{"image": f"{k}.png", "mask": ".mask.png"} for k in range(2)]}
    (folder / "concept.json").write_text(json.dumps(said))
    Image.new("L", size).save(folder / ".mask.png") if size else None


def saved_model(folder: Path) -> None:
    """As far as prompts are checked: before any weights load."""
    folder.mkdir()
    (folder / "adb.json").write_text(
        '{"subject": "<pico> cat", "placeholder": "<pico>", "category": "cat", "words": ["<pico>"]}'
    )


def bad_folder(add=None):
    """A maker of a folder with two good pictures and what ``add(folder)`` puts beside them."""

    def make(tmp: Path) -> None:
        add(pictures(tmp / "photos"))

    return make


TRAIN = ["train", "--out", "result", *QUICK]
FOLDER = [*TRAIN, "--category", "cat", "--concept", "./photos"]
PICO = [*TRAIN, "--concept", "pico"]

BAD = {
    "no folder": (None, FOLDER, "no concept folder at photos"),
    "unknown concept": (
        None,
        [*TRAIN, "--concept", "nobody"],
        "unknown concept 'nobody': choose one of",
    ),
    "no images": (lambda t: (t / "photos").mkdir(), FOLDER, "photos holds no images"),
    "only a text": (
        lambda t: ((t / "photos").mkdir(), (t / "photos/a.jpg").write_text("hello")),
        FOLDER,
        "a.jpg cannot be read as an image",
    ),
    "one unreadable image": (
        bad_folder(lambda f: (f / "x.png").write_bytes((f / "0.png").read_bytes()[:200])),
        FOLDER,
        "x.png cannot be read",
    ),
    "0 bytes": (bad_folder(lambda f: (f / "x.png").touch()), FOLDER, "x.png is empty (0 bytes)"),
    "1 pixel": (
        bad_folder(lambda f: Image.new("RGB", (1, 1)).save(f / "x.png")),
        FOLDER,
        "x.png is only 1 x 1 pixels",
    ),
    "100 megapixels": (
        bad_folder(lambda f: huge_png(f / "x.png")),
        FOLDER,
        "x.png has 10000 x 10000 pixels",
    ),
    "bomb": (bad_folder(lambda f: huge_png(f / "x.png", 60_000)), FOLDER, "x.png is far too large"),
    "text named png": (
        bad_folder(lambda f: (f / "x.png").write_text("hello")),
        FOLDER,
        "x.png cannot be read as an image",
    ),
    "concept.json is a list": (
        bad_folder(lambda f: (f / "concept.json").write_text("[]")),
        FOLDER,
        "concept.json must be an object",
    ),
    "name is a number": (
        bad_folder(lambda f: (f / "concept.json").write_text('{"name": 5}')),
        FOLDER,
        "'name' must be a text, got 5",
    ),
    "photo without a name": (
        bad_folder(lambda f: (f / "concept.json").write_text('{"photos": [{}]}')),
        FOLDER,
        "'photos' must be a list of objects",
    ),
    "mask is missing": (
        bad_folder(lambda f: masks(f, None)),
        FOLDER,
        "mask.png, which concept.json names, is missing",
    ),
    "mask of another size": (
        bad_folder(lambda f: masks(f, (9, 9))),
        FOLDER,
        "mask.png has 9 x 9 pixels, its picture 37 x 40",
    ),
    "bad concept.json": (
        bad_folder(lambda f: (f / "concept.json").write_text("{")),
        FOLDER,
        "concept.json is not valid JSON",
    ),
    "no category": (
        lambda t: pictures(t / "photos"),
        [*TRAIN, "--concept", "./photos"],
        "pass a category",
    ),
    "empty category": (None, [*PICO, "--category", " "], "has no category"),
    "placeholder in a word": (
        None,
        [*PICO, "--placeholder", "oto"],
        "placeholder 'oto' is part of the word 'photo'",
    ),
    "placeholder is a word": (
        None,
        [*PICO, "--placeholder", "cat"],
        "placeholder 'cat' is already a word",
    ),
    "placeholder empty": (None, [*PICO, "--placeholder", ""], "placeholder ''"),
    "placeholder with spaces": (None, [*PICO, "--placeholder", "my cat"], "placeholder 'my cat'"),
    "unknown recipe": (
        None,
        [*PICO, "--recipe", "lora"],
        "unknown recipe 'lora': choose one of attndreambooth",
    ),
    "unknown preset": (None, [*PICO, "--preset", "huge"], "unknown preset 'huge'"),
    "negative steps": (
        None,
        [*PICO, "--steps-scale", "-1"],
        "steps and batch_size must be at least 1, got -",
    ),
    "no steps": (None, [*PICO, "--steps-scale", "0"], "must be at least 1, got 0"),
    "nan steps": (None, [*PICO, "--steps-scale", "nan"], "--steps-scale nan"),
    "negative lr": (None, [*PICO, "--lr-scale", "-1"], "lr must be positive and finite, got -"),
    "negative weight": (
        None,
        [*PICO, "--weight-scale", "-1"],
        "lambda_mu must not be negative or infinite, got -",
    ),
    "infinite lr": (None, [*PICO, "--lr-scale", "inf"], "--lr-scale inf"),
    "infinite weight": (None, [*PICO, "--weight-scale", "inf"], "--weight-scale inf"),
    "no views": (None, [*PICO, "--views", "0"], "--views must be at least 1, got 0"),
    "no micro-batches": (
        None,
        [*PICO, "--accumulation", "0"],
        "--accumulation must be at least 1, got 0",
    ),
    "odd micro-batches": (
        None,
        [*PICO, "--accumulation", "3"],
        "batch size 4 does not divide by 1 processes x 3 micro-batches",
    ),
    "no tensorboard": (None, [*PICO, "--tensorboard"], "pip install tensorboard"),
    "negative seed": (None, [*PICO, "--seed", "-1"], "--seed -1"),
    "unknown device": (None, [*PICO, "--device", "toaster"], "unknown device 'toaster'"),
    "half a device": (None, [*PICO, "--device", "cpu:abc"], "unknown device 'cpu:abc'"),
    "fp16 without a GPU": (
        None,
        [*PICO, "--mixed-precision", "fp16"],
        "--mixed-precision fp16 needs a GPU",
    ),
    "unknown precision": (None, [*PICO, "--mixed-precision", "int3"], "--mixed-precision 'int3'"),
    "out is a file": (lambda t: (t / "result").touch(), PICO, "result is a file, not a folder"),
    "out below a file": (
        lambda t: (t / "file").touch(),
        [*PICO, "--out", "file/result"],
        "file/result",
    ),
    "model is not ours": (
        lambda t: (
            (t / "result/model").mkdir(parents=True),
            (t / "result/model/thesis.txt").write_text("mine"),
        ),
        PICO,
        "result/model is in the way",
    ),
    "model of another run": (
        lambda t: ((t / "result").mkdir(), saved_model(t / "result/model")),
        PICO,
        "result/model is the result of another run",
    ),
    "demo over other files": (
        lambda t: (
            (t / "result/model").mkdir(parents=True),
            (t / "result/model/thesis.txt").write_text("mine"),
        ),
        ["demo", "--out", "result"],
        "result/model is in the way",
    ),
    "out of another run": (
        lambda t: other_run(t / "result"),
        PICO,
        "result/checkpoint.safetensors belongs to another concept",
    ),
    "damaged checkpoint": (
        lambda t: (
            (t / "result").mkdir(),
            (t / "result/checkpoint.safetensors").write_bytes(b"\x80\x04."),
        ),
        PICO,
        "is damaged or not a safetensors file",
    ),
    "pickle checkpoint": (
        lambda t: ((t / "result").mkdir(), (t / "result/checkpoint.pt").write_bytes(b"\x80\x04.")),
        PICO,
        "checkpoint.pt is a pickle file",
    ),
    "pickle base": (None, [*PICO, "--base", "model.ckpt"], "model.ckpt is a pickle file"),
    "base without a name": (None, [*PICO, "--base", ""], "the base model has no name"),
    "unknown base": (None, [*PICO, "--base", "./nowhere"], "no folder './nowhere'"),
    "half-downloaded base": (
        lambda t: half_model(t / "half"),
        [*PICO, "--base", "./half"],
        "half/tokenizer is missing",
    ),
    "prompt without braces": (
        lambda t: saved_model(t / "m"),
        ["generate", "a photo", "--model", "m"],
        "prompt 'a photo' needs exactly one {}",
    ),
    "prompt with two": (
        lambda t: saved_model(t / "m"),
        ["attention", "{} and {}", "--model", "m"],
        "needs exactly one {}",
    ),
    "braces for a base": (
        None,
        ["generate", "a photo of a {}"],
        "base model, which knows no concept",
    ),
    "damaged marker": (
        lambda t: (saved_model(t / "m"), (t / "m/adb.json").write_text("[]")),
        ["generate", "{}", "--model", "m"],
        "m/adb.json is damaged",
    ),
    "saved without weights": (
        lambda t: saved_model(t / "m"),
        ["generate", "{}", "--model", "m", "--device", "cpu"],
        "m is not a diffusers model",
    ),
    "negative sampling steps": (
        None,
        ["generate", "a cat", "--steps", "-1", "--device", "cpu"],
        "got -1",
    ),
    "infinite guidance": (
        None,
        ["generate", "a cat", "--guidance", "inf", "--out", "new/a.png", "--device", "cpu"],
        "finite, got 25, 8 and inf",
    ),
    "too many sampling steps": (
        None,
        ["generate", "a cat", "--steps", "1000000", "--device", "cpu"],
        "more than the 1000",
    ),
    "long prompt": (None, ["attention", "a cat " * 40, "--device", "cpu"], "this model reads 32"),
    "guidance": (
        None,
        ["generate", "a cat", "--guidance", "0", "--device", "cpu"],
        "guidance at least 1",
    ),
    "picture is a folder": (
        None,
        ["generate", "a cat", "--out", "."],
        "must be a file that ends in .png",
    ),
    "word that is not there": (
        None,
        ["attention", "a cat", "--word", "hat", "--steps", "1", "--quiet", "--device", "cpu"],
        "no word 'hat'",
    ),
    "demo over a run": (
        lambda t: ((t / "result").mkdir(), (t / "result/checkpoint.safetensors").touch()),
        ["demo", "--out", "result"],
        "result holds the checkpoint",
    ),
    "demo with an unknown recipe": (None, ["demo", "--recipe", "lora"], "unknown recipe 'lora'"),
}
LATE = (
    "placeholder is a word",
    "placeholder in a word",
    "out of another run",
    "odd micro-batches",
    "negative sampling steps",
    "infinite guidance",
    "too many sampling steps",
    "long prompt",
    "guidance",
    "word that is not there",
)


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b""
        for p in folder.rglob("*")
    }


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_writes_nothing(case, tmp_path, random_base):
    make, arguments, says = BAD[case]
    if make is not None:
        make(tmp_path)
    before = everything(tmp_path)
    random_base.clear()
    done = run(*arguments)
    lines = done.stderr.strip().splitlines()
    assert done.exit_code == 2, done.output
    assert len(lines) == 1 and lines[0].startswith("adb: ") and says in lines[0], done.stderr
    assert everything(tmp_path) == before
    if case not in LATE:
        assert "tiny" not in random_base  # found before any model was loaded


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_folder_that_is_not_writable(tmp_path, random_base):
    (tmp_path / "closed").mkdir(mode=0o500)
    done = run(*PICO, "--out", "closed/result")
    assert (
        done.exit_code == 2
        and len(done.stderr.strip().splitlines()) == 1
        and "closed" in done.stderr
        and not random_base
    )


def test_permission_errors_name_the_folder_and_the_cure(monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied", "closed/result")

    monkeypatch.setattr(cli, "check_folder", refuse)
    done = run(*PICO)
    assert (done.exit_code, done.stderr) == (
        2,
        "adb: closed/result: Permission denied: choose another folder, or change its permissions\n",
    )


def test_a_full_disk_is_one_line(monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adb_core.system.files.write_and_sync", full)
    done = run(*PICO)
    assert (
        done.exit_code == 2
        and len(done.stderr.strip().splitlines()) == 1
        and "disk full" in done.stderr
    )


def test_bugs_keep_their_traceback(monkeypatch):
    monkeypatch.setattr(cli, "find_recipe", lambda *_: 1 / 0)
    assert isinstance(run(*PICO).exception, ZeroDivisionError)


# ---------------------------------------------------------------- good input


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

        patch.setattr(cli, "_stage_line", interrupt)
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

    monkeypatch.setattr(training, "encode_views", interrupt)
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
    assert cli.find_recipe("dreambooth", "paper").stages[0].lr == 5e-6
    scaled = cli.find_recipe("attndreambooth", "tiny", 0.5, 2.0, 0.0)
    assert [s.steps for s in scaled.stages] == [
        s.steps // 2 for s in recipe("attndreambooth").stages
    ]
    assert not any(s.regularized for s in scaled.stages)


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
    "command", ["", "demo", "train", "generate", "attention", "concepts", "doctor"]
)
def test_help_reads_like_documentation(command):
    done = run(*command.split(), "--help")
    assert done.exit_code == 0 and len(done.stdout) > 150 and "[V]" not in done.stdout


def test_help_loads_nothing_heavy():
    code = "import sys; from adb_core.app.cli import main\ntry: main(['--help'])\nexcept SystemExit: print(sorted({'torch', 'numpy', 'diffusers', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "[]"


# ---------------------------------------------------------------- the demo and its pieces


def test_demo_writes_every_file(tmp_path, capsys):
    plan = replace(
        recipe("attndreambooth"),
        stages=tuple(replace(s, steps=1, batch_size=2) for s in recipe("attndreambooth").stages),
    )
    out = tmp_path / "demo"
    page = demo.run(tiny_base(), tiny_concept(), plan, out, steps=2, view_count=2, progress=False)
    assert {p.name for p in out.iterdir()} == {*demo.FILES, "model"} and (
        out / "model" / "adb.json"
    ).exists()
    text = page.read_text()
    assert (
        text.count("<img ") == 4
        and text.count('src="data:image/png;base64,') == 4
        and "<script" not in text
        and "://" not in text
    )
    assert "prefers-color-scheme: dark" in text and all(
        alt for alt in re.findall(r'alt="([^"]*)"', text)
    )
    assert "&lt;pico&gt;" in text and "<pico>" not in text
    numbers = json.loads((out / "metrics.json").read_text())
    assert (
        list(numbers["stages"]) == ["alignment", "attention", "identity"]
        and numbers["seconds"]["total"] > 0
    )
    assert {"cosine_to_category", "nearest"} <= set(numbers["drift"]) and "evaluation" in numbers
    drift = json.loads((out / "drift.json").read_text())
    assert [d["step"] for d in drift] == [0, 1, 2, 3] and drift[0]["distance"] == 0
    assert len(json.loads((out / "history.json").read_text())) == 3
    assert "s in all" in capsys.readouterr().out


def test_demo_prompts_go_from_simple_to_complex():
    prompts = demo.demo_prompts()
    asked = [len(p["asks"]) for p in prompts]
    assert len(prompts) == 6 and asked == sorted(asked) and len({p["prompt"] for p in prompts}) == 6


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
    assert plots.alt_text(plots.set_alt_text(made["grid"], "other")) == "other"


def test_figures_refuse_nothing_to_draw():
    image = np.zeros((8, 8, 3), np.uint8)
    for call in (
        lambda: plots.image_grid([]),
        lambda: plots.image_grid([[image]], column_labels=["a", "b"]),
        lambda: plots.training_curves([]),
        lambda: plots.attention_grid([[image]], [[]]),
        lambda: plots.embedding_drift([], np.zeros((1, 2)), {}, "cat"),
    ):
        with pytest.raises(ValueError):
            call()


def test_running_mean_by_hand():
    torch.testing.assert_close(
        plots._smooth([1.0, 3.0, 5.0, 9.0], 2), np.array([1.0, 2.0, 4.0, 7.0])
    )


def test_reports_escape_everything_and_want_descriptions():
    sections = [
        report.Section(
            "<b>",
            ["1 < 2 & 3"],
            [report.Table("c<", ("h<", "i"), [("r<", "x>")])],
            [report.Picture(b"png", 'a "quoted" <alt>', "cap<")],
        )
    ]
    page = report.build_report("<title>", sections)
    assert (
        "&lt;title&gt;" in page
        and "1 &lt; 2 &amp; 3" in page
        and "a &quot;quoted&quot; &lt;alt&gt;" in page
        and "cG5n" in page
    )
    assert not re.search(r"<(b|title>&lt|alt)>", page)
    with pytest.raises(ValueError, match="description"):
        report.build_report("t", [report.Section("", pictures=[report.Picture(b"", " ", "")])])
    with pytest.raises(ValueError, match="at least one section"):
        report.build_report("t", [])
