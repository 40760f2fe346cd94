"""Kernels on views: x and y as parts of the channels of wider buffers, as concat and split leave.

The channels beside x hold what no kernel may let into a sum; those beside y, and the bytes before
and behind both, must not change. Buffers end at guard pages.
"""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
import pytest
from edge_layers import EDGES, LAYER
from kernels import Part, Way, compiled, needs, planned, target_of
from numpy.typing import NDArray
from quant_layers import quantised

from convgen.oracle.floats import activation, held, reference, values
from convgen.oracle.integers import reference as integer_reference
from convgen.plan.kernel import KernelPlan
from convgen.render.source import render_c
from convgen.spec.elements import arrays_of, numpy_dtype
from convgen.spec.model import ConvSpec, DType
from convgen.spec.quant import Rounding
from convgen.spec.schedule import Family
from convgen.target import TARGETS, Target
from convgen.verify.fills import exact_fill
from convgen.verify.guard import Buffer, Placement, place

BESIDE_X, BESIDE_Y = 5, 3  # channels of the wider buffers that are not the layer's
LABELS = (
    "primes", "dilated_and_strided", "pad_beyond_kernel", "groups_and_batch", "pointwise",
    "depthwise_wide", "depthwise_long_rows", "grouped_by_4", "transposed", "transposed_groups",
    "transposed_depthwise", "volume", "volume_depthwise", "series",
)  # fmt: skip
FAMILIES = {
    "primes": Family.DIRECT,
    "depthwise_wide": Family.DEPTHWISE,
    "grouped_by_4": Family.GROUPED,
}


def wider(spec: ConvSpec) -> ConvSpec:
    return replace(spec, x_pixel=spec.c + BESIDE_X, y_pixel=spec.oc + BESIDE_Y)


def scattered(
    array: NDArray[np.generic], pixel: int, rest: int
) -> tuple[Buffer, NDArray[np.uint8]]:
    """An image's pixels ``pixel`` elements apart in a buffer that ends with its last channel;
    every byte between them is ``rest``."""
    pixels = np.ascontiguousarray(array).reshape(-1, array.shape[-1])
    item, channels = array.itemsize, array.shape[-1]
    buffer = place((pixel * (len(pixels) - 1) + channels) * item, item, Placement.END)
    image = np.full(pixel * len(pixels) * item, rest, np.uint8)
    rows = image.reshape(len(pixels), pixel * item)
    rows[:, : channels * item] = pixels.view(np.uint8).reshape(len(pixels), -1)
    buffer.data[:] = image[: buffer.data.size]
    return buffer, image


def run(plan: KernelPlan, way: Way, x: object, w: object, b: object) -> NDArray[np.generic]:
    """The layer on wide buffers; asserts that nothing but its own channels of y is written."""
    spec = plan.spec
    lib = ctypes.CDLL(str(compiled(spec.name, render_c(plan), way)))
    packed = place(plan.packed_bytes, plan.align, Placement.END)
    work = place(plan.workspace_bytes, plan.align, Placement.END)
    pointer = ctypes.c_void_p
    bias = None if b is None else pointer(b.ctypes.data)
    pack, call = lib[f"{spec.name}_pack"], lib[f"{spec.name}_run_part"]
    assert pack(pointer(w.ctypes.data), bias, pointer(packed.address)) == 0
    source, kept = scattered(x, spec.x_pixel, 0xFF)  # NaN, or the largest distance from zero
    out = np.zeros(spec.y_shape, numpy_dtype(arrays_of(spec).y))
    target, before = scattered(out, spec.y_pixel, 0x5A)
    for part in (1, 0, 2):
        places = (source.address, packed.address, target.address, work.address)
        call(*map(pointer, places), part, 3)
    assert np.array_equal(source.data, kept[: source.data.size])
    item, pixels = out.itemsize, out.size // spec.oc
    rows = np.concatenate([target.data, before[target.data.size :]]).reshape(pixels, -1)
    assert (rows[:, spec.oc * item :] == 0x5A).all(), "channels beside y were written"
    y = np.ascontiguousarray(rows[:, : spec.oc * item]).view(out.dtype)
    return y.reshape(spec.y_shape)


def check(spec: ConvSpec, target: Target, way: Way) -> KernelPlan:
    spec = wider(spec)
    plan = planned(spec, target)
    fill = exact_fill(spec, 3)
    y = run(plan, way, fill.x, fill.w, fill.b)
    if spec.quantized:
        np.testing.assert_array_equal(y, integer_reference(spec, fill.x, fill.w, fill.b))
        return plan
    want = held(spec, reference(spec, fill.x, fill.w, fill.b))
    assert activation(spec.activation, np.float64(-1)) in (-1, 0)  # piecewise: sums are exact
    np.testing.assert_array_equal(values(spec, y).astype(np.float64), want)
    return plan


@pytest.mark.parametrize("isa", ["avx2", "sse2", "plain"])
@pytest.mark.parametrize("label", LABELS)
def test_floats(label: str, isa: str) -> None:
    needs(isa)
    plan = check(EDGES[label], target_of(isa), Way())
    assert plan.schedule.family is FAMILIES.get(label, plan.schedule.family)


@pytest.mark.parametrize("dtype", [DType.FLOAT64, DType.FLOAT16, DType.BFLOAT16])
@pytest.mark.parametrize("label", ["primes", "depthwise_wide", "transposed"])
def test_other_floats(label: str, dtype: DType) -> None:
    needs("avx2")
    check(replace(EDGES[label], dtype=dtype), target_of("avx2"), Way())


@pytest.mark.parametrize("label", ["dilated_and_strided", "groups_and_batch", "volume"])
def test_pairs(label: str) -> None:
    """bfloat16 in pairs of channels, on the model of its instructions."""
    spec = replace(EDGES[label], dtype=DType.BFLOAT16)
    check(spec, TARGETS["x86-64-avx512bf16"], Way(part=Part.MODEL))


@pytest.mark.parametrize("label", LABELS)
def test_integers_on_vectors(label: str) -> None:
    needs("avx2")
    rounding = list(Rounding)[len(label) % 3]
    plan = check(quantised(EDGES[label], rounding), target_of("avx2"), Way())
    assert plan.schedule.lanes > 1


@pytest.mark.parametrize("label", LABELS[::2])
def test_integers_with_vnni(label: str) -> None:
    rounding = list(Rounding)[len(label) % 3]
    check(quantised(EDGES[label], rounding), TARGETS["x86-64-avx512"], Way(part=Part.MODEL))


@pytest.mark.parametrize("target", ["generic", "cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("label", ["primes", "depthwise_wide", "transposed", "volume"])
def test_integers_in_plain_c(label: str, target: str) -> None:
    spec = quantised(EDGES[label], Rounding.ONNX)
    part = Part.OWN if target == "generic" else Part.PLAIN
    check(spec, TARGETS[target], Way(part=part))


def test_kernels_that_read_images_as_a_whole_leave_views_to_others() -> None:
    """Planar and Winograd kernels want their channels close together."""
    spec = replace(LAYER, oc=2, c=1)
    assert planned(spec, target_of("avx2")).schedule.family is Family.PLANAR
    assert planned(wider(spec), target_of("avx2")).schedule.family is Family.DIRECT
