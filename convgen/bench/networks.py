"""A network beside other runtimes, each in a process of its own: timed in turns, and compared."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convgen.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convgen.network.graph import Graph

CHILD = Path(__file__).with_name("network_child.py")
PEERS = {"ONNX": ("onnxruntime",), "TFLite": ("litert",)}  # who reads a model file of this format
TURN = 0.02  # seconds of calls in one turn, one call at least
SEED = 7


@dataclass(frozen=True)
class Timed:
    """``seconds``: the least mean of a turn; None where it did not run, and ``why``.

    ``difference``: the largest between its outputs and convgen's; ``largest``: of all outputs.
    """

    name: str
    version: str
    seconds: float | None
    difference: float | None = None
    largest: float | None = None
    why: str = ""


class Runner:
    """A child process that runs the network. Raises ``UsageError`` where it cannot."""

    def __init__(self, kind: str, path: Path, threads: int, python: str = sys.executable) -> None:
        self.kind = kind
        command = [python, str(CHILD), kind, str(path), str(threads)]
        self.child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.version = str(self._answer()["version"])

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.communicate()

    def ask(self, command: str) -> dict[str, Any]:
        assert self.child.stdin is not None
        try:
            self.child.stdin.write(command + "\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            pass  # the answer says why
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        if not line:
            _, said = self.child.communicate()
            last = said.strip().splitlines()[-1:] or ["it ended without a word"]
            raise UsageError(f"{self.kind}: {last[0]}")
        found: dict[str, Any] = json.loads(line)
        return found


def inputs_of(graph: Graph) -> dict[str, NDArray[Any]]:
    """Numbers for every input: normal ones, or the whole range of 8-bit integers."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    found: dict[str, NDArray[Any]] = {}
    for name in graph.inputs:
        value = graph.values[name]
        if value.dtype.is_float:
            found[name] = rng.standard_normal(value.shape).astype(str(value.dtype))
        else:
            dtype = np.dtype(str(value.dtype))
            low, high = (-128, 128) if dtype == np.int8 else (0, 256 if dtype.itemsize == 1 else 2)
            found[name] = rng.integers(low, high, value.shape).astype(dtype)
    return found


def measure(
    graph: Graph,
    package: Path,
    model: Path | None,
    peers: Sequence[str],
    threads: int,
    rounds: int,
    pythons: Mapping[str, str],
) -> tuple[Timed, ...]:
    """convgen's package first, then each peer on the model file, timed turn by turn."""
    import numpy as np

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        held: dict[str, Any] = dict(inputs_of(graph))
        np.savez(folder / "in.npz", **held)
        runners: list[Runner] = []
        missing: list[Timed] = []
        for name, path in (("convgen", package), *((peer, model) for peer in peers)):
            try:
                if path is None:
                    raise UsageError(f"{name}: it takes a model file, and this is none")
                runner = Runner(name, path.resolve(), threads, pythons.get(name, sys.executable))
                stack.enter_context(runner)
                runner.ask(f"load {folder / 'in.npz'}")
                runner.ask(f"save {folder / name}.npz")
                runners.append(runner)
            except UsageError as error:
                missing.append(Timed(name, "", None, why=str(error)))
        best = _turns(runners, rounds)
        saved = {r.kind: _saved(folder / f"{r.kind}.npz") for r in runners}
    own = saved.get("convgen", [])
    timed = tuple(
        Timed(r.kind, r.version, best[r.kind], *_apart(own, saved[r.kind])) for r in runners
    )
    return (*timed, *missing)


def _turns(runners: Sequence[Runner], rounds: int) -> dict[str, float]:
    """Each runner's least time of a call, in turns, so that all meet the same machine."""
    calls = {}
    best: dict[str, float] = {}
    for runner in runners:
        once = min(float(runner.ask("time 1")["seconds"]) for _ in range(3))
        calls[runner.kind] = max(1, int(TURN / max(once, 1e-7)))
        best[runner.kind] = once
    for _ in range(rounds):
        for runner in runners:
            took = float(runner.ask(f"time {calls[runner.kind]}")["seconds"])
            best[runner.kind] = min(best[runner.kind], took)
    return best


def _saved(path: Path) -> list[NDArray[Any]]:
    import numpy as np

    with np.load(path) as held:
        return [held[name] for name in held.files]


def _apart(
    own: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]
) -> tuple[float | None, float | None]:
    """The largest difference between outputs, and their largest number."""
    import numpy as np

    if len(own) != len(other) or any(a.shape != b.shape for a, b in zip(own, other, strict=True)):
        return None, None
    pairs = zip(own, other, strict=True)
    apart = [np.abs(a.astype(float) - b.astype(float)).max() for a, b in pairs]
    sizes = [np.abs(a.astype(float)).max() for a in own]
    return float(max(apart)), float(max(sizes))
