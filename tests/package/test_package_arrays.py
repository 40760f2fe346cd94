"""What the generated package refuses: each array of the threat list, by name."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from built import (
    LAYERS,
    Package,
    arrays,
    needs_cc,
)

pytestmark = needs_cc


GOOD = np.ones((1, 12, 11, 3), np.float32)


def misaligned(shape: tuple[int, ...]) -> Any:
    count = int(np.prod(shape)) * 4
    return np.frombuffer(bytearray(count + 1), np.uint8)[1:].view(np.float32).reshape(shape)


class Subclass(np.ndarray[Any, Any]):
    pass


BAD_ARRAYS = {
    "list": (GOOD.tolist(), TypeError, r"must be a numpy.ndarray, not list; numpy.asarray"),
    "none": (None, TypeError, "must be a numpy.ndarray, not NoneType"),
    "bytes": (GOOD.tobytes(), TypeError, "not bytes"),
    "wrong dtype": (GOOD.astype(np.float64), TypeError, "has dtype float64, expected float32"),
    "int dtype": (GOOD.astype(np.int32), TypeError, "has dtype int32, expected float32"),
    "objects": (GOOD.astype(object), TypeError, "has dtype object"),
    "structured": (GOOD.view([("a", "<f4")]), TypeError, "has dtype"),
    "byte order": (GOOD.astype(">f4"), TypeError, r"other byte order \(>f4\).*astype"),
    "3-D": (GOOD[0], ValueError, r"shape \(12, 11, 3\), expected \(1, 12, 11, 3\): pass x\[None\]"),
    "5-D": (GOOD[None], ValueError, r"expected \(1, 12, 11, 3\)"),
    "wrong shape": (np.ones((1, 11, 12, 3), np.float32), ValueError, r"has shape \(1, 11, 12, 3\)"),
    "wrong batch": (np.ones((2, 12, 11, 3), np.float32), ValueError, r"has shape \(2, 12, 11, 3\)"),
    "zero size": (GOOD[:0], ValueError, r"\(no element at all\), expected"),
    "fortran order": (np.asfortranarray(GOOD), ValueError, "not C-contiguous.*ascontiguousarray"),
    "strided": (np.ones((1, 12, 22, 3), np.float32)[:, :, ::2], ValueError, "not C-contiguous"),
    "reversed": (GOOD[:, ::-1], ValueError, "not C-contiguous"),
    "broadcast": (np.broadcast_to(np.float32(1), GOOD.shape), ValueError, "not C-contiguous"),
    "misaligned": (misaligned(GOOD.shape), ValueError, "not a multiple of 4 bytes"),
    "masked": (np.ma.masked_array(GOOD), TypeError, "is a MaskedArray.*numpy.asarray"),
    "subclass": (GOOD.view(Subclass), TypeError, "is a Subclass"),
}


@pytest.mark.parametrize("case", sorted(BAD_ARRAYS))
def test_threat_array(layer: ModuleType, case: str) -> None:
    bad, error, message = BAD_ARRAYS[case]
    _, w, b = arrays(LAYERS["layer"].spec)
    packed = layer.pack(w, b)
    for call in (
        lambda: layer.conv(bad, w, b),
        lambda: layer.run(bad, packed),
        lambda: layer.bind(bad, packed),
    ):
        with pytest.raises(error, match=f"layer: x .*{message}"):
            call()


OUT_SHAPE = (1, 12, 11, 10)


BAD_OUTS = {
    "wrong dtype": (np.empty(OUT_SHAPE), TypeError, "out has dtype float64"),
    "wrong shape": (
        np.empty((1, 12, 11, 9), np.float32),
        ValueError,
        r"expected \(1, 12, 11, 10\)",
    ),
    "3-D": (np.empty(OUT_SHAPE[1:], np.float32), ValueError, r"pass out\[None\]"),
    "fortran order": (np.empty(OUT_SHAPE, np.float32, "F"), ValueError, "not C-contiguous"),
    "misaligned": (misaligned(OUT_SHAPE), ValueError, "not a multiple"),
    "byte order": (np.empty(OUT_SHAPE, ">f4"), TypeError, "byte order"),
    "list": ([1.0], TypeError, "must be a numpy.ndarray"),
    "masked": (np.ma.empty(OUT_SHAPE, np.float32), TypeError, "MaskedArray"),
}


@pytest.mark.parametrize("case", sorted(BAD_OUTS))
def test_threat_out(layer: ModuleType, case: str) -> None:
    bad, error, message = BAD_OUTS[case]
    x, w, b = arrays(LAYERS["layer"].spec)
    packed = layer.pack(w, b)
    for call in (
        lambda: layer.conv(x, w, b, out=bad),
        lambda: layer.run(x, packed, out=bad),
        lambda: layer.bind(x, packed, out=bad),
    ):
        with pytest.raises(error, match=message):
            call()


def test_threat_read_only_out(layer: ModuleType) -> None:
    x, w, b = arrays(LAYERS["layer"].spec)
    out = np.zeros(OUT_SHAPE, np.float32)
    out.flags.writeable = False
    packed = layer.pack(w, b)
    for call in (
        lambda: layer.conv(x, w, b, out=out),
        lambda: layer.run(x, packed, out=out),
        lambda: layer.bind(x, packed, out=out),
    ):
        with pytest.raises(ValueError, match="layer: out is read-only"):
            call()
    assert not out.any()


def overlapping(shift: int) -> tuple[Any, Any]:
    """x and out in one block; out begins ``shift`` elements after x."""
    x_size, y_size = 12 * 11 * 3, 12 * 11 * 10
    room = np.zeros(x_size + 2 * y_size, np.float32)
    x = room[y_size : y_size + x_size].reshape(GOOD.shape)
    out = room[y_size + shift :][:y_size].reshape(OUT_SHAPE)
    return x, out


@pytest.mark.parametrize("shift", [0, 1, 12 * 11 * 3 - 1, -1, 1 - 12 * 11 * 10])
def test_threat_overlap(layer: ModuleType, shift: int) -> None:
    x, out = overlapping(shift)
    _, w, b = arrays(LAYERS["layer"].spec)
    packed = layer.pack(w, b)
    for call in (
        lambda: layer.run(x, packed, out=out),
        lambda: layer.run(x, packed, out=out, threads=2),
        lambda: layer.conv(x, w, b, out=out),
        lambda: layer.bind(x, packed, out=out),
    ):
        with pytest.raises(ValueError, match="out overlaps x"):
            call()
    assert not out.any()  # refused before anything was written


@pytest.mark.parametrize("shift", [12 * 11 * 3, -12 * 11 * 10])
def test_neighbours_do_not_overlap(layer: ModuleType, shift: int) -> None:
    x, out = overlapping(shift)
    _, w, b = arrays(LAYERS["layer"].spec)
    x[:] = 1
    assert np.array_equal(layer.run(x, layer.pack(w, b), out=out), layer.conv(GOOD, w, b))


def test_threat_out_overlaps_the_weights(layer: ModuleType) -> None:
    x, w, b = arrays(LAYERS["layer"].spec)
    room = np.zeros(5000, np.float32)
    w_in = room[: w.size].reshape(w.shape)
    b_in = room[2000:2010]
    with pytest.raises(ValueError, match="out overlaps w"):
        layer.conv(x, w_in, b, out=room[700 : 700 + 1320].reshape(OUT_SHAPE))
    with pytest.raises(ValueError, match="out overlaps b"):
        layer.conv(x, w, b_in, out=room[1000 : 1000 + 1320].reshape(OUT_SHAPE))


def test_weights_are_checked_like_x(layer: ModuleType) -> None:
    x, w, b = arrays(LAYERS["layer"].spec)
    for bad_w, message in (
        (w.astype(np.float64), "w has dtype float64"),
        (w[..., :-1], r"w has shape \(5, 5, 3, 9\), expected \(5, 5, 3, 10\)"),
        (np.asfortranarray(w), "w is not C-contiguous"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            layer.conv(x, bad_w, b)
    for bad_b, message in (
        (None, r"b is missing; the layer has a bias of shape \(10,\)"),
        (b[:9], r"b has shape \(9,\), expected \(10,\)"),
        (b[:, None], r"b has shape \(10, 1\)"),
        (b[::-1], "b is not C-contiguous"),
        (0.5, "b must be a numpy.ndarray, not float"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            layer.pack(w, bad_b)


def test_bias_for_a_layer_without(package: Package) -> None:
    x, w, _ = arrays(LAYERS["plain"].spec)
    with pytest.raises(TypeError, match="the layer has no bias"):
        package("plain").conv(x, w, np.zeros(4, np.float32))


@pytest.mark.parametrize("threads", [0, -1, 1025, 10**30])
def test_threads_out_of_range(layer: ModuleType, threads: int) -> None:
    x, w, b = arrays(LAYERS["layer"].spec)
    with pytest.raises(ValueError, match=rf"threads is {threads}, it must lie in 1\.\.1024"):
        layer.conv(x, w, b, threads=threads)


@pytest.mark.parametrize("threads", [2.0, "2", True, None])
def test_threads_of_another_type(layer: ModuleType, threads: Any) -> None:
    x, w, b = arrays(LAYERS["layer"].spec)
    with pytest.raises(TypeError, match="threads must be an int"):
        layer.conv(x, w, b, threads=threads)


def test_what_is_close_enough_is_taken(layer: ModuleType, tmp_path: Path) -> None:
    """A file mapping, an equal dtype object, a NumPy int and a size-1 axis with any stride."""
    x, w, b = arrays(LAYERS["layer"].spec)
    want, packed = layer.conv(x, w, b), layer.pack(w, b)
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=x.shape)
    mapped[:] = x
    assert np.array_equal(layer.run(mapped, packed, threads=np.int64(2)), want)
    out = np.memmap(tmp_path / "y", np.float32, "w+", shape=want.shape)
    assert layer.run(x, packed, out=out) is out
    assert np.array_equal(out, want)
    other = x.view(np.dtype("f4", metadata={"unit": "lux"}))
    assert other.dtype is not x.dtype
    assert np.array_equal(layer.run(other, packed), want)
    odd = np.lib.stride_tricks.as_strided(x, x.shape, (12345 * 4, *x.strides[1:]))
    assert np.array_equal(layer.run(odd, packed), want)
