"""Which outputs the oracle is asked for: all of them, or of a large layer a telling part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convgen.oracle.floats import Indices, Points
from convgen.spec.model import Act, ConvSpec

BUDGET = 60e6  # element operations of one oracle pass, a few hundredths of a second
EDGE = 4  # places at each end of an axis that are always looked at: remainders of tiles live there
LONGEST_EDGES = 24


def choose_points(spec: ConvSpec, seed: int, budget: float = BUDGET) -> Points:
    """All outputs if that fits the budget, else a random part of each axis.

    Both ends of every axis stay in, and so do the places where the set of taps inside the image
    changes (unless more than ``LONGEST_EDGES`` of them), then random ones.
    """
    rng = np.random.default_rng([seed, 5])
    p = spec.padding
    edges = {
        "n": _ends(spec.batch, 1),
        "oh": _borders(spec.oh, spec.h, spec.sh, p.top, spec.kh, spec.dh),
        "ow": _borders(spec.ow, spec.w, spec.sw, p.left, spec.kw, spec.dw),
        "oc": _ends(spec.ocg, EDGE),
    }
    sizes = {"n": spec.batch, "oh": spec.oh, "ow": spec.ow, "oc": spec.ocg}
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
    places = len(points.n) * len(points.oh) * len(points.ow) * spec.kh * spec.kw
    outputs = len(points.oc) * spec.groups
    weights = spec.kh * spec.kw * spec.icg * outputs
    slow = 100 if spec.activation.kind is Act.GELU else 5
    around = 2 * outputs + 2 * spec.c + slow * outputs / (spec.kh * spec.kw)
    return places * (outputs * spec.icg / 8 + around) + 2 * weights


def _borders(size: int, image: int, stride: int, before: int, taps: int, dilation: int) -> Indices:
    """Both ends of an axis, and both sides of every change in which taps lie inside the image."""
    starts = np.arange(size) * stride - before
    first = np.clip(-(starts // dilation), 0, taps)  # taps before the image
    last = np.clip(-((starts - image) // dilation), 0, taps)  # and those not behind it
    change = np.flatnonzero((np.diff(first) != 0) | (np.diff(last) != 0))
    edges = np.unique(np.concatenate([_ends(size, EDGE), change, change + 1]))
    if len(edges) > LONGEST_EDGES:
        edges = edges[np.linspace(0, len(edges) - 1, LONGEST_EDGES).round().astype(np.intp)]
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
