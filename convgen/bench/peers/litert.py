"""LiteRT with XNNPACK: a one-layer .tflite model in its interpreter."""

from __future__ import annotations

from typing import Any

from convgen.bench.peers.base import Peer, Prepared, Problem, pixels_only
from convgen.bench.peers.tflite_model import tflite_model


def prepare(problem: Problem) -> Prepared:
    """The delegate packs weights when tensors are allocated; it is on by default."""
    from ai_edge_litert.interpreter import Interpreter

    pixels_only(problem)
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


PEER = Peer("litert", ("ai-edge-litert", "tflite", "flatbuffers"), prepare, quantized=prepare)
