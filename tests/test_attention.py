"""Attention capture: the two paths agree, nothing else changes, everything is restored."""

import pytest
import torch
from models import TOKENS, inputs, tiny_unet

from adb_core.attention import (
    PATHS,
    capture_attention,
    cross_attention_layers,
    fused_attention,
    oracle_attention,
    selection,
)


def run(unet, tokens, path, x, t, text, **kw):
    with capture_attention(unet, tokens, path=path, **kw) as capture:
        out = unet(x, t, encoder_hidden_states=text).sample
    return out, capture.layers


@pytest.mark.parametrize("kind", ["sd15", "sd21"])
@pytest.mark.parametrize("path", PATHS)
def test_capture_does_not_change_the_output(kind, path):
    unet, (x, t, text) = tiny_unet(kind), inputs()
    plain = unet(x, t, encoder_hidden_states=text).sample
    out, layers = run(unet, [2, 5], path, x, t, text)
    torch.testing.assert_close(out, plain, rtol=0, atol=1e-5)
    assert set(layers) == set(cross_attention_layers(unet)) and len(layers) == 16


@pytest.mark.parametrize("kind", ["sd15", "sd21"])
def test_fused_equals_oracle_in_outputs_and_gradients(kind):
    unet, (x, t, text) = tiny_unet(kind), inputs()
    results = []
    for path in PATHS:
        unet.zero_grad()
        words = text.clone().requires_grad_()
        out, layers = run(unet, [2, 5], path, x, t, words)
        loss = out.square().mean() + sum(
            (c[..., 0].mean() - c[..., 1].var()).square() for c in layers.values()
        )
        loss.backward()
        results.append(
            (
                out,
                layers,
                [p.grad.clone() for p in unet.parameters() if p.grad is not None],
                words.grad,
            )
        )
    (out_a, maps_a, grads_a, words_a), (out_b, maps_b, grads_b, words_b) = results
    torch.testing.assert_close(out_a, out_b, rtol=0, atol=1e-5)
    torch.testing.assert_close(words_a, words_b, rtol=1e-4, atol=1e-5)
    assert len(grads_a) == len(grads_b)
    for a, b in zip(grads_a, grads_b, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    for name in maps_a:
        torch.testing.assert_close(maps_a[name], maps_b[name], rtol=0, atol=1e-5)


def test_all_columns_are_probabilities():
    unet, (x, t, text) = tiny_unet(), inputs()
    _, layers = run(unet, range(TOKENS), "fused", x, t, text)
    for columns in layers.values():
        torch.testing.assert_close(
            columns.sum(-1), torch.ones(columns.shape[:-1]), rtol=0, atol=1e-5
        )
        assert (columns > 0).all()


@pytest.mark.parametrize("path", PATHS)
def test_a_group_is_the_mean_of_its_pieces_and_positions_may_differ_per_sample(path):
    unet, (x, t, text) = tiny_unet(), inputs()
    _, single = run(unet, [1, 3, 4], path, x, t, text)
    _, grouped = run(unet, selection(TOKENS, [[1], [3, 4]]), path, x, t, text)
    _, per_sample = run(unet, torch.tensor([[1], [3], [4]]), path, x, t, text)
    for name in single:
        torch.testing.assert_close(
            grouped[name][..., 1], single[name][..., 1:].mean(-1), rtol=0, atol=1e-6
        )
        for b in range(3):
            torch.testing.assert_close(
                per_sample[name][b, ..., 0], single[name][b, ..., b], rtol=0, atol=1e-6
            )


def test_kernels_agree_with_a_mask_and_uneven_sizes():
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 5, generator=g) for n in (17, 7, 7))
    s = selection(7, [[0], [2, 3], [6]])[None, None]
    mask = torch.zeros(2, 1, 1, 7)
    mask[:, ..., 4] = -1e4
    for m in (None, mask):
        for a, b in zip(
            oracle_attention(q, k, v, s, 0.3, m), fused_attention(q, k, v, s, 0.3, m), strict=True
        ):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_conditional_half_is_the_second_half(path):
    unet, (x, t, text) = tiny_unet(), inputs(4)
    _, everything = run(unet, [2], path, x, t, text)
    _, half = run(unet, [2], path, x, t, text, conditional_half=True)
    _, per_sample = run(unet, torch.tensor([[2], [2]]), path, x, t, text, conditional_half=True)
    for name in everything:
        torch.testing.assert_close(half[name], everything[name][2:], rtol=0, atol=0)
        torch.testing.assert_close(per_sample[name], everything[name][2:], rtol=0, atol=0)


def test_processors_and_hooks_are_restored_even_after_an_exception():
    unet = tiny_unet()
    before = {name: id(p) for name, p in unet.attn_processors.items()}
    with pytest.raises(RuntimeError, match="inside"):
        with capture_attention(unet, [1]):
            raise RuntimeError("inside")
    with capture_attention(unet, [1]):
        pass
    assert {name: id(p) for name, p in unet.attn_processors.items()} == before
    assert not unet._forward_pre_hooks


def test_self_attention_keeps_its_processor():
    unet = tiny_unet()
    before = unet.attn_processors
    with capture_attention(unet, [1]):
        for name, processor in unet.attn_processors.items():
            if "attn1" in name:
                assert processor is before[name]


@pytest.mark.parametrize("path", PATHS)
def test_gradient_checkpointing_captures_once_with_the_same_gradients(path):
    x, t, text = inputs()
    results = []
    for checkpointing in (False, True):
        unet = tiny_unet().train()
        if checkpointing:
            unet.enable_gradient_checkpointing()
        with capture_attention(unet, [2, 5], path=path) as capture:
            unet(x, t, encoder_hidden_states=text)
            kept = capture.layers
            first = {name: columns.data_ptr() for name, columns in kept.items()}
            sum((c[..., 0].mean() - c[..., 1].mean()).square() for c in kept.values()).backward()
            assert {name: columns.data_ptr() for name, columns in capture.layers.items()} == first
        results.append([p.grad for p in unet.parameters() if p.grad is not None])
    assert len(results[0]) == len(results[1]) > 0
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_gradient_only_when_asked():
    unet, (x, t, text) = tiny_unet(), inputs()
    _, layers = run(unet, [1], "fused", x, t, text, grad=False)
    assert not any(c.requires_grad for c in layers.values())


@pytest.mark.parametrize("path", PATHS)
def test_bf16_autocast(path):
    unet, (x, t, text) = tiny_unet(), inputs()
    _, exact = run(unet, [1, 2], "oracle", x, t, text)
    with torch.autocast("cpu", torch.bfloat16):
        out, layers = run(unet, [1, 2], path, x, t, text)
    assert torch.isfinite(out).all()
    for name in exact:
        torch.testing.assert_close(layers[name].float(), exact[name], rtol=0.1, atol=0.02)


def test_every_forward_starts_afresh():
    unet, (x, t, text) = tiny_unet(), inputs()
    with capture_attention(unet, [1]) as capture:
        unet(x, t, encoder_hidden_states=text)
        first = capture.layers
        unet(x + 1, t, encoder_hidden_states=text)
        assert capture.layers is not first and len(first) == len(capture.layers)
        assert any(not torch.equal(first[n], capture.layers[n]) for n in first)


def test_bad_input_names_the_cure():
    unet, (x, t, text) = tiny_unet(), inputs()
    with pytest.raises(
        ValueError, match="no cross-attention layer matches: this U-Net has down_blocks"
    ):
        capture_attention(unet, [1], layers=lambda name: False)
    with pytest.raises(ValueError, match="unknown path 'flash'"):
        capture_attention(unet, [1], path="flash")
    with pytest.raises(ValueError, match="outside the prompt of 11"):
        selection(11, [[11]])
    with pytest.raises(ValueError, match="group 1 is empty"):
        selection(11, [[1], []])
    with pytest.raises(ValueError, match="selection is for 9 tokens but the text has 11"):
        run(unet, selection(9, [[1]]), "fused", x, t, text)


def test_layers_can_be_chosen_by_name():
    unet, (x, t, text) = tiny_unet(), inputs()
    _, layers = run(unet, [1], "fused", x, t, text, layers=lambda name: name.startswith("mid"))
    assert len(layers) == 1 and next(iter(layers)).startswith("mid_block")
