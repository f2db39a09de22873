"""Rooms like those of 3D Shapes (Burgess & Kim 2018), ray-cast, 64x64, in colour.

Light adds up, so a pixel is a sum of colours: the floor's, the wall's, the object's, the sky's and
white gloss, each times a weight that the hues do not change. The 480 geometries (scale x shape x
orientation) therefore hold all 480,000 images. Their weights come with the package, made by
tests/makers/make_rooms.py, and an image is one look-up and one small product.

`ray_cast` makes the same images from real-valued factors. Its constants were fitted to 50 frames of
the original; textures are left out, and rays are averaged over a pixel.
"""

import colorsys
import functools
import lzma
import math
from pathlib import Path

import torch
from torch import Tensor

from .factor_data import FactorData, choose, factors_of

NAMES = ("floor hue", "wall hue", "object hue", "scale", "shape", "orientation")
SIZES = (10, 10, 10, 8, 4, 15)
HUES = tuple(k / 10 for k in range(10))
VALUES = (
    HUES,
    HUES,
    HUES,
    tuple(0.75 + 0.5 * k / 7 for k in range(8)),
    ("cube", "cylinder", "sphere", "capsule"),
    tuple(-30 + 60 * k / 14 for k in range(15)),  # degrees
)
N_ALL = math.prod(SIZES)
ABOUT = {
    "images": "480,000 of 64x64 in colour, drawn on demand",
    "factors": ", ".join(f"{name} ({size})" for name, size in zip(NAMES, SIZES, strict=True)),
    "source": "ray-cast by dvae_lib",
    "licence": "MIT, as dvae_lib",
    "likeness": "like 3D Shapes (Burgess & Kim 2018), without its textures",
}

WEIGHTS_FILE = Path(__file__).with_name("rooms_weights.xz")
ONE = 128  # the stored whole number that stands for a weight of 1; a power of two, see `render`
CHUNK = 32  # images made at once: they fit into a core's cache
SKY, GLOSS = (153, 226, 249), (255, 255, 255)

# The scene: x to the right, y up, z to the camera at orientation 0, the object at the origin.
SIDE, BACK, WALL_HEIGHT = 3.478, 3.921, 1.896  # walls at x = -SIDE, x = SIDE and z = -BACK
DISTANCE, EYE_HEIGHT, LOOK_HEIGHT = 4.678, 1.212, 0.933  # the camera goes round the y axis
FIELD_OF_VIEW = 33.376  # degrees, of the whole image
# Sizes at scale 1. A capsule is a tube with half a ball at each end.
CUBE_HALF_SIDE, BALL_RADIUS = 0.446, 0.5255
CYLINDER_RADIUS, CYLINDER_HALF_HEIGHT = 0.499, 0.502
CAPSULE_RADIUS, CAPSULE_TUBE_HALF_HEIGHT = 0.399, 0.4155
# A spotlight hangs in the room; a weaker light goes with the camera.
SPOT_POSITION, SPOT_AXIS, SPOT_EXPONENT = (-1.345, 7.641, -0.412), (-0.06, -1.0, 0.001), 6.802
# How much of its colour a surface shows: in any light, facing the camera, facing the spotlight.
FLOOR, WALL, OBJECT, SKY_DOME = range(4)
MATERIALS = ((0.321, 0.0, 0.997), (0.328, 0.582, 0.849), (0.359, 0.595, 0.841), (1.0, 0.0, 0.0))
GLOSS_STRENGTH = 0.1446  # white, where the spotlight reaches the object

PIXELS, RAYS = 64, 4  # an image is 64x64 pixels, a pixel the mean of 4x4 rays
FAR = 1e6


def load(n: int | str = 20_000, seed: int = 0, device: str | torch.device = "cpu") -> FactorData:
    """Rooms as FactorData: images uint8 (n, 3, 64, 64).

    n: how many images to draw at random (with `seed`, without repeats), or "all" for the
    480,000 (5.9 GB), in the order of the original file. Raises ValueError for a wrong n.

    >>> load(10).factor_names
    ('floor hue', 'wall hue', 'object hue', 'scale', 'shape', 'orientation')
    """
    factors = factors_of(choose(n, N_ALL, seed), SIZES).to(device)
    name = "rooms (like 3D Shapes)"
    return FactorData(name, render(factors), factors, NAMES, SIZES, VALUES, renderer=render)


def render(factors: Tensor) -> Tensor:
    """Look rooms up by factors int64 (M, 6): uint8 (M, 3, 64, 64)."""
    device = factors.device
    weights, half = weights_of_all(device), torch.tensor(0.5, device=device)
    palette = torch.tensor([_rgb(hue) for hue in HUES], device=device).mul(255).round()
    fixed = torch.tensor([SKY, GLOSS], device=device)
    images = torch.empty(len(factors), 3, PIXELS**2, dtype=torch.uint8, device=device)
    for part, image in zip(factors.split(CHUNK), images.split(CHUNK), strict=True):
        hues = palette[part[:, :3]]
        colours = torch.cat([hues, fixed.expand(len(part), -1, -1)], 1).mT / ONE
        geometry = (part[:, 3] * SIZES[4] + part[:, 4]) * SIZES[5] + part[:, 5]
        # Whole numbers of 8 bits over a power of two: exact in float32 whatever the order of the
        # sum, so that an image depends on its factors alone, on every device.
        values = torch.baddbmm(half, colours, weights[geometry].float())
        image.copy_(values.clamp_(max=255))
    return images.view(-1, 3, PIXELS, PIXELS)


@functools.cache
def weights_of_all(device: torch.device) -> Tensor:
    """The weights of all geometries on a device: uint8 (480, 5, 4096), in units of 1 / ONE."""
    stored = bytearray(lzma.decompress(WEIGHTS_FILE.read_bytes()))
    return torch.frombuffer(stored, dtype=torch.uint8).view(-1, 5, PIXELS**2).to(device)


def ray_cast(
    floor_hue: float,
    wall_hue: float,
    object_hue: float,
    scale: float,
    shape: int,
    orientation: float,
) -> Tensor:
    """One room, float32 (3, 64, 64) in [0, 1], from real-valued factors.

    Hues are turns of the colour circle; for the others see `weigh`, which checks them.
    """
    hues = [_rgb(hue) for hue in (floor_hue, wall_hue, object_hue)]
    colours = torch.cat([torch.tensor(hues), torch.tensor([SKY, GLOSS]) / 255])
    weights = weigh(scale, shape, orientation)
    return torch.einsum("sc,sij->cij", colours, weights).clamp_(max=1)


def weigh(scale: float, shape: int, orientation: float) -> Tensor:
    """Weights float32 (5, 64, 64), from 0, of the colours of floor, wall, object, sky and gloss.

    scale: times the object's size, above 0. shape: a level, 0 to 3. orientation: the camera's way
    around the object in degrees, -45 to 45. Raises ValueError for what lies outside.
    """
    if not (scale > 0 and shape in range(4) and -45 <= orientation <= 45):
        raise ValueError(
            f"scale {scale}, shape {shape}, orientation {orientation}; expected a scale above 0, a "
            "shape 0 to 3 and an orientation of -45 to 45 degrees"
        )
    eye, forward, rays = _camera(math.radians(orientation))
    hit_object = functools.partial(SHAPES[shape], scale=scale)
    surface, normal, point = _first_hits(eye, rays, hit_object)
    spot, facing = _spotlight(surface, normal, point, hit_object)
    lights = torch.stack([torch.ones_like(spot), -(normal @ forward), spot * facing], 1)
    weight = (_vector(*MATERIALS)[surface] * lights.clamp(min=0)).sum(1)
    gloss = GLOSS_STRENGTH * spot * (surface == OBJECT)
    weights = torch.stack([*(weight * (surface == k) for k in range(4)), gloss])
    return weights.view(5, PIXELS, RAYS, PIXELS, RAYS).mean((2, 4)).float()


def _first_hits(eye, rays, hit_object):
    """What each ray meets: a surface (N,), its normal (N, 3) and the point (N, 3)."""
    hits = [*_room(eye, rays), (OBJECT, *hit_object(eye, rays))]
    distance, nearest = torch.stack([hit[1] for hit in hits]).min(0)
    surface = torch.tensor([hit[0] for hit in hits])[nearest]
    normals = torch.stack([hit[2].expand_as(rays) for hit in hits])
    normal = normals[nearest, torch.arange(len(rays))]
    return surface, normal, eye + distance.unsqueeze(1) * rays


def _spotlight(surface, normal, point, hit_object):
    """How much of the spotlight arrives at each point (N,), and how squarely it falls in (N,)."""
    to_spot = _unit(_vector(*SPOT_POSITION) - point)
    cone = -(to_spot @ _unit(_vector(*SPOT_AXIS)))
    facing = (normal * to_spot).sum(1)
    # The object is convex: it shades itself exactly where it faces away.
    shaded = (surface != OBJECT) & (hit_object(point, to_spot)[0] < FAR)
    return cone.clamp(min=0) ** SPOT_EXPONENT * (~shaded & (facing > 0)), facing


def _camera(angle):
    """Where the camera is (3,), where it looks (3,), and the unit directions of its rays (N, 3)."""
    eye = _vector(DISTANCE * math.sin(angle), EYE_HEIGHT, DISTANCE * math.cos(angle))
    forward = _unit(_vector(0, LOOK_HEIGHT, 0) - eye)
    right = _unit(torch.linalg.cross(forward, _vector(0, 1, 0)))
    up = torch.linalg.cross(right, forward)
    n = PIXELS * RAYS
    steps = (2 * torch.arange(n, dtype=torch.float64) + 1) / n - 1
    steps = steps * math.tan(math.radians(FIELD_OF_VIEW) / 2)
    y, x = torch.meshgrid(-steps, steps, indexing="ij")
    return eye, forward, _unit(forward + x.unsqueeze(2) * right + y.unsqueeze(2) * up).view(-1, 3)


# Every hit is a distance (N,) along unit rays, at least FAR for a miss, and a normal (N or 1, 3).


def _room(eye, rays):
    """Hits of floor, walls and sky, with their surfaces. Walls are seen from inside alone."""
    hits = [(SKY_DOME, torch.full_like(rays[:, 0], FAR), _vector([0, 0, 0]))]
    planes = (
        (FLOOR, 1, 0.0, _vector([0, 1, 0])),
        (WALL, 2, -BACK, _vector([0, 0, 1])),
        (WALL, 0, -SIDE, _vector([1, 0, 0])),
        (WALL, 0, SIDE, _vector([-1, 0, 0])),
    )
    for surface, axis, place, normal in planes:
        distance = (place - eye[axis]) / rays[:, axis]
        x, y, z = (eye + distance.unsqueeze(1) * rays).T
        edge = 1e-9  # a wall's own place is inside
        inside = (x.abs() <= SIDE + edge) & (z >= -BACK - edge) & (y <= WALL_HEIGHT) & (y >= -edge)
        seen = inside & (distance > 0) & ((rays * normal).sum(1) < 0)
        hits.append((surface, distance.where(seen, 2 * FAR), normal))
    return hits


def _hit_cube(origin, rays, scale):
    half = CUBE_HALF_SIDE * scale
    middle = (_vector(0, half, 0) - origin) / rays
    reach = (half / rays).abs()
    enter, axis = (middle - reach).max(1)
    leave = (middle + reach).amin(1)
    normal = torch.zeros_like(rays).scatter_(1, axis.unsqueeze(1), 1.0) * -rays.sign()
    return enter.where((enter <= leave) & (enter > 0), 2 * FAR), normal


def _hit_cylinder(origin, rays, scale):
    radius, height = CYLINDER_RADIUS * scale, 2 * CYLINDER_HALF_HEIGHT * scale
    lid = (height - origin[..., 1]) / rays[:, 1]
    x, _, z = (origin + lid.unsqueeze(1) * rays).T
    lid = lid.where((x**2 + z**2 <= radius**2) & (lid > 0), 2 * FAR)
    return _nearer(_hit_tube(origin, rays, radius, 0, height), (lid, _vector([0, 1, 0])))


def _hit_sphere(origin, rays, scale):
    return _hit_ball(origin, rays, BALL_RADIUS * scale, BALL_RADIUS * scale)


def _hit_capsule(origin, rays, scale):
    radius = CAPSULE_RADIUS * scale
    low, high = radius, radius + 2 * CAPSULE_TUBE_HALF_HEIGHT * scale
    balls = _nearer(*(_hit_ball(origin, rays, radius, height) for height in (low, high)))
    return _nearer(_hit_tube(origin, rays, radius, low, high), balls)


SHAPES = (_hit_cube, _hit_cylinder, _hit_sphere, _hit_capsule)  # in the order of VALUES


def _hit_ball(origin, rays, radius, height):
    """A ball around (0, height, 0)."""
    start = origin - _vector(0, height, 0)
    distance = _first_root(1, (start * rays).sum(1), (start**2).sum(-1) - radius**2)
    return distance, (start + distance.unsqueeze(1) * rays) / radius


def _hit_tube(origin, rays, radius, low, high):
    """The side of a cylinder around the y axis, from one height to another."""
    flat = _vector(1, 0, 1)
    start, along = origin * flat, rays * flat
    distance = _first_root(
        (along**2).sum(1), (start * along).sum(1), (start**2).sum(-1) - radius**2
    )
    point = origin + distance.unsqueeze(1) * rays
    inside = (point[:, 1] >= low) & (point[:, 1] <= high)
    return distance.where(inside, 2 * FAR), point * flat / radius


def _first_root(a, b, c):
    """The smaller solution of a t^2 + 2 b t + c = 0 where it is positive, else a miss."""
    square = b**2 - a * c
    root = (-b - square.clamp(min=0).sqrt()) / a
    return root.where((square > 0) & (root > 0), 2 * FAR)


def _nearer(one, other):
    first = one[0] <= other[0]
    return torch.minimum(one[0], other[0]), torch.where(first.unsqueeze(1), one[1], other[1])


def _vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def _unit(vectors):
    return vectors / vectors.norm(dim=-1, keepdim=True)


def _rgb(hue):
    return colorsys.hsv_to_rgb(hue % 1, 1, 1)
