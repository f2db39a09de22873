"""Metrics at 10,000 codes x 10 axes x 6 factors: the whole report, and ratios to scikit-learn.

Run from the repository: python tests/benchmarks/metrics.py
"""

import sys
from pathlib import Path

import _measure
import torch
from sklearn.feature_selection import mutual_info_classif

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import parity

from dvae_lib import metrics
from dvae_lib.metrics.report import METRICS

_measure.start("metrics: 10,000 codes x 10 axes, 6 factors, continuous and discrete codes")
z, y, zt, yt = parity.codes()
labels = parity.discrete(z)


def pair_by_pair():
    for axis in z.T:
        for factor in y.T:
            mutual_info_classif(axis[:, None].numpy(), factor.numpy(), n_neighbors=10)


cases = {
    "NMI of continuous codes, scikit-learn pair by pair": pair_by_pair,
    "NMI of continuous codes, ours": lambda: metrics.continuous_information(z, y),
    "the same, InfoM and InfoC": lambda: metrics.infomec(z, y, max_iter=1),
}
quick = [name for name in METRICS if name != "DCI"]
for name in quick:
    cases[name] = lambda name=name: metrics.report(z, y, [name], test=(zt, yt))
cases["InfoMEC, discrete"] = lambda: metrics.report(labels, y, ["InfoMEC"])
cases["all but DCI"] = lambda: metrics.report(z, y, quick, test=(zt, yt))
cases["all but DCI, discrete"] = lambda: metrics.report(labels, y, quick)
taken = _measure.alternate(cases, 3)
for name, seconds in taken.items():
    print(f"{seconds:8.3f} s  {name}")
reference, ours, _ = list(taken.values())[:3]
print(f"ratio, scikit-learn / ours: {reference / ours:.1f}")
if torch.cuda.is_available():
    on_gpu = [t.cuda() for t in (z, y)]
    metrics.continuous_information(*on_gpu)
    print(f"{_measure.seconds(lambda: metrics.continuous_information(*on_gpu)):8.3f} s  NMI, CUDA")
