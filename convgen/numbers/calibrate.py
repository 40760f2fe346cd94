"""Post-training quantisation of one layer: float weights and sample inputs in, integers out.

Weights become symmetric int8, one scale per output channel; input and output (and the sums before
an activation that is a table) get the affine scale of the range that the samples show, 0 always
inside it so that it is exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convgen.oracle import floats as oracle
from convgen.oracle import integers as oracle_quant
from convgen.spec.elements import ELEMENTS
from convgen.spec.model import Calibration, ConvSpec, DType, WeightLayout
from convgen.spec.quant import Affine, Quant
from convgen.spec.sqnr import Sqnr
from convgen.spec.table import CLAMPS

if TYPE_CHECKING:
    from convgen.spec.weights import Weights

Array = NDArray[Any]
LISTED = 16  # channels whose SQNR a note lists one by one
ROOM = 2.0**30  # a bias stays below it


@dataclass(frozen=True, eq=False)
class Findings:
    """``w``, ``b``: int8 and int32, in the layer's layouts. ``sqnr``: per output channel, in dB,
    signal power over the power of the error of the quantised layer on the samples."""

    quant: Quant
    w: NDArray[np.int8]
    b: NDArray[np.int32] | None
    sqnr: tuple[float, ...]
    overall: float
    images: int

    @property
    def cost(self) -> Sqnr:
        """The three figures as one value."""
        return Sqnr(self.overall, self.sqnr, self.images)

    def summary(self, source: str) -> str:
        """One sentence for a person."""
        worst = min(range(len(self.sqnr)), key=lambda c: self.sqnr[c])
        middle = sorted(self.sqnr)[len(self.sqnr) // 2]
        text = f"Quantised after {self.images} sample(s) of {source}: SQNR {self.overall:.1f} dB"
        if len(self.sqnr) <= LISTED:
            each = ", ".join(f"{v:.1f}" for v in self.sqnr)
            return f"{text}; per channel {each}."
        low = f"worst {self.sqnr[worst]:.1f} (channel {worst})"
        return f"{text}; per channel {low}, median {middle:.1f}."


def calibrate(spec: ConvSpec, samples: Array, weights: Weights, how: Calibration) -> Findings:
    """Scales from ``samples`` (finite float32 [n, ...] in the layer's layout), and what they cost.

    ``spec`` is the 8-bit layer, its ``quant`` still None; ``weights`` are float32.
    """
    exact = replace(spec, dtype=DType.FLOAT32, batch=1, batch_any=True)
    limits = ELEMENTS[spec.dtype].limits
    sums = _Range(how.percentile, [])
    outputs = _Range(how.percentile, [])
    for v in _sums(exact, samples, weights):
        sums.take(v)
        outputs.take(oracle.activation(exact.activation, v))
    x = _affine(*_ends(samples, how.percentile), limits)
    filters = np.moveaxis(weights.w, _channel_axis(spec), 0).reshape(spec.oc, -1)
    scale = _weight_scales(np.abs(filters).max(axis=1), weights.b, x.scale[0])
    quant = Quant(
        input=x,
        weight=Affine(tuple(float(s) for s in scale)),
        output=_affine(*outputs.ends(), limits),
        sum=None if spec.activation.kind in CLAMPS else _affine(*sums.ends(), limits),
        rounding=how.rounding,
    )
    w, b = _integers(spec, weights, scale, x.scale[0])
    return _judged(replace(spec, quant=quant, batch=1, batch_any=True), exact, samples, weights,
                   w, b)  # fmt: skip


@dataclass
class _Range:
    """The range of what was taken; of a percentile, the widest of the images' own."""

    percentile: float
    found: list[tuple[float, float]]

    def take(self, values: Array) -> None:
        self.found.append(_ends(values, self.percentile))

    def ends(self) -> tuple[float, float]:
        return min(low for low, _ in self.found), max(high for _, high in self.found)


def _ends(values: Array, percentile: float) -> tuple[float, float]:
    if percentile == 100:
        return float(values.min()), float(values.max())
    low, high = np.percentile(values, (100 - percentile, percentile))
    return float(low), float(high)


def _sums(exact: ConvSpec, samples: Array, weights: Weights) -> Iterator[Array]:
    """The layer before its activation, image by image: [1, oh, ow, oc]."""
    points = oracle.Points.every(exact, 1)
    for n in range(len(samples)):
        one = samples[n : n + 1]
        yield oracle.accumulate(exact, one, weights.w, weights.b, points, np.dtype(np.float64))


def _affine(low: float, high: float, limits: tuple[int, int]) -> Affine:
    """The scale that brings low..high, widened to hold 0, onto the type's integers."""
    low, high = min(low, 0.0), max(high, 0.0)
    first, last = limits
    scale = float(np.float32((high - low) / (last - first)))
    if scale < 2.0**-100:
        return Affine((1.0,), (max(first, 0),))
    zero = round(first - low / scale)
    return Affine((scale,), (min(max(zero, first), last),))


def _weight_scales(largest: Array, b: Array | None, x_scale: float) -> NDArray[np.float32]:
    """max|w| / 127 per filter, wider where the bias would not fit int32 otherwise."""
    bias = np.zeros(len(largest)) if b is None else np.abs(b.astype(np.float64))
    scale = np.maximum(largest.astype(np.float64) / 127, bias / (x_scale * ROOM))
    return np.where(scale < 2.0**-100, 1.0, scale).astype(np.float32)


def _integers(
    spec: ConvSpec, weights: Weights, scale: NDArray[np.float32], x_scale: float
) -> tuple[NDArray[np.int8], NDArray[np.int32] | None]:
    axis = _channel_axis(spec)
    shape = [1, 1, 1, 1]
    shape[axis] = spec.oc
    wide = scale.astype(np.float64)
    w = np.rint(weights.w / wide.reshape(shape)).clip(-127, 127).astype(np.int8)
    if weights.b is None:
        return w, None
    return w, np.rint(weights.b / (wide * x_scale)).astype(np.int32)


def _channel_axis(spec: ConvSpec) -> int:
    return 3 if spec.weight_layout is WeightLayout.HWIO else 0


def _judged(
    spec: ConvSpec,
    exact: ConvSpec,
    samples: Array,
    weights: Weights,
    w: NDArray[np.int8],
    b: NDArray[np.int32] | None,
) -> Findings:
    """Run the quantised layer on the samples beside the exact one."""
    assert spec.quant is not None and spec.quant.output is not None
    x, y = spec.quant.input, spec.quant.output
    low, high = ELEMENTS[spec.dtype].limits
    points = oracle.Points.every(exact, 1)
    signal, noise = np.zeros(spec.oc), np.zeros(spec.oc)
    for n, v in enumerate(_sums(exact, samples, weights)):
        want = oracle.activation(exact.activation, v)
        q = np.rint(samples[n : n + 1] / x.scale[0]) + x.zero_point[0]
        integers = q.clip(low, high).astype(spec.dtype.value)
        got = oracle_quant.outputs_at(
            spec, oracle_quant.sums_at(spec, integers, w, b, points), points
        )
        real = (got.astype(np.float64) - y.zero_point[0]) * y.scale[0]
        signal += (want**2).sum(axis=(0, 1, 2))
        noise += ((want - real) ** 2).sum(axis=(0, 1, 2))
    sqnr = tuple(_decibel(s, e) for s, e in zip(signal.tolist(), noise.tolist(), strict=True))
    overall = _decibel(float(signal.sum()), float(noise.sum()))
    return Findings(spec.quant, w, b, sqnr, overall, len(samples))


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf
