"""Makes notebooks/results/first_screen.webp, the moving picture at the top of the README.

Three rows, each decoded by a stored model of a long run: digits on given styles (05), expressions
that pass from one face to another (06), the identity that slides from target to source (10). The
notebooks are executed at tier smoke, which trains next to nothing, and their namespaces used.

Usage: python tests/makers/make_first_screen.py
"""

import contextlib
import io
import math

import nbformat
import torch
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image, ImageDraw, ImageFont

from dvae_lib import paths

TILE, COLUMNS, FRAMES, MILLISECONDS = 96, 6, 40, 90
BELOW = 22  # pixels for the words below each row


def namespace(notebook):
    """What a notebook defines when it is executed at tier smoke."""
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    for cell in nbformat.read(paths.notebook_path(notebook), as_version=4).cells:
        if cell.cell_type == "code":
            source = cell.source.replace('tier = "classroom"', 'tier = "smoke"')
            quiet = contextlib.redirect_stdout(io.StringIO())
            with quiet, contextlib.redirect_stderr(io.StringIO()):
                shell.run_cell(source).raise_error()
    return shell.user_ns


def to_and_fro(frame):
    """0 at the first frame, 1 in the middle, smooth and periodic."""
    return (1 - math.cos(2 * math.pi * frame / FRAMES)) / 2


def digits(space):
    """Frames of rows (COLUMNS, C, H, W): z1 of six images, z2 = 0, 1, ... 9."""
    vae, asked = space["stored"]["full"].module, space["asked"]
    rows = torch.arange(COLUMNS)
    z2 = vae.specified(asked.factors)
    z1, _ = vae.posterior(asked.images[rows], z2[rows])
    for frame in range(FRAMES):
        given = asked.factors[rows].clone()
        given[:, 0] = frame * 10 // FRAMES
        yield vae.decode(z1, vae.specified(given))


def expressions(space):
    """The expression's partition goes from each face's own code to another's, and back."""
    vae, test = space["stored"]["gated"].module, space["test"]
    codes = space["codes_of"](vae, test)
    mask = space["face_parts"].masks[space["face_parts"].names.index("expression")]
    first, k = torch.arange(COLUMNS), test.column("expression")
    others = [int((test.factors[:, k] == (test.factors[i, k] + 3) % 8).nonzero()[0]) for i in first]
    for frame in range(FRAMES):
        share = to_and_fro(frame) * mask
        yield vae.decode(torch.lerp(codes[first], codes[others], share))


def swaps(space):
    """The identity of six people in other pictures: the target's own, the source's, and back."""
    pairs = ((6, 3), (9, 6), (3, 5), (0, 8), (7, 1), (4, 2))
    for frame in range(FRAMES):
        share = to_and_fro(frame)
        slid, weights = space["slid"], space["opened"]["WSC-swap"]
        yield torch.stack([slid(weights, *pair, share) for pair in pairs])


ROWS = (
    ("05_two_code_information", digits, "another digit, the same colours and style"),
    ("06_gated_vae", expressions, "another expression, the same person and pose"),
    ("10_face_swapping", swaps, "another identity, the same picture"),
)


def strip(images):
    """A row of pictures (COLUMNS, 3, H, W) in [0, 1] as one image."""
    row = Image.new("RGB", (COLUMNS * TILE, TILE))
    for k, image in enumerate(images.clamp(0, 1)):
        pixels = (255 * image).round().byte().permute(1, 2, 0).cpu().numpy()
        row.paste(Image.fromarray(pixels).resize((TILE, TILE), Image.BICUBIC), (k * TILE, 0))
    return row


def main():
    sheets = [
        Image.new("RGB", (COLUMNS * TILE, len(ROWS) * (TILE + BELOW)), "white")
        for _ in range(FRAMES)
    ]
    font = ImageFont.load_default(14)
    for k, (notebook, frames, words) in enumerate(ROWS):
        top, space = k * (TILE + BELOW), namespace(notebook)
        with torch.no_grad():
            for sheet, images in zip(sheets, frames(space), strict=True):
                sheet.paste(strip(images), (0, top))
                ImageDraw.Draw(sheet).text((2, top + TILE + 1), words, "black", font)
    path = paths.notebooks_folder() / "results" / "first_screen.webp"
    options = {"save_all": True, "append_images": sheets[1:], "duration": MILLISECONDS, "loop": 0}
    sheets[0].save(path, quality=80, method=6, **options)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, {FRAMES} frames")


if __name__ == "__main__":
    main()
