"""Make the pictures of the first screen: notebooks/results/moving.webp and map.svg.

Run from the repository root: python tests/makers/make_front.py
"""

import torch
from PIL import Image

from dvae_lib import figures, paths
from dvae_lib.site import front, live

# Of the first hundred images that notebook 05 shows, eight of different hues and hands.
SHOWN = [13, 1, 4, 19, 7, 35, 36, 18]
BETWEEN, HOLD, STEP = 3, 900, 60  # frames from digit to digit; milliseconds
ENLARGED = 3


def frames():
    """One picture a frame: real images above, below them the decoder, told which digit to write."""
    shown = live.on_page("05_two_code_information")["cross_widgets = {}"]
    network = shown["told, stored long run"].network
    given, z_1, digits = network.images[SHOWN] / 255, network.z_1[SHOWN], torch.eye(10)
    for digit in range(10):
        for k in range(BETWEEN + 1):
            share = k / (BETWEEN + 1)
            z_2 = torch.lerp(digits[digit], digits[(digit + 1) % 10], share).repeat(len(SHOWN), 1)
            with torch.no_grad():
                made = network.model.decode(z_1, z_2)
            sheet = figures.tile(torch.cat([given, made]), len(SHOWN))
            size = [ENLARGED * side for side in sheet.shape[1::-1]]
            picture = Image.fromarray(sheet).resize(size, Image.Resampling.NEAREST)
            yield picture, STEP if k else HOLD


pictures, durations = zip(*frames(), strict=True)
results = paths.notebooks_folder() / "results"
pictures[0].save(
    results / "moving.webp",
    save_all=True,
    append_images=pictures[1:],
    duration=durations,
    loop=0,
    quality=90,
    method=6,
)
(results / "map.svg").write_text(front.draw_map(), encoding="utf-8")
for name in ("moving.webp", "map.svg"):
    print(f"{name}: {(results / name).stat().st_size:,} bytes")
