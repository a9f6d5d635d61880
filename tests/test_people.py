"""People in photos are pointed out, by a detector that is fetched only if it is asked for."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from command_line import pictures, run

from adb_core import people
from adb_core.images import ConceptError
from adb_core.people import Detector, find_people, load_detector, people_remarks


def save_detector(folder, labels=("cat", "person")):
    """A random YOLOS of a few thousand weights."""
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

    torch.manual_seed(0)
    config = YolosConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        image_size=[32, 48], patch_size=16, num_detection_tokens=5,
        id2label=dict(enumerate(labels)), label2id={name: k for k, name in enumerate(labels)},
    )  # fmt: skip
    YolosForObjectDetection(config).save_pretrained(folder)
    YolosImageProcessor(size={"shortest_edge": 32, "longest_edge": 48}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_detector(tmp_path_factory.mktemp("detector"))


def test_a_detector_is_read_from_a_folder_and_looks_at_photos_of_any_shape(saved, monkeypatch):
    monkeypatch.setattr(people, "SURE", 0.0)  # it is a random one: take whatever it says
    photos = [np.full((40, 90, 3), 200, np.uint8), np.full((64, 32, 3), 50, np.uint8)]
    found = find_people(photos, load_detector(saved))
    assert len(found) == 2 and any(found)
    for photo, boxes in zip(photos, found, strict=True):
        for left, top, right, bottom in boxes:
            assert 0 <= left <= right <= photo.shape[1] and 0 <= top <= bottom <= photo.shape[0]


def test_persons_alone_are_told_in_pixels_the_surest_first(saved):
    """The processor is real, the answer is given: a person, a cat, a surer person, and a guess."""
    real = load_detector(saved)
    logits = torch.tensor([[[0.0, 4, 0], [9, 0, 0], [0, 8, 0], [0, 0.2, 0]]])  # cat, person, none
    boxes = torch.tensor(  # centre and size, as shares of the picture
        [[[0.25, 0.5, 0.5, 1.0], [0.5, 0.5, 1, 1], [0.9, 0.5, 0.4, 0.5], [0.5, 0.5, 1, 1]]]
    )

    class Given:
        config, device = real.model.config, real.model.device

        def __call__(self, **_):
            return SimpleNamespace(logits=logits, pred_boxes=boxes)

    photo = np.zeros((40, 100, 3), np.uint8)
    found = find_people([photo], Detector("given", Given(), real.processor))
    assert found == [[(70, 10, 100, 30), (0, 0, 50, 40)]]  # the first one ends at the edge
    (line,) = people_remarks(found, ["a.jpg"])
    assert line.startswith("a.jpg shows 2 people (pixels 70, 10 to 100, 30; 0, 0 to 50, 40)")


def test_nobody_found_is_no_proof():
    assert people_remarks([[], []], ["a", "b"]) == [
        "no people were found, which is no proof: look yourself"
    ]
    assert people_remarks([[], [(0, 0, 1, 1)]], ["a", "b"])[0].startswith("b shows a person ")


def test_a_detector_that_cannot_be_had_is_one_line(tmp_path):
    for name in (tmp_path / "none", people.DETECTOR):  # tests have no network
        with pytest.raises(ConceptError, match="cannot be loaded .* look for people") as caught:
            load_detector(name)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConceptError, match="does not know persons"):
        load_detector(save_detector(tmp_path / "cats", ("cat", "dog")))


def test_pickled_weights_are_not_read(saved, tmp_path):
    model = load_detector(saved).model
    for part in ("config.json", "preprocessor_config.json"):
        (tmp_path / part).write_bytes((saved / part).read_bytes())
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ConceptError, match="cannot be loaded"):
        load_detector(tmp_path)


def test_the_preview_says_who_is_to_be_asked(tmp_path, monkeypatch):
    everywhere = save_detector(tmp_path / "detector", ("person", "person"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(people, "SURE", 0.0)
    command = ["crop-preview", "--concept", str(pictures(tmp_path / "mine")), "--side", "32"]
    done = run(*command, "--detector", everywhere)
    assert done.exit_code == 0 and "did they agree to be learned?" in done.output, done.output
    assert "did they agree" not in run(*command).output  # nobody is looked for unasked
    missing = run(*command, "--people")
    assert missing.exit_code == 2 and "connect to the hub once" in missing.output
