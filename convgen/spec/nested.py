"""Readers of the keys whose value may be a map: padding, activation, weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from convgen.spec.forms import (
    MAX_SEED,
    MAX_STEP,
    Sizes,
    choice,
    file_path,
    number,
    sizes,
    whole,
)
from convgen.spec.model import (
    Act,
    Activation,
    ArrayWeights,
    InitWeights,
    NpyWeights,
    NpzWeights,
    Padding,
    WeightSource,
)
from convgen.spec.reading import Map, Mistake, Mistakes, Place, read_by
from convgen.spec.scalars import disputed, show

if TYPE_CHECKING:
    from numpy.typing import NDArray


class PadMode(StrEnum):
    """Paddings that fix the output's size by definition."""

    SAME = "same"
    SAME_LOWER = "same_lower"
    VALID = "valid"


class ActKind(StrEnum):
    """The activations as the spec names them."""

    NONE = "none"
    RELU = "relu"
    RELU6 = "relu6"
    LEAKY_RELU = "leaky_relu"
    CLIP = "clip"
    SIGMOID = "sigmoid"
    TANH = "tanh"
    SILU = "silu"
    HARDSWISH = "hardswish"
    GELU = "gelu"


class _Approximate(StrEnum):
    NONE = "none"
    TANH = "tanh"


class _Init(StrEnum):
    TRUNCATED_NORMAL = "truncated_normal"


_PARAMETERS = {
    ActKind.LEAKY_RELU: ("alpha",),
    ActKind.CLIP: ("min", "max"),
    ActKind.GELU: ("approximate",),
}
_OTHER_NAMES = {
    "clamp": "{kind: clip, min: 0, max: 6}",
    "gelu_tanh": "{kind: gelu, approximate: tanh}",
    "hard_swish": "hardswish",
    "identity": "none",
    "leakyrelu": "leaky_relu",
    "linear": "none",
    "swish": "silu",
}
_SIDES = "{top: 1, left: 1, bottom: 1, right: 1}"
_BARE = {
    4: ("four", _SIDES),
    6: ("six", "{front: 1, top: 1, left: 1, back: 1, bottom: 1, right: 1}"),
}
_NPZ = "write one .npz file, or {w: w.npy, b: b.npy}, or {init: truncated_normal, stddev: 0.1}"


_side = partial(whole, low=0, high=MAX_STEP)


class _PaddingMap(Map):
    top: int = read_by(_side, 0)
    left: int = read_by(_side, 0)
    bottom: int = read_by(_side, 0)
    right: int = read_by(_side, 0)
    front: int = read_by(_side, 0)
    back: int = read_by(_side, 0)


def padding(value: object) -> Padding | PadMode | Sizes:
    """``2``, ``[h, w]``, ``{top, left, bottom, right}`` (0 where left out), or a mode's name."""
    match value:
        case str() if value[:1].isalpha() and not disputed(value):
            return choice(value, PadMode, f", nor a number, [h, w] or {_SIDES}", "padding")
        case dict() if not value:
            raise Mistake("E119", f"an empty map; write {_SIDES}, or less of it")
        case dict():
            sides = _PaddingMap.read(value)
            return Padding(
                sides.top, sides.left, sides.bottom, sides.right, sides.front, sides.back
            )
        case list() if len(value) in _BARE:
            text = "numbers in a row mean different sides in ONNX, TensorFlow and PyTorch"
            word, sides_form = _BARE[len(value)]
            raise Mistake("E118", f"{word} {text}; name them: {sides_form}")
    return sizes(value, 0)


def _act_kind(value: object) -> ActKind:
    if isinstance(value, str) and (ours := _OTHER_NAMES.get(value.lower())):
        raise Mistake("E120", f"{show(value)} is called `{ours}` here")
    return choice(value, ActKind, key="activation")


class _ActivationMap(Map):
    """Parameters that were left out are None."""

    kind: ActKind = read_by(_act_kind)
    alpha: float | None = read_by(number, None)
    min: float | None = read_by(number, None)
    max: float | None = read_by(number, None)
    approximate: _Approximate | None = read_by(partial(choice, kind=_Approximate), None)


def activation(value: object) -> Activation:
    """``relu``, or ``{kind: relu}`` with the parameters of that kind."""
    match value:
        case dict():
            return _activation_of(_ActivationMap.read(value))
        case list():
            raise Mistake("E119", "a list does not belong here; write relu, or {kind: relu}")
    return _activation_of(_ActivationMap.read({"kind": _act_kind(value)}))


def _activation_of(a: _ActivationMap) -> Activation:
    own = _PARAMETERS.get(a.kind, ())
    strangers: list[tuple[Place, Mistake]] = [
        ((name,), Mistake("E122", f"`{name}` is no parameter of {a.kind}; remove it"))
        for name in ("alpha", "min", "max", "approximate")
        if name in a.given and name not in own
    ]
    if strangers:
        raise Mistakes(strangers)
    match a.kind:
        case ActKind.LEAKY_RELU if a.alpha is not None:
            return Activation(Act.LEAKY_RELU, alpha=a.alpha)
        case ActKind.CLIP:
            return _clip(a.min, a.max)
        case ActKind.GELU if a.approximate is _Approximate.TANH:
            return Activation(Act.GELU_TANH)
        case kind:
            return Activation(Act(kind.value))


def _clip(low: float | None, high: float | None) -> Activation:
    if low is None and high is None:
        raise Mistake("E123", "clip needs a limit: {kind: clip, min: 0, max: 6}, or one of the two")
    if low is not None and high is not None and low >= high:
        raise Mistake("E123", f"clip's min {low!r} must lie below its max {high!r}")
    return Activation(Act.CLIP, low=low, high=high)


def _npy(value: object) -> PurePath:
    return file_path(value, ".npy", "w and b are .npy files; `weights: FILE.npz` holds both")


def _stddev(value: object) -> float:
    stddev = number(value)
    if not 1e-30 <= stddev <= 1e6:
        raise Mistake("E115", f"{show(value)} is out of range: stddev lies in 1e-30..1e6")
    return stddev


def _array(value: object) -> NDArray[Any]:
    """A copy of an array in C order, so that what is changed afterwards changes nothing here."""
    import numpy as np

    if not hasattr(value, "__array__"):
        raise Mistake("E119", f"{show(value)} is no array; give both as arrays, or both as files")
    try:
        array = np.array(value, order="C")
    except Exception as error:  # whatever another library's tensor raises
        raise Mistake("E119", f"it does not become a NumPy array: {error}") from None
    array.setflags(write=False)
    return array


class _NpyMap(Map):
    w: PurePath = read_by(_npy)
    b: PurePath | None = read_by(_npy, None)


class _InitMap(Map):
    init: _Init = read_by(partial(choice, kind=_Init))
    stddev: float = read_by(_stddev)
    seed: int = read_by(partial(whole, low=0, high=MAX_SEED), 0)


class _ArrayMap(Map):
    w: NDArray[Any] = read_by(_array)
    b: NDArray[Any] | None = read_by(_array, None)


def _arrays(value: Mapping[str, Any]) -> ArrayWeights:
    given = _ArrayMap.read(value)
    digest = hashlib.sha256()
    for array in (given.w, given.b):
        if array is None:
            continue
        digest.update(f"{array.dtype.str} {array.shape}\0".encode())
        digest.update(array.tobytes())
    return ArrayWeights(given.w, given.b, digest.hexdigest())


def weights(value: object) -> WeightSource:
    """``w.npz``, ``{w: w.npy, b: b.npy}`` or ``{init: truncated_normal, stddev, seed}``; from
    Python ``{"w": array, "b": array}`` as well."""
    if not isinstance(value, dict):
        return NpzWeights(file_path(value, ".npz", _NPZ))
    if {"w", "b"} & value.keys() and "init" in value:
        raise Mistake("E119", "they are read or drawn, not both: keep w and b, or keep init")
    if any(hasattr(value.get(name), "__array__") for name in ("w", "b")):
        return _arrays(value)
    if "w" in value or "b" in value:
        files = _NpyMap.read(value)
        return NpyWeights(files.w, files.b)
    if not value:
        raise Mistake("E119", f"an empty map; {_NPZ}")
    init = _InitMap.read(value)
    return InitWeights(init.stddev, init.seed)
