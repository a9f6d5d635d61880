"""Clips of the toy world, and the motion module that learns from them."""

import numpy as np
import pytest
import torch
from models import TOKENS, tiny_base, tiny_concept, tiny_unet

import adb_core as adb
from adb_core.attention import capture_attention
from adb_core.beyond.motion import Motion, MotionError, moving, places
from adb_core.beyond.motion_files import WEIGHTS, load_motion, save_motion
from adb_core.beyond.moves import Track, clip_noise, move, track, track_masks
from adb_core.pretraining.make_motion import load_state, save_state
from adb_core.pretraining.motion import (
    Clips,
    MotionSettings,
    build_optimizer,
    noisy_timesteps,
    train_motion,
)
from adb_core.toyworld.clips import (
    KINDS,
    Step,
    draw_frame,
    render_clip,
    sample_clip_scene,
    steps,
)
from adb_core.toyworld.render import _raster, draw
from adb_core.toyworld.scene import COLORS, Instance, Pose, Scene

FRAMES, WIDTH = 3, 8
CAT = "a photo of a red cat"


def a_scene(**changes) -> Scene:
    return Scene("cat", Instance(COLORS["red"], COLORS["cream"]), place="beach", **changes)


def awake(motion: Motion) -> Motion:
    """A module that changes something: its projections are no longer zero."""
    torch.manual_seed(5)
    for layer in motion.layers:
        torch.nn.init.normal_(layer.to_out.weight, std=0.5)
    return motion


def fresh(base, seed: int = 0) -> Motion:
    return Motion.fresh(base, KINDS, seed, frames=FRAMES, width=WIDTH)


def rows(clips: int) -> tuple:
    torch.manual_seed(0)
    count = clips * FRAMES
    return torch.randn(count, 4, 16, 16), 500, torch.randn(count, TOKENS, 12)


def lessons(base, count: int = 4) -> Clips:
    """Random numbers in the place of clips."""
    torch.manual_seed(1)
    side = base.latent_side
    ids = torch.zeros(count + 1, base.text.tokenizers[0].model_max_length, dtype=torch.long)
    return Clips(
        torch.randn(count, FRAMES, 4, side, side).half(),
        torch.rand(count, side, side),
        ids[:-1],
        ids[-1:],
        [KINDS[k % 3] for k in range(count)],
    )


# ---------------------------------------------------------------- clips


def test_a_clip_at_rest_is_the_scene():
    scene = a_scene(sky="rain", pose=Pose(2.0, 0.9, 4.0, True))
    still, moved = render_clip(scene, "jump", 3, 2), render_clip(scene, "jump", 3, 3)
    np.testing.assert_array_equal(still.frames[0], still.frames[1])  # it takes off, and has landed
    assert (moved.frames[1] != moved.frames[0]).any()
    for flat in (False, True):
        pens = draw_frame(scene, 3, Step()), draw(scene, 3)
        rest, plain = (pen.svg(64, flat=flat) for pen in pens)
        np.testing.assert_array_equal(_raster(rest), _raster(plain))


@pytest.mark.parametrize("flip", [False, True])
def test_a_walk_goes_where_the_subject_faces(flip):
    clip = render_clip(a_scene(pose=Pose(flip=flip)), "walk", 1, 5, 64)
    x = track_masks(clip.masks).x
    assert (np.diff(x) < 0).all() if flip else (np.diff(x) > 0).all()
    assert 0.2 < abs(x[-1] - x[0]) < 0.4


def test_a_jump_comes_down_again_and_a_turn_ends_as_a_mirror():
    jump = track_masks(render_clip(a_scene(), "jump", 1, 5, 64).masks)
    assert jump.y[2] < jump.y[1] < jump.y[0] and jump.y[0] == jump.y[4]
    turn = render_clip(a_scene(), "turn", 1, 5, 64)
    np.testing.assert_allclose(turn.masks[0].sum(), turn.masks[4].sum(), rtol=0.05)
    assert turn.masks[2].sum() < turn.masks[0].sum() / 3
    assert (turn.masks[0] != turn.masks[4]).any()  # a cat's tail


def test_what_does_not_move_stays():
    """No pixel changes beside a subject that jumps, and the same seed gives the same bytes."""
    clip = render_clip(a_scene(), "jump", 2, 4, 64)
    assert (clip.frames[:, :, :8] == clip.frames[:1, :, :8]).all()
    assert (clip.frames != clip.frames[:1]).any()
    np.testing.assert_array_equal(clip.frames, render_clip(a_scene(), "jump", 2, 4, 64).frames)


def test_clips_of_any_scene_that_is_drawn_by_lot():
    for number in range(6):
        scene = sample_clip_scene(np.random.default_rng(number))
        clip = render_clip(scene, KINDS[number % 3], number, 3, 32)
        assert scene.relation is None and clip.masks.any((1, 2)).all()


def test_a_concept_has_true_clips():
    pico = adb.Concept.bundled("pico")
    clip = adb.teaching.world.true_clip(pico, "walk", "beach", 1)
    assert clip.frames.shape == (8, 128, 128, 3) and clip.scene.category == pico.category
    with pytest.raises(ValueError, match="not drawn by the toy world"):
        adb.teaching.world.true_clip(tiny_concept(), "walk")


def test_clips_that_cannot_be():
    with pytest.raises(ValueError, match="unknown motion 'swim': choose one of walk, jump, turn"):
        steps("swim")
    with pytest.raises(ValueError, match="two frames at least, got 1"):
        steps("walk", 1)
    with pytest.raises(ValueError, match="alone, this one has a ball"):
        render_clip(a_scene(relation="next to", object="ball"), "walk", 0)


# ---------------------------------------------------------------- the module


def test_a_fresh_module_changes_nothing_and_a_trained_one_does():
    base = tiny_base()
    unet, motion, given = base.unet, fresh(base), rows(2)
    with torch.no_grad():
        before = unet(*given).sample
        with moving(unet, motion, ["walk", "turn"]):
            assert torch.equal(unet(*given).sample, before)
            with capture_attention(unet, [2]) as capture:
                torch.testing.assert_close(unet(*given).sample, before)
        assert capture.layers
        with moving(unet, awake(motion), "walk"):
            walk = unet(*given).sample
        with moving(unet, motion, ["walk", "turn"]):
            both = unet(*given).sample
    assert not torch.allclose(walk, before)
    torch.testing.assert_close(both[:FRAMES], walk[:FRAMES])  # clips do not look at one another
    assert not torch.allclose(both[FRAMES:], walk[FRAMES:])


@pytest.mark.parametrize("fail", [False, True])
def test_the_u_net_is_as_it_was_whatever_happens(fail):
    base = tiny_base()
    given = rows(1)
    before = base.unet(*given).sample
    try:
        with moving(base.unet, awake(fresh(base)), "jump"):
            assert not torch.allclose(base.unet(*given).sample, before)
            if fail:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fail
    assert torch.equal(base.unet(*given).sample, before)
    assert not any(module._forward_hooks for module in base.unet.modules())


def test_frames_are_told_apart_by_their_number():
    """Frames that are all alike come out different: that is what a motion begins with."""
    base = tiny_base()
    latents, time, text = rows(1)
    alike = (latents[:1].expand_as(latents), time, text[:1].expand_as(text))
    with torch.no_grad(), moving(base.unet, awake(fresh(base)), "walk"):
        found = base.unet(*alike).sample
    assert (found[1] - found[0]).abs().max() > 1e-3


def test_batches_and_u_nets_that_do_not_fit():
    base = tiny_base()
    motion = fresh(base)
    with moving(base.unet, motion, "walk"), pytest.raises(MotionError, match="4 rows are not"):
        base.unet(torch.randn(4, 4, 16, 16), 500, torch.randn(4, TOKENS, 12))
    with pytest.raises(MotionError, match="choose one of walk, jump, turn"):
        with moving(base.unet, motion, "swim"):
            pass
    motion.channels = {"mid_block.attentions.0": 6}
    with pytest.raises(MotionError, match="of other layers"), moving(base.unet, motion, "walk"):
        pass
    with pytest.raises(MotionError, match="no Transformer2DModel"):
        places(torch.nn.Linear(2, 3))


# ---------------------------------------------------------------- training


def trained(base, seed: int, count: int = 3) -> Motion:
    settings = MotionSettings(steps=count, batch=2, warmup=1, seed=seed)
    motion = fresh(base)
    run = train_motion(base, motion, lessons(base), settings, build_optimizer(motion, settings))
    losses = [record.loss for record in run]
    assert len(losses) == count and np.isfinite(losses).all()
    return motion


def test_training_leaves_the_pictures_weights_alone_and_repeats_itself():
    base = tiny_base()
    before = {k: v.clone() for k, v in base.unet.state_dict().items()}
    wanted = [p.requires_grad for p in base.unet.parameters()]
    one, same, other = trained(base, 0), trained(base, 0), trained(base, 1)
    assert all(torch.equal(v, before[k]) for k, v in base.unet.state_dict().items())
    assert [p.requires_grad for p in base.unet.parameters()] == wanted
    assert all(p.grad is None for p in base.unet.parameters())
    assert all(layer.to_out.weight.any() for layer in one.layers)
    for (name, a), b in zip(one.state_dict().items(), same.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert not torch.equal(one.layers[0].to_out.weight, other.layers[0].to_out.weight)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path):
    base, settings = tiny_base(), MotionSettings(steps=3, batch=2, warmup=1)
    motion, path = fresh(base), tmp_path / "state.safetensors"
    optimizer = build_optimizer(motion, settings)
    for record in train_motion(base, motion, lessons(base), settings, optimizer):
        if record.step == 1:
            done = {"step": 2, "seconds": 1.5, "losses": [record.loss]}
            save_state(path, motion, optimizer, done)
            break
    again = fresh(base, seed=9)
    second = build_optimizer(again, settings)
    assert load_state(path, again, second) == done
    list(train_motion(base, again, lessons(base), settings, second, 2))
    whole = trained(base, 0).state_dict()
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, whole[name])


def test_noise_of_a_clip_and_its_levels():
    noise = clip_noise((1, 2, 3, 64, 64), torch.Generator().manual_seed(0))
    assert abs(float(noise.std()) - 1) < 0.03
    together = float((noise[0, 0] * noise[0, 1]).mean())
    assert abs(together - 0.5) < 0.04
    levels = noisy_timesteps(np.random.default_rng(0), 64)
    assert levels.min() >= 0 and levels.max() < 1000 and np.mean(levels > 500) > 0.7


# ---------------------------------------------------------------- files, clips, numbers


def test_a_module_comes_back_and_another_base_is_refused(tmp_path):
    base = tiny_base()
    motion = awake(fresh(base))
    path = save_motion(motion, tmp_path)
    back = load_motion(base, tmp_path)
    assert path.name == WEIGHTS and back.kinds == KINDS and back.frames == FRAMES
    for name, value in back.state_dict().items():
        torch.testing.assert_close(value, motion.state_dict()[name], rtol=1e-3, atol=1e-4)
    assert not any(p.requires_grad for p in back.parameters())
    with torch.no_grad():
        next(base.unet.parameters()).add_(1)
    with pytest.raises(MotionError, match=r"belongs to the base model \w+, and .* train a module"):
        load_motion(base, tmp_path)
    with pytest.raises(MotionError, match="belongs to the base model"):
        move(base, CAT, motion)


@pytest.mark.parametrize("damage", ["missing", "cut short", "another file"])
def test_files_that_are_no_module(tmp_path, damage):
    base = tiny_base()
    if damage == "cut short":
        path = save_motion(fresh(base), tmp_path)
        path.write_bytes(path.read_bytes()[:200])
    if damage == "another file":
        from safetensors.torch import save_file

        save_file({"x": torch.zeros(2)}, tmp_path / WEIGHTS)
    with pytest.raises(MotionError, match="make_motion"):
        load_motion(base, tmp_path)


def test_a_clip_is_drawn_with_the_module_and_without():
    base, options = tiny_base(), {"steps": 2, "guidance": 2.0}
    motion = awake(fresh(base))
    moved, still = (move(base, CAT, motion, k, 3, **options) for k in ("walk", None))
    assert moved.frames.shape == (FRAMES, base.side, base.side, 3) and moved.kind == "walk"
    assert (moved.frames != still.frames).any()
    np.testing.assert_array_equal(
        move(base, CAT, motion, "walk", 3, **options).frames, moved.frames
    )
    assert track(base, CAT, moved.frames, "cat").x.shape == (FRAMES,)
    assert adb.beyond.move is move


def test_a_track():
    masks = np.zeros((4, 20, 20), bool)
    for k in range(3):
        masks[k, 10:14, 4 * k : 4 * k + 4] = True
    found = track_masks(masks)  # the last frame has no subject: it stays where it was
    np.testing.assert_allclose(found.x, [0.1, 0.3, 0.5, 0.5])
    np.testing.assert_allclose(found.y, 0.6)
    assert found.travel == pytest.approx(0.4 / 3)
    assert found.follows("walk") > 0.9 and found.follows("jump") == 0
    backward = Track(found.x[::-1], found.y, found.width)
    assert backward.follows("walk") == pytest.approx(found.follows("walk"))
    with pytest.raises(MotionError, match="unknown motion 'swim'"):
        found.follows("swim")


def test_a_u_net_without_a_middle_has_places():
    assert all(not name.startswith("down") for name in places(tiny_unet()))
