"""The watermark: invisible, found with its key alone, and seldom wrong about it."""

import io
import math

import numpy as np
import pytest
from command_line import run
from PIL import Image

from adb_core.concept import Concept
from adb_core.generation import Generation
from adb_core.provenance import marking, watermark
from adb_core.provenance.inspection import inspect_file
from adb_core.provenance.record import Provenance, save_generated
from adb_core.provenance.watermark import (
    FOUND,
    WatermarkError,
    capacity,
    chance,
    detect,
    embed,
)

KEY = "a long secret"


def scene(number: int = 0, side: int = 64) -> np.ndarray:
    """One of the drawn photos, at that size."""
    image = Concept.bundled("pico").images[number % 5]
    return np.asarray(Image.fromarray(image).resize((side, side), 3))


def noise(number: int, side: int = 64) -> np.ndarray:
    """Noise with the spectrum of photographs, uint8 (side, side, 3)."""
    rng = np.random.default_rng(number)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    frequency[0, 0] = 1 / side
    white = np.fft.fft2(rng.normal(size=(3, side, side)))
    values = np.moveaxis(np.fft.ifft2(white / frequency).real, 0, -1)
    return (128 + 45 * values / values.std()).round().clip(0, 255).astype(np.uint8)


def payload(length: int, seed: int = 0) -> tuple[int, ...]:
    return tuple(np.random.default_rng(seed).integers(0, 2, length).tolist())


def jpeg(image: np.ndarray, quality: int = 75) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream).convert("RGB"))


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * math.log10(255**2 / ((one.astype(float) - other) ** 2).mean())


# ---------------------------------------------------------------- what it promises


@pytest.mark.parametrize(("side", "bits"), [(64, 16), (100, 16), (128, 32), (256, 64), (512, 64)])
def test_every_bit_is_read_after_jpeg_75(side, bits):
    assert capacity(side, side) == bits
    for number in range(3):
        image, said = scene(number, side), payload(bits, number)
        mark = embed(image, KEY, said)
        assert mark.dtype == np.uint8 and mark.shape == image.shape
        assert psnr(image, mark) >= 40
        for seen in (mark, jpeg(mark)):
            found = detect(seen, KEY, bits)
            assert found.is_found and found.bits == said and found.offset == (0, 0)
            assert not detect(seen, "another key", bits).is_found
    assert not detect(scene(0, side), KEY, bits).is_found


def test_photographs_spectra_keep_their_bits():
    rights = []
    for number in range(40):
        said = payload(16, number)
        mark = embed(noise(number), KEY, said)
        assert 40 <= psnr(noise(number), mark) < 41  # and the budget is spent
        rights.append(np.equal(detect(jpeg(mark), KEY).bits, said))
    assert np.mean(rights) >= 0.99


def test_without_payload_the_mark_alone_is_found():
    mark = embed(scene(), KEY)
    found = detect(jpeg(mark), KEY, 0)
    assert found.is_found and found.bits == ()
    assert not detect(scene(), KEY, 0).is_found


def test_a_piece_is_found_wherever_it_was_cut_out():
    said = payload(16)
    mark = embed(scene(0, 256), KEY, said)
    piece = mark[37 : 37 + 150, 21 : 21 + 171]
    assert not detect(piece, KEY).is_found
    found = detect(piece, KEY, search=True)
    assert found.is_found and found.bits == said
    assert found.offset == ((-37) % 64, (-21) % 64)  # where the next whole tile begins


def test_the_mark_of_a_mirror_image_is_lost():
    mark = embed(scene(), KEY, payload(16))
    assert not detect(mark[:, ::-1].copy(), KEY, search=True).is_found


@pytest.mark.parametrize("value", [0, 255])
def test_ends_of_the_scale(value):
    image = np.full((64, 64, 3), value, np.uint8)
    said = payload(16)
    mark = embed(image, KEY, said)
    assert psnr(image, mark) >= 40 and detect(mark, KEY).bits == said


def test_a_key_means_the_same_for_ever():
    """Marks outlive versions: of numpy, and of this file."""
    signs, groups = watermark._code(KEY, 16)
    assert signs.shape == (8, 8, len(watermark.CHIPS[0]))
    assert signs.ravel()[:12].astype(int).tolist() == SIGNS
    assert groups.ravel()[:8].tolist() == GROUPS
    counts = np.bincount(groups.ravel())
    assert counts.max() - counts.min() <= 1


SIGNS = [1, -1, -1, -1, 1, 1, 1, 1, -1, 1, -1, -1]
GROUPS = [11, 13, 9, 9, 5, 3, 1, 15]


# ---------------------------------------------------------------- how often it errs


@pytest.mark.parametrize("length", [1, 2, 3, 16, 64])
def test_the_chance_is_chi_squares(length):
    stats = pytest.importorskip("scipy.stats")
    for score in (0.0, 0.5, 1.0, 2.0, 5.0):
        even = length + length % 2 if length > 1 else 1
        assert chance(score, length) == pytest.approx(stats.chi2.sf(score * length, even))
    values = np.random.default_rng(0).normal(size=(4000, length))
    for score in (1.0, 1.5, 2.5):
        share = ((values**2).mean(1) >= score).mean()
        assert share <= chance(score, length) + 4 * math.sqrt(share / 4000) + 1e-3


def clean_p_values(count: int, keys: int) -> dict[str, np.ndarray]:
    own, same = [], []
    for number in range(count):
        image = noise(number) if number % 2 else scene(number)
        own += [detect(image, f"{number} {k}").p_value for k in range(keys)]
        same += [detect(image, f"same {k}").p_value for k in range(keys)]
    return {"own": np.array(own), "same": np.array(same)}


def test_p_values_of_unmarked_pictures_are_calibrated():
    p_values = clean_p_values(200, 10)["own"]
    for level in (0.5, 0.1, 0.01):
        allowed = 4 * math.sqrt(level / len(p_values))
        assert abs((p_values < level).mean() - level) < allowed + 0.1 * level
    assert p_values.min() > FOUND


@pytest.mark.slow
def test_of_10_000_unmarked_pictures_none_is_found():
    for p_values in clean_p_values(10_000, 2).values():
        assert (p_values < 1e-4).sum() <= 8 and p_values.min() > FOUND


# ---------------------------------------------------------------- bad input

IMAGE = np.zeros((64, 64, 3), np.uint8)
BAD = {
    "number as key": (lambda: embed(IMAGE, 5), "a key is a text"),
    "bytes as key": (lambda: detect(IMAGE, b"key"), "a key is a text"),
    "no key": (lambda: embed(IMAGE, " "), "a key is a text"),
    "too small": (lambda: embed(IMAGE[:40], KEY), "64 x 40 pixels are too small"),
    "far too small": (lambda: detect(IMAGE[:15], KEY), "at least 16 a side"),
    "floats": (lambda: embed(IMAGE / 255, KEY), "uint8"),
    "grey": (lambda: embed(IMAGE[..., 0], KEY), "uint8"),
    "RGBA": (lambda: embed(np.zeros((64, 64, 4), np.uint8), KEY), "4 channels: convert it to RGB"),
    "a list": (lambda: detect([[0]], KEY), "uint8"),
    "17 bits": (lambda: embed(IMAGE, KEY, (0,) * 17), "up to 16 zeros and ones in 64 x 64"),
    "a bit of 2": (lambda: embed(IMAGE, KEY, (0, 2)), "zeros and ones"),
    "a text as payload": (lambda: embed(IMAGE, KEY, "01"), "zeros and ones"),
    "100 dB": (lambda: embed(IMAGE, KEY, psnr=100), "PSNR of 100 dB"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case):
    call, says = BAD[case]
    with pytest.raises(WatermarkError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- tied to the metadata


ABOUT = Provenance(("a photo of a <pico> cat",), (3,), "tiny", recipe="attndreambooth")


def test_the_payload_ties_pixels_to_metadata(tmp_path):
    image = marking.marked(scene()[None], KEY, ABOUT)[0]
    save_generated(tmp_path / "a.png", image, ABOUT)
    mark = inspect_file(tmp_path / "a.png", KEY).mark
    assert mark.detection.is_found and mark.fits is True
    assert "fits the metadata" in mark.line() and len(mark.payload) == 4
    save_generated(tmp_path / "a.png", image, Provenance(("another prompt",)))
    mark = inspect_file(tmp_path / "a.png", KEY).mark
    assert mark.fits is False and "does NOT fit" in mark.line()
    Image.fromarray(image).save(tmp_path / "a.jpg", quality=75)
    found = inspect_file(tmp_path / "a.jpg", KEY)
    assert not found.is_found and found.mark.detection.is_found and found.mark.fits is None
    wrong = inspect_file(tmp_path / "a.jpg", "wrong").mark
    assert wrong.fits is None and "not found with this key" in wrong.line()
    assert wrong.public()["payload"] is None


@pytest.mark.parametrize("side", [64, 72])
def test_a_sheet_is_marked_as_a_whole(side, tmp_path):
    """Where marks of single pictures do not fit together, the sheet gets one of its own."""
    from adb_core.app.commands.drawing import _save_sheet

    images = np.stack([scene(k, side) for k in range(6)])
    drawn = Generation(images, ("a",) * 6, tuple(range(6)), about=ABOUT)
    _save_sheet(drawn, 3, tmp_path / "a.png", KEY)
    found = inspect_file(tmp_path / "a.png", KEY)
    assert found.size == (3 * side, 2 * side)
    assert found.mark.detection.is_found and found.mark.fits
    _save_sheet(drawn, 3, tmp_path / "b.png", None)
    with Image.open(tmp_path / "b.png") as sheet:
        np.testing.assert_array_equal(np.asarray(sheet)[:side, :side], images[0])


def test_the_command_finds_it_and_says_so(tmp_path):
    image = marking.marked(scene()[None], KEY, ABOUT)[0]
    save_generated(tmp_path / "a.png", image, ABOUT)
    done = run("inspect", tmp_path / "a.png", "--key", KEY)
    assert done.exit_code == 0 and "watermark: found" in done.stdout
    done = run("inspect", tmp_path / "a.png", "--key", "wrong", "--json")
    assert done.exit_code == 0 and '"found": false' in done.stdout


@pytest.mark.usefixtures("random_base")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["generate", "a cat", "--watermark", ""], "a key is a text"),
        (["generate", "a cat", "--watermark", "k", "--device", "cpu"], "32 x 32 pixels"),
        (["inspect", "nothing.png", "--key", ""], "a key is a text"),
        (["inspect", "nothing.png", "--key", "k"], "nothing.png is missing"),
        (["inspect", ".", "--key", "k"], "is a folder"),
    ],
)
def test_mistakes_are_one_line(arguments, says):
    done = run(*arguments)
    lines = done.stderr.strip().splitlines()
    assert done.exit_code == 2 and len(lines) == 1 and says in lines[0], done.output
