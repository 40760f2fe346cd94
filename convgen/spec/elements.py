"""Element types: what lies in a layer's arrays, in NumPy's words and in C's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from convgen.spec.model import ConvSpec, DType

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Element:
    """``storage``: NumPy's name of the bits (bfloat16 lies in uint16). ``c``: its type in C.

    ``compute``: the float type that sums and activations have. ``digits``: bits of the stored
    significand, 0 of an integer; ``limits``: an integer's least and largest value.
    """

    name: str
    storage: str
    c: str
    size: int
    compute: DType | None = None
    digits: int = 0
    limits: tuple[int, int] = (0, 0)

    @property
    def is_float(self) -> bool:
        return self.compute is not None


def _integer(name: str, size: int, low: int, high: int) -> Element:
    return Element(name, name, f"{name}_t", size, limits=(low, high))


ELEMENTS: Mapping[str, Element] = MappingProxyType(
    {
        element.name: element
        for element in (
            Element("float32", "float32", "float", 4, DType.FLOAT32, 24),
            Element("float64", "float64", "double", 8, DType.FLOAT64, 53),
            Element("float16", "float16", "uint16_t", 2, DType.FLOAT32, 11),
            Element("bfloat16", "uint16", "uint16_t", 2, DType.FLOAT32, 8),
            _integer("int8", 1, -128, 127),
            _integer("uint8", 1, 0, 255),
            _integer("int32", 4, -(2**31), 2**31 - 1),
        )
    }
)


def packed_element(spec: ConvSpec) -> Element:
    """What packed weights are: of the type that sums have, bytes for 8-bit layers."""
    return ELEMENTS[ELEMENTS[spec.dtype].compute or DType.INT8]


@dataclass(frozen=True)
class Arrays:
    """The element types of a layer's four arrays."""

    x: Element
    w: Element
    b: Element
    y: Element


@dataclass(frozen=True)
class Sections:
    """Packed weights of 8-bit plain C: every bias, then every filter's weights in the order of
    taps. C types and bytes of one bias and one weight.
    """

    bias: str
    bias_size: int
    weight: str
    weight_size: int

    @property
    def biases(self) -> int:
        """Bytes of each bias: all of them come first, as they are."""
        return self.bias_size

    @property
    def block_stride(self) -> int:
        """There are no blocks."""
        return 0

    @property
    def patterns(self) -> tuple[()]:
        """Rows go one by one."""
        return ()

    def rounds(self, spec: ConvSpec) -> frozenset[int]:
        """None beside the taps."""
        return frozenset()

    def size(self, filters: int, depth: int) -> int:
        """Bytes of all, ``depth`` weights to a filter."""
        return filters * (self.bias_size + depth * self.weight_size)


def arrays_of(spec: ConvSpec) -> Arrays:
    """8-bit layers: int8 weights, int32 bias, and an output of the input's type or int32 sums."""
    x = ELEMENTS[spec.dtype]
    if x.is_float:
        return Arrays(x, x, x, x)
    sums = spec.quant is not None and spec.quant.output is None
    return Arrays(x, ELEMENTS["int8"], ELEMENTS["int32"], ELEMENTS["int32"] if sums else x)


def numpy_dtype(element: Element) -> np.dtype[Any]:
    """Of the stored bits: uint16 for bfloat16."""
    import numpy as np

    return np.dtype(element.storage)


def widened(array: NDArray[Any], element: Element) -> NDArray[Any]:
    """Stored values as numbers: bfloat16's bits as float32, anything else as it is."""
    import numpy as np

    if element.name != "bfloat16" or array.dtype != np.uint16:
        return array
    return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)


def held_by_package(array: NDArray[Any], element: Element) -> NDArray[Any]:
    """Stored bits as generated packages take them: bfloat16 is ml_dtypes' where there is such."""
    if element.name != "bfloat16":
        return array
    try:
        from ml_dtypes import bfloat16
    except ImportError:
        return array
    return array.view(bfloat16)


def stored(values: NDArray[Any], element: Element) -> NDArray[Any]:
    """Numbers in an element's storage, rounded once, half to even; beyond its range infinity."""
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        if element.name != "bfloat16":
            return values.astype(element.storage)
        single = _odd_float32(values)
        bits = single.view(np.uint32)
        nan = np.isnan(single)
        rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> 16
        quiet = (bits >> np.uint32(16)) | np.uint32(0x40)
        return np.where(nan, quiet, rounded).astype(np.uint16)


def _odd_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """float32 rounded to odd: cut again, the result is as if ``values`` had been rounded once."""
    import numpy as np

    single = np.ascontiguousarray(values, dtype=np.float32)
    if values.dtype == np.float32:
        return single
    wide = values.astype(np.float64)
    bits = single.view(np.uint32).copy()
    over = np.abs(single.astype(np.float64)) > np.abs(wide)
    inexact = (single.astype(np.float64) != wide) & ~np.isnan(single)
    bits[over & inexact] -= np.uint32(1)  # towards 0; infinity becomes the largest number
    bits[inexact] |= np.uint32(1)
    return bits.view(np.float32)
