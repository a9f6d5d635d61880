"""Every kind of bad input to the command line gives one line and writes nothing."""

import importlib.util
import json
import os
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import PICO, QUICK, TRAIN, pictures, run
from PIL import Image

from adb_core.app import arguments
from adb_core.tinymodel.tokenizer import MAX_LENGTH

pytestmark = pytest.mark.usefixtures("random_base")


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


FOLDER = [*TRAIN, "--category", "cat", "--concept", "./photos"]

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
        "--steps-scale -1.0 is not",
    ),
    "no steps": (None, [*PICO, "--steps-scale", "0"], "--steps-scale 0.0 is not"),
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
    "no batch": (None, [*PICO, "--batch", "0"], "--batch must be at least 1, got 0"),
    "odd resolution": (None, [*PICO, "--resolution", "50"], "divide by 8: use 48"),
    "resolution of another unit": (
        None,
        [*PICO, "--resolution", "24"],
        "resolution 24 does not divide by 16, as this model needs: use 32",
    ),
    "unknown tier": (None, [*PICO, "--tier", "gpu9"], "--tier: unknown tier 'gpu9': choose auto"),
    "tier of a GPU": (None, [*PICO, "--tier", "gpu8"], "tier gpu8 is not for cpu"),
    "unknown number format": (None, [*PICO, "--save-dtype", "int8"], "--save-dtype 'int8'"),
    "unknown dtype": (None, [*PICO, "--dtype", "int8"], "--dtype 'int8': choose one of float32"),
    "half precision without LoRA": (
        None,
        [*PICO, "--dtype", "bfloat16"],
        "--dtype bfloat16 is too coarse for the small steps of the recipe attndreambooth",
    ),
    "unknown dtype of drawing": (
        None,
        ["generate", "a cat", "--dtype", "x"],
        "--dtype 'x': choose",
    ),
    "unknown crop": (None, [*PICO, "--crop", "round"], "unknown crop 'round'"),
    "no prompt set": (None, [*PICO, "--prompt-set", "nothing"], "no such file, and no bundled set"),
    "an empty prompt set": (
        lambda t: (t / "empty.txt").write_text("\n"),
        [*PICO, "--prompt-set", "empty.txt"],
        "empty.txt is empty",
    ),
    "a prompt set without braces": (
        lambda t: (t / "set.txt").write_text("a {}\na cat\n"),
        [*PICO, "--prompt-set", "set.txt"],
        "'a cat' needs exactly one {}",
    ),
    "previews that cannot be drawn": (
        lambda t: (t / "set.txt").write_text("a {} " * 1 + "cat " * 80),
        [*PICO, "--prompt-set", "set.txt"],
        "this model reads",
    ),
    "no steps between previews": (
        None,
        [*PICO, "--preview-every", "0"],
        "--preview-every must be at least 1, got 0",
    ),
    "rank 0": (None, [*PICO, "--recipe", "lora_dreambooth", "--rank", "0"], "at least 1, got 0"),
    "rank -4": (None, [*PICO, "--recipe", "lora_dreambooth", "--rank", "-4"], "at least 1, got -4"),
    "a rank without LoRA": (None, [*PICO, "--rank", "8"], "of LoRA, which the recipe"),
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
        "got steps -1",
    ),
    "infinite guidance": (
        None,
        ["generate", "a cat", "--guidance", "inf", "--out", "new/a.png", "--device", "cpu"],
        "finite, got guidance inf, batch 8",
    ),
    "too many sampling steps": (
        None,
        ["generate", "a cat", "--steps", "1000000", "--device", "cpu"],
        "more than the 1000",
    ),
    "long prompt": (
        None,
        ["attention", "a cat " * 40, "--device", "cpu"],
        f"this model reads {MAX_LENGTH}",
    ),
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
    "resolution of another unit",
    "previews that cannot be drawn",
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
def test_bad_input_is_one_line_and_writes_nothing(case, tmp_path, random_base, monkeypatch):
    make, arguments, says = BAD[case]
    if case == "no tensorboard":
        real = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *rest: None if name == "tensorboard" else real(name, *rest),
        )
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

    monkeypatch.setattr(arguments, "check_folder", refuse)
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
    monkeypatch.setattr(arguments, "find_recipe", lambda *_: 1 / 0)
    assert isinstance(run(*PICO).exception, ZeroDivisionError)


def on_a_gpu_of(monkeypatch, free: float) -> None:
    """What is chosen by is a GPU with so much free memory; whatever is read lies on the CPU."""
    import torch

    from adb_core.system import devices, memory

    monkeypatch.setattr(devices, "pick_device", lambda name="auto": torch.device("cuda"))
    monkeypatch.setattr(memory, "free_memory", lambda device: free)


HOLLOW = {  # options, and what is said before weights are read
    "a tier that does not fit": (
        ["--tier", "gpu80"],
        "tier gpu80 fits: 0.8 GiB by estimate and 0.3 are free: train fewer weights",
    ),
    "no tier fits": ([], "no tier fits: 0.8 GiB by estimate with the narrowest, and 0.3 are free"),
    "an 8-bit tier without bitsandbytes": (["--tier", "gpu8"], "tier gpu8 needs bitsandbytes"),
    "resolution of another unit": (["--resolution", "24"], "24 does not divide by 16"),
    "a placeholder that is a word": (["--placeholder", "cat"], "'cat' is already a word"),
    "more vectors than a prompt holds": (["--recipe", "crowd"], "vectors"),
}


@pytest.mark.parametrize("case", HOLLOW)
def test_what_a_model_cannot_do_is_found_before_its_weights_are_read(case, tmp_path, monkeypatch):
    """By its configurations and tokenizers alone: of a real model the weights are gigabytes."""
    from models import folder_of, tiny_base

    from adb_core import loading, tiers
    from adb_core.recipes import recipe

    options, says = HOLLOW[case]
    folder_of(tiny_base(), tmp_path / "base")
    on_a_gpu_of(monkeypatch, 0.3)
    real, read = arguments.find_recipe, loading.load_weights
    crowd = replace(recipe("textual_inversion"), vectors=400)
    monkeypatch.setattr(
        arguments, "find_recipe", lambda name, *a: crowd if name == "crowd" else real(name, *a)
    )
    monkeypatch.setattr(arguments, "check_tier", lambda *_: None)  # which asks for a real GPU
    monkeypatch.setattr(tiers, "can_8bit", lambda device: False)
    monkeypatch.setattr(
        loading,
        "load_weights",
        lambda cls, source, part, **more: (
            read(cls, source, part, **more) if source.hollow else pytest.fail("weights were read")
        ),
    )
    before = everything(tmp_path)
    done = run(*PICO, "--base", "./base", "--mixed-precision", "no", *options)
    lines = done.stderr.strip().splitlines()
    assert done.exit_code == 2, done.output
    assert len(lines) == 1 and lines[0].startswith("adb: ") and says in lines[0], done.stderr
    assert everything(tmp_path) == before
