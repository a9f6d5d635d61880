"""AttnDreamBooth in readable pieces: the core behind the notebooks of this collection.

Importing this package is cheap: a public name loads its submodule, and with it torch or
diffusers, when it is first used; so does a submodule, as adb.plots or adb.metrics.

    import adb_core as adb
    base    = adb.load_base("tiny")                     # or a hub id, or a folder
    concept = adb.Concept.bundled("pico")               # or Concept.from_folder(...)
    run     = adb.Run(base, concept, "attndreambooth")
    for record in run:                                  # every step of every stage
        print(record.stage, record.step, record.loss)
    images  = adb.generate(run.result, "a photo of a {} on the beach", seeds=[0, 1]).images
"""

from importlib import import_module
from pkgutil import iter_modules

__version__ = "0.1.0"

# Submodule -> the public names that it defines, which ``__init__.pyi`` lists for type checkers.
# A name must not also be a submodule's: importing that would put the module in the name's place.
_NAMES = {
    "attention": "capture_attention selection",
    "base": "Base Drawable StableDiffusion StableDiffusionXL load_base",
    "checkpoint": "CheckpointError load_checkpoint save_checkpoint",
    "concept": "Concept bundled_concepts",
    "concept_token": "ConceptToken TokenError",
    "drift": "Drift Projection",
    "engine": "TrainingError make_accelerator",
    "generation": "Generation PromptError Sampling generate prompt_words",
    "images": "Augmentation ConceptError",
    "judges": "load_clip load_judge",
    "learner": "Learner",
    "loading": "BaseModelError",
    "maps": "aggregate",
    "metrics": "Interval bootstrap evaluate_result",
    "options": "RunOptions",
    "personalization": "Run personalize",
    "recipes": "Lora RECIPES Recipe Stage recipe recipe_table scaled",
    "recording": "Recording record",
    "records": "StepRecord",
    "regularizer": "map_statistics stack_statistics",
    "result": "Result SavedResult load_result",
    "shares": "attention_shares",
    "system.paths": "data_dir data_path",
    "training": "train_stage",
}
_SUBMODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}
_SUBMODULES = tuple(m.name for m in iter_modules(__path__) if not m.name.startswith("_"))

__all__ = ["__version__", *_SUBMODULE_OF]


def __getattr__(name: str):
    """Load a public name from its submodule, or a submodule, at first use (PEP 562)."""
    if name in _SUBMODULE_OF:
        value = getattr(import_module(f"{__name__}.{_SUBMODULE_OF[name]}"), name)
    elif name in _SUBMODULES:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # the next access finds it without coming here
    return value


def __dir__() -> list[str]:
    """The public names and submodules, loaded or not, beside what is in the module already."""
    return sorted({*globals(), *__all__, *_SUBMODULES})
