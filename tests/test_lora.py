"""LoRA: adapters over a base that stays as it is; files that plain diffusers reads."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from models import folder_of, make_learner, short, tiny_base, tiny_concept, weights
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from adb_core import lora
from adb_core.base import load_base
from adb_core.checkpoint import CHECKPOINT, Progress, save_checkpoint
from adb_core.engine import TrainingError
from adb_core.generation import generate
from adb_core.learner import Learner
from adb_core.loading import BaseModelError
from adb_core.personalization import Run, personalize
from adb_core.recipes import Lora, Recipe, Stage, recipe
from adb_core.recipes.lora import ATTENTION, WHOLE
from adb_core.recording import record
from adb_core.result import EMBEDDINGS, load_result

pytest.importorskip("peft", reason="LoRA needs the package peft")

PLAN = replace(
    short(recipe("attndreambooth_lora")), lora=Lora(3, 6.0, ATTENTION + r"|mid_block.*conv1")
)
PROMPT = "a photo of a {}"


def copies(module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def assert_same(before, module) -> None:
    after = dict(module.named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


# ---------------------------------------------------------------- adapters


def test_fresh_adapters_compute_what_the_base_does_and_share_its_weights():
    base = tiny_base("sd21")
    before = copies(base.unet)
    unet = lora.adapted(base.unet, PLAN.lora)
    latents, times = torch.randn(2, 4, 16, 16), torch.tensor([3, 700])
    text = torch.randn(2, 11, 12)
    with torch.no_grad():
        assert torch.equal(
            unet(latents, times, encoder_hidden_states=text).sample,
            base.unet(latents, times, encoder_hidden_states=text).sample,
        )
    assert_same(before, base.unet)  # no adapter, and no other name, is in the base
    shared = {p.data_ptr() for p in base.unet.parameters()}
    own = {n for n, p in unet.named_parameters() if p.data_ptr() not in shared}
    assert own == lora.adapter_parameters(unet).keys() and own


def test_the_seed_alone_decides_how_adapters_begin():
    unet = tiny_base().unet
    state = torch.get_rng_state()
    one, two, other = (lora.adapter_parameters(lora.adapted(unet, PLAN.lora, s)) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert all(not p.any() for name, p in one.items() if ".lora_B." in name)


def test_stages_train_the_adapters_that_they_name_and_nothing_else():
    learner = make_learner(replace(PLAN, lora=Lora(2, 2.0, WHOLE)))
    named = [set(learner.parameters(stage)) for stage in PLAN.stages]
    assert named[0] == {"token.rows"}
    assert named[1] == {n for n in named[2] if ".attn2." in n} and named[1] < named[2]
    assert all(".lora_" in n for n in named[2])
    kinds = {n.split(".lora_")[0].rsplit(".", 1)[-1] for n in named[2]}
    assert {"to_q", "to_k", "to_v", "conv1", "time_emb_proj", "proj", "proj_in"} <= kinds


def test_the_first_stage_is_that_of_the_recipe_without_lora():
    """Adapters that nothing has trained must not change a bit of what the others learn."""
    rows = []
    for plan in (short(recipe("attndreambooth")), PLAN):
        plan = replace(plan, stages=plan.stages[:1])
        rows.append(personalize(tiny_base(), tiny_concept(), plan, view_count=2).token.rows)
    assert torch.equal(*rows)


def test_gradients_are_those_of_the_update_written_out():
    """The oracle: W x + (alpha / rank) B A x, with plain matrices."""
    unet = lora.adapted(tiny_base("sd21").unet, Lora(3, 6.0, r".*\.attn2\.to_k"))
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    layer = unet.get_submodule(name)
    a, b = (layer.get_submodule(f"lora_{x}.default").weight for x in "AB")
    b.data.normal_()
    x = torch.randn(5, 12)
    wanted_a, wanted_b = (w.detach().clone().requires_grad_(True) for w in (a, b))
    wanted = x @ layer.base_layer.weight.T + 2.0 * (x @ wanted_a.T @ wanted_b.T)
    wanted.square().sum().backward()
    for w in (a, b):
        w.requires_grad_(True)
    found = layer(x)
    found.square().sum().backward()
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(a.grad, wanted_a.grad)
    torch.testing.assert_close(b.grad, wanted_b.grad)


# ---------------------------------------------------------------- runs


@pytest.mark.parametrize("kind", ["sd15", "sd21"])
def test_a_run_changes_its_adapters_alone_and_draws_records_and_regularizes(kind):
    base = tiny_base(kind)
    before = {name: copies(part) for name, part in base.parts.items()}
    result = personalize(base, tiny_concept(), PLAN, view_count=2, in_place=True)
    for name, part in base.parts.items():
        assert_same(before[name], part)
    assert all(p.any() for n, p in lora.adapter_parameters(result.unet).items())
    assert any(r.mean_part + r.var_part > 0 for r in result.history if r.stage != "alignment")
    assert all(len(r.v_mean) == len(r.layers) > 0 for r in result.history)
    plain = generate(base, "a photo of a cat", [3], steps=2)
    drawn = generate(result, PROMPT, [3], steps=2, maps=True)
    assert drawn.maps is not None and drawn.images.shape == plain.images.shape
    recorded = record(result, PROMPT, seed=3, steps=2)
    assert np.abs(recorded.image.astype(int) - drawn.images[0]).max() <= 1


def test_checkpoints_hold_adapters_alone_and_resumed_equals_uninterrupted(tmp_path):
    straight = personalize(tiny_base(), tiny_concept(), PLAN, view_count=2, seed=4)
    for stop in (1, 3):  # the adapters are fresh; some of them are trained
        out = tmp_path / str(stop)
        for count, _ in enumerate(
            Run(tiny_base(), tiny_concept(), PLAN, view_count=2, seed=4, out=out), 1
        ):
            if count == stop:
                break
        with safe_open(str(out / CHECKPOINT), "pt") as file:
            assert all(".lora_" in n for n in file.keys() if "unet." in n)
        run = Run(tiny_base(), tiny_concept(), PLAN, view_count=2, seed=4, out=out)
        assert run.at.stage * 2 + run.at.step == stop
        found, wanted = weights(run.finish().learner), weights(straight.learner)
        assert all(torch.equal(found[n], wanted[n]) for n in wanted), stop


def test_adapters_stay_in_float32_over_a_base_in_bfloat16():
    base = tiny_base()
    for part in base.parts.values():
        part.to(torch.bfloat16)
    base.dtype = torch.bfloat16
    before = copies(base.unet)
    result = personalize(base, tiny_concept(), PLAN, view_count=2)
    assert_same(before, base.unet)
    assert {p.dtype for p in lora.adapter_parameters(result.unet).values()} == {torch.float32}
    assert all(np.isfinite(r.loss) for r in result.history)
    assert generate(result, PROMPT, steps=1).images.std() > 0
    with pytest.raises(TrainingError, match="or train a recipe with LoRA"):
        Learner(base, tiny_concept(), short(recipe("dreambooth")), view_count=1)


def test_gradient_checkpointing_gives_the_same_adapters():
    plain, saving = (
        personalize(tiny_base(), tiny_concept(), PLAN, view_count=2, gradient_checkpointing=g)
        for g in (False, True)
    )
    for a, b in zip(plain.history, saving.history, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-5)
    a, b = (lora.adapter_parameters(r.unet) for r in (plain, saving))
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- files


def plain_pipeline(folder, monkeypatch):
    """What a reader of the card gets by running its lines, all but the one that draws."""
    from diffusers import DPMSolverMultistepScheduler

    (code,) = re.findall(r"```python\n(.+?)```", (folder / "README.md").read_text(), re.S)
    assert "adb" not in code
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(code.rsplit("pipeline(", 1)[0], names)
    pipeline = names["pipeline"]
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    return pipeline


@pytest.mark.parametrize("vectors", [1, 3])
def test_plain_diffusers_draws_the_same(tmp_path, vectors, monkeypatch):
    base = folder_of(tiny_base("sd21"), tmp_path / "base")
    # learning rates with which the adapters, and their alpha, are seen in the picture
    stages = tuple(replace(s, lr=0.03, steps=1) for s in PLAN.stages)
    plan = replace(PLAN, vectors=vectors, stages=stages)
    result = personalize(load_base(str(base)), tiny_concept(), plan, view_count=1)
    folder = result.save_pretrained(tmp_path / "model")
    pipeline = plain_pipeline(folder, monkeypatch)
    loaded = load_result(folder)

    # every part computes the same, to the bit
    ids = result.token.tokenize([result.learner.prompt(PROMPT)])
    latents, text = torch.randn(1, 4, 16, 16), torch.randn(1, 11, 12)
    with torch.no_grad():
        for encoder in (pipeline.text_encoder, loaded.text.encoders[0]):
            assert torch.equal(encoder(ids).last_hidden_state, result.token.encode(ids))
        wanted = result.unet(latents, 500, encoder_hidden_states=text).sample
        for unet in (pipeline.unet, loaded.unet):
            assert torch.equal(unet(latents, 500, encoder_hidden_states=text).sample, wanted)
        plain = result.base.unet(latents, 500, encoder_hidden_states=text).sample
        assert (plain - wanted).abs().max() > 0.01
        whole = lora.merged(result.unet)(latents, 500, encoder_hidden_states=text).sample
        torch.testing.assert_close(whole, wanted, rtol=1e-4, atol=1e-5)

    # and so do the pictures, but for the last of 256 levels: weights may lie otherwise in memory
    ours = generate(result, PROMPT, [5], steps=2, guidance=5.0).images[0].astype(int)
    call = {"num_inference_steps": 2, "guidance_scale": 5.0, "output_type": "np"}
    call["generator"] = [torch.Generator().manual_seed(5)]
    theirs = pipeline(result.learner.prompt(PROMPT), **call).images[0]
    assert np.abs((theirs * 255).round() - ours).max() <= 1
    again = generate(loaded, PROMPT, [5], steps=2, guidance=5.0).images[0]
    assert np.abs(again - ours).max() <= 1


def test_two_encoders_load_in_plain_diffusers_too(tmp_path, monkeypatch):
    from two_encoders import two_encoder_base

    base = load_base(str(folder_of(two_encoder_base(), tmp_path / "base")))
    stages = (replace(PLAN.stages[0], lr=0.1, steps=1), replace(PLAN.stages[2], lr=0.03, steps=1))
    plan = replace(PLAN, vectors=2, stages=stages, lora=Lora(2, 6.0))
    result = personalize(base, tiny_concept(), plan, view_count=1)
    folder = result.save_pretrained(tmp_path / "model")
    pipeline, loaded = plain_pipeline(folder, monkeypatch), load_result(folder)
    call = {"num_inference_steps": 1, "guidance_scale": 5.0, "output_type": "latent"}
    drawn = []
    for each in (result.pipeline(), loaded.pipeline(), pipeline):
        generator = torch.Generator().manual_seed(5)
        drawn.append(each(result.learner.prompt(PROMPT), generator=generator, **call).images)
    for other in drawn[1:]:
        torch.testing.assert_close(other, drawn[0], rtol=1e-4, atol=1e-4)
    base_alone = base.pipeline()(
        "a photo of a cat", generator=torch.Generator().manual_seed(5), **call
    )
    assert (base_alone.images - drawn[0]).abs().max() > 0.01


def test_the_bundled_model_from_the_command_line(tmp_path, monkeypatch):
    from command_line import run as adb

    from adb_core.images import read_image
    from adb_core.system.paths import data_path

    monkeypatch.chdir(tmp_path)
    quick = ["--steps-scale", "0.001", "--views", "1", "--quiet", "--device", "cpu"]
    how = ["--recipe", "attndreambooth_lora", "--lr-scale", "20", "--mixed-precision", "no"]
    how += ["--rank", "3"]
    done = adb("train", "--concept", "pico", "--out", "out", *quick, *how)
    assert done.exit_code == 0, done.output
    names = {p.name for p in (tmp_path / "out/model").iterdir()}
    assert names == {"README.md", "adb.json", EMBEDDINGS, lora.WEIGHTS}
    drawing = ["--model", "out", "--seed", "5", "--steps", "2", "--guidance", "5", "--quiet"]
    done = adb("generate", PROMPT, *drawing, "--out", "a.png")
    assert done.exit_code == 0, done.output

    # the card names the bundled model by its place in the repository
    folder = tmp_path / "out/model"
    card = (folder / "README.md").read_text()
    assert "rank 3, alpha 3" in card
    (folder / "README.md").write_text(card.replace("data/tiny-sd", str(data_path("tiny-sd"))))
    pipeline = plain_pipeline(folder, monkeypatch)
    call = {"num_inference_steps": 2, "guidance_scale": 5.0, "output_type": "np"}
    image = pipeline("a photo of a <pico> cat", generator=torch.Generator().manual_seed(5), **call)
    ours = read_image(tmp_path / "a.png").astype(int)
    assert np.abs((image.images[0] * 255).round() - ours).max() <= 1


def test_the_base_may_be_in_half_precision_from_the_command_line(tmp_path, monkeypatch):
    """Half the memory for what stays as it is; adapters, and what is saved, stay in float32."""
    from command_line import run as adb

    from adb_core import base

    loaded, real = [], base.load_base

    def load(*arguments, **how):
        loaded.append(real(*arguments, **how))
        return loaded[-1]

    monkeypatch.setattr(base, "load_base", load)
    monkeypatch.chdir(tmp_path)
    quick = ["--steps-scale", "0.001", "--views", "1", "--quiet", "--device", "cpu"]
    how = ["--recipe", "lora_dreambooth", "--mixed-precision", "no", "--dtype", "bfloat16"]
    done = adb("train", "--concept", "pico", "--out", "out", *quick, *how)
    assert done.exit_code == 0, done.output
    assert {p.dtype for p in loaded[0].vae.parameters()} == {torch.bfloat16}
    found = load_file(tmp_path / "out/model" / lora.WEIGHTS)
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    drawing = ["--steps", "1", "--quiet", "--device", "cpu", "--out", "a.png"]
    assert adb("generate", PROMPT, "--model", "out", *drawing).exit_code == 0
    again = load_result(tmp_path / "out/model", device="cpu")
    assert again.base.dtype == torch.bfloat16
    with pytest.raises(BaseModelError, match="adapters over a base in bfloat16: leave --dtype out"):
        load_result(tmp_path / "out/model", device="cpu", dtype=torch.float32)
    done = adb("generate", "a cat", "--dtype", "bfloat16", *drawing)
    assert done.exit_code == 0 and loaded[-1].unet.dtype == torch.bfloat16, done.output


def test_merged_adapters_are_a_whole_model(tmp_path):
    result = personalize(tiny_base("sd21"), tiny_concept(), PLAN, view_count=1)
    before = copies(result.unet)
    whole = load_result(result.save_pretrained(tmp_path / "whole", merge=True))
    assert_same(before, result.unet)  # merging leaves what it was made from
    assert not lora.adapter_parameters(whole.unet) and "adapters" not in whole.info
    ours, theirs = (generate(r, PROMPT, [5], steps=2).images[0] for r in (result, whole))
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_a_saved_folder_is_small_and_names_its_base(tmp_path):
    result = personalize(tiny_base("sd21"), tiny_concept(), PLAN, view_count=2)
    folder = result.save_pretrained(tmp_path / "model")
    names = {p.name for p in folder.iterdir()}
    assert names == {"README.md", "adb.json", EMBEDDINGS, lora.WEIGHTS}
    numbers = sum(p.numel() for p in lora.adapter_parameters(result.unet).values())
    size = (folder / lora.WEIGHTS).stat().st_size
    assert 4 * numbers <= size <= 4 * numbers + 64 * 1024
    with safe_open(str(folder / lora.WEIGHTS), "pt") as file:
        header = json.loads(file.metadata()[lora.METADATA])
    assert (header["unet.r"], header["unet.lora_alpha"]) == (3, 6.0)
    card = (folder / "README.md").read_text()
    assert "load_lora_weights" in card and "rank 3, alpha 6" in card and "- lora" in card


def test_adapters_trained_at_another_size_draw_at_it(tmp_path):
    base = tiny_base()
    plan = replace(PLAN, stages=tuple(replace(s, steps=1) for s in PLAN.stages))
    result = personalize(base, tiny_concept(), plan, view_count=1, resolution=16)
    folder = result.save_pretrained(tmp_path / "m")
    loaded = load_result(folder, base=base)
    for each, side in ((result, 16), (loaded, 16), (base, 32)):
        prompt = "a cat" if each is base else PROMPT
        assert generate(each, prompt, steps=1).images.shape[1:3] == (side, side)
    assert "height=16, width=16)" in (folder / "README.md").read_text()


def test_a_loaded_result_shares_its_base(tmp_path):
    base = tiny_base("sd21")
    folder = personalize(base, tiny_concept(), PLAN, view_count=2).save_pretrained(tmp_path / "m")
    before = {name: copies(part) for name, part in base.parts.items()}
    loaded = load_result(folder, base=base)
    for name, part in base.parts.items():
        assert_same(before[name], part)
    parts = (base.unet, *base.text.encoders)
    held = {p.data_ptr() for part in parts for p in part.parameters()}
    mine = [*loaded.unet.named_parameters(), *loaded.text.encoders[0].named_parameters()]
    new = {n for n, p in mine if p.data_ptr() not in held}
    assert all(".lora_" in n or "token_embedding" in n for n in new)
    with pytest.raises(BaseModelError, match="adapters of another model than random"):
        load_result(folder, base=tiny_base("sd21", seed=3))
    with pytest.raises(BaseModelError, match="adapters for the model random, which is not there"):
        load_result(folder)


@pytest.mark.parametrize(
    "harm, says",
    [
        ("gone", "there are no adapters at"),
        ("cut", "is damaged"),
        ("no header", "is damaged"),
        ("a key less", "does not fit this model"),
        ("another shape", "does not fit this model"),
        ("zero", "changes nothing"),
    ],
)
def test_adapters_that_would_silently_do_less_are_refused(tmp_path, harm, says):
    base = tiny_base("sd21")
    unet = lora.adapted(base.unet, PLAN.lora)
    for p in lora.adapter_parameters(unet).values():
        p.data.fill_(0.1)
    path = tmp_path / lora.WEIGHTS
    lora.save_adapters(path, unet, PLAN.lora)
    assert lora.adapter_parameters(lora.load_adapters(path, base.unet))
    tensors = load_file(path)
    with safe_open(str(path), "pt") as file:
        header = file.metadata()
    first = next(n for n in tensors if "lora_B" in n)
    if harm == "gone":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:500])
    elif harm == "no header":
        save_file(tensors, path)
    else:
        if harm == "a key less":
            del tensors[first]
        elif harm == "another shape":
            tensors[first] = torch.ones(7, 3)
        else:
            tensors = {n: t * ("lora_A" in n) for n, t in tensors.items()}
        save_file(tensors, path, metadata=header)
    with pytest.raises(BaseModelError, match=says) as caught:
        lora.load_adapters(path, base.unet)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    "numbers, says",
    [
        ((0,), "LoRA rank must be a whole number of at least 1, got 0"),
        ((-4,), "LoRA rank must be"),
        ((2.5,), "LoRA rank must be"),
        ((4, 0), "LoRA alpha must be positive and finite, got 0"),
        ((4, -1.0), "LoRA alpha must be"),
        ((4, float("nan")), "LoRA alpha must be"),
        ((4, 4.0, "("), "are no regular expression"),
    ],
)
def test_numbers_that_no_adapter_can_have(numbers, says):
    with pytest.raises(ValueError, match=says) as caught:
        Lora(*numbers)
    assert "\n" not in str(caught.value)


def no_work(monkeypatch):
    def encode(*_):
        raise AssertionError("pictures were encoded before the mistake was found")

    monkeypatch.setattr("adb_core.learner.encode_views", encode)


def test_targets_that_match_nothing_and_a_missing_peft_are_found_before_any_work(monkeypatch):
    no_work(monkeypatch)
    with pytest.raises(TrainingError, match="match no layer of this U-Net: write an expression"):
        make_learner(replace(PLAN, lora=Lora(targets="nothing")))
    monkeypatch.setattr(lora.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="peft, which is not installed: pip install peft"):
        make_learner(PLAN)


def test_a_missing_peft_is_found_before_the_model_loads(monkeypatch, tmp_path):
    from command_line import run as adb

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("adb_core.base.load_base", lambda *_, **__: pytest.fail("it was loaded"))
    monkeypatch.setattr(lora.importlib.util, "find_spec", lambda name: None)
    done = adb("train", "--concept", "pico", "--out", "out", "--recipe", "lora_dreambooth")
    assert (
        done.exit_code == 2 and "the recipe lora_dreambooth needs the package peft" in done.output
    )
    assert done.output.count("\n") == 1


def test_a_stage_without_adapters_of_its_own_is_refused(monkeypatch):
    no_work(monkeypatch)
    only = Lora(targets=r".*\.attn1\.to_k")
    plan = Recipe("odd", (Stage("attention", ("cross_attention",), 1, 1e-3),), lora=only)
    with pytest.raises(TrainingError, match="leave stage 'attention' nothing to train"):
        make_learner(plan)


def test_a_checkpoint_of_another_rank_is_refused(tmp_path):
    from adb_core.checkpoint import CheckpointError, load_checkpoint

    path = tmp_path / CHECKPOINT
    save_checkpoint(path, make_learner(PLAN), Progress(1, 0))
    with pytest.raises(CheckpointError, match="another recipe"):
        load_checkpoint(path, make_learner(replace(PLAN, lora=Lora(4, 6.0, PLAN.lora.targets))))
