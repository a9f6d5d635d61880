"""Pictures: decoded upright, reduced, cropped to views."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from adb_core.images import Augmentation, read_image, view, views


def test_exif_orientation_is_honoured(tmp_path):
    image = Image.fromarray(
        np.arange(40 * 30 * 3, dtype=np.uint32).reshape(30, 40, 3).astype(np.uint8)
    )
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to view
    image.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.png"), np.asarray(image.transpose(Image.Transpose.ROTATE_270))
    )


@pytest.mark.parametrize(
    "name, mode",
    [("a.jpg", "RGB"), ("a.jpg", "L"), ("a.png", "RGB"), ("a.png", "P"), ("a.webp", "RGB")],
)
def test_large_photos_are_reduced_and_look_the_same(tmp_path, name, mode):
    small = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    large = Image.fromarray(small).resize((3200, 2400), Image.Resampling.BICUBIC).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side: the reduction must not come in the way
    large.save(tmp_path / name, exif=exif)
    found = read_image(tmp_path / name)
    assert found.shape == (1365, 1024, 3)
    wanted = np.asarray(
        large.convert("RGB")
        .transpose(Image.Transpose.ROTATE_270)
        .resize((1024, 1365), Image.Resampling.LANCZOS)
    )
    assert np.abs(found.astype(int) - wanted).mean() < 3


def test_grey_pictures_of_sixteen_bits_keep_their_tones(tmp_path):
    tones = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    Image.fromarray(tones).save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.png")[..., 0], np.arange(256).reshape(16, 16)
    )


def test_transparency_lies_over_white(tmp_path):
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 255).all()


@given(st.integers(9, 60), st.integers(9, 60), st.integers(0, 1000), st.floats(0.3, 1.0))
@settings(max_examples=40, deadline=None)
def test_views_are_square_and_have_no_black_corners(h, w, seed, crop):
    white = np.full((h, w, 3), 255, np.uint8)
    out = view(white, 16, np.random.default_rng(seed), Augmentation(crop, flip=True))
    assert out.shape == (16, 16, 3) and (out == 255).all()


def test_views_are_deterministic_and_start_with_the_photos():
    images = [
        np.random.default_rng(k).integers(0, 256, (20, 30, 3), dtype=np.uint8) for k in range(3)
    ]
    a, b = views(images, 16, 4, seed=1), views(images, 16, 4, seed=1)
    np.testing.assert_array_equal(a, b)
    assert a.shape == (12, 16, 16, 3) and not np.array_equal(a, views(images, 16, 4, seed=2))
    np.testing.assert_array_equal(a[:3], [view(i, 16) for i in images])
    np.testing.assert_array_equal(
        views(images, 16, 2, seed=1), a[:6]
    )  # more views only add to fewer
    with pytest.raises(ValueError, match="at least 1"):
        views(images, 16, 0, seed=1)
