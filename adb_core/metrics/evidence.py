"""What metrics look at: pictures with their prompts, and the model that drew them.

Nothing is computed twice, and nothing that nobody asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..base import Base, Drawable
from ..concept import Concept
from ..generation import Generation
from ..judges import Clip
from .embeddings import embed_images, embed_texts
from .maps import photo_maps
from .pointing import map_quality


class LeftOut(Exception):
    """A metric that cannot be measured here; the message says why."""


@dataclass
class Pictures:
    """Pictures, and what they should show.

    Attributes:
        images: uint8 (n, h, w, 3). asks: what each picture's prompt asks for, label -> word.
        judge: like :func:`adb_core.load_judge`'s; clip: like :func:`adb_core.load_clip`'s.
        texts: the prompts in plain words, for CLIP-T.
        absent: "judge" or "clip" -> why there is none.
    """

    images: np.ndarray
    asks: Sequence[Mapping[str, str]]
    concept: Concept
    judge: Any = None
    clip: Clip | None = None
    texts: Sequence[str] = ()
    absent: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def read(self) -> dict[str, list[str]]:
        """What the judge finds: label -> word of each picture."""
        return self._need("judge").read(self.images)

    @cached_property
    def identities(self) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors of the pictures' individuals (n, c), and of the photos' (m, c)."""
        judge = self._need("judge")
        photos = self.concept.squares(self.images.shape[1])
        return judge.identity(self.images), judge.identity(photos)

    @cached_property
    def embedded(self) -> np.ndarray:
        """CLIP's embeddings of the pictures, (n, c)."""
        return embed_images(self._need("clip"), self.images)

    @cached_property
    def embedded_photos(self) -> np.ndarray:
        """CLIP's embeddings of the concept's photos, (m, c)."""
        return embed_images(self._need("clip"), self.concept.images)

    @cached_property
    def embedded_texts(self) -> np.ndarray:
        """CLIP's embeddings of the prompts, (n, c)."""
        clip = self._need("clip")
        if not len(self.texts):
            raise LeftOut("no texts of the prompts were given")
        return embed_texts(clip, self.texts)

    def _need(self, tool: str) -> Any:
        instrument = getattr(self, tool)
        if instrument is None:
            name = {"judge": "judge", "clip": "CLIP"}[tool]
            raise LeftOut(self.absent.get(tool, f"no {name} was given"))
        return instrument


@dataclass(frozen=True)
class EvaluationOptions:
    """How a model is measured.

    Attributes:
        concept: whose photos count; needed for a base or a saved model, which carry none.
        base: what drift is measured against; None is the model that the training started from.
        judge, clip: "auto" uses the bundled ones where the pictures are the toy world's; None does
            without; or objects like those of :func:`adb_core.load_judge` and
            :func:`adb_core.load_clip`.
        steps, guidance, batch, progress: of :func:`adb_core.generate`.
        map_seed: of the noise that is added to the photos.
        drift_seeds: pictures of the plain category that are compared with the base model's; empty:
            none.
        generation: pictures made already, of the same prompts and seeds, instead of new ones.
    """

    concept: Concept | None = None
    base: Base | None = None
    judge: Any = "auto"
    clip: Any = "auto"
    steps: int | None = None
    guidance: float | None = None
    batch: int = 16
    map_seed: int = 0
    drift_seeds: Sequence[int] = (0, 1, 2, 3)
    progress: bool = False
    generation: Generation | None = None

    @property
    def sampling(self) -> dict[str, Any]:
        """What every call of :func:`adb_core.generate` gets."""
        return {"steps": self.steps, "guidance": self.guidance, "batch": self.batch}


@dataclass
class Evidence:
    """A model, what it drew, and how that was asked for.

    Attributes:
        pictures: what the metrics of pictures look at; ``pictures.concept`` is the one that counts.
        generation: the same pictures with the maps of their words.
        base: what drift is measured against.
    """

    model: Drawable
    pictures: Pictures
    generation: Generation
    base: Base
    options: EvaluationOptions

    @cached_property
    def quality(self) -> dict[str, np.ndarray]:
        """How well the maps in the concept's own photos lie on the subject."""
        concept = self.pictures.concept
        if not concept.masks:
            raise LeftOut("the concept has no masks of its photos")
        maps = photo_maps(self.model, concept, seed=self.options.map_seed)
        return map_quality(maps, concept.masks)

    def named(self, start: str) -> dict[str, np.ndarray]:
        """The part of :attr:`quality` whose names begin with ``start``."""
        return {name: v for name, v in self.quality.items() if name.startswith(start)}
