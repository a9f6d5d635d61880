"""The rendering cache: many scenes drawn once, by all cores, resumable chunk by chunk.

Scene ``i`` is drawn from ``default_rng([seed, i])`` and rendered with seed ``i``, so the
pictures do not depend on the number of workers, on the chunks or on interruptions. This
module imports no torch: its worker processes start quickly.
"""

from __future__ import annotations

import ast
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ..system.files import atomic_write_json, atomic_write_text, explain_disk_full, sweep
from ..system.fingerprints import fingerprint
from ..toyworld import (
    grammar,
    patterns,
    pen,
    places,
    portraits,
    props,
    render,
    sampling,
    scene as scene_module,
    skies,
    subjects,
)
from ..toyworld.render import SIZE
from ..toyworld.scene import LABELS, Scene, labels, scene_from_dict, scene_to_dict
from .workers import as_made

CHUNK = 500  # scenes that a worker draws at a time: 25 MB of pixels, a few seconds of work
IMAGES = "images.npy"
CAPTION_STRIDE = 64  # captions of scene i use the seeds i * 64 + j


@dataclass
class Cache:
    """Rendered scenes.

    Attributes:
        images: uint8 (n, 128, 128, 3), RGB; of a finished cache, read from the disk as needed.
        records: n dicts with the scene as plain data and its captions.
    """

    folder: Path
    images: np.ndarray
    records: list[dict]

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def captions(self) -> list[tuple[str, ...]]:
        """The captions of each image."""
        return [tuple(r["captions"]) for r in self.records]

    @cached_property
    def scenes(self) -> list[Scene]:
        return [scene_from_dict(r["scene"]) for r in self.records]

    @cached_property
    def labels(self) -> np.ndarray:
        """int64 (n, heads): class numbers in the order of ``LABELS``; -1 where no word fits."""
        return label_numbers(self.scenes)


def label_numbers(scenes: list[Scene]) -> np.ndarray:
    """int64 (n, heads): class numbers in the order of ``LABELS``; -1 where no word fits."""
    table = np.full((len(scenes), len(LABELS)), -1, dtype=np.int64)
    numbers = [{word: k for k, word in enumerate(words)} for words in LABELS.values()]
    for row, item in zip(table, scenes, strict=True):
        for head, word in enumerate(labels(item)[name] for name in LABELS):
            if word is not None:
                row[head] = numbers[head][word]
    return table


def code_hash() -> str:
    """Changes when the code that draws or describes scenes does: old pictures are then stale.

    Comments and layout do not count.
    """
    drawing = (
        scene_module,
        portraits,
        sampling,
        grammar,
        patterns,
        pen,
        subjects,
        props,
        places,
        skies,
        render,
    )
    trees = [ast.dump(ast.parse(Path(module.__file__).read_bytes())) for module in drawing]
    return fingerprint(trees, b"\0")[:16]


@dataclass(frozen=True)
class Renders:
    """Which scenes a cache holds.

    Attributes:
        held_out, sample: passed to :func:`.sampling.sample_scene`.
        captions_per_image: how many ways to say each scene.
        chunk: scenes that a worker draws at a time.
    """

    count: int
    seed: int
    held_out: bool = False
    captions_per_image: int = 4
    chunk: int = CHUNK
    sample: dict = field(default_factory=dict)


def build_cache(
    folder: str | Path, renders: Renders, *, workers: int | None = None, progress: bool = True
) -> Cache:
    """Draw the scenes into ``folder``, or go on where a killed call stopped, or just load.

    Args:
        workers: processes; None uses all cores, 1 renders in this process.

    A folder made with other settings or by other render code is made anew.

    Raises:
        DiskFull: no space left; the chunks already there stay.
    """
    folder = Path(folder)
    settings = {**asdict(renders), "code": code_hash()}
    _prepare(folder, settings)
    jobs = [
        (folder, number, settings)
        for number in range(-(-renders.count // renders.chunk))
        if not _texts(folder, number).exists()
    ]
    _render_all(jobs, workers, progress)
    return load_cache(folder)


def load_cache(folder: str | Path) -> Cache:
    """Open a finished cache. Its pixels (49 kB each) stay on the disk and are mapped, so that
    several stages side by side share what the system keeps of them.

    Raises:
        FileNotFoundError: no cache, or chunks missing; the message names the folder.
    """
    folder = Path(folder)
    try:
        settings = json.loads((folder / "manifest.json").read_text())
        count, chunk = settings["count"], settings["chunk"]
        images, records = np.load(folder / IMAGES, mmap_mode="c"), []
        for number in range(-(-count // chunk)):
            lines = _texts(folder, number).read_text().splitlines()
            records += [json.loads(line) for line in lines]
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise FileNotFoundError(
            f"no complete rendering cache in {folder} ({error}); delete it and run again"
        ) from error
    return Cache(folder, images, records)


# ---------------------------------------------------------------- chunks


def _texts(folder: Path, number: int) -> Path:
    """The records of a chunk; written last, so the chunk is made when they are there."""
    return folder / f"scenes-{number:05d}.jsonl"


def _prepare(folder: Path, settings: dict) -> None:
    """Make ``folder`` hold nothing but chunks of these settings, and room for all pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    manifest, pixels = folder / "manifest.json", folder / IMAGES
    try:
        same = json.loads(manifest.read_text()) == json.loads(json.dumps(settings))
    except (FileNotFoundError, ValueError):
        same = False
    if not same or not pixels.exists():
        manifest.unlink(missing_ok=True)  # first, so that a kill here cannot bless old chunks
        for pattern in ("images*.npy", "scenes-*.jsonl"):
            for path in folder.glob(pattern):
                path.unlink()
        shape = (settings["count"], SIZE, SIZE, 3)
        np.lib.format.open_memmap(pixels, "w+", np.uint8, shape).flush()
        atomic_write_json(manifest, settings)


def make_scene(index: int, settings: dict) -> tuple[np.ndarray, dict]:
    """Scene ``index`` of a cache: uint8 (128, 128, 3) and its record."""
    rng = np.random.default_rng([settings["seed"], index])
    item = sampling.sample_scene(rng, held_out=settings["held_out"], **settings["sample"])
    said = [
        grammar.caption(item, index * CAPTION_STRIDE + j)
        for j in range(settings["captions_per_image"])
    ]
    return render.render_image(item, index), {"scene": scene_to_dict(item), "captions": said}


def _make_chunk(folder: Path, number: int, settings: dict) -> int:
    """Render one chunk, write its pixels and then its records; returns how many scenes it holds."""
    first = number * settings["chunk"]
    indices = range(first, min(first + settings["chunk"], settings["count"]))
    made = [make_scene(i, settings) for i in indices]
    images = np.stack([image for image, _ in made])
    path = folder / IMAGES
    begin = np.load(path, mmap_mode="r").offset + first * images[0].nbytes
    # written, not mapped: on a full disk writing is an error, while a mapped page kills the process
    with explain_disk_full(path), open(path, "r+b") as file:
        file.seek(begin)
        file.write(images.tobytes())
    records = "".join(json.dumps(record) + "\n" for _, record in made)
    atomic_write_text(_texts(folder, number), records)
    return len(made)


def _render_all(jobs: list[tuple], workers: int | None, progress: bool) -> None:
    if not jobs:
        return
    from tqdm.auto import tqdm

    total = len(jobs) * jobs[0][2]["chunk"]
    with tqdm(total=total, desc="render", unit="scene", disable=not progress) as bar:
        for made in as_made(_make_chunk, jobs, workers):
            bar.update(made)
