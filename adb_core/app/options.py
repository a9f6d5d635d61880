"""The options of the commands: names, types and help texts; each command chooses its defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..recipes import RECIPES


def option(name: str, text: str):
    """A typer option of that name with that help text."""
    return typer.Option(name, help=text)


# ---------------------------------------------------------------- what is learned, and from what

ConceptName = Annotated[
    str,
    option(
        "--concept",
        "A bundled concept (see adb concepts), or a folder with three to six pictures; "
        "write ./pico for a folder that has a bundled name.",
    ),
]
Category = Annotated[
    str | None,
    option(
        "--category",
        "What the thing is, as cat or toy; needed for a folder without concept.json.",
    ),
]
Placeholder = Annotated[
    str | None,
    option("--placeholder", "The new word; by default the concept's name in angle brackets."),
]
RecipeName = Annotated[str, option("--recipe", f"{', '.join(RECIPES)}.")]
Preset = Annotated[
    str | None,
    option(
        "--preset",
        "tiny (tuned for the bundled model) or paper (the authors' numbers, for Stable "
        "Diffusion); by default the one that fits --base.",
    ),
]
BaseName = Annotated[
    str,
    option(
        "--base",
        "tiny (bundled); downloaded: sd15, sd21 (the paper's), sdxl, bk-sdm-v2-small, "
        "bk-sdm-v2-tiny, or a hub id; or a diffusers folder.",
    ),
]

# ---------------------------------------------------------------- how

Device = Annotated[
    str,
    option("--device", "auto (CUDA, else Apple MPS, else the CPU), cpu, cuda, cuda:N or mps."),
]
Precision = Annotated[
    str,
    option(
        "--mixed-precision",
        "auto (bf16 where the hardware has it), no (float32), bf16, or fp16 (needs a GPU).",
    ),
]
Seed = Annotated[
    int, option("--seed", "Of every random choice; on one machine it gives the same result again.")
]
Dtype = Annotated[
    str | None,
    option(
        "--dtype",
        "Of the base model's weights: float32, or bfloat16 or float16, which take half the memory; "
        "training takes those under LoRA alone.",
    ),
]
StepsScale = Annotated[
    float,
    option("--steps-scale", "Multiplies the steps of every stage; each keeps at least one."),
]
LrScale = Annotated[float, option("--lr-scale", "Multiplies every learning rate.")]
WeightScale = Annotated[
    float,
    option(
        "--weight-scale",
        "Multiplies lambda_mu and lambda_sigma; 0 switches the regularizer off.",
    ),
]
Views = Annotated[
    int,
    option("--views", "K: augmented views of each picture, encoded once before training."),
]
Accumulation = Annotated[
    int,
    option(
        "--accumulation",
        "Micro-batches a step, for models that fill the memory; the batch size must divide by it.",
    ),
]
SaveEvery = Annotated[int, option("--save-every", "Steps between two checkpoints.")]
TierName = Annotated[
    str,
    option(
        "--tier",
        "How to save memory: auto (the widest that fits into what is free), gpu80, gpu24, gpu16, "
        "gpu8 or cpu. Where memory runs out all the same, the run goes on one tier down.",
    ),
]
BatchSize = Annotated[
    int | None,
    option("--batch", "Samples a step, in every stage; by default the recipe's."),
]
Rank = Annotated[
    int | None,
    option(
        "--rank", "Of the adapters of a recipe with LoRA; files grow with it, 4 to 64 are usual."
    ),
]
Resolution = Annotated[
    int | None,
    option(
        "--resolution",
        "Pixels a side to train at, by default the model's own; less takes less memory and time.",
    ),
]
Flip = Annotated[
    bool,
    option("--flip", "Mirror half of the views: not for what is not symmetric, as a face or text."),
]
SaveDtype = Annotated[
    str,
    option(
        "--save-dtype",
        "Of the weights in OUT/model: float32, or float16 or bfloat16, which take half the disk.",
    ),
]
Tf32 = Annotated[
    bool | None,
    option(
        "--tf32/--no-tf32",
        "Multiply float32 with TF32's shorter mantissa, on GPUs that have it; by default where "
        "the tier says so in training, and not in drawing.",
    ),
]
PromptSet = Annotated[
    str | None,
    option(
        "--prompt-set",
        "Draw these prompts on the way, into OUT/previews: a bundled set, as complexity_4, or a "
        "text file with one prompt a line, each with one {}.",
    ),
]
PreviewEvery = Annotated[
    int, option("--preview-every", "Steps between two previews; each stage's last step is one.")
]
PreviewSteps = Annotated[
    int | None, option("--steps", "Sampling steps of a preview; by default the model's own.")
]
PreviewGuidance = Annotated[
    float | None, option("--guidance", "Guidance scale of a preview; by default the model's own.")
]
Resume = Annotated[
    bool,
    option(
        "--resume/--no-resume",
        "Go on from the checkpoint in OUT, or start afresh and replace it.",
    ),
]
Tensorboard = Annotated[
    bool,
    option(
        "--tensorboard",
        "Also write every step's numbers to OUT/logs for TensorBoard (pip install tensorboard).",
    ),
]

# ---------------------------------------------------------------- photos

Crop = Annotated[
    str,
    option(
        "--crop",
        "random (another square of the photo for each view), center, subject (needs masks), or "
        "none (the whole photo, with bars).",
    ),
]
Side = Annotated[int, option("--side", "Pixels that the model takes in: 512 for most.")]
CropsFile = Annotated[Path, option("--out", "The picture to write: one row a photo.")]
People = Annotated[
    bool, option("--people", "Say which photos show people: downloads a detector of 26 MB once.")
]
DetectorName = Annotated[
    str | None, option("--detector", "Another detector of persons: a hub id or a folder.")
]

# ---------------------------------------------------------------- drawing

Model = Annotated[
    str,
    option(
        "--model",
        "What adb train wrote (its output folder, or the model folder in it), or a base model: "
        "tiny, sd15, sd21, sdxl, bk-sdm-v2-small, bk-sdm-v2-tiny, a hub id, a diffusers folder.",
    ),
]
Prompts = Annotated[
    list[str],
    typer.Argument(help="Texts. For a personalized model each has one {} where the thing goes."),
]
Prompt = Annotated[
    str,
    typer.Argument(help="A text. For a personalized model it has one {} where the thing goes."),
]
Seeds = Annotated[
    list[int],
    option("--seed", "Of the noise; give it several times for several pictures a prompt."),
]
Words = Annotated[
    list[str] | None,
    option("--word", "Show only this word; may be given several times. All words by default."),
]
Steps = Annotated[
    int | None,
    option("--steps", "Sampling steps a picture; by default 25 for tiny, 50 for others."),
]
Guidance = Annotated[
    float | None,
    option(
        "--guidance",
        "Classifier-free guidance scale, 1 switches it off; by default 3 for tiny, 7.5 for others.",
    ),
]

Pictures = Annotated[
    int, option("--batch", "Pictures at once; fewer take less memory, and little more time.")
]

# ---------------------------------------------------------------- what is written and said

RunFolder = Annotated[
    Path, option("--out", "Folder for the checkpoint, and at the end for the model in OUT/model.")
]
DemoFolder = Annotated[Path, option("--out", "Folder for everything that it writes.")]
SheetFile = Annotated[
    Path, option("--out", "The picture to write: one row a prompt, one column a seed.")
]
MapsFile = Annotated[Path, option("--out", "The picture to write.")]
Quiet = Annotated[bool, option("--quiet", "No progress bars.")]
