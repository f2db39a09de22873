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
    "dsprites": "sprites.dsprites",
    "mnist": "digits.mnist",
    "shapes3d": "originals.shapes3d",
    "mpi3d": "originals.mpi3d",
    "falcor3d": "originals.falcor3d",
    "isaac3d": "originals.isaac3d",
    "cars3d": "originals.cars3d",
    "smallnorb": "originals.smallnorb",
    "cifar10": "photographs.cifar10",
    "celeba": "photographs.celeba",
}

COLUMNS = ("images", "factors", "source", "licence")

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
    for option, value in options.items():
        if isinstance(value, str | Path):
            options[option] = os.path.expanduser(value)
    return getattr(_module(name), SETS[name].partition(".")[2])(**options)


def catalogue() -> tables.Table:
    """A table of every set: its images, factors, source and licence.

    And of a set made here the originals that it stands in for, and how near it comes; of an
    original the notebooks that read it. The README says what to write there.
    """
    rows = []
    for name in SETS:
        about = published.ABOUT.get(name) or _module(name).ABOUT
        stands_in_for, readers = "", ""
        if name in published.STAND_INS:
            stands_in_for = f"{', '.join(published.STAND_INS[name])}: {about['likeness']}"
        else:
            readers = ", ".join(notebook[:2] for notebook in published.readers(name))
        rows.append((name, *(about[column] for column in COLUMNS), stands_in_for, readers))
    return tables.Table([("name", *COLUMNS, "stands in for", "read by notebooks"), *rows])


def _module(name):
    return importlib.import_module(f".{SETS[name].partition('.')[0]}", __name__)
