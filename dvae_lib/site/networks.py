"""Networks from the positions of a widget's controls to its picture, for pages without a kernel.

Each takes `at`, float32 (n,): the controls' values in the order in which the widget has them, that
of a choice being its number from 0. Each gives a picture, uint8 (H, W, 3).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import sprites

GAP = 2  # white pixels between the images of a sheet


def picture(image: Tensor) -> Tensor:
    """An image (1 or 3, H, W) in [0, 1] as uint8 (H, W, 3)."""
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).expand(3, -1, -1).permute(1, 2, 0)


def _small(images):
    """Images in [0, 1] as uint8, a quarter of the size."""
    return (images * 255).round().to(torch.uint8)


def sheet(images: Tensor) -> Tensor:
    """Images (rows, columns, C, S, S) side by side and below each other: (C, H, W), on white."""
    rows, columns, channels, side, _ = images.shape
    framed = F.pad(images, (0, GAP, 0, GAP), value=1.0).permute(2, 0, 3, 1, 4)
    whole = framed.reshape(channels, rows * (side + GAP), columns * (side + GAP))
    return whole[:, :-GAP, :-GAP]


class Traverse(nn.Module):
    """See widgets.traverse: the picked image, then the latent axes that have a slider.

    model: has `decode`. codes: (N, L). axes: those of the sliders.
    """

    def __init__(self, model: Any, codes: Tensor, axes: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        places = F.one_hot(torch.tensor(axes), codes.shape[1]).float()  # (n, L)
        self.kept = codes * (1 - places.sum(0))
        self.places = places

    def forward(self, at: Tensor) -> Tensor:
        code = self.kept[at[:1].long()] + at[None, 1:] @ self.places
        return picture(self.model.decode(code)[0])


class Swap(nn.Module):
    """See widgets.swap: images A and B, then how far each of two codes is from A to B."""

    def __init__(self, model: Any, z_s: Tensor, z_u: Tensor, images: Tensor) -> None:
        super().__init__()
        self.model = model
        self.z_s, self.z_u, self.images = z_s, z_u, _small(images)

    def forward(self, at: Tensor) -> Tensor:
        a, b = at[:1].long(), at[1:2].long()
        s, u = ((1 - t) * z[a] + t * z[b] for t, z in ((at[2], self.z_s), (at[3], self.z_u)))
        first, last = self.images[a] / 255, self.images[b] / 255
        return picture(torch.cat([first, self.model.decode(s, u), last], 3)[0])


class Cross(nn.Module):
    """Images down the side give one code, images along the top the other; a picture of each pair.

    at: where the n images of either begin. decode: rows of the two codes to images.
    """

    def __init__(self, model: Any, z_1: Tensor, z_2: Tensor, images: Tensor, n: int) -> None:
        super().__init__()
        self.model = model
        self.z_1, self.z_2, self.images = z_1, z_2, _small(images)
        self.first = torch.arange(n)

    def forward(self, at: Tensor) -> Tensor:
        n, side, top = len(self.first), at[0].long() + self.first, at[1].long() + self.first
        made = self.model.decode(self.z_1[side].repeat_interleave(n, 0), self.z_2[top].repeat(n, 1))
        made = made.unflatten(0, (n, n))
        return picture(crossed(self.images[side] / 255, self.images[top] / 255, made))


def crossed(left: Tensor, top: Tensor, made: Tensor) -> Tensor:
    """Images left (n, C, S, S) and top (k, ...) around those made of each pair (n, k, ...)."""
    head = torch.cat([torch.ones_like(top[:1]), top])
    return sheet(torch.cat([head[None], torch.cat([left[:, None], made], 1)]))


class Dials(nn.Module):
    """A position for each axis, and the image that a generator makes of their values.

    generator: codes (B, L) to images. values: (L, positions), those of each axis.
    """

    def __init__(self, generator: nn.Module, values: Tensor) -> None:
        super().__init__()
        self.generator = generator
        self.values = values

    def forward(self, at: Tensor) -> Tensor:
        code = self.values.gather(1, at.long()[:, None])
        return picture(self.generator(code.T)[0])


class Swapped(nn.Module):
    """A swapper of faces for the people to choose from.

    swapper: (embedding, target, mask) to (drawn face, ...). between: two embeddings and a share to
    one on the way. embeddings: (people, d). sources, targets: a picture of each person,
    (people, 3, S, S). masks: of the targets' faces, (people, 1, S, S).
    """

    def __init__(
        self,
        swapper: nn.Module,
        between: Callable,
        embeddings: Tensor,
        sources: Tensor,
        targets: Tensor,
        masks: Tensor,
    ) -> None:
        super().__init__()
        self.swapper, self.between = swapper, between
        self.embeddings = embeddings
        self.masks = masks
        self.sources = _small(sources)
        self.targets = _small(targets)

    def swaps(self, source: Tensor, target: Tensor, identity: Tensor) -> Tensor:
        """For people source and target (n,), a share `identity` of the way: (n, 3, S, S)."""
        pairs = zip(self.embeddings[target], self.embeddings[source], strict=True)
        e = torch.stack([self.between(own, other, identity) for own, other in pairs])
        given, mask = self.targets[target] / 255, self.masks[target]
        return torch.lerp(given, self.swapper(e, given, mask)[0], mask)


class Slide(Swapped):
    """Source, swap and target; the third control is the share of the source's identity."""

    def forward(self, at: Tensor) -> Tensor:
        source, target = at[:1].long(), at[1:2].long()
        made = self.swaps(source, target, at[2])
        given, own = self.sources[source] / 255, self.targets[target] / 255
        return picture(sheet(torch.stack([given, made, own], 1)))


class Matrix(Swapped):
    """Four sources down the side from the first control on, four targets along the top."""

    def forward(self, at: Tensor) -> Tensor:
        people, four = len(self.sources), torch.arange(4)
        source, target = ((at[k].long() + four) % people for k in (0, 1))
        made = self.swaps(source.repeat_interleave(4), target.repeat(4), torch.ones(()))
        made = made.unflatten(0, (4, 4))
        return picture(crossed(self.sources[source] / 255, self.targets[target] / 255, made))


class Sprites(nn.Module):
    """Shape, scale, orientation, x, y: what data.sprites draws, all of one image at once."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels = torch.arange(64) + 0.5

    def forward(self, at: Tensor) -> Tensor:
        units, angle, centre = (
            64 * (0.5 + 0.1 * at[1]),
            2 * math.pi / 39 * at[2],
            16 + 32 / 31 * at[3:],
        )
        x, y = (self.pixels - centre[0]) / units, (self.pixels[:, None] - centre[1]) / units
        x, y = angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y
        square, ellipse, _ = sprites.SHAPES
        shapes = torch.stack([square(x, y), ellipse(x, y), _in_heart(x, y)]).float()
        return picture(shapes[at[:1].long()])


def _in_heart(x, y):
    """The heart of sprites, but that corners are counted: ONNX knows no search."""
    corners, *chains = sprites.heart_chains(x.device)
    width = x.abs()
    k = (width[..., None] >= corners).sum(-1).clamp(1, len(corners) - 1)
    share = (width - corners[k - 1]) / (corners[k] - corners[k - 1])
    above, below = (chain[k - 1] + (chain[k] - chain[k - 1]) * share for chain in chains)
    return (width <= sprites.HEART_HALF_WIDTH) & (y >= above) & (y <= below)


class Rooms(nn.Module):
    """Hues of floor, wall and object, scale, shape, orientation: the frames of data.rooms.

    frames: uint8 (geometries, 5, S * S), how much of each of five colours a pixel has. palette:
    (hues, 3), of the first three colours. fixed: (2, 3), the other two. All colours in [0, 1],
    and one = 1 in the units of frames.
    """

    def __init__(
        self, frames: Tensor, palette: Tensor, fixed: Tensor, sizes: Sequence[int], one: float
    ) -> None:
        super().__init__()
        self.sizes, self.one = tuple(sizes), one
        self.frames, self.palette, self.fixed = frames, palette, fixed

    def forward(self, at: Tensor) -> Tensor:
        levels, (_, _, _, _, shapes, sides) = at.long(), self.sizes
        geometry = (levels[3:4] * shapes + levels[4:5]) * sides + levels[5:6]
        colours = torch.cat([self.palette[levels[:3]], self.fixed])
        image = colours.T @ self.frames[geometry][0].float() / self.one
        return picture(image.unflatten(1, (64, 64)))


class Digits(nn.Module):
    """Digit, its hue, the hue of its ground: strokes (10, 1, S, S), inks and grounds (hues, 3)."""

    def __init__(self, strokes: Tensor, inks: Tensor, grounds: Tensor) -> None:
        super().__init__()
        self.strokes, self.inks, self.grounds = strokes, inks, grounds

    def forward(self, at: Tensor) -> Tensor:
        digit, ink, ground = (at[k : k + 1].long() for k in range(3))
        stroke = self.strokes[digit][0]
        above, below = self.inks[ink].T[:, :, None], self.grounds[ground].T[:, :, None]
        return picture(stroke * above + (1 - stroke) * below)


class Frames(nn.Module):
    """Stored frames, of one factor moved at a time from where all begin.

    frames: uint8 (sum of sizes, 3, S, S), the levels of each factor in turn. start: the level at
    which each begins.
    """

    def __init__(self, frames: Tensor, sizes: Sequence[int], start: Sequence[int]) -> None:
        super().__init__()
        self.frames = frames
        self.start = torch.tensor(start)
        self.first = torch.tensor([0, *sizes[:-1]]).cumsum(0)

    def forward(self, at: Tensor) -> Tensor:
        levels = at.long()
        moved = (levels != self.start).long()
        # The start itself is among the levels of the first factor.
        still = (1 - moved.amax(0)) * self.start[0]
        row = ((self.first + levels) * moved).sum() + still
        return self.frames[row[None]][0].permute(1, 2, 0)
