"""What notebook 10 teaches, against brute force, scikit-learn and networks made by hand."""

import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from answers_10 import REJECTED, RIGHT, WRONG  # noqa: F401 (test_answers.py looks for them here)
from exercises import assert_rejected
from PIL import Image
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from torch import nn

from dvae_lib import training, workbook
from dvae_lib.data import faces

NOTEBOOK = "10_face_swapping"
PLANS = [(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)]


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """The notebook's definitions, with the few numbers that its functions take from its cells."""
    module = workbook.definitions(NOTEBOOK)
    folder = tmp_path_factory.mktemp("run")
    module.run = SimpleNamespace(device=torch.device("cpu"), folder=folder)
    module.seed, module.side, module.width, module.n_code, module.keep = 0, 32, 4, 6, 0.5
    module.reader_batch, module.identity_steps, module.regressor_steps = 8, 2, 2
    module.reader_width = 4
    many = module.situations(20_000, rng())
    module.MEAN, module.SPREAD = many.mean(0), many.std(0)
    return module


@pytest.fixture(scope="module")
def people(taught):
    """Three pictures of each of five people."""
    return taught.draw_people(5, 3, 9, 32)


@pytest.fixture(scope="module")
def readers(taught):
    """Readers that no one trained, with the interface of those in the notebook."""
    torch.manual_seed(0)
    nets = taught.Reader(6, taught.Residual, 4), taught.Reader(10, taught.plain, 4)
    nets = [net.eval().requires_grad_(False) for net in nets]
    return taught.Readers(*nets, taught.KEPT, 6)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


# --- the drawn people ----------------------------------------------------------------------------


def test_expressions_are_made_of_actions_that_there_are(taught):
    known = {name.removesuffix("Left").removesuffix("Right") for name in faces.ACTIONS}
    assert {name for actions in taught.CONTROLS.values() for name in actions} <= known
    each = taught.actions_of(torch.eye(7))
    for row, actions in zip(each, taught.CONTROLS.values(), strict=True):
        found = {n: v for n, v in zip(faces.ACTIONS, row.tolist(), strict=True) if v}
        plain = {n.removesuffix("Left").removesuffix("Right"): v for n, v in found.items()}
        assert plain == pytest.approx(actions)
    both = taught.actions_of(torch.tensor([[1.0, 0, 0.5, 0, 0, 0, 0]]))
    assert torch.allclose(both[0], each[0] + 0.5 * each[2])


def test_situations_keep_to_their_limits(taught):
    yaw, pitch, light, *strengths = taught.situations(5_000, rng()).unbind(1)
    assert yaw.abs().max() <= taught.YAW < 1.02 * yaw.abs().max()
    assert pitch.abs().max() <= taught.PITCH
    assert light.abs().max() <= math.sin(taught.LIGHT)
    smile, frown, mouth, pucker, up, down, _ = strengths
    assert not (smile * frown).any()
    assert not (pucker * (smile + mouth)).any()
    assert not (up * down).any()
    for part in strengths:
        used = part[part > 0]
        assert used.min() >= 0.3
        assert used.max() <= 1
        assert 0.1 < len(used) / len(part) < 0.35


def test_a_person_has_one_face_and_any_hair(taught):
    given, coefficients = taught.drawn_from(4, 6, 1)
    for name in ("identity", "eyes"):
        rows = getattr(given, name).view(4, 6, -1)
        assert (rows == rows[:, :1]).all()
        assert len(rows[:, 0].unique(dim=0)) > 1
    assert (given.style[:, 3].view(4, 6) == given.style[::6, 3:]).all()
    for name in ("skin", "hair", "background"):
        assert len(getattr(given, name)[:6].unique(dim=0)) > 1
    own = coefficients * taught.SPREAD + taught.MEAN
    assert torch.allclose(own[:, :2], given.pose, atol=1e-5)
    assert torch.allclose(own[:, 2], given.light.sin(), atol=1e-5)
    assert torch.allclose(taught.actions_of(own[:, 3:]), given.expression, atol=1e-5)


def test_groups_of_people_have_nobody_in_common(taught):
    groups = [taught.drawn_from(6, 1, seed)[0].identity for seed in (1, 2, 3)]
    assert len(torch.cat(groups).unique(dim=0)) == 18


def test_pictures_are_drawn_from_near(taught, people):
    some = faces.Parameters(*(part[:2] for part in people.given))
    whole, region = faces.draw(some, 2.2, 0.62)
    found = taught.draw_pictures(some, 64)
    assert torch.equal(found[:, :3], whole)
    assert torch.equal(found[:, 3:] > 0, region)
    half = F.avg_pool2d(whole.float(), 2)
    assert (taught.draw_pictures(some, 32)[:, :3].float() - half).abs().max() <= 0.5
    assert people.images.shape == (15, 4, 32, 32)
    assert people.people == 5


def test_a_true_swap_changes_the_person_alone(taught, people):
    row = torch.arange(5)
    own = taught.true_swap(people, 3 * row, 3 * row + 1)
    assert torch.equal(own, people.images[3 * row + 1])  # onto a picture of the same person
    other = taught.true_swap(people, 3 * row.roll(1), 3 * row + 1)
    target = people.images[3 * row + 1]
    either = torch.maximum(other, target)[:, 3:].float() / 255
    away = (F.max_pool2d(either, 5, 1, 2) == 0).expand(-1, 3, -1, -1)
    assert (other[:, :3] != target[:, :3])[~away].float().mean() > 0.2
    # The outline of the head belongs to the person, and hair sits on it; most else is the same.
    assert (other[:, :3] == target[:, :3])[away].float().mean() > 0.5


def test_the_mask_is_an_ellipse_of_one_size_that_covers_the_face(taught):
    """Its middle is that of the region; its area that of an ellipse, whatever the region."""
    region = torch.zeros(3, 1, 200, 200)
    region[0, :, 90:110, 80:120] = 1
    region[1, :, 85:115, 99:101] = 1
    region[2, :, 95:115, 93:113] = 1
    found = taught.ellipse(region)
    assert found.min() == 0
    assert found.max() == 1
    assert torch.equal(found[0], found[1])
    # Halfway up the rim, at 1.025: an area of pi times both half axes times that.
    area = math.pi * taught.WIDE * taught.HIGH * 200**2 * 1.025
    assert found[0].sum().item() == pytest.approx(area, rel=0.01)
    assert torch.equal(found[0, :, :-5, :-3], found[2, :, 5:, 3:])
    drawn = taught.draw_people(20, 1, 5, 32)
    face = drawn.images[:, 3:].float() / 255
    assert (face * (taught.ellipse(face) > 0)).sum() > 0.97 * face.sum()


# --- identity ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "scale"), [(0.0, 1.0), (0.3, 16.0), (1.2, 64.0)])
def test_margin_logits_by_angles(taught, m, scale):
    angles = np.random.default_rng(0).uniform(0, np.pi, (40, 6))
    labels = np.arange(40) % 6
    wanted = scale * np.cos(angles)
    for i, p in enumerate(labels):
        theta = angles[i, p]
        beyond = np.cos(theta) - 1 + np.cos(m)
        wanted[i, p] = scale * (np.cos(theta + m) if theta <= np.pi - m else beyond)
    cosines, labels = torch.as_tensor(np.cos(angles)), torch.as_tensor(labels)
    assert np.allclose(taught.margin_logits(cosines, labels, m, scale), wanted, atol=1e-5 * scale)


def test_the_own_logit_falls_with_the_angle_and_is_never_above_the_cosine(taught):
    theta = torch.linspace(0, math.pi, 2_000, dtype=torch.float64)
    own = torch.zeros(2_000, dtype=torch.int64)
    for m in (0.1, 0.5, 1.5):
        logits = taught.margin_logits(theta.cos()[:, None], own, m, 1.0)[:, 0]
        assert (logits.diff() < 1e-6).all()
        assert (logits <= theta.cos() + 1e-6).all()
        assert logits.diff().abs().max() < 0.003  # no jump where the two forms meet


def test_retrieval_by_hand(taught):
    gallery = torch.tensor([[1.0, 0.0], [0.0, 3.0], [-0.1, 0.0]])
    queries = torch.tensor([[5.0, 1.0], [0.1, 0.2], [-1.0, 0.5], [0.0, 1.0]])
    wanted = torch.tensor([0, 1, 1, 1])
    assert taught.retrieval(queries, gallery, wanted) == 0.75
    assert taught.retrieval(queries, gallery, wanted, 2) == 1.0
    assert taught.retrieval(queries, gallery, torch.tensor([2, 2, 0, 0]), 3) == 1.0


def test_readers_are_blind_to_colour_and_brightness(taught, people):
    pictures, _ = taught.floats(people.images)
    a, b = taught.look(pictures), taught.look(0.8 * pictures + 0.1)
    assert a.shape == (15, 1, 24, 24)
    assert (a - b).abs().mean() < 0.15 * a.abs().mean()
    turned = pictures[:, [2, 0, 1]]
    assert torch.allclose(taught.look(turned), a, atol=1e-5)
    assert a.mean((2, 3)).abs().max() < 1e-4
    larger = F.interpolate(pictures, (48, 48), mode="bilinear")
    assert (taught.look(larger) - a).abs().mean() < 0.35


@pytest.mark.parametrize("block", ["Residual", "plain"])
def test_readers_have_four_layers(taught, people, block):
    net = taught.Reader(7, getattr(taught, block), 4).eval()
    pictures, _ = taught.floats(people.images)
    assert net(pictures).shape == (15, 7)
    assert [m.shape[-1] for m in net.maps(pictures)] == [24, 12, 6, 3]


def test_a_disturbed_picture_is_nearly_the_same(taught, people):
    pictures, _ = taught.floats(people.images)
    torch.manual_seed(0)
    found = taught.disturbed(pictures, mirror=False)
    assert found.shape == pictures.shape
    assert 0.005 < (found - pictures).abs().mean() < 0.1
    torch.manual_seed(0)
    mirrored = taught.disturbed(pictures)
    nearer = (mirrored - pictures.flip(3)).abs().mean((1, 2, 3)) < (mirrored - pictures).abs().mean(
        (1, 2, 3)
    )
    assert 0 < nearer.sum() < 15
    torch.manual_seed(0)
    noisy = taught.disturbed(pictures, False, 0.05) - found
    assert noisy.std().item() == pytest.approx(0.05, rel=0.02)


def test_identity_is_learned_from_toy_people(taught):
    """Two colours of noise: the classifier must tell them apart after some steps."""
    torch.manual_seed(0)
    net = taught.Classifier(2, taught.plain, 4, 4)
    pictures = torch.rand(16, 3, 32, 32, generator=rng())
    person = torch.arange(16) % 2
    pictures[person == 1, :, 16:] *= 0.2
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for step in range(40):
        loss = taught.arcface_loss(net, (pictures, person, None, step / 40))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (net.eval()(pictures).argmax(1) == person).float().mean() > 0.9


# --- coefficients and readings -------------------------------------------------------------------


def test_preservation_is_a_mean_for_each_group(taught):
    read, wanted = torch.randn(2, 9, 10, generator=rng())
    wrong = (read - wanted).square()
    expected = wrong[:, [0, 1]].mean() + wrong[:, 3:].mean()
    assert torch.allclose(taught.preservation_loss(read, wanted, taught.KEPT), expected)
    ranges = {"pose": range(2), "expression": range(3, 10)}
    assert torch.allclose(taught.preservation_loss(read, wanted, ranges), expected)


def test_shares_are_scikit_learns(taught):
    guess, truth = torch.randn(2, 30, 4, generator=rng())
    truth = truth + guess
    each = [r2_score(truth[:, k], guess[:, k]) for k in range(4)]
    assert taught.explained(guess, truth).tolist() == pytest.approx(each, abs=1e-5)
    together = r2_score(truth, guess, multioutput="variance_weighted")
    assert taught.share_read(guess, truth).item() == pytest.approx(together, abs=1e-5)


def test_the_linear_reading_is_not_changed_by_units(taught):
    fit, asked = torch.randn(400, 6, generator=rng()), torch.randn(50, 6, generator=rng(1))
    wanted = fit @ torch.randn(6, 2, generator=rng(2)) + 3 + torch.randn(400, 2, generator=rng(3))
    units = torch.logspace(-3, 3, 6)
    found = taught.read_linearly(5 * fit * units + 7, wanted, 5 * asked * units + 7)
    assert torch.allclose(found, taught.read_linearly(fit, wanted, asked), atol=1e-3)
    plain = Ridge(alpha=1).fit(fit, wanted).predict(asked)
    assert np.abs(found.numpy() - plain).max() < 0.1


def test_a_reading_finds_what_is_there_and_nothing_else(taught):
    e = torch.randn(600, 3, generator=rng())
    noise = torch.randn(600, 5, generator=rng(1))
    seen = torch.cat([e @ torch.randn(3, 3, generator=rng(2)), noise], 1)
    for features, low, high in ((seen, 0.95, 1), (noise, -0.2, 0.1)):
        guess = taught.read_linearly(features[:500], e[:500], features[500:])
        assert low < taught.share_read(guess, e[500:]).item() < high


# --- the losses ----------------------------------------------------------------------------------


def test_reconstruction_losses_pixel_by_pixel(taught):
    made, target = torch.rand(2, 3, 3, 4, 5, generator=rng())
    region = torch.rand(3, 1, 4, 5, generator=rng(1))
    same = torch.tensor([True, False, True])
    error = (made - target).abs().numpy()
    of_same = np.mean([error[0].mean(), error[2].mean()])
    away = 1 - region.numpy()[:, 0]
    around = np.mean([np.average(e.mean(0), weights=a) for e, a in zip(error, away, strict=True)])
    found = taught.reconstruction_losses(made, target, region, same)
    assert [v.item() for v in found] == pytest.approx([of_same, around], abs=1e-6)


def test_details_add_up_to_the_picture(taught):
    """A Laplacian pyramid: from its coarsest half and its details the picture comes back."""
    picture = torch.rand(2, 3, 16, 16, generator=rng())
    fine, half = taught.details(picture)
    assert torch.allclose(F.interpolate(half, scale_factor=2) + fine, picture)
    assert F.avg_pool2d(fine, 2).abs().max() < 1e-6  # nothing that half the side could show
    even = torch.full((1, 3, 16, 16), 0.4)
    assert taught.details(even)[0].abs().max() == 0


def test_detailed_losses_see_details_more(taught):
    """An even error counts once; the same error of a chequered sign counts again as detail."""
    target = torch.full((2, 3, 16, 16), 0.5)
    sign = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2.0 - 1
    same, region = torch.tensor([True, False]), torch.zeros(2, 1, 16, 16)
    even = taught.detailed_losses(target + 0.1, target, region, same)
    chequered = taught.detailed_losses(target + 0.1 * sign, target, region, same)
    assert even.tolist() == pytest.approx([0.1, 0.1], abs=1e-5)
    assert chequered.tolist() == pytest.approx([0.2, 0.2], abs=1e-5)


def test_put_back_is_the_target_around_the_mask(taught):
    drawn, target = torch.rand(2, 1, 3, 4, 4, generator=rng())
    region = torch.tensor([0.0, 0.25, 0.5, 1.0]).expand(1, 1, 4, 4)
    found = taught.put_back(drawn, target, region)
    assert torch.equal(found[..., 0], target[..., 0])
    assert torch.equal(found[..., 3], drawn[..., 3])
    assert torch.allclose(found[..., 1], 0.25 * drawn[..., 1] + 0.75 * target[..., 1])


@pytest.mark.parametrize("w", [0.3, 1.0, -2.0])
def test_best_response_of_the_guesser(taught, w):
    """b* = w / (1 + w² + σ²), and R² = w b* there; any other b explains less."""
    a, e, n = torch.randn(3, 200_000, 1, generator=rng(), dtype=torch.float64)
    code = a + w * e + 0.5 * n
    best = w / (1.25 + w * w)

    def share(b):
        return 1 - taught.removal_losses(lambda f: b * f, code, e)[1].item()

    assert share(best) == pytest.approx(w * best, abs=0.01)
    for b in (best - 0.1, best + 0.1, -best):
        assert share(b) < share(best)
        wanted = 2 * b * w - b * b * (1.25 + w * w)
        assert share(b) == pytest.approx(wanted, abs=0.02)


def test_the_cut_keeps_the_game_from_swinging(taught):
    cut, free = (taught.played(kind, 1_200)[:, 0] for kind in (True, False))
    assert free.min() < -0.05
    assert cut.min() > -0.02
    assert abs(cut[-1]) < 0.05


def test_identity_loss_and_attributes_of_a_perfect_swap(taught, people, readers):
    """A swapper that gives back the target: no reconstruction, no attribute error."""
    batches = taught.PairBatches(people, readers, 8, 0)
    pair = batches[0]
    for kind in (taught.Swapper, taught.SkipSwapper):
        torch.manual_seed(0)
        found = taught.swap_losses(kind(32, 4, 6, 6), readers, pair.target, pair)
        worse = taught.swap_losses(kind(32, 4, 6, 6), readers, 1 - pair.target, pair)
        assert all(worse[name] > 1e-4 for name in ("same", "around", "attribute"))
        for name in ("same", "around", "attribute"):
            assert found[name].item() == pytest.approx(0, abs=1e-9), (kind, name)
        assert 0 <= found["identity"].item() <= 2


# --- networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("kind", ["Swapper", "SkipSwapper"])
def test_swappers_make_pictures(taught, kind, side):
    net = getattr(taught, kind)(side, 4, 6, 5)
    e, target = torch.randn(2, 5), torch.rand(2, 3, side, side)
    made, code = net(e, target, torch.ones(2, 1, side, side))
    assert made.shape == target.shape
    assert made.min() >= 0
    assert made.max() <= 1
    assert code.shape == (2, net.n_code)
    assert torch.allclose(code.mean(1), torch.zeros(2), atol=1e-5)


def test_without_skips_the_face_reaches_the_generator_by_the_code_alone(taught):
    torch.manual_seed(0)
    target = torch.rand(1, 3, 32, 32).requires_grad_()
    region = torch.zeros(1, 1, 32, 32)
    region[..., 8:24, 8:24] = 1
    for kind, shows in ((taught.Swapper, False), (taught.SkipSwapper, True)):
        _, maps = kind(32, 4, 6, 5).encode(target, region)
        for each in maps:
            (slope,) = torch.autograd.grad(each.square().sum(), target, retain_graph=True)
            assert bool((slope * region).any()) == shows
            assert (slope * (1 - region)).any()
    net = taught.Swapper(32, 4, 6, 5)
    (slope,) = torch.autograd.grad(net.encode(target, region)[0][0, 0], target)
    assert (slope * region).any()
    assert not (slope * (1 - region)).any()  # and the code sees the face alone


def test_the_skip_network_sees_the_target_with_no_fewer_weights(taught):
    for width in (8, 12):
        pyramids = [
            sum(p.numel() for n, p in kind(32, width, 32, 32).named_parameters() if "level" in n)
            for kind in (taught.SkipSwapper, taught.Swapper)
        ]
        assert 1 <= pyramids[0] / pyramids[1] < 1.3


# --- pairs and the game --------------------------------------------------------------------------


def test_pairs_of_uneven_people(taught, readers):
    count = [2, 5, 3]
    person = torch.arange(3).repeat_interleave(torch.tensor(count))
    images = torch.randint(256, (10, 4, 32, 32), dtype=torch.uint8, generator=rng())
    batches = taught.PairBatches(taught.Faces(images, person), readers, 12, 5)
    sources = set()
    for step in range(40):
        target, source, same = batches.rows(step)
        assert torch.equal(same, torch.arange(12) < 9)
        assert torch.equal(person[target] == person[source], same)
        assert not (target == source).any()
        sources |= set(source[~same].tolist())
    assert sources == set(range(10))
    assert all(map(torch.equal, batches.rows(3), batches.rows(3)))
    pair = batches[3]
    target, source, _ = batches.rows(3)
    assert torch.allclose(pair.of_source.norm(dim=1), torch.ones(12), atol=1e-5)
    pictures = images[:, :3].float() / 255
    assert torch.allclose(pair.wanted, readers.coefficients(pictures)[target], atol=1e-4)
    e = F.normalize(readers.identity(pictures), dim=1)
    assert torch.allclose(pair.seen, e[source], atol=1e-4)
    means = torch.stack([F.normalize(e[person == k].mean(0), dim=0) for k in range(3)])
    assert torch.allclose(pair.of_source, means[person[source]], atol=1e-4)
    assert torch.allclose(pair.of_target, means[person[target]], atol=1e-4)


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_has_its_losses(taught, people, readers, plan):
    torch.manual_seed(0)
    game = taught.Game(taught.Plan(*plan), readers, 32, 4, 6)
    found = game.swapper_loss(taught.PairBatches(people, readers, 4, 0)[0])
    extra = {"removal": plan[1], "preservation": plan[2]}
    wanted = {"loss", "same", "around", "identity", "attribute", "critic"}
    assert found.keys() == wanted | {name for name, has in extra.items() if has}
    total = sum(taught.WEIGHTS[k] * v for k, v in found.items() if k != "loss")
    assert torch.allclose(found["loss"], total)
    game.sharpen = False
    assert "critic" not in game.swapper_loss(taught.PairBatches(people, readers, 4, 0)[0])


def test_each_player_moves_its_own_weights(taught, people, readers):
    torch.manual_seed(0)
    game = taught.Game(taught.Plan(False, True, True), readers, 32, 4, 6)
    batches = taught.PairBatches(people, readers, 4, 0)
    parts = {name: getattr(game, name) for name in ("swapper", "guesser", "critic")}
    game.swapper_loss(batches[0])  # the others look at what it made
    losses = {
        "swapper": game.swapper_loss,
        "guesser": game.guesser_loss,
        "critic": game.critic_loss,
    }
    for name, loss in losses.items():
        before = {n: [p.clone() for p in net.parameters()] for n, net in parts.items()}
        player = taught.player(loss, parts[name].parameters(), 10, 1e-2)
        training.train(game, player, batches, 1)
        for other, net in parts.items():
            same = all(map(torch.equal, before[other], net.parameters()))
            assert same == (other != name), (name, other)


def test_the_average_follows(taught):
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    wanted = 0.9 * a.weight + 0.1 * b.weight
    taught.follow(a, b, 0.9)
    assert torch.allclose(a.weight, wanted)


def test_r1_is_the_squared_slope(taught, people, readers):
    game = taught.Game(taught.Plan(False, False, False), readers, 32, 4, 6)
    slope = torch.rand(3, 32, 32, generator=rng())
    del game.critic  # a module's place takes no function
    game.critic = lambda x: (x * slope).sum((1, 2, 3), keepdim=True)
    pair = taught.PairBatches(people, readers, 4, 0)[0]
    found = game.flat_loss(pair)["loss"].item()
    assert found == pytest.approx(
        16 * taught.WEIGHTS["flat"] * slope.square().sum().item(), rel=1e-4
    )


def test_a_game_goes_on_from_another(taught, people, readers):
    batches = taught.PairBatches(people, readers, 4, 0)
    plan = taught.Plan(False, False, False)
    start, history = taught.train_game("first", plan, batches, 2)
    assert history.steps[-1] == 2
    ends = []
    for _ in range(2):
        game, _ = taught.train_game("second", taught.Plan(False, True, True), batches, 2, start)
        ends.append(game.average.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ends[0].values(), ends[1].values(), strict=True))
    own = start.average.state_dict()
    assert any(not torch.equal(own[name], value) for name, value in ends[0].items())


# --- measures ------------------------------------------------------------------------------------


@pytest.fixture
def judged(taught, people):
    """Five people; the judge of identity reads two numbers off the first pixels."""
    row = torch.arange(5)
    taught.test, taught.n_several = people, 2
    taught.singles = 3 * row, 3 * row.roll(1) + 1
    on = torch.arange(8) % 5
    taught.several = torch.tensor([0, 3]).repeat_interleave(8), 3 * on.repeat(2) + 1
    taught.judge_identity = lambda pictures: pictures[:, 0, 0, :2] - 0.5
    taught.judged_identity = lambda x: F.normalize(taught.judge_identity(x), dim=1)
    return people


def test_who_is_seen(taught, judged, monkeypatch):
    def marked(angles):
        """Pictures whose first two pixels are a direction."""
        pictures = torch.zeros(len(angles), 3, 32, 32)
        pictures[:, 0, 0, 0] = 0.5 + 0.4 * angles.cos()
        pictures[:, 0, 0, 1] = 0.5 + 0.4 * angles.sin()
        return pictures

    angle = torch.arange(5) * 2 * math.pi / 5
    monkeypatch.setattr(taught, "pictures_of", lambda data, k: marked(angle))
    who = taught.singles[0] // 3
    same = angle[torch.tensor([0, 1])].repeat_interleave(8)
    found = taught.who_is_seen(marked(angle[who]), marked(same))
    assert found["retrieval"] == 1
    assert found["target found"] == 0
    assert found["consistency"] == pytest.approx(0, abs=1e-6)
    onto = taught.who_is_seen(marked(angle[taught.singles[1] // 3]), marked(same))
    assert onto["retrieval"] == 0
    assert onto["target found"] == 1
    spread = same + 0.3 * torch.randn(16, generator=rng())
    e = torch.stack([spread.cos(), spread.sin()], 1).view(2, 8, 2).numpy()
    wanted = e.var(1, ddof=1).sum(1).mean() / e.mean(1).var(0, ddof=1).sum()
    assert taught.who_is_seen(marked(angle), marked(spread))["consistency"] == pytest.approx(
        wanted, rel=1e-3
    )


def test_the_background_is_measured_around_the_face(taught, judged):
    targets = taught.singles[1]
    picture, region = taught.floats(judged.images[targets])
    away = (taught.ellipse(region) == 0).float()
    assert taught.outside_error(picture, targets) == 0
    assert taught.outside_error(picture + 0.1 * (1 - away), targets) == 0
    found = taught.outside_error(picture + 0.1 * away, targets)
    assert found == pytest.approx(0.1, rel=1e-4)


def test_coarse_pictures_lose_detail_alone(taught):
    flat = torch.full((1, 3, 32, 32), 0.3)
    assert torch.allclose(taught.coarse(flat), flat)
    noise = torch.rand(1, 3, 32, 32, generator=rng())
    assert taught.coarse(noise).var() < 0.2 * noise.var()


@pytest.mark.parametrize("tau", [0.0, 0.25, 0.5, 1.0])
def test_identity_slides_along_the_sphere(taught, tau):
    a, b = F.normalize(torch.randn(2, 8, generator=rng()), dim=1)
    found = taught.between(a, b, tau)
    assert found.norm().item() == pytest.approx(1, abs=1e-5)
    whole = math.acos((a @ b).item())
    assert math.acos(min(1, (a @ found).item())) == pytest.approx(tau * whole, abs=1e-3)
    assert math.acos(min(1, (found @ b).item())) == pytest.approx((1 - tau) * whole, abs=1e-3)


# --- photographs, with stand-ins -----------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, people):
    """Drawn people as files: two and three "photographs", 40 pixels wide, with masks."""
    for row, name in enumerate(["ann/1", "ann/2", "bob/1", "bob/2", "bob/3"]):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        image = F.interpolate(people.images[row][None].float(), (40, 40)).to(torch.uint8)[0]
        Image.fromarray(image[:3].permute(1, 2, 0).numpy()).save(path)
        Image.fromarray(image[3].numpy()).save(path.with_suffix(".mask.png"))
    return tmp_path


def test_photographs_become_faces(taught, folder):
    found = taught.photographs(folder, 32)
    assert found.images.shape == (5, 4, 32, 32)
    assert found.person.tolist() == [0, 0, 1, 1, 1]
    assert found.coefficients is None
    assert set(found.images[:, 3].unique().tolist()) > {0, 255}


def test_photographs_need_masks_and_company(taught, folder):
    Image.new("L", (40, 40)).save(folder / "bob" / "3.mask.png")
    with pytest.raises(ValueError, match=r"3\.mask\.png is black"):
        taught.photographs(folder, 32)
    (folder / "ann" / "2.mask.png").unlink()
    with pytest.raises(ValueError, match=r"2\.png has no mask"):
        taught.photographs(folder, 32)
    (folder / "ann" / "2.png").unlink()
    with pytest.raises(ValueError, match="at least two"):
        taught.photographs(folder, 32)
    shutil.rmtree(folder / "ann")
    (folder / "bob" / "3.png").unlink()
    with pytest.raises(ValueError, match="1 people; a swap needs"):
        taught.photographs(folder, 32)


def test_a_game_on_photographs_with_other_readers(taught, folder):
    """Both interfaces, with networks that are not ours: other sides, colours and sizes."""
    torch.manual_seed(0)
    seen = []

    def stand_in(n):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(3 * 56 * 56, n)

            def forward(self, x):
                seen.append((tuple(x.shape[1:]), x.min().item(), x.max().item()))
                return self.layer(x.flatten(1))

        return taught.Wrapped(Net(), side=56)

    kept = {"pose": range(3), "expression": range(3, 8)}
    yours = taught.Readers(stand_in(12), stand_in(9), kept, 12)
    batches = taught.PairBatches(taught.photographs(folder, 32), yours, 16, 0)
    game, history = taught.train_game("photographs", taught.Plan(False, True, True), batches, 2)
    assert all(math.isfinite(v) for v in history.scalars["0 loss"])
    assert {shape for shape, _, _ in seen} == {(3, 56, 56)}
    assert min(low for _, low, _ in seen) >= -1.3
    assert max(high for _, _, high in seen) <= 1.3
    assert not any(p.requires_grad for p in yours.identity.parameters())


# --- rarer mistakes ------------------------------------------------------------------------------


@pytest.mark.parametrize(("exercise", "answer"), REJECTED)
def test_rarer_mistakes_are_rejected(exercise, answer):
    general = "logits tensor|scale times cosine|expected|wrong gradient|not equal|detach nothing"
    assert_rejected(NOTEBOOK, exercise, general + "|L_around, rim|, R² =", answer)
