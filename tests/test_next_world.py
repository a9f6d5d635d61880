"""The second world's parts that are trained: VAE, tiny CLIP and judge in ``data/next``.

The bars are loose, so that they hold on any processor and still fail if a file is swapped or
spoiled; what the parts shall reach at the end is asked by ``adb_core.tinymodel.evaluate``.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import NEXT

from adb_core.tinymodel.judge import Judge
from adb_core.tinymodel.measures import identity, reconstruction, retrieval
from adb_core.tinymodel.pipeline import Models
from adb_core.tinymodel.scenes import draw, fresh_scenes


@pytest.fixture(scope="module")
def parts():
    from diffusers import AutoencoderKL
    from transformers import AutoTokenizer, CLIPModel

    vae = AutoencoderKL.from_pretrained(NEXT / "tiny-sd/vae").float().eval()
    clip = CLIPModel.from_pretrained(NEXT / "tiny-clip", dtype=torch.float32).eval()
    pipe: Any = SimpleNamespace(vae=vae)  # no U-Net is trained yet
    tokenizer = AutoTokenizer.from_pretrained(NEXT / "tiny-clip")
    return Models(pipe, clip, tokenizer, Judge.load(NEXT / "judge"))


def by_name(rows) -> dict[str, float]:
    return {row.what: row.value for row in rows}


def test_the_vae_keeps_what_makes_a_concept_one(parts):
    found = by_name(reconstruction.measure_concepts(parts))
    assert found["PSNR of the photos after the VAE"] > 28.5, found
    assert found["share of identity after the VAE, mean"] > 0.97, found
    assert found["share of identity after the VAE, worst"] > 0.9, found


def test_the_clip_finds_the_caption_of_a_picture(parts):
    scenes = fresh_scenes(60, 31, distinct=True)
    found = by_name(retrieval.measure_clip(parts, scenes, draw(scenes, 31)))
    assert found["retrieval top-1, mean of both directions"] > 0.9, found  # chance: 1 in 60


def test_the_judge_knows_an_individual_again_also_degraded(parts):
    found = by_name(identity.measure_identity(parts, 48, 32))
    assert len(found) == 7 and min(found.values()) > 0.95, found


def test_the_judge_reads_scenes(parts):
    scenes = fresh_scenes(60, 33)
    read = parts.judge.read(draw(scenes, 33))
    for label, least in (("place", 0.9), ("object", 0.9), ("accessory", 0.85), ("sky", 0.85)):
        truth = [getattr(scene, label) for scene in scenes]
        absent = "plain" if label == "place" else "none"
        hits = [word == (true or absent) for word, true in zip(read[label], truth, strict=True)]
        assert np.mean(hits) > least, (label, np.mean(hits))
