"""The training loop: one or more players take turns on batches, and a kill loses nothing."""

import itertools
import json
import math
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm.auto import tqdm

from . import files

# Networks that this session has trained, with their steps: a cell that is run again goes on.
_trained = weakref.WeakKeyDictionary()


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
    def parameters(self):
        return [p for group in self.optimizer.param_groups for p in group["params"]]


@dataclass
class History:
    """What a training logged: steps, and for each scalar its mean since the step before.

    A scalar has a value for every step, NaN where its player did not move since the step before.
    """

    steps: list[int] = field(default_factory=list)
    scalars: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    images_per_second: float = 0.0

    def add(self, step, means):
        self.steps.append(step)
        for name in self.scalars | means:
            values = self.scalars.setdefault(name, [math.nan] * (len(self.steps) - 1))
            values.append(means.get(name, math.nan))


def train(
    model,
    players,
    batches,
    steps,
    *,
    checkpoint=None,
    checkpoint_every=1000,
    log_every=50,
    bf16=False,
    compile=False,
    live=False,
):
    """Train `model` for `steps` steps and return its History.

    model: a module that holds everything that is trained; its convolutions are laid out
    channels_last. players: a Player, or a list of them that move in this order. batches: anything
    with batches[step], a pure function of the step (FactorData.batches). bf16 runs the losses
    under bfloat16 autocast; compile passes them through torch.compile; live redraws the curves.

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
    losses = [
        torch.compile(p.loss, **_compile_options(model)) if compile else p.loss for p in players
    ]
    history, first = History(), 0
    if checkpoint is not None:
        checkpoint = Path(checkpoint)
        facts = _facts(checkpoint, model, players, batches, steps, bf16)
        first, history = _resume(checkpoint, facts, model, players)
    before = 0 if first else _trained.get(model, 0)
    if before:
        print(
            f"this network has been trained for {before:,} steps and goes on from there; "
            "run the cell that makes it to start anew"
        )
    device = next(model.parameters()).device
    on_cpu = device.type == "cpu"
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=bf16)
    log, started, images = _Log(), time.perf_counter(), 0
    curves = _LiveCurves() if live else None
    model.train()
    # With miniters, slow steps are shown, too; mininterval keeps fast ones from costing anything.
    options = {"desc": "training", "leave": False, "miniters": 1, "mininterval": 0.5}
    with tqdm(total=steps, initial=first, **options) as bar:
        for step in range(first, steps):
            batch = batches[step]
            images += len(batch[0])
            for k, player in enumerate(players):
                if step % player.every:
                    continue
                with autocast:
                    scalars = losses[k](batch)
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
                if curves:
                    curves.draw(history)
            bar.update()
            if saving:
                history.seconds += time.perf_counter() - started
                started, images = time.perf_counter(), 0
                _save(checkpoint, facts, model, players, done, history)
    history.seconds += time.perf_counter() - started
    model.eval()
    if checkpoint is not None:
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


def _compile_options(model):
    """CUDA graphs where there is CUDA: small networks are bound by launches there."""
    on_cuda = next(model.parameters()).is_cuda
    return {"mode": "reduce-overhead"} if on_cuda else {}


class _LiveCurves:
    """A loss figure that is redrawn in place, at most every two seconds."""

    def __init__(self):
        self.handle, self.drawn = None, 0.0

    def draw(self, history):
        from IPython.display import display

        from . import figures

        if time.perf_counter() - self.drawn < 2:
            return
        figure = figures.loss_curves(history)
        if self.handle is None:
            self.handle = display(figure, display_id=True)
        else:
            self.handle.update(figure)
        self.drawn = time.perf_counter()


# --- checkpoints -------------------------------------------------------------------------------


def _save(path, facts, model, players, step, history):
    from safetensors.torch import save_file

    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    groups, schedulers = [], []
    for k, player in enumerate(players):
        state = player.optimizer.state_dict()
        groups.append(state["param_groups"])
        schedulers.append(player.scheduler and player.scheduler.state_dict())
        for index, entries in state["state"].items():
            tensors |= {f"optimizer.{k}.{index}.{name}": v for name, v in entries.items()}
    tensors["rng.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    # safetensors refuses tensors that share memory or are not contiguous.
    tensors = {
        name: value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    about = {"facts": facts, "step": step, "groups": groups, "schedulers": schedulers}
    about["history"] = vars(history)
    with files.atomic(path) as temporary:
        save_file(tensors, temporary, metadata={"about": json.dumps(about)})


def _resume(path, facts, model, players):
    """(step, history) of a checkpoint whose tensors are put in place; (0, new) without one."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return 0, History()
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"the checkpoint {path} is damaged ({error}); delete it to start from step 0"
        ) from error
    if about.get("facts") != json.loads(json.dumps(facts)):  # where tuples are lists
        aside = _set_aside(path)
        print(f"{path.name} was left by another set-up; kept as {aside.name}, training starts anew")
        return 0, History()
    model.load_state_dict(_part(tensors, "model."))
    for k, (player, groups) in enumerate(zip(players, about["groups"], strict=True)):
        state = {}
        for name, value in _part(tensors, f"optimizer.{k}.").items():
            index, entry = name.split(".", 1)
            state.setdefault(int(index), {})[entry] = value
        player.optimizer.load_state_dict({"state": state, "param_groups": groups})
        if player.scheduler is not None:
            player.scheduler.load_state_dict(about["schedulers"][k])
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    print(f"{path.name}: goes on from step {about['step']:,}")
    return about["step"], History(**about["history"])


def _part(tensors, prefix):
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _facts(path, model, players, batches, steps, bf16):
    """What a checkpoint is known by: its file's name, the seed, the steps, the settings of data and
    optimisers, and the shapes of all parameters. What a loss computes is not among them."""
    return {
        "name": path.name,
        "seed": torch.initial_seed(),
        "steps": steps,
        "batches": repr(batches),
        "bf16": bf16,
        "model": {name: list(value.shape) for name, value in model.state_dict().items()},
        "players": [
            {
                "every": player.every,
                "optimizer": type(player.optimizer).__name__,
                "groups": [_settings(group) for group in player.optimizer.param_groups],
                "shapes": [list(parameter.shape) for parameter in player.parameters],
            }
            for player in players
        ],
    }


def _settings(group):
    """The settings of a group of parameters. A scheduler changes lr, and keeps what it was."""
    settings = {name: value for name, value in group.items() if name != "params"}
    if "initial_lr" in settings:
        settings["lr"] = settings.pop("initial_lr")
    return settings


def _set_aside(path):
    """Rename a checkpoint of another set-up to the first free name. Returns the new path."""
    for k in itertools.count(1):
        aside = path.with_suffix(f".old{k}{path.suffix}")
        if not aside.exists():
            return path.rename(aside)
