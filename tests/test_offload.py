"""Parts that wait elsewhere, 8-bit Adam, and the memory that is told."""

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from models import make_learner, short, tiny_base, tiny_concept, weights

from adb_core import offload, optimizers
from adb_core.checkpoint import CHECKPOINT, read_header
from adb_core.engine import TrainingError
from adb_core.generation import generate
from adb_core.offload import Offload
from adb_core.personalization import Run, personalize
from adb_core.recipes import Recipe, recipe
from adb_core.system import memory
from adb_core.system.devices import tf32
from adb_core.training import train_stage

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="an open file stays there")


def test_training_with_parts_in_a_file_is_the_same(monkeypatch):
    """Mapped parts are read as others are: same weights, and pictures on the way."""
    monkeypatch.setattr(offload, "WORTH", 0)
    plan, ends = short(recipe("attndreambooth")), []
    for waiting in (False, True):
        run = Run(tiny_base(), tiny_concept(), plan, view_count=2, offload=waiting)
        for record in run:
            if record.is_last:
                generate(run.result, "a photo of a {}", [0], steps=1)
        ends.append(weights(run.learner))
    assert run.learner.offload._waiting
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name


def test_a_part_is_sent_again_after_it_was_used(monkeypatch, tmp_path):
    monkeypatch.setattr(offload, "WORTH", 0)
    mapped, real = [], offload.map_weights
    monkeypatch.setattr(offload, "map_weights", lambda *a: mapped.append(1) or real(*a))
    part = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Linear(5, 7))
    inputs = torch.randn(2, 3)
    before, away = part(inputs), Offload(torch.device("cpu"), tmp_path)
    for _ in range(2):
        away.send([part])
    assert len(mapped) == 1 and torch.equal(part(inputs), before)
    away.send([part])
    assert len(mapped) == 2 and not list(tmp_path.iterdir())
    with torch.no_grad():
        part[0].weight[1] = 9.0  # as baking a row does
    away.send([part])
    assert (part[0].weight[1] == 9).all() and not torch.equal(part(inputs), before)


def test_small_parts_stay():
    part = torch.nn.Linear(3, 5)
    pointer = part.weight.data_ptr()
    Offload(torch.device("cpu")).send([part])
    assert part.weight.data_ptr() == pointer


def test_adapters_keep_the_weights_that_they_share():
    """With LoRA the base's U-Net is the one that is trained around: it must not be sent away."""
    pytest.importorskip("peft")
    learner = make_learner(short(recipe("attndreambooth_lora")))
    idle = learner.idle_parts
    assert not any(part is learner.base.unet for part in idle)
    assert any(part is learner.base.vae for part in idle)


MAPPED = """
import re, sys; sys.path.insert(0, {root!r})
import torch
from adb_core.offload import Offload

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

part = torch.nn.Sequential(torch.nn.Linear(4200, 4200)).requires_grad_(False)
before = anonymous()
Offload(torch.device("cpu")).send([part])
print(before - anonymous())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_mapped_part_gives_its_memory_back():
    code = MAPPED.format(root=str(Path(__file__).parents[1]))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 0.9 * 4 * 4200**2


# ---------------------------------------------------------------- 8-bit Adam


class Small(torch.optim.AdamW):
    """Stands in for bitsandbytes': keeps its state under other names, and counts by an integer."""

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state.setdefault("state1", torch.zeros(p.numel(), dtype=torch.uint8))
                state["step"] = state.get("step", 0) + 1
                state["state1"] += 1
                with torch.no_grad():
                    p -= group["lr"] * p.grad.sign() * state["step"]


@pytest.fixture
def eight_bits(monkeypatch):
    module = ModuleType("bitsandbytes.optim")
    module.AdamW8bit = Small
    monkeypatch.setitem(sys.modules, "bitsandbytes", SimpleNamespace(optim=module))
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", module)
    monkeypatch.setattr(optimizers, "check_8bit", lambda device: None)


def test_a_run_with_8_bit_moments_resumes(eight_bits, tmp_path):
    plan = short(recipe("dreambooth"), steps=3)
    how = {"view_count": 2, "optimizer": "adam8bit"}
    whole = personalize(tiny_base(), tiny_concept(), plan, **how)
    for record in Run(tiny_base(), tiny_concept(), plan, out=tmp_path, **how):
        if record.step == 2:
            break
    assert read_header(tmp_path / CHECKPOINT)["optimizer"] == "adam8bit"
    again = personalize(tiny_base(), tiny_concept(), plan, out=tmp_path, **how)
    ends = weights(again.learner)
    assert all(torch.equal(value, ends[name]) for name, value in weights(whole.learner).items())


def test_8_bits_without_what_they_need_are_one_line(monkeypatch):
    learner = make_learner(short(recipe("dreambooth")), optimizer="adam8bit")
    with pytest.raises(TrainingError, match="8-bit Adam runs on CUDA, not on cpu"):
        next(train_stage(learner, learner.recipe.stages[0]))
    monkeypatch.setattr(optimizers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="not installed: pip install bitsandbytes"):
        optimizers.check_8bit(torch.device("cuda"))
    with pytest.raises(ValueError, match="unknown optimizer 'sgd'"):
        make_learner(short(recipe("dreambooth")), optimizer="sgd")


# ---------------------------------------------------------------- micro-batches, checkpointing


def gradients(learner, stage, most: int, checkpointing: bool) -> tuple[float, torch.Tensor]:
    """The loss of a step, and all of its gradients before they are clipped or used."""
    from dataclasses import replace

    learner.options = replace(
        learner.options, micro_batch=most, gradient_checkpointing=checkpointing
    )
    seen = []
    optimizer = optimizers.make_optimizer(learner, stage)
    optimizer.register_step_pre_hook(
        lambda o, *_: seen.append(
            torch.cat([p.grad.flatten() for g in o.param_groups for p in g["params"]])
        )
    )
    (record,) = train_stage(learner, stage, optimizer=optimizer)
    return record.loss, seen[0]


def test_any_split_and_checkpointing_give_the_whole_batchs_gradients():
    """The regularizer is summed over the whole batch, the diffusion loss is averaged."""
    from dataclasses import replace

    stage = replace(recipe("ti_dreambooth").stages[0], steps=1, batch_size=6, max_grad_norm=1e9)
    stage = replace(stage, lambda_mu=2.0, lambda_sigma=5.0)
    found = []
    for most, checkpointing in ((6, False), (3, False), (2, False), (1, False), (6, True)):
        learner = make_learner(Recipe("r", (stage,)), "sd21")
        found.append(gradients(learner, stage, most, checkpointing))
    loss, whole = found[0]
    for other, grads in found[1:]:
        assert other == pytest.approx(loss, rel=1e-5)
        assert (grads - whole).norm() <= 1e-5 * whole.norm()


def test_the_other_memory_format_trains_the_same():
    plan, losses = short(recipe("dreambooth")), []
    for channels_last in (False, True):
        result = personalize(
            tiny_base(), tiny_concept(), plan, view_count=2, channels_last=channels_last
        )
        kernel = result.unet.down_blocks[0].resnets[0].conv1.weight
        assert kernel.is_contiguous(memory_format=torch.channels_last) == channels_last
        losses.append([record.loss for record in result.history])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


# ---------------------------------------------------------------- what is told


def test_memory_is_told_and_tf32_put_back():
    assert 0 < memory.free_memory("cpu") and 0 < memory.memory_in_use("cpu") < 100
    assert memory.is_out_of_memory(MemoryError())
    refused = RuntimeError(
        "[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate"
    )
    assert memory.is_out_of_memory(refused) and not memory.is_out_of_memory(RuntimeError("a bug"))
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    for wanted in (True, False):
        with tf32(wanted):
            assert torch.backends.cuda.matmul.allow_tf32 is wanted
    with tf32(None):
        assert torch.backends.cuda.matmul.allow_tf32 is before[0]
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_the_bar_tells_the_memory(capsys):
    plan = short(recipe("textual_inversion"), steps=1)
    personalize(tiny_base(), tiny_concept(), plan, view_count=1, progress=True)
    said = capsys.readouterr().err
    assert re.search(r"encode views: 100%.*memory=[\d.]+ GiB", said), said
    # the share that is done, time passed and left, and the memory
    assert re.search(r"inversion: 100%.*\[\d+:\d+<\d+:\d+.*memory=[\d.]+ GiB", said), said
    plan = short(recipe("dreambooth_prior"), steps=1)
    personalize(tiny_base(), tiny_concept(), plan, view_count=1, progress=True)
    said = capsys.readouterr().err
    assert re.search(r"prior pictures: 100%.*memory=[\d.]+ GiB", said), said
    generate(tiny_base(), "a cat", [0, 1], steps=1, batch=1, progress=True)
    said = capsys.readouterr().err
    assert re.search(r"generate: 100%.*\[\d+:\d+<\d+:\d+.*memory=[\d.]+ GiB", said), said
