"""README's first picture: photos, and the same prompts before and after every stage."""

from __future__ import annotations

import io
from dataclasses import replace

from models import tiny_base, tiny_concept
from PIL import Image

from adb_core.provenance import inspect_file
from adb_core.recipes import recipe
from adb_core.teaching import make_banner


def short_recipe():
    plan = recipe("attndreambooth")
    return replace(plan, stages=tuple(replace(stage, steps=1) for stage in plan.stages))


def test_the_banner_moves_from_the_base_model_through_the_stages(monkeypatch, tmp_path):
    monkeypatch.setattr(make_banner, "named", lambda name: short_recipe())
    monkeypatch.setattr(make_banner, "PROMPTS", ("a {}", "a {} on the beach"))
    base, concept = tiny_base(), tiny_concept()
    rows = make_banner.stages_of(base, concept, [0, 1])
    assert len(rows) == 1 + len(short_recipe().stages) and next(iter(rows)).startswith("base")
    assert all(images.shape[0] == 2 for images in rows.values())
    data = make_banner.make_banner(base, concept, [0, 1])
    with Image.open(io.BytesIO(data)) as film:
        assert film.n_frames >= len(rows)
    (tmp_path / "banner.png").write_bytes(data)
    assert "AI generated" in "\n".join(inspect_file(tmp_path / "banner.png").lines())
