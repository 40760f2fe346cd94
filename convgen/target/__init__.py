"""Target: WHERE a layer runs. A named value: vector widths, registers, caches, CPU features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypedDict

from convgen.errors import UsageError
from convgen.spec.model import DType
from convgen.target.arm.core import CoreStep
from convgen.target.arm.dots import aarch64_neon, aarch64_sdot, armv7_neon
from convgen.target.arm.vectors import MVE, MVE_STEP, NEON, NEON_V7, SMLAD
from convgen.target.arm.window_mve import MVE_WINDOWS
from convgen.target.arm.window_smlad import SMLAD_WINDOWS
from convgen.target.arm.windows import WindowKernel
from convgen.target.dots import DotIsa
from convgen.target.host import cpu_features, machine_name
from convgen.target.isa import VectorIsa
from convgen.target.plain import PLAIN, PLAIN_32
from convgen.target.portable import PORTABLE
from convgen.target.riscv import RVV
from convgen.target.wasm import SIMD128, simd128_pairs
from convgen.target.x86.bf16 import AVX512_BF16
from convgen.target.x86.dots import avx512_vnni, avx_vnni
from convgen.target.x86.pairs import avx2_pairs, avx512_pairs, sse2_pairs
from convgen.target.x86.vectors import AVX2, AVX2_HALF, AVX512, SSE2

__all__ = [
    "ISA_NAMES",
    "TARGETS",
    "CoreStep",
    "Target",
    "VectorIsa",
    "host_target",
    "is_foreign",
    "lacking",
    "missing_features",
    "resolve_target",
]


class Caches(TypedDict):
    """Data cache sizes in bytes."""

    l1: int
    l2: int
    l3: int


@dataclass(frozen=True)
class Target:
    """A machine to generate for. Its name decides the bytes of the C, so its numbers never vary.

    ``isas``: widest first; narrower ones serve layers with few channels per group. ``l1 l2 l3``:
    data cache sizes in bytes of the cache model. ``fma_ports``, ``load_ports``, ``fma_latency``:
    the widest vector operations that start per cycle, and the cycles until a result can be used.
    ``issue``: instructions of any kind per cycle.
    ``bytes_per_cycle``: from the first, second and third cache and from memory, of one core.
    ``machines``: how the operating system of such a machine calls it, empty where any will do, None
    where none runs Python. ``flags``: what a compiler for that machine must be told so that it
    takes the vector body. ``doubles``: whether double arithmetic is instructions, not calls.
    ``parts``: of a fat target, the targets whose bodies its one file holds, widest first.
    ``block``: channels in a block of packed weights, where bodies of several widths read it; 0: as
    many as the vector has lanes. ``dots``: what 8-bit kernels take, widest first (``DOTS``).
    ``core_registers``: where sums of 8-bit kernels are in core registers, how many those share with
    pointers and counters: 16 less the stack pointer and the program counter; else 0.
    ``core_steps``: steps of several 8-bit products with sums in core registers, the widest first.
    ``windows``: kernels of gathered windows, whose names are those of core steps, likewise.
    ``bf16``: vectors that multiply pairs of bfloat16 numbers, None where there are none.
    """

    name: str
    isas: tuple[VectorIsa, ...]
    l1: int
    l2: int
    l3: int
    fma_ports: int
    load_ports: int
    fma_latency: int
    machines: tuple[str, ...] | None = ()
    flags: tuple[str, ...] = ()
    doubles: bool = True
    parts: tuple[str, ...] = ()
    block: int = 0
    dots: tuple[str, ...] = ()
    core_registers: int = 0
    core_steps: tuple[CoreStep, ...] = ()
    windows: tuple[WindowKernel, ...] = ()
    bf16: VectorIsa | None = None
    bytes_per_cycle: tuple[float, float, float, float] = (64, 32, 16, 8)
    issue: int = 6

    @property
    def isa(self) -> VectorIsa:
        return self.isas[0]

    def dot_isas(self, dtype: DType) -> tuple[DotIsa, ...]:
        """The instructions that 8-bit kernels of this element type take, widest first."""
        return tuple(_dot_isa(name, dtype) for name in self.dots)

    def features(self, dtype: DType) -> tuple[str, ...]:
        """What the CPU must have for the widest kernels of this element type."""
        if dtype is DType.BFLOAT16 and self.bf16 is not None:
            return self.bf16.features
        if dtype not in (DType.INT8, DType.UINT8):
            return self.isa.features
        return self.dot_isas(dtype)[0].features if self.dots else ()

    def lanes(self, lanes: int) -> VectorIsa | None:
        """The instruction set of this width, or None."""
        return next((isa for isa in self.isas if isa.lanes == lanes), None)


@cache
def _dot_isa(name: str, dtype: DType) -> DotIsa:
    return DOTS[name](dtype)


DOTS: Mapping[str, Callable[[DType], DotIsa]] = {
    "avx512vnni": avx512_vnni,
    "avx512bw": avx512_pairs,
    "avxvnni": avx_vnni,
    "avx2": avx2_pairs,
    "sse2": sse2_pairs,
    "neon-dotprod": aarch64_sdot,
    "neon": aarch64_neon,
    "neon-v7": armv7_neon,
    "simd128": simd128_pairs,
}
_X86_CACHES = Caches(l1=32 << 10, l2=1 << 20, l3=16 << 20)
_AVX512_CACHES = Caches(l1=48 << 10, l2=1 << 20, l3=16 << 20)  # from Ice Lake and Zen 5 on
_X86_MACHINES = ("x86_64", "AMD64", "amd64")
_AARCH64_MACHINES = ("aarch64", "arm64", "ARM64")
# A microcontroller's RAM answers in a cycle or two: all of it counts as one cache.
_MCU = Caches(l1=64 << 10, l2=256 << 10, l3=1 << 20)
_CORTEX_M = ("-mthumb", "-mfloat-abi=hard")
_NO_FPU = ("-mthumb", "-mfloat-abi=soft")

# ``host_target`` takes the first that fits: those that need flags stand after ``generic``.
TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target("x86-64-avx512bf16", (AVX512, AVX2, AVX2_HALF, PLAIN), **_AVX512_CACHES,
               fma_ports=2, load_ports=2, fma_latency=4, machines=_X86_MACHINES,
               bytes_per_cycle=(128, 64, 24, 8), dots=("avx512vnni",), bf16=AVX512_BF16),
        Target("x86-64-avx512", (AVX512, AVX2, AVX2_HALF, PLAIN), **_AVX512_CACHES,
               fma_ports=2, load_ports=2, fma_latency=4, machines=_X86_MACHINES,
               bytes_per_cycle=(128, 64, 24, 8), dots=("avx512vnni",)),
        Target("x86-64-avx512f", (AVX512, AVX2, AVX2_HALF, PLAIN), **_X86_CACHES,
               fma_ports=2, load_ports=2, fma_latency=4, machines=_X86_MACHINES,
               bytes_per_cycle=(128, 64, 24, 8), dots=("avx512bw",)),
        Target("x86-64-avxvnni", (AVX2, AVX2_HALF, PLAIN), **_X86_CACHES,
               fma_ports=2, load_ports=2, fma_latency=4, machines=_X86_MACHINES,
               dots=("avxvnni",)),
        Target("x86-64-avx2", (AVX2, AVX2_HALF, PLAIN), **_X86_CACHES,
               fma_ports=2, load_ports=2, fma_latency=4, machines=_X86_MACHINES,
               dots=("avx2",)),
        Target("x86-64-sse2", (SSE2, PLAIN), **_X86_CACHES,
               fma_ports=2, load_ports=2, fma_latency=4, machines=_X86_MACHINES,
               dots=("sse2",)),
        Target("x86-64", (AVX512, AVX2, AVX2_HALF, PLAIN), **_X86_CACHES,
               fma_ports=2, load_ports=2, fma_latency=4, machines=_X86_MACHINES,
               parts=("x86-64-avx512", "x86-64-avx2", "x86-64-sse2"), dots=("sse2",)),
        Target("aarch64-dotprod", (NEON, PLAIN), l1=32 << 10, l2=512 << 10, l3=4 << 20,
               fma_ports=2, load_ports=2, fma_latency=4, machines=_AARCH64_MACHINES,
               dots=("neon-dotprod",)),
        Target("aarch64-neon", (NEON, PLAIN), l1=32 << 10, l2=512 << 10, l3=4 << 20,
               fma_ports=2, load_ports=2, fma_latency=4, machines=_AARCH64_MACHINES,
               dots=("neon",)),
        Target("riscv64", (PLAIN_32,), l1=32 << 10, l2=512 << 10, l3=2 << 20,
               fma_ports=1, load_ports=1, fma_latency=5, machines=("riscv64",)),
        Target("generic", (PORTABLE, PLAIN), l1=16 << 10, l2=256 << 10, l3=1 << 20,
               fma_ports=2, load_ports=2, fma_latency=4),
        Target("armv7-neon", (NEON_V7, PLAIN), l1=32 << 10, l2=512 << 10, l3=1 << 20,
               fma_ports=1, load_ports=1, fma_latency=8, machines=("armv7l", "armv8l"),
               flags=("-march=armv7-a", "-mfpu=neon-vfpv4", "-mfloat-abi=hard"),
               dots=("neon-v7",)),
        Target("riscv64-rvv", (RVV, PLAIN_32), l1=32 << 10, l2=512 << 10, l3=2 << 20,
               fma_ports=1, load_ports=1, fma_latency=5, machines=("riscv64",),
               flags=("-march=rv64gcv",)),
        # Of the M0+'s registers most instructions know eight; it has no product beyond 32 bits.
        Target("cortex-m0plus", (PLAIN_32,), **_MCU, fma_ports=1, load_ports=1, fma_latency=1,
               machines=None, flags=("-mcpu=cortex-m0plus", *_NO_FPU), doubles=False,
               core_registers=8),
        Target("cortex-m3", (PLAIN_32,), **_MCU, fma_ports=1, load_ports=1, fma_latency=2,
               machines=None, flags=("-mcpu=cortex-m3", *_NO_FPU), doubles=False,
               core_registers=14),
        Target("cortex-m4", (PLAIN_32,), **_MCU, fma_ports=1, load_ports=1, fma_latency=3,
               machines=None, flags=("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", *_CORTEX_M),
               doubles=False, core_registers=14, core_steps=(SMLAD,), windows=(SMLAD_WINDOWS,)),
        Target("cortex-m7", (PLAIN_32,), **_MCU, fma_ports=1, load_ports=1, fma_latency=3,
               machines=None, flags=("-mcpu=cortex-m7", "-mfpu=fpv5-sp-d16", *_CORTEX_M),
               doubles=False, core_registers=14, core_steps=(SMLAD,), windows=(SMLAD_WINDOWS,)),
        Target("cortex-m33", (PLAIN_32,), **_MCU, fma_ports=1, load_ports=1, fma_latency=3,
               machines=None, flags=("-mcpu=cortex-m33", "-mfpu=fpv5-sp-d16", *_CORTEX_M),
               doubles=False, core_registers=14, core_steps=(SMLAD,), windows=(SMLAD_WINDOWS,)),
        Target("cortex-m55", (MVE, PLAIN_32), **_MCU, fma_ports=1, load_ports=1, fma_latency=2,
               machines=None, flags=("-mcpu=cortex-m55", *_CORTEX_M),
               core_registers=14, core_steps=(MVE_STEP, SMLAD),
               windows=(MVE_WINDOWS, SMLAD_WINDOWS)),
        Target("wasm-simd128", (SIMD128, PLAIN), l1=32 << 10, l2=1 << 20, l3=8 << 20,
               fma_ports=1, load_ports=2, fma_latency=8, machines=None, flags=("-msimd128",),
               dots=("simd128",)),
    )
}  # fmt: skip
ISA_NAMES: Mapping[str, str] = {
    "avx512bf16": "x86-64-avx512bf16",
    "avx512": "x86-64-avx512",
    "avx512f": "x86-64-avx512f",
    "avxvnni": "x86-64-avxvnni",
    "avx2": "x86-64-avx2",
    "sse2": "x86-64-sse2",
    "plain": "generic",
}


def host_target() -> Target:
    """The first named target whose instructions this machine is known to have."""
    fits = (t for t in TARGETS.values() if not is_foreign(t) and not missing_features(t))
    return next(fits, TARGETS["generic"])


def is_foreign(target: Target) -> bool:
    """Whether its code is for another kind of machine than this one."""
    return target.machines != () and machine_name() not in (target.machines or ())


def missing_features(target: Target, dtype: DType | None = None) -> tuple[str, ...]:
    """The features that the widest kernels of an element type, or of any, need and this CPU lacks,
    sorted."""
    dtypes = tuple(DType) if dtype is None else (dtype,)
    return lacking({feature for each in dtypes for feature in target.features(each)})


def lacking(features: Iterable[str]) -> tuple[str, ...]:
    """Those that this CPU does not have, sorted."""
    return tuple(sorted(set(features) - cpu_features()))


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
