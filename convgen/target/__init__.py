"""Target: WHERE a layer runs. A named value: vector widths, registers, caches, CPU features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from convgen.errors import UsageError
from convgen.target.cpu import cpu_features
from convgen.target.isa import AVX2, AVX2_HALF, AVX512, PLAIN, SSE2, VectorIsa

__all__ = ["ISA_NAMES", "TARGETS", "Target", "VectorIsa", "host_target", "resolve_target"]


@dataclass(frozen=True)
class Target:
    """A machine to generate for. Its name decides the bytes of the C, so its numbers never vary.

    ``isas``: widest first; narrower ones serve layers with few channels per group. ``l1 l2 l3``:
    data cache sizes in bytes of the cache model. ``fma_ports``, ``load_ports``, ``fma_latency``:
    the widest vector operations that start per cycle, and the cycles until a result can be used.
    """

    name: str
    isas: tuple[VectorIsa, ...]
    l1: int
    l2: int
    l3: int
    fma_ports: int
    load_ports: int
    fma_latency: int

    @property
    def isa(self) -> VectorIsa:
        return self.isas[0]

    def lanes(self, lanes: int) -> VectorIsa | None:
        """The instruction set of this width, or None."""
        return next((isa for isa in self.isas if isa.lanes == lanes), None)


_X86_CACHES = {"l1": 32 << 10, "l2": 1 << 20, "l3": 16 << 20}

TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target("x86-64-avx512", (AVX512, AVX2, AVX2_HALF, PLAIN), **_X86_CACHES,
               fma_ports=2, load_ports=2, fma_latency=4),
        Target("x86-64-avx2", (AVX2, AVX2_HALF, PLAIN), **_X86_CACHES,
               fma_ports=2, load_ports=2, fma_latency=4),
        Target("x86-64-sse2", (SSE2, PLAIN), **_X86_CACHES,
               fma_ports=1, load_ports=2, fma_latency=7),
        Target("generic", (PLAIN,), l1=16 << 10, l2=256 << 10, l3=1 << 20,
               fma_ports=1, load_ports=1, fma_latency=4),
    )
}  # fmt: skip
ISA_NAMES: Mapping[str, str] = {
    "avx512": "x86-64-avx512",
    "avx2": "x86-64-avx2",
    "sse2": "x86-64-sse2",
    "plain": "generic",
}


def host_target() -> Target:
    """The widest named target whose instructions this machine has."""
    have = cpu_features()
    fits = (t for t in TARGETS.values() if set(t.isa.features) <= have)
    return next(fits, TARGETS["generic"])


def resolve_target(name: str | None = None, isa: str | None = None) -> Target:
    """The target of ``--target`` or ``--isa``, the host's without either. Raises ``UsageError``."""
    if name is not None and isa is not None:
        raise UsageError("--target and --isa name the same thing: give one of them")
    if isa is not None:
        if isa not in ISA_NAMES:
            raise UsageError(f"--isa {isa}: unknown; there are {', '.join(ISA_NAMES)}")
        return TARGETS[ISA_NAMES[isa]]
    if name is None:
        return host_target()
    if name not in TARGETS:
        raise UsageError(f"--target {name}: unknown; there are {', '.join(TARGETS)}")
    return TARGETS[name]
