"""Low-rank adapters of the U-Net: put in, named, written for plain diffusers, read, and merged.

The base model's weights are shared with it and stay as they are, bit for bit: what a run trains and
saves is the adapters alone, in float32, whatever the base is loaded in. peft computes them.

Axes: r rank, o outputs and i inputs of a layer (and the two axes of a convolution's kernel).
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .engine import TrainingError
from .loading import BaseModelError
from .recipes import Lora
from .system.sharing import shared_copy

WEIGHTS = "pytorch_lora_weights.safetensors"  # the name that load_lora_weights looks for
METADATA = "lora_adapter_metadata"  # where diffusers keeps rank and alpha in a file's header
ADAPTER = "default"  # peft's name of the one adapter that a layer has here
PREFIX = "unet."  # in the file: which part of the pipeline
A_STREAM = 0x10AA  # of the random numbers with which A begins, beside those of the run


def check_peft(what: str) -> None:
    """Find out whether peft is there, before any work.

    Raises:
        TrainingError: it is not; one line with the cure.
    """
    if importlib.util.find_spec("peft") is None:
        raise TrainingError(
            f"{what} needs the package peft, which is not installed: pip install peft"
        )


# ---------------------------------------------------------------- adapters in a U-Net


def target_names(unet: Any, lora: Lora) -> list[str]:
    """Names of the linear layers and convolutions that get an adapter, in the U-Net's own order.

    Raises:
        TrainingError: there is none.
    """
    kinds = (nn.Linear, nn.Conv2d)
    layers = [name for name, module in unet.named_modules() if isinstance(module, kinds)]
    names = [name for name in layers if re.fullmatch(lora.targets, name)]
    if not names:
        raise TrainingError(
            f"LoRA targets {lora.targets!r} match no layer of this U-Net: "
            f"write an expression for names like {', '.join(layers[-2:])}"
        )
    return names


def adapted(unet: Any, lora: Lora, seed: int = 0) -> Any:
    """A U-Net with fresh adapters over the weights of another one, which stays as it is.

    B is zero, so that it computes what the other does; A is drawn from a normal distribution of
    deviation 1 / rank, from ``seed`` alone.

    Raises:
        TrainingError: peft is missing, or no layer matches.
    """
    check_peft("LoRA")
    from peft import LoraConfig, inject_adapter_in_model

    names, copy = target_names(unet, lora), shared_copy(unet)
    exactly = "|".join(map(re.escape, names))  # quicker than a list, which peft looks through
    numbers: dict[str, Any] = {"r": lora.rank, "lora_alpha": lora.alpha}
    config = LoraConfig(target_modules=exactly, **numbers)
    with torch.random.fork_rng(devices=()):  # what peft draws is drawn anew below
        inject_adapter_in_model(config, copy, adapter_name=ADAPTER)
    generator = torch.Generator().manual_seed(seed ^ A_STREAM)
    for name, parameter in adapter_parameters(copy).items():
        # peft brings adapters to the type of the base, in which small steps would be lost
        parameter.data = parameter.data.float()
        parameter.requires_grad_(False)  # a stage trains
        if ".lora_A." in name:
            drawn = torch.randn(parameter.shape, generator=generator)  # (r, i)
            parameter.data.copy_(drawn / lora.rank)
    return copy


def adapter_parameters(unet: Any) -> dict[str, nn.Parameter]:
    """Every A, (r, i), and B, (o, r), by the name of its layer; none without adapters."""
    return {name: p for name, p in unet.named_parameters() if _is_adapter(name)}


def own_parameters(unet: Any) -> Iterator[tuple[str, nn.Parameter]]:
    """What training may change of a U-Net: its adapters if it has some, else all of it."""
    named = list(unet.named_parameters())
    adapters = [(name, p) for name, p in named if _is_adapter(name)]
    yield from adapters or named


def _is_adapter(name: str) -> bool:
    return ".lora_A." in name or ".lora_B." in name


@torch.no_grad()
def merged(unet: Any) -> Any:
    """A plain U-Net with the adapters' updates added to its weights: W + (alpha / rank) B A.

    The original stays as it is; only the layers that change take memory of their own. One without
    adapters is given back.
    """
    if not adapter_parameters(unet):
        return unet
    from peft.tuners.lora import LoraLayer

    copy = shared_copy(unet)
    modules: list[tuple[str, Any]] = [
        (name, module) for name, module in copy.named_modules() if isinstance(module, LoraLayer)
    ]
    for name, module in modules:
        layer: Any = shared_copy(module.get_base_layer())
        update = module.get_delta_weight(ADAPTER)  # (o, i)
        weight = (layer.weight.float() + update.float()).to(layer.weight.dtype)
        layer.weight = nn.Parameter(weight, requires_grad=False)
        parent, _, child = name.rpartition(".")
        setattr(copy.get_submodule(parent), child, layer)
    return copy


# ---------------------------------------------------------------- files


def save_adapters(path: str | Path, unet: Any, lora: Lora) -> None:
    """Write the adapters as ``load_lora_weights`` of plain diffusers reads them, alpha kept.

    Keys are "unet.<layer>.lora_A.weight", (r, i), and "...lora_B.weight", (o, r); rank, alpha and
    targets stand in the header.
    """
    tensors = {
        PREFIX + name.replace(f".{ADAPTER}.", "."): p.detach().cpu().contiguous()
        for name, p in adapter_parameters(unet).items()
    }
    described = {"r": lora.rank, "lora_alpha": lora.alpha, "target_modules": lora.targets}
    described |= {"rank_pattern": {}, "alpha_pattern": {}}  # diffusers 0.36 to 0.39 want them
    header = {PREFIX + key: value for key, value in described.items()}
    save_file(tensors, path, metadata={"format": "pt", METADATA: json.dumps(header)})


def load_adapters(path: str | Path, unet: Any) -> Any:
    """A U-Net with the adapters of a file over the weights of another one, which stays as it is.

    Raises:
        BaseModelError: no such file, a damaged one, or one of another model; nothing that is
            silently left out.
        TrainingError: peft is missing.
    """
    check_peft(f"reading {path}")
    lora, tensors = _read(Path(path))
    try:
        copy = adapted(unet, lora)
    except TrainingError as error:
        raise BaseModelError(f"{path} belongs to another model: {error}") from error
    wanted = {
        PREFIX + name.replace(f".{ADAPTER}.", "."): p
        for name, p in adapter_parameters(copy).items()
    }
    odd = sorted(wanted.keys() ^ tensors.keys())
    odd += [
        name for name in wanted.keys() & tensors.keys() if wanted[name].shape != tensors[name].shape
    ]
    if odd:
        raise BaseModelError(
            f"{path} does not fit this model ({odd[0]}): give the base model that it was trained on"
        )
    if not any(bool(t.any()) for name, t in tensors.items() if ".lora_B." in name):
        raise BaseModelError(f"{path} changes nothing (every B is zero): train again")
    for name, parameter in wanted.items():
        parameter.data.copy_(tensors[name])
    return copy


def _read(path: Path) -> tuple[Lora, Mapping[str, Tensor]]:
    cure = "train again, or copy the folder again"
    try:
        with safe_open(str(path), "pt") as file:
            told = json.loads((file.metadata() or {})[METADATA])
            fields = (told[PREFIX + key] for key in ("r", "lora_alpha", "target_modules"))
            names = list(file.keys())
            return Lora(*fields), {name: file.get_tensor(name) for name in names}
    except FileNotFoundError as error:
        raise BaseModelError(f"there are no adapters at {path}: {cure}") from error
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise BaseModelError(f"{path} is damaged ({error}): {cure}") from error
