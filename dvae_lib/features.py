"""Networks whose features images are compared by: a small one trained here, and Inception v3."""

from pathlib import Path

import torch
from torch import nn

from . import nets, training
from .data import FactorData
from .objectives import factor_cross_entropy


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
