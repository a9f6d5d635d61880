"""Is this folder the model it should be? Answered from file headers, before anything heavy loads."""

from __future__ import annotations

import json
from pathlib import Path

CURE = "restore it (git checkout) or make it again: python -m adb_core.toyworld.pretrain"
PARTS = ("tokenizer", "text_encoder", "vae", "unet", "scheduler")
WEIGHTS = {"text_encoder": "model", "vae": "diffusion_pytorch_model", "unet": "diffusion_pytorch_model"}


class BadFolder(ValueError):
    """A model folder that cannot be used; the message is one line with the file and the cure."""


def check_model_folder(folder: str | Path) -> Path:
    """Check that ``folder`` is a whole Stable Diffusion folder of diffusers; returns it.

    Reads the JSON files and the headers of the weights, so a truncated file is found in
    milliseconds.

    Raises:
        BadFolder: not such a folder, or a part is missing or damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadFolder(f"no model folder at {folder}; {CURE}")
    if not (folder / "model_index.json").is_file():
        raise BadFolder(f"{folder} is not a diffusers model: it has no model_index.json; {CURE}")
    index = _json(folder / "model_index.json")
    if index.get("_class_name") != "StableDiffusionPipeline":
        raise BadFolder(f"{folder} holds a {index.get('_class_name')!r}, not a StableDiffusionPipeline; {CURE}")
    for part in PARTS:
        if not (folder / part).is_dir():
            raise BadFolder(f"{folder / part} is missing; {CURE}")
    for name in ("scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json"):
        _json(folder / name)
    for part, name in WEIGHTS.items():
        _json(folder / part / "config.json")
        # A variant such as model.fp16.safetensors is a whole set of weights too.
        files = sorted((folder / part).glob(f"{name}*.safetensors"))
        check_weights(files[0] if files else folder / part / f"{name}.safetensors")
    return folder


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


def check_weights(path: Path) -> None:
    """Check that a safetensors file is there and as long as its header says.

    Raises:
        BadFolder: it is not.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise BadFolder(f"the weights {path} are missing; {CURE}")
    try:
        with safe_open(path, framework="np") as file:
            file.keys()
    except (SafetensorError, OSError) as error:
        raise BadFolder(f"the weights {path} are damaged ({str(error).splitlines()[0]}); {CURE}") from error


def _json(path: Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadFolder(f"{path} is missing; {CURE}") from error
    except (ValueError, OSError) as error:
        raise BadFolder(f"{path} is damaged ({error}); {CURE}") from error
    if not isinstance(value, dict):
        raise BadFolder(f"{path} is damaged (not a JSON object); {CURE}")
    return value
