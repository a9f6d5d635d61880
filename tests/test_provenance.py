"""What a generated picture's file says of its origin, and how it is read back."""

import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from command_line import PICO, run
from models import tiny_base, tiny_concept
from PIL import Image
from test_cli_mistakes import huge_png

from adb_core.generation import generate
from adb_core.pictures import opened, png
from adb_core.plots import new_figure, to_png
from adb_core.preference import making
from adb_core.provenance import credentials, inspection, record
from adb_core.provenance.inspection import NOTHING, InspectionError, inspect_file
from adb_core.provenance.record import COMPOSITE, GENERATED, XMP_KEY, Provenance, stamped

ABOUT = Provenance(
    ("a photo of a <pico> cat", 'a <b> & "c" \x00 猫'),
    (3, 4),
    base_model="tiny",
    recipe="attndreambooth",
    steps=25,
    guidance=3.0,
)


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (37, 41, 3), dtype=np.uint8)


def written(folder: Path, about: Provenance = ABOUT) -> Path:
    record.save_generated(folder / "a.png", picture(), about)
    return folder / "a.png"


# ---------------------------------------------------------------- writing


def test_a_file_says_how_its_picture_was_made(tmp_path):
    found = inspect_file(written(tmp_path))
    assert found.record == ABOUT.public() and found.source_type == GENERATED
    assert found.record["statement"] == "AI generated"
    with Image.open(found.path) as image:
        np.testing.assert_array_equal(np.asarray(image), picture())
    text = "\n".join(found.lines())
    for part in ("AI generated", "adb-core ", "tiny", "attndreambooth", "猫", "3; 4", "25", "3.0"):
        assert part in text


def test_the_packet_is_xml_that_others_read(tmp_path):
    with Image.open(written(tmp_path)) as image:
        packet = image.text[XMP_KEY]
    root = ElementTree.fromstring(packet.split("?>", 1)[1].rsplit("<?", 1)[0])
    (said,) = root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    values = {re.sub(r"{.*}", "", each.tag): each.text for each in said}
    assert values["DigitalSourceType"] == GENERATED
    assert values["AISystemUsed"] == "tiny attndreambooth"
    assert values["AIPromptInformation"] == 'a photo of a <pico> cat; a <b> & "c" \ufffd 猫'


def test_the_same_picture_gives_the_same_file_and_pixels_stay():
    data = png(picture())
    assert stamped(data, ABOUT) == stamped(data, ABOUT) != data
    np.testing.assert_array_equal(opened(stamped(data, ABOUT)), opened(data))


def test_a_second_stamp_replaces_the_first():
    data = png(picture())
    assert stamped(stamped(data, Provenance(("other",))), ABOUT) == stamped(data, ABOUT)


@pytest.mark.parametrize("data", [b"", b"GIF89a", png(picture())[:60]])
def test_only_a_whole_png_is_stamped(data):
    with pytest.raises(ValueError, match="PNG"):
        stamped(data, ABOUT)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tiny", "tiny"),
        ("owner/model", "owner/model"),
        ("/home/anna/models/own", "own"),
        ("C:\\models\\own\\", "own"),
        ("../own", "own"),
        ("there", "there"),
    ],
)
def test_no_path_of_the_machine_is_written(name, expected):
    class Model:
        base = type("Base", (), {"name": name, "revision": None})
        recipe_name = "base"

    assert record.of_model(Model, ["a"], [0]).base_model == expected


# ---------------------------------------------------------------- who writes


def test_a_generation_knows_its_origin():
    drawn = generate(tiny_base(), ["a cat", "a dog"], seeds=[5, 6], steps=2)
    assert (drawn.about.prompts, drawn.about.seeds) == (("a cat", "a dog"), (5, 6))
    assert (drawn.about.base_model, drawn.about.recipe) == (tiny_base().name, "base")
    assert (drawn.about.steps, drawn.about.composite) == (2, False)
    assert drawn.about.guidance is not None


def test_figures_with_generated_pictures_are_composites(tmp_path):
    figure = new_figure(1, 1, "what it shows")
    to_png(figure, tmp_path / "plain.png")
    to_png(figure, tmp_path / "drawn.png", about=ABOUT)
    assert not inspect_file(tmp_path / "plain.png").is_found
    found = inspect_file(tmp_path / "drawn.png")
    assert found.source_type == COMPOSITE and found.record["seeds"] == [3, 4]
    with Image.open(tmp_path / "drawn.png") as image:
        assert image.text["Description"] == "what it shows"


def test_a_blind_study_says_generated_and_not_by_whom(tmp_path):
    made = [making.Picture(r, "pico", "a {}", 1, picture(k)) for k, r in enumerate(("one", "two"))]
    making.write_pictures(made[:1], tmp_path / "one")
    assert inspect_file(tmp_path / "one/0000.png").record["recipe"] == "one"
    pairs = making.possible_pairs(made)
    study = making.new_study(tmp_path / "s", pairs, {"pico": tiny_concept()}, making.Design(2))
    files = sorted((study.folder / "pictures").iterdir())
    for file in files:
        found = inspect_file(file)
        assert found.source_type == GENERATED
        assert not {"recipe", "prompts", "seeds", "base_model"} & set(found.record)
    assert len(files) == 2
    assert not any(inspect_file(p).is_found for p in (study.folder / "photos").rglob("*.png"))


@pytest.mark.usefixtures("random_base")
def test_every_picture_of_the_command_line_is_marked():
    (Path("set.txt")).write_text("a photo of a {}\n")
    assert run(*PICO, "--prompt-set", "set.txt", "--steps", 2).exit_code == 0
    how = ["--model", "result", "--steps", 2, "--quiet", "--device", "cpu", "--seed", 7]
    assert run("generate", "a photo of a {}", *how, "--out", "out.png").exit_code == 0
    assert run("attention", "a photo of a {}", *how, "--out", "maps.png").exit_code == 0
    said = json.loads(run("inspect", "out.png", "--json").stdout)
    assert said["found"] and said["digital_source_type"] == GENERATED
    assert said["provenance"]["prompts"] == ["a photo of a <pico> cat"]
    assert said["provenance"]["seeds"] == [7] and said["provenance"]["steps"] == 2
    assert said["provenance"]["recipe"] == "attndreambooth"
    assert "AI generated" in run("inspect", "maps.png").stdout
    previews = sorted(Path("result/previews").glob("*.png"))
    assert len(previews) == 3
    for preview in previews:
        assert inspect_file(preview).record["recipe"] == "attndreambooth"


# ---------------------------------------------------------------- what is lost, and bad files


def resaved(folder: Path, kind: str) -> Path:
    path = folder / f"b.{kind.lower()}"
    with Image.open(written(folder)) as image:
        image.convert("RGB").save(path, kind)
    return path


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_what_is_saved_again_has_lost_it(kind, tmp_path):
    found = inspect_file(resaved(tmp_path, kind))
    assert not found.is_found and found.kind == kind
    assert found.lines()[1:] == [NOTHING]
    assert found.public()["provenance"] is None and not found.public()["found"]


def test_packets_of_other_programs_are_read_from_jpeg(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.jpg", xmp=ABOUT.xmp().encode())
    found = inspect_file(tmp_path / "a.jpg")
    assert found.record is None and found.source_type == GENERATED


def test_a_broken_record_is_none(tmp_path):
    data = png(picture())
    bad = record._chunk(b"tEXt", record.TEXT_KEY.encode() + b"\0{broken")
    (tmp_path / "a.png").write_bytes(data[:33] + bad + data[33:])
    assert not inspect_file(tmp_path / "a.png").is_found


def text_file(path: Path) -> None:
    path.write_text("hello")


def cut_file(path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(picture()).save(stream, "PNG")
    path.write_bytes(stream.getvalue()[:900])


BAD = {
    "missing": (lambda path: None, "is missing"),
    "folder": (Path.mkdir, "is a folder"),
    "empty": (Path.touch, "not a picture"),
    "text": (text_file, "not a picture"),
    "cut": (cut_file, "cannot be read as a picture"),
    "bomb": (lambda path: huge_png(path, 60_000), "far too large"),
    "100 megapixels": (huge_png, "far too large"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_cannot_be_read_is_one_line(case, tmp_path):
    make, says = BAD[case]
    path = tmp_path / "x.png"
    make(path)
    with pytest.raises(InspectionError, match=says):
        inspect_file(path)
    done = run("inspect", path)
    lines = done.stderr.strip().splitlines()
    assert done.exit_code == 2 and len(lines) == 1 and "x.png" in lines[0], done.output


# ---------------------------------------------------------------- signed


def signature(path: Path):
    return inspect_file(path).credentials


def test_a_signature_breaks_with_the_picture_and_is_never_trusted(tmp_path):
    pytest.importorskip("c2pa")
    path = tmp_path / "a.png"
    record.save_generated(path, picture(), ABOUT, credentials.signed)
    found = inspect_file(path)
    assert found.is_signed and found.record == ABOUT.public()
    assert found.credentials.is_intact and not found.credentials.is_trusted
    assert found.credentials.source_types == (GENERATED,)
    assert found.credentials.issuer == credentials.ORGANIZATION
    assert "untrusted" in found.lines()[-1] and "intact" in found.lines()[-1]
    assert json.dumps(found.public())
    data = path.read_bytes()
    assert len(data) < len(stamped(png(picture()), ABOUT)) + 6000  # no thumbnail
    path.write_bytes(stamped(data, Provenance(("another prompt",))))
    broken = inspect_file(path)
    assert not broken.credentials.is_intact and "BROKEN" in broken.lines()[-1]
    with Image.open(path) as image:
        image.convert("RGB").save(tmp_path / "b.png")
    assert not inspect_file(tmp_path / "b.png").is_signed


def test_what_cannot_be_signed_is_one_line():
    pytest.importorskip("c2pa")
    with pytest.raises(credentials.CredentialError, match="cannot be signed"):
        credentials.signed(b"hello", ABOUT)
    alone = credentials.make_test_signer()
    with pytest.raises(credentials.CredentialError, match="cannot be signed"):
        credentials.signed(png(picture()), ABOUT, alone._replace(key=b"no key"))
    assert credentials.read_credentials(png(picture())) is None


@pytest.mark.usefixtures("random_base")
def test_without_the_package_signing_is_one_line_and_signatures_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(credentials, "is_there", lambda: False)
    monkeypatch.setattr(inspection, "is_there", lambda: False)
    done = run("generate", "a cat", "--sign-test")
    lines = done.stderr.strip().splitlines()
    assert done.exit_code == 2 and len(lines) == 1 and "pip install c2pa-python" in lines[0]
    data = png(picture())
    signed = record._chunk(b"caBX", b"jumb c2pa")
    (tmp_path / "a.png").write_bytes(data[:33] + signed + data[33:])
    found = inspect_file(tmp_path / "a.png")
    assert found.is_found and found.is_signed and found.lines()[-1] == inspection.UNCHECKED
