"""Checks of notebook 13."""

from __future__ import annotations

import numpy as np

from . import differs


def check_1(flicker) -> str | None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    values = frames.astype(float) / 255
    right = np.abs(values[1:] - values[:-1]).mean((1, 2, 3))
    got = flicker(frames)
    if got is not None and got is not ...:
        for sentence, value in {
            "uint8 wraps around below 0: make floats of the frames first": (
                (frames[1:] - frames[:-1]).astype(float).mean((1, 2, 3)) / 255
            ),
            "that is between 0 and 255: divide by 255": 255 * right,
            "that is one number: return one for each pair of neighbors": right.mean(),
        }.items():
            if differs(got, value) is None:
                return sentence
    return differs(got, right, "the flicker")


def check_2(on_sphere) -> str | None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 500))
    for t in (0.0, 0.25, 0.5, 1.0):
        angle = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        right = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
        got = on_sphere(a, b, t)
        if got is not None and got is not ... and t == 0.25:
            if differs(got, (1 - t) * a + t * b) is None:
                return "that is the straight line: take the sines"
            if (
                differs(got, (np.sin(t * angle) * a + np.sin((1 - t) * angle) * b) / np.sin(angle))
                is None
            ):
                return "the two shares are exchanged: t = 0 is a"
        if wrong := differs(got, right, f"the point at t = {t}"):
            return wrong
    return None


def check_3(energy) -> str | None:
    import torch

    heat = torch.rand(16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    got = energy(heat, 2, 9, 4, 16)
    share = heat[2:9, 4:16].sum() / heat.sum()
    if isinstance(got, torch.Tensor):
        for sentence, value in {
            "that is the share inside: E is the square of what is missing to 1": share,
            "square it": 1 - share,
            "rows come first in a map (y, x), then columns": (
                1 - heat[4:16, 2:9].sum() / heat.sum()
            )
            ** 2,
        }.items():
            if differs(got, value) is None:
                return sentence
    if wrong := differs(got, (1 - share) ** 2, "the energy"):
        return wrong
    if not (isinstance(got, torch.Tensor) and got.requires_grad):
        return "it cannot be differentiated: keep to tensors, without item() or numpy()"
    return None


def check_4(from_the_first) -> str | None:
    import torch

    f, d = 3, 5
    generator = torch.Generator().manual_seed(4)
    q, k, v = torch.randn((3, 2 * f, 7, d), generator=generator)

    def attention(keys, values, scale=d**0.5):
        return torch.softmax(q @ keys.transpose(1, 2) / scale, dim=-1) @ values

    def first(each):  # of each half
        return each[[0] * f + [f] * f]

    got = from_the_first(q, k, v)
    if got is not None and got is not ...:
        for sentence, value in {
            "every frame still reads its own keys and values": attention(k, v),
            "the frames with captions read the first frame without one: each half has its own": (
                attention(k[[0] * 2 * f], v[[0] * 2 * f])
            ),
            "keys are the first frame's, values still each frame's own": attention(first(k), v),
            "values are the first frame's, keys still each frame's own": attention(k, first(v)),
            "divide by the root of d before the softmax": attention(first(k), first(v), 1.0),
        }.items():
            if differs(got, value) is None:
                return sentence
    return differs(got, attention(first(k), first(v)), "what the frames read")
