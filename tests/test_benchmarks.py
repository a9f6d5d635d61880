"""The benchmarks' own arithmetic: a wrong table is worse than none."""

import importlib
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from models import tiny_base

from adb_core.concept import Concept
from adb_core.recipes import recipe, scaled
from adb_core.system.commands import InputError


@pytest.fixture
def benchmark_script(monkeypatch):
    """Import one of the scripts of benchmarks/, which are no package."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent.parent / "benchmarks"))
    return importlib.import_module


def test_ratio_is_taken_round_by_round(benchmark_script):
    timing = benchmark_script("timing")
    assert timing.ratio([2.0, 20.0, 6.0], [1.0, 10.0, 2.0])[:2] == pytest.approx((2.0, 2.0))
    with pytest.raises(ValueError, match="same number of rounds"):
        timing.ratio([1.0], [])


def test_interleaving_lets_everyone_go_first(benchmark_script):
    timing, order = benchmark_script("timing"), []
    sides = {name: lambda name=name: order.append(name) for name in "abc"}
    times = timing.interleave(sides, 3, torch.device("cpu"), warmup=1)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab" and all(
        len(t) == 3 for t in times.values()
    )


@pytest.mark.parametrize(
    "off",
    [
        None,
        "explicit_self",
        "all_columns",
        "text_every_step",
        "vae_every_step",
        "decode_every_step",
    ],
)
def test_the_plain_loop_ends_where_the_engine_does(benchmark_script, off):
    """Else the comparison of their times would be one of different work."""
    whole_run, plain_loop = benchmark_script("whole_run"), benchmark_script("plain_loop")
    base, concept = tiny_base(), Concept.bundled("pico")
    plan = scaled(recipe("attndreambooth"), steps=0.02)
    habits = replace(plain_loop.OBVIOUS, **({off: False} if off else {}))
    engine = whole_run.EngineRun(base, concept, plan)
    plain = plain_loop.PlainRun(base, concept, plan, habits)
    parts = ["prepare", *(s.name for s in plan.stages)]
    assert list(engine.parts()) == list(plain.parts()) == parts
    start = plain_loop.flat_weights(engine.run.learner.token.initial, base.unet)
    moved, apart = (engine.weights() - start).norm(), (engine.weights() - plain.weights()).norm()
    assert moved > 0 and apart < 0.1 * moved


def test_checkouts_are_compared_by_what_the_benchmarks_print(benchmark_script):
    """The patterns find one number for each line that the scripts print."""
    printed = {
        "three_stages.py": "run 1: 9 s\nmedian 22.4 s (20.1 to 24.4): within the bar of 60 s",
        "attention_paths.py": "  forward + backward   no capture     12.5 ms   fused 1.10x",
    }
    benchmarks = benchmark_script("compare_checkouts").BENCHMARKS
    found = {
        command[0]: re.findall(pattern, printed[command[0]])
        for command, pattern in benchmarks.items()
    }
    assert found == {
        "three_stages.py": [("", "22.4")],
        "attention_paths.py": [("forward + backward", "12.5")],
    }


def test_steps_of_two_checkouts_take_turns(benchmark_script):
    """This checkout against itself: every step of every stage has its time on both sides."""
    compare = benchmark_script("compare_checkouts")
    here = Path(__file__).resolve().parent.parent
    times = dict(compare.step_times({"before": here, "after": here}, sys.executable, steps=2))
    assert list(times) == [f"step_overhead stage {number}" for number in (1, 2, 3)]
    for sides in times.values():
        assert all(len(sides[name]) == 2 and min(sides[name]) > 1 for name in ("before", "after"))


def test_a_checkout_without_an_engine_ends_the_comparison(benchmark_script, tmp_path):
    compare = benchmark_script("compare_checkouts")
    folders = {"before": tmp_path, "after": tmp_path}
    with pytest.raises(InputError, match="ended too early"):
        list(compare.step_times(folders, sys.executable, steps=1))


def test_sliders_are_judged_by_their_median_and_a_drawing_one_is_not(benchmark_script):
    sliders = benchmark_script("sliders")
    said = sliders.lines({"drift explorer": [90, 100, 900], "slow": [151] * 3, "canvas": [2000]})
    assert "3 keys, median  100 ms (90 to 900): within the bar of 150 ms" in said[0]
    assert said[1].endswith("OVER the bar of 150 ms") and said[2].endswith("no bar")


def test_sliders_without_a_browser_end_in_one_line(benchmark_script, monkeypatch, tmp_path):
    sliders = benchmark_script("sliders")
    nothing = tmp_path / "test_none.py"
    nothing.write_text(
        'import pytest\npytest.skip("Chromium is not installed", allow_module_level=True)\n'
    )
    monkeypatch.setattr(sliders, "TEST", nothing)
    monkeypatch.setattr(sliders, "FOUND", tmp_path / "latency.json")
    with pytest.raises(InputError, match="Chromium is not installed"):
        sliders.once()


# ---------------------------------------------------------------- real shapes


def test_the_shapes_are_those_of_the_real_models(benchmark_script):
    """Parameters of the U-Nets as their publishers count them; nothing is allocated."""
    shapes, tiers = benchmark_script("shapes"), importlib.import_module("adb_core.tiers")
    counts = {"sd21": 865_910_724, "sd15": 859_520_964, "sdxl": 2_567_463_684}
    with torch.device("meta"):
        for name, shape in shapes.SHAPES.items():
            unet = shapes._unet(shape)
            assert sum(p.numel() for p in unet.parameters()) == counts[name]
            if name == "sd21":
                attn2 = [p.numel() for n, p in unet.named_parameters() if ".attn2." in n]
                assert sum(attn2) == tiers.SD21.cross_attention
    assert counts["sd21"] == tiers.SD21.unet


def test_the_share_of_a_cards_peak(benchmark_script):
    gpu = benchmark_script("gpu")
    assert gpu.peak_teraflops("NVIDIA H100 PCIe") == 756.5
    assert gpu.peak_teraflops("NVIDIA H100 80GB HBM3") == gpu.peak_teraflops("NVIDIA H200") == 989.4
    assert gpu.peak_teraflops("A card of tomorrow") is None
    stage = replace(recipe("attndreambooth").stages[0], batch_size=4)  # frozen: two passes
    assert gpu.share_of_peak(10**12, stage, 2.0, 100.0) == "4.0%"
    assert gpu.share_of_peak(10**12, stage, 2.0, None) == "-"


def test_without_a_gpu_one_honest_line(benchmark_script, monkeypatch, capsys):
    gpu = benchmark_script("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu.main()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("no CUDA device here: nothing was measured")


@pytest.mark.parametrize("name", ["sd21", "sdxl"])
def test_narrow_shapes_count_their_products(benchmark_script, name):
    shapes, gpu = benchmark_script("shapes"), benchmark_script("gpu")
    base = shapes.random_base(shapes.narrowed(shapes.SHAPES[name], 16, 64), torch.device("cpu"))
    assert base.side == 64 and gpu.forward_flops(base) > 10**6


@pytest.mark.slow
def test_the_full_size_fits_into_16_gib():
    """Stable Diffusion 2.1, random weights, batch 1, 256 pixels, three stages; takes minutes."""
    import subprocess
    import sys

    script = Path(__file__).resolve().parents[1] / "benchmarks/full_size.py"
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["parameters"] == 865_910_724 and found["peak_gib"] <= 16


def test_the_watermarks_tables_say_what_was_measured(benchmark_script, monkeypatch):
    script = benchmark_script("watermark")
    monkeypatch.setattr(script, "SIDES", (64,))
    scenes, noise = script.quality(2)[2:]
    assert re.fullmatch(r"\| scenes \| 64 \| 16 \| 4\d\.\d\d dB \| 100.00% \|.*\|", scenes)
    assert noise.startswith("| noise | 64 |")
    rows = {line.split("|")[1].strip(): line for line in script.robustness(2)[2:]}
    assert set(rows) == set(script.CHANGES)
    assert rows["nothing"].endswith("| 100.0%, 100% |") and rows["mirror"].endswith(" 0% |")
    own, same = script.errors(4, 3)[2:]
    assert own.startswith("| keys of their own | 12 |") and own.endswith("| 0 |")
    assert same.startswith("| the same keys for all | 12 |")
    assert script.wrong_keys(2, 3) == "wrong keys on marked pictures: 0 of 6 found"
    none, one = script.learned(1, (0, 1))[2:]
    guessed = [float(row.split("|")[2].strip().rstrip("%")) for row in (none, one)]
    assert abs(guessed[0] - 50) < 6 < guessed[1] - 50
