"""How each number of a layer comes about, as lines of text for ``explain``."""

from __future__ import annotations

from math import prod

from convgen.spec.model import ConvSpec


def derivation(spec: ConvSpec) -> tuple[str, ...]:
    """Output sizes, receptive field, parameters, multiply-adds and bytes, each with its formula."""
    s, p = spec, spec.padding
    rf_h, rf_w = s.receptive_field
    weights = s.kh * s.kw * s.icg * s.oc
    bias = f" + {s.oc} biases" if s.bias else ""
    sizes = {"x": s.x_shape, "w": s.w_shape, "b": s.b_shape or (), "y": s.y_shape}
    bytes_ = ", ".join(f"{name} {prod(size) * 4:,}" for name, size in sizes.items() if size)
    return (
        _size("OH", "H + PT + PB", "KH", "DH", "SH", (s.h, p.top, p.bottom, s.kh, s.dh, s.sh)),
        _size("OW", "W + PL + PR", "KW", "DW", "SW", (s.w, p.left, p.right, s.kw, s.dw, s.sw)),
        f"output = N x OH x OW x OC = {s.batch} x {s.oh} x {s.ow} x {s.oc}"
        f"{', for each image' if s.batch_any else ''}, stored as {_times(s.y_shape)} ({s.layout})",
        f"receptive field = ((KH-1)*DH + 1) x ((KW-1)*DW + 1) = {rf_h} x {rf_w}",
        f"parameters = KH * KW * C/G * OC = {s.kh} * {s.kw} * {s.icg} * {s.oc}{bias}"
        f" = {weights:,}{f' + {s.oc:,} = {s.params:,}' if s.bias else ''}",
        f"MACs = N * OH * OW * OC * KH * KW * C/G = {s.batch} * {s.oh} * {s.ow} * {s.oc} * "
        f"{s.kh} * {s.kw} * {s.icg} = {s.macs:,}",
        f"bytes = {bytes_}",
    )


def _size(
    out: str, pads: str, k: str, d: str, s: str, v: tuple[int, int, int, int, int, int]
) -> str:
    size, before, after, taps, dilation, stride = v
    extent = (taps - 1) * dilation + 1
    room = size + before + after - extent
    return (
        f"{out} = floor(({pads} - (({k}-1)*{d} + 1)) / {s}) + 1"
        f" = floor(({size} + {before} + {after} - (({taps}-1)*{dilation} + 1)) / {stride}) + 1"
        f" = floor({room} / {stride}) + 1 = {room // stride + 1}"
    )


def _times(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))
