"""ONNX's Resize and Upsample, through all their versions."""

from __future__ import annotations

import math

from convgen.importers.onnx.context import CUT, REPAIR, attribute, floats, ints, positive, put
from convgen.importers.refusal import Refusal
from convgen.importers.source import Node
from convgen.importers.translate import Draft
from convgen.network.ops import Coordinates, Nearest, Resize, ResizeMode

MODES = {"nearest": ResizeMode.NEAREST, "linear": ResizeMode.LINEAR, "cubic": ResizeMode.CUBIC}


def upsample(draft: Draft, node: Node) -> None:
    """Upsample, and Resize of operator set 10: scales alone, coordinates i/scale."""
    import numpy as np

    x = draft.name(node, 0)
    floats(draft, x)
    if node.op == "Upsample" and node.version < 9:
        given = node.attributes.get("scales")
        if not isinstance(given, tuple):
            raise Refusal("M023", "it has no scales", REPAIR)
        scales = np.array(given, np.float32)
    else:
        scales = draft.constant(node, 1, "scales").reshape(-1).astype(np.float32)
    mode = _mode(node)
    shape = draft.shape(x)
    factors = _checked(tuple(float(s) for s in scales), len(shape))
    down = [f < 1 for f in factors if f != 1]
    if mode is ResizeMode.NEAREST and any(down) and not all(down):
        raise Refusal("M021", "it shrinks one axis and stretches another", CUT)
    op = Resize(
        sizes=_sizes(shape, factors),
        scales=factors,
        mode=mode,
        coordinates=Coordinates.ASYMMETRIC,
        # The first Resize took the pixel above where it shrinks, as ONNX Runtime still does.
        nearest=Nearest.CEIL if any(down) else Nearest.FLOOR,
    )
    put(draft, node, op, x)


def resize(draft: Draft, node: Node) -> None:
    if node.version < 11:
        upsample(draft, node)
        return
    x = draft.name(node, 0)
    floats(draft, x)
    shape = draft.shape(x)
    if attribute(node, "antialias", 0):
        raise Refusal("M021", "antialiasing is not taken", CUT)
    mode = _mode(node)
    coordinates, nearest = _where(node, mode)
    axes = ints(node, "axes") if node.version >= 18 else None
    chosen = tuple(range(len(shape))) if axes is None else positive(axes, len(shape))
    sizes, scales = _wanted(draft, node, shape, chosen)
    if sizes == shape and coordinates is not Coordinates.PYTORCH_HALF_PIXEL and not scales:
        draft.same(node, x)
        return
    op = Resize(
        sizes=sizes,
        scales=scales,
        mode=mode,
        coordinates=coordinates,
        nearest=nearest,
        cubic=attribute(node, "cubic_coeff_a", -0.75),
        exclude_outside=bool(attribute(node, "exclude_outside", 0)),
    )
    put(draft, node, op, x)


def _mode(node: Node) -> ResizeMode:
    mode = attribute(node, "mode", "nearest")
    if mode not in MODES:
        raise Refusal("M023", f"mode is {mode!r}", REPAIR)
    return MODES[mode]


def _where(node: Node, mode: ResizeMode) -> tuple[Coordinates, Nearest]:
    """Coordinates and rounding. Raises ``Refusal``."""
    word = attribute(node, "coordinate_transformation_mode", "half_pixel")
    rounding = attribute(node, "nearest_mode", "round_prefer_floor")
    if word == "tf_crop_and_resize":
        raise Refusal("M021", "tf_crop_and_resize is not taken", CUT)
    if rounding not in set(Nearest):
        raise Refusal("M023", f"nearest_mode is {rounding!r}", REPAIR)
    if word == "tf_half_pixel_for_nn":
        if mode is not ResizeMode.NEAREST or rounding != "floor":
            raise Refusal("M021", f"{word} with {rounding} is not taken", CUT)
        # floor((i + 0.5)/r) is (i + 0.5)/r - 0.5, rounded with halves up.
        return Coordinates.HALF_PIXEL, Nearest.ROUND_PREFER_CEIL
    if word not in set(Coordinates):
        raise Refusal("M023", f"coordinate_transformation_mode is {word!r}", REPAIR)
    return Coordinates(word), Nearest(rounding)


def _wanted(
    draft: Draft, node: Node, shape: tuple[int, ...], axes: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The output's sizes, and the scales where the file gives those."""
    import numpy as np

    if draft.has(node, 3):
        given = draft.ints(node, 3, "sizes")
        if len(given) != len(axes) or min(given, default=1) < 1:
            raise Refusal("M023", f"sizes {list(given)} for {len(axes)} axes", REPAIR)
        given, scale = _kept(node, given, tuple(shape[a] for a in axes))
        sizes = list(shape)
        for axis, size in zip(axes, given, strict=True):
            sizes[axis] = size
        if scale is None:
            return tuple(sizes), ()
        return tuple(sizes), tuple(scale if at in axes else 1.0 for at in range(len(shape)))
    scales = draft.constant(node, 2, "scales").reshape(-1).astype(np.float32)
    factors = [1.0] * len(shape)
    if len(scales) != len(axes):
        raise Refusal("M023", f"{len(scales)} scales for {len(axes)} axes", REPAIR)
    for axis, factor in zip(axes, scales, strict=True):
        factors[axis] = float(factor)
    checked = _checked(tuple(factors), len(shape))
    return _sizes(shape, checked), checked


def _kept(
    node: Node, sizes: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[tuple[int, ...], float | None]:
    """Sizes that keep the image's proportions, where the node asks for that, and their scale."""
    policy = attribute(node, "keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return sizes, None
    if policy not in ("not_larger", "not_smaller"):
        raise Refusal("M023", f"keep_aspect_ratio_policy is {policy!r}", REPAIR)
    ratios = [size / there for size, there in zip(sizes, shape, strict=True)]
    scale = min(ratios) if policy == "not_larger" else max(ratios)
    return tuple(math.floor(scale * there + 0.5) for there in shape), scale


def _checked(scales: tuple[float, ...], rank: int) -> tuple[float, ...]:
    if len(scales) != rank or not all(math.isfinite(s) and s > 0 for s in scales):
        raise Refusal("M023", f"scales {list(scales)} for {rank} axes", REPAIR)
    return scales


def _sizes(shape: tuple[int, ...], scales: tuple[float, ...]) -> tuple[int, ...]:
    """floor(size * scale) in float32, as ONNX Runtime and ONNX's own shape rule have it."""
    import numpy as np

    return tuple(
        math.floor(np.float32(n) * np.float32(s)) for n, s in zip(shape, scales, strict=True)
    )
