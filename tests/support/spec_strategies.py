"""Hypothesis strategies over the whole parameter grid, small enough for brute-force loops."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from convgen.spec.model import Act, Activation, ConvSpec, Layout, Padding, WeightLayout
from convgen.spec.window import out_size

SMALL = st.integers(1, 3)


@st.composite
def activations(draw: st.DrawFn) -> Activation:
    kind = draw(st.sampled_from(Act))
    alpha = draw(st.sampled_from([0.01, 0.1, 0.25, 0.0, 1.0, 1.5, -0.5]))
    low, high = None, None
    if kind is Act.CLIP:
        ends = st.sampled_from([(0.0, 6.0), (-1.0, 1.0), (None, 0.5), (-0.1, None), (0.1, 0.3)])
        low, high = draw(ends)
    return Activation(kind, alpha if kind is Act.LEAKY_RELU else 0.01, low, high)


@st.composite
def specs(draw: st.DrawFn, *, largest: int = 7) -> ConvSpec:
    """Layers with at least one output: every layout, group, stride, dilation and padding."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    kh, kw, dh, dw, sh, sw = (draw(SMALL) for _ in range(6))
    top, left, bottom, right = (draw(st.integers(0, 4)) for _ in range(4))
    h, w = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    # A window that does not fit gets the padding it lacks at the end.
    bottom += 0 if out_size(h, top, bottom, kh, dh, sh) else (kh - 1) * dh + 1 - h
    right += 0 if out_size(w, left, right, kw, dw, sw) else (kw - 1) * dw + 1 - w
    return ConvSpec(
        name="grid",
        h=h,
        w=w,
        c=groups * draw(SMALL),
        oc=groups * draw(st.integers(1, 5)),
        kh=kh,
        kw=kw,
        sh=sh,
        sw=sw,
        dh=dh,
        dw=dw,
        padding=Padding(top, left, bottom, right),
        groups=groups,
        batch=draw(SMALL),
        bias=draw(st.booleans()),
        activation=draw(activations()),
        layout=draw(st.sampled_from(Layout)),
        weight_layout=draw(st.sampled_from(WeightLayout)),
    )


def linear(spec: ConvSpec) -> ConvSpec:
    """The same layer without its activation."""
    return replace(spec, activation=Activation())
