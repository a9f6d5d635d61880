"""The pictures of saved models, for a study of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..generation import fill, generate
from ..result import Result, SavedResult, load_result, read_marker
from .making import Picture
from .study import StudyError


def model_folder(run: str | Path) -> Path:
    """A saved model, or the ``model`` folder in what ``adb train`` wrote."""
    inner = Path(run) / "model"
    return inner if inner.is_dir() else Path(run)


def draw_pictures(
    runs: Sequence[str | Path],
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    device: str = "auto",
    say: Callable[[str], None] = lambda text: None,
    **sampling,
) -> list[Picture]:
    """Every prompt with every seed from every saved model, one model in memory at a time.

    Recipe and concept are those that the model was saved with.

    Args:
        prompts: with one ``{}``; sampling: fields of :class:`adb_core.Sampling`, by name.

    Raises:
        BaseModelError: a folder that is no saved model; StudyError: one that does not say its
            recipe; PromptError: a prompt without ``{}``. All before the first picture.
    """
    folders = [model_folder(run) for run in runs]
    markers = [read_marker(folder) for folder in folders]
    for folder, marker in zip(folders, markers, strict=True):
        if not (isinstance(marker.get("recipe"), str) and isinstance(marker.get("concept"), str)):
            raise StudyError(f"{folder} does not say its recipe and concept: train it again")
        for prompt in prompts:
            fill(prompt, marker["subject"])
    pictures = []
    for folder, marker in zip(folders, markers, strict=True):
        say(f"drawing {len(prompts) * len(seeds)} pictures with {folder}")
        model = load_result(folder, device=device)
        pictures += pictures_of(model, marker["concept"], prompts, seeds, **sampling)
    return pictures


def pictures_of(
    model: Result | SavedResult,
    concept: str,
    prompts: Sequence[str],
    seeds: Sequence[int],
    **sampling,
) -> list[Picture]:
    """Every prompt with every seed from one model that is in memory, under its recipe's name.

    Args:
        concept: the name of what the model has learned.

    Raises:
        PromptError: a prompt without ``{}``.
    """
    images = generate(model, prompts, seeds, **sampling).images
    asked = [(prompt, int(seed)) for prompt in prompts for seed in seeds]
    return [
        Picture(model.recipe_name, concept, *one, image)
        for one, image in zip(asked, images, strict=True)
    ]
