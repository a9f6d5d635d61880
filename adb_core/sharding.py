"""A U-Net that lies in shares on all processes (FSDP2), where one GPU is too small for stage 3.

Weights, gradients and AdamW's moments of the U-Net are cut up; a layer's weights come together for
the time that it computes. This is done for the stages that train the U-Net and nothing else, when
``accelerate launch`` asks for FSDP2; the others move too little to be worth it, and train as with
DDP. Between stages, and in checkpoints, the U-Net is whole, so that a run can go on with another
number of processes, or alone. While it is cut up, all processes have to take part in whatever uses
it: nothing is drawn inside of such a stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .engine import TrainingError, is_sharding
from .learner import Learner
from .optimizers import make_optimizer
from .recipes import Stage

ALONE = ("unet",)  # what a stage trains that is shared out


def is_spread(unet: Any) -> bool:
    """Whether a U-Net lies in shares."""
    return any(is_share(p) for p in unet.parameters())


def whole(tensor: Any) -> Tensor:
    """A tensor with all of its numbers; of one in shares, all processes have to ask for it."""
    return tensor.full_tensor() if is_share(tensor) else tensor


def on_cpu(tensors: dict[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Tensors by name, whole and on the CPU; none unless ``keep``, where shares are only given."""
    found = ((name, whole(tensor.detach())) for name, tensor in tensors.items())
    return {name: tensor.cpu().contiguous() for name, tensor in found if keep}


def is_share(tensor: Tensor) -> bool:
    """Whether a tensor is one of which this process holds a part."""
    return hasattr(tensor, "full_tensor")


# ---------------------------------------------------------------- there


def spread(
    learner: Learner, stage: Stage, optimizer: torch.optim.AdamW | None = None
) -> torch.optim.AdamW | None:
    """Cut up the learner's U-Net for a stage, where the engine asks for it.

    Args:
        optimizer: of a stage that goes on; its moments are cut up too.

    Returns:
        The optimizer for the stage's parameters as they are now, or None if there was none.

    Raises:
        TrainingError: with 8-bit Adam, whose moments have another shape.
    """
    is_for_it = stage.train == ALONE and learner.recipe.lora is None
    if not is_for_it or not is_sharding(learner.accelerator) or is_spread(learner.unet):
        return optimizer
    if learner.options.optimizer != "adamw":
        raise TrainingError(
            "FSDP shares AdamW's moments out, and 8-bit Adam's cannot be: "
            "train in the tier gpu24, or launch with ddp.yaml"
        )
    learner.sample_prior()  # by the whole model
    unet = learner.unet.to(memory_format=torch.contiguous_format)  # as cutting up needs it
    before = dict(unet.named_parameters())
    kept = None if optimizer is None else {n: optimizer.state[p] for n, p in before.items()}
    _cut(unet, learner.accelerator)
    if kept is None:
        return None
    again = make_optimizer(learner, stage, "adamw")
    for name, parameter in unet.named_parameters():
        again.state[parameter] = {
            key: value if key == "step" else _like(parameter, value)
            for key, value in kept[name].items()
        }
    return again


def _cut(unet: Any, accelerator: Any) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    how: dict[str, Any] = {
        "mesh": init_device_mesh(accelerator.device.type, (accelerator.num_processes,)),
        "reshard_after_forward": getattr(plugin, "reshard_after_forward", True),
    }
    unet.requires_grad_(True)  # what is frozen when it is cut up stays so
    for part in _parts(unet):
        fully_shard(part, **how)
    fully_shard(unet, **how)
    unet.requires_grad_(False)  # a stage trains


def _parts(unet: Any) -> Iterator[torch.nn.Module]:
    """The U-Net's residual blocks and transformers, each of which is brought together alone."""
    blocks = [*unet.down_blocks, *unet.up_blocks]
    blocks += [] if unet.mid_block is None else [unet.mid_block]
    for block in blocks:
        yield from block.resnets
        yield from getattr(block, "attentions", None) or ()


def _like(parameter: Any, value: Tensor) -> Tensor:
    """A whole tensor cut up as a parameter is; every process has the whole one."""
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.contiguous(), parameter.device_mesh, parameter.placements)


# ---------------------------------------------------------------- and back


@torch.no_grad()
def gather(learner: Learner) -> None:
    """Make the learner's U-Net whole again, in every process; one that is whole stays."""
    unet = learner.unet
    if not is_spread(unet):
        return
    with torch.device("meta"):  # without memory, and without the hooks that cut it up
        again = next(c for c in type(unet).__mro__ if "FSDP" not in c.__name__)(**_config(unet))
    numbers = {name: whole(value) for name, value in unet.state_dict().items()}
    again.load_state_dict(numbers, assign=True)
    again.requires_grad_(False).eval()
    if learner.options.channels_last:
        again.to(memory_format=torch.channels_last)
    base: Any = learner.base
    if base.unet is unet:  # trained in place
        base.unet = again
    learner.unet = again


def _config(unet: Any) -> dict[str, Any]:
    return {name: value for name, value in unet.config.items() if not name.startswith("_")}
