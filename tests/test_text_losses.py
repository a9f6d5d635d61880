"""CoRe's terms in both forms, and the key lock: equal to slow twins, and right in the engine."""

from dataclasses import replace

import pytest
import torch
from models import make_learner, short, tiny_base, tiny_concept
from test_map_losses import layers, same

from adb_core import text_losses as t
from adb_core.attention import capture_attention, cross_attention_layers
from adb_core.engine import TrainingError
from adb_core.learner import Learner
from adb_core.losses import draw_batch, forward, losses, step_rng
from adb_core.personalization import Run, personalize
from adb_core.recipes import Recipe, Stage, recipe

STAGE = Stage("s", ("embedding",), 1, 1e-3, 2)


def states(seed: int, n: int = 5, d: int = 7) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g).requires_grad_()


def cosine(a, b):
    return (a * b).sum() / (a.norm() * b.norm())


def test_the_papers_embedding_term_goes_word_by_word():
    def slow(pair):
        words = [1 - cosine(a, b) for a, b in zip(*pair, strict=True)]
        return sum(words) / len(words)

    same(lambda pair: t.context_embedding(*pair), slow, [states(0), states(1)])


def test_the_codes_embedding_term_goes_channel_by_channel():
    def slow(pair):
        channels = [1 - cosine(a, b) for a, b in zip(pair[0].T, pair[1].T, strict=True)]
        return sum(channels) / len(channels)

    same(lambda pair: t.context_embedding_code(*pair), slow, [states(0), states(1)])
    pair = states(0), states(1)
    assert not torch.allclose(t.context_embedding(*pair), t.context_embedding_code(*pair))


def halves(inputs):
    return inputs[: len(inputs) // 2], inputs[len(inputs) // 2 :]


def test_the_papers_attention_term_averages_layers_first():
    def slow(inputs):
        ours, theirs = halves(inputs)
        total, count = 0.0, 0
        for b in range(3):
            for n in range(2):
                means = [
                    sum(layer[b, :, :, n].mean() for layer in side) / len(side)
                    for side in (ours, theirs)
                ]
                total, count = total + (means[0] - means[1]) ** 2, count + 1
        return total / count

    same(lambda inputs: t.context_attention(*halves(inputs)), slow, layers(0) + layers(1))


def test_the_codes_attention_term_is_summed_over_the_batch():
    def slow(inputs):
        total = 0.0
        for a, b in zip(*halves(inputs), strict=True):
            for sample in range(3):
                apart = [(a[sample, :, :, n].mean() - b[sample, :, :, n].mean()) for n in range(2)]
                total = total + sum(d**2 for d in apart) / 2
        return total / 2  # layers

    same(lambda inputs: t.context_attention_code(*halves(inputs)), slow, layers(0) + layers(1))


def test_the_key_distance_and_its_twin():
    keys, targets = [states(0), states(1, d=3)], [states(2)[0], states(3, d=3)[0]]

    def slow(inputs):
        a, b = halves(inputs)
        each = [
            sum((row - y).abs().mean() for row in x) / len(x) for x, y in zip(a, b, strict=True)
        ]
        return sum(each) / len(each)

    inputs = [*keys, *(x.detach().requires_grad_() for x in targets)]
    same(lambda inputs: t.key_distance(*halves(inputs)), slow, inputs)


# ---------------------------------------------------------------- in the engine


@pytest.mark.parametrize("category, vectors", [("cat", 1), ("cat", 3), ("red fish", 1)])
def test_the_context_is_the_same_words_on_both_sides(category, vectors):
    plan = Recipe("r", (replace(STAGE, core_embedding=1.0),), subject="{v}", vectors=vectors)
    learner = Learner(tiny_base(), tiny_concept(category), plan, view_count=1)
    for lot in (0, 7, 23, 24):
        template = t.CONTEXTS[lot % len(t.CONTEXTS)]
        ours, theirs = t.contexts(learner, lot)
        words = [
            learner.token.tokenize([template.format(word)])[0][side.others].tolist()
            for word, side in (("<pico>", ours), (category, theirs))
        ]
        assert words[0] == words[1] and len(words[0]) >= 5
        assert words[0][-1] == learner.token.tokenizer.eos_token_id
        # what stands before [V] cannot know of it
        apart = ours.states.tokens[0, ours.others] - theirs.states.tokens[0, theirs.others]
        same_so_far = template.split("{}")[0].split()
        assert apart[: 1 + len(same_so_far)].abs().max() < 1e-5


def one_step(stage: Stage, **changes):
    """The losses of one batch, as training computes them."""
    learner = make_learner(Recipe("r", (stage,), **changes))
    batch = draw_batch(learner.latents, 1, 2, 1000, step_rng(0, 0, 0))
    ids = learner.token.tokenize([learner.prompt("a photo of a {}")])
    own = learner.token.own_positions(ids[0])
    with learner.token.trainable(), capture_attention(learner.unet, [own[0]]) as capture:
        learner.token.rows.requires_grad_(True)
        with torch.no_grad():
            noise = torch.Generator().manual_seed(0)
            learner.token.rows.add_(torch.randn(learner.token.rows.shape, generator=noise))
        passed = forward(learner, batch, learner.token.states(ids).repeat(2), capture)
        found = losses(stage, passed)
        gradients = {
            name: torch.autograd.grad(value, learner.token.rows, retain_graph=True)[0]
            for name, value in found.further.items()
        }
    return found, gradients, learner, passed


def test_all_of_core_reaches_the_row_and_leaves_the_rest_as_it_was():
    names = ("core_embedding", "core_embedding_code", "core_attention", "core_attention_code")
    stage = replace(STAGE, **{name: 1.0 for name in names})
    found, gradients, learner, _ = one_step(stage, subject="{v}")
    assert set(found.further) == set(names)
    assert all(value.detach() > 0 for value in found.further.values())
    assert all(gradient.abs().sum() > 0 for gradient in gradients.values())
    processors = {type(m.processor).__name__ for m in cross_attention_layers(learner.unet).values()}
    assert processors == {"AttnProcessor2_0"}


def test_a_row_that_is_the_categorys_own_costs_nothing():
    """At the start [V] is the category: states and attention around it are the same."""
    stage = replace(STAGE, core_embedding=1.0, core_attention=1.0, key_lock=1.0)
    plan = Recipe("r", (stage,), subject="{v}")
    history = personalize(tiny_base(), tiny_concept(), plan, view_count=1).history
    assert all(abs(value) < 1e-6 for value in history[0].further.values()), history[0].further


def test_the_key_lock_holds_keys_to_the_untrained_categorys():
    stage = replace(STAGE, key_lock=1.0)
    found, gradients, learner, passed = one_step(stage)
    ids = learner.token.tokenize(["a photo of a <pico> cat", "a photo of a cat"])
    plain = learner.base.encode_prompts(ids[1:], learner.text).tokens
    v, cat = learner.token.own_positions(ids[0])[0], learner.token.own_positions(ids[0])[0]
    each = [
        (module.to_k(passed.states.tokens[:, v]) - module.to_k(plain[0, cat])).abs().mean()
        for module in cross_attention_layers(learner.base.unet).values()
    ]
    torch.testing.assert_close(found.further["key_lock"], torch.stack(each).mean())
    assert gradients["key_lock"].abs().sum() > 0


def test_core_and_checkpointed_gradients_do_not_go_together():
    plan = short(recipe("core"), steps=1)
    run = Run(tiny_base(), tiny_concept(), plan, view_count=1, gradient_checkpointing=True)
    with pytest.raises(TrainingError, match="train without it, or with another recipe"):
        run.finish()


def test_custom_diffusion_moves_keys_values_and_the_row():
    base = tiny_base()
    before = {name: p.clone() for name, p in base.unet.named_parameters()}
    result = personalize(base, tiny_concept(), short(recipe("custom_diffusion"), 1), view_count=1)
    moved = {n for n, p in result.unet.named_parameters() if not torch.equal(p, before[n])}
    assert moved and all(".attn2.to_k." in name or ".attn2.to_v." in name for name in moved)
    assert len(moved) == 2 * len(cross_attention_layers(base.unet))
    assert not torch.equal(result.token.rows, result.token.initial)
    assert result.history[0].prior > 0
