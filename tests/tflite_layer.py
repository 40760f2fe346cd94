"""One 8-bit convolution as a .tflite file, written with the format's own schema."""

from __future__ import annotations

from typing import Any

import numpy as np
from quant_layers import Filled

from convgen.oracle import weights_hwio
from convgen.spec.model import Act, ConvSpec
from convgen.spec.quant import Affine

VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3}  # of the operators, where they take int8


def same_padding(spec: ConvSpec) -> bool:
    """Does TensorFlow's SAME pad this layer as its spec says? Else VALID must."""
    return any((spec.padding.top, spec.padding.left, spec.padding.bottom, spec.padding.right))


def model(layer: Filled) -> bytes:
    """NHWC images in and out, fused ReLU or ReLU6."""
    import flatbuffers

    return _Writer(layer, flatbuffers.Builder(1 << 14)).model()


class _Writer:
    def __init__(self, layer: Filled, builder: Any) -> None:
        import tflite

        self.layer, self.spec, self.b, self.t = layer, layer.spec, builder, tflite
        self.depthwise = layer.spec.groups == layer.spec.c > 1
        self.buffers = [self._buffer(None)]
        self.tensors: list[int] = []

    def model(self) -> bytes:
        t, b, s, quant = self.t, self.b, self.spec, self.spec.quant
        assert quant is not None and quant.output is not None
        kind = {"int8": t.TensorType.INT8, "uint8": t.TensorType.UINT8}[s.dtype]
        x = self._tensor("x", (s.batch, s.h, s.w, s.c), kind, quant.input)
        values, axis = self._weights()
        weight = quant.weight
        if kind == t.TensorType.UINT8:  # its weights are uint8 as well
            values = (values.astype(np.int16) + 128).astype(np.uint8)
            weight = Affine(weight.scale, tuple(z + 128 for z in weight.zero_point))
        w = self._tensor("w", values.shape, kind, weight, values, axis)
        scale = tuple(float(np.float32(quant.input.scale[0] * f)) for f in weight.scale)
        bias = np.zeros(s.oc, np.int32) if self.layer.b is None else self.layer.b
        place = self._tensor("b", (s.oc,), t.TensorType.INT32, Affine(scale), bias)
        y = self._tensor("y", (s.batch, s.oh, s.ow, s.oc), kind, quant.output)
        name = "DEPTHWISE_CONV_2D" if self.depthwise else "CONV_2D"
        code = getattr(t.BuiltinOperator, name)
        version = 1 if kind == t.TensorType.UINT8 else VERSIONS[name]
        sources, results = self._ints([x, w, place]), self._ints([y])
        options_kind, options = self._options()
        t.OperatorStart(b)
        t.OperatorAddOpcodeIndex(b, 0)
        t.OperatorAddInputs(b, sources)
        t.OperatorAddOutputs(b, results)
        t.OperatorAddBuiltinOptionsType(b, options_kind)
        t.OperatorAddBuiltinOptions(b, options)
        operator = t.OperatorEnd(b)
        t.OperatorCodeStart(b)
        t.OperatorCodeAddDeprecatedBuiltinCode(b, code)
        t.OperatorCodeAddVersion(b, version)
        t.OperatorCodeAddBuiltinCode(b, code)
        return self._finish(x, y, operator, t.OperatorCodeEnd(b))

    def _weights(self) -> tuple[Any, int]:
        """OHWI and its channel axis, or [1, kh, kw, oc] of a depthwise layer."""
        w, s = weights_hwio(self.spec, self.layer.w), self.spec
        if self.depthwise:
            return np.ascontiguousarray(w.reshape(1, s.kh, s.kw, s.oc)), 3
        return np.ascontiguousarray(w.transpose(3, 0, 1, 2)), 0

    def _options(self) -> tuple[int, int]:
        t, b, s = self.t, self.b, self.spec
        act = t.ActivationFunctionType
        fused = {Act.NONE: act.NONE, Act.RELU: act.RELU, Act.RELU6: act.RELU6}[s.activation.kind]
        kind = "DepthwiseConv2DOptions" if self.depthwise else "Conv2DOptions"
        fields = {
            "Padding": t.Padding.SAME if same_padding(s) else t.Padding.VALID,
            "StrideW": s.sw, "StrideH": s.sh, "FusedActivationFunction": fused,
            "DilationWFactor": s.dw, "DilationHFactor": s.dh,
        }  # fmt: skip
        if self.depthwise:
            fields["DepthMultiplier"] = s.ocg
        getattr(t, f"{kind}Start")(b)
        for field, value in fields.items():
            getattr(t, f"{kind}Add{field}")(b, value)
        return getattr(t.BuiltinOptions, kind), getattr(t, f"{kind}End")(b)

    def _buffer(self, values: Any) -> int:
        t, b = self.t, self.b
        data = None
        if values is not None:
            data = b.CreateNumpyVector(np.frombuffer(values.tobytes(), np.uint8))
        t.BufferStart(b)
        if data is not None:
            t.BufferAddData(b, data)
        return int(t.BufferEnd(b))

    def _tensor(
        self, name: str, shape: Any, kind: int, affine: Affine, values: Any = None, axis: int = 0
    ) -> int:
        t, b = self.t, self.b
        place = 0
        if values is not None:
            place = len(self.buffers)
            self.buffers.append(self._buffer(values))
        label, sizes = b.CreateString(name), self._ints(shape)
        scales = b.CreateNumpyVector(np.array(affine.scale, np.float32))
        zeros = np.resize(np.array(affine.zero_point, np.int64), len(affine.scale))
        points = b.CreateNumpyVector(zeros)
        t.QuantizationParametersStart(b)
        t.QuantizationParametersAddScale(b, scales)
        t.QuantizationParametersAddZeroPoint(b, points)
        t.QuantizationParametersAddQuantizedDimension(b, axis)
        quantization = t.QuantizationParametersEnd(b)
        t.TensorStart(b)
        t.TensorAddShape(b, sizes)
        t.TensorAddType(b, kind)
        t.TensorAddBuffer(b, place)
        t.TensorAddName(b, label)
        t.TensorAddQuantization(b, quantization)
        self.tensors.append(t.TensorEnd(b))
        return len(self.tensors) - 1

    def _finish(self, x: int, y: int, operator: int, code: int) -> bytes:
        t, b = self.t, self.b
        tensors, steps = self._places(self.tensors), self._places([operator])
        sources, results = self._ints([x]), self._ints([y])
        t.SubGraphStart(b)
        t.SubGraphAddTensors(b, tensors)
        t.SubGraphAddInputs(b, sources)
        t.SubGraphAddOutputs(b, results)
        t.SubGraphAddOperators(b, steps)
        graph = self._places([t.SubGraphEnd(b)])
        known, buffers = self._places([code]), self._places(self.buffers)
        t.ModelStart(b)
        t.ModelAddVersion(b, 3)
        t.ModelAddOperatorCodes(b, known)
        t.ModelAddSubgraphs(b, graph)
        t.ModelAddBuffers(b, buffers)
        b.Finish(t.ModelEnd(b), file_identifier=b"TFL3")
        return bytes(b.Output())

    def _ints(self, values: Any) -> int:
        return int(self.b.CreateNumpyVector(np.array(values, np.int32)))

    def _places(self, places: list[int]) -> int:
        self.b.StartVector(4, len(places), 4)
        for place in reversed(places):
            self.b.PrependUOffsetTRelative(place)
        return int(self.b.EndVector())
