"""The families of models that can be personalized: one class each, with the members of ``Base``.

``FAMILIES`` goes by the name of the pipeline that a model was saved as.
"""

from __future__ import annotations

from .stable_diffusion import StableDiffusion
from .stable_diffusion_xl import StableDiffusionXL

__all__ = ["FAMILIES", "StableDiffusion", "StableDiffusionXL"]

FAMILIES: dict[str, type[StableDiffusion] | type[StableDiffusionXL]] = {
    "StableDiffusionPipeline": StableDiffusion,
    "StableDiffusionXLPipeline": StableDiffusionXL,
}
