"""What concept.json says of the pictures: asked for, checked, shown, and put into the card."""

import hashlib
import json
from pathlib import Path

import pytest
from command_line import TRAIN, pictures, run
from models import short, tiny_base, tiny_concept

from adb_core.app.commands.training import photo_lines
from adb_core.concept import Concept, bundled_concepts
from adb_core.images import ConceptError
from adb_core.personalization import personalize
from adb_core.photos import CONSENT
from adb_core.provenance.consent import ASKS, Statements
from adb_core.recipes import recipe
from adb_core.system.paths import data_path
from adb_core.toyworld import concepts

SAID = {
    "shows": "my cat Pico; no person",
    "given_by": "taken by me",
    "license": "CC BY 4.0",
    "consent": "not needed: no person is shown",
}


def folder_with(folder: Path, **said) -> Path:
    info = {"name": "pico", "category": "cat"} | said
    (pictures(folder) / "concept.json").write_text(json.dumps(info))
    return folder


def test_statements_are_read_and_none_has_to_be_made(tmp_path):
    full = Concept.from_folder(folder_with(tmp_path / "full", **SAID)).statements
    assert full == Statements(**SAID) and full.missing == () and full.line() is None
    none = Concept.from_folder(folder_with(tmp_path / "none")).statements
    assert none.missing == tuple(ASKS)
    assert Concept.from_folder(pictures(tmp_path / "bare"), category="cat").statements == none
    assert Statements.of({"licence": "MIT"}).license == "MIT"


@pytest.mark.parametrize("field", [*ASKS, "licence"])
@pytest.mark.parametrize("value", [5, "", "  ", ["me"], True, {"a": 1}, "x" * 501])
def test_a_statement_is_a_text(field, value, tmp_path):
    with pytest.raises(ConceptError, match=f"concept.json: '{field}' must be a text") as caught:
        Concept.from_folder(folder_with(tmp_path / "photos", **{field: value}))
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


def test_before_a_training_one_line_says_what_is_missing():
    lines = photo_lines(tiny_concept(), 32)
    (line,) = [each for each in lines if "not stated" in each]
    assert all(f'"{name}"' in line for name in ASKS) and CONSENT in line and "\n" not in line
    partly = Statements(shows="a cat", license="MIT").line()
    assert '"given_by"' in partly and '"consent"' in partly and '"shows"' not in partly
    assert not any("not stated" in each for each in photo_lines(Concept.bundled("pico"), 32))


def test_every_bundled_concept_says_that_no_person_is_shown():
    for half in bundled_concepts().values():
        for name in half:
            statements = Concept.bundled(name).statements
            assert statements.missing == () and "no person" in statements.shows
    manifest = json.loads(data_path("concepts", "manifest.json").read_text())
    for file, digest in manifest["sha256"].items():
        assert hashlib.sha256(data_path("concepts", file).read_bytes()).hexdigest() == digest


def test_statements_are_written_again_without_the_pictures(tmp_path):
    concepts.write_concepts(tmp_path)
    written = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    path = tmp_path / "pico/concept.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in info.items() if k not in SAID}))
    assert "pico" in concepts.restate(tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == written


def test_the_model_card_has_them(tmp_path):
    plan = short(recipe("dreambooth"), steps=1)
    concept = Concept.from_folder(folder_with(tmp_path / "photos", **SAID | {"given_by": "a | b"}))
    for photos, shown in ((concept, SAID["shows"]), (tiny_concept(), "not stated")):
        result = personalize(tiny_base(), photos, plan, view_count=1)
        card = (result.save_pretrained(tmp_path / "model") / "README.md").read_text()
        assert f"| who or what they show | {shown} |" in card
        assert (r"| given by | a \| b |" in card) == (photos is concept)
    assert "| consent of people shown | not stated |" in card


@pytest.mark.usefixtures("random_base")
def test_the_command_says_it():
    folder_with(Path("photos"))
    done = run(*TRAIN, "--concept", "./photos", "--recipe", "dreambooth")
    assert done.exit_code == 0 and done.stdout.count("not stated in concept.json") == 1
    folder_with(Path("stated"), **SAID)
    done = run(*TRAIN, "--concept", "./stated", "--recipe", "dreambooth", "--no-resume")
    assert done.exit_code == 0 and "not stated" not in done.stdout
    assert "taken by me" in Path("result/model/README.md").read_text()
