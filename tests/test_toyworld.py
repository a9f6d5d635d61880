"""The drawn world: scenes, captions, pictures and masks, concepts and prompts."""

import hashlib
import itertools
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from adb_core.toyworld import concepts, grammar, prompts, scene
from adb_core.toyworld.gallery import mask_picture, write_gallery
from adb_core.toyworld.render import render, render_image
from adb_core.toyworld.scene import (
    ACCESSORIES,
    CATEGORIES,
    COLORS,
    LABELS,
    OBJECTS,
    PLACES,
    RELATIONS,
    STYLES,
    Instance,
    Scene,
    instance_from_dict,
    is_common,
    is_held_out,
    labels,
    sample_instance,
    sample_rare_instance,
    sample_scene,
    scene_from_dict,
    scene_to_dict,
)

DATA = Path(__file__).parents[1] / "data"
seeds = st.integers(0, 2**31 - 1)


def some_scene(**changes) -> Scene:
    instance = sample_instance(np.random.default_rng(3), "red")
    return replace(
        Scene(
            "cat",
            instance,
            "red",
            place="beach",
            accessory="hat",
            relation="next to",
            object="ball",
        ),
        **changes,
    )


def test_the_world_is_as_large_as_promised():
    assert len(CATEGORIES) >= 14 and len(COLORS) >= 10 and len(ACCESSORIES) >= 6
    assert len(PLACES) >= 8 and len(STYLES) == 4 and len(RELATIONS) >= 3


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "field, value, names",
    [
        ("category", "dragon", "cat"),
        ("color", "beige", "red"),
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
        assert all(value in LABELS[name] for name, value in labels(drawn).items())
        assert is_common(drawn.instance)


def test_combinations_list_the_grammar_once_and_one_in_eight_is_held_out():
    fields = ("category", "accessory", "relation", "place")
    seen = {tuple(c[f] for f in fields) for c in scene.combinations()}
    assert len(seen) == len(CATEGORIES) * 7 * 4 * 9
    body = sample_instance(np.random.default_rng(0), "red")
    with_accessory = [
        Scene(c, body, accessory=a, place=p)
        for c, a, p in itertools.product(CATEGORIES, ACCESSORIES, (None, *PLACES))
    ]
    share = np.mean([is_held_out(s) for s in with_accessory])
    assert 0.09 < share < 0.16
    for category in CATEGORIES:  # the split leaves something of everything on both sides
        mine = [is_held_out(s) for s in with_accessory if s.category == category]
        assert any(mine) and not all(mine)


def test_rare_instances_cover_what_common_ones_do_not():
    rng = np.random.default_rng(0)
    rare = [sample_rare_instance(rng) for _ in range(300)]
    assert {i.pattern for i in rare} == set(scene.COMMON_PATTERNS + scene.RARE_PATTERNS)
    assert np.mean([is_common(i) for i in rare]) < 0.01


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
    text = grammar.plain_caption(some_scene())
    assert text == "a photo of a red cat wearing a hat next to a ball on the beach"


def test_some_attributes_stay_unsaid_but_never_lied_about():
    texts = [grammar.caption(some_scene(), k) for k in range(400)]
    for word in ("red", "hat", "ball", "beach"):
        assert 0.8 < np.mean([word in t.split() for t in texts]) < 0.99
    others = (set(COLORS) | set(CATEGORIES) | set(ACCESSORIES) | set(PLACES) | set(OBJECTS)) - {
        "red",
        "cat",
        "hat",
        "ball",
        "beach",
    }
    assert not any(others & set(t.split()) for t in texts)


# ---------------------------------------------------------------- pictures and masks


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_rendering_is_a_pure_function_and_masks_partition_the_picture(seed):
    drawn = sample_scene(np.random.default_rng(seed), held_out=bool(seed % 2))
    one, two = render(drawn, seed), render(drawn, seed)
    assert one.image.shape == (64, 64, 3) and one.image.dtype == np.uint8
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.image, render_image(drawn, seed))
    assert (sum(m.astype(int) for m in one.masks.values()) == 1).all()
    assert one.masks["subject"].mean() > 0.03
    assert one.masks["accessory"].any() == (drawn.accessory is not None)
    assert one.masks["object"].any() == (drawn.relation is not None)


def test_the_same_bytes_in_another_process():
    code = (
        "import numpy as np, hashlib; from adb_core.toyworld.scene import sample_scene; "
        "from adb_core.toyworld.render import render; "
        "print(hashlib.sha256(b''.join(render(sample_scene(np.random.default_rng(k)), k).image.tobytes() for k in range(5))).hexdigest())"
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
    body = sample_instance(np.random.default_rng(1), "blue")
    bare = render_image(Scene(category, body, "blue"), 0)
    for accessory in ACCESSORIES:
        drawn = render(Scene(category, body, "blue", accessory=accessory), 0)
        assert drawn.masks["accessory"].sum() > 40, accessory
        assert not np.array_equal(drawn.image, bare)
    for relation, thing in zip(RELATIONS, OBJECTS):
        assert (
            render(Scene(category, body, "blue", relation=relation, object=thing), 0)
            .masks["object"]
            .sum()
            > 60
        )


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
        some_scene(style="photo", instance=sample_rare_instance(np.random.default_rng(9))),
    )
    subject = render(a, 0).masks["subject"]
    assert np.abs(render_image(a, 0).astype(int) - render_image(b, 0))[subject].mean() > 20
    looks = [render_image(some_scene(style=s), 0).astype(int) for s in STYLES]
    assert all(np.abs(x - y).mean() > 4 for x, y in itertools.combinations(looks, 2))


def test_gallery_is_written(tmp_path):
    paths = write_gallery(tmp_path)
    assert all(Image.open(p).width > 600 for p in paths) and len(paths) == 3
    assert mask_picture(render(some_scene(), 0)).shape == (64, 64, 3)


# ---------------------------------------------------------------- concepts and prompts


def test_concepts_lie_outside_what_pretraining_draws():
    for p in concepts.PORTRAITS:
        i = p.instance
        assert not is_common(i), p.name
        assert (
            min(scene.color_distance(i.primary, rgb) for rgb in COLORS.values())
            > scene.RARE_COLOR_DISTANCE
        ), p.name
        low, high = scene.COMMON_SIZE
        assert i.mark in scene.RARE_MARKS and any(
            not low <= s <= high for s in (i.width, i.height, i.head, i.detail)
        ), p.name
    rng = np.random.default_rng(0)
    drawn = [sample_scene(rng).instance for _ in range(2000)]
    for p in concepts.PORTRAITS:  # and no draw comes near one
        assert min(scene.color_distance(p.instance.primary, i.primary) for i in drawn) > 20, p.name


def test_concepts_on_disk_are_what_the_command_writes(tmp_path):
    concepts.write_concepts(tmp_path)
    fresh = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    stored = {
        p.relative_to(DATA / "concepts"): p.read_bytes()
        for p in (DATA / "concepts").rglob("*")
        if p.is_file()
    }
    assert fresh.keys() == stored.keys()
    different = [
        str(name)
        for name in fresh
        if name.suffix != ".png" and fresh[name] != stored[name] and name.name == "README.md"
    ]
    assert not different
    for name in fresh:  # pixels, not PNG bytes: another zlib may pack them differently
        if name.suffix == ".png":
            np.testing.assert_array_equal(
                np.asarray(Image.open(tmp_path / name)),
                np.asarray(Image.open(DATA / "concepts" / name)),
            )


def test_manifest_splits_and_checksums():
    manifest = json.loads((DATA / "concepts/manifest.json").read_text())
    tuning, held = set(manifest["tuning"]), set(manifest["held_out"])
    assert not tuning & held and len(tuning | held) >= 10
    infos = {
        n: json.loads((DATA / "concepts" / n / "concept.json").read_text()) for n in tuning | held
    }
    assert len({i["category"] for i in infos.values()}) >= 6
    for name, info in infos.items():
        assert info["license"] and info["provenance"] and len(info["photos"]) == 5
        assert instance_from_dict(info["instance"]) == next(
            p.instance for p in concepts.PORTRAITS if p.name == name
        )
        for photo in info["photos"]:
            mask = np.asarray(Image.open(DATA / "concepts" / name / photo["mask"]))
            assert set(np.unique(mask)) == {0, 255} and mask.shape == (64, 64)
    for file, digest in manifest["sha256"].items():
        assert hashlib.sha256((DATA / "concepts" / file).read_bytes()).hexdigest() == digest, file


def test_prompt_sets_ask_for_what_they_say():
    sets = prompts.prompt_sets()
    for name, entries in sets.items():
        assert json.loads((DATA / "prompts" / f"{name}.json").read_text())["prompts"] == entries
        assert len({e["prompt"] for e in entries}) == len(entries)
        for e in entries:
            assert e["prompt"].count("{}") == 1
            assert all(word in LABELS[label] for label, word in e["asks"].items())
            for label in ("accessory", "object", "place"):
                if label in e["asks"]:
                    assert e["asks"][label] in e["prompt"].split()
    assert all(
        {"accessory", "relation", "place", "style"} <= e["asks"].keys() for e in sets["complex"]
    )
    for label, words in (
        ("accessory", ACCESSORIES),
        ("place", PLACES),
        ("object", OBJECTS),
        ("relation", RELATIONS),
        ("style", STYLES),
    ):
        asked = {e["asks"].get(label) for e in sets["compositional"] + sets["complex"]}
        assert set(words) <= asked, (label, set(words) - asked)
