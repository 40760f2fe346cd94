"""One layer as a .tflite file, float32 or 8-bit, written with the format's own schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from convgen.bench.peers.base import CannotPrepare, Pads, Problem, pads
from convgen.spec.model import Act, ConvSpec, DType
from convgen.spec.quant import Affine, float32, spread

SCHEMA = 3  # version of the .tflite format
FLOAT, UINT8, INT8 = 1, 1, 3  # versions of the operators, where they take such arrays
INT8_PAD = 2
UNSIGNED = 128  # from int8 weights to the uint8 ones of uint8 layers


@dataclass(frozen=True)
class _Form:
    """How TensorFlow's two paddings express the layer: ``pads`` is an operator before it."""

    same: bool
    pads: Pads | None


def _form(spec: ConvSpec) -> _Form:
    p = pads(spec)
    if p == Pads(0, 0, 0, 0):
        return _Form(False, None)
    rows = _same(spec.h, spec.oh, spec.sh, (spec.kh - 1) * spec.dh + 1, p.top)
    columns = _same(spec.w, spec.ow, spec.sw, (spec.kw - 1) * spec.dw + 1, p.left)
    return _Form(True, None) if rows and columns else _Form(False, p)


def _same(size: int, out: int, stride: int, reach: int, before: int) -> bool:
    """Whether SAME gives this output with this much padding before the image."""
    total = max(0, (out - 1) * stride + reach - size)
    return out == -(-size // stride) and before == total // 2


def tflite_model(problem: Problem) -> bytes:
    """The layer as a .tflite file: [PAD,] CONV_2D or DEPTHWISE_CONV_2D, ReLU or ReLU6 fused.

    Raises ``CannotPrepare`` for what the format cannot say.
    """
    import flatbuffers

    return _Writer(problem, flatbuffers.Builder(1 << 16)).model()


class _Writer:
    """One pass over the format: buffers, tensors, operators, then what refers to them."""

    def __init__(self, problem: Problem, builder: Any) -> None:
        import tflite

        self.spec, self.problem, self.b, self.t = problem.spec, problem, builder, tflite
        self.form = _form(problem.spec)
        self.depthwise = self.spec.groups > 1 and self.spec.groups == self.spec.c
        if self.depthwise and self.spec.ocg != 1 and self.spec.icg != 1:
            raise CannotPrepare("no such grouping in .tflite")
        kinds = tflite.TensorType
        self.kind = {
            DType.FLOAT32: kinds.FLOAT32, DType.INT8: kinds.INT8, DType.UINT8: kinds.UINT8,
        }[self.spec.dtype]  # fmt: skip
        self.version = {DType.INT8: INT8, DType.UINT8: UINT8}.get(self.spec.dtype, FLOAT)
        self.quantized = self.spec.quantized
        self.buffers = [self._buffer(None)]  # the first one is empty by convention
        self.tensors: list[int] = []

    def model(self) -> bytes:
        import numpy as np

        t, spec = self.t, self.spec
        x_meaning, w_meaning, b_meaning, y_meaning = self._meanings()
        x = self._tensor("x", (spec.batch, spec.h, spec.w, spec.c), meaning=x_meaning)
        source = x
        operators: list[int] = []
        codes: list[int] = []
        if self.form.pads is not None:
            p = self.form.pads
            table = np.array([[0, 0], [p.top, p.bottom], [p.left, p.right], [0, 0]], np.int32)
            padded = (
                spec.batch, spec.h + p.top + p.bottom, spec.w + p.left + p.right, spec.c,
            )  # fmt: skip
            amounts = self._tensor("pads", (4, 2), table, t.TensorType.INT32)
            source = self._tensor("padded", padded, meaning=x_meaning)
            operators.append(self._operator(len(codes), [x, amounts], source, *self._pad()))
            version = INT8_PAD if spec.dtype is DType.INT8 else FLOAT
            codes.append(self._code(t.BuiltinOperator.PAD, version))
        w = self._tensor("w", *self._weights(), meaning=w_meaning, axis=3 * self.depthwise)
        b_kind = t.TensorType.INT32 if self.quantized else None
        b = self._tensor("b", (spec.oc,), self.problem.b, b_kind, b_meaning)
        y = self._tensor("y", (spec.batch, spec.oh, spec.ow, spec.oc), meaning=y_meaning)
        operators.append(self._operator(len(codes), [source, w, b], y, *self._conv()))
        kind = t.BuiltinOperator
        name = kind.DEPTHWISE_CONV_2D if self.depthwise else kind.CONV_2D
        codes.append(self._code(name, self.version))
        return self._finish(x, y, operators, codes)

    def _meanings(self) -> tuple[Affine | None, ...]:
        """Of x, w, b and y: what their integers mean, None of a float layer's."""
        if not self.quantized:
            return None, None, None, None
        quant = self.problem.quant
        weight = quant.weight
        if self.spec.dtype is DType.UINT8:
            if len(weight.scale) > 1:
                raise CannotPrepare("uint8 layers of .tflite have one weight scale")
            weight = Affine(weight.scale, tuple(z + UNSIGNED for z in weight.zero_point))
        elif any(weight.zero_point):
            raise CannotPrepare("int8 weights of .tflite have no zero point")
        bias = Affine(tuple(float32(quant.input.scale[0] * f) for f in weight.scale))
        return quant.input, weight, bias, self.problem.output

    def _weights(self) -> tuple[tuple[int, ...], Any]:
        """Shape and values: OHWI, or [1, kh, kw, oc] of a depthwise layer."""
        import numpy as np

        w = self.problem.w
        if self.depthwise:
            w = w.reshape(1, self.spec.kh, self.spec.kw, self.spec.oc)
        else:
            w = w.transpose(3, 0, 1, 2)
        if self.spec.dtype is DType.UINT8:
            w = (w.astype(np.int16) + UNSIGNED).astype(np.uint8)
        return w.shape, np.ascontiguousarray(w)

    def _conv(self) -> tuple[int, int]:
        """Kind and place of the convolution's options."""
        t, b, spec = self.t, self.b, self.spec
        padding = t.Padding.SAME if self.form.same else t.Padding.VALID
        act = t.ActivationFunctionType
        fused = {Act.NONE: act.NONE, Act.RELU: act.RELU, Act.RELU6: act.RELU6}
        kind = "DepthwiseConv2DOptions" if self.depthwise else "Conv2DOptions"
        fields = {
            "Padding": padding,
            "StrideW": spec.sw,
            "StrideH": spec.sh,
            "FusedActivationFunction": fused[spec.activation.kind],
            "DilationWFactor": spec.dw,
            "DilationHFactor": spec.dh,
        }
        if self.depthwise:
            fields["DepthMultiplier"] = spec.ocg
        getattr(t, f"{kind}Start")(b)
        for field, value in fields.items():
            getattr(t, f"{kind}Add{field}")(b, value)
        return getattr(t.BuiltinOptions, kind), getattr(t, f"{kind}End")(b)

    def _pad(self) -> tuple[int, int]:
        self.t.PadOptionsStart(self.b)
        return self.t.BuiltinOptions.PadOptions, self.t.PadOptionsEnd(self.b)

    def _buffer(self, values: Any) -> int:
        t, b = self.t, self.b
        data = None
        if values is not None:
            import numpy as np

            data = b.CreateNumpyVector(np.frombuffer(values.tobytes(), np.uint8))
        t.BufferStart(b)
        if data is not None:
            t.BufferAddData(b, data)
        return int(t.BufferEnd(b))

    def _tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        values: Any = None,
        kind: int | None = None,
        meaning: Affine | None = None,
        axis: int = 0,
    ) -> int:
        """Its index; without values it is computed at run time. ``axis``: that of ``meaning``'s
        scales, where there are several."""
        t, b = self.t, self.b
        place = 0
        if values is not None:
            place = len(self.buffers)
            self.buffers.append(self._buffer(values))
        label, sizes = b.CreateString(name), self._ints(shape)
        parameters = None if meaning is None else self._parameters(meaning, axis)
        t.TensorStart(b)
        t.TensorAddShape(b, sizes)
        t.TensorAddType(b, self.kind if kind is None else kind)
        t.TensorAddBuffer(b, place)
        t.TensorAddName(b, label)
        if parameters is not None:
            t.TensorAddQuantization(b, parameters)
        self.tensors.append(t.TensorEnd(b))
        return len(self.tensors) - 1

    def _parameters(self, meaning: Affine, axis: int) -> int:
        import numpy as np

        t, b = self.t, self.b
        scales = b.CreateNumpyVector(np.array(meaning.scale, np.float32))
        zeros = np.array(spread(meaning.zero_point, len(meaning.scale)), np.int64)
        points = b.CreateNumpyVector(zeros)
        t.QuantizationParametersStart(b)
        t.QuantizationParametersAddScale(b, scales)
        t.QuantizationParametersAddZeroPoint(b, points)
        t.QuantizationParametersAddQuantizedDimension(b, axis)
        return int(t.QuantizationParametersEnd(b))

    def _operator(self, code: int, inputs: list[int], out: int, kind: int, options: int) -> int:
        t, b = self.t, self.b
        sources, results = self._ints(inputs), self._ints([out])
        t.OperatorStart(b)
        t.OperatorAddOpcodeIndex(b, code)
        t.OperatorAddInputs(b, sources)
        t.OperatorAddOutputs(b, results)
        t.OperatorAddBuiltinOptionsType(b, kind)
        t.OperatorAddBuiltinOptions(b, options)
        return int(t.OperatorEnd(b))

    def _code(self, operator: int, version: int) -> int:
        t, b = self.t, self.b
        t.OperatorCodeStart(b)
        t.OperatorCodeAddDeprecatedBuiltinCode(b, operator)
        t.OperatorCodeAddVersion(b, version)
        t.OperatorCodeAddBuiltinCode(b, operator)
        return int(t.OperatorCodeEnd(b))

    def _finish(self, x: int, y: int, operators: list[int], codes: list[int]) -> bytes:
        t, b = self.t, self.b
        tensors, steps = self._places(self.tensors), self._places(operators)
        sources, results = self._ints([x]), self._ints([y])
        t.SubGraphStart(b)
        t.SubGraphAddTensors(b, tensors)
        t.SubGraphAddInputs(b, sources)
        t.SubGraphAddOutputs(b, results)
        t.SubGraphAddOperators(b, steps)
        graph = self._places([t.SubGraphEnd(b)])
        known, buffers = self._places(codes), self._places(self.buffers)
        t.ModelStart(b)
        t.ModelAddVersion(b, SCHEMA)
        t.ModelAddOperatorCodes(b, known)
        t.ModelAddSubgraphs(b, graph)
        t.ModelAddBuffers(b, buffers)
        b.Finish(t.ModelEnd(b), file_identifier=b"TFL3")
        return bytes(b.Output())

    def _ints(self, values: Any) -> int:
        import numpy as np

        return int(self.b.CreateNumpyVector(np.array(values, np.int32)))

    def _places(self, places: list[int]) -> int:
        self.b.StartVector(4, len(places), 4)
        for place in reversed(places):
            self.b.PrependUOffsetTRelative(place)
        return int(self.b.EndVector())
