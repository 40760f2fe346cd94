"""Layers and kernels that tests of the verification share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from plain_kernel import Baked, Plain, build_plain, compile_fixture

from convgen.spec.model import Act, Activation, ConvSpec, Layout, Padding, WeightLayout
from convgen.verify import Report, verify_in_child
from convgen.verify.fills import bounded_fill
from convgen.verify.guard import guards_available

# Stride, dilation and padding such that rows -1, 0, H-1 and H (and columns) are all touched.
RICH = ConvSpec(
    name="rich", h=9, w=11, c=4, oc=6, kh=3, kw=3, sh=2, sw=2, dh=3, dw=3,
    padding=Padding(3, 3, 3, 3), groups=2, batch=2, activation=Activation(Act.RELU6),
)  # fmt: skip
NO_BIAS = replace(RICH, bias=False)
GOOD = {
    "rich": RICH,
    "without bias": NO_BIAS,
    "plainest": ConvSpec(name="one", h=1, w=1, c=1, oc=1, kh=1, kw=1),
    "the source's": ConvSpec(
        name="layer", h=32, w=32, c=3, oc=10, kh=5, kw=5, padding=Padding(2, 2, 2, 2),
        activation=Activation(Act.RELU),
    ),
    "NCHW and OIHW": replace(RICH, layout=Layout.NCHW, weight_layout=WeightLayout.OIHW),
    "OHWI": replace(RICH, weight_layout=WeightLayout.OHWI),
    "depthwise": ConvSpec(
        name="dw", h=7, w=5, c=6, oc=6, kh=3, kw=3, groups=6, padding=Padding(1, 1, 1, 1)
    ),
    "padding beyond the filter": ConvSpec(
        name="far", h=3, w=3, c=2, oc=3, kh=2, kw=2, padding=Padding(4, 0, 5, 3)
    ),
    "any batch": ConvSpec(name="many", h=6, w=6, c=2, oc=3, kh=3, kw=3, batch_any=True),
}  # fmt: skip
posix = pytest.mark.skipif(not guards_available(), reason="no guard pages on this system")


def check(spec: ConvSpec, plain: Plain, **options: object) -> Report:
    return verify_in_child(plain.library, spec, **plain.arguments, **options)


def failed(report: Report) -> str:
    return "; ".join(f"{c.name}: {c.detail}" for c in report.failures)


def some_weights(spec: ConvSpec) -> Baked:
    fill = bounded_fill(spec, 77)
    return Baked(fill.w, fill.b)


def build_endless(folder: Path) -> Plain:
    plain = build_plain(RICH, folder)
    source = folder / "rich.c"
    loop = "for (volatile int i = 0;; i++) {}"
    source.write_text(source.read_text().replace("int first", f"{loop}\n  int first"))
    compile_fixture(source, plain.library)
    return plain
