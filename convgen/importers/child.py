"""The process that reads one model file: ``python -m convgen.importers.child``, a task on stdin.

It limits itself before it opens the file. Whatever it finds wrong is an answer; whatever breaks it
is the parent's to tell (``isolate``).
"""

from __future__ import annotations

import sys
from pathlib import Path

from convgen.importers.refusal import ModelError, model_error
from convgen.importers.task import Answer, Task


def main() -> int:
    task = Task.parsed(sys.stdin.read())
    limit(task.memory, task.seconds)
    try:
        answer = run(task)
    except MemoryError:
        error = model_error(
            task.path, "M004", "reading the model takes more memory than its size explains"
        )
        answer = Answer(error.diagnostics)
    answer.write(Path(task.folder))
    return 0


def limit(memory: int, seconds: float) -> None:
    """Bound this process: address space in bytes, processor time in seconds, no core file."""
    try:
        import resource
    except ImportError:  # Windows: the parent's time limit alone
        return
    bounds = (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, int(seconds) + 1),
        (resource.RLIMIT_CORE, 0),
    )
    for kind, most in bounds:
        _, hard = resource.getrlimit(kind)
        if hard == resource.RLIM_INFINITY or most < hard:
            resource.setrlimit(kind, (most, most))


def run(task: Task) -> Answer:
    """Read, trim, translate; the graph goes into the task's folder."""
    from convgen.importers.formats import imported
    from convgen.importers.wire import write_graph

    try:
        done = imported(task)
    except ModelError as error:
        return Answer(error.diagnostics, error.refused)
    if done.graph is not None:
        write_graph(done.graph, Path(task.folder))
    return Answer((), done.refused, done.rows)


if __name__ == "__main__":
    sys.exit(main())
