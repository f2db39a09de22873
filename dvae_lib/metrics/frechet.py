"""Fréchet distance between sets of images: of Gaussians fitted to the features of a network.

With Inception v3 for a network it is called FID (Heusel et al. 2017). A distance says nothing
without its network, hence `frechet_distances` takes one network for a whole table.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import nets, training
from ..data import FactorData
from ..objectives import factor_cross_entropy
from .information import refuse_extremes, where_float64

LARGEST_FEATURE = 1e70  # its fourth power, which the product of two covariances has, is a float64


def frechet_distances(
    net: Callable, reference: Tensor, sets: dict[str, Tensor], batch_size: int = 256
) -> dict[str, float]:
    """Distance of each set of images to the reference: {"name": images} to {"name": distance}.

    net: a module, images (B, C, H, W) in [0, 1] to features (B, D), such as `small_net(data)` or
    `inception(device)`; the images go through it on its device, in evaluation mode. reference and
    each set: (N, C, H, W), uint8 or float in [0, 1]. All pass through the one net, and distances
    by different nets are never to share a table. Errors: see `frechet_distance_of_features`; a
    float image outside [0, 1].

    Estimates are too large, and the more so the fewer images there are: use the same N for every
    set, and more images than features.
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


def small_net(data: FactorData, steps: int = 1000, seed: int = 0) -> nn.Module:
    """A small network whose features tell all factors of `data`, a FactorData.

    Returns a module, images (B, C, S, S) to (B, 256), on the device of the data and the same for a
    seed (on the CPU bit for bit): a `nets.Encoder` trained on all images, by cross-entropy summed
    over factors, without its last layer. `name` says what it is: distances by it are distances of
    this data set, and compare with those of no other network.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = nets.Encoder(data.image_shape, sum(data.factor_sizes)).to(data.device)

    def loss(batch):
        logits = encoder(batch.images)
        return {"loss": factor_cross_entropy(logits, batch.factors, data.factor_sizes)}

    player = training.Player(loss, torch.optim.Adam(encoder.parameters(), 1e-3))
    training.train(encoder, player, data.batches(min(64, len(data)), seed), steps)
    net = encoder.layers[:-1].requires_grad_(False).eval()
    net.name = f"small net on {data.name}, {steps} steps, seed {seed}"  # ty: ignore[invalid-assignment]
    return net


class _Colour(nn.Module):
    """Grey images (B, 1, H, W) to three equal channels; coloured ones as they are."""

    def forward(self, images):
        return images.expand(-1, 3, -1, -1)


def inception(device: str | torch.device = "cpu", download: bool = False) -> nn.Module:
    """torchvision's Inception v3, trained on ImageNet: images of 1 or 3 channels to (B, 2048).

    Images are resized to 299x299 and normalised as the weights ask. The weights are those in the
    cache of torch.hub; download=True fetches them (104 MB). They are not the TensorFlow weights of
    published FIDs, nor is the resizing theirs: distances do not compare with published ones.
    Raises FileNotFoundError where there are no weights.
    """
    from torchvision.models import Inception_V3_Weights, inception_v3

    weights = Inception_V3_Weights.IMAGENET1K_V1
    path = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
    if not path.exists() and not download:
        raise FileNotFoundError(
            f"no Inception weights at {path}; pass download=True to fetch {weights.url}, put the "
            "file there, or use small_net(data), which is trained on your own images"
        )
    features, prepare = inception_v3(weights=weights), weights.transforms()
    features.fc, prepare.resize_size = nn.Identity(), [299, 299]  # pooled; and nothing cropped
    net = nn.Sequential(_Colour(), prepare, features).requires_grad_(False).eval().to(device)
    net.name = "torchvision Inception v3"  # ty: ignore[invalid-assignment]
    return net
