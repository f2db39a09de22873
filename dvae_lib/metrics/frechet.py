"""Fréchet distance between sets of images: of Gaussians fitted to the features of a network.

With Inception v3 for a network it is called FID (Heusel et al. 2017). A distance says nothing
without its network, hence `frechet_distances` takes one network for a whole table.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .information import refuse_extremes, where_float64

LARGEST_FEATURE = 1e70  # its fourth power, which the product of two covariances has, is a float64


def frechet_distances(
    net: Callable, reference: Tensor, sets: dict[str, Tensor], batch_size: int = 256
) -> dict[str, float]:
    """Distance of each set of images to the reference: {"name": images} to {"name": distance}.

    net: a module, images (B, C, H, W) in [0, 1] to features (B, D), such as those of
    `features`; the images go through it on its device, in evaluation mode. reference and
    each set: (N, C, H, W), uint8 or float in [0, 1]. All pass through the one net, and distances
    by different nets are never to share a table. Errors: see `frechet_distance_of_features`; a
    float image outside [0, 1].

    Estimates are too large, and the more so the fewer images there are: use the same N for every
    set, and more images than features.

    >>> dark = torch.rand(1000, 1, 1, 2, generator=torch.Generator().manual_seed(0)) / 2
    >>> found = frechet_distances(torch.nn.Flatten(), dark, {"dark": dark, "light": dark + 0.5})
    >>> {name: round(distance, 3) for name, distance in found.items()}
    {'dark': 0.0, 'light': 0.5}
    """
    expected = _features(net, reference, batch_size, "reference")
    return {
        name: frechet_distance_of_features(expected, _features(net, images, batch_size, name))
        for name, images in sets.items()
    }


def frechet_distance_of_features(a: Tensor, b: Tensor) -> float:
    """|mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of features (N, D) and (M, D), a float.

    Heusel et al. 2017 (arXiv:1706.08500), eq. (6); Dowson & Landau 1982, eq. (4). In float64, with
    unbiased covariances S and the root's trace from the eigenvalues of S_a^(1/2) S_b S_a^(1/2),
    which singular covariances do not upset. At least 0. With N <= D the covariance has fewer
    directions than the features, and the distance of two samples of one law is far from 0.
    Errors: fewer than 2 samples; another D; NaN, or more than 1e70 in size.

    >>> a = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0)).double()
    >>> round(frechet_distance_of_features(a, a + 1), 6)  # moved by 1 in each of two directions
    2.0
    """
    for name, features in (("first", a), ("second", b)):
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(
                f"the {name} features are {tuple(features.shape)}, expected (N, D) with N >= 2"
            )
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"features of {a.shape[1]} and {b.shape[1]} dimensions; use one network")
    a, b = (where_float64(features.detach()).double() for features in (a, b))
    for name, features in (("first", a), ("second", b)):
        refuse_extremes(f"{name} features", features, LARGEST_FEATURE)
    b = b.to(a.device)
    difference = a.mean(0) - b.mean(0)
    cov_a, cov_b = (torch.atleast_2d(torch.cov(features.T)) for features in (a, b))
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    squared = difference @ difference + cov_a.trace() + cov_b.trace() - 2 * cross
    return float(squared.clamp(min=0))


@torch.no_grad()
def _features(net, images, batch_size, name):
    """Features (N, D) of images, in batches; the net is left in the mode it was in."""
    if images.dtype != torch.uint8 and not (0 <= images.min() and images.max() <= 1):
        low, high = float(images.min()), float(images.max())
        raise ValueError(f"{name}: images range over {low:.4g} to {high:.4g}, expected 0 to 1")
    device = next((p.device for p in net.parameters()), images.device)
    was_training = net.training
    net.eval()
    try:
        parts = (part.to(device) for part in images.split(batch_size))
        parts = [net(part / 255 if part.dtype == torch.uint8 else part) for part in parts]
    finally:
        net.train(was_training)
    return torch.cat(parts)
