"""Rigs: how code for each target is compiled and run on a machine of another kind, as data.

A command is a tuple of words; its first word is a program, or ``@module`` for what a Python package
of that name brings. Of several commands the first one that is here is taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Command = tuple[str, ...]

EMULATED_X86 = (("qemu-x86_64", "-cpu", "max"),)


@dataclass(frozen=True)
class Board:
    """An emulated board without an operating system: where code and data lie in its memory."""

    machine: str
    code: int
    code_bytes: int
    data: int
    data_bytes: int
    stack_bytes: int = 16 << 10

    @property
    def code_words(self) -> str:
        return f"0x{self.code:08x}"

    @property
    def data_words(self) -> str:
        return f"0x{self.data:08x}"


@dataclass(frozen=True)
class Rig:
    """One way from a target's C to a program that runs.

    ``compilers`` and ``emulators``: commands, the first that is here is taken; no emulator at all:
    the program runs by itself. ``link``: flags of the link. ``board``: for bare metal, else None.
    ``host``: this machine's own compiler and no emulator serve as well, where it is such a machine.
    """

    name: str
    target: str
    compilers: tuple[Command, ...]
    emulators: tuple[Command, ...] = ()
    link: tuple[str, ...] = ()
    board: Board | None = None
    host: bool = True


def _zig(machine: str) -> tuple[Command, ...]:
    """The compiler for every machine, installed or from PyPI."""
    return tuple((*program, "cc", "-target", machine) for program in (("zig",), ("@ziglang",)))


def _clang(*arguments: str) -> tuple[Command, ...]:
    """Debian numbers its newer clangs; the unnumbered one comes last, for it may be an old one."""
    numbered = (f"clang-{version}" for version in range(22, 16, -1))
    return tuple((name, *arguments) for name in (*numbered, "clang"))


def _cortex_m(name: str, board: Board, *more: str) -> Rig:
    emulator = (
        "qemu-system-arm", "-machine", board.machine, *more, "-nographic", "-monitor", "none",
        "-serial", "none", "-semihosting-config", "enable=on,target=native", "-kernel",
    )  # fmt: skip
    return Rig(name, name, (("arm-none-eabi-gcc",),), (emulator,), board=board, host=False)


def _x86(name: str) -> Rig:
    compilers = (("x86_64-linux-gnu-gcc",), *_zig("x86_64-linux-musl"))
    return Rig(name, name, compilers, EMULATED_X86, ("-static",))


def _aarch64(name: str) -> Rig:
    compilers = (("aarch64-linux-gnu-gcc",), *_zig("aarch64-linux-musl"))
    return Rig(name, name, compilers, (("qemu-aarch64",), ("qemu-aarch64-static",)), ("-static",))


_RVV_CPU = "rv64,v=true,vlen=128,vext_spec=v1.0"
_WASM = _clang("--target=wasm32-wasi")

RIGS: tuple[Rig, ...] = (
    _x86("x86-64"),
    _x86("x86-64-avx512bf16"),
    _x86("x86-64-avx512"),
    _x86("x86-64-avx512f"),
    _x86("x86-64-avxvnni"),
    _x86("x86-64-avx2"),
    _x86("x86-64-sse2"),
    _aarch64("aarch64-dotprod"),
    _aarch64("aarch64-neon"),
    Rig("armv7-neon", "armv7-neon",
        (("arm-linux-gnueabihf-gcc",),),
        (("qemu-arm",), ("qemu-arm-static",)), ("-static",)),
    # A micro:bit has a Cortex-M0, whose instructions are the M0+'s, here with more memory.
    _cortex_m("cortex-m0plus", Board("microbit", 0, 4 << 20, 0x20000000, 16 << 20),
              "-global", f"nrf51-soc.flash-size={4 << 20}",
              "-global", f"nrf51-soc.sram-size={16 << 20}"),
    _cortex_m("cortex-m3", Board("mps2-an385", 0, 4 << 20, 0x21000000, 16 << 20)),
    _cortex_m("cortex-m4", Board("mps2-an386", 0, 4 << 20, 0x21000000, 16 << 20)),
    _cortex_m("cortex-m7", Board("mps2-an500", 0, 4 << 20, 0x60000000, 16 << 20)),
    _cortex_m("cortex-m33", Board("mps2-an505", 0x10000000, 4 << 20, 0x80000000, 16 << 20)),
    _cortex_m("cortex-m55", Board("mps3-an547", 0, 512 << 10, 0x60000000, 64 << 20)),
    Rig("riscv64", "riscv64",
        (("riscv64-linux-gnu-gcc",), *_zig("riscv64-linux-musl")),
        (("qemu-riscv64",), ("qemu-riscv64-static",)), ("-static",)),
    Rig("riscv64-rvv", "riscv64-rvv",
        _clang("--target=riscv64-linux-gnu"),
        (("qemu-riscv64", "-cpu", _RVV_CPU), ("qemu-riscv64-static", "-cpu", _RVV_CPU)),
        ("-static", "-fuse-ld=lld")),
    Rig("wasm-simd128", "wasm-simd128",
        (*_WASM, *_zig("wasm32-wasi")), (("wasmtime",), ("@wasmtime",)), host=False),
    Rig("generic", "generic", (("cc",), ("gcc",), ("clang",))),
    Rig("generic, tcc", "generic", (("tcc",),), host=False),
    Rig("generic, s390x", "generic",  # big-endian
        (("s390x-linux-gnu-gcc",), *_zig("s390x-linux-musl")),
        (("qemu-s390x",), ("qemu-s390x-static",)), ("-static",), host=False),
)  # fmt: skip


def rigs_of(targets: Iterable[str]) -> tuple[Rig, ...]:
    """The rigs of these targets, in the order of ``RIGS``."""
    wanted = set(targets)
    return tuple(rig for rig in RIGS if rig.target in wanted)
