"""Run notebooks at tier smoke on the pretended GPU that refuses most, and say what failed.

    echo notebooks/01_vae.ipynb | python tests/run_pretended.py

A script that reads the paths of notebooks. What they import, which takes seconds, is imported
once, and each runs in a fork of this process. Every value that a cell shows is made, in all its
forms, so that widgets draw their pictures. For each notebook comes a line: [what failed], as JSON.

Nothing is looked at but what is asked of the device, and so `hurry` leaves out what asks nothing.
"""

import functools
import json
import os
import sys
import traceback

import nbformat
import torch
import torch._dynamo  # noqa: F401 (of the first step of an optimiser)
from IPython.core.interactiveshell import InteractiveShell
from pretend_device import Device
from sklearn import ensemble, linear_model, neural_network, svm

from dvae_lib import features, figures, metrics, training, widgets, workbook  # noqa: F401
from dvae_lib.metrics import boosting

STEPS = 10  # of a training, at most: each asks for the same
ROUNDS = 3  # of boosting
FITS = {"max_iter": 2, "n_estimators": 2}  # of scikit-learn, which works on the CPU


def hurry():
    """Short trainings and fits, and no pixels of figures, which are laid out all the same."""
    training.train = shortened(training.train)
    boosting.fit.__wrapped__.__kwdefaults__["rounds"] = ROUNDS
    for module in (ensemble, linear_model, neural_network, svm):
        for kind in (vars(module)[name] for name in module.__all__):
            if hasattr(kind, "fit"):
                kind.fit = hurried(kind.fit)
    figures.DescribedFigure.savefig = lambda *_, **__: None
    figures.in_palette = lambda png: png


def shortened(train):
    @functools.wraps(train)
    def train_shortly(model, players, batches, steps, **options):
        return train(model, players, batches, min(steps, STEPS), **options)

    return train_shortly


def hurried(fit):
    @functools.wraps(fit)
    def fit_hurriedly(model, *data, **options):
        known = model.get_params(deep=False)
        model.set_params(**{name: few for name, few in FITS.items() if name in known})
        return fit(model, *data, **options)

    return fit_hurriedly


def run(path):
    """What failed, each with its cell and where it arose."""
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
    return failures


if __name__ == "__main__":
    os.environ["MPLBACKEND"] = "agg"
    torch.backends.mps.is_available = functools.cache(lambda: True)  # PyTorch unwraps the cache
    torch.set_num_threads(1)
    answers = os.dup(1)
    os.dup2(2, 1)  # what notebooks print is no answer
    for line in sys.stdin:
        process = os.fork()
        if not process:
            hurry()
            with Device("mps"):
                failures = run(line.strip())
            os.write(answers, f"{json.dumps(failures)}\n".encode())
            os._exit(0)
        if status := os.waitpid(process, 0)[1]:
            os.write(answers, f'["its process ended with status {status}"]\n'.encode())
