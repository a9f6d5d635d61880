"""Walks: their way, their files, what they keep; and frames that share self-attention."""

import io
import sys

import numpy as np
import pytest
import torch
from models import TEXT, TOKENS, short, tiny_base, tiny_concept, tiny_unet
from PIL import Image
from two_encoders import two_encoder_base

import adb_core as adb
from adb_core.attention import capture_attention
from adb_core.beyond import (
    FrameError,
    draw_states,
    first_of_each,
    flicker,
    measure_steadiness,
    noise,
    save_frames,
    share_first_frame,
    slerp,
    text_states,
    walk,
)
from adb_core.generation import generate

CAT, DOG = "a photo of a red cat", "a painting of a blue dog on the beach"


def close(a, b):
    """The same pictures, but for the rounding of another batch's sums."""
    return np.abs(np.asarray(a).astype(int) - np.asarray(b)).max() <= 1


# ---------------------------------------------------------------- the way


def test_slerp_is_of_each_sample():
    """A plain loop with each sample's own angle."""
    a, b = torch.randn(3, 2, 5, 7), torch.randn(3, 2, 5, 7)
    share = torch.tensor([0.0, 0.3, 1.0])
    rows = []
    for one, other, t in zip(a, b, share, strict=True):
        angle = torch.acos((one * other).sum() / one.norm() / other.norm())
        rows.append((((1 - t) * angle).sin() * one + (t * angle).sin() * other) / angle.sin())
    torch.testing.assert_close(slerp(a, b, share), torch.stack(rows))
    torch.testing.assert_close(slerp(a, b, share)[[0, 2]], torch.stack([a[0], b[2]]))


def test_slerp_keeps_the_length_of_noise_and_a_line_would_not():
    a, b = torch.randn(4, 4, 16, 16), torch.randn(4, 4, 16, 16)
    half = slerp(a, b, 0.5)
    assert 0.95 < float(half.std()) < 1.05 and float(((a + b) / 2).std()) < 0.75


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_slerp_of_parallel_samples_is_straight(sign):
    a = torch.randn(200, 7)
    torch.testing.assert_close(slerp(a, sign * a, 0.25), 0.75 * a + 0.25 * sign * a)


@pytest.mark.parametrize("make", [tiny_base, two_encoder_base])
def test_a_walk_begins_and_ends_with_the_pictures_of_its_stops(make):
    base = make()
    found = walk(base, [(CAT, 3), (DOG, 5)], 4, steps=3, guidance=2.0)
    ends = [generate(base, p, [s], steps=3, guidance=2.0).images[0] for p, s in found.stops]
    assert close(found.frames[0], ends[0]) and close(found.frames[-1], ends[1])
    assert found.frames.shape[0] == 4 and not close(found.frames[1], found.frames[2])
    np.testing.assert_allclose(found.at, [0, 1 / 3, 2 / 3, 1])


def test_batches_change_no_frame_and_a_round_comes_back():
    base, stops = tiny_base(), [(CAT, 3), (DOG, 5), (CAT, 3)]
    whole, pieces = (walk(base, stops, 5, steps=2, batch=n).frames for n in (5, 2))
    assert close(whole, pieces) and close(whole[0], whole[-1]) and not close(whole[0], whole[2])
    ends = generate(base, DOG, [5], steps=2).images[0]
    assert close(whole[2], ends)


def test_a_walk_of_a_personalized_model():
    result = adb.personalize(
        tiny_base(), tiny_concept(), short(adb.recipe("dreambooth"), steps=1), view_count=2
    )
    found = walk(result, [("a photo of a {}", 0), ("a photo of a {} in the city", 0)], 2, steps=2)
    assert found.stops[0][0] == "a photo of a <pico> cat"
    assert close(
        found.frames[1], generate(result, "a photo of a {} in the city", steps=2).images[0]
    )


BAD_WALKS = {
    "one stop": ({"stops": [(CAT, 0)]}, "two stops and two frames"),
    "one frame": ({"frames": 1}, "two stops and two frames at least, got 2 and 1"),
    "odd guidance": ({"guidance": 0.0}, "guidance at least 1"),
    "a prompt of a hundred words": ({"stops": [(CAT, 0), ("cat " * 100, 0)]}, "shorten"),
}


@pytest.mark.parametrize("name", BAD_WALKS)
def test_bad_walks(name):
    options, message = BAD_WALKS[name]
    with pytest.raises(ValueError, match=message):
        walk(tiny_base(), **{"stops": [(CAT, 0), (DOG, 1)], "frames": 2, **options})


# ---------------------------------------------------------------- shared self-attention


def plain_loop(attn, hidden, frames):
    """Self-attention with the first frame's keys and values: one frame and one head at a time."""
    out = torch.zeros_like(hidden)
    width = hidden.shape[-1] // attn.heads
    for row in range(len(hidden)):
        first = hidden[row - row % frames]
        q, k, v = attn.to_q(hidden[row]), attn.to_k(first), attn.to_v(first)
        for head in range(attn.heads):
            at = slice(head * width, (head + 1) * width)
            probs = (q[:, at] @ k[:, at].T / width**0.5).softmax(-1)
            out[row, :, at] = probs @ v[:, at]
    return attn.to_out[0](out)


@pytest.mark.parametrize("kind", ["sd15", "sd21"])
def test_shared_attention_equals_a_plain_loop(kind):
    unet = tiny_unet(kind)
    layers = [m for n, m in unet.named_modules() if n.endswith("attn1")]
    hidden = torch.randn(6, 9, layers[0].to_q.in_features)  # two clips of three frames
    with torch.no_grad(), share_first_frame(unet, 3, guided=False):
        shared = layers[0](hidden)
    with torch.no_grad():
        torch.testing.assert_close(shared, plain_loop(layers[0], hidden, 3))
        assert not torch.allclose(shared, layers[0](hidden), atol=1e-3)


def clip(frames=3, seed=1):
    """Latents, timesteps and text states of one clip."""
    g = torch.Generator().manual_seed(seed)
    latents = torch.randn(frames, 4, 16, 16, generator=g)
    return latents, torch.tensor(500), torch.randn(frames, TOKENS, TEXT, generator=g)


@torch.no_grad()
def test_the_halves_of_guidance_do_not_mix():
    """Both halves together give what each gives alone; the first frame of each is as ever."""
    unet, (latents, t, text) = tiny_unet(), clip()
    empty = torch.randn(1, TOKENS, TEXT).expand(3, -1, -1)
    plain = unet(torch.cat([latents] * 2), t, torch.cat([empty, text])).sample
    with share_first_frame(unet, 3, guided=True):
        both = unet(torch.cat([latents] * 2), t, torch.cat([empty, text])).sample
    with share_first_frame(unet, 3, guided=False):
        alone = [unet(latents, t, states).sample for states in (empty, text)]
    torch.testing.assert_close(both, torch.cat(alone))
    torch.testing.assert_close(both[[0, 3]], plain[[0, 3]])
    assert not torch.allclose(both[[1, 2, 4, 5]], plain[[1, 2, 4, 5]], atol=1e-3)


@torch.no_grad()
def test_two_clips_of_a_batch_do_not_mix():
    unet, (one, t, text), (other, _, words) = tiny_unet(), clip(seed=1), clip(seed=2)
    with share_first_frame(unet, 3, guided=False):
        both = unet(torch.cat([one, other]), t, torch.cat([text, words])).sample
        alone = [unet(one, t, text).sample, unet(other, t, words).sample]
    torch.testing.assert_close(both, torch.cat(alone))


@torch.no_grad()
def test_maps_can_be_captured_while_frames_share():
    unet, (latents, t, text) = tiny_unet(), clip()
    with share_first_frame(unet, 3, guided=False):
        without = unet(latents, t, text).sample
        with capture_attention(unet, [2]) as capture:
            torch.testing.assert_close(unet(latents, t, text).sample, without)
    assert {len(columns) for columns in capture.layers.values()} == {3}


@pytest.mark.parametrize("fail", [False, True])
def test_sharing_ends_whatever_happens(fail):
    unet = tiny_unet()
    before = dict(unet.attn_processors)
    try:
        with share_first_frame(unet, 2, guided=False):
            assert list(unet.attn_processors.values()) != list(before.values())
            if fail:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fail
    assert all(a is b for a, b in zip(unet.attn_processors.values(), before.values(), strict=True))


@pytest.mark.parametrize(
    "frames, guided, rows",
    [(3, False, 4), (4, True, 4), (3, True, 3)],
    ids=["odd rows", "a clip over both halves", "half a batch"],
)
def test_a_batch_that_is_not_made_of_clips(frames, guided, rows):
    unet = tiny_unet()
    with share_first_frame(unet, frames, guided=guided):
        with pytest.raises(ValueError, match=f"{rows} rows are not clips of {frames} frames"):
            unet(torch.randn(rows, 4, 16, 16), 500, torch.randn(rows, TOKENS, TEXT))


def test_what_cannot_share():
    with pytest.raises(ValueError, match="fewer than two"), share_first_frame(None, 1, guided=True):
        pass
    empty = torch.nn.Linear(2, 3)
    with pytest.raises(ValueError, match="no self-attention"):
        with share_first_frame(empty, 2, guided=True):
            pass


def test_a_shared_walk_keeps_its_first_frame():
    base, stops = tiny_base(), [(CAT, 3), (DOG, 5)]
    plain, shared = (walk(base, stops, 3, steps=2, shared=s, batch=2) for s in (False, True))
    assert close(plain.frames[0], shared.frames[0]) and shared.shared
    assert not close(plain.frames[2], shared.frames[2])
    assert first_of_each(torch.arange(4.0).reshape(4, 1, 1), 2).flatten().tolist() == [0, 0, 2, 2]


# ---------------------------------------------------------------- states


def test_each_step_is_called_before_every_step_and_can_change_latents():
    base, seen = tiny_base(), []
    states, start = text_states(base, CAT), noise(base, 0)

    def look(pipeline, step, latents):
        seen.append((step, int(pipeline.scheduler.timesteps[step])))
        return latents

    sampling = adb.Sampling(steps=3, guidance=2.0)
    same = draw_states(base, states, start, sampling, each_step=look)
    assert [step for step, _ in seen] == [0, 1, 2] and seen[0][1] > seen[1][1] > seen[2][1]
    assert close(same, generate(base, CAT, [0], steps=3, guidance=2.0).images)
    other = draw_states(base, states, start, sampling, each_step=lambda p, k, z: -z)
    assert not close(same, other)


@pytest.mark.parametrize("batch", [1, 8])
def test_noise_that_a_sampler_adds_is_the_seeds_own(batch):
    """Each picture's, whatever the batch: the pictures are what ``generate`` draws."""
    from diffusers import DPMSolverMultistepScheduler as Solver

    base = tiny_base()
    with_noise = Solver.from_config(base.scheduler.config, algorithm_type="sde-dpmsolver++")
    sampling = adb.Sampling(steps=3, scheduler=with_noise, batch=batch)
    states = text_states(base, CAT).repeat(3)
    starts = torch.cat([noise(base, seed) for seed in (4, 5, 5)])
    drawn = draw_states(base, states, starts, sampling, seeds=[4, 5, 6])
    assert close(drawn[:2], generate(base, CAT, [4, 5], sampling).images)
    assert not close(drawn[2], drawn[1])  # the same start, other noise on the way
    assert close(draw_states(base, states, starts, sampling, seeds=[4, 5, 6]), drawn)


# ---------------------------------------------------------------- files


def moving(count=3, side=24):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, side, side + 2, 3), dtype=np.uint8)


@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_frames_as_files_come_back(tmp_path, ending):
    frames = moving()
    path = save_frames(tmp_path / f"new/walk{ending}", frames, 120)
    with Image.open(path) as file:
        assert file.n_frames == 3 and file.size == (26, 24) and file.info["loop"] == 0
        file.seek(1)
        second = np.asarray(file.convert("RGB"))
    if ending == ".webp":
        np.testing.assert_array_equal(second, frames[1])


def test_mp4(tmp_path):
    av = pytest.importorskip("av", reason="MP4 needs the package av")
    smooth = np.stack([np.full((25, 32, 3), 40 * k + 20, np.uint8) for k in range(4)])
    data = save_frames(tmp_path / "walk.mp4", smooth, 100).read_bytes()
    with av.open(io.BytesIO(data)) as file:
        assert float(file.streams.video[0].average_rate) == 10
        found = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(found) == 4 and found[0].shape == (24, 32, 3)
    assert np.abs(np.stack(found).astype(int) - smooth[:, :24]).mean() < 3


def test_mp4_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(FrameError, match="pip install av, or save the frames as .gif or .webp"):
        save_frames(tmp_path / "walk.mp4", moving())
    assert not list(tmp_path.iterdir())


BAD_FRAMES = {
    "one frame": (moving(1), ".gif", "two at least, got 1"),
    "no frame": ([], ".webp", "two at least, got 0"),
    "two sizes": ([moving()[0], moving(side=8)[0]], ".gif", "one size"),
    "floats": (moving() / 255, ".webp", "must be uint8"),
    "grey": (moving()[..., 0], ".mp4", "must be uint8"),
    "no format": (moving(), ".avi", "says no format: end it in .gif, .webp, .mp4"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_bad_frames(tmp_path, name):
    frames, ending, message = BAD_FRAMES[name]
    with pytest.raises(FrameError, match=message):
        save_frames(tmp_path / f"walk{ending}", frames)
    assert not list(tmp_path.iterdir())


def test_a_frame_is_shown_for_some_time(tmp_path):
    with pytest.raises(FrameError, match="at least 1 millisecond"):
        save_frames(tmp_path / "walk.gif", moving(), 0)


# ---------------------------------------------------------------- steadiness


def brightness(images):
    """A made-up embedding: how bright the halves of a picture are."""
    return np.stack([images[:, :, :8].mean((1, 2, 3)), images[:, :, 8:].mean((1, 2, 3))], 1)


def test_steadiness():
    frames = np.zeros((3, 4, 16, 3), np.uint8)
    frames[:2, :, :8], frames[2, :, 8:] = 51, 51  # the third one the other way round
    found = measure_steadiness(frames, brightness, photos=frames[:1])
    np.testing.assert_allclose(found.flicker, [0, 0.2])
    np.testing.assert_allclose(found.leaps, [0, 1])
    np.testing.assert_allclose(found.to_first, [1, 1, 0])
    np.testing.assert_allclose(found.identity, [1, 1, 0])
    assert found.means == pytest.approx(
        {"flicker": 0.1, "leaps": 0.5, "to_first": 0.5, "identity": 2 / 3}
    )
    assert measure_steadiness(frames, brightness).identity is None
    with pytest.raises(ValueError, match="two frames at least"):
        flicker(frames[:1])
