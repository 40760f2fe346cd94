"""The kind of Winograd kernels."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

from convgen.kernels.kind import Kind, Section
from convgen.kernels.tiled.picture import tile_lines
from convgen.kernels.winograd.body import WinogradBody
from convgen.kernels.winograd.matrices import IDENTITY, matrices
from convgen.kernels.winograd.picture import grid_lines, patch_lines, winograd_facts
from convgen.kernels.winograd.words import winograd_text
from convgen.kernels.winograd.work import winograd_work
from convgen.plan.kernel import KernelPlan


def _head(plan: KernelPlan) -> SimpleNamespace:
    """Sizes, and G as double literals, for the head of the file and the packing."""
    body = _body(plan)
    high, wide, along = body.high, body.wide, body.along
    w_k = plan.packing.w_kw if high == IDENTITY else plan.packing.w_kh
    rows = [[_quotient(entry) for entry in row] for row in matrices(along.m, along.r).g]
    return SimpleNamespace(
        size=body.size, flat=body.flat, patch=f"{high.alpha}x{wide.alpha}", planes=body.planes,
        direct=high.m * high.r * wide.m * wide.r,
        r=along.r, alpha=along.alpha, w_k=w_k, g=rows,
    )  # fmt: skip


def _quotient(value: Fraction) -> str:
    """A fraction as a C double: IEEE division rounds it as exactly as a literal would."""
    top = f"{value.numerator}.0"
    return top if value.denominator == 1 else f"{top} / {value.denominator}"


def _story(plan: KernelPlan) -> tuple[str, ...]:
    body, s = _body(plan), plan.spec
    products = body.planes * body.count * s.c * s.oc
    return (
        f"Winograd's {body.size} makes do with {products} products.",
        f"Error at most {body.error_factor} * gamma(K+2) * (sum over c of max|x| in the tile * "
        "sum|w| + |b|)",
        "+ 64 * (K+1) * 2^-150; finite, with every step before, while",
        f"{body.range};",
        "a NaN or infinity in x may spread over the outputs that share its tiles.",
    )


def _picture(plan: KernelPlan, everything: bool) -> list[Section]:
    body = _body(plan)
    return [
        Section("Winograd tile", tuple(patch_lines(plan, body))),
        Section("Register tile of the products", tuple(tile_lines(plan, "Winograd tiles"))),
        Section("Output, cut into tiles", tuple(grid_lines(plan, body))),
    ]


def _facts(plan: KernelPlan) -> dict[str, Any]:
    return winograd_facts(_body(plan))


def _strips(plan: KernelPlan) -> int:
    return _body(plan).strips


def _body(plan: KernelPlan) -> WinogradBody:
    assert isinstance(plan.body, WinogradBody)
    return plan.body


KIND = Kind(
    "kernels/winograd/winograd.j2",
    winograd_text,
    head=_head,
    story=_story,
    work=winograd_work,
    picture=_picture,
    facts=_facts,
    strips=_strips,
)
