"""convgen beside ONNX Runtime and plain loops, one thread, one run: the README's table.

    python benchmarks/compare.py [SPEC.yaml] [--isa NAME] [--layers s1,r3] [--markdown FILE]

Microseconds per call are the least of interleaved rounds; GFLOP/s count every tap, those in the
padding too; each peer's column says how many times convgen's time it takes. The error is the
largest difference from the float64 oracle at sampled outputs, borders always among them.
Needs: pip install '.[bench]'
"""

from __future__ import annotations

import argparse
import datetime
import math
import platform
import tempfile
from pathlib import Path

import numpy as np

import convgen
from convgen.api import import_package
from convgen.bench.measure import measure, pin_to_one_core
from convgen.bench.peers import Peer, peers, plain_layer
from convgen.oracle import reference_at
from convgen.package.build import BuildOptions, build_layer
from convgen.spec import parse_file
from convgen.spec.model import ConvSpec, Layer
from convgen.target import resolve_target
from convgen.target.cpu import cpu_name
from convgen.verify.points import choose_points

HERE = Path(__file__).resolve().parent


def arrays(spec: ConvSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, w, b with weights scaled so that outputs stay near 1, as trained layers keep them."""
    rng = np.random.default_rng(7)
    scale = 1 / math.sqrt(spec.kh * spec.kw * spec.icg)
    x = rng.uniform(-1, 1, spec.x_shape).astype(np.float32)
    w = (rng.uniform(-1, 1, spec.w_shape) * scale).astype(np.float32)
    return x, w, rng.uniform(-0.2, 0.2, spec.oc).astype(np.float32)


def row(layer: Layer, options: BuildOptions, rivals: list[Peer]) -> tuple[str, dict[str, float]]:
    """One line of the table, and how many times longer each peer took."""
    spec = layer.spec
    plain_layer(spec)
    result = build_layer(layer, options)
    module = import_package(result.path)
    x, w, b = arrays(spec)
    packed = module.pack(w, b)
    y = module.run(x, packed)
    points = choose_points(spec, seed=7)
    exact = reference_at(spec, x, w, b, points)
    prepared = [peer.prepare(spec, x, w, b) for peer in rivals]
    timings = measure([module.bind(x, packed, out=y), *(p.call for p in prepared)])
    us = timings[0].best
    cells = [f"{us:.1f}", f"{2 * spec.macs / us / 1e3:.0f}"]
    ratios = {}
    for peer, ready, timing in zip(rivals, prepared, timings[1:], strict=True):
        error = np.abs(points.take(spec, ready.result()) - exact).max()
        assert error < 1e-4, f"{peer.name} computes something else: off by {error}"
        ratios[peer.name] = timing.best / us
        cells.append(f"{timing.best:.1f} ({ratios[peer.name]:.2f}x)")
    cells.append(f"{np.abs(points.take(spec, y) - exact).max():.1e}")
    shape = f"{spec.h}x{spec.w}x{spec.c} k{spec.oc} f{spec.kh}"
    extras = {"s": spec.sh, "p": spec.padding.top, "d": spec.dh, "g": spec.groups}
    shape += "".join(f" {k}{v}" for k, v in extras.items() if v != (0 if k == "p" else 1))
    return f"| {spec.name} | {shape} | {' | '.join(cells)} | `{result.schedule}` |", ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("spec", nargs="?", default=HERE / "layers.yaml", type=Path)
    parser.add_argument("--isa")
    parser.add_argument("--layers", help="names, separated by commas")
    parser.add_argument("--peers", default="onnxruntime,naive")
    parser.add_argument("--markdown", type=Path, help="write the table here as well")
    args = parser.parse_args()
    rivals = list(peers(tuple(args.peers.split(","))))
    for peer in rivals:
        if peer.version is None:
            raise SystemExit(f"{peer.name} is not installed: pip install '.[bench]'")
    core = pin_to_one_core()
    target = resolve_target(isa=args.isa)
    lines = [
        f"{cpu_name()}, {platform.system()}, one thread"
        + (f" on core {core}" if core is not None else "")
        + f", {datetime.date.today()}, target {target.name};",
        f"convgen {convgen.__version__}, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, " + ", ".join(f"{p.name} {p.version}" for p in rivals) + ".",
        "",
        "| layer | shape | convgen µs | GFLOP/s | "
        + " | ".join(f"{p.name} µs" for p in rivals)
        + " | max error | schedule |",
        "|" + "---|" * (6 + len(rivals)),
    ]
    print("\n".join(lines), flush=True)
    wanted = set(args.layers.split(",")) if args.layers else None
    totals: dict[str, list[float]] = {peer.name: [] for peer in rivals}
    with tempfile.TemporaryDirectory(prefix="convgen_compare_") as folder:
        options = BuildOptions(out=Path(folder), target=target)
        for layer in parse_file(args.spec):
            if wanted is None or layer.spec.name in wanted:
                text, ratios = row(layer, options, rivals)
                lines.append(text)
                print(text, flush=True)
                for name, ratio in ratios.items():
                    totals[name].append(ratio)
    means = [
        f"{name} takes {math.exp(sum(map(math.log, r)) / len(r)):.2f}x convgen's time "
        f"(least {min(r):.2f}x)"
        for name, r in totals.items()
        if r
    ]
    lines += ["", f"Geometric means over {len(lines) - 5} layers: {'; '.join(means)}."]
    print("\n".join(lines[-2:]))
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
