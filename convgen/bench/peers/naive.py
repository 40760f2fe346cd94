"""The formula as nested loops under ``cc -O3``: what a C programmer writes in ten minutes."""

from __future__ import annotations

import ctypes
import tempfile
from pathlib import Path
from typing import Any

from convgen.bench.peers.base import CannotPrepare, Peer, Prepared, Problem, pixels_only

LOOPS = """
#include <math.h>
#include <stdint.h>
DEFINES

void plain_loops(const IMAGE *restrict x, const FILTER *restrict w, const SUM *restrict b,
                 IMAGE *restrict y, const float *restrict scale)
{
  (void)scale;
  for (int n = 0; n < N; ++n)
  for (int oh = 0; oh < OH; ++oh)
  for (int ow = 0; ow < OW; ++ow)
  for (int g = 0; g < G; ++g) {
    SUM sum[OCG];
    for (int oc = 0; oc < OCG; ++oc) sum[oc] = b[g * OCG + oc];
    for (int kh = 0; kh < KH; ++kh) {
      const int ih = oh * SH - PT + kh * DH;
      if (ih < 0 || ih >= H) continue;
      for (int kw = 0; kw < KW; ++kw) {
        const int iw = ow * SW - PL + kw * DW;
        if (iw < 0 || iw >= W) continue;
        for (int ic = 0; ic < ICG; ++ic) {
          const SUM v = x[((n * H + ih) * W + iw) * C + g * ICG + ic] - X_ZERO;
          for (int oc = 0; oc < OCG; ++oc)
            sum[oc] += v * w[((kh * KW + kw) * ICG + ic) * OC + g * OCG + oc];
        }
      }
    }
    for (int oc = 0; oc < OCG; ++oc) {
      IMAGE *to = y + ((n * OH + oh) * OW + ow) * OC + g * OCG + oc;
      STORE
    }
  }
}
"""
FLOAT = "const float v = sum[oc]; *to = RELU && v < 0 ? 0 : v;"
INTEGER = """float v = rintf((float)sum[oc] * scale[g * OCG + oc]) + Y_ZERO;
      v = v < LOW ? LOW : v; *to = (IMAGE)(v > HIGH ? HIGH : v);"""


def prepare(problem: Problem) -> Prepared:
    """Sizes are literals to the compiler; output channels are innermost, so it can vectorise."""
    import numpy as np

    pixels_only(problem)
    types = {"IMAGE": "float", "FILTER": "float", "SUM": "float", "X_ZERO": 0}
    return _loops(problem, LOOPS.replace("STORE", FLOAT), types, np.zeros(1, np.float32))


def prepare_8_bit(problem: Problem) -> Prepared:
    """Sums in int32, scaled in float and rounded by rintf, as a programmer would who has a libm."""
    import numpy as np

    from convgen.spec.quant import spread

    pixels_only(problem)
    if any(problem.quant.weight.zero_point):
        raise CannotPrepare("the plain loops have weights without zero points")
    oc, element = problem.spec.oc, f"{problem.spec.dtype}_t"
    scale = np.array(spread(problem.quant.weight.scale, oc), np.float32)
    scale = scale * np.float32(problem.quant.input.scale[0]) / np.float32(problem.output.scale[0])
    low, high = problem.clamp
    values = {
        "IMAGE": element, "FILTER": "int8_t", "SUM": "int32_t", "LOW": f"({low})", "HIGH": high,
        "X_ZERO": f"({problem.quant.x_zero})", "Y_ZERO": f"({problem.output.zero_point[0]})",
    }  # fmt: skip
    return _loops(problem, LOOPS.replace("STORE", INTEGER), values, scale)


def _loops(problem: Problem, text: str, more: dict[str, Any], scale: Any) -> Prepared:
    """``more``: what the loops need defined beside the sizes."""
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
    defines = "".join(f"#define {name} {v}\n" for name, v in {**sizes, **more}.items())
    flags = ("-O3", "-fPIC", *problem.c_flags)
    # The library stays mapped while the folder goes: no more than a name is lost with it.
    with tempfile.TemporaryDirectory(prefix="convgen-", ignore_cleanup_errors=True) as folder:
        Path(folder, "loops.c").write_text(text.replace("DEFINES", defines), encoding="utf-8")
        made = compile_shared(
            find_compiler(), Path(folder), [Unit("loops.c")], "loops.so", flags=flags
        )
        loops = ctypes.CDLL(str(made.library)).plain_loops
    y = np.empty(spec.y_shape, problem.x.dtype)
    arrays = (problem.x, problem.w, problem.b, y, scale)
    arguments = [ctypes.c_void_p(a.ctypes.data) for a in arrays]
    variant = " ".join(("-O3", *problem.c_flags))
    return Prepared(lambda: loops(*arguments), lambda: y, variant, arrays)


def _version() -> str:
    from convgen.toolchain import find_compiler

    compiler = find_compiler()
    return f"{compiler.kind} {compiler.version}"


PEER = Peer("naive", (), prepare, _version, prepare_8_bit)
