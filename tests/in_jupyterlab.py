"""JupyterLab with its default settings, in Chromium."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
SECONDS = 1000  # Playwright counts in milliseconds

# Milliseconds from each key to the picture that follows it, gathered on the page.
PICTURES = """picture => { window.pictures = []; let start = 0;
    addEventListener('keydown', () => { start = performance.now(); }, true);
    picture.addEventListener('load', () => window.pictures.push(performance.now() - start)); }"""


@contextlib.contextmanager
def serve(folder):
    """The address of a JupyterLab that serves the notebooks of a folder."""
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


@contextlib.contextmanager
def chromium():
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
