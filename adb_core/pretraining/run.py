"""A run of pretraining: its stages, how they share the minutes, and what each needs.

Stages: cache (renders) -> vae -> clip -> judge -> latents -> unet -> decoder (the VAE's, encoder
frozen) -> write -> evaluate. Each resumes after a kill when the same command runs again; finished
ones are only loaded. Everything on the way lies in the run folder; ``data/`` is touched at the
end, folder by folder.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import torch

from ..system.files import atomic_write_json
from ..tinymodel.card import write_model_card
from ..tinymodel.clip import text_encoder_from_clip
from ..tinymodel.evaluate import evaluate
from ..tinymodel.rows import table
from . import clip, judge, unet, vae
from .alignment import kept_patches
from .cache import Cache, Renders, build_cache
from .clip import PATCH_WEIGHT, train_clip
from .families import Families, build_families
from .judge import train_judge
from .latents import encode_all, pixel_metric
from .record import training_record
from .settings import Budget, FitError, Place
from .stage_files import is_finished, log_line, read_done
from .things import build_things
from .unet import Frozen, Lessons, train_unet
from .vae import train_decoder, train_vae
from .write import PARTS, Trained, write_models

SETTINGS = {
    "vae": vae.FIT,
    "clip": clip.FIT,
    "judge": judge.FIT,
    "unet": unet.FIT,
    "decoder": vae.DECODER_FIT,
}
TRAINED = tuple(SETTINGS)
STAGES = ("cache", "vae", "clip", "judge", "latents", "unet", "decoder", "write", "evaluate")
# stage: (share of the minutes, minutes that are enough). The U-Net gets all that is left.
SHARES = {
    "cache": (0.04, 6.0),
    "vae": (0.18, 60.0),
    "clip": (0.08, 25.0),
    "judge": (0.07, 20.0),
    "latents": (0.03, 5.0),
    "decoder": (0.10, 60.0),
}
MOST_IMAGES, FEWEST_IMAGES, IMAGES_PER_MINUTE = 96_000, 2_000, 600
# stage: the trained ones whose result it needs
NEEDS = {
    "judge": ("vae",),
    "latents": ("vae",),
    "unet": ("vae", "clip"),
    "decoder": ("vae",),
    "write": TRAINED,
}


def split_minutes(minutes: float) -> dict[str, float]:
    """Minutes of each stage."""
    split = {stage: min(share * minutes, enough) for stage, (share, enough) in SHARES.items()}
    return {**split, "unet": minutes - sum(split.values())}


def image_count(minutes: float | None) -> int:
    """How many scenes to render: as many as 4 % of the minutes allow on two cores."""
    if minutes is None:
        return FEWEST_IMAGES
    thousands = round(minutes * IMAGES_PER_MINUTE / 2000) * 2000
    return min(MOST_IMAGES, max(FEWEST_IMAGES, thousands))


@dataclass
class Pretraining:
    """All stages of one run; a stage's result is made (or loaded) when first asked for.

    Attributes:
        place: of the run folder.
        data: the folder that gets the models.
        minutes: of the whole run; None if ``steps`` has every stage.
        images: scenes to render.
        start: a folder like data/, whose weights are trained further.
        patch_weight: of tiny-clip's token-to-patch loss.
        batch: of stages, instead of their settings'.
        command: what was typed, for the log.
    """

    place: Place
    data: Path
    minutes: float | None
    steps: dict[str, int]
    images: int
    stages: tuple[str, ...]
    start: Path | None = None
    patch_weight: float = PATCH_WEIGHT
    batch: dict[str, int] = field(default_factory=dict)
    command: str = ""

    @property
    def run(self) -> Path:
        """The folder of cache, checkpoints and log."""
        return Path(self.place.run_dir)

    def budget(self, stage: str) -> Budget:
        """Of a trained stage.

        Raises:
            FitError: the stage is only wanted as it is, and what it says of itself is damaged.
        """
        if stage not in self.stages and is_finished(self.run, stage):  # only wanted as it is
            return Budget(**read_done(self.run / stage)["budget"])
        if stage in self.steps:
            return Budget(steps=self.steps[stage])
        return Budget(minutes=split_minutes(self.minutes)[stage])

    def how(self, stage: str) -> dict:
        """What a training function is told: place, budget, settings, weights to go on from."""
        settings = SETTINGS[stage]
        settings = replace(settings, batch=self.batch.get(stage, settings.batch))
        how = {"place": self.place, "budget": self.budget(stage), "settings": settings}
        if stage in PARTS:  # the decoder goes on from its VAE
            start = self.start and self.start / PARTS[stage]
            # a part that is not there begins anew
            how["start"] = start if start is not None and start.is_dir() else None
        return how

    @cached_property
    def cache(self) -> Cache:
        return build_cache(self.run / "cache", Renders(self.images, self.place.seed))

    @cached_property
    def families(self) -> Families:
        count = max(64, self.images // 48)  # 2,000 for the full cache
        return build_families(self.run / "families", count=count, seed=self.place.seed)

    @cached_property
    def vae(self):
        return train_vae(self.cache.images, **self.how("vae"))

    @cached_property
    def clip(self):
        """(model, tokenizer, image processor)"""
        how = self.how("clip")
        return train_clip(self.cache, **how, patch_weight=self.patch_weight)

    @cached_property
    def judge(self):
        return train_judge(self.cache, self.families, **self.how("judge"), vae=self.vae)

    @cached_property
    def text_encoder(self):
        return text_encoder_from_clip(self.clip[0])

    @property
    def keeps_unet(self) -> bool:
        """Whether the U-Net stays as it is."""
        return self.start is not None and self.steps.get("unet") == 0

    @cached_property
    def latents(self):
        return encode_all(self.vae, self.cache.images, self.run / "latents")

    @cached_property
    def unet(self):
        if self.keeps_unet:  # no latents are needed then, and they take minutes
            from diffusers import UNet2DConditionModel

            folder = self.start / "tiny-sd/unet"
            return UNet2DConditionModel.from_pretrained(folder, use_safetensors=True)
        latents, captions = self.latents, self.cache.captions
        frozen = Frozen(self.vae, self.text_encoder, self.clip[1])
        states = partial(kept_patches, self.clip[0], self.cache, self.run / "patches")
        metric = pixel_metric(self.vae, latents[:16])
        things = torch.from_numpy(build_things(self.cache, self.run))
        lessons = Lessons(latents, captions, metric, things, states)
        return train_unet(lessons, frozen, **self.how("unet"))

    @cached_property
    def decoder(self):
        """The VAE again, its decoder trained further.

        The U-Net comes first, for its previews use the earlier one.
        """
        if not self.keeps_unet:
            # Encoded with the very same encoder, and fingerprinted before the decoder changes.
            self.latents  # noqa: B018
        return train_decoder(self.vae, self.cache.images, **self.how("decoder"))

    @cached_property
    def write(self) -> float:
        """Swap the three model folders in; returns their size in MB."""
        trained = Trained(self.decoder, self.text_encoder, self.unet, self.clip, self.judge)
        record = training_record(self.run, self.start, self.patch_weight, self.batch)
        return write_models(self.data, self.run, trained, record)

    @cached_property
    def evaluate(self) -> dict:
        device, seed = str(self.place.device), self.place.seed
        results = evaluate(self.data, device=device, seed=seed, out=self.run)
        atomic_write_json(self.run / "evaluation.json", results)
        write_model_card(self.data, results)
        print(table(results))
        return results

    def check(self) -> None:
        """Find a missing stage now, not when it is needed, which may be an hour later.

        Raises:
            FitError: naming it.
        """
        for stage in self.stages:
            for need in NEEDS.get(stage, ()):
                kept = self.start is not None and self.steps.get(need) == 0
                if need not in self.stages and not kept and not is_finished(self.run, need):
                    raise FitError(
                        f"stage {need}, which {stage} needs, is not finished in {self.run}: "
                        "add it to --stages"
                    )

    def go(self) -> None:
        """All stages that were asked for, in order."""
        self.check()
        log_line(self.run, f"run: {self.command}")
        for stage in STAGES:
            if stage in self.stages:
                print(f"== {stage}", file=sys.stderr, flush=True)
                getattr(self, stage)
