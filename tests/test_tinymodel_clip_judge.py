"""Tokenizer, CLIP, judge, map read-out and the evaluation. Tiny budgets, no bars."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from typer.testing import CliRunner

from adb_core.pretraining import clip as clip_training, families, judge as judge_training
from adb_core.pretraining.record import training_record
from adb_core.pretraining.settings import Budget, Fit, Place
from adb_core.system.commands import command_app
from adb_core.tinymodel import card, checks, clip, degrade, evaluate, maps, pipeline, relatives
from adb_core.tinymodel.card_tables import count_parameters
from adb_core.tinymodel.judge import Judge, as_pixels
from adb_core.tinymodel.measures import attributes, pointing
from adb_core.tinymodel.pixels import to_pixels
from adb_core.tinymodel.tokenizer import MAX_LENGTH, build_tokenizer, encode, learn_merges
from adb_core.toyworld.grammar import STOP_WORDS, captions, plain_caption, vocabulary
from adb_core.toyworld.scene import LABELS, Instance, Scene

few = settings(max_examples=40, deadline=None)

FULL_SCENE = Scene(
    "cat",
    Instance((242, 136, 34), (240, 240, 200), "stripes", "bolt", 0.85, 1.2),
    accessory="umbrella",
    relation="on top of",
    object="pumpkin",
    place="sea",
    sky="confetti",
    style="pixel art",
)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def tiny_clip(tokenizer):
    torch.manual_seed(0)
    return clip.build_clip(tokenizer).eval()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, tokenizer, tiny_clip):
    """tiny-sd, tiny-clip and judge with random weights, half precision on disk."""
    from diffusers import (
        AutoencoderKL,
        DDPMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )

    torch.manual_seed(0)
    data = tmp_path_factory.mktemp("data")
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=128,
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 24),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=128,
    )
    pipe = StableDiffusionPipeline(
        vae,
        clip.text_encoder_from_clip(tiny_clip),
        tokenizer,
        unet,
        DDPMScheduler(prediction_type="v_prediction", steps_offset=1, clip_sample=False),
        None,
        None,
        requires_safety_checker=False,
    )
    pipe.to(torch.float16).save_pretrained(data / "tiny-sd")
    tiny_clip.save_pretrained(data / "tiny-clip")
    tokenizer.save_pretrained(data / "tiny-clip")
    clip.build_image_processor().save_pretrained(data / "tiny-clip")
    Judge().save(data / "judge")
    return data


def _pictures(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 128, 128, 3), dtype=np.uint8)


# ---------------------------------------------------------------- tokenizer


def test_every_word_is_one_token(tokenizer):
    assert all(len(tokenizer(word).input_ids) == 3 for word in vocabulary())


@few
@given(st.lists(st.text("abcde", min_size=1, max_size=7), min_size=1, max_size=8))
def test_merges_make_any_set_of_words_whole(words):
    from transformers import CLIPTokenizer

    from adb_core.tinymodel.tokenizer import byte_symbols

    merges = learn_merges(words)
    tokens = [
        *byte_symbols(),
        *(s + "</w>" for s in byte_symbols()),
        *map("".join, merges),
        "<|endoftext|>",
    ]
    made = CLIPTokenizer(
        vocab={t: i for i, t in enumerate(dict.fromkeys(tokens))},
        merges=merges,
        bos_token="<|endoftext|>",
    )
    assert all(len(made(word, add_special_tokens=False).input_ids) == 1 for word in words)


@few
@given(text=st.text(max_size=60))
def test_any_text_tokenises(tokenizer, text):
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
    assert all(0 <= i < len(tokenizer) for i in ids)
    # nothing unknown: the unknown token is the end token, and only one stands there
    assert ids.count(tokenizer.eos_token_id) == 1 + text.lower().count("<|endoftext|>")


def test_emoji_and_capitals(tokenizer):
    assert tokenizer("A Red CAT").input_ids == tokenizer("a red cat").input_ids
    assert (
        tokenizer.decode(tokenizer("a cat 🐈 ü").input_ids, skip_special_tokens=True)
        == "a cat 🐈 ü"
    )


def test_longest_caption_fits_with_room(tokenizer):
    every = (len(text.split()) for text in captions(FULL_SCENE))
    assert max(every) + 2 <= MAX_LENGTH - 6  # every word is one token, and two mark the ends
    assert len(tokenizer(plain_caption(FULL_SCENE)).input_ids) <= MAX_LENGTH - 6


def test_tokenizer_round_trip(tokenizer, tmp_path):
    from transformers import AutoTokenizer, CLIPTokenizer

    tokenizer.save_pretrained(tmp_path)
    texts = ["a photo of a red cat wearing a hat", "Überraschung 🎈", ""]
    for cls in (CLIPTokenizer, AutoTokenizer):
        again = cls.from_pretrained(tmp_path)
        assert again.model_max_length == MAX_LENGTH and again.pad_token_id == tokenizer.eos_token_id
        assert torch.equal(encode(again, texts), encode(tokenizer, texts))


# ---------------------------------------------------------------- CLIP


def test_text_encoder_equals_clip(tiny_clip, tokenizer):
    ids = encode(tokenizer, ["a photo of a cat", "a blue dog in the snow"])
    encoder = clip.text_encoder_from_clip(tiny_clip)
    with torch.no_grad():
        ours, theirs = encoder(ids), tiny_clip.text_model(input_ids=ids)
    torch.testing.assert_close(ours.last_hidden_state, theirs.last_hidden_state)
    end = (
        (ids == tokenizer.eos_token_id).int().argmax(1)
    )  # the pooled state is the one at the first end token
    torch.testing.assert_close(ours.pooler_output, ours.last_hidden_state[torch.arange(2), end])


def test_pipeline_text_encoder_equals_clip(data_dir, tiny_clip, tokenizer):
    pipe = pipeline.load_pipe(data_dir / "tiny-sd", "cpu")
    states, _ = pipe.encode_prompt("a photo of a cat on the moon", "cpu", 1, False)
    with torch.no_grad():
        ids = encode(tokenizer, ["a photo of a cat on the moon"])
        expected = tiny_clip.text_model(input_ids=ids).last_hidden_state
    torch.testing.assert_close(states, expected, atol=2e-2, rtol=2e-2)  # half precision on disk


def test_token_patch_similarity_equals_loops():
    rng = np.random.default_rng(1)
    words, patches = rng.normal(size=(3, 5, 7)), rng.normal(size=(4, 6, 7))
    content = np.array([[0, 1, 1, 0, 1], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]], bool)
    expected = np.zeros((3, 4))
    for i in range(3):
        for j in range(4):
            best = [
                max(
                    words[i, k] @ p / np.linalg.norm(words[i, k]) / np.linalg.norm(p)
                    for p in patches[j]
                )
                for k in range(5)
                if content[i, k]
            ]
            expected[i, j] = np.mean(best) if best else 0
    found = clip_training.token_patch_similarity(
        torch.tensor(words), torch.tensor(content), torch.tensor(patches)
    )
    torch.testing.assert_close(found, torch.tensor(expected))


def test_contrastive_loss_equals_loops_and_skips_equal_captions():
    logits = np.random.default_rng(2).normal(size=(3, 3))
    same = np.eye(3, dtype=bool)
    same[0, 2] = same[2, 0] = True
    terms = []
    for i in range(3):
        allowed = [j for j in range(3) if j == i or not same[i, j]]
        terms.append(-logits[i, i] + np.log(sum(np.exp(logits[i, j]) for j in allowed)))
        terms.append(-logits[i, i] + np.log(sum(np.exp(logits[j, i]) for j in allowed)))
    found = clip_training.contrastive_loss(torch.tensor(logits), torch.tensor(same))
    torch.testing.assert_close(found, torch.tensor(np.mean(terms)))


def test_a_wrong_caption_stands_against_its_own_picture_alone():
    logits = np.random.default_rng(3).normal(size=(3, 3))
    wrong = np.array([[0.4, -np.inf, 1.2], [-np.inf] * 3, [2.0, 0.1, -np.inf]])  # (images, w)
    terms = []
    for i in range(3):
        terms.append(-logits[i, i] + np.log(np.exp(logits[i]).sum()))
        terms.append(-logits[i, i] + np.log(np.exp(logits[:, i]).sum() + np.exp(wrong[i]).sum()))
    found = clip_training.contrastive_loss(
        torch.tensor(logits), torch.eye(3, dtype=torch.bool), torch.tensor(wrong)
    )
    torch.testing.assert_close(found, torch.tensor(np.mean(terms)))


def test_states_that_do_not_name_their_words_cost():
    words = clip_training.Words(5, 8)
    ids = torch.tensor([0, 3, 4, 3])
    own = words.directions.detach()[ids]
    right = words(7 * own, ids)  # a state's length does not matter, its direction does
    torch.testing.assert_close(words(own, ids), right)
    assert right < 0.1 < words(own[[1, 0, 3, 2]], ids)
    assert words(torch.ones(4, 8), ids) > 1  # one state for all


def test_wrong_captions_are_wrong_in_what_they_say():
    """Each differs from the true one in one kind, says that kind, and the scene has it not."""
    from adb_core.pretraining.misnomers import PHRASES, says, wrong_captions
    from adb_core.toyworld.grammar import caption, captions
    from adb_core.toyworld.sampling import sample_scene

    rng, kinds, counts = np.random.default_rng(4), set(), []
    for k in range(150):
        scene = sample_scene(rng)
        text, wrong = wrong_captions(scene, k, 4, rng)
        assert text == caption(scene, k) and text not in wrong
        said = {kind for kind in PHRASES if says(text, scene, kind)}
        for other in wrong:
            gone = {kind for kind in said if not says(other, scene, kind)}
            assert gone, (text, other)
            kinds |= gone
        counts.append(len(wrong))
    assert kinds == set(PHRASES) and np.mean(counts) > 2.5 and max(counts) == 4
    scene = sample_scene(np.random.default_rng(5))
    true = set(captions(scene))
    for k in range(30):
        assert not true & set(wrong_captions(scene, k, 4, rng)[1])


def test_content_words(tokenizer):
    table = clip_training.content_table(tokenizer)
    ids = encode(tokenizer, ["a photo of a cat on the beach"])[0]
    said = [tokenizer.decode([i]) for i in ids[table[ids]]]
    assert said == ["photo", "cat", "beach"]
    assert not any(table[tokenizer(w).input_ids[1]] for w in STOP_WORDS)


def test_image_processor_without_torchvision(data_dir):
    from transformers import AutoImageProcessor, CLIPImageProcessor

    pictures = _pictures(2)
    for cls in (CLIPImageProcessor, AutoImageProcessor):
        processor = cls.from_pretrained(data_dir / "tiny-clip")
        pixels = torch.as_tensor(
            np.asarray(processor(list(pictures), return_tensors="np")["pixel_values"])
        )
        torch.testing.assert_close(pixels, to_pixels(pictures), atol=1e-5, rtol=1e-5)


def test_clip_trains_a_few_steps(tmp_path, tokenizer):
    from adb_core.pretraining.cache import Renders, build_cache

    cache = build_cache(tmp_path / "cache", Renders(8, 0), workers=1, progress=False)
    how = {
        "place": Place(tmp_path, 0, "cpu"),
        "budget": Budget(steps=3),
        "settings": Fit("clip", lr=1e-3, batch=4),
    }
    model, _, _ = clip_training.train_clip(cache, **how)
    again, _, _ = clip_training.train_clip(cache, **how)  # finished: loads
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    found = clip.retrieval(model, tokenizer, cache.images, [c[0] for c in cache.captions])
    assert all(0 <= share <= 1 for share in found.values()) and len(found) == 2


# ---------------------------------------------------------------- judge


def test_judge_is_small_and_reads():
    judge = Judge()
    assert sum(p.numel() for p in judge.parameters()) < 2e6
    read = judge.read(_pictures(3))
    assert set(read) == set(LABELS) and all(
        len(v) == 3 and set(v) <= set(LABELS[k]) for k, v in read.items()
    )
    for p in judge.probabilities(_pictures(3)).values():
        np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(judge.identity(_pictures(3)), axis=1), 1, atol=1e-5)


def test_judge_accepts_arrays_pil_and_tensors():
    from PIL import Image

    array = _pictures(2)
    ways = [
        array,
        [Image.fromarray(a) for a in array],
        torch.from_numpy(array).permute(0, 3, 1, 2) / 255,
    ]
    for way in ways:
        torch.testing.assert_close(as_pixels(way), as_pixels(array))
    for bad in (_pictures(1)[:, :32], torch.full((1, 3, 128, 128), 2.0), array.astype(np.float32)):
        with pytest.raises(ValueError):
            as_pixels(bad)


def test_judge_round_trip(tmp_path):
    torch.manual_seed(1)
    judge = Judge().eval()
    judge.save(tmp_path)
    loaded = Judge.load(tmp_path)
    np.testing.assert_allclose(
        loaded.identity(_pictures(2)), judge.identity(_pictures(2)), atol=5e-3
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "judge.safetensors"]


def test_a_judge_of_another_world_is_built_from_its_own_words(tmp_path):
    """Labels, widths and picture size come from the file, not from this version's world."""
    from adb_core.tinymodel.judge import JudgeConfig

    other = Judge(JudgeConfig(64, (8, 8, 12, 16), 24, {"category": ("fox", "owl")})).eval()
    other.save(tmp_path)
    loaded = Judge.load(tmp_path)
    pictures = _pictures(3)[:, ::2, ::2]
    assert loaded.config == other.config and set(loaded.read(pictures)) == {"category"}
    assert loaded.identity(pictures).shape == (3, 24)
    with pytest.raises(ValueError, match="64x64"):
        loaded.read(_pictures(1))


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_judge_of_another_format_is_refused_in_one_line(tmp_path, number):
    Judge().save(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": number}))
    with pytest.raises(ValueError, match=f"of format {number}.*pretrain") as caught:
        Judge.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["judge.safetensors", "config.json"])
@pytest.mark.parametrize("harm", ["missing", "truncated", "garbage"])
def test_damaged_judge_is_named(tmp_path, name, harm):
    Judge().save(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    path.unlink()
    if harm != "missing":
        path.write_bytes(content[: len(content) // 2] if harm == "truncated" else b"\xff" * 100)
    with pytest.raises(ValueError, match=f"{name}.*pretrain") as caught:
        Judge.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_identity_loss_equals_loops():
    rng = np.random.default_rng(3)
    z = rng.normal(size=(6, 5))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    owner = [0, 0, 1, 1, 2, 2]
    terms = []
    for i in range(6):
        total = sum(np.exp(z[i] @ z[j] / judge_training.TEMPERATURE) for j in range(6) if j != i)
        mates = [j for j in range(6) if j != i and owner[j] == owner[i]]
        terms.append(
            np.mean(
                [-np.log(np.exp(z[i] @ z[j] / judge_training.TEMPERATURE) / total) for j in mates]
            )
        )
    found = judge_training.identity_loss(torch.tensor(z), torch.tensor(owner))
    torch.testing.assert_close(found, torch.tensor(np.mean(terms)))


def test_attribute_loss_leaves_out_unknown_colors():
    scores_ = {name: torch.randn(2, len(words)) for name, words in LABELS.items()}
    truth = torch.zeros(2, len(LABELS), dtype=torch.long)
    truth[:, list(LABELS).index("color")] = -1
    before = judge_training.attribute_loss(scores_, truth)
    scores_["color"] = scores_["color"] + 100 * torch.randn_like(scores_["color"])
    torch.testing.assert_close(judge_training.attribute_loss(scores_, truth), before)


def test_families_differ_within_and_repeat():
    for number in range(20):
        family = families.make_family(number, seed=5)
        assert family == families.make_family(number, seed=5)
        assert len({scene.instance for scene in family}) == len(family) == families.FAMILY
        assert len({(scene.category, scene.instance.primary) for scene in family}) == 1
        assert family[0].instance.pattern != "plain"


@pytest.mark.parametrize("trait", relatives.TRAITS)
def test_a_near_miss_differs_in_one_trait_alone(trait):
    from adb_core.toyworld.scene import color_distance, labels

    for seed in range(30):
        first = families.make_family(seed, 1)[0].instance
        other = relatives.changed(first, trait, np.random.default_rng(seed))
        one, two = (labels(Scene("cat", i)) for i in (first, other))
        differ = {name for name in one if one[name] != two[name]}
        if trait == "second color":
            assert color_distance(first.secondary, other.secondary) > 89
        else:
            assert trait in differ
        # a plain coat hides the second color, so that its word goes with the pattern
        assert differ <= {trait, *(["second color"] if trait == "pattern" else [])}


def test_round_trips_stand_for_first_views_alone():
    images = np.zeros((2, 3, 4, 8, 8, 3), np.uint8)
    labels = np.zeros((2, 3, 4, len(LABELS)), np.int64)
    kin = families.Families(images, labels)
    softened = np.full((2, 3, 8, 8, 3), 7, np.uint8)
    drawn = [
        judge_training.draw_individuals(kin, np.random.default_rng(k), softened)[0]
        for k in range(40)
    ]
    share = np.mean([picture.any() for batch in drawn for picture in batch])
    assert 0.05 < share < 0.2  # a quarter are first views, half of those are replaced


def test_a_larger_batch_has_as_many_more_families():
    many = np.zeros((60, 3, 4, 8, 8, 3), np.uint8)
    kin = families.Families(many, np.zeros((60, 3, 4, len(LABELS)), np.int64))
    for times in (1, 4):
        images, labels, owner = judge_training.draw_individuals(
            kin, np.random.default_rng(0), times=times
        )
        assert len(images) == len(labels) == len(owner) == 48 * times
        assert len(set(owner.tolist())) == 24 * times  # two views of each individual


@pytest.mark.parametrize("name", list(degrade.DEGRADATIONS))
def test_degradations_change_a_little_and_keep_range_and_shape(name):
    pixels = as_pixels(_pictures(2))
    smooth = degrade.blur(pixels, 4.0)
    worse = degrade.DEGRADATIONS[name](smooth)
    assert worse.shape == smooth.shape and worse.min() >= 0 and worse.max() <= 1
    change = (worse - smooth).abs().mean()
    assert 0 < change < 0.06


def test_blur_keeps_the_mean_and_equals_scipy_free_loops():
    pixels = torch.rand(1, 2, 9, 11, dtype=torch.float64)
    taps = np.exp(-0.5 * (np.arange(-3, 4) / 1.2) ** 2)
    taps /= taps.sum()
    padded = np.pad(pixels.numpy(), [(0, 0), (0, 0), (0, 0), (3, 3)], mode="edge")
    rows = sum(t * padded[..., k : k + 11] for k, t in enumerate(taps))
    padded = np.pad(rows, [(0, 0), (0, 0), (3, 3), (0, 0)], mode="edge")
    expected = sum(t * padded[:, :, k : k + 9] for k, t in enumerate(taps))
    torch.testing.assert_close(degrade.blur(pixels, 1.2), torch.tensor(expected))


def test_augmentation_keeps_range_and_repeats():
    pixels = as_pixels(_pictures(4))
    one = judge_training.augment(pixels, np.random.default_rng(0))
    assert one.shape == pixels.shape and one.min() >= 0 and one.max() <= 1
    assert torch.equal(one, judge_training.augment(pixels, np.random.default_rng(0)))


def test_only_individuals_are_degraded_and_the_same_seed_degrades_alike():
    pixels = torch.rand(30, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    one = judge_training.degrade(pixels, 10, np.random.default_rng(0))
    assert torch.equal(one[:10], pixels[:10])
    changed = (one[10:] != pixels[10:]).flatten(1).any(1)
    assert 0 < changed.sum() < 20  # a third of them stay as they are
    assert torch.equal(one, judge_training.degrade(pixels, 10, np.random.default_rng(0)))


def test_judge_trains_a_few_steps(tmp_path):
    class FakeCache:
        images = _pictures(6)
        labels = np.zeros((6, len(LABELS)), np.int64)

    kin = families.build_families(tmp_path / "families", count=2, seed=0, workers=1)
    place, budget = Place(tmp_path, 0, "cpu"), Budget(steps=2)
    judge = judge_training.train_judge(FakeCache, kin, place=place, budget=budget)
    assert judge.identity(_pictures(1)).shape == (1, 64)


# ---------------------------------------------------------------- maps


def test_maps_sum_to_one_leave_outputs_and_processors_alone(data_dir):
    unet = pipeline.load_pipe(data_dir / "tiny-sd", "cpu").unet
    before = dict(unet.attn_processors)
    states, latents, at = (
        torch.randn(2, 7, 128),
        torch.randn(2, 4, 16, 16),
        torch.tensor([200, 500]),
    )
    with torch.no_grad():
        plain = unet(latents, at, encoder_hidden_states=states).sample
        with maps.reading_probabilities(unet):
            read = unet(latents, at, encoder_hidden_states=states).sample
    torch.testing.assert_close(read, plain, atol=1e-4, rtol=1e-4)
    found = maps.word_maps(unet, states, latents, at)
    assert found.shape == (2, 7, 16, 16)
    torch.testing.assert_close(found.sum(1), torch.ones(2, 16, 16))
    assert unet.attn_processors == before
    with pytest.raises(RuntimeError, match="in the middle"), maps.reading_probabilities(unet):
        raise RuntimeError("in the middle")
    assert unet.attn_processors == before


# ---------------------------------------------------------------- what is measured, and how


def test_pointing_counts_hits_and_chances_by_hand():
    scene = Scene("cat", FULL_SCENE.instance, place="sea")
    tokens = {name: at for name, (at, _, _) in pointing.pointing_words(scene).items()}
    subject = np.zeros((128, 128), bool)
    subject[0:8, 0:8] = True  # the whole cell (0, 0)
    subject[0:4, 8:12] = True  # a quarter of cell (0, 1)
    subject[8, 8:14] = True  # six of 64 pixels of cell (1, 1)
    nothing = np.zeros_like(subject)
    drawn = SimpleNamespace(masks={"subject": subject, "accessory": nothing, "object": nothing})
    for cell, on in {(0, 0): True, (0, 1): True, (1, 1): False, (9, 9): False}.items():
        maps = np.zeros((1, 3, 40, 16, 16))
        maps[(0, slice(None), slice(None), *cell)] = 1
        rows = {r.what: r for r in pointing.measure_pointing([scene], [drawn], maps)}
        inside = rows["category word on the subject"]
        outside = rows["place word off subject, accessory and object"]
        assert (inside.value, inside.count, inside.chance) == (on, 3, 2 / 256)
        assert (outside.value, outside.count, outside.chance) == (not on, 3, 254 / 256)
        assert rows["second object's word on it"].count == 0
    assert set(tokens) == {"category", "place"}


def test_pointing_words_are_the_right_tokens(tokenizer):
    ids = tokenizer(plain_caption(FULL_SCENE)).input_ids
    words = {
        name: tokenizer.decode([ids[token]])
        for name, (token, _, _) in pointing.pointing_words(FULL_SCENE).items()
    }
    assert words == {
        "category": "cat",
        "accessory": "umbrella",
        "object": "pumpkin",
        "place": "sea",
    }


def test_judge_rows_count_only_what_was_asked():
    scenes = [
        Scene("cat", FULL_SCENE.instance, accessory="hat"),
        Scene("dog", Instance((228, 90, 39), (9, 9, 9))),  # between red and orange
    ]
    read = {name: ["none", "none"] for name in LABELS} | {
        "category": ["cat", "cat"],
        "accessory": ["hat", "hat"],
    }
    rows = {
        r.what: r
        for r in attributes.judge_rows(
            "g", read, scenes, attributes.GENERATED_BARS, asked_only=True
        )
    }
    assert (rows["category"].value, rows["category"].count, rows["category"].passed) == (
        0.5,
        2,
        False,
    )
    assert (rows["accessory"].value, rows["accessory"].count) == (1.0, 1)
    assert rows["color"].count == 1 and rows["relation"].count == 0


# ---------------------------------------------------------------- the command


def command(*arguments):
    app = command_app(evaluate.main, "evaluate")
    return CliRunner().invoke(app, [str(word) for word in arguments])


def test_evaluate_end_to_end(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "QUICK", evaluate.Counts(4, 4, 4, 2, 4, 1))
    monkeypatch.setattr(pipeline, "STEPS", 2)
    first = {
        "command": "first command",
        "hardware": "a machine",
        "stages": {"unet": {"steps": 10, "seconds": 60.0, "batch": 8, "seed": 0}},
    }
    (data_dir / "tiny-sd" / card.RECORD).write_text(json.dumps([first]))
    numbers = tmp_path / "out/e.json"
    where = ["--data", data_dir, "--json", numbers, "--device", "cpu"]
    result = command("--quick", "--card", *where)
    assert result.exit_code == 1  # random weights pass no bar
    assert "category word on the subject" in result.stdout and "FAIL" in result.stdout
    results = json.loads((tmp_path / "out/e.json").read_text())
    assert {row["group"] for row in results["rows"]} >= {
        "VAE",
        "tiny-clip",
        "judge",
        "cross-attention maps",
        "speed",
    }
    assert (tmp_path / "out/evaluation-generated.png").exists() and (
        tmp_path / "out/evaluation-maps.png"
    ).exists()
    readme = (data_dir / "tiny-sd/README.md").read_text()
    assert (
        readme.startswith("---\nlicense: apache-2.0")
        and "| unet | 10 | 1.0 | 1 |" in readme
        and "first command" in readme
    )
    assert (
        "| 10 | the folder's own (DPM-Solver++ with fresh noise), guidance 3 | " in readme
    )  # the curve of quality against budget
    assert (
        json.loads((data_dir / "tiny-sd" / card.RECORD).read_text())[0]["measured"][0]["category"]
        <= 1.0
    )


def test_record_of_training_puts_the_earlier_run_first(tmp_path):
    stage = tmp_path / "run" / "decoder"
    stage.mkdir(parents=True)
    (stage / "done.json").write_text(
        json.dumps(
            {"name": "decoder", "steps": 5, "seconds": 2.0, "seed": 0, "settings": {"batch": 8}}
        )
    )
    (tmp_path / "start/tiny-sd").mkdir(parents=True)
    (tmp_path / "start/tiny-sd" / card.RECORD).write_text(json.dumps([{"command": "first"}]))
    both = training_record(tmp_path / "run", tmp_path / "start")
    assert both[0] == {"command": "first"}
    assert both[1]["command"] == "python -m adb_core.pretraining --from data --steps decoder=5"
    assert len(training_record(tmp_path / "run")) == 1
    other = training_record(tmp_path / "run", patch_weight=0.1)[0]["command"]
    assert other == "python -m adb_core.pretraining --patch-weight 0.1 --steps decoder=5"
    large = training_record(tmp_path / "run", batch={"decoder": 8})[0]["command"]
    assert large == "python -m adb_core.pretraining --batch decoder=8 --steps decoder=5"
    with pytest.raises(FileNotFoundError, match="no finished stage"):
        training_record(tmp_path / "none")


@pytest.mark.parametrize(
    "harm", ["no folder", "no index", "truncated", "missing", "no part", "bad json"]
)
def test_bad_model_folder_is_one_line_and_code_2(data_dir, tmp_path, harm):
    data = tmp_path / "data"
    shutil.copytree(data_dir, data)
    weights = next((data / "tiny-sd/unet").glob("*.safetensors"))
    if harm == "no folder":
        shutil.rmtree(data / "tiny-sd")
    elif harm == "no index":
        (data / "tiny-sd/model_index.json").unlink()
    elif harm == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif harm == "missing":
        weights.unlink()
    elif harm == "no part":
        shutil.rmtree(data / "tiny-sd/vae")
    else:
        (data / "tiny-sd/unet/config.json").write_text("{")
    with pytest.raises(checks.BadFolder):
        checks.check_model_folder(data / "tiny-sd")
    result = command("--data", data, "--quick", "--json", tmp_path / "e.json")
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith("evaluate: ") and result.stderr.count("\n") == 1


def test_card_counts_parameters(data_dir):
    judge = Judge()
    assert count_parameters(data_dir / "judge/judge.safetensors") == sum(
        v.numel() for v in judge.state_dict().values()
    )


# ---------------------------------------------------------------- distance


def test_frechet_equals_the_closed_form_and_scipys_root():
    from adb_core.tinymodel.measures.distance import frechet

    rng = np.random.default_rng(0)
    a = rng.normal(size=(400, 5)) @ rng.normal(size=(5, 5))
    b = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5)) + 0.5
    linalg = pytest.importorskip("scipy.linalg")
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(cov_a @ cov_b).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
    assert frechet(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet(a, a) == pytest.approx(0, abs=1e-8)
    # In one dimension: the difference of means and of standard deviations.
    x, y = rng.normal(0, 1, (5000, 1)), rng.normal(2, 3, (5000, 1))
    by_hand = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    assert frechet(x, y) == pytest.approx(by_hand)


@pytest.mark.parametrize("shapes", [((5, 3), (5, 2)), ((1, 3), (5, 3)), ((3,), (3,))])
def test_frechet_wants_features_of_some_pictures(shapes):
    from adb_core.tinymodel.measures.distance import frechet

    with pytest.raises(ValueError, match="two pictures or more"):
        frechet(np.zeros(shapes[0]), np.zeros(shapes[1]))
