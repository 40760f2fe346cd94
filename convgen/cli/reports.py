"""What ``build`` and ``verify`` print of a kernel: one block for one layer, a table for several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convgen.cli.output import Output

if TYPE_CHECKING:
    from convgen.package.disk.build import BuildResult
    from convgen.verify.report import Report

HEAD = (
    "layer", "state", "output", "max error", "direct's", "of bound", "us", "GFLOP/s", "code",
    "import",
)  # fmt: skip
RIGHT = "lllrrrrrrl"
UNKNOWN = "-"


def import_line(path: Path) -> str:
    """Python that imports the package from anywhere below the current folder's view of it."""
    return f"import sys; sys.path.insert(0, {str(path.parent)!r}); import {path.name}"


def print_results(results: Sequence[BuildResult], out: Output) -> None:
    """The outcome of every good layer: a block when it is the only one, else a table."""
    if len(results) == 1:
        for line in result_block(results[0]):
            out.done(line)
    elif results and not out.quiet:
        out.table(HEAD, [result_row(result) for result in results], RIGHT)
        folder = str(results[0].path.parent)
        out.done(f"import them with: import sys; sys.path.insert(0, {folder!r})")


def result_block(r: BuildResult) -> list[str]:
    """Some lines on one built layer."""
    lines = [
        f"{r.name}: {r.state} in {r.path} ({r.seconds:.2f} s; {r.isa})",
        f"  output     {shape(r.output_sizes)}",
    ]
    if r.report is None:
        lines.append("  max error  not verified (--no-verify)")
    else:
        lines.append(f"  max error  {_error(r, r.report)}; {len(r.report.checks)} checks passed")
        if r.report.direct_error is not None:
            lines.append(
                f"             {r.report.direct_error:.2e} by direct summation of the same data"
            )
        us = r.report.microseconds
        if math.isfinite(us):
            lines.append(
                f"  speed      {us:.2f} us, {gflops(r.macs, us):.1f} {_unit(r)}, one thread"
            )
    if r.sqnr is not None:
        lines.append(f"  SQNR       {r.sqnr.line()}")
    lines.append(f"  code       {code(r.code_bytes)} of machine code, {r.binding} binding")
    lines.append(f"  import     {import_line(r.path)}")
    return lines


def _error(r: BuildResult, report: Report) -> str:
    if _integers(r):
        return "none, to the bit, against the oracle's integers"
    bound = f"{report.bound_ratio:.2f} of its bound"
    return f"{report.max_error:.2e} against the float64 oracle, {bound}"


def _unit(r: BuildResult) -> str:
    return "GOP/s" if _integers(r) else "GFLOP/s"


def _integers(r: BuildResult) -> bool:
    return r.dtype in ("int8", "uint8")


def result_row(r: BuildResult) -> tuple[str, ...]:
    """One line of the table."""
    numbers = (UNKNOWN,) * 5
    if r.report is not None:
        us = r.report.microseconds
        speed = (f"{us:.2f}", f"{gflops(r.macs, us):.1f}") if math.isfinite(us) else numbers[:2]
        own, direct = r.report.max_error, r.report.direct_error
        beside = UNKNOWN if direct is None else f"{direct:.1e}"
        numbers = (f"{own:.1e}", beside, f"{r.report.bound_ratio:.2f}", *speed)
    return (
        r.name, r.state, shape(r.output_sizes), *numbers, code(r.code_bytes),
        f"import {r.name}",
    )  # fmt: skip


def result_facts(r: BuildResult) -> dict[str, Any]:
    """One built layer under --json."""
    us = r.report.microseconds if r.report is not None else math.nan
    return {
        "name": r.name,
        "ok": True,
        "state": r.state,
        "path": str(r.path),
        "import": import_line(r.path),
        "output_shape": list(r.output_shape),
        "macs": r.macs,
        "target": r.target,
        "isa": r.isa,
        "schedule": r.schedule,
        "reason": r.reason,
        "binding": r.binding,
        "compiler": r.compiler,
        "warnings": list(r.warnings),
        "notes": list(r.notes),
        "seconds": round(r.seconds, 3),
        "code_bytes": r.code_bytes,
        "sqnr": None if r.sqnr is None else r.sqnr.to_mapping(),
        **report_facts(r.report),
        "gflops": round(gflops(r.macs, us), 3) if math.isfinite(us) else None,
    }


def failure_facts(name: str) -> dict[str, Any]:
    """A layer that could not be built, under --json; ``errors`` says why."""
    return {"name": name, "ok": False, "state": "failed"}


def report_facts(report: Report | None) -> dict[str, Any]:
    """A verification under --json; all None where there was none."""
    if report is None:
        return {
            "verified": False, "max_error": None, "bound_ratio": None, "microseconds": None,
            "direct_error": None, "checks": [],
        }  # fmt: skip
    data = report.to_mapping()
    return {"verified": data.pop("passed"), **data}


def gflops(macs: int, microseconds: float) -> float:
    """Two operations for each multiply-add, 1e9 a second."""
    return 2 * macs / (microseconds * 1e3)


def shape(sizes: Sequence[int | None]) -> str:
    return "x".join("any" if n is None else str(n) for n in sizes)


def code(size: int | None) -> str:
    return UNKNOWN if size is None else readable(size)


def readable(size: float) -> str:
    """A number of bytes for people: 812 B, 3.4 KiB, 12.0 MiB."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
