"""Original photographs, whose labels take the place of factors: CIFAR-10 and CelebA.

As in `originals`: each function takes the path of the published folder, checks what it finds
there, and gives FactorData. Nothing is downloaded unless download=True.
"""

from pathlib import Path

import torch

from .factor_data import FactorData, choose
from .published import get, missing, read_pictures

CELEBA_BOX = (15, 35, 163, 183)  # the central square of 148 pixels: the face, little background


def cifar10(
    path: str | Path,
    split: str = "train",
    download: bool = False,
    device: str | torch.device = "cpu",
) -> FactorData:
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
            raise FileNotFoundError(missing("cifar10", path, ", or pass download=True")) from error
        archive = Path(path) / CIFAR10.filename
        get("cifar10", CIFAR10.url, archive, f"md5:{CIFAR10.tgz_md5}")
        cifar = CIFAR10(Path(path), train=split == "train", download=True)  # unpacks it
    images = torch.from_numpy(cifar.data).permute(0, 3, 1, 2).contiguous()
    factors = torch.tensor(cifar.targets).unsqueeze(1)
    values = (tuple(cifar.classes),)
    return FactorData("CIFAR-10", images, factors, ("class",), (10,), values).to(device)


def celeba(
    path: str | Path,
    split: str = "train",
    n: int | str = 10_000,
    seed: int = 0,
    size: int = 64,
    download: bool = False,
    device: str | torch.device = "cpu",
) -> FactorData:
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
        raise FileNotFoundError(missing("celeba", path, hint)) from error
    index = choose(n, len(faces.filename), seed)
    folder = Path(path) / CelebA.base_folder / "img_align_celeba"
    files = [folder / faces.filename[row] for row in index.tolist()]
    images = read_pictures("celeba", files, [(178, 218)], size, CELEBA_BOX)
    names = tuple(name for name in faces.attr_names if name)  # the header ends with a space
    sizes, values = (2,) * len(names), (("no", "yes"),) * len(names)
    return FactorData("CelebA", images, faces.attr[index], names, sizes, values).to(device)
