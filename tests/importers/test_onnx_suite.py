"""The official suite: what is taken computes what ONNX says, and the rest says why not."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

onnx = pytest.importorskip("onnx", reason="the onnx package holds the suite")

from onnx_suite import Case, cases, libraries, programs, wrong  # noqa: E402

from convgen.target import TARGETS, host_target  # noqa: E402

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")
RELEASE = tuple(int(n) for n in onnx.__version__.split(".")[:2])
# Of the suite of onnx 1.23: cases that are built and run, and those that kernels still lack.
TAKEN, LACKING = 590, 45


@pytest.fixture(scope="module")
def suite() -> list[Case]:
    return list(cases())


@pytest.mark.parametrize("target", ["host", pytest.param("generic", marks=pytest.mark.deep)])
def test_the_node_tests_give_what_onnx_expects(
    suite: list[Case], target: str, tmp_path: Path
) -> None:
    """Through vectors, and through plain C."""
    chosen = host_target() if target == "host" else TARGETS[target]
    taken = [case for case in suite if not case.why]
    made, refused = programs(taken, chosen)
    tests = {case.name: case.test for case in taken}
    found = libraries(made, tmp_path)
    assert [w for p in made if (w := wrong(p, found[p.name], tests[p.name]))] == []
    print(f"\n{len(made)} of {len(suite)} cases of onnx {onnx.__version__} built, run and right")
    for reason, count in Counter(map(shortened, refused.values())).most_common():
        print(f"  {count:4} {reason}")
    if RELEASE >= (1, 23):
        assert len(made) >= TAKEN and len(refused) <= LACKING, Counter(refused.values())


def shortened(why: str) -> str:
    """Without the node's name."""
    return why.splitlines()[0].split(": ", 1)[-1].partition(" yet;")[0]


def test_every_refusal_has_a_reason(suite: list[Case]) -> None:
    assert all(case.why or case.graph is not None for case in suite)
    untaken = Counter(case.why.partition(";")[0] for case in suite if case.why)
    for reason, count in untaken.most_common(25):
        print(f"{count:5} {reason[:150]}")
    assert not [why for why in untaken if "Traceback" in why or "make no sense" in why]
