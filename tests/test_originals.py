"""Small files in each original format, read back; damaged ones; downloads from a local server."""

import gzip
import hashlib
import http.server
import io
import math
import pickle
import re
import resource
import shutil
import struct
import sys
import tarfile
import threading
import zipfile

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import CIFAR10, CelebA

from dvae_lib.data import SETS, arrays, digits, load, originals, photographs, published, sprites
from dvae_lib.data.download import fetch
from dvae_lib.data.factor_data import factors_of

SIZES = (2, 3, 2, 2, 2, 3)  # of the small 3D Shapes: 144 images


def noise(n, height, width, seed=0):
    """Images (n, height, width, 3) of which no two are alike."""
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def labels_of(sizes):
    """Float labels (N, K) of every combination, the last factor fastest, with odd values."""
    return np.stack(
        np.meshgrid(*[np.arange(s) / 7 - 0.3 for s in sizes], indexing="ij"), -1
    ).reshape(-1, len(sizes))


def checksum(path, algorithm="sha256"):
    return f"{algorithm}:{hashlib.new(algorithm, path.read_bytes()).hexdigest()}"


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def replace_by_a_page(path):
    path.write_text("<html>quota exceeded</html>")


def assert_same(data, images, sizes, n, seed):
    """`data` holds n different images of the original, each with the factors of its position."""
    assert data.images.shape == (n, 3, *images.shape[1:3])
    position = np.ravel_multi_index(data.factors.numpy().T, sizes)
    assert len(set(position.tolist())) == n
    assert np.array_equal(data.images.permute(0, 2, 3, 1).numpy(), images[position])
    assert data.factor_sizes == sizes


def quarters(images, side):
    """Images (N, 2, 2, ...) with `side` pixels a side in the place of each pixel."""
    return images.repeat(side, 1).repeat(side, 2)


def assert_reduced(data, images):
    """`data` holds different ones of `images`, in the order of factors, reduced to 64 pixels."""
    position = np.ravel_multi_index(data.factors.numpy().T, data.factor_sizes)
    assert len(set(position.tolist())) == len(data)
    small = data.images.permute(0, 2, 3, 1).numpy().squeeze()
    # Far from the edges between the quarters, reducing changes nothing.
    for corner in (8, 56):
        place = corner * images.shape[1] // 64
        assert np.array_equal(small[:, corner, corner], images[position][:, place, place])


def test_every_set_is_described():
    for name, about in published.ABOUT.items():
        assert name in SETS
        assert list(about) == ["images", "factors", "source", "licence"]
        assert all(about.values())


def test_sizes_are_those_of_the_originals():
    assert math.prod(originals.SHAPES3D_SIZES) == 480_000
    assert math.prod(originals.FALCOR3D_SIZES) == 233_280
    assert math.prod(originals.ISAAC3D_SIZES) == 737_280
    assert math.prod(originals.CARS3D_SIZES) == 17_568
    assert math.prod(map(len, originals.SMALLNORB_VALUES)) == 48_600
    counts = {name: math.prod(map(len, v)) for name, v in originals.MPI3D_VALUES.items()}
    assert counts == {
        "toy": 1_036_800, "realistic": 1_036_800, "real": 1_036_800, "real_complex": 460_800
    }  # fmt: skip


# 3D Shapes


@pytest.fixture
def shapes3d(tmp_path, monkeypatch):
    """Writes a small 3dshapes.h5, which then counts as the published one."""
    monkeypatch.setattr(originals, "SHAPES3D_SIZES", SIZES)
    path = tmp_path / "3dshapes.h5"

    def write(images, labels):
        with h5py.File(path, "w") as file:
            file.create_dataset("images", data=images, chunks=(10, 32, 32, 1), compression="gzip")
            file.create_dataset("labels", data=labels)
        monkeypatch.setattr(originals, "SHAPES3D_CHECKSUM", checksum(path))
        return path

    return write


@pytest.mark.parametrize("n", [1, 40, "all"])
def test_3d_shapes(shapes3d, n):
    images = noise(144, 64, 64)
    path = shapes3d(images, labels_of(SIZES))
    data = originals.shapes3d(path, n=n, seed=3)
    assert_same(data, images, SIZES, 144 if n == "all" else n, 3)
    assert data.name == "3D Shapes"
    assert data.factor_values[1] == pytest.approx([-0.3, 1 / 7 - 0.3, 2 / 7 - 0.3])
    assert torch.equal(data.images, originals.shapes3d(path, n=n, seed=3).images)


@pytest.mark.parametrize("n", [2, 40])
def test_3d_shapes_reads_only_the_chunks_it_needs(shapes3d, monkeypatch, n):
    path = shapes3d(noise(144, 64, 64), labels_of(SIZES))
    rows = []
    blocks = originals._h5_blocks
    monkeypatch.setattr(
        originals, "_h5_blocks", lambda *a: (rows.append(b[0]) or b for b in blocks(*a))
    )
    data = originals.shapes3d(path, n=n, seed=1)
    position = np.ravel_multi_index(data.factors.numpy().T, SIZES)
    assert rows == sorted({int(p) // 10 * 10 for p in position})


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, replace_by_a_page])
def test_a_damaged_h5_is_named(shapes3d, damage):
    path = shapes3d(noise(144, 64, 64), labels_of(SIZES))
    damage(path)
    with pytest.raises(ValueError, match=r"3dshapes\.h5 is not the published .*get it again"):
        originals.shapes3d(path, n=5)


@pytest.mark.parametrize(
    "change",
    [
        lambda labels: labels[:100],
        lambda labels: labels[:, :5],
        lambda labels: labels[::-1, ::-1],
        lambda labels: labels * [1, 1, 0, 1, 1, 1],
        lambda labels: np.where(labels == labels[0], np.nan, labels),
    ],
)
def test_labels_that_do_not_match_the_sizes_are_named(shapes3d, change):
    path = shapes3d(noise(144, 64, 64), change(labels_of(SIZES)))
    with pytest.raises(ValueError, match=r"3dshapes\.h5: labels .* do not enumerate"):
        originals.shapes3d(path, n=5)


def test_3d_shapes_without_h5py_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[originals\]"'):
        originals.shapes3d(tmp_path / "3dshapes.h5")


# dSprites and MNIST


def test_dsprites_are_downloaded_and_read_as_sprites(server, tmp_path, monkeypatch):
    monkeypatch.setattr(sprites, "N_ALL", 500)
    first = sprites.render(factors_of(torch.arange(500), sprites.SIZES))[:, 0].numpy() // 255
    buffer = io.BytesIO()
    np.savez_compressed(buffer, imgs=first)
    server.content = buffer.getvalue()
    monkeypatch.setattr(sprites, "ORIGINAL_URL", server.url)
    path = tmp_path / "dsprites.npz"
    with pytest.raises(FileNotFoundError, match=r"dsprites\.npz is missing .*'sprites'"):
        sprites.dsprites(path, n=20)
    read, drawn = sprites.dsprites(path, n=20, seed=1, download=True), sprites.load(20, seed=1)
    assert torch.equal(read.images, drawn.images)
    assert torch.equal(sprites.dsprites(path, n=20, seed=1).images, drawn.images)
    assert len(server.ranges) == 1


def test_mnist_is_downloaded_and_verified(server, tmp_path, monkeypatch):
    """The server gives one file whatever the name: images and labels in turn."""
    images = np.random.default_rng(0).integers(0, 256, (7, 28, 28), np.uint8)
    packed = {
        "images": gzip.compress(struct.pack(">IIII", 2051, 7, 28, 28) + images.tobytes()),
        "labels": gzip.compress(struct.pack(">II", 2049, 7) + bytes(range(7))),
    }
    for name in digits.ORIGINALS:
        content = packed["images" if "images" in name else "labels"]
        monkeypatch.setitem(digits.ORIGINALS, name, ("", hashlib.md5(content).hexdigest()))

    def serve(url, path, checksum):
        server.content = packed["images" if "images" in url else "labels"]
        return fetch(server.url, path, checksum)

    monkeypatch.setattr(published, "fetch", serve)
    read = digits.mnist(tmp_path, download=True)
    assert torch.equal(read.images[:, 0, 2:30, 2:30], torch.from_numpy(images))
    assert read.factors[:, 0].tolist() == list(range(7))
    assert digits.mnist(tmp_path, coloured=True, download=True).image_shape == (3, 32, 32)
    assert len(server.ranges) == 2  # of the split alone, once
    with pytest.raises(FileNotFoundError, match=r"t10k-images-idx3-ubyte\.gz is missing"):
        digits.mnist(tmp_path, "test")
    packed["images"] += b"x"
    with pytest.raises(ValueError, match="not the published file"):
        digits.mnist(tmp_path / "altered", download=True)


# MPI3D

MPI3D_SMALL = tuple(tuple(range(size)) for size in (3, 2, 2, 1, 1, 2, 5))


@pytest.fixture
def mpi3d(tmp_path, monkeypatch):
    """A small real_complex of 120 images, read in blocks of 50, and its images."""
    monkeypatch.setitem(originals.MPI3D_VALUES, "real_complex", MPI3D_SMALL)
    monkeypatch.setattr(arrays, "BLOCK", 50 * 64 * 64 * 3)
    images = noise(120, 64, 64)
    path = tmp_path / "real3d.npz"
    np.savez(path, images=images)
    return path, images


@pytest.mark.parametrize("n", [7, "all"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_mpi3d(mpi3d, n, save):
    path, images = mpi3d
    save(path, images=images)
    data = originals.mpi3d(path, "real_complex", n=n, seed=2)
    assert_same(data, images, (3, 2, 2, 1, 1, 2, 5), 120 if n == "all" else n, 2)
    assert data.name == "MPI3D real_complex"
    assert data.factor_names[::6] == ("object_color", "vertical_axis")


@pytest.mark.parametrize("variant", originals.MPI3D_VALUES)
def test_an_mpi3d_of_another_size_is_named(tmp_path, variant):
    path = tmp_path / "mpi3d.npz"
    np.savez(path, images=noise(3, 64, 64))
    message = rf"mpi3d\.npz is damaged or not MPI3D {variant} .*\(3, 64, 64, 3\), expected"
    with pytest.raises(ValueError, match=message):
        originals.mpi3d(path, variant)


def strip_the_end(path):
    """An archive whose parts are whole but whose array ends early."""
    with zipfile.ZipFile(path) as archive:
        content = archive.read("images.npy")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", content[:-100_000])


def add_bytes(path):
    with zipfile.ZipFile(path) as archive:
        content = archive.read("images.npy")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", content + b"more")


def open_a_bracket(path):
    """NumPy parses the header with Python's tokeniser."""
    with zipfile.ZipFile(path) as archive:
        content = archive.read("images.npy")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", content.replace(b"64, 64, 3)", b"64, 64, 3(", 1))


def declare_terabytes(path):
    """A header that declares 4 TB before the bytes of 120 images."""
    header = io.BytesIO()
    shape = (360_000_000, 64, 64, 3)
    about = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, about)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", header.getvalue() + noise(120, 64, 64).tobytes())


def save_alone(path):
    with open(path, "wb") as file:
        np.save(file, noise(120, 64, 64))


def save_as_hdf5(path):
    with h5py.File(path, "w") as file:
        file["images"] = noise(120, 64, 64)


def replace_by_a_pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def save_signed(path):
    np.savez(path, images=noise(120, 64, 64).view(np.int8))


def save_columns_first(path):
    np.savez(path, images=np.asfortranarray(noise(120, 64, 64)))


def save_pictures(path):
    np.savez(path, pictures=noise(120, 64, 64))


def save_objects(path):
    np.savez(path, images=np.array([None] * 120))


@pytest.mark.parametrize(
    "damage",
    [
        *(truncate, flip_a_bit, replace_by_a_page, strip_the_end, add_bytes, open_a_bracket),
        *(save_signed, save_columns_first, save_pictures, save_objects, declare_terabytes),
    ],
)
def test_a_damaged_npz_is_named(mpi3d, damage):
    path, _ = mpi3d
    damage(path)
    with pytest.raises(ValueError, match=r"real3d\.npz is damaged or not MPI3D .*get it again"):
        originals.mpi3d(path, "real_complex", n=5)


@pytest.mark.parametrize(
    ("replace", "kind"),
    [
        (save_alone, r"a single NumPy array \(npy\)"),
        (save_as_hdf5, "an HDF5 file"),
        (replace_by_a_pointer, "a git-LFS pointer"),
        (replace_by_a_page, "a web page"),
        (lambda path: path.write_bytes(b""), "an empty file"),
    ],
)
def test_a_file_of_another_kind_says_what_it_is(tmp_path, replace, kind):
    path = tmp_path / "set.npz"
    replace(path)
    for loader in (originals.mpi3d, sprites.dsprites):
        with pytest.raises(ValueError, match=rf"set\.npz is damaged .*it is {kind}"):
            loader(path)


def test_an_unknown_variant_is_named(tmp_path):
    with pytest.raises(ValueError, match="no MPI3D variant 'big'; there are: toy, realistic, real"):
        originals.mpi3d(tmp_path, "big")


# Falcor3D and Isaac3D


@pytest.fixture(params=["falcor3d", "isaac3d"])
def renderings(request, tmp_path, monkeypatch):
    """(loader, folder, file of labels, images, sizes) of a small set with all its pictures."""
    name = request.param
    sizes = {"falcor3d": (2, 1, 3, 1, 1, 2, 2), "isaac3d": (3, 1, 2, 1, 1, 1, 2, 1, 2)}[name]
    monkeypatch.setattr(originals, f"{name.upper()}_SIZES", sizes)
    images = quarters(noise(24, 2, 2), 64)
    (tmp_path / "images").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "images" / f"{number:06}.png")
    labels = tmp_path / {"falcor3d": "train-rec.labels", "isaac3d": "labels.npy"}[name]
    with open(labels, "wb") as file:
        np.save(file, labels_of(sizes))
    return getattr(originals, name), tmp_path, labels, images, sizes


def test_renderings(renderings):
    load, folder, labels, images, sizes = renderings
    data = load(folder, n=10, seed=4)
    assert len(data) == 10
    assert data.factor_sizes == sizes
    assert_reduced(data, images)
    assert data.factor_values[0] == pytest.approx([k / 7 - 0.3 for k in range(sizes[0])])


def test_the_labels_of_renderings_are_optional(renderings):
    load, folder, labels, _, _ = renderings
    with_labels = load(folder, n=10)
    labels.unlink()
    without = load(folder, n=10)
    assert torch.equal(with_labels.images, without.images)
    assert torch.equal(with_labels.factors, without.factors)
    assert without.factor_values[-1] == (0, 1)


def test_only_the_pictures_asked_for_are_read(renderings):
    load, folder, *_, sizes = renderings
    data = load(folder, n=3)
    wanted = np.ravel_multi_index(data.factors.numpy().T, sizes).tolist()
    for number in set(range(24)) - set(wanted):
        (folder / "images" / f"{number:06}.png").unlink()
    assert torch.equal(load(folder, n=3).images, data.images)
    with pytest.raises(FileNotFoundError, match=r"0000\d\d\.png is missing .*unpack it again"):
        load(folder, n="all")


def other_size(path):
    Image.fromarray(noise(1, 128, 100)[0]).save(path)


@pytest.mark.parametrize("damage", [truncate, replace_by_a_page, other_size])
def test_a_damaged_picture_is_named(renderings, damage):
    load, folder, *_ = renderings
    damage(folder / "images" / "000007.png")
    with pytest.raises(ValueError, match=r"000007\.png .*unpack the archive again"):
        load(folder, n="all")


def declare_terabytes_of_labels(path):
    about = {"descr": "<f8", "fortran_order": False, "shape": (70_000_000_000, 7)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, about)


def archive(path):
    with open(path, "wb") as file:
        np.savez(file, labels=np.zeros(3))


@pytest.mark.parametrize(
    "damage", [truncate, replace_by_a_page, declare_terabytes_of_labels, archive]
)
def test_damaged_labels_are_named(renderings, damage):
    load, folder, labels, *_ = renderings
    damage(labels)
    with pytest.raises(ValueError, match=rf"{labels.name} is damaged .*unpack"):
        load(folder, n=3)


def test_labels_in_another_order_are_named(renderings):
    load, folder, labels, _, sizes = renderings
    with open(labels, "wb") as file:
        np.save(file, np.roll(labels_of(sizes), 1, 0))
    with pytest.raises(ValueError, match=rf"{labels.name}: labels .* do not enumerate"):
        load(folder, n=3)


# Cars3D and SmallNORB


@pytest.fixture
def cars3d(tmp_path, monkeypatch):
    """A small nips2015-analogy-data.tar.gz, and its images in the order of the factors."""
    monkeypatch.setattr(originals, "CARS3D_SIZES", (2, 3, 4))
    images = quarters(noise(24, 2, 2), 64)
    contents = {"data/cars/list.txt": b"car_1_mesh", "data/shapes48.mat": b"no car"}
    for car in (2, 0, 3, 1):  # in MATLAB's order of sides, azimuth before elevation
        views = images.reshape(2, 3, 4, 128, 128, 3)[:, :, car].transpose(2, 3, 4, 1, 0)
        file = io.BytesIO()
        savemat(file, {"im": views, "mask": views[:, :, 0] > 0}, do_compression=True)
        contents[f"data/cars/car_{car}_mesh.mat"] = file.getvalue()
    contents["data/sprites/sprite_1.mat"] = b"no car"
    path = tmp_path / "nips2015-analogy-data.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(originals, "CARS3D_CHECKSUM", checksum(path, "md5"))
    return path, images


@pytest.mark.parametrize("n", [9, "all"])
def test_cars3d(cars3d, n):
    path, images = cars3d
    data = originals.cars3d(path, n=n, seed=2)
    assert data.images.shape == (24 if n == "all" else n, 3, 64, 64)
    assert_reduced(data, images)
    assert data.factor_names == ("elevation", "azimuth", "car")
    assert data.factor_values[2] == tuple(f"car_{k}_mesh" for k in range(4))


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, replace_by_a_page])
def test_a_damaged_cars3d_is_named(cars3d, damage):
    path, _ = cars3d
    damage(path)
    with pytest.raises(ValueError, match=r"tar\.gz is not the published .*get it again"):
        originals.cars3d(path)


def test_cars3d_is_downloaded(cars3d, server, tmp_path, monkeypatch):
    path, images = cars3d
    server.content = path.read_bytes()
    monkeypatch.setattr(originals, "CARS3D_URL", server.url)
    assert_reduced(originals.cars3d(tmp_path / "new.tar.gz", download=True), images)


@pytest.fixture
def smallnorb(tmp_path, monkeypatch):
    """The six files of a small SmallNORB, and its images in the order of the factors."""
    values = (("car", "man"), (0, 1, 2, 3), (30, 35), (0, 20, 40), (0, 1))
    monkeypatch.setattr(originals, "SMALLNORB_VALUES", values)
    images = quarters(noise(96, 2, 2)[..., 0], 48)
    labels = np.stack(np.unravel_index(np.arange(96), (2, 4, 2, 3, 2)), 1).astype("<i4")
    order = np.random.default_rng(1).permutation(96)
    sums = {}
    for half, toys in (("training", (1, 3)), ("testing", (0, 2))):
        rows = [row for row in order if labels[row, 1] in toys]
        pairs = np.stack([images[rows], images[rows[::-1]]], 1)
        # A file's kind, sides (of which three are written at least) and content.
        parts = {
            "dat": b"\x55\x4c\x3d\x1e" + struct.pack("<5i", 4, 48, 2, 96, 96) + pairs.tobytes(),
            "cat": b"\x54\x4c\x3d\x1e"
            + struct.pack("<4i", 1, 48, 1, 1)
            + labels[rows, 0].tobytes(),
            "info": b"\x54\x4c\x3d\x1e"
            + struct.pack("<4i", 2, 48, 4, 1)
            + (labels[rows, 1:] * [1, 1, 2, 1]).astype("<i4").tobytes(),
        }
        sums[half] = {}
        for part, content in parts.items():
            path = tmp_path / f"{half}-{part}.mat.gz"
            path.write_bytes(gzip.compress(content))
            sums[half][part] = checksum(path)
    monkeypatch.setattr(originals, "SMALLNORB_CHECKSUMS", sums)
    return tmp_path, images


@pytest.mark.parametrize("n", [30, "all"])
def test_smallnorb(smallnorb, n):
    folder, images = smallnorb
    data = originals.smallnorb(folder, n=n, seed=2)
    assert data.images.shape == (96 if n == "all" else n, 1, 64, 64)
    assert_reduced(data, images)
    assert data.factor_names[::4] == ("category", "lighting")


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, replace_by_a_page])
@pytest.mark.parametrize("part", ["dat", "info"])
def test_a_damaged_smallnorb_is_named(smallnorb, damage, part):
    folder, _ = smallnorb
    damage(folder / f"testing-{part}.mat.gz")
    with pytest.raises(ValueError, match=rf"testing-{part}\.mat\.gz is not the published"):
        originals.smallnorb(folder)


def test_smallnorb_is_downloaded_file_by_file(smallnorb, tmp_path, monkeypatch):
    folder, images = smallnorb
    new = tmp_path / "new"
    new.mkdir()

    def fetch(url, path, checksum):
        place, _, name = url.rpartition("/")
        assert (place + "/", path.name) == (originals.SMALLNORB_URL, name)
        shutil.copy(folder / name, path)

    monkeypatch.setattr(published, "fetch", fetch)
    assert_reduced(originals.smallnorb(new, download=True), images)
    assert len(list(new.iterdir())) == 6


# CIFAR-10


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """A small CIFAR-10, unpacked, whose checksums torchvision takes for the right ones."""
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    images = noise(12, 32, 32)
    rows = images.transpose(0, 3, 1, 2).reshape(12, 3072)

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return checksum(folder / name, "md5").removeprefix("md5:")

    batches = [
        [
            f"data_batch_{k}",
            write(f"data_batch_{k}", {"data": rows[2 * k : 2 * k + 2], "labels": [k, 9]}),
        ]
        for k in range(1, 6)
    ]
    test = {"data": rows[:2], "labels": [3, 7]}
    meta = write("batches.meta", {"label_names": [f"kind {k}" for k in range(10)]})
    monkeypatch.setattr(CIFAR10, "train_list", batches)
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", write("test_batch", test)]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": meta})
    return tmp_path, images


def test_cifar10(cifar10):
    folder, images = cifar10
    train, test = photographs.cifar10(folder), photographs.cifar10(folder, split="test")
    assert np.array_equal(train.images.permute(0, 2, 3, 1).numpy(), images[2:])
    assert np.array_equal(test.images.permute(0, 2, 3, 1).numpy(), images[:2])
    assert train.factors[:, 0].tolist() == [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]
    assert test.factors[:, 0].tolist() == [3, 7]
    assert test.factor_values[0][7] == "kind 7"


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, lambda path: path.unlink()])
def test_a_damaged_cifar10_is_named(cifar10, damage):
    folder, _ = cifar10
    damage(folder / CIFAR10.base_folder / "data_batch_3")
    with pytest.raises(FileNotFoundError, match=r"missing or incomplete: .*'digits'") as caught:
        photographs.cifar10(folder)
    assert str(folder) in str(caught.value)


def test_cifar10_is_downloaded_and_unpacked(cifar10, server, tmp_path, monkeypatch):
    folder, _ = cifar10
    expected = photographs.cifar10(folder)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(folder / CIFAR10.base_folder, CIFAR10.base_folder)
    server.content = buffer.getvalue()
    monkeypatch.setattr(CIFAR10, "url", server.url)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(server.content).hexdigest())
    data = photographs.cifar10(tmp_path / "new", download=True)
    assert torch.equal(data.images, expected.images)
    photographs.cifar10(tmp_path / "new", download=True)
    assert len(server.ranges) == 1


# CelebA


@pytest.fixture
def celeba(tmp_path, monkeypatch):
    """A CelebA of 7 images (3 to train, 2, 2) in the original layout, and its attributes.

    Red is a pixel's column, green its row, blue 30 times the number of the image.
    """
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    attributes = np.random.default_rng(0).integers(0, 2, (7, 40))
    files = [f"{k:06}.jpg" for k in range(1, 8)]
    for k, file in enumerate(files):
        row, column = np.mgrid[:218, :178]
        picture = np.stack([column, row, np.full_like(row, 30 * k)], -1).astype(np.uint8)
        path = folder / "img_align_celeba" / file
        Image.fromarray(picture).save(path, quality=100, subsampling=0)
    names = " ".join(f"Attribute_{k}" for k in range(40))

    def table(header, rows):
        lines = [" ".join(map(str, [file, *row])) for file, row in zip(files, rows, strict=True)]
        return "\n".join([*header, *lines]) + "\n"

    # The original's line of names ends with a space, and so it does here.
    lists = {
        "list_attr_celeba.txt": table(["7", f"{names} "], 2 * attributes - 1),
        "identity_CelebA.txt": table([], [[7]] * 7),
        "list_bbox_celeba.txt": table(["7", "image_id x_1 y_1 width height"], [[1, 2, 3, 4]] * 7),
        "list_landmarks_align_celeba.txt": table(["7", "lefteye_x lefteye_y"], [[5, 6]] * 7),
        "list_eval_partition.txt": table([], [[k] for k in (0, 0, 0, 1, 1, 2, 2)]),
    }
    sums = []
    for name, text in lists.items():
        (folder / name).write_text(text)
        sums.append(("", hashlib.md5(text.encode()).hexdigest(), name))
    monkeypatch.setattr(CelebA, "file_list", sums)
    return tmp_path, attributes


@pytest.mark.parametrize(
    ("split", "rows"), [("train", (0, 1, 2)), ("valid", (3, 4)), ("test", (5, 6))]
)
def test_celeba(celeba, split, rows):
    folder, attributes = celeba
    data = photographs.celeba(folder, split=split, n="all", size=37)
    assert data.images.shape == (len(rows), 3, 37, 37)
    position = 4 * torch.arange(37) + 1.5  # of the mean of 4 pixels in the central square
    for image, row in zip(data.images, rows, strict=True):
        # JPEG rounds, and at its edges the filter sees one side only; the mean is sharper.
        for difference in (image[0] - 15 - position, image[1].T - 35 - position):
            assert difference.abs().max() <= 2
            assert abs(difference.mean()) < 0.4
        assert (image[2] - 30.0 * row).abs().max() <= 2
    assert np.array_equal(data.factors.numpy(), attributes[list(rows)])
    assert data.factor_names == tuple(f"Attribute_{k}" for k in range(40))
    assert data.factor_sizes == (2,) * 40


def test_celeba_draws_n_images(celeba):
    folder, attributes = celeba
    data = photographs.celeba(folder, n=2, seed=5)
    assert data.images.shape == (2, 3, 64, 64)
    for image, factors in zip(data.images, data.factors.numpy(), strict=True):
        row = round(float(image[2].float().mean()) / 30)
        assert np.array_equal(factors, attributes[row])


def test_a_damaged_celeba_is_named(celeba):
    folder, _ = celeba
    images = folder / "celeba" / "img_align_celeba"
    truncate(images / "000002.jpg")
    with pytest.raises(ValueError, match=r"000002\.jpg is damaged"):
        photographs.celeba(folder, n="all")
    (images / "000002.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"000002\.jpg is missing .*unpack it again"):
        photographs.celeba(folder, n="all")
    flip_a_bit(folder / "celeba" / "list_attr_celeba.txt")
    with pytest.raises(FileNotFoundError, match=r"missing or incomplete: .*'faces'"):
        photographs.celeba(folder, n="all")


# What all have in common


@pytest.mark.parametrize("name", published.ABOUT)
def test_a_missing_original_is_an_error_that_says_what_to_do(tmp_path, name):
    path = tmp_path / "nothing"
    with pytest.raises(FileNotFoundError) as caught:
        load(name, path=path)
    for part in (path, published.ABOUT[name]["source"], f"'{published.OFFLINE[name]}'"):
        assert str(part) in str(caught.value)
    assert not path.exists()


def test_n_may_be_an_integer_of_numpy(mpi3d):
    assert len(originals.mpi3d(mpi3d[0], "real_complex", n=np.int64(5))) == 5


@pytest.mark.parametrize("n", [0, -1, 121, 2.5, "some", True, np.int64(121)])
def test_a_wrong_n_is_named(mpi3d, n):
    message = re.escape(f"n = {n!r} images; choose 1 to 120 or 'all'")
    with pytest.raises(ValueError, match=message):
        originals.mpi3d(mpi3d[0], "real_complex", n=n)


@pytest.mark.parametrize("load", [photographs.cifar10, photographs.celeba])
def test_an_unknown_split_is_named(tmp_path, load):
    with pytest.raises(ValueError, match="split 'all'; choose 'train'"):
        load(tmp_path, split="all")


@pytest.mark.parametrize("load", [originals.shapes3d, originals.mpi3d])
def test_a_folder_in_place_of_a_file_is_named(tmp_path, load):
    with pytest.raises(FileNotFoundError, match="is a folder; give the path of the file in it"):
        load(tmp_path, download=True)


def test_real_complex_has_to_be_got_by_hand(tmp_path):
    with pytest.raises(FileNotFoundError, match="disentanglement_dataset by hand"):
        originals.mpi3d(tmp_path / "real3d.npz", "real_complex", download=True)


# Downloads


class Server(http.server.ThreadingHTTPServer):
    """Serves `content`, stops after `limit` bytes of an answer, or answers `status`."""

    daemon_threads = True
    content, limit, status, knows_ranges = b"", None, None, True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges = []
        self.url = f"http://127.0.0.1:{self.server_port}/file"


class Handler(http.server.BaseHTTPRequestHandler):
    timeout = 10

    def do_GET(self):
        server, asked = self.server, self.headers["Range"]
        server.ranges.append(asked)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.knows_ranges else 0
        content = server.content[start:]
        past_the_end = start and not content
        self.send_response(server.status or (416 if past_the_end else 206 if start else 200))
        if past_the_end:
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: server.limit])

    def log_message(self, *arguments):
        """Nothing to stderr."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    server.content = np.random.default_rng(0).bytes(3_000_000)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join(10)
    server.server_close()


def sha256(server):
    return f"sha256:{hashlib.sha256(server.content).hexdigest()}"


def test_a_download_arrives_whole_and_is_not_repeated(server, tmp_path):
    path = tmp_path / "new folder" / "file.bin"
    fetch(server.url, path, sha256(server))
    fetch(server.url, path, sha256(server))
    assert path.read_bytes() == server.content
    assert list(path.parent.iterdir()) == [path]
    assert server.ranges == [None]


@pytest.mark.parametrize("knows_ranges", [True, False])
@pytest.mark.parametrize("with_checksum", [True, False])
def test_a_broken_download_goes_on_where_it_stopped(server, tmp_path, knows_ranges, with_checksum):
    """A server that knows no ranges sends everything once more, which must not be appended."""
    path, expected = tmp_path / "file.bin", sha256(server) if with_checksum else None
    server.limit, server.knows_ranges = 1_200_000, knows_ranges
    with pytest.raises(ConnectionError, match="after 1200000 of 3000000 bytes.*call again"):
        fetch(server.url, path, expected)
    assert not path.exists()
    server.limit = None
    fetch(server.url, path, expected)
    assert path.read_bytes() == server.content
    assert list(tmp_path.iterdir()) == [path]
    assert server.ranges == [None, "bytes=1200000-"]


def test_a_part_that_is_complete_is_put_in_place(server, tmp_path):
    path = tmp_path / "file.bin"
    (tmp_path / "file.bin.part").write_bytes(server.content)
    fetch(server.url, path)
    assert path.read_bytes() == server.content


def test_a_part_longer_than_the_file_is_removed(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(server.content + b"more")
    with pytest.raises(ConnectionError, match="longer than the file .*call again"):
        fetch(server.url, tmp_path / "file.bin")
    fetch(server.url, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == server.content


def test_a_wrong_checksum_leaves_nothing_behind(server, tmp_path):
    with pytest.raises(ValueError, match="is not the published file: its sha256 is"):
        fetch(server.url, tmp_path / "file.bin", "sha256:" + "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_never_replaced(server, tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"file\.bin is not the published file.*delete it"):
        fetch(server.url, path, sha256(server))
    assert path.read_bytes() == b"mine"
    assert server.ranges == []


def test_a_server_error_keeps_what_arrived(server, tmp_path):
    part = tmp_path / "file.bin.part"
    part.write_bytes(server.content[:1000])
    server.status = 503
    with pytest.raises(ConnectionError, match=r"failed \(HTTP 503\).*call again"):
        fetch(server.url, tmp_path / "file.bin")
    assert part.read_bytes() == server.content[:1000]


def test_a_full_disk_keeps_what_arrived(server, tmp_path):
    """The limit is the system's own and, as a full disk does, ends a write midway."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"could not write .*file\.bin\.part.*Free some space"):
            fetch(server.url, tmp_path / "file.bin", sha256(server))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    fetch(server.url, tmp_path / "file.bin", sha256(server))
    assert (tmp_path / "file.bin").read_bytes() == server.content
    assert server.ranges[1] is not None


def test_no_network_names_the_set_to_use_instead(server, tmp_path, monkeypatch):
    monkeypatch.setattr(originals, "SHAPES3D_URL", "http://127.0.0.1:9/")  # no one listens
    with pytest.raises(ConnectionError, match=r"Connection refused.*data\.load\('rooms'\)"):
        originals.shapes3d(tmp_path / "3dshapes.h5", n=5, download=True)


def test_originals_are_downloaded_when_asked_to(server, shapes3d, tmp_path, monkeypatch):
    images = noise(144, 64, 64)
    path = shapes3d(images, labels_of(SIZES))
    server.content = path.read_bytes()
    monkeypatch.setattr(originals, "SHAPES3D_URL", server.url)
    data = originals.shapes3d(tmp_path / "again.h5", n=20, download=True)
    assert_same(data, images, SIZES, 20, 0)
