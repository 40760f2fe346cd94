"""``convgen doctor``: what works on this machine, what is missing, and how to mend it."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from convgen.cli.options import Compiler, Json, Quiet, Verbose
from convgen.cli.output import Output, session
from convgen.errors import ConvgenError, ToolchainError

DEPENDENCIES = (
    "jinja2", "numpy", "cffi", "pyyaml", "click", "rich", "filelock", "platformdirs",
)  # fmt: skip
FEATURES = ("sse2", "avx2", "fma", "avxvnni", "avx512f", "avx512bw", "avx512vnni", "avx512bf16")
TOOLS = {
    "clang": ("clang",),
    "cmake": ("cmake",),
    "frama-c": ("frama-c",),
    "qemu": ("qemu-x86_64", "qemu-x86_64-static", "qemu-aarch64", "qemu-aarch64-static"),
}
PURPOSE = {
    "clang": "a second compiler for the generated C",
    "cmake": "builds the emitted C package by its CMakeLists.txt",
    "frama-c": "proves the generated C free of bad accesses",
    "qemu": "runs kernels of instruction sets that this CPU lacks",
}
SAMPLE = """\
#ifdef _WIN32
__declspec(dllexport)
#endif
int convgen_sample(int a, int b) { return a * 10 + b; }
"""


class Status(StrEnum):
    OK = "ok"
    WARN = "warn"  # convgen works, with something less
    FAIL = "fail"  # builds are impossible
    ABSENT = "absent"  # optional, and not here


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``fix`` says what to do where the status is not ok."""

    name: str
    status: Status
    what: str
    fix: str = ""


def doctor(
    cc: Compiler = None, json: Json = False, verbose: Verbose = False, quiet: Quiet = False
) -> None:
    """Report what works on this machine, and how to mend the rest.

    \b
    Example:  convgen doctor
    """
    with session("doctor", json=json, verbose=verbose, quiet=quiet) as out:
        found = list(examine(cc))
        out.payload["checks"] = [asdict(finding) for finding in found]
        out.table(("check", "status", "what"), [(f.name, str(f.status), f.what) for f in found])
        for finding in found:
            if finding.status is Status.FAIL:
                out.fail(ToolchainError(f"{finding.name}: {finding.what}\nfix: {finding.fix}"))
            elif finding.fix and (finding.status is Status.WARN or out.verbose):
                out.note(f"{finding.name}: {finding.fix}")
        _verdict(out, found)


def _verdict(out: Output, found: list[Finding]) -> None:
    if not any(f.status is Status.FAIL for f in found):
        missing = sum(f.status is Status.ABSENT for f in found)
        more = f"; {missing} optional tools are absent (-v says what for)" if missing else ""
        out.note(f"convgen can build on this machine{more}")


def examine(cc: str | None) -> Iterator[Finding]:
    """Every finding, in the order of the report; none raises."""
    from convgen import __version__

    yield Finding("convgen", Status.OK, f"{__version__} in {Path(__file__).parents[1]}")
    yield Finding("python", Status.OK, f"{platform.python_version()} ({sys.executable})")
    yield from _compiler(cc)
    yield _binding()
    yield from _machine()
    yield _peak(cc)
    yield from _caches()
    for name in DEPENDENCIES:
        yield _dependency(name)
    for name, programs in TOOLS.items():
        yield _tool(name, programs)


def _compiler(cc: str | None) -> Iterator[Finding]:
    from convgen.toolchain import find_compiler, shell_line

    try:
        compiler = find_compiler(cc)
    except ConvgenError as error:
        yield Finding("compiler", Status.FAIL, str(error), "install a C compiler, or name it: --cc")
        return
    yield Finding("compiler", Status.OK, f"{compiler}: {shell_line(compiler.command)}")
    yield _sample(cc)


def _sample(cc: str | None) -> Finding:
    """Compile a function, load it, call it: the whole way that a build takes."""
    import ctypes
    import tempfile

    from convgen.toolchain import Unit, compile_shared, find_compiler

    name = "compile and run"
    # The library stays mapped while the folder goes: no more than a name is lost with it.
    with tempfile.TemporaryDirectory(prefix="convgen-", ignore_cleanup_errors=True) as folder:
        (Path(folder) / "sample.c").write_text(SAMPLE, encoding="utf-8")
        try:
            done = compile_shared(find_compiler(cc), Path(folder), [Unit("sample.c")], "sample.so")
            answer = ctypes.CDLL(str(done.library)).convgen_sample(4, 2)
        except (ConvgenError, OSError, AttributeError) as error:
            fix = "see the message above: the compiler needs its C library's headers and a linker"
            return Finding(name, Status.FAIL, str(error), fix)
    if answer != 42:
        fix = "use another compiler (--cc)"
        return Finding(name, Status.FAIL, f"a test function gave {answer}, not 42", fix)
    return Finding(name, Status.OK, "a test function was compiled, loaded and called")


def _binding() -> Finding:
    import sysconfig

    header = Path(sysconfig.get_path("include")) / "Python.h"
    if header.is_file():
        return Finding("binding", Status.OK, f"API mode ({header})")
    return Finding(
        "binding",
        Status.WARN,
        "ABI mode: no Python.h; packages work the same, calls cost a little more",
        "install Python's headers for API mode (python3-dev on Debian and Ubuntu)",
    )


def _machine() -> Iterator[Finding]:
    from convgen.target import host_target
    from convgen.target.host import cpu_features, cpu_name

    have = cpu_features()
    named = [name for name in FEATURES if name in have]
    yield Finding("cpu", Status.OK, f"{cpu_name()}: {', '.join(named) or 'no vector features'}")
    target = host_target()
    isa = target.isa
    yield Finding("target", Status.OK, f"{target.name} ({isa.name}, {isa.lanes} float32 lanes)")


def _peak(cc: str | None) -> Finding:
    """Fused multiply-adds of one core, measured: what the speeds of a build compare with."""
    from convgen.bench.machine import Loops
    from convgen.target import host_target

    isa = host_target().isa
    try:
        peak = Loops(isa, cc).peak(1)
    except (ConvgenError, OSError):
        return Finding("peak", Status.ABSENT, "not measured", "see compiler above")
    return Finding("peak", Status.OK, f"{peak:.0f} GFLOP/s of {isa.name} on one core, measured")


def _caches() -> Iterator[Finding]:
    from convgen.cli.reports import readable
    from convgen.package.disk.cache import Cache, default_cache_root

    root = default_cache_root()
    try:
        size = Cache(root).size()
    except OSError as error:
        fix = f"make {root} readable and writable, or build with --no-cache"
        yield Finding("cache", Status.WARN, f"{root}: {error.strerror}", fix)
        return
    yield Finding("cache", Status.OK, f"{root}: {readable(size)} (convgen clean empties it)")


def _dependency(name: str) -> Finding:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return Finding(name, Status.OK, version(name))
    except PackageNotFoundError:
        return Finding(name, Status.WARN, "no record of it", f"pip install {name}")


def _tool(name: str, programs: tuple[str, ...]) -> Finding:
    found = [path for program in programs if (path := shutil.which(program))]
    if found:
        return Finding(name, Status.OK, ", ".join(found))
    return Finding(name, Status.ABSENT, "not on PATH", f"optional: it {PURPOSE[name]}")
