"""Original data sets with known factors: 3D Shapes, MPI3D, Falcor3D, Isaac3D, Cars3D, SmallNORB.

dSprites and MNIST stand in `sprites` and `digits`, photographs without factors in `photographs`.

Each function takes the path of the published file or folder, checks what it finds there, and gives
FactorData. Nothing is downloaded unless download=True. A published checksum is verified where the
publisher, or TensorFlow Datasets or torchvision for it, gives one; otherwise sizes, types, labels
and the archive's own checksums are.
"""

import gzip
import io
import math
import struct
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..bars import Bar
from .arrays import DAMAGE, gather, npz_blocks
from .download import verify
from .factor_data import FactorData, choose, factors_of
from .published import ABOUT, find, find_pictures, read_pictures, values_of

SHAPES3D_URL = "https://storage.googleapis.com/3d-shapes/3dshapes.h5"
# As in tensorflow_datasets/url_checksums/shapes3d.txt.
SHAPES3D_CHECKSUM = "sha256:0a0f6ed98baff276a50f3a081a7434d788da63cb135a98189b2a5b5769be1785"
SHAPES3D_NAMES = ("floor hue", "wall hue", "object hue", "scale", "shape", "orientation")
SHAPES3D_SIZES = (10, 10, 10, 8, 4, 15)

# The authors' links. They offer real_complex on Google Drive only, which serves a page first.
_MPI3D_URL = "https://huggingface.co/datasets/waleedgondal/mpi3d/resolve/main/mpi3d_{}.npz"
MPI3D_URLS = {variant: _MPI3D_URL.format(variant) for variant in ("toy", "realistic", "real")}
MPI3D_NAMES = tuple(
    "object_color object_shape object_size camera_height background_color horizontal_axis "
    "vertical_axis".split()
)
_RIG = (("small", "large"), ("top", "center", "bottom"), ("purple", "sea green", "salmon"))
_AXES = (tuple(range(40)), tuple(range(40)))
_SIMPLE = (
    ("white", "green", "red", "blue", "brown", "olive"),
    ("cone", "cube", "cylinder", "hexagonal", "pyramid", "sphere"),
)
_COMPLEX = (
    ("yellow", "green", "olive", "red"),
    ("coffee-cup", "tennis-ball", "croissant", "beer-cup"),
)
MPI3D_VALUES: dict[str, tuple] = dict.fromkeys(("toy", "realistic", "real"), _SIMPLE + _RIG + _AXES)
MPI3D_VALUES["real_complex"] = _COMPLEX + _RIG + _AXES

FALCOR3D_NAMES = tuple(
    "lighting_intensity lighting_x-dir lighting_y-dir lighting_z-dir camera_x-pos camera_y-pos "
    "camera_z-pos".split()
)
FALCOR3D_SIZES = (5, 6, 6, 6, 6, 6, 6)
ISAAC3D_NAMES = tuple(
    "object_shape robot_x-move robot_y-move camera_height object_scale lighting_intensity "
    "lighting_y-dir object_color wall_color".split()
)
ISAAC3D_SIZES = (3, 8, 5, 4, 4, 4, 6, 4, 4)

CARS3D_URL = "http://www.scottreed.info/files/nips2015-analogy-data.tar.gz"
# As the loaders of others have found it (disent, latte).
CARS3D_CHECKSUM = "md5:4e866a7919c1beedf53964e6f7a23686"
CARS3D_NAMES, CARS3D_SIZES = ("elevation", "azimuth", "car"), (4, 24, 183)

SMALLNORB_URL = "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/"
# As in tensorflow_datasets/url_checksums/smallnorb.txt.
SMALLNORB_CHECKSUMS = {
    "smallnorb-5x46789x9x18x6x2x96x96-training": {
        "dat": "sha256:5ffd6272a07d32695ee1082a26a41a93a37aab8c28da047f8c34ed348d214873",
        "cat": "sha256:2784e542c1922060691090952b6cd6278879a216c90f81476f0f00256d42cdaa",
        "info": "sha256:de7eb932ebe7a4ee16217fead60660d0eb3d23632c2f4d1c51f88c501c17bf32",
    },
    "smallnorb-5x01235x9x18x6x2x96x96-testing": {
        "dat": "sha256:cf7104eed3e51174d2f65b66d1e5878b9da233b886f161b0d88f4510ba2c7474",
        "cat": "sha256:ecaf6d5bb8c3bc5eab9cf0258f6d2198dd474e016e374836fc097f2e5ff509ff",
        "info": "sha256:16adf314226327ee006d1a44db8cfef52773c06c829951d5653a9f6f310248a2",
    },
}
SMALLNORB_NAMES = ("category", "instance", "elevation", "azimuth", "lighting")
SMALLNORB_VALUES = (
    ("animal", "human", "airplane", "truck", "car"),
    tuple(range(10)),
    tuple(range(30, 75, 5)),
    tuple(range(0, 360, 20)),
    tuple(range(6)),
)
NORB_TYPES = {0x1E3D4C55: "u1", 0x1E3D4C54: "<i4"}  # by the first four bytes of a file


def shapes3d(
    path: str | Path,
    n: int | str = 20_000,
    seed: int = 0,
    download: bool = False,
    device: str | torch.device = "cpu",
) -> FactorData:
    """3D Shapes from 3dshapes.h5 at `path`: images uint8 (n, 3, 64, 64).

    n: how many images to draw at random (with `seed`, without repeats), or "all" for the 480,000
    (6 GB). Only the compressed chunks of the file that hold some of the n images are unpacked.
    Source: Burgess & Kim 2018 (used in Kim & Mnih 2018), Apache-2.0.

    Raises ImportError without h5py, FileNotFoundError without the file, ConnectionError where the
    download fails, ValueError for a wrong n or a file that is not the published one.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError('3D Shapes needs h5py: pip install -e ".[originals]"') from error
    index = choose(n, math.prod(SHAPES3D_SIZES), seed)
    path = find("shapes3d", path, SHAPES3D_URL, download, SHAPES3D_CHECKSUM)
    verify(path, SHAPES3D_CHECKSUM)
    with h5py.File(path) as file:
        values = values_of(path, file["labels"][:], SHAPES3D_SIZES)
        images = _coloured(_h5_blocks(file["images"], index), index)
    factors, names, sizes = factors_of(index, SHAPES3D_SIZES), SHAPES3D_NAMES, SHAPES3D_SIZES
    return FactorData("3D Shapes", images, factors, names, sizes, values).to(device)


def mpi3d(
    path: str | Path,
    variant: str = "real",
    n: int | str = 20_000,
    seed: int = 0,
    download: bool = False,
    device: str | torch.device = "cpu",
) -> FactorData:
    """MPI3D from the npz at `path`: images uint8 (n, 3, 64, 64).

    variant: "toy", "realistic", "real" (1,036,800 images each, 13 GB) or "real_complex" (460,800,
    6 GB). The first three look alike to the checks: it is on the caller to name the right one.
    n: how many images to draw at random (with `seed`, without repeats), or "all". The whole file
    is read, and its CRC verified, for any n, but only n images are kept in memory. download has
    no effect on "real_complex" (real3d_complicated_shapes_ordered.npz): get that file by hand.
    Source: Gondal et al. 2019, CC BY 4.0.

    Raises FileNotFoundError without the file, ConnectionError where the download fails, ValueError
    for a wrong variant or n, or a file that is damaged or another.
    """
    if variant not in MPI3D_VALUES:
        raise ValueError(f"no MPI3D variant {variant!r}; there are: {', '.join(MPI3D_VALUES)}")
    values = MPI3D_VALUES[variant]
    sizes = tuple(map(len, values))
    index = choose(n, math.prod(sizes), seed)
    path = find("mpi3d", path, MPI3D_URLS.get(variant), download)
    try:
        blocks = npz_blocks(path, "images", (math.prod(sizes), 64, 64, 3))
        images = _coloured(blocks, index)
    except DAMAGE as error:
        raise ValueError(
            f"{path} is damaged or not MPI3D {variant} ({error}); delete it and get it again from "
            f"{ABOUT['mpi3d']['source']}"
        ) from error
    factors = factors_of(index, sizes)
    return FactorData(f"MPI3D {variant}", images, factors, MPI3D_NAMES, sizes, values).to(device)


def falcor3d(
    path: str | Path, n: int | str = 20_000, seed: int = 0, device: str | torch.device = "cpu"
) -> FactorData:
    """Falcor3D from the unpacked folder at `path`: images uint8 (n, 3, 64, 64).

    The folder (such as Falcor3D_down128) holds images/000000.png to 233279.png; a picture's number
    is the mixed-radix number of its factors, the last one fastest. If train-rec.labels is there,
    it has to agree with that, and gives the values of the levels, which else run from 0 to 1.
    n: how many images to draw at random (with `seed`, without repeats), or "all"; only those are
    read. They are reduced to 64x64 with an antialiased bicubic filter, as Hsu et al. 2023 do.
    Source: Nie et al. 2020, CC BY 4.0. The archive is on Google Drive: get it by hand.

    Raises FileNotFoundError for a missing folder or picture, ValueError for a wrong n, a damaged
    picture, or labels in another order.
    """
    index = choose(n, math.prod(FALCOR3D_SIZES), seed)
    files, values = find_pictures("falcor3d", path, index, "train-rec.labels", FALCOR3D_SIZES)
    images = read_pictures("falcor3d", files, [(128, 128), (1024, 1024)], 64)
    factors, names, sizes = factors_of(index, FALCOR3D_SIZES), FALCOR3D_NAMES, FALCOR3D_SIZES
    return FactorData("Falcor3D", images, factors, names, sizes, values).to(device)


def isaac3d(
    path: str | Path, n: int | str = 20_000, seed: int = 0, device: str | torch.device = "cpu"
) -> FactorData:
    """Isaac3D from the unpacked folder at `path`: images uint8 (n, 3, 64, 64).

    As falcor3d, with images/000000.png to 737279.png and labels.npy in a folder such as
    Isaac3D_down128. The order of the factors is that of the authors' dataset_demo.py; their README
    names them in another order, which does not fit its own numbers of levels.
    Source: Nie et al. 2020, CC BY 4.0. The archive is on Google Drive: get it by hand.
    """
    index = choose(n, math.prod(ISAAC3D_SIZES), seed)
    files, values = find_pictures("isaac3d", path, index, "labels.npy", ISAAC3D_SIZES)
    images = read_pictures("isaac3d", files, [(128, 128), (512, 512)], 64)
    factors, names, sizes = factors_of(index, ISAAC3D_SIZES), ISAAC3D_NAMES, ISAAC3D_SIZES
    return FactorData("Isaac3D", images, factors, names, sizes, values).to(device)


def cars3d(
    path: str | Path,
    n: int | str = "all",
    seed: int = 0,
    download: bool = False,
    device: str | torch.device = "cpu",
) -> FactorData:
    """Cars3D from nips2015-analogy-data.tar.gz at `path`: images uint8 (n, 3, 64, 64).

    n: how many images to draw at random (with `seed`, without repeats), or "all" for the 17,568
    (216 MB). The archive is read to its end for any n. Cars are in the order of their names, and
    images reduced with an antialiased Lanczos filter, as Locatello et al. 2019 do.
    Source: Reed et al. 2015; no licence is stated.

    Raises FileNotFoundError without the file, ConnectionError where the download fails, ValueError
    for a wrong n or an archive that is not the published one.
    """
    from scipy.io import loadmat

    index = choose(n, math.prod(CARS3D_SIZES), seed)
    path = find("cars3d", path, CARS3D_URL, download, CARS3D_CHECKSUM)
    verify(path, CARS3D_CHECKSUM)
    cars = {}
    with tarfile.open(path, "r|gz") as archive:
        for member in Bar(archive, desc="Cars3D"):
            name = Path(member.name)
            if name.parent.name == "cars" and name.suffix == ".mat":
                file = archive.extractfile(member)
                assert file is not None  # which a link or a folder would give
                views = loadmat(io.BytesIO(file.read()))["im"]
                views = views.transpose(4, 3, 0, 1, 2)  # from (128, 128, 3, azimuth, elevation)
                cars[name.stem] = _reduced(views.reshape(-1, *views.shape[2:]))
    names = tuple(sorted(cars))
    images = torch.stack([cars[name] for name in names], 1).flatten(0, 1)[index]
    values = (*(tuple(range(size)) for size in CARS3D_SIZES[:2]), names)
    factors = factors_of(index, CARS3D_SIZES)
    return FactorData("Cars3D", images, factors, CARS3D_NAMES, CARS3D_SIZES, values).to(device)


def smallnorb(
    path: str | Path,
    n: int | str = "all",
    seed: int = 0,
    download: bool = False,
    device: str | torch.device = "cpu",
) -> FactorData:
    """SmallNORB from the folder at `path`: images uint8 (n, 1, 64, 64).

    The folder holds the six packed files, smallnorb-5x46789x9x18x6x2x96x96-training-dat.mat.gz and
    so on, all of which are read: each half has five of the ten toys of a category. Of a pair of
    photographs that of the first camera is taken, and reduced with an antialiased Lanczos filter,
    as Locatello et al. 2019 do. At the same azimuth toys need not look in the same direction.
    n: how many images to draw at random (with `seed`, without repeats), or "all" for the 48,600
    (200 MB). Source: LeCun et al. 2004, for research, not to be sold.

    Raises FileNotFoundError where a file is missing, ConnectionError where the download fails,
    ValueError for a wrong n or a file that is not the published one.
    """
    sizes = tuple(map(len, SMALLNORB_VALUES))
    index = choose(n, math.prod(sizes), seed)
    pictures, levels = [], []
    for half, checksums in SMALLNORB_CHECKSUMS.items():
        files = {}
        for part, checksum in checksums.items():
            name = f"{half}-{part}.mat.gz"
            file = find("smallnorb", Path(path, name), SMALLNORB_URL + name, download, checksum)
            verify(file, checksum)
            files[part] = file
        pictures.append(files["dat"])
        levels.append([np.concatenate([*_norb(files[part])]) for part in ("cat", "info")])
    levels = np.concatenate([np.column_stack(both) for both in levels])
    levels[:, 3] //= 2  # azimuths are in units of 10 degrees
    rows = np.ravel_multi_index(levels.T, sizes).argsort()[index]  # in the order of the factors
    images = torch.empty(len(index), 96, 96, dtype=torch.uint8)
    gather(_first_camera(pictures), torch.from_numpy(rows), images)
    images, factors = _reduced(images.numpy()).unsqueeze(1), factors_of(index, sizes)
    names, values = SMALLNORB_NAMES, SMALLNORB_VALUES
    return FactorData("SmallNORB", images, factors, names, sizes, values).to(device)


def _coloured(blocks, index):
    """Images uint8 (n, 3, 64, 64) at `index` from (first row, array (M, 64, 64, 3)) pairs."""
    images = torch.empty(len(index), 3, 64, 64, dtype=torch.uint8)
    gather(blocks, index, images.permute(0, 2, 3, 1))
    return images


def _h5_blocks(images, index):
    """The blocks that hold `index`, each as high as a chunk: no chunk is unpacked twice."""
    height = images.chunks[0]
    starts = ((index // height).unique() * height).tolist()
    for start in Bar(starts, desc="3D Shapes"):
        yield start, images[start : start + height]


def _first_camera(paths):
    """SmallNORB's pictures of its first camera in both halves: (first row, block)s."""
    start = 0
    for path in paths:
        for block in Bar(_norb(path), desc="SmallNORB"):
            yield start, block[:, 0]
            start += len(block)


def _norb(path):
    """The array in a packed file of NORB's own format, in blocks of 1,000 along its first side."""
    with gzip.open(path) as file:
        kind, n_sides = struct.unpack("<2i", file.read(8))
        n_written = max(3, n_sides)  # of fewer than three the rest means nothing
        _, *sides = struct.unpack(f"<{n_written}i", file.read(4 * n_written))[:n_sides]
        kind = np.dtype(NORB_TYPES[kind])
        while content := file.read(1000 * kind.itemsize * math.prod(sides)):
            yield np.frombuffer(content, kind).reshape(-1, *sides)


def _reduced(images):
    """Images uint8 (N, H, W) or (N, H, W, 3), reduced to a tensor (N, 64, 64) or (N, 3, 64, 64)."""
    small = np.empty((len(images), 64, 64, *images.shape[3:]), np.uint8)
    for row, image in enumerate(images):
        picture = Image.fromarray(np.ascontiguousarray(image))
        small[row] = picture.resize((64, 64), Image.Resampling.LANCZOS)
    small = torch.from_numpy(small)
    return small if small.ndim == 3 else small.permute(0, 3, 1, 2)
