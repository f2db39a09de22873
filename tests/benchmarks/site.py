"""The site in Chromium: how long it builds, how large it is, how soon a widget draws and follows.

Goals: the first picture within 2 s of scrolling to a widget, each move within 50 ms at 64x64.
Usage: site.py [FOLDER], of a site that is built already. A move is a key at a slider; the time is
that from the slider's event to the picture on the canvas. A busy machine makes it meaningless:
look at the load that is printed.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import _measure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from in_jupyterlab import chromium
from in_pages import MOVES, open_widget, serve

from dvae_lib.site import build, live

MOVES_A_WIDGET = 40


def size(folder, pattern="*"):
    return sum(path.stat().st_size for path in Path(folder).rglob(pattern) if path.is_file()) / 1e6


def measure(page, k):
    """Seconds to the first picture of widget k, milliseconds of each move, and its sides."""
    started = time.perf_counter()
    box = open_widget(page, k)
    first = time.perf_counter() - started
    box.evaluate(MOVES)
    slider = box.locator("input[type=range]").nth(1)
    slider.focus()
    for n in range(MOVES_A_WIDGET):
        page.keyboard.press("ArrowRight" if n // 5 % 2 else "ArrowLeft")
        page.wait_for_timeout(120)
    moves = page.evaluate("moves")
    canvas = box.locator("canvas")
    sides = canvas.evaluate("canvas => [canvas.width, canvas.height]")
    return first, moves, sides


_measure.start("The site in Chromium")
print(f"load of the last minute: {os.getloadavg()[0]:.1f}")
with tempfile.TemporaryDirectory() as temporary:
    folder = sys.argv[1] if len(sys.argv) > 1 else temporary
    if folder == temporary:
        print(f"built in {_measure.seconds(lambda: build.build(folder)):.0f} s")
    print(
        f"{size(folder):.1f} MB, of which {size(folder, '*.wasm.gz'):.1f} the WebAssembly runtime, "
    )
    print(f"{size(folder, '*.onnx.gz'):.1f} networks, {size(folder, '*.png'):.1f} pictures")
    with serve(folder) as address, chromium() as browser:
        for name in live.OF:
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.goto(f"{address}/{name}.html", wait_until="networkidle")
            for k in range(page.locator(".dvae-live").count()):
                first, moves, (width, height) = measure(page, k)
                median = statistics.median(moves)
                print(
                    f"{name}, widget {k + 1}, {width}x{height}: first picture {first:.2f} s, "
                    f"{len(moves)} moves, median {median:.1f} ms, longest {max(moves):.1f} ms"
                )
            page.close()
print(f"load of the last minute: {os.getloadavg()[0]:.1f}")
