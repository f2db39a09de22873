"""Widgets: sliders whose image or figure is made live by the kernel (see `live`).

Every control is a standard ipywidgets control, reached with Tab and moved with the arrow keys.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import torch

from .data import FactorData
from .figures import tile
from .live import Displayed, LiveImage
from .tables import Table

SHEET_PIXELS = 576  # across several images shown together, at most, unless they are larger
STEP = 0.05  # of a slider along a latent axis, in units of the code
REACH = 3.0  # of a slider on both sides of 0
ANGLES = ("angle", "orientation", "yaw", "pitch", "light")  # factors and sliders in degrees
SHARES = ("share", "identity")  # sliders from 0 to 1 that are read in per cent
HUES = "red orange yellow lime green mint cyan azure blue violet magenta pink".split()


def _slider(kind, name, **options):
    return kind(description=name, continuous_update=True, **options)


def traverse(decode: Callable, codes: torch.Tensor, axes: Sequence[int] | None = None) -> LiveImage:
    """A slider for each latent axis, a picker for the image to start from, and a reset button.

    decode: codes (B, L) to images (B, C, H, W) in [0, 1]. codes: (N, L), the codes of the images
    to pick from. axes: the axes that get a slider, in order (default all). Sliders go from -3 to 3,
    further where a picked code lies outside. A picked code is shown at the nearest slider
    positions, which are 0.05 apart.
    """
    if codes.ndim != 2 or len(codes) == 0:
        raise ValueError(f"codes of shape {tuple(codes.shape)}, expected (N, L) with N > 0")
    axes = list(range(codes.shape[1])) if axes is None else list(axes)
    # On the grid of the slider's steps, or the browser would round what the kernel sets.
    positions = (codes[:, axes].cpu().double() / STEP).round()
    steps = max(math.ceil(REACH / STEP), int(positions.abs().max()))
    sliders = [
        _slider(ipywidgets.FloatSlider, f"z{k}", min=-steps * STEP, max=steps * STEP, step=STEP)
        for k in axes
    ]
    pick = _slider(ipywidgets.IntSlider, "image", min=0, max=len(codes) - 1)
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


def live_figure(draw: Callable, **ranges: Any) -> LiveImage:
    """Sliders beside a figure that is drawn anew when one moves.

    draw: a function of the sliders' values, by name, to a Matplotlib figure. It is several times
    as fast if it changes one figure, made outside, than if it makes one each time. ranges: for
    each slider (low, high, step); it begins at low. A range of integers gives integers. One of the
    ANGLES is read in degrees, one of the SHARES in per cent. Raises ValueError for an empty range.
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
            percent = name in SHARES
            options["readout_format"] = f".{digits - 2}%" if percent else f".{digits}f"
            sliders[name] = _slider(ipywidgets.FloatSlider, name, **options)
        if name in ANGLES:
            sliders[name].add_class("dvae-degrees")

    def make():
        return draw(**{name: slider.value for name, slider in sliders.items()})

    widget = LiveImage(sliders.values(), make)
    widget.sliders = list(sliders.values())
    for slider in widget.sliders:
        slider.observe(widget.refresh, "value")
    return widget


def factors(data: FactorData) -> LiveImage:
    """A slider for each factor of a data set, and its image.

    Procedural sets are rendered. Of digits, which their factors do not determine, the nearest
    stored image is shown, in the chosen colours if the set has any. It begins with numbers in the
    middle of their range, the first of words, and hues that differ.
    """
    hues = [name for name in data.factor_names if "hue" in name]
    sliders = []
    for name, values in zip(data.factor_names, data.factor_values, strict=True):
        options = [(label, level) for level, label in enumerate(_labels(name, values))]
        level = 0 if isinstance(values[0], str) else len(values) // 2
        if name in hues:
            level = hues.index(name) * len(values) // len(hues)
        sliders.append(_slider(ipywidgets.SelectionSlider, name, options=options, value=level))

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


def swap(
    decode: Callable,
    z_s: torch.Tensor,
    z_u: torch.Tensor,
    images: torch.Tensor,
    names: tuple[str, str] = ("z_s", "z_u"),
) -> LiveImage:
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
    from_a_to_b = {"min": 0, "max": 1, "step": STEP, "value": 0, "readout_format": ".0%"}
    slider_s, slider_u = (
        _slider(ipywidgets.FloatSlider, f"{name} from A to B", **from_a_to_b) for name in names
    )
    controls = [pick_a, pick_b, slider_s, slider_u]

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

    widget = LiveImage(controls, make)
    widget.pick_a, widget.pick_b, widget.slider_s, widget.slider_u = controls
    for control in controls:
        control.observe(widget.refresh, "value")
    return widget


def sampler(draw: Callable, classes: Sequence, columns: int = 4) -> LiveImage:
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

    widget = LiveImage([pick, again], make)
    widget.pick, widget.again = pick, again
    pick.observe(widget.refresh, "value")
    again.on_click(widget.refresh)
    return widget


class Switch(Displayed, ipywidgets.VBox):
    """Buttons, one of which is pressed, and below them its widget; the others wait unseen."""

    def __init__(self, choices: "dict[str, LiveImage]", name: str) -> None:
        self.choices = dict(choices)
        self.buttons = ipywidgets.ToggleButtons(
            options=list(self.choices), description=name, style={"button_width": "auto"}
        )
        super().__init__([self.buttons, *self.choices.values()])
        self._choose()
        self.buttons.observe(self._choose, "value")

    def _choose(self, change=None):
        for label, widget in self.choices.items():
            widget.layout.display = None if label == self.buttons.value else "none"

    def show(self) -> None:
        for widget in self.choices.values():  # each makes its picture once it is not hidden
            widget.show()

    def still(self) -> str:
        return self.choices[self.buttons.value].still()


def switch(choices: "dict[str, LiveImage]", name: str = "model") -> "Switch | LiveImage":
    """Buttons that choose which of several widgets is shown, {label: a widget of this module}.

    name: what is chosen. The first is shown to begin with. A single one gets no buttons. Raises
    ValueError for none.
    """
    if not choices:
        raise ValueError("no widgets to choose from; give at least one")
    return Switch(choices, name) if len(choices) > 1 else next(iter(choices.values()))


class SortedTable(Displayed, ipywidgets.VBox):
    """Buttons that choose rows of a table, a menu of the column that sorts it, and the table."""

    def __init__(self, rows: Sequence[dict[str, Any]], filters: Sequence[str]) -> None:
        self.rows = list(rows)
        self.filters = {name: self._buttons(name) for name in filters}
        numbers = [name for name, value in self.rows[0].items() if not isinstance(value, str)]
        self.by = ipywidgets.Dropdown(description="sorted by", options=numbers)
        self.upwards = ipywidgets.Checkbox(description="smallest first", indent=False)
        self.page = ipywidgets.HTML()
        controls = [*self.filters.values(), self.by, self.upwards]
        super().__init__([*controls, self.page])
        self.add_class("dvae-live")
        for control in controls:
            control.observe(self.refresh, "value")
        self.refresh()

    def _buttons(self, name):
        words = dict.fromkeys(row[name] for row in self.rows)
        options = {"options": ["all", *words], "style": {"button_width": "auto"}}
        return ipywidgets.ToggleButtons(description=name, **options)

    @property
    def chosen(self) -> list[dict[str, Any]]:
        """The rows that are shown, in their order."""
        wanted = {n: c.value for n, c in self.filters.items() if c.value != "all"}
        rows = [row for row in self.rows if all(row[n] == word for n, word in wanted.items())]
        return sorted(rows, key=lambda row: row[self.by.value], reverse=not self.upwards.value)

    def refresh(self, change: Any = None) -> None:
        """Write the table for the present choice."""
        body = [[v if isinstance(v, str) else f"{v:.2f}" for v in r.values()] for r in self.chosen]
        self.page.value = Table([tuple(self.rows[0]), *body])._repr_html_()

    def show(self) -> None: ...

    def still(self) -> str:
        return self.page.value


def table(rows: Sequence[dict[str, Any]], filters: Sequence[str] = ()) -> SortedTable:
    """A table that sorts by any column of numbers, and shows the rows of chosen words.

    rows: dicts with the same columns, {column: a word or a number}. filters: columns of words;
    each gets a button for every word in it. It begins with all rows, the largest number of the
    first such column on top. Raises ValueError without rows or for rows of other columns.
    """
    if not rows or any(row.keys() != rows[0].keys() for row in rows):
        raise ValueError("give at least one row, and the same columns in each")
    if missing := [name for name in filters if not isinstance(rows[0].get(name), str)]:
        raise ValueError(f"{missing[0]!r} is no column of words; there are: {', '.join(rows[0])}")
    return SortedTable(rows, filters)


def _in_unit_range(image):
    image = image.cpu()
    return image if image.is_floating_point() else image / 255


def _enlarged(pixels, width, columns):
    """Pixels (..., H, W) as whole blocks, so that `columns` images of `width` fill a sheet."""
    factor = max(1, SHEET_PIXELS // (columns * width))
    return pixels.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


def _labels(name, values):
    """The values of a factor in words: angles in degrees, hues with their names."""
    if isinstance(values[0], str):
        shades = values[0].startswith("#")  # colours as on a web page
        return [f"{k} of {len(values)}" if shades else v for k, v in enumerate(values, 1)]
    if "hue" in name:
        return [f"{value:.2f} {HUES[round(value * len(HUES)) % len(HUES)]}" for value in values]
    if name in ANGLES:
        in_radians = max(values) > math.pi and max(values) <= 2 * math.pi + 1e-6
        return [f"{math.degrees(v) if in_radians else v:.0f}°" for v in values]
    return [f"{value:.2f}" if isinstance(value, float) else str(value) for value in values]
