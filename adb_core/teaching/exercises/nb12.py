"""Checks of notebook 12, and the questions at its end."""

from __future__ import annotations

import numpy as np

from ..quizzes import Question
from . import DOTS, differs

QUIZ = (
    Question(
        "What is learned from five photos besides the subject?",
        ("Nothing", "Whatever they share", "The category"),
        "Whatever they share",
        "The sofa, the blur, the date in the corner.",
    ),
    Question(
        "Which stage decides how much memory is needed?",
        ("1", "2", "3"),
        "3",
        "It moves the whole U-Net: gradients and two means for every weight.",
    ),
    Question(
        "Memory runs out in step 300. What happens?",
        ("The run is lost", "It goes on, one tier lower", "It starts anew"),
        "It goes on, one tier lower",
        "From the last step, and with the same steps: a tier trades time or precision.",
    ),
    Question(
        "The bundled judge can score photographs.",
        ("True", "False"),
        "False",
        "It knows the drawn world alone; for photographs there are CLIP-I, DINO and CLIP-T.",
    ),
    Question(
        "CLIP-T is 0.31 by one CLIP and 0.27 by another. The first model is better.",
        ("True", "False"),
        "False",
        "Numbers of two CLIPs cannot be compared.",
    ),
)


def check_1(center_square) -> str | None:
    for height, width in ((600, 800), (801, 600), (512, 512)):
        got, side = center_square(height, width), min(height, width)
        wanted = ((height - side) // 2, (width - side) // 2, side)
        if got is ...:
            return DOTS
        if not isinstance(got, (tuple, list)) or len(got) != 3:
            return "three numbers were asked for: top, left, side"
        if tuple(got) == wanted:
            continue
        if tuple(got) == (wanted[1], wanted[0], side):
            return "top and left are exchanged: a wide photo is cut at the left and right"
        if any(isinstance(number, float) and number != int(number) for number in got):
            return "pixels are whole numbers: divide with //"
        if got[2] == max(height, width):
            return "that square is larger than the photo"
        return f"of {height} x {width} it gave {tuple(got)}, expected {wanted}"
    return None


def check_2(twins) -> str | None:
    rng = np.random.default_rng(12)
    hashes = rng.random((5, 64)) < 0.5
    hashes[3] = hashes[1]
    hashes[3, :4] ^= True  # four bits
    hashes[4] = hashes[0]
    hashes[4, :9] ^= True  # nine
    got = twins(hashes, 4)
    if got is ...:
        return DOTS
    if got is None:
        return "it returned nothing (None): is there a return?"
    got = [tuple(int(k) for k in pair) for pair in got]
    if got == [(1, 3)]:
        return None
    if (3, 1) in got:
        return "each pair is wanted once, the smaller number first"
    if any(i == j for i, j in got):
        return "a photo is no twin of itself"
    if got == [] and [tuple(p) for p in twins(hashes, 5)] == [(1, 3)]:
        return "four bits may differ if most is 4: at most, not fewer than"
    return f"it gave {got}, expected [(1, 3)]"


def check_3(gigabytes) -> str | None:
    cases = (
        ((8e8, 8e8, 8, 2e9, True, 32), 8e8 * 6 + 8e8 * 12 + 16e9),
        ((8e8, 4e7, 1, 1e9, False, 8), 8e8 * 4 + 4e7 * 6 + 1e9),
    )
    for arguments, total in cases:
        got = gigabytes(*arguments)
        if got is ...:
            return DOTS
        if got is not None and np.ndim(got) == 0 and abs(got - total / 1e9) < 1e-6:
            return "those are gigabytes of 10^9 bytes: GiB of 2^30 were asked for"
        wrong = differs(got, total / 2**30, "of one case the result", tolerance=1e-4)
        if wrong:
            return wrong
    return None
