"""The demo writes every file, and its report is one safe page."""

import json
import re
from dataclasses import replace

import pytest
from models import tiny_base, tiny_concept

from adb_core.app import report
from adb_core.app.demo import FILES
from adb_core.app.demo.diary import demo_prompts
from adb_core.app.demo.experiment import Experiment
from adb_core.recipes import recipe


def test_demo_writes_every_file(tmp_path, capsys):
    plan = replace(
        recipe("attndreambooth"),
        stages=tuple(replace(s, steps=1, batch_size=2) for s in recipe("attndreambooth").stages),
    )
    out = tmp_path / "demo"
    settings = Experiment(out, steps=2, view_count=2, progress=False)
    page = settings.run(tiny_base(), tiny_concept(), plan)
    assert {p.name for p in out.iterdir()} == {*FILES, "model"} and (
        out / "model" / "adb.json"
    ).exists()
    text = page.read_text()
    assert (
        text.count("<img ") == 4
        and text.count('src="data:image/png;base64,') == 4
        and "<script" not in text
        and "://" not in text
    )
    assert "prefers-color-scheme: dark" in text and all(
        alt for alt in re.findall(r'alt="([^"]*)"', text)
    )
    assert "&lt;pico&gt;" in text and "<pico>" not in text
    numbers = json.loads((out / "metrics.json").read_text())
    assert (
        list(numbers["stages"]) == ["alignment", "attention", "identity"]
        and numbers["seconds"]["total"] > 0
    )
    assert {"cosine_to_category", "nearest"} <= set(numbers["drift"]) and "evaluation" in numbers
    drift = json.loads((out / "drift.json").read_text())
    assert [d["step"] for d in drift] == [0, 1, 2, 3] and drift[0]["distance"] == 0
    assert len(json.loads((out / "history.json").read_text())) == 3
    assert "s in all" in capsys.readouterr().out


def test_demo_prompts_go_from_simple_to_complex():
    prompts = demo_prompts()
    asked = [len(p["asks"]) for p in prompts]
    assert len(prompts) == 6 and asked == sorted(asked) and len({p["prompt"] for p in prompts}) == 6


def test_reports_escape_everything_and_want_descriptions():
    sections = [
        report.Section(
            "<b>",
            ["1 < 2 & 3"],
            [report.Table("c<", ("h<", "i"), [("r<", "x>")])],
            [report.Picture(b"png", 'a "quoted" <alt>', "cap<")],
        )
    ]
    page = report.build_report("<title>", sections)
    assert (
        "&lt;title&gt;" in page
        and "1 &lt; 2 &amp; 3" in page
        and "a &#34;quoted&#34; &lt;alt&gt;" in page
        and "cG5n" in page
    )
    assert not re.search(r"<(b|title>&lt|alt)>", page)
    with pytest.raises(ValueError, match="description"):
        report.build_report("t", [report.Section("", pictures=[report.Picture(b"", " ", "")])])
    with pytest.raises(ValueError, match="at least one section"):
        report.build_report("t", [])
