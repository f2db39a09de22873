"""A widget's picture: made anew when a control moves, while somebody can see it.

A widget works only while it can be seen, by itself or inside of others such as a VBox or a Tab:
nothing is made before it is first displayed, while its `layout.display` or that of a widget
around it is "none", or while another tab is open. While a picture is made, the browser keeps the
latest position of each slider back and sends it alone, so positions that were overtaken cost
nothing. What is saved in a notebook shows a still picture where no kernel is.
"""

import html
import io
from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets
import numpy as np
import torch
from IPython.display import display
from ipywidgets.widgets import widget as registry
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from PIL import Image

from .figures import to_pixels
from .pages import as_html

SHOWN_PIXELS = 256

# What ipywidgets leaves out: names of the handles and of the picture for those who do not see
# them, and a word where the kernel works on a picture (after 0.3 s) or is there no more.
PAGE = """
<style onload="
  const box = this.closest('.dvae-live');
  const describe = () => {
    for (const slider of box.querySelectorAll('.widget-slider')) {
      const [label, handle, readout] = ['.widget-label', '.noUi-handle', '.widget-readout'].map(
        part => slider.querySelector(part));
      handle?.setAttribute('aria-label', label.textContent);
      const unit = slider.classList.contains('dvae-degrees') ? '°' : '';
      handle?.setAttribute('aria-valuetext', readout.textContent + unit);
    }
    const words = box.querySelector('.dvae-words')?.textContent;
    box.querySelector('.dvae-picture')?.setAttribute('alt', words ?? '');
  };
  new MutationObserver(describe).observe(
    box, {childList: true, subtree: true, characterData: true});
  describe();
">
  .dvae-words, .dvae-page { display: none; }
  .dvae-live .widget-readout { min-width: 7em; max-width: none; overflow: visible; }
  .dvae-degrees .widget-readout::after { content: '°'; }
  .dvae-live.jupyter-widgets-disconnected > .dvae-page {
    display: block; flex: 1 0 100%; order: -1;
  }
  .dvae-live.jupyter-widgets-disconnected > :not(.dvae-page) { opacity: 0.4; }
  .dvae-live .jupyter-widgets-disconnected::before { content: none; }
  .dvae-live.dvae-computing::after {
    content: 'computing…'; position: absolute; top: 0; right: 0; padding: 2px 6px;
    background: var(--jp-layout-color2, white); animation: dvae-late 0.3s;
  }
  @keyframes dvae-late { from, to { visibility: hidden; } }
</style>
The kernel that moved this widget is gone: run the cells above again, then this one.
"""
# The picture of a saved notebook. It gives way to the widget where there is one; where the
# widget's model is lost, what says so gives way to the picture.
STILL = """
<style>
  .jp-OutputArea-child:has(.dvae-still):has(+ .jp-OutputArea-child .dvae-live),
  .jp-OutputArea-child:has(.dvae-still) + .jp-OutputArea-child:not(:has(.dvae-live)) {
    display: none;
  }
</style>
<figure class="dvae-still" style="margin: 0">
  {picture}
  <figcaption>A still picture of the widget: run the cells up to this one to move its
  controls.</figcaption>
</figure>
"""


def png(image: Any, before: Any = None) -> bytes:
    """One image (C, H, W), uint8 or float in [0, 1], as PNG bytes enlarged without blur.

    A Matplotlib figure is drawn as it is. Drawn again, it keeps its canvas, which knows the sizes
    of texts, its layout, since to find one takes as long as drawing, and its axes, whose ticks and
    labels take most of drawing, as long as nothing of them changes. A new figure is laid out like
    the one `before` it, if that is of the same make.
    """
    if isinstance(image, Figure):
        if image is not before and _alike(image, before):
            _lay_out_like(image, before)
        if not isinstance(image.canvas, FigureCanvasAgg):
            FigureCanvasAgg(image)
            for axes in image.axes:
                for axis in (axes.xaxis, axes.yaxis):
                    axis.draw = KeptAxis(axis)
        KeptAxis.drawing = True  # then Matplotlib itself sets anew what stays as it is
        try:
            image.canvas.draw()
        finally:
            KeptAxis.drawing = False
        image.set_layout_engine("none")
        picture = Image.fromarray(np.asarray(image.canvas.buffer_rgba())[..., :3])
    else:
        picture = Image.fromarray(to_pixels(image.unsqueeze(0))[0])
        factor = max(1, SHOWN_PIXELS // max(picture.size))
        picture = picture.resize([side * factor for side in picture.size], Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _alike(figure, before):
    """Whether a figure has the size, panels and title of another, and no parts within parts."""
    makes = [
        (f.get_size_inches().tolist(), len(f.axes), f._suptitle is None, len(f.legends), f.subfigs)
        for f in (figure, before)
        if isinstance(f, Figure)
    ]
    return len(makes) == 2 and makes[0] == makes[1] and not figure.subfigs


def _lay_out_like(figure, before):
    for axes, old in zip(figure.axes, before.axes, strict=True):
        axes.set_position(old.get_position(original=True), which="original")
    if figure._suptitle:
        figure._suptitle.set_position(before._suptitle.get_position())
    figure.set_layout_engine("none")


class KeptAxis:
    """What draws an axis once, and then pastes it until it, or a part of it, is changed."""

    drawing = False

    def __init__(self, axis: Any) -> None:
        self.axis, self.draw, self.drawn = axis, axis.draw, None

    def __call__(self, renderer):
        if not isinstance(renderer, RendererAgg):
            return self.draw(renderer)
        place = (*self.axis.get_view_interval(), *self.axis.axes.bbox.bounds)
        place += renderer.width, renderer.height, renderer.dpi
        if self.drawn != place:
            apart = RendererAgg(renderer.width, renderer.height, renderer.dpi)
            self.draw(apart)
            picture = np.asarray(apart.buffer_rgba())[::-1]
            (bottom, top), (left, right) = (_ends(picture[..., 3].any(side)) for side in (1, 0))
            self.part = left, bottom, picture[bottom:top, left:right].copy()
            self.drawn = place
            for part in self.axis.findobj():  # each says when it is changed
                part.stale_callback = self.forget
        renderer.draw_image(renderer.new_gc(), *self.part)

    def forget(self, *_: Any) -> None:
        if not self.drawing:
            self.drawn = None


def _ends(marks):
    """Where what is marked begins, and where it ends."""
    places = marks.nonzero()[0]
    return (places[0], places[-1] + 1) if len(places) else (0, 0)


class Displayed:
    """What is shown as a widget where there is a kernel, and as its still picture elsewhere."""

    show: Callable
    still: Callable

    def _repr_mimebundle_(self, **options):
        self.show()
        return super()._repr_mimebundle_(**options)  # ty: ignore[missing-attribute]

    def _ipython_display_(self):
        widget = self._repr_mimebundle_()
        picture = self.still()
        display({"text/html": STILL.replace("{picture}", picture)}, raw=True)
        display(widget, raw=True)


class LiveImage(Displayed, ipywidgets.HBox):
    """Controls, and beside them, or below where there is no room, an image that they change.

    make: a function without arguments that returns the image (C, H, W) or a figure for the
    controls' values.
    """

    # Controls by name, as far as the kind of widget has them.
    sliders: Any
    pick: Any
    pick_a: Any
    pick_b: Any
    slider_s: Any
    slider_u: Any
    again: Any
    reset: Any

    def __init__(self, controls: Iterable, make: Callable) -> None:
        self.controls, self._make, self._alone, self._paused = list(controls), make, False, False
        self._drawn = None  # the image before
        self.picture = ipywidgets.Image(format="png", layout={"max_width": "calc(100% - 4px)"})
        self.words = ipywidgets.HTML()
        page = ipywidgets.HTML(PAGE)
        for part, name in ((self.picture, "picture"), (self.words, "words"), (page, "page")):
            part.add_class(f"dvae-{name}")
        beside = {"flex": "1 1 18em", "min_width": "min(18em, 100%)", "max_width": "28em"}
        _align(self.controls)
        super().__init__(
            [ipywidgets.VBox(self.controls, layout=beside), self.picture, self.words, page],
            layout={"flex_flow": "row wrap", "align_items": "flex-start"},
            _view_count=0,  # from now on the page counts where it shows it, inside of others, too
        )
        self.add_class("dvae-live")
        self.layout.observe(self.refresh, "display")
        self.observe(self._first_seen, "_view_count")

    @property
    def hidden(self) -> bool:
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
            holder.layout.observe(self.refresh, "display")
            if isinstance(holder, SELECTING):
                holder.observe(self.refresh, "selected_index")
            self._watch(holder)

    def refresh(self, change: Any = None) -> None:
        """Make the image for the present values, unless hidden or in the midst of a change."""
        if self.hidden or self._paused:
            return
        self.add_class("dvae-computing")
        try:
            with torch.no_grad():
                image = self._make()
            self.picture.value = png(image, self._drawn)
            self._drawn = image
            self.words.value = html.escape(getattr(image, "alt", None) or self._positions())
        finally:
            self.remove_class("dvae-computing")

    def _positions(self):
        """Alternative text of an image without one: what the controls say."""
        sliders = [c for c in self.controls if not isinstance(c, ipywidgets.Button)]
        return "Picture at " + ", ".join(f"{c.description} {_readout(c)}" for c in sliders)

    def set_together(self, controls: list, values: list) -> None:
        """Move several controls and make the image once."""
        self._paused = True
        try:
            for control, value in zip(controls, values, strict=True):
                control.value = value
        finally:
            self._paused = False
        self.refresh()

    def show(self) -> None:
        """Say that the widget is on a page from now on, by itself."""
        if not self._alone:
            self._alone = True
            self.refresh()

    def still(self) -> str:
        """The picture with its alternative text, as HTML."""
        return as_html(self.picture.value, html.unescape(self.words.value))


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


def _align(controls):
    """Tracks begin below each other, right of the longest name."""
    longest = max(len(control.description) for control in controls)
    for control in controls:
        if not isinstance(control, ipywidgets.Button):
            control.style.description_width = f"{0.6 * longest + 0.5:.1f}em"
            control.layout.width, control.layout.margin = "auto", "2px"


def _readout(control):
    if isinstance(control, ipywidgets.SelectionSlider):
        return control.options[control.index][0]
    in_percent = getattr(control, "readout_format", "").endswith("%")
    return f"{control.value:{control.readout_format if in_percent else '.3g'}}"
