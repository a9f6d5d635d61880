"""Checks of notebook 06, and the questions at its end."""

from __future__ import annotations

import numpy as np
import torch

from ..quizzes import Question
from . import DOTS, differs

QUIZ = (
    Question(
        "A map alone needs queries and keys. Why are values and output trained too?",
        ("By mistake", "Who looks at [V] must find something there", "It is quicker"),
        "Who looks at [V] must find something there",
        "The diffusion loss has to be served as well.",
    ),
    Question(
        "'sunflower' falls into two pieces. The category's statistics are",
        (
            "those of the mean map",
            "the means of the pieces' statistics",
            "those of the first piece",
        ),
        "the means of the pieces' statistics",
        "A mean map is smoother than any piece; the authors take the first piece.",
    ),
    Question(
        "The gradient of the regulariser flows",
        ("into the map of [V]", "into the category's map", "into both"),
        "into both",
        "`detach_category` holds the category's as a target.",
    ),
    Question(
        "With the category held as a target, its map",
        ("stays", "drifts more", "vanishes"),
        "drifts more",
        "The weights that move still change it, and nobody corrects it.",
    ),
    Question(
        "Without the regulariser, which word takes over?",
        ("[V]", "The category", "The start token"),
        "The category",
        "The U-Net finds it easier to draw at a word that it knows.",
    ),
)


def check_1(key_value_names) -> str | None:
    block = "down_blocks.0.attentions.0.transformer_blocks.0"
    ours = [
        f"{block}.attn2.to_k.weight",
        f"{block}.attn2.to_v.weight",
        "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight",
    ]
    others = [
        f"{block}.attn1.to_k.weight",
        f"{block}.attn2.to_q.weight",
        f"{block}.norm2.weight",
        f"{block}.attn2.to_out.0.bias",
    ]
    names = [others[0], ours[0], others[1], ours[1], others[2], ours[2], others[3]]
    got = key_value_names(names)
    if got is ...:
        return DOTS
    if isinstance(got, (str, int)) or got is None:
        return "it should return a list of names"
    got = list(got)
    if others[0] in got:
        return f"{others[0]!r} is a key made from pixels: attn1 looks at pixels, not at words"
    if extra := [name for name in got if name not in ours]:
        return f"{extra[0]!r} is no key or value of a cross-attention layer"
    if missing := [name for name in ours if name not in got]:
        return f"{missing[0]!r} is missing"
    return None if got == ours else "the names should keep their order and come once each"


def check_2(moved_names) -> str | None:
    before = {
        "a": torch.tensor([1.0, 2.0]),
        "b": torch.tensor([3.0]),
        "c": torch.tensor([[0.5, 0.25], [1.0, 1.0]]),
    }
    after = {
        "a": torch.tensor([1.0, 2.0]),
        "b": torch.tensor([3.0000002]),
        "c": torch.tensor([[0.5, 0.25], [1.0, 2.0]]),
    }
    got = moved_names(before, after)
    if got is ...:
        return DOTS
    if got is None or isinstance(got, (str, int)):
        return "it should return a set of names"
    got = set(got)
    if "a" in got:
        return "it names a tensor that is equal bit for bit"
    if "b" not in got:
        return "it misses a change in the last bits: compare bits, not 'about the same'"
    if "c" not in got:
        return "it misses a tensor in which one number of four has changed: one is enough"
    return None if got == {"b", "c"} else f"it gave the names {sorted(got)}, expected ['b', 'c']"


def check_3(map_overlap) -> str | None:
    rng = np.random.default_rng(0)
    a, b = rng.random((4, 4)), rng.random((4, 4))
    if np.ndim(got := map_overlap(a, b)) != 0:
        return (
            "it should return one number: add up over all cells of both axes"
            if got is not None
            else "it returned nothing (None): is there a return?"
        )
    wanted = np.minimum(a / a.sum(), b / b.sum()).sum()
    if differs(map_overlap(a, 3 * a), 1.0) and not differs(got, np.minimum(a, b).sum()):
        return (
            "it is not 1 for two maps of one shape and different brightness: divide each by its "
            "sum first"
        )
    if not differs(got, np.minimum(a / a.max(), b / b.max()).sum()):
        return "divide each map by its sum, not by its largest value"
    return differs(got, wanted, "the overlap")


class _Block(torch.nn.Module):
    """Two layers with the names of a U-Net's, and a third whose parameter asks for no gradient."""

    def __init__(self):
        super().__init__()
        self.attn1 = torch.nn.Linear(3, 3)
        self.attn2 = torch.nn.ModuleDict({"to_q": torch.nn.Linear(3, 3)})
        self.norm2 = torch.nn.LayerNorm(3).requires_grad_(False)

    def forward(self, x):
        return self.norm2(self.attn2["to_q"](torch.tanh(self.attn1(x))))


def _block():
    torch.manual_seed(7)
    return torch.nn.ModuleDict({"block": _Block()})


def check_4(stage_2) -> str | None:
    inputs = 3 * torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(8))

    def loss_of(unet):
        return lambda step: (20 * (unet["block"](inputs[step]) - inputs[step]).square()).mean()

    def done(unet, *, fresh=True, clip=True):
        loss, losses = loss_of(unet), []
        moving = list(unet["block"].attn2.parameters())
        optimizer = torch.optim.AdamW(moving, lr=0.02)
        for step in range(6):
            value = loss(step)
            if fresh:
                optimizer.zero_grad()
            value.backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(moving, 1.0)
            optimizer.step()
            losses.append(float(value.detach()))
        return losses

    unet = _block()
    before = {name: p.detach().clone() for name, p in unet.named_parameters()}
    got = stage_2(unet, loss_of(unet), 6, 0.02)
    if got is ...:
        return DOTS
    for name, p in unet.named_parameters():
        if ".attn2." not in name and not torch.equal(p, before[name]):
            return f"{name!r} has moved, and is no parameter of a cross-attention layer"
        if ".attn2." in name and torch.equal(p, before[name]):
            return f"{name!r} has not moved"
        if p.requires_grad == (".norm2." in name):
            return f"the requires_grad of {name!r} is not what it was: put it back at the end"
        if p.grad is not None:
            return f"{name!r} still has a gradient: set it to None at the end"
    if not isinstance(got, (list, tuple)) or len(got) != 6:
        return "it should return the list of the losses, one of each step"
    if differs(got, done(_block(), fresh=False), tolerance=1e-5) is None:
        return "the gradients of earlier steps are still there: clear them before each backward"
    if differs(got, done(_block(), clip=False), tolerance=1e-5) is None:
        return "the gradients are not clipped: their common norm may be at most 1"
    return differs(got, done(_block()), "the list of losses", 1e-5)
