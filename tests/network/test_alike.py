"""Convolutions of a network that differ in their scales alone are one C function."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from convgen.network import ops
from convgen.network.graph import Builder, Elem, Graph, Quantization
from convgen.network.meaning import evaluate
from convgen.package.disk.result import BuildOptions
from convgen.package.network.build import build_network
from convgen.package.network.program import layers_of, program_of
from convgen.package.network.text import network_files
from convgen.spec.model import Act, Activation
from convgen.target import TARGETS, host_target

RELU = Activation(Act.RELU)
SAME = ((1, 1), (1, 1))
STEPS = 5


def chain(
    zeros: tuple[int, ...] = (-128,) * STEPS, acts: tuple[Activation, ...] = (RELU,) * STEPS
) -> Graph:
    """Five equal 3x3 convolutions of 8 bits but for weights, scales, ``zeros`` and ``acts``."""
    rng = np.random.default_rng(2)
    b = Builder("alike")
    b.input("x", (1, 7, 9, 16), Elem.INT8, Quantization((0.05,), (zeros[0],)))
    last = "x"
    for i in range(STEPS):
        scales = rng.uniform(0.001, 0.01, 16).astype(np.float32)
        quant = Quantization(tuple(scales.tolist()), (0,) * 16, 3)
        w = rng.integers(-127, 128, (3, 3, 16, 16)).astype(np.int8)
        b.constant(f"w{i}", w, quant)
        b.constant(f"b{i}", rng.integers(-900, 900, 16).astype(np.int32))
        out = Quantization((float(np.float32(0.05 + 0.01 * i)),), (zeros[i],))
        conv = ops.Conv((3, 3), (1, 1), SAME, (1, 1), True, acts[i])
        b.node(f"c{i}", conv, (last, f"w{i}", f"b{i}"), quants=[out], dtypes=[Elem.INT8])
        last = f"c{i}"
    return b.finish([last])


def functions(graph: Graph, target: str = "x86-64-avx2") -> list[int]:
    """How many steps each convolution's function computes."""
    program = program_of(graph, TARGETS[target])
    names = [calls[0].function.name for calls in program.calls]
    return sorted(names.count(f.name) for f in program.functions)


@pytest.mark.parametrize("target", ["x86-64-avx2", "x86-64-sse2", "aarch64-neon", "wasm-simd128"])
def test_scales_alone_make_no_function(target: str) -> None:
    assert functions(chain(), target) == [STEPS]
    assert len(layers_of(chain())) == STEPS  # each is tuned, and judged, by itself


def test_what_the_code_knows_makes_one() -> None:
    """The clamp of the output; the input's zero point lies in the packed weights."""
    assert functions(chain(zeros=(-128, -128, 3, 3, 3))) == [2, 3]
    plain = Activation()
    assert functions(chain(zeros=(3,) * STEPS, acts=(RELU, RELU, plain, plain, RELU))) == [2, 3]
    assert functions(chain(acts=(RELU, RELU, plain, plain, RELU))) == [STEPS]


def test_each_step_takes_its_own_scales() -> None:
    text = network_files(program_of(chain(), TARGETS["x86-64-avx2"]))["alike.c"]
    calls = [
        line for line in text.splitlines() if line.strip().endswith(");") and "parts, " in line
    ]
    assert [line.strip().split("parts, ")[1] for line in calls[-STEPS:]] == [
        f"{i});" for i in range(STEPS)
    ]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")
def test_shared_code_computes_every_step(tmp_path: Path) -> None:
    """To the bit, each step and the whole."""
    from convgen.api import import_package

    options = BuildOptions(tmp_path, host_target(), cache_root=tmp_path / "cache")
    result = build_network(chain(), options)
    assert result.report is not None and result.report.max_error == 0
    x = np.random.default_rng(3).integers(-128, 128, (1, 7, 9, 16)).astype(np.int8)
    assert (import_package(result.path).run(x) == evaluate(chain(), {"x": x})["c4"]).all()
