"""The runtime of a notebook: its tier, seed and device, what it records, and what it saves.

A notebook begins with ``run = workbook.start("01_vae", tier, seed, device)``.
"""

import copy
import io
import json
import math
import os
import random
import time
import warnings
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import files, models
from .data import FactorData
from .definitions import definitions
from .devices import device_name, pick_device, processor_name
from .evidence import Sweep
from .paths import data_folder, run_folder
from .results import TIERS, Interval, Row, check, interval, results_table
from .tables import Table

__all__ = [
    "TIERS",
    "Codes",
    "Interval",
    "Run",
    "data_folder",
    "definitions",
    "interval",
    "load_codes",
    "pick_device",
    "start",
]

VERSIONS_OF = ("dvae_lib", "torch", "torchvision", "numpy")


def start(
    notebook: str, tier: str = "classroom", seed: int = 0, device: str | torch.device = "auto"
) -> "Run":
    """Seed everything, choose the device, and return the Run.

    Raises ValueError for an unknown tier, a wrong seed or a device that is not there.
    """
    check(tier, seed)
    chosen = pick_device(device)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (libraries still draw from it)
    torch.manual_seed(seed)
    # Keep warnings about a coming release out of what a reader sees; errors still raise.
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    if "JPY_SESSION_NAME" in os.environ:  # Jupyter's server sets it: a person reads what fails
        from . import practice

        practice.explain_checks(notebook)
    return Run(notebook, tier, seed, chosen)


class Run:
    """One execution of a notebook. `folder` is where it writes; made when first written to."""

    def __init__(self, notebook: str, tier: str, seed: int, device: torch.device) -> None:
        self.notebook, self.tier, self.seed, self.device = notebook, tier, seed, device
        self.folder = run_folder(notebook, tier, seed)
        self.rows, self._picked = [], []
        self._started = time.perf_counter()

    def __repr__(self):
        return f"{self.notebook}: tier {self.tier}, seed {self.seed}, {device_name(self.device)}"

    def pick(self, **values: Any) -> Any:
        """The value for this run's tier: run.pick(smoke=20, classroom=4_000, paper=200_000).

        Without `long`, tier long has the value of classroom: it trains a notebook's headline pair
        for longer, and leaves all else as it is.
        """
        if not set(TIERS) - {"long"} <= set(values) <= set(TIERS):
            raise ValueError(f"pick({', '.join(values)}); give a value for each of {TIERS}")
        self._picked.append(values)
        return ({"long": values["classroom"]} | values)[self.tier]

    def record(
        self,
        name: str,
        value: float | torch.Tensor,
        *,
        paper: float | str | None = None,
        at_least: float | torch.Tensor | None = None,
        at_most: float | torch.Tensor | None = None,
        unit: str = "",
    ) -> None:
        """Record a measured number, and the claim it must meet at any tier but smoke.

        paper: the published number, as a number or words. at_least, at_most: the bounds of the
        claim. The row is written at once; a name that is recorded again replaces its row.
        Raises ValueError if the value is not a finite number.
        """
        value = float(value)
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}; only finite numbers are recorded")
        low, high = (None if bound is None else float(bound) for bound in (at_least, at_most))
        row = Row(name, value, unit, paper, low, high)
        self.rows = [r for r in self.rows if r.name != name] + [row]
        self._write()

    def results(self) -> Table:
        """The table of what was recorded, for the end of a notebook.

        Beside this run stand the stored seeds of its tier, unless they are out of date, and the
        stored run at tier long. Claims with stored seeds are judged on these.
        """
        sweep = self.sweep()
        seeds = {} if sweep.out_of_date else sweep.seeds(self.tier)
        long = {name: values[0] for name, values in sweep.seeds("long").items()}
        return results_table(self.rows, self.tier, seeds, {} if self.tier == "long" else long)

    def sweep(self) -> Sweep:
        """The stored sweep of this notebook, for intervals over seeds. See evidence.Sweep."""
        return Sweep.read(self.notebook)

    def keep(self, name: str, module: torch.nn.Module, history: Any = None) -> None:
        """Keep the trained weights of a module in the run's folder, in half precision.

        `dvae store NOTEBOOK --tier long` stores them with the workbook, and `stored` opens them.
        history: what training.train returned, for its steps, minutes and devices to be told.
        Raises ValueError for a weight that is not finite or too large for half precision.
        """
        about = {"tier": self.tier, "seed": self.seed, "device": device_name(self.device)}
        if history is not None:
            about |= {"steps": history.steps[-1], "minutes": round(history.seconds / 60, 1)}
            about["device"] = " and ".join(history.devices)
        models.keep(self.folder / "models" / f"{name}.safetensors", name, module, about)

    def stored(self, name: str, module: torch.nn.Module) -> models.Weights:
        """The model called `name` with the weights that are stored with the workbook.

        module: the network as it was trained here; it stays as it is. Returns models.Weights, whose
        `module` is a copy with the stored weights, and which says in words where they come from.
        Where none are stored or they do not fit, and at the tier that makes them, `module` itself.
        """
        return models.stored(self, name, module)

    def save_codes(
        self,
        method: str,
        encoder: torch.nn.Module,
        decoder: torch.nn.Module,
        codes: torch.Tensor,
        data: FactorData,
    ) -> Path:
        """Save a trained method as an encode/decode pair with its codes and factors.

        encoder: a module from images (B, C, H, W) in [0, 1] to codes (B, L). decoder: a module
        from codes to images in [0, 1]. codes: (N, L), those of the N images of `data`. Each module
        is saved as a program (torch.export) that runs without the notebook's classes.
        Returns the folder; `load_codes` reads it.
        """
        from safetensors.torch import save_file

        if len(codes) != len(data):
            raise ValueError(f"{len(codes)} codes for {len(data)} images of {data.name}")
        folder = self.folder / "codes" / method
        batch = torch.export.Dim("batch")
        for name, module, example in (
            ("encoder", encoder, data.floats(torch.arange(2, device=data.device))),
            ("decoder", decoder, codes[:2].float()),
        ):
            # A copy on the CPU in the plain memory layout opens on every machine.
            portable = copy.deepcopy(module).cpu().to(memory_format=torch.contiguous_format).eval()
            program = torch.export.export(
                portable, (example.cpu(),), dynamic_shapes=({0: batch},), strict=False
            )
            # Through memory: torch's own writer aborts the process when the disk is full.
            buffer = io.BytesIO()
            torch.export.save(program, buffer)
            with files.atomic(folder / f"{name}.pt2") as temporary:
                temporary.write_bytes(buffer.getvalue())
        about = {
            "notebook": self.notebook,
            "method": method,
            "tier": self.tier,
            "seed": str(self.seed),
            "data": data.name,
            "factor_names": json.dumps(data.factor_names),
            "factor_sizes": json.dumps(data.factor_sizes),
        }
        tensors = {"codes": codes, "factors": data.factors}
        with files.atomic(folder / "codes.safetensors") as temporary:
            save_file({k: v.cpu().contiguous() for k, v in tensors.items()}, temporary, about)
        return folder

    def _write(self):
        files.write_json(
            self.folder / "results.json",
            {
                "notebook": self.notebook,
                "tier": self.tier,
                "seed": self.seed,
                "device": device_name(self.device),
                "seconds": round(time.perf_counter() - self._started, 1),
                "processor": processor_name(),
                "threads": torch.get_num_threads(),
                "versions": {name: version(name) for name in VERSIONS_OF},
                "picks": self._picks(),
                "rows": [vars(row) for row in self.rows],
            },
        )

    def _picks(self):
        """What `pick` gave out so far, and what it would have given at the other tiers."""
        others = [copy.copy(self) for _ in TIERS]
        for other, tier in zip(others, TIERS, strict=True):
            other.tier, other._picked = tier, []
        return [
            {other.tier: _plain(other.pick(**values)) for other in others}
            for values in self._picked
        ]


def _plain(value):
    """A number or word as it is, of anything else its kind: a path is of one machine alone."""
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if isinstance(value, int | float | str | None) else type(value).__name__


@dataclass
class Codes:
    """A saved method: encode images to codes, decode codes to images, without any training."""

    encode: torch.nn.Module
    decode: torch.nn.Module
    codes: torch.Tensor
    factors: torch.Tensor
    about: dict


def load_codes(folder: str | Path) -> Codes:
    """Open what Run.save_codes wrote. Raises FileNotFoundError or ValueError, naming the fix."""
    from safetensors import SafetensorError, safe_open

    folder = Path(folder)
    if not (folder / "codes.safetensors").exists():
        raise FileNotFoundError(f"no saved codes in {folder}; run the notebook that saves them")
    try:
        with safe_open(folder / "codes.safetensors", "pt") as file:
            about = file.metadata()
            codes, factors = file.get_tensor("codes"), file.get_tensor("factors")
        modules = [torch.export.load(folder / f"{n}.pt2").module() for n in ("encoder", "decoder")]
    except (SafetensorError, zipfile.BadZipFile, RuntimeError, OSError, KeyError) as error:
        raise ValueError(f"the codes in {folder} are damaged ({error}); run it again") from error
    return Codes(*modules, codes, factors, about)
