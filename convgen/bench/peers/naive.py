"""The formula as nested loops under ``cc -O3``: what a C programmer writes in ten minutes."""

from __future__ import annotations

import ctypes
import tempfile
from pathlib import Path

from convgen.bench.peers.base import CannotPrepare, Peer, Prepared, Problem

LOOPS = """
void plain_loops(const float *restrict x, const float *restrict w, const float *restrict b,
                 float *restrict y)
{
  for (int n = 0; n < N; ++n)
  for (int oh = 0; oh < OH; ++oh)
  for (int ow = 0; ow < OW; ++ow)
  for (int g = 0; g < G; ++g) {
    float sum[OCG];
    for (int oc = 0; oc < OCG; ++oc) sum[oc] = b[g * OCG + oc];
    for (int kh = 0; kh < KH; ++kh) {
      const int ih = oh * SH - PT + kh * DH;
      if (ih < 0 || ih >= H) continue;
      for (int kw = 0; kw < KW; ++kw) {
        const int iw = ow * SW - PL + kw * DW;
        if (iw < 0 || iw >= W) continue;
        for (int ic = 0; ic < ICG; ++ic) {
          const float v = x[((n * H + ih) * W + iw) * C + g * ICG + ic];
          for (int oc = 0; oc < OCG; ++oc)
            sum[oc] += v * w[((kh * KW + kw) * ICG + ic) * OC + g * OCG + oc];
        }
      }
    }
    for (int oc = 0; oc < OCG; ++oc) {
      const float v = sum[oc];
      y[((n * OH + oh) * OW + ow) * OC + g * OCG + oc] = RELU && v < 0 ? 0 : v;
    }
  }
}
"""


def prepare(problem: Problem) -> Prepared:
    """Sizes are literals to the compiler; output channels are innermost, so it can vectorise."""
    import numpy as np

    from convgen.toolchain import Unit, compile_shared, find_compiler

    if problem.threads > 1:
        raise CannotPrepare("plain loops have one thread")
    spec = problem.spec
    p = spec.padding
    sizes = {
        "N": spec.batch, "H": spec.h, "W": spec.w, "C": spec.c, "OH": spec.oh, "OW": spec.ow,
        "OC": spec.oc, "KH": spec.kh, "KW": spec.kw, "SH": spec.sh, "SW": spec.sw,
        "DH": spec.dh, "DW": spec.dw, "PT": p.top, "PL": p.left, "G": spec.groups,
        "ICG": spec.icg, "OCG": spec.ocg, "RELU": int(problem.relu),
    }  # fmt: skip
    defines = tuple(f"-D{name}={value}" for name, value in sizes.items())
    flags = ("-O3", "-fPIC", *problem.c_flags, *defines)
    # The library stays mapped while the folder goes: no more than a name is lost with it.
    with tempfile.TemporaryDirectory(prefix="convgen-", ignore_cleanup_errors=True) as folder:
        Path(folder, "loops.c").write_text(LOOPS, encoding="utf-8")
        made = compile_shared(
            find_compiler(), Path(folder), [Unit("loops.c")], "loops.so", flags=flags
        )
        loops = ctypes.CDLL(str(made.library)).plain_loops
    y = np.empty(spec.y_shape, np.float32)
    arguments = [ctypes.c_void_p(a.ctypes.data) for a in (problem.x, problem.w, problem.b, y)]
    variant = " ".join(("-O3", *problem.c_flags))
    keep = (problem.x, problem.w, problem.b)
    return Prepared(lambda: loops(*arguments), lambda: y, variant, keep)


def _version() -> str:
    from convgen.toolchain import find_compiler

    compiler = find_compiler()
    return f"{compiler.kind} {compiler.version}"


PEER = Peer("naive", (), prepare, _version)
