"""The judge: a small conv net that says what is in a picture and how alike two individuals are.

It scores the tiny model from outside: it learns on real renders alone, never on samples.
Its two parts share one trunk: a linear head for each entry of ``LABELS``, and an identity
embedding learnt from pictures of the same individual in different scenes.

Axes: b batch, n pictures, c channels.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..system.files import atomic_write_bytes, atomic_write_json
from ..toyworld.render import SIZE
from ..toyworld.scene import LABELS

FORMAT = 3
CURE = "restore it (git checkout) or train it again: python -m adb_core.pretraining"


@dataclass(frozen=True)
class JudgeConfig:
    """What a judge is: stored beside its weights, so that a judge of another world still loads.

    Attributes:
        size: side of its pictures in pixels, 64 or 128; its features are 8x8 either way.
        widths: channels at a half, a quarter (or the same, for 64 pixels), and so on.
        identity: numbers in an identity embedding.
        labels: label -> its words.
        looks: learned attention maps, through which the identity part looks at the subject.
        heads_look: the heads look through them too, so that a color is the subject's and not the
            ball's beside it.
    """

    size: int = SIZE
    widths: tuple[int, int, int, int] = (32, 64, 112, 160)
    identity: int = 64
    labels: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(LABELS))
    looks: int = 8
    heads_look: bool = True


class Block(nn.Module):
    """Residual block of two 3x3 convolutions; ``stride`` 2 halves the picture."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(c_out)
        same = stride == 1 and c_in == c_out
        self.skip = nn.Identity() if same else nn.Conv2d(c_in, c_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.skip(x) + self.norm2(self.conv2(h)))


class Judge(nn.Module):
    """Pictures in [0, 1], (n, 3, size, size), to class scores and identities; 1.7 M parameters."""

    def __init__(self, config: JudgeConfig | None = None) -> None:
        super().__init__()
        self.config = config or JudgeConfig()
        a, b, c, d = self.config.widths
        first = self.config.size // 64  # stride that brings either size to the same grid
        self.stem = nn.Sequential(
            nn.Conv2d(3, a, 4, 2, 1, bias=False), nn.BatchNorm2d(a), nn.ReLU()
        )
        self.trunk = nn.Sequential(
            Block(a, b, first), Block(b, c, 2), Block(c, c), Block(c, d, 2), Block(d, d)
        )
        # few channels, but kept in place: relations are about places
        self.grid = nn.Conv2d(d, 32, 1)
        looks = self.config.looks
        seen = 2 * d + 32 * 16 + (looks * d if self.config.heads_look else 0)
        self.heads = nn.ModuleDict(
            {_key(name): nn.Linear(seen, len(words)) for name, words in self.config.labels.items()}
        )
        self.look = nn.Conv2d(d, looks, 1)
        self.embed = nn.Linear(looks * d, self.config.identity)

    def forward(self, pixels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """(scores per label (n, classes), unit identities (n, 64)) of (n, 3, h, w) in [0, 1]."""
        x = self.trunk(self.stem(pixels * 4 - 2))  # (n, c, 8, 8)
        grid = F.avg_pool2d(F.relu(self.grid(x)), 2).flatten(1)  # (n, 32 * 4 * 4)
        looks = self.look(x).flatten(2).softmax(-1)  # (n, looks, 64)
        seen = (looks @ x.flatten(2).transpose(1, 2)).flatten(1)  # (n, looks * c)
        features = [x.mean((2, 3)), x.amax((2, 3)), grid]
        features = torch.cat([*features, seen] if self.config.heads_look else features, dim=1)
        scores = {name: self.heads[_key(name)](features) for name in self.config.labels}
        return scores, F.normalize(self.embed(seen).float(), dim=-1)

    # ---- use

    @torch.inference_mode()
    def _run(self, images) -> tuple[dict[str, Tensor], Tensor]:
        pixels = as_pixels(images, self.config.size).to(next(self.parameters()).device)
        was_training = self.training
        self.eval()
        try:
            parts = [self(part) for part in pixels.split(250)]
        finally:
            self.train(was_training)
        scores = {
            name: torch.cat([s[name] for s, _ in parts]).float().cpu()
            for name in self.config.labels
        }
        return scores, torch.cat([e for _, e in parts]).cpu()

    def probabilities(self, images) -> dict[str, np.ndarray]:
        """Per label, float (n, classes) in the config's order; images as :func:`as_pixels`'s."""
        return {name: s.softmax(-1).numpy() for name, s in self._run(images)[0].items()}

    def read(self, images) -> dict[str, list[str]]:
        """Per label, the likeliest word for each picture."""
        labels = self.config.labels
        return {
            name: [labels[name][k] for k in p.argmax(1)]
            for name, p in self.probabilities(images).items()
        }

    def identity(self, images) -> np.ndarray:
        """Unit vectors, float (n, 64); their dot product says how alike two individuals are."""
        return self._run(images)[1].numpy()

    @torch.inference_mode()
    def features(self, images) -> np.ndarray:
        """The trunk's last features, mean over positions: float (n, c)."""
        pixels = as_pixels(images, self.config.size).to(next(self.parameters()).device)
        was_training = self.training
        self.eval()
        try:
            parts = [self.trunk(self.stem(p * 4 - 2)).mean((2, 3)) for p in pixels.split(250)]
        finally:
            self.train(was_training)
        return torch.cat(parts).float().cpu().numpy()

    # ---- files

    def save(self, folder: str | Path) -> None:
        """Write ``judge.safetensors`` (half precision) and ``config.json``."""
        from safetensors.torch import save

        folder = Path(folder)
        tensors = {
            k: (v.half() if v.is_floating_point() else v).contiguous().cpu()
            for k, v in self.state_dict().items()
        }
        atomic_write_bytes(folder / "judge.safetensors", save(tensors))
        atomic_write_json(
            folder / "config.json",
            {"format": FORMAT, **asdict(self.config)},
        )

    @classmethod
    def load(cls, folder: str | Path) -> Judge:
        """The saved judge, float32, in eval mode, on the CPU.

        Raises:
            ValueError: a file is missing, damaged or of another version; names it and the cure.
        """
        from safetensors.torch import load_file

        folder = Path(folder)
        judge = cls(read_config(folder))
        try:
            judge.load_state_dict(
                {
                    k: v.float() if v.is_floating_point() else v
                    for k, v in load_file(folder / "judge.safetensors").items()
                }
            )
        except Exception as error:  # safetensors and load_state_dict raise many kinds
            reason = str(error).splitlines()[0]
            path = folder / "judge.safetensors"
            raise ValueError(f"the judge's file {path} is damaged ({reason}); {CURE}") from error
        return judge.eval()


def _key(label: str) -> str:
    """A label as the name of its module."""
    return label.replace(" ", "_")


def read_config(folder: Path) -> JudgeConfig:
    """What the judge in a folder is, without its weights.

    Raises:
        ValueError: a file is missing, or the config is damaged; names it and the cure.
    """
    for name in ("config.json", "judge.safetensors"):
        if not (folder / name).is_file():
            raise ValueError(f"the judge's file {folder / name} is missing; {CURE}")
    path = folder / "config.json"
    try:
        return _config(json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the judge's file {path} is damaged ({error}); {CURE}") from error


def _config(stored: dict) -> JudgeConfig:
    """The stored JSON as a config.

    Raises:
        ValueError: of another format, or a size that no judge has.
    """
    if stored["format"] != FORMAT:
        raise ValueError(f"it is of format {stored['format']}, this version reads {FORMAT}")
    labels = {name: tuple(words) for name, words in stored["labels"].items()}
    size, looks, heads_look = int(stored["size"]), int(stored["looks"]), bool(stored["heads_look"])
    a, b, c, d = (int(w) for w in stored["widths"])
    if size not in (64, 128):
        raise ValueError(f"size must be 64 or 128, got {size}")
    return JudgeConfig(size, (a, b, c, d), int(stored["identity"]), labels, looks, heads_look)


def as_pixels(images, size: int = SIZE) -> Tensor:
    """Float (n, 3, size, size) in [0, 1] of uint8 (n, size, size, 3), PIL images or such a tensor.

    Raises:
        ValueError: another size or range.
    """
    if isinstance(images, Tensor):
        pixels = images.float()
        if pixels.numel() and (pixels.min() < -1e-3 or pixels.max() > 1 + 1e-3):
            raise ValueError("a tensor of pictures must lie in [0, 1]")
    else:
        array = np.stack([np.asarray(image) for image in images])
        if array.dtype != np.uint8:
            raise ValueError(f"pictures must be uint8 RGB arrays or PIL images, got {array.dtype}")
        pixels = torch.from_numpy(array).movedim(-1, 1).float() / 255
    if pixels.ndim != 4 or pixels.shape[1:] != (3, size, size):
        raise ValueError(
            f"the judge reads RGB pictures of {size}x{size} pixels, got shape {tuple(pixels.shape)}"
        )
    return pixels
