"""Runs a layer as WebAssembly: filters an image with filter.wasm, as a host would.

    python run.py filter.wasm OUT.ppm

The image is drawn here, written into the module's memory, filtered by the module and read back.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import wasmtime
from numpy.typing import NDArray

HEIGHT, WIDTH = 48, 72


def drawing() -> NDArray[np.float32]:
    """Two discs, orange and blue on dark grey: HEIGHT x WIDTH x red, green, blue, opacity."""
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    first = (rows - 24) ** 2 + (cols - 24) ** 2 < 16**2
    second = (rows - 24) ** 2 + (cols - 50) ** 2 < 9**2
    image = np.full((HEIGHT, WIDTH, 4), (0.1, 0.1, 0.1, 1.0), np.float32)
    image[first, :3] = 0.9, 0.5, 0.1
    image[second, :3] = 0.1, 0.4, 0.8
    return image


def filtered(module_file: str, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The image after the module's layer; both HEIGHT x WIDTH x 4, values from 0 to 1."""
    engine = wasmtime.Engine()
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    store = wasmtime.Store(engine)
    store.set_wasi(wasmtime.WasiConfig())
    instance = linker.instantiate(store, wasmtime.Module.from_file(engine, module_file))
    exports = instance.exports(store)
    memory = exports["memory"]
    place_in, place_out = exports["image_in"](store), exports["image_out"](store)
    memory.write(store, image.tobytes(), place_in)
    exports["filter_image"](store)
    content = memory.read(store, place_out, place_out + image.nbytes)
    return np.frombuffer(content, np.float32).reshape(image.shape)


def main() -> None:
    module_file, out = sys.argv[1:]
    pixels = np.rint(filtered(module_file, drawing()) * 255).astype(np.uint8)
    Path(out).write_bytes(b"P6 %d %d 255\n" % (WIDTH, HEIGHT) + pixels[..., :3].tobytes())
    print(f"{out}: {HEIGHT}x{WIDTH}, darkest {pixels.min()}, brightest {pixels.max()}")


if __name__ == "__main__":
    main()
