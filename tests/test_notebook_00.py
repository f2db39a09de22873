"""The exercise of notebook 00: its check knows right from wrong."""

import pytest
import torch
from exercises import assert_rejected, check_cell

RIGHT = [
    lambda a, b: ((a.double() - b.double()) ** 2).sum((1, 2, 3)).sqrt().float() / 255,
    lambda a, b: torch.linalg.vector_norm((a.float() - b.float()) / 255, dim=(1, 2, 3)),
]
WRONG = {
    "returns nothing": lambda a, b: None,
    "wraps round": lambda a, b: ((a - b).float() / 255).flatten(1).norm(dim=1),
    "divide by 255": lambda a, b: (a.float() - b.float()).flatten(1).norm(dim=1),
    "square root": lambda a, b: ((a.float() - b.float()) / 255).flatten(1).pow(2).sum(1),
    "grey values": lambda a, b: ((a - b) ** 2).flatten(1).sum(1).sqrt(),
    "expected \\(3,\\)": lambda a, b: ((a.float() - b.float()) / 255).norm(),
}


@pytest.mark.parametrize("answer", RIGHT)
def test_right_answers_pass(answer):
    check_cell("00_start_here", "pixel_distance_check", pixel_distance=answer)


@pytest.mark.parametrize("message", WRONG)
def test_wrong_answers_are_told_their_mistake(message):
    assert_rejected("00_start_here", "pixel_distance_check", message, pixel_distance=WRONG[message])
