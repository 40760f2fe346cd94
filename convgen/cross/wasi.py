"""Runs one WASI program with the Python package wasmtime: ``python wasi.py PROGRAM.wasm``.

A program by itself, so that what it runs can be given a time limit and be ended.
"""

from __future__ import annotations

import sys


def run(path: str) -> int:
    """The exit code of the program; what it prints goes to this process's own streams."""
    import wasmtime

    engine = wasmtime.Engine()
    module = wasmtime.Module.from_file(engine, path)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    store = wasmtime.Store(engine)
    config = wasmtime.WasiConfig()
    config.inherit_stdin()
    config.inherit_stdout()
    config.inherit_stderr()
    store.set_wasi(config)
    start = linker.instantiate(store, module).exports(store)["_start"]
    assert isinstance(start, wasmtime.Func)
    try:
        start(store)
    except wasmtime.ExitTrap as end:
        return int(end.code)
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1]))
