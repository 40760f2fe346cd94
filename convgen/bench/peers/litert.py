"""LiteRT with XNNPACK: a one-layer .tflite model, written here with the format's own schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from convgen.bench.peers.base import CannotPrepare, Pads, Peer, Prepared, Problem, pads
from convgen.spec.model import ConvSpec

SCHEMA = 3  # version of the .tflite format
PAD_VERSION = CONV_VERSION = 1


def prepare(problem: Problem) -> Prepared:
    """The delegate packs weights when tensors are allocated; it is on by default."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=tflite_model(problem), num_threads=problem.threads)
    interpreter.allocate_tensors()
    x, y = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.set_tensor(x["index"], problem.x)
    inner = getattr(interpreter, "_interpreter", None)
    call = getattr(inner, "Invoke", interpreter.invoke)  # without the checks of Python's face
    operators: list[Any] = getattr(interpreter, "_get_ops_details", list)()
    delegated = any(op.get("op_name") == "DELEGATE" for op in operators)
    variant = "" if delegated or not operators else "without XNNPACK"
    return Prepared(call, lambda: interpreter.get_tensor(y["index"]), variant)


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
    """The layer as a .tflite file: [PAD,] CONV_2D or DEPTHWISE_CONV_2D, ReLU fused."""
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
        self.buffers = [self._buffer(None)]  # the first one is empty by convention
        self.tensors: list[int] = []

    def model(self) -> bytes:
        import numpy as np

        t, spec = self.t, self.spec
        x = self._tensor("x", (spec.batch, spec.h, spec.w, spec.c))
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
            source = self._tensor("padded", padded)
            operators.append(self._operator(len(codes), [x, amounts], source, *self._pad()))
            codes.append(self._code(t.BuiltinOperator.PAD, PAD_VERSION))
        w = self._tensor("w", *self._weights())
        b = self._tensor("b", (spec.oc,), self.problem.b)
        y = self._tensor("y", (spec.batch, spec.oh, spec.ow, spec.oc))
        operators.append(self._operator(len(codes), [source, w, b], y, *self._conv()))
        kind = t.BuiltinOperator
        name = kind.DEPTHWISE_CONV_2D if self.depthwise else kind.CONV_2D
        codes.append(self._code(name, CONV_VERSION))
        return self._finish(x, y, operators, codes)

    def _weights(self) -> tuple[tuple[int, ...], Any]:
        """Shape and values: OHWI, or [1, kh, kw, oc] of a depthwise layer."""
        import numpy as np

        w = self.problem.w
        if self.depthwise:
            w = w.reshape(1, self.spec.kh, self.spec.kw, self.spec.oc)
        else:
            w = w.transpose(3, 0, 1, 2)
        return w.shape, np.ascontiguousarray(w)

    def _conv(self) -> tuple[int, int]:
        """Kind and place of the convolution's options."""
        t, b, spec = self.t, self.b, self.spec
        padding = t.Padding.SAME if self.form.same else t.Padding.VALID
        act = t.ActivationFunctionType
        kind = "DepthwiseConv2DOptions" if self.depthwise else "Conv2DOptions"
        fields = {
            "Padding": padding,
            "StrideW": spec.sw,
            "StrideH": spec.sh,
            "FusedActivationFunction": act.RELU if self.problem.relu else act.NONE,
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
        self, name: str, shape: tuple[int, ...], values: Any = None, kind: int | None = None
    ) -> int:
        """Its index; without values it is computed at run time."""
        t, b = self.t, self.b
        place = 0
        if values is not None:
            place = len(self.buffers)
            self.buffers.append(self._buffer(values))
        label, sizes = b.CreateString(name), self._ints(shape)
        t.TensorStart(b)
        t.TensorAddShape(b, sizes)
        t.TensorAddType(b, t.TensorType.FLOAT32 if kind is None else kind)
        t.TensorAddBuffer(b, place)
        t.TensorAddName(b, label)
        self.tensors.append(t.TensorEnd(b))
        return len(self.tensors) - 1

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


PEER = Peer("litert", ("ai-edge-litert", "tflite", "flatbuffers"), prepare)
