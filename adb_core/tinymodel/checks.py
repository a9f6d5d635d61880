"""Is this folder the model it should be? Answered from file headers, before anything loads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

CURE = "restore it (git checkout) or make it again: python -m adb_core.pretraining"
PARTS = ("tokenizer", "text_encoder", "vae", "unet", "scheduler")
LFS = b"version https://git-lfs"  # how a file begins that git has not fetched
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # either will do
ONE_ENCODER = {"StableDiffusionPipeline": PARTS}  # pipeline -> the folders of its parts


class BadFolder(ValueError):
    """A model folder that cannot be used; the message is one line with the file and the cure."""


def check_model_folder(
    folder: str | Path, cure: str = CURE, kinds: Mapping[str, Sequence[str]] = ONE_ENCODER
) -> Path:
    """Check that ``folder`` is a whole folder of diffusers, of one of these kinds; returns it.

    Reads the JSON files and the headers of the weights, so a truncated file is found in
    milliseconds.

    Raises:
        BadFolder: not such a folder, or a part is missing or damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadFolder(f"no model folder at {folder}; {cure}")
    if not (folder / "model_index.json").is_file():
        raise BadFolder(f"{folder} is not a diffusers model: it has no model_index.json; {cure}")
    kind = _json(folder / "model_index.json", cure).get("_class_name")
    if kind not in kinds:
        raise BadFolder(f"{folder} holds a {kind!r}, not a {' or '.join(kinds)}; {cure}")
    for part in kinds[kind]:
        if not (folder / part).is_dir():
            raise BadFolder(f"{folder / part} is missing; {cure}")
    for part in kinds[kind]:
        if part == "scheduler":
            _check_scheduler(folder / part, cure)
        elif part.startswith("tokenizer"):
            _check_tokenizer(folder / part, cure)
        else:
            _check_module(folder / part, cure)
    return folder


def _check_scheduler(folder: Path, cure: str) -> None:
    path = folder / "scheduler_config.json"
    if "num_train_timesteps" not in _json(path, cure):
        raise BadFolder(f"{path} is damaged (no num_train_timesteps); {cure}")


def _check_tokenizer(folder: Path, cure: str) -> None:
    _json(folder / "tokenizer_config.json", cure)
    if not any(all((folder / file).is_file() for file in files) for files in VOCABULARIES):
        raise BadFolder(
            f"{folder} has no vocabulary (tokenizer.json, or vocab.json and merges.txt); {cure}"
        )


def _check_module(folder: Path, cure: str) -> None:
    _json(folder / "config.json", cure)
    name = "model" if folder.name.startswith("text_encoder") else "diffusion_pytorch_model"
    whole, index = folder / f"{name}.safetensors", folder / f"{name}.safetensors.index.json"
    if index.is_file():  # large weights lie in several files
        for shard in sorted(set(_json(index, cure).get("weight_map", {}).values())):
            check_weights(folder / shard, cure)
        return
    # A variant such as model.fp16.safetensors is a whole set of weights too.
    others = sorted(folder.glob(f"{name}.*.safetensors"))
    check_weights(whole if whole.is_file() or not others else others[0], cure)


def check_clip_folder(folder: str | Path) -> Path:
    """Check a CLIPModel folder with tokenizer and image processor; returns it.

    Raises:
        BadFolder: a part is missing or damaged.
    """
    folder = Path(folder)
    for name in ("config.json", "preprocessor_config.json", "tokenizer_config.json"):
        _json(folder / name)
    check_weights(folder / "model.safetensors")
    return folder


def check_weights(path: Path, cure: str = CURE) -> None:
    """Check that a safetensors file is there and as long as its header says.

    Raises:
        BadFolder: it is not.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise BadFolder(f"the weights {path} are missing; {cure}")
    with path.open("rb") as opened:
        if opened.read(len(LFS)) == LFS:
            raise BadFolder(f"the weights {path} are a Git LFS pointer: git lfs pull, or {cure}")
    try:
        with safe_open(path, framework="np") as file:
            file.keys()
    except (SafetensorError, OSError) as error:
        raise BadFolder(
            f"the weights {path} are damaged ({str(error).splitlines()[0]}); {cure}"
        ) from error


def _json(path: Path, cure: str = CURE) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadFolder(f"{path} is missing; {cure}") from error
    except (ValueError, OSError) as error:
        raise BadFolder(f"{path} is damaged ({error}); {cure}") from error
    if not isinstance(value, dict):
        raise BadFolder(f"{path} is damaged (not a JSON object); {cure}")
    return value
