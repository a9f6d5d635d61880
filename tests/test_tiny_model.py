"""The committed weights: plain libraries load them, and they do roughly what the model card says.

The exact numbers come from ``python -m adb_core.tinymodel.evaluate``; the bars here are loose,
so that they hold on any processor and still fail if a weight file is swapped or spoiled.
"""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from adb_core.base import BaseModelError, load_base
from adb_core.system.paths import data_dir
from adb_core.tinymodel.judge import Judge
from adb_core.tinymodel.measures import reconstruction, retrieval
from adb_core.tinymodel.measures.attributes import REAL_BARS, judge_rows, measure_generation
from adb_core.tinymodel.measures.identity import measure_identity
from adb_core.tinymodel.measures.pointing import measure_pointing, render_maps
from adb_core.tinymodel.measures.speed import SPEED_PROMPTS
from adb_core.tinymodel.pipeline import GUIDANCE, generate, load_models, load_pipe
from adb_core.tinymodel.scenes import draw, fresh_scenes, held_out_scenes

DATA = data_dir()


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    return load_models(DATA, "cpu")


def test_all_weights_together_are_small_half_precision_and_no_pickle():
    files = [
        p
        for name in ("tiny-sd", "tiny-clip", "judge")
        for p in (DATA / name).rglob("*")
        if p.is_file()
    ]
    assert sum(p.stat().st_size for p in files) <= 40e6
    assert not [p for p in files if p.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl")]
    from safetensors import safe_open

    for path in files:
        if path.suffix == ".safetensors":
            with safe_open(str(path), "pt") as file:
                kinds = {file.get_slice(k).get_dtype() for k in file.keys()}
            assert kinds <= {"F16", "I64"}, (path, kinds)


def test_no_configuration_says_where_its_part_was_read_from():
    configs = [p for p in data_dir().rglob("*.json") if p.is_file()]
    assert configs and not [p for p in configs if "_name_or_path" in p.read_text()]


def test_plain_diffusers_runs_it_without_our_code(tmp_path):
    code = f"""
import sys
from diffusers import StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained({str(DATA / "tiny-sd")!r})
image = pipe("a photo of a red cat on the beach", num_inference_steps=3).images[0]
assert image.size == (128, 128)
assert not any(m.startswith("adb_core") for m in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_clip_folder_loads_as_clip_with_its_processor():
    from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

    clip = CLIPModel.from_pretrained(DATA / "tiny-clip")
    processor = CLIPImageProcessor.from_pretrained(DATA / "tiny-clip")
    tokenizer = AutoTokenizer.from_pretrained(DATA / "tiny-clip")
    pixels = processor(np.zeros((128, 128, 3), np.uint8), return_tensors="pt").pixel_values
    assert pixels.shape == (1, 3, 128, 128)
    assert (
        tokenizer("a red cat").input_ids
        == load_pipe(DATA / "tiny-sd", "cpu").tokenizer("a red cat").input_ids
    )
    assert clip.config.projection_dim > 0


def test_text_encoder_is_the_clip_text_tower(models):
    ids = models.tokenizer(list(SPEED_PROMPTS), padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        ours = models.pipe.text_encoder(ids).last_hidden_state
        theirs = models.clip.text_model(ids).last_hidden_state
    torch.testing.assert_close(ours, theirs)


def by_name(rows) -> dict[str, float]:
    return {row.what: row.value for row in rows}


def test_the_vae_keeps_what_makes_a_concept_one(models):
    found = by_name(reconstruction.measure_concepts(models))
    assert found["PSNR of the photos after the VAE"] > 28.5, found
    assert found["share of identity after the VAE, mean"] > 0.97, found
    assert found["share of identity after the VAE, worst"] > 0.9, found


def test_the_clip_finds_the_caption_of_a_picture(models):
    scenes = fresh_scenes(60, 31, distinct=True)
    found = by_name(retrieval.measure_clip(models, scenes, draw(scenes, 31)))
    assert found["retrieval top-1, mean of both directions"] > 0.9, found  # chance: 1 in 60


def test_it_draws_what_it_is_asked_for(models):
    scenes = held_out_scenes(16, seed=5)
    rows, made = measure_generation(models, scenes, seed=5, guidance=GUIDANCE)
    found = by_name(rows)
    assert (
        found["category"] >= 0.7
        and found["place"] >= 0.7
        and found["style"] >= 0.7
        and found["color"] >= 0.6
    ), found
    again = generate(models.pipe, made.prompts[:2], seed=1000 + 5 * 100_000)
    assert (
        np.abs(again.astype(int) - made.images[:2]).max() <= 2
    )  # the same seed, another batch size


def test_words_look_where_they_belong(models):
    scenes = fresh_scenes(24, 9)
    drawn, maps = render_maps(models, scenes, 9)
    found = by_name(measure_pointing(scenes, drawn, maps))
    assert found["category word on the subject"] >= 0.8, found
    assert found["place word off subject, accessory and object"] >= 0.75, found


def test_judge_reads_drawn_pictures_and_knows_individuals(models):
    scenes = fresh_scenes(60, 11)
    read = models.judge.read(draw(scenes, 11))
    rows = {
        row.what: row.value for row in judge_rows("real", read, scenes, REAL_BARS, asked_only=False)
    }
    assert min(rows[name] for name in ("category", "place", "style", "color")) >= 0.85, rows
    found = by_name(measure_identity(models, 48, 32))  # clean, and under each degradation
    assert len(found) == 7 and min(found.values()) > 0.95, found


def test_shuffled_truth_falls_to_chance(models):
    scenes = fresh_scenes(60, 12)
    read = models.judge.read(draw(scenes, 12))
    wrong = scenes[7:] + scenes[:7]
    rows = {
        row.what: row.value for row in judge_rows("real", read, wrong, REAL_BARS, asked_only=False)
    }
    assert rows["category"] <= 0.3 and rows["color"] <= 0.35


def test_model_card_states_the_measured_numbers_and_how_to_repeat_them():
    card = (DATA / "tiny-sd" / "README.md").read_text()
    assert card.startswith("---") and "apache-2.0" in card and "python -m adb_core" in card
    for row in ("PSNR", "retrieval", "category word on the subject", "same-instance AUC"):
        assert row in card, row


def test_load_base_gives_the_same_model_and_clear_errors(tmp_path, models):
    base = load_base("tiny", device="cpu")
    assert base.prediction_type == "v_prediction" and base.unet.config.sample_size == 16
    assert not any(p.requires_grad for p in base.unet.parameters())
    for a, b in zip(base.unet.parameters(), models.pipe.unet.parameters(), strict=True):
        assert torch.equal(a, b)
    (tmp_path / "empty").mkdir()
    for name, says in (
        ("no/such/folder/here", "no folder"),
        (str(tmp_path / "empty"), "not a diffusers model"),
        ("./gone", "no folder"),
    ):
        with pytest.raises(BaseModelError, match=says) as caught:
            load_base(name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "what, says",
    [
        ("text_encoder/model.safetensors", "the weights of its text_encoder lack"),
        ("unet/diffusion_pytorch_model.safetensors", "the weights of its unet lack"),
        ("tokenizer/tokenizer.json", "has no vocabulary"),
        ("scheduler/scheduler_config.json", "no num_train_timesteps"),
        ("unet/config.json", "sd cannot be loaded|damaged|lack"),
    ],
)
def test_a_model_that_is_not_whole_is_never_filled_up(tmp_path, what, says):
    """The libraries would put random weights and defaults where the files are silent."""
    shutil.copytree(DATA / "tiny-sd", tmp_path / "sd")
    path = tmp_path / "sd" / what
    if path.suffix == ".safetensors":
        tensors = load_file(path)
        save_file({n: t for n, t in list(tensors.items())[::2]}, path)
    elif what.startswith("tokenizer"):
        path.unlink()
    else:
        path.write_text("{}")
    with pytest.raises(BaseModelError, match=says) as caught:
        load_base(str(tmp_path / "sd"))
    assert "\n" not in str(caught.value) and "git checkout" not in str(caught.value)


def test_other_pipelines_are_refused(tmp_path, monkeypatch):
    from diffusers import StableDiffusionPipeline

    monkeypatch.setattr(
        StableDiffusionPipeline,
        "load_config",
        lambda *_, **__: {"_class_name": "StableDiffusion3Pipeline"},
    )
    with pytest.raises(BaseModelError, match="some/model is a StableDiffusion3Pipeline: only"):
        load_base("some/model")


@pytest.mark.parametrize(
    "error, says",
    [
        (OSError("401 Client Error: Unauthorized for url"), "is gated: accept its licence"),
        (OSError("Access to model x is restricted"), "is gated"),
        (OSError("We couldn't connect to the hub"), "cannot be reached: go online once"),
        (ValueError("odd"), "cannot be loaded .ValueError: odd"),
        (
            type("RepositoryNotFoundError", (OSError,), {})("404 Client Error"),
            "the hub has no 'some/model'",
        ),
    ],
)
def test_the_hubs_errors_give_one_line_with_a_cure(error, says, monkeypatch):
    from diffusers import StableDiffusionPipeline

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(StableDiffusionPipeline, "load_config", fail)
    with pytest.raises(BaseModelError, match=says) as caught:
        load_base("some/model")
    assert "\n" not in str(caught.value)


def test_a_damaged_weight_file_is_named(tmp_path):
    shutil.copytree(DATA / "tiny-sd", tmp_path / "sd")
    weights = tmp_path / "sd" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(BaseModelError, match="diffusion_pytorch_model.safetensors"):
        load_base(str(tmp_path / "sd"))
    weights.unlink()
    with pytest.raises(BaseModelError, match="diffusion_pytorch_model.safetensors"):
        load_base(str(tmp_path / "sd"))
    shutil.copytree(DATA / "judge", tmp_path / "judge")
    next((tmp_path / "judge").glob("*.safetensors")).write_bytes(b"x")
    with pytest.raises(ValueError, match="judge"):
        Judge.load(tmp_path / "judge")
