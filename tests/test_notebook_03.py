"""What notebook 03 teaches, against scikit-learn, SciPy and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.feature_selection import mutual_info_classif
from sklearn.metrics import mutual_info_score, roc_auc_score

from dvae_lib import metrics, workbook

NOTEBOOK = "03_measuring_disentanglement"


@pytest.fixture(scope="module")
def taught():
    return workbook.definitions(NOTEBOOK)


@pytest.fixture(scope="module")
def samples(taught):
    """2,000 samples of the factors and of their perfect code."""
    torch.manual_seed(0)
    v = taught.draw_levels(2_000)
    return taught.perfect(v), v


def test_information_of_a_binary_symmetric_channel(taught):
    """I = ln 2 - H(flip), exact when the counts are in proportion."""
    for flip in (0.0, 0.1, 0.25, 0.5):
        wrong = round(500 * flip)
        counts = torch.tensor([[500 - wrong, wrong], [wrong, 500 - wrong]])
        p = torch.tensor([flip, 1 - flip], dtype=torch.float64)
        expected = math.log(2) - torch.special.entr(p).sum().item()
        assert float(taught.mutual_information(counts)[0]) == pytest.approx(expected, abs=1e-9)


def test_information_agrees_with_scikit_learn(taught):
    rng = np.random.default_rng(0)
    z = rng.integers(0, 7, 300)
    v = np.where(rng.random(300) < 0.5, z // 2, rng.integers(0, 4, 300))
    counts = taught.contingency(torch.as_tensor(z), torch.as_tensor(v))
    assert counts.sum() == 300
    assert float(taught.mutual_information(counts)[0]) == pytest.approx(mutual_info_score(z, v))


def test_the_bias_is_as_predicted_and_the_correction_removes_it(taught):
    torch.manual_seed(0)
    plug_in, corrected = taught.mean_estimates(1_000, 20, 50).tolist()
    assert plug_in == pytest.approx(19 * 9 / 2_000, rel=0.15)
    assert abs(corrected) < 0.1 * plug_in


def test_neighbour_information_agrees_with_scikit_learn(taught):
    generator = torch.Generator().manual_seed(0)
    v = torch.randint(4, (400,), generator=generator)
    z = v + torch.randn(400, generator=generator, dtype=torch.float64)
    for k in (3, 10):
        expected = mutual_info_classif(z[:, None].numpy(), v.numpy(), n_neighbors=k)[0]
        assert float(taught.neighbour_information(z, v, k)) == pytest.approx(expected, abs=1e-6)


def test_neighbour_information_of_overlapping_uniforms(taught):
    generator = torch.Generator().manual_seed(1)
    v = torch.arange(2).repeat(1_500)
    z = v / 2 + torch.rand(3_000, generator=generator, dtype=torch.float64)
    assert float(taught.neighbour_information(z, v)) == pytest.approx(0.5 * math.log(2), abs=0.03)


def test_neighbour_information_is_never_negative(taught):
    torch.manual_seed(0)
    pairs = [(torch.randn(200).double(), torch.randint(4, (200,))) for _ in range(10)]
    values = [float(taught.neighbour_information(*pair)) for pair in pairs]
    assert min(values) == 0


def test_a_linear_classifier_misses_the_middle_levels(taught):
    """On a perfect axis the ends are told, and nearly nothing between; few levels are all told."""
    torch.manual_seed(0)
    for size, C, low, high in ((3, 1, 1.0, 1.0), (4, 1, 1.0, 1.0), (10, 0.01, 0.15, 0.3)):
        v = taught.draw_levels(3_000, (size,))
        share, told = taught.levels_told(taught.perfect(v, (size,))[:, 0], v[:, 0], C)
        assert low <= share <= high
        assert told <= size


def test_explicitness_is_the_mean_area_of_scikit_learn(taught):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, (200, 3)) / 5
    levels = rng.integers(0, 3, 200)
    expected = np.mean([roc_auc_score(levels == c, scores[:, c]) for c in range(3)])
    value = taught.explicitness(torch.as_tensor(scores), torch.as_tensor(levels))
    assert float(value) == pytest.approx(expected)


def test_scores_of_known_matrices(taught):
    eye, even = torch.eye(4, dtype=torch.float64), torch.full((4, 4), 0.25, dtype=torch.float64)
    assert [float(x) for x in taught.disentanglement_completeness(eye)] == pytest.approx([1, 1])
    assert [float(x) for x in taught.disentanglement_completeness(even)] == pytest.approx([0, 0])
    assert float(taught.modularity(eye)) == 1
    assert float(taught.modularity(even)) == pytest.approx(0)
    on = torch.ones(4, dtype=torch.bool)
    assert float(taught.info_c(eye, on)) == pytest.approx(1)
    assert float(taught.info_c(even, on)) == pytest.approx(0)
    # A factor on two axes: shares 1/2, 1, 1, 1 over five axes.
    two = torch.cat([eye, eye[:, :1]], 1)
    expected = (3.5 / 4 - 1 / 5) / (1 - 1 / 5)
    assert float(taught.info_c(two, torch.ones(5, dtype=torch.bool))) == pytest.approx(expected)


def test_a_dead_axis_changes_neither_d_nor_where_it_stands(taught):
    rng = np.random.default_rng(0)
    R = torch.as_tensor(rng.dirichlet(np.ones(5), 3))
    D, _ = taught.disentanglement_completeness(R)
    dead_first = torch.cat([torch.zeros(3, 1), R], 1)
    assert float(taught.disentanglement_completeness(dead_first)[0]) == pytest.approx(float(D))


def test_sap_of_two_axes(taught):
    """v with z0 = v and z1 = v + noise of the same variance: R² are 1 and about 1/2."""
    generator = torch.Generator().manual_seed(0)
    v = torch.randint(10, (50_000, 1), generator=generator)
    noise = torch.randn(50_000, 1, generator=generator, dtype=torch.float64) * math.sqrt(99 / 12)
    assert float(taught.sap_r2(torch.cat([v, v + noise], 1), v)) == pytest.approx(0.5, abs=0.02)


def test_factorvae_score_of_known_codes(taught, samples):
    z, v = samples
    torch.manual_seed(0)
    assert taught.factorvae_score(z, v, 300) == 1
    assert taught.factorvae_score(taught.with_dead_and_noise(z), v, 300) == 1
    assert taught.factorvae_score(torch.randn_like(z), v, 1_500) < 0.35


def test_info_e_of_what_cannot_be_told(taught, samples):
    z, v = samples
    torch.manual_seed(0)
    assert taught.info_e(z, v, 200) > 0.95
    assert abs(taught.info_e(torch.randn_like(z), v)) < 0.05


def test_frechet_distance_against_the_matrix_root(taught):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((500, 4)) @ rng.standard_normal((4, 4))
    b = rng.standard_normal((400, 4)) @ rng.standard_normal((4, 4)) + 1
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum()
    expected += np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    value = taught.frechet_distance(torch.as_tensor(a), torch.as_tensor(b))
    assert value == pytest.approx(expected, rel=1e-8)


def test_the_codes_are_what_they_are_called(taught, samples):
    z, v = samples
    back = taught.rotated(taught.rotated(z, 30), -30)
    assert torch.allclose(back, z)
    assert torch.allclose(taught.rotated(z, 90)[:, 0].abs(), z[:, 1].abs())
    assert taught.permuted(z).sum(1).allclose(z.sum(1))
    labels = taught.two_on_one(v)
    assert torch.equal(labels[:, 0] // 10, v[:, 0])
    assert torch.equal(labels[:, 0] % 10, v[:, 1])
    wheels = taught.hue_wheels(v, jitter=0)
    assert torch.allclose(wheels[:, :3] ** 2 + wheels[:, 3:6] ** 2, torch.ones(1).double())
    assert taught.one_bit(v).unique().tolist() == [0, 1]


def test_spare_labels_tell_the_level(taught, samples):
    v = samples[1]
    torch.manual_seed(0)
    labels = taught.spare_labels(v)
    for label, level in zip(labels.T, v.T, strict=True):
        assert all(level[label == value].unique().numel() == 1 for value in label.unique())


def test_the_almost_dead_axis_lies_between_the_rules(taught, samples):
    z = taught.almost_dead(samples[0])
    width = z.amax(0) - z.amin(0)
    assert 1 / 20 < width[6] / width.max() < 1 / 8


def test_the_test_bench_is_that_of_the_published_numbers(taught):
    (z, v), (z_test, v_test) = taught.bench_codes()
    assert (z.shape, z_test.shape, v_test.shape) == ((10_000, 10), (5_000, 10), (5_000, 6))
    assert metrics.mig(z, v).scalars["MIG"] == pytest.approx(0.5701471998312044, abs=1e-6)


# --- exercises ---------------------------------------------------------------------------------


def information_with(
    log=torch.log,
    sign=1,
    scale=1.0,
    extra=lambda zv, z, v: zv - z - v + 1,
    per=2,
    size=None,
    clip=False,
):
    def mutual_information(counts):
        n = counts.sum()
        p = counts.double() / n
        p_z, p_v = p.sum(1, keepdim=True), p.sum(0, keepdim=True)
        seen = p > 0
        plug_in = sign * scale * (p[seen] * log((p / (p_z * p_v))[seen])).sum()
        m = (int(seen.sum()), int((p_z > 0).sum()), int((p_v > 0).sum()))
        if size == "levels":
            m = (counts.numel(), counts.shape[0], counts.shape[1])
        corrected = plug_in - extra(*m) / (per * n)
        return plug_in, corrected.clamp_min(0) if clip else corrected

    return mutual_information


def information_of_raw_counts(counts):
    """Forgets to divide: -441 on the first table of the check."""
    own = counts.double()
    plug_in = (own * (own / (own.sum(1, keepdim=True) * own.sum(0))).log()).sum()
    return plug_in, plug_in - 0.005


def information_with_epsilon(joint=1e-8, margins=1e-8, seen_before=True):
    def mutual_information(counts):
        n = counts.sum()
        p = counts.double() / n
        m = [int((x > 0).sum()) for x in (p, p.sum(1), p.sum(0))]
        if not seen_before:
            p = p + joint
            m = [int((x > 0).sum()) for x in (p, p.sum(1), p.sum(0))]
        product = p.sum(1, keepdim=True) * p.sum(0)
        plug_in = (p * ((p + joint) / (product + margins)).log()).sum()
        return plug_in, plug_in - (m[0] - m[1] - m[2] + 1) / (2 * n)

    return mutual_information


def information_by_entropies_with_epsilon(counts):
    p = counts.double() / counts.sum()
    h_zv, h_z, h_v = (-(x * (x + 1e-8).log()).sum() for x in (p, p.sum(1), p.sum(0)))
    plug_in = h_z + h_v - h_zv
    right = information_with()(counts)
    return plug_in, plug_in - (right[0] - right[1])


def information_in_single_precision(counts):
    n = counts.sum()
    p = counts / n
    p_z, p_v = p.sum(1, keepdim=True), p.sum(0, keepdim=True)
    seen = p > 0
    plug_in = (p[seen] * (p / (p_z * p_v))[seen].log()).sum()
    bias = (seen.sum() - (p_z > 0).sum() - (p_v > 0).sum() + 1) / (2 * n)
    return torch.stack([plug_in, plug_in - bias])


def information_by_entropies(counts):
    n = int(counts.sum())

    def entropy(values):
        values = [c / n for c in values.flatten().tolist() if c]
        return -sum(p * math.log(p) for p in values), len(values)

    (h_zv, m_zv), (h_z, m_z), (h_v, m_v) = map(entropy, (counts, counts.sum(1), counts.sum(0)))
    plug_in = h_z + h_v - h_zv
    return plug_in, plug_in - ((m_zv - 1) - (m_z - 1) - (m_v - 1)) / (2 * n)


def with_nan(counts):
    p = counts.double() / counts.sum()
    plug_in = (p * (p / (p.sum(1, keepdim=True) * p.sum(0))).log()).sum()
    return plug_in, information_with()(counts)[1]


def mig_by_topk(information, entropy):
    if information.shape[1] == 1:
        return (information[:, 0] / entropy).mean()
    best = information.topk(2, dim=1).values
    return ((best[:, 0] - best[:, 1]) / entropy).mean()


def mig_by_lists(information, entropy):
    gaps = []
    for row, h in zip(information.tolist(), entropy.tolist(), strict=True):
        first, second = sorted([*row, 0.0], reverse=True)[:2]
        gaps.append((first - second) / h)
    return sum(gaps) / len(gaps)


def gaps(matrix):
    best = torch.nn.functional.pad(matrix, (0, 1)).sort(dim=1, descending=True).values
    return best[:, 0] - best[:, 1]


def mig_of_distinct(information, entropy):
    rows = [row.unique().flip(0) for row in torch.nn.functional.pad(information, (0, 1))]
    return torch.stack([r[0] - r[1] for r in rows]).div(entropy).mean()


def padded(matrix):
    return torch.nn.functional.pad(matrix, (0, 1))


def mig_between_factors(information, entropy):
    best = padded(information / entropy[:, None]).sort(dim=0, descending=True).values
    return (best[0] - best[1]).mean()


def mig_to_the_worst(information, entropy):
    best = padded(information / entropy[:, None]).sort(dim=1, descending=True).values
    return (best[:, 0] - best[:, -1]).mean()


def mig_of_two_axes(information, entropy):
    best = (information / entropy[:, None]).sort(dim=1, descending=True).values
    return (best[:, 0] - best[:, 1]).mean()


def mig_by_bare_topk(information, entropy):
    best = (information / entropy[:, None]).topk(2, dim=1).values
    return (best[:, 0] - best[:, 1]).mean()


def mig_without_padding(information, entropy):
    best = information.sort(dim=1, descending=True).values
    return ((best[:, 0] - best[:, 1:2].sum(1)) / entropy).mean() * (information.shape[1] > 1)


def explicitness_with(tie=0.5, turn=False, weighted=False, missing="left out", nothing=0.5):
    def explicitness(scores, levels):
        areas, weights = [], []
        for c in range(scores.shape[1]):
            own, rest = scores[levels == c, c], scores[levels != c, c]
            if not (len(own) and len(rest)) and missing == "left out":
                continue
            difference = (rest - own[:, None]) if turn else (own[:, None] - rest)
            area = (difference > 0).double().mean() + tie * (difference == 0).double().mean()
            areas.append(area if missing != "zero" else area.nan_to_num(0))
            weights.append(float(len(own)) if weighted else 1.0)
        if not areas:
            return nothing
        weights = torch.tensor(weights).double()
        return (torch.stack(areas) * weights).sum() / weights.sum()

    return explicitness


def explicitness_pooled(scores, levels):
    in_order = pairs = 0
    for c in range(scores.shape[1]):
        own, rest = scores[levels == c, c], scores[levels != c, c]
        difference = own[:, None] - rest
        in_order += ((difference > 0).double() + 0.5 * (difference == 0)).sum()
        pairs += difference.numel()
    return in_order / pairs


def explicitness_by_ranks(scores, levels, descending=False):
    areas = []
    for c in range(scores.shape[1]):
        column = -scores[:, c] if descending else scores[:, c]
        rank = column.argsort(stable=True).argsort() + 1.0
        rank = len(rank) + 1 - rank if descending else rank
        own = levels == c
        n, rest = own.sum(), (~own).sum()
        areas.append((rank[own].sum() - n * (n + 1) / 2) / (n * rest))
    return torch.stack(areas).mean()


def explicitness_flat(scores, levels):
    own = torch.nn.functional.one_hot(levels, scores.shape[1])
    return roc_auc_score(own.flatten().numpy(), scores.flatten().numpy())


def explicitness_of_one(level):
    return lambda scores, levels: roc_auc_score((levels == level).numpy(), scores[:, level].numpy())


def explicitness_without_the_empty_case(scores, levels):
    areas = [
        torch.tensor(roc_auc_score((levels == c).numpy(), scores[:, c].numpy()))
        for c in range(scores.shape[1])
        if 0 < (levels == c).sum() < len(levels)
    ]
    return torch.stack(areas).mean()


def explicitness_by_scikit_learn(scores, levels):
    areas = [
        roc_auc_score((levels == c).numpy(), scores[:, c].numpy())
        for c in range(scores.shape[1])
        if 0 < (levels == c).sum() < len(levels)
    ]
    return float(np.mean(areas)) if areas else 0.5


def info_m_with(keep=lambda nmi, active: nmi[:, active], scale=True, n=None, drop=True):
    def info_m(nmi, active):
        columns = keep(nmi, active)
        if drop:
            columns = columns[:, columns.sum(0) > 0]
        if columns.shape[1] == 0 or len(nmi) == 1:
            return float(columns.shape[1] > 0)
        share = (columns.amax(0) / columns.sum(0)).mean()
        k = n(nmi, active) if n else len(nmi)
        return (share - 1 / k) / (1 - 1 / k) if scale else share

    return info_m


def info_m_by_lists(nmi, active):
    shares = []
    for column, on in zip(nmi.T.tolist(), active.tolist(), strict=True):
        if on and sum(column) > 0:
            shares.append(max(column) / sum(column))
    if not shares:
        return 0.0
    k = len(nmi)
    return 1.0 if k == 1 else (sum(shares) / len(shares) * k - 1) / (k - 1)


def pooled(nmi, active):
    columns = nmi[:, active]
    share = columns.amax(0).sum() / columns.sum()
    return (share - 1 / len(nmi)) / (1 - 1 / len(nmi))


def by_gap(nmi, active):
    return gaps(nmi[:, active].T).mean()


def scaled(value, nmi):
    return (value - 1 / len(nmi)) / (1 - 1 / len(nmi))


def gap_over_sum(nmi, active):
    columns = nmi[:, active]
    return (gaps(columns.T) / columns.sum(0)).mean()


def by_rows(nmi, active):
    columns = nmi[:, active]
    return (columns.amax(1) / columns.sum(1)).mean()


def one_factor_is_always_one(nmi, active):
    return 1.0 if len(nmi) == 1 else info_m_with()(nmi, active)


def info_c(nmi, active):
    columns = nmi[:, active]
    share, n = (columns.amax(1) / columns.sum(1)).mean(), columns.shape[1]
    return (share - 1 / n) / (1 - 1 / n)


def silent_counts_as_zero(nmi, active):
    columns = nmi[:, active]
    share = (columns.amax(0) / columns.sum(0)).nan_to_num(0).mean()
    return (share - 1 / len(nmi)) / (1 - 1 / len(nmi))


RIGHT = [
    ("information", information_by_entropies),
    ("information", information_with()),
    ("information", lambda counts: [float(x) for x in information_with()(counts)]),
    ("information", lambda counts: torch.stack(information_with()(counts))),
    ("information", information_in_single_precision),
    ("mig", mig_by_topk),
    ("mig", mig_by_lists),
    ("mig", lambda i, h: metrics.gap(i / h[:, None])),
    ("explicitness", explicitness_with()),
    ("explicitness", explicitness_by_scikit_learn),
    ("info_m", info_m_with()),
    ("info_m", info_m_by_lists),
    ("info_m", metrics.info_m),
]

WRONG = [
    ("information", "returns nothing", lambda counts: None),
    ("information", "natural logarithms", information_with(log=torch.log2)),
    ("information", "sign", information_with(sign=-1)),
    ("information", "divide the counts", information_with(scale=100)),
    ("information", "divide the counts", information_of_raw_counts),
    ("information", "two numbers", lambda counts: information_with()(counts)[0]),
    ("information", "two numbers", lambda counts: float(information_with()(counts)[0])),
    ("information", "the other way round", lambda counts: information_with()(counts)[::-1]),
    ("information", "small number", information_with_epsilon()),
    ("information", "leave empty cells out", information_with_epsilon(margins=0)),
    ("information", "small number", information_with_epsilon(seen_before=False)),
    ("information", "small number", information_by_entropies_with_epsilon),
    ("information", "subtract", information_with(extra=lambda zv, z, v: -(zv - z - v + 1))),
    ("information", "not by N", information_with(per=1)),
    ("information", "m_zv - 1 alone", information_with(extra=lambda zv, z, v: zv - 1)),
    ("information", "hint 3", information_with(extra=lambda zv, z, v: zv - z - v)),
    ("information", "leave empty cells out", with_nan),
    ("information", "was seen", information_with(size="levels")),
    ("information", "unclipped", information_with(clip=True)),
    ("mig", "returns nothing", lambda i, h: None),
    ("mig", "average over the factors", lambda i, h: gaps(i / h[:, None])),
    ("mig", "do not sum", lambda i, h: gaps(i / h[:, None]).sum()),
    ("mig", "entropy of its factor", lambda i, h: gaps(i).mean()),
    ("mig", "own entropy", lambda i, h: gaps(i).sum() / h.sum()),
    ("mig", "between axes", lambda i, h: gaps((i / h[:, None]).T).mean()),
    ("mig", "not the worst", lambda i, h: ((i.amax(1) - i.amin(1)) / h).mean()),
    ("mig", "between axes", mig_between_factors),
    ("mig", "not the worst", mig_to_the_worst),
    ("mig", "count it as 0", mig_of_two_axes),
    ("mig", "count it as 0", mig_by_bare_topk),
    ("mig", "two equal axes", mig_of_distinct),
    ("mig", "with one axis", mig_without_padding),
    ("explicitness", "returns nothing", lambda scores, levels: None),
    ("explicitness", "counts as 0", explicitness_with(tie=0)),
    ("explicitness", "counts as 1", explicitness_with(tie=1)),
    ("explicitness", "turned round", explicitness_with(turn=True)),
    ("explicitness", "same weight", explicitness_with(weighted=True)),
    ("explicitness", "accuracy", lambda s, v: (s.argmax(1) == v).double().mean()),
    ("explicitness", "do not pool", explicitness_pooled),
    ("explicitness", "counts as 0", explicitness_by_ranks),
    ("explicitness", "counts as 1", lambda s, v: explicitness_by_ranks(s, v, descending=True)),
    ("explicitness", "across all columns", explicitness_flat),
    ("explicitness", "area of one level", explicitness_of_one(0)),
    ("explicitness", "area of one level", explicitness_of_one(1)),
    ("explicitness", "area of one level", explicitness_of_one(2)),
    ("explicitness", "one level only", explicitness_with(nothing=None)),
    ("explicitness", "one level only", explicitness_without_the_empty_case),
    ("explicitness", "leave it out", explicitness_with(missing="nan")),
    ("explicitness", "out of the mean", explicitness_with(missing="zero")),
    ("explicitness", "one level only", explicitness_with(nothing=0.0)),
    ("info_m", "returns nothing", lambda nmi, active: None),
    ("info_m", "NaN", info_m_with(keep=lambda nmi, active: nmi, drop=False)),
    ("info_m", "scale", info_m_with(scale=False)),
    ("info_m", "not active", info_m_with(keep=lambda nmi, active: nmi)),
    ("info_m", "InfoC", info_c),
    ("info_m", "not of active", info_m_with(n=lambda nmi, active: int(active.sum()))),
    ("info_m", "not of axes", info_m_with(n=lambda nmi, active: nmi.shape[1])),
    ("info_m", "then average", pooled),
    ("info_m", "not the gap", by_gap),
    ("info_m", "not the gap", gap_over_sum),
    ("info_m", "not the gap", lambda nmi, active: scaled(gap_over_sum(nmi, active), nmi)),
    ("info_m", "InfoC", by_rows),
    ("info_m", "InfoC", lambda nmi, active: scaled(by_rows(nmi, active), nmi)),
    ("info_m", "divide by 1", lambda nmi, on: info_m_with(scale=False)(nmi, on) - 1 / len(nmi)),
    (
        "info_m",
        "K counts every factor",
        info_m_with(n=lambda n, a: int((n[:, a].sum(1) > 0).sum())),
    ),
    ("info_m", "no active axis", one_factor_is_always_one),
    ("info_m", "tells nothing", info_m_with(drop=False)),
    ("info_m", "tells nothing", silent_counts_as_zero),
]
