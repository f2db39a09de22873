"""Checkpoints of a training: a kill loses nothing, and another set-up takes nothing over."""

import itertools
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import files


def save(
    path: Path, facts: dict, model: nn.Module, players: list, step: int, history: dict
) -> None:
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
    about["history"] = history
    with files.atomic(path) as temporary:
        save_file(tensors, temporary, metadata={"about": json.dumps(about)})


def resume(path: Path, facts: dict, model: nn.Module, players: list) -> tuple[int, dict]:
    """(step, history) of a checkpoint whose tensors are put in place; (0, {}) without one.

    Raises ValueError for a damaged one.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return 0, {}
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
            # Copies, since Windows replaces no file that is mapped into memory.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"the checkpoint {path} is damaged ({error}); delete it to start from step 0"
        ) from error
    if about.get("facts") != json.loads(json.dumps(facts)):  # where tuples are lists
        aside = _set_aside(path)
        print(f"{path.name} was left by another set-up; kept as {aside.name}, training starts anew")
        return 0, {}
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
    return about["step"], about["history"]


def _part(tensors, prefix):
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def facts(path: Path, model: nn.Module, players: list, batches: Any, steps: int) -> dict:
    """What a checkpoint is known by: its file's name, the seed, the steps, the settings of data and
    optimisers, and the shapes of all parameters. What a loss computes is not among them."""
    return {
        "name": path.name,
        "seed": torch.initial_seed(),
        "steps": steps,
        "batches": repr(batches),
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
