"""The rules for Winograd: rounding and NaN are shared within a tile, and nothing beyond it.

The kernel is F(4x4, 3x3) in NumPy behind the C interface, whole and with one mistake each.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from convgen.oracle.floats import reference
from convgen.oracle.points import choose_points
from convgen.spec.model import Act, Activation, ConvSpec, Layout, Padding, WeightLayout
from convgen.verify import Leeway, Report, Tiling
from convgen.verify.bound import judge_bounded, tiled_bound
from convgen.verify.fills import bounded_fill
from convgen.verify.kernel import Kernel
from convgen.verify.ladder import climb
from convgen.verify.report import assemble
from convgen.verify.tiling import tiles_over

SPEC = ConvSpec(
    name="wino", h=10, w=13, c=8, oc=4, kh=3, kw=3, padding=Padding(1, 1, 1, 1), batch=2,
    activation=Activation(Act.RELU),
)  # fmt: skip
TILING = Tiling(4, 4, factor=1.0)
# Lavin and Gray's matrices for the points 0, 1, -1, 2, -2.
_BT = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
       [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]  # fmt: skip
_AT = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
BT, AT = np.array(_BT, np.float32), np.array(_AT, np.float32)
G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
Tile = Callable[[np.ndarray, np.ndarray], np.ndarray]


def winograd_tile(patch: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """[6, 6, c] inputs and [6, 6, c, oc] transformed filters to [4, 4, oc] sums, in float32."""
    inner = np.einsum("ki,ijc,lj->klc", BT, patch, BT, dtype=np.float32)
    products = (inner[..., None, :] @ filters)[..., 0, :]
    return np.einsum("ik,klo,jl->ijo", AT, products, AT, dtype=np.float32)


def kernel(spec: ConvSpec = SPEC, tile: Tile = winograd_tile, bleed: int = 0) -> Kernel:
    """The C interface over addresses. ``bleed``: columns read and spoiled left of each tile."""
    filters = 36 * spec.c * spec.oc

    def pack(w: int, b: int, packed: int) -> int:
        values = at(w, spec.w_shape)
        out = at(packed, (filters + spec.oc,))
        with np.errstate(invalid="ignore"):
            out[:filters] = np.einsum("ki,ijco,lj->klco", G, values, G).reshape(-1)
        out[filters:] = at(b, (spec.oc,))
        return 0

    def run_part(x: int, packed: int, y: int, _work: int, part: int, parts: int) -> None:
        image, out = at(x, spec.x_shape), at(y, spec.y_shape)
        weights = at(packed, (filters + spec.oc,))
        padded = np.pad(image, ((0, 0), (1, 8), (1, 8), (0, 0)))
        transformed = weights[:filters].reshape(6, 6, spec.c, spec.oc)
        strips = range(0, spec.oh, 4)
        for row in strips[len(strips) * part // parts : len(strips) * (part + 1) // parts]:
            for n in range(spec.batch):
                for column in range(0, spec.ow, 4):
                    patch = padded[n, row : row + 6, column : column + 6]
                    with np.errstate(invalid="ignore"):
                        sums = tile(patch, transformed) + weights[filters:]
                    if bleed and column and np.isnan(sums).any():
                        out[n, row : row + 4, column - bleed : column] = np.nan
                    made = np.where(sums < 0, np.float32(0), sums)
                    target = out[n, row : row + 4, column : column + 4]
                    target[...] = made[: target.shape[0], : target.shape[1]]

    def run(x: int, packed: int, y: int, work: int) -> None:
        run_part(x, packed, y, work, 0, 1)

    return Kernel(spec, (filters + spec.oc) * 4, 0, 64, lambda: 1, run, run_part, pack, None)


def at(address: int, shape: tuple[int, ...]) -> np.ndarray:
    raw = (ctypes.c_float * int(np.prod(shape))).from_address(address)
    return np.ctypeslib.as_array(raw).reshape(shape)


def judged(made: Kernel, tiling: Tiling | None = TILING) -> Report:
    return assemble(climb(made, None, Leeway(tiling), 0))


def failed(report: Report) -> set[str]:
    return {check.name for check in report.failures}


def test_winograd_passes_under_its_rules() -> None:
    report = judged(kernel())
    assert report.passed, report.failures
    bounded = next(c for c in report.checks if c.name == "bounded fill")
    assert "direct summation" in bounded.detail
    assert 0 < report.bound_ratio < 0.5


def test_it_does_not_pass_as_direct_summation() -> None:
    assert {"exact fill", "non-finite"} <= failed(judged(kernel(), None))


def one_entry(matrix: str) -> Tile:
    """A transform with one wrong sign."""
    wrong = {"BT": BT.copy(), "AT": AT.copy()}
    wrong[matrix][1, 3] *= -1

    def tile(patch: np.ndarray, filters: np.ndarray) -> np.ndarray:
        b, a = wrong["BT"], wrong["AT"]
        inner = np.einsum("ki,ijc,lj->klc", b, patch, b, dtype=np.float32)
        products = (inner[..., None, :] @ filters)[..., 0, :]
        return np.einsum("ik,klo,jl->ijo", a, products, a, dtype=np.float32)

    return tile


def one_product_missing(patch: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """The last channel of one of the 36 matrices is left out."""
    filters = filters.copy()
    filters[2, 3, -1] = 0
    return winograd_tile(patch, filters)


def half_precision(patch: np.ndarray, filters: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return winograd_tile(patch, filters.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (kernel(tile=one_entry("BT")), "exact fill"),
        (kernel(tile=one_entry("AT")), "exact fill"),
        (kernel(tile=one_product_missing), "exact fill"),
        (kernel(tile=half_precision), "exact fill"),
        (kernel(bleed=1), "non-finite"),
        (kernel(tile=lambda p, f: np.nan_to_num(winograd_tile(p, f))), "non-finite"),
    ],
    ids=["input transform", "output transform", "a product", "half", "bleeding", "swallowing"],
)
def test_a_broken_winograd_is_caught(made: Kernel, name: str) -> None:
    assert name in failed(judged(made))


def test_one_missing_product_of_a_deep_layer_is_caught() -> None:
    """Over thousands of products the bound would hide one; impulses show it."""
    spec = replace(SPEC, c=256, batch=1)
    assert judged(kernel(spec)).passed
    assert "exact fill" in failed(judged(kernel(spec, one_product_missing)))


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("pad", [(1, 1, 1, 1), (2, 0, 0, 3)])
def test_the_tiles_bound_is_the_published_formula(
    layout: Layout, pad: tuple[int, int, int, int]
) -> None:
    spec = replace(
        SPEC, layout=layout, padding=Padding(*pad), weight_layout=WeightLayout.OIHW, batch=1
    )
    fill = bounded_fill(spec, 0)
    points = choose_points(spec, 0)
    bound = tiled_bound(spec, fill, points, Tiling(4, 4, 3.0))
    image = np.abs(fill.x if layout is Layout.NHWC else fill.x.transpose(0, 2, 3, 1))
    padded = np.pad(image[0], ((pad[0], 9), (pad[1], 9), (0, 0)))
    steps = (9 * spec.c + 2) * 2.0**-24
    for oh, ow, oc in ((0, 0, 0), (5, 6, 1), (spec.oh - 1, spec.ow - 1, 3)):
        row, column = oh // 4 * 4, ow // 4 * 4
        top = padded[row : row + 6, column : column + 6].max((0, 1))
        size = (top * np.abs(fill.w[oc]).sum((1, 2))).sum() + abs(fill.b[oc])
        want = 3.0 * steps / (1 - steps) * size
        assert bound[0, oh, ow, oc] == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_the_tiles_over_a_place_are_those_that_read_it(dilation: int) -> None:
    for size, before, taps, out in ((4, 1, 3, 10), (2, 0, 5, 7), (6, 2, 3, 14), (3, 5, 3, 9)):
        for place in range(12):
            reads = []
            for o in range(out):
                corner = o - o // dilation % size * dilation
                steps = range(corner - before, out + 99, dilation)[: size + taps - 1]
                if place in steps:
                    reads.append(o)
            assert list(tiles_over(size, place, before, taps, out, dilation)) == reads


def test_direct_sums_lie_within_the_tiles_bound() -> None:
    fill, points = bounded_fill(SPEC, 0), choose_points(SPEC, 0)
    y = reference(SPEC, fill.x, fill.w, fill.b)
    assert judge_bounded(SPEC, fill, y.astype(np.float32), points, Leeway(TILING)).passed
