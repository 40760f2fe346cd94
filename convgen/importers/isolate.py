"""The parent's side of reading a model file: start the child, take its answer, judge its end."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from convgen.importers.imported import Imported
from convgen.importers.kinds import PACKAGES, Format, model_format
from convgen.importers.limits import (
    MAX_FILE,
    MEMORY,
    MEMORY_PER_BYTE,
    SECONDS,
    SECONDS_PER_BYTE,
)
from convgen.importers.refusal import ModelError, model_error, refused_error, shown
from convgen.importers.task import ANSWER, Answer, Task

if TYPE_CHECKING:
    from convgen.toolchain import Processes
    from convgen.toolchain.command import Finished

STDERR_SHOWN = 2000  # characters
OUT_OF_TIME = frozenset({"SIGXCPU", "SIGKILL"})


def read_in_child(
    path: Path,
    *,
    shapes: Mapping[str, tuple[int, ...]],
    cut: str | None,
    name: str | None,
    processes: Processes | None,
) -> Imported:
    """``import_model``, whose docstring says it all."""
    from convgen.importers.wire import read_graph
    from convgen.toolchain import Processes

    form, size = _looked_at(path)
    with tempfile.TemporaryDirectory(prefix="convgen-import-") as folder:
        task = Task(
            path=str(path),
            format=str(form),
            name=network_name(path, name),
            folder=folder,
            shapes=dict(shapes),
            cut=cut,
            memory=MEMORY + MEMORY_PER_BYTE * size,
            seconds=SECONDS + SECONDS_PER_BYTE * size,
        )
        # -P keeps the working folder, where a file may bear any module's name, out of sys.path.
        done = (processes or Processes()).run(
            [sys.executable, "-P", "-m", "convgen.importers.child"],
            timeout=task.seconds * 2,
            env=_environment(),
            task=task.text().encode(),
        )
        if not done.ok or not (Path(folder) / ANSWER).exists():
            raise _broken(str(path), task, done)
        answer = Answer.read(Path(folder))
        if answer.errors:
            raise ModelError(answer.errors, answer.refused)
        if answer.refused:
            raise refused_error(str(path), answer.refused)
        return Imported(read_graph(Path(folder)), answer.rows, form)


def _looked_at(path: Path) -> tuple[Format, int]:
    """The file's format and size. Raises ``ModelError``."""
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        raise model_error(str(path), "M001", error.strerror or str(error)) from None
    form = model_format(path)
    if form is None:
        raise model_error(
            str(path),
            "M002",
            "this is neither an ONNX nor a TFLite model; export the network to one of the two",
        )
    if size > MAX_FILE:
        raise model_error(str(path), "M026", f"the file has {size} bytes, more than {MAX_FILE}")
    _installed(str(path), form)
    return form, size


def _installed(path: str, form: Format) -> None:
    """Refuse, before any work, a format whose reader is missing."""
    from importlib.util import find_spec

    module, extra = PACKAGES[form]
    if find_spec(module) is None:
        raise model_error(
            path,
            "M005",
            f"reading {form} files takes the package {module}: pip install 'convgen[{extra}]'",
        )


def network_name(path: Path, name: str | None) -> str:
    """The given name, checked, or one made of the file's stem. Raises ``ModelError``."""
    from convgen.spec.names import refuse_name, suggest_name

    if name is not None:
        if broken := refuse_name(name):
            raise model_error(str(path), "M013", f"--name {shown(name)}: {broken[1]}")
        return name
    made = suggest_name(path.stem)
    return made if refuse_name(made) is None else f"{made[:58]}_net"


def _environment() -> dict[str, str]:
    """This process's, with this very convgen found first and one thread for NumPy.

    Every thread of a library reserves address space, and that is bounded.
    """
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    threads = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return {**os.environ, "PYTHONPATH": path, **dict.fromkeys(threads, "1")}


def _broken(path: str, task: Task, done: Finished) -> Exception:
    """What a child's death means: bounds, a crash of native code, or a bug of ours."""
    ended = _signal(done.code)
    if done.timed_out or ended in OUT_OF_TIME:
        return model_error(
            path,
            "M004",
            f"reading the model did not end within {task.seconds:g} s or "
            f"{task.memory / 2**30:.1f} GiB: it is damaged, or too large for convgen",
        )
    if ended == "SIGINT":
        raise KeyboardInterrupt  # Ctrl-C in a terminal reaches the child too
    if ended is not None:
        return model_error(
            path, "M009", f"the reader crashed over the file ({ended}): the file is damaged"
        )
    if "MemoryError" in done.stderr:
        return model_error(
            path, "M004", "reading the model takes more memory than its size explains"
        )
    return RuntimeError(f"reading {path} broke ({done.code}):\n{done.stderr[-STDERR_SHOWN:]}")


def _signal(code: int) -> str | None:
    if code >= 0:
        return None
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
