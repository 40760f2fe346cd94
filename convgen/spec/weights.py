"""Baked weights: read from files with every byte accounted for, or drawn by a frozen generator.

The generator, for ``{init: truncated_normal, stddev, seed}``. Its bytes never change: it uses the
raw 64-bit stream of PCG64 (which NumPy keeps stable, as it keeps SeedSequence) and only float64
operations that IEEE 754 rounds exactly, so that neither NumPy's version, nor the CPU, nor a libm
can move a bit. ``Generator.normal`` promises none of that.

1. Take raw numbers r in pairs; u = (r >> 11) * 2^-53 lies in [0, 1).
2. From the first of a pair z = 4u - 2, uniform in [-2, 2). Keep z when the second's u is below
   exp(-z*z/2), summed as a Taylor series of 24 terms in Horner's form (cut where a term is
   below 2^-56). What is kept is a normal cut at 2 sigma: the values beyond are never drawn.
3. Weights are the kept values in the order of HWIO, whatever the layer's ``weight_layout``,
   times stddev, rounded to the layer's float type; of an 8-bit layer divided by the weight scale,
   rounded half to even and cut to int8. The bias is zeros.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any

from convgen.errors import Diagnostic, SpecError
from convgen.spec.codes import CODES
from convgen.spec.elements import ELEMENTS, Element, arrays_of, numpy_dtype, stored, widened
from convgen.spec.layouts import weights_in_layout
from convgen.spec.model import (
    ArrayWeights,
    Calibration,
    ConvSpec,
    DType,
    InitWeights,
    Layer,
    NpyWeights,
    NpzWeights,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TERMS = 24


@dataclass(frozen=True, eq=False)
class Weights:
    """C order, read-only, of the layer's element types. ``w``: ``spec.w_shape``; ``b``: (OC,),
    None without a bias."""

    w: NDArray[Any]
    b: NDArray[Any] | None


class BadArrayError(Exception):
    """One array cannot be used: the rule it breaks and why."""

    def __init__(self, code: str, text: str) -> None:
        assert code in CODES, code
        self.code, self.text = code, text


def load_weights(layer: Layer) -> Weights | None:
    """The weights that the layer bakes in, None when they are given at run time.

    Relative paths start from the spec's folder. A layer still to be calibrated has float32 ones.
    Raises ``SpecError`` with all that is wrong.
    """
    match layer.weights:
        case None:
            return None
        case InitWeights(stddev, seed):
            spec = layer.spec
            if isinstance(layer.quant, Calibration) and spec.quant is None:
                spec = replace(spec, dtype=DType.FLOAT32)
            return initial_weights(spec, stddev, seed)
        case NpzWeights(path):
            return _read_both(layer, path, path)
        case NpyWeights(w, b):
            return _read_both(layer, w, b)
        case ArrayWeights():
            return _given(layer, layer.weights)


def initial_weights(spec: ConvSpec, stddev: float, seed: int) -> Weights:
    """Weights from a normal of ``stddev`` cut at two of them, and zeros as bias."""
    import numpy as np

    shape = (spec.kd * spec.kh, spec.kw, spec.icg, spec.oc)
    count = spec.kh * spec.kw * spec.icg * spec.oc
    real = (truncated_normal(count, seed) * stddev).reshape(shape)
    arrays = arrays_of(spec)
    hwio = stored(real, arrays.w) if arrays.w.is_float else _as_int8(spec, real)
    w = weights_in_layout(spec, hwio)
    b = np.zeros(spec.oc, numpy_dtype(arrays.b)) if spec.bias else None
    return _frozen(w, b)


def _as_int8(spec: ConvSpec, hwio: NDArray[np.float64]) -> NDArray[np.int8]:
    import numpy as np

    assert spec.quant is not None, "scales are read before weights are drawn"
    weight = spec.quant.weight
    places = np.rint(hwio / np.array(weight.scale)) + np.array(weight.zero_point)
    rounded: NDArray[np.int8] = np.clip(places, -128, 127).astype(np.int8)
    return rounded


def truncated_normal(count: int, seed: int) -> NDArray[np.float64]:
    """``count`` values of the standard normal cut at 2; see the top of this file."""
    import numpy as np

    bits = np.random.PCG64(seed)
    kept: list[NDArray[np.float64]] = []
    have = 0
    while have < count:
        pairs = min(2**20, 64 + (count - have) * 7 // 4)  # three in five are kept
        u = (bits.random_raw(2 * pairs) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        z = 4.0 * u[0::2] - 2.0
        x = -0.5 * (z * z)
        density = np.ones_like(x)
        for term in range(_TERMS, 0, -1):
            density = density * (x / term) + 1.0
        kept.append(z[u[1::2] < density])
        have += len(kept[-1])
    return np.concatenate(kept)[:count] if kept else np.empty(0)


def _frozen(w: NDArray[Any], b: NDArray[Any] | None) -> Weights:
    for array in (w, b):
        if array is not None:
            array.setflags(write=False)
    return Weights(w, b)


def _read_both(layer: Layer, w_path: PurePath, b_path: PurePath | None) -> Weights:
    folder = Path(layer.source).parent
    spec = layer.spec
    w_type, b_type = _elements(layer)
    wanted: list[tuple[str, PurePath, Want]] = [
        ("w", w_path, Want(spec.w_shape, w_type, _axes(spec)))
    ]
    if spec.bias:
        assert b_path is not None
        wanted.append(("b", b_path, Want((spec.oc,), b_type, "one per filter")))
    found: list[NDArray[Any]] = []
    refused: dict[tuple[str, str], None] = {}  # one unreadable .npz is one mistake, not two
    for key, path, want in wanted:
        try:
            found.append(read_array(folder / path, key, want))
        except BadArrayError as bad:
            refused[bad.code, f"weights: {bad.text}"] = None
    if isinstance(layer.weights, NpzWeights) and not spec.bias and not refused:
        refused |= _surplus_bias(folder / w_path)
    _refuse(layer, refused)
    return _frozen(found[0], found[1] if spec.bias else None)


def _refuse(layer: Layer, refused: Iterable[tuple[str, str]]) -> None:
    at = layer.weights_place
    found = [Diagnostic(layer.source, at.line, at.col, c, t, at.snippet) for c, t in refused]
    if found:
        raise SpecError(found)


def _given(layer: Layer, arrays: ArrayWeights) -> Weights:
    """Arrays from Python, held against the same rules as those of files."""
    spec = layer.spec
    w_type, b_type = _elements(layer)
    wanted = [("w", arrays.w, Want(spec.w_shape, w_type, _axes(spec)))]
    if spec.bias:
        assert arrays.b is not None, "refused when the spec is read"
        wanted.append(("b", arrays.b, Want((spec.oc,), b_type, "one per filter")))
    found: list[NDArray[Any]] = []
    refused: list[tuple[str, str]] = []
    for key, array, want in wanted:
        where = f"weights: the array `{key}`"
        try:
            _check(array.dtype, array.shape, where, want, "give")
            bits = array.view(numpy_dtype(want.element))
            _check_finite(bits, where, want)
            found.append(bits)
        except BadArrayError as bad:
            refused.append((bad.code, bad.text))
    _refuse(layer, refused)
    return _frozen(found[0], found[1] if spec.bias else None)


def _surplus_bias(path: Path) -> dict[tuple[str, str], None]:
    with zipfile.ZipFile(path) as archive:
        if "b.npy" not in archive.namelist():
            return {}
    text = f"weights: {path} holds `b`, but the layer says `bias: false`: drop one of the two"
    return {("E309", text): None}


@dataclass(frozen=True)
class Want:
    """What an array of a file must be. ``axes`` tells of its shape in a message."""

    shape: tuple[int, ...]
    element: Element
    axes: str


def read_samples(path: Path, spec: ConvSpec) -> NDArray[np.float32]:
    """Sample inputs of a layer: float32, any number of images in its layout, finite.

    Raises ``BadArrayError``.
    """
    with _open(path, "x") as file:
        found, _, _ = _header(file, str(path))
    image = spec.x_shape[1:]
    if len(found) != 4 or found[1:] != image or not found[0]:
        text = f"{path} has shape {_tuple(found)}, samples need (N, {str(image)[1:]}"
        raise BadArrayError("E411", f"{text}, {spec.layout}, at least one image")
    want = Want(found, ELEMENTS["float32"], f"N images, {spec.layout}")
    try:
        samples = read_array(path, "x", want)
    except BadArrayError as bad:
        mine = {"E307": "E411", "E308": "E411"}
        text = bad.text.replace("every weight", "every sample")
        raise BadArrayError(mine.get(bad.code, bad.code), text) from None
    if not samples.any():
        raise BadArrayError("E411", f"{path} holds only zeros, which show no range")
    return samples


def _elements(layer: Layer) -> tuple[Element, Element]:
    if isinstance(layer.quant, Calibration) and layer.spec.quant is None:
        return ELEMENTS["float32"], ELEMENTS["float32"]
    arrays = arrays_of(layer.spec)
    return arrays.w, arrays.b


def read_array(path: Path, key: str, want: Want) -> NDArray[Any]:
    """One array of an .npz, or an .npy, checked from its header before any of its data is read.

    Raises ``BadArrayError``.
    """
    where = f"`{key}` in {path}" if path.suffix.lower() == ".npz" else f"{path}"
    with _open(path, key) as file:
        fortran = _check_header(file, where, want)
        return _read_data(file, where, want, fortran)


def _axes(spec: ConvSpec) -> str:
    into, out = ("C", "OC/G") if spec.transposed else ("C/G", "OC")
    order = {"D": "KD", "H": "KH", "W": "KW", "I": into, "O": out}
    letters = str(spec.weight_layout).replace("HW", "DHW"[3 - spec.rank :])
    return f"{letters}: {', '.join(order[a] for a in letters)}"


@contextmanager
def _open(path: Path, key: str) -> Iterator[IO[bytes]]:
    """The stream of one .npy, by itself or inside an .npz; a damaged container is told as such."""
    try:
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                yield file
            return
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if f"{key}.npy" not in names:
                held = ", ".join(sorted(n.removesuffix(".npy") for n in names)[:8]) or "nothing"
                text = f"{path} has no array `{key}`; it holds {held[:200]}"
                how = f"{key}={key}" if key.isidentifier() else f"**{{'{key}': ...}}"
                raise BadArrayError("E304", f"{text}; save it with np.savez(..., {how})")
            with archive.open(f"{key}.npy") as member:
                yield member
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise _damaged(path, str(error)) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        text = f"cannot read {path}: {why}; paths start from the spec's folder"
        raise BadArrayError("E301", text) from None


def _damaged(where: object, why: str) -> BadArrayError:
    return BadArrayError("E303", f"{where} is damaged: {why}; save it again")


def _check_header(file: IO[bytes], where: str, want: Want) -> bool:
    """Refuses all but the wanted array; leaves the file at its data. True: Fortran order."""
    found, fortran, dtype = _header(file, where)
    _check(dtype, found, where, want, "save")
    return fortran


def _check(dtype: np.dtype[Any], found: tuple[int, ...], where: str, want: Want, verb: str) -> None:
    """Type and shape; ``verb``: what is to be done with a right array."""
    name, wanted = want.element.name, numpy_dtype(want.element)
    if dtype.hasobject:
        text = f"{where} holds pickled Python objects, which are never loaded"
        raise BadArrayError("E305", f"{text}; save it as {name}")
    if dtype != wanted and not (name == "bfloat16" and dtype.str in ("<V2", "|V2")):
        foreign = dtype == wanted.newbyteorder()
        given = f"{name} in foreign byte order" if foreign else str(dtype)[:60]
        text = f"{where} is {given}, it must be {name}: nothing is converted silently"
        if name == "bfloat16":
            raise BadArrayError("E307", f"{text}; {verb} ml_dtypes.bfloat16, or its bits as uint16")
        how = f"{verb} astype(np.{name})" if want.element.is_float else "quantise it with its scale"
        raise BadArrayError("E307", f"{text}; {how}")
    if found != want.shape:
        text = f"{where} has shape {_tuple(found)}, the layer needs {_tuple(want.shape)}"
        raise BadArrayError("E306", f"{text}, {want.axes}")


def _header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    from numpy.lib import format as npy

    try:
        match version := npy.read_magic(file):
            case (1, 0):
                return npy.read_array_header_1_0(file)
            case (2, 0):
                return npy.read_array_header_2_0(file)
    except Exception as error:  # a hostile header makes NumPy's parser raise nearly anything
        raise _damaged(where, (str(error).splitlines() or ["bad header"])[0][:120]) from None
    raise _damaged(where, f"its .npy version is {version[0]}.{version[1]}, not 1.0 or 2.0")


def _tuple(shape: tuple[int, ...]) -> str:
    return str(shape) if len(shape) <= 8 else f"of {len(shape)} axes"


def _read_data(file: IO[bytes], where: str, want: Want, fortran: bool) -> NDArray[Any]:
    import numpy as np

    shape, kind = want.shape, numpy_dtype(want.element)
    size = prod(shape) * want.element.size
    data = file.read(size + 1)
    if len(data) != size:
        what = f"only {len(data)} of {size} bytes" if len(data) < size else "bytes after the array"
        raise _damaged(where, what)
    array = np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")
    _check_finite(array, where, want)
    return np.array(array, order="C")


def _check_finite(array: NDArray[Any], where: str, want: Want) -> None:
    import numpy as np

    numbers = widened(array, want.element)
    bad = np.argwhere(~np.isfinite(numbers))
    if len(bad):
        at = tuple(int(i) for i in bad[0])
        text = f"{where} holds {numbers[at]} at {_tuple(at)}"
        more = f", and {len(bad) - 1} more such" if len(bad) > 1 else ""
        raise BadArrayError("E308", f"{text}{more}: every weight must be finite")
