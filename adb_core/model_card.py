"""The README of a saved model: concept, recipe, base, licence, provenance, use and limits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .learner import Learner
from .models import find_model
from .provenance.consent import ASKS
from .recipes import Recipe

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

TEXT = """
# {name}

A Stable Diffusion model that knows one more word, `{placeholder}`: a {category}.
Write it as "{subject}", for example "{example}".
{loading}
| what | value |
|---|---|
| base model | {base} (its licence applies to these weights too) |
| recipe | {recipe} |
| training images | {count}, licence: {license} |
| provenance of the images | {provenance} |
| who or what they show | {shows} |
| given by | {given_by} |
| consent of people shown | {consent} |
| seed | {seed} |

{stages}

Method: AttnDreamBooth (Pang et al., NeurIPS 2024, arXiv 2406.05000) or the baseline named above.

Intended use: pictures of this one concept, by people who may use its images. Do not use it to
imitate people or artists without their consent. Limits: it was trained on {count} pictures and can
repeat their backgrounds and poses, forget parts of long prompts, and change what the base model
draws for "{category}".
"""


ADAPTERS = """
This folder holds low-rank adapters (LoRA of rank {rank}, alpha {alpha:g}) and the embedding of the
word, no model: load them into the base model, in float32 as they were trained or in half precision.

```python
from diffusers import {kind}
from safetensors.torch import load_file

pipeline = {kind}.from_pretrained({base})
{embedding}
pipeline.load_lora_weights(".", weight_name="pytorch_lora_weights.safetensors")
pipeline("{example}"{size})
```
"""
# How plain diffusers reads a word's rows, of each encoder.
ROW = """pipeline.load_textual_inversion(
    load_file("learned_embeds.safetensors")["{key}"],
    token="{placeholder}",
    text_encoder=pipeline.text_encoder{number},
    tokenizer=pipeline.tokenizer{number},
)"""


def model_card(learner: Learner, *, adapters: bool = False) -> ModelCard:
    """The card of what a learner has become, with the metadata that the hub reads.

    Args:
        adapters: the folder holds LoRA adapters in place of a model.
    """
    from huggingface_hub import ModelCard, ModelCardData

    concept, base = learner.concept, learner.base
    model, source = find_model(base.name), source_of(base.name)
    data = ModelCardData(
        license=model.license if model else None,
        base_model=source if "/" in source and not Path(source).exists() else None,
        library_name="diffusers",
        pipeline_tag="text-to-image",
        tags=["personalization", learner.recipe.name, *(["lora"] if adapters else [])],
    )
    text = TEXT.format(
        name=concept.name,
        placeholder=concept.placeholder,
        category=concept.category,
        subject=learner.prompt("{}"),
        loading=loading_lines(learner) if adapters else "",
        example=learner.prompt("a photo of a {} on the beach"),
        base=f"{base.name} at {base.revision}" if base.revision else base.name,
        recipe=learner.recipe.name,
        count=len(concept.images),
        **{name: concept.statements.shown(name) for name in ASKS},
        provenance=concept.info.get("provenance", "not stated"),
        seed=learner.seed,
        stages=stage_table(learner.recipe),
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n{text}")


def source_of(name: str) -> str:
    """Where a model of this name is loaded from: its hub id if it stands in the table."""
    model = find_model(name)
    return model.hub_id if model and model.hub_id else name


def loading_lines(learner: Learner) -> str:
    """How plain diffusers loads adapters."""
    base, lora = learner.base, learner.recipe.lora
    assert lora is not None
    source = "data/tiny-sd" if base.name == "tiny" else source_of(base.name)
    word = learner.concept.placeholder
    keys = {"": word} if len(base.text.encoders) == 1 else {"": "clip_l", "_2": "clip_g"}
    rows = [ROW.format(key=key, placeholder=word, number=n) for n, key in keys.items()]
    return ADAPTERS.format(
        rank=lora.rank,
        alpha=lora.alpha,
        kind=type(base.pipeline()).__name__,
        base=f'"{source}", revision="{base.revision}"' if base.revision else f'"{source}"',
        embedding="\n".join(rows),
        example=learner.prompt("a photo of a {} on the beach"),
        size=f", height={learner.side}, width={learner.side}" if learner.side != base.side else "",
    )


def stage_table(recipe: Recipe) -> str:
    """A recipe's numbers in Markdown, one line a stage."""
    rows = [
        "| stage | trains | steps | learning rate | batch | lambda_mu | lambda_sigma |",
        "|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {s.name} | {', '.join(s.train)} | {s.steps} | {s.lr:g} | {s.batch_size} "
        f"| {s.lambda_mu:g} | {s.lambda_sigma:g} |"
        for s in recipe.stages
    ]
    return "\n".join(rows)
