"""The one training loop of the tiny model's pretraining: budgeted, resumable, kill-safe.

Every stage (VAE, CLIP, judge, U-Net) is a :class:`Fit` and a ``loss_fn``. The loop owns
optimizer, schedule, EMA, precision, checkpoints and the log. All randomness of a step comes
from (seed, stage, step), so a run that was killed and resumed ends with the same bits as one
that never stopped.

In ``run_dir/<name>/``:
    checkpoint.safetensors  modules, EMA and optimizer; the state as JSON in its header. One
                            file, so one rename replaces all of it or none
    plan.json               how many steps the budget buys, fixed after timing the first ones
    history.csv             step, seconds, loss, extras: one row about every 10 s
    final.safetensors, done.json   a finished stage
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from ..system.devices import has_bf16
from ..system.files import (
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    explain_disk_full,
    sweep,
)
from .optimizers import Optimizers

WARM_STEPS = 5  # not timed: the first steps pay for allocation and kernel selection
TIMED_STEPS = 20  # timed, to learn how many steps the minutes buy
SAVE_EVERY = 60.0  # seconds between checkpoints: what a kill may cost
LOG_EVERY = 10.0  # seconds between log lines

WARM_LR = 0.5  # share of the learning rate for weights that are already trained

LossFn = Callable[[int, np.random.Generator], "tuple[Tensor, dict[str, float | Tensor]]"]


class FitError(RuntimeError):
    """Training cannot go on; the message is one line that says what to do."""


@dataclass(frozen=True)
class Fit:
    """Settings of one pretraining stage.

    Attributes:
        lr: peak learning rate of AdamW.
        batch: samples per step; the loop only uses it to print samples per second.
        warmup: steps of linear warm-up (at most a quarter of the run if the steps are given).
        weight_decay: for matrices and kernels; biases and norms are not decayed.
        clip: gradient norm above which gradients are scaled down.
        ema: decay of the averaged weights that the stage ends with; None keeps the raw ones.
        schedule: "cosine" falls to 2 % of lr; "onecycle" rises from lr/25 over the first
            quarter, then falls to lr/1000; "trapezoid" stays at the peak and falls to 2 % over
            the last third, so that a run can be prolonged by going on from before the fall.
        muon_lr: peak learning rate of Muon for matrices and kernels; None leaves all to AdamW.
    """

    name: str
    lr: float
    batch: int
    warmup: int = 50
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    schedule: str = "cosine"
    muon_lr: float | None = None

    def __post_init__(self) -> None:
        if self.schedule not in ("cosine", "onecycle", "trapezoid"):
            raise ValueError(
                f"unknown schedule {self.schedule!r}: choose cosine, onecycle or trapezoid"
            )


def warm(settings: Fit, start: Path | None) -> Fit:
    """The settings, gentler if training goes on from the weights in ``start``."""
    if start is None:
        return settings
    muon_lr = settings.muon_lr and settings.muon_lr * WARM_LR
    return replace(settings, lr=settings.lr * WARM_LR, muon_lr=muon_lr)


@dataclass(frozen=True)
class FitReport:
    """What a stage did. ``losses`` are the means over the last log interval."""

    name: str
    steps: int
    seconds: float
    losses: dict[str, float] = field(default_factory=dict)
    finished_earlier: bool = False


# ---------------------------------------------------------------- randomness, schedule, precision


def step_rng(seed: int, name: str, step: int) -> np.random.Generator:
    """The random numbers of one step; independent of every other step's."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), step])


def torch_generator(
    rng: np.random.Generator, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A torch generator on ``device`` whose seed is drawn from ``rng``."""
    return torch.Generator(device).manual_seed(int(rng.integers(2**63 - 1)))


def lr_factor(settings: Fit, step: int, total: int | None, warmup: int) -> float:
    """Share of the peak learning rate at ``step``; ``total`` None: the budget is still being timed.

    While it is timed the share does not depend on the total, so the steps are already the
    first steps of the schedule to come.
    """
    span = max(1, total - warmup) if total else 1
    progress = min(1.0, max(0, step - warmup) / span) if total else 0.0
    if settings.schedule == "cosine":
        return min(1.0, (step + 1) / max(1, warmup)) * (
            0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
        )
    if settings.schedule == "trapezoid":
        fall = min(1.0, 3 * (1 - progress))
        return min(1.0, (step + 1) / max(1, warmup)) * (0.02 + 0.98 * fall)
    if progress < 0.25:
        rise = 0.5 * (1 - math.cos(math.pi * progress / 0.25))
        return 0.04 + 0.96 * rise
    return 0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * (progress - 0.25) / 0.75))


def autocast(device: torch.device | str, bf16: bool | None = None):
    """bf16 autocast where it helps (``bf16`` None), or as told; else a context that does nothing."""
    use = has_bf16(device) if bf16 is None else bf16
    return torch.autocast(torch.device(device).type, torch.bfloat16) if use else nullcontext()


# ---------------------------------------------------------------- EMA


class Ema:
    """Running average of the modules' floating parameters; their buffers are copied.

    The decay warms up as (1 + step) / (10 + step), so that the random start is soon forgotten.
    """

    def __init__(self, modules: dict[str, nn.Module], decay: float) -> None:
        self.decay = decay
        self.live, self.live_copied = _state_tensors(modules)
        self.names = [*self.live, *self.live_copied]
        self.mean = {k: v.detach().clone() for k, v in self.live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(
            list(self.mean.values()), [v.detach() for v in self.live.values()], 1 - decay
        )

    def tensors(self) -> dict[str, Tensor]:
        """Averages and copied buffers by state-dict name."""
        return {**self.mean, **{k: v.detach() for k, v in self.live_copied.items()}}

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        for key, value in self.mean.items():
            value.copy_(tensors[key])

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """The modules wear the averaged weights inside (for previews), the raw ones afterwards."""
        raw = {k: v.detach().clone() for k, v in self.live.items()}
        with torch.no_grad():
            torch._foreach_copy_(list(self.live.values()), list(self.mean.values()))
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(list(self.live.values()), list(raw.values()))


def _state_tensors(modules: dict[str, nn.Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(float parameters, everything else in the state dicts), live tensors named module/key."""
    averaged, copied = {}, {}
    for prefix, module in modules.items():
        parameters = {
            k for k, p in module.named_parameters(remove_duplicate=False) if p.is_floating_point()
        }
        for key, value in module.state_dict(keep_vars=True).items():
            (averaged if key in parameters else copied)[f"{prefix}/{key}"] = value
    return averaged, copied


# ---------------------------------------------------------------- files of a stage


def _pack(tensors: dict[str, Tensor], state: dict) -> bytes:
    # clone: safetensors refuses tensors that share memory, as tied weights do
    plain = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
    return to_bytes(plain, metadata={"state": json.dumps(state)})


def _unpack(path: Path) -> tuple[dict[str, Tensor], dict]:
    try:
        with safe_open(path, framework="pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, json.loads(
                (file.metadata() or {})["state"]
            )
    except (SafetensorError, KeyError, ValueError) as error:
        raise FitError(
            f"{path} is damaged ({error}); delete the folder {path.parent} and run again"
        ) from error


def _module_tensors(modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    return {f"{name}/{k}": v for name, m in modules.items() for k, v in m.state_dict().items()}


def _load_modules(modules: dict[str, nn.Module], tensors: dict[str, Tensor], path: Path) -> None:
    try:
        for name, module in modules.items():
            prefix = f"{name}/"
            module.load_state_dict(
                {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
            )
    except RuntimeError as error:
        raise FitError(_other_settings(path.parent, "another architecture")) from error


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def settings_hash(settings: Fit, modules: dict[str, nn.Module], seed: int) -> str:
    """What must agree for weights to be reused: settings, seed, and every tensor's name and shape."""
    shapes = {k: list(v.shape) for k, v in _module_tensors(modules).items()}
    text = json.dumps([asdict(settings), shapes, seed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _other_settings(folder: Path, what: str) -> str:
    return (
        f"{folder} holds a run made with {what}; "
        f"delete that folder to start afresh, or use another --run folder"
    )


# ---------------------------------------------------------------- the loop


def fit(
    settings: Fit,
    modules: dict[str, nn.Module],
    loss_fn: LossFn,
    *,
    run_dir: str | Path,
    seed: int,
    device: torch.device | str,
    minutes: float | None = None,
    steps: int | None = None,
    bf16: bool | None = None,
    on_log: Callable[[int, Ema | None], None] | None = None,
    progress: bool = True,
) -> FitReport:
    """Train ``modules`` on ``loss_fn`` for a budget; resume if the run was stopped.

    Args:
        modules: trained in place (parameters with ``requires_grad``); at the end they hold the
            averaged weights if ``settings.ema``, and are in eval mode.
        loss_fn: ``(step, rng) -> (scalar loss, extras to log)``, run under autocast. Draw all
            randomness from ``rng`` (torch noise through :func:`torch_generator`).
        minutes, steps: the budget, exactly one of them.
        bf16: None uses bf16 autocast where the hardware has it.
        on_log: called about every 10 s with (step, ema), e.g. to draw previews.

    Raises:
        FitError: other settings in the folder, damaged files, or a loss that is not finite.
        DiskFull: the last checkpoint stays intact.
        SystemExit: Ctrl-C or SIGTERM, after saving.
    """
    if (minutes is None) == (steps is None):
        raise ValueError("give the budget as either minutes or steps")
    return _Run(
        settings,
        modules,
        loss_fn,
        Path(run_dir),
        seed,
        torch.device(device),
        minutes,
        steps,
        bf16,
        on_log,
        progress,
    ).run()


def is_finished(run_dir: str | Path, name: str) -> bool:
    return (Path(run_dir) / name / "done.json").exists()


class _Run:
    """One call of :func:`fit`: holds the state that its parts share."""

    def __init__(
        self,
        settings,
        modules,
        loss_fn,
        run_dir,
        seed,
        device,
        minutes,
        steps,
        bf16,
        on_log,
        progress,
    ):
        self.settings, self.modules, self.loss_fn = settings, modules, loss_fn
        self.run_dir, self.seed, self.device, self.bf16 = run_dir, seed, device, bf16
        self.minutes, self.steps, self.on_log, self.progress = minutes, steps, on_log, progress
        self.folder = run_dir / settings.name
        self.hash = settings_hash(settings, modules, seed)
        # With known steps the warm-up may shrink; with minutes the total comes too late for that.
        self.warmup = min(settings.warmup, steps // 4) if steps is not None else settings.warmup
        self.step, self.total, self.seconds, self.history = 0, steps, 0.0, []
        self.pending: list[tuple[Tensor, Tensor, dict]] = []

    # ---- start

    def run(self) -> FitReport:
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder)
        if (self.folder / "done.json").exists():
            return self._finished_earlier()
        for module in self.modules.values():
            module.to(self.device).train()
        self.optimizer = self._make_optimizer()
        self.ema = Ema(self.modules, self.settings.ema) if self.settings.ema else None
        self._resume()
        self._loop()
        return self._finish()

    def _make_optimizer(self) -> Optimizers:
        chosen = self.settings
        return Optimizers(
            self.modules.values(),
            lr=chosen.lr,
            betas=chosen.betas,
            weight_decay=chosen.weight_decay,
            muon_lr=chosen.muon_lr,
        )

    def _budget(self) -> dict:
        return {"minutes": self.minutes, "steps": self.steps}

    def _finished_earlier(self) -> FitReport:
        path = self.folder / "final.safetensors"
        try:
            done = json.loads((self.folder / "done.json").read_text())
        except ValueError as error:
            raise FitError(
                f"{self.folder / 'done.json'} is damaged; delete {self.folder} and run again"
            ) from error
        if done["hash"] != self.hash:
            raise FitError(_other_settings(self.folder, "other settings"))
        if not path.exists():
            raise FitError(f"{path} is missing; delete the folder {self.folder} and run again")
        _load_modules(self.modules, _unpack(path)[0], path)
        for module in self.modules.values():
            module.to(self.device).eval()
        # Another budget is no reason to throw finished weights away, but it must be said.
        note = ""
        if done["budget"] != self._budget():
            note = (
                f" (made with {_budget_text(done['budget'])}, asked {_budget_text(self._budget())}: "
                f"kept; delete {self.folder} to train again)"
            )
        self._log(f"finished earlier, {done['steps']} steps{note}")
        return FitReport(
            self.settings.name,
            done["steps"],
            done["seconds"],
            done["losses"],
            finished_earlier=True,
        )

    def _resume(self) -> None:
        path = self.folder / "checkpoint.safetensors"
        if not path.exists():
            self._log("start")
            return
        tensors, state = _unpack(path)
        if state["hash"] != self.hash:
            raise FitError(_other_settings(self.folder, "other settings"))
        if state["budget"] != self._budget():
            raise FitError(
                _other_settings(self.folder, f"another budget ({_budget_text(state['budget'])})")
            )
        _load_modules(self.modules, _part(tensors, "modules/"), path)
        self.optimizer.load(_part(tensors, "optimizer/"))
        if self.ema:
            self.ema.load(_part(tensors, "ema/"))
        self.step, self.total, self.seconds = state["step"], state["total"], state["seconds"]
        self.history = state["history"]
        self._write_history()
        self._log(f"resumed at step {self.step} of {self.total or '?'}")

    # ---- go

    def _loop(self) -> None:
        from tqdm.auto import tqdm

        self.started = time.monotonic() - self.seconds
        self.saved = self.logged = time.monotonic()
        self.logged_step = self.step
        with (
            _stop_requested() as stop,
            tqdm(
                total=self.total,
                initial=self.step,
                desc=self.settings.name,
                unit="step",
                disable=not self.progress,
                mininterval=1.0,
            ) as self.bar,
        ):
            while self.total is None or self.step < self.total:
                self._one_step()
                self._plan_if_timed()
                self._log_and_save_if_due()
                if stop.is_set():
                    self._save()
                    raise SystemExit(
                        f"{self.settings.name}: stopped at step {self.step} of {self.total or '?'} "
                        f"and saved in {self.folder}; the same command resumes"
                    )
            self._flush()

    def _one_step(self) -> None:
        rng = step_rng(self.seed, self.settings.name, self.step)
        torch.manual_seed(int(rng.integers(2**63 - 1)))  # for dropout and the like
        with autocast(self.device, self.bf16):
            loss, extras = self.loss_fn(self.step, rng)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.optimizer.parameters, self.settings.clip, foreach=True)
        self.optimizer.step(lr_factor(self.settings, self.step, self.total, self.warmup))
        if self.ema:
            self.ema.update(self.step)
        self.step += 1
        # Kept as tensors: reading a number each step would make a GPU wait.
        self.pending.append((loss.detach(), norm.detach(), extras))
        self.bar.update(1)

    def _plan_if_timed(self) -> None:
        """After the timed steps, fix for good how many steps the minutes buy."""
        if self.total is not None:
            return
        if self.step == WARM_STEPS:
            self._synchronize()
            self.timer = time.monotonic()
        if self.step == WARM_STEPS + TIMED_STEPS:
            self._synchronize()
            per_step = (time.monotonic() - self.timer) / TIMED_STEPS
            left = self.minutes * 60 - (time.monotonic() - self.started)
            self.total = max(self.step, self.step + int(left / per_step))
            # The checkpoint first: its own total is what a resumed run obeys.
            self._flush()
            self._save()
            atomic_write_json(
                self.folder / "plan.json",
                {
                    "steps": self.total,
                    "minutes": self.minutes,
                    "seconds_per_step": per_step,
                    "samples_per_second": self.settings.batch / per_step,
                },
            )
            self.bar.total = self.total
            self._log(f"{self.minutes:g} min buy {self.total} steps at {per_step:.3f} s")

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _log_and_save_if_due(self) -> None:
        now = time.monotonic()
        if now - self.logged < LOG_EVERY and now - self.saved < SAVE_EVERY:
            return
        if self.total is None:  # nothing is saved before the plan is made
            return
        self._flush()
        if now - self.saved >= SAVE_EVERY:
            self._save()
        if self.on_log:
            self.on_log(self.step, self.ema)

    def _flush(self) -> None:
        """Read the losses since the last time: check that they are finite, log their means."""
        if not self.pending:
            return
        losses = torch.stack([loss for loss, _, _ in self.pending]).float().cpu()
        norms = torch.stack([norm for _, norm, _ in self.pending]).float().cpu()
        bad = ~(losses.isfinite() & norms.isfinite())
        if bad.any():
            step = self.step - len(self.pending) + int(bad.nonzero()[0, 0])
            kept = (
                "the last good checkpoint is kept"
                if self._checkpoint().exists()
                else "nothing was saved"
            )
            raise FitError(
                f"{self.settings.name}: the loss is not finite at step {step}; {kept} in {self.folder}. "
                "Lower the learning rate or train in float32"
            )
        self.seconds = time.monotonic() - self.started
        row = {
            "step": self.step,
            "seconds": round(self.seconds, 1),
            "loss": float(losses.mean()),
            "grad_norm": float(norms.mean()),
        }
        for key in self.pending[-1][2]:
            row[key] = float(
                np.mean([float(extras[key]) for _, _, extras in self.pending if key in extras])
            )
        rate = (
            (self.step - self.logged_step)
            * self.settings.batch
            / max(1e-9, time.monotonic() - self.logged)
        )
        self.pending.clear()
        self.logged, self.logged_step = time.monotonic(), self.step
        self.history.append(row)
        self._write_history()
        self.bar.set_postfix(
            {"loss": f"{row['loss']:.4f}", "samples/s": f"{rate:.0f}"}, refresh=False
        )
        said = " ".join(f"{k}={v:.4g}" for k, v in row.items() if k not in ("step", "seconds"))
        self._log(f"step {self.step}/{self.total} {self.seconds:.0f}s {said} {rate:.0f} samples/s")

    # ---- stop

    def _finish(self) -> FitReport:
        if self.ema:
            final = self.ema.tensors()
            _load_modules(self.modules, final, self.folder / "final.safetensors")
        for module in self.modules.values():
            module.eval()
        row = self.history[-1] if self.history else {}
        report = FitReport(
            self.settings.name,
            self.step,
            round(self.seconds, 1),
            {k: v for k, v in row.items() if k not in ("step", "seconds")},
        )
        atomic_write_bytes(
            self.folder / "final.safetensors", _pack(_module_tensors(self.modules), {})
        )
        done = {
            **asdict(report),
            "budget": self._budget(),
            "settings": asdict(self.settings),
            "seed": self.seed,
            "hash": self.hash,
        }
        del done["finished_earlier"]
        atomic_write_json(self.folder / "done.json", done)
        self._checkpoint().unlink(missing_ok=True)
        self._log(f"done, {report.steps} steps in {report.seconds:.0f} s")
        return report

    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    def _save(self) -> None:
        """Write the checkpoint; first make sure that nothing in it is the child of a NaN."""
        self._flush()
        self.seconds = time.monotonic() - self.started
        tensors = {f"modules/{k}": v for k, v in _module_tensors(self.modules).items()}
        tensors.update({f"optimizer/{k}": v for k, v in self.optimizer.tensors().items()})
        if self.ema:
            tensors.update({f"ema/{k}": v for k, v in self.ema.tensors().items()})
        state = {
            "step": self.step,
            "total": self.total,
            "seconds": self.seconds,
            "hash": self.hash,
            "budget": self._budget(),
            "history": self.history,
        }
        atomic_write_bytes(self._checkpoint(), _pack(tensors, state))
        self.saved = time.monotonic()

    def _write_history(self) -> None:
        if not self.history:
            return
        text = io.StringIO()
        columns = list(dict.fromkeys(k for row in self.history for k in row))
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        atomic_write_text(self.folder / "history.csv", text.getvalue())

    def _log(self, line: str) -> None:
        log_line(self.run_dir, f"{self.settings.name}: {line}")


def log_line(run_dir: str | Path, line: str) -> None:
    """Append a line with the time to ``run_dir/log.txt``."""
    path = Path(run_dir) / "log.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with explain_disk_full(path), open(path, "a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")


def _budget_text(budget: dict) -> str:
    return (
        f"{budget['minutes']:g} min"
        if budget["minutes"] is not None
        else f"{budget['steps']} steps"
    )


@contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, so that a step is never cut in half.

    A second Ctrl-C stops at once. Outside the main thread signals are left alone.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number, frame):
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
