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
   times stddev, rounded to float32. The bias is zeros.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any

from convgen.errors import Diagnostic, SpecError
from convgen.spec.codes import CODES
from convgen.spec.model import (
    ConvSpec,
    InitWeights,
    Layer,
    NpyWeights,
    NpzWeights,
    WeightLayout,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TERMS = 24
_AXES = {
    WeightLayout.HWIO: (0, 1, 2, 3),
    WeightLayout.OIHW: (3, 2, 0, 1),
    WeightLayout.OHWI: (3, 0, 1, 2),
}


@dataclass(frozen=True, eq=False)
class Weights:
    """float32, C order, read-only. ``w``: ``spec.w_shape``; ``b``: (OC,), None without a bias."""

    w: NDArray[np.float32]
    b: NDArray[np.float32] | None


class _BadArrayError(Exception):
    """One array cannot be used: the rule it breaks and why."""

    def __init__(self, code: str, text: str) -> None:
        assert code in CODES, code
        self.code, self.text = code, text


def load_weights(layer: Layer) -> Weights | None:
    """The weights that the layer bakes in, None when they are given at run time.

    Relative paths start from the spec's folder. Raises ``SpecError`` with all that is wrong.
    """
    match layer.weights:
        case None:
            return None
        case InitWeights(stddev, seed):
            return initial_weights(layer.spec, stddev, seed)
        case NpzWeights(path):
            return _read_both(layer, path, path)
        case NpyWeights(w, b):
            return _read_both(layer, w, b)


def initial_weights(spec: ConvSpec, stddev: float, seed: int) -> Weights:
    """Weights from a normal of ``stddev`` cut at two of them, and zeros as bias."""
    import numpy as np

    shape = (spec.kh, spec.kw, spec.icg, spec.oc)
    count = spec.kh * spec.kw * spec.icg * spec.oc
    hwio = (truncated_normal(count, seed) * stddev).astype(np.float32).reshape(shape)
    w = np.ascontiguousarray(hwio.transpose(_AXES[spec.weight_layout]))
    b = np.zeros(spec.oc, np.float32) if spec.bias else None
    return _frozen(w, b)


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


def _frozen(w: NDArray[np.float32], b: NDArray[np.float32] | None) -> Weights:
    for array in (w, b):
        if array is not None:
            array.setflags(write=False)
    return Weights(w, b)


def _read_both(layer: Layer, w_path: PurePath, b_path: PurePath | None) -> Weights:
    folder = Path(layer.source).parent
    spec = layer.spec
    wanted: list[tuple[str, PurePath, tuple[int, ...]]] = [("w", w_path, spec.w_shape)]
    if spec.bias:
        assert b_path is not None
        wanted.append(("b", b_path, (spec.oc,)))
    found: list[NDArray[np.float32]] = []
    refused: dict[tuple[str, str], None] = {}  # one unreadable .npz is one mistake, not two
    for key, path, shape in wanted:
        try:
            found.append(_read(folder / path, key, shape, spec))
        except _BadArrayError as bad:
            refused[bad.code, f"weights: {bad.text}"] = None
    if isinstance(layer.weights, NpzWeights) and not spec.bias and not refused:
        refused |= _surplus_bias(folder / w_path)
    if refused:
        at = layer.weights_place
        raise SpecError(
            [Diagnostic(layer.source, at.line, at.col, c, t, at.snippet) for c, t in refused]
        )
    return _frozen(found[0], found[1] if spec.bias else None)


def _surplus_bias(path: Path) -> dict[tuple[str, str], None]:
    with zipfile.ZipFile(path) as archive:
        if "b.npy" not in archive.namelist():
            return {}
    text = f"weights: {path} holds `b`, but the layer says `bias: false`: drop one of the two"
    return {("E309", text): None}


def _read(path: Path, key: str, shape: tuple[int, ...], spec: ConvSpec) -> NDArray[np.float32]:
    """One array of ``path``, checked from its header before any of its data is read."""
    where = f"`{key}` in {path}" if path.suffix.lower() == ".npz" else f"{path}"
    with _open(path, key) as file:
        fortran = _check_header(file, where, shape, _axes_of(key, spec))
        return _read_data(file, where, shape, fortran)


def _axes_of(key: str, spec: ConvSpec) -> str:
    if key == "b":
        return "one per filter"
    order = {"H": "KH", "W": "KW", "I": "C/G", "O": "OC"}
    return f"{spec.weight_layout}: {', '.join(order[a] for a in spec.weight_layout)}"


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
                raise _BadArrayError("E304", f"{text}; save it with np.savez(..., {key}={key})")
            with archive.open(f"{key}.npy") as member:
                yield member
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise _damaged(path, str(error)) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        text = f"cannot read {path}: {why}; paths start from the spec's folder"
        raise _BadArrayError("E301", text) from None


def _damaged(where: object, why: str) -> _BadArrayError:
    return _BadArrayError("E303", f"{where} is damaged: {why}; save it again")


def _check_header(file: IO[bytes], where: str, shape: tuple[int, ...], axes: str) -> bool:
    """Refuses all but float32 of ``shape``; leaves the file at its data. True: Fortran order."""
    import numpy as np

    found, fortran, dtype = _header(file, where)
    if dtype.hasobject:
        text = f"{where} holds pickled Python objects, which are never loaded"
        raise _BadArrayError("E305", f"{text}; save it as float32")
    if dtype != np.dtype(np.float32):
        foreign = dtype == np.dtype(np.float32).newbyteorder()
        name = "float32 in foreign byte order" if foreign else str(dtype)[:60]
        text = f"{where} is {name}, it must be float32: nothing is converted silently"
        raise _BadArrayError("E307", f"{text}; save astype(np.float32)")
    if found != shape:
        text = f"{where} has shape {_tuple(found)}, the layer needs {_tuple(shape)}"
        raise _BadArrayError("E306", f"{text}, {axes}")
    return fortran


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


def _read_data(
    file: IO[bytes], where: str, shape: tuple[int, ...], fortran: bool
) -> NDArray[np.float32]:
    import numpy as np

    size = prod(shape) * 4
    data = file.read(size + 1)
    if len(data) != size:
        what = f"only {len(data)} of {size} bytes" if len(data) < size else "bytes after the array"
        raise _damaged(where, what)
    array = np.frombuffer(data, np.float32).reshape(shape, order="F" if fortran else "C")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        at = tuple(int(i) for i in bad[0])
        text = f"{where} holds {array[at]} at {_tuple(at)}"
        more = f", and {len(bad) - 1} more such" if len(bad) > 1 else ""
        raise _BadArrayError("E308", f"{text}{more}: every weight must be finite")
    return np.array(array, order="C")
