"""Train the bundled motion module: ``python -m adb_core.pretraining.make_motion``.

The same command resumes after a stop. Pictures of the clips and the state of the training lie in
``--run``; ``--minutes`` is how long this call may train before it stops with a checkpoint.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import load_file, save_file
from typer import Option

from ..base import load_base
from ..beyond.motion import Motion
from ..beyond.motion_files import save_motion
from ..system.commands import run_command
from ..system.files import atomic_file, atomic_write_json, atomic_write_text
from ..toyworld.clips import KINDS
from .motion import Clips, MotionSettings, build_optimizer, draw_clips, train_motion

STATE, RECORD = "state.safetensors", "training.json"
EVERY = 25  # steps between checkpoints
COMMAND = "python -m adb_core.pretraining.make_motion"
CARD = """# A motion module of tiny-sd

Temporal attention for clips of eight frames: a subject that walks, jumps or turns. It belongs to
the bundled base model (fingerprint `{base}`) and to every U-Net personalized from it, whose weights
it leaves as they are:

```python
import adb_core as adb

base = adb.load_base("tiny")
motion = adb.beyond.load_motion(base)
clip = adb.beyond.move(base, "a photo of a red cat on the beach", motion, "walk")
adb.beyond.save_frames("walk.gif", clip.frames)
```

The tokenizer has no word for a motion: which one it is, is a row of frame positions, not a prompt.

| | |
|---|---|
| parameters | {parameters:,}, stored in half precision |
| learned from | clips that `adb_core.toyworld.clips` draws; no bundled concept is among them |
| command | `{command}` |
| time | {drawing} s of drawing and {training} s of training, of one core |
| loss | {first:.3f} over the first 50 steps, {last:.3f} over the last |

Licence: Apache-2.0. Limits: it knows three motions in eight frames, of one subject alone; how well
they are followed is measured by `python benchmarks/motion.py`.
"""


def kept_clips(base, settings: MotionSettings, folder: Path) -> tuple[Clips, float]:
    """The clips, drawn once, and the seconds that it took."""
    path = folder / f"clips-{settings.clips}-{settings.seed}.safetensors"
    names = ("latents", "subject", "ids", "empty")
    if not path.exists():
        began = time.process_time()
        clips = draw_clips(base, settings.clips, settings.seed)
        took = torch.tensor(time.process_time() - began)
        with atomic_file(path) as temporary:
            save_file(
                {**{n: getattr(clips, n).contiguous() for n in names}, "seconds": took}, temporary
            )
    stored = load_file(path)
    kinds = [KINDS[k % len(KINDS)] for k in range(settings.clips)]
    return Clips(*(stored[n] for n in names), kinds), float(stored["seconds"])


def save_state(path: Path, motion: Motion, optimizer: torch.optim.AdamW, done: dict) -> None:
    """Weights, moments and what was done so far, all or nothing."""
    tensors = {f"motion.{k}": v for k, v in motion.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{name}": value for name, value in state.items()}
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, metadata={"done": json.dumps(done)})


def load_state(path: Path, motion: Motion, optimizer: torch.optim.AdamW) -> dict:
    """The inverse; without a file, what a run begins with."""
    if not path.exists():
        return {"step": 0, "seconds": 0.0, "losses": []}
    from safetensors import safe_open

    tensors = load_file(path)
    start = "motion."
    motion.load_state_dict({k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)})
    state: dict[int, dict] = {}
    for key, value in tensors.items():
        if key.startswith("adam."):
            _, number, name = key.split(".")
            state.setdefault(int(number), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    with safe_open(str(path), "pt") as file:
        return json.loads(file.metadata()["done"])


def main(
    data: Annotated[Path, Option(file_okay=False, help="The data folder.")] = Path("data"),
    run: Annotated[Path, Option(file_okay=False, help="Of checkpoints.")] = Path("out/motion"),
    steps: Annotated[int, Option(min=1, help="Of training.")] = MotionSettings.steps,
    batch: Annotated[int, Option(min=1, help="Clips a step.")] = MotionSettings.batch,
    clips: Annotated[int, Option(min=1, help="Clips that are drawn.")] = MotionSettings.clips,
    seed: Annotated[int, Option(min=0, help="Of all randomness.")] = 0,
    minutes: Annotated[float, Option(min=0.1, help="Of this call, at most.")] = 60.0,
) -> None:
    """Train the motion module on clips that the toy world renders."""
    stop = time.monotonic() + 60 * minutes
    settings = MotionSettings(steps=steps, batch=batch, clips=clips, seed=seed)
    base = load_base("tiny")
    run.mkdir(parents=True, exist_ok=True)
    lessons, drawing = kept_clips(base, settings, run)
    motion = Motion.fresh(base, KINDS, seed)
    optimizer = build_optimizer(motion, settings)
    done = load_state(run / STATE, motion, optimizer)
    began, before = time.process_time(), done["seconds"]
    for record in train_motion(base, motion, lessons, settings, optimizer, done["step"]):
        done["step"], done["losses"] = record.step + 1, [*done["losses"], round(record.loss, 4)]
        done["seconds"] = before + time.process_time() - began
        late = time.monotonic() > stop
        if late or done["step"] % EVERY == 0 or done["step"] == steps:
            save_state(run / STATE, motion, optimizer, done)
            typer.echo(f"step {done['step']} of {steps}: loss {mean(done['losses']):.4f}")
        if late and done["step"] < steps:
            typer.echo(f"stopped; the same command goes on from {run}")
            return
    path = save_motion(motion, data / "motion")
    record = {
        "command": f"{COMMAND} --steps {steps} --batch {batch} --clips {clips} --seed {seed}",
        "base": motion.fingerprint,
        "parameters": sum(p.numel() for p in motion.parameters()),
        "seconds of one core": {"drawing": round(drawing), "training": round(done["seconds"])},
        "loss": {"first 50 steps": mean(done["losses"][:50]), "last 50": mean(done["losses"])},
    }
    atomic_write_json(data / "motion" / RECORD, record)
    atomic_write_text(data / "motion" / "README.md", CARD.format(**facts(record)))
    typer.echo(f"wrote {path} ({path.stat().st_size / 1e6:.2f} MB)")


def facts(record: dict) -> dict:
    """What the card says of a record."""
    seconds, loss = record["seconds of one core"], record["loss"]
    return {**record, **seconds, "first": loss["first 50 steps"], "last": loss["last 50"]}


def mean(losses: list[float], last: int = 50) -> float:
    """Of the last losses."""
    return round(sum(losses[-last:]) / len(losses[-last:]), 4)


if __name__ == "__main__":
    run_command(main, "make_motion")
