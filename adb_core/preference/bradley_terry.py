"""Bradley-Terry: from who beat whom to one strength for each. No torch.

Axes: ... any leading axes, k contestants.
"""

from __future__ import annotations

import numpy as np

from ..system.commands import InputError


class OrderError(InputError):
    """Votes that do not fix an order; one line that says why."""


def bradley_terry(wins: np.ndarray, steps: int = 1000, tolerance: float = 1e-10) -> np.ndarray:
    """Strengths s, so that i beats j with probability 1 / (1 + exp(s_j - s_i)).

    Bradley and Terry (1952), by the minorize-maximize steps of Hunter (2004, eq. 3): a
    contestant's new strength is its wins, divided by what its meetings would have paid at the
    present strengths.

    Args:
        wins: (..., k, k) how often the row's contestant beat the column's; a tie is half a win for
            each. Every leading index is a table of its own, as in a bootstrap.

    Returns:
        (..., k) logs, each row with mean 0.
    """
    wins = np.asarray(wins, dtype=float)
    meetings = wins + wins.swapaxes(-1, -2)  # (..., k, k), symmetric
    won = wins.sum(-1)  # (..., k)
    strength = np.ones_like(won)
    for _ in range(steps):
        pairs = strength[..., :, None] + strength[..., None, :]
        new = won / (meetings / pairs).sum(-1)
        new /= np.exp(np.log(new).mean(-1, keepdims=True))  # only ratios count
        moved = np.abs(np.log(new / strength)).max()
        strength = new
        if moved < tolerance:
            break
    return np.log(strength)


def smoothed(wins: np.ndarray, prior: float = 0.5) -> np.ndarray:
    """The same table with ``prior`` more wins for either side of each pair that has met.

    Whoever never lost would be infinitely strong; in a bootstrap's small tables that happens.
    """
    wins = np.asarray(wins, dtype=float)
    return wins + prior * (wins + wins.swapaxes(-1, -2) > 0)


def check_order(wins: np.ndarray, names: tuple[str, ...]) -> None:
    """All contestants must hang together by meetings, else there is no common scale.

    Raises:
        OrderError: a group that has never met the others.
    """
    met = np.asarray(wins) + np.asarray(wins).T > 0
    reached = np.arange(len(names)) == 0
    for _ in names:
        reached = reached | met[reached].any(0)
    if not reached.all():
        apart = ", ".join(name for name, there in zip(names, reached, strict=True) if not there)
        raise OrderError(f"no vote compares {names[0]} with {apart}: they have no common scale")


def win_probability(strengths: np.ndarray) -> np.ndarray:
    """(k, k) the probability that the row's contestant beats the column's."""
    return 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
