"""Reading a model's parts from the hub or from a folder; what cannot be trained is found first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .explaining import BaseModelError, Source, explained, quiet as quiet
from .models import NAMES, find_model
from .system.fingerprints import fingerprint as hashed
from .system.paths import data_path
from .tinymodel.checks import CURE, BadFolder, check_model_folder

CHOICE = f"one of {', '.join(NAMES)}, a hub id like owner/model, or a diffusers folder"
PATIENCE = 10  # seconds that the hub has for a first answer
PREDICTIONS = ("epsilon", "v_prediction")
SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
WHAT = {  # pipelines that are often given by mistake
    "StableDiffusionXLImg2ImgPipeline": " (a refiner)",
    "StableDiffusionInpaintPipeline": " (for inpainting)",
    "StableDiffusionXLInpaintPipeline": " (for inpainting)",
}
Kinds = Mapping[str, Sequence[str]]  # pipeline -> the folders of its parts


def find_source(name: str, revision: str | None, kinds: Kinds) -> Source:
    """The bundled model, a hub id, or an existing folder, which is looked through.

    Args:
        kinds: the pipelines that can be personalized, and the folders of their parts.

    Raises:
        BaseModelError: no name, no such folder, a single file, another kind of model, or a folder
            where something is missing or damaged.
    """
    if not name.strip():
        raise BaseModelError(f"the base model has no name: give {CHOICE}")
    if name == "tiny":
        return Source(name, str(_whole(data_path("tiny-sd"), CURE, kinds)), revision)
    model = find_model(name)
    place = model.hub_id if model and model.hub_id else name
    folder = Path(place)
    if folder.is_file() or (folder.suffix in SINGLE_FILES and not folder.exists()):
        raise BaseModelError(
            f"{name} is a single file: give a diffusers folder, which "
            "StableDiffusionPipeline.from_single_file(...).save_pretrained(...) makes of a "
            ".safetensors file (a .ckpt is a pickle, which can run code)"
        )
    if folder.exists():
        check_folder(folder, kinds)
        _whole(folder, f"copy or download {name} again, or use 'tiny'", kinds)
        return Source(name, str(folder), revision)
    if place.startswith((".", "/", "~")) or place.count("/") != 1:
        raise BaseModelError(f"no folder {name!r}: give {CHOICE} that exists")
    pinned = model.revision if model and model.name == name else None
    return Source(name, place, revision or pinned, offline=not is_reachable())


def is_reachable() -> bool:
    """Whether the hub answers at all: one question, where the libraries would ask for minutes."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception:  # of whichever library asks
        return False
    return True


# ---------------------------------------------------------------- what can be trained


def _whole(folder: Path, cure: str, kinds: Kinds) -> Path:
    try:
        return check_model_folder(folder, cure, kinds)
    except BadFolder as error:
        raise BaseModelError(str(error)) from error


def check_folder(folder: Path, kinds: Kinds) -> None:
    """Find out from a folder's own words whether it holds a model that can be personalized.

    Raises:
        BaseModelError: another kind of pipeline, or weights that are not read.
    """
    try:
        kind = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # whoever checks the folder as a whole says what is wrong with it
    check_kind(str(folder), kind, kinds)
    files = (p.relative_to(folder).as_posix() for p in folder.glob("*/*"))
    check_weight_files(str(folder), files, kinds[kind])


def check_hub_files(source: Source, folders: Sequence[str]) -> None:
    """The same of a repository, by its list of files, before gigabytes of it are downloaded.

    Raises:
        BaseModelError: weights that are not read.
    """
    from huggingface_hub import HfApi

    if source.offline or Path(source.place).is_dir():
        return
    try:
        files = HfApi().list_repo_files(source.place, revision=source.revision)
    except Exception:  # a hub that has no list; what is missing is said where it is missed
        return
    check_weight_files(source.name, files, folders)


def check_kind(name: str, kind: str | None, kinds: Kinds) -> str:
    """A pipeline's name, if it is one that can be personalized.

    Raises:
        BaseModelError: it is not.
    """
    if kind in kinds:
        return str(kind)
    raise BaseModelError(
        f"{name} is a {kind}{WHAT.get(str(kind), '')}: only Stable Diffusion 1.x, 2.x and XL "
        f"for text to image ({', '.join(kinds)}) can be personalized here"
    )


def check_weight_files(name: str, files: Iterable[str], folders: Sequence[str]) -> None:
    """Find weights that are pickles, or in half precision only, by the names of all files.

    Raises:
        BaseModelError: a part has no others.
    """
    there = list(files)
    for part in folders:
        own = [file.split("/")[1] for file in there if file.startswith(f"{part}/")]
        weights = [file for file in own if ".safetensors" in file]
        if weights and all(".fp16." in file for file in weights):
            raise BaseModelError(
                f"{name}/{part} has weights in half precision only (variant fp16): "
                "download or save the float32 ones, which training needs"
            )
        if not weights and any(file.endswith(".bin") for file in own):
            raise BaseModelError(
                f"{name}/{part} has its weights as a pickle (.bin), which can run code and is "
                "never opened: download or save it as safetensors"
            )


# ---------------------------------------------------------------- configurations


class Configurations(NamedTuple):
    """What the files say of parts before their weights are read."""

    unet: dict[str, Any]
    vae: dict[str, Any]
    scheduler: dict[str, Any]


def load_index(source: Source) -> dict[str, Any]:
    """What ``model_index.json`` says of a model.

    Raises:
        BaseModelError: it cannot be read.
    """
    with explained(source):
        from diffusers import StableDiffusionPipeline

        return StableDiffusionPipeline.load_config(source.place, **source.at)


def load_configurations(source: Source) -> Configurations:
    """The configurations of U-Net, VAE and scheduler, where the files are silent their defaults.

    Raises:
        BaseModelError: one cannot be read.
    """
    with explained(source):
        from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

        return Configurations(
            UNet2DConditionModel.load_config(source.place, subfolder="unet", **source.at),
            AutoencoderKL.load_config(source.place, subfolder="vae", **source.at),
            DDPMScheduler.load_config(source.place, subfolder="scheduler", **source.at),
        )


def check_configurations(name: str, found: Configurations) -> None:
    """Find a model whose latents or noise are not those that are trained with here.

    Raises:
        BaseModelError: a U-Net for inpainting, or another noise than Stable Diffusion's.
    """
    takes, gives = found.unet.get("in_channels", 4), found.vae.get("latent_channels", 4)
    if takes != gives:
        cure = (
            "models for inpainting cannot be personalized, give one for text to image"
            if takes > gives
            else "unet/config.json is damaged, or another model's"
        )
        raise BaseModelError(
            f"{name}: its U-Net takes {takes} channels, its latents have {gives}: {cure}"
        )
    noise = str(found.scheduler.get("_class_name", ""))
    if noise.startswith(("EDM", "FlowMatch")):
        raise BaseModelError(
            f"{name} was trained with the noise of {noise}, which is not done here: "
            "give a model with the noise of Stable Diffusion, as 'sdxl'"
        )
    prediction = found.scheduler.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise BaseModelError(
            f"{name} predicts {prediction!r}: only models that predict "
            f"{' or '.join(PREDICTIONS)} can be personalized here"
        )
    if found.vae.get("latents_mean") is not None:
        raise BaseModelError(
            f"{name}: its latents are shifted by latents_mean, which is not done here: "
            "give a model with the VAE of Stable Diffusion"
        )


# ---------------------------------------------------------------- parts


def load_weights(cls: Any, source: Source, part: str, **options) -> torch.nn.Module:
    """One part with all of its weights; of a source that is hollow, without them.

    Raises:
        BaseModelError: unreadable, or tensors are missing; the libraries would go on with random
            ones.
    """
    if source.hollow:
        return _hollow(cls, source, part)
    with explained(source):
        module, info = cls.from_pretrained(
            source.place,
            subfolder=part,
            **source.at,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
    missing = sorted(info["missing_keys"])
    if missing:
        raise BaseModelError(
            f"{source.name}: the weights of its {part} lack {len(missing)} tensors "
            f"({missing[0]}, ...): download it again, or use 'tiny'"
        )
    return module


def _hollow(cls: Any, source: Source, part: str) -> torch.nn.Module:
    """A part on torch's device "meta": names and shapes of its weights, and no memory for them."""
    with explained(source), torch.device("meta"):
        if hasattr(cls, "load_config"):  # diffusers
            return cls.from_config(cls.load_config(source.place, subfolder=part, **source.at))
        return cls(cls.config_class.from_pretrained(source.place, subfolder=part, **source.at))


@torch.no_grad()
def fingerprint(modules: Iterable[torch.nn.Module], configs: Iterable[Mapping]) -> str:
    """A hash that tells models apart: all configurations, and some numbers of every tensor.

    A fine-tuned model differs from its origin in nearly all numbers of the tensors that were
    trained, so sixteen of each tell, and the largest model is done in a moment.
    """
    parts: list[bytes | str] = []
    for module in modules:
        for name, tensor in module.state_dict().items():
            flat = tensor.reshape(-1)
            some = flat[:: max(1, len(flat) // 16)].float().cpu().numpy()
            parts += [f"{name} {tuple(tensor.shape)}", some.tobytes()]
    for config in configs:
        # diffusers keeps notes of its own under "_...", in an order that changes with the process
        own = {key: value for key, value in config.items() if not key.startswith("_")}
        parts.append(json.dumps(own, sort_keys=True, default=str))
    return hashed(parts)[:16]
