"""Tiers: which one fits, what it asks for, and memory that runs out in the middle."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from models import make_learner, short, tiny_base, tiny_concept, weights

from adb_core import encoding, fallback, tiers, training
from adb_core.base import Posterior
from adb_core.engine import TrainingError
from adb_core.options import RunOptions
from adb_core.personalization import Run
from adb_core.recipes import Recipe, Stage, recipe
from adb_core.training import micro_batches

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
PAPER = recipe("attndreambooth", "paper")


@pytest.fixture
def bits(monkeypatch):
    """bitsandbytes is there, on CUDA."""
    monkeypatch.setattr(tiers, "can_8bit", lambda device: device.type == "cuda")


@pytest.mark.parametrize(
    "free, name", [(79.0, "gpu80"), (39.5, "gpu80"), (23.5, "gpu24"), (14.5, "gpu16")]
)
def test_the_widest_tier_that_fits_is_chosen(bits, free, name):
    tier, why = tiers.choose(free, CUDA, tiers.SD21, PAPER)
    assert tier.name == name
    assert f"tier {name} (" in why and "by estimate" in why and f"{free:.1f} free" in why


def test_estimates_grow_with_the_tier_and_the_picture(bits):
    needs = [tiers.estimate(tiers.TIERS[name], tiers.SD21, PAPER) for name in tiers.GPU_TIERS]
    assert needs == sorted(needs, reverse=True) and needs[2] < 14.5
    half = tiers.ModelSize(*list(vars(tiers.SD21).values())[:4], cells=32 * 32)
    assert tiers.estimate(tiers.TIERS["gpu80"], half, PAPER) < needs[0]
    two = Recipe("r", PAPER.stages[:2])  # rows and cross-attention alone
    assert tiers.estimate(tiers.TIERS["gpu8"], tiers.SD21, two) < 7.8 < needs[3]
    # weights, gradients and AdamW's moments in float32 alone are 4 x 3.2 GiB
    assert tiers.estimate(tiers.TIERS["gpu24"], tiers.SD21, PAPER) > 4 * 3.2


def test_a_unet_in_shares_needs_less_where_it_is_trained_whole(bits):
    tier = tiers.TIERS["gpu24"]
    alone, two = (tiers.estimate(tier, tiers.SD21, PAPER, shares=n) for n in (1, 2))
    assert alone - two == pytest.approx(16 * tiers.SD21_UNET / tiers.GIB / 2)
    # before and after the stage it is whole, so that many processes do not make it vanish
    assert tiers.estimate(tier, tiers.SD21, PAPER, shares=64) > 4 * tiers.SD21_UNET / tiers.GIB
    rows = Recipe("r", PAPER.stages[:2])
    one, other = (tiers.estimate(tier, tiers.SD21, rows, shares=n) for n in (1, 2))
    assert one == other
    chosen, why = tiers.choose(14.0, CUDA, tiers.SD21, PAPER, shares=2)
    assert chosen.name == "gpu24" and "AdamW" in why  # 8-bit moments cannot be shared out


def test_under_adapters_a_base_in_half_precision_needs_half(bits):
    """Its weights take two bytes, and the U-Net no copy for its passes."""
    tier, plan = tiers.TIERS["gpu16"], recipe("lora_dreambooth", "paper")
    whole = tiers.estimate(tier, tiers.SD21, plan)
    half = tiers.estimate(tier, replace(tiers.SD21, width=2), plan)
    assert whole - half == pytest.approx(4 * tiers.SD21_UNET / tiers.GIB)
    base = tiny_base()
    assert tiers.model_size(base).width == 4
    base.dtype = torch.bfloat16
    assert tiers.model_size(base).width == 2


def test_the_published_table_is_what_the_arithmetic_says():
    text = (Path(__file__).parents[1] / "benchmarks/RESULTS.md").read_text(encoding="utf-8")
    table = text.split("## Tiers")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| (\w+)(?:[^|]*)\| ([\d.]+)", table, re.MULTILINE))
    for name, tier in tiers.TIERS.items():
        need = tiers.estimate(tier, tiers.SD21, PAPER)
        assert float(rows[name]) == pytest.approx(need, abs=0.051)
    one = Recipe("r", tuple(replace(stage, batch_size=1) for stage in PAPER.stages))
    half = replace(tiers.SD21, cells=32 * 32)
    small = tiers.estimate(tiers.TIERS["cpu"], half, one)
    assert f"at 256 pixels and batch 1: {small:.1f}" in table
    two = tiers.estimate(tiers.TIERS["gpu24"], tiers.SD21, PAPER, shares=2)
    assert f"in two shares: {two:.1f}" in table


def test_what_does_not_fit_is_one_line(bits, monkeypatch):
    for name, says in (("auto", "no tier fits"), ("gpu80", "tier gpu80 fits")):
        with pytest.raises(TrainingError, match=says):
            tiers.choose(7.5, CUDA, tiers.SD21, PAPER, name)
    for name, device, says in (
        ("gpu9", CUDA, "unknown tier 'gpu9': choose auto, gpu80"),
        ("gpu8", CPU, "tier gpu8 is not for cpu: choose auto, cpu"),
    ):
        with pytest.raises(TrainingError, match=says):
            tiers.of(name, device)
    monkeypatch.setattr(tiers, "can_8bit", lambda device: False)
    with pytest.raises(TrainingError, match="gpu16 needs bitsandbytes.*pip install bitsandbytes"):
        tiers.of("gpu16", CUDA)
    with pytest.raises(TrainingError, match="pip install bitsandbytes lets"):
        tiers.choose(14.5, CUDA, tiers.SD21, PAPER)


def test_a_cpu_has_one_tier_and_a_small_model_no_micro_batches():
    size = tiers.model_size(tiny_base())
    tier, why = tiers.choose(4.0, CPU, size, PAPER)
    assert tier.name == "cpu" and "may not do" not in why
    assert tiers.choose(0.1, CPU, size, PAPER)[1].endswith("lower it")
    options = tiers.fitted(RunOptions(), tier, size, CPU)
    assert micro_batches(PAPER.stages[0], 1, options) == 1 and options.optimizer == "adamw"
    parts = dict(unet=size.unet, text=size.text, rest=size.rest)
    base = tiny_base()
    assert parts["unet"] == sum(p.numel() for p in base.unet.parameters())
    assert parts["text"] == sum(p.numel() for p in base.text_encoder.parameters())
    assert parts["rest"] == sum(p.numel() for p in base.vae.parameters()) and size.cells == 16**2


@pytest.mark.parametrize(
    "batch, most, processes, expected",
    [(8, 8, 1, 1), (8, 4, 1, 2), (8, 3, 1, 4), (6, 4, 1, 2), (8, 1, 2, 4), (7, 4, 1, 7)],
)
def test_micro_batches_divide_the_share(batch, most, processes, expected):
    stage = Stage("s", ("unet",), steps=1, lr=1e-3, batch_size=batch)
    assert micro_batches(stage, processes, RunOptions(micro_batch=most)) == expected


# ---------------------------------------------------------------- memory that runs out

STAGES = (
    Stage("rows", ("embedding",), steps=2, lr=1e-3, batch_size=4, lambda_mu=2.0),
    Stage("all", ("unet",), steps=2, lr=1e-3, batch_size=4, lambda_mu=2.0, lambda_sigma=5.0),
)
LARGE = tiers.ModelSize(tiers.SD21_UNET, 0, 0, 0, tiers.SD21_CELLS)


def failing(monkeypatch, module, name: str, number: int):
    """The call of that number, from 1, of a module's function finds no memory, once."""
    real, calls = getattr(module, name), []

    def call(*arguments, **more):
        calls.append(1)
        if len(calls) == number:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB. More")
        return real(*arguments, **more)

    monkeypatch.setattr(module, name, call)
    return calls


def started(monkeypatch, tier="gpu80", **options):
    """A run in a tier, as of a model for which a tier's micro-batch is what its table says."""
    monkeypatch.setattr(tiers, "model_size", lambda base, resolution=None: LARGE)
    chosen = tiers.fitted(RunOptions(view_count=2, **options), tiers.TIERS[tier], LARGE, CPU)
    return Run(tiny_base(), tiny_concept(), Recipe("r", STAGES), chosen)


@pytest.mark.parametrize(
    "module, name, number",
    [
        (training, "forward", 3),  # the second stage's first
        (torch.Tensor, "backward", 2),
        (torch.optim.AdamW, "step", 3),
        (training, "check_finite", 2),  # after the last update
        (training, "collect", 4),
    ],
)
def test_the_run_goes_on_a_tier_lower(monkeypatch, capsys, module, name, number):
    whole = started(monkeypatch)
    whole.finish()
    with monkeypatch.context() as patch:
        calls = failing(patch, module, name, number)
        run = started(patch, tier="gpu24")
        run.finish()
    assert len(calls) > number
    assert [r.step for r in run.result.history] == [1, 2, 1, 2]
    after = name in ("check_finite", "collect")  # the update was made: nothing but once more
    said = capsys.readouterr().out
    assert run.learner.options.tier == ("gpu24" if after else "gpu16")
    assert after or ("tier gpu24 -> gpu16" in said and said.count("memory ran out") == 1)
    for mine, theirs in zip(run.result.history, whole.result.history, strict=True):
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-3)
        assert mine.mean_part == pytest.approx(theirs.mean_part, rel=1e-3, abs=1e-9)
    ends, expected = weights(run.learner), weights(whole.learner)
    for key, value in expected.items():  # Adam divides by the gradient's size
        torch.testing.assert_close(ends[key], value, rtol=1e-2, atol=2e-4)


@pytest.mark.parametrize("side, at_once", [(32, 16), (512, 4), (1024, 1)])
def test_large_views_are_encoded_a_few_at_a_time(monkeypatch, side, at_once):
    """Sixteen of 512 pixels take some 10 GiB, and no less time."""
    sizes = []

    def encode(base, pixels):
        sizes.append(len(pixels))
        return Posterior(*(torch.zeros(len(pixels), 4, 2, 2) for _ in range(2)))

    base, concept = tiny_base(), tiny_concept()
    monkeypatch.setattr(type(base), "encode_pictures", encode)
    found = encoding.encode_views(base, concept, 6, 0, RunOptions().augmentation, side=side)
    assert max(sizes) == at_once and sum(sizes) == len(found.mean) == 18


def test_views_that_do_not_fit_are_encoded_in_smaller_batches(monkeypatch):
    base, concept = tiny_base(), tiny_concept()
    augmentation = RunOptions().augmentation
    whole = encoding.encode_views(base, concept, 2, 0, augmentation)
    with monkeypatch.context() as patch:
        calls = failing(patch, type(base), "encode_pictures", 1)
        again = encoding.encode_views(base, concept, 2, 0, augmentation)
    assert len(calls) == 2 and torch.allclose(whole.mean, again.mean, atol=1e-5)

    def never(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(type(base), "encode_pictures", never)
    with pytest.raises(TrainingError, match="one of 32 pixels at a time: lower --resolution"):
        encoding.encode_views(base, concept, 2, 0, augmentation)


def test_below_the_last_tier_is_one_line(monkeypatch):
    run = started(monkeypatch, tier="gpu8")
    failing(monkeypatch, training, "forward", 1)
    with pytest.raises(TrainingError, match=r"step 1 of stage 'rows' .*, and no tier"):
        run.finish()


def test_half_an_update_is_never_built_on(monkeypatch):
    plan = short(recipe("dreambooth"))
    stage = fallback.TieredStage(make_learner(plan), plan.stages[0])
    records = stage.records()
    next(records)
    state = stage.optimizer.state
    next(iter(state.values()))["step"] += 1
    failing(monkeypatch, training, "forward", 1)
    with pytest.raises(TrainingError, match="in the middle of an update: run the same command"):
        next(records)


def test_other_errors_pass_untouched(monkeypatch):
    def broken(*_):
        raise RuntimeError("a bug")

    run = started(monkeypatch)
    monkeypatch.setattr(training, "forward", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        run.finish()


def test_a_resumed_run_starts_in_the_tier_it_had_come_down_to(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        run = started(patch, tier="gpu24", out=tmp_path, save_every=1)
        failing(patch, training, "forward", 1)
        next(iter(run))
    again = started(monkeypatch, tier="gpu80", out=tmp_path)
    assert again.learner.options.tier == "gpu16" and again.learner.options.micro_batch == 2
    assert len(again.finish().history) == 4
