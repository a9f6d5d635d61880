"""What cannot be loaded is refused in one line with the cure, before any long work."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hub import Hub
from models import folder_of, tiny_base
from random_models import full_unet
from two_encoders import two_encoder_base

from adb_core import loading
from adb_core.base import BaseModelError, load_base
from adb_core.engine import TrainingError
from adb_core.explaining import Source, explain
from adb_core.tiers import SD21, model_size

UNET, VAE = "unet/config.json", "vae/config.json"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A whole folder of each family, by the number of its text encoders."""
    root = tmp_path_factory.mktemp("bases")
    return {
        1: folder_of(tiny_base(), root / "sd"),
        2: folder_of(two_encoder_base(), root / "xl"),
    }


def refusal(name) -> str:
    with pytest.raises(BaseModelError) as caught:
        load_base(str(name), device="cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- folders


def says(file: str, **entries):
    """Change entries of a JSON file."""

    def change(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | entries))

    return change


def kind(name: str):
    return says("model_index.json", _class_name=name)


def renamed(pattern: str, ending: str):
    """Weights of another kind, by the ending of their files."""

    def change(folder: Path) -> None:
        for path in folder.glob(pattern):
            path.rename(path.with_name(path.name.replace(".safetensors", ending)))

    return change


def gone(what: str):
    def change(folder: Path) -> None:
        path = folder / what
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def cut(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def pointer(folder: Path) -> None:
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


def one_shard(folder: Path) -> None:
    first = folder / "unet/diffusion_pytorch_model-00001-of-00002.safetensors"
    (folder / WEIGHTS).rename(first)
    index = {"weight_map": {"a": first.name, "b": first.name.replace("00001-", "00002-")}}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))


FOLDERS = {  # text encoders, what is wrong, and what is said of it
    "Stable Diffusion 3": (1, kind("StableDiffusion3Pipeline"), "1.x, 2.x and XL for text to im"),
    "Flux": (1, kind("FluxPipeline"), "is a FluxPipeline: only Stable Diffusion 1.x"),
    "a refiner": (2, kind("StableDiffusionXLImg2ImgPipeline"), "Pipeline (a refiner): only"),
    "inpainting": (1, kind("StableDiffusionInpaintPipeline"), "(for inpainting): only"),
    "nine channels": (1, says(UNET, in_channels=9), "takes 9 channels, its latents have 4"),
    "nine channels, XL": (2, says(UNET, in_channels=9), "takes 9 channels, its latents have 4"),
    "EDM": (
        2,
        says("scheduler/scheduler_config.json", _class_name="EDMDPMSolverMultistepScheduler"),
        "was trained with the noise of EDMDPMSolverMultistepScheduler, which is not done here",
    ),
    "flow matching": (
        1,
        says("scheduler/scheduler_config.json", _class_name="FlowMatchEulerDiscreteScheduler"),
        "was trained with the noise of FlowMatchEulerDiscreteScheduler",
    ),
    "another prediction": (
        1,
        says("scheduler/scheduler_config.json", prediction_type="sample"),
        "predicts 'sample': only models that predict epsilon or v_prediction",
    ),
    "shifted latents": (2, says(VAE, latents_mean=[0.0] * 4), "are shifted by latents_mean"),
    "XL without sizes": (2, says(UNET, addition_embed_type=None), "reads no pooled state"),
    "half precision only": (
        1,
        renamed("*/*.safetensors", ".fp16.safetensors"),
        "text_encoder has weights in half precision only (variant fp16): download or save the",
    ),
    "half precision in one part": (
        2,
        renamed("text_encoder_2/*.safetensors", ".fp16.safetensors"),
        "text_encoder_2 has weights in half precision only",
    ),
    "pickles": (1, renamed("unet/*.safetensors", ".bin"), "as a pickle (.bin), which can run code"),
    "no index": (1, gone("model_index.json"), "it has no model_index.json; copy or download"),
    "a part is missing": (1, gone("vae"), "vae is missing; copy or download"),
    "a tokenizer is missing": (2, gone("tokenizer_2"), "tokenizer_2 is missing; copy"),
    "weights are missing": (1, gone(WEIGHTS), "diffusion_pytorch_model.safetensors are missing"),
    "weights are cut off": (1, cut, "diffusion_pytorch_model.safetensors are damaged"),
    "weights are a pointer": (1, pointer, "are a Git LFS pointer: git lfs pull, or copy"),
    "a shard is missing": (1, one_shard, "00002-of-00002.safetensors are missing"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_cannot_be_used(name, saved, tmp_path, monkeypatch):
    encoders, change, said = FOLDERS[name]
    folder = shutil.copytree(saved[encoders], tmp_path / "model")
    change(folder)
    monkeypatch.setattr(loading, "load_weights", lambda *_, **__: pytest.fail("weights were read"))
    text = refusal(folder)
    assert said in text and str(folder) in text
    if name in ("Stable Diffusion 3", "Flux", "nine channels", "EDM"):
        assert "download" not in text  # another copy would not help


def test_tokenizers_of_two_models_are_told_apart(saved, tmp_path):
    folder = shutil.copytree(saved[2], tmp_path / "model")
    path = folder / "tokenizer_2/tokenizer.json"
    content = json.loads(path.read_text())
    words = content["model"]["vocab"]
    words["cat</w>"], words["dog</w>"] = words["dog</w>"], words["cat</w>"]
    path.write_text(json.dumps(content))
    text = refusal(folder)
    assert "its two tokenizers have different words" in text


@pytest.mark.parametrize(
    "name, said",
    [
        ("", "the base model has no name: give one of tiny, sd15"),
        ("./gone", "no folder './gone': give one of tiny, sd15, sd21"),
        ("a/b/c", "no folder 'a/b/c'"),
        ("model.safetensors", "is a single file: give a diffusers folder"),
        ("owner/model.ckpt", "(a .ckpt is a pickle, which can run code)"),
    ],
)
def test_a_name_that_cannot_be_used(name, said):
    assert said in refusal(name)


def test_a_single_file_is_no_folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert "is a single file: give a diffusers folder" in refusal(tmp_path / "model.safetensors")


def test_a_full_disk_is_named():
    full = OSError(28, "No space left on device")
    assert "the disk is full: free some space" in explain(Source("sd21", "a/b", None), full)


def test_digits_of_a_revision_are_no_status_of_the_hub():
    """A commit may hold 401, and an address the word resolve."""
    error = ValueError("odd file at https://hub/a/b/resolve/4014034f/unet")
    assert "cannot be loaded (ValueError" in explain(Source("a/b", "a/b", "4014034f"), error)


# ---------------------------------------------------------------- before weights are read


@pytest.mark.parametrize("encoders", [1, 2])
def test_a_model_is_looked_at_before_its_weights_are_read(encoders, saved, monkeypatch):
    """Without them it has its real size, resolution and words, and takes no memory."""
    seen, order, real = [], [], loading.load_weights

    def read(cls, source, part, **options):
        order.append(f"{'hollow' if source.hollow else 'weights'} {part}")
        return real(cls, source, part, **options)

    monkeypatch.setattr(loading, "load_weights", read)
    whole = load_base(str(saved[encoders]), device="cpu", check=seen.append)
    (hollow,) = seen
    half = len(order) // 2
    assert [text.split()[0] for text in order] == ["hollow"] * half + ["weights"] * half
    assert all(p.is_meta for part in hollow.parts.values() for p in part.parameters())
    assert hollow.side == whole.side and len(hollow.text.tokenizers) == encoders
    assert model_size(hollow) == model_size(whole)
    for name, part in whole.parts.items():
        shapes = {key: value.shape for key, value in hollow.parts[name].state_dict().items()}
        assert shapes == {key: value.shape for key, value in part.state_dict().items()}


def test_what_is_refused_then_costs_no_weights(saved, monkeypatch):
    def refuse(hollow):
        raise TrainingError(f"too large: {model_size(hollow).unet}")

    def read(cls, source, part, **options):
        return real(cls, source, part, **options) if source.hollow else pytest.fail("were read")

    real = loading.load_weights
    monkeypatch.setattr(loading, "load_weights", read)
    with pytest.raises(TrainingError, match="too large"):
        load_base(str(saved[1]), device="cpu", check=refuse)


def test_the_full_size_is_known_from_its_configuration(tmp_path):
    """865.9 million parameters by a file of two kilobytes."""
    from diffusers import UNet2DConditionModel

    full_unet("sd21").save_config(tmp_path / "unet")
    source = Source("sd21", str(tmp_path), None, hollow=True)
    unet = loading.load_weights(UNet2DConditionModel, source, "unet")
    named = list(unet.named_parameters())
    assert sum(p.numel() for _, p in named) == SD21.unet
    assert sum(p.numel() for name, p in named if ".attn2." in name) == SD21.cross_attention


# ---------------------------------------------------------------- the hub

ASK = """
import json, os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from hub import Hub
repositories = json.loads(sys.argv[2])
hub = Hub({n: p if p in ("gated", "missing") else Path(p) for n, p in repositories.items()})
os.environ["HF_ENDPOINT"] = hub.url
import adb_core as adb

def said(name, revision=None):
    before, began = len(hub.asked), time.monotonic()
    try:
        text = "loaded " + adb.load_base(name, device="cpu", revision=revision).name
    except adb.BaseModelError as error:
        text = str(error)
    weights = sum(".safetensors" in path for path in hub.asked[before:])
    return [text, weights, time.monotonic() - began]

found = {name: said(name) for name in (*repositories, "sd21", "nobody/nothing")}
found["wrong revision"] = said("some/model", "no-such-branch")
hub.close()
found["gone, but kept here"] = said("some/model")
found["gone"] = said("sd15")
found["half here, and gone"] = said("some/broken")
import huggingface_hub
huggingface_hub.constants.HF_HUB_OFFLINE = True
found["offline"] = said("some/other")
print(json.dumps(found))
"""
HUB = {  # repository or case -> what is said
    "some/model": "loaded some/model",
    "some/gated": "some/gated is gated: accept its licence on the hub, log in with a token",
    "some/flux": "some/flux is a FluxPipeline: only Stable Diffusion",
    "some/nine": "some/nine: its U-Net takes 9 channels",
    "some/edm": "some/edm was trained with the noise of EDMEulerScheduler",
    "some/half": "some/half/text_encoder has weights in half precision only",
    "some/pickles": "some/pickles/unet has its weights as a pickle",
    "some/empty": "some/empty lacks a file of a diffusers model",
    "some/broken": "some/broken is not on this machine and the hub cannot be reached",
    "half here, and gone": "some/broken is on this machine in part only and the hub cannot be",
    "sd21": "the hub has no 'sd21', or you may not see it: check the spelling, log in with a "
    "token, or use 'Manojb/stable-diffusion-2-1-base'",
    "nobody/nothing": "the hub has no 'nobody/nothing', or you may not see it",
    "wrong revision": "the hub has 'some/model', but not its revision 'no-such-branch'",
    "gone, but kept here": "loaded some/model",
    "gone": "sd15 is not on this machine and the hub cannot be reached: go online once",
    "offline": "some/other is not on this machine and the hub cannot be reached",
}


@pytest.fixture(scope="module")
def answers(saved, tmp_path_factory) -> dict:
    """What is said of each case: one process, with a hub on this machine that goes away."""
    root = tmp_path_factory.mktemp("hub")
    changes = {
        "flux": kind("FluxPipeline"),
        "nine": says(UNET, in_channels=9),
        "edm": says("scheduler/scheduler_config.json", _class_name="EDMEulerScheduler"),
        "half": renamed("*/*.safetensors", ".fp16.safetensors"),
        "pickles": renamed("unet/*.safetensors", ".bin"),
        "empty": gone("model_index.json"),
        "broken": lambda folder: None,
    }
    repositories = {"some/model": str(saved[1]), "some/gated": "gated"}
    for name, change in changes.items():
        change(shutil.copytree(saved[1], root / name))
        repositories[f"some/{name}"] = str(root / name)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HTTP", "http"))}
    env = clean | {"HF_HOME": str(root / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    env["TQDM_POSITION"] = "-1"  # the hub's library draws bars where there is no terminal too
    command = [sys.executable, "-c", ASK, str(Path(__file__).parent), json.dumps(repositories)]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]) | {"bars": done.stderr}


@pytest.mark.parametrize("name", HUB)
def test_the_hub_says_what_it_has(name, answers):
    text, weights, seconds = answers[name]
    assert HUB[name] in text and "\n" not in text
    if name in ("gone", "gone, but kept here", "half here, and gone", "offline"):
        assert seconds < 15  # the libraries alone ask again for 23 seconds, file by file
    if name != "some/broken":
        assert weights == (3 if name == "some/model" else 0)  # no weights for what is refused


def test_a_download_shows_how_far_it_is(answers):
    """Weights are gigabytes; what the libraries say of reading them stays away."""
    assert re.search(r"safetensors: 100%", answers["bars"]), answers["bars"][-2000:]
    assert "Loading weights" not in answers["bars"]


def test_the_stand_in_closes_its_port():
    hub = Hub({})
    hub.close()
    import socket

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", hub.server.server_port), timeout=5)
