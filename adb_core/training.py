"""The one training engine: every method, baseline and ablation is a recipe that runs through here.

``train_stage`` is a generator: it takes one optimizer step, yields what happened, and goes on
when asked. Plotting, logging, saving and stopping live in whoever iterates.

Axes: b batch, k tokens, d channels of a text state, n read tokens, L layers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from .attention import AttentionCapture, capture_attention, selection
from .base import TextStates
from .captions import caption_numbers, own_prompts
from .concept_token import TokenError
from .engine import TrainingError
from .learner import Learner, check_finite
from .losses import Batch, draw_batch, forward, losses, prior_loss, step_rng
from .optimizers import make_optimizer
from .options import RunOptions
from .recipes import Stage
from .records import StepRecord
from .reports import as_record, check_numbers, collect, report
from .sharding import is_share, whole
from .system.memory import is_out_of_memory, release_memory

Result = TypeVar("Result")


def train_stage(
    learner: Learner,
    stage: Stage,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    start: int = 0,
) -> Generator[StepRecord, None, None]:
    """Train one stage, one yield per optimizer step.

    Only the stage's parameters change. The learner is in order whenever the generator is
    suspended, and all is put back after ``close()``. How it trains is in ``learner.options``.

    Args:
        optimizer: from :func:`make_optimizer`, to go on from a checkpoint at step ``start``.

    Raises:
        TrainingError: a loss that is no number, a batch that does not divide, a foreign stage.
    """
    # what stays the same in every step
    work = StageWork(learner, stage)
    number, accelerator = learner.number(stage), learner.accelerator
    optimizer = optimizer or make_optimizer(learner, stage)
    levels = learner.base.scheduler.config.num_train_timesteps
    with work.trainable():
        for step in range(start, stage.steps):
            began = time.perf_counter()

            # draw the whole batch, the same one in every process
            rng = step_rng(learner.seed, number, step)
            whole = draw_batch(learner.latents, len(stage.prompts), stage.batch_size, levels, rng)

            # losses and gradients of this process's share, micro-batch by micro-batch
            reports = [work.backward(piece) for piece in work.share(whole)]

            # one optimizer step
            norm = apply_gradients(accelerator, optimizer, work.parameters, stage.max_grad_norm)
            if step + 1 == stage.steps:
                insist(check_finite, learner, stage)
                learner.token.bake()

            # one transfer from the device for all that is reported
            numbers = insist(collect, accelerator, reports, norm)
            check_numbers(stage, step, numbers, accelerator.scaler is not None)
            lr, seconds = optimizer.param_groups[-1]["lr"], time.perf_counter() - began
            yield as_record(stage, step, numbers, work.layers, lr=lr, seconds=seconds)


def micro_batches(stage: Stage, processes: int, options: RunOptions) -> int:
    """Into how many micro-batches a process cuts its share of a step's batch.

    As many as ``options.accumulation``; more, if the share divides by them, until none is larger
    than ``options.micro_batch``.
    """
    share, count = stage.batch_size // processes, options.accumulation
    if options.micro_batch is None or stage.batch_size % (processes * count):
        return count
    finer = (n for n in range(count, share + 1) if not share % n)
    return next(n for n in finer if n == share or share // n <= options.micro_batch)


def batch_parts(stage: Stage, processes: int, accumulation: int) -> int:
    """Into how many equal parts a batch is split.

    Raises:
        TrainingError: it does not divide.
    """
    parts = processes * accumulation
    if stage.batch_size % parts:
        raise TrainingError(
            f"stage {stage.name!r}: batch size {stage.batch_size} does not divide by {processes} "
            f"processes x {accumulation} micro-batches: change one of them"
        )
    return parts


# ---------------------------------------------------------------- what stays the same in a stage


class StagePrompts:
    """Text states of a stage's prompts: computed once if the rows are fixed, else every step."""

    def __init__(self, learner: Learner, stage: Stage):
        self.token, self.moving = learner.token, "embedding" in stage.train
        texts = [learner.prompt(p) for p in learner.templates(stage)]
        self.own = caption_numbers(learner.concept.captions, len(stage.prompts))  # (photos,)
        self.ids = learner.token.tokenize(texts)  # (prompts, k)
        self.columns = self._columns()  # (prompts, k, n)
        with torch.no_grad():
            self.fixed = None if self.moving else self.token.states(self.ids)

    def _columns(self) -> Tensor:
        """The tokens to read, one column each: [V]'s vectors and, if every prompt names it, the
        category's pieces."""
        groups = []
        for row in self.ids:
            v = [k for k, i in enumerate(row.tolist()) if i in self.token.ids]
            try:
                groups.append([*v, *self.token.positions(row)[1]])
            except TokenError:
                groups.append(v)
        n, length = min(map(len, groups)), self.ids.shape[1]
        columns = [selection(length, [[k] for k in group[:n]]) for group in groups]  # (k, n) each
        return torch.stack(columns).to(self.ids.device)

    def states(self, prompts: np.ndarray) -> TextStates:
        """(b, k, d) for prompt numbers (b,)."""
        picked = torch.from_numpy(prompts).to(self.ids.device)
        if self.fixed is not None:
            return self.fixed.pick(picked)
        used, where = torch.unique(picked, return_inverse=True)
        return self.token.states(self.ids[used]).pick(where)


class StageWork:
    """One stage's losses and gradients, batch by batch.

    Attributes:
        parameters: what the stage trains; layers: names of those that were read last.
    """

    def __init__(self, learner: Learner, stage: Stage):
        self.learner, self.stage = learner, stage
        self.accelerator, processes = learner.accelerator, learner.accelerator.num_processes
        self.accumulation = micro_batches(stage, processes, learner.options)
        self.parts = batch_parts(stage, processes, self.accumulation)
        self.parameters = list(learner.parameters(stage).values())
        self.layers: tuple[str, ...] = ()
        learner.token.bake()
        learner.sample_prior()
        self.prompts, self.prior = StagePrompts(learner, stage), None
        if stage.prior_weight:
            ids = learner.token.tokenize([f"a photo of a {learner.concept.category}"])
            self.prior = learner.token.states(ids)  # (1, k, d)
        self.make_room()

    def make_room(self) -> None:
        """Send away what this stage does not use, if the options ask for it."""
        if self.learner.options.offload:
            parts = [] if self.prompts.moving else list(self.learner.text.encoders)
            self.learner.offload.send([*parts, *self.learner.idle_parts])

    @contextmanager
    def trainable(self) -> Iterator[None]:
        """Within, gradient reaches the stage's parameters; afterwards nothing takes any."""
        with ExitStack() as stack:
            stack.enter_context(self.learner.checkpointing())
            if self.prompts.moving:
                stack.enter_context(self.learner.token.trainable())
            stack.callback(_freeze, self.parameters)
            for parameter in self.parameters:
                parameter.requires_grad_(True)
            yield

    def share(self, whole: Batch) -> Iterator[Batch]:
        """This process's micro-batches."""
        self.make_room()  # again: whoever iterates may have drawn
        processes, index = self.accelerator.num_processes, self.accelerator.process_index
        whole = replace(whole, prompts=own_prompts(self.prompts.own, whole.rows, whole.prompts))
        for micro in range(self.accumulation):
            yield whole.part(self.parts, micro * processes + index)

    def backward(self, batch: Batch) -> dict[str, Tensor]:
        """Add a micro-batch's gradients; returns what is reported of it, detached."""
        with self.accelerator.autocast():
            states = self.prompts.states(batch.prompts)  # (b, k, d)
        # open until backward is done: gradient checkpointing runs the layers again there
        with self._reading(batch) as capture:
            passed = forward(self.learner, batch, states, capture)
            found = losses(self.stage, passed, self.parts)
            self.accelerator.backward(found.total / self.accumulation)
        self.layers = passed.layers
        # the prior's pass is not read, so it has a backward of its own
        prior = found.diffusion.new_zeros(())
        if self.prior is not None:
            prior = prior_loss(self.learner, batch, self.prior)
            self.accelerator.backward(self.stage.prior_weight * prior / self.accumulation)
        return report(found, passed, prior, self.stage.prior_weight)

    def _reading(self, batch: Batch) -> AbstractContextManager[AttentionCapture | None]:
        if not (self.stage.reads or self.learner.options.watch):
            return nullcontext()
        columns = self.prompts.columns[torch.from_numpy(batch.prompts).to(batch.noise.device)]
        return capture_attention(
            self.learner.unet,
            columns,  # (b, k, n)
            grad=self.stage.reads,
            path=self.learner.options.path,
        )


def _freeze(parameters: Sequence[Tensor]) -> None:
    for parameter in parameters:
        parameter.requires_grad_(False)
        parameter.grad = None


# ---------------------------------------------------------------- the optimizer step


def apply_gradients(
    accelerator: Any,
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[Tensor],
    max_norm: float,
) -> Tensor:
    """Average gradients over processes, clip, step. Returns the gradient norm before clipping.

    Done by hand rather than by wrapping modules: the row of [V] belongs to no module, and an
    unsynchronised row would drift apart between processes.
    """
    if accelerator.num_processes > 1:
        for parameter in parameters:
            if not is_share(parameter):  # whose gradients come averaged
                parameter.grad = accelerator.reduce(parameter.grad, "mean")
    if accelerator.scaler is not None:
        accelerator.scaler.unscale_(optimizer)
    norm = whole(torch.nn.utils.clip_grad_norm_(parameters, max_norm))
    if accelerator.scaler is not None:
        accelerator.scaler.step(optimizer)
        accelerator.scaler.update()
    elif torch.isfinite(norm):
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def insist(action: Callable[..., Result], *arguments: Any) -> Result:
    """What comes after the update must not be lost: where memory runs out, once more.

    By then the gradients are gone, and a second attempt has all of their room.
    """
    try:
        return action(*arguments)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    release_memory()
    return action(*arguments)
