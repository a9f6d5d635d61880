"""A motion module: temporal attention between the layers of a U-Net that only draws stills.

After the spatial transformers of the middle and of the way up, the frames of a clip look at one
another, cell by cell. What they learn is added through a projection that begins as zero, so that
before training nothing changes (AnimateDiff, Guo et al. 2023, arXiv 2307.04725, section 4). The
U-Net's own weights are never touched: the module hangs on it by hooks, so it fits every U-Net
personalized from the same base.

diffusers' ``UNetMotionModel`` does the same for Stable Diffusion's sizes, by another class of U-Net
with blocks of the layers' full width after every residual block. Here the U-Net stays what it is,
so that the capture of attention goes on working, and on a CPU every block counts: without any on
the way down the gradient ends in the middle, and the way down needs no backward pass.

Axes: n rows of a batch, v clips, f frames of one clip (n = v f), c channels of a layer, d of the
module, m heads, y x cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

WIDTH, HEADS = 64, 4
FRAMES = 8


class MotionError(ValueError):
    """A motion module that cannot be used so; one line with the cure."""


class TemporalAttention(nn.Module):
    """(n, c, y, x) plus what its frames learn from one another, (n, c, y, x).

    A cell alone does not see where its neighbors go: the way in is a 3 x 3 convolution.

    Args:
        channels: c. kinds: of motion; each has its own row of frame positions. frames: f.
    """

    def __init__(self, channels: int, kinds: int, frames: int = FRAMES, width: int = WIDTH):
        super().__init__()
        self.frames = frames
        self.norm = nn.GroupNorm(1, channels)
        self.to_width = nn.Conv2d(channels, width, 3, padding=1)
        self.positions = nn.Parameter(0.5 * torch.randn(kinds, frames, width))
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.feed = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.to_out = nn.Linear(width, channels)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)

    def forward(self, hidden: Tensor, kinds: Tensor) -> Tensor:
        """``kinds`` (v,): the number of each clip's motion."""
        cells = self.to_width(self.norm(hidden))  # (n, d, y, x)
        tokens = cells.flatten(2).unflatten(0, (-1, self.frames))  # (v, f, d, y x)
        tokens = tokens.permute(0, 3, 1, 2)  # (v, y x, f, d): each cell is a sequence of frames
        tokens = tokens + self.positions[kinds][:, None]
        tokens = tokens + self.attend(tokens)
        tokens = tokens + self.feed(tokens)
        change = self.to_out(tokens).permute(0, 2, 3, 1)  # (v, f, c, y x)
        return hidden + change.reshape(hidden.shape).to(hidden.dtype)

    def attend(self, tokens: Tensor) -> Tensor:
        """Every frame reads all frames of its cell: (v, y x, f, d) to the same."""
        q, k, v = (  # each (v, y x, m, f, d / m)
            part.unflatten(-1, (HEADS, -1)).transpose(2, 3)
            for part in self.to_qkv(tokens).chunk(3, -1)
        )
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)  # (v, y x, m, f, f)
        return (weights @ v).transpose(2, 3).flatten(3)


def places(unet: Any) -> dict[str, int]:
    """The layers that a motion module follows, and their channels.

    They are the spatial transformers of the middle and of the way up.

    Raises:
        MotionError: there is none.
    """
    kind = "Transformer2DModel"
    found = {
        name: module.in_channels
        for name, module in unet.named_modules()
        if type(module).__name__ == kind and not name.startswith("down_blocks")
    }
    if not found:
        raise MotionError(f"this U-Net has no {kind} that a motion module could follow")
    return found


class Motion(nn.Module):
    """One :class:`TemporalAttention` for each of a U-Net's spatial transformers.

    Args:
        channels: of :func:`places`. kinds: names of the motions. fingerprint: of the base model.
    """

    def __init__(
        self,
        channels: dict[str, int],
        kinds: Sequence[str],
        fingerprint: str,
        frames: int = FRAMES,
        width: int = WIDTH,
    ):
        super().__init__()
        self.channels, self.kinds, self.fingerprint = dict(channels), tuple(kinds), fingerprint
        self.frames, self.width = frames, width
        self.layers = nn.ModuleList(
            TemporalAttention(c, len(self.kinds), frames, width) for c in channels.values()
        )

    @classmethod
    def fresh(cls, base: Any, kinds: Sequence[str], seed: int = 0, **sizes: int) -> Motion:
        """An untrained one for a base model, which changes nothing; its weights are ``seed``'s."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(places(base.unet), kinds, base.fingerprint(), **sizes).to(base.device)

    def number(self, kind: str) -> int:
        """The number of a motion.

        Raises:
            MotionError: it has not learned that one.
        """
        if kind not in self.kinds:
            raise MotionError(f"unknown motion {kind!r}: choose one of {', '.join(self.kinds)}")
        return self.kinds.index(kind)


@contextmanager
def moving(unet: Any, motion: Motion, kinds: str | Sequence[str]) -> Iterator[None]:
    """Within, the rows of a batch are clips whose frames look at one another.

    Args:
        unet: of the base model, or personalized from it; as before afterwards, whatever happens.
        kinds: the motion of every clip of the batch, or one for all. Guidance doubles the batch,
            the half without the prompt first: both halves then move alike.

    Raises:
        MotionError: an unknown motion, a U-Net of other layers; within, a batch of other clips.
    """
    names = [kinds] if isinstance(kinds, str) else list(kinds)
    numbers = torch.tensor([motion.number(name) for name in names])
    if places(unet) != motion.channels:
        raise MotionError("this motion module was made for a U-Net of other layers: give its base")
    modules = dict(unet.named_modules())
    hooks = []

    def follow(layer: nn.Module) -> Any:
        def hook(_module: nn.Module, _given: Any, output: Any) -> Any:
            hidden = output[0]  # of a tuple or of diffusers' output, (n, c, y, x)
            clips, odd = divmod(len(hidden), motion.frames)
            if odd or clips % len(numbers):
                raise MotionError(
                    f"{len(hidden)} rows are not clips of {motion.frames} frames of "
                    f"{len(numbers)} motions: draw all frames of a clip in one batch"
                )
            of_clips = numbers.repeat(clips // len(numbers)).to(hidden.device)  # (v,)
            return (layer(hidden, of_clips),)

        return hook

    try:
        for name, layer in zip(motion.channels, motion.layers, strict=True):
            hooks.append(modules[name].register_forward_hook(follow(layer)))
        yield
    finally:
        for handle in hooks:
            handle.remove()
