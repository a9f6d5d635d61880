"""The demo's four figures, from what its diary holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ... import plots
from ...concept import Concept
from ...generation import Generation
from ...images import view
from ..report import Picture
from .diary import Diary

CAPTIONS = {
    "stages.png": "The photos, and the same six prompts with the same noise before training and "
    "after each stage.",
    "attention.png": "Where [V] looks. Each map has its own colour scale; its largest probability "
    "stands below it.",
    "drift.png": "How far [V] moves among the words. Where a stage keeps the embedding fixed the "
    "lines are level.",
    "curves.png": "Losses, and mean and variance of the maps of [V] and of its category, averaged "
    "over the layers.",
}


def v_map(generation: Generation, picture: int, placeholder: str) -> np.ndarray:
    """[V]'s map of one picture, (y, x), averaged over the sampling steps and over its vectors."""
    maps = [
        heat
        for word, heat in generation.word_maps(picture).items()
        if word == placeholder or word.startswith(f"{placeholder}_")
    ]
    return np.mean(maps, axis=0)


def stages_figure(diary: Diary, concept: Concept):
    """The photos, then a row of pictures for every moment and a column for every prompt."""
    side = diary.pictures[0][1].images.shape[1]
    photos = [view(image, side) for image in concept.images[: len(diary.texts)]]
    rows = [photos, *(list(drawn.images) for _, drawn in diary.pictures)]
    labels = ["photos", *(label for label, _ in diary.pictures)]
    alt = (
        f"First row: {len(photos)} photos of {concept.name}. Below, one row for each moment "
        f"({'; '.join(labels[1:])}) and one column for each prompt: {'; '.join(diary.texts)}. "
        "All pictures of a column start from the same noise."
    )
    return plots.image_grid(rows, row_labels=labels, column_labels=diary.titles, alt=alt)


def attention_figure(diary: Diary, concept: Concept):
    """[V]'s map over every picture of :func:`stages_figure`."""
    labels = [label for label, _ in diary.pictures]
    images = [list(drawn.images) for _, drawn in diary.pictures]
    maps = [
        [v_map(drawn, k, concept.placeholder) for k in range(len(drawn.images))]
        for _, drawn in diary.pictures
    ]
    alt = (
        "The attention map of [V] over each generated picture, averaged over layers, heads and "
        f"sampling steps. Rows: {'; '.join(labels)}. Columns: {'; '.join(diary.texts)}. "
        "Bright places are looked at most."
    )
    return plots.attention_grid(
        images, maps, row_labels=labels, column_labels=diary.titles, alt=alt
    )


def draw_figures(diary: Diary, concept: Concept, out: Path) -> dict[str, Picture]:
    """Write the four figures; returns them by file name, with captions."""
    words = diary.projection(diary.vocabulary).numpy()
    figures = {
        "stages.png": stages_figure(diary, concept),
        "attention.png": attention_figure(diary, concept),
        "drift.png": plots.embedding_drift(
            diary.points, words, diary.named_words(), concept.category
        ),
        "curves.png": plots.training_curves(diary.result.history),
    }
    drawn = diary.pictures[-1][1].about  # the other two show numbers alone
    about = {"stages.png": drawn, "attention.png": drawn}
    return {
        name: Picture(
            plots.to_png(figure, out / name, about=about.get(name)),
            plots.alt_text(figure),
            CAPTIONS[name],
        )
        for name, figure in figures.items()
    }
