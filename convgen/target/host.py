"""What this machine's CPU can do, in GCC's names of instruction set extensions."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

_X86_MACHINES = frozenset({"x86_64", "AMD64", "amd64"})
_AARCH64_MACHINES = frozenset({"aarch64", "arm64", "ARM64"})
_ALIASES = {
    "asimddp": "dotprod", "avx512_bf16": "avx512bf16",
    "avx512_vnni": "avx512vnni", "avx_vnni": "avxvnni", "sse4_1": "sse4.1", "sse4_2": "sse4.2",
}  # fmt: skip


def machine_name() -> str:
    """The kind of machine this is, as its operating system calls it: ``x86_64``, ``arm64``."""
    return platform.machine()


@cache
def cpu_features() -> frozenset[str]:
    """Feature names of this CPU that the operating system has switched on; empty off x86-64
    and AArch64.

    Linux lists them in /proc/cpuinfo. Elsewhere NumPy's own detection is asked, which every
    machine that runs convgen has.
    """
    x86 = platform.machine() in _X86_MACHINES
    if not x86 and platform.machine() not in _AARCH64_MACHINES:
        return frozenset()
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("flags" if x86 else "Features"):
                flags = line.partition(":")[2].split()
                return frozenset(_ALIASES.get(flag, flag) for flag in flags)
    return _numpy_features() | ({"sse2"} if x86 else set())


def _numpy_features() -> frozenset[str]:
    try:
        from numpy._core._multiarray_umath import __cpu_features__ as found
    except ImportError:
        return frozenset()
    names = {"fma3": "fma", **_ALIASES}
    return frozenset(names.get(k.lower(), k.lower()) for k, v in found.items() if v)


def cpu_name() -> str:
    """A readable name of the processor, for reports."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def cpu_identity() -> str:
    """What tells this processor from others for whoever keeps measurements: hypervisors give many
    generations one marketing name, so family, model, stepping and caches count as well."""
    facts = [cpu_name()]
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        first = listing.read_text().split("\n\n")[0]
        known = dict(map(_field, first.splitlines()))
        for key in ("vendor_id", "cpu family", "model", "stepping", "CPU implementer", "CPU part"):
            if key in known:
                facts.append(f"{key} {known[key]}")
    caches = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))
    facts += [
        f"L{_read(path / 'level')} {_read(path / 'type')} {_read(path / 'size')}" for path in caches
    ]
    return "; ".join(facts)


def _field(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip(), value.strip()


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return "?"
