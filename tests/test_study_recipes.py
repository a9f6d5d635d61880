"""Every recipe can be studied: trained, measured on its way, and measured without its word."""

import pytest
from small_study import make_small, small_bench, small_plan

from adb_core.concept import Concept
from adb_core.recipes import RECIPES
from adb_core.study.cell import Cell


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_a_cell(name, tmp_path, monkeypatch):
    make_small(monkeypatch.setattr)
    bench = small_bench(small_plan(recipes=(name,), moments=1))
    made = Cell(name, "pico", 0, tmp_path).make(bench, Concept.bundled("pico"))
    assert made["moments"] and made["final"]["values"]["word_dependence"]
    assert len(made["final"]["values"]["drift_others"]) == 1
