"""Devices that are not there: what a GPU refuses is found, and the notebooks ask for none of it."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pretend_device import Device
from torch import nn
from torch.autograd import forward_ad

from dvae_lib import data, metrics, paths, widgets
from dvae_lib.metrics import boosting

RUNNER = Path(__file__).with_name("run_pretended.py")
PATHS = sorted(paths.notebooks_folder().glob("*.ipynb"))


@pytest.fixture(params=["cuda", "mps"])
def device(request):
    with Device(request.param) as there:
        yield there


@pytest.fixture
def mps():
    with Device("mps") as there:
        yield there


MIXED = {  # x is a tensor (3, 4) of the device, c one of the CPU
    "a sum": lambda x, c: x + c,
    "a sum the other way": lambda x, c: c + x,
    "in place": lambda x, c: c.add_(x),
    "in place, a single number": lambda x, c: torch.tensor(1.0).add_(x[0, 0]),
    "a comparison": lambda x, c: torch.allclose(x, c),
    "a stack of single numbers": lambda x, c: torch.stack([x[0, 0], torch.tensor(1.0)]),
    "a product with what one_hot made": lambda x, c: F.one_hot(x.argmax(1)).float() @ c,
    "a layer left on the CPU": lambda x, c: nn.Linear(4, 2)(x),
    "a loss with targets on the CPU": lambda x, c: F.cross_entropy(x, torch.tensor([0, 1, 2])),
    "rows of the CPU by an index": lambda x, c: c[x.argmax(1)],
    "values of the CPU put at rows": lambda x, c: x.__setitem__([0, 1], c[:2]),
    "within a product of forward mode": lambda x, c: torch.func.jvp(lambda z: z * c, (x,), (x,)),
    "within vmap": lambda x, c: torch.func.vmap(lambda z: z @ c.T)(x),
}


@pytest.mark.parametrize("use", MIXED.values(), ids=MIXED)
def test_tensors_of_two_devices_do_not_mix(device, use):
    with pytest.raises(RuntimeError, match="same device"):
        use(torch.randn(3, 4, device=device), torch.ones(3, 4))


@pytest.mark.parametrize("use", [torch.Tensor.numpy, np.asarray, np.sqrt])
def test_numpy_does_not_get_at_the_device(device, use):
    with pytest.raises(TypeError, match="to numpy"):
        use(torch.ones(3, device=device))


DRAWS = {
    "of numbers": lambda d, g: torch.randn(3, device=d, generator=g),
    "of an order": lambda d, g: torch.randperm(3, device=d, generator=g),
    "of a tensor's like": lambda d, g: torch.ones(2, 3, device=d).multinomial(2, generator=g),
    "in place": lambda d, g: torch.ones(2, 3, device=d).normal_(generator=g),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_generator_of_the_cpu_does_not_draw_on_the_device(device, draw):
    with pytest.raises(RuntimeError, match="generator"):
        draw(device, torch.Generator().manual_seed(0))


FLOAT64 = {
    "double": lambda x, d: x.double(),
    "to": lambda x, d: x.to(torch.float64),
    "type": lambda x, d: x.type(torch.float64),
    "to the CPU in one step": lambda x, d: x.to("cpu", torch.float64),
    "a mean": lambda x, d: x.mean(dtype=torch.float64),
    "zeros": lambda x, d: torch.zeros(3, dtype=torch.float64, device=d),
    "new zeros": lambda x, d: x.new_zeros(3, dtype=torch.float64),
    "a list": lambda x, d: torch.tensor([1.0], dtype=torch.float64, device=d),
    "an array": lambda x, d: torch.tensor(np.ones(3), device=d),
    "an array as a tensor": lambda x, d: torch.as_tensor(np.ones(3), device=d),
    "moved there": lambda x, d: torch.ones(3, dtype=torch.float64).to(d),
    "a layer moved there": lambda x, d: nn.Linear(2, 2).double().to(d),
}


@pytest.mark.parametrize("use", FLOAT64.values(), ids=FLOAT64)
def test_only_one_device_lacks_float64(use):
    with Device("cuda") as device:
        use(torch.ones(3, device=device), device)
    with Device("mps") as device, pytest.raises(TypeError, match="float64"):
        use(torch.ones(3, device=device), device)


def test_only_one_device_lacks_logspace():
    with Device("cuda") as device:
        torch.logspace(0, 1, 3, device=device)
    with Device("mps") as device, pytest.raises(NotImplementedError, match="logspace"):
        torch.logspace(0, 1, 3, device=device)


def test_what_a_gpu_allows_is_allowed(device):
    x, c = torch.randn(3, 4, device=device), torch.ones(3, 4)
    half = torch.tensor(0.5, dtype=torch.float64)
    rows, mask = torch.tensor([0, 2]), torch.tensor([True, False, True])
    on_device = [x * half, half * x, x[rows], x[mask], x[[0, 2]], x.new_tensor([1.0]), c.to(x)]
    on_device += [torch.zeros_like(c, device=device), torch.tensor([1.0], device=device)]
    on_device += [torch.as_tensor([1.0], device=device), copy.deepcopy(x), x.new_zeros(2), x.T]
    on_device += [c.to(device=device, dtype=torch.float32), x.to(dtype=torch.int64)]
    assert {tensor.device for tensor in on_device} == {device}
    x[0], x[rows], x[mask] = c[0], 2.0, torch.tensor(3.0)
    c[1] = x[1]
    c.copy_(x)
    assert torch.equal(x.cpu(), c)
    on_cpu = [x.cpu(), x.to("cpu"), x.to(c), torch.zeros_like(x, device="cpu"), c]
    assert {tensor.device.type for tensor in on_cpu} == {"cpu"}
    assert x.cpu().double().numpy().tolist() == x.tolist() == c.tolist()
    assert (x.is_cpu, c.is_cpu) == (False, True)
    assert f"{x[0, 0]:.1f}" == f"{float(x[0, 0]):.1f}"


def test_gradients_of_both_modes_are_on_the_device(device):
    layer, x = nn.Linear(4, 2).to(device), torch.randn(3, 4, device=device)
    optimizer = torch.optim.Adam(layer.parameters())
    (layer(x).cpu() - torch.ones(3, 2)).square().sum().backward()
    optimizer.step()
    slopes = torch.autograd.grad(layer(x).square().sum(), layer.weight, create_graph=True)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, x))).tangent
    found = [layer.weight, layer.weight.grad, *slopes, tangent]
    found += torch.func.jvp(layer, (x,), (x,))
    found += [torch.func.vmap(torch.func.jacrev(layer))(x), copy.deepcopy(layer).weight]
    assert {tensor.device for tensor in found} == {device}
    assert layer.cpu().weight.device.type == "cpu"


# --- the library ---------------------------------------------------------------------------------


def test_metrics_are_the_same_without_float64(mps):
    factors = torch.cartesian_prod(torch.arange(4), torch.arange(5), torch.arange(10))
    codes = factors + 0.3 * torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    there = codes.to(mps), factors.to(mps)
    own, found = metrics.report(codes, factors), metrics.report(*there)
    assert found.scalars == own.scalars
    assert found.intervals == own.intervals
    pairs = [
        (lambda c, f: metrics.infomec(f, f).scalars),
        (lambda c, f: metrics.sap(c, f, form="r2").scalars),
        (lambda c, f: metrics.mig_of_posteriors(c, 0 * c - 2, f)[0]),
        (lambda c, f: metrics.posterior_entropies(c, 0 * c).tolist()),
        (lambda c, f: metrics.entropies(f).tolist()),
        (lambda c, f: metrics.discrete_information(f, f).tolist()),
        (lambda c, f: metrics.frechet_distance_of_features(c, c.sin())),
        (lambda c, f: boosting.fit(c, f, rounds=3).predict(c).tolist()),
        (lambda c, f: metrics.probe_r2(c, c.sin(), test=(c, c.sin()))),
    ]
    for measure in pairs:
        assert measure(*there) == measure(codes, factors)


def test_a_traversal_begins_at_the_same_sliders(mps):
    codes = torch.linspace(-2, 2, 12).view(4, 3)
    own, there = (
        widgets.traverse(lambda z: z[:, :, None, None], z) for z in (codes, codes.to(mps))
    )
    assert [s.value for s in there.sliders] == [s.value for s in own.sliders]


@pytest.mark.parametrize("name", ["sprites", "digits", "rooms", "faces"])
def test_images_do_not_depend_on_the_device(name, mps):
    size = {} if name == "digits" else {"n": 8}
    own, there = data.load(name, **size), data.load(name, **size, device=mps)
    assert there.images.device == mps
    assert torch.equal(there.images.cpu(), own.images)


# --- the notebooks -------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def failures_of():
    """`failures_of(path)`: what failed in a notebook on the GPU that refuses most."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    runner = subprocess.Popen([sys.executable, RUNNER], **pipes, text=True)

    def run(path):
        print(path, file=runner.stdin, flush=True)
        return json.loads(runner.stdout.readline())

    yield run
    runner.stdin.close()
    runner.wait()


@pytest.mark.notebook
@pytest.mark.parametrize(
    "path",
    [pytest.param(p, id=p.stem, marks=pytest.mark.xdist_group(p.stem)) for p in PATHS],
)
def test_a_notebook_runs_on_a_gpu_that_refuses_most(failures_of, path):
    assert failures_of(path) == []


def test_faults_planted_in_a_notebook_are_found(failures_of, tmp_path):
    cells = [
        'tier = "classroom"\nseed = 0\ndevice = "auto"',
        "import torch\nfrom dvae_lib import widgets, workbook\n"
        'run = workbook.start("planted", tier, seed, device)\n'
        "x, c = torch.zeros(3, 4, device=run.device), torch.zeros(3, 4)",
        "assert run.tier == 'smoke'",
        "x.double()",
        "widgets.traverse(lambda z: (z + c[:1])[:, :, None, None], x)",
        "x + 1",
    ]
    code = [nbformat.v4.new_code_cell(source) for source in cells]
    code[0].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=code), tmp_path / "planted.ipynb")
    found = failures_of(tmp_path / "planted.ipynb")
    assert [failure.split(":")[:2] for failure in found] == [
        ["cell 3", " TypeError"],
        ["cell 4", " RuntimeError"],
    ]
