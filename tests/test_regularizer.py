"""The regularizer against an independent numpy statement of the formula, and by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from adb_core.regularizer import (
    Statistics,
    map_statistics,
    mean_statistics,
    regularizer,
    stack_statistics,
    vectors_regularizer,
)


def in_numpy(maps_v, maps_cat, lambda_mu, lambda_sigma):
    """L_reg, loop by loop, float64: maps are lists over layers of (batch, heads, pixels)."""
    total = 0.0
    for a_v, a_cat in zip(maps_v, maps_cat, strict=True):
        for b in range(a_v.shape[0]):
            v, c = a_v[b].astype(np.float64).ravel(), a_cat[b].astype(np.float64).ravel()
            mu = sum(v) / len(v) - sum(c) / len(c)
            var = sum((v - v.mean()) ** 2) / (len(v) - 1) - sum((c - c.mean()) ** 2) / (len(c) - 1)
            total += lambda_mu * mu**2 + lambda_sigma * var**2
    return total / len(maps_v)


@given(
    st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 3), st.floats(0, 5), st.floats(0, 5)
)
@settings(max_examples=50, deadline=None)
def test_parity_with_numpy(seed, layers, batch, lambda_mu, lambda_sigma):
    rng = np.random.default_rng(seed)
    shapes = [(batch, int(rng.integers(1, 5)), int(rng.integers(2, 20))) for _ in range(layers)]
    maps_v, maps_cat = ([rng.random(s).astype(np.float32) for s in shapes] for _ in range(2))
    v, cat = (stack_statistics([torch.from_numpy(m) for m in maps]) for maps in (maps_v, maps_cat))
    ours = regularizer(v, cat, lambda_mu, lambda_sigma)
    expected = in_numpy(maps_v, maps_cat, lambda_mu, lambda_sigma)
    np.testing.assert_allclose(float(ours.total), expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(float(ours.mean_part + ours.var_part), float(ours.total), rtol=1e-6)
    np.testing.assert_allclose(
        float(regularizer(v, cat, lambda_mu, lambda_sigma, "mean").total),
        expected / batch,
        rtol=1e-4,
        atol=1e-7,
    )


def test_by_hand():
    v = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])  # mean 1/2, unbiased variance 1/3
    cat = torch.tensor([[[0.25, 0.25], [0.25, 0.25]]])  # mean 1/4, variance 0
    s = map_statistics(v)
    assert float(s.mean) == 0.5 and abs(float(s.var) - 1 / 3) < 1e-7
    penalty = regularizer(stack_statistics([v]), stack_statistics([cat]), 2.0, 5.0)
    assert abs(float(penalty.mean_part) - 2 * (1 / 4) ** 2) < 1e-7
    assert abs(float(penalty.var_part) - 5 * (1 / 3) ** 2) < 1e-6


def test_zero_when_maps_agree_and_gradient_reaches_both_sides():
    a = torch.rand(2, 3, 10)
    same = stack_statistics([a])
    assert float(regularizer(same, same, 2.0, 5.0).total) == 0
    v, cat = (torch.rand(2, 3, 10, requires_grad=True) for _ in range(2))
    regularizer(stack_statistics([v]), stack_statistics([cat]), 2.0, 5.0).total.backward()
    assert v.grad.abs().sum() > 0 and cat.grad.abs().sum() > 0


def test_several_tokens_at_once_are_each_token_alone():
    maps = [torch.rand(2, 3, q, 2) for q in (16, 64)]
    both = stack_statistics(maps)
    assert both.mean.shape == (2, 2, 2)
    for token in (0, 1):
        alone = stack_statistics([m[..., token] for m in maps])
        torch.testing.assert_close(tuple(both.of(token)), tuple(alone))


def test_a_category_of_several_pieces_has_the_mean_of_their_statistics():
    """Of the pieces' statistics, by hand; those of the mean map are flatter."""
    maps = torch.tensor([[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]], requires_grad=True)
    pieces = [stack_statistics([m.reshape(1, 2, 2)]) for m in maps]
    category = mean_statistics(pieces)
    assert category.mean.shape == (1, 1) and float(category.mean.detach()) == 0.5
    var = float(category.var.detach())
    assert var == pytest.approx(1 / 3)  # of each piece, and so of their mean
    flat = map_statistics(maps.detach().mean(0).reshape(1, 2, 2))
    assert float(flat.mean) == 0.5 and float(flat.var) == pytest.approx(1 / 6)
    category.var.sum().backward()
    assert (maps.grad.abs().sum(1) > 0).all()  # gradient reaches every piece
    assert mean_statistics(pieces[:1]) is pieces[0]
    with pytest.raises(ValueError, match="no token"):
        mean_statistics([])


@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from(["sum", "mean"]))
@settings(max_examples=20, deadline=None)
def test_several_vectors_are_held_to_the_category_one_by_one(seed, count, reduction):
    rng = np.random.default_rng(seed)
    maps = rng.random((count + 1, 2, 3, 10)).astype(np.float32)  # tokens, layers, batch, pixels
    stats = [stack_statistics([torch.from_numpy(m)[:, None] for m in token]) for token in maps]
    found = vectors_regularizer(stats[:-1], stats[-1], 2.0, 5.0, reduction)
    each = [in_numpy(v[:, :, None], maps[-1][:, :, None], 2.0, 5.0) for v in maps[:-1]]
    expected = np.mean(each) / (3 if reduction == "mean" else 1)
    np.testing.assert_allclose(float(found.total), expected, rtol=1e-4, atol=1e-8)


def test_one_vector_is_the_regularizer_to_the_bit_and_two_that_err_to_both_sides_do_not_cancel():
    v, category = (stack_statistics([torch.rand(2, 3, 10)]) for _ in range(2))
    one, plain = vectors_regularizer([v], category, 2.0, 5.0), regularizer(v, category, 2.0, 5.0)
    assert all(torch.equal(a, b) for a, b in zip(one, plain, strict=True))
    off = torch.full((1, 2), 0.2)
    sides = [Statistics(category.mean + s * off, category.var) for s in (-1, 1)]
    assert float(vectors_regularizer(sides, category, 2.0, 0.0).total) > 0.05
    with pytest.raises(ValueError, match="no vector"):
        vectors_regularizer([], category, 2.0, 5.0)


def test_statistics_are_float32_whatever_comes_in():
    s = map_statistics(torch.rand(1, 2, 300).bfloat16())
    assert s.mean.dtype == s.var.dtype == torch.float32


def test_bad_input():
    one = Statistics(torch.rand(2, 3), torch.rand(2, 3))
    with pytest.raises(ValueError, match="must be \\(batch, heads, pixels\\)"):
        map_statistics(torch.rand(3, 4))
    with pytest.raises(ValueError, match="at least two numbers"):
        map_statistics(torch.rand(3, 1, 1))
    with pytest.raises(ValueError, match="nothing to regularize"):
        stack_statistics([])
    with pytest.raises(ValueError, match="must both be"):
        regularizer(one, Statistics(torch.rand(1, 3), torch.rand(1, 3)), 1, 1)
    with pytest.raises(ValueError, match="must not be negative"):
        regularizer(one, one, -1, 1)
    with pytest.raises(ValueError, match="unknown reduction 'max'"):
        regularizer(one, one, 1, 1, "max")
