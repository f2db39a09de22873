"""Network backbones: sizes from the literature, shapes, and errors for wrong images."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dvae_lib import nets


def test_the_standard_networks_have_the_published_size():
    """Burgess et al. 2018 / Locatello et al. 2019, counted by hand for 64x64x3 and 10 latents.

    Convolutions: k * k * in * out + out; the decoder mirrors the encoder.
    """
    encoder = nets.Encoder((3, 64, 64), 20)
    decoder = nets.Decoder(10, (3, 64, 64))
    assert sum(p.numel() for net in (encoder, decoder) for p in net.parameters()) == 766_295


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_shapes(channels, size):
    encoder = nets.Encoder((channels, size, size), 7)
    decoder = nets.Decoder(4, (channels, size, size))
    images = torch.rand(2, channels, size, size)
    assert encoder(images).shape == (2, 7)
    nn.init.constant_(decoder.layers[-1].bias, -10)
    decoded = decoder(torch.randn(2, 4))
    assert decoded.shape == images.shape
    assert decoded.max() < 0  # logits or means: the last layer is not cut at zero


def test_narrow_networks_have_the_widths_that_they_are_given():
    """Counted by hand: kernels of 4x4, then 16 pixels of 8 channels to 5 to 3, and back."""
    encoder = nets.Encoder((1, 32, 32), 3, channels=(2, 4, 8), hidden=5)
    decoder = nets.Decoder(3, (1, 32, 32), channels=(2, 4, 8), hidden=5)
    kernels = 16 * (1 * 2 + 2 * 4 + 4 * 8)
    n_encoder = kernels + (2 + 4 + 8) + (128 * 5 + 5) + (5 * 3 + 3)
    n_decoder = (3 * 5 + 5) + (5 * 128 + 128) + kernels + (4 + 2 + 1)
    found = [sum(p.numel() for p in net.parameters()) for net in (encoder, decoder)]
    assert found == [n_encoder, n_decoder]
    assert decoder(encoder(torch.rand(2, 1, 32, 32))).shape == (2, 1, 32, 32)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 64, 64), (5, 32, 32)])
def test_the_decoder_is_one_of_plain_transposed_convolutions(shape, layout):
    """However they are computed: values and gradients are those of F.conv_transpose2d."""
    torch.manual_seed(0)
    decoder = nets.Decoder(4, shape).double().to(memory_format=layout)
    weights = [p for p in decoder.parameters() if p.ndim == 4]
    codes = torch.randn(2, 4, dtype=torch.float64)
    decoded = decoder(codes)
    assert len(weights) == (4 if shape[1] == 64 else 3)

    plain = codes
    for layer in decoder.layers:
        if isinstance(layer, nn.ConvTranspose2d):
            plain = F.conv_transpose2d(plain, layer.weight, layer.bias, stride=2, padding=1)
        else:
            plain = layer(plain)
    torch.testing.assert_close(decoded, plain)
    for found, expected in zip(
        torch.autograd.grad((decoded**3).sum(), decoder.parameters()),
        torch.autograd.grad((plain**3).sum(), decoder.parameters()),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


def test_an_image_is_encoded_by_itself():
    """No batch statistics: the code of an image does not depend on its neighbours."""
    torch.manual_seed(0)
    encoder = nets.Encoder((1, 32, 32), 5)
    images = torch.rand(4, 1, 32, 32)
    torch.testing.assert_close(encoder(images)[2:3], encoder(images[2:3]))


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((3, 32, 32), None), ((1, 64, 64), None), ((3, 28, 28), (8, 12)), ((2, 128, 128), (4,) * 7)],
)
def test_normed_networks_compute_what_their_docstrings_say(shape, channels):
    """Layer by layer from the weights, with normalisation and SiLU written out."""
    torch.manual_seed(0)
    encoder = nets.NormedEncoder(shape, 7, channels, hidden=20).double()
    decoder = nets.NormedDecoder(4, shape, channels, hidden=20).double()
    widths = list(channels or nets.CHANNELS[shape[1]])
    images = torch.rand(6, *shape, dtype=torch.float64)
    codes = torch.randn(6, 4, dtype=torch.float64)

    def normed(x, gain, offset):
        centred = x - x.mean((0, 2, 3), keepdim=True)
        x = centred / (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()
        return x * gain[:, None, None] + offset[:, None, None]

    def silu(x):
        return x * torch.sigmoid(x)

    for net in (encoder, decoder):
        for p in net.parameters():
            nn.init.normal_(p, std=0.3)
    weights, x = list(encoder.parameters()), images
    assert [p.shape[0] for p in weights if p.ndim == 4] == widths
    while len(weights) > 4:
        kernel, bias, gain, offset = (weights.pop(0) for _ in range(4))
        x = silu(normed(F.conv2d(x, kernel, bias, stride=2, padding=1), gain, offset))
    first, first_bias, last, last_bias = weights
    expected = silu(x.flatten(1) @ first.T + first_bias) @ last.T + last_bias
    torch.testing.assert_close(encoder(images), expected)

    weights = list(decoder.parameters())
    assert [p.shape[0] for p in weights if p.ndim == 4] == widths[::-1]
    first, first_bias, last, last_bias = (weights.pop(0) for _ in range(4))
    y = silu(silu(codes @ first.T + first_bias) @ last.T + last_bias).reshape(x.shape)
    while len(weights) > 2:
        kernel, bias, gain, offset = (weights.pop(0) for _ in range(4))
        y = F.conv_transpose2d(y, kernel, bias, stride=2, padding=1)
        y = silu(normed(y, gain, offset))
    kernel, bias = weights
    expected = F.conv_transpose2d(y, kernel, bias, stride=2, padding=1)
    decoded = decoder(codes)
    torch.testing.assert_close(decoded, expected)
    assert decoded.shape == images.shape


def test_a_normed_encoder_uses_its_batch_in_training_only():
    torch.manual_seed(0)
    encoder = nets.NormedEncoder((1, 32, 32), 5)
    images = torch.rand(64, 1, 32, 32)
    assert (encoder(images)[:4] - encoder(images[:4])).abs().max() > 1e-3
    for _ in range(60):
        trained = encoder(images)
    encoder.eval()
    torch.testing.assert_close(encoder(images)[2:3], encoder(images[2:3]))
    # The running statistics have become those of the batch.
    torch.testing.assert_close(encoder(images), trained, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("shape", "channels", "message"),
    [
        ((3, 28, 28), None, "standard channels for 32x32 and 64x64 pixels only; give channels"),
        ((3, 28, 28), (8, 8, 8), r"28 pixels cannot be halved 3 times.*a multiple of 8"),
        ((3, 4, 4), (8, 8, 8), "4 pixels cannot be halved 3 times"),
        ((3, 64, 32), (8, 8), r"\(3, 64, 32\): expected \(channels, height, width\)"),
        ((64, 64), (8, 8), r"\(64, 64\): expected \(channels, height, width\)"),
        ((3, 32, 32), (), "leave no convolution"),
    ],
)
def test_networks_refuse_what_they_cannot_halve(shape, channels, message):
    for encoder, decoder in (
        (nets.Encoder, nets.Decoder),
        (nets.NormedEncoder, nets.NormedDecoder),
    ):
        with pytest.raises(ValueError, match=message):
            encoder(shape, 4, channels)
        with pytest.raises(ValueError, match=message):
            decoder(4, shape, channels)


@pytest.mark.parametrize("kind", [nets.Encoder, nets.NormedEncoder])
def test_wrong_images_are_named(kind):
    encoder = kind((3, 32, 32), 4)
    with pytest.raises(ValueError, match=r"\(2, 1, 32, 32\): this encoder takes \(batch, 3, 32"):
        encoder(torch.rand(2, 1, 32, 32))
    with pytest.raises(ValueError, match=r"\(2, 3, 64, 64\)"):
        encoder(torch.rand(2, 3, 64, 64))
    with pytest.raises(TypeError, match="uint8: divide them by 255"):
        encoder(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))


def test_mlp_flattens_and_ends_without_relu():
    torch.manual_seed(0)
    mlp = nets.MLP(12, 50, 3)
    out = mlp(torch.randn(20, 3, 2, 2))
    assert out.shape == (20, 3)
    assert out.min() < 0
    assert sum(p.numel() for p in mlp.parameters()) == 12 * 50 + 50 + 50 * 3 + 3
    with pytest.raises(ValueError, match=r"MLP\(12,\): give at least the input and the output"):
        nets.MLP(12)


def test_mlp_without_hidden_layer_is_linear():
    mlp = nets.MLP(4, 2)
    x, y = torch.randn(2, 5, 4)
    torch.testing.assert_close(mlp(x) + mlp(y), mlp(x + y) + mlp(torch.zeros(5, 4)))
