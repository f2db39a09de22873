"""Results: intervals, claims, tables and stored sweeps."""

import math

import pytest
from scipy import stats

from dvae_lib import files, sources
from dvae_lib.results import Row, Sweep, interval, results_table


def test_interval_of_a_published_table():
    """Five values with df = 4: Student's t is 2.776 in every table; s = sqrt(2.5)."""
    found = interval([1, 2, 3, 4, 5])
    half = 2.776 * math.sqrt(2.5 / 5)
    assert (found.mean, found.low, found.high) == pytest.approx((3, 3 - half, 3 + half), abs=1e-3)
    assert str(found) == "3 [1.037, 4.963] over 5 seeds"


def test_interval_agrees_with_scipy():
    values = [0.3, 0.9, 0.35, 0.7]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = interval(values)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_one_seed_has_no_interval_and_none_is_an_error():
    found = interval([0.5])
    assert found.mean == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    with pytest.raises(ValueError, match="no values"):
        interval([])


@pytest.mark.parametrize(
    ("bounds", "held"),
    [
        ({}, None),
        ({"at_least": 0.5}, True),  # the bounds belong to the claim
        ({"at_least": 0.51}, False),
        ({"at_most": 0.5}, True),
        ({"at_most": 0.49}, False),
        ({"at_least": 0.4, "at_most": 0.6}, True),
        ({"at_least": 0.6, "at_most": 0.4}, False),
    ],
)
def test_a_claim_holds_within_its_bounds(bounds, held):
    assert Row("x", 0.5, **bounds).held is held


ROWS = [
    Row("accuracy", 0.91, paper=0.97, at_least=0.9),
    Row("loss <of all>", 123.456, "nats", paper="about 120", at_most=100),
    Row("seconds", 3.0, "s"),
]


def test_a_failed_claim_is_shown_as_failed():
    _, held, failed, plain = results_table(ROWS, "classroom").rows
    assert held == ("accuracy", "0.91", "0.97", "≥ 0.9", "held")
    assert failed == ("loss <of all>", "123.5 nats", "about 120", "≤ 100", "FAILED")
    assert plain == ("seconds", "3 s", "", "", "")


def test_smoke_asserts_nothing():
    shown = repr(results_table(ROWS, "smoke"))
    assert "FAILED" not in shown
    assert "held" not in shown
    assert shown.count("not asserted at tier smoke") == 2


def test_the_table_is_escaped_html():
    table = results_table(ROWS, "paper")._repr_html_()
    assert ">loss &lt;of all&gt;</td>" in table
    assert ">FAILED</td>" in table


def stored_run(seed, value, tier="classroom", code="", **settings):
    return {
        "tier": tier,
        "seed": seed,
        "settings": settings,
        "rows": [vars(Row("loss", value))],
        "code": code,
        "device": "CPU, 2 threads",
        "versions": {"torch": "2.15"},
        "commit": "0123456789abcdef",
    }


def test_a_missing_sweep_says_how_to_make_one(checkout):
    sweep = Sweep.read("demo")
    assert sweep.values("loss") == []
    assert not sweep.out_of_date
    assert "dvae sweep demo --seeds 0-4" in repr(sweep)


def test_a_damaged_sweep_names_the_file(checkout):
    (checkout.notebooks / "results" / "demo.json").write_text('{"runs": [')
    with pytest.raises(ValueError, match=r"demo\.json is damaged"):
        Sweep.read("demo")


def test_a_sweep_gives_values_by_tier_and_setting_in_the_order_of_seeds(checkout):
    runs = [
        stored_run(10, 3.0, beta=1),
        stored_run(2, 2.0, beta=1),
        stored_run(2, 8.0, beta=4),
        stored_run(2, 9.0, tier="smoke", beta=1),
    ]
    files.write_json(sources.results_path("demo"), {"notebook": "demo", "runs": runs})
    sweep = Sweep.read("demo")
    assert sweep.values("loss", beta=1) == [2.0, 3.0]
    assert sweep.values("loss", beta=4) == [8.0]
    assert sweep.values("loss", tier="smoke", beta=1) == [9.0]
    assert sweep.values("loss") == []  # settings are never pooled
    assert sweep.values("other") == []


def test_a_stored_sweep_knows_when_its_code_has_changed(checkout):
    checkout.write("demo", "x = 1")
    sweep = Sweep("demo", [stored_run(0, 1.0, code=sources.code_digest("demo"))])
    assert not sweep.out_of_date
    assert repr(sweep).startswith("1 stored runs, tier classroom, CPU, 2 threads, torch 2.15")
    checkout.write("demo", "x = 2")
    assert sweep.out_of_date
    assert repr(sweep).startswith("OUT OF DATE")
