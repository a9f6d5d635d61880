"""A mark in the pixels that nobody sees and only its key finds: keyed spread spectrum in the DCT.

The picture is cut into blocks of 8 x 8, as JPEG does, and of each block some low frequencies of the
luminance carry one chip each: a sign that the key draws. Signs repeat every 64 pixels, so that a
piece of a picture is enough, wherever it was cut out. The chips are shared out among the bits of
the payload, and turn their signs for a 0. Where a coefficient has the wrong sign, embedding moves
it over zero, the cheapest first and every bit alike, until the budget of change is spent.

Whether a mark is there: in a picture without it the key's signs are as good as thrown anew,
whatever the picture shows, so each bit's sum of signs has mean 0 and variance 1, and tails no
heavier than a normal's. The sum of their squares is held against the chi-square distribution.

Spread spectrum: Cox et al. 1997, "Secure Spread Spectrum Watermarking for Multimedia". Choosing
the change by the picture at hand: Malvar and Florencio 2003, "Improved Spread Spectrum".

Axes: y, x blocks of a picture, or of the 8 x 8 of a tile; f chips of a block; b bits.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BLOCK = 8  # pixels, JPEG's own: what survives its rounding once survives it wholly
TILE = 8  # blocks after which the signs repeat
PERIOD = BLOCK * TILE
MIN_SIDE = 64  # pixels that a picture needs to be marked
BITS = 16  # of a payload, where nothing else is asked for
BAND = 0.9, 3.7  # cycles a block, lowest and highest: the picture lies below, JPEG cuts off above
CUT = 8.0  # a coefficient counts up to this: one strong edge does not outvote the others
ROUNDS = 6  # rounding to whole numbers and the ends of the scale undo a part, which is done again
FOUND = 1e-5  # the p-value below which a mark counts as found
# By whole tiles of a picture: how near it stays, in dB, and how far over zero a coefficient moves;
# half a step of JPEG is 3 to 9 at quality 75, 5 to 17 at 50. A large picture has chips enough for a
# smaller change, of which each is stronger.
STRENGTHS = ((16, 42.0, 12.0), (4, 42.0, 10.0), (1, 40.4, 8.0))
LUMINANCE = np.array([0.299, 0.587, 0.114])

_K = np.arange(BLOCK)
DCT = np.cos(np.pi * (_K + 0.5) * _K[:, None] / BLOCK) * np.sqrt(2 / BLOCK)
DCT[0] /= np.sqrt(2)  # orthonormal: (frequency, pixel)
_RADIUS = np.hypot(*np.meshgrid(_K, _K))
CHIPS = np.nonzero((BAND[0] < _RADIUS) & (_RADIUS < BAND[1]))  # frequencies of a block: (f,), (f,)


class WatermarkError(ValueError):
    """A picture, key or payload that cannot be used; one line with the cure."""


@dataclass(frozen=True)
class Detection:
    """What a key finds in a picture.

    Attributes:
        score: the mean square of the bits' sums in standard deviations, about 1 without the mark.
        p_value: the probability that an unmarked picture, or another key, scores so high anywhere
            that was looked; calibrated down to 1e-4, see ``benchmarks/RESULTS.md``.
        bits: the payload, which means something only if the mark was found. offset: where in the
            picture the first whole tile begins, (y, x) in pixels.
    """

    score: float
    p_value: float
    bits: tuple[int, ...]
    offset: tuple[int, int] = (0, 0)

    @property
    def is_found(self) -> bool:
        return self.p_value < FOUND


def embed(
    image: np.ndarray, key: str, bits: Sequence[int] | None = None, *, psnr: float | None = None
) -> np.ndarray:
    """A picture with the mark in it, uint8 (h, w, 3).

    Args:
        image: uint8 (h, w, 3) RGB, at least 64 pixels a side.
        key: any text; who has it can find the mark, and forge or remove it as well.
        bits: the payload of zeros and ones, or none: the mark alone.
        psnr: how near it stays, in dB, at least; by default 40.4, and 42 from 128 pixels a side on.

    Raises:
        WatermarkError: not such a picture, key, payload or number.
    """
    _check(image, MIN_SIDE)
    payload = check_bits(() if bits is None else bits, image.shape)
    own, margin = next(row[1:] for row in STRENGTHS if row[0] <= _tiles(image.shape))
    psnr = own if psnr is None else psnr
    if not 30 <= psnr <= 50:
        raise WatermarkError(f"a PSNR of {psnr} dB leaves no picture or no mark: use 38 to 46")
    rows, columns = image.shape[0] // BLOCK, image.shape[1] // BLOCK
    signs, groups = _code(key, len(payload))
    turned = signs * (2 * np.array(payload or (1,)) - 1)[groups]
    repeat = (-(-rows // TILE), -(-columns // TILE), 1)
    wanted, group = (np.tile(part, repeat)[:rows, :columns] for part in (turned, groups))
    most = 255**2 / 10 ** (psnr / 10)  # mean square of the change
    slack = 0.1  # of it: rounding alone changes 1/12
    marked = image.astype(float)
    for _ in range(ROUNDS):
        values = _chips(_spectrum(marked @ LUMINANCE)) * wanted  # (y, x, f)
        left = most - slack - ((marked - image) ** 2).mean()
        step = _pixels(_moves(values, group, margin, left * image.size / 3) * wanted)
        changed = marked.copy()
        changed[: rows * BLOCK, : columns * BLOCK] += step[..., None]  # brightness, no color
        changed = changed.round().clip(0, 255)
        over = ((changed - image) ** 2).mean() - most
        if over > 0:
            slack += 2 * over + 0.02
        else:
            marked = changed
    return marked.astype(np.uint8)


def _moves(values: np.ndarray, group: np.ndarray, margin: float, budget: float) -> np.ndarray:
    """What to add to the chips' coefficients, times their signs, at a sum of squares of ``budget``.

    Each bit's chips stand in a queue, the cheapest first; whose sum is lowest is served next.

    Args:
        values: coefficients times their wanted signs, (y, x, f); group: each one's bit.
    """
    agreement = np.clip(values / CUT, -1, 1).ravel()
    lack = np.maximum(0.0, margin - values).ravel()
    level = np.empty(len(lack))  # of its bit's sum when a chip's turn comes
    for bit in range(group.max() + 1):
        queue = np.nonzero(group.ravel() == bit)[0]
        queue = queue[np.argsort(lack[queue], kind="stable")]
        gains = np.cumsum(1 - agreement[queue]) - (1 - agreement[queue])  # of those before it
        level[queue] = (agreement[queue].sum() + gains) / math.sqrt(len(queue))
    order = np.argsort(level, kind="stable")
    served = order[np.cumsum(lack[order] ** 2) <= budget]
    moves = np.zeros(len(lack))
    moves[served] = lack[served]
    return moves.reshape(values.shape)


def detect(image: np.ndarray, key: str, bits: int = BITS, *, search: bool = False) -> Detection:
    """Look for the key's mark.

    Args:
        image: uint8 (h, w, 3) RGB, at least 16 pixels a side. bits: the length of the payload.
        search: also where the picture was cut out of another, at every offset; the p-value is
            that of 4,096 attempts.

    Raises:
        WatermarkError: not such a picture or key.
    """
    _check(image, 2 * BLOCK)
    signs, groups = _code(key, bits)
    grey = image @ LUMINANCE
    shifts = np.arange(BLOCK if search else 1)
    rolls = np.arange(TILE if search else 1)
    label, length = groups.ravel(), groups.max() + 1
    best, payload, offset = -math.inf, np.zeros(length), (0, 0)
    for dy, dx in ((y, x) for y in shifts for x in shifts):
        folded = _folded(grey[dy:, dx:])  # (8, 8, f)
        for ry, rx in ((y, x) for y in rolls for x in rolls):
            values = (np.roll(folded, (ry, rx), (0, 1)) * signs).ravel()
            spread = np.bincount(label, values**2, length)
            sums = np.bincount(label, values, length) / np.sqrt(np.maximum(spread, 1e-12))  # (b,)
            # without a payload only one direction counts, and the chance is half
            score = float((sums**2).mean() if bits else max(sums[0], 0.0) ** 2)
            if score > best:
                best, payload = score, sums[:bits]
                offset = ((dy - ry * BLOCK) % PERIOD, (dx - rx * BLOCK) % PERIOD)
    tried = (len(shifts) * len(rolls)) ** 2
    p_value = min(1.0, tried * chance(best, length) / (1 if bits else 2))
    return Detection(best, p_value, tuple(int(each > 0) for each in payload), offset)


def chance(score: float, length: int) -> float:
    """The probability that ``length`` sums of random signs have this mean square or more.

    The tail of chi-square, in closed form for even lengths; an odd one is rounded up, which says
    too much by a little.
    """
    half = score * length / 2
    if length == 1:
        return math.erfc(math.sqrt(half))
    logs = [k * math.log(max(half, 1e-300)) - math.lgamma(k + 1) for k in range(-(-length // 2))]
    return min(1.0, sum(math.exp(each - half) for each in logs))


def _tiles(shape: tuple[int, ...]) -> int:
    return (shape[0] // PERIOD) * (shape[1] // PERIOD)


def capacity(height: int, width: int) -> int:
    """Most bits of a payload in a picture of that size: 16 at 64 pixels, 32 at 128, 64 from 256 on.

    So many are read without error after JPEG 75, see ``benchmarks/watermark.py``.
    """
    tiles = _tiles((height, width))
    return 0 if tiles < 1 else min(64, BITS << (tiles.bit_length() - 1) // 2)


# ---------------------------------------------------------------- the code


def _code(key: str, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Signs of a tile's chips, -1 or 1, and the bit that each is for, from 0: (8, 8, f)."""
    check_key(key)
    shape = (TILE, TILE, len(CHIPS[0]))
    count = math.prod(shape)
    # From a hash, so that no version of numpy changes what a key means.
    stream = hashlib.shake_256(b"adb watermark 1\0" + key.encode()).digest(8 * count)
    numbers = np.frombuffer(stream, "<u8")
    signs = 1.0 - 2.0 * (numbers & 1)
    groups = np.empty(count, int)
    groups[np.argsort(numbers >> 1, kind="stable")] = np.arange(count) % max(bits, 1)
    return signs.reshape(shape), groups.reshape(shape)


def check_key(key: str) -> None:
    """Raises:
    WatermarkError: no key at all.
    """
    if not isinstance(key, str) or not key.strip():
        raise WatermarkError(f"a key is a text that is not empty, got {key!r}: choose a long one")


def check_bits(bits: Sequence[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    """A payload that a picture of this (h, w, ...) can hold.

    Raises:
        WatermarkError: it cannot.
    """
    room = capacity(*shape[:2])
    if len(bits) > room or any(bit not in (0, 1) for bit in bits):
        raise WatermarkError(
            f"a payload is up to {room} zeros and ones in {shape[1]} x {shape[0]} pixels, "
            f"got {len(bits)} values"
        )
    return tuple(int(bit) for bit in bits)


def check_size(height: int, width: int, least: int = MIN_SIDE) -> None:
    """Raises:
    WatermarkError: fewer pixels a side than a mark needs.
    """
    if min(height, width) < least:
        raise WatermarkError(
            f"pictures of {width} x {height} pixels are too small for a watermark: "
            f"it needs at least {least} a side"
        )


def _check(image: np.ndarray, least: int) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3:
        raise WatermarkError("give a picture as an array, uint8 (h, w, 3)")
    if image.shape[2] != 3:
        raise WatermarkError(f"a picture of {image.shape[2]} channels: convert it to RGB")
    check_size(image.shape[0], image.shape[1], least)


# ---------------------------------------------------------------- arithmetic


def _spectrum(grey: np.ndarray) -> np.ndarray:
    """The DCT of every whole block of (h, w), (y, x, 8, 8)."""
    rows, columns = grey.shape[0] // BLOCK, grey.shape[1] // BLOCK
    blocks = grey[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    return DCT @ blocks.swapaxes(1, 2) @ DCT.T


def _chips(spectrum: np.ndarray) -> np.ndarray:
    """The coefficients that carry chips, (y, x, f)."""
    return spectrum[..., CHIPS[0], CHIPS[1]]


def _pixels(chips: np.ndarray) -> np.ndarray:
    """The picture of which these are the chips, and all else is zero: (h, w)."""
    rows, columns = chips.shape[:2]
    spectrum = np.zeros((rows, columns, BLOCK, BLOCK))
    spectrum[..., CHIPS[0], CHIPS[1]] = chips
    blocks = DCT.T @ spectrum @ DCT  # (y, x, 8, 8)
    return blocks.swapaxes(1, 2).reshape(rows * BLOCK, columns * BLOCK)


def _folded(grey: np.ndarray) -> np.ndarray:
    """All chips, large ones cut to the margin, summed over the tiles: (8, 8, f)."""
    chips = np.clip(_chips(_spectrum(grey)) / CUT, -1, 1)  # (y, x, f)
    rows, columns = (-(-n // TILE) * TILE for n in chips.shape[:2])
    padded = np.zeros((rows, columns, chips.shape[2]))
    padded[: chips.shape[0], : chips.shape[1]] = chips
    return padded.reshape(rows // TILE, TILE, columns // TILE, TILE, -1).sum((0, 2))
