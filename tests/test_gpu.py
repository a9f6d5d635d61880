"""What a CPU cannot show: the kernels, half precision and resume on CUDA."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from models import inputs, tiny_base, tiny_concept, tiny_unet

from adb_core.attention import capture_attention, default_path
from adb_core.checkpoint import CHECKPOINT
from adb_core.engine import make_accelerator
from adb_core.generation import generate
from adb_core.learner import Learner
from adb_core.personalization import Run
from adb_core.recipes import RECIPES, recipe
from adb_core.system.devices import tf32
from adb_core.training import train_stage

pytestmark = pytest.mark.gpu  # conftest.py skips these where there is no CUDA
DEVICE = torch.device("cuda")


def base_on_device(kind: str = "sd15"):
    base = tiny_base(kind)
    for module in (base.text_encoder, base.vae, base.unet):
        module.to(DEVICE)
    base.device = DEVICE
    return base


def short(plan, steps: int = 2):
    return replace(plan, stages=tuple(replace(s, steps=steps, batch_size=2) for s in plan.stages))


@pytest.mark.parametrize("kind", ["sd15", "sd21"])
def test_both_paths_agree_in_outputs_and_gradients(kind):
    unet = tiny_unet(kind).to(DEVICE)
    latents, times, text = (x.to(DEVICE) for x in inputs())
    found = {}
    for path in ("oracle", "fused"):
        text.requires_grad_(True).grad = None
        with tf32(False):  # convolutions use TF32 unasked, and it rounds by more than is allowed
            with capture_attention(unet, [2, 5], path=path) as capture:
                out = unet(latents, times, encoder_hidden_states=text).sample
            maps = torch.cat([m.flatten() for m in capture.layers.values()])
            (out.square().mean() + maps.square().sum()).backward()
        found[path] = out.detach(), maps.detach(), text.grad.clone()
    for a, b in zip(*found.values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert default_path(DEVICE) == "fused"


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_in_every_precision(name, precision):
    """Accelerate keeps one precision a process; conftest resets it."""
    options = {"view_count": 2, "accelerator": make_accelerator(DEVICE, precision)}
    learner = Learner(base_on_device("sd21"), tiny_concept(), short(recipe(name)), **options)
    for stage in learner.recipe.stages:
        before = {n: p.detach().clone() for n, p in learner.parameters(stage).items()}
        records = list(train_stage(learner, stage))
        after = learner.parameters(stage)
        assert all(np.isfinite(r.loss) for r in records) and all(
            p.dtype == torch.float32 for p in after.values()
        )
        assert any(not torch.equal(before[n], p) for n, p in after.items())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_resumed_goes_on_as_uninterrupted(tmp_path, precision):
    """The same steps with the same scale of the loss; kernels may add in another order."""
    plan = short(recipe("attndreambooth"), steps=3)

    def run(out):
        accelerator = make_accelerator(DEVICE, precision)
        options = {"view_count": 2, "out": out, "accelerator": accelerator}
        return Run(base_on_device(), tiny_concept(), plan, **options)

    whole = run(tmp_path / "a").finish()
    for record in run(tmp_path / "b"):
        if (record.stage, record.step) == ("attention", 2):
            break
    again = run(tmp_path / "b").finish()
    assert (tmp_path / "b" / CHECKPOINT).is_file()
    assert [(r.stage, r.step) for r in whole.history] == [(r.stage, r.step) for r in again.history]
    np.testing.assert_allclose(
        [r.loss for r in whole.history], [r.loss for r in again.history], rtol=2e-2
    )


def test_pictures_start_from_the_same_noise_as_on_the_cpu():
    on_cpu, on_gpu = (
        generate(base, "a photo of a cat", seeds=[3], steps=4, maps=True)
        for base in (tiny_base(), base_on_device())
    )
    assert np.abs(on_cpu.images.astype(int) - on_gpu.images).mean() < 2
    np.testing.assert_allclose(on_cpu.maps, on_gpu.maps, atol=1e-3)
