"""Parametric faces, 64x64, in colour: a small 3D morphable model, drawn on demand.

Ten factors are known, and with them what papers otherwise fit to photographs: the coefficients of
identity and expression, the pose, the light and the face region. How a face is made of its
coefficients stands in `face_model`; here is which faces there are. Nobody real is shown.
"""

import functools
import hashlib
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .. import files, paths
from ..bars import Bar
from . import face_model, rasteriser
from .face_model import ACTIONS, SIZE, Parameters, arrays, draw, rgb
from .factor_data import FactorData

PEOPLE = 50


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
    "likeness": "drawn, with a parametric 3D model",
}

CHUNK = 32  # images drawn at once


def load(
    n: int = 10_000, people: int = PEOPLE, seed: int = 0, device: str | torch.device = "cpu"
) -> FactorData:
    """Faces as FactorData: images uint8 (n, 3, 64, 64), factors drawn evenly and independently.

    people: how many identities to draw from; person k of a seed is the same for any number of
    people. The set is drawn once for each (n, people, seed) and kept below the folder of runs.
    `renderer` draws any factors on demand; `parameters`, `mask` and `attributes` of this module
    give what belongs to factors of a seed.

    Raises ValueError for n or people below 1. A damaged file is drawn again, with a warning.

    >>> load(2, people=3).factor_sizes
    (3, 8, 4, 9, 5, 7, 6, 6, 4, 8)
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
    colours = [rgb(levels)[rows[name].cpu()] for name, levels in colours.items()]
    identity, style = (torch.stack(part) for part in zip(*people, strict=True))
    light = value("light").deg2rad().float()
    return Parameters(
        *(part.to(device) for part in (identity, style, strength, pose, light, *colours))
    )


@functools.cache
def person(seed: int, k: int) -> tuple[Tensor, Tensor]:
    """Identity (40,) and style (4,) of person k: independent of how many people there are."""
    draw = np.random.default_rng((seed, k))
    identity = draw.standard_normal(len(arrays()["identity"])).astype(np.float32)
    male = float(identity @ arrays()["identity_sex"]) > 0  # styles follow the shape of the face
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


def _cached(factors, seed, people, device):
    """The images of a set (N, 3, 64, 64): read from its file, or drawn and written there."""
    kind = torch.device(device).type  # rounding differs between devices
    parts = [repr((len(factors), people, seed, kind)).encode()]
    sources = [Path(module) for module in (__file__, face_model.__file__, rasteriser.__file__)]
    parts += [path.read_bytes() for path in (face_model.MODEL, *sources)]
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


def _strengths():
    """Strengths of the actions for each named expression (E, 52)."""
    rows = torch.zeros(len(EXPRESSIONS), len(ACTIONS))
    for row, actions in zip(rows, EXPRESSIONS.values(), strict=True):
        for name, strength in actions.items():
            for side in ("", "Left", "Right"):
                if name + side in ACTIONS:
                    row[ACTIONS.index(name + side)] = strength
    return rows
