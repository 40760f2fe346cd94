"""Winograd's algorithm on one layer in text: patch, products, tile, and the output in tiles."""

from __future__ import annotations

from typing import Any

from convgen.kernels.winograd.body import WinogradBody
from convgen.kernels.winograd.matrices import IDENTITY
from convgen.plan.drawing import beside
from convgen.plan.kernel import KernelPlan

LARGEST = 8  # tiles along one side of the map; more are cut short


def patch_lines(plan: KernelPlan, body: WinogradBody) -> list[str]:
    """What one tile costs and what it reads and writes, as three rectangles side by side."""
    high, wide = body.high, body.wide
    products, direct = body.planes, high.m * wide.m * high.r * wide.r
    pictures = beside(
        [
            [f"input patch {high.alpha} x {wide.alpha}", *_rectangle("i", high.alpha, wide.alpha)],
            [f"products {high.alpha} x {wide.alpha}", *_rectangle("p", high.alpha, wide.alpha)],
            [f"output tile {high.m} x {wide.m}", *_rectangle("o", high.m, wide.m)],
        ]
    )
    return [
        f"F({high.m} x {wide.m}, {high.r} x {wide.r}): an input patch is "
        "transformed, multiplied point by point with",
        "the transformed filter, summed over the input channels, and transformed back to outputs",
        _reads(plan, body),
        f"{products} products for each pair of channels instead of {direct}: "
        f"{direct / products:.2f} times fewer",
        "",
        *pictures,
        "",
        f"error bound: {body.error_factor:g} times direct summation's, with each input replaced by "
        "its patch's largest",
        "(checked at every build; accuracy: strict in the spec avoids this algorithm)",
    ]


def _reads(plan: KernelPlan, body: WinogradBody) -> str:
    """Where neighbouring tiles overlap, on an axis that is transformed."""
    if body.high == IDENTITY:
        before, name, way = plan.spec.padding.left, "columns", "to the right"
    else:
        before, name, way = plan.spec.padding.top, "rows", "down"
    f = body.along
    first, second = _rows(-before, f.alpha), _rows(f.m - before, f.alpha)
    shared = f"neighbours share {f.r - 1}"
    return f"tile 0 reads input {name} {first}, the next one {way} {second}: {shared}"


def _rows(first: int, count: int) -> str:
    return f"{first}..{first + count - 1}"


def _rectangle(mark: str, rows: int, columns: int) -> list[str]:
    return [" ".join(mark * columns)] * rows


def grid_lines(plan: KernelPlan, body: WinogradBody) -> list[str]:
    """The output cut into tiles, and how many of them go through the kernel together."""
    spec = plan.spec
    over_rows, over_cols = body.rows * body.high.m - spec.oh, body.cols * body.wide.m - spec.ow
    lines = [
        f"{spec.oh} x {spec.ow} outputs in {body.rows} x {body.cols} tiles"
        + (f", {spec.batch} images" if spec.batch > 1 else ""),
        f"{body.count} tiles in {body.blocks} blocks of at most {body.block}, which stay in the "
        "cache from one transform to the other",
    ]
    if over_rows or over_cols:
        lines.append(
            f"the last tiles reach {over_rows} rows and {over_cols} columns beyond the output: "
            "computed and dropped"
        )
    return [*lines, "", *_grid(body)]


def _grid(body: WinogradBody) -> list[str]:
    """Each tile by the number of its block."""
    rows, cols = _shown(body.rows), _shown(body.cols)
    cell = max(2, len(str(body.blocks - 1))) + 1
    lines = ["block of each tile of the first image:"]
    for r in rows:
        marks = []
        for c in cols:
            if r is None:
                marks.append(":" if c is not None else "")
            else:
                marks.append(".." if c is None else str((r * body.cols + c) // body.block))
        lines.append("".join(mark.rjust(cell) for mark in marks).rstrip())
    return lines


def _shown(count: int) -> list[int | None]:
    if count <= LARGEST:
        return list(range(count))
    return [*range(LARGEST - 2), None, count - 1]


def winograd_facts(body: WinogradBody) -> dict[str, Any]:
    """The body as plain data for --json; sizes as [rows, columns]."""
    return {
        "outputs": [body.high.m, body.wide.m],
        "filter": [body.high.r, body.wide.r],
        "patch": [body.high.alpha, body.wide.alpha],
        "tiles": [body.rows, body.cols],
        "blocks": body.blocks,
        "tiles_in_block": body.block,
        "error_factor": body.error_factor,
    }
