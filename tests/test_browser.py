"""Widgets and an assignment as a reader meets them: JupyterLab, in Chromium."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import nbformat
import pytest
from conftest import notebook_of

from dvae_lib import classroom

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
SECONDS = 1000  # Playwright counts in milliseconds

# Every kind of widget, with networks that are as they were drawn: training adds nothing here. That
# the widgets of the workbook's own notebooks follow their controls is told by their smoke runs.
KINDS = {
    "traverse": "widgets.traverse(net(4), torch.randn(5, 4), axes=[2, 0])",
    "live_figure": """def draw(share, room):
    figure, axes = figures.subplots(alt="A line.")
    axes.plot([0, 1], [share, room])
    return figure

widgets.live_figure(draw, share=(0.9, 0.999, 0.001), room=(0, 9, 1))""",
    "factors": 'widgets.factors(data.load("sprites", n=10))',
    "swap": """both = net(4)
widgets.swap(lambda *z: both(torch.cat(z, 1)), *torch.randn(2, 5, 2), torch.rand(5, 3, 16, 16))""",
    "sampler": 'widgets.sampler(lambda k: torch.rand(4, 1, 8, 8) * k / 2, ["zero", "one", "two"])',
    # The last of them, since of its two pictures the second is hidden to begin with.
    "switch": """widgets.switch(
    {name: widgets.traverse(net(2), torch.zeros(1, 2)) for name in ("stored", "trained here")}
)""",
}
SET_UP = """import torch
from torch import nn
from dvae_lib import data, figures, widgets

def net(n_codes):
    parts = nn.Linear(n_codes, 3 * 16 * 16), nn.Sigmoid(), nn.Unflatten(1, (3, 16, 16))
    return nn.Sequential(*parts)

_ = torch.manual_seed(0)"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.notebook,
    pytest.mark.skipif(
        CHROMIUM is None and not os.environ.get("CI"),
        reason="no chromium on the path; install it (Debian: apt-get install chromium)",
    ),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab that serves a notebook of widgets and an unsolved assignment."""
    folder = tmp_path_factory.mktemp("lab")
    notebook = notebook_of(SET_UP, *KINDS.values(), 'print("the end")')
    nbformat.write(notebook, folder / "widgets.ipynb")
    (released,) = classroom.release(["00_start_here"], tmp_path_factory.mktemp("course"))
    shutil.copy(released.with_suffix(".reference"), folder)
    text = released.read_text()
    assert 'tier = \\"classroom\\"' in text
    (folder / released.name).write_text(text.replace('\\"classroom\\"', '\\"smoke\\"'))
    # All cells are kept in the page, so that the widget is there without scrolling.
    settings = folder / "settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"windowingMode": "none"}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "DVAE_RUNS": str(folder / "runs"),
    }
    address = f"http://127.0.0.1:{port}"
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
            + ["--IdentityProvider.token=", f"--ServerApp.root_dir={folder}"]
            + ["--ServerApp.port_retries=0", "--LabApp.news_url=", "--LabApp.check_for_updates=no"],
            env=environment,
            stdout=log,
            stderr=log,
        )
        try:
            wait_for(address + "/api", server, folder / "lab.log")
            yield address
        finally:
            server.terminate()
            server.wait(30)


def wait_for(url, server, log):
    for _ in range(120):
        assert server.poll() is None, f"JupyterLab ended: {log.read_text()[-2000:]}"
        try:
            urllib.request.urlopen(url)
            return
        except urllib.error.URLError:
            time.sleep(0.5)
    raise TimeoutError(f"JupyterLab did not answer: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


def run_all(browser, lab, name):
    """A notebook open in JupyterLab, after "Run All Cells" was chosen."""
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    page.goto(f"{lab}/lab/tree/{name}.ipynb?reset")  # a workspace of its own
    # The status bar names the kernel's state; before it is idle, the menu has nothing to run.
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=120 * SECONDS)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    return page


@pytest.fixture(scope="module")
def page(browser, lab):
    """The notebook of widgets, run to its end."""
    page = run_all(browser, lab, "widgets")
    page.get_by_text("the end", exact=True).wait_for(timeout=120 * SECONDS)
    yield page
    page.close()


class Widget:
    """The widget of a kind on the page."""

    def __init__(self, page, kind):
        self.page, self.picture = page, page.locator(".dvae-picture").nth(list(KINDS).index(kind))
        self.box = self.picture.locator("..")
        self.picture.scroll_into_view_if_needed()
        self.wait_until(lambda: self.picture.bounding_box()["width"] > 200, "there is no picture")

    def slider(self, name):
        return self.box.locator(".widget-slider", has_text=name)

    def press(self, button):
        self.box.get_by_role("button", name=button).click()

    def wait_until(self, condition, otherwise):
        """Look ten times a second, for half a minute: what is shown comes from the kernel."""
        for _ in range(300):
            if condition():
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"{otherwise} within 30 seconds")

    def assert_changed(self, before, what):
        self.wait_until(lambda: self.picture.screenshot() != before, f"{what} changed nothing")


def outputs(page, kind):
    """How many outputs of a kind the page shows; an error is of the kind stderr."""
    name = f"application/vnd.jupyter.{kind}"
    return page.locator(f".jp-OutputArea-output[data-mime-type='{name}']").count()


def test_dragging_a_slider_changes_the_picture(page):
    widget = Widget(page, "traverse")
    before = widget.picture.screenshot()
    box = widget.slider("z2").locator(".noUi-handle").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y, steps=6)
    page.mouse.up()
    widget.assert_changed(before, "dragging")
    widget.press("reset")
    widget.wait_until(
        lambda: widget.picture.screenshot() == before, "reset did not bring the picture back"
    )


@pytest.mark.parametrize(
    ("kind", "name", "steps", "after"),
    [
        ("traverse", "z0", 12, None),  # from where the code is
        ("traverse", "image", 3, "3"),
        ("live_figure", "share", 9, "0.909"),
        ("live_figure", "room", 9, "9"),
        ("factors", "shape", 1, "ellipse"),
        ("factors", "scale", 5, "1.00"),
        ("swap", "z_s from A to B", 8, "0.40"),
        ("swap", "z_u from A to B", 8, "0.40"),
        ("swap", "image A", 4, "4"),
        ("sampler", "class", 2, "two"),
    ],
)
def test_the_arrow_keys_move_a_slider(page, kind, name, steps, after):
    widget = Widget(page, kind)
    before = widget.picture.screenshot()
    slider = widget.slider(name)
    slider.locator(".noUi-handle").focus()
    for _ in range(steps):
        page.keyboard.press("ArrowRight")
    widget.assert_changed(before, name)
    if after:
        assert slider.locator(".widget-readout").inner_text() == after


def test_a_switch_shows_the_other_widget(page):
    pictures = [page.locator(".dvae-picture").nth(len(KINDS) - 1 + k) for k in range(2)]
    Widget(page, "switch")  # waits for the first picture
    for shown, button in ((1, "trained here"), (0, "stored")):
        page.get_by_role("button", name=button).click()
        pictures[shown].wait_for(state="visible", timeout=30 * SECONDS)
        pictures[1 - shown].wait_for(state="hidden", timeout=30 * SECONDS)
        page.wait_for_function(
            "picture => picture.naturalWidth > 200", arg=pictures[shown].element_handle()
        )


def test_the_sampler_draws_again(page):
    widget = Widget(page, "sampler")
    before = widget.picture.screenshot()
    widget.press("draw again")
    widget.assert_changed(before, "drawing again")


def test_no_cell_shows_an_error(page):
    """After all that was done on the page: what a moved slider raises is shown as an error."""
    assert page.locator(".dvae-picture").count() == len(KINDS) + 1  # two in the switch
    assert outputs(page, "stdout") == 1  # so the selector finds outputs of a kind
    assert outputs(page, "stderr") == 0


def test_an_unsolved_assignment_runs_to_its_end(browser, lab):
    page = run_all(browser, lab, "00_start_here")
    page.get_by_text("not passed; the notebook goes on with the reference's").wait_for(
        timeout=180 * SECONDS
    )
    page.locator(".dvae-picture").first.wait_for(timeout=180 * SECONDS)  # in a later cell
    assert outputs(page, "stderr") == 1
    page.close()
