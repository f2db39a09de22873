"""The original data sets: dSprites, MNIST, 3D Shapes, MPI3D, Falcor3D, Isaac3D, CIFAR-10, CelebA.

Each function takes the path of the published file or folder, checks what it finds there, and gives
FactorData. Nothing is downloaded unless download=True. A published checksum is verified where the
publisher, or TensorFlow Datasets or torchvision for it, gives one; otherwise sizes, types, labels
and the archive's own checksums are.
"""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from . import digits, sprites
from .arrays import DAMAGE, gather, npz_blocks, read_npy
from .download import fetch, verify
from .factor_data import FactorData, choose, factors_of


def _about(images, factors, source, licence):
    return {
        "images": images,
        "factors": factors,
        "source": source,
        "licence": licence,
        "stands_in_for": "",
    }


ABOUT = {
    "dsprites": _about(
        "737,280 white shapes on black, 64x64",
        "shape 3, scale 6, orientation 40, x 32, y 32",
        "Matthey et al. 2017, github.com/google-deepmind/dsprites-dataset",
        "Apache-2.0",
    ),
    "mnist": _about(
        "70,000 handwritten digits (60,000 to train, 10,000 to test), padded to 32x32",
        "digit 10; coloured: digit hue 10, background hue 10",
        "LeCun et al. 1998, through torchvision",
        "none stated",
    ),
    "shapes3d": _about(
        "480,000 rendered rooms with one object, 64x64, colour",
        "floor hue 10, wall hue 10, object hue 10, scale 8, shape 4, orientation 15",
        "Burgess & Kim 2018, github.com/google-deepmind/3d-shapes",
        "Apache-2.0",
    ),
    "mpi3d": _about(
        "1,036,800 (real_complex: 460,800) photographs or renderings of a robot arm with an "
        "object, 64x64, colour",
        "colour 6, shape 6 (real_complex: 4 and 4), size 2, camera height 3, background 3, "
        "horizontal axis 40, vertical axis 40",
        "Gondal et al. 2019, github.com/rr-learning/disentanglement_dataset",
        "CC BY 4.0",
    ),
    "falcor3d": _about(
        "233,280 renderings of a living room, 128x128 (also 1024x1024), read as 64x64, colour",
        "light intensity 5, light direction x, y, z and camera position x, y, z 6 each",
        "Nie et al. 2020, github.com/NVlabs/High-res-disentanglement-datasets",
        "CC BY 4.0, NVIDIA Corporation",
    ),
    "isaac3d": _about(
        "737,280 renderings of a kitchen with a robot arm, 128x128 (also 512x512), read as 64x64, "
        "colour",
        "object shape 3, robot x 8, robot y 5, camera height 4, object scale 4, light intensity 4, "
        "light direction 6, object colour 4, wall colour 4",
        "Nie et al. 2020, github.com/NVlabs/High-res-disentanglement-datasets",
        "CC BY 4.0, NVIDIA Corporation",
    ),
    "cifar10": _about(
        "60,000 photographs (50,000 to train, 10,000 to test), 32x32, colour",
        "class 10",
        "Krizhevsky 2009, www.cs.toronto.edu/~kriz/cifar.html",
        "none stated; the authors ask to be cited",
    ),
    "celeba": _about(
        "202,599 photographs of faces, 178x218, read as squares, colour",
        "40 attributes, yes or no (labels by people, neither independent nor exact)",
        "Liu et al. 2015, mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        "non-commercial research only",
    ),
}
# What a reader without a network can use in place of each.
OFFLINE = dict.fromkeys(ABOUT, "rooms") | {"dsprites": "sprites", "mnist": "digits"}
OFFLINE |= {"cifar10": "digits", "celeba": "faces"}

_DSPRITES_FOLDER = "https://github.com/deepmind/dsprites-dataset/blob/master/"
DSPRITES_URL = f"{_DSPRITES_FOLDER}{sprites.ORIGINAL_FILE}?raw=true"

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
MPI3D_VALUES = dict.fromkeys(("toy", "realistic", "real"), _SIMPLE + _RIG + _AXES)
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

CELEBA_BOX = (15, 35, 163, 183)  # the central square of 148 pixels: the face, little background


def dsprites(path, n=20_000, seed=0, download=False, device="cpu"):
    """dSprites from the npz at `path`: images uint8 (n, 1, 64, 64), as sprites.load gives them.

    No checksum of the npz is published: its layout, and 64 of its images against the renderer, are
    verified. Source: Matthey et al. 2017, Apache-2.0.

    Raises FileNotFoundError without the file, ConnectionError where the download fails, ValueError
    for a wrong n or a file that is damaged or another.
    """
    path = _file("dsprites", path, DSPRITES_URL, download)
    return sprites.load(n, seed, path, device)


def mnist(path, split="train", coloured=False, seed=0, download=False, device="cpu"):
    """MNIST from the folder at `path`, in torchvision's layout, as digits.load gives it.

    Source: LeCun et al. 1998; no licence is stated. Checksums are the published ones, of packed
    files and of unpacked ones; the files of the other split may be missing.

    Raises ValueError for an unknown split or a file that is not the published one,
    FileNotFoundError where one is missing, ConnectionError where the download fails.
    """
    try:
        return digits.load(split, coloured, path, download, seed, device)
    except ConnectionError as error:
        raise ConnectionError(f"{error}. {_offline('mnist')}") from error
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} {_offline('mnist')}") from error


def shapes3d(path, n=20_000, seed=0, download=False, device="cpu"):
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
    path = _file("shapes3d", path, SHAPES3D_URL, download, SHAPES3D_CHECKSUM)
    verify(path, SHAPES3D_CHECKSUM)
    with h5py.File(path) as file:
        values = _values(path, file["labels"][:], SHAPES3D_SIZES)
        images = _coloured(_h5_blocks(file["images"], index), index)
    factors, names, sizes = factors_of(index, SHAPES3D_SIZES), SHAPES3D_NAMES, SHAPES3D_SIZES
    return FactorData("3D Shapes", images, factors, names, sizes, values).to(device)


def mpi3d(path, variant="real", n=20_000, seed=0, download=False, device="cpu"):
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
    path = _file("mpi3d", path, MPI3D_URLS.get(variant), download)
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


def falcor3d(path, n=20_000, seed=0, device="cpu"):
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
    files, values = _folder("falcor3d", path, index, "train-rec.labels", FALCOR3D_SIZES)
    images = _pictures("falcor3d", files, [(128, 128), (1024, 1024)], 64)
    factors, names, sizes = factors_of(index, FALCOR3D_SIZES), FALCOR3D_NAMES, FALCOR3D_SIZES
    return FactorData("Falcor3D", images, factors, names, sizes, values).to(device)


def isaac3d(path, n=20_000, seed=0, device="cpu"):
    """Isaac3D from the unpacked folder at `path`: images uint8 (n, 3, 64, 64).

    As falcor3d, with images/000000.png to 737279.png and labels.npy in a folder such as
    Isaac3D_down128. The order of the factors is that of the authors' dataset_demo.py; their README
    names them in another order, which does not fit its own numbers of levels.
    Source: Nie et al. 2020, CC BY 4.0. The archive is on Google Drive: get it by hand.
    """
    index = choose(n, math.prod(ISAAC3D_SIZES), seed)
    files, values = _folder("isaac3d", path, index, "labels.npy", ISAAC3D_SIZES)
    images = _pictures("isaac3d", files, [(128, 128), (512, 512)], 64)
    factors, names, sizes = factors_of(index, ISAAC3D_SIZES), ISAAC3D_NAMES, ISAAC3D_SIZES
    return FactorData("Isaac3D", images, factors, names, sizes, values).to(device)


def cifar10(path, split="train", download=False, device="cpu"):
    """CIFAR-10 from the folder at `path`, in torchvision's layout: images uint8 (N, 3, 32, 32).

    split: "train" (50,000 images) or "test" (10,000). The one factor is the class.
    Source: Krizhevsky 2009; no licence is stated.

    Raises ValueError for an unknown split or an archive that is not the published one,
    FileNotFoundError where the set is missing or damaged, ConnectionError where the download fails.
    """
    from torchvision.datasets import CIFAR10

    if split not in ("train", "test"):
        raise ValueError(f"split {split!r}; choose 'train' or 'test'")
    try:
        cifar = CIFAR10(Path(path), train=split == "train")
    except RuntimeError as error:  # torchvision found a file missing or with a wrong checksum
        if not download:
            raise FileNotFoundError(_missing("cifar10", path, ", or pass download=True")) from error
        archive = Path(path) / CIFAR10.filename
        _download("cifar10", CIFAR10.url, archive, f"md5:{CIFAR10.tgz_md5}")
        cifar = CIFAR10(Path(path), train=split == "train", download=True)  # unpacks it
    images = torch.from_numpy(cifar.data).permute(0, 3, 1, 2).contiguous()
    factors = torch.tensor(cifar.targets).unsqueeze(1)
    values = (tuple(cifar.classes),)
    return FactorData("CIFAR-10", images, factors, ("class",), (10,), values).to(device)


def celeba(path, split="train", n=10_000, seed=0, size=64, download=False, device="cpu"):
    """CelebA from the folder at `path`, in torchvision's layout: images uint8 (n, 3, size, size).

    CelebA has no factors of variation. Its 40 attributes take their place, level 0 for no and 1
    for yes; they depend on each other, and no image exists for most of their combinations.
    split: "train" (162,770 images), "valid" (19,867) or "test" (19,962). n: how many images to
    draw at random (with `seed`, without repeats), or "all"; only those are read. The central
    square of 148 pixels is reduced to `size` with an antialiased bicubic filter.
    Source: Liu et al. 2015, for non-commercial research only. download=True needs gdown, since the
    files are on Google Drive; torchvision does it, without resuming, and often meets a quota.

    Raises ValueError for an unknown split, a wrong n or a damaged image, FileNotFoundError where
    the set or an image is missing or a list has a wrong checksum.
    """
    from torchvision.datasets import CelebA

    if split not in ("train", "valid", "test"):
        raise ValueError(f"split {split!r}; choose 'train', 'valid' or 'test'")
    try:
        faces = CelebA(Path(path), split=split, download=download)
    except Exception as error:  # torchvision's, gdown's, a broken archive's: all mean the same
        hint = f" into a folder `celeba` there, with img_align_celeba unpacked ({error})"
        raise FileNotFoundError(_missing("celeba", path, hint)) from error
    index = choose(n, len(faces.filename), seed)
    folder = Path(path) / CelebA.base_folder / "img_align_celeba"
    files = [folder / faces.filename[row] for row in index.tolist()]
    images = _pictures("celeba", files, [(178, 218)], size, CELEBA_BOX)
    names = tuple(name for name in faces.attr_names if name)  # the header ends with a space
    sizes, values = (2,) * len(names), (("no", "yes"),) * len(names)
    return FactorData("CelebA", images, faces.attr[index], names, sizes, values).to(device)


def _values(path, labels, sizes):
    """The value of each level of each factor, from labels (N, K) of images in the original order.

    Raises ValueError where the labels do not have exactly one value a level in that order.
    """
    expected = (math.prod(sizes), len(sizes))
    values = []
    for column, size in enumerate(sizes if labels.shape == expected else ()):
        levels = np.moveaxis(labels[:, column].reshape(sizes), column, 0).reshape(size, -1)
        if (levels == levels[:, :1]).all() and len(np.unique(levels[:, 0])) == size:
            values.append(tuple(levels[:, 0].tolist()))
    if len(values) < len(sizes):
        raise ValueError(
            f"{path}: labels {labels.shape} do not enumerate factors with {sizes} levels in the "
            "order of the original; the file is altered or another: get it again"
        )
    return tuple(values)


def _file(name, path, url, download, checksum=None):
    """`path` as a Path to an existing file, downloaded first if asked for."""
    path = Path(path)
    if path.is_dir():
        raise FileNotFoundError(f"{path} is a folder; give the path of the file in it")
    if download and url:
        _download(name, url, path, checksum)
    if not path.is_file():
        hint = ", or pass download=True" if url else " by hand"
        raise FileNotFoundError(_missing(name, path, hint))
    return path


def _download(name, url, path, checksum):
    try:
        fetch(url, path, checksum)
    except ConnectionError as error:
        raise ConnectionError(f"{error}. {_offline(name)}") from error


def _missing(name, path, hint):
    source = ABOUT[name]["source"]
    return f"{path} is missing or incomplete: get it from {source}{hint}. {_offline(name)}"


def _offline(name):
    return f"Without a network, use data.load({OFFLINE[name]!r})"


def _coloured(blocks, index):
    """Images uint8 (n, 3, 64, 64) at `index` from (first row, array (M, 64, 64, 3)) pairs."""
    images = torch.empty(len(index), 3, 64, 64, dtype=torch.uint8)
    gather(blocks, index, images.permute(0, 2, 3, 1))
    return images


def _h5_blocks(images, index):
    """The blocks that hold `index`, each as high as a chunk: no chunk is unpacked twice."""
    height = images.chunks[0]
    starts = ((index // height).unique() * height).tolist()
    for start in tqdm(starts, desc="3D Shapes", leave=False):
        yield start, images[start : start + height]


def _folder(name, path, index, labels_name, sizes):
    """The files of the pictures at `index` in a folder, and the values of the factors' levels."""
    folder, labels = Path(path) / "images", Path(path) / labels_name
    if not folder.is_dir():
        raise FileNotFoundError(_missing(name, folder, " and unpack it"))
    files = [folder / f"{row:06}.png" for row in index.tolist()]
    if not labels.is_file():
        return files, tuple(tuple(np.linspace(0, 1, size).tolist()) for size in sizes)
    try:
        table = read_npy(labels)
    except DAMAGE as error:
        raise ValueError(f"{labels} is damaged ({error}); unpack the archive again") from error
    return files, _values(labels, table, sizes)


def _pictures(name, files, original_sizes, size, box=None):
    """Pictures uint8 (N, 3, size, size) of files, of which `box` (all) is reduced to a square."""
    images = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    for row, file in enumerate(tqdm(files, desc=name, leave=False)):
        try:
            with Image.open(file, formats=("JPEG", "PNG")) as picture:
                found = picture.size
                small = picture.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, box)
        except FileNotFoundError as error:
            raise FileNotFoundError(_missing(name, file, " and unpack it again")) from error
        except DAMAGE as error:
            raise ValueError(f"{file} is damaged ({error}); unpack the archive again") from error
        if found not in original_sizes:
            raise ValueError(
                f"{file} has {found[0]}x{found[1]} pixels, expected "
                f"{' or '.join(f'{w}x{h}' for w, h in original_sizes)}; unpack the archive again"
            )
        images[row] = torch.from_numpy(np.array(small)).permute(2, 0, 1)
    return images
