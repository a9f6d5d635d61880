"""Patch states are computed once: kept in the run's folder, mapped, remade only where they must."""

from pathlib import Path

import numpy as np
import pytest
import torch

from adb_core.pretraining import alignment, parts as parts_module
from adb_core.pretraining.alignment import kept_patches, patch_states
from adb_core.pretraining.cache import Cache
from adb_core.pretraining.parts import Parts, kept_parts
from adb_core.pretraining.unet import Batches, Lessons
from adb_core.system.files import DiskFull
from adb_core.tinymodel.clip import build_clip
from adb_core.tinymodel.tokenizer import build_tokenizer


class Counted:
    """Rows that are their own numbers; remembers what was asked for."""

    def __init__(self, factor: int = 1, stop_at: int | None = None):
        self.factor, self.stop_at, self.asked = factor, stop_at, []

    def __call__(self, start: int, stop: int) -> np.ndarray:
        if start == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append((start, stop))
        return self.factor * np.arange(start, stop, dtype=np.float16)[:, None] * np.ones(3)


def kept(folder: Path, make: Counted, key: str = "k", count: int = 11) -> Parts:
    return kept_parts(folder, key, count, make, size=4, progress=False)


def test_rows_are_made_once_and_read_where_they_lie(tmp_path):
    first = Counted()
    found = kept(tmp_path / "rows", first)
    assert first.asked == [(0, 4), (4, 8), (8, 11)] and len(found) == 11
    assert all(isinstance(array, np.memmap) for array in found.arrays)
    again = Counted()
    rows = torch.tensor([10, 0, 7, 4, 3, 3])
    torch.testing.assert_close(kept(tmp_path / "rows", again)[rows][:, 0], rows.double())
    assert again.asked == [] and kept(tmp_path / "rows", again)[rows[:0]].shape == (0, 3)
    for odd in (11, -1):
        with pytest.raises(IndexError, match="rows must be from 0 to 10"):
            found[torch.tensor([0, odd])]


def test_a_kill_loses_one_part(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path / "rows", Counted(stop_at=8))
    (tmp_path / "rows/.k-4-00000008-0.npy.123.tmp").write_bytes(b"half")
    rest = Counted()
    kept(tmp_path / "rows", rest)
    assert rest.asked == [(8, 11)] and not list((tmp_path / "rows").glob(".*"))


def test_other_rows_take_the_place_of_these(tmp_path):
    kept(tmp_path / "rows", Counted())
    other = Counted(factor=2)
    found = kept(tmp_path / "rows", other, key="l")
    assert len(other.asked) == 3 and float(found[torch.tensor([5])][0, 0]) == 10
    assert len(list((tmp_path / "rows").iterdir())) == 3
    more = Counted()
    kept(tmp_path / "rows", more, key="l", count=13)
    assert more.asked == [(8, 12), (12, 13)]  # the last part had three rows, and has four


@pytest.mark.parametrize("damage", ["a changed number", "cut short", "empty", "no array"])
def test_damage_is_seen_and_remade(tmp_path, damage):
    kept(tmp_path / "rows", Counted())
    path = sorted((tmp_path / "rows").iterdir())[1]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    texts = {
        "a changed number": bytes(data),
        "cut short": data[:-5],
        "empty": b"",
        "no array": b"?",
    }
    path.write_bytes(texts[damage])
    again = Counted()
    found = kept(tmp_path / "rows", again)
    assert again.asked == [(4, 8)]
    assert found[torch.arange(11)][:, 0].tolist() == list(range(11))
    assert f"rows: {path.name} was damaged, and is made anew" in (tmp_path / "log.txt").read_text()


def test_a_full_disk_is_one_line_and_leaves_what_was_made(tmp_path, monkeypatch):
    write, written = parts_module.atomic_write_bytes, []

    def full(path, data):
        if written:
            raise DiskFull("disk full: free space and run the same command again")
        written.append(path)
        write(path, data)

    monkeypatch.setattr(parts_module, "atomic_write_bytes", full)
    with pytest.raises(DiskFull, match="run the same command again"):
        kept(tmp_path / "rows", Counted())
    monkeypatch.setattr(parts_module, "atomic_write_bytes", write)
    rest = Counted()
    kept(tmp_path / "rows", rest)
    assert rest.asked == [(4, 8), (8, 11)]


# ---------------------------------------------------------------- of pictures


@pytest.fixture
def cache(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 128, 128, 3), np.uint8)
    return Cache(tmp_path / "cache", images, [{"captions": ["a cat"]}] * 5)


def clip_of(seed: int):
    torch.manual_seed(seed)
    return build_clip(build_tokenizer()).eval()


def test_a_resumed_run_uses_the_file_and_another_clip_makes_it_anew(cache, tmp_path, monkeypatch):
    def of(clip, cache=cache):
        return kept_patches(clip, cache, tmp_path / "patches", size=2, progress=False)

    clip = clip_of(0)
    exact = patch_states(clip, cache.images, batch=2)
    rows = torch.tensor([4, 1, 1, 0])
    torch.testing.assert_close(of(clip)[rows], exact[rows])

    def refused(*_):
        pytest.fail("computed again")

    with monkeypatch.context() as patch:
        patch.setattr(alignment, "patch_states", refused)
        torch.testing.assert_close(of(clip_of(0))[rows], exact[rows])  # the same weights
    other = clip_of(1)
    made = of(other)
    torch.testing.assert_close(made[rows], patch_states(other, cache.images, batch=2)[rows])
    assert not torch.equal(made[rows], exact[rows])
    changed = Cache(cache.folder, 255 - cache.images, cache.records)
    assert not torch.equal(of(other, changed)[rows], made[rows])
    assert len(list((tmp_path / "patches").iterdir())) == 3  # nothing of the earlier ones is left


def test_the_unets_lessons_read_parts_as_they_read_a_tensor(cache, tmp_path):
    clip = clip_of(0)
    states = kept_patches(clip, cache, tmp_path / "patches", size=2, progress=False)
    lessons = Lessons(torch.zeros(5, 4, 16, 16), [("a cat",)] * 5, states=lambda: states)
    rows = torch.tensor([3, 0])
    seen = Batches.of(lessons, build_tokenizer(), False, torch.device("cpu")).seen
    assert seen[rows].shape == (2, 64, 128) and seen[rows].dtype == torch.float16
    assert Batches.of(lessons, build_tokenizer(), True, torch.device("cpu")).seen is None


def test_a_run_keeps_its_patches_in_its_folder(tmp_path, monkeypatch):
    """What the U-Net stage is handed: the states of this run's CLIP and cache, in RUN/patches."""
    from types import SimpleNamespace

    from adb_core.pretraining import run as run_module
    from adb_core.pretraining.settings import Place

    handed = {}
    monkeypatch.setattr(run_module, "pixel_metric", lambda *_: None)
    monkeypatch.setattr(run_module, "build_things", lambda *_: np.zeros((5, 16, 16), np.uint8))
    monkeypatch.setattr(run_module, "kept_patches", lambda *about: handed.setdefault("of", about))
    monkeypatch.setattr(run_module, "train_unet", lambda lessons, *_, **__: lessons)
    steps = dict.fromkeys(run_module.TRAINED, 1)
    made = run_module.Pretraining(
        Place(tmp_path, 0, "cpu"), tmp_path / "data", None, steps, 5, ("unet",)
    )
    cache = SimpleNamespace(images=None, captions=[("a cat",)])
    vars(made).update(
        cache=cache, vae=None, clip=("clip", None, None), latents=torch.zeros(5, 4, 16, 16),
        text_encoder=None,
    )  # fmt: skip
    made.unet.states()
    assert handed["of"] == ("clip", cache, tmp_path / "patches")
