"""The training loop: one or more players take turns on batches, and a kill loses nothing."""

import math
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import checkpoints
from .bars import Bar
from .devices import device_name

# Networks that this session has trained, with their steps: a cell that is run again goes on.
_trained = weakref.WeakKeyDictionary()

# Set by parallel.trainings. While `ahead` is a list, finished checkpoints stay and are listed in
# it; with `taking` there is nothing to tell where one is taken up.
ahead: list[Path] | None = None
taking: bool = False


@dataclass
class Player:
    """One side of a training: a loss, and the optimiser of the parameters that it may move.

    loss: takes a batch, returns a dict of scalar tensors whose "loss" is minimised.
    every: the player moves at the steps that `every` divides. scheduler: of the optimiser's
    learning rate, moved on after each of the player's moves.
    A VAE is one player; a GAN is two.
    """

    loss: Callable
    optimizer: torch.optim.Optimizer
    every: int = 1
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None

    @property
    def parameters(self) -> list[torch.Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]


@dataclass
class History:
    """What a training logged: steps, and for each scalar its mean since the step before.

    A scalar has a value for every step, NaN where its player did not move since the step before.
    devices: where it was trained, in words; several if it went on elsewhere from a checkpoint.
    """

    steps: list[int] = field(default_factory=list)
    scalars: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    images_per_second: float = 0.0
    devices: list[str] = field(default_factory=list)

    def add(self, step: int, means: dict[str, float]) -> None:
        self.steps.append(step)
        for name in self.scalars | means:
            values = self.scalars.setdefault(name, [math.nan] * (len(self.steps) - 1))
            values.append(means.get(name, math.nan))


def train(
    model: nn.Module,
    players: Player | Sequence[Player],
    batches: Any,
    steps: int,
    *,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    log_every: int = 50,
) -> History:
    """Train `model` for `steps` steps and return its History.

    model: a module that holds everything that is trained; its convolutions are laid out
    channels_last. players: a Player, or a list of them that move in this order. batches: anything
    with batches[step], a pure function of the step (FactorData.batches).

    checkpoint: a path. The run is saved there every `checkpoint_every` steps, and an interrupted
    run goes on from it to the same final weights, bit for bit on the CPU. At the end it is
    removed. One that another set-up left is renamed, not used. A set-up is known by the file's
    name, torch's seed, `steps`, the settings of batches and optimisers, and the shapes of all
    parameters: after a change in what a loss computes, delete the checkpoint.

    A network that this session has trained before goes on from its weights, and that is printed.

    Raises FloatingPointError at a non-finite loss (on the CPU at once, on a GPU at the next log),
    ValueError for a damaged checkpoint.
    """
    players = [players] if isinstance(players, Player) else list(players)
    model.to(memory_format=torch.channels_last)
    history, first = History(), 0
    if checkpoint is not None:
        checkpoint = Path(checkpoint)
        facts = checkpoints.facts(checkpoint, model, players, batches, steps)
        first, kept = checkpoints.resume(checkpoint, facts, model, players)
        history = History(**kept)
        if first and not (taking and first == steps):
            print(f"{checkpoint.name}: goes on from step {first:,}")
    before = 0 if first else _trained.get(model, 0)
    _trained[model] = before + first
    if before:
        print(
            f"this network has been trained for {before:,} steps and goes on from there; "
            "run the cell that makes it to start anew"
        )
    device = next(model.parameters()).device
    on_cpu = device.type == "cpu"
    if first < steps and device_name(device) not in history.devices:
        history.devices.append(device_name(device))
    log, started, images = _Log(), time.perf_counter(), 0
    model.train()
    # With miniters, slow steps are shown, too; mininterval keeps fast ones from costing anything.
    options = {"desc": "training", "miniters": 1, "mininterval": 0.5}
    with Bar(total=steps, initial=first, **options) as bar:
        for step in range(first, steps):
            batch = batches[step]
            images += len(batch[0])
            for k, player in enumerate(players):
                if step % player.every:
                    continue
                scalars = player.loss(batch)
                if on_cpu:
                    _check_finite(scalars["loss"], step, k, scalars)
                player.optimizer.zero_grad(set_to_none=True)
                scalars["loss"].backward(inputs=player.parameters)
                player.optimizer.step()
                if player.scheduler is not None:
                    player.scheduler.step()
                log.add(k, scalars)
            done = step + 1
            _trained[model] = before + done
            saving = checkpoint is not None and done % checkpoint_every == 0 and done < steps
            if done % log_every == 0 or saving or done == steps:
                means = log.means(len(players), done)
                history.add(done, means)
                seconds = time.perf_counter() - started
                history.images_per_second = images / seconds
                bar.set_postfix_str(
                    f"loss {means['loss']:.4g}, {images / seconds:,.0f} images/s", refresh=False
                )
            bar.update()
            if saving:
                history.seconds += time.perf_counter() - started
                started, images = time.perf_counter(), 0
                checkpoints.save(checkpoint, facts, model, players, done, vars(history))
    history.seconds += time.perf_counter() - started
    model.eval()
    if checkpoint is not None and ahead is not None:
        checkpoints.save(checkpoint, facts, model, players, steps, vars(history))
        ahead.append(checkpoint)
    elif checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return history


class _Log:
    """Sums of detached scalars since the last log, kept on the device so that nothing waits."""

    def __init__(self):
        self.sums, self.counts = {}, {}

    def add(self, player, scalars):
        for name, value in scalars.items():
            key = (player, name)
            self.sums[key] = self.sums.get(key, 0) + value.detach().float()
            self.counts[key] = self.counts.get(key, 0) + 1

    def means(self, n_players, step):
        """Mean of each scalar; with several players as "0 loss", "1 loss", their mean as "loss"."""
        means = {key: float(total) / self.counts[key] for key, total in self.sums.items()}
        self.__init__()
        for (player, name), value in means.items():
            if name == "loss":
                _check_finite(torch.tensor(value), step - 1, player, {})
        if n_players == 1:
            return {"loss": math.nan} | {name: value for (_, name), value in means.items()}
        named = {f"{player} {name}": value for (player, name), value in means.items()}
        losses = [value for (_, name), value in means.items() if name == "loss"]
        return named | {"loss": sum(losses) / len(losses) if losses else math.nan}


def _check_finite(loss, step, player, scalars):
    if not torch.isfinite(loss):
        parts = ", ".join(f"{name} {value.item():.4g}" for name, value in scalars.items())
        raise FloatingPointError(
            f"the loss of player {player} is {loss.item()} at step {step} "
            f"({parts or 'since last log'}). Lower the learning rate, or look for a log or a "
            "division by 0 in the loss; the last checkpoint, if any, is from before this step"
        )
