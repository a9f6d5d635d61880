"""The drawn world: scenes, captions, pictures and masks, concepts and prompts."""

import hashlib
import itertools
import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image
from typer.testing import CliRunner

from adb_core.system.commands import command_app
from adb_core.system.paths import data_dir
from adb_core.toyworld import concepts, gallery, grammar, portraits, prompts, scene
from adb_core.toyworld.gallery import mask_picture, write_gallery
from adb_core.toyworld.render import SIZE, render, render_image
from adb_core.toyworld.sampling import CONTRAST, sample_color, sample_instance, sample_scene
from adb_core.toyworld.scene import (
    ACCESSORIES,
    BUILDS,
    CATEGORIES,
    COLORS,
    LABELS,
    MARKS,
    OBJECTS,
    PATTERNS,
    PLACES,
    RELATIONS,
    SKIES,
    STYLES,
    Instance,
    Scene,
    color_distance,
    color_word,
    instance_from_dict,
    is_held_out,
    labels,
    scene_from_dict,
    scene_to_dict,
    sure_color,
)

seeds = st.integers(0, 2**31 - 1)


def some_scene(**changes) -> Scene:
    striped = Instance(COLORS["red"], COLORS["white"], "stripes", "star", 0.85, 1.2, layout=5)
    base = Scene("cat", striped, accessory="hat", relation="next to", object="ball", place="beach")
    return replace(base, **changes)


def test_the_world_is_as_large_as_promised():
    assert len(CATEGORIES) >= 14 and len(COLORS) >= 22 and len(ACCESSORIES) >= 6
    assert len(PLACES) >= 8 and len(STYLES) == 4 and len(RELATIONS) >= 3 and len(SKIES) >= 4
    assert len(PATTERNS) >= 8 and len(MARKS) >= 6 and len(BUILDS) >= 3


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "field, value, names",
    [
        ("category", "dragon", "cat"),
        ("sky", "meteor", "rainbow"),
        ("place", "attic", "beach"),
        ("style", "cubist", "photo"),
        ("accessory", "sword", "hat"),
        ("object", "tree", "ball"),
        ("relation", "under", "next to"),
    ],
)
def test_unknown_words_are_refused_with_the_choices(field, value, names):
    with pytest.raises(ValueError, match=f"unknown {field} '{value}': choose one of .*{names}"):
        some_scene(**{field: value})


def test_relation_needs_object_and_instance_needs_real_numbers():
    with pytest.raises(ValueError, match="go together"):
        some_scene(object=None)
    with pytest.raises(ValueError, match="primary must be three numbers"):
        Instance((300, 0, 0), (0, 0, 0))
    with pytest.raises(ValueError, match="width must lie between"):
        Instance((30, 0, 0), (0, 0, 0), width=9.0)
    with pytest.raises(ValueError, match="unknown pattern"):
        Instance((30, 0, 0), (0, 0, 0), pattern="tartan")


# ---------------------------------------------------------------- scenes and splits


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_scenes_round_trip_through_json_and_keep_their_split(seed):
    for held_out in (False, True):
        drawn = sample_scene(np.random.default_rng(seed), held_out=held_out)
        assert is_held_out(drawn) is held_out
        assert scene_from_dict(json.loads(json.dumps(scene_to_dict(drawn)))) == drawn
        assert labels(drawn).keys() == LABELS.keys()
        for name, value in labels(drawn).items():
            assert value in LABELS[name] or (value is None and "color" in name)


def test_combinations_list_the_grammar_once_and_one_in_eight_is_held_out():
    fields = ("category", "accessory", "relation", "place")
    seen = {tuple(c[f] for f in fields) for c in scene.combinations()}
    assert len(seen) == len(CATEGORIES) * 7 * 4 * 9
    body = sample_instance(np.random.default_rng(0))
    with_accessory = [
        Scene(c, body, accessory=a, place=p)
        for c, a, p in itertools.product(CATEGORIES, ACCESSORIES, (None, *PLACES))
    ]
    share = np.mean([is_held_out(s) for s in with_accessory])
    assert 0.09 < share < 0.16
    for category in CATEGORIES:  # the split leaves something of everything on both sides
        mine = [is_held_out(s) for s in with_accessory if s.category == category]
        assert any(mine) and not all(mine)


def test_every_trait_is_drawn_and_every_color_has_a_word():
    rng = np.random.default_rng(0)
    drawn = [sample_instance(rng) for _ in range(2000)]
    assert {i.pattern for i in drawn} == set(PATTERNS) and {i.mark for i in drawn} == set(MARKS)
    assert {i.build for i in drawn} == set(BUILDS)
    assert {color_word(i.primary) for i in drawn} == set(COLORS)
    assert min(color_distance(i.primary, i.secondary) for i in drawn) >= CONTRAST
    farthest = max(
        min(color_distance(value, rgb) for value in COLORS.values())
        for rgb in itertools.product(range(20, 251, 15), repeat=3)
    )
    assert farthest < 110, farthest


def test_a_color_between_two_words_has_no_sure_one():
    red, orange = COLORS["red"], COLORS["orange"]
    assert sure_color(red) == "red" and sure_color(scene.mix(red, orange, 0.5)) is None
    rng = np.random.default_rng(1)
    sure = np.mean([sure_color(sample_color(rng)) is not None for _ in range(500)])
    assert 0.6 < sure < 0.95  # the rest is -1 for the judge


def test_builds_are_told_apart_by_their_ratio():
    for build, (width, height) in BUILDS.items():
        for w, h in itertools.product(width, height):
            assert Instance((9, 9, 9), (200, 0, 0), width=w, height=h).build == build


# ---------------------------------------------------------------- captions


@given(seeds, seeds)
@settings(max_examples=80, deadline=None)
def test_every_caption_is_one_the_grammar_lists(seed, words):
    drawn = sample_scene(np.random.default_rng(seed))
    text = grammar.caption(drawn, words)
    assert text == grammar.caption(drawn, words)
    listed = list(grammar.captions(drawn))
    assert text in listed and grammar.plain_caption(drawn) in listed
    assert len(listed) == len(set(listed))
    assert set(text.split()) <= set(grammar.vocabulary())
    assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  ", text), text


def test_plain_caption_says_everything():
    text = grammar.plain_caption(some_scene(sky="rainbow"))
    assert text == (
        "a photo of a tall red and white striped cat with a star wearing a hat next to a ball "
        "on the beach under a rainbow"
    )
    assert grammar.short_caption(some_scene()) == (
        "a photo of a red cat wearing a hat next to a ball on the beach"
    )


def test_things_are_mostly_said_traits_half_of_the_time_and_never_lied_about():
    texts = [grammar.caption(some_scene(), k).split() for k in range(600)]

    def share(*words: str) -> float:
        return float(np.mean([bool(set(words) & set(text)) for text in texts]))

    for word in ("hat", "ball", "beach"):
        assert 0.85 < share(word) < 0.99
    for trait in (("striped",), ("star",), ("tall", "slim")):
        assert 0.4 < share(*trait) < 0.6, trait
    assert 0.65 < share("red") < 0.85 and 0.28 < share("white") < 0.48
    known = {"red", "white", "striped", "star", "tall", "slim", "hat", "ball", "beach", "cat"}
    others = {*COLORS, *CATEGORIES, *ACCESSORIES, *PLACES, *OBJECTS, *SKIES} - known
    for options in (grammar.PATTERN_WORDS, grammar.MARK_PHRASES, grammar.BUILD_WORDS):
        others |= {w for said in options.values() for p in said for w in p.split()} - known
    assert not (others - {"a", "with"}) & {word for text in texts for word in text}


def test_a_second_color_is_said_only_where_it_shows():
    plain = replace(some_scene().instance, pattern="plain")
    assert "and" not in grammar.plain_caption(some_scene(instance=plain)).split()


# ---------------------------------------------------------------- pictures and masks


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_rendering_is_a_pure_function_and_masks_partition_the_picture(seed):
    drawn = sample_scene(np.random.default_rng(seed), held_out=bool(seed % 2))
    one, two = render(drawn, seed), render(drawn, seed)
    assert one.image.shape == (SIZE, SIZE, 3) and one.image.dtype == np.uint8
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.image, render_image(drawn, seed))
    assert (sum(m.astype(int) for m in one.masks.values()) == 1).all()
    assert one.masks["subject"].mean() > 0.03
    assert one.masks["accessory"].any() == (drawn.accessory is not None)
    assert one.masks["object"].any() == (drawn.relation is not None)


def test_the_same_bytes_in_another_process():
    code = (
        "import numpy as np, hashlib; from adb_core.toyworld.sampling import sample_scene; "
        "from adb_core.toyworld.render import render; "
        "print(hashlib.sha256(b''.join(render(sample_scene(np.random.default_rng(k)), k)"
        ".image.tobytes() for k in range(5))).hexdigest())"
    )
    here = hashlib.sha256(
        b"".join(
            render(sample_scene(np.random.default_rng(k)), k).image.tobytes() for k in range(5)
        )
    ).hexdigest()
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert here == there


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_subject_wears_and_holds_everything(category):
    body = sample_instance(np.random.default_rng(1))
    bare = render_image(Scene(category, body), 0)
    for accessory in ACCESSORIES:
        drawn = render(Scene(category, body, accessory=accessory), 0)
        assert drawn.masks["accessory"].sum() > 160, accessory
        assert not np.array_equal(drawn.image, bare)
    for relation, thing in zip(RELATIONS, OBJECTS, strict=False):
        drawn = render(Scene(category, body, relation=relation, object=thing), 0)
        assert drawn.masks["object"].sum() > 240


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_trait_of_every_subject_is_seen(category):
    """A change of one trait alone changes the subject's pixels, in a photo and in pixel art."""
    for style in ("photo", "pixel art"):
        body = Instance((60, 120, 210), (240, 220, 90), "checks", "star", layout=3)
        before = render(Scene(category, body, style=style), 0)
        subject = before.masks["subject"]
        changes = [{"pattern": p} for p in PATTERNS if p != "checks"]
        changes += [{"mark": m} for m in MARKS if m != "star"] + [{"secondary": (220, 40, 60)}]
        for change in changes:
            after = render_image(Scene(category, replace(body, **change), style=style), 0)
            moved = np.abs(after.astype(int) - before.image).sum(-1)[subject] > 60
            assert moved.sum() > 60, (change, style, int(moved.sum()))


@pytest.mark.parametrize("sky", SKIES)
def test_what_is_in_the_air_is_background_and_behind_the_subject(sky):
    clear, full = (render(some_scene(sky=s), 4) for s in (None, sky))
    for name in clear.masks:
        np.testing.assert_array_equal(clear.masks[name], full.masks[name])
    changed = np.abs(clear.image.astype(int) - full.image).sum(-1) > 40
    assert changed.sum() > 200 and not changed[clear.masks["subject"]].mean() > 0.03


def test_other_sizes_show_the_same_picture():
    small, large = (render(some_scene(), 7, size) for size in (64, 128))
    assert small.image.shape == (64, 64, 3)
    halved = large.image.reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(halved - small.image).mean() < 6


def test_the_mask_is_where_the_picture_changes():
    """Oracle: adding a hat changes pixels on and around the hat's mask, hardly anywhere else."""
    with_hat, without = (
        render(some_scene(relation=None, object=None), 5),
        render(some_scene(relation=None, object=None, accessory=None), 5),
    )
    scaled = replace(
        some_scene(relation=None, object=None, accessory=None),
        pose=replace(some_scene().pose, scale=1 / 1.12),
    )
    without = render(scaled, 5)
    changed = (np.abs(with_hat.image.astype(int) - without.image).sum(-1) > 24) & ~(
        with_hat.masks["background"] & without.masks["background"]
    )
    inside = changed & with_hat.masks["accessory"]
    assert inside.sum() > 0.8 * with_hat.masks["accessory"].sum()
    assert inside.sum() > 0.7 * changed.sum()


def test_identity_shows_and_styles_differ():
    a, b = (
        some_scene(style="photo"),
        some_scene(style="photo", instance=sample_instance(np.random.default_rng(9))),
    )
    subject = render(a, 0).masks["subject"]
    assert np.abs(render_image(a, 0).astype(int) - render_image(b, 0))[subject].mean() > 20
    looks = [render_image(some_scene(style=s), 0).astype(int) for s in STYLES]
    assert all(np.abs(x - y).mean() > 4 for x, y in itertools.combinations(looks, 2))


def test_gallery_is_written(tmp_path, monkeypatch):
    """The first cells of each sheet stand for all: matplotlib takes its time for a hundred."""
    sheet = gallery._sheet
    monkeypatch.setattr(
        gallery, "_sheet", lambda columns, cells, *to: sheet(columns, cells[: 2 * columns], *to)
    )
    monkeypatch.setattr(gallery, "PORTRAITS", portraits.PORTRAITS[:4])
    paths = write_gallery(tmp_path)
    assert all(Image.open(p).width > 600 for p in paths) and len(paths) == 3
    assert mask_picture(render(some_scene(), 0)).shape == (SIZE, SIZE, 3)


# ---------------------------------------------------------------- concepts and prompts


def test_pretraining_keeps_away_from_concepts():
    """No draw shares three of the four traits that a person would name with one of its kind."""
    rng = np.random.default_rng(0)
    drawn = [sample_scene(rng) for _ in range(3000)]
    near = [portraits.near_concept(s.category, s.instance) for s in drawn]
    assert not any(near)
    for p in portraits.PORTRAITS:
        assert portraits.near_concept(p.category, p.instance)
        lookalike = replace(p.instance, mark="none", layout=1, head=1.0)
        assert portraits.near_concept(p.category, lookalike), p.name
        stranger = replace(p.instance, mark="none", pattern="plain")
        assert not portraits.near_concept(p.category, stranger), p.name


def test_each_trait_of_a_concept_is_drawn_in_other_company():
    rng = np.random.default_rng(1)
    drawn = [sample_scene(rng).instance for _ in range(4000)]
    for p in portraits.PORTRAITS:
        for color in (p.instance.primary, p.instance.secondary):
            near = [i for i in drawn if color_distance(i.primary, color) < portraits.NEAR_COLOR]
            assert len(near) > 20, (p.name, color)
        assert p.instance.build in BUILDS and p.instance.build != "regular"


def test_concepts_are_many_distinct_and_halved():
    by_half = {h: [p for p in portraits.PORTRAITS if p.split == h] for h in ("tuning", "held_out")}
    assert len(by_half["tuning"]) == 8 and len(by_half["held_out"]) == 12
    assert len({p.category for p in portraits.PORTRAITS}) >= 12
    assert len({p.name for p in portraits.PORTRAITS}) == 20
    for one, other in itertools.combinations(portraits.PORTRAITS, 2):
        assert portraits.shared_traits(one.instance, other.instance) <= 2, (one.name, other.name)


def test_concepts_are_written_with_masks_splits_and_checksums(tmp_path):
    concepts.write_concepts(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    for name in manifest["tuning"] + manifest["held_out"]:
        info = json.loads((tmp_path / name / "concept.json").read_text())
        assert info["license"] and info["provenance"] and len(info["photos"]) == 5
        portrait = next(p for p in portraits.PORTRAITS if p.name == name)
        assert instance_from_dict(info["instance"]) == portrait.instance
        shots = list(zip(info["photos"], concepts.photos(portrait), strict=True))
        for photo, (shot, seed) in shots[:1]:
            drawn = render(shot, seed)
            mask = np.asarray(Image.open(tmp_path / name / photo["mask"]))
            np.testing.assert_array_equal(mask > 0, drawn.masks["subject"])
            picture = np.asarray(Image.open(tmp_path / name / photo["image"]))
            np.testing.assert_array_equal(picture, drawn.image)
    for file, digest in manifest["sha256"].items():
        assert hashlib.sha256((tmp_path / file).read_bytes()).hexdigest() == digest, file


def test_prompt_sets_ask_for_what_they_say(tmp_path):
    sets = prompts.prompt_sets()
    prompts.write_prompts(tmp_path)
    for name, entries in sets.items():
        assert json.loads((tmp_path / f"{name}.json").read_text())["prompts"] == entries
        assert len({e["prompt"] for e in entries}) == len(entries) == 12
        for e in entries:
            assert e["prompt"].count("{}") == 1
            assert all(word in LABELS[label] for label, word in e["asks"].items())
            for label in ("accessory", "object", "place", "sky"):
                if label in e["asks"]:
                    assert e["asks"][label] in e["prompt"].split()
    for number in range(6):  # as many things as the name says, all of them photos
        for e in sets[f"complexity_{number}"]:
            assert len(e["asks"]) - 1 == number and e["asks"]["style"] == "photo"
    assert {e["asks"]["style"] for e in sets["styles"]} == set(STYLES) - {"photo"}
    asked = [e["asks"] for number in range(6) for e in sets[f"complexity_{number}"]]
    for label, words in (
        ("accessory", ACCESSORIES),
        ("place", PLACES),
        ("object", OBJECTS),
        ("relation", RELATIONS),
        ("sky", SKIES),
    ):
        assert set(words) <= {asks.get(label) for asks in asked}, label


def test_concepts_and_prompts_on_disk_are_these(tmp_path):
    """The stored ones are what the two commands write; pictures by their pixels, since another
    zlib may pack them differently."""
    concepts.write_concepts(tmp_path / "concepts")
    prompts.write_prompts(tmp_path / "prompts")
    for name in ("concepts", "prompts"):
        mine, theirs = (
            {p.relative_to(root): p for p in (root / name).rglob("*") if p.is_file()}
            for root in (tmp_path, data_dir())
        )
        assert mine.keys() == theirs.keys()
        for relative, path in mine.items():
            if path.suffix == ".png":
                one, other = (np.asarray(Image.open(p)) for p in (path, theirs[relative]))
                np.testing.assert_array_equal(one, other, err_msg=str(relative))
            elif relative.name not in ("manifest.json", "README.md"):
                assert path.read_text() == theirs[relative].read_text(), relative


def test_the_commands_write_below_the_data_folder_and_refuse_a_file(tmp_path):
    app = command_app(prompts.main, "prompts")
    done = CliRunner().invoke(app, ["--data", str(tmp_path)])
    assert done.exit_code == 0 and "complexity_5 (12)" in done.stdout
    assert (tmp_path / "prompts/styles.json").exists()
    (tmp_path / "file").touch()
    for module in (prompts, concepts):
        app = command_app(module.main, "world")
        refused = CliRunner().invoke(app, ["--data", str(tmp_path / "file")])
        assert refused.exit_code == 2 and "is a file" in refused.stderr


def test_the_true_picture_of_every_prompt_is_the_concept_in_that_scene():
    from adb_core.toyworld.truth import true_picture, true_scene

    portrait = portraits.PORTRAITS[0]
    for entries in prompts.prompt_sets().values():
        for e in entries:
            drawn = true_scene(portrait.category, portrait.instance, e["asks"], 3)
            assert drawn.instance == portrait.instance
            truth = labels(drawn)
            assert all(truth[label] == word for label, word in e["asks"].items())
    asks = {"place": "moon", "style": "photo"}
    one, two = (true_picture("cat", portrait.instance, asks, seed) for seed in (1, 2))
    assert one.shape == (SIZE, SIZE, 3) and not np.array_equal(one, two)
    with pytest.raises(ValueError, match="no 'mood'"):
        true_scene("cat", portrait.instance, {"mood": "merry"}, 0)
    with pytest.raises(ValueError, match="unknown place 'attic'"):
        true_scene("cat", portrait.instance, {"place": "attic"}, 0)
