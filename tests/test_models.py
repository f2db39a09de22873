"""Kept weights: halved, stored together, opened by a reader, and refused where they do not fit."""

import re

import pytest
import torch
from torch import nn

from dvae_lib import models, paths, workbook
from dvae_lib.training import History


def network(width=8):
    layers = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Linear(6, 2))
    return layers.to(memory_format=torch.channels_last)


@pytest.fixture
def trained(checkout):
    """A network that was trained at tier long and stored, and a run at tier classroom."""
    torch.manual_seed(0)
    module = network()
    module(torch.randn(5, 1, 8, 8))  # so that batch normalisation has seen something
    run = workbook.start("demo", "long", 3, "cpu")
    history = History(steps=[500, 1000], seconds=90.0, devices=["CPU, 1 thread"])
    run.keep("VAE", module, history)
    run.keep("plain AE", network(4), history)
    folder = run.folder / "models"
    assert models.gather("demo", folder, "0123456789abcdef", "a processor")
    return module, workbook.start("demo", "classroom", 0, "cpu")


def test_stored_weights_are_those_that_were_kept_to_half_precision(trained):
    module, run = trained
    here = network()
    before = {name: value.clone() for name, value in here.state_dict().items()}
    opened = run.stored("VAE", here)
    assert opened.stored
    assert opened.label == "stored long run"
    assert not opened.module.training
    for name, value in module.state_dict().items():
        # Half precision has 11 bits: relative error at most 2^-11.
        torch.testing.assert_close(opened.module.state_dict()[name], value, rtol=2**-11, atol=6e-8)
        assert torch.equal(here.state_dict()[name], before[name])
    assert opened.module[0].weight.dtype == torch.float32
    assert run.stored("plain AE", network(4)).stored


def test_a_reader_is_told_whose_weights_these_are(trained):
    _, run = trained
    assert repr(run.stored("VAE", network())) == (
        "VAE: stored weights, tier long, seed 3, 1,000 steps in 1.5 minutes on CPU, 1 thread "
        "(a processor), commit 0123456789ab"
    )


def test_weights_that_do_not_fit_are_said_and_not_used(trained):
    _, run = trained
    wider, other = network(9), nn.Sequential(nn.Conv2d(1, 8, 3))
    for name, module, reason in (
        ("VAE", wider, r"of another network \(0.weight is \(9, 1, 3, 3\) here and \(8, 1, 3, 3\)"),
        ("VAE", other, r"of another network \(1.bias is in one of the two alone"),
        ("GAN", wider, "no weights of this name are stored"),
    ):
        opened = run.stored(name, module)
        assert opened.module is module
        assert not opened.stored
        assert opened.label == "trained here"
        assert re.match(f"{name}: trained here, tier classroom; .*{reason}", repr(opened))
    long = workbook.start("demo", "long", 0, "cpu").stored("VAE", wider)
    assert "this is the tier whose weights are stored" in repr(long)


def test_without_stored_weights_a_notebook_goes_on_with_its_own(checkout):
    module = network()
    opened = workbook.start("demo", "smoke", 0, "cpu").stored("VAE", module)
    assert opened.module is module
    assert repr(opened) == "VAE: trained here, tier smoke; no weights are stored"


def test_damaged_weights_name_their_file(trained):
    _, run = trained
    path = paths.models_path("demo")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"demo\.safetensors are damaged .*get them anew"):
        run.stored("VAE", network())


def test_a_name_with_a_slash_is_refused(checkout):
    with pytest.raises(ValueError, match="'AE/plain' of a model holds a slash"):
        workbook.start("demo", "long", 0, "cpu").keep("AE/plain", network())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 70_000.0])
def test_weights_that_half_precision_cannot_hold_are_refused(checkout, value):
    module = network()
    nn.init.constant_(module[2].bias, value)
    run = workbook.start("demo", "long", 0, "cpu")
    with pytest.raises(ValueError, match=r"2\.bias of VAE holds NaN or a value above 65504"):
        run.keep("VAE", module)
    assert not run.folder.exists()


def test_too_many_weights_are_refused_and_the_stored_ones_stay(trained):
    path = paths.models_path("demo")
    before = path.read_bytes()
    run = workbook.start("demo", "long", 4, "cpu")
    run.keep("large", nn.Linear(1000, 1001))  # 1,002,001 numbers of two bytes
    with pytest.raises(ValueError, match="demo take 2,004,002 bytes; at most 2,000,000 are stored"):
        models.gather("demo", run.folder / "models", "commit", "processor")
    assert path.read_bytes() == before
    assert models.gather("demo", run.folder / "nothing", "commit", "processor") is None
