"""Which widgets of the notebooks live on their pages, and with which networks.

A function for each notebook makes the widgets that stand in it, of the weights that are stored with
the workbook. It takes the notebook's definitions, and executes those of its cells that make images;
nothing is trained. A page shows the first pictures where there is no JavaScript or WebAssembly.
"""

import colorsys
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from .. import cells, data, models, paths, widgets, workbook
from ..data import digits, rooms
from ..live import SHOWN_PIXELS
from . import networks


@dataclass
class Live:
    """A widget on a page.

    widget: the notebook's, which has the controls and their names. network: see networks. words:
    whose weights, or what is otherwise than in the notebook. alt: what the picture shows, for those
    who do not see it. titles: above the parts of the picture; {NAME} stands for what a control
    says, {NAME%} for per cent. resets: for each value of the first control, those that it gives to
    the others. alone: a moved control sets back the others.
    """

    widget: widgets.LiveImage
    network: nn.Module
    words: str
    alt: str = "Picture"
    titles: tuple[str, ...] = ()
    resets: list | None = None
    alone: bool = False

    def controls(self) -> list[dict]:
        """What the page needs to know of each slider."""
        return [_slider(c) for c in self.widget.controls if hasattr(c, "continuous_update")]

    def at(self) -> list[float]:
        """Where the controls are, as the network takes it."""
        return [float(control["value"]) for control in self.controls()]

    def picture(self) -> np.ndarray:
        """The picture at these positions, uint8 (H, W, 3)."""
        return self.network(torch.tensor(self.at())).numpy()

    def still(self) -> tuple[bytes, str]:
        """The picture at these positions as a PNG, enlarged without blur, and what it shows."""
        image = Image.fromarray(self.picture())
        across = max(image.size)
        size = SHOWN_PIXELS if across <= 64 else widgets.SHEET_PIXELS
        factor = max(1, size // across)
        buffer = io.BytesIO()
        image.resize([side * factor for side in image.size], Image.Resampling.NEAREST).save(
            buffer, "PNG", optimize=True
        )
        words = ", ".join(f"{c['name']} {_says(c)}" for c in self.controls())
        return buffer.getvalue(), f"{self.alt} at {words}"

    def about(self) -> dict:
        """All but the network, for the page."""
        keys = "words", "alt", "titles", "resets", "alone"
        return {"controls": self.controls()} | {key: getattr(self, key) for key in keys}


def _says(control):
    if "words" in control:
        return control["words"][control["value"]]
    form = f".{control['digits']}{'%' if control['percent'] else 'f'}"
    return f"{control['value']:{form}}" + "°" * control["degrees"]


def _slider(control):
    """A slider of ipywidgets as numbers and words."""
    found = {"name": control.description, "degrees": "dvae-degrees" in control._dom_classes}
    if hasattr(control, "options"):
        words = [label for label, _ in control.options]
        numbers = {"min": 0, "max": len(words) - 1, "step": 1, "value": control.index}
        return found | numbers | {"words": words}
    digits = 0 if isinstance(control.value, int) else int(control.readout_format[1:-1])
    percent = control.readout_format.endswith("%")
    numbers = {key: getattr(control, key) for key in ("min", "max", "step", "value")}
    return found | numbers | {"digits": digits, "percent": percent}


Shown = dict[str, Live]  # {label: what is shown}; a button chooses, if there are several
Widgets = Iterator[tuple[str, Shown]]


def on_page(notebook: str) -> dict[str, Shown]:
    """{words of its cell: what is shown there} of each live widget of a notebook.

    Nothing of a notebook without any is opened.
    """
    if notebook not in OF:
        return {}
    module: Any = workbook.definitions(notebook)
    module.run, module.seed = workbook.start(notebook, device="cpu"), 0
    with torch.no_grad():
        return dict(OF[notebook](module))


def _execute(module, *marks):
    """Execute the cells of a notebook that have these words in them, in its module."""
    sources = cells.code_cells(paths.notebook_path(module.run.notebook))
    for mark in marks:
        (source,) = (source for source in sources if mark in source)
        exec(source, module.__dict__)


def _start_here(module) -> Widgets:
    drawn = "Drawn in your browser."
    sprites = data.load("sprites", n=1)
    yield (
        "widgets.factors(sprites)",
        {"": Live(widgets.factors(sprites), networks.Sprites(), drawn)},
    )

    coloured = data.load("digits", coloured=True)
    strokes: Any = coloured.bases
    firsts = [int((coloured.factors[:, 0] == digit).nonzero()[0]) for digit in range(10)]
    tables = [_hues(digits.HUES, value) for value in (1, digits.BACKGROUND_VALUE)]
    network = networks.Digits(strokes[firsts] / 255, *tables)
    yield "widgets.factors(digits)", {"": Live(widgets.factors(coloured), network, drawn)}

    frames = rooms.weights_of_all(torch.device("cpu"))
    fixed = torch.tensor([rooms.SKY, rooms.GLOSS]) / 255
    network = networks.Rooms(frames, _hues(len(rooms.HUES)), fixed, rooms.SIZES, rooms.ONE)
    widget = widgets.factors(data.load("rooms", n=1))
    yield "widgets.factors(rooms)", {"": Live(widget, network, drawn)}

    faces = data.load("faces", n=1)
    widget = widgets.factors(faces)
    start = [slider.index for slider in widget.sliders]
    levels = torch.tensor([start]).repeat(sum(faces.factor_sizes), 1)
    moved = [(k, level) for k, size in enumerate(faces.factor_sizes) for level in range(size)]
    for row, (k, level) in enumerate(moved):
        levels[row, k] = level
    network = networks.Frames(faces.render(levels), faces.factor_sizes, start)
    words = "On this page one factor moves at a time, and the others go back to where they began."
    yield "widgets.factors(faces)", {"": Live(widget, network, words, alone=True)}


def _hues(n, value=1.0):
    """Hues around the circle as colours (n, 3) in [0, 1]."""
    return torch.tensor([colorsys.hsv_to_rgb(k / n, 1, value) for k in range(n)])


def _vae(module) -> Widgets:
    torch.manual_seed(0)
    of_digits = torch.bernoulli(data.load("digits", split="test").floats())
    of_sprites = data.load("sprites", n=2_000, seed=0).floats(torch.arange(200))
    for name, x in {"VAE of sprites": of_sprites, "VAE of digits": of_digits[:200]}.items():
        vae, label, words = _stored(module, name, module.narrow_vae(x.shape[1:], 10))
        mean, log_var = vae.posterior(x)
        axes = module.kl_of_axes(mean, log_var).argsort(descending=True)[:8].tolist()
        yield f'explore("{name}"', {label: _traverse(vae, mean, axes, words)}


def _two_code_information(module) -> Widgets:
    module.test = module.coloured_digits("test", 1)
    _execute(module, "notebook_04 = ", "\nd1 = run.pick(", "asked = FreshDigits(")
    digit = module.Specified([0], [torch.eye(10)])
    shown = type(module.asked)(*(rows[:100] for rows in module.asked))
    choices = {}
    for name, kind in (("told", module.ConditionalVAE), ("none", module.TwoCodeVAE)):
        vae = kind((3, 32, 32), module.d1, digit, **module.sizes)
        vae, label, words = _stored(module, name, module.without_reader(vae))
        torch.manual_seed(0)  # of the noise on the images
        z2 = vae.specified(shown.factors)
        z1, _ = vae.posterior(shown.images, z2)
        widget = widgets.live_figure(
            lambda vae=vae, **begin: module.draw_cross(vae, **begin),
            row=(0, 90, 1),
            column=(0, 90, 1),
        )
        alt = "Five images down the side give z1, five along the top z2, from"
        network = networks.Cross(vae, z1, z2, shown.images, 5)
        choices[f"{name}, {label}"] = Live(widget, network, words, alt)
        if name == "told":
            few = [part[:60] for part in (z1, z2, shown.images)]
            widget = widgets.swap(vae.decode, *few, names=("z1", "z2"))
            swap = {label: Live(widget, networks.Swap(vae, *few), words)}
    yield "cross_widgets = {}", choices
    yield "with torch.no_grad():\n    shown = factor_data", swap


def _gated_vae(module) -> Widgets:
    _execute(module, "people = ", "face_parts = ", "sizes = ")
    x = module.test.floats(torch.arange(20))
    choices = {}
    for twin in ("gated", "ungated"):
        vae, label, words = _stored(module, twin, module.PairVAE(x.shape[1:], 16, **module.sizes))
        codes, _ = vae.posterior(x)
        for name, axes in zip(module.face_parts.names, module.face_parts.masks, strict=True):
            chosen = axes.nonzero()[:, 0].tolist()
            choices[f"{name}, {twin}, {label}"] = _traverse(vae, codes, chosen, words)
    yield "x = test.floats(torch.arange(min(20", choices


def _quantized_infogan(module) -> Widgets:
    _execute(module, "size = run.pick(")
    module.drawn = torch.randint(10, (3, module.n_axes), generator=torch.Generator().manual_seed(0))
    choices = {}
    for name, kind in (("quantized", module.QuantizedInfoGAN), ("plain", module.InfoGAN)):
        gan, label, words = _stored(module, name, kind(module.size, module.n_axes, 32))
        values = torch.stack([gan.values(torch.full((module.n_axes,), k)) for k in range(10)], 1)
        network = networks.Dials(gan.generator, values)
        choices[f"{name}, {label}"] = Live(module.dials(gan), network, words)
    yield "drawn = torch.randint", choices


def _face_swapping(module) -> Widgets:
    _execute(module, "many = ", "VARIANTS = {", "n_shown = ")
    people = module.draw_people(module.n_shown, 3, 4, 32)
    module.long_images = module.draw_pictures(people.given, module.LONG[0])
    pictures, regions = module.floats(module.long_images)
    masks = module.ellipse(regions[1::3])
    slides, matrices = {}, {}
    for name in ("WSC-swap", "skips"):
        cast, label, words = _stored(module, name, module.new_cast(name, *module.LONG))
        weights = models.Weights(cast, True, words)
        parts = cast.swapper, module.between, cast.embeddings, pictures[::3], pictures[1::3], masks
        label = f"{name}, {label}"
        titles = "source {source}", "{identity%} source", "target {target}"
        slide = module.slide_widget(weights)
        alt = "A source, the swap and a target"
        slides[label] = Live(slide, networks.Slide(*parts), words, alt, titles)
        matrix = module.matrix_widget(weights)
        alt = "Four sources down the side, four targets along the top, a swap for each pair, from"
        matrices[label] = Live(matrix, networks.Matrix(*parts), words, alt)
    yield "shown_first = dict(", slides
    yield 'widgets.switch({f"{n}, {w.label}": matrix_widget(w)', matrices


OF: dict[str, Callable[[Any], Widgets]] = {
    "00_start_here": _start_here,
    "01_vae": _vae,
    "05_two_code_information": _two_code_information,
    "06_gated_vae": _gated_vae,
    "08_quantized_infogan": _quantized_infogan,
    "10_face_swapping": _face_swapping,
}


def _stored(module, name, network) -> tuple[Any, str, str]:
    """A network with the stored weights of this name, their label and whose they are."""
    weights = module.run.stored(name, network)
    if not weights.stored:
        raise ValueError(f"{weights.words}; store them with: dvae store {module.run.notebook}")
    return weights.module, weights.label, weights.words


def _traverse(vae, codes, axes, words):
    widget = widgets.traverse(vae.decode, codes, axes)
    resets = ((codes[:, axes].double() / widgets.STEP).round() * widgets.STEP).round(decimals=2)
    network = networks.Traverse(vae, codes, axes)
    return Live(widget, network, words, resets=resets.tolist())
