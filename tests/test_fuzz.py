"""Odd inputs at random: the right number, or an error that names what is wrong with them.

Right is told by what no metric of codes may depend on, by counting in plain Python, and by logs.
"""

import collections
import gzip
import hashlib
import io
import math
import re
import resource
import struct
import sys
import warnings

import numpy as np
import pandas
import pytest
import torch

from dvae_lib import metrics, objectives
from dvae_lib.data import arrays, digits, originals, sprites
from dvae_lib.data.factor_data import choose, factors_of

MEMORY = 2 * 2**30  # bytes
# Those that predict, on the samples that they were fitted to: what is held out goes by the order.
METRICS = {
    "mig": lambda z, v: metrics.mig(z, v, bins=3),
    "modularity": lambda z, v: metrics.modularity(z, v, bins=3),
    "infomec": metrics.infomec,
    "factorvae": lambda z, v: metrics.factorvae_score(z, v, votes=200),
    "explicitness": lambda z, v: metrics.explicitness(z, v, test=(z, v)),
    "sap": lambda z, v: metrics.sap(z, v, test=(z, v)),
    "sap r2": lambda z, v: metrics.sap(z, v, test=(z, v), form="r2"),
    "dci": lambda z, v: metrics.dci(z, v, test=(z, v)),
}
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


@pytest.fixture(autouse=True)
def _bounded_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "InfoC is 1 whatever the codes")
        yield
    unit = 1 if sys.platform == "darwin" else 1024
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < MEMORY


def sample(rng):
    """Float codes (N, L) and factors (N, K) of a random size, related or not; no column constant.

    From 3 samples on, with as many levels as samples at most.
    """
    n, n_factors, n_axes = rng.integers([3, 1, 1], [60, 4, 5])
    v = rng.integers(0, rng.integers(2, 8), (n, n_factors))
    v[0], v[1] = 0, 1
    z = v[:, rng.integers(0, n_factors, n_axes)] + rng.choice([0.1, 3]) * rng.normal(
        size=(n, n_axes)
    )
    return torch.from_numpy(z), torch.from_numpy(v)


def same(score, other, tolerance=1e-9):
    assert score.scalars == pytest.approx(other.scalars, abs=tolerance)
    np.testing.assert_allclose(score.matrix, other.matrix, atol=tolerance)


@every_metric
@pytest.mark.parametrize("seed", range(3))
def test_names_of_levels_powers_of_two_and_containers_change_nothing(metric, seed):
    rng = np.random.default_rng(seed)
    z, v = sample(rng)
    expected = metric(z, v)
    assert all(-1 <= x <= 1 + 1e-9 or name == "InfoE" for name, x in expected.scalars.items())
    assert torch.isfinite(expected.matrix).all()
    if metric is not METRICS["sap r2"]:  # for which levels are numbers
        names = np.unique(rng.integers(-(2**63), 2**63 - 1, 8))
        same(metric(z, torch.from_numpy(names)[v]), expected)
    scale = 2.0 ** rng.integers(-400, 400)
    if metric is not METRICS["sap"]:  # which has units
        same(metric(z * scale, v), expected)
        offset = float(rng.choice([1, -1])) * 10.0 ** rng.integers(0, 9)
        assert metric(z + offset, v).scalars == pytest.approx(expected.scalars, abs=5e-3)
    for container in (np.asarray, pandas.DataFrame, np.ndarray.tolist):
        same(metric(container(z.numpy()), container(v.numpy())), expected)
    if metric is METRICS["factorvae"]:  # which draws rows by their number, and has ties
        return
    order, axes = (torch.from_numpy(rng.permutation(size)) for size in z.shape)
    moved = [metric(z[:, axes], v)]
    if metric is not METRICS["dci"]:  # whose trees have ties between splits
        moved.append(metric(z[order], v[order]))
    for score in moved:
        assert score.scalars == pytest.approx(expected.scalars, abs=5e-3)


@every_metric
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "uint64", "bool", "float16"])
def test_dtypes_change_nothing(metric, dtype):
    rng = np.random.default_rng(1)
    z, v = rng.integers(0, 2, (2, 40, 3))
    z[:, 0] = np.where(rng.random(40) < 0.9, v[:, 0], z[:, 0])
    plain = z.astype(float if dtype == "float16" else int)
    same(metric(z.astype(dtype), v), metric(plain, v))
    if dtype != "float16":
        same(metric(plain, v.astype(dtype)), metric(plain, v))


def plain_information(a, b):
    """I(a; b) in nats and H(b) of two lists, counted."""
    n, joint = len(a), collections.Counter(zip(a, b, strict=True))
    p, q = collections.Counter(a), collections.Counter(b)
    information = sum(c / n * math.log(c * n / (p[x] * q[y])) for (x, y), c in joint.items())
    return information, -sum(c / n * math.log(c / n) for c in q.values())


@pytest.mark.parametrize("seed", range(5))
def test_information_of_labels_is_counted_right(seed):
    """Among them columns with a value of its own for each of 20,000 samples."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([2, 3, 50, 20_000]))
    z, v = (rng.integers(-9, rng.choice([2, 2**40]), (n, 2)) for _ in "zv")
    v[:2] = [[0, 0], [1, 1]]
    normalised = metrics.mig(torch.from_numpy(z), torch.from_numpy(v)).matrix
    for i, j in np.ndindex(2, 2):
        information, entropy = plain_information(z[:, j].tolist(), v[:, i].tolist())
        assert normalised[i, j].item() == pytest.approx(information / entropy, abs=1e-9)


def spoil(rng, z, v):
    """Codes and factors with one thing wrong, and what the error has to name."""
    row, axis = (int(rng.integers(side)) for side in z.shape)
    value = rng.choice([math.nan, math.inf, -math.inf, 1e151, -1e300])
    wrong = z.clone()
    wrong[row, axis] = value
    small = z.clone()
    small[:, axis] = z[:, axis] * 1e-200
    return {
        f"codes[{row}, {axis}] is {float(value)}": (wrong, v),
        f"codes[:, {axis}] spread over": (small, v),
        "complex128": (z * 1j, v),
        "factors are torch.float64": (z, v.double()),
        "factor 0 has one level": (z, v * 0),
        f"codes of shape ({len(z)},)": (z[:, 0], v),
        f"codes of shape ({len(z)}, 0)": (z[:, :0], v),
        f"{len(z)} codes for {len(v) - 1}": (z, v[1:]),
        "1 sample": (z[:1], v[:1]),
        "codes are object": (pandas.DataFrame(z.numpy()).astype(object), v),
        "codes are <U": (np.asarray(z).astype(str), v),
        "inhomogeneous": ([[1.0], [1.0, 2.0], *z.tolist()[2:]], v),
    }


@every_metric
@pytest.mark.parametrize("seed", range(3))
def test_wrong_inputs_are_refused_by_name(metric, seed):
    rng = np.random.default_rng(seed)
    for named, (z, v) in spoil(rng, *sample(rng)).items():
        with pytest.raises((ValueError, TypeError)) as caught:
            metric(z, v)
        assert named in str(caught.value)


def log_exp(*logs):
    """exp of a sum of logs, infinite where float64 is too small."""
    try:
        return math.exp(sum(logs))
    except OverflowError:
        return math.inf


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_densities_of_any_scale(dtype):
    """Against the same closed form, written in logs of plain floats."""
    rng = np.random.default_rng(0)
    largest = torch.finfo(dtype).max
    for _ in range(400):
        means = torch.tensor(rng.choice([0, 1, -1], 2) * 10.0 ** rng.uniform(-12, 6, 2)).to(dtype)
        log_var = torch.tensor(rng.choice([1, 100, 1000]) * rng.normal(size=1)).to(dtype)
        found = objectives.gaussian_log_density(means[:1], means[1:], log_var).item()
        apart, log_var = float(means[0] - means[1]), float(log_var)
        squared = log_exp(2 * math.log(abs(apart)), -log_var) if apart else 0.0
        expected = -0.5 * (math.log(2 * math.pi) + log_var + squared)
        if expected < -largest / 4:
            assert found < -largest / 8
        else:
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


# Files


def mutate(rng, content):
    """The bytes of a file after an accident."""
    content, place = bytearray(content), int(rng.integers(len(content)))
    match rng.integers(6):
        case 0:
            content[place] ^= 1 << int(rng.integers(8))
        case 1:
            del content[place:]
        case 2:
            content[place:place] = rng.bytes(int(rng.integers(1, 99)))
        case 3:
            del content[place : place + int(rng.integers(1, 99))]
        case 4:  # in a header, of the archive or of the array
            content[int(rng.integers(200))] = int(rng.integers(256))
        case 5:
            content[-int(rng.integers(1, 200))] = int(rng.integers(256))
    return bytes(content)


def packed(**images):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **images)
    return buffer.getvalue()


def load_mpi3d(folder, monkeypatch):
    monkeypatch.setitem(
        originals.MPI3D_VALUES, "toy", tuple((0, 1)[:s] for s in (2, 2, 2) + 4 * (1,))
    )
    monkeypatch.setattr(arrays, "BLOCK", 3 * 64 * 64 * 3)
    images = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8)
    return "set.npz", packed(images=images), lambda: originals.mpi3d(folder / "set.npz", "toy", n=8)


def load_dsprites(folder, monkeypatch):
    monkeypatch.setattr(sprites, "N_ALL", 40)
    images = sprites.render(factors_of(torch.arange(40), sprites.SIZES))[:, 0].numpy() // 255
    return "set.npz", packed(imgs=images), lambda: sprites.dsprites(folder / "set.npz", n=40)


def load_mnist(folder, monkeypatch):
    contents = {
        "t10k-images-idx3-ubyte": struct.pack(">IIII", 2051, 9, 28, 28) + bytes(range(256)) * 28,
        "t10k-labels-idx1-ubyte": struct.pack(">II", 2049, 9) + bytes(range(9)),
    }
    contents["t10k-images-idx3-ubyte"] = contents["t10k-images-idx3-ubyte"][: 16 + 9 * 784]
    (folder / "MNIST/raw").mkdir(parents=True)
    for name, content in contents.items():
        zipped = gzip.compress(content, mtime=0)
        sums = [hashlib.md5(part).hexdigest() for part in (content, zipped)]
        monkeypatch.setitem(digits.ORIGINALS, name, tuple(sums))
        (folder / f"MNIST/raw/{name}.gz").write_bytes(zipped)
    name = "MNIST/raw/t10k-images-idx3-ubyte.gz"
    return name, (folder / name).read_bytes(), lambda: digits.mnist(folder, "test")


@pytest.mark.parametrize("make", [load_mpi3d, load_dsprites, load_mnist])
def test_a_damaged_file_gives_its_images_or_an_error_that_names_it(make, tmp_path, monkeypatch):
    name, content, load = make(tmp_path, monkeypatch)
    path, rng, refused = tmp_path / name, np.random.default_rng(0), []
    path.write_bytes(content)
    whole = load().images
    for _ in range(60):
        path.write_bytes(mutate(rng, content))
        try:
            found = load().images
        except ValueError as error:
            refused.append(str(error))
        else:
            assert torch.equal(found, whole)
    assert len(refused) > 30
    assert all(path.name in message for message in refused)


@pytest.mark.parametrize("kind", [int, float, bool, np.int64, np.uint8, np.float32, np.bool_, str])
def test_any_n_gives_that_many_rows_or_is_named(kind):
    for n in map(kind, (0, 1, 7, 40, 41)):
        if kind in (int, np.int64, np.uint8) and 1 <= n <= 40:
            assert len(choose(n, 40, 0).unique()) == n
        else:
            with pytest.raises(ValueError, match=re.escape(f"n = {n!r} images; choose 1 to 40")):
                choose(n, 40, 0)
