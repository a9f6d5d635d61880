"""FSDP2: a U-Net in shares on two processes trains what one process trains."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from models import tiny_base, tiny_concept, weights
from safetensors.torch import load_file, save_file
from test_distributed import HERE, two_processes

from adb_core import engine
from adb_core.checkpoint import CHECKPOINT, read_header
from adb_core.engine import TrainingError
from adb_core.personalization import Run
from adb_core.recipes import Recipe, Stage

STAGES = (
    Stage("alignment", ("embedding",), steps=1, lr=1e-3, batch_size=4, lambda_mu=2.0),
    Stage("identity", ("unet",), steps=3, lr=1e-3, batch_size=4, lambda_mu=2.0, lambda_sigma=5.0),
)
CONFIGS = HERE.parent / "adb_core/app/configs"
WAYS = {"plain": {}, "saving": {"gradient_checkpointing": True, "micro_batch": 1}}


def shared_run(out: Path | None, accelerator=None, **more) -> Run:
    options = {"view_count": 2, "accelerator": accelerator, "out": out, "in_place": True}
    return Run(tiny_base(), tiny_concept(), Recipe("r", STAGES), **options, **more)


def compare(folder: Path, alone: Run) -> None:
    """What two processes wrote at their end, with a run of one."""
    expected = weights(alone.learner)
    losses = torch.tensor([record.loss for record in alone.result.history])
    first, second = (load_file(folder / f"{rank}.safetensors") for rank in range(2))
    for other in (first, second):
        torch.testing.assert_close(other.pop("losses"), losses, rtol=1e-4, atol=1e-6)
        # of all weights and of a moment each process held a half, but for what is small
        assert all(0.45 < share < 0.65 for share in other.pop("shares").tolist())
    assert first.keys() == expected.keys() and len(expected) > 100
    for name, value in expected.items():  # Adam divides by the gradient's size
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-2, atol=2e-4)


def test_shares_train_what_one_process_does_and_go_on_with_any_number(tmp_path):
    alone = shared_run(None)
    alone.finish()
    child = str(Path(__file__))
    two_processes(child, str(tmp_path), "plain", "2")  # leave the second stage after one step
    assert read_header(tmp_path / "run" / CHECKPOINT)["progress"] == {"stage": 1, "step": 1}
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    two_processes(child, str(tmp_path), "plain", "4")
    compare(tmp_path, alone)
    resumed = shared_run(tmp_path / "copy")
    assert (resumed.at.stage, resumed.at.step) == (1, 1)
    resumed.finish()
    found, expected = weights(resumed.learner), weights(alone.learner)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-2, atol=2e-4)


def test_shares_with_micro_batches_and_checkpointing(tmp_path):
    alone = shared_run(None, **WAYS["saving"])
    alone.finish()
    two_processes(str(Path(__file__)), str(tmp_path), "saving", "4")
    compare(tmp_path, alone)


def test_the_configurations_are_what_accelerate_reads():
    from accelerate.commands.config.config_args import ClusterConfig
    from accelerate.commands.launch import launch_command_parser

    found = {}
    for path in sorted(CONFIGS.glob("*.yaml")):
        found[path.stem] = ClusterConfig.from_yaml_file(str(path))
        assert f"--config_file adb_core/app/configs/{path.name}" in path.read_text()
        launch_command_parser().parse_args(["--config_file", str(path), "-m", "adb_core"])
    assert set(found) == {"ddp", "fsdp2"}
    assert found["fsdp2"].distributed_type.value == "FSDP"
    assert found["fsdp2"].mixed_precision == "bf16"


def test_what_accelerate_makes_of_the_configuration_is_an_engine_that_is_served(monkeypatch):
    from accelerate import FullyShardedDataParallelPlugin
    from accelerate.commands.config.config_args import ClusterConfig
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    path = str(CONFIGS / "fsdp2.yaml")
    given = ["--config_file", path, "--num_processes", "2", "-m", "adb_core", "train"]
    args, *_ = _validate_launch_command(launch_command_parser().parse_args(given))
    for name, value in prepare_multi_gpu_env(args).items():
        if name.startswith(("FSDP_", "ACCELERATE_")):
            monkeypatch.setenv(name, value)
    assert os.environ["ACCELERATE_USE_FSDP"] == "true"
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2 and plugin.reshard_after_forward is True
    engine.check_engine("FSDP", plugin.fsdp_version, args.mixed_precision)
    assert ClusterConfig.from_yaml_file(path).num_processes == 2


def test_engines_that_are_not_served_are_one_line():
    engine.check_engine("MULTI_GPU")
    for kind, version, says in (
        ("FSDP", 1, "engine FSDP1 would hold whole copies here"),
        ("DEEPSPEED", 2, "engine DEEPSPEED would hold whole copies"),
    ):
        with pytest.raises(TrainingError, match=says):
            engine.check_engine(kind, version)
    with pytest.raises(TrainingError, match="FSDP2 and fp16 do not go together"):
        engine.check_engine("FSDP", 2, "fp16")


def held(run: Run, optimizer) -> torch.Tensor:
    """Which share of the U-Net's numbers, and of its moments, lies in this process."""
    parameters = dict(run.learner.unet.named_parameters())
    total = sum(p.numel() for p in parameters.values())
    kinds = [list(parameters.values())]
    kinds += [[optimizer.state[p][key] for p in parameters.values()] for key in ("exp_avg",)]
    return torch.tensor([sum(t.to_local().numel() for t in kind) / total for kind in kinds])


def child(folder: Path, way: str, stop: int) -> None:
    """One of two processes: as far as its step of that number, from 1 over all stages."""
    from accelerate import Accelerator

    from adb_core import sharding

    # Accelerate starts FSDP on GPUs alone; torch itself does it on a CPU as well
    sharding.is_sharding = lambda accelerator: True
    accelerator = Accelerator(cpu=True)
    shares = torch.full((2,), 0.5)
    run = shared_run(folder / "run", accelerator, **WAYS[way])
    for record in run:
        if record.stage == "identity" and not record.is_last:
            assert sharding.is_spread(run.learner.unet)
            shares = held(run, run._optimizer)
        if len(run.result.history) == stop and stop < 4:
            break
    if stop == 4:
        assert not sharding.is_spread(run.learner.unet)
        assert run.learner.unet is run.learner.base.unet  # it was trained in place
        losses = torch.tensor([record.loss for record in run.result.history])
        named = {name: p.detach() for name, p in weights(run.learner).items()}
        file = folder / f"{accelerator.process_index}.safetensors"
        save_file({**named, "losses": losses, "shares": shares}, file)
    accelerator.end_training()


if __name__ == "__main__":
    child(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
