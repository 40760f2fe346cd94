"""Targets: named machines as data, the host's among them."""

from __future__ import annotations

import dataclasses

import pytest
from kernels import ISAS

from convgen.errors import UsageError
from convgen.spec.model import DType
from convgen.target import (
    ISA_NAMES,
    TARGETS,
    Target,
    VectorIsa,
    host_target,
    is_foreign,
    missing_features,
    resolve_target,
)
from convgen.target.host import cpu_features, cpu_name
from convgen.target.isa import OPERATIONS, model

WIDTHS = [(target.name, isa) for target in TARGETS.values() for isa in target.isas]
each_width = pytest.mark.parametrize(
    "isa", [isa for _, isa in WIDTHS], ids=[f"{name}-{isa.lanes}" for name, isa in WIDTHS]
)


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_a_target_lists_widths_from_wide_to_plain(target: Target) -> None:
    lanes = [isa.lanes for isa in target.isas]
    assert lanes == sorted(set(lanes), reverse=True)
    assert target.isas[-1].lanes == 1 and target.isas[-1].features == ()
    assert target.isa is target.isas[0]
    assert [target.lanes(n) for n in lanes] == list(target.isas)
    assert target.lanes(3) is None


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_narrower_widths_need_nothing_more(target: Target) -> None:
    """A package is checked for the widest one's features: a CPU that has them must do for all.

    Every AVX-512 processor has AVX2 and FMA, in the reverse direction nothing is promised.
    """
    implied = {"avx512f": {"avx512f", "avx2", "fma"}}
    have = {f for feature in target.isa.features for f in implied.get(feature, {feature})}
    for isa in target.isas:
        assert set(isa.features) <= have


@each_width
def test_every_operation_is_there_under_its_name(isa: VectorIsa) -> None:
    names = [op.name for op in isa.operations]
    spreads = {f"spread_{w}_{i}" for w in (2, 4, 8) if w <= isa.lanes for i in range(w)}
    optional = {"keep", "join", "pick", "evens", "odds", "transpose"}
    assert len(set(names)) == len(names) and set(names) - optional == {*OPERATIONS, *spreads}
    assert model(isa).lanes == isa.lanes and model(isa).prefix == isa.prefix
    assert set(names) <= {op.name for op in model(isa).operations} <= {*names, *optional}
    with pytest.raises(StopIteration):
        isa.operation("sqrt")


@each_width
def test_only_simd_has_conditions(isa: VectorIsa) -> None:
    vectorised = isa.lanes > 1
    assert bool(isa.condition) is vectorised
    assert bool(isa.header) is (vectorised and isa.name != "plain")  # the compiler's own vectors
    assert vectorised or not (isa.attribute or isa.features)
    assert bool(isa.attribute) is bool(isa.features), "asked of the CPU, so switched on by us"
    assert not model(isa).features and not model(isa).header
    assert isa.registers >= 8


@each_width
def test_functions_are_declared_with_what_the_vectors_need(isa: VectorIsa) -> None:
    always = isa.inlined.removeprefix("static inline")
    if isa.lanes == 1:
        assert (always, isa.apart) == ("", "static")
        return
    assert "always_inline" in always and "noinline" in isa.apart
    assert isa.attribute in always and isa.attribute in isa.apart
    assert (model(isa).inlined, model(isa).apart) == ("static inline", "static")


def test_a_target_is_a_frozen_value() -> None:
    target = TARGETS["generic"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        target.name = "other"  # type: ignore[misc]
    assert hash(target) == hash(TARGETS["generic"])


def test_isa_names_cover_the_targets() -> None:
    """Those of x86-64, which this option is for; other machines have one set each."""
    named = [t for t in TARGETS if t.startswith("x86-64-") or t == "generic"]
    assert sorted(ISA_NAMES.values()) == sorted(named)
    assert all(TARGETS[ISA_NAMES[name]].isa.name == name for name in ISAS)
    assert {TARGETS[name].isa.name for name in named} == set(ISAS)


def test_the_host_gets_the_widest_target_it_can_run() -> None:
    host = host_target()
    assert set(host.isa.features) <= cpu_features()
    wider = list(TARGETS.values())[: list(TARGETS).index(host.name)]
    assert all(is_foreign(target) or missing_features(target) for target in wider)


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        ("aarch64", "aarch64-neon"),
        ("arm64", "aarch64-neon"),
        ("riscv64", "riscv64"),
        ("armv7l", "generic"),  # NEON is optional there, and nothing says whether it is
        ("ppc64le", "generic"),
    ],
)
def test_host_targets_off_x86(machine: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convgen.target.machine_name", lambda: machine)
    monkeypatch.setattr("convgen.target.cpu_features", frozenset)
    assert host_target().name == name
    assert is_foreign(TARGETS["x86-64-sse2"]) and is_foreign(TARGETS["cortex-m4"])
    assert not is_foreign(TARGETS["generic"])


AVX512 = {"sse2", "avx2", "fma", "avx512f", "avx512bw", "avx512vl"}


@pytest.mark.parametrize(
    ("features", "name"),
    [
        ({*AVX512, "avx512vnni", "avx512bf16"}, "x86-64-avx512bf16"),
        ({*AVX512, "avx512vnni"}, "x86-64-avx512"),
        ({*AVX512, "avx512vnni", "avxvnni"}, "x86-64-avx512"),
        (AVX512, "x86-64-avx512f"),  # Skylake-X
        ({"sse2", "avx2", "fma", "avx512f"}, "x86-64-avx2"),
        ({"sse2", "avx2", "fma", "avxvnni"}, "x86-64-avxvnni"),
        ({"sse2", "avx2", "fma"}, "x86-64-avx2"),
        ({"sse2", "avx2"}, "x86-64-sse2"),
        ({"sse2"}, "x86-64-sse2"),
        (set(), "generic"),
    ],
)
def test_host_targets_of_other_machines(
    features: set[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convgen.target.cpu_features", lambda: frozenset(features))
    assert host_target().name == name


def test_what_a_layer_lacks_is_that_of_its_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 kernels for AVX-512 run where 8-bit ones of the same target do not."""
    monkeypatch.setattr("convgen.target.cpu_features", lambda: frozenset(AVX512))
    target = TARGETS["x86-64-avx512"]
    assert missing_features(target) == missing_features(target, DType.INT8) == ("avx512vnni",)
    assert missing_features(target, DType.FLOAT32) == ()
    assert missing_features(TARGETS["generic"], DType.UINT8) == ()
    pairs = TARGETS["x86-64-avx512bf16"]
    assert missing_features(pairs, DType.BFLOAT16) == ("avx512bf16",)
    assert missing_features(pairs, DType.FLOAT16) == ()


def test_the_host_with_dot_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convgen.target.machine_name", lambda: "aarch64")
    monkeypatch.setattr("convgen.target.cpu_features", lambda: frozenset({"asimd", "dotprod"}))
    assert host_target().name == "aarch64-dotprod"


def test_linux_lists_the_features_of_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    text = "processor\t: 0\nFeatures\t: fp asimd crc32 atomics asimddp\n"
    monkeypatch.setattr("convgen.target.host.Path.exists", lambda _: True)
    monkeypatch.setattr("convgen.target.host.Path.read_text", lambda _: text)
    cpu_features.cache_clear()
    try:
        assert cpu_features() == {"fp", "asimd", "crc32", "atomics", "dotprod"}
    finally:
        monkeypatch.undo()
        cpu_features.cache_clear()


def test_features_of_other_machines_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    cpu_features.cache_clear()
    try:
        assert cpu_features() == frozenset()
    finally:
        monkeypatch.undo()
        cpu_features.cache_clear()


def test_the_processor_has_a_name() -> None:
    assert cpu_name()


def test_resolving() -> None:
    assert resolve_target() is host_target()
    assert resolve_target("generic").name == "generic"
    assert resolve_target(isa="avx2").name == "x86-64-avx2"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("z80", None), "--target z80: unknown; there are .*generic"),
        ((None, "mmx"), "--isa mmx: unknown; there are .*avx512"),
        (("generic", "plain"), "give one of them"),
    ],
)
def test_wrong_names_say_what_there_is(
    arguments: tuple[str | None, str | None], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        resolve_target(*arguments)
