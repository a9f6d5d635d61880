"""The one seam to a model: everything that the method asks of a diffusion model is said here.

``Base`` says what is asked, in a few lines; ``StableDiffusion`` answers for models with one text
encoder. Another family is another class with the same methods, and one line in ``FAMILIES``.

Axes: b batch, k tokens of a prompt, d channels of a text state, e of a pooled one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from . import loading
from .loading import BaseModelError, Source
from .system.company import mind_company
from .system.devices import pick_device
from .system.heap import keep_heap

if TYPE_CHECKING:
    from .concept import Concept


class Text(NamedTuple):
    """Tokenizers and their text encoders, pair by pair: one in Stable Diffusion, two in SDXL."""

    tokenizers: tuple[Any, ...]
    encoders: tuple[Any, ...]


class Posterior(NamedTuple):
    """What the VAE makes of pictures: scaled means and deviations, (b, c, y, x), float32."""

    mean: Tensor
    std: Tensor


class TextStates(NamedTuple):
    """What the U-Net reads of prompts: a state a token, (b, k, d), and for some a pooled (b, e)."""

    tokens: Tensor
    pooled: Tensor | None = None

    def pick(self, rows: Tensor) -> TextStates:
        """The states of some of the prompts, (b,) integers, in that order."""
        return self._each(lambda states: states[rows])

    def repeat(self, count: int) -> TextStates:
        """One prompt's states for ``count`` pictures."""
        return self._each(lambda states: states.expand(count, *states.shape[1:]))

    def _each(self, change: Callable[[Tensor], Tensor]) -> TextStates:
        pooled = None if self.pooled is None else change(self.pooled)
        return TextStates(change(self.tokens), pooled)


# ---------------------------------------------------------------- what is asked of a model


class Drawable(Protocol):
    """Anything that draws prompts: a base model, a result, a saved result.

    Attributes:
        subject: what ``{}`` in a prompt becomes; None where no concept was learned.
        words: the tokens of the learned word, one a vector; none where no concept was learned.
        unet, text: the parts as they are now; base: the model that they belong to.
        concept: what was learned, if it is at hand; recipe_name: how.
    """

    @property
    def subject(self) -> str | None: ...
    @property
    def words(self) -> tuple[str, ...]: ...
    @property
    def base(self) -> Base: ...
    @property
    def unet(self) -> Any: ...
    @property
    def text(self) -> Text: ...
    @property
    def concept(self) -> Concept | None: ...
    @property
    def recipe_name(self) -> str: ...

    def expand(self, prompt: str) -> str:
        """The prompt with all vectors of the word written out, as the tokenizer reads it."""

    def pipeline(self) -> Any:
        """A plain diffusers pipeline that shares these parts."""


class Base(Drawable, Protocol):
    """A latent diffusion model on one device, as the method sees it.

    Attributes:
        name: "tiny", a hub id or a folder; revision: the hub commit, if any.
        scheduler: the noise of training; side, latent_side: pixels, and latent cells, of a picture.
        parts: the modules by their names in a diffusers folder.
    """

    name: str
    revision: str | None
    scheduler: Any
    device: torch.device
    dtype: torch.dtype

    @property
    def side(self) -> int: ...
    @property
    def latent_side(self) -> int: ...
    @property
    def parts(self) -> Mapping[str, torch.nn.Module]: ...
    @property
    def prediction_type(self) -> str: ...

    def encode_pictures(self, pixels: Tensor) -> Posterior:
        """Pictures (b, 3, side, side) in [-1, 1] to latents."""

    def encode_prompts(self, ids: Tensor, text: Text | None = None) -> TextStates:
        """Token ids (b, k) of the first tokenizer to text states, by ``text`` or by its own."""

    def predict(self, unet: Any, noisy: Tensor, timesteps: Tensor, states: TextStates) -> Tensor:
        """What a U-Net of this family predicts of noisy latents, (b, c, y, x)."""

    def pipeline(self, unet: Any = None, text: Text | None = None) -> Any:
        """A plain diffusers pipeline of these parts, with some of them replaced."""

    def fingerprint(self) -> str:
        """A short hash that tells models apart."""


# ---------------------------------------------------------------- one text encoder


@dataclass
class StableDiffusion:
    """Stable Diffusion 1.x and 2.x: one text encoder, no pooled states. See :class:`Base`."""

    name: str
    revision: str | None
    tokenizer: Any
    text_encoder: Any
    vae: Any
    unet: Any
    scheduler: Any
    device: torch.device
    dtype: torch.dtype

    subject = None  # no concept was learned
    concept = None
    words = ()
    recipe_name = "base"

    @classmethod
    def load(cls, source: Source, device: torch.device, dtype: torch.dtype) -> StableDiffusion:
        """Read the parts, frozen and in order for drawing.

        Raises:
            BaseModelError: a part is missing, damaged, or not of one family.
        """
        with loading.explained(source):
            from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
            from transformers import CLIPTextModel, CLIPTokenizer

            at: dict[str, Any] = {"revision": source.revision}
            tokenizer = CLIPTokenizer.from_pretrained(source.place, subfolder="tokenizer", **at)
            scheduler = DDPMScheduler.from_pretrained(source.place, subfolder="scheduler", **at)
        text_encoder = loading.load_weights(CLIPTextModel, source, "text_encoder", dtype=dtype)
        vae = loading.load_weights(AutoencoderKL, source, "vae", torch_dtype=dtype)
        unet = loading.load_weights(UNet2DConditionModel, source, "unet", torch_dtype=dtype)
        for module in (text_encoder, vae, unet):
            module.requires_grad_(False).eval().to(device)
        modules = (text_encoder, vae, unet)
        base = cls(source.name, source.revision, tokenizer, *modules, scheduler, device, dtype)
        base._check()
        return base

    def _check(self) -> None:
        """Find parts that do not belong together."""
        rows, words = self.text_encoder.config.vocab_size, len(self.tokenizer)
        if not rows - 64 <= words <= rows:  # rows may be rounded up
            raise BaseModelError(
                f"{self.name}: its tokenizer has {words} words, its text encoder {rows}: "
                "a file of its tokenizer is missing or another model's; "
                "download it again, or use 'tiny'"
            )
        takes, gives = self.unet.config.in_channels, self.vae.config.latent_channels
        if takes != gives:
            raise BaseModelError(
                f"{self.name}: its U-Net takes {takes} channels, its latents have {gives}: "
                "models for inpainting cannot be personalized, give one for text to image"
            )

    @property
    def base(self) -> StableDiffusion:
        return self

    @property
    def text(self) -> Text:
        return Text((self.tokenizer,), (self.text_encoder,))

    @property
    def parts(self) -> dict[str, torch.nn.Module]:
        return {"text_encoder": self.text_encoder, "vae": self.vae, "unet": self.unet}

    @property
    def prediction_type(self) -> str:
        """What the U-Net predicts, "epsilon" or "v_prediction"."""
        return self.scheduler.config.prediction_type

    @property
    def latent_side(self) -> int:
        return self.unet.config.sample_size

    @property
    def side(self) -> int:
        # every block of the VAE but the last halves the picture
        return self.latent_side * 2 ** (len(self.vae.config.block_out_channels) - 1)

    def expand(self, prompt: str) -> str:
        return prompt

    def encode_pictures(self, pixels: Tensor) -> Posterior:
        found = self.vae.encode(pixels.to(self.dtype)).latent_dist
        scale = self.vae.config.scaling_factor
        return Posterior(found.mean.float() * scale, found.std.float() * scale)

    def encode_prompts(self, ids: Tensor, text: Text | None = None) -> TextStates:
        (encoder,) = (text or self.text).encoders
        return TextStates(encoder(input_ids=ids).last_hidden_state)

    def predict(self, unet: Any, noisy: Tensor, timesteps: Tensor, states: TextStates) -> Tensor:
        return unet(noisy, timesteps, encoder_hidden_states=states.tokens).sample

    def pipeline(self, unet: Any = None, text: Text | None = None) -> Any:
        with loading.quiet():
            from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

        (tokenizer,), (text_encoder,) = text or self.text
        pipeline: Any = StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=self.unet if unet is None else unet,
            scheduler=DPMSolverMultistepScheduler.from_config(self.scheduler.config),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def fingerprint(self) -> str:
        configs = (self.vae.config, self.unet.config, self.scheduler.config)
        return loading.fingerprint(self.parts.values(), configs)


FAMILIES: dict[str, type[StableDiffusion]] = {"StableDiffusionPipeline": StableDiffusion}


def load_base(
    name: str = "tiny",
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: torch.dtype = torch.float32,
) -> Base:
    """Load a model for personalization.

    Args:
        name: "tiny" (bundled), "sd21" (the paper's, from the hub), a hub id, or a diffusers folder.
        revision: a hub commit or tag.
        dtype: of the weights; half precision serves for generating, training wants float32.

    Raises:
        BaseModelError: missing, damaged, gated or unreachable; one line with the cure.
    """
    try:
        where = pick_device(device)
    except ValueError as error:
        raise BaseModelError(str(error)) from error
    mind_company()
    keep_heap()
    source = loading.find_source(name, revision, kinds=tuple(FAMILIES))
    family = FAMILIES[loading.load_kind(source, tuple(FAMILIES))]
    return family.load(source, where, dtype)
