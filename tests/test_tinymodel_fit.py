"""The pretraining loop: budgets, resuming, kills, full disks; the rendering cache; atomic files."""

import errno
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from adb_core.pretraining import cache as cache_module, fit as loop
from adb_core.pretraining.cache import Renders
from adb_core.pretraining.ema import Ema
from adb_core.pretraining.fit import fit
from adb_core.pretraining.randomness import step_rng, torch_generator
from adb_core.pretraining.settings import Budget, Fit, FitError, Place, lr_factor
from adb_core.pretraining.stage_files import unpack
from adb_core.system import files
from adb_core.system.files import (
    DiskFull,
    atomic_save_pretrained,
    atomic_write_text,
    recover_folder,
)

SETTINGS = Fit("toy", lr=1e-2, batch=7, warmup=3, ema=0.99)


def make_module(width: int = 5) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, width), nn.BatchNorm1d(width), nn.Dropout(0.1), nn.Linear(width, 2)
    )


def run_fit(run_dir, module=None, steps=40, minutes=None, settings=SETTINGS, loss_hook=None):
    module = module or make_module()

    def loss_fn(step, rng):
        if loss_hook:
            loss_hook(step)
        x = torch.randn(7, 3, generator=torch_generator(rng))
        loss = (module(x) - x[:, :2]).square().mean()
        return loss, {"scale": x.abs().mean()}

    budget = Budget(steps=steps) if minutes is None else Budget(minutes=minutes)
    place = Place(run_dir, 3, "cpu", bf16=False)
    modules = {"net": module}
    return fit(settings, modules, loss_fn, place=place, budget=budget, progress=False), module


def final(run_dir) -> dict[str, torch.Tensor]:
    return load_file(Path(run_dir) / "toy" / "final.safetensors")


def assert_same(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


@pytest.fixture
def saving_always(monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)


class Stop(Exception):
    pass


def stop_at(step):
    def hook(now):
        if now == step:
            raise Stop

    return hook


# ---------------------------------------------------------------- resuming


def test_learns_and_reports(tmp_path):
    report, module = run_fit(tmp_path, steps=200)
    assert report.steps == 200 and not report.finished_earlier
    assert report.losses["loss"] < 0.5 and "scale" in report.losses
    assert not module.training
    rows = (tmp_path / "toy" / "history.csv").read_text().splitlines()
    assert rows[0].startswith("step,seconds,loss") and rows[-1].startswith("200,")
    assert not (tmp_path / "toy" / "checkpoint.safetensors").exists()


def test_resumed_equals_uninterrupted(tmp_path, saving_always):
    run_fit(tmp_path / "whole")
    for step in (11, 12, 30):
        with pytest.raises(Stop):
            run_fit(tmp_path / "parts", loss_hook=stop_at(step))
    run_fit(tmp_path / "parts")
    assert_same(final(tmp_path / "whole"), final(tmp_path / "parts"))


CHILD = """
import sys, time
sys.path[:0] = [{root!r}, {tests!r}]
import torch
torch.set_num_threads(1)
from adb_core.pretraining import fit as loop
import test_tinymodel_fit as t
loop.SAVE_EVERY = 0.0
print("ready", flush=True)
t.run_fit({run!r}, steps=150, loss_hook=lambda step: time.sleep(0.004))
print("finished", flush=True)
"""


def start_child(run: Path) -> subprocess.Popen:
    tests = Path(__file__).parent
    code = CHILD.format(root=str(tests.parent), tests=str(tests), run=str(run))
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "ready\n"
    return child


def test_sigkill_at_a_random_moment_changes_nothing(tmp_path):
    for _ in range(2):
        child = start_child(tmp_path / "killed")
        # wait for its first checkpoint, so that the kill cannot come too early to matter
        while (
            not (tmp_path / "killed/toy/checkpoint.safetensors").exists() and child.poll() is None
        ):
            time.sleep(0.002)
        time.sleep(random.uniform(0.0, 0.4))
        child.kill()
        child.communicate()
    assert not (tmp_path / "killed/toy/done.json").exists()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run_fit(tmp_path / "killed", steps=150)
        run_fit(tmp_path / "whole", steps=150)
    finally:
        torch.set_num_threads(threads)
    assert "resumed at step" in (tmp_path / "killed/log.txt").read_text()
    assert_same(final(tmp_path / "whole"), final(tmp_path / "killed"))
    assert not list((tmp_path / "killed/toy").glob(".*"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
def test_sigterm_saves_and_says_how_to_go_on(tmp_path):
    child = start_child(tmp_path)
    while not (tmp_path / "toy/checkpoint.safetensors").exists() and child.poll() is None:
        time.sleep(0.002)
    child.send_signal(signal.SIGTERM)
    _, error = child.communicate(timeout=20)
    assert child.returncode == 1
    assert "the same command resumes" in error and "Traceback" not in error
    report, _ = run_fit(tmp_path, steps=150)
    assert report.steps == 150


def test_finished_stage_returns_at_once_with_its_weights(tmp_path):
    run_fit(tmp_path)
    fresh = make_module()
    report, _ = run_fit(
        tmp_path, module=fresh, loss_hook=stop_at(0)
    )  # would raise if a step were made
    assert report.finished_earlier and report.steps == 40
    assert_same({f"net/{k}": v for k, v in fresh.state_dict().items()}, final(tmp_path))


def test_finished_stage_is_kept_under_another_budget_and_says_so(tmp_path):
    run_fit(tmp_path, steps=5)
    report, _ = run_fit(tmp_path, steps=50)
    assert report.steps == 5
    assert "made with 5 steps, asked 50 steps: kept; delete" in (tmp_path / "log.txt").read_text()


# ---------------------------------------------------------------- budgets and schedules


def test_minutes_are_planned_once_and_obeyed_after_a_stop(tmp_path, saving_always, monkeypatch):
    ticks = itertools.count()  # a clock of its own: 1 ms a look, however busy the machine is
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(ticks) / 1000))
    with pytest.raises(Stop):
        run_fit(tmp_path, minutes=0.003, loss_hook=stop_at(27))
    plan = json.loads((tmp_path / "toy/plan.json").read_text())
    assert plan["steps"] > 27
    report, _ = run_fit(tmp_path, minutes=0.003)
    assert report.steps == plan["steps"]


@pytest.mark.parametrize("given", [{}, {"minutes": 1.0, "steps": 5}])
def test_budget_is_minutes_or_steps(given):
    with pytest.raises(ValueError, match="either minutes or steps"):
        Budget(**given)


@pytest.mark.parametrize("schedule", ["cosine", "onecycle"])
def test_schedule_rises_to_one_and_falls(schedule):
    settings = Fit("x", lr=1.0, batch=1, warmup=10, schedule=schedule)
    factors = [lr_factor(settings, step, 1000, 10) for step in range(1000)]
    assert max(factors) == pytest.approx(1.0, abs=1e-3)
    assert factors[-1] < 0.025
    assert all(abs(a - b) < 0.11 for a, b in itertools.pairwise(factors))
    # while the budget is being timed the factor is that of any total
    assert [lr_factor(settings, s, None, 50) for s in range(25)] == [
        lr_factor(settings, s, 1000, 50) for s in range(25)
    ]


def test_unknown_schedule():
    with pytest.raises(ValueError, match="choose cosine, onecycle or trapezoid"):
        Fit("x", lr=1, batch=1, schedule="linear")


def test_step_rng_depends_on_all_three():
    draws = {
        step_rng(*key).random() for key in [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1)]
    }
    assert len(draws) == 4


def test_ema_swap_restores(tmp_path):
    module = make_module()
    ema = Ema({"net": module}, 0.5)
    with torch.no_grad():
        module[0].weight.add_(1.0)
    raw = module[0].weight.clone()
    with ema.swapped_in():
        assert torch.allclose(module[0].weight, raw - 1.0)
    assert torch.equal(module[0].weight, raw)


# ---------------------------------------------------------------- what can go wrong


def test_other_settings_are_refused(tmp_path, saving_always):
    with pytest.raises(Stop):
        run_fit(tmp_path, loss_hook=stop_at(9))
    for change in (
        {"settings": Fit("toy", lr=1.0, batch=7)},
        {"module": make_module(11)},
        {"steps": 99},
    ):
        with pytest.raises(FitError, match="delete that folder .* another --run") as caught:
            run_fit(tmp_path, **change)
        assert str(tmp_path / "toy") in str(caught.value) and "\n" not in str(caught.value)


TRAPEZOID = replace(SETTINGS, schedule="trapezoid", warmup=4)


def test_a_trapezoid_prolonged_before_its_fall_equals_the_long_run(tmp_path, saving_always):
    """And shortened as well; every schedule's steps before the fall are the same."""
    for steps in (90, 40):
        folder = tmp_path / str(steps)
        run_fit(folder / "whole", steps=steps, settings=TRAPEZOID)
        with pytest.raises(Stop):
            run_fit(folder / "parts", steps=60, settings=TRAPEZOID, loss_hook=stop_at(25))
        report, _ = run_fit(folder / "parts", steps=steps, settings=TRAPEZOID)
        assert report.steps == steps
        assert_same(final(folder / "whole"), final(folder / "parts"))


@pytest.mark.parametrize(
    "at, steps, why",
    [
        (50, 200, "its rate has begun to fall"),
        (30, 31, "the new one's would have fallen"),
        (20, 12, "it is past the new end"),
        (20, 15, "the new warm-up is shorter"),
    ],
)
def test_a_trapezoid_is_not_prolonged_where_steps_would_differ(
    tmp_path, saving_always, at, steps, why
):
    with pytest.raises(Stop):
        run_fit(tmp_path, steps=60, settings=TRAPEZOID, loss_hook=stop_at(at))
    with pytest.raises(FitError, match="another budget .60 steps."):
        run_fit(tmp_path, steps=steps, settings=TRAPEZOID)


def test_loss_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    module = make_module()
    monkeypatch.setattr(loop, "LOG_EVERY", 0.0)

    def poison(step):
        if step == 20:
            monkeypatch.setattr(loop, "SAVE_EVERY", 1e9)
            with torch.no_grad():
                module[0].weight.fill_(float("nan"))

    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    with pytest.raises(FitError, match="not finite at step 20; the last good checkpoint is kept"):
        run_fit(tmp_path, module=module, loss_hook=poison)
    tensors, state = unpack(tmp_path / "toy/checkpoint.safetensors")
    assert state["step"] == 20 and all(t.isfinite().all() for t in tensors.values())


def full_disk(monkeypatch):
    def write(path, data):
        Path(path).write_bytes(data[: len(data) // 2])  # half of it lands, as on a real disk
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_and_sync", write)


def test_disk_full_keeps_the_old_checkpoint(tmp_path, monkeypatch, saving_always):
    def fill(step):
        if step == 15:
            full_disk(monkeypatch)

    with pytest.raises(
        DiskFull,
        match=r"disk full: writing .* needs \d+ MB free at .*; free space and run the same",
    ):
        run_fit(tmp_path, loss_hook=fill)
    assert unpack(tmp_path / "toy/checkpoint.safetensors")[1]["step"] == 15
    assert not list((tmp_path / "toy").glob(".*"))
    monkeypatch.undo()
    run_fit(tmp_path)
    run_fit(tmp_path / "whole")
    assert_same(final(tmp_path), final(tmp_path / "whole"))


@pytest.mark.parametrize("name", ["final.safetensors", "done.json"])
def test_damaged_file_is_one_clear_line(tmp_path, name):
    run_fit(tmp_path, steps=3)
    path = tmp_path / "toy" / name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(FitError, match="damaged.*delete.*run again") as caught:
        run_fit(tmp_path, steps=3)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- files


def test_atomic_write_leaves_the_old_text_when_the_disk_is_full(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    atomic_write_text(path, "old")
    full_disk(monkeypatch)
    with pytest.raises(DiskFull):
        atomic_write_text(path, "new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_written_configuration_forgets_where_its_part_was_read_from(tmp_path):
    from adb_core.pretraining.write import _forget_origin

    for said in ({"_name_or_path": "/somewhere/unet", "act_fn": "silu"}, {"act_fn": "silu"}):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(said))
        _forget_origin(path)
        assert json.loads(path.read_text()) == {"act_fn": "silu"}


def test_folder_is_swapped_whole(tmp_path):
    target, staging = tmp_path / "data" / "model", tmp_path / "run"
    for text in ("one", "two"):
        atomic_save_pretrained(
            lambda f, text=text: (f / "x.txt").write_text(text), target, staging=staging
        )
        assert (target / "x.txt").read_text() == text
    assert [p.name for p in target.parent.iterdir()] == ["model"] and not list(staging.iterdir())


def test_failed_save_leaves_the_old_folder(tmp_path):
    target = tmp_path / "model"
    atomic_save_pretrained(lambda f: (f / "x.txt").write_text("old"), target)

    def save(folder):
        (folder / "x.txt").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFull, match="disk full"):
        atomic_save_pretrained(save, target)
    assert (target / "x.txt").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("killed", ["while writing", "between renames", "before cleaning"])
def test_killed_folder_swap_recovers(tmp_path, killed):
    target, new, old = tmp_path / "model", tmp_path / ".model.new", tmp_path / ".model.old"
    for folder, text in {
        "while writing": {target: "old", new: "half"},
        "between renames": {old: "old", new: "new"},
        "before cleaning": {target: "new", old: "old"},
    }[killed].items():
        folder.mkdir()
        (folder / "x.txt").write_text(text)
    recover_folder(target)
    assert (target / "x.txt").read_text() == ("old" if killed == "while writing" else "new")
    assert len(list(tmp_path.iterdir())) == 1


# ---------------------------------------------------------------- the rendering cache


def test_cache_does_not_depend_on_workers_or_chunks(tmp_path):
    one, two = (
        cache_module.build_cache(
            tmp_path / str(workers), Renders(12, 5, chunk=chunk), workers=workers, progress=False
        )
        for workers, chunk in ((1, 12), (2, 5))
    )
    assert one.images.shape == (12, 128, 128, 3) and one.images.dtype == np.uint8
    assert np.array_equal(one.images, two.images)
    assert one.captions == two.captions and one.scenes == two.scenes
    assert len(one.captions[0]) == 4 and one.labels.shape == (12, len(cache_module.LABELS))
    assert np.array_equal(one.labels, two.labels)


def test_cache_resumes_chunk_by_chunk_and_is_made_anew_for_other_settings(tmp_path, monkeypatch):
    def build(**sample):
        renders = Renders(7, 1, chunk=3, sample=sample)
        return cache_module.build_cache(tmp_path, renders, workers=1, progress=False)

    whole = build().images.copy()
    made = []
    real = cache_module._make_chunk
    monkeypatch.setattr(cache_module, "_make_chunk", lambda *job: made.append(job[1]) or real(*job))
    assert np.array_equal(build().images, whole) and made == []
    (tmp_path / "scenes-00001.jsonl").unlink()
    assert np.array_equal(build().images, whole) and made == [1]
    made.clear()
    build(place=0.0)
    assert made == [0, 1, 2]
    made.clear()
    monkeypatch.setattr(cache_module, "code_hash", lambda: "other code")
    build(place=0.0)
    assert made == [0, 1, 2]


def test_a_full_disk_leaves_the_chunks_that_are_there(tmp_path, monkeypatch):
    renders = Renders(4, 1, chunk=2)
    whole = cache_module.build_cache(tmp_path, renders, workers=1, progress=False).images.copy()
    (tmp_path / "scenes-00001.jsonl").unlink()

    class Full:
        def __init__(self, path, *args, **kwargs):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "open", Full, raising=False)
        with pytest.raises(DiskFull, match="images.npy"):
            cache_module.build_cache(tmp_path, renders, workers=1, progress=False)
    assert [path.name for path in tmp_path.glob("scenes-*")] == ["scenes-00000.jsonl"]
    again = cache_module.build_cache(tmp_path, renders, workers=1, progress=False)
    assert np.array_equal(again.images, whole)


def test_missing_cache_names_the_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no complete rendering cache"):
        cache_module.load_cache(tmp_path)


# ---------------------------------------------------------------- optimizers


class Parts(torch.nn.Module):
    """A table, a matrix, a kernel, a small kernel and biases."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(19, 17)
        self.linear = torch.nn.Linear(17, 23)
        self.kernel = torch.nn.Conv2d(17, 29, 3)
        self.small = torch.nn.Conv2d(3, 5, 3)

    def loss(self) -> torch.Tensor:
        return sum((p - 1).square().sum() for p in self.parameters())


def _optimizers(parts: Parts, muon_lr: float | None):
    from adb_core.pretraining.optimizers import Optimizers

    return Optimizers([parts], lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1, muon_lr=muon_lr)


def test_muon_gets_matrices_and_kernels_as_torch_has_it():
    torch.manual_seed(0)
    parts = Parts()
    before = parts.kernel.weight.detach().clone()
    theirs = torch.nn.Parameter(before.reshape(29, -1).clone())
    reference = torch.optim.Muon(
        [theirs], lr=5e-3, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    ours = _optimizers(parts, 1e-2)
    for _ in range(3):
        parts.loss().backward()
        theirs.grad = parts.kernel.weight.grad.reshape(29, -1).clone()
        ours.step(0.5)
        reference.step()
    assert not torch.equal(parts.kernel.weight, before)
    torch.testing.assert_close(parts.kernel.weight.reshape(29, -1), theirs)
    assert all(p.grad is None for p in parts.parameters())


def test_stacked_muon_takes_the_librarys_steps():
    from adb_core.pretraining.muon import StackedMuon

    torch.manual_seed(0)
    shapes = [(24, 40), (24, 40), (40, 24), (24, 40), (17, 17)]
    start = [torch.randn(shape) for shape in shapes]
    sides = [[torch.nn.Parameter(m.clone()) for m in start] for _ in range(2)]
    how = {"lr": 1e-2, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}
    stacked, library = StackedMuon(sides[0], **how), torch.optim.Muon(sides[1], **how)
    for _ in range(4):
        for one, other in zip(*sides, strict=True):
            one.grad = torch.randn(one.shape)
            other.grad = one.grad.clone()
        sides[0][3].grad = sides[1][3].grad = None  # the others of its shape go on
        stacked.step()
        library.step()
    moved = max(float((m - p.detach()).abs().max()) for m, p in zip(start, sides[0], strict=True))
    for one, other in zip(*sides, strict=True):
        # bfloat16 rounds sums of another order differently
        torch.testing.assert_close(one, other, atol=0.02 * moved, rtol=0)
    assert torch.equal(sides[0][3], start[3])
    for old, new in zip(library.state.values(), stacked.state.values(), strict=True):
        torch.testing.assert_close(old["momentum_buffer"], new["momentum_buffer"])


def test_muon_does_not_mind_the_memory_format():
    torch.manual_seed(0)
    parts = Parts()
    twin = Parts().to(memory_format=torch.channels_last)
    twin.load_state_dict(parts.state_dict())
    assert not twin.kernel.weight.is_contiguous()
    for module in (parts, twin):
        optimizers = _optimizers(module, 1e-2)
        for _ in range(3):
            (module.kernel(torch.ones(2, 17, 5, 5)).square().mean() + module.loss()).backward()
            optimizers.step(1.0)
    # Muon orthogonalizes in bfloat16, which rounds sums of another order differently
    torch.testing.assert_close(parts.kernel.weight, twin.kernel.weight, atol=1e-3, rtol=0)


def test_without_muon_all_is_adamw_and_biases_do_not_decay():
    torch.manual_seed(0)
    parts, twin = Parts(), Parts()
    twin.load_state_dict(parts.state_dict())
    ours = _optimizers(parts, None)
    decayed = [p for p in twin.parameters() if p.ndim >= 2]
    rest = [p for p in twin.parameters() if p.ndim < 2]
    reference = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}],
        lr=1e-2, betas=(0.9, 0.99),
    )  # fmt: skip
    for _ in range(3):
        parts.loss().backward()
        twin.loss().backward()
        ours.step(1.0)
        reference.step()
        reference.zero_grad()
    for one, other in zip(parts.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("muon_lr", [None, 1e-2])
def test_optimizer_state_survives_as_flat_tensors(muon_lr):
    torch.manual_seed(0)
    parts = Parts()
    first = _optimizers(parts, muon_lr)
    parts.loss().backward()
    first.step(1.0)
    twin = Parts()
    twin.load_state_dict(parts.state_dict())
    second = _optimizers(twin, muon_lr)
    second.load({name: tensor.clone() for name, tensor in first.tensors().items()})
    for module, optimizer in ((parts, first), (twin, second)):
        module.loss().backward()
        optimizer.step(0.7)
    for one, other in zip(parts.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)
