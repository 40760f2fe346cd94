"""How Python reaches the compiled layer: as an extension module (API), or through dlopen (ABI).

API mode compiles a module against Python.h, for every Python 3 at once where the limited API
allows; a call costs a function call. ABI mode needs no Python.h: the same library is opened by a
generated module. Both give a module with ``ffi`` and ``lib``, and need cffi's runtime alone.
"""

from __future__ import annotations

import io
import os
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Literal

from convgen.errors import UsageError
from convgen.toolchain import Unit

BindingName = Literal["auto", "api", "abi"]


class Binding(StrEnum):
    API = "api"
    ABI = "abi"


@dataclass(frozen=True)
class Python:
    """The interpreter that a package is built for, as far as the compiled part depends on it.

    ``include``: folders with Python.h and pyconfig.h, none where they are missing. ``limited``:
    the extension works on every later Python 3. ``tag`` names what the extension is bound to.
    """

    include: tuple[str, ...]
    limited: bool
    suffix: str
    tag: str


def this_python() -> Python:
    """The running interpreter."""
    paths = dict.fromkeys(sysconfig.get_path(key) for key in ("include", "platinclude"))
    folders = tuple(path for path in paths if path)
    have = all(any((Path(f) / name).is_file() for f in folders) for name in HEADERS)
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    debug = hasattr(sys, "gettotalrefcount")
    limited = not free_threaded and not debug and sys.implementation.name == "cpython"
    abi3 = next((s for s in EXTENSION_SUFFIXES if ".abi3" in s), "")
    suffix = (abi3 if limited else "") or EXTENSION_SUFFIXES[0]
    kind = "abi3" if limited else str(sysconfig.get_config_var("SOABI"))
    tag = f"{sys.implementation.name}-{kind}-{sysconfig.get_platform()}"
    return Python(folders if have else (), limited, suffix, tag)


HEADERS = ("Python.h", "pyconfig.h")


def choose_binding(wanted: BindingName, python: Python) -> Binding:
    """API where Python.h is there. Raises ``UsageError`` when it is asked for and missing."""
    match wanted:
        case "abi":
            return Binding.ABI
        case "api" if not python.include:
            raise UsageError(
                "binding api needs Python.h, which this Python lacks: install its headers "
                "(python3-dev or python3-devel), or leave the binding to convgen"
            )
        case "api":
            return Binding.API
        case _:
            return Binding.API if python.include else Binding.ABI


@dataclass(frozen=True)
class Bound:
    """What a binding adds to a layer's C: files to compile, translation units, link flags.

    ``sources`` makes ``{file name: text}`` of those files, which takes cffi and a while.
    ``library``: file name of the compiled part; ``module``: ``{file name: text}`` of a generated
    Python module beside it, empty in API mode. Either way the module's name is ``extension``.
    """

    extension: str
    library: str
    sources: Callable[[], dict[str, str]]
    units: tuple[Unit, ...]
    link: tuple[str, ...]
    module: dict[str, str]


def bind(name: str, extension: str, header: str, binding: Binding, python: Python) -> Bound:
    """``header``: the text of ``<name>_glue.h``, C declarations that cffi reads."""
    return bind_all(name, extension, {name: header}, binding, python)


def bind_all(
    name: str, extension: str, headers: Mapping[str, str], binding: Binding, python: Python
) -> Bound:
    """The same for several layers in one library; ``headers``: by layer, ``name``: its own."""
    header = "\n".join(headers.values())
    exports = tuple(flag for layer in headers for flag in _exports(layer))
    if binding is Binding.ABI:
        # Not `_layer_<hash>.so`: an import would take that for an extension module.
        library = f"lib{extension.lstrip('_')}{_shared_suffix()}"
        text = _generated("make_py_source", header, extension)
        module = {f"{extension}.py": text + _OPEN.format(library=library)}
        return Bound(extension, library, dict, (), exports, module)
    includes = [f'#include "{layer}{end}.h"\n' for layer in headers for end in ("", "_glue")]
    preamble = "#include <stddef.h>\n" + "".join(includes)
    source = f"{name}_cffi.c"

    def sources() -> dict[str, str]:
        text = _generated("make_c_source", header, extension, preamble)
        return {source: text if python.limited else f"#define _CFFI_NO_LIMITED_API\n{text}"}

    unit = Unit(source, tuple(f"-I{folder}" for folder in python.include))
    link = (*exports, *_python_library())
    return Bound(extension, f"{extension}{python.suffix}", sources, (unit,), link, {})


# Opened to stay: the pool's threads run inside it.
_OPEN = """
import os as _os

lib = ffi.dlopen(
    _os.path.join(_os.path.dirname(_os.path.abspath(__file__)), "{library}"),
    ffi.RTLD_NOW | getattr(ffi, "RTLD_NODELETE", 0),
)
"""


def _generated(maker: str, header: str, *arguments: str) -> str:
    import cffi
    from cffi import recompiler

    ffi = cffi.FFI()
    ffi.cdef(header)
    text = io.StringIO()
    getattr(recompiler, maker)(ffi, *arguments, text)
    return text.getvalue()


def _shared_suffix() -> str:
    match sys.platform:
        case "darwin":
            return ".dylib"
        case "win32":
            return ".dll"
        case _:
            return ".so"


def _exports(name: str) -> tuple[str, ...]:
    """Windows exports only what it is told to; elsewhere everything that is not static."""
    if sys.platform != "win32":
        return ()
    kernel = ("cpu_ok", "isa", "pack", "run", "run_part")
    glue = ("pack", "packed", "pooled", "flushes", "run", "call", "share")
    symbols = [f"{name}_{f}" for f in kernel] + [f"{name}_glue_{f}" for f in glue]
    return tuple(f"-Wl,/EXPORT:{symbol}" for symbol in symbols)


def _python_library() -> tuple[str, ...]:
    """Windows resolves Python's symbols when linking; elsewhere the interpreter brings them."""
    if sys.platform != "win32":
        return ()
    return (f"-L{os.path.join(sys.base_prefix, 'libs')}", "-lpython3")  # noqa: PTH118
