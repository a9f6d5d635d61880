"""The ``paper`` preset: the authors' own numbers, for Stable Diffusion 2.1 at 512 pixels.

AttnDreamBooth: Pang et al. 2024 (arXiv 2406.05000), section 4.1 and the defaults of their code; the
fast version is theirs too. Textual Inversion: Gal et al. 2022. DreamBooth: Ruiz et al. 2023.

What differs from the authors' code, on purpose, in every recipe:

- Views are cropped and encoded once, K of each photo, and drawn from with replacement; theirs are
  flipped and turned as well. Flipping is an option (``--flip``), for it is wrong
  for what is not symmetric; turning is left out, for it leaves black corners that a model learns.
- Clipping at ``max_grad_norm`` acts, which theirs never does; in stage 3 this changes an update by
  0.5 to 1.3 %.
- A batch size is that of all processes and micro-batches together, theirs that of one process; the
  regularizer is summed over all of it, whatever it is cut into.
- A category of several pieces has the mean of the pieces' statistics, theirs the first piece's
  (:func:`adb_core.regularizer.mean_statistics`).

``tiny.py`` has the same rows.
"""

# fmt: off
from .lora import ATTENTIONS, EVERYWHERE
from .stage import CROSS_ATTENTION, EMBEDDING, JOINT, TEMPLATES, UNET, Recipe, Stage

#                              trains           steps   lr batch
ALIGNMENT = Stage("alignment", EMBEDDING,       60, 1e-3, 8, lambda_mu=0.1)
ATTENTION = Stage("attention", CROSS_ATTENTION, 100, 2e-5, 8, lambda_mu=2.0, lambda_sigma=5.0)
IDENTITY  = Stage("identity",  UNET,            500, 2e-6, 8, lambda_mu=2.0, lambda_sigma=5.0)
QUICK     = Stage("identity",  UNET,            200, 1e-5, 4, lambda_mu=2.0, lambda_sigma=5.0)

FREE_ALIGNMENT = Stage("alignment", EMBEDDING,       60, 1e-3, 8)
FREE_ATTENTION = Stage("attention", CROSS_ATTENTION, 100, 2e-5, 8)
FREE_IDENTITY  = Stage("identity",  UNET,            500, 2e-6, 8)

INVERSION = Stage("inversion", EMBEDDING, 5000, 5e-3, 4, prompts=TEMPLATES)
FINETUNE  = Stage("finetune",  UNET,       800, 5e-6, 4)
PRIOR     = Stage("finetune",  UNET,       800, 5e-6, 4, prior_weight=1.0)
TOGETHER  = Stage("joint",     JOINT,      800, 5e-6, 4, embedding_lr=5e-4)

# The authors have no adapters. 1e-4 is the learning rate of diffusers' own example of DreamBooth
# with LoRA (examples/dreambooth), in place of 2e-6 for the weights themselves. Stage 2 takes it
# too; stage 3, whose weights move at a tenth of stage 2's rate, half of it. Chosen so, not tuned.
ATTENTION_LORA = Stage("attention", CROSS_ATTENTION, 100, 1e-4, 8, lambda_mu=2.0, lambda_sigma=5.0)
IDENTITY_LORA  = Stage("identity",  UNET,            500, 5e-5, 8, lambda_mu=2.0, lambda_sigma=5.0)
FINETUNE_LORA  = Stage("finetune",  UNET,            800, 1e-4, 4)

PAPER = (
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
