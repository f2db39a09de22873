"""Fréchet distances against closed forms and scipy, and the networks that give the features."""

import math

import pytest
import torch
from torch import nn

from dvae_lib import data, features
from dvae_lib.metrics import frechet
from dvae_lib.metrics.frechet import frechet_distance_of_features as distance


def whitened(n, d, seed=0):
    """Features (n, d) whose sample mean is exactly 0 and whose sample covariance is exactly I."""
    x = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    x = x - x.mean(0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T


def test_diagonal_covariances_have_a_closed_form():
    s, t, mean = torch.tensor(
        [[1.0, 2.0, 0.5, 3.0], [1.5, 0.2, 0.5, 1.0], [1.0, 0.0, -2.0, 0.5]], dtype=torch.float64
    )
    measured = distance(whitened(50, 4) * s, whitened(70, 4, seed=1) * t + mean)
    assert measured == pytest.approx(float((mean**2).sum() + ((s - t) ** 2).sum()), rel=1e-9)


def test_dense_covariances_agree_with_sqrtm():
    linalg = pytest.importorskip("scipy.linalg")
    mix_a, mix_b = torch.randn(2, 6, 6, dtype=torch.float64)
    a, b = whitened(80, 6) @ mix_a, whitened(90, 6, seed=1) @ mix_b + 0.3
    cov_a, cov_b = mix_a.T @ mix_a, mix_b.T @ mix_b
    root = linalg.sqrtm((cov_a @ cov_b).numpy()).real
    expected = 6 * 0.09 + float(cov_a.trace() + cov_b.trace()) - 2 * root.trace()
    assert distance(a, b) == pytest.approx(expected, rel=1e-7)
    assert distance(b, a) == pytest.approx(expected, rel=1e-7)


def test_a_shift_adds_its_square_and_equal_sets_are_at_0():
    a, shift = torch.randn(60, 5), torch.tensor([1.0, -2.0, 0.0, 0.5, 3.0])
    assert distance(a, a) == pytest.approx(0, abs=1e-6)
    assert distance(a, a) >= 0
    assert distance(a, a + shift) == pytest.approx(float((shift**2).sum()), rel=1e-5)
    assert distance(a[:, :1], a[:, :1] + 2) == pytest.approx(4, rel=1e-5)  # a single feature


def test_a_rotation_of_both_changes_nothing():
    a, b = whitened(40, 5), whitened(50, 5, seed=1) * torch.arange(1, 6) + 1
    turn, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    assert distance(a @ turn, b @ turn) == pytest.approx(distance(a, b), rel=1e-9)


def test_singular_covariances():
    """Fewer samples than features; a constant feature; all samples equal."""
    a, b = torch.randn(10, 64), torch.randn(12, 64)
    assert 0 < distance(a, b) < math.inf
    assert distance(a, a) == pytest.approx(0, abs=1e-4)
    flat = whitened(30, 3) * torch.tensor([1.0, 0.0, 2.0])
    assert distance(flat, 2 * flat) == pytest.approx(1 + 4, rel=1e-7)
    assert distance(torch.ones(3, 2), torch.zeros(3, 2)) == pytest.approx(2)


def test_bias_falls_with_the_number_of_samples():
    """What the docstring warns of: two samples of one law are apart, large ones less."""
    values = [distance(torch.randn(n, 20), torch.randn(n, 20)) for n in (20, 200, 2000)]
    assert values[0] > 3 * values[1] > 9 * values[2] > 0


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ((1, 3), (4, 3), r"first features are \(1, 3\), expected \(N, D\) with N >= 2"),
        ((4, 3), (4,), r"second features are \(4,\)"),
        ((4, 3), (4, 5), "features of 3 and 5 dimensions"),
    ],
)
def test_shapes_that_do_not_fit(a, b, message):
    with pytest.raises(ValueError, match=message):
        distance(torch.zeros(a), torch.zeros(b))


def test_nan_is_refused():
    a = torch.zeros(4, 3)
    a[2, 1] = math.nan
    with pytest.raises(ValueError, match=r"second features\[2, \d+\] is nan; .*must be finite"):
        distance(torch.zeros(4, 3), a)


def test_images_pass_in_batches_and_in_evaluation_mode():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (50, 1, 4, 4), dtype=torch.uint8, generator=generator)
    others = torch.randint(128, (30, 1, 4, 4), dtype=torch.uint8, generator=generator)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.Dropout(0.5)).train()
    sets = {"others": others, "as floats": others / 255, "same": images}
    whole = frechet.frechet_distances(net, images, sets)
    assert net.training
    assert frechet.frechet_distances(net, images, sets, batch_size=7) == pytest.approx(whole)
    assert whole["others"] == pytest.approx(whole["as floats"])
    assert whole["same"] == pytest.approx(0, abs=1e-6)
    expected = distance(*(net[:2](x / 255) for x in (images, others)))
    assert whole["others"] == pytest.approx(expected)
    with pytest.raises(ValueError, match="others: images range over 0 to 127, expected 0 to 1"):
        frechet.frechet_distances(net, images, {"others": others.float()})


def test_small_net():
    digits = data.load("digits", coloured=True).split(0.25)[0]
    before = torch.get_rng_state()
    net = features.small_net(digits, steps=60, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    found = net(digits.floats(torch.arange(20)))
    assert found.shape == (20, 256)
    assert not net.training
    assert not found.requires_grad
    assert net.name == f"small net on {digits.name}, 60 steps, seed 3"
    again = features.small_net(digits, steps=60, seed=3)
    assert torch.equal(again(digits.floats(torch.arange(20))), found)

    first, second = digits.split(0.5)
    clean = second.floats()
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    sets = {sigma: (clean + sigma * noise).clamp(0, 1) for sigma in (0.0, 0.1, 0.3, 0.6)}
    distances = frechet.frechet_distances(net, first.images, sets)
    values = list(distances.values())
    assert values == sorted(values)
    assert values[-1] > 5 * values[0]


def test_small_net_learns_the_factors():
    """A linear readout of its features tells the digit, which chance does in 1 of 10."""
    train, test = data.load("digits").split(0.8)
    net = features.small_net(train, steps=150)
    onehot = nn.functional.one_hot(train.factors[:, 0]).float()
    weights = torch.linalg.lstsq(net(train.floats()), onehot, driver="gelsd").solution
    told = (net(test.floats()) @ weights).argmax(1) == test.factors[:, 0]
    assert told.double().mean() > 0.8


def test_inception_without_weights_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"inception_v3_google.*download=True.*small_net"):
        features.inception()


def test_inception(tmp_path, monkeypatch):
    """Random weights in the cache: pooled features, images prepared as the weights ask."""
    from torchvision.models import Inception_V3_Weights, inception_v3

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *a, **k: pytest.fail("downloads"))
    theirs = inception_v3(weights=None, init_weights=False).eval()
    (tmp_path / "checkpoints").mkdir()
    name = Inception_V3_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1]
    torch.save(theirs.state_dict(), tmp_path / "checkpoints" / name)
    net = features.inception()
    images = torch.rand(2, 3, 64, 64)
    found = frechet._features(net, images, 256, "images")
    assert found.shape == (2, 2048)
    # The weights ask for [-1, 1]; a random net's features are the input of its last layer.
    resized = nn.functional.interpolate(images, (299, 299), mode="bilinear")
    pooled = []
    theirs.fc.register_forward_hook(lambda module, inputs, output: pooled.append(inputs[0]))
    with torch.no_grad():
        theirs(2 * resized - 1)
    torch.testing.assert_close(found, pooled[0], atol=1e-3, rtol=1e-3)
    grey = frechet._features(net, images[:1, :1], 256, "grey")
    colour = frechet._features(net, images[:1, :1].expand(-1, 3, -1, -1), 256, "colour")
    torch.testing.assert_close(grey, colour)
