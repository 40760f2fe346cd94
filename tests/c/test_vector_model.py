"""The scalar model of the vector operations against the instructions themselves, bit for bit.

What frama-c proves, it proves about the model; this is what carries the proof over. Every
operation of every instruction set this machine has, on random bit patterns, special values and
exact integers. Two things may differ and are left out: which NaN a NaN is (its payload is the
compiler's choice), and the rounding of ``fma``, whose model rounds twice; on operands whose product
is exact the two agree, and only those are compared.
"""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from kernels import GCC, compiled
from numpy.typing import NDArray
from vector_source import COUNT, parts, source, spreads

from convgen.target import TARGETS, VectorIsa, is_foreign
from convgen.target.host import cpu_features
from convgen.target.isa import OPERATIONS, model
from convgen.verify.guard import Placement, place

Floats = NDArray[np.float32]
# Those of other machines are held to it there: tests/tools/test_cross.py.
AT_HOME = [target for target in TARGETS.values() if not is_foreign(target)]
WIDTHS = {f"{isa.name}x{isa.lanes}": isa for target in AT_HOME for isa in target.isas}
ARITHMETIC = ("add", "sub", "mul", "div", "max", "min")


@pytest.fixture(params=WIDTHS)
def isa(request: pytest.FixtureRequest) -> VectorIsa:
    found = WIDTHS[request.param]
    missing = set(found.features) - cpu_features()
    if missing:
        pytest.skip(f"this CPU has no {', '.join(sorted(missing))}")
    return found


@pytest.fixture
def library(isa: VectorIsa) -> ctypes.CDLL:
    files = {"real.c": source(isa, "real"), "model.c": source(model(isa), "model")}
    return ctypes.CDLL(str(compiled("vector", files, GCC)))


def run(library: ctypes.CDLL, side: str, name: str, *operands: Floats) -> NDArray[np.uint32]:
    """The bits that one side makes of the operands."""
    y = np.zeros(COUNT, np.float32)
    a, b, c = (operands * 3)[:3]
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (a, b, c, y)]
    library[f"{side}_{name}"](*pointers, COUNT)
    return y.view(np.uint32)


def alike(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """The same bits, or both NaN."""
    same: NDArray[np.bool_] = (a == b) | (
        np.isnan(a.view(np.float32)) & np.isnan(b.view(np.float32))
    )
    return same


def operands(seed: int) -> tuple[Floats, Floats, Floats]:
    """Random bit patterns (subnormals, huge values, NaNs of all kinds), and every pair of specials.

    The last quarter is ordinary numbers.
    """
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2**32, (3, COUNT), np.uint64).astype(np.uint32)
    values = bits.view(np.float32)
    special = np.array(
        [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3.4e38, -3.4e38, 1e-38],
        np.float32,
    )
    pairs = np.array(np.meshgrid(special, special)).reshape(2, -1)
    values[0, : pairs.shape[1]], values[1, : pairs.shape[1]] = pairs
    ordinary = rng.standard_normal((3, COUNT // 4)).astype(np.float32)
    values[:, -COUNT // 4 :] = ordinary
    return values[0], values[1], values[2]


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic(library: ctypes.CDLL, name: str) -> None:
    a, b, _ = operands(1)
    real, modelled = run(library, "real", name, a, b), run(library, "model", name, a, b)
    wrong = ~alike(real, modelled)
    assert not wrong.any(), f"{name}({a[wrong][0]!r}, {b[wrong][0]!r})"


@pytest.mark.parametrize("name", ["max", "min"])
def test_max_and_min_let_the_second_operand_through(library: ctypes.CDLL, name: str) -> None:
    """a > b ? a : b, literally: a NaN in b comes through, and of two zeros b does."""
    a, b, _ = operands(2)
    keep = np.greater(a, b) if name == "max" else np.less(a, b)
    want = np.where(keep, a.view(np.uint32), b.view(np.uint32))
    for side in ("real", "model"):
        got = run(library, side, name, a, b)
        quiet = np.isnan(b)  # a signalling NaN may come out quiet
        assert (np.isnan(got.view(np.float32)) == np.isnan(want.view(np.float32))).all()
        assert (got[~quiet] == want[~quiet]).all()


def test_fma_where_the_product_is_exact(library: ctypes.CDLL) -> None:
    rng = np.random.default_rng(3)
    a, b = (rng.integers(-4095, 4096, COUNT).astype(np.float32) for _ in range(2))
    c = operands(3)[2]
    real, modelled = run(library, "real", "fma", a, b, c), run(library, "model", "fma", a, b, c)
    assert alike(real, modelled).all()


def test_fma_rounds_once_where_the_instructions_do(library: ctypes.CDLL, isa: VectorIsa) -> None:
    """(1 + e)(1 - e) - 1 is -e*e only if the product is not rounded to 1 first."""
    e = np.float32(2.0**-13)
    a, b, c = (np.full(COUNT, v, np.float32) for v in (1 + e, 1 - e, -1.0))
    got = run(library, "real", "fma", a, b, c).view(np.float32)
    want = -(2.0**-26) if "fmadd" in isa.operation("fma").body else 0.0
    assert (got == want).all()


def test_loads_and_broadcast(library: ctypes.CDLL, isa: VectorIsa) -> None:
    a = operands(4)[0]
    bits = a.view(np.uint32)
    broadcast = np.repeat(bits[:: isa.lanes], isa.lanes)
    for side in ("real", "model"):
        assert (run(library, side, "load", a) == bits).all()
        assert alike(run(library, side, "set1", a), broadcast).all()


def test_spreads_repeat_one_lane_of_each_group(library: ctypes.CDLL, isa: VectorIsa) -> None:
    a = operands(6)[0]
    for name in spreads(isa):
        width, lane = map(int, name.split("_")[1:])
        want = np.repeat(a.view(np.uint32)[lane::width], width)
        for side in ("real", "model"):
            assert alike(run(library, side, name, a), want).all(), (side, name)


def test_joins_take_the_first_lanes_of_one_and_the_rest_of_the_other(
    library: ctypes.CDLL, isa: VectorIsa
) -> None:
    a, b, _ = operands(7)
    for n in parts(isa) if isa.has("join") else ():
        want = b.view(np.uint32).copy()
        want.reshape(-1, isa.lanes)[:, :n] = a.view(np.uint32).reshape(-1, isa.lanes)[:, :n]
        for side in ("real", "model"):
            assert alike(run(library, side, f"join_{n}", a, b), want).all(), (side, n)


def test_every_other_lane_of_two_vectors(library: ctypes.CDLL, isa: VectorIsa) -> None:
    if not isa.has("evens"):
        pytest.skip(f"{isa.name} has no quick way")
    a, b, _ = operands(9)
    lanes = [x.view(np.uint32).reshape(-1, isa.lanes) for x in (a, b)]
    for name, first in (("evens", 0), ("odds", 1)):
        want = np.concatenate([x[:, first::2] for x in lanes], axis=1).reshape(-1)
        for side in ("real", "model"):
            assert alike(run(library, side, name, a, b), want).all(), (side, name)


def test_picks_choose_any_lane_of_two_vectors(library: ctypes.CDLL, isa: VectorIsa) -> None:
    if not isa.has("pick"):
        pytest.skip(f"{isa.name} has no pick")
    a, b, _ = operands(8)
    lanes = np.random.default_rng(8).integers(0, 2 * isa.lanes, (COUNT // isa.lanes, isa.lanes))
    both = np.hstack([v.view(np.uint32).reshape(-1, isa.lanes) for v in (a, b)])
    want = np.take_along_axis(both, lanes, axis=1).reshape(-1)
    for side in ("real", "model"):
        y, table = np.zeros(COUNT, np.float32), lanes.astype(np.int32).reshape(-1)
        arrays = [array.ctypes.data_as(ctypes.c_void_p) for array in (a, b, table, y)]
        library[f"{side}_pick"](*arrays, COUNT)
        assert alike(y.view(np.uint32), want).all(), side


def test_transpose_turns_a_square_and_touches_nothing_else(
    library: ctypes.CDLL, isa: VectorIsa
) -> None:
    if not isa.has("transpose"):
        pytest.skip(f"{isa.name} has no quick way")
    n = isa.lanes
    numbers = np.arange((n - 1) * (n + 3) + n, dtype=np.float32)
    source = place(numbers.nbytes, 4, Placement.END)
    source.data[:] = numbers.view(np.uint8)
    for side in ("real", "model"):
        q = np.full((n, n + 5), -1.0, np.float32)
        call = library[f"{side}_transpose"]
        call.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t] * 2
        call(source.address, n + 3, q.ctypes.data, n + 5)
        want = np.arange(n) + (n + 3) * np.arange(n)[:, None]
        assert (q[:, :n] == want.T).all() and (q[:, n:] == -1).all()


def test_partial_loads_fill_up_with_zeros(library: ctypes.CDLL, isa: VectorIsa) -> None:
    a = operands(5)[0]
    for n in parts(isa):
        want = a.view(np.uint32).copy()
        want.reshape(-1, isa.lanes)[:, n:] = 0
        for side in ("real", "model"):
            assert alike(run(library, side, f"load_part_{n}", a), want).all(), (side, n)


@pytest.mark.parametrize("placement", [Placement.START, Placement.END])
def test_partial_loads_and_stores_touch_nothing_else(
    library: ctypes.CDLL, isa: VectorIsa, placement: Placement
) -> None:
    """Against guard pages: a byte read or written beyond p[n-1] would end this process."""
    whole = np.arange(1, isa.lanes + 1, dtype=np.float32)
    target = np.zeros(isa.lanes, np.float32)
    for n in parts(isa):
        buffer = place(4 * n, 4, placement)
        for side in ("real", "model"):
            buffer.data[:] = 0xFF
            library[f"{side}_store_part_{n}"](
                whole.ctypes.data_as(ctypes.c_void_p), ctypes.c_void_p(buffer.address)
            )
            assert (buffer.data.view(np.float32) == whole[:n]).all()
            assert not buffer.strayed
            library[f"{side}_read_part_{n}"](
                ctypes.c_void_p(buffer.address), target.ctypes.data_as(ctypes.c_void_p)
            )
            assert (target[:n] == whole[:n]).all() and (target[n:] == 0).all()


def test_exp2i_makes_every_power_of_two(library: ctypes.CDLL) -> None:
    n = np.resize(np.arange(-126, 128, dtype=np.float32), COUNT)
    shifted = n + np.float32(1.5 * 2**23)
    for side in ("real", "model"):
        got = run(library, side, "exp2i", shifted).view(np.float32)
        assert (got == np.ldexp(np.float32(1), n.astype(np.int32))).all()


def test_every_operation_is_compared(isa: VectorIsa) -> None:
    compared = {*ARITHMETIC, "fma", "set1", "exp2i", "load", "load_part", "store", "store_part"}
    assert set(OPERATIONS) == compared
    others = ("join", "pick", "evens", "odds", "transpose", "keep")
    optional = {name for name in others if isa.has(name)}
    assert {op.name for op in isa.operations} == {*compared, *spreads(isa), *optional}
