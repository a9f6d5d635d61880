"""How long a few pictures take."""

from __future__ import annotations

import statistics
import time

from ..pipeline import STEPS, Models, generate
from ..rows import Row

SPEED_PROMPTS = (
    "a photo of a red cat wearing a hat on the beach",
    "a sketch of a blue robot holding a ball in the city",
    "a painting of a green turtle next to a box in the snow",
    "pixel art of a yellow bird on the moon",
)


def measure_speed(models: Models, runs: int) -> list[Row]:
    """Median seconds of four pictures, 25 steps, guidance; a first run is not counted."""
    seconds = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        generate(models.pipe, list(SPEED_PROMPTS), seed=0)
        seconds.append(time.perf_counter() - start)
    value = statistics.median(seconds[1:])
    return [Row("speed", f"4 images, {STEPS} steps, guidance, warm", value, 4.0, "s", runs)]
