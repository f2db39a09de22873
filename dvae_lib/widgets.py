"""Widgets: sliders whose image or figure is made live by the kernel.

A widget works only while it can be seen, by itself or inside of others such as a VBox or a Tab:
nothing is decoded before it is first displayed, while its `layout.display` or that of a widget
around it is "none", or while another tab is open. Every control is a standard ipywidgets control,
reached with Tab and moved with the arrow keys.
"""

import io
import math

import ipywidgets
import torch
from ipywidgets.widgets import widget as registry
from matplotlib.figure import Figure
from PIL import Image

from .figures import tile, to_pixels

SHOWN_PIXELS = 256
SHEET_PIXELS = 576  # across several images shown together, at most, unless they are larger
STEP = 0.05  # of a slider along a latent axis, in units of the code


def png(image):
    """One image (C, H, W), uint8 or float in [0, 1], as PNG bytes enlarged without blur.

    A Matplotlib figure is drawn as it is.
    """
    if isinstance(image, Figure):
        buffer = io.BytesIO()
        image.savefig(buffer, format="png")
        return buffer.getvalue()
    picture = Image.fromarray(to_pixels(image.unsqueeze(0))[0])
    factor = max(1, SHOWN_PIXELS // max(picture.size))
    picture = picture.resize([side * factor for side in picture.size], Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


class LiveImage(ipywidgets.HBox):
    """Controls on the left, an image on the right that is made anew when a control moves.

    make: a function without arguments that returns the image (C, H, W) or a figure for the
    controls' values. shown: options of the ipywidgets.Image, by default a square of 256 pixels.
    """

    def __init__(self, controls, make, **shown):
        self._make, self._alone, self._paused = make, False, False
        shown = shown or {"width": SHOWN_PIXELS, "height": SHOWN_PIXELS}
        self.picture = ipywidgets.Image(format="png", **shown)
        self.picture.add_class("dvae-picture")
        # From 0, the page counts the places where it shows the widget, inside of others as well.
        super().__init__([ipywidgets.VBox(list(controls)), self.picture], _view_count=0)
        self.layout.observe(self._uncover, "display")
        self.observe(self._first_seen, "_view_count")

    @property
    def hidden(self):
        if self._alone:
            return self.layout.display == "none"
        return self._view_count == 0 or _covered(self)

    def _first_seen(self, change):
        if change.old == 0 and not self._alone:
            self._watch(self)
            self.refresh()

    def _watch(self, widget):
        """Make the image when one of the widgets around `widget` uncovers it."""
        for holder in _holders(widget):
            holder.layout.observe(self._uncover, "display")
            if isinstance(holder, SELECTING):
                holder.observe(self._uncover, "selected_index")
            self._watch(holder)

    def _uncover(self, change):
        self.refresh()

    def refresh(self, change=None):
        """Make the image for the present values, unless hidden or in the midst of a change."""
        if not self.hidden and not self._paused:
            with torch.no_grad():
                self.picture.value = png(self._make())

    def set_together(self, controls, values):
        """Move several controls and make the image once."""
        self._paused = True
        try:
            for control, value in zip(controls, values, strict=True):
                control.value = value
        finally:
            self._paused = False
        self.refresh()

    def show(self):
        """Say that the widget is on a page from now on, by itself."""
        self._alone = True
        self.refresh()

    def _repr_mimebundle_(self, **options):
        self.show()
        return super()._repr_mimebundle_(**options)


SELECTING = (ipywidgets.Tab, ipywidgets.Accordion, ipywidgets.Stack)  # show one child, or none


def _holders(widget):
    """The widgets among whose children one is."""
    return [w for w in registry._instances.values() if widget in getattr(w, "children", ())]


def _covered(widget):
    """Whether its own layout hides a widget, or all that hold it do."""
    if widget.layout.display == "none":
        return True
    holders = _holders(widget)
    return bool(holders) and all(_covered(h) or not _selects(h, widget) for h in holders)


def _selects(holder, widget):
    if not isinstance(holder, SELECTING):
        return True
    index = holder.selected_index
    return index is not None and holder.children[index] is widget


def _slider(kind, name, **options):
    slider = kind(description=name, continuous_update=True, **options)
    slider.style.description_width = "8em"
    slider.layout.width = "24em"
    return slider


def traverse(decode, codes, axes=None, reach=3.0, picker="image"):
    """A slider for each latent axis, a picker for the image to start from, and a reset button.

    decode: codes (B, L) to images (B, C, H, W) in [0, 1]. codes: (N, L), the codes of the images
    to pick from. axes: the axes that get a slider, in order (default all). reach: sliders go from
    -reach to reach, further where a picked code lies outside. A picked code is shown at the
    nearest slider positions, which are 0.05 apart.
    """
    if codes.ndim != 2 or len(codes) == 0:
        raise ValueError(f"codes of shape {tuple(codes.shape)}, expected (N, L) with N > 0")
    axes = list(range(codes.shape[1])) if axes is None else list(axes)
    # On the grid of the slider's steps, or the browser would round what the kernel sets.
    positions = (codes[:, axes].cpu().double() / STEP).round()
    steps = max(math.ceil(reach / STEP), int(positions.abs().max()))
    sliders = [
        _slider(ipywidgets.FloatSlider, f"z{k}", min=-steps * STEP, max=steps * STEP, step=STEP)
        for k in axes
    ]
    pick = _slider(ipywidgets.IntSlider, picker, min=0, max=len(codes) - 1)
    reset = ipywidgets.Button(description="reset", tooltip="back to the code of the picked image")

    def make():
        code = codes[pick.value].clone()
        code[axes] = torch.tensor([s.value for s in sliders], dtype=code.dtype, device=code.device)
        return decode(code.unsqueeze(0))[0]

    def start_over(_=None):
        widget.set_together(sliders, (positions[pick.value] * STEP).tolist())

    widget = LiveImage([pick, *sliders, reset], make)
    widget.pick, widget.sliders, widget.reset = pick, sliders, reset
    start_over()
    pick.observe(start_over, "value")
    reset.on_click(start_over)
    for slider in sliders:
        slider.observe(widget.refresh, "value")
    return widget


def live_figure(draw, **ranges):
    """Sliders beside a figure that is drawn anew when one moves.

    draw: a function of the sliders' values, by name, to a Matplotlib figure. ranges: for each
    slider (low, high, step); it begins at low. A range of integers gives integers. Raises
    ValueError for an empty range.
    """
    for name, (low, high, step) in ranges.items():
        if not (low < high and step > 0):
            raise ValueError(f"{name} from {low} to {high} in steps of {step}: an empty range")
    sliders = {}
    for name, (low, high, step) in ranges.items():
        options = {"min": low, "max": high, "step": step, "value": low}
        if all(isinstance(number, int) for number in (low, high, step)):
            sliders[name] = _slider(ipywidgets.IntSlider, name, **options)
        else:  # with digits enough to tell each step from the next
            digits = max(2, math.ceil(-math.log10(step)))
            options["readout_format"] = f".{digits}f"
            sliders[name] = _slider(ipywidgets.FloatSlider, name, **options)

    def make():
        return draw(**{name: slider.value for name, slider in sliders.items()})

    widget = LiveImage(sliders.values(), make, layout={"width": "auto"})
    widget.sliders = list(sliders.values())
    for slider in widget.sliders:
        slider.observe(widget.refresh, "value")
    return widget


def factors(data):
    """A slider for each factor of a data set, and its image.

    Procedural sets are rendered. Of digits, which their factors do not determine, the nearest
    stored image is shown, in the chosen colours if the set has any.
    """
    sliders = [
        _slider(
            ipywidgets.SelectionSlider,
            name,
            options=[(_label(value), level) for level, value in enumerate(values)],
        )
        for name, values in zip(data.factor_names, data.factor_values, strict=True)
    ]

    def make():
        levels = torch.tensor([[slider.value for slider in sliders]], device=data.device)
        if data.renderer is None:
            return data.images[data.nearest(levels)[0]]
        if data.bases is None:
            return data.render(levels)[0]
        row = data.nearest(levels, data.base_factors)
        return data.render(levels, data.bases[row])[0]

    widget = LiveImage(sliders, make)
    widget.sliders = sliders
    for slider in sliders:
        slider.observe(widget.refresh, "value")
    return widget


def swap(decode, z_s, z_u, images, names=("z_s", "z_u")):
    """Image A, a blend of A and B, and image B, with a slider from A to B for each of two codes.

    decode: codes (B, d_s) and (B, d_u) to images (B, C, H, W) in [0, 1]. z_s: (N, d_s) and z_u:
    (N, d_u), the codes of `images` (N, C, H, W), uint8 or float in [0, 1], from which A and B are
    picked. names: what the two codes are called. With a slider at t, its code is
    (1 - t) z(A) + t z(B). At (0, 0) the blend is A's reconstruction, at (1, 1) B's, and at (1, 0)
    and (0, 1) the two swaps. Raises ValueError for fewer than two images, or unequal numbers.
    """
    if not len(z_s) == len(z_u) == len(images):
        raise ValueError(
            f"{len(z_s)} codes {names[0]}, {len(z_u)} codes {names[1]} and {len(images)} images; "
            "give the codes of these images"
        )
    if len(images) < 2:
        raise ValueError(f"{len(images)} images to swap between; give at least 2")
    pick_a, pick_b = (
        _slider(ipywidgets.IntSlider, f"image {name}", min=0, max=len(images) - 1, value=row)
        for row, name in enumerate("AB")
    )
    slider_s, slider_u = (
        _slider(ipywidgets.FloatSlider, f"{name} from A to B", min=0, max=1, step=STEP, value=0)
        for name in names
    )
    controls = [pick_a, pick_b, slider_s, slider_u]
    for control in controls:
        control.style.description_width = "12em"
        control.layout.width = "28em"

    def make():
        a, b = pick_a.value, pick_b.value
        blend = decode(
            *(
                ((1 - slider.value) * z[a] + slider.value * z[b]).unsqueeze(0)
                for slider, z in ((slider_s, z_s), (slider_u, z_u))
            )
        )
        row = [_in_unit_range(image) for image in (images[a], blend[0], images[b])]
        return _enlarged(torch.cat(row, -1), images.shape[-1], 3)

    height, width = _enlarged(images[0], images.shape[-1], 3).shape[-2:]
    widget = LiveImage(controls, make, width=3 * width, height=height)
    widget.layout.flex_flow = "row wrap"  # below the controls where there is no room beside
    widget.pick_a, widget.pick_b, widget.slider_s, widget.slider_u = controls
    for control in controls:
        control.observe(widget.refresh, "value")
    return widget


def sampler(draw, classes, columns=4):
    """Images drawn of a class: a slider over the classes, and a button that draws others.

    draw: the position of a class, from 0, to images (M, C, H, W), uint8 or float in [0, 1].
    classes: the names of the classes. columns: images in a row. Raises ValueError for no classes.
    """
    names = [str(name) for name in classes]
    if not names:
        raise ValueError("no classes to draw images of; give the name of at least one")
    options = [(name, position) for position, name in enumerate(names)]
    # Not a menu: JupyterLab takes the arrow keys of one for its own.
    pick = _slider(ipywidgets.SelectionSlider, "class", options=options)
    again = ipywidgets.Button(description="draw again", tooltip="other images of this class")

    def make():
        images = draw(pick.value)
        sheet = tile(_enlarged(images, images.shape[-1], columns), columns)
        return torch.from_numpy(sheet).permute(2, 0, 1)

    widget = LiveImage([pick, again], make, layout={"width": "auto"})
    widget.layout.flex_flow = "row wrap"
    widget.pick, widget.again = pick, again
    pick.observe(widget.refresh, "value")
    again.on_click(widget.refresh)
    return widget


class Switch(ipywidgets.VBox):
    """Buttons, one of which is pressed, and below them its widget; the others wait unseen."""

    def __init__(self, choices):
        self.choices = dict(choices)
        self.buttons = ipywidgets.ToggleButtons(options=list(self.choices), description="model")
        super().__init__([self.buttons, *self.choices.values()])
        self._show()
        self.buttons.observe(self._show, "value")

    def _show(self, change=None):
        for label, widget in self.choices.items():
            widget.layout.display = None if label == self.buttons.value else "none"

    def _repr_mimebundle_(self, **options):
        for widget in self.choices.values():  # each makes its picture once it is not hidden
            widget.show()
        return super()._repr_mimebundle_(**options)


def switch(choices):
    """Buttons that choose which of several widgets is shown, {label: a widget of this module}.

    The first is shown to begin with. A single one gets no buttons. Raises ValueError for none.
    """
    if not choices:
        raise ValueError("no widgets to choose from; give at least one")
    return Switch(choices) if len(choices) > 1 else next(iter(choices.values()))


def _in_unit_range(image):
    image = image.cpu()
    return image if image.is_floating_point() else image / 255


def _enlarged(pixels, width, columns):
    """Pixels (..., H, W) as whole blocks, so that `columns` images of `width` fill a sheet."""
    factor = max(1, SHEET_PIXELS // (columns * width))
    return pixels.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


def _label(value):
    return f"{value:.2f}" if isinstance(value, float) else str(value)
