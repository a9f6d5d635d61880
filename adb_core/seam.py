"""What the method asks of a diffusion model, and nothing more: the protocol ``Base``.

``families/`` answers it; :func:`adb_core.load_base` chooses who does.

Axes: b batch, k tokens of a prompt, d channels of a text state, e of a pooled one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

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
