"""Arguments to objects: every finder and check ends a mistake before any weights load."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..system.commands import InputError

if TYPE_CHECKING:
    from ..concept import Concept
    from ..images import Augmentation
    from ..recipes import Recipe

PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl")


def find_concept(name: str, category: str | None, placeholder: str | None) -> Concept:
    """A bundled concept by its name, else a folder.

    Raises:
        ConceptError: neither, or a folder that cannot be used.
    """
    from ..concept import Concept, bundled_concepts

    with warnings.catch_warnings():
        # Pillow's warning; ours is an error that says more.
        warnings.filterwarnings("ignore", message="Image size")
        known = bundled_concepts()
        is_bundled = name in known["tuning"] + known["held_out"]
        if not is_bundled and ("/" in name or "\\" in name or Path(name).is_dir()):
            concept = Concept.from_folder(name, placeholder=placeholder, category=category)
        else:
            concept = Concept.bundled(name)
            concept = replace(
                concept,
                placeholder=concept.placeholder if placeholder is None else placeholder,
                category=concept.category if category is None else category,
            )
    for file, why in concept.skipped:
        typer.echo(f"skipped {file}: {why}", err=True)
    return concept


def find_recipe(
    name: str, preset: str, steps: float = 1.0, lr: float = 1.0, weight: float = 1.0
) -> Recipe:
    """A named recipe with its steps, learning rates and regularizer weights multiplied.

    Raises:
        InputError: unknown names, or numbers that no stage can have.
        TrainingError: adapters without the package for them.
    """
    from ..recipes import recipe, scaled

    scales = {"--steps-scale": steps, "--lr-scale": lr, "--weight-scale": weight}
    for option, value in scales.items():
        if not abs(value) < 1e6 or (option == "--steps-scale" and value <= 0):
            raise InputError(
                f"{option} {value} is not a number that makes sense: "
                "use a positive one, as 0.5 or 2"
            )

    try:
        plan = recipe(name, preset)
        if plan.lora is not None:
            from ..lora import check_peft

            check_peft(f"the recipe {name}")
        if steps == lr == weight == 1:
            return plan
        return scaled(plan, steps=steps, lr=lr, weight=weight)
    except ValueError as error:
        raise InputError(str(error)) from error


def with_batch(plan: Recipe, batch: int | None) -> Recipe:
    """A recipe with another batch size in every stage.

    Raises:
        InputError: one that no stage can have.
    """
    if batch is None:
        return plan
    check_counts(batch=batch)
    return replace(plan, stages=tuple(replace(s, batch_size=batch) for s in plan.stages))


def with_rank(plan: Recipe, rank: int | None) -> Recipe:
    """A recipe with adapters of another rank; alpha keeps its share of it.

    Raises:
        InputError: one that no adapter can have, or a recipe without adapters.
    """
    if rank is None:
        return plan
    if plan.lora is None:
        raise InputError(
            f"--rank {rank} is of LoRA, which the recipe {plan.name} does not train: "
            "choose --recipe attndreambooth_lora or lora_dreambooth"
        )
    share = plan.lora.alpha / plan.lora.rank
    try:
        return replace(plan, lora=replace(plan.lora, rank=rank, alpha=share * max(rank, 1)))
    except ValueError as error:
        raise InputError(f"--rank: {error}") from error


def augmentation(crop: str, flip: bool) -> Augmentation:
    """How views differ from the photos; a photo that was cut once is seen whole in every view."""
    from ..images import Augmentation

    return Augmentation(flip=flip) if crop == "random" else Augmentation(crop=1.0, flip=flip)


def check_resolution(side: int | None) -> None:
    """Find a resolution that no model can be trained at; its own unit is known when it is loaded.

    Raises:
        InputError: it is one.
    """
    if side is not None and (side < 16 or side % 8):
        near = max(16, round(side / 8) * 8)
        raise InputError(f"--resolution {side} must be at least 16 and divide by 8: use {near}")


def check_tier(name: str, device: str) -> None:
    """Find a tier that is misspelt, or another device's, before anything loads.

    Raises:
        InputError: it is.
    """
    from ..engine import TrainingError
    from ..system.devices import pick_device
    from ..tiers import of

    try:
        of(name, pick_device(device))
    except TrainingError as error:
        raise InputError(f"--tier: {error}") from error


def check_dtype(name: str | None, option: str, plan: Recipe | None = None) -> None:
    """Find a number format that weights cannot have, or not while they are trained.

    Raises:
        InputError: it is one; half precision in a recipe that trains the weights themselves.
    """
    from ..system.weights import DTYPES

    if name is None:
        return
    if name not in DTYPES:
        raise InputError(f"{option} {name!r}: choose one of {', '.join(DTYPES)}")
    if name != "float32" and plan is not None and plan.lora is None:
        raise InputError(
            f"{option} {name} is too coarse for the small steps of the recipe {plan.name}: leave "
            "it out, or choose --recipe attndreambooth_lora or lora_dreambooth"
        )


def check_seed(*seeds: int) -> None:
    """Seeds are 0 or more, and fit in 32 bits, which every generator takes."""
    for seed in seeds:
        if not 0 <= seed < 2**32:
            raise InputError(f"--seed {seed} must be between 0 and {2**32 - 1}")


def check_counts(**counts: int) -> None:
    """Options that count something are at least 1."""
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"--{name.replace('_', '-')} must be at least 1, got {count}")


def check_device(device: str) -> None:
    """Find an unknown or missing device before anything loads."""
    from ..system.devices import pick_device

    try:
        pick_device(device)
    except ValueError as error:
        raise InputError(str(error)) from error


def check_precision(name: str, device: str) -> None:
    """Find a precision that is misspelt, or that the device has not, before anything loads."""
    from ..system.devices import MIXED_PRECISIONS, pick_device

    if name not in MIXED_PRECISIONS:
        raise InputError(f"--mixed-precision {name!r}: choose one of {', '.join(MIXED_PRECISIONS)}")
    if name == "fp16" and pick_device(device).type == "cpu":
        raise InputError("--mixed-precision fp16 needs a GPU: use auto, bf16 or no")


def check_folder(out: Path, resume: bool = True) -> None:
    """Look for what speaks against writing into the output folder; nothing is left behind.

    Raises:
        InputError: it is a file, or holds a result whose run cannot be gone on with.
        CheckpointError: it holds a damaged or a pickle checkpoint.
        OutputError: its ``model`` is something else than a saved model.
        OSError: it cannot be made or written.
    """
    from ..checkpoint import CHECKPOINT, read_header
    from ..result import check_target
    from ..system.files import check_writable

    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, not a folder: choose another with --out")
    for path in sorted(out.glob("checkpoint.*")) if out.exists() else ():
        if path.suffix in PICKLES or path.suffix == ".safetensors":
            read_header(path)
    check_target(out / "model")
    finished = (out / "model").exists() and any((out / "model").iterdir())
    if resume and finished and not (out / CHECKPOINT).exists():
        raise InputError(
            f"{out / 'model'} is the result of another run: "
            "choose another folder with --out, or replace it with --no-resume"
        )
    # One of several processes is enough, and they would remove each other's probe.
    if os.environ.get("RANK", "0") == "0":
        check_writable(out)


def check_file(out: Path) -> None:
    """The same for a picture's file: its folder must be there or be makeable, and writable.

    Raises:
        InputError: it is a folder, or not named .png.
    """
    from ..system.files import check_writable

    if out.is_dir() or out.suffix.lower() != ".png":
        raise InputError(f"--out {out} must be a file that ends in .png")
    parent = out.resolve().parent
    if parent.exists() and not parent.is_dir():
        raise InputError(f"{parent} is a file, not a folder: choose another with --out")
    check_writable(parent)


def refuse_pickle(name: str) -> None:
    """Models and checkpoints as pickles are never opened: they can run code."""
    if Path(name).suffix.lower() in PICKLES:
        raise InputError(
            f"{name} is a pickle file, which can run code when it is opened: "
            "give a folder with .safetensors weights"
        )


def find_model(name: str, prompts: list[str], device: str, dtype: str | None = None, quiet=False):
    """A saved result (or the output folder that holds one), else a base model.

    Its prompts are checked before the weights load.

    Args:
        dtype: of the weights; None is float32, and for adapters what they were trained over.
        quiet: downloads without bars.

    Raises:
        PromptError: a saved result needs ``{}``, a base model must not have it.
        BaseModelError: there is no such model, or it is damaged.
    """
    from .. import base
    from ..checkpoint import CHECKPOINT
    from ..explaining import no_bars
    from ..generation import PromptError, fill
    from ..result import MARKER, load_result, read_marker
    from ..system.weights import torch_dtype

    refuse_pickle(name)
    check_device(device)
    check_dtype(dtype, "--dtype")
    no_bars(quiet)
    how = {"device": device, **torch_dtype(dtype)}
    folders = (Path(name), Path(name) / "model")
    saved = next((folder for folder in folders if (folder / MARKER).is_file()), None)
    if saved is not None:
        subject = read_marker(saved)["subject"]
        for prompt in prompts:
            fill(prompt, subject)
        return load_result(saved, **how)
    if (Path(name) / CHECKPOINT).is_file():
        raise InputError(
            f"{name} holds a training run that is not finished: "
            "run its adb train command again, which resumes"
        )
    for prompt in prompts:
        if "{}" in prompt:
            raise PromptError(
                f"prompt {prompt!r} has {{}}, but {name!r} is a base model, which knows no "
                "concept: name the thing, or give --model a personalized folder"
            )
    return base.load_base(name, **how)
