"""Sprites against real dSprites frames and against plain geometry."""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dvae_lib import data
from dvae_lib.data import sprites
from dvae_lib.data.factor_data import factors_of

CHECKSUMS = Path(__file__).parent / "data" / "dsprites_checksums.json"
SQUARE, ELLIPSE, HEART = range(3)


def grid(shape, scale, orientation, x, y):
    """Every combination of the given levels, as factors (M, 5)."""
    return torch.cartesian_prod(*map(torch.as_tensor, (shape, scale, orientation, x, y)))


def test_agree_with_real_frames():
    """320 frames of the original, known by their checksums; 4 hearts are known to differ."""
    rows = [line.split() for line in json.loads(CHECKSUMS.read_text())["frames"]]
    factors = torch.tensor([[int(word) for word in row[:5]] for row in rows])
    images = sprites.render(factors).numpy() // 255
    equal = np.array(
        [
            zlib.crc32(np.packbits(image).tobytes()) == int(row[5], 16)
            for image, row in zip(images, rows, strict=True)
        ]
    )
    hearts = factors[:, 0].numpy() == HEART
    assert (~hearts).sum() == 128
    assert equal[~hearts].all()
    assert hearts.sum() == 192
    assert equal[hearts].sum() >= 188


def test_an_image_depends_on_its_factors_alone():
    """Neither the size nor the order of a batch, nor the chunks inside, may change a pixel."""
    factors = grid(range(3), range(6), range(0, 40, 3), [5], [20])
    many = torch.cat([factors, grid([SQUARE], [3], [7], range(32), range(64))[:2048] % 32])
    together = sprites.render(many)[: len(factors)]
    alone = torch.cat([sprites.render(row) for row in factors.split(1)])
    assert torch.equal(together, alone)
    order = torch.randperm(len(factors), generator=torch.Generator().manual_seed(0))
    shuffled = torch.cat([sprites.render(part) for part in factors[order].split(7)])
    assert torch.equal(shuffled, together[order])


def test_orientation_runs_over_a_full_turn():
    first, last = (sprites.render(grid(range(3), range(6), [k], [3], [9])) for k in (0, 39))
    assert torch.equal(first, last)


@pytest.mark.parametrize("shape", range(3))
def test_a_level_of_x_is_32_31_of_a_pixel(shape):
    images = sprites.render(grid([shape], [5], [7], range(32), [16]))[:, 0]
    # 31 levels are 32 pixels, a whole number: there and back the image is the same to the bit.
    assert torch.equal(images[31], images[0].roll(32, dims=1))
    mass = images.double()
    centroid = (mass.sum(1) * torch.arange(64)).sum(1) / mass.sum((1, 2))
    assert torch.allclose(centroid.diff(), torch.full((31,), 32 / 31).double(), atol=0.15)


@pytest.mark.parametrize(
    ("shape", "area"), [(SQUARE, 0.3**2), (ELLIPSE, np.pi * 0.19948 * 0.112744), (HEART, None)]
)
def test_area_grows_with_the_square_of_the_scale(shape, area):
    """The mean count of pixels over positions is the area: in object units, for every scale."""
    units = []
    for scale in range(6):
        images = sprites.render(grid([shape], [scale], [7], range(32), range(0, 32, 8)))
        side = 64 * (0.5 + 0.1 * scale)
        units.append(float((images > 0).sum((1, 2, 3)).double().mean()) / side**2)
    assert units == pytest.approx([area or units[-1]] * 6, rel=0.01)


def test_positions_count_every_combination_once_with_y_fastest():
    factors = factors_of(torch.arange(737_280), sprites.SIZES)
    position = np.ravel_multi_index(factors.numpy().T, (3, 6, 40, 32, 32))
    assert np.array_equal(position, np.arange(737_280))


@pytest.mark.parametrize("n", [0, -1, 737_281, 1.5, "some"])
def test_a_wrong_number_of_sprites_is_an_error(n):
    with pytest.raises(ValueError, match="choose 1 to 737280 or 'all'"):
        sprites.load(n)


# --- the original file, in small ---------------------------------------------------------------


def test_coloured_sprites_are_sprites_in_one_light_colour_each():
    plain, coloured = sprites.load(200, seed=2), sprites.load(200, seed=2, variant="colour")
    assert torch.equal(coloured.factors, plain.factors)
    assert coloured.image_shape == (3, 64, 64)
    inside = plain.images > 0
    for image, mask, colour in zip(coloured.images, inside, coloured.bases, strict=True):
        assert torch.equal(image, mask * colour[:, None, None])
    # Uniform over 128 values: the mean of 600 is 191.5 with a standard error of 1.5.
    assert coloured.bases.min() >= 128
    assert coloured.bases.double().mean().item() == pytest.approx(191.5, abs=6)
    assert coloured.name == "sprites (colour)"


def test_sprites_on_noise_are_white_on_uniform_noise():
    plain, noisy = sprites.load(50, seed=2), sprites.load(50, seed=2, variant="noise")
    inside = (plain.images > 0).expand(-1, 3, -1, -1)
    assert (noisy.images[inside] == 255).all()
    ground = noisy.images[~inside].double()
    assert ground.mean().item() == pytest.approx(127.5, abs=1)
    assert ground.var().item() == pytest.approx((256**2 - 1) / 12, rel=0.01)
    assert len({image.numpy().tobytes() for image in noisy.images[:, :, 0]}) == 50


@pytest.mark.parametrize("variant", ["colour", "noise"])
def test_a_variant_is_drawn_again_from_its_bases(variant):
    data = sprites.load(20, seed=2, variant=variant)
    assert torch.equal(data.render(data.factors, data.bases), data.images)
    assert torch.equal(sprites.load(20, seed=2, variant=variant).images, data.images)
    moved = data.counterfactual(torch.tensor([3]), x=0)
    part = data.subset([3])
    levels = part.factors.clone()
    levels[0, 3] = 0
    assert torch.equal(moved, part.render(levels, part.bases))


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="variant 'scream'; choose plain, colour, noise, picture"):
        sprites.load(5, variant="scream")


@pytest.fixture
def photograph(tmp_path):
    """A picture of 100 by 90 pixels, and its path."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 100, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photograph.png")
    return pixels, tmp_path / "photograph.png"


def test_sprites_in_a_picture_are_the_negative_of_a_tinted_piece(photograph):
    """As disentanglement_lib makes its scream: ground (piece + tint) / 2, sprite 1 - ground."""
    pixels, path = photograph
    options = {"n": 20, "seed": 2, "variant": "picture", "picture": path}
    plain, data = sprites.load(20, seed=2), sprites.load(**options)
    assert torch.equal(plain.factors, data.factors)
    for image, sprite, (y, x, *tint) in zip(data.images, plain.images, data.bases, strict=True):
        ground = (pixels[y : y + 64, x : x + 64].astype(int) + [int(t) for t in tint]) // 2
        expected = np.where(sprite[0, :, :, None] > 0, 255 - ground, ground)
        assert np.array_equal(image.permute(1, 2, 0), expected)
    assert len(data.bases.unique(dim=0)) == 20
    assert torch.equal(data.render(data.factors, data.bases), data.images)
    assert torch.equal(sprites.load(**options).images, data.images)


def test_a_picture_that_is_none_or_too_small_is_named(photograph, tmp_path):
    small, words = tmp_path / "small.png", tmp_path / "words.png"
    Image.new("RGB", (300, 60)).save(small)
    words.write_text("no picture")
    for path, error, said in (
        (small, ValueError, "300 by 60 pixels"),
        (words, ValueError, "is no picture"),
        (tmp_path / "none.png", FileNotFoundError, "none.png"),
    ):
        with pytest.raises(error, match=said):
            sprites.load(5, variant="picture", picture=path)
    for options in ({"variant": "picture"}, {"picture": photograph[1]}):
        with pytest.raises(ValueError, match="give both or neither"):
            sprites.load(5, **options)


@pytest.fixture
def small_original(tmp_path, monkeypatch):
    """An npz as the original's, of its first 2,000 images alone."""
    monkeypatch.setattr(sprites, "N_ALL", 2000)
    images = sprites.render(factors_of(torch.arange(2000), sprites.SIZES))[:, 0].numpy() // 255
    path = tmp_path / "dsprites.npz"
    np.savez_compressed(path, imgs=images)
    return path, images


def test_the_original_reads_as_the_same_set(small_original):
    path, _ = small_original
    drawn, read = sprites.load(300, seed=3), sprites.dsprites(path, 300, seed=3)
    assert torch.equal(drawn.images, read.images)
    assert torch.equal(drawn.factors, read.factors)
    assert (drawn.name, read.name) == ("sprites", "dSprites")
    drawn, read = (
        data.load(name, n=20, variant="colour", **options)
        for name, options in (("sprites", {}), ("dsprites", {"path": path}))
    )
    assert torch.equal(drawn.images, read.images)


def truncate(path, images):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_bits(path, images):
    """Make the first compressed block one of a kind that does not exist."""
    content = bytearray(path.read_bytes())
    content[30 + sum(struct.unpack("<HH", content[26:30]))] = 0xFF
    path.write_bytes(content)


def not_an_archive(path, images):
    path.write_text("<html>not found</html>")


def too_few(path, images):
    np.savez_compressed(path, imgs=images[:100])


def another_order(path, images):
    np.savez_compressed(path, imgs=images[::-1])


def other_values(path, images):
    np.savez_compressed(path, imgs=images * 255)


def without_images(path, images):
    np.savez_compressed(path, pictures=images)


@pytest.mark.parametrize(
    "damage",
    [truncate, flip_bits, not_an_archive, too_few, another_order, other_values, without_images],
)
def test_a_wrong_original_is_an_error_that_names_it(small_original, damage):
    path, images = small_original
    damage(path, images)
    with pytest.raises(ValueError, match=r"dsprites\.npz"):
        sprites.dsprites(path, 100)


def test_a_missing_original_is_an_error_that_says_where_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.npz is missing .*dsprites-dataset"):
        sprites.dsprites(tmp_path / "nothing.npz", 100)
