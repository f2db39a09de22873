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

from dvae_lib import classroom, sources

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
SECONDS = 1000  # Playwright counts in milliseconds

WITH_WIDGETS = (
    "01_vae",
    "03_measuring_disentanglement",
    "04_label_relevant_vae",
    "07_latent_quantization",
    "08_quantized_infogan",
    "09_ard_vae",
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None and not os.environ.get("CI"),
        reason="no chromium on the path; install it (Debian: apt-get install chromium)",
    ),
]


def smoke_copy(source, folder):
    """A notebook at tier smoke, with its outputs cleared."""
    notebook = nbformat.read(source, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if "parameters" in cell.metadata.get("tags", []):
                cell.source = cell.source.replace('"classroom"', '"smoke"')
                assert '"smoke"' in cell.source
    nbformat.write(notebook, folder / source.name)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab that serves smoke copies and an unsolved assignment."""
    folder = tmp_path_factory.mktemp("lab")
    for name in WITH_WIDGETS:
        smoke_copy(sources.notebook_path(name), folder)
    (released,) = classroom.release(["00_start_here"], tmp_path_factory.mktemp("course"))
    smoke_copy(released, folder)
    shutil.copy(released.with_suffix(".reference"), folder)
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
    """Notebook 01 with its widget."""
    page = run_all(browser, lab, "01_vae")
    page.locator(".dvae-picture").first.wait_for(timeout=180 * SECONDS)
    yield page
    page.close()


def wait_until(page, condition, what):
    """Look ten times a second, for ten seconds: what a slider shows comes from the kernel."""
    for _ in range(100):
        if condition():
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{what} within 10 seconds")


def outputs(page, kind):
    """How many outputs of a kind the page shows; an error is of the kind stderr."""
    name = f"application/vnd.jupyter.{kind}"
    return page.locator(f".jp-OutputArea-output[data-mime-type='{name}']").count()


def test_no_cell_shows_an_error(page):
    assert outputs(page, "stdout") > 5  # so the selector finds outputs of a kind
    assert outputs(page, "stderr") == 0


def test_dragging_a_slider_changes_the_picture(page):
    picture = page.locator(".dvae-picture").first
    picture.scroll_into_view_if_needed()
    before = picture.screenshot()
    # The first slider picks the image, the second is the most informative latent axis.
    handle = page.locator(".widget-slider .noUi-handle").nth(1)
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y, steps=6)
    page.mouse.up()
    wait_until(page, lambda: picture.screenshot() != before, "dragging changed nothing")
    page.get_by_role("button", name="reset").first.click()
    wait_until(page, lambda: picture.screenshot() == before, "reset did not bring the picture back")


def test_the_arrow_keys_move_a_slider(page):
    picture = page.locator(".dvae-picture").first
    before = picture.screenshot()
    handle = page.locator(".widget-slider .noUi-handle").nth(1)
    handle.focus()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    wait_until(page, lambda: picture.screenshot() != before, "the keys changed nothing")


def test_the_metrics_follow_their_slider(browser, lab):
    page = run_all(browser, lab, "03_measuring_disentanglement")
    picture = page.locator(".dvae-picture").first
    picture.wait_for(timeout=180 * SECONDS)
    picture.scroll_into_view_if_needed()
    wait_until(page, lambda: picture.bounding_box()["width"] > 200, "no figure")
    before = picture.screenshot()
    page.locator(".widget-slider .noUi-handle").first.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    wait_until(page, lambda: picture.screenshot() != before, "the figure did not follow")
    assert outputs(page, "stderr") == 0
    page.close()


def assert_moves(page, picture, name, steps):
    """Move the slider called `name`, by keyboard; the picture must change. Returns its readout."""
    picture.scroll_into_view_if_needed()
    before = picture.screenshot()
    slider = page.locator(".widget-slider", has_text=name)
    slider.locator(".noUi-handle").focus()
    for _ in range(steps):
        page.keyboard.press("ArrowRight")
    wait_until(page, lambda: picture.screenshot() != before, f"{name} changed nothing")
    return slider.locator(".widget-readout").inner_text()


def test_codes_are_swapped_and_classes_sampled(browser, lab):
    page = run_all(browser, lab, "04_label_relevant_vae")
    swap, sampler = (page.locator(".dvae-picture").nth(k) for k in range(2))
    sampler.wait_for(timeout=180 * SECONDS)
    for name in ("z_s from A to B", "z_u from A to B", "image A"):
        assert_moves(page, swap, name, 8)
    sampler.scroll_into_view_if_needed()
    before = sampler.screenshot()
    page.get_by_role("button", name="draw again").click()
    wait_until(page, lambda: sampler.screenshot() != before, "no new samples were drawn")
    assert outputs(page, "stderr") == 0
    page.close()


@pytest.mark.parametrize(
    ("name", "slider", "after"),
    [
        ("07_latent_quantization", "value", "9"),
        ("08_quantized_infogan", "z0", "9"),
        ("09_ard_vae", "share", "0.909"),
    ],
)
def test_nine_steps_of_a_slider_change_the_picture(browser, lab, name, slider, after):
    page = run_all(browser, lab, name)
    picture = page.locator(".dvae-picture").first
    picture.wait_for(timeout=180 * SECONDS)
    readout = assert_moves(page, picture, slider, 9)
    assert readout == after
    assert outputs(page, "stderr") == 0
    page.close()


def test_an_unsolved_assignment_runs_to_its_end(browser, lab):
    page = run_all(browser, lab, "00_start_here")
    page.get_by_text("not passed; the notebook goes on with the reference's").wait_for(
        timeout=60 * SECONDS
    )
    page.locator(".dvae-picture").first.wait_for(timeout=60 * SECONDS)  # in a later cell
    assert outputs(page, "stderr") == 1
    page.close()
