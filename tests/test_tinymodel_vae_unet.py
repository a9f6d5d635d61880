"""The pretraining of VAE and U-Net: the mathematics, the latents, the command's arguments."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from adb_core.pretraining import latents as latents_module, run as run_module
from adb_core.pretraining.alignment import Alignment, patch_states
from adb_core.pretraining.attention import PlainAttention, fast_attention
from adb_core.pretraining.command import main
from adb_core.pretraining.latents import UNSEEN, encode_all, normalize_latents, pixel_metric
from adb_core.pretraining.previews import grid
from adb_core.pretraining.settings import Budget, Place
from adb_core.pretraining.unet import THINGS_WEIGHT, draw_batch, stratified_timesteps, v_loss
from adb_core.pretraining.vae import batch_of, train_vae
from adb_core.pretraining.write import SIZE_LIMIT_MB, Trained, write_models
from adb_core.system.commands import command_app
from adb_core.tinymodel.pixels import to_pixels
from adb_core.tinymodel.unet import build_scheduler, build_unet
from adb_core.tinymodel.vae import build_vae, posterior_means, round_trips


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return build_vae().eval()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (8, 128, 128, 3), dtype=np.uint8)


# ---------------------------------------------------------------- VAE


def test_a_vae_that_is_kept_keeps_its_scale(tmp_path, images):
    """The U-Net that goes with it knows latents of that scale."""
    torch.manual_seed(2)
    known = build_vae()
    known.register_to_config(scaling_factor=0.5)
    known.save_pretrained(tmp_path / "start")
    place = Place(tmp_path / "run", 0, "cpu")
    kept = train_vae(images, place=place, budget=Budget(steps=0), start=tmp_path / "start")
    assert kept.config.scaling_factor == 0.5
    assert all(
        torch.equal(a, b)
        for a, b in zip(kept.state_dict().values(), known.state_dict().values(), strict=True)
    )


def test_normalizing_latents_keeps_the_round_trip(images):
    torch.manual_seed(1)
    vae = build_vae().eval()
    pixels = to_pixels(images[:4])
    with torch.no_grad():
        posterior = vae.encode(pixels).latent_dist
        before, noise_share = (
            vae.decode(posterior.mean).sample,
            posterior.std / posterior.mean.std((0, 2, 3), keepdim=True),
        )
    normalize_latents(vae, images)
    with torch.no_grad():
        posterior = vae.encode(pixels).latent_dist
        after, noise_share_after = (
            vae.decode(posterior.mean).sample,
            posterior.std / posterior.mean.std((0, 2, 3), keepdim=True),
        )
        latents = torch.cat(list(posterior_means(vae, images)))
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(noise_share_after, noise_share, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(16), rtol=0, atol=1e-3)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(16), rtol=1e-3, atol=1e-3)
    assert vae.config.scaling_factor == pytest.approx(1.0, abs=0.01)


def test_latents_are_cached_by_content(vae, images, tmp_path, monkeypatch):
    first = encode_all(vae, images, tmp_path / "latents", part=3, progress=False)
    assert first.shape == (8, 16, 16, 16) and first.dtype == torch.float16
    monkeypatch.setattr(
        latents_module, "posterior_means", None
    )  # a second call must not encode again
    again = encode_all(vae, images, tmp_path / "latents", part=3, progress=False)
    assert torch.equal(first, again)
    monkeypatch.undo()
    other = encode_all(vae, 255 - images, tmp_path / "latents", part=8, progress=False)
    assert not torch.equal(first, other) and len(list((tmp_path / "latents").iterdir())) == 1


def test_batches_are_crops_or_whole_pictures(images):
    rng = np.random.default_rng(0)
    sizes = {batch_of(images, rng, 8).shape for _ in range(40)}
    assert sizes == {(8, 64, 64, 3), (2, 128, 128, 3)}


def test_round_trips_are_what_the_vae_gives(vae, images):
    rounded = round_trips(vae, images, batch=3)
    with torch.no_grad():
        pixels = to_pixels(images)
        decoded = vae.decode(vae.encode(pixels).latent_dist.mode()).sample.clamp(-1, 1)
    expected = (decoded.permute(0, 2, 3, 1).numpy() + 1) * 127.5
    assert rounded.dtype == np.uint8 and np.abs(rounded - expected).mean() < 2  # bf16 may act


def test_a_new_vae_is_linear_in_its_branches_and_nearly_without_noise(vae, images):
    assert not any(p.conv2.weight.any() for p in vae.modules() if hasattr(p, "conv2"))
    posterior = vae.encode(to_pixels(images[:1])).latent_dist
    assert posterior.logvar.mean().item() < -4


# ---------------------------------------------------------------- U-Net


@pytest.mark.parametrize("words", [None, 5])
def test_plain_attention_equals_the_fused_one(words):
    from diffusers.models.attention_processor import Attention, AttnProcessor2_0

    torch.manual_seed(0)
    attention = Attention(
        query_dim=12, cross_attention_dim=None if words is None else 14, heads=3, dim_head=4
    )
    x = torch.randn(2, 7, 12, requires_grad=True)
    text = None if words is None else torch.randn(2, words, 14)
    results = []
    for processor in (AttnProcessor2_0(), PlainAttention()):
        attention.set_processor(processor)
        out = attention(x, encoder_hidden_states=text)
        results.append(
            (out, *torch.autograd.grad(out.square().sum(), [x, *attention.parameters()]))
        )
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


def test_fast_attention_restores():
    unet = build_unet()
    before = dict(unet.attn_processors)
    with pytest.raises(KeyError), fast_attention(unet):
        assert all(isinstance(p, PlainAttention) for p in unet.attn_processors.values())
        raise KeyError
    assert all(unet.attn_processors[name] is processor for name, processor in before.items())


def test_unet_has_the_size_and_the_cross_attention_it_says():
    unet = build_unet()
    assert 10e6 < sum(p.numel() for p in unet.parameters()) < 13e6
    cross = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    assert {
        name.split(".")[0] + name.split(".")[1] * (not name.startswith("mid")) for name in cross
    } == {"down_blocks0", "down_blocks1", "mid_block", "up_blocks1", "up_blocks2"}
    block = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    assert (block.heads, block.inner_dim // block.heads) == (3, 32)


def test_v_loss_agrees_with_diffusers_velocity():
    scheduler = build_scheduler()
    assert scheduler.config.prediction_type == "v_prediction"
    torch.manual_seed(0)
    clean, noise, guess = torch.randn(3, 6, 4, 5, 5)
    t = torch.tensor([3, 100, 400, 600, 800, 999])
    error = (guess - scheduler.get_velocity(clean, noise, t)).square().mean((1, 2, 3))
    snr = scheduler.alphas_cumprod[t] / (1 - scheduler.alphas_cumprod[t])
    weight = torch.tensor([min(float(s), 5.0) if s > 1 else float(s) ** 0.5 for s in snr]) / (
        snr + 1
    )
    assert bool((snr < 1).any()) and bool((snr > 5).any())
    torch.testing.assert_close(
        v_loss(guess, clean, noise, scheduler.alphas_cumprod[t]), (error * weight).mean()
    )


class LinearDecoder:
    """Decodes each position by a matrix (pixels, channels) after the scale is taken off."""

    device = torch.device("cpu")

    def __init__(self, matrix, scale):
        self.matrix, self.config = matrix, SimpleNamespace(scaling_factor=scale)

    def decode(self, latents):
        return SimpleNamespace(sample=torch.einsum("pc,bchw->bphw", self.matrix, latents))


def test_the_metric_of_a_linear_decoder_is_its_own():
    """Up to scale W'W is A'A, whatever the latents' scale; and it weighs nothing twice."""
    matrix = torch.randn(7, 4, generator=torch.Generator().manual_seed(1))
    latents = torch.randn(5, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    for scale in (1.0, 3.0):
        metric = pixel_metric(LinearDecoder(matrix, scale), latents)
        form = matrix.T @ matrix
        torch.testing.assert_close(
            metric.T @ metric, form / form.diag().mean(), atol=1e-4, rtol=1e-4
        )


def test_a_channel_that_is_not_seen_still_counts_a_little():
    matrix = torch.diag(torch.tensor([2.0, 1.0, 0.0]))
    metric = pixel_metric(LinearDecoder(matrix, 1.0), torch.randn(5, 3, 16, 16))
    form = metric.T @ metric
    assert form.diag().mean() == pytest.approx(1.0)
    expected = torch.tensor([12 / 5, 3 / 5, UNSEEN])
    torch.testing.assert_close(form, torch.diag(expected / expected.mean()), atol=1e-4, rtol=1e-4)


def test_v_loss_counts_an_error_as_it_is_seen():
    torch.manual_seed(0)
    clean, noise, guess = torch.randn(3, 6, 4, 5, 5)
    alphas = build_scheduler().alphas_cumprod[torch.tensor([3, 100, 400, 600, 800, 999])]
    plain = v_loss(guess, clean, noise, alphas)
    torch.testing.assert_close(v_loss(guess, clean, noise, alphas, torch.eye(4)), plain)
    # An error in the second channel alone, which counts 9 times, then not at all.
    target = build_scheduler().get_velocity(
        clean, noise, torch.tensor([3, 100, 400, 600, 800, 999])
    )
    off = target.clone()
    off[:, 1] += 0.5
    one = v_loss(off, clean, noise, alphas)
    thrice, blind = (
        torch.diag(torch.tensor([1.0, 3, 1, 1])),
        torch.diag(torch.tensor([1.0, 0, 1, 1])),
    )
    torch.testing.assert_close(v_loss(off, clean, noise, alphas, thrice), 9 * one)
    assert float(v_loss(off, clean, noise, alphas, blind)) < 1e-10


def test_v_loss_counts_things_more_and_less_under_noise():
    """An error on a thing counts 5 times one beside it without noise, and as much in pure noise."""
    torch.manual_seed(0)
    clean, noise = torch.randn(2, 1, 4, 4, 4)
    things = torch.zeros(1, 4, 4)
    things[:, :2, :2] = 1.0  # a quarter

    def loss(alpha, where):
        a = torch.tensor([alpha])
        guess = a.sqrt() * noise - (1 - a).sqrt() * clean
        guess[..., where, where] += 0.5
        return float(v_loss(guess, clean, noise, a, None, things))

    clear, noisy = (loss(a, 0) / loss(a, 3) for a in (0.999999, 1e-6))
    assert clear == pytest.approx(1 + THINGS_WEIGHT, rel=1e-4)
    assert noisy == pytest.approx(1, rel=1e-4)
    # The weights' mean is 1 in each picture: an even error costs the same with things as without.
    a = torch.tensor([0.5])
    even = a.sqrt() * noise - (1 - a).sqrt() * clean + 0.5
    torch.testing.assert_close(
        v_loss(even, clean, noise, a, None, things), v_loss(even, clean, noise, a)
    )


def test_things_are_where_the_masks_say(tmp_path):
    from adb_core.pretraining.cache import Renders, build_cache
    from adb_core.pretraining.things import THINGS, build_things
    from adb_core.toyworld.render import render

    cache = build_cache(tmp_path / "cache", Renders(70, 5, chunk=40), workers=1, progress=False)
    shares = build_things(cache, tmp_path, workers=1, progress=False)
    assert shares.shape == (70, 16, 16) and shares.dtype == np.uint8
    for i in (0, 41, 69):
        masks = render(cache.scenes[i], i).masks
        covered = sum(masks[name] for name in THINGS).astype(float)
        exact = covered.reshape(16, 8, 16, 8).mean((1, 3))
        assert np.abs(shares[i] / 255 - exact).mean() < 0.02
    (kept,) = tmp_path.glob("things-*.npy")
    np.save(kept, shares // 2)  # read, not made again
    assert (build_things(cache, tmp_path, progress=False) == shares // 2).all()
    other = build_cache(tmp_path / "other", Renders(64, 6), workers=1, progress=False)
    assert len(build_things(other, tmp_path, workers=1, progress=False)) == 64


def test_alignment_reaches_the_unet_and_leaves_nothing_behind(images):
    from adb_core.tinymodel.clip import build_clip
    from adb_core.tinymodel.tokenizer import build_tokenizer

    torch.manual_seed(0)
    unet, clip = build_unet(), build_clip(build_tokenizer()).eval()
    states = patch_states(clip, images[:3], batch=2)
    assert states.shape == (3, 64, 128) and states.dtype == torch.float16
    alignment = Alignment(unet)
    assert not any("down_blocks" in name for name in alignment.state_dict())
    layer = unet.down_blocks[1].attentions[-1]
    with alignment.watching():
        unet(torch.randn(3, 16, 16, 16), torch.tensor([5, 500, 900]), torch.randn(3, 7, 128))
        apart = alignment(states)
    apart.backward()
    assert 0 < apart.item() < 2 and not layer._forward_hooks
    assert layer.proj_out.weight.grad.abs().sum() > 0 and unet.conv_out.weight.grad is None


def test_a_compiled_unet_is_watched_like_the_plain_one():
    """As on a GPU: the hook's features must reach the loss, and gradient the layers before it."""
    torch.manual_seed(0)
    unet = build_unet()
    alignment = Alignment(unet)
    inputs = torch.randn(2, 16, 16, 16), torch.tensor([5, 900]), torch.randn(2, 7, 128)
    states, found = torch.randn(2, 64, 128), []
    with alignment.watching():
        for net in (unet, torch.compile(unet, dynamic=False, backend="eager")):
            (net(*inputs).sample.square().mean() + alignment(states)).backward()
            found.append([p.grad.clone() for p in unet.parameters()])
            unet.zero_grad()
    torch.testing.assert_close(*found)


def test_patch_states_of_a_picture_are_in_the_unets_order(images):
    """Row by row, as a flattened 8x8 feature map: a changed corner changes its own patch most."""
    from adb_core.tinymodel.clip import build_clip
    from adb_core.tinymodel.tokenizer import build_tokenizer

    torch.manual_seed(0)
    clip = build_clip(build_tokenizer()).eval()
    for top, left, patch in ((0, 0, 0), (0, 16, 1), (16, 0, 8), (112, 112, 63)):
        other = images[:1].copy()
        corner = other[:, top : top + 16, left : left + 16]
        corner[:] = 255 - corner
        change = (patch_states(clip, images[:1]).float() - patch_states(clip, other).float()).norm(
            dim=-1
        )
        assert int(change.argmax()) == patch


def test_timesteps_fill_every_bin():
    t = stratified_timesteps(np.random.default_rng(0), 50)
    assert t.dtype == np.int64 and sorted(t // 20) == list(range(50))
    many = np.concatenate([stratified_timesteps(np.random.default_rng(i), 7) for i in range(3000)])
    assert 0 <= many.min() and many.max() <= 999 and abs(many.mean() - 499.5) < 3


def test_some_captions_are_empty():
    choice = torch.arange(1, 41, dtype=torch.int32).reshape(10, 4)
    rows, texts = draw_batch(np.random.default_rng(0), 4000, choice)
    assert abs((texts == 0).float().mean() - 0.1) < 0.02
    said = texts > 0
    assert torch.equal((texts[said] - 1) // 4, rows[said])


def test_grid():
    images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1) * np.ones((1, 4, 4, 3), np.uint8)
    sheet = grid(images, 2)
    assert sheet.shape == (8, 8, 3)
    assert (sheet[0, 4, 0], sheet[4, 0, 0], sheet[4, 4, 0]) == (1, 2, 255)


# ---------------------------------------------------------------- data/


def test_written_folders_load_plainly_and_run_in_float32(tmp_path, vae):
    """Half precision on the disk, but a plain ``from_pretrained`` must give one that runs."""
    from diffusers import StableDiffusionPipeline
    from transformers import CLIPModel

    from adb_core.tinymodel.clip import build_clip, build_image_processor, text_encoder_from_clip
    from adb_core.tinymodel.judge import Judge
    from adb_core.tinymodel.tokenizer import build_tokenizer

    tokenizer = build_tokenizer()
    clip = build_clip(tokenizer)
    whole = (clip, tokenizer, build_image_processor())
    trained = Trained(vae, text_encoder_from_clip(clip), build_unet(), whole, Judge())
    assert write_models(tmp_path / "data", tmp_path / "run", trained) <= SIZE_LIMIT_MB
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == [
        "judge",
        "tiny-clip",
        "tiny-sd",
    ]
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "data/tiny-sd")
    pipeline.set_progress_bar_config(disable=True)
    for model in (
        pipeline.vae,
        pipeline.unet,
        pipeline.text_encoder,
        CLIPModel.from_pretrained(tmp_path / "data/tiny-clip"),
    ):
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    image = pipeline("a red cat", num_inference_steps=2, output_type="np").images[0]
    assert image.shape == (128, 128, 3) and np.isfinite(image).all()
    weights = load_file(tmp_path / "data/tiny-sd/text_encoder/model.safetensors")
    assert {v.dtype for v in weights.values() if v.is_floating_point()} == {torch.float16}


# ---------------------------------------------------------------- the command


def command(*arguments):
    app = command_app(main, "pretraining")
    return CliRunner().invoke(app, [str(word) for word in arguments])


@pytest.mark.parametrize(
    "arguments, says",
    [
        ([], "give --minutes N"),
        (["--steps", "vae=3,clip=3,judge=3"], "--steps for unet"),
        (["--minutes", "-1"], "positive"),
        (["--minutes", "1", "--steps", "vea=3"], "unknown stage 'vea'"),
        (["--minutes", "1", "--steps", "vae=many"], "not of the form vae=1000"),
        (["--minutes", "1", "--steps", "vae=0"], "vae must be positive, unless --from"),
        (["--minutes", "1", "--batch", "unet"], "--batch: 'unet' is not of the form unet=1000"),
        (["--minutes", "1", "--batch", "nut=8"], "--batch: unknown stage 'nut'"),
        (["--minutes", "1", "--batch", "unet=0"], "--batch: unet=0 must be a positive"),
        (["--minutes", "1", "--batch", "judge=100"], "judge=100 must be a positive multiple of 96"),
        (["--minutes", "1", "--from", "/no/weights"], "holds none of tiny-sd/vae, tiny-clip"),
        (["--minutes", "1", "--from", "weights", "--steps", "unet=0"], "unet is not there"),
        (["--minutes", "1", "--stages", "vae,cook"], "unknown stage 'cook'"),
        (["--minutes", "1", "--stages", ","], "empty"),
        (["--minutes", "1", "--device", "abacus"], "unknown device"),
        (["--minutes", "1", "--run", __file__], "is a file"),
        (["--minutes", "1", "--images", "3"], "at least 64"),
        (["--minutes", "1", "--seed", "-3"], "not be negative"),
    ],
)
def test_odd_arguments_are_one_line_and_exit_code_2(arguments, says, tmp_path, monkeypatch):
    (tmp_path / "weights/tiny-clip").mkdir(parents=True)  # a folder with a part, without a U-Net
    monkeypatch.chdir(tmp_path)  # what is not refused after all must not touch the bundled data
    result = command(*arguments)
    assert result.exit_code == 2 and says in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--minutes", "soon"], "--minutes"),
        (["--hours", "1"], "No such option: --hours"),
        (["--minutes", "1", "--patch-weight", "-1"], "--patch-weight"),
    ],
)
def test_what_typer_refuses_is_exit_code_2_too(arguments, says):
    result = command(*arguments)
    assert result.exit_code == 2 and says in result.stderr and "Traceback" not in result.stderr


def test_the_patch_weight_reaches_clip_and_the_record(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(
        run_module, "train_clip", lambda *_, patch_weight, **__: given.update(clip=patch_weight)
    )
    monkeypatch.setattr(run_module.Pretraining, "cache", None)
    place = Place(tmp_path, 0, "cpu")
    run_module.Pretraining(place, tmp_path, 1.0, {}, 64, ("clip",), patch_weight=0.7).go()
    assert given == {"clip": 0.7}


def test_minutes_are_split_without_remainder():
    for minutes in (1.0, 60.0, 600.0):
        split = run_module.split_minutes(minutes)
        assert sum(split.values()) == pytest.approx(minutes) and split["unet"] >= 0.49 * minutes
    counts = [run_module.image_count(minutes) for minutes in (None, 1, 60, 600)]
    assert counts == [2000, 2000, 36000, 96000]


@pytest.mark.parametrize(
    "stages, says",
    [
        ("latents", "stage vae, which latents needs, is not finished"),
        ("cache,vae,latents,unet", "stage clip, which unet needs, is not finished"),
    ],
)
def test_a_stage_that_is_missing_is_named_before_the_work(tmp_path, stages, says):
    """The stages run for hours: one that the last of them lacks is not found out at the end."""
    run = ["--run", tmp_path / "run", "--data", tmp_path / "data"]
    result = command("--minutes", 1, "--device", "cpu", "--stages", stages, *run)
    assert result.exit_code == 2 and says in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "run" / "cache").exists()


def test_a_stage_that_is_kept_need_not_be_named(tmp_path):
    place = Place(tmp_path / "run", 0, "cpu")
    stages = ("vae", "latents", "unet")
    run = run_module.Pretraining(
        place, tmp_path / "data", 1.0, {"clip": 0}, 64, stages, start=tmp_path
    )
    run.check()
    assert run.budget("clip") == Budget(steps=0)


def test_a_part_that_is_not_there_begins_anew(tmp_path):
    (tmp_path / "start/tiny-clip").mkdir(parents=True)
    place = Place(tmp_path / "run", 0, "cpu")
    run = run_module.Pretraining(
        place, tmp_path / "data", 1.0, {}, 64, ("vae", "clip"), start=tmp_path / "start"
    )
    assert run.how("clip")["start"] == tmp_path / "start/tiny-clip"
    assert run.how("vae")["start"] is None
