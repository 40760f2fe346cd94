"""Where a network's constants come from, and reading them: every byte accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from convgen.errors import Diagnostic, SpecError
from convgen.network.graph import Graph, frozen
from convgen.spec.elements import ELEMENTS
from convgen.spec.model import Place
from convgen.spec.weights import BadArrayError, Want, read_array, truncated_normal

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SEEDS = 2**64


@dataclass(frozen=True)
class FileSource:
    """An array of a file. ``stored``: its shape there; ``perm``: how its axes become the
    constant's, None where they are in order. ``groups``: of a transposed convolution, whose file
    has [..., C, OC/G].
    """

    path: PurePath
    key: str
    stored: tuple[int, ...]
    axes: str
    place: Place
    perm: tuple[int, ...] | None = None
    groups: int = 1


@dataclass(frozen=True)
class DrawnSource:
    """A truncated normal of ``stddev``; zeros where that is 0."""

    stddev: float
    seed: int


Source = FileSource | DrawnSource


def seeded(seed: int, index: int) -> int:
    """The seed of the network's layer number ``index``: layers do not share their numbers."""
    return (seed + 0x9E3779B97F4A7C15 * index) % _SEEDS


def load(graph: Graph, sources: Mapping[str, Source], source: str) -> Graph:
    """The graph with its constants read or drawn. Raises ``SpecError`` with all that is wrong."""
    arrays = dict(graph.constants)
    refused: dict[Diagnostic, None] = {}
    folder = Path(source).parent
    for name, origin in sources.items():
        try:
            arrays[name] = frozen(_array(graph, name, origin, folder))
        except BadArrayError as bad:
            at = origin.place if isinstance(origin, FileSource) else Place()
            text = f"weights: {bad.text}"
            refused[Diagnostic(source, at.line, at.col, bad.code, text, at.snippet)] = None
    if refused:
        raise SpecError(sorted(refused, key=lambda d: (d.line, d.col)))
    return replace(graph, constants=MappingProxyType(arrays))


def _array(graph: Graph, name: str, origin: Source, folder: Path) -> NDArray[Any]:
    import numpy as np

    value = graph.values[name]
    if isinstance(origin, DrawnSource):
        if not origin.stddev:
            return np.zeros(value.shape, str(value.dtype))
        real = truncated_normal(value.size, origin.seed) * origin.stddev
        return real.reshape(value.shape).astype(str(value.dtype))
    want = Want(origin.stored, ELEMENTS[str(value.dtype)], origin.axes)
    array = read_array(folder / origin.path, origin.key, want)
    array = array if origin.perm is None else array.transpose(origin.perm)
    if origin.groups > 1:
        array = by_group(array, origin.groups)
    return np.ascontiguousarray(array).reshape(value.shape)


def by_group(w: NDArray[Any], groups: int) -> NDArray[Any]:
    """Weights [..., C, OC/G] of a transposed convolution as [..., C/G, OC]."""
    *taps, c, oc = w.shape
    split = w.reshape(*taps, groups, c // groups, oc)
    return split.swapaxes(-3, -2).reshape(*taps, c // groups, groups * oc)


def all_inputs(w: NDArray[Any], groups: int) -> NDArray[Any]:
    """Weights [..., C/G, OC] of a transposed convolution as [..., C, OC/G]."""
    *taps, c, oc = w.shape
    split = w.reshape(*taps, c, groups, oc // groups)
    return split.swapaxes(-3, -2).reshape(*taps, c * groups, oc // groups)
