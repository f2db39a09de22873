"""Parametric faces, 64x64, in colour: a small 3D morphable model, drawn on demand.

Ten factors are known, and with them what papers otherwise fit to photographs: the coefficients of
identity and expression, the pose, the light and the face region. The model is derived from
MakeHuman's base mesh and targets and from the Face Units pack by Mika Suominen (all CC0, see
faces_LICENSE.txt) by tests/makers/make_faces.py. A face is

    mean + sum_k identity_k * component_k + sum_j expression_j * action_j,

turned on its neck, lit from one side and seen in perspective (Blanz & Vetter 1999,
doi:10.1145/311535.311556). Nobody real is shown.
"""

import functools
import hashlib
import math
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .. import files, paths
from ..bars import Bar
from . import rasteriser
from .factor_data import FactorData

MODEL = Path(__file__).with_name("faces_model.npz")
SIZE, SAMPLES = 64, 2  # pixels of a side; samples of a pixel, per side
PEOPLE = 50


@functools.cache
def _arrays():
    with np.load(MODEL, allow_pickle=False) as archive:
        return dict(archive)


ACTIONS = tuple(_arrays()["action_names"].tolist())
OPENING = tuple(k for k, name in enumerate(ACTIONS) if re.match("jawOpen|mouth.*(Up|Down)", name))

# Facial actions, after the 52 of ARKit, at intensity 1. Names without a side stand for both.
EXPRESSIONS = {
    "neutral": {},
    "smile": {"mouthSmile": 1.0, "cheekSquint": 0.6, "mouthUpperUp": 0.5, "eyeSquint": 0.3},
    "open mouth": {"jawOpen": 0.6, "mouthLowerDown": 0.3},
    "surprise": {"browInnerUp": 1.0, "browOuterUp": 1.0, "eyeWide": 1.0, "jawOpen": 0.35},
    "anger": {"browDown": 1.0, "noseSneer": 0.8, "eyeSquint": 0.5, "mouthPress": 0.6},
    "sadness": {"browInnerUp": 1.0, "mouthFrown": 1.0, "mouthShrugLower": 0.5, "eyeSquint": 0.2},
    "wink": {"eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.7, "mouthSmileLeft": 0.5},
    "eyes closed": {"eyeBlink": 1.0},
}
SKINS = ("#eec7ae", "#dfb08d", "#c9936c", "#b07a52", "#8a5a3a", "#5c3a26")
HAIRS = {
    "black": "#1b1716",
    "dark brown": "#3d281c",
    "brown": "#6b4428",
    "red": "#9a4a22",
    "blond": "#c9a263",
    "grey": "#a3a09c",
}
EYES = {"brown": "#4a2c17", "blue": "#4f7fa8", "green": "#5d7d4a", "grey": "#7c868c"}
BACKGROUNDS = {
    "white": "#e8e8e6",
    "grey": "#8f9296",
    "black": "#26282c",
    "blue": "#5f86b5",
    "green": "#6f9a72",
    "red": "#b3625c",
    "yellow": "#d6bd6a",
    "purple": "#8d73a8",
}
FIXED = {
    "teeth": "#e9e4da",
    "tongue": "#b05c58",
    "inside": "#4a1a1a",
    "white": "#e6e2de",
    "pupil": "#0c0a0a",
}
GARMENT = "#5b6470"

NAMES = (
    "identity",
    "expression",
    "intensity",
    "yaw",
    "pitch",
    "light",
    "skin",
    "hair colour",
    "eye colour",
    "background",
)
VALUES = (
    tuple(range(PEOPLE)),
    tuple(EXPRESSIONS),
    (0.4, 0.6, 0.8, 1.0),
    tuple(range(-40, 41, 10)),
    tuple(range(-20, 21, 10)),
    tuple(range(-75, 76, 25)),
    SKINS,
    tuple(HAIRS),
    tuple(EYES),
    tuple(BACKGROUNDS),
)
SIZES = tuple(map(len, VALUES))
ABOUT = {
    "images": "any number, 64x64 in colour, drawn on demand; 10,000 by default",
    "factors": "identity, expression and its intensity, yaw, pitch, light, skin, hair colour, "
    "eye colour, background",
    "source": "MakeHuman base mesh and targets, Face Units pack (Mika Suominen)",
    "licence": "CC0 1.0",
    "stands_in_for": "photographs of faces with a fitted 3D morphable model",
}

# The camera: a pinhole in front of the head, level with the middle of the picture; in decimetres.
DISTANCE, HEIGHT, WIDTH = 14.0, 0.6, 3.2  # as far as the neck, WIDTH fills the picture
AMBIENT, KEY, ELEVATION, WRAP = 0.36, 0.76, math.radians(35), 0.15
SHINE = {"skin": 0.05, "lips": 0.12, "hair": 0.05, "eyes": 0.5}
CHUNK = 32  # images drawn at once


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


def load(
    n: int = 10_000, people: int = PEOPLE, seed: int = 0, device: str | torch.device = "cpu"
) -> FactorData:
    """Faces as FactorData: images uint8 (n, 3, 64, 64), factors drawn evenly and independently.

    people: how many identities to draw from; person k of a seed is the same for any number of
    people. The set is drawn once for each (n, people, seed) and kept below the folder of runs.
    `renderer` draws any factors on demand; `parameters`, `mask` and `attributes` of this module
    give what belongs to factors of a seed.

    Raises ValueError for n or people below 1. A damaged file is drawn again, with a warning.
    """
    for name, value in (("n", n), ("people", people)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} = {value!r}; choose a whole number from 1")
    sizes = (people, *SIZES[1:])
    values = (tuple(range(people)), *VALUES[1:])
    generator = torch.Generator().manual_seed(seed)
    factors = torch.stack([torch.randint(size, (n,), generator=generator) for size in sizes], 1)
    images = _cached(factors, seed, people, device).to(device)
    draw_any = functools.partial(render, seed=seed)
    name = "faces (parametric, CC0)"
    return FactorData(name, images, factors.to(device), NAMES, sizes, values, renderer=draw_any)


def render(factors: Tensor, seed: int = 0) -> Tensor:
    """Draw faces from factors int64 (M, 10): uint8 (M, 3, 64, 64). seed: of the people."""
    return _in_chunks(factors, seed)[0]


def mask(factors: Tensor, seed: int = 0) -> Tensor:
    """The face region of factors int64 (M, 10): bool (M, 1, 64, 64).

    Pixels wholly on the skin of the head with ears, eyes and mouth; without hair of the head,
    neck and garment.
    """
    return _in_chunks(factors, seed)[1]


def parameters(factors: Tensor, seed: int = 0) -> Parameters:
    """The Parameters behind factors int64 (M, 10)."""
    device = factors.device
    rows = dict(zip(NAMES, factors.T, strict=True))

    def value(name):
        levels = VALUES[NAMES.index(name)]
        return torch.tensor(levels, dtype=torch.float64)[rows[name].cpu()]

    people = [person(seed, k) for k in rows["identity"].tolist()]
    strength = _strengths()[rows["expression"].cpu()] * value("intensity").float()[:, None]
    pose = torch.stack([value("yaw"), value("pitch")], 1).deg2rad().float()
    colours = {"skin": SKINS, "hair colour": HAIRS.values(), "eye colour": EYES.values()}
    colours["background"] = BACKGROUNDS.values()
    colours = [_rgb(levels)[rows[name].cpu()] for name, levels in colours.items()]
    identity, style = (torch.stack(part) for part in zip(*people, strict=True))
    light = value("light").deg2rad().float()
    return Parameters(
        *(part.to(device) for part in (identity, style, strength, pose, light, *colours))
    )


@functools.cache
def person(seed: int, k: int) -> tuple[Tensor, Tensor]:
    """Identity (40,) and style (4,) of person k: independent of how many people there are."""
    draw = np.random.default_rng((seed, k))
    identity = draw.standard_normal(len(_arrays()["identity"])).astype(np.float32)
    male = float(identity @ _arrays()["identity_sex"]) > 0  # styles follow the shape of the face
    fullness, long, length, line, has_beard, beard = draw.uniform(size=6)
    length = (0.55 + 0.45 * length) * (long < (0.1 if male else 0.7))
    line = -0.14 + 0.30 * line if male else -0.16 + 0.18 * line
    beard = (0.35 + 0.65 * beard) * (male and has_beard < 0.4)
    return torch.from_numpy(identity), torch.tensor([fullness, length, line, beard]).float()


ATTRIBUTES = (
    "smiling",
    "mouth open",
    "eyes closed",
    "looking left",
    "looking up",
    "lit from the left",
    "dark skin",
    "dark hair",
    "long hair",
    "beard",
    "blue eyes",
)


def attributes(factors: Tensor, seed: int = 0) -> Tensor:
    """Binary attributes of factors int64 (M, 10): bool (M, 11), columns named by ATTRIBUTES.

    Left is the left of the image. Smiling, open and closed hold at any intensity; dark skin: the
    last three tones; dark hair: black or dark brown; beard and long hair belong to the person.
    """
    rows = dict(zip(NAMES, factors.T, strict=True))
    style = parameters(factors, seed).style

    def among(name, *words):
        levels = VALUES[NAMES.index(name)]
        return sum(rows[name] == levels.index(word) for word in words) > 0

    columns = (
        among("expression", "smile"),
        among("expression", "open mouth", "surprise"),
        among("expression", "eyes closed"),
        rows["yaw"] < 4,
        rows["pitch"] > 2,
        rows["light"] < 3,
        rows["skin"] > 2,
        among("hair colour", "black", "dark brown"),
        style[:, 1] > 0,
        style[:, 3] > 0,
        among("eye colour", "blue"),
    )
    return torch.stack(columns, 1)


def draw(given: Parameters, width: float = WIDTH, height: float = HEIGHT) -> tuple[Tensor, Tensor]:
    """Images uint8 (B, 3, 64, 64) and face regions bool (B, 1, 64, 64) from any Parameters.

    The camera, in decimetres: how wide a picture is at the neck, and how far above the top of the
    neck its middle lies. A smaller width is a nearer look, from the same distance.
    """
    model = _model(given.identity.device)
    points = mesh(given)
    colour, bright = _lit(model, points, given)
    values = torch.cat([colour, bright, _regions(model, given)], 1)
    triangle, weights = rasteriser.rasterise(
        _screen(points, width, height), model.triangles, SIZE * SAMPLES
    )
    samples = rasteriser.interpolate(values, model.triangles, triangle, weights)
    # The collar is cut here, pixel by pixel: between vertices it would be ragged.
    garment = _rgb([GARMENT]).to(points.device)[:, :, None, None] * samples[:, 3:4]
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


def _cached(factors, seed, people, device):
    """The images of a set (N, 3, 64, 64): read from its file, or drawn and written there."""
    kind = torch.device(device).type  # rounding differs between devices
    parts = [repr((len(factors), people, seed, kind)).encode()]
    parts += [path.read_bytes() for path in (MODEL, Path(__file__), Path(rasteriser.__file__))]
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    path = paths.data_folder() / f"faces-{key}.safetensors"
    if path.exists():
        try:
            return _read(path, factors)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            warnings.warn(f"{path} is damaged ({error}); the faces are drawn again", stacklevel=3)
    images = _draw_all(factors.to(device), seed)
    metadata = {"sha256": _checksum(images, factors)}
    with files.atomic(path) as temporary:
        save_file({"images": images, "factors": factors}, temporary, metadata)
    return images


def _read(path, factors):
    with safe_open(path, "pt") as file:
        images, stored = file.get_tensor("images"), file.get_tensor("factors")
        expected = file.metadata()["sha256"]
    if _checksum(images, stored) != expected or not torch.equal(stored, factors):
        raise ValueError("its checksum is another")
    return images


def _checksum(images, factors):
    digest = hashlib.sha256(images.numpy())
    digest.update(factors.contiguous().numpy())
    return digest.hexdigest()


def _draw_all(factors, seed):
    images = torch.empty(len(factors), 3, SIZE, SIZE, dtype=torch.uint8)
    with Bar(total=len(factors), desc="drawing faces", unit="face") as bar:
        for rows in torch.arange(len(factors)).split(CHUNK):
            images[rows] = draw(parameters(factors[rows.to(factors.device)], seed))[0].cpu()
            bar.update(len(rows))
    return images


def _in_chunks(factors, seed):
    if len(factors) == 0:
        empty = torch.empty(0, 3, SIZE, SIZE, dtype=torch.uint8, device=factors.device)
        return empty, empty[:, :1].bool()
    parts = [draw(parameters(part, seed)) for part in factors.split(CHUNK)]
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))


def _screen(points, width, height):
    """Pixels and inverse distances (B, 3, V) of points."""
    near = 1 / (DISTANCE - points[:, 2])
    scale = DISTANCE * SIZE / width * SAMPLES * near
    middle = SIZE * SAMPLES / 2
    return torch.stack(
        [middle + scale * points[:, 0], middle - scale * (points[:, 1] - height), near], 1
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
    fixed = {name: _rgb([text]).to(skin.device)[0, :, None] for name, text in FIXED.items()}
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
    arrays = _arrays()

    def floats(name):
        array = torch.from_numpy(arrays[name].astype(np.float32))
        return (array.transpose(-1, -2) if array.shape[-1] == 3 else array).contiguous().to(device)

    quads = arrays["quads"].astype(np.int64)
    masks = dict(zip(arrays["mask_names"].tolist(), floats("masks") / 255, strict=True))
    hanging = arrays["masks"][list(masks).index("hanging")] > 0
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


def _strengths():
    """Strengths of the actions for each named expression (E, 52)."""
    rows = torch.zeros(len(EXPRESSIONS), len(ACTIONS))
    for row, actions in zip(rows, EXPRESSIONS.values(), strict=True):
        for name, strength in actions.items():
            for side in ("", "Left", "Right"):
                if name + side in ACTIONS:
                    row[ACTIONS.index(name + side)] = strength
    return rows


def _rgb(levels):
    """Colours "#rrggbb" as float32 (L, 3) in 0 to 1."""
    return torch.tensor([list(bytes.fromhex(level[1:])) for level in levels]) / 255
