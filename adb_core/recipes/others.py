"""Rows beside the paper's: what other papers propose, and further ablations, for both presets.

NOT YET TUNED: the tiny numbers are those of the nearest tuned row in ``tiny.py``. The paper
preset's are their authors', where they fit Stable Diffusion, else those of the row in ``paper.py``
that they vary.

- custom_diffusion: Kumari et al. 2023 (arXiv 2212.04488): the row, and the keys and values of
  cross-attention, with pictures of the class. Theirs are drawn from a data set; ours are sampled.
- core, core_code: Wu et al. 2025 (arXiv 2408.15914), the paper's loss and the released code's,
  which differ; without its rescaling of the row, which moved their scores by 0.01 at most.
- masked_map: the three stages, their maps supervised by the photos' true masks, with the loss of
  Break-A-Scene (Avrahami et al. 2023, arXiv 2305.16311): what the category's map stands in for.
- key_lock: the three stages, the regularizer's place taken by TARA's term (arXiv 2508.08812), which
  holds [V]'s keys to the category's.
- textual_inversion_3: three vectors for one word (Gal et al. 2022, section 5.2).
- ti_dreambooth_1_lr: one learning rate for the row and the U-Net, under which the row hardly moves.
- detached_category, total_variation (AGenDA, arXiv 2507.20976), pixelwise_map: the three stages
  with another regularizer.
"""

# fmt: off
from dataclasses import replace
from types import ModuleType
from typing import Any

from . import paper, tiny
from .stage import EMBEDDING, JOINT, ROW_AND_KEYS, UNET, Recipe, Stage

CORE: dict[str, Any] = {"core_embedding": 1.5e-4, "core_attention": 0.05}
CORE_CODE: dict[str, Any] = {"core_embedding_code": 1.5e-4, "core_attention_code": 0.05}

#                              trains        steps  lr batch
PAPER_CUSTOM   = Stage("custom", ROW_AND_KEYS, 250, 2e-5, 2, prior_weight=1.0)
PAPER_CONTEXT  = Stage("context",   EMBEDDING, 300, 5e-3, 6, **CORE)
PAPER_CODE     = Stage("context",   EMBEDDING, 300, 5e-3, 6, **CORE_CODE)
PAPER_FINETUNE = Stage("finetune",       UNET, 1000, 2e-6, 4)
PAPER_ONE_LR   = Stage("joint",         JOINT, 800, 5e-6, 4)

TINY_CUSTOM    = Stage("custom", ROW_AND_KEYS, 180, 2e-4, 4, prior_weight=1.0)
TINY_CONTEXT   = Stage("context",   EMBEDDING, 100, 5e-3, 4, **CORE)
TINY_CODE      = Stage("context",   EMBEDDING, 100, 5e-3, 4, **CORE_CODE)
TINY_FINETUNE  = Stage("finetune",       UNET, 80, 1e-4, 4)
TINY_ONE_LR    = Stage("joint",         JOINT, 180, 1e-4, 4)

# Other losses in place of the regularizer: in the first stage, and in the two later ones. They are
# means over the batch, where the regularizer is a sum: its 0.1 and 2 of a batch of 4 are 0.4 and 8.
FREE: dict[str, Any] = {"lambda_mu": 0.0, "lambda_sigma": 0.0}
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "masked_map":        (FREE | {"masked_map": 0.01},       FREE | {"masked_map": 0.01}),
    "key_lock":          (FREE | {"key_lock": 1.0},          FREE | {"key_lock": 1.0}),
    "detached_category": ({"detach_category": True},         {"detach_category": True}),
    "total_variation":   (FREE | {"total_variation": 0.025}, FREE | {"total_variation": 0.5}),
    "pixelwise_map":     (FREE | {"pixelwise": 0.4},         FREE | {"pixelwise": 8.0}),
}


def _variants(preset: ModuleType) -> tuple[Recipe, ...]:
    """The three stages of a preset with each of the other losses."""
    first, *later = preset.ALIGNMENT, preset.ATTENTION, preset.IDENTITY
    return tuple(
        Recipe(name, (replace(first, **one), *(replace(stage, **two) for stage in later)))
        for name, (one, two) in VARIANTS.items()
    )


OTHERS_PAPER = (
    Recipe("custom_diffusion",    (PAPER_CUSTOM,), init="sks"),
    Recipe("core",                (PAPER_CONTEXT, PAPER_FINETUNE), subject="{v}"),
    Recipe("core_code",           (PAPER_CODE, PAPER_FINETUNE), subject="{v}"),
    Recipe("textual_inversion_3", (paper.INVERSION,), subject="{v}", vectors=3),
    Recipe("ti_dreambooth_1_lr",  (PAPER_ONE_LR,)),
    *_variants(paper),
)

OTHERS_TINY = (
    Recipe("custom_diffusion",    (TINY_CUSTOM,), init="sks"),
    Recipe("core",                (TINY_CONTEXT, TINY_FINETUNE), subject="{v}"),
    Recipe("core_code",           (TINY_CODE, TINY_FINETUNE), subject="{v}"),
    Recipe("textual_inversion_3", (tiny.INVERSION,), subject="{v}", vectors=3),
    Recipe("ti_dreambooth_1_lr",  (TINY_ONE_LR,)),
    *_variants(tiny),
)
