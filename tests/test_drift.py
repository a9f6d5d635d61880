"""Where the rows have gone, by hand, and the map it is drawn on."""

import json

import torch
from models import tiny_base

from adb_core.concept_token import ConceptToken
from adb_core.drift import Projection


def test_drift_measures_what_it_says():
    token = ConceptToken(tiny_base(), "<pico>", "cat")
    start = token.drift()
    assert (
        start.distance == 0
        and abs(start.cosine_to_start - 1) < 1e-5
        and start.nearest[0][0] == "cat"
    )
    with torch.no_grad():
        token.rows += 2 * torch.nn.functional.normalize(token.rows, dim=1)
    moved = token.drift()
    assert abs(moved.distance - 2) < 1e-4 and abs(moved.cosine_to_start - 1) < 1e-5
    assert abs(moved.norm - start.norm - 2) < 1e-4


def test_projection_is_a_fixed_map():
    table = torch.randn(50, 12, generator=torch.Generator().manual_seed(0))
    project = Projection(table)
    torch.testing.assert_close(project(table).mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(Projection(table)(table), project(table))
    spread = project(table).var(0)
    assert spread[0] >= spread[1] and json.dumps(spread.tolist())
