"""A photograph through a bank of filters: one convolution layer, built by convgen from bank.yaml.

    python examples/photo/photo.py [--photo china|flower] [-o PICTURE.png] [--threads N]

Saves the photograph and its eight feature maps as one picture, compares a corner with the float64
oracle, and prints the time per image. Needs: pip install '.[test]' (scikit-learn brings the
photographs).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    from PIL import Image, ImageDraw
    from sklearn.datasets import load_sample_image
except ImportError as error:
    raise SystemExit(
        f"photo.py needs {error.name}: pip install 'convgen[test]', or in a clone of convgen "
        "pip install '.[test]' (scikit-learn brings the photographs)"
    ) from None

import convgen

SPEC = Path(__file__).resolve().with_name("bank.yaml")
CORNER = (98, 148)  # rows and columns of output that the oracle checks
TOLERANCE = 5e-5  # the error bound of 75 terms that add up to 9 at most, in float32

BRIGHTNESS = np.array([0.299, 0.587, 0.114])  # of red, green and blue (ITU-R BT.601)
SOBEL_X = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
LAPLACE = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
# The Laplacian of a blurred picture: edges of large things, not of single pixels.
COARSE_LAPLACE = np.array(
    [
        [0, 0, 1, 0, 0],
        [0, 1, 2, 1, 0],
        [1, 2, -16, 2, 1],
        [0, 1, 2, 1, 0],
        [0, 0, 1, 0, 0],
    ]
) / 4  # fmt: skip
BINOMIAL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
SHARPEN = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]])
EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])

# Name: filter and bias. Edges have two signs: their bias puts "no edge" at mid-grey.
GREY = {
    "sobel x": (SOBEL_X, 0.5),
    "sobel y": (SOBEL_X.T, 0.5),
    "laplace": (LAPLACE, 0.5),
    "coarse laplace": (COARSE_LAPLACE, 0.5),
}
COLOUR = {
    "blur": (BINOMIAL, 0.0),
    "sharpen": (SHARPEN, 0.0),
    "emboss": (EMBOSS, 0.0),
    "streak": (np.eye(5) / 5, 0.0),
}

Floats = NDArray[np.float32]


def weights() -> tuple[Floats, Floats]:
    """w [5, 5, 3, 16] (HWIO) and b [16]: grey filters weigh the colours, others keep them apart."""
    w = np.zeros((5, 5, 3, len(GREY) + 3 * len(COLOUR)), np.float32)
    b = np.zeros(w.shape[-1], np.float32)
    for channel, (taps, bias) in enumerate(GREY.values()):
        w[..., channel] = centred(taps)[..., None] * BRIGHTNESS
        b[channel] = bias
    for index, (taps, bias) in enumerate(COLOUR.values()):
        for colour in range(3):
            channel = len(GREY) + 3 * index + colour
            w[:, :, colour, channel] = centred(taps)
            b[channel] = bias
    return w, b


def centred(taps: NDArray[Any]) -> NDArray[Any]:
    """A 3x3 or 5x5 filter in the middle of a 5x5 one."""
    return np.pad(taps, (5 - len(taps)) // 2)


def corner_error(x: Floats, w: Floats, b: Floats, y: Floats) -> float:
    """The largest difference from the oracle in the top left corner, two padded sides included."""
    rows, cols = CORNER
    layer = {
        "name": "corner",
        "input": [rows + 2, cols + 2, 3],
        "filters": w.shape[-1],
        "kernel": 5,
        "padding": {"top": 2, "left": 2, "bottom": 0, "right": 0},
        "activation": {"kind": "clip", "min": 0, "max": 1},
    }
    exact = convgen.reference(layer, np.ascontiguousarray(x[:, : rows + 2, : cols + 2]), w, b)
    return float(np.abs(exact - y[:, :rows, :cols]).max())


def seconds(call: Callable[[], object], repeats: int = 20) -> float:
    """Median time of one call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def contact_sheet(x: Floats, y: Floats) -> Image.Image:
    """The photograph and its feature maps, three in a row, each with its name."""
    grey = [np.repeat(y[0, :, :, c, None], 3, axis=2) for c in range(len(GREY))]
    colour = [y[0, :, :, c : c + 3] for c in range(len(GREY), y.shape[-1], 3)]
    pictures = dict(zip(["photograph", *GREY, *COLOUR], [x[0], *grey, *colour], strict=True))
    height, width, _ = x[0].shape
    sheet = Image.new("RGB", (3 * width, -(-len(pictures) // 3) * height))
    for index, (name, picture) in enumerate(pictures.items()):
        image = Image.fromarray(np.rint(picture * 255).astype(np.uint8))
        ImageDraw.Draw(image).text((10, 8), name, fill="white", stroke_width=2, stroke_fill="black")
        sheet.paste(image, (index % 3 * width, index // 3 * height))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description="A photograph through a bank of filters.")
    parser.add_argument("--photo", choices=["china", "flower"], default="china")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/photo.png"))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    bank: Any = convgen.load(SPEC)  # generated, compiled and verified on the first run
    x = load_sample_image(f"{args.photo}.jpg")[None].astype(np.float32) / 255
    w, b = weights()
    packed = bank.pack(w, b)
    y = bank.run(x, packed, threads=args.threads)

    shapes = " -> ".join("x".join(map(str, s[1:])) for s in (bank.INPUT_SHAPE, bank.OUTPUT_SHAPE))
    print(f"bank: {shapes}, {bank.MACS / 1e6:.0f} million multiply-adds, {bank.ISA}")
    error = corner_error(x, w, b, y)
    if not error <= TOLERANCE:
        raise SystemExit(f"wrong: off by {error:.1e} from the oracle")
    print(f"corner of {CORNER[0]}x{CORNER[1]}: at most {error:.1e} from the float64 oracle")
    spent = seconds(bank.bind(x, packed, out=y, threads=args.threads))
    print(f"{spent * 1e3:.2f} ms per image, {2 * bank.MACS / spent / 1e9:.0f} GFLOP/s, ", end="")
    print(f"{args.threads} thread{'s' if args.threads > 1 else ''}")

    args.output.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(x, y).save(args.output)
    print(f"saved {args.output}")


if __name__ == "__main__":
    main()
