"""How good a personalized model is: identity, text, where [V] looks, and what else has changed.

The arithmetic is in pure functions on arrays; :func:`evaluate_result` generates pictures and
applies all of it. Whoever reads a number here should find its range and its source beside it.

Importing this package is cheap, and ``intervals``, ``similarity``, ``attributes`` and ``pointing``
need no torch: a name loads the file that defines it when it is first used.
"""

from importlib import import_module

_SUBMODULE_OF = {
    "Interval": "intervals", "MetricError": "intervals", "bootstrap": "intervals",
    "wilson": "intervals",
    "auc": "similarity", "cosine_to_mean": "similarity", "mean_cosine": "similarity",
    "paired_cosine": "similarity", "pixel_difference": "similarity", "psnr": "similarity",
    "PLAIN": "attributes", "attribute_hits": "attributes", "chance_accuracy": "attributes",
    "found_shares": "attributes", "leaks": "attributes", "training_places": "attributes",
    "CELL_SHARE": "pointing", "cells_on": "pointing", "iou": "pointing", "map_quality": "pointing",
    "mask_cells": "pointing", "overlap": "pointing", "peak": "pointing", "pointing_hit": "pointing",
    "threshold": "pointing", "where": "pointing",
    "embed_images": "embeddings", "embed_texts": "embeddings",
    "FUNCTION_WORDS": "maps", "TIMES": "maps", "noised_maps": "maps", "photo_maps": "maps",
    "word_overlaps": "maps",
    "EvaluationOptions": "evidence", "Evidence": "evidence", "LeftOut": "evidence",
    "Pictures": "evidence", "MODEL_METRICS": "registry", "PICTURE_METRICS": "registry",
    "evaluate_result": "evaluate", "score_pictures": "evaluate",
    "ceiling": "ceilings", "round_trip": "ceilings", "true_rounds": "ceilings",
    "map_distances": "pointing", "total_variation": "pointing",
    "Comparison": "contrasts", "Family": "contrasts", "compare": "contrasts",
    "one_family": "contrasts", "concept_means": "significance",
    "holm": "significance", "holm_levels": "significance", "sign_flip_test": "significance",
    "paired_differences": "significance", "sign_flip_interval": "significance",
    "Moment": "frontiers", "area": "frontiers", "between": "frontiers", "envelope": "frontiers",
    "identity_at": "frontiers", "matched": "frontiers", "moments": "frontiers",
    "TRUTH_METRICS": "truth", "Compared": "truth", "Truth": "truth", "by_complexity": "truth",
    "complexity": "truth",
    "joint_hits": "truth", "score_against_truth": "truth", "identity_shares": "truth",
}  # fmt: skip

__all__ = list(_SUBMODULE_OF)


def __getattr__(name: str):
    """Load a public name from its file at first use (PEP 562)."""
    if name not in _SUBMODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_SUBMODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
