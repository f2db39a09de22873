"""Examples in docstrings give what they say."""

import doctest
import importlib
import inspect

import pytest
import torch

from dvae_lib import metrics

MODULES = """
data data.digits data.factor_data data.faces data.rooms data.sprites metrics.betavae metrics.dci
metrics.dci_es metrics.factorvae metrics.frechet metrics.infomec metrics.information
metrics.information_by_axis metrics.information_scores metrics.irs metrics.probes metrics.report
""".split()


def test_every_metric_has_an_example():
    functions = [f for f in vars(metrics).values() if inspect.isfunction(f)]
    assert len(functions) > 20
    assert [f.__name__ for f in functions if ">>>" not in f.__doc__] == []


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name):
    module = importlib.import_module(f"dvae_lib.{name}")
    found = doctest.testmod(module, extraglobs={"torch": torch})
    assert found.attempted > 0
    assert found.failed == 0
