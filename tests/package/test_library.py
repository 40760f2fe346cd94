"""Compilers that fail, hang, warn or miscompile: the earlier package stays, the C is kept."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from built import (
    TINY,
    TINY_RELU,
    build,
    fake_cc,
    needs_cc,
    options,
    posix_only,
    tree,
    works,
)

from convgen.errors import (
    Exit,
    MismatchError,
    ToolchainError,
)
from convgen.package.disk.build import build_many

pytestmark = [needs_cc, pytest.mark.usefixtures("convgen_stands_still")]


WRAP = """
case "$*" in *"-c tiny.c"*)
cat > wrapped.c <<'END'
#define tiny_pack tiny_real_pack
#include "tiny.c"
#undef tiny_pack
int tiny_pack(const float *w, const float *b, void *packed)
{
  const int code = tiny_real_pack(w, b, packed);
  %s;
  return code;
}
END
exec $REAL -O2 -fPIC -c wrapped.c -o tiny.o;;
esac
exec $REAL "$@"
"""


@posix_only
def test_threat_compiler_failing_keeps_the_earlier_build_and_the_c(tmp_path: Path) -> None:
    earlier = tree(build(tmp_path, TINY).path)
    cc = fake_cc(tmp_path / "bad-cc", 'echo "tiny.c:1: error: too clever" >&2; exit 4')
    with pytest.raises(ToolchainError) as caught:
        build(tmp_path, TINY_RELU, cc=cc)
    error = caught.value
    assert error.exit_code == Exit.TOOLCHAIN
    assert "too clever" in error.stderr and "-c tiny.c" in error.command
    assert str(tmp_path / "tiny.failed") in str(error)
    kept = tmp_path / "tiny.failed"
    assert {"tiny.c", "tiny.h", "tiny_glue.c", "report.txt"} <= {
        path.name for path in kept.iterdir()
    }
    assert "too clever" in (kept / "report.txt").read_text()
    assert tree(tmp_path / "tiny") == earlier and works(tmp_path, TINY)
    again = subprocess.run(error.command, shell=True, cwd=kept, capture_output=True, text=True)
    assert "too clever" in again.stderr
    build(tmp_path, TINY_RELU)
    assert not kept.exists()


@posix_only
def test_threat_compiler_hanging(tmp_path: Path) -> None:
    earlier = tree(build(tmp_path, TINY).path)
    cc = fake_cc(tmp_path / "slow-cc", "sleep 60")
    start = time.monotonic()
    with pytest.raises(ToolchainError, match=r"did not finish tiny\.c within 0\.5 s: killed"):
        build(tmp_path, TINY_RELU, cc=cc, timeout=0.5)
    assert time.monotonic() - start < 15
    assert tree(tmp_path / "tiny") == earlier


def test_threat_compiler_missing(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match="no program 'no-such-cc'"):
        build(tmp_path, TINY, cc="no-such-cc")
    with pytest.raises(ToolchainError, match="no program 'no-such-cc'"):
        build_many([TINY], options(tmp_path, cc="no-such-cc"))


@posix_only
@pytest.mark.parametrize(
    ("bug", "finding"),
    [("((float *)packed)[0] += 1", "exact fill"), ("*(volatile int *)0 = 1", "SIGSEGV")],
)
def test_mismatch_keeps_the_earlier_build(tmp_path: Path, bug: str, finding: str) -> None:
    earlier = tree(build(tmp_path, TINY).path)
    cc = fake_cc(tmp_path / "odd-cc", WRAP % bug)
    with pytest.raises(MismatchError) as caught:
        build(tmp_path, TINY_RELU, cc=cc)
    assert caught.value.exit_code == Exit.MISMATCH
    assert finding in str(caught.value) and str(tmp_path / "tiny.failed") in str(caught.value)
    kept = tmp_path / "tiny.failed"
    assert finding in (kept / "report.txt").read_text()
    assert (kept / "tiny.c").exists()
    assert tree(tmp_path / "tiny") == earlier and works(tmp_path, TINY)
    # Nothing of it was cached: the same call fails again.
    with pytest.raises(MismatchError):
        build(tmp_path, TINY_RELU, cc=cc)


@posix_only
def test_compiler_warnings_are_shown_and_recorded(tmp_path: Path) -> None:
    cc = fake_cc(tmp_path / "loud-cc", 'echo "warning: it is late" >&2; exec $REAL "$@"')
    result = build(tmp_path, TINY, cc=cc)
    assert result.warnings and all(w == "warning: it is late" for w in result.warnings)
    assert build(tmp_path, TINY, cc=cc).warnings == result.warnings
    shutil.rmtree(result.path)
    assert build(tmp_path, TINY, cc=cc).warnings == result.warnings
