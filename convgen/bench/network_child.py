"""One runner of a network in a process of its own: ``python network_child.py KIND PATH THREADS``.

KIND is ``convgen`` (PATH: a built package), ``onnxruntime`` or ``litert`` (PATH: a model file).
Reads commands, a line each: ``load INPUTS.npz``, ``save OUTPUTS.npz``, ``time CALLS``; answers each
with a JSON line. Imports nothing of convgen's, so that a peer may live in another Python.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any


class Convgen:
    def __init__(self, path: str, threads: int) -> None:
        import importlib
        import pathlib

        folder = pathlib.Path(path).resolve()
        sys.path.insert(0, str(folder.parent))
        self.net = importlib.import_module(folder.name)
        self.threads = threads
        self.version = self.net.__version__

    def load(self, arrays: Mapping[str, Any]) -> None:
        self.call = self.net.bind(*(arrays[name] for name in self.net.INPUTS), threads=self.threads)

    def outputs(self) -> Sequence[Any]:
        found = self.call()
        return found if isinstance(found, tuple) else (found,)


class OnnxRuntime:
    def __init__(self, path: str, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self.version = onnxruntime.__version__

    def load(self, arrays: Mapping[str, Any]) -> None:
        given = {x.name for x in self.session.get_inputs()}
        self.feed = {name: array for name, array in arrays.items() if name in given}

    def call(self) -> None:
        self.session.run(None, self.feed)

    def outputs(self) -> Sequence[Any]:
        found: Sequence[Any] = self.session.run(None, self.feed)
        return found


class LiteRt:
    def __init__(self, path: str, threads: int) -> None:
        import ai_edge_litert
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(path, num_threads=threads)
        self.version = getattr(ai_edge_litert, "__version__", "")

    def load(self, arrays: Mapping[str, Any]) -> None:
        for detail in self.interpreter.get_input_details():
            name, index = detail["name"], detail["index"]
            if tuple(detail["shape"]) != arrays[name].shape:
                self.interpreter.resize_tensor_input(index, arrays[name].shape)
        self.interpreter.allocate_tensors()
        for detail in self.interpreter.get_input_details():
            self.interpreter.set_tensor(detail["index"], arrays[detail["name"]])

    def call(self) -> None:
        self.interpreter.invoke()

    def outputs(self) -> Sequence[Any]:
        self.interpreter.invoke()
        details = self.interpreter.get_output_details()
        return [self.interpreter.get_tensor(detail["index"]) for detail in details]


KINDS: dict[str, type[Any]] = {"convgen": Convgen, "onnxruntime": OnnxRuntime, "litert": LiteRt}


def measured(call: Callable[[], object], calls: int) -> float:
    """Seconds of one call: the mean of a run of them."""
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - begin) / calls


def main() -> None:
    import numpy

    kind, path, threads = sys.argv[1:4]
    runner = KINDS[kind](path, int(threads))
    print(json.dumps({"version": str(runner.version)}), flush=True)
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "load":
            with numpy.load(rest) as held:
                runner.load({name: held[name] for name in held.files})
            answer: dict[str, float] = {}
        elif word == "save":
            numpy.savez(rest, *runner.outputs())
            answer = {}
        else:
            answer = {"seconds": measured(runner.call, int(rest))}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
