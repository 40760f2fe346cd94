"""A peer's process: asked as JSON on stdin, one answer as JSON per line on stdout.

    python -m convgen.bench.child NAME

It imports NumPy, the layer's model and the peer, nothing else of convgen's dependencies, so it runs
in any Python 3.11 that has the peer. Requests, one per line, ``do`` says which:

    describe                      -> version
    prepare, folder, spec, ...    -> variant; the peer's output is in the folder then
    run, count                    -> seconds of that many calls

Whatever goes wrong is answered with ``error``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO, Any

from convgen.bench.measure import Run, timed
from convgen.bench.peers import CannotPrepare, Problem, peer_module
from convgen.bench.peers.base import Peer, Prepared, installed_version
from convgen.bench.wire import RESULT, in_planes, read_arrays, spec_from_mapping
from convgen.spec.elements import arrays_of, numpy_dtype


class Answering:
    """One peer and the layer that it is prepared for."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.run: Run | None = None
        self.made: Prepared | None = None  # with the arrays that its call uses

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request. Raises whatever the peer raises."""
        match request["do"]:
            case "describe":
                return {"version": installed_version(self.peer)}
            case "prepare":
                self.run = self.made = None  # memory of the former layer goes first
                return {"variant": self._prepare(request)}
            case "run":
                assert self.run is not None, "nothing is prepared"
                return {"seconds": self.run(int(request["count"]))}
            case other:
                raise AssertionError(other)

    def _prepare(self, request: dict[str, Any]) -> str:
        import numpy as np

        spec, folder = spec_from_mapping(request["spec"]), Path(request["folder"])
        threads, flags = int(request["threads"]), tuple(request["c_flags"])
        problem = Problem(spec, *read_arrays(folder), threads, flags, in_planes(folder))
        made = self.peer.prepared(problem)
        made.call()
        y = np.ascontiguousarray(made.result(), numpy_dtype(arrays_of(spec).y))
        np.save(folder / RESULT, y.reshape(spec.y_shape))
        self.run, self.made = timed(made.call), made
        return made.variant


def serve(peer: Peer, requests: IO[str], answers: IO[str]) -> None:
    """Answer until the requests end."""
    state = Answering(peer)
    for line in requests:
        try:
            answer = state.answer(json.loads(line))
        except CannotPrepare as error:
            answer = {"error": str(error)}
        except Exception as error:  # foreign code: whatever it raises is the answer
            said = str(error).strip() or "no message"
            answer = {"error": f"{type(error).__name__}: {said.splitlines()[0]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    # What a runtime prints must not end up between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(peer_module(sys.argv[1]), sys.stdin, answers)


if __name__ == "__main__":
    main()
