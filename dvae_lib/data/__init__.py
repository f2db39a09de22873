"""Data sets with known factors. `load` is the door; `FactorData` is what comes out of it."""

import importlib

from .factor_data import Batches, FactorData, to_uint8

SETS = ("digits", "sprites")

__all__ = ["SETS", "Batches", "FactorData", "load", "to_uint8"]


def load(name, **options):
    """The data set called `name`, as FactorData; options are those of dvae_lib/data/<name>.py.

    Raises ValueError for an unknown name, listing what exists.
    """
    if name not in SETS:
        raise ValueError(f"no data set {name!r}; there are: {', '.join(SETS)}")
    return importlib.import_module(f".{name}", __name__).load(**options)
