"""The prover: every access in bounds and no undefined arithmetic, shown by frama-c for a handful.

Each proof covers pack, run, and run_part with any int for part and parts. That EVA would speak up
is shown with seeded bugs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from edge_layers import EDGES, LAYER, layer
from kernels import ISAS, planned, target_of

from convgen.errors import ToolchainError
from convgen.families import lower
from convgen.plan import KernelPlan
from convgen.render import render_c
from convgen.schedule import Family, Schedule
from convgen.spec.model import ConvSpec, Padding
from convgen.verify import prove as module
from convgen.verify.prove import Proof, Reading, driver, find_frama_c, prove

needs_frama_c = pytest.mark.skipif(find_frama_c() is None, reason="frama-c is not on this machine")


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
    """The SIMD body; the plain one takes minutes."""
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
