"""Concepts from folders, and the bundled ones."""

import numpy as np
import pytest
from PIL import Image

from adb_core.concept import Concept, bundled_concepts
from adb_core.images import ConceptError


def picture(path, size=(40, 30), mode="RGB", **save):
    rng = np.random.default_rng(len(str(path.name)))
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode).save(
        path, **save
    )
    return path


def test_folder_with_all_kinds_of_images(tmp_path):
    for name, mode in (("b.jpg", "L"), ("a.png", "RGBA"), ("c.webp", "RGB"), ("d.PNG", "P")):
        picture(tmp_path / name, mode=mode, **({"format": "PNG"} if name.endswith("PNG") else {}))
    (tmp_path / "notes.txt").write_text("hello")
    concept = Concept.from_folder(tmp_path, category="toy")
    assert len(concept.images) == 4 and all(
        i.shape == (30, 40, 3) and i.dtype == np.uint8 for i in concept.images
    )
    assert concept.skipped == (("notes.txt", "not one of .png, .jpg, .jpeg, .webp, .heic, .heif"),)
    assert concept.placeholder == f"<{tmp_path.name.lower()}>"


def test_a_folder_named_like_a_picture_is_reported(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "b.png").mkdir()
    assert Concept.from_folder(tmp_path, category="cat").skipped == (("b.png", "a folder"),)


def _bad(tmp_path, kind):
    path = tmp_path / "bad.png"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("not a picture")
    elif kind == "cut":
        path.write_bytes(picture(tmp_path / "x.png").read_bytes()[:200])
        (tmp_path / "x.png").unlink()
    elif kind == "pixel":
        Image.new("RGB", (1, 1)).save(path)
    elif kind == "bomb":
        Image.new("L", (10_000, 10_000)).save(path)
    return path


@pytest.mark.parametrize(
    "kind, says",
    [
        ("empty", "is empty .0 bytes.: remove it"),
        ("text", "cannot be read as an image"),
        ("cut", "cannot be read as an image"),
        ("pixel", "only 1 x 1 pixels"),
        ("bomb", "scale it down"),
    ],
)
def test_one_bad_image_among_good_ones_is_named(tmp_path, kind, says):
    picture(tmp_path / "good.png")
    bad = _bad(tmp_path, kind)
    with pytest.raises(ConceptError, match=says) as caught:
        Concept.from_folder(tmp_path, category="cat")
    assert str(bad) in str(caught.value) and "\n" not in str(caught.value)


def test_folders_that_are_not_concepts(tmp_path):
    with pytest.raises(ConceptError, match="no concept folder at"):
        Concept.from_folder(tmp_path / "nowhere")
    with pytest.raises(ConceptError, match="holds no images"):
        Concept.from_folder(tmp_path, category="cat")
    picture(tmp_path / "a.png")
    with pytest.raises(ConceptError, match="pass a category"):
        Concept.from_folder(tmp_path)
    with pytest.raises(ConceptError, match="one word without spaces"):
        Concept.from_folder(tmp_path, category="cat", placeholder="my cat")
    (tmp_path / "concept.json").write_text("{")
    with pytest.raises(ConceptError, match="not valid JSON"):
        Concept.from_folder(tmp_path, category="cat")


def test_bundled_concepts_load_with_masks():
    names = bundled_concepts()
    for name in names["tuning"] + names["held_out"]:
        concept = Concept.bundled(name)
        assert len(concept.images) == len(concept.masks) == 5 and concept.placeholder == f"<{name}>"
        assert all(0.03 < m.mean() < 0.6 for m in concept.masks)
    with pytest.raises(ConceptError, match="unknown concept 'nobody': choose one of"):
        Concept.bundled("nobody")
