"""Constants that TFLite stores as their non-zero elements, made dense.

The format (schema.fbs, ``SparsityParameters``): the tensor's axes, some of them split into blocks,
are walked in ``traversal_order``; each level is dense or compressed (CSR: segments and indices).
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from convgen.importers.limits import MAX_ELEMENTS, MAX_RANK

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

DENSE, CSR = 0, 1


def dense(sparsity: Any, content: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """All elements of the tensor. Raises ``ValueError`` when the tables contradict each other."""
    import numpy as np

    order = [int(i) for i in _numbers(sparsity.TraversalOrderAsNumpy())]
    blocks = [int(i) for i in _numbers(sparsity.BlockMapAsNumpy())]
    levels = len(order)
    if sorted(order) != list(range(levels)) or levels != len(shape) + len(blocks):
        raise ValueError("the traversal order of a sparse tensor is none")
    if levels > 2 * MAX_RANK or levels != sparsity.DimMetadataLength():
        raise ValueError("a sparse tensor's levels are not all described")
    if any(not 0 <= axis < len(shape) for axis in blocks) or prod(shape) > MAX_ELEMENTS:
        raise ValueError("a sparse tensor's blocks lie outside of it")
    metadata = [sparsity.DimMetadata(i) for i in range(levels)]
    places, sizes = _walked(metadata)
    values = np.frombuffer(content.tobytes(), dtype)
    if values.size != len(places[0]):
        raise ValueError("a sparse tensor's values are not as many as its indices")
    coordinate = _coordinates(places, sizes, order, blocks, shape)
    if any((c < 0).any() or (c >= n).any() for c, n in zip(coordinate, shape, strict=True)):
        raise ValueError("an index of a sparse tensor lies outside of it")
    whole = np.zeros(shape, dtype.newbyteorder("="))
    whole[tuple(coordinate)] = values
    return whole


def _numbers(found: Any) -> Array:
    import numpy as np

    return found if isinstance(found, np.ndarray) else np.zeros(0, np.int64)


def _walked(metadata: list[Any]) -> tuple[list[Array], list[int]]:
    """Per level, the index of every stored element there; the dense sizes (0 of a CSR level)."""
    import numpy as np

    places: list[Array] = []
    sizes: list[int] = []
    rows = 1  # nodes of the tree at the level above
    for level in metadata:
        if level.Format() == DENSE:
            size = int(level.DenseSize())
            if size < 1 or rows * size > MAX_ELEMENTS:
                raise ValueError("a dense level of a sparse tensor has no size")
            parent = np.repeat(np.arange(rows), size)
            own = np.tile(np.arange(size), rows)
        elif level.Format() == CSR:
            size = 0
            segments = _segment(level.ArraySegmentsType(), level.ArraySegments())
            own = _segment(level.ArrayIndicesType(), level.ArrayIndices())
            counts = np.diff(segments)
            if len(segments) != rows + 1 or (counts < 0).any() or counts.sum() != len(own):
                raise ValueError("the segments of a sparse tensor do not fit its indices")
            parent = np.repeat(np.arange(rows), counts)
        else:
            raise ValueError("a level of a sparse tensor is neither dense nor compressed")
        places = [place[parent] for place in places] + [own]
        sizes.append(size)
        rows = len(own)
    return places, sizes


def _segment(kind: int, table: Any) -> Array:
    """A vector of indices in one of the widths that the schema has for them."""
    import numpy as np
    import tflite

    wide = {1: tflite.Int32Vector, 2: tflite.Uint16Vector, 3: tflite.Uint8Vector}[kind]()
    wide.Init(table.Bytes, table.Pos)
    return _numbers(wide.ValuesAsNumpy()).astype(np.int64)


def _coordinates(
    places: list[Array],
    sizes: list[int],
    order: list[int],
    blocks: list[int],
    shape: tuple[int, ...],
) -> list[Array]:
    """Each stored element's place along every axis of the tensor."""
    by_dimension = {dimension: places[level] for level, dimension in enumerate(order)}
    size_of = {dimension: sizes[level] for level, dimension in enumerate(order)}
    found = []
    for axis in range(len(shape)):
        place = by_dimension[axis]
        for k, blocked in enumerate(blocks):
            if blocked == axis:
                block = size_of[len(shape) + k]
                if block < 1:
                    raise ValueError("a block of a sparse tensor has no size")
                place = place * block + by_dimension[len(shape) + k]
        found.append(place)
    return found
