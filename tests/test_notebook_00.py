"""The exercise of notebook 00: its check knows right from wrong."""

import torch

RIGHT = [
    (
        "pixel_distance",
        lambda a, b: ((a.double() - b.double()) ** 2).sum((1, 2, 3)).sqrt().float() / 255,
    ),
    (
        "pixel_distance",
        lambda a, b: torch.linalg.vector_norm((a.float() - b.float()) / 255, dim=(1, 2, 3)),
    ),
]
WRONG = [
    ("pixel_distance", "returns nothing", lambda a, b: None),
    ("pixel_distance", "wraps round", lambda a, b: ((a - b).float() / 255).flatten(1).norm(dim=1)),
    (
        "pixel_distance",
        "divide by 255",
        lambda a, b: (a.float() - b.float()).flatten(1).norm(dim=1),
    ),
    (
        "pixel_distance",
        "square root",
        lambda a, b: ((a.float() - b.float()) / 255).flatten(1).pow(2).sum(1),
    ),
    ("pixel_distance", "grey values", lambda a, b: ((a - b) ** 2).flatten(1).sum(1).sqrt()),
    ("pixel_distance", "expected \\(3,\\)", lambda a, b: ((a.float() - b.float()) / 255).norm()),
]
