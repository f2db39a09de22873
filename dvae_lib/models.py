"""Trained weights that are kept after a run, stored with the workbook, and opened by a reader.

A run keeps each model in a file of its own, runs/…/models/NAME.safetensors. Storing puts those of
one run together in notebooks/models/NOTEBOOK.safetensors, with who trained them, how long and by
which code.
"""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from . import files, paths

if TYPE_CHECKING:
    from .workbook import Run

MAX_BYTES = 2_000_000  # of the stored weights of a notebook
LARGEST = torch.finfo(torch.float16).max


@dataclass
class Weights:
    """A model and where its weights come from.

    module: the network. stored: False if it was trained in this run. words: a sentence that says
    so. label: the same in two or three words, for figures and widgets.
    """

    module: torch.nn.Module
    stored: bool
    words: str

    @property
    def label(self) -> str:
        return "stored long run" if self.stored else "trained here"

    def __repr__(self):
        return self.words


def keep(path: str | Path, name: str, module: torch.nn.Module, about: dict) -> None:
    """Write the weights of a module in half precision, with the facts in `about`, to `path`."""
    from safetensors.torch import save_file

    if "/" in name:
        raise ValueError(f"the name {name!r} of a model holds a slash; leave it out")
    tensors = {}
    for key, value in module.state_dict().items():
        value = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        if value.is_floating_point():
            if not bool((value.abs() <= LARGEST).all()):  # NaN is not below anything
                raise ValueError(
                    f"{key} of {name} holds NaN or a value above {LARGEST:g}; look at the training"
                )
            value = value.half()
        tensors[key] = value
    with files.atomic(path) as temporary:
        save_file(tensors, temporary, {"name": name, "about": json.dumps(about)})


def gather(notebook: str, folder: str | Path, commit: str, processor: str) -> Path | None:
    """Put the weights that a run kept in `folder` in the place of a notebook's stored ones.

    Returns the path, or None where nothing was kept. Raises ValueError, and leaves what was stored
    as it was, when they take more than MAX_BYTES.
    """
    from safetensors.torch import save_file

    tensors, about = {}, {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        facts, weights = _read(path)
        name = facts["name"]
        about[name] = json.loads(facts["about"]) | {"commit": commit, "processor": processor}
        tensors |= {f"{name}/{key}": value for key, value in weights.items()}
    if not about:
        return None
    size = sum(value.nbytes for value in tensors.values())
    if size > MAX_BYTES:
        raise ValueError(
            f"the weights of {notebook} take {size:,} bytes; at most {MAX_BYTES:,} are stored. "
            "Keep fewer models, or narrower ones"
        )
    with files.atomic(paths.models_path(notebook)) as temporary:
        save_file(tensors, temporary, {"about": json.dumps(about)})
    return paths.models_path(notebook)


def stored(run: "Run", name: str, module: torch.nn.Module) -> Weights:
    """See workbook.Run.stored."""
    path = paths.models_path(run.notebook)
    if not path.exists():
        return _trained_here(run, name, module, "no weights are stored")
    facts, tensors = _read(path)
    about = json.loads(facts["about"]).get(name)
    if about is None:
        return _trained_here(run, name, module, "no weights of this name are stored")
    if run.tier == about["tier"]:
        return _trained_here(run, name, module, "this is the tier whose weights are stored")
    weights = {
        key.removeprefix(f"{name}/"): value
        for key, value in tensors.items()
        if key.startswith(f"{name}/")
    }
    if misfit := _misfit(module.state_dict(), weights):
        reason = f"the stored weights are of another network ({misfit})"
        return _trained_here(run, name, module, reason)
    opened = copy.deepcopy(module)
    opened.load_state_dict(weights)  # copies into the module's own device, type and layout
    return Weights(opened.eval(), True, f"{name}: stored weights, {_history(about)}")


def _trained_here(run, name, module, reason):
    return Weights(module, False, f"{name}: trained here, tier {run.tier}; {reason}")


def _history(about):
    """For how long, on what and with which code a stored model was trained, in words."""
    trained = f"tier {about['tier']}, seed {about['seed']}"
    if "steps" in about:
        trained += f", {about['steps']:,} steps in {about['minutes']:g} minutes"
    return f"{trained} on {about['device']} ({about['processor']}), commit {about['commit'][:12]}"


def _misfit(own, weights):
    """The first way in which stored weights do not fit those of a module, or ""."""
    if missing := own.keys() ^ weights.keys():
        return f"{min(missing)} is in one of the two alone"
    for key, value in own.items():
        if value.shape != weights[key].shape:
            return f"{key} is {tuple(value.shape)} here and {tuple(weights[key].shape)} there"
    return ""


def _read(path):
    """(metadata, tensors) of a safetensors file. Raises ValueError, naming it, if it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return file.metadata(), {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"the weights in {path} are damaged ({error}); get them anew") from error
