"""Damaged model files by the thousand: the importers refuse them in their own words, or read them.

Small models of many operators are damaged byte by byte, number by number and field by field. Each
chunk is a child process under limits, in which every file is imported as ``convgen`` would do it.
``PYTHONPATH=tests/importers python -m damaged --count 50000`` runs them (``make hostile``).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

CHUNK = 1000  # files of one child
MEMORY = 3 << 30  # bytes of address space of a child
SECONDS = 5.0  # for one file
EVIL = (-1, 0, 1, 2, 3, 127, 128, 255, 65535, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63))
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Found:
    """``ends``: how often each error code came, ``taken`` where the file still is a model.
    ``failures``: seed and traceback of what is none of the importers' own errors."""

    ends: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[int, str]] = field(default_factory=list)
    slowest: float = 0.0


# -- the files


def corpus() -> list[tuple[str, bytes]]:
    """(format, content) of whole models."""
    found: list[tuple[str, bytes]] = []
    with contextlib.suppress(ImportError):
        found += [("TFLite", content) for content in _tflite()]
    with contextlib.suppress(ImportError):
        found += [("ONNX", content) for content in _onnx()]
    return found


def _tflite() -> list[bytes]:
    import numpy as np
    from tflite_models import Op, Tensor, constant, model

    def shaped(name: str, *shape: int, zero: int = 3) -> Tensor:
        return Tensor(name, shape, "int8", scale=[0.05], zero=[zero])

    w = constant("w", np.ones((4, 3, 3, 2), np.int8), scale=[0.01] * 4)
    b = constant("b", np.ones(4, np.int32), scale=[0.0005] * 4)
    d = constant("d", np.ones((1, 3, 3, 4), np.int8), scale=[0.01] * 4, axis=3)
    fc = constant("fc", np.ones((5, 16), np.int8), scale=[0.01])
    pads = constant("pads", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    tensors = [
        *(shaped("x", 1, 8, 8, 2), shaped("p", 1, 10, 10, 2), w, b, d, fc, pads),
        *(shaped("c", 1, 4, 4, 4), shaped("e", 1, 4, 4, 4), shaped("s", 1, 4, 4, 4)),
        *(shaped("m", 1, 2, 2, 4), shaped("f", 1, 16), shaped("y", 1, 5)),
        constant("shape", np.array([1, 16], np.int32)),
        constant("b5", np.ones(5, np.int32), scale=[0.0005]),
    ]
    conv = {"Padding": 1, "StrideH": 2, "StrideW": 2, "FusedActivationFunction": 1}
    deep = {"Padding": 0, "StrideH": 1, "StrideW": 1, "DepthMultiplier": 1}
    pool = {"Padding": 1, "StrideH": 2, "StrideW": 2, "FilterHeight": 2, "FilterWidth": 2}
    ops = [
        Op("PAD", ["x", "pads"], ["p"], ("Pad", {})),
        Op("CONV_2D", ["p", "w", "b"], ["c"], ("Conv2D", conv), 3),
        Op("DEPTHWISE_CONV_2D", ["c", "d", "b"], ["e"], ("DepthwiseConv2D", deep), 3),
        Op("ADD", ["c", "e"], ["s"], ("Add", {"FusedActivationFunction": 1}), 2),
        Op("AVERAGE_POOL_2D", ["s"], ["m"], ("Pool2D", pool), 2),
        Op("RESHAPE", ["m", "shape"], ["f"], ("Reshape", {"NewShape": [1, 16]})),
        Op("FULLY_CONNECTED", ["f", "fc", "b5"], ["y"], ("FullyConnected", {}), 4),
    ]
    size = constant("size", np.array([6, 6], np.int32))
    axes = constant("axes", np.array([1, 2], np.int32))
    floats = [
        *(Tensor("x", (1, 3, 3, 4)), size, axes, Tensor("r", (1, 6, 6, 4))),
        *(Tensor("l", (1, 6, 6, 4)), Tensor("m", (1, 4)), Tensor("y", (1, 4))),
        *(Tensor("t", (1, 6, 6, 8)), constant("begin", np.array([0, 0, 0, 2], np.int32))),
        *(constant("end", np.array([1, 6, 6, 6], np.int32)), Tensor("z", (1, 6, 6, 4))),
        constant("step", np.ones(4, np.int32)),
    ]
    resize = ("ResizeBilinear", {"HalfPixelCenters": True})
    moves = [
        Op("RESIZE_BILINEAR", ["x", "size"], ["r"], resize, 3),
        Op("LOGISTIC", ["r"], ["l"]),
        Op("CONCATENATION", ["r", "l"], ["t"], ("Concatenation", {"Axis": 3})),
        Op("STRIDED_SLICE", ["t", "begin", "end", "step"], ["z"], ("StridedSlice", {})),
        Op("MEAN", ["z", "axes"], ["m"], ("Reducer", {"KeepDims": False})),
        Op("SOFTMAX", ["m"], ["y"], ("Softmax", {"Beta": 1.0})),
    ]
    return [model(tensors, ops, ["x"], ["y"]), model(floats, moves, ["x"], ["y", "z"])]


def _onnx() -> list[bytes]:
    import numpy as np
    from onnx_models import model, node, random

    held = {
        "w": random(4, 2, 3, 3),
        "b": random(4),
        **{name: abs(random(4, seed=i)) for i, name in enumerate("smgv")},
        "t": random(4, 3, 2, 2),
        "fc": random(48, 5),
        "shape": np.array([0, -1], np.int64),
        "sizes": np.array([1, 3, 4, 4], np.int64),
        "axes": np.array([1], np.int64),
    }
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", *"smgv"], ["n"]),
        node("Relu", ["n"], ["r"]),
        node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        node("ConvTranspose", ["p", "t"], ["u"], strides=[2, 2], output_padding=[1, 1]),
        node("Resize", ["u", "", "", "sizes"], ["z"], mode="linear"),
        node("Reshape", ["z", "shape"], ["f"]),
        node("Gemm", ["f", "fc"], ["logits"], alpha=0.5),
        node("Softmax", ["logits"], ["y"], axis=1),
    ]
    first = model(nodes, {"x": [1, 2, 8, 8]}, ["y", "p"], held)
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Unsqueeze", ["n", "axes0"], ["n1"]),
        node("Concat", ["n1", "rest"], ["shape"], axis=0),
        node("Reshape", ["x", "shape"], ["v"]),
        node("Split", ["v", "parts"], ["a", "d"], axis=1),
        node("Concat", ["d", "a"], ["k"], axis=1),
        node("Slice", ["k", "from", "to", "axes1"], ["l"]),
        node("Pad", ["l", "pads"], ["q"]),
        node("Clip", ["q", "", "six"], ["h"]),
        node("ReduceMean", ["h", "axes1"], ["o"], keepdims=0),
        node("Where", ["is", "o", "six"], ["y"]),
    ]
    held = {
        "zero": np.array(0, np.int64),
        "axes0": np.array([0], np.int64),
        "axes1": np.array([1], np.int64),
        "rest": np.array([-1], np.int64),
        "parts": np.array([30, 98], np.int64),
        "from": np.array([2], np.int64),
        "to": np.array([-2], np.int64),
        "pads": np.array([0, 1, 0, 1], np.int64),
        "six": np.array(6, np.float32),
        "is": np.array([True]),
    }
    second = model(nodes, {"x": [1, 2, 8, 8]}, ["y"], held)
    return [m.SerializeToString() for m in (first, second, _onnx_integers(), _onnx_old())]


def _onnx_integers() -> Any:
    """Integers with scales, a branch, a function of the model."""
    import numpy as np
    from onnx import helper
    from onnx_models import model, node, random

    held = {
        "s": np.array(0.05, np.float32),
        "z": np.array(3, np.int8),
        "w": random(6, 4, 3, 3).astype(np.int8),
        "ws": np.full(6, 0.01, np.float32),
        "wz": np.zeros(6, np.int8),
        "b": np.arange(6, dtype=np.int32),
        "bs": np.full(6, 0.0005, np.float32),
        "bz": np.zeros(6, np.int32),
        "one": np.array([1], np.int64),
        "gamma": random(8),
    }
    ends = [helper.make_empty_tensor_value_info(name) for name in ("t", "e")]
    then = helper.make_graph([node("Squeeze", ["y", "one"], ["t"])], "t", [], ends[:1])
    other = helper.make_graph([node("Identity", ["y"], ["e"])], "e", [], ends[1:])
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["dw"], axis=0),
        node("DequantizeLinear", ["b", "bs", "bz"], ["db"], axis=0),
        node("Conv", ["d", "dw", "db"], ["c"], group=1, pads=[1, 1, 1, 1]),
        node("LayerNormalization", ["c", "gamma"], ["y"], axis=-1),
        node("Shape", ["y"], ["shape"], start=1, end=2),
        node("Equal", ["shape", "one"], ["is"]),
        node("If", ["is"], ["r"], then_branch=then, else_branch=other),
        helper.make_node("Twice", ["r"], ["out"], domain="mine"),
    ]
    made = model(nodes, {"x": [1, 4, 9, 8]}, ["out"], held)
    body = [node("Add", ["a", "a"], ["b"])]
    sets = [helper.make_opsetid("", 21)]
    made.functions.append(helper.make_function("mine", "Twice", ["a"], ["b"], body, sets))
    made.opset_import.append(helper.make_opsetid("mine", 1))
    return made


def _onnx_old() -> Any:
    """Attributes that became inputs later."""
    from onnx_models import model, node, random

    held = {"c": random(4), "slope": random(4), "fc": random(5, 60)}
    nodes = [
        node("Add", ["x", "c"], ["a"], broadcast=1, axis=1),
        node("PRelu", ["a", "slope"], ["p"]),
        node("LRN", ["p"], ["l"], size=3),
        node("Pad", ["l"], ["w"], pads=[0, 0, 1, 1, 0, 0, 0, 0], mode="edge"),
        node("Slice", ["w"], ["s"], starts=[1, 0], ends=[4, 5], axes=[2, 3]),
        node("AveragePool", ["s"], ["v"], kernel_shape=[2, 2], auto_pad="SAME_LOWER"),
        node("Clip", ["v"], ["k"], min=-1.0, max=1.0),
        node("Flatten", ["k"], ["f"]),
        node("Gemm", ["f", "fc"], ["g"], transB=1),
        node("Split", ["g"], ["m", "n"], axis=1, split=[2, 3]),
        node("Softmax", ["n"], ["y"]),
    ]
    return model(nodes, {"x": [1, 4, 5, 5]}, ["m", "y"], held, opset=6, ir_version=3, listed=True)


# -- the damage


def damaged(form: str, content: bytes, random: Random) -> bytes:
    """The content with one to four things wrong."""
    ways: list[Callable[[bytes, Random], bytes]] = [flipped, numbered, cut, moved]
    if form == "ONNX":
        ways += [fielded] * 12
    else:
        ways += [numbered] * 8
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        content = random.choice(ways)(content, random)
    return content


def flipped(content: bytes, random: Random) -> bytes:
    found = bytearray(content)
    for _ in range(random.choice((1, 1, 3, 20))):
        if found:
            found[random.randrange(len(found))] = random.randrange(256)
    return bytes(found)


def numbered(content: bytes, random: Random) -> bytes:
    """A whole number in place of another, where numbers lie."""
    size = random.choice((1, 2, 4, 8))
    if len(content) < size:
        return content
    at = random.randrange(0, len(content) - size + 1) // size * size
    value = random.choice((*EVIL, random.randrange(len(content)))) % (1 << 8 * size)
    return content[:at] + value.to_bytes(size, "little") + content[at + size :]


def cut(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def moved(content: bytes, random: Random) -> bytes:
    """A piece out of one place, or twice, or at another place."""
    a, b = sorted(random.randrange(len(content) + 1) for _ in range(2))
    piece, rest = content[a:b][:64], content[:a] + content[b:]
    at = random.randrange(len(rest) + 1)
    return random.choice((rest, content[:a] + piece + content[a:], rest[:at] + piece + rest[at:]))


def fielded(content: bytes, random: Random) -> bytes:
    """One field of an ONNX model set to nonsense that its frame allows."""
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        return content
    names = [n for node in model.graph.node for n in (*node.input, *node.output)] or ["x"]
    spots = [model, *model.graph.node, *model.graph.initializer, *model.graph.input]
    _disturb(random.choice(spots), names, random)
    return bytes(model.SerializeToString())


def _disturb(message: Any, names: Sequence[str], random: Random) -> None:
    """Change a random field of a message, or of one inside it."""
    for _ in range(8):
        fields = message.ListFields()
        if not fields:
            return
        described, value = random.choice(fields)
        repeated = hasattr(value, "append") or hasattr(value, "add")
        if described.message_type is not None:
            message = random.choice(list(value)) if repeated and len(value) else value
            if random.random() < 0.1 and repeated and len(value):
                del value[random.randrange(len(value))]
                return
            if not hasattr(message, "ListFields"):
                return
            continue
        new = _nonsense(value[0] if repeated and len(value) else value, names, random)
        try:
            if not repeated:
                setattr(message, described.name, new)
            elif random.random() < 0.3:
                value.append(new)
            elif len(value):
                value[random.randrange(len(value))] = new
        except (ValueError, TypeError):
            return
        return


def _nonsense(old: Any, names: Sequence[str], random: Random) -> Any:
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        return random.choice((*EVIL, random.randrange(30)))
    if isinstance(old, float):
        return random.choice((0.0, -1.0, 1e38, float("inf"), float("nan")))
    if isinstance(old, str):
        return random.choice((*names, "", "Relu", "Conv", "Loop", "../x", "a" * 300))
    return bytes(random.randrange(256) for _ in range(random.randrange(9)))


# -- the running


def run(first: int, count: int) -> Found:
    """Import the files of these seeds in this process, within limits."""
    from convgen.importers.child import limit

    limit(MEMORY, max(60.0, count * SECONDS / 10))
    models, found, ends = corpus(), Found(), Counter[str]()
    for seed in range(first, first + count):
        print(seed, file=sys.stderr, flush=True)
        random = Random(seed)
        form, content = random.choice(models)
        content = damaged(form, content, random)
        start = time.monotonic()
        try:
            ends.update([end_of(form, content)])
        except Exception:
            found.failures.append((seed, traceback.format_exc()))
        took = time.monotonic() - start
        found.slowest = max(found.slowest, took)
        if took > SECONDS:
            found.failures.append((seed, f"took {took:.1f} s"))
    found.ends = dict(ends)
    return found


def end_of(form: str, content: bytes) -> str:
    """The code of the first error, or ``taken``; anything else is raised."""
    from in_process import translated

    from convgen.importers.codes import CODES
    from convgen.importers.refusal import ModelError

    try:
        done = translated(content, form, path="damaged.model")
    except ModelError as error:
        assert all(d.code in CODES and len(d.message) < 20_000 for d in error.diagnostics)
        return error.diagnostics[0].code
    except MemoryError:
        return "M004"
    assert all(r.code in CODES and r.advice for r in done.refused)
    return "taken" if done.graph is not None else done.refused[0].code


def chunk(first: int, count: int) -> Found:
    """``run`` in a child process; its death is a failure of the file that it was at."""
    command = [sys.executable, "-m", "damaged", "--first", str(first), "--count", str(count)]

    here = str(Path(__file__).resolve().parent)
    path = os.pathsep.join(filter(None, [str(ROOT), here, os.environ.get("PYTHONPATH")]))
    one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [*command, "--here"],
        capture_output=True,
        text=True,
        env={**os.environ, **one, "PYTHONPATH": path},
        timeout=max(120.0, count * SECONDS / 10 * 2),
        check=False,
    )
    if done.returncode:
        at = done.stderr.strip().splitlines()[-1:]
        return Found(failures=[(first, f"exit {done.returncode} at {at}: {done.stderr[-1500:]}")])
    said = json.loads(done.stdout)
    return Found(said["ends"], [tuple(f) for f in said["failures"]], said["slowest"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--here", action="store_true", help="in this process")
    args = parser.parse_args()
    if args.here:
        print(json.dumps(asdict(run(args.first, args.count))))
        return 0
    ends, failures, slowest = Counter[str](), 0, 0.0
    for first in range(args.first, args.first + args.count, CHUNK):
        found = chunk(first, min(CHUNK, args.first + args.count - first))
        ends.update(found.ends)
        failures += len(found.failures)
        slowest = max(slowest, found.slowest)
        for seed, text in found.failures:
            print(f"damaged model {seed}:\n{text}", file=sys.stderr)
    print(
        f"{args.count} damaged models, {failures} failures, slowest {slowest:.2f} s: {dict(ends)}"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
