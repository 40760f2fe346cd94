"""The prover: every access in bounds and no undefined arithmetic, shown by frama-c for a handful.

Each proof covers pack, run, and run_part with any int for part and parts. That EVA would speak up
is shown with seeded bugs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

import pytest
from edge_layers import EDGES, LAYER, depthwise, layer
from kernels import ISAS, planned, target_of
from places import SPECS
from provable import KINDS, PUSH, provable
from quant_layers import filled, quantised
from slices import one_in

from convgen.errors import ToolchainError
from convgen.kernels import lower
from convgen.package.emit.files import decide, kernel_files
from convgen.plan.kernel import KernelPlan
from convgen.render.source import render_c
from convgen.spec import Weights, parse_file
from convgen.spec.model import (
    Accuracy,
    Act,
    Activation,
    ConvSpec,
    DType,
    Layer,
    Layout,
    Padding,
)
from convgen.spec.quant import Affine, Quant, Rounding
from convgen.spec.requantize import weight_room
from convgen.spec.schedule import Family, Schedule
from convgen.target import TARGETS
from convgen.verify import eva as module
from convgen.verify.eva import Proof, Reading
from convgen.verify.evidence import Sums, assumptions, evidence, prove_body, readings
from convgen.verify.harness import Content, bias_limit, driver, largest_products
from convgen.verify.prove import prove

needs_frama_c = pytest.mark.needs("frama-c")


def proof(plan: KernelPlan, reading: Reading, **options: str) -> Proof:
    return prove(plan, render_c(plan), reading, **options)  # type: ignore[arg-type]


@needs_frama_c
@pytest.mark.parametrize(
    ("isa", "reading"),
    [("avx512", Reading.SIMD), ("avx512", Reading.PLAIN), ("plain", Reading.PLAIN)],
)
def test_the_readme_layer_is_proved(isa: str, reading: Reading) -> None:
    found = proof(planned(LAYER, target_of(isa)), reading)
    assert found.proved, "\n".join(found.alarms)
    assert found.functions > 10


SIMD = [
    "stem", "pad_beyond_kernel", "groups_in_planes", "grouped_by_4", "depthwise_strided",
    "groups_and_batch", "pointwise_prime", "stride_beyond_kernel_skips_taps",
]  # fmt: skip
CASES = [
    *((label, Reading.SIMD) for label in SIMD),
    *((label, Reading.PLAIN) for label in ("groups_in_planes", "depthwise_dilated", "batch")),
]


@needs_frama_c
@pytest.mark.parametrize(("label", "reading"), CASES)
def test_an_edge_layer_is_proved(label: str, reading: Reading) -> None:
    found = proof(planned(EDGES[label], target_of("avx2")), reading)
    assert found.proved, "\n".join(found.alarms)


@needs_frama_c
@pytest.mark.deep
@pytest.mark.parametrize("reading", Reading)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("label", EDGES)
def test_every_edge_layer_is_proved(label: str, isa: str, reading: Reading) -> None:
    plan = planned(EDGES[label], target_of(isa))
    if len(plan.bodies) == 1 and reading is Reading.SIMD:
        pytest.skip("plain C is all there is")
    found = proof(plan, reading)
    assert found.proved, "\n".join(found.alarms)


@needs_frama_c
def test_indices_of_a_32_bit_machine_are_enough() -> None:
    """ptrdiff_t and int of 32 bits, as an embedded target has them."""
    found = proof(planned(LAYER, target_of("plain")), Reading.PLAIN, machine="gcc_x86_32")
    assert found.proved, "\n".join(found.alarms)


@needs_frama_c
@pytest.mark.parametrize("row", [True, False])
def test_a_flat_winograd_layer_is_proved(row: bool) -> None:
    taps, pad, tile = ((1, 3), (0, 1, 0, 1), (1, 2)) if row else ((3, 1), (1, 0, 1, 0), (2, 1))
    spec = ConvSpec("wino", 2, 5, 17, 18, *taps, padding=Padding(*pad))
    plan = lower(spec, Schedule(Family.WINOGRAD, 16, *tile, 1, 2, 1), target_of("avx512"))
    found = proof(plan, Reading.SIMD)
    assert found.proved, "\n".join(found.alarms)


@needs_frama_c
@pytest.mark.parametrize("m", [2, pytest.param(4, marks=pytest.mark.deep)])
def test_a_winograd_layer_is_proved(m: int) -> None:
    spec = ConvSpec("wino", 4, 5, 17, 18, 3, 3, padding=Padding(1, 1, 1, 1))
    plan = lower(spec, Schedule(Family.WINOGRAD, 16, m, m, 1, 2, 1), target_of("avx512"))
    found = proof(plan, Reading.SIMD)
    assert found.proved, "\n".join(found.alarms)


@needs_frama_c
@pytest.mark.parametrize("reading", Reading)
def test_a_planar_layer_is_proved(reading: Reading) -> None:
    """Strided, with padding, a rest of columns in every strip and a rest of strips."""
    spec = layer("9x19x3", 5, "3x3", "1 1 1 1", sh=2, sw=2)
    plan = lower(spec, Schedule(Family.PLANAR, 16, 2, 2, 5), target_of("avx512"))
    found = proof(plan, reading)
    assert found.proved, "\n".join(found.alarms)


# -- 8-bit layers: what their sums rest on --------------------------------------------------------

BYTE = replace(
    layer("6x5x4", 6, "3x3", "1 1 1 1"),
    dtype=DType.INT8,
    activation=Activation(Act.RELU),
    quant=Quant(
        Affine((0.02,), (-3,)), Affine((0.01,) * 6, (1, 0, 2, -4, 5, 6)), Affine((0.06,), (4,))
    ),
)


@needs_frama_c
@pytest.mark.parametrize("rounding", Rounding)
def test_sums_of_8_bit_layers_are_shown_to_stay_within_int32(rounding: Rounding) -> None:
    assert BYTE.quant is not None
    spec = replace(BYTE, quant=replace(BYTE.quant, rounding=rounding))
    plan = planned(spec, target_of("plain"))
    (found,) = evidence(plan, render_c(plan))
    assert found.proved, "\n".join(found.alarms)
    assert found.sums is Sums.BOUNDED
    first, second = found.proofs
    assert first.sums and set(first.sums) == set(first.alarms)  # any bias: the sums alone
    assert second.content is Content.BOUNDED and not second.alarms
    words = " ".join(assumptions(plan, frozenset({found.sums})))
    assert f"-{bias_limit(plan)} .." in words and "check of edge_pack" in words


@needs_frama_c
def test_baked_8_bit_weights_need_no_assumption_about_sums() -> None:
    plan = planned(BYTE, target_of("plain"))
    made = filled(BYTE, 5)
    files = render_c(plan, Weights(made.w, made.b))
    (found,) = evidence(plan, files, baked=True)
    assert (found.proved, found.sums) == (True, Sums.SHOWN)
    assert not any("2147483647" in words for words in assumptions(plan, frozenset({found.sums})))


@needs_frama_c
def test_sums_that_only_pack_bounds_are_named_as_an_assumption() -> None:
    """More steps than any weights' worst case allows: pack's check is what is left."""
    spec = replace(BYTE, h=3, w=3, c=8000, padding=Padding(), oc=1, quant=Quant(
        Affine((0.02,), (-128,)), Affine((0.01,), (0,)), Affine((0.06,), (4,))
    ))  # fmt: skip
    plan = planned(spec, target_of("plain"))
    assert bias_limit(plan) is None
    (found,) = evidence(plan, render_c(plan))
    assert found.proved, "\n".join(found.alarms)
    assert found.sums is Sums.CONTRACT and len(found.proofs) == 1
    words = " ".join(assumptions(plan, frozenset({found.sums})))
    assert "takes no overflow of these sums for granted" in words


@needs_frama_c
def test_a_sum_that_overflows_is_no_matter_of_assumption_elsewhere() -> None:
    """Only the accumulators' additions may rest on pack; its own sum may not."""
    plan = planned(BYTE, target_of("plain"))
    room = f"if (sum > {weight_room(BYTE)}) return (int)oc + 1;"
    files = render_c(plan)
    assert room in files["edge.c"]
    (found,) = evidence(plan, patched(files, room, ""))
    assert not found.proved
    assert all("sum" in alarm for alarm in found.alarms)


def test_the_limit_of_biases_leaves_room_for_the_worst_weights() -> None:
    plan = planned(BYTE, target_of("plain"))
    assert largest_products(plan) == 3 * 3 * 4 * 130 * 134
    limit = bias_limit(plan)
    assert limit is not None and limit % 2**24 == 0
    assert limit + largest_products(plan) <= 2**31 - 1


@needs_frama_c
@pytest.mark.parametrize("dtype", [DType.FLOAT64, DType.FLOAT16, DType.BFLOAT16])
def test_other_floats_are_proved(dtype: DType) -> None:
    spec = replace(EDGES["groups_and_batch"], dtype=dtype, activation=Activation(Act.SIGMOID))
    plan = planned(spec, target_of("plain"))
    for found in evidence(plan, render_c(plan)):
        assert found.proved, "\n".join(found.alarms)
        assert found.sums is Sums.FLOAT


@needs_frama_c
def test_products_of_pairs_are_proved() -> None:
    """On the model of AVX512-BF16's instructions, and the plain C over the same packing."""
    spec = replace(
        EDGES["groups_and_batch"], c=2 * EDGES["groups_and_batch"].c, dtype=DType.BFLOAT16,
        accuracy=Accuracy.FAST, layout=Layout.NHWC,
    )  # fmt: skip
    plan = lower(spec, Schedule(Family.DIRECT, 16, 1, 3, 1), target_of("avx512bf16"))
    assert plan.body.isa.flushes
    for found in evidence(plan, render_c(plan)):
        assert found.proved, "\n".join(found.alarms)
        assert found.sums is Sums.FLOAT


# -- what every push proves, and what `make prove` does -------------------------------------------

SHIPPED = [item for path in sorted(SPECS.glob("*.yaml")) for item in parse_file(str(path))]


@needs_frama_c
@pytest.mark.parametrize("shipped", one_in(3, SHIPPED, lambda item: str(item.spec.name)))
def test_a_shipped_spec_is_proved(shipped: Layer) -> None:
    """Its vector body for AVX2, the README's target of older machines; all of it: `make prove`."""
    decided = decide(shipped, target_of("avx2"))
    reading, isa = readings(decided.plan)[0]
    baked = decided.weights is not None
    found = prove_body(decided.plan, kernel_files(decided), reading, isa, baked=baked)
    assert found.proved, "\n".join(found.alarms)
    assert found.seconds < 10 or os.getloadavg()[0] > 2


@needs_frama_c
@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m55"])
def test_the_steps_of_a_small_core_are_proved(target: str) -> None:
    """SMLAD and MVE by their plain C: their sums wrap, so none is left to be assumed."""
    (shipped,) = [item for item in SHIPPED if item.spec.name == "int8_layer"]
    decided = decide(shipped, TARGETS[target])
    assert decided.plan.step is not None
    (reading, isa), *_ = readings(decided.plan)
    found = prove_body(decided.plan, kernel_files(decided), reading, isa)
    assert found.proved, "\n".join(found.alarms)


@needs_frama_c
@pytest.mark.parametrize("seed", one_in(3, list(PUSH), lambda seed: f"{KINDS[seed % 10]}{seed}"))
def test_a_generated_layer_is_proved(seed: int) -> None:
    case = provable(seed)
    found = case.proof()
    assert found.proved, f"{case.label}\n{case.plan.schedule}\n" + "\n".join(found.alarms)


# -- EVA speaks up --------------------------------------------------------------------------------

# One mistake each: the text and what replaces it, and a word of the alarm.
BUGS = {
    "a row of tiles too many": ("row = u % a->row_tiles;", "row = u % a->row_tiles + 1;"),
    "a row of taps too many": ("kh < kh_taps;", "kh <= kh_taps;"),
    "a tap too many": ("k < kw_taps * 3;", "k < kw_taps * 3 + 1;"),
    "a tap too early": ("const float *s = x +", "const float *s = x - 1 +"),
    "an output too late": ("yt + col *", "yt + 1 + col *"),
    "no check of the part": ("if (part < 0 || part >= parts) return;", ""),
    "a weight too late": ("row[k *", "row[1 + k *"),
}


@needs_frama_c
@pytest.mark.parametrize("bug", BUGS)
def test_a_seeded_bug_is_reported(bug: str) -> None:
    spec = replace(LAYER, h=9, w=9)
    plan = lower(spec, Schedule(Family.DIRECT, 16, 1, 7, 1), target_of("avx512"))
    good, bad = BUGS[bug]
    files = render_c(plan)
    assert good in files["layer.c"]
    found = prove(plan, patched(files, good, bad), Reading.SIMD)
    assert found.alarms and not found.proved
    assert all(alarm.startswith("layer.c:") for alarm in found.alarms[:1])


# One mistake in each other template: the layer and its schedule, the text and what replaces it.
FAMILY_BUGS: dict[str, tuple[ConvSpec, Schedule, str, str, str]] = {
    "depthwise": (
        depthwise("9x11x19", "3x3", "1 1 1 1"), Schedule(Family.DEPTHWISE, 8, 1, 4, 1), "avx2",
        "row = u / chunks", "row = 1 + u / chunks",
    ),
    "grouped": (
        EDGES["grouped_by_4"], Schedule(Family.GROUPED, 8, 1, 2, 1), "avx2",
        "row = u / chunks", "row = 1 + u / chunks",
    ),
    "planar": (
        layer("9x19x3", 5, "3x3", "1 1 1 1", sh=2, sw=2), Schedule(Family.PLANAR, 16, 2, 2, 5),
        "avx512", "float *const to = y +", "float *const to = y + 1 +",
    ),
    "winograd": (
        ConvSpec("edge", 2, 5, 17, 18, 1, 3, padding=Padding(0, 1, 0, 1)),
        Schedule(Family.WINOGRAD, 16, 1, 2, 1, 2, 1), "avx512",
        "image = x + tile / 6", "image = x + tile / 5",
    ),
    "scalar": (
        quantised(EDGES["groups_and_batch"], Rounding.TFLITE), Schedule(Family.DIRECT, 1, 1, 2, 1),
        "plain", "image = u /", "image = 1 + u /",
    ),
}  # fmt: skip


@needs_frama_c
@pytest.mark.parametrize("family", FAMILY_BUGS)
def test_a_bug_in_a_family_s_template_is_reported(family: str) -> None:
    spec, schedule, isa, good, bad = FAMILY_BUGS[family]
    plan = lower(spec, schedule, target_of(isa))
    files = render_c(plan)
    assert good in files["edge.c"], files["edge.c"]
    reading = readings(plan)[0][0]
    found = prove(plan, patched(files, good, bad), reading)
    assert found.alarms and found.alarms[0].startswith("edge.c:"), found.alarms


def patched(files: Mapping[str, str], good: str, bad: str) -> dict[str, str]:
    return {name: text.replace(good, bad) for name, text in files.items()}


@needs_frama_c
def test_what_is_not_reached_is_not_called_proved() -> None:
    plan = planned(LAYER, target_of("avx512"))
    lame = patched(render_c(plan), "part < 0 || part >= parts", "part < 0 || part >= 0")
    found = prove(plan, lame, Reading.SIMD)
    assert any("functions were reached" in alarm for alarm in found.alarms)


# -- without running it --------------------------------------------------------------------------


def test_the_driver_has_arrays_of_exact_size() -> None:
    text = driver(planned(LAYER, target_of("avx2")))
    for words in ("x[3072]", "w[750]", "b[10]", "y[10240]", "layer_pack(w, b, packed)"):
        assert words in text
    no_bias = driver(planned(replace(EDGES["no_bias"]), target_of("avx2")))
    assert "b = 0;" in no_bias and "b[i]" not in no_bias


def test_a_missing_frama_c_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_frama_c", lambda: None)
    plan = planned(LAYER, target_of("plain"))
    with pytest.raises(ToolchainError, match="frama-c-base"):
        prove(plan, {}, Reading.PLAIN)


@needs_frama_c
def test_c_that_does_not_parse_is_a_failure() -> None:
    plan = planned(LAYER, target_of("plain"))
    with pytest.raises(ToolchainError, match="frama-c failed"):
        prove(plan, {**render_c(plan), "layer.c": "int x = ;"}, Reading.PLAIN)


@needs_frama_c
def test_a_proof_that_takes_too_long_is_stopped() -> None:
    plan = planned(LAYER, target_of("plain"))
    with pytest.raises(ToolchainError, match="did not finish within"):
        prove(plan, render_c(plan), Reading.PLAIN, timeout=0.1)
