"""Generated kernels against the oracle: every edge layer on every instruction set, and the grid.

Each kernel climbs the whole verification ladder (convgen.verify): exact integers, bounded reals,
guard pages, run_part over many splits, NaN and Inf. Warnings are errors throughout. Most layers
are ``accuracy: strict``, for the families that sum directly; test_winograd.py has the others.
"""

from __future__ import annotations

import shutil
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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernels import COMPILERS, GCC, ISAS, Part, Way, needs, planned, prove_right, target_of
from spec_strategies import specs

from convgen.errors import ScheduleError
from convgen.families import FAMILIES, lower
from convgen.plan import KernelPlan
from convgen.schedule import Family, Schedule
from convgen.spec import Weights
from convgen.spec.model import Accuracy, ConvSpec, Layout, Padding, WeightLayout
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


# -- the whole grid --------------------------------------------------------------------------------

GRID = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=15,
    suppress_health_check=list(HealthCheck),
)


@st.composite
def plans(draw: st.DrawFn, isa: str) -> KernelPlan:
    """Any layer, under the chosen schedule or any candidate of any family that takes it."""
    spec = replace(draw(specs(largest=12)), accuracy=Accuracy.STRICT)
    match draw(st.sampled_from(["any", "many", "depthwise", "grouped", "winograd"])):
        case "many":  # more channels than the strategy has: several vectors and a rest
            spec = replace(spec, oc=spec.groups * draw(st.integers(4, 40)))
        case "depthwise":
            spec = equal_groups(spec, draw(st.integers(2, 40)), 1)
        case "grouped":
            spec = equal_groups(spec, draw(st.integers(2, 12)), draw(st.sampled_from([2, 4, 8])))
        case "winograd":
            spec = draw(minimal_filtering(spec))
    return draw(schedules(spec, target_of(isa)))


def equal_groups(spec: ConvSpec, groups: int, channels: int) -> ConvSpec:
    """As many channels out of each group as into it."""
    return replace(spec, c=groups * channels, oc=groups * channels, groups=groups)


@st.composite
def minimal_filtering(draw: st.DrawFn, spec: ConvSpec) -> ConvSpec:
    """A layer that Winograd's family may take; its sums have a bound of their own."""
    r, d = draw(st.sampled_from([3, 5])), draw(st.sampled_from([1, 1, 2, 3]))
    place = st.integers(r * d, r * d + 9)
    sizes = {"h": draw(place), "w": draw(place), "kh": r, "kw": r}
    if d > 1:  # padding that keeps the phases of a dilated layer apart
        sizes |= {"padding": Padding(d, d, draw(st.integers(0, 4)), draw(st.integers(0, 4)))}
    channels = {"c": draw(st.integers(8, 40)), "oc": draw(st.integers(1, 40)), "groups": 1}
    steps = {"sh": 1, "sw": 1, "dh": d, "dw": d, "layout": Layout.NHWC}
    return replace(spec, accuracy=Accuracy.FAST, **sizes, **channels, **steps)


@st.composite
def schedules(draw: st.DrawFn, spec: ConvSpec, target: Target) -> KernelPlan:
    """First the family, or the chooser's word: direct has by far the most candidates."""
    families = [f for f in FAMILIES.values() if f.fits(spec)]
    candidates = [list(family.candidates(spec, target)) for family in families]
    listed = draw(st.sampled_from([None, *filter(None, candidates)]))
    if listed is not None:
        try:
            return lower(spec, draw(st.sampled_from(listed)), target)
        except ScheduleError:
            pass
    return planned(spec, target)


@pytest.mark.parametrize("isa", ISAS)
@GRID
@given(data=st.data())
def test_the_grid(isa: str, data: st.DataObject) -> None:
    _check_any(isa, data)


@pytest.mark.deep
@pytest.mark.parametrize("isa", ISAS)
@settings(GRID, derandomize=False, max_examples=1000, print_blob=True)
@given(data=st.data())
def test_the_grid_at_length(isa: str, data: st.DataObject) -> None:
    """Random layers, the failing one shrunk and printed with what reproduces it."""
    _check_any(isa, data)


def _check_any(isa: str, data: st.DataObject) -> None:
    plan = data.draw(plans(isa))
    here = [cc for cc in COMPILERS if shutil.which(cc)]
    part = data.draw(st.sampled_from([Part.OWN, Part.OWN, Part.PLAIN, Part.MODEL]))
    way = replace(GCC, cc=data.draw(st.sampled_from(here)), part=part)
    needs(isa, way)
    prove_right(plan, way)
