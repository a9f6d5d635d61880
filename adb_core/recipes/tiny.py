"""The ``tiny`` preset: for the bundled model, tuned on the tuning half of the concepts.

Each is the best of nine settings that an earlier form of ``adb evaluate --rates`` has tried
(``benchmarks/tuning.md``); the fast version is the three stages' best setting with fewer steps.
``paper.py`` has the same rows.
"""

# fmt: off
from .lora import ATTENTIONS, EVERYWHERE
from .stage import CROSS_ATTENTION, EMBEDDING, JOINT, TEMPLATES, UNET, Recipe, Stage

#                              trains           steps   lr batch
ALIGNMENT = Stage("alignment", EMBEDDING,       40, 5e-3, 4, lambda_mu=0.1)
ATTENTION = Stage("attention", CROSS_ATTENTION, 60, 2e-4, 4, lambda_mu=2.0, lambda_sigma=5.0)
IDENTITY  = Stage("identity",  UNET,            80, 1e-4, 4, lambda_mu=2.0, lambda_sigma=5.0)
QUICK     = Stage("identity",  UNET,            40, 2e-4, 4, lambda_mu=2.0, lambda_sigma=5.0)

FREE_ALIGNMENT = Stage("alignment", EMBEDDING,       40, 5e-3, 4)
FREE_ATTENTION = Stage("attention", CROSS_ATTENTION, 60, 2e-4, 4)
FREE_IDENTITY  = Stage("identity",  UNET,            80, 1e-4, 4)

INVERSION = Stage("inversion", EMBEDDING, 140, 5e-3, 4, prompts=TEMPLATES)
FINETUNE  = Stage("finetune",  UNET,      180, 1e-4, 4)
PRIOR     = Stage("finetune",  UNET,      180, 1e-4, 4, prior_weight=1.0)
TOGETHER  = Stage("joint",     JOINT,     180, 1e-4, 4, embedding_lr=5e-3)

# Adapters take larger learning rates than weights do (``paper.py``): ten times the rows' above
# without them, and one for all stages, which is five times stage 2's. Chosen so, not tuned.
ATTENTION_LORA = Stage("attention", CROSS_ATTENTION, 60, 1e-3, 4, lambda_mu=2.0, lambda_sigma=5.0)
IDENTITY_LORA  = Stage("identity",  UNET,            80, 1e-3, 4, lambda_mu=2.0, lambda_sigma=5.0)
FINETUNE_LORA  = Stage("finetune",  UNET,            180, 1e-3, 4)

TINY = (
    Recipe("attndreambooth",      (ALIGNMENT, ATTENTION, IDENTITY)),
    Recipe("attndreambooth_fast", (ALIGNMENT, ATTENTION, QUICK)),
    Recipe("textual_inversion",   (INVERSION,), subject="{v}"),
    Recipe("dreambooth",          (FINETUNE,), init="sks"),
    Recipe("dreambooth_prior",    (PRIOR,), init="sks"),
    Recipe("ti_dreambooth",       (TOGETHER,)),
    Recipe("without_stage_1",     (ATTENTION, IDENTITY)),
    Recipe("without_stage_2",     (ALIGNMENT, IDENTITY)),
    Recipe("without_stage_3",     (ALIGNMENT, ATTENTION)),
    Recipe("without_regularizer", (FREE_ALIGNMENT, FREE_ATTENTION, FREE_IDENTITY)),
    Recipe("attndreambooth_lora", (ALIGNMENT, ATTENTION_LORA, IDENTITY_LORA), lora=EVERYWHERE),
    Recipe("lora_dreambooth",     (FINETUNE_LORA,), init="sks", lora=ATTENTIONS),
)
