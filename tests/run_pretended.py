"""Run notebooks at tier smoke on the pretended GPU that refuses most, and say what failed.

    python tests/run_pretended.py notebooks/01_vae.ipynb

A script, so that each notebook has a process of its own. Every value that a cell shows is made, in
all its forms, so that widgets draw their pictures. Exits with 1 if a cell or a display failed.
"""

import functools
import os
import sys
import traceback

import nbformat
import torch
from IPython.core.interactiveshell import InteractiveShell
from pretend_device import Device


def run(path):
    """The number of failures, each of which is printed with its cell and where it arose."""
    shell = InteractiveShell.instance()
    shell.display_formatter.active_types = shell.display_formatter.format_types
    failures = []

    def report(number, *args, **kwargs):  # also of displays, whose errors IPython does not raise
        error = sys.exc_info()[1]
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if "site-packages" not in f.filename and f.filename != __file__]
        lines = [f"\n    {os.path.basename(f.filename)}:{f.lineno} {f.line}" for f in own[-5:]]
        failures.append(f"cell {number}: {type(error).__name__}: {error}{''.join(lines)}")

    for number, cell in enumerate(nbformat.read(path, 4).cells):
        if cell.cell_type == "code":
            shell.showtraceback = shell.showsyntaxerror = functools.partial(report, number)
            parameters = "parameters" in cell.metadata.get("tags", [])
            shell.run_cell(cell.source + '\ntier = "smoke"' * parameters, store_history=True)
    print(*failures, sep="\n", file=sys.stderr)
    return len(failures)


if __name__ == "__main__":
    os.environ["MPLBACKEND"] = "agg"
    torch.backends.mps.is_available = functools.cache(lambda: True)  # PyTorch unwraps the cache
    with Device("mps"):
        sys.exit(any([run(path) for path in sys.argv[1:]]))
