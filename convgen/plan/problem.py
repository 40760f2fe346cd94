"""Problems: what a kernel solves, free of layouts and of what the operator is called.

A convolution is one problem. A transposed convolution is one for each *phase*: the outputs at
p, p + S, p + 2S, ... of an axis meet the taps k with (p + P - k*D) mod S = 0 and no others. Those
taps lie S/g apart, where g = gcd(S, D), and their inputs D/g: read from the last tap to the first,
a phase is a convolution of stride 1 and dilation D/g that writes every S-th output.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import gcd

from convgen.plan.cover import Stretch, rectangles, stretches
from convgen.plan.tile import Rectangle, Side
from convgen.spec.model import ConvSpec
from convgen.spec.strides import x_strides, y_strides
from convgen.spec.window import Axis


@dataclass(frozen=True)
class Problem:
    """Sums of products over windows: of groups of ``ic`` input and ``oc`` output channels, in
    ``images`` images. Strides count elements; those of the axes are in ``axes``, depth, height and
    width."""

    axes: tuple[Side, Side, Side]
    groups: int
    ic: int
    oc: int
    images: int
    x_image: int
    x_channel: int
    y_image: int
    y_channel: int


def problems_of(spec: ConvSpec) -> tuple[Problem, ...]:
    """What the layer's kernel solves: one problem, or one for each phase of a transposed layer.

    All have the same strides, window strides and dilations, and their taps lie in one packed
    array (``tap_order``).
    """
    x, y = x_strides(spec), y_strides(spec)
    steps = ((x.plane, y.plane), (x.row, y.row), (x.pixel, y.pixel))
    sides = [_phases(axis, *step) for axis, step in zip(spec.axes, steps, strict=True)]
    return tuple(
        Problem(
            (depth, height, width), spec.groups, spec.icg, spec.ocg, spec.batch,
            x.image, x.channel, y.image, y.channel,
        )
        for depth, height, width in product(*sides)
    )  # fmt: skip


def _phases(axis: Axis, x_step: int, y_step: int) -> list[Side]:
    """The axis of each problem; phases without an output are left out."""
    if not axis.transposed:
        return [
            Side(
                axis.size, axis.out, axis.taps, axis.stride, axis.dilation, axis.before,
                x_step, y_step,
            )
        ]  # fmt: skip
    found, first = [], 0
    stride, dilation = axis.stride, axis.dilation // gcd(axis.stride, axis.dilation)
    for phase, taps in enumerate(_phase_taps(axis)):
        out = -(-(axis.out - phase) // stride)  # outputs phase, phase + stride, ...
        before = (taps[0] * axis.dilation - phase - axis.before) // stride if taps else 0
        if out > 0:
            found.append(
                Side(
                    axis.size, out, len(taps), 1, dilation, before, x_step, stride * y_step,
                    first, phase, stride,
                )
            )  # fmt: skip
        first += len(taps)
    return found


def _phase_taps(axis: Axis) -> list[list[int]]:
    """The taps of each phase of a transposed axis, the last first: their inputs ascend."""
    shifted = [(tap * axis.dilation - axis.before) % axis.stride for tap in range(axis.taps)]
    return [
        [tap for tap in reversed(range(axis.taps)) if shifted[tap] == phase]
        for phase in range(axis.stride)
    ]


def tap_order(spec: ConvSpec) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which row of taps (counted through all planes) and which tap of a row each packed one is;
    empty where they are packed as they lie."""
    if not spec.transposed:
        return (), ()
    depth, height, width = (
        [tap for taps in _phase_taps(axis) for tap in taps] for axis in spec.axes
    )
    rows = [plane * spec.kh + row for plane, row in product(depth, height)]
    return tuple(rows), tuple(width)


def areas_of(problem: Problem) -> list[Rectangle]:
    """The outputs cut into rectangles whose windows all meet the same taps: borders peeled."""
    depth, height, width = problem.axes
    found = []
    for planes in _stretches(depth):
        for area in rectangles(_stretches(height), _stretches(width)):
            taps = (planes.tap, planes.taps) if area.kh_taps and planes.taps else (0, 0)
            if not taps[1]:  # no tap on one axis means none at all
                area = replace(area, kh=0, kh_taps=0, kw=0, kw_taps=0)
            found.append(
                replace(
                    area, od=planes.first, planes=planes.count, kd=taps[0], kd_taps=taps[1],
                    sides=problem.axes,
                )
            )  # fmt: skip
    return found


def _stretches(side: Side) -> list[Stretch]:
    if not side.taps:
        return [Stretch(0, side.out, 0, 0)]
    return stretches(side.size, side.out, side.before, side.taps, side.dilation, side.stride)


def peel(spec: ConvSpec) -> list[Rectangle]:
    """The areas of all the layer's problems."""
    return [area for problem in problems_of(spec) for area in areas_of(problem)]
