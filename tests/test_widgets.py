"""Widgets without a browser: what is decoded when, and the pixels that are shown."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from dvae_lib import figures, widgets
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


def test_nothing_is_decoded_while_it_is_hidden(traverse, decoder):
    display(traverse)
    traverse.layout.display = "none"
    traverse.sliders[0].value = 1.5
    traverse.reset.click()
    traverse.sliders[2].value = 2.0
    assert len(decoder.codes) == 1
    traverse.layout.display = None  # shown again: the picture catches up
    assert decoder.codes[1:] == [[0.0, 1.0, 2.0]]


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
    data = sprites.load(20)
    widget = widgets.factors(data)
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
    assert bytes(widget.picture.value[:4]) == b"\x89PNG"
    with pytest.raises(ValueError, match="angle from 3 to 3 in steps of 1: an empty range"):
        widgets.live_figure(draw, angle=(3, 3, 1))
