"""Captured columns brought to one size and averaged."""

import pytest
import torch

from adb_core.maps import aggregate, grid_size


def test_aggregate_averages_layers_heads_and_sizes():
    layers = {"a": torch.rand(2, 3, 64, 2), "b": torch.rand(2, 5, 16, 2)}
    maps = aggregate(layers)
    assert maps.shape == (2, 2, 8, 8)
    only = aggregate(layers, resolution=8, head=1)
    torch.testing.assert_close(only, layers["a"][:, 1].transpose(1, 2).unflatten(2, (8, 8)))
    assert aggregate(layers, size=(32, 32)).shape == (2, 2, 32, 32)
    flat = aggregate({"a": torch.full((1, 2, 64, 1), 0.25), "b": torch.full((1, 2, 16, 1), 0.75)})
    torch.testing.assert_close(flat, torch.full((1, 1, 8, 8), 0.5))
    with pytest.raises(ValueError, match=r"no layer has maps of height 32: there are \[4, 8\]"):
        aggregate(layers, resolution=32)
    with pytest.raises(ValueError, match="heads 0 to 2, not 3"):
        aggregate(layers, resolution=8, head=3)


@pytest.mark.parametrize(
    "pixels, aspect, expected",
    [(64, 1, (8, 8)), (96, 1.5, (8, 12)), (6144, 1.5, (64, 96)), (7, 1, (1, 7))],
)
def test_grid_size(pixels, aspect, expected):
    if pixels == 7:
        assert grid_size(pixels, aspect) in ((1, 7), (7, 1))
    else:
        assert grid_size(pixels, aspect) == expected
