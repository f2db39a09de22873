"""A small 3D morphable model of a head, and how it is lit and drawn.

Derived from MakeHuman's base mesh and targets and from the Face Units pack by Mika Suominen (all
CC0, see faces_LICENSE.txt) by tests/makers/make_faces.py. A face is

    mean + sum_k identity_k * component_k + sum_j expression_j * action_j,

turned on its neck, lit from one side and seen in perspective (Blanz & Vetter 1999,
doi:10.1145/311535.311556).
"""

import functools
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import rasteriser

MODEL = Path(__file__).with_name("faces_model.npz")
SIZE, SAMPLES = 64, 2  # pixels of a side; samples of a pixel, per side


@functools.cache
def arrays() -> dict[str, np.ndarray]:
    """What faces_model.npz holds, by name."""
    with np.load(MODEL, allow_pickle=False) as archive:
        return dict(archive)


ACTIONS = tuple(arrays()["action_names"].tolist())
OPENING = tuple(k for k, name in enumerate(ACTIONS) if re.match("jawOpen|mouth.*(Up|Down)", name))

FIXED = {
    "teeth": "#e9e4da",
    "tongue": "#b05c58",
    "inside": "#4a1a1a",
    "white": "#e6e2de",
    "pupil": "#0c0a0a",
}
GARMENT = "#5b6470"

# The camera: a pinhole in front of the head, level with the middle of the picture; in decimetres.
DISTANCE, HEIGHT, WIDTH = 14.0, 0.6, 3.2  # as far as the neck, WIDTH fills the picture
AMBIENT, KEY, ELEVATION, WRAP = 0.36, 0.76, math.radians(35), 0.15
SHINE = {"skin": 0.05, "lips": 0.12, "hair": 0.05, "eyes": 0.5}


class Parameters(NamedTuple):
    """What a face is drawn from. All float32, one row an image, on one device.

    identity (B, 40): coefficients of the components, standard normal over people.
    style (B, 4): fullness of hair 0 to 1, its length 0 to 1, the hairline in decimetres above the
    average one, and the beard 0 to 1. Fixed by the person, as identity is.
    expression (B, 52): strengths of the facial actions in ACTIONS' order, 0 to 1.
    pose (B, 2): yaw (positive turns the nose to the right of the image) and pitch (positive: up),
    in radians; the head nods and is then turned.
    light (B,): azimuth of the light in radians, positive from the right of the image.
    skin, hair, eyes, background (B, 3): colours in 0 to 1, sRGB.
    """

    identity: torch.Tensor
    style: torch.Tensor
    expression: torch.Tensor
    pose: torch.Tensor
    light: torch.Tensor
    skin: torch.Tensor
    hair: torch.Tensor
    eyes: torch.Tensor
    background: torch.Tensor


class Model(NamedTuple):
    """The arrays of faces_model.npz as float32 with vertices last, ready to compute with.

    mean (3, V); identity (40, 3, V), one standard deviation each; actions (52, 3, V), full
    strength; fullness and length (3, V): the displacement of full and of long hair; hairline (V,):
    height above it in decimetres; turns (V,): how far a vertex turns with the head; masks {name:
    (V,)} in 0 to 1; triangles (F, 3), clockwise on the screen; quads (4, Q): their corners; around
    (k, V): the quads at a vertex, filled up with Q.
    """

    mean: torch.Tensor
    identity: torch.Tensor
    actions: torch.Tensor
    fullness: torch.Tensor
    length: torch.Tensor
    hairline: torch.Tensor
    turns: torch.Tensor
    masks: dict
    triangles: torch.Tensor
    quads: torch.Tensor
    around: torch.Tensor


def draw(
    given: Parameters, width: float = WIDTH, height: float = HEIGHT, aside: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    """Images uint8 (B, 3, 64, 64) and face regions bool (B, 1, 64, 64) from any Parameters.

    The camera, in decimetres: how wide a picture is at the neck, and how far above the top of the
    neck and, for all or for each (B,), to the right of it its middle lies. A smaller width is a
    nearer look, from the same distance.
    """
    model = _model(given.identity.device)
    points = mesh(given)
    colour, bright = _lit(model, points, given)
    values = torch.cat([colour, bright, _regions(model, given)], 1)
    triangle, weights = rasteriser.rasterise(
        _screen(points, width, height, aside), model.triangles, SIZE * SAMPLES
    )
    samples = rasteriser.interpolate(values, model.triangles, triangle, weights)
    # The collar is cut here, pixel by pixel: between vertices it would be ragged.
    garment = rgb([GARMENT]).to(points.device)[:, :, None, None] * samples[:, 3:4]
    colour = torch.where(samples[:, 4:] < -0.5, garment, samples[:, :3])
    colour = torch.where((triangle < 0)[:, None], given.background[:, :, None, None], colour)
    face = samples[:, 4:] > 0.5
    corners = [(k, j) for k in range(SAMPLES) for j in range(SAMPLES)]
    total = functools.reduce(torch.add, (colour[:, :, k::SAMPLES, j::SAMPLES] for k, j in corners))
    whole = torch.stack([face[:, :, k::SAMPLES, j::SAMPLES] for k, j in corners]).all(0)
    return (total * (255 / SAMPLES**2)).round().clamp(0, 255).to(torch.uint8), whole


def mesh(given: Parameters) -> Tensor:
    """The posed vertices of Parameters: (B, 3, V), in decimetres around the top of the neck.

    x points to the right of the image, y up, z to the camera.
    """
    model = _model(given.identity.device)
    points = shape(given)
    # cos and sin in double precision, on the CPU, since not every GPU has it: rounded to float
    # they are the same for any batch.
    yaw, pitch = given.pose.cpu().double().unbind(1)
    cos_yaw, sin_yaw, cos_pitch, sin_pitch = (
        part.float()[:, None].to(points.device)
        for part in (yaw.cos(), yaw.sin(), pitch.cos(), pitch.sin())
    )
    x, y, z = points.unbind(1)
    deep = cos_pitch * z - sin_pitch * y  # nod, then turn
    turned = torch.stack(
        [cos_yaw * x + sin_yaw * deep, cos_pitch * y + sin_pitch * z, cos_yaw * deep - sin_yaw * x],
        1,
    )
    return points + model.turns * (turned - points)


def shape(given: Parameters) -> Tensor:
    """The vertices before the pose: (B, 3, V).

    Sums run over components in order, one operation at a time, so that an image does not depend
    on the batch that it is drawn in; a matrix product would.
    """
    model = _model(given.identity.device)
    points = model.mean.expand(len(given.identity), -1, -1).clone()
    for k, component in enumerate(model.identity):
        points += given.identity[:, k, None, None] * component
    for k in given.expression.any(0).nonzero()[:, 0].tolist():
        points += given.expression[:, k, None, None] * model.actions[k]
    points += (0.35 + given.style[:, 0, None, None]) * model.fullness
    return points + given.style[:, 1, None, None] * model.length


def rgb(levels: Iterable[str]) -> Tensor:
    """Colours "#rrggbb" as float32 (L, 3) in 0 to 1."""
    return torch.tensor([list(bytes.fromhex(level[1:])) for level in levels]) / 255


def _screen(points, width, height, aside):
    """Pixels and inverse distances (B, 3, V) of points."""
    near = 1 / (DISTANCE - points[:, 2])
    scale = DISTANCE * SIZE / width * SAMPLES * near
    middle = SIZE * SAMPLES / 2
    aside = torch.as_tensor(aside, device=points.device).reshape(-1, 1)
    return torch.stack(
        [middle + scale * (points[:, 0] - aside), middle - scale * (points[:, 1] - height), near], 1
    )


def _lit(model, points, given):
    """Lit colours (B, 3, V), sRGB, and the brightness (B, 1, V) that scales an sRGB colour."""
    normal = _normals(model, points)
    azimuth = given.light.cpu().double()
    flat = math.cos(ELEVATION)
    light = torch.stack(
        [azimuth.sin() * flat, torch.full_like(azimuth, math.sin(ELEVATION)), azimuth.cos() * flat]
    )
    light = light.float()[..., None].to(points.device)
    towards = normal[:, 0] * light[0] + normal[:, 1] * light[1] + normal[:, 2] * light[2]
    # A lock of hair is lit from both sides.
    towards = torch.where(model.masks["hanging"] > 0, towards.abs(), towards)
    lambert = ((towards + WRAP) / (1 + WRAP)).clamp(min=0)
    # The halfway vector between the light and the camera, far in front.
    half = light.clone()
    half[2] += 1
    half = half / (half[0] * half[0] + half[1] * half[1] + half[2] * half[2]).sqrt()
    gleam = normal[:, 0] * half[0] + normal[:, 1] * half[1] + normal[:, 2] * half[2]
    gleam = gleam.clamp(min=0)
    for _ in range(4):  # to the power of 16
        gleam = gleam * gleam
    sky = 0.75 + 0.25 * normal[:, 1]
    shade = model.masks["shade"]
    bright = AMBIENT * shade * sky + KEY * (0.4 + 0.6 * shade) * lambert
    albedo, shine = _albedo(model, given)
    lit = albedo * bright[:, None] + (shine * shade * gleam)[:, None]
    return lit.clamp(0, 1).sqrt(), bright.sqrt()[:, None]


def _albedo(model, given):
    """Colours (B, 3, V) without light, linear, and the strength of the highlight (B, V)."""
    skin, hair, eyes = (
        colour[..., None] * colour[..., None] for colour in (given.skin, given.hair, given.eyes)
    )
    on = model.masks
    hairy = _hairy(model, given)[:, None]
    strand = 0.7 + 0.6 * on["strands"]
    warm = skin.new_tensor([1.0, 0.55, 0.52])[:, None]
    colour = skin + on["lips"] * 0.75 * (skin * warm - skin)
    colour = colour + on["brow"] * 0.85 * (0.35 * hair - colour)
    colour = colour + on["lashes"] * 0.8 * (0.02 - colour)
    stubble = (given.style[:, 3, None] * 0.8 * on["beard"])[:, None] * (1 - on["lips"])
    colour = colour + stubble * (0.8 * hair - colour)
    colour = colour + hairy * (hair * strand - colour)
    fixed = {name: rgb([text]).to(skin.device)[0, :, None] for name, text in FIXED.items()}
    for name, paint in fixed.items():
        colour = colour + on[name] * (paint * paint - colour)
    # Between lips that are closed, teeth are in the dark.
    closed = 1 - sum(given.expression[:, k] for k in OPENING).clamp(max=1)[:, None, None]
    dark = fixed["inside"] * fixed["inside"]
    colour = colour + on["teeth"] * closed * (dark - colour)
    colour = colour + on["iris"] * (eyes - colour)
    wet = SHINE["eyes"] * (on["white"] + on["iris"] + on["pupil"]) + SHINE["lips"] * on["lips"]
    shine = wet + SHINE["hair"] * hairy[:, 0] + SHINE["skin"] * on["skin"]
    return colour, shine


def _hairy(model, given):
    """Share of hair (B, V): soft at the hairline, which the person shifts."""
    t = ((model.hairline - given.style[:, 2, None]) / 0.12 + 0.5).clamp(0, 1)
    scalp = t * t * (3 - 2 * t) * model.masks["skin"] * (1 - model.masks["ears"])
    return torch.maximum(scalp, model.masks["hanging"].expand_as(scalp))


def _regions(model, given):
    """1 on the vertices of the face region, 0 on hair and neck, -1 on the garment: (B, 1, V)."""
    head = (model.turns > 0.97).float() * (1 - model.masks["hanging"])
    return (head * (1 - _hairy(model, given)) - model.masks["garment"])[:, None]


def _normals(model, points):
    """Unit normals (B, 3, V): crossed diagonals of the quads, summed at their corners."""
    a, b, c, d = (points.index_select(2, corner) for corner in model.quads)
    first, second = c - a, d - b
    crossed = torch.stack(
        [
            first[:, i] * second[:, j] - first[:, j] * second[:, i]
            for i, j in ((1, 2), (2, 0), (0, 1))
        ],
        1,
    )
    crossed = torch.nn.functional.pad(crossed, (0, 1))  # the quad that fills up
    total = crossed.index_select(2, model.around[0])
    for quads in model.around[1:]:
        total = total + crossed.index_select(2, quads)
    x, y, z = total.unbind(1)
    return total / (x * x + y * y + z * z).sqrt().clamp(min=1e-12)[:, None]


@functools.cache
def _model(device):
    stored = arrays()

    def floats(name):
        array = torch.from_numpy(stored[name].astype(np.float32))
        return (array.transpose(-1, -2) if array.shape[-1] == 3 else array).contiguous().to(device)

    quads = stored["quads"].astype(np.int64)
    masks = dict(zip(stored["mask_names"].tolist(), floats("masks") / 255, strict=True))
    hanging = stored["masks"][list(masks).index("hanging")] > 0
    # Hanging hair is seen from both sides; its outer side alone makes its normals.
    faces = np.concatenate([quads, quads[hanging[quads[:, 0]]][:, ::-1]])
    triangles = np.concatenate([faces[:, [0, 2, 1]], faces[:, [0, 3, 2]]])
    shapes = ("mean", "identity", "actions", "hair_volume", "hair_length", "hair_field", "turns")
    return Model(
        *map(floats, shapes),
        masks,  # ty: ignore[invalid-argument-type] (after seven tensors)
        *(torch.from_numpy(part).to(device) for part in (triangles, quads.T.copy())),
        torch.from_numpy(_around(quads, len(hanging))).to(device),
    )


def _around(quads, n_vertices):
    """The quads at each vertex (k, V), filled up with the number of quads."""
    vertex, quad = quads.ravel(), np.repeat(np.arange(len(quads)), 4)
    order = vertex.argsort(kind="stable")
    vertex, quad = vertex[order], quad[order]
    place = np.arange(len(vertex)) - np.searchsorted(vertex, vertex)
    around = np.full((place.max() + 1, n_vertices), len(quads))
    around[place, vertex] = quad
    return around
