"""Figures: alternative text, exact pixels, and what is decoded."""

import io

import nbformat
import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from PIL import Image

from dvae_lib import figures, pages
from dvae_lib.evidence import Sweep
from dvae_lib.results import Row
from dvae_lib.training import History


def test_a_figure_is_shown_as_a_png_with_alternative_text():
    alt = 'A line that "rises" & grows: 0 < 1.'
    figure, axes = figures.subplots(alt=alt)
    axes.plot([0, 1], [0, 1])
    data = figure._repr_mimebundle_()
    assert alt in data["text/plain"]
    png, text = pages.from_html(data["text/html"])
    assert text == alt
    picture = Image.open(io.BytesIO(png))
    assert picture.format == "PNG"
    assert min(picture.size) > 100
    assert pages.from_html("<table></table>") is None
    assert pages.from_html('<img alt="" src="data:image/png;base64,abc">') is None


def test_alternative_text_arrives_in_an_exported_page():
    figure, _ = figures.subplots(alt='Two axes without "anything".')
    output = nbformat.v4.new_output("display_data", data=figure._repr_mimebundle_())
    cell = nbformat.v4.new_code_cell("figure", outputs=[output])
    page, _ = HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    (picture,) = BeautifulSoup(page, "html.parser").select(".jp-OutputArea-output img")
    assert picture["alt"] == 'Two axes without "anything".'


def decoded(png):
    picture = Image.open(io.BytesIO(png))
    return picture.mode, np.asarray(picture.convert("RGB")).astype(int)


def as_png(pixels):
    """As Matplotlib writes them: with an opaque alpha channel, and how many dots an inch has."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert("RGBA").save(buffer, "PNG", dpi=(100, 100))
    return buffer.getvalue()


def test_few_colours_get_a_palette_and_keep_every_pixel():
    colours = np.random.default_rng(0).integers(0, 256, (256, 3))
    pixels = colours[np.random.default_rng(1).integers(0, 256, (150, 200))]
    small = figures.in_palette(as_png(pixels))
    mode, found = decoded(small)
    assert mode == "P"
    assert np.array_equal(found, pixels)
    assert len(small) < len(as_png(pixels)) / 2
    assert Image.open(io.BytesIO(small)).info["dpi"] == pytest.approx((100, 100), abs=0.01)
    assert figures.in_palette(small) == small


def test_text_and_curves_get_a_palette_in_which_nothing_is_seen_to_change():
    figure, axes = figures.subplots(alt="Twenty curves of different colours.")
    x = np.linspace(0, 1, 50)
    for k in range(20):
        axes.plot(x, np.sin(7 * x + k), color=((k / 20), 0.5, 1 - k / 20))
    figure.savefig(buffer := io.BytesIO(), format="png")
    mode, found = decoded(figures.in_palette(buffer.getvalue()))
    _, before = decoded(buffer.getvalue())
    assert len(np.unique(before.reshape(-1, 3), axis=0)) > 256
    assert mode == "P"
    off = np.abs(found - before).max(2)
    assert off.max() <= 16
    assert np.mean(off > 8) <= 0.001


def test_an_image_that_a_palette_would_spoil_keeps_true_colour():
    """Smooth but for a little noise, in all three channels: 256 colours would leave bands."""
    y, x = np.mgrid[0:200, 0:200] * 255 // 199
    pixels = np.stack([x, y, (x + y) // 2], 2) + np.random.default_rng(0).integers(
        0, 9, (200, 200, 3)
    )
    pixels[0, 0], pixels[0, -1] = (0, 0, 0), (255, 0, 255)
    pixels = pixels.clip(0, 255)
    small = figures.in_palette(as_png(pixels))
    mode, found = decoded(small)
    assert mode == "RGB"
    assert len(small) < 0.8 * len(as_png(pixels))
    assert figures.in_palette(small) == small
    assert np.abs(found - pixels).max() <= 2
    assert found[0, 0].tolist() == [0, 0, 0]
    assert found[0, -1].tolist() == [255, 0, 255]


def test_a_transparent_image_is_left_as_it_is():
    buffer = io.BytesIO()
    Image.new("RGBA", (20, 20), (255, 0, 0, 100)).save(buffer, "PNG")
    assert figures.in_palette(buffer.getvalue()) == buffer.getvalue()


@pytest.mark.parametrize(("side", "zoom"), [(28, 2), (32, 2), (64, 1)])
def test_pixels_of_a_grid_are_squares_of_whole_pixels(side, zoom):
    """The pictures stand in what is shown exactly, each pixel zoom x zoom times, labels or not."""
    images = torch.randint(0, 4, (6, 1, side, side), dtype=torch.uint8) * 85  # no rounding
    figure = figures.image_grid(images, 3, "Six noisy images.", ["upper", "lower"])
    png, _ = pages.from_html(figure._repr_mimebundle_()["text/html"])
    _, found = decoded(png)
    sheet = np.kron(figures.tile(images, 3), np.ones((zoom, zoom, 1), int))
    windows = np.lib.stride_tricks.sliding_window_view(found[..., 0], sheet.shape[:2])
    assert (windows == sheet[..., 0]).all((2, 3)).sum() == 1


def test_a_figure_without_alternative_text_is_an_error():
    with pytest.raises(ValueError, match="needs alternative text"):
        figures.subplots(alt="")


def test_tiles_lie_where_they_should():
    """Three images in two columns, with a gap of one white pixel and one white place."""
    images = torch.arange(1, 4, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    expected = [
        [1, 1, 255, 2, 2],
        [1, 1, 255, 2, 2],
        [255, 255, 255, 255, 255],
        [3, 3, 255, 255, 255],
        [3, 3, 255, 255, 255],
    ]
    sheet = figures.tile(images, columns=2, gap=1)
    assert sheet.dtype == np.uint8
    for channel in range(3):
        assert sheet[:, :, channel].tolist() == expected


def test_pixels_are_rounded_clipped_and_grey_becomes_colour():
    values = torch.tensor([-0.5, 0.0, 0.5, 0.999, 1.0, 7.0]).view(1, 1, 1, 6)
    pixels = figures.to_pixels(values)
    assert pixels.shape == (1, 1, 6, 3)
    assert pixels[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255, 255]
    assert (pixels == pixels[..., :1]).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_images_that_are_not_numbers_are_an_error(bad):
    images = torch.zeros(2, 3, 4, 4)
    images[1, 2, 3, 3] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        figures.image_grid(images, 2, alt="two images")


def test_a_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"\(2, 5, 4, 4\), expected \(N, 1 or 3, H, W\)"):
        figures.to_pixels(torch.zeros(2, 5, 4, 4))
    with pytest.raises(ValueError, match=r"shapes differ: \(2, 3, 4, 4\), \(1, 3, 4, 4\)"):
        figures.reconstructions(torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4))


def shown(figure):
    """The pixels behind the one picture of a figure."""
    (picture,) = figure.axes[0].get_images()
    return np.asarray(picture.get_array())


def test_a_traversal_moves_one_axis_and_keeps_the_rest():
    seen = []

    def decode(codes):
        seen.append(codes.clone())
        return codes.sum(1).sigmoid()[:, None, None, None].expand(-1, 1, 4, 4)

    code = torch.tensor([0.5, -1.0, 2.0])
    figure = figures.traversals(decode, code, axes=[2, 0], values=(-1, 3))
    (codes,) = seen
    assert codes.tolist() == [[0.5, -1, -1], [0.5, -1, 3], [-1, -1, 2], [3, -1, 2]]
    assert code.tolist() == [0.5, -1, 2]
    assert "z2, z0" in figure.alt
    pixels = shown(figure)
    assert pixels.shape == (2 * 4 + 2, 2 * 4 + 2, 3)
    expected = torch.sigmoid(codes.sum(1)) * 255
    corners = [pixels[y, x, 0] for y in (0, 6) for x in (0, 6)]
    assert corners == pytest.approx(expected.tolist(), abs=0.51)


def test_reconstructions_stand_below_their_originals():
    above, below = torch.full((3, 1, 4, 4), 0.2), torch.full((3, 1, 4, 4), 0.8)
    pixels = shown(figures.reconstructions(above, below))
    assert (pixels[:4, :4] == 51).all()
    assert (pixels[6:, :4] == 204).all()


def test_a_factor_grid_moves_one_factor_a_row(painted):
    """The painted images can be read back: channel k is 10 times the level of factor k."""
    figure = figures.factor_grid(painted, row=7, levels=4)
    pixels = shown(figure)[::6, ::6] // 10
    base = painted.factors[7].tolist()
    for column, size in enumerate(painted.factor_sizes):
        expected = [list(base) for _ in range(4)]
        for step in range(4):
            expected[step][column] = round(step * (size - 1) / 3)
        assert pixels[column].tolist() == expected
    assert "a, b, c" in figure.alt


def test_loss_curves_carry_their_last_value_and_skip_gaps():
    history = History([1, 2, 3], {"loss": [9.0, float("nan"), 1.5]})
    figure = figures.loss_curves(history)
    assert "loss 1.5" in figure.alt
    assert figure.axes[0].lines[0].get_xdata().tolist() == [1, 2, 3]
    low, high = figure.axes[0].get_ylim()
    assert low < 1.5 < high


@pytest.fixture
def three_seeds(monkeypatch):
    """A sweep of three seeds with code that has changed since."""
    monkeypatch.setattr(Sweep, "out_of_date", True)
    runs = [
        {
            "tier": "classroom",
            "seed": seed,
            "settings": {},
            "rows": [vars(Row("mig", value))],
        }
        for seed, value in enumerate([0.1, 0.2, 0.3])
    ]
    return Sweep("demo", runs)


def test_intervals_show_every_seed_and_name_the_mean(three_seeds):
    figure = figures.intervals(three_seeds, ["mig"], live={"mig": 0.25})
    assert figure.alt.startswith("mig: 0.2 [")
    assert figure.axes[0].lines[0].get_ydata().tolist() == [0.1, 0.2, 0.3]
    assert figure.get_suptitle() == "stored runs are out of date"
    with pytest.raises(ValueError, match="no stored values of sap; .* dvae sweep demo --seeds 0-4"):
        figures.intervals(three_seeds, ["sap"])


def test_a_seed_panel_shows_seeds_mean_interval_and_this_run(three_seeds):
    figure, (axes, other) = figures.subplots(1, 2, alt="two panels")
    for panel in (axes, other):
        figures.seed_panel(panel, three_seeds, ["mig"], ["VAE"], {"mig": 0.25})
    (legend,) = figure.legends  # one for all panels
    assert {text.get_text() for text in legend.get_texts()} == {
        "stored seeds",
        "mean, 95 % interval",
        "this run",
    }
    dots, *_, run = axes.lines
    assert dots.get_ydata().tolist() == [0.1, 0.2, 0.3]
    assert run.get_ydata().tolist() == [0.25]
    (bar,) = axes.containers
    (low, high) = bar[2][0].get_segments()[0][:, 1]
    half = 4.302653 * 0.1 / 3**0.5  # Student's t with 2 degrees of freedom
    assert (low, high) == pytest.approx((0.2 - half, 0.2 + half))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["VAE"]
    assert [note.get_text() for note in axes.texts] == ["stored runs are out of date"]
