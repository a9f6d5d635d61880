"""How attention is divided among all tokens of a prompt."""

import pytest
import torch
from models import short, tiny_base, tiny_concept

from adb_core import plots
from adb_core.generation import PromptError, generate
from adb_core.personalization import personalize
from adb_core.recipes import recipe
from adb_core.recording import record
from adb_core.shares import END, START, attention_shares, sums, token_groups
from adb_core.widgets.attention import token_ruler


def test_every_position_belongs_to_one_token():
    tokenizer = tiny_base().tokenizer
    groups = token_groups(tokenizer, "a photo of a garden gnome")
    names = [START, "a", "photo", "of", "a (2)", "garden", "gnome", END]
    assert list(groups) == names and len(groups["garden"]) > 1
    positions = sorted(k for group in groups.values() for k in group)
    assert positions == list(range(tokenizer.model_max_length))
    columns = sums(tokenizer.model_max_length, groups)
    assert torch.equal(columns.sum(1), torch.ones(len(columns)))


def test_shares_sum_to_one_and_are_those_of_the_maps():
    base, prompt = tiny_base(), "a photo of a cat on the beach"
    shares = attention_shares(base, prompt, seeds=[3], steps=2)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
    # every layer's map is brought to one size before it is averaged, which keeps a mean only
    # nearly: hence the tolerance
    maps = generate(base, prompt, seeds=[3], steps=2, maps=True).word_maps(0)
    for word in ("photo", "cat", "beach"):
        assert shares[word] == pytest.approx(float(maps[word].mean()), rel=0.15)


def test_a_learned_word_has_its_share():
    plan = short(recipe("dreambooth"), steps=1)
    result = personalize(tiny_base(), tiny_concept(), plan, view_count=2)
    shares = attention_shares(result, "a photo of a {}", steps=1, guidance=1)
    assert 0 < shares["<pico>"] < 1 and 0 < shares["cat"] < 1
    with pytest.raises(PromptError, match="exactly one {}"):
        attention_shares(result, "a photo", steps=1)


def test_the_stack_colors_v_and_its_category():
    from matplotlib.colors import to_hex

    parts = {"start": 0.5, "a": 0.1, "<v>": 0.2, "cat": 0.15, "end": 0.05}
    figure = plots.attention_stack({"one": parts, "two": parts}, v="<v>", category="cat")
    bars = figure.axes[0].patches
    assert len(bars) == 2 * len(parts)
    colors = [to_hex(bar.get_facecolor()).upper() for bar in bars[: len(parts)]]
    assert colors[2] == plots.V_COLOR and colors[3] == plots.CATEGORY_COLOR
    assert colors[0] == colors[4] == plots.FAINT and colors[1] not in colors[2:]
    assert "one: start 50 %" in plots.alt_text(figure)
    with pytest.raises(ValueError, match="sum to 0.500"):
        plots.attention_stack({"half": {"a": 0.5}})
    with pytest.raises(ValueError, match="no shares"):
        plots.attention_stack({})


def test_a_recording_knows_how_its_prompt_was_split():
    recording = record(tiny_base(), "a photo of a garden gnome", seed=3, steps=2, words=["gnome"])
    assert sum(recording.shares.values()) == pytest.approx(1, abs=1e-4)
    assert list(recording.shares) == list(recording.pieces)
    assert "".join(recording.pieces["garden"]) == "garden" and len(recording.pieces["garden"]) > 1
    assert recording.pieces[START] == (START,) and recording.pieces["a (2)"] == ("a",)
    shares = attention_shares(tiny_base(), "a photo of a garden gnome", seeds=[3], steps=2)
    assert recording.shares == pytest.approx(shares, abs=1e-5)
    assert next(iter(recording.layers.values())).shape[-1] == 1  # maps of the chosen word alone


def test_the_ruler_shows_every_piece_and_share():
    text = token_ruler({START: (START,), "g<": ("g", "<")}, {START: 0.75, "g<": 0.25})
    assert "g · &lt;" in text and "75.0 %" in text and "25.0 %" in text
    assert token_ruler({}, {}) == ""
