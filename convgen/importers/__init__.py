"""Model files (ONNX, TFLite) as graphs.

``import_model`` reads one: a child process with bounds of memory and time parses the file into a
``Source`` (``onnx/read.py``, ``tflite/read.py``), keeps the part that is wanted (``trim``),
translates its operators by the format's rules (``translate``) and hands the graph back in a form
that is safe to take (``wire``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from convgen.importers.imported import Imported
from convgen.importers.kinds import Format, format_of, model_format

if TYPE_CHECKING:
    from convgen.toolchain import Processes


def import_model(
    path: str | Path,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    cut: str | None = None,
    name: str | None = None,
    processes: Processes | None = None,
) -> Imported:
    """The network in a model file.

    ``shapes``: sizes of inputs whose dimensions are open, in the file's own order of axes. ``cut``:
    ``A:B``, tensors to begin and to end with. ``name``: the network's; by default the file's stem.
    Raises ``ModelError`` with everything that is wrong, ``Stopped`` when ``processes`` are.
    """
    from convgen.importers.isolate import read_in_child

    return read_in_child(Path(path), shapes=shapes or {}, cut=cut, name=name, processes=processes)


__all__ = ["Format", "Imported", "format_of", "import_model", "model_format"]
