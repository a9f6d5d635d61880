"""Checkpoints: whose they are, what they hold, how they are refused."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from models import make_learner, short, tiny_base, tiny_concept, weights
from safetensors import safe_open
from safetensors.torch import save

from adb_core import checkpoint
from adb_core.checkpoint import (
    CHECKPOINT,
    CheckpointError,
    Progress,
    load_checkpoint,
    read_header,
    save_checkpoint,
)
from adb_core.engine import TrainingError
from adb_core.learner import Learner
from adb_core.optimizers import make_optimizer
from adb_core.personalization import personalize
from adb_core.recipes import Recipe, Stage, recipe
from adb_core.training import train_stage


def test_stage_two_saves_only_the_cross_attention(tmp_path):
    plan = short(recipe("attndreambooth"))
    learner = make_learner(plan)
    save_checkpoint(tmp_path / "c.safetensors", learner, Progress(1, 1))
    with safe_open(str(tmp_path / "c.safetensors"), "pt") as file:
        names = set(file.keys())
    assert names == {"token.rows"} | {
        f"unet.{n}" for n, _ in learner.unet.named_parameters() if ".attn2." in n
    }


def test_checkpoints_of_others_are_refused(tmp_path):
    plan, path = short(recipe("attndreambooth")), tmp_path / "c.safetensors"
    save_checkpoint(path, make_learner(plan), Progress(1, 0))
    assert load_checkpoint(path, make_learner(plan))[0] == Progress(1, 0)
    with pytest.raises(CheckpointError, match="belongs to another recipe"):
        load_checkpoint(path, make_learner(short(recipe("dreambooth"))))
    with pytest.raises(CheckpointError, match="belongs to another recipe"):
        load_checkpoint(path, make_learner(plan, seed=5))
    with pytest.raises(CheckpointError, match="belongs to another concept"):
        load_checkpoint(path, Learner(tiny_base(), tiny_concept(count=4), plan, view_count=2))
    for other in other_bases():
        with pytest.raises(CheckpointError, match="belongs to another base model"):
            load_checkpoint(path, Learner(other, tiny_concept(), plan, view_count=2))


def other_bases():
    """Models that share much with the first: another seed; fine-tuned; another prediction."""
    yield tiny_base(seed=9)
    tuned = tiny_base()
    for parameter in tuned.unet.parameters():
        parameter += 0.01
    yield tuned
    other = tiny_base()
    other.scheduler.register_to_config(prediction_type="v_prediction")
    yield other


def test_bad_checkpoint_files_give_one_line(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"\x80\x04.")
    (tmp_path / "y.safetensors").write_bytes(b"nonsense")
    for name, says in (
        ("x.pt", "pickle"),
        ("y.safetensors", "damaged"),
        ("z.safetensors", "no checkpoint"),
    ):
        with pytest.raises(CheckpointError, match=says):
            read_header(tmp_path / name)
    headers = {
        "[1]": "of this version",
        '{"format": 1}': "of this version",
        '{"format": 3}': "header is not whole",
        '{"format": 3, "identity": {}, "progress": {"stage": -1, "step": 0}}': "is not whole",
    }
    for header, says in headers.items():
        (tmp_path / "h.safetensors").write_bytes(
            save({"a": torch.zeros(1)}, metadata={"adb": header})
        )
        with pytest.raises(CheckpointError, match=says):
            read_header(tmp_path / "h.safetensors")


@pytest.mark.parametrize(
    "name", ["token.rows", "adam.unet.conv_in.weight.exp_avg", "adam.unet.conv_in.weight.step"]
)
@pytest.mark.parametrize("damage", ["gone", "shape"])
def test_checkpoints_with_wrong_shapes_are_refused_and_change_nothing(tmp_path, name, damage):
    plan, path = short(recipe("dreambooth"), steps=2), tmp_path / "c.safetensors"
    learner = make_learner(plan)
    stage = plan.stages[0]
    optimizer = make_optimizer(learner, stage)
    steps = train_stage(learner, stage, optimizer=optimizer)
    next(steps)
    save_checkpoint(path, learner, Progress(0, 1), optimizer)
    with safe_open(str(path), "pt") as file:
        tensors, metadata = {n: file.get_tensor(n) for n in file.keys()}, file.metadata()
    tensors.pop(name) if damage == "gone" else tensors.update({name: torch.zeros(2, 2, 2)})
    path.write_bytes(save(tensors, metadata=metadata))
    fresh = make_learner(plan)
    before = weights(fresh)
    with pytest.raises(CheckpointError, match=re.escape(f"{name} should have shape")):
        load_checkpoint(path, fresh)
    assert all(torch.equal(before[n], p) for n, p in weights(fresh).items())


def test_a_damaged_history_is_one_line(tmp_path):
    plan = short(recipe("textual_inversion"), steps=2)
    personalize(tiny_base(), tiny_concept(), plan, view_count=2, out=tmp_path)
    for content in ("{", "[1]", '[{"stage": "inversion"}]'):
        (tmp_path / "history.json").write_text(content)
        with pytest.raises(CheckpointError, match="history.json is damaged"):
            personalize(tiny_base(), tiny_concept(), plan, view_count=2, out=tmp_path)


def test_weights_that_are_no_numbers_are_never_saved(tmp_path):
    """A step reports the loss before it; its own result is looked at before it is written."""
    stage = Stage("s", ("embedding",), steps=1, lr=1e38, batch_size=2, weight_decay=1e10)
    with pytest.raises(TrainingError, match="stage 's' made token.rows infinite or not a number"):
        personalize(tiny_base(), tiny_concept(), Recipe("r", (stage,)), view_count=2, out=tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


def test_the_loss_scalers_state_is_kept(tmp_path):
    learner = make_learner(short(recipe("dreambooth")))
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    save_checkpoint(tmp_path / "c.safetensors", learner, Progress(0, 1), scaler=scaler.state_dict())
    other = torch.amp.GradScaler("cpu")
    other.load_state_dict(read_header(tmp_path / "c.safetensors")["scaler"])
    assert other.get_scale() == 64.0


@pytest.mark.parametrize("fused", [True, False])
def test_a_fused_optimizers_count_of_steps_goes_where_its_kernel_wants_it(tmp_path, fused):
    """Read back onto the CPU, AdamW's fused kernel on CUDA would refuse it (pytorch#104767)."""
    learner, path = make_learner(short(recipe("dreambooth"))), tmp_path / "c.safetensors"
    stage = learner.recipe.stages[0]
    optimizer = make_optimizer(learner, stage)
    next(train_stage(learner, stage, optimizer=optimizer))
    save_checkpoint(path, learner, Progress(0, 1), optimizer)
    name, parameter = next(iter(learner.parameters(stage).items()))
    elsewhere = torch.nn.Parameter(parameter.detach().to("meta"))  # a device that is not the CPU
    optimizer.defaults["fused"] = fused
    with safe_open(str(path), "pt") as file:
        state = checkpoint._state(file, f"adam.{name}.", elsewhere, optimizer)
    assert state["exp_avg"].device.type == state["exp_avg_sq"].device.type == "meta"
    assert state["step"].device.type == ("meta" if fused else "cpu")


# ---------------------------------------------------------------- memory

MEASURED = """
import re, sys; sys.path[:0] = {paths!r}
import torch
from models import make_learner, short
from adb_core.checkpoint import Progress, load_checkpoint, save_checkpoint
from adb_core.optimizers import make_optimizer
from adb_core.recipes import recipe

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

def grown():
    learner = make_learner(short(recipe("dreambooth")))
    learner.unet.large = torch.nn.Parameter(torch.ones({numbers}), requires_grad=False)
    return learner

learner = grown()
stage = learner.recipe.stages[0]
optimizer = make_optimizer(learner, stage)
for p in learner.parameters(stage).values():
    moments = {{"exp_avg": torch.ones_like(p), "exp_avg_sq": torch.ones_like(p)}}
    optimizer.state[p] = {{"step": torch.tensor(1.0), **moments}}
save_checkpoint({path!r} + ".small", make_learner(short(recipe("dreambooth"))), Progress(0, 0))
before = peak()
save_checkpoint({path!r}, learner, Progress(0, 1), optimizer)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_saving_takes_hardly_any_memory(tmp_path):
    """Three tensors of 96 MB: the bytes of none of them are held a second time."""
    here, numbers = Path(__file__).parent, 24_000_000
    paths, path = [str(here.parent), str(here)], tmp_path / "c.safetensors"
    code = MEASURED.format(paths=paths, numbers=numbers, path=str(path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    state = 3 * 4 * numbers
    assert path.stat().st_size > state
    assert int(done.stdout) <= 0.1 * state
