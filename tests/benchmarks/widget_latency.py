"""Processor time from a slider's new value to new PNG bytes, in the widgets of notebooks.

Goal: under 100 ms at the median, which leaves 50 ms of the 150 ms that a reader waits for the way
to the browser. Usage: widget_latency.py [NOTEBOOK …], by default those whose widgets decode,
measure or draw most; each is executed at tier smoke first.
"""

import contextlib
import io
import statistics
import sys
import time

import _measure
import nbformat
from IPython.core.interactiveshell import InteractiveShell
from ipywidgets import Button

from dvae_lib import paths, widgets

NOTEBOOKS = ["01_vae", "03_measuring_disentanglement", "04_label_relevant_vae"]
NOTEBOOKS += ["07_latent_quantization", "09_ard_vae"]
MOVES = 10  # of each slider


def shown_by(notebook):
    """The widgets that a notebook shows, in order."""
    found, show = [], widgets.LiveImage.show
    widgets.LiveImage.show = lambda widget: (found.append(widget), show(widget))
    shell = InteractiveShell()
    for cell in nbformat.read(paths.notebook_path(notebook), as_version=4).cells:
        if cell.cell_type == "code":
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                source = cell.source.replace('tier = "classroom"', 'tier = "smoke"')
                shell.run_cell(source).raise_error()
    widgets.LiveImage.show = show
    return found


def milliseconds(slider):
    """Processor time of each of some moves of a slider."""
    name = "index" if hasattr(slider, "options") else "value"
    low, step = (0, 1) if name == "index" else (slider.min, slider.step)
    places = len(slider.options) if name == "index" else 1 + round((slider.max - low) / step)
    for k in range(min(MOVES, places)):
        started = time.process_time()
        setattr(slider, name, low + step * (k * places // min(MOVES, places)))
        yield 1000 * (time.process_time() - started)


def main():
    _measure.start("widget latency: " + __doc__.split("\n")[0])
    for notebook in sys.argv[1:] or NOTEBOOKS:
        for widget in shown_by(notebook):
            sliders = [c for c in widget.controls if not isinstance(c, Button)]
            times = [t for slider in sliders if not widget.hidden for t in milliseconds(slider)]
            if times:
                names = ", ".join(slider.description for slider in sliders)
                median, worst = statistics.median(times), max(times)
                print(f"{notebook} ({names}): median {median:.0f} ms, worst {worst:.0f} ms")


if __name__ == "__main__":
    main()
