"""Network backbones that the notebooks share.

The 64x64 form is the field's standard (Burgess et al. 2018; Locatello et al. 2019, table 1):
four 4x4 convolutions of stride 2 with 32, 32, 64, 64 channels, then a layer of 256. The 32x32
form leaves out the first of them.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = {64: (32, 32, 64, 64), 32: (32, 64, 64)}
HIDDEN = 256


class Encoder(nn.Module):
    """Images (B, C, S, S), float in [0, 1], to (B, n_outputs).

    channels: the widths of its 4x4 convolutions of stride 2, first to last, by default those of
    the standard for S = 32 or 64; they halve the side S, which may be any multiple of
    2 ** len(channels). hidden: width of the layer before the last. For a Gaussian posterior take
    n_outputs = 2 L and split the result into mean and log_var. Raises ValueError for other sides
    and shapes.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        n_outputs: int,
        channels: Sequence[int] | None = None,
        hidden: int = HIDDEN,
    ) -> None:
        super().__init__()
        widths, side = _halvings(image_shape, channels)
        self.image_shape = tuple(image_shape)
        layers = []
        for c_in, c_out in pairwise((image_shape[0], *widths)):
            layers += self._convolution(c_in, c_out)
        layers += [nn.Flatten(), nn.Linear(widths[-1] * side**2, hidden), self._nonlinearity()]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, n_outputs))

    _nonlinearity = nn.ReLU

    def _convolution(self, c_in, c_out):
        return [nn.Conv2d(c_in, c_out, 4, 2, 1), nn.ReLU(inplace=True)]

    def forward(self, images: Tensor) -> Tensor:
        if tuple(images.shape[1:]) != self.image_shape:
            raise ValueError(
                f"images of shape {tuple(images.shape)}: this encoder takes "
                f"(batch, {', '.join(map(str, self.image_shape))})"
            )
        if not images.is_floating_point():
            raise TypeError(f"images are {images.dtype}: divide them by 255.0 to get [0, 1]")
        return self.layers(images)


class _Doubling(nn.ConvTranspose2d):
    """ConvTranspose2d(c_in, c_out, 4, 2, 1), on the CPU by faster operations of the same result."""

    def __init__(self, c_in, c_out):
        super().__init__(c_in, c_out, 4, 2, 1)

    def forward(self, x):  # ty: ignore[incompatible-method-override]
        assert self.bias is not None
        if x.device.type != "cpu":
            return super().forward(x)
        c_in, c_out = self.weight.shape[:2]
        if c_out > 4:
            # The gradient of a bias inside takes longer than all the rest in bfloat16.
            y = F.conv_transpose2d(x, self.weight, None, 2, 1)
            return y.add_(self.bias.to(y.dtype)[:, None, None])
        # Few channels: the four pixels of each 2x2 block from one convolution with 2x2 kernels.
        taps = self.weight.view(c_in, c_out, 2, 2, 2, 2).flip(2, 4).permute(1, 3, 5, 0, 2, 4)
        taps = taps.reshape(4 * c_out, c_in, 2, 2)
        blocks = F.conv2d(x, taps, self.bias.repeat_interleave(4), padding=1)
        return F.pixel_shuffle(blocks, 2)[:, :, 1:-1, 1:-1].contiguous()


class Decoder(nn.Module):
    """Codes (B, n_codes) to pixel logits or means (B, C, S, S): Encoder's mirror.

    channels and hidden: those of the encoder, as they are; the decoder goes through them from last
    to first. No nonlinearity after the last convolution. Errors: see Encoder.
    """

    def __init__(
        self,
        n_codes: int,
        image_shape: Sequence[int],
        channels: Sequence[int] | None = None,
        hidden: int = HIDDEN,
    ) -> None:
        super().__init__()
        widths, side = _halvings(image_shape, channels)
        f = self._nonlinearity
        layers: list[nn.Module] = [nn.Linear(n_codes, hidden), f()]
        layers += [nn.Linear(hidden, widths[-1] * side**2)]
        layers += [f(), nn.Unflatten(1, (widths[-1], side, side))]
        for c_in, c_out in pairwise((*reversed(widths), image_shape[0])):
            convolution, *rest = self._convolution(c_in, c_out)
            layers += [convolution, *rest]
        # The last convolution gives the pixels as they are.
        self.layers = nn.Sequential(*layers[: -len(rest)])

    _nonlinearity = nn.ReLU

    def _convolution(self, c_in, c_out):
        return [_Doubling(c_in, c_out), nn.ReLU(inplace=True)]

    def forward(self, codes: Tensor) -> Tensor:
        return self.layers(codes)


class NormedEncoder(Encoder):
    """Images (B, C, S, S), float in [0, 1], to (B, n_outputs): learns in fewer steps than Encoder.

    Encoder with batch normalisation (Ioffe & Szegedy 2015) after every convolution and SiLU
    (Hendrycks & Gimpel 2016) for ReLU. Arguments and errors: see Encoder.

    While training, the code of an image depends on the others of its batch. In evaluation mode,
    batch normalisation uses running statistics of the training batches instead: call .eval()
    before codes are taken, and only after some tens of training batches.
    """

    _nonlinearity = nn.SiLU

    def _convolution(self, c_in, c_out):
        return [nn.Conv2d(c_in, c_out, 4, 2, 1), nn.BatchNorm2d(c_out), nn.SiLU()]


class NormedDecoder(Decoder):
    """Codes (B, n_codes) to pixel logits or means (B, C, S, S): NormedEncoder's mirror.

    No normalisation and no SiLU after the last convolution. On evaluation mode see NormedEncoder.
    """

    _nonlinearity = nn.SiLU

    def _convolution(self, c_in, c_out):
        return [_Doubling(c_in, c_out), nn.BatchNorm2d(c_out), nn.SiLU()]


def _halvings(image_shape, channels):
    """The widths of the convolutions (`channels`, or the standard) and the side they leave."""
    image_shape = tuple(image_shape)
    if len(image_shape) != 3 or image_shape[1] != image_shape[2]:
        raise ValueError(
            f"image shape {image_shape}: expected (channels, height, width), height and width "
            "being equal; pad or crop the images"
        )
    side = image_shape[1]
    if channels is None and side not in CHANNELS:
        raise ValueError(
            f"image shape {image_shape}: there are standard channels for "
            f"{' and '.join(f'{size}x{size}' for size in sorted(CHANNELS))} pixels only; give "
            "channels, the widths of the convolutions, each of which halves the side"
        )
    widths = CHANNELS[side] if channels is None else tuple(channels)
    if not widths:
        raise ValueError("channels () leave no convolution; give the width of at least one")
    if side < 1 or side % 2 ** len(widths):
        raise ValueError(
            f"a side of {side} pixels cannot be halved {len(widths)} times, once for each of the "
            f"channels {widths}; pad the images to a multiple of {2 ** len(widths)}, or give "
            "fewer channels"
        )
    return widths, side // 2 ** len(widths)


class MLP(nn.Sequential):
    """Fully connected layers with ReLU between: MLP(784, 500, 20) has one hidden layer of 500.

    Inputs of more than two dimensions are flattened first.
    """

    def __init__(self, *sizes: int) -> None:
        if len(sizes) < 2:
            raise ValueError(f"MLP{sizes}: give at least the input and the output size")
        layers: list[nn.Module] = [nn.Flatten()]
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        super().__init__(*layers[:-1])
