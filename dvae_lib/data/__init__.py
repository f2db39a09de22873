"""Data sets with known factors: `load` is the one door, `catalogue` lists what is behind it.

The first four sets are made on the reader's machine, offline; the others read original files.
"""

import importlib
import os
from pathlib import Path
from typing import Any

from .. import tables
from . import published
from .factor_data import Batches, FactorData, to_uint8

SETS = {
    "digits": "digits.load",
    "sprites": "sprites.load",
    "rooms": "rooms.load",
    "faces": "faces.load",
    "dsprites": "originals.dsprites",
    "mnist": "originals.mnist",
    "shapes3d": "originals.shapes3d",
    "mpi3d": "originals.mpi3d",
    "falcor3d": "originals.falcor3d",
    "isaac3d": "originals.isaac3d",
    "cars3d": "originals.cars3d",
    "smallnorb": "originals.smallnorb",
    "cifar10": "photographs.cifar10",
    "celeba": "photographs.celeba",
}

COLUMNS = ("images", "factors", "source", "licence", "stands_in_for")

__all__ = ["SETS", "Batches", "FactorData", "catalogue", "load", "to_uint8"]


def load(name: str, **options: Any) -> FactorData:
    """The data set called `name`, as FactorData; the options are those of the function in SETS.

    In paths among the options, ~ is the home folder. Raises ValueError for an unknown name, listing
    what exists.

    >>> load("sprites", n=200)
    FactorData(sprites: 200 images 1x64x64; shape 3, scale 6, orientation 40, x 32, y 32)
    """
    if name not in SETS:
        raise ValueError(f"no data set {name!r}; there are: {', '.join(SETS)}")
    module, function = _place(name)
    for option, value in options.items():
        if isinstance(value, str | Path):
            options[option] = os.path.expanduser(value)
    return getattr(module, function)(**options)


def catalogue() -> tables.Table:
    """Every set with its images, factors, source, licence, and what it stands in for: a table."""
    rows = []
    for name in SETS:
        module, function = _place(name)
        about = module.ABOUT if function == "load" else published.ABOUT[function]
        rows.append((name, *(about[column] for column in COLUMNS)))
    head = ("name", *(column.replace("_", " ") for column in COLUMNS))
    return tables.Table([head, *rows])


def _place(name):
    module, function = SETS[name].split(".")
    return importlib.import_module(f".{module}", __name__), function
