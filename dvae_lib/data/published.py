"""What is published of the original data sets, who reads them, and how their files are found."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..bars import Bar
from .arrays import DAMAGE, read_npy
from .download import fetch


def _about(images, factors, source, licence):
    return {"images": images, "factors": factors, "source": source, "licence": licence}


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
    "cars3d": _about(
        "17,568 renderings of models of cars, 128x128, read as 64x64, colour",
        "elevation 4, azimuth 24, car 183",
        "Reed et al. 2015, www.scottreed.info",
        "none stated",
    ),
    "smallnorb": _about(
        "48,600 photographs of toys, 96x96, read as 64x64, grey",
        "category 5, instance 10, elevation 9, azimuth 18, lighting 6",
        "LeCun et al. 2004, cs.nyu.edu/~ylclab/data/norb-v1.0-small",
        "for research, not to be sold",
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


def _in_07(name):
    return {"07_latent_quantization": f'load_set("{name}", "all", 64, run.device, path=path)'}


# {set made here: {original that it stands in for: {notebook that reads it: what to write there}}}.
# The catalogue, what errors advise and the table in the README follow from this one.
STAND_INS: dict[str, dict[str, dict[str, str]]] = {
    "digits": {
        "mnist": {
            "01_vae": 'tier = "paper"',
            "04_label_relevant_vae": 'load_set("coloured digits", path)',
            "09_ard_vae": 'tier = "paper"',
        },
        "cifar10": {
            "04_label_relevant_vae": 'load_set("cifar10", path)',
            "09_ard_vae": 'tier = "paper"',
        },
    },
    "sprites": {"dsprites": {}},
    "rooms": {
        "shapes3d": _in_07("shapes3d"),
        "mpi3d": _in_07("mpi3d"),
        "falcor3d": _in_07("falcor3d"),
        "isaac3d": _in_07("isaac3d"),
        "cars3d": {},
        "smallnorb": {},
    },
    "faces": {"celeba": {"05_two_code_information": "CELEBA = path"}},
}
OFFLINE = {original: made for made, originals in STAND_INS.items() for original in originals}


def readers(original: str) -> dict[str, str]:
    """{notebook that reads an original set: what to write there}."""
    return STAND_INS[OFFLINE[original]][original]


def values_of(path: str | Path, labels: np.ndarray, sizes: Sequence[int]) -> tuple:
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


def find(
    name: str, path: str | Path, url: str | None, download: bool, checksum: str | None = None
) -> Path:
    """`path` as a Path to an existing file, downloaded first if asked for."""
    path = Path(path)
    if path.is_dir():
        raise FileNotFoundError(f"{path} is a folder; give the path of the file in it")
    if download and url:
        get(name, url, path, checksum)
    if not path.is_file():
        hint = ", or pass download=True" if url else " by hand"
        raise FileNotFoundError(missing(name, path, hint))
    return path


def get(name: str, url: str, path: str | Path, checksum: str | None) -> None:
    """Download a file of a set, as `fetch` does."""
    try:
        fetch(url, path, checksum)
    except ConnectionError as error:
        raise ConnectionError(f"{error}. {offline(name)}") from error


def missing(name: str, path: str | Path, hint: str) -> str:
    """What to say where a file of a set is not there."""
    source = ABOUT[name]["source"]
    return f"{path} is missing or incomplete: get it from {source}{hint}. {offline(name)}"


def offline(name: str) -> str:
    return f"Without a network, use data.load({OFFLINE[name]!r})"


def find_pictures(
    name: str, path: str | Path, index: torch.Tensor, labels_name: str, sizes: Sequence[int]
) -> tuple[list, tuple]:
    """The files of the pictures at `index` in a folder, and the values of the factors' levels."""
    folder, labels = Path(path) / "images", Path(path) / labels_name
    if not folder.is_dir():
        raise FileNotFoundError(missing(name, folder, " and unpack it"))
    files = [folder / f"{row:06}.png" for row in index.tolist()]
    if not labels.is_file():
        return files, tuple(tuple(np.linspace(0, 1, size).tolist()) for size in sizes)
    try:
        table = read_npy(labels)
    except DAMAGE as error:
        raise ValueError(f"{labels} is damaged ({error}); unpack the archive again") from error
    return files, values_of(labels, table, sizes)


def read_pictures(
    name: str, files: Sequence[Path], original_sizes: Any, size: int, box: Any = None
) -> torch.Tensor:
    """Pictures uint8 (N, 3, size, size) of files, of which `box` (all) is reduced to a square."""
    images = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    for row, file in enumerate(Bar(files, desc=name)):
        try:
            with Image.open(file, formats=("JPEG", "PNG")) as picture:
                found = picture.size
                small = picture.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, box)
        except FileNotFoundError as error:
            raise FileNotFoundError(missing(name, file, " and unpack it again")) from error
        except DAMAGE as error:
            raise ValueError(f"{file} is damaged ({error}); unpack the archive again") from error
        if found not in original_sizes:
            raise ValueError(
                f"{file} has {found[0]}x{found[1]} pixels, expected "
                f"{' or '.join(f'{w}x{h}' for w, h in original_sizes)}; unpack the archive again"
            )
        images[row] = torch.from_numpy(np.array(small)).permute(2, 0, 1)
    return images
