"""Which outputs the oracle is asked for: all of them, or of a large layer a telling part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convgen.oracle.floats import Indices, Points
from convgen.spec.model import Act, ConvSpec
from convgen.spec.window import Axis

BUDGET = 60e6  # element operations of one oracle pass, a few hundredths of a second
EDGE = 4  # places at each end of an axis that are always looked at: remainders of tiles live there
LONGEST_EDGES = 24


def choose_points(spec: ConvSpec, seed: int, budget: float = BUDGET) -> Points:
    """All outputs if that fits the budget, else a random part of each axis.

    Both ends of every axis stay in, and so do the places where the set of taps inside the image
    changes (unless more than ``LONGEST_EDGES`` of them), then random ones.
    """
    rng = np.random.default_rng([seed, 5])
    depth, height, width = spec.axes
    edges = {
        "n": _ends(spec.batch, 1),
        "oh": _borders(height),
        "ow": _borders(width),
        "oc": _ends(spec.ocg, EDGE),
    }
    sizes = {"n": spec.batch, "oh": spec.oh, "ow": spec.ow, "oc": spec.ocg}
    if spec.rank == 3:
        edges["od"], sizes["od"] = _borders(depth), spec.od
    points = Points.every(spec, spec.batch)
    while oracle_cost(spec, points) > budget:
        counts = {axis: len(getattr(points, axis)) for axis in sizes}
        spare = {axis: counts[axis] / max(1, len(edges[axis])) for axis in sizes}
        axis = max(sizes, key=lambda a: (counts[a] > 1, spare[a]))
        if counts[axis] == 1:
            break
        count = max(1, counts[axis] // 2)
        points = replace(points, **{axis: _thin(sizes[axis], edges[axis], count, rng)})
    return points


def oracle_cost(spec: ConvSpec, points: Points) -> float:
    """Element operations of the oracle: products, the copies and sums around them, erfc."""
    places = len(points.n) * len(points.od) * len(points.oh) * len(points.ow) * spec.taps
    outputs = len(points.oc) * spec.groups
    weights = spec.taps * spec.icg * outputs
    slow = 100 if spec.activation.kind is Act.GELU else 5
    around = 2 * outputs + 2 * spec.c + slow * outputs / spec.taps
    return places * (outputs * spec.icg / 8 + around) + 2 * weights


def _borders(axis: Axis) -> Indices:
    """Both ends of an axis, and both sides of every change in which taps lie inside the image.

    On a transposed axis a stride of outputs counts as one place: each has taps of its own.
    """
    size, step = axis.out, axis.stride if axis.transposed else 1
    if axis.transposed:
        # Outputs before the first input's last tap, and behind the last input's first.
        reach = (axis.taps - 1) * axis.dilation - axis.before
        change = np.array([reach, (axis.size - 1) * axis.stride - axis.before])
        change = np.unique(np.clip(change, 0, size - 1))
    else:
        starts = np.arange(size) * axis.stride - axis.before
        first = np.clip(-(starts // axis.dilation), 0, axis.taps)  # taps before the image
        # and those not behind it
        last = np.clip(-((starts - axis.size) // axis.dilation), 0, axis.taps)
        change = np.flatnonzero((np.diff(first) != 0) | (np.diff(last) != 0))
    beside = (change[:, None] + np.arange(step + 1)).reshape(-1)
    beside = beside[beside < size]
    edges = np.unique(np.concatenate([_ends(size, EDGE * step), beside]))
    if len(edges) > LONGEST_EDGES * step:
        count = LONGEST_EDGES * step
        edges = edges[np.linspace(0, len(edges) - 1, count).round().astype(np.intp)]
    return edges


def _ends(size: int, width: int) -> Indices:
    places = np.arange(size)
    return np.unique(np.concatenate([places[:width], places[-width:]]))


def _thin(size: int, edges: Indices, count: int, rng: np.random.Generator) -> Indices:
    if count <= len(edges):
        picked = edges[np.linspace(0, len(edges) - 1, count).round().astype(np.intp)]
    else:
        rest = np.setdiff1d(np.arange(size), edges)
        picked = np.concatenate([edges, rng.choice(rest, count - len(edges), replace=False)])
    return np.unique(picked)
