"""Photos: read, looked over, cut, captioned, and shown before they are learned from."""

import io
import json
import sys

import numpy as np
import pytest
import torch
from command_line import run as adb
from models import make_learner, short, tiny_base, tiny_concept
from PIL import Image, ImageFilter

from adb_core import photos
from adb_core.captions import as_template, caption_numbers, own_prompts
from adb_core.concept import Concept, bundled_concepts
from adb_core.concept_token import TokenError
from adb_core.images import ConceptError, read_image, views
from adb_core.learner import Learner
from adb_core.losses import draw_batch, step_rng
from adb_core.personalization import personalize
from adb_core.recipes import recipe
from adb_core.training import StagePrompts


def photo(seed: int, side: int = 128) -> np.ndarray:
    """Noise with a photograph's spectrum, (side, side, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    frequencies = np.maximum(np.hypot(y, x), 1 / side)
    values = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) / frequencies)
    values = (values - values.min()) / np.ptp(values) * 255
    return np.repeat(values.astype(np.uint8)[..., None], 3, 2)


def blurred(image: np.ndarray, radius: float) -> np.ndarray:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


# ---------------------------------------------------------------- HEIC


def save_heic(path, image: np.ndarray, **how) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="HEIC needs the package pillow-heif")
    pillow_heif.from_pillow(Image.fromarray(image)).save(path, quality=90, **how)


@pytest.mark.parametrize("name", ["a.HEIC", "a.heif", "a.jpg"])  # telephones rename them, too
def test_heic_is_read_upright_whatever_it_is_called(tmp_path, name):
    upright = photo(0)[:, :80]
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to view
    lying = np.asarray(Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90))
    save_heic(tmp_path / "x.heic", lying, exif=exif.tobytes())
    (tmp_path / "x.heic").rename(tmp_path / name)
    found = read_image(tmp_path / name)
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).mean() < 6
    concept = Concept.from_folder(tmp_path, category="cat")
    assert concept.files == (name,) and not concept.skipped


def test_without_its_package_a_heic_photo_is_named(tmp_path, monkeypatch):
    save_heic(tmp_path / "a.heic", photo(0))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ConceptError, match="pip install pillow-heif, or save the photo as JPEG"):
        read_image(tmp_path / "a.heic")
    (tmp_path / "b.heic").write_bytes(b"no photo at all")
    with pytest.raises(ConceptError, match="cannot be read as an image"):
        read_image(tmp_path / "b.heic")


# ---------------------------------------------------------------- what is odd about photos


def test_near_duplicates_are_found_and_others_are_not():
    images = [photo(k) for k in range(4)]
    stream = io.BytesIO()
    Image.fromarray(images[0]).resize((300, 300)).save(stream, "JPEG", quality=60)
    smaller = np.asarray(Image.open(stream).convert("RGB"))
    darker = (images[2] * 0.8).astype(np.uint8)
    assert photos.duplicates([*images, smaller, darker]) == [(0, 4), (2, 5)]
    assert photos.duplicates(images) == []


def test_blur_is_measured_whatever_the_size():
    for side in (128, 512):
        image = photo(1, side)
        levels = [photos.blur(blurred(image, radius * side / 256)) for radius in (0, 1, 2, 4)]
        assert levels == sorted(levels)
        assert levels[0] < 0.4 and levels[-1] > photos.BLURRED
    assert photos.blur(np.zeros((20, 20, 3), np.uint8)) == 1.0  # nothing in it is sharp


def test_the_bundled_concepts_are_beyond_reproach():
    for names in bundled_concepts().values():
        for name in names:
            concept = Concept.bundled(name)
            assert photos.remarks(concept.images, concept.files) == []


def test_remarks_name_the_photo_and_what_to_do():
    images = [photo(0), photo(0), photo(1, 64), blurred(photo(2), 6)]
    lines = photos.remarks(images, ["a.jpg", "b.jpg", "c.jpg", "d.jpg"], side=128)
    assert [line.split()[0] for line in lines] == ["a.jpg", "c.jpg", "d.jpg"]
    assert "a.jpg and b.jpg show nearly the same: keep the better one" in lines[0]
    assert "64 x 64 pixels, fewer than the 128" in lines[1] and "looks blurred" in lines[2]
    assert photos.remarks(images[:1]) == [] == photos.remarks([])


# ---------------------------------------------------------------- how they are cut


def with_mask() -> Concept:
    image = np.full((60, 100, 3), 200, np.uint8)
    mask = np.zeros((60, 100), bool)
    mask[10:20, 70:90] = True
    image[mask] = 0
    return Concept("p", (image,), "<p>", "cat", (mask,))


def test_ways_of_cropping():
    concept = with_mask()
    assert concept.cropped("random") is concept
    center = concept.cropped("center")
    np.testing.assert_array_equal(center.images[0], concept.images[0][:, 20:80])
    subject = concept.cropped("subject")  # 20 wide, and 15 % of it on either side
    assert subject.images[0].shape == (26, 26, 3)
    assert subject.masks[0].sum() == concept.masks[0].sum()  # all of the subject is there
    assert (subject.images[0][subject.masks[0]] == 0).all()
    whole = concept.cropped("none")
    assert whole.images[0].shape == (100, 100, 3) and whole.masks[0].shape == (100, 100)
    np.testing.assert_array_equal(whole.images[0][20:80], concept.images[0])
    assert (whole.images[0][:20] == 200).all() and not whole.masks[0][:20].any()


def test_crops_that_cannot_be():
    with pytest.raises(ConceptError, match="unknown crop 'left': choose one of random, center"):
        with_mask().cropped("left")
    with pytest.raises(ConceptError, match="'subject' needs a mask of the subject in each photo"):
        tiny_concept().cropped("subject")


def test_a_sheet_shows_the_views_that_training_draws():
    images = [photo(0)[:, :90], photo(1)]
    parts = [photos.square(image.shape, "random") for image in images]
    sheet = photos.crop_sheet(images, parts, images, side=32, count=3, seed=5)
    assert sheet.shape == (2 * 32 + 8, 4 * 32 + 3 * 8, 3)
    wanted = views(images, 32, 3, seed=5)  # round by round: photo 0, photo 1, photo 0, ...
    for number in range(2):
        for k in range(3):
            top, left = number * 40, (k + 1) * 40
            cell = sheet[top : top + 32, left : left + 32]
            np.testing.assert_array_equal(cell, wanted[k * 2 + number])
    assert (sheet[:32, :32] == photos.OUTLINE).all(-1).any()  # the square is drawn on the photo


def folder_of_photos(folder):
    folder.mkdir()
    for name, image in (("a.jpg", photo(0)), ("b.jpg", photo(0)), ("c.png", photo(3, 64))):
        Image.fromarray(image).save(folder / name)
    return folder


def test_crop_preview_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder_of_photos(tmp_path / "mine")
    done = adb("crop-preview", "--concept", "./mine", "--side", "96", "--views", "2")
    assert done.exit_code == 0, done.output
    for says in ("a.jpg and b.jpg show nearly the same", "c.png has 64 x 64", "ask them before"):
        assert says in done.output
    assert read_image("out/crops.png").shape == (3 * 96 + 16, 3 * 96 + 16, 3)
    done = adb("crop-preview", "--concept", "./mine", "--crop", "subject")
    assert done.exit_code == 2 and "needs a mask" in done.output


def test_training_says_what_is_odd_about_photos_and_crops_them(tmp_path, random_base):
    folder_of_photos(tmp_path / "mine")
    quick = ["--steps-scale", "0.001", "--views", "1", "--quiet", "--device", "cpu"]
    how = ["--concept", "./mine", "--category", "cat", "--recipe", "textual_inversion"]
    done = adb("train", "--out", "out", *quick, *how, "--crop", "none")
    assert done.exit_code == 0, done.output
    assert "a.jpg and b.jpg show nearly the same" in done.output and "ask them" in done.output
    done = adb("train", "--out", "other", *quick, *how, "--crop", "subject")
    assert done.exit_code == 2 and "needs a mask" in done.output
    done = adb("train", "--out", "pico", *quick, "--concept", "pico", *how[4:])
    assert done.exit_code == 0 and "ask them" not in done.output  # its origin is stated


# ---------------------------------------------------------------- captions


def test_captions_beside_photos_and_in_metadata(tmp_path):
    folder = folder_of_photos(tmp_path / "mine")
    (folder / "a.txt").write_text("a photo of {} on  a table\n")
    lines = [{"file_name": "b.jpg", "text": "<mine> cat, asleep"}, {"file_name": "z.jpg"}]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    concept = Concept.from_folder(folder, category="cat")
    assert concept.captions == ("a photo of {} on a table", "{}, asleep", None)
    assert not concept.skipped
    (folder / "a.txt").unlink()
    (folder / "metadata.jsonl").unlink()
    assert Concept.from_folder(folder, category="cat").captions == ()


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("a.txt", "a cat on a table", "must name the concept exactly once"),
        ("a.txt", "{} and {}", "must name the concept exactly once"),
        ("a.txt", "a {} of {size}", "must name the concept exactly once"),
        ("a.txt", b"\xff\xfe\x00\xd8", "save it as UTF-8"),
        ("metadata.jsonl", "a.jpg: a {}", "line 1 is not a caption"),
        ("metadata.jsonl", '{"text": "a {}"}', "line 1 is not a caption"),
        ("metadata.jsonl", '{"file_name": "a.jpg", "text": 3}', "line 1 is not a caption"),
    ],
)
def test_captions_that_cannot_be_used(tmp_path, name, content, says):
    folder = folder_of_photos(tmp_path / "mine")
    data = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(data)
    with pytest.raises(ConceptError, match=says) as caught:
        Concept.from_folder(folder, category="cat")
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_caption_may_use_the_new_word():
    words = ("<p> cat", "<p>")
    for text in ("a {} on grass", "a <p> cat on grass", "a <p> on grass"):
        assert as_template(text, words, "x") == "a {} on grass"
    assert caption_numbers((None, "a {}", None, "b {}"), 5).tolist() == [-1, 5, -1, 6]


def captioned(*captions) -> Concept:
    from dataclasses import replace

    return replace(tiny_concept(), captions=captions)


def test_a_photos_caption_takes_the_place_of_the_prompt_and_of_nothing_else():
    plan = short(recipe("textual_inversion"), steps=2, batch=6)
    concept = captioned(None, "a red {} on the beach", None)
    learner = Learner(tiny_base(), concept, plan, view_count=3)
    stage = plan.stages[0]
    prompts = StagePrompts(learner, stage)
    assert prompts.own.tolist() == [-1, len(stage.prompts), -1]
    batch = draw_batch(learner.latents, len(stage.prompts), 60, 1000, step_rng(0, 0, 0))
    changed = own_prompts(prompts.own, batch.rows, batch.prompts)
    of_second = batch.rows % 3 == 1
    assert of_second.any() and (changed[of_second] == len(stage.prompts)).all()
    np.testing.assert_array_equal(changed[~of_second], batch.prompts[~of_second])
    text = learner.token.tokenize(["a red <pico> on the beach"])
    assert torch.equal(prompts.ids[len(stage.prompts)], text[0])
    # without captions nothing changes, not even a bit
    plain = StagePrompts(make_learner(plan, view_count=3), stage)
    assert own_prompts(plain.own, batch.rows, batch.prompts) is batch.prompts
    result = personalize(tiny_base(), concept, plan, view_count=3)
    other = personalize(tiny_base(), tiny_concept(), plan, view_count=3)
    assert result.history[0].loss != other.history[0].loss


def test_captions_are_checked_before_any_picture_is_encoded(monkeypatch):
    monkeypatch.setattr("adb_core.learner.encode_views", lambda *_: pytest.fail("encoded"))
    plan = short(recipe("dreambooth"))
    long = "a {} " + "cat " * 100
    with pytest.raises(TokenError, match="shorten"):
        Learner(tiny_base(), captioned(None, long, None), plan)
    with pytest.raises(ConceptError, match="3 images and 1 captions"):
        captioned("a {}")


def test_a_checkpoint_knows_the_captions(tmp_path):
    from adb_core.checkpoint import identity
    from adb_core.options import RunOptions

    plan = short(recipe("dreambooth"))
    plain, said, other = (
        identity("b", concept, plan, RunOptions(), "no")["concept"]
        for concept in (
            tiny_concept(),
            captioned("a {}", None, None),
            captioned(None, "a {}", None),
        )
    )
    assert len({plain, said, other}) == 3
