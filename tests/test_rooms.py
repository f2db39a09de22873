"""Rooms against real 3D Shapes frames, plain trigonometry and the ray caster they come from."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dvae_lib.data import rooms
from dvae_lib.data.factor_data import factors_of

FRAMES = Path(__file__).parent / "data" / "rooms_frames.npz"
CUBE, CYLINDER, SPHERE, CAPSULE = range(4)
FOCUS = 32 / math.tan(math.radians(rooms.FIELD_OF_VIEW) / 2)  # pixels
PITCH = math.atan2(rooms.LOOK_HEIGHT - rooms.EYE_HEIGHT, rooms.DISTANCE)


def some(n, seed=0):
    """Factors (n, 6) of random rooms."""
    rows = torch.randint(rooms.N_ALL, (n,), generator=torch.Generator().manual_seed(seed))
    return factors_of(rows, rooms.SIZES)


def values_of(factors):
    """What `ray_cast` wants for one row of factors: values, and the level of the shape."""
    values = [rooms.VALUES[k][level] for k, level in enumerate(factors.tolist())]
    return [*values[:4], int(factors[4]), values[5]]


def table():
    """The stored weights (8, 4, 15, 5, 64, 64) as whole numbers."""
    return rooms.weights_of_all(torch.device("cpu")).view(8, 4, 15, 5, 64, 64).long()


@pytest.fixture
def coverage(monkeypatch):
    """`weigh` with all surfaces evenly bright: weights are then shares of a pixel's area."""
    monkeypatch.setattr(rooms, "MATERIALS", ((1.0, 0.0, 0.0),) * 4)
    return rooms.weigh


def test_agree_with_real_frames():
    """50 frames of the original (Apache-2.0) with the factors that fit best, as 8x8 block means.

    In full resolution the mean absolute error is 0.0120 of 1, in the worst frame 0.0205.
    """
    with np.load(FRAMES) as archive:
        factors, blocks = (torch.from_numpy(archive[name]) for name in ("factors", "blocks"))
    images = rooms.render(factors.long()).view(50, 3, 8, 8, 8, 8).double().mean((3, 5))
    assert float((images - blocks).abs().mean()) / 255 < 0.0085


def test_an_image_is_whole_number_arithmetic_on_the_stored_weights():
    """Exact sums: neither the size nor the order of a batch can change a pixel."""
    factors = some(300)
    images = rooms.render(factors)
    alone = torch.cat([rooms.render(row) for row in factors[:40].split(1)])
    assert torch.equal(images[:40], alone)
    shuffled = torch.cat([rooms.render(part) for part in factors.flip(0).split(77)])
    assert torch.equal(images, shuffled.flip(0))

    hues = (torch.tensor([rooms._rgb(hue) for hue in rooms.HUES]) * 255).round().long()
    fixed = torch.tensor([rooms.SKY, rooms.GLOSS]).expand(300, 2, 3)
    colours = torch.cat([hues[factors[:, :3]], fixed], 1)
    weights = table()[tuple(factors[:, 3:].T)]
    sums = torch.einsum("nkc,nkij->ncij", colours, weights)
    assert torch.equal(images, ((sums + 64) // 128).clamp(max=255).to(torch.uint8))


def test_the_table_holds_what_the_ray_caster_draws():
    factors = some(12, seed=1)
    cast = torch.stack([rooms.ray_cast(*values_of(row)) for row in factors])
    error = (rooms.render(factors) / 255 - cast).abs()
    # A weight is rounded to 1/128, a value to 1/255; at most three surfaces and gloss meet.
    assert error.max() < 4 * 0.5 / 128 + 0.5 / 255
    assert error.mean() < 0.25 / 128


@pytest.mark.parametrize("column", range(3), ids=rooms.NAMES[:3])
def test_a_hue_changes_the_pixels_of_its_surface_alone(column):
    factors = some(60)
    other = factors.clone()
    other[:, column] = (other[:, column] + 4) % 10
    changed = (rooms.render(factors) != rooms.render(other)).any(1)
    weights = table()[tuple(factors[:, 3:].T)][:, column]
    assert not changed[weights == 0].any()
    assert changed[weights > 32].all()  # a quarter of a pixel; less may be lost in full light


def test_the_sky_has_one_colour():
    factors = some(60)
    clear = table()[tuple(factors[:, 3:].T)][:, rooms.SKY_DOME] == rooms.ONE
    images = rooms.render(factors).movedim(1, 3)
    assert clear.float().mean() > 0.2
    assert (images[clear] == torch.tensor(rooms.SKY)).all()


def test_orientation_turns_the_room_but_no_round_object():
    outline = table()[:, :, :, rooms.OBJECT] > 0
    turned = (outline != outline[:, :, 7:8]).any(-1).any(-1)
    assert not turned[:, CYLINDER:].any()
    assert turned[:, CUBE, [*range(7), *range(8, 15)]].all()
    walls = table()[0, SPHERE, :, rooms.WALL]
    assert (walls.diff(dim=0).abs().flatten(1).max(1).values > 20).all()


def test_scale_and_shape_change_nothing_beyond_the_object_and_its_shadow():
    """Far up at the sides the largest object casts no shadow; every larger object hides more."""
    weights = table()
    sides = torch.cat([weights[..., :36, :8], weights[..., :36, 56:]], -1)
    assert (sides == sides[:1, :1]).all()
    area = (weights[:, :, :, rooms.OBJECT] > 0).sum((-1, -2))
    assert (area.diff(dim=0) > 0).all()


# --- the ray caster against closed forms -------------------------------------------------------


@pytest.mark.parametrize("shape", range(4))
def test_every_ray_meets_one_surface(coverage, shape):
    shares = coverage(1.25, shape, 17.0)[:4]
    assert torch.allclose(shares.sum(0), torch.ones(64, 64), atol=1e-6)


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.0, 1.25])
def test_the_outline_of_the_sphere_is_an_ellipse_of_known_area(coverage, scale):
    radius = rooms.BALL_RADIUS * scale
    distance = math.hypot(rooms.DISTANCE, rooms.EYE_HEIGHT - radius)
    off_axis = math.atan2(radius - rooms.EYE_HEIGHT, rooms.DISTANCE) - PITCH
    sine = radius / distance
    rest = math.cos(off_axis) ** 2 - sine**2
    axes = sine * math.sqrt(1 - sine**2) / rest, sine / math.sqrt(rest)
    area = math.pi * axes[0] * axes[1] * FOCUS**2
    assert float(coverage(scale, SPHERE, 11.0)[rooms.OBJECT].sum()) == pytest.approx(area, rel=8e-3)


@pytest.mark.parametrize(
    ("shape", "radius"),
    [(CYLINDER, rooms.CYLINDER_RADIUS), (CAPSULE, rooms.CAPSULE_RADIUS)],
    ids=["cylinder", "capsule"],
)
def test_the_outline_of_a_tube_touches_its_tangents(coverage, shape, radius):
    """On the row that the camera looks along, between the two middle rows of pixels."""
    tangent = math.tan(math.asin(1.25 * radius / rooms.DISTANCE))
    width = 2 * FOCUS * math.cos(PITCH) * tangent
    measured = coverage(1.25, shape, -5.0)[rooms.OBJECT, 31:33].sum(1).mean()
    assert float(measured) == pytest.approx(width, abs=0.25)


def test_the_back_wall_is_as_high_as_perspective_makes_it(coverage):
    def row(height):
        angle = math.atan2(height - rooms.EYE_HEIGHT, rooms.DISTANCE + rooms.BACK)
        return 32 - FOCUS * math.tan(angle - PITCH)

    # A tiny object hides nothing of the wall.
    wall, sky = coverage(0.01, CUBE, 0.0)[[rooms.WALL, rooms.SKY_DOME], :, 31]
    assert float(sky.sum()) == pytest.approx(row(rooms.WALL_HEIGHT), abs=0.25)
    assert float(wall.sum()) == pytest.approx(row(0) - row(rooms.WALL_HEIGHT), abs=0.25)


@pytest.mark.parametrize("shape", range(4))
def test_turning_the_other_way_mirrors_the_view(coverage, shape):
    """Without lights nothing tells left from right."""
    left, right = (coverage(0.9, shape, angle)[:4] for angle in (-22.0, 22.0))
    assert torch.allclose(left, right.flip(2), atol=1e-6)


def test_a_capsule_without_a_tube_is_the_sphere(monkeypatch):
    """With its light, gloss and shadow."""
    monkeypatch.setattr(rooms, "CAPSULE_RADIUS", rooms.BALL_RADIUS)
    monkeypatch.setattr(rooms, "CAPSULE_TUBE_HALF_HEIGHT", 0.0)
    capsule, sphere = (rooms.weigh(1.1, shape, 13.0) for shape in (CAPSULE, SPHERE))
    assert torch.allclose(capsule, sphere, atol=1e-6)


def test_a_hue_goes_round():
    """Hues 0 and 1 are the same red, and hues between the levels are between their colours."""
    red, again, between = (rooms.ray_cast(h, h, h, 1.0, SPHERE, 0.0) for h in (0, 1, 0.05))
    assert torch.equal(red, again)
    assert (between[1] >= red[1]).all()
    assert torch.equal(between[[0, 2]], red[[0, 2]])


@pytest.mark.parametrize(
    "geometry", [(0, 0, 0), (-1, 0, 0), (1, 4, 0), (1, 0.5, 0), (1, 0, 90), (math.nan, 0, 0)]
)
def test_an_impossible_geometry_is_an_error(geometry):
    with pytest.raises(ValueError, match="expected a scale above 0, a shape 0 to 3 and"):
        rooms.ray_cast(0, 0, 0, *geometry)


# --- the set -----------------------------------------------------------------------------------


def test_positions_count_every_combination_once_with_orientation_fastest():
    factors = factors_of(torch.arange(480_000), rooms.SIZES)
    position = np.ravel_multi_index(factors.numpy().T, (10, 10, 10, 8, 4, 15))
    assert np.array_equal(position, np.arange(480_000))


def test_load_draws_rooms_without_repeats_and_renders_any():
    data = rooms.load(500, seed=3)
    assert repr(data).startswith("FactorData(rooms (like 3D Shapes): 500 images 3x64x64; floor hue")
    assert len(data.factors.unique(dim=0)) == 500
    assert torch.equal(data.images, data.render(data.factors))
    assert torch.equal(data.factors, rooms.load(500, seed=3).factors)
    assert not torch.equal(data.factors, rooms.load(500, seed=4).factors)
    with pytest.raises(ValueError, match="level 4 of factor 'shape'"):
        data.render(torch.tensor([[0, 0, 0, 0, 4, 0]]))


@pytest.mark.parametrize("n", [0, -1, 480_001, 1.5, "some"])
def test_a_wrong_number_of_rooms_is_an_error(n):
    with pytest.raises(ValueError, match="choose 1 to 480000 or 'all'"):
        rooms.load(n)
