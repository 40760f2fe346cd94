"""The packed order: NumPy's, the generated C's and the definition agree, in every weight layout."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
import pytest
from edge_layers import EDGES
from kernels import GCC, ISAS, Part, Way, compiled, needs, planned, target_of
from numpy.typing import NDArray

from convgen.kernels.pack import pack
from convgen.plan.kernel import KernelPlan
from convgen.render.source import render_c
from convgen.spec import Weights
from convgen.spec.model import ConvSpec, WeightLayout

LABELS = ["groups_wide", "depthwise", "grouped_by_2", "pointwise", "one_of_everything", "no_bias"]


def numbered(spec: ConvSpec) -> Weights:
    """Every weight another number, so that any mistake in order shows; biases are negative."""
    count = int(np.prod(spec.w_shape))
    w = np.arange(1, count + 1, dtype=np.float32).reshape(spec.w_shape)
    return Weights(w, -np.arange(1, spec.oc + 1, dtype=np.float32) if spec.bias else None)


def packed_by_c(plan: KernelPlan, weights: Weights, way: Way) -> NDArray[np.float32]:
    library = ctypes.CDLL(str(compiled(plan.spec.name, render_c(plan), way)))
    packed = np.full(plan.packed_bytes // 4, np.nan, np.float32)
    b = None if weights.b is None else weights.b.ctypes.data_as(ctypes.c_void_p)
    arguments = (weights.w.ctypes.data_as(ctypes.c_void_p), b)
    pack_c = library[f"{plan.spec.name}_pack"]
    assert pack_c(*arguments, packed.ctypes.data_as(ctypes.c_void_p)) == 0
    return packed


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("layout", WeightLayout)
@pytest.mark.parametrize("label", LABELS)
def test_numpy_packs_like_the_c(label: str, layout: WeightLayout, isa: str) -> None:
    spec = replace(EDGES[label], weight_layout=layout)
    plan, weights = planned(spec, target_of(isa)), numbered(spec)
    way = Way(part=Part.OWN if isa == "plain" else Part.PLAIN, flags=("-O0",))
    needs("plain", way)
    assert np.array_equal(pack(plan.packing, weights), packed_by_c(plan, weights, way))


@pytest.mark.parametrize("layout", WeightLayout)
@pytest.mark.parametrize("label", LABELS)
def test_packing_by_its_definition(label: str, layout: WeightLayout) -> None:
    """[group][block][bias, then kh kw ic][lane], lanes without a channel 0: element by element."""
    spec = replace(EDGES[label], weight_layout=layout)
    p = planned(spec, target_of("avx2")).packing
    weights = numbered(spec)
    packed = pack(p, weights).reshape(p.groups, p.blocks, 1 + p.depth, p.lanes)
    w = weights.w.transpose([str(layout).index(letter) for letter in "HWIO"])
    met = np.zeros_like(packed, dtype=bool)
    for oc in range(spec.oc):
        group, channel = divmod(oc, p.oc)
        block, lane = divmod(channel, p.lanes)
        mine = packed[group, block, :, lane]
        assert mine[0] == (0 if weights.b is None else weights.b[oc])
        assert np.array_equal(mine[1:], w[..., oc].reshape(-1))
        met[group, block, :, lane] = True
    assert (packed[~met] == 0).all()


def test_layouts_of_the_same_weights_pack_alike() -> None:
    spec = EDGES["groups_wide"]
    hwio = numbered(spec)
    images = []
    for layout, order in (("HWIO", (0, 1, 2, 3)), ("OIHW", (3, 2, 0, 1)), ("OHWI", (3, 0, 1, 2))):
        turned = replace(spec, weight_layout=WeightLayout(layout))
        w = np.ascontiguousarray(hwio.w.transpose(order))
        images.append(pack(planned(turned, target_of("avx2")).packing, Weights(w, hwio.b)))
    assert np.array_equal(images[0], images[1]) and np.array_equal(images[0], images[2])


def test_every_body_of_a_file_reads_the_same_packing() -> None:
    """One file, three readings: what one packs, the others may run."""
    spec = EDGES["groups_wide"]
    plan, weights = planned(spec, target_of("avx2")), numbered(spec)
    needs("avx2", GCC)
    images = [packed_by_c(plan, weights, Way(part=part)) for part in Part]
    assert all(np.array_equal(images[0], image) for image in images)
