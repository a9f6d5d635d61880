"""Make the tiny model from nothing: ``python -m adb_core.tinymodel.pretrain --minutes 240``.

Stages: cache (renders) -> vae -> clip -> judge -> latents -> unet -> decoder (the VAE's, encoder
frozen) -> write -> evaluate. Each
resumes after a kill when the same command runs again; finished ones are only loaded.
Everything on the way lies in the run folder; ``data/`` is touched at the end, folder by folder.
"""

from __future__ import annotations

import argparse
import copy
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..system.devices import pick_device
from ..system.files import DiskFull, atomic_save_pretrained, atomic_write_json, recover_folder

TRAINED = ("vae", "clip", "judge", "unet", "decoder")
STAGES = ("cache", "vae", "clip", "judge", "latents", "unet", "decoder", "write", "evaluate")
# stage: (share of the minutes, minutes that are enough). The U-Net gets all that is left.
SHARES = {
    "cache": (0.04, 6.0),
    "vae": (0.18, 60.0),
    "clip": (0.08, 25.0),
    "judge": (0.07, 20.0),
    "latents": (0.03, 5.0),
    "decoder": (0.10, 60.0),
}
MOST_IMAGES, FEWEST_IMAGES, IMAGES_PER_MINUTE = 96_000, 2_000, 600
# stage: the trained ones whose result it needs
NEEDS = {
    "judge": ("vae",),
    "latents": ("vae",),
    "unet": ("vae", "clip"),
    "decoder": ("vae",),
    "write": TRAINED,
}
SIZE_LIMIT_MB = 40.0  # of everything written under data/, for it is committed


def split_minutes(minutes: float) -> dict[str, float]:
    """Minutes of each stage."""
    split = {stage: min(share * minutes, enough) for stage, (share, enough) in SHARES.items()}
    return {**split, "unet": minutes - sum(split.values())}


def image_count(minutes: float | None) -> int:
    """How many scenes to render: as many as 4 % of the minutes allow on two cores."""
    if minutes is None:
        return FEWEST_IMAGES
    thousands = round(minutes * IMAGES_PER_MINUTE / 2000) * 2000
    return min(MOST_IMAGES, max(FEWEST_IMAGES, thousands))


# ---------------------------------------------------------------- the stages


@dataclass
class Pretraining:
    """All stages of one run; a stage's result is made (or loaded) when first asked for."""

    run: Path
    data: Path
    seed: int
    device: str
    minutes: float | None
    steps: dict[str, int]
    images: int
    stages: tuple[str, ...]
    start: Path | None = None  # a folder like data/, whose weights are trained further
    command: str = ""

    def budget(self, stage: str) -> dict:
        """``minutes`` or ``steps`` of a trained stage, as the keyword arguments of ``fit``."""
        from .fit import FitError, is_finished

        if stage not in self.stages and is_finished(self.run, stage):  # only wanted as it is
            try:
                done = json.loads((self.run / stage / "done.json").read_text())
            except ValueError as error:
                raise FitError(
                    f"{self.run / stage / 'done.json'} is damaged; delete that folder and run again"
                ) from error
            return {kind: amount for kind, amount in done["budget"].items() if amount is not None}
        if stage in self.steps:
            return {"steps": self.steps[stage]}
        return {"minutes": split_minutes(self.minutes)[stage]}

    @property
    def common(self) -> dict:
        return {"run_dir": self.run, "seed": self.seed, "device": self.device}

    def started(self, folder: str) -> dict:
        """``start``, as the keyword argument of the training functions."""
        return {"start": self.start and self.start / folder}

    @cached_property
    def cache(self):
        from .cache import build_cache

        return build_cache(self.run / "cache", count=self.images, seed=self.seed)

    @cached_property
    def vae(self):
        from .vae import train_vae

        return train_vae(
            self.cache.images, **self.common, **self.budget("vae"), **self.started("tiny-sd/vae")
        )

    @cached_property
    def clip(self):
        """(model, tokenizer, image processor)"""
        from .clip import train_clip

        return train_clip(
            self.cache, **self.common, **self.budget("clip"), **self.started("tiny-clip")
        )

    @cached_property
    def judge(self):
        from .judge_training import train_judge

        families = max(64, self.images // 48)  # 2,000 for the full cache
        return train_judge(
            cache=self.cache,
            families=families,
            vae=self.vae,
            **self.common,
            **self.budget("judge"),
            **self.started("judge"),
        )

    @cached_property
    def text_encoder(self):
        from .clip import text_encoder_from_clip

        return text_encoder_from_clip(self.clip[0])

    @property
    def keeps_unet(self) -> bool:
        return self.start is not None and self.steps.get("unet") == 0

    @cached_property
    def latents(self):
        from .vae import encode_all

        return encode_all(self.vae, self.cache.images, self.run / "latents")

    @cached_property
    def unet(self):
        from .unet import patch_states, train_unet

        if self.keeps_unet:  # no latents are needed then, and they take minutes
            from diffusers import UNet2DConditionModel

            return UNet2DConditionModel.from_pretrained(
                self.start / "tiny-sd/unet", use_safetensors=True
            )
        return train_unet(
            self.latents,
            self.cache.captions,
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.clip[1],
            states=lambda: patch_states(self.clip[0], self.cache.images),
            **self.common,
            **self.budget("unet"),
            **self.started("tiny-sd/unet"),
        )

    @cached_property
    def decoder(self):
        """The VAE again, its decoder trained further; the U-Net comes first, for its previews use the earlier one."""
        from .vae import train_decoder

        if not self.keeps_unet:
            self.latents  # encoded with the very same encoder, and fingerprinted before the decoder changes
        return train_decoder(self.vae, self.cache.images, **self.common, **self.budget("decoder"))

    @cached_property
    def write(self) -> float:
        """Swap the three model folders in; returns their size in MB."""
        from .card import training_record

        return write_models(
            self.data,
            self.run,
            pipeline_parts=(self.decoder, self.text_encoder, self.clip[1], self.unet),
            clip=self.clip,
            judge=self.judge,
            record=training_record(self.run, self.start),
        )

    @cached_property
    def evaluate(self) -> dict:
        from .card import write_model_card
        from .evaluate import evaluate, table

        results = evaluate(self.data, device=self.device, seed=self.seed, out=self.run)
        atomic_write_json(self.run / "evaluation.json", results)
        write_model_card(self.data, results)
        print(table(results))
        return results

    def check(self) -> None:
        """Find a missing stage now, not when it is needed, which may be an hour later.

        Raises:
            FitError: naming it.
        """
        from .fit import FitError, is_finished

        for stage in self.stages:
            for need in NEEDS.get(stage, ()):
                kept = self.start is not None and self.steps.get(need) == 0
                if need not in self.stages and not kept and not is_finished(self.run, need):
                    raise FitError(
                        f"stage {need}, which {stage} needs, is not finished in {self.run}: add it to --stages"
                    )

    def go(self) -> None:
        from .fit import log_line

        self.check()
        log_line(self.run, f"run: {self.command}")
        for stage in STAGES:
            if stage in self.stages:
                print(f"== {stage}", file=sys.stderr, flush=True)
                getattr(self, stage)


# ---------------------------------------------------------------- writing data/


def write_models(
    data: Path, run: Path, *, pipeline_parts: tuple, clip: tuple, judge, record: Sequence[dict] = ()
) -> float:
    """Write tiny-sd, tiny-clip and judge in half precision; each folder is swapped in whole.

    They grow in the run folder, so that a kill leaves nothing half-written in ``data``.

    Args:
        pipeline_parts: vae, text encoder, tokenizer, U-Net.
        clip: model, tokenizer, image processor.
        record: what was trained, of :func:`.card.training_record`; written beside the pipeline.

    Returns:
        Size of the three in MB.
    """
    from .card import RECORD
    from .fit import log_line

    staging = run / "staging"

    def save_pipeline(folder: Path) -> None:
        _save_pipeline(folder, *pipeline_parts)
        if record:
            atomic_write_json(folder / RECORD, list(record))

    def save_clip(folder: Path) -> None:
        model, tokenizer, processor = clip
        _half(model).save_pretrained(folder)
        _load_in_float32(folder)
        tokenizer.save_pretrained(folder)
        processor.save_pretrained(folder)

    saves: dict[str, Callable[[Path], object]] = {
        "tiny-sd": save_pipeline,
        "tiny-clip": save_clip,
        "judge": judge.save,
    }
    for name, save in saves.items():
        atomic_save_pretrained(save, data / name, staging=staging)
    size = (
        sum(p.stat().st_size for name in saves for p in (data / name).rglob("*") if p.is_file())
        / 1e6
    )
    note = (
        ""
        if size <= SIZE_LIMIT_MB
        else f": more than the {SIZE_LIMIT_MB:g} MB that may be committed"
    )
    log_line(run, f"write: {', '.join(saves)} in {data}, {size:.1f} MB{note}")
    return size


def _half(module):
    """A half-precision copy on the CPU; contiguous, since safetensors keeps no memory formats."""
    import torch

    return copy.deepcopy(module).cpu().to(memory_format=torch.contiguous_format).half().eval()


def _save_pipeline(folder: Path, vae, text_encoder, tokenizer, unet) -> None:
    from .unet import build_pipeline

    pipeline = build_pipeline(_half(vae), _half(text_encoder), tokenizer, _half(unet))
    pipeline.save_pretrained(folder, safe_serialization=True)
    _load_in_float32(folder / "text_encoder")


def _load_in_float32(folder: Path) -> None:
    """Half precision is for the disk only: transformers loads in what its config says, diffusers in float32.

    Without this a plain ``from_pretrained`` mixes the two and the pipeline fails.
    """
    path = folder / "config.json"
    atomic_write_json(path, {**json.loads(path.read_text()), "dtype": "float32"})


# ---------------------------------------------------------------- the command


class _Parser(argparse.ArgumentParser):
    """One line instead of the whole usage."""

    def error(self, message: str):
        self.exit(2, f"pretrain: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m adb_core.tinymodel.pretrain", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--minutes", type=float, help="budget of the whole run, in minutes")
    parser.add_argument(
        "--steps", default="", help="vae=100,clip=50,...: steps instead of a share of the minutes"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--images", type=int, help="scenes to render (by default 600 per minute, 60,000 at most)"
    )
    parser.add_argument(
        "--run", default="out/pretrain", help="folder of this run's cache, checkpoints and log"
    )
    parser.add_argument(
        "--data", default="data", help="folder that gets tiny-sd, tiny-clip and judge"
    )
    parser.add_argument(
        "--from",
        dest="start",
        metavar="FOLDER",
        default="",
        help="train the weights of this folder (data, say) further; 0 steps keep a stage's as they are",
    )
    parser.add_argument(
        "--stages", default=",".join(STAGES), help=f"which of {', '.join(STAGES)} (default: all)"
    )
    return parser


def parse_steps(text: str) -> dict[str, int]:
    """``"vae=100,unet=2000"`` to a dict.

    Raises:
        ValueError: not of that form, or an unknown stage.
    """
    steps = {}
    for item in filter(None, text.split(",")):
        stage, _, number = item.partition("=")
        if stage not in TRAINED:
            raise ValueError(f"--steps: unknown stage {stage!r}: choose from {', '.join(TRAINED)}")
        if not number.isdecimal():
            raise ValueError(f"--steps: {item!r} is not of the form {stage}=1000")
        steps[stage] = int(number)
    return steps


def parse_stages(text: str) -> tuple[str, ...]:
    stages = tuple(filter(None, text.split(",")))
    for stage in stages:
        if stage not in STAGES:
            raise ValueError(f"--stages: unknown stage {stage!r}: choose from {', '.join(STAGES)}")
    if not stages:
        raise ValueError(f"--stages is empty: choose from {', '.join(STAGES)}")
    return stages


def configure(argv: list[str]) -> Pretraining:
    """Arguments to a run; prints one line and exits with 2 if they make no sense."""
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        steps, stages = parse_steps(args.steps), parse_stages(args.stages)
        lacking = [stage for stage in TRAINED if stage in stages and stage not in steps]
        if args.minutes is None and lacking:
            raise ValueError(f"give --minutes N, or --steps for {', '.join(lacking)} too")
        if args.minutes is not None and not 0 < args.minutes < 1e5:
            raise ValueError(f"--minutes must be a positive number, got {args.minutes:g}")
        nothing = [stage for stage, count in steps.items() if count == 0]
        if nothing and not args.start:
            raise ValueError(
                f"--steps: {nothing[0]} must be positive, unless --from names weights to keep"
            )
        if args.start:
            for name in ("tiny-sd", "tiny-clip", "judge"):
                if not (Path(args.start) / name).is_dir():
                    raise ValueError(f"--from: {Path(args.start) / name} is not there")
        if args.images is not None and args.images < 64:
            raise ValueError(f"--images must be at least 64, got {args.images}")
        if args.seed < 0:
            raise ValueError(f"--seed must not be negative, got {args.seed}")
        for name in ("run", "data"):
            if Path(getattr(args, name)).is_file():
                raise ValueError(f"--{name}: {getattr(args, name)} is a file, not a folder")
        device = str(pick_device(args.device))
    except ValueError as error:
        parser.error(str(error))
    return Pretraining(
        Path(args.run),
        Path(args.data),
        args.seed,
        device,
        args.minutes,
        steps,
        args.images or image_count(args.minutes),
        stages,
        Path(args.start) if args.start else None,
        command=shlex.join(["python", "-m", "adb_core.tinymodel.pretrain", *argv]),
    )


def main(argv: list[str] | None = None) -> int:
    """Returns 0, or 1 after one line that says what went wrong; 2 for arguments that make no sense."""
    pretraining = configure(sys.argv[1:] if argv is None else argv)
    from .fit import FitError

    try:
        for name in ("tiny-sd", "tiny-clip", "judge"):  # a swap that a kill cut in two
            recover_folder(pretraining.data / name, pretraining.run / "staging")
        pretraining.go()
    except (FitError, DiskFull) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"stopped; the same command resumes from {pretraining.run}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
