"""Pictures: what is encoded comes back, and sizes are those that were asked for."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from adb_core.pictures import (
    enlarge,
    film,
    gif,
    opened,
    overlay,
    png,
    save_png,
    side_by_side,
    stacked,
)


def noise(h: int, w: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


@pytest.mark.parametrize("options", [{}, {"level": 1}, {"optimize": True}])
def test_png_keeps_every_pixel_at_every_level(options):
    picture = noise(13, 7)
    np.testing.assert_array_equal(opened(png(picture, **options)), picture)
    assert png(picture, **options) == png(Image.fromarray(picture), **options)


def test_png_without_options_is_pillows_own(tmp_path):
    """Stored pictures are compared by their hash."""
    picture, stream = noise(13, 7), io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    assert png(picture) == stream.getvalue()
    smallest = io.BytesIO()
    Image.fromarray(picture).save(smallest, "PNG", optimize=True)
    assert png(picture, optimize=True) == smallest.getvalue()
    save_png(tmp_path / "a.png", picture)
    assert (tmp_path / "a.png").read_bytes() == stream.getvalue()


def test_a_film_is_a_png_that_shows_all_frames_for_ever():
    frames = [np.full((24, 32, 3), 20 * k, np.uint8) for k in range(5)]
    data = film(frames, 250, "what it shows")
    moving = Image.open(io.BytesIO(data))
    assert data[:4] == b"\x89PNG" and (moving.n_frames, moving.size) == (5, (32, 24))
    assert moving.info["duration"] == 250 and moving.info["loop"] == 0
    for k, frame in enumerate(frames):
        moving.seek(k)
        assert (np.asarray(moving.convert("RGB")) == frame).all()
    assert moving.text["Description"] == "what it shows"
    noisy = [np.concatenate([noise(40, 40), np.full((4, 40, 3), 255, np.uint8)]) for _ in (0, 1)]
    with Image.open(io.BytesIO(film(noisy))) as many:
        assert (np.asarray(many.convert("RGB"))[-4:] == 255).all()  # paper stays white
    with pytest.raises(ValueError, match="none"):
        film([])
    with pytest.raises(ValueError, match="one size"):
        film([noise(4, 4), noise(4, 5)])


def test_gif_shows_all_frames_for_ever():
    frames = [np.full((8, 6, 3), 80 * k, np.uint8) for k in range(3)]
    film = Image.open(io.BytesIO(gif(frames, 120)))
    assert film.n_frames == 3 and film.info["duration"] == 120 and film.info["loop"] == 0
    film.seek(2)
    np.testing.assert_allclose(np.asarray(film.convert("RGB")), frames[2], atol=2)
    with pytest.raises(ValueError, match="one size, got none"):
        gif([])
    with pytest.raises(ValueError, match="one size"):
        gif([noise(4, 4), noise(4, 5)])


def test_overlay_and_enlarge_have_the_asked_size():
    image, heat = np.zeros((64, 32, 3), np.uint8), np.zeros((8, 4))
    heat[0, 0] = 1
    over = overlay(image, heat, side=128)
    assert over.shape == enlarge(image, 128).shape == (128, 64, 3)
    assert over[:20, :20].mean() > over[-20:, -20:].mean()
    assert overlay(image, np.ones((8, 8)), side=128).shape == (128, 64, 3)  # another aspect ratio


def test_rows_and_columns_leave_white_between():
    row = side_by_side(noise(4, 3), noise(4, 5), gap=2)
    assert row.shape == (4, 10, 3) and (row[:, 3:5] == 255).all()
    column = stacked(noise(3, 4), noise(5, 4), gap=2)
    assert column.shape == (10, 4, 3) and (column[3:5] == 255).all()
