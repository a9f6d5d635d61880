"""Low-rank adapters as data: how large they are, how strong, and on which layers they sit."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

# The queries, keys, values and outputs of every attention, as the field's LoRA scripts have it.
ATTENTION = r".*\.attn[12]\.to_(q|k|v|out\.0)"
# And the rest of what a stage that trains the U-Net moves: the feed-forward layers, the ways in and
# out of the transformer blocks, and the convolutions between them.
WHOLE = (
    ATTENTION + r"|.*\.ff\.net\.(0\.proj|2)|.*\.proj_(in|out)"
    r"|.*\.resnets\.\d+\.(conv1|conv2|conv_shortcut|time_emb_proj)"
)


@dataclass(frozen=True)
class Lora:
    """A recipe's adapters (LoRA, Hu et al. 2022, arXiv 2106.09685).

    A layer with an adapter computes W x + (alpha / rank) B A x. W stays as it is; A (rank x in) and
    B (out x rank) are trained, in float32. B begins at zero, so that the model begins as the base.

    Attributes:
        rank: of the update, at least 1; a file grows with it.
        alpha: strength of the update is alpha / rank, so that the learning rate need not follow
            the rank.
        targets: a regular expression over the names of the U-Net's linear layers and convolutions;
            those that it matches as a whole get an adapter. A stage that trains
            "cross_attention" moves the adapters of ``attn2`` alone, one that trains "unet" all.
    """

    rank: int = 8
    alpha: float = 8.0
    targets: str = ATTENTION

    def __post_init__(self) -> None:
        if not isinstance(self.rank, int) or self.rank < 1:
            raise ValueError(
                f"LoRA rank must be a whole number of at least 1, got {self.rank!r}: use 4 to 64"
            )
        if not 0 < self.alpha < math.inf:
            raise ValueError(
                f"LoRA alpha must be positive and finite, got {self.alpha!r}: "
                "the update is multiplied by alpha / rank, use the rank"
            )
        try:
            re.compile(self.targets)
        except re.error as error:
            raise ValueError(
                f"LoRA targets {self.targets!r} are no regular expression ({error}): "
                r"write one like '.*\.attn2\.to_(k|v)'"
            ) from error


ATTENTIONS, EVERYWHERE = Lora(targets=ATTENTION), Lora(targets=WHOLE)
