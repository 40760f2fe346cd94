"""Generated kernels against the oracle: every edge layer on every instruction set.

Each kernel climbs the whole verification ladder (convgen.verify): exact integers, bounded reals,
guard pages, run_part over many splits, NaN and Inf. Warnings are errors throughout. Most layers
are ``accuracy: strict``, for the families that sum directly; test_winograd.py has the others, and
test_campaign.py random layers of every kind.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from edge_layers import (
    ACTIVATIONS,
    EDGES,
    LAYER,
    OUTPUT_SIZES,
    PINNED_TILE,
    channel_counts,
    of_output,
    with_activation,
)
from kernels import COMPILERS, ISAS, Part, Way, needs, planned, prove_right, target_of

from convgen.spec import Weights
from convgen.spec.model import Layout, WeightLayout
from convgen.spec.schedule import Family, Schedule
from convgen.target import Target

# One file, three bodies: the plain C and the model are those of the AVX-512 file, whose packing
# and channel blocks differ most from what plain C alone would have.
BODIES = [*((isa, Part.OWN) for isa in ISAS), ("avx512", Part.PLAIN), ("avx512", Part.MODEL)]
each_body = pytest.mark.parametrize(
    ("isa", "part"), BODIES, ids=[isa if part is Part.OWN else part for isa, part in BODIES]
)


# The model's operations are compared one by one in test_vector_model.py: a few layers do here.
MODELLED = {"pad_beyond_kernel", "depthwise_strided", "groups_in_planes"}
RUNS = [
    pytest.param(label, isa, part, id=f"{label}-{isa if part is Part.OWN else part}")
    for label in EDGES
    for isa, part in BODIES
    if part is not Part.MODEL or label in MODELLED
]


@pytest.mark.parametrize(("label", "isa", "part"), RUNS)
def test_an_edge_layer(label: str, isa: str, part: Part) -> None:
    way = Way(part=part)
    needs(isa, way)
    prove_right(planned(EDGES[label], target_of(isa)), way)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation(name: str, isa: str) -> None:
    """Beside its error (test_activations.py): whole and partial vectors go through the epilogue."""
    needs(isa)
    prove_right(planned(with_activation(name), target_of(isa)))


@pytest.mark.parametrize("name", ["relu", "silu", "gelu"])
def test_an_activation_where_channels_are_stored_one_by_one(name: str) -> None:
    needs("avx2")
    spec = replace(with_activation(name), layout=Layout.NCHW)
    prove_right(planned(spec, target_of("avx2")))


# -- one tile at the ends of the image and of the channels -----------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("size", OUTPUT_SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_a_pinned_tile_over_outputs_of_any_size(size: tuple[int, int], isa: str) -> None:
    """OH and OW below, at and above the tile's 2 x 3 pixels."""
    needs(isa)
    target = target_of(isa)
    spec = of_output(*size, oc=2 * target.isa.lanes + 1)
    prove_right(planned(spec, target, _pinned(target)))


CHANNELS = [(isa, oc) for isa in ISAS for oc in channel_counts(target_of(isa).isa.lanes)]


@pytest.mark.parametrize(("isa", "oc"), CHANNELS)
def test_a_pinned_tile_over_channels_of_any_count(isa: str, oc: int) -> None:
    """OC below, at and above one vector, two vectors and several blocks."""
    needs(isa)
    target = target_of(isa)
    prove_right(planned(of_output(3, 4, oc), target, _pinned(target)))


NARROW = [(isa, i.lanes) for isa in ISAS for i in target_of(isa).isas[1:]]


@pytest.mark.parametrize(("isa", "lanes"), NARROW)
@pytest.mark.parametrize("label", ["groups_wide", "depthwise_strided", "planes_oihw", "pointwise"])
def test_a_narrower_vector_than_the_target_has(label: str, isa: str, lanes: int) -> None:
    needs(isa)
    spec = EDGES[label]
    family = Family.DEPTHWISE if label.startswith("depthwise") else Family.DIRECT
    prove_right(planned(spec, target_of(isa), Schedule(family, lanes, 1, 3, 2)))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("label", ["depthwise", "depthwise_dilated", "depthwise_beyond_padding"])
def test_a_depthwise_layer_the_direct_way(label: str, isa: str) -> None:
    needs(isa)
    target = target_of(isa)
    prove_right(planned(EDGES[label], target, Schedule(Family.DIRECT, 1, 1, 4, 1)))


def _pinned(target: Target) -> Schedule:
    height, width, vectors = PINNED_TILE
    return Schedule(Family.DIRECT, target.isa.lanes, height, width, vectors)


# -- layouts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ["avx512", "plain"])
@pytest.mark.parametrize("weight_layout", WeightLayout)
@pytest.mark.parametrize("layout", Layout)
def test_a_layout(layout: Layout, weight_layout: WeightLayout, isa: str) -> None:
    needs(isa)
    spec = replace(EDGES["groups_wide"], layout=layout, weight_layout=weight_layout, batch=2)
    prove_right(planned(spec, target_of(isa)))


@pytest.mark.parametrize("label", ["groups_wide", "depthwise", "no_bias", "weights_ohwi"])
@pytest.mark.parametrize("isa", ["avx512", "plain"])
def test_baked_weights(label: str, isa: str) -> None:
    """The image in the C file is what pack would write, and the kernel reads it."""
    needs(isa)
    spec = EDGES[label]
    rng = np.random.default_rng(7)
    b = rng.standard_normal(spec.oc).astype(np.float32) if spec.bias else None
    weights = Weights(rng.standard_normal(spec.w_shape).astype(np.float32), b)
    prove_right(planned(spec, target_of(isa)), weights=weights)


# -- compilers and flags ---------------------------------------------------------------------------

FLAGS = ("-O0", "-O3")
READINGS = ["stem", "depthwise_strided", "groups_in_planes", "pad_beyond_kernel"]


@each_body
@pytest.mark.parametrize("flag", FLAGS)
def test_optimisation_changes_nothing(flag: str, isa: str, part: Part) -> None:
    way = Way(part=part, flags=(flag,))
    needs(isa, way)
    prove_right(planned(EDGES["pad_beyond_kernel"], target_of(isa)), way)


@pytest.mark.parametrize(("isa", "part"), BODIES[:-1])
@pytest.mark.parametrize("label", READINGS)
def test_clang(label: str, isa: str, part: Part) -> None:
    way = Way(cc="clang", part=part)
    needs(isa, way)
    prove_right(planned(EDGES[label], target_of(isa)), way)


@pytest.mark.parametrize("cc", COMPILERS)
@pytest.mark.parametrize("flags", [("-O0",), ("-O3",)], ids=" ".join)
@pytest.mark.parametrize("label", READINGS[1:3])
def test_each_compiler_without_and_with_optimisation(
    label: str, flags: tuple[str, ...], cc: str
) -> None:
    way = Way(cc=cc, flags=flags)
    needs("avx2", way)
    prove_right(planned(EDGES[label], target_of("avx2")), way)


@pytest.mark.parametrize("cc", COMPILERS)
@pytest.mark.parametrize("part", [Part.OWN, Part.PLAIN])
def test_flags_of_an_embedder(part: Part, cc: str) -> None:
    """Everything the machine has, and GNU C with its contraction of a * b + c."""
    way = Way(cc=cc, part=part, flags=("-O3", "-march=native", "-std=gnu11"))
    needs("avx2", way)
    prove_right(planned(LAYER, target_of("avx2")), way)
