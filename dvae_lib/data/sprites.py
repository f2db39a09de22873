"""dSprites (Matthey et al. 2017), regenerated from its geometry, 64x64, black and white.

Any of the 737,280 images is drawn on demand. The constants were fitted to 320 frames of the
original: squares and ellipses agree to the pixel, hearts in 188 of 192 frames with 4 pixels wrong
in all. As in the original, orientation runs over 0 to 2 pi with both ends, so its levels 0 and 39
give the same image. `load` draws the images, `dsprites` reads those of the original file.
"""

import functools
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from .arrays import DAMAGE, gather, npz_blocks
from .factor_data import FactorData, choose, factors_of
from .published import find

NAMES = ("shape", "scale", "orientation", "x", "y")
SIZES = (3, 6, 40, 32, 32)
VALUES = (
    ("square", "ellipse", "heart"),
    tuple(round(0.5 + 0.1 * k, 1) for k in range(6)),
    tuple(2 * math.pi * k / 39 for k in range(40)),
    tuple(k / 31 for k in range(32)),
    tuple(k / 31 for k in range(32)),
)
N_ALL = math.prod(SIZES)

ABOUT = {
    "images": "737,280 of 64x64, drawn on demand: black and white, of random colours, or on noise",
    "factors": ", ".join(f"{name} ({size})" for name, size in zip(NAMES, SIZES, strict=True)),
    "source": "drawn from the geometry of dSprites (Matthey et al. 2017)",
    "licence": "MIT, as dvae_lib",
    "likeness": "of 320 frames 316 are the same to the pixel",
}

# In object units; one unit is 64 * scale pixels.
SQUARE_HALF_SIDE = 0.14999
ELLIPSE_AXES = (0.19946, 0.11271)
HEART_HALF_WIDTH, HEART_HEIGHT, HEART_SHIFT = 0.150036, 0.165614 / 16, 0.022511
HEART_VERTICES = 128

WINDOW = 28  # pixels: the largest shape, from any of the centres, lies inside
CHUNK = 2048  # images drawn at once, so that a full render needs little memory

_REPOSITORY = "https://github.com/deepmind/dsprites-dataset/blob/master/"
ORIGINAL_URL = f"{_REPOSITORY}dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz?raw=true"


def load(
    n: int | str = 20_000,
    seed: int = 0,
    device: str | torch.device = "cpu",
    variant: str = "plain",
    picture: str | Path | None = None,
) -> FactorData:
    """Sprites as FactorData: images uint8 (n, 1, 64, 64), values 0 and 255.

    variant: "plain", or as Locatello et al. 2019 change dSprites, with three channels: "colour",
    each sprite in a colour of its own, its channels uniform from half of full to full; "noise",
    white on uniform noise; "picture", each in the negative of a piece of a picture, whose tint is
    drawn: their scream, for which `picture` is to be the path of Munch's painting, which cannot be
    shipped. What is drawn with `seed` is no factor; it is the `bases` of the set.

    n: how many images to draw at random (with `seed`, without repeats), or "all" for the
    737,280 (3 GB).

    Raises ValueError for a wrong n, another variant, or a picture that is none or too small;
    FileNotFoundError without a picture.

    >>> load(10, variant="noise")
    FactorData(sprites (noise): 10 images 3x64x64; shape 3, scale 6, orientation 40, x 32, y 32)
    """

    def draw(index):
        return render(factors_of(index, SIZES).to(device))

    return _set("sprites", draw, n, seed, device, variant, picture)


def dsprites(
    path: str | Path,
    n: int | str = 20_000,
    seed: int = 0,
    download: bool = False,
    device: str | torch.device = "cpu",
    variant: str = "plain",
    picture: str | Path | None = None,
) -> FactorData:
    """dSprites from the npz at `path`, with the options of `load`.

    No checksum of the npz is published: its layout, and 64 of its images against the renderer, are
    verified. It is unpacked to its end for any n (some seconds), but only the n images are kept.
    Source: Matthey et al. 2017, Apache-2.0.

    Raises what `load` raises, FileNotFoundError without the file, ConnectionError where the
    download fails, ValueError for a file that is damaged or another.
    """

    def read(index):
        return _read_original(find("dsprites", path, ORIGINAL_URL, download), index).to(device)

    return _set("dSprites", read, n, seed, device, variant, picture)


def _set(name, read, n, seed, device, variant, picture):
    """The images (n, 1, 64, 64) that read(index) gives, as a set of the variant."""
    painted = PAINTED | {"picture": functools.partial(_pieces_of, picture)}
    if variant not in ("plain", *painted):
        raise ValueError(f"variant {variant!r}; choose plain, {', '.join(painted)}")
    if (variant == "picture") != (picture is not None):
        raise ValueError(f"variant {variant!r} with picture {picture!r}; give both or neither")
    index = choose(n, N_ALL, seed)
    images, factors = read(index), factors_of(index, SIZES).to(device)
    if variant == "plain":
        return FactorData(name, images, factors, NAMES, SIZES, VALUES, renderer=render)
    draw, paint = painted[variant]()
    bases = torch.from_numpy(draw(np.random.default_rng(seed), len(images))).to(device)
    return FactorData(
        f"{name} ({variant})",
        paint(images, bases),
        factors,
        NAMES,
        SIZES,
        VALUES,
        renderer=functools.partial(_render_painted, paint),
        bases=bases,
    )


def _draw_colours(rng, n):
    return rng.integers(128, 256, (n, 3), np.uint8)


def _colour(images, colours):
    return images // 255 * colours[:, :, None, None]


def _draw_seeds(rng, n):
    return rng.integers(0, 2**63, n)


def _put_on_noise(images, seeds):
    """White sprites on noise that the seed of each image alone decides, on any device."""
    noise = [
        np.random.default_rng(seed).integers(0, 256, (3, 64, 64), np.uint8)
        for seed in seeds.tolist()
    ]
    return torch.maximum(images, torch.from_numpy(np.stack(noise)).to(images.device))


def _pieces_of(path):
    """(draw, paint) with pieces of a picture of at most 350 by 274 pixels, the size of theirs."""
    try:
        with Image.open(path) as opened:
            opened.thumbnail((350, 274))
            ground = torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is no picture that Pillow reads: give a PNG or JPEG") from error
    room = [side - 64 for side in ground.shape[1:]]
    if min(room) < 0:
        size = " by ".join(map(str, ground.shape[:0:-1]))
        raise ValueError(
            f"{path} has {size} pixels, within 350 by 274; at least 64 by 64 are needed"
        )

    def draw(rng, n):
        """A corner and a tint for each image: (n, 5)."""
        return rng.integers(0, [room[0] + 1, room[1] + 1, 256, 256, 256], (n, 5))

    def paint(images, bases):
        corners, tints = bases[:, :2].tolist(), bases[:, 2:, None, None].cpu()
        pieces = torch.stack([ground[:, y : y + 64, x : x + 64] for y, x in corners])
        pieces = ((pieces.int() + tints) // 2).to(torch.uint8).to(images.device)
        return torch.where(images > 0, 255 - pieces, pieces)

    return draw, paint


# What is drawn for each image, and what it makes of white sprites on black.
PAINTED = {
    "colour": lambda: (_draw_colours, _colour),
    "noise": lambda: (_draw_seeds, _put_on_noise),
}


def _render_painted(paint, factors, bases):
    return paint(render(factors), bases)


def render(factors: Tensor) -> Tensor:
    """Draw sprites from factors int64 (M, 5): uint8 (M, 1, 64, 64), values 0 and 255."""
    images = torch.zeros(len(factors), 1, 64, 64, dtype=torch.uint8, device=factors.device)
    for shape, inside in enumerate(SHAPES):
        for rows in (factors[:, 0] == shape).nonzero().squeeze(1).split(CHUNK):
            _draw(images, rows, factors[rows], inside)
    return images


def _draw(images, rows, factors, inside):
    scale = 0.5 + 0.1 * factors[:, 1]
    angle = 2 * math.pi / 39 * factors[:, 2]
    centre = 16 + 32 / 31 * factors[:, 3:]
    corner = centre.floor().long() - WINDOW // 2
    offset = torch.arange(WINDOW, device=factors.device)
    columns, lines = corner[:, :1] + offset, corner[:, 1:] + offset
    # Pixel centres in object coordinates, turned back by the orientation; y points down.
    units = (64 * scale).unsqueeze(1)
    x = ((columns + 0.5 - centre[:, :1]) / units).unsqueeze(1)
    y = ((lines + 0.5 - centre[:, 1:]) / units).unsqueeze(2)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    mask = inside(cos * x - sin * y, sin * x + cos * y)
    # Write the windows into the flat images.
    pixels = (rows * 4096)[:, None, None] + lines.unsqueeze(2) * 64 + columns.unsqueeze(1)
    images.view(-1)[pixels.view(-1)] = mask.view(-1).to(torch.uint8) * 255


def _in_square(x, y):
    return torch.maximum(x.abs(), y.abs()) <= SQUARE_HALF_SIDE


def _in_ellipse(x, y):
    a, b = ELLIPSE_AXES
    return (x / a) ** 2 + (y / b) ** 2 <= 1


def _in_heart(x, y):
    """The heart is a polygon on x = w sin^3 t: for each |x| the points between two chains."""
    knots, top, bottom = heart_chains(x.device)
    width = x.abs()
    k = torch.searchsorted(knots, width, right=True).clamp_(1, len(knots) - 1) - 1
    share = (width - knots[k]) / (knots[k + 1] - knots[k])
    above = top[k] + (top[k + 1] - top[k]) * share
    below = bottom[k] + (bottom[k + 1] - bottom[k]) * share
    return (width <= HEART_HALF_WIDTH) & (y >= above) & (y <= below)


SHAPES = (_in_square, _in_ellipse, _in_heart)  # in the order of VALUES


def heart_chains(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """|x| of the heart's corners, ascending, and the heights of its two chains there."""
    t = 2 * math.pi / HEART_VERTICES * torch.arange(HEART_VERTICES // 4 + 1, device=device)

    def height(t):
        curve = 13 * t.cos() - 5 * (2 * t).cos() - 2 * (3 * t).cos() - (4 * t).cos()
        return -HEART_HEIGHT * curve - HEART_SHIFT

    return HEART_HALF_WIDTH * t.sin() ** 3, height(t), height(math.pi - t)


def _read_original(path, index):
    """Images at `index` from the original npz, checked against the renderer on 64 of them."""
    sample = torch.randint(N_ALL, (64,), generator=torch.Generator().manual_seed(0))
    wanted = torch.cat([sample, index])
    images = torch.empty(len(wanted), 1, 64, 64, dtype=torch.uint8)
    try:
        gather(npz_blocks(path, "imgs", (N_ALL, 64, 64)), wanted, images.squeeze(1))
    except DAMAGE as error:
        raise ValueError(f"{path} is damaged or not dSprites ({error}); get it again") from error
    read = images[: len(sample)]
    wrong = int((read * 255 != render(factors_of(sample, SIZES))).sum())
    if images.max() > 1 or wrong > 8:
        raise ValueError(
            f"{path}: {wrong} pixels of {read.numel()} differ from the renderer's (8 are allowed); "
            "the file is altered or its order is not the original's; get it again"
        )
    return images[len(sample) :].mul_(255)
