"""Time from a slider's new value to new PNG bytes, for the standard 64x64x3 decoder.

Goal: under 100 ms.
"""

import statistics

import _measure
import torch

from dvae_lib import nets, widgets

MOVES = 200


def main():
    _measure.start("widget latency: " + __doc__.split("\n")[0])
    decoder = nets.Decoder(10, (3, 64, 64)).eval()
    widget = widgets.traverse(lambda codes: decoder(codes).sigmoid(), torch.randn(20, 10))
    widget._repr_mimebundle_()  # nothing is decoded before it is displayed
    times, pictures = [], {widget.picture.value}
    for move in range(MOVES):
        slider, value = widget.sliders[move % 10], -2 + 0.02 * move
        times.append(_measure.seconds(lambda s=slider, v=value: setattr(s, "value", v)))
        pictures.add(widget.picture.value)
    assert len(pictures) > MOVES / 2, "the sliders did not change the picture"
    median, worst = 1000 * statistics.median(times), 1000 * max(times)
    print(f"\nmedian {median:.1f} ms, worst of {MOVES} {worst:.1f} ms")


if __name__ == "__main__":
    main()
