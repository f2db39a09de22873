"""From a key at a slider to the new picture, in JupyterLab in Chromium, as a reader waits for it.

Goal: 150 ms at the median, for every widget of the workbook. Usage: key_to_picture.py [NOTEBOOK …],
by default all; each is executed at tier smoke first, whose widgets compute what those of a longer
run do. A busy machine makes it meaningless: look at the load that is printed.
"""

import contextlib
import math
import os
import statistics
import sys
import tempfile
from pathlib import Path

import _measure
import nbformat
from playwright.sync_api import TimeoutError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from in_jupyterlab import PICTURES, SECONDS, chromium, run_all, serve

from dvae_lib import paths

KEYS = ["ArrowRight", "ArrowLeft"] * 5


def copy(notebook, folder):
    """The notebook at tier smoke, with a last cell that tells when it is done."""
    content = nbformat.read(paths.notebook_path(notebook), as_version=4)
    for cell in content.cells:
        cell.source = cell.source.replace('tier = "classroom"', 'tier = "smoke"')
    content.cells.append(nbformat.v4.new_code_cell('print("all cells " + "have run")'))
    nbformat.write(content, folder / f"{notebook}.ipynb")


def times(page, slider):
    """Milliseconds from each key to the picture that follows it."""
    slider.focus()  # where it stands: at their ends, sliders make others do nothing
    page.wait_for_timeout(SECONDS)
    page.evaluate("pictures.length = 0")
    for key in KEYS:
        seen = page.evaluate("pictures.length")
        page.keyboard.press(key)
        with contextlib.suppress(TimeoutError):  # some positions look alike: no new picture
            page.wait_for_function(f"pictures.length > {seen}", timeout=3 * SECONDS)
        page.wait_for_timeout(50)
    return page.evaluate("pictures")


def measure(page):
    """A line for every slider of every widget that the page shows."""
    boxes = page.locator(".dvae-live:has(.dvae-picture)")
    for k in range(boxes.count()):
        box = boxes.nth(k)
        if not box.is_visible():
            continue
        picture = box.locator(".dvae-picture")
        picture.scroll_into_view_if_needed()
        picture.evaluate(PICTURES)
        for slider in box.get_by_role("slider").all():
            if slider.is_visible():
                taken = times(page, slider) or [math.nan]
                name = slider.get_attribute("aria-label")
                median, worst = statistics.median(taken), max(taken)
                load = os.getloadavg()[0]
                print(
                    f"  {k} {name}: median {median:.0f} ms, worst {worst:.0f} ms, load {load:.1f}"
                )


def main():
    _measure.start("key to picture: " + __doc__.split("\n")[0])
    stored = sorted(paths.notebooks_folder().glob("*.ipynb"))
    notebooks = sys.argv[1:] or [path.stem for path in stored]
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        for notebook in notebooks:
            copy(notebook, Path(folder))
        with serve(Path(folder)) as lab:
            for notebook in notebooks:
                print(notebook, flush=True)
                page = run_all(browser, lab, notebook)
                page.get_by_text("all cells have run", exact=True).wait_for(timeout=300 * SECONDS)
                measure(page)
                page.close()


if __name__ == "__main__":
    main()
