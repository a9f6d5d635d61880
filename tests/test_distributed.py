"""Two processes train what one does: one batch, split in two, and every gradient averaged."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import torch
from models import tiny_base, tiny_concept
from safetensors.torch import load_file, save_file

from adb_core.checkpoint import CHECKPOINT, read_header
from adb_core.learner import Learner
from adb_core.personalization import Run
from adb_core.recipes import Recipe, Stage
from adb_core.training import train_stage

HERE = Path(__file__).resolve().parent
STAGES = (
    Stage("alignment", ("embedding",), steps=2, lr=1e-3, batch_size=4, lambda_mu=2.0),
    Stage("identity", ("unet",), steps=2, lr=1e-3, batch_size=4, lambda_mu=2.0, lambda_sigma=5.0),
)


def trained(accelerator=None) -> tuple[dict[str, torch.Tensor], list[float]]:
    """All weights that may move, and the losses."""
    options = {"view_count": 2, "accelerator": accelerator}
    learner = Learner(tiny_base(), tiny_concept(), Recipe("r", STAGES), **options)
    losses = [record.loss for stage in STAGES for record in train_stage(learner, stage)]
    weights = {
        "rows": learner.token.rows.detach().clone(),
        **{n: p.detach().clone() for n, p in learner.unet.named_parameters()},
    }
    return weights, losses


def two_processes(*command: str, codes: tuple[int, int] = (0, 0)) -> list[str]:
    """Run a Python command as ``accelerate launch`` would, twice; returns what each printed.

    Args:
        codes: that the two have to exit with.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {
        **os.environ,
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    children = [
        subprocess.Popen(
            [sys.executable, *command],
            cwd=HERE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **common,
                "RANK": str(k),
                "LOCAL_RANK": str(k),
                "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}",
            },
        )
        for k in range(2)
    ]
    said = [child.communicate(timeout=900)[0] for child in children]
    assert [child.returncode for child in children] == list(codes), "\n".join(said)[-3000:]
    return said


def test_the_command_line_writes_once(tmp_path):
    said = two_processes(
        "-m",
        "adb_core",
        "train",
        "--concept",
        "pico",
        "--out",
        str(tmp_path / "out"),
        "--recipe",
        "textual_inversion",
        "--steps-scale",
        "0.001",
        "--views",
        "1",
        "--quiet",
        "--device",
        "cpu",
    )
    assert sum("personalized model:" in text for text in said) == 1
    assert (tmp_path / "out/model/adb.json").is_file() and sorted(
        p.name for p in (tmp_path / "out").iterdir()
    ) == ["checkpoint.safetensors", "history.json", "model"]


def shared_run(folder: Path, accelerator=None) -> Run:
    """A run that keeps itself in a folder."""
    options = {"view_count": 2, "accelerator": accelerator, "out": folder}
    return Run(tiny_base(), tiny_concept(), Recipe("r", STAGES), **options)


def test_two_processes_equal_one_which_can_go_on_alone(tmp_path):
    two_processes(__file__, str(tmp_path))
    resumed = shared_run(tmp_path / "run")  # two processes left it inside the second stage
    assert (resumed.at.stage, resumed.at.step) == (1, 1)
    ends = dict(resumed.finish().unet.named_parameters())
    alone, losses = trained()
    first, second = (load_file(tmp_path / f"{k}.safetensors") for k in range(2))
    for name, value in first.items():
        assert torch.equal(value, second[name]), f"{name} differs between the two processes"
    torch.testing.assert_close(first.pop("losses"), torch.tensor(losses), rtol=1e-4, atol=1e-6)
    for (
        name,
        value,
    ) in alone.items():  # Adam divides by the gradient's size: tiny differences of sums grow
        torch.testing.assert_close(
            first[name], value, rtol=1e-2, atol=2e-4, msg=lambda m, name=name: f"{name}: {m}"
        )
        if name in ends:
            torch.testing.assert_close(ends[name].detach(), value, rtol=1e-2, atol=2e-4)


def test_a_killed_process_ends_all_with_one_line(tmp_path):
    """What is left is the last checkpoint, and one line that says how to go on."""
    out = tmp_path / "out"
    alive, dead = two_processes(__file__, "kill", str(out), codes=(2, -signal.SIGKILL))
    said = [line for line in alive.splitlines() if line.startswith("adb: ")]
    assert len(said) == 1 and "another of the 2 processes has ended" in said[0]
    assert "Traceback" not in alive and "goes on from the last checkpoint" in said[0]
    assert read_header(out / CHECKPOINT)["progress"] == {"stage": 0, "step": 2}


def killed(out: str) -> None:
    """``adb train``, whose second process is killed in its third step."""
    from adb_core import training
    from adb_core.app.cli import main

    real, calls = training.apply_gradients, []

    def apply(*arguments):
        calls.append(1)
        if len(calls) == 3 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)

    training.apply_gradients = apply
    words = ["train", "--concept", "pico", "--out", out, "--recipe", "textual_inversion"]
    main([*words, "--views", "1", "--save-every", "1", "--quiet", "--device", "cpu"])


if __name__ == "__main__":
    from accelerate import Accelerator

    if sys.argv[1] == "kill":
        killed(sys.argv[2])
        sys.exit()
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    weights, losses = trained(accelerator)
    save_file(
        {**weights, "losses": torch.tensor(losses)},
        Path(sys.argv[1]) / f"{accelerator.process_index}.safetensors",
    )
    for number, _ in enumerate(shared_run(Path(sys.argv[1]) / "run", accelerator), 1):
        if number == 3:
            break
