"""AttnDreamBooth in readable pieces: the core behind the notebooks of this collection.

Importing this package is cheap: a public name loads its submodule, and with it torch or
diffusers, when it is first used.

    import adb_core as adb
    base    = adb.load_base("tiny")                     # or a hub id, or a folder
    concept = adb.Concept.bundled("pico")               # or Concept.from_folder(...)
    result  = adb.personalize(base, concept, "attndreambooth")
    images  = adb.generate(result, "a photo of a {} on the beach", seeds=[0, 1]).images
"""

from importlib import import_module

__version__ = "0.1.0"

# Public name -> the submodule that defines it. A name must not also be a submodule's:
# importing that submodule would put the module in the name's place.
_SUBMODULE_OF = {
    "Base": "base", "BaseModelError": "base", "load_base": "base", "load_clip": "base", "load_judge": "base",
    "Augmentation": "concept", "Concept": "concept", "ConceptError": "concept", "bundled_concepts": "concept",
    "ConceptToken": "concept_token", "Drift": "concept_token", "Projection": "concept_token", "TokenError": "concept_token",
    "aggregate": "attention", "capture_attention": "attention", "selection": "attention",
    "map_statistics": "regularizer", "stack_statistics": "regularizer",
    "RECIPES": "recipes", "Recipe": "recipes", "Stage": "recipes", "recipe": "recipes",
    "Learner": "training", "StepRecord": "training", "TrainingError": "training", "train_stage": "training",
    "CheckpointError": "checkpoint", "load_checkpoint": "checkpoint", "save_checkpoint": "checkpoint",
    "Result": "personalization", "SavedResult": "personalization", "load_result": "personalization", "personalize": "personalization",
    "Generation": "generation", "PromptError": "generation", "Recording": "generation", "generate": "generation", "record": "generation",
    "Interval": "metrics", "bootstrap": "metrics", "evaluate_result": "metrics",
    "data_dir": "system.paths", "data_path": "system.paths",
}  # fmt: skip

__all__ = ["__version__", *_SUBMODULE_OF]


def __getattr__(name: str):
    """Load a public name from its submodule at first use (PEP 562)."""
    if name not in _SUBMODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_SUBMODULE_OF[name]}"), name)
    globals()[name] = value  # the next access finds it without coming here
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not, beside what is in the module already."""
    return sorted({*globals(), *__all__})
