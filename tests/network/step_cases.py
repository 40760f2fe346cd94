"""One-step cases of a network's kernels: operators, arrays, strides and meanings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from step_kernels import Case

from convgen.network import ops
from convgen.network.graph import Elem, Quantization
from convgen.spec.model import Act, Activation

RNG = np.random.default_rng(20)
Array = NDArray[Any]
I8 = Elem.INT8
B, R, A = ops.BinaryFn, ops.ReduceFn, Activation
U, LINEAR = ops.UnaryFn, ops.ResizeMode.LINEAR
HALF = ((1, 1), (1, 1))
NONE = ((0, 0), (0, 0))


def real(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def eight(*shape: int) -> Array:
    return RNG.integers(-128, 128, shape).astype(np.int8)


def quant(scale: float, zero: int = 0) -> Quantization:
    return Quantization((float(np.float32(scale)),), (zero,))


FLOATS = {
    "add relu": Case(ops.Binary(B.ADD, A(Act.RELU)), (real(5000), real(5000)), (5000,)),
    "add chunks": Case(ops.Binary(B.ADD), (real(2048), real(2048)), (2048,)),
    "mul by channel": Case(ops.Binary(B.MUL), (real(7, 19),) * 2, (7, 19), strides=(None, (0, 1))),
    "sub by pixel": Case(ops.Binary(B.SUB), (real(7, 19),) * 2, (7, 19), strides=(None, (1, 0))),
    "add turned": Case(ops.Binary(B.ADD), (real(9, 21),) * 2, (9, 21), strides=(None, (1, 9))),
    "div by one": Case(ops.Binary(B.DIV), (real(13), real(13)), (13,), strides=(None, (0,))),
    "max": Case(ops.Binary(B.MAX), (real(2, 3),) * 2, (2, 3), strides=(None, (0, 1))),
    "min into a wider buffer": Case(
        ops.Binary(B.MIN), (real(4, 9),) * 2, (4, 9), strides=(None, None, (9, 1))
    ),
    "silu": Case(ops.Activate(A(Act.SILU)), (real(333),), (333,)),
    "clip": Case(ops.Activate(A(Act.CLIP, low=-0.5)), (real(333),), (333,)),
    "gelu": Case(ops.Activate(A(Act.GELU)), (real(31),), (31,)),
    "prelu": Case(ops.PRelu(), (real(6, 40),) * 2, (6, 40), strides=(None, (0, 1))),
    "maxpool": Case(
        ops.MaxPool((3, 3), (2, 2), HALF, (1, 1), True), (real(2, 9, 11, 40),), (2, 5, 6, 40)
    ),
    "maxpool dilated": Case(
        ops.MaxPool((2, 2), (1, 1), HALF, (2, 2), True), (real(1, 6, 5, 3),), (1, 6, 5, 3)
    ),
    "avgpool": Case(
        ops.AvgPool((3, 3), (1, 1), HALF, (1, 1), True), (real(1, 9, 11, 7),), (1, 9, 11, 7)
    ),
    "avgpool padded": Case(
        ops.AvgPool((3, 3), (2, 2), HALF, (1, 1), True, include_pad=True),
        (real(1, 8, 8, 7),),
        (1, 4, 4, 7),
    ),
    "avgpool ceil": Case(
        ops.AvgPool((3, 3), (2, 2), NONE, (1, 1), True, ceil=True, include_pad=True),
        (real(1, 6, 6, 5),),
        (1, 3, 3, 5),
    ),
    "avgpool whole": Case(
        ops.AvgPool((8, 8), (1, 1), NONE, (1, 1), True), (real(1, 8, 8, 64),), (1, 1, 1, 64)
    ),
    "mean of pixels": Case(ops.Reduce(R.MEAN, (1, 2)), (real(1, 7, 7, 200),), (1, 1, 1, 200)),
    "max of pixels": Case(ops.Reduce(R.MAX, (1, 2)), (real(3, 7, 7, 35),), (3, 1, 1, 35)),
    "mean of rows": Case(ops.Reduce(R.MEAN, (1,)), (real(30, 49),), (30, 1)),
    "sum of all": Case(ops.Reduce(R.SUM, (0,)), (real(30, 1),), (1, 1)),
    "min apart": Case(ops.Reduce(R.MIN, (1,)), (real(3, 5),), (3, 1), strides=((1, 3), None)),
    "abs": Case(ops.Unary(U.ABS), (real(40),), (40,)),
    "square": Case(ops.Unary(U.SQUARE), (real(40),), (40,)),
    "reciprocal": Case(ops.Unary(U.RECIPROCAL), (real(40),), (40,)),
    "exp": Case(ops.Unary(U.EXP), (real(40) * 20,), (40,)),
    "elu": Case(ops.Unary(U.ELU, alpha=0.7), (real(500) * 3,), (500,)),
    "selu": Case(ops.Unary(U.SELU, alpha=1.67, gamma=1.05), (real(50) * 3,), (50,)),
    "hard_sigmoid": Case(ops.Unary(U.HARD_SIGMOID, alpha=0.2, beta=0.5), (real(50) * 3,), (50,)),
    "resize linear": Case(
        ops.Resize((2, 9, 7, 11), mode=LINEAR), (real(2, 4, 5, 11),), (2, 9, 7, 11)
    ),
    "resize corners": Case(
        ops.Resize((1, 3, 10, 8), mode=LINEAR, coordinates=ops.Coordinates.ALIGN_CORNERS),
        (real(1, 6, 5, 8),),
        (1, 3, 10, 8),
    ),
    "resize planes": Case(ops.Resize((3, 9, 7), mode=LINEAR), (real(3, 4, 5),), (3, 9, 7)),
    "resize nearest": Case(ops.Resize((1, 7, 5, 4)), (real(1, 3, 4, 4),), (1, 7, 5, 4)),
    "resize down": Case(
        ops.Resize((1, 2, 3, 4), coordinates=ops.Coordinates.ASYMMETRIC, nearest=ops.Nearest.FLOOR),
        (real(1, 5, 7, 4),),
        (1, 2, 3, 4),
    ),
    "lrn": Case(ops.LocalResponseNorm(5, 0.9, 0.75, 1.0, -1), (real(3, 30),), (3, 30)),
    "lrn even, apart": Case(ops.LocalResponseNorm(4, 0.5, 0.5, 2.0, 0), (real(6, 3),), (6, 3)),
    "lrn wide": Case(ops.LocalResponseNorm(9, 0.5, 0.5, 2.0, -1), (real(2, 5),), (2, 5)),
    "transposed": Case(
        ops.ConvTransposed((3, 3), (2, 2), ((1, 0), (1, 1)), (1, 1), True, A(Act.RELU)),
        (real(2, 5, 6, 7),),
        (2, 10, 11, 19),
        constants=((real(3, 3, 7, 19), None), (real(19), None)),
    ),
    "transposed far apart": Case(
        ops.ConvTransposed((2, 2), (3, 3), NONE, (1, 1), True),
        (real(1, 4, 9, 5),),
        (1, 11, 26, 40),
        constants=((real(2, 2, 5, 40), None),),
    ),
    "transposed groups": Case(
        ops.ConvTransposed((4, 4), (2, 2), HALF, (1, 1), True, groups=2),
        (real(1, 4, 12, 6),),
        (1, 8, 24, 8),
        constants=((real(4, 4, 3, 8), None), (real(8), None)),
    ),
    "transposed dilated": Case(
        ops.ConvTransposed((3, 3), (2, 1), HALF, (2, 2), True, output_padding=(1, 0)),
        (real(1, 4, 5, 3),),
        (1, 10, 7, 4),
        constants=((real(3, 3, 3, 4), None),),
    ),
    "softmax": Case(ops.Softmax(-1), (real(3, 10),), (3, 10)),
    "softmax long": Case(ops.Softmax(-1, beta=2.0), (real(1, 1000),), (1, 1000)),
    "softmax across": Case(ops.Softmax(1), (real(2, 5, 37),), (2, 5, 37)),
    "softmax of far numbers": Case(ops.Softmax(-1), (real(4, 40) * 300,), (4, 40)),
}

INTEGERS = {
    "add relu": Case(
        ops.Binary(B.ADD, A(Act.RELU)),
        (eight(5000),) * 2,
        (5000,),
        I8,
        quants=(quant(0.11, 3), quant(0.05, -7), quant(0.13, -128)),
    ),
    "add by channel": Case(
        ops.Binary(B.ADD),
        (eight(9, 70),) * 2,
        (9, 70),
        I8,
        strides=(None, (0, 1)),
        quants=(quant(0.011, 3), quant(0.5, -7), quant(0.3)),
    ),
    "sub": Case(
        ops.Binary(B.SUB),
        (eight(700),) * 2,
        (700,),
        I8,
        quants=(quant(0.011, 3), quant(0.5, -7), quant(0.3)),
    ),
    "mul relu6": Case(
        ops.Binary(B.MUL, A(Act.RELU6)),
        (eight(700),) * 2,
        (700,),
        I8,
        quants=(quant(0.011, 3), quant(0.5, -7), quant(0.3)),
    ),
    "max": Case(ops.Binary(B.MAX), (eight(700),) * 2, (700,), I8, quants=(quant(0.1, 3),) * 3),
    "prelu": Case(
        ops.PRelu(),
        (eight(10, 70),) * 2,
        (10, 70),
        I8,
        strides=(None, (0, 1)),
        quants=(quant(0.011, 3), quant(0.02, -7), quant(0.013)),
    ),
    "hardswish": Case(
        ops.Activate(A(Act.HARDSWISH)),
        (eight(700),),
        (700,),
        I8,
        quants=(quant(0.05, 3), quant(0.03, -100)),
    ),
    "sigmoid": Case(
        ops.Activate(A(Act.SIGMOID)),
        (eight(700),),
        (700,),
        I8,
        quants=(quant(0.05, 3), quant(1 / 256, -128)),
    ),
    "requantize": Case(
        ops.Requantize(), (eight(700),), (700,), I8, quants=(quant(0.05, 3), quant(0.03, -100))
    ),
    "quantize": Case(
        ops.Quantize(), (real(700) * 4,), (700,), I8, quants=(None, quant(0.03, -100))
    ),
    "dequantize": Case(ops.Dequantize(), (eight(700),), (700,), quants=(quant(0.03, -100), None)),
    "maxpool": Case(
        ops.MaxPool((3, 3), (2, 2), HALF, (1, 1), True),
        (eight(2, 9, 11, 40),),
        (2, 5, 6, 40),
        I8,
        quants=(quant(0.1),) * 2,
    ),
    "avgpool": Case(
        ops.AvgPool((3, 3), (1, 1), HALF, (1, 1), True),
        (eight(1, 9, 11, 70),),
        (1, 9, 11, 70),
        I8,
        quants=(quant(0.1),) * 2,
    ),
    "mean": Case(
        ops.Reduce(R.MEAN, (1, 2)),
        (eight(1, 7, 7, 200),),
        (1, 1, 1, 200),
        I8,
        quants=(quant(0.03, -100), quant(0.02, 10)),
    ),
    "max of pixels": Case(
        ops.Reduce(R.MAX, (1, 2)),
        (eight(2, 7, 7, 20),),
        (2, 1, 1, 20),
        I8,
        quants=(quant(0.03, -100),) * 2,
    ),
    "resize": Case(
        ops.Resize((1, 9, 7, 5), mode=LINEAR),
        (eight(1, 4, 5, 5),),
        (1, 9, 7, 5),
        I8,
        quants=(quant(0.1),) * 2,
    ),
    "resize corners": Case(
        ops.Resize((1, 3, 8, 5), mode=LINEAR, coordinates=ops.Coordinates.ALIGN_CORNERS),
        (eight(1, 4, 5, 5),),
        (1, 3, 8, 5),
        I8,
        quants=(quant(0.1),) * 2,
    ),
    "transposed": Case(
        ops.ConvTransposed((3, 3), (2, 2), ((1, 0), (1, 1)), (1, 1), True, A(Act.RELU)),
        (eight(2, 5, 6, 7),),
        (2, 10, 11, 9),
        I8,
        quants=(quant(0.1, 5), quant(0.3, -20)),
        constants=(
            (
                eight(3, 3, 7, 9),
                Quantization(
                    tuple(RNG.uniform(0.002, 0.02, 9).astype(np.float32).tolist()), (0,) * 9, 3
                ),
            ),
            (RNG.integers(-999, 999, 9).astype(np.int32), None),
        ),
    ),
    "softmax": Case(
        ops.Softmax(-1), (eight(3, 10),), (3, 10), I8, quants=(quant(0.1, 5), quant(1 / 256, -128))
    ),
    "softmax across": Case(
        ops.Softmax(1),
        (eight(3, 10, 4),),
        (3, 10, 4),
        I8,
        quants=(quant(0.1, 5), quant(1 / 256, -128)),
    ),
}

ODD = 3  # a zero point; which way halves go must not depend on it


def ties(scale: float) -> Array:
    """Quotients around every half of 8 bits, what lies just beside them, and what is no number."""
    halves = np.float32(scale) * np.arange(-300.5, 300, dtype=np.float32)
    below, above = np.nextafter(halves, np.float32(-1e9)), np.nextafter(halves, np.float32(1e9))
    odd = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0, -0.0, 1e-40], np.float32)
    return np.concatenate([halves, below, above, odd, real(83)])


ROUNDED = {
    **{
        f"quantize {dtype} {scale}": Case(
            ops.Quantize(dtype), (ties(scale),), ties(scale).shape, dtype,
            quants=(None, quant(scale, ODD)),
        )
        for dtype in (Elem.INT8, Elem.UINT8) for scale in (0.25, 0.03)
    },
    "quantize planes": Case(
        ops.Quantize(), (real(40, 3),), (40, 3), I8, strides=((1, 40),),
        quants=(None, quant(0.03, -100)),
    ),
    "quantize into a wider buffer": Case(
        ops.Quantize(), (real(9, 70),), (9, 70), I8, strides=(None, (70, 1)),
        quants=(None, quant(0.03, 7)),
    ),
    "dequantize": Case(ops.Dequantize(), (eight(70),), (70,), quants=(quant(0.03, -100), None)),
    "dequantize planes": Case(
        ops.Dequantize(), (eight(40, 3),), (40, 3), strides=((1, 40),), quants=(quant(0.03), None)
    ),
}  # fmt: skip
ONNX = {
    **ROUNDED,
    **{
        f"{fn} {act.kind}": Case(
            ops.Binary(fn, act), (eight(700), eight(700)), (700,), I8,
            quants=(quant(0.01, 3), quant(0.02, -7), quant(0.03, ODD)),
        )
        for fn in (B.ADD, B.SUB, B.MUL, B.DIV)
        for act in (A(), A(Act.RELU), A(Act.CLIP, low=-0.4, high=1.0))
    },
    "add ties": Case(
        ops.Binary(B.ADD), (np.arange(-128, 128).astype(np.int8), eight(256)), (256,), I8,
        quants=(quant(0.125), quant(0.25), quant(0.25, ODD)),
    ),
    "mul by channel": Case(
        ops.Binary(B.MUL), (eight(7, 19),) * 2, (7, 19), I8, strides=(None, (0, 1)),
        quants=(quant(0.01, 3), quant(0.02, -7), quant(0.001, 5)),
    ),
    "add unsigned": Case(
        ops.Binary(), (eight(65).view(np.uint8), eight(65).view(np.uint8)), (65,), Elem.UINT8,
        quants=(quant(0.01, 130), quant(0.02, 128), quant(0.03, 128)),
    ),
    "requantize": Case(
        ops.Requantize(), (eight(700),), (700,), I8, quants=(quant(0.05, 3), quant(0.03, -100))
    ),
    "sigmoid": Case(
        ops.Activate(A(Act.SIGMOID)), (eight(700),), (700,), I8,
        quants=(quant(0.05, 3), quant(1 / 256, -128)),
    ),
    "maxpool": Case(
        ops.MaxPool((3, 3), (2, 2), HALF, (1, 1), True, A(Act.RELU)), (eight(2, 9, 11, 90),),
        (2, 5, 6, 90), I8, quants=(quant(0.1),) * 2,
    ),
    "maxpool to six": Case(
        ops.MaxPool((3, 3), (2, 2), HALF, (1, 1), True, A(Act.RELU6)),
        (eight(2, 9, 11, 31).view(np.uint8),), (2, 5, 6, 31), Elem.UINT8,
        quants=(quant(0.1, 9),) * 2,
    ),
}  # fmt: skip
INTEGERS.update(ROUNDED)


def signs(*shape: int) -> Array:
    """Numbers of both signs, halves among them, and what is no ordinary number."""
    values = np.concatenate([RNG.uniform(-9, 9, 990), np.arange(-4, 4.5, 0.5), [0.0, -0.0]])
    odd = np.array([np.inf, -np.inf, np.nan, 1e-40, 3e38], np.float32)
    return np.resize(np.concatenate([values.astype(np.float32), odd]), shape)


def truths(*shape: int) -> Array:
    return RNG.integers(0, 2, shape).astype(bool)


ABOVE = (U.LOG, U.SQRT, U.RSQRT)
PLAIN = {
    **{
        str(fn): Case(ops.Unary(fn, 0.7), (np.abs(x) if fn in ABOVE else x,), (1014,))
        for x in (signs(1014),)
        for fn in (*ABOVE, U.ERF, U.SIN, U.COS, U.FLOOR, U.CEIL, U.ROUND, U.SIGN, U.CELU,
                   U.SOFTPLUS, U.SOFTSIGN, U.MISH, U.THRESHOLDED_RELU)
    },
    "not": Case(ops.Unary(U.NOT), (truths(70),), (70,), Elem.BOOL),
    **{str(fn): Case(ops.Binary(fn), (truths(70), truths(70)), (70,), Elem.BOOL)
       for fn in (B.AND, B.OR, B.XOR)},
    "pow": Case(ops.Binary(B.POW), (np.abs(real(6, 40)), real(6, 40)), (6, 40),
                strides=(None, (0, 1))),
    **{f"{fn} of floats": Case(ops.Binary(fn), (signs(300), signs(300)[::-1].copy()), (300,),
                               Elem.BOOL)
       for fn in (B.EQUAL, B.LESS, B.LESS_EQUAL, B.GREATER, B.GREATER_EQUAL)},
    **{f"{fn} of {kind}": Case(ops.Binary(fn), (a.astype(kind), a[::-1].astype(kind)), (64,),
                               Elem.BOOL if fn is B.LESS else Elem(kind))
       for a in (RNG.integers(-(2**31), 2**31, 64),) for kind in ("int32", "int64")
       for fn in (B.LESS, B.ADD, B.SUB, B.MUL, B.MAX, B.MIN)},
    "where": Case(ops.Where(), (truths(3, 50), signs(3, 50), real(3, 50)), (3, 50),
                  strides=(None, None, (0, 1))),
    "where of bytes": Case(ops.Where(), (truths(9), eight(9), eight(9)), (9,), I8),
}  # fmt: skip
FLOATS.update({name: case for name, case in PLAIN.items() if case.y_dtype is Elem.FLOAT32})
EXACT = {name: case for name, case in PLAIN.items() if case.y_dtype is not Elem.FLOAT32}
FLOATS.update({
    f"matmul {m}x{k}x{n}": Case(ops.MatMul(), (real(2, m, k), real(2, k, n)), (2, m, n))
    for m, k, n in ((3, 5, 70), (1, 9, 8), (4, 1, 3), (2, 40, 33))
})  # fmt: skip
FLOATS["matmul of one matrix for all"] = Case(
    ops.MatMul(), (real(3, 4, 5), real(3, 5, 9)), (3, 4, 9), strides=(None, (0, 9, 1))
)
FLOATS["matmul of columns"] = Case(
    ops.MatMul(), (real(4, 5), real(5, 6)), (4, 6), strides=((1, 4), (1, 5))
)
