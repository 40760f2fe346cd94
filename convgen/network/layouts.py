"""How tensors lie in memory: strided views, and when one can stand for another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from convgen.network.plan import contiguous

Ints = tuple[int, ...]


@dataclass(frozen=True)
class View:
    """A value's elements in a buffer: logical axes, strides and offset in elements."""

    buffer: str
    shape: Ints
    strides: Ints
    offset: int = 0

    def permuted(self, perm: Sequence[int]) -> View:
        """Axis i is axis ``perm[i]`` of this view."""
        return replace(
            self,
            shape=tuple(self.shape[p] for p in perm),
            strides=tuple(self.strides[p] for p in perm),
        )

    def window(self, starts: Sequence[int], sizes: Sequence[int], steps: Sequence[int]) -> View:
        """``sizes`` elements of each axis, from ``starts`` on, ``steps`` apart."""
        return View(
            self.buffer,
            tuple(sizes),
            tuple(stride * step for stride, step in zip(self.strides, steps, strict=True)),
            self.offset + sum(s * a for s, a in zip(self.strides, starts, strict=True)),
        )

    def repeated(self, shape: Sequence[int]) -> View | None:
        """Broadcast to ``shape`` with strides of 0."""
        missing = len(shape) - len(self.shape)
        strides = [0] * missing
        for size, stride, wanted in zip(self.shape, self.strides, shape[missing:], strict=True):
            if size not in (1, wanted):
                return None
            strides.append(stride if size == wanted and size != 1 else 0)
        return replace(self, shape=tuple(shape), strides=tuple(strides))

    def reshaped(self, shape: Ints) -> View | None:
        """The same elements in the same logical order, if strides can say so."""
        strides = reshaped_strides(self.shape, self.strides, shape)
        return None if strides is None else replace(self, shape=shape, strides=strides)

    @property
    def order(self) -> Ints:
        """The axes from the widest stride to the narrowest; axes of size 1 keep their place beside
        the axis that follows them.
        """
        return memory_order(self.shape, self.strides)

    def dense(self, order: Sequence[int] | None = None) -> bool:
        """Without gaps, axes in ``order`` (by default the logical one) from the outermost on?"""
        return same_strides(self.shape, self.strides, ordered(self.shape, order))

    @property
    def compact(self) -> bool:
        """Without gaps in some order of the axes?"""
        return self.dense(self.order)


def ordered(shape: Ints, order: Sequence[int] | None = None) -> Ints:
    """Strides of a dense array whose axes lie in ``order``."""
    if order is None:
        return contiguous(shape)
    inner = contiguous(tuple(shape[axis] for axis in order))
    strides = [0] * len(shape)
    for axis, stride in zip(order, inner, strict=True):
        strides[axis] = stride
    return tuple(strides)


def same_strides(shape: Ints, one: Ints, two: Ints) -> bool:
    """Do both reach the same elements? The strides of axes with one element do not matter."""
    return all(a == b for size, a, b in zip(shape, one, two, strict=True) if size != 1)


def memory_order(shape: Ints, strides: Ints) -> Ints:
    """See ``View.order``."""
    key: list[tuple[int, int]] = [(0, 0)] * len(shape)
    following = 0
    for axis in reversed(range(len(shape))):
        if shape[axis] != 1:
            following = -abs(strides[axis])
        key[axis] = (following, axis)
    return tuple(sorted(range(len(shape)), key=lambda axis: key[axis]))


def reshaped_strides(shape: Ints, strides: Ints, new: Ints) -> Ints | None:
    """Strides under which the elements are those of ``shape`` in order, or None: a copy is needed.

    Runs of old axes that lie behind one another are cut into runs of new ones.
    """
    if 0 in shape:
        return contiguous(new)
    old = [(size, stride) for size, stride in zip(shape, strides, strict=True) if size != 1]
    found = [0] * len(new)
    fresh = [axis for axis, size in enumerate(new) if size != 1]
    i = j = 0
    while i < len(old) and j < len(fresh):
        start = j
        a, b = old[i][0], new[fresh[j]]
        while a != b:
            if a < b:
                i += 1
                if i == len(old) or old[i - 1][1] != old[i][0] * old[i][1]:
                    return None
                a *= old[i][0]
            else:
                j += 1
                if j == len(fresh):
                    return None
                b *= new[fresh[j]]
        step = old[i][1]
        for axis in reversed(fresh[start : j + 1]):
            found[axis] = step
            step *= new[axis]
        i, j = i + 1, j + 1
    return tuple(found) if i == len(old) and j == len(fresh) else None


def reshape_order(view: View, new: Ints) -> Ints:
    """An order of the axes in which a dense copy can be reshaped to ``new`` without another one.

    Axes that a reshape merges or cuts together keep their logical order; such groups stand as wide
    or as narrow as they lie in memory now. Channels that are shuffled stay the innermost ones.
    """
    groups, at = [], 0
    for old in _groups(view.shape, new):
        groups.append(tuple(range(at, at + old)))
        at += old
    width = [
        max((abs(view.strides[a]) for a in g if view.shape[a] != 1), default=0) for g in groups
    ]
    # Groups of axes with one element stay beside the group behind them.
    for place in reversed(range(len(groups) - 1)):
        width[place] = width[place] or width[place + 1]
    ranked = sorted(range(len(groups)), key=lambda place: -width[place])
    return tuple(axis for place in ranked for axis in groups[place])


def _groups(shape: Ints, new: Ints) -> list[int]:
    """How many old axes go together, run by run: each run holds as many elements as a run of new
    axes does.
    """
    found, i, j = [], 0, 0
    while i < len(shape):
        start, a, b = i, shape[i], 1
        i += 1
        while True:
            while b < a and j < len(new):
                b *= new[j]
                j += 1
            if a == b or i == len(shape):
                break
            a *= shape[i]
            i += 1
        found.append(i - start)
    return found
