"""Pictures on the way: a prompt set, drawn by a run in training every so many steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..system.commands import InputError

if TYPE_CHECKING:
    from ..personalization import Run
    from ..records import StepRecord

COLUMNS = 6


def read_prompts(name: str) -> tuple[str, ...]:
    """The prompts of a bundled set, or of a text file with one a line.

    Raises:
        InputError: there is no such set or file, it is empty, or a prompt has not exactly one {}.
    """
    from ..system.paths import data_path

    bundled = {path.stem: path for path in data_path("prompts").glob("*.json")}
    if name in bundled:
        entries = json.loads(bundled[name].read_text(encoding="utf-8"))["prompts"]
        return tuple(entry["prompt"] for entry in entries)
    path = Path(name)
    if not path.is_file():
        raise InputError(
            f"--prompt-set {name}: no such file, and no bundled set: give a text file with one "
            f"prompt a line, or one of {', '.join(sorted(bundled))}"
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        said = f"--prompt-set {name} is not a text file ({error}): save it as UTF-8"
        raise InputError(said) from error
    prompts = tuple(line.strip() for line in lines if line.strip())
    if not prompts:
        raise InputError(f"--prompt-set {name} is empty: write one prompt a line")
    for prompt in prompts:
        if prompt.count("{}") != 1:
            raise InputError(
                f"--prompt-set {name}: {prompt!r} needs exactly one {{}} where the concept goes"
            )
    return prompts


@dataclass(frozen=True)
class Previews:
    """What to draw, when and where to; nothing without prompts.

    Attributes:
        every: steps between two previews; the last step of a stage is one as well.
        steps, guidance: of sampling; None leaves them to the model.
    """

    prompts: Sequence[str]
    folder: Path
    every: int
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None

    @property
    def how(self) -> dict:
        """What was chosen of sampling, as ``generate`` takes it."""
        every = {"steps": self.steps, "guidance": self.guidance}
        return {name: value for name, value in every.items() if value is not None}

    def check(self, run: Run) -> None:
        """Find out before the training whether the prompts can be drawn.

        Raises:
            PromptError, TokenError: they cannot.
        """
        from ..generation import Sampling, check, fill

        if not self.prompts:
            return
        sampling, model = Sampling(**self.how), run.result
        texts = [fill(prompt, model.subject) for prompt in self.prompts]
        check(model, model.pipeline(), texts, sampling.steps)

    def is_due(self, record: StepRecord, run: Run) -> bool:
        """Whether this step is followed by a preview; one in shares is drawn with at the end."""
        from ..sharding import is_spread

        due = record.is_last or (record.step % self.every == 0 and not is_spread(run.learner.unet))
        return bool(self.prompts) and due

    def draw(self, run: Run, record: StepRecord) -> Path:
        """Draw every prompt and write them as one sheet; returns its file.

        Raises:
            DiskFull: no space left.
        """
        from ..generation import generate
        from ..provenance.record import save_generated

        drawn = generate(run.result, list(self.prompts), [self.seed], **self.how)
        path = self.folder / f"{run.plan.name}-{record.stage}-{record.step:05d}.png"
        save_generated(path, sheet(drawn.images), drawn.about)
        return path


def sheet(images):
    """Pictures (b, h, w, 3) row by row on one, with black where the last row ends early."""
    import numpy as np

    count, h, w, c = images.shape
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    page = np.zeros((rows * columns, h, w, c), np.uint8)
    page[:count] = images
    page = page.reshape(rows, columns, h, w, c).swapaxes(1, 2)  # (rows, h, columns, w, c)
    return page.reshape(rows * h, columns * w, c)
