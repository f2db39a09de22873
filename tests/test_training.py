"""The training loop: against closed forms, and against itself after a kill."""

import contextlib
import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from dvae_lib import training
from dvae_lib.data import sprites
from dvae_lib.training import Player, train


class Always:
    """The same batch at every step."""

    def __init__(self, *tensors):
        self.tensors = tensors

    def __repr__(self):
        return "Always"

    def __getitem__(self, step):
        return self.tensors


def test_least_squares_reaches_the_closed_form():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    y = torch.randn(50, 1, generator=generator, dtype=torch.float64)
    model = nn.Linear(3, 1, bias=False, dtype=torch.float64)

    def loss(batch):
        return {"loss": ((model(batch[0]) - batch[1]) ** 2).mean()}

    player = Player(loss, torch.optim.SGD(model.parameters(), 0.2))
    history = train(model, player, Always(x, y), 300, log_every=50)
    expected = torch.linalg.lstsq(x, y).solution
    torch.testing.assert_close(model.weight.detach().T, expected)
    assert history.steps == [50, 100, 150, 200, 250, 300]
    residual = float(((x @ expected - y) ** 2).mean())
    assert history.scalars["loss"][-1] == pytest.approx(residual, rel=1e-5)
    assert not model.training


def test_the_bar_moves_within_two_seconds_however_slow_a_step_is(monkeypatch):
    """And whatever is logged; tqdm's clock goes one second a step."""
    clock, seen = itertools.count(), []

    class Slow(training.Bar):
        def display(self, *arguments, **options):
            seen.append(self.n)

    Slow._time = property(lambda bar: lambda: next(clock), lambda bar, value: None)
    monkeypatch.setattr(training, "Bar", Slow)
    model = nn.Linear(1, 1)
    player = Player(
        lambda batch: {"loss": model.weight.sum()}, torch.optim.SGD(model.parameters(), 0.1)
    )
    train(model, player, Always(torch.zeros(1)), 20, log_every=1000)
    assert set(range(1, 21)) <= set(seen)


def test_a_network_that_is_trained_again_goes_on_and_that_is_said(capsys):
    """Also after an interruption; another network begins in silence."""
    model = nn.Linear(1, 1)
    stop = []

    def loss(batch):
        if stop:
            raise KeyboardInterrupt
        return {"loss": model.weight.sum()}

    def again(steps):
        player = Player(loss, torch.optim.SGD(model.parameters(), 0.1))
        train(model, player, Always(torch.zeros(1)), steps)
        return capsys.readouterr().out

    assert again(1_500) == ""
    assert "trained for 1,500 steps and goes on from there" in again(500)
    stop.append(True)
    with pytest.raises(KeyboardInterrupt):
        again(5)
    stop.clear()
    assert "trained for 2,000 steps" in again(1)
    model = nn.Linear(1, 1)
    assert again(1) == ""


def test_the_history_holds_means_between_logs():
    """The loss of step k is k, so the mean over steps 4 to 7 is 5.5."""
    model = nn.Linear(1, 1)
    steps = iter(range(10))

    def loss(batch):
        return {"loss": 0 * model.weight.sum() + next(steps)}

    player = Player(loss, torch.optim.SGD(model.parameters(), 0.1))
    history = train(model, player, Always(torch.zeros(1)), 10, log_every=4)
    assert history.steps == [4, 8, 10]
    assert history.scalars == {"loss": [1.5, 5.5, 8.5]}


def test_players_move_their_own_parameters_as_often_as_said():
    """The loss is the sum of all weights: a move lowers a weight by the learning rate, 1."""
    model = nn.ModuleDict({name: nn.Linear(1, 1, bias=False) for name in ("a", "b", "idle")})
    for net in model.values():
        nn.init.zeros_(net.weight)

    def loss(batch):
        return {"loss": sum(net.weight.sum() for net in model.values())}

    players = [
        Player(loss, torch.optim.SGD(model["a"].parameters(), 1.0)),
        Player(loss, torch.optim.SGD(model["b"].parameters(), 1.0), every=3),
    ]
    history = train(model, players, Always(torch.zeros(1)), 8, log_every=4)
    moved = {name: -net.weight.item() for name, net in model.items()}
    assert moved == {"a": 8, "b": 3, "idle": 0}  # b moves at steps 0, 3 and 6
    assert model["idle"].weight.grad is None
    assert set(history.scalars) == {"0 loss", "1 loss", "loss"}


def test_a_window_in_which_a_player_never_moved_is_logged_as_not_a_number():
    """Every curve has a point for every logged step, or it could not be drawn."""
    model = nn.Linear(1, 1)

    def loss(batch):
        return {"loss": 0 * model.weight.sum() + 2}

    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    for players in (Player(loss, optimizer, 3), [Player(loss, optimizer, k) for k in (2, 3)]):
        history = train(model, players, Always(torch.zeros(1)), 6, log_every=1)
        assert {len(values) for values in history.scalars.values()} == {6}
        assert [value == value for value in history.scalars["loss"]][:2] == [True, False]


def test_a_loss_that_is_not_finite_stops_before_it_does_harm():
    model = nn.Linear(1, 1)
    seen = []

    def loss(batch):
        seen.append(model.weight.detach().clone())
        bad = torch.nan if len(seen) == 8 else 0.0
        return {"loss": model.weight.sum() + bad, "kl": torch.tensor(3.0)}

    player = Player(loss, torch.optim.Adam(model.parameters(), 0.1))
    with pytest.raises(FloatingPointError, match=r"is nan at step 7 \(loss nan, kl 3\)"):
        train(model, player, Always(torch.zeros(1)), 20)
    assert torch.equal(model.weight, seen[-1])
    assert not torch.equal(seen[-1], seen[-2])


# --- kills and checkpoints -----------------------------------------------------------------------


def test_a_killed_run_goes_on_to_the_same_weights_bit_for_bit(tmp_path):
    """kill -9 at step 9 of 12, after the checkpoint at 8; noise, Adam, channels_last matter."""
    script = Path(__file__).with_name("kill_and_go_on.py")
    command = [sys.executable, script, tmp_path]
    killed = subprocess.run([*command, "killed"], capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    assert (tmp_path / "checkpoint.safetensors").exists()
    subprocess.run([*command, "goes_on"], check=True, capture_output=True)
    runs = torch.load(tmp_path / "weights.pt", weights_only=False)
    (weights, history, steps), (expected, expected_history, all_steps) = (
        runs["broken"],
        runs["unbroken"],
    )
    assert (steps, all_steps) == (4, 12)
    assert weights.keys() == expected.keys()
    for name in expected:
        assert torch.equal(weights[name], expected[name]), name
    assert history["steps"] == expected_history["steps"]
    assert history["scalars"] == expected_history["scalars"]
    assert not (tmp_path / "checkpoint.safetensors").exists()  # removed at the end


class Interrupted(Exception):
    """What stands for a kill where the process must live on."""


def run(checkpoint, steps=6, rate=0.1, stop_at=None, **other):
    """Train a small network from a fixed seed; stop_at: raise Interrupted at that step.

    other: seed, size of a batch, how often the player moves, width, optimiser, schedule.
    """
    torch.manual_seed(other.get("seed", 0))
    model = nn.Linear(4, other.get("width", 2))
    data = torch.randn(5, 4)

    class Batches(Always):
        def __getitem__(self, step):
            if step == stop_at:
                raise Interrupted
            return super().__getitem__(step)

        def __repr__(self):
            return f"batches of {other.get('size', 5)}"

    optimizer = other.get("optimizer", torch.optim.Adam)(model.parameters(), rate)
    scheduler = None
    if other.get("falling"):
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    player = Player(
        lambda batch: {"loss": (model(batch[0]) ** 2).mean()},
        optimizer,
        other.get("every", 1),
        scheduler,
    )
    options = {"checkpoint": checkpoint, "checkpoint_every": 2}
    history = train(model, player, Batches(data), steps, **options)
    return history if other.get("told") else model.weight.detach()


def test_a_training_that_goes_on_elsewhere_tells_both_devices(tmp_path, monkeypatch):
    """Not the one where it had come to its end, nor the same one twice."""
    path = tmp_path / "checkpoint.safetensors"
    for place, stop_at in (("a GPU", 3), ("a GPU", 5), ("a CPU", None)):
        monkeypatch.setattr(training, "device_name", lambda device, place=place: place)
        with contextlib.suppress(Interrupted):
            history = run(path, stop_at=stop_at, told=True)
    assert history.devices == ["a GPU", "a CPU"]


SETTINGS = {
    "learning rate": {"rate": 0.2},
    "steps": {"steps": 8},
    "seed": {"seed": 1},
    "batches": {"size": 4},
    "every": {"every": 2},
    "shape": {"width": 3},
    "optimizer": {"optimizer": torch.optim.AdamW},
}


@pytest.mark.parametrize("changed", [*SETTINGS.values(), {"steps": 2}], ids=str)
def test_a_checkpoint_of_another_set_up_is_set_aside(tmp_path, changed):
    """It is not used (the weights are those of a fresh run) and not lost (it is renamed).

    Nor one that has as many steps behind it as are wanted now.
    """
    checkpoint = tmp_path / "run.safetensors"
    with pytest.raises(Interrupted):
        run(checkpoint, stop_at=3)
    content = checkpoint.read_bytes()
    weights = run(checkpoint, **changed)
    assert torch.equal(weights, run(None, **changed))
    assert (tmp_path / "run.old1.safetensors").read_bytes() == content


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_resumed_training_does_not_hold_its_checkpoint_in_memory(tmp_path):
    """Windows would not let it be replaced."""
    checkpoint = tmp_path / "run.safetensors"
    with pytest.raises(Interrupted):
        run(checkpoint, stop_at=3)
    mapped = []

    class Optimizer(torch.optim.Adam):
        def step(self):
            mapped.append(str(checkpoint) in Path("/proc/self/maps").read_text())
            return super().step()

    Optimizer.__name__ = "Adam"  # which the checkpoint knows
    run(checkpoint, optimizer=Optimizer)
    assert mapped == [False] * 4


def test_a_second_checkpoint_set_aside_leaves_the_first(tmp_path):
    checkpoint = tmp_path / "run.safetensors"
    contents = []
    for rate in (0.1, 0.2, 0.3):
        with pytest.raises(Interrupted):
            run(checkpoint, rate=rate, stop_at=3)
        contents.append(checkpoint.read_bytes())
    for k, content in enumerate(contents[:2], start=1):
        assert (tmp_path / f"run.old{k}.safetensors").read_bytes() == content


@pytest.mark.parametrize("other", [{}, *SETTINGS.values(), {"falling": True}], ids=str)
def test_a_checkpoint_of_the_same_set_up_is_used(tmp_path, other, capsys):
    """A schedule goes on where it was, too."""
    checkpoint = tmp_path / "run.safetensors"
    with pytest.raises(Interrupted):
        run(checkpoint, stop_at=5, **other)
    weights = run(checkpoint, **other)
    assert "run.safetensors: goes on from step 4" in capsys.readouterr().out
    assert torch.equal(weights, run(None, **other))
    assert list(tmp_path.iterdir()) == []  # used up, nothing set aside


def test_a_schedule_moves_on_once_a_move(tmp_path):
    """The player moves at steps 0, 2 and 4 of 6, so the rate is 1, .1 and .01, and ends at .001."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1)
    player = Player(lambda batch: {"loss": model.weight.sum()}, optimizer, 2, scheduler)
    train(model, player, Always(torch.zeros(1)), 6)
    assert -model.weight.item() == pytest.approx(1.11)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.001)


def test_seconds_are_counted_once(tmp_path, monkeypatch):
    """A clock that moves at each step alone: ten steps of a second are ten seconds."""
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    model = nn.Linear(1, 1)

    def loss(batch):
        clock[0] += 1
        return {"loss": model.weight.sum()}

    player = Player(loss, torch.optim.SGD(model.parameters(), 0.1))
    options = {"checkpoint": tmp_path / "run.safetensors", "checkpoint_every": 3, "log_every": 2}
    history = train(model, player, Always(torch.zeros(1)), 10, **options)
    assert history.seconds == 10


def test_a_cell_that_is_interrupted_twice_goes_on_with_the_same_objects(tmp_path):
    """As in a notebook: the network and the optimiser live on, and the cell is run again."""

    def run(stops, checkpoint=None):
        torch.manual_seed(0)
        model, data, stop = nn.Linear(4, 2), torch.randn(5, 4), []

        def loss(batch):
            return {"loss": (model(batch[0]) ** 2).mean()}

        class Batches(Always):
            def __getitem__(self, step):
                if [step] == stop:
                    raise Interrupted
                return super().__getitem__(step)

        player = Player(loss, torch.optim.Adam(model.parameters(), 0.1))
        for step in stops:
            stop[:] = [step]
            with pytest.raises(Interrupted):
                train(model, player, Batches(data), 8, checkpoint=checkpoint, checkpoint_every=2)
        stop.clear()
        train(model, player, Batches(data), 8, checkpoint=checkpoint, checkpoint_every=2)
        return model.weight.detach()

    weights = run([3, 5, 7], tmp_path / "run.safetensors")
    assert torch.equal(weights, run([]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 7, 0.5, 0.99])
def test_a_damaged_checkpoint_is_an_error_and_left_in_place(tmp_path, keep):
    checkpoint = tmp_path / "run.safetensors"
    with pytest.raises(Interrupted):
        run(checkpoint, stop_at=3)
    content = checkpoint.read_bytes()
    content = content[: int(keep * len(content)) if keep < 1 else keep]
    checkpoint.write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.safetensors is damaged .* delete it to start"):
        run(checkpoint)
    assert checkpoint.read_bytes() == content


# --- options that must not change what is learnt -------------------------------------------------


def test_the_data_order_does_not_follow_the_global_seed():
    """Two runs that start from one set of weights with other noise see the same images."""
    data = sprites.load(32)
    seen = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = nn.Linear(1, 1)
        rows = []

        def loss(batch, model=model, rows=rows):
            rows.append(batch.index)
            return {"loss": (model.weight * torch.randn(1)).sum()}

        train(model, Player(loss, torch.optim.SGD(model.parameters(), 0.1)), data.batches(8, 5), 10)
        seen.append(torch.cat(rows))
    assert torch.equal(*seen)
