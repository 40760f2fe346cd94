"""Layers at the edges of the parameter grid, named for what makes them hard."""

from __future__ import annotations

from dataclasses import replace

from convgen.spec.model import (
    Accuracy,
    Act,
    Activation,
    ConvSpec,
    Layout,
    Padding,
    WeightLayout,
)

RELU = Activation(Act.RELU)

# The README's layer: specs/layer.yaml.
LAYER = ConvSpec(
    name="layer",
    h=32,
    w=32,
    c=3,
    oc=10,
    kh=5,
    kw=5,
    padding=Padding(2, 2, 2, 2),
    activation=RELU,
)

ACTIVATIONS = {
    "none": Activation(),
    "relu": RELU,
    "relu6": Activation(Act.RELU6),
    "leaky_relu": Activation(Act.LEAKY_RELU, alpha=0.1),
    "leaky_relu_steep": Activation(Act.LEAKY_RELU, alpha=1.5),
    "leaky_relu_falling": Activation(Act.LEAKY_RELU, alpha=-0.5),
    "clip": Activation(Act.CLIP, low=-0.75, high=1.25),
    "clip_low": Activation(Act.CLIP, low=-0.5),
    "clip_high": Activation(Act.CLIP, high=0.5),
    "sigmoid": Activation(Act.SIGMOID),
    "tanh": Activation(Act.TANH),
    "silu": Activation(Act.SILU),
    "hardswish": Activation(Act.HARDSWISH),
    "gelu": Activation(Act.GELU),
    "gelu_tanh": Activation(Act.GELU_TANH),
}


def layer(size: str, oc: int, kernel: str, pad: str = "0 0 0 0", **more: object) -> ConvSpec:
    """``size`` is "HxWxC", ``kernel`` "KHxKW", ``pad`` "top left bottom right".

    ``accuracy: strict``, so that the families which sum directly are what is looked at.
    """
    h, w, c = map(int, size.split("x"))
    kh, kw = map(int, kernel.split("x"))
    return ConvSpec(
        name="edge", h=h, w=w, c=c, oc=oc, kh=kh, kw=kw,
        padding=Padding(*map(int, pad.split())), accuracy=Accuracy.STRICT,
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


def depthwise(size: str, kernel: str, pad: str = "0 0 0 0", **more: object) -> ConvSpec:
    """One filter per channel."""
    c = int(size.split("x")[2])
    return layer(size, c, kernel, pad, groups=c, **more)


def transposed(size: str, oc: int, kernel: str, pad: str = "0 0 0 0", **more: object) -> ConvSpec:
    """The gradient of a convolution over its input; ``extra`` is its output padding."""
    return layer(size, oc, kernel, pad, transposed=True, **more)


def volume(size: str, oc: int, kernel: str, pad: str = "0 0 0 0 0 0", **more: object) -> ConvSpec:
    """``size`` is "DxHxWxC", ``kernel`` "KDxKHxKW", ``pad`` "front top left back bottom right"."""
    (d, h, w, c), (kd, kh, kw) = map(int, size.split("x")), map(int, kernel.split("x"))
    front, top, left, back, bottom, right = map(int, pad.split())
    return ConvSpec(
        name="edge", h=h, w=w, c=c, oc=oc, kh=kh, kw=kw, rank=3, d=d, kd=kd,
        padding=Padding(top, left, bottom, right, front, back), accuracy=Accuracy.STRICT,
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


# Every layer is run on every instruction set; 19, 35 and 37 channels leave a narrower last block
# for 4, 8 and 16 lanes alike, 7 and 5 leave one for the plain body's tiles of four channels.
EDGES: dict[str, ConvSpec] = {
    "one_of_everything": layer("1x1x1", 1, "1x1"),
    "pad_top_only": layer("6x7x3", 19, "3x3", "1 0 0 0"),
    "pad_left_only": layer("6x7x3", 19, "3x3", "0 1 0 0"),
    "pad_bottom_only": layer("6x7x3", 19, "3x3", "0 0 1 0"),
    "pad_right_only": layer("6x7x3", 19, "3x3", "0 0 0 1"),
    "pad_equals_kernel": layer("5x5x2", 5, "3x3", "3 3 3 3"),
    "pad_beyond_kernel": layer("4x3x2", 7, "2x3", "5 4 3 6"),
    "pad_around_one_tap": layer("3x4x2", 19, "1x1", "2 1 0 3"),
    "pad_around_one_tap_strided": layer("3x4x1", 3, "1x1", "2 1 1 3", sh=2, sw=3),
    "kernel_beyond_input": layer("3x2x4", 19, "7x5", "2 2 2 2"),
    "kernel_far_beyond_input": layer("1x1x3", 9, "9x9", "8 8 8 8"),
    "depthwise": depthwise("9x11x37", "3x3", "1 1 1 1"),
    "depthwise_strided": depthwise("12x9x19", "5x3", "2 1 2 1", sh=2, sw=2),
    "depthwise_dilated": depthwise("13x12x5", "3x3", "2 3 1 0", dh=2, dw=3),
    "depthwise_beyond_padding": depthwise("2x3x18", "3x3", "4 4 4 4"),
    "depthwise_row": depthwise("1x40x8", "1x7", "0 3 0 3"),
    "depthwise_1x1": depthwise("5x5x17", "1x1"),
    "depthwise_1x1_padded": depthwise("5x5x17", "1x1", "1 2 0 1"),
    "depthwise_nchw": depthwise("7x6x6", "3x3", "1 1 1 1", layout=Layout.NCHW),
    "depthwise_5x5": depthwise("10x9x21", "5x5", "2 2 2 2"),
    "depthwise_7x7": depthwise("11x12x21", "7x7", "3 3 3 3"),
    "depthwise_long_rows": depthwise("4x23x19", "2x9", "1 4 0 4", dw=2),
    "depthwise_wide": depthwise("9x8x70", "3x3", "1 1 1 1", batch=2),
    "depthwise_no_bias": depthwise("6x7x19", "3x3", "0 1 1 0", bias=False, activation=RELU),
    "depthwise_stride_beyond_kernel": depthwise("13x12x19", "2x2", "0 1 1 0", sh=4, sw=3),
    "grouped_by_2": layer("7x9x38", 38, "3x3", "1 1 1 1", groups=19),
    "grouped_by_4": layer("8x7x36", 36, "3x3", "1 1 1 1", groups=9, sh=2, sw=2),
    "grouped_by_8": layer("6x9x40", 40, "3x3", "2 2 2 2", groups=5, dh=2, dw=2),
    "grouped_rows": layer("3x20x24", 24, "2x9", "1 4 0 4", groups=6),
    "grouped_batch": layer("5x4x12", 12, "1x1", groups=3, batch=3, bias=False),
    "grouped_beyond_padding": layer("3x3x36", 36, "2x2", "3 4 5 3", groups=18),
    "depth_multiplier": layer("8x8x4", 12, "3x3", "1 1 1 1", groups=4),
    "groups_of_few": layer("7x7x6", 6, "3x3", "1 1 1 1", groups=3),
    "groups_of_one_output": layer("7x7x6", 3, "3x3", "1 1 1 1", groups=3),
    "groups_wide": layer("5x6x4", 38, "3x2", "1 0 1 1", groups=2),
    "groups_in_planes": layer("5x6x4", 38, "3x2", "1 0 1 1", groups=2, layout=Layout.NCHW),
    "groups_and_batch": layer("4x5x4", 10, "3x3", "1 1 1 1", groups=2, batch=3),
    "dilation_beyond_input": layer("5x5x2", 5, "3x3", "6 6 6 6", dh=6, dw=6),
    "dilation_with_gaps": layer("9x8x3", 19, "2x3", "3 5 2 4", dh=4, dw=3),
    "dilated_and_strided": layer("15x14x2", 7, "3x3", "2 2 2 2", sh=2, sw=3, dh=3, dw=2),
    "one_pixel": layer("1x1x37", 35, "1x1"),
    "one_pixel_padded": layer("1x1x5", 19, "3x3", "1 1 1 1"),
    "pointwise": layer("7x5x19", 37, "1x1"),
    "pointwise_prime": layer("11x13x7", 17, "1x1"),
    "pointwise_strided": layer("11x13x7", 17, "1x1", sh=2, sw=3),
    "pointwise_grouped": layer("6x6x8", 12, "1x1", groups=4, batch=2),
    "batch": layer("5x4x3", 19, "3x3", "1 1 1 1", batch=3),
    "batch_any": layer("5x4x3", 19, "3x3", "1 1 1 1", batch_any=True),
    "one_channel": layer("13x11x1", 19, "3x3", "1 1 1 1"),
    "one_channel_each": layer("13x11x1", 1, "3x3", "1 1 1 1"),
    "primes": layer("17x19x7", 37, "5x3", "2 1 2 1"),
    "stride_beyond_kernel": layer("17x19x3", 19, "2x2", "0 1 1 0", sh=5, sw=4),
    "stride_beyond_kernel_skips_taps": layer("2x2x3", 5, "1x1", "1 1 4 4", sh=3, sw=3),
    "stride_beyond_input": layer("4x4x2", 7, "3x3", "1 1 1 1", sh=9, sw=9),
    "stem": layer("23x25x3", 37, "7x7", "3 3 3 3", sh=2, sw=2),
    "column": layer("37x1x3", 19, "5x1", "2 0 2 0"),
    "row": layer("1x37x3", 19, "1x5", "0 2 0 2"),
    "tall_kernel": layer("9x3x2", 19, "5x2", "2 1 2 0", sh=1, sw=2),
    "planes": layer("9x10x3", 19, "3x3", "1 1 1 1", layout=Layout.NCHW),
    "planes_pointwise": layer("6x7x5", 19, "1x1", layout=Layout.NCHW, batch=2),
    "planes_oihw": layer(
        "8x7x3", 21, "3x2", "1 0 1 1",
        layout=Layout.NCHW, weight_layout=WeightLayout.OIHW, sh=2,
    ),
    "weights_oihw": layer("8x7x3", 21, "3x2", "1 0 1 1", weight_layout=WeightLayout.OIHW),
    "weights_ohwi": layer("8x7x4", 22, "3x2", groups=2, weight_layout=WeightLayout.OHWI),
    "no_bias": layer("6x6x3", 19, "3x3", "1 1 1 1", bias=False),
    "wide": layer("12x30x8", 66, "3x3", "1 1 1 1", activation=RELU),
    "weights_iohw": layer("6x7x4", 19, "3x2", weight_layout=WeightLayout.IOHW),
    "transposed": transposed("5x6x3", 19, "3x3", "1 1 1 1", sh=2, sw=2, extra=(0, 1, 1)),
    "transposed_dense": transposed("6x7x4", 21, "3x2", "1 0 0 1", activation=RELU),
    "transposed_gaps": transposed("4x5x3", 19, "2x2", sh=3, sw=4),
    "transposed_dilated": transposed(
        "5x4x3", 7, "3x2", "3 1 2 0", sh=2, sw=3, dh=2, dw=2, extra=(0, 1, 2), batch=2,
    ),
    "transposed_over_padded": transposed("5x6x2", 19, "3x3", "3 4 4 2", sh=2),
    "transposed_groups": transposed(
        "5x4x6", 38, "3x3", "1 1 0 1", sh=2, sw=2, groups=2, batch=2,
        weight_layout=WeightLayout.IOHW,
    ),
    "transposed_planes": transposed(
        "4x5x6", 10, "3x2", sh=2, groups=2, layout=Layout.NCHW, weight_layout=WeightLayout.HWOI,
    ),
    "transposed_depthwise": transposed(
        "5x6x19", 19, "3x3", "1 1 1 1", groups=19, sh=2, sw=2, extra=(0, 1, 1), bias=False,
    ),
    "transposed_row": transposed("1x17x3", 19, "1x4", "0 1 0 1", sw=2, rank=1),
    "series": layer("1x37x3", 19, "1x5", "0 2 0 1", sw=2, rank=1),
    "series_planes": layer(
        "1x19x5", 21, "1x3", rank=1, layout=Layout.NCHW, weight_layout=WeightLayout.OIHW,
    ),
    "volume": volume("4x5x6x3", 19, "3x3x3", "1 1 1 1 1 1", activation=RELU),
    "volume_pointwise": volume("3x4x5x7", 19, "1x1x1", batch=2),
    "volume_strided": volume(
        "6x7x5x2", 7, "2x3x1", "1 2 0 0 1 0", sd=2, sh=2, dd=2, dh=2, batch=2,
    ),
    "volume_planes": volume(
        "3x5x4x4", 38, "2x3x2", "1 0 1 1 1 0", groups=2, layout=Layout.NCHW,
        weight_layout=WeightLayout.OIHW,
    ),
    "volume_depthwise": volume("3x5x6x19", 19, "3x3x3", "1 1 1 1 1 1", groups=19, batch=2),
    "volume_flat_filter": volume("3x6x7x20", 20, "1x3x3", "0 1 1 0 1 1", groups=20),
    "volume_beyond_padding": volume("2x1x2x2", 5, "2x2x2", "3 2 2 3 3 2"),
    "volume_transposed": volume(
        "3x3x4x4", 10, "3x3x2", "1 1 0 1 0 1", sd=2, sh=2, dw=2, transposed=True, groups=2,
        extra=(1, 1, 0), weight_layout=WeightLayout.OHWI,
    ),
}  # fmt: skip

# What the same register tile meets at the ends of the image and of the channels: pinned to a tile
# of 2 x 3 pixels and two vectors, which every instruction set has registers for.
PINNED_TILE = (2, 3, 2)
OUTPUT_SIZES = ((1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (2, 4), (3, 7), (5, 5), (4, 6), (3, 8))


def channel_counts(lanes: int) -> tuple[int, ...]:
    """OC below, at and above one and two vectors, and several blocks with a rest."""
    counts = {
        1,
        lanes - 1,
        lanes,
        lanes + 1,
        2 * lanes - 1,
        2 * lanes,
        2 * lanes + 1,
        4 * lanes + 3,
    }
    return tuple(sorted(n for n in counts if n >= 1))


def of_output(rows: int, cols: int, oc: int) -> ConvSpec:
    """A padded 3x3 layer with this output."""
    return layer(f"{rows}x{cols}x2", oc, "3x3", "1 1 1 1")


def with_activation(name: str) -> ConvSpec:
    """A small layer whose outputs reach every bend of its activation; every vector has a rest."""
    base = layer("6x9x4", 21, "3x3", "1 1 1 1")
    return replace(base, activation=ACTIVATIONS[name])
