"""A built library as callable functions, and one call of it inside guarded buffers."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.spec.elements import arrays_of, numpy_dtype
from convgen.spec.model import ConvSpec
from convgen.verify.guard import Buffer, Bytes, Placement, place

Array = NDArray[Any]
POISON = 0xFF  # every byte: a NaN that no arithmetic yields, in every float type
OTHER_POISON = 0x55  # a second run shows which integers are not written


@dataclass(frozen=True)
class Kernel:
    """The C interface of one layer; pointers are plain addresses, 0 is NULL.

    ``pack(w, b, packed)``, ``run(x, packed, y, workspace)``, ``run_part(..., part, parts)``.
    ``image``: the packed weights baked into the library, or None. ``pack`` is None if the library
    has none, which only baked weights allow.
    """

    spec: ConvSpec
    packed_bytes: int
    workspace_bytes: int
    align: int
    cpu_ok: Callable[[], int]
    run: Callable[[int, int, int, int], None]
    run_part: Callable[[int, int, int, int, int, int], None]
    pack: Callable[[int, int, int], int] | None
    image: Bytes | None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the output's stored elements."""
        return numpy_dtype(arrays_of(self.spec).y)


def load_kernel(
    library: Path, spec: ConvSpec, packed_bytes: int, workspace_bytes: int, align: int, baked: bool
) -> Kernel:
    """Raises ``OSError`` when it cannot be loaded, ``AttributeError`` when a symbol is missing."""
    lib = ctypes.CDLL(str(library))
    pointer, number = ctypes.c_void_p, ctypes.c_int

    def function(suffix: str, result: Any, *arguments: Any) -> Any:
        found = lib[f"{spec.name}_{suffix}"]
        found.restype, found.argtypes = result, arguments
        return found

    optional = baked and not hasattr(lib, f"{spec.name}_pack")
    pack = None if optional else function("pack", number, pointer, pointer, pointer)
    image = _baked_image(lib, spec.name, packed_bytes) if baked else None
    return Kernel(
        spec,
        packed_bytes,
        workspace_bytes,
        align,
        function("cpu_ok", number),
        function("run", None, *[pointer] * 4),
        function("run_part", None, *[pointer] * 4, number, number),
        pack,
        image,
    )


def _baked_image(lib: ctypes.CDLL, name: str, size: int) -> Bytes:
    try:
        raw = (ctypes.c_uint8 * size).in_dll(lib, f"{name}_packed")
    except ValueError as missing:
        raise AttributeError(str(missing)) from None
    return np.ctypeslib.as_array(raw)


@dataclass(frozen=True)
class Fault:
    """A rule that a call broke, whatever values it computed: ``rule`` is the check it fails."""

    rule: str
    detail: str


OUTSIDE, CHANGED, UNWRITTEN = "guard pages", "inputs unchanged", "outputs written"


@dataclass(frozen=True)
class Call:
    """``y``: the output, in the layer's shape. ``faults``: rules broken on the way.
    ``unwritten``: which outputs were left as they were."""

    y: Array
    faults: tuple[Fault, ...]
    unwritten: NDArray[np.bool_]


@dataclass(frozen=True)
class Packed:
    """``data``: the packed bytes, NaN-poisoned before. ``status``: what pack returned."""

    data: Bytes
    status: int
    faults: tuple[Fault, ...]


def pack_weights(
    kernel: Kernel, w: Array, b: Array | None, placement: Placement, poison: int = POISON
) -> Packed:
    """Call ``<name>_pack`` with w and b at element alignment in guarded buffers."""
    assert kernel.pack is not None
    sources = {"w": _filled(w, w.itemsize, placement)}
    if b is not None:
        sources["b"] = _filled(b, b.itemsize, placement)
    packed = _poisoned(kernel.packed_bytes, kernel.align, placement, poison)
    bias = sources["b"].address if "b" in sources else 0
    status = kernel.pack(sources["w"].address, bias, packed.address)
    faults = _stray("pack", placement, {**sources, "packed": packed})
    for name, array in (("w", w), ("b", b)):
        if array is not None and not _same_bytes(sources[name].data, array):
            faults.append(Fault(CHANGED, f"pack wrote to {name}"))
    return Packed(packed.data, status, tuple(faults))


def call(
    kernel: Kernel,
    x: Array,
    packed: Bytes,
    placement: Placement,
    *,
    garbage: int = POISON,
    split: tuple[int, Sequence[int]] | None = None,
) -> Call:
    """One image batch through ``run``, or through ``run_part`` for ``split`` = (parts, order).

    ``x`` and ``y`` at element alignment, ``packed`` and the workspace at ``kernel.align``. y is
    poisoned before; the workspace holds ``garbage`` in every byte before each part. Packed weights
    that are the library's own image are passed where they are.
    """
    item = kernel.dtype.itemsize
    baked = packed is kernel.image
    buffers = {
        "x": _filled(x, x.itemsize, placement),
        "y": _poisoned(int(np.prod(kernel.spec.y_shape)) * item, item, placement, POISON),
        "workspace": _poisoned(kernel.workspace_bytes, kernel.align, placement, garbage),
    }
    if not baked:
        buffers["packed"] = _filled(packed, kernel.align, placement)
    place_packed = int(packed.ctypes.data) if baked else buffers["packed"].address
    work = buffers["workspace"]
    arguments = (buffers["x"].address, place_packed, buffers["y"].address, work.address)

    def compute() -> None:
        if split is None:
            kernel.run(*arguments)
            return
        parts, order = split
        for part in order:
            work.data[:] = garbage
            kernel.run_part(*arguments, part, parts)

    compute()
    what = "run" if split is None else f"run_part ({split[0]} parts)"
    faults = _stray(what, placement, buffers)
    for name, array in (("x", x), ("packed", packed)):
        if name in buffers and not _same_bytes(buffers[name].data, array):
            faults.append(Fault(CHANGED, f"{what} wrote to {name}"))
    y = buffers["y"].data.view(kernel.dtype).reshape(kernel.spec.y_shape)
    missing = unwritten(y)
    if kernel.spec.quantized and missing.any():  # any integer may look like poison
        first = y.copy()
        buffers["y"].data[:] = OTHER_POISON
        compute()
        missing = first != y
        y[...] = first
    left = int(missing.sum()) if split is None or len(split[1]) == split[0] else 0
    if left:
        faults.append(Fault(UNWRITTEN, f"{what} left {left} of {y.size} outputs unwritten"))
    return Call(y, tuple(faults), missing)


def unwritten(y: Array) -> NDArray[np.bool_]:
    """Which elements still hold the poison, in y's shape."""
    raw = y.reshape(-1).view(np.uint8).reshape(*y.shape, y.itemsize)
    found: NDArray[np.bool_] = (raw == POISON).all(axis=-1)
    return found


def _filled(array: Array, align: int, placement: Placement) -> Buffer:
    raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    buffer = place(raw.size, align, placement)
    buffer.data[:] = raw
    return buffer


def _poisoned(size: int, align: int, placement: Placement, byte: int) -> Buffer:
    buffer = place(size, align, placement)
    buffer.data[:] = byte
    return buffer


def _same_bytes(data: Bytes, array: Array) -> bool:
    return np.array_equal(data, np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def _stray(what: str, placement: Placement, buffers: dict[str, Buffer]) -> list[Fault]:
    return [
        Fault(OUTSIDE, f"{what} wrote beside {name} (buffer at the {placement} of its pages)")
        for name, buffer in buffers.items()
        if buffer.strayed
    ]
