"""The published workbook: its pages, its index of claims, and its widgets in Chromium."""

import gzip
import importlib.util
import io
import json
import os
import re
import statistics
import sys
import urllib.parse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from conftest import NOTEBOOKS
from in_jupyterlab import CHROMIUM, chromium
from in_pages import listen, open_widget, serve
from PIL import Image

from dvae_lib import cli, data, paths, widgets
from dvae_lib.site import claims, export, front, live, npm, sources

BUILT = ["01_vae", "08_quantized_infogan"]
every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)
EXTRA = ("myst_nb", "onnxscript", "sphinx_book_theme")
needs_extra = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in EXTRA) and not os.environ.get("CI"),
    reason="without the extra: pip install 'dvae_lib[site]'",
)


@pytest.fixture(scope="module")
def apart():
    """A process for what exports networks: PyTorch starts threads for it, which end no more.

    A process that has them cannot compute gradients in a fork, as trainings side by side do.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()


# The index of claims


def stored_runs(name):
    path = paths.results_path(name)
    sweeps = json.loads(path.read_text())["sweeps"] if path.exists() else {}
    return [(tier, run) for tier, part in sweeps.items() for run in part["runs"]]


@every_notebook
def test_every_claim_is_in_the_index_with_its_bounds_and_its_mean(name):
    index = {claim.name: claim for claim in claims.of(name)}
    assert set(claims.in_table(name)) <= set(index)
    values = {}
    for tier, run in stored_runs(name):
        if run["settings"]:
            continue
        for row in run["rows"]:
            values.setdefault((tier, row["name"]), []).append(row["value"])
            for key, sign in (("at_least", "≥"), ("at_most", "≤")):
                if row[key] is not None:
                    assert f"{sign} {row[key]:g}" in index[row["name"]].bound
    for (tier, row), found in values.items():
        if row in index:
            claim = index[row]
            shown = claim.classroom if tier == "classroom" else claim.long
            assert float(re.match(r"\S+", shown)[0]) == float(f"{statistics.fmean(found):.4g}")


def test_what_failed_is_said_to_have_failed():
    index = {claim.name: claim for claim in claims.of("01_vae")}
    failed = index["digit read off the code, VAE above strong decoder"]
    assert (failed.verdict, failed.bound) == ("refuted", "≥ 0.3, asked no more")
    page = claims.page({"01_vae": "01"})
    assert '<span class="dvae-refuted">refuted</span>' in page
    assert page.count("<tr>") == 1 + len(index)


# Pages


def prepared(name, folder, live_ones=None):
    text = paths.notebook_path(name).read_text(encoding="utf-8")
    return json.loads(text), json.loads(sources.prepared(text, name, folder, live_ones))


@every_notebook
def test_what_is_folded_in_jupyterlab_is_folded_on_the_page(tmp_path, name):
    before, after = prepared(name, tmp_path)
    for cell, made in zip(before["cells"], after["cells"], strict=True):
        folds, tags = cell["metadata"].get("jupyter", {}), made["metadata"].get("tags", [])
        assert ("hide-input" in tags) == folds.get("source_hidden", False)
        assert ("hide-output" in tags) == folds.get("outputs_hidden", False)
        if cell["cell_type"] == "code":
            assert made["source"] == cell["source"]


@every_notebook
def test_pictures_of_a_page_are_files_with_their_alternative_text(tmp_path, name):
    _, after = prepared(name, tmp_path)
    text = json.dumps(after)
    assert "base64" not in text
    found = re.findall(r'<img alt=\\"(.+?)\\" src=\\"(.+?)\\" width=\\"(\d+)\\"', text)
    assert found
    for alt, source, width in found:
        assert len(alt) > 20
        assert Image.open(tmp_path / source).width == int(width)


def test_displayed_equations_get_a_number_of_their_own(tmp_path):
    before, after = prepared("01_vae", tmp_path)
    text = ["".join(cell["source"]) for cell in before["cells"] if cell["cell_type"] == "markdown"]
    labels = re.findall(r"\$\$ \((eq-01_vae-\d+)\)", json.dumps(after))
    assert len(labels) == len(set(labels)) == "".join(text).count("$$") / 2


def test_a_widget_whose_cell_is_gone_is_told(tmp_path):
    with pytest.raises(ValueError, match="01_vae: 'no such words' is in 0 cells, expected one"):
        prepared("01_vae", tmp_path, {"no such words": ""})


def test_links_to_pages_that_are_not_built_become_words():
    text = "see [two](02_b.ipynb), [`one`](01_a.ipynb) and [words](glossary.md)"
    assert (
        sources.unlinked(text, ["01_a"]) == "see two, [`one`](01_a.ipynb) and [words](glossary.md)"
    )


# The first screen


def test_the_stored_map_is_the_one_that_is_drawn():
    """Otherwise run tests/makers/make_front.py."""
    stored = paths.notebooks_folder() / "results" / "map.svg"
    assert stored.read_text(encoding="utf-8") == front.draw_map()


def test_every_notebook_is_on_the_map_and_has_a_picture():
    assert [method.name for method in front.METHODS] == NOTEBOOKS
    for method in front.METHODS:
        picture, alt = front.picture_of(method)
        assert Image.open(io.BytesIO(picture)).width > 200
        assert len(alt) > 20


def test_the_moving_picture_is_small_and_moves():
    path = paths.notebooks_folder() / front.MOVING
    assert path.stat().st_size < 1_000_000
    assert Image.open(path).n_frames > 20


# Networks that draw


def first_of(name):
    """What the first live widget of a notebook shows, {label: Live}."""
    return next(iter(live.on_page(name).values()))


def test_factors_are_drawn_as_the_library_draws_them():
    generator = torch.Generator().manual_seed(0)
    found = live.on_page("00_start_here")
    for name in ("sprites", "rooms"):
        images = data.load(name, n=1)
        sizes = torch.tensor(images.factor_sizes)
        levels = (torch.rand(50, len(sizes), generator=generator) * sizes).long()
        network = found[f"widgets.factors({name})"][""].network
        drawn = torch.stack([network(at.float()) for at in levels]).int()
        expected = images.render(levels).expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
        # A half may be rounded up or down, and an edge fall on either side of a pixel's middle.
        assert ((drawn - expected).abs() > 1).float().mean() < 1e-5


@pytest.mark.parametrize("mark", ["widgets.factors(digits)", "widgets.factors(faces)"])
def test_a_moved_factor_is_drawn_as_the_widget_of_the_notebook_does(mark):
    shown = live.on_page("00_start_here")[mark][""]
    start = shown.at()
    for k, slider in enumerate(shown.widget.sliders):
        moved = start[:k] + [float(len(slider.options) - 1)] + start[k + 1 :]
        assert_alike(shown, moved)


def test_a_slider_of_a_page_says_what_that_of_the_notebook_does():
    ranges = {"share": (0.9, 0.999, 0.001), "angle": (0, 90, 1), "noise": (0.0, 0.5, 0.01)}
    sliders = widgets.live_figure(lambda **_: None, **ranges).sliders
    assert [live._says(live._slider(slider)) for slider in sliders] == ["90.0%", "0°", "0.00"]


def test_a_traversal_is_drawn_as_the_widget_of_the_notebook_does():
    for choices in live.on_page("01_vae").values():
        (shown,) = choices.values()
        assert_alike(shown, shown.at())
        assert_alike(shown, [7, *shown.resets[7]])
        assert_alike(shown, [7, 1.5, -2.0, *shown.resets[7][2:]])


def assert_alike(shown, at):
    """The network at these positions draws what the ipywidgets widget does."""
    widget = shown.widget
    widget.show()
    sliders = [c for c in widget.controls if hasattr(c, "continuous_update")]
    values = [
        c.options[int(value)][1] if hasattr(c, "options") else type(c.value)(value)
        for c, value in zip(sliders, at, strict=True)
    ]
    widget.set_together(sliders[:1], values[:1])  # it sets others
    widget.set_together(sliders, values)
    picture = np.asarray(Image.open(io.BytesIO(widget.picture.value)).convert("RGB")).astype(int)
    with torch.no_grad():
        made = shown.network(torch.tensor(at)).numpy().astype(int)
    factor = len(picture) // len(made)
    assert abs(picture[::factor, ::factor] - made).max() <= 1


STORED = ("08_quantized_infogan", "quantized, stored long run")


def export_stored(path):
    shown = first_of(STORED[0])[STORED[1]]
    export.write(shown.network, shown.at(), path)


@needs_extra
def test_an_exported_network_draws_the_same_with_weights_of_half_the_size(tmp_path, apart):
    import onnx
    from onnx.reference import ReferenceEvaluator

    shown = first_of(STORED[0])[STORED[1]]
    path = tmp_path / "network.onnx.gz"
    apart(export_stored, path)
    weights = sum(p.numel() for p in shown.network.parameters())
    assert path.stat().st_size < 2.5 * weights
    model = onnx.load_from_string(gzip.decompress(path.read_bytes()))
    at = np.array([1, 8, 2, 9, 0, 5], np.float32)
    (made,) = ReferenceEvaluator(model).run(None, {"at": at})
    with torch.no_grad():
        expected = shown.network(torch.from_numpy(at)).numpy()
    assert abs(made.astype(int) - expected).max() <= 2


# What is missing is told


def test_without_the_extra_the_command_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "myst_nb", None)
    assert cli.main(["site", "--to", str(tmp_path / "site")]) == 2
    assert "pip install 'dvae_lib[site]'" in capsys.readouterr().err


def test_without_npm_the_command_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"mathjax-\S+.tgz into a folder .* --npm DIR"):
        npm.unpack("mathjax", tmp_path, tmp_path / "kept")


def test_a_package_that_is_not_the_published_one_is_refused(tmp_path):
    version, *_ = npm.LIBRARIES["mathjax"]
    (tmp_path / f"mathjax-{version}.tgz").write_bytes(b"something else")
    with pytest.raises(ValueError, match="is not the published file"):
        npm.unpack("mathjax", tmp_path, tmp_path)


# The built site


def pages_of(folder):
    return sorted(p.resolve() for p in folder.rglob("*.html") if "_static" not in p.parts)


@pytest.fixture(scope="module")
def site(tmp_path_factory, apart):
    """A built site of two notebooks: (folder, warnings)."""
    from dvae_lib.site import build

    folder = tmp_path_factory.mktemp("site")
    try:
        return folder, apart(build.build, folder, "https://github.com/someone/workbook", BUILT)
    except FileNotFoundError as error:  # no npm, or nothing to be had from it
        pytest.skip(str(error))


@needs_extra
def test_sphinx_has_nothing_to_complain_of(site):
    assert site[1] == []


@needs_extra
def test_no_link_within_the_site_is_dead(site):
    from bs4 import BeautifulSoup

    folder, _ = site
    parsed = {
        path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in pages_of(folder)
    }
    names = {path: {t.get("id") for t in page.find_all(id=True)} for path, page in parsed.items()}
    assert len(parsed) > 8
    dead = set()
    for path, page in parsed.items():
        for tag in page.find_all(["a", "img", "script", "link"]):
            link = urllib.parse.urlsplit(tag.get("href") or tag.get("src") or "")
            if link.scheme or link.netloc:
                continue
            target = (path.parent / urllib.parse.unquote(link.path)).resolve()
            target = path if not link.path else target
            anchor = urllib.parse.unquote(link.fragment)
            if not target.is_file() or anchor and anchor not in names[target]:
                dead.add((path.name, link.geturl()))
    assert dead == set()


@needs_extra
def test_pages_lead_to_colab_binder_and_the_notebook_as_it_is_stored(site):
    folder, _ = site
    page = (folder / "01_vae.html").read_text(encoding="utf-8")
    assert "colab.research.google.com/github/someone/workbook/blob/main/notebooks/01_vae" in page
    assert "mybinder.org/v2/gh/someone/workbook/main" in page
    assert 'href="_sources/01_vae.ipynb"' in page
    download = folder / "_sources" / "01_vae.ipynb"
    assert download.read_bytes() == paths.notebook_path("01_vae").read_bytes()


needs_browser = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"),
    reason="no chromium on the path; install it (Debian: apt-get install chromium)",
)


@pytest.fixture(scope="module")
def address(site):
    with serve(site[0]) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def vae(browser, address):
    """The page of notebook 01, and its first widget, alive."""
    page = browser.new_page(has_touch=True)
    page.goto(f"{address}/01_vae.html")
    open_widget(page)
    yield page
    page.close()


@needs_extra
@needs_browser
def test_no_page_complains_or_asks_another_host(site, address, browser):
    folder, _ = site
    page = browser.new_page()
    complaints, asked = listen(page, address)
    for path in pages_of(folder):
        page.goto(f"{address}/{path.relative_to(folder.resolve())}", wait_until="networkidle")
        page.wait_for_function("window.MathJax?.startup?.promise ?? true")
    assert complaints == []
    assert {url for url in asked if not url.startswith((address, "data:", "blob:"))} == set()
    page.close()


@needs_extra
@needs_browser
def test_equations_are_set(address, browser):
    page = browser.new_page()
    page.goto(f"{address}/01_vae.html")
    page.locator("mjx-container").first.wait_for()
    assert page.locator("mjx-merror").count() == 0
    assert page.locator(".eqno").count() > 5
    page.close()


@needs_extra
@needs_browser
def test_the_search_finds_pages(address, browser):
    page = browser.new_page()
    page.goto(f"{address}/search.html?q=collapse")
    page.locator("#search-results a", has_text="The variational autoencoder").first.wait_for()
    page.close()


@needs_extra
@needs_browser
def test_a_page_loads_a_network_only_when_its_widget_is_near(address, browser):
    page = browser.new_page()
    _, asked = listen(page, address)
    page.goto(f"{address}/01_vae.html", wait_until="networkidle")
    assert not [url for url in asked if "/ort/" in url or "/live/" in url]
    open_widget(page)
    assert len([url for url in asked if url.endswith(".wasm.gz")]) == 1
    page.close()


PIXELS = """canvas => { const {width, height} = canvas;
    const {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
    return [height, width, Array.from(data)]; }"""


def shown_by(page):
    """The picture of the first widget, and its sliders' values."""
    box = page.locator(".dvae-live").first
    height, width, values = box.locator("canvas").evaluate(PIXELS)
    sliders = box.locator("input[type=range]").evaluate_all("all => all.map(i => i.valueAsNumber)")
    return np.array(values).reshape(height, width, 4)[..., :3], sliders


def drawn_in(box):
    return int(box.locator("canvas").get_attribute("data-drawn"))


def drawn(page):
    return drawn_in(page.locator(".dvae-live").first)


def wait_for_another(page, before):
    page.wait_for_function(
        f"+document.querySelector('.dvae-live canvas').dataset.drawn > {before}", timeout=10_000
    )


@needs_extra
@needs_browser
def test_a_key_at_a_slider_changes_the_picture_to_what_torch_decodes(vae):
    first, begun = shown_by(vae)
    slider = vae.locator(".dvae-live").first.locator("input[type=range]").nth(1)
    slider.focus()
    before = drawn(vae)
    for _ in range(20):
        vae.keyboard.press("ArrowRight")
    vae.wait_for_timeout(500)
    wait_for_another(vae, before)
    moved, at = shown_by(vae)
    assert at[1] == pytest.approx(begun[1] + 1)
    assert abs(moved - first).max() > 50
    assert (
        vae.locator(".dvae-live canvas").first.get_attribute("aria-label").startswith("Picture at")
    )
    shown = first_of("01_vae")["stored long run"]
    assert [round(value, 2) for value in begun] == [round(value, 2) for value in shown.at()]
    with torch.no_grad():
        expected = shown.network(torch.tensor(at)).numpy().astype(int)
    assert abs(moved - expected).max() <= 2


@needs_extra
@needs_browser
def test_another_image_sets_the_sliders_and_a_finger_moves_them(vae):
    box = vae.locator(".dvae-live").first
    before = drawn(vae)
    box.locator("input[type=range]").first.focus()
    vae.keyboard.press("ArrowRight")
    wait_for_another(vae, before)
    _, at = shown_by(vae)
    shown = first_of("01_vae")["stored long run"]
    assert at[1:] == pytest.approx(shown.resets[1])
    place, before = box.locator("input[type=range]").nth(2).bounding_box(), drawn(vae)
    vae.touchscreen.tap(place["x"] + 0.9 * place["width"], place["y"] + place["height"] / 2)
    wait_for_another(vae, before)
    assert shown_by(vae)[1][2] > 2
    box.get_by_role("button", name="reset").click()
    vae.wait_for_timeout(500)
    assert shown_by(vae)[1][1:] == pytest.approx(shown.resets[1])


@needs_extra
@needs_browser
def test_the_picture_follows_while_a_slider_is_dragged(vae):
    box = vae.locator(".dvae-live").first
    place, before = box.locator("input[type=range]").nth(3).bounding_box(), drawn(vae)
    y = place["y"] + place["height"] / 2
    vae.mouse.move(place["x"] + 0.3 * place["width"], y)
    vae.mouse.down()
    for share in (0.4, 0.6, 0.8, 0.9):
        vae.mouse.move(place["x"] + share * place["width"], y)
        vae.wait_for_timeout(300)
    assert drawn(vae) >= before + 4
    vae.mouse.up()


@needs_extra
@needs_browser
def test_a_button_chooses_another_network(address, browser):
    page = browser.new_page()
    page.goto(f"{address}/08_quantized_infogan.html")
    box = open_widget(page)
    assert "quantized: stored weights" in box.locator("figcaption").text_content()
    box.get_by_text("plain, stored long run").click()
    # In the caption: the cell's own output, further up, has these words from the beginning.
    box.locator("figcaption", has_text="plain: stored weights, tier long").wait_for()
    picture, at = shown_by(page)
    shown = first_of("08_quantized_infogan")["plain, stored long run"]
    with torch.no_grad():
        expected = shown.network(torch.tensor(at)).numpy().astype(int)
    assert abs(picture - expected).max() <= 2
    page.close()


@needs_extra
@needs_browser
def test_what_a_server_unpacks_itself_is_taken_as_it_is(site, address, browser):
    folder, _ = site
    page = browser.new_page()

    def unpack(route):
        path = folder / urllib.parse.urlsplit(route.request.url).path.lstrip("/")
        route.fulfill(body=gzip.decompress(path.read_bytes()))

    page.route("**/*.gz", unpack)
    page.goto(f"{address}/08_quantized_infogan.html")
    assert drawn_in(open_widget(page)) == 1
    page.close()


@needs_extra
@needs_browser
def test_without_webassembly_the_still_picture_stays(address, browser):
    page = browser.new_page()
    complaints, _ = listen(page, address)
    page.add_init_script("delete window.WebAssembly")
    page.goto(f"{address}/01_vae.html")
    box = page.locator(".dvae-live").first
    box.scroll_into_view_if_needed()
    page.get_by_text("A still picture of the widget: this browser could not").first.wait_for()
    assert box.locator("img").evaluate("image => image.naturalWidth") > 200
    assert "image 0" in box.locator("img").get_attribute("alt")
    assert complaints == []
    page.close()
