"""Figures of the workbook. Each returns a Matplotlib figure that carries its alternative text.

They are made without pyplot, so nothing is drawn twice and nothing stays open.
"""

import io
import itertools
import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D, Bbox
from PIL import Image

from .data import FactorData
from .pages import as_html

DPI = 100
MANY_COLOURS = 1 << 15  # a palette of 256 does not serve so many, and takes seconds to make


class DescribedFigure(Figure):
    """A Matplotlib figure that a notebook shows as a PNG with alternative text."""

    def __init__(self, alt: str, **options: Any) -> None:
        if not alt:
            raise ValueError("a figure needs alternative text: a sentence that carries its content")
        settings: dict[str, Any] = {"dpi": DPI, "layout": "constrained"} | options
        super().__init__(**settings)
        self.alt = alt

    def _repr_mimebundle_(self, include=None, exclude=None):
        # What is tight, in whole pixels, so that a picture placed on whole pixels stays there.
        self.draw_without_rendering()
        corners = self.get_tightbbox().padded(0.1).get_points() * self.dpi
        box = Bbox([np.floor(corners[0]), np.ceil(corners[1])]).transformed(
            Affine2D().scale(1 / self.dpi)
        )
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", bbox_inches=box)
        picture = as_html(in_palette(buffer.getvalue()), self.alt)
        return {"text/html": picture, "text/plain": f"[figure] {self.alt}"}


def in_palette(png: bytes) -> bytes:
    """The bytes of a PNG as fewer bytes of a PNG, with nothing lost that can be seen.

    An image of at most 256 colours gets a palette and keeps every pixel. One of more gets a
    palette of 256, without dithering, if every channel of every pixel then is within 16 of 255 of
    what it was, and of 99.9 % of the pixels within 8. Otherwise it keeps true colour, each channel
    rounded to a multiple of 5, hence within 2 (white and black stay).

    The bound is what we saw at three times the size: curves, letters, heat maps and faces that
    meet it look the same; shaded rooms (off by up to 31) show bands, and decoded digits (26) a
    grain that could be taken for the network's. A PNG with transparency is left as it is.
    """
    picture = Image.open(io.BytesIO(png))
    if picture.mode == "P" or picture.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        return png
    options = {"optimize": True} | {k: v for k, v in picture.info.items() if k == "dpi"}
    given, picture = picture.mode, picture.convert("RGB")
    pixels = np.asarray(picture).astype(int)
    rounded = 5 * np.round(pixels / 5).astype(np.uint8)
    if given == "RGB" and np.array_equal(rounded, pixels):
        return png  # it has been here before
    smaller = _of_256_colours(picture, pixels) or Image.fromarray(rounded)
    return min(*_encodings(smaller, options), png, key=len)


def in_few_tones(png: bytes) -> bytes:
    """The bytes of a PNG with each channel rounded to a multiple of 15, hence within 8 of 255.

    For pictures that would else be too large to store. Grids of decoded rooms became smaller by a
    third, and what we saw of it were specks in plain areas. If nothing is saved, the PNG as it is.
    """
    picture = Image.open(io.BytesIO(png))
    options = {"optimize": True} | {k: v for k, v in picture.info.items() if k == "dpi"}
    tones = 15 * np.round(np.asarray(picture.convert("RGB")) / 15)
    return min(png, *_encodings(Image.fromarray(tones.astype(np.uint8)), options), key=len)


def _encodings(picture, options):
    """A picture as PNGs of the same pixels, by different ways to compress it."""
    for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_RLE):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_type=strategy, **options)
        yield buffer.getvalue()


def _of_256_colours(picture, pixels):
    """A picture with a palette, within the bound of `in_palette`; None if there is none."""
    if exact := picture.getcolors(256) is not None:
        method, enough = Image.Quantize.MEDIANCUT, 0
    elif picture.getcolors(MANY_COLOURS):
        # k-means stops when less than 1 % of the pixels change their colour
        method, enough = Image.Quantize.MAXCOVERAGE, pixels.size // 300
    else:
        return None
    found = picture.quantize(256, method, enough, dither=Image.Dither.NONE)
    off = np.abs(np.asarray(found.convert("RGB")) - pixels).max(2)
    good = off.max() == 0 if exact else off.max() <= 16 and np.mean(off > 8) <= 0.001
    return found if good else None


def subplots(
    rows: int = 1,
    columns: int = 1,
    *,
    alt: str,
    size: tuple[float, float] | None = None,
    **options: Any,
) -> tuple[DescribedFigure, Any]:
    """(figure, axes) like pyplot's, described by `alt`. size: (width, height) in inches."""
    figure = DescribedFigure(alt, figsize=size or (3.6 * columns, 2.8 * rows))
    return figure, figure.subplots(rows, columns, **options)


def tile(images: torch.Tensor, columns: int, gap: int = 2) -> np.ndarray:
    """Images (N, C, H, W), uint8 or float in [0, 1], as one array (H', W', 3) uint8 on white."""
    pixels = to_pixels(images)
    n, height, width, _ = pixels.shape
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for k, image in enumerate(pixels):
        y, x = (k // columns) * (height + gap), (k % columns) * (width + gap)
        sheet[y : y + height, x : x + width] = image
    return sheet


def to_pixels(images: torch.Tensor) -> np.ndarray:
    """Images (N, C, H, W) with C = 1 or 3, uint8 or float in [0, 1], as uint8 (N, H, W, 3)."""
    images = torch.as_tensor(images).detach().cpu()
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images of shape {tuple(images.shape)}, expected (N, 1 or 3, H, W)")
    if images.is_floating_point():
        if not torch.isfinite(images).all():
            raise ValueError("images hold NaN or infinity; look at the decoder's output")
        images = (images.clamp(0, 1) * 255).round().to(torch.uint8)
    return images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()


def image_grid(
    images: torch.Tensor,
    columns: int,
    alt: str,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    scale: float = 0.7,
) -> DescribedFigure:
    """Images (N, C, H, W) in a grid, row by row. scale: inches an image, about.

    Every pixel of an image is a square of the same whole number of pixels in the figure.
    """
    gap = 2
    height, width = images.shape[2] + gap, images.shape[3] + gap
    sheet = tile(images, columns, gap)
    zoom = max(1, round(scale * DPI / width))
    size = [zoom * side / DPI for side in sheet.shape[1::-1]]
    figure = DescribedFigure(alt, figsize=size, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))  # labels stand outside; they are part of the tight box
    axes.imshow(sheet, interpolation="nearest")
    axes.set_yticks([k * height + height / 2 - gap for k in range(len(row_labels))], row_labels)
    axes.set_xticks([k * width + width / 2 - gap for k in range(len(column_labels))], column_labels)
    axes.tick_params(length=0, labelsize=8)
    axes.xaxis.tick_top()
    for side in axes.spines.values():
        side.set_visible(False)
    return figure


def reconstructions(images: torch.Tensor, reconstructed: torch.Tensor) -> DescribedFigure:
    """Originals above, their reconstructions below: both (N, C, H, W)."""
    if images.shape != reconstructed.shape:
        raise ValueError(f"shapes differ: {tuple(images.shape)}, {tuple(reconstructed.shape)}")
    both = torch.as_tensor(np.concatenate([to_pixels(images), to_pixels(reconstructed)]))
    alt = f"{len(images)} images in the first row, their reconstructions in the second."
    return image_grid(both.permute(0, 3, 1, 2), len(images), alt, ("original", "reconstruction"))


@torch.no_grad()
def traversals(
    decode: Callable,
    code: torch.Tensor,
    axes: Sequence[int] | None = None,
    values: Sequence[float] = (-2.5, -1.5, -0.5, 0.5, 1.5, 2.5),
    alt: str | None = None,
) -> DescribedFigure:
    """A row for each latent axis: decoded images as that axis moves and the rest of `code` stays.

    decode: codes (B, L) to images (B, C, H, W) in [0, 1]. code: (L,). axes: which axes, in order.
    """
    axes = range(len(code)) if axes is None else axes
    codes = code.repeat(len(axes), len(values), 1)
    for row, axis in enumerate(axes):
        codes[row, :, axis] = torch.as_tensor(values, dtype=code.dtype, device=code.device)
    images = decode(codes.flatten(0, 1))
    alt = alt or (
        f"Decoded images: one row for each latent axis ({', '.join(f'z{a}' for a in axes)}), whose "
        f"value goes from {values[0]} to {values[-1]} along the row."
    )
    labels = [f"{v:g}" for v in values]
    return image_grid(images, len(values), alt, [f"z{axis}" for axis in axes], labels)


def factor_grid(data: FactorData, row: int = 0, levels: int = 8) -> DescribedFigure:
    """A row for each factor that `data` can render: the image of `row` as that factor moves."""
    names = [name for name in data.factor_names if name not in data.base_factors]
    images = []
    for name in names:
        size = data.factor_sizes[data.column(name)]
        steps = torch.linspace(0, size - 1, levels).round().long()
        images.append(data.counterfactual(torch.full((levels,), row), **{name: steps}))
    alt = f"{data.name}: one image with one factor changed along each row: {', '.join(names)}."
    return image_grid(torch.cat(images), levels, alt, names)


def loss_curves(history: Any, names: Sequence[str] = ("loss",)) -> DescribedFigure:
    """Logged scalars of a training.History against the step."""
    last = ", ".join(f"{name} {history.scalars[name][-1]:.4g}" for name in names)
    alt = f"Training curves over {history.steps[-1]:,} steps; at the end: {last}."
    figure, axes = subplots(alt=alt, size=(5, 2.8))
    for name, style in zip(names, itertools.cycle(("-", "--", ":", "-."))):
        axes.plot(history.steps, history.scalars[name], style, label=name)
    # The first values are far off; the axis follows the rest.
    late = np.concatenate([history.scalars[name][len(history.steps) // 20 :] for name in names])
    low, high = np.nanmin(late), np.nanmax(late)
    margin = 0.05 * (high - low) + 1e-9
    axes.set(xlabel="step", ylim=(low - margin, high + margin))
    axes.legend(frameon=False)
    return figure


def score_matrix(score: Any, factor_names: Sequence[str] = (), of: str = "") -> DescribedFigure:
    """The matrix behind a metric's Score: a factor a row, a latent axis a column.

    of: whose code on which data, for the title. The colours run from 0 to 1 in every figure, so
    that two matrices can be compared.
    """
    matrix = score.matrix
    n_factors, n_axes = matrix.shape
    names = factor_names or [f"v{i}" for i in range(n_factors)]
    if len(names) != n_factors:
        raise ValueError(f"{len(names)} factor names for {n_factors} factors")
    best = ", ".join(f"{name} at z{row.argmax()}" for name, row in zip(names, matrix, strict=True))
    about = [of, str(score)] if of else [str(score)]
    text = f"{score.label} for each factor and latent axis; largest for {best}."
    alt = f"{text} {': '.join(about)}."
    figure, axes = subplots(alt=alt, size=(2.2 + 0.42 * n_axes, 1.0 + 0.34 * n_factors))
    top = max(1, matrix.max().item())
    shown = axes.imshow(matrix.numpy(), cmap="Blues", vmin=0, vmax=top, aspect="auto")
    axes.set_xticks(range(n_axes), [f"z{j}" for j in range(n_axes)])
    axes.set_yticks(range(n_factors), names)
    axes.set_title("\n".join(about), fontsize=9)
    axes.tick_params(length=0)
    figure.colorbar(shown, ax=axes, label=score.label)
    return figure


def intervals(
    sweep: Any,
    names: Sequence[str],
    live: dict[str, float] | None = None,
    labels: Sequence[str] | None = None,
    unit: str = "",
) -> DescribedFigure:
    """Stored values over seeds, their mean and 95 % interval, and beside them the live run's.

    sweep: a evidence.Sweep. names: recorded rows. live: a dict of this run's values.
    """
    from .results import interval

    labels = labels or names
    found = {name: sweep.values(name) for name in names}
    if missing := [name for name, values in found.items() if not values]:
        raise ValueError(
            f"no stored values of {', '.join(missing)}; make them with: "
            f"dvae sweep {sweep.notebook} --seeds 0-4"
        )
    summary = [f"{label}: {interval(found[n])}" for n, label in zip(names, labels, strict=True)]
    figure, axes = subplots(
        1, len(names), alt="; ".join(summary), size=(2.3 * len(names), 2.8), squeeze=False
    )
    for ax, name, label in zip(axes[0], names, labels, strict=True):
        values, mean = found[name], interval(found[name])
        ax.plot(np.zeros(len(values)), values, "o", color="0.6", label="stored seeds")
        spread = [[mean.mean - mean.low], [mean.high - mean.mean]]
        ax.errorbar(0.3, mean.mean, spread, fmt="s", capsize=4, label="mean, 95 % interval")
        if live and name in live:
            ax.plot(0.6, live[name], "D", color="C1", label="this run")
        ax.set(title=label, xlim=(-0.3, 0.9), xticks=[], ylabel=unit)
        ax.title.set_fontsize(10)
    _legend_below(axes[0][0])
    if sweep.out_of_date:
        figure.suptitle("stored runs are out of date", color="C3", fontsize=9)
    return figure


def _legend_below(axes):
    """What the markers of `axes` mean, once a figure and below it."""
    if not axes.figure.legends:
        handles, labels = axes.get_legend_handles_labels()
        place = {"loc": "outside lower center", "ncols": len(labels)}
        axes.figure.legend(handles, labels, **place, frameon=False, fontsize=9)


def seed_panel(
    axes: Any, sweep: Any, names: Sequence[str], labels: Sequence[str], live: dict[str, float]
) -> None:
    """Stored values of several recorded rows in one panel, a column each.

    Grey dots are the seeds of `sweep` (a evidence.Sweep), the square is their mean with its 95 %
    interval, where there are two or more; the diamond is this run's value. A legend below the
    figure says so.
    names: recorded rows. labels: what the columns are called. live: this run's values by name.
    """
    from .results import interval

    titles = ("stored seeds", "mean, 95 % interval", "this run")
    for k, name in enumerate(names):
        dots, square, diamond = titles if k == 0 else ("", "", "")
        values = sweep.values(name)
        axes.plot([k] * len(values), values, "o", color="0.6", markersize=4, label=dots)
        if len(values) > 1:
            mean = interval(values)
            spread = [[mean.mean - mean.low], [mean.high - mean.mean]]
            style = {"fmt": "s", "color": "C0", "capsize": 4, "markersize": 4}
            axes.errorbar(k + 0.15, mean.mean, spread, label=square, **style)
        axes.plot(k + 0.3, live[name], "D", color="C1", markersize=5, label=diamond)
    ticks = [k + 0.15 for k in range(len(names))]
    axes.set_xticks(ticks, labels, rotation=40, ha="right", rotation_mode="anchor")
    _legend_below(axes)
    if sweep.out_of_date:
        axes.annotate(
            "stored runs are out of date", (0.02, 0.02), xycoords="axes fraction", color="C3"
        )
