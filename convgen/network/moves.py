"""Operators that move elements, as copies between strided views."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

from convgen.network.layouts import View
from convgen.network.ops import DepthToSpace, Pad, PadMode, Resize, ResizeMode, SpaceToDepth, Tile

Ints = tuple[int, ...]


@dataclass(frozen=True)
class Copy:
    """``target`` gets ``source``, or the fill value where that is None."""

    source: View | None
    target: View


def split_axis(view: View, axis: int, inner: int) -> View:
    """One axis of n*inner elements as two: n, then ``inner``."""
    size, stride = view.shape[axis], view.strides[axis]
    shape = (*view.shape[:axis], size // inner, inner, *view.shape[axis + 1 :])
    strides = (*view.strides[:axis], stride * inner, stride, *view.strides[axis + 1 :])
    return replace(view, shape=shape, strides=strides)


def padded(op: Pad, x: View, y: View) -> list[Copy]:
    """Boxes of the output, each a product of ranges: the inside, and what borders mode and side
    say. Every box reads the input alone.
    """
    boxes = []
    for axis, (before, after) in enumerate(op.pads):
        boxes.append(_ranges(op.mode, x.shape[axis], before, after))
    copies = []
    for box in product(*boxes):
        if any(size == 0 for _, size, _, _ in box):
            continue
        sizes = tuple(size for _, size, _, _ in box)
        target = y.window([at for at, *_ in box], sizes, [1] * len(box))
        if any(start is None for _, _, start, _ in box):
            copies.append(Copy(None, target))
            continue
        starts = [start or 0 for _, _, start, _ in box]
        copies.append(Copy(x.window(starts, sizes, [step for *_, step in box]), target))
    return merged_fills(copies)


def _ranges(
    mode: PadMode, size: int, before: int, after: int
) -> list[tuple[int, int, int | None, int]]:
    """Of one axis: (place in the output, elements, first input element or None, step)."""
    cut = max(0, -before)
    inside = size - cut - max(0, -after)
    before, after = max(0, before), max(0, after)
    found: list[tuple[int, int, int | None, int]] = [(before, inside, cut, 1)]
    last = cut + inside - 1
    match mode:
        case PadMode.CONSTANT:
            found += [(0, before, None, 1), (before + inside, after, None, 1)]
        case PadMode.EDGE:
            found += [(0, before, cut, 0), (before + inside, after, last, 0)]
        case PadMode.REFLECT | PadMode.SYMMETRIC:
            skip = 1 if mode is PadMode.REFLECT else 0
            found.append((0, before, cut + before - 1 + skip, -1))
            found.append((before + inside, after, last - skip, -1))
        case PadMode.WRAP:
            for at, count, start in _wrapped(inside, before, after):
                found.append((at, count, cut + start, 1))
    return found


def _wrapped(inside: int, before: int, after: int) -> list[tuple[int, int, int]]:
    """(place, elements, first inside element) of the borders of a periodic axis."""
    found, at = [], 0
    while at < before:
        start = (at - before) % inside
        count = min(before - at, inside - start)
        found.append((at, count, start))
        at += count
    at, end = before + inside, before + inside + after
    while at < end:
        start = (at - before) % inside
        count = min(end - at, inside - start)
        found.append((at, count, start))
        at += count
    return found


def merged_fills(copies: list[Copy]) -> list[Copy]:
    """Neighbouring boxes that are filled alike become one: 3^n - 1 boxes are 2n slabs.

    Two boxes join along an axis when they differ in nothing else and touch.
    """
    fills = [copy.target for copy in copies if copy.source is None]
    others = [copy for copy in copies if copy.source is not None]
    joined = True
    while joined:
        joined = False
        for i, one in enumerate(fills):
            for two in fills[i + 1 :]:
                both = _union(one, two)
                if both is not None:
                    fills[i] = both
                    fills.remove(two)
                    joined = True
                    break
            if joined:
                break
    return [Copy(None, fill) for fill in fills] + others


def _union(one: View, two: View) -> View | None:
    if one.offset > two.offset:
        one, two = two, one
    for axis, (size, stride) in enumerate(zip(one.shape, one.strides, strict=True)):
        rest_one = (*one.shape[:axis], *one.shape[axis + 1 :])
        rest_two = (*two.shape[:axis], *two.shape[axis + 1 :])
        if rest_one == rest_two and two.offset - one.offset == size * stride and stride > 0:
            total = size + two.shape[axis]
            return replace(one, shape=(*one.shape[:axis], total, *one.shape[axis + 1 :]))
    return None


def tiled(op: Tile, x: View, y: View) -> list[Copy]:
    """Every axis as repeats times size, the repeats with stride 0 in the input."""
    for axis in reversed(range(len(op.repeats))):
        size = x.shape[axis]
        y = split_axis(y, axis, size)
        x = replace(
            x,
            shape=(*x.shape[:axis], op.repeats[axis], *x.shape[axis:]),
            strides=(*x.strides[:axis], 0, *x.strides[axis:]),
        )
    return [Copy(x, y)]


def depth_to_space(op: DepthToSpace, x: View, y: View) -> list[Copy]:
    """Channels as blocks of b*b, rows and columns as pairs."""
    b = op.block
    if not op.channels_last:
        x, y = x.permuted((0, 2, 3, 1)), y.permuted((0, 2, 3, 1))
    y = split_axis(split_axis(y, 2, b), 1, b)  # n, h, bh, w, bw, c
    if op.columns_first:  # n, h, w, c, bh, bw
        x = split_axis(split_axis(x, 3, b), 3, b).permuted((0, 1, 4, 2, 5, 3))
    else:  # n, h, w, bh, bw, c
        depth = x.shape[3] // (b * b)
        x = split_axis(split_axis(x, 3, depth), 3, b).permuted((0, 1, 3, 2, 4, 5))
    return [Copy(x, y)]


def space_to_depth(op: SpaceToDepth, x: View, y: View) -> list[Copy]:
    b = op.block
    if not op.channels_last:
        x, y = x.permuted((0, 2, 3, 1)), y.permuted((0, 2, 3, 1))
    x = split_axis(split_axis(x, 2, b), 1, b)  # n, h, bh, w, bw, c
    depth = y.shape[3] // (b * b)
    y = split_axis(split_axis(y, 3, depth), 3, b).permuted((0, 1, 3, 2, 4, 5))
    return [Copy(x, y)]


def whole_factors(op: Resize, x: View) -> Ints | None:
    """By how much each axis is repeated, where nearest resizing only repeats elements."""
    from convgen.network.meaning.resizing import nearest_index

    if op.mode is not ResizeMode.NEAREST:
        return None
    factors = []
    for axis, size in enumerate(x.shape):
        out = op.sizes[axis]
        if out % size:
            return None
        factor = out // size
        if out != size or op.scale(axis, size) != 1:
            wanted = [i // factor for i in range(out)]
            if nearest_index(op, axis, size).tolist() != wanted:
                return None
        factors.append(factor)
    return tuple(factors)


def enlarged(factors: Ints, x: View, y: View) -> list[Copy]:
    """Every element of the input ``factors[i]`` times along axis i."""
    for axis in reversed(range(len(factors))):
        y = split_axis(y, axis, factors[axis])
        x = replace(
            x,
            shape=(*x.shape[: axis + 1], factors[axis], *x.shape[axis + 1 :]),
            strides=(*x.strides[: axis + 1], 0, *x.strides[axis + 1 :]),
        )
    return [Copy(x, y)]
