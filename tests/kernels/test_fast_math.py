"""-ffast-math and -Ofast: values hold; what NaN and infinity mean is all that is given up.

Objects are compiled with the flags and linked without them: linked with them, gcc's start-up code
would set this process's own registers to flush subnormal numbers.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from edge_layers import ACTIVATIONS, EDGES, layer
from kernels import Part, Way, needs, planned, target_of
from quant_layers import random_layer

from convgen.oracle.floats import Points, values
from convgen.plan.kernel import KernelPlan
from convgen.render.source import render_c
from convgen.spec.elements import ELEMENTS, numpy_dtype, packed_element, stored
from convgen.spec.model import ConvSpec, DType
from convgen.spec.quant import Rounding
from convgen.verify import verify_plan_in_child
from convgen.verify.bound import judge_bounded
from convgen.verify.fills import Fill

CHANNELS = 16
FLAGS = {"gcc": ("-Ofast",), "clang": ("-O2", "-ffast-math")}
BODIES = {
    "plain": ("plain", Part.PLAIN),  # C99, a number at a time
    "generic": ("plain", Part.OWN),  # GNU C's vectors
    "model": ("avx2", Part.MODEL),
    "sse2": ("sse2", Part.OWN),
    "avx2": ("avx2", Part.OWN),
    "avx512": ("avx512", Part.OWN),
}
each_compiler = pytest.mark.parametrize("cc", FLAGS)


def fast(plan: KernelPlan, cc: str, part: Part, folder: Path) -> Path:
    """The layer's shared library, compiled so that floats may be reassociated."""
    name, way = plan.spec.name, Way(cc, part, FLAGS[cc])
    files = render_c(plan)
    made = folder / hashlib.sha256(repr((sorted(files.items()), way)).encode()).hexdigest()[:16]
    made.mkdir()
    for file, text in files.items():
        (made / file).write_text(text, encoding="utf-8")
    # clang warns that infinity is used under these flags, which is what they give up.
    command = [word for word in way.command(name) if word != "-Werror"]
    link = [cc, "-shared", f"{name}.o", "-o", "k.so"]
    for step in ([*command, "-fPIC", "-c", f"{name}.c"], link):
        done = subprocess.run(step, cwd=made, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    return made / "k.so"


def arguments(dtype: DType) -> np.ndarray:
    """Dense where activations bend, every magnitude beyond, and the ends of clamped ranges."""
    top = {DType.FLOAT16: 4.81, DType.FLOAT64: 308.2}.get(dtype, 38.52)
    low = {DType.FLOAT16: -4.0, DType.FLOAT64: -290.0}.get(dtype, -37.0)
    sizes = np.logspace(low, top, 1500)
    ends = np.array([1, 3, 3.925, 6, 9, 20, 87, 88, 100, 104, 708, 720])
    found = np.concatenate([np.linspace(-40, 40, 9001), sizes, -sizes, ends, -ends])
    return np.resize(found, -(-len(found) // CHANNELS) * CHANNELS)


def through(act: str, dtype: DType, body: str, cc: str, folder: Path) -> None:
    """A depthwise 1x1 layer of ones passes its input to the activation: hold it to its bound."""
    isa, part = BODIES[body]
    needs(isa, Way(cc, part))
    x = arguments(dtype) / max(1.0, ACTIVATIONS[act].alpha)  # a steep slope overflows by itself
    spec = ConvSpec(
        name="unit", h=len(x) // CHANNELS, w=1, c=CHANNELS, oc=CHANNELS, kh=1, kw=1,
        groups=CHANNELS, bias=False, activation=ACTIVATIONS[act], dtype=dtype,
    )  # fmt: skip
    plan = planned(spec, target_of(isa))
    library = ctypes.CDLL(str(fast(plan, cc, part, folder)))
    element = ELEMENTS[dtype]
    fill = Fill(
        stored(x, element).reshape(spec.x_shape), stored(np.ones(spec.w_shape), element), None
    )
    size = plan.packed_bytes // packed_element(spec).size
    packed = np.zeros(size, numpy_dtype(packed_element(spec)))
    y = np.empty(spec.y_shape, numpy_dtype(element))
    library.unit_pack(_at(fill.w), None, _at(packed))
    library.unit_run(_at(fill.x), _at(packed), _at(y), None)
    assert np.isfinite(values(spec, y)).all()
    verdict = judge_bounded(spec, fill, y, Points.every(spec, 1))
    assert verdict.passed, f"{act} of {dtype}, {body}, {cc}: {verdict.detail}"


def _at(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


SMOOTH = ("sigmoid", "silu", "tanh", "gelu", "gelu_tanh", "hardswish")
INTRINSICS = ("sse2", "avx2", "avx512")  # compilers see less of what these do


@each_compiler
@pytest.mark.parametrize(
    ("act", "body"),
    [(a, b) for a in SMOOTH for b in BODIES if b not in INTRINSICS or a in ("silu", "gelu")],
)
def test_activations(act: str, body: str, cc: str, tmp_path: Path) -> None:
    through(act, DType.FLOAT32, body, cc, tmp_path)


@each_compiler
@pytest.mark.parametrize("act", [a for a in ACTIVATIONS if "relu" in a or "clip" in a])
def test_clamps(act: str, cc: str, tmp_path: Path) -> None:
    for body in ("plain", "generic", "model"):
        through(act, DType.FLOAT32, body, cc, tmp_path)


@each_compiler
@pytest.mark.parametrize("body", ["plain", "generic", "model", "avx2"])
@pytest.mark.parametrize("dtype", [DType.FLOAT64, DType.FLOAT16, DType.BFLOAT16])
def test_dtypes(dtype: DType, body: str, cc: str, tmp_path: Path) -> None:
    for act in SMOOTH if dtype is DType.FLOAT64 and body != "model" else ("silu", "gelu"):
        through(act, dtype, body, cc, tmp_path)


LAYERS = {
    "dense": layer("9x11x5", 18, "3x3", "1 1 1 1", activation=ACTIVATIONS["silu"]),
    "depthwise": EDGES["depthwise_wide"],
    "planar": layer("40x67x3", 3, "5x5", "2 2 2 2"),
}


@each_compiler
@pytest.mark.parametrize("body", ["plain", "generic", "model", "avx2"])
@pytest.mark.parametrize("name", LAYERS)
def test_whole_kernels(name: str, body: str, cc: str, tmp_path: Path) -> None:
    """Every check of a build but those of NaN and infinity."""
    ladder(LAYERS[name], body, cc, tmp_path)


@each_compiler
@pytest.mark.parametrize("body", ["plain", "model", "avx512"])
@pytest.mark.parametrize("rounding", list(Rounding))
def test_eight_bits_to_the_bit(rounding: Rounding, body: str, cc: str, tmp_path: Path) -> None:
    for seed in (1, 2):
        ladder(random_layer(seed, rounding).spec, body, cc, tmp_path / str(seed))


def ladder(spec: ConvSpec, body: str, cc: str, folder: Path) -> None:
    isa, part = BODIES[body]
    needs(isa, Way(cc, part))
    folder.mkdir(exist_ok=True)
    plan = planned(spec, target_of(isa))
    report = verify_plan_in_child(fast(plan, cc, part, folder), plan)
    failed = [f"{c.name}: {c.detail}" for c in report.failures if c.name not in GIVEN_UP]
    assert not failed, "; ".join(failed)
    assert len(report.checks) > 6


GIVEN_UP = {"non-finite"}


def test_there_is_a_compiler() -> None:
    if not any(map(shutil.which, FLAGS)):
        pytest.skip("neither gcc nor clang is here")
