"""Results: intervals, claims, tables and stored sweeps."""

import math

import pytest
from scipy import stats

from dvae_lib.results import Row, interval, results_table
from dvae_lib.tables import Table


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
    """Measurements without a claim or a published number are folded."""
    table = results_table(ROWS, "classroom")
    heads, held, failed = table.rows
    assert heads == ("", "this run, classroom", "published", "claim", "")
    assert held == ("accuracy", "0.91", "0.97", "≥ 0.9", "held")
    assert failed == ("loss <of all>", "123.5 nats", "about 120", "≤ 100", "FAILED")
    assert table.folded == [("seconds", "3 s", "", "", "")]
    assert repr(table).endswith("and 1 more measurements")
    page = table._repr_html_()
    assert page.index("FAILED") < page.index("<details>") < page.index("3 s")


def test_folded_rows_are_shown_without_columns_that_they_leave_empty():
    table = Table([("", "run", "claim"), ("a", "1", "≥ 0")], [("b", "2", ""), ("c", "", "")])
    shown, folded = table._repr_html_().split("<details>")
    assert shown.count("<th") == 3
    assert folded.count("<th") == 2
    assert folded.count("<td") == 4


def test_stored_seeds_and_the_long_run_stand_beside_this_run():
    seeds = {"accuracy": [0.95, 0.96, 0.97], "loss <of all>": [99.0, 101.0], "seconds": [1.0]}
    table = results_table(ROWS, "classroom", seeds, {"accuracy": 0.99})
    heads, held, undecided = table.rows
    assert heads[1:4] == ("this run, classroom", "stored seeds", "stored long run")
    assert held[2:] == (str(interval(seeds["accuracy"])), "0.99", "0.97", "≥ 0.9", "held")
    assert undecided[3:] == ("", "about 120", "≤ 100", "undecided")


@pytest.mark.parametrize(
    ("value", "seeds", "words"),
    [
        (0.91, [], "held"),
        (0.89, [], "FAILED"),
        (0.89, [0.95], "FAILED"),  # one seed has no interval
        (0.91, [0.95, 0.951], "held"),
        (0.89, [0.95, 0.951], "held, not met by this run"),
        (0.91, [0.80, 0.801], "REFUTED, met by this run"),
        (0.89, [0.80, 0.801], "REFUTED"),
        (0.91, [0.80, 0.99], "undecided, met by this run"),
        (0.89, [0.80, 0.99], "undecided"),
    ],
)
def test_the_interval_over_seeds_gives_the_verdict(value, seeds, words):
    row = Row("accuracy", value, at_least=0.9)
    assert results_table([row], "classroom", {"accuracy": seeds}).rows[1][-1] == words


def test_an_interval_that_touches_both_sides_of_a_bound_is_undecided():
    """Mean 0.9 exactly at the bound; and a claim of two bounds, missed on either side."""
    row = Row("accuracy", 0.9, at_least=0.9, at_most=0.95)
    assert row.verdict([0.89, 0.91]) == "undecided"
    assert row.verdict([0.91, 0.911, 0.912]) == "held"
    assert row.verdict([0.96, 0.961]) == row.verdict([0.80, 0.801]) == "refuted"
    assert Row("seconds", 3.0).verdict([1.0, 2.0]) == ""


def test_smoke_asserts_nothing():
    shown = repr(results_table(ROWS, "smoke"))
    assert "FAILED" not in shown
    assert "held" not in shown
    assert shown.count("not asserted at tier smoke") == 2


def test_the_table_is_escaped_html():
    table = results_table(ROWS, "paper")._repr_html_()
    assert ">loss &lt;of all&gt;</td>" in table
    assert ">FAILED</td>" in table
