"""Trainings side by side: the same networks, from processes that end with their parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from dvae_lib import parallel, training

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or torch.cuda.is_available(), reason="trainings are forked on Linux"
)
STEPS = 40


class Noise:
    """batches[step]: pictures of noise."""

    def __repr__(self):
        return "Noise"

    def __getitem__(self, step):
        return (torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(step)),)


def job(folder, seed, at_step=lambda: None):
    """A training that draws, with momentum, a falling rate and a running average."""
    return train, folder, seed, at_step


def train(folder, seed, at_step):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 3, 3))
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)

    def loss(batch):
        at_step()
        noisy = batch[0] + torch.randn_like(batch[0])
        return {"loss": net(noisy).square().mean()}

    player = training.Player(loss, optimizer, scheduler=schedule)
    where = folder / f"{seed}.safetensors"
    history = training.train(net, player, Noise(), STEPS, checkpoint=where, checkpoint_every=10)
    return net, history, torch.rand(1), os.getpid()


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    monkeypatch.delenv("DVAE_CORES", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def assert_same(results, expected):
    assert list(results) == list(expected)
    for name, (net, history, drawn, process) in results.items():
        for mine, theirs in zip(
            net.state_dict().values(), expected[name][0].state_dict().values(), strict=True
        ):
            assert torch.equal(mine, theirs), name
        assert (history.steps, history.scalars) == (
            expected[name][1].steps,
            expected[name][1].scalars,
        )
        assert torch.equal(drawn, expected[name][2])  # what is drawn next is the same, too
        assert process == os.getpid()


@pytest.fixture
def expected(tmp_path):
    """What three jobs give one after the other, with one thread."""
    torch.set_num_threads(1)
    results = parallel.trainings({f"{seed}": job(tmp_path, seed) for seed in range(3)})
    torch.set_num_threads(2)
    return results


def test_networks_are_those_of_one_after_the_other_to_the_bit(expected, tmp_path):
    """Although this process has computed gradients before it forks."""
    results = parallel.trainings({f"{seed}": job(tmp_path, seed) for seed in range(3)})
    assert_same(results, expected)
    assert not list(tmp_path.iterdir())  # no checkpoint is left


def test_two_train_at_the_same_time(tmp_path):
    """Each waits for the other, which none could that comes after it."""
    met = tmp_path / "met"
    met.mkdir()

    def wait_for_the_other():
        (met / f"{os.getpid()}").touch()
        for _ in range(3000):
            if len(list(met.iterdir())) == 2:
                return
            time.sleep(0.01)
        raise TimeoutError

    parallel.trainings({f"{seed}": job(tmp_path, seed, wait_for_the_other) for seed in range(2)})


def test_a_killed_process_costs_at_most_the_steps_since_its_checkpoint(expected, tmp_path):
    parent, calls, here = os.getpid(), [], []

    def die():
        calls.append(1)
        if os.getpid() == parent:
            here.append(1)
        elif len(calls) == 25:  # the checkpoint of step 20 is there
            os.kill(os.getpid(), signal.SIGKILL)

    jobs = {f"{seed}": job(tmp_path, seed, die if seed == 1 else lambda: None) for seed in range(3)}
    assert_same(parallel.trainings(jobs), expected)
    assert len(here) == STEPS - 20


def test_what_an_earlier_training_left_is_taken_up_and_told(
    expected, tmp_path, capsys, monkeypatch
):
    """As after a kill between the training ahead and its taking up, or in the midst of it."""
    jobs = {f"{seed}": job(tmp_path, seed) for seed in range(3)}
    calls = []

    def stop():
        calls.append(1)
        if len(calls) == 25:
            raise KeyboardInterrupt

    torch.set_num_threads(1)
    monkeypatch.setattr(training, "ahead", [])
    train(*job(tmp_path, 0)[1:])
    monkeypatch.setattr(training, "ahead", None)
    with pytest.raises(KeyboardInterrupt):
        train(*job(tmp_path, 1, stop)[1:])
    torch.set_num_threads(2)
    capsys.readouterr()
    assert_same(parallel.trainings(jobs), expected)
    told = capsys.readouterr().out.splitlines()
    assert told == [
        f"{k}: went on from step {n} of an earlier training" for k, n in ((0, 40), (1, 20))
    ]
    torch.set_num_threads(1)
    monkeypatch.setattr(training, "ahead", [])
    train(*job(tmp_path, 0)[1:])
    monkeypatch.setattr(training, "ahead", None)
    parallel.trainings({"0": jobs["0"]})
    assert "0.safetensors: goes on from step 40" in capsys.readouterr().out


def test_what_a_training_raises_is_raised_here(tmp_path):
    def fail():
        raise FloatingPointError("the loss is nan")

    with pytest.raises(FloatingPointError, match="the loss is nan"):
        parallel.trainings({"0": job(tmp_path, 0), "1": job(tmp_path, 1, fail)})


@pytest.mark.parametrize(("threads", "cores"), [(1, None), (2, "1")])
def test_with_one_core_nothing_is_forked(threads, cores, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "_ahead", None)
    torch.set_num_threads(threads)
    if cores:
        monkeypatch.setenv("DVAE_CORES", cores)
    assert set(parallel.trainings({"a": job(tmp_path, 0), "b": job(tmp_path, 1)})) == {"a", "b"}


def test_with_one_core_a_kill_in_a_late_training_repeats_no_finished_one(expected, tmp_path):
    """Nor the steps before the last checkpoint of the training that was killed."""
    torch.set_num_threads(1)
    calls = {seed: [] for seed in range(3)}

    def jobs(die_at=None):
        def step_of(seed):
            calls[seed].append(1)
            if seed == 2 and len(calls[2]) == die_at:
                raise KeyboardInterrupt

        return {f"{k}": job(tmp_path, k, lambda k=k: step_of(k)) for k in range(3)}

    with pytest.raises(KeyboardInterrupt):
        parallel.trainings(jobs(die_at=25))  # the checkpoint of step 20 is there
    assert_same(parallel.trainings(jobs()), expected)
    assert [len(made) for made in calls.values()] == [STEPS, STEPS, 25 + STEPS - 20]
    assert not list(tmp_path.iterdir())


ENDLESS = """
import os, sys, time
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from test_parallel import job, parallel
folder = Path({folder!r})
torch.set_num_threads(2)
def endless():
    (folder / f"{{os.getpid()}}.process").touch()
    time.sleep(60)
parallel.trainings({{f"{{seed}}": job(folder, seed, endless) for seed in range(3)}})
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_their_parent(how, tmp_path):
    code = ENDLESS.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(found := list(tmp_path.glob("*.process"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    parent.send_signal(how)
    assert parent.wait(30) != 0
    for process in found:
        while Path("/proc", process.stem).exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
