"""Widgets without a browser: what is decoded when, and the pixels that are shown."""

import io
import json
import runpy

import ipywidgets
import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from PIL import Image

from dvae_lib import data, figures, live, pages, widgets
from dvae_lib.data import FactorData, sprites


def pixels(widget):
    """The shown image, at one pixel a pixel."""
    shown = np.asarray(Image.open(io.BytesIO(widget.picture.value)))
    assert shown.shape == (256, 256, 3)
    return shown


def display(widget):
    """What Jupyter calls when the widget is the value of a cell."""
    return widget._repr_mimebundle_()


class Decoder:
    """Paints an image with the first three codes, and notes what it was asked for."""

    def __init__(self):
        self.codes = []

    def __call__(self, codes):
        assert codes.shape == (1, 3)
        self.codes.append(codes[0].tolist())
        return (codes / 8 + 0.5)[:, :, None, None].expand(-1, -1, 4, 4)


CODES = torch.tensor([[0.0, 1.0, -1.0], [2.0, -3.5, 0.5]])


@pytest.fixture
def decoder():
    return Decoder()


@pytest.fixture
def traverse(decoder):
    return widgets.traverse(decoder, CODES)


def test_nothing_is_decoded_before_it_can_be_seen(traverse, decoder):
    traverse.sliders[0].value = 1.5
    traverse.pick.value = 1
    assert decoder.codes == []
    assert "application/vnd.jupyter.widget-view+json" in display(traverse)
    assert decoder.codes == [CODES[1].tolist()]


def test_inside_another_widget_it_is_decoded_when_it_is_first_seen(traverse, decoder):
    """The browser tells how many views there are; a second view shows the same picture."""
    box = ipywidgets.VBox([traverse])
    box._repr_mimebundle_()
    assert decoder.codes == []
    traverse._view_count = 1
    traverse._view_count = 2
    assert decoder.codes == [CODES[0].tolist()]


def test_nothing_is_decoded_while_it_is_hidden(traverse, decoder):
    display(traverse)
    traverse.layout.display = "none"
    traverse.sliders[0].value = 1.5
    traverse.reset.click()
    traverse.sliders[2].value = 2.0
    assert len(decoder.codes) == 1
    traverse.layout.display = None  # shown again: the picture catches up
    assert decoder.codes[1:] == [[0.0, 1.0, 2.0]]


def seen(*shown):
    """What the page does when it shows widgets inside of others: it counts."""
    for widget in shown:
        widget._view_count += 1


def test_inside_of_a_box_it_is_made_when_it_is_first_seen(traverse, decoder):
    box = ipywidgets.VBox([ipywidgets.HBox([traverse])])
    display(box)
    traverse.sliders[0].value = 1.5
    assert decoder.codes == []
    seen(traverse)
    traverse.sliders[0].value = 0.5
    assert decoder.codes == [[1.5, 1, -1], [0.5, 1, -1]]
    seen(traverse)  # in another place, with the same picture
    assert len(decoder.codes) == 2
    box.layout.display = "none"
    traverse.sliders[0].value = 2.0
    assert len(decoder.codes) == 2
    box.layout.display = None
    assert decoder.codes[2:] == [[2.0, 1, -1]]


@pytest.mark.parametrize("kind", [ipywidgets.Tab, ipywidgets.Accordion, ipywidgets.Stack])
def test_inside_of_tabs_it_is_made_when_its_tab_is_open(traverse, decoder, kind):
    """The page attaches, and counts, the widgets of closed tabs as well."""
    tabs = kind([ipywidgets.Label("first"), ipywidgets.VBox([traverse])], selected_index=0)
    display(tabs)
    seen(traverse)
    traverse.sliders[0].value = 1.5
    assert decoder.codes == []
    tabs.selected_index = 1
    assert decoder.codes == [[1.5, 1, -1]]
    tabs.selected_index = 0
    traverse.sliders[0].value = 0.5
    assert len(decoder.codes) == 1
    tabs.selected_index = 1
    assert decoder.codes[1:] == [[0.5, 1, -1]]


def test_a_switch_inside_of_a_box_decodes_for_the_widget_that_is_chosen(decoder):
    other = Decoder()
    choices = {"a": widgets.traverse(decoder, CODES), "b": widgets.traverse(other, CODES)}
    switch = widgets.switch(choices, "set")
    assert switch.buttons.description == "set"
    display(ipywidgets.VBox([switch]))
    seen(*choices.values())
    assert (len(decoder.codes), len(other.codes)) == (1, 0)
    switch.buttons.value = "b"
    assert (len(decoder.codes), len(other.codes)) == (1, 1)


def test_a_move_of_a_slider_decodes_once_with_that_axis_moved(traverse, decoder):
    display(traverse)
    traverse.sliders[1].value = -2.0
    assert decoder.codes == [[0, 1, -1], [0, -2, -1]]
    expected = (torch.tensor([0.0, -2.0, -1.0]) / 8 + 0.5) * 255
    assert pixels(traverse)[0, 0] == pytest.approx(expected.numpy(), abs=0.51)
    assert (pixels(traverse) == pixels(traverse)[0, 0]).all()


def test_the_picker_and_the_reset_button_decode_once(traverse, decoder):
    display(traverse)
    traverse.pick.value = 1
    assert [slider.value for slider in traverse.sliders] == CODES[1].tolist()
    traverse.sliders[0].value = 0.25
    traverse.reset.click()
    assert decoder.codes[1:] == [CODES[1].tolist(), [0.25, -3.5, 0.5], CODES[1].tolist()]
    assert CODES[1].tolist() == [2.0, -3.5, 0.5]  # the codes themselves are untouched


def test_sliders_reach_every_code_and_show_the_chosen_axes(decoder):
    widget = widgets.traverse(decoder, CODES, axes=[2, 1])
    assert [slider.description for slider in widget.sliders] == ["z2", "z1"]
    assert {(slider.min, slider.max) for slider in widget.sliders} == {(-3.5, 3.5)}
    display(widget)
    widget.pick.value = 1
    widget.sliders[0].value = 3.0
    assert decoder.codes[-1] == [2.0, -3.5, 3.0]


@pytest.mark.parametrize("shape", [(3,), (0, 3)])
def test_wrong_codes_are_an_error(decoder, shape):
    with pytest.raises(ValueError, match="expected \\(N, L\\) with N > 0"):
        widgets.traverse(decoder, torch.zeros(shape))


def test_the_factors_widget_shows_the_image_of_its_sliders():
    widget = widgets.factors(sprites.load(20))
    display(widget)
    for levels in ([2, 5, 13, 31, 0], [0, 0, 7, 16, 16]):
        for slider, level in zip(widget.sliders, levels, strict=True):
            slider.value = level
        expected = sprites.render(torch.tensor([levels]))[0, 0].numpy()
        # Every pixel is shown as a block of 4 x 4, without blur.
        assert np.array_equal(
            pixels(widget), np.kron(expected, np.ones((4, 4)))[..., None].repeat(3, 2)
        )
    assert [label for label, _ in widget.sliders[0].options] == ["square", "ellipse", "heart"]


@pytest.mark.parametrize(
    ("name", "begins", "last"),
    [
        ("sprites", ["square", "0.80", "185°", "0.52", "0.52"], "360°"),
        ("rooms", ["0.00 red", "0.30 green", "0.60 azure", "1.04", "cube", "0°"], "30°"),
        ("faces", ["25", "neutral", "0.80", "0°", "0°", "0°", "1 of 6", "black"], "purple"),
    ],
)
def test_the_factors_widget_begins_with_a_typical_image_and_says_units_and_colours(
    name, begins, last
):
    widget = widgets.factors(data.load(name, n=10))
    labels = [slider.options[slider.index][0] for slider in widget.sliders]
    assert labels[: len(begins)] == begins
    assert last in [slider.options[-1][0] for slider in widget.sliders]
    display(widget)
    assert f"{widget.sliders[0].description} {begins[0]}" in widget.words.value


def test_the_factors_widget_of_a_set_that_cannot_be_rendered_looks_images_up(painted):
    stored = FactorData(
        "stored",
        painted.images,
        painted.factors,
        painted.factor_names,
        painted.factor_sizes,
        painted.factor_values,
    )
    widget = widgets.factors(stored)
    display(widget)
    for slider, level in zip(widget.sliders, (1, 2, 3), strict=True):
        slider.value = level
    assert pixels(widget)[0, 0].tolist() == [10, 20, 30]


def test_a_live_figure_is_drawn_for_the_values_of_its_sliders():
    drawn = []

    def draw(angle, noise):
        drawn.append((angle, noise))
        return figures.subplots(alt=f"a figure at {angle} and {noise}")[0]

    widget = widgets.live_figure(draw, angle=(0, 90, 5), noise=(0.5, 1, 0.1))
    assert drawn == []
    widget._repr_mimebundle_()
    widget.sliders[0].value = 45
    assert drawn == [(0, 0.5), (45, 0.5)]
    assert [type(value) for value in drawn[-1]] == [int, float]
    assert bytes(widget.picture.value[:4]) == b"\x89PNG"
    fine = widgets.live_figure(draw, angle=(0, 90, 5), noise=(0.9, 0.999, 0.001)).sliders[1]
    assert [s.readout_format for s in (widget.sliders[1], fine)] == [".2f", ".3f"]
    share, identity = widgets.live_figure(
        draw, share=(0.9, 0.999, 0.001), identity=(0.0, 1.0, 0.05)
    ).sliders
    assert [s.readout_format for s in (share, identity)] == [".1%", ".0%"]
    with pytest.raises(ValueError, match="angle from 3 to 3 in steps of 1: an empty range"):
        widgets.live_figure(draw, angle=(3, 3, 1))


def test_a_figure_that_is_drawn_again_is_laid_out_once():
    """And its second picture is that of a fresh figure."""

    def line(height):
        figure, axes = figures.subplots(alt="A line.", size=(3, 2))
        return figure, axes.plot([0, 1], [0, height])[0]

    figure, drawn = line(1)
    first = live.png(figure)
    layout = figure.get_layout_engine()
    assert layout is None or isinstance(layout, PlaceHolderLayoutEngine)
    drawn.set_ydata([0, 0.5])
    second = live.png(figure)
    drawn.set_ydata([0, 1])
    assert live.png(figure) == first != second
    assert live.png(line(1)[0]) == first


def test_a_new_figure_is_laid_out_like_one_of_its_make():
    """And where the texts take the same room, its picture is that of a layout of its own."""

    def panels(height=1.0, columns=2, title="both", size=(5, 2)):
        figure, axes = figures.subplots(1, columns, alt="Lines.", size=size, squeeze=False)
        for panel in axes[0]:
            panel.plot([0, 1], [0, height])
            panel.set(ylim=(0, 1), ylabel="height")
        if title:
            figure.suptitle(title)
        return figure

    before = panels()
    live.png(before)
    expected, figure = live.png(panels(0.5)), panels(0.5)
    assert live.png(figure, before) == expected
    places = [axes.get_position(original=True).bounds for axes in figure.axes]
    assert places == [axes.get_position(original=True).bounds for axes in before.axes]
    for other in ({"columns": 1}, {"columns": 3}, {"title": ""}, {"size": (6, 2)}):
        assert live.png(panels(**other), before) == live.png(panels(**other))
    assert live.png(panels(), torch.zeros(3, 8, 8)) == live.png(panels())


CHANGES = [
    lambda axes: axes.set_xlim(-1, 3),
    lambda axes: axes.set_xticks([0, 0.5], ["none", "half"]),
    lambda axes: axes.tick_params(colors="red"),
    lambda axes: axes.get_yticklabels()[0].set_color("green"),
    lambda axes: axes.set_ylabel("height"),
    lambda axes: axes.yaxis.label.set_color("blue"),
    lambda axes: axes.set_yscale("symlog"),
    lambda axes: axes.grid(True),
    lambda axes: axes.set_position([0.3, 0.3, 0.5, 0.5]),
    lambda axes: axes.invert_yaxis(),
    lambda axes: axes.xaxis.set_visible(False),
    lambda axes: axes.figure.set_dpi(50),
    lambda axes: axes.set_axis_off(),
]


def test_ticks_and_labels_are_drawn_again_only_when_they_change(monkeypatch):
    """After any change the picture is that of a figure whose axes were never kept."""
    drawn, draw = [], Axis.draw
    monkeypatch.setattr(Axis, "draw", lambda axis, *args: (drawn.append(axis), draw(axis, *args)))

    def fresh():
        figure = figures.DescribedFigure("A line.", figsize=(3, 2), layout="none")
        axes = figure.subplots()
        axes.set(xlim=(0, 1), ylim=(0, 1.2))
        return figure, axes

    kept, axes = fresh()
    (line,) = axes.plot([0, 1], [0, 1])
    live.png(kept)
    for number in range(len(CHANGES) + 1):
        for change in CHANGES[:number][-1:]:
            change(axes)
        live.png(kept)
        del drawn[:]
        line.set_ydata([0, 1 - number / 20])
        axes.set_title(f"{number} changes")
        picture = live.png(kept)
        assert drawn == [], number
        other, its_axes = fresh()
        its_axes.plot([0, 1], [0, 1 - number / 20])
        its_axes.set_title(f"{number} changes")
        for change in CHANGES[:number]:
            change(its_axes)
        FigureCanvasAgg(other).draw()
        a = np.asarray(Image.open(io.BytesIO(picture)), int)
        b = np.asarray(other.canvas.buffer_rgba(), int)[..., :3]
        assert np.abs(a - b).max() <= 1, number


def test_a_still_picture_stands_for_the_widget_where_there_is_no_kernel(traverse, monkeypatch):
    """It is the widget's picture, with words that follow the controls."""
    bundles = []
    monkeypatch.setattr(live, "display", lambda bundle, raw: bundles.append(bundle))
    traverse._ipython_display_()
    still, widget = bundles
    assert "application/vnd.jupyter.widget-view+json" in widget
    assert traverse.still() in still["text/html"]
    traverse.sliders[0].value = 1.5
    picture, alt = pages.from_html(traverse.still())
    assert picture == bytes(traverse.picture.value)
    assert alt == "Picture at image 0, z0 1.5, z1 1, z2 -1"


def test_the_words_of_a_figure_are_its_own():
    text = "Fewer than <3 & more"
    widget = widgets.live_figure(lambda n: figures.subplots(alt=text, size=(2, 1))[0], n=(0, 3, 1))
    display(widget)
    assert pages.from_html(widget.still())[1] == text
    assert "<3" not in widget.words.value  # it is HTML


class TwoCodes:
    """Paints red with the first code and blue with the second, and notes what it was asked for."""

    def __init__(self):
        self.codes = []

    def __call__(self, z_s, z_u):
        assert (z_s.shape, z_u.shape) == ((1, 2), (1, 1))
        self.codes.append((z_s[0].tolist(), z_u[0].tolist()))
        channels = torch.stack([z_s[:, 0], torch.zeros(1), z_u[:, 0]], 1)
        return channels[:, :, None, None].expand(-1, -1, 8, 8)


Z_S = torch.tensor([[0.0, 4.0], [1.0, 8.0], [0.5, 0.0]])
Z_U = torch.tensor([[1.0], [0.0], [0.2]])
PICTURES = (torch.arange(3 * 3 * 8 * 8) % 256).reshape(3, 3, 8, 8).to(torch.uint8)


def shown(widget):
    return np.asarray(Image.open(io.BytesIO(widget.picture.value)))


@pytest.fixture
def two_codes():
    return TwoCodes()


@pytest.fixture
def swap(two_codes):
    return widgets.swap(two_codes, Z_S, Z_U, PICTURES, names=("digit", "style"))


@pytest.mark.parametrize("images", [PICTURES, PICTURES / 255], ids=["uint8", "float"])
def test_swap_shows_a_and_b_beside_their_blend(two_codes, images):
    widget = widgets.swap(two_codes, Z_S, Z_U, images)
    display(widget)
    widget.pick_b.value = 2
    widget.slider_s.value = 0.6
    blocks = shown(widget)  # every pixel is one of 24 x 24, so the browser need not enlarge
    assert blocks.shape == (192, 576, 3)
    row = blocks[::24, ::24]
    assert np.array_equal(blocks, np.kron(row, np.ones((24, 24, 1))))
    a, blend, b = row[:, :8], row[:, 8:16], row[:, 16:]
    assert np.array_equal(a, PICTURES[0].permute(1, 2, 0))
    assert np.array_equal(b, PICTURES[2].permute(1, 2, 0))
    # z_s from (0, 4) to (0.5, 0), z_u still that of A
    assert two_codes.codes[-1] == (pytest.approx([0.3, 1.6]), [1.0])
    assert (blend == blend[0, 0]).all()
    assert blend[0, 0] == pytest.approx([0.3 * 255, 0, 255], abs=0.51)


def test_swap_moves_each_code_on_its_own_and_decodes_once_a_move(swap, two_codes):
    swap.slider_u.value = 0.25
    assert two_codes.codes == []  # not before it can be seen
    display(swap)
    swap.slider_u.value = 1
    swap.slider_s.value = 1
    swap.pick_a.value = 2
    swap.layout.display = "none"
    swap.pick_b.value = 0
    swap.slider_s.value = 0.5
    swap.slider_u.value = 0
    assert two_codes.codes == [
        ([0, 4], [0.75]),
        ([0, 4], [0]),
        ([1, 8], [0]),  # B's reconstruction
        ([1, 8], [0]),
    ]
    swap.layout.display = None
    assert two_codes.codes[4:] == [([0.25, 2], [pytest.approx(0.2)])]
    names = [control.description for control in swap.children[0].children]
    assert names == ["image A", "image B", "digit from A to B", "style from A to B"]
    swap.slider_s.value = 0.35
    said = "Picture at image A 2, image B 0, digit from A to B 35%, style from A to B 0%"
    assert swap.words.value == said


def test_swap_refuses_codes_of_other_images(two_codes):
    with pytest.raises(ValueError, match="3 codes z_s, 2 codes z_u and 3 images"):
        widgets.swap(two_codes, Z_S, Z_U[:2], PICTURES)
    with pytest.raises(ValueError, match="3 codes z_s, 3 codes z_u and 1 images"):
        widgets.swap(two_codes, Z_S, Z_U, PICTURES[:1])
    with pytest.raises(ValueError, match="1 images to swap between; give at least 2"):
        widgets.swap(two_codes, Z_S[:1], Z_U[:1], PICTURES[:1])


def test_the_sampler_draws_once_a_click_and_a_class():
    drawn = []

    def draw(position):
        drawn.append(position)
        return torch.full((5, 1, 32, 32), 10 * position + len(drawn), dtype=torch.uint8)

    widget = widgets.sampler(draw, ["zero", "one", "two"], columns=3)
    widget.again.click()
    widget.pick.value = 2
    assert drawn == []
    display(widget)
    widget.again.click()
    widget.pick.value = 1
    assert drawn == [2, 2, 1]
    assert [name for name, _ in widget.pick.options] == ["zero", "one", "two"]
    # Two rows of three images, each enlarged six times, with a white gap and a white last place.
    sheet = shown(widget)
    assert sheet.shape == (2 * 192 + 2, 3 * 192 + 4, 3)
    expected = np.full_like(sheet, 255)
    for k in range(5):
        y, x = k // 3 * 194, k % 3 * 194
        expected[y : y + 192, x : x + 192] = 13
    assert np.array_equal(sheet, expected)
    widget.layout.display = "none"
    widget.again.click()
    assert len(drawn) == 3
    with pytest.raises(ValueError, match="no classes to draw images of"):
        widgets.sampler(draw, [])


def test_a_smoke_run_tells_controls_that_do_nothing(tmp_path, monkeypatch):
    """And leaves sliders, pictures and random numbers as they are without it."""

    def draw(share, idle):
        figure, axes = figures.subplots(alt="A line.")
        axes.plot([0, 1], [share, 1])
        return figure

    def shown_widgets():
        torch.manual_seed(0)
        sampled = widgets.sampler(lambda k: torch.rand(1, 1, 8, 8), ["one", "two"])
        figure = widgets.live_figure(draw, share=(0, 1, 0.5), idle=(0, 3, 1))
        for widget in (sampled, figure):
            display(widget)
        values = [slider.value for slider in (sampled.pick, *figure.sliders)]
        return values, sampled.picture.value, figure.picture.value, torch.rand(1)

    path = tmp_path / "controls"
    monkeypatch.setenv("CONTROLS", str(path))
    before = shown_widgets()
    # Put back after the test.
    monkeypatch.setattr(widgets.LiveImage, "show", widgets.LiveImage.show)
    runpy.run_path(str(REPOSITORY / "tests" / "move_controls.py"))
    assert shown_widgets() == before
    told = [json.loads(line)["changed"] for line in path.read_text().splitlines()]
    assert told == [{"class": True, "draw again": True}, {"share": True, "idle": False}]


# Switches


def test_a_switch_shows_one_widget_and_decodes_for_it_alone(decoder):
    other = Decoder()
    switch = widgets.switch(
        {"stored": widgets.traverse(decoder, CODES), "here": widgets.traverse(other, CODES)}
    )
    assert decoder.codes == other.codes == []
    assert "application/vnd.jupyter.widget-view+json" in display(switch)
    assert (len(decoder.codes), len(other.codes)) == (1, 0)
    shown = [widget.layout.display for widget in switch.choices.values()]
    assert shown == [None, "none"]
    switch.buttons.value = "here"
    assert [widget.layout.display for widget in switch.choices.values()] == ["none", None]
    switch.choices["stored"].sliders[0].value = 1.0
    switch.choices["here"].sliders[0].value = 2.0
    assert len(decoder.codes) == 1
    assert other.codes == [CODES[0].tolist(), [2.0, 1.0, -1.0]]
    switch.buttons.value = "stored"  # it catches up with what was set meanwhile
    assert decoder.codes[1:] == [[1.0, 1.0, -1.0]]


def test_a_switch_of_one_has_no_buttons(traverse):
    assert widgets.switch({"here": traverse}) is traverse
    with pytest.raises(ValueError, match="no widgets to choose from"):
        widgets.switch({})


RUNS = [
    {"set": "rooms", "method": "a <b>", "score": 0.25, "error": 3.0},
    {"set": "sprites", "method": "a <b>", "score": 0.5, "error": 1.0},
    {"set": "rooms", "method": "c", "score": 0.75, "error": 2.0},
]


def test_a_table_sorts_by_its_columns_and_filters_by_words():
    table = widgets.table(RUNS, filters=("set",))
    assert [row["score"] for row in table.chosen] == [0.75, 0.5, 0.25]
    table.by.value = "error"
    assert [row["error"] for row in table.chosen] == [3, 2, 1]
    table.upwards.value = True
    assert [row["error"] for row in table.chosen] == [1, 2, 3]
    table.filters["set"].value = "rooms"
    assert [row["error"] for row in table.chosen] == [2, 3]
    assert table.by.options == ("score", "error")
    assert table.filters["set"].options == ("all", "rooms", "sprites")


def test_a_table_shows_what_is_chosen_and_escapes_it():
    table = widgets.table(RUNS, filters=("set",))
    assert table.page.value.index("0.75") < table.page.value.index("0.50")
    assert "a &lt;b&gt;" in table.page.value
    table.filters["set"].value = "sprites"
    assert "0.75" not in table.page.value
    assert table.still() == table.page.value


@pytest.mark.parametrize(
    ("rows", "filters", "message"),
    [
        ([], (), "at least one row"),
        ([{"a": 1.0}, {"b": 1.0}], (), "the same columns"),
        (RUNS, ("score",), "'score' is no column of words"),
        (RUNS, ("shape",), "'shape' is no column of words; there are: set, method"),
    ],
)
def test_wrong_rows_of_a_table_are_refused(rows, filters, message):
    with pytest.raises(ValueError, match=message):
        widgets.table(rows, filters)
