"""The command line: parses, calls the core, prints. Heavy libraries load inside the commands."""

from __future__ import annotations

import functools
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from ..concept import Concept
    from ..recipes import Recipe

BAD_INPUT, INTERRUPTED = 2, 130  # exit codes; 130 is the shell's own for Ctrl-C
PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl")


class InputError(ValueError):
    """An argument that cannot be used; one line that names it and says what to do."""


app = typer.Typer(
    name="adb",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="""Teach a text-to-image model one new thing from a few pictures: AttnDreamBooth and its baselines.

    Nothing is downloaded unless you name a model of the hub: a tiny model, concepts and prompts
    come with the project. A first round:

    \b
      adb demo                                       the whole method, and a report of it
      adb train --concept pico --out out/pico        personalize the tiny model
      adb generate "a photo of a {} on the beach" --model out/pico
      adb attention "a photo of a {} on the beach" --model out/pico

    Mistakes in what you type end with one line that names the cure and exit code 2; Ctrl-C ends
    with exit code 130.
    """,
)


# ---------------------------------------------------------------- errors


def is_expected(error: BaseException) -> bool:
    """Whether an error is about the input or the machine, not a bug: the project's own kinds, and the system's."""
    return isinstance(error, OSError) or type(error).__module__.startswith("adb_core")


def one_line(error: BaseException) -> str:
    """An error's message on one line; the system's own errors get the file and the cure."""
    if (
        isinstance(error, OSError)
        and error.errno is not None
        and type(error).__module__ == "builtins"
    ):
        where = error.filename or "a file"
        cure = (
            "choose another folder, or change its permissions"
            if isinstance(error, PermissionError)
            else "check the path and the disk"
        )
        return f"{where}: {error.strerror}: {cure}"
    return " ".join(str(error).split())


def polite(command: Callable) -> Callable:
    """Turn the project's errors into one line on stderr and exit code 2; bugs keep their traceback."""

    @functools.wraps(command)
    def run(*args, **kwargs):
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            typer.echo("adb: stopped", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            if not is_expected(error):
                raise
            typer.echo(f"adb: {one_line(error)}", err=True)
            raise typer.Exit(BAD_INPUT) from error

    return run


# ---------------------------------------------------------------- arguments


def find_concept(name: str, category: str | None, placeholder: str | None) -> Concept:
    """A bundled concept by its name, else a folder.

    Raises:
        ConceptError: neither, or a folder that cannot be used.
    """
    import warnings

    from ..concept import Concept, bundled_concepts

    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Image size"
        )  # Pillow's; ours is an error that says more
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
    """
    from ..recipes import recipe

    for option, value in (("--steps-scale", steps), ("--lr-scale", lr), ("--weight-scale", weight)):
        if not abs(value) < 1e6:
            raise InputError(
                f"{option} {value} is not a number that makes sense: use a positive one, as 0.5 or 2"
            )

    def scaled(stage):
        count = stage.steps * steps
        return replace(
            stage,
            steps=max(1, round(count)) if count > 0 else min(round(count), 0),
            lr=stage.lr * lr,
            embedding_lr=None if stage.embedding_lr is None else stage.embedding_lr * lr,
            lambda_mu=stage.lambda_mu * weight,
            lambda_sigma=stage.lambda_sigma * weight,
        )

    try:
        plan = recipe(name, preset)
        return (
            plan
            if steps == lr == weight == 1
            else replace(plan, stages=tuple(map(scaled, plan.stages)))
        )
    except ValueError as error:
        raise InputError(str(error)) from error


def check_seed(*seeds: int) -> None:
    """Seeds are 0 or more, and fit in 32 bits, which every generator takes."""
    for seed in seeds:
        if not 0 <= seed < 2**32:
            raise InputError(f"--seed {seed} must be between 0 and {2**32 - 1}")


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
    if (
        resume
        and (out / "model").exists()
        and any((out / "model").iterdir())
        and not (out / CHECKPOINT).exists()
    ):
        raise InputError(
            f"{out / 'model'} is the result of another run: choose another folder with --out, or replace it with --no-resume"
        )
    if (
        os.environ.get("RANK", "0") == "0"
    ):  # one of several processes is enough, and they would remove each other's probe
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
            f"{name} is a pickle file, which can run code when it is opened: give a folder with .safetensors weights"
        )


def find_model(name: str, prompts: list[str], device: str):
    """A saved result (or the output folder that holds one), else a base model.

    Its prompts are checked before the weights load.

    Raises:
        PromptError: a saved result needs ``{}``, a base model must not have it.
        BaseModelError: there is no such model, or it is damaged.
    """
    from .. import base
    from ..generation import PromptError, fill
    from ..checkpoint import CHECKPOINT
    from ..result import MARKER, load_result, read_marker

    refuse_pickle(name)
    check_device(device)
    found = next((f for f in (Path(name), Path(name) / "model") if (f / MARKER).is_file()), None)
    if found is not None:
        subject = read_marker(found)["subject"]
        for prompt in prompts:
            fill(prompt, subject)
        return load_result(found, device=device)
    if (Path(name) / CHECKPOINT).is_file():
        raise InputError(
            f"{name} holds a training run that is not finished: run its adb train command again, which resumes"
        )
    for prompt in prompts:
        if "{}" in prompt:
            raise PromptError(
                f"prompt {prompt!r} has {{}}, but {name!r} is a base model, which knows no concept: name the thing, or give --model a personalized folder"
            )
    return base.load_base(name, device=device)


# ---------------------------------------------------------------- options that several commands share

ConceptName = Annotated[
    str,
    typer.Option(
        "--concept",
        help="A bundled concept (see adb concepts), or a folder with three to six pictures; write ./pico for a folder that has a bundled name.",
    ),
]
RecipeName = Annotated[
    str,
    typer.Option(
        "--recipe",
        help="attndreambooth, attndreambooth_fast, textual_inversion, dreambooth, dreambooth_prior, ti_dreambooth, without_stage_1, without_stage_2, without_stage_3, without_regularizer.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device", help="auto (CUDA, else Apple MPS, else the CPU), cpu, cuda, cuda:N or mps."
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        "--mixed-precision",
        help="auto (bf16 where the hardware has it, else no), no (float32), bf16, or fp16 (needs a GPU).",
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        help="Of every random choice; the same seed gives the same result on the same machine.",
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="What adb train wrote (its output folder, or the model folder in it), or a base model: tiny, sd21, a hub id, a diffusers folder.",
    ),
]
Steps = Annotated[int, typer.Option("--steps", help="Sampling steps a picture.")]
Guidance = Annotated[
    float, typer.Option("--guidance", help="Classifier-free guidance scale; 1 switches it off.")
]


# ---------------------------------------------------------------- commands


@app.command()
@polite
def demo(
    concept: ConceptName = "pico",
    recipe: RecipeName = "attndreambooth",
    device: Device = "auto",
    seed: Seed = 0,
    mixed_precision: Precision = "auto",
    out: Annotated[
        Path, typer.Option("--out", help="Folder for everything that it writes.")
    ] = Path("out/demo"),
) -> None:
    """Run the whole method on the tiny model and write a report.

    Trains all stages, draws six prompts after each with the attention of the new word, follows its
    embedding, measures, and puts it all into OUT/report.html, one page that needs no other file.
    """
    check_seed(seed)
    check_device(device)
    check_precision(mixed_precision, device)
    found, plan = find_concept(concept, None, None), find_recipe(recipe, "tiny")
    from .. import base
    from . import demo as work

    work.check_out(out)
    work.run(
        base.load_base("tiny", device=device),
        found,
        plan,
        out,
        seed=seed,
        mixed_precision=mixed_precision,
        say=typer.echo,
    )


@app.command()
@polite
def train(
    concept: ConceptName,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="Folder for the checkpoint and, at the end, the personalized model in OUT/model.",
        ),
    ],
    category: Annotated[
        Optional[str],
        typer.Option(
            "--category",
            help="What the thing is, as cat or toy; needed for a folder without concept.json.",
        ),
    ] = None,
    placeholder: Annotated[
        Optional[str],
        typer.Option(
            "--placeholder", help="The new word; by default the concept's name in angle brackets."
        ),
    ] = None,
    recipe: RecipeName = "attndreambooth",
    preset: Annotated[
        Optional[str],
        typer.Option(
            "--preset",
            help="tiny (tuned for the bundled model) or paper (the authors' numbers, for Stable Diffusion); by default the one that fits --base.",
        ),
    ] = None,
    base: Annotated[
        str,
        typer.Option(
            "--base",
            help="tiny (bundled), sd21 (the paper's, downloaded), a hub id, or a diffusers folder.",
        ),
    ] = "tiny",
    device: Device = "auto",
    seed: Seed = 0,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--no-resume",
            help="Go on from the checkpoint in OUT, or start afresh and replace it.",
        ),
    ] = True,
    mixed_precision: Precision = "auto",
    steps_scale: Annotated[
        float,
        typer.Option(
            "--steps-scale", help="Multiplies the steps of every stage; each keeps at least one."
        ),
    ] = 1.0,
    lr_scale: Annotated[
        float, typer.Option("--lr-scale", help="Multiplies every learning rate.")
    ] = 1.0,
    weight_scale: Annotated[
        float,
        typer.Option(
            "--weight-scale",
            help="Multiplies lambda_mu and lambda_sigma; 0 switches the regularizer off.",
        ),
    ] = 1.0,
    views: Annotated[
        int,
        typer.Option(
            "--views", help="K: augmented views of each picture, encoded once before training."
        ),
    ] = 16,
    accumulation: Annotated[
        int,
        typer.Option(
            "--accumulation",
            help="Micro-batches a step, for models that fill the memory; the batch size must divide by it.",
        ),
    ] = 1,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Also write every step's numbers to OUT/logs for TensorBoard (pip install tensorboard).",
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
) -> None:
    """Personalize a model: pictures in, a model folder out.

    The run saves itself every 50 steps. After Ctrl-C or a crash the same command goes on where it
    was and ends with the same weights. A folder that holds another run's checkpoint is refused.
    OUT/model is a plain diffusers folder, and comes with a model card.
    Several GPUs: accelerate launch -m adb_core.app.cli train ...
    """
    check_seed(seed)
    plan = find_recipe(
        recipe,
        preset or ("tiny" if base == "tiny" else "paper"),
        steps_scale,
        lr_scale,
        weight_scale,
    )
    for option, value in (("--views", views), ("--accumulation", accumulation)):
        if value < 1:
            raise InputError(f"{option} must be at least 1, got {value}")
    check_device(device)
    check_precision(mixed_precision, device)
    refuse_pickle(base)
    found = find_concept(concept, category, placeholder)
    check_folder(out, resume)
    from .. import base as bases
    from ..checkpoint import CHECKPOINT
    from ..engine import make_accelerator
    from ..personalization import Run
    from ..system.devices import pick_device

    accelerator = make_accelerator(
        pick_device(device),
        mixed_precision,
        trackers="tensorboard" if tensorboard else None,
        folder=str(out / "logs"),
    )
    loaded = bases.load_base(base, device=device)
    say = typer.echo if accelerator.is_main_process else lambda *_, **__: None
    earlier = _stamp(out / CHECKPOINT)
    try:
        run = Run(
            loaded,
            found,
            plan,
            seed=seed,
            out=out,
            resume=resume,
            view_count=views,
            accelerator=accelerator,
            accumulation=accumulation,
            progress=not quiet and accelerator.is_main_process,
            in_place=True,
        )
        for record in run:
            if record.is_last:
                say(_stage_line(run.result, run.at.stage - 1))
        if accelerator.is_main_process:
            run.result.save_pretrained(out / "model")
        accelerator.wait_for_everyone()
    except KeyboardInterrupt:
        stamp = _stamp(out / CHECKPOINT)
        if stamp is not None and (resume or stamp != earlier):
            say(
                f"adb: stopped and saved in {out}; to go on: adb {shlex.join(_without_no_resume(sys.argv[1:]))}",
                err=True,
            )
        else:
            say(
                f"adb: stopped before anything was saved; to start again: adb {shlex.join(sys.argv[1:])}",
                err=True,
            )
        raise typer.Exit(INTERRUPTED) from None
    say(f"personalized model: {out / 'model'}")
    say(f'try: adb generate "a photo of a {{}} on the beach" --model {shlex.quote(str(out))}')


def _without_no_resume(arguments: list[str]) -> list[str]:
    return [a for a in arguments if a != "--no-resume"]


def _stamp(path: Path) -> int | None:
    """When a file was last written, or None."""
    return path.stat().st_mtime_ns if path.exists() else None


def _stage_line(result, number: int) -> str:
    stage = result.learner.recipe.stages[number]
    last = [r.loss for r in result.history if r.stage == stage.name][-max(1, stage.steps // 10) :]
    return f"stage {number + 1} of {len(result.learner.recipe.stages)}, {stage.name}: loss {sum(last) / len(last):.4f} over the last {len(last)} steps"


@app.command()
@polite
def generate(
    prompts: Annotated[
        list[str],
        typer.Argument(
            help="Texts. For a personalized model each has one {} where the thing goes."
        ),
    ],
    model: Model = "tiny",
    seed: Annotated[
        list[int],
        typer.Option(
            "--seed", help="Of the noise; give it several times for several pictures a prompt."
        ),
    ] = [0],  # noqa: B006
    steps: Steps = 25,
    guidance: Guidance = 3.0,
    device: Device = "auto",
    out: Annotated[
        Path,
        typer.Option("--out", help="The picture to write: one row a prompt, one column a seed."),
    ] = Path("out/generated.png"),
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Draw prompts, and write them as one picture without labels.

    \b
      adb generate "a photo of a {}" "a sketch of a {} in the snow" --model out/pico --seed 0 --seed 1
    """
    check_seed(*seed)
    check_file(out)
    loaded = find_model(model, prompts, device)
    from PIL import Image

    from ..generation import generate as make

    made = make(loaded, prompts, seed, steps=steps, guidance=guidance, progress=not quiet)
    n, h, w, c = made.images.shape
    sheet = (
        made.images.reshape(len(prompts), len(seed), h, w, c)
        .swapaxes(1, 2)
        .reshape(len(prompts) * h, len(seed) * w, c)
    )
    _save_image(Image.fromarray(sheet), out)
    typer.echo(f"{n} pictures of {w} x {h}: {out}")


def _save_image(image, out: Path) -> None:
    import io

    from ..system.files import atomic_write_bytes

    stream = io.BytesIO()
    image.save(stream, format="PNG")
    atomic_write_bytes(out, stream.getvalue())


@app.command()
@polite
def attention(
    prompt: Annotated[
        str,
        typer.Argument(help="A text. For a personalized model it has one {} where the thing goes."),
    ],
    model: Model = "tiny",
    word: Annotated[
        Optional[list[str]],
        typer.Option(
            "--word", help="Show only this word; may be given several times. All words by default."
        ),
    ] = None,
    seed: Seed = 0,
    steps: Steps = 25,
    guidance: Guidance = 3.0,
    device: Device = "auto",
    out: Annotated[Path, typer.Option("--out", help="The picture to write.")] = Path(
        "out/attention.png"
    ),
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Draw one prompt, and where each of its words looked while it was drawn.

    The maps are averaged over layers, heads and sampling steps, and laid over the picture; each has
    its own colour scale, and its largest probability stands above it.
    """
    check_seed(seed)
    check_file(out)
    loaded = find_model(model, [prompt], device)
    from .. import plots
    from ..generation import generate as make

    made = make(
        loaded,
        prompt,
        [seed],
        steps=steps,
        guidance=guidance,
        maps=True,
        words=word or None,
        progress=not quiet,
    )
    figure = plots.word_maps(made.images[0], made.word_maps(0), made.prompts[0])
    plots.to_png(figure, out)
    typer.echo(plots.alt_text(figure))
    typer.echo(f"picture: {out}")


@app.command()
@polite
def concepts() -> None:
    """List the concepts that come with the project.

    The tuning half served to choose the tiny presets; the held-out half is for honest results.
    """
    import json

    from ..concept import bundled_concepts
    from ..system.paths import data_path

    for half, names in bundled_concepts().items():
        typer.echo(f"{half.replace('_', '-')}:")
        for name in names:
            info = json.loads(
                data_path("concepts", name, "concept.json").read_text(encoding="utf-8")
            )
            typer.echo(
                f"  {name:<8} {info['category']:<9} {len(info['photos'])} pictures   {info['looks']}"
            )


@app.command()
@polite
def doctor() -> None:
    """Say what this machine has, whether the bundled data are whole, and which preset fits.

    The exit code is 0 if the tiny preset can run, else 2.
    """
    from .doctor import examine

    findings = examine()
    for name, text in findings.lines:
        typer.echo(f"{name:<14} {text}")
    typer.echo(f"{'preset':<14} {findings.advice}")
    if findings.problems:
        raise InputError("; ".join(findings.problems))


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``adb``."""
    app(args=arguments, prog_name="adb")


if __name__ == "__main__":
    main()
