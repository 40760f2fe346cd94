"""Kernels under AddressSanitizer, UBSan, ThreadSanitizer, MemorySanitizer and valgrind memcheck.

No report, and none suppressed. A share runs on every push; the whole grid of families and element
types x instruction sets x compilers x tools is for ``make deep``.
"""

from __future__ import annotations

import pytest
from kernels import COMPILERS, ISAS, Part
from sanitized import FAILED, SUBJECTS, Tool, plan_of, watched, way_of

from convgen.render import render_c

Case = tuple[str, Tool, str, str, Part]
TOOLS = (Tool.ADDRESS, Tool.THREAD, Tool.MEMORY, Tool.VALGRIND)


def whole_grid() -> list[Case]:
    """(subject, tool, instruction set, compiler, body) of everything that there is to watch."""
    found = []
    for subject in SUBJECTS:
        for tool in TOOLS:
            for isa in (*ISAS, "fat"):
                if tool is Tool.VALGRIND and isa == "avx512":
                    continue  # memcheck knows no AVX-512
                for cc in COMPILERS if tool is not Tool.MEMORY else ("clang",):
                    parts = (Part.OWN, Part.PLAIN) if isa == "avx2" else (Part.OWN,)
                    found += [(subject, tool, isa, cc, part) for part in parts]
    return found


# Each family and each element type under each tool at least once.
PUSH = [
    *((subject, Tool.ADDRESS, "avx2", "gcc", Part.OWN) for subject in SUBJECTS),
]


def watch(case: Case) -> None:
    subject, tool, isa, cc, part = case
    way = way_of(tool, isa, cc, part)
    run = watched(tool, plan_of(subject, isa), way)
    assert (run.returncode, run.stdout) == (0, "same\n"), run.stderr[-3000:]
    assert tool is Tool.VALGRIND or run.stderr == ""


@pytest.mark.parametrize("case", PUSH, ids="-".join)
def test_no_report(case: Case) -> None:
    watch(case)


@pytest.mark.deep
@pytest.mark.parametrize("case", whole_grid(), ids="-".join)
def test_no_report_on_the_whole_grid(case: Case) -> None:
    watch(case)
